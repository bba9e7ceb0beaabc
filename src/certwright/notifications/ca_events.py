"""Events of our own CAs as an exit module hands them over. [MS-WCCE] 3.2.1.4.2.1.4.9.

The shape of `ca.exits.ExitModule`, without importing it. It is called in the issuer thread for every event of every
certificate, so it only looks whether some rule wants it and puts it aside; a thread of its own writes what was put
aside, many in one transaction. What a crash cuts off there is in the audit trail.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Mapping
from typing import Final

import structlog

from certwright.adcs.events import AuditEvent, CaEvent, LifecycleEvent, LifecycleKind
from certwright.database import DatabaseError
from certwright.notifications.messages import EVENT_NUMBERS
from certwright.notifications.queue import Queue

log = structlog.get_logger(__name__)

KINDS: Final[Mapping[AuditEvent, LifecycleKind]] = {
    AuditEvent.CERTIFICATE_ISSUED: LifecycleKind.CA_ISSUED,
    AuditEvent.REQUEST_PENDED: LifecycleKind.CA_PENDING,
    AuditEvent.REQUEST_DENIED: LifecycleKind.CA_DENIED,
    AuditEvent.REQUEST_DENIED_BY_MANAGER: LifecycleKind.CA_DENIED,
    AuditEvent.REQUEST_FAILED: LifecycleKind.CA_FAILED,
    AuditEvent.CERTIFICATE_REVOKED: LifecycleKind.CA_REVOKED,
    AuditEvent.KEY_ARCHIVED: LifecycleKind.CA_KEY_ARCHIVED,
    AuditEvent.CRL_PUBLISHED: LifecycleKind.CRL_PUBLISHED,
}

_MOST_PUT_ASIDE: Final = 50_000
_BATCH: Final = 500
_PAUSE: Final = 0.2  # seconds in which events gather
_PATIENCE: Final = 10.0


class CaEventExit:
    """An exit module. Close it, so that nothing put aside is left."""

    description = "Notifications"

    def __init__(self, notifications: Queue) -> None:
        self._notifications = notifications
        self._aside: queue.SimpleQueue[LifecycleEvent | None] = queue.SimpleQueue()
        self._gate = threading.Lock()
        self._thread: threading.Thread | None = None
        self._dropped = 0

    def notify(self, event: CaEvent) -> None:
        """Put an event aside if somebody wants to be told of it."""
        kind = KINDS.get(event.event)
        if kind is None or kind not in self._notifications.wanted_kinds():
            return
        if self._aside.qsize() >= _MOST_PUT_ASIDE:
            self._dropped += 1
            if self._dropped == 1 or self._dropped % 10_000 == 0:
                log.error(
                    "notifications_dropped", ca=event.ca, dropped=self._dropped, reason="the database is too slow"
                )
            return
        self._aside.put(lifecycle_event(kind, event))
        self._start()

    def close(self) -> None:
        """Write what was put aside, and end."""
        with self._gate:
            thread, self._thread = self._thread, None
        if thread is not None:
            self._aside.put(None)
            thread.join(_PATIENCE)

    def _start(self) -> None:
        if self._thread is None:
            with self._gate:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="ca notifications", daemon=True)
                    self._thread.start()

    def _run(self) -> None:
        ending = False
        while not ending:
            batch: list[LifecycleEvent] = []
            item = self._aside.get()
            if item is not None:
                time.sleep(_PAUSE if self._aside.empty() else 0.0)
            while True:
                if item is None:
                    ending = True
                    break
                batch.append(item)
                if len(batch) >= _BATCH:
                    break
                try:
                    item = self._aside.get_nowait()
                except queue.Empty:
                    break
            if batch:
                self._write(batch)

    def _write(self, batch: list[LifecycleEvent]) -> None:
        try:
            self._notifications.put(batch)
        except DatabaseError as error:
            log.error("notifications_not_queued", count=len(batch), error=str(error))


def lifecycle_event(kind: LifecycleKind, event: CaEvent) -> LifecycleEvent:
    """What people are told of a CA's event. Its identity is the request, or the CRL."""
    about = event.details.get("request_id", event.details.get("number", int(event.when.timestamp())))
    extra = event.details.get("key_index", "")
    when = int(event.when.timestamp())
    facts: dict[str, str | int] = {"ca": event.ca, "by": event.actor, **event.details}
    if EVENT_NUMBERS.get(kind) != event.event.value:
        facts["event"] = event.event.value
    return LifecycleEvent(kind, event.ca, event.when, f"ca/{event.ca}/{kind.value}/{about}/{extra}/{when}", facts)
