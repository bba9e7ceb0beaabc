"""What the plain HTTP listener hands to a role service that answers machines there, and what it gets back. RFC 9110.

No framework and no session: a question is a few fields, an answer a status, finished header lines and a body. The
listener adds `Date`, `Connection` and `Content-Length`, and sends no body where none belongs.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable


class Question(NamedTuple):
    """One request. `path` is what stands behind the service's own path, percent-encoded still, without the query."""

    method: bytes  # GET, HEAD or POST
    path: bytes
    body: bytes
    none_match: bytes
    modified_since: bytes
    query: bytes = b""  # percent-encoded still
    peer: str = ""  # address of the client


class Reply(NamedTuple):
    """One answer. `headers` are whole lines, each with its end."""

    status: int
    headers: bytes
    body: bytes


class PlainService(Protocol):
    """Called by the listener. `answer` on the event loop, `work_out` in a thread."""

    @property
    def body_limit(self) -> int:
        """Octets of the longest body that is read."""

    def answer(self, question: Question) -> Reply | None:
        """At once, from memory; None when it takes longer."""

    def work_out(self, question: Question) -> Reply:
        """However long it takes. Raises nothing."""

    def busy(self) -> Reply:
        """To whom too many others wait."""


@runtime_checkable
class OwnThreads(Protocol):
    """A service that has threads of its own, and answers questions together: nobody else's answer waits with it."""

    async def answer_later(self, question: Question) -> Reply:
        """In the place of `work_out`. Raises nothing."""


@runtime_checkable
class SteadyService(PlainService, Protocol):
    """One whose answers at once are the same for everybody within a second, unless `generation` changed meanwhile.

    The listener may repeat such an answer to a request of the same octets without asking, except where it says
    `no-store`.
    """

    @property
    def generation(self) -> int:
        """Another number whenever an answer given before may not be given again."""
