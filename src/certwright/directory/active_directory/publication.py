"""What the forest knows of a CA: the objects below Public Key Services, planned, shown, written, taken back.

[MS-WCCE] 2.2.2.11 (pKIEnrollmentService), [MS-ADSC] (classes), [MS-CSRA] 3.1.4.1.6 (CRLs). A plan compares what shall
be with what is there, and writing it twice changes nothing. Stores that CAs share (NTAuthCertificates, AIA,
Certification Authorities, KRA) gain and lose our values only; the CA's own objects are as we say.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Final, NamedTuple

from certwright.adcs.enrollment_servers import EnrollmentServer
from certwright.adcs.errors import BadRequestState, HResult, InvalidArgument
from certwright.adcs.requester import AUTHENTICATED_USERS, Sid
from certwright.adcs.security import SecurityDescriptor
from certwright.adcs.template import ENROLL_RIGHT
from certwright.directory.active_directory.ldap import (
    EVERYTHING,
    Entry,
    LdapConnection,
    LdapError,
    Modification,
    Operation,
    ResultCode,
    Scope,
    escape_rdn,
)
from certwright.directory.active_directory.public_key_services import ENROLLMENT_SERVICES
from certwright.directory.well_known import Rid
from certwright.pki.certificate import CertificateView
from certwright.pki.certificate_pair import CertificatePair
from certwright.pki.crl import CrlView
from certwright.pki.errors import EncodingError
from certwright.pki.names import sanitized_short_name

NTAUTH: Final = "CN=NTAuthCertificates"
AIA: Final = "CN=AIA"
ROOTS: Final = "CN=Certification Authorities"
CDP: Final = "CN=CDP"
KRA: Final = "CN=KRA"
CONTAINERS: Final = (AIA, ROOTS, CDP, KRA, ENROLLMENT_SERVICES, "CN=Certificate Templates", "CN=OID")
"""What a forest has below Public Key Services. NTAuthCertificates is made by the first CA."""

_CERTIFICATE, _CROSS = "cACertificate", "crossCertificatePair"
_CRL, _DELTA = "certificateRevocationList", "deltaRevocationList"
_AUTHORITY_CLASS, _SERVICE_CLASS, _KRA_CLASS = (
    "certificationAuthority",
    "pKIEnrollmentService",
    "msPKI-PrivateKeyRecoveryAgent",
)
_POINT_CLASS: Final = "cRLDistributionPoint"
_SUFFIX: Final = re.compile(r"(?:\([0-9]+\))?(?:_Partition[0-9]{5,9})?")
"""What follows the CA's name in the names of objects with CRLs: the number of its key, and of the partition."""
_NONE_YET: Final = (b"\0",)
"""In attributes that a certificationAuthority must have and nobody uses. [MS-ADSC] 2.18."""
_SERVICE_FLAGS: Final = b"10"
"""An enterprise CA that knows its callers and templates of every version. As Windows writes it."""

_FULL: Final = "CCDCLCSWRPWPDTLOCRSDRCWDWO"
_READ: Final = "LCRPLORC"

# What the account that keeps a CA's objects up to date may, as entries of their lists; by schemaIDGUID
_Entries = tuple[tuple[str, str, str], ...]
_WRITES_ALL: Final[_Entries] = (("A", "WP", ""),)
_WRITES_CERTIFICATES: Final[_Entries] = (
    ("OA", "WP", "bf967932-0de6-11d0-a285-00aa003049e2"),
    ("OA", "WP", "167757b2-47f3-11d1-a9c3-0000f80367c1"),  # crossCertificatePair
)
_WRITES_CRLS: Final[_Entries] = (
    ("OA", "WP", "1677579f-47f3-11d1-a9c3-0000f80367c1"),
    ("OA", "WP", "167757b5-47f3-11d1-a9c3-0000f80367c1"),  # deltaRevocationList
)
_MAKES_CRL_OBJECTS: Final[_Entries] = (("OA", "CC", "167758ca-47f3-11d1-a9c3-0000f80367c1"),)


@dataclass(frozen=True, slots=True)
class CaPublication:
    """One CA as the forest shall know it."""

    name: str
    host: str  # DNS name
    is_root: bool
    is_enterprise: bool  # it issues to the domain: NTAuthCertificates, and an enrollment service
    certificates: tuple[bytes, ...]  # DER, the newest first
    crls: Mapping[str, bytes]  # DER, by what stands behind the CA's name: key and partition, `(1)_Partition00001`
    deltas: Mapping[str, bytes] = field(default_factory=dict)  # DER, the same
    crosses: tuple[CertificatePair, ...] = ()  # between its keys
    templates: tuple[str, ...] = ()  # published when its entry is made; later what stands there counts
    enrollment_servers: tuple[EnrollmentServer, ...] = ()
    site: str = ""
    recovery_agents: tuple[bytes, ...] = ()
    enroll: tuple[Sid, ...] = (AUTHENTICATED_USERS,)
    writer: Sid | None = None  # the account that keeps its own objects up to date


@dataclass(frozen=True, slots=True)
class DesiredObject:
    """An object as it shall be.

    `attributes` are ours alone, and an empty one is left as it is; of `values` other CAs have theirs beside ours;
    `initial` is what a new object begins with.
    """

    dn: str
    object_class: str
    attributes: Mapping[str, tuple[bytes, ...]] = field(default_factory=lambda: MappingProxyType({}))
    values: Mapping[str, tuple[bytes, ...]] = field(default_factory=lambda: MappingProxyType({}))
    initial: Mapping[str, tuple[bytes, ...]] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def is_shared(self) -> bool:
        return bool(self.values)


class Action(Enum):
    ADD = "add"
    CHANGE = "change"
    DELETE = "delete"


class Difference(NamedTuple):
    """One attribute: what goes and what comes."""

    attribute: str
    removed: tuple[bytes, ...]
    added: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class ObjectChange:
    """One step of a plan."""

    action: Action
    dn: str
    object_class: str
    differences: tuple[Difference, ...] = ()
    attributes: Mapping[str, tuple[bytes, ...]] = field(default_factory=lambda: MappingProxyType({}))

    def sentences(self) -> Sequence[str]:
        """The step as people read it: the object, then a line for each value."""
        signs = [(f"- {_shown(each.attribute, value)}") for each in self.differences for value in each.removed]
        signs += [(f"+ {_shown(each.attribute, value)}") for each in self.differences for value in each.added]
        return [f"{self.action.value} {self.dn}", *(f"  {line}" for line in signs)]


class PlanChanged(BadRequestState):
    """Somebody agreed to another plan than what would be done now."""

    status = HResult.E_INVALIDARG


@dataclass(frozen=True, slots=True)
class Plan:
    """What publishing a CA, or taking it back, comes to."""

    ca_name: str
    changes: tuple[ObjectChange, ...]
    missing: tuple[MissingRight, ...]
    left_out: Mapping[str, str]  # templates that are not published at first, and why
    objects: tuple[str, ...] = ()  # every object that was compared, by its distinguished name

    def sentences(self) -> Sequence[str]:
        """The steps as people read them."""
        return [line for change in self.changes for line in change.sentences()]

    @property
    def digest(self) -> str:
        """The same for the same steps: what somebody agreed to is what is written."""
        said = "\n".join((self.ca_name, *self.sentences()))
        return hashlib.sha256(said.encode()).hexdigest()[:32]


# -- what shall be ---------------------------------------------------------------------------------------------------


def desired_objects(ca: CaPublication, base: str, domain_sid: Sid) -> Sequence[DesiredObject]:
    """In the order in which they are written: trust before what clients follow.

    Args:
        base: the container Public Key Services.
    """
    cn = f"CN={escape_rdn(sanitized_short_name(ca.name))}"
    authority = {_CRL: _NONE_YET, "authorityRevocationList": _NONE_YET}
    found: list[DesiredObject] = []
    if ca.is_root:
        found.append(
            DesiredObject(
                f"{cn},{ROOTS},{base}", _AUTHORITY_CLASS, values={_CERTIFICATE: ca.certificates}, initial=authority
            )
        )
    found.append(
        DesiredObject(
            f"{cn},{AIA},{base}",
            _AUTHORITY_CLASS,
            values={_CERTIFICATE: ca.certificates, _CROSS: tuple(pair.encode() for pair in ca.crosses)},
            initial={**authority, "nTSecurityDescriptor": _security(ca.writer, domain_sid, _WRITES_CERTIFICATES)},
        )
    )
    found += _distribution_points(ca, base, domain_sid)
    if ca.is_enterprise:
        found.append(
            DesiredObject(
                f"{NTAUTH},{base}", _AUTHORITY_CLASS, values={_CERTIFICATE: ca.certificates}, initial=authority
            )
        )
        found.append(
            DesiredObject(
                f"{cn},{KRA},{base}",
                _KRA_CLASS,
                values={"userCertificate": ca.recovery_agents},
                initial={"userCertificate": _NONE_YET},
            )
        )
        found.append(_service(ca, f"{cn},{ENROLLMENT_SERVICES},{base}", domain_sid))
    return found


def _distribution_points(ca: CaPublication, base: str, domain_sid: Sid) -> Iterable[DesiredObject]:
    """One for each key of the CA and each partition, in a container with the host's name: `CN=<CA>(1),CN=<HOST>`."""
    host = f"CN={escape_rdn(_short(ca.host))},{CDP},{base}"
    yield DesiredObject(
        host, "container", initial={"nTSecurityDescriptor": _security(ca.writer, domain_sid, _MAKES_CRL_OBJECTS)}
    )
    for suffix, crl in sorted(ca.crls.items()):
        delta = ca.deltas.get(suffix)
        yield distribution_point(
            distribution_point_dn(ca.name, ca.host, suffix, base),
            {_CRL: (crl,), _DELTA: (delta,) if delta is not None else ()},
            crl_security(ca.writer, domain_sid),
        )


def distribution_point(
    dn: str, attributes: Mapping[str, tuple[bytes, ...]], security: tuple[bytes, ...]
) -> DesiredObject:
    """Where a CRL lies, or its delta."""
    return DesiredObject(dn, _POINT_CLASS, attributes=attributes, initial={"nTSecurityDescriptor": security})


def distribution_point_dn(ca_name: str, host: str, suffix: str, base: str) -> str:
    """`CN=%7%8,CN=%2,CN=CDP,...`, as LDAP URLs with these variables name it; `suffix` is %8."""
    name = sanitized_short_name(ca_name) + suffix
    return f"CN={escape_rdn(name)},CN={escape_rdn(_short(host))},{CDP},{base}"


def _service(ca: CaPublication, dn: str, domain_sid: Sid) -> DesiredObject:
    newest = ca.certificates[0]
    return DesiredObject(
        dn,
        _SERVICE_CLASS,
        attributes={
            "displayName": (ca.name.encode(),),
            "dNSHostName": (ca.host.encode(),),
            "flags": (_SERVICE_FLAGS,),
            _CERTIFICATE: (newest,),
            "cACertificateDN": (CertificateView.parse(newest).subject_name.encode(),),
            "msPKI-Enrollment-Servers": tuple(server.encode() for server in ca.enrollment_servers),
            "msPKI-Site-Name": (ca.site.encode(),) if ca.site else (),
        },
        initial={
            "certificateTemplates": tuple(cn.encode() for cn in ca.templates),
            "nTSecurityDescriptor": _security(ca.writer, domain_sid, _WRITES_ALL, ca.enroll),
        },
    )


def crl_security(writer: Sid | None, domain_sid: Sid) -> tuple[bytes, ...]:
    """Of an object with CRLs. Who makes one without it cannot write it again: owners hold no right to its values."""
    return _security(writer, domain_sid, _WRITES_CRLS)


def _security(writer: Sid | None, domain_sid: Sid, own: _Entries, enroll: Sequence[Sid] = ()) -> tuple[bytes, ...]:
    """Administrators hold the object, everybody reads it, and the account of this installation keeps it up to date.

    Nobody but administrators is given KRA and NTAuthCertificates: they decide who opens keys, and who logs on.
    Clients look for the right to enroll on the enrollment service before they ask the CA. Owner and inherited entries
    are the controller's business.
    """
    entries = [f"(A;;{_FULL};;;{Rid.DOMAIN_ADMINS.in_domain(domain_sid)})"]
    if writer is not None:
        entries += [f"({kind};;{right};{guid};;{writer})" for kind, right, guid in own]
    entries.append(f"(A;;{_READ};;;{AUTHENTICATED_USERS})")
    entries += [f"(OA;;CR;{ENROLL_RIGHT};;{sid})" for sid in enroll]
    return (SecurityDescriptor.from_sddl(f"D:{''.join(entries)}", domain_sid).to_bytes(),)


def _short(host: str) -> str:
    return host.partition(".")[0].upper()


# -- plans -----------------------------------------------------------------------------------------------------------


def plan_publication(connection: LdapConnection, desired: Sequence[DesiredObject]) -> Sequence[ObjectChange]:
    """The steps from what is there to what shall be; none when all is so already.

    Raises:
        InvalidArgument: the enrollment service is another CA's of the same name.
    """
    planned = []
    for each in desired:
        entry = connection.read(each.dn, [*each.attributes, *each.values, "objectClass"])
        if entry is None:
            planned.append(_addition(each))
            continue
        _refuse_other_ca(each, entry)
        differences = tuple(_differences(each, entry))
        if differences:
            planned.append(ObjectChange(Action.CHANGE, each.dn, each.object_class, differences))
    return planned


def plan_removal(
    connection: LdapConnection, desired: Sequence[DesiredObject], names: Collection[str] = ()
) -> Sequence[ObjectChange]:
    """The steps that take everything of this CA back, the last object first. Other CAs' values stay.

    Args:
        names: of the CAs; objects with their CRLs go too of which nobody plans anything: of keys that ended.

    Raises:
        InvalidArgument: the enrollment service is another CA's of the same name.
    """
    planned: list[ObjectChange] = []
    for each in reversed(desired):
        entry = connection.read(each.dn, [*each.attributes, *each.values, "objectClass"])
        if entry is None:
            continue
        _refuse_other_ca(each, entry)
        ours = tuple(
            Difference(name, tuple(value for value in entry.values(name) if value in values), ())
            for name, values in each.values.items()
        )
        left = any(
            set(entry.values(difference.attribute)) - set(difference.removed) - set(_NONE_YET) for difference in ours
        )
        if each.object_class == "container":
            gone = {change.dn for change in planned}
            left = False
            for below in connection.search(each.dn, Scope.ONE_LEVEL, EVERYTHING, ["objectClass"]):
                if below.dn in gone:
                    continue
                if _has_crls_of(below, names):
                    planned.append(ObjectChange(Action.DELETE, below.dn, _POINT_CLASS))
                else:
                    left = True
        if not left:
            planned.append(ObjectChange(Action.DELETE, each.dn, each.object_class))
        elif any(difference.removed for difference in ours):
            planned.append(ObjectChange(Action.CHANGE, each.dn, each.object_class, ours))
    return planned


def _has_crls_of(entry: Entry, names: Collection[str]) -> bool:
    """Is it where a CRL of one of these CAs lies, of whatever key and partition?"""
    if _POINT_CLASS.lower() not in (each.lower() for each in entry.texts("objectClass")):
        return False
    called = entry.dn.removesuffix(f",{parent_dn(entry.dn)}").partition("=")[2]
    own = [sanitized_short_name(name) for name in names]
    return any(called.startswith(name) and _SUFFIX.fullmatch(called[len(name) :]) for name in own)


def _addition(desired: DesiredObject) -> ObjectChange:
    said = {name: values for name, values in {**desired.values, **desired.attributes}.items() if values}
    attributes = {name: values for name, values in {**desired.initial, **said}.items() if values}
    shown = tuple(
        Difference(name, (), values)
        for name, values in attributes.items()
        if name != "nTSecurityDescriptor" and values != _NONE_YET
    )
    return ObjectChange(Action.ADD, desired.dn, desired.object_class, shown, attributes)


def _differences(desired: DesiredObject, entry: Entry) -> Iterable[Difference]:
    for name, values in desired.attributes.items():
        there = entry.values(name)
        if values and set(values) != set(there):
            yield Difference(
                name,
                tuple(value for value in there if value not in values),
                tuple(value for value in values if value not in there),
            )
    for name, values in desired.values.items():
        missing = tuple(value for value in values if value not in entry.values(name))
        if missing:
            placeholder = tuple(value for value in entry.values(name) if value in _NONE_YET)
            yield Difference(name, placeholder, missing)


def _refuse_other_ca(desired: DesiredObject, entry: Entry) -> None:
    if desired.object_class != _SERVICE_CLASS:
        return
    host, certificate = desired.attributes["dNSHostName"][0], desired.attributes[_CERTIFICATE][0]
    same_key = any(_same_key(other, certificate) for other in entry.values(_CERTIFICATE))
    if entry.values("dNSHostName") not in ((), (host,)) and not same_key:
        raise InvalidArgument(
            f"{desired.dn} belongs to another CA, on {entry.text('dNSHostName')}. Two CAs of one forest need"
            " different names; if that CA is gone, delete its object first."
        )


def _same_key(other: bytes, certificate: bytes) -> bool:
    try:
        return CertificateView.parse(other).public_key == CertificateView.parse(certificate).public_key
    except EncodingError:
        return False


# -- acting ----------------------------------------------------------------------------------------------------------


def apply(connection: LdapConnection, change: ObjectChange) -> None:
    """Do one step. One that somebody else did meanwhile is done.

    Raises:
        LdapError: the controller refuses it.
    """
    try:
        match change.action:
            case Action.ADD:
                classes = (b"top", change.object_class.encode())
                connection.add(change.dn, {"objectClass": classes, **change.attributes})
            case Action.DELETE:
                connection.delete(change.dn)
            case Action.CHANGE:
                connection.modify(change.dn, list(_modifications(change)))
    except LdapError as error:
        done = {
            Action.ADD: ResultCode.ENTRY_ALREADY_EXISTS,
            Action.DELETE: ResultCode.NO_SUCH_OBJECT,
            Action.CHANGE: ResultCode.ATTRIBUTE_OR_VALUE_EXISTS,
        }
        if error.code != done[change.action]:
            raise


def _modifications(change: ObjectChange) -> Iterable[Modification]:
    """Added before taken away, so that no store is empty in between, or refused for being so."""
    for each in change.differences:
        if each.removed and each.added and each.attribute not in (_CERTIFICATE, "userCertificate"):
            yield Modification(Operation.REPLACE, each.attribute, each.added)
            continue
        if each.added:
            yield Modification(Operation.ADD, each.attribute, each.added)
        if each.removed:
            yield Modification(Operation.DELETE, each.attribute, each.removed)


class MissingRight(NamedTuple):
    """A right that a plan needs and the account does not hold."""

    dn: str
    right: str
    grant: str  # as dsacls takes it, behind the account and a colon


def missing_rights(connection: LdapConnection, changes: Sequence[ObjectChange]) -> Sequence[MissingRight]:
    """What the account of this connection lacks for a plan, as far as a controller says it beforehand.

    By allowedChildClassesEffective and allowedAttributesEffective. [MS-ADTS] 3.1.1.4.5.5, 3.1.1.4.5.7. Objects that
    the plan makes on the way are not asked about: their maker may write below them.
    """
    made = {change.dn for change in changes if change.action is Action.ADD}
    found: dict[tuple[str, str], MissingRight] = {}
    for change in changes:
        parent = parent_dn(change.dn)
        if change.action is Action.ADD and parent not in made:
            if change.object_class not in _allowed(connection, parent, "allowedChildClassesEffective"):
                right = f"Create {change.object_class} objects"
                found[parent, right] = MissingRight(parent, right, f"CC;{change.object_class}")
        elif change.action is Action.CHANGE:
            allowed = {name.lower() for name in _allowed(connection, change.dn, "allowedAttributesEffective")}
            for each in change.differences:
                if each.attribute.lower() not in allowed:
                    right = f"Write {each.attribute}"
                    found[change.dn, right] = MissingRight(change.dn, right, f"WP;{each.attribute}")
    return tuple(found.values())


def _allowed(connection: LdapConnection, dn: str, attribute: str) -> frozenset[str]:
    entry = connection.read(dn, [attribute])
    return frozenset(entry.texts(attribute)) if entry is not None else frozenset()


def parent_dn(dn: str) -> str:
    """The name of the object above."""
    at = 0
    while (at := dn.find(",", at)) >= 0:
        if dn[at - 1] != "\\":
            return dn[at + 1 :]
        at += 1
    return ""


# -- for people ------------------------------------------------------------------------------------------------------


def _shown(attribute: str, value: bytes) -> str:
    return f"{attribute}: {shown_value(attribute, value)}"


def shown_value(attribute: str, value: bytes) -> str:
    """A value of one of these objects as people read it."""
    try:
        if attribute in (_CERTIFICATE, "userCertificate"):
            view = CertificateView.parse(value)
            return f"{view.subject_name}, until {view.not_after:%Y-%m-%d}, SHA-1 {view.sha1}"
        if attribute == _CROSS:
            pair = CertificatePair.parse(value)
            there = [CertificateView.parse(each) for each in pair if each]
            return ", ".join(f"{view.subject_name}, until {view.not_after:%Y-%m-%d}" for view in there)
        if attribute in (_CRL, _DELTA):
            crl = CrlView.parse(value)
            until = f", until {crl.next_update:%Y-%m-%d %H:%M}" if crl.next_update is not None else ""
            return f"number {crl.number}{until}"
        return " ".join(value.decode().splitlines())
    except (EncodingError, UnicodeDecodeError):
        return f"{len(value)} octets"
