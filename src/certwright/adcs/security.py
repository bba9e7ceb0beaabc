"""Security descriptors: who may enroll for a template, and what on a CA. [MS-DTYP] 2.4.6, 2.5.3; [MS-CRTD] 2.5.

The access check walks the list in its order and stops at the first entry that decides, as Windows does. Two
differences, both to the safe side: a descriptor without a discretionary list grants nothing (on Windows it grants
everything), and entries with a condition grant nothing, while those that deny do deny.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from certwright.adcs import sddl
from certwright.adcs.acl import MAX_SIZE, Ace, AceFlag, AceType, Acl, canonical_sid, sid_from_bytes, sid_to_bytes
from certwright.adcs.requester import Sid
from certwright.adcs.roles import CaAccess
from certwright.adcs.template import AUTOENROLL_RIGHT, ENROLL_RIGHT

WRITE_PROPERTY: Final = 0x20
CONTROL_ACCESS: Final = 0x100
WRITE_DAC: Final = 0x40000
WRITE_OWNER: Final = 0x80000
GENERIC_ALL: Final = 0x10000000
GENERIC_WRITE: Final = 0x40000000

DIRECTORY_ALL: Final = 0x000F01FF
"""What GENERIC_ALL means on an object of the directory. [MS-ADTS] 5.1.3.2."""

_CA_ALL: Final = 0x000F0000 | int(
    CaAccess.ADMINISTRATOR | CaAccess.OFFICER | CaAccess.AUDITOR | CaAccess.OPERATOR | CaAccess.READ | CaAccess.ENROLL
)
_CA_MASK: Final = _CA_ALL & 0xFFFF

_ALLOWING: Final = frozenset({AceType.ALLOWED, AceType.ALLOWED_OBJECT})
_DENYING: Final = frozenset(
    {AceType.DENIED, AceType.DENIED_OBJECT, AceType.DENIED_CALLBACK, AceType.DENIED_CALLBACK_OBJECT}
)
_WRITING: Final = WRITE_PROPERTY | WRITE_DAC | WRITE_OWNER | GENERIC_WRITE | GENERIC_ALL

MAX_CACHED: Final = 4096
"""Answers kept per descriptor: one per set of group memberships that has asked."""

# Control bits. [MS-DTYP] 2.4.6
_DACL_PRESENT, _SACL_PRESENT, _SELF_RELATIVE = 0x0004, 0x0010, 0x8000
_CONTROL_FLAGS: Final = {
    "D": (("AR", 0x0100), ("AI", 0x0400), ("P", 0x1000)),
    "S": (("AR", 0x0200), ("AI", 0x0800), ("P", 0x2000)),
}


@dataclass(frozen=True, slots=True)
class SecurityDescriptor:
    """Owner, group and the two lists of one object. Changing it gives a new one."""

    owner: Sid | None = None
    group: Sid | None = None
    dacl: Acl | None = None
    dacl_flags: frozenset[str] = frozenset()  # "P", "AR", "AI", "NO_ACCESS_CONTROL"
    sacl: Acl | None = None
    sacl_flags: frozenset[str] = frozenset()
    _answers: dict[tuple[str, frozenset[Sid]], int] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    # -- reading and writing -------------------------------------------------------------------------------------

    @classmethod
    def from_sddl(cls, text: str, domain_sid: Sid) -> SecurityDescriptor:
        """Read SDDL; `domain_sid` resolves names relative to a domain (DA, EA, DU, ...).

        Raises:
            ValueError: the text is not SDDL.
        """
        return cls(*sddl.parse(text, domain_sid))

    def to_sddl(self) -> str:
        return sddl.write(sddl.Parts(self.owner, self.group, self.dacl, self.dacl_flags, self.sacl, self.sacl_flags))

    @classmethod
    def from_bytes(cls, data: bytes) -> SecurityDescriptor:
        """Read the self-relative form, as nTSecurityDescriptor holds it.

        Raises:
            ValueError: it is cut off or inconsistent.
        """
        if not 20 <= len(data) <= 4 * MAX_SIZE:
            raise ValueError(f"a security descriptor cannot have {len(data)} bytes")
        revision, _, control, owner, group, sacl, dacl = struct.unpack_from("<BBHIIII", data)
        if revision != 1 or not control & _SELF_RELATIVE:
            raise ValueError("the security descriptor is not of revision 1 in self-relative form")
        if any(offset and not 20 <= offset < len(data) for offset in (owner, group, sacl, dacl)):
            raise ValueError("the security descriptor points outside itself")

        def flags(key: str) -> set[str]:
            return {name for name, bit in _CONTROL_FLAGS[key] if control & bit}

        dacl_flags, sacl_flags = flags("D"), flags("S")
        if control & _DACL_PRESENT and not dacl:
            dacl_flags.add("NO_ACCESS_CONTROL")
        return cls(
            sid_from_bytes(data, owner)[0] if owner else None,
            sid_from_bytes(data, group)[0] if group else None,
            Acl.decode(data[dacl:]) if dacl and control & _DACL_PRESENT else None,
            frozenset(dacl_flags),
            Acl.decode(data[sacl:]) if sacl and control & _SACL_PRESENT else None,
            frozenset(sacl_flags),
        )

    def to_bytes(self) -> bytes:
        """The self-relative form.

        Raises:
            ValueError: an entry has a condition that is known as text only, or a list is too long.
        """
        control = _SELF_RELATIVE
        for key, flags in (("D", self.dacl_flags), ("S", self.sacl_flags)):
            control |= sum(bit for name, bit in _CONTROL_FLAGS[key] if name in flags)
        if self.dacl is not None or "NO_ACCESS_CONTROL" in self.dacl_flags:
            control |= _DACL_PRESENT
        if self.sacl is not None:
            control |= _SACL_PRESENT
        parts = [
            None if self.owner is None else sid_to_bytes(self.owner),
            None if self.group is None else sid_to_bytes(self.group),
            None if self.sacl is None else self.sacl.encode(),
            None if self.dacl is None else self.dacl.encode(),
        ]
        offsets, body = [], b""
        for part in parts:
            offsets.append(20 + len(body) if part is not None else 0)
            body += part or b""
        return struct.pack("<BBHIIII", 1, 0, control, *offsets) + body

    # -- the access check ----------------------------------------------------------------------------------------

    def may_enroll(self, sids: frozenset[Sid]) -> bool:
        """Does a caller with these SIDs hold Enroll? [MS-CRTD] 2.5.1."""
        return self.has_extended_right(ENROLL_RIGHT, sids)

    def may_autoenroll(self, sids: frozenset[Sid]) -> bool:
        """[MS-CRTD] 2.5.2."""
        return self.has_extended_right(AUTOENROLL_RIGHT, sids)

    def has_extended_right(self, guid: str, sids: frozenset[Sid]) -> bool:
        """The first entry about one of `sids` and this right, or all rights, decides. [MS-ADTS] 5.1.3.3.4."""
        answer = self._answers.get((guid, sids))
        if answer is None:
            answer = self._remember((guid, sids), int(self._walk_right(guid, sids)))
        return bool(answer)

    def granted_ca_access(self, sids: frozenset[Sid]) -> CaAccess:
        """What a caller with these SIDs may do on the CA that this descriptor protects. [MS-CSRA] 3.1.1.7."""
        answer = self._answers.get(("", sids))
        if answer is None:
            answer = self._remember(("", sids), self.granted_access(sids, _CA_ALL) & _CA_MASK)
        return CaAccess(answer)

    def granted_access(self, sids: frozenset[Sid], generic_all: int = DIRECTORY_ALL) -> int:
        """The mask granted to these SIDs on the object as a whole. [MS-DTYP] 2.5.3.2.

        `generic_all` is what GENERIC_ALL means on this kind of object. Entries about one property or right do not
        count here.
        """
        granted = denied = 0
        for ace, mask in self._deciding(generic_all):
            if ace.sid in sids and not ace.names_object_type:
                if ace.type in _DENYING:
                    denied |= mask & ~granted
                else:
                    granted |= mask & ~denied
        return granted

    def _walk_right(self, guid: str, sids: frozenset[Sid]) -> bool:
        for ace, mask in self._deciding(DIRECTORY_ALL):
            if ace.sid in sids and mask & CONTROL_ACCESS and (not ace.names_object_type or ace.object_type == guid):
                return ace.type not in _DENYING
        return False

    def _deciding(self, generic_all: int) -> Iterator[tuple[Ace, int]]:
        for ace in self._entries:
            if ace.applies_here and (ace.type in _ALLOWING or ace.type in _DENYING):
                yield ace, ace.mask | generic_all if ace.mask & GENERIC_ALL else ace.mask

    def _remember(self, key: tuple[str, frozenset[Sid]], answer: int) -> int:
        if len(self._answers) >= MAX_CACHED:
            self._answers.clear()
        self._answers[key] = answer
        return answer

    @property
    def _entries(self) -> tuple[Ace, ...]:
        return self.dacl.entries if self.dacl is not None else ()

    # -- who is named --------------------------------------------------------------------------------------------

    def sids_with(self, mask: int) -> frozenset[Sid]:
        """The SIDs that are granted every bit of `mask`, each looked at by itself."""
        return frozenset(
            sid for sid in self._named() if self.granted_access(frozenset((sid,)), _CA_ALL) & mask == mask
        )

    def enroll_sids(self) -> frozenset[Sid]:
        """The SIDs that hold Enroll, each looked at by itself."""
        return frozenset(sid for sid in self._named() if self._walk_right(ENROLL_RIGHT, frozenset((sid,))))

    def autoenroll_sids(self) -> frozenset[Sid]:
        """The SIDs that hold AutoEnroll, each looked at by itself."""
        return frozenset(sid for sid in self._named() if self._walk_right(AUTOENROLL_RIGHT, frozenset((sid,))))

    def write_sids(self) -> frozenset[Sid]:
        """The SIDs that may change the object or its permissions: its owner, and any allowing entry that writes.

        For display and for warnings: an entry about a single property counts, a denying one takes nothing away.
        """
        writers = {ace.sid for ace, mask in self._deciding(DIRECTORY_ALL) if mask & _WRITING and _allows(ace)}
        return frozenset(writers | {self.owner} if self.owner is not None else writers)

    def _named(self) -> Iterable[Sid]:
        return {ace.sid for ace in self._entries if _allows(ace)}

    # -- changing ------------------------------------------------------------------------------------------------

    def grant_extended_right(self, guid: str, sid: Sid) -> SecurityDescriptor:
        """Add an entry that allows one extended right; an entry that denies exactly this goes."""
        sid = canonical_sid(sid)
        wanted = Ace(AceType.ALLOWED_OBJECT, AceFlag.NONE, CONTROL_ACCESS, sid, guid.lower())
        kept = [ace for ace in self._entries if not _is_denial_of(ace, wanted)]
        granted = self._with_entries(kept)
        return granted if granted._walk_right(wanted.object_type, frozenset((sid,))) else granted._with(wanted)

    def revoke_extended_right(self, guid: str, sid: Sid) -> SecurityDescriptor:
        """Take one extended right from `sid`: no entry for it allows the right afterwards.

        An entry that allowed all extended rights is narrowed: of Enroll and AutoEnroll, the other one stays.
        """
        sid, guid = canonical_sid(sid), guid.lower()
        siblings = [right for right in (ENROLL_RIGHT, AUTOENROLL_RIGHT) if right != guid]
        kept: list[Ace] = []
        for ace in self._entries:
            blanket = not ace.names_object_type
            mask = _expanded(ace.mask, DIRECTORY_ALL)
            if (
                ace.sid != sid
                or not _allows(ace)
                or not mask & CONTROL_ACCESS
                or not (blanket or ace.object_type == guid)
            ):
                kept.append(ace)
                continue
            if mask & ~CONTROL_ACCESS:
                kept.append(replace(ace, mask=mask & ~CONTROL_ACCESS))
            if blanket:
                kept += [
                    replace(ace, type=AceType.ALLOWED_OBJECT, mask=CONTROL_ACCESS, object_type=right)
                    for right in siblings
                ]
        return self._with_entries(kept)

    def grant_access(self, mask: int, sid: Sid) -> SecurityDescriptor:
        """Allow `sid` the bits of `mask` on the object as a whole; entries that deny it these bits lose them."""
        sid = canonical_sid(sid)
        kept: list[Ace] = []
        for ace in self._entries:
            if ace.sid == sid and ace.type is AceType.DENIED and ace.applies_here and ace.mask & mask:
                if left := _expanded(ace.mask, _CA_ALL) & ~mask:
                    kept.append(replace(ace, mask=left))
            else:
                kept.append(ace)
        plain = next(
            (
                index
                for index, ace in enumerate(kept)
                if ace.sid == sid and ace.type is AceType.ALLOWED and ace.flags is AceFlag.NONE
            ),
            None,
        )
        if plain is None:
            return self._with_entries(kept)._with(Ace(AceType.ALLOWED, AceFlag.NONE, mask, sid))
        kept[plain] = replace(kept[plain], mask=kept[plain].mask | mask)
        return self._with_entries(kept)

    def revoke_access(self, mask: int, sid: Sid, generic_all: int = _CA_ALL) -> SecurityDescriptor:
        """Take the bits of `mask` from `sid`: no entry for it allows them afterwards.

        `generic_all` is what GENERIC_ALL means on this kind of object.
        """
        sid = canonical_sid(sid)
        kept: list[Ace] = []
        for ace in self._entries:
            if ace.sid == sid and _allows(ace) and _expanded(ace.mask, generic_all) & mask:
                if left := _expanded(ace.mask, generic_all) & ~mask:
                    kept.append(replace(ace, mask=left))
            else:
                kept.append(ace)
        return self._with_entries(kept)

    def _with(self, allowing: Ace) -> SecurityDescriptor:
        """One more explicit entry that allows, in its canonical place: before what is inherited."""
        entries = list(self._entries)
        place = next((index for index, ace in enumerate(entries) if ace.is_inherited), len(entries))
        return self._with_entries([*entries[:place], allowing, *entries[place:]])

    def _with_entries(self, entries: Iterable[Ace]) -> SecurityDescriptor:
        return replace(self, dacl=Acl(tuple(entries)), dacl_flags=self.dacl_flags - {"NO_ACCESS_CONTROL"})


def _allows(ace: Ace) -> bool:
    return ace.type in _ALLOWING and ace.applies_here


def _expanded(mask: int, generic_all: int) -> int:
    return mask & ~GENERIC_ALL | generic_all if mask & GENERIC_ALL else mask


def _is_denial_of(ace: Ace, wanted: Ace) -> bool:
    return (
        ace.type is AceType.DENIED_OBJECT
        and ace.sid == wanted.sid
        and ace.object_type == wanted.object_type
        and ace.mask == CONTROL_ACCESS
        and ace.applies_here
    )
