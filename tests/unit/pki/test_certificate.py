"""A finished certificate as we see it and as others do; and the splice that makes one. RFC 5280 4.1."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from certwright.pki import certificate, der, extensions, oids, signatures
from certwright.pki.certificate import CertificateView
from certwright.pki.errors import DuplicateAttribute, EncodingError, SignatureError, WeakAlgorithm
from certwright.pki.general_names import DnsName
from tests.support import requests
from tests.support.certificates import CA_NAME, NOT_AFTER, NOT_BEFORE, ca_certificate, make_certificate, other

SID = "S-1-5-21-1004336348-1177238915-682003330-1104"


def rich_certificate() -> bytes:
    return make_certificate(
        "CN=web.corp.example,O=Corp",
        extensions=[
            (x509.SubjectAlternativeName([x509.DNSName("web.corp.example")]), False),
            (x509.ExtendedKeyUsage([x509.ObjectIdentifier(oids.EKU_SERVER_AUTH)]), False),
            (x509.BasicConstraints(False, None), True),
            (x509.AuthorityKeyIdentifier(b"k" * 20, None, None), False),
            (x509.SubjectKeyIdentifier(b"s" * 20), False),
            (x509.MSCertificateTemplate(x509.ObjectIdentifier("1.2.3"), 100, 4), False),
            other(oids.CERTIFICATE_TEMPLATE_NAME, requests.bmp("WebServer")),
            other(oids.NTDS_CA_SECURITY, extensions.sid_extension(SID)),
            other(oids.KEY_USAGE, extensions.key_usage(b"\xa0"), True),
            other(oids.CA_VERSION, extensions.ca_version(3, 2)),
        ],
    )


def test_every_field_is_read() -> None:
    made = rich_certificate()
    view = CertificateView.parse(made)
    theirs = x509.load_der_x509_certificate(made)
    assert view.serial == theirs.serial_number
    assert view.serial_number == "1f00000007"
    assert (view.subject_name, view.issuer_name) == ("CN=web.corp.example,O=Corp", CA_NAME)
    assert (view.not_before, view.not_after) == (NOT_BEFORE, NOT_AFTER)
    assert view.common_name == "web.corp.example"
    assert (view.tbs, view.signature) == (theirs.tbs_certificate_bytes, theirs.signature)
    assert view.sha1 == hashlib.sha1(made).hexdigest()
    assert view.sha256 == hashlib.sha256(made).hexdigest()
    assert view.alternative_names == (DnsName("web.corp.example"),)
    assert view.extended_key_usage == (oids.EKU_SERVER_AUTH,)
    assert view.key_usage == b"\xa0"
    assert (view.is_ca, view.is_self_issued) == (False, False)
    assert (view.authority_key_identifier, view.subject_key_identifier) == (b"k" * 20, b"s" * 20)
    assert view.template == extensions.TemplateInformation("1.2.3", 100, 4)
    assert (view.template_name, view.sid, view.ca_version) == ("WebServer", SID, (3, 2))
    assert view.public_key.kind_name == "EC P-256"
    assert [entry.critical for entry in view.extensions.values()].count(True) == 2


def test_a_certificate_without_extensions_has_none_of_their_facts() -> None:
    view = CertificateView.parse(make_certificate())
    assert dict(view.extensions) == {}
    assert (view.alternative_names, view.template, view.template_name, view.sid) == ((), None, "", "")
    assert (view.extended_key_usage, view.key_usage, view.is_ca, view.ca_version) == ((), b"", False, None)
    assert (view.authority_key_identifier, view.subject_key_identifier) == (None, None)


def test_the_issuers_signature_is_checked() -> None:
    issuer, leaf = CertificateView.parse(ca_certificate()), CertificateView.parse(rich_certificate())
    assert issuer.is_ca
    assert issuer.is_self_issued
    leaf.verify_signed_by(issuer)
    issuer.verify_signed_by(issuer)
    with pytest.raises(SignatureError):
        issuer.verify_signed_by(leaf)
    at = leaf.der.index(b"web.corp.example")
    forged = CertificateView.parse(leaf.der[:at] + b"www" + leaf.der[at + 3 :])
    with pytest.raises(SignatureError):
        forged.verify_signed_by(issuer)


def test_a_weak_signature_is_refused_whoever_made_it() -> None:
    algorithm = requests.sequence(requests.oid(oids.RSA_SHA1), b"\x05\x00")
    tbs = certificate.assemble_tbs(
        1, algorithm, b"\x30\x00", NOT_BEFORE, NOT_AFTER, b"\x30\x00", requests.spki(requests.rsa_key()), b""
    )
    view = CertificateView.parse(certificate.assemble_signed(tbs, algorithm, bytes(256)))
    with pytest.raises(WeakAlgorithm):
        view.verify_signed_by(view)


@pytest.mark.parametrize(("serial", "text"), [(0, "00"), (5, "05"), (0xABC, "0abc"), (0x1F00000007, "1f00000007")])
def test_a_serial_number_is_whole_octets_of_hex(serial: int, text: str) -> None:
    assert certificate.serial_hex(serial) == text


# -- making ----------------------------------------------------------------------------------------------------------


def splice(**changes: object) -> bytes:
    scheme, key = signatures.ECDSA_SHA256, requests.ec_key("P-256", 100)
    parts: dict[str, object] = {
        "serial": 0x1F00000007,
        "algorithm_der": scheme.algorithm,
        "issuer": x509.Name.from_rfc4514_string(CA_NAME).public_bytes(),
        "not_before": NOT_BEFORE,
        "not_after": NOT_AFTER,
        "subject": x509.Name.from_rfc4514_string("CN=web.corp.example").public_bytes(),
        "spki": requests.spki(requests.ec_key()),
        "extensions": b"",
    } | changes
    tbs = certificate.assemble_tbs(**parts)  # type: ignore[arg-type]
    return certificate.assemble_signed(tbs, scheme.algorithm, scheme.sign(key, tbs))


def test_the_splice_makes_what_the_other_library_makes() -> None:
    pairs = [
        (x509.SubjectAlternativeName([x509.DNSName("web.corp.example")]), False),
        (x509.BasicConstraints(False, None), True),
    ]
    ours = splice(
        extensions=extensions.extension(oids.SUBJECT_ALTERNATIVE_NAME, pairs[0][0].public_bytes())
        + extensions.extension(oids.BASIC_CONSTRAINTS, extensions.basic_constraints(False), critical=True)
    )
    theirs = x509.load_der_x509_certificate(make_certificate(extensions=pairs))
    assert x509.load_der_x509_certificate(ours).tbs_certificate_bytes == theirs.tbs_certificate_bytes
    CertificateView.parse(ours).verify_signed_by(CertificateView.parse(ca_certificate()))


def test_times_change_their_type_in_2050() -> None:
    """RFC 5280 4.1.2.5."""
    made = x509.load_der_x509_certificate(splice(not_after=datetime(2050, 1, 1, tzinfo=UTC)))
    assert made.not_valid_after_utc.year == 2050
    assert b"\x18\x0f20500101000000Z" in made.tbs_certificate_bytes


@pytest.mark.parametrize("serial", [0, -1, 1 << 159])
def test_a_serial_number_outside_its_bounds_is_not_signed(serial: int) -> None:
    """RFC 5280 4.1.2.2: positive, at most 20 octets."""
    with pytest.raises(ValueError, match="serial number"):
        splice(serial=serial)
    assert x509.load_der_x509_certificate(splice(serial=(1 << 159) - 1)).serial_number == (1 << 159) - 1


def test_a_naive_time_is_not_signed() -> None:
    with pytest.raises(ValueError, match="time zone"):
        splice(not_after=NOT_AFTER.replace(tzinfo=None))


# -- refused ---------------------------------------------------------------------------------------------------------


def tbs_with(version: bytes = b"", tail: bytes = b"", outer: bytes = signatures.ECDSA_SHA256.algorithm) -> bytes:
    inner = requests.sequence(
        version,
        requests.integer(1),
        signatures.ECDSA_SHA256.algorithm,
        b"\x30\x00",
        requests.sequence(der.utc_or_generalized_time(NOT_BEFORE), der.utc_or_generalized_time(NOT_AFTER)),
        b"\x30\x00",
        requests.spki(requests.ec_key()),
        tail,
    )
    return requests.sequence(inner, outer, requests.tlv(0x03, b"\0sig"))


def v(number: int) -> bytes:
    return requests.tlv(0xA0, requests.integer(number))


ONE_EXTENSION = requests.tlv(0xA3, requests.sequence(requests.extension("1.2.3", b"\x05\x00")))


def test_older_versions_are_read() -> None:
    for made in (tbs_with(), tbs_with(v(1)), tbs_with(v(2), ONE_EXTENSION)):
        assert CertificateView.parse(made).serial == 1
    with_ids = tbs_with(v(1), requests.tlv(0x81, b"\0x") + requests.tlv(0x82, b"\0y"))
    assert CertificateView.parse(with_ids).serial == 1


@pytest.mark.parametrize(
    "made",
    [
        b"",
        tbs_with(v(3)),
        tbs_with(v(0)),  # the default is not written
        tbs_with(v(-1)),
        tbs_with(v(1), ONE_EXTENSION),
        tbs_with(b"", ONE_EXTENSION),
        tbs_with(requests.tlv(0xA0, requests.integer(2), requests.integer(2)), ONE_EXTENSION),
        tbs_with(v(2), ONE_EXTENSION + b"\x05\x00"),
        tbs_with(v(2), requests.tlv(0xA3, requests.sequence(), requests.sequence())),
        tbs_with(outer=signatures.ECDSA_SHA384.algorithm),
        tbs_with()[:-1],
        tbs_with() + b"\0",
    ],
)
def test_a_malformed_certificate_is_refused(made: bytes) -> None:
    with pytest.raises(EncodingError):
        CertificateView.parse(made)


def test_an_extension_that_stands_twice_is_refused() -> None:
    twice = requests.tlv(0xA3, requests.sequence(*[requests.extension("1.2.3", b"\x05\x00")] * 2))
    with pytest.raises(DuplicateAttribute):
        CertificateView.parse(tbs_with(v(2), twice))


SEED = rich_certificate()


@given(st.data())
@settings(max_examples=300)
def test_a_certificate_with_changed_bytes_raises_only_our_errors(data: st.DataObject) -> None:
    made = bytearray(SEED)
    for _ in range(data.draw(st.integers(1, 4))):
        made[data.draw(st.integers(0, len(made) - 1))] = data.draw(st.integers(0, 255))
    try:
        view = CertificateView.parse(bytes(made))
        view.verify_signed_by(CertificateView.parse(ca_certificate()))
        _ = (view.alternative_names, view.template, view.template_name, view.sid, view.key_usage, view.is_ca)
        _ = (
            view.extended_key_usage,
            view.ca_version,
            view.subject_key_identifier,
            view.public_key,
            view.subject_name,
        )
    except (EncodingError, SignatureError):
        return


def test_a_view_keeps_the_bytes_it_was_made_of() -> None:
    theirs = x509.load_der_x509_certificate(SEED)
    assert CertificateView.parse(SEED).der == theirs.public_bytes(Encoding.DER)
