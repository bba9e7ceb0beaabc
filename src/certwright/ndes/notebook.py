"""What devices asked for, written down with what became of it in the CA's own transaction: both are there, or none.

An `Entry` goes along with a submission. Before the CA decides, the request is noted and what it uses up is taken;
the CA's answer follows in the same transaction, in the next one only where the CA's key is outside this process. A
crash leaves no request without its answer and no challenge without its request, and a device's row costs no commit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from certwright.adcs.errors import AdcsError
from certwright.adcs.request import Response
from certwright.database import Connection, Database
from certwright.ndes import store
from certwright.ndes.policy import Claim, Rejected
from certwright.ndes.store import State, Transaction

Key = tuple[str, str, bytes]
"""Service, transaction and the hash of the key that signed."""


@dataclass(frozen=True, slots=True)
class Note:
    """A request about to be submitted."""

    key: Key
    request_hash: bytes
    template: str
    subject: str
    renewal: bool
    peer: str
    when: int
    instead_of: Transaction | None
    claim: Claim | None


@dataclass(frozen=True, slots=True)
class Settled:
    """The CA's answer to one."""

    state: State
    request_id: int | None
    message: str
    when: int


class Kept(Protocol):
    """What goes along with an answer: a notice to a policy module that must not be lost."""

    def put(self, connection: Connection) -> None:
        """In the transaction that notes the answer."""

    def written(self) -> None:
        """After its commit."""


class NotNoted(AdcsError):
    """The request was not noted, so nothing was asked. `Entry` says why."""


class Entry:
    """One request on its way: a `ca.submissions.Along`.

    Args:
        owner: this process, as `server.home` tells processes apart.
        settle: what the CA's answer means.
        notice: what is to be told of it; None for nothing that is kept.
    """

    def __init__(
        self,
        note: Note,
        owner: str,
        settle: Callable[[Response], Settled],
        notice: Callable[[Response], Kept | None] = lambda response: None,
    ) -> None:
        self._note = note
        self._owner = owner
        self._settle = settle
        self._notice = notice
        self.is_doubled = False  # the same device asks the same at this very moment
        self.rejected: Rejected | None = None  # what it uses up was taken by another request
        self.kept: Kept | None = None

    def begin(self, connection: Connection) -> None:
        """Note the request and take what it uses up, both or neither.

        Raises:
            NotNoted: neither.
        """
        note = self._note
        self.is_doubled, self.rejected, self.kept = False, None, None  # it may be tried anew
        noted = store.begin(
            connection,
            *note.key,
            note.request_hash,
            note.template,
            note.subject,
            renewal=note.renewal,
            peer=note.peer,
            when=note.when,
            instead_of=note.instead_of,
            owner=self._owner,
        )
        if not noted:
            self.is_doubled = True
            raise NotNoted("the same request is under way")
        if note.claim is not None:
            try:
                note.claim.take(connection)
            except Rejected as rejected:
                self.rejected = rejected
                self._forget(connection)
                raise NotNoted(rejected.rule) from rejected

    def undo(self, connection: Connection) -> None:
        """It never became a request: nothing was used up."""
        self._forget(connection)
        if self._note.claim is not None:
            self._note.claim.give_back(connection)

    def decided(self, connection: Connection, response: Response) -> None:
        settled = self._settle(response)
        put(connection, self._note.key, settled)
        self.kept = self._notice(response)
        if self.kept is not None:
            self.kept.put(connection)

    def _forget(self, connection: Connection) -> None:
        if self._note.instead_of is None:
            store.forget(connection, *self._note.key)
        else:
            store.restore(connection, self._note.instead_of)


class Notebook:
    """Answers that are found later, and notices of what never became a request."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def settle(self, key: Key, settled: Settled, kept: Kept | None = None) -> None:
        """Note an answer. It need not be durable before the device has it, for the CA's own row tells it too; what
        is to be told of it must be.

        Raises:
            DatabaseError: it is not noted; what the CA decided stands.
        """
        with self._database.transaction(flushed=kept is not None) as connection:
            put(connection, key, settled)
            if kept is not None:
                kept.put(connection)
        if kept is not None:
            kept.written()

    def keep(self, kept: Kept) -> None:
        with self._database.transaction() as connection:
            kept.put(connection)
        kept.written()


def put(connection: Connection, key: Key, settled: Settled) -> None:
    store.settle(connection, *key, settled.state, settled.request_id, settled.message, settled.when)
