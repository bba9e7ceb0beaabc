"""The watch itself: which locations there are, which of them are due, and who is told when one turns bad."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Final

from certwright.adcs.errors import InvalidArgument
from certwright.adcs.events import LifecycleEvent, LifecycleKind
from certwright.connectors.locations import Location, Locations
from certwright.database import Database
from certwright.location_watch import store
from certwright.location_watch.judging import judge
from certwright.location_watch.values import KIND_WORDS, Change, Judgement, State, Subject, WatchedLocation

EVERY: Final = timedelta(minutes=30)
WHILE_BAD: Final = timedelta(minutes=10)
AT_FIRST: Final = timedelta(minutes=1)
"""A location that has just failed is asked once more soon, before anybody is told."""
TOLD_AFTER: Final = 2
"""Checks in a row that found it bad before people are told: a line that broke off once is no news."""
LOOK_EVERY: Final = timedelta(minutes=1)
"""How often it is looked whether certificates name other locations."""
AT_ONCE: Final = 4
KEPT: Final = timedelta(days=400)
MOST_SUBJECTS: Final = 500
HISTORY: Final = 100

Notify = Callable[[LifecycleEvent], None]
_Named = tuple[str, Location]  # the CA's name, and where


class LocationWatch:
    """Thread-safe; every process may have one over the same database.

    Args:
        subjects: what there is to watch, asked at every round.
        notify: is handed what people may want to be told, perhaps twice.
    """

    def __init__(
        self,
        database: Database,
        locations: Locations,
        subjects: Callable[[], Iterable[Subject]],
        notify: Notify,
        clock: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._locations = locations
        self._subjects = subjects
        self._notify = notify
        self._clock = clock
        self._round = threading.Lock()
        self._looked: datetime | None = None  # for new locations

    # -- what is known

    def all(self) -> Sequence[WatchedLocation]:
        """As they stood when they were asked last; nobody is asked."""
        with self._database.read() as connection:
            return store.locations(connection)

    def get(self, location_id: int) -> WatchedLocation:
        """Raises:
        InvalidArgument: there is none of that number.
        """
        with self._database.read() as connection:
            found = store.location(connection, location_id)
        if found is None:
            raise InvalidArgument(f"there is no watched location number {location_id}")
        return found

    def history(self, location_id: int, limit: int = HISTORY) -> Sequence[Change]:
        """How it came to stand as it stands, the newest first."""
        with self._database.read() as connection:
            return store.changes(connection, location_id, limit)

    # -- asking

    def check_due(self) -> int:
        """Ask what is due; how many were asked. For a clock: mostly it costs one query."""
        now = self._clock()
        is_recent = self._looked is not None and timedelta() <= now - self._looked < LOOK_EVERY
        if is_recent and not any(row.next_check <= now for row in self.all()):
            return 0
        self._looked = now
        return len(self._check(lambda row, now: row.next_check <= now))

    def check_all(self) -> Sequence[WatchedLocation]:
        """Ask all of them now; that takes some seconds for each one that does not answer."""
        self._check(lambda _row, _now: True)
        return self.all()

    def check(self, location_id: int) -> WatchedLocation:
        """Ask one of them now.

        Raises:
            InvalidArgument: there is none of that number.
        """
        self.get(location_id)
        self._check(lambda row, _now: row.id == location_id)
        return self.get(location_id)

    def ask_for_all(self) -> None:
        """Let the worker ask all of them at its next round."""
        with self._database.transaction() as connection:
            store.ask_again(connection, self._clock())

    def prune(self) -> None:
        """Forget the changes of long ago."""
        with self._database.transaction() as connection:
            store.prune(connection, self._clock() - KEPT)

    def _check(self, is_wanted: Callable[[WatchedLocation, datetime], bool]) -> Sequence[WatchedLocation]:
        with self._round:
            named = dict(_each(self._subjects()))
            rows = self._known(named)
            wanted = [row for row in rows if is_wanted(row, self._clock())]
            if not wanted:
                return ()
            with ThreadPoolExecutor(min(AT_ONCE, len(wanted)), thread_name_prefix="locations") as pool:
                found = pool.map(lambda row: self._judge(row, named), wanted)
                for row, judgement in zip(wanted, found, strict=True):
                    self._note(row, judgement)
        return wanted

    def _known(self, named: dict[_Named, Subject]) -> Sequence[WatchedLocation]:
        """The rows of what is named now: new ones are added, those that nothing names any more leave."""
        rows = self.all()
        present = {(row.ca, Location(row.kind, row.url)): row for row in rows}
        added = [key for key in named if key not in present]
        gone = [row for key, row in present.items() if key not in named]
        if not added and not gone:
            return rows
        with self._database.transaction() as connection:
            for ca, location in added:
                store.add(connection, ca, location.kind, location.url, self._clock())
            for row in gone:
                store.forget(connection, row.id)
        return [row for row in self.all() if (row.ca, Location(row.kind, row.url)) in named]

    def _judge(self, row: WatchedLocation, named: dict[_Named, Subject]) -> Judgement:
        location = Location(row.kind, row.url)
        return judge(self._locations, location, named[row.ca, location], self._clock())

    def _note(self, row: WatchedLocation, judgement: Judgement) -> None:
        now = self._clock()
        changed = judgement.state is not row.state
        since = now if changed else row.since
        failures = row.failures + 1 if judgement.state.is_bad else 0
        pause = EVERY if not failures else AT_FIRST if failures < TOLD_AFTER else WHILE_BAD
        with self._database.transaction() as connection:
            store.note(connection, row.id, judgement, now, since, failures, now + pause)
            if changed:
                store.add_change(connection, row.id, judgement, now)
        event = _news(row, judgement, failures, since)
        if event is not None:
            self._notify(event)


def _each(subjects: Iterable[Subject]) -> Iterator[tuple[_Named, Subject]]:
    """Every location once: with the first certificate that names it."""
    seen: set[_Named] = set()
    for number, subject in enumerate(subjects):
        if number >= MOST_SUBJECTS:
            return
        for location in subject.locations:
            if (subject.ca, location) not in seen:
                seen.add((subject.ca, location))
                yield (subject.ca, location), subject


def _news(row: WatchedLocation, judgement: Judgement, failures: int, since: datetime) -> LifecycleEvent | None:
    """What is told: that it is bad, once it was so twice; that it is worse; that it is well again."""
    if judgement.state.is_bad:
        kind = LifecycleKind.LOCATION_FAILING if judgement.state is State.DOWN else LifecycleKind.LOCATION_EXPIRING
        if failures < TOLD_AFTER:
            return None
    elif judgement.state is State.OK and row.failures >= TOLD_AFTER:
        kind = LifecycleKind.LOCATION_RECOVERED
    else:
        return None
    facts: dict[str, str | int] = {
        "ca": row.ca,
        "kind": KIND_WORDS[row.kind],
        "url": row.url,
        "state": judgement.state.value,
        "detail": judgement.detail,
        "since": since.isoformat(),
        "until": judgement.until.isoformat() if judgement.until is not None else "",
    }
    identity = f"location/{row.ca}/{row.kind.value}/{row.url}/{kind.value}/{int(since.timestamp())}"
    return LifecycleEvent(kind, row.url, since, identity, facts)
