"""The tab Security: a row for each account or group, a column for each right, and how many accounts that reaches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.http import QueryDict
from django.utils.translation import gettext_lazy as lazy

from certwright.adcs.requester import Sid, parse_sid
from certwright.adcs.security import SecurityDescriptor
from certwright.adcs.template_rights import TemplateRight, denied_sids, rights_by_sid, with_rights

COLUMNS: Final[Mapping[TemplateRight, Any]] = {
    TemplateRight.READ: lazy("Read"),
    TemplateRight.WRITE: lazy("Write"),
    TemplateRight.ENROLL: lazy("Enroll"),
    TemplateRight.AUTOENROLL: lazy("Autoenroll"),
    TemplateRight.FULL_CONTROL: lazy("Full control"),
}
MAX_ROWS: Final = 300


@dataclass(frozen=True, slots=True)
class RightsRow:
    """One account or group."""

    sid: Sid
    name: str
    rights: Sequence[tuple[str, Any, bool]]  # value, label, held
    members: int | None  # enabled accounts it reaches; None: many
    denied: bool  # an entry denies it something


def rows_of(
    security: SecurityDescriptor,
    names: Mapping[Sid, str],
    members: Callable[[Sequence[Sid]], Mapping[Sid, int | None]],
) -> list[RightsRow]:
    """Those whom an entry names, by name."""
    held, denied = rights_by_sid(security), denied_sids(security)
    counted = members(list(held))
    rows = [
        RightsRow(
            sid,
            names.get(sid, sid),
            [(right.value, label, right in rights) for right, label in COLUMNS.items()],
            counted[sid],
            sid in denied,
        )
        for sid, rights in held.items()
        if rights or sid in denied
    ]
    return sorted(rows, key=lambda row: row.name.casefold())


def posted(
    security: SecurityDescriptor, data: QueryDict, sid_of: Callable[[str], str], *, add: bool = True
) -> SecurityDescriptor:
    """The permissions as the form says them. Whom the form does not mention keeps what it has.

    Args:
        add: take the name in the field below the table too; whoever it is may read the template, and no more yet.

    Raises:
        InvalidArgument: there is nobody of the name that was added.
    """
    held = rights_by_sid(security)
    for text in data.getlist("ace-sid")[:MAX_ROWS]:
        sid = _sid(text)
        if sid is None:
            continue
        wanted = frozenset(right for right in TemplateRight if right.value in data.getlist(f"ace-{text}"))
        if TemplateRight.FULL_CONTROL in wanted:
            wanted = frozenset(TemplateRight)
        elif TemplateRight.FULL_CONTROL in held.get(sid, frozenset()):
            wanted = wanted - {TemplateRight.FULL_CONTROL}
        if wanted != held.get(sid, frozenset()):
            security = with_rights(security, sid, wanted)
    added = " ".join(data.get("ace-add", "").split())[:256]
    if added and add:
        sid = Sid(sid_of(added))
        security = with_rights(security, sid, rights_by_sid(security).get(sid, frozenset()) | {TemplateRight.READ})
    return security


def _sid(text: str) -> Sid | None:
    try:
        return parse_sid(text)
    except ValueError:
        return None
