"""`certwright ca create | request | sign | install | import-crl | withdraw`: CAs from nothing to their certificate.

A CA that another one signs goes by files, whoever that is: the request is carried there, the certificate and the CRL
are carried back.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from certwright.cli.initializing import KeyChoice
from certwright.cli.session import AsOption, CaOption, HomeOption, home_folder, opened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from certwright.ca.periods import Period
    from certwright.cli.session import Session

commands = typer.Typer()

_MAX_FILE = 1 << 20
_MAX_CRL = 64 << 20


class TypeChoice(StrEnum):
    """The same list as `server.authorities.TYPES`, which is slow to import."""

    ENTERPRISE_SUBORDINATE = "enterprise-subordinate"
    STANDALONE_SUBORDINATE = "standalone-subordinate"
    STANDALONE_ROOT = "standalone-root"
    ENTERPRISE_ROOT = "enterprise-root"


_ForceOption = Annotated[bool, typer.Option("--force", help="Replace an existing file.")]
_ValidityOption = Annotated[
    str, typer.Option("--validity", metavar="PERIOD", help="How long the certificate is valid, as in '10 years'.")
]


@commands.command("create")
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the CA is called; its common name.")],
    ca_type: Annotated[
        TypeChoice, typer.Option("--type", help="Templates decide on an enterprise CA, officers on a standalone one.")
    ] = TypeChoice.ENTERPRISE_SUBORDINATE,
    parent: Annotated[
        str, typer.Option("--parent", metavar="CA", help="The CA of this installation that signs its certificate.")
    ] = "",
    request: Annotated[
        Path | None,
        typer.Option("--request", metavar="FILE", help="A CA elsewhere signs it: where the request for that goes."),
    ] = None,
    key: Annotated[KeyChoice, typer.Option("--key", help="Its key.")] = KeyChoice.RSA_3072,
    force: _ForceOption = False,
    as_account: AsOption = "",
    home: HomeOption = None,
) -> None:
    """Make a further CA: a root, one below a CA of this installation, or one that a CA elsewhere signs.

    With --request, carry the file to that CA, and its answer back to: certwright ca install.
    """
    from certwright.adcs.errors import InvalidArgument
    from certwright.cli.output import print_line
    from certwright.keystores.base import KeyAlgorithm
    from certwright.server import authorities

    kind, algorithm = authorities.TYPES[ca_type.value], KeyAlgorithm(key.value)
    if kind.is_root == bool(parent or request) or (parent and request):
        raise InvalidArgument(
            "a root signs itself and takes neither --parent nor --request"
            if kind.is_root
            else "say who signs it: --parent CA for one of this installation, or --request FILE for one elsewhere"
        )
    with opened(home, as_account) as session:
        _demand_administrator(session, parent)
        installation = session.installation
        if request is not None:
            refuse_existing(request, force=force)
            asked = authorities.create_by_request(installation, name, kind, algorithm, session.operator)
        elif kind.is_root:
            authorities.create_root(installation, name, kind, algorithm, session.operator)
        else:
            authorities.create_below(installation, name, kind, parent, algorithm, session.operator)
    if request is not None:
        write_request(request, asked, force=force)
        print_line(
            f"The request of {name} is in {request}. Carry it to the CA that is to sign it, and its answer to:"
        )
        print_line(f"  certwright ca install FILE --home {home_folder(home)}")
        return
    print_line(f"{name} is installed.")
    follow(home, as_account, name)


@commands.command("request")
def request_again(
    ca: CaOption = "",
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE", help="Where it goes; - is standard output.")
    ] = Path("-"),
    force: _ForceOption = False,
    as_account: AsOption = "",
    home: HomeOption = None,
) -> None:
    """Write the request of a CA that waits for its certificate once more."""
    from certwright.server import authorities

    with opened(home, as_account) as session:
        _demand_administrator(session)
        waiting = authorities.waiting(session.installation, ca).certificate_request()
    assert waiting is not None
    write_request(out, waiting.request, force=force)


@commands.command("withdraw")
def withdraw(ca: CaOption = "", as_account: AsOption = "", home: HomeOption = None) -> None:
    """Give up the request of a CA that waits for its certificate, with the key that was made for it."""
    from certwright.ca import request_files
    from certwright.cli.output import print_line
    from certwright.server import authorities

    with opened(home, as_account) as session:
        _demand_administrator(session)
        database = authorities.waiting(session.installation, ca)
        request_files.withdraw(database, session.installation.key_store)
        name = database.ca().name
    print_line(f"{name} waits for no certificate any more.")


@commands.command("sign")
def sign(
    request: Annotated[str, typer.Argument(metavar="FILE", help="The other CA's request; - is standard input.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="Where certificate and chain go.")],
    ca: Annotated[str, typer.Option("--ca", metavar="NAME", help="Which CA signs; by default the root.")] = "",
    validity: _ValidityOption = "10 years",
    path_length: Annotated[
        int, typer.Option("--path-length", min=0, max=8, help="How many CAs may stand below the new one.")
    ] = 0,
    force: _ForceOption = False,
    as_account: AsOption = "",
    home: HomeOption = None,
) -> None:
    """Certify another CA by its request file. The answer holds its certificate and those above it, as PEM."""
    from certwright.adcs.roles import CaAccess
    from certwright.cli.files import read_file, write_file
    from certwright.cli.output import print_fields, print_line
    from certwright.pki import armor
    from certwright.pki.certificate import CertificateView
    from certwright.server import authorities

    der = armor.dearmor(read_file(request, _MAX_FILE))
    refuse_existing(out, force=force)
    with opened(home, as_account) as session:
        name = ca or _root_of(session)
        session.installation.demand(session.operator, CaAccess.ADMINISTRATOR, name)
        chain = authorities.sign(session.installation, name, der, period_of(validity), path_length, session.operator)
    write_file(out, "".join(armor.armor(armor.CERTIFICATE, each) for each in chain).encode(), force=force)
    view = CertificateView.parse(chain[0])
    print_line(f"{name} has certified another CA; the answer is in {out}.")
    print_fields(
        [
            ("subject", view.subject_name),
            ("serial number", view.serial_number),
            ("valid until", view.not_after),
            ("sha256", view.sha256),
        ]
    )


@commands.command("install")
def install(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="The answer: PEM, DER or PKCS #7; - is standard input.")
    ],
    chain: Annotated[
        list[str] | None,
        typer.Option(
            "--chain", metavar="FILE", help="Certificates of the CAs above, if not in FILE; may be repeated."
        ),
    ] = None,
    ca: CaOption = "",
    as_account: AsOption = "",
    home: HomeOption = None,
) -> None:
    """Install the certificate that a CA elsewhere signed: the first one of a new CA, or a renewed one."""
    from certwright.cli.files import read_file
    from certwright.cli.output import print_fields, print_line
    from certwright.pki.certificate import CertificateView
    from certwright.server import authorities

    certificates = [each for name in (file, *(chain or ())) for each in certificates_of(read_file(name, _MAX_FILE))]
    with opened(home, as_account) as session:
        _demand_administrator(session)
        database = authorities.waiting(session.installation, ca)
        record = authorities.install(session.installation, database, certificates, session.operator)
        name = database.ca().name
    view = CertificateView.parse(record.der)
    print_line(f"The certificate of {name} is installed.")
    print_fields([("issuer", view.issuer_name), ("valid until", view.not_after), ("sha256", view.sha256)])
    follow(home, as_account, name)


@commands.command("import-crl")
def import_crl(
    file: Annotated[str, typer.Argument(metavar="FILE", help="The CRL, PEM or DER; - is standard input.")],
    as_account: AsOption = "",
    home: HomeOption = None,
) -> None:
    """Publish the CRL of a CA elsewhere that stands above one of ours, such as a root without a network."""
    from certwright.cli.files import read_file
    from certwright.cli.output import print_line
    from certwright.pki import armor
    from certwright.server import above

    der = armor.dearmor(read_file(file, _MAX_CRL), _MAX_CRL)
    with opened(home, as_account) as session:
        _demand_administrator(session)
        crl, files = above.import_crl(session.installation, der, session.operator)
    until = f", valid until {crl.next_update:%Y-%m-%d %H:%M}Z" if crl.next_update is not None else ""
    print_line(f"CRL {crl.number} of {crl.issuer_name} is published as {', '.join(files)}{until}.")


# -- shared ----------------------------------------------------------------------------------------------------------


def _demand_administrator(session: Session, name: str = "") -> None:
    """A CA administrator; where there is no CA yet, whoever administers the domain."""
    from certwright.adcs.errors import AccessDenied
    from certwright.adcs.roles import CaAccess
    from certwright.directory.well_known import Rid

    installation = session.installation
    if installation.cas:
        installation.demand(session.operator, CaAccess.ADMINISTRATOR, name)
    elif Rid.DOMAIN_ADMINS.in_domain(installation.local_directory.domain.sid) not in session.operator.sids:
        raise AccessDenied(f"{session.actor} has no right to do this; it needs: domain administrator")


def _root_of(session: Session) -> str:
    """The root of this installation, when there is one."""
    from certwright.adcs.errors import InvalidArgument

    found = [record.name for record in session.installation.records() if record.ca_type.is_root]
    if len(found) != 1:
        raise InvalidArgument(f"say with --ca which CA signs; there are {', '.join(found) or 'no roots'}")
    return found[0]


def period_of(text: str) -> Period:
    from certwright.adcs.errors import InvalidArgument
    from certwright.ca.periods import Period

    try:
        period = Period.parse(text)
    except ValueError as error:
        raise InvalidArgument(f"--validity: {error}") from error
    if not period.count:
        raise InvalidArgument("--validity: it must be longer than nothing")
    return period


def certificates_of(data: bytes) -> Sequence[bytes]:
    """Every certificate in a file: PEM blocks one after the other, DER, or PKCS #7 in either."""
    import re

    from certwright.pki import armor, cms
    from certwright.pki.errors import EncodingError

    blocks = re.findall(rb"-----BEGIN [^-]+-----.+?-----END [^-]+-----", data, re.DOTALL) or [data]
    found: list[bytes] = []
    for block in blocks:
        der = armor.dearmor(block, _MAX_FILE)
        try:
            found += cms.parse_certs_only(der)
        except EncodingError:
            found.append(der)
    return found


def refuse_existing(path: Path, *, force: bool) -> None:
    """Before anything is made: what could not be written afterwards would have to be asked for again."""
    from certwright.adcs.errors import InvalidArgument

    if str(path) == "-":
        return
    if path.exists() and not force:
        raise InvalidArgument(f"{path} exists already; name another file, or give --force to replace it")
    if not path.absolute().parent.is_dir():
        raise InvalidArgument(f"there is no folder {path.absolute().parent}")


def write_request(path: Path, request: bytes, *, force: bool) -> None:
    from certwright.cli.files import write_file
    from certwright.pki import armor

    write_file(path, armor.armor(armor.CERTIFICATE_REQUEST, request).encode(), force=force)


def follow(home: Path | None, account: str, name: str) -> None:
    """What a CA's new certificate brings with it; the installation is opened again to know it."""
    from certwright.cli.output import note
    from certwright.server import authorities

    with opened(home, account) as session:
        for sentence in authorities.follow(session.installation, name, session.operator):
            note(sentence)
