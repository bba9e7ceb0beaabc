"""Files and passwords that commands read and write."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from certwright.adcs.errors import InvalidArgument

MAX_PASSWORD_FILE = 4096


def read_file(name: str, limit: int) -> bytes:
    """A file's contents, or standard input's for `-`.

    Raises:
        InvalidArgument: longer than `limit` bytes.
        OSError: it cannot be read.
    """
    if name == "-":
        data = sys.stdin.buffer.read(limit + 1)
    else:
        with Path(name).open("rb") as file:
            data = file.read(limit + 1)
    if len(data) > limit:
        raise InvalidArgument(f"{'standard input' if name == '-' else name} is larger than {limit} bytes")
    return data


def write_file(path: Path, data: bytes, *, force: bool = False) -> None:
    """Write a new file, whole or not at all; an existing one is replaced only with `force`.

    Raises:
        InvalidArgument: it exists.
    """
    if str(path) == "-":
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    if path.exists() and not force:
        raise InvalidArgument(f"{path} exists already; name another file, or give --force to replace it")
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_bytes(data)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def read_password(file: str, prompt: str = "Password", option: str = "--password-file") -> str:
    """A password from the first line of a file, from standard input (`-`), or typed twice without echo.

    Never from an argument: those can be seen by every account of the host.

    Raises:
        InvalidArgument: there is none, or it is no UTF-8 text.
    """
    if not file and sys.stdin.isatty():
        import getpass

        first = getpass.getpass(f"{prompt}: ", stream=sys.stderr)
        if first != getpass.getpass(f"{prompt} again: ", stream=sys.stderr):
            raise InvalidArgument(f"the two {prompt.partition(' ')[0].lower()}s differ")
        text = first
    else:
        try:
            text = read_file(file or "-", MAX_PASSWORD_FILE).decode("utf-8").partition("\n")[0].removesuffix("\r")
        except UnicodeDecodeError:
            raise InvalidArgument(f"{file or 'standard input'} is no UTF-8 text") from None
    if not text:
        raise InvalidArgument(
            f"there is no {prompt.partition(' ')[0].lower()}: give a file that holds it with {option}, or write it to"
            " standard input"
        )
    return text
