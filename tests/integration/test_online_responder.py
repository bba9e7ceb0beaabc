"""The Online Responder of a running installation, before OpenSSL, GnuTLS and pkilint. RFC 6960, RFC 5019."""

from __future__ import annotations

import base64
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp as peer

from certwright.adcs.events import AuditEvent
from certwright.adcs.roles import RevocationReason
from tests.support.foreign_ca import COMPROMISED, ON_HOLD, RELEASED, ForeignCa
from tests.support.ocsp_site import Site, fetched, running_site, serial
from tests.support.programs import openssl, run

WITHIN: Final = 1.0  # seconds from a revocation to the answer


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running_site(tmp_path_factory.mktemp("responder")) as running:
        yield running


def test_certificates_name_the_responder_once_it_is_enabled(site: Site) -> None:
    text = openssl("x509", "-in", site.issue(), "-noout", "-ocsp_uri")

    assert text.strip() == site.url


def test_its_signing_certificate_is_from_the_template_and_nobody_looks_it_up(site: Site) -> None:
    """RFC 6960 4.2.2.2.1: no-check. P-256, DigitalSignature, OCSPSigning; no CDP and no AIA."""
    answer = site.get(site.issue())
    signer = answer.certificates[0]
    extensions = {each.oid.dotted_string for each in signer.extensions}

    assert "1.3.6.1.5.5.7.48.1.5" in extensions
    assert not {"2.5.29.31", "1.3.6.1.5.5.7.1.1"} & extensions
    assert [
        each.dotted_string for each in signer.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    ] == ["1.3.6.1.5.5.7.3.9"]
    assert "(256 bit)" in openssl("x509", "-noout", "-text", data=signer.public_bytes(Encoding.PEM))


def test_openssl_is_answered_by_post_with_and_without_a_nonce(site: Site) -> None:
    certificate = site.issue()

    with_nonce = site.ask(certificate)
    without = site.ask(certificate, options=("-no_nonce",))
    sha256 = openssl(
        *("ocsp", "-issuer", str(site.issuer), "-sha256", "-cert", str(certificate)),
        *("-url", site.url, "-CAfile", str(site.chain)),
    )

    assert "WARNING" not in with_nonce  # which it says when the nonce does not come back
    for text in (with_nonce, without, sha256):
        assert f"{certificate}: good" in text


def test_several_certificates_are_answered_in_one_message(site: Site) -> None:
    good, revoked = site.issue(), site.issue()
    site.revoke(revoked, RevocationReason.SUPERSEDED)

    text = site.ask(good, revoked)

    assert f"{good}: good" in text
    assert re.search(rf"{revoked}: revoked\n.*\n.*\n\s+Reason: superseded", text)


def test_a_revocation_is_in_the_answer_within_a_second(site: Site) -> None:
    """Revoked by another process, asked for by GET and POST; the answer before was kept by the responder."""
    certificate = site.issue()
    assert site.get(certificate).certificate_status is peer.OCSPCertStatus.GOOD

    site.server.cli("certificate", "revoke", serial(certificate), "--reason", "keyCompromise")
    deadline = time.monotonic() + WITHIN
    while site.get(certificate).certificate_status is not peer.OCSPCertStatus.REVOKED:
        assert time.monotonic() < deadline

    assert f"{certificate}: revoked" in site.ask(certificate)
    assert f"{certificate}: revoked" in site.ask(certificate, options=("-no_nonce",))


def test_a_certificate_on_hold_is_released(site: Site) -> None:
    certificate = site.issue()
    site.revoke(certificate, RevocationReason.CERTIFICATE_HOLD)
    assert "Reason: certificateHold" in awaited(site, certificate, "revoked")

    site.revoke(certificate, RevocationReason.RELEASE_FROM_HOLD)

    assert "Reason" not in awaited(site, certificate, "good")


def awaited(site: Site, certificate: Path, status: str) -> str:
    """What OpenSSL says, once that is the status."""
    deadline = time.monotonic() + 10 * WITHIN
    while True:
        text = site.ask(certificate, options=("-no_nonce",))
        if f"{certificate}: {status}" in text:
            return text
        assert time.monotonic() < deadline, text


def test_a_revocation_survives_a_kill_at_once(site: Site) -> None:
    """Killed between the revocation and the first answer that would tell of it."""
    certificate = site.issue()
    assert "good" in site.ask(certificate)
    site.revoke(certificate)
    site.server.kill()

    site.server.start()

    assert f"{certificate}: revoked" in site.ask(certificate)


def test_gnutls_accepts_an_answer(site: Site) -> None:
    text = run(
        "ocsptool",
        *(f"--ask={site.url}", "--load-cert", site.issue(), "--load-issuer", site.issuer),
        *("--load-trust", site.chain, "--nonce"),
    )

    assert "Verifying OCSP Response: Success" in text
    assert "Certificate Status: good" in text


def test_pkilint_finds_nothing_in_answers(site: Site, tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("lint_ocsp_response")
    if not program.exists():
        pytest.skip("pkilint is not installed")
    good, revoked = site.issue(), site.issue()
    site.revoke(revoked)
    for certificate, options in ((good, ("-no_nonce",)), (good, ()), (revoked, ("-no_nonce",))):
        answer = tmp_path / "answer.der"
        site.ask(certificate, options=(*options, "-respout", str(answer)))
        done = subprocess.run([program, "lint", answer], capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stdout.strip()) == (0, ""), done.stdout + done.stderr


@pytest.mark.parametrize("garbage", [b"x", b"\x30\x80", bytes(1000), b"\x30\x03\x0a\x01\x06"])
def test_garbage_is_answered_with_malformed_request(site: Site, garbage: bytes) -> None:
    assert fetched(site.url, garbage) == bytes.fromhex("30030a0101")
    assert fetched(f"{site.url}/{quote(base64.b64encode(garbage), safe='')}") == bytes.fromhex("30030a0101")


def test_the_signing_certificate_is_renewed_while_the_server_answers(site: Site) -> None:
    certificate = site.issue()
    before = site.get(certificate).certificates[0].serial_number
    site.server.cli("responder", "refresh", "--certificate")

    deadline = time.monotonic() + 10 * WITHIN
    while site.get(certificate).certificates[0].serial_number == before:
        assert time.monotonic() < deadline

    assert f"{certificate}: good" in site.ask(certificate)
    assert len(list((site.server.home / "responder").glob("*.key"))) == 2


def test_settings_change_the_answers_of_a_running_server(site: Site) -> None:
    certificate = site.issue()
    site.server.cli("responder", "set", "signed-with=ca-key", "responder-id=name", "validity-minutes=60")
    try:
        deadline = time.monotonic() + 10 * WITHIN
        while (answer := site.get(certificate)).responder_name is None:
            assert time.monotonic() < deadline
        assert answer.certificates == []  # every client has the CA's own
        assert "good" in site.ask(certificate)
    finally:
        site.server.cli("responder", "set", "signed-with=certificate", "responder-id=key", "validity-minutes=720")


@pytest.mark.parametrize("command", [["disable"], ["set", "nonce=ignore"], ["refresh", "--certificate"], ["enable"]])
def test_only_a_ca_administrator_changes_the_responder(site: Site, command: list[str]) -> None:
    directory = site.installation.directory_administration
    if site.installation.directory.principal("wanda") is None:
        directory.add_account("wanda", actor=site.operator.account)

    done = site.server.run("responder", *command, "--as", "wanda")

    assert done.returncode == 1
    assert "has no right to do this" in done.stderr


def test_changes_are_audited(site: Site) -> None:
    configurations = site.installation.revocation_configurations
    for policy in ("ignore", "echo"):
        configurations.change(site.installation.ca().authority.name, {"nonce": policy}, actor="tester")

    newest = site.installation.audit.events(event=AuditEvent.REVOCATION_CONFIGURATION_CHANGED, limit=2)

    assert [event.details["nonce (after)"] for event in newest] == ["echo", "ignore"]
    assert site.installation.audit.verify().is_intact


def test_a_disabled_responder_is_unauthorized_for_everybody(site: Site) -> None:
    certificate = site.issue()
    site.server.cli("responder", "disable")
    try:
        deadline = time.monotonic() + 10 * WITHIN
        while site.get(certificate).response_status is not peer.OCSPResponseStatus.UNAUTHORIZED:
            assert time.monotonic() < deadline
    finally:
        site.server.cli("responder", "enable")


# -- a CA elsewhere


def test_a_ca_elsewhere_is_answered_for_from_its_crls(site: Site, tmp_path: Path) -> None:
    """Added, given a signer that it issued itself, enabled and removed at the command line; asked by OpenSSL."""
    ca, cli = ForeignCa(), site.server.cli
    base, delta = tmp_path / "base.crl", tmp_path / "delta.crl"
    revoked, good = ca.issue(), ca.issue()
    base.write_bytes(ca.crl({revoked.serial_number: COMPROMISED, good.serial_number: ON_HOLD}, number=5))
    delta.write_bytes(ca.crl({good.serial_number: RELEASED}, number=6, base=5))
    issuer, request = tmp_path / "ca.pem", tmp_path / "responder.csr"
    issuer.write_bytes(ca.pem)
    files = {}
    for name, certificate in (("revoked", revoked), ("good", good)):
        files[name] = tmp_path / f"{name}.pem"
        files[name].write_bytes(certificate.public_bytes(Encoding.PEM))

    said = cli("responder", "add", issuer, "--crl", base.as_uri(), "--delta-crl", delta.as_uri())
    assert "The base CRL has 2 entries" in said
    cli("responder", "request", "--ca", ca.name, "--out", request)
    key = x509.load_pem_x509_csr(request.read_bytes()).public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    signer = tmp_path / "signer.crt"
    signer.write_bytes(ca.sign_responder(key).public_bytes(Encoding.DER))
    cli("responder", "install", signer, "--ca", ca.name)
    cli("responder", "enable", "--ca", ca.name)
    try:
        for status, certificate in files.items():
            deadline = time.monotonic() + 10 * WITHIN
            while f"{certificate}: {status}" not in (text := ask_elsewhere(site, issuer, certificate)):
                assert time.monotonic() < deadline, text
            assert "Response verify OK" in text
        [shown] = site.server.json("responder", "list")
        assert (shown["ca"], shown["state"], shown["crl_number"]) == (ca.name, "enabled", 5)
        assert site.server.json("responder", "show", "--ca", ca.name)["crls"][1]["number"] == 6

        base.write_bytes(ca.crl(number=4))
        done = site.server.run("responder", "copy", "--ca", ca.name)
        assert (done.returncode, "goes back from 5 to 4" in done.stderr) == (1, True)
        cli("responder", "set", "scopes=named", "nonce=ignore", "--ca", ca.name)
    finally:
        cli("responder", "remove", "--ca", ca.name)
    assert site.server.json("responder", "list") == []


def ask_elsewhere(site: Site, issuer: Path, certificate: Path) -> str:
    return openssl(
        *("ocsp", "-issuer", issuer, "-cert", certificate, "-url", site.url, "-CAfile", issuer), check=False
    )
