"""`certwright enroll` against a running NDES: our own client of SCEP, as a Linux device uses it."""

from __future__ import annotations

import re
import subprocess
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest

from certwright.pki import armor
from certwright.pki.certificate import CertificateView
from tests.support.programs import openssl
from tests.support.server import DOMAIN, RunningServer


@dataclass
class Machine:
    """A device with its files."""

    server: RunningServer
    folder: Path
    fingerprint: str

    def run(self, *arguments: str, challenge: str = "", url: str = "") -> subprocess.CompletedProcess[str]:
        given = ("--challenge-file", "-") if challenge else ()
        url = url or f"{self.server.http}/certsrv/mscep/mscep.dll"
        return self.server.run(
            *("enroll", "--scep", url, "--fingerprint", self.fingerprint),
            *("--key", self.folder / "host.key", "--out", self.folder / "host.crt", *given, *arguments),
            data=challenge,
        )

    @property
    def certificate(self) -> CertificateView:
        return CertificateView.parse(armor.dearmor((self.folder / "host.crt").read_bytes()))


@pytest.fixture
def machine(server: RunningServer, tmp_path: Path) -> Machine:
    server.cli("ndes", "enable")
    server.cli("ndes", "set", "general-purpose-template=WebServer", "challenge-cache=100")
    return Machine(server, tmp_path, server.json("ndes", "show")["ca-fingerprint"])


def challenge(server: RunningServer) -> str:
    return server.cli("ndes", "challenge").strip()


def test_a_machine_enrolls_and_renews(server: RunningServer, machine: Machine) -> None:
    host = f"device.{DOMAIN}"

    enrolled = machine.run("--dns", host, challenge=challenge(server))

    assert enrolled.returncode == 0, enrolled.stderr
    first = machine.certificate
    assert [str(name) for name in first.alternative_names] == [f"DNS:{host}"]
    assert (machine.folder / "host.key").stat().st_mode & 0o777 == 0o600
    shown = openssl("x509", "-in", machine.folder / "host.crt", "-noout", "-pubkey")
    assert shown == openssl("pkey", "-in", machine.folder / "host.key", "-pubout")

    renewed = machine.run("--renew")

    assert renewed.returncode == 0, renewed.stderr
    assert machine.certificate.serial != first.serial
    assert machine.certificate.subject == first.subject


def test_a_revoked_machine_does_not_renew(server: RunningServer, machine: Machine) -> None:
    assert machine.run("--dns", f"lost.{DOMAIN}", challenge=challenge(server)).returncode == 0
    server.cli("certificate", "revoke", machine.certificate.serial_number)
    refused = machine.run("--renew")
    assert refused.returncode == 1
    assert "revoked" in refused.stderr


def test_a_machine_collects_after_the_approval(server: RunningServer, machine: Machine) -> None:
    asked = ("--dns", "device.elsewhere.example")
    password = challenge(server)

    waiting = machine.run(*asked, challenge=password)
    assert waiting.returncode == 3
    assert "waits for an approval" in waiting.stderr
    (request,) = [each for each in server.json("ndes", "list") if each["state"] == "pending"]
    server.cli("request", "issue", str(request["request"]))
    collected = machine.run(*asked, challenge=password)

    assert collected.returncode == 0, collected.stderr
    assert machine.certificate.common_name == "device.elsewhere.example"


def test_a_wrong_challenge_is_refused(server: RunningServer, machine: Machine) -> None:
    refused = machine.run("--dns", f"device.{DOMAIN}", challenge="0000")
    assert refused.returncode == 1
    assert "challenge password is not accepted" in refused.stderr


def test_a_server_with_another_fingerprint_is_told_nothing(server: RunningServer, machine: Machine) -> None:
    machine.fingerprint = "0" * 64
    before = server.json("ndes", "list")
    refused = machine.run("--dns", f"device.{DOMAIN}", challenge=challenge(server))
    assert refused.returncode == 1
    assert "do not trust it" in refused.stderr
    assert server.json("ndes", "list") == before


def test_what_a_machine_got_checks_out_by_crl_and_ocsp(server: RunningServer, machine: Machine) -> None:
    """OpenSSL looks at the certificate as a relying party does: chain, CRL from where it says, OCSP."""
    assert machine.run("--dns", f"checked.{DOMAIN}", challenge=challenge(server)).returncode == 0
    server.cli("responder", "enable")
    certificate, issuer, crl = (machine.folder / name for name in ("host.crt", "issuing.pem", "ca.crl"))
    issuer.write_text(server.cli("ca", "certificate"))
    shown = openssl("x509", "-in", certificate, "-noout", "-ext", "crlDistributionPoints")
    (url,) = re.findall(r"URI:(\S+)", shown)
    with urllib.request.urlopen(url, timeout=20) as answer:
        crl.write_text(armor.armor(armor.X509_CRL, answer.read()))
    chain = ("-CAfile", server.root_certificate, "-untrusted", issuer)

    assert "OK" in openssl("verify", "-crl_check", "-CRLfile", crl, *chain, certificate)
    told = openssl(
        *("ocsp", "-issuer", issuer, "-cert", certificate, "-url", f"{server.http}/ocsp"),
        *("-CAfile", server.root_certificate, "-verify_other", issuer),
    )
    assert f"{certificate}: good" in told


def test_services_and_failures_at_the_command_line(server: RunningServer, machine: Machine) -> None:
    server.cli("ndes", "service", "add", "kiosks")
    server.cli("ndes", "set", "--service", "kiosks", "general-purpose-template=WebServer")
    server.cli("ndes", "enable", "--service", "kiosks")
    listed = {each["service"]: each for each in server.json("ndes", "service", "list")}
    assert listed["kiosks"]["address"].endswith("/ndes/kiosks/mscep.dll")
    assert listed["kiosks"]["enabled"]

    refused = machine.run("--dns", f"k.{DOMAIN}", challenge="0000", url=listed["kiosks"]["address"])
    assert refused.returncode == 1
    (failure,) = server.json("ndes", "list", "--failures", "--service", "kiosks")
    assert failure["rule"] == "challenge wrong"
    assert server.json("ndes", "list", "--notices") == []
    both = server.run("ndes", "list", "--failures", "--notices")
    assert both.returncode == 1
    assert "one of" in both.stderr
    shown = server.cli("ndes", "failure", str(failure["number"]))
    assert "SCEP message: PKCSReq" in shown
    password = server.cli("ndes", "challenge", "--service", "kiosks", "--name", f"k.{DOMAIN}").strip()
    enrolled = machine.run("--dns", f"k.{DOMAIN}", challenge=password, url=listed["kiosks"]["address"])
    assert enrolled.returncode == 0, enrolled.stderr

    key = server.json("ndes", "webhook-key", "--service", "kiosks")["key"]
    assert len(key) == 64
    nowhere = server.run("ndes", "set", "--service", "kiosks", "policy=webhook")
    assert nowhere.returncode == 1
    assert "webhook-url" in nowhere.stderr
    server.cli("ndes", "set", "--service", "kiosks", "policy=webhook", "webhook-url=http://127.0.0.1:1/")
    later = machine.run("--dns", f"k2.{DOMAIN}", challenge="x", url=listed["kiosks"]["address"])
    assert later.returncode == 1
    assert "503" in later.stderr
    server.cli("ndes", "service", "remove", "kiosks")
    assert server.run("ndes", "show", "--service", "kiosks").returncode == 1
