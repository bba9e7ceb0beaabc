"""Names and usages in a device's request: which template they lead to, what they are compared by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from certwright.ndes.settings import NdesSettings
from certwright.pki import oids
from certwright.pki.errors import EncodingError
from certwright.pki.extensions import Extension, decode_key_usage
from certwright.pki.names import attributes, format_name
from certwright.pki.pkcs10 import CertificationRequest

_SIGNATURE: Final = 0xC0  # digitalSignature, nonRepudiation
_ENCRYPTION: Final = 0x38  # keyEncipherment, dataEncipherment, keyAgreement
_PLACES: Final = frozenset(
    {
        oids.COUNTRY,
        oids.STATE,
        oids.LOCALITY,
        oids.STREET,
        oids.POSTAL_CODE,
        oids.ORGANIZATION,
        oids.ORGANIZATIONAL_UNIT,
        oids.DOMAIN_COMPONENT,
    }
)


def template_for(extensions: Mapping[str, Extension], settings: NdesSettings) -> str:
    """The template of an initial request, by the key usage it asks for."""
    extension = extensions.get(oids.KEY_USAGE)
    usage = 0
    if extension is not None:
        try:
            bits = decode_key_usage(extension.value)
        except EncodingError:
            bits = b""
        usage = bits[0] if bits else 0
    return template_for_usage(usage, settings)


def template_for_usage(usage: int, settings: NdesSettings) -> str:
    """The same by the first octet of a key usage."""
    signs, encrypts = bool(usage & _SIGNATURE), bool(usage & _ENCRYPTION)
    if signs and not encrypts:
        return settings.signature_template
    if encrypts and not signs:
        return settings.encryption_template
    return settings.general_purpose_template


def of_request(request: CertificationRequest) -> tuple[str, ...]:
    """What names the device: everything in the subject that is no place, and every alternative name."""
    subject = tuple(each.value for each in attributes(request.subject) if each.oid not in _PLACES)
    return subject + tuple(str(getattr(name, "value", name)) for name in request.alternative_names)


def is_same(one: bytes, other: bytes) -> bool:
    """Do two Names say the same, in whichever kind of strings?"""
    return format_name(one).casefold() == format_name(other).casefold()


def shown(request: CertificationRequest) -> str:
    """The subject for lists; a NUL, which no text column holds, written out."""
    return format_name(request.subject).replace("\0", "\\x00")[:1000]
