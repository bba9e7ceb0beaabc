"""The permissions of a template as Windows' own screen shows them: who may do what. [MS-CRTD] 2.5, [MS-ADTS] 5.1.3.2.

A right is shown when entries allow it to the SID by itself; what denies is listed apart, because it wins over what a
group is allowed.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final

from certwright.adcs.acl import Ace, AceType
from certwright.adcs.requester import Sid
from certwright.adcs.security import (
    DIRECTORY_ALL,
    GENERIC_ALL,
    GENERIC_WRITE,
    WRITE_DAC,
    WRITE_OWNER,
    WRITE_PROPERTY,
    SecurityDescriptor,
)
from certwright.adcs.template import AUTOENROLL_RIGHT, ENROLL_RIGHT

_READ: Final = 0x00020094
"""What GENERIC_READ means on an object of the directory: read it, its properties, its list and its permissions."""
_WRITE: Final = 0x00020028
"""What GENERIC_WRITE means there. Taking it takes the rights to change permissions and owner with it."""
_SELF: Final = 0x8  # validated writes
_CHANGES: Final = WRITE_PROPERTY | WRITE_DAC | WRITE_OWNER | GENERIC_WRITE | GENERIC_ALL
_ALLOWING: Final = frozenset({AceType.ALLOWED, AceType.ALLOWED_OBJECT})


class TemplateRight(Enum):
    """A column of the Security tab."""

    READ = "read"
    WRITE = "write"
    ENROLL = "enroll"
    AUTOENROLL = "autoenroll"
    FULL_CONTROL = "full-control"


_EXTENDED: Final = {TemplateRight.ENROLL: ENROLL_RIGHT, TemplateRight.AUTOENROLL: AUTOENROLL_RIGHT}


def rights_by_sid(security: SecurityDescriptor) -> Mapping[Sid, frozenset[TemplateRight]]:
    """What each SID that an entry names is allowed, in the order of the entries; nothing where it is only denied."""
    entries = _entries(security)
    enroll, autoenroll = security.enroll_sids(), security.autoenroll_sids()
    writers = {ace.sid for ace in entries if ace.type in _ALLOWING and ace.mask & _CHANGES}
    found: dict[Sid, frozenset[TemplateRight]] = {}
    for sid in dict.fromkeys(ace.sid for ace in entries):
        granted = security.granted_access(frozenset((sid,)))
        held = {
            TemplateRight.READ: granted & _READ == _READ,
            TemplateRight.WRITE: sid in writers,
            TemplateRight.ENROLL: sid in enroll,
            TemplateRight.AUTOENROLL: sid in autoenroll,
            TemplateRight.FULL_CONTROL: granted & DIRECTORY_ALL == DIRECTORY_ALL,
        }
        found[sid] = frozenset(right for right, has in held.items() if has)
    return found


def denied_sids(security: SecurityDescriptor) -> frozenset[Sid]:
    """The SIDs that an entry denies something."""
    return frozenset(ace.sid for ace in _entries(security) if ace.type not in _ALLOWING)


def _entries(security: SecurityDescriptor) -> list[Ace]:
    entries = security.dacl.entries if security.dacl is not None else ()
    return [ace for ace in entries if ace.applies_here]


def with_rights(security: SecurityDescriptor, sid: Sid, wanted: frozenset[TemplateRight]) -> SecurityDescriptor:
    """The descriptor in which `sid` holds exactly these rights by entries of its own.

    Full control includes the others. Entries that say more than these columns do stay where nothing changes.
    """
    held = rights_by_sid(security).get(sid, frozenset())
    if TemplateRight.FULL_CONTROL in wanted:
        return security if TemplateRight.FULL_CONTROL in held else security.grant_access(DIRECTORY_ALL, sid)
    if TemplateRight.FULL_CONTROL in held or not wanted:
        security, held = security.revoke_access(DIRECTORY_ALL, sid, DIRECTORY_ALL), frozenset()
    for right in held - wanted:
        if right in _EXTENDED:
            security = security.revoke_extended_right(_EXTENDED[right], sid)
        elif right is TemplateRight.WRITE:
            security = security.revoke_access(_CHANGES & ~GENERIC_ALL | _SELF, sid, DIRECTORY_ALL)
        else:
            security = security.revoke_access(_READ, sid, DIRECTORY_ALL)
    for right in sorted(wanted - held, key=lambda right: right.value):
        if right in _EXTENDED:
            security = security.grant_extended_right(_EXTENDED[right], sid)
        else:
            security = security.grant_access(_WRITE if right is TemplateRight.WRITE else _READ, sid)
    return security
