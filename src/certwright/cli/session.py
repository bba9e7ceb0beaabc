"""One command's view of an installation: the options every command takes, and the operator it acts as.

Whoever can read the home folder acts as the domain's Administrator, or with `--as` as another account. Either way the
CA checks that account's rights: nothing at the command line skips the gate.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

if TYPE_CHECKING:
    from certwright.adcs.interfaces import CertAdmin, CertRequest
    from certwright.adcs.requester import Requester
    from certwright.server.composition import Installation

HomeOption = Annotated[
    Path | None,
    typer.Option(
        "--home", envvar="CERTWRIGHT_HOME", metavar="FOLDER", help="The home folder; ./certwright-home by default."
    ),
]
AsOption = Annotated[
    str, typer.Option("--as", metavar="ACCOUNT", help="Act as this account instead of the Administrator.")
]
CaOption = Annotated[
    str, typer.Option("--ca", metavar="NAME", help="Which CA, by its name; the issuing CA by default.")
]
UserOption = Annotated[
    str,
    typer.Option("--user", metavar="NAME", help="In a domain: write the directory as this account of it, this once."),
]
UserPasswordOption = Annotated[
    str,
    typer.Option(
        "--user-password-file",
        metavar="FILE",
        help="The first line is the password of --user; - reads standard input.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class DomainUser(NamedTuple):
    """An account of the domain that writes the directory for one command, instead of the service account."""

    name: str
    password_file: str


chosen_user: ContextVar[DomainUser | None] = ContextVar("chosen_user", default=None)
"""What the options of a noun said; the installation opened next takes it."""


class Session:
    """An opened installation and the account it is used as."""

    def __init__(self, installation: Installation, account: str) -> None:
        self.installation = installation
        self.operator: Requester = installation.operator(account)

    @property
    def actor(self) -> str:
        return self.operator.account

    def administer(self, ca: str = "") -> CertAdmin:
        return self.installation.registry.administer(ca, self.operator)

    def connect(self, ca: str = "") -> CertRequest:
        """The door. Its issuer runs in this process, beside the server's if there is one."""
        self.installation.start_issuers()
        return self.installation.registry.connect(ca, self.operator)


def home_folder(home: Path | None) -> Path:
    """The folder that was named, or the default."""
    from certwright.server.home import DEFAULT_HOME

    return home or DEFAULT_HOME


@contextmanager
def opened(home: Path | None, account: str = "") -> Iterator[Session]:
    """Open the installation for one command.

    Raises:
        ConfigurationError: there is none, or it cannot be used.
    """
    from certwright.server import logs
    from certwright.server.composition import Installation
    from certwright.server.home import Home
    from certwright.server.system_user import system_user

    logs.configure("error", "console")
    with Installation.open(Home.open(home_folder(home)), os_user=system_user()) as installation:
        user = chosen_user.get()
        if user is not None:
            chosen_user.set(None)
            write_as(installation, user)
        yield Session(installation, account)


def write_as(installation: Installation, user: DomainUser) -> None:
    """Let an account of the domain write the directory for this command. Its password is asked for, and not kept.

    Raises:
        InvalidArgument: the installation belongs to no domain, or there is no password.
    """
    from certwright.adcs.errors import InvalidArgument
    from certwright.cli.files import read_password
    from certwright.directory.active_directory.administration import JoinedAdministration

    administration = installation.directory_administration
    if not isinstance(administration, JoinedAdministration):
        raise InvalidArgument(
            "--user is for installations that belong to a domain; this one has a directory of its own"
        )
    administration.write_as(
        user.name, read_password(user.password_file, f"Password of {user.name}", "--user-password-file")
    )
