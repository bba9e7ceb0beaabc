"""The Online Responder of a running installation, before OpenSSL, GnuTLS and pkilint. RFC 6960, RFC 5019."""

from __future__ import annotations

import base64
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp as peer

from certwright.adcs.events import AuditEvent
from certwright.adcs.request import template_attributes
from certwright.adcs.roles import RevocationReason
from certwright.pki import armor
from certwright.server.composition import Installation
from certwright.server.home import Home
from tests.support.programs import openssl, run
from tests.support.requests import web_server_request
from tests.support.server import RunningServer

WITHIN: Final = 1.0  # seconds from a revocation to the answer


class Site:
    """The running server, and files of its clients. Another process issues and revokes: this one."""

    def __init__(self, server: RunningServer, installation: Installation, folder: Path) -> None:
        self.server = server
        self.installation = installation
        self.operator = installation.operator()
        self.folder = folder
        self.issuer = folder / "issuer.pem"
        self.chain = folder / "chain.pem"
        self.numbers = 0

    @property
    def url(self) -> str:
        return f"{self.server.http}/ocsp"

    def issue(self) -> Path:
        """A new certificate, as a file."""
        self.numbers += 1
        path = self.folder / f"{self.numbers}.pem"
        door = self.installation.registry.connect("", self.operator)
        issued = door.submit(web_server_request("www.corp.example"), template_attributes("WebServer"))
        assert issued.certificate is not None
        path.write_text(armor.armor(armor.CERTIFICATE, issued.certificate))
        return path

    def revoke(self, certificate: Path, reason: RevocationReason = RevocationReason.KEY_COMPROMISE) -> None:
        self.installation.registry.administer("", self.operator).revoke(serial(certificate), reason)

    def ask(self, *certificates: Path, options: tuple[str, ...] = ()) -> str:
        """What OpenSSL says after it verified the answer."""
        named = [option for each in certificates for option in ("-cert", str(each))]
        text = openssl(
            *("ocsp", "-issuer", str(self.issuer), *named, "-url", self.url, "-CAfile", str(self.chain), *options)
        )
        assert "Response verify OK" in text
        return text

    def get(self, certificate: Path) -> peer.OCSPResponse:
        """The answer to a GET, as nginx fetches staples: no nonce, SHA-1."""
        question = self.folder / "question.der"
        openssl(
            *("ocsp", "-issuer", str(self.issuer), "-cert", str(certificate), "-no_nonce", "-reqout", str(question))
        )
        path = quote(base64.b64encode(question.read_bytes()).decode(), safe="")
        return peer.load_der_ocsp_response(fetched(f"{self.url}/{path}"))


def fetched(url: str, body: bytes | None = None) -> bytes:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(urllib.request.Request(url, data=body), timeout=10) as answer:
        content: bytes = answer.read()
    return content


def serial(certificate: Path) -> str:
    return f"{x509.load_pem_x509_certificate(certificate.read_bytes()).serial_number:x}"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("responder")
    server = RunningServer.initialise(folder).start()
    try:
        server.cli("responder", "enable")
        with Installation.open(Home.open(server.home)) as installation:
            installation.start_issuers()  # beside the server's
            site = Site(server, installation, folder)
            chain = [armor.armor(armor.CERTIFICATE, each) for each in installation.chain()]
            site.issuer.write_text(chain[0])
            site.chain.write_text("".join(chain))
            yield site
    finally:
        server.stop()


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
