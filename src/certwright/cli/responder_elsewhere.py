"""`certwright responder add` and its like: CAs whose database is not here, known from their CRLs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from certwright.cli.session import AsOption, CaOption, HomeOption, JsonOption, opened

if TYPE_CHECKING:
    from certwright.online_responder.service import ResponderStanding
    from certwright.online_responder.store import StoredList

commands = typer.Typer()

NamedCaOption = Annotated[str, typer.Option("--ca", metavar="NAME", help="Which CA, by the name it has here.")]


@commands.command("list")
def list_elsewhere(as_json: JsonOption = False, home: HomeOption = None) -> None:
    """List the CAs elsewhere that the responder answers for from their CRLs."""
    from certwright.cli.output import print_json, print_table
    from certwright.server.responder_setup import ResponderSetup

    with opened(home) as session:
        rows = [_row(each) for each in ResponderSetup(session.installation).elsewhere()]
    if as_json:
        print_json(rows)
    else:
        headings = ("CA", "State", "CRL", "CRL until", "Delta CRL until", "Signing certificate until")
        print_table([list(row.values()) for row in rows], *headings)


def _row(standing: ResponderStanding) -> dict[str, object]:
    base, delta = standing.ends_first(is_delta=False), standing.ends_first(is_delta=True)
    return {
        "ca": standing.ca,
        "state": "enabled" if standing.enabled else "disabled",
        "crl_number": base.facts.number if base is not None and base.facts is not None else None,
        "crl_until": base.facts.next_update if base is not None and base.facts is not None else None,
        "delta_until": delta.facts.next_update if delta is not None and delta.facts is not None else None,
        "signing_certificate_until": standing.not_after,
    }


def called(kept: StoredList) -> str:
    """What a copied list is called."""
    what = "delta CRL" if kept.is_delta else "base CRL"
    return f"{what} of partition {kept.partition}" if kept.partition else what


@commands.command("add")
def add(
    certificate: Annotated[Path, typer.Argument(metavar="FILE", help="The CA's certificate, PEM or DER.")],
    crl: Annotated[
        list[str], typer.Option("--crl", metavar="URL", help="Where its base CRL is: http, https, ldap or file.")
    ],
    delta_crl: Annotated[
        list[str] | None, typer.Option("--delta-crl", metavar="URL", help="Where its delta CRL is.")
    ] = None,
    partitions: Annotated[
        str, typer.Option(metavar="WHICH", help="Its CRL partitions: 4, 2-7, or 1- for all that are found.")
    ] = "",
    name: Annotated[str, typer.Option(help="What it is called here; its common name by default.")] = "",
    as_account: AsOption = "",
    home: HomeOption = None,
) -> None:
    """Take in a CA elsewhere, whose certificates are known from its CRLs; they are copied at once.

    The same again with its renewed certificate of the same key replaces that.
    """
    from certwright.cli.files import read_file
    from certwright.cli.output import print_line
    from certwright.online_responder.signer_files import MAX_FILE
    from certwright.server.responder_setup import ResponderSetup

    sources = {"crl-urls": " ".join(crl)}
    if delta_crl:
        sources["delta-crl-urls"] = " ".join(delta_crl)
    if partitions:
        sources["partitions"] = partitions
    with opened(home, as_account) as session:
        setup = ResponderSetup(session.installation)
        added = setup.add(name, read_file(str(certificate), MAX_FILE), sources, session.operator, at_host=True)
        standing = setup.standing(added)
    print_line(f"{added} is added; it is not answered for yet.")
    for each in standing.lists:
        what = called(each)
        if each.facts is None:
            print_line(f"No {what} could be copied: {each.error}")
        else:
            until = f"{each.facts.next_update:%Y-%m-%d %H:%M} UTC"
            print_line(f"The {what} has {each.entries} entries and holds until {until}.")
    if not standing.serial_number:
        print_line("Next: a signing certificate, which that CA has to issue. Either make a request for it:")
        print_line(f"  certwright responder request --ca '{added}' --out responder.csr")
        print_line("or bring one with its key:")
        print_line(f"  certwright responder install responder.pfx --ca '{added}'")
    print_line(f"Then: certwright responder enable --ca '{added}'")


@commands.command("remove")
def remove(ca: NamedCaOption, as_account: AsOption = "", home: HomeOption = None) -> None:
    """Forget a CA elsewhere, with its CRLs and the keys that sign for it."""
    from certwright.cli.output import print_line
    from certwright.server.responder_setup import ResponderSetup

    with opened(home, as_account) as session:
        ResponderSetup(session.installation).remove(ca, session.operator)
    print_line(f"{ca} is removed; clients that ask are told unauthorized.")


@commands.command("copy")
def copy(ca: NamedCaOption, as_account: AsOption = "", home: HomeOption = None) -> None:
    """Copy the CRLs of a CA elsewhere now, instead of when they are due."""
    from certwright.adcs.errors import ConfigurationError
    from certwright.cli.output import print_line
    from certwright.server.responder_setup import ResponderSetup

    with opened(home, as_account) as session:
        setup = ResponderSetup(session.installation)
        problems = setup.copy(ca, session.operator)
        standing = setup.standing(ca)
    if problems:
        raise ConfigurationError("; ".join(problems))
    for each in standing.lists:
        if each.facts is not None:
            number = "without number" if each.facts.number is None else f"number {each.facts.number}"
            print_line(f"The {called(each)}, {number}, holds until {each.facts.next_update:%Y-%m-%d %H:%M} UTC.")


@commands.command("request")
def request(
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where the request goes; - for the screen.")],
    ca: CaOption = "",
    force: Annotated[bool, typer.Option("--force", help="Replace the file.")] = False,
    as_account: AsOption = "",
    home: HomeOption = None,
) -> None:
    """Make a key and a request for a signing certificate, which the CA in question has to issue.

    The key stays here, sealed. Take what was issued in with: certwright responder install
    """
    from certwright.cli.files import write_file
    from certwright.cli.output import print_line
    from certwright.pki import armor
    from certwright.server.responder_setup import ResponderSetup

    if str(out) != "-" and out.exists() and not force:  # before a key is made for nothing
        write_file(out, b"")
    with opened(home, as_account) as session:
        made = ResponderSetup(session.installation).request_signer(ca, session.operator)
    write_file(out, armor.armor(armor.CERTIFICATE_REQUEST, made).encode(), force=force)
    if str(out) != "-":
        print_line(f"The request is in {out}; let the CA issue it for OCSP signing, and install what it gives.")


@commands.command("install")
def install(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="PFX, PEM or DER.")],
    ca: CaOption = "",
    password_file: Annotated[
        str,
        typer.Option("--password-file", metavar="FILE", help="The first line is the file's password; - reads input."),
    ] = "",
    as_account: AsOption = "",
    home: HomeOption = None,
) -> None:
    """Take in a signing certificate: with its key, or the answer to the request that was made here.

    A CA of this installation uses it with: certwright responder set signed-with=chosen
    """
    from certwright.cli.files import read_file, read_password
    from certwright.cli.output import print_line
    from certwright.online_responder.signer_files import MAX_FILE
    from certwright.server.responder_setup import ResponderSetup

    data = read_file(str(file), MAX_FILE)
    password = read_password(password_file) if password_file else ""
    with opened(home, as_account) as session:
        setup = ResponderSetup(session.installation)
        setup.install_signer(ca, data, password, session.operator)
        standing = setup.standing(ca)
    if standing.not_after is not None:
        print_line(f"Answers for {standing.ca} are signed with it until {standing.not_after:%Y-%m-%d %H:%M} UTC.")
    else:
        print_line(f"It is here; {standing.ca} uses it with: certwright responder set signed-with=chosen")
