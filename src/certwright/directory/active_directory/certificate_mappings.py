"""Accounts by what their altSecurityIdentities say. [MS-ADA1] 2.61, [MS-PKCA] 3.1.5.2.1.3."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from certwright.adcs.acl import sid_from_bytes
from certwright.directory.active_directory.directory import ActiveDirectory
from certwright.directory.active_directory.ldap import LdapConnection, Scope, escape
from certwright.directory.base import Principal

MAX_ACCOUNTS: Final = 4
"""More than one is a mistake already; nobody needs the others."""


def accounts_mapped(directory: ActiveDirectory, identities: Sequence[str]) -> Sequence[Principal]:
    """The accounts with one of these values; they are read through the directory's cache.

    Raises:
        LdapUnavailable: no domain controller answers.
    """
    if not identities:
        return ()
    values = "".join(f"(altSecurityIdentities={escape(identity)})" for identity in identities)
    base = directory.names.domain

    def search(connection: LdapConnection) -> list[bytes]:
        found = connection.search(base, Scope.SUBTREE, f"(|{values})", ["objectSid"], size_limit=MAX_ACCOUNTS)
        return [sid for entry in found if (sid := entry.value("objectSid")) is not None]

    sids = [sid_from_bytes(octets)[0] for octets in directory.pool.run(search)]
    return [principal for sid in sids if (principal := directory.principal(sid)) is not None]
