"""One command's view of an installation: the options every command takes, and the operator it acts as.

Whoever can read the home folder acts as the domain's Administrator, or with `--as` as another account. Either way the
CA checks that account's rights: nothing at the command line skips the gate.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


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

    logs.configure("error", "console")
    with Installation.open(Home.open(home_folder(home))) as installation:
        yield Session(installation, account)
