"""From nothing to a domain that enrolls: joined, templates written, published, and taken back. As an administrator
does it, by the command line; what was written is read by OpenLDAP's and Samba's tools."""

from __future__ import annotations

import base64
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from certwright.adcs.events import AuditEvent
from certwright.directory.active_directory.ldap import Modification, Operation
from certwright.pki import armor
from certwright.server.composition import SYSTEM, Installation
from certwright.server.duties import publish_in_domain
from certwright.server.home import Home
from tests.domain.test_enrollment import enroll, sid_in, sid_of
from tests.support.joined import JoinedServer, administrator_of, services_dn, template_dn
from tests.support.lab import Lab
from tests.support.requests import make_request, name, rsa_key

GUIDE = Path(__file__).parents[2] / "docs/guide/active-directory.md"
READER = "svc-enroll"
NETBIOS = "PUB"


def as_administrator(lab: Lab, folder: Path) -> list[str]:
    """Options by which the domain's Administrator writes, once."""
    file = folder / "administrator.password"
    if not file.exists():
        file.touch(0o600)
        file.write_text(lab.administrator_password)
    return ["--user", "Administrator", "--user-password-file", str(file)]


def ldapsearch(lab: Lab, base: str, condition: str, *attributes: str) -> list[dict[str, list[str]]]:
    """What OpenLDAP's tool reads, as an ordinary user of the domain."""
    done = subprocess.run(
        [
            *("ldapsearch", "-LLL", "-o", "ldif-wrap=no", "-x", "-H", f"ldaps://{lab.controller}"),
            *("-D", f"alice@{lab.dns_domain}", "-w", lab.user_password, "-b", base, condition, *attributes),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env=dict(lab.environment),
    )
    found = []
    for block in done.stdout.strip().split("\n\n"):
        entry: dict[str, list[str]] = {}
        for line in block.splitlines():
            name, _, value = line.partition(": ")
            entry.setdefault(name.rstrip(":"), []).append(value)
        if "dn" in entry:
            found.append(entry)
    return found


def doctor(server: JoinedServer) -> list[dict[str, str]]:
    """What `doctor domain` says is wrong, or could be better."""
    done = server.run("doctor", "domain", "--json")
    told = json.loads(done.stdout)
    assert done.returncode == (0 if told["sound"] else 1)
    return [each for each in told["checks"] if each["verdict"] != "ok"]


def joined_arguments(lab: Lab) -> list[str]:
    return [
        *("domain", "join", lab.dns_domain, "--account", READER, "--keytab", str(lab.keytab(READER))),
        *("--controller", lab.controller, "--ca-file", str(lab.tls_ca)),
    ]


def lines_of_the_guide(lab: Lab, administrator_password: str) -> list[str]:
    """What its page tells to type, from joining to the doctor, word for word but for the names of the domain."""
    text = GUIDE.read_text("utf-8")
    part = text[text.index("## Joining") : text.index("## The section of certwright.toml")]
    for example, ours in (
        ("dc1.corp.example", lab.controller),
        ("ca.corp.example", lab.ca_host),
        ("corp.example", lab.dns_domain),
        ("svc-pki.keytab", str(lab.keytab(READER))),
        ("svc-pki", READER),
        ("corp-root.pem", str(lab.tls_ca)),
        ("administrator.password", administrator_password),
        ("CORP", lab.netbios),
    ):
        part = part.replace(example, ours)
    blocks = re.findall(r"^```sh\n(.*?)^```", part, re.MULTILINE | re.DOTALL)
    lines = [line.removeprefix("certwright ") for block in blocks for line in block.splitlines()]
    return [line for line in lines if "--write" not in line or shutil.which("smbclient") is not None]


@pytest.fixture(scope="module")
def server(ad: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JoinedServer]:
    """As the guide's page says it: joined, the 33 defaults in the domain, published; and running.

    Everything is taken out of the domain again.
    """
    folder = tmp_path_factory.mktemp("publication")
    prepared = JoinedServer.prepare(folder, ad, NETBIOS, joined=False)
    text = prepared.home / "certwright.toml"
    text.write_text(text.read_text().replace('format = "auto"', 'format = "json"'))
    administrator = as_administrator(ad, folder)
    for line in lines_of_the_guide(ad, administrator[-1]):
        prepared.cli(*shlex.split(line))
    prepared.cli("template", *administrator, "delete", "StaffUser")  # the guide's example
    running = prepared.start()
    yield running
    running.stop()
    running.cli("domain", "unpublish", *as_administrator(ad, folder))
    with administrator_of(ad) as connection:
        base = services_dn(ad)
        for entry in ldapsearch(ad, f"CN=Certificate Templates,{base}", "(objectClass=pKICertificateTemplate)", "cn"):
            connection.delete(entry["dn"][0])
        for entry in ldapsearch(ad, f"CN=OID,{base}", "(flags=1)", "cn"):
            connection.delete(entry["dn"][0])


@pytest.fixture(scope="module")
def other(ad: Lab, tmp_path_factory: pytest.TempPathFactory) -> JoinedServer:
    """A second installation with CAs of the same names, on the same host; it belongs to no domain."""
    return JoinedServer.prepare(tmp_path_factory.mktemp("other"), ad, NETBIOS, joined=False)


@pytest.fixture
def administrator(ad: Lab, server: JoinedServer) -> list[str]:
    return as_administrator(ad, server.home.parent)


# -- joining ---------------------------------------------------------------------------------------------------------


def test_nothing_is_written_when_the_account_is_not_let_in(ad: Lab, other: JoinedServer) -> None:
    """What an administrator of the domain has to do is told instead."""
    server = other
    before = (server.home / "certwright.toml").read_text()
    arguments = joined_arguments(ad)
    arguments[5:7] = ["--password-file", "-"]
    done = server.run(*arguments, data="wrong")
    assert done.returncode == 1
    assert re.search(r"^wrong  bind  ", done.stdout, re.MULTILINE)
    assert f"setspn -S HTTP/{ad.ca_host} " in done.stdout
    assert "ktpass /princ HTTP/" in done.stdout
    assert (server.home / "certwright.toml").read_text() == before
    assert not (server.home / "domain.password").exists()


def test_join_with_a_password_and_leave(ad: Lab, other: JoinedServer) -> None:
    """The password comes from standard input and stays in the home folder, for its owner; leaving restores."""
    server = other
    before = (server.home / "certwright.toml").read_text()
    arguments = joined_arguments(ad)
    arguments[5:7] = ["--password-file", "-"]
    server.cli(*arguments, data=ad.service_password)
    kept = server.home / "domain.password"
    assert kept.read_text().strip() == ad.service_password
    assert kept.stat().st_mode & 0o777 == 0o600
    shown = server.json("domain", "show")
    assert shown["domain"] == ad.dns_domain
    assert shown["sid"] == sid_of(ad, "alice").rpartition("-")[0]
    assert server.run("domain", "test").returncode == 0
    assert "already; leave it first" in server.run(*arguments, data="x").stderr
    server.cli("domain", "leave")
    assert (server.home / "certwright.toml").read_text() == before
    assert not kept.exists()
    told = [each["details"]["change"] for each in server.json("audit", "list", "--event", "9012")]
    assert told == ["left", "joined"]


def test_joining_is_refused_while_requests_wait(ad: Lab, other: JoinedServer, tmp_path: Path) -> None:
    """Afterwards nobody would know who asked."""
    csr = tmp_path / "web.csr"
    csr.write_text(armor.armor(armor.CERTIFICATE_REQUEST, make_request(rsa_key(), subject=name(("CN", "web.other")))))
    other.run("request", "submit", csr, "--template", "WebServer")
    (waiting,) = other.json("request", "list", "--pending")
    refused = other.run(*joined_arguments(ad))
    assert refused.returncode == 1
    assert "Requests wait for a certificate manager (1 at " in refused.stderr
    other.cli("request", "deny", str(waiting["request_id"]))


def test_leaving_is_refused_while_the_ca_is_published(server: JoinedServer) -> None:
    done = server.run("domain", "leave")
    assert done.returncode == 1
    assert "domain unpublish" in done.stderr


# -- what others see -------------------------------------------------------------------------------------------------


def test_other_tools_list_the_ca_and_its_templates(ad: Lab, server: JoinedServer) -> None:
    """[MS-WCCE] 2.2.2.11."""
    base = services_dn(ad)
    (service,) = ldapsearch(ad, f"CN=Enrollment Services,{base}", "(objectClass=pKIEnrollmentService)")
    assert service["cn"] == [server.ca_name]
    assert service["dNSHostName"] == [ad.ca_host]
    assert service["flags"] == ["10"]
    assert service["msPKI-Site-Name"] == ["Default-First-Site-Name"]
    assert service["cACertificateDN"] == [f"CN={server.ca_name},DC=emb,DC=example"]
    assert "User" in service["certificateTemplates"]
    assert len(service["certificateTemplates"]) == 11
    encoded = base64.b64encode(server.certificate).decode()
    assert service["cACertificate"] == [encoded]
    (ntauth,) = ldapsearch(ad, f"CN=NTAuthCertificates,{base}", "(objectClass=*)")
    assert encoded in ntauth["cACertificate"]
    (aia,) = ldapsearch(ad, f"CN=AIA,{base}", f"(cn={server.ca_name})")
    assert aia["cACertificate"] == [encoded]
    (root,) = ldapsearch(ad, f"CN=Certification Authorities,{base}", f"(cn={NETBIOS} Root CA)")
    root_der = armor.dearmor(server.cli("ca", "certificate", f"{NETBIOS} Root CA"))
    assert root["cACertificate"] == [base64.b64encode(root_der).decode()]
    assert ldapsearch(ad, f"CN=KRA,{base}", f"(cn={server.ca_name})")


def test_samba_reads_what_its_group_policy_looks_for(ad: Lab, server: JoinedServer) -> None:
    """samba-gpupdate asks for these attributes of every enrollment service."""
    said = ad.on_controller(
        *("ldbsearch", "-H", f"{ad.folder}/samba/private/sam.ldb"),
        *("-b", f"CN=Configuration,{ad.base_dn}", "(objectClass=pKIEnrollmentService)"),
        *("cn", "dNSHostName", "certificateTemplates"),
    )
    assert f"dNSHostName: {ad.ca_host}" in said
    assert "certificateTemplates: User" in said


def test_published_crl_is_the_newest(ad: Lab, server: JoinedServer) -> None:
    """By the service account, as soon as it is made."""
    server.cli("ca", "publish-crl")
    newest = armor.dearmor(server.cli("ca", "crl"))
    host = ad.ca_host.partition(".")[0].upper()
    (point,) = ldapsearch(ad, f"CN={host},CN=CDP,{services_dn(ad)}", f"(cn={server.ca_name})")
    assert base64.b64decode(point["certificateRevocationList"][0]) == newest


def test_publishing_again_changes_nothing(server: JoinedServer, administrator: list[str]) -> None:
    done = server.run("domain", "publish", *administrator)
    assert done.returncode == 0
    assert done.stdout == ""
    assert "Nothing has to change" in done.stderr


def test_difference_is_shown_and_not_written_by_a_dry_run(
    ad: Lab, server: JoinedServer, administrator: list[str]
) -> None:
    server.cli("ca", "set", "enrollment-servers=1 kerberos https://ca.example/Pub_CES_Kerberos/service.svc/CES")
    try:
        shown = server.cli("domain", "publish", "--dry-run")
        line = "msPKI-Enrollment-Servers: 1 2 0 https://ca.example/Pub_CES_Kerberos/service.svc/CES 0"
        assert f"+ {line}" in shown
        base = f"CN=Enrollment Services,{services_dn(ad)}"
        (service,) = ldapsearch(ad, base, "(objectClass=pKIEnrollmentService)", "msPKI-Enrollment-Servers")
        own = base64.b64decode(service["msPKI-Enrollment-Servers"][0]).decode().splitlines()
        assert own[1] == "4"  # by user name: there is no keytab of HTTP/ here
        assert own[3].startswith(f"{server.https}/{NETBIOS}%20Issuing%20CA_CES_UsernamePassword/")
        server.cli("domain", "publish")  # the service account may: the object is this CA's
        (service,) = ldapsearch(ad, base, "(objectClass=pKIEnrollmentService)", "msPKI-Enrollment-Servers")
        told = base64.b64decode(service["msPKI-Enrollment-Servers"][0]).decode()
        assert told == "1\n2\n0\nhttps://ca.example/Pub_CES_Kerberos/service.svc/CES\n0"
    finally:
        server.cli("ca", "set", "enrollment-servers=")


def test_the_entry_names_the_site_of_this_host_or_the_one_that_is_named(ad: Lab, server: JoinedServer) -> None:
    """Clients prefer CAs of their own site; a name of none is not written. [MS-WCCE] 3.1.1.3, msPKI-Site-Name."""
    sites = f"CN=Sites,CN=Configuration,{ad.base_dn}"

    def written() -> list[str]:
        base = f"CN=Enrollment Services,{services_dn(ad)}"
        (service,) = ldapsearch(ad, base, "(objectClass=pKIEnrollmentService)", "msPKI-Site-Name")
        return service["msPKI-Site-Name"]

    assert written() == ["Default-First-Site-Name"]
    refused = server.run("domain", "publish", "--site", "Nowhere")
    assert refused.returncode == 1
    assert "no site Nowhere" in refused.stderr
    with administrator_of(ad) as connection:
        connection.add(f"CN=Branch,{sites}", {"objectClass": (b"top", b"site")})
        try:
            assert "+ msPKI-Site-Name: Branch" in server.cli("domain", "publish", "--site", "Branch")
            assert written() == ["Branch"]
            with Installation.open(Home.open(server.home)) as installation:
                publish_in_domain(installation, installation.clock())
            assert written() == ["Branch"]  # the clock keeps it so
        finally:
            connection.delete(f"CN=Branch,{sites}")
    server.cli("domain", "publish", "--site", "")
    assert written() == ["Default-First-Site-Name"]


def test_clock_puts_right_what_somebody_changed(ad: Lab, server: JoinedServer) -> None:
    """As the service account, and audited as done by the system."""
    dn = f"CN={server.ca_name},CN=Enrollment Services,{services_dn(ad)}"
    ad.ldapmodify(f"dn: {dn}\nchangetype: modify\nreplace: dNSHostName\ndNSHostName: gone.{ad.dns_domain}\n")
    with Installation.open(Home.open(server.home)) as installation:
        publish_in_domain(installation, installation.clock())
        (event,) = installation.audit.events(event=int(AuditEvent.DOMAIN_PUBLICATION_CHANGED), limit=1)
    (service,) = ldapsearch(ad, dn, "(objectClass=*)", "dNSHostName")
    assert service["dNSHostName"] == [ad.ca_host]
    assert event.actor == SYSTEM
    assert event.details["written_as"] == rf"{ad.netbios}\{READER}"


def test_rights_that_are_missing_are_named(ad: Lab, server: JoinedServer, administrator: list[str]) -> None:
    """The service account may not write NTAuthCertificates; nobody but administrators of the forest should."""
    dn = f"CN=NTAuthCertificates,{services_dn(ad)}"
    with administrator_of(ad) as connection:
        connection.delete(dn)
    (found,) = [each for each in doctor(server) if each["name"] == "rights"]
    assert found["verdict"] == "wrong"
    assert "lacks Create certificationAuthority objects" in found["sentence"]
    done = server.run("domain", "publish")
    assert done.returncode == 1
    assert f'dsacls "{services_dn(ad)}" /G "{ad.netbios}\\{READER}:CC;certificationAuthority"' in done.stderr
    server.cli("domain", "publish", *administrator)
    assert ldapsearch(ad, dn, "(objectClass=*)")


def test_what_other_cas_have_stays(ad: Lab, server: JoinedServer, administrator: list[str]) -> None:
    """Taken back and published again; another CA's certificate in the common store is untouched."""
    dn = f"CN=NTAuthCertificates,{services_dn(ad)}"
    root = armor.dearmor(server.cli("ca", "certificate", f"{NETBIOS} Root CA"))  # of some other CA
    with administrator_of(ad) as connection:
        connection.modify(dn, [Modification(Operation.ADD, "cACertificate", (root,))])
    try:
        server.cli("domain", "unpublish", *administrator)
        (ntauth,) = ldapsearch(ad, dn, "(objectClass=*)")
        assert ntauth["cACertificate"] == [base64.b64encode(root).decode()]
        base = services_dn(ad)
        for container in ("Enrollment Services", "AIA", "Certification Authorities", "CDP", "KRA"):
            listed = [entry["dn"][0] for entry in ldapsearch(ad, f"CN={container},{base}", "(objectClass=*)", "cn")]
            assert listed == [f"CN={container},{base}"], container
        assert server.json("domain", "show")["published"] == []
    finally:
        server.cli("domain", "publish", *administrator)
        with administrator_of(ad) as connection:
            connection.modify(dn, [Modification(Operation.DELETE, "cACertificate", (root,))])


# -- templates -------------------------------------------------------------------------------------------------------


def test_a_domain_without_templates_has_the_defaults_now(ad: Lab, server: JoinedServer) -> None:
    base = services_dn(ad)
    templates = ldapsearch(ad, f"CN=Certificate Templates,{base}", "(objectClass=pKICertificateTemplate)")
    assert len(templates) == 33
    assert [each for each in doctor(server) if each["verdict"] == "wrong"] == []
    oids = ldapsearch(ad, f"CN=OID,{base}", "(&(objectClass=msPKI-Enterprise-Oid)(flags=1))")
    named = {entry["msPKI-Cert-Template-OID"][0]: entry["displayName"][0] for entry in oids}
    for template in templates:
        assert named[template["msPKI-Cert-Template-OID"][0]] == template["displayName"][0]
    done = server.run("template", "install-defaults")
    assert done.returncode == 0
    assert done.stdout == ""


def test_alice_and_ws1_enroll_and_bob_is_denied(ad: Lab, server: JoinedServer) -> None:
    certificate, page = enroll(server, rf"{ad.netbios}\alice", ad.user_password, "User")
    assert certificate is not None, page
    assert sid_in(certificate) == sid_of(ad, "alice")
    machine, page = enroll(server, rf"{ad.netbios}\WS1$", ad.computer_password, "Machine")
    assert machine is not None, page
    denied, page = enroll(server, rf"{ad.netbios}\bob", ad.user_password, "WebServer")
    assert denied is None
    assert "0x80094012" in page


def test_template_made_here_is_used_and_a_change_by_another_tool_counts_at_once(
    ad: Lab, server: JoinedServer, administrator: list[str]
) -> None:
    """Duplicated, secured, published; then edited with ldapmodify. What we do not understand survives our edits."""
    server.cli("template", *administrator, "duplicate", "User", "StaffUser", "--display-name", "Staff users")
    try:
        server.cli("template", *administrator, "revoke", "StaffUser", rf"{ad.netbios}\Domain Users", "--enroll")
        server.cli("template", *administrator, "grant", "StaffUser", rf"{ad.netbios}\Staff", "--enroll")
        server.cli("template", "publish", "StaffUser")
        certificate, page = enroll(server, rf"{ad.netbios}\alice", ad.user_password, "StaffUser")
        assert certificate is not None, page
        denied, page = enroll(server, rf"{ad.netbios}\bob", ad.user_password, "StaffUser")
        assert denied is None
        assert "0x80094012" in page

        dn = template_dn(ad, "StaffUser")
        ten_days = base64.b64encode((-10 * 86400 * 10**7).to_bytes(8, "little", signed=True)).decode()
        one_day = base64.b64encode((-86400 * 10**7).to_bytes(8, "little", signed=True)).decode()
        ad.ldapmodify(
            f"dn: {dn}\nchangetype: modify\nreplace: pKIExpirationPeriod\npKIExpirationPeriod:: {ten_days}\n-\n"
            f"replace: pKIOverlapPeriod\npKIOverlapPeriod:: {one_day}\n-\n"
            "add: adminDescription\nadminDescription: kept by nobody but the directory\n"
        )
        shorter, page = enroll(server, rf"{ad.netbios}\alice", ad.user_password, "StaffUser")
        assert shorter is not None, page
        assert (shorter.not_valid_after_utc - shorter.not_valid_before_utc).days == 10

        server.cli("template", *administrator, "set", "StaffUser", "superseded-templates=User")
        (entry,) = ldapsearch(ad, dn, "(objectClass=*)")
        assert entry["adminDescription"] == ["kept by nobody but the directory"]
        assert entry["msPKI-Supersede-Templates"] == ["User"]
    finally:
        server.run("template", "unpublish", "StaffUser")
        server.cli("template", *administrator, "delete", "StaffUser")
    assert ldapsearch(ad, f"CN=OID,{services_dn(ad)}", "(displayName=Staff users)") == []


def test_name_rules_of_a_domains_template_are_kept_here(
    ad: Lab, server: JoinedServer, administrator: list[str]
) -> None:
    """They take no right in the domain, leave its object alone, count at once, and let the template be opened."""
    dn, staff = template_dn(ad, "WebServer"), rf"{ad.netbios}\Staff"
    (before,) = ldapsearch(ad, dn, "(objectClass=*)")
    server.cli("template", "set", "WebServer", "name-rules.dns-suffixes=")  # the guide's example
    refused = server.run("template", *administrator, "grant", "WebServer", staff, "--enroll")
    assert "ESC17" in refused.stderr
    server.cli("template", "set", "WebServer", f"name-rules.dns-suffixes={ad.dns_domain}")
    (after,) = ldapsearch(ad, dn, "(objectClass=*)")
    assert after == before
    try:
        server.cli("template", *administrator, "grant", "WebServer", staff, "--enroll")
        assert ask_for(ad, server, f"web.{ad.dns_domain}").status_code == 200
        assert "certnew.cer?ReqID=" in ask_for(ad, server, f"web.{ad.dns_domain}").text
        outside = ask_for(ad, server, "web.other.example").text
        assert "certnew.cer?ReqID=" not in outside
        assert "taken under submission" in outside.lower() or "pending" in outside.lower()
        shown = server.json("template", "show", "WebServer")
        assert shown["name_rules"] if "name_rules" in shown else shown["nameRules"]
    finally:
        server.cli("template", *administrator, "revoke", "WebServer", staff, "--enroll")
        server.cli("template", "set", "WebServer", "name-rules.dns-suffixes=")


def ask_for(ad: Lab, server: JoinedServer, host: str) -> Any:
    """alice asks for a web server's certificate of this name."""
    request = make_request(rsa_key(), subject=name(("CN", host)))
    form = {"Mode": "newreq", "CertRequest": armor.armor(armor.CERTIFICATE_REQUEST, request)}
    form |= {"CertAttrib": "CertificateTemplate:WebServer", "TargetStoreFlags": "0", "SaveCert": "yes"}
    with server.client(rf"{ad.netbios}\alice", ad.user_password) as client:
        return client.post("/certsrv/certfnsh.asp", data=form)


def test_service_account_without_rights_is_told_which(ad: Lab, server: JoinedServer) -> None:
    refused = server.run("template", "set", "User", "minimal-key-size=3072")
    assert refused.returncode == 1
    assert "--user, --user-password-file" in refused.stderr
    assert f"{ad.netbios}\\{READER}:" in refused.stderr


def test_permissions_are_written_by_kerberos_too(ad: Lab, server: JoinedServer, administrator: list[str]) -> None:
    """A delegated account holds the list of permissions and no privilege: [MS-ADTS] 3.1.1.3.4.1.11."""
    server.cli("template", *administrator, "duplicate", "User", "Delegated")
    try:
        server.cli("template", *administrator, "grant", "Delegated", READER, "--enroll")
        ad.on_controller(
            *("samba-tool", "dsacl", "set", f"--objectdn={template_dn(ad, 'Delegated')}"),
            *(f"--sddl=(A;;RPWPWDLCLORC;;;{sid_of(ad, READER)})", "--action=allow"),
            *("-H", f"{ad.folder}/samba/private/sam.ldb"),
        )
        server.cli("template", "grant", "Delegated", rf"{ad.netbios}\carol", "--enroll", "--accept-risk", "ESC4")
        assert rf"{ad.netbios}\carol" in server.json("template", "show", "Delegated")["rights"]["enroll"]
    finally:
        server.cli("template", *administrator, "delete", "Delegated")


def test_schema_versions_keep_their_attributes(ad: Lab, server: JoinedServer, administrator: list[str]) -> None:
    """A template of version 1 gains none of version 2 by an edit. [MS-CRTD] 2."""
    dn = template_dn(ad, "EFS")
    (before,) = ldapsearch(ad, dn, "(objectClass=*)")
    server.cli("template", *administrator, "set", "EFS", "display-name=Basic EFS 1")
    (after,) = ldapsearch(ad, dn, "(objectClass=*)")
    server.cli("template", *administrator, "set", "EFS", "display-name=Basic EFS")
    moved = {"displayName", "flags", "whenChanged", "uSNChanged", "msPKI-Template-Minor-Revision", "revision"}
    assert {key: value for key, value in before.items() if key not in moved} == {
        key: value for key, value in after.items() if key not in moved
    }


def test_ca_of_the_same_name_on_another_host_is_refused(
    ad: Lab, server: JoinedServer, other: JoinedServer, administrator: list[str]
) -> None:
    other.cli("ca", "set", f"dns-name=pki.{ad.dns_domain}")
    other.cli(*joined_arguments(ad))
    refused = other.run("domain", "publish", *administrator)
    assert refused.returncode == 1
    assert "belongs to another CA" in refused.stderr
