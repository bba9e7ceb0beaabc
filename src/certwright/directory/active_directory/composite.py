r"""The directory of an installation that belongs to a domain: Active Directory, and the few accounts of our own.

Accounts, templates and enrollment services are the domain's. The embedded directory keeps the accounts of this
installation itself - its Administrator, the host's - under a domain SID of its own; like the local accounts of a
Windows server they are called `.\name`, and no name of the domain can be mistaken for one (docs/adr/0008).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Final, NamedTuple

from certwright.adcs.requester import Sid
from certwright.adcs.template import CertificateTemplate
from certwright.directory.active_directory.directory import ActiveDirectory
from certwright.directory.base import Domain, EnrollmentService, LogonFailure, LogonRefused, Principal
from certwright.directory.local import EmbeddedDirectory
from certwright.directory.snapshot import Snapshot
from certwright.directory.store import KeptHere

LOCAL: Final = ".\\"


class _WithRules(NamedTuple):
    """Templates with their name rules, and of which objects they were made."""

    found: Mapping[str, CertificateTemplate]
    rules: Mapping[tuple[Sid, str, str], KeptHere]
    templates: Mapping[str, CertificateTemplate]


class JoinedDirectory:
    """Implements `directory.base.LogonDirectory`."""

    def __init__(self, active_directory: ActiveDirectory, local: EmbeddedDirectory) -> None:
        self.active_directory = active_directory
        self.local = local
        self._with_rules = _WithRules({}, {}, {})

    # -- Directory -----------------------------------------------------------------------------------------------

    @property
    def domain(self) -> Domain:
        return self.active_directory.domain

    def principal(self, name_or_sid: str) -> Principal | None:
        """Raises `CaUnreachable` when it takes a domain controller and none answers."""
        if self.is_local(name_or_sid):
            found = self.local.principal(name_or_sid.removeprefix(LOCAL))
            return _as_local(found) if found is not None else None
        theirs = self.active_directory.principal(name_or_sid)
        return self._without_ours(theirs) if theirs is not None else None

    def templates(self) -> Mapping[str, CertificateTemplate]:
        """The domain's, with the name rules that are kept here for them (docs/adr/0012)."""
        found = self.active_directory.templates()
        snapshot = self.local.snapshot()
        known = self._with_rules
        if known.found is not found or known.rules is not snapshot.domain_templates:
            # for every caller the same objects while nothing changed: policy remembers what it made of them
            known = self._with_rules = self._named(found, snapshot, known)
        return known.templates

    def _named(self, found: Mapping[str, CertificateTemplate], snapshot: Snapshot, before: _WithRules) -> _WithRules:
        made: dict[str, CertificateTemplate] = {}
        for cn, template in found.items():
            rules = snapshot.kept_in_domain(self.domain.sid, template.cn, template.oid).name_rules
            if rules == template.name_rules:
                made[cn] = template
            elif before.found.get(cn) is template and before.templates[cn].name_rules == rules:
                made[cn] = before.templates[cn]
            else:
                made[cn] = replace(template, name_rules=rules)
        return _WithRules(found, snapshot.domain_templates, MappingProxyType(made))

    def enrollment_service(self, ca_name: str) -> EnrollmentService | None:
        return self.active_directory.enrollment_service(ca_name)

    def enrollment_services(self) -> Sequence[EnrollmentService]:
        return self.active_directory.enrollment_services()

    def sid_names(self, sids: frozenset[Sid]) -> Mapping[Sid, str]:
        ours = frozenset(sid for sid in sids if self.is_local(sid))
        found = dict(self.active_directory.sid_names(sids - ours))
        for sid in ours:
            principal = self.principal(sid)
            if principal is not None:
                found[sid] = principal.account
        return found

    # -- LogonDirectory ------------------------------------------------------------------------------------------

    def verify_password(self, name: str, password: str) -> Principal:
        """Raises:
        LogonRefused: with the reason, which belongs in the log only.
        CaUnreachable: no domain controller answers.
        """
        if self.is_local(name):
            return _as_local(self.local.verify_password(name.removeprefix(LOCAL), password))
        return self._without_ours(self.active_directory.verify_password(name, password))

    def nt_hash(self, name: str) -> tuple[Principal, bytes]:
        """Of our own accounts; a domain shows nobody its hashes. Raises `LogonRefused`."""
        if not self.is_local(name):
            raise LogonRefused(LogonFailure.NO_NTLM)
        principal, nt_hash = self.local.nt_hash(name.removeprefix(LOCAL))
        return _as_local(principal), nt_hash

    # -- which of the two ----------------------------------------------------------------------------------------

    def is_local(self, name_or_sid: str) -> bool:
        r"""`.\name`, or a SID of the embedded directory's own domain."""
        return name_or_sid.startswith(LOCAL) or name_or_sid.upper().startswith(f"{self.local.domain.sid}-")

    def _without_ours(self, principal: Principal) -> Principal:
        """No domain makes anybody a member of our own groups, as by a sidHistory. [MS-PAC] 4.1.2.2."""
        ours = frozenset(sid for sid in principal.groups if self.is_local(sid))
        return replace(principal, groups=principal.groups - ours) if ours else principal


def _as_local(principal: Principal) -> Principal:
    return replace(principal, account=LOCAL + principal.account.rpartition("\\")[2])
