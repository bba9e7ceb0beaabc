"""`certwright doctor`: what is wrong, and how it is put right."""

from __future__ import annotations

from typing import Annotated

import typer

from certwright.cli.domains import print_check
from certwright.cli.session import HomeOption, JsonOption, opened

commands = typer.Typer(help="What is wrong, and how to put it right.", no_args_is_help=True)


@commands.callback()
def group() -> None:
    """What is wrong, and how to put it right."""


@commands.command("domain")
def domain(
    alias: Annotated[
        list[str] | None,
        typer.Option("--alias", metavar="HOST", help="A further name of this host for clients; may be repeated."),
    ] = None,
    show_all: Annotated[bool, typer.Option("--all", help="Show also what is as it should be.")] = False,
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Look for what is wrong between this installation and its domain; exit status 1 when something is.

    DNS, ports, TLS, clock, service account, service names and keys, containers, templates, rights, time-outs, NTLM.
    """
    from certwright.cli.output import note, print_json
    from certwright.directory.active_directory.doctor import Check, Verdict, summary
    from certwright.server.domain_doctor import examine

    def report(check: Check) -> None:
        if not as_json and (show_all or check.verdict is not Verdict.GOOD):
            print_check(check)

    with opened(home) as session:
        examination = examine(session.installation, alias or (), report)
    if as_json:
        print_json({"sound": examination.is_sound, "checks": examination.checks})
    else:
        counts = (f"{count} {each.value}" for each, count in summary(examination.checks).items())
        note(f"{len(examination.checks)} checks: {', '.join(counts)}.")
    if not examination.is_sound:
        raise typer.Exit(1)
