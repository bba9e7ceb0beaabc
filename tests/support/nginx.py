"""nginx in a folder of its own, on ports of loopback: a stapling server, a cache in front of ours, files."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PATIENCE = 10.0

_MAIN = """daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log info;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    keepalive_requests 1000000000;
    {http}
}}
"""


@contextmanager
def nginx(folder: Path, port: int, http: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run nginx with this inside its `http` block until the block ends; it answers at `port` when this returns."""
    program = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    if program is None:
        pytest.skip("nginx is not installed")
    folder.mkdir(exist_ok=True)
    configuration = folder / "nginx.conf"
    configuration.write_text(_MAIN.format(folder=folder, http=http))
    process = subprocess.Popen(
        [program, "-c", str(configuration), "-p", str(folder), "-e", str(folder / "error.log")],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    log = folder / "error.log"
                    pytest.fail(f"nginx does not start:\n{log.read_text() if log.exists() else ''}")
                time.sleep(0.05)
        yield process
    finally:
        process.terminate()
        process.wait(PATIENCE)
