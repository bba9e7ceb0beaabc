"""Which locations are asked when, what is remembered of them, and who is told: with a clock in the test's hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from certwright.adcs.errors import InvalidArgument
from certwright.adcs.events import LifecycleEvent, LifecycleKind
from certwright.connectors.locations import Location, LocationKind, Locations
from certwright.database import Database
from certwright.location_watch import watch
from certwright.location_watch.values import State, Subject, WatchedLocation
from certwright.location_watch.watch import LocationWatch
from tests.support.tables import new_sqlite_url
from tests.unit.location_watch.test_judging import CA, LEAF, NOW, Shelf, crl

PLACE = "http://pki.corp.example/ca.crl"
OTHER = "http://pki.corp.example/other.crl"


@dataclass
class World:
    database: Database
    now: datetime = NOW
    shelf: Shelf = field(default_factory=Shelf)
    told: list[LifecycleEvent] = field(default_factory=list)
    urls: list[str] = field(default_factory=lambda: [PLACE])

    def __post_init__(self) -> None:
        self.watch = LocationWatch(
            self.database, Locations(self.shelf, 8), self.subjects, self.told.append, lambda: self.now
        )

    def subjects(self) -> Iterator[Subject]:
        named = tuple(Location(LocationKind.CRL, url) for url in self.urls)
        yield Subject("Corp CA", LEAF, CA, named)
        yield Subject("Corp CA", CA, CA, named, is_example=False)  # the same places once more

    def after(self, pause: timedelta) -> WatchedLocation:
        """Some time later, asked if it is due."""
        self.now += pause
        self.watch.check_due()
        return self.watch.all()[0]

    def kinds(self) -> list[LifecycleKind]:
        return [event.kind for event in self.told]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    database = Database.open(new_sqlite_url(tmp_path))
    made = World(database)
    made.shelf.found[PLACE] = crl()
    yield made
    database.close()


def test_a_new_location_is_asked_at_once_and_then_now_and_again(world: World) -> None:
    assert world.watch.check_due() == 1
    (row,) = world.watch.all()
    assert (row.ca, row.url, row.state, row.checked) == ("Corp CA", PLACE, State.OK, NOW)

    world.now += watch.EVERY - timedelta(seconds=1)
    assert world.watch.check_due() == 0
    world.now += timedelta(seconds=1)
    assert world.watch.check_due() == 1


def test_what_fails_once_is_asked_again_soon_and_told_when_it_fails_twice(world: World) -> None:
    world.watch.check_due()
    del world.shelf.found[PLACE]

    row = world.after(watch.EVERY)
    assert (row.state, row.failures, world.told) == (State.DOWN, 1, [])
    row = world.after(watch.AT_FIRST)
    assert (row.failures, world.kinds()) == (2, [LifecycleKind.LOCATION_FAILING])
    assert world.told[0].facts["url"] == PLACE
    assert world.told[0].facts["kind"] == "CDP"

    world.shelf.found[PLACE] = crl()
    row = world.after(watch.WHILE_BAD)
    assert (row.state, row.failures) == (State.OK, 0)
    assert world.kinds()[-1] is LifecycleKind.LOCATION_RECOVERED


def test_while_it_stays_bad_it_is_the_same_news(world: World) -> None:
    """Notifications tell one identity once."""
    world.shelf.found.clear()
    world.watch.check_due()
    for _ in range(3):
        world.after(watch.WHILE_BAD)

    assert len({event.identity for event in world.told}) == 1


def test_a_line_that_broke_off_once_is_no_news(world: World) -> None:
    world.watch.check_due()
    world.shelf.found.clear()
    world.after(watch.EVERY)
    world.shelf.found[PLACE] = crl()
    world.after(watch.AT_FIRST)

    assert world.told == []


def test_a_crl_that_nobody_renews_is_told_before_it_ends_and_when_it_has(world: World) -> None:
    world.shelf.found[PLACE] = crl(ends=timedelta(hours=3))
    world.watch.check_due()
    for _ in range(6):
        world.after(watch.EVERY)
    for _ in range(4):
        world.after(watch.WHILE_BAD)

    assert list(dict.fromkeys(world.kinds())) == [LifecycleKind.LOCATION_EXPIRING, LifecycleKind.LOCATION_FAILING]


def test_changes_are_remembered_and_forgotten_in_the_end(world: World) -> None:
    world.watch.check_due()
    world.shelf.found.clear()
    row = world.after(watch.EVERY)
    assert [change.state for change in world.watch.history(row.id)] == [State.DOWN, State.OK]

    world.now += watch.KEPT
    world.watch.prune()
    assert [change.state for change in world.watch.history(row.id)] == [State.DOWN]


def test_what_no_certificate_names_any_more_is_forgotten(world: World) -> None:
    world.urls = [PLACE, OTHER]
    world.watch.check_all()
    world.urls = [OTHER]
    world.watch.check_all()

    assert [row.url for row in world.watch.all()] == [OTHER]


def test_one_can_be_asked_at_any_time_and_all_left_to_the_worker(world: World) -> None:
    world.urls = [PLACE, OTHER]
    world.watch.check_all()
    world.now += timedelta(minutes=1)
    first, second = world.watch.all()

    assert world.watch.check(second.id).checked == world.now
    assert world.watch.get(first.id).checked == NOW
    world.watch.ask_for_all()
    assert world.watch.check_due() == 2
    with pytest.raises(InvalidArgument):
        world.watch.check(99)


def test_a_location_that_is_new_is_found_within_a_minute(world: World) -> None:
    world.watch.check_due()
    world.urls = [PLACE, OTHER]
    world.now += watch.LOOK_EVERY - timedelta(seconds=1)
    assert world.watch.check_due() == 0
    world.now += timedelta(seconds=1)
    assert world.watch.check_due() == 1
