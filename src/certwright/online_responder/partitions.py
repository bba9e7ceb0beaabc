"""CRL partitions of a CA elsewhere: which there are, and what all of them say together. RFC 5280 5.2.5, 6.3.3.

A partition is a CRL for those certificates that name its distribution point; at Windows [MS-CSRA] 3.1.4.1.6 numbers
them. Who asks by OCSP tells a serial number and no distribution point. So a number that is on one of the lists is
revoked, and one that is on none is good only when every list of the CA is here: a list that is missing, or has ended,
may be the very one. Where the certificate itself is known, the lists that are for it are enough.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, NamedTuple

from certwright.online_responder.lists import Entry, Lists

PLACEHOLDER: Final = "<CRLPartitionIndex>"
"""In URLs: what tells a partition from another, as Windows writes and expands it."""
MAX_PARTITIONS: Final = 1000
_RANGE: Final = re.compile(r"(?:(0|[1-9][0-9]{0,4})(-))?([1-9][0-9]{0,4})?")


class Slot(NamedTuple):
    """Which list of a CA: partition 0 is that of everything else, or the only one."""

    partition: int
    is_delta: bool


@dataclass(frozen=True, slots=True)
class PartitionRange:
    """The partitions of a CA.

    Args:
        last: None: as many as are found, one after the other.
    """

    first: int
    last: int | None

    @classmethod
    def parse(cls, text: str) -> PartitionRange:
        """`4` is 1 to 4; `0-4`; `3-` is from 3 on.

        Raises:
            ValueError: it is none.
        """
        found = _RANGE.fullmatch(text.replace(" ", ""))
        if found is None or not found[0]:
            raise ValueError("it is none, how many there are, a range such as 2-7, or 1- for all that are found")
        first, last = int(found[1] or "1"), int(found[3]) if found[3] else None
        if last is not None and not first <= last < first + MAX_PARTITIONS:
            raise ValueError(f"{text} is no range of 1 to {MAX_PARTITIONS} partitions")
        return cls(first, last)

    def there(self, taken: Collection[int]) -> Sequence[int]:
        """Those that there are, as far as is known.

        Args:
            taken: of which a list is here.
        """
        if self.last is not None:
            return range(self.first, self.last + 1)
        end = self.first
        while end in taken and end < self.first + MAX_PARTITIONS:
            end += 1
        return range(self.first, max(end, self.first + 1))

    def sought(self, taken: Collection[int]) -> int | None:
        """The one that may have come since, and is looked for; None where the range has an end, or none is here."""
        if self.last is not None or self.first not in taken:
            return None
        following = self.there(taken)[-1] + 1
        return following if following < self.first + MAX_PARTITIONS else None


def located(url: str, partition: int) -> str:
    """Where the list of a partition is. [MS-CSRA] 3.1.4.1.6, CRLPartitionIndex."""
    return url.replace(PLACEHOLDER, f"_Partition{partition:05}" if partition else "")


class Silent(Exception):
    """The lists that are here do not say it. The sentence is for people."""


class Told(NamedTuple):
    """What lists say of a certificate: its entry, None for a good one; until when, and of which moment."""

    entry: Entry | None
    until: datetime
    known: datetime


@dataclass(frozen=True, slots=True)
class CombinedLists:
    """Every list of a CA that is here.

    Args:
        parts: by the number of the partition.
        missing: those that there are, of which no list is here.
        seen: when it was last found that there are no more partitions; None where that is known anyway.
        unsought: why it is not known whether there are more; empty where it is.
    """

    parts: Mapping[int, Lists]
    missing: tuple[int, ...] = ()
    seen: datetime | None = None
    unsought: str = ""

    @property
    def until(self) -> datetime:
        """When the first of them ends."""
        return min(self._sought_until, *(lists.until for lists in self.parts.values()))

    @property
    def _sought_until(self) -> datetime:
        """That there are no more partitions is believed as long as a list is."""
        if self.seen is None:
            return datetime.max.replace(tzinfo=UTC)
        facts = [lists.base.facts for lists in self.parts.values()]
        return self.seen + min(each.next_update - each.this_update for each in facts)

    def tell(self, serial: int, now: datetime, points: Collection[str] | None = None) -> Told:
        """How a certificate stands.

        Args:
            points: the distribution points that it names, where they are known.

        Raises:
            Silent: what could say it is missing or has ended.
            EncodingError: its entry cannot be understood.
        """
        current = {number: lists for number, lists in self.parts.items() if lists.until > now}
        for lists in current.values():
            entry = lists.find(serial)
            if entry is not None:
                return Told(entry, lists.until, lists.known)
        if points is not None and any(lists.points for lists in self.parts.values()):
            return self._of_its_own(current, points)
        self._demand_all(now)
        known = min(lists.known for lists in current.values())
        return Told(None, self.until, known if self.seen is None else min(known, self.seen))

    def _of_its_own(self, current: Mapping[int, Lists], points: Collection[str]) -> Told:
        """Not on a list: by those that are for it."""
        own = [lists for lists in current.values() if not lists.points or not lists.points.isdisjoint(points)]
        if not own:
            raise Silent(f"no CRL that holds now is for certificates that name {', '.join(sorted(points)) or 'none'}")
        newest = max(own, key=lambda lists: lists.known)
        return Told(None, newest.until, newest.known)

    def _demand_all(self, now: datetime) -> None:
        if self.missing:
            raise Silent(f"there is no CRL of partition {', '.join(map(str, self.missing[:5]))}")
        ended = {number: lists.until for number, lists in self.parts.items() if lists.until <= now}
        for number, until in ended.items():
            which = f"the CRL of its partition {number}" if number else "its CRL"
            raise Silent(f"{which} ended at {until:%Y-%m-%d %H:%M} UTC")
        if self.unsought:
            raise Silent(f"it is not known which partitions there are: {self.unsought}")
        if self._sought_until <= now:
            raise Silent(f"whether there are more partitions was last known at {self.seen:%Y-%m-%d %H:%M} UTC")
