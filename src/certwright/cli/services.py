"""`certwright service`: the AD CS services that orders go to."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from certwright.cli.managing import chosen, managing, read_text
from certwright.cli.session import AsOption, HomeOption, JsonOption

if TYPE_CHECKING:
    from certwright.connectors.probing import ProbeStep
    from certwright.manager.facade import Manager
    from certwright.manager.values import Service, TrustKind

commands = typer.Typer(help="AD CS services: where orders go.", no_args_is_help=True)

MAX_PINNED = 512 * 1024
_ServiceArgument = Annotated[str, typer.Argument(metavar="SERVICE", help="Its number, or its host name.")]


class SchemeChoice(StrEnum):
    """How to log on; Basic hands the password itself to the server."""

    NTLM = "ntlm"
    KERBEROS = "kerberos"
    BASIC = "basic"


class ViaChoice(StrEnum):
    """By which role service; auto is CES where it is, else /certsrv."""

    AUTO = "auto"
    CES = "ces"
    CERTSRV = "certsrv"


_ViaOption = Annotated[
    ViaChoice | None,
    typer.Option("--via", help="By CES, by /certsrv, or (auto, the default) by CES where it is, else /certsrv."),
]
_PortOption = Annotated[int | None, typer.Option("--port", min=1, max=65535, help="Of HTTPS; 443 by default.")]
_PriorityOption = Annotated[
    int | None, typer.Option("--priority", "-p", help="1 to 10; the lower goes first. 1 by default.")
]
_AuthOption = Annotated[
    SchemeChoice | None, typer.Option("--auth", help="How the device user logs on; ntlm by default.")
]
_CaFileOption = Annotated[
    str, typer.Option("--ca-file", metavar="FILE", help="Trust only the certificates of this PEM file.")
]
_FingerprintOption = Annotated[
    str,
    typer.Option(
        "--fingerprint",
        metavar="SHA256",
        help="Trust only the certificate with this fingerprint, which `service test` shows and you compared.",
    ),
]
_ApproveOption = Annotated[
    list[str] | None,
    typer.Option(
        "--approve", metavar="TEMPLATE", help="Approve its pending orders at once, where we may; may be repeated."
    ),
]


@commands.command("add")
def add(
    hostname: Annotated[
        str, typer.Argument(metavar="HOSTNAME", help="The server's DNS name, as its certificate has it.")
    ],
    domain: Annotated[str, typer.Option("--domain", "-d", metavar="DOMAIN", help="The domain it belongs to.")],
    device_user: Annotated[
        str, typer.Option("--device-user", "-u", metavar="NAME", help="Who orders there; see: certwright device-user")
    ],
    port: _PortOption = None,
    priority: _PriorityOption = None,
    auth: _AuthOption = None,
    via: _ViaOption = None,
    ca_file: _CaFileOption = "",
    fingerprint: _FingerprintOption = "",
    local: Annotated[
        bool, typer.Option("--local", help="A CA of this installation, without a detour over the network.")
    ] = False,
    ca: Annotated[
        str, typer.Option("--ca", metavar="NAME", help="Which one, with --local; the issuing CA by default.")
    ] = "",
    approve: _ApproveOption = None,
    as_account: AsOption = "",
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Add a service. Then try it with `service test`, and read it with `service refresh`."""
    from certwright.cli.output import print_json, print_line
    from certwright.connectors.service import AuthScheme
    from certwright.manager.values import ServiceFields, ServiceKind, Via

    trust, trust_data = _trust(ca_file, fingerprint)
    with managing(home, as_account) as session:
        user = chosen(device_user, session.manager.device_users.list(), "device user", "name", "username")
        fields = ServiceFields(
            domain=domain,
            hostname=hostname,
            device_user_id=user.id,
            port=443 if port is None else port,
            priority=1 if priority is None else priority,
            auth_method=AuthScheme((auth or SchemeChoice.NTLM).value),
            kind=ServiceKind.LOCAL if local else ServiceKind.CERTSRV,
            via=Via((via or ViaChoice.AUTO).value),
            trust=trust,
            trust_data=trust_data,
            ca=ca,
            approve_templates=tuple(approve or ()),
        )
        service = session.manager.services.add(fields, actor=session.actor)
    if as_json:
        print_json(_described(service))
    else:
        print_line(
            f"Added the service {service.label} (number {service.id}); next: certwright service test {service.id}"
        )


@commands.command("list")
def list_services(as_account: AsOption = "", as_json: JsonOption = False, home: HomeOption = None) -> None:
    """List services, by domain in the order in which they are asked."""
    from certwright.cli.output import print_json, print_table

    with managing(home, as_account, looking=True) as session:
        services = session.manager.services.list()
    if as_json:
        print_json([_described(service) for service in services])
        return
    print_table(
        (
            (
                each.id,
                each.domain,
                each.hostname,
                each.username,
                each.port,
                each.priority,
                "not read" if each.template_count is None else each.template_count,
                each.health,
                each.last_contact,
                each.last_error,
            )
            for each in services
        ),
        "number",
        "domain",
        "hostname",
        "username",
        "port",
        "priority",
        "templates",
        "health",
        "last contact",
        "last error",
    )


@commands.command("show")
def show(
    service: _ServiceArgument, as_account: AsOption = "", as_json: JsonOption = False, home: HomeOption = None
) -> None:
    """Show a service and the templates it offered when it was read last."""
    from certwright.cli.output import print_fields, print_json, print_line

    with managing(home, as_account, looking=True) as session:
        found = _found(session.manager, service)
        templates = session.manager.services.templates(found.id)
    described = _described(found)
    if as_json:
        print_json(described | {"templates": templates})
        return
    print_fields((name.replace("_", " "), value) for name, value in described.items())
    for template in templates:
        print_line(f"template  {template.name}  {template.display_name}")


@commands.command("refresh")
def refresh(
    service: Annotated[
        str, typer.Argument(metavar="[SERVICE]", help="Its number, or its host name; every service when not given.")
    ] = "",
    as_account: AsOption = "",
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Read CA name, chain and templates anew, and say what is different. Exit status 1 when one cannot be read."""
    from certwright.adcs.errors import AdcsError
    from certwright.cli.output import print_error, print_json, print_line

    results = []
    failed = False
    with managing(home, as_account) as session:
        services = session.manager.services
        for each in [_found(session.manager, service)] if service else services.list():
            try:
                result = services.refresh(each.id, actor=session.actor)
            except AdcsError as error:
                failed = True
                print_error(f"{each.label}: {error.message}")
                continue
            results.append(
                {
                    "service": _described(result.service),
                    "result": str(result),
                    "added": result.added,
                    "gone": result.gone,
                    "ca_changed": result.ca_changed,
                }
            )
            if not as_json:
                print_line(f"{each.label}: {result}.")
    if as_json:
        print_json(results)
    if failed:
        raise typer.Exit(1)


@commands.command("edit")
def edit(
    service: _ServiceArgument,
    domain: Annotated[str | None, typer.Option("--domain", "-d", metavar="DOMAIN", help="Another domain.")] = None,
    hostname: Annotated[str | None, typer.Option("--hostname", metavar="NAME", help="Another host.")] = None,
    device_user: Annotated[
        str | None, typer.Option("--device-user", "-u", metavar="NAME", help="Another device user.")
    ] = None,
    port: _PortOption = None,
    priority: _PriorityOption = None,
    auth: _AuthOption = None,
    via: _ViaOption = None,
    ca_file: _CaFileOption = "",
    fingerprint: _FingerprintOption = "",
    system_trust: Annotated[
        bool, typer.Option("--system-trust", help="Trust what the operating system trusts again.")
    ] = False,
    approve: _ApproveOption = None,
    no_approve: Annotated[bool, typer.Option("--no-approve", help="Approve nothing by itself.")] = False,
    as_account: AsOption = "",
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Change what is named; the rest stays."""
    from dataclasses import replace

    from certwright.adcs.errors import InvalidArgument
    from certwright.cli.output import print_json, print_line
    from certwright.connectors.service import AuthScheme
    from certwright.manager.values import TrustKind, Via

    with managing(home, as_account) as session:
        found = _found(session.manager, service)
        before = found.fields
        fields = replace(
            before,
            domain=before.domain if domain is None else domain,
            hostname=before.hostname if hostname is None else hostname,
            port=before.port if port is None else port,
            priority=before.priority if priority is None else priority,
            auth_method=before.auth_method if auth is None else AuthScheme(auth.value),
            via=before.via if via is None else Via(via.value),
        )
        if device_user is not None:
            user = chosen(device_user, session.manager.device_users.list(), "device user", "name", "username")
            fields = replace(fields, device_user_id=user.id)
        if ca_file or fingerprint:
            trust, trust_data = _trust(ca_file, fingerprint)
            fields = replace(fields, trust=trust, trust_data=trust_data)
        elif system_trust:
            fields = replace(fields, trust=TrustKind.SYSTEM, trust_data="")
        if approve or no_approve:
            fields = replace(fields, approve_templates=tuple(approve or ()))
        if fields == before:
            raise InvalidArgument("name at least one thing to change; see: certwright service edit --help")
        changed = session.manager.services.edit(found.id, fields, actor=session.actor)
    if as_json:
        print_json(_described(changed))
    else:
        print_line(f"{changed.label} is changed.")


@commands.command("delete")
def delete(
    service: _ServiceArgument,
    yes: Annotated[
        bool, typer.Option("--yes", help="Also when orders wait at it, which are then not tracked.")
    ] = False,
    as_account: AsOption = "",
    home: HomeOption = None,
) -> None:
    """Remove a service. Refused while orders wait for its answer, unless --yes is given."""
    from certwright.cli.output import print_line

    with managing(home, as_account) as session:
        found = _found(session.manager, service)
        waiting = session.manager.services.delete(found.id, confirmed=yes, actor=session.actor)
    print_line(f"{found.label} is gone." + (f" {waiting} orders are no longer tracked." if waiting else ""))


@commands.command("test")
def try_out(
    service: _ServiceArgument, as_account: AsOption = "", as_json: JsonOption = False, home: HomeOption = None
) -> None:
    """Try every step on the way: DNS, TCP, TLS trust, logon, channel binding, CEP, CES or pages, CA, templates.

    Exit status 1 when one fails; it says what would help.
    """
    from certwright.cli.output import print_json

    with managing(home, as_account) as session:
        found = _found(session.manager, service)
        steps = session.manager.services.test(found.id)
    if as_json:
        print_json(
            [
                {
                    "step": each.step,
                    "outcome": each.outcome,
                    "message": each.sentence,
                    "fix": each.fix,
                    "fingerprint": each.seen.sha256 if each.seen is not None else "",
                }
                for each in steps
            ]
        )
    else:
        _print_steps(steps)
    if any(each.outcome == "failed" for each in steps):
        raise typer.Exit(1)


def _print_steps(steps: Sequence[ProbeStep]) -> None:
    from certwright.cli.output import print_line

    for each in steps:
        print_line(f"{each.outcome:<8}{each.step:<16}  {each.sentence}")
        if each.seen is not None:
            print_line(f"{'':<26}fingerprint (SHA-256) {each.seen.fingerprint}")
        if each.fix:
            print_line(f"{'':<26}{each.fix}")


def _found(manager: Manager, text: str) -> Service:
    return chosen(text, manager.services.list(), "service", "hostname")


def _trust(ca_file: str, fingerprint: str) -> tuple[TrustKind, str]:
    from certwright.adcs.errors import InvalidArgument
    from certwright.manager.values import TrustKind

    if ca_file and fingerprint:
        raise InvalidArgument("give --ca-file or --fingerprint, not both")
    if ca_file:
        return TrustKind.PINNED, read_text(ca_file, MAX_PINNED)
    if fingerprint:
        return TrustKind.FINGERPRINT, fingerprint
    return TrustKind.SYSTEM, ""


def _described(service: Service) -> dict[str, object]:
    from dataclasses import fields

    return {each.name: getattr(service, each.name) for each in fields(service)} | {"health": service.health}
