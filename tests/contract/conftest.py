"""The implementations that each contract is held against."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from certwright.adcs.properties import CaType
from certwright.audit.trail import AuditTrail
from certwright.ca.database import CaDatabase
from certwright.ca.store import SqlCaDatabase, create_ca
from certwright.database import Database
from certwright.server.composition import Installation
from certwright.server.device_setup import DeviceSetup
from tests.support import scep_house
from tests.support.ca_rows import SETTINGS
from tests.support.doors import CERT_ADMIN, DATABASES, Site
from tests.support.installation import Mold
from tests.support.memory_ca_database import MemoryCaDatabase
from tests.support.scep_house import House
from tests.support.tables import new_sqlite_url

_names = (f"Corp Issuing CA {number}" for number in count(1))


@pytest.fixture(scope="session")
def shared_postgresql(postgresql_with_tables: Callable[[], str]) -> str:
    """One database; every test makes a CA of its own in it, beside those of the others."""
    return postgresql_with_tables()


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], CaDatabase]]:
    """Opens the same CA again and again, as several processes would."""
    if request.param == "memory":
        memory = MemoryCaDatabase(next(_names), settings=SETTINGS, parent="Corp Root CA")
        yield lambda: memory
        return
    if request.param == "sqlite":
        url = new_sqlite_url(tmp_path, "ca.db")
    else:
        url = request.getfixturevalue("shared_postgresql")
    opened: list[Database] = []

    def open_again() -> CaDatabase:
        opened.append(Database.open(url))
        return SqlCaDatabase(opened[-1], AuditTrail(opened[-1]), ca_id)

    database = Database.open(url)
    opened.append(database)
    with database.transaction() as connection:
        create_ca(connection, f"neighbour of {next(_names)}", CaType.ENTERPRISE_ROOT, "", {})
        ca_id = create_ca(connection, next(_names), CaType.ENTERPRISE_SUBORDINATE, "Corp Root CA", SETTINGS)
    yield open_again
    for each in opened:
        each.close()


@pytest.fixture
def ca(opener: Callable[[], CaDatabase]) -> CaDatabase:
    return opener()


@pytest.fixture(scope="module", params=DATABASES)
def installation(
    request: pytest.FixtureRequest, molds: Callable[[str], Mold], new_folder: Callable[[], Path]
) -> Iterator[Installation]:
    with molds(request.param).opened(new_folder()) as opened:
        yield opened


@pytest.fixture(params=list(CERT_ADMIN))
def site(request: pytest.FixtureRequest, installation: Installation) -> Site:
    """An installation that tests of one module share: who changes a setting, changes it back."""
    return Site(CERT_ADMIN[request.param](installation), installation)


@pytest.fixture(params=[(connector, database) for connector in CERT_ADMIN for database in DATABASES], ids="-".join)
def own(request: pytest.FixtureRequest, molds: Callable[[str], Mold], tmp_path: Path) -> Iterator[Site]:
    """An installation of a test's own."""
    connector, database = request.param
    with molds(database).opened(tmp_path) as opened:
        yield Site(CERT_ADMIN[connector](opened), opened)


@pytest.fixture(scope="module")
def with_ndes(installation: Installation) -> Installation:
    DeviceSetup(installation).enable(installation.operator())
    return installation


@pytest.fixture
def house(with_ndes: Installation) -> Iterator[House]:
    """NDES of an installation that tests of one module share."""
    with scep_house.opened(with_ndes) as opened:
        yield opened
