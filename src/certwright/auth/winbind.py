"""NTLM of a domain's accounts: proofs checked by domain controllers, through Samba's winbind. [MS-NLMP] 3.2.5.1.2.

Challenge, flags, MIC, channel binding and target name are ours (`auth.ntlm`); winbind is asked one thing only,
whether a response to our challenge proves a password: by the helper program `ntlm_auth`, in its protocol
ntlm-server-1. A helper answers one question at a time and keeps nothing between two, so that no connection's
handshake can meet another's. Whatever a helper says beyond the one form of a good answer ends it: the next question
goes to a new one.

What the challenge calls this host is what winbind calls it (asked once, in the protocol squid-2.5-ntlmssp): domain
controllers compare it with the machine account that passes the logon on.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from certwright.adcs.errors import AdcsError, BadRequest
from certwright.auth.accounts import Accounts, WrongProof
from certwright.auth.mechanism import Overloaded, Refused
from certwright.auth.ntlm import NtlmVerifier
from certwright.directory.base import Principal
from certwright.wire import ntlm
from certwright.wire.ntlm import AvId, ChallengeMessage, NegotiateFlags, NegotiateMessage, TargetInfo

log = structlog.get_logger(__name__)

MAX_HELPERS: Final = 4
"""Helper processes at most; each answers in a few milliseconds."""
MAX_WAITING: Final = 128
ANSWER_SECONDS: Final = 10.0
"""How long winbind may take: a domain controller that died costs it some seconds."""
LOCAL_DOMAIN: Final = "."
"""The domain of accounts that are ours and not the domain's."""

_LINE: Final = 16 * 1024
_PROBE_FLAGS: Final = (
    NegotiateFlags.UNICODE
    | NegotiateFlags.REQUEST_TARGET
    | NegotiateFlags.NTLM
    | NegotiateFlags.EXTENDED_SESSION_SECURITY
)
_YES: Final = b"Authenticated: Yes\n"
_NO: Final = b"Authenticated: No\n"
_ERROR: Final = b"Authentication-Error: "
_END: Final = b".\n"
_KEY: Final = re.compile(rb"User-Session-Key: ([0-9A-Fa-f]{32})\n")


class WinbindNames(NamedTuple):
    """What winbind calls the domain and this host."""

    domain: str  # NetBIOS
    info: TargetInfo  # without a time


def find_ntlm_auth(configured: str = "") -> Path | None:
    """The helper program: the configured one, else the one on the path; None when there is none."""
    found = shutil.which(configured or "ntlm_auth")
    return Path(found) if found else None


class _Broken(Exception):
    """The helper died, was too slow, or said what it never says."""


class _Silent(_Broken):
    """It was too slow: another one would be, too."""


class _Helper:
    """One process of ntlm_auth in the protocol ntlm-server-1."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._stdin = process.stdin
        self._stdout = process.stdout
        self.answered = 0

    @property
    def is_usable(self) -> bool:
        return self._process.returncode is None and not self._stdout.at_eof()

    async def ask(self, question: bytes) -> bytes:
        """The session key. Everything else ends this helper.

        Raises:
            WrongProof: winbind says no, in its words.
            _Broken: it said nothing that can be understood.
        """
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._require_silence()
                self._stdin.write(question)
                await self._stdin.drain()
                first = await self._line()
                second = await self._line()
                if first == _NO and second.startswith(_ERROR):
                    words = second[len(_ERROR) :].decode("utf-8", "replace").strip()
                    raise WrongProof(f"winbind: {words[:300]}")
                key = _KEY.fullmatch(second)
                if first != _YES or key is None or await self._line() != _END:
                    raise _Broken("ntlm_auth gave an answer of another form")
        except TimeoutError:
            raise _Silent(f"ntlm_auth gave no answer within {ANSWER_SECONDS:g} seconds") from None
        except (OSError, ValueError) as error:
            raise _Broken(f"ntlm_auth cannot be talked to: {error}") from error
        self.answered += 1
        return bytes.fromhex(key[1].decode("ascii"))

    async def _require_silence(self) -> None:
        """What it says unasked must not be taken for the answer to the next question."""
        try:
            async with asyncio.timeout(0):
                unasked = await self._stdout.read(1)
        except TimeoutError:
            return
        raise _Broken("ntlm_auth spoke unasked" if unasked else "ntlm_auth ended")

    async def _line(self) -> bytes:
        line = await self._stdout.readline()
        if not line.endswith(b"\n"):
            raise _Broken("ntlm_auth ended")
        return line

    async def end(self) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()


class NtlmAuthPool:
    """Helper processes, started when they are needed; for one event loop.

    Args:
        command: the program and its arguments, without the protocol.
        domain: the NetBIOS name of the domain that winbind has to be a member of; may block.
    """

    def __init__(self, command: Sequence[str], domain: Callable[[], str], *, size: int = MAX_HELPERS) -> None:
        self._command = tuple(command)
        self._domain = domain
        self._idle: list[_Helper] = []
        self._slots = asyncio.Semaphore(size)
        self._waiting = 0
        self._ending: set[asyncio.Task[None]] = set()
        self._complaint = ""
        self._closed = False
        self.names: WinbindNames | None = None
        """Known once `probe` found winbind to be a member of the domain; NTLM is on offer from then on."""

    async def probe(self) -> bool:
        """Find out whether winbind is there and a member of our domain; once it is, that holds."""
        if self.names is not None:
            return True
        try:
            names = await self._ask_names()
            domain = await asyncio.to_thread(self._domain)
        except _Broken as error:
            return self._complain(str(error))
        except AdcsError as error:
            return self._complain(error.message)
        if names.domain.upper() != domain.upper():
            return self._complain(f"winbind is a member of {names.domain}, and the directory is {domain}")
        self.names = names
        log.info("ntlm_by_winbind", domain=names.domain, program=self._command[0])
        return True

    def _complain(self, reason: str) -> bool:
        if reason != self._complaint:
            log.warning("ntlm_not_offered", reason=reason, program=self._command[0])
            self._complaint = reason
        return False

    async def _ask_names(self) -> WinbindNames:
        """The challenge that winbind would send. Raises `_Broken`."""
        question = b"YR " + base64.b64encode(NegotiateMessage(_PROBE_FLAGS).encode()) + b"\n"
        process = await self._start("squid-2.5-ntlmssp")
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                assert process.stdin is not None
                assert process.stdout is not None
                process.stdin.write(question)
                await process.stdin.drain()
                line = await process.stdout.readline()
            return read_names(line)
        except TimeoutError:
            raise _Broken(f"ntlm_auth gave no challenge within {ANSWER_SECONDS:g} seconds") from None
        except (OSError, ValueError, BadRequest) as error:
            raise _Broken(f"ntlm_auth gave no challenge: {error}") from error
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def session_key(self, user: str, domain: str, server_challenge: bytes, response: bytes) -> bytes:
        """The session base key of a proof that the domain finds right.

        Raises:
            WrongProof: it is wrong, or the account may not log on: winbind's words.
            Refused: winbind could not be asked.
            Overloaded: too many wait.
        """
        question = _question(user, domain, server_challenge, response)
        if self._waiting >= MAX_WAITING:
            raise Overloaded
        self._waiting += 1
        try:
            async with self._slots:
                return await self._ask(question)
        except _Broken as error:
            log.error("ntlm_auth_failed", reason=str(error), program=self._command[0])
            raise Refused(f"winbind could not be asked: {error}") from error
        finally:
            self._waiting -= 1

    async def _ask(self, question: bytes) -> bytes:
        """Ask an idle helper, or a new one. One that died while it was idle is no reason to refuse: ask another."""
        while True:
            helper = self._take() or _Helper(await self._start("ntlm-server-1"))
            was_used = helper.answered > 0
            try:
                key = await helper.ask(question)
            except _Broken as error:
                self._end(helper)
                if was_used and not isinstance(error, _Silent):
                    continue  # to a new one in the end, since every broken one is gone
                raise
            except BaseException:
                self._end(helper)
                raise
            if self._closed:
                self._end(helper)
            else:
                self._idle.append(helper)
            return key

    def _take(self) -> _Helper | None:
        while self._idle:
            helper = self._idle.pop()
            if helper.is_usable:
                return helper
            self._end(helper)
        return None

    async def _start(self, protocol: str) -> asyncio.subprocess.Process:
        try:
            return await asyncio.create_subprocess_exec(
                *self._command,
                f"--helper-protocol={protocol}",
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                limit=_LINE,
            )
        except OSError as error:
            raise _Broken(f"{self._command[0]} cannot be started: {error.strerror}") from error

    def _end(self, helper: _Helper) -> None:
        task = asyncio.get_running_loop().create_task(helper.end())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def close(self) -> None:
        """End all helpers."""
        self._closed = True
        while self._idle:
            self._end(self._idle.pop())
        await asyncio.gather(*self._ending, return_exceptions=True)


class WinbindVerifier:
    """Proofs of domain accounts by winbind; those of our own accounts (`.` as the domain) by `own`."""

    def __init__(self, pool: NtlmAuthPool, accounts: Accounts, own: NtlmVerifier) -> None:
        self._pool = pool
        self._accounts = accounts
        self._own = own

    async def names(self) -> tuple[str, TargetInfo]:
        names = self._pool.names
        if names is None:
            raise Refused("winbind is not there, or no member of the domain")
        return names

    async def verify(
        self, message: ntlm.AuthenticateMessage, server_challenge: bytes, peer: str
    ) -> tuple[Principal, bytes]:
        if message.domain == LOCAL_DOMAIN:
            return await self._own.verify(message, server_challenge, peer)

        async def ask() -> bytes:
            return await self._pool.session_key(message.user, message.domain, server_challenge, message.nt_response)

        return await self._accounts.prove_elsewhere(message.domain, message.user, peer, ask)


def read_names(line: bytes) -> WinbindNames:
    """The names in `TT <challenge>`.

    Raises:
        ValueError, BadRequest: it is another answer.
    """
    word, _, data = line.strip().partition(b" ")
    if word != b"TT":
        raise ValueError(line[:80].decode("ascii", "replace").strip() or "it ended")
    try:
        challenge = ChallengeMessage.parse(binascii.a2b_base64(data, strict_mode=True))
    except binascii.Error as error:
        raise ValueError("its challenge is not base64") from error
    pairs = tuple(pair for pair in challenge.target_info.pairs if pair[0] != AvId.TIMESTAMP)
    return WinbindNames(challenge.target_name, TargetInfo(pairs))


def _question(user: str, domain: str, server_challenge: bytes, response: bytes) -> bytes:
    """ntlm-server-1: `name: value` or, in base64, `name:: value`; names of clients are base64 always."""
    lines = [
        f"LANMAN-Challenge: {server_challenge.hex()}",
        f"NT-Response: {response.hex()}",
        f"Username:: {_base64(user)}",
        "Request-User-Session-Key: Yes",
    ]
    lines += [f"NT-Domain:: {_base64(domain)}"] * bool(domain)
    return "\n".join((*lines, ".", "")).encode("ascii")


def _base64(text: str) -> str:
    return base64.b64encode(text.encode("utf-8")).decode("ascii")
