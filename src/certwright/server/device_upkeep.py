"""What devices' requests and the policy modules of NDES are owed after a crash, and on a clock.

Requests that a process left in the middle are settled by what our CAs have of them; notices that were not taken are
told again. The serving process does so at its start (`network_devices`), the worker all the time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Final

import structlog

from certwright.adcs.interfaces import Comparison, Restriction, Sort, Table
from certwright.adcs.request import Response
from certwright.ca.database import CaDatabase
from certwright.database import DatabaseError
from certwright.ndes import store
from certwright.ndes.challenges import Challenges
from certwright.ndes.modules import PolicyKeeper
from certwright.ndes.notebook import Kept
from certwright.ndes.notices import Notices
from certwright.ndes.policy import Outcome, PolicyModule, PolicyUnavailable
from certwright.ndes.requests import Find, kept_notice, not_told, tell
from certwright.ndes.unfinished import Look, Unfinished
from certwright.server.composition import Installation

log = structlog.get_logger(__name__)

WEBHOOK_KEY: Final = "ndes/webhook-key"
"""What the sealed signing key of a webhook is bound to."""
_PAGE: Final = 500
_CLOCKS: Final = 300
"""Seconds by which the clocks of hosts that write to one database may differ."""


def challenges(installation: Installation, service: str = "") -> Challenges:
    """A service's settings and challenges."""
    return Challenges(
        installation.database, installation.directory, installation.audit.append, installation.clock, service
    )


def policy_keeper(installation: Installation, own: Challenges) -> PolicyKeeper:
    """The policy module of a service. Close it when done."""

    def unseal(sealed: str) -> str:
        return installation.sealer.open(bytes.fromhex(sealed), WEBHOOK_KEY).decode("ascii")

    def ca_certificate() -> bytes:
        return installation.chain(own.settings().ca)[0]

    return PolicyKeeper(own, unseal, installation.clock, ca_certificate)


class ServiceTelling:
    """The policy module of one service, as far as it is told things: `unfinished.Telling`. Close it when done."""

    def __init__(self, installation: Installation, own: Challenges, policies: PolicyKeeper) -> None:
        self._own = own
        self._policies = policies
        self.notices = Notices(
            installation.database, own.service, installation.audit.append, installation.clock, self._module
        )

    def close(self) -> None:
        """The notices first: they are told by the module."""
        self.notices.close()
        self._policies.close()

    def notice(self, outcome: Outcome) -> Kept | None:
        try:
            return kept_notice(self.notices, self._module(), outcome)
        except PolicyUnavailable as error:
            not_told(outcome.transaction, error)
            return None

    def directly(self, outcome: Outcome) -> None:
        try:
            tell(self._module(), outcome)
        except PolicyUnavailable as error:
            not_told(outcome.transaction, error)

    def _module(self) -> PolicyModule:
        return self._policies.of(self._own.settings())


# -- on a clock ------------------------------------------------------------------------------------------------------


def settle_overdue(installation: Installation, _now: datetime) -> None:
    """Settle requests that a process left in the middle more than a minute ago."""
    opened: dict[str, ServiceTelling] = {}

    def telling(service: str) -> ServiceTelling:
        if service not in opened:
            opened[service] = _telling(installation, service)
        return opened[service]

    try:
        Unfinished(installation.database, look(installation), telling, installation.clock).overdue()
    finally:
        for each in opened.values():
            each.close()


def tell_notices(installation: Installation, now: datetime) -> None:
    """Tell policy modules what waits for them.

    Raises:
        PolicyUnavailable: a module does not come up; its notices wait.
    """
    with installation.database.read() as connection:
        services = store.services_with_notices(connection, int(now.timestamp()))
    failed: PolicyUnavailable | None = None
    for service in services:
        with _closing(_telling(installation, service)) as telling:
            try:
                telling.notices.tell_due()
            except PolicyUnavailable as error:
                failed = error
    if failed is not None:
        raise failed


def _telling(installation: Installation, service: str) -> ServiceTelling:
    own = challenges(installation, service)
    return ServiceTelling(installation, own, policy_keeper(installation, own))


@contextmanager
def _closing(telling: ServiceTelling) -> Iterator[ServiceTelling]:
    try:
        yield telling
    finally:
        telling.close()


# -- what our CAs have -----------------------------------------------------------------------------------------------


def find_one(installation: Installation) -> Find:
    """Finds the CA's request of one marked submission."""

    def find(ca: str, attributes: str, since: int) -> int | None:
        database = installation.ca(ca).authority.database
        return _marked(database, {attributes}, since).get(attributes)

    return find


def look(installation: Installation) -> Look:
    """Finds those of many, with their answers, in every CA: a service may have another one since."""

    def found(service: str, attributes: Collection[str], since: int) -> Mapping[str, Response]:
        answers: dict[str, Response] = {}
        first = installation.ca(challenges(installation, service).settings().ca)
        for ca in (first, *(each for each in installation.cas if each is not first)):
            database = ca.authority.database
            wanted = set(attributes) - answers.keys()
            for marked, request_id in _marked(database, wanted, since).items() if wanted else ():
                answers[marked] = _answer(database, request_id)
        return answers

    return found


def _answer(database: CaDatabase, request_id: int) -> Response:
    record = database.request(request_id)
    assert record is not None
    certificate = database.certificate_der(request_id) if record.certificate else None
    return Response(request_id, record.state.disposition, record.status, record.message, certificate)


def _marked(database: CaDatabase, wanted: Collection[str], since: int) -> Mapping[str, int]:
    """Requests by their attributes, which are marked. Asked only after a process died in the middle of one, or while
    another thread is at it: goes back from the newest request to the time of the submission."""
    found: dict[str, int] = {}
    columns = ("request_id", "submitted_when", "attributes")
    where: tuple[Restriction, ...] = ()
    while True:
        rows = list(database.view(Table.REQUESTS, where, columns, Sort("request_id", descending=True), _PAGE))
        for row in rows:
            if _seconds(row["submitted_when"]) < since - _CLOCKS:
                return found
            attributes = str(row["attributes"])
            if attributes in wanted:
                found.setdefault(attributes, int(str(row["request_id"])))
                if len(found) == len(wanted):
                    return found
        if len(rows) < _PAGE:
            return found
        where = (Restriction("request_id", Comparison.LESS, int(str(rows[-1]["request_id"]))),)


def _seconds(value: object) -> int:
    return int(value.timestamp()) if isinstance(value, datetime) else int(str(value))


# -- at a start ------------------------------------------------------------------------------------------------------


def settle_after_start(installation: Installation, unfinished: Unfinished, owner: str) -> None:
    """Settle what processes before this one left. What is not settled now is by the worker.

    Args:
        owner: this process, which holds the lock that it is called by.
    """
    on_this_system = installation.database.dialect == "sqlite"

    def is_gone(other: str) -> bool:
        if owner and other == owner:
            return True
        return on_this_system and _boot(other) != _boot(owner)

    try:
        unfinished.after_start(is_gone)
    except DatabaseError as error:
        log.error("device_requests_not_settled", error=str(error))


def _boot(owner: str) -> str:
    """Which start of its system a process belongs to."""
    return owner.partition(":")[0]
