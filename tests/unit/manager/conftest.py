"""A manager of a test's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.managing import Managed, managed


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Managed]:
    with managed(tmp_path) as made:
        yield made
