"""A program that talks as Samba's ntlm_auth does, for accounts it is told of: run by tests in its place.

usage: ntlm_auth_stand_in.py FILE --helper-protocol=...

FILE is JSON: `accounts` (name in lower case: password), `disabled`, `domain`, and `fault`: what goes wrong at the
second question (`dies`, `babbles`, `two answers`) or at the first (`silent`, `not joined`). Every start adds a line
to FILE.starts.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import sys
import time
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "src")]


ASKED = {"LANMAN-Challenge", "NT-Response", "Username", "NT-Domain", "Request-User-Session-Key"}
"""What the real one knows; of anything else it says that it is unknown."""


def say(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def challenge(known: dict[str, Any]) -> None:
    from certwright.wire.ntlm import AvId, ChallengeMessage, NegotiateFlags, TargetInfo

    for line in sys.stdin:
        assert line.startswith("YR ")
        if known.get("fault") == "not joined":
            say("BH NT_STATUS_UNSUCCESSFUL")
            continue
        names = ((2, known["domain"]), (1, "WBHOST"), (4, "corp.example"), (3, "wbhost.corp.example"))
        pairs = tuple((AvId(number), name.encode("utf-16-le")) for number, name in names)
        info = TargetInfo((*pairs, (AvId.TIMESTAMP, bytes(8))))
        message = ChallengeMessage(NegotiateFlags.UNICODE, bytes(range(8)), known["domain"], info)
        say("TT " + base64.b64encode(message.encode()).decode())


def answer(known: dict[str, Any], question: dict[str, str]) -> None:
    from spnego._ntlm_raw.crypto import ntowfv1

    user, domain = question["Username"], question.get("NT-Domain", "")
    response = bytes.fromhex(question["NT-Response"])
    name = user.partition("@")[0].lower()
    if name in known.get("disabled", ()):
        say("Authenticated: No", "Authentication-Error: Account disabled", ".", ".")
        return
    password = known["accounts"].get(name)
    names = (user.upper() + domain).encode("utf-16-le")
    key = hmac.digest(ntowfv1(password or "nobody's"), names, hashlib.md5)
    proof = hmac.digest(key, bytes.fromhex(question["LANMAN-Challenge"]) + response[16:], hashlib.md5)
    if password is None or proof != response[:16]:
        say("Authenticated: No", "Authentication-Error: Logon failure", ".", ".")
        return
    session_key = hmac.digest(key, proof, hashlib.md5).hex().upper()
    times = 2 if known.get("fault") == "two answers" else 1
    say(*times * ["Authenticated: Yes", f"User-Session-Key: {session_key}", "."])


def server(known: dict[str, Any]) -> None:
    question: dict[str, str] = {}
    asked = 0
    for line in sys.stdin:
        text = line.rstrip("\n")
        if text != ".":
            name, _, value = text.partition(":")
            encoded = value.startswith(": ")
            assert name in ASKED, name
            question[name] = base64.b64decode(value[2:]).decode() if encoded else value[1:]
            continue
        asked += 1
        fault = known.get("fault", "")
        if fault == "silent":
            time.sleep(60)
        if fault == "dies" and asked > 1:
            return
        if fault == "babbles" and asked > 1:
            say("Authenticated: Perhaps", "User-Session-Key: 00", ".")
        else:
            answer(known, question)
        question = {}


if __name__ == "__main__":
    file = Path(sys.argv[1])
    with (file.parent / f"{file.name}.starts").open("a") as starts:
        starts.write(sys.argv[2] + "\n")
    told = json.loads(file.read_text())
    challenge(told) if sys.argv[2].endswith("squid-2.5-ntlmssp") else server(told)
