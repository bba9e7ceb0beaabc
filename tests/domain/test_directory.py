"""Active Directory read through `directory.base.Directory`, against a real domain. [MS-ADTS], [MS-CRTD] 2."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace

import pytest

from certwright.adcs.errors import CaUnreachable, ConfigurationError
from certwright.adcs.requester import AUTHENTICATED_USERS, EVERYONE, Sid
from certwright.adcs.template import CertificateTemplate
from certwright.directory.active_directory import locating, netlogon
from certwright.directory.active_directory import public_key_services as services
from certwright.directory.active_directory.directory import ActiveDirectory
from certwright.directory.active_directory.ldap import (
    LdapConnection,
    LdapError,
    LdapPool,
    LdapUnavailable,
    Modification,
    Operation,
    ResultCode,
    Scope,
)
from certwright.directory.active_directory.members import count_members
from certwright.directory.active_directory.settings import DomainSettings
from certwright.directory.active_directory.templates import template_from_entry
from certwright.directory.base import LogonFailure, LogonRefused, PrincipalKind
from certwright.directory.default_templates import new_template, new_template_oid
from tests.support.joined import (
    add_template,
    administrator_of,
    directory_of,
    publish_ca,
    service_dn,
    settings_of,
    template_dn,
)
from tests.support.lab import Lab


@pytest.fixture
def directory(ad: Lab) -> Iterator[ActiveDirectory]:
    with directory_of(ad) as opened:
        yield opened


def _template(directory: ActiveDirectory, cn: str) -> CertificateTemplate:
    return replace(new_template(cn, cn, directory.domain.sid), oid=new_template_oid("1.2.3.4.5.6"))


@pytest.fixture
def cleared(ad: Lab) -> Iterator[list[str]]:
    """Names of objects that go away with the test."""
    gone: list[str] = []
    yield gone
    with administrator_of(ad) as connection:
        for dn in gone:
            connection.delete(dn)


# -- the domain ------------------------------------------------------------------------------------------------------


def test_domain_is_called_as_its_own_tools_call_it(ad: Lab, directory: ActiveDirectory) -> None:
    domain = directory.domain
    assert (domain.dns_name, domain.netbios_name) == (ad.dns_domain, ad.netbios)
    assert domain.distinguished_name == ad.base_dn
    said = subprocess.run([ad.program("wbinfo"), "-D", ad.netbios], capture_output=True, text=True, check=True).stdout
    assert domain.sid in said


def test_controllers_are_found_by_dns_with_the_site_of_this_host(ad: Lab) -> None:
    """[MS-ADTS] 6.3.6: the site comes from a controller, its members from DNS."""
    settings = settings_of(ad, controllers=(), name_servers=(ad.controller_address,))
    found = locating.locate(settings)
    assert [controller.host for controller in found] == [ad.controller]
    assert found[0].site == "Default-First-Site-Name"


def test_controller_answers_the_ping(ad: Lab) -> None:
    """[MS-ADTS] 6.3.3."""
    answer = netlogon.ping(ad.controller, ad.dns_domain, 2.0)
    assert answer is not None
    assert answer.dns_host == ad.controller
    assert answer.netbios_domain == ad.netbios
    assert answer.client_site == answer.controller_site == "Default-First-Site-Name"
    assert netlogon.ping(ad.controller, "nobody.example", 0.3) is None


def test_sid_of_another_domain_in_the_settings_is_refused(ad: Lab) -> None:
    other = Sid("S-1-5-21-1-2-3")
    with (
        directory_of(ad, domain_sid=other, netbios_name=ad.netbios) as wrong,
        pytest.raises(ConfigurationError, match="not of the domain this installation was joined to"),
    ):
        wrong.principal("alice")


# -- principals ------------------------------------------------------------------------------------------------------


def test_user_has_what_a_certificate_names(ad: Lab, directory: ActiveDirectory) -> None:
    alice = directory.principal("alice")
    assert alice is not None
    assert alice.kind is PrincipalKind.USER
    assert alice.account == f"{ad.netbios}\\alice"
    assert alice.upn == alice.mail == f"alice@{ad.dns_domain}"
    assert alice.distinguished_name == f"CN=alice,CN=Users,{ad.base_dn}"
    assert len(alice.guid) == 16
    assert alice.enabled
    said = subprocess.run([ad.program("wbinfo"), "-n", "alice"], capture_output=True, text=True, check=True).stdout
    assert said.split()[0] == alice.sid


def test_groups_are_all_transitive_ones_and_the_well_known(ad: Lab, directory: ActiveDirectory) -> None:
    """alice is in All Staff through Staff only; BUILTIN groups are those of the controller and left out."""
    alice = directory.principal("alice")
    assert alice is not None
    assert {EVERYONE, AUTHENTICATED_USERS} <= alice.groups
    names = set(directory.sid_names(alice.groups).values())
    assert {rf"{ad.netbios}\{name}" for name in ("Staff", "All Staff", "Domain Users")} <= names
    administrator = directory.principal("Administrator")
    assert administrator is not None
    assert Sid("S-1-5-32-544") not in administrator.groups


def test_members_are_counted_through_groups_and_everybody_is_many(ad: Lab, directory: ActiveDirectory) -> None:
    """Disabled accounts are none; a group that holds Domain Users is not gone through."""
    domain, base = directory.domain, directory.names.domain

    def counted(name: str) -> int | None:
        found = directory.principal(name)
        assert found is not None
        return directory.pool.run(lambda connection: count_members(connection, domain, base, found.sid))

    assert [counted(name) for name in ("Staff", "All Staff", "alice", "WS1$")] == [1, 1, 1, 1]
    assert counted("dave") == 0
    assert counted("Domain Users") is None
    assert counted("Enrollment Agents") == 0
    ad.ldapmodify(
        f"dn: CN=Enrollment Agents,CN=Users,{ad.base_dn}\nchangetype: modify\nadd: member\n"
        f"member: CN=Domain Users,CN=Users,{ad.base_dn}\n"
    )
    try:
        assert counted("Enrollment Agents") is None
    finally:
        ad.ldapmodify(
            f"dn: CN=Enrollment Agents,CN=Users,{ad.base_dn}\nchangetype: modify\ndelete: member\n"
            f"member: CN=Domain Users,CN=Users,{ad.base_dn}\n"
        )


def test_every_form_of_a_name_finds_the_same_account(ad: Lab, directory: ActiveDirectory) -> None:
    alice = directory.principal("alice")
    assert alice is not None
    for name in (
        f"{ad.netbios}\\alice",
        f"{ad.dns_domain}\\ALICE",
        f"alice@{ad.dns_domain}",
        f"alice@{ad.netbios}",
        alice.sid,
    ):
        assert directory.principal(name) == alice


@pytest.mark.parametrize("name", ["nobody", r"OTHER\alice", "alice@other.example", "S-1-5-21-1-2-3-1", "S-1-x", "*"])
def test_what_is_nobodys_name_finds_nobody(directory: ActiveDirectory, name: str) -> None:
    """A name is never a pattern: RFC 4515 3."""
    assert directory.principal(name) is None


def test_computer_is_found_with_and_without_its_dollar(ad: Lab, directory: ActiveDirectory) -> None:
    computer = directory.principal("WS1$")
    assert computer is not None
    assert computer.kind is PrincipalKind.COMPUTER
    assert computer.dns_host_name == f"ws1.{ad.dns_domain}"
    assert directory.principal("ws1") == computer


def test_group_managed_service_account_is_a_computer(ad: Lab, directory: ActiveDirectory) -> None:
    ad.ldapmodify(
        f"dn: CN=gmsa1,CN=Managed Service Accounts,{ad.base_dn}\nchangetype: add\n"
        "objectClass: msDS-GroupManagedServiceAccount\nsAMAccountName: gmsa1$\nuserAccountControl: 4096\n"
        f"dNSHostName: gmsa1.{ad.dns_domain}\nmsDS-ManagedPasswordInterval: 30\n"
    )
    account = directory.principal("gmsa1$")
    assert account is not None
    assert account.kind is PrincipalKind.COMPUTER
    assert account.dns_host_name == f"gmsa1.{ad.dns_domain}"
    assert account.enabled


def test_disabled_account_is_found_and_not_enabled(directory: ActiveDirectory) -> None:
    dave = directory.principal("dave")
    assert dave is not None
    assert not dave.enabled
    assert dave.obstacle is LogonFailure.DISABLED


def test_expired_account_is_not_enabled(ad: Lab, directory: ActiveDirectory) -> None:
    with administrator_of(ad) as connection:
        dn = f"CN=bob,CN=Users,{ad.base_dn}"
        connection.modify(dn, [Modification(Operation.REPLACE, "accountExpires", (b"133000000000000000",))])
        try:
            bob = directory.principal("bob")
            assert bob is not None
            assert bob.obstacle is LogonFailure.EXPIRED
        finally:
            connection.modify(dn, [Modification(Operation.REPLACE, "accountExpires", (b"9223372036854775807",))])
    directory.forget("bob")
    again = directory.principal("bob")
    assert again is not None
    assert again.enabled


def test_answer_is_kept_for_seconds_and_forgotten_on_demand(ad: Lab, directory: ActiveDirectory) -> None:
    before = directory.principal("carol")
    assert before is not None
    dn = f"CN=carol,CN=Users,{ad.base_dn}"
    with administrator_of(ad) as connection:
        connection.modify(dn, [Modification(Operation.REPLACE, "mail", (b"c@changed.example",))])
        try:
            assert directory.principal("carol") is before
            directory.forget(before.sid)
            after = directory.principal("carol")
            assert after is not None
            assert after.mail == "c@changed.example"
        finally:
            connection.modify(dn, [Modification(Operation.REPLACE, "mail", (before.mail.encode(),))])


def test_paging_reads_more_than_five_thousand_objects(ad: Lab) -> None:
    """Everything a global catalog knows, and some more. RFC 2696; a controller gives 1,000 entries at a time."""
    ad.on_controller(
        "/usr/bin/python3",
        "-c",
        f"""
import ldb
from samba.auth import system_session
from samba.param import LoadParm
from samba.samdb import SamDB
parameters = LoadParm(); parameters.load("{ad.folder}/samba/etc/smb.conf")
database = SamDB(url="{ad.folder}/samba/private/sam.ldb", session_info=system_session(), lp=parameters)
database.add({{"dn": "OU=Many,{ad.base_dn}", "objectClass": "organizationalUnit"}})
for start in range(0, 1500, 100):
    database.transaction_start()
    for number in range(start, start + 100):
        database.add({{"dn": f"CN=many {{number}},OU=Many,{ad.base_dn}", "objectClass": "contact"}})
    database.transaction_commit()
""",
    )
    with directory_of(ad, controllers=(f"{ad.controller}:3268",)) as catalog:
        found = catalog.pool.run(lambda connection: _names(connection, "", "(objectClass=*)"))
        some = catalog.pool.run(lambda connection: _names(connection, "", "(objectClass=contact)", 1001))
    assert len(found) > 5000
    assert len(set(found)) == len(found)
    assert len([dn for dn in found if ",OU=Many," in dn]) == 1500
    assert len(some) == 1001


def test_referrals_are_left_out(ad: Lab, directory: ActiveDirectory) -> None:
    """A search from the head of a domain is referred to other partitions; nothing of them is followed or shown."""
    found = directory.pool.run(lambda connection: _names(connection, ad.base_dn, "(objectClass=*)"))
    assert found
    assert all(dn.endswith(ad.base_dn) and "CN=Configuration," not in dn for dn in found)


def _names(connection: LdapConnection, base: str, filter: str, limit: int = 0) -> list[str]:
    return [entry.dn for entry in connection.search(base, Scope.SUBTREE, filter, ["cn"], size_limit=limit)]


# -- passwords -------------------------------------------------------------------------------------------------------


def test_right_password_is_accepted_and_a_wrong_one_refused_with_the_reason(
    ad: Lab, directory: ActiveDirectory
) -> None:
    assert directory.verify_password("alice", ad.user_password).account == f"{ad.netbios}\\alice"
    assert directory.verify_password("WS1$", ad.computer_password).kind is PrincipalKind.COMPUTER
    for name, password, reason in (
        ("alice", "wrong", LogonFailure.WRONG_PASSWORD),
        ("alice", "", LogonFailure.WRONG_PASSWORD),
        ("dave", ad.user_password, LogonFailure.DISABLED),
        ("nobody", ad.user_password, LogonFailure.UNKNOWN_ACCOUNT),
        ("Staff", ad.user_password, LogonFailure.NOT_A_LOGON_ACCOUNT),
    ):
        with pytest.raises(LogonRefused) as refused:
            directory.verify_password(name, password)
        assert refused.value.reason is reason


def test_password_goes_to_no_controller_that_cannot_prove_itself(ad: Lab) -> None:
    with (
        directory_of(ad, ca_file=ad.folder / "tls" / "nobody.pem") as directory,
        pytest.raises(CaUnreachable),
    ):
        directory.verify_password("alice", ad.user_password)


@pytest.mark.parametrize("with_tls", [False, True])
def test_directory_is_read_with_a_password_as_well(ad: Lab, with_tls: bool) -> None:
    """Sealed by Kerberos on port 389, or over TLS."""
    changes = {"keytab": None, "password": ad.service_password, "ca_file": ad.tls_ca if with_tls else None}
    with directory_of(ad, **changes) as directory:
        assert directory.principal("alice") is not None


def test_wrong_password_of_the_service_account_is_said_plainly(ad: Lab) -> None:
    with (
        directory_of(ad, keytab=None, password="wrong") as directory,
        pytest.raises(CaUnreachable, match=r"No domain controller .* answers"),
    ):
        directory.principal("alice")


# -- templates -------------------------------------------------------------------------------------------------------


def test_template_comes_back_from_the_directory_as_it_was_written(
    ad: Lab, directory: ActiveDirectory, cleared: list[str]
) -> None:
    template = _template(directory, "RoundTrip")
    with administrator_of(ad) as connection:
        add_template(connection, ad, template, directory.domain.sid)
        cleared.append(template_dn(ad, "RoundTrip"))
    found = directory.templates()["RoundTrip"]
    assert replace(found, security_descriptor="", unknown={}) == replace(template, security_descriptor="", unknown={})
    assert found.security_descriptor.startswith("O:")


def test_what_we_do_not_understand_survives(ad: Lab, directory: ActiveDirectory, cleared: list[str]) -> None:
    more = {"wWWHomePage": (b"https://pki.example",), "adminDescription": ("für später".encode(),)}
    with administrator_of(ad) as connection:
        add_template(connection, ad, _template(directory, "Extended"), directory.domain.sid, more)
        cleared.append(template_dn(ad, "Extended"))
        found = directory.templates()["Extended"]
        assert found.unknown == {"wWWHomePage": ("https://pki.example",), "adminDescription": ("für später",)}
        add_template(connection, ad, replace(found, cn="Copy", oid="1.2.3.4"), directory.domain.sid)
        cleared.append(template_dn(ad, "Copy"))
    directory.forget()
    assert directory.templates()["Copy"].unknown == found.unknown


def test_template_edited_with_another_tool_is_seen_at_the_next_question(
    ad: Lab, directory: ActiveDirectory, cleared: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "RECHECK", 0.0)
    with administrator_of(ad) as connection:
        add_template(connection, ad, _template(directory, "Edited"), directory.domain.sid)
        cleared.append(template_dn(ad, "Edited"))
    before = directory.templates()
    assert before["Edited"].minimal_key_size == 2048
    ad.ldapmodify(
        f"dn: {template_dn(ad, 'Edited')}\nchangetype: modify\nreplace: msPKI-Minimal-Key-Size\n"
        "msPKI-Minimal-Key-Size: 3072\n"
    )
    after = directory.templates()
    assert after["Edited"].minimal_key_size == 3072
    assert all(after[cn] is before[cn] for cn in before if cn != "Edited")


def test_deleted_template_is_gone_within_seconds(
    ad: Lab, directory: ActiveDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "RECHECK", 0.0)
    monkeypatch.setattr(services, "RELIST", 0.0)
    with administrator_of(ad) as connection:
        add_template(connection, ad, _template(directory, "Deleted"), directory.domain.sid)
        assert "Deleted" in directory.templates()
        connection.delete(template_dn(ad, "Deleted"))
    assert "Deleted" not in directory.templates()


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ({"msPKI-Enrollment-Flag": ()}, "has no msPKI-Enrollment-Flag"),
        ({"pKIExpirationPeriod": (b"\1\2",)}, "pKIExpirationPeriod"),
        ({"pKIKeyUsage": ()}, "has no pKIKeyUsage"),
        ({"msPKI-Cert-Template-OID": ()}, "msPKI-Cert-Template-OID is missing"),
    ],
)
def test_broken_template_is_passed_over_with_a_finding_and_the_others_work(
    ad: Lab,
    directory: ActiveDirectory,
    cleared: list[str],
    broken: dict[str, tuple[bytes, ...]],
    reason: str,
) -> None:
    with administrator_of(ad) as connection:
        add_template(connection, ad, _template(directory, "Broken"), directory.domain.sid, broken)
        cleared.append(template_dn(ad, "Broken"))
        add_template(connection, ad, _template(directory, "Sound"), directory.domain.sid)
        cleared.append(template_dn(ad, "Sound"))
    assert "Sound" in directory.templates()
    assert "Broken" not in directory.templates()
    finding = next(each for each in directory.findings() if each.cn == "Broken")
    assert reason in finding.reason


def test_template_whose_permissions_we_may_not_read_is_passed_over(
    ad: Lab, directory: ActiveDirectory, cleared: list[str]
) -> None:
    """Without the list of permissions nobody knows who may enroll, so nobody may."""
    sid = directory.domain.sid
    closed = replace(_template(directory, "Closed"), security_descriptor=f"O:DAG:DAD:P(A;;0xf01ff;;;{sid}-512)")
    with administrator_of(ad) as connection:
        add_template(connection, ad, closed, sid)
        cleared.append(template_dn(ad, "Closed"))
        entry = connection.read(template_dn(ad, "Closed"), ["*", "nTSecurityDescriptor"], sd_flags=7)
        assert entry is not None
        assert template_from_entry(entry).cn == "Closed"
    assert "Closed" not in directory.templates()


def test_enrollment_service_tells_what_a_ca_publishes(
    ad: Lab, directory: ActiveDirectory, cleared: list[str]
) -> None:
    publish_ca(ad, "Lab Test CA", "ca.example", b"\x30\x00\x05", ["User", "Workstation"])
    cleared.append(service_dn(ad, "Lab Test CA"))
    service = directory.enrollment_service("lab test ca")
    assert service is not None
    assert service.dns_host_name == "ca.example"
    assert set(service.templates) == {"User", "Workstation"}
    assert service.certificate == b"\x30\x00\x05"
    assert directory.enrollment_service("Another CA") is None


# -- writing ---------------------------------------------------------------------------------------------------------


def test_values_that_agree_up_to_a_zero_are_two_values(ad: Lab, cleared: list[str]) -> None:
    """Certificates are such values; each is added and removed by itself."""
    dn = service_dn(ad, "Two Values")
    first, second, third = b"\x30\x00one", b"\x30\x00two", b"\x30\x00TWO"
    publish_ca(ad, "Two Values", "ca.example", first, [])
    cleared.append(dn)
    with administrator_of(ad) as connection:

        def stored() -> set[bytes]:
            entry = connection.read(dn, ["cACertificate"])
            assert entry is not None
            return set(entry.values("cACertificate"))

        connection.modify(dn, [Modification(Operation.ADD, "cACertificate", (second, third))])
        assert stored() == {first, second, third}
        connection.modify(dn, [Modification(Operation.DELETE, "cACertificate", (second,))])
        assert stored() == {first, third}
        connection.modify(dn, [Modification(Operation.REPLACE, "cACertificate", (second, first))])
        assert stored() == {first, second}
        connection.modify(dn, [Modification(Operation.DELETE, "cACertificate")])
        assert stored() == set()


def test_what_a_controller_refuses_carries_its_code_and_words(ad: Lab, directory: ActiveDirectory) -> None:
    dn = template_dn(ad, "NotMine")
    with pytest.raises(LdapError) as refused, directory.pool.connection() as connection:
        connection.add(dn, {"objectClass": (b"top", b"pKICertificateTemplate")})
    assert refused.value.code == ResultCode.INSUFFICIENT_ACCESS_RIGHTS
    with directory.pool.connection() as connection:
        assert connection.read(dn, ["cn"]) is None
        assert connection.read("CN=NoContainer,DC=nowhere", ["cn"]) is None


# -- when a controller is down ---------------------------------------------------------------------------------------


def test_dead_controller_is_passed_over(ad: Lab) -> None:
    """The first one named refuses connections; the second answers."""
    with directory_of(ad, controllers=(f"{ad.controller}:390", ad.controller)) as directory:
        assert directory.principal("alice") is not None


def test_connection_lost_in_the_middle_is_made_again(ad: Lab, directory: ActiveDirectory) -> None:
    """Every connection of the pool is cut at the other end, as by a controller that starts anew."""
    assert directory.principal("alice") is not None
    ad.halt()
    ad.start()
    directory.forget("alice")
    assert directory.principal("alice") is not None


def test_down_directory_answers_from_memory_for_its_time_and_then_plainly_not(ad: Lab) -> None:
    now = 0.0
    settings: DomainSettings = settings_of(ad, cache_seconds=10.0, stale_seconds=20.0, timeout=1.0)
    directory = ActiveDirectory(LdapPool(settings, monotonic=lambda: now), settings, monotonic=lambda: now)
    alice = directory.principal("alice")
    templates = directory.templates()
    ad.halt()
    try:
        now = 5.0
        assert directory.principal("alice") is alice
        assert directory.templates() is templates
        with pytest.raises(LdapUnavailable, match=f"No domain controller of {ad.dns_domain} answers"):
            directory.principal("bob")
        now = 29.0
        assert directory.principal("alice") is alice
        assert directory.templates() is templates
        now = 31.0
        with pytest.raises(LdapUnavailable):
            directory.principal("alice")
        with pytest.raises(LdapUnavailable):
            directory.templates()
        assert directory.domain.netbios_name == ad.netbios
        assert alice is not None
        assert directory.sid_names(frozenset({alice.sid, Sid(f"{alice.sid}1")})) == {alice.sid: alice.account}
    finally:
        ad.start()
        directory.close()
    now = 40.0
    with directory_of(ad) as again:
        assert again.principal("alice") == alice
