"""Refused messages, kept for a while so that somebody can look into them. What strangers send is bounded.

No challenge can be read in them: it is encrypted, and the keys that open it are not with this list.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

import structlog

from certwright.database import Database, DatabaseError
from certwright.ndes import store
from certwright.ndes.case import Case, Refused
from certwright.ndes.store import Failure

log = structlog.get_logger(__name__)

KEPT: Final = 1000
"""The latest ones; the others are deleted once a day."""
A_MINUTE: Final = 60
"""So many of a minute are kept by one process; the log has all."""
MAX_KEPT_MESSAGE: Final = 16 << 10
MAX_TEXT: Final = 500


class Failures:
    """Keeps what was refused. A list that cannot be written keeps nobody from an answer."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock
        self._lock = threading.Lock()
        self._minute = (0, 0)

    def refused(self, case: Case, refused: Refused) -> None:
        """Refused inside SCEP."""
        self._keep(
            case.service,
            refused.rule,
            refused.detail or refused.text,
            case.peer,
            fail_info=refused.fail_info.name,
            transaction=case.transaction,
            signer=case.message.signer.subject_name,
            message=case.data,
        )

    def unreadable(self, service: str, reason: str, peer: str, message: bytes) -> None:
        self._keep(service, "message", reason, peer, message=message)

    def undecided(self, service: str, reason: str, peer: str) -> None:
        self._keep(service, "policy module", reason, peer)

    def _keep(
        self,
        service: str,
        rule: str,
        reason: str,
        peer: str,
        *,
        fail_info: str = "",
        transaction: str = "",
        signer: str = "",
        message: bytes = b"",
    ) -> None:
        if not self._has_room():
            return
        failure = Failure(
            0,
            service,
            int(self._clock().timestamp()),
            _printable(rule),
            _printable(reason),
            fail_info,
            _printable(transaction),
            _printable(signer),
            peer,
            message if len(message) <= MAX_KEPT_MESSAGE else b"",
        )
        try:
            with self._database.transaction() as connection:
                store.insert_failure(connection, failure)
        except DatabaseError as error:
            log.error("scep_failure_not_kept", error=str(error))

    def _has_room(self) -> bool:
        minute = int(time.monotonic() // 60)
        with self._lock:
            kept = self._minute[1] + 1 if self._minute[0] == minute else 1
            if kept > A_MINUTE:
                return False
            self._minute = (minute, kept)
            return True


def by_rule(failures: Sequence[Failure]) -> Sequence[tuple[str, int]]:
    """How many of each, the most frequent first."""
    return Counter(each.rule for each in failures).most_common()


def _printable(text: str) -> str:
    return "".join(each if each.isprintable() else "\ufffd" for each in text[:MAX_TEXT])
