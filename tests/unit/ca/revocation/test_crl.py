"""What a CRL says and when. [MS-CSRA] 3.1.4.1.6, RFC 5280 5."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from certwright.adcs.properties import CaType
from certwright.adcs.roles import RevocationReason
from certwright.ca.configuration import CaConfiguration
from certwright.ca.database import CaCertificateRecord, CaRecord, RevokedEntry
from certwright.ca.issuance.signing import CaSigner, UnsoundCertificate
from certwright.ca.revocation.crl import CrlTiming, certificates_by_key, make_crl
from certwright.ca.urls import IssuanceUrls
from certwright.keystores.software import SoftwareSigningKey
from certwright.pki import oids
from certwright.pki.crl import encode_entry
from tests.support import requests
from tests.support.issuing import NOW, ca_certificate, lint, pem, signer_for
from tests.support.programs import certtool, openssl

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


def timing(now: datetime = NOW, not_before: datetime = LONG_AGO) -> CrlTiming:
    return CrlTiming.of(now, CaConfiguration.load({}), not_before)


def revoked(count: int, reason: RevocationReason = RevocationReason.KEY_COMPROMISE) -> Iterator[RevokedEntry]:
    for number in range(count):
        serial = 0x7A00_0000_0000_0000_0000_0000_0000_0000_0000_00 + number
        yield RevokedEntry(serial, NOW, reason, encode_entry(serial, NOW, int(reason)))


# -- times -----------------------------------------------------------------------------------------------------------


def test_a_week_s_crl_is_valid_for_seven_days_twelve_hours_and_twenty_minutes() -> None:
    """The worked example: overlap 12 h, its skew and the skew. [MS-CSRA] 3.1.4.1.6."""
    times = timing()

    assert times.this_update == NOW - timedelta(minutes=10)
    assert times.next_publish == NOW + timedelta(days=7)
    assert times.next_update == NOW + timedelta(days=7, hours=12, minutes=20)


@pytest.mark.parametrize(
    ("settings", "beyond_period"),
    [
        ({"crl-period": "1 days"}, timedelta(hours=2, minutes=24 + 20)),  # a tenth
        ({"crl-period": "2 hours"}, timedelta(minutes=15 + 20)),  # at least one and a half skews
        ({"crl-period": "5 minutes"}, timedelta(minutes=5 + 20)),  # at most the period
        ({"crl-period": "26 weeks"}, timedelta(hours=12, minutes=20)),  # at most 12 hours
        ({"crl-overlap": "2 days"}, timedelta(days=2, minutes=10)),  # as configured, and the skew
        ({"crl-overlap": "0 hours"}, timedelta(hours=12, minutes=20)),  # nothing: worked out, as on Windows
        ({"clock-skew": "0 minutes", "crl-period": "1 days"}, timedelta(hours=2, minutes=24)),
    ],
)
def test_overlap_follows_the_rule(settings: dict[str, str], beyond_period: timedelta) -> None:
    """[MS-CSRA] 3.1.4.1.6: min(10 %, 12 h), then at least 1.5 skews, then at most the period, then one skew more."""
    times = CrlTiming.of(NOW, CaConfiguration.load(settings), LONG_AGO)

    assert times.next_update - times.next_publish == beyond_period


def test_this_update_is_not_before_the_ca() -> None:
    """A CA that is a minute old cannot have said anything ten minutes ago."""
    assert timing(not_before=NOW - timedelta(minutes=1)).this_update == NOW - timedelta(minutes=1)


def test_times_are_whole_seconds() -> None:
    times = timing(now=NOW.replace(microsecond=7))

    assert not any(when.microsecond for when in (times.this_update, times.next_update, times.next_publish))


# -- which keys ------------------------------------------------------------------------------------------------------


def test_one_crl_a_key_until_its_last_certificate_expires() -> None:
    """Key 0 was renewed once with the same key and has expired; key 2 is alive. [MS-WCCE] 3.2.1.4.3.2.39."""

    def certificate(index: int, key_index: int, ends: int) -> CaCertificateRecord:
        return CaCertificateRecord(index, key_index, b"", "key", LONG_AGO, NOW + timedelta(days=ends))

    certificates = (certificate(0, 0, -9), certificate(1, 0, -1), certificate(2, 2, 1), certificate(3, 2, 9))
    record = CaRecord(1, "CA", CaType.ENTERPRISE_ROOT, "", {}, certificates, 0, 1)

    found = certificates_by_key(record, NOW)

    assert found == {2: certificates[3]}
    assert list(certificates_by_key(record, NOW - timedelta(days=2))) == [0, 2]


# -- contents --------------------------------------------------------------------------------------------------------


def test_a_crl_carries_what_ad_cs_writes() -> None:
    """AKI, CRL number, CA version, next publish, none critical; entries with their reason. RFC 5280 5.2, 5.3."""
    signer = signer_for(index=6, key_index=5)

    crl = x509.load_der_x509_crl(make_crl(signer, revoked(2), 42, timing()).der)

    public_key = requests.ec_key(number=1).public_key()
    assert crl.is_signature_valid(public_key)
    assert crl.issuer == x509.load_der_x509_certificate(signer.certificate.der).subject
    found = {extension.oid.dotted_string: extension for extension in crl.extensions}
    assert set(found) == {oids.AUTHORITY_KEY_IDENTIFIER, oids.CA_VERSION, oids.CRL_NUMBER, oids.NEXT_CRL_PUBLISH}
    assert not any(extension.critical for extension in found.values())
    identifier = x509.SubjectKeyIdentifier.from_public_key(public_key).digest
    assert found[oids.AUTHORITY_KEY_IDENTIFIER].value == x509.AuthorityKeyIdentifier(identifier, None, None)
    assert found[oids.CRL_NUMBER].value == x509.CRLNumber(42)
    assert found[oids.CA_VERSION].value.public_bytes() == bytes.fromhex("0203050006")
    assert found[oids.NEXT_CRL_PUBLISH].value.public_bytes() == b"\x17\x0d310513070809Z"
    entries = list(crl)
    assert [entry.revocation_date_utc for entry in entries] == [NOW, NOW]
    reason = entries[0].extensions.get_extension_for_class(x509.CRLReason).value
    assert reason == x509.CRLReason(x509.ReasonFlags.key_compromise)


def test_reason_0_is_not_written() -> None:
    """RFC 5280 5.3.1."""
    made = make_crl(signer_for(), revoked(1, RevocationReason.UNSPECIFIED), 1, timing())

    (entry,) = x509.load_der_x509_crl(made.der)
    assert not list(entry.extensions)


def test_the_record_repeats_what_the_crl_says() -> None:
    made = make_crl(signer_for(key_index=3), revoked(5), 7, timing())

    parsed = x509.load_der_x509_crl(made.der)
    assert (made.number, made.min_base, made.key_index, made.entry_count) == (7, 0, 3, len(parsed))
    assert made.this_update == parsed.last_update_utc
    assert made.next_update == parsed.next_update_utc
    assert made.published_when is None


@pytest.mark.parametrize("kind", ["P-384", "RSA"])
def test_every_kind_of_key_signs(kind: str) -> None:
    key = requests.rsa_key() if kind == "RSA" else requests.ec_key("P-384", 1)

    crl = x509.load_der_x509_crl(make_crl(signer_for(key), revoked(1), 1, timing()).der)

    assert crl.is_signature_valid(key.public_key())


def test_a_crl_that_does_not_verify_is_kept_back() -> None:
    """An HSM that answers with rubbish must not replace a good CRL. [MS-CSRA] 3.1.4.1.6."""
    key, other = requests.ec_key(number=1), requests.ec_key(number=2)
    signer = CaSigner(ca_certificate(key), 0, 0, SoftwareSigningKey("ca", key), IssuanceUrls())
    signer._key = SoftwareSigningKey("other", other)

    with pytest.raises(UnsoundCertificate, match="CRL 1 of"):
        make_crl(signer, revoked(1), 1, timing())


def test_a_hundred_thousand_entries_stream() -> None:
    """Stored entries pass through; what stays in memory is the finished list, not objects for its entries."""
    entry = next(revoked(1))
    size = 100_000 * len(entry.encoded)

    tracemalloc.start()
    made = make_crl(signer_for(), (entry for _ in range(100_000)), 1, timing())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert made.entry_count == 100_000
    assert size < len(made.der) < size + 1000
    assert peak < 8 * size  # spool, buffer, result and its check; a parsed entry takes 30 times its encoding


# -- other people's programs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 3])
def test_openssl_and_gnutls_verify_it(count: int, tmp_path: Path) -> None:
    ca = pem(tmp_path, "ca.pem", ca_certificate(requests.ec_key(number=1)))
    crl = tmp_path / "ca.crl"
    crl.write_bytes(make_crl(signer_for(), revoked(count), 9, timing(now=datetime.now(UTC))).der)
    text = tmp_path / "crl.pem"
    text.write_text(openssl("crl", "-inform", "DER", "-in", crl))

    assert "verify OK" in openssl("crl", "-in", text, "-CAfile", ca, "-noout")
    assert "Error" not in openssl("asn1parse", "-inform", "DER", "-in", crl)
    said = certtool("--verify-crl", "--load-ca-certificate", ca, "--infile", text)
    assert "Verification output: Verified" in said


@pytest.mark.peer
@pytest.mark.parametrize("count", [0, 3])
def test_pkilint_finds_no_error(count: int, tmp_path: Path) -> None:
    path = tmp_path / "ca.crl"
    path.write_bytes(make_crl(signer_for(), revoked(count), 9, timing()).der)

    assert not lint("lint_crl", "-t", "CRL", "-p", "PKIX", path)
