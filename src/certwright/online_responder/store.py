"""Revocation configurations <-> rows. The only reader and writer of the room's table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from certwright.database import Connection, Database
from certwright.online_responder.configuration import RevocationConfiguration

_COLUMNS = "ca, enabled, settings, version"


@dataclass(frozen=True, slots=True)
class StoredConfiguration:
    """One row. `version` is raised by every change."""

    ca: str
    enabled: bool
    configuration: RevocationConfiguration
    version: int


def configurations(database: Database) -> Sequence[StoredConfiguration]:
    """All of them, by the names of their CAs."""
    with database.read() as connection:
        rows = connection.many(f"SELECT {_COLUMNS} FROM online_responder_configuration ORDER BY ca")  # noqa: S608
    return [
        StoredConfiguration(ca, bool(enabled), RevocationConfiguration.load(json.loads(settings)), version)
        for ca, enabled, settings, version in rows
    ]


def put(connection: Connection, ca: str, enabled: bool, configuration: RevocationConfiguration) -> None:
    """Write one, and raise its version."""
    connection.execute(
        "INSERT INTO online_responder_configuration (ca, enabled, settings, version) VALUES (?, ?, ?, 1)"
        " ON CONFLICT (ca) DO UPDATE SET enabled = excluded.enabled, settings = excluded.settings,"
        " version = online_responder_configuration.version + 1",
        (ca, enabled, json.dumps(configuration.as_settings(), sort_keys=True)),
    )
