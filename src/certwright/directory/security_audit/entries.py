"""Entries of a list of permissions in words: which principal has which right. [MS-ADTS] 5.1.3.2."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Final, NamedTuple

from certwright.adcs.acl import Ace, AceType
from certwright.adcs.requester import Sid
from certwright.adcs.roles import CaAccess
from certwright.adcs.security import (
    CONTROL_ACCESS,
    DIRECTORY_ALL,
    GENERIC_ALL,
    GENERIC_WRITE,
    WRITE_DAC,
    WRITE_OWNER,
    WRITE_PROPERTY,
    SecurityDescriptor,
)
from certwright.adcs.template import AUTOENROLL_RIGHT, ENROLL_RIGHT

CREATE_CHILD: Final = 0x1

ALT_SECURITY_IDENTITIES: Final = "00fbf30c-91fe-11d1-aebc-0000f80367c1"
PUBLIC_INFORMATION: Final = "e48d0154-bcf8-11d1-8702-00c04fb96050"
"""The property set that altSecurityIdentities is in."""
RESET_PASSWORD: Final = "00299570-246d-11d0-a768-00aa006e0529"  # noqa: S105 - a right, not a password
KEY_CREDENTIAL_LINK: Final = "5b47d60f-6090-40b2-9f37-2a4de88f3063"
ALLOWED_TO_ACT: Final = "3f78c3e5-f79a-46bd-a0b8-9d18116ddc79"
ACCOUNT_RESTRICTIONS: Final = "4c164200-20c0-11d0-a768-00aa003049e2"
"""The property set that msDS-AllowedToActOnBehalfOfOtherIdentity is in."""

# schemaIDGUID and rightsGuid by the name people know. [MS-ADA1], [MS-ADA2], [MS-ADTS] 5.1.3.2.1
_GUID_NAMES: Final[Mapping[str, str]] = {
    ENROLL_RIGHT: "Enroll",
    AUTOENROLL_RIGHT: "AutoEnroll",
    RESET_PASSWORD: "Reset Password",
    ALT_SECURITY_IDENTITIES: "altSecurityIdentities",
    PUBLIC_INFORMATION: "Public Information",
    KEY_CREDENTIAL_LINK: "msDS-KeyCredentialLink",
    ALLOWED_TO_ACT: "msDS-AllowedToActOnBehalfOfOtherIdentity",
    ACCOUNT_RESTRICTIONS: "Account Restrictions",
    "f9c9a57c-3941-438d-bebf-0edaf2aca187": "msDS-OIDToGroupLink",
    "ea1dddc4-60ff-416e-8cc0-17cee534bce7": "msPKI-Certificate-Name-Flag",
    "d15ef7d8-f226-46db-ae79-b34e560bd12c": "msPKI-Enrollment-Flag",
    "38942346-cc5b-424b-a7d8-6ffd12029c5f": "msPKI-Certificate-Policy",
    "fe17e04b-937d-4f7e-8e0e-9292c8d5683e": "msPKI-RA-Signature",
    "2a39c5b1-8960-11d1-aebc-0000f80367c1": "certificateTemplates",
}

_ALLOWING: Final = frozenset({AceType.ALLOWED, AceType.ALLOWED_OBJECT})


class Grant(NamedTuple):
    """One right that one principal has by one entry, or as owner."""

    sid: Sid
    right: str


def named(grants: Collection[Grant], names: Callable[[Sid], str]) -> tuple[str, ...]:
    r"""`CORP\Domain Users: Enroll`, each once, in the order of the list."""
    return tuple(dict.fromkeys(f"{names(grant.sid)}: {grant.right}" for grant in grants))


def grants_to_enroll(security: SecurityDescriptor, sids: Collection[Sid]) -> list[Grant]:
    """The entries by which these SIDs may enroll. [MS-CRTD] 2.5.1."""
    return [
        Grant(ace.sid, _words(ace, CONTROL_ACCESS))
        for ace in _allowing(security, sids)
        if _expanded(ace) & CONTROL_ACCESS and (not ace.names_object_type or ace.object_type == ENROLL_RIGHT)
    ]


def grants_to_write(
    security: SecurityDescriptor, sids: Collection[Sid], properties: Collection[str] | None = None, *, more: int = 0
) -> list[Grant]:
    """The entries, and the ownership, by which these SIDs may change an object.

    Args:
        properties: of entries about one property or right, those that count; None: all.
        more: further bits that count, such as creating objects below.
    """
    found = [Grant(security.owner, "owner")] if security.owner in sids and security.owner is not None else []
    writing = WRITE_PROPERTY | WRITE_DAC | WRITE_OWNER | GENERIC_WRITE | GENERIC_ALL | more
    for ace in _allowing(security, sids):
        mask = _expanded(ace) & writing
        if ace.names_object_type and (properties is not None and ace.object_type not in properties):
            mask &= ~(WRITE_PROPERTY | CONTROL_ACCESS)
        if mask:
            found.append(Grant(ace.sid, _words(ace, mask)))
    return found


def grants_on_ca(security: SecurityDescriptor, sids: Collection[Sid], wanted: CaAccess) -> list[Grant]:
    """The entries of a CA's own descriptor by which these SIDs hold one of the wanted roles. [MS-CSRA] 3.1.1.7."""
    words = {CaAccess.ADMINISTRATOR: "Manage CA", CaAccess.OFFICER: "Issue and Manage Certificates"}
    found = []
    for ace in _allowing(security, sids):
        mask = ace.mask | int(wanted) if ace.mask & GENERIC_ALL else ace.mask
        held = [text for role, text in words.items() if role & wanted and mask & role]
        if held and not ace.names_object_type:
            found.append(Grant(ace.sid, " and ".join(held)))
    return found


def _allowing(security: SecurityDescriptor, sids: Collection[Sid]) -> Iterator[Ace]:
    entries = security.dacl.entries if security.dacl is not None else ()
    return (ace for ace in entries if ace.type in _ALLOWING and ace.applies_here and ace.sid in sids)


def _expanded(ace: Ace) -> int:
    return ace.mask | DIRECTORY_ALL if ace.mask & GENERIC_ALL else ace.mask


def _words(ace: Ace, mask: int) -> str:
    inherited = ", inherited" if ace.is_inherited else ""
    return f"{_right(ace, mask)}{inherited}"


def _right(ace: Ace, mask: int) -> str:
    if _expanded(ace) & DIRECTORY_ALL == DIRECTORY_ALL and not ace.names_object_type:
        return "Full Control"
    which = _GUID_NAMES.get(ace.object_type, ace.object_type) if ace.names_object_type else ""
    rights = []
    if mask & CONTROL_ACCESS:
        rights.append(which or "All Extended Rights")
    if mask & (WRITE_PROPERTY | GENERIC_WRITE):
        rights.append(f"Write {which}" if which else "Write All Properties")
    if mask & WRITE_DAC:
        rights.append("Modify Permissions")
    if mask & WRITE_OWNER:
        rights.append("Modify Owner")
    if mask & CREATE_CHILD:
        rights.append("Create Objects Below")
    return " and ".join(rights)
