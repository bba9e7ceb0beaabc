"""`certwright ndes`: SCEP for devices that have no account - switching it on, challenges, settings, services."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from certwright.cli.session import AsOption, HomeOption, JsonOption, opened

if TYPE_CHECKING:
    from certwright.ndes.administration import ServiceStanding

commands = typer.Typer(help="Network Device Enrollment Service: SCEP for devices.", no_args_is_help=True)
service_commands = typer.Typer(help="Services with paths of their own: /ndes/NAME/.", no_args_is_help=True)
commands.add_typer(service_commands, name="service")

ServiceOption = Annotated[
    str,
    typer.Option("--service", metavar="NAME", help="Which service; without it, the one at the classic addresses."),
]


@commands.command("enable")
def enable(
    account: Annotated[
        str,
        typer.Option(
            "--account", metavar="NAME", help="The CA sees devices' requests as this account's. Needed in a domain."
        ),
    ] = "",
    service: ServiceOption = "",
    as_account: AsOption = "",
    home: HomeOption = None,
) -> None:
    """Make the service's account, templates and certificates where they are missing, and answer devices.

    Devices are answered from anywhere the ports are reached, without a logon; that is why this is off at first.
    """
    from certwright.cli.output import note, print_line
    from certwright.server.device_setup import DeviceSetup

    with opened(home, as_account) as session:
        standing = DeviceSetup(session.installation).enable(session.operator, service, account=account)
    print_line(f"NDES answers at {standing.devices}")
    if standing.not_after is not None:
        note(f"its certificates are good until {standing.not_after:%Y-%m-%d} and are renewed by themselves")
    for obstacle in standing.obstacles:
        note(f"devices get nothing yet: {obstacle}")


@commands.command("disable")
def disable(service: ServiceOption = "", as_account: AsOption = "", home: HomeOption = None) -> None:
    """Answer no device any more. What was made stays, for another time."""
    from certwright.cli.output import print_line
    from certwright.server.device_setup import DeviceSetup

    with opened(home, as_account) as session:
        DeviceSetup(session.installation).disable(session.operator, service)
    print_line("NDES is off." if not service else f"The service {service} is off.")


@commands.command("renew")
def renew(service: ServiceOption = "", as_account: AsOption = "", home: HomeOption = None) -> None:
    """Renew the service's own certificates now. The encryption key before stays for devices that know it."""
    from certwright.cli.output import print_line
    from certwright.server.device_setup import DeviceSetup

    with opened(home, as_account) as session:
        standing = DeviceSetup(session.installation).renew(session.operator, service)
    print_line(f"Renewed; good until {standing.not_after:%Y-%m-%d}.")


@service_commands.command("add")
def add_service(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Lower-case letters, digits and hyphens.")],
    ca: Annotated[str, typer.Option("--ca", metavar="NAME", help="The CA that issues; else the issuing one.")] = "",
    as_account: AsOption = "",
    home: HomeOption = None,
) -> None:
    """Add a service at /ndes/NAME/ with settings, challenges and a policy module of its own. It is off at first."""
    from certwright.cli.output import note, print_line
    from certwright.server.device_setup import DeviceSetup

    with opened(home, as_account) as session:
        standing = DeviceSetup(session.installation).add(name, session.operator, ca=ca)
    print_line(f"Added: {standing.devices}")
    note(f"set its templates, then: certwright ndes enable --service {name}")


@service_commands.command("list")
def list_services(as_account: AsOption = "", as_json: JsonOption = False, home: HomeOption = None) -> None:
    """List every service, the one at the classic addresses first."""
    from certwright.cli.output import print_json, print_table
    from certwright.server.device_setup import DeviceSetup

    with opened(home, as_account) as session:
        standings = DeviceSetup(session.installation).services()
    rows = [
        {
            "service": each.name,
            "enabled": each.settings.enabled,
            "address": each.devices,
            "ca": each.ca,
            "templates": " ".join(each.settings.templates),
            "challenge": str(each.settings.challenge),
            "policy": each.settings.policy,
            "obstacles": "; ".join(each.obstacles),
        }
        for each in standings
    ]
    if as_json:
        print_json(rows)
    else:
        print_table((tuple(row.values()) for row in rows), *rows[0])


@service_commands.command("remove")
def remove_service(
    name: Annotated[str, typer.Argument(metavar="NAME")], as_account: AsOption = "", home: HomeOption = None
) -> None:
    """Remove a service with its settings and challenges. What its devices got stays good."""
    from certwright.cli.output import print_line
    from certwright.server.device_setup import DeviceSetup

    with opened(home, as_account) as session:
        DeviceSetup(session.installation).remove(name, session.operator)
    print_line(f"Removed: {name}.")


@commands.command("webhook-key")
def webhook_key(
    service: ServiceOption = "", as_account: AsOption = "", as_json: JsonOption = False, home: HomeOption = None
) -> None:
    """Make a new key that signs what the policy module webhook asks, and print it. It is shown this once."""
    from certwright.cli.output import print_json, print_line
    from certwright.server.device_setup import DeviceSetup

    with opened(home, as_account) as session:
        key = DeviceSetup(session.installation).webhook_key(session.operator, service)
    if as_json:
        print_json({"key": key})
    else:
        print_line(key)


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
    parameters: Annotated[
        str, typer.Option("--parameters", metavar="TEXT", help="Handed to the policy module, which says what for.")
    ] = "",
    service: ServiceOption = "",
    as_account: AsOption = "",
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Print a challenge password. It is kept as a hash and never shown again.

    The account needs Enroll on every template of the service.
    """
    from certwright.adcs.errors import InvalidArgument
    from certwright.cli.output import note, print_json, print_line
    from certwright.ndes.settings import BUILT_IN
    from certwright.server.device_setup import DeviceSetup

    if static and (template or names or parameters):
        raise InvalidArgument("a static challenge is bound to nothing; leave out the other options")
    with opened(home, as_account) as session:
        setup = DeviceSetup(session.installation)
        minutes: int | None = None
        if static:
            password = setup.static_challenge(session.operator, service)
        else:
            password = setup.challenge(
                session.operator, service, template=template, names=names or (), parameters=parameters
            )
            settings = setup.standing(service).settings
            minutes = settings.challenge_minutes if settings.policy == BUILT_IN else None
    if as_json:
        print_json({"challenge": password, "minutes": minutes, "template": template, "names": names or []})
        return
    print_line(password)
    if static:
        note("good until the next static one is made")
    elif minutes is not None:
        note(f"good once, for {minutes} minutes")


@commands.command("list")
def list_devices(
    outstanding: Annotated[
        bool, typer.Option("--challenges", help="The challenges given out, instead of what devices asked for.")
    ] = False,
    failures: Annotated[bool, typer.Option("--failures", help="What was refused, and why.")] = False,
    notices: Annotated[
        bool, typer.Option("--notices", help="What a policy module that keeps notices was told, or is still to be.")
    ] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="How many, the latest first.")] = 100,
    service: ServiceOption = "",
    as_account: AsOption = "",
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """List what devices asked for, challenges given out, failures, or notices; of every service if none is named."""
    from certwright.adcs.errors import InvalidArgument
    from certwright.adcs.roles import CaAccess
    from certwright.cli.output import print_json, print_table
    from certwright.server.device_setup import DeviceSetup

    if outstanding + failures + notices > 1:
        raise InvalidArgument("one of --challenges, --failures and --notices")
    rows: list[dict[str, object]]
    with opened(home, as_account) as session:
        session.installation.demand(
            session.operator, CaAccess.ADMINISTRATOR | CaAccess.OFFICER | CaAccess.AUDITOR | CaAccess.OPERATOR
        )
        setup = DeviceSetup(session.installation)
        if outstanding:
            rows = [
                {
                    "number": each.id,
                    "given to": each.issued_to,
                    "template": each.template or "any",
                    "names": " ".join(each.names) or "any",
                    "expires": _moment(each.expires),
                    "used": _moment(each.used),
                    "by transaction": each.used_by,
                }
                for each in setup.challenges(limit, service)
            ]
        elif failures:
            rows = [
                {
                    "number": each.id,
                    "when": _moment(each.occurred),
                    "service": each.service,
                    "rule": each.rule,
                    "reason": each.reason,
                    "fail info": each.fail_info,
                    "from": each.peer,
                    "signer": each.signer,
                    "transaction": each.transaction,
                }
                for each in setup.failures(limit, service or None)
            ]
        elif notices:
            rows = [
                {
                    "number": each.id,
                    "service": each.service,
                    "transaction": each.transaction,
                    "disposition": each.disposition,
                    "state": each.state.name.lower().replace("_", " "),
                    "attempts": each.attempts,
                    "next try": _moment(each.next_try),
                    "reason": each.result,
                    "when": _moment(each.created),
                }
                for each in setup.notices(limit, service or None)
            ]
        else:
            rows = [
                {
                    "transaction": each.name,
                    "service": each.service,
                    "state": each.state.name.lower(),
                    "request": each.request_id,
                    "template": each.template,
                    "subject": each.subject,
                    "renewal": each.renewal,
                    "from": each.peer,
                    "when": _moment(each.changed),
                }
                for each in setup.devices(limit, service or None)
            ]
    if as_json:
        print_json([{key.replace(" ", "_"): value for key, value in row.items()} for row in rows])
    else:
        print_table((tuple(row.values()) for row in rows), *(rows[0] if rows else ()))


def _moment(seconds: int | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


@commands.command("failure")
def show_failure(
    number: Annotated[int, typer.Argument(metavar="NUMBER", help="See certwright ndes list --failures.")],
    as_account: AsOption = "",
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Show the message that was refused, decoded as certwright explain does."""
    from certwright.adcs.errors import InvalidArgument
    from certwright.adcs.roles import CaAccess
    from certwright.cli.output import print_json, print_line
    from certwright.server.device_setup import DeviceSetup
    from certwright.wire.explain_scep import explained

    with opened(home, as_account) as session:
        session.installation.demand(
            session.operator, CaAccess.ADMINISTRATOR | CaAccess.OFFICER | CaAccess.AUDITOR | CaAccess.OPERATOR
        )
        failure = DeviceSetup(session.installation).failure(number)
    if failure is None:
        raise InvalidArgument(f"there is no failure number {number}; see: certwright ndes list --failures")
    tree = explained(failure.message)
    if as_json:
        print_json({"rule": failure.rule, "reason": failure.reason, "message": tree.to_dict()})
        return
    print_line(f"{failure.rule}: {failure.reason}")
    for line in tree.lines():
        print_line(line)


@commands.command("show")
def show(
    service: ServiceOption = "", as_json: JsonOption = False, as_account: AsOption = "", home: HomeOption = None
) -> None:
    """Show a service's addresses, the fingerprint that devices compare, certificates and settings."""
    from certwright.cli.output import print_fields, print_json
    from certwright.server.device_setup import DeviceSetup

    with opened(home, as_account) as session:
        shown = _fields(DeviceSetup(session.installation).standing(service))
    if as_json:
        print_json(shown)
    else:
        print_fields(shown.items())


def _fields(standing: ServiceStanding) -> dict[str, object]:
    from certwright.ndes.settings import MEANINGS

    settings = standing.settings
    shown: dict[str, object] = {
        "enabled": settings.enabled,
        "devices": standing.devices,
        "people": standing.people,
        "ca-name": standing.ca,
        "ca-fingerprint": standing.ca_fingerprint,
        "account": settings.account,
    }
    if standing.not_after is None or standing.renew_after is None:
        shown["certificates"] = "none yet; run: certwright ndes enable"
    else:
        shown["certificates"] = f"until {standing.not_after:%Y-%m-%d}, renewed from {standing.renew_after:%Y-%m-%d}"
    if standing.obstacles:
        shown["obstacles"] = "; ".join(standing.obstacles)
    shown["webhook-key"] = "set" if settings.webhook_key else "none"
    values = settings.as_text()
    return shown | {key: values[key] for key in MEANINGS}


@commands.command("set")
def set_settings(
    changes: Annotated[
        list[str],
        typer.Argument(metavar="NAME=VALUE...", help="See certwright ndes show. @FILE as a value reads the file."),
    ],
    service: ServiceOption = "",
    as_account: AsOption = "",
    home: HomeOption = None,
) -> None:
    """Change settings. A template that is new to the service is published, and its account may enroll for it."""
    from certwright.adcs.errors import InvalidArgument
    from certwright.cli.files import read_file
    from certwright.cli.output import print_line
    from certwright.ndes.settings import MAX_TEXT
    from certwright.server.device_setup import DeviceSetup

    pairs: dict[str, str] = {}
    for change in changes:
        name, equals, value = change.partition("=")
        if not equals:
            raise InvalidArgument(f"{change!r} is not NAME=VALUE")
        if value.startswith("@"):
            value = read_file(value[1:], MAX_TEXT).decode("utf-8", "replace")
        pairs[name.strip()] = value
    with opened(home, as_account) as session:
        DeviceSetup(session.installation).change(pairs, session.operator, service)
    print_line(f"Changed: {', '.join(pairs)}.")
