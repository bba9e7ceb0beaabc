"""X.509 Certificate Enrollment Policy: GetPolicies and its answer, read and written by both sides. [MS-XCEP] 3.1.4.

Every element of an answer stands, in the order of the schema; what has no value is nil, and empty lists are nil too.
Object identifiers and CAs are referred to by numbers on the wire; here they are values, and the numbers are given
when an answer is written and followed when one is read.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Final, NamedTuple, TypeVar

from certwright.adcs.errors import BadRequest
from certwright.wire import soap, xml
from certwright.wire.soap import Fault
from certwright.wire.xml import Element

NAMESPACE: Final = "http://schemas.microsoft.com/windows/pki/2009/01/enrollmentpolicy"
GET_POLICIES: Final = f"{NAMESPACE}/IPolicy/GetPolicies"
GET_POLICIES_RESPONSE: Final = f"{NAMESPACE}/IPolicy/GetPoliciesResponse"

MAX_REQUEST: Final = 32 * 1024
MAX_RESPONSE: Final = 8 << 20
MAX_RESPONSE_ELEMENTS: Final = 200_000
MAX_FILTER_OIDS: Final = 500
MAX_VERSION: Final = 15  # the four bits of a compatibility level

_T = TypeVar("_T")


class OidGroup(IntEnum):
    """3.1.4.1.3.16, group."""

    HASH = 1
    ENCRYPTION = 2
    PUBLIC_KEY = 3
    SIGNATURE = 4
    RDN_ATTRIBUTE = 5
    EXTENSION = 6
    EXTENDED_KEY_USAGE = 7
    POLICY = 8
    TEMPLATE = 9


class ClientAuthentication(IntEnum):
    """3.1.4.1.3.5, clientAuthentication."""

    ANONYMOUS = 1
    KERBEROS = 2
    USER_NAME = 4
    CERTIFICATE = 8


class Oid(NamedTuple):
    value: str
    group: OidGroup
    name: str


# -- the request -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class GetPolicies:
    """3.1.4.1.2.1. Versions are None where nothing is filtered by them."""

    last_update: datetime | None = None
    preferred_language: str = ""
    oids: frozenset[str] | None = None  # None: every template
    client_version: int | None = None
    server_version: int | None = None

    @classmethod
    def parse(cls, body: Element) -> GetPolicies:
        """Raises:
        Fault: it is another element, or `client` is missing, nil or empty.
        """
        if body.name != _name("GetPolicies"):
            raise Fault.deserialization("The body is not a GetPolicies element.")
        try:
            client = body.one(_name("client"))
            if client is None or client.is_nil or not client.children:
                raise Fault.deserialization("The element client is missing, nil or empty.")
            filters = body.one(_name("requestFilter"))
            language = client.value(_name("preferredLanguage")) or ""
            last_update = soap.parse_time(client.value(_name("lastUpdate")) or "")
            if filters is None or filters.is_nil:
                return cls(last_update, language[:64])
            return cls(
                last_update,
                language[:64],
                _filtered_oids(filters.one(_name("policyOIDs"))),
                _version(filters.value(_name("clientVersion"))),
                _version(filters.value(_name("serverVersion"))),
            )
        except BadRequest as error:
            raise Fault.deserialization(error.message) from error

    def encode(self) -> str:
        """The body. A request without filters has a nil one, as Windows sends it."""
        updated = f"<lastUpdate>{self.last_update:%Y-%m-%dT%H:%M:%SZ}</lastUpdate>" if self.last_update else ""
        language = _optional("preferredLanguage", self.preferred_language or None)
        client = f"<client>{updated or _nil('lastUpdate')}{language}</client>"
        if self.oids is None and self.client_version is None and self.server_version is None:
            filters = _nil("requestFilter")
        else:
            listed = "".join(f"<oid>{xml.text(oid)}</oid>" for oid in sorted(self.oids or ()))
            filters = (
                f"<requestFilter>{f'<policyOIDs>{listed}</policyOIDs>' if listed else _nil('policyOIDs')}"
                f"{_optional('clientVersion', self.client_version)}{_optional('serverVersion', self.server_version)}"
                "</requestFilter>"
            )
        return f'<GetPolicies xmlns="{NAMESPACE}">{client}{filters}</GetPolicies>'


def _filtered_oids(element: Element | None) -> frozenset[str] | None:
    if element is None or element.is_nil:
        return None
    found = frozenset(child.text.strip() for child in element.all(_name("oid")))
    if len(found) > MAX_FILTER_OIDS:
        raise BadRequest(f"the filter lists more than {MAX_FILTER_OIDS} object identifiers")
    return found or None


def _version(text: str | None) -> int | None:
    """A compatibility level. Zero, as some clients send it, filters nothing; what is too high means the highest."""
    if text is None or not text:
        return None
    try:
        number = int(text)
    except ValueError:
        raise BadRequest(f"{text[:20]!r} is no version") from None
    return min(number, MAX_VERSION) if number > 0 else None


# -- the answer ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CaUri:
    """Where a CA's enrollment service is reached, and how one logs on there. 3.1.4.1.3.5."""

    authentication: ClientAuthentication
    uri: str
    priority: int  # the lowest first
    renewal_only: bool


@dataclass(frozen=True, slots=True)
class Ca:
    """3.1.4.1.3.2."""

    certificate: bytes  # DER
    uris: tuple[CaUri, ...]
    enroll_permission: bool


@dataclass(frozen=True, slots=True)
class PolicyExtension:
    """3.1.4.1.3.12."""

    oid: Oid
    critical: bool
    value: bytes  # DER


@dataclass(frozen=True, slots=True)
class Policy:
    """One certificate template as an enrollment policy. 3.1.4.1.3.18, 3.1.4.1.3.1."""

    oid: Oid
    common_name: str  # cn of the template
    schema: int
    validity_seconds: int
    renewal_seconds: int
    enroll: bool
    auto_enroll: bool
    minimal_key_length: int
    major_revision: int
    minor_revision: int
    cas: tuple[int, ...]  # places in the answer's list of CAs
    key_spec: int | None = None
    key_usage: int | None = None
    key_permissions: str = ""  # SDDL
    algorithm: Oid | None = None
    providers: tuple[str, ...] = ()
    superseded: tuple[str, ...] = ()
    private_key_flags: int | None = None
    subject_name_flags: int | None = None
    enrollment_flags: int | None = None
    general_flags: int | None = None
    hash_algorithm: Oid | None = None
    ra_signatures: int = 0
    ra_usages: tuple[Oid, ...] = ()
    ra_policies: tuple[Oid, ...] = ()
    archival: tuple[Oid, int] | None = None  # symmetric algorithm and its key length
    extensions: tuple[PolicyExtension, ...] = ()


@dataclass(frozen=True, slots=True)
class PolicyResponse:
    """3.1.4.1.2.2. Not changed: the caller knows everything that would stand here."""

    policy_id: str  # {GUID}
    friendly_name: str
    next_update_hours: int
    policies: tuple[Policy, ...] = ()
    cas: tuple[Ca, ...] = ()
    not_changed: bool = False

    def encode(self) -> str:
        """The body."""
        oids = _OidTable()
        policies = "".join(_policy(policy, oids) for policy in self.policies)
        changed = "<policiesNotChanged>true</policiesNotChanged>" if self.not_changed else _nil("policiesNotChanged")
        return (
            f'<GetPoliciesResponse xmlns="{NAMESPACE}"><response><policyID>{xml.text(self.policy_id)}</policyID>'
            f"{_optional('policyFriendlyName', self.friendly_name or None)}"
            f"<nextUpdateHours>{self.next_update_hours}</nextUpdateHours>{changed}"
            f"{_list('policies', policies)}</response>"
            f"{_list('cAs', ''.join(_ca(number, ca) for number, ca in enumerate(self.cas)))}"
            f"{_list('oIDs', oids.encode())}</GetPoliciesResponse>"
        )

    @classmethod
    def parse(cls, body: Element) -> PolicyResponse:
        """Raises:
        BadRequest: it is another element, something that must stand does not, or a reference leads nowhere.
        """
        if body.name != _name("GetPoliciesResponse"):
            raise BadRequest("the body is not a GetPoliciesResponse element")
        response = _needed(body, "response")
        oids = {_number(each, "oIDReferenceID"): _oid(each) for each in _listed(body, "oIDs", "oID")}
        cas = list(_listed(body, "cAs", "cA"))
        places = {_number(each, "cAReferenceID"): place for place, each in enumerate(cas)}
        hours = response.value(_name("nextUpdateHours"))
        return cls(
            policy_id=response.value(_name("policyID")) or "",
            friendly_name=response.value(_name("policyFriendlyName")) or "",
            next_update_hours=_integer(hours, "nextUpdateHours") if hours else 0,
            policies=tuple(_parse_policy(each, oids, places) for each in _listed(response, "policies", "policy")),
            cas=tuple(_parse_ca(each) for each in cas),
            not_changed=_boolean(response.value(_name("policiesNotChanged"))),
        )


# -- writing ---------------------------------------------------------------------------------------------------------


class _OidTable:
    """Gives every object identifier of an answer its number."""

    def __init__(self) -> None:
        self._numbers: dict[Oid, int] = {}

    def reference(self, oid: Oid) -> int:
        return self._numbers.setdefault(oid, len(self._numbers) + 1)

    def encode(self) -> str:
        return "".join(
            f"<oID><value>{xml.text(value)}</value><group>{group.value}</group>"
            f"<oIDReferenceID>{number}</oIDReferenceID><defaultName>{xml.text(name)}</defaultName></oID>"
            for (value, group, name), number in self._numbers.items()
        )


def _policy(policy: Policy, oids: _OidTable) -> str:
    listed_cas = "".join(f"<cAReference>{number}</cAReference>" for number in policy.cas)
    providers = "".join(f"<provider>{xml.text(name)}</provider>" for name in policy.providers)
    superseded = "".join(f"<commonName>{xml.text(name)}</commonName>" for name in policy.superseded)
    extensions = "".join(_extension(each, oids) for each in policy.extensions)
    return (
        f"<policy><policyOIDReference>{oids.reference(policy.oid)}</policyOIDReference>{_list('cAs', listed_cas)}"
        f"<attributes><commonName>{xml.text(policy.common_name)}</commonName>"
        f"<policySchema>{policy.schema}</policySchema><certificateValidity>"
        f"<validityPeriodSeconds>{policy.validity_seconds}</validityPeriodSeconds>"
        f"<renewalPeriodSeconds>{policy.renewal_seconds}</renewalPeriodSeconds></certificateValidity>"
        f"<permission><enroll>{_word(policy.enroll)}</enroll><autoEnroll>{_word(policy.auto_enroll)}</autoEnroll>"
        f"</permission><privateKeyAttributes><minimalKeyLength>{policy.minimal_key_length}</minimalKeyLength>"
        f"{_optional('keySpec', policy.key_spec)}{_optional('keyUsageProperty', policy.key_usage)}"
        f"{_optional('permissions', policy.key_permissions or None)}"
        f"{_reference('algorithmOIDReference', policy.algorithm, oids)}{_list('cryptoProviders', providers)}"
        f"</privateKeyAttributes><revision><majorRevision>{policy.major_revision}</majorRevision>"
        f"<minorRevision>{policy.minor_revision}</minorRevision></revision>{_list('supersededPolicies', superseded)}"
        f"{_optional('privateKeyFlags', policy.private_key_flags)}"
        f"{_optional('subjectNameFlags', policy.subject_name_flags)}"
        f"{_optional('enrollmentFlags', policy.enrollment_flags)}{_optional('generalFlags', policy.general_flags)}"
        f"{_reference('hashAlgorithmOIDReference', policy.hash_algorithm, oids)}{_requirements(policy, oids)}"
        f"{_archival(policy, oids)}{_list('extensions', extensions)}"
        "</attributes></policy>"
    )


def _requirements(policy: Policy, oids: _OidTable) -> str:
    if policy.ra_signatures <= 0:
        return _nil("rARequirements")
    return (
        f"<rARequirements><rASignatures>{policy.ra_signatures}</rASignatures>"
        f"{_list('rAEKUs', _references(policy.ra_usages, oids))}"
        f"{_list('rAPolicies', _references(policy.ra_policies, oids))}</rARequirements>"
    )


def _archival(policy: Policy, oids: _OidTable) -> str:
    if policy.archival is None:
        return _nil("keyArchivalAttributes")
    algorithm, length = policy.archival
    return (
        "<keyArchivalAttributes>"
        f"<symmetricAlgorithmOIDReference>{oids.reference(algorithm)}</symmetricAlgorithmOIDReference>"
        f"<symmetricAlgorithmKeyLength>{length}</symmetricAlgorithmKeyLength></keyArchivalAttributes>"
    )


def _extension(extension: PolicyExtension, oids: _OidTable) -> str:
    return (
        f"<extension><oIDReference>{oids.reference(extension.oid)}</oIDReference>"
        f"<critical>{_word(extension.critical)}</critical>"
        f"<value>{base64.b64encode(extension.value).decode()}</value></extension>"
    )


def _ca(number: int, ca: Ca) -> str:
    uris = "".join(
        f"<cAURI><clientAuthentication>{uri.authentication.value}</clientAuthentication>"
        f"<uri>{xml.text(uri.uri)}</uri><priority>{uri.priority}</priority>"
        f"<renewalOnly>{_word(uri.renewal_only)}</renewalOnly></cAURI>"
        for uri in ca.uris
    )
    return (
        f"<cA><uris>{uris}</uris><certificate>{base64.b64encode(ca.certificate).decode()}</certificate>"
        f"<enrollPermission>{_word(ca.enroll_permission)}</enrollPermission><cAReferenceID>{number}</cAReferenceID></cA>"
    )


def _references(found: Iterable[Oid], oids: _OidTable) -> str:
    return "".join(f"<oIDReference>{oids.reference(oid)}</oIDReference>" for oid in found)


def _reference(tag: str, oid: Oid | None, oids: _OidTable) -> str:
    return _nil(tag) if oid is None else f"<{tag}>{oids.reference(oid)}</{tag}>"


def _optional(tag: str, value: int | str | None) -> str:
    return _nil(tag) if value is None else f"<{tag}>{xml.text(str(value))}</{tag}>"


def _list(tag: str, contents: str) -> str:
    return f"<{tag}>{contents}</{tag}>" if contents else _nil(tag)


def _nil(tag: str) -> str:
    return f'<{tag} xsi:nil="true"/>'


def _word(value: bool) -> str:
    return "true" if value else "false"


# -- reading an answer -----------------------------------------------------------------------------------------------


def _parse_policy(element: Element, oids: dict[int, Oid], places: dict[int, int]) -> Policy:
    attributes = _needed(element, "attributes")
    validity, permission = _needed(attributes, "certificateValidity"), _needed(attributes, "permission")
    key, revision = _needed(attributes, "privateKeyAttributes"), _needed(attributes, "revision")
    requirements = attributes.one(_name("rARequirements"))
    wanted = requirements if requirements is not None and not requirements.is_nil else None
    archival = attributes.one(_name("keyArchivalAttributes"))

    def flags(tag: str) -> int | None:
        return _optional_integer(attributes, tag)

    return Policy(
        oid=_resolve(_number(element, "policyOIDReference"), oids),
        common_name=attributes.value(_name("commonName")) or "",
        schema=_number(attributes, "policySchema"),
        validity_seconds=_number(validity, "validityPeriodSeconds"),
        renewal_seconds=_number(validity, "renewalPeriodSeconds"),
        enroll=_boolean(permission.value(_name("enroll"))),
        auto_enroll=_boolean(permission.value(_name("autoEnroll"))),
        minimal_key_length=_number(key, "minimalKeyLength"),
        major_revision=_number(revision, "majorRevision"),
        minor_revision=_optional_integer(revision, "minorRevision") or 0,
        cas=tuple(
            _resolve(_integer(each.text, "cAReference"), places) for each in _listed(element, "cAs", "cAReference")
        ),
        key_spec=_optional_integer(key, "keySpec"),
        key_usage=_optional_integer(key, "keyUsageProperty"),
        key_permissions=key.value(_name("permissions")) or "",
        algorithm=_optional_oid(key, "algorithmOIDReference", oids),
        providers=tuple(each.text.strip() for each in _listed(key, "cryptoProviders", "provider")),
        superseded=tuple(each.text.strip() for each in _listed(attributes, "supersededPolicies", "commonName")),
        private_key_flags=flags("privateKeyFlags"),
        subject_name_flags=flags("subjectNameFlags"),
        enrollment_flags=flags("enrollmentFlags"),
        general_flags=flags("generalFlags"),
        hash_algorithm=_optional_oid(attributes, "hashAlgorithmOIDReference", oids),
        ra_signatures=_number(wanted, "rASignatures") if wanted is not None else 0,
        ra_usages=_oids_of(wanted, "rAEKUs", oids),
        ra_policies=_oids_of(wanted, "rAPolicies", oids),
        archival=_parse_archival(archival, oids),
        extensions=tuple(_parse_extension(each, oids) for each in _listed(attributes, "extensions", "extension")),
    )


def _parse_archival(element: Element | None, oids: dict[int, Oid]) -> tuple[Oid, int] | None:
    if element is None or element.is_nil:
        return None
    algorithm = _resolve(_number(element, "symmetricAlgorithmOIDReference"), oids)
    return algorithm, _number(element, "symmetricAlgorithmKeyLength")


def _parse_extension(element: Element, oids: dict[int, Oid]) -> PolicyExtension:
    return PolicyExtension(
        _resolve(_number(element, "oIDReference"), oids),
        _boolean(element.value(_name("critical"))),
        decode_base64(element.value(_name("value")) or ""),
    )


def _parse_ca(element: Element) -> Ca:
    uris = []
    for each in _listed(element, "uris", "cAURI"):
        number = _number(each, "clientAuthentication")
        if number not in ClientAuthentication.__members__.values():
            continue  # a kind of logging on that nobody here knows
        uris.append(
            CaUri(
                ClientAuthentication(number),
                each.value(_name("uri")) or "",
                _optional_integer(each, "priority") or 0,
                _boolean(each.value(_name("renewalOnly"))),
            )
        )
    return Ca(
        decode_base64(element.value(_name("certificate")) or ""),
        tuple(uris),
        _boolean(element.value(_name("enrollPermission"))),
    )


def _oid(element: Element) -> Oid:
    group = _number(element, "group")
    if group not in OidGroup.__members__.values():
        raise BadRequest(f"{group} is no group of object identifiers")
    return Oid(element.value(_name("value")) or "", OidGroup(group), element.value(_name("defaultName")) or "")


def _oids_of(element: Element | None, tag: str, oids: dict[int, Oid]) -> tuple[Oid, ...]:
    if element is None:
        return ()
    return tuple(
        _resolve(_integer(each.text, "oIDReference"), oids) for each in _listed(element, tag, "oIDReference")
    )


def _optional_oid(element: Element, tag: str, oids: dict[int, Oid]) -> Oid | None:
    number = _optional_integer(element, tag)
    return None if number is None else _resolve(number, oids)


def _resolve(number: int, table: dict[int, _T]) -> _T:
    try:
        return table[number]
    except KeyError:
        raise BadRequest(f"the reference {number} leads nowhere") from None


def _listed(element: Element, tag: str, child: str) -> Iterable[Element]:
    holder = element.one(_name(tag))
    return () if holder is None or holder.is_nil else holder.all(_name(child))


def _needed(element: Element, tag: str) -> Element:
    found = element.one(_name(tag))
    if found is None or found.is_nil:
        raise BadRequest(f"the element {tag} is missing")
    return found


def _number(element: Element, tag: str) -> int:
    return _integer(element.value(_name(tag)) or "", tag)


def _optional_integer(element: Element, tag: str) -> int | None:
    text = element.value(_name(tag))
    return None if text is None else _integer(text, tag)


def _integer(text: str | None, what: str) -> int:
    try:
        return int(text or "")
    except ValueError:
        raise BadRequest(f"{what}: {(text or '')[:20]!r} is no number") from None


def _boolean(text: str | None) -> bool:
    return text in ("true", "1")


def decode_base64(text: str) -> bytes:
    """Strict, but for white space, which XML lets stand anywhere.

    Raises:
        BadRequest: it is no base64.
    """
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise BadRequest("a value is not base64") from None


def _name(local: str) -> str:
    return f"{{{NAMESPACE}}}{local}"
