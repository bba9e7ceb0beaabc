"""A service of the plain listener over HTTPS. RFC 9110."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from certwright.endpoints.plain import Question, Reply
from certwright.endpoints.plain_asgi import over_asgi

HEADERS = b'Content-Type: application/x-test\r\nETag: "1"\r\n'


class Echo:
    """Answers with what it is asked; `slow` questions take a thread."""

    body_limit = 8

    def __init__(self) -> None:
        self.asked: list[Question] = []

    def answer(self, question: Question) -> Reply | None:
        self.asked.append(question)
        if question.path == b"/slow":
            return None
        if question.none_match:
            return Reply(304, HEADERS, b"")
        return Reply(200, HEADERS, question.body or b"nothing")

    def work_out(self, question: Question) -> Reply:
        return Reply(200, HEADERS, b"at last")

    def busy(self) -> Reply:
        return Reply(503, HEADERS, b"")


def ask(
    method: str = "GET", path: bytes = b"/ocsp", body: bytes = b"", *messages: dict[str, Any], **headers: str
) -> tuple[int, dict[bytes, bytes], bytes, Echo]:
    service = Echo()
    sent: list[dict[str, Any]] = []
    incoming = list(messages or [{"type": "http.request", "body": body, "more_body": False}])
    scope = {
        "method": method,
        "raw_path": path,
        "query_string": path.partition(b"?")[2],
        "client": ("192.0.2.7", 1),
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
    }

    async def receive() -> dict[str, Any]:
        return incoming.pop(0)

    async def send(message: Any) -> None:
        sent.append(dict(message))

    async def run() -> None:
        with ThreadPoolExecutor(1) as pool:
            await over_asgi("/ocsp", service, pool)(scope, receive, send)

    asyncio.run(run())
    if not sent:
        return 0, {}, b"", service
    return sent[0]["status"], dict(sent[0]["headers"]), b"".join(each.get("body", b"") for each in sent[1:]), service


def test_a_question_reaches_the_service_as_it_came() -> None:
    status, headers, body, service = ask("POST", b"/OCSP/a%2Fb?q=1", b"abc")

    assert (status, body) == (200, b"abc")
    assert service.asked == [Question(b"POST", b"/a%2Fb", b"abc", b"", b"", b"q=1", "192.0.2.7")]
    assert headers[b"content-type"] == b"application/x-test"
    assert headers[b"etag"] == b'"1"'
    assert headers[b"content-length"] == b"3"


def test_what_takes_longer_is_worked_out_in_a_thread() -> None:
    assert ask(path=b"/ocsp/slow")[2] == b"at last"


def test_head_has_no_body_and_an_unchanged_answer_no_length() -> None:
    status, headers, body, _ = ask("HEAD")
    assert (status, body, headers[b"content-length"]) == (200, b"", b"7")

    status, headers, body, _ = ask(if_none_match='"1"')
    assert (status, body) == (304, b"")
    assert b"content-length" not in headers


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS"])
def test_other_methods_are_refused(method: str) -> None:
    status, headers, _, service = ask(method)

    assert (status, headers[b"allow"], service.asked) == (405, b"GET, HEAD, POST", [])


def test_a_body_that_is_too_long_is_refused_announced_or_not() -> None:
    assert ask("POST", b"/ocsp", bytes(9))[0] == 413
    assert ask("POST", b"/ocsp", b"", content_length="9")[0] == 413
    part = {"type": "http.request", "body": bytes(5), "more_body": True}
    assert ask("POST", b"/ocsp", b"", part, part)[0] == 413


def test_nobody_is_answered_who_left() -> None:
    assert ask("POST", b"/ocsp", b"", {"type": "http.disconnect"})[0] == 0
