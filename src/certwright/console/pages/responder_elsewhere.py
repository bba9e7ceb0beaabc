"""CAs elsewhere: those that the Online Responder answers for from copied CRLs; and signing certificates by hand.

They are administered as the issuing CA of this installation is, which the service behind checks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from django import forms
from django.http import Http404, HttpResponse
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as lazy

from certwright.adcs.errors import AdcsError
from certwright.console import access, answers, clock
from certwright.console.access import PageRequest, Role, Viewer, page
from certwright.console.authority import ca_of, download, may_configure
from certwright.console.pages.revocation import base_of, frame
from certwright.console.pages.revocation_configuration import CHOICES, LABELS, shown
from certwright.console.rooms import CaHealth, CaStanding, rooms
from certwright.online_responder.configuration import SETTINGS
from certwright.online_responder.service import BASE, DELTA, SIGNER, ResponderStanding, WorryState
from certwright.online_responder.signer_files import MAX_FILE
from certwright.online_responder.sources import HOST_SETTINGS, SOURCE_SETTINGS
from certwright.pki import armor

_SOURCE_LABELS: Final[Mapping[str, Any]] = {
    "crl-urls": lazy("Base CRL at"),
    "delta-crl-urls": lazy("Delta CRL at"),
    "partitions": lazy("CRL partitions"),
    "refresh-minutes": lazy("Copied every (minutes)"),
    "scopes": lazy("Limited CRLs that are taken"),
    "issued-serials": lazy("Folder of issued serial numbers"),
}
_WORDS: Final[Mapping[str, Any]] = {
    BASE: lazy("Copied base CRL"),
    DELTA: lazy("Copied delta CRL"),
    SIGNER: lazy("Signing certificate of the Online Responder"),
}
_URLS_HELP: Final = lazy("http, https or ldap; several separated by blanks. Files are named at the command line.")
_PARTITIONS_HELP: Final = lazy(
    "Empty where it has none; otherwise how many there are (4), which (2-7), or 1- for all that are found. In the"
    " locations, <CRLPartitionIndex> stands for the number."
)
_HELP: Final[Mapping[str, Any]] = {
    "crl-urls": _URLS_HELP,
    "delta-crl-urls": _URLS_HELP,
    "partitions": _PARTITIONS_HELP,
}
_SET_HERE: Final = tuple(key for key in SETTINGS if key not in ("signed-with", "pre-produce"))
"""Settings of the answers that a CA elsewhere has a choice of."""


def _elsewhere(ca: CaStanding) -> str:
    return f"{base_of(ca)}elsewhere/"


def _one(number: int) -> ResponderStanding:
    found = next((each for each in rooms().responder.elsewhere() if each.number == number), None)
    if found is None:
        raise Http404
    return found


@page(access.CA_SETTINGS)
def overview(request: PageRequest, ca: str) -> HttpResponse:
    """Each with what its answers depend on."""
    standing = ca_of(request, ca)
    states: dict[str, list[str]] = {}
    for worry in rooms().responder.worries():
        states.setdefault(worry.ca, []).append(worry.state)
    found = []
    for each in rooms().responder.elsewhere():
        found.append(
            {
                "standing": each,
                "state": _worst(states.get(each.ca, ())),
                "base": each.ends_first(is_delta=False),
                "delta": each.ends_first(is_delta=True),
                "error": next((kept.error for kept in each.lists if kept.error), ""),
            }
        )
    context = frame(request, standing, "elsewhere") | {"found": found, "base": base_of(standing)}
    return answers.answer(request, "console/ca/revocation.html", context)


def _worst(states: Iterable[str]) -> str:
    order = (WorryState.DOWN, WorryState.WARNING)
    return next((state for state in order if state in states), WorryState.OK)


@page(access.CA_SETTINGS)
def one(request: PageRequest, ca: str, number: int) -> HttpResponse:
    """How it stands, what was copied, what is set."""
    standing, found = ca_of(request, ca), _one(number)
    here = f"{_elsewhere(standing)}{number}/"
    about: list[tuple[str, object]] = [
        (_("CA certificate"), found.subject),
        (_("Online Responder"), _("answers") if found.enabled else _("does not answer for this CA")),
        (_("Address"), found.url),
        (_("Signing certificate"), found.serial_number or _("none")),
    ]
    if found.not_after is not None:
        about.append((_("Valid until"), clock.whole(found.not_after)))
    sources = found.sources.texts if found.sources is not None else {}
    settings = [(_SOURCE_LABELS[key], sources[key]) for key in SOURCE_SETTINGS]
    settings += [(LABELS[key], shown(key, found.configuration.texts[key])) for key in _SET_HERE]
    switch = (_("Disable…"), f"{here}disable/") if found.enabled else (_("Enable…"), f"{here}enable/")
    context = {
        "title": found.ca,
        "crumbs": [
            (standing.name, ""),
            (_("Revocation & Responder"), base_of(standing)),
            (_("CAs elsewhere"), _elsewhere(standing)),
        ],
        "standing": found,
        "about": about,
        "settings": settings,
        "may_configure": may_configure(request, standing),
        "acts": [
            (_("Remove…"), f"{here}remove/"),
            (_("Request a signing certificate…"), f"{here}request-signer/"),
            (_("Install a signing certificate…"), f"{here}install-signer/"),
            (_("Edit…"), f"{here}edit/"),
            (_("Copy CRLs…"), f"{here}copy/"),
        ],
        "dialogs": [f"{here}{act}/" for act in ("remove", "edit", "copy")],
        "main": switch,
    }
    return answers.answer(request, "console/ca/elsewhere_one.html", context)


# -- adding and changing ---------------------------------------------------------------------------------------------


class AddForm(forms.Form):
    """A CA's certificate, and where its CRLs are."""

    file = forms.FileField(label=lazy("The CA's certificate"), help_text=lazy("PEM or DER."))
    name = forms.CharField(
        label=lazy("Name here"), required=False, max_length=200, help_text=lazy("Its common name when this is empty.")
    )
    crl_urls = forms.CharField(label=lazy("Base CRL at"), max_length=8192, help_text=_URLS_HELP)
    delta_crl_urls = forms.CharField(
        label=lazy("Delta CRL at"), max_length=8192, required=False, help_text=lazy("Empty where it makes none.")
    )
    partitions = forms.CharField(
        label=lazy("CRL partitions"), max_length=20, required=False, help_text=_PARTITIONS_HELP
    )


class ElsewhereForm(forms.Form):
    """A field for each setting that is set here, under its own key."""

    def __init__(self, data: Mapping[str, Any] | None, standing: ResponderStanding) -> None:
        super().__init__(data, initial=dict(standing.texts))
        for key in SOURCE_SETTINGS:
            if key not in HOST_SETTINGS:
                help_text = _HELP.get(key) or SOURCE_SETTINGS[key].meaning
                self.fields[key] = forms.CharField(label=_SOURCE_LABELS[key], max_length=8192, help_text=help_text)
        for key in _SET_HERE:
            choices = CHOICES.get(key)
            if choices is None:
                self.fields[key] = forms.CharField(label=LABELS[key], max_length=20)
            else:
                self.fields[key] = forms.ChoiceField(label=LABELS[key], choices=choices)


@page({Role.CA_ADMINISTRATOR}, methods=("GET", "POST"))
def add(request: PageRequest, ca: str) -> HttpResponse:
    """Take a CA in; its CRLs are copied at once."""
    standing = ca_of(request, ca)
    posted = request.method == "POST"
    form = AddForm(request.POST if posted else None, request.FILES if posted else None)
    if posted and form.is_valid():
        data = form.cleaned_data
        sources = {
            "crl-urls": data["crl_urls"],
            "delta-crl-urls": data["delta_crl_urls"],
            "partitions": data["partitions"],
        }
        try:
            name = rooms().responder.add(
                data["name"],
                data["file"].read(MAX_FILE + 1),
                {key: text for key, text in sources.items() if text.strip()},
                request.viewer.requester,
            )
        except AdcsError as error:
            form.add_error(None, error.message)
        else:
            added = rooms().responder.standing(name)
            said = _("%(name)s is added; it is answered for once it has a signing certificate and is enabled.")
            return answers.done(request, f"{_elsewhere(standing)}{added.number}/", said % {"name": name})
    context = {
        "title": _("Add a CA elsewhere"),
        "text": _("The Online Responder answers for it from its CRLs, which are copied here on schedule."),
        "form": form,
        "submit": _("Add"),
        "back": _elsewhere(standing),
    }
    return answers.answer(request, "console/ca/responder_form.html", context)


@page({Role.CA_ADMINISTRATOR}, methods=("GET", "POST"))
def edit(request: PageRequest, ca: str, number: int) -> HttpResponse:
    """Change sources and settings, all or none."""
    standing, found = ca_of(request, ca), _one(number)
    here = f"{_elsewhere(standing)}{number}/"
    form = ElsewhereForm(request.POST if request.method == "POST" else None, found)
    if request.method == "POST" and form.is_valid():
        texts = found.texts
        changes = {key: text for key, text in form.cleaned_data.items() if text != texts[key]}
        try:
            rooms().responder.change(found.ca, changes, request.viewer.requester)
        except AdcsError as error:
            form.add_error(None, error.message)
        else:
            return answers.done(request, here, _("The revocation configuration is changed."))
    context = {
        "title": _("Edit the revocation configuration"),
        "form": form,
        "submit": _("Change"),
        "back": here,
    }
    return answers.dialog(request, "console/form_dialog.html", context, status=422 if form.errors else 200)


def _act(
    request: PageRequest,
    ca: str,
    number: int,
    do: Callable[[str], None],
    texts: tuple[str, str, str, str],
    *,
    harmless: bool = True,
    is_gone: bool = False,
) -> HttpResponse:
    """Ask, then act. `texts` are title, question, button, and what is said afterwards."""
    standing, found = ca_of(request, ca), _one(number)
    title, text, submit, done = texts
    back = _elsewhere(standing) if is_gone else f"{_elsewhere(standing)}{number}/"
    if request.method == "POST":
        do(found.ca)
        return answers.done(request, back, done)
    context = {"title": title, "text": text, "submit": submit, "harmless": harmless, "back": back}
    return answers.dialog(request, "console/ca/act.html", context)


@page({Role.CA_ADMINISTRATOR}, methods=("GET", "POST"))
def enable(request: PageRequest, ca: str, number: int) -> HttpResponse:
    texts = (
        _("Answer for this CA?"),
        _("Its CRLs are copied from now on, and clients that ask at this address are answered from them."),
        _("Enable"),
        _("The Online Responder answers for this CA."),
    )
    return _act(request, ca, number, lambda name: rooms().responder.enable(name, request.viewer.requester), texts)


@page({Role.CA_ADMINISTRATOR}, methods=("GET", "POST"))
def disable(request: PageRequest, ca: str, number: int) -> HttpResponse:
    texts = (
        _("Disable the Online Responder?"),
        _("Clients that ask are told that nobody answers for this CA, and go on with the CRL."),
        _("Disable"),
        _("The Online Responder does not answer for this CA any more."),
    )
    return _act(request, ca, number, lambda name: rooms().responder.disable(name, request.viewer.requester), texts)


@page({Role.CA_ADMINISTRATOR}, methods=("GET", "POST"))
def copy(request: PageRequest, ca: str, number: int) -> HttpResponse:
    texts = (
        _("Copy the CRLs now?"),
        _("They are copied on schedule anyway. What went wrong is shown in the table of copied CRLs."),
        _("Copy"),
        _("The locations were asked."),
    )

    def do(name: str) -> None:
        rooms().responder.copy(name, request.viewer.requester)

    return _act(request, ca, number, do, texts)


@page({Role.CA_ADMINISTRATOR}, methods=("GET", "POST"))
def remove(request: PageRequest, ca: str, number: int) -> HttpResponse:
    texts = (
        _("Remove this CA?"),
        _("Its copied CRLs and the keys that sign for it are destroyed; clients that ask are told unauthorized."),
        _("Remove"),
        _("The CA is removed."),
    )
    return _act(
        request,
        ca,
        number,
        lambda name: rooms().responder.remove(name, request.viewer.requester),
        texts,
        harmless=False,
        is_gone=True,
    )


# -- signing certificates by hand ------------------------------------------------------------------------------------


class SignerForm(forms.Form):
    """A certificate, maybe with its key."""

    file = forms.FileField(
        label=lazy("Signing certificate"),
        help_text=lazy("PFX or PEM with its key; or what was issued for a request made here."),
    )
    password = forms.CharField(
        label=lazy("Password of the file"), required=False, max_length=1024, widget=forms.PasswordInput()
    )


def _request_signer(request: PageRequest, name: str, back: str) -> HttpResponse:
    if request.method == "POST":
        made = rooms().responder.request_signer(name, request.viewer.requester)
        text = armor.armor(armor.CERTIFICATE_REQUEST, made).encode()
        return download("responder.csr", text, "application/x-pem-file")
    context = {
        "title": _("Request a signing certificate"),
        "text": _(
            "A key is made here, and stays here; the request for its certificate is downloaded. The CA in question"
            " has to issue it for OCSP signing, for clients take no other. Install what it gives."
        ),
        "submit": _("Make and download"),
        "back": back,
    }
    return answers.answer(request, "console/ca/responder_form.html", context)


def _install_signer(request: PageRequest, name: str, back: str) -> HttpResponse:
    posted = request.method == "POST"
    form = SignerForm(request.POST if posted else None, request.FILES if posted else None)
    if posted and form.is_valid():
        data = form.cleaned_data["file"].read(MAX_FILE + 1)
        try:
            rooms().responder.install_signer(name, data, form.cleaned_data["password"], request.viewer.requester)
        except AdcsError as error:
            form.add_error(None, error.message)
        else:
            return answers.done(request, back, _("The signing certificate is installed."))
    context = {"title": _("Install a signing certificate"), "form": form, "submit": _("Install"), "back": back}
    return answers.answer(request, "console/ca/responder_form.html", context)


@page({Role.CA_ADMINISTRATOR}, methods=("GET", "POST"))
def request_signer(request: PageRequest, ca: str, number: int) -> HttpResponse:
    """A request for a CA elsewhere."""
    standing, found = ca_of(request, ca), _one(number)
    return _request_signer(request, found.ca, f"{_elsewhere(standing)}{number}/")


@page({Role.CA_ADMINISTRATOR}, methods=("GET", "POST"))
def install_signer(request: PageRequest, ca: str, number: int) -> HttpResponse:
    """What a CA elsewhere issued."""
    standing, found = ca_of(request, ca), _one(number)
    return _install_signer(request, found.ca, f"{_elsewhere(standing)}{number}/")


@page({Role.CA_ADMINISTRATOR}, methods=("GET", "POST"))
def request_own_signer(request: PageRequest, ca: str) -> HttpResponse:
    """A request for one of our own CAs, whose signing certificate is chosen."""
    standing = ca_of(request, ca)
    return _request_signer(request, standing.name, f"{base_of(standing)}responder/")


@page({Role.CA_ADMINISTRATOR}, methods=("GET", "POST"))
def install_own_signer(request: PageRequest, ca: str) -> HttpResponse:
    """A signing certificate that is chosen instead of enrolled for."""
    standing = ca_of(request, ca)
    return _install_signer(request, standing.name, f"{base_of(standing)}responder/")


# -- health ----------------------------------------------------------------------------------------------------------


def health(viewer: Viewer) -> Iterable[tuple[str, CaHealth]]:
    """What the answers depend on and that ends by itself; CAs elsewhere as groups of their own."""
    here = next((f"/ca/{ca.slug}/revocation/elsewhere/" for ca in viewer.cas), "")
    href = here if viewer.is_any(access.CA_SETTINGS) else ""
    for worry in rooms().responder.worries():
        yield worry.ca, CaHealth(_WORDS[worry.what], worry.state, worry.detail, worry.until, href)


health_lines = [health]

urls = [
    path("ca/<str:ca>/revocation/elsewhere/", overview),
    path("ca/<str:ca>/revocation/elsewhere/add/", add),
    path("ca/<str:ca>/revocation/elsewhere/<int:number>/", one),
    path("ca/<str:ca>/revocation/elsewhere/<int:number>/edit/", edit),
    path("ca/<str:ca>/revocation/elsewhere/<int:number>/enable/", enable),
    path("ca/<str:ca>/revocation/elsewhere/<int:number>/disable/", disable),
    path("ca/<str:ca>/revocation/elsewhere/<int:number>/copy/", copy),
    path("ca/<str:ca>/revocation/elsewhere/<int:number>/remove/", remove),
    path("ca/<str:ca>/revocation/elsewhere/<int:number>/request-signer/", request_signer),
    path("ca/<str:ca>/revocation/elsewhere/<int:number>/install-signer/", install_signer),
    path("ca/<str:ca>/revocation/responder/request-signer/", request_own_signer),
    path("ca/<str:ca>/revocation/responder/install-signer/", install_own_signer),
]
