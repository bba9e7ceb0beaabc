"""How the settings of a CA change: through the gate, all or none, and into the audit trail. [MS-CSRA] 3.1.1.10."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from certwright.adcs.errors import ConfigurationError, HResult
from certwright.adcs.events import AuditEvent
from certwright.adcs.roles import CaAccess
from certwright.ca.columns import separated_roles
from certwright.ca.escalations import OVERRIDES, authority_facts, refuse_escalations

if TYPE_CHECKING:
    from certwright.adcs.requester import Requester
    from certwright.ca.authority import Authority
    from certwright.ca.configuration import CaConfiguration


def change_settings(
    authority: Authority, officer: Requester, changes: Mapping[str, str], override: Collection[str], reason: str
) -> None:
    """Change settings, all or none; what was and what is go to the audit trail, and why a refusal was overridden.

    Raises:
        RiskySettings: they would open an escalation that nobody accepts by its number.
        ConfigurationError: an unknown key or a value it cannot have, or nobody could take the change back.
    """
    authority.demand(authority.generations.current(), officer, CaAccess.ADMINISTRATOR)
    if not changes:
        raise ConfigurationError("name at least one KEY=VALUE")
    if OVERRIDES in changes:
        raise ConfigurationError(f"{OVERRIDES}: it is written when a refusal is overridden, and not otherwise")
    with authority.transaction() as transaction:
        before = authority.generations.current().configuration
        after = before.changed(changes, transaction.ca().initial_settings)
        _keep_an_administrator(authority, officer, after)
        accepted = _refuse_escalations(authority, before, after, override, reason)
        after = after.changed({OVERRIDES: ", ".join(accepted)})
        facts = {"override": ", ".join(override).upper(), "reason": reason} if override else {}
        transaction.save_settings(after.as_settings())
        old, new = before.as_text(), after.as_text()
        for key in sorted(key for key in new if old.get(key) != new[key]):
            authority.audit(
                transaction,
                AuditEvent.CA_SECURITY_CHANGED if key == "security-descriptor" else AuditEvent.CONFIGURATION_CHANGED,
                authority.clock(),
                officer.account,
                key=key,
                before=old.get(key, ""),
                after=new[key],
                **facts,
            )
    authority.notify_exits()


def _refuse_escalations(
    authority: Authority,
    before: CaConfiguration,
    after: CaConfiguration,
    override: Collection[str],
    reason: str,
) -> Sequence[str]:
    """The escalations that are accepted with these settings. Raises as `refuse_escalations`."""
    record = authority.database.ca()
    old, new = (authority.generations.parse_security(each.security_descriptor) for each in (before, after))
    holders = frozenset(ace.sid for ace in new.dacl.entries) if new.dacl is not None else frozenset()
    return refuse_escalations(
        authority_facts(record, before, old),
        authority_facts(record, after, new),
        override,
        reason,
        authority.directory.domain.sid,
        authority.directory.sid_names(holders),
    )


def _keep_an_administrator(authority: Authority, officer: Requester, after: CaConfiguration) -> None:
    """Somebody manages the CA afterwards, and role separation does not shut out the one who turns it on."""
    descriptor = authority.generations.parse_security(after.security_descriptor)
    if not descriptor.sids_with(int(CaAccess.ADMINISTRATOR)):
        raise ConfigurationError(
            "this security descriptor leaves nobody who may manage the CA",
            HResult.CERTSRV_E_NO_CAADMIN_DEFINED,
        )
    held = separated_roles(descriptor.granted_ca_access(officer.sids))
    if after.role_separation and len(held) > 1:
        raise ConfigurationError(
            f"role-separation: {officer.account} is {' and '.join(held)}, so it could do nothing any more and not"
            " take this back; let an account do it that is CA administrator and nothing else",
            HResult.CERTSRV_E_ROLECONFLICT,
        )
