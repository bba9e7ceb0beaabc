"""Templates written into Active Directory: the objects, their OIDs' objects, their permissions. [MS-CRTD] 2, 2.5.

Only attributes that change are sent, so that those we do not know stay as they are, whatever schema version a
template has. Owners are left to the controller: for members of Enterprise Admins it is that group.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from certwright.adcs.errors import AccessDenied, AdcsError, InvalidArgument
from certwright.adcs.requester import Sid
from certwright.adcs.security import SecurityDescriptor
from certwright.adcs.template import CertificateTemplate, NameRules
from certwright.directory.active_directory import templates
from certwright.directory.active_directory.ldap import (
    DACL,
    OWNER_DACL,
    OWNER_GROUP_DACL,
    LdapConnection,
    LdapError,
    Modification,
    Operation,
    ResultCode,
    Scope,
    escape,
    escape_rdn,
)
from certwright.directory.active_directory.public_key_services import ENROLLMENT_SERVICES, TEMPLATES
from certwright.directory.base import EnrollmentService
from certwright.directory.default_templates import TEMPLATE_ARC, new_forest_arcs
from certwright.pki import oids
from certwright.pki.names import sanitized_short_name

OIDS: Final = "CN=OID"
OID_CLASS: Final = "msPKI-Enterprise-Oid"
OID_ATTRIBUTE: Final = "msPKI-Cert-Template-OID"
TEMPLATE_OID: Final = 1
ISSUANCE_POLICY: Final = 2
"""`flags` of an msPKI-Enterprise-Oid, by what the OID names; 3 is an application policy. [MS-CRTD] 2.20."""

_GROUP_LINK: Final = "msDS-OIDToGroupLink"
_TAKEN: Final = (ResultCode.ENTRY_ALREADY_EXISTS, ResultCode.ATTRIBUTE_OR_VALUE_EXISTS)


class MissingRight(AccessDenied):
    """The account that writes the directory may not; the sentence names the right and how to give it."""


def add_template(connection: LdapConnection, base: str, template: CertificateTemplate, domain_sid: Sid) -> None:
    """The object, and first that of its OID: a template without one is unknown to Certificate Templates.

    Args:
        base: the container Public Key Services.

    Raises:
        LdapError: the controller refuses it.
        InvalidArgument: there is one of that name.
    """
    if template.oid:
        _put_oid(connection, base, template.oid, TEMPLATE_OID, template.display_name)
    _put_policies(connection, base, template.issuance_policies)
    attributes: dict[str, Sequence[bytes]] = {"objectClass": (b"top", templates.OBJECT_CLASS.encode())}
    attributes |= templates.template_to_attributes(template, domain_sid, with_security=False)
    attributes[templates.SECURITY] = (_permissions(template, domain_sid).to_bytes(),)
    try:
        connection.add(template_dn(base, template.cn), attributes)
    except LdapError as error:
        if error.code == ResultCode.ENTRY_ALREADY_EXISTS:
            raise InvalidArgument(
                f"There is an object called {template.cn} in Active Directory already; choose another name."
            ) from error
        raise


def replace_template(
    connection: LdapConnection,
    base: str,
    before: CertificateTemplate,
    after: CertificateTemplate,
    domain_sid: Sid,
) -> None:
    """Write what differs, in one step, if the object is still what `before` says.

    Raises:
        LdapError: the controller refuses it.
        InvalidArgument: somebody changed it meanwhile, or removed it.
    """
    dn = template_dn(base, before.cn)
    _demand_unchanged(connection, dn, before)
    _put_policies(connection, base, [oid for oid in after.issuance_policies if oid not in before.issuance_policies])
    changes = list(_differences(before, after, domain_sid))
    parts = None
    if before.security_descriptor != after.security_descriptor:
        owner_changed = _owner(before, domain_sid) != _owner(after, domain_sid)
        security = SecurityDescriptor.from_sddl(after.security_descriptor, domain_sid)
        parts = OWNER_DACL if owner_changed else DACL
        if not owner_changed:
            security = replace(security, owner=None, group=None)
        changes.append(Modification(Operation.REPLACE, templates.SECURITY, (security.to_bytes(),)))
    if changes:
        connection.modify(dn, changes, sd_flags=parts)
    if after.oid and before.display_name != after.display_name:
        for oid_dn in _oid_objects(connection, base, after.oid):
            connection.modify(
                oid_dn, [Modification(Operation.REPLACE, "displayName", (after.display_name.encode(),))]
            )


def delete_template(connection: LdapConnection, base: str, template: CertificateTemplate) -> None:
    """The object, and that of its OID.

    Raises:
        LdapError: the controller refuses it.
    """
    connection.delete(template_dn(base, template.cn))
    for dn in _oid_objects(connection, base, template.oid) if template.oid else ():
        connection.delete(dn)


def publish_templates(
    connection: LdapConnection, base: str, before: EnrollmentService, after: EnrollmentService
) -> None:
    """Add and take away names of `certificateTemplates`; others that somebody writes meanwhile stay.

    Raises:
        LdapError: the controller refuses it.
    """
    dn = service_dn(base, after.ca_name)
    added = [cn for cn in after.templates if cn not in before.templates]
    removed = [cn for cn in before.templates if cn not in after.templates]
    for operation, names in ((Operation.ADD, added), (Operation.DELETE, removed)):
        for cn in names:
            try:
                connection.modify(dn, [Modification(operation, "certificateTemplates", (cn.encode(),))])
            except LdapError as error:
                if error.code not in (*_TAKEN, ResultCode.NO_SUCH_ATTRIBUTE):
                    raise


def read_forest_arcs(connection: LdapConnection, base: str) -> str:
    """The forest's part of template OIDs, which the container OID holds; empty when nobody has drawn it yet."""
    entry = connection.read(f"{OIDS},{base}", [OID_ATTRIBUTE])
    value = entry.text(OID_ATTRIBUTE) if entry is not None else ""
    return value.removeprefix(f"{TEMPLATE_ARC}.") if value.startswith(f"{TEMPLATE_ARC}.") else ""


def linked_policies(connection: LdapConnection, base: str) -> Mapping[str, str]:
    """Issuance policies that stand for membership in a group, by OID: the group's name. [MS-CRTD] 2.20, ESC13."""
    found = connection.search(
        f"{OIDS},{base}",
        Scope.ONE_LEVEL,
        f"(&(objectClass={OID_CLASS})({_GROUP_LINK}=*))",
        [OID_ATTRIBUTE, _GROUP_LINK],
    )
    return {entry.text(OID_ATTRIBUTE): entry.text(_GROUP_LINK) for entry in found}


def make_forest_arcs(connection: LdapConnection, base: str) -> str:
    """Draw the forest's part and keep it where the first CA of Windows would. [MS-CRTD] 2.20.

    Raises:
        LdapError: the controller refuses it.
    """
    arcs = new_forest_arcs()
    value = f"{TEMPLATE_ARC}.{arcs}".encode()
    connection.modify(f"{OIDS},{base}", [Modification(Operation.ADD, OID_ATTRIBUTE, (value,))])
    return arcs


def template_dn(base: str, cn: str) -> str:
    return f"CN={escape_rdn(cn)},{TEMPLATES},{base}"


def service_dn(base: str, ca_name: str) -> str:
    """A CA's pKIEnrollmentService is called by the CA's sanitized name. [MS-WCCE] 3.1.1.4.1.1."""
    return f"CN={escape_rdn(sanitized_short_name(ca_name))},{ENROLLMENT_SERVICES},{base}"


def missing_right(error: LdapError, account: str, where: str, right: str, grant: str) -> AdcsError:
    """A refusal of the controller with what to do about it, when it is about rights; otherwise the error itself.

    Args:
        right: what is missing, as a sentence's object.
        grant: the command with which a domain administrator gives it.
    """
    if error.code not in (ResultCode.INSUFFICIENT_ACCESS_RIGHTS, ResultCode.CONSTRAINT_VIOLATION):
        return error
    return MissingRight(
        f"{account} may not write {where} in Active Directory: it needs {right}. Let an administrator of the domain"
        f" do it once (--user, --user-password-file), or give the right with: {grant}"
    )


# -- inside ----------------------------------------------------------------------------------------------------------


def _demand_unchanged(connection: LdapConnection, dn: str, before: CertificateTemplate) -> None:
    entry = connection.read(dn, templates.ATTRIBUTES, sd_flags=OWNER_GROUP_DACL)
    try:
        there = templates.template_from_entry(entry) if entry is not None else None
        unchanged = there == replace(before, name_rules=NameRules())  # which no entry says
    except ValueError:
        unchanged = False
    if not unchanged:
        raise InvalidArgument(f"{before.cn} was changed in Active Directory meanwhile; look at it again, and repeat.")


def _differences(before: CertificateTemplate, after: CertificateTemplate, domain_sid: Sid) -> Sequence[Modification]:
    old = _attributes(before, domain_sid)
    new = _attributes(after, domain_sid)
    return [
        Modification(Operation.REPLACE, name, new.get(name, ()))
        for name in dict.fromkeys((*old, *new))
        if old.get(name, ()) != new.get(name, ())
    ]


def _attributes(template: CertificateTemplate, domain_sid: Sid) -> Mapping[str, tuple[bytes, ...]]:
    found = dict(templates.template_to_attributes(template, domain_sid, with_security=False))
    found.pop("cn", None)  # it is the object's name
    return found


def _permissions(template: CertificateTemplate, domain_sid: Sid) -> SecurityDescriptor:
    security = SecurityDescriptor.from_sddl(template.security_descriptor, domain_sid)
    return replace(security, owner=None, group=None, sacl=None, sacl_flags=frozenset())


def _owner(template: CertificateTemplate, domain_sid: Sid) -> Sid | None:
    return SecurityDescriptor.from_sddl(template.security_descriptor, domain_sid).owner


def _put_policies(connection: LdapConnection, base: str, policies: Sequence[str]) -> None:
    """Objects of issuance policies that have none: without them the policy has no name in Certificate Templates."""
    for oid in policies:
        if oid != oids.POLICY_ANY:
            _put_oid(connection, base, oid, ISSUANCE_POLICY, oids.name_of(oid))


def _put_oid(connection: LdapConnection, base: str, oid: str, flags: int, display_name: str) -> None:
    """The object that gives an OID its name, called by the last arc and a hash. One that is there stays."""
    if _oid_objects(connection, base, oid):
        return
    digest = hashlib.sha256(oid.encode()).hexdigest()[:32].upper()
    name = f"{oid.rpartition('.')[2]}.{digest}"
    connection.add(
        f"CN={name},{OIDS},{base}",
        {
            "objectClass": (b"top", OID_CLASS.encode()),
            "flags": (str(flags).encode(),),
            "displayName": (display_name.encode(),),
            OID_ATTRIBUTE: (oid.encode(),),
        },
    )


def _oid_objects(connection: LdapConnection, base: str, oid: str) -> Sequence[str]:
    found = connection.search(
        f"{OIDS},{base}", Scope.ONE_LEVEL, f"(&(objectClass={OID_CLASS})({OID_ATTRIBUTE}={escape(oid)}))", ["flags"]
    )
    return [entry.dn for entry in found]
