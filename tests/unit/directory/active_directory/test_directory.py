"""What is asked of a domain, how long an answer is used, and what happens when nobody answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import pytest

from certwright.adcs.acl import sid_to_bytes
from certwright.adcs.errors import ConfigurationError
from certwright.adcs.requester import AUTHENTICATED_USERS, Sid
from certwright.directory.active_directory import public_key_services as services
from certwright.directory.active_directory.directory import UNKNOWN_FOR, ActiveDirectory
from certwright.directory.active_directory.ldap import (
    LdapConnection,
    LdapError,
    LdapPool,
    LdapUnavailable,
    ResultCode,
)
from certwright.directory.active_directory.locating import DomainController
from certwright.directory.active_directory.settings import DomainSettings
from certwright.directory.active_directory.templates import template_to_attributes
from certwright.directory.base import LogonFailure, LogonRefused
from tests.support.fake_directory import DOMAIN, DOMAIN_SID, make_template
from tests.support.fake_ldap import FakeConnection, FakeTree

T = TypeVar("T")
BASE, CONFIGURATION = "DC=corp,DC=example", "CN=Configuration,DC=corp,DC=example"
ALICE = Sid(f"{DOMAIN_SID}-1103")
TEMPLATES = f"{services.TEMPLATES},{services.container(CONFIGURATION)}"
SERVICES = f"{services.ENROLLMENT_SERVICES},{services.container(CONFIGURATION)}"


@dataclass
class Scene:
    """A small domain with one or two controllers and a clock that stands."""

    hosts: tuple[str, ...] = ("dc1",)
    changes: dict[str, Any] = field(default_factory=dict)
    now: float = 5000.0

    def __post_init__(self) -> None:
        self.tree = FakeTree()
        self.tree.put(BASE, {"objectSid": (sid_to_bytes(DOMAIN_SID),)})
        self.tree.put(
            f"CN=CORP,CN=Partitions,{CONFIGURATION}",
            {
                "objectClass": ("crossRef",),
                "nCName": (BASE,),
                "dnsRoot": ("corp.example",),
                "nETBIOSName": ("CORP",),
            },
        )
        self.put_alice()
        settings = DomainSettings("CORP.EXAMPLE", "corp.example", "svc", cache_seconds=30.0, stale_seconds=60.0)
        self.settings = replace(settings, **self.changes)
        self.bound: list[tuple[str, str]] = []
        self.refusal = ""
        self.gone_for_passwords: set[str] = set()
        pool = LdapPool(
            self.settings,
            connect=self._connect,
            locate=lambda _: [DomainController(host) for host in self.hosts],
            monotonic=lambda: self.now,
        )
        self.directory = ActiveDirectory(pool, self.settings, bind=self._bind, monotonic=lambda: self.now)

    def _connect(self, controller: DomainController, settings: DomainSettings) -> LdapConnection:
        if controller.host in self.tree.down:
            raise LdapUnavailable("refused")
        return FakeConnection(self.tree, controller, first_usn=1000 * self.hosts.index(controller.host))

    def _bind(
        self, controller: DomainController, settings: DomainSettings, name: str, password: str
    ) -> LdapConnection:
        if controller.host in self.gone_for_passwords:
            raise LdapUnavailable("refused")
        self.bound.append((name, password))
        if self.refusal:
            raise LdapError("no", ResultCode.INVALID_CREDENTIALS, self.refusal)
        return FakeConnection(self.tree, controller)

    def put_alice(self, **changes: Any) -> None:
        attributes: dict[str, Any] = {
            "objectSid": (sid_to_bytes(ALICE),),
            "sAMAccountName": ("alice",),
            "sAMAccountType": ("805306368",),
            "userAccountControl": ("512",),
            "mail": ("alice@corp.example",),
        }
        dn = f"CN=alice,{BASE}"
        self.tree.put(dn, attributes | changes)
        self.tree.entries[f"<SID={ALICE}>"] = self.tree.entries[dn]

    def put_template(self, cn: str, **changes: Any) -> None:
        attributes = template_to_attributes(make_template(cn), DOMAIN_SID)
        made = {"objectClass": ("pKICertificateTemplate",), **attributes, **changes}
        self.tree.put(f"CN={cn},{TEMPLATES}", {name: values for name, values in made.items() if values})

    def put_service(self, cn: str, *templates: str) -> None:
        self.tree.put(
            f"CN={cn},{SERVICES}",
            {
                "objectClass": ("pKIEnrollmentService",),
                "cn": (cn,),
                "dNSHostName": ("ca.corp.example",),
                "certificateTemplates": templates,
            },
        )

    def searches(self) -> int:
        return len(self.tree.asked)

    def shut(self) -> None:
        self.tree.down = set(self.hosts)


# -- the domain ------------------------------------------------------------------------------------------------------


def test_domain_is_read_once() -> None:
    scene = Scene()
    assert scene.directory.domain == DOMAIN
    asked = scene.searches()
    assert scene.directory.domain == DOMAIN
    assert scene.searches() == asked


def test_domain_of_the_settings_needs_no_controller() -> None:
    scene = Scene(changes={"domain_sid": DOMAIN_SID, "netbios_name": "CORP"})
    scene.shut()
    assert scene.directory.domain == DOMAIN


def test_controller_of_another_domain_is_refused() -> None:
    scene = Scene(changes={"domain_sid": Sid("S-1-5-21-9-9-9"), "netbios_name": "CORP"})
    with pytest.raises(ConfigurationError, match="not of the domain this installation was joined to"):
        scene.directory.principal("alice")


# -- principals ------------------------------------------------------------------------------------------------------


def test_answer_is_used_for_its_seconds_under_every_name() -> None:
    scene = Scene()
    alice = scene.directory.principal("alice")
    assert alice is not None
    asked = scene.searches()
    assert scene.directory.principal("ALICE") is alice
    assert scene.directory.principal(ALICE) is alice
    assert scene.searches() == asked
    scene.now += 31.0
    scene.put_alice(mail=("new@corp.example",))
    again = scene.directory.principal(ALICE)
    assert again is not None
    assert again.mail == "new@corp.example"


def test_forgetting_one_forgets_it_under_every_name() -> None:
    scene = Scene()
    for name in ("alice", r"CORP\alice", ALICE):
        scene.directory.principal(name)
    scene.put_alice(userAccountControl=("514",))
    scene.directory.forget("alice")
    for name in ("alice", r"CORP\alice", ALICE):
        found = scene.directory.principal(name)
        assert found is not None
        assert not found.enabled


def test_name_of_nobody_is_asked_for_again_soon() -> None:
    scene = Scene()
    assert scene.directory.principal("bob") is None
    asked = scene.searches()
    assert scene.directory.principal("bob") is None
    assert scene.searches() == asked
    scene.now += UNKNOWN_FOR
    scene.directory.principal("bob")
    assert scene.searches() > asked


def test_stale_answer_is_used_for_the_configured_time_and_no_longer() -> None:
    scene = Scene()
    alice = scene.directory.principal("alice")
    scene.shut()
    scene.now += 89.0
    assert scene.directory.principal("alice") is alice
    scene.now += 2.0
    with pytest.raises(LdapUnavailable, match=r"No domain controller of corp\.example answers"):
        scene.directory.principal("alice")


def test_without_stale_seconds_nothing_outlives_the_cache() -> None:
    scene = Scene(changes={"stale_seconds": 0.0})
    scene.directory.principal("alice")
    scene.shut()
    scene.now += 29.0
    assert scene.directory.principal("alice") is not None
    scene.now += 2.0
    with pytest.raises(LdapUnavailable):
        scene.directory.principal("alice")


def test_well_known_groups_need_no_controller() -> None:
    scene = Scene()
    scene.shut()
    for name in (AUTHENTICATED_USERS, "Authenticated Users", r"NT AUTHORITY\Authenticated Users"):
        found = scene.directory.principal(name)
        assert found is not None
        assert found.sid == AUTHENTICATED_USERS


def test_names_of_sids_are_what_can_be_found_out() -> None:
    scene = Scene()
    nobody = Sid(f"{DOMAIN_SID}-9999")
    sids = frozenset({ALICE, AUTHENTICATED_USERS, nobody, Sid("S-1-2-3")})
    known = {ALICE: r"CORP\alice", AUTHENTICATED_USERS: r"NT AUTHORITY\Authenticated Users"}
    assert scene.directory.sid_names(sids) == known
    scene.directory.principal("alice")
    scene.shut()
    scene.now += 100.0
    assert scene.directory.sid_names(sids) == known


# -- passwords -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("525", LogonFailure.UNKNOWN_ACCOUNT),
        ("52e", LogonFailure.WRONG_PASSWORD),
        ("531", LogonFailure.NOT_NOW_OR_NOT_HERE),
        ("532", LogonFailure.PASSWORD_EXPIRED),
        ("533", LogonFailure.DISABLED),
        ("701", LogonFailure.EXPIRED),
        ("773", LogonFailure.MUST_CHANGE_PASSWORD),
        ("775", LogonFailure.LOCKED_OUT),
        ("999", LogonFailure.WRONG_PASSWORD),
    ],
)
def test_refused_bind_says_why(data: str, reason: LogonFailure) -> None:
    """[MS-ERREF] 2.2 codes in the controller's words."""
    scene = Scene()
    scene.refusal = f"80090308: LdapErr: DSID-0C09042F, comment: AcceptSecurityContext error, data {data}, v4563"
    with pytest.raises(LogonRefused) as refused:
        scene.directory.verify_password("alice", "secret")
    assert refused.value.reason is reason


def test_bind_is_made_with_the_name_of_the_directory_whatever_was_typed() -> None:
    scene = Scene()
    scene.directory.verify_password("alice@corp.example", "secret")
    assert scene.bound == [(r"CORP\alice", "secret")]


def test_password_is_checked_by_another_controller_when_one_has_just_gone() -> None:
    scene = Scene(hosts=("dc1", "dc2"))
    scene.directory.principal("alice")
    scene.gone_for_passwords = {"dc1"}
    assert scene.directory.verify_password("alice", "secret").enabled
    scene.gone_for_passwords = {"dc1", "dc2"}
    with pytest.raises(LdapUnavailable):
        scene.directory.verify_password("alice", "secret")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (r"OTHER\alice", LogonFailure.OTHER_DOMAIN),
        (r"CORP\nobody", LogonFailure.UNKNOWN_ACCOUNT),
        ("alice@other.example", LogonFailure.UNKNOWN_ACCOUNT),  # a suffix says nothing of the domain
    ],
)
def test_an_account_of_another_domain_is_refused_with_that_reason(name: str, reason: LogonFailure) -> None:
    scene = Scene()
    with pytest.raises(LogonRefused) as refused:
        scene.directory.verify_password(name, "secret")
    assert refused.value.reason is reason


def test_empty_password_is_never_sent() -> None:
    """It would be an anonymous bind, which succeeds. RFC 4513 5.1.2."""
    scene = Scene()
    with pytest.raises(LogonRefused):
        scene.directory.verify_password("alice", "")
    assert scene.bound == []


def test_account_that_was_unlocked_meanwhile_is_looked_at_again() -> None:
    scene = Scene()
    scene.put_alice(**{"msDS-User-Account-Control-Computed": ("16",)})
    scene.directory.principal("alice")
    scene.put_alice()
    assert scene.directory.verify_password("alice", "secret").enabled


# -- templates and services ------------------------------------------------------------------------------------------


def test_changes_are_read_and_nothing_else() -> None:
    """An unchanged template stays the same object."""
    scene = Scene()
    scene.put_template("One")
    scene.put_template("Two")
    before = scene.directory.templates()
    scene.put_template("Two", **{"msPKI-Minimal-Key-Size": ("4096",)})
    assert scene.directory.templates() is before  # within RECHECK
    scene.now += services.RECHECK
    after = scene.directory.templates()
    assert after["Two"].minimal_key_size == 4096
    assert after["One"] is before["One"]


def test_picture_stays_the_same_object_until_something_changes() -> None:
    scene = Scene()
    scene.put_template("One")
    before = scene.directory.templates()
    scene.now += services.RECHECK
    assert scene.directory.templates() is before
    scene.put_alice(mail=("x@corp.example",))  # a change, elsewhere
    scene.now += services.RECHECK
    assert scene.directory.templates() is before


def test_deleted_template_is_missed_when_the_names_are_compared() -> None:
    scene = Scene()
    scene.put_template("One")
    scene.put_template("Two")
    scene.directory.templates()
    scene.tree.remove(f"CN=Two,{TEMPLATES}")
    scene.now += services.RELIST
    assert set(scene.directory.templates()) == {"One"}


def test_renamed_template_has_one_name() -> None:
    scene = Scene()
    scene.put_template("Before")
    scene.directory.templates()
    guid = scene.tree.entries[f"CN=Before,{TEMPLATES}"].values("objectGUID")
    scene.tree.remove(f"CN=Before,{TEMPLATES}")
    scene.put_template("After")
    entry = scene.tree.entries[f"CN=After,{TEMPLATES}"]
    scene.tree.entries[f"CN=After,{TEMPLATES}"] = type(entry).of(entry.dn, {**entry.attributes, "objectGUID": guid})
    scene.now += services.RECHECK
    assert set(scene.directory.templates()) == {"After"}


def test_another_controller_is_asked_for_everything() -> None:
    """Update sequence numbers are each controller's own. [MS-ADTS] 3.1.1.1.9."""
    scene = Scene(hosts=("dc1", "dc2"))
    scene.put_template("One")
    scene.directory.templates()
    scene.tree.down = {"dc1"}
    scene.put_template("Two")
    scene.now += services.RECHECK
    assert set(scene.directory.templates()) == {"One", "Two"}


def test_change_is_not_lost_with_the_controller_that_told_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """It dies after the changes were read and before the names were: the next look begins where the last ended."""
    scene = Scene()
    scene.put_template("One")
    scene.directory.templates()
    scene.put_template("One", **{"msPKI-Minimal-Key-Size": ("4096",)})
    scene.now += services.RECHECK

    def dies(*_: object) -> frozenset[bytes]:
        scene.shut()
        raise LdapUnavailable("gone")

    with monkeypatch.context() as patched:
        patched.setattr(services, "_guids", dies)
        assert scene.directory.templates()["One"].minimal_key_size == 2048
    scene.tree.down = set()
    scene.now += 100.0
    assert scene.directory.templates()["One"].minimal_key_size == 4096


def test_broken_template_is_a_finding_until_it_is_repaired() -> None:
    scene = Scene()
    scene.put_template("Sound")
    scene.put_template("Broken", flags=())
    assert set(scene.directory.templates()) == {"Sound"}
    (finding,) = scene.directory.findings()
    assert (finding.cn, finding.reason) == ("Broken", "The template document has no flags")
    scene.put_template("Broken")
    scene.now += services.RECHECK
    assert set(scene.directory.templates()) == {"Sound", "Broken"}
    assert scene.directory.findings() == ()


def test_service_is_found_whatever_the_case_of_its_name() -> None:
    scene = Scene()
    scene.put_service("Corp CA", "User", "Machine")
    found = scene.directory.enrollment_service("corp ca")
    assert found is not None
    assert found.templates == ("User", "Machine")
    assert [each.ca_name for each in scene.directory.enrollment_services()] == ["Corp CA"]
    assert scene.directory.enrollment_service("Other CA") is None


def test_templates_are_good_as_long_as_principals() -> None:
    scene = Scene()
    scene.put_template("One")
    before = scene.directory.templates()
    scene.shut()
    scene.now += 89.0
    assert scene.directory.templates() is before
    scene.now += 2.0
    with pytest.raises(LdapUnavailable):
        scene.directory.templates()


def test_who_asks_while_somebody_else_does_waits_for_the_answer() -> None:
    """With no time for which an old picture is good, as while a controller dies: nobody is turned away for that."""
    asked, answered = threading.Event(), threading.Event()

    class Slow(LdapPool):
        def run(self, work: Callable[[LdapConnection], T]) -> T:
            asked.set()
            assert answered.wait(10)
            return super().run(work)

    scene = Scene()
    pool = Slow(
        scene.settings,
        connect=lambda at, _: FakeConnection(scene.tree, at),
        locate=lambda _: [DomainController("dc1")],
    )
    asked_services = services.PublicKeyServices(pool, lambda: CONFIGURATION, 0.0, time.monotonic)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(asked_services.picture)
        assert asked.wait(10)
        second = threads.submit(asked_services.picture)
        answered.set()
        assert first.result(10) is second.result(10)
