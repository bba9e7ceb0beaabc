"""The enrollment settings written into a Group Policy of the domain: planned, told, audited, written.

`directory.active_directory.policy_objects` knows the policy, `sysvol` its files; here they meet the account that
writes and the audit trail, which is told before and after (docs/adr/0011).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from certwright.adcs.enrollment_servers import ClientAuthentication
from certwright.adcs.errors import AdcsError, InvalidArgument, NotSupported
from certwright.adcs.events import AuditEvent, CaEvent
from certwright.directory.active_directory import group_policy
from certwright.directory.active_directory.administration import JoinedAdministration
from certwright.directory.active_directory.group_policy import RegistryValue
from certwright.directory.active_directory.ldap import LdapConnection, LdapError
from certwright.directory.active_directory.policy_objects import (
    HALVES,
    PolicyFiles,
    PolicyPlan,
    apply_policy,
    directory_policy_id,
    find_policy,
    plan_policy,
)
from certwright.directory.active_directory.sysvol import Sysvol
from certwright.directory.active_directory.template_writing import missing_right
from certwright.directory.changes import MAX_FACT

if TYPE_CHECKING:
    from certwright.server.composition import Installation


def policy_values(installation: Installation, servers: Sequence[str]) -> Sequence[RegistryValue]:
    """What a Group Policy has to say.

    Args:
        servers: URLs of policy servers; how one authenticates is told by its path, as on Windows.

    Raises:
        InvalidArgument: one is no URL of a policy server.
        LdapUnavailable: no domain controller says by what its policy is known.
    """
    from certwright.cep.offer import policy_id  # a web service: not for every command

    named = [(url, _authentication(url)) for url in servers]
    joined = installation.active_directory
    directory_id = joined.pool.run(directory_policy_id) if joined is not None and named else ""
    identifier = policy_id(installation.directory.domain) if named else ""
    return group_policy.enrollment_settings(named, policy_id=identifier, directory_id=directory_id)


def _authentication(url: str) -> ClientAuthentication:
    if not url.startswith("https://"):
        raise InvalidArgument(f"{url!r} is no URL of a policy server: it starts with https://")
    for word, kind in (
        ("_certificate", ClientAuthentication.CERTIFICATE),
        ("_usernamepassword", ClientAuthentication.PASSWORD),
    ):
        if word in url.lower():
            return kind
    return ClientAuthentication.KERBEROS


class _NoFiles:
    """SYSVOL where nothing reads it: the plan tells what belongs there, as if nothing did yet."""

    def read(self, path: str) -> bytes | None:
        del path
        return None

    def write(self, path: str, content: bytes) -> None:
        raise NotSupported(f"nothing here writes sysvol/{path} ({len(content)} octets)")


class DomainPolicy:
    """Of one installation that belongs to a domain."""

    def __init__(self, installation: Installation) -> None:
        """Raises:
        NotSupported: the installation belongs to no domain.
        """
        administration = installation.directory_administration
        if installation.active_directory is None or not isinstance(administration, JoinedAdministration):
            raise NotSupported("This installation belongs to no domain; join one with: certwright domain join")
        self._installation = installation
        self._administration = administration
        self._directory = installation.active_directory

    def plan(self, name: str, values: Sequence[RegistryValue], *, reads_files: bool = True) -> PolicyPlan:
        """What writing the values into the policy of this name would change; nothing is changed.

        Args:
            reads_files: look at what is in SYSVOL; without, the plan is that of a policy which says nothing yet.

        Raises:
            InvalidArgument: there is no such policy.
            NotSupported: nothing on this host reads SYSVOL.
            AdcsError: a controller does not answer, or refuses.
        """
        domain_dn = self._directory.names.domain

        def look(connection: LdapConnection) -> PolicyPlan:
            policy = find_policy(connection, domain_dn, name)
            return plan_policy(policy, self._files(connection) if reads_files else _NoFiles(), values)

        return self._administration.writer.run(look)

    def write(self, plan: PolicyPlan, actor: str) -> None:
        """Raises:
        AdcsError: refused, or a controller does not answer; what was written before stays, and again is safe.
        """
        if not plan.files and not plan.modifications:
            return
        self._audit(AuditEvent.DOMAIN_WRITE_BEGUN, plan, actor, {"change": "policy to be written"})
        try:
            with self._administration.writer.connection() as connection:
                try:
                    apply_policy(connection, self._files(connection), plan)
                except LdapError as error:
                    raise self._refused(plan, error) from error
        except AdcsError as error:
            facts = {"change": "policy not written", "reason": error.message[:MAX_FACT]}
            self._audit(AuditEvent.DOMAIN_WRITE_REFUSED, plan, actor, facts)
            raise
        self._audit(AuditEvent.DOMAIN_POLICY_CHANGED, plan, actor, {"change": "policy written"})

    def _files(self, connection: LdapConnection) -> PolicyFiles:
        """Of the controller that is asked by LDAP too: what one writes the other has not replicated yet."""
        return Sysvol(
            connection.controller.host, self._administration.writer.settings, self._directory.domain.netbios_name
        )

    def _refused(self, plan: PolicyPlan, error: LdapError) -> AdcsError:
        account = self._administration.writing_account
        grant = f'dsacls "{plan.policy.dn}" /G "{account}:WP"'
        return missing_right(error, account, plan.policy.dn, f"Write all properties on {plan.policy.dn}", grant)

    def _audit(self, event: AuditEvent, plan: PolicyPlan, actor: str, more: Mapping[str, str]) -> None:
        facts: dict[str, str | int] = {
            **more,
            "policy": plan.policy.display_name,
            "dn": plan.policy.dn,
            "domain": self._directory.domain.dns_name,
            "written_as": self._administration.writing_account,
            "settings": "; ".join(str(value) for half, value in plan.changed if half == HALVES[0])[:MAX_FACT],
            "files": ", ".join(path for path, _ in plan.files),
            "version": plan.version,
        }
        recorded = CaEvent(event, self._installation.clock(), "", actor, facts)
        with self._installation.database.transaction() as connection:
            self._installation.audit.append(connection, recorded)
