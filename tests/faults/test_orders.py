"""`kill -9` of the manager while an order is at another CA: nothing is lost by it, and nothing is asked for twice.

Two installations: the manager's, which is killed, and the CA's. Between them stands a relay that knows when the CA
has recorded the request, and holds its answer back for ever.
"""

from __future__ import annotations

import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Final

import pytest
import requests

from tests.support.installation import PASSWORD, People
from tests.support.server import DOMAIN, RunningServer
from tests.support.site import Site

ACCOUNT: Final = "orderer"
NAME: Final = f"cut-off.{DOMAIN}"
_CHUNK: Final = 65536


class Relay:
    """Passes bytes on between a client and a port, as long as `may_pass` says so; then it cuts the connection."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.may_ask: Callable[[], bool] = lambda: True
        self.may_answer: Callable[[], bool] = lambda: True
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                for one, other, may_pass in (
                    (client, server, lambda: self.may_ask()),
                    (server, client, lambda: self.may_answer()),
                ):
                    threading.Thread(target=self._pass_on, args=(one, other, may_pass), daemon=True).start()

    @staticmethod
    def _pass_on(source: socket.socket, target: socket.socket, may_pass: Callable[[], bool]) -> None:
        with suppress(OSError):
            while (data := source.recv(_CHUNK)) and may_pass():
                target.sendall(data)
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def close(self) -> None:
        self._listener.close()


def place(site: Site) -> requests.Response:
    """A new request, as the page sends it."""
    return site.post(
        "/adcs/orders/new/",
        domain=DOMAIN,
        template="WebServer",
        source="make",
        common_name=NAME,
        names=f"DNS:{NAME}",
        algorithm="ecdsa-p256",
        fetch="on",
    )


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Somebody else's AD CS, as far as the manager knows."""
    running = RunningServer.initialise(tmp_path_factory.mktemp("ca")).start("serve")
    running.cli("account", "add", ACCOUNT, "--ntlm", data=f"{PASSWORD}\n")
    running.cli("template", "grant", "WebServer", "--enroll", ACCOUNT)
    yield running
    running.stop()


@pytest.fixture
def relay(ca: RunningServer) -> Iterator[Relay]:
    made = Relay(ca.https_port)
    yield made
    made.close()


@pytest.fixture
def manager(victim: RunningServer, ca: RunningServer, relay: Relay) -> RunningServer:
    """The victim with a service behind the relay, read once, running."""
    victim.cli("device-user", "add", "Orders", "-u", rf"CORP\{ACCOUNT}", data=f"{PASSWORD}\n")
    victim.cli(
        *("service", "add", "localhost", "-d", DOMAIN, "-u", "Orders", "--port", str(relay.port)),
        *("--ca-file", ca.root_certificate),
    )
    victim.cli("service", "refresh")
    return victim.start("serve")


def recorded(ca: RunningServer) -> int:
    """How many requests for our name the CA has."""
    with sqlite3.connect(ca.home / "database.sqlite3") as connection:
        (count,) = connection.execute("SELECT count(*) FROM ca_request WHERE common_name = ?", (NAME,)).fetchone()
    connection.close()
    return int(count)


def killed_when(manager: RunningServer, is_time: Callable[[], bool]) -> Callable[[], bool]:
    """What a relay asks before it passes something on: once it is time, the manager ends and nothing passes."""
    lock = threading.Lock()
    victims = [manager.process]

    def may_pass() -> bool:
        with lock:
            if not is_time():
                return True
            if manager.process is not None and manager.process in victims:  # not the one that was started after it
                manager.kill()
            return False

    return may_pass


def orders(manager: RunningServer) -> Any:
    return manager.json("order", "list")


@pytest.mark.slow
def test_an_answer_that_a_killed_manager_never_saw_is_found_again(
    manager: RunningServer, ca: RunningServer, relay: Relay
) -> None:
    """Killed after the CA recorded and issued, before the manager stored: found by its key, never asked for again."""
    before = recorded(ca)
    relay.may_answer = killed_when(manager, lambda: recorded(ca) > before)
    site = Site(manager, People.ADMINISTRATOR, PASSWORD)
    with pytest.raises(requests.ConnectionError):
        place(site)
    relay.may_answer = lambda: True
    assert manager.process is None
    assert recorded(ca) == before + 1

    manager.start("serve")
    (lost,) = orders(manager)
    manager.cli("order", "look-for", str(lost["id"]))
    (found,) = orders(manager)
    held = manager.json("inventory", "list", "--text", NAME)

    assert lost["state"] == "answer lost"
    assert (found["state"], found["id"]) == ("issued", lost["id"])
    assert [each["key_held"] for each in held] == [True]  # the key was stored before anything left
    assert recorded(ca) == before + 1


@pytest.mark.slow
def test_an_order_whose_request_never_arrived_is_not_sent_twice(
    manager: RunningServer, ca: RunningServer, relay: Relay
) -> None:
    """Killed with the first byte on its way: nobody knows, so it is looked for, and is not sent again for now."""
    before = recorded(ca)
    site = Site(manager, People.ADMINISTRATOR, PASSWORD)
    relay.may_ask = killed_when(manager, lambda: True)
    with pytest.raises(requests.ConnectionError):
        place(site)
    relay.may_ask = lambda: True

    manager.start("serve")
    (lost,) = orders(manager)
    manager.cli("order", "look-for", str(lost["id"]))
    (after,) = orders(manager)

    assert lost["state"] == after["state"] == "answer lost"
    assert recorded(ca) == before
    assert manager.run("order", "resubmit", str(lost["id"])).returncode == 1
