"""Who may act for whom, with which template: enrollment agents and certificate managers. [MS-CSRA] 3.1.1.7.

On Windows these are the restrictions of the tabs Enrollment Agents and Certificate Managers (EnrollmentAgentRights,
OfficerRights). No entry at all restricts nobody; with one, whoever is not named may do nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from certwright.adcs.requester import Sid, parse_sid

ANY: Final = "*"
MAX_ENTRIES: Final = 500


class RestrictionEntry(NamedTuple):
    """`who` (account or group) may act with `template` for `target` (account or group); `*` is any."""

    who: str
    template: str
    target: str

    def __str__(self) -> str:
        return ":".join(self)


@dataclass(frozen=True, slots=True)
class Restrictions:
    """A list of what is allowed. Its text is `WHO:TEMPLATE:TARGET; ...`, accounts and groups as SIDs."""

    entries: tuple[RestrictionEntry, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Restrictions:
        """Raises:
        ValueError: an entry has not three parts, or an account or group is no SID.
        """
        entries: list[RestrictionEntry] = []
        for part in text.split(";"):
            if not part.strip():
                continue
            words = [word.strip() for word in part.split(":")]
            if len(words) != 3 or not all(words):
                raise ValueError(
                    f"{part.strip()[:80]!r} is no restriction; write WHO:TEMPLATE:TARGET with SIDs, * for any,"
                    " and ; between entries"
                )
            entry = RestrictionEntry(*words)
            for sid in (entry.who, entry.target):
                if sid != ANY:
                    parse_sid(sid)
            entries.append(entry)
        if len(entries) > MAX_ENTRIES:
            raise ValueError(f"{len(entries)} entries; {MAX_ENTRIES} are possible")
        return cls(tuple(dict.fromkeys(entries)))

    def __str__(self) -> str:
        return "; ".join(map(str, self.entries))

    def __bool__(self) -> bool:
        return bool(self.entries)

    def allows(self, who: frozenset[Sid], template: str, target: Iterable[Sid]) -> bool:
        """Is there an entry for one of the SIDs of `who`, this template (its cn) and one of the SIDs of `target`?"""
        targets = frozenset(target)
        return any(
            (entry.who == ANY or entry.who in who)
            and (entry.template == ANY or entry.template.casefold() == template.casefold())
            and (entry.target == ANY or entry.target in targets)
            for entry in self.entries
        )

    def names_explicitly(self, who: frozenset[Sid], template: str) -> bool:
        """Is this very template allowed by its name? For what a general permission must not cover."""
        return any(
            (entry.who == ANY or entry.who in who) and entry.template.casefold() == template.casefold()
            for entry in self.entries
        )
