"""Which templates a caller is offered: published by the CA and open to them. [MS-CRTD] 2.5.1."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from certwright.adcs.errors import InvalidArgument
from certwright.adcs.requester import AUTHENTICATED_USERS, Sid
from certwright.connectors.local import LocalCa, LocalConnector
from certwright.connectors.registry import Registry
from tests.support.fake_directory import (
    DOMAIN_USERS,
    WEB_ADMINS,
    FakeDirectory,
    enroll_sddl,
    make_template,
    make_user,
    requester_for,
)

CONFIG = r"ca.corp.example\Corp CA"
ALICE = make_user("alice", 1101)
WEBBY = make_user("webby", 1102, groups=ALICE.groups | {WEB_ADMINS})


def registry_over(directory: FakeDirectory) -> Registry:
    """A connector that has a directory and nothing else: this question needs no more."""
    authority = SimpleNamespace(directory=directory, name="Corp CA")
    nothing = cast(Any, None)
    ca = LocalCa(CONFIG, cast(Any, authority), nothing, nothing, nothing, nothing)
    return Registry(LocalConnector([ca], inline_directory=True))


def offered(directory: FakeDirectory, account: Any) -> list[str]:
    return [template.cn for template in registry_over(directory).enrollable_templates(CONFIG, requester_for(account))]


def test_only_published_templates_that_grant_enroll_are_offered() -> None:
    directory = FakeDirectory(
        [ALICE, WEBBY],
        [
            make_template("ForAll", security_descriptor=enroll_sddl(AUTHENTICATED_USERS)),
            make_template("ForWeb", security_descriptor=enroll_sddl(WEB_ADMINS)),
            make_template("ForNobody", security_descriptor="D:"),
            make_template("Unpublished", security_descriptor=enroll_sddl(AUTHENTICATED_USERS)),
        ],
    )
    directory.publish("Corp CA", "ForAll", "ForWeb", "ForNobody", "Gone")

    assert offered(directory, ALICE) == ["ForAll"]
    assert offered(directory, WEBBY) == ["ForAll", "ForWeb"]


def test_the_groups_of_now_count_not_those_of_the_logon() -> None:
    """As in the policy module: a group that was left since the logon opens nothing any more."""
    directory = FakeDirectory([ALICE], [make_template("ForWeb", security_descriptor=enroll_sddl(WEB_ADMINS))])
    directory.publish("Corp CA")
    logged_on = make_user("alice", 1101, groups=frozenset({DOMAIN_USERS, WEB_ADMINS}))

    assert offered(directory, logged_on) == []


def test_a_descriptor_nobody_can_read_opens_nothing() -> None:
    directory = FakeDirectory([ALICE], [make_template("Odd", security_descriptor="nonsense"), make_template("Fine")])
    directory.publish("Corp CA")

    assert offered(directory, ALICE) == ["Fine"]


def test_a_ca_that_publishes_nothing_offers_nothing() -> None:
    assert offered(FakeDirectory([ALICE], [make_template("WebServer")]), ALICE) == []


def test_an_unknown_ca_is_an_error() -> None:
    with pytest.raises(InvalidArgument):
        registry_over(FakeDirectory()).enrollable_templates("nobody", requester_for(ALICE))


def test_an_account_the_directory_does_not_know_has_the_groups_of_its_connection() -> None:
    directory = FakeDirectory([], [make_template("ForWeb", security_descriptor=enroll_sddl(WEB_ADMINS))])
    directory.publish("Corp CA")

    assert offered(directory, make_user("guest", 1999, groups=frozenset({Sid(WEB_ADMINS)}))) == ["ForWeb"]
