"""What devices asked for, written down: many at a time in one commit.

A request must be noted before the CA is asked, and its answer is to be noted after. Whoever comes while another
thread commits waits for its turn, and finds that somebody has taken along what it brought. An answer need not be
durable before the device has it, because the CA's own row tells it too: it goes along with the next commit, and the
last one who is at it writes down what is left.

Nothing here waits for the disk. The CA commits after a note and before its answer, in the same database and to disk,
and logs are written in order: an answer of the CA that a power failure leaves is never there without its note, and a
note that it takes away was no request yet.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from certwright.database import Connection, Database, DatabaseError
from certwright.ndes import store
from certwright.ndes.policy import Claim, Rejected
from certwright.ndes.store import State, Transaction

Key = tuple[str, str, bytes]
"""Service, transaction and the hash of the key that signed."""


@dataclass(slots=True)
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
    written: bool = False
    noted: bool = False
    failure: Exception | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    """The CA's answer to one."""

    key: Key
    state: State
    request_id: int | None
    message: str
    when: int


class Notebook:
    """Of one process, for all services. Thread-safe."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._gate = threading.Lock()  # of the three below, never held for long
        self._notes: list[Note] = []
        self._settled: dict[Key, Settled] = {}
        self._at_it = 0  # requests noted, and not settled yet
        self._writing = threading.Lock()  # one transaction at a time: the others queue up behind it

    def begin(self, note: Note) -> bool:
        """Note a request and take what it uses up, both or neither.

        Returns:
            False when the same device asked the same at this very moment.

        Raises:
            Rejected: its challenge was taken by another request.
            DatabaseError: nothing was noted.
        """
        with self._gate:
            self._notes.append(note)
        with self._writing:
            if not note.written:
                self._write()
        if note.failure is not None:
            raise note.failure
        if note.noted:
            with self._gate:
                self._at_it += 1
        return note.noted

    def settle(self, settled: Settled, *, begun: bool) -> None:
        """Note an answer. Args: begun: it is the end of what `begin` began.

        Raises:
            DatabaseError: it is not noted; what the CA decided stands.
        """
        with self._gate:
            self._settled[settled.key] = settled
            if begun:
                self._at_it -= 1
            others = self._at_it > 0
        if not (begun and others):
            with self._writing:
                self._write()

    def gave_up(self, key: Key, claim: Claim | None) -> None:
        """It never became a request: nothing was used up."""
        with self._gate:
            self._at_it -= 1

        def forget(connection: Connection) -> None:
            store.forget(connection, *key)
            if claim is not None:
                claim.give_back(connection)

        with self._writing:
            self._write(forget)

    def unknown(self) -> None:
        """Nobody knows what became of it: the row stays as it is."""
        with self._gate:
            self._at_it -= 1

    def as_known(self, row: Transaction) -> Transaction:
        """A row that was read, with an answer that is not written down yet."""
        if row.state is not State.SUBMITTING:
            return row
        with self._gate:
            settled = self._settled.get((row.service, row.name, row.key_hash))
        if settled is None:
            return row
        return replace(
            row,
            state=settled.state,
            request_id=settled.request_id,
            message=settled.message,
            changed=settled.when,
        )

    def _write(self, more: Callable[[Connection], None] | None = None) -> None:
        """One transaction with everything that waits. `_writing` is held."""
        with self._gate:
            notes, self._notes = self._notes, []
            settled = list(self._settled.values())
        if not (notes or settled or more):
            return
        try:
            with self._database.transaction(flushed=False) as connection:
                for each in settled:
                    store.settle(connection, *each.key, each.state, each.request_id, each.message, each.when)
                for note in notes:
                    _note(connection, note)
                if more is not None:
                    more(connection)
        except DatabaseError as error:
            for note in notes:
                note.written, note.noted, note.failure = True, False, error
            raise
        for note in notes:
            note.written = True
        with self._gate:
            for each in settled:
                if self._settled.get(each.key) is each:
                    del self._settled[each.key]


def _note(connection: Connection, note: Note) -> None:
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
    )
    if noted and note.claim is not None:
        try:
            note.claim.take(connection)
        except Rejected as rejected:
            note.failure = rejected
            if note.instead_of is None:
                store.forget(connection, *note.key)
            else:
                store.restore(connection, note.instead_of)
            return
    note.noted = noted
