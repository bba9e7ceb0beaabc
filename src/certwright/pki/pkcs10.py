"""PKCS#10 certification requests as Windows and everybody else make them. RFC 2986, [MS-WCCE] 2.2.2.6.1, 2.2.2.7.

`CertificationRequest.parse` walks the DER once and keeps slices; `verify_signature` checks the proof of possession
over those very slices. No other parser takes part: clients sort neither attributes nor their values as DER's SET OF
asks, and Windows takes their requests. The null signature of CMC is refused here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from certwright.pki import der, oids
from certwright.pki.errors import DuplicateAttribute, EncodingError, SignatureError
from certwright.pki.extensions import (
    Extension,
    TemplateInformation,
    alternative_names_of,
    merge_extensions,
    sid_of,
    template_name_of,
    template_of,
)
from certwright.pki.general_names import DirectoryName, GeneralName
from certwright.pki.names import certifiable_name
from certwright.pki.public_keys import PublicKeyInfo, load_public_key, parse_public_key
from certwright.pki.signatures import scheme_of

MAX_ATTRIBUTES: Final = 100
MAX_VALUES: Final = 100

_EXTENSION_ATTRIBUTES: Final = frozenset({oids.EXTENSION_REQUEST, oids.MS_CERT_EXTENSIONS})
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


@dataclass(frozen=True, slots=True)
class Attribute:
    """A PKCS#10 attribute; `values` are DER, in the order they stand in."""

    oid: str
    values: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class CertificationRequest:
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
    name_value_pairs: tuple[tuple[str, str], ...] = field(default=())

    @classmethod
    def parse(cls, data: bytes) -> CertificationRequest:
        """Read one complete CertificationRequest.

        Raises:
            EncodingError: malformed, or an attribute or extension we use is.
            DuplicateAttribute: an extension, or an attribute that may stand once, stands twice.
        """
        outer = der.Reader.of(data, what="certification request")
        info_element = outer.read(der.SEQUENCE)
        algorithm = outer.whole(der.SEQUENCE)
        signature, unused = der.decode_bit_string(outer.content(der.BIT_STRING))
        outer.finish()
        if unused:
            raise EncodingError("certification request: its signature is not whole octets")

        info = der.Reader(data, info_element.start, info_element.end, "certification request")
        version = info.integer()
        if version != 0:
            raise EncodingError(f"certification request: version {version}, only 0 is defined")
        subject = certifiable_name(info.whole(der.SEQUENCE))
        public_key = parse_public_key(info.whole(der.SEQUENCE))
        attributes = _attributes(info.enter(0xA0)) if info.next_tag == 0xA0 else ()
        info.finish()

        extensions = _extensions(attributes)
        single = _single_values(attributes)
        return cls(
            der=data,
            info=info_element.whole(data),
            subject=subject,
            public_key=public_key,
            attributes=attributes,
            extensions=MappingProxyType(extensions),
            algorithm=algorithm,
            signature_algorithm=der.Reader.of(algorithm, what="algorithm").oid(),
            signature=signature,
            alternative_names=tuple(map(_certifiable, alternative_names_of(extensions))),
            template_name=template_name_of(extensions),
            template=template_of(extensions),
            sid=sid_of(extensions),
            os_version=_os_version(single.get(oids.OS_VERSION)),
            csp_provider=_csp_provider(single.get(oids.ENROLLMENT_CSP_PROVIDER)),
            client_info=_client_info(single.get(oids.REQUEST_CLIENT_INFO)),
            name_value_pairs=_name_value_pairs(attributes),
        )

    @property
    def public_key_info(self) -> bytes:
        """SubjectPublicKeyInfo, DER."""
        return self.public_key.der

    @property
    def renewal_certificate(self) -> bytes | None:
        """The old certificate of 1.3.6.1.4.1.311.13.1, DER."""
        return next((a.values[0] for a in self.attributes if a.oid == oids.RENEWAL_CERTIFICATE), None)

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


# -- attributes ------------------------------------------------------------------------------------------------------


def _attributes(reader: der.Reader) -> tuple[Attribute, ...]:
    found: list[Attribute] = []
    while reader.next_tag != -1:
        if len(found) == MAX_ATTRIBUTES:
            raise EncodingError(f"certification request: more than {MAX_ATTRIBUTES} attributes")
        attribute = reader.enter()
        oid = attribute.oid()
        holder = attribute.read(der.SET)
        attribute.finish()
        values = tuple(child.whole(reader.data) for child in der.children(reader.data, holder, limit=MAX_VALUES))
        if not values:
            raise EncodingError(f"certification request: the attribute {oids.name_of(oid)} has no value")
        found.append(Attribute(oid, values))
    return tuple(found)


def _extensions(attributes: tuple[Attribute, ...]) -> dict[str, Extension]:
    """The attribute may stand several times, under both OIDs (some clients write one per extension)."""
    found: dict[str, Extension] = {}
    for attribute in attributes:
        if attribute.oid in _EXTENSION_ATTRIBUTES:
            for value in attribute.values:
                merge_extensions(found, value)
    return found


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
        if attribute.oid != oids.ENROLLMENT_NAME_VALUE_PAIR:
            continue
        for value in attribute.values:
            reader = der.Reader.of(value, what="name value pair")
            if reader.next_tag == der.SEQUENCE:
                while reader.next_tag != -1:
                    pairs.append(_pair(reader.enter()))
            else:
                pairs.append(_pair(reader))
    return tuple(pairs)


def _pair(reader: der.Reader) -> tuple[str, str]:
    pair = reader.string().removesuffix("\x00"), reader.string().removesuffix("\x00")
    reader.finish()
    return pair


def _string(value: bytes) -> str:
    element = der.require_single(value, what="string")
    return der.decode_string(element.tag, element.content(value))
