"""The tables of CA Properties: who holds which role on a CA, and which managers and agents are restricted to what.

Drawn and read here, decided by the CA. [MS-CSRA] 3.1.1.7, 2.2.1.11.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.http import QueryDict
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as lazy

from certwright.adcs.errors import InvalidArgument
from certwright.adcs.requester import Sid, parse_sid
from certwright.adcs.restrictions import ANY, Restrictions
from certwright.adcs.roles import CaAccess
from certwright.adcs.security import SecurityDescriptor
from certwright.directory.base import Directory

ROLES: Final[Mapping[CaAccess, Any]] = {
    CaAccess.ADMINISTRATOR: lazy("Manage CA"),
    CaAccess.OFFICER: lazy("Issue and Manage Certificates"),
    CaAccess.AUDITOR: lazy("Audit"),
    CaAccess.OPERATOR: lazy("Back up"),
    CaAccess.READ: lazy("Read"),
    CaAccess.ENROLL: lazy("Request Certificates"),
}
"""Columns of the tab Security, in the words of the MMC. [MS-CSRA] 3.1.1.7."""
_MAX_ROWS: Final = 300


# -- roles -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RoleRow:
    """One account or group with its roles."""

    sid: Sid
    name: str
    roles: Sequence[tuple[int, Any, bool]]  # mask, label, held
    members: int | None  # enabled accounts it reaches; None: many


@dataclass(frozen=True, slots=True)
class Security:
    """The table, and the descriptor it stands for."""

    sddl: str
    changed: bool
    rows: Sequence[RoleRow]
    denials: Sequence[str]  # whom an entry denies something


def drawn_roles(
    stored: SecurityDescriptor,
    wanted: SecurityDescriptor,
    directory: Directory,
    members: Callable[[Sequence[Sid]], Mapping[Sid, int | None]],
) -> Security:
    """The wanted descriptor as a table, by name."""
    entries = wanted.dacl.entries if wanted.dacl is not None else ()
    sids = list(dict.fromkeys(ace.sid for ace in entries))
    names, counts = directory.sid_names(frozenset(sids)), members(sids)
    holders = {mask: wanted.sids_with(int(mask)) for mask in ROLES}
    rows = [
        RoleRow(
            sid,
            names.get(sid, sid),
            [(int(mask), label, sid in holders[mask]) for mask, label in ROLES.items()],
            counts[sid],
        )
        for sid in sids
        if any(sid in held for held in holders.values())
    ]
    denials = sorted({names.get(ace.sid, ace.sid) for ace in entries if "DENIED" in ace.type.name})
    return Security(wanted.to_sddl(), wanted != stored, sorted(rows, key=lambda row: row.name.casefold()), denials)


def posted_roles(stored: SecurityDescriptor, data: QueryDict, directory: Directory) -> SecurityDescriptor:
    """The descriptor as the table says it; whom the table does not mention keeps what they have.

    Raises:
        InvalidArgument: there is nobody of the name that was added.
    """
    wanted = stored
    for text in data.getlist("role-sid")[:_MAX_ROWS]:
        try:
            sid = parse_sid(text)
        except ValueError:
            continue
        ticked = set(data.getlist(f"role-{text}"))
        for mask in ROLES:
            held = sid in stored.sids_with(int(mask))
            if held != (str(int(mask)) in ticked):
                wanted = (wanted.revoke_access if held else wanted.grant_access)(int(mask), sid)
    added = " ".join(data.get("role-add", "").split())[:256]
    return wanted.grant_access(int(CaAccess.READ), Sid(_sid_of(directory, added))) if added else wanted


def _sid_of(directory: Directory, name: str) -> str:
    """The SID of an account or group; a SID and `*` stand for themselves.

    Raises:
        InvalidArgument: nobody is called that.
    """
    found = directory.principal(name)
    if found is not None:
        return found.sid
    if name == ANY or name.upper().startswith("S-1-"):
        return name.upper()
    raise InvalidArgument(_("There is no account or group called %(name)s.") % {"name": name})


# -- restrictions ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RestrictionRow:
    """One line: who may act with which template for whom, as people read it; `*` for any."""

    who: str
    template: str
    target: str


@dataclass(frozen=True, slots=True)
class RestrictionTable:
    """The lines, the setting they stand for, and what of them cannot be read."""

    rows: Sequence[RestrictionRow]
    text: str
    error: str = ""

    @property
    def drawn(self) -> Sequence[RestrictionRow]:
        """With an empty line for one more."""
        return [*self.rows, RestrictionRow("", "", "")]


def drawn_restrictions(text: str, directory: Directory) -> RestrictionTable:
    """A setting as lines."""
    entries = Restrictions.parse(text).entries
    sids = frozenset(Sid(sid) for entry in entries for sid in (entry.who, entry.target) if sid != ANY)
    names = directory.sid_names(sids)
    rows = [
        RestrictionRow(
            names.get(Sid(entry.who), entry.who), entry.template, names.get(Sid(entry.target), entry.target)
        )
        for entry in entries
    ]
    return RestrictionTable(rows, text)


def posted_restrictions(before: str, data: QueryDict, directory: Directory) -> RestrictionTable:
    """The lines of a form; one without a name in front is none."""
    columns = (data.getlist(f"restrict-{name}")[:_MAX_ROWS] for name in ("who", "template", "target"))
    rows = [
        RestrictionRow(*(" ".join(word.split())[:256] or ANY for word in words))
        for words in zip(*columns, strict=False)
        if words[0].strip()
    ]
    try:
        entries = [f"{_sid_of(directory, row.who)}:{row.template}:{_sid_of(directory, row.target)}" for row in rows]
        return RestrictionTable(rows, str(Restrictions.parse("; ".join(entries))))
    except InvalidArgument as error:
        return RestrictionTable(rows, before, error.message)
    except ValueError as error:
        return RestrictionTable(rows, before, f"{error}.")
