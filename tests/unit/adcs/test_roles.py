"""Access bits, roles, and revocation reasons by their names. [MS-CSRA] 3.1.1.7, RFC 5280 5.3.1."""

from __future__ import annotations

import pytest

from certwright.adcs.roles import ROLE_NAMES, CaAccess, RevocationReason
from certwright.pki.crl import CrlReason


@pytest.mark.parametrize(
    ("held", "implied"),
    [
        (CaAccess.ENROLL, CaAccess.ENROLL | CaAccess.READ),
        (CaAccess.OFFICER, CaAccess.OFFICER | CaAccess.READ),
        (CaAccess.ADMINISTRATOR, CaAccess.ADMINISTRATOR | CaAccess.READ),
        (CaAccess.AUDITOR, CaAccess.AUDITOR),
        (CaAccess.OPERATOR, CaAccess.OPERATOR),
        (CaAccess(0), CaAccess(0)),
    ],
)
def test_who_may_enroll_or_manage_may_also_read(held: CaAccess, implied: CaAccess) -> None:
    assert held.implied == implied


def test_no_role_implies_another_one() -> None:
    roles = (CaAccess.ADMINISTRATOR, CaAccess.OFFICER, CaAccess.AUDITOR, CaAccess.OPERATOR, CaAccess.ENROLL)
    for role in roles:
        assert not any(role.implied & other for other in roles if other is not role)


def test_every_right_has_the_number_and_name_of_the_specification() -> None:
    assert [(right.value, ROLE_NAMES[right]) for right in CaAccess] == [
        (0x1, "CA administrator"),
        (0x2, "certificate manager"),
        (0x4, "auditor"),
        (0x8, "backup operator"),
        (0x100, "reader"),
        (0x200, "requester"),
    ]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("unspecified", RevocationReason.UNSPECIFIED),
        ("keyCompromise", RevocationReason.KEY_COMPROMISE),
        ("cACompromise", RevocationReason.CA_COMPROMISE),
        ("affiliationChanged", RevocationReason.AFFILIATION_CHANGED),
        ("superseded", RevocationReason.SUPERSEDED),
        ("cessationOfOperation", RevocationReason.CESSATION_OF_OPERATION),
        ("certificateHold", RevocationReason.CERTIFICATE_HOLD),
    ],
)
def test_reasons_have_the_names_of_rfc_5280(name: str, reason: RevocationReason) -> None:
    assert reason.rfc_name == name
    assert RevocationReason.from_rfc_name(name) is reason
    assert RevocationReason.from_rfc_name(name.upper()) is reason


@pytest.mark.parametrize("name", ["removeFromCRL", "releaseFromHold", "", "key_compromise", "aACompromise"])
def test_what_no_operator_may_give_is_refused_with_what_may_be_given(name: str) -> None:
    with pytest.raises(ValueError, match=r"use one of unspecified, keyCompromise, .*certificateHold$"):
        RevocationReason.from_rfc_name(name)


def test_a_reason_in_a_crl_is_the_same_number() -> None:
    for reason in RevocationReason:
        if reason is not RevocationReason.RELEASE_FROM_HOLD:
            assert CrlReason(reason).label == reason.rfc_name
