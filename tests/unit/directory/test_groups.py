"""Groups of the embedded directory: who is in which, and who may not leave."""

from __future__ import annotations

import pytest

from certwright.adcs.errors import InvalidArgument
from certwright.adcs.requester import (
    ENTERPRISE_DOMAIN_CONTROLLERS,
)
from certwright.directory import store
from certwright.directory.base import PrincipalKind
from tests.support.embedded_directory import ACTOR, Installed


def test_membership_reaches_through_nested_groups(corp: Installed) -> None:
    admin = corp.administration
    alice = admin.add_account("alice", actor=ACTOR)
    groups = [
        admin.add_group(name, members=[member], actor=ACTOR)
        for name, member in (("Inner", "alice"), ("Middle", "Inner"), ("Outer", "Middle"))
    ]
    now = corp.directory.principal("alice")
    assert now is not None
    assert {group.sid for group in groups} <= now.groups
    admin.remove_from_group("Middle", "Inner", actor=ACTOR)
    later = corp.directory.principal(alice.sid)
    assert later is not None
    assert groups[0].sid in later.groups
    assert groups[2].sid not in later.groups


def test_group_cannot_contain_itself(corp: Installed) -> None:
    admin = corp.administration
    admin.add_group("Inner", actor=ACTOR)
    admin.add_group("Outer", members=["Inner"], actor=ACTOR)
    for group, member in (("Inner", "Outer"), ("Inner", "Inner")):
        with pytest.raises(InvalidArgument, match="would contain itself"):
            admin.add_to_group(group, member, actor=ACTOR)


def test_circle_of_groups_in_the_database_does_no_harm(corp: Installed) -> None:
    admin = corp.administration
    first = admin.add_group("First", actor=ACTOR)
    second = admin.add_group("Second", members=["First", "Administrator"], actor=ACTOR)
    with corp.database.transaction() as connection:
        store.raise_version(connection)
        store.insert_memberships(connection, [(first.sid, second.sid)])
    corp.directory.refresh()
    administrator = corp.directory.principal("Administrator")
    assert administrator is not None
    assert {first.sid, second.sid} <= administrator.groups


def test_member_of_domain_controllers_is_an_enterprise_domain_controller(corp: Installed) -> None:
    corp.administration.add_account("DC1", PrincipalKind.COMPUTER, groups=["Domain Controllers"], actor=ACTOR)
    dc = corp.directory.principal("DC1$")
    assert dc is not None
    assert ENTERPRISE_DOMAIN_CONTROLLERS in dc.groups


def test_everybody_can_be_put_into_a_group(corp: Installed) -> None:
    everybody = corp.administration.add_group("Everybody", members=["Authenticated Users"], actor=ACTOR)
    alice = corp.administration.add_account("alice", actor=ACTOR)
    assert everybody.sid in alice.groups


@pytest.mark.parametrize("group", ["Everyone", "Authenticated Users", "alice", "Administrator"])
def test_only_groups_with_a_list_take_members(corp: Installed, group: str) -> None:
    corp.administration.add_account("alice", actor=ACTOR)
    with pytest.raises(InvalidArgument, match=r"no group|no list of members"):
        corp.administration.add_to_group(group, "alice", actor=ACTOR)


def test_adding_a_member_twice_changes_nothing(corp: Installed) -> None:
    corp.administration.add_to_group("CA Auditors", "Administrator", actor=ACTOR)
    corp.events.clear()
    corp.administration.add_to_group("CA Auditors", "administrator", actor=ACTOR)
    assert corp.events == []


def test_primary_group_is_never_left(corp: Installed) -> None:
    corp.administration.add_account("alice", actor=ACTOR)
    with pytest.raises(InvalidArgument, match="primary group"):
        corp.administration.remove_from_group("Domain Users", "alice", actor=ACTOR)


def test_last_enabled_domain_admin_stays(corp: Installed) -> None:
    admin = corp.administration
    for attempt in (
        lambda: admin.set_enabled("Administrator", False, actor=ACTOR),
        lambda: admin.remove_from_group("Domain Admins", "Administrator", actor=ACTOR),
    ):
        with pytest.raises(InvalidArgument, match="no enabled user in Domain Admins"):
            attempt()
    admin.add_account("bob", groups=["Domain Admins"], actor=ACTOR)
    admin.set_enabled("bob", False, actor=ACTOR)
    with pytest.raises(InvalidArgument, match="no enabled user in Domain Admins"):
        admin.set_enabled("Administrator", False, actor=ACTOR)
    admin.set_enabled("bob", True, actor=ACTOR)
    admin.set_enabled("Administrator", False, actor=ACTOR)
    with pytest.raises(InvalidArgument, match="no enabled user in Domain Admins"):
        admin.remove_from_group("Domain Admins", "bob", actor=ACTOR)
    administrator = corp.directory.principal("Administrator")
    assert administrator is not None
    assert not administrator.enabled


def test_computer_does_not_count_as_the_last_domain_admin(corp: Installed) -> None:
    corp.administration.add_account("PC1", PrincipalKind.COMPUTER, groups=["Domain Admins"], actor=ACTOR)
    with pytest.raises(InvalidArgument, match="no enabled user in Domain Admins"):
        corp.administration.set_enabled("Administrator", False, actor=ACTOR)


def test_domain_admins_may_be_left_through_a_nested_group_only_if_somebody_remains(corp: Installed) -> None:
    admin = corp.administration
    admin.add_account("bob", actor=ACTOR)
    admin.add_group("Tier 0", members=["bob"], actor=ACTOR)
    admin.add_to_group("Domain Admins", "Tier 0", actor=ACTOR)
    admin.remove_from_group("Domain Admins", "Administrator", actor=ACTOR)
    with pytest.raises(InvalidArgument, match="no enabled user"):
        admin.remove_from_group("Tier 0", "bob", actor=ACTOR)
