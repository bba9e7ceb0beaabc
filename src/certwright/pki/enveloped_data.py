"""Encrypted CMS (EnvelopedData): opened and made. RFC 5652 6, RFC 3370 4.2.1, RFC 3560, RFC 3565, RFC 8017 7.

For RSA recipients, as SCEP needs it: key transport by PKCS#1 v1.5 or OAEP, contents in AES, 3DES or, where an
administrator allows it, DES. A wrong padding is never told apart from wrong contents: where a key cannot be unwrapped
a random one takes its place (RFC 3218 2.3.2), and whatever fails after that is one error with one sentence.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Final

from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.padding import PKCS7

from certwright.pki import der, oids
from certwright.pki.certificate import CertificateView
from certwright.pki.cms import open_content_info
from certwright.pki.errors import EncodingError, SignatureError, TooLarge, WeakAlgorithm
from certwright.pki.public_keys import load_public_key
from certwright.pki.signed_data import SignerIdentifier

MAX_RECIPIENTS: Final = 16


class NotOpened(SignatureError):
    """The contents cannot be had with this key. Why is not said, and must not be found out by asking often."""

    def __init__(self) -> None:
        super().__init__("the encrypted contents cannot be opened with this key")


class ContentCipher(Enum):
    """How contents are encrypted: OID, octets of the key, octets of a block."""

    AES_128 = (oids.AES128_CBC, 16, 16)
    AES_192 = (oids.AES192_CBC, 24, 16)
    AES_256 = (oids.AES256_CBC, 32, 16)
    TRIPLE_DES = (oids.DES_EDE3_CBC, 24, 8)
    DES = (oids.DES_CBC, 8, 8)

    def __init__(self, oid: str, key_octets: int, block_octets: int) -> None:
        self.oid = oid
        self.key_octets = key_octets
        self.block_octets = block_octets

    @property
    def label(self) -> str:
        return oids.name_of(self.oid)

    def over(self, key: bytes, initial: bytes) -> Cipher[modes.CBC]:
        if self in (ContentCipher.TRIPLE_DES, ContentCipher.DES):
            return Cipher(TripleDES(key * (24 // self.key_octets)), modes.CBC(initial))
        return Cipher(AES(key), modes.CBC(initial))


STRONG: Final = frozenset({ContentCipher.AES_128, ContentCipher.AES_192, ContentCipher.AES_256})
_CIPHERS: Final = {cipher.oid: cipher for cipher in ContentCipher}
_OAEP_HASHES: Final[dict[str, hashes.HashAlgorithm]] = {
    oids.SHA1: hashes.SHA1(),  # noqa: S303 - the default of RFC 8017; OAEP asks for no collision resistance
    oids.SHA256: hashes.SHA256(),
    oids.SHA384: hashes.SHA384(),
    oids.SHA512: hashes.SHA512(),
}


class KeyTransport(Enum):
    """How the content key is wrapped when we make a message."""

    PKCS1 = "PKCS#1 v1.5"
    OAEP = "OAEP"


@dataclass(frozen=True, slots=True)
class Recipient:
    """A content key wrapped for one RSA key. RFC 5652 6.2.1."""

    identifier: SignerIdentifier  # the same choice as of a signer
    algorithm: bytes  # AlgorithmIdentifier of the key transport
    encrypted_key: bytes


@dataclass(frozen=True, slots=True)
class EnvelopedData:
    """Encrypted contents with the keys to them."""

    recipients: tuple[Recipient, ...]
    content_type: str  # OID
    cipher: ContentCipher
    initial: bytes  # initialisation vector
    encrypted: bytes

    @classmethod
    def parse(cls, data: bytes) -> EnvelopedData:
        """Read a ContentInfo of enveloped data, BER or DER. Recipients that are no RSA keys are passed over.

        Raises:
            WeakAlgorithm: the contents are encrypted with a cipher that is none of ours.
            EncodingError: malformed; TooLarge beyond the limits of this module.
        """
        return _read_strict(data) or cls._read(data)

    @classmethod
    def _read(cls, data: bytes) -> EnvelopedData:
        """Piece by piece, whatever it is."""
        reader = open_content_info(data, oids.CMS_ENVELOPED_DATA, "enveloped data")
        version = reader.integer()
        if not 0 <= version <= 4:
            raise EncodingError(f"CMS: version {version} of enveloped data is not known")
        reader.optional(0xA0)  # originator's certificates and CRLs: nobody's business here
        recipients = _recipients(reader.enter(der.SET))
        inside = reader.enter()
        reader.optional(0xA1)  # unprotected attributes
        reader.finish()
        inner_type = inside.oid()
        algorithm = inside.enter()
        cipher_oid = algorithm.oid()
        cipher = _CIPHERS.get(cipher_oid)
        if cipher is None:
            raise WeakAlgorithm(f"contents encrypted with {oids.name_of(cipher_oid)} are not read here")
        initial = algorithm.content(der.OCTET_STRING)
        algorithm.finish()
        if len(initial) != cipher.block_octets:
            raise EncodingError(f"CMS: {cipher.label} wants an initialisation vector of {cipher.block_octets} octets")
        encrypted = _encrypted(inside)
        inside.finish()
        return cls(recipients, inner_type, cipher, initial, encrypted)

    def recipient_of(self, certificate: CertificateView) -> Recipient | None:
        """The key that was wrapped for a certificate."""
        return next((each for each in self.recipients if each.identifier.names(certificate)), None)

    def open(
        self, recipient: Recipient, private_key: rsa.RSAPrivateKey, ciphers: Collection[ContentCipher] = STRONG
    ) -> bytes:
        """The contents.

        Args:
            ciphers: those an administrator allows.

        Raises:
            WeakAlgorithm: cipher or key transport are not allowed; that can be seen from outside.
            NotOpened: anything else.
        """
        return self.open_with(self.unwrap(recipient, private_key, ciphers))

    def unwrap(
        self, recipient: Recipient, private_key: rsa.RSAPrivateKey, ciphers: Collection[ContentCipher] = STRONG
    ) -> bytes:
        """The first half of `open`: the content key, or a random one where there is none. Raises `WeakAlgorithm`."""
        if self.cipher not in ciphers:
            raise WeakAlgorithm(f"contents encrypted with {self.cipher.label} are not accepted")
        return _unwrapped(recipient, private_key, self.cipher.key_octets)

    def open_with(self, key: bytes) -> bytes:
        """The second half of `open`. Raises `NotOpened`."""
        if not self.encrypted or len(self.encrypted) % self.cipher.block_octets:
            raise NotOpened
        decryptor = self.cipher.over(key, self.initial).decryptor()
        padded = decryptor.update(self.encrypted) + decryptor.finalize()
        unpadder = PKCS7(self.cipher.block_octets * 8).unpadder()
        try:
            return unpadder.update(padded) + unpadder.finalize()
        except ValueError:
            raise NotOpened from None


# -- reading, in one call --------------------------------------------------------------------------------------------


@asn1.sequence
class _StrictNamed:
    issuer: asn1.TLV
    serial: int


@asn1.sequence
class _StrictTransport:
    oid: x509.ObjectIdentifier
    parameters: asn1.Null | None


@asn1.sequence
class _StrictRecipient:
    version: int
    identifier: _StrictNamed
    algorithm: _StrictTransport
    encrypted_key: bytes


@asn1.sequence
class _StrictCipher:
    oid: x509.ObjectIdentifier
    initial: bytes


@asn1.sequence
class _StrictContents:
    oid: x509.ObjectIdentifier
    algorithm: _StrictCipher
    encrypted: Annotated[bytes, asn1.Implicit(0)]


@asn1.sequence
class _StrictEnvelopedData:
    version: int
    recipients: asn1.SetOf[_StrictRecipient]
    inside: _StrictContents


@asn1.sequence
class _StrictMessage:
    oid: x509.ObjectIdentifier
    enveloped_data: Annotated[_StrictEnvelopedData, asn1.Explicit(0)]


_ENVELOPED_DATA: Final = x509.ObjectIdentifier(oids.CMS_ENVELOPED_DATA)


def _read_strict(data: bytes) -> EnvelopedData | None:
    """A message in strict DER with one usual recipient; None for all others, and for what is to be refused."""
    try:
        message = asn1.decode_der(_StrictMessage, data)
        found = message.enveloped_data
        (recipient,) = found.recipients.as_list()
    except ValueError:
        return None
    cipher = _CIPHERS.get(found.inside.algorithm.oid.dotted_string)
    initial = found.inside.algorithm.initial
    if cipher is None or len(initial) != cipher.block_octets:
        return None
    if message.oid != _ENVELOPED_DATA or found.version != 0 or recipient.version != 0:
        return None
    issuer, transport = recipient.identifier.issuer, recipient.algorithm
    if issuer.tag_bytes != _SEQUENCE:
        return None
    parameters = der.null() if transport.parameters is not None else b""
    return EnvelopedData(
        (
            Recipient(
                SignerIdentifier(der.tlv(der.SEQUENCE, bytes(issuer.data)), recipient.identifier.serial),
                der.sequence(der.oid(transport.oid.dotted_string), parameters),
                recipient.encrypted_key,
            ),
        ),
        found.inside.oid.dotted_string,
        cipher,
        initial,
        found.inside.encrypted,
    )


_SEQUENCE: Final = bytes((der.SEQUENCE,))


# -- reading, piece by piece -----------------------------------------------------------------------------------------


def _recipients(holder: der.Reader) -> tuple[Recipient, ...]:
    found: list[Recipient] = []
    seen = 0
    while holder.next_tag != -1:
        seen += 1
        if seen > MAX_RECIPIENTS:
            raise TooLarge(f"CMS: more than {MAX_RECIPIENTS} recipients")
        if holder.next_tag != der.SEQUENCE:  # key agreement, passwords and the like
            holder.read()
            continue
        reader = holder.enter()
        version = reader.integer()
        if version not in (0, 2):
            raise EncodingError(f"CMS: version {version} of a recipient is not known")
        if reader.next_tag == 0x80:
            identifier = SignerIdentifier(key_identifier=reader.content(0x80))
        else:
            named = reader.enter()
            identifier = SignerIdentifier(named.whole(der.SEQUENCE), named.integer())
            named.finish()
        algorithm = reader.whole(der.SEQUENCE)
        encrypted_key = reader.content(der.OCTET_STRING)
        reader.finish()
        found.append(Recipient(identifier, algorithm, encrypted_key))
    return tuple(found)


def _encrypted(reader: der.Reader) -> bytes:
    """[0] IMPLICIT OCTET STRING; in pieces where BER wrote it so, which stay apart under an implicit tag."""
    if reader.next_tag == 0x80:
        return reader.content(0x80)
    pieces = reader.enter(0xA0)
    joined = bytearray()
    while pieces.next_tag != -1:
        joined += pieces.content(der.OCTET_STRING)
    return bytes(joined)


def _unwrapped(recipient: Recipient, private_key: rsa.RSAPrivateKey, octets: int) -> bytes:
    """The content key, or a random one where there is none of that length."""
    scheme = _key_transport(recipient.algorithm)
    instead = os.urandom(octets)
    try:
        key = private_key.decrypt(recipient.encrypted_key, scheme)
    except ValueError:
        return instead
    return key if len(key) == octets else instead


def _key_transport(algorithm: bytes) -> padding.AsymmetricPadding:
    reader = der.Reader.of(algorithm, what="key transport")
    oid = reader.oid()
    if oid == oids.RSA_ENCRYPTION:
        return padding.PKCS1v15()
    if oid != oids.RSA_OAEP:
        raise WeakAlgorithm(f"keys wrapped by {oids.name_of(oid)} are not accepted")
    parameters = reader.enter() if reader.next_tag == der.SEQUENCE else der.Reader(b"")
    hash_oid, mask, mask_hash, label = oids.SHA1, oids.MGF1, oids.SHA1, None
    if parameters.next_tag == 0xA0:
        hash_oid = parameters.enter(0xA0).enter().oid()
    if parameters.next_tag == 0xA1:
        generator = parameters.enter(0xA1).enter()
        mask, mask_hash = generator.oid(), generator.enter().oid()
    if parameters.next_tag == 0xA2:
        source = parameters.enter(0xA2).enter()
        source.oid()
        label = source.content(der.OCTET_STRING) or None
    parameters.finish()
    used, used_by_mask = _OAEP_HASHES.get(hash_oid), _OAEP_HASHES.get(mask_hash)
    if mask != oids.MGF1 or used is None or used_by_mask is None:
        raise WeakAlgorithm("keys wrapped by RSA OAEP with these parameters are not accepted")
    return padding.OAEP(padding.MGF1(used_by_mask), used, label)


# -- making ----------------------------------------------------------------------------------------------------------


def seal(
    content: bytes,
    certificate: CertificateView,
    cipher: ContentCipher = ContentCipher.AES_128,
    transport: KeyTransport = KeyTransport.PKCS1,
    content_type: str = oids.CMS_DATA,
    *,
    public_key: rsa.RSAPublicKey | None = None,
) -> bytes:
    """A ContentInfo of enveloped data for the holder of a certificate, DER.

    Args:
        public_key: the certificate's, where it is at hand.

    Raises:
        WeakAlgorithm: its key is no RSA key, so nothing can be encrypted to it.
        EncodingError: its key is nonsense.
    """
    if public_key is None:
        loaded = load_public_key(certificate.public_key_info)
        if not isinstance(loaded, rsa.RSAPublicKey):
            raise WeakAlgorithm("nothing can be encrypted to a key that is not RSA")
        public_key = loaded
    key, initial = os.urandom(cipher.key_octets), os.urandom(cipher.block_octets)
    encryptor = cipher.over(key, initial).encryptor()
    missing = cipher.block_octets - len(content) % cipher.block_octets
    encrypted = encryptor.update(content + bytes((missing,)) * missing) + encryptor.finalize()  # RFC 5652 6.3
    algorithm, scheme = _transport_made(transport)
    recipient = der.sequence(
        der.integer(0),
        SignerIdentifier.of(certificate).encode(),
        algorithm,
        der.octet_string(public_key.encrypt(key, scheme)),
    )
    enveloped = der.sequence(
        der.integer(0),
        der.set_of(recipient),
        der.sequence(
            der.oid(content_type),
            der.sequence(der.oid(cipher.oid), der.octet_string(initial)),
            der.tlv(0x80, encrypted),
        ),
    )
    return der.sequence(der.oid(oids.CMS_ENVELOPED_DATA), der.explicit(0, enveloped))


def _transport_made(transport: KeyTransport) -> tuple[bytes, padding.AsymmetricPadding]:
    if transport is KeyTransport.PKCS1:
        return der.sequence(der.oid(oids.RSA_ENCRYPTION), der.null()), padding.PKCS1v15()
    digest = der.sequence(der.oid(oids.SHA256), der.null())
    parameters = der.sequence(der.explicit(0, digest), der.explicit(1, der.sequence(der.oid(oids.MGF1), digest)))
    scheme = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    return der.sequence(der.oid(oids.RSA_OAEP), parameters), scheme
