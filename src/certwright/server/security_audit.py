"""The security audit of one installation: what its CAs and its directory say, put before the rules.

The rules are `directory.security_audit`; the CA's own settings become facts in `ca.escalations`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from certwright.adcs.errors import InvalidArgument
from certwright.adcs.requester import Sid
from certwright.adcs.security import SecurityDescriptor
from certwright.adcs.template import CertificateTemplate
from certwright.ca.configuration import CaConfiguration
from certwright.ca.escalations import authority_facts
from certwright.directory.active_directory.settings import DomainSettings
from certwright.directory.base import Directory, PrincipalKind
from certwright.directory.local import EmbeddedDirectory
from certwright.directory.security_audit.audience import Audience
from certwright.directory.security_audit.audit import SecurityReport, security_report
from certwright.directory.security_audit.facts import AuthorityFacts, SecurityFacts, TemplateFacts
from certwright.directory.security_audit.findings import Place
from certwright.directory.store import KeptHere
from certwright.server.composition import Installation

EXPECTED: Final = (
    "it is the service account of this installation: certwright domain publish let it keep the CA's own entry, its"
    " certificates and its CRLs up to date"
)


def own_security(installation: Installation, low_privileged: Iterable[str] = ()) -> SecurityReport:
    """The audit of this installation, and of the forest it belongs to where it belongs to one.

    Args:
        low_privileged: further groups that count as everybody, by name or SID.

    Raises:
        InvalidArgument: there is no such group.
        CaUnreachable: no domain controller answers.
    """
    joined = installation.active_directory
    groups = [_group(installation.directory, name) for name in low_privileged]
    if joined is None:
        return security_report(_embedded_facts(installation, groups))
    from certwright.directory.security_audit.over_ldap import security_facts

    own = own_authorities(installation)
    account = joined.principal(joined.settings.account)
    trusted = frozenset({account.sid}) if account is not None else frozenset()
    snapshot, domain = installation.local_directory.snapshot(), joined.domain

    def kept(template: CertificateTemplate) -> KeptHere:
        return snapshot.kept_in_domain(domain.sid, template.cn, template.oid)

    return joined.pool.run(  # the rules ask about groups: they run while the connection is ours
        lambda connection: security_report(
            security_facts(connection, domain, own=own, kept=kept, trusted=trusted, low_privileged=groups)
        )
    )


class SecurityAudit:
    """For whoever asks often: a forest is read again when the last reading is older than the caller takes."""

    def __init__(self, installation: Installation, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._installation = installation
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._last: tuple[float, SecurityReport] | None = None

    def __call__(self, max_age: float = 0.0) -> SecurityReport:
        """Args:
            max_age: seconds.

        Raises:
            CaUnreachable: no domain controller answers.
        """
        if self._installation.active_directory is None:  # from memory: always as of now
            return own_security(self._installation)
        with self._lock:
            now = self._monotonic()
            if self._last is None or now - self._last[0] > max_age:
                self._last = now, own_security(self._installation)
            return self._last[1]


def _embedded_facts(installation: Installation, low_privileged: Iterable[Sid]) -> SecurityFacts:
    directory = installation.local_directory
    directory.refresh()
    templates, unreadable = _templates(installation)
    names = {sid: principal.account for sid, principal in directory.snapshot().principals.items()}
    return SecurityFacts(
        place=Place.EMBEDDED,
        domain=directory.domain,
        audience=Audience.embedded(directory.domain.sid, names, EmbeddedMembership(directory), low_privileged),
        templates=tuple(templates),
        authorities=tuple(own_authorities(installation).values()),
        linked_policies={},
        unreadable=tuple(unreadable),
    )


def domain_security(
    settings: DomainSettings, low_privileged: Iterable[str] = (), service_account: str = ""
) -> SecurityReport:
    """The audit of every CA that an Active Directory knows, whoever made it, read over LDAP.

    Args:
        settings: the domain and an account of it; an ordinary one reads all that is looked at.
        low_privileged: further groups that count as everybody, by name or SID.
        service_account: of an installation of ours in this domain; what it may write there is no surprise.

    Raises:
        LdapUnavailable: no domain controller answers.
        LdapError: the account was refused.
        InvalidArgument: there is no such group.
    """
    from certwright.directory.active_directory.directory import ActiveDirectory
    from certwright.directory.active_directory.ldap import LdapPool
    from certwright.directory.security_audit.over_ldap import security_facts

    pool = LdapPool(settings)
    directory = ActiveDirectory(pool, settings)
    try:
        groups = [_group(directory, name) for name in low_privileged]
        known = directory.principal(service_account) if service_account else None
        expected = {known.sid: EXPECTED} if known is not None else {}
        return pool.run(
            lambda connection: security_report(
                security_facts(connection, directory.domain, expected=expected, low_privileged=groups)
            )
        )
    finally:
        directory.close()
        pool.close()


def own_authorities(installation: Installation) -> Mapping[str, AuthorityFacts]:
    """Every CA of this installation by name."""
    found = {}
    for record in installation.records():
        configuration = CaConfiguration.load(record.settings)
        security = SecurityDescriptor.from_sddl(configuration.security_descriptor, installation.directory.domain.sid)
        found[record.name] = authority_facts(record, configuration, security)
    return found


def _templates(installation: Installation) -> tuple[list[TemplateFacts], list[str]]:
    directory = installation.local_directory
    publishers: dict[str, list[str]] = {}
    for service in directory.enrollment_services():
        for cn in service.templates:
            publishers.setdefault(cn.casefold(), []).append(service.ca_name)
    found, unreadable = [], []
    for cn, template in directory.templates().items():
        try:
            SecurityDescriptor.from_sddl(template.security_descriptor, directory.domain.sid)
        except ValueError as error:
            unreadable.append(f"template {cn}: {error}")
            continue
        accepted = installation.directory_administration.accepted_risks(cn)
        found.append(TemplateFacts(template, tuple(publishers.get(cn.casefold(), ())), accepted))
    return found, unreadable


def _group(directory: Directory, name: str) -> Sid:
    principal = directory.principal(name)
    if principal is None or principal.kind is not PrincipalKind.GROUP:
        raise InvalidArgument(f"there is no group called {name[:80]!r}")
    return principal.sid


class EmbeddedMembership:
    """Who is in which group of the embedded directory. Implements `directory.security_audit.audience.Membership`."""

    def __init__(self, directory: EmbeddedDirectory) -> None:
        self._snapshot = directory.snapshot()

    def members(self, group: Sid) -> frozenset[Sid] | None:
        found = self._snapshot.principals.get(group)
        if found is None or found.kind is not PrincipalKind.GROUP:
            return None
        return frozenset(self._snapshot.transitive_members(group))

    def groups_of(self, sid: Sid) -> frozenset[Sid]:
        found = self._snapshot.principals.get(sid)
        return found.groups if found is not None else frozenset()
