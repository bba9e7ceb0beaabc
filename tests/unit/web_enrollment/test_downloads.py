"""certnew.cer, certnew.p7b, certcrl.crl: exact types, encodings, and other programs that read them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certwright.adcs.errors import HResult
from certwright.adcs.request import Disposition, Response
from certwright.wire.certsrv import decode_chain
from tests.support.certsrv import ALICE, Answer, FakeCa, make_site, submission
from tests.support.requests import web_server_request


def issued() -> tuple[FakeCa, dict[str, Answer]]:
    client, ca = make_site()
    client.post("/certsrv/certfnsh.asp", submission())
    answers = {
        path: client.get(f"/certsrv/{path}")
        for path in (
            *("certnew.cer?ReqID=1234", "certnew.cer?ReqID=1234&Enc=b64", "certnew.cer?ReqID=1234&Enc=bin"),
            *("certnew.p7b?ReqID=1234", "certnew.p7b?ReqID=1234&Enc=bin"),
            *("certnew.cer?ReqID=CACert", "certnew.cer?ReqID=CACert&Renewal=0&Enc=bin"),
            *("certnew.p7b?ReqID=CACert&Renewal=0&Enc=b64", "certnew.p7b?ReqID=CACert&Enc=bin"),
            *("certcrl.crl", "certcrl.crl?Type=base&Renewal=0&Enc=b64", "certnew.crl?type=base&enc=bin"),
        )
    }
    return ca, answers


@pytest.mark.parametrize("path", list(issued()[1]))
def test_content_types_are_exact(path: str) -> None:
    """Clients compare the whole header: no charset, no parameter, once."""
    answer = issued()[1][path]
    expected = {
        "certnew.cer": "application/pkix-cert",
        "certnew.p7b": "application/x-pkcs7-certificates",
        "certcrl.crl": "application/pkix-crl",
        "certnew.crl": "application/pkix-crl",
    }[path.partition("?")[0]]

    assert answer.status == 200
    assert answer.header("content-type") == expected
    assert answer.header("content-length") == str(len(answer.body))
    assert answer.header("content-disposition").startswith("attachment; filename=cert")
    assert answer.header("x-content-type-options") == "nosniff"


def test_pem_has_crlf_and_is_what_scripts_get_without_enc() -> None:
    _, answers = issued()
    plain, base64 = answers["certnew.cer?ReqID=1234"], answers["certnew.cer?ReqID=1234&Enc=b64"]

    assert plain.body == base64.body
    lines = plain.body.split(b"\r\n")
    assert lines[0] == b"-----BEGIN CERTIFICATE-----"
    assert lines[-2:] == [b"-----END CERTIFICATE-----", b""]
    assert b"\n" not in plain.body.replace(b"\r\n", b"")
    assert x509.load_pem_x509_certificate(plain.body) == x509.load_der_x509_certificate(
        answers["certnew.cer?ReqID=1234&Enc=bin"].body
    )


def test_the_chain_is_leaf_ca_root_in_this_order() -> None:
    ca, answers = issued()
    leaf = answers["certnew.cer?ReqID=1234&Enc=bin"].body

    expected = (leaf, ca.certificate(), ca.root_certificate)
    assert decode_chain(answers["certnew.p7b?ReqID=1234"].body) == expected
    assert decode_chain(answers["certnew.p7b?ReqID=1234&Enc=bin"].body) == expected
    assert answers["certnew.p7b?ReqID=1234"].body.startswith(b"-----BEGIN CERTIFICATE-----\r\n")
    assert decode_chain(answers["certnew.p7b?ReqID=CACert&Enc=bin"].body) == expected[1:]


def test_a_request_gets_the_chain_of_the_key_that_signed_it() -> None:
    """After a renewal with a new key, certificates of the old key still need the old CA certificate."""
    client, ca = make_site(FakeCa(renewals=1))
    csr = x509.load_der_x509_csr(web_server_request())
    for number, signer in ((1, 0), (2, 1)):
        certificate = ca.issue(csr, signer)
        ca.answer(number, ALICE, Response(number, Disposition.ISSUED, HResult.S_OK, "Issued", certificate))

        chain = decode_chain(client.get(f"/certsrv/certnew.p7b?ReqID={number}").body)

        assert chain == (certificate, ca.certificate(signer), ca.root_certificate)


def test_an_earlier_ca_certificate_is_reached_by_its_number() -> None:
    client, ca = make_site(FakeCa(renewals=2))

    assert [client.get(f"/certsrv/certnew.cer?ReqID=CACert&Renewal={i}&Enc=bin").body for i in range(3)] == [
        ca.certificate(i) for i in range(3)
    ]
    assert client.get("/certsrv/certnew.cer?ReqID=CACert&Enc=bin").body == ca.certificate(2)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("certnew.cer?ReqID=CACert&Renewal=7", "0x80070057"),
        ("certcrl.crl?Type=delta", "0x80070002"),
        ("certcrl.crl?Type=other", "0x80070057"),
    ],
)
def test_what_the_ca_does_not_have_is_an_error_page(path: str, code: str) -> None:
    answer = make_site()[0].get(f"/certsrv/{path}")

    assert answer.header("content-type") == "text/html; charset=utf-8"
    assert f" {code} (-" in answer.text


def test_crls_are_der_unless_base64_is_asked_for() -> None:
    _, answers = issued()

    x509.load_der_x509_crl(answers["certcrl.crl"].body)
    x509.load_der_x509_crl(answers["certnew.crl?type=base&enc=bin"].body)
    pem = answers["certcrl.crl?Type=base&Renewal=0&Enc=b64"].body
    assert pem.startswith(b"-----BEGIN X509 CRL-----\r\n")
    x509.load_pem_x509_crl(pem)


@pytest.mark.peer
@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not here")
def test_openssl_verifies_what_was_downloaded(tmp_path: Path) -> None:
    ca, answers = issued()
    files = {
        "leaf.pem": answers["certnew.cer?ReqID=1234"].body,
        "ca.pem": answers["certnew.cer?ReqID=CACert"].body,
        "root.pem": ca.root[0].public_bytes(Encoding.PEM),
        "chain.p7b": answers["certnew.p7b?ReqID=1234&Enc=bin"].body,
    }
    for name, body in files.items():
        (tmp_path / name).write_bytes(body)

    verify = ["openssl", "verify", "-no_check_time", "-CAfile", "root.pem", "-untrusted", "ca.pem", "leaf.pem"]
    assert subprocess.run(verify, cwd=tmp_path, capture_output=True, text=True).stdout == "leaf.pem: OK\n"
    printed = subprocess.run(
        ["openssl", "pkcs7", "-inform", "DER", "-in", "chain.p7b", "-print_certs", "-noout"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert printed.stdout.count("subject=") == 3
