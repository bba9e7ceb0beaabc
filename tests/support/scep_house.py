"""NDES in this process, with everything around it that a test of its gate turns."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from certwright.adcs.interfaces import Table
from certwright.ndes.challenges import Challenges
from certwright.ndes.settings import MEANINGS
from certwright.server import device_upkeep
from certwright.server.composition import Installation
from certwright.server.device_setup import DeviceSetup
from certwright.wire.scep import FailInfo, PkiStatus
from tests.support.doors import Local
from tests.support.installation import People
from tests.support.scep import Answer, Ask, Device, serving
from tests.support.server import DOMAIN

key_numbers = iter(range(100, 10_000))
"""Of keys that nobody else has."""


@dataclass
class House:
    """The service in this process."""

    installation: Installation
    ask: Ask
    challenges: Challenges
    numbers: Iterator[int]

    def device(self, host: str = f"router1.{DOMAIN}") -> Device:
        """With a key that no other has."""
        return Device(self.ask, host, next(self.numbers))

    def challenge(self, template: str = "", *names: str) -> str:
        return self.challenges.give(self.installation.operator(), template, names)

    def set(self, **changes: str) -> None:
        wanted = {key.replace("_", "-"): value for key, value in changes.items()}
        DeviceSetup(self.installation).change(wanted, self.installation.operator())

    def approve(self, request_id: int) -> None:
        Local(self.installation).administer(People.OFFICER).resubmit(request_id)

    def newest_request(self) -> int:
        rows = Local(self.installation).administer(People.OFFICER).view(Table.REQUESTS, columns=["request_id"])
        return max(int(str(row["request_id"])) for row in rows)

    def requests(self) -> int:
        return self.newest_request()


@contextmanager
def opened(installation: Installation) -> Iterator[House]:
    """Switched on, with WebServer for everybody; afterwards its settings are as before."""
    own = device_upkeep.challenges(installation)
    before = own.settings().as_text()
    with serving(installation) as ask:
        house = House(installation, ask, own, key_numbers)
        house.set(general_purpose_template="WebServer", challenge_cache="1000")
        yield house
    own.change_settings({key: before[key] for key in MEANINGS}, "tests")


def refused(answer: Answer, fail_info: FailInfo, pattern: str) -> None:
    assert (answer.status, answer.fail_info) == (PkiStatus.FAILURE, fail_info), answer
    assert re.search(pattern, answer.text), answer.text
    assert answer.certificates == ()
