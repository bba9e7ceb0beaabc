"""A stop under load, a database that somebody else holds, a database that goes away."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from typing import Any

import pytest

from certwright.ca.database import RequestState
from certwright.server.composition import Installation
from certwright.server.home import Home
from tests.support.installation import People
from tests.support.load import BasicSession, Load
from tests.support.server import RunningServer

HOLDER = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
time.sleep(float(sys.argv[2]))
connection.execute("ROLLBACK")
"""


def rows_of_clients(server: RunningServer) -> Counter[RequestState]:
    """The states of every request that came over the network."""
    with Installation.open(Home.open(server.home)) as installation:
        database = installation.cas[0].authority.database
        records = (database.request(number) for number in range(1, 20_000))
        return Counter(record.state for record in records if record is not None and record.caller_method != "Local")


def health(server: RunningServer) -> Any:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{server.http}/healthz", timeout=10) as answer:
        return json.load(answer)


def test_a_stop_under_load_finishes_what_it_took(victim: RunningServer) -> None:
    """SIGTERM: as many rows as acknowledgements, exit status 0, and soon."""
    victim.start()
    load = Load(victim, threads=8).start()
    load.await_more(40)
    begun = time.monotonic()
    code = victim.stop()
    took = time.monotonic() - begun
    load.stop()

    assert code == 0
    assert took < 8
    assert load.surprises == []
    assert len(set(load.acknowledged)) == len(load.acknowledged)
    assert rows_of_clients(victim) == {RequestState.ISSUED: len(load.acknowledged)}
    assert "Traceback" not in "".join(victim.log)


@pytest.mark.slow
def test_submissions_wait_for_a_database_that_somebody_else_holds(victim: RunningServer) -> None:
    """6 seconds: everybody is answered, nobody is refused, and pages and health go on meanwhile."""
    victim.start()
    load = Load(victim).start()
    load.await_more(8)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(victim.home / "database.sqlite3"), "6"], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    time.sleep(0.3)  # what was committing is acknowledged by now
    before = len(load.acknowledged)
    time.sleep(1.2)
    during = len(load.acknowledged)
    begun = time.monotonic()
    report = health(victim)
    asked = time.monotonic() - begun
    load.await_more(8)
    holder.stdout.close()
    assert holder.wait(10) == 0
    load.stop()
    assert victim.stop() == 0

    assert during == before
    assert report["status"] == "ok"
    assert asked < 4.0  # it is held for longer than that
    assert load.surprises == []
    assert rows_of_clients(victim) == {RequestState.ISSUED: len(load.acknowledged)}
    assert "Traceback" not in "".join(victim.log)


@pytest.mark.slow
def test_a_database_server_that_cuts_connections_costs_no_restart(
    postgresql_victim: RunningServer, postgresql: Any
) -> None:
    """Enroll, lose every connection, enroll again; stop and start, and all of it is there."""
    postgresql_victim.start()
    load = Load(postgresql_victim, threads=2).start()
    load.await_more(5)
    url = Home.open(postgresql_victim.home).settings.database_url
    for _ in range(3):
        postgresql.disconnect(url)
        load.await_more(5)
    load.stop()
    assert postgresql_victim.stop() == 0
    postgresql_victim.start()
    session = BasicSession(postgresql_victim, People.OFFICER)
    fetched = {number: session.fetch(number) for number in load.certificates}
    session.close()
    assert postgresql_victim.stop() == 0

    assert all(status == 200 for status, _ in fetched.values())
    assert all(load.certificates[number] == der for number, (_, der) in fetched.items())
    with Installation.open(Home.open(postgresql_victim.home)) as installation:
        database = installation.cas[0].authority.database
        kept = [database.certificate_der(number) for number in load.certificates]
        assert kept == list(load.certificates.values())
        assert installation.audit.verify().broken == ()
