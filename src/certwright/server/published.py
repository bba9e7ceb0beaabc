"""The files under /CertEnroll/: CRLs and CA certificates as ready-made answers. RFC 5280 4.2.1.13, RFC 9111.

Files are found by listing the folder, never by joining a path from a request. What is small stays in memory and is
read again when the file was replaced; what is large is streamed.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Final

import structlog

from certwright.pki.crl import CrlView
from certwright.pki.errors import EncodingError

log = structlog.get_logger(__name__)

MEMORY: Final = 64 << 20
"""Bytes of files kept in memory."""
STREAMED_FROM: Final = 8 << 20
"""Files from this size on are read while they are sent."""
LOOK_AGAIN: Final = 1.0
"""Seconds after which a file is looked at again."""
LONGEST: Final = timedelta(hours=1)
"""How long an HTTP cache may keep anything: a CRL published early, after a key compromise, has to get through."""
_TYPES: Final = {".crl": "application/pkix-crl", ".crt": "application/pkix-cert", ".cer": "application/pkix-cert"}


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """One file at one version."""

    path: Path
    content_type: str
    modified: datetime
    etag: str  # with its quotes
    size: int
    expires: datetime | None  # a CRL's next update
    body: bytes | None  # None: to be streamed

    def max_age(self, now: datetime) -> int:
        """Seconds a cache may keep it: never past the CRL's next update."""
        lifetime = LONGEST if self.expires is None else min(LONGEST, self.expires - now)
        return max(0, int(lifetime.total_seconds()))

    @property
    def last_modified(self) -> str:
        return format_datetime(self.modified, usegmt=True)


class PublishedFiles:
    """The folder, with what was read of it lately. For one event loop.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, folder: Path, clock: Callable[[], float], memory: int = MEMORY) -> None:
        self._folder = folder
        self._clock = clock
        self._memory = memory
        self._kept: OrderedDict[str, tuple[float, tuple[int, int, int], PublishedFile]] = OrderedDict()
        self._used = 0

    def find(self, name: str) -> PublishedFile | None:
        """The file of that name, or None. Names are plain: letters, digits and `._-()!+, ` but no separator."""
        kept = self._kept.get(name)
        now = self._clock()
        if kept is not None and now - kept[0] < LOOK_AGAIN:
            self._kept.move_to_end(name)
            return kept[2]
        path = self._folder / name
        if path.name != name or "\x00" in name or name.startswith(".") or path.suffix.lower() not in _TYPES:
            return None
        try:
            stat = path.stat()
            version = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if kept is not None and kept[1] == version:
                file = kept[2]
            else:
                file = self._read(path, stat.st_size, stat.st_mtime)
        except OSError:
            self._drop(name)
            return None
        self._drop(name)
        self._keep(name, now, version, file)
        return file

    def _read(self, path: Path, size: int, modified: float) -> PublishedFile:
        body = path.read_bytes() if size < STREAMED_FROM else None
        expires = None
        if path.suffix.lower() == ".crl":
            expires = _next_update(path, body)
        identity = body if body is not None else f"{size}/{modified}".encode()
        return PublishedFile(
            path=path,
            content_type=_TYPES[path.suffix.lower()],
            modified=datetime.fromtimestamp(int(modified), UTC),
            etag=f'"{hashlib.sha256(identity).hexdigest()[:32]}"',
            size=size if body is None else len(body),
            expires=expires,
            body=body,
        )

    def _keep(self, name: str, now: float, version: tuple[int, int, int], file: PublishedFile) -> None:
        self._kept[name] = (now, version, file)
        self._used += _weight(file)
        while self._used > self._memory and len(self._kept) > 1:
            self._drop(next(iter(self._kept)))

    def _drop(self, name: str) -> None:
        kept = self._kept.pop(name, None)
        if kept is not None:
            self._used -= _weight(kept[2])


def _weight(file: PublishedFile) -> int:
    return 1024 + (len(file.body) if file.body is not None else 0)


def _next_update(path: Path, body: bytes | None) -> datetime | None:
    try:
        return CrlView.parse(path.read_bytes() if body is None else body).next_update
    except EncodingError as error:
        log.warning("published_crl_unreadable", file=path.name, error=str(error))
        return None
