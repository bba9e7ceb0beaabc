"""Sites by address, as the subnets of a forest have them. [MS-ADTS] 6.1.1.2.2.2."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pytest

from certwright.directory.active_directory.ldap import Entry, LdapUnavailable
from certwright.directory.active_directory.subnets import AGAIN, Subnets

_T = TypeVar("_T")
SITE = "CN={},CN=Sites,CN=Configuration,DC=corp,DC=example"


class Forest:
    """A pool and its connection: subnets by name, with the site of each."""

    def __init__(self, **subnets: str) -> None:
        self.subnets = {name.replace("_", "."): site for name, site in subnets.items()}
        self.asked = 0
        self.is_up = True

    def run(self, work: Callable[[Any], _T]) -> _T:
        self.asked += 1
        if not self.is_up:
            raise LdapUnavailable("no controller answers")
        return work(self)

    def search(self, base: str, *_: object, **__: object) -> Iterator[Entry]:
        assert base == "CN=Subnets,CN=Sites,CN=Configuration,DC=corp,DC=example"
        for name, site in self.subnets.items():
            sites = (SITE.format(site).encode(),) if site else ()
            yield Entry(f"CN={name},{base}", {"cn": (name.encode(),), "siteObject": sites})


def subnets_of(forest: Forest, now: Callable[[], float] = lambda: 0.0) -> Subnets:
    pool: Any = forest
    return Subnets(pool, lambda: "CN=Configuration,DC=corp,DC=example", now)


@pytest.mark.parametrize(
    ("address", "site"),
    [
        ("10.1.2.3", "Paris"),
        ("10.1.9.3", "Lab"),
        ("::ffff:10.1.2.3", "Paris"),
        ("2001:db8::7", "Rome"),
        ("fe80::1%eth0", ""),
        ("192.0.2.1", ""),
        ("", ""),
        ("not an address", ""),
    ],
)
def test_the_most_specific_subnet_counts(address: str, site: str) -> None:
    forest = Forest()
    forest.subnets = {
        "10.1.0.0/16": "Paris",
        "10.1.9.0/24": "Lab",
        "2001:db8::/32": "Rome",
        "192.0.2.0/24": "",
        "nonsense": "Paris",
    }
    assert subnets_of(forest).site_of(address) == site


def test_they_are_read_again_after_some_time_and_stay_good_while_nobody_answers() -> None:
    now = [0.0]
    forest = Forest()
    forest.subnets = {"10.0.0.0/8": "Paris"}
    subnets = subnets_of(forest, lambda: now[0])
    assert (subnets.site_of("10.0.0.1"), subnets.site_of("10.0.0.2"), forest.asked) == ("Paris", "Paris", 1)

    forest.subnets = {"10.0.0.0/8": "Rome"}
    now[0], forest.is_up = AGAIN, False
    assert subnets.site_of("10.0.0.1") == "Paris"
    now[0], forest.is_up = 2 * AGAIN, True
    assert subnets.site_of("10.0.0.1") == "Rome"
