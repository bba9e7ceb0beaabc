"""One running installation that most tests of this folder share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.server import RunningServer


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server everybody uses. Who stops it, starts it again."""
    running = RunningServer.initialise(tmp_path_factory.mktemp("shared")).start()
    yield running
    running.stop()
