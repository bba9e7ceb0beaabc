"""Entries, filters, and the pool that fails over. RFC 4512, RFC 4514, RFC 4515."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from certwright.adcs.errors import CaUnreachable
from certwright.directory.active_directory import ldap
from certwright.directory.active_directory.ldap import (
    Attributes,
    Entry,
    LdapConnection,
    LdapError,
    LdapPool,
    LdapUnavailable,
    escape,
    escape_rdn,
)
from certwright.directory.active_directory.locating import DomainController
from certwright.directory.active_directory.settings import DomainSettings
from tests.support.fake_ldap import FakeConnection, FakeTree

SETTINGS = DomainSettings("CORP.EXAMPLE", "corp.example", "svc")
FIRST, SECOND = DomainController("dc1"), DomainController("dc2")


@dataclass
class Scene:
    """Two controllers, a clock that stands, and the connections that were made."""

    tree: FakeTree = field(default_factory=FakeTree)
    now: float = 1000.0
    made: list[FakeConnection] = field(default_factory=list)
    controllers: Sequence[DomainController] = (FIRST, SECOND)
    dns_is_down: bool = False
    located: int = 0

    def __post_init__(self) -> None:
        self.pool = LdapPool(SETTINGS, connect=self._connect, locate=self._locate, monotonic=lambda: self.now)

    def _connect(self, controller: DomainController, settings: DomainSettings) -> LdapConnection:
        if controller.host in self.tree.down:
            raise LdapUnavailable("refused")
        self.made.append(FakeConnection(self.tree, controller))
        return self.made[-1]

    def _locate(self, settings: DomainSettings) -> Sequence[DomainController]:
        self.located += 1
        if self.dns_is_down:
            raise CaUnreachable("DNS does not answer")
        return self.controllers

    def ask(self) -> str:
        def work(connection: LdapConnection) -> str:
            connection.root_dse()
            return connection.controller.host

        return self.pool.run(work)


def test_attributes_are_found_whatever_the_case_of_their_name() -> None:
    attributes = Attributes({"objectSid": (b"x",)})
    assert attributes["OBJECTSID"] == attributes["objectSid"] == (b"x",)
    assert list(attributes) == ["objectSid"]
    assert "objectsid" in attributes
    assert 7 not in attributes


def test_value_that_is_no_number_or_no_text_is_named() -> None:
    entry = Entry.of("CN=x", {"flags": (b"0x1",), "cn": (b"\xff",)})
    with pytest.raises(ValueError, match="flags is no number"):
        entry.number("flags")
    with pytest.raises(ValueError, match="revision is missing"):
        entry.number("revision")
    with pytest.raises(ValueError, match="cn is not UTF-8 text"):
        entry.text("cn")


@pytest.mark.parametrize(
    ("value", "escaped"),
    [("a*(b)\\\0", r"a\2a\28b\29\5c\00"), (b"\x01\xff", r"\01\ff"), ("şirket", "şirket")],
)
def test_filter_value_is_never_a_pattern(value: str | bytes, escaped: str) -> None:
    assert escape(value) == escaped


@pytest.mark.parametrize(
    ("value", "escaped"),
    [("a,b+c", r"a\,b\+c"), ("#1", r"\#1"), (" a ", r"\ a\ "), ('"<>;=\\', r"\"\<\>\;\=\\"), (" ", r"\ ")],
)
def test_name_component_is_escaped(value: str, escaped: str) -> None:
    assert escape_rdn(value) == escaped


def test_connection_is_used_again() -> None:
    scene = Scene()
    assert [scene.ask() for _ in range(3)] == ["dc1"] * 3
    assert len(scene.made) == 1


def test_connection_that_lay_too_long_is_closed() -> None:
    scene = Scene()
    scene.ask()
    scene.now += ldap.IDLE_FOR + 1
    scene.ask()
    assert scene.made[0].closed
    assert not scene.made[1].closed


def test_controller_that_does_not_answer_is_passed_over_for_a_minute() -> None:
    scene = Scene()
    scene.tree.down = {"dc1"}
    assert scene.ask() == "dc2"
    scene.tree.down = set()
    assert scene.ask() == "dc2"
    scene.now += ldap.DOWN_FOR + 1
    assert scene.ask() == "dc1"


def test_work_on_a_lost_connection_is_done_again_from_the_start() -> None:
    """An idle connection that was closed at the other end says nothing about the controller, which is asked again."""
    scene = Scene()
    scene.ask()
    begun: list[str] = []

    def work(connection: LdapConnection) -> str:
        begun.append(connection.controller.host)
        if connection is scene.made[0]:
            raise LdapUnavailable("closed")
        return connection.controller.host

    assert scene.pool.run(work) == "dc1"
    assert begun == ["dc1", "dc1"]
    assert scene.made[0].closed


def test_controller_that_dies_in_the_middle_hands_over_to_the_next() -> None:
    scene = Scene()

    def work(connection: LdapConnection) -> str:
        if connection.controller == FIRST:
            scene.tree.down.add("dc1")
        connection.root_dse()
        return connection.controller.host

    assert scene.pool.run(work) == "dc2"


def test_change_is_never_made_twice() -> None:
    scene = Scene()
    scene.ask()
    scene.tree.down = {"dc1"}
    with pytest.raises(LdapUnavailable), scene.pool.connection() as connection:
        connection.delete("CN=x")
    assert [host for host, _ in scene.tree.asked].count("dc1") == 2


def test_refusal_is_an_answer_and_keeps_the_connection() -> None:
    scene = Scene()
    with pytest.raises(LdapError, match="Deleting"), scene.pool.connection() as connection:
        connection.delete("CN=x")
    scene.ask()
    assert len(scene.made) == 1


def test_after_all_failed_nobody_waits_for_the_same_again() -> None:
    scene = Scene()
    scene.tree.down = {"dc1", "dc2"}
    with pytest.raises(LdapUnavailable, match=r"dc1: refused; dc2: refused"):
        scene.ask()
    scene.tree.down = set()
    with pytest.raises(LdapUnavailable, match="dc1: refused"):
        scene.ask()
    scene.now += ldap.UNREACHABLE_FOR + 0.1
    assert scene.ask() == "dc1"


def test_known_controllers_are_used_while_dns_is_down() -> None:
    scene = Scene()
    scene.ask()
    scene.dns_is_down = True
    scene.now += ldap.LOCATED_FOR + 1
    assert scene.ask() == "dc1"
    assert scene.located == 2


def test_dns_that_never_answered_is_a_directory_that_is_down() -> None:
    scene = Scene(dns_is_down=True)
    for _ in range(2):
        with pytest.raises(LdapUnavailable, match="DNS does not answer"):
            scene.ask()
    assert scene.located == 1


def test_new_controllers_are_found_in_time() -> None:
    scene = Scene(controllers=(FIRST,))
    scene.ask()
    scene.controllers = (SECOND,)
    scene.now += ldap.LOCATED_FOR + 1
    assert scene.ask() == "dc2"


def test_closed_pool_keeps_nothing() -> None:
    scene = Scene()
    scene.ask()
    scene.pool.close()
    assert scene.made[0].closed


def test_password_stands_in_no_representation() -> None:
    assert "geheim" not in repr(DomainSettings("R", "d", "a", password="geheim"))
