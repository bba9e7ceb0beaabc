"""Every signature scheme against OpenSSL and the other library. RFC 4055, 5758, 8410."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519, x25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from certwright.pki import certificate, der, oids, signatures
from certwright.pki.errors import EncodingError, SignatureError, WeakAlgorithm
from certwright.pki.signatures import SCHEMES, SignatureKind, SignatureScheme, Signer
from tests.support import programs, requests
from tests.support.certificates import NOT_AFTER, NOT_BEFORE, Hash, make_certificate
from tests.support.requests import PrivateKey

ED25519_KEY = ed25519.Ed25519PrivateKey.generate()
BY_NAME = {scheme.name: scheme for scheme in SCHEMES}


def key_for(scheme: SignatureScheme) -> PrivateKey:
    match scheme.kind:
        case SignatureKind.ECDSA:
            return requests.ec_key()
        case SignatureKind.ED25519:
            return ED25519_KEY
        case _:
            return requests.rsa_key()


def signed_certificate(scheme: SignatureScheme) -> bytes:
    key, name = key_for(scheme), requests.name(("CN", "signed"))
    tbs = certificate.assemble_tbs(7, scheme.algorithm, name, NOT_BEFORE, NOT_AFTER, name, requests.spki(key), b"")
    return certificate.assemble_signed(tbs, scheme.algorithm, scheme.sign(key, tbs))


@pytest.mark.parametrize("name", BY_NAME)
def test_openssl_verifies_what_a_scheme_signs(name: str, tmp_path: Path) -> None:
    """The algorithm identifier, its parameters and the signature all have to agree."""
    file = tmp_path / "self.pem"
    text = programs.openssl("x509", "-inform", "DER", data=signed_certificate(BY_NAME[name]))
    file.write_text(text)
    answer = programs.openssl("verify", "-CAfile", file, "-check_ss_sig", file)
    assert "OK" in answer


@pytest.mark.parametrize("name", BY_NAME)
def test_the_other_library_reads_the_algorithm(name: str) -> None:
    scheme = BY_NAME[name]
    made = x509.load_der_x509_certificate(signed_certificate(scheme))
    made.verify_directly_issued_by(made)
    assert made.signature_algorithm_oid.dotted_string == scheme.oid
    algorithm = scheme.hash_algorithm()
    if algorithm is not None:
        assert made.signature_hash_algorithm is not None
        assert made.signature_hash_algorithm.name == algorithm.name


@pytest.mark.parametrize("name", BY_NAME)
def test_a_signature_verifies_over_its_own_data_only(name: str) -> None:
    scheme = BY_NAME[name]
    key = key_for(scheme)
    signature = scheme.sign(key, b"data")
    scheme.verify(key.public_key(), signature, b"data")
    for damaged, data in ((signature, b"Data"), (signature[:-1], b"data"), (b"", b"data"), (bytes(64), b"data")):
        with pytest.raises(SignatureError):
            scheme.verify(key.public_key(), damaged, data)


@pytest.mark.parametrize("name", [name for name in BY_NAME if name != "Ed25519"])
def test_a_digest_is_signed_as_its_data_is(name: str) -> None:
    """How a CRL is signed: hashed as it is written."""
    scheme = BY_NAME[name]
    algorithm = scheme.hash_algorithm()
    assert algorithm is not None
    signature = scheme.sign_digest(key_for(scheme), hashlib.new(algorithm.name, b"data").digest())
    scheme.verify(key_for(scheme).public_key(), signature, b"data")


def test_ed25519_cannot_sign_a_digest() -> None:
    assert signatures.ED25519.hash_algorithm() is None
    with pytest.raises(TypeError):
        signatures.ED25519.sign_digest(ED25519_KEY, bytes(32))


def test_a_key_of_another_kind_is_refused() -> None:
    for scheme, key in (
        (signatures.RSA_SHA256, requests.ec_key()),
        (signatures.ECDSA_SHA256, requests.rsa_key()),
        (signatures.ECDSA_SHA256, ED25519_KEY),
        (signatures.ED25519, requests.ec_key()),
    ):
        with pytest.raises(TypeError):
            scheme.sign(key, b"data")
        with pytest.raises(SignatureError):
            scheme.verify(key.public_key(), bytes(64), b"data")


# -- which scheme ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BY_NAME)
def test_an_algorithm_identifier_finds_its_scheme(name: str) -> None:
    scheme = BY_NAME[name]
    assert signatures.scheme_of(scheme.algorithm) is scheme


@pytest.mark.parametrize("algorithm", [hashes.SHA256(), hashes.SHA384(), hashes.SHA512()])
def test_the_pss_parameters_of_the_other_library_are_ours(algorithm: Hash) -> None:
    made = x509.load_der_x509_certificate(
        make_certificate(issuer_key=requests.rsa_key(), hash_algorithm=algorithm, pss=True)
    )
    found = certificate.CertificateView.parse(made.public_bytes(Encoding.DER)).algorithm
    assert signatures.scheme_of(found).kind is SignatureKind.RSA_PSS
    assert signatures.scheme_of(found).salt_length == algorithm.digest_size


def pss(
    hash_oid: str = oids.SHA256,
    mask: str = oids.MGF1,
    mask_hash: str = oids.SHA256,
    salt: int = 32,
    *more: bytes,
    null: bytes = b"\x05\x00",
) -> bytes:
    parameters = requests.sequence(
        requests.tlv(0xA0, requests.sequence(requests.oid(hash_oid), null)),
        requests.tlv(0xA1, requests.sequence(requests.oid(mask), requests.sequence(requests.oid(mask_hash), null))),
        requests.tlv(0xA2, requests.integer(salt)),
        *more,
    )
    return requests.sequence(requests.oid(oids.RSA_PSS), parameters)


def test_pss_is_known_with_any_salt_and_without_null() -> None:
    """RFC 4055 2.1 lets writers leave the NULL out, and OpenSSL's salt is as long as the key lets."""
    assert signatures.scheme_of(pss()) is signatures.RSA_PSS_SHA256
    assert signatures.scheme_of(pss(salt=222)).salt_length == 222
    other = signatures.scheme_of(pss(null=b""))
    assert (other.hash_oid, other.salt_length) == (oids.SHA256, 32)
    trailer = signatures.scheme_of(
        pss(oids.SHA256, oids.MGF1, oids.SHA256, 32, requests.tlv(0xA3, requests.integer(1)))
    )
    assert trailer.salt_length == 32


@pytest.mark.parametrize(
    "algorithm",
    [
        requests.sequence(requests.oid(oids.RSA_PSS)),  # all defaults: SHA-1
        requests.sequence(requests.oid(oids.RSA_PSS), requests.sequence()),
        pss(oids.SHA1, mask_hash=oids.SHA1),
        pss(mask_hash=oids.SHA1),
        pss(mask_hash=oids.SHA384),
        pss(mask="1.2.3"),
        pss(salt=-1),
        pss(salt=100_000),
        pss(oids.SHA256, oids.MGF1, oids.SHA256, 32, requests.tlv(0xA3, requests.integer(2))),
        requests.sequence(requests.oid(oids.RSA_SHA1), b"\x05\x00"),
        requests.sequence(requests.oid(oids.RSA_MD5), b"\x05\x00"),
        requests.sequence(requests.oid(oids.ECDSA_SHA1)),
        requests.sequence(requests.oid(oids.ECDSA_SHA224)),
        requests.sequence(requests.oid(oids.ED448)),
        requests.sequence(requests.oid("1.2.3")),
        requests.sequence(requests.oid(oids.ECDSA_SHA256), b"\x05\x00"),  # RFC 5758 3.2: must be absent
        requests.sequence(requests.oid(oids.SHA256)),
    ],
)
def test_weak_unknown_and_odd_algorithms_are_refused(algorithm: bytes) -> None:
    with pytest.raises(WeakAlgorithm):
        signatures.scheme_of(algorithm)


def test_a_missing_null_is_forgiven_for_rsa() -> None:
    """RFC 4055 5: readers must take both."""
    bare = requests.sequence(requests.oid(oids.RSA_SHA256))
    assert signatures.scheme_of(bare) is signatures.RSA_SHA256


@given(st.binary(max_size=60))
def test_arbitrary_bytes_raise_only_our_errors(data: bytes) -> None:
    for candidate in (
        data,
        der.sequence(data),
        der.sequence(der.oid(oids.RSA_PSS), data),
        der.sequence(der.oid(oids.RSA_PSS), der.sequence(data)),
    ):
        for read in (signatures.scheme_of, signatures.hash_of):
            try:
                read(candidate)
            except (WeakAlgorithm, EncodingError):
                continue


@pytest.mark.parametrize(
    ("algorithm", "hash_oid"),
    [
        (signatures.RSA_SHA384.algorithm, oids.SHA384),
        (signatures.RSA_PSS_SHA512.algorithm, oids.SHA512),
        (requests.sequence(requests.oid(oids.RSA_PSS), requests.sequence()), oids.SHA1),
        (requests.sequence(requests.oid(oids.ECDSA_SHA1)), oids.SHA1),
        (signatures.ED25519.algorithm, ""),
    ],
)
def test_the_hash_of_an_algorithm_is_known_for_weak_ones_too(algorithm: bytes, hash_oid: str) -> None:
    assert signatures.hash_of(algorithm) == hash_oid


def test_a_ca_signs_with_the_hash_of_its_keys_strength() -> None:
    for key, scheme in (
        (requests.rsa_key(), signatures.RSA_SHA256),
        (requests.ec_key("P-256"), signatures.ECDSA_SHA256),
        (requests.ec_key("P-384"), signatures.ECDSA_SHA384),
        (requests.ec_key("P-521"), signatures.ECDSA_SHA512),
        (ED25519_KEY, signatures.ED25519),
    ):
        assert signatures.default_scheme(key) is scheme
        assert signatures.default_scheme(key.public_key()) is scheme
    with pytest.raises(TypeError):
        signatures.default_scheme(x25519.X25519PrivateKey.generate())  # type: ignore[arg-type]


def test_a_signer_is_a_key_and_its_scheme() -> None:
    signer = Signer.of(requests.ec_key())
    signature = signer.sign(b"data")
    assert signer.algorithm == signatures.ECDSA_SHA256.algorithm
    signer.scheme.verify(requests.ec_key().public_key(), signature, b"data")


def test_the_public_keys_here_are_those_openssl_reads() -> None:
    pem = ED25519_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    assert "ED25519" in programs.openssl("pkey", "-pubin", "-noout", "-text", data=pem)
