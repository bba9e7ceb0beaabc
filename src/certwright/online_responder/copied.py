"""Copied CRLs as a revocation provider: a CA whose database is not here. [MS-OCSPA] 3.2.1.1.

Lists are kept in the database by whoever copied them; every process that answers notices another one within a tick,
reads it beside the answers under way, and from then on answers from it. Until the end of the lists it has an answer
for every serial number, and none after; of a CA with partitions, as far as `CombinedLists` tells.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from typing import Final, NamedTuple

import structlog

from certwright.connectors.fetching import LocationError
from certwright.database import Database, DatabaseError
from certwright.online_responder import store
from certwright.online_responder.lists import CopiedList, Lists
from certwright.online_responder.partitions import CombinedLists, Silent, Slot
from certwright.online_responder.revocation import CertificateStatus, ProviderUnavailable
from certwright.online_responder.sources import CaElsewhere, Issued, issued
from certwright.online_responder.store import StoredList
from certwright.pki.errors import EncodingError

log = structlog.get_logger(__name__)

READ_AT_ONCE: Final = 1 << 20
"""Octets of a list that is read where it is noticed; a longer one is read in a thread of its own."""


class _Wanted(NamedTuple):
    """What is answered from: lists by their digests, and what is known of partitions beyond them."""

    digests: frozenset[tuple[Slot, str]]
    missing: tuple[int, ...] = ()
    seen: datetime | None = None
    unsought: str = ""


class CopiedListsProvider:
    """One CA elsewhere. `changes` is called by one thread."""

    def __init__(self, database: Database, ca: CaElsewhere) -> None:
        self.ca = ca.name
        self._database = database
        self._elsewhere = ca
        self._lists: CombinedLists | None = None
        self._seen = _Wanted(frozenset())  # as it is answered from
        self._read: dict[str, CopiedList] = {}  # by digest
        self._reading: threading.Thread | None = None
        self._damaged: _Wanted | None = None
        self._failure = "no CRL of it was copied yet"

    def status(self, serial: int, key_index: int, now: datetime) -> CertificateStatus | None:
        lists = self._lists
        if lists is None:
            raise ProviderUnavailable(f"{self.ca}: {self._failure}")
        try:
            known = self._issued(serial)
            told = lists.tell(serial, now, known.points if known is not None else None)
        except (Silent, EncodingError, LocationError) as error:
            raise ProviderUnavailable(f"{self.ca}: {error}") from error
        if told.entry is not None:
            return CertificateStatus(told.entry.revoked, told.entry.reason, told.until, told.known)
        return None if known is None else CertificateStatus(until=told.until, known=told.known)

    def _issued(self, serial: int) -> Issued | None:
        """Without a folder that tells, every number may have been issued."""
        folder = self._elsewhere.sources.issued_serials
        if folder is None:
            return Issued()
        return issued(folder, serial) if serial > 0 else None

    def changes(self) -> Collection[int] | None:
        """None when there is another list: anything may have changed."""
        try:
            kept = store.lists_of(self._database, self._elsewhere.ca_id)
        except DatabaseError as error:
            raise ProviderUnavailable(str(error)) from error
        wanted = self._wanted(kept)
        if not wanted.digests or wanted in (self._seen, self._damaged):
            return ()
        missing = {digest for _slot, digest in wanted.digests if digest not in self._read}
        if not missing:
            self._take(wanted)
            return None
        if self._reading is None or not self._reading.is_alive():
            if sum(each.size for each in kept.values() if each.digest in missing) > READ_AT_ONCE:
                self._reading = threading.Thread(
                    target=self._load, args=(wanted,), name=f"CRL of {self.ca}", daemon=True
                )
                self._reading.start()
            else:
                self._load(wanted)
                return self.changes() if self._failure == "" else ()
        return ()

    def _wanted(self, kept: Mapping[Slot, StoredList]) -> _Wanted:
        """What is kept now."""
        sources = self._elsewhere.sources
        taken = {slot for slot, each in kept.items() if each.facts is not None}
        slots = sources.slots(taken)
        digests = frozenset((slot, kept[slot].digest) for slot in slots if slot in taken)
        missing = tuple(slot.partition for slot in slots if not slot.is_delta and slot not in taken)
        sought = sources.sought(taken)
        if sought is None:
            return _Wanted(digests, missing)
        known = kept.get(sought)
        if known is None or known.absent_when is None:
            return _Wanted(
                digests, missing, unsought=known.error if known is not None and known.error else "not asked"
            )
        return _Wanted(digests, missing, known.absent_when)

    def _take(self, wanted: _Wanted) -> None:
        """Answer from these lists from now on."""
        digests = dict(wanted.digests)
        parts = {}
        for slot, digest in sorted(digests.items()):
            if not slot.is_delta:
                delta = digests.get(Slot(slot.partition, True), "")
                parts[slot.partition] = Lists(self._read[digest], self._read.get(delta))
        self._seen = wanted
        if not parts:
            return
        self._lists = CombinedLists(parts, wanted.missing, wanted.seen, wanted.unsought)
        self._read = {digest: self._read[digest] for digest in digests.values()}
        log.info("crl_answers_follow", ca=self.ca, lists=len(digests), until=self._lists.until.isoformat())

    def _load(self, wanted: _Wanted) -> None:
        """Read the lists that are kept now; those that cannot be read are not tried again."""
        read = dict(self._read)
        try:
            for slot, digest in wanted.digests:
                if digest in read:
                    continue
                found = store.list_bytes(self._database, self._elsewhere.ca_id, slot)
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
