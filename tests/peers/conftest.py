"""One running server for other people's clients, with accounts that may do different things."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from certwright.server.composition import Installation
from certwright.server.home import Home
from tests.support.installation import Mold
from tests.support.server import RunningServer


@pytest.fixture(scope="package")
def server(mold: Mold, new_folder: Callable[[], Path]) -> Iterator[RunningServer]:
    """A server that everybody of this folder uses; at its end its log must not hold a fault."""
    home = mold.copy(new_folder())
    running = RunningServer(home.folder, home.settings.https_port, home.settings.http_port).start()
    yield running
    code = running.stop()
    assert code == 0
    assert "Traceback" not in "".join(running.log)
    assert [event for event in running.events() if event["level"] == "error"] == []


@pytest.fixture(scope="package")
def beside(server: RunningServer) -> Iterator[Installation]:
    """The same home opened in this process: looks into the database without a command for each."""
    with Installation.open(Home.open(server.home)) as installation:
        yield installation


@pytest.fixture(scope="module")
def ndes(server: RunningServer) -> RunningServer:
    """The server of this folder with NDES on, which issues from WebServer inside its name rules."""
    server.cli("ndes", "enable")
    server.cli("ndes", "set", "general-purpose-template=WebServer", "challenge-cache=100")
    return server
