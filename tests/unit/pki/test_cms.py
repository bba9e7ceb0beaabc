"""Certs-only CMS: chains that OpenSSL, GnuTLS and the other library unpack. RFC 5652 5.1."""

from __future__ import annotations

import io

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from hypothesis import given
from hypothesis import strategies as st

from certwright.pki import cms, crl, der, oids
from certwright.pki.errors import EncodingError, TooLarge
from tests.support import programs, requests
from tests.support.certificates import ca_certificate, make_certificate

LEAF = make_certificate()


def some_crl() -> bytes:
    from tests.unit.pki.test_crl import EXTENSIONS, HEAD, SIGNER

    out = io.BytesIO()
    crl.write_crl(out, HEAD, [], 0, EXTENSIONS, SIGNER)
    return out.getvalue()


def test_openssl_prints_the_chain_leaf_first() -> None:
    text = programs.openssl(
        "pkcs7", "-inform", "DER", "-print_certs", "-noout", data=cms.certs_only([LEAF, ca_certificate()])
    )
    subjects = [line for line in text.splitlines() if line.startswith("subject")]
    assert "web.corp.example" in subjects[0]
    assert "Test CA" in subjects[1]
    assert len(subjects) == 2


def test_gnutls_unpacks_the_chain_and_the_crl() -> None:
    made = cms.certs_only([LEAF, ca_certificate()], [some_crl()])
    text = programs.certtool("--p7-info", "--inder", data=made)
    assert "Number of certificates: 2" in text
    assert "Number of CRLs: 1" in text


def test_the_other_library_unpacks_the_chain() -> None:
    loaded = pkcs7.load_der_pkcs7_certificates(cms.certs_only([LEAF, ca_certificate()]))
    assert {c.public_bytes(Encoding.DER) for c in loaded} == {LEAF, ca_certificate()}


def test_our_reading_keeps_the_order() -> None:
    for chain in ((LEAF, ca_certificate()), (ca_certificate(), LEAF), (LEAF,), ()):
        assert cms.parse_certs_only(cms.certs_only(chain)) == chain
    assert cms.parse_certs_only(cms.certs_only([LEAF], [some_crl()])) == (LEAF,)


def test_what_the_other_library_packs_is_read() -> None:
    from cryptography import x509

    packed = pkcs7.serialize_certificates([x509.load_der_x509_certificate(LEAF)], Encoding.DER)
    assert cms.parse_certs_only(packed) == (LEAF,)


def test_a_signed_message_of_openssl_gives_its_certificates(tmp_path: object) -> None:
    from pathlib import Path

    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import NoEncryption, PrivateFormat

    assert isinstance(tmp_path, Path)
    (tmp_path / "key.pem").write_bytes(
        requests.ec_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    (tmp_path / "leaf.pem").write_bytes(x509.load_der_x509_certificate(LEAF).public_bytes(Encoding.PEM))
    out = tmp_path / "signed.der"
    programs.openssl(
        "cms", "-sign", "-nodetach", "-binary", "-signer", tmp_path / "leaf.pem", "-inkey", tmp_path / "key.pem",
        "-outform", "DER", "-out", out, data=b"hello",
    )  # fmt: skip
    assert cms.parse_certs_only(out.read_bytes()) == (LEAF,)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        LEAF,
        requests.sequence(requests.oid(oids.CMS_ENVELOPED_DATA), requests.tlv(0xA0, requests.sequence())),
        requests.sequence(requests.oid(oids.CMS_SIGNED_DATA)),
        cms.certs_only([LEAF])[:-1],
        b"\x30\x80" + requests.oid(oids.CMS_SIGNED_DATA) + b"\0\0",  # BER
    ],
)
def test_what_is_no_signed_data_is_refused(data: bytes) -> None:
    with pytest.raises(EncodingError):
        cms.parse_certs_only(data)


def test_endless_certificates_are_refused() -> None:
    with pytest.raises(TooLarge):
        cms.parse_certs_only(cms.certs_only([b"\x30\x00"] * (cms.MAX_CERTIFICATES + 1)))


@given(st.binary(max_size=80))
def test_arbitrary_bytes_raise_only_encoding_errors(data: bytes) -> None:
    wrapped = der.sequence(der.oid(oids.CMS_SIGNED_DATA), der.explicit(0, der.sequence(data)))
    for candidate in (data, wrapped):
        try:
            cms.parse_certs_only(candidate)
        except EncodingError:
            continue
