"""Copied CRLs as a revocation provider: a CA whose database is not here. [MS-OCSPA] 3.2.1.1.

Lists are kept in the database by whoever copied them; every process that answers notices another one within a tick,
reads it beside the answers under way, and from then on answers from it. Until the end of the lists it has an answer
for every serial number, and none after.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Final

import structlog

from certwright.database import Database, DatabaseError
from certwright.online_responder import store
from certwright.online_responder.lists import CopiedList, Lists
from certwright.online_responder.revocation import CertificateStatus, ProviderUnavailable
from certwright.online_responder.sources import CaElsewhere, serial_file
from certwright.pki.errors import EncodingError

log = structlog.get_logger(__name__)

READ_AT_ONCE: Final = 1 << 20
"""Octets of a list that is read where it is noticed; a longer one is read in a thread of its own."""


class CopiedListsProvider:
    """One CA elsewhere. `changes` is called by one thread."""

    def __init__(self, database: Database, ca: CaElsewhere) -> None:
        self.ca = ca.name
        self._database = database
        self._elsewhere = ca
        self._lists: Lists | None = None
        self._seen: tuple[str, str] = ("", "")  # digests of base and delta as they are answered from
        self._read: dict[str, CopiedList] = {}  # by digest
        self._reading: threading.Thread | None = None
        self._damaged = ("", "")
        self._failure = "no CRL of it was copied yet"

    def status(self, serial: int, key_index: int, now: datetime) -> CertificateStatus | None:
        lists = self._lists
        if lists is None:
            raise ProviderUnavailable(f"{self.ca}: {self._failure}")
        until = lists.until
        if until <= now:
            raise ProviderUnavailable(f"{self.ca}: its CRL ended at {until:%Y-%m-%d %H:%M} UTC")
        try:
            found = lists.find(serial)
        except EncodingError as error:
            raise ProviderUnavailable(f"{self.ca}: {error}") from error
        if found is not None:
            return CertificateStatus(found.revoked, found.reason, until, lists.known)
        folder = self._elsewhere.sources.issued_serials
        if folder is not None and (serial <= 0 or not serial_file(folder, serial).exists()):
            return None
        return CertificateStatus(until=until, known=lists.known)

    def changes(self) -> Collection[int] | None:
        """None when there is another list: anything may have changed."""
        try:
            kept = store.lists_of(self._database, self._elsewhere.ca_id)
        except DatabaseError as error:
            raise ProviderUnavailable(str(error)) from error
        base, delta = (kept.get((self._elsewhere.ca_id, kind)) for kind in (False, True))
        if base is None or base.facts is None:
            return ()
        wanted = (base.digest, delta.digest if delta is not None and delta.facts is not None else "")
        if wanted in (self._seen, self._damaged):
            return ()
        missing = [digest for digest in wanted if digest and digest not in self._read]
        if not missing:
            self._lists = Lists(self._read[wanted[0]], self._read.get(wanted[1]))
            self._seen = wanted
            self._read = {digest: self._read[digest] for digest in wanted if digest}
            log.info("crl_answers_follow", ca=self.ca, until=self._lists.until.isoformat())
            return None
        if self._reading is None or not self._reading.is_alive():
            size = max(each.size for each in (base, delta) if each is not None and each.digest in missing)
            if size > READ_AT_ONCE:
                self._reading = threading.Thread(
                    target=self._load, args=(wanted,), name=f"CRL of {self.ca}", daemon=True
                )
                self._reading.start()
            else:
                self._load(wanted)
                return self.changes() if self._failure == "" else ()
        return ()

    def _load(self, wanted: tuple[str, str]) -> None:
        """Read the lists that are kept now; those that cannot be read are not tried again."""
        read = dict(self._read)
        try:
            for is_delta in (False, True):
                found = store.list_bytes(self._database, self._elsewhere.ca_id, is_delta)
                if found is not None and found[0] not in read:
                    read[found[0]] = CopiedList.read(found[1])
        except DatabaseError as error:
            self._failure = str(error)
        except EncodingError as error:
            log.error("crl_not_read", ca=self.ca, error=str(error))
            self._failure, self._damaged = str(error), wanted
        else:
            self._read, self._failure = read, ""

    def newest(self, limit: int, now: datetime) -> Iterator[tuple[int, int]]:
        """Lists do not tell what was issued."""
        return iter(())
