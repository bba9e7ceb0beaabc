"""NDES of one CA: its services for devices, what they asked for, challenges out, and what was refused and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from django import forms
from django.http import Http404, HttpResponse
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as lazy

from certwright.adcs.errors import AdcsError
from certwright.adcs.requester import Requester
from certwright.console import access, answers, clock
from certwright.console.access import PageRequest, Role, page
from certwright.console.authority import ca_of
from certwright.console.listing import Column, Filter, Listing, in_memory
from certwright.console.pages.enrollment import frame
from certwright.console.rooms import CaStanding, rooms
from certwright.ndes.administration import ServiceStanding
from certwright.ndes.modules import module_names
from certwright.ndes.settings import BUILT_IN, MEANINGS, ChallengeMode, NdesSettings
from certwright.ndes.store import State
from certwright.wire.explain_scep import explained

CLASSIC: Final = "-"
"""The service at the classic addresses, in paths."""
_FORM: Final = "console/adcs_accounts/form_page.html"
SHOWN: Final = 1000
"""Rows of a list at most, the latest."""
STATES: Final[Mapping[State, tuple[str, Any]]] = {
    State.SUBMITTING: ("submitting", lazy("submitting")),
    State.PENDING: ("pending", lazy("pending")),
    State.ISSUED: ("issued", lazy("issued")),
    State.DENIED: ("denied", lazy("denied")),
    State.FAILED: ("failed", lazy("failed")),
}
MODES: Final[Mapping[str, Any]] = {
    ChallengeMode.ONE_TIME: lazy("one-time"),
    ChallengeMode.STATIC: lazy("one static challenge"),
    ChallengeMode.NONE: lazy("none"),
}
_MANAGERS: Final = frozenset({Role.CA_ADMINISTRATOR})
_GIVING: Final = frozenset({Role.CA_ADMINISTRATOR, Role.CERTIFICATE_MANAGER})
_TEMPLATES: Final = frozenset({"signature-template", "encryption-template", "general-purpose-template"})
_LONG: Final = frozenset({"webhook-ca", "policy-options"})

SERVICES: Final = (
    Column("name", lazy("Service"), css="cw-lead"),
    Column("state", lazy("State"), css="cw-tight"),
    Column("devices", lazy("Address for devices"), sortable=False),
    Column("templates", lazy("Templates"), sortable=False),
    Column("challenge", lazy("Challenge"), css="cw-tight"),
    Column("policy", lazy("Policy module"), css="cw-tight"),
)
DEVICES: Final = (
    Column("changed", lazy("When"), css="cw-tight"),
    Column("subject", lazy("Subject"), css="cw-lead"),
    Column("state", lazy("State"), css="cw-tight"),
    Column("template", lazy("Template"), css="cw-tight"),
    Column("kind", lazy("Kind"), css="cw-tight"),
    Column("peer", lazy("Address"), css="cw-tight"),
    Column("transaction", lazy("Transaction"), off=True),
    Column("message", lazy("Answer of the CA"), css="cw-why"),
)
CHALLENGES: Final = (
    Column("created", lazy("Given out"), css="cw-tight"),
    Column("issued_to", lazy("Given to"), css="cw-lead"),
    Column("names", lazy("For names"), css="cw-why"),
    Column("template", lazy("For template"), css="cw-tight"),
    Column("expires", lazy("Expires"), css="cw-tight"),
    Column("state", lazy("State"), css="cw-tight"),
    Column("used_by", lazy("Used by transaction"), off=True),
)
FAILURES: Final = (
    Column("occurred", lazy("When"), css="cw-tight"),
    Column("rule", lazy("Rule"), css="cw-lead"),
    Column("reason", lazy("Reason"), css="cw-why"),
    Column("fail_info", lazy("Answer"), css="cw-tight"),
    Column("peer", lazy("Address"), css="cw-tight"),
    Column("signer", lazy("Signed by"), css="cw-why"),
    Column("transaction", lazy("Transaction"), off=True),
)


# -- looking ---------------------------------------------------------------------------------------------------------


@page(access.CA_SETTINGS)
def services(request: PageRequest, ca: str) -> HttpResponse:
    """Every service of this CA."""
    standing = ca_of(request, ca)
    found = [each for each in rooms().ndes.services() if each.ca == standing.name]
    listing = Listing.read(request, "ndes-services", SERVICES, sort="name")
    in_memory(listing, [_service_row(each) for each in found], searched=())
    context = frame(request, standing, "ndes") | {
        "listing": listing,
        "may_change": request.viewer.on(standing, Role.CA_ADMINISTRATOR),
        "add_url": f"/ca/{standing.slug}/enrollment/ndes/-/add/",
    }
    return answers.answer(
        request, "console/ca/ndes/services.html", context, rows="console/ca/ndes/services_rows.html"
    )


def _service_row(each: ServiceStanding) -> dict[str, Any]:
    settings = each.settings
    if not settings.enabled:
        look, words = "disabled", _("off")
    elif each.obstacles or each.not_after is None or each.not_after <= rooms().clock():
        look, words = "warning", _("answers, with findings")
    else:
        look, words = "ok", _("answers")
    return {
        "slug": each.name or CLASSIC,
        "name": each.name or str(_("Classic addresses")),
        "state": words,
        "look": look,
        "enabled": settings.enabled,
        "devices": each.devices,
        "templates": settings.templates,
        "challenge": str(MODES[settings.challenge]) if settings.policy == BUILT_IN else "–",
        "policy": settings.policy,
    }


@page(access.CA_SETTINGS)
def service(request: PageRequest, ca: str, service: str) -> HttpResponse:
    """One service: addresses, certificates, settings."""
    standing, found = found_at(request, ca, service)
    settings = found.settings
    texts = settings.as_text()
    about: list[tuple[str, object]] = [
        (_("For devices"), found.devices),
        (_("For people"), found.people),
        (_("Fingerprint of the CA (SHA-256)"), found.ca_fingerprint),
        (_("Submits as"), settings.account),
        (_("Certificates until"), clock.whole(found.not_after) if found.not_after else _("none yet")),
    ]
    if found.renew_after is not None:
        about.append((_("Renewed after"), clock.whole(found.renew_after)))
    context = framed(request, standing, found, "overview") | {
        "about": about,
        "row": _service_row(found),
        "settings": [(key, texts[key] or "–", _(meaning)) for key, meaning in MEANINGS.items()],
    }
    return answers.answer(request, "console/ca/ndes/service.html", context)


@page(access.CA_SETTINGS)
def devices(request: PageRequest, ca: str, service: str) -> HttpResponse:
    """What devices asked for."""
    standing, found = found_at(request, ca, service)
    filters = [Filter("state", _("State"), _("All"), [(key.name, words) for key, (_look, words) in STATES.items()])]
    listing = Listing.read(
        request,
        "ndes-devices",
        DEVICES,
        sort="-changed",
        search=lazy("Subject, address, transaction"),
        filters=filters,
    )
    rows = [
        {
            "changed": moment(each.changed),
            "subject": each.subject or "–",
            "state": each.state.name,
            "look": STATES[each.state][0],
            "words": STATES[each.state][1],
            "template": each.template,
            "kind": str(_("renewal") if each.renewal else _("first")),
            "peer": each.peer,
            "transaction": each.name,
            "message": each.message if each.state is not State.ISSUED else "",
            "request_id": each.request_id,
        }
        for each in rooms().ndes.devices(SHOWN, found.name)
        if listing.value("state") in ("", each.state.name)
    ]
    in_memory(listing, rows, searched=("subject", "peer", "transaction"))
    context = framed(request, standing, found, "devices") | {"listing": listing}
    return answers.answer(request, "console/ca/ndes/list.html", context, rows="console/ca/ndes/devices_rows.html")


@page(access.CA_SETTINGS)
def challenges(request: PageRequest, ca: str, service: str) -> HttpResponse:
    """Challenges given out; never the passwords."""
    standing, found = found_at(request, ca, service)
    now = int(rooms().clock().timestamp())
    states = {"out": _("not used yet"), "used": _("used"), "expired": _("expired")}
    filters = [Filter("state", _("State"), _("All"), list(states.items()))]
    listing = Listing.read(
        request, "ndes-challenges", CHALLENGES, sort="-created", search=lazy("Account, name"), filters=filters
    )
    rows = []
    for each in rooms().ndes.challenges(SHOWN, found.name):
        state = "used" if each.used is not None else "out" if each.expires > now else "expired"
        if listing.value("state") in ("", state):
            rows.append(
                {
                    "created": moment(each.created),
                    "issued_to": each.issued_to,
                    "names": ", ".join(each.names) or str(_("any")),
                    "template": each.template or str(_("any")),
                    "expires": moment(each.expires),
                    "state": state,
                    "look": {"used": "issued", "out": "pending", "expired": "expired"}[state],
                    "words": states[state],
                    "used_by": each.used_by,
                }
            )
    in_memory(listing, rows, searched=("issued_to", "names"))
    context = framed(request, standing, found, "challenges") | {"listing": listing}
    return answers.answer(request, "console/ca/ndes/list.html", context, rows="console/ca/ndes/challenges_rows.html")


@page(access.CA_SETTINGS)
def failures(request: PageRequest, ca: str, service: str) -> HttpResponse:
    """What was refused, by rule."""
    standing, found = found_at(request, ca, service)
    kept = rooms().ndes.failures(SHOWN, found.name)
    counted: dict[str, int] = {}
    for each in kept:
        counted[each.rule] = counted.get(each.rule, 0) + 1
    by_count = sorted(counted, key=lambda rule: -counted[rule])
    filters = [Filter("rule", _("Rule"), _("All"), [(rule, f"{rule} ({counted[rule]})") for rule in by_count])]
    listing = Listing.read(
        request, "ndes-failures", FAILURES, sort="-occurred", search=lazy("Reason, address, signer"), filters=filters
    )
    rows = [
        {
            "id": each.id,
            "occurred": moment(each.occurred),
            "rule": each.rule,
            "reason": each.reason,
            "fail_info": each.fail_info or "HTTP",
            "peer": each.peer,
            "signer": each.signer,
            "transaction": each.transaction,
        }
        for each in kept
        if listing.value("rule") in ("", each.rule)
    ]
    in_memory(listing, rows, searched=("reason", "peer", "signer", "transaction"))
    context = framed(request, standing, found, "failures") | {"listing": listing}
    return answers.answer(request, "console/ca/ndes/list.html", context, rows="console/ca/ndes/failures_rows.html")


@page(access.CA_SETTINGS)
def failure(request: PageRequest, ca: str, service: str, failure_id: int) -> HttpResponse:
    """The message, decoded."""
    standing, found = found_at(request, ca, service)
    kept = rooms().ndes.failure(failure_id)
    if kept is None or kept.service != found.name:
        raise Http404
    context = framed(request, standing, found, "failures") | {
        "about": [
            (_("When"), clock.whole(moment(kept.occurred))),
            (_("Rule"), kept.rule),
            (_("Reason"), kept.reason),
            (_("Answer"), kept.fail_info or "HTTP"),
            (_("Address"), kept.peer),
            (_("Transaction"), kept.transaction or "–"),
        ],
        "tree": [_indented(line) for line in explained(kept.message).lines()],
    }
    return answers.answer(request, "console/ca/ndes/failure.html", context)


def _indented(line: str) -> tuple[int, str]:
    """How deep a line of an explanation stands, 5 at most, and what it says."""
    text = line.lstrip(" ")
    return min(5, (len(line) - len(text)) // 2), text


def found_at(request: PageRequest, ca: str, service: str) -> tuple[CaStanding, ServiceStanding]:
    standing = ca_of(request, ca)
    try:
        found = rooms().ndes.standing("" if service == CLASSIC else service)
    except AdcsError:
        raise Http404 from None
    if found.ca != standing.name:
        raise Http404
    return standing, found


def framed(request: PageRequest, standing: CaStanding, found: ServiceStanding, tab: str) -> dict[str, Any]:
    root = f"/ca/{standing.slug}/enrollment/ndes/"
    here = f"{root}{found.name or CLASSIC}/"
    words: tuple[tuple[str, str, str], ...] = (
        ("overview", _("Overview"), here),
        ("devices", _("Devices"), f"{here}devices/"),
        ("challenges", _("Challenges"), f"{here}challenges/"),
        ("failures", _("Failures"), f"{here}failures/"),
    )
    if found.settings.policy != BUILT_IN or tab == "notices":
        words += (("notices", _("Notices"), f"{here}notices/"),)
    return {
        "title": found.name or _("NDES at the classic addresses"),
        "crumbs": [
            (standing.name, ""),
            (_("Enrollment Services"), f"/ca/{standing.slug}/enrollment/"),
            ("NDES", root),
        ],
        "ca": standing,
        "service": found,
        "here": here,
        "tabs": words,
        "tab": tab,
        "one_time": found.settings.policy != BUILT_IN or found.settings.challenge is ChallengeMode.ONE_TIME,
        "may_change": request.viewer.on(standing, Role.CA_ADMINISTRATOR),
        "may_give": any(request.viewer.on(standing, role) for role in _GIVING),
    }


def moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


# -- acts ------------------------------------------------------------------------------------------------------------


class AddForm(forms.Form):
    name = forms.CharField(
        label=lazy("Name"),
        max_length=32,
        help_text=lazy("Lower-case letters, digits and hyphens: devices ask at /ndes/NAME/."),
    )


@page(_MANAGERS, methods=("GET", "POST"))
def add(request: PageRequest, ca: str) -> HttpResponse:
    """Another service of this CA; off at first."""
    standing = ca_of(request, ca)
    form = AddForm(request.POST if request.method == "POST" else None)
    if form.is_bound and form.is_valid():
        try:
            made = rooms().ndes.add(form.cleaned_data["name"], request.viewer.requester, ca=standing.name)
        except AdcsError as error:
            form.add_error("name", error.message)
        else:
            url = f"/ca/{standing.slug}/enrollment/ndes/{made.name}/"
            return answers.done(request, url, _("Service added: %(name)s") % {"name": made.name})
    back = f"/ca/{standing.slug}/enrollment/ndes/"
    context = {"title": _("Add a service for devices"), "form": form, "submit": _("Add service"), "back": back}
    return answers.dialog(request, "console/form_dialog.html", context, status=422 if form.errors else 200)


class SettingsForm(forms.Form):
    """A field for each setting, under its own name. What a value may be is checked where it is kept."""

    def __init__(self, data: Mapping[str, Any] | None, settings: NdesSettings) -> None:
        texts = settings.as_text()
        super().__init__(data, initial=texts)
        for key, meaning in MEANINGS.items():
            if key == "ca":
                continue
            choices = _choices(key, settings)
            if choices:
                field: forms.Field = forms.ChoiceField(choices=choices)
            elif key in _LONG:
                field = forms.CharField(max_length=32_000, widget=forms.Textarea(attrs={"rows": 3}))
            else:
                field = forms.CharField(max_length=512)
            field.label, field.help_text, field.required = key, _(meaning), False
            self.fields[key] = field

    def changes(self, settings: NdesSettings) -> dict[str, str]:
        before = settings.as_text()
        entered = {key: self.cleaned_data[key].replace("\r\n", "\n").strip() for key in self.fields}
        return {key: value for key, value in entered.items() if value != before[key]}


def _choices(key: str, settings: NdesSettings) -> Sequence[tuple[str, Any]]:
    value = getattr(settings, key.replace("-", "_"))
    if isinstance(value, bool):
        return (("on", _("on")), ("off", _("off")))
    if key == "challenge":
        return [(str(mode), words) for mode, words in MODES.items()]
    if key in _TEMPLATES:
        known = sorted(rooms().directory.templates(), key=str.casefold)
        return [(cn, cn) for cn in dict.fromkeys((str(value), *known))]
    if key == "policy":
        return [(name, name) for name in dict.fromkeys((*module_names(), settings.policy))]
    return ()


@page(_MANAGERS, methods=("GET", "POST"))
def edit(request: PageRequest, ca: str, service: str) -> HttpResponse:
    """Change settings."""
    standing, found = found_at(request, ca, service)
    form = SettingsForm(request.POST if request.method == "POST" else None, found.settings)
    context = framed(request, standing, found, "overview")
    if form.is_bound and form.is_valid():
        try:
            rooms().ndes.change(form.changes(found.settings), request.viewer.requester, found.name)
        except AdcsError as error:
            form.add_error(None, error.message)
        else:
            return answers.done(request, context["here"], _("The settings are changed."))
    context |= {
        "title": _("Settings of %(name)s") % {"name": context["title"]},
        "form": form,
        "submit": _("Save"),
        "back": context["here"],
    }
    return answers.answer(request, _FORM, context, status=422 if form.errors else 200)


class EnableForm(forms.Form):
    account = forms.CharField(
        label=lazy("Account"),
        max_length=255,
        required=False,
        help_text=lazy("The CA sees devices' requests as this account's. In a domain it is one of the domain."),
    )


@page(_MANAGERS, methods=("GET", "POST"))
def enable(request: PageRequest, ca: str, service: str) -> HttpResponse:
    """Answer devices from now on."""
    standing, found = found_at(request, ca, service)
    here = framed(request, standing, found, "overview")["here"]
    form = EnableForm(request.POST if request.method == "POST" else None, initial={"account": found.settings.account})
    if form.is_bound and form.is_valid():
        account = form.cleaned_data["account"]
        changed = "" if account == found.settings.account else account
        try:
            rooms().ndes.enable(request.viewer.requester, found.name, account=changed)
        except AdcsError as error:
            form.add_error(None, error.message)
        else:
            return answers.done(request, here, _("Devices are answered now."))
    context = {"title": _("Answer devices?"), "form": form, "submit": _("Enable"), "back": here}
    return answers.dialog(request, "console/form_dialog.html", context, status=422 if form.errors else 200)


class ChallengeForm(forms.Form):
    names = forms.CharField(
        label=lazy("Names"),
        max_length=2000,
        required=False,
        help_text=lazy("Every name in the request must match one of these; * stands for anything. Blanks between."),
    )
    template = forms.ChoiceField(label=lazy("Template"), required=False)
    parameters = forms.CharField(
        label=lazy("Parameters"), max_length=4000, required=False, help_text=lazy("For the policy module.")
    )

    def __init__(self, data: Mapping[str, Any] | None, settings: NdesSettings) -> None:
        super().__init__(data)
        templates = forms.ChoiceField(
            label=lazy("Template"), required=False, choices=[("", _("any")), *((cn, cn) for cn in settings.templates)]
        )
        self.fields["template"] = templates
        if settings.policy == BUILT_IN:
            del self.fields["parameters"]


@page(_GIVING, methods=("GET", "POST"))
def challenge(request: PageRequest, ca: str, service: str) -> HttpResponse:
    """A challenge for one device, shown this once. Who may have one, the service decides."""
    standing, found = found_at(request, ca, service)
    here = framed(request, standing, found, "overview")["here"]
    form = ChallengeForm(request.POST if request.method == "POST" else None, found.settings)
    if form.is_bound and form.is_valid():
        data = form.cleaned_data
        try:
            password = rooms().ndes.challenge(
                request.viewer.requester,
                found.name,
                template=data["template"],
                names=data["names"].split(),
                parameters=data.get("parameters", ""),
            )
        except AdcsError as error:
            form.add_error(None, error.message)
        else:
            return _once(request, standing, found, _("Challenge"), password, f"{here}challenges/")
    context = framed(request, standing, found, "challenges") | {
        "title": _("A challenge for one device"),
        "form": form,
        "submit": _("Give out"),
        "back": here,
    }
    return answers.answer(request, _FORM, context, status=422 if form.errors else 200)


def _once(
    request: PageRequest, standing: CaStanding, found: ServiceStanding, what: str, secret: str, back: str
) -> HttpResponse:
    context = framed(request, standing, found, "overview") | {
        "title": what,
        "what": what,
        "secret": secret,
        "back": back,
    }
    return answers.answer(request, "console/ca/ndes/once.html", context)


def _asked(
    request: PageRequest, ca: str, service: str, words: tuple[str, str, str], do: Callable[[Requester, str], object]
) -> HttpResponse:
    """Ask in a dialog, then do it. The words: question, what it means, the button."""
    standing, found = found_at(request, ca, service)
    here = framed(request, standing, found, "overview")["here"]
    title, text, submit = words
    if request.method == "POST":
        do(request.viewer.requester, found.name)
        return answers.done(request, here)
    context = {"title": title, "text": text, "submit": submit, "harmless": do == rooms().ndes.renew, "back": here}
    return answers.dialog(request, "console/ca/act.html", context)


def _secret(
    request: PageRequest,
    ca: str,
    service: str,
    words: tuple[str, str],
    what: str,
    make: Callable[[Requester, str], str],
) -> HttpResponse:
    """Ask on a page, then show what was made, this once."""
    standing, found = found_at(request, ca, service)
    here = framed(request, standing, found, "overview")["here"]
    form = forms.Form(request.POST if request.method == "POST" else None)
    if request.method == "POST":
        try:
            return _once(request, standing, found, what, make(request.viewer.requester, found.name), here)
        except AdcsError as error:
            form.is_valid()
            form.add_error(None, error.message)
    title, text = words
    context = framed(request, standing, found, "overview") | {
        "title": title,
        "text": text,
        "form": form,
        "submit": _("Make it"),
        "back": here,
    }
    return answers.answer(request, _FORM, context, status=422 if form.errors else 200)


@page(_MANAGERS, methods=("GET", "POST"))
def disable(request: PageRequest, ca: str, service: str) -> HttpResponse:
    words = (_("Answer no device any more?"), _("Everything else stays as it is."), _("Disable"))
    return _asked(request, ca, service, words, rooms().ndes.disable)


@page(_MANAGERS, methods=("GET", "POST"))
def renew(request: PageRequest, ca: str, service: str) -> HttpResponse:
    words = (
        _("Renew the service's certificates now?"),
        _("The encryption key before stays for devices that know it."),
        _("Renew"),
    )
    return _asked(request, ca, service, words, rooms().ndes.renew)


@page(_GIVING, methods=("GET", "POST"))
def static_challenge(request: PageRequest, ca: str, service: str) -> HttpResponse:
    words = (
        _("A new static challenge?"),
        _("It is good for every device until the next one is made, and shown this once. The one before is void."),
    )
    return _secret(request, ca, service, words, _("Static challenge"), rooms().ndes.static_challenge)


@page(_MANAGERS, methods=("GET", "POST"))
def webhook_key(request: PageRequest, ca: str, service: str) -> HttpResponse:
    words = (
        _("A new signing key for the webhook?"),
        _("It is shown this once. Questions are signed with it at once; the receiver must know it."),
    )
    return _secret(request, ca, service, words, _("Signing key"), rooms().ndes.webhook_key)


@page(_MANAGERS, methods=("GET", "POST"))
def remove(request: PageRequest, ca: str, service: str) -> HttpResponse:
    standing, found = found_at(request, ca, service)
    back = f"/ca/{standing.slug}/enrollment/ndes/"
    if request.method == "POST":
        rooms().ndes.remove(found.name, request.viewer.requester)
        return answers.done(request, back, _("Service removed: %(name)s") % {"name": found.name})
    context = {
        "title": _("Remove the service %(name)s?") % {"name": found.name},
        "text": _("Its settings and challenges go. What its devices got stays good."),
        "submit": _("Remove service"),
        "back": back,
    }
    return answers.dialog(request, "console/ca/act.html", context)


_ROOT: Final = "ca/<str:ca>/enrollment/ndes/"
HERE: Final = _ROOT + "<str:service>/"
urls = [
    path(_ROOT, services),
    path(_ROOT + "-/add/", add),
    path(HERE, service),
    path(HERE + "devices/", devices),
    path(HERE + "challenges/", challenges),
    path(HERE + "failures/", failures),
    path(HERE + "failures/<int:failure_id>/", failure),
    path(HERE + "edit/", edit),
    path(HERE + "enable/", enable),
    path(HERE + "disable/", disable),
    path(HERE + "renew/", renew),
    path(HERE + "challenge/", challenge),
    path(HERE + "static-challenge/", static_challenge),
    path(HERE + "webhook-key/", webhook_key),
    path(HERE + "remove/", remove),
]
