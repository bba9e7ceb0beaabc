"""`certwright-submit` by certmonger's protocol against a running server: environment in, output and status out."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from certwright.client.certmonger import Status
from certwright.pki import armor
from certwright.pki.certificate import CertificateView
from tests.support import requests as make
from tests.support.requests import web_server_request
from tests.support.server import DOMAIN, NETBIOS, RunningServer

ACCOUNT, PASSWORD = "monger", "correct horse battery staple"


@dataclass
class Helper:
    """The helper as certmonger runs it, for one CA."""

    server: RunningServer
    folder: Path

    def run(self, operation: str, *arguments: str | Path, **variables: str) -> tuple[Status, str]:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "certwright.cli.submitting", "--auth=UsernamePassword"),
                *("--endpoint", f"{self.server.https}/ADPolicyProvider_CEP_UsernamePassword/service.svc/CEP"),
                *("--user", rf"{NETBIOS}\{ACCOUNT}", "--password-file", self.folder / "password"),
                *("--cas", self.server.root_certificate, "--poll-interval", "7", *arguments),
            ],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, "CERTMONGER_OPERATION": operation, **variables},
        )
        assert done.stderr == ""
        return Status(done.returncode), done.stdout

    def submit(self, host: str, template: str = "WebServer") -> tuple[Status, str]:
        request = web_server_request(host, extensions=[make.template_name_extension(template)])
        csr = armor.armor(armor.CERTIFICATE_REQUEST, request)
        return self.run("SUBMIT", CERTMONGER_CSR=csr, CERTMONGER_CA_PROFILE=template)


@pytest.fixture(scope="module")
def helper(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> Helper:
    server.cli("account", "add", ACCOUNT, data=f"{PASSWORD}\n")
    server.cli("template", "grant", "WebServer", "--enroll", ACCOUNT)
    folder = tmp_path_factory.mktemp("helper")
    (folder / "password").write_text(f"{PASSWORD}\n")
    return Helper(server, folder)


def test_it_says_who_it_is_without_asking_anybody(helper: Helper) -> None:
    status, text = helper.run("IDENTIFY", "--endpoint", "https://localhost:1/x")
    assert status is Status.ISSUED
    assert text.startswith("Certwright ")


def test_it_names_templates_and_roots(helper: Helper) -> None:
    names = helper.run("GET-SUPPORTED-TEMPLATES")
    roots = helper.run("FETCH-ROOTS")

    assert names[0] is Status.ISSUED
    assert "WebServer" in names[1].split()
    assert roots[0] is Status.ISSUED
    listed = roots[1].split("\n\n")
    assert [part.strip().split("\n")[0] for part in listed if part.strip()] == ["CORP Root CA", "CORP Issuing CA"]


@pytest.mark.parametrize("operation", ["FETCH-SCEP-CA-CAPS", "FETCH-SCEP-CA-CERTS", "SOMETHING-NEW"])
def test_what_it_does_not_do_it_says(helper: Helper, operation: str) -> None:
    assert helper.run(operation) == (Status.UNSUPPORTED, "")


def test_a_certificate_is_issued(helper: Helper) -> None:
    status, text = helper.submit(f"issued.{DOMAIN}")

    assert status is Status.ISSUED
    assert CertificateView.parse(armor.dearmor(text)).common_name == f"issued.{DOMAIN}"


@pytest.mark.parametrize("approved", [True, False])
def test_what_waits_is_polled_with_its_cookie(helper: Helper, approved: bool) -> None:
    status, text = helper.submit("www.elsewhere.example")
    assert status is Status.WAIT_WITH_DELAY
    delay, cookie = text.split()
    assert delay == "7"
    number = cookie.partition(",")[0]

    again = helper.run("POLL", CERTMONGER_CA_COOKIE=cookie)
    helper.server.cli("request", "issue" if approved else "deny", number)
    done = helper.run("POLL", CERTMONGER_CA_COOKIE=cookie)

    assert again == (Status.WAIT_WITH_DELAY, text)
    if approved:
        assert done[0] is Status.ISSUED
        assert CertificateView.parse(armor.dearmor(done[1])).serial
    else:
        assert done[0] is Status.REJECTED
        assert "Denied by" in done[1]


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("--user", r"CORP\nobody"), Status.UNDERCONFIGURED, "refused the logon"),
        (("--password-file", "/nonexistent"), Status.UNDERCONFIGURED, "cannot be read"),
        (("--auth=Certificate",), Status.UNDERCONFIGURED, "--certfile"),
        (("--endpoint", "https://localhost:1/CEP"), Status.UNREACHABLE, "refuses connections"),
    ],
)
def test_what_stands_in_the_way_is_said(
    helper: Helper, arguments: tuple[str, ...], status: Status, words: str
) -> None:
    found, text = helper.run("GET-SUPPORTED-TEMPLATES", *arguments)
    assert found is status
    assert words in text


def test_a_template_that_is_not_offered_is_rejected_at_once(helper: Helper) -> None:
    status, text = helper.submit(f"x.{DOMAIN}", "NoSuchTemplate")
    assert status is Status.REJECTED
    assert "not offered" in text


@pytest.mark.parametrize("cookie", ["", "7", "x,https://localhost/", "7,http://localhost/"])
def test_a_cookie_of_somebody_else_is_no_cookie(helper: Helper, cookie: str) -> None:
    assert helper.run("POLL", CERTMONGER_CA_COOKIE=cookie)[0] is Status.UNDERCONFIGURED


def test_it_is_installed_under_the_name_that_group_policy_looks_for(tmp_path: Path) -> None:
    """Twice is once; what is somebody else's stays."""
    program = tmp_path / "certwright-submit"
    program.write_text(f"#!{sys.executable}\nfrom certwright.cli.submitting import main\n\nmain()\n")
    program.chmod(0o755)
    target = tmp_path / "helpers" / "cepces-submit"

    def install() -> int:
        command = [program, "--install-as", "cepces-submit", "--folder", target.parent]
        return subprocess.run(command, capture_output=True, check=False).returncode

    assert (install(), install()) == (0, 0)
    assert target.readlink() == program
    target.unlink()
    target.write_text("somebody else's")
    assert install() == 1
    assert target.read_text() == "somebody else's"
