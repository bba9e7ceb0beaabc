"""`kill -9` in the middle of devices' enrollments: every retry gets its certificate, and nobody gets a second one."""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar, Final

import pytest

from certwright.ca.database import RequestState
from certwright.server.composition import Installation
from certwright.server.device_setup import DeviceSetup
from certwright.server.home import Home
from certwright.wire.scep import PkiStatus
from tests.support.devices import Fleet, over_http
from tests.support.scep import Device
from tests.support.server import DOMAIN, RunningServer
from tests.unit.ndes.test_policy_modules import listening

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
        assert Counter(row.state.name for row in rows) == {"ISSUED": DEVICES}
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


class Mdm(BaseHTTPRequestHandler):
    """Says yes to every device, and takes notices once it is told to."""

    takes = threading.Event()
    notices: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        told = self.headers["X-Certwright-Event"] == "ndes.notify"
        if told:
            self.notices.append(self.headers["X-Certwright-Delivery"])
        self.send_response(200 if self.takes.is_set() or not told else 503)
        self.end_headers()
        self.wfile.write(b'{"accepted": true}')

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.timeout(120)
def test_a_notice_outlives_the_server(victim: RunningServer) -> None:
    """What a policy module was not told before the crash it is told after it."""
    prepared(victim, 1)
    with listening(ThreadingHTTPServer(("127.0.0.1", 0), Mdm)) as port:
        with Installation.open(Home.open(victim.home)) as installation:
            setup, operator = DeviceSetup(installation), installation.operator()
            setup.webhook_key(operator)
            setup.change({"policy": "webhook", "webhook-url": f"http://127.0.0.1:{port}/"}, operator)
        victim.start()
        device = Device(over_http(victim), f"kiosk.{DOMAIN}", 4321)
        assert device.enroll("whatever").status is PkiStatus.SUCCESS
        awaited(lambda: len(Mdm.notices) == 1)
        victim.kill()
        with sqlite3.connect(victim.home / "database.sqlite3") as connection:
            assert connection.execute("SELECT COUNT(*) FROM ndes_notice WHERE state = 0").fetchone() == (1,)
            connection.execute("UPDATE ndes_notice SET next_try = 0")  # a minute passes
        connection.close()
        Mdm.takes.set()
        victim.start()
        awaited(lambda: len(Mdm.notices) == 2)
        assert len(set(Mdm.notices)) == 1  # the same delivery
        awaited(lambda: victim.json("ndes", "list", "--notices")[0]["state"] == "taken")
    assert victim.stop() == 0


def awaited(happened: Callable[[], bool], patience: float = 30.0) -> None:
    deadline = time.monotonic() + patience
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)
