"""Watched locations <-> rows. The only reader and writer of the room's tables."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from certwright.connectors.locations import LocationKind
from certwright.database import Connection
from certwright.location_watch.values import Change, Judgement, State, WatchedLocation

_COLUMNS = "id, ca, kind, url, state, detail, until, checked, since, failures, next_check"


def locations(connection: Connection) -> Sequence[WatchedLocation]:
    """All of them, by CA, kind and URL."""
    rows = connection.many(
        f"SELECT {_COLUMNS} FROM location_watch_location ORDER BY ca, kind, url"  # noqa: S608 - constant
    )
    return [_row(row) for row in rows]


def location(connection: Connection, location_id: int) -> WatchedLocation | None:
    row = connection.one(
        f"SELECT {_COLUMNS} FROM location_watch_location WHERE id = ?",  # noqa: S608 - constant
        (location_id,),
    )
    return None if row is None else _row(row)


def _row(row: tuple[Any, ...]) -> WatchedLocation:
    number, ca, kind, url, state, detail, until, checked, since, failures, next_check = row
    return WatchedLocation(
        number,
        ca,
        LocationKind(kind),
        url,
        State(state),
        detail,
        _moment(until),
        _moment(checked),
        datetime.fromtimestamp(since, UTC),
        failures,
        datetime.fromtimestamp(next_check, UTC),
    )


def add(connection: Connection, ca: str, kind: LocationKind, url: str, now: datetime) -> None:
    """A location that was not known, to be asked at once; one that is known stays."""
    connection.execute(
        "INSERT INTO location_watch_location (ca, kind, url, state, detail, until, checked, since, failures,"
        " next_check) VALUES (?, ?, ?, ?, '', NULL, NULL, ?, 0, ?) ON CONFLICT (ca, kind, url) DO NOTHING",
        (ca, kind.value, url, State.UNKNOWN.value, _seconds(now), _seconds(now)),
    )


def forget(connection: Connection, location_id: int) -> None:
    """No certificate names it any more."""
    connection.execute("DELETE FROM location_watch_change WHERE location = ?", (location_id,))
    connection.execute("DELETE FROM location_watch_location WHERE id = ?", (location_id,))


def ask_again(connection: Connection, now: datetime) -> None:
    """All of them at the next round."""
    connection.execute("UPDATE location_watch_location SET next_check = ?", (_seconds(now),))


def note(
    connection: Connection,
    location_id: int,
    judgement: Judgement,
    now: datetime,
    since: datetime,
    failures: int,
    next_check: datetime,
) -> None:
    """What a check found."""
    connection.execute(
        "UPDATE location_watch_location SET state = ?, detail = ?, until = ?, checked = ?, since = ?, failures = ?,"
        " next_check = ? WHERE id = ?",
        (
            judgement.state.value,
            judgement.detail,
            None if judgement.until is None else _seconds(judgement.until),
            _seconds(now),
            _seconds(since),
            failures,
            _seconds(next_check),
            location_id,
        ),
    )


def add_change(connection: Connection, location_id: int, judgement: Judgement, now: datetime) -> None:
    connection.execute(
        "INSERT INTO location_watch_change (location, occurred, state, detail) VALUES (?, ?, ?, ?)",
        (location_id, _seconds(now), judgement.state.value, judgement.detail),
    )


def changes(connection: Connection, location_id: int, limit: int) -> Sequence[Change]:
    """The newest first."""
    rows = connection.many(
        "SELECT occurred, state, detail FROM location_watch_change WHERE location = ?"
        " ORDER BY occurred DESC, id DESC LIMIT ?",
        (location_id, limit),
    )
    return [Change(datetime.fromtimestamp(when, UTC), State(state), detail) for when, state, detail in rows]


def prune(connection: Connection, before: datetime) -> None:
    connection.execute("DELETE FROM location_watch_change WHERE occurred < ?", (_seconds(before),))


def _seconds(when: datetime) -> int:
    return int(when.timestamp())


def _moment(value: int | None) -> datetime | None:
    return None if value is None else datetime.fromtimestamp(value, UTC)
