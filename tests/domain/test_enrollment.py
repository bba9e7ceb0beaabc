"""A CA in a real domain: who asks, what they may have and what stands in it comes from Active Directory.

[MS-WCCE] 3.2.2.6.2.1.4; by /certsrv with Basic and a domain account, as a script does it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtensionOID

from certwright.adcs.requester import Sid
from certwright.directory.active_directory.ldap import Modification, Operation
from certwright.pki import armor
from tests.support.joined import (
    JoinedServer,
    administrator_of,
    directory_of,
    install_default_templates,
    join,
    publish_ca,
    service_dn,
    template_dn,
)
from tests.support.lab import Lab
from tests.support.requests import UPN, make_request, name, rsa_key

SID_EXTENSION = x509.ObjectIdentifier("1.3.6.1.4.1.311.25.2")
SID_IN_EXTENSION = re.compile(rb"S-1-5-21-[0-9-]+")


@pytest.fixture(scope="module")
def domain_sid(ad: Lab) -> Sid:
    with directory_of(ad) as directory:
        return directory.domain.sid


@pytest.fixture(scope="module")
def server(ad: Lab, domain_sid: Sid, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JoinedServer]:
    """The 33 defaults in the domain, the usual 11 published by one running CA."""
    templates = install_default_templates(ad, domain_sid)
    prepared = JoinedServer.prepare(tmp_path_factory.mktemp("joined"), ad)
    dead = f"{ad.controller}:390"  # the first one, to be passed over
    join(prepared.home, ad, controllers=(dead, ad.controller))
    publish_ca(ad, prepared.ca_name, prepared.host, prepared.certificate)
    running = prepared.start()
    yield running
    running.stop()
    with administrator_of(ad) as connection:
        connection.delete(service_dn(ad, running.ca_name))
        for cn in templates:
            connection.delete(template_dn(ad, cn))


def enroll(server: JoinedServer, account: str, password: str, template: str) -> tuple[x509.Certificate | None, str]:
    """One request at /certsrv: the certificate, or none, and the page."""
    request = make_request(rsa_key(), subject=name(("CN", "nobody gets this name")))
    with server.client(account, password) as client:
        page = client.post(
            "/certsrv/certfnsh.asp",
            data={
                "Mode": "newreq",
                "CertRequest": armor.armor(armor.CERTIFICATE_REQUEST, request),
                "CertAttrib": f"CertificateTemplate:{template}",
                "TargetStoreFlags": "0",
                "SaveCert": "yes",
            },
        ).text
        found = re.search(r"certnew\.cer\?ReqID=(\d+)&", page)
        if found is None:
            return None, page
        der = client.get(f"/certsrv/certnew.cer?ReqID={found.group(1)}&Enc=bin").content
    return x509.load_der_x509_certificate(der), page


def alternative_names(certificate: x509.Certificate) -> x509.SubjectAlternativeName:
    return certificate.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME).value  # type: ignore[return-value]


def sid_in(certificate: x509.Certificate) -> str:
    extension = certificate.extensions.get_extension_for_oid(SID_EXTENSION).value
    assert isinstance(extension, x509.UnrecognizedExtension)
    found = SID_IN_EXTENSION.search(extension.value)
    assert found is not None
    return found.group().decode()


def sid_of(lab: Lab, account: str) -> str:
    """By the domain's own tool."""
    return lab.on_controller("wbinfo", "-n", account).split()[0]


def test_subject_upn_and_sid_of_a_user_come_from_the_directory(ad: Lab, server: JoinedServer) -> None:
    certificate, page = enroll(server, rf"{ad.netbios}\alice", ad.user_password, "User")
    assert certificate is not None, page
    assert certificate.subject.rfc4514_string().startswith("1.2.840.113549.1.9.1=alice@")
    assert f"CN=alice,CN=Users,{ad.base_dn}" in certificate.subject.rfc4514_string()
    names = alternative_names(certificate)
    assert names.get_values_for_type(x509.RFC822Name) == [f"alice@{ad.dns_domain}"]
    others = names.get_values_for_type(x509.OtherName)
    assert [other.type_id.dotted_string for other in others] == [UPN]
    assert others[0].value.endswith(f"alice@{ad.dns_domain}".encode())
    assert sid_in(certificate) == sid_of(ad, "alice")


def test_computer_gets_its_dns_name(ad: Lab, server: JoinedServer) -> None:
    with administrator_of(ad) as connection:
        dn = service_dn(ad, server.ca_name)
        connection.modify(dn, [Modification(Operation.ADD, "certificateTemplates", (b"Workstation",))])
    certificate, page = enroll(server, rf"{ad.netbios}\WS1$", ad.computer_password, "Workstation")
    assert certificate is not None, page
    assert alternative_names(certificate).get_values_for_type(x509.DNSName) == [f"ws1.{ad.dns_domain}"]
    assert sid_in(certificate) == sid_of(ad, "WS1$")


def test_account_without_the_right_to_enroll_is_denied(ad: Lab, server: JoinedServer) -> None:
    certificate, page = enroll(server, rf"{ad.netbios}\bob", ad.user_password, "WebServer")
    assert certificate is None
    assert "0x80094012" in page


def test_user_may_not_have_what_is_for_computers(ad: Lab, server: JoinedServer) -> None:
    certificate, page = enroll(server, rf"{ad.netbios}\alice", ad.user_password, "Machine")
    assert certificate is None
    assert "0x80094012" in page


@pytest.mark.parametrize(
    ("account", "password"),
    [("alice", "wrong"), ("dave", None), ("nobody", None), (r".\alice", None)],
)
def test_who_cannot_log_on_gets_no_page(ad: Lab, server: JoinedServer, account: str, password: str | None) -> None:
    with server.client(account, password or ad.user_password) as client:
        assert client.get("/certsrv/").status_code == 401


def test_administrator_of_the_installation_is_called_by_a_dot(server: JoinedServer) -> None:
    with server.client(r".\Administrator", server.password) as client:
        page = client.get("/certsrv/")
    assert page.status_code == 200


@pytest.mark.parametrize(
    ("account", "template", "attribute", "code"),
    [
        ("bob", "User", "mail", "0x80094812"),  # CERTSRV_E_SUBJECT_EMAIL_REQUIRED
        ("WS1$", "Workstation", "dNSHostName", "0x8009480f"),  # CERTSRV_E_SUBJECT_DNS_REQUIRED
    ],
)
def test_missing_attribute_is_refused_with_its_code(
    ad: Lab, server: JoinedServer, account: str, template: str, attribute: str, code: str
) -> None:
    """[MS-WCCE] 3.2.2.6.2.1.4.5.9."""
    where = "Computers" if account.endswith("$") else "Users"
    password = ad.computer_password if account.endswith("$") else ad.user_password
    dn = f"CN={account.rstrip('$')},CN={where},{ad.base_dn}"
    with administrator_of(ad) as connection:
        entry = connection.read(dn, [attribute])
        assert entry is not None
        connection.modify(dn, [Modification(Operation.DELETE, attribute)])
        try:
            server.stop()  # a new process remembers nothing of the account
            server.start()
            certificate, page = enroll(server, f"{ad.netbios}\\{account}", password, template)
        finally:
            connection.modify(dn, [Modification(Operation.REPLACE, attribute, entry.values(attribute))])
    assert certificate is None
    assert code in page


def test_template_edited_with_another_tool_counts_at_the_next_request(ad: Lab, server: JoinedServer) -> None:
    """No security extension: CT_FLAG_NO_SECURITY_EXTENSION. [MS-CRTD] 2.26."""
    before, _ = enroll(server, f"carol@{ad.dns_domain}", ad.user_password, "ClientAuth")
    assert before is None  # not published
    with administrator_of(ad) as connection:
        dn = service_dn(ad, server.ca_name)
        connection.modify(dn, [Modification(Operation.ADD, "certificateTemplates", (b"ClientAuth",))])
        entry = connection.read(template_dn(ad, "ClientAuth"), ["msPKI-Enrollment-Flag"])
        assert entry is not None
        flag = entry.number("msPKI-Enrollment-Flag") | 0x80000
    ad.ldapmodify(
        f"dn: {template_dn(ad, 'ClientAuth')}\nchangetype: modify\nreplace: msPKI-Enrollment-Flag\n"
        f"msPKI-Enrollment-Flag: {flag}\n"
    )
    after, page = enroll(server, f"carol@{ad.dns_domain}", ad.user_password, "ClientAuth")
    assert after is not None, page
    assert SID_EXTENSION not in [extension.oid for extension in after.extensions]


def test_templates_of_the_domain_are_shown(server: JoinedServer) -> None:
    shown = {each["name"]: each for each in server.json("template", "list")}
    assert len(shown) >= 33
    assert shown["User"]["published"]
    assert not shown["CA"]["published"]
    rights = server.json("template", "show", "User")["rights"]
    assert any(name.endswith(r"\Domain Users") for name in rights["enroll"])


def test_groups_of_the_domain_hold_roles_on_the_ca(ad: Lab, server: JoinedServer, domain_sid: Sid) -> None:
    """carol is in CA Managers, which becomes the certificate managers' group."""
    who = rf"{ad.netbios}\carol"
    assert server.run("request", "list", "--as", who).returncode != 0
    group = ad.on_controller("wbinfo", "-n", "CA Managers").split()[0]
    roles = f"O:BAG:BAD:(A;;0xf;;;BA)(A;;0xf;;;DA)(A;;0x2;;;{group})(A;;0x200;;;AU)"
    server.cli("ca", "set", f"security-descriptor={roles}")
    assert server.run("request", "list", "--as", who).returncode == 0
    assert server.run("request", "list", "--as", rf"{ad.netbios}\bob").returncode != 0


def test_ca_answers_what_needs_no_directory_while_the_directory_is_down(ad: Lab, server: JoinedServer) -> None:
    """Nothing is issued; lists, CRLs and the command line go on, and so does a start."""
    server.stop()
    with directory_of(ad) as directory:
        join(server.home, ad, netbios=directory.domain.netbios_name, sid=directory.domain.sid)
    ad.halt()
    try:
        server.start()
        server.cli("ca", "publish-crl")
        assert server.json("request", "list")
        server.cli("tls", "renew")
        with server.client(r".\Administrator", server.password) as client:
            assert client.get("/certsrv/certcarc.asp").status_code == 200
        certificate, _ = enroll(server, rf"{ad.netbios}\alice", ad.user_password, "User")
        assert certificate is None
    finally:
        ad.start()
