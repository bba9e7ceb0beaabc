"""The guide's page "The life of a CA", followed word for word with two homes: a root without a network and its CA.

Only the place of the stick is another one than on the page.
"""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.integration.clients import certsrv, request_pem, saved
from tests.support.installation import PASSWORD, Mold
from tests.support.issuing import pem
from tests.support.programs import openssl
from tests.support.server import RunningServer
from tests.test_docs import GUIDE, blocks

PAGE: Final = GUIDE / "life-of-a-ca.md"
STICK: Final = "/media/stick"
CRLS: Final = ("CORP Issuing CA(1).crl", "CORP Root CA.crl")
SUB: Final = ("--home", "ca-home")
ROOT: Final = ("--home", "root-home")


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
