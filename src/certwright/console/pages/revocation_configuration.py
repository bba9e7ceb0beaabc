"""The revocation configuration of one CA: how the Online Responder answers for it. [MS-OCSPA] 3.2.1.1."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from django import forms
from django.http import HttpResponse
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as lazy

from certwright.adcs.errors import AdcsError
from certwright.console import access, answers, clock
from certwright.console.access import PageRequest, Role, page
from certwright.console.authority import ca_of
from certwright.console.pages.revocation import base_of, frame
from certwright.console.rooms import CaStanding, rooms
from certwright.online_responder.configuration import (
    SETTINGS,
    NoncePolicy,
    NonIssued,
    Profile,
    ResponderId,
    RevocationConfiguration,
    SignedWith,
)

CHOICES: Final[Mapping[str, tuple[tuple[str, Any], ...]]] = {
    "profile": (
        (Profile.RFC6960, lazy("RFC 6960: every client of today")),
        (Profile.MICROSOFT, lazy("As Windows by default")),
    ),
    "nonce": (
        (NoncePolicy.ECHO, lazy("Give it back in an answer of its own")),
        (NoncePolicy.IGNORE, lazy("Ignore it")),
        (NoncePolicy.REJECT, lazy("Refuse the request")),
    ),
    "hash-algorithms": (
        ("sha1,sha256", lazy("SHA-1 and SHA-256")),
        ("sha1", lazy("SHA-1 only")),
        ("sha256", lazy("SHA-256 only")),
    ),
    "non-issued": (
        (NonIssued.UNKNOWN, lazy("Unknown")),
        (NonIssued.GOOD, lazy("Good, as from CRLs alone")),
        (NonIssued.REVOKED, lazy("Revoked (extended revoke)")),
    ),
    "signed-with": (
        (SignedWith.CERTIFICATE, lazy("A signing certificate (template OCSPResponseSigning)")),
        (SignedWith.CHOSEN, lazy("A signing certificate that is installed by hand")),
        (SignedWith.CA_KEY, lazy("The CA's own key")),
    ),
    "responder-id": ((ResponderId.KEY, lazy("Hash of the key")), (ResponderId.NAME, lazy("Name"))),
    "archive-cutoff": (("off", lazy("No")), ("on", lazy("Yes"))),
}
LABELS: Final[Mapping[str, Any]] = {
    "profile": lazy("Profile"),
    "nonce": lazy("A nonce in a request"),
    "hash-algorithms": lazy("Hashes of certificate IDs"),
    "max-requests": lazy("Certificates in one request"),
    "non-issued": lazy("Numbers the CA never issued"),
    "signed-with": lazy("Signed with"),
    "responder-id": lazy("Signer is named by"),
    "validity-minutes": lazy("Answers are good for (minutes)"),
    "clock-skew-minutes": lazy("For clocks that are slow (minutes)"),
    "max-age-seconds": lazy("HTTP caches keep answers for (seconds)"),
    "archive-cutoff": lazy("Say since when revocations are kept"),
    "pre-produce": lazy("Answers made ahead"),
}


class SettingsForm(forms.Form):
    """A field for each setting, under its own key. What a value may be is checked where it is kept."""

    def __init__(self, data: Mapping[str, Any] | None, configuration: RevocationConfiguration) -> None:
        super().__init__(data, initial=dict(configuration.texts))
        for key in SETTINGS:
            choices = CHOICES.get(key)
            if choices is None:
                self.fields[key] = forms.CharField(label=LABELS[key], max_length=20)
            else:
                self.fields[key] = forms.ChoiceField(label=LABELS[key], choices=choices)


@page(access.CA_SETTINGS)
def responder(request: PageRequest, ca: str) -> HttpResponse:
    """How it stands, and what is set."""
    standing = ca_of(request, ca)
    found = rooms().responder.standing(standing.name)
    about: list[tuple[str, object]] = [
        (_("Online Responder"), _("answers") if found.enabled else _("does not answer for this CA")),
        (_("Address"), found.url),
        (_("Named in certificates to come"), ", ".join(found.announced) or _("none")),
        (_("Signing certificate"), found.serial_number or _("none")),
    ]
    if found.not_after is not None and found.renew_after is not None:
        about.append((_("Valid until"), clock.whole(found.not_after)))
        about.append((_("Renewed after"), clock.whole(found.renew_after)))
    texts = found.configuration.texts
    context = frame(request, standing, "responder") | {
        "responder": found,
        "base": base_of(standing),
        "about": about,
        "settings": [(LABELS[key], shown(key, texts[key])) for key in SETTINGS],
    }
    return answers.answer(request, "console/ca/revocation.html", context)


def shown(key: str, text: str) -> Any:
    """A setting's value in words, where there are some."""
    return dict(CHOICES.get(key, ())).get(text, text)


@page({Role.CA_ADMINISTRATOR}, methods=("GET", "POST"))
def edit(request: PageRequest, ca: str) -> HttpResponse:
    """Change settings. A new profile brings its own values for what was left as it was."""
    standing = ca_of(request, ca)
    configuration = rooms().responder.standing(standing.name).configuration
    form = SettingsForm(request.POST if request.method == "POST" else None, configuration)
    if request.method == "POST" and form.is_valid():
        changes = {
            key: form.cleaned_data[key] for key in SETTINGS if form.cleaned_data[key] != configuration.texts[key]
        }
        try:
            rooms().responder.change(standing.name, changes, request.viewer.requester)
        except AdcsError as error:
            form.add_error(None, error.message)
        else:
            return answers.done(request, _back(standing), _("The revocation configuration is changed."))
    context = {
        "title": _("Edit the revocation configuration"),
        "form": form,
        "submit": _("Change"),
        "back": _back(standing),
    }
    return answers.dialog(request, "console/form_dialog.html", context, status=422 if form.errors else 200)


def _back(ca: CaStanding) -> str:
    return f"{base_of(ca)}responder/"


def _act(
    request: PageRequest, ca: str, do: Callable[[str], None], title: str, text: str, submit: str, done: str
) -> HttpResponse:
    standing = ca_of(request, ca)
    if request.method == "POST":
        do(standing.name)
        return answers.done(request, _back(standing), done)
    context = {"title": title, "text": text, "submit": submit, "harmless": True, "back": _back(standing)}
    return answers.dialog(request, "console/ca/act.html", context)


@page({Role.CA_ADMINISTRATOR}, methods=("GET", "POST"))
def enable(request: PageRequest, ca: str) -> HttpResponse:
    return _act(
        request,
        ca,
        lambda name: rooms().responder.enable(name, request.viewer.requester),
        _("Enable the Online Responder?"),
        _("It enrolls for a signing certificate, and certificates issued from now on name its address."),
        _("Enable"),
        _("The Online Responder answers for this CA."),
    )


@page({Role.CA_ADMINISTRATOR}, methods=("GET", "POST"))
def disable(request: PageRequest, ca: str) -> HttpResponse:
    return _act(
        request,
        ca,
        lambda name: rooms().responder.disable(name, request.viewer.requester),
        _("Disable the Online Responder?"),
        _("Clients that ask are told that nobody answers for this CA, and go on with the CRL."),
        _("Disable"),
        _("The Online Responder does not answer for this CA any more."),
    )


@page({Role.CA_ADMINISTRATOR}, methods=("GET", "POST"))
def refresh(request: PageRequest, ca: str) -> HttpResponse:
    return _act(
        request,
        ca,
        lambda name: rooms().responder.refresh(name, request.viewer.requester),
        _("Make every answer anew?"),
        _("Answers that are kept are dropped, and made anew when somebody asks."),
        _("Refresh"),
        _("Answers are made anew."),
    )


urls = [
    path("ca/<str:ca>/revocation/responder/", responder),
    path("ca/<str:ca>/revocation/responder/edit/", edit),
    path("ca/<str:ca>/revocation/responder/enable/", enable),
    path("ca/<str:ca>/revocation/responder/disable/", disable),
    path("ca/<str:ca>/revocation/responder/refresh/", refresh),
]
