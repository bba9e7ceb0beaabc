"""Finding domain controllers: named ones, or by DNS; the own site first, then the sites that are cheaper to reach.

[MS-ADTS] 6.3.6 (locating), 6.3.2.3 (SRV records), RFC 2782 (their order), [MS-ADTS] 6.1.1.2.2.3 (site links).
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import structlog

from certwright.adcs.errors import CaUnreachable, ConfigurationError
from certwright.directory.active_directory.netlogon import ask_site
from certwright.directory.active_directory.settings import DomainSettings

log = structlog.get_logger(__name__)

LDAP_PORT: Final = 389
LDAPS_PORT: Final = 636
MAX_CONTROLLERS: Final = 64
_ASKED_FOR_SITE: Final = 3  # controllers asked, at most


@dataclass(frozen=True, slots=True)
class DomainController:
    """One domain controller. `priority` and `weight` are those of its SRV record."""

    host: str
    port: int = LDAP_PORT
    site: str = ""  # where known
    priority: int = 0
    weight: int = 0


class ServiceRecord(NamedTuple):
    """An SRV record. RFC 2782."""

    priority: int
    weight: int
    port: int
    target: str


LookUp = Callable[[str], Sequence[ServiceRecord]]
"""SRV records of a name; none when there is no such name."""


def locate(
    settings: DomainSettings,
    *,
    look_up: LookUp | None = None,
    site_of_us: Callable[[str, str, float], str] = ask_site,
    chance: random.Random | None = None,
) -> Sequence[DomainController]:
    """The controllers of the domain, the nearest first.

    Args:
        site_of_us: asks a controller for the site of this host: controller, DNS domain, seconds to wait.
        chance: for the order among records of equal priority.

    Raises:
        CaUnreachable: DNS knows none, or does not answer.
        ConfigurationError: an entry of `controllers` is neither `host` nor `host:port`.
    """
    if settings.controllers:
        return [_named(text, settings.site) for text in settings.controllers]
    look_up = look_up or dns_look_up(settings)
    chance = chance or random.Random()  # noqa: S311 - spreads load, guards nothing
    everywhere = f"_ldap._tcp.dc._msdcs.{settings.dns_domain}"
    records = _ordered(look_up(everywhere), chance)
    if not records:
        raise CaUnreachable(
            f"DNS knows no domain controller of {settings.dns_domain}: there is no SRV record {everywhere}. Use a"
            " name server of the domain, or name the controllers in certwright.toml."
        )
    site = settings.site or _own_site(records, settings, site_of_us)
    near = _ordered(look_up(f"_ldap._tcp.{site}._sites.dc._msdcs.{settings.dns_domain}"), chance) if site else []
    nearby = {record.target.lower() for record in near}
    found = [_controller(record, site) for record in near]
    found += [_controller(record, "") for record in records if record.target.lower() not in nearby]
    return found[:MAX_CONTROLLERS]


def _own_site(
    records: Sequence[ServiceRecord], settings: DomainSettings, site_of_us: Callable[[str, str, float], str]
) -> str:
    for record in records[:_ASKED_FOR_SITE]:
        site = site_of_us(record.target, settings.dns_domain, min(settings.timeout, 1.0))
        if site:
            return site
    return ""


def _named(text: str, site: str) -> DomainController:
    host, colon, port = text.strip().partition(":")
    if not host or (colon and not (port.isdecimal() and 0 < int(port) < 65536)):
        raise ConfigurationError(f"{text!r} names no domain controller; write its full name, or name:port")
    return DomainController(host.lower(), int(port) if port else LDAP_PORT, site)


def _controller(record: ServiceRecord, site: str) -> DomainController:
    return DomainController(record.target.lower(), record.port, site, record.priority, record.weight)


def _ordered(records: Iterable[ServiceRecord], chance: random.Random) -> list[ServiceRecord]:
    """The lowest priority first; among equal ones by chance, the heavier the likelier. RFC 2782."""
    by_priority: dict[int, list[ServiceRecord]] = {}
    for record in records:
        by_priority.setdefault(record.priority, []).append(record)
    ordered: list[ServiceRecord] = []
    for priority in sorted(by_priority):
        waiting = by_priority[priority]
        while waiting:
            weights = [record.weight or 0.1 for record in waiting]  # zero is chosen too, seldom
            ordered.append(waiting.pop(chance.choices(range(len(waiting)), weights)[0]))
    return ordered


def dns_look_up(settings: DomainSettings) -> LookUp:
    """SRV records by dnspython, from the name servers of the settings or of this host."""
    try:
        import dns.exception
        import dns.resolver
    except ImportError as error:
        raise ConfigurationError(
            "finding domain controllers by DNS needs the extra active-directory: pip install"
            f" 'certwright[active-directory]', or name the controllers in certwright.toml ({error})"
        ) from error
    try:
        resolver = dns.resolver.Resolver(configure=not settings.name_servers)
        if settings.name_servers:
            resolver.nameservers = [*settings.name_servers]
    except (dns.exception.DNSException, ValueError) as error:
        raise ConfigurationError(f"the name servers cannot be used: {error}") from error

    def look_up(name: str) -> Sequence[ServiceRecord]:
        try:
            answer: Iterable[Any] = resolver.resolve(name, "SRV", lifetime=settings.timeout)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return []
        except dns.exception.DNSException as error:
            raise CaUnreachable(f"DNS does not answer the question for {name}: {error}") from error
        return [
            ServiceRecord(each.priority, each.weight, each.port, each.target.to_text(omit_final_dot=True))
            for each in answer
        ]

    return look_up


# -- sites -----------------------------------------------------------------------------------------------------------


class SiteLink(NamedTuple):
    """A siteLink object: sites that reach each other at a cost. [MS-ADTS] 6.1.1.2.2.3.3."""

    sites: frozenset[str]
    cost: int


class Topology(NamedTuple):
    """Which controller is in which site, and what lies between the sites."""

    site_of: Mapping[str, str]  # by host, in lower case
    links: Sequence[SiteLink]


def site_costs(links: Sequence[SiteLink], start: str) -> Mapping[str, int]:
    """The cheapest way from one site to each that can be reached, over any number of links."""
    costs = {start.lower(): 0}
    waiting = [(0, start.lower())]
    while waiting:
        cost, site = heapq.heappop(waiting)
        if cost > costs[site]:
            continue
        for link in links:
            names = {name.lower() for name in link.sites}
            if site not in names:
                continue
            for other in names - {site}:
                if cost + link.cost < costs.get(other, cost + link.cost + 1):
                    costs[other] = cost + link.cost
                    heapq.heappush(waiting, (costs[other], other))
    return costs


def by_cost(controllers: Sequence[DomainController], topology: Topology, own_site: str) -> Sequence[DomainController]:
    """Nearest site first; what is equally far stays in its order, and what no link reaches comes last."""
    costs = site_costs(topology.links, own_site)

    def cost(controller: DomainController) -> float:
        site = controller.site or topology.site_of.get(controller.host.lower(), "")
        return costs.get(site.lower(), float("inf"))

    return sorted(controllers, key=cost)
