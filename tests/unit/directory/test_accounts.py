"""Accounts and groups of the embedded directory."""

from __future__ import annotations

import json
import sqlite3
import uuid
from pathlib import Path

import pytest
from spnego._ntlm_raw.crypto import ntowfv1

from certwright.adcs.errors import AccessDenied, AdcsError, ConfigurationError, InvalidArgument
from certwright.adcs.events import AuditEvent
from certwright.adcs.requester import (
    AUTHENTICATED_USERS,
    BUILTIN_ADMINISTRATORS,
    ENTERPRISE_DOMAIN_CONTROLLERS,
    EVERYONE,
    AuthMethod,
    Requester,
    Sid,
)
from certwright.database.base import Connection
from certwright.database.opening import Database, sqlite_path
from certwright.directory import store
from certwright.directory.base import LogonFailure, LogonRefused, PrincipalKind
from certwright.directory.local import EmbeddedDirectory
from certwright.directory.well_known import BUILTIN_USERS, Rid
from certwright.keystores.sealing import Sealer
from tests.support.embedded_directory import ACTOR, NOW, PASSWORD, Installed
from tests.support.tables import new_sqlite_url

# -- the domain ------------------------------------------------------------------------------------------------------


def test_new_domain_has_the_groups_of_every_domain_with_their_relative_identifiers(corp: Installed) -> None:
    """[MS-DTYP] 2.4.2.4; our groups for the roles of a CA have fixed ones too."""
    sid = corp.directory.domain.sid
    assert sid.startswith("S-1-5-21-")
    expected = {
        "Administrator": 500,
        "Domain Admins": 512,
        "Domain Users": 513,
        "Domain Computers": 515,
        "Domain Controllers": 516,
        "Cert Publishers": 517,
        "Enterprise Admins": 519,
        "CA Administrators": 1000,
        "Certificate Managers": 1001,
        "CA Auditors": 1002,
        "CA Backup Operators": 1003,
    }
    for name, rid in expected.items():
        principal = corp.directory.principal(name)
        assert principal is not None, name
        assert principal.sid == f"{sid}-{rid}"
        assert principal.account == f"CORP\\{name}"
    assert corp.directory.principal("Guest") is None


def test_administrator_is_in_the_groups_that_rule_the_domain(corp: Installed) -> None:
    administrator = corp.directory.principal("Administrator")
    assert administrator is not None
    domain = corp.directory.domain.sid
    assert {
        Rid.DOMAIN_USERS.in_domain(domain),
        Rid.DOMAIN_ADMINS.in_domain(domain),
        Rid.ENTERPRISE_ADMINS.in_domain(domain),
        BUILTIN_ADMINISTRATORS,
        EVERYONE,
        AUTHENTICATED_USERS,
        BUILTIN_USERS,
    } == administrator.groups
    assert administrator.distinguished_name == "CN=Administrator,CN=Users,DC=corp,DC=example"


def test_domain_is_created_once(corp: Installed) -> None:
    with pytest.raises(InvalidArgument, match="has a domain already: corp"):
        corp.administration.create_domain("other.example", actor=ACTOR)


def test_directory_without_a_domain_says_what_to_do(tmp_path: Path) -> None:
    database = Database.open(new_sqlite_url(tmp_path))
    directory = EmbeddedDirectory(database, Sealer.create(tmp_path / "key"))
    assert directory.principal("alice") is None
    with pytest.raises(ConfigurationError, match="certwright init"):
        _ = directory.domain
    database.close()


@pytest.mark.parametrize(
    ("dns", "netbios"), [("bad name", "CORP"), ("corp.example", "BUILTIN"), ("corp.example", "A.B")]
)
def test_domain_names_follow_the_rules(tmp_path: Path, dns: str, netbios: str) -> None:
    database = Database.open(new_sqlite_url(tmp_path))
    made = Installed(database, Sealer.create(tmp_path / "key"))
    with pytest.raises(InvalidArgument):
        made.administration.create_domain(dns, netbios, actor=ACTOR)
    database.close()


# -- adding ----------------------------------------------------------------------------------------------------------


def test_new_user_is_in_domain_users_with_a_user_principal_name(corp: Installed) -> None:
    alice = corp.administration.add_account("alice", password=PASSWORD, mail="alice@corp.example", actor=ACTOR)
    assert alice.kind is PrincipalKind.USER
    assert alice.upn == "alice@corp.example"
    assert alice.mail == "alice@corp.example"
    assert Rid.DOMAIN_USERS.in_domain(corp.directory.domain.sid) in alice.groups
    assert len(alice.guid) == 16
    assert uuid.UUID(bytes_le=alice.guid).version == 4


def test_new_computer_is_in_domain_computers_with_a_dns_host_name(corp: Installed) -> None:
    web = corp.administration.add_account(
        "WEB1", PrincipalKind.COMPUTER, additional_host_names=["localhost", "127.0.0.1", "::1"], actor=ACTOR
    )
    assert web.account == r"CORP\WEB1$"
    assert web.dns_host_name == "web1.corp.example"
    assert web.additional_host_names == ("localhost", "127.0.0.1", "::1")
    assert web.distinguished_name == "CN=WEB1,CN=Computers,DC=corp,DC=example"
    groups = web.groups
    assert Rid.DOMAIN_COMPUTERS.in_domain(corp.directory.domain.sid) in groups
    assert Rid.DOMAIN_USERS.in_domain(corp.directory.domain.sid) not in groups


def test_relative_identifiers_are_never_given_twice(corp: Installed) -> None:
    first = corp.administration.add_account("alice", actor=ACTOR)
    with pytest.raises(InvalidArgument):
        corp.administration.add_account("bob", groups=["no such group"], actor=ACTOR)
    second = corp.administration.add_group("Staff", actor=ACTOR)
    third = corp.administration.add_account("bob", actor=ACTOR)
    assert [int(p.sid.rpartition("-")[2]) for p in (first, second, third)] == [1100, 1101, 1102]


@pytest.mark.parametrize(
    "name",
    ["", " alice", "alice ", "a" * 21, "ali/ce", "al@ice", "alice$", "alice.", "..", "ali\nce", "S-1-5-21-1", "a*"],
)
def test_user_name_that_breaks_the_rules_is_refused(corp: Installed, name: str) -> None:
    with pytest.raises(InvalidArgument, match="cannot be a user's name"):
        corp.administration.add_account(name, actor=ACTOR)


@pytest.mark.parametrize("name", ["", "web1.corp.example", "a" * 16, "12345", "web_1", "-web"])
def test_computer_name_that_breaks_the_rules_is_refused(corp: Installed, name: str) -> None:
    with pytest.raises(InvalidArgument, match="cannot be a computer's name"):
        corp.administration.add_account(name, PrincipalKind.COMPUTER, actor=ACTOR)


def test_name_is_taken_whatever_its_case_or_kind(corp: Installed) -> None:
    corp.administration.add_account("Alice", actor=ACTOR)
    corp.administration.add_account("straße", actor=ACTOR)
    for taken in ("alice", "ALICE", "Domain Admins", "domain admins", "Administrators", "Everyone", "STRASSE"):
        with pytest.raises(InvalidArgument, match=r"taken|every domain has"):
            corp.administration.add_account(taken, actor=ACTOR)
        with pytest.raises(InvalidArgument, match=r"taken|every domain has"):
            corp.administration.add_group(taken, actor=ACTOR)


def test_no_two_accounts_share_a_name_that_certificates_carry(corp: Installed) -> None:
    add = corp.administration.add_account
    add("alice", common_name="Alice Adams", upn="adams@corp.example", actor=ACTOR)
    add("web1", PrincipalKind.COMPUTER, dns_host_name="www.corp.example", actor=ACTOR)
    with pytest.raises(InvalidArgument, match="common name 'alice adams' belongs to alice"):
        add("bob", common_name="alice adams", actor=ACTOR)
    with pytest.raises(InvalidArgument, match=r"ADAMS@corp.example belongs to CORP\\alice"):
        add("bob", upn="ADAMS@corp.example", actor=ACTOR)
    with pytest.raises(InvalidArgument, match=r"belongs to CORP\\Administrator"):
        add("bob", upn="administrator@corp.example", actor=ACTOR)
    with pytest.raises(InvalidArgument, match="alice has the user principal name"):
        add("adams", upn="someone.else@corp.example", actor=ACTOR)
    with pytest.raises(InvalidArgument, match=r"www\.corp\.example belongs to web1"):
        add("web2", PrincipalKind.COMPUTER, dns_host_name="WWW.corp.example", actor=ACTOR)


@pytest.mark.parametrize(
    "wrong",
    [
        {"mail": "no address"},
        {"mail": "ümläut@corp.example"},
        {"upn": "alice"},
        {"upn": "a b@corp.example"},
        {"common_name": "x" * 65},
        {"dns_host_name": "alice.corp.example"},
    ],
)
def test_attribute_that_no_certificate_could_carry_is_refused(corp: Installed, wrong: dict[str, str]) -> None:
    with pytest.raises(InvalidArgument):
        corp.administration.add_account("alice", actor=ACTOR, **wrong)  # type: ignore[arg-type]
    assert corp.directory.principal("alice") is None


def test_common_name_with_special_characters_is_escaped_in_the_distinguished_name(corp: Installed) -> None:
    """RFC 4514 2.4."""
    made = corp.administration.add_account("adams", common_name="Adams, Alice + Co", actor=ACTOR)
    assert made.distinguished_name == r"CN=Adams\, Alice \+ Co,CN=Users,DC=corp,DC=example"


# -- looking up ------------------------------------------------------------------------------------------------------


def test_every_way_to_name_an_account_finds_it(corp: Installed) -> None:
    alice = corp.administration.add_account("alice", upn="adams@mail.example", actor=ACTOR)
    for name in (
        alice.sid,
        alice.sid.lower(),
        "alice",
        "ALICE",
        r"CORP\alice",
        r"corp.example\Alice",
        "adams@mail.example",
        "alice@corp.example",
        "Alice@CORP.EXAMPLE",
    ):
        assert corp.directory.principal(name) == alice, name
    for name in ("", "alic", r"OTHER\alice", r"\alice", "alice@mail.example", "alice$", "S-1-5-21-1", "x" * 10_000):
        assert corp.directory.principal(name) is None, name


def test_computer_is_found_with_and_without_its_dollar(corp: Installed) -> None:
    web = corp.administration.add_account("WEB1", PrincipalKind.COMPUTER, password=PASSWORD, actor=ACTOR)
    for name in ("web1$", "WEB1", r"CORP\web1", r"corp\WEB1$", "web1$@corp.example"):
        assert corp.directory.principal(name) == web, name
    assert corp.directory.verify_password("WEB1$", PASSWORD) == web
    with pytest.raises(LogonRefused):
        corp.directory.verify_password("WEB1", PASSWORD)


@pytest.mark.parametrize(
    ("name", "sid"),
    [
        ("Everyone", EVERYONE),
        ("Authenticated Users", AUTHENTICATED_USERS),
        (r"NT AUTHORITY\authenticated users", AUTHENTICATED_USERS),
        (r"BUILTIN\Administrators", BUILTIN_ADMINISTRATORS),
        ("Administrators", BUILTIN_ADMINISTRATORS),
        ("S-1-5-9", ENTERPRISE_DOMAIN_CONTROLLERS),
    ],
)
def test_well_known_groups_are_found_by_name(corp: Installed, name: str, sid: Sid) -> None:
    principal = corp.directory.principal(name)
    assert principal is not None
    assert principal.sid == sid
    assert principal.kind is PrincipalKind.GROUP


def test_sids_are_shown_by_name_and_unknown_ones_left_out(corp: Installed) -> None:
    unknown = Sid("S-1-5-21-9-9-9-9")
    assert corp.directory.sid_names(frozenset({BUILTIN_ADMINISTRATORS, AUTHENTICATED_USERS, EVERYONE, unknown})) == {
        BUILTIN_ADMINISTRATORS: r"BUILTIN\Administrators",
        AUTHENTICATED_USERS: r"NT AUTHORITY\Authenticated Users",
        EVERYONE: "Everyone",
    }


# -- logging on ------------------------------------------------------------------------------------------------------


def reason(corp: Installed, name: str, password: str) -> LogonFailure:
    with pytest.raises(LogonRefused) as refused:
        corp.directory.verify_password(name, password)
    return refused.value.reason


def test_password_is_verified_under_every_name(corp: Installed) -> None:
    for name in ("Administrator", r"corp\ADMINISTRATOR", "administrator@corp.example"):
        assert corp.directory.verify_password(name, PASSWORD).account == r"CORP\Administrator"


def test_refused_logon_says_why_to_the_log(corp: Installed) -> None:
    corp.administration.add_account("alice", password=PASSWORD, actor=ACTOR)
    corp.administration.add_account("silent", actor=ACTOR)
    corp.administration.set_enabled("alice", False, actor=ACTOR)
    assert reason(corp, "nobody", PASSWORD) is LogonFailure.UNKNOWN_ACCOUNT
    assert reason(corp, "Administrator", PASSWORD + "!") is LogonFailure.WRONG_PASSWORD
    assert reason(corp, "alice", PASSWORD) is LogonFailure.DISABLED
    assert reason(corp, "alice", "wrong") is LogonFailure.WRONG_PASSWORD
    assert reason(corp, "silent", "") is LogonFailure.WRONG_PASSWORD
    assert reason(corp, "Domain Admins", PASSWORD) is LogonFailure.NOT_A_LOGON_ACCOUNT
    assert reason(corp, "Everyone", PASSWORD) is LogonFailure.NOT_A_LOGON_ACCOUNT


def test_nt_hash_is_kept_for_marked_accounts_alone(corp: Installed) -> None:
    """The hash is [MS-NLMP]'s, computed by another implementation here."""
    admin = corp.administration
    admin.add_account("alice", password=PASSWORD, ntlm=True, actor=ACTOR)
    admin.add_account("bob", password=PASSWORD, actor=ACTOR)
    principal, value = corp.directory.nt_hash(r"CORP\alice")
    assert principal.account == r"CORP\alice"
    assert value == ntowfv1(PASSWORD)
    with pytest.raises(LogonRefused) as refused:
        corp.directory.nt_hash("bob")
    assert refused.value.reason is LogonFailure.NO_NTLM


def test_nt_hash_follows_the_password_and_the_mark(corp: Installed) -> None:
    admin = corp.administration
    admin.add_account("alice", password=PASSWORD, actor=ACTOR)
    admin.set_password("alice", "a new password for alice", ntlm=True, actor=ACTOR)
    assert corp.directory.nt_hash("alice")[1] == ntowfv1("a new password for alice")
    admin.set_password("alice", "one more password here", actor=ACTOR)
    assert corp.directory.nt_hash("alice")[1] == ntowfv1("one more password here")
    admin.forget_nt_hash("alice", actor=ACTOR)
    for name, why in (("alice", LogonFailure.NO_NTLM), ("x", LogonFailure.UNKNOWN_ACCOUNT)):
        with pytest.raises(LogonRefused) as refused:
            corp.directory.nt_hash(name)
        assert refused.value.reason is why
    assert corp.directory.verify_password("alice", "one more password here")


def test_disabled_account_and_group_have_no_nt_hash(corp: Installed) -> None:
    corp.administration.add_account("alice", password=PASSWORD, ntlm=True, actor=ACTOR)
    corp.administration.set_enabled("alice", False, actor=ACTOR)
    for name, why in (("alice", LogonFailure.DISABLED), ("Domain Users", LogonFailure.NOT_A_LOGON_ACCOUNT)):
        with pytest.raises(LogonRefused) as refused:
            corp.directory.nt_hash(name)
        assert refused.value.reason is why


def test_neither_password_nor_nt_hash_stands_in_the_database(corp: Installed, tmp_path: Path) -> None:
    corp.administration.add_account("alice", password="the secret of alice", ntlm=True, actor=ACTOR)
    hashed = ntowfv1("the secret of alice")
    corp.database.close()
    dump = b"".join(path.read_bytes() for path in tmp_path.glob("certwright.db*"))
    assert b"alice" in dump
    assert b"the secret of alice" not in dump
    assert hashed not in dump


def test_nt_hash_moved_to_another_account_does_not_open(corp: Installed) -> None:
    """A sealed value is bound to its row: whoever can write the database cannot give himself a known hash."""
    admin = corp.administration
    admin.add_account("alice", password=PASSWORD, ntlm=True, actor=ACTOR)
    admin.add_account("bob", password=PASSWORD, ntlm=True, actor=ACTOR)
    with corp.database.transaction() as connection:
        store.raise_version(connection)
        connection.execute(
            "UPDATE directory_account SET nt_hash = (SELECT nt_hash FROM directory_account WHERE name = 'alice')"
            " WHERE name = 'bob'"
        )
    corp.directory.refresh()
    with pytest.raises(ConfigurationError, match=r"CORP\\bob does not open"):
        corp.directory.nt_hash("bob")


def test_short_password_is_refused_and_changes_nothing(corp: Installed) -> None:
    with pytest.raises(InvalidArgument, match="at least 12"):
        corp.administration.add_account("alice", password="short", actor=ACTOR)
    with pytest.raises(InvalidArgument, match="at least 12"):
        corp.administration.set_password("Administrator", "short", actor=ACTOR)
    assert corp.directory.principal("alice") is None
    assert corp.directory.verify_password("Administrator", PASSWORD)


# -- attributes, lists -----------------------------------------------------------------------------------------------


def test_attributes_change_one_by_one(corp: Installed) -> None:
    admin = corp.administration
    admin.add_account("alice", mail="alice@corp.example", actor=ACTOR)
    admin.set_attributes("alice", common_name="Alice Adams", mail="", actor=ACTOR)
    alice = corp.directory.principal("alice")
    assert alice is not None
    assert (alice.common_name, alice.mail, alice.upn) == ("Alice Adams", "", "alice@corp.example")
    with pytest.raises(InvalidArgument, match="only computers have host names"):
        admin.set_attributes("alice", dns_host_name="alice.corp.example", actor=ACTOR)


def test_lists_show_accounts_and_groups_by_name(corp: Installed) -> None:
    corp.administration.add_account("alice", groups=["Certificate Managers"], actor=ACTOR)
    accounts = {info.principal.account: info for info in corp.administration.list_accounts()}
    assert list(accounts) == [r"CORP\Administrator", r"CORP\alice"]
    assert accounts[r"CORP\alice"].groups == (r"CORP\Domain Users", r"CORP\Certificate Managers")
    assert not accounts[r"CORP\alice"].has_password
    assert accounts[r"CORP\Administrator"].ntlm
    groups = {info.principal.account: info for info in corp.administration.list_groups()}
    assert groups[r"CORP\Certificate Managers"].members == (r"CORP\alice",)
    assert groups[r"CORP\Domain Admins"].groups == (r"BUILTIN\Administrators",)


# -- audit -----------------------------------------------------------------------------------------------------------


def test_every_change_is_audited_with_who_and_what_but_no_secret(corp: Installed) -> None:
    admin = corp.administration
    corp.events.clear()
    admin.add_account("alice", password=PASSWORD, ntlm=True, mail="a@corp.example", actor=ACTOR)
    admin.set_password("alice", "another long password", actor=ACTOR)
    admin.set_attributes("alice", mail="b@corp.example", actor=ACTOR)
    admin.set_enabled("alice", False, actor=ACTOR)
    admin.add_group("Staff", actor=ACTOR)
    admin.add_to_group("Staff", "alice", actor=ACTOR)
    admin.remove_from_group("Staff", "alice", actor=ACTOR)
    assert [event.details["change"] for event in corp.events] == [
        "account added",
        "password set",
        "attributes changed",
        "account disabled",
        "group added",
        "member added",
        "member removed",
    ]
    assert {event.event for event in corp.events} == {AuditEvent.ACCOUNT_CHANGED}
    assert {(event.actor, event.when, event.ca) for event in corp.events} == {(ACTOR, NOW, "")}
    assert corp.events[2].details["mail (before)"] == "a@corp.example"
    assert corp.events[2].details["mail (after)"] == "b@corp.example"
    told = json.dumps([dict(event.details) for event in corp.events])
    assert "password set" in told
    for secret in (PASSWORD, "another long password", "argon2", ntowfv1(PASSWORD).hex()):
        assert secret not in told


def test_change_that_cannot_be_audited_does_not_happen(corp: Installed) -> None:
    corp.refuse_to_audit = True
    with pytest.raises(OSError, match="audit trail"):
        corp.administration.add_account("alice", actor=ACTOR)
    corp.directory.refresh()
    assert corp.directory.principal("alice") is None


# -- several readers and writers -------------------------------------------------------------------------------------


def test_change_by_another_process_is_seen_after_the_recheck_time(corp: Installed) -> None:
    now = [0.0]
    reader = EmbeddedDirectory(corp.database, corp.sealer, monotonic=lambda: now[0])
    corp.administration.add_account("alice", actor=ACTOR)
    assert reader.principal("alice") is None
    now[0] += 0.3
    assert reader.principal("alice") is not None


def test_refresh_sees_a_change_at_once(corp: Installed) -> None:
    reader = EmbeddedDirectory(corp.database, corp.sealer, monotonic=lambda: 0.0)
    corp.administration.add_account("alice", actor=ACTOR)
    assert reader.principal("alice") is None
    reader.refresh()
    assert reader.principal("alice") is not None


def test_writer_decides_on_the_newest_state_not_on_what_it_read_last(corp: Installed) -> None:
    """Two processes add the same name: the second sees the first's under the lock."""
    other = Installed(corp.database, corp.sealer)
    corp.administration.add_account("alice", actor=ACTOR)
    with pytest.raises(InvalidArgument, match="taken"):
        other.administration.add_account("ALICE", actor=ACTOR)


def test_half_done_change_is_never_seen(corp: Installed) -> None:
    """A look-up made by the same thread inside the transaction must not become the directory's snapshot."""

    def nosy(connection: Connection, event: object) -> None:
        corp.directory.refresh()
        raise OSError("the audit trail cannot be written")

    corp.administration._record = nosy
    with pytest.raises(OSError, match="audit trail"):
        corp.administration.add_account("alice", actor=ACTOR)
    assert corp.directory.principal("alice") is None


def test_directory_tables_need_no_django_to_be_read(corp: Installed, tmp_path: Path) -> None:
    """The columns of the models and of the SQL are the same: a row written by `store` reads back as written."""
    path = sqlite_path(f"sqlite://{tmp_path}/certwright.db")
    with sqlite3.connect(path) as connection:
        rows = connection.execute("SELECT name, name_key, kind, enabled, ntlm FROM directory_account").fetchall()
    connection.close()
    assert rows == [("Administrator", "administrator", "user", 1, 1)]


# -- who may ---------------------------------------------------------------------------------------------------------


def test_only_administrators_may_change_accounts_and_templates(corp: Installed) -> None:
    admin = corp.administration
    admin.add_account("alice", actor=ACTOR)
    admin.add_account("carol", groups=["CA Administrators"], actor=ACTOR)

    def requester(name: str) -> Requester:
        principal = corp.directory.principal(name)
        assert principal is not None
        return Requester(principal.account, principal.sid, principal.groups, AuthMethod.LOCAL)

    assert admin.require_account_administrator(requester("Administrator")) == r"CORP\Administrator"
    assert admin.require_template_administrator(requester("carol")) == r"CORP\carol"
    for refused in (
        lambda: admin.require_account_administrator(requester("carol")),
        lambda: admin.require_account_administrator(requester("alice")),
        lambda: admin.require_template_administrator(requester("alice")),
    ):
        with pytest.raises(AccessDenied, match="may not change"):
            refused()


def test_session_of_somebody_who_was_disabled_or_removed_may_nothing(corp: Installed) -> None:
    admin = corp.administration
    bob = admin.add_account("bob", groups=["Domain Admins"], actor=ACTOR)
    session = Requester(bob.account, bob.sid, bob.groups, AuthMethod.LOCAL)
    assert admin.require_account_administrator(session)
    admin.remove_from_group("Domain Admins", "bob", actor=ACTOR)
    with pytest.raises(AccessDenied):
        admin.require_account_administrator(session)
    admin.add_to_group("Domain Admins", "bob", actor=ACTOR)
    admin.set_enabled("bob", False, actor=ACTOR)
    with pytest.raises(AccessDenied):
        admin.require_account_administrator(session)


def test_unknown_names_are_refused_with_the_name(corp: Installed) -> None:
    admin = corp.administration
    for attempt in (
        lambda: admin.set_password("nobody", PASSWORD, actor=ACTOR),
        lambda: admin.set_enabled("nobody", True, actor=ACTOR),
        lambda: admin.add_to_group("Domain Admins", "nobody", actor=ACTOR),
        lambda: admin.add_to_group("nobody", "Administrator", actor=ACTOR),
    ):
        with pytest.raises(AdcsError, match="'nobody'"):
            attempt()


def test_ten_thousand_accounts_are_looked_up_from_memory(corp: Installed) -> None:
    """No statement runs per look-up."""
    domain = corp.directory.domain.sid
    rows = [
        store.AccountRow(
            sid=Sid(f"{domain}-{5000 + number}"),
            kind=PrincipalKind.USER,
            name=f"user{number}",
            common_name=f"User {number}",
            guid=number.to_bytes(16, "big"),
            enabled=True,
            upn=f"user{number}@corp.example",
            mail="",
            dns_host_name="",
            additional_host_names=(),
            password="",
            ntlm=False,
            nt_hash=None,
            created=0,
        )
        for number in range(10_000)
    ]
    with corp.database.transaction() as connection:
        store.raise_version(connection)
        store.insert_account(connection, *rows)
        store.insert_memberships(connection, [(Rid.DOMAIN_USERS.in_domain(domain), row.sid) for row in rows])
    directory = EmbeddedDirectory(corp.database, corp.sealer, monotonic=lambda: 0.0)
    corp.database.close()
    found = [directory.principal(row.sid) for row in rows]
    assert all(principal is not None for principal in found)
    assert len({id(principal.groups) for principal in found if principal is not None}) == 1
