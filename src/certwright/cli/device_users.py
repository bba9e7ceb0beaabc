"""`certwright device-user`: the accounts that order from AD CS services. Secrets come from files or from input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from certwright.cli.managing import chosen, managing, optional_time
from certwright.cli.session import AsOption, HomeOption, JsonOption

if TYPE_CHECKING:
    from certwright.connectors.service import CredentialKind

commands = typer.Typer(help="Device users: the accounts that order certificates.", no_args_is_help=True)

MAX_KEYTAB = 64 * 1024
_NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Its name here, or its number.")]
_SecretFileOption = Annotated[
    str,
    typer.Option("--secret-file", metavar="FILE", help="Its first line is the password; - reads standard input."),
]
_KeytabOption = Annotated[
    str, typer.Option("--keytab", metavar="FILE", help="A keytab instead of a password, for Kerberos.")
]


@commands.command("add")
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is called here.")],
    username: Annotated[
        str, typer.Option("--username", "-u", metavar="ACCOUNT", help=r"DOMAIN\name, or a user principal name.")
    ],
    realm: Annotated[
        str, typer.Option("--realm", metavar="DOMAIN", help="DNS name of its domain, where the user name has none.")
    ] = "",
    secret_file: _SecretFileOption = "",
    keytab: _KeytabOption = "",
    expires: Annotated[
        str, typer.Option("--expires", metavar="TIME", help="When the secret ends, so that people are told before.")
    ] = "",
    as_account: AsOption = "",
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Add a device user. The secret is kept sealed and never shown again.

    The password comes from --secret-file, from standard input, or is typed without echo; never from an argument.
    """
    from certwright.cli.output import print_json, print_line
    from certwright.manager.values import DeviceUserFields

    ends = optional_time(expires, "--expires")
    secret, kind = _secret(secret_file, keytab)
    with managing(home, as_account) as session:
        fields = DeviceUserFields(name, username, realm, kind, ends)
        user = session.manager.device_users.add(fields, secret, actor=session.actor)
    if as_json:
        print_json(user)
    else:
        print_line(f"Added the device user {user.name} (number {user.id}).")


@commands.command("list")
def list_users(as_account: AsOption = "", as_json: JsonOption = False, home: HomeOption = None) -> None:
    """List device users."""
    from certwright.cli.output import print_json, print_table

    with managing(home, as_account, looking=True) as session:
        users = session.manager.device_users.list()
    if as_json:
        print_json(users)
        return
    print_table(
        ((user.id, user.name, user.username, user.kind, user.realm, user.used_by, user.expires) for user in users),
        "number",
        "name",
        "username",
        "kind",
        "realm",
        "used by",
        "expires",
    )


@commands.command("set-secret")
def set_secret(
    name: _NameArgument,
    secret_file: _SecretFileOption = "",
    keytab: _KeytabOption = "",
    as_account: AsOption = "",
    home: HomeOption = None,
) -> None:
    """Replace the password, or the keytab."""
    from certwright.cli.output import print_line

    secret, kind = _secret(secret_file, keytab)
    with managing(home, as_account) as session:
        users = session.manager.device_users
        user = chosen(name, users.list(), "device user", "name", "username")
        users.replace_secret(user.id, secret, kind=kind, actor=session.actor)
    print_line(f"The secret of {user.name} is replaced.")


@commands.command("delete")
def delete(name: _NameArgument, as_account: AsOption = "", home: HomeOption = None) -> None:
    """Remove a device user and its secret. Services that use it have to be given another one first."""
    from certwright.cli.output import print_line

    with managing(home, as_account) as session:
        users = session.manager.device_users
        user = chosen(name, users.list(), "device user", "name", "username")
        users.delete(user.id, actor=session.actor)
    print_line(f"The device user {user.name} is gone.")


def _secret(secret_file: str, keytab: str) -> tuple[str | bytes, CredentialKind]:
    from certwright.adcs.errors import InvalidArgument
    from certwright.cli.files import read_file, read_password
    from certwright.connectors.service import CredentialKind

    if keytab and secret_file:
        raise InvalidArgument("give --secret-file or --keytab, not both")
    if keytab:
        return read_file(keytab, MAX_KEYTAB), CredentialKind.KEYTAB
    return read_password(secret_file, option="--secret-file"), CredentialKind.PASSWORD
