"""The plain HTTP listener. RFC 9110, RFC 9111, RFC 9112."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from certwright.server import published
from certwright.server.bulk import BulkProtocol, BulkService
from certwright.server.limits import (
    BULK_CONNECTIONS,
    BULK_HEAD_BYTES,
    BULK_PIPELINE,
    HEAD_SECONDS,
    KEEP_ALIVE_SECONDS,
    LINGER_SECONDS,
    connections_for,
)
from certwright.server.published import PublishedFiles
from tests.unit.server.transports import KeepingTransport

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class Bench:
    """One connection to a listener over a folder."""

    def __init__(self, folder: Path) -> None:
        self.ticks = 0.0
        self.healthy = True
        self.files = PublishedFiles(folder, lambda: self.ticks)
        self.service = BulkService(self.files, self._health, "https://ca.corp.example:8443", lambda: NOW)
        self.transport = KeepingTransport()
        self.protocol = BulkProtocol(self.service, asyncio.get_running_loop())
        self.protocol.connection_made(self.transport)

    async def _health(self) -> tuple[bool, Mapping[str, object]]:
        await asyncio.sleep(0)
        return self.healthy, {"status": "ok" if self.healthy else "failing"}

    async def ask(self, *heads: str) -> bytes:
        self.protocol.data_received("".join(f"{head}\r\n\r\n" for head in heads).encode())
        for _ in range(20):
            await asyncio.sleep(0)
        return self.transport.taken()


def run(folder: Path, script: Any) -> Any:
    async def main() -> Any:
        return await script(Bench(folder))

    return asyncio.run(main())


def test_a_published_certificate_is_served_with_validators(tmp_path: Path) -> None:
    (tmp_path / "CORP CA.crt").write_bytes(b"certificate")

    async def script(bench: Bench) -> bytes:
        return await bench.ask("GET /CertEnroll/CORP%20CA.crt HTTP/1.1\r\nHost: x")

    answer = run(tmp_path, script)
    head, body = answer.split(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Content-Type: application/pkix-cert\r\nContent-Length: 11" in head
    assert b"ETag: " in head
    assert b"Last-Modified: " in head
    assert b"Date: Sun, 01 Mar 2026 12:00:00 GMT" in head
    assert body == b"certificate"


def test_head_has_the_headers_and_no_body(tmp_path: Path) -> None:
    (tmp_path / "a.crt").write_bytes(b"certificate")

    async def script(bench: Bench) -> tuple[bytes, bytes]:
        return await bench.ask("GET /certenroll/a.crt HTTP/1.1"), await bench.ask("HEAD /CERTENROLL/a.crt HTTP/1.1")

    got, headed = run(tmp_path, script)

    assert got == headed + b"certificate"


def test_an_unchanged_file_is_not_sent_again(tmp_path: Path) -> None:
    """RFC 9110 13.2.2: If-None-Match decides where both are there."""
    (tmp_path / "a.crt").write_bytes(b"certificate")

    async def script(bench: Bench) -> list[bytes]:
        file = bench.files.find("a.crt")
        assert file is not None
        get = "GET /CertEnroll/a.crt HTTP/1.1\r\n"
        same_time = f"If-Modified-Since: {file.last_modified}"
        return [
            await bench.ask(f"{get}If-None-Match: W/{file.etag}"),
            await bench.ask(f"{get}{same_time}"),
            await bench.ask(f'{get}If-None-Match: "other"\r\n{same_time}'),
        ]

    by_tag, by_time, changed = run(tmp_path, script)

    assert by_tag.startswith(b"HTTP/1.1 304 ")
    assert by_tag.endswith(b"\r\n\r\n")
    assert by_time.startswith(b"HTTP/1.1 304 ")
    assert changed.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "path",
    [
        "../master.key",
        "..%2Fmaster.key",
        "%2e%2e/master.key",
        "/etc/passwd",
        ".hidden.crt",
        "sub/a.crt",
        "a.crt%00",
        "a.txt",
        "a.crt/",
        "",
        "..\\a.crt",
    ],
)
def test_nothing_but_published_files_is_found(tmp_path: Path, path: str) -> None:
    """No path from a request is ever followed."""
    folder = tmp_path / "published"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.txt", ".hidden.crt", "sub/a.crt"):
        (folder / name).write_bytes(b"x")
    (tmp_path / "master.key").write_bytes(b"secret")

    async def script(bench: Bench) -> bytes:
        return await bench.ask(f"GET /CertEnroll/{path} HTTP/1.1")

    assert run(folder, script).startswith(b"HTTP/1.1 404 ")


def test_a_replaced_file_is_served_within_a_second(tmp_path: Path) -> None:
    path = tmp_path / "a.crt"
    path.write_bytes(b"old")

    async def script(bench: Bench) -> list[bytes]:
        answers = [await bench.ask("GET /CertEnroll/a.crt HTTP/1.1")]
        draft = tmp_path / "draft"
        draft.write_bytes(b"new!")
        draft.replace(path)
        bench.ticks += published.LOOK_AGAIN
        answers.append(await bench.ask("GET /CertEnroll/a.crt HTTP/1.1"))
        path.unlink()
        bench.ticks += published.LOOK_AGAIN
        answers.append(await bench.ask("GET /CertEnroll/a.crt HTTP/1.1"))
        return answers

    old, new, gone = run(tmp_path, script)

    assert old.endswith(b"old")
    assert new.endswith(b"new!")
    assert gone.startswith(b"HTTP/1.1 404 ")


def test_memory_for_files_is_bounded(tmp_path: Path) -> None:
    for number in range(6):
        (tmp_path / f"{number}.crt").write_bytes(bytes(1000))
    files = PublishedFiles(tmp_path, lambda: 0.0, memory=3 * 2100)

    for number in range(6):
        assert files.find(f"{number}.crt") is not None

    assert files._used <= 3 * 2100
    assert list(files._kept) == ["3.crt", "4.crt", "5.crt"]


def test_a_large_file_is_streamed_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published, "STREAMED_FROM", 1000)
    content = bytes(range(256)) * 4000
    (tmp_path / "large.crt").write_bytes(content)

    async def script(bench: Bench) -> bytes:
        answer = await bench.ask("GET /CertEnroll/large.crt HTTP/1.1", "GET /nothing HTTP/1.1")
        while bench.protocol._answering is not None:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0)
        return answer + bench.transport.taken()

    answer = run(tmp_path, script)
    head, _, rest = answer.partition(b"\r\n\r\n")

    assert b"Content-Length: 1024000" in head
    assert rest[: len(content)] == content
    assert rest[len(content) :].startswith(b"HTTP/1.1 404 ")


def test_a_cache_keeps_a_crl_no_longer_than_its_next_update(tmp_path: Path) -> None:
    """And never longer than an hour, so that a CRL published early gets through."""
    (tmp_path / "a.crt").write_bytes(b"x")
    file = PublishedFiles(tmp_path, lambda: 0.0).find("a.crt")
    assert file is not None
    soon = published.PublishedFile(**{**_fields(file), "expires": NOW + timedelta(minutes=10)})
    late = published.PublishedFile(**{**_fields(file), "expires": NOW + timedelta(days=7)})
    past = published.PublishedFile(**{**_fields(file), "expires": NOW - timedelta(days=7)})

    assert [each.max_age(NOW) for each in (soon, late, past, file)] == [600, 3600, 0, 3600]


def _fields(file: published.PublishedFile) -> dict[str, Any]:
    return {name: getattr(file, name) for name in file.__dataclass_fields__}


def test_health_is_told_as_json(tmp_path: Path) -> None:
    async def script(bench: Bench) -> list[bytes]:
        answers = [await bench.ask("GET /healthz HTTP/1.1")]
        bench.healthy = False
        answers.append(await bench.ask("GET /healthz HTTP/1.1"))
        return answers

    well, ill = run(tmp_path, script)

    assert well.startswith(b"HTTP/1.1 200 ")
    assert b"Content-Type: application/json" in well
    assert well.endswith(b'{"status": "ok"}\n')
    assert ill.startswith(b"HTTP/1.1 503 ")


def test_answers_leave_in_the_order_of_their_requests(tmp_path: Path) -> None:
    """RFC 9112 9.3.2: also when an early one takes longer."""
    (tmp_path / "a.crt").write_bytes(b"certificate\n")

    async def script(bench: Bench) -> bytes:
        return await bench.ask("GET /healthz HTTP/1.1", "GET /CertEnroll/a.crt HTTP/1.1", "GET /x HTTP/1.1")

    answer = run(tmp_path, script)

    assert [line[:12] for line in answer.split(b"\n") if line.startswith(b"HTTP/1.1")] == [
        b"HTTP/1.1 200",
        b"HTTP/1.1 200",
        b"HTTP/1.1 404",
    ]
    assert answer.index(b'{"status"') < answer.index(b"certificate\n")


@pytest.mark.parametrize("path", ["/", "/certsrv", "/CertSrv/certfnsh.asp"])
def test_web_enrollment_is_elsewhere(tmp_path: Path, path: str) -> None:
    """Where credentials are asked for, there is TLS; the host of the answer is ours, not the request's."""

    async def script(bench: Bench) -> bytes:
        return await bench.ask(f"GET {path} HTTP/1.1\r\nHost: attacker.example")

    answer = run(tmp_path, script)

    assert answer.startswith(b"HTTP/1.1 302 ")
    assert b"\r\nLocation: https://ca.corp.example:8443/certsrv/\r\n" in answer


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("POST /certsrv/certfnsh.asp HTTP/1.1\r\nContent-Length: 0", 405),
        ("POST /CertEnroll/a.crt HTTP/1.1\r\nContent-Length: 5", 405),
        ("GET /CertEnroll/a.crt HTTP/1.1\r\nContent-Length: 5", 413),
        ("GET /CertEnroll/a.crt HTTP/1.1\r\nTransfer-Encoding: chunked", 413),
        ("DELETE /CertEnroll/a.crt HTTP/1.1", 405),
        ("nonsense", 400),
        ("GET /%ff HTTP/1.1", 400),
        (f"GET /{'a' * BULK_HEAD_BYTES} HTTP/1.1", 431),
    ],
)
def test_anything_else_is_refused(tmp_path: Path, head: str, status: int) -> None:
    async def script(bench: Bench) -> bytes:
        return await bench.ask(head)

    assert run(tmp_path, script).startswith(b"HTTP/1.1 %d " % status)


def test_an_offered_upgrade_is_ignored(tmp_path: Path) -> None:
    """RFC 9110 7.8. The connection stays usable."""

    async def script(bench: Bench) -> list[bytes]:
        head = "GET /x HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ"
        return [await bench.ask(head), await bench.ask(head)]

    first, second = run(tmp_path, script)

    assert first == second
    assert first.startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize(("version", "header"), [("1.0", ""), ("1.1", "\r\nConnection: close")])
def test_a_client_that_wants_the_connection_closed_gets_that(tmp_path: Path, version: str, header: str) -> None:
    async def script(bench: Bench) -> tuple[bytes, bool]:
        return await bench.ask(f"GET /x HTTP/{version}{header}"), bench.transport.closed

    answer, closed = run(tmp_path, script)

    assert b"\r\nConnection: close\r\n" in answer
    assert closed


def test_a_head_may_come_byte_by_byte_but_not_for_ever(tmp_path: Path) -> None:
    async def script(bench: Bench) -> tuple[bytes, bool]:
        begun = asyncio.get_running_loop().time()
        for byte in b"GET /x HTTP/1.1\r\n\r\n":
            bench.protocol.data_received(bytes([byte]))
        answer = bench.transport.taken()
        bench.protocol.sweep(begun + KEEP_ALIVE_SECONDS - 1)
        assert not bench.transport.aborted
        bench.protocol.data_received(b"GET /x")
        bench.protocol.sweep(begun + HEAD_SECONDS + 1)
        return answer, bench.transport.aborted

    answer, aborted = run(tmp_path, script)

    assert answer.startswith(b"HTTP/1.1 404 ")
    assert aborted


def test_requests_ahead_of_their_answers_are_bounded(tmp_path: Path) -> None:
    async def script(bench: Bench) -> bool:
        await bench.ask(*["GET /healthz HTTP/1.1"] * (BULK_PIPELINE + 2))
        return bench.transport.closed

    assert run(tmp_path, script)


def test_the_oldest_connection_that_waits_for_nothing_gives_way_to_a_new_one(tmp_path: Path) -> None:
    """Whoever fills the listener with idle connections keeps nobody else out."""

    async def script(bench: Bench) -> tuple[list[bool], bytes]:
        bench.service.most_connections = 3
        bench.transport.unsent = 1  # somebody still takes an answer there
        idle = [KeepingTransport() for _ in range(2)]
        for transport in idle:
            BulkProtocol(bench.service, asyncio.get_running_loop()).connection_made(transport)
        newest = KeepingTransport()
        protocol = BulkProtocol(bench.service, asyncio.get_running_loop())
        protocol.connection_made(newest)
        protocol.data_received(b"GET /x HTTP/1.1\r\n\r\n")
        assert len(bench.service.connections) == 3
        return [each.aborted for each in (bench.transport, *idle, newest)], newest.taken()

    aborted, answer = run(tmp_path, script)

    assert aborted == [False, True, False, False]
    assert answer.startswith(b"HTTP/1.1 404 ")


def test_there_are_fewer_connections_where_there_are_fewer_files() -> None:
    assert connections_for(4 * BULK_CONNECTIONS) == BULK_CONNECTIONS
    assert connections_for(1024) == 512
    assert connections_for(0) == 64


def test_who_takes_no_answers_is_not_read_until_they_do(tmp_path: Path) -> None:
    """Else whoever asks without end would fill this process with answers."""

    async def script(bench: Bench) -> tuple[int, bool, int]:
        bench.protocol.pause_writing()
        early = await bench.ask(*["GET /x HTTP/1.1"] * 3)
        reading = bench.transport.reading
        bench.protocol.resume_writing()
        return early.count(b"404"), reading, bench.transport.taken().count(b"HTTP/1.1 404")

    assert run(tmp_path, script) == (0, False, 3)


def test_many_requests_ahead_let_others_have_their_turn(tmp_path: Path) -> None:
    async def script(bench: Bench) -> tuple[int, bool, int, bool]:
        bench.protocol.data_received(b"GET /x HTTP/1.1\r\n\r\n" * 100)
        at_once, reading = bench.transport.taken().count(b"HTTP/1.1 404"), bench.transport.reading
        for _ in range(10):
            await asyncio.sleep(0)
        return at_once, reading, bench.transport.taken().count(b"HTTP/1.1 404"), bench.transport.reading

    assert run(tmp_path, script) == (32, False, 68, True)


def test_who_sends_a_refused_body_reads_the_refusal(tmp_path: Path) -> None:
    """Closed at once, the connection would break while they send; after some seconds it ends in any case."""

    async def script(bench: Bench) -> tuple[bytes, bool, bool]:
        head = b"GET /x HTTP/1.1\r\nContent-Length: 999999\r\n\r\n"
        bench.protocol.data_received(head + bytes(100))
        bench.protocol.data_received(bytes(1000))
        answer, aborted = bench.transport.taken(), bench.transport.aborted
        bench.protocol.sweep(asyncio.get_running_loop().time() + LINGER_SECONDS + 1)
        return answer, aborted, bench.transport.aborted

    answer, early, late = run(tmp_path, script)

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert (early, late) == (False, True)
