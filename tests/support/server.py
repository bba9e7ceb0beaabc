"""A real installation in a folder of its own: initialised and run as separate processes, over loopback.

Tests of the whole drive it as an administrator does: by the command line, by signals, and through its ports.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

DOMAIN: Final = "corp.example"
NETBIOS: Final = "CORP"
ADMINISTRATOR: Final = rf"{NETBIOS}\Administrator"
PATIENCE: Final = 30.0  # seconds for a start or a stop, on a busy machine


def free_ports(count: int) -> list[int]:
    """Ports of the loopback address that nobody uses right now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def certwright(home: Path, *arguments: str | Path, data: bytes | str = b"") -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "certwright", *map(str, arguments)],
        input=data.decode() if isinstance(data, bytes) else data,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=environment(home),
        cwd=home.parent,
    )


def environment(home: Path) -> dict[str, str]:
    """The environment of a command, without the variables that would change what is tested."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("CERTWRIGHT_")}
    return ours | {"CERTWRIGHT_HOME": str(home), "TERM": "dumb"}


class RunningServer:
    """An initialised home and, after `start`, the process that serves it."""

    def __init__(self, home: Path, https_port: int, http_port: int) -> None:
        self.home = home
        self.https_port = https_port
        self.http_port = http_port
        self.process: subprocess.Popen[str] | None = None
        self.ready_line = ""
        self.log: list[str] = []
        self._collector = threading.Thread()

    @classmethod
    def initialise(cls, folder: Path, *options: str) -> RunningServer:
        """`certwright init` with quick keys, for `localhost` in the domain `corp.example`."""
        https_port, http_port = free_ports(2)
        server = cls(folder / "home", https_port, http_port)
        chosen = [
            *("--hostname", "localhost", "--dns-domain", DOMAIN, "--netbios", NETBIOS),
            *("--https-port", str(https_port), "--http-port", str(http_port)),
            *("--root-key", "ecdsa-p256", "--ca-key", "ecdsa-p256"),
        ]
        server.cli("init", *chosen, *options)
        return server

    # -- the command line

    def run(self, *arguments: str | Path, data: bytes | str = b"") -> subprocess.CompletedProcess[str]:
        return certwright(self.home, *arguments, data=data)

    def cli(self, *arguments: str | Path, data: bytes | str = b"") -> str:
        """Standard output of a command that has to succeed."""
        done = self.run(*arguments, data=data)
        assert done.returncode == 0, f"certwright {' '.join(map(str, arguments))}: {done.returncode}\n{done.stderr}"
        return done.stdout

    def json(self, *arguments: str | Path, data: bytes | str = b"") -> Any:
        return json.loads(self.cli(*arguments, "--json", data=data))

    # -- the process

    def start(self, command: str = "run", *arguments: str) -> RunningServer:
        """Start serving and wait for the ready line."""
        assert self.process is None
        self.process = subprocess.Popen(
            [sys.executable, "-m", "certwright", command, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(self.home),
            cwd=self.home.parent,
        )
        assert self.process.stdout is not None
        self._collector = threading.Thread(target=self._collect, args=(self.process,), daemon=True)
        self._collector.start()
        watchdog = threading.Timer(PATIENCE, self.process.kill)
        watchdog.start()
        self.ready_line = self.process.stdout.readline()
        watchdog.cancel()
        if not self.ready_line:
            code = self.process.wait(5)
            time.sleep(0.1)
            raise AssertionError(f"certwright {command} ended with {code}:\n{''.join(self.log)}")
        return self

    def _collect(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        for line in process.stderr:
            self.log.append(line)

    def events(self) -> list[dict[str, Any]]:
        """What the process logged so far."""
        return [json.loads(line) for line in tuple(self.log) if line.startswith("{")]

    def awaited_events(self, wanted: Callable[[dict[str, Any]], bool], since: int = 0) -> list[dict[str, Any]]:
        """The logged events that are wanted, once there is one: the log arrives a moment after the answer."""
        deadline = time.monotonic() + 5.0
        while True:
            found = [event for event in self.events()[since:] if wanted(event)]
            if found or time.monotonic() > deadline:
                return found
            time.sleep(0.01)

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End the process and return its exit status."""
        if self.process is None:
            return 0
        process, self.process = self.process, None
        process.send_signal(number)
        try:
            code = process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)
            raise
        finally:
            assert process.stdout is not None
            assert process.stderr is not None
            self._collector.join(5)
            process.stdout.close()
            process.stderr.close()
        return code

    def kill(self) -> None:
        """End it at once, as a power failure of the process."""
        self.stop(signal.SIGKILL)

    # -- its ports

    @property
    def https(self) -> str:
        return f"https://localhost:{self.https_port}"

    @property
    def http(self) -> str:
        return f"http://localhost:{self.http_port}"

    @property
    def root_certificate(self) -> Path:
        return self.home / "root-ca.crt"

    @property
    def password(self) -> str:
        """The Administrator's."""
        return (self.home / "administrator-password").read_text().strip()

    def tls_context(self) -> ssl.SSLContext:
        """A client that trusts our root and nobody else."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self.root_certificate)
        return context

    def shown_certificate(self) -> bytes:
        """The certificate (DER) that the HTTPS listener shows now."""
        with (
            socket.create_connection(("localhost", self.https_port), 10) as plain,
            self.tls_context().wrap_socket(plain, server_hostname="localhost") as secured,
        ):
            return secured.getpeercert(True) or b""
