"""`certwright enroll` against a running NDES: our own client of SCEP, as a Linux device uses it."""

from __future__ import annotations

import subprocess
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

    def run(self, *arguments: str, challenge: str = "") -> subprocess.CompletedProcess[str]:
        given = ("--challenge-file", "-") if challenge else ()
        return self.server.run(
            *("enroll", "--scep", f"{self.server.http}/certsrv/mscep/mscep.dll", "--fingerprint", self.fingerprint),
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
