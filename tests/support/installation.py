"""A whole installation in this process: made once a session, copied for whoever needs one of their own.

`People` names accounts by what they may do; `GateTemplates` the templates that the tables of the tests speak of.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Final

import pytest

from certwright.adcs.template import EnrollmentFlag, NameRule, NameRules, OutsideRules
from certwright.directory.base import PrincipalKind
from certwright.keystores.base import KeyAlgorithm
from certwright.server.composition import Installation
from certwright.server.home import CONFIGURATION, SQLITE, Home, Settings
from certwright.server.initialization import Plan, initialize
from tests.support.postgresql import PostgresqlServer
from tests.support.server import DOMAIN, NETBIOS, free_ports

PASSWORD: Final = "correct horse battery staple"
ISSUING: Final = f"{NETBIOS} Issuing CA"
ROOT: Final = f"{NETBIOS} Root CA"
OPERATOR: Final = r"CORP\Administrator"

ENROLLEES: Final = "Web Enrollees"


class People:
    """Accounts, by what they may do."""

    ADMINISTRATOR: Final = "Administrator"  # holds every role
    CA_ADMINISTRATOR: Final = "cara"
    OFFICER: Final = "olga"
    AUDITOR: Final = "ada"
    BACKUP: Final = "boris"
    ENROLLEE: Final = "wanda"  # may enroll for the templates of these tests
    PLAIN: Final = "alice"
    OTHER: Final = "bob"
    GONE: Final = "gideon"  # might enroll, and is disabled
    COMPUTER: Final = "SRV1$"
    DOMAIN_CONTROLLER: Final = "DC1$"


_GROUPS: Final = {
    People.CA_ADMINISTRATOR: "CA Administrators",
    People.OFFICER: "Certificate Managers",
    People.AUDITOR: "CA Auditors",
    People.BACKUP: "CA Backup Operators",
}
_USERS: Final = (*_GROUPS, People.ENROLLEE, People.PLAIN, People.OTHER, People.GONE)
_ENROLLEES: Final = (People.CA_ADMINISTRATOR, People.OFFICER, People.ENROLLEE, People.GONE, People.COMPUTER)


class GateTemplates:
    """Templates of the gate table beside the stock ones."""

    APPROVAL: Final = "ApprovedWebServer"  # WebServer that wants a manager's approval
    STRICT: Final = "StrictWebServer"  # WebServer that denies names outside its rules
    SHORT: Final = "ShortWebServer"  # WebServer for a week


@dataclass(frozen=True)
class Mold:
    """A home that nobody opens; `copy` makes another one of it.

    A copy serves the same ports, so only one of them can run at a time.
    """

    home: Home
    postgresql: PostgresqlServer | None = None

    @classmethod
    def make(cls, folder: Path, postgresql: PostgresqlServer | None = None) -> Mold:
        database = SQLITE if postgresql is None else postgresql.create()
        https_port, http_port = free_ports(2)
        settings = Settings("localhost", https_port, http_port, database_url=database, log_format="json")
        plan = Plan.make(
            settings,
            dns_domain=DOMAIN,
            netbios=NETBIOS,
            root_key=KeyAlgorithm.ECDSA_P256,
            ca_key=KeyAlgorithm.ECDSA_P256,
            password=PASSWORD,
        )
        home = initialize(folder / "mold", plan)
        with Installation.open(home) as installation:
            populate(installation)
        return cls(home, postgresql)

    def copy(self, folder: Path) -> Home:
        """A home of one's own, with its own database."""
        copied = folder / "home"
        shutil.copytree(self.home.folder, copied)
        if self.postgresql is not None:
            name = self.postgresql.name_of(self.home.settings.database_url)
            settings = replace(self.home.settings, database_url=self.postgresql.create(name))
            (copied / CONFIGURATION).write_text(settings.to_toml())
        return Home.open(copied)

    def drop(self, home: Home) -> None:
        """Let the database of a copy go; its folder goes with the test."""
        if self.postgresql is not None:
            self.postgresql.drop(home.settings.database_url)

    @contextmanager
    def opened(self, folder: Path) -> Iterator[Installation]:
        """A copy, taking submissions."""
        home = self.copy(folder)
        try:
            with Installation.open(home) as installation:
                installation.start()
                yield installation
        finally:
            self.drop(home)


def populate(installation: Installation) -> None:
    """The accounts of `People` and the templates of `GateTemplates`, published."""
    directory = installation.directory_administration
    for name in _USERS:
        directory.add_account(
            name,
            password=PASSWORD,
            groups=[_GROUPS[name]] if name in _GROUPS else [],
            ntlm=True,
            mail=f"{name}@{DOMAIN}",
            actor=OPERATOR,
        )
    for computer, groups in ((People.COMPUTER, []), (People.DOMAIN_CONTROLLER, ["Domain Controllers"])):
        directory.add_account(
            computer,
            PrincipalKind.COMPUTER,
            PASSWORD,
            groups=groups,
            ntlm=True,
            dns_host_name=f"{computer.rstrip('$').lower()}.{DOMAIN}",
            actor=OPERATOR,
        )
    directory.set_attributes(People.ADMINISTRATOR, mail=f"administrator@{DOMAIN}", actor=OPERATOR)
    group = directory.add_group(ENROLLEES, members=_ENROLLEES, actor=OPERATOR)
    directory.set_enabled(People.GONE, False, actor=OPERATOR)
    web_server = directory.template("WebServer")
    inside = NameRules((NameRule(dns_suffixes=(DOMAIN,)),))
    made = (
        replace(
            web_server,
            cn=GateTemplates.APPROVAL,
            enrollment_flag=web_server.enrollment_flag | EnrollmentFlag.PEND_ALL_REQUESTS,
        ),
        replace(web_server, cn=GateTemplates.STRICT, name_rules=replace(inside, outside=OutsideRules.DENY)),
        replace(
            web_server,
            cn=GateTemplates.SHORT,
            validity_period=timedelta(days=7),
            renewal_period=timedelta(days=1),
        ),
    )
    for template in made:
        own = replace(template, display_name=template.cn, oid="")
        directory.put_template(own, actor=OPERATOR)
        directory.publish(ISSUING, own.cn, actor=OPERATOR)
    directory.publish(ISSUING, "SmartcardUser", actor=OPERATOR)
    for cn in ("WebServer", "SubCA", "SmartcardUser", "Workstation", *(template.cn for template in made)):
        directory.grant(cn, group.sid, enroll=True, accept_risks=["ESC1", "ESC2", "ESC17"], actor=OPERATOR)


# -- fixtures --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def mold(tmp_path_factory: pytest.TempPathFactory) -> Mold:
    """The installation on SQLite."""
    return Mold.make(tmp_path_factory.mktemp("mold"))


@pytest.fixture(scope="session")
def postgresql_mold(tmp_path_factory: pytest.TempPathFactory, postgresql: PostgresqlServer) -> Mold:
    """The installation on PostgreSQL."""
    return Mold.make(tmp_path_factory.mktemp("mold"), postgresql)


@pytest.fixture(scope="session")
def molds(request: pytest.FixtureRequest) -> Callable[[str], Mold]:
    """The mold on a database by its name, made when somebody first asks for it."""
    names = {"sqlite": "mold", "postgresql": "postgresql_mold"}

    def find(database: str) -> Mold:
        found = request.getfixturevalue(names[database])
        assert isinstance(found, Mold)
        return found

    return find


_numbers = count(1)


@pytest.fixture(scope="session")
def new_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Folders for fixtures that live longer than one test."""
    return lambda: tmp_path_factory.mktemp(f"own{next(_numbers)}")
