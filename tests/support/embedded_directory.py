"""An embedded directory on a real SQLite file, with its audit events kept in a list."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from certwright.adcs.events import CaEvent
from certwright.database.base import Connection
from certwright.database.opening import Database, sqlite_url
from certwright.directory.administration import DirectoryAdministration
from certwright.directory.local import EmbeddedDirectory
from certwright.keystores.sealing import Sealer
from tests.support.tables import new_sqlite_url

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ACTOR = r"CORP\Administrator"
PASSWORD = "correct horse battery staple"


@dataclass
class Installed:
    """A directory, its administration and what was audited."""

    database: Database
    sealer: Sealer
    events: list[CaEvent] = field(default_factory=list)
    refuse_to_audit: bool = False
    directory: EmbeddedDirectory = field(init=False)
    administration: DirectoryAdministration = field(init=False)

    def __post_init__(self) -> None:
        self.directory = EmbeddedDirectory(self.database, self.sealer)
        self.administration = DirectoryAdministration(
            self.database, self.sealer, self._record, lambda: NOW, self.directory
        )

    def _record(self, connection: Connection, event: CaEvent) -> None:
        assert connection.in_transaction
        if self.refuse_to_audit:
            raise OSError("the audit trail cannot be written")
        self.events.append(event)

    def create_domain(self) -> None:
        """The domain corp.example and its Administrator, who may use NTLM."""
        self.administration.create_domain(
            "corp.example", "CORP", administrator_password=PASSWORD, administrator_ntlm=True, actor="operator"
        )

    def stock(self) -> None:
        """The default templates, and one CA that publishes the usual ones."""
        self.administration.install_default_templates(("corp.example",), actor="operator")
        self.administration.set_enrollment_service("Corp CA", "ca.corp.example", b"\x30\x00", actor="operator")
        self.administration.publish_defaults("Corp CA", actor="operator")


@functools.cache
def _made(stocked: bool) -> dict[str, bytes]:
    """Database and master key of a directory made once for all tests."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        database = Database.open(new_sqlite_url(folder))
        made = Installed(database, Sealer.create(folder / "master.key"))
        made.create_domain()
        if stocked:
            made.stock()
        database.close()
        return {path.name: path.read_bytes() for path in folder.iterdir()}


@contextmanager
def installed(folder: Path, *, stocked: bool = False) -> Iterator[Installed]:
    """A directory of a test's own: a copy of one that was made once."""
    for name, data in _made(stocked).items():
        path = folder / name
        path.touch(0o600)
        path.write_bytes(data)
    database = Database.open(sqlite_url(folder / "certwright.db"))
    try:
        yield Installed(database, Sealer(folder / "master.key"))
    finally:
        database.close()
