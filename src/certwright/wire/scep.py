"""SCEP messages, read and written by both sides: pkiMessage, and what an HTTP request says. RFC 8894 3, 4.

A message is a SignedData whose signed attributes say what it is, around an EnvelopedData with the contents. A
transaction's name is echoed byte for byte, whatever kind of string it is: clients write numbers, hex and base64.
Signatures are verified by `PkiMessage.verify`; what a signer's certificate is worth is decided elsewhere.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Final
from urllib.parse import unquote_to_bytes

from cryptography.hazmat.primitives.asymmetric import rsa

from certwright.pki import der, oids
from certwright.pki.certificate import CertificateView
from certwright.pki.errors import EncodingError, TooLarge
from certwright.pki.pkcs10 import CertificationRequest
from certwright.pki.pkcs10_reading import Attribute
from certwright.pki.public_keys import load_public_key
from certwright.pki.signatures import RSA_SHA256, RSA_SHA384, RSA_SHA512, PublicKey
from certwright.pki.signed_data import SignedData, SignerIdentifier, SignerInfo, Signing, sign

MAX_MESSAGE: Final = 64 << 10
"""Octets of a message. The longest challenges known, an MDM's, have 8 KiB."""
MAX_TRANSACTION: Final = 512
MAX_NONCE: Final = 64
MAX_CHALLENGE: Final = 8 << 10
NONCE_OCTETS: Final = 16

MESSAGE_TYPE: Final = "application/x-pki-message"
CA_CERTIFICATE_TYPE: Final = "application/x-x509-ca-cert"
CA_AND_RA_TYPE: Final = "application/x-x509-ca-ra-cert"
NEXT_CA_TYPE: Final = "application/x-x509-next-ca-cert"
CAPABILITIES_TYPE: Final = "text/plain"

_SCHEMES: Final = {oids.SHA256: RSA_SHA256, oids.SHA384: RSA_SHA384, oids.SHA512: RSA_SHA512}


class MessageType(IntEnum):
    """RFC 8894 3.2.1.2; UpdateReq is of the drafts before it."""

    CERT_REP = 3
    RENEWAL_REQ = 17
    UPDATE_REQ = 18
    PKCS_REQ = 19
    CERT_POLL = 20
    GET_CERT = 21
    GET_CRL = 22

    @property
    def asks_for_certificate(self) -> bool:
        return self in (MessageType.RENEWAL_REQ, MessageType.UPDATE_REQ, MessageType.PKCS_REQ)


class PkiStatus(IntEnum):
    """RFC 8894 3.2.1.3."""

    SUCCESS = 0
    FAILURE = 2
    PENDING = 3


class FailInfo(IntEnum):
    """RFC 8894 3.2.1.4."""

    BAD_ALG = 0
    BAD_MESSAGE_CHECK = 1
    BAD_REQUEST = 2
    BAD_TIME = 3
    BAD_CERT_ID = 4


class Operation(Enum):
    """What a URL asks for. RFC 8894 4; GetCACertChain is of the drafts before it."""

    GET_CA_CAPS = "GetCACaps"
    GET_CA_CERT = "GetCACert"
    GET_CA_CERT_CHAIN = "GetCACertChain"
    GET_NEXT_CA_CERT = "GetNextCACert"
    PKI_OPERATION = "PKIOperation"


_OPERATIONS: Final = {operation.value.lower(): operation for operation in Operation}


_KINDS: Final[Mapping[int | None, MessageType]] = {int(each): each for each in MessageType}
_STATUSES: Final[Mapping[int | None, PkiStatus]] = {int(each): each for each in PkiStatus}
_FAILURES: Final[Mapping[int | None, FailInfo]] = {int(each): each for each in FailInfo}


@dataclass(frozen=True, slots=True)
class Credentials:
    """A certificate and its RSA key, which sign messages."""

    certificate: CertificateView
    private_key: rsa.RSAPrivateKey


@dataclass(frozen=True, slots=True)
class PkiMessage:
    """One message, from either side."""

    kind: MessageType
    transaction: bytes  # a string, DER
    sender_nonce: bytes
    signer: CertificateView
    envelope: bytes | None  # EnvelopedData, or certs-only SignedData for a client that asks nothing secret
    recipient_nonce: bytes
    status: PkiStatus | None  # these three in answers
    fail_info: FailInfo | None
    fail_text: str
    signed: SignedData
    signature: SignerInfo

    @classmethod
    def parse(cls, data: bytes) -> PkiMessage:
        """Read a message, BER or DER.

        Raises:
            EncodingError: it is none: malformed, not signed by one signer whose certificate it carries, or without
                the attributes that every message has.
        """
        if len(data) > MAX_MESSAGE:
            raise TooLarge(f"SCEP: a message has at most {MAX_MESSAGE} octets")
        signed = SignedData.parse(data)
        if len(signed.signers) != 1:
            raise EncodingError(f"SCEP: a message has one signer, not {len(signed.signers)}")
        signature = signed.signers[0]
        signer = signed.certificate_of(signature)
        if signer is None:
            raise EncodingError("SCEP: the certificate of the signer is not in the message")
        told = _Told(signature)
        transaction = told.one(oids.SCEP_TRANSACTION_ID)
        if transaction is None or len(transaction) > MAX_TRANSACTION:
            raise EncodingError("SCEP: the message has no transaction ID, or a very long one")
        if "\0" in _text(transaction, "transaction ID"):
            raise EncodingError("SCEP: the transaction ID holds a NUL")
        kind = _KINDS.get(told.number(oids.SCEP_MESSAGE_TYPE))
        if kind is None:
            raise EncodingError("SCEP: the message has no message type, or an unknown one")
        fail_text = told.one(oids.SCEP_FAIL_INFO_TEXT)
        return cls(
            kind,
            transaction,
            told.nonce(oids.SCEP_SENDER_NONCE),
            signer,
            signed.content or None,
            told.nonce(oids.SCEP_RECIPIENT_NONCE),
            _STATUSES.get(told.number(oids.SCEP_PKI_STATUS)),
            _FAILURES.get(told.number(oids.SCEP_FAIL_INFO)),
            _text(fail_text, "text of a failure") if fail_text is not None else "",
            signed,
            signature,
        )

    def verify(self, *, sha1: bool = False) -> PublicKey:
        """Check the signature with the key of the certificate carried along, and give that key.

        Raises:
            SignatureError: it does not verify; WeakAlgorithm for a hash that proves nothing.
            EncodingError: the key is nonsense.
        """
        nothing = b"" if self.signed.content is None else None  # failures and promises have no contents
        key = load_public_key(self.signer.public_key_info)
        self.signed.verify(self.signature, key, content=nothing, sha1=sha1)
        return key

    @property
    def transaction_text(self) -> str:
        return _text(self.transaction, "transaction ID")

    @property
    def digest_algorithm(self) -> str:
        """OID of the hash to answer with: the client's, and SHA-256 where that one proves nothing."""
        used = self.signature.digest_algorithm
        return used if used in _SCHEMES else oids.SHA256

    # -- making

    @classmethod
    def request(
        cls,
        kind: MessageType,
        transaction: str,
        envelope: bytes,
        credentials: Credentials,
        *,
        digest_algorithm: str = oids.SHA256,
        sender_nonce: bytes = b"",
    ) -> bytes:
        """What a client sends."""
        attributes = (
            _attribute(oids.SCEP_MESSAGE_TYPE, der.printable(str(int(kind)))),
            _attribute(oids.SCEP_TRANSACTION_ID, der.printable(transaction)),
            _attribute(oids.SCEP_SENDER_NONCE, der.octet_string(sender_nonce or new_nonce())),
        )
        return _signed(envelope, attributes, credentials, digest_algorithm)

    def answer(
        self,
        credentials: Credentials,
        status: PkiStatus,
        *,
        envelope: bytes | None = None,
        fail_info: FailInfo | None = None,
        fail_text: str = "",
    ) -> bytes:
        """CertRep to this message: its transaction and nonce, its hash, a nonce of our own. RFC 8894 3.3.2."""
        attributes = [
            _attribute(oids.SCEP_MESSAGE_TYPE, der.printable(str(int(MessageType.CERT_REP)))),
            _attribute(oids.SCEP_PKI_STATUS, der.printable(str(int(status)))),
            _attribute(oids.SCEP_TRANSACTION_ID, self.transaction),
            _attribute(oids.SCEP_RECIPIENT_NONCE, der.octet_string(self.sender_nonce)),
            _attribute(oids.SCEP_SENDER_NONCE, der.octet_string(new_nonce())),
        ]
        if fail_info is not None:
            attributes.append(_attribute(oids.SCEP_FAIL_INFO, der.printable(str(int(fail_info)))))
        if fail_text:
            attributes.append(_attribute(oids.SCEP_FAIL_INFO_TEXT, der.utf8(fail_text)))
        return _signed(envelope, tuple(attributes), credentials, self.digest_algorithm)


def new_nonce() -> bytes:
    return secrets.token_bytes(NONCE_OCTETS)


def _signed(
    envelope: bytes | None, attributes: tuple[Attribute, ...], credentials: Credentials, digest_algorithm: str
) -> bytes:
    """Signed with the kind of key as the signature algorithm, which strongSwan insists on (RFC 3370 3.2), and over
    empty contents where RFC 8894 3.2 has none: OpenSSL, and with it certmonger, verifies nothing else.
    """
    scheme = _SCHEMES[digest_algorithm]
    signing = Signing(
        SignerIdentifier.of(credentials.certificate),
        der.sequence(der.oid(oids.RSA_ENCRYPTION), der.null()),
        digest_algorithm,
        lambda data: scheme.sign(credentials.private_key, data),
        attributes,
    )
    return sign(oids.CMS_DATA, envelope or b"", [signing], [credentials.certificate.der])


def _attribute(oid: str, value: bytes) -> Attribute:
    return Attribute(oid, (value,))


class _Told:
    """What the signed attributes say, each once."""

    def __init__(self, signature: SignerInfo) -> None:
        self._signature = signature
        self._there = frozenset([each.oid for each in signature.attributes or ()])

    def one(self, oid: str) -> bytes | None:
        """Raises:
        DuplicateAttribute: there are several.
        """
        return self._signature.attribute(oid) if oid in self._there else None

    def number(self, oid: str) -> int | None:
        value = self.one(oid)
        if value is None:
            return None
        text = _text(value, oids.name_of(oid)).strip()
        if not (text.isascii() and text.isdigit() and len(text) <= 3):
            raise EncodingError(f"SCEP: {oids.name_of(oid)} is no number")
        return int(text)

    def nonce(self, oid: str) -> bytes:
        value = self.one(oid)
        if value is None:
            return b""
        content = der.require_single(value, der.OCTET_STRING, "nonce").content(value)
        if len(content) > MAX_NONCE:
            raise TooLarge(f"SCEP: a nonce has at most {MAX_NONCE} octets")
        return content


def _text(value: bytes, what: str) -> str:
    element = der.require_single(value, what=what)
    if element.tag not in der.STRING_TAGS:
        raise EncodingError(f"SCEP: the {what} is no string")
    return der.decode_string(element.tag, element.content(value))


# -- what is inside --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class IssuerAndSerial:
    """Which certificate, or whose CRL: the contents of GetCert and GetCRL. RFC 8894 3.3.4, 3.3.5."""

    issuer: bytes  # Name
    serial: int

    @classmethod
    def parse(cls, data: bytes) -> IssuerAndSerial:
        """Raises:
        EncodingError: malformed.
        """
        reader = der.Reader.of(data, what="issuer and serial number")
        found = cls(reader.whole(der.SEQUENCE), reader.integer())
        reader.finish()
        return found

    def encode(self) -> bytes:
        return der.sequence(self.issuer, der.integer(self.serial))


def issuer_and_subject(issuer: bytes, subject: bytes) -> bytes:
    """The contents of CertPoll, by Names. A server goes by the transaction instead. RFC 8894 3.3.3."""
    return der.sequence(issuer, subject)


def challenge_password(request: CertificationRequest) -> str:
    """The challenge in a request; empty where there is none. RFC 2985 5.4.1, whose limit of 255 nobody keeps.

    Raises:
        EncodingError: there are several, or it is no string.
    """
    values = [value for each in request.attributes if each.oid == oids.CHALLENGE_PASSWORD for value in each.values]
    if len(values) > 1:
        raise EncodingError("the request has several challenge passwords")
    if not values:
        return ""
    if len(values[0]) > MAX_CHALLENGE:
        raise TooLarge(f"a challenge password has at most {MAX_CHALLENGE} octets")
    return _text(values[0], "challenge password")


# -- over HTTP -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Question:
    """What a URL says. Operations and their arguments in any case. RFC 8894 4.1."""

    operation: Operation | None
    named: str  # the operation as it was written
    message: bytes  # the argument, percent-decoded; base64 in a PKIOperation by GET

    @classmethod
    def parse(cls, query: bytes) -> Question:
        """Read a query string. A plus sign stays one: old devices encode nothing."""
        found: dict[bytes, bytes] = {}
        for pair in query.split(b"&", 16):
            name, _, value = pair.partition(b"=")
            found.setdefault(unquote_to_bytes(name).lower(), unquote_to_bytes(value))
        named = found.get(b"operation", b"").decode("latin-1")
        return cls(_OPERATIONS.get(named.strip().lower()), named, found.get(b"message", b""))

    def decoded(self) -> bytes:
        """The message of a PKIOperation by GET: base64, with blanks for plus signs and without padding too.

        Raises:
            EncodingError: it is no base64.
        """
        text = self.message.replace(b" ", b"+").translate(None, b"\r\n\t=")
        try:
            return base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
        except binascii.Error as error:
            raise EncodingError(f"the message in the address is no base64: {error}") from None


@dataclass(frozen=True, slots=True)
class AdminQuestion:
    """What an MDM asks at the page for people: NDESGenerateChallenge, NDESGetCACertThumbprint."""

    operation: str  # lower case; empty for the page itself
    key_usage: int
    parameters: str

    @classmethod
    def parse(cls, query: bytes) -> AdminQuestion:
        """Raises:
        EncodingError: the key usage is no number, or the parameters are no text.
        """
        found: dict[bytes, bytes] = {}
        for pair in query.split(b"&", 16):
            name, _, value = pair.partition(b"=")
            found.setdefault(unquote_to_bytes(name).lower(), unquote_to_bytes(value.replace(b"+", b" ")))
        usage = found.get(b"keyusage", b"0").strip()
        if not (usage.isdigit() and len(usage) <= 5):
            raise EncodingError("keyUsage is a number")
        parameters = found.get(b"params", b"")
        if len(parameters) > MAX_CHALLENGE:
            raise TooLarge(f"params has at most {MAX_CHALLENGE} octets")
        try:
            text = parameters.decode("utf-8")
        except UnicodeDecodeError:
            raise EncodingError("params is no UTF-8") from None
        return cls(found.get(b"operation", b"").decode("latin-1").strip().lower(), int(usage), text)


def next_ca(certificates: bytes, credentials: Credentials) -> bytes:
    """The answer to GetNextCACert: certs-only CMS with what comes next, signed by whom devices trust now.

    RFC 8894 4.7.1.
    """
    scheme = _SCHEMES[oids.SHA256]
    signing = Signing(
        SignerIdentifier.of(credentials.certificate),
        der.sequence(der.oid(oids.RSA_ENCRYPTION), der.null()),
        oids.SHA256,
        lambda data: scheme.sign(credentials.private_key, data),
    )
    return sign(oids.CMS_DATA, certificates, [signing], [credentials.certificate.der])


def capabilities(*, triple_des: bool, sha1: bool, next_ca: bool = False) -> bytes:
    """The answer to GetCACaps: one a line, LF. RFC 8894 3.5.2.

    SHA-384 is no word of the RFC. strongSwan 5.9.8 confuses numbers with bits and so believes in AES only where it
    is said, and in SHA-256 only where DES3 is said.
    """
    words: Iterable[tuple[str, bool]] = (
        ("AES", True),
        ("DES3", triple_des),
        ("POSTPKIOperation", True),
        ("Renewal", True),
        ("SHA-1", sha1),
        ("SHA-256", True),
        ("SHA-384", True),
        ("SHA-512", True),
        ("SCEPStandard", True),
        ("GetNextCACert", next_ca),
    )
    return "".join(f"{word}\n" for word, offered in words if offered).encode()
