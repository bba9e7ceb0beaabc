"""Other people's clients, set on our server: PyPI certsrv, requests with NTLM, curl."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from certwright.pki import armor
from tests.support.requests import web_server_request
from tests.support.server import ADMINISTRATOR, RunningServer


def certsrv(server: RunningServer, method: str, account: str = ADMINISTRATOR, password: str = "") -> Any:
    """PyPI certsrv's client; it verifies our TLS certificate against our root and nothing else."""
    library = pytest.importorskip("certsrv", reason="PyPI certsrv is not installed")
    client = library.Certsrv(
        f"localhost:{server.https_port}",
        account,
        password or server.password,
        auth_method=method,
        cafile=str(server.root_certificate),
    )
    client.session.trust_env = False  # a bundle named in the environment would replace our root
    return client


def request_pem(host: str = "www.corp.example") -> str:
    """A request for a TLS server, as openssl req makes it."""
    return armor.armor(armor.CERTIFICATE_REQUEST, web_server_request(host))


def curl(server: RunningServer, *arguments: str) -> tuple[int, str]:
    """Status and headers with body of one curl call that trusts our root."""
    done = subprocess.run(
        [
            "curl",
            "-s",
            "-i",
            "--max-time",
            "20",
            "--noproxy",
            "*",
            "--cacert",
            str(server.root_certificate),
            *arguments,
        ],
        capture_output=True,
        check=False,
    )
    text = done.stdout.decode("latin-1")
    statuses = [line.split()[1] for line in text.splitlines() if line.startswith("HTTP/1.1 ")]
    return int(statuses[-1]) if statuses else 0, text


def saved(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path
