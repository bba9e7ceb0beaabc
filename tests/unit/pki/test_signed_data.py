"""Signed CMS against OpenSSL, in both directions, and everything that must not verify. RFC 5652 5."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from certwright.pki import der, oids
from certwright.pki.certificate import CertificateView
from certwright.pki.errors import DuplicateAttribute, EncodingError, SignatureError, WeakAlgorithm
from certwright.pki.pkcs10_reading import Attribute
from certwright.pki.public_keys import load_public_key
from certwright.pki.signatures import ECDSA_SHA256, RSA_PSS_SHA256, RSA_SHA256, RSA_SHA512, SignatureScheme
from certwright.pki.signed_data import SignedData, SignerIdentifier, Signing, sign
from tests.support import programs
from tests.support.certificates import ca_certificate, make_certificate
from tests.support.requests import PrivateKey, ec_key, rsa_key

CONTENT = b"what is signed\r\n"
EC, RSA = ec_key("P-256", 7), rsa_key()
NAME = Attribute(oids.ENROLLMENT_NAME_VALUE_PAIR, (der.sequence(der.bmp("requestername"), der.bmp(r"CORP\bob")),))


def certificate_of(key: PrivateKey) -> CertificateView:
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return CertificateView.parse(make_certificate("CN=signer", key, extensions=[(identifier, False)]))


def signing(key: PrivateKey, scheme: SignatureScheme, *attributes: Attribute) -> Signing:
    return Signing(
        SignerIdentifier.of(certificate_of(key)),
        scheme.algorithm,
        scheme.hash_oid,
        lambda data: scheme.sign(key, data),
        attributes,
    )


def signed_by(key: PrivateKey, scheme: SignatureScheme, *attributes: Attribute) -> bytes:
    return sign(oids.CMS_DATA, CONTENT, [signing(key, scheme, *attributes)], [certificate_of(key).der])


def verify(message: SignedData, *, sha1: bool = False) -> None:
    (signer,) = message.signers
    certificate = message.certificate_of(signer)
    assert certificate is not None
    message.verify(signer, load_public_key(certificate.public_key_info), sha1=sha1)


def write_signer(folder: Path, key: PrivateKey) -> tuple[Path, Path]:
    pem, key_pem = folder / "signer.pem", folder / "signer.key"
    pem.write_bytes(x509.load_der_x509_certificate(certificate_of(key).der).public_bytes(Encoding.PEM))
    key_pem.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return pem, key_pem


# -- against OpenSSL -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "scheme"),
    [(RSA, RSA_SHA256), (RSA, RSA_SHA512), (RSA, RSA_PSS_SHA256), (EC, ECDSA_SHA256)],
    ids=["RSA", "SHA-512", "PSS", "EC"],
)
def test_openssl_verifies_what_we_sign(tmp_path: Path, key: PrivateKey, scheme: SignatureScheme) -> None:
    made = tmp_path / "made.der"
    made.write_bytes(signed_by(key, scheme, NAME))

    said = programs.openssl("cms", "-verify", "-inform", "DER", "-in", made, "-noverify", "-binary")

    assert CONTENT.decode() in said.replace("\n", "\r\n") or "what is signed" in said
    assert "Verification successful" in said
    verify(SignedData.parse(made.read_bytes()))


@pytest.mark.parametrize("form", [[], ["-stream", "-indef"], ["-keyid"], ["-noattr"], ["-md", "sha384"]], ids=str)
@pytest.mark.parametrize("key", [RSA, EC], ids=["RSA", "EC"])
def test_what_openssl_signs_verifies(tmp_path: Path, key: PrivateKey, form: list[str]) -> None:
    pem, key_pem = write_signer(tmp_path, key)
    source, made = tmp_path / "content", tmp_path / "made.der"
    source.write_bytes(CONTENT * 1000)
    programs.openssl(
        "cms", "-sign", "-binary", "-nodetach", "-outform", "DER", "-in", source, "-out", made,
        "-signer", pem, "-inkey", key_pem, *form,
    )  # fmt: skip
    message = SignedData.parse(made.read_bytes())

    verify(message)

    assert message.content == CONTENT * 1000
    assert message.content_type == oids.CMS_DATA


def test_sha1_counts_only_where_it_is_allowed(tmp_path: Path) -> None:
    pem, key_pem = write_signer(tmp_path, RSA)
    source, made = tmp_path / "content", tmp_path / "made.der"
    source.write_bytes(CONTENT)
    programs.openssl(
        "cms", "-sign", "-binary", "-nodetach", "-outform", "DER", "-in", source, "-out", made, "-signer", pem,
        "-inkey", key_pem, "-md", "sha1",
    )  # fmt: skip
    message = SignedData.parse(made.read_bytes())

    with pytest.raises(WeakAlgorithm, match="SHA-1"):
        verify(message)
    verify(message, sha1=True)


def test_the_kind_of_key_in_the_place_of_a_signature_algorithm_is_understood() -> None:
    """RFC 3370 3.2: rsaEncryption, with the digest algorithm of the signer."""
    wanted = signing(RSA, RSA_SHA256)._replace(algorithm=der.sequence(der.oid(oids.RSA_ENCRYPTION), der.null()))
    verify(SignedData.parse(sign(oids.CMS_DATA, CONTENT, [wanted], [certificate_of(RSA).der])))


def test_a_signer_is_found_by_key_identifier_too() -> None:
    certificate = certificate_of(EC)
    by_key = signing(EC, ECDSA_SHA256)._replace(
        identifier=SignerIdentifier(key_identifier=certificate.subject_key_identifier)
    )
    message = SignedData.parse(sign(oids.CMC_PKI_DATA, CONTENT, [by_key], [ca_certificate(), certificate.der]))

    verify(message)

    assert message.certificate_of(message.signers[0]) == certificate


# -- what must not verify --------------------------------------------------------------------------------------------


def tampered(message: SignedData, **changes: object) -> SignedData:
    return replace(message, **changes)  # type: ignore[arg-type]


def test_other_content_does_not_verify() -> None:
    message = SignedData.parse(signed_by(EC, ECDSA_SHA256))
    with pytest.raises(SignatureError, match="not what was signed"):
        verify(tampered(message, content=b"something else"))


def test_another_content_type_does_not_verify() -> None:
    message = SignedData.parse(signed_by(EC, ECDSA_SHA256))
    with pytest.raises(SignatureError, match="content type"):
        verify(tampered(message, content_type=oids.CMC_PKI_DATA))


def test_another_key_does_not_verify() -> None:
    message = SignedData.parse(signed_by(EC, ECDSA_SHA256))
    with pytest.raises(SignatureError):
        message.verify(message.signers[0], ec_key("P-256", 8).public_key())
    with pytest.raises(SignatureError):
        message.verify(message.signers[0], RSA.public_key())


def test_changed_attributes_do_not_verify() -> None:
    """The attributes are what is signed: a name added afterwards is none that the signer gave."""
    honest = SignedData.parse(signed_by(EC, ECDSA_SHA256, NAME))
    signer = honest.signers[0]
    forged = replace(signer, signed_attributes=signer.signed_attributes.replace(b"\0b\0o\0b", b"\0e\0v\0e"))
    with pytest.raises(SignatureError):
        verify(tampered(honest, signers=(forged,)))


def test_attributes_that_are_taken_away_do_not_verify() -> None:
    message = SignedData.parse(signed_by(EC, ECDSA_SHA256))
    bare = replace(message.signers[0], attributes=None, signed_attributes=b"")
    with pytest.raises(SignatureError):
        verify(tampered(message, signers=(bare,)))


def test_attributes_cannot_be_passed_off_as_content() -> None:
    """Without attributes the content itself is signed; for anything but plain data that is refused. RFC 5652 5.3."""
    message = SignedData.parse(signed_by(EC, ECDSA_SHA256))
    signer = message.signers[0]
    swapped = replace(signer, attributes=None, signed_attributes=b"")
    with pytest.raises(SignatureError, match="signed with attributes"):
        verify(
            tampered(message, content=signer.signed_attributes, content_type=oids.CMC_PKI_DATA, signers=(swapped,))
        )


def test_digest_and_signature_use_the_same_hash() -> None:
    wanted = signing(RSA, RSA_SHA256)._replace(digest_algorithm=oids.SHA512)
    with pytest.raises(SignatureError, match="different hashes"):
        verify(SignedData.parse(sign(oids.CMS_DATA, CONTENT, [wanted], [certificate_of(RSA).der])))


def test_a_message_digest_that_stands_twice_is_refused() -> None:
    again = Attribute(oids.MESSAGE_DIGEST, (der.octet_string(b"\0" * 32),))
    with pytest.raises(DuplicateAttribute):
        verify(SignedData.parse(signed_by(EC, ECDSA_SHA256, again)))


def test_a_message_without_content_is_signed_by_nobody() -> None:
    message = SignedData.parse(sign(oids.CMS_DATA, None, [signing(EC, ECDSA_SHA256)], [certificate_of(EC).der]))
    assert message.content is None
    with pytest.raises(SignatureError, match="no content"):
        verify(message)
    message.verify(message.signers[0], EC.public_key(), content=b"")


# -- no signature ----------------------------------------------------------------------------------------------------


def test_the_no_signature_form_is_a_digest_and_says_so() -> None:
    """RFC 5272: whoever counts signatures must ask `is_unsigned` first."""
    message = SignedData.parse(sign(oids.CMC_PKI_DATA, CONTENT, [Signing.nobody(b"\x01\x02")]))
    (signer,) = message.signers

    message.verify(signer, None)

    assert signer.is_unsigned
    with pytest.raises(SignatureError):
        message.verify(replace(signer, signature=b"\0" * 32), None)
    assert not SignedData.parse(signed_by(EC, ECDSA_SHA256)).signers[0].is_unsigned


def test_no_key_is_no_signature() -> None:
    message = SignedData.parse(signed_by(EC, ECDSA_SHA256))
    with pytest.raises(SignatureError, match="key of the signer"):
        message.verify(message.signers[0], None)


# -- malformed -------------------------------------------------------------------------------------------------------


@given(st.integers(min_value=0), st.integers(min_value=1, max_value=255))
def test_one_wrong_octet_is_refused_or_does_not_verify(place: int, change: int) -> None:
    """Or it changed what is signed by nobody: the certificate carried along, a version, the list of digests."""
    made = bytearray(ONE)
    made[place % len(made)] ^= change
    try:
        message = SignedData.parse(bytes(made))
        for signer in message.signers:
            message.verify(signer, EC.public_key())
            assert (message.content, signer.signed_attributes) == (
                HONEST.content,
                HONEST.signers[0].signed_attributes,
            )
    except (EncodingError, SignatureError):
        pass


ONE = signed_by(EC, ECDSA_SHA256, NAME)
HONEST = SignedData.parse(ONE)


def test_what_is_no_signed_data_is_refused() -> None:
    for data in (b"", b"\x30\x00", der.sequence(der.oid(oids.CMS_ENVELOPED_DATA), der.explicit(0, der.sequence()))):
        with pytest.raises(EncodingError):
            SignedData.parse(data)


def test_types_of_keys() -> None:
    """What the parametrised tests stand on."""
    assert isinstance(RSA, rsa.RSAPrivateKey)
    assert isinstance(EC, ec.EllipticCurvePrivateKey)
