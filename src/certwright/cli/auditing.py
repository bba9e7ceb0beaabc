"""`certwright audit`: the audit trail, and the security audit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from certwright.cli.session import AsOption, HomeOption, JsonOption, home_folder, opened

if TYPE_CHECKING:
    from certwright.directory.security_audit.audit import SecurityReport
    from certwright.directory.security_audit.findings import Finding

commands = typer.Typer(
    help="The audit trail, and the audit of what would let somebody escalate.", no_args_is_help=True
)


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
    from certwright.audit.trail import OS_USER
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
                record.os_user,
                " ".join(f"{key}={value}" for key, value in record.details.items() if key != OS_USER),
            )
            for record in records
        ),
        "when",
        "event",
        "what",
        "CA",
        "who",
        "OS user",
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


@commands.command("security")
def security(
    show_all: Annotated[
        bool, typer.Option("--all", help="Show how each of the seventeen stands, also those that are closed.")
    ] = False,
    low_privileged: Annotated[
        list[str] | None,
        typer.Option("--low-privileged", metavar="GROUP", help="A further group that counts as everybody."),
    ] = None,
    domain: Annotated[
        str,
        typer.Option("--domain", metavar="DNS", help="Audit the CAs of this Active Directory instead, over LDAP."),
    ] = "",
    server: Annotated[
        list[str] | None,
        typer.Option("--server", metavar="HOST", help="A domain controller to ask; found by DNS otherwise."),
    ] = None,
    user: Annotated[str, typer.Option("--user", metavar="NAME", help="The account that reads, with --domain.")] = "",
    password_file: Annotated[
        str,
        typer.Option(
            "--password-file", metavar="FILE", help="Its first line is the password; - reads standard input."
        ),
    ] = "",
    keytab: Annotated[Path | None, typer.Option("--keytab", metavar="FILE", help="Instead of a password.")] = None,
    ca_file: Annotated[
        Path | None, typer.Option("--ca-file", metavar="FILE", help="CA certificates trusted for LDAPS, PEM.")
    ] = None,
    as_account: AsOption = "",
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Look for the known escalations ESC1 to ESC17 and say how to close each; exit status 1 when one is open.

    Prints nothing when nothing is open; what could not be looked at is said on standard error.
    """
    from certwright.adcs.roles import CaAccess
    from certwright.cli.output import print_json

    if domain:
        report = _audit_domain(domain, server or [], user, password_file, keytab, ca_file, low_privileged or [], home)
    else:
        from certwright.server.security_audit import own_security

        with opened(home, as_account) as session:
            session.installation.demand(session.operator, CaAccess.AUDITOR | CaAccess.ADMINISTRATOR)
            report = own_security(session.installation, low_privileged or ())
    if as_json:
        print_json(_as_json(report))
    else:
        _print_report(report, show_all)
    if any(each.needs_acceptance and not each.accepted for each in report.findings):
        raise typer.Exit(1)


def _audit_domain(
    domain: str,
    servers: list[str],
    user: str,
    password_file: str,
    keytab: Path | None,
    ca_file: Path | None,
    low_privileged: list[str],
    home: Path | None,
) -> SecurityReport:
    """The audit of a forest, with an account of it. An installation is not needed; one that belongs to this domain
    says which service account is its own."""
    from certwright.adcs.errors import InvalidArgument
    from certwright.cli.files import read_password
    from certwright.directory.active_directory.settings import DomainSettings
    from certwright.server.security_audit import domain_security

    if not user:
        raise InvalidArgument("say as whom the directory is read: --user NAME; an ordinary account is enough")
    password = "" if keytab else read_password(password_file, f"Password of {user}", "--password-file")
    settings = DomainSettings(
        realm=domain.upper(),
        dns_domain=domain.lower(),
        account=user,
        controllers=tuple(servers),
        keytab=keytab,
        password=password,
        ca_file=ca_file,
    )
    return domain_security(settings, low_privileged, _own_account(home, settings.dns_domain))


def _own_account(home: Path | None, dns_domain: str) -> str:
    """The service account of an installation here that belongs to the domain; empty where there is none."""
    from certwright.adcs.errors import ConfigurationError
    from certwright.server.home import Home

    try:
        directory = Home.open(home_folder(home)).settings.directory
    except ConfigurationError:
        return ""
    return directory.account if directory.is_joined and directory.dns_domain == dns_domain else ""


def _print_report(report: SecurityReport, show_all: bool) -> None:
    from certwright.cli.output import note, print_error, print_line, print_table
    from certwright.directory.security_audit.audit import Standing

    for finding in report.findings:
        for line in _lines(finding):
            print_line(line)
    for each in report.coverage:
        if each.standing is Standing.NOT_VISIBLE and not show_all:
            note(
                f"{each.number} not visible over LDAP: {each.title}. {each.reason}."
            )  # no finding: nobody could look
    if show_all:
        rows = ((each.number, each.title, each.standing.value, each.reason) for each in report.coverage)
        print_table(rows, "number", "escalation", "standing", "why")
    for sentence in report.unreadable:
        print_error(f"not audited: {sentence}")


def _lines(finding: Finding) -> list[str]:
    overridden = ", overridden" if finding.accepted and finding.needs_acceptance else ""
    return [
        f"{finding.number} ({finding.severity.value}{overridden}) {finding.object}: {finding.title}",
        f"  {finding.sentence}",
        *(f"  who: {ace}" for ace in finding.aces),
        f"  why: {'; '.join(finding.why)}",
        f"  fix: {finding.fix}",
    ]


def _as_json(report: SecurityReport) -> dict[str, Any]:
    return {
        "findings": [
            {
                "number": each.number,
                "title": each.title,
                "severity": each.severity.value,
                "accepted": each.accepted,
                "object": each.object,
                "sentence": each.sentence,
                "aces": each.aces,
                "why": each.why,
                "fix": each.fix,
                "principals": sorted(each.principals),
            }
            for each in report.findings
        ],
        "coverage": [
            {"number": each.number, "title": each.title, "standing": each.standing.value, "reason": each.reason}
            for each in report.coverage
        ],
        "unreadable": report.unreadable,
    }
