"""A room of notifications for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.notifying import Notifying, notifying
from tests.support.receivers import Receiver, webhook_receiver


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Notifying]:
    with notifying(tmp_path) as made:
        yield made


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with webhook_receiver() as made:
        yield made
