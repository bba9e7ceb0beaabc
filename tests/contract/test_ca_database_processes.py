"""Several processes write to one CA, and one of them is killed: no number twice, nothing acknowledged is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from certwright.adcs.interfaces import Table
from certwright.adcs.properties import CaType
from certwright.audit.trail import AuditTrail
from certwright.ca.database import RequestState
from certwright.ca.store import SqlCaDatabase, create_ca, list_cas
from certwright.database import Database
from tests.support.tables import new_sqlite_url

WRITER = """
import sys
from datetime import UTC, datetime
from certwright.adcs.events import AuditEvent, CaEvent
from certwright.audit.trail import AuditTrail
from certwright.ca.store import SqlCaDatabase
from certwright.database import Database
from tests.support.ca_rows import certificate, request

url, batches, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
database = Database.open(url)
ca = SqlCaDatabase(database, AuditTrail(database), 1)
name = ca.ca().name
for _ in range(batches):
    done = []
    with ca.transaction() as transaction:
        for _ in range(size):
            request_id = transaction.next_request_id()
            transaction.add_request(request(request_id=request_id), b"raw %d" % request_id)
            transaction.add_certificate(request_id, certificate(0x10000 + request_id), b"der %d" % request_id)
            details = {"request_id": request_id}
            transaction.audit(CaEvent(AuditEvent.CERTIFICATE_ISSUED, datetime.now(UTC), name, "writer", details))
            done.append(request_id)
    print(*done, sep="\\n", flush=True)
"""


def start(url: str, batches: int, size: int) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", WRITER, url, str(batches), str(size)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        found = new_sqlite_url(tmp_path, "ca.db")
    else:
        make: Callable[[], str] = request.getfixturevalue("postgresql_with_tables")
        found = make()
    database = Database.open(found)
    with database.transaction() as connection:
        assert create_ca(connection, "Corp CA", CaType.ENTERPRISE_ROOT, "", {}) == 1
    database.close()
    return found


def check(url: str, acknowledged: list[int]) -> list[int]:
    """Everything that was acknowledged is there whole; returns all request IDs in the database."""
    database = Database.open(url)
    ca = SqlCaDatabase(database, AuditTrail(database), 1)
    assert len(acknowledged) == len(set(acknowledged))
    for request_id in acknowledged:
        found = ca.request(request_id)
        assert found is not None
        assert found.certificate is not None
        assert (ca.raw_request(request_id), ca.certificate_der(request_id)) == (
            b"raw %d" % request_id,
            b"der %d" % request_id,
        )
    recorded = [int(str(row["request_id"])) for row in ca.view(Table.ISSUED_CERTIFICATES, (), (), None, None)]
    trail = AuditTrail(database).verify(expected=["Corp CA"] if recorded else [])
    assert trail.broken == ()
    assert trail.checked == len(recorded)
    assert list(ca.request_ids_in(RequestState.ACTIVE)) == []
    assert [each.name for each in list_cas(database)] == ["Corp CA"]
    database.close()
    return recorded


def test_two_processes_write_to_one_ca_at_the_same_time(url: str) -> None:
    writers = [start(url, 15, 1), start(url, 15, 3)]
    acknowledged: list[list[int]] = []
    for writer in writers:
        output, _ = writer.communicate(timeout=60)
        assert writer.returncode == 0
        acknowledged.append([int(line) for line in output.split()])
    assert [len(each) for each in acknowledged] == [15, 45]
    assert all(each == sorted(each) for each in acknowledged)
    together = acknowledged[0] + acknowledged[1]
    assert check(url, together) == sorted(together) == list(range(1, 61))


def test_a_killed_writer_loses_nothing_it_acknowledged_and_blocks_nobody(url: str) -> None:
    acknowledged: list[int] = []
    for lines in (1, 7, 20):
        writer = start(url, 10_000, 4)
        assert writer.stdout is not None
        acknowledged += [int(writer.stdout.readline()) for _ in range(lines)]
        writer.send_signal(signal.SIGKILL)
        # what stands in the pipe was acknowledged too; a last line may be cut off
        rest = writer.stdout.read().split("\n")[:-1]
        acknowledged += [int(line) for line in rest]
        writer.stdout.close()
        assert writer.wait(10) == -signal.SIGKILL
    recorded = check(url, acknowledged)
    assert recorded == list(range(1, len(recorded) + 1))
