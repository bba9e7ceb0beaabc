"""Requests whose process ended before it noted the CA's answer: settled by what the CA has of them.

A device that comes again settles its own (`requests`); this is for those that have their answer already and never
come, and for those that must not wait. What never reached the CA is *failed*, with what it used up: the same request
sent again is taken up, and nobody else has anything of it.

Whose process is gone is known at once of those that held the lock which this one holds now, and of those before the
system's last start where the database is a file of this system. Of others, which may serve the same database on other
hosts, it is known after a minute: no submission waits so long for its answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import Final, Protocol

import structlog

from certwright.adcs.errors import AdcsError
from certwright.adcs.request import Disposition, Response
from certwright.database import Database
from certwright.ndes import store
from certwright.ndes.notebook import Kept
from certwright.ndes.policy import Outcome
from certwright.ndes.requests import PROMISED, attributes_of, outcome_by_name, state_of
from certwright.ndes.store import State, Transaction

log = structlog.get_logger(__name__)

NEVER_REACHED: Final = "The server ended before the CA had the request; the device's next attempt makes it."
_BATCH: Final = 500

Look = Callable[[str, Collection[str], int], Mapping[str, Response]]
"""What the CA of a service has of marked submissions: by service, attributes, and the time of the first of them."""


class Telling(Protocol):
    """The policy module of a service, as far as it is told things."""

    def notice(self, outcome: Outcome) -> Kept | None:
        """To be written with the outcome; None where nothing is kept."""

    def directly(self, outcome: Outcome) -> None:
        """Where nothing is kept."""


class Unfinished:
    """Of all services.

    Args:
        telling: of a service; None where it has no module that could be told.
    """

    def __init__(
        self,
        database: Database,
        look: Look,
        telling: Callable[[str], Telling | None],
        clock: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._look = look
        self._telling = telling
        self._clock = clock

    def after_start(self, is_gone: Callable[[str], bool]) -> int:
        """Settle those of the processes before this one; returns how many. To be called before anybody is answered.

        Args:
            is_gone: whether the process that noted one has certainly ended.

        Raises:
            DatabaseError: some were not settled.
        """
        return self._settle(self._now(), is_gone)

    def overdue(self) -> int:
        """Settle those that nobody can be at any more, whoever began them. Raises as `after_start`."""
        return self._settle(self._now() - PROMISED, lambda owner: True)

    def _settle(self, before: int, is_gone: Callable[[str], bool]) -> int:
        settled: Counter[str] = Counter()
        while True:
            with self._database.read() as connection:
                found_rows = store.under_way(connection, before, _BATCH)
            rows = [row for row in found_rows if is_gone(row.owner)]
            done = 0
            for service, own in groupby(sorted(rows, key=lambda row: row.service), lambda row: row.service):
                found = self._settle_service(service, list(own))
                settled += found
                done += found.total()
            if len(found_rows) < _BATCH or not done:
                break
        if settled:
            log.warning("device_requests_settled", **{name.lower(): count for name, count in settled.items()})
        return settled.total()

    def _settle_service(self, service: str, rows: Sequence[Transaction]) -> Counter[str]:
        settled: Counter[str] = Counter()
        try:
            known = self._look(service, {attributes_of(row) for row in rows}, min(row.created for row in rows))
        except AdcsError as error:
            log.error("device_requests_not_settled", service=service, count=len(rows), error=error.message)
            return settled
        telling = self._telling(service) if known else None
        told: list[tuple[Outcome, Kept | None]] = []
        with self._database.transaction() as connection:
            for row in rows:
                response = known.get(attributes_of(row))
                if response is None:
                    if store.settle_left(connection, row, State.FAILED, None, NEVER_REACHED, self._now()):
                        settled[State.FAILED.name] += 1
                    continue
                if response.disposition is Disposition.INCOMPLETE:
                    continue  # it is being signed elsewhere
                state = state_of(response)
                if not store.settle_left(connection, row, state, response.request_id, response.message, self._now()):
                    continue  # its device was faster
                settled[state.name] += 1
                outcome = outcome_by_name(row, response)
                notice = telling.notice(outcome) if telling is not None else None
                if notice is not None:
                    notice.put(connection)
                told.append((outcome, notice))
        for outcome, notice in told:
            if notice is not None:
                notice.written()
            elif telling is not None:
                telling.directly(outcome)
        return settled

    def _now(self) -> int:
        return int(self._clock().timestamp())
