"""Security descriptors: text, bytes, and the access check. [MS-DTYP] 2.4, 2.5; [MS-CRTD] 2.5; [MS-CSRA] 3.1.1.7."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certwright.adcs.acl import AceType, canonical_sid, sid_from_bytes, sid_to_bytes
from certwright.adcs.requester import (
    AUTHENTICATED_USERS,
    BUILTIN_ADMINISTRATORS,
    EVERYONE,
    LOCAL_SYSTEM,
    Sid,
)
from certwright.adcs.roles import CaAccess
from certwright.adcs.security import MAX_CACHED, SecurityDescriptor
from certwright.adcs.template import AUTOENROLL_RIGHT, ENROLL_RIGHT
from tests.support.fake_directory import DOMAIN_SID, DOMAIN_USERS

VECTORS = Path(__file__).parents[2] / "vectors" / "security"
ALICE = Sid(f"{DOMAIN_SID}-1101")
DOMAIN_ADMINS = Sid(f"{DOMAIN_SID}-512")
ENTERPRISE_ADMINS = Sid(f"{DOMAIN_SID}-519")
OTHER_RIGHT = "00299570-246d-11d0-a768-00aa006e0529"  # User-Force-Change-Password


def read(sddl: str) -> SecurityDescriptor:
    return SecurityDescriptor.from_sddl(sddl, DOMAIN_SID)


def sids(*members: Sid) -> frozenset[Sid]:
    return frozenset(members)


def vectors(name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((VECTORS / f"{name}.json").read_text())
    return rows


# -- another implementation ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", vectors("descriptors"), ids=lambda row: row["sddl"][:40])
def test_text_and_bytes_of_samba_are_the_same_descriptor(row: dict[str, str]) -> None:
    """[MS-DTYP] 2.4.6 and 2.5.1: an independent implementation made the bytes."""
    binary = bytes.fromhex(row["hex"])

    from_text, from_bytes = read(row["sddl"]), SecurityDescriptor.from_bytes(binary)

    assert from_text == from_bytes
    assert SecurityDescriptor.from_bytes(from_text.to_bytes()) == from_bytes
    assert len(from_text.to_bytes()) == len(binary)


@pytest.mark.parametrize("row", vectors("access"), ids=lambda row: row["sddl"][:40] or "empty")
def test_access_is_what_samba_grants(row: dict[str, Any]) -> None:
    """[MS-DTYP] 2.5.3.2: the walk in order, on random lists."""
    granted = read(row["sddl"]).granted_access(frozenset(map(Sid, row["sids"])))

    assert granted & 0x303 == row["granted"]


# -- the access check ------------------------------------------------------------------------------------------------

ENROLL_CASES = [
    ("the right itself", f"D:(OA;;CR;{ENROLL_RIGHT};;AU)", True),
    ("another right", f"D:(OA;;CR;{OTHER_RIGHT};;AU)", False),
    ("AutoEnroll only", f"D:(OA;;CR;{AUTOENROLL_RIGHT};;AU)", False),
    ("all extended rights", "D:(A;;CR;;;AU)", True),
    ("all extended rights by an object entry without a type", "D:(OA;;CR;;;AU)", True),
    ("all extended rights by the zero GUID", "D:(OA;;CR;00000000-0000-0000-0000-000000000000;;AU)", True),
    ("generic all", "D:(A;;GA;;;AU)", True),
    ("full control as Active Directory stores it", "D:(A;;0xf01ff;;;AU)", True),
    ("generic all on this right", f"D:(OA;;GA;{ENROLL_RIGHT};;AU)", True),
    ("generic all on another right", f"D:(OA;;GA;{OTHER_RIGHT};;AU)", False),
    ("the right in capitals", f"D:(OA;;CR;{ENROLL_RIGHT.upper()};;AU)", True),
    ("writing without enrolling", "D:(A;;RPWPWDWO;;;AU)", False),
    ("somebody else's right", f"D:(OA;;CR;{ENROLL_RIGHT};;DA)", False),
    ("an entry for heirs only", f"D:(OA;CIIO;CR;{ENROLL_RIGHT};;AU)", False),
    ("an entry for heirs too", f"D:(OA;CI;CR;{ENROLL_RIGHT};;AU)", True),
    ("denied before allowed", f"D:(OD;;CR;{ENROLL_RIGHT};;DU)(OA;;CR;{ENROLL_RIGHT};;AU)", False),
    ("allowed before denied", f"D:(OA;;CR;{ENROLL_RIGHT};;AU)(OD;;CR;{ENROLL_RIGHT};;DU)", True),
    ("another right denied", f"D:(OD;;CR;{OTHER_RIGHT};;DU)(OA;;CR;{ENROLL_RIGHT};;AU)", True),
    ("all extended rights denied", f"D:(D;;CR;;;DU)(OA;;CR;{ENROLL_RIGHT};;AU)", False),
    ("generic all denied", f"D:(D;;GA;;;DU)(OA;;CR;{ENROLL_RIGHT};;AU)", False),
    ("denied to somebody else", f"D:(OD;;CR;{ENROLL_RIGHT};;DA)(OA;;CR;{ENROLL_RIGHT};;AU)", True),
    ("denied for heirs only", f"D:(OD;CIIO;CR;{ENROLL_RIGHT};;DU)(OA;;CR;{ENROLL_RIGHT};;AU)", True),
    ("allowed under a condition", 'D:(XA;;CR;;;AU;(@User.Department == "PKI"))', False),
    ("denied under a condition", f"D:(XD;;CR;;;DU;(Member_of {{SID(BA)}}))(OA;;CR;{ENROLL_RIGHT};;AU)", False),
    ("audited", f"D:S:(OU;SA;CR;{ENROLL_RIGHT};;AU)", False),
    ("an empty list", "D:", False),
    ("no list", "O:BAG:BA", False),
    ("no access control", "D:NO_ACCESS_CONTROL", False),
]


@pytest.mark.parametrize(("sddl", "expected"), [case[1:] for case in ENROLL_CASES], ids=[c[0] for c in ENROLL_CASES])
def test_enroll_right(sddl: str, expected: bool) -> None:
    """[MS-CRTD] 2.5.1, [MS-ADTS] 5.1.3.3.4; a missing list grants nothing, which is stricter than Windows."""
    caller = sids(EVERYONE, AUTHENTICATED_USERS, DOMAIN_USERS, ALICE)

    assert read(sddl).may_enroll(caller) is expected
    assert read(sddl).may_enroll(caller) is expected


def test_autoenroll_is_a_right_of_its_own() -> None:
    """[MS-CRTD] 2.5.2."""
    descriptor = read(f"D:(OA;;CR;{AUTOENROLL_RIGHT};;AU)(OA;;CR;{ENROLL_RIGHT};;DA)")

    assert descriptor.may_autoenroll(sids(AUTHENTICATED_USERS))
    assert not descriptor.may_enroll(sids(AUTHENTICATED_USERS))
    assert descriptor.enroll_sids() == {DOMAIN_ADMINS}
    assert descriptor.autoenroll_sids() == {AUTHENTICATED_USERS}


CA_CASES = [
    ("D:(A;;0x1;;;BA)(A;;0x2;;;BA)", CaAccess.ADMINISTRATOR | CaAccess.OFFICER),
    ("D:(A;;CCDC;;;BA)", CaAccess.ADMINISTRATOR | CaAccess.OFFICER),
    ("D:(A;;GA;;;BA)", CaAccess(0x30F)),
    ("D:(D;;0x1;;;BA)(A;;GA;;;BA)", CaAccess(0x30E)),
    ("D:(A;;0x200;;;AU)", CaAccess.ENROLL),
    ("D:(A;;0x200;;;AU)(D;;0x200;;;BA)", CaAccess.ENROLL),
    ("D:(D;;0x200;;;BA)(A;;0x200;;;AU)", CaAccess(0)),
    (f"D:(OA;;CCDC;{ENROLL_RIGHT};;BA)", CaAccess(0)),
    ("D:(OA;;CC;;;BA)", CaAccess.ADMINISTRATOR),
    ("D:(A;;0x1;;;DA)", CaAccess(0)),
    ("D:(A;;0xf0000;;;BA)", CaAccess(0)),
    ("O:BA", CaAccess(0)),
]


@pytest.mark.parametrize(("sddl", "expected"), CA_CASES)
def test_ca_access(sddl: str, expected: CaAccess) -> None:
    """[MS-CSRA] 3.1.1.7. An entry about one right says nothing of the CA as a whole."""
    caller = sids(BUILTIN_ADMINISTRATORS, AUTHENTICATED_USERS)

    assert read(sddl).granted_ca_access(caller) == expected
    assert read(sddl).granted_ca_access(caller) == expected


def test_names_relative_to_a_domain_are_of_the_domain_given() -> None:
    """[MS-DTYP] 2.5.1.1."""
    sddl = "D:(A;;CC;;;DA)(A;;CC;;;EA)"

    assert read(sddl).sids_with(1) == {DOMAIN_ADMINS, ENTERPRISE_ADMINS}
    assert SecurityDescriptor.from_sddl(sddl, Sid("S-1-5-21-7-8-9")).sids_with(1) == {
        "S-1-5-21-7-8-9-512",
        "S-1-5-21-7-8-9-519",
    }


def test_sids_with_wants_every_bit() -> None:
    descriptor = read("D:(A;;0x3;;;BA)(A;;0x1;;;AU)(D;;0x1;;;SY)(A;;0x3;;;SY)")

    assert descriptor.sids_with(1) == {BUILTIN_ADMINISTRATORS, AUTHENTICATED_USERS}
    assert descriptor.sids_with(3) == {BUILTIN_ADMINISTRATORS}


@pytest.mark.parametrize("right", ["WP", "WD", "WO", "GW", "GA", "0xf01ff"])
def test_who_may_change_a_template_is_named(right: str) -> None:
    """ESC4: WriteDacl, WriteOwner, WriteProperty, GenericWrite, GenericAll, and the owner."""
    descriptor = read(f"O:EAD:(A;;{right};;;DU)(A;;RPLCRC;;;AU)(D;;WD;;;WD)")

    assert descriptor.write_sids() == {DOMAIN_USERS, ENTERPRISE_ADMINS}


def test_answers_are_kept_within_bounds() -> None:
    descriptor = read(f"D:(OA;;CR;{ENROLL_RIGHT};;AU)")

    for rid in range(MAX_CACHED + 10):
        descriptor.may_enroll(sids(Sid(f"{DOMAIN_SID}-{rid}")))

    assert len(descriptor._answers) <= MAX_CACHED
    assert descriptor.may_enroll(sids(AUTHENTICATED_USERS))


# -- changing --------------------------------------------------------------------------------------------------------


def test_granted_right_is_held_and_stands_before_what_is_inherited() -> None:
    """Canonical order: explicit denials, explicit permissions, inherited entries. [MS-DTYP] 2.4.5."""
    descriptor = read(f"D:(OD;;CR;{ENROLL_RIGHT};;DU)(A;ID;RC;;;AU)")

    granted = descriptor.grant_extended_right(ENROLL_RIGHT, ALICE)

    assert granted.may_enroll(sids(ALICE))
    assert not granted.may_enroll(sids(ALICE, DOMAIN_USERS))
    assert granted.to_sddl() == (
        f"D:(OD;;CR;{ENROLL_RIGHT};;{DOMAIN_USERS})(OA;;CR;{ENROLL_RIGHT};;{ALICE})(A;ID;RC;;;AU)"
    )
    assert not descriptor.may_enroll(sids(ALICE))


def test_granting_lifts_the_denial_of_the_same_right_and_is_not_repeated() -> None:
    descriptor = read(f"D:(OD;;CR;{ENROLL_RIGHT};;{ALICE})")

    once = descriptor.grant_extended_right(ENROLL_RIGHT.upper(), ALICE)

    assert once.may_enroll(sids(ALICE))
    assert once.grant_extended_right(ENROLL_RIGHT, ALICE) == once


@pytest.mark.parametrize(
    "sddl",
    [
        f"D:(OA;;CR;{ENROLL_RIGHT};;AU)",
        f"D:(OA;;RPWPCR;{ENROLL_RIGHT};;AU)(OA;;CR;{ENROLL_RIGHT};;AU)",
        "D:(A;;GA;;;AU)",
        "D:(A;;CRRC;;;AU)",
        "D:(OA;;CR;;;AU)",
        f"D:(A;ID;GA;;;AU)(OA;CI;CR;{ENROLL_RIGHT};;AU)",
    ],
)
def test_revoked_right_is_gone_and_nothing_else(sddl: str) -> None:
    descriptor = read(sddl)
    before = descriptor.may_autoenroll(sids(AUTHENTICATED_USERS))

    revoked = descriptor.revoke_extended_right(ENROLL_RIGHT, AUTHENTICATED_USERS)

    assert descriptor.may_enroll(sids(AUTHENTICATED_USERS))
    assert not revoked.may_enroll(sids(AUTHENTICATED_USERS))
    assert revoked.may_autoenroll(sids(AUTHENTICATED_USERS)) == before
    assert revoked.write_sids() == descriptor.write_sids() or "RPWPCR" in sddl


def test_revoking_leaves_other_accounts_alone() -> None:
    descriptor = read(f"D:(OA;;CR;{ENROLL_RIGHT};;AU)(OA;;CR;{ENROLL_RIGHT};;DA)")

    assert descriptor.revoke_extended_right(ENROLL_RIGHT, AUTHENTICATED_USERS).enroll_sids() == {DOMAIN_ADMINS}


def test_access_is_granted_and_revoked_bit_by_bit() -> None:
    descriptor = read("D:(D;;0x3;;;BA)(A;;0x1;;;SY)")

    granted = descriptor.grant_access(0x1, BUILTIN_ADMINISTRATORS).grant_access(0x2, LOCAL_SYSTEM)

    assert granted.to_sddl() == "D:(D;;DC;;;BA)(A;;CCDC;;;SY)(A;;CC;;;BA)"
    assert granted.revoke_access(0x1, LOCAL_SYSTEM).granted_ca_access(sids(LOCAL_SYSTEM)) == CaAccess.OFFICER


def test_revoking_one_role_from_full_control_leaves_the_others() -> None:
    descriptor = read("D:(A;;GA;;;BA)")

    revoked = descriptor.revoke_access(int(CaAccess.OFFICER), BUILTIN_ADMINISTRATORS)

    assert revoked.granted_ca_access(sids(BUILTIN_ADMINISTRATORS)) == CaAccess(0x30D)


def test_granting_on_a_descriptor_without_a_list_makes_one() -> None:
    granted = read("O:BAD:NO_ACCESS_CONTROL").grant_access(0x200, AUTHENTICATED_USERS)

    assert granted.to_sddl() == "O:BAD:(A;;0x200;;;AU)"


# -- text ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sddl",
    [
        "O:BAG:SYD:PARAI(A;OICINPIOID;CCDCLCSWRPWPDTLOCRSDRCWDWOGAGXGWGR;;;WD)",
        "D:(A;;0x201;;;AU)S:PAI(AU;SAFA;CR;;;WD)(ML;;NWNRNX;;;LW)",
        'D:(XA;;CR;;;AU;(@User.Title == "a;b)(c" && Member_of {SID(BA)}))(XD;;CR;;;WD;#61727478aabbcc00)',
        'S:(RA;;;;;WD;("Secrecy",TU,0x0,3))(SP;;;;;S-1-17-1-2)(TL;;CC;;;S-1-19-512-4096)',
        f"D:(ZA;;CR;{ENROLL_RIGHT};;AU;(@User.a == 1))(OD;;CR;{OTHER_RIGHT};{ENROLL_RIGHT};S-1-5-21-1-2-3-4)",
        "O:S-1-0x010000000000-4",
    ],
)
def test_every_kind_of_entry_survives_reading_and_writing(sddl: str) -> None:
    """[MS-DTYP] 2.5.1; conditional entries and resource attributes too, though they grant nothing."""
    assert read(sddl).to_sddl() == sddl


def test_entries_with_data_survive_bytes_and_text() -> None:
    """[MS-DTYP] 2.4.4.6: what follows the SID of a callback entry is not ours to change."""
    descriptor = read("D:(XA;;CR;;;AU;#61727478aabbcc00)")

    again = SecurityDescriptor.from_bytes(descriptor.to_bytes())

    assert again == descriptor
    assert again.dacl is not None
    assert again.dacl.entries[0].type is AceType.ALLOWED_CALLBACK
    assert again.dacl.entries[0].data == bytes.fromhex("61727478aabbcc00")


def test_condition_in_words_has_no_bytes() -> None:
    with pytest.raises(ValueError, match="SDDL text only"):
        read("D:(XA;;CR;;;AU;(@User.a == 1))").to_bytes()


@pytest.mark.parametrize(
    ("sddl", "message"),
    [
        ("nonsense", "expected O:, G:, D: or S:"),
        ("D:(A;;CR;;;AU", "does not end"),
        ("D:(A;;CR;;AU)", "six fields"),
        ("D:(A;;QQ;;;AU)", "no right"),
        ("D:(A;;CRX;;;AU)", "no right"),
        ("D:(A;;CR;;;QQ)", "neither a SID nor a name"),
        ("D:(A;;CR;;;S-1-5-x)", "not a security identifier"),
        ("D:(A;;CR;;;)", "neither a SID"),
        ("D:(Q;;CR;;;AU)", "no type"),
        ("D:(A;QQ;CR;;;AU)", "no flag"),
        (f"D:(A;;CR;{ENROLL_RIGHT};;AU)", "cannot name an object type"),
        ("D:(OA;;CR;enroll;;AU)", "no GUID"),
        ("D:(A;;0x1ffffffff;;;AU)", "more than 32 bits"),
        ("D:(A;;0xzz;;;AU)", "no access mask"),
        ("D:X(A;;CR;;;AU)", "list flag"),
        ("D:(A;;CR;;;AU)D:", "once each"),
        ("D:NO_ACCESS_CONTROL(A;;CR;;;AU)", "some follow"),
        ("O:ZZ", "neither a SID"),
        ("O:S-1-5-9999999999", "too large"),
        ("O:Sxx", "expected a SID"),
        ("D:" + "(A;;CR;;;AU)" * 2001, "more than 2000"),
        ("D:" + " " * 300_000, "too long"),
        ("D:(XA;;CR;;;AU;#zz)", "hexadecimal"),
    ],
)
def test_nonsense_is_refused_with_a_sentence(sddl: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(sddl)


# -- bytes -----------------------------------------------------------------------------------------------------------

GOOD = read(f"O:BAG:SYD:(OA;;CR;{ENROLL_RIGHT};;AU)(A;;CC;;;BA)S:(AU;SA;CR;;;WD)").to_bytes()


@pytest.mark.parametrize("length", range(len(GOOD)))
def test_cut_off_bytes_are_refused(length: int) -> None:
    with pytest.raises(ValueError, match=r"security|access control"):
        SecurityDescriptor.from_bytes(GOOD[:length])


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255))
def test_damaged_bytes_never_raise_anything_else(position: int, value: int) -> None:
    damaged = bytearray(GOOD)
    damaged[position] = value

    try:
        read_back = SecurityDescriptor.from_bytes(bytes(damaged))
    except ValueError:
        return
    read_back.may_enroll(sids(AUTHENTICATED_USERS))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("S-1-1-0", "010100000000000100000000"),
        ("S-1-5-32-544", "01020000000000052000000020020000"),
        ("S-1-0x100000000000-7", "010110000000000007000000"),
    ],
)
def test_sids_have_one_binary_form(text: str, expected: str) -> None:
    """[MS-DTYP] 2.4.2.2."""
    assert sid_to_bytes(Sid(text)).hex() == expected
    assert sid_from_bytes(bytes.fromhex(expected)) == (text, len(expected) // 2)


def test_sids_are_compared_in_their_canonical_spelling() -> None:
    assert canonical_sid("S-1-5-021-0001") == "S-1-5-21-1"
    assert read("D:(A;;CC;;;S-1-05-032-0544)").sids_with(1) == {BUILTIN_ADMINISTRATORS}


# -- properties ------------------------------------------------------------------------------------------------------

_TRUSTEES = st.sampled_from(["WD", "AU", "BA", "SY", "DA", "EA", "DC", "ED", "CA", str(ALICE), "S-1-5-21-9-8-7-1000"])
_GUIDS = st.sampled_from(["", ENROLL_RIGHT, AUTOENROLL_RIGHT, OTHER_RIGHT])
_FLAGS = st.lists(st.sampled_from(["OI", "CI", "NP", "IO", "ID"]), unique=True).map("".join)
_MASKS = st.integers(0, 0xFFFFFFFF).map(lambda mask: f"0x{mask:x}")
_PLAIN = st.builds("({};{};{};;;{})".format, st.sampled_from(["A", "D"]), _FLAGS, _MASKS, _TRUSTEES)
_OBJECT = st.builds(
    "({};{};{};{};{};{})".format, st.sampled_from(["OA", "OD"]), _FLAGS, _MASKS, _GUIDS, _GUIDS, _TRUSTEES
)
_DESCRIPTORS = st.builds(
    "O:{}G:{}D:{}{}".format,
    _TRUSTEES,
    _TRUSTEES,
    st.sampled_from(["", "P", "AI", "PAI", "PARAI"]),
    st.lists(st.one_of(_PLAIN, _OBJECT), max_size=8).map("".join),
)
_CALLERS = st.frozensets(
    st.sampled_from([EVERYONE, AUTHENTICATED_USERS, ALICE, DOMAIN_ADMINS, BUILTIN_ADMINISTRATORS]), max_size=4
)


@given(_DESCRIPTORS)
@settings(max_examples=150)
def test_text_and_bytes_are_round_trips(sddl: str) -> None:
    descriptor = read(sddl)

    assert read(descriptor.to_sddl()) == descriptor
    assert SecurityDescriptor.from_bytes(descriptor.to_bytes()) == descriptor


@given(_DESCRIPTORS, _CALLERS, st.sampled_from([ENROLL_RIGHT, AUTOENROLL_RIGHT]))
@settings(max_examples=150)
def test_revoked_from_everybody_named_means_granted_to_nobody(sddl: str, caller: frozenset[Sid], right: str) -> None:
    descriptor = read(sddl)
    assert descriptor.dacl is not None

    for ace in descriptor.dacl.entries:
        descriptor = descriptor.revoke_extended_right(right, ace.sid)

    assert not descriptor.has_extended_right(right, caller)
