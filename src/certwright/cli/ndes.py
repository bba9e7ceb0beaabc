"""`certwright ndes`: SCEP for devices that have no account - switching it on, challenges, settings."""

from __future__ import annotations

from typing import Annotated

import typer

from certwright.cli.session import AsOption, HomeOption, JsonOption, opened

commands = typer.Typer(help="Network Device Enrollment Service: SCEP for devices.", no_args_is_help=True)


@commands.command("enable")
def enable(as_account: AsOption = "", home: HomeOption = None) -> None:
    """Make the service's account, templates and certificates where they are missing, and answer devices.

    Devices are answered from anywhere the ports are reached, without a logon; that is why this is off at first.
    """
    from certwright.cli.output import note, print_line
    from certwright.server import network_devices

    with opened(home, as_account) as session:
        installation = session.installation
        enrolled = network_devices.enable(installation, session.operator)
        print_line(f"NDES answers at {network_devices.device_url(installation)}")
        note(f"its certificates are good until {enrolled.not_after:%Y-%m-%d} and are renewed by themselves")


@commands.command("disable")
def disable(as_account: AsOption = "", home: HomeOption = None) -> None:
    """Answer no device any more. What was made stays, for another time."""
    from certwright.cli.output import print_line
    from certwright.server import network_devices

    with opened(home, as_account) as session:
        network_devices.disable(session.installation, session.operator)
    print_line("NDES is off.")


@commands.command("renew")
def renew(as_account: AsOption = "", home: HomeOption = None) -> None:
    """Renew the service's own certificates now. The encryption key before stays for devices that know it."""
    from certwright.adcs.roles import CaAccess
    from certwright.cli.output import print_line
    from certwright.server import network_devices

    with opened(home, as_account) as session:
        session.installation.demand(session.operator, CaAccess.ADMINISTRATOR)
        enrolled = network_devices.renew(session.installation, session.operator)
    print_line(f"Renewed; good until {enrolled.not_after:%Y-%m-%d}.")


@commands.command("challenge")
def challenge(
    template: Annotated[str, typer.Option("--template", metavar="CN", help="Good for this template only.")] = "",
    names: Annotated[
        list[str] | None,
        typer.Option(
            "--name",
            metavar="PATTERN",
            help="Every name in the request must match one of these; * stands for anything. May be given again.",
        ),
    ] = None,
    static: Annotated[
        bool, typer.Option("--static", help="Make a new static challenge, good until the next one is made.")
    ] = False,
    as_account: AsOption = "",
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Print a challenge password. It is kept as a hash and never shown again.

    The account needs Enroll on every template of the service.
    """
    from certwright.adcs.errors import InvalidArgument
    from certwright.cli.output import note, print_json, print_line
    from certwright.server import network_devices

    if static and (template or names):
        raise InvalidArgument("a static challenge is bound to nothing; leave out --template and --name")
    with opened(home, as_account) as session:
        own = network_devices.challenges(session.installation)
        if static:
            password, minutes = own.renew_static(session.operator), None
        else:
            password, minutes = own.give(session.operator, template, names or ()), own.settings().challenge_minutes
    if as_json:
        print_json({"challenge": password, "minutes": minutes, "template": template, "names": names or []})
        return
    print_line(password)
    note("good until the next static one is made" if minutes is None else f"good once, for {minutes} minutes")


@commands.command("list")
def list_devices(
    outstanding: Annotated[
        bool, typer.Option("--challenges", help="Challenges that were given out, instead of devices' requests.")
    ] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="How many, the latest first.")] = 100,
    as_account: AsOption = "",
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """List what devices asked for, or the challenges given out."""
    from datetime import UTC, datetime

    from certwright.adcs.roles import CaAccess
    from certwright.cli.output import print_json, print_table
    from certwright.ndes import store
    from certwright.server import network_devices

    with opened(home, as_account) as session:
        session.installation.demand(
            session.operator, CaAccess.ADMINISTRATOR | CaAccess.OFFICER | CaAccess.AUDITOR | CaAccess.OPERATOR
        )
        if outstanding:
            given = network_devices.challenges(session.installation).outstanding(limit)
        else:
            with session.installation.database.read() as connection:
                devices = store.latest_transactions(connection, limit)

    def moment(seconds: int | None) -> datetime | None:
        return None if seconds is None else datetime.fromtimestamp(seconds, UTC)

    rows: list[dict[str, object]]
    if outstanding:
        rows = [
            {
                "number": each.id,
                "given to": each.issued_to,
                "template": each.template or "any",
                "names": " ".join(each.names) or "any",
                "expires": moment(each.expires),
                "used": moment(each.used),
                "by transaction": each.used_by,
            }
            for each in given
        ]
    else:
        rows = [
            {
                "transaction": each.name,
                "state": each.state.name.lower(),
                "request": each.request_id,
                "template": each.template,
                "subject": each.subject,
                "renewal": each.renewal,
                "from": each.peer,
                "when": moment(each.changed),
            }
            for each in devices
        ]
    if as_json:
        print_json([{key.replace(" ", "_"): value for key, value in row.items()} for row in rows])
    else:
        print_table((tuple(row.values()) for row in rows), *(rows[0] if rows else ()))


@commands.command("show")
def show(as_json: JsonOption = False, as_account: AsOption = "", home: HomeOption = None) -> None:
    """Show the service's addresses, the fingerprint that devices compare, certificates and settings."""
    import hashlib

    from certwright.adcs.errors import ConfigurationError
    from certwright.cli.output import print_fields, print_json
    from certwright.ndes.settings import MEANINGS
    from certwright.server import network_devices

    with opened(home, as_account) as session:
        installation = session.installation
        settings = network_devices.challenges(installation).settings()
        shown: dict[str, object] = {"enabled": settings.enabled}
        shown["devices"], shown["people"] = (
            network_devices.device_url(installation),
            network_devices.admin_url(installation),
        )
        shown["ca-fingerprint"] = hashlib.sha256(installation.chain()[0]).hexdigest().upper()
        try:
            current = network_devices.registration_authority(installation).current()
        except ConfigurationError as error:
            shown["certificates"] = error.message
        else:
            shown["certificates"] = f"until {current.not_after:%Y-%m-%d}, renewed from {current.renew_after:%Y-%m-%d}"
    values = settings.as_text()
    shown |= {key: values[key] for key in MEANINGS}
    if as_json:
        print_json(shown)
    else:
        print_fields(shown.items())


@commands.command("set")
def set_settings(
    changes: Annotated[list[str], typer.Argument(metavar="NAME=VALUE...", help="See certwright ndes show.")],
    as_account: AsOption = "",
    home: HomeOption = None,
) -> None:
    """Change settings. A template that is new to the service is published, and its account may enroll for it."""
    from certwright.adcs.errors import InvalidArgument
    from certwright.cli.output import print_line
    from certwright.server import network_devices

    pairs: dict[str, str] = {}
    for change in changes:
        name, equals, value = change.partition("=")
        if not equals:
            raise InvalidArgument(f"{change!r} is not NAME=VALUE")
        pairs[name.strip()] = value
    with opened(home, as_account) as session:
        network_devices.change_settings(session.installation, session.operator, pairs)
    print_line(f"Changed: {', '.join(pairs)}.")
