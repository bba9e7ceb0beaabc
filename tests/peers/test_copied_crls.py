"""CRLs copied from a web server of other people: what did not change is not sent again. RFC 9110 13.1."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from certwright.server.composition import Installation
from certwright.server.home import Home
from tests.support.copying import Clock, Elsewhere
from tests.support.foreign_ca import COMPROMISED
from tests.support.installation import Mold
from tests.support.nginx import nginx
from tests.support.server import free_ports

HTTP = """log_format told '$status $body_bytes_sent';
server {{ listen 127.0.0.1:{port}; root {folder}; access_log {log} told; }}"""


class Served(Elsewhere):
    """Its CRLs lie behind nginx."""

    log: Path
    url: str

    def told(self) -> list[str]:
        """The statuses that nginx answered with since this was asked last."""
        lines = self.log.read_text().splitlines()
        self.log.write_text("")
        return [line.split()[0] for line in lines]

    def put(self, crl: bytes, age: int) -> None:
        """Another file, so many seconds older than now: nginx tells files apart by size and time."""
        self.base.write_bytes(crl)
        when = self.ca.now.timestamp() - age
        os.utime(self.base, (when, when))

    def copy(self) -> tuple[list[str], list[str]]:
        return list(self.setup.copy(self.name, self.operator)), self.told()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def served(
    mold: Mold, new_folder: Callable[[], Path], clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Served]:
    home = mold.copy(new_folder())
    with Installation.open(home, clock=clock) as installation:
        allowed = replace(home.settings, webhook_allow=("127.0.0.0/8",))
        monkeypatch.setattr(installation, "home", Home(home.folder, allowed))
        (port,) = free_ports(1)
        made = Served(installation, clock, tmp_path, 1)
        made.log, made.url = tmp_path / "told.log", f"http://127.0.0.1:{port}/{made.base.name}"
        made.put(made.base.read_bytes(), age=100)
        with nginx(tmp_path / "nginx", port, HTTP.format(port=port, folder=tmp_path, log=made.log)):
            yield made


def test_what_did_not_change_is_not_sent_again_and_stays(served: Served) -> None:
    served.add(crl_urls=served.url)
    assert served.told() == ["200"]
    before = served.setup.standing(served.name).lists[0]

    served.clock.ahead = timedelta(minutes=5)
    assert served.copy() == ([], ["304"])

    after = served.setup.standing(served.name).lists[0]
    assert after.tried_when > before.tried_when
    assert replace(after, tried_when=before.tried_when) == before


def test_what_changed_is_sent_and_taken(served: Served) -> None:
    served.add(crl_urls=served.url)
    served.put(served.ca.crl({7: COMPROMISED}, number=6), age=50)
    served.told()

    assert served.copy() == ([], ["200"])
    assert served.copy() == ([], ["304"])
    facts = served.setup.standing(served.name).lists[0].facts
    assert facts is not None
    assert facts.number == 6


def test_an_error_between_is_told_and_the_next_answer_is_the_same(served: Served) -> None:
    served.add(crl_urls=served.url)
    hidden = served.base.rename(served.folder / "hidden")
    served.told()
    problems, told = served.copy()
    assert told == ["404"]
    assert "404" in problems[0]

    hidden.rename(served.base)
    assert served.copy() == ([], ["304"])
    assert served.setup.standing(served.name).lists[0].error == ""


def test_a_list_that_has_ended_is_fetched_whole(served: Served) -> None:
    """That it is the same as before would be no good news."""
    served.add(crl_urls=served.url)
    served.clock.ahead = timedelta(days=8)
    served.told()

    problems, told = served.copy()

    assert told == ["200"]
    assert "ended" in problems[0]


def test_when_something_else_is_taken_it_is_looked_at_again(served: Served) -> None:
    served.add(crl_urls=served.url)
    served.setup.change(served.name, {"scopes": "named"}, served.operator)
    served.told()

    assert served.copy() == ([], ["200"])
    assert served.copy() == ([], ["304"])
