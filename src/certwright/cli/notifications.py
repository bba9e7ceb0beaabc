"""`certwright notification`: who is told of what, and how it went."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from certwright.cli.managing import Managing, chosen, managing, read_text
from certwright.cli.session import AsOption, HomeOption, JsonOption

if TYPE_CHECKING:
    from certwright.notifications.service import Notifications
    from certwright.notifications.values import Channel, RuleView

commands = typer.Typer(help="Notifications: channels, rules, history.", no_args_is_help=True)
channels = typer.Typer(help="Channels: e-mail and signed webhooks.", no_args_is_help=True)
rules = typer.Typer(help="Rules: which events go to which channel.", no_args_is_help=True)
commands.add_typer(channels, name="channel")
commands.add_typer(rules, name="rule")

MAX_PEM = 512 * 1024
_ChannelArgument = Annotated[str, typer.Argument(metavar="CHANNEL", help="Its name or number.")]
_CaFileOption = Annotated[
    str, typer.Option("--ca-file", metavar="FILE", help="Trust only the certificates of this PEM file.")
]
_SecretFileOption = Annotated[
    str, typer.Option("--secret-file", metavar="FILE", help="Its first line is the secret; - reads standard input.")
]


class SecurityChoice(StrEnum):
    """How the way to a mail server is protected."""

    STARTTLS = "starttls"
    TLS = "tls"
    NONE = "none"


class StateChoice(StrEnum):
    WAITING = "waiting"
    DELIVERED = "delivered"
    GIVEN_UP = "given-up"


# -- channels --------------------------------------------------------------------------------------------------------


@channels.command("add-email")
def add_email(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is called.")],
    host: Annotated[str, typer.Option("--host", metavar="NAME", help="The mail server.")],
    sender: Annotated[str, typer.Option("--from", metavar="ADDRESS", help="Who the mail comes from.")],
    to: Annotated[list[str], typer.Option("--to", metavar="ADDRESS", help="Who gets it; may be repeated.")],
    port: Annotated[int | None, typer.Option("--port", help="587 with STARTTLS, 465 with TLS, 25 without.")] = None,
    security: Annotated[SecurityChoice, typer.Option("--security", help="TLS.")] = SecurityChoice.STARTTLS,
    username: Annotated[str, typer.Option("--username", metavar="NAME", help="Log on there as this account.")] = "",
    secret_file: _SecretFileOption = "",
    ca_file: _CaFileOption = "",
    as_account: AsOption = "",
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Add a mail channel. With --username, the password comes from --secret-file, standard input or the keyboard."""
    from certwright.cli.files import read_password
    from certwright.notifications.values import EmailFields, MailSecurity

    usual = {SecurityChoice.STARTTLS: 587, SecurityChoice.TLS: 465, SecurityChoice.NONE: 25}
    fields = EmailFields(
        name=name,
        host=host,
        sender=sender,
        recipients=tuple(to),
        port=usual[security] if port is None else port,
        security=MailSecurity(security.value),
        username=username,
        ca_pem=read_text(ca_file, MAX_PEM) if ca_file else "",
    )
    secret = read_password(secret_file, option="--secret-file") if username else ""
    with managing(home, as_account) as session:
        channel = session.notifications.channels.add(fields, secret, actor=session.actor)
    _print_added(channel, as_json=as_json)


@channels.command("add-webhook")
def add_webhook(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is called.")],
    url: Annotated[str, typer.Option("--url", metavar="URL", help="Where to post, https://...")],
    secret_file: _SecretFileOption = "",
    make_secret: Annotated[
        bool, typer.Option("--make-secret", help="Make the signing key, and print it this once.")
    ] = False,
    ca_file: _CaFileOption = "",
    as_account: AsOption = "",
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Add a webhook. Its key signs what is posted; it comes from --secret-file, standard input or --make-secret."""
    from certwright.adcs.errors import InvalidArgument
    from certwright.cli.files import read_password
    from certwright.notifications.values import WebhookFields, make_key

    if make_secret and secret_file:
        raise InvalidArgument("give --secret-file or --make-secret, not both")
    secret = make_key() if make_secret else read_password(secret_file, "Key", "--secret-file")
    fields = WebhookFields(name, url, read_text(ca_file, MAX_PEM) if ca_file else "")
    with managing(home, as_account) as session:
        channel = session.notifications.channels.add(fields, secret, actor=session.actor)
    _print_added(channel, as_json=as_json, made=secret if make_secret else "")


def _print_added(channel: Channel, *, as_json: bool, made: str = "") -> None:
    from certwright.cli.output import print_json, print_line

    if as_json:
        print_json(_described(channel) | ({"secret": made} if made else {}))
        return
    print_line(f"Added the channel {channel.name} (number {channel.id}).")
    if made:
        print_line(f"Its signing key, shown this once: {made}")


@channels.command("list")
def list_channels(as_account: AsOption = "", as_json: JsonOption = False, home: HomeOption = None) -> None:
    """List channels, and how each did the last time."""
    from certwright.cli.output import print_json, print_table

    with managing(home, as_account, looking=True) as session:
        found = session.notifications.channels.list()
    if as_json:
        print_json([_described(channel) for channel in found])
        return
    print_table(
        (
            (
                channel.id,
                channel.name,
                channel.kind,
                channel.fields.enabled,
                channel.fields.target,
                channel.last_success,
                channel.last_error,
            )
            for channel in found
        ),
        "number",
        "name",
        "kind",
        "on",
        "to",
        "last success",
        "last error",
    )


@channels.command("test")
def try_channel(
    channel: _ChannelArgument, as_account: AsOption = "", as_json: JsonOption = False, home: HomeOption = None
) -> None:
    """Send a test now. Exit status 1 when it is not taken."""
    from certwright.cli.output import print_error, print_json, print_line

    with managing(home, as_account) as session:
        found = _channel(session.notifications, channel)
        outcome = session.notifications.channels.test(found.id, actor=session.actor)
    if as_json:
        print_json(outcome)
    elif outcome.ok:
        print_line(f"{found.name}: {outcome.message}.")
    else:
        print_error(f"{found.name}: {outcome.message}")
    if not outcome.ok:
        raise typer.Exit(1)


@channels.command("set-secret")
def set_secret(
    channel: _ChannelArgument, secret_file: _SecretFileOption = "", as_account: AsOption = "", home: HomeOption = None
) -> None:
    """Replace the password of a mail channel, or the signing key of a webhook."""
    from certwright.cli.files import read_password
    from certwright.cli.output import print_line

    secret = read_password(secret_file, "Secret", "--secret-file")
    with managing(home, as_account) as session:
        found = _channel(session.notifications, channel)
        session.notifications.channels.replace_secret(found.id, secret, actor=session.actor)
    print_line(f"The secret of {found.name} is replaced.")


@channels.command("enable")
def enable_channel(channel: _ChannelArgument, as_account: AsOption = "", home: HomeOption = None) -> None:
    """Switch a channel on again."""
    _switch(channel, True, as_account, home)


@channels.command("disable")
def disable_channel(channel: _ChannelArgument, as_account: AsOption = "", home: HomeOption = None) -> None:
    """Switch a channel off: what waits for it is given up."""
    _switch(channel, False, as_account, home)


def _switch(channel: str, enabled: bool, account: str, home: Any) -> None:
    from certwright.cli.output import print_line

    with managing(home, account) as session:
        found = _channel(session.notifications, channel)
        session.notifications.channels.set_enabled(found.id, enabled, actor=session.actor)
    print_line(f"{found.name} is {'on' if enabled else 'off'}.")


@channels.command("delete")
def delete_channel(
    channel: _ChannelArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Also when rules lead to it, which then go too.")] = False,
    as_account: AsOption = "",
    home: HomeOption = None,
) -> None:
    """Remove a channel. Its history stays."""
    from certwright.cli.output import print_line

    with managing(home, as_account) as session:
        found = _channel(session.notifications, channel)
        gone = session.notifications.channels.delete(found.id, confirmed=yes, actor=session.actor)
    print_line(f"The channel {found.name} is gone" + (f", and {gone} rules with it." if gone else "."))


# -- rules -----------------------------------------------------------------------------------------------------------


@rules.command("add")
def add_rule(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is called.")],
    channel: Annotated[str, typer.Option("--channel", metavar="CHANNEL", help="Where it leads: name or number.")],
    event: Annotated[
        list[str],
        typer.Option("--event", "-e", metavar="EVENT", help="See `notification rule events`; may be repeated."),
    ],
    template: Annotated[str, typer.Option("--template", "-t", metavar="NAME", help="Only of this template.")] = "",
    domain: Annotated[str, typer.Option("--domain", "-d", metavar="DOMAIN", help="Only of this domain.")] = "",
    tag: Annotated[str, typer.Option("--tag", metavar="TAG", help="Only with this tag.")] = "",
    view: Annotated[
        str,
        typer.Option(
            "--view",
            metavar="VIEW",
            help="Only about certificates in this saved view of the Certificate List: its name or number.",
        ),
    ] = "",
    band: Annotated[
        list[int] | None,
        typer.Option("--band", metavar="DAYS", help="Of certificate-expiring: 30, 14, 7, 3 or 1; may be repeated."),
    ] = None,
    off: Annotated[bool, typer.Option("--off", help="Switched off for now.")] = False,
    as_account: AsOption = "",
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Add a rule. All filters that are given must match."""
    from certwright.adcs.errors import InvalidArgument
    from certwright.adcs.events import LifecycleKind
    from certwright.cli.output import print_json, print_line
    from certwright.notifications.values import RuleFields

    known = {kind.value: kind for kind in LifecycleKind}
    unknown = [text for text in event if text not in known]
    if unknown:
        raise InvalidArgument(f"there is no event {unknown[0]!r}; known: {', '.join(known)}")
    with managing(home, as_account) as session:
        fields = RuleFields(
            name=name,
            channel_id=_channel(session.notifications, channel).id,
            kinds=tuple(known[text] for text in event),
            template=template,
            domain=domain,
            tag=tag,
            bands=tuple(band or ()),
            enabled=not off,
            view=_view(session, view) if view else None,
        )
        rule = session.notifications.rules.add(fields, actor=session.actor)
    if as_json:
        print_json(rule)
    else:
        print_line(f"Added the rule {rule.fields.name} (number {rule.id}).")


@rules.command("list")
def list_rules(as_account: AsOption = "", as_json: JsonOption = False, home: HomeOption = None) -> None:
    """List rules."""
    from certwright.cli.output import print_json, print_table

    with managing(home, as_account, looking=True) as session:
        found = session.notifications.rules.list()
    if as_json:
        print_json(found)
        return
    print_table(
        (
            (
                rule.id,
                rule.fields.name,
                rule.fields.enabled,
                rule.fields.kinds,
                rule.fields.template,
                rule.fields.domain,
                rule.fields.tag,
                rule.fields.view.name if rule.fields.view else "",
                [str(band) for band in rule.fields.bands],
                rule.channel_name,
            )
            for rule in found
        ),
        "number",
        "name",
        "on",
        "events",
        "template",
        "domain",
        "tag",
        "view",
        "bands",
        "channel",
    )


@rules.command("events")
def list_events(as_json: JsonOption = False) -> None:
    """List the events that rules choose from, with the number Windows logs the same under."""
    from certwright.adcs.events import LifecycleKind
    from certwright.cli.output import print_json, print_table
    from certwright.notifications.messages import EVENT_NUMBERS, SENTENCES

    rows = [
        (kind.value, SENTENCES[kind].format(object="...", band="..."), EVENT_NUMBERS.get(kind))
        for kind in LifecycleKind
    ]
    if as_json:
        print_json([{"event": kind, "sentence": text, "windows_event": number} for kind, text, number in rows])
    else:
        print_table(rows, "event", "what", "in Windows")


@rules.command("delete")
def delete_rule(
    rule: Annotated[str, typer.Argument(metavar="RULE", help="Its name or number.")],
    as_account: AsOption = "",
    home: HomeOption = None,
) -> None:
    """Remove a rule. What it queued is still sent."""
    from certwright.cli.output import print_line

    with managing(home, as_account) as session:
        found = chosen(rule, session.notifications.rules.list(), "notification rule", "fields.name")
        session.notifications.rules.delete(found.id, actor=session.actor)
    print_line(f"The rule {found.fields.name} is gone.")


# -- history ---------------------------------------------------------------------------------------------------------


@commands.command("history")
def history(
    channel: Annotated[str, typer.Option("--channel", metavar="CHANNEL", help="Only of this one.")] = "",
    state: Annotated[StateChoice | None, typer.Option("--state", help="Only in this state.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=500, help="At most so many.")] = 50,
    as_account: AsOption = "",
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """List what was told and what waits, the newest first."""
    from certwright.cli.output import print_json, print_table
    from certwright.notifications.values import DeliveryState, HistoryQuery

    with managing(home, as_account, looking=True) as session:
        query = HistoryQuery(
            channel_id=_channel(session.notifications, channel).id if channel else None,
            state=DeliveryState[state.name] if state is not None else None,
            limit=limit,
        )
        found = session.notifications.history(query)
    if as_json:
        print_json([_of_delivery(line) for line in found])
        return
    print_table(
        (
            (
                line.id,
                line.occurred,
                line.kind,
                line.object,
                line.channel_name,
                line.state.word,
                line.attempts,
                line.next_try,
                line.result,
            )
            for line in found
        ),
        "number",
        "when",
        "event",
        "object",
        "channel",
        "state",
        "attempts",
        "next try",
        "result",
    )


@commands.command("retry")
def retry(
    delivery: Annotated[int, typer.Argument(metavar="NUMBER", min=1, help="Of the history's line.")],
    as_account: AsOption = "",
    home: HomeOption = None,
) -> None:
    """Queue anew what was given up."""
    from certwright.cli.output import print_line

    with managing(home, as_account) as session:
        session.notifications.try_again(delivery, actor=session.actor)
    print_line(f"Delivery {delivery} waits again; the worker sends it within a minute.")


def _channel(notifications: Notifications, text: str) -> Channel:
    return chosen(text, notifications.channels.list(), "notification channel", "name")


def _view(session: Managing, text: str) -> RuleView:
    from certwright.server.console import views_for_rules

    found = views_for_rules(session.installation, session.actor)
    return chosen(text, found, "saved view of the Certificate List", "name")


def _described(channel: Channel) -> dict[str, Any]:
    from dataclasses import fields

    described = {each.name: getattr(channel.fields, each.name) for each in fields(channel.fields)}
    return {
        "id": channel.id,
        "kind": channel.kind,
        **described,
        "has_secret": channel.has_secret,
        "last_success": channel.last_success,
        "last_error": channel.last_error,
        "last_error_when": channel.last_error_when,
        "created": channel.created,
    }


def _of_delivery(line: Any) -> dict[str, Any]:
    from dataclasses import fields

    return {each.name: getattr(line, each.name) for each in fields(line)} | {"state": line.state.word}
