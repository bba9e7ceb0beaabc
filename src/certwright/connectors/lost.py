"""A request whose answer was lost: looked for among the request IDs above the last one known, by its key."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from certwright.adcs.request import Disposition, Response
from certwright.pki.certificate import CertificateView

MAX_REQUEST_ID: Final = 0xFFFF_FFFF
MAX_PROBED: Final = 500
"""How many request IDs are asked for at most."""
SEARCH_TIME: Final = 120.0
_CLOCK_TOLERANCE: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Search:
    """What a search for a lost request found.

    Args:
        found: the issued request with our key.
        undecided: pending requests of this account that may be it; their keys cannot be seen.
        searched_to: the last request ID asked for.
    """

    found: Response | None
    undecided: tuple[int, ...]
    searched_to: int


def search(
    ask: Callable[[int], Response | None],
    public_key: bytes,
    since: datetime,
    last_known_id: int,
    known: Collection[int] = (),
    *,
    limit: int = MAX_PROBED,
) -> Search:
    """Ask for one request ID after the other above the last known one.

    A CA shows nothing of other people's requests, so an ID that shows nothing may lie before ours: the search ends at
    the find, at `limit`, or after two minutes.

    Args:
        ask: how the request with an ID stands, as far as this account is shown it.
        public_key: SubjectPublicKeyInfo of the lost request.
        since: when it was sent; certificates that begin a day or more before are older requests of the same key.
        known: request IDs that belong to other orders of ours.
    """
    undecided: list[int] = []
    deadline = time.monotonic() + SEARCH_TIME
    current = last_known_id
    for current in range(last_known_id + 1, min(last_known_id + limit, MAX_REQUEST_ID) + 1):
        if current in known:
            continue
        answer = ask(current)
        if answer is not None and answer.certificate and _is_for(answer.certificate, public_key, since):
            return Search(answer, tuple(undecided), current)
        if answer is not None and answer.disposition is Disposition.UNDER_SUBMISSION:
            undecided.append(current)
        if time.monotonic() > deadline:
            break
    return Search(None, tuple(undecided), current)


def _is_for(certificate: bytes, public_key: bytes, since: datetime) -> bool:
    view = CertificateView.parse(certificate)
    return view.public_key_info == public_key and view.not_before > since - _CLOCK_TOLERANCE
