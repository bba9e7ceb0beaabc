"""Where certificates say that CRLs, CA certificates and responders are found, as the watch found it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from ninja import Router
from pydantic import Field

from certwright.adcs.errors import InvalidArgument
from certwright.console.api.authentication import ApiRequest
from certwright.console.api.operations import operation
from certwright.console.api.problems import not_there
from certwright.console.api.shapes import PathId, Told
from certwright.console.rooms import rooms
from certwright.location_watch.values import KIND_WORDS, WatchedLocation

router = Router(tags=["System"])


class WatchedPlace(Told):
    """A location, and how it stood when it was asked last."""

    id: int
    ca: str  # whose certificates name it
    kind: Annotated[str, Field(description="CDP, delta CDP, AIA or OCSP")]
    url: str
    state: Annotated[str, Field(description="ok, warning, down or unknown")]
    detail: str
    until: datetime | None  # end of what lies there
    since: datetime  # in this state
    checked: datetime | None  # null: not yet


class StateChange(Told):
    occurred: datetime
    state: str
    detail: str


@operation(router, "GET", "/health/locations", list[WatchedPlace])
def list_watched_locations(request: ApiRequest) -> Sequence[WatchedPlace]:
    """List the locations that certificates name, as they were found last.

    Of our own CAs, and of those that this installation orders from. Nobody is asked.
    """
    return [_told(row) for row in rooms().watch.all()]


@operation(router, "POST", "/health/locations/check")
def check_watched_locations(request: ApiRequest) -> None:
    """Let the worker ask all of them, within half a minute."""
    rooms().watch.ask_for_all()


@operation(router, "POST", "/health/locations/{int:number}/check", WatchedPlace)
def check_watched_location(request: ApiRequest, number: PathId) -> WatchedPlace:
    """Ask one location now; takes some seconds where nobody answers."""
    return _told(rooms().watch.check(_found(number).id))


@operation(router, "GET", "/health/locations/{int:number}/history", list[StateChange])
def list_location_changes(request: ApiRequest, number: PathId) -> Sequence[StateChange]:
    """List how a location came to stand as it stands, the newest change first."""
    _found(number)
    return [
        StateChange(occurred=change.occurred, state=change.state.value, detail=change.detail)
        for change in rooms().watch.history(number)
    ]


def _found(number: int) -> WatchedLocation:
    try:
        return rooms().watch.get(number)
    except InvalidArgument:
        raise not_there(f"location number {number}") from None


def _told(row: WatchedLocation) -> WatchedPlace:
    return WatchedPlace(
        id=row.id,
        ca=row.ca,
        kind=KIND_WORDS[row.kind],
        url=row.url,
        state=row.state.value,
        detail=row.detail,
        until=row.until,
        since=row.since,
        checked=row.checked,
    )
