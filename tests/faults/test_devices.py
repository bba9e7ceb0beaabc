"""`kill -9` in the middle of devices' enrollments: every retry gets its certificate, and nobody gets a second one."""

from __future__ import annotations

import random
import sqlite3
import time
from collections import Counter
from typing import Final

import pytest

from certwright.ca.database import RequestState
from certwright.server.composition import Installation
from certwright.server.device_setup import DeviceSetup
from certwright.server.home import Home
from tests.support.devices import Fleet
from tests.support.server import RunningServer

KILLS: Final = 6
DEVICES: Final = 24


def prepared(server: RunningServer, count: int) -> list[str]:
    """NDES on, and one-time challenges."""
    with Installation.open(Home.open(server.home)) as installation:
        installation.start()
        setup, operator = DeviceSetup(installation), installation.operator()
        setup.change({"general-purpose-template": "WebServer", "challenge-cache": str(count)}, operator)
        setup.enable(operator)
        return [setup.challenge(operator) for _ in range(count)]


def a_minute_passes(server: RunningServer) -> None:
    """Between the death of a process and the retry, for what it had promised and not done."""
    with sqlite3.connect(server.home / "database.sqlite3") as connection:
        connection.execute("UPDATE ndes_transaction SET changed = changed - 120 WHERE state = 0")
    connection.close()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_device_gets_one_certificate_whenever_the_server_dies(victim: RunningServer) -> None:
    challenges = prepared(victim, DEVICES)
    chance = random.Random(20260304)
    victim.start()
    fleet = Fleet(victim, challenges)
    share = DEVICES // KILLS
    try:
        for number in range(KILLS):
            fleet.start(slice(number * share, (number + 1) * share))
            time.sleep(chance.random() * 0.12)  # anywhere between the first byte and the last answer
            victim.kill()
            a_minute_passes(victim)
            victim.start()
        fleet.await_more(DEVICES)
    finally:
        fleet.stop()
    assert victim.stop() == 0
    assert fleet.surprises == []
    examine(victim, fleet)


def examine(server: RunningServer, fleet: Fleet) -> None:
    """One row at the CA and one certificate for each device, the one that it was given."""
    with Installation.open(Home.open(server.home)) as installation:
        database = installation.cas[0].authority.database
        rows = DeviceSetup(installation).devices(1000)
        # what the CA said is noted with the next commit: killed before it, a device has its answer, and the row waits
        assert len(rows) == DEVICES
        assert {row.state.name for row in rows} <= {"ISSUED", "SUBMITTING"}
        subjects: Counter[str] = Counter()
        number = 1
        while (record := database.request(number)) is not None:
            if record.template == "WebServer":
                subjects[record.subject] += 1
                assert record.state is RequestState.ISSUED
            number += 1
        assert set(subjects.values()) == {1}
        assert len(subjects) == DEVICES
        for host, certificate in fleet.certificates.items():
            found = database.request_by_serial(certificate.serial_number)
            assert found is not None
            assert host in found.subject
        used = DeviceSetup(installation).challenges(1000)
        assert all(each.used is not None for each in used)
        assert not database.request_ids_in(RequestState.ACTIVE)


@pytest.mark.timeout(120)
def test_a_hundred_devices_at_once_are_all_answered(victim: RunningServer) -> None:
    """In small form; `python -m bench devices` measures how long the slowest waits."""
    challenges = prepared(victim, 100)
    victim.start()
    fleet = Fleet(victim, challenges, first=100).start()
    try:
        fleet.await_more(100, 60)
    finally:
        fleet.stop()
    assert fleet.surprises == []
    assert fleet.statuses == []
    assert len({certificate.serial for certificate in fleet.certificates.values()}) == 100
