"""`certwright responder`: the Online Responder and its revocation configurations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from certwright.cli.session import AsOption, CaOption, HomeOption, JsonOption, opened

if TYPE_CHECKING:
    from certwright.online_responder.store import StoredList

commands = typer.Typer(help="The Online Responder (OCSP): which CAs it answers for, and how.", no_args_is_help=True)


@commands.command("show")
def show(ca: CaOption = "", as_json: JsonOption = False, home: HomeOption = None) -> None:
    """Show a CA's revocation configuration, its settings and its signing certificate."""
    from certwright.cli.output import print_fields, print_json, print_line
    from certwright.cli.responder_elsewhere import called
    from certwright.online_responder.configuration import SETTINGS
    from certwright.online_responder.sources import SOURCE_SETTINGS
    from certwright.server.responder_setup import ResponderSetup

    with opened(home) as session:
        standing = ResponderSetup(session.installation).standing(ca)
    fields: dict[str, object] = {
        "ca": standing.ca,
        "state": "enabled" if standing.enabled else "disabled",
        "url": standing.url,
        "named_in_certificates": list(standing.announced),
        "signing_certificate": standing.serial_number,
        "signing_certificate_until": standing.not_after,
        "renewed_after": standing.renew_after,
    }
    if standing.is_elsewhere:
        fields |= {"certificate": standing.subject, "crls": [_list_fields(each) for each in standing.lists]}
    settings = dict(standing.texts)
    if as_json:
        print_json(fields | {"settings": settings})
        return
    shown = {name: value for name, value in fields.items() if name != "crls"}
    for each in standing.lists:
        shown |= {f"{called(each)}: {name}": text for name, text in _list_fields(each).items()}
    print_fields([(name.replace("_", " "), value) for name, value in shown.items()])
    print_line("")
    print_line("Settings (change them with: certwright responder set KEY=VALUE)")
    for key, value in settings.items():
        print_line(f"  {key} = {value}")
        print_line(f"      {(SETTINGS.get(key) or SOURCE_SETTINGS[key]).meaning}")


def _list_fields(kept: StoredList) -> dict[str, object]:
    facts = kept.facts
    return {
        "kind": "delta" if kept.is_delta else "base",
        "partition": kept.partition,
        "number": None if facts is None else facts.number,
        "entries": kept.entries,
        "this_update": None if facts is None else facts.this_update,
        "next_update": None if facts is None else facts.next_update,
        "copied_from": kept.url,
        "copied_when": kept.taken_when,
        "tried_when": kept.tried_when,
        "error": kept.error,
    }


@commands.command("enable")
def enable(
    announce: Annotated[
        bool, typer.Option(help="Let certificates to come name this responder, unless they name one already.")
    ] = True,
    ca: CaOption = "",
    as_account: AsOption = "",
    home: HomeOption = None,
) -> None:
    """Answer for a CA: enrolls for a signing certificate. A running server follows at once."""
    from certwright.cli.output import print_line
    from certwright.server.responder_setup import ResponderSetup

    with opened(home, as_account) as session:
        setup = ResponderSetup(session.installation)
        setup.enable(ca, session.operator, announce=announce)
        standing = setup.standing(ca)
    print_line(f"The responder answers for {standing.ca} at {standing.url}.")
    if standing.is_elsewhere:
        print_line("That CA's certificates have to name this address (AIA), or their clients be told it.")
    if standing.announced:
        urls = " and ".join(standing.announced)
        print_line(f"Certificates issued from now on name {urls}; certificates issued before do not.")


@commands.command("disable")
def disable(ca: CaOption = "", as_account: AsOption = "", home: HomeOption = None) -> None:
    """Cease to answer for a CA. Its certificates keep naming the responder; clients go on with the CRL."""
    from certwright.cli.output import print_line
    from certwright.server.responder_setup import ResponderSetup

    with opened(home, as_account) as session:
        setup = ResponderSetup(session.installation)
        setup.disable(ca, session.operator)
        standing = setup.standing(ca)
    print_line(f"The responder does not answer for {standing.ca} any more: clients that ask are told unauthorized.")
    if standing.announced:
        print_line("Certificates to come still name a responder; change that with: certwright ca set ocsp-urls=none")


@commands.command("set")
def set_settings(
    settings: Annotated[list[str], typer.Argument(metavar="KEY=VALUE", help="Settings to change.")],
    ca: CaOption = "",
    as_account: AsOption = "",
    home: HomeOption = None,
) -> None:
    """Change settings, all or none; a running server follows at once. A new profile brings its own defaults."""
    from certwright.cli.output import print_line
    from certwright.cli.templates import parse_settings
    from certwright.server.responder_setup import ResponderSetup

    changes = parse_settings(settings)
    with opened(home, as_account) as session:
        setup = ResponderSetup(session.installation)
        setup.change(ca, changes, session.operator, at_host=True)
        after = setup.standing(ca).texts
    for key in changes:
        print_line(f"{key} = {after[key]}")


@commands.command("refresh")
def refresh(
    certificate: Annotated[
        bool, typer.Option("--certificate", help="Enroll for a new signing certificate, too.")
    ] = False,
    ca: CaOption = "",
    as_account: AsOption = "",
    home: HomeOption = None,
) -> None:
    """Make every answer anew, now; with --certificate under a new signing certificate."""
    from certwright.cli.output import print_line
    from certwright.server.responder_setup import ResponderSetup

    with opened(home, as_account) as session:
        setup = ResponderSetup(session.installation)
        setup.refresh(ca, session.operator, certificate=certificate)
        standing = setup.standing(ca)
    if certificate:
        print_line(f"The signing certificate is renewed; it is valid until {standing.not_after:%Y-%m-%d %H:%M} UTC.")
    print_line(f"A running server makes its answers for {standing.ca} anew within a second.")
