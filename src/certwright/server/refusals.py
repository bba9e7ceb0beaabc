"""What the listeners refuse before anybody is asked: plain text, and problem details (RFC 9457) below `/api/`.

The members are those of `console.api.problems`, which this cannot import: the listeners know no framework.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Final, NamedTuple

_API: Final = "/api/"
_ADVICE: Final = {
    413: "Send less at once.",
    503: "Try again later; the header Retry-After says when, in seconds.",
}


class Refusal(NamedTuple):
    content_type: bytes
    body: bytes


def refusal(path: str, status: int, text: str) -> Refusal:
    """An answer that refuses.

    Args:
        path: what was asked for, as it came.
        text: for people; the detail of a problem, and the whole of a plain answer.
    """
    if not path.startswith(_API) or status not in _ADVICE:
        return Refusal(b"text/plain; charset=utf-8", f"{text}\n".encode())
    problem = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": text,
        "advice": _ADVICE[status],
    }
    return Refusal(b"application/problem+json", json.dumps(problem).encode())
