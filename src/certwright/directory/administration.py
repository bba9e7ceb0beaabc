"""The administration of the embedded directory as its callers see it: accounts, templates, publication, and who may.

Every change is one transaction with its audit event; a refused one leaves nothing behind.
"""

from __future__ import annotations

from certwright.adcs.errors import AccessDenied
from certwright.adcs.requester import BUILTIN_ADMINISTRATORS, Requester
from certwright.directory.account_administration import AccountAdministration
from certwright.directory.template_administration import TemplateAdministration
from certwright.directory.well_known import Rid

_ACCOUNT_ADMINISTRATORS = (Rid.DOMAIN_ADMINS, Rid.ENTERPRISE_ADMINS)
_TEMPLATE_ADMINISTRATORS = (*_ACCOUNT_ADMINISTRATORS, Rid.CA_ADMINISTRATORS)


class DirectoryAdministration(AccountAdministration, TemplateAdministration):
    """Accounts and groups, templates and publication."""

    def require_account_administrator(self, requester: Requester) -> str:
        """The name to pass as `actor` when accounts and groups are changed.

        Raises:
            AccessDenied: only administrators of the domain may.
        """
        return self._require(requester, _ACCOUNT_ADMINISTRATORS, "change accounts and groups")

    def require_template_administrator(self, requester: Requester) -> str:
        """The name to pass as `actor` when templates and their publication are changed.

        Raises:
            AccessDenied: only administrators of the domain and CA administrators may.
        """
        return self._require(requester, _TEMPLATE_ADMINISTRATORS, "change certificate templates")

    def _require(self, requester: Requester, rids: tuple[Rid, ...], what: str) -> str:
        """The directory's own word on the account's groups counts, not what the session once knew."""
        snapshot = self.directory.snapshot()
        allowed = {BUILTIN_ADMINISTRATORS, *(rid.in_domain(snapshot.domain.sid) for rid in rids)}
        principal = snapshot.principals.get(requester.sid)
        if principal is None or not principal.enabled or not principal.sids & allowed:
            groups = ", ".join(sorted(snapshot.sid_names(allowed).values()))
            raise AccessDenied(f"{requester.account} may not {what}; members of these groups may: {groups}.")
        return requester.account
