"""Signed CMS: read, verified, and made. RFC 5652 5, RFC 3370, RFC 5754, RFC 5753, RFC 4056; no-signature: RFC 5272.

The reader takes what clients really send: BER, sets in any order, `rsaEncryption` as a signature algorithm. A usual
message in strict DER the other library's reader walks in one call, as with requests (`pkcs10_reading`). What was
signed is verified over the bytes that were received. A signature says who, never what that certificate is worth:
whoever calls `verify` decides on the certificate.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Final, NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from certwright.pki import der, oids
from certwright.pki.certificate import CertificateView
from certwright.pki.cms import open_content_info
from certwright.pki.errors import DuplicateAttribute, EncodingError, SignatureError, TooLarge, WeakAlgorithm
from certwright.pki.pkcs10_reading import Attribute
from certwright.pki.signatures import PublicKey, SignatureScheme, hash_of, scheme_of

MAX_CERTIFICATES: Final = 100
MAX_SIGNERS: Final = 16
MAX_ATTRIBUTES: Final = 100
MAX_VALUES: Final = 100

_HASHES: Final = {oids.SHA256: "sha256", oids.SHA384: "sha384", oids.SHA512: "sha512"}
_BROKEN_HASHES: Final = {oids.SHA1: "sha1", oids.MD5: "md5"}
_MADE_BY: Final[Mapping[str, Callable[[bytes], hashlib._Hash]]] = {
    "sha256": hashlib.sha256,
    "sha384": hashlib.sha384,
    "sha512": hashlib.sha512,
    "sha1": lambda data: hashlib.sha1(data, usedforsecurity=False),
}
_SHA1: Final = hashes.SHA1()  # noqa: S303 - verified where an administrator allows it, never made


# -- what it says ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SignerIdentifier:
    """Which certificate or key signed: issuer and serial number, or a subject key identifier."""

    issuer: bytes = b""  # Name, DER
    serial: int = 0
    key_identifier: bytes | None = None

    @classmethod
    def of(cls, certificate: CertificateView) -> SignerIdentifier:
        return cls(certificate.issuer, certificate.serial)

    def names(self, certificate: CertificateView) -> bool:
        if self.key_identifier is not None:
            return certificate.subject_key_identifier == self.key_identifier
        return certificate.serial == self.serial and certificate.issuer == self.issuer

    def encode(self) -> bytes:
        if self.key_identifier is not None:
            return der.tlv(0x80, self.key_identifier)
        return der.sequence(self.issuer, der.integer(self.serial))


@dataclass(frozen=True, slots=True)
class SignerInfo:
    """One signature. `attributes` are None where the content itself was signed. RFC 5652 5.3."""

    identifier: SignerIdentifier
    digest_algorithm: str  # OID
    attributes: tuple[Attribute, ...] | None
    signed_attributes: bytes  # as they were signed: a SET OF
    signature_algorithm: bytes  # AlgorithmIdentifier
    signature: bytes
    unsigned_attributes: tuple[Attribute, ...] = ()

    @property
    def is_unsigned(self) -> bool:
        """The No-Signature form: a digest in the place of a signature, which proves nothing. RFC 5272 4.2 (CMC)."""
        return der.Reader.of(self.signature_algorithm, what="algorithm").oid() == oids.CMC_NO_SIGNATURE

    def attribute(self, oid: str) -> bytes | None:
        """The one value of a signed attribute, DER.

        Raises:
            DuplicateAttribute: it stands more than once, or with more than one value.
        """
        values = [value for each in self.attributes or () if each.oid == oid for value in each.values]
        if len(values) > 1:
            raise DuplicateAttribute(f"the signed attribute {oids.name_of(oid)} has {len(values)} values")
        return values[0] if values else None

    def values(self, oid: str) -> tuple[bytes, ...]:
        """Every value of a signed attribute that may stand several times."""
        return tuple(value for each in self.attributes or () if each.oid == oid for value in each.values)


@dataclass(frozen=True, slots=True)
class SignedData:
    """A SignedData with what it carries. `content` is None where it is detached or empty."""

    content_type: str  # OID
    content: bytes | None
    certificates: tuple[bytes, ...]
    crls: tuple[bytes, ...]
    signers: tuple[SignerInfo, ...]

    @classmethod
    def parse(cls, data: bytes) -> SignedData:
        """Read a ContentInfo of signed data, BER or DER.

        Raises:
            EncodingError: it is none, or malformed; TooLarge beyond the limits of this module.
        """
        return _read_strict(data) or cls._read(data)

    @classmethod
    def _read(cls, data: bytes) -> SignedData:
        """Piece by piece, whatever it is."""
        reader = open_content_info(data, oids.CMS_SIGNED_DATA, "signed data")
        version = reader.integer()
        if not 0 <= version <= 5:
            raise EncodingError(f"CMS: version {version} of signed data is not known")
        reader.read(der.SET)  # digest algorithms: each signer says its own
        inside = reader.enter()
        inner_type = inside.oid()
        content = _content(inside.enter(0xA0)) if inside.next_tag == 0xA0 else None
        inside.finish()
        certificates = _set_elements(reader, 0xA0, MAX_CERTIFICATES, "certificates")
        crls = _set_elements(reader, 0xA1, MAX_CERTIFICATES, "CRLs")
        holder = reader.enter(der.SET)
        reader.finish()
        signers: list[SignerInfo] = []
        while holder.next_tag != -1:
            if len(signers) == MAX_SIGNERS:
                raise TooLarge(f"CMS: more than {MAX_SIGNERS} signers")
            signers.append(_signer_info(holder.enter()))
        return cls(
            inner_type,
            content,
            tuple(each for each in certificates if each[0] == der.SEQUENCE),
            crls,
            tuple(signers),
        )

    def certificate_of(self, signer: SignerInfo) -> CertificateView | None:
        """The certificate carried along that a signer names.

        Raises:
            EncodingError: a certificate carried along is malformed.
        """
        for data in self.certificates:
            certificate = CertificateView.parse(data)
            if signer.identifier.names(certificate):
                return certificate
        return None

    def verify(
        self, signer: SignerInfo, public_key: PublicKey | None, *, content: bytes | None = None, sha1: bool = False
    ) -> None:
        """Check one signer's signature with a key that the caller has found. RFC 5652 5.4, 5.6.

        Args:
            public_key: None only for the No-Signature form, whose digest is compared.
            content: what was signed, where it is not inside.
            sha1: accept SHA-1 too, as an administrator may allow for old devices.

        Raises:
            SignatureError: it does not verify; WeakAlgorithm for a hash that proves nothing.
        """
        signed = self.content if content is None else content
        if signed is None:
            raise SignatureError("nothing is signed: the message has no content")
        name = _HASHES.get(signer.digest_algorithm) or (
            _BROKEN_HASHES.get(signer.digest_algorithm) if sha1 and signer.digest_algorithm == oids.SHA1 else None
        )
        if name is None:
            raise WeakAlgorithm(f"messages signed with {oids.name_of(signer.digest_algorithm)} are not accepted")
        to_sign = signed
        if signer.attributes is not None:
            self._check_attributes(signer, _MADE_BY[name](signed).digest())
            to_sign = signer.signed_attributes
        elif self.content_type != oids.CMS_DATA:
            raise SignatureError("content that is not plain data must be signed with attributes")  # RFC 5652 5.3
        if signer.is_unsigned:
            digest = hashlib.new(name, to_sign, usedforsecurity=False).digest()
            if not hmac.compare_digest(digest, signer.signature):
                raise SignatureError("the digest in the place of a signature is another one")
            return
        if public_key is None:
            raise SignatureError("the key of the signer is not known")
        _verify(public_key, signer, to_sign, sha1=sha1)

    def _check_attributes(self, signer: SignerInfo, digest: bytes) -> None:
        """RFC 5652 11.1, 11.2: both attributes stand once and are true."""
        content_type, message_digest = (
            signer.attribute(oids.CONTENT_TYPE),
            signer.attribute(oids.MESSAGE_DIGEST),
        )
        if content_type is None or message_digest is None:
            raise SignatureError("the signed attributes lack content type or message digest")
        if content_type != der.oid(self.content_type):
            raise SignatureError("the signed attributes name another content type")
        if not hmac.compare_digest(message_digest, der.octet_string(digest)):
            raise SignatureError("the content is not what was signed")


def _verify(public_key: PublicKey, signer: SignerInfo, data: bytes, *, sha1: bool) -> None:
    oid = _oid_of(signer.signature_algorithm)
    if oid in (oids.RSA_ENCRYPTION, oids.EC_PUBLIC_KEY):  # the kind of key instead of a signature algorithm: the
        oid = _WITH_HASH.get((oid, signer.digest_algorithm), "")  # digest is the signer's. RFC 3370 3.2
        if not oid:
            raise WeakAlgorithm(f"messages signed with {oids.name_of(signer.digest_algorithm)} are not accepted")
    if sha1 and oid in (oids.RSA_SHA1, oids.ECDSA_SHA1):
        return _verify_sha1(public_key, signer.signature, data)
    if oid == oids.RSA_PSS:
        return scheme_of(signer.signature_algorithm).verify(public_key, signer.signature, data)
    used, scheme = _without_parameters(oid)
    if used and used != signer.digest_algorithm:
        raise SignatureError("digest and signature use different hashes")
    scheme.verify(public_key, signer.signature, data)
    return None


@functools.lru_cache(maxsize=64)
def _oid_of(algorithm: bytes) -> str:
    return der.Reader.of(algorithm, what="algorithm").oid()


@functools.lru_cache(maxsize=64)
def _without_parameters(oid: str) -> tuple[str, SignatureScheme]:
    """The hash of a signature algorithm, and the scheme. Raises as `signatures.scheme_of`."""
    algorithm = der.sequence(der.oid(oid))
    return hash_of(algorithm), scheme_of(algorithm)


def _verify_sha1(public_key: PublicKey, signature: bytes, data: bytes) -> None:
    try:
        if isinstance(public_key, rsa.RSAPublicKey):
            return public_key.verify(signature, data, padding.PKCS1v15(), _SHA1)
        if isinstance(public_key, ec.EllipticCurvePublicKey):
            return public_key.verify(signature, data, ec.ECDSA(_SHA1))
    except InvalidSignature:
        raise SignatureError("the SHA-1 signature does not verify") from None
    raise SignatureError(f"a {type(public_key).__name__} makes no SHA-1 signatures")


_WITH_HASH: Final = {
    (oids.RSA_ENCRYPTION, oids.SHA1): oids.RSA_SHA1,
    (oids.RSA_ENCRYPTION, oids.SHA256): oids.RSA_SHA256,
    (oids.RSA_ENCRYPTION, oids.SHA384): oids.RSA_SHA384,
    (oids.RSA_ENCRYPTION, oids.SHA512): oids.RSA_SHA512,
    (oids.EC_PUBLIC_KEY, oids.SHA1): oids.ECDSA_SHA1,
    (oids.EC_PUBLIC_KEY, oids.SHA256): oids.ECDSA_SHA256,
    (oids.EC_PUBLIC_KEY, oids.SHA384): oids.ECDSA_SHA384,
    (oids.EC_PUBLIC_KEY, oids.SHA512): oids.ECDSA_SHA512,
}


# -- reading, in one call --------------------------------------------------------------------------------------------


@asn1.sequence
class _StrictAttribute:
    oid: x509.ObjectIdentifier
    values: asn1.SetOf[asn1.TLV]


@asn1.sequence
class _StrictAlgorithm:
    oid: x509.ObjectIdentifier
    parameters: asn1.Null | None


@asn1.sequence
class _StrictSigner:
    version: int
    identifier: asn1.TLV
    digest_algorithm: _StrictAlgorithm
    attributes: Annotated[asn1.SetOf[_StrictAttribute], asn1.Implicit(0)]
    algorithm: _StrictAlgorithm
    signature: bytes


@asn1.sequence
class _StrictContent:
    oid: x509.ObjectIdentifier
    content: Annotated[bytes, asn1.Explicit(0)]


@asn1.sequence
class _StrictSignedData:
    version: int
    digest_algorithms: asn1.SetOf[_StrictAlgorithm]
    inside: _StrictContent
    certificates: Annotated[asn1.SetOf[asn1.TLV], asn1.Implicit(0)]
    signers: asn1.SetOf[_StrictSigner]


@asn1.sequence
class _StrictMessage:
    oid: x509.ObjectIdentifier
    signed_data: Annotated[_StrictSignedData, asn1.Explicit(0)]


_SIGNED_DATA: Final = x509.ObjectIdentifier(oids.CMS_SIGNED_DATA)


def _read_strict(data: bytes) -> SignedData | None:
    """A message in strict DER with contents, one signer and attributes of one value each; None for all others."""
    try:
        message = asn1.decode_der(_StrictMessage, data)
        found = message.signed_data
        (signer,) = found.signers.as_list()
        attributes = tuple([_strict_attribute(each) for each in signer.attributes.as_list()])
        certificates = len(found.certificates.as_list())
        if message.oid != _SIGNED_DATA or found.version not in (1, 3) or signer.version != 1:
            return None
        if not 0 < certificates <= MAX_CERTIFICATES or len(attributes) > MAX_ATTRIBUTES:
            return None
        # the structure is proved: these need to follow lengths only
        outer = der.start_of(data, der.end_of(data, der.start_of(data, 0)))
        places = der.boundaries(data, der.start_of(data, outer), 5)
        own = der.start_of(data, der.start_of(data, places[4]))
        parts = der.boundaries(data, own, 6)
        named = der.Reader(data, parts[1], parts[2], "signer").enter()
        identifier = SignerIdentifier(named.whole(der.SEQUENCE), named.integer())
        named.finish()
        each = der.boundaries(data, der.start_of(data, places[3]), certificates)
    except (ValueError, EncodingError):
        return None
    return SignedData(
        found.inside.oid.dotted_string,
        found.inside.content,
        tuple([data[begin:end] for begin, end in pairwise(each) if data[begin] == der.SEQUENCE]),
        (),
        (
            SignerInfo(
                identifier,
                signer.digest_algorithm.oid.dotted_string,
                attributes,
                _SET + data[parts[3] + 1 : parts[4]],
                data[parts[4] : parts[5]],
                signer.signature,
            ),
        ),
    )


def _strict_attribute(attribute: _StrictAttribute) -> Attribute:
    """Raises:
    ValueError: it is not that simple.
    """
    (value,) = attribute.values.as_list()
    tag = value.tag_bytes
    oid = attribute.oid.dotted_string
    if len(tag) != 1 or len(oid) > der.MAX_OID_OCTETS or (tag[0] & 0x20 and tag[0] != der.SEQUENCE):
        raise ValueError
    return Attribute(oid, (der.tlv(tag[0], bytes(value.data)),))


_SET: Final = bytes((der.SET,))


# -- reading, piece by piece -----------------------------------------------------------------------------------------


def _content(reader: der.Reader) -> bytes:
    """eContent is an OCTET STRING; PKCS#7 1.5 allowed any element, whose contents were signed. RFC 5652 5.2.1."""
    content = reader.content()
    reader.finish()
    return content


def _set_elements(reader: der.Reader, tag: int, limit: int, what: str) -> tuple[bytes, ...]:
    holder = reader.optional(tag)
    if holder is None:
        return ()
    try:
        return tuple(child.whole(reader.data) for child in der.children(reader.data, holder, limit=limit))
    except TooLarge:
        raise TooLarge(f"CMS: more than {limit} {what}") from None


def _signer_info(reader: der.Reader) -> SignerInfo:
    version = reader.integer()
    if version not in (1, 3):
        raise EncodingError(f"CMS: version {version} of a signer is not known")
    if reader.next_tag == 0x80:
        identifier = SignerIdentifier(key_identifier=reader.content(0x80))
    else:
        named = reader.enter()
        identifier = SignerIdentifier(named.whole(der.SEQUENCE), named.integer())
        named.finish()
    digest_algorithm = reader.enter().oid()
    attributes: tuple[Attribute, ...] | None = None
    signed = b""
    if reader.next_tag == 0xA0:
        encoded = reader.whole(0xA0)
        signed = bytes((der.SET,)) + encoded[1:]
        attributes = _attributes(der.Reader.of(signed, der.SET, "signed attributes"))
    algorithm = reader.whole(der.SEQUENCE)
    signature = reader.content(der.OCTET_STRING)
    unsigned = _attributes(reader.enter(0xA1)) if reader.next_tag == 0xA1 else ()
    reader.finish()
    return SignerInfo(identifier, digest_algorithm, attributes, signed, algorithm, signature, unsigned)


def _attributes(reader: der.Reader) -> tuple[Attribute, ...]:
    found: list[Attribute] = []
    while reader.next_tag != -1:
        if len(found) == MAX_ATTRIBUTES:
            raise TooLarge(f"CMS: more than {MAX_ATTRIBUTES} attributes")
        attribute = reader.enter()
        oid = attribute.oid()
        holder = attribute.read(der.SET)
        attribute.finish()
        values = tuple(child.whole(reader.data) for child in der.children(reader.data, holder, limit=MAX_VALUES))
        found.append(Attribute(oid, values))
    return tuple(found)


# -- making ----------------------------------------------------------------------------------------------------------


class Signing(NamedTuple):
    """Who is to sign, and with which attributes beside the two that always stand."""

    identifier: SignerIdentifier
    algorithm: bytes  # AlgorithmIdentifier of the signature
    digest_algorithm: str  # OID
    sign: Callable[[bytes], bytes]
    attributes: tuple[Attribute, ...] = ()
    unsigned_attributes: tuple[Attribute, ...] = ()

    @classmethod
    def nobody(cls, key_identifier: bytes, digest_algorithm: str = oids.SHA256) -> Signing:
        """The No-Signature form, for a key that cannot sign. RFC 5272 4.2."""
        name = _HASHES[digest_algorithm]
        return cls(
            SignerIdentifier(key_identifier=key_identifier),
            der.sequence(der.oid(oids.CMC_NO_SIGNATURE), der.null()),
            digest_algorithm,
            lambda data: hashlib.new(name, data).digest(),
        )


def sign(
    content_type: str,
    content: bytes | None,
    signings: Sequence[Signing],
    certificates: Iterable[bytes] = (),
    crls: Iterable[bytes] = (),
) -> bytes:
    """A ContentInfo of signed data, DER.

    Certificates keep their order, as `cms.certs_only` explains.

    Args:
        content: None for a message without content, whose attributes are all that is signed.
    """
    lists = b"".join(crls)
    keyed = any(signing.identifier.key_identifier is not None for signing in signings)
    version = 3 if content_type != oids.CMS_DATA or keyed else 1  # RFC 5652 5.1
    digests = {_algorithm(signing.digest_algorithm) for signing in signings}
    body = der.explicit(0, der.octet_string(content)) if content is not None else b""
    signed_data = der.sequence(
        der.integer(version),
        der.set_of(*digests),
        der.sequence(der.oid(content_type), body),
        der.tlv(0xA0, b"".join(certificates)),
        der.tlv(0xA1, lists) if lists else b"",
        der.set_of(*(_signed_by(signing, content_type, content or b"") for signing in signings)),
    )
    return der.sequence(der.oid(oids.CMS_SIGNED_DATA), der.explicit(0, signed_data))


def _signed_by(signing: Signing, content_type: str, content: bytes) -> bytes:
    digest = _MADE_BY[_HASHES[signing.digest_algorithm]](content).digest()
    attributes = der.set_of(
        _encode(Attribute(oids.CONTENT_TYPE, (der.oid(content_type),))),
        _encode(Attribute(oids.MESSAGE_DIGEST, (der.octet_string(digest),))),
        *map(_encode, signing.attributes),
    )
    unsigned = b""
    if signing.unsigned_attributes:
        unsigned = der.implicit(1, der.set_of(*map(_encode, signing.unsigned_attributes)))
    return der.sequence(
        der.integer(1 if signing.identifier.key_identifier is None else 3),
        signing.identifier.encode(),
        _algorithm(signing.digest_algorithm),
        der.implicit(0, attributes),
        signing.algorithm,
        der.octet_string(signing.sign(attributes)),
        unsigned,
    )


def _encode(attribute: Attribute) -> bytes:
    return der.sequence(der.oid(attribute.oid), der.set_of(*attribute.values))


def _algorithm(oid: str) -> bytes:
    return der.sequence(der.oid(oid))  # RFC 5754 2: hashes without parameters
