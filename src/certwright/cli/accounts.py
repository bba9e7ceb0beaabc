"""`certwright account`: users, computers and groups of the embedded directory."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from certwright.cli.session import AsOption, HomeOption, JsonOption, opened

commands = typer.Typer(help="Accounts and groups of the embedded directory.", no_args_is_help=True)

_NameArgument = Annotated[str, typer.Argument(metavar="NAME", help=r"name, DOMAIN\name, user principal name or SID.")]
_PasswordFileOption = Annotated[
    str,
    typer.Option("--password-file", metavar="FILE", help="Its first line is the password; - reads standard input."),
]


@commands.command("add")
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The account's name, without the domain.")],
    computer: Annotated[bool, typer.Option("--computer", help="A computer instead of a user.")] = False,
    group: Annotated[
        list[str] | None, typer.Option("--group", "-g", metavar="GROUP", help="A further group; may be repeated.")
    ] = None,
    ntlm: Annotated[
        bool,
        typer.Option("--ntlm", help="Allow NTLM: an NT hash is kept, sealed. Needed for curl --ntlm and Windows."),
    ] = False,
    password_file: _PasswordFileOption = "",
    no_password: Annotated[
        bool, typer.Option("--no-password", help="None for now: the account cannot log on until it is given one.")
    ] = False,
    mail: Annotated[str, typer.Option("--mail", metavar="ADDRESS", help="Mail address.")] = "",
    upn: Annotated[
        str,
        typer.Option("--upn", metavar="NAME@DOMAIN", help="User principal name; by default from name and domain."),
    ] = "",
    common_name: Annotated[str, typer.Option("--common-name", help="As it stands in certificates.")] = "",
    dns_host_name: Annotated[
        str, typer.Option("--dns-host-name", metavar="FQDN", help="A computer's; by default from name and domain.")
    ] = "",
    additional_host_name: Annotated[
        list[str] | None,
        typer.Option(
            "--additional-host-name",
            metavar="NAME",
            help="A further DNS name or IP address in a computer's certificates; may be repeated.",
        ),
    ] = None,
    as_account: AsOption = "",
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Add a user (who is in Domain Users) or a computer (in Domain Computers).

    The password comes from --password-file, from standard input, or is typed without echo; never from an argument.
    A computer is given one only with --password-file or --ntlm.
    """
    from certwright.adcs.errors import InvalidArgument
    from certwright.cli.files import read_password
    from certwright.cli.output import print_json, print_line
    from certwright.directory.base import PrincipalKind

    # A computer usually needs none: it is an entry that certificates are issued for. Nothing is read then.
    without = no_password or (computer and not password_file and not ntlm)
    if no_password and password_file:
        raise InvalidArgument("give --password-file or --no-password, not both")
    with opened(home, as_account) as session:
        administration = session.installation.directory_administration
        actor = administration.require_account_administrator(session.operator)
        password = None if without else read_password(password_file)
        principal = administration.add_account(
            name,
            PrincipalKind.COMPUTER if computer else PrincipalKind.USER,
            password,
            groups=tuple(group or ()),
            ntlm=ntlm,
            mail=mail,
            upn=upn,
            dns_host_name=dns_host_name,
            additional_host_names=tuple(additional_host_name or ()),
            common_name=common_name,
            actor=actor,
        )
    if as_json:
        print_json({"account": principal.account, "sid": principal.sid, "kind": principal.kind})
    else:
        print_line(f"Added {principal.account} ({principal.sid}).")


@commands.command("list")
def list_accounts(
    groups: Annotated[bool, typer.Option("--groups", help="Groups with their members instead of accounts.")] = False,
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """List accounts, or groups."""
    from certwright.cli.output import print_json, print_table

    with opened(home) as session:
        administration = session.installation.directory_administration
        found_groups = administration.list_groups() if groups else ()
        found = administration.list_accounts() if not groups else ()
    if groups:
        if as_json:
            print_json(
                [
                    {
                        "name": each.principal.account,
                        "sid": each.principal.sid,
                        "members": each.members,
                        "groups": each.groups,
                    }
                    for each in found_groups
                ]
            )
        else:
            print_table(
                ((each.principal.account, each.principal.sid, each.members) for each in found_groups),
                "group",
                "SID",
                "members",
            )
        return
    if as_json:
        print_json(
            [
                {
                    "name": each.principal.account,
                    "sid": each.principal.sid,
                    "kind": each.principal.kind,
                    "enabled": each.principal.enabled,
                    "ntlm": each.ntlm,
                    "has_password": each.has_password,
                    "groups": each.groups,
                    "common_name": each.principal.common_name,
                    "distinguished_name": each.principal.distinguished_name,
                    "upn": each.principal.upn,
                    "mail": each.principal.mail,
                    "dns_host_name": each.principal.dns_host_name,
                    "additional_host_names": each.principal.additional_host_names,
                    "created": datetime.fromtimestamp(each.created, UTC),
                }
                for each in found
            ]
        )
        return
    print_table(
        (
            (
                each.principal.account,
                each.principal.kind,
                each.principal.enabled,
                each.ntlm,
                each.groups,
                each.principal.upn or each.principal.dns_host_name,
                each.principal.mail,
            )
            for each in found
        ),
        "account",
        "kind",
        "enabled",
        "NTLM",
        "groups",
        "UPN or host",
        "mail",
    )


@commands.command("disable")
def disable(name: _NameArgument, as_account: AsOption = "", home: HomeOption = None) -> None:
    """Disable an account: it logs on nowhere and gets no certificate."""
    _set_enabled(name, False, as_account, home)


@commands.command("enable")
def enable(name: _NameArgument, as_account: AsOption = "", home: HomeOption = None) -> None:
    """Enable an account again."""
    _set_enabled(name, True, as_account, home)


@commands.command("set-password")
def set_password(
    name: _NameArgument,
    password_file: _PasswordFileOption = "",
    ntlm: Annotated[
        bool | None, typer.Option("--ntlm/--no-ntlm", help="Mark the account for NTLM, or take the mark away.")
    ] = None,
    as_account: AsOption = "",
    home: HomeOption = None,
) -> None:
    """Give an account a new password."""
    from certwright.cli.files import read_password
    from certwright.cli.output import print_line

    with opened(home, as_account) as session:
        administration = session.installation.directory_administration
        actor = administration.require_account_administrator(session.operator)
        administration.set_password(name, read_password(password_file), ntlm=ntlm, actor=actor)
    print_line(f"The password of {name} is set.")


@commands.command("set")
def set_attributes(
    name: _NameArgument,
    mail: Annotated[str | None, typer.Option("--mail", metavar="ADDRESS", help="Empty clears it.")] = None,
    upn: Annotated[str | None, typer.Option("--upn", metavar="NAME@DOMAIN", help="Empty clears it.")] = None,
    common_name: Annotated[str | None, typer.Option("--common-name", help="As it stands in certificates.")] = None,
    dns_host_name: Annotated[
        str | None, typer.Option("--dns-host-name", metavar="FQDN", help="A computer's.")
    ] = None,
    additional_host_name: Annotated[
        list[str] | None,
        typer.Option("--additional-host-name", metavar="NAME", help="These instead of the present ones; repeatable."),
    ] = None,
    no_ntlm: Annotated[bool, typer.Option("--no-ntlm", help="Destroy the NT hash.")] = False,
    as_account: AsOption = "",
    home: HomeOption = None,
) -> None:
    """Change the names of an account that stand in its certificates."""
    from certwright.adcs.errors import InvalidArgument
    from certwright.cli.output import print_line

    names = (mail, upn, common_name, dns_host_name, additional_host_name)
    if all(value is None for value in names) and not no_ntlm:
        raise InvalidArgument("name at least one thing to change; see: certwright account set --help")
    with opened(home, as_account) as session:
        administration = session.installation.directory_administration
        actor = administration.require_account_administrator(session.operator)
        if any(value is not None for value in names):
            administration.set_attributes(
                name,
                mail=mail,
                upn=upn,
                common_name=common_name,
                dns_host_name=dns_host_name,
                additional_host_names=additional_host_name,
                actor=actor,
            )
        if no_ntlm:
            administration.forget_nt_hash(name, actor=actor)
    print_line(f"{name} is changed.")


@commands.command("group")
def group_command(
    name: Annotated[str, typer.Argument(metavar="GROUP", help="The group; it is made when it does not exist.")],
    add_member: Annotated[
        list[str] | None, typer.Option("--add", metavar="MEMBER", help="Put an account or group in; may be repeated.")
    ] = None,
    remove_member: Annotated[
        list[str] | None, typer.Option("--remove", metavar="MEMBER", help="Take one out; may be repeated.")
    ] = None,
    as_account: AsOption = "",
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Make a group, change who is in it, and show its members. Groups may be nested."""
    from certwright.adcs.errors import InvalidArgument
    from certwright.cli.output import print_json, print_line
    from certwright.directory.base import PrincipalKind

    with opened(home, as_account) as session:
        administration = session.installation.directory_administration
        found = session.installation.directory.principal(name)
        if found is not None and found.kind is not PrincipalKind.GROUP:
            raise InvalidArgument(f"{found.account} is no group")
        if found is None or add_member or remove_member:
            actor = administration.require_account_administrator(session.operator)
            if found is None:
                if remove_member:
                    raise InvalidArgument(f"there is no group called {name}")
                administration.add_group(name, members=tuple(add_member or ()), actor=actor)
            else:
                for member in add_member or ():
                    administration.add_to_group(name, member, actor=actor)
                for member in remove_member or ():
                    administration.remove_from_group(name, member, actor=actor)
        principal = session.installation.directory.principal(name)
        listed = [
            each
            for each in administration.list_groups()
            if principal is not None and each.principal.sid == principal.sid
        ]
    if not listed:
        raise InvalidArgument(f"who is in {name} follows from what an account is; it has no list of members")
    shown = listed[0]
    if as_json:
        print_json(
            {
                "name": shown.principal.account,
                "sid": shown.principal.sid,
                "members": shown.members,
                "groups": shown.groups,
            }
        )
        return
    print_line(f"{shown.principal.account} ({shown.principal.sid})")
    for member in shown.members:
        print_line(f"  {member}")


def _set_enabled(name: str, enabled: bool, as_account: str, home: HomeOption) -> None:
    from certwright.cli.output import print_line

    with opened(home, as_account) as session:
        administration = session.installation.directory_administration
        actor = administration.require_account_administrator(session.operator)
        administration.set_enabled(name, enabled, actor=actor)
    print_line(f"{name} is {'enabled' if enabled else 'disabled'}.")
