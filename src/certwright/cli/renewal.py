"""`certwright renewal`: rules that order a certificate's successor before it ends."""

from __future__ import annotations

from typing import Annotated

import typer

from certwright.cli.inventory import RenewalKeyChoice
from certwright.cli.managing import chosen, managing
from certwright.cli.session import AsOption, HomeOption, JsonOption

commands = typer.Typer(help="Renewal: rules, and what they would order.", no_args_is_help=True)
rules = typer.Typer(help="Renewal rules.", no_args_is_help=True)
commands.add_typer(rules, name="rule")


@rules.command("add")
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is called.")],
    days_before: Annotated[int, typer.Option("--days-before", help="So many days before the end, 1 to 365.")] = 30,
    certificate: Annotated[
        int | None, typer.Option("--certificate", metavar="NUMBER", help="This certificate of the inventory.")
    ] = None,
    tag: Annotated[str, typer.Option("--tag", metavar="TAG", help="Certificates with this tag.")] = "",
    match_template: Annotated[
        str, typer.Option("--match-template", metavar="NAME", help="Certificates of this template.")
    ] = "",
    issuer: Annotated[str, typer.Option("--issuer", metavar="DN", help="Certificates of this issuer.")] = "",
    key: Annotated[RenewalKeyChoice, typer.Option("--key", help="A new key, or the same.")] = RenewalKeyChoice.NEW,
    domain: Annotated[
        str, typer.Option("--domain", "-d", metavar="DOMAIN", help="Where; by default as before.")
    ] = "",
    template: Annotated[
        str, typer.Option("--template", "-t", metavar="NAME", help="What; by default as before.")
    ] = "",
    off: Annotated[bool, typer.Option("--off", help="Switched off for now.")] = False,
    as_account: AsOption = "",
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Add a rule. All that is named must match. Look at `renewal rule dry-run` before you go."""
    from certwright.cli.output import print_json, print_line
    from certwright.manager.values import RenewalKey, RuleFields

    fields = RuleFields(
        name=name,
        days_before=days_before,
        certificate_id=certificate,
        tag=tag,
        match_template=match_template,
        issuer=issuer,
        key=RenewalKey(key.value),
        domain=domain,
        template=template,
        enabled=not off,
    )
    with managing(home, as_account) as session:
        rule = session.manager.renewal.add(fields, actor=session.actor)
    if as_json:
        print_json(rule)
    else:
        print_line(f"Added the rule {rule.fields.name} (number {rule.id}).")


@rules.command("list")
def list_rules(as_account: AsOption = "", as_json: JsonOption = False, home: HomeOption = None) -> None:
    """List the rules."""
    from certwright.cli.output import print_json, print_table

    with managing(home, as_account, looking=True) as session:
        found = session.manager.renewal.list()
    if as_json:
        print_json(found)
        return
    print_table(
        (
            (
                rule.id,
                rule.fields.name,
                rule.fields.enabled,
                rule.fields.days_before,
                rule.fields.certificate_id,
                rule.fields.tag,
                rule.fields.match_template,
                rule.fields.issuer,
                rule.fields.key,
                rule.last_run,
                rule.ordered,
                rule.failures,
                rule.last_failure,
            )
            for rule in found
        ),
        "number",
        "name",
        "on",
        "days before",
        "certificate",
        "tag",
        "template",
        "issuer",
        "key",
        "last run",
        "ordered",
        "failures",
        "last failure",
    )


@rules.command("delete")
def delete(
    rule: Annotated[str, typer.Argument(metavar="RULE", help="Its name or number.")],
    as_account: AsOption = "",
    home: HomeOption = None,
) -> None:
    """Remove a rule. What it ordered stays."""
    from certwright.cli.output import print_line

    with managing(home, as_account) as session:
        renewal = session.manager.renewal
        found = chosen(rule, renewal.list(), "renewal rule", "fields.name")
        renewal.delete(found.id, actor=session.actor)
    print_line(f"The rule {found.fields.name} is gone.")


@rules.command("dry-run")
def dry_run(
    rule: Annotated[
        str, typer.Argument(metavar="[RULE]", help="Its name or number; every rule that is on when not given.")
    ] = "",
    days: Annotated[int, typer.Option("--days", min=0, max=365, help="How far to look ahead.")] = 30,
    as_account: AsOption = "",
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """List what the rules would order in the next days, and what would keep them from it."""
    from certwright.cli.output import print_json, print_table

    with managing(home, as_account, looking=True) as session:
        renewal = session.manager.renewal
        number = chosen(rule, renewal.list(), "renewal rule", "fields.name").id if rule else None
        planned = renewal.dry_run(number, days)
    if as_json:
        print_json(planned)
        return
    print_table(
        (
            (
                each.when,
                each.certificate_id,
                each.common_name,
                each.not_after,
                each.rule,
                each.domain,
                each.template,
                each.problem,
            )
            for each in planned
        ),
        "when",
        "certificate",
        "name",
        "not after",
        "rule",
        "domain",
        "template",
        "problem",
    )
