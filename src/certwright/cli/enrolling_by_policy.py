"""`certwright enroll --policy` and `certwright renew`: certificates for this host from enrollment web services."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from certwright.cli.session import JsonOption

if TYPE_CHECKING:
    from certwright.client.enrolling import Result
    from certwright.client.enrollments import Enrollment, State

POLL_EVERY = 10.0
PENDING = 3
"""Exit status while a request waits for an approval."""

StateOption = Annotated[
    Path | None,
    typer.Option(
        "--state",
        envvar="CERTWRIGHT_ENROLLMENTS",
        metavar="FOLDER",
        help="Where it is noted what was enrolled for, without secrets; by default "
        "/var/lib/certwright/enrollments for root, else ~/.local/state/certwright/enrollments.",
    ),
]


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line of `enroll --policy` says."""

    policy: str
    template: str
    auth: str
    key_file: Path
    out: Path
    chain: Path | None
    names: Sequence[str]
    subject: str
    key_type: str
    user: str
    password_file: str
    keytab: str
    client_certificate: str
    client_key: str
    ca_file: str
    fingerprint: str
    ca: str
    state: Path | None
    wait: int


def enroll_by_policy(asked: Asked) -> None:
    """Have the certificate, or say what stands in the way."""
    import time

    from certwright.cli.output import note
    from certwright.client.enrolling import Client, Step

    password = _typed(asked)
    client = Client(_state(asked.state), password=password)
    wanted = _enrollment(asked)
    result = client.enroll(wanted)
    ends = time.monotonic() + asked.wait
    while result.step is Step.PENDING and time.monotonic() < ends:
        time.sleep(min(POLL_EVERY, max(0.1, ends - time.monotonic())))
        result = client.enroll(wanted)
    _say(result)
    if result.step is Step.PENDING:
        note("run the same command again later, or: certwright renew --due")
        raise typer.Exit(PENDING)


def renew(
    certificates: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILE]...", help="Certificates to renew now, by the files they were enrolled into."),
    ] = None,
    due: Annotated[
        bool, typer.Option("--due", help="Everything that is due, and whatever was approved meanwhile; for a timer.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what is there and when it is due; ask nobody.")
    ] = False,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Renew certificates that this host got with `enroll --policy`. No home folder is needed.

    With the old certificate where the CA takes that, else as whoever enrolled first. Exit status 1 when one could not
    be renewed.
    """
    from certwright.adcs.errors import AdcsError, InvalidArgument
    from certwright.cli.output import print_error, print_json, print_line, sentence_of
    from certwright.client.enrolling import Client
    from certwright.client.enrollments import Enrollment

    wanted = {str(path.absolute()) for path in certificates or ()}
    if bool(wanted) == due and not dry_run:
        raise InvalidArgument("name certificates to renew now, or give --due for what is due")
    folder = _state(state)
    client = Client(folder)
    told: list[dict[str, object]] = []
    failed = False
    for path, found in folder.all():
        if not isinstance(found, Enrollment):
            failed = True
            print_error(f"{path}: {found.message}")
            continue
        if wanted and found.certificate_file not in wanted:
            continue
        wanted.discard(found.certificate_file)
        if dry_run:
            told.append(_standing(found))
            continue
        try:
            result = client.renew(found, only_due=due)
        except (AdcsError, OSError) as error:
            failed = True
            told.append({"certificate": found.certificate_file, "step": "failed", "problem": sentence_of(error)})
            if not as_json:
                print_error(f"{found.certificate_file}: {sentence_of(error)}")
            continue
        told.append(_told(result))
        if not as_json:
            _say(result)
    for missing in sorted(wanted):
        failed = True
        print_error(f"{missing} was not enrolled for with the state in {folder.folder}")
    if as_json:
        print_json(told)
    elif dry_run:
        for each in told:
            print_line(f"{each['certificate']}  {each['template']}  due {each['due'] or 'now'}  {each['standing']}")
    if failed:
        raise typer.Exit(1)


def _state(folder: Path | None) -> State:
    from certwright.client.enrollments import State

    return State(folder or State.usual())


def _typed(asked: Asked) -> str:
    """A password that stands in no file: from standard input, or typed once."""
    import sys

    from certwright.cli.files import read_password

    if asked.auth != "password" or asked.password_file.strip("-"):
        return ""
    if not asked.password_file and sys.stdin.isatty():
        import getpass

        return getpass.getpass(f"Password of {asked.user}: ", stream=sys.stderr)
    return read_password(asked.password_file, "Password", "--password-file")


def _enrollment(asked: Asked) -> Enrollment:
    from certwright.adcs.errors import InvalidArgument
    from certwright.client.enrollments import Auth, Enrollment

    auth = Auth(asked.auth)
    if auth is Auth.CERTIFICATE and not (asked.client_certificate and asked.client_key):
        raise InvalidArgument("name the certificate to log on with: --client-certificate and --client-key")
    if auth is Auth.PASSWORD and not asked.user:
        raise InvalidArgument("name the account with --user")
    secret = asked.password_file if auth is Auth.PASSWORD else asked.keytab if auth is Auth.KERBEROS else ""
    return Enrollment(
        policy=asked.policy,
        template=asked.template,
        auth=auth,
        key_file=_place(asked.key_file),
        certificate_file=_place(asked.out),
        chain_file=_place(asked.chain or asked.out.with_suffix(".chain.pem")),
        names=tuple(asked.names),
        subject=asked.subject,
        key=asked.key_type,
        user=asked.user,
        secret_file=_place(secret) if secret.strip("-") else "",
        client_certificate=_place(asked.client_certificate),
        client_key=_place(asked.client_key),
        ca_file=_place(asked.ca_file),
        fingerprint=asked.fingerprint,
        ca=asked.ca,
    )


def _place(path: Path | str) -> str:
    """For a clock that runs in another folder."""
    return str(Path(path).absolute()) if str(path) else ""


def _say(result: Result) -> None:
    from certwright.cli.output import print_line

    print_line(_sentence(result))


def _sentence(result: Result) -> str:
    from certwright.client.enrolling import Step
    from certwright.pki.names import format_name

    file, certificate = result.enrollment.certificate_file, result.certificate
    if result.step is Step.PENDING:
        return f"request {result.enrollment.pending_id} for {file} waits for an approval: {result.message}"
    assert certificate is not None
    who = format_name(certificate.subject) or next(map(str, certificate.alternative_names), "a certificate")
    until = f"{certificate.not_after:%Y-%m-%d}"
    match result.step:
        case Step.IN_PLACE:
            due = f"{result.enrollment.due(certificate):%Y-%m-%d}"
            return f"{who}, until {until}, is in {file} already; due for renewal {due}."
        case Step.RENEWED:
            return f"{who} is renewed in {file}, until {until}."
    return f"{who}, until {until}, is in {file}."


def _told(result: Result) -> dict[str, object]:
    certificate = result.certificate
    return {
        "certificate": result.enrollment.certificate_file,
        "template": result.enrollment.template,
        "step": result.step.value,
        "request_id": result.enrollment.pending_id,
        "serial_number": certificate.serial_number if certificate is not None else "",
        "not_after": certificate.not_after if certificate is not None else None,
        "message": result.message,
    }


def _standing(enrollment: Enrollment) -> dict[str, object]:
    current = enrollment.files.current()
    return {
        "certificate": enrollment.certificate_file,
        "template": enrollment.template,
        "due": enrollment.due(current) if current is not None else None,
        "not_after": current.not_after if current is not None else None,
        "standing": "pending" if enrollment.pending_id else "in place" if current is not None else "missing",
        "request_id": enrollment.pending_id,
    }
