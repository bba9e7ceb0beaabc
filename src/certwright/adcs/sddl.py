"""Security descriptors as text: the Security Descriptor Definition Language. [MS-DTYP] 2.5.1.

Reads everything the grammar has; writes rights as letters where letters say them completely, and trustees of a domain
as full SIDs, so that the text means the same in every domain.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from certwright.adcs.acl import MAX_ENTRIES, OBJECT_TYPES, Ace, AceFlag, AceType, Acl, canonical_sid
from certwright.adcs.requester import Sid

MAX_LENGTH: Final = 262_144

_WELL_KNOWN: Final[Mapping[str, str]] = {
    "WD": "S-1-1-0",
    "CO": "S-1-3-0",
    "CG": "S-1-3-1",
    "OW": "S-1-3-4",
    "NU": "S-1-5-2",
    "IU": "S-1-5-4",
    "SU": "S-1-5-6",
    "AN": "S-1-5-7",
    "ED": "S-1-5-9",
    "PS": "S-1-5-10",
    "AU": "S-1-5-11",
    "RC": "S-1-5-12",
    "SY": "S-1-5-18",
    "LS": "S-1-5-19",
    "NS": "S-1-5-20",
    "WR": "S-1-5-33",
    "BA": "S-1-5-32-544",
    "BU": "S-1-5-32-545",
    "BG": "S-1-5-32-546",
    "PU": "S-1-5-32-547",
    "AO": "S-1-5-32-548",
    "SO": "S-1-5-32-549",
    "PO": "S-1-5-32-550",
    "BO": "S-1-5-32-551",
    "RE": "S-1-5-32-552",
    "RU": "S-1-5-32-554",
    "RD": "S-1-5-32-555",
    "NO": "S-1-5-32-556",
    "MU": "S-1-5-32-558",
    "LU": "S-1-5-32-559",
    "IS": "S-1-5-32-568",
    "CY": "S-1-5-32-569",
    "ER": "S-1-5-32-573",
    "CD": "S-1-5-32-574",
    "RA": "S-1-5-32-575",
    "ES": "S-1-5-32-576",
    "MS": "S-1-5-32-577",
    "HA": "S-1-5-32-578",
    "AA": "S-1-5-32-579",
    "RM": "S-1-5-32-580",
    "UD": "S-1-5-84-0-0-0-0-0",
    "AC": "S-1-15-2-1",
    "LW": "S-1-16-4096",
    "ME": "S-1-16-8192",
    "MP": "S-1-16-8448",
    "HI": "S-1-16-12288",
    "SI": "S-1-16-16384",
    "AS": "S-1-18-1",
    "SS": "S-1-18-2",
}
_DOMAIN_RELATIVE: Final[Mapping[str, int]] = {
    "RO": 498,
    "LA": 500,
    "LG": 501,
    "DA": 512,
    "DU": 513,
    "DG": 514,
    "DC": 515,
    "DD": 516,
    "CA": 517,
    "SA": 518,
    "EA": 519,
    "PA": 520,
    "CN": 522,
    "AP": 525,
    "KA": 526,
    "EK": 527,
    "RS": 553,
}
"""RIDs. The root domain's groups (EA, SA, RO, EK) are taken from the same domain: an embedded forest has one."""

_ALIASES: Final = {sid: alias for alias, sid in _WELL_KNOWN.items()}

_RIGHTS: Final[Mapping[str, int]] = {
    "CC": 0x00000001,
    "DC": 0x00000002,
    "LC": 0x00000004,
    "SW": 0x00000008,
    "RP": 0x00000010,
    "WP": 0x00000020,
    "DT": 0x00000040,
    "LO": 0x00000080,
    "CR": 0x00000100,
    "SD": 0x00010000,
    "RC": 0x00020000,
    "WD": 0x00040000,
    "WO": 0x00080000,
    "GA": 0x10000000,
    "GX": 0x20000000,
    "GW": 0x40000000,
    "GR": 0x80000000,
}
_READ_ONLY_RIGHTS: Final[Mapping[str, int]] = {  # combinations that are read, never written
    "FA": 0x001F01FF,
    "FR": 0x00120089,
    "FW": 0x00120116,
    "FX": 0x001200A0,
    "KA": 0x000F003F,
    "KR": 0x00020019,
    "KX": 0x00020019,
    "KW": 0x00020006,
}
_LABEL_RIGHTS: Final[Mapping[str, int]] = {"NW": 0x1, "NR": 0x2, "NX": 0x4}
_TYPES: Final[Mapping[str, AceType]] = {
    "A": AceType.ALLOWED,
    "D": AceType.DENIED,
    "AU": AceType.AUDIT,
    "AL": AceType.ALARM,
    "OA": AceType.ALLOWED_OBJECT,
    "OD": AceType.DENIED_OBJECT,
    "OU": AceType.AUDIT_OBJECT,
    "OL": AceType.ALARM_OBJECT,
    "XA": AceType.ALLOWED_CALLBACK,
    "XD": AceType.DENIED_CALLBACK,
    "ZA": AceType.ALLOWED_CALLBACK_OBJECT,
    "ZD": AceType.DENIED_CALLBACK_OBJECT,  # not in the grammar; so that every entry can be written
    "XU": AceType.AUDIT_CALLBACK,
    "ML": AceType.MANDATORY_LABEL,
    "RA": AceType.RESOURCE_ATTRIBUTE,
    "SP": AceType.SCOPED_POLICY,
    "TL": AceType.PROCESS_TRUST_LABEL,
    "FL": AceType.ACCESS_FILTER,
}
_TYPE_NAMES: Final = {kind: name for name, kind in _TYPES.items()}
_FLAGS: Final[Mapping[str, AceFlag]] = {
    "OI": AceFlag.OBJECT_INHERIT,
    "CI": AceFlag.CONTAINER_INHERIT,
    "NP": AceFlag.NO_PROPAGATE,
    "IO": AceFlag.INHERIT_ONLY,
    "ID": AceFlag.INHERITED,
    "SA": AceFlag.SUCCESSFUL_ACCESS,
    "FA": AceFlag.FAILED_ACCESS,
}
_LIST_FLAGS: Final = ("NO_ACCESS_CONTROL", "AR", "AI", "P")

_SID: Final = re.compile(r"S-1-(?:0x[0-9a-fA-F]{12}|[0-9]{1,15})(?:-[0-9]{1,10}){0,15}|[A-Z]{2}")


class Parts(NamedTuple):
    """A descriptor's text in pieces. A list that is not there is None."""

    owner: Sid | None
    group: Sid | None
    dacl: Acl | None
    dacl_flags: frozenset[str]
    sacl: Acl | None
    sacl_flags: frozenset[str]


def parse(text: str, domain_sid: Sid) -> Parts:
    """Read SDDL; `domain_sid` resolves names such as DA, Domain Admins.

    Raises:
        ValueError: the text is not SDDL; the message says where.
    """
    if len(text) > MAX_LENGTH:
        raise ValueError(f"a security descriptor of {len(text)} characters is too long")
    sids: dict[str, Sid] = {}
    lists: dict[str, tuple[Acl | None, frozenset[str]]] = {}
    at = 0
    text = text.strip()
    while at < len(text):
        kind = text[at : at + 2]
        if kind not in ("O:", "G:", "D:", "S:") or kind in sids or kind in lists:
            raise ValueError(
                f"expected O:, G:, D: or S: once each at character {at + 1}, found {text[at : at + 8]!r}"
            )
        at += 2
        if kind in ("O:", "G:"):
            match = _SID.match(text, at)
            if match is None:
                raise ValueError(f"expected a SID or its name at character {at + 1}, found {text[at : at + 8]!r}")
            sids[kind] = resolve(match[0], domain_sid)
            at = match.end()
        else:
            acl, flags, at = _parse_list(text, at, domain_sid)
            lists[kind] = acl, flags
    dacl, dacl_flags = lists.get("D:", (None, frozenset()))
    sacl, sacl_flags = lists.get("S:", (None, frozenset()))
    return Parts(sids.get("O:"), sids.get("G:"), dacl, dacl_flags, sacl, sacl_flags)


def resolve(name: str, domain_sid: Sid) -> Sid:
    """The SID that a two-letter name or a SID string means.

    Raises:
        ValueError: neither.
    """
    if name.startswith("S-"):
        return canonical_sid(name)
    if name in _WELL_KNOWN:
        return Sid(_WELL_KNOWN[name])
    if name in _DOMAIN_RELATIVE:
        return Sid(f"{domain_sid}-{_DOMAIN_RELATIVE[name]}")
    raise ValueError(f"{name!r} is neither a SID nor a name that SDDL has for one")


def _parse_list(text: str, at: int, domain_sid: Sid) -> tuple[Acl | None, frozenset[str], int]:
    flags: set[str] = set()
    while at < len(text) and text[at] != "(" and text[at : at + 2] not in ("O:", "G:", "D:", "S:"):
        found = next((flag for flag in _LIST_FLAGS if text.startswith(flag, at)), None)
        if found is None:
            raise ValueError(f"unknown list flag at character {at + 1}: {text[at : at + 8]!r}")
        flags.add(found)
        at += len(found)
    entries: list[Ace] = []
    while at < len(text) and text[at] == "(":
        stop = _closing(text, at)
        if len(entries) == MAX_ENTRIES:
            raise ValueError(f"more than {MAX_ENTRIES} access control entries")
        entries.append(_parse_entry(text[at + 1 : stop], domain_sid))
        at = stop + 1
    if "NO_ACCESS_CONTROL" in flags:
        if entries:
            raise ValueError("NO_ACCESS_CONTROL says that there are no entries, but some follow")
        return None, frozenset(flags), at
    return Acl(tuple(entries)), frozenset(flags), at


def _closing(text: str, start: int) -> int:
    """Where the parenthesis that opens at `start` closes; conditions nest and quote."""
    depth, quoted = 0, False
    for at in range(start, len(text)):
        char = text[at]
        if char == '"':
            quoted = not quoted
        elif not quoted and char == "(":
            depth += 1
        elif not quoted and char == ")":
            depth -= 1
            if not depth:
                return at
    raise ValueError(f"the access control entry at character {start + 1} does not end")


def _parse_entry(text: str, domain_sid: Sid) -> Ace:
    fields = text.split(";", 6)
    if len(fields) < 6:
        raise ValueError(f"an access control entry has six fields: ({text[:80]})")
    name, flag_text, rights, object_type, inherited, trustee = (field.strip() for field in fields[:6])
    rest = fields[6].strip() if len(fields) == 7 else ""
    kind = _TYPES.get(name)
    if kind is None:
        raise ValueError(f"{name!r} is no type of access control entry: ({text[:80]})")
    if kind not in OBJECT_TYPES and (object_type or inherited):
        raise ValueError(f"an entry of type {name} cannot name an object type: ({text[:80]})")
    flags = AceFlag.NONE
    for letters in _pairs(flag_text):
        if letters not in _FLAGS:
            raise ValueError(f"{letters!r} is no flag of an access control entry: ({text[:80]})")
        flags |= _FLAGS[letters]
    data, condition = b"", rest
    if rest.startswith("#"):
        data, condition = bytes.fromhex(rest[1:]), ""
    return Ace(
        kind,
        flags,
        parse_rights(rights, label=kind is AceType.MANDATORY_LABEL),
        resolve(trustee, domain_sid),
        _guid(object_type),
        _guid(inherited),
        data + bytes(-len(data) % 4),
        condition,
    )


def _pairs(text: str) -> Iterator[str]:
    return (text[at : at + 2] for at in range(0, len(text), 2))


def _guid(text: str) -> str:
    try:
        return str(uuid.UUID(text)) if text else ""
    except ValueError:
        raise ValueError(f"{text!r} is no GUID") from None


def parse_rights(text: str, *, label: bool = False) -> int:
    """An access mask from letters (`CCDCCR`) or a number (`0x100`, `256`).

    Raises:
        ValueError: neither, or more than 32 bits.
    """
    if text[:1].isdigit():
        try:
            mask = int(text, 16 if text[:2].lower() == "0x" else 10)
        except ValueError:
            raise ValueError(f"{text!r} is no access mask") from None
        if mask >= 1 << 32:
            raise ValueError(f"the access mask {text} has more than 32 bits")
        return mask
    mask = 0
    known = {**_RIGHTS, **_READ_ONLY_RIGHTS, **(_LABEL_RIGHTS if label else {})}
    for letters in _pairs(text):
        if letters not in known:
            raise ValueError(f"{letters!r} is no right that SDDL knows")
        mask |= known[letters]
    return mask


# -- writing ---------------------------------------------------------------------------------------------------------


def write(parts: Parts) -> str:
    """The text of a descriptor; `parse` reads it back to the same parts."""
    out = ""
    if parts.owner is not None:
        out += "O:" + _trustee(parts.owner)
    if parts.group is not None:
        out += "G:" + _trustee(parts.group)
    for key, acl, flags in (("D:", parts.dacl, parts.dacl_flags), ("S:", parts.sacl, parts.sacl_flags)):
        if acl is not None or flags:
            out += key + "".join(flag for flag in ("P", "AR", "AI", "NO_ACCESS_CONTROL") if flag in flags)
            out += "".join(_write_entry(ace) for ace in acl.entries) if acl is not None else ""
    return out


def _trustee(sid: Sid) -> str:
    return _ALIASES.get(sid, sid)


def _write_entry(ace: Ace) -> str:
    flags = "".join(letters for letters, flag in _FLAGS.items() if ace.flags & flag)
    fields = [
        _TYPE_NAMES[ace.type],
        flags,
        write_rights(ace.mask, label=ace.type is AceType.MANDATORY_LABEL),
        ace.object_type,
        ace.inherited_object_type,
        _trustee(ace.sid),
    ]
    if ace.condition:
        fields.append(ace.condition)
    elif ace.data:
        fields.append("#" + ace.data.hex())
    return f"({';'.join(fields)})"


def write_rights(mask: int, *, label: bool = False) -> str:
    """Letters when they say every bit of the mask, otherwise a hexadecimal number."""
    known = _LABEL_RIGHTS if label else _RIGHTS
    letters = "".join(name for name, bit in known.items() if mask & bit)
    if sum(bit for bit in known.values() if mask & bit) == mask:
        return letters
    return f"0x{mask:x}"
