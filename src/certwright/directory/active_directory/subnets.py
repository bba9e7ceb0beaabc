"""Which site an address belongs to: the subnets of the forest. [MS-ADTS] 6.1.1.2.2.2, 6.1.1.2.2.2.1.

The most specific subnet counts. They change rarely, so they are read again some minutes after they were; where no
controller answers, the last ones stay good: a site is a matter of convenience.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final

import structlog

from certwright.directory.active_directory.ldap import LdapConnection, LdapPool, LdapUnavailable, Scope

log = structlog.get_logger(__name__)

AGAIN: Final = 900.0
"""Seconds until the subnets are read again."""
MAX_SUBNETS: Final = 20_000

Network = IPv4Network | IPv6Network


class Subnets:
    """The subnets of a forest. Thread-safe; may block.

    Args:
        configuration_dn: of the forest's Configuration partition.
    """

    def __init__(
        self,
        pool: LdapPool,
        configuration_dn: Callable[[], str],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pool = pool
        self._configuration_dn = configuration_dn
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._again = float("-inf")
        self._known: tuple[tuple[Network, str], ...] = ()

    def site_of(self, address: str) -> str:
        """The site's name; empty where no subnet has the address, or it is none."""
        try:
            host = ip_address(address.partition("%")[0])
        except ValueError:
            return ""
        mapped = getattr(host, "ipv4_mapped", None)
        host = mapped or host
        return next((site for network, site in self._subnets() if host in network), "")

    def _subnets(self) -> tuple[tuple[Network, str], ...]:
        with self._lock:
            if self._monotonic() >= self._again:
                self._again = self._monotonic() + AGAIN
                try:
                    base = f"CN=Subnets,CN=Sites,{self._configuration_dn()}"
                    self._known = self._pool.run(lambda connection: read_subnets(connection, base))
                except LdapUnavailable as error:
                    log.warning("subnets_not_read", reason=str(error))
            return self._known


def read_subnets(connection: LdapConnection, base: str) -> tuple[tuple[Network, str], ...]:
    """Every subnet that has a site, the most specific first; what is no network is passed over."""
    found: list[tuple[Network, str]] = []
    for entry in connection.search(
        base, Scope.ONE_LEVEL, "(objectClass=subnet)", ["cn", "siteObject"], size_limit=MAX_SUBNETS
    ):
        try:
            site = entry.text("siteObject")
            network = ip_network(entry.text("cn"), strict=False)
        except ValueError:
            continue
        if site:
            found.append((network, site.split(",", 1)[0].partition("=")[2]))
    return tuple(sorted(found, key=lambda each: each[0].prefixlen, reverse=True))
