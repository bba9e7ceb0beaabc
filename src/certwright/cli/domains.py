"""`certwright domain`: belonging to an Active Directory domain, and being found in it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from certwright.cli.session import (
    AsOption,
    CaOption,
    DomainUser,
    HomeOption,
    JsonOption,
    UserOption,
    UserPasswordOption,
    home_folder,
    opened,
    write_as,
)

if TYPE_CHECKING:
    from certwright.directory.active_directory.doctor import Check
    from certwright.directory.active_directory.joining import Step
    from certwright.directory.active_directory.publication import Plan
    from certwright.directory.active_directory.settings import DomainSettings
    from certwright.server.directory_settings import DirectorySettings
    from certwright.server.domain_doctor import Examination
    from certwright.server.home import Home

commands = typer.Typer(help="An Active Directory domain: joining it, publishing into it.", no_args_is_help=True)

_AliasOption = Annotated[
    list[str] | None,
    typer.Option("--alias", metavar="HOST", help="A further name of this host for clients; may be repeated."),
]
_PendingOption = Annotated[bool, typer.Option("--despite-pending", help="Although requests wait for a decision.")]
_DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")]
_YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask on a terminal before it is written.")]


@commands.command("join")
def join(
    domain: Annotated[str, typer.Argument(metavar="DOMAIN", help="The DNS name of the domain.")],
    account: Annotated[
        str, typer.Option("--account", metavar="NAME", help="The service account, without its domain.")
    ] = "",
    keytab: Annotated[
        Path | None, typer.Option("--keytab", metavar="FILE", help="Its keytab; it stays where it is.")
    ] = None,
    password_file: Annotated[
        str,
        typer.Option(
            "--password-file",
            metavar="FILE",
            help="Instead of a keytab: the first line is its password, which is copied into the home folder;"
            " - reads standard input.",
        ),
    ] = "",
    realm: Annotated[
        str, typer.Option("--realm", metavar="REALM", help="The Kerberos realm; the domain in capitals without it.")
    ] = "",
    controller: Annotated[
        list[str] | None,
        typer.Option("--controller", metavar="HOST", help="A domain controller; found by DNS without. Repeatable."),
    ] = None,
    site: Annotated[
        str, typer.Option("--site", metavar="NAME", help="The site of this host; asked for without.")
    ] = "",
    name_server: Annotated[
        list[str] | None,
        typer.Option("--name-server", metavar="IP", help="A name server that knows the domain; may be repeated."),
    ] = None,
    ca_file: Annotated[
        Path | None,
        typer.Option("--ca-file", metavar="FILE", help="Certificates trusted for LDAP over TLS, PEM."),
    ] = None,
    alias: _AliasOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check, and write nothing.")] = False,
    despite_findings: Annotated[
        bool, typer.Option("--despite-findings", help="Although something is wrong, if the domain answers at all.")
    ] = False,
    despite_pending: _PendingOption = False,
    as_account: AsOption = "",
    home: HomeOption = None,
) -> None:
    """Make this installation belong to a domain: check everything first, then write section [directory]."""
    from dataclasses import replace

    from certwright.adcs.errors import InvalidArgument
    from certwright.adcs.roles import CaAccess
    from certwright.cli.files import read_password
    from certwright.cli.output import note
    from certwright.directory.active_directory.joining import administrator_steps
    from certwright.server import domain_membership
    from certwright.server.directory_settings import ACTIVE_DIRECTORY, DirectorySettings

    if not account:
        raise InvalidArgument("say as whom the directory is read: --account NAME; an ordinary account is enough")
    with opened(home, as_account) as session:
        installation = session.installation
        installation.demand(session.operator, CaAccess.ADMINISTRATOR)
        settings = installation.home.settings
        if settings.directory.is_joined:
            raise InvalidArgument(
                f"this installation belongs to {settings.directory.dns_domain} already; leave it first: certwright"
                " domain leave"
            )
        if not despite_pending and not dry_run:
            domain_membership.refuse_pending(installation, "joining")
        password = "" if keytab else read_password(password_file, f"Password of {account}")
        directory = DirectorySettings(
            kind=ACTIVE_DIRECTORY,
            realm=(realm or domain).upper().rstrip("."),
            dns_domain=domain.lower().rstrip("."),
            account=account,
            keytab=str(keytab.absolute()) if keytab else "",
            password_file="" if keytab else domain_membership.PASSWORD_FILE,
            controllers=tuple(controller or ()),
            site=site,
            name_servers=tuple(name_server or ()),
            ca_file=str(ca_file.absolute()) if ca_file else "",
        )
        directory.check("join")
        trial = _trial(directory, password)
        hosts = _hosts(installation.home, alias)
        examination = _examine(trial, hosts, installation.home)
        if examination.domain is None or (not examination.is_sound and not despite_findings):
            _print_steps(administrator_steps(trial, hosts))
            raise InvalidArgument(
                "nothing was written: correct what is wrong, and join again"
                + ("" if examination.domain is None else "; or give --despite-findings")
            )
        directory = replace(directory, netbios=examination.domain.netbios_name, sid=examination.domain.sid)
        if dry_run:
            note("Nothing is written: --dry-run.")
            return
        domain_membership.join(installation, directory, password, session.operator)
    note(
        f"This installation belongs to {directory.dns_domain}. Start the server again; then: certwright domain"
        " publish. Its own accounts are now called .\\name."
    )


@commands.command("show")
def show(as_json: JsonOption = False, home: HomeOption = None) -> None:
    """Show the domain this installation belongs to, and which of its CAs are published there."""
    from certwright.cli.output import print_fields, print_json
    from certwright.server.domain_membership import published_cas

    with opened(home) as session:
        directory = session.installation.home.settings.directory
        described = {
            "kind": directory.kind,
            "domain": directory.dns_domain,
            "realm": directory.realm,
            "netbios": directory.netbios,
            "sid": directory.sid,
            "account": directory.account,
            "keytab": directory.keytab,
            "password_file": directory.password_file,
            "controllers": list(directory.controllers),
            "site": directory.site,
            "ca_file": directory.ca_file,
            "published": published_cas(session.installation),
        }
    if as_json:
        print_json(described)
    else:
        print_fields((key.replace("_", " "), value) for key, value in described.items())


@commands.command("leave")
def leave(
    despite_pending: _PendingOption = False,
    despite_publication: Annotated[
        bool, typer.Option("--despite-publication", help="Although CAs are published in the domain, and stay there.")
    ] = False,
    as_account: AsOption = "",
    home: HomeOption = None,
) -> None:
    """Go back to the embedded directory. Works also when the domain is gone; nothing is changed in it."""
    from certwright.adcs.errors import InvalidArgument
    from certwright.adcs.roles import CaAccess
    from certwright.cli.output import note
    from certwright.server import domain_membership, logs
    from certwright.server.composition import Installation
    from certwright.server.home import Home
    from certwright.server.system_user import system_user

    logs.configure("error", "console")
    real = Home.open(home_folder(home))
    if not real.settings.directory.is_joined:
        raise InvalidArgument("this installation belongs to no domain")
    with Installation.open(domain_membership.without_domain(real), os_user=system_user()) as installation:
        operator = installation.operator(as_account)
        installation.demand(operator, CaAccess.ADMINISTRATOR)
        if not despite_pending:
            domain_membership.refuse_pending(installation, "leaving")
        published = domain_membership.published_cas(installation)
        if published and not despite_publication:
            raise InvalidArgument(
                f"{', '.join(published)} is published in the domain: take it back first with certwright domain"
                " unpublish, or give --despite-publication"
            )
        domain_membership.leave(installation, real, operator)
    note(f"This installation no longer belongs to {real.settings.directory.dns_domain}. Start the server again.")


@commands.command("test")
def check(alias: _AliasOption = None, as_json: JsonOption = False, home: HomeOption = None) -> None:
    """Check the way to the domain: DNS, ports, TLS, bind, clock, names, keys. Exit status 1 when one is wrong."""
    from certwright.adcs.errors import InvalidArgument
    from certwright.cli.output import print_json
    from certwright.server.home import Home

    opened_home = Home.open(home_folder(home))
    settings = opened_home.domain
    if settings is None:
        raise InvalidArgument("this installation belongs to no domain; join one with: certwright domain join")
    examination = _examine(settings, _hosts(opened_home, alias), opened_home, quiet=as_json)
    if as_json:
        print_json(examination.checks)
    if not examination.is_sound:
        raise typer.Exit(1)


@commands.command("publish")
def publish(
    ca: CaOption = "",
    site: Annotated[
        str | None,
        typer.Option(
            "--site",
            metavar="NAME",
            help="The site of the domain that it is said to be in; empty: this host's again, as without.",
        ),
    ] = None,
    dry_run: _DryRunOption = False,
    yes: _YesOption = False,
    user: UserOption = "",
    user_password_file: UserPasswordOption = "",
    as_account: AsOption = "",
    home: HomeOption = None,
) -> None:
    """Let the domain know a CA: its certificates, its CRLs, and where it is found; then keep that up to date."""
    _publish(True, ca, dry_run, yes, user, user_password_file, as_account, home, site)


@commands.command("unpublish")
def unpublish(
    ca: CaOption = "",
    dry_run: _DryRunOption = False,
    yes: _YesOption = False,
    user: UserOption = "",
    user_password_file: UserPasswordOption = "",
    as_account: AsOption = "",
    home: HomeOption = None,
) -> None:
    """Take a CA out of the domain again. Certificates of other CAs, and templates, stay."""
    _publish(False, ca, dry_run, yes, user, user_password_file, as_account, home)


@commands.command("policy")
def policy(
    server: Annotated[
        list[str] | None,
        typer.Option(
            "--server",
            metavar="URL",
            help="A policy server (CEP) that members ask before the directory; may be repeated.",
        ),
    ] = None,
    write: Annotated[
        str,
        typer.Option(
            "--write",
            metavar="POLICY",
            help="Write the settings into this Group Policy of the domain, by its name or its GUID in braces; what"
            " else it says stays.",
        ),
    ] = "",
    registry_pol: Annotated[
        Path | None,
        typer.Option(
            "--registry-pol",
            metavar="FILE",
            help="Write the settings into this Registry.pol; what else it says stays.",
        ),
    ] = None,
    dry_run: _DryRunOption = False,
    yes: _YesOption = False,
    user: UserOption = "",
    user_password_file: UserPasswordOption = "",
    as_account: AsOption = "",
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Show what a Group Policy has to say so that members enroll by themselves, or write it into one."""
    from certwright.cli.files import read_file, write_file
    from certwright.cli.output import note, print_json, print_line
    from certwright.directory.active_directory import group_policy
    from certwright.server.domain_policy import policy_values

    if write:
        _write_policy(write, server or [], dry_run, yes, user, user_password_file, as_account, home)
        return
    with opened(home, as_account) as session:
        values = policy_values(session.installation, server or [])
    if registry_pol is not None:
        before = read_file(str(registry_pol), group_policy.MAX_FILE) if registry_pol.exists() else b""
        write_file(registry_pol, group_policy.merged(before, values), force=True)
        note(
            f"{registry_pol} is written. Raise the policy's version (GPT.INI, versionNumber), and name the extension:"
        )
        note(f"  gPCMachineExtensionNames, gPCUserExtensionNames: {group_policy.EXTENSIONS}")
        return
    if as_json:
        print_json([{"key": each.key, "name": each.name, "type": each.type, "data": each.data} for each in values])
        return
    for half in ("HKEY_LOCAL_MACHINE", "HKEY_CURRENT_USER"):
        for value in values:
            print_line(f"{half}\\{value}")
    note(
        "In the editor of Group Policy: Public Key Policies, Certificate Services Client - Auto-Enrollment and -"
        " Certificate Enrollment Policy, for computers and for users. Or let it be written: --write POLICY."
    )


# -- inside ----------------------------------------------------------------------------------------------------------


def _publish(
    there: bool,
    ca: str,
    dry_run: bool,
    yes: bool,
    user: str,
    user_password_file: str,
    as_account: str,
    home: Path | None,
    site: str | None = None,
) -> None:
    from certwright.adcs.roles import CaAccess
    from certwright.cli.output import note, print_line
    from certwright.server.domain_publication import DomainPublication

    with opened(home, as_account) as session:
        installation = session.installation
        publishing = DomainPublication(installation)
        ca_name = installation.ca(ca).authority.name
        installation.demand(session.operator, CaAccess.ADMINISTRATOR, ca_name)
        actor = installation.directory_administration.require_template_administrator(session.operator)
        if user:
            write_as(installation, DomainUser(user, user_password_file))
        plan = publishing.plan(ca_name, site=site) if there else publishing.plan_removal(ca_name)
        for line in plan.sentences():
            print_line(line)
        _note_plan(plan, publishing.account)
        if dry_run:
            note("Nothing is written: --dry-run.")
            return
        if plan.changes and sys.stdin.isatty() and not yes:
            typer.confirm("Write this?", abort=True)
        administer = session.administer(ca_name)
        if there:
            publishing.publish(plan, actor)
        else:
            publishing.unpublish(plan, actor)
        changed = publishing.settings_after(ca_name, published=there, site=site)
        if changed:
            administer.set_configuration(changed)
    note(f"{ca_name} is {'published in' if there else 'no longer published in'} the domain.")


def _write_policy(
    name: str,
    servers: Sequence[str],
    dry_run: bool,
    yes: bool,
    user: str,
    user_password_file: str,
    as_account: str,
    home: Path | None,
) -> None:
    from certwright.adcs.errors import NotSupported
    from certwright.adcs.roles import CaAccess
    from certwright.cli.output import note, print_line
    from certwright.server.domain_policy import DomainPolicy, policy_values

    with opened(home, as_account) as session:
        installation = session.installation
        policies = DomainPolicy(installation)
        installation.demand(session.operator, CaAccess.ADMINISTRATOR)
        actor = installation.directory_administration.require_template_administrator(session.operator)
        if user:
            write_as(installation, DomainUser(user, user_password_file))
        values = policy_values(installation, servers)
        try:
            plan = policies.plan(name, values)
        except NotSupported:
            # what is to be done by hand: put both files where they belong, then change the policy's object
            for line in policies.plan(name, values, reads_files=False).sentences():
                print_line(line)
            note("Make each Registry.pol from the one that is there: certwright domain policy --registry-pol FILE.")
            raise
        for line in plan.sentences():
            print_line(line)
        if not plan.sentences():
            note(f"{plan.policy.display_name} says it all already.")
            return
        if dry_run:
            note("Nothing is written: --dry-run.")
            return
        if sys.stdin.isatty() and not yes:
            typer.confirm("Write this?", abort=True)
        policies.write(plan, actor)
    note(f"{plan.policy.display_name} is written. Members apply it within two hours, or at once by: gpupdate")


def _note_plan(plan: Plan, account: str) -> None:
    from certwright.cli.output import note
    from certwright.server.domain_publication import grants

    if not plan.changes:
        note("Nothing has to change in the domain.")
    for cn, reason in plan.left_out.items():
        note(f"The template {cn} is not published at first: {reason}.")
    for missing, command in zip(plan.missing, grants(plan.missing, account), strict=True):
        note(f"{account} lacks: {missing.right} on {missing.dn}; for example: {command}")


def _trial(directory: DirectorySettings, password: str) -> DomainSettings:
    """As the installation would see the domain, before anything is written."""
    from dataclasses import replace

    settings = replace(directory, password_file="").domain_settings(Path("/"))
    return replace(settings, password=password)


def _hosts(home: Home, alias: Sequence[str] | None) -> Sequence[str]:
    return tuple(dict.fromkeys((home.settings.hostname, *(name.lower() for name in alias or ()))))


def _examine(settings: DomainSettings, hosts: Sequence[str], home: Home, *, quiet: bool = False) -> Examination:
    from certwright.server.domain_doctor import Examination

    named = home.settings.authentication.keytab
    http_keytab = home.folder / named if named else settings.keytab
    examination = Examination(settings, hosts, http_keytab, report=(lambda _: None) if quiet else print_check)
    examination.connections()
    return examination


def print_check(check: Check) -> None:
    from certwright.cli.output import print_line

    print_line(f"{check.verdict.value:<5}  {check.name}  {check.subject}: {check.sentence}")
    if check.fix:
        print_line(f"       fix: {check.fix}")


def _print_steps(steps: Sequence[Step]) -> None:
    from certwright.cli.output import print_line

    print_line("")
    print_line("What an administrator of the domain does first, where it is not done yet:")
    for number, step in enumerate(steps, 1):
        print_line(f"{number}. {step.what}")
        for system, lines in (("Windows", step.windows), ("Samba", step.samba)):
            for line in lines:
                print_line(f"   {system}: {line}")
