"""`certwright ca`: the CAs themselves, their certificates, settings, CRLs and keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from certwright.cli.session import AsOption, CaOption, HomeOption, JsonOption, opened
from certwright.cli.templates import parse_settings

if TYPE_CHECKING:
    from certwright.ca.database import CaDatabase, CaRecord
    from certwright.cli.session import Session

commands = typer.Typer(help="The CAs: certificates, settings, CRLs and keys.", no_args_is_help=True)

_OutOption = Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="Where it goes; - is standard output.")]
_ForceOption = Annotated[bool, typer.Option("--force", help="Replace an existing file.")]
_NameArgument = Annotated[str, typer.Argument(metavar="CA", help="Which CA, by its name.")]
_OptionalName = Annotated[
    str, typer.Argument(metavar="[CA]", help="Which CA, by its name; the issuing CA by default.")
]
_KeyOption = Annotated[
    int,
    typer.Option(
        "--key", metavar="N", min=-1, help="An earlier key of the CA, by its number; the newest by default."
    ),
]
_PassphraseOption = Annotated[
    str,
    typer.Option(
        "--passphrase-file", metavar="FILE", help="Its first line protects the key file; - reads standard input."
    ),
]


@commands.command("list")
def list_cas(as_json: JsonOption = False, home: HomeOption = None) -> None:
    """List the CAs of this installation."""
    from certwright.cli.output import print_json, print_table

    with opened(home) as session:
        described = [_describe(session, record) for record in session.installation.records()]
    if as_json:
        print_json(described)
        return
    print_table(
        ((each["name"], each["type"], each["parent"], each["not_after"], each["key_state"]) for each in described),
        "name",
        "type",
        "parent",
        "valid until",
        "key",
    )


@commands.command("show")
def show(
    name: _OptionalName = "",
    ca: CaOption = "",
    as_account: AsOption = "",
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Show a CA: certificate, key, CRL, every setting with its meaning, and how its key is taken offline."""
    from certwright.adcs.roles import CaAccess
    from certwright.ca.settings import SETTINGS
    from certwright.cli.output import print_fields, print_json, print_line

    readers = CaAccess.READ | CaAccess.ADMINISTRATOR | CaAccess.OFFICER | CaAccess.AUDITOR
    with opened(home, as_account) as session:
        session.installation.demand(session.operator, readers, name or ca)
        record = session.installation.ca(name or ca).authority.database.ca()
        described = _describe(session, record)
        settings = dict(session.installation.configuration(name or ca).as_text())
    if as_json:
        print_json(described | {"settings": settings})
        return
    inside = ("crl", "published")
    print_fields([(key.replace("_", " "), value) for key, value in described.items() if key not in inside])
    print_fields([(f"CRL {key.replace('_', ' ')}", value) for key, value in (described["crl"] or {}).items()])
    print_fields([(f"published at {target}", said) for target, said in _targets(described["published"])])
    print_line("")
    print_line("Settings (change them with: certwright ca set KEY=VALUE)")
    for key, value in settings.items():
        print_line(f"  {key} = {value}")
        print_line(f"      {SETTINGS[key].meaning}")
    print_line("")
    if described["key_state"] == "offline":
        print_line("The key is offline. To use it, for its next CRL or a new CA below it:")
        print_line(f"  certwright ca bring-online {record.name!r} --in FILE")
    elif record.ca_type.is_root:
        print_line("A root's key is needed twice a year; the rest of the time it is safer elsewhere:")
        print_line(f"  certwright ca take-offline {record.name!r} --out FILE-ON-OTHER-MEDIA")


@commands.command("certificate")
def certificate(
    name: _OptionalName = "",
    ca: CaOption = "",
    out: _OutOption = Path("-"),
    der: Annotated[bool, typer.Option("--der", help="DER instead of PEM.")] = False,
    force: _ForceOption = False,
    home: HomeOption = None,
) -> None:
    """Write a CA's certificate."""
    from certwright.cli.files import write_file
    from certwright.pki import armor

    with opened(home) as session:
        encoded = session.installation.chain(name or ca)[0]
    write_file(out, encoded if der else armor.armor(armor.CERTIFICATE, encoded).encode(), force=force)


@commands.command("chain")
def chain(
    name: _OptionalName = "",
    ca: CaOption = "",
    out: _OutOption = Path("-"),
    force: _ForceOption = False,
    home: HomeOption = None,
) -> None:
    """Write the chain as PEM: the issuing CA first, the root last."""
    from certwright.cli.files import write_file
    from certwright.pki import armor

    with opened(home) as session:
        certificates = session.installation.chain(name or ca)
    write_file(out, "".join(armor.armor(armor.CERTIFICATE, each) for each in certificates).encode(), force=force)


@commands.command("crl")
def crl(
    name: _OptionalName = "",
    ca: CaOption = "",
    out: _OutOption = Path("-"),
    der: Annotated[bool, typer.Option("--der", help="DER instead of PEM.")] = False,
    delta: Annotated[bool, typer.Option("--delta", help="The delta CRL instead of the base CRL.")] = False,
    key_index: _KeyOption = -1,
    partition: Annotated[
        int, typer.Option("--partition", metavar="N", min=0, help="Of a range of request IDs; 0, of everything.")
    ] = 0,
    force: _ForceOption = False,
    home: HomeOption = None,
) -> None:
    """Write a CA's newest CRL."""
    from certwright.adcs.errors import InvalidArgument
    from certwright.cli.files import write_file
    from certwright.pki import armor

    with opened(home) as session:
        database = session.installation.ca(name or ca).authority.database
        newest = max(database.ca().certificates, key=lambda each: each.index)
        wanted = newest.key_index if key_index < 0 else key_index
        found = database.latest_crl(wanted, delta=delta, partition=partition)
    if found is None:
        raise InvalidArgument("this CA has published no such CRL yet; run: certwright ca publish-crl")
    write_file(out, found.der if der else armor.armor(armor.X509_CRL, found.der).encode(), force=force)


@commands.command("publish-crl")
def publish_crl(
    name: _OptionalName = "",
    ca: CaOption = "",
    delta: Annotated[bool, typer.Option("--delta", help="A delta CRL alone, where the CA makes them.")] = False,
    as_account: AsOption = "",
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Make and publish a new CRL now, of every key of the CA; a delta CRL with it where the CA makes them."""
    from certwright.adcs.interfaces import CrlKind
    from certwright.ca.revocation.publication import PublicationFailed
    from certwright.cli.output import print_json, print_line, progress

    failed: PublicationFailed | None = None

    with opened(home, as_account) as session, progress(1) as step:
        local = session.installation.ca(name or ca)
        step("making the CRL")
        try:
            session.administer(local.config).publish_crls(CrlKind.DELTA if delta else CrlKind.BASE)
        except PublicationFailed as error:
            failed = error
        database = local.authority.database
        newest = max(database.ca().certificates, key=lambda each: each.index)
        made = database.latest_crl(newest.key_index, delta=delta)
        published = _deliveries(database)
    if as_json and made is not None:
        print_json(
            {
                "ca": local.authority.name,
                "number": made.number,
                "entries": made.entry_count,
                "this_update": made.this_update,
                "next_update": made.next_update,
                "next_publish": made.next_publish,
                "published": published,
            }
        )
    if failed is not None:
        raise failed
    assert made is not None
    if as_json:
        return
    kind = "Delta CRL" if delta else "CRL"
    print_line(
        f"{kind} {made.number} of {local.authority.name} is published: {made.entry_count} entries, "
        f"valid until {made.next_update:%Y-%m-%d %H:%M}Z."
    )


@commands.command("set")
def set_settings(
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Settings to change; without any, they are explained."),
    ] = None,
    override: Annotated[
        list[str] | None,
        typer.Option("--override", metavar="ESC", help="Save it although it opens this escalation; may be repeated."),
    ] = None,
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="Why the refusal is overridden, for the audit trail.")
    ] = "",
    ca: CaOption = "",
    as_account: AsOption = "",
    home: HomeOption = None,
) -> None:
    """Change settings of a CA, all or none; a running server follows at once. An empty value means the default."""
    from certwright.ca.settings import SETTINGS
    from certwright.cli.output import note, print_line

    if not settings:
        for key, setting in SETTINGS.items():
            print_line(f"{key} (default {setting.default or 'empty'})")
            print_line(f"    {setting.meaning}")
        return
    changes = parse_settings(settings)
    accepted = [*(override or ())]
    if changes.get("channel-binding", "").strip().lower() in ("allow", "off") and not accepted:
        accepted, reason = ["ESC8"], reason or "channel-binding was set by its name at the command line"
        note("ESC8: without channel bindings a logon may be relayed from another server; audit security lists it")
    with opened(home, as_account) as session:
        local = session.installation.ca(ca)
        session.administer(local.config).set_configuration(changes, override=accepted, reason=reason)
        now = session.installation.configuration(ca).as_text()
    for key in changes:
        print_line(f"{key} = {now.get(key, '')}")


@commands.command("take-offline")
def take_offline(
    name: _NameArgument,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="Where the encrypted key goes.")],
    passphrase_file: _PassphraseOption = "",
    issuing: Annotated[bool, typer.Option("--issuing", help="Also if the CA issues to everybody: it stops.")] = False,
    key_index: _KeyOption = -1,
    as_account: AsOption = "",
    home: HomeOption = None,
) -> None:
    """Write a CA's private key to a file, encrypted under a passphrase, and remove it from here.

    The file is read back before the key is removed. Publish a CRL first: without the key there is none.
    """
    from certwright.adcs.errors import InvalidArgument
    from certwright.adcs.events import AuditEvent
    from certwright.adcs.roles import CaAccess
    from certwright.cli.files import read_password
    from certwright.cli.output import note, print_line

    with opened(home, as_account) as session:
        local = session.installation.ca(name)
        session.installation.demand(session.operator, CaAccess.ADMINISTRATOR, name)
        record = local.authority.database.ca()
        if not record.ca_type.is_root and not issuing:
            raise InvalidArgument(
                f"{record.name} issues certificates to everybody and would stop; say --issuing if that is meant"
            )
        key_name = _key_name(record, key_index)
        passphrase = read_password(passphrase_file, "Passphrase for the key file", "--passphrase-file").encode()
        session.installation.key_store.take_offline(key_name, out, passphrase)
        removed = (AuditEvent.CA_KEY_EXPORTED, AuditEvent.CA_KEY_REMOVED)
        _audit(session, name, removed, key=key_name, file=str(out))
    print_line(
        f"The key of {record.name} is in {out} and not here any more. Keep that file and its passphrase apart."
    )
    note("a server that runs lets go of it within a minute")


@commands.command("bring-online")
def bring_online(
    name: _NameArgument,
    file: Annotated[str, typer.Option("--in", "-i", metavar="FILE", help="The encrypted key; - is standard input.")],
    passphrase_file: _PassphraseOption = "",
    key_index: _KeyOption = -1,
    as_account: AsOption = "",
    home: HomeOption = None,
) -> None:
    """Take a CA's private key back from its file. The file stays where it is."""
    from certwright.adcs.events import AuditEvent
    from certwright.adcs.roles import CaAccess
    from certwright.cli.files import read_file, read_password
    from certwright.cli.output import print_line

    with opened(home, as_account) as session:
        local = session.installation.ca(name)
        session.installation.demand(session.operator, CaAccess.ADMINISTRATOR, name)
        record = local.authority.database.ca()
        key_name = _key_name(record, key_index)
        pem = read_file(file, 64 << 10)
        passphrase = read_password(passphrase_file, "Passphrase of the key file", "--passphrase-file").encode()
        session.installation.key_store.import_(key_name, pem, passphrase)
        _audit(session, name, (AuditEvent.CA_KEY_RETURNED,), key=key_name)
    print_line(f"The key of {record.name} is here again.")


def _describe(session: Session, record: CaRecord) -> dict[str, Any]:
    from certwright.pki.certificate import CertificateView

    newest = max(record.certificates, key=lambda each: each.index)
    view = CertificateView.parse(newest.der)
    latest = session.installation.ca(record.name).authority.database.latest_crl(newest.key_index)
    published: Mapping[str, object] | None = None
    if latest is not None:
        published = {
            "number": latest.number,
            "entries": latest.entry_count,
            "this_update": latest.this_update,
            "next_update": latest.next_update,
            "next_publish": latest.next_publish,
            "published_when": latest.published_when,
            "publish_error": latest.publish_error,
        }
    service = session.installation.directory.enrollment_service(record.name)
    key = view.public_key
    return {
        "name": record.name,
        "config": session.installation.ca(record.name).config,
        "type": record.ca_type.name.lower().replace("_", " "),
        "parent": record.parent,
        "subject": view.subject_name,
        "serial_number": view.serial_number,
        "sha1": view.sha1,
        "sha256": view.sha256,
        "not_before": view.not_before,
        "not_after": view.not_after,
        "key_algorithm": f"{key.kind_name} {key.bits}" if key.kind_name == "RSA" else key.kind_name,
        "key_name": newest.key_name,
        "key_state": "online" if session.installation.key_store.exists(newest.key_name) else "offline",
        "templates": service.templates if service is not None else (),
        "crl": published,
        "published": _deliveries(session.installation.ca(record.name).authority.database),
    }


def _deliveries(database: CaDatabase) -> Sequence[Mapping[str, object]]:
    """How every published file stands at each target."""
    return [asdict(each) for each in database.deliveries()]


def _targets(deliveries: Sequence[Mapping[str, object]]) -> Iterator[tuple[str, str]]:
    """Each target with how much of it lies there, or why not."""
    for target in dict.fromkeys(str(each["target"]) for each in deliveries):
        there = [each for each in deliveries if each["target"] == target]
        failing = [each for each in there if each["error"]]
        said = f"{len(there) - len(failing)} of {len(there)} files"
        yield target, "; ".join([said, *(f"{each['file']}: {each['error']}" for each in failing[:5])])


def _key_name(record: CaRecord, key_index: int) -> str:
    """The newest key of a CA, or the one with this number.

    Raises:
        InvalidArgument: it has none of this number.
    """
    from certwright.adcs.errors import InvalidArgument

    newest_first = sorted(record.certificates, key=lambda each: each.index, reverse=True)
    for certificate in newest_first:
        if key_index in (-1, certificate.key_index):
            return certificate.key_name
    numbers = ", ".join(str(number) for number in sorted({each.key_index for each in newest_first}))
    raise InvalidArgument(f"{record.name} has no key {key_index}; it has {numbers}")


def _audit(session: Session, name: str, events: tuple[Any, ...], **details: str) -> None:
    """Record what happened to a CA's key. The version of the CA's row rises: whoever holds the key looks again."""
    authority = session.installation.ca(name).authority
    with authority.transaction() as transaction:
        transaction.save_settings(transaction.ca().settings)
        for event in events:
            authority.audit(transaction, event, session.installation.clock(), session.actor, **details)
