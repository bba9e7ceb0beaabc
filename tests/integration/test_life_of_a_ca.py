"""The guide's page "The life of a CA", followed word for word with two homes: a root without a network and its CA.

Only the place of the stick is another one than on the page.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certwright.adcs.events import LifecycleKind
from certwright.notifications.values import RuleFields, WebhookFields
from certwright.server import above
from certwright.server.composition import Installation
from certwright.server.duties import tell_of_imported_crls
from certwright.server.home import Home
from certwright.wire.wstep import RequestSecurityToken, RequestType
from tests.integration.clients import certsrv, request_pem, saved
from tests.support import requests as make
from tests.support.installation import PASSWORD, Mold, People
from tests.support.issuing import pem
from tests.support.programs import openssl
from tests.support.server import RunningServer
from tests.support.web_services import CES, USER_NAME, Client, Refusal
from tests.test_docs import GUIDE, blocks

PAGE: Final = GUIDE / "life-of-a-ca.md"
STICK: Final = "/media/stick"
CRLS: Final = ("CORP Issuing CA(1).crl", "CORP Root CA.crl")
SUB: Final = ("--home", "ca-home")
ROOT: Final = ("--home", "root-home")
DEVICE_CA: Final = "CORP Device CA"
DEVICE_CES: Final = CES.replace("Issuing", "Device")


def commands() -> Sequence[str]:
    """The blocks of the page that speak of the two homes, in order."""
    return [block for block in blocks(PAGE, "sh") if "-home" in block]


@dataclass(frozen=True)
class Hosts:
    """One folder with both homes and the stick that is carried between them."""

    folder: Path

    def follow(self, block: str) -> str:
        """Do what a block of the page says."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith("CERTWRIGHT")}
        environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block.replace(STICK, str(self.folder / "stick"))],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def certwright(self, *words: str) -> str:
        return self.follow(" ".join(("certwright", *(f"'{word}'" for word in words))))


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Hosts:
    """Both hosts after everything that the page says of them."""
    folder = tmp_path_factory.mktemp("hosts")
    (folder / "stick").mkdir()
    hosts = Hosts(folder)
    for block in commands():
        hosts.follow(block)
    return hosts


def issued(hosts: Hosts, name: str) -> Path:
    """A certificate of the issuing CA, as it is now."""
    folder = hosts.folder
    (folder / "x.req").write_text(request_pem(name))
    hosts.certwright("request", "submit", "x.req", "--template", "WebServer", "--out", f"{name}.pem", *SUB)
    return folder / f"{name}.pem"


def test_the_page_is_long_enough_to_be_worth_following() -> None:
    words = "\n".join(commands())

    for verb in ("init", "ca create", "ca sign", "ca install", "ca import-crl", "ca renew", "ca publish-crl"):
        assert f"certwright {verb}" in words


def test_the_chain_and_the_crls_of_both_hosts_verify(hosts: Hosts) -> None:
    """What is served at /CertEnroll/ of the issuing CA's host is all that a client needs beside the root."""
    published = hosts.folder / "ca-home/published"
    leaf = issued(hosts, "www.corp.example")
    chain = hosts.folder / "chain.pem"
    hosts.certwright("ca", "chain", "--out", "chain.pem", *SUB)

    crls = [
        word for name in ("CORP Issuing CA(1).crl", "CORP Root CA.crl") for word in ("-CRLfile", published / name)
    ]
    check = ("verify", "-x509_strict", "-crl_check_all", "-CAfile", hosts.folder / "ca-home/root-ca.crt")
    assert ": OK" in openssl(*check, "-untrusted", chain, *crls, leaf)


def test_the_files_are_where_the_certificates_say(hosts: Hosts) -> None:
    """CDP and AIA of the issuing CA's certificate name files of its own host, and they are the root's."""
    chain = x509.load_pem_x509_certificates(hosts.certwright("ca", "chain", *SUB).encode())
    access = chain[0].extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    points = chain[0].extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    published = hosts.folder / "ca-home/published"
    certificate, crl = (
        published / url.rsplit("/", 1)[1].replace("%20", " ")
        for url in (access[0].access_location.value, (points[0].full_name or ())[0].value)
    )

    assert certificate.read_bytes() == chain[1].public_bytes(Encoding.DER)
    assert x509.load_der_x509_crl(crl.read_bytes()).is_signature_valid(chain[1].public_key())  # type: ignore[arg-type]


def test_the_renewed_certificate_is_the_second_with_the_second_key(hosts: Hosts) -> None:
    assert "(1)" in " ".join(path.name for path in (hosts.folder / "ca-home/published").iterdir())
    shown = openssl("x509", "-noout", "-text", data=hosts.certwright("ca", "certificate", *SUB).encode())

    assert "1.3.6.1.4.1.311.21.2" in shown, "the previous certificate's hash"


def test_an_older_crl_of_the_root_is_refused(hosts: Hosts) -> None:
    """As it would be from a stick of last year."""
    hosts.certwright("ca", "crl", "--out", "old.crl", *ROOT)
    hosts.certwright("ca", "publish-crl", *ROOT)
    hosts.certwright("ca", "crl", "--out", "new.crl", *ROOT)
    hosts.certwright("ca", "import-crl", "new.crl", *SUB)

    with pytest.raises(AssertionError, match="holds a newer CRL already"):
        hosts.certwright("ca", "import-crl", "old.crl", *SUB)


def test_a_crl_of_a_ca_that_is_not_above_ours_is_refused(hosts: Hosts) -> None:
    hosts.certwright("ca", "crl", "--out", "own.crl", *SUB)

    with pytest.raises(AssertionError, match="only CRLs of CAs above ours"):
        hosts.certwright("ca", "import-crl", "own.crl", *SUB)


def test_the_root_s_next_crl_is_asked_for_in_time(hosts: Hosts) -> None:
    """It is carried here by people: they are told a month before it ends, a week before, and when it has."""
    with Installation.open(Home.open(hosts.folder / "ca-home")) as installation:
        ((_, file, crl),) = above.imported_crls(installation)
        assert file == "CORP Root CA.crl"
        assert crl.next_update is not None
        actor = r"CORP\Administrator"
        webhook = WebhookFields("Everything", "https://hooks.example.com/")
        channel = installation.notifications.channels.add(webhook, "a signing key of a test", actor=actor)
        rule = RuleFields("Everything", channel.id, tuple(LifecycleKind))
        installation.notifications.rules.add(rule, actor=actor)
        for days in (31, 29, 28, 6, 5, 0, -1):
            tell_of_imported_crls(installation, crl.next_update - timedelta(days=days))

        told = [str(line.kind) for line in installation.notifications.history()]
        assert sorted(told) == ["crl-needs-key", "crl-needs-key", "crl-overdue"]


def test_a_revoked_issuing_ca_is_revoked_after_the_next_carrying(hosts: Hosts) -> None:
    """Last of all: from here on nothing below it verifies."""
    leaf = issued(hosts, "last.corp.example")
    chain = hosts.folder / "last-chain.pem"
    hosts.certwright("ca", "chain", "--out", chain.name, *SUB)
    serial = x509.load_pem_x509_certificates(chain.read_bytes())[0].serial_number
    hosts.certwright("certificate", "revoke", f"{serial:x}", "--reason", "cACompromise", "--publish-crl", *ROOT)
    hosts.certwright("ca", "crl", "--out", "revoked.crl", *ROOT)
    hosts.certwright("ca", "import-crl", "revoked.crl", *SUB)

    published = hosts.folder / "ca-home/published"
    crls = [
        word for name in ("CORP Issuing CA(1).crl", "CORP Root CA.crl") for word in ("-CRLfile", published / name)
    ]
    check = ("verify", "-crl_check_all", "-CAfile", hosts.folder / "ca-home/root-ca.crt", "-untrusted", chain)
    assert "certificate revoked" in openssl(*check, *crls, leaf, check=False)


# -- while the server runs -------------------------------------------------------------------------------------------


@pytest.fixture
def running(mold: Mold, tmp_path: Path) -> Iterator[RunningServer]:
    """A server of its own, whose CA may be renewed."""
    home = mold.copy(tmp_path)
    server = RunningServer(home.folder, home.settings.https_port, home.settings.http_port).start()
    yield server
    server.stop()
    mold.drop(home)


def enrolled(server: RunningServer, folder: Path, name: str) -> Path:
    """A certificate from the server itself, at /certsrv."""
    certificate: bytes = certsrv(server, "basic", password=PASSWORD).get_cert(request_pem(name), "WebServer")
    return saved(folder, f"{name}.pem", certificate)


def test_a_running_server_follows_a_renewal(running: RunningServer, tmp_path: Path) -> None:
    """The next certificate is signed with the new key, and chain, CRLs and listener are those of the new one."""
    running.cli("ca", "set", "delta-crl-period=1 days")
    before = enrolled(running, tmp_path, "before.corp.example")
    running.cli("ca", "renew", "CORP Root CA", "--new-key", "ecdsa-p256")
    running.cli("ca", "renew", "--new-key", "ecdsa-p256")
    after = enrolled(running, tmp_path, "after.corp.example")

    old, new = (x509.load_pem_x509_certificate(path.read_bytes()) for path in (before, after))
    assert old.issuer == new.issuer
    old_key, new_key = (each.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier) for each in (old, new))
    assert old_key != new_key
    published = running.home / "published"
    root, chain = running.home / "root-ca.crt", tmp_path / "chain.pem"
    shown = max((running.home / "tls").glob("*.pem"))
    for trusted in x509.load_pem_x509_certificates(root.read_bytes()):
        alone = saved(tmp_path, "alone.pem", trusted.public_bytes(Encoding.PEM))
        assert ": OK" in openssl("verify", "-CAfile", alone, "-untrusted", shown, shown)
    running.cli("ca", "chain", "--out", chain)
    assert ": OK" in openssl("verify", "-x509_strict", "-CAfile", root, "-untrusted", chain, after)
    (point,) = new.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    (freshest,) = new.extensions.get_extension_for_class(x509.FreshestCRL).value
    for place, name in ((point, "CORP Issuing CA(1).crl"), (freshest, "CORP Issuing CA(1)+.crl")):
        (url,) = place.full_name or ()
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url.value, timeout=10) as answer:
            assert answer.read() == (published / name).read_bytes()
    crls = [word for name in ("", "(1)") for word in ("-CRLfile", published / f"CORP Issuing CA{name}.crl")]
    for leaf, name in ((before, ""), (after, "(1)")):
        certificate = pem(tmp_path, "ca.pem", (published / f"localhost_CORP Issuing CA{name}.crt").read_bytes())
        assert ": OK" in openssl("verify", "-partial_chain", "-crl_check", "-CAfile", certificate, *crls, leaf)


def test_a_running_server_serves_a_new_ca(running: RunningServer, tmp_path: Path) -> None:
    """Without a restart: at CES, and with its certificate and CRL at /CertEnroll/."""
    template = ("CertificateTemplate", "WebServer")
    asked = RequestSecurityToken(RequestType.ISSUE, make.web_server_request("www.corp.example"), context=(template,))
    with closing(Client(running, USER_NAME, People.ENROLLEE)) as caller:
        unknown = caller.token(asked, DEVICE_CES)
    assert isinstance(unknown, Refusal)
    assert unknown.status == 404

    told = running.cli("ca", "create", DEVICE_CA, "--parent", "CORP Root CA", "--key", "ecdsa-p256")
    assert "restart" not in told

    assert running.awaited_events(lambda event: event.get("event") == "ca_served" and event["ca"] == DEVICE_CA)
    with closing(Client(running, USER_NAME, People.ENROLLEE)) as caller:
        answer = caller.token(asked, DEVICE_CES)
    assert not isinstance(answer, Refusal), answer
    leaf = pem(tmp_path, "leaf.pem", answer.certificate)
    running.cli("ca", "chain", DEVICE_CA, "--out", tmp_path / "chain.pem")
    crl = running.home / "published" / f"{DEVICE_CA}.crl"
    root = ("-CAfile", running.root_certificate, "-untrusted", tmp_path / "chain.pem")
    assert ": OK" in openssl("verify", "-crl_check", *root, "-CRLfile", crl, leaf)


def test_every_location_of_a_running_server_is_well_until_a_file_is_gone(running: RunningServer) -> None:
    """As pkiview shows it: CDP, delta, AIA and OCSP, of what was issued, of what will be, and of the CAs' own."""
    running.cli("ca", "set", "delta-crl-period=1 days")
    running.cli("ca", "publish-crl")
    running.cli("responder", "enable")
    certsrv(running, "basic", password=PASSWORD).get_cert(request_pem("www.corp.example"), "WebServer")

    found = running.json("ca", "health")
    assert {row["state"] for row in found} == {"ok"}, found
    assert {row["kind"] for row in found} == {"CDP", "delta CDP", "AIA", "OCSP"}
    assert {row["ca"] for row in found} == {"CORP Issuing CA", "CORP Root CA"}

    (running.home / "published/CORP Root CA.crl").unlink()
    done = running.run("ca", "health", "CORP Root CA", "--json")
    assert done.returncode == 1
    assert [row["state"] for row in json.loads(done.stdout) if row["url"].endswith(".crl")] == ["down"]


def test_certificates_of_both_keys_have_answers_and_crls_of_their_own(running: RunningServer, tmp_path: Path) -> None:
    """Renewed with a new key: what either key issued is good, then revoked, by OCSP and by CRL, for openssl."""
    running.cli("responder", "enable")
    before = enrolled(running, tmp_path, "before.corp.example")
    running.cli("ca", "renew", "--new-key", "ecdsa-p256")
    after = enrolled(running, tmp_path, "after.corp.example")
    published = running.home / "published"
    issuers = [
        pem(tmp_path, f"issuer{name}.pem", (published / f"localhost_CORP Issuing CA{name}.crt").read_bytes())
        for name in ("", "(1)")
    ]

    def answered(leaf: Path, issuer: Path) -> str:
        url = f"{running.http}/ocsp"
        return openssl("ocsp", "-issuer", issuer, "-cert", leaf, "-url", url, "-CAfile", issuer, "-partial_chain")

    def checked(leaf: Path, issuer: Path, name: str) -> str:
        crl = published / f"CORP Issuing CA{name}.crl"
        words = ("-partial_chain", "-crl_check", "-CAfile", issuer, "-CRLfile", crl)
        return openssl("verify", *words, leaf, check=False)

    for leaf, issuer, name in ((before, issuers[0], ""), (after, issuers[1], "(1)")):
        assert f"{leaf}: good" in answered(leaf, issuer)
        assert ": OK" in checked(leaf, issuer, name)
        serial = x509.load_pem_x509_certificate(leaf.read_bytes()).serial_number
        running.cli("certificate", "revoke", f"{serial:x}", "--publish-crl")
        deadline = time.monotonic() + 5.0
        while f"{leaf}: revoked" not in (said := answered(leaf, issuer)):
            assert time.monotonic() < deadline, said
            time.sleep(0.05)
        assert "certificate revoked" in checked(leaf, issuer, name)
