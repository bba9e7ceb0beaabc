"""Devices over the plain HTTP port of a running server: each sends one message until it has its certificate."""

from __future__ import annotations

import hashlib
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from certwright.endpoints.plain import Reply
from certwright.pki.certificate import CertificateView
from certwright.wire.scep import PkiMessage, PkiStatus
from tests.support.scep import Answer, Ask, Device
from tests.support.server import DOMAIN, RunningServer

RETRY: Final = 0.05
TIMEOUT: Final = 20.0
KEYS: Final = 16
"""Devices share this many: keys take time to make, and a transaction tells them apart."""


def over_http(server: RunningServer, path: str = "/certsrv/mscep/mscep.dll") -> Ask:
    """The way to a server's port. Raises `OSError` while nobody listens."""

    def ask(method: str, query: bytes, body: bytes) -> Reply:
        request = urllib.request.Request(
            f"http://127.0.0.1:{server.http_port}{path}?{query.decode()}", body or None, method=method
        )
        request.add_header("Content-Type", "application/x-pki-message")
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
                return Reply(answer.status, b"", answer.read())
        except urllib.error.HTTPError as error:
            return Reply(error.code, b"", error.read())

    return ask


@dataclass
class Fleet:
    """Several devices, whose messages are made before anything is sent.

    Args:
        challenges: one each.
        first: number of the first one's key and name.
    """

    server: RunningServer
    challenges: Sequence[str]
    first: int = 0
    certificates: dict[str, CertificateView] = field(default_factory=dict)  # by host
    seconds: dict[str, float] = field(default_factory=dict)
    statuses: list[int] = field(default_factory=list)  # of HTTP, other than 200
    surprises: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        ask = over_http(self.server)
        self._devices = [
            Device(ask, f"device{self.first + number}.{DOMAIN}", 5000 + number % KEYS)
            for number in range(len(self.challenges))
        ]
        for device in self._devices:
            device.transaction = hashlib.sha256(device.host.encode()).hexdigest()
        bundle = self._devices[0].bundle()
        for device in self._devices:
            device.bundle = lambda: bundle  # type: ignore[method-assign]
        self._messages = [
            device.message(device.request(challenge))
            for device, challenge in zip(self._devices, self.challenges, strict=True)
        ]
        self._threads: list[threading.Thread] = []

    def start(self, part: slice = slice(None)) -> Fleet:
        """Some of them, all as a rule, send now."""
        begun = [
            threading.Thread(target=self._enroll, args=(device, message))
            for device, message in zip(self._devices[part], self._messages[part], strict=True)
        ]
        for thread in begun:
            thread.start()
        self._threads += begun
        return self

    def await_more(self, count: int, patience: float = 30.0) -> None:
        """Until so many have theirs."""
        deadline = time.monotonic() + patience
        while len(self.certificates) < count and time.monotonic() < deadline:
            time.sleep(0.005)
        assert len(self.certificates) >= count, (len(self.certificates), self.surprises)

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _enroll(self, device: Device, message: bytes) -> None:
        began = time.monotonic()
        while not self._stop.is_set():
            try:
                reply = device.ask("POST", b"operation=PKIOperation", message)
            except (OSError, EOFError):  # the server is down, or went down in the middle
                self._stop.wait(RETRY)
                continue
            except Exception as error:  # noqa: BLE001 - http.client has many
                if "http.client" not in type(error).__module__:
                    self.surprises.append(repr(error))
                    return
                self._stop.wait(RETRY)
                continue
            if reply.status != 200:
                self.statuses.append(reply.status)
                self._stop.wait(RETRY)
                continue
            answer: Answer = device.read(reply.body, PkiMessage.parse(message))
            if answer.status is PkiStatus.SUCCESS:
                self.seconds[device.host] = time.monotonic() - began
                self.certificates[device.host] = answer.certificate
                return
            if answer.status is PkiStatus.FAILURE:
                self.surprises.append(f"{device.host}: {answer.text}")
                return
            self._stop.wait(RETRY)
