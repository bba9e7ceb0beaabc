"""PKCS#10 certification requests as Windows and everybody else make them. RFC 2986, [MS-WCCE] 2.2.2.6.1, 2.2.2.7.

`CertificationRequest.parse` keeps slices of the DER (`pkcs10_reading`); `verify_signature` checks the proof of
possession over those very slices. The null signature of CMC is refused here.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, NamedTuple

from certwright.pki import der, oids
from certwright.pki.errors import DuplicateAttribute, SignatureError
from certwright.pki.extensions import (
    Extension,
    TemplateInformation,
    alternative_names_of,
    sid_of,
    template_name_of,
    template_of,
)
from certwright.pki.general_names import DirectoryName, GeneralName
from certwright.pki.names import certifiable_name
from certwright.pki.pkcs10_reading import MAX_ATTRIBUTES, MAX_VALUES, Attribute, read_parts
from certwright.pki.public_keys import PublicKeyInfo, load_public_key
from certwright.pki.signatures import scheme_of

__all__ = [
    "MAX_ATTRIBUTES",
    "MAX_VALUES",
    "Attribute",
    "CertificationRequest",
    "ClientInfo",
    "CspProvider",
    "VerifiedRequest",
    "parse_name_value_pairs",
]

_SINGLE_VALUED: Final = frozenset(
    {
        oids.OS_VERSION,
        oids.ENROLLMENT_CSP_PROVIDER,
        oids.REQUEST_CLIENT_INFO,
        oids.RENEWAL_CERTIFICATE,
        oids.CHALLENGE_PASSWORD,
        oids.ENCRYPTED_KEY_HASH,
        oids.ARCHIVED_KEY,
        oids.EK_INFO,
        oids.ATTESTATION_STATEMENT,
        oids.ATTESTATION_STATEMENT_PRINTED,
        oids.AIK_INFO,
        oids.KSP_NAME,
    }
)


@dataclass(frozen=True, slots=True)
class CspProvider:
    """1.3.6.1.4.1.311.13.2.2. [MS-WCCE] 2.2.2.7.2."""

    key_spec: int  # 1 AT_KEYEXCHANGE, 2 AT_SIGNATURE, 0 for CNG
    name: str


@dataclass(frozen=True, slots=True)
class ClientInfo:
    """1.3.6.1.4.1.311.21.20: what the client says of itself; never an identity. [MS-WCCE] 2.2.2.7.4."""

    client_id: int
    machine: str
    user: str
    process: str


class CertificationRequest(NamedTuple):
    """A well-formed request. Its signature counts only after `verify_signature`."""

    der: bytes
    info: bytes  # CertificationRequestInfo: what is signed
    subject: bytes  # Name, as a certificate may carry it
    public_key: PublicKeyInfo
    attributes: tuple[Attribute, ...]
    extensions: Mapping[str, Extension]  # of both extension attributes, each OID once
    algorithm: bytes  # AlgorithmIdentifier of the signature
    signature_algorithm: str  # its OID
    signature: bytes
    alternative_names: tuple[GeneralName, ...] = ()  # directory names as a certificate may carry them
    template_name: str = ""  # extension 20.2
    template: TemplateInformation | None = None  # extension 21.7
    sid: str = ""  # what a SID security extension in the request claims: never an identity
    os_version: str = ""
    csp_provider: CspProvider | None = None
    client_info: ClientInfo | None = None
    name_value_pairs: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, data: bytes) -> CertificationRequest:
        """Read one complete CertificationRequest.

        Raises:
            EncodingError: malformed, or an attribute or extension we use is.
            DuplicateAttribute: an extension, or an attribute that may stand once, stands twice.
        """
        parts = read_parts(data)
        extensions = parts.extensions
        single = _single_values(parts.attributes)
        return cls(
            der=data,
            info=parts.info,
            subject=parts.subject,
            public_key=parts.public_key,
            attributes=parts.attributes,
            extensions=MappingProxyType(extensions),
            algorithm=parts.algorithm,
            signature_algorithm=_algorithm_oid(parts.algorithm),
            signature=parts.signature,
            alternative_names=tuple([_certifiable(name) for name in alternative_names_of(extensions)]),
            template_name=template_name_of(extensions),
            template=template_of(extensions),
            sid=sid_of(extensions),
            os_version=_os_version(single.get(oids.OS_VERSION)),
            csp_provider=_csp_provider(single.get(oids.ENROLLMENT_CSP_PROVIDER)),
            client_info=_client_info(single.get(oids.REQUEST_CLIENT_INFO)),
            name_value_pairs=_name_value_pairs(parts.attributes),
        )

    @property
    def public_key_info(self) -> bytes:
        """SubjectPublicKeyInfo, DER."""
        return self.public_key.der

    @property
    def renewal_certificate(self) -> bytes | None:
        """The old certificate of 1.3.6.1.4.1.311.13.1, DER."""
        return next((a.values[0] for a in self.attributes if a.oid == oids.RENEWAL_CERTIFICATE), None)

    def has_attribute(self, oid: str) -> bool:
        return oid in [attribute.oid for attribute in self.attributes]

    @property
    def sha256(self) -> str:
        """Hash of the whole request, hex: how logs and searches name it."""
        return hashlib.sha256(self.der).hexdigest()

    def verify_signature(self) -> None:
        """Check the proof of possession. [MS-WCCE] 3.2.1.4.2.1.4.1.1.

        Raises:
            WeakAlgorithm: signed by way of SHA-1, MD5 or an algorithm that is none of ours.
            EncodingError: the key is none that can sign: not on its curve, nonsense, or of a kind we do not know.
            SignatureError: the signature is not that of the key inside.
        """
        scheme = scheme_of(self.algorithm)
        key = load_public_key(self.public_key.der)
        try:
            scheme.verify(key, self.signature, self.info)
        except SignatureError as error:
            raise SignatureError("the request is not signed by the key it carries") from error


class VerifiedRequest:
    """A request whose proof of possession was verified: there is no other way to have one."""

    __slots__ = ("request",)

    def __init__(self, request: CertificationRequest) -> None:
        """Raises as `CertificationRequest.verify_signature`."""
        request.verify_signature()
        self.request: Final = request


# -- attributes ------------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=256)
def _algorithm_oid(algorithm: bytes) -> str:
    return der.Reader.of(algorithm, what="algorithm").oid()


def _certifiable(name: GeneralName) -> GeneralName:
    return DirectoryName(certifiable_name(name.der)) if isinstance(name, DirectoryName) else name


def _single_values(attributes: tuple[Attribute, ...]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for attribute in attributes:
        if attribute.oid in _SINGLE_VALUED:
            if attribute.oid in found or len(attribute.values) != 1:
                raise DuplicateAttribute(f"the attribute {oids.name_of(attribute.oid)} stands more than once")
            found[attribute.oid] = attribute.values[0]
    return found


def _os_version(value: bytes | None) -> str:
    return "" if value is None else _string(value)


def _csp_provider(value: bytes | None) -> CspProvider | None:
    if value is None:
        return None
    reader = der.Reader.of(value, what="CSP provider")
    provider = CspProvider(reader.integer(), reader.string())
    reader.read(der.BIT_STRING)
    reader.finish()
    return provider


def _client_info(value: bytes | None) -> ClientInfo | None:
    """Every part is optional: clients leave out what they do not know."""
    if value is None:
        return None
    reader = der.Reader.of(value, what="client information")
    client_id = reader.integer() if reader.next_tag == der.INTEGER else 0
    texts = [reader.string() if reader.next_tag != -1 else "" for _ in range(3)]
    reader.finish()
    return ClientInfo(client_id, *texts)


def _name_value_pairs(attributes: tuple[Attribute, ...]) -> tuple[tuple[str, str], ...]:
    """One pair per value, or a SEQUENCE OF pairs in one value: both occur. [MS-WCCE] 2.2.2.7.5."""
    pairs: list[tuple[str, str]] = []
    for attribute in attributes:
        if attribute.oid == oids.ENROLLMENT_NAME_VALUE_PAIR:
            for value in attribute.values:
                pairs += parse_name_value_pairs(value)
    return tuple(pairs)


def parse_name_value_pairs(value: bytes) -> list[tuple[str, str]]:
    """The pair, or the pairs, of one value of an enrollment name-value pair attribute.

    Raises:
        EncodingError: malformed.
    """
    reader = der.Reader.of(value, what="name value pair")
    if reader.next_tag != der.SEQUENCE:
        return [_pair(reader)]
    pairs: list[tuple[str, str]] = []
    while reader.next_tag != -1:
        pairs.append(_pair(reader.enter()))
    return pairs


def _pair(reader: der.Reader) -> tuple[str, str]:
    pair = reader.string().removesuffix("\x00"), reader.string().removesuffix("\x00")
    reader.finish()
    return pair


def _string(value: bytes) -> str:
    element = der.require_single(value, what="string")
    return der.decode_string(element.tag, element.content(value))
