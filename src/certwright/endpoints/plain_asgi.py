"""A service of the plain listener over HTTPS: the same questions and the same answers. RFC 6960 A, RFC 9110."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import Executor
from http import HTTPStatus

from certwright.endpoints import asgi
from certwright.endpoints.asgi import Asgi, BodyTooLarge, ClientGone, Receive, Scope, Send
from certwright.endpoints.plain import PlainService, Question, Reply

_METHODS = (b"GET", b"HEAD", b"POST")


def over_asgi(path: str, service: PlainService, pool: Executor) -> Asgi:
    """The service below `path`, whose own share of the path stays percent-encoded.

    Args:
        pool: for what it does not have at hand.
    """
    mount = len(path.encode())

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        method = scope["method"].encode("ascii")
        if method not in _METHODS:
            await asgi.Reply.plain(405, "Method Not Allowed", ((b"allow", b", ".join(_METHODS)),)).send(send)
            return
        headers = dict(scope["headers"])
        try:
            body = await asgi.read_body(headers, receive, service.body_limit) if method == b"POST" else b""
        except BodyTooLarge:
            await asgi.Reply.plain(413, HTTPStatus(413).phrase, asgi.CLOSE).send(send)
            return
        except ClientGone:
            return
        question = Question(
            method,
            scope["raw_path"].partition(b"?")[0][mount:],
            body,
            headers.get(b"if-none-match", b""),
            headers.get(b"if-modified-since", b""),
            scope["query_string"],
            str((scope.get("client") or ("",))[0]),
        )
        reply = service.answer(question)
        if reply is None:
            reply = await asyncio.get_running_loop().run_in_executor(pool, service.work_out, question)
        await _send(reply, send, without_body=method == b"HEAD")

    return serve


async def _send(reply: Reply, send: Send, *, without_body: bool) -> None:
    headers = [*_pairs(reply.headers), (b"x-content-type-options", b"nosniff")]
    if reply.status != 304:
        headers.append((b"content-length", b"%d" % len(reply.body)))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if without_body else reply.body})


def _pairs(lines: bytes) -> Iterator[tuple[bytes, bytes]]:
    for line in lines.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name:
            yield name.strip().lower(), value.strip()
