"""`certwright template`: certificate templates, who may use them, and which a CA publishes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from certwright.cli.session import (
    AsOption,
    CaOption,
    DomainUser,
    HomeOption,
    JsonOption,
    UserOption,
    UserPasswordOption,
    chosen_user,
    opened,
)

if TYPE_CHECKING:
    from certwright.adcs.requester import Sid
    from certwright.cli.session import Session

commands = typer.Typer(help="Certificate templates.", no_args_is_help=True)

_NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The template's name, such as WebServer.")]
_RULE_KINDS: Final = {
    "dnsSuffixes": "DNS names below",
    "ipRanges": "IP addresses in",
    "upnDomains": "user principal names of",
    "mailDomains": "mail addresses of",
}
"""The lists of a name rule, as a sentence names them."""
_AcceptOption = Annotated[
    list[str] | None,
    typer.Option("--accept-risk", metavar="RISK", help="Accept a risk by its name, such as ESC1; may be repeated."),
]
_ReasonOption = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="Why a risk is accepted, for the audit trail.")
]
_DisplayNameOption = Annotated[
    str, typer.Option("--display-name", metavar="TEXT", help="What people see; the name without it.")
]
_NewNameArgument = Annotated[str, typer.Argument(metavar="NEW", help="The new template's name, without blanks.")]
_EnrollOption = Annotated[bool, typer.Option("--enroll", help="The right to enroll.")]
_AutoenrollOption = Annotated[bool, typer.Option("--autoenroll", help="The right to autoenroll.")]
_PrincipalArgument = Annotated[
    str, typer.Argument(metavar="PRINCIPAL", help=r"An account or group: name, DOMAIN\name or SID.")
]


@commands.callback()
def group(user: UserOption = "", user_password_file: UserPasswordOption = "") -> None:
    """Certificate templates."""
    chosen_user.set(DomainUser(user, user_password_file) if user else None)


@commands.command("list")
def list_templates(
    published: Annotated[bool, typer.Option("--published", help="Only those that the CA publishes.")] = False,
    ca: CaOption = "",
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """List templates and whether the CA publishes them."""
    from certwright.adcs.periods import period_text
    from certwright.cli.output import note, print_json, print_table

    with opened(home) as session:
        templates = session.installation.directory_administration.templates()
        on_offer = _published(session, ca)
        domain = session.installation.active_directory
        left_out = domain.findings() if domain is not None else ()
    rows = [
        {
            "name": template.cn,
            "display_name": template.display_name,
            "oid": template.oid,
            "schema_version": template.schema_version,
            "version": f"{template.major_version}.{template.minor_version}",
            "published": template.cn in on_offer,
            "approval": template.requires_approval,
            "subject": "enrollee" if template.enrollee_supplies_subject else "directory",
            "validity_period": period_text(template.validity_period),
            "minimal_key_size": template.minimal_key_size,
        }
        for _, template in sorted(templates.items(), key=lambda item: item[0].lower())
        if not published or template.cn in on_offer
    ]
    if as_json:
        print_json(rows)
    else:
        shown = ("name", "display_name", "published", "approval", "subject", "validity_period")
        print_table(([row[name] for name in shown] for row in rows), *(name.replace("_", " ") for name in shown))
    for finding in left_out:
        note(f"left out, because it cannot be used: {finding.cn}: {finding.reason}")


@commands.command("show")
def show(name: _NameArgument, ca: CaOption = "", as_json: JsonOption = False, home: HomeOption = None) -> None:
    """Show a template: its attributes as in Active Directory, who may do what with it, and what is risky about it."""
    from certwright.adcs.requester import parse_sid
    from certwright.adcs.security import SecurityDescriptor
    from certwright.adcs.template_json import template_to_json
    from certwright.cli.output import print_fields, print_json, print_line

    with opened(home) as session:
        administration = session.installation.directory_administration
        directory = session.installation.directory
        template = administration.template(name)
        risks = administration.risks(template)
        accepted = administration.accepted_risks(template.cn)
        security = SecurityDescriptor.from_sddl(template.security_descriptor, directory.domain.sid)
        rights = {
            "enroll": security.enroll_sids(),
            "autoenroll": security.autoenroll_sids(),
            "write": security.write_sids(),
        }
        groups = frozenset(parse_sid(rule.group) for rule in template.name_rules.rules if rule.group)
        names = directory.sid_names(groups.union(*rights.values()))
        on_offer = template.cn in _published(session, ca)
    who = {right: sorted(names.get(sid, sid) for sid in sids) for right, sids in rights.items()}
    document = template_to_json(template)
    if as_json:
        print_json(
            document
            | {
                "published": on_offer,
                "rights": who,
                "risks": [
                    {
                        "id": risk.id,
                        "severity": risk.severity,
                        "sentence": risk.sentence,
                        "evidence": risk.evidence,
                        "fix": risk.fix,
                        "accepted": risk.id in accepted,
                    }
                    for risk in risks
                ],
            }
        )
        return
    rules = document.pop("nameRules")
    print_fields([(key, value) for key, value in document.items() if not isinstance(value, dict)])
    for rule in rules["rules"]:
        allowed = "; ".join(
            f"{_RULE_KINDS.get(kind, kind)} {', '.join(values)}"
            for kind, values in rule.items()
            if values and kind != "group"
        )
        group = names.get(rule["group"], rule["group"]) or "everybody who may enroll"
        print_line(f"name rule: {group} may name {allowed}")
    if template.enrollee_supplies_subject:
        print_line(f"names outside the rules: {rules['outside']}")
    print_line(f"published: {'yes' if on_offer else 'no'}")
    for right, holders in who.items():
        print_line(f"{right}: {', '.join(holders) or 'nobody'}")
    for risk in risks:
        print_line(
            f"risk {risk.id} ({risk.severity.value}{', accepted' if risk.id in accepted else ''}): {risk.sentence}"
        )


@commands.command("export")
def export(
    name: _NameArgument,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE", help="Where it goes; - is standard output.")
    ] = Path("-"),
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    home: HomeOption = None,
) -> None:
    """Write a template as JSON, with the attribute names of Active Directory."""
    from certwright.adcs.template_json import template_to_text
    from certwright.cli.files import write_file

    with opened(home) as session:
        template = session.installation.directory_administration.template(name)
    write_file(out, template_to_text(template).encode(), force=force)


@commands.command("import")
def import_template(
    file: Annotated[str, typer.Argument(help="JSON as `template export` writes it; - reads standard input.")],
    accept_risk: _AcceptOption = None,
    reason: _ReasonOption = "",
    as_account: AsOption = "",
    home: HomeOption = None,
) -> None:
    """Add a template from JSON, or replace the one of the same name."""
    from certwright.adcs.template_json import MAX_DOCUMENT, template_from_text
    from certwright.cli.files import read_file
    from certwright.cli.output import print_line

    template = template_from_text(read_file(file, MAX_DOCUMENT))
    with opened(home, as_account) as session:
        administration = session.installation.directory_administration
        actor = administration.require_template_administrator(session.operator)
        stored = administration.put_template(template, accept_risks=accept_risk or (), reason=reason, actor=actor)
    print_line(f"Template {stored.cn}, version {stored.major_version}.{stored.minor_version}, is stored.")


@commands.command("install-defaults")
def install_defaults(as_account: AsOption = "", home: HomeOption = None) -> None:
    """Add the 33 default templates, such as a new forest gets them; those that are there stay as they are."""
    from certwright.cli.output import note, print_line

    with opened(home, as_account) as session:
        administration = session.installation.directory_administration
        actor = administration.require_template_administrator(session.operator)
        made = administration.install_default_templates(actor=actor)
    for template in made:
        print_line(template.cn)
    note(f"{len(made)} templates were added." if made else "All default templates are there already.")


@commands.command("create")
def create(
    new: _NewNameArgument,
    display_name: _DisplayNameOption = "",
    machine: Annotated[bool, typer.Option("--machine", help="For computers; without it, for users.")] = False,
    as_account: AsOption = "",
    home: HomeOption = None,
) -> None:
    """Add a template with sound values: names from the directory, one year, and only administrators may enroll."""
    from certwright.cli.output import print_line

    with opened(home, as_account) as session:
        administration = session.installation.directory_administration
        actor = administration.require_template_administrator(session.operator)
        made = administration.create_template(new, display_name, machine=machine, actor=actor)
    print_line(f"Template {made.cn} is made, with the OID {made.oid}. No CA issues it yet.")


@commands.command("duplicate")
def duplicate(
    name: _NameArgument,
    new: _NewNameArgument,
    display_name: _DisplayNameOption = "",
    accept_risk: _AcceptOption = None,
    reason: _ReasonOption = "",
    as_account: AsOption = "",
    home: HomeOption = None,
) -> None:
    """Add a template like another one, with an OID of its own."""
    from certwright.cli.output import print_line

    with opened(home, as_account) as session:
        administration = session.installation.directory_administration
        actor = administration.require_template_administrator(session.operator)
        made = administration.duplicate_template(
            name, new, display_name, accept_risks=accept_risk or (), reason=reason, actor=actor
        )
    print_line(f"Template {made.cn} is made, with the OID {made.oid}. No CA issues it yet.")


@commands.command("delete")
def delete(name: _NameArgument, as_account: AsOption = "", home: HomeOption = None) -> None:
    """Remove a template of one's own that no CA issues. Default templates stay."""
    from certwright.cli.output import print_line

    with opened(home, as_account) as session:
        administration = session.installation.directory_administration
        actor = administration.require_template_administrator(session.operator)
        administration.delete_template(name, actor=actor)
    print_line(f"Template {name} is deleted.")


@commands.command("set")
def set_template(
    name: _NameArgument,
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Settings to change; without any, they are explained."),
    ] = None,
    accept_risk: _AcceptOption = None,
    reason: _ReasonOption = "",
    as_account: AsOption = "",
    home: HomeOption = None,
) -> None:
    """Change settings of a template, all or none. Without a setting, explain those there are."""
    from certwright.adcs.template_settings import SETTINGS, apply_settings
    from certwright.cli.output import print_fields, print_line

    if not settings:
        print_fields(SETTINGS.items())
        return
    changes = parse_settings(settings)
    with opened(home, as_account) as session:
        administration = session.installation.directory_administration
        actor = administration.require_template_administrator(session.operator)

        def sid_of(group: str) -> str:
            return _sid(session, group)

        stored = administration.change_template(
            name,
            lambda before: apply_settings(before, changes, resolve_group=sid_of),
            accept_risks=accept_risk or (),
            reason=reason,
            actor=actor,
        )
    print_line(f"Template {stored.cn} is now version {stored.major_version}.{stored.minor_version}.")


@commands.command("publish")
def publish(
    name: _NameArgument,
    accept_risk: _AcceptOption = None,
    ca: CaOption = "",
    as_account: AsOption = "",
    home: HomeOption = None,
) -> None:
    """Let the CA issue certificates from a template."""
    from certwright.cli.output import print_line

    with opened(home, as_account) as session:
        administration = session.installation.directory_administration
        actor = administration.require_template_administrator(session.operator)
        ca_name = session.installation.ca(ca).authority.name
        administration.publish(ca_name, name, accept_risks=accept_risk or (), actor=actor)
    print_line(f"{ca_name} publishes {name}.")


@commands.command("unpublish")
def unpublish(name: _NameArgument, ca: CaOption = "", as_account: AsOption = "", home: HomeOption = None) -> None:
    """Stop the CA from issuing certificates from a template."""
    from certwright.cli.output import print_line

    with opened(home, as_account) as session:
        administration = session.installation.directory_administration
        actor = administration.require_template_administrator(session.operator)
        ca_name = session.installation.ca(ca).authority.name
        administration.unpublish(ca_name, name, actor=actor)
    print_line(f"{ca_name} does not publish {name} any more.")


@commands.command("grant")
def grant(
    name: _NameArgument,
    principal: _PrincipalArgument,
    enroll: _EnrollOption = False,
    autoenroll: _AutoenrollOption = False,
    accept_risk: _AcceptOption = None,
    as_account: AsOption = "",
    home: HomeOption = None,
) -> None:
    """Let an account or group enroll, autoenroll, or both."""
    from certwright.cli.output import print_line

    with opened(home, as_account) as session:
        administration = session.installation.directory_administration
        actor = administration.require_template_administrator(session.operator)
        administration.grant(
            name,
            _sid(session, principal),
            enroll=enroll,
            autoenroll=autoenroll,
            accept_risks=accept_risk or (),
            actor=actor,
        )
    print_line(f"{principal} may {_rights(enroll, autoenroll)} for {name}.")


@commands.command("revoke")
def revoke(
    name: _NameArgument,
    principal: _PrincipalArgument,
    enroll: _EnrollOption = False,
    autoenroll: _AutoenrollOption = False,
    as_account: AsOption = "",
    home: HomeOption = None,
) -> None:
    """Take the right to enroll, autoenroll, or both away."""
    from certwright.cli.output import print_line

    with opened(home, as_account) as session:
        administration = session.installation.directory_administration
        actor = administration.require_template_administrator(session.operator)
        administration.revoke(name, _sid(session, principal), enroll=enroll, autoenroll=autoenroll, actor=actor)
    print_line(f"{principal} may not {_rights(enroll, autoenroll)} for {name} by an entry of its own any more.")


def parse_settings(texts: list[str]) -> dict[str, str]:
    """`KEY=VALUE` arguments.

    Raises:
        InvalidArgument: one has another form, or a key stands there twice.
    """
    from certwright.adcs.errors import InvalidArgument

    changes: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise InvalidArgument(f"{text!r} is no setting; write KEY=VALUE")
        if key.strip() in changes:
            raise InvalidArgument(f"{key.strip()} is set twice")
        changes[key.strip()] = value
    return changes


def _published(session: Session, ca: str) -> frozenset[str]:
    name = session.installation.ca(ca).authority.name
    service = session.installation.directory.enrollment_service(name)
    return frozenset(service.templates) if service is not None else frozenset()


def _sid(session: Session, name: str) -> Sid:
    """The SID of an account or group; a SID stands for itself.

    Raises:
        InvalidArgument: nobody is called that.
    """
    from certwright.adcs.errors import InvalidArgument
    from certwright.adcs.requester import parse_sid

    principal = session.installation.directory.principal(name)
    if principal is not None:
        return principal.sid
    try:
        return parse_sid(name)
    except ValueError:
        raise InvalidArgument(f"there is no account and no group called {name}") from None


def _rights(enroll: bool, autoenroll: bool) -> str:
    return " and ".join(word for word, wanted in (("enroll", enroll), ("autoenroll", autoenroll)) if wanted)
