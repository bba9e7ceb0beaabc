"""What an Active Directory shows of its CAs: the facts of the audit, read with the rights of an ordinary account.

Templates, PKI objects, OID objects with their groups, computer accounts of CAs, explicit mappings. What stands in the
registry of a CA or of a domain controller, or is a matter of its web server, no directory shows: those facts stay
None. [MS-ADTS] 3.1.1.3.4.4 (LDAP_MATCHING_RULE_IN_CHAIN), [MS-CRTD] 2, [MS-WCCE] 2.2.2.11.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from types import MappingProxyType
from typing import Final

from certwright.adcs.acl import sid_from_bytes, sid_to_bytes
from certwright.adcs.requester import Sid
from certwright.adcs.security import SecurityDescriptor
from certwright.adcs.template import CertificateTemplate
from certwright.directory.active_directory.ldap import OWNER_GROUP_DACL, Entry, LdapConnection, Scope, escape
from certwright.directory.active_directory.public_key_services import container
from certwright.directory.active_directory.templates import ATTRIBUTES as TEMPLATE_ATTRIBUTES
from certwright.directory.active_directory.templates import template_from_entry
from certwright.directory.base import Domain
from certwright.directory.security_audit.audience import CERT_PUBLISHERS, Audience
from certwright.directory.security_audit.facts import (
    AuthorityFacts,
    ExplicitMapping,
    PkiObject,
    ProtectedAccount,
    SecurityFacts,
    TemplateFacts,
)
from certwright.directory.security_audit.findings import Place
from certwright.directory.store import KeptHere
from certwright.directory.well_known import BUILTIN

MAX_MEMBERS: Final = 10_000
"""Accounts looked at in one group, and accounts with a mapping: more change nothing about the answer."""
_NAMES_AT_ONCE: Final = 50

_IN_CHAIN: Final = "1.2.840.113556.1.4.1941"
_TEMPLATE: Final = "pKICertificateTemplate"
_SERVICE: Final = "pKIEnrollmentService"
_OID: Final = "msPKI-Enterprise-Oid"
_CERTIFICATION_AUTHORITY: Final = "certificationAuthority"
_DISTRIBUTION_POINT: Final = "cRLDistributionPoint"
_NTAUTH: Final = "NTAuthCertificates"
_KINDS: Final[Mapping[str, str]] = {
    _SERVICE: "the entry under which clients find a CA and the templates it publishes",
    _CERTIFICATION_AUTHORITY: "a certificate of a CA that members of the domain trust or build chains with",
    _DISTRIBUTION_POINT: "an object that a CRL is published to",
    _OID: "an OID, which may be linked to a group and so give membership in it (ESC13)",
    "msPKI-PrivateKeyRecoveryAgent": "the key recovery agents, who can open archived keys",
}


def _nothing(_template: CertificateTemplate) -> KeptHere:
    return KeptHere()


def security_facts(
    connection: LdapConnection,
    domain: Domain,
    *,
    own: Mapping[str, AuthorityFacts] = MappingProxyType({}),
    kept: Callable[[CertificateTemplate], KeptHere] = _nothing,
    trusted: Collection[Sid] = (),
    expected: Mapping[Sid, str] = MappingProxyType({}),
    low_privileged: Iterable[Sid] = (),
) -> SecurityFacts:
    """Everything the audit looks at, of one forest.

    Who is in a group is asked when a rule wants to know: the rules have to run before the connection is given back.

    Args:
        own: CAs of ours by name, which say more of themselves than a directory does.
        kept: what we keep about a template that no directory says: accepted escalations, name rules.
        trusted: accounts that write PKI objects by design, such as the one our CA publishes as.
        expected: such accounts with the reason, where they are to be told and not warned of.
        low_privileged: further groups that count as everybody.

    Raises:
        LdapUnavailable: no domain controller answers.
        LdapError: one refuses what every account may read.
    """
    return _Reader(connection, domain, expected).facts(own, kept, frozenset(trusted), tuple(low_privileged))


class LdapMembership:
    """Who is in which group, asked of a domain controller once for each group."""

    def __init__(self, connection: LdapConnection, domain: Domain) -> None:
        self._connection = connection
        self._domain = domain
        self._members: dict[Sid, frozenset[Sid] | None] = {}
        self._groups: dict[Sid, frozenset[Sid]] = {}

    def members(self, group: Sid) -> frozenset[Sid] | None:
        if group not in self._members:
            self._members[group] = self._read_members(group)
        return self._members[group]

    def groups_of(self, sid: Sid) -> frozenset[Sid]:
        if sid not in self._groups:
            self._groups[sid] = self._read_groups(sid)
        return self._groups[sid]

    def _read_members(self, group: Sid) -> frozenset[Sid] | None:
        entry = self._connection.read(f"<SID={group}>", ["objectClass"])
        if entry is None or "group" not in _classes(entry):
            return None
        inside = f"(memberOf:{_IN_CHAIN}:={escape(entry.dn)})"
        authority, _, rid = group.rpartition("-")
        primary = f"(primaryGroupID={rid})" if authority == self._domain.sid else ""
        found = self._search(f"(&(|{inside}{primary})(!(objectClass=group)))", MAX_MEMBERS)
        return frozenset(_sids(found))

    def _read_groups(self, sid: Sid) -> frozenset[Sid]:
        entry = self._connection.read(f"<SID={sid}>", ["objectClass", "primaryGroupID"])
        if entry is None:
            return frozenset()
        groups = frozenset(_sids(self._search(f"(&(objectClass=group)(member:{_IN_CHAIN}:={escape(entry.dn)}))")))
        primary = entry.value("primaryGroupID")
        if primary is None:
            return groups
        first = Sid(f"{self._domain.sid}-{int(primary)}")
        return groups | {first} | self.groups_of(first)

    def _search(self, filter: str, limit: int = 0) -> Iterator[Entry]:
        base = self._domain.distinguished_name
        return self._connection.search(base, Scope.SUBTREE, filter, ["objectSid"], size_limit=limit)


class _Reader:
    def __init__(self, connection: LdapConnection, domain: Domain, expected: Mapping[Sid, str]) -> None:
        self._connection = connection
        self._domain = domain
        self._expected = expected
        self._membership = LdapMembership(connection, domain)
        self._unreadable: list[str] = []

    def facts(
        self,
        own: Mapping[str, AuthorityFacts],
        kept: Callable[[CertificateTemplate], KeptHere],
        trusted: frozenset[Sid],
        low_privileged: Sequence[Sid],
    ) -> SecurityFacts:
        root = self._connection.root_dse()
        base = container(root.text("configurationNamingContext"))
        entries = list(
            self._connection.search(
                base,
                Scope.SUBTREE,
                f"(!(objectClass={_TEMPLATE}))",
                [
                    *("cn", "objectClass", "nTSecurityDescriptor", "dNSHostName", "certificateTemplates"),
                    *("msPKI-Cert-Template-OID", "msDS-OIDToGroupLink"),
                ],
                sd_flags=OWNER_GROUP_DACL,
            )
        )
        services = [entry for entry in entries if _SERVICE in _classes(entry)]
        computers = [each for service in services for each in self._computers(service.text("dNSHostName"))]
        hosts = frozenset(_sids(computers)) | trusted
        objects = [*self._objects(entries, hosts), *self._hosts(computers, hosts)]
        templates = list(self._templates(base, services, own, kept))
        protected = list(self._protected())
        seen = [*(each.security for each in objects), *(each.security for each in protected)]
        seen += [
            SecurityDescriptor.from_sddl(each.template.security_descriptor, self._domain.sid) for each in templates
        ]
        audience = Audience.active_directory(
            self._domains(root), self._names(seen, low_privileged), self._membership, low_privileged
        )
        foreign = [service.text("cn") for service in services if service.text("cn") not in own]
        return SecurityFacts(
            place=Place.ACTIVE_DIRECTORY if own else Place.MICROSOFT,
            domain=self._domain,
            audience=audience,
            templates=tuple(templates),
            authorities=(*own.values(), *(AuthorityFacts(name, ours=False) for name in foreign)),
            linked_policies=MappingProxyType(self._linked(entries)),
            objects=tuple(objects),
            mappings=tuple(self._mappings()),
            protected=tuple(protected),
            unreadable=tuple(self._unreadable),
        )

    # -- templates -----------------------------------------------------------------------------------------------

    def _templates(
        self,
        base: str,
        services: Sequence[Entry],
        own: Mapping[str, AuthorityFacts],
        kept: Callable[[CertificateTemplate], KeptHere],
    ) -> Iterator[TemplateFacts]:
        publishers: dict[str, list[str]] = {}
        for service in services:
            for cn in service.texts("certificateTemplates"):
                publishers.setdefault(cn.casefold(), []).append(service.text("cn"))
        for entry in self._connection.search(
            f"CN=Certificate Templates,{base}",
            Scope.ONE_LEVEL,
            f"(objectClass={_TEMPLATE})",
            TEMPLATE_ATTRIBUTES,
            sd_flags=OWNER_GROUP_DACL,
        ):
            try:
                template = template_from_entry(entry)
                SecurityDescriptor.from_sddl(template.security_descriptor, self._domain.sid)
            except ValueError as error:
                self._unreadable.append(f"{entry.dn}: {error}")
                continue
            names = publishers.get(template.cn.casefold(), [])
            here = kept(template)
            yield TemplateFacts(
                replace(template, name_rules=here.name_rules),
                tuple(names),
                here.accepted_risks,
                entry.dn,
                Place.MICROSOFT if any(name not in own for name in names) else None,
            )

    def _linked(self, entries: Iterable[Entry]) -> dict[str, str]:
        """Issuance policies that stand for a group."""
        found = {}
        for entry in entries:
            oid, group = entry.value("msPKI-Cert-Template-OID"), entry.value("msDS-OIDToGroupLink")
            if oid is not None and group is not None:
                found[oid.decode("ascii", "replace")] = group.decode("utf-8", "replace")
        return found

    # -- objects -------------------------------------------------------------------------------------------------

    def _objects(self, entries: Iterable[Entry], hosts: frozenset[Sid]) -> Iterator[PkiObject]:
        publishers = Sid(f"{self._domain.sid}-{CERT_PUBLISHERS}")
        members = self._membership.members(publishers) or frozenset()
        lists = hosts | {publishers} if members <= hosts else hosts
        for entry in entries:
            security = self._security(entry)
            if security is None:
                continue
            classes = _classes(entry)
            kind = next((text for name, text in _KINDS.items() if name in classes), "")
            if entry.text("cn") == _NTAUTH:
                kind = "which CAs may issue certificates that log on"
            yield PkiObject(
                entry.dn,
                kind or f"the container {entry.text('cn')} and what is made in it",
                security,
                lists if classes & {_CERTIFICATION_AUTHORITY, _DISTRIBUTION_POINT, "container"} else hosts,
                self._expected,
            )

    def _computers(self, host: str) -> list[Entry]:
        if not host:
            return []
        return list(
            self._connection.search(
                self._domain.distinguished_name,
                Scope.SUBTREE,
                f"(&(objectClass=computer)(dNSHostName={escape(host)}))",
                ["cn", "objectClass", "objectSid", "nTSecurityDescriptor"],
                sd_flags=OWNER_GROUP_DACL,
            )
        )

    def _hosts(self, computers: Iterable[Entry], hosts: frozenset[Sid]) -> Iterator[PkiObject]:
        for entry in {each.dn: each for each in computers}.values():
            security = self._security(entry)
            if security is not None:
                yield PkiObject(entry.dn, "the computer account of a CA", security, hosts, is_computer=True)

    def _security(self, entry: Entry) -> SecurityDescriptor | None:
        octets = entry.value("nTSecurityDescriptor")
        if octets is None:
            self._unreadable.append(f"{entry.dn}: its permissions may not be read by this account")
            return None
        try:
            return SecurityDescriptor.from_bytes(octets)
        except ValueError as error:
            self._unreadable.append(f"{entry.dn}: {error}")
            return None

    # -- accounts ------------------------------------------------------------------------------------------------

    def _mappings(self) -> Iterator[ExplicitMapping]:
        for entry in self._connection.search(
            self._domain.distinguished_name,
            Scope.SUBTREE,
            "(altSecurityIdentities=X509:*)",
            ["sAMAccountName", "objectSid", "altSecurityIdentities"],
            size_limit=MAX_MEMBERS,
        ):
            for value in entry.values("altSecurityIdentities"):
                mapping = value.decode("utf-8", "replace")
                for sid in _sids([entry]):
                    yield ExplicitMapping(self._account(entry, sid), entry.dn, sid, mapping)

    def _protected(self) -> Iterator[ProtectedAccount]:
        for entry in self._connection.search(
            self._domain.distinguished_name,
            Scope.SUBTREE,
            "(&(adminCount=1)(objectClass=user))",
            ["sAMAccountName", "objectSid", "nTSecurityDescriptor"],
            sd_flags=OWNER_GROUP_DACL,
            size_limit=MAX_MEMBERS,
        ):
            security = self._security(entry)
            for sid in _sids([entry]):
                if security is not None:
                    yield ProtectedAccount(self._account(entry, sid), entry.dn, sid, security)

    def _account(self, entry: Entry, sid: Sid) -> str:
        name = (entry.value("sAMAccountName") or b"").decode("utf-8", "replace")
        authority = self._domain.netbios_name if sid.startswith(f"{self._domain.sid}-") else BUILTIN
        return f"{authority}\\{name}" if name else entry.dn

    def _domains(self, root: Entry) -> Iterator[Sid]:
        """The domain, and the root of its forest where this controller has it."""
        yield self._domain.sid
        first = root.text("rootDomainNamingContext")
        if first and first.casefold() != self._domain.distinguished_name.casefold():
            entry = self._connection.read(first, ["objectSid"])
            yield from _sids([entry] if entry is not None else [])

    def _names(self, descriptors: Iterable[SecurityDescriptor], more: Iterable[Sid]) -> Mapping[Sid, str]:
        """Names of every SID that these permissions name, as far as this domain knows them."""
        wanted = set(more)
        for security in descriptors:
            wanted |= {ace.sid for ace in security.dacl.entries} if security.dacl is not None else set()
            wanted |= {security.owner} if security.owner is not None else set()
        found: dict[Sid, str] = {}
        remaining = iter(sorted(wanted))
        while some := list(islice(remaining, _NAMES_AT_ONCE)):
            either = "".join(f"(objectSid={escape(sid_to_bytes(sid))})" for sid in some)
            for entry in self._connection.search(
                self._domain.distinguished_name, Scope.SUBTREE, f"(|{either})", ["objectSid", "sAMAccountName"]
            ):
                if entry.value("sAMAccountName") is not None:
                    found |= {sid: self._account(entry, sid) for sid in _sids([entry])}
        return found


def _classes(entry: Entry) -> frozenset[str]:
    return frozenset(value.decode("ascii", "replace") for value in entry.values("objectClass"))


def _sids(entries: Iterable[Entry]) -> Iterator[Sid]:
    for entry in entries:
        octets = entry.value("objectSid")
        if octets is not None:
            yield sid_from_bytes(octets)[0]
