"""Other people's programs as judges: OpenSSL and GnuTLS. What is missing skips the test, by name."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


def run(program: str, *arguments: str | Path, data: bytes = b"", check: bool = True) -> str:
    """Standard output and error of a program, as text. A failure shows what the program said."""
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"{program} is not installed")
    done = subprocess.run(
        [path, *map(str, arguments)], input=data, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60
    )
    text = done.stdout.decode("utf-8", "replace")
    if check and done.returncode:
        pytest.fail(f"{program} {' '.join(map(str, arguments))} ended with {done.returncode}:\n{text}")
    return text


def openssl(*arguments: str | Path, data: bytes = b"", check: bool = True) -> str:
    return run("openssl", *arguments, data=data, check=check)


def certtool(*arguments: str | Path, data: bytes = b"", check: bool = True) -> str:
    """GnuTLS's certificate tool."""
    return run("certtool", *arguments, data=data, check=check)
