"""Channels: added, changed, tried and removed. A secret is written, used and replaced; it is never shown again."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

from certwright.adcs.errors import BadRequestState, ConfigurationError, InvalidArgument
from certwright.adcs.events import AuditEvent
from certwright.database import Connection, ConstraintViolated
from certwright.keystores.sealing import Sealer, SealingError
from certwright.notifications import store
from certwright.notifications.changes import Changes, differing
from certwright.notifications.channels.base import ChannelError, Sender, verifying_context
from certwright.notifications.messages import trial_message
from certwright.notifications.targets import Targets
from certwright.notifications.values import (
    MAX_PASSWORD,
    MAX_PEM,
    MAX_RECIPIENTS,
    MAX_URL,
    MIN_SIGNING_KEY,
    Channel,
    ChannelFields,
    EmailFields,
    MailSecurity,
    TestOutcome,
    WebhookFields,
    address,
    host,
    line,
    port,
    seconds,
)


class Channels:
    def __init__(self, changes: Changes, sealer: Sealer, targets: Targets, hostname: str) -> None:
        self._changes = changes
        self._sealer = sealer
        self._targets = targets
        self._hostname = hostname

    def list(self) -> Sequence[Channel]:
        with self._changes.database.read() as connection:
            return store.channels(connection)

    def get(self, channel_id: int) -> Channel:
        """Raises:
        InvalidArgument: there is none of that number.
        """
        with self._changes.database.read() as connection:
            return found(connection, channel_id)

    def add(self, fields: ChannelFields, secret: str = "", *, actor: str) -> Channel:
        """Add a channel.

        Args:
            secret: the password for the mail server, empty without a logon; or the signing key of a webhook.

        Raises:
            InvalidArgument: a field or the secret breaks a rule, or the name is taken.
        """
        fields = self._checked(fields)
        _check_secret(fields, secret)
        with self._changes.change(actor) as change:
            try:
                channel_id = store.insert_channel(change.connection, fields, change.when)
            except ConstraintViolated as error:
                raise _taken(fields.name) from error
            self._put_secret(change.connection, channel_id, secret)
            change.record(
                AuditEvent.NOTIFICATION_CHANNEL_CHANGED, {"change": "added", "channel": channel_id, **_facts(fields)}
            )
            return found(change.connection, channel_id)

    def edit(self, channel_id: int, fields: ChannelFields, *, actor: str) -> Channel:
        """Change everything but the secret and the kind.

        Raises:
            InvalidArgument: a field breaks a rule, the name is taken, or it would lead a password elsewhere.
        """
        fields = self._checked(fields)
        with self._changes.change(actor) as change:
            channel = found(change.connection, channel_id)
            before = channel.fields
            if before.kind is not fields.kind:
                raise InvalidArgument("A channel keeps its kind; add another channel.")
            without = isinstance(fields, EmailFields) and not fields.username
            if channel.has_secret and not without and _place(before) != _place(fields):
                raise InvalidArgument(
                    f"{before.name} would hand its secret to {_place(fields)[0]}; add a channel with a secret of its"
                    " own."
                )
            if isinstance(fields, EmailFields) and not without and not channel.has_secret:
                raise InvalidArgument("A logon needs a password; add a channel that has both.")
            try:
                store.update_channel(change.connection, channel_id, fields)
            except ConstraintViolated as error:
                raise _taken(fields.name) from error
            if without:
                store.put_secret(change.connection, channel_id, None)
            change.record(
                AuditEvent.NOTIFICATION_CHANNEL_CHANGED,
                {
                    "change": "edited",
                    "channel": channel_id,
                    "name": fields.name,
                    **differing(_facts(before), _facts(fields)),
                },
            )
            return found(change.connection, channel_id)

    def set_enabled(self, channel_id: int, enabled: bool, *, actor: str) -> Channel:
        return self.edit(channel_id, replace(self.get(channel_id).fields, enabled=enabled), actor=actor)

    def replace_secret(self, channel_id: int, secret: str, *, actor: str) -> Channel:
        """Raises:
        InvalidArgument: it cannot be a secret of that channel.
        """
        with self._changes.change(actor) as change:
            channel = found(change.connection, channel_id)
            if not secret:
                raise InvalidArgument("The secret is missing; enter one.")
            if isinstance(channel.fields, EmailFields) and not channel.fields.username:
                raise InvalidArgument("This mail server is used without a logon; there is no password to replace.")
            _check_length(channel.fields, secret)
            self._put_secret(change.connection, channel_id, secret)
            change.record(
                AuditEvent.NOTIFICATION_CHANNEL_CHANGED,
                {"change": "secret replaced", "channel": channel_id, "name": channel.name},
            )
            return found(change.connection, channel_id)

    def delete(self, channel_id: int, *, confirmed: bool = False, actor: str) -> int:
        """Remove a channel with the rules that lead to it; returns how many. Its history stays.

        Raises:
            BadRequestState: rules lead to it, and nobody confirmed.
        """
        with self._changes.change(actor) as change:
            channel = found(change.connection, channel_id)
            leading = [
                rule.fields.name for rule in store.rules(change.connection) if rule.fields.channel_id == channel_id
            ]
            if leading and not confirmed:
                raise BadRequestState(
                    f"{', '.join(leading)} would go with {channel.name}; confirm, or give these another channel"
                    " first."
                )
            store.delete_channel(change.connection, channel_id)
            change.record(
                AuditEvent.NOTIFICATION_CHANNEL_CHANGED,
                {"change": "deleted", "channel": channel_id, "name": channel.name, "rules": ", ".join(leading)},
            )
            return len(leading)

    def test(self, channel_id: int, *, actor: str) -> TestOutcome:
        """Send a test now, once. What comes of it is the channel's health."""
        channel = self.get(channel_id)
        now = self._changes.clock()
        message = trial_message(f"test-{secrets.token_hex(8)}", self._hostname, channel.name, now)
        try:
            outcome = TestOutcome(True, self.sender(channel).send(message))
        except (ChannelError, ConfigurationError) as error:
            outcome = TestOutcome(False, str(error))
        with self._changes.change(actor) as change:
            store.put_outcome(change.connection, channel_id, seconds(now), "" if outcome.ok else outcome.message)
            change.record(
                AuditEvent.NOTIFICATION_CHANNEL_CHANGED,
                {
                    "change": "tested",
                    "channel": channel_id,
                    "name": channel.name,
                    "result": outcome.message,
                },
            )
        return outcome

    def sender(self, channel: Channel) -> Sender:
        """The channel, opened.

        Raises:
            ConfigurationError: its secret does not open.
        """
        with self._changes.database.read() as connection:
            sealed = store.sealed_secret(connection, channel.id)
        try:
            secret = self._sealer.open(sealed, _context(channel.id)).decode() if sealed is not None else ""
        except SealingError as error:
            raise ConfigurationError(
                f"the secret of the channel {channel.name} cannot be opened ({error}); enter it again"
            ) from error
        # here, because an HTTP client takes longer to import than most commands to run
        if isinstance(channel.fields, EmailFields):
            from certwright.notifications.channels.email import EmailSender

            return EmailSender(channel.fields, secret, self._hostname)
        from certwright.notifications.channels.webhook import WebhookSender

        return WebhookSender(channel.fields, secret, self._targets, self._changes.clock)

    def _put_secret(self, connection: Connection, channel_id: int, secret: str) -> None:
        sealed = self._sealer.seal(secret.encode(), _context(channel_id)) if secret else None
        store.put_secret(connection, channel_id, sealed)

    def _checked(self, fields: ChannelFields) -> ChannelFields:
        name = line(fields.name, "The name")
        ca_pem = fields.ca_pem.strip()
        if len(ca_pem) > MAX_PEM:
            raise InvalidArgument(f"The CA file is longer than {MAX_PEM} bytes.")
        if ca_pem:
            try:
                verifying_context(ca_pem)
            except ConfigurationError as error:
                raise InvalidArgument(f"This cannot be used: {error.message}.") from error
        if isinstance(fields, WebhookFields):
            return replace(fields, name=name, url=self._checked_url(fields.url), ca_pem=ca_pem)
        recipients = tuple(dict.fromkeys(address(each, "The recipient") for each in fields.recipients))
        if not 1 <= len(recipients) <= MAX_RECIPIENTS:
            raise InvalidArgument(f"There are {len(recipients)} recipients; enter from 1 to {MAX_RECIPIENTS}.")
        username = line(fields.username, "The user name", required=False)
        if username and fields.security is MailSecurity.NONE:
            raise InvalidArgument(_NO_PASSWORD)
        return replace(
            fields,
            name=name,
            host=host(fields.host, "The mail server"),
            port=port(fields.port, "The port"),
            sender=address(fields.sender, "The sender"),
            recipients=recipients,
            username=username,
            ca_pem=ca_pem,
        )

    def _checked_url(self, text: str) -> str:
        url = line(text, "The URL", limit=MAX_URL)
        try:
            parts = urlsplit(url)
            port(parts.port if parts.port is not None else 443, "The port")
        except ValueError as error:
            raise InvalidArgument(f"The URL cannot be used: {error}.") from error
        if parts.scheme not in ("https", "http") or not url.isascii() or " " in url:
            raise InvalidArgument("The URL begins with https:// and holds neither blanks nor letters beyond ASCII.")
        if parts.username is not None or parts.password is not None or parts.fragment:
            raise InvalidArgument("The URL holds a user name, a password or a fragment; leave these out.")
        name = host(parts.hostname or "", "The host of the URL")
        if parts.scheme == "http" and not self._targets.is_listed(name):
            raise InvalidArgument(
                f"The URL begins with http://; {name} is called with https:// only, unless webhook-allow in"
                " certwright.toml lists it."
            )
        return url


_NO_PASSWORD: Final = "No password is sent without TLS; choose STARTTLS or TLS, or leave the user name out."  # noqa: S105


def _check_secret(fields: ChannelFields, secret: str) -> None:
    if isinstance(fields, EmailFields):
        if bool(secret) != bool(fields.username):
            raise InvalidArgument(
                "A logon at the mail server needs a user name and a password; enter both or neither."
            )
        if not secret:
            return
    _check_length(fields, secret)


def _check_length(fields: ChannelFields, secret: str) -> None:
    if isinstance(fields, WebhookFields) and len(secret) < MIN_SIGNING_KEY:
        raise InvalidArgument(f"The signing key has {len(secret)} characters; it needs {MIN_SIGNING_KEY} at least.")
    if len(secret) > MAX_PASSWORD or "\x00" in secret or "\n" in secret:
        raise InvalidArgument(f"The secret is one line of at most {MAX_PASSWORD} characters.")


def _place(fields: ChannelFields) -> tuple[str | int, ...]:
    """Whom the secret is for. A password must not follow a channel that somebody leads elsewhere."""
    if isinstance(fields, WebhookFields):
        return (fields.host,)
    return (fields.host, fields.port, fields.username)


def _facts(fields: ChannelFields) -> dict[str, str | int]:
    common: dict[str, str | int] = {
        "name": fields.name,
        "kind": fields.kind.value,
        "enabled": "yes" if fields.enabled else "no",
        "pinned_ca": "yes" if fields.ca_pem else "no",
    }
    if isinstance(fields, WebhookFields):
        return {**common, "host": fields.host}
    return {
        **common,
        "host": fields.host,
        "port": fields.port,
        "security": fields.security.value,
        "username": fields.username,
        "sender": fields.sender,
        "recipients": ", ".join(fields.recipients)[:2000],
    }


def found(connection: Connection, channel_id: int) -> Channel:
    """Raises:
    InvalidArgument: there is none of that number.
    """
    channels = store.channels(connection, channel_id)
    if not channels:
        raise InvalidArgument(f"There is no notification channel number {channel_id}.")
    return channels[0]


def _context(channel_id: int) -> str:
    """What a secret is bound to: moved to another row it does not open."""
    return f"notifications_channel/{channel_id}/secret"


def _taken(name: str) -> InvalidArgument:
    return InvalidArgument(f"There is a notification channel called {name!r} already; choose another name.")
