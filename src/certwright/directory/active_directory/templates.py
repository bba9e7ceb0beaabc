"""pKICertificateTemplate objects as `CertificateTemplate`, and back. [MS-CRTD] 2.

Reading and writing back changes nothing: attributes we do not know are kept (`CertificateTemplate.unknown`), text as
text, other octets as `{"octets": hexadecimal}`. Name rules are ours and are kept elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from certwright.adcs.errors import InvalidArgument
from certwright.adcs.requester import Sid
from certwright.adcs.security import SecurityDescriptor
from certwright.adcs.template import CertificateTemplate
from certwright.adcs.template_json import template_from_json, template_to_json
from certwright.directory.active_directory.ldap import Entry

OBJECT_CLASS: Final = "pKICertificateTemplate"
SECURITY: Final = "nTSecurityDescriptor"
ATTRIBUTES: Final = ("*", SECURITY)

_TEXT: Final = frozenset({"cn", "displayName", "msPKI-Cert-Template-OID"})
_NUMBERS: Final = frozenset(
    {
        *("flags", "revision", "msPKI-Enrollment-Flag", "msPKI-Private-Key-Flag", "msPKI-Certificate-Name-Flag"),
        *("msPKI-Template-Schema-Version", "msPKI-Template-Minor-Revision", "msPKI-Minimal-Key-Size"),
        *("pKIMaxIssuingDepth", "pKIDefaultKeySpec", "msPKI-RA-Signature"),
    }
)
_OCTETS: Final = frozenset({"pKIExpirationPeriod", "pKIOverlapPeriod", "pKIKeyUsage"})
_LISTS: Final = frozenset(
    {
        *("pKIExtendedKeyUsage", "msPKI-Certificate-Application-Policy", "msPKI-Certificate-Policy"),
        *("pKICriticalExtensions", "pKIDefaultCSPs", "msPKI-RA-Application-Policies", "msPKI-RA-Policies"),
        "msPKI-Supersede-Templates",
    }
)
KNOWN: Final = MappingProxyType({name.lower(): name for name in (*_TEXT, *_NUMBERS, *_OCTETS, *_LISTS, SECURITY)})

KEPT_BY_SERVER: Final = frozenset(
    name.lower()
    for name in (
        *(
            "objectClass",
            "objectCategory",
            "distinguishedName",
            "name",
            "instanceType",
            "objectGUID",
            "objectVersion",
        ),
        *("whenCreated", "whenChanged", "uSNCreated", "uSNChanged", "dSCorePropagationData", "replPropertyMetaData"),
        *("showInAdvancedViewOnly", "systemFlags", "isDeleted", "lastKnownParent", "proxiedObjectName"),
    )
)
"""What belongs to the object, not to the template: never written back."""

_OCTETS_KEY: Final = "octets"


def template_from_entry(entry: Entry) -> CertificateTemplate:
    """One object, read with `ATTRIBUTES` and the flags for owner, group and permissions.

    Raises:
        ValueError: an attribute that decides something is missing or broken; the sentence names it.
    """
    document: dict[str, Any] = {}
    unknown: dict[str, object] = {}
    for written, values in entry.attributes.items():
        name = KNOWN.get(written.lower())
        if name is not None and values:
            document[name] = _read(entry, name)
        elif values and written.lower() not in KEPT_BY_SERVER:
            unknown[written] = tuple(_kept(value) for value in values)
    if SECURITY not in document:
        raise ValueError(
            f"{SECURITY} cannot be read: give the account that reads the directory Read on the template, and the"
            " template a list of permissions"
        )
    try:
        template = template_from_json(document)
    except InvalidArgument as error:
        raise ValueError(error.message.removesuffix(".")) from error
    if not template.oid and template.schema_version > 1:
        raise ValueError("msPKI-Cert-Template-OID is missing")
    return replace(template, unknown=MappingProxyType(unknown)) if unknown else template


def template_to_attributes(
    template: CertificateTemplate, domain_sid: Sid, *, with_security: bool = True
) -> Mapping[str, tuple[bytes, ...]]:
    """What an object of this template holds, without what the server itself keeps.

    Args:
        domain_sid: resolves names such as DA in the security descriptor.

    Raises:
        ValueError: the security descriptor cannot be written.
    """
    document = template_to_json(template)
    attributes: dict[str, tuple[bytes, ...]] = {}
    for name in (*sorted(_TEXT), *sorted(_NUMBERS)):
        value = document[name]
        if value != "":
            attributes[name] = (str(value).encode(),)
    for name in sorted(_OCTETS):
        attributes[name] = (bytes.fromhex(document[name]),)
    for name in sorted(_LISTS):
        if document[name]:
            attributes[name] = tuple(text.encode() for text in document[name])
    for name, value in template.unknown.items():
        values = value if isinstance(value, tuple | list) else (value,)
        if name.lower() not in KNOWN and name.lower() not in KEPT_BY_SERVER:
            attributes[name] = tuple(_octets(item) for item in values)
    if with_security:
        descriptor = SecurityDescriptor.from_sddl(template.security_descriptor, domain_sid)
        attributes[SECURITY] = (descriptor.to_bytes(),)
    return attributes


def _read(entry: Entry, name: str) -> str | int | Sequence[str]:
    values = entry.values(name)
    if name in _LISTS:
        return entry.texts(name)
    if len(values) > 1:
        raise ValueError(f"{name} has {len(values)} values, and may have one")
    if name == SECURITY:
        try:
            descriptor = SecurityDescriptor.from_bytes(values[0])
        except ValueError as error:
            raise ValueError(f"{SECURITY}: {error}") from error
        return descriptor.to_sddl()
    if name in _OCTETS:
        return values[0].hex()
    return entry.number(name) if name in _NUMBERS else entry.text(name)


def _kept(value: bytes) -> object:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        return MappingProxyType({_OCTETS_KEY: value.hex()})
    return text


def _octets(item: object) -> bytes:
    if isinstance(item, Mapping):
        return bytes.fromhex(str(item[_OCTETS_KEY]))
    if isinstance(item, bool):
        return b"TRUE" if item else b"FALSE"
    return str(item).encode()
