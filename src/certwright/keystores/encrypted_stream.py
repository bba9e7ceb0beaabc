"""A file of any length under a password: scrypt (RFC 7914) and AES-256-GCM in chunks, read and written once.

    CERTWRIGHT-ENCRYPTED 1 <log2 of N> <r> <p> <salt, hex> <nonce prefix, hex>\n
    (length, 4 octets; ciphertext and tag) ...

The head is authenticated with every chunk. A chunk's nonce is prefix, number and whether it is the last, so that none
can be left out, added, exchanged or cut off (the STREAM construction of Hoang, Reyhanitabar, Rogaway and Vizar).
"""

from __future__ import annotations

import io
import re
import secrets
from typing import IO, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

CHUNK: Final = 1 << 20
SHORTEST_PASSWORD: Final = 12
"""Characters: the file lies where others may try passwords for years."""

_COST: Final = 17, 8, 1  # log2 of N, r, p: 128 MiB and half a second
_DEAREST: Final = 20, 16, 4
_HEAD: Final = re.compile(rb"CERTWRIGHT-ENCRYPTED 1 (\d{1,2}) (\d{1,2}) (\d{1,2}) ([0-9a-f]{32}) ([0-9a-f]{14})\n")
_LONGEST_HEAD: Final = 128
_TAG: Final = 16


class EncryptedStreamError(Exception):
    """The password is wrong, or the file is none, damaged or cut off. The sentence is for people."""


class EncryptingWriter(io.RawIOBase):
    """What is written is encrypted into `target`. Without `finish` the file is not whole, and does not open."""

    def __init__(self, target: IO[bytes], password: str) -> None:
        """Raises:
        EncryptedStreamError: the password is too short.
        """
        super().__init__()
        if len(password) < SHORTEST_PASSWORD:
            raise EncryptedStreamError(f"the password needs {SHORTEST_PASSWORD} characters at least")
        salt, self._prefix = secrets.token_bytes(16), secrets.token_bytes(7)
        cost = " ".join(map(str, _COST))
        self._head = f"CERTWRIGHT-ENCRYPTED 1 {cost} {salt.hex()} {self._prefix.hex()}\n".encode()
        self._key = _key(password, salt, *_COST)
        self._target = target
        self._number = 0
        self._waiting = bytearray()
        target.write(self._head)

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        view = memoryview(data)  # type: ignore[arg-type]
        self._waiting += view
        while len(self._waiting) > CHUNK:
            self._seal(bytes(self._waiting[:CHUNK]), last=False)
            del self._waiting[:CHUNK]
        return view.nbytes

    def finish(self) -> None:
        """Write the last chunk; nothing can be written afterwards."""
        self._seal(bytes(self._waiting), last=True)
        self._waiting.clear()
        self.close()

    def _seal(self, chunk: bytes, *, last: bool) -> None:
        sealed = self._key.encrypt(_nonce(self._prefix, self._number, last=last), chunk, self._head)
        self._target.write(len(sealed).to_bytes(4))
        self._target.write(sealed)
        self._number += 1


class DecryptingReader(io.RawIOBase):
    """What `source` holds, decrypted. Nothing is given out that was not authenticated; the end is, too."""

    def __init__(self, source: IO[bytes], password: str) -> None:
        """Raises:
        EncryptedStreamError: it is no such file.
        """
        super().__init__()
        head = source.readline(_LONGEST_HEAD)
        found = _HEAD.fullmatch(head)
        if found is None:
            raise EncryptedStreamError("this is no encrypted file of Certwright")
        cost = tuple(int(each) for each in found.groups()[:3])
        if any(not 0 < each <= most for each, most in zip(cost, _DEAREST, strict=True)):
            raise EncryptedStreamError("the file asks for more memory than a password is worth; it was changed")
        self._head, self._prefix = head, bytes.fromhex(found[5].decode())
        self._key = _key(password, bytes.fromhex(found[4].decode()), *cost)
        self._source = source
        self._number = 0
        self._chunk = memoryview(b"")
        self._at_end = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        """Raises:
        EncryptedStreamError: wrong password, or the file was damaged or cut off.
        """
        while not self._chunk and not self._at_end:
            self._chunk = memoryview(self._open())
        view = memoryview(buffer)  # type: ignore[arg-type]
        size = min(len(view), len(self._chunk))
        view[:size] = self._chunk[:size]
        self._chunk = self._chunk[size:]
        return size

    def _open(self) -> bytes:
        length = int.from_bytes(self._source.read(4))
        if not _TAG <= length <= CHUNK + _TAG:
            raise EncryptedStreamError("the file is damaged or was cut off")
        sealed = self._source.read(length)
        for last in (False, True):
            try:
                chunk = self._key.decrypt(_nonce(self._prefix, self._number, last=last), sealed, self._head)
            except InvalidTag:
                continue
            if last and self._source.read(1):
                raise EncryptedStreamError("something follows after the end of the file; it was changed")
            self._at_end = last
            self._number += 1
            return chunk
        if self._number == 0:
            raise EncryptedStreamError("the password is wrong, or the file is damaged")
        raise EncryptedStreamError("the file is damaged or was cut off")


def _key(password: str, salt: bytes, log_n: int, r: int, p: int) -> AESGCM:
    return AESGCM(Scrypt(salt, 32, 1 << log_n, r, p).derive(password.encode()))


def _nonce(prefix: bytes, number: int, *, last: bool) -> bytes:
    return prefix + number.to_bytes(4) + (b"\x01" if last else b"\x00")
