"""Several responders on one database, and a CA with two keys; before OpenSSL. [MS-OCSPA] 3.2.1, RFC 6960 4.2.2.2."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
from cryptography import x509
from cryptography.x509 import ocsp as peer

from certwright.pki import armor
from certwright.server.composition import Installation
from certwright.server.home import CONFIGURATION, Home
from tests.support.installation import Mold
from tests.support.issuing import pem
from tests.support.ocsp_site import Site, running_site, site_of
from tests.support.programs import openssl
from tests.support.server import RunningServer, free_ports

WITHIN: Final = 1.0  # seconds from a revocation to every responder's answer
PATIENCE: Final = 15.0

# -- an array


@pytest.fixture(scope="module")
def array(molds: Callable[[str], Mold], tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, Site]]:
    """Two hosts: a home each, with a signing certificate each, and one PostgreSQL."""
    folder = tmp_path_factory.mktemp("array")
    mold = molds("postgresql")
    first = mold.copy(folder)
    with ExitStack() as stack:
        stack.callback(mold.drop, first)
        servers = []
        for number in range(2):
            home = first.folder
            if number:
                home = folder / "second"
                shutil.copytree(first.folder, home)
                for path in (home / "responder").glob("*"):
                    path.unlink()
            https, http = free_ports(2)
            settings = replace(Home.open(home).settings, https_port=https, http_port=http)
            (home / CONFIGURATION).write_text(settings.to_toml())
            servers.append(RunningServer(home, https, http))
        servers[0].cli("responder", "enable", "--no-announce")
        servers[1].cli("responder", "refresh", "--certificate")
        installation = stack.enter_context(Installation.open(Home.open(first.folder)))
        installation.start_issuers()
        sites = []
        for server in servers:
            stack.callback(server.stop)
            server.start("serve")
            sites.append(site_of(server, installation, folder))
        yield sites[0], sites[1]


def answers(array: tuple[Site, Site], certificate: Path) -> list[peer.OCSPResponse]:
    return [site.get(certificate) for site in array]


def statuses(array: tuple[Site, Site], certificate: Path) -> list[peer.OCSPCertStatus]:
    return [each.certificate_status for each in answers(array, certificate)]


def test_two_processes_on_one_database_answer_alike_each_under_its_own_signer(array: tuple[Site, Site]) -> None:
    certificate = array[0].issue()

    one, other = answers(array, certificate)

    assert [one.certificate_status, other.certificate_status] == [peer.OCSPCertStatus.GOOD] * 2
    assert one.certificates[0].serial_number != other.certificates[0].serial_number
    for site in array:
        assert f"{certificate}: good" in site.ask(certificate)


def test_a_revocation_on_one_host_is_in_the_answers_of_all_within_a_second(array: tuple[Site, Site]) -> None:
    certificate = array[0].issue()
    assert statuses(array, certificate) == [peer.OCSPCertStatus.GOOD] * 2

    array[0].revoke(certificate)
    deadline = time.monotonic() + WITHIN
    while statuses(array, certificate) != [peer.OCSPCertStatus.REVOKED] * 2:
        assert time.monotonic() < deadline


def test_the_others_answer_on_when_one_dies(array: tuple[Site, Site]) -> None:
    certificate = array[0].issue()
    array[1].server.kill()
    try:
        assert f"{certificate}: good" in array[0].ask(certificate)
        array[0].revoke(certificate)
    finally:
        array[1].server.start("serve")

    assert f"{certificate}: revoked" in array[1].ask(certificate)


# -- two keys


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running_site(tmp_path_factory.mktemp("keys")) as running:
        yield running


def test_certificates_of_both_keys_verify_with_their_own_crl_and_answers(site: Site, tmp_path: Path) -> None:
    """After a renewal with a new key: each certificate by the CRL and the OCSP answers of the key that signed it."""
    old = site.issue("old.corp.example")
    site.server.cli("ca", "renew", "--new-key", "ecdsa-p256")
    new = site.issue("new.corp.example")
    published = site.server.home / "published"
    issuers = {
        certificate: pem(
            tmp_path, f"{index}.pem", (published / f"localhost_CORP Issuing CA{suffix}.crt").read_bytes()
        )
        for index, (certificate, suffix) in enumerate(((old, ""), (new, "(1)")))
    }
    crls = [part for name in ("", "(1)") for part in ("-CRLfile", published / f"CORP Issuing CA{name}.crl")]
    root = site.server.root_certificate

    for certificate, issuer in issuers.items():
        assert ": OK" in openssl(*("verify", "-CAfile", root, "-untrusted", issuer, "-crl_check", *crls, certificate))
        assert f"{certificate}: good" in asked(site, issuer, certificate, "good")
    for certificate in issuers:
        site.revoke(certificate)
    site.server.cli("ca", "publish-crl")
    for certificate, issuer in issuers.items():
        assert f"{certificate}: revoked" in asked(site, issuer, certificate, "revoked")
        told = openssl(
            *("verify", "-CAfile", root, "-untrusted", issuer, "-crl_check", *crls, certificate), check=False
        )
        assert "certificate revoked" in told


def asked(site: Site, issuer: Path, certificate: Path, status: str) -> str:
    """What OpenSSL says of an answer that it verified with nothing but the root and this key of the CA."""
    deadline = time.monotonic() + PATIENCE
    while True:
        text = openssl(
            *("ocsp", "-issuer", issuer, "-cert", certificate, "-url", site.url, "-no_nonce"),
            *("-CAfile", site.server.root_certificate, "-verify_other", issuer),
            check=False,
        )
        if ("Response verify OK" in text and f": {status}" in text) or time.monotonic() > deadline:
            return text


def test_the_new_key_gets_a_signer_of_its_own(site: Site) -> None:
    """Until then it signs itself, so that nobody waits."""
    deadline = time.monotonic() + PATIENCE
    site.server.cli("responder", "refresh", "--certificate")
    certificate = site.issue()
    published = site.server.home / "published" / "localhost_CORP Issuing CA(1).crt"
    newest = x509.load_der_x509_certificate(published.read_bytes())
    site.issuer.write_text(armor.armor(armor.CERTIFICATE, published.read_bytes()))
    while not (signers := site.get(certificate).certificates):
        assert time.monotonic() < deadline
    signers[0].verify_directly_issued_by(newest)
