"""`certwright enroll --policy` and `certwright renew` against a running server, as an unattended host uses them.

The host has no home folder and no account of its own: it enrolls with somebody's user name and password, and renews
with nothing but its old certificate.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from certwright.adcs.interfaces import CertAdmin
from certwright.adcs.roles import RevocationReason
from certwright.client.enrolling import Client, Step
from certwright.client.enrollments import Enrollment, State
from certwright.pki import armor
from certwright.pki.certificate import CertificateView
from certwright.server.composition import Installation
from tests.support.doors import Local
from tests.support.installation import PASSWORD, Mold, People
from tests.support.programs import openssl
from tests.support.server import DOMAIN, RunningServer, environment
from tests.support.web_services import WORKGROUP, offer_renewal_by_key, with_certificate_port

PENDING: Final = 3
_hosts = (f"kiosk{number}.{DOMAIN}" for number in itertools.count(1))


@dataclass
class Host:
    """A machine with a folder for its files and one for its state."""

    server: RunningServer
    installation: Installation
    folder: Path

    def run(self, *arguments: str | Path, data: str = "") -> subprocess.CompletedProcess[str]:
        """There is no home folder where this looks for one."""
        return subprocess.run(
            [sys.executable, "-m", "certwright", *map(str, arguments), "--state", str(self.state.folder)],
            input=data,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env=environment(self.folder / "no-home"),
            cwd=self.folder,
        )

    def enroll(self, *arguments: str | Path, template: str = WORKGROUP, account: str = People.ENROLLEE) -> Any:
        return self.run(
            *("enroll", "--policy", self.url, "--template", template, "--auth", "password"),
            *(
                "--user",
                rf"CORP\{account}",
                "--password-file",
                self.password,
                "--ca-file",
                self.server.root_certificate,
            ),
            *("--key", "host.key", "--out", "host.crt", *arguments),
        )

    @property
    def url(self) -> str:
        return f"{self.server.https}/ADPolicyProvider_CEP_UsernamePassword/service.svc/CEP"

    @property
    def password(self) -> Path:
        path = self.folder / "password"
        if not path.exists():
            path.write_text(f"{PASSWORD}\n")
        return path

    @property
    def state(self) -> State:
        return State(self.folder / "state")

    @property
    def enrollment(self) -> Enrollment:
        ((_, found),) = self.state.all()
        assert isinstance(found, Enrollment)
        return found

    @property
    def certificate(self) -> CertificateView:
        return CertificateView.parse(armor.dearmor((self.folder / "host.crt").read_bytes()))

    @property
    def officer(self) -> CertAdmin:
        return Local(self.installation).administer(People.OFFICER)

    def is_a_pair(self) -> bool:
        shown = openssl("x509", "-in", self.folder / "host.crt", "-noout", "-pubkey")
        return shown == openssl("pkey", "-in", self.folder / "host.key", "-pubout")


@pytest.fixture(scope="module")
def place(mold: Mold, new_folder: Callable[[], Path]) -> Iterator[tuple[RunningServer, Installation]]:
    home = with_certificate_port(mold.copy(new_folder()))
    server = RunningServer(home.folder, home.settings.https_port, home.settings.http_port)
    with Installation.open(home) as installation:
        installation.start_issuers()
        offer_renewal_by_key(installation)
        Local(installation).administer(People.CA_ADMINISTRATOR).set_configuration({"renewal-on-behalf": "on"})
        yield server.start(), installation
    server.stop()


@pytest.fixture
def host(place: tuple[RunningServer, Installation], tmp_path: Path) -> Host:
    return Host(*place, tmp_path)


def test_a_host_enrolls_by_policy(host: Host) -> None:
    name = next(_hosts)
    done = host.enroll("--dns", name)
    again = host.enroll("--dns", name)

    assert done.returncode == 0, done.stderr
    assert f"CN={name}" in done.stdout
    assert [str(each) for each in host.certificate.alternative_names] == [f"DNS:{name}"]
    assert (host.folder / "host.key").stat().st_mode & 0o777 == 0o600
    assert host.is_a_pair()
    chain = host.folder / "host.chain.pem"
    openssl("verify", "-CAfile", chain, host.folder / "host.crt")
    assert chain.read_text().count("BEGIN CERTIFICATE") == 2
    assert again.returncode == 0
    assert "already" in again.stdout
    assert not (host.folder / "no-home").exists()


def test_no_secret_stands_in_the_state(host: Host) -> None:
    assert host.enroll("--dns", next(_hosts)).returncode == 0

    ((path, _),) = host.state.all()
    assert host.state.folder.stat().st_mode & 0o777 == 0o700
    assert path.stat().st_mode & 0o777 == 0o600
    assert PASSWORD not in path.read_text()


def test_it_renews_with_nothing_but_its_old_certificate(host: Host) -> None:
    """Key-based renewal: the password is gone, and the account is not asked."""
    name = next(_hosts)
    assert host.enroll("--dns", name).returncode == 0
    old, old_key = host.certificate, (host.folder / "host.key").read_bytes()
    host.password.unlink()

    early = host.run("renew", "--due")
    done = host.run("renew", "host.crt")

    assert (early.returncode, host.enrollment.pending_id) == (0, 0)
    assert "due for renewal" in early.stdout
    assert done.returncode == 0, done.stderr
    new = host.certificate
    assert new.serial != old.serial
    assert (new.subject, new.alternative_names) == (old.subject, old.alternative_names)
    assert new.public_key_info != old.public_key_info
    assert (host.folder / "host.key").read_bytes() != old_key
    assert host.is_a_pair()
    assert (host.folder / "host.key").stat().st_mode & 0o777 == 0o600
    assert not list(host.folder.glob("*.new"))


def test_a_timer_renews_what_is_due(host: Host) -> None:
    assert host.enroll("--dns", next(_hosts)).returncode == 0
    old = host.certificate
    due = host.enrollment.due(old)
    assert old.not_before < due < old.not_after

    early = Client(host.state, clock=lambda: due - timedelta(seconds=1)).renew(host.enrollment, only_due=True)
    late = Client(host.state, clock=lambda: due).renew(host.enrollment, only_due=True)

    assert (early.step, late.step) == (Step.IN_PLACE, Step.RENEWED)
    assert host.certificate.serial != old.serial


def test_where_the_certificate_is_not_enough_it_is_the_account_that_renews(host: Host) -> None:
    """WebServer has no client authentication; the message is signed by the old certificate all the same."""
    name = next(_hosts)
    assert host.enroll("--dns", name, template="WebServer").returncode == 0
    old = host.certificate

    done = host.run("renew", "host.crt", "--json")

    (told,) = json.loads(done.stdout)
    assert (done.returncode, told["step"]) == (0, "renewed"), done.stderr
    assert told["serial_number"] == host.certificate.serial_number != old.serial_number


def test_a_revoked_certificate_is_not_renewed_and_nothing_is_lost(host: Host) -> None:
    assert host.enroll("--dns", next(_hosts)).returncode == 0
    before = host.certificate
    host.officer.revoke(before.serial_number, RevocationReason.SUPERSEDED)
    host.password.unlink()

    done = host.run("renew", "host.crt")

    assert done.returncode == 1
    assert "cannot be renewed" in done.stderr
    assert host.certificate.serial == before.serial
    assert host.is_a_pair()


def test_a_request_that_waits_is_collected_by_the_same_command(host: Host) -> None:
    waiting = host.enroll("--dns", "www.elsewhere.example", template="WebServer")
    still = host.enroll("--dns", "www.elsewhere.example", template="WebServer")
    shown = host.run("renew", "--dry-run", "--json")
    number = host.enrollment.pending_id
    host.officer.resubmit(number)
    done = host.enroll("--dns", "www.elsewhere.example", template="WebServer")

    assert (waiting.returncode, still.returncode) == (PENDING, PENDING), waiting.stderr
    assert f"request {number}" in waiting.stdout
    assert json.loads(shown.stdout)[0]["standing"] == "pending"
    assert done.returncode == 0, done.stderr
    assert host.enrollment.pending_id == 0
    assert host.is_a_pair()


def test_or_by_the_timer(host: Host) -> None:
    assert host.enroll("--dns", "www.elsewhere.example", template="WebServer").returncode == PENDING
    waiting = host.run("renew", "--due")
    host.officer.resubmit(host.enrollment.pending_id)
    done = host.run("renew", "--due")

    assert (waiting.returncode, done.returncode) == (0, 0), done.stderr
    assert "waits for an approval" in waiting.stdout
    assert host.is_a_pair()


def test_a_denial_is_told_in_the_cas_words(host: Host) -> None:
    assert host.enroll("--dns", "www.elsewhere.example", template="WebServer").returncode == PENDING
    host.officer.deny(host.enrollment.pending_id, "not in this house")

    done = host.enroll("--dns", "www.elsewhere.example", template="WebServer")

    assert done.returncode == 1
    assert "not in this house" in done.stderr
    assert host.enrollment.pending_id == 0
    assert not (host.folder / "host.crt").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--template", "NoSuchTemplate"), r"NoSuchTemplate is not offered .* WebServer"),
        (("--user", r"CORP\nobody"), "refused the logon"),
        (("--policy", "http://localhost/CEP"), "https://"),
        (("--policy", "https://localhost:1/x/CEP"), "refuses connections"),
        (("--ca-file", "", "--fingerprint", "00" * 32), "does not show the certificate"),
        (("--dns", "not a name"), "cannot be used"),
    ],
)
def test_what_stands_in_the_way_is_said(host: Host, arguments: tuple[str, ...], words: str) -> None:
    done = host.enroll("--dns", next(_hosts), *arguments)

    assert done.returncode == 1
    assert re.search(words, done.stderr), done.stderr
    assert "unexpected" not in done.stderr


def test_a_password_may_come_by_standard_input(host: Host) -> None:
    done = host.run(
        *("enroll", "--policy", host.url, "--template", WORKGROUP, "--auth", "password", "--password-file", "-"),
        *("--user", rf"CORP\{People.ENROLLEE}", "--ca-file", host.server.root_certificate, "--dns", next(_hosts)),
        *("--key", "host.key", "--out", "host.crt", "--key-type", "ecdsa-p256"),
        data=f"{PASSWORD}\n",
    )

    assert done.returncode == 0, done.stderr
    assert host.enrollment.secret_file == ""
    assert host.certificate.public_key.kind_name.startswith("EC")


def test_a_certificate_logs_on_as_its_account(host: Host, tmp_path: Path) -> None:
    """One host's certificate is another enrollment's logon."""
    other = Host(host.server, host.installation, tmp_path / "other")
    other.folder.mkdir()
    assert host.enroll(template="User").returncode == 0
    assert host.certificate.sid
    port = host.installation.home.settings.certificate_port

    done = other.run(
        *("enroll", "--policy", f"https://localhost:{port}/ADPolicyProvider_CEP_Certificate/service.svc/CEP"),
        *("--template", "WebServer", "--auth", "certificate", "--ca-file", host.server.root_certificate),
        *("--client-certificate", host.folder / "host.crt", "--client-key", host.folder / "host.key"),
        *("--key", "host.key", "--out", "host.crt", "--dns", next(_hosts)),
    )

    assert done.returncode == 0, done.stderr
    assert other.is_a_pair()


def test_a_certificate_of_somebody_else_in_the_way_is_left_alone(host: Host) -> None:
    assert host.enroll("--dns", next(_hosts)).returncode == 0
    for path in host.state.folder.glob("*.json"):
        path.unlink()

    done = host.enroll("--dns", next(_hosts))

    assert done.returncode == 1
    assert "name another file" in done.stderr


def test_the_home_of_an_installation_is_not_needed(host: Host) -> None:
    done = host.run("renew", "--due")

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert "CERTWRIGHT_HOME" in environment(host.folder / "no-home")
    assert not os.path.exists(host.folder / "no-home")
