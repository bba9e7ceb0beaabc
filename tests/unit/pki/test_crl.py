"""CRLs written as a stream and read by others. RFC 5280 5, [MS-CSRA] 3.1.4.1.6."""

from __future__ import annotations

import hashlib
import io
import tracemalloc
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from certwright.pki import crl, der, oids
from certwright.pki.certificate import CertificateView
from certwright.pki.crl import CrlEntry, CrlHead, CrlReason, CrlView
from certwright.pki.errors import EncodingError, SignatureError
from certwright.pki.signatures import SCHEMES, SignatureKind, SignatureScheme, Signer
from tests.support import programs, requests
from tests.support.certificates import CA_NAME, ca_certificate
from tests.support.requests import PrivateKey

WHEN = datetime(2025, 3, 4, 5, 6, 7, tzinfo=UTC)
ISSUER = x509.Name.from_rfc4514_string(CA_NAME).public_bytes()
HEAD = CrlHead(ISSUER, WHEN, WHEN + timedelta(days=7))
KEY_ID = hashlib.sha1(b"key").digest()
SIGNER = Signer.of(requests.ec_key("P-256", 100))
EXTENSIONS = crl.crl_extensions(authority_key_id=KEY_ID, number=5)


def write(
    entries: Iterable[bytes] = (), extensions: bytes = EXTENSIONS, signer: Signer = SIGNER, head: CrlHead = HEAD
) -> bytes:
    entries = list(entries)
    out = io.BytesIO()
    crl.write_crl(out, head, entries, sum(map(len, entries)), extensions, signer)
    return out.getvalue()


ENTRIES = [
    crl.encode_entry(0x1F00000007, WHEN, CrlReason.KEY_COMPROMISE),
    crl.encode_entry(5, WHEN - timedelta(days=1), CrlReason.CERTIFICATE_HOLD),
    crl.encode_entry(6, WHEN, 0),
    crl.encode_entry(7, WHEN),
]


# -- as others read it -----------------------------------------------------------------------------------------------


def test_openssl_and_the_other_library_read_a_base_crl(tmp_path: Path) -> None:
    made = write(
        ENTRIES,
        crl.crl_extensions(
            authority_key_id=KEY_ID,
            number=5,
            certificate_index=2,
            key_index=1,
            next_publish=WHEN + timedelta(days=6),
            freshest_crl=["http://pki.corp.example/ca+.crl"],
            published_locations=["ldap:///CN=ca"],
        ),
    )
    issuer = tmp_path / "ca.pem"
    issuer.write_bytes(x509.load_der_x509_certificate(ca_certificate()).public_bytes(Encoding.PEM))
    text = programs.openssl("crl", "-inform", "DER", "-noout", "-text", "-CAfile", issuer, data=made)
    assert "verify OK" in text
    for line in ("Version 2", "Serial Number: 1F00000007", "Key Compromise", "Certificate Hold", "ca+.crl"):
        assert line in text
    theirs = x509.load_der_x509_crl(made)
    assert theirs.is_signature_valid(requests.ec_key("P-256", 100).public_key())
    assert theirs.next_update_utc == WHEN + timedelta(days=7)
    assert [(e.serial_number, e.revocation_date_utc) for e in theirs] == [
        (0x1F00000007, WHEN),
        (5, WHEN - timedelta(days=1)),
        (6, WHEN),
        (7, WHEN),
    ]
    assert [len(e.extensions) for e in theirs] == [1, 1, 0, 0]  # reason 0 is left out: RFC 5280 5.3.1
    assert theirs.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == 5
    freshest = theirs.extensions.get_extension_for_class(x509.FreshestCRL)
    assert not freshest.critical
    by_oid = {e.oid.dotted_string: e for e in theirs.extensions}
    assert by_oid[oids.CA_VERSION].value == x509.UnrecognizedExtension(
        x509.ObjectIdentifier(oids.CA_VERSION), requests.integer(0x10002)
    )
    assert by_oid[oids.NEXT_CRL_PUBLISH].value.public_bytes() == der.utc_or_generalized_time(WHEN + timedelta(days=6))
    assert not any(e.critical for e in theirs.extensions)


def test_a_delta_crl_names_its_base_critically() -> None:
    made = write(
        [crl.encode_entry(9, WHEN, CrlReason.REMOVE_FROM_CRL)],
        crl.crl_extensions(authority_key_id=KEY_ID, number=6, base_number=5),
    )
    text = programs.openssl("crl", "-inform", "DER", "-noout", "-text", data=made)
    assert "Delta CRL Indicator: critical" in text
    assert "Remove From CRL" in text
    view = CrlView.parse(made)
    assert (view.is_delta, view.number, view.base_number) == (True, 6, 5)
    assert x509.load_der_x509_crl(made).extensions.get_extension_for_class(x509.DeltaCRLIndicator).critical


def test_an_issuing_distribution_point_is_critical() -> None:
    made = write(
        extensions=crl.crl_extensions(authority_key_id=KEY_ID, number=1, distribution_point=["http://a/p.crl"])
    )
    point = x509.load_der_x509_crl(made).extensions.get_extension_for_class(x509.IssuingDistributionPoint)
    assert point.critical
    assert [name.value for name in point.value.full_name or []] == ["http://a/p.crl"]


def test_a_delta_crl_cannot_name_a_fresher_one() -> None:
    with pytest.raises(ValueError, match="fresher"):
        crl.crl_extensions(authority_key_id=KEY_ID, number=1, base_number=1, freshest_crl=["http://a"])


def test_an_empty_list_is_left_out() -> None:
    """RFC 5280 5.1.2.6: when nothing is revoked, revokedCertificates must be absent."""
    made = write()
    assert "No Revoked Certificates" in programs.openssl("crl", "-inform", "DER", "-noout", "-text", data=made)
    assert list(CrlView.parse(made).entries()) == []
    assert len(x509.load_der_x509_crl(made)) == 0


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.name)
def test_every_scheme_signs_a_list(scheme: SignatureScheme) -> None:
    keys: dict[SignatureKind, PrivateKey] = {
        SignatureKind.ECDSA: requests.ec_key(),
        SignatureKind.ED25519: ed25519.Ed25519PrivateKey.generate(),
    }
    key = keys.get(scheme.kind, requests.rsa_key())
    made = write(ENTRIES, signer=Signer(key, scheme))
    assert x509.load_der_x509_crl(made).is_signature_valid(key.public_key())


def test_the_same_list_by_the_other_library_has_the_same_contents() -> None:
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(x509.Name.from_rfc4514_string(CA_NAME))
        .last_update(WHEN)
        .next_update(WHEN + timedelta(days=7))
        .add_extension(x509.AuthorityKeyIdentifier(KEY_ID, None, None), False)
        .add_extension(x509.UnrecognizedExtension(x509.ObjectIdentifier(oids.CA_VERSION), requests.integer(0)), False)
        .add_extension(x509.CRLNumber(5), False)
        .add_revoked_certificate(
            x509.RevokedCertificateBuilder()
            .serial_number(0x1F00000007)
            .revocation_date(WHEN)
            .add_extension(x509.CRLReason(x509.ReasonFlags.key_compromise), False)
            .build()
        )
    )
    theirs = builder.sign(requests.ec_key("P-256", 100), hashes.SHA256())
    ours = x509.load_der_x509_crl(write(ENTRIES[:1]))
    assert ours.tbs_certlist_bytes == theirs.tbs_certlist_bytes


# -- size ------------------------------------------------------------------------------------------------------------


class Sink(io.RawIOBase):
    """Counts and hashes what is written; keeps nothing."""

    def __init__(self) -> None:
        self.length = 0

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        size = len(bytes(data))  # type: ignore[call-overload]
        self.length += size
        return int(size)


def test_fifty_thousand_entries_take_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crl, "MEMORY_LIMIT", 1 << 16)
    count, length = 50_000, len(crl.encode_entry(1 << 100, WHEN, 1))

    def entries() -> Iterator[bytes]:
        for number in range(count):
            yield crl.encode_entry((1 << 100) + number, WHEN, 1)

    out = Sink()
    tracemalloc.start()
    try:
        crl.write_crl(out, HEAD, entries(), count * length, EXTENSIONS, SIGNER)  # type: ignore[arg-type]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert out.length > count * length
    assert peak < 4 << 20


def test_a_long_list_is_right_when_it_has_left_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crl, "MEMORY_LIMIT", 1000)
    entries = [crl.encode_entry(number, WHEN) for number in range(1, 3001)]
    made = write(entries)
    theirs = x509.load_der_x509_crl(made)
    assert theirs.is_signature_valid(requests.ec_key("P-256", 100).public_key())
    assert len(theirs) == 3000
    view = CrlView.parse(made)
    assert [entry.serial for entry in view.entries()] == list(range(1, 3001))
    assert view.find(2999) == CrlEntry(2999, WHEN)
    assert view.find(3001) is None


@pytest.mark.parametrize("difference", [-1, 1])
def test_a_wrong_length_writes_nothing(difference: int) -> None:
    out = io.BytesIO()
    total = sum(map(len, ENTRIES)) + difference
    with pytest.raises(ValueError, match="announced"):
        crl.write_crl(out, HEAD, ENTRIES, total, EXTENSIONS, SIGNER)
    assert out.getvalue() == b""


def test_entries_refuse_naive_times_and_reasons_that_do_not_exist() -> None:
    with pytest.raises(ValueError, match="time zone"):
        crl.encode_entry(1, WHEN.replace(tzinfo=None))
    with pytest.raises(ValueError, match="7"):
        crl.encode_entry(1, WHEN, 7)


# -- reading ---------------------------------------------------------------------------------------------------------


def test_a_view_reads_what_the_writer_wrote() -> None:
    view = CrlView.parse(
        write(
            ENTRIES,
            crl.crl_extensions(
                authority_key_id=KEY_ID, number=5, certificate_index=2, key_index=1, next_publish=WHEN
            ),
        )
    )
    assert (view.issuer_name, view.this_update, view.next_update) == (CA_NAME, WHEN, WHEN + timedelta(days=7))
    assert (view.number, view.base_number, view.is_delta) == (5, None, False)
    assert (view.ca_version, view.authority_key_identifier, view.next_publish) == ((2, 1), KEY_ID, WHEN)
    assert list(view.entries()) == [
        CrlEntry(0x1F00000007, WHEN, CrlReason.KEY_COMPROMISE),
        CrlEntry(5, WHEN - timedelta(days=1), CrlReason.CERTIFICATE_HOLD),
        CrlEntry(6, WHEN),
        CrlEntry(7, WHEN),
    ]
    view.verify_signed_by(CertificateView.parse(ca_certificate()))


def test_a_list_of_another_ca_does_not_verify() -> None:
    made = write(signer=Signer.of(requests.ec_key("P-256", 3)))
    with pytest.raises(SignatureError):
        CrlView.parse(made).verify_signed_by(CertificateView.parse(ca_certificate()))


def test_an_entry_is_found_by_its_serial_number_only() -> None:
    """The bytes of one serial number may lie inside another's, or inside a date."""
    inside = int.from_bytes(b"\x01" + requests.integer(0x55) + b"\x01")
    view = CrlView.parse(write([crl.encode_entry(inside, WHEN), crl.encode_entry(0x55, WHEN, 1)]))
    assert view.find(0x55) == CrlEntry(0x55, WHEN, CrlReason.KEY_COMPROMISE)
    only_inside = CrlView.parse(write([crl.encode_entry(inside, WHEN)]))
    assert only_inside.find(0x55) is None
    assert only_inside.find(inside) is not None


def test_reasons_have_the_names_of_rfc_5280() -> None:
    assert [reason.label for reason in CrlReason] == [
        "unspecified",
        "keyCompromise",
        "cACompromise",
        "affiliationChanged",
        "superseded",
        "cessationOfOperation",
        "certificateHold",
        "removeFromCRL",
        "privilegeWithdrawn",
        "aACompromise",
    ]


def list_of(*parts: bytes, algorithm: bytes = SIGNER.algorithm, version: bytes = b"\x02\x01\x01") -> bytes:
    tbs = requests.sequence(version, SIGNER.algorithm, ISSUER, der.utc_or_generalized_time(WHEN), *parts)
    return requests.sequence(tbs, algorithm, requests.tlv(0x03, b"\0sig"))


def test_a_version_1_list_without_next_update_is_read() -> None:
    view = CrlView.parse(list_of(version=b""))
    assert (view.next_update, view.number, list(view.entries())) == (None, None, [])


@pytest.mark.parametrize(
    "made",
    [
        b"",
        list_of(version=b"\x02\x01\x02"),
        list_of(version=b"\x02\x01\x00"),
        list_of(algorithm=requests.sequence(requests.oid("1.2.3"))),
        list_of(b"\x05\x00"),
        list_of(requests.tlv(0xA0, requests.sequence(), b"\x05\x00")),
        list_of()[:-1],
        list_of() + b"\0",
    ],
)
def test_a_malformed_list_is_refused(made: bytes) -> None:
    with pytest.raises(EncodingError):
        CrlView.parse(made)


@pytest.mark.parametrize(
    "entry",
    [
        b"\x05\x00",
        requests.sequence(requests.integer(1)),
        requests.sequence(requests.integer(1), der.utc_or_generalized_time(WHEN), b"\x05\x00"),
        requests.sequence(
            requests.integer(1),
            der.utc_or_generalized_time(WHEN),
            requests.sequence(requests.extension(oids.CRL_REASON, b"\x0a\x01\x07")),
        ),
    ],
)
def test_a_malformed_entry_is_refused_when_it_is_reached(entry: bytes) -> None:
    view = CrlView.parse(list_of(requests.sequence(crl.encode_entry(5, WHEN), entry)))
    entries = view.entries()
    assert next(entries).serial == 5
    with pytest.raises(EncodingError):
        next(entries)


SEED = write(ENTRIES)


@given(st.data())
@settings(max_examples=200)
def test_a_list_with_changed_bytes_raises_only_our_errors(data: st.DataObject) -> None:
    made = bytearray(SEED)
    for _ in range(data.draw(st.integers(1, 4))):
        made[data.draw(st.integers(0, len(made) - 1))] = data.draw(st.integers(0, 255))
    try:
        view = CrlView.parse(bytes(made))
        list(view.entries())
        view.find(5)
        _ = (view.number, view.base_number, view.ca_version, view.next_publish, view.issuer_name)
        view.verify_signed_by(CertificateView.parse(ca_certificate()))
    except (EncodingError, SignatureError):
        return
    assert bytes(made) == SEED
