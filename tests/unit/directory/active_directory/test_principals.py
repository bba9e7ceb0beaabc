"""Accounts of a domain as the CA needs them. [MS-ADTS] 2.2.16, [MS-SAMR] 2.2.1.9."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from certwright.adcs.acl import sid_to_bytes
from certwright.adcs.requester import AUTHENTICATED_USERS, ENTERPRISE_DOMAIN_CONTROLLERS, EVERYONE, Sid
from certwright.directory.active_directory.ldap import Entry, Scope
from certwright.directory.active_directory.locating import DomainController
from certwright.directory.active_directory.principals import find, principal_from_entry, sid_filter
from certwright.directory.base import LogonFailure, PrincipalKind
from certwright.directory.well_known import EVERY_ACCOUNT
from tests.support.fake_directory import DOMAIN, DOMAIN_SID
from tests.support.fake_ldap import FakeConnection, FakeTree

NOW = datetime(2026, 11, 25, tzinfo=UTC)
ALICE = Sid(f"{DOMAIN_SID}-1103")


def _attributes(**changes: Any) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "objectSid": (sid_to_bytes(ALICE),),
        "objectGUID": (bytes(range(16)),),
        "sAMAccountName": ("alice",),
        "sAMAccountType": ("805306368",),
        "userAccountControl": ("512",),
        "cn": ("Alice Archer",),
        "tokenGroups": (sid_to_bytes(Sid(f"{DOMAIN_SID}-513")), sid_to_bytes(Sid("S-1-5-32-545"))),
        **changes,
    }
    return {name: values for name, values in attributes.items() if values}


def _entry(**changes: Any) -> Entry:
    return Entry.of("CN=Alice Archer,OU=İzmir,DC=corp,DC=example", _attributes(**changes))


def test_groups_are_those_of_a_member_server() -> None:
    """BUILTIN groups of the domain controllers mean nothing here; what every account is in is added."""
    groups = principal_from_entry(_entry(), DOMAIN, NOW).groups
    assert Sid("S-1-5-32-544") not in groups
    assert {EVERYONE, AUTHENTICATED_USERS, Sid(f"{DOMAIN_SID}-513")} <= groups


def test_a_sid_history_gives_nothing_that_is_local_to_a_host() -> None:
    """Whatever stands in it: LocalSystem, an RPC session, BUILTIN."""
    history = ("S-1-5-18", "S-1-5-9", "S-1-5-32-544", "S-1-5-21-9-9-9-1105")
    groups = principal_from_entry(
        _entry(tokenGroups=tuple(sid_to_bytes(Sid(sid)) for sid in history)), DOMAIN, NOW
    ).groups
    assert groups == EVERY_ACCOUNT | {Sid("S-1-5-21-9-9-9-1105")}


def test_domain_controller_is_one_of_the_enterprise_too() -> None:
    entry = _entry(sAMAccountType=("805306369",), tokenGroups=(sid_to_bytes(Sid(f"{DOMAIN_SID}-516")),))
    assert ENTERPRISE_DOMAIN_CONTROLLERS in principal_from_entry(entry, DOMAIN, NOW).groups


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("805306368", PrincipalKind.USER),
        ("805306369", PrincipalKind.COMPUTER),  # and managed service accounts
        ("268435456", PrincipalKind.GROUP),
        ("536870912", PrincipalKind.GROUP),
    ],
)
def test_kind_follows_the_type_of_the_account(kind: str, expected: PrincipalKind) -> None:
    assert principal_from_entry(_entry(sAMAccountType=(kind,)), DOMAIN, NOW).kind is expected


@pytest.mark.parametrize("changes", [{"sAMAccountType": ("805306370",)}, {"objectSid": ()}, {"objectSid": (b"\1",)}])
def test_what_is_no_account_and_no_security_group_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"neither an account|no objectSid|cut off"):
        principal_from_entry(_entry(**changes), DOMAIN, NOW)


@pytest.mark.parametrize(
    ("changes", "obstacle"),
    [
        ({}, None),
        ({"userAccountControl": ("514",)}, LogonFailure.DISABLED),
        ({"userAccountControl": ()}, LogonFailure.DISABLED),  # not readable: not to be trusted
        ({"msDS-User-Account-Control-Computed": ("16",)}, LogonFailure.LOCKED_OUT),
        ({"accountExpires": ("0",)}, None),
        ({"accountExpires": ("9223372036854775807",)}, None),
        ({"accountExpires": ("134400000000000000",)}, LogonFailure.EXPIRED),
        ({"accountExpires": ("134500000000000000",)}, None),
        ({"accountExpires": ("9223372036854770000",)}, None),
    ],
)
def test_account_that_may_not_be_used_says_why(changes: dict[str, Any], obstacle: LogonFailure | None) -> None:
    principal = principal_from_entry(_entry(**changes), DOMAIN, NOW)
    assert principal.obstacle is obstacle
    assert principal.enabled is (obstacle is None)


def test_group_of_the_controllers_is_called_builtin() -> None:
    entry = _entry(
        objectSid=(sid_to_bytes(Sid("S-1-5-32-544")),),
        sAMAccountName=("Administrators",),
        sAMAccountType=("536870912",),
        userAccountControl=(),
    )
    found = principal_from_entry(entry, DOMAIN, NOW)
    assert found.account == r"BUILTIN\Administrators"
    assert found.enabled


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("alice", "alice"),
        (r"CORP\ALICE", "alice"),
        (r"corp.example\alice", "alice"),
        ("alice@corp.example", "alice"),
        ("a.archer@people.example", "alice"),
        ("web1", "web1"),
        ("web1$", "web1"),
        (r"OTHER\alice", None),
        ("alice@other.example", None),
        ("ali*", None),
        ("", None),
        ("s-1-5-21-1-2-3-4", "<SID=S-1-5-21-1-2-3-4>"),
    ],
)
def test_names_are_found_as_at_a_logon(text: str, found: str | None) -> None:
    tree = FakeTree()
    base = "DC=corp,DC=example"
    tree.put(f"CN=alice,{base}", _attributes(userPrincipalName=("a.archer@people.example",)))
    tree.put(f"CN=web1,{base}", _attributes(sAMAccountName=("web1$",), sAMAccountType=("805306369",)))
    dn = find(FakeConnection(tree, DomainController("dc1")), text, DOMAIN, base)
    assert dn == (found if found is None or found.startswith("<") else f"CN={found},{base}")


def test_name_that_two_objects_have_is_nobodys() -> None:
    tree = FakeTree()
    for cn in ("one", "two"):
        tree.put(f"CN={cn},DC=corp,DC=example", _attributes(userPrincipalName=("x@y.example",)))
    connection = FakeConnection(tree, DomainController("dc1"))
    assert find(connection, "x@y.example", DOMAIN, "DC=corp,DC=example") is None


@pytest.mark.parametrize("text", ["S-1-", "S-1-5-21)(cn=*", "s-1-x"])
def test_what_only_begins_like_a_sid_is_refused(text: str) -> None:
    connection = FakeConnection(FakeTree(), DomainController("dc1"))
    with pytest.raises(ValueError, match="not a security identifier"):
        find(connection, text, DOMAIN, "DC=corp,DC=example")


def test_several_sids_are_asked_for_at_once() -> None:
    tree = FakeTree()
    tree.put("CN=alice,DC=x", _attributes())
    matches = list(
        FakeConnection(tree, DomainController("dc1")).search(
            "DC=x", Scope.SUBTREE, sid_filter(frozenset({ALICE, EVERYONE})), []
        )
    )
    assert [entry.dn for entry in matches] == ["CN=alice,DC=x"]
