"""Notices to policy modules that miss none: written down with what they tell of, and told until they are taken.

A notice is claimed before it is told and settled afterwards. A crash in between repeats it under the same number;
nothing is lost. What is not taken within a day is given up: that stands in the log, in the audit trail and in the
list. Modules that keep nothing are told directly (`requests`).
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import structlog

from certwright.adcs.events import AuditEvent, CaEvent
from certwright.database import Connection, Database, DatabaseError
from certwright.ndes import store
from certwright.ndes.policy import KeepsNotices, Outcome, PolicyModule, PolicyUnavailable
from certwright.ndes.store import Notice, NoticeState

log = structlog.get_logger(__name__)

MAX_WAITING: Final = 10_000
"""Notices of a service that may wait; of more, their outline and a line in the log are all that is left."""
FIRST_RETRY: Final = 60
LAST_RETRY: Final = 3600
GIVE_UP_AFTER: Final = 86_400
"""Seconds, these three."""
_CLAIM: Final = 150
"""Seconds for which a notice belongs to who tells it: longer than the longest answer."""
_BATCH: Final = 100
_FAILURES: Final = 3
"""In one run; then the module is left alone until the next one."""
_RUN_TIME: Final = 60.0
_ACTOR: Final = r"NT AUTHORITY\SYSTEM"

Record = Callable[[Connection, CaEvent], None]


class Notices:
    """Of one service.

    Args:
        record: into the audit trail.
        module: what is told them.
    """

    def __init__(
        self,
        database: Database,
        service: str,
        record: Record,
        clock: Callable[[], datetime],
        module: Callable[[], PolicyModule],
    ) -> None:
        self._database = database
        self._service = service
        self._record = record
        self._clock = clock
        self._module = module
        self._gate = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._planned = False
        self._ends: float | None = None

    def of(self, module: KeepsNotices, outcome: Outcome) -> KeptNotice:
        """A notice to go along with its outcome."""
        body = json.dumps(module.notice_of(outcome), separators=(",", ":"))
        return KeptNotice(self, outcome.transaction, outcome.disposition.name.lower(), body)

    def put(self, connection: Connection, transaction: str, disposition: str, body: str) -> None:
        """Write one down, in the transaction of what it tells of."""
        now = self._now()
        number = store.insert_notice(connection, self._service, transaction, disposition, body, now)
        if store.count_waiting_notices(connection, self._service) > MAX_WAITING:
            self._give_up(connection, number, transaction, 0, "too many wait", now)

    def soon(self) -> None:
        """Tell what waits, in a thread of its own; whoever calls does not wait for it."""
        with self._gate:
            if self._planned or self._ends is not None:
                return
            if self._pool is None:
                self._pool = ThreadPoolExecutor(1, thread_name_prefix="ndes-notices")
            self._planned = True
            self._pool.submit(self._run)

    def close(self, patience: float = 10.0) -> None:
        """End after the notice under way, and what is told within some seconds. The rest is told another time."""
        with self._gate:
            self._ends = time.monotonic() + patience
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=True)

    def _run(self) -> None:
        with self._gate:
            self._planned = False
        try:
            self.tell_due()
        except (DatabaseError, PolicyUnavailable) as error:  # they wait, and the worker comes again
            log.error("ndes_notices_not_told", service=self._service, reason=str(error))

    def tell_due(self) -> int:
        """Tell what is due; returns how many were taken.

        Raises:
            PolicyUnavailable: the service has no module that could be told now.
        """
        begun, taken, failures = time.monotonic(), 0, 0
        module: KeepsNotices | None = None
        while True:
            with self._database.read() as connection:
                due = store.due_notices(connection, self._service, self._now(), _BATCH)
            if not due:
                return taken
            if module is None:
                found = self._module()
                if not isinstance(found, KeepsNotices):  # the service has another module now: nobody is to be told
                    self._drop(due, "the service has another policy module")
                    continue
                module = found
            claimed = 0
            for notice in due:
                over = time.monotonic() - begun > _RUN_TIME or (
                    self._ends is not None and time.monotonic() > self._ends
                )
                if over or failures == _FAILURES:
                    return taken
                with self._database.transaction() as connection:
                    if not store.claim_notice(connection, notice, self._now() + _CLAIM):
                        continue  # another process has it
                claimed += 1
                if self._tell(module, notice):
                    taken += 1
                else:
                    failures += 1
            if not claimed:
                return taken

    def _tell(self, module: KeepsNotices, notice: Notice) -> bool:
        attempts = notice.attempts + 1
        try:
            module.tell(notice.id, json.loads(notice.body))
        except Exception as error:  # noqa: BLE001 - somebody else's code, or another server
            reason = str(error) if isinstance(error, PolicyUnavailable) else f"{type(error).__name__}: {error}"
            self._not_taken(notice, attempts, reason[: store.MAX_RESULT])
            return False
        with self._database.transaction() as connection:
            store.settle_notice(connection, notice.id, NoticeState.TAKEN, attempts, "", self._now())
        return True

    def _not_taken(self, notice: Notice, attempts: int, reason: str) -> None:
        now = self._now()
        with self._database.transaction() as connection:
            if now >= notice.created + GIVE_UP_AFTER:
                self._give_up(connection, notice.id, notice.transaction, attempts, reason, now)
                return
            again = min(now + retry_after(attempts), notice.created + GIVE_UP_AFTER)
            store.put_notice_back(connection, notice.id, max(again, now + 1), attempts, reason)
        log.warning(
            "ndes_notice_not_taken",
            service=self._service,
            transaction=notice.transaction,
            attempts=attempts,
            reason=reason,
        )

    def _drop(self, notices: list[Notice], reason: str) -> None:
        with self._database.transaction() as connection:
            for notice in notices:
                self._give_up(connection, notice.id, notice.transaction, notice.attempts, reason, self._now())

    def _give_up(
        self, connection: Connection, number: int, transaction: str, attempts: int, reason: str, now: int
    ) -> None:
        store.settle_notice(connection, number, NoticeState.GIVEN_UP, attempts, reason, now)
        facts: dict[str, str | int] = {
            "change": "notice given up",
            "service": self._service,
            "transaction": transaction,
            "attempts": attempts,
            "reason": reason,
        }
        self._record(connection, CaEvent(AuditEvent.NDES_CHANGED, self._clock(), "", _ACTOR, facts))
        log.error(
            "ndes_notice_given_up",
            service=self._service,
            transaction=transaction,
            attempts=attempts,
            reason=reason,
        )

    def _now(self) -> int:
        return int(self._clock().timestamp())


@dataclass(frozen=True, slots=True)
class KeptNotice:
    """A notice that goes along with its outcome: a `notebook.Kept`."""

    notices: Notices
    transaction: str
    disposition: str
    body: str

    def put(self, connection: Connection) -> None:
        self.notices.put(connection, self.transaction, self.disposition, self.body)

    def written(self) -> None:
        self.notices.soon()


def retry_after(attempts: int) -> int:
    """Seconds until the next attempt."""
    return min(FIRST_RETRY << min(attempts - 1, 20), LAST_RETRY)
