"""The load driver: a process of its own that keeps some connections busy and counts what comes back.

    python -m bench.load < job.json-lines

The first line on standard input is a `Job`; when its connections are up (TLS made, logged on) the driver answers
`{"ready": N}`. Each further line is a number of seconds: it sends requests for so long, waits for the answers under
way, and prints a `Slice`. It ends with its standard input.

Loopback only. Answers are judged by their content, never by the HTTP status: a server that refuses quickly looks
fast. A slice is bounded in time and in answers, every wait has a limit; a connection lost within it ends the driver.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import ssl
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self

LOOPBACK: Final = "127.0.0.1"
MAX_ANSWERS: Final = 500_000
"""Answers in one slice, at most."""
ANSWER_SECONDS: Final = 30.0
MAX_ANSWER: Final = 1 << 20
MAX_SLICE_SECONDS: Final = 60.0
LOG_ON_PATH: Final = "/certsrv/"


@dataclass(frozen=True, slots=True)
class Job:
    """What is sent, where, and what a good answer contains.

    Args:
        bodies: sent in turn, each connection beginning elsewhere.
        encoded: the bodies are base64 of what is sent.
        gets: ask for the path by GET, without a body; `bodies` has to have one all the same.
        marker: text that stands in every good answer and in no other.
        root: PEM file of the root to trust; empty for plain HTTP.
        account: log on with NTLM, channel bindings included; empty for none.
        pause: seconds that each connection waits between an answer and its next request.
    """

    port: int
    path: str
    content_type: str
    bodies: Sequence[str]
    marker: str
    connections: int = 32
    root: str = ""
    hostname: str = "localhost"
    account: str = ""
    password: str = ""
    encoded: bool = False
    pause: float = 0.0
    gets: bool = False


@dataclass(frozen=True, slots=True)
class Slice:
    """What one slice gave. Times in seconds; `first` is the first good answer's body, `other` the first bad one's."""

    good: int
    bad: int
    seconds: float
    p50: float
    p99: float
    first: str
    other: str

    @property
    def rate(self) -> float:
        """Good answers per second of wall time."""
        return self.good / self.seconds


class Driver:
    """The other end: starts the driver and speaks to it. A context manager; `slice` blocks while load is made."""

    def __init__(self, job: Job) -> None:
        """Raises:
        RuntimeError: the connections could not be made; what the driver said is part of it.
        """
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.load"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).resolve().parent.parent,
        )
        self._ask(json.dumps(asdict(job)))

    @property
    def pid(self) -> int:
        return self._process.pid

    def slice(self, seconds: float) -> Slice:
        """Make load for so long."""
        return Slice(**self._ask(str(seconds)))

    def _ask(self, line: str) -> dict[str, Any]:
        stdin, stdout = _pipes(self._process)
        stdin.write(line + "\n")
        stdin.flush()
        answer = stdout.readline()
        if not answer:
            raise RuntimeError(f"the load driver ended with {self._process.wait(10)}; see its error above")
        said: dict[str, Any] = json.loads(answer)
        return said

    def close(self) -> None:
        stdin, stdout = _pipes(self._process)
        stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _pipes(process: subprocess.Popen[str]) -> tuple[IO[str], IO[str]]:
    assert process.stdin is not None
    assert process.stdout is not None
    return process.stdin, process.stdout


# -- the driver's own process ----------------------------------------------------------------------------------------


class _Client(asyncio.Protocol):
    """One keep-alive connection: a request, its answer, the next request."""

    def __init__(self) -> None:
        self.transport: Any = None  # uvloop's own class, a WriteTransport in all but name
        self.lost = False
        self._buffer = bytearray()
        self._missing = 0  # bytes until the answer is complete; 0 while its head is not
        self._waiter: asyncio.Future[bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(ConnectionError(f"the server closed a connection: {exc}"))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._missing:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            self._missing = end + 4 + _content_length(bytes(self._buffer[:end]))
        if len(self._buffer) >= self._missing and self._waiter is not None and not self._waiter.done():
            answer = bytes(self._buffer)
            self._buffer.clear()
            self._missing = 0
            self._waiter.set_result(answer)

    async def ask(self, request: bytes) -> bytes:
        """Head and body of the answer."""
        if self.lost:
            raise ConnectionError("the server closed an idle connection")
        self._waiter = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self._waiter


def _content_length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name == b"content-length":
            length = int(value)
            if length > MAX_ANSWER:
                raise ValueError(f"an answer of {length} bytes")
            return length
    raise ValueError("an answer without Content-Length")


async def _connect(job: Job, context: ssl.SSLContext | None) -> _Client:
    loop = asyncio.get_running_loop()
    name = job.hostname if context else None
    _, client = await loop.create_connection(_Client, LOOPBACK, job.port, ssl=context, server_hostname=name)
    if job.account:
        await _log_on(client, job)
    return client


async def _log_on(client: _Client, job: Job) -> None:
    """NTLM as browsers and requests-ntlm do it: bound to the TLS certificate, once per connection. RFC 5929 4."""
    import spnego
    from spnego.channel_bindings import GssChannelBindings

    certificate = client.transport.get_extra_info("ssl_object").getpeercert(True)
    binding = b"tls-server-end-point:" + hashlib.sha256(certificate).digest()
    context = spnego.client(
        job.account,
        job.password,
        job.hostname,
        "HTTP",
        protocol="ntlm",
        channel_bindings=GssChannelBindings(application_data=binding),
    )
    token = context.step()
    while True:
        header = f"Authorization: NTLM {base64.b64encode(token or b'').decode()}\r\n"
        answer = await client.ask(_head(job, f"GET {LOG_ON_PATH}", header))
        if answer.startswith(b"HTTP/1.1 200"):
            return
        offered = answer.partition(b"NTLM ")[2].partition(b"\r\n")[0]
        if not offered or context.complete:
            raise ConnectionError(f"the server refused the logon: {answer[:200]!r}")
        token = context.step(base64.b64decode(offered))


def _head(job: Job, start: str, more: str = "") -> bytes:
    return (
        f"{start} HTTP/1.1\r\nHost: {job.hostname}:{job.port}\r\nUser-Agent: certwright-bench\r\n"
        f"Accept-Encoding: gzip, deflate\r\nAccept: */*\r\nConnection: keep-alive\r\n{more}\r\n"
    ).encode()


def _requests(job: Job) -> list[bytes]:
    if job.gets:
        return [_head(job, f"GET {job.path}")]
    bodies = [base64.b64decode(body) if job.encoded else body.encode() for body in job.bodies]
    return [
        _head(
            job,
            f"POST {job.path}",
            f"Content-Type: {job.content_type}\r\nContent-Length: {len(body)}\r\n",
        )
        + body
        for body in bodies
    ]


class _Tally:
    def __init__(self, marker: bytes) -> None:
        self._marker = marker
        self.waits: list[float] = []
        self.bad = 0
        self.first = b""
        self.other = b""

    def take(self, answer: bytes, waited: float) -> None:
        if self._marker in answer:
            self.waits.append(waited)
            self.first = self.first or answer
        else:
            self.bad += 1
            self.other = self.other or answer

    def slice(self, seconds: float) -> Slice:
        waits = sorted(self.waits) or [0.0]
        return Slice(
            good=len(self.waits),
            bad=self.bad,
            seconds=seconds,
            p50=waits[len(waits) // 2],
            p99=waits[int(len(waits) * 0.99)],
            first=self.first.partition(b"\r\n\r\n")[2].decode("utf-8", "replace"),
            other=self.other[:2000].decode("utf-8", "replace"),
        )


async def _drive(job: Job) -> None:
    context = None
    if job.root:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(job.root)
    requests = _requests(job)
    async with asyncio.timeout(ANSWER_SECONDS):
        clients = [await _connect(job, context) for _ in range(job.connections)]
    places = [number * len(requests) // len(clients) for number in range(len(clients))]
    _say({"ready": len(clients)})
    while line := await asyncio.to_thread(sys.stdin.readline):
        seconds = min(float(line), MAX_SLICE_SECONDS)
        async with asyncio.timeout(ANSWER_SECONDS):  # a server may close what was idle while others were measured
            clients[:] = [await _connect(job, context) if client.lost else client for client in clients]
        tally = _Tally(job.marker.encode())
        began = time.perf_counter()

        async def keep_busy(number: int, tally: _Tally, until: float) -> None:
            place = places[number]
            while (asked := time.perf_counter()) < until and len(tally.waits) + tally.bad < MAX_ANSWERS:
                answer = await clients[number].ask(requests[place])
                tally.take(answer, time.perf_counter() - asked)
                place = (place + 1) % len(requests)
                if job.pause:
                    await asyncio.sleep(job.pause)
            places[number] = place

        async with asyncio.timeout(seconds + ANSWER_SECONDS):
            await asyncio.gather(*(keep_busy(number, tally, began + seconds) for number in range(len(clients))))
        _say(asdict(tally.slice(time.perf_counter() - began)))


def _say(said: dict[str, Any]) -> None:
    print(json.dumps(said), flush=True)


def main() -> None:
    """Read the job and drive."""
    job = Job(**json.loads(sys.stdin.readline()))
    try:
        import uvloop
    except ImportError:
        asyncio.run(_drive(job))
    else:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_drive(job))


if __name__ == "__main__":
    main()
