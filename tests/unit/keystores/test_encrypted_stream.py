"""A file under a password: nothing comes out of it that was not authenticated, and its end is what was written."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest

from certwright.keystores import encrypted_stream
from certwright.keystores.encrypted_stream import CHUNK, DecryptingReader, EncryptedStreamError, EncryptingWriter

PASSWORD = "correct horse battery"


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """scrypt that takes no half second in every test."""
    monkeypatch.setattr(encrypted_stream, "_COST", (10, 8, 1))


def encrypted(content: bytes, password: str = PASSWORD) -> bytes:
    out = io.BytesIO()
    writer = EncryptingWriter(out, password)
    for at in range(0, len(content), 70_001):
        writer.write(content[at : at + 70_001])
    writer.finish()
    return out.getvalue()


def decrypted(file: bytes, password: str = PASSWORD) -> bytes:
    return io.BufferedReader(DecryptingReader(io.BytesIO(file), password)).read()


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_what_went_in_comes_out(size: int) -> None:
    content = bytes(range(256)) * (size // 256 + 1)
    assert decrypted(encrypted(content[:size])) == content[:size]


def test_the_same_twice_is_another_file() -> None:
    assert encrypted(b"the same") != encrypted(b"the same")


def test_another_password_opens_nothing() -> None:
    with pytest.raises(EncryptedStreamError, match="password is wrong"):
        decrypted(encrypted(b"secret"), "another password")


def test_a_short_password_is_refused() -> None:
    with pytest.raises(EncryptedStreamError, match="12 characters"):
        EncryptingWriter(io.BytesIO(), "too short")


def second_chunk(file: bytes) -> int:
    at = file.index(b"\n") + 1
    return at + 4 + int.from_bytes(file[at : at + 4])


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda file: file[:-1], "cut off"),
        (lambda file: file[: second_chunk(file)], "cut off"),
        (lambda file: file[: file.index(b"\n") + 1], "cut off"),
        (lambda file: file + b"more", "follows after the end"),
        (lambda file: file[:-5] + bytes((file[-5] ^ 1,)) + file[-4:], "damaged"),
        (lambda file: file[: file.index(b"\n") + 1] + file[second_chunk(file) :], "password is wrong, or the file"),
        (lambda file: file.replace(b" 10 8 1 ", b" 10 8 2 "), "password is wrong, or the file"),
        (lambda file: file.replace(b" 10 8 1 ", b" 30 8 1 "), "more memory"),
        (lambda file: file.replace(b" 10 8 1 ", b" 10 0 1 "), "more memory"),
        (lambda file: b"PK" + file, "no encrypted file"),
        (lambda _file: b"", "no encrypted file"),
    ],
)
def test_a_file_that_was_changed_does_not_open(spoil: Callable[[bytes], bytes], said: str) -> None:
    file = encrypted(b"x" * (CHUNK + 100))
    with pytest.raises(EncryptedStreamError, match=said):
        decrypted(spoil(file))


def test_chunks_cannot_change_places() -> None:
    file = encrypted(b"a" * CHUNK + b"b" * CHUNK + b"c")
    start = file.index(b"\n") + 1
    size = second_chunk(file) - start
    first, second = file[start : start + size], file[start + size : start + 2 * size]

    with pytest.raises(EncryptedStreamError):
        decrypted(file[:start] + second + first + file[start + 2 * size :])


def test_an_unfinished_file_does_not_open() -> None:
    out = io.BytesIO()
    EncryptingWriter(out, PASSWORD).write(b"x" * (2 * CHUNK))
    with pytest.raises(EncryptedStreamError, match="cut off"):
        decrypted(out.getvalue())
