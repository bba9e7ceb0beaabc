"""A CA renews its certificate: versions, hashes, cross certificates, CRLs of both keys. [MS-WCCE] 3.2.1.4.3.2.39."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from certwright.adcs.errors import ConfigurationError
from certwright.adcs.events import AuditEvent
from certwright.adcs.roles import RevocationReason
from certwright.ca.authority import Authority
from certwright.ca.chains import certificates_above
from certwright.ca.database import CaCertificateRecord
from certwright.ca.installation import ROOT_VALIDITY, SUBORDINATE_VALIDITY
from certwright.ca.renewal import Renewal, ask_for_renewal, renew_root, renew_subordinate
from certwright.ca.revocation.publication import CrlPublisher, FolderTarget
from certwright.keystores.base import KeyAlgorithm
from certwright.pki import oids
from certwright.pki.certificate import CertificateView
from certwright.pki.extensions import decode_previous_ca_hash
from certwright.pki.pkcs10 import CertificationRequest
from tests.support.installed import ADMINISTRATOR, HOST, TwoTier
from tests.support.issued import certificate_of, issue_row, revoke
from tests.support.issuing import pem
from tests.support.memory_ca_database import MemoryCaTransaction
from tests.support.programs import openssl

P256 = KeyAlgorithm.ECDSA_P256


@pytest.fixture
def installed(tmp_path: Path) -> TwoTier:
    return TwoTier(tmp_path).install()


def renew_the_root(installed: TwoTier, new_key: str = "") -> CaCertificateRecord:
    renewal = Renewal(ROOT_VALIDITY, (new_key, P256) if new_key else None)
    return renew_root(installed.root_database, installed.keys, renewal, ADMINISTRATOR, installed.clock())


def renew_the_issuing_ca(installed: TwoTier, new_key: str = "") -> CaCertificateRecord:
    renewal = Renewal(SUBORDINATE_VALIDITY, (new_key, P256) if new_key else None)
    return renew_subordinate(
        installed.root_database, installed.database, installed.keys, renewal, ADMINISTRATOR, installed.clock()
    )


def test_versions_count_certificates_and_keys(installed: TwoTier) -> None:
    """The sequence of the specification: 0.0, 1.1, 2.1, 3.1, 4.1, 5.5, 6.5, 7.5, 8.8."""
    for index in range(1, 9):
        installed.clock.turn(timedelta(days=400))
        renew_the_issuing_ca(installed, f"key-{index}" if index in (1, 5, 8) else "")

    made = installed.database.ca().certificates
    assert [(each.index, each.key_index) for each in made] == [
        *((0, 0), (1, 1), (2, 1), (3, 1), (4, 1), (5, 5), (6, 5), (7, 5), (8, 8))
    ]
    assert [CertificateView.parse(each.der).ca_version for each in made] == [
        (each.index, each.key_index) for each in made
    ]


def test_a_renewed_certificate_names_the_one_before(installed: TwoTier) -> None:
    """1.3.6.1.4.1.311.21.2 is the SHA-1 of it; the first certificate has none."""
    first = installed.root_database.ca().certificates[0]
    renewed = renew_the_root(installed, "second")

    view = CertificateView.parse(renewed.der)
    found = decode_previous_ca_hash(view.extensions[oids.PREVIOUS_CA_HASH].value)
    assert found == hashlib.sha1(first.der, usedforsecurity=False).digest()
    assert oids.PREVIOUS_CA_HASH not in CertificateView.parse(first.der).extensions
    assert view.subject == CertificateView.parse(first.der).subject


def test_the_same_key_stays_the_same_and_needs_no_cross_certificates(installed: TwoTier) -> None:
    first = installed.root_database.ca().certificates[0]
    renewed = renew_the_root(installed)

    assert renewed.key_name == first.key_name
    assert renewed.crosses == ()
    assert CertificateView.parse(renewed.der).public_key_info == CertificateView.parse(first.der).public_key_info


def test_cross_certificates_lead_from_either_root_to_what_stands_under_the_other(
    installed: TwoTier, tmp_path: Path
) -> None:
    """Who trusts the old root alone verifies what the new key signed, and the other way round."""
    old_below = installed.database.ca().certificates[0]
    renewed = renew_the_root(installed, "second")
    new_below = renew_the_issuing_ca(installed)

    old, new = (
        pem(tmp_path, f"root{each.index}.pem", each.der) for each in installed.root_database.ca().certificates
    )
    forward, backward = (pem(tmp_path, f"cross{at}.pem", der) for at, der in enumerate(renewed.crosses))
    old_leaf, new_leaf = pem(tmp_path, "old.pem", old_below.der), pem(tmp_path, "new.pem", new_below.der)
    assert ": OK" in openssl("verify", "-CAfile", old, "-untrusted", forward, new_leaf)
    assert ": OK" in openssl("verify", "-CAfile", new, "-untrusted", backward, old_leaf)
    assert ": OK" in openssl("verify", "-x509_strict", "-CAfile", new, new_leaf)
    assert "unable to get" in openssl("verify", "-CAfile", old, new_leaf, check=False)
    rows = [installed.root_database.request(number) for number in (3, 4)]
    assert [row.template if row else "" for row in rows] == ["CrossCA", "CrossCA"]
    for number in (3, 4):
        raw = installed.root_database.raw_request(number)
        assert raw
        CertificationRequest.parse(raw).verify_signature()  # each with the key it is for


def test_certificates_of_both_keys_verify_with_their_own_crl(installed: TwoTier, tmp_path: Path) -> None:
    """The old key signs the CRLs of what it issued as long as one of its certificates is good."""
    authority, folder = installed.authority(), tmp_path / "CertEnroll"
    good, bad = issue_row(authority), issue_row(authority)
    renew_the_issuing_ca(installed, "second")
    new_good, new_bad = issue_row(authority), issue_row(authority)
    revoke(authority, bad)
    revoke(authority, new_bad, RevocationReason.KEY_COMPROMISE)

    CrlPublisher((FolderTarget(folder),)).publish(authority, ADMINISTRATOR.account)

    top = pem(tmp_path, "root.pem", installed.root_database.ca().certificates[0].der)
    CrlPublisher((FolderTarget(folder),)).publish(installed.authority(installed.root_database), ADMINISTRATOR.account)
    names = ("", "(1)")
    cas = [
        pem(tmp_path, f"ca{at}.pem", (folder / f"{HOST}_Corp Issuing CA{name}.crt").read_bytes())
        for at, name in enumerate(names)
    ]
    crls = [folder / f"Corp Issuing CA{name}.crl" for name in names]
    for serials, at in (((good, bad), 0), ((new_good, new_bad), 1)):
        check = ("verify", "-crl_check_all", "-CAfile", top, "-untrusted", cas[at])
        both = (*check, "-CRLfile", crls[at], "-CRLfile", folder / "Corp Root CA.crl")
        assert ": OK" in openssl(*both, certificate(authority, tmp_path, serials[0]))
        assert "certificate revoked" in openssl(*both, certificate(authority, tmp_path, serials[1]), check=False)
        other = (*check, "-CRLfile", crls[1 - at], "-CRLfile", folder / "Corp Root CA.crl")
        assert "CRL" in openssl(*other, certificate(authority, tmp_path, serials[0]), check=False)


def certificate(authority: Authority, folder: Path, serial: str) -> Path:
    return pem(folder, f"{serial}.pem", certificate_of(authority, serial))


def test_an_old_key_s_crls_end_with_its_last_certificate(installed: TwoTier) -> None:
    authority, publisher = installed.authority(), CrlPublisher(())
    installed.clock.turn(timedelta(days=400))
    renew_the_issuing_ca(installed, "second")
    assert [crl.key_index for crl in publisher.publish(authority, ADMINISTRATOR.account)] == [0, 1]

    installed.clock.now = installed.database.ca().certificates[0].not_after + timedelta(seconds=1)

    assert [crl.key_index for crl in publisher.publish(authority, ADMINISTRATOR.account)] == [1]


def test_a_new_key_s_first_crl_is_due_at_once(installed: TwoTier) -> None:
    """Whatever happens to the process that renewed: the worker makes it."""
    authority, publisher = installed.authority(), CrlPublisher(())
    publisher.publish(authority, ADMINISTRATOR.account)
    assert not publisher.is_due(authority, installed.clock())

    renew_the_issuing_ca(installed, "second")

    assert publisher.is_due(authority, installed.clock())


def test_published_names_carry_the_numbers(installed: TwoTier, tmp_path: Path) -> None:
    """`(N)` of the certificate, `(K)` of the key, `(0-1)` for a cross certificate."""
    renew_the_root(installed)
    renew_the_root(installed, "second")

    CrlPublisher((FolderTarget(tmp_path / "out"),)).publish(
        installed.authority(installed.root_database), ADMINISTRATOR.account
    )

    crls = {f"Corp Root CA{number}.crl" for number in ("", "(2)")}
    certificates = {f"{HOST}_Corp Root CA{number}.crt" for number in ("", "(1)", "(2)", "(1-2)", "(2-1)")}
    assert {path.name for path in (tmp_path / "out").iterdir()} == crls | certificates


def test_chains_follow_the_key_that_signed(installed: TwoTier) -> None:
    """A chain ends in the newest root certificate of the key that signed, not in the newest root."""
    databases = (installed.root_database, installed.database)
    below = installed.database.ca().certificates[0]

    def above(certificate: CaCertificateRecord) -> Sequence[bytes]:
        return certificates_above(certificate, "Corp Root CA", lambda: [each.ca() for each in databases])

    same_key = renew_the_root(installed)
    assert above(below) == (same_key.der,)
    new_key = renew_the_root(installed, "second")
    assert above(below) == (same_key.der,)
    assert above(renew_the_issuing_ca(installed)) == (new_key.der,)


def test_a_renewal_is_on_record_and_in_the_audit_trail(installed: TwoTier) -> None:
    renewed = renew_the_issuing_ca(installed, "second")

    row = installed.root_database.request_by_serial(CertificateView.parse(renewed.der).serial_number)
    own = installed.database.request(2)
    assert row
    assert own
    assert row.template == own.template == "SubCA"
    event = installed.database.events[-1]
    assert event.event is AuditEvent.CA_CERTIFICATE_RENEWED
    assert event.details["version"] == "1.1"


# -- whole or not there ----------------------------------------------------------------------------------------------


@contextmanager
def failing_commits(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As if the process ended before the commit."""
    with monkeypatch.context() as patched:

        def fail(self: MemoryCaTransaction, record: CaCertificateRecord) -> None:
            raise OSError("the disk is full")

        patched.setattr(MemoryCaTransaction, "add_ca_certificate", fail)
        yield


def test_a_renewal_that_fails_leaves_nothing(installed: TwoTier, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither certificate, nor rows, nor key; the cross certificates go with it."""
    before = installed.root_database.ca()
    with failing_commits(monkeypatch), pytest.raises(OSError, match="disk is full"):
        renew_the_root(installed, "second")

    assert installed.root_database.ca() == before
    assert installed.root_database.request(3) is None
    assert not installed.keys.exists("second")
    assert renew_the_root(installed, "second").index == 1


def test_two_renewals_at_once_are_one(installed: TwoTier, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one sees under the lock that the certificates are others than it looked at."""
    real = installed.keys.open

    def open_late(name: str) -> object:
        monkeypatch.setattr(installed.keys, "open", real)
        renew_the_root(installed)
        return real(name)

    monkeypatch.setattr(installed.keys, "open", open_late)
    with pytest.raises(ConfigurationError, match="renewed by somebody else"):
        renew_the_root(installed, "second")

    assert len(installed.root_database.ca().certificates) == 2
    assert not installed.keys.exists("second")


def test_only_a_root_signs_itself(installed: TwoTier) -> None:
    renewal = Renewal(ROOT_VALIDITY)
    with pytest.raises(ConfigurationError, match="no root CA"):
        renew_root(installed.database, installed.keys, renewal, ADMINISTRATOR, installed.clock())
    with pytest.raises(ConfigurationError, match="signs its own"):
        ask_for_renewal(installed.root_database, installed.keys, renewal, ADMINISTRATOR, installed.clock())


def test_the_first_certificate_stays_what_it_was(installed: TwoTier) -> None:
    """Renewing changes no certificate that is there; leaves go on verifying."""
    before = installed.database.ca().certificates
    renew_the_issuing_ca(installed)

    assert installed.database.ca().certificates[:1] == before
    assert x509.load_der_x509_certificate(before[0].der).serial_number
