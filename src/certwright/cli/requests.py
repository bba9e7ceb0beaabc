"""`certwright request`: submitting requests, the queue, and what certificate managers decide."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from certwright.cli.session import AsOption, CaOption, HomeOption, JsonOption, opened

if TYPE_CHECKING:
    from certwright.adcs.interfaces import Restriction
    from certwright.adcs.request import Response

commands = typer.Typer(help="Requests: submit, list, issue or deny.", no_args_is_help=True)

_SHOWN: Final = 100
"""Rows of a table for people when no limit is given; JSON is complete."""
COLUMNS: Final = (
    "request_id",
    "disposition",
    "requester",
    "caller",
    "method",
    "template",
    "serial_number",
    "subject",
    "common_name",
    "alternative_names",
    "submitted_when",
    "resolved_when",
    "not_before",
    "not_after",
    "status",
    "message",
    "officer",
    "key_algorithm",
    "key_size",
    "revoked_when",
    "revoked_effective",
    "revoked_reason",
    "sha1",
    "ski",
)
_IdArgument = Annotated[int, typer.Argument(metavar="ID", min=1, max=2**31 - 1, help="The request ID.")]


@commands.command("submit")
def submit(
    file: Annotated[str, typer.Argument(help="The request: PKCS#10 in PEM, base64 or DER; - reads standard input.")],
    template: Annotated[
        str, typer.Option("--template", "-t", metavar="NAME", help="The template's name, such as WebServer.")
    ] = "",
    attribute: Annotated[
        list[str] | None,
        typer.Option("--attribute", "-a", metavar="NAME:VALUE", help="A request attribute; may be repeated."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Where the certificate goes, as PEM.")
    ] = None,
    ca: CaOption = "",
    as_account: AsOption = "",
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Submit a request and print the CA's decision; the certificate too, when it was issued.

    Exit status 0 when it was issued or waits for a certificate manager, 1 when it was denied or failed.
    """
    from certwright.adcs.errors import InvalidArgument
    from certwright.adcs.request import RequestAttributes
    from certwright.cli.files import read_file
    from certwright.pki import armor

    der = armor.dearmor(read_file(file, armor.DEFAULT_LIMIT))
    lines = [f"CertificateTemplate:{template}"] if template else []
    for text in attribute or ():
        if ":" not in text or "\n" in text:
            raise InvalidArgument(f"{text!r} is no attribute; write NAME:VALUE")
        lines.append(text)
    try:
        attributes = RequestAttributes.parse("\n".join(lines))
    except ValueError as error:
        raise InvalidArgument(str(error)) from error
    with opened(home, as_account) as session:
        response = session.connect(ca).submit(der, attributes)
    _print_response(response, out, as_json=as_json)


@commands.command("retrieve")
def retrieve(
    request_id: _IdArgument,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Where the certificate goes, as PEM.")
    ] = None,
    ca: CaOption = "",
    as_account: AsOption = "",
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Ask what became of a request, as its requester does; fetch the certificate when it was issued."""
    with opened(home, as_account) as session:
        response = session.connect(ca).retrieve(request_id)
    _print_response(response, out, as_json=as_json)


@commands.command("list")
def list_requests(
    pending: Annotated[
        bool, typer.Option("--pending", help="Only those that wait for a certificate manager.")
    ] = False,
    failed: Annotated[bool, typer.Option("--failed", help="Only denied and failed ones.")] = False,
    requester: Annotated[str, typer.Option("--requester", metavar="ACCOUNT", help="Only of this account.")] = "",
    template: Annotated[str, typer.Option("--template", "-t", metavar="NAME", help="Only for this template.")] = "",
    where: Annotated[
        list[str] | None,
        typer.Option(
            "--where", metavar="COLUMN=VALUE", help="Also with <, <=, > or >=; times in ISO 8601. May be repeated."
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="At most so many, the newest first.")] = None,
    ca: CaOption = "",
    as_account: AsOption = "",
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """List requests, the newest first."""
    from certwright.adcs.interfaces import Comparison, Restriction, Table

    table = Table.PENDING_REQUESTS if pending else Table.FAILED_REQUESTS if failed else Table.REQUESTS
    restrictions = [parse_restriction(text) for text in where or ()]
    if template:
        restrictions.append(Restriction("template", Comparison.EQUAL, template))
    with opened(home, as_account) as session:
        if requester:
            account = session.installation.account_name(requester)
            restrictions.append(Restriction("requester", Comparison.EQUAL, account))
        print_view(
            session.administer(ca),
            table,
            restrictions,
            COLUMNS,
            ("request_id", "disposition", "requester", "template", "common_name", "submitted_when", "message"),
            limit,
            as_json=as_json,
        )


@commands.command("show")
def show(
    request_id: _IdArgument,
    ca: CaOption = "",
    as_account: AsOption = "",
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Show one request; of a pending one also what issuing it now would do, rule by rule."""
    from certwright.adcs.interfaces import Comparison, Restriction, Table
    from certwright.cli.output import print_fields, print_json, print_line
    from certwright.pki import armor

    with opened(home, as_account) as session:
        admin = session.administer(ca)
        stored = admin.request_row(request_id)  # raises where there is none
        listed: dict[str, Any] = dict(
            next(admin.view(Table.REQUESTS, [Restriction("request_id", Comparison.EQUAL, request_id)], COLUMNS))
        )
        record: Any = stored["record"]
        listed |= {"attributes": record.attributes, "client_facts": dict(record.client_facts)}
        preview = admin.preview(request_id) if listed["disposition"] == "pending" else None
    raw, certificate = stored["raw_request"], stored["certificate"]
    request_pem = _pem(armor.CERTIFICATE_REQUEST, raw) if raw else ""
    certificate_pem = _pem(armor.CERTIFICATE, certificate) if certificate else ""
    extensions: Any = stored["extensions"]
    if as_json:
        print_json(
            listed
            | {
                "extensions": [{"oid": oid, "critical": crit, "value": value} for oid, crit, value in extensions],
                "raw_request": request_pem,
                "certificate": certificate_pem,
                "preview": preview,
            }
        )
        return
    print_fields([(name.replace("_", " "), value) for name, value in listed.items() if name != "client_facts"])
    print_fields([(name, value) for name, value in listed["client_facts"].items()])
    for oid, critical, value in extensions:
        print_line(f"extension set by an officer: {oid}{' (critical)' if critical else ''} {value.hex()}")
    if preview is not None:
        print_line("")
        print_line("Issued now it would be:" if preview.would_issue else "Issuing it now would be refused:")
        print_fields([(f"  {each.name}", each.issued or f"({each.requested})") for each in preview.fields])
        for check in preview.checks:
            print_line(f"  {'pass' if check.passed else 'FAIL'}  {check.rule}  {check.message}")


@commands.command("issue")
def issue(
    request_id: _IdArgument,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Where the certificate goes, as PEM.")
    ] = None,
    fingerprint: Annotated[
        str, typer.Option("--fingerprint", help="Refuse unless it would still be issued as in this preview.")
    ] = "",
    ca: CaOption = "",
    as_account: AsOption = "",
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Issue a pending request. Every rule but the approval is checked again."""
    with opened(home, as_account) as session:
        response = session.administer(ca).resubmit(request_id, fingerprint=fingerprint or None)
    _print_response(response, out, as_json=as_json, quiet=True)


@commands.command("deny")
def deny(
    request_id: _IdArgument,
    reason: Annotated[str, typer.Option("--reason", help="What the requester is told.")] = "",
    ca: CaOption = "",
    as_account: AsOption = "",
    home: HomeOption = None,
) -> None:
    """Deny a pending request."""
    from certwright.cli.output import print_line

    with opened(home, as_account) as session:
        session.administer(ca).deny(request_id, reason)
    print_line(f"Request {request_id} is denied.")


def _print_response(response: Response, out: Path | None, *, as_json: bool, quiet: bool = False) -> None:
    """The decision, and where the certificate went. Denied and failed requests end with exit status 1."""
    import sys

    from certwright.adcs.request import Disposition
    from certwright.cli.files import write_file
    from certwright.cli.output import note, print_json, print_line
    from certwright.pki import armor

    pem = _pem(armor.CERTIFICATE, response.certificate) if response.certificate else ""
    if pem and out is not None:
        write_file(out, pem.encode())
    if as_json:
        print_json(
            {
                "request_id": response.request_id,
                "disposition": response.disposition.name.lower(),
                "status": response.status.hex,
                "message": response.message,
                "certificate": pem,
            }
        )
    else:
        line = f"Request {response.request_id}: {response.message}"
        to_file = out is not None and str(out) != "-"
        if pem and not to_file and not quiet:
            note(line)
            if out is None:
                sys.stdout.write(pem)
        elif response.is_issued or response.disposition is Disposition.UNDER_SUBMISSION:
            print_line(line)
        if pem and to_file:
            note(f"certificate written to {out}")
    if response.disposition in (Disposition.DENIED, Disposition.ERROR):
        from certwright.cli.output import print_error

        status = response.status
        print_error(f"request {response.request_id}: {response.message} ({status.hex} {status.name})")
        raise typer.Exit(1)


def print_view(
    admin: Any,
    table: Any,
    restrictions: list[Restriction],
    columns: tuple[str, ...],
    shown: tuple[str, ...],
    limit: int | None,
    *,
    as_json: bool,
) -> None:
    """A view of the CA database: JSON with every column and row, or a table of the newest rows."""
    from certwright.adcs.interfaces import Sort
    from certwright.cli.output import note, print_json_array, print_table

    newest_first = Sort("request_id", descending=True)
    if as_json:
        print_json_array(admin.view(table, restrictions, columns, newest_first, limit))
        return
    bound = limit or _SHOWN
    rows = list(admin.view(table, restrictions, shown, newest_first, bound + (limit is None)))
    print_table(([row[name] for name in shown] for row in rows[:bound]), *(name.replace("_", " ") for name in shown))
    if len(rows) > bound:
        note(f"the newest {bound} are shown; --limit or --json gives more")


def parse_restriction(text: str) -> Restriction:
    """`COLUMN=VALUE`, or with `<`, `<=`, `>`, `>=`.

    Raises:
        InvalidArgument: it has another form.
    """
    import re

    from certwright.adcs.errors import InvalidArgument
    from certwright.adcs.interfaces import Comparison, Restriction

    found = re.fullmatch(r"([A-Za-z_0-9]+)\s*(<=|>=|=|<|>)\s*(.*)", text, re.DOTALL)
    if found is None:
        raise InvalidArgument(f"{text!r} is no restriction; write COLUMN=VALUE, such as template=WebServer")
    return Restriction(found[1], Comparison(found[2]), found[3])


def parse_time(text: str, option: str) -> datetime:
    """A time in ISO 8601; without a zone it is UTC.

    Raises:
        InvalidArgument: it is none.
    """
    from certwright.adcs.errors import InvalidArgument

    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidArgument(f"{option}: {text!r} is no time; write 2026-01-31 or 2026-01-31T12:00:00Z") from None
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def _pem(label: str, der: object) -> str:
    from certwright.pki import armor

    assert isinstance(der, bytes)
    return armor.armor(label, der)
