"""`certwright certificate`: what was issued, revocation, and files to take away."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from certwright.cli.requests import COLUMNS, parse_restriction, parse_time, print_view
from certwright.cli.session import AsOption, CaOption, HomeOption, JsonOption, Session, opened

commands = typer.Typer(help="Certificates: list, revoke, export.", no_args_is_help=True)

_SerialArgument = Annotated[str, typer.Argument(metavar="SERIAL", help="The serial number in hexadecimal.")]
_SHOWN: Final[tuple[str, ...]] = ("request_id", "serial_number", "requester", "template", "common_name", "not_after")


@commands.command("list")
def list_certificates(
    revoked: Annotated[bool, typer.Option("--revoked", help="Revoked ones instead of valid ones.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Issued and revoked ones.")] = False,
    template: Annotated[str, typer.Option("--template", "-t", metavar="NAME", help="Only of this template.")] = "",
    expires_before: Annotated[
        str, typer.Option("--expires-before", metavar="TIME", help="Only those that end before, in ISO 8601.")
    ] = "",
    where: Annotated[
        list[str] | None,
        typer.Option("--where", metavar="COLUMN=VALUE", help="Also with <, <=, > or >=. May be repeated."),
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="At most so many, the newest first.")] = None,
    ca: CaOption = "",
    as_account: AsOption = "",
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """List certificates, the newest first."""
    from certwright.adcs.interfaces import Comparison, Restriction, Table

    restrictions = [parse_restriction(text) for text in where or ()]
    shown: tuple[str, ...] = _SHOWN
    table = Table.ISSUED_CERTIFICATES
    if everything:
        table, shown = Table.REQUESTS, (*_SHOWN, "disposition")
        restrictions.append(Restriction("serial_number", Comparison.GREATER_OR_EQUAL, "00"))
    elif revoked:
        table, shown = Table.REVOKED_CERTIFICATES, (*_SHOWN, "revoked_effective", "revoked_reason")
    if template:
        restrictions.append(Restriction("template", Comparison.EQUAL, template))
    if expires_before:
        when = parse_time(expires_before, "--expires-before")
        restrictions.append(Restriction("not_after", Comparison.LESS, int(when.timestamp())))
    with opened(home, as_account) as session:
        print_view(session.administer(ca), table, restrictions, COLUMNS, shown, limit, as_json=as_json)


@commands.command("show")
def show(
    serial: _SerialArgument,
    ca: CaOption = "",
    as_account: AsOption = "",
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Show one certificate: its row in the CA database and everything inside."""
    import sys

    from certwright.cli.output import print_fields, print_json, print_line
    from certwright.pki import armor
    from certwright.pki.explain import explain_certificate

    with opened(home, as_account) as session:
        row, der = _find(session, ca, serial)
    tree = explain_certificate(der)
    if as_json:
        print_json(row | {"certificate": armor.armor(armor.CERTIFICATE, der), "explanation": tree.to_dict()})
        return
    print_fields([(name.replace("_", " "), value) for name, value in row.items()])
    print_line("")
    sys.stdout.writelines(f"{line}\n" for line in tree.lines())


@commands.command("revoke")
def revoke(
    serial: _SerialArgument,
    reason: Annotated[
        str, typer.Option("--reason", metavar="REASON", help="keyCompromise, superseded ...: RFC 5280's names.")
    ] = "unspecified",
    effective: Annotated[
        str, typer.Option("--effective", metavar="TIME", help="From when on, in ISO 8601; now by default.")
    ] = "",
    publish: Annotated[bool, typer.Option("--publish-crl", help="Publish a new CRL right away.")] = False,
    ca: CaOption = "",
    as_account: AsOption = "",
    home: HomeOption = None,
) -> None:
    """Revoke a certificate. Clients learn of it from the next CRL."""
    from certwright.adcs.errors import InvalidArgument
    from certwright.adcs.interfaces import CrlKind
    from certwright.adcs.roles import RevocationReason
    from certwright.cli.output import note, print_line

    try:
        code = RevocationReason.from_rfc_name(reason)
    except ValueError as error:
        raise InvalidArgument(f"--reason: {error}") from error
    when = parse_time(effective, "--effective") if effective else None
    with opened(home, as_account) as session:
        admin = session.administer(ca)
        admin.revoke(serial, code, when)
        if publish:
            admin.publish_crls(CrlKind.BASE)
    print_line(f"Certificate {serial} is revoked: {code.rfc_name}.")
    if not publish:
        note("clients learn of it from the next CRL; publish one now with: certwright ca publish-crl")


@commands.command("unrevoke")
def unrevoke(
    serial: _SerialArgument,
    ca: CaOption = "",
    as_account: AsOption = "",
    home: HomeOption = None,
) -> None:
    """Release a certificate from hold. Only reason certificateHold can be taken back."""
    from certwright.adcs.roles import RevocationReason
    from certwright.cli.output import print_line

    with opened(home, as_account) as session:
        session.administer(ca).revoke(serial, RevocationReason.RELEASE_FROM_HOLD)
    print_line(f"Certificate {serial} is released from hold.")


@commands.command("export")
def export(
    serial: _SerialArgument,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE", help="Where it goes; - is standard output.")
    ] = Path("-"),
    der: Annotated[bool, typer.Option("--der", help="DER instead of PEM.")] = False,
    chain: Annotated[bool, typer.Option("--chain", help="The CAs' certificates after it (PEM only).")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    ca: CaOption = "",
    as_account: AsOption = "",
    home: HomeOption = None,
) -> None:
    """Write a certificate to a file."""
    from certwright.adcs.errors import InvalidArgument
    from certwright.cli.files import write_file
    from certwright.pki import armor

    if der and chain:
        raise InvalidArgument("a chain is written as PEM; leave --der or --chain out")
    with opened(home, as_account) as session:
        _, encoded = _find(session, ca, serial)
        above = session.installation.chain(ca) if chain else ()
    data = encoded if der else "".join(armor.armor(armor.CERTIFICATE, each) for each in (encoded, *above)).encode()
    write_file(out, data, force=force)


def _find(session: Session, ca: str, serial: str) -> tuple[dict[str, Any], bytes]:
    """Row and DER of a certificate.

    Raises:
        InvalidArgument: no certificate of this CA has the serial number.
    """
    from certwright.adcs.errors import InvalidArgument
    from certwright.adcs.interfaces import Comparison, Restriction, Table

    admin = session.administer(ca)
    rows = admin.view(Table.REQUESTS, [Restriction("serial_number", Comparison.EQUAL, serial)], COLUMNS, None, 1)
    row = next(iter(rows), None)
    if row is None:
        raise InvalidArgument(
            f"no certificate of this CA has the serial number {serial}; see: certwright certificate list"
        )
    request_id = row["request_id"]
    assert isinstance(request_id, int)
    der = admin.request_row(request_id)["certificate"]
    assert isinstance(der, bytes)
    return dict(row), der
