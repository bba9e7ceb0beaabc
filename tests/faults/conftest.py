"""Servers that tests of this folder may kill."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.installation import Mold
from tests.support.server import RunningServer


@pytest.fixture
def victim(mold: Mold, tmp_path: Path) -> Iterator[RunningServer]:
    """An installation on SQLite, not started."""
    yield from _lent(mold, tmp_path)


@pytest.fixture
def postgresql_victim(molds: Callable[[str], Mold], tmp_path: Path) -> Iterator[RunningServer]:
    """The same on PostgreSQL."""
    yield from _lent(molds("postgresql"), tmp_path)


def _lent(mold: Mold, folder: Path) -> Iterator[RunningServer]:
    home = mold.copy(folder)
    server = RunningServer(home.folder, home.settings.https_port, home.settings.http_port)
    yield server
    server.kill()
    mold.drop(home)
