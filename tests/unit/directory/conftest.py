"""A fresh embedded directory for every test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.embedded_directory import Installed, installed


@pytest.fixture
def corp(tmp_path: Path) -> Iterator[Installed]:
    """The domain corp.example with its Administrator, without templates."""
    with installed(tmp_path) as made:
        yield made


@pytest.fixture
def stocked(tmp_path: Path) -> Iterator[Installed]:
    """The same with the default templates and one CA that publishes the usual ones."""
    with installed(tmp_path, stocked=True) as made:
        yield made
