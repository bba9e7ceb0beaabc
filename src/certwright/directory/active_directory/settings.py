"""How an installation reaches its domain: section [directory] of certwright.toml."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from certwright.adcs.requester import Sid


@dataclass(frozen=True, slots=True)
class DomainSettings:
    """One domain and the account that reads it.

    `controllers` are `host` or `host:port`, the first one preferred; none: they are found by DNS. `netbios_name` and
    `domain_sid` spare a look-up at the start, so that the CA starts while no controller answers.
    """

    realm: str  # CORP.EXAMPLE
    dns_domain: str  # corp.example
    account: str  # sAMAccountName of the service account
    controllers: tuple[str, ...] = ()
    site: str = ""  # empty: a controller is asked
    keytab: Path | None = None
    password: str = field(default="", repr=False)
    ca_file: Path | None = None  # trusted for LDAPS, PEM; none: what the system trusts
    netbios_name: str = ""
    domain_sid: Sid | None = None
    name_servers: tuple[str, ...] = ()  # IP addresses; none: those of this host
    cache_seconds: float = 30.0  # how long an answer about a principal is used without asking again
    stale_seconds: float = 0.0  # how much longer while no controller answers
    timeout: float = 5.0  # seconds, for each connection and each operation
