"""What stands in a keytab: principals, key versions, encryption types; never the keys. MIT's file format, version 2.

For whoever has to say what is wrong with one (`certwright doctor domain`); tickets are opened by GSSAPI, which reads
the file itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from certwright.adcs.errors import ConfigurationError

MAX_SIZE: Final = 1024 * 1024
"""Longest file read, in bytes."""
MAX_ENTRIES: Final = 4096

RC4: Final = 23
AES: Final = frozenset({17, 18, 19, 20})
"""AES with HMAC-SHA1 (RFC 3962) and with HMAC-SHA2 (RFC 8009)."""

_MAGIC: Final = b"\x05\x02"
_NAMES: Final = {
    1: "des-cbc-crc",
    3: "des-cbc-md5",
    16: "des3-cbc-sha1",
    17: "aes128-cts-hmac-sha1-96",
    18: "aes256-cts-hmac-sha1-96",
    19: "aes128-cts-hmac-sha256-128",
    20: "aes256-cts-hmac-sha384-192",
    23: "arcfour-hmac",
}


@dataclass(frozen=True, slots=True)
class KeytabEntry:
    """One key, without the key."""

    principal: str  # HTTP/ca.corp.example@CORP.EXAMPLE
    version: int  # kvno, as the account's msDS-KeyVersionNumber
    encryption: int
    written: datetime

    @property
    def encryption_name(self) -> str:
        return _NAMES.get(self.encryption, f"encryption type {self.encryption}")

    @property
    def service(self) -> str:
        """`HTTP` of `HTTP/host@REALM`; empty where it is no service's name."""
        name = self.principal.rpartition("@")[0]
        return name.partition("/")[0] if "/" in name else ""

    @property
    def is_aes(self) -> bool:
        return self.encryption in AES


def read_keytab(path: Path) -> Sequence[KeytabEntry]:
    """The entries of a keytab, in the order of the file.

    Raises:
        ConfigurationError: it cannot be read, or is no keytab; the sentence says what to do.
    """
    try:
        if path.stat().st_size > MAX_SIZE:
            raise ConfigurationError(f"{path} is too large to be a keytab")
        data = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"the keytab {path} cannot be read: {error.strerror}; correct its path, or let this account read it"
        ) from error
    try:
        return parse_keytab(data)
    except ValueError as error:
        raise ConfigurationError(
            f"{path} is no keytab ({error}); make it again with ktpass, ktutil or msktutil"
        ) from None


def parse_keytab(data: bytes) -> Sequence[KeytabEntry]:
    """Raises:
    ValueError: another format, cut off, or more than `MAX_ENTRIES`.
    """
    if not data.startswith(_MAGIC):
        raise ValueError("it does not begin as format 2 does")
    entries: list[KeytabEntry] = []
    at = len(_MAGIC)
    while at + 4 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big", signed=True)
        at += 4
        if not length:
            break
        if at + abs(length) > len(data):
            raise ValueError("an entry is cut off")
        if length > 0:  # below zero it is the place of an entry that was removed
            if len(entries) == MAX_ENTRIES:
                raise ValueError(f"more than {MAX_ENTRIES} entries")
            entries.append(_Entry(data[at : at + length]).read())
        at += abs(length)
    return entries


class _Entry:
    """One entry, from front to back; numbers are big-endian."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def read(self) -> KeytabEntry:
        count = self._number(2)
        realm = self._text()
        if not 0 < count <= 16:
            raise ValueError("a name has no parts, or too many")
        name = "/".join(self._text() for _ in range(count))
        self._number(4)  # type of the name
        written = datetime.fromtimestamp(self._number(4), UTC)
        version = self._number(1)
        encryption = self._number(2)
        self._take(self._number(2))  # the key itself
        if len(self._data) - self._at >= 4:  # the same number again with more room, where it is not zero
            version = self._number(4) or version
        return KeytabEntry(f"{name}@{realm}", version, encryption, written)

    def _number(self, size: int) -> int:
        return int.from_bytes(self._take(size), "big")

    def _text(self) -> str:
        return self._take(self._number(2)).decode("utf-8", "replace")

    def _take(self, count: int) -> bytes:
        part = self._data[self._at : self._at + count]
        if len(part) != count:
            raise ValueError("an entry is cut off")
        self._at += count
        return part
