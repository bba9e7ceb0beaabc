"""One version of the embedded directory in memory: rows turned into what the engine asks for.

Immutable once built; a newer version is a new snapshot. Ten thousand accounts take some tens of milliseconds and
share the sets of groups that are equal.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from certwright.adcs.errors import ConfigurationError
from certwright.adcs.requester import BUILTIN_ADMINISTRATORS, ENTERPRISE_DOMAIN_CONTROLLERS, Sid
from certwright.adcs.template import CertificateTemplate
from certwright.adcs.template_json import template_from_json
from certwright.directory.account_names import key
from certwright.directory.base import Domain, EnrollmentService, Principal, PrincipalKind
from certwright.directory.store import AccountRow, Contents, GroupRow, KeptHere, TemplateRow
from certwright.directory.well_known import BUILTIN, COMPUTED_GROUPS, EVERY_ACCOUNT, Rid, WellKnownGroup
from certwright.pki import oids
from certwright.pki.names import NameAttribute

MAX_NAME: Final = 512
"""Longer than any name may be; nothing longer is even looked for."""

_SID_PREFIX: Final = "S-1-"


@dataclass(frozen=True, slots=True)
class KeptTemplate:
    """A template with the row it was read from, so that an unchanged row stays the same object."""

    row: TemplateRow
    template: CertificateTemplate


class Snapshot:
    """Look-ups over one version. Build it with `of`."""

    def __init__(self, contents: Contents, previous: Snapshot | None = None) -> None:
        self.version = contents.version
        self.contents = contents
        self._domain: Domain | None = None
        self._parents: dict[Sid, list[Sid]] = {}
        self._closures: dict[frozenset[Sid], frozenset[Sid]] = {}
        self.principals: dict[Sid, Principal] = {}
        self.accounts: dict[Sid, AccountRow] = {row.sid: row for row in contents.accounts}
        self.groups: dict[Sid, GroupRow] = {row.sid: row for row in contents.groups}
        self.members: dict[Sid, list[Sid]] = {}
        self._names: dict[str, dict[str, Principal]] = {"": {}, BUILTIN.casefold(): {}, "nt authority": {}}
        self._upns: dict[str, Principal] = {}
        self.kept_templates = _templates(contents.templates, previous)
        self.templates: Mapping[str, CertificateTemplate] = MappingProxyType(
            {cn: kept.template for cn, kept in self.kept_templates.items()}
        )
        self.domain_templates: Mapping[tuple[Sid, str, str], KeptHere] = MappingProxyType(
            {(row.domain_sid, row.cn_key, row.oid): row.kept for row in contents.domain_templates}
        )
        self.services = {key(service.ca_name): service for service in contents.services}
        if contents.domain is not None:
            row = contents.domain
            self._domain = Domain(row.dns_name, row.netbios_name, row.sid, domain_dn(row.dns_name))
            self._build(contents, self._domain)

    @property
    def domain(self) -> Domain:
        """Raises:
        ConfigurationError: the directory has not been set up.
        """
        if self._domain is None:
            raise ConfigurationError("The directory has no domain yet; set the installation up with: certwright init")
        return self._domain

    @property
    def has_domain(self) -> bool:
        return self._domain is not None

    # -- looking up ------------------------------------------------------------------------------------------

    def find(self, text: str) -> Principal | None:
        r"""By SID, `DOMAIN\name`, `name@domain` or `name`; a computer also without its $."""
        found = self.find_exactly(text)
        if found is None and text and not text.endswith("$") and "@" not in text:
            found = self.find_exactly(text + "$")
            if found is not None and found.kind is not PrincipalKind.COMPUTER:
                return None
        return found

    def find_exactly(self, text: str) -> Principal | None:
        """As `find`, but computers with their $ only: the way names are given at a logon."""
        if not text or len(text) > MAX_NAME or self._domain is None:
            return None
        if text[:4].upper() == _SID_PREFIX:
            return self.principals.get(Sid(text.upper()))
        authority, backslash, name = text.rpartition("\\")
        if backslash:
            return self._names.get(key(authority), {}).get(key(name)) if authority else None
        if "@" in text:
            return self._by_upn(key(text), self._domain)
        for names in (self._names[key(self._domain.netbios_name)], *self._other_names()):
            found = names.get(key(text))
            if found is not None:
                return found
        return None

    def service(self, ca_name: str) -> EnrollmentService | None:
        return self.services.get(key(ca_name))

    def template(self, cn: str) -> CertificateTemplate | None:
        exact = self.templates.get(cn)
        if exact is not None:
            return exact
        wanted = key(cn)
        return next((template for name, template in self.templates.items() if key(name) == wanted), None)

    def accepted_risks(self, cn: str) -> frozenset[str]:
        kept = self.kept_templates.get(cn)
        return kept.row.accepted_risks if kept is not None else frozenset()

    def kept_in_domain(self, domain_sid: Sid, cn: str, oid: str) -> KeptHere:
        """What is kept here about a template of an Active Directory domain."""
        return self.domain_templates.get((domain_sid, key(cn), oid), KeptHere())

    def sid_names(self, sids: Iterable[Sid]) -> dict[Sid, str]:
        return {sid: self.principals[sid].account for sid in sids if sid in self.principals}

    def transitive_members(self, group: Sid) -> Iterator[Sid]:
        """Accounts in a group, directly or through other groups."""
        return (sid for sid in self.accounts if group in self.principals[sid].groups)

    def _by_upn(self, upn: str, domain: Domain) -> Principal | None:
        """The userPrincipalName attribute first, then the name every account has: sAMAccountName@domain."""
        found = self._upns.get(upn)
        if found is not None:
            return found
        name, _, suffix = upn.rpartition("@")
        if suffix != key(domain.dns_name):
            return None
        implied = self._names[key(domain.netbios_name)].get(name)
        return implied if implied is not None and implied.kind is not PrincipalKind.GROUP else None

    def _other_names(self) -> Iterator[dict[str, Principal]]:
        yield self._names[BUILTIN.casefold()]
        yield self._names["nt authority"]
        yield self._names[""]

    # -- building --------------------------------------------------------------------------------------------

    def _build(self, contents: Contents, domain: Domain) -> None:
        ours: dict[str, Principal] = {}
        self._names[key(domain.netbios_name)] = self._names[key(domain.dns_name)] = ours
        for group, member in contents.memberships:
            self.members.setdefault(group, []).append(member)
            self._parents.setdefault(member, []).append(group)
        self._parents.setdefault(Rid.DOMAIN_CONTROLLERS.in_domain(domain.sid), []).append(
            ENTERPRISE_DOMAIN_CONTROLLERS
        )
        for known in COMPUTED_GROUPS:
            self._add(_computed_group(known, domain, self._closure([known.sid]) - {known.sid}))
        for row in contents.groups:
            self._add(_group(row, domain, self._closure([row.sid]) - {row.sid}))
        users, computers = f"CN=Users,{domain.distinguished_name}", f"CN=Computers,{domain.distinguished_name}"
        for account in contents.accounts:
            principal = Principal(
                sid=account.sid,
                kind=account.kind,
                account=f"{domain.netbios_name}\\{account.name}",
                common_name=account.common_name,
                distinguished_name=_dn(
                    account.common_name, users if account.kind is PrincipalKind.USER else computers
                ),
                guid=account.guid,
                enabled=account.enabled,
                groups=self._closure([*EVERY_ACCOUNT, *self._parents.get(account.sid, ())]),
                upn=account.upn,
                mail=account.mail,
                dns_host_name=account.dns_host_name,
                additional_host_names=account.additional_host_names,
            )
            self.principals[account.sid] = principal
            ours[key(account.name)] = principal
            if account.upn:
                self._upns[key(account.upn)] = principal

    def _add(self, principal: Principal) -> None:
        self.principals[principal.sid] = principal
        authority, _, name = principal.account.rpartition("\\")
        self._names[key(authority)][key(name)] = principal

    def _closure(self, start: Iterable[Sid]) -> frozenset[Sid]:
        """These SIDs and every group they are in, through any number of groups; circles do no harm."""
        begin = frozenset(start)
        found = self._closures.get(begin)
        if found is None:
            seen, waiting = set(begin), list(begin)
            while waiting:
                for group in self._parents.get(waiting.pop(), ()):
                    if group not in seen:
                        seen.add(group)
                        waiting.append(group)
            found = self._closures[begin] = frozenset(seen)
        return found


def domain_dn(dns_name: str) -> str:
    return ",".join(f"DC={label}" for label in dns_name.split("."))


def _dn(common_name: str, container: str) -> str:
    if common_name.isascii() and common_name.replace(" ", "").replace("-", "").isalnum() and common_name.strip():
        return f"CN={common_name},{container}"  # nothing to escape
    return f"{NameAttribute.of(oids.COMMON_NAME, common_name)},{container}"


def _group(row: GroupRow, domain: Domain, groups: frozenset[Sid]) -> Principal:
    builtin = row.sid == BUILTIN_ADMINISTRATORS
    return Principal(
        sid=row.sid,
        kind=PrincipalKind.GROUP,
        account=f"{BUILTIN if builtin else domain.netbios_name}\\{row.name}",
        common_name=row.name,
        distinguished_name=_dn(row.name, f"CN={'Builtin' if builtin else 'Users'},{domain.distinguished_name}"),
        guid=row.guid,
        enabled=True,
        groups=groups,
    )


def _computed_group(known: WellKnownGroup, domain: Domain, groups: frozenset[Sid]) -> Principal:
    return Principal(
        sid=known.sid,
        kind=PrincipalKind.GROUP,
        account=f"{known.authority}\\{known.name}" if known.authority else known.name,
        common_name=known.name,
        distinguished_name=f"CN={known.sid},CN=ForeignSecurityPrincipals,{domain.distinguished_name}",
        guid=uuid.uuid5(uuid.NAMESPACE_OID, known.sid).bytes_le,
        enabled=True,
        groups=groups,
    )


def _templates(rows: Iterable[TemplateRow], previous: Snapshot | None) -> dict[str, KeptTemplate]:
    known = {kept.row: kept for kept in previous.kept_templates.values()} if previous is not None else {}
    found: dict[str, KeptTemplate] = {}
    for row in rows:
        kept = known.get(row) or KeptTemplate(row, template_from_json(json.loads(row.document)))
        found[kept.template.cn] = kept
    return found
