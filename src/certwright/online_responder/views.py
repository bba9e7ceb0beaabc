"""The responder on the web: questions by GET and POST, answers with what HTTP caches need. RFC 6960 A, RFC 5019 4-6.

A GET carries its request in the path: percent-encoded base64, which clients and proxies write in many ways. All of
them are understood that lose nothing. Whatever cannot be read gets an OCSP answer that says so.
"""

from __future__ import annotations

import base64
import binascii
import functools
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Final
from urllib.parse import unquote_to_bytes

import structlog

from certwright.endpoints.plain import Question, Reply
from certwright.online_responder.configuration import MOST_KEPT
from certwright.online_responder.responder import INTERNAL_ERROR, TRY_LATER, Answer, Responder
from certwright.pki import der
from certwright.pki.errors import EncodingError

log = structlog.get_logger(__name__)

PATH: Final = "/ocsp"
BODY_LIMIT: Final = 64 << 10
_TYPE: Final = b"Content-Type: application/ocsp-response\r\n"
_NO_STORE: Final = _TYPE + b"Cache-Control: no-store\r\n"
_URL_SAFE: Final = bytes.maketrans(b"-_ ", b"+/+")
_USUAL_PATH: Final = 400
"""Octets of paths that are recognised as a whole."""


def request_of_path(path: bytes) -> bytes:
    """The request that a GET carries behind the service's path; empty when nothing can be made of it.

    The base64 of DER begins with `M`, so slashes before it belong to a client or a proxy. One at the end may belong
    to either: what is complete DER is right.
    """
    text = unquote_to_bytes(path).strip().lstrip(b"/").translate(_URL_SAFE)
    for candidate in (text, text.rstrip(b"/")):
        bare = candidate.rstrip(b"=")
        try:
            found = base64.b64decode(bare + b"=" * (-len(bare) % 4), validate=True)
            der.require_single(found)
        except (binascii.Error, EncodingError):
            continue
        return found
    return b""


class OcspService:
    """The `PlainService` of the responder, a steady one."""

    body_limit = BODY_LIMIT

    def __init__(self, responder: Responder, clock: Callable[[], datetime]) -> None:
        self._responder = responder
        self._clock = clock
        self._paths: dict[bytes, bytes] = {}
        self._gate = threading.Lock()

    @property
    def generation(self) -> int:
        """Every revocation that is heard of begins another one."""
        return self._responder.changes

    def answer(self, question: Question) -> Reply | None:
        return self._reply(question, ask=False)

    def work_out(self, question: Question) -> Reply:
        try:
            reply = self._reply(question, ask=True)
        except Exception:  # whoever asks gets an answer, and the log the reason
            log.exception("ocsp_answer_failed")
            reply = None
        return reply or Reply(200, _NO_STORE, INTERNAL_ERROR.der)

    def busy(self) -> Reply:
        return Reply(200, _NO_STORE, TRY_LATER.der)

    def _reply(self, question: Question, *, ask: bool) -> Reply | None:
        request = question.body if question.method == b"POST" else self._carried(question.path)
        answer = self._responder.answer(request, ask=ask)
        if answer is None:
            return None
        if not answer.until:
            return Reply(200, _NO_STORE, answer.der)
        headers = self._headers(answer)
        if question.method != b"POST" and _is_unchanged(question, answer):
            return Reply(304, headers, b"")
        return Reply(200, headers, answer.der)

    def _carried(self, path: bytes) -> bytes:
        found = self._paths.get(path)
        if found is None:
            found = request_of_path(path)
            if found and len(path) <= _USUAL_PATH:
                with self._gate:
                    if len(self._paths) >= MOST_KEPT:
                        del self._paths[next(iter(self._paths))]
                    self._paths[path] = found
        return found

    def _headers(self, answer: Answer) -> bytes:
        """No cache keeps it past its end. RFC 5019 6.2."""
        age = max(0, min(answer.max_age, answer.until - int(self._clock().timestamp())))
        return (
            b"%sCache-Control: max-age=%d, public, no-transform, must-revalidate\r\n"
            b"ETag: %s\r\nLast-Modified: %s\r\nExpires: %s\r\n"
        ) % (_TYPE, age, answer.etag, _date(answer.produced), _date(answer.until))


@functools.lru_cache(maxsize=4096)
def _date(seconds: int) -> bytes:
    return format_datetime(datetime.fromtimestamp(seconds, UTC), usegmt=True).encode()


def _is_unchanged(question: Question, answer: Answer) -> bool:
    """Preconditions: If-None-Match rules over If-Modified-Since. RFC 9110 13.2.2."""
    if question.none_match:
        known = {tag.strip().removeprefix(b"W/") for tag in question.none_match.split(b",")}
        return b"*" in known or answer.etag in known
    return bool(question.modified_since) and question.modified_since == _date(answer.produced)
