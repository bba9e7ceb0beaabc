"""One suite for every `Directory`: the fake of the tests, and the embedded one on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from certwright.adcs.requester import AUTHENTICATED_USERS, EVERYONE, Sid
from certwright.adcs.template import CertificateTemplate
from certwright.database.opening import Database
from certwright.directory.base import (
    Directory,
    LogonDirectory,
    LogonFailure,
    LogonRefused,
    Principal,
    PrincipalKind,
)
from certwright.keystores.sealing import Sealer
from tests.support.embedded_directory import ACTOR, Installed
from tests.support.fake_directory import make_computer, make_template, make_user
from tests.support.logon_directory import FakeLogonDirectory
from tests.support.tables import new_sqlite_url

PASSWORD = "a password of some length"
CA = "Corp Issuing CA"
CERTIFICATE = b"\x30\x03\x02\x01\x05"


class Filled:
    """A directory with alice, bob (disabled), WEB1$, the group Staff and two templates, of which one is published."""

    def __init__(self, directory: LogonDirectory, disable: Callable[[str], None]) -> None:
        self.directory = directory
        self.disable = disable


def fake() -> Filled:
    directory = FakeLogonDirectory()
    staff = Principal(
        sid=Sid(f"{directory.domain.sid}-1200"),
        kind=PrincipalKind.GROUP,
        account=r"CORP\Staff",
        common_name="Staff",
        distinguished_name="CN=Staff,CN=Users,DC=corp,DC=example",
        guid=bytes(16),
        enabled=True,
        groups=frozenset(),
    )
    alice = make_user("alice")
    directory.put(staff, *templates())
    directory.add(
        make_user(
            "alice", groups=alice.groups | {staff.sid}, distinguished_name="CN=alice,CN=Users,DC=corp,DC=example"
        ),
        PASSWORD,
    )
    directory.add(make_user("bob", 1102), PASSWORD, ntlm=False)
    directory.put(make_computer("WEB1$"))
    directory.publish(CA, "WebServer", certificate=CERTIFICATE)

    def disable(name: str) -> None:
        principal = directory.principal(name)
        assert principal is not None
        directory.disable(principal.sid)

    return Filled(directory, disable)


def embedded(folder: Path, url: str) -> Iterator[Filled]:
    database = Database.open(url)
    made = Installed(database, Sealer.create(folder / "master.key"))
    made.create_domain()
    admin = made.administration
    admin.add_account("alice", password=PASSWORD, ntlm=True, mail="alice@corp.example", actor=ACTOR)
    admin.add_account("bob", password=PASSWORD, actor=ACTOR)
    admin.add_account("WEB1", PrincipalKind.COMPUTER, actor=ACTOR)
    admin.add_group("Staff", members=["alice"], actor=ACTOR)
    for template in templates():
        admin.put_template(template, actor=ACTOR)
    admin.set_enrollment_service(CA, "ca.corp.example", CERTIFICATE, actor=ACTOR)
    admin.publish(CA, "WebServer", actor=ACTOR)
    yield Filled(made.directory, lambda name: admin.set_enabled(name, False, actor=ACTOR))
    database.close()


def templates() -> tuple[CertificateTemplate, ...]:
    return make_template("WebServer"), make_template("Other", issuance_policies=("1.3.6.1.4.1.311.21.8.1.400",))


@pytest.fixture(params=["fake", "sqlite", "postgresql"])
def filled(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Filled]:
    if request.param == "fake":
        yield fake()
    elif request.param == "sqlite":
        yield from embedded(tmp_path, new_sqlite_url(tmp_path))
    else:
        yield from embedded(tmp_path, request.getfixturevalue("postgresql_with_tables")())


@pytest.fixture
def directory(filled: Filled) -> Directory:
    return filled.directory


def found(directory: Directory, name: str) -> Principal:
    principal = directory.principal(name)
    assert principal is not None, name
    return principal


def test_domain_is_named_both_ways(directory: Directory) -> None:
    domain = directory.domain
    assert (domain.dns_name, domain.netbios_name) == ("corp.example", "CORP")
    assert domain.distinguished_name == "DC=corp,DC=example"
    assert domain.sid.startswith("S-1-5-21-")


def test_account_is_found_by_sid_name_domain_name_and_upn_in_any_case(directory: Directory) -> None:
    alice = found(directory, "alice")
    for name in (alice.sid, r"CORP\alice", r"corp\ALICE", "ALICE", "alice@corp.example", "Alice@Corp.Example"):
        assert directory.principal(name) == alice, name


@pytest.mark.parametrize(
    "name", ["", "nobody", r"CORP\nobody", r"OTHER\alice", "alice@other.example", "S-1-5-21-1-2"]
)
def test_nobody_is_found_under_any_other_name(directory: Directory, name: str) -> None:
    assert directory.principal(name) is None


def test_user_has_the_attributes_a_certificate_takes(directory: Directory) -> None:
    alice = found(directory, "alice")
    assert alice.kind is PrincipalKind.USER
    assert alice.account == r"CORP\alice"
    assert alice.common_name.lower() == "alice"
    assert alice.distinguished_name == "CN=alice,CN=Users,DC=corp,DC=example"
    assert alice.upn == alice.mail == "alice@corp.example"
    assert len(alice.guid) == 16
    assert alice.enabled
    assert alice.sid.startswith(directory.domain.sid)


def test_computer_has_a_dns_host_name(directory: Directory) -> None:
    web = found(directory, "WEB1$")
    assert web.kind is PrincipalKind.COMPUTER
    assert web.account == r"CORP\WEB1$"
    assert web.dns_host_name == "web1.corp.example"
    assert web.distinguished_name == "CN=WEB1,CN=Computers,DC=corp,DC=example"


def test_groups_hold_the_usual_and_the_transitive_ones(directory: Directory) -> None:
    alice, web, staff = (found(directory, name) for name in ("alice", "WEB1$", "Staff"))
    users, computers = (Sid(f"{directory.domain.sid}-{rid}") for rid in (513, 515))
    assert {EVERYONE, AUTHENTICATED_USERS, users, staff.sid} <= alice.groups
    assert {EVERYONE, AUTHENTICATED_USERS, computers} <= web.groups
    assert staff.sid not in web.groups
    assert staff.kind is PrincipalKind.GROUP
    assert alice.sids == alice.groups | {alice.sid}


def test_templates_are_named_by_cn_and_cannot_be_changed_by_the_caller(directory: Directory) -> None:
    held = directory.templates()
    assert {"WebServer", "Other"} <= set(held)
    assert held["Other"].issuance_policies == ("1.3.6.1.4.1.311.21.8.1.400",)
    with pytest.raises(TypeError):
        held["Third"] = held["Other"]  # type: ignore[index]


def test_enrollment_service_names_host_certificate_and_published_templates(directory: Directory) -> None:
    service = directory.enrollment_service(CA)
    assert service is not None
    assert service.config == rf"ca.corp.example\{CA}"
    assert service.certificate == CERTIFICATE
    assert service.templates == ("WebServer",)
    assert directory.enrollment_service("Another CA") is None


def test_known_sids_have_names_and_unknown_ones_are_left_out(directory: Directory) -> None:
    alice, staff = found(directory, "alice"), found(directory, "Staff")
    names = directory.sid_names(frozenset({alice.sid, staff.sid, AUTHENTICATED_USERS, EVERYONE, Sid("S-1-5-21-9-9")}))
    assert names == {
        alice.sid: r"CORP\alice",
        staff.sid: r"CORP\Staff",
        AUTHENTICATED_USERS: r"NT AUTHORITY\Authenticated Users",
        EVERYONE: "Everyone",
    }


def test_disabled_account_is_still_found_but_not_enabled(filled: Filled) -> None:
    filled.disable("bob")
    assert not found(filled.directory, "bob").enabled


# -- logging on ------------------------------------------------------------------------------------------------------


def test_right_password_gives_the_account(filled: Filled) -> None:
    for name in ("alice", r"CORP\alice", "alice@corp.example"):
        assert filled.directory.verify_password(name, PASSWORD) == found(filled.directory, "alice")


def test_refused_logon_says_why(filled: Filled) -> None:
    filled.disable("bob")
    for name, password, why in (
        ("alice", "another password", LogonFailure.WRONG_PASSWORD),
        ("alice", "", LogonFailure.WRONG_PASSWORD),
        ("nobody", PASSWORD, LogonFailure.UNKNOWN_ACCOUNT),
        ("bob", PASSWORD, LogonFailure.DISABLED),
    ):
        with pytest.raises(LogonRefused) as refused:
            filled.directory.verify_password(name, password)
        assert refused.value.reason is why, name


def test_nt_hash_belongs_to_marked_accounts(filled: Filled) -> None:
    """[MS-NLMP] 3.3.1 NTOWFv1; the value was computed by pyspnego."""
    principal, value = filled.directory.nt_hash("alice")
    assert principal == found(filled.directory, "alice")
    assert value.hex() == "476aed8cc3704a7ceeff38254aee23f9"
    for name, why in (("bob", LogonFailure.NO_NTLM), ("nobody", LogonFailure.UNKNOWN_ACCOUNT)):
        with pytest.raises(LogonRefused) as refused:
            filled.directory.nt_hash(name)
        assert refused.value.reason is why


# -- several writers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_writers_at_the_same_time_give_no_sid_twice(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Each change holds the version's row until its commit, in one process or several."""
    url = new_sqlite_url(tmp_path) if kind == "sqlite" else request.getfixturevalue("postgresql_with_tables")()
    sealer = Sealer.create(tmp_path / "master.key")
    databases = [Database.open(url) for _ in range(3)]
    made = [Installed(database, sealer) for database in databases]
    made[0].create_domain()
    for other in made[1:]:
        other.directory.refresh()

    def add(number: int) -> Sid:
        return made[number % 3].administration.add_account(f"user{number}", actor=ACTOR).sid

    with ThreadPoolExecutor(6) as pool:
        sids = list(pool.map(add, range(18)))
    assert len(set(sids)) == 18
    made[0].directory.refresh()
    assert all(made[0].directory.principal(sid) is not None for sid in sids)
    for database in databases:
        database.close()
