"""CRL partitions: ranges of request IDs whose certificates name a CRL of their own. [MS-CSRA] 3.1.4.1.6.

Which partition a certificate names is written beside it, so a list is complete whatever the size was set to when. The
list of everything goes on beside them, for the certificates that name it.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import datetime

from certwright.ca.database import CaDatabase


class CrlPartitions:
    """Those of a CA's newest key, for certificates that are issued now. Thread-safe.

    Args:
        size: how many request IDs share a CRL; None: there are no partitions.
    """

    def __init__(self, database: CaDatabase, key_index: int, size: int | None) -> None:
        self._database = database
        self._key_index = key_index
        self._size = size
        self._there: set[int] = set()
        self._gate = threading.Lock()

    def of(self, request_id: int) -> int:
        """The partition that the certificate of a request names: only one whose CRL is published already.

        Otherwise 0, the list of everything, which is always right.
        """
        if self._size is None:
            return 0
        number = number_of(request_id, self._size)
        with self._gate:
            if number not in self._there:
                crl = self._database.latest_crl(self._key_index, partition=number)
                if crl is None or crl.published_when is None:
                    return 0
                self._there.add(number)
        return number


def number_of(request_id: int, size: int) -> int:
    """Counted from 1: the first `size` requests are of partition 1."""
    return 1 + (request_id - 1) // size


def living(database: CaDatabase, key_index: int, now: datetime, size: int | None) -> Sequence[int]:
    """The partitions of a key that need a CRL: of certificates that have not expired, and those that come next.

    Args:
        now: certificates that ended before it need none; the beginning of time where expired ones stay on lists.
        size: of partitions to come; None for a key that issues no more, or without partitions.
    """
    found = set(database.crl_partitions(key_index, now))
    if size is not None:
        current = number_of(database.last_request_id() + 1, size)
        found |= {current, current + 1}  # the next one lies ready before somebody names it
    return sorted(found)
