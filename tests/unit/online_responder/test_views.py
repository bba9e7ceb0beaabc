"""OCSP over HTTP: paths as clients write them, and what HTTP caches are told. RFC 6960 A.1, RFC 5019 5-6."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from datetime import timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as some

from certwright.endpoints.plain import Question, Reply
from certwright.online_responder.responder import INTERNAL_ERROR, MALFORMED, TRY_LATER
from certwright.online_responder.views import OcspService, request_of_path
from tests.support.responding import ISSUED, NEVER, NOW, Bench, question


def with_characters(wanted: str) -> bytes:
    """A request whose base64 has all of these characters in it."""
    for number in range(2_000):
        serial = int.from_bytes(hashlib.sha256(bytes([number % 256, number // 256])).digest()[:18], "big")
        request = question(serial, nonce=bytes(1 + number % 3))
        if all(each in base64.b64encode(request).decode() for each in wanted):
            return request
    raise AssertionError("none found")


REQUEST = with_characters("+/=")
TEXT = base64.b64encode(REQUEST).decode()
PATHS: dict[str, Callable[[str], str]] = {
    "percent-encoded": lambda text: "/" + quote(text, safe=""),
    "percent-encoded with small letters": lambda text: (
        "/" + quote(text, safe="").replace("%2B", "%2b").replace("%2F", "%2f").replace("%3D", "%3d")
    ),
    "raw": lambda text: "/" + text,
    "slashes raw, the rest encoded": lambda text: "/" + quote(text, safe="/"),
    "a space where a plus was": lambda text: "/" + text.replace("+", "%20"),
    "no padding": lambda text: "/" + text.rstrip("="),
    "URL-safe": lambda text: "/" + text.replace("+", "-").replace("/", "_").rstrip("="),
    "two slashes before it": lambda text: "//" + quote(text, safe=""),
    "a slash behind it": lambda text: "/" + quote(text, safe="") + "/",
}


@pytest.mark.parametrize("write", PATHS.values(), ids=PATHS.keys())
def test_a_request_in_a_path_is_understood_however_it_is_written(write: Callable[[str], str]) -> None:
    assert request_of_path(write(TEXT).encode()) == REQUEST


@pytest.mark.parametrize("path", ["", "/", "//", "/%", "/%zz", "/MEU", "/*", "/" + "M" * 8000, "/\x00", "/é", "/MA"])
def test_what_is_no_request_is_malformed_and_answered(path: str) -> None:
    service = OcspService(Bench().responder, lambda: NOW)

    reply = service.work_out(Question(b"GET", path.encode(), b"", b"", b""))

    assert reply.body == MALFORMED.der
    assert b"no-store" in reply.headers


@given(some.binary(max_size=200))
def test_no_path_raises(path: bytes) -> None:
    request_of_path(path)


class Web:
    def __init__(self) -> None:
        self.bench = Bench()
        self.service = OcspService(self.bench.responder, lambda: self.bench.now)

    def post(self, body: bytes) -> Reply:
        return self.service.work_out(Question(b"POST", b"", body, b"", b""))

    def get(self, serial: int = ISSUED, none_match: bytes = b"", modified_since: bytes = b"") -> Reply:
        path = b"/" + quote(base64.b64encode(question(serial)), safe="").encode()
        return self.service.work_out(Question(b"GET", path, b"", none_match, modified_since))


def fields(reply: Reply) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in reply.headers.decode().splitlines())


def test_get_and_post_give_the_same_answer() -> None:
    web = Web()

    assert web.get() == web.post(question())


def test_caches_are_told_how_long_and_what_it_is() -> None:
    """RFC 5019 6.2: Last-Modified, Expires, ETag and max-age; nothing reaches past nextUpdate."""
    web = Web()
    told = fields(web.get())

    assert told["Content-Type"] == "application/ocsp-response"
    assert told["Cache-Control"] == "max-age=3600, public, no-transform, must-revalidate"
    assert parsedate_to_datetime(told["Last-Modified"]) == NOW
    assert parsedate_to_datetime(told["Expires"]) == NOW + timedelta(hours=12)
    assert told["ETag"].startswith('"')
    assert told["ETag"].endswith('"')


@pytest.mark.parametrize("minutes", [0, 30, 59])
def test_no_cache_may_keep_an_answer_past_its_end(minutes: int) -> None:
    web = Web()
    web.bench.configure(validity_minutes="60")
    web.get()
    web.bench.now = NOW + timedelta(minutes=minutes)

    assert fields(web.get())["Cache-Control"].startswith(f"max-age={60 * (60 - minutes)},")


def test_an_unchanged_answer_is_not_sent_again() -> None:
    web = Web()
    told = fields(web.get())
    tag, modified = told["ETag"].encode(), told["Last-Modified"].encode()

    assert (web.get(none_match=b'"x", W/' + tag).status, web.get(none_match=b'"x"').status) == (304, 200)
    assert (web.get(modified_since=modified).status, web.get(modified_since=b"yesterday").status) == (304, 200)
    assert web.get(none_match=b'"x"', modified_since=modified).status == 200  # RFC 9110 13.2.2
    assert web.get(none_match=tag).body == b""


def test_what_is_for_one_request_alone_is_kept_by_nobody() -> None:
    web = Web()

    for reply in (web.post(question(nonce=b"n" * 16)), web.post(question(NEVER)), web.post(b"garbage")):
        assert fields(reply)["Cache-Control"] == "no-store"
        assert "ETag" not in fields(reply)


def test_what_nobody_thought_of_is_an_internal_error_and_no_hanging_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    web = Web()
    monkeypatch.setattr(web.bench.provider, "known", None)

    assert web.get().body == INTERNAL_ERROR.der


def test_who_finds_too_many_waiting_is_told_to_come_later() -> None:
    assert Web().service.busy().body == TRY_LATER.der


def test_the_event_loop_is_never_made_to_wait() -> None:
    web = Web()
    first = Question(b"POST", b"", question(), b"", b"")

    assert web.service.answer(first) is None
    web.service.work_out(first)
    assert web.service.answer(first) is not None
