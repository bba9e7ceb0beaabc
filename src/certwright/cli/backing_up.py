"""`certwright backup` and `certwright restore`: a whole installation as one encrypted file, and back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from certwright.cli.session import AsOption, HomeOption, JsonOption, home_folder, opened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from certwright.server.backup import Jump

_PasswordOption = Annotated[
    str,
    typer.Option(
        "--password-file", metavar="FILE", help="Its first line protects the backup; - reads standard input."
    ),
]


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where it goes; an existing file is never replaced.")],
    password_file: _PasswordOption = "",
    without_master_key: Annotated[
        bool,
        typer.Option("--without-master-key", help="Leave out master.key, which you keep elsewhere."),
    ] = False,
    as_account: AsOption = "",
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Back up the installation while it runs: database, keys, settings, audit trail, templates, published files.

    The file is encrypted under the password, which needs 12 characters, and read back before it counts.
    """
    from certwright.cli.files import read_password
    from certwright.cli.output import note, print_fields, print_json
    from certwright.server import backup as backups

    password = read_password(password_file, "Password of the backup")
    with opened(home, as_account) as session:
        facts = backups.make(
            session.installation, file, password, session.operator, with_master_key=not without_master_key
        )
    fields = {
        "file": str(file),
        "bytes": file.stat().st_size,
        "made": facts.made,
        "database": facts.database,
        "cas": list(facts.cas),
        "master_key": facts.has_master_key,
    }
    if as_json:
        print_json(fields)
        return
    print_fields([(name.replace("_", " "), value) for name, value in fields.items()])
    note("keep the password apart from the file: whoever has both has every key of the installation")


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A backup.")],
    password_file: _PasswordOption = "",
    database: Annotated[
        str, typer.Option("--database", metavar="URL", help="An empty PostgreSQL database, for a backup of one.")
    ] = "",
    master_key: Annotated[
        Path | None,
        typer.Option("--master-key", metavar="FILE", help="For a backup that was made without it."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only read the backup to its end and say what it holds.")
    ] = False,
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Put a backup into a home folder that is empty or not there. Nothing is written before all of it was read.

    CRL numbers and request IDs jump, so that none comes back that was given out after the backup.
    """
    from certwright.cli.files import read_password
    from certwright.cli.output import note, print_fields, print_json, print_line, print_table
    from certwright.server import backup as backups
    from certwright.server import logs

    logs.configure("error", "console")
    password = read_password(password_file, "Password of the backup")
    folder = home_folder(home)
    jumps: Sequence[Jump] = ()
    if check:
        facts = backups.examine(file, password)
    else:
        facts, jumps = backups.restore(file, password, folder, database_url=database, master_key=master_key)
    fields = {
        "made": facts.made,
        "version": facts.version,
        "hostname": facts.hostname,
        "database": facts.database,
        "cas": list(facts.cas),
        "master_key": facts.has_master_key,
        "bytes": facts.size,
    }
    moved = [
        {"ca": each.ca, "crl_numbers_from": each.crl_number, "request_ids_from": each.request_id} for each in jumps
    ]
    if as_json:
        print_json(fields | {"home": "" if check else str(folder), "numbers": moved})
        return
    print_fields([(name.replace("_", " "), value) for name, value in fields.items()])
    if check:
        print_line("The backup is whole.")
        return
    print_line("")
    print_line(f"It is restored into {folder}. The numbers of its CAs jump, so that none comes back:")
    print_table(
        ((each["ca"], each["crl_numbers_from"], each["request_ids_from"]) for each in moved),
        "ca",
        "CRL numbers from",
        "request IDs from",
    )
    note(f"what was issued or revoked after {facts.made:%Y-%m-%d %H:%M}Z is not in it: revoke again what was revoked")
    note(f"see that all is well with: certwright audit verify --home {folder}")
