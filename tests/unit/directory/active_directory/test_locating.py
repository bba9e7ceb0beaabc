"""Which domain controller is asked first. [MS-ADTS] 6.3.6, RFC 2782."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from certwright.adcs.errors import CaUnreachable, ConfigurationError
from certwright.directory.active_directory.locating import (
    DomainController,
    ServiceRecord,
    SiteLink,
    Topology,
    by_cost,
    locate,
    site_costs,
)
from certwright.directory.active_directory.settings import DomainSettings

SETTINGS = DomainSettings("CORP.EXAMPLE", "corp.example", "svc")
EVERYWHERE = "_ldap._tcp.dc._msdcs.corp.example"
IN_IZMIR = "_ldap._tcp.Izmir._sites.dc._msdcs.corp.example"


def _record(target: str, priority: int = 0, weight: int = 100) -> ServiceRecord:
    return ServiceRecord(priority, weight, 389, target)


def _located(
    records: dict[str, list[ServiceRecord]], site: str = "", settings: DomainSettings = SETTINGS
) -> list[str]:
    found = locate(
        settings,
        look_up=lambda name: records.get(name, []),
        site_of_us=lambda host, domain, timeout: site,
        chance=random.Random(7),
    )
    return [controller.host for controller in found]


def test_controllers_of_the_own_site_come_first() -> None:
    records = {
        EVERYWHERE: [_record("far1.corp.example"), _record("near.corp.example"), _record("far2.corp.example", 10)],
        IN_IZMIR: [_record("Near.corp.example")],
    }
    found = _located(records, "Izmir")
    assert found[0] == "near.corp.example"
    assert found[1:] == ["far1.corp.example", "far2.corp.example"]


def test_without_a_site_the_priority_decides() -> None:
    records = {EVERYWHERE: [_record("later.corp.example", 20), _record("first.corp.example", 1)]}
    assert _located(records) == ["first.corp.example", "later.corp.example"]


def test_equal_priorities_are_chosen_by_weight() -> None:
    """RFC 2782: the heavier the likelier, and weight zero is possible but seldom."""
    records = {EVERYWHERE: [_record("heavy", 0, 90), _record("light", 0, 10)]}
    chance = random.Random(3)
    first = Counter(
        locate(SETTINGS, look_up=lambda name: records.get(name, []), site_of_us=lambda *_: "", chance=chance)[0].host
        for _ in range(500)
    )
    assert 400 < first["heavy"] < 490


def test_named_controllers_are_not_looked_for() -> None:
    settings = DomainSettings("CORP.EXAMPLE", "corp.example", "svc", ("DC2.corp.example:3268", "dc1.corp.example"))
    found = locate(settings, look_up=lambda name: pytest.fail("DNS was asked"))
    assert found == [DomainController("dc2.corp.example", 3268), DomainController("dc1.corp.example")]


@pytest.mark.parametrize("named", ["", "dc1:", "dc1:0", "dc1:70000", ":389"])
def test_what_names_no_controller_is_refused(named: str) -> None:
    settings = DomainSettings("CORP.EXAMPLE", "corp.example", "svc", (named,))
    with pytest.raises(ConfigurationError, match="names no domain controller"):
        locate(settings)


def test_domain_that_dns_does_not_know_is_said_plainly() -> None:
    with pytest.raises(CaUnreachable, match=rf"no SRV record {EVERYWHERE}"):
        _located({})


def test_cost_is_that_of_the_cheapest_way() -> None:
    """Over two cheap links rather than over a dear one."""
    links = [
        SiteLink(frozenset({"Izmir", "Ankara"}), 100),
        SiteLink(frozenset({"Izmir", "Bursa"}), 20),
        SiteLink(frozenset({"Bursa", "Ankara"}), 30),
        SiteLink(frozenset({"Van", "Kars"}), 1),
    ]
    assert site_costs(links, "izmir") == {"izmir": 0, "bursa": 20, "ankara": 50}


def test_near_sites_come_before_far_ones_and_unknown_ones_last() -> None:
    topology = Topology(
        {"a.corp.example": "Ankara", "b.corp.example": "Bursa", "i.corp.example": "Izmir"},
        [SiteLink(frozenset({"Izmir", "Bursa"}), 20), SiteLink(frozenset({"Izmir", "Ankara"}), 50)],
    )
    controllers = [DomainController(f"{name}.corp.example") for name in ("unknown", "a", "i", "b")]
    found = by_cost(controllers, topology, "Izmir")
    assert [controller.host[0] for controller in found] == ["i", "b", "a", "u"]
