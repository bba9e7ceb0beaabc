"""Encryption at rest: AES-256-GCM under a master key that lies outside the database. NIST SP 800-38D.

A sealed value is bound to its context (a column and row, a key's name): moved to another place it does not open. The
master key file holds one key per line, newest last: the newest seals, any of them opens. It protects backups and
copied databases; it does not protect against somebody who can read this process's files.
"""

from __future__ import annotations

import base64
import binascii
import os
import secrets
import stat
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_FORMAT: Final = b"\x01"
_ID_OCTETS: Final = 4
_NONCE_OCTETS: Final = 12
_KEY_OCTETS: Final = 32
_HEAD: Final = len(_FORMAT) + _ID_OCTETS
_FIRST_LINE: Final = (
    "# Certwright master keys: id and AES-256 key, newest last. Losing this file loses all it sealed."
)


class SealingError(Exception):
    """A master key file is missing, unsafe or damaged, or a sealed value does not open."""


class Sealer:
    """Seals and opens values with the keys of one master key file. Thread-safe.

    A value sealed by another process with a newer key makes the file be read again.
    """

    def __init__(self, path: Path) -> None:
        """Use an existing master key file.

        Raises:
            SealingError: it is missing, readable by others, or damaged.
        """
        self._path = path
        self._ring = _read_ring(path)
        self._rotation = threading.Lock()

    @classmethod
    def create(cls, path: Path) -> Sealer:
        """Make a master key file with one key; mode 0600, complete or not there at all.

        Raises:
            SealingError: there is one already.
        """
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            write_new(path, f"{_FIRST_LINE}\n{_new_line(frozenset())}\n".encode())
        except FileExistsError as error:
            raise SealingError(f"the master key file {path} exists already; it is never overwritten") from error
        return cls(path)

    def seal(self, value: bytes, context: str) -> bytes:
        """`value` encrypted: format, key id, nonce, ciphertext and tag."""
        ring = self._ring
        head = _FORMAT + ring.newest
        nonce = secrets.token_bytes(_NONCE_OCTETS)
        return head + nonce + ring.keys[ring.newest].encrypt(nonce, value, head + context.encode())

    def open(self, sealed: bytes, context: str) -> bytes:
        """The value again.

        Raises:
            SealingError: it was changed, sealed for another context, or sealed with a key that is not in the file.
        """
        if len(sealed) < _HEAD + _NONCE_OCTETS + 16 or not sealed.startswith(_FORMAT):
            raise SealingError(f"{context}: this is no sealed value")
        head, nonce, body = sealed[:_HEAD], sealed[_HEAD : _HEAD + _NONCE_OCTETS], sealed[_HEAD + _NONCE_OCTETS :]
        identifier = head[len(_FORMAT) :]
        key = self._ring.keys.get(identifier)
        if key is None:
            self._ring = _read_ring(self._path)
            key = self._ring.keys.get(identifier)
        if key is None:
            raise SealingError(f"{context}: it was sealed with master key {identifier.hex()}, not in {self._path}")
        try:
            return key.decrypt(nonce, body, head + context.encode())
        except InvalidTag:
            raise SealingError(f"{context}: the sealed value was changed or belongs elsewhere") from None

    def is_current(self, sealed: bytes) -> bool:
        """Was it sealed with the newest key? After `rotate`, seal again what was not."""
        return sealed[:_HEAD] == _FORMAT + self._ring.newest

    def rotate(self) -> None:
        """Add a new master key, which seals from now on; the earlier ones still open.

        Raises:
            SealingError: another rotation is under way or was interrupted.
        """
        draft = self._path.with_name(f"{self._path.name}.new")
        with self._rotation:
            try:
                descriptor = _create(draft)  # held from before the reading: no other process's key gets lost
            except FileExistsError as error:
                raise SealingError(
                    f"{draft} exists: another rotation is under way, or one was interrupted; then remove that file"
                ) from error
            try:
                with os.fdopen(descriptor, "wb") as file:
                    text = _read_private(self._path)
                    grown = f"{text.rstrip()}\n{_new_line(frozenset(_parse(text, self._path)))}\n"
                    _put(file, grown.encode())
                draft.replace(self._path)
            except BaseException:
                draft.unlink(missing_ok=True)
                raise
            _sync_folder(self._path.parent)
            self._ring = _read_ring(self._path)


@dataclass(frozen=True, slots=True)
class _Ring:
    """The keys of a file at one moment. Replaced as a whole: id and key always belong together."""

    newest: bytes
    keys: Mapping[bytes, AESGCM]


def _read_ring(path: Path) -> _Ring:
    keys = _parse(_read_private(path), path)
    return _Ring(next(reversed(keys)), {identifier: AESGCM(key) for identifier, key in keys.items()})


def _new_line(taken: frozenset[bytes]) -> str:
    identifier = secrets.token_bytes(_ID_OCTETS)
    while identifier in taken:
        identifier = secrets.token_bytes(_ID_OCTETS)
    return f"{identifier.hex()} {base64.b64encode(secrets.token_bytes(_KEY_OCTETS)).decode()}"


def _parse(text: str, path: Path) -> dict[bytes, bytes]:
    keys: dict[bytes, bytes] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            first, second = line.split()
            identifier, key = bytes.fromhex(first), base64.b64decode(second, validate=True)
        except (ValueError, binascii.Error):
            identifier, key = b"", b""
        if len(identifier) != _ID_OCTETS or len(key) != _KEY_OCTETS or identifier in keys:
            raise SealingError(f"line {number} of the master key file {path} is damaged")  # never what it holds
        keys[identifier] = key
    if not keys:
        raise SealingError(f"the master key file {path} holds no key")
    return keys


# -- private files ---------------------------------------------------------------------------------------------------


def write_new(path: Path, data: bytes) -> None:
    """Make a file with mode 0600: whole and on the disk when this returns, or not there.

    On file systems without hard links (FAT, some shares) a crash can leave part of it.

    Raises:
        FileExistsError: there is one already; it stays as it is.
    """
    draft = _draft(path, data)
    try:
        os.link(draft, path)  # unlike a rename, this never replaces
    except FileExistsError:
        raise
    except OSError:
        _write(path, data)
    finally:
        draft.unlink()
    _sync_folder(path.parent)


def replace(path: Path, data: bytes) -> None:
    """As `write_new`, in the place of what is there."""
    draft = _draft(path, data)
    try:
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def remove(path: Path) -> None:
    """Unlink a file and wait until it is gone from the disk."""
    path.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _draft(path: Path, data: bytes) -> Path:
    return _write(path.with_name(f".{path.name}.{secrets.token_hex(8)}"), data)


def _write(path: Path, data: bytes) -> Path:
    descriptor = _create(path)
    try:
        with os.fdopen(descriptor, "wb") as file:
            _put(file, data)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path


def _create(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)


def _put(file: BinaryIO, data: bytes) -> None:
    file.write(data)
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk. Windows has no such call and needs none."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_private(path: Path) -> str:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if os.name != "nt" and mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise SealingError(f"the master key file {path} can be read by others; run: chmod 600 {path}")
            return file.read().decode("ascii")
    except OSError as error:
        raise SealingError(f"the master key file {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SealingError(f"the master key file {path} is damaged") from error
