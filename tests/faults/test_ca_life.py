"""`kill -9` while a CA is renewed or its CRLs are made: whole or not there, and no CRL number ever comes back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from cryptography import x509

from certwright.pki.certificate import CertificateView
from certwright.pki.crl import CrlView
from certwright.server.composition import Installation
from certwright.server.home import Home
from tests.support.installation import ISSUING, ROOT
from tests.support.server import RunningServer, environment

KILLED: Final = -9
PROGRAM: Final = """
import importlib, os, signal, sys
module, _, name = sys.argv[1].rpartition(".")
owner, when, count = importlib.import_module(module.partition(":")[0]), sys.argv[2], int(sys.argv[3])
for part in filter(None, module.partition(":")[2].split(".")):
    owner = getattr(owner, part)
real, calls = getattr(owner, name), 0

def deadly(*args, **kwargs):
    global calls
    calls += 1
    made = real(*args, **kwargs) if calls < count or when == "after" else None
    if calls == count:
        os.kill(os.getpid(), signal.SIGKILL)
    return made

setattr(owner, name, deadly)
from certwright.cli import main
sys.argv[1:] = sys.argv[4:]
main()
"""
"""Runs a command and kills its process before or after the n-th call of one function."""

RENEWAL: Final = {
    "the key is made": ("certwright.ca.renewal.request_of", "before", 1),
    "the CA's own row is written": ("certwright.ca.renewal.record_own", "after", 1),
    "it is about to be committed": ("certwright.ca.transaction:SqlCaTransaction.finish", "after", 2),
    "it is committed": ("certwright.server.authorities.follow", "before", 1),
    "the number of the CRLs is taken": ("certwright.ca.revocation.publication.make_crl", "before", 1),
    "one of two CRLs is made": ("certwright.ca.revocation.publication.make_crl", "after", 1),
    "a file is about to be replaced": ("os.replace", "before", 3),
}


def kill_in(server: RunningServer, moment: tuple[str, str, int], *words: str) -> None:
    function, when, count = moment
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, function, when, str(count), *words, "--home", str(server.home)],
        env=environment(server.home),
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == KILLED, done.stderr.decode()


def number_of(server: RunningServer, key: str = "") -> int:
    path = Path(server.home, "published", f"{ISSUING}{key}.crl")
    return CrlView.parse(path.read_bytes()).number or 0


@pytest.mark.parametrize("moment", RENEWAL.values(), ids=list(RENEWAL))
def test_a_renewal_is_whole_or_not_there(moment: tuple[str, str, int], victim: RunningServer) -> None:
    before = number_of(victim)

    kill_in(victim, moment, "ca", "renew", ISSUING, "--new-key", "ecdsa-p256")

    with Installation.open(Home.open(victim.home)) as installation:
        database = installation.ca(ISSUING).authority.database
        root = installation.ca(ROOT).authority.database
        certificates = database.ca().certificates
        newest = CertificateView.parse(certificates[-1].der)
        assert root.request_by_serial(newest.serial_number), "the signing CA knows what it signed"
        assert database.request_by_serial(newest.serial_number)
        assert installation.key_store.exists(certificates[-1].key_name)
        issued = sum(1 for number in range(1, 9) if (row := root.request(number)) and row.common_name == ISSUING)
        assert issued == len(certificates), "and nothing that nobody has"
        assert not installation.audit.verify().broken
    assert number_of(victim) >= before

    if len(certificates) == 1:
        victim.cli("ca", "renew", ISSUING, "--new-key", "ecdsa-p256")
    victim.cli("ca", "publish-crl", ISSUING)
    assert number_of(victim) == number_of(victim, "(1)") > before
    with Installation.open(Home.open(victim.home)) as installation:
        assert [each.key_index for each in installation.ca(ISSUING).authority.database.ca().certificates] == [0, 1]
    _verify_both_keys(victim)


def _verify_both_keys(server: RunningServer) -> None:
    """Each CRL is signed with the key it is of."""
    published = Path(server.home, "published")
    for suffix in ("", "(1)"):
        (found,) = published.glob(f"*_{ISSUING}{suffix}.crt")
        certificate = x509.load_der_x509_certificate(found.read_bytes())
        crl = x509.load_der_x509_crl((published / f"{ISSUING}{suffix}.crl").read_bytes())
        assert crl.is_signature_valid(certificate.public_key())  # type: ignore[arg-type]


def test_a_crl_number_never_comes_back(victim: RunningServer) -> None:
    """Base and delta CRLs, killed at each step: what is published only grows, and no number is used twice."""
    victim.cli("ca", "set", "delta-crl-period=1 days", "--ca", ISSUING)
    seen = [number_of(victim)]
    for moment in (
        ("certwright.ca.transaction:SqlCaTransaction.next_crl_number", "after", 1),
        ("certwright.ca.revocation.publication.make_crl", "before", 1),
        ("certwright.ca.revocation.publication.make_crl", "after", 2),
        ("certwright.ca.transaction:SqlCaTransaction.add_crl", "after", 1),
        ("os.replace", "before", 1),
        ("os.replace", "after", 1),
    ):
        kill_in(victim, moment, "ca", "publish-crl", ISSUING)
        seen.append(number_of(victim))
        victim.cli("ca", "publish-crl", ISSUING)
        seen.append(number_of(victim))
        victim.cli("ca", "publish-crl", ISSUING, "--delta")

    assert seen == sorted(seen)
    with Installation.open(Home.open(victim.home)) as installation:
        rows = installation.database.read()
        with rows as connection:
            made = connection.many("SELECT number, min_base > 0 FROM ca_crl WHERE ca_id = 2")
        assert len(made) == len(set(made))
        last = installation.ca(ISSUING).authority.database.ca().crl_number
        assert last == max(number for number, _ in made)
