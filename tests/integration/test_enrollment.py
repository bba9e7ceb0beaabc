"""The main walk on a real server: unmodified clients get certificates, and everybody can verify them."""

from __future__ import annotations

import urllib.request
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.integration.clients import certsrv, curl, request_pem, saved
from tests.support.programs import certtool, openssl
from tests.support.server import ADMINISTRATOR, DOMAIN, RunningServer


@pytest.mark.parametrize("method", ["basic", "ntlm"])
def test_an_unmodified_client_gets_a_certificate(server: RunningServer, method: str) -> None:
    """PyPI certsrv: request, CA certificate, chain, and the same certificate again by its request ID."""
    client = certsrv(server, method)

    certificate = x509.load_pem_x509_certificate(client.get_cert(request_pem(f"{method}.{DOMAIN}"), "WebServer"))
    newest = server.json("request", "list", "--limit", "1")[0]

    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [f"{method}.{DOMAIN}"]
    assert newest["disposition"] == "issued"
    assert newest["method"].lower() == method
    assert int(newest["serial_number"], 16) == certificate.serial_number
    again = client.get_existing_cert(newest["request_id"])
    assert x509.load_pem_x509_certificate(again) == certificate
    assert b"BEGIN CERTIFICATE" in client.get_ca_cert()
    chain = openssl("pkcs7", "-inform", "DER", "-print_certs", data=client.get_chain())
    assert chain.count("BEGIN CERTIFICATE") == 2


def test_everybody_can_verify_it_and_its_crl_is_where_it_says(server: RunningServer, tmp_path: Path) -> None:
    """OpenSSL and GnuTLS, from the root alone; CDP and AIA lead to what they promise. RFC 5280 4.2.1.13, 4.2.2.1."""
    leaf = saved(tmp_path, "leaf.pem", certsrv(server, "ntlm").get_cert(request_pem(), "WebServer"))
    certificate = x509.load_pem_x509_certificate(leaf.read_bytes())
    cdp = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    aia = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    crl_url = str((cdp[0].full_name or [])[0].value)
    issuer_url = next(each.access_location.value for each in aia)

    crl = saved(tmp_path, "crl.der", fetch(crl_url))
    issuer = saved(tmp_path, "issuer.der", fetch(issuer_url))
    openssl("x509", "-inform", "DER", "-in", issuer, "-out", tmp_path / "issuer.pem")
    openssl("crl", "-inform", "DER", "-in", crl, "-out", tmp_path / "crl.pem")
    root_crl = saved(tmp_path, "root.der", fetch(f"{server.http}/CertEnroll/CORP%20Root%20CA.crl"))
    openssl("crl", "-inform", "DER", "-in", root_crl, "-out", tmp_path / "root-crl.pem")

    checked = openssl(
        *("verify", "-x509_strict", "-crl_check_all", "-CAfile", server.root_certificate),
        *("-untrusted", tmp_path / "issuer.pem", "-CRLfile", tmp_path / "crl.pem"),
        *("-CRLfile", tmp_path / "root-crl.pem", "-purpose", "sslserver", leaf),
    )
    chain = saved(
        tmp_path, "chain.pem", leaf.read_bytes() + (tmp_path / "issuer.pem").read_bytes() + root_bytes(server)
    )
    verified = certtool("--verify-chain", "--infile", chain)

    assert checked.endswith(": OK\n")
    assert "Verified" in verified or "verified" in verified


def test_the_chain_of_the_command_line_begins_with_the_issuing_ca(server: RunningServer) -> None:
    chain = x509.load_pem_x509_certificates(server.cli("ca", "chain").encode())

    assert len(chain) == 2
    assert chain[1].public_bytes(Encoding.DER) == x509.load_pem_x509_certificate(root_bytes(server)).public_bytes(
        Encoding.DER
    )
    chain[0].verify_directly_issued_by(chain[1])


def test_ntlm_without_bindings_is_refused_until_it_is_allowed(server: RunningServer) -> None:
    """curl sends neither bindings nor a MIC. A changed setting holds at once, without a restart."""
    ask = ("--ntlm", "-u", rf"{ADMINISTRATOR}:{server.password}", f"{server.https}/certsrv/certrqxt.asp")

    required, _ = curl(server, *ask)
    server.cli("ca", "set", "channel-binding=allow")
    try:
        allowed, page = curl(server, *ask)
    finally:
        server.cli("ca", "set", "channel-binding=require")
    again, _ = curl(server, *ask)

    assert [required, allowed, again] == [401, 200, 401]
    assert "certfnsh.asp" in page


def test_a_wrong_password_and_an_unknown_account_look_alike(server: RunningServer) -> None:
    answers = [
        curl(server, "-u", rf"CORP\{name}:wrong-password-1", f"{server.https}/certsrv/")
        for name in ("alice", "nobody")
    ]

    assert {status for status, _ in answers} == {401}
    bodies = {page.partition("<")[2] for _, page in answers}
    assert len(bodies) == 1


def test_names_outside_the_rules_wait_and_are_issued_by_an_officer(server: RunningServer) -> None:
    """Submit, wait, approve, fetch: docs/adr/0006."""
    library = pytest.importorskip("certsrv")
    client = certsrv(server, "ntlm")

    with pytest.raises(library.CertificatePendingException) as pending:
        client.get_cert(request_pem("www.elsewhere.example"), "WebServer")
    request_id = pending.value.req_id
    shown = server.json("request", "show", request_id)
    waiting = server.json("request", "list", "--pending")
    server.cli("request", "issue", request_id)
    certificate = x509.load_pem_x509_certificate(client.get_existing_cert(request_id))

    assert "www.elsewhere.example" in shown["message"]
    assert shown["preview"]["would_issue"]
    assert request_id in [str(row["request_id"]) for row in waiting]
    assert certificate.subject.rfc4514_string() == "CN=www.elsewhere.example"


def test_a_user_of_the_directory_gets_what_the_directory_says(server: RunningServer, tmp_path: Path) -> None:
    """The subject of template User comes from the account; what the request names is not honoured."""
    server.cli("account", "add", "carol", "--ntlm", "--mail", "carol@corp.example", data="correct horse battery\n")
    client = certsrv(server, "ntlm", r"CORP\carol", "correct horse battery")

    certificate = x509.load_pem_x509_certificate(client.get_cert(request_pem("admin.corp.example"), "User"))

    explained = server.cli("explain", saved(tmp_path, "carol.pem", certificate.public_bytes(Encoding.PEM)))
    assert "admin.corp.example" not in explained
    assert "carol@corp.example" in explained
    assert "CN=carol" in certificate.subject.rfc4514_string()


def test_a_user_without_the_right_is_denied_by_name_of_the_rule(server: RunningServer) -> None:
    """0x80094012: the row, the page's marker, and a line in the log."""
    library = pytest.importorskip("certsrv")
    server.cli("account", "add", "dave", "--ntlm", data="correct horse battery\n")

    with pytest.raises(library.RequestDeniedException):
        certsrv(server, "ntlm", r"CORP\dave", "correct horse battery").get_cert(request_pem(), "WebServer")
    row = server.json("request", "list", "--limit", "1")[0]

    assert row["disposition"] == "denied"
    assert row["status"] == "0x80094012"
    assert server.awaited_events(lambda each: each["event"] == "request_denied" and bool(each.get("rule")))


def test_a_grant_holds_at_once(server: RunningServer) -> None:
    library = pytest.importorskip("certsrv")
    server.cli("account", "add", "erin", "--ntlm", data="correct horse battery\n")
    client = certsrv(server, "ntlm", r"CORP\erin", "correct horse battery")

    with pytest.raises(library.RequestDeniedException):
        client.get_cert(request_pem(), "WebServer")
    server.cli("template", "grant", "WebServer", "--enroll", "erin")
    granted = client.get_cert(request_pem(), "WebServer")
    server.cli("template", "revoke", "WebServer", "--enroll", "erin")

    assert b"BEGIN CERTIFICATE" in granted


def test_other_peoples_requests_are_not_shown(server: RunningServer) -> None:
    """Retrieval by ID is the requester's and the officers'."""
    library = pytest.importorskip("certsrv")
    server.cli("account", "add", "frank", "--ntlm", data="correct horse battery\n")
    certsrv(server, "ntlm").get_cert(request_pem(), "WebServer")
    request_id = server.json("request", "list", "--limit", "1")[0]["request_id"]

    with pytest.raises(library.CouldNotRetrieveCertificateException):
        certsrv(server, "ntlm", r"CORP\frank", "correct horse battery").get_existing_cert(request_id)


def test_a_revoked_certificate_is_on_the_next_crl_and_one_on_hold_can_come_back(
    server: RunningServer, tmp_path: Path
) -> None:
    serials = []
    for _ in range(2):
        certsrv(server, "ntlm").get_cert(request_pem(), "WebServer")
        serials.append(server.json("request", "list", "--limit", "1")[0]["serial_number"])

    server.cli("certificate", "revoke", serials[0], "--reason", "keyCompromise")
    server.cli("certificate", "revoke", serials[1], "--reason", "certificateHold", "--publish-crl")
    first = x509.load_der_x509_crl(published_crl(server))
    refused = server.run("certificate", "unrevoke", serials[0])
    server.cli("certificate", "unrevoke", serials[1])
    server.cli("ca", "publish-crl")
    second = x509.load_der_x509_crl(x509_crl_der(server.cli("ca", "crl")))

    assert reason_on(first, serials[0]) is x509.ReasonFlags.key_compromise
    assert reason_on(first, serials[1]) is x509.ReasonFlags.certificate_hold
    assert refused.returncode == 1
    assert "certificateHold" in refused.stderr
    assert second.get_revoked_certificate_by_serial_number(int(serials[0], 16)) is not None
    assert second.get_revoked_certificate_by_serial_number(int(serials[1], 16)) is None


def fetch(url: str) -> bytes:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=10) as answer:
        content: bytes = answer.read()
    return content


def published_crl(server: RunningServer) -> bytes:
    """From the folder: the listener may serve what it read within the last second."""
    return (server.home / "published" / "CORP Issuing CA.crl").read_bytes()


def x509_crl_der(pem: str) -> bytes:
    return x509.load_pem_x509_crl(pem.encode()).public_bytes(Encoding.DER)


def reason_on(crl: x509.CertificateRevocationList, serial: str) -> x509.ReasonFlags | None:
    entry = crl.get_revoked_certificate_by_serial_number(int(serial, 16))
    assert entry is not None
    return entry.extensions.get_extension_for_class(x509.CRLReason).value.reason


def root_bytes(server: RunningServer) -> bytes:
    return server.root_certificate.read_bytes()
