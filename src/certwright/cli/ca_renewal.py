"""`certwright ca renew | suspend | resume`: the certificate of a CA in the years after its first."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from certwright.cli.establishing import follow, period_of, refuse_existing, write_request
from certwright.cli.initializing import KeyChoice
from certwright.cli.session import AsOption, CaOption, HomeOption, opened

commands = typer.Typer()

_OptionalName = Annotated[
    str, typer.Argument(metavar="[CA]", help="Which CA, by its name; the issuing CA by default.")
]


@commands.command("renew")
def renew(
    name: _OptionalName = "",
    ca: CaOption = "",
    new_key: Annotated[
        KeyChoice | None, typer.Option("--new-key", help="Make a new key of this kind; without it the key stays.")
    ] = None,
    validity: Annotated[
        str,
        typer.Option(
            "--validity",
            metavar="PERIOD",
            help="How long, as in '10 years'; 20 years for a root, else 10 by default.",
        ),
    ] = "",
    request: Annotated[
        Path | None,
        typer.Option("--request", metavar="FILE", help="A CA elsewhere signs it: where the request for that goes."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    as_account: AsOption = "",
    home: HomeOption = None,
) -> None:
    """Renew the certificate of a CA, with the same key or a new one.

    The old key goes on signing the CRLs of what it issued. A CA that was signed elsewhere needs --request, and its
    answer goes to: certwright ca install.
    """
    from certwright.adcs.errors import InvalidArgument
    from certwright.adcs.roles import CaAccess
    from certwright.ca.own_certificates import newest_of
    from certwright.cli.output import print_line
    from certwright.keystores.base import KeyAlgorithm
    from certwright.server import authorities

    with opened(home, as_account) as session:
        installation = session.installation
        installation.demand(session.operator, CaAccess.ADMINISTRATOR, name or ca)
        record = installation.ca(name or ca).authority.database.ca()
        if request is None and newest_of(record).chain:
            raise InvalidArgument(
                f"{record.name} was signed elsewhere: say with --request FILE where the request goes"
            )
        if request is not None:
            refuse_existing(request, force=force)
        asked = authorities.renew(
            installation,
            record.name,
            KeyAlgorithm(new_key.value) if new_key is not None else None,
            period_of(validity) if validity else None,
            session.operator,
            by_request=request is not None,
        )
        renewed = newest_of(installation.ca(record.name).authority.database.ca())
    if request is not None and asked is not None:
        write_request(request, asked, force=force)
        print_line(f"The request of {record.name} is in {request}; its answer goes to: certwright ca install FILE")
        return
    print_line(
        f"{record.name} has certificate {renewed.index} with key {renewed.key_index}, valid until"
        f" {renewed.not_after:%Y-%m-%d %H:%M}Z."
    )
    follow(home, as_account, record.name)


@commands.command("suspend")
def suspend(name: _OptionalName = "", ca: CaOption = "", as_account: AsOption = "", home: HomeOption = None) -> None:
    """Let a CA issue nothing for a while. It goes on revoking, publishing CRLs and answering what it issued."""
    _set_suspended(name or ca, as_account, home, suspended=True)


@commands.command("resume")
def resume(name: _OptionalName = "", ca: CaOption = "", as_account: AsOption = "", home: HomeOption = None) -> None:
    """Let a suspended CA issue again."""
    _set_suspended(name or ca, as_account, home, suspended=False)


def _set_suspended(ca: str, account: str, home: Path | None, *, suspended: bool) -> None:
    from certwright.cli.output import print_line

    with opened(home, account) as session:
        local = session.installation.ca(ca)
        session.administer(local.config).set_configuration({"suspended": "on" if suspended else "off"})
    state = "is suspended: it issues nothing until certwright ca resume" if suspended else "issues again"
    print_line(f"{local.authority.name} {state}.")
