"""Members and strangers enroll over CEP and CES of a CA in a real domain.

certmonger and samba-gpupdate are Debian's, the domain controller is Samba's; our helper stands where they look for
cepces-submit. Channel binding is required, as it is by default.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Final

import pytest

from certwright.adcs.template import CertificateTemplate, EnrollmentFlag, NameFlag
from certwright.directory.active_directory.subnets import Subnets
from certwright.directory.default_templates import default_templates, new_forest_arcs
from certwright.pki import armor, oids
from certwright.pki.certificate import CertificateView
from certwright.server.home import CONFIGURATION, AuthenticationSettings, Home
from tests.support.certmonger import MemberCertmonger
from tests.support.joined import (
    JoinedServer,
    add_template,
    administrator_of,
    directory_of,
    publish_ca,
    service_dn,
    template_dn,
)
from tests.support.lab import Lab
from tests.support.programs import openssl
from tests.support.server import free_ports

pytest.importorskip("gssapi", reason="the extra kerberos is not installed")
pytest.importorskip("krb5", reason="the extra kerberos is not installed")

MEMBER: Final = "ws3"
APPROVED: Final = "MachineByApproval"
KIOSK: Final = "Kiosk"


def templates_of(ad: Lab) -> list[CertificateTemplate]:
    """Machine, one that waits for an approval, one for machines that are no members."""
    with directory_of(ad) as directory:
        domain_sid = directory.domain.sid
    stock = {each.cn: each for each in default_templates(domain_sid, new_forest_arcs())}
    machine, web = stock["Machine"], stock["WebServer"]
    oid = f"{machine.oid.rpartition('.')[0]}.90"
    users = "(OA;;CR;0e10c968-78fb-11d2-90d4-00c04f79dc55;;DU)"
    both = (oids.EKU_CLIENT_AUTH, oids.EKU_SERVER_AUTH)
    return [
        machine,
        replace(
            machine,
            cn=APPROVED,
            display_name=APPROVED,
            schema_version=2,
            oid=f"{oid}1",
            application_policies=both,
            enrollment_flag=machine.enrollment_flag | EnrollmentFlag.PEND_ALL_REQUESTS,
        ),
        replace(
            web,
            cn=KIOSK,
            display_name=KIOSK,
            schema_version=2,
            oid=f"{oid}3",
            extended_key_usage=both,
            application_policies=both,
            name_flag=NameFlag.ENROLLEE_SUPPLIES_SUBJECT,
            enrollment_flag=EnrollmentFlag.PREVIOUS_APPROVAL_VALIDATE_REENROLLMENT
            | EnrollmentFlag.ALLOW_PREVIOUS_APPROVAL_KEYBASEDRENEWAL_VALIDATE_REENROLLMENT,
            security_descriptor=web.security_descriptor + users,
        ),
    ]


@pytest.fixture(scope="module")
def server(ad: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JoinedServer]:
    """A CA in the domain on port 443, where members look for it by its host name alone."""
    joined = JoinedServer.prepare(tmp_path_factory.mktemp("enrolling"), ad, "ENR", https_port=443)
    home = Home.open(joined.home)
    authentication = AuthenticationSettings(keytab=str(ad.keytab("http")))
    settings = replace(home.settings, authentication=authentication, certificate_port=free_ports(1)[0])
    (joined.home / CONFIGURATION).write_text(settings.to_toml())
    with directory_of(ad) as directory:
        domain_sid = directory.domain.sid
    templates = templates_of(ad)
    with administrator_of(ad) as connection:
        for each in templates:
            add_template(connection, ad, each, domain_sid)
    publish_ca(ad, joined.ca_name, joined.host, joined.certificate, [each.cn for each in templates])
    joined.cli("ca", "set", "renewal-on-behalf=on")
    joined.start()
    try:
        yield joined
    finally:
        joined.stop()
        with administrator_of(ad) as connection:
            connection.delete(service_dn(ad, joined.ca_name))
            for each in templates:
                connection.delete(template_dn(ad, each.cn))


@pytest.fixture(scope="module")
def helpers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program as an installation has it, made a helper by its own option."""
    folder = tmp_path_factory.mktemp("helpers")
    program = folder / "certwright-submit"
    program.write_text(f"#!{sys.executable}\nfrom certwright.cli.submitting import main\n\nmain()\n")
    program.chmod(0o755)
    subprocess.run([program, "--install-as", "cepces-submit", "--folder", folder], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def member(ad: Lab, server: JoinedServer, helpers: Path) -> Iterator[MemberCertmonger]:
    ad.member(MEMBER)
    with tempfile.TemporaryDirectory(prefix="cm-") as folder:  # a short path: a socket is in it
        daemon = MemberCertmonger(ad, MEMBER, Path(folder), helpers)
        yield daemon
        daemon.close()


@pytest.fixture(scope="module")
def autoenrolled(ad: Lab, server: JoinedServer, member: MemberCertmonger) -> MemberCertmonger:
    """The member after its group policy was applied; its CA is known to certmonger by the CA's name."""
    ad.autoenroll()
    member.update_policy()
    return member


def read(path: Path) -> CertificateView:
    return CertificateView.parse(armor.dearmor(path.read_bytes()))


def waiting(server: JoinedServer, template: str) -> str:
    """The newest request of a template that waits: group policy asks for every template that there is."""
    rows = server.json("request", "list", "--pending")
    return str(max(row["request_id"] for row in rows if row["template"] == template))


# -- joined members --------------------------------------------------------------------------------------------------


def test_group_policy_ends_with_a_certificate_in_place(
    ad: Lab, server: JoinedServer, autoenrolled: MemberCertmonger
) -> None:
    """Nothing was configured on the member but that it belongs to the domain and has our helper."""
    nickname = f"{server.ca_name}.Machine"
    autoenrolled.awaited(nickname, "MONITORING")

    folder = autoenrolled.state / "var/cache/samba/certs"
    certificate = read(folder / f"{nickname}.crt")
    assert [str(name) for name in certificate.alternative_names] == [f"DNS:{MEMBER}.{ad.dns_domain}"]
    assert certificate.sid == ad.on_controller("wbinfo", "-n", f"{MEMBER.upper()}$").split()[0]
    key = autoenrolled.state / "var/lib/samba/private/certs" / f"{nickname}.key"
    shown = openssl("x509", "-in", folder / f"{nickname}.crt", "-noout", "-pubkey")
    assert shown == openssl("pkey", "-in", key, "-pubout")
    logons = server.awaited_events(lambda event: event["event"] == "logon_accepted")
    assert {(event["account"], event["method"], event["binding"]) for event in logons} == {
        (rf"{ad.netbios}\{MEMBER.upper()}$", "Kerberos", "matched")
    }


def test_certmonger_knows_the_roots(server: JoinedServer, autoenrolled: MemberCertmonger, tmp_path: Path) -> None:
    roots = tmp_path / "roots.pem"
    path = autoenrolled.request(server.ca_name, "roots", "Machine", tmp_path, "-F", roots)
    autoenrolled.awaited("roots", "MONITORING")
    autoenrolled.until(roots.exists, "the roots are written")

    issuing = tmp_path / "issuing.pem"
    issuing.write_text(armor.armor(armor.CERTIFICATE, server.certificate))
    assert openssl("verify", "-CAfile", roots, "-untrusted", issuing, path)


def test_a_request_that_waits_is_collected_after_its_approval(
    server: JoinedServer, autoenrolled: MemberCertmonger, tmp_path: Path
) -> None:
    path = autoenrolled.request(server.ca_name, "approved", APPROVED, tmp_path)
    autoenrolled.awaited("approved", "CA_WORKING")
    assert not path.exists()

    server.cli("request", "issue", waiting(server, APPROVED))
    autoenrolled.run("getcert", "refresh", "-i", "approved")

    autoenrolled.awaited("approved", "MONITORING")
    assert read(path).template is not None


def test_a_denied_request_is_rejected_in_the_cas_words(
    server: JoinedServer, autoenrolled: MemberCertmonger, tmp_path: Path
) -> None:
    path = autoenrolled.request(server.ca_name, "denied", APPROVED, tmp_path)
    autoenrolled.awaited("denied", "CA_WORKING")

    server.cli("request", "deny", waiting(server, APPROVED), "--reason", "not in this house")
    autoenrolled.run("getcert", "refresh", "-i", "denied")

    autoenrolled.awaited("denied", "CA_REJECTED")
    assert "not in this house" in autoenrolled.run("getcert", "list", "-i", "denied")[1]
    assert not path.exists()


def test_certmonger_renews_before_the_end(
    server: JoinedServer, autoenrolled: MemberCertmonger, tmp_path: Path
) -> None:
    """Told to: by itself it looks at its certificates every half hour, and then does the same."""
    path = autoenrolled.request(server.ca_name, "renewed", "Machine", tmp_path)
    autoenrolled.awaited("renewed", "MONITORING")
    first = read(path)

    autoenrolled.run("getcert", "resubmit", "-i", "renewed")
    autoenrolled.until(lambda: read(path).serial != first.serial, "it is renewed")

    autoenrolled.awaited("renewed", "MONITORING")
    assert read(path).public_key_info == first.public_key_info
    assert read(path).alternative_names == first.alternative_names


def test_the_site_of_an_address_is_that_of_its_subnet(ad: Lab) -> None:
    """[MS-ADTS] 6.1.1.2.2.2.1."""
    site = "Default-First-Site-Name"
    sites = f"CN=Sites,CN=Configuration,{ad.base_dn}"
    dn = f"CN={ip_network(f'{ad.host_address}/29', strict=False)},CN=Subnets,{sites}"
    with administrator_of(ad) as connection, directory_of(ad) as directory:
        subnet = {"objectClass": (b"top", b"subnet"), "siteObject": (f"CN={site},{sites}".encode(),)}
        connection.add(dn, subnet)
        try:
            subnets = Subnets(directory.pool, lambda: directory.names.configuration)
            assert (subnets.site_of(ad.host_address), subnets.site_of("192.0.2.1")) == (site, "")
        finally:
            connection.delete(dn)


# -- our own client --------------------------------------------------------------------------------------------------


class Host:
    """This host as a client in the domain: commands without a home folder."""

    def __init__(self, ad: Lab, server: JoinedServer, folder: Path) -> None:
        self._ad, self._server = ad, server
        self.folder = folder

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        environment = {**self._ad.environment, "CERTWRIGHT_HOME": str(self.folder / "none"), "KRB5CCNAME": "MEMORY:x"}
        return subprocess.run(
            [sys.executable, "-m", "certwright", *map(str, arguments), "--state", str(self.folder / "state")],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env=environment,
            cwd=self.folder,
        )

    def enroll(self, word: str, template: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return self.run(
            *("enroll", "--policy", f"{self._server.https}/ADPolicyProvider_CEP_{word}/service.svc/CEP"),
            *("--template", template, "--ca-file", self._server.root_certificate),
            *("--key", "host.key", "--out", "host.crt", *arguments),
        )

    @property
    def certificate(self) -> CertificateView:
        return read(self.folder / "host.crt")

    @property
    def state(self) -> Any:
        (path,) = (self.folder / "state").glob("*.json")
        return json.loads(path.read_text())


@pytest.fixture
def host(ad: Lab, server: JoinedServer, tmp_path: Path) -> Host:
    return Host(ad, server, tmp_path)


def test_a_bound_kerberos_client_gets_polls_and_renews(ad: Lab, server: JoinedServer, host: Host) -> None:
    by_keytab = ("--auth", "kerberos", "--keytab", ad.keytab("ws1"), "--user", f"WS1$@{ad.realm}")
    since = len(server.events())

    asked = host.enroll("Kerberos", APPROVED, *by_keytab)
    assert asked.returncode == 3, asked.stderr
    server.cli("request", "issue", waiting(server, APPROVED))
    collected = host.enroll("Kerberos", APPROVED, *by_keytab)
    assert collected.returncode == 0, collected.stderr
    first = host.certificate
    renewed = host.run("renew", "host.crt")

    assert renewed.returncode in (0, 3), renewed.stderr
    if renewed.returncode == 0 and host.state["pending_id"]:
        server.cli("request", "issue", waiting(server, APPROVED))
        assert host.run("renew", "--due").returncode == 0
    assert host.certificate.serial != first.serial
    assert [str(name) for name in host.certificate.alternative_names] == [f"DNS:ws1.{ad.dns_domain}"]
    kerberos = server.awaited_events(
        lambda event: event["event"] == "logon_accepted" and event["method"] == "Kerberos", since
    )
    assert {(event["account"], event["binding"]) for event in kerberos} == {(rf"{ad.netbios}\WS1$", "matched")}


def test_policies_of_a_joined_domain_are_those_of_the_caller(ad: Lab, server: JoinedServer, host: Host) -> None:
    """A computer is offered the computers' templates, a user is not."""
    done = host.enroll(
        "Kerberos", "NoSuchTemplate", "--auth", "kerberos", "--keytab", ad.keytab("ws1"), "--user", f"WS1$@{ad.realm}"
    )
    by_user = host.enroll(
        "Kerberos",
        "NoSuchTemplate",
        "--auth",
        "kerberos",
        "--keytab",
        ad.keytab("alice"),
        "--user",
        f"alice@{ad.realm}",
    )

    assert f"offered are: Machine, {APPROVED}" in done.stderr
    assert f"offered are: {KIOSK}" in by_user.stderr
    assert "Machine" not in by_user.stderr


def test_a_stranger_enrolls_by_password_and_renews_with_its_old_certificate_alone(
    ad: Lab, server: JoinedServer, host: Host
) -> None:
    secret = host.folder / "password"
    secret.write_text(ad.user_password)
    name = f"kiosk7.{ad.dns_domain}"

    enrolled = host.enroll(
        "UsernamePassword", KIOSK, "--auth", "password", "--user", rf"{ad.netbios}\alice",
        "--password-file", secret, "--dns", name,
    )  # fmt: skip
    assert enrolled.returncode in (0, 3), enrolled.stderr
    if enrolled.returncode == 3:  # its name is nobody's to give: a certificate manager looks at it once
        server.cli("request", "issue", waiting(server, KIOSK))
        assert host.run("renew", "--due").returncode == 0
    first = host.certificate
    secret.unlink()
    renewed = host.run("renew", "host.crt")

    assert renewed.returncode == 0, renewed.stderr
    assert host.certificate.serial != first.serial
    assert host.certificate.public_key_info != first.public_key_info
    assert [str(each) for each in host.certificate.alternative_names] == [f"DNS:{name}"]
