"""The CAs of this installation: made, certified from elsewhere, renewed, suspended; what they sign and carry by file.

Everything goes through `rooms().ca_life`, where the CA concerned checks who acts. Acts on keys ask again who it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from django import forms
from django.http import Http404, HttpResponse
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as lazy

from certwright.adcs.ca_life import LivingCa
from certwright.adcs.errors import AdcsError
from certwright.adcs.properties import CaType
from certwright.console import access, answers
from certwright.console.access import PageRequest, Role, page, reauthenticated
from certwright.console.authority import download
from certwright.console.rooms import rooms
from certwright.keystores.base import KeyAlgorithm
from certwright.pki import armor
from certwright.pki.names import sanitized_name

PAGE: Final = "/cas/"
PEM: Final = "application/x-pem-file"
_FORM: Final = "console/adcs_accounts/form_page.html"
_ADMINISTRATORS: Final = frozenset({Role.CA_ADMINISTRATOR})
_LARGEST: Final = 1 << 20
_LARGEST_CRL: Final = 64 << 20
TYPES: Final = {
    CaType.ENTERPRISE_SUBORDINATE: lazy("Enterprise subordinate CA"),
    CaType.STANDALONE_SUBORDINATE: lazy("Standalone subordinate CA"),
    CaType.STANDALONE_ROOT: lazy("Standalone root CA"),
    CaType.ENTERPRISE_ROOT: lazy("Enterprise root CA"),
}
_KEYS: Final = [(each.value, each.value.replace("-", " ").upper()) for each in KeyAlgorithm]
_ELSEWHERE: Final = "-"


def _found(slug: str) -> LivingCa:
    for ca in rooms().ca_life.all():
        if sanitized_name(ca.name) == slug:
            return ca
    raise Http404


def _at(ca: LivingCa | str) -> str:
    return f"{PAGE}{sanitized_name(ca if isinstance(ca, str) else ca.name)}/"


# -- what there is ---------------------------------------------------------------------------------------------------


@page(access.CA_SETTINGS)
def overview(request: PageRequest) -> HttpResponse:
    """Every CA, also those that wait for a certificate from elsewhere."""
    context = {
        "title": _("Certification Authorities"),
        "cas": [_drawn(ca) for ca in rooms().ca_life.all()],
        "may_act": request.viewer.is_any(_ADMINISTRATORS),
    }
    return answers.answer(request, "console/ca_life/list.html", context)


def _drawn(ca: LivingCa) -> dict[str, Any]:
    newest = ca.certificates[0] if ca.certificates else None
    return {
        "name": ca.name,
        "href": _at(ca),
        "type": TYPES[ca.ca_type],
        "parent": _signed_by(ca),
        "state": "pending" if newest is None else "warning" if ca.suspended else "ok",
        "word": _("Waits for its certificate") if newest is None else _("Suspended") if ca.suspended else "",
        "not_after": newest.not_after if newest is not None else None,
        "count": len(ca.certificates),
        "waits": ca.waits,
    }


def _signed_by(ca: LivingCa) -> str:
    if ca.ca_type.is_root:
        return _("itself")
    return ca.parent if ca.parent and not ca.is_signed_elsewhere else _("a CA elsewhere")


@page(access.CA_SETTINGS)
def one(request: PageRequest, slug: str) -> HttpResponse:
    """One CA: its certificates, and what can be done with it."""
    ca = _found(slug)
    context = {
        "title": ca.name,
        "crumbs": [(_("Certification Authorities"), PAGE)],
        "ca": _drawn(ca),
        "certificates": ca.certificates,
        "config": ca.config,
        "suspended": ca.suspended,
        "standing": request.viewer.ca(slug),
        "may_act": request.viewer.is_any(_ADMINISTRATORS),
        "may_sign": bool(ca.certificates),
    }
    return answers.answer(request, "console/ca_life/one.html", context)


# -- making one ------------------------------------------------------------------------------------------------------


class _NewForm(forms.Form):
    name = forms.CharField(
        label=lazy("Name"), max_length=64, help_text=lazy("Its common name, such as CORP Device CA.")
    )
    ca_type = forms.ChoiceField(
        label=lazy("Type"),
        choices=[(str(int(kind)), words) for kind, words in TYPES.items()],
        help_text=lazy("Templates decide on an enterprise CA, certificate managers on a standalone one."),
    )
    parent = forms.ChoiceField(
        label=lazy("Signed by"), help_text=lazy("A root signs itself, whatever is chosen here.")
    )
    key = forms.ChoiceField(label=lazy("Key"), choices=_KEYS, initial=KeyAlgorithm.RSA_3072.value)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        here = [(ca.name, ca.name) for ca in rooms().ca_life.all() if ca.certificates]
        field = self.fields["parent"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [*here, (_ELSEWHERE, _("a CA elsewhere, by request file"))]


@page(_ADMINISTRATORS, methods=("GET", "POST"))
@reauthenticated
def new(request: PageRequest) -> HttpResponse:
    """Make a CA: a root, one below a CA of ours, or one whose request is carried elsewhere."""
    form = _NewForm(request.POST if request.method == "POST" else None)
    if form.is_bound and form.is_valid():
        data = form.cleaned_data
        kind, key = CaType(int(data["ca_type"])), KeyAlgorithm(data["key"])
        life, operator = rooms().ca_life, request.viewer.requester
        told: Sequence[str] = ()
        try:
            if data["parent"] == _ELSEWHERE and not kind.is_root:
                life.ask(data["name"], kind, key, operator)
            else:
                told = life.create(data["name"], kind, "" if kind.is_root else data["parent"], key, operator)
        except AdcsError as error:
            form.add_error(None, error.message)
        else:
            return answers.done(request, _at(" ".join(data["name"].split())), " ".join(told))
    context = {"title": _("New CA"), "submit": _("Make the CA"), "text": ""}
    return _shown(request, form, PAGE, context)


def _shown(request: PageRequest, form: forms.Form, back: str, context: dict[str, Any]) -> HttpResponse:
    """A form on a page of its own; with its errors where something was refused."""
    given = {"crumbs": [(_("Certification Authorities"), PAGE)], "form": form, "back": back, **context}
    return answers.invalid(request, _FORM, given) if form.errors else answers.answer(request, _FORM, given)


# -- files there and back --------------------------------------------------------------------------------------------


@page(_ADMINISTRATORS)
def request_file(request: PageRequest, slug: str) -> HttpResponse:
    """The request of a CA that waits."""
    ca = _found(slug)
    der = rooms().ca_life.request(ca.name, request.viewer.requester)
    return download(f"{slug}.req", armor.armor(armor.CERTIFICATE_REQUEST, der).encode(), PEM)


class _FileForm(forms.Form):
    file = forms.FileField(label=lazy("File"))

    largest = _LARGEST

    def clean_file(self) -> bytes:
        found = self.cleaned_data["file"]
        if found.size > self.largest:
            raise forms.ValidationError(_("The file is too large."))
        data: bytes = found.read(self.largest)
        return data


@page(_ADMINISTRATORS, methods=("GET", "POST"))
@reauthenticated
def install(request: PageRequest, slug: str) -> HttpResponse:
    """Install the certificate that a CA elsewhere signed."""
    ca = _found(slug)
    form = _FileForm(request.POST, request.FILES) if request.method == "POST" else _FileForm()
    if form.is_bound and form.is_valid():
        try:
            told = rooms().ca_life.install(ca.name, form.cleaned_data["file"], request.viewer.requester)
        except AdcsError as error:
            form.add_error(None, error.message)
        else:
            return answers.done(request, _at(ca), " ".join((_("The certificate is installed."), *told)))
    text = _("The answer of the CA that signed it, with the chain up to its root: PEM, DER or PKCS #7.")
    title = _("Install the certificate of %(ca)s") % {"ca": ca.name}
    return _shown(request, form, _at(ca), {"title": title, "submit": _("Install"), "text": text})


class _CrlForm(_FileForm):
    largest = _LARGEST_CRL


@page(_ADMINISTRATORS, methods=("GET", "POST"))
def import_crl(request: PageRequest) -> HttpResponse:
    """Publish the CRL of a CA elsewhere that stands above one of ours."""
    form = _CrlForm(request.POST, request.FILES) if request.method == "POST" else _CrlForm()
    if form.is_bound and form.is_valid():
        try:
            crl = rooms().ca_life.import_crl(form.cleaned_data["file"], request.viewer.requester)
        except AdcsError as error:
            form.add_error(None, error.message)
        else:
            said = _("CRL %(number)s of %(issuer)s is published as %(files)s.") % {
                "number": crl.number,
                "issuer": crl.issuer,
                "files": ", ".join(crl.files),
            }
            return answers.done(request, PAGE, said)
    text = _("Of a CA above ours that has no network, such as a root offline: clients look for its CRL on this host.")
    return _shown(
        request, form, PAGE, {"title": _("Import the CRL of a CA above"), "submit": _("Publish"), "text": text}
    )


class _SignForm(_FileForm):
    validity = forms.CharField(label=lazy("Validity"), initial="10 years", max_length=32)
    path_length = forms.IntegerField(
        label=lazy("CAs below it"),
        initial=0,
        min_value=0,
        max_value=8,
        help_text=lazy("How many CAs may stand below the new one in a chain."),
    )


@page(_ADMINISTRATORS, methods=("GET", "POST"))
@reauthenticated
def sign(request: PageRequest, slug: str) -> HttpResponse:
    """Certify another CA by its request file; the answer is downloaded."""
    ca = _found(slug)
    form = _SignForm(request.POST, request.FILES) if request.method == "POST" else _SignForm()
    if form.is_bound and form.is_valid():
        data = form.cleaned_data
        try:
            chain = rooms().ca_life.sign(
                ca.name, data["file"], data["validity"], data["path_length"], request.viewer.requester
            )
        except AdcsError as error:
            form.add_error(None, error.message)
        else:
            text = "".join(armor.armor(armor.CERTIFICATE, each) for each in chain)
            return download(f"signed-by-{slug}.pem", text.encode(), PEM)
    text = _("The request of the other CA. Compare its key with what its host says: nobody else does.")
    return _shown(
        request,
        form,
        _at(ca),
        {"title": _("Certify another CA under %(ca)s") % {"ca": ca.name}, "submit": _("Sign"), "text": text},
    )


# -- acts on one -----------------------------------------------------------------------------------------------------


class _TypedForm(forms.Form):
    """The CA's name, typed."""

    word = forms.CharField(label=lazy("Type the name of the CA to confirm"), max_length=64)

    def __init__(self, name: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._name = name
        self.fields["word"].widget.attrs.update({"autocomplete": "off", "data-confirm-word": name})

    def clean_word(self) -> str:
        if self.cleaned_data["word"] != self._name:
            raise forms.ValidationError(_("This is not the name of the CA."))
        return self._name


class _RenewForm(_TypedForm):
    key = forms.ChoiceField(
        label=lazy("Key"),
        choices=[("", lazy("the same key")), *((value, words) for value, words in _KEYS)],
        required=False,
        help_text=lazy("A new key gets CRLs of its own; the old one goes on signing those of what it issued."),
    )
    validity = forms.CharField(
        label=lazy("Validity"),
        required=False,
        max_length=32,
        help_text=lazy("Such as 10 years; empty: 20 years for a root, 10 for others."),
    )
    elsewhere = forms.BooleanField(
        label=lazy("A CA elsewhere signs it, by request file"),
        required=False,
        help_text=lazy("Always so where the present certificate came from elsewhere."),
    )
    field_order = ("key", "validity", "elsewhere", "word")


@page(_ADMINISTRATORS, methods=("GET", "POST"))
@reauthenticated
def renew(request: PageRequest, slug: str) -> HttpResponse:
    """Renew a CA's certificate, with the same key or a new one."""
    ca = _found(slug)
    form = _RenewForm(ca.name, request.POST if request.method == "POST" else None)
    if form.is_bound and form.is_valid():
        data = form.cleaned_data
        key = KeyAlgorithm(data["key"]) if data["key"] else None
        try:
            asked, told = rooms().ca_life.renew(
                ca.name, key, data["validity"], request.viewer.requester, by_request=data["elsewhere"]
            )
        except AdcsError as error:
            form.add_error(None, error.message)
        else:
            said = _("Its request can be downloaded now.") if asked else _("The certificate is renewed.")
            return answers.done(request, _at(ca), " ".join((said, *told)))
    text = _("It issues under the new certificate at once, and publishes the CRLs of all its keys.")
    context = {"title": _("Renew %(ca)s?") % {"ca": ca.name}, "submit": _("Renew"), "text": text, "back": _at(ca)}
    return answers.dialog(
        request, "console/ca_life/act.html", {**context, "form": form}, status=422 if form.errors else 200
    )


@page(_ADMINISTRATORS, methods=("GET", "POST"))
@reauthenticated
def suspend(request: PageRequest, slug: str) -> HttpResponse:
    """Let a CA issue nothing for a while."""
    ca = _found(slug)
    form = _TypedForm(ca.name, request.POST if request.method == "POST" else None)
    if form.is_bound and form.is_valid():
        rooms().ca_life.suspend(ca.name, request.viewer.requester)
        return answers.done(request, _at(ca), _("The CA is suspended."))
    text = _(
        "It issues nothing and takes no requests; clients are told to come later. It goes on revoking, publishing"
        " CRLs and giving out what it issued. The certificate of the listeners is not renewed meanwhile."
    )
    context = {"title": _("Suspend %(ca)s?") % {"ca": ca.name}, "submit": _("Suspend"), "text": text, "back": _at(ca)}
    return answers.dialog(
        request, "console/ca_life/act.html", {**context, "form": form}, status=422 if form.errors else 200
    )


@page(_ADMINISTRATORS, methods=("POST",))
def resume(request: PageRequest, slug: str) -> HttpResponse:
    """Let a suspended CA issue again."""
    ca = _found(slug)
    rooms().ca_life.resume(ca.name, request.viewer.requester)
    return answers.done(request, _at(ca), _("The CA issues again."))


@page(_ADMINISTRATORS, methods=("GET", "POST"))
@reauthenticated
def withdraw(request: PageRequest, slug: str) -> HttpResponse:
    """Give up the request of a CA, with the key that was made for it."""
    ca = _found(slug)
    form = _TypedForm(ca.name, request.POST if request.method == "POST" else None)
    if form.is_bound and form.is_valid():
        rooms().ca_life.withdraw(ca.name, request.viewer.requester)
        return answers.done(request, PAGE, _("The request is given up."))
    text = _("The key that was made for it is deleted; an answer that still comes cannot be installed.")
    context = {
        "title": _("Give up the request of %(ca)s?") % {"ca": ca.name},
        "submit": _("Give up"),
        "text": text,
        "back": _at(ca),
    }
    return answers.dialog(
        request, "console/ca_life/act.html", {**context, "form": form}, status=422 if form.errors else 200
    )


urls = [
    path("cas/", overview),
    path("cas/-/new/", new),
    path("cas/-/import-crl/", import_crl),
    path("cas/<str:slug>/", one),
    path("cas/<str:slug>/request/", request_file),
    path("cas/<str:slug>/install/", install),
    path("cas/<str:slug>/sign/", sign),
    path("cas/<str:slug>/renew/", renew),
    path("cas/<str:slug>/suspend/", suspend),
    path("cas/<str:slug>/resume/", resume),
    path("cas/<str:slug>/withdraw/", withdraw),
]
