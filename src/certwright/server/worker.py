"""What has to happen on a clock, as plain functions, and the loop that calls them.

A duty that fails is logged and tried again, sooner at first and then less and less often, until it is due anyway. The
others go on. Nothing here decides what is due: each duty looks for itself, so calling it too often does no harm.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

log = structlog.get_logger(__name__)

FIRST_RETRY: Final = timedelta(seconds=30)
LONGEST_SLEEP: Final = timedelta(seconds=60)
"""So that a changed clock is noticed."""

Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class Duty:
    """One thing to look after.

    Args:
        work: given the time; raises when it could not be done.
    """

    name: str
    every: timedelta
    work: Callable[[datetime], None]


@dataclass(slots=True)
class _Planned:
    duty: Duty
    due: datetime
    failures: int = 0


class Worker:
    """Calls duties when they are due, one after the other."""

    def __init__(
        self, duties: Iterable[Duty], clock: Clock = lambda: datetime.now(UTC), name: str = "worker"
    ) -> None:
        self._clock = clock
        self._name = name
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        now = clock()
        self._planned: Sequence[_Planned] = [_Planned(duty, now) for duty in duties]

    def run_due(self) -> datetime:
        """Do what is due now; returns when to come back."""
        for planned in self._planned:
            now = self._clock()
            # A clock that was set back must not make a duty wait for the time it was set back by.
            if planned.due - now > planned.duty.every:
                planned.due = now
            if planned.due <= now and not self._stop.is_set():
                self._do(planned, now)
        return min((planned.due for planned in self._planned), default=self._clock() + LONGEST_SLEEP)

    @staticmethod
    def _do(planned: _Planned, now: datetime) -> None:
        try:
            planned.duty.work(now)
        except Exception as error:  # noqa: BLE001 - a duty that fails must not end the others
            retry = min(planned.duty.every, FIRST_RETRY * 2 ** min(planned.failures, 20))
            planned.failures += 1
            planned.due = now + retry
            log.error(
                "duty_failed",
                duty=planned.duty.name,
                error=str(error),
                kind=type(error).__name__,
                again_in=int(retry.total_seconds()),
            )
            return
        if planned.failures:
            log.info("duty_recovered", duty=planned.duty.name, failures=planned.failures)
        planned.failures = 0
        planned.due = now + planned.duty.every

    def run(self) -> None:
        """Until `stop`, in the calling thread."""
        while not self._stop.is_set():
            wait = min(self.run_due() - self._clock(), LONGEST_SLEEP)
            self._stop.wait(max(0.05, wait.total_seconds()))

    def start(self) -> None:
        """Run in a thread of its own."""
        self._thread = threading.Thread(target=self.run, name=self._name, daemon=True)
        self._thread.start()

    def ask_to_stop(self) -> None:
        """End after the duty under way; `stop` waits for it."""
        self._stop.set()

    def stop(self, timeout: float = 30.0) -> None:
        """End after the duty under way."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout)
