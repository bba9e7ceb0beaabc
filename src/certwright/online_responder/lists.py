"""CRLs as what certificates' status is told from: which ones are taken, and what base and delta say together.

RFC 5280 5.2, 6.3.3. A list is taken when the CA's key signed it, when it covers every certificate of the CA, when it
has not ended, and when its number is no step back. It is kept as the bytes it came as, with one table of offsets: a
million entries take a table of two million offsets, four bytes each, beside the list itself.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from certwright.pki import der, oids
from certwright.pki.certificate import CertificateView
from certwright.pki.crl import CrlReason, CrlView
from certwright.pki.errors import EncodingError, SignatureError
from certwright.pki.extensions import decode_distribution_point_name, parse_extensions

MAX_LIST: Final = 128 << 20
"""Octets of a CRL that is taken: a list of two million entries."""
MAX_NUMBER_OCTETS: Final = 20
"""RFC 5280 5.2.3."""
AHEAD: Final = timedelta(minutes=10)
"""How far a thisUpdate may lie ahead: the CA's clock may be fast."""
_PAUSE_EVERY: Final = 4096
"""Entries after which other threads are let in: whoever answers must not wait until a long list is read."""
_UNDERSTOOD: Final = frozenset({oids.AUTHORITY_KEY_IDENTIFIER, oids.CRL_NUMBER, oids.ISSUING_DISTRIBUTION_POINT})


class ListRefused(Exception):
    """A CRL is not taken. The sentence is for people."""


class Scope(StrEnum):
    """What a CRL may be limited to by its issuing distribution point; taken only where somebody said so."""

    NAMED = "named"  # certificates that name the same distribution point
    USER_ONLY = "user-only"  # no certificates of CAs
    CA_ONLY = "ca-only"


@dataclass(frozen=True, slots=True)
class Entry:
    """One revoked certificate."""

    revoked: datetime
    reason: int


class Entries:
    """Every entry of a list by its serial number. Memory: the list's own bytes, and eight or so for each entry."""

    def __init__(self, data: bytes, start: int, end: int) -> None:
        """Read the entries between two offsets of a CRL.

        Raises:
            EncodingError: one of them is no entry.
        """
        self._data = data
        self.count = 0
        first = der.read_tlv(data, start, end).end - start if start < end else 1
        self._table = array("I", bytes(4 * _places((end - start) // first)))
        self._fill(start, end)

    def _fill(self, place: int, end: int) -> None:
        data, table = self._data, self._table
        mask, room = len(table) - 1, len(table) * 3 // 4
        while place < end:
            if self.count >= room:  # entries are shorter than the first one
                table, mask, room = self._grown()
            length = data[place + 1] if place + 6 < end else 0xFF
            start = place + 2
            stop = start + length
            if length >= 0x80 or stop > end or data[place] != der.SEQUENCE:
                element = der.read_tlv(data, place, end)
                if element.tag != der.SEQUENCE:
                    raise EncodingError(f"CRL: an entry is {der.tag_name(element.tag)}, not SEQUENCE")
                start, stop = element.start, element.end
            serial_end = start + 2 + data[start + 1] if start + 2 < stop else end
            if serial_end >= stop or data[start] != der.INTEGER or not 0 < data[start + 1] < 0x80:
                raise EncodingError("CRL: an entry without a serial number and a date")
            slot = hash(data[start:serial_end]) & mask
            while table[slot]:
                slot = (slot + 1) & mask
            table[slot] = place
            self.count += 1
            place = stop
            if not self.count % _PAUSE_EVERY:
                time.sleep(0)

    def _grown(self) -> tuple[array[int], int, int]:
        old, self._table = self._table, array("I", bytes(8 * len(self._table)))
        mask = len(self._table) - 1
        for place in old:
            if place:
                slot = hash(self._serial(place)) & mask
                while self._table[slot]:
                    slot = (slot + 1) & mask
                self._table[slot] = place
        return self._table, mask, len(self._table) * 3 // 4

    def _serial(self, place: int) -> bytes:
        start = der.start_of(self._data, place)
        return self._data[start : start + 2 + self._data[start + 1]]

    def find(self, serial: int) -> Entry | None:
        """The entry of a serial number.

        Raises:
            EncodingError: it is there and cannot be understood.
        """
        wanted = der.integer(serial)
        mask = len(self._table) - 1
        slot = hash(wanted) & mask
        while place := self._table[slot]:
            if self._serial(place) == wanted:
                return self._entry(place)
            slot = (slot + 1) & mask
        return None

    def _entry(self, place: int) -> Entry:
        reader = der.Reader(self._data, place, der.end_of(self._data, place), "CRL entry").enter()
        reader.integer()
        when, reason = reader.time(), 0
        if reader.next_tag != -1:
            for oid, extension in parse_extensions(reader.whole(der.SEQUENCE)).items():
                if oid == oids.CRL_REASON:
                    content = der.require_single(extension.value, der.ENUMERATED, "CRL reason")
                    reason = der.decode_integer(content.content(extension.value))
                elif extension.critical:  # RFC 5280 5.3: then the list says nothing about this certificate
                    raise EncodingError(f"CRL entry: the critical extension {oids.name_of(oid)} is not understood")
        reader.finish()
        return Entry(when, reason)


def _places(entries: int) -> int:
    """Of a table that is at most two thirds full; a power of two."""
    return 1 << max(6, (entries * 3 // 2).bit_length())


@dataclass(frozen=True, slots=True)
class ListFacts:
    """What is known of a list without its entries.

    Args:
        number: CRL number; None where the CA numbers none.
        base_number: of the base that a delta is for; None for a base.
        next_publish: when the CA means to publish the next one; None where it does not say.
        points: the distribution points that it is for; none: for every certificate, or all of those that it covers.
    """

    number: int | None
    base_number: int | None
    this_update: datetime
    next_update: datetime
    next_publish: datetime | None = None
    points: tuple[str, ...] = ()

    @property
    def is_delta(self) -> bool:
        return self.base_number is not None

    @property
    def warn_after(self) -> datetime:
        """From when on a list that was not replaced gives reason to worry, while it still holds.

        The CA meant to publish the next one some time before the end; half of that time has passed. A CA that does
        not say is given a tenth of the list's life, at most half a day.
        """
        if self.next_publish is not None and self.next_publish < self.next_update:
            return self.next_publish + (self.next_update - self.next_publish) / 2
        return self.next_update - min((self.next_update - self.this_update) / 10, timedelta(hours=12))


@dataclass(frozen=True, slots=True)
class CopiedList:
    """A list that was taken, ready to be asked."""

    facts: ListFacts
    entries: Entries

    @classmethod
    def read(cls, data: bytes) -> CopiedList:
        """Raises:
        EncodingError: it is damaged.
        """
        view = CrlView.parse(data)
        return cls(_facts(view), Entries(data, view.entries_start, view.entries_end))


@dataclass(frozen=True, slots=True)
class Lists:
    """A base and, where there is one that fits, its delta. RFC 5280 5.2.4."""

    base: CopiedList
    delta: CopiedList | None = None

    @property
    def _applied(self) -> CopiedList | None:
        """The delta, unless the base is as new or newer, or is not the one that the delta is for."""
        if self.delta is None or not fits(self.delta.facts, self.base.facts):
            return None
        return self.delta

    @property
    def points(self) -> frozenset[str]:
        """The distribution points that they are for; none: for all certificates."""
        return frozenset(self.base.facts.points)

    @property
    def known(self) -> datetime:
        """The moment that is told of."""
        applied = self._applied
        base = self.base.facts.this_update
        return base if applied is None else max(base, applied.facts.this_update)

    @property
    def until(self) -> datetime:
        """When nothing can be told from these lists any more."""
        ends = [self.base.facts.next_update]
        if self.delta is not None and _at_least(self.delta.facts.number, self.base.facts.number):
            ends.append(self.delta.facts.next_update)  # a revocation may be in the delta that follows it
        return min(ends)

    def find(self, serial: int) -> Entry | None:
        """How a certificate is revoked; None when it is not. Raises `EncodingError` as `Entries.find`."""
        applied = self._applied
        changed = applied.entries.find(serial) if applied is not None else None
        if changed is None:
            return self.base.entries.find(serial)
        return None if changed.reason == CrlReason.REMOVE_FROM_CRL else changed


def fits(delta: ListFacts, base: ListFacts) -> bool:
    """Does a delta add something to this base? RFC 5280 6.3.3 (c), 5.2.4."""
    if base.number is None or delta.number is None or delta.base_number is None:
        return False
    return delta.base_number <= base.number < delta.number


def _at_least(number: int | None, other: int | None) -> bool:
    return number is not None and other is not None and number >= other


# -- taking ----------------------------------------------------------------------------------------------------------


def examine(
    data: bytes, ca: CertificateView, now: datetime, *, delta: bool, scopes: Collection[Scope] = ()
) -> tuple[ListFacts, int]:
    """Is this a list to answer from? Gives what is known of it, and how many entries it has.

    Raises:
        ListRefused: it is not; the sentence says why.
    """
    if len(data) > MAX_LIST:
        raise ListRefused(f"it has more than {MAX_LIST >> 20} MiB")
    try:
        view = CrlView.parse(data)
        facts = _checked(view, ca, now, delta)
        _demand_scope(view, scopes)
        view.verify_signed_by(ca)
        return facts, Entries(data, view.entries_start, view.entries_end).count
    except EncodingError as error:
        raise ListRefused(f"it is no CRL, or a damaged one: {error}") from error
    except SignatureError as error:
        raise ListRefused(f"the CA's key did not sign it: {error}") from error


def _checked(view: CrlView, ca: CertificateView, now: datetime, delta: bool) -> ListFacts:
    if view.issuer != ca.subject:
        raise ListRefused(f"it is another CA's: {view.issuer_name}")
    named = view.authority_key_identifier
    if named is not None and ca.subject_key_identifier not in (None, named):
        raise ListRefused("it is of another key of this CA; every key has a configuration of its own")
    if view.is_delta and not delta:
        raise ListRefused("it is a delta CRL where a base CRL is expected")
    if delta and not view.is_delta:
        raise ListRefused("it is a base CRL where a delta CRL is expected")
    known = _UNDERSTOOD | {oids.DELTA_CRL_INDICATOR}
    strange = [oid for oid, each in view.extensions.items() if each.critical and oid not in known]
    if strange:
        raise ListRefused(f"its critical extension {oids.name_of(strange[0])} is not understood")
    if view.next_update is None:
        raise ListRefused("it does not say until when it holds (nextUpdate)")
    if view.next_update <= now:
        raise ListRefused(f"it ended at {view.next_update:%Y-%m-%d %H:%M} UTC")
    if view.this_update > now + AHEAD:
        raise ListRefused(f"it begins at {view.this_update:%Y-%m-%d %H:%M} UTC only; are the clocks right?")
    facts = _facts(view)
    if delta and facts.number is None:
        raise ListRefused("a delta CRL without a number belongs to no base")
    return facts


def _facts(view: CrlView) -> ListFacts:
    if view.next_update is None:
        raise EncodingError("CRL: it has no nextUpdate")
    for number in (view.number, view.base_number):
        if number is not None and not 0 <= number < 1 << (8 * MAX_NUMBER_OCTETS):
            raise EncodingError("CRL: its number is none")
    return ListFacts(
        view.number, view.base_number, view.this_update, view.next_update, view.next_publish, view.distribution_points
    )


def demand_progress(new: ListFacts, kept: ListFacts | None) -> None:
    """Refuse a step back: whoever replays an older list would take revocations away. RFC 5280 5.2.3.

    Raises:
        ListRefused: the new one is older than what is kept.
    """
    if kept is None:
        return
    if kept.number is not None and (new.number is None or new.number < kept.number):
        raise ListRefused(
            f"its number goes back from {kept.number} to {'none' if new.number is None else new.number}; if the CA"
            " really began anew, remove this configuration and add it again"
        )
    if new.this_update < kept.this_update:
        raise ListRefused(
            f"it is older ({new.this_update:%Y-%m-%d %H:%M} UTC) than the one that is kept"
            f" ({kept.this_update:%Y-%m-%d %H:%M} UTC)"
        )


def _demand_scope(view: CrlView, scopes: Collection[Scope]) -> None:
    """Every certificate of the CA has to be covered, for every reason. RFC 5280 5.2.5.

    Raises:
        ListRefused: this list is for some of them only, and nobody said that those are meant.
    """
    found = view.extensions.get(oids.ISSUING_DISTRIBUTION_POINT)
    if found is None:
        return
    reader = der.Reader.of(found.value, what="issuing distribution point")
    limited: list[tuple[Scope, str]] = []
    if reader.next_tag == 0xA0:
        names = ", ".join(decode_distribution_point_name(reader.content(0xA0))) or "a directory name"
        limited.append((Scope.NAMED, f"certificates that name {names} (it may be one partition of several)"))
    for tag, scope, what in (
        (0x81, Scope.USER_ONLY, "certificates of end entities"),
        (0x82, Scope.CA_ONLY, "certificates of CAs"),
    ):
        if reader.next_tag == tag and der.decode_boolean(reader.content(tag)):
            limited.append((scope, what))
    if reader.next_tag == 0x83:
        raise ListRefused("it tells of some reasons only, so nothing can be called good from it")
    for tag, what in ((0x84, "an indirect CRL, of several CAs"), (0x85, "of attribute certificates only")):
        if reader.next_tag == tag and der.decode_boolean(reader.content(tag)):
            raise ListRefused(f"it is {what}")
    reader.finish()
    for scope, what in limited:
        if scope not in scopes:
            raise ListRefused(
                f"it covers only {what}; if those are all that will be asked about, allow it: scopes={scope}"
            )
