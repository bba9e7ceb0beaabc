"""`certwright inventory`: every certificate known here."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from certwright.cli.managing import managing
from certwright.cli.session import AsOption, HomeOption, JsonOption

if TYPE_CHECKING:
    from certwright.manager.inventory_values import BulkResult, CertificateRow, InventoryQuery

commands = typer.Typer(help="The inventory: certificates, their owners, tags and renewal.", no_args_is_help=True)

MAX_IMPORT = 4 << 20
MAX_FILES = 1000
_IdArgument = Annotated[int, typer.Argument(metavar="NUMBER", min=1, max=2**62, help="Its number in the inventory.")]
_IdsArgument = Annotated[list[int], typer.Argument(metavar="NUMBER...", help="Their numbers in the inventory.")]


class StatusChoice(StrEnum):
    ACTIVE = "active"
    EXPIRING = "expiring"
    EXPIRED = "expired"
    REVOKED = "revoked"
    SUPERSEDED = "superseded"


class FormatChoice(StrEnum):
    CSV = "csv"
    XLSX = "xlsx"
    PEM = "pem"
    PFX = "pfx"


class RenewalKeyChoice(StrEnum):
    NEW = "new"
    SAME = "same"


_TextOption = Annotated[str, typer.Option("--text", metavar="WORDS", help="Begins of names, or of a serial number.")]
_StatusOption = Annotated[StatusChoice | None, typer.Option("--status", help="Only with this status.")]
_BandOption = Annotated[
    int | None, typer.Option("--expires-within", metavar="DAYS", help="Only those that end in 7, 30 or 90 days.")
]
_TagOption = Annotated[str, typer.Option("--tag", metavar="TAG", help="Only with this tag.")]
_OwnerOption = Annotated[str, typer.Option("--owner", metavar="NAME", help="Only of this owner.")]
_TemplateOption = Annotated[str, typer.Option("--template", "-t", metavar="NAME", help="Only of this template.")]


@commands.command("list")
def list_certificates(
    text: _TextOption = "",
    status: _StatusOption = None,
    expires_within: _BandOption = None,
    tag: _TagOption = "",
    owner: _OwnerOption = "",
    template: _TemplateOption = "",
    limit: Annotated[int, typer.Option("--limit", min=1, max=500, help="At most so many.")] = 100,
    as_account: AsOption = "",
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """List certificates, those that end first at the top. JSON is complete."""
    from certwright.cli.output import note, print_json_array, print_table

    query = _query(text, status, expires_within, tag, owner, template, limit)
    with managing(home, as_account, looking=True) as session:
        inventory = session.manager.inventory
        if as_json:
            print_json_array(_described(row) for row in inventory.stream(query))
            return
        page = inventory.search(query)
    now = _now()
    print_table(
        (
            (
                row.id,
                row.status(now),
                row.common_name or row.subject,
                row.names,
                row.template,
                row.not_after,
                row.key_name,
                row.key_held,
                row.owner,
                row.tags,
                row.renewal,
            )
            for row in page.rows
        ),
        "number",
        "status",
        "name",
        "alternative names",
        "template",
        "not after",
        "key",
        "key held",
        "owner",
        "tags",
        "renewal",
    )
    if page.next:
        note(f"the first {len(page.rows)} are shown; --limit or --json gives more")


@commands.command("show")
def show(
    certificate_id: _IdArgument, as_account: AsOption = "", as_json: JsonOption = False, home: HomeOption = None
) -> None:
    """Show a certificate, what is above it, and its history."""
    from certwright.cli.output import print_fields, print_json, print_line, text_of
    from certwright.pki.armor import CERTIFICATE, armor
    from certwright.pki.certificate import CertificateView

    with managing(home, as_account, looking=True) as session:
        found = session.manager.inventory.get(certificate_id)
    described = _described(found.row)
    chain = [CertificateView.parse(der).subject_name for der in found.chain]
    pem = armor(CERTIFICATE, found.der)
    if as_json:
        print_json(described | {"chain": chain, "history": found.history, "pem": pem})
        return
    print_fields((name.replace("_", " "), value) for name, value in described.items())
    for subject in chain:
        print_line(f"issued by {subject}")
    print_line("")
    for line in found.history:
        print_line(f"{text_of(line.when)}  {line.actor}  {line.text}")
    sys.stdout.write(pem)


@commands.command("import")
def import_files(
    paths: Annotated[list[Path], typer.Argument(metavar="FILE...", help="PEM, DER, PKCS#7, PFX, ZIP, or folders.")],
    password_file: Annotated[
        str,
        typer.Option("--password-file", metavar="FILE", help="Its first line opens PFX files; - is standard input."),
    ] = "",
    owner: Annotated[str, typer.Option("--owner", metavar="NAME", help="Whose they are.")] = "",
    tag: Annotated[list[str] | None, typer.Option("--tag", metavar="TAG", help="May be repeated.")] = None,
    managed: Annotated[bool, typer.Option("--managed", help="Managed here, not only watched.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what is in the files, and store nothing.")] = False,
    as_account: AsOption = "",
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Put certificates, and private keys beside them, into the inventory. Exit status 1 when a file is not read."""
    from certwright.cli.files import read_password
    from certwright.cli.output import print_error, print_json, print_line
    from certwright.manager.importing import ImportFile

    password = read_password(password_file) if password_file else ""
    files = [ImportFile(path.name, path.read_bytes()) for path in _files(paths)]
    with managing(home, as_account) as session:
        importing = session.manager.importing
        if dry_run:
            results = importing.preview(files, password)
            summary: dict[str, object] = {}
        else:
            stored = importing.store(
                files, password, owner=owner, tags=tuple(tag or ()), managed=managed, actor=session.actor
            )
            results = stored.files
            summary = {"added": stored.added, "known": stored.known, "keys": stored.keys}
    if as_json:
        listed = [
            {
                "file": each.name,
                "certificates": [found.view.subject_name for found in each.certificates],
                "keys": each.keys,
                "problem": each.problem,
            }
            for each in results
        ]
        print_json({"files": listed, **summary})
    else:
        for each in results:
            print_line(f"{each.name}: {len(each.certificates)} certificates, {each.keys} keys")
            if each.problem:
                print_error(f"{each.name}: {each.problem}")
        if not dry_run:
            print_line(f"{len(stored.added)} added, {stored.known} known already, {stored.keys} private keys kept.")
    if any(each.problem for each in results):
        raise typer.Exit(1)


def _files(paths: list[Path]) -> Iterator[Path]:
    """The files that were named, and those inside the folders that were named.

    Raises:
        InvalidArgument: one is too large, or they are too many.
    """
    from certwright.adcs.errors import InvalidArgument

    count = 0
    for path in paths:
        found = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
        for each in found:
            count += 1
            if count > MAX_FILES:
                raise InvalidArgument(f"these are more than {MAX_FILES} files; import them in parts")
            if each.stat().st_size > 16 * MAX_IMPORT:
                raise InvalidArgument(f"{each} is too large to hold certificates")
            yield each


@commands.command("export")
def export(
    out: Annotated[Path, typer.Argument(metavar="FILE", help="Where it goes; - is standard output.")],
    certificate_id: Annotated[
        list[int] | None, typer.Option("--certificate", "-c", metavar="NUMBER", help="For PEM and PFX; repeatable.")
    ] = None,
    form: Annotated[FormatChoice, typer.Option("--format", "-f", help="What to write.")] = FormatChoice.CSV,
    text: _TextOption = "",
    status: _StatusOption = None,
    expires_within: _BandOption = None,
    tag: _TagOption = "",
    owner: _OwnerOption = "",
    template: _TemplateOption = "",
    column: Annotated[
        list[str] | None, typer.Option("--column", metavar="NAME", help="For CSV and XLSX; all when not given.")
    ] = None,
    chain: Annotated[bool, typer.Option("--chain", help="For PEM and PFX: with the certificates above it.")] = False,
    password_file: Annotated[
        str,
        typer.Option("--password-file", metavar="FILE", help="Its first line protects the PFX; - is standard input."),
    ] = "",
    reason: Annotated[str, typer.Option("--reason", help="Why the private key leaves; it is audited.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    as_account: AsOption = "",
    home: HomeOption = None,
) -> None:
    """Write the list (CSV, XLSX), certificates (PEM), or a certificate with its private key (PFX)."""
    from certwright.adcs.errors import InvalidArgument
    from certwright.cli.files import read_password, write_file

    ids = list(certificate_id or ())
    if str(out) != "-" and out.exists() and not force:
        raise InvalidArgument(f"{out} exists already; name another file, or give --force to replace it")
    if form is FormatChoice.PFX and len(ids) != 1:
        raise InvalidArgument("name the one certificate of the PFX with --certificate")
    password = read_password(password_file) if form is FormatChoice.PFX else ""
    query = _query(text, status, expires_within, tag, owner, template, 25)
    with managing(home, as_account, looking=form is not FormatChoice.PFX) as session:
        manager = session.manager
        if form is FormatChoice.PFX:
            data = manager.keys.export_pfx(ids[0], password, with_chain=chain, reason=reason, actor=session.actor)
        elif form is FormatChoice.PEM:
            chosen_ids = ids or list(manager.inventory.ids(query, 10_000))
            data = manager.exporting.pem(chosen_ids, with_chain=chain)
        else:
            _write_list(manager, form, query, tuple(column or ()), out)
            return
    if form is FormatChoice.PFX:
        _write_private(out, data, force=force)
    else:
        write_file(out, data, force=force)


def _write_list(manager: Any, form: FormatChoice, query: InventoryQuery, columns: tuple[str, ...], out: Path) -> None:
    """Stream the list: it may have a million rows."""
    import os
    import shutil
    import tempfile

    if str(out) == "-":
        if form is FormatChoice.CSV:
            sys.stdout.buffer.writelines(manager.exporting.csv(query, columns))
        else:
            with tempfile.TemporaryFile() as file:
                manager.exporting.xlsx(query, file, columns)
                file.seek(0)
                shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.buffer.flush()
        return
    draft = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        with draft.open("wb") as file:
            if form is FormatChoice.CSV:
                file.writelines(manager.exporting.csv(query, columns))
            else:
                manager.exporting.xlsx(query, file, columns)
        draft.replace(out)
    finally:
        draft.unlink(missing_ok=True)


def _write_private(out: Path, data: bytes, *, force: bool) -> None:
    """A private key: readable by its owner alone from its first moment."""
    from certwright.cli.files import write_file
    from certwright.keystores import sealing

    if str(out) == "-":
        write_file(out, data)
    elif force:
        sealing.replace(out, data)
    else:
        sealing.write_new(out, data)


@commands.command("tag")
def tag_certificates(
    certificate_ids: _IdsArgument,
    add: Annotated[list[str] | None, typer.Option("--add", metavar="TAG", help="May be repeated.")] = None,
    remove: Annotated[list[str] | None, typer.Option("--remove", metavar="TAG", help="May be repeated.")] = None,
    as_account: AsOption = "",
    home: HomeOption = None,
) -> None:
    """Add and remove tags."""
    from certwright.adcs.errors import InvalidArgument

    if not add and not remove:
        raise InvalidArgument("name a tag with --add or --remove")
    with managing(home, as_account) as session:
        inventory = session.manager.inventory
        results = [inventory.tag(certificate_ids, add, actor=session.actor)] if add else []
        results += [inventory.untag(certificate_ids, each, actor=session.actor) for each in remove or ()]
    _print_results("changed", *results)


@commands.command("owner")
def set_owner(
    owner: Annotated[str, typer.Argument(metavar="OWNER", help="Whose they are; empty for nobody's.")],
    certificate_ids: _IdsArgument,
    as_account: AsOption = "",
    home: HomeOption = None,
) -> None:
    """Say whose certificates are."""
    with managing(home, as_account) as session:
        result = session.manager.inventory.set_owner(certificate_ids, owner, actor=session.actor)
    _print_results("changed", result)


@commands.command("delete")
def delete(
    certificate_ids: _IdsArgument,
    with_key: Annotated[
        bool, typer.Option("--with-key", help="Also those whose private key exists only here, and is then lost.")
    ] = False,
    as_account: AsOption = "",
    home: HomeOption = None,
) -> None:
    """Forget certificates. They stay valid."""
    with managing(home, as_account) as session:
        result = session.manager.inventory.delete(certificate_ids, with_key=with_key, actor=session.actor)
    _print_results("forgotten", result)


@commands.command("renew")
def renew(
    certificate_id: _IdArgument,
    key: Annotated[RenewalKeyChoice, typer.Option("--key", help="A new key, or the same.")] = RenewalKeyChoice.NEW,
    domain: Annotated[
        str, typer.Option("--domain", "-d", metavar="DOMAIN", help="Where to order; by default as before.")
    ] = "",
    template: Annotated[
        str, typer.Option("--template", "-t", metavar="NAME", help="What to order; by default as before.")
    ] = "",
    as_account: AsOption = "",
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Order a certificate's successor now."""
    from certwright.cli.orders import print_outcome
    from certwright.manager.values import RenewalKey

    with managing(home, as_account) as session:
        order = session.manager.renewal.renew(
            certificate_id, key=RenewalKey(key.value), domain=domain, template=template, actor=session.actor
        )
    print_outcome(order, as_json=as_json)


@commands.command("revoke")
def revoke(
    certificate_id: _IdArgument,
    reason: Annotated[
        str, typer.Option("--reason", metavar="REASON", help="As RFC 5280 spells it: keyCompromise, superseded ...")
    ] = "unspecified",
    as_account: AsOption = "",
    home: HomeOption = None,
) -> None:
    """Revoke at the CA that issued it, where that is one of this installation and an officer is configured."""
    from certwright.adcs.errors import InvalidArgument
    from certwright.adcs.roles import RevocationReason
    from certwright.cli.output import print_line

    try:
        chosen_reason = RevocationReason.from_rfc_name(reason)
    except ValueError as error:
        raise InvalidArgument(str(error)) from error
    with managing(home, as_account) as session:
        session.manager.inventory.revoke(certificate_id, chosen_reason, actor=session.actor)
    print_line(f"Certificate {certificate_id} is revoked.")


def _query(
    text: str, status: StatusChoice | None, band: int | None, tag: str, owner: str, template: str, limit: int
) -> InventoryQuery:
    from certwright.manager.inventory_values import CertificateStatus, InventoryQuery

    return InventoryQuery(
        text=text,
        status=CertificateStatus(status.value) if status is not None else None,
        band=band,
        tag=tag,
        owner=owner,
        template=template,
        limit=limit,
    )


def _described(row: CertificateRow) -> dict[str, Any]:
    from dataclasses import fields

    now = _now()
    described = {each.name: getattr(row, each.name) for each in fields(row)}
    return described | {"status": row.status(now), "days_left": row.days_left(now)}


def _now() -> Any:
    from datetime import UTC, datetime

    return datetime.now(UTC)


def _print_results(what: str, *results: BulkResult) -> None:
    from certwright.cli.output import print_error, print_line

    done = dict.fromkeys(each for result in results for each in result.done)
    refused = {number: why for result in results for number, why in result.refused.items()}
    if done:
        print_line(f"{', '.join(map(str, done))}: {what}.")
    for number, why in refused.items():
        print_error(f"certificate {number}: {why}")
    if refused:
        raise typer.Exit(1)
