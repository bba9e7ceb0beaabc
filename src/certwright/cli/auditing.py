"""`certwright audit`: the audit trail."""

from __future__ import annotations

from typing import Annotated

import typer

from certwright.cli.session import AsOption, HomeOption, JsonOption, opened

commands = typer.Typer(help="The audit trail: list and verify.", no_args_is_help=True)


@commands.command("list")
def list_events(
    ca: Annotated[
        str | None, typer.Option("--ca", metavar="NAME", help="Only of this CA; empty: of the installation itself.")
    ] = None,
    event: Annotated[int | None, typer.Option("--event", help="Only with this event number, such as 4887.")] = None,
    request_id: Annotated[int | None, typer.Option("--request", metavar="ID", help="Only of this request.")] = None,
    since: Annotated[str, typer.Option("--since", metavar="TIME", help="Only from this time on, in ISO 8601.")] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, max=1_000_000, help="At most so many.")] = 100,
    oldest_first: Annotated[bool, typer.Option("--oldest-first", help="In the order in which it happened.")] = False,
    as_account: AsOption = "",
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """List events, the newest first."""
    from certwright.adcs.roles import CaAccess
    from certwright.cli.output import print_json_array, print_table
    from certwright.cli.requests import parse_time

    when = parse_time(since, "--since") if since else None
    with opened(home, as_account) as session:
        session.installation.demand(session.operator, CaAccess.AUDITOR | CaAccess.ADMINISTRATOR)
        records = session.installation.audit.events(
            ca=ca, event=event, request_id=request_id, since=when, limit=limit, newest_first=not oldest_first
        )
    if as_json:
        print_json_array(
            {
                "chain": record.chain,
                "sequence": record.sequence,
                "event": record.event,
                "name": record.name,
                "when": record.when,
                "actor": record.actor,
                "details": dict(record.details),
                "hash": record.hash,
            }
            for record in records
        )
        return
    print_table(
        (
            (
                record.when,
                record.event,
                record.name.lower().replace("_", " "),
                record.chain or "(installation)",
                record.actor,
                " ".join(f"{key}={value}" for key, value in record.details.items()),
            )
            for record in records
        ),
        "when",
        "event",
        "what",
        "CA",
        "who",
        "details",
    )


@commands.command("verify")
def verify(as_account: AsOption = "", as_json: JsonOption = False, home: HomeOption = None) -> None:
    """Recompute the whole hash chain; exit status 1 when something was changed, removed or inserted."""
    from certwright.adcs.roles import CaAccess
    from certwright.cli.output import print_error, print_json, print_line, progress

    with opened(home, as_account) as session, progress(1) as step:
        session.installation.demand(session.operator, CaAccess.AUDITOR | CaAccess.ADMINISTRATOR)
        step("recomputing the hash chain")
        result = session.installation.audit.verify([record.name for record in session.installation.records()])
    if as_json:
        print_json(
            {"checked": result.checked, "broken": result.broken, "heads": result.heads, "intact": not result.broken}
        )
    else:
        print_line(f"{result.checked} events checked, {len(result.broken)} broken.")
        for head in result.heads:
            print_line(f"{head.chain or '(installation)'}: {head.sequence} events, head {head.hash}")
        for sentence in result.broken:
            print_error(sentence)
    if result.broken:
        raise typer.Exit(1)
