"""Notifications: which events go where, over which channel, and what became of telling them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from ninja import Query, Router
from pydantic import Field, SecretStr

from certwright.adcs.events import LifecycleKind
from certwright.console import saved_views
from certwright.console.access import Viewer
from certwright.console.api.authentication import ApiRequest
from certwright.console.api.operations import operation
from certwright.console.api.problems import named_in_the_path
from certwright.console.api.services import DeletionConfirmed
from certwright.console.api.shapes import (
    Entered,
    Flag,
    Id,
    Line,
    Name,
    Number,
    PageSize,
    PathId,
    QueryId,
    Told,
    line,
)
from certwright.console.rooms import rooms
from certwright.notifications import values
from certwright.notifications.values import ChannelKind, MailSecurity

router = Router(tags=["Notifications"])

Secret = Annotated[SecretStr, Field(max_length=values.MAX_PASSWORD)]
Pem = Annotated[str, Field(max_length=values.MAX_PEM, description="CA file in PEM; empty for the system's CAs")]


class Email(Entered):
    """Mail by SMTP."""

    kind: Literal["email"] = "email"
    name: Name
    host: Name
    port: Annotated[Number, Field(ge=1, le=65535)] = 587
    security: MailSecurity = MailSecurity.STARTTLS
    sender: Name
    recipients: Annotated[tuple[Name, ...], Field(min_length=1, max_length=values.MAX_RECIPIENTS)]
    username: Annotated[Line, Field(description="Empty: the server takes mail without a logon")] = ""
    ca_pem: Pem = ""
    enabled: Flag = True


class Webhook(Entered):
    """A signed HTTP POST."""

    kind: Literal["webhook"]
    name: Name
    url: Annotated[str, line(values.MAX_URL, least=1)]
    ca_pem: Pem = ""
    enabled: Flag = True


class ChannelChanged(Entered):
    """All fields are replaced; the secret stays."""

    channel: Annotated[Email | Webhook, Field(discriminator="kind")]

    @property
    def fields(self) -> values.ChannelFields:
        given = self.channel.model_dump(exclude={"kind"})
        return values.EmailFields(**given) if isinstance(self.channel, Email) else values.WebhookFields(**given)


class ChannelEntered(ChannelChanged):
    secret: Annotated[Secret, Field(description="Password at the mail server, or signing key of the webhook")] = (
        SecretStr("")
    )


class ChannelSecret(Entered):
    secret: Secret


class Channel(Told):
    """A channel; of a webhook only the host is told, because part of its URL may be secret."""

    id: int
    kind: ChannelKind
    name: str
    enabled: bool
    target: str
    host: str
    port: int | None
    security: MailSecurity | None
    sender: str
    recipients: list[str]
    username: str
    pinned_ca: bool
    has_secret: bool
    last_success: datetime | None
    last_error: str
    last_error_when: datetime | None
    created: datetime


class TestOutcome(Told):
    ok: bool
    message: str


class NotificationRuleEntered(Entered):
    """Which events go to a channel: all filters that are given must match, one of several values is enough."""

    name: Name
    channel_id: Id
    kinds: Annotated[tuple[LifecycleKind, ...], Field(min_length=1, max_length=len(LifecycleKind))]
    template: Annotated[str, line(64)] = ""
    domain: Line = ""
    tag: Annotated[str, line(64)] = ""
    bands: Annotated[tuple[Literal[1, 3, 7, 14, 30], ...], Field(max_length=5)] = ()  # of certificate-expiring
    view_id: Annotated[
        Id | None, Field(description="A saved view of /inventory/: only events about certificates that it holds")
    ] = None
    enabled: Flag = True

    def fields(self, viewer: Viewer, kept: values.RuleView | None = None) -> values.RuleFields:
        view = saved_views.filter_called(viewer, self.view_id, kept) if self.view_id is not None else None
        return values.RuleFields(**self.model_dump(exclude={"view_id"}), view=view)


class NotificationRule(Told):
    id: int
    name: str
    channel_id: int
    channel_name: str
    kinds: list[LifecycleKind]
    template: str
    domain: str
    tag: str
    bands: list[int]
    view_id: int | None
    view_name: str
    enabled: bool
    created: datetime


class DeliveryState(StrEnum):
    WAITING = "waiting"
    DELIVERED = "delivered"
    GIVEN_UP = "given up"

    @property
    def stored(self) -> values.DeliveryState:
        return values.DeliveryState[self.name]


class Deliveries(Entered):
    channel_id: QueryId | None = None
    state: DeliveryState | None = None
    kind: LifecycleKind | None = None
    before: Annotated[QueryId | None, Field(description="The number of the last line of the page before")] = None
    limit: PageSize = 50


class Delivery(Told):
    """An event, and what became of telling it."""

    id: int
    kind: str
    object: str
    occurred: datetime
    channel_id: int
    channel_name: str
    rule_name: str
    state: DeliveryState
    attempts: int
    next_try: datetime | None
    result: str
    created: datetime
    settled: datetime | None


# -- channels --------------------------------------------------------------------------------------------------------


@operation(router, "GET", "/notifications/channels", list[Channel])
def list_channels(request: ApiRequest) -> Sequence[Channel]:
    """List all channels."""
    return [_channel(each) for each in rooms().notifications.channels.list()]


@operation(router, "POST", "/notifications/channels", Channel, status=201)
def add_channel(request: ApiRequest, entered: ChannelEntered) -> Channel:
    """Add a channel with its secret."""
    secret = entered.secret.get_secret_value()
    return _channel(rooms().notifications.channels.add(entered.fields, secret, actor=request.viewer.account))


@operation(router, "GET", "/notifications/channels/{int:channel_id}", Channel)
def get_channel(request: ApiRequest, channel_id: PathId) -> Channel:
    """Show a channel."""
    return _channel(_found_channel(channel_id))


@operation(router, "PUT", "/notifications/channels/{int:channel_id}", Channel)
def edit_channel(request: ApiRequest, channel_id: PathId, entered: ChannelChanged) -> Channel:
    """Change everything but the secret and the kind."""
    _found_channel(channel_id)
    changed = rooms().notifications.channels.edit(channel_id, entered.fields, actor=request.viewer.account)
    return _channel(changed)


@operation(router, "PUT", "/notifications/channels/{int:channel_id}/secret", Channel)
def replace_channel_secret(request: ApiRequest, channel_id: PathId, entered: ChannelSecret) -> Channel:
    """Replace the password or the signing key."""
    _found_channel(channel_id)
    secret = entered.secret.get_secret_value()
    return _channel(rooms().notifications.channels.replace_secret(channel_id, secret, actor=request.viewer.account))


@operation(router, "POST", "/notifications/channels/{int:channel_id}/test", TestOutcome)
def test_channel(request: ApiRequest, channel_id: PathId) -> TestOutcome:
    """Send a test now, once. What comes of it is the channel's health."""
    _found_channel(channel_id)
    return TestOutcome.model_validate(rooms().notifications.channels.test(channel_id, actor=request.viewer.account))


@operation(router, "DELETE", "/notifications/channels/{int:channel_id}")
def delete_channel(request: ApiRequest, channel_id: PathId, asked: Query[DeletionConfirmed]) -> None:
    """Remove a channel; where rules lead to it, they go with it, and that has to be confirmed."""
    _found_channel(channel_id)
    rooms().notifications.channels.delete(channel_id, confirmed=asked.confirmed, actor=request.viewer.account)


def _found_channel(channel_id: int) -> values.Channel:
    with named_in_the_path():
        found: values.Channel = rooms().notifications.channels.get(channel_id)
    return found


def _channel(channel: values.Channel) -> Channel:
    fields = channel.fields
    mail = fields if isinstance(fields, values.EmailFields) else None
    return Channel(
        id=channel.id,
        kind=channel.kind,
        name=channel.name,
        enabled=fields.enabled,
        target=fields.target,
        host=fields.host,
        port=mail.port if mail else None,
        security=mail.security if mail else None,
        sender=mail.sender if mail else "",
        recipients=list(mail.recipients) if mail else [],
        username=mail.username if mail else "",
        pinned_ca=bool(fields.ca_pem),
        has_secret=channel.has_secret,
        last_success=channel.last_success,
        last_error=channel.last_error,
        last_error_when=channel.last_error_when,
        created=channel.created,
    )


# -- rules -----------------------------------------------------------------------------------------------------------


@operation(router, "GET", "/notifications/rules", list[NotificationRule])
def list_notification_rules(request: ApiRequest) -> Sequence[NotificationRule]:
    """List all notification rules."""
    return [_rule(each) for each in rooms().notifications.rules.list()]


@operation(router, "POST", "/notifications/rules", NotificationRule, status=201)
def add_notification_rule(request: ApiRequest, entered: NotificationRuleEntered) -> NotificationRule:
    """Add a notification rule."""
    return _rule(rooms().notifications.rules.add(entered.fields(request.viewer), actor=request.viewer.account))


@operation(router, "GET", "/notifications/rules/{int:rule_id}", NotificationRule)
def get_notification_rule(request: ApiRequest, rule_id: PathId) -> NotificationRule:
    """Show a notification rule."""
    return _rule(_found_rule(rule_id))


@operation(router, "PUT", "/notifications/rules/{int:rule_id}", NotificationRule)
def edit_notification_rule(
    request: ApiRequest, rule_id: PathId, entered: NotificationRuleEntered
) -> NotificationRule:
    """Change a notification rule: all of its fields are replaced."""
    fields = entered.fields(request.viewer, _found_rule(rule_id).fields.view)
    return _rule(rooms().notifications.rules.edit(rule_id, fields, actor=request.viewer.account))


@operation(router, "DELETE", "/notifications/rules/{int:rule_id}")
def delete_notification_rule(request: ApiRequest, rule_id: PathId) -> None:
    """Remove a notification rule."""
    _found_rule(rule_id)
    rooms().notifications.rules.delete(rule_id, actor=request.viewer.account)


def _found_rule(rule_id: int) -> values.Rule:
    with named_in_the_path():
        found: values.Rule = rooms().notifications.rules.get(rule_id)
    return found


def _rule(rule: values.Rule) -> NotificationRule:
    fields = rule.fields
    return NotificationRule(
        id=rule.id,
        name=fields.name,
        channel_id=fields.channel_id,
        channel_name=rule.channel_name,
        kinds=list(fields.kinds),
        template=fields.template,
        domain=fields.domain,
        tag=fields.tag,
        bands=list(fields.bands),
        view_id=fields.view.id if fields.view else None,
        view_name=fields.view.name if fields.view else "",
        enabled=fields.enabled,
        created=rule.created,
    )


# -- history ---------------------------------------------------------------------------------------------------------


@operation(router, "GET", "/notifications/deliveries", list[Delivery])
def list_deliveries(request: ApiRequest, asked: Query[Deliveries]) -> Sequence[Delivery]:
    """List deliveries, the newest first; what waits is among them."""
    query = values.HistoryQuery(
        channel_id=asked.channel_id,
        state=asked.state.stored if asked.state is not None else None,
        kind=asked.kind,
        before=asked.before,
        limit=asked.limit,
    )
    return [_delivery(each) for each in rooms().notifications.history(query)]


@operation(router, "POST", "/notifications/deliveries/{int:delivery_id}/repeat", Delivery)
def repeat_delivery(request: ApiRequest, delivery_id: PathId) -> Delivery:
    """Queue anew what was given up."""
    with named_in_the_path():
        return _delivery(rooms().notifications.try_again(delivery_id, actor=request.viewer.account))


def _delivery(delivery: values.Delivery) -> Delivery:
    copied = {name: getattr(delivery, name) for name in Delivery.model_fields if name not in ("kind", "state")}
    return Delivery(**copied, kind=str(delivery.kind), state=DeliveryState(delivery.state.word))
