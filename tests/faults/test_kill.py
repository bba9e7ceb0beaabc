"""`kill -9` at any moment: what was acknowledged is there, nothing is there twice, the next start repairs nothing.

A killed process, not a power failure: what the operating system was given stays.
"""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from typing import Final

import pytest
from cryptography import x509

from certwright.ca.database import RequestState
from certwright.server.composition import Installation
from certwright.server.home import Home
from tests.support.load import Load
from tests.support.server import RunningServer, environment

ROUNDS: Final = 50
STARTS: Final = 8
"""Rounds in which the process is killed while it starts."""


def kill_while_starting(server: RunningServer, delay: float) -> None:
    """A server that lives this long, ready or not."""
    process = subprocess.Popen(
        [sys.executable, "-m", "certwright", "run"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(server.home),
        cwd=server.home.parent,
    )
    time.sleep(delay)
    process.kill()
    process.wait(10)


def kill_under_load(server: RunningServer, load: Load, chance: random.Random) -> None:
    server.start()
    load.await_more(chance.randrange(1, 12))
    time.sleep(chance.random() * 0.15)
    server.kill()


def complaints(server: RunningServer) -> list[str]:
    """What a start had to say beyond its usual."""
    usual = {"started", "logon_accepted", "crl_made", "crl_published", "listener_certificate_enrolled"}
    return [event["event"] for event in server.events() if event["level"] != "info" and event["event"] not in usual]


def examine(server: RunningServer, load: Load) -> None:
    """Compare what clients were told with what another process finds in the database."""
    assert load.surprises == []
    twice = [request_id for request_id, count in Counter(load.acknowledged).items() if count > 1]
    assert twice == []
    serials = Counter(x509.load_der_x509_certificate(der).serial_number for der in load.certificates.values())
    assert max(serials.values()) == 1
    with Installation.open(Home.open(server.home)) as installation:
        database = installation.cas[0].authority.database
        lost = [number for number in load.acknowledged if database.request(number) is None]
        assert lost == []
        states = Counter(
            record.state for number in load.acknowledged if (record := database.request(number)) is not None
        )
        assert states == {RequestState.ISSUED: len(load.acknowledged)}
        kept = {number: database.certificate_der(number) for number in load.certificates}
        assert kept == load.certificates
        assert not database.request_ids_in(RequestState.ACTIVE)
        verified = installation.audit.verify()
        assert verified.broken == ()
        assert verified.checked > 2 * len(load.acknowledged)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_nothing_acknowledged_is_lost_and_nothing_is_used_twice(victim: RunningServer) -> None:
    """At least 50 kills at random points, a few of them during the start."""
    chance = random.Random(20260301)
    load = Load(victim).start()
    try:
        for number in range(ROUNDS):
            if number % (ROUNDS // STARTS) == 3:
                kill_while_starting(victim, chance.random() * 1.5)
            kill_under_load(victim, load, chance)
        victim.start()
        load.await_more(20)
    finally:
        load.stop()
    assert victim.stop() == 0

    assert len(load.acknowledged) > 2 * ROUNDS
    assert len(load.certificates) > ROUNDS
    examine(victim, load)
    assert complaints(victim) == []
    with sqlite3.connect(victim.home / "database.sqlite3") as connection:
        assert connection.execute("PRAGMA quick_check").fetchall() == [("ok",)]
        rows, serials = connection.execute(
            "SELECT count(*), count(DISTINCT ca_id || ' ' || serial_number) FROM ca_certificate"
        ).fetchone()
        orphans = connection.execute(
            "SELECT count(*) FROM ca_request r LEFT JOIN ca_certificate c ON c.id = r.id"
            f" WHERE r.state = {int(RequestState.ISSUED)} AND c.id IS NULL"
        ).fetchone()[0]
    connection.close()
    assert rows == serials
    assert orphans == 0


@pytest.mark.slow
def test_the_same_on_postgresql(postgresql_victim: RunningServer) -> None:
    chance = random.Random(20260302)
    load = Load(postgresql_victim).start()
    try:
        for _ in range(6):
            kill_under_load(postgresql_victim, load, chance)
        postgresql_victim.start()
        load.await_more(20)
    finally:
        load.stop()
    assert postgresql_victim.stop() == 0

    examine(postgresql_victim, load)
    assert complaints(postgresql_victim) == []
