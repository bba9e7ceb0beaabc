"""Taking a CertificationRequest apart, twice over. RFC 2986 4, X.690 11.

`read_parts` lets the other library's reader of strict DER go first: it walks a usual request in one call and proves
its structure, so that our slices need to follow lengths only. What it does not take, our own reader reads from the
start: clients sort neither attributes nor their values as DER's SET OF asks, and Windows takes their requests; and it
says what is wrong. Whatever the first takes, the second takes too and finds the same in it.
"""

from __future__ import annotations

from typing import Annotated, Final, NamedTuple

from cryptography import x509
from cryptography.hazmat import asn1

from certwright.pki import der, oids
from certwright.pki.errors import EncodingError
from certwright.pki.extensions import Extension, merge_extensions
from certwright.pki.names import certifiable_name
from certwright.pki.public_keys import PublicKeyInfo, parse_public_key

MAX_ATTRIBUTES: Final = 100
MAX_VALUES: Final = 100

_EXTENSION_ATTRIBUTES: Final = frozenset({oids.EXTENSION_REQUEST, oids.MS_CERT_EXTENSIONS})


class Attribute(NamedTuple):
    """A PKCS#10 attribute; `values` are DER, in the order they stand in."""

    oid: str
    values: tuple[bytes, ...]


class Parts(NamedTuple):
    """What a request is made of."""

    info: bytes  # CertificationRequestInfo: what is signed
    subject: bytes  # Name, as a certificate may carry it
    public_key: PublicKeyInfo
    attributes: tuple[Attribute, ...]
    extensions: dict[str, Extension]  # of both extension attributes, each OID once
    algorithm: bytes  # AlgorithmIdentifier of the signature
    signature: bytes


def read_parts(data: bytes) -> Parts:
    """Read one complete CertificationRequest.

    Raises:
        EncodingError: malformed.
        DuplicateAttribute: an extension stands twice.
    """
    return _read_strict(data) or _read(data)


# -- in one call -----------------------------------------------------------------------------------------------------


@asn1.sequence
class _Extension:
    oid: x509.ObjectIdentifier
    critical: Annotated[bool, asn1.Default(False)]
    value: bytes


@asn1.sequence
class _ExtensionAttribute:
    oid: x509.ObjectIdentifier
    values: asn1.SetOf[list[_Extension]]


@asn1.sequence
class _Attribute:
    oid: x509.ObjectIdentifier
    values: asn1.SetOf[asn1.TLV]


@asn1.sequence
class _Info:
    version: int
    subject: asn1.TLV
    public_key: asn1.TLV
    attributes: Annotated[asn1.SetOf[asn1.TLV], asn1.Implicit(0)]


@asn1.sequence
class _Request:
    info: _Info
    algorithm: asn1.TLV
    signature: asn1.BitString


_EXTENSION_ATTRIBUTE_HEADS: Final = tuple(der.oid(oid) for oid in sorted(_EXTENSION_ATTRIBUTES))


def _read_strict(data: bytes) -> Parts | None:
    """The parts of a request in strict DER whose attributes have one value each; None for all others.

    Raises:
        EncodingError: subject or key are malformed inside.
    """
    attributes: list[Attribute] = []
    extensions: dict[str, Extension] = {}
    try:
        request = asn1.decode_der(_Request, data)
        for element in request.info.attributes.as_list():
            attributes.append(_strict_attribute(element, extensions))
    except ValueError:
        return None
    info, algorithm, signature = der.boundaries(data, der.start_of(data, 0), 2)
    _, subject, key, key_end = der.boundaries(data, der.start_of(data, info), 3)
    if (
        request.info.version != 0
        or request.signature.padding_bits()
        or len(attributes) > MAX_ATTRIBUTES
        or not data[algorithm] == data[subject] == data[key] == der.SEQUENCE
    ):
        return None
    return Parts(
        data[info:algorithm],
        certifiable_name(data[subject:key]),
        parse_public_key(data[key:key_end]),
        tuple(attributes),
        extensions,
        data[algorithm:signature],
        request.signature.as_bytes(),
    )


def _strict_attribute(element: asn1.TLV, extensions: dict[str, Extension]) -> Attribute:
    """An attribute with its one value; extensions inside are added to `extensions`.

    Raises:
        ValueError: it is not that simple.
    """
    content = bytes(element.data)
    if content.startswith(_EXTENSION_ATTRIBUTE_HEADS):
        attribute = element.parse(_ExtensionAttribute)
        (found,) = attribute.values.as_list()
        for extension in found:
            oid = extension.oid.dotted_string
            if oid in extensions or len(oid) > der.MAX_OID_OCTETS:  # an octet is a character in it, or more
                raise ValueError
            extensions[oid] = Extension(oid, extension.critical, extension.value)
    else:
        attribute = element.parse(_Attribute)
        (_,) = attribute.values.as_list()
    oid = attribute.oid.dotted_string
    value = content[der.start_of(content, der.end_of(content, 0)) :]
    if value[0] & 0x1F == 0x1F or len(oid) > der.MAX_OID_OCTETS:
        raise ValueError
    return Attribute(oid, (value,))


# -- piece by piece --------------------------------------------------------------------------------------------------


def _read(data: bytes) -> Parts:
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
    return Parts(
        info_element.whole(data), subject, public_key, attributes, _extensions(attributes), algorithm, signature
    )


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
