"""Notifications: rules that say who is told of what, the channels they lead to, and how each telling went."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from django import forms
from django.http import HttpResponse
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as lazy
from django.utils.translation import ngettext

from certwright.adcs.errors import AdcsError
from certwright.adcs.events import LifecycleKind
from certwright.console import access, answers, saved_views
from certwright.console.access import PageRequest, Role, Viewer, page
from certwright.console.listing import Column, Filter, Listing, in_memory
from certwright.console.rooms import rooms
from certwright.notifications.values import (
    BANDS,
    Channel,
    Delivery,
    DeliveryState,
    HistoryQuery,
    Rule,
    RuleFields,
    RuleView,
)

HERE: Final = "/notifications/"
HISTORY: Final = "/notifications/history/"
FORM: Final = "console/adcs_accounts/form_page.html"
TABS: Final = (("", lazy("Rules")), ("channels", lazy("Channels")), ("history", lazy("History")))

EVENT_WORDS: Final = {
    LifecycleKind.ORDER_ISSUED: lazy("Order issued"),
    LifecycleKind.ORDER_PENDING: lazy("Order pending"),
    LifecycleKind.ORDER_DENIED: lazy("Order denied"),
    LifecycleKind.ORDER_FAILED: lazy("Order failed"),
    LifecycleKind.ORDER_LOST: lazy("Order: answer lost"),
    LifecycleKind.CERTIFICATE_EXPIRING: lazy("Certificate expires"),
    LifecycleKind.CERTIFICATE_EXPIRED: lazy("Certificate expired"),
    LifecycleKind.CERTIFICATE_RENEWED: lazy("Certificate renewed"),
    LifecycleKind.CERTIFICATE_REVOKED: lazy("Certificate revoked"),
    LifecycleKind.RENEWAL_FAILED: lazy("Renewal failed"),
    LifecycleKind.SERVICE_UNREACHABLE: lazy("AD CS service does not answer"),
    LifecycleKind.SERVICE_RECOVERED: lazy("AD CS service answers again"),
    LifecycleKind.SERVICE_CHANGED: lazy("AD CS service changed its CA certificate or templates"),
    LifecycleKind.DEVICE_USER_EXPIRING: lazy("Secret of a device user expires"),
    LifecycleKind.CA_ISSUED: lazy("CA: certificate issued"),
    LifecycleKind.CA_PENDING: lazy("CA: request pending"),
    LifecycleKind.CA_DENIED: lazy("CA: request denied"),
    LifecycleKind.CA_FAILED: lazy("CA: request failed"),
    LifecycleKind.CA_REVOKED: lazy("CA: certificate revoked"),
    LifecycleKind.CA_KEY_ARCHIVED: lazy("CA: private key archived"),
    LifecycleKind.CA_INSTALLED: lazy("CA: installed"),
    LifecycleKind.CA_CERTIFICATE_RENEWED: lazy("CA: its own certificate renewed"),
    LifecycleKind.CA_CERTIFICATE_EXPIRING: lazy("CA: its own certificate expires"),
    LifecycleKind.CRL_PUBLISHED: lazy("CA: CRL published"),
    LifecycleKind.CRL_OVERDUE: lazy("CA: CRL overdue"),
    LifecycleKind.CRL_NOT_PUBLISHED: lazy("CA: CRL not published everywhere"),
    LifecycleKind.CRL_NEEDS_KEY: lazy("CA: next CRL needs the offline key"),
    LifecycleKind.ANSWERS_ENDING: lazy("Online Responder: answers end"),
    LifecycleKind.LOCATION_FAILING: lazy("Location that clients cannot use"),
    LifecycleKind.LOCATION_EXPIRING: lazy("Location whose CRL, answer or certificate ends"),
    LifecycleKind.LOCATION_RECOVERED: lazy("Location that works again"),
}
STATES: Final = {
    DeliveryState.WAITING: ("pending", lazy("Waiting")),
    DeliveryState.DELIVERED: ("ok", lazy("Delivered")),
    DeliveryState.GIVEN_UP: ("failed", lazy("Given up")),
}

RULES: Final = (
    Column("name", lazy("Rule"), css="cw-lead"),
    Column("events", lazy("Events"), css="cw-why", sortable=False),
    Column("filter", lazy("Filter"), css="cw-tight", sortable=False),
    Column("bands", lazy("Band"), css="cw-tight", sortable=False),
    Column("channel", lazy("Channel"), css="cw-tight"),
    Column("created", lazy("Added"), css="cw-tight", off=True),
)
DELIVERIES: Final = (
    Column("when", lazy("When"), css="cw-tight", sortable=False),
    Column("event", lazy("Event"), css="cw-tight", sortable=False),
    Column("object", lazy("Object"), css="cw-lead", sortable=False),
    Column("channel", lazy("Channel"), css="cw-tight", sortable=False),
    Column("result", lazy("Result"), css="cw-why cw-mark-s", sortable=False),
    Column("rule", lazy("Rule"), css="cw-tight", sortable=False, off=True),
    Column("attempts", lazy("Attempts"), css="cw-tight cw-num", sortable=False, off=True),
    Column("next_try", lazy("Next try"), css="cw-tight", sortable=False, off=True),
)


def tabs(current: str) -> list[dict[str, Any]]:
    """The three pages, for the strip above each."""
    return [
        {"label": label, "href": f"{HERE}{key}/" if key else HERE, "current": key == current} for key, label in TABS
    ]


def frame(request: PageRequest, current: str) -> dict[str, Any]:
    """What every one of them shows."""
    return {
        "title": _("Notifications"),
        "crumbs": [(_("Automation"), "")],
        "tabs": tabs(current),
        "may_change": request.viewer.may(Role.ADMINISTRATOR),
    }


# -- rules -----------------------------------------------------------------------------------------------------------


@page(access.AUTOMATION)
def rules(request: PageRequest) -> HttpResponse:
    """Every rule, and where it leads."""
    listing = Listing.read(request, "notification-rules", RULES, sort="name", search=lazy("Rule, event, channel"))
    found = [_rule(rule) for rule in rooms().notifications.rules.list()]
    in_memory(listing, found, searched=("name", "events", "channel", "filter"))
    context = {
        **frame(request, ""),
        "listing": listing,
        "has_channels": bool(rooms().notifications.channels.list()),
    }
    return answers.answer(
        request, "console/notifications/rules.html", context, rows="console/notifications/rules_rows.html"
    )


def _rule(rule: Rule) -> dict[str, Any]:
    fields = rule.fields
    view = fields.view.name if fields.view else ""
    named = (
        (_("Template"), fields.template),
        (_("Domain"), fields.domain),
        (_("Tag"), fields.tag),
        (_("View"), view),
    )
    return {
        "id": rule.id,
        "name": fields.name,
        "enabled": fields.enabled,
        "events": ", ".join(str(EVENT_WORDS[kind]) for kind in fields.kinds),
        "filter": ", ".join(f"{label} {value}" for label, value in named if value),
        "bands": _bands(fields),
        "channel": rule.channel_name,
        "created": rule.created,
    }


def _bands(fields: RuleFields) -> str:
    if LifecycleKind.CERTIFICATE_EXPIRING not in fields.kinds:
        return ""
    return _("%(days)s days") % {"days": ", ".join(map(str, fields.bands))} if fields.bands else _("all")


class RuleForm(forms.Form):
    """Which events go to a channel."""

    name = forms.CharField(label=lazy("Name"), max_length=255)
    channel = forms.TypedChoiceField(label=lazy("Channel"), coerce=int)
    kinds = forms.TypedMultipleChoiceField(
        label=lazy("Events"),
        choices=[(kind.value, words) for kind, words in EVENT_WORDS.items()],
        coerce=LifecycleKind,
        widget=forms.CheckboxSelectMultiple,
    )
    bands = forms.TypedMultipleChoiceField(
        label=lazy("Bands of “Certificate expires”"),
        coerce=int,
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text=lazy("Days before the end in which a certificate is told of, once each; none means all of them."),
    )
    template = forms.CharField(
        label=lazy("Template"),
        required=False,
        max_length=64,
        help_text=lazy("Only events that tell this template; the same goes for domain and tag."),
    )
    domain = forms.CharField(label=lazy("Domain"), required=False, max_length=255)
    tag = forms.CharField(label=lazy("Tag"), required=False, max_length=64)
    view = forms.TypedChoiceField(
        label=lazy("Saved view"),
        required=False,
        coerce=int,
        help_text=lazy("Only events about certificates that this view of the Certificate List holds at that moment."),
    )
    enabled = forms.BooleanField(label=lazy("Rule is on"), required=False, initial=True)

    def __init__(self, viewer: Viewer, *args: Any, kept: RuleView | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._viewer, self._kept = viewer, kept
        views = {view.pk: view.name for view in saved_views.filters_for(viewer)}
        if kept is not None:
            views.setdefault(kept.id, kept.name)
        self.fields["view"].choices = [("", _("All certificates")), *views.items()]  # type: ignore[attr-defined]
        channels: Sequence[Channel] = rooms().notifications.channels.list()
        self.fields["channel"].choices = [(channel.id, channel.name) for channel in channels]  # type: ignore[attr-defined]
        self.fields["bands"].choices = [  # type: ignore[attr-defined]
            (str(band), ngettext("%(days)s day", "%(days)s days", band) % {"days": band})
            for band in sorted(BANDS, reverse=True)
        ]

    @property
    def values(self) -> RuleFields:
        data = self.cleaned_data
        return RuleFields(
            name=data["name"],
            channel_id=data["channel"],
            kinds=tuple(data["kinds"]),
            template=data["template"],
            domain=data["domain"],
            tag=data["tag"],
            bands=tuple(data["bands"]),
            enabled=data["enabled"],
            view=saved_views.filter_called(self._viewer, data["view"], self._kept) if data["view"] else None,
        )


@page({Role.ADMINISTRATOR}, methods=("GET", "POST"))
def add(request: PageRequest) -> HttpResponse:
    """A new rule."""
    form = RuleForm(request.viewer, request.POST if request.method == "POST" else None)
    if form.is_bound and form.is_valid():
        try:
            rule = rooms().notifications.rules.add(form.values, actor=request.viewer.account)
        except AdcsError as error:
            form.add_error(None, error.message)
        else:
            return answers.done(request, HERE, _("Rule added: %(name)s") % {"name": rule.fields.name})
    text = "" if rooms().notifications.channels.list() else _("There is no channel yet; add one first.")
    return shown(request, form, _("Add a notification rule"), _("Add rule"), HERE, text)


@page({Role.ADMINISTRATOR}, methods=("GET", "POST"))
def edit(request: PageRequest, rule_id: int) -> HttpResponse:
    """Change a rule; it counts for the next event."""
    before: RuleFields = rooms().notifications.rules.get(rule_id).fields
    initial = {
        "name": before.name,
        "channel": before.channel_id,
        "kinds": [kind.value for kind in before.kinds],
        "bands": [str(band) for band in before.bands],
        "template": before.template,
        "domain": before.domain,
        "tag": before.tag,
        "view": before.view.id if before.view else "",
        "enabled": before.enabled,
    }
    posted = request.POST if request.method == "POST" else None
    form = RuleForm(request.viewer, posted, initial=initial, kept=before.view)
    if form.is_bound and form.is_valid():
        try:
            rooms().notifications.rules.edit(rule_id, form.values, actor=request.viewer.account)
        except AdcsError as error:
            form.add_error(None, error.message)
        else:
            return answers.done(request, HERE, _("Rule changed: %(name)s") % {"name": form.values.name})
    return shown(request, form, before.name, _("Save"), HERE)


def shown(request: PageRequest, form: forms.Form, title: str, submit: str, back: str, text: str = "") -> HttpResponse:
    """A form on a page of its own."""
    context = {
        "title": title,
        "crumbs": [(_("Automation"), ""), (_("Notifications"), back)],
        "form": form,
        "submit": submit,
        "back": back,
        "text": text,
    }
    return answers.answer(request, FORM, context, status=422 if form.errors else 200)


@page({Role.ADMINISTRATOR}, methods=("GET", "POST"))
def delete(request: PageRequest, rule_id: int) -> HttpResponse:
    """Remove a rule."""
    rule: Rule = rooms().notifications.rules.get(rule_id)
    if request.method == "POST":
        rooms().notifications.rules.delete(rule_id, actor=request.viewer.account)
        return answers.done(request, HERE, _("Rule deleted: %(name)s") % {"name": rule.fields.name})
    context = {
        "title": _("Delete the rule %(name)s?") % {"name": rule.fields.name},
        "text": _("%(channel)s is not told of these events any more. What waits in the queue is still delivered.")
        % {"channel": rule.channel_name},
        "submit": _("Delete rule"),
        "back": HERE,
    }
    return answers.dialog(request, "console/ca/act.html", context)


# -- history ---------------------------------------------------------------------------------------------------------


@page(access.AUTOMATION)
def history(request: PageRequest) -> HttpResponse:
    """What was told, the newest first, and what waits or was given up."""
    channels: Sequence[Channel] = rooms().notifications.channels.list()
    listing = Listing.read(
        request,
        "notification-history",
        DELIVERIES,
        sort="when",
        filters=[
            Filter(
                "state",
                _("Result"),
                _("All results"),
                [(str(state.value), words) for state, (_look, words) in STATES.items()],
            ),
            Filter(
                "event",
                _("Event"),
                _("All events"),
                [(kind.value, words) for kind, words in EVENT_WORDS.items()],
                wide_only=True,
            ),
            Filter("channel", _("Channel"), _("All channels"), [(str(each.id), each.name) for each in channels]),
        ],
    )
    state, event, channel = listing.value("state"), listing.value("event"), listing.value("channel")
    query = HistoryQuery(
        channel_id=int(channel) if channel else None,
        state=DeliveryState(int(state)) if state else None,
        kind=LifecycleKind(event) if event else None,
        before=int(listing.after) if listing.after.isascii() and listing.after.isdigit() else None,
        limit=listing.size + 1,
    )
    found: Sequence[Delivery] = rooms().notifications.history(query)
    window = found[: listing.size]
    more = len(found) > listing.size
    listing.fill([_delivery(each) for each in window], next_key=str(window[-1].id) if more else "")
    context = {**frame(request, "history"), "listing": listing}
    return answers.answer(
        request, "console/notifications/history.html", context, rows="console/notifications/history_rows.html"
    )


def _delivery(each: Delivery) -> dict[str, Any]:
    look, words = STATES[each.state]
    kind = each.kind
    return {
        "id": each.id,
        "when": each.settled or each.created,
        "event": EVENT_WORDS[kind] if isinstance(kind, LifecycleKind) else kind,
        "object": each.object,
        "channel": each.channel_name,
        "look": look,
        "words": words,
        "result": each.result,
        "rule": each.rule_name,
        "attempts": each.attempts,
        "next_try": each.next_try if each.state is DeliveryState.WAITING else None,
        "given_up": each.state is DeliveryState.GIVEN_UP,
    }


@page({Role.ADMINISTRATOR}, methods=("POST",))
def retry(request: PageRequest, delivery_id: int) -> HttpResponse:
    """Queue anew what was given up; the next run delivers it."""
    delivery: Delivery = rooms().notifications.try_again(delivery_id, actor=request.viewer.account)
    text = _("Queued again for %(channel)s: %(object)s") % {
        "channel": delivery.channel_name,
        "object": delivery.object,
    }
    return answers.done(request, HISTORY, text)


urls = [
    path("notifications/", rules),
    path("notifications/add/", add),
    path("notifications/<int:rule_id>/edit/", edit),
    path("notifications/<int:rule_id>/delete/", delete),
    path("notifications/history/", history),
    path("notifications/history/<int:delivery_id>/retry/", retry),
]
