"""Channels of notifications: e-mail and signed webhooks. A secret is entered, used and replaced, never shown."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from django import forms
from django.http import HttpResponse
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as lazy

from certwright.adcs.errors import AdcsError
from certwright.console import access, answers
from certwright.console.access import PageRequest, Role, page
from certwright.console.listing import Column, Listing, in_memory
from certwright.console.pages.notifications import frame, shown
from certwright.console.rooms import rooms
from certwright.notifications.values import (
    MAX_PASSWORD,
    MAX_PEM,
    MAX_URL,
    MIN_SIGNING_KEY,
    Channel,
    ChannelKind,
    EmailFields,
    MailSecurity,
    TestOutcome,
    WebhookFields,
    make_key,
)

HERE: Final = "/notifications/channels/"
KIND_WORDS: Final = {ChannelKind.EMAIL: lazy("E-mail"), ChannelKind.WEBHOOK: lazy("Webhook")}
SECURITY_WORDS: Final = {
    MailSecurity.STARTTLS: lazy("STARTTLS (usually port 587)"),
    MailSecurity.TLS: lazy("TLS from the start (usually port 465)"),
    MailSecurity.NONE: lazy("None (usually port 25, never with a password)"),
}
COLUMNS: Final = (
    Column("name", lazy("Channel"), css="cw-lead"),
    Column("kind", lazy("Kind"), css="cw-tight"),
    Column("target", lazy("Leads to"), css="cw-why", sortable=False),
    Column("last_success", lazy("Last success"), css="cw-tight"),
    Column("health", lazy("Health"), css="cw-why cw-mark-s", sortable=False),
    Column("created", lazy("Added"), css="cw-tight", off=True),
)


@page(access.AUTOMATION)
def channels(request: PageRequest) -> HttpResponse:
    """Every channel, and how it did the last time."""
    return _list(request)


def _list(request: PageRequest, tried: Channel | None = None, outcome: TestOutcome | None = None) -> HttpResponse:
    listing = Listing.read(
        request, "notification-channels", COLUMNS, sort="name", search=lazy("Channel, address, host"), path=HERE
    )
    found = [_row(channel) for channel in rooms().notifications.channels.list()]
    in_memory(listing, found, searched=("name", "target"))
    context = {**frame(request, "channels"), "listing": listing, "tried": tried, "outcome": outcome}
    rows = "" if outcome is not None else "console/notifications/channels_rows.html"
    return answers.answer(request, "console/notifications/channels.html", context, rows=rows)


def _row(channel: Channel) -> dict[str, Any]:
    return {
        "id": channel.id,
        "name": channel.name,
        "kind": str(KIND_WORDS[channel.kind]),
        "target": channel.fields.target,
        "enabled": channel.fields.enabled,
        "has_secret": channel.has_secret,
        "last_success": channel.last_success,
        "last_error": channel.last_error,
        "last_error_when": channel.last_error_when,
        "health": "down" if channel.last_error else "ok" if channel.last_success else "unknown",
        "created": channel.created,
    }


@page({Role.ADMINISTRATOR}, methods=("POST",))
def test(request: PageRequest, channel_id: int) -> HttpResponse:
    """Send a test now, and show what came of it."""
    channel: Channel = rooms().notifications.channels.get(channel_id)
    outcome: TestOutcome = rooms().notifications.channels.test(channel_id, actor=request.viewer.account)
    return _list(request, channel, outcome)


# -- forms -----------------------------------------------------------------------------------------------------------


class _ChannelForm(forms.Form):
    """What both kinds have. `pinned` is the CA file that a channel has already."""

    name = forms.CharField(label=lazy("Name"), max_length=255)
    ca_file = forms.FileField(
        label=lazy("CA file (PEM)"),
        required=False,
        help_text=lazy("Only its certificates are trusted then; without one, those the system trusts."),
    )
    unpin = forms.BooleanField(label=lazy("Trust what the system trusts again"), required=False)
    enabled = forms.BooleanField(label=lazy("Channel is on"), required=False, initial=True)

    def __init__(self, *args: Any, pinned: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._pinned = pinned
        if not pinned:
            del self.fields["unpin"]

    def clean_ca_file(self) -> Any:
        file = self.cleaned_data["ca_file"]
        if file and file.size > MAX_PEM:
            raise forms.ValidationError(_("The file is too large; at most 512 KiB are taken."))
        return file

    @property
    def ca_pem(self) -> str:
        file = self.cleaned_data.get("ca_file")
        if file:
            return str(file.read(MAX_PEM).decode("utf-8", "replace"))
        return "" if self.cleaned_data.get("unpin") else self._pinned


class EmailForm(_ChannelForm):
    host = forms.CharField(label=lazy("Mail server"), max_length=253)
    port = forms.IntegerField(label=lazy("Port"), min_value=1, max_value=65535, initial=587)
    security = forms.ChoiceField(
        label=lazy("Security"), choices=[(each.value, words) for each, words in SECURITY_WORDS.items()]
    )
    username = forms.CharField(
        label=lazy("User name"),
        required=False,
        max_length=255,
        help_text=lazy("Empty where the server takes mail from here without a logon."),
    )
    sender = forms.CharField(label=lazy("From"), max_length=320)
    recipients = forms.CharField(
        label=lazy("To"), max_length=4000, help_text=lazy("Addresses, separated by commas; at most 50.")
    )
    field_order = (
        "name", "host", "port", "security", "username", "password", "sender", "recipients",
        "ca_file", "unpin", "enabled",
    )  # fmt: skip

    @property
    def values(self) -> EmailFields:
        data = self.cleaned_data
        return EmailFields(
            name=data["name"],
            host=data["host"],
            sender=data["sender"],
            recipients=tuple(each for part in data["recipients"].split(",") if (each := part.strip())),
            port=data["port"],
            security=MailSecurity(data["security"]),
            username=data["username"],
            ca_pem=self.ca_pem,
            enabled=data["enabled"],
        )


def _password(label: Any, hint: Any = "", *, required: bool = False) -> forms.CharField:
    return forms.CharField(
        label=label,
        required=required,
        strip=False,
        max_length=MAX_PASSWORD,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text=hint,
    )


class NewEmailForm(EmailForm):
    password = _password(lazy("Password"), lazy("With a user name. It is sealed, and never shown again."))


class WebhookForm(_ChannelForm):
    """A part of the URL may be secret, so that it is not shown again either."""

    url = forms.CharField(
        label=lazy("URL"),
        max_length=MAX_URL,
        help_text=lazy("https://…; hosts that are not public have to be listed as webhook-allow in certwright.toml."),
    )
    field_order = ("name", "url", "signing_key", "ca_file", "unpin", "enabled")

    def values(self, url: str = "") -> WebhookFields:
        data = self.cleaned_data
        return WebhookFields(data["name"], data["url"] or url, self.ca_pem, data["enabled"])


class NewWebhookForm(WebhookForm):
    signing_key = _password(
        lazy("Signing key"),
        lazy("At least 16 characters, the same at the receiver. Empty: one is made, and shown this once."),
    )


@page({Role.ADMINISTRATOR}, methods=("GET", "POST"))
def add_email(request: PageRequest) -> HttpResponse:
    """A new mail channel."""
    form = NewEmailForm(request.POST, request.FILES) if request.method == "POST" else NewEmailForm()
    if form.is_bound and form.is_valid():
        secret = form.cleaned_data["password"]
        try:
            channel = rooms().notifications.channels.add(form.values, secret, actor=request.viewer.account)
        except AdcsError as error:
            form.add_error(None, error.message)
        else:
            return answers.done(request, HERE, _("Channel added: %(name)s. Send a test.") % {"name": channel.name})
    return shown(request, form, _("Add an e-mail channel"), _("Add channel"), HERE)


@page({Role.ADMINISTRATOR}, methods=("GET", "POST"))
def add_webhook(request: PageRequest) -> HttpResponse:
    """A new webhook. A key that is made here is shown in this answer, and in no other."""
    form = NewWebhookForm(request.POST, request.FILES) if request.method == "POST" else NewWebhookForm()
    if form.is_bound and form.is_valid():
        entered = form.cleaned_data["signing_key"]
        secret = entered or make_key()
        try:
            channel = rooms().notifications.channels.add(form.values(), secret, actor=request.viewer.account)
        except AdcsError as error:
            form.add_error(None, error.message)
        else:
            if entered:
                text = _("Channel added: %(name)s. Send a test.") % {"name": channel.name}
                return answers.done(request, HERE, text)
            return _key(request, channel, secret)
    return shown(request, form, _("Add a webhook"), _("Add channel"), HERE)


def _key(request: PageRequest, channel: Channel, secret: str) -> HttpResponse:
    context = {
        "title": channel.name,
        "crumbs": [(_("Automation"), ""), (_("Notifications"), "/notifications/"), (_("Channels"), HERE)],
        "channel": channel,
        "secret": secret,
    }
    return answers.answer(request, "console/notifications/key.html", context)


@page({Role.ADMINISTRATOR}, methods=("GET", "POST"))
def edit(request: PageRequest, channel_id: int) -> HttpResponse:
    """Everything but the secret."""
    channel: Channel = rooms().notifications.channels.get(channel_id)
    before = channel.fields
    bound = (request.POST, request.FILES) if request.method == "POST" else ()
    form: EmailForm | WebhookForm
    if isinstance(before, EmailFields):
        initial = {
            "name": before.name,
            "host": before.host,
            "port": before.port,
            "security": before.security.value,
            "username": before.username,
            "sender": before.sender,
            "recipients": ", ".join(before.recipients),
            "enabled": before.enabled,
        }
        form = EmailForm(*bound, initial=initial, pinned=before.ca_pem)
    else:
        form = WebhookForm(*bound, initial={"name": before.name, "enabled": before.enabled}, pinned=before.ca_pem)
        form.fields["url"].required = False
        form.fields["url"].help_text = _("Empty: it stays as it is, at %(host)s.") % {"host": before.host}
    if form.is_bound and form.is_valid():
        values = form.values if isinstance(form, EmailForm) else form.values(getattr(before, "url", ""))
        try:
            rooms().notifications.channels.edit(channel_id, values, actor=request.viewer.account)
        except AdcsError as error:
            form.add_error(None, error.message)
        else:
            return answers.done(request, HERE, _("Channel changed: %(name)s") % {"name": form.cleaned_data["name"]})
    return shown(request, form, channel.name, _("Save"), HERE)


class SecretForm(forms.Form):
    secret = _password(lazy("Secret"), required=True)


class KeyForm(forms.Form):
    secret = _password(lazy("Signing key"), lazy("Empty: one is made, and shown this once."))


@page({Role.ADMINISTRATOR}, methods=("GET", "POST"))
def secret(request: PageRequest, channel_id: int) -> HttpResponse:
    """Another password or signing key; the old one is gone."""
    channel: Channel = rooms().notifications.channels.get(channel_id)
    is_webhook = channel.kind is ChannelKind.WEBHOOK
    form = (KeyForm if is_webhook else SecretForm)(request.POST if request.method == "POST" else None)
    if form.is_bound and form.is_valid():
        entered = form.cleaned_data["secret"]
        chosen = entered or make_key()
        try:
            rooms().notifications.channels.replace_secret(channel_id, chosen, actor=request.viewer.account)
        except AdcsError as error:
            form.add_error(None, error.message)
        else:
            if not entered:
                return _key(request, channel, chosen)
            return answers.done(request, HERE, _("Secret replaced: %(name)s") % {"name": channel.name})
    hint = _("At least %(count)s characters.") % {"count": MIN_SIGNING_KEY} if is_webhook else ""
    title = _("Replace the secret of %(name)s") % {"name": channel.name}
    return shown(request, form, title, _("Replace secret"), HERE, hint)


@page({Role.ADMINISTRATOR}, methods=("POST",))
def switch(request: PageRequest, channel_id: int, enabled: bool) -> HttpResponse:
    """On or off."""
    channel: Channel = rooms().notifications.channels.get(channel_id)
    fields = replace(channel.fields, enabled=enabled)
    rooms().notifications.channels.edit(channel_id, fields, actor=request.viewer.account)
    words = _("%(name)s is on.") if enabled else _("%(name)s is off: what waits for it is given up.")
    return answers.done(request, HERE, words % {"name": channel.name})


class DeleteForm(forms.Form):
    word = forms.CharField(label=lazy("Its name, to confirm"), max_length=255)


@page({Role.ADMINISTRATOR}, methods=("GET", "POST"))
def delete(request: PageRequest, channel_id: int) -> HttpResponse:
    """Remove a channel; where rules lead to it, its name has to be typed, and they go too."""
    channel: Channel = rooms().notifications.channels.get(channel_id)
    leading = [
        rule.fields.name for rule in rooms().notifications.rules.list() if rule.fields.channel_id == channel_id
    ]
    form = DeleteForm(request.POST if request.method == "POST" else None) if leading else None
    if form is not None:
        form.fields["word"].widget.attrs["data-confirm-word"] = channel.name
    if request.method == "POST":
        typed = form is not None and form.is_valid() and form.cleaned_data["word"].strip() == channel.name
        if form is not None and not typed:
            form.add_error("word", _("Type %(name)s.") % {"name": channel.name})
        else:
            rooms().notifications.channels.delete(channel_id, confirmed=typed, actor=request.viewer.account)
            return answers.done(request, HERE, _("Channel deleted: %(name)s") % {"name": channel.name})
    text = (
        _("These rules go with it: %(names)s.") % {"names": ", ".join(leading)}
        if leading
        else _("No rule leads to it.")
    )
    context = {
        "title": _("Delete the channel %(name)s?") % {"name": channel.name},
        "text": " ".join((text, _("Its secret is destroyed; its history stays."))),
        "form": form,
        "submit": _("Delete channel"),
        "back": HERE,
    }
    failed = form is not None and bool(form.errors)
    return answers.dialog(request, "console/ca/act.html", context, status=422 if failed else 200)


_AT: Final = "notifications/channels/<int:channel_id>/"
urls = [
    path("notifications/channels/", channels),
    path("notifications/channels/add/email/", add_email),
    path("notifications/channels/add/webhook/", add_webhook),
    path(f"{_AT}edit/", edit),
    path(f"{_AT}secret/", secret),
    path(f"{_AT}test/", test),
    path(f"{_AT}on/", switch, {"enabled": True}),
    path(f"{_AT}off/", switch, {"enabled": False}),
    path(f"{_AT}delete/", delete),
]
