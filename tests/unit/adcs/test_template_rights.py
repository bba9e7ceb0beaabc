"""The columns of a template's Security tab: what is shown is what the access check says, and what is set is held."""

from __future__ import annotations

from itertools import combinations

import pytest

from certwright.adcs.requester import AUTHENTICATED_USERS, Sid
from certwright.adcs.security import SecurityDescriptor
from certwright.adcs.template_rights import TemplateRight, denied_sids, rights_by_sid, with_rights
from certwright.directory.default_templates import template_security
from tests.support.fake_directory import DOMAIN_SID, DOMAIN_USERS, enroll_sddl

ADMINS = Sid(f"{DOMAIN_SID}-512")
ALL = frozenset(TemplateRight)
READ, WRITE, ENROLL, AUTOENROLL, FULL = TemplateRight


def descriptor(sddl: str) -> SecurityDescriptor:
    return SecurityDescriptor.from_sddl(sddl, DOMAIN_SID)


def test_a_stock_template_reads_as_windows_shows_it() -> None:
    """[MS-CRTD] Appendix A: administrators hold it and enroll, accounts read it."""
    shown = rights_by_sid(descriptor(template_security(DOMAIN_SID, [DOMAIN_USERS], [DOMAIN_USERS])))
    assert shown[ADMINS] == {READ, WRITE, ENROLL}
    assert shown[DOMAIN_USERS] == {ENROLL, AUTOENROLL}
    assert shown[AUTHENTICATED_USERS] == {READ}


@pytest.mark.parametrize("mask", ["GA", "CCDCLCSWRPWPDTLOCRSDRCWDWO"])
def test_full_control_includes_every_right(mask: str) -> None:
    assert rights_by_sid(descriptor(f"D:(A;;{mask};;;{DOMAIN_USERS})"))[DOMAIN_USERS] == ALL


def test_a_denial_is_told_apart_and_takes_the_right_away() -> None:
    security = descriptor(f"D:(OD;;CR;0e10c968-78fb-11d2-90d4-00c04f79dc55;;{DOMAIN_USERS})" + enroll_sddl("AU")[2:])
    assert denied_sids(security) == {DOMAIN_USERS}
    assert rights_by_sid(security) == {DOMAIN_USERS: frozenset(), AUTHENTICATED_USERS: {ENROLL}}


@pytest.mark.parametrize("before", ["", f"(A;;GA;;;{DOMAIN_USERS})", f"(A;;RPWPCR;;;{DOMAIN_USERS})"])
@pytest.mark.parametrize(
    "wanted",
    [frozenset(some) for count in range(5) for some in combinations([READ, WRITE, ENROLL, AUTOENROLL], count)],
)
def test_what_is_set_is_held_and_nothing_else(before: str, wanted: frozenset[TemplateRight]) -> None:
    others = f"(A;;RP;;;{ADMINS})"
    after = with_rights(descriptor("D:" + before + others), DOMAIN_USERS, wanted)
    assert rights_by_sid(after).get(DOMAIN_USERS, frozenset()) == wanted
    assert after.may_enroll(frozenset({DOMAIN_USERS})) is (ENROLL in wanted)
    assert after.may_autoenroll(frozenset({DOMAIN_USERS})) is (AUTOENROLL in wanted)
    assert (DOMAIN_USERS in after.write_sids()) is (WRITE in wanted)
    assert rights_by_sid(after)[ADMINS] == frozenset()
    assert descriptor(after.to_sddl()).to_bytes() == after.to_bytes()


def test_full_control_is_given_whole_and_taken_whole() -> None:
    given = with_rights(descriptor("D:"), DOMAIN_USERS, frozenset({FULL}))
    assert rights_by_sid(given)[DOMAIN_USERS] == ALL
    assert with_rights(given, DOMAIN_USERS, ALL) == given
    assert DOMAIN_USERS not in rights_by_sid(with_rights(given, DOMAIN_USERS, frozenset()))
