"""New request: one that is pasted or uploaded, or key and request made here, ordered from a domain's services."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Any, Final

from django import forms
from django.http import HttpResponse
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as lazy

from certwright.adcs.errors import AdcsError, InvalidArgument
from certwright.console import access, answers
from certwright.console.access import PageRequest, Role, page
from certwright.console.forecasting import Question, domain_hint, look, offered_templates, template_hint
from certwright.console.rooms import rooms
from certwright.keystores.base import KeyAlgorithm
from certwright.manager.values import AlternativeName, FormFields, KeyFields, OrderFields, key
from certwright.pki import names as dn
from certwright.pki import oids

ORDERING: Final = access.ORDERS - {Role.CA_ADMINISTRATOR, Role.AUDITOR}
"""Who may order: everybody who sees orders but those who only read."""
MAX_CSR: Final = 64 * 1024
RENEW_DAYS: Final = 30
_HERE: Final = "/adcs/orders/new/"
_FORM: Final = "console/new_request/page.html"

ALGORITHM_WORDS: Final = {
    KeyAlgorithm.RSA_3072: "RSA 3072",
    KeyAlgorithm.RSA_2048: "RSA 2048",
    KeyAlgorithm.RSA_4096: "RSA 4096",
    KeyAlgorithm.ECDSA_P256: "ECDSA P-256",
    KeyAlgorithm.ECDSA_P384: "ECDSA P-384",
}
PASTE, UPLOAD, MAKE = "paste", "upload", "make"


class RequestForm(forms.Form):
    """An order. A request and names of one to be made here exclude each other; `source` says which of them counts."""

    domain = forms.ChoiceField(label=lazy("ADCS Domain"))
    template = forms.CharField(label=lazy("Template"), max_length=64)
    source = forms.ChoiceField(
        label=lazy("Where the key is made"),
        required=False,
        choices=[(PASTE, lazy("Paste")), (UPLOAD, lazy("Upload")), (MAKE, lazy("Make here"))],
    )
    csr = forms.CharField(
        label=lazy("Certificate request (PKCS#10, PEM or base64)"),
        required=False,
        max_length=MAX_CSR,
        widget=forms.Textarea(attrs={"rows": 6, "spellcheck": "false", "class": "cw-mono cw-csr"}),
    )
    file = forms.FileField(
        label=lazy("Certificate request, as a file"),
        required=False,
        help_text=lazy("PKCS#10, in PEM or DER."),
    )
    common_name = forms.CharField(
        label=lazy("Common Name"),
        required=False,
        max_length=255,
        widget=forms.TextInput(attrs={"placeholder": "web.corp.example", "spellcheck": "false"}),
    )
    algorithm = forms.ChoiceField(
        label=lazy("Key"),
        required=False,
        choices=[(each.value, words) for each, words in ALGORITHM_WORDS.items()],
        help_text=lazy("It stays here, encrypted."),
    )
    subject = forms.CharField(
        label=lazy("Rest of the subject"), required=False, max_length=1000, help_text=lazy("As in O=Corp,C=DE.")
    )
    names = forms.CharField(
        label=lazy("Subject alternative names"),
        required=False,
        max_length=32_000,
        widget=forms.Textarea(attrs={"rows": 3, "spellcheck": "false"}),
        help_text=lazy("One on each line: DNS:web.corp.example, IP:192.0.2.1, email:, UPN: or URI:."),
    )
    owner = forms.CharField(label=lazy("Owner"), required=False, max_length=255)
    tags = forms.CharField(
        label=lazy("Tags"), required=False, max_length=1000, help_text=lazy("Separated by commas.")
    )
    fetch = forms.BooleanField(
        label=lazy("Fetch into the inventory as soon as it is Issued"), required=False, initial=True
    )
    renew = forms.BooleanField(label=lazy("Renew 30 days before expiry"), required=False)
    token = forms.CharField(widget=forms.HiddenInput, max_length=64, required=False)
    form_id = forms.IntegerField(widget=forms.HiddenInput, required=False, min_value=1)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        domains = rooms().manager.services.domains()
        self.fields["domain"].choices = [(each, each) for each in domains]  # type: ignore[attr-defined]
        chosen = str(self["domain"].value() or "")
        self._offer(chosen if chosen in domains else next(iter(domains), ""))

    def _offer(self, domain: str) -> None:
        """A domain's templates as a choice, with one that was named otherwise; a text field where none is known."""
        offered = offered_templates(domain)
        if not offered:
            self.fields["template"].help_text = lazy("Its name; Refresh of the service reads what it offers.")
            return
        choices = [(each.name, _shown(each.display_name, each.name)) for each in offered]
        named = str(self["template"].value() or "")
        if named and key(named) not in {key(name) for name, _words in choices}:
            choices.append((named, named))
        self.fields["template"].widget = forms.Select(choices=choices)

    def clean_file(self) -> bytes:
        file = self.cleaned_data.get("file")
        if not file:
            return b""
        if file.size > MAX_CSR:
            raise forms.ValidationError(_("The file is too large to be a request."))
        data: bytes = file.read(MAX_CSR)
        return data

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or {}
        source = data.get("source", "")
        if source in (PASTE, UPLOAD):  # what stands in the other panes does not count
            data |= {"common_name": "", "names": "", "subject": ""}
        if source in (UPLOAD, MAKE):
            data["csr"] = ""
        if source in (PASTE, MAKE):
            data["file"] = b""
        given = sum(
            (
                bool(data.get("csr", "").strip()),
                bool(data.get("file")),
                any(data.get(each, "").strip() for each in ("common_name", "names", "subject")),
            )
        )
        if given != 1 and not self.errors:
            raise forms.ValidationError(_MISSING.get(source, _ONE_OF_THREE))
        return data

    @property
    def order(self) -> OrderFields:
        """What to place.

        Raises:
            InvalidArgument: a name cannot be read.
        """
        data = self.cleaned_data
        csr = data["csr"].strip().encode() or data["file"]
        return OrderFields(
            domain=data["domain"],
            template=data["template"],
            csr=csr,
            key=None if csr else self.key_fields,
            owner=data["owner"],
            tags=tags_of(data["tags"]),
            fetch=data["fetch"],
            token=data["token"],
            renew_days=RENEW_DAYS if data["renew"] else 0,
            form_id=data["form_id"],
        )

    @property
    def key_fields(self) -> KeyFields:
        data = self.cleaned_data
        common_name = data.get("common_name", "").strip()
        first = dn.format_name(dn.name_of((oids.COMMON_NAME, common_name))) if common_name else ""
        return KeyFields(
            KeyAlgorithm(data.get("algorithm") or KeyAlgorithm.RSA_3072),
            ",".join(part for part in (first, data.get("subject", "").strip()) if part),
            names_of(data.get("names", "")),
        )

    @property
    def question(self) -> Question:
        """What the form says so far, for the forecast.

        Raises:
            InvalidArgument: a name cannot be read.
        """
        data = self.cleaned_data
        asked = Question(data.get("domain", ""), data.get("template", ""), names_text=data.get("names", ""))
        asked.csr = data.get("csr", "").strip().encode() or data.get("file") or b""
        if not asked.csr and any(data.get(each, "").strip() for each in ("common_name", "names", "subject")):
            asked.made = self.key_fields
        return asked


_ONE_OF_THREE: Final = lazy(
    "Paste a request, upload one, or enter the names of one to be made here; one of the three."
)
_MISSING: Final = {
    PASTE: lazy("Paste a certificate request, or choose Make here."),
    UPLOAD: lazy("Choose the file with the certificate request, or choose Make here."),
    MAKE: lazy("Enter a common name or an alternative name."),
}


def _shown(display_name: str, name: str) -> str:
    return f"{display_name} ({name})" if display_name and key(display_name) != key(name) else name


def names_of(text: str) -> tuple[AlternativeName, ...]:
    """Alternative names, one on each line.

    Raises:
        InvalidArgument: a line is none.
    """
    return tuple(AlternativeName.parse(line) for line in text.splitlines() if line.strip())


def tags_of(text: str) -> tuple[str, ...]:
    return tuple(tag for part in text.split(",") if (tag := part.strip()))


@page(ORDERING, methods=("GET", "POST"))
def new_request(request: PageRequest) -> HttpResponse:
    """The form; submitted, the order's page follows, whatever the CA answered."""
    if request.method == "POST":
        form = RequestForm(request.POST, request.FILES)
        if form.is_valid():
            try:
                order = rooms().manager.orders.place(form.order, actor=request.viewer.account)
            except AdcsError as error:
                form.add_error(None, error.message)
            else:
                return answers.done(request, f"/adcs/orders/{order.id}/")
    else:
        form = RequestForm(initial=_initial(request))
    services = rooms().manager.services
    domain, template = str(form["domain"].value() or ""), str(form["template"].value() or "")
    context = {
        "title": _("New request"),
        "crumbs": [(_("Certificate Authorities (CA)"), ""), (_("ADCS"), ""), (_("Orders"), "/adcs/orders/")],
        "form": form,
        "source": form["source"].value() or PASTE,
        "saved_forms": rooms().manager.forms.list()[:50],
        "has_services": bool(services.list()),
        "may_add_service": request.viewer.may(Role.ADMINISTRATOR),
        "hint": template_hint(domain, template, rooms().manager.orders.route(domain, template) if domain else ()),
        "domain_hint": domain_hint(domain),
    }
    return answers.answer(request, _FORM, context, status=422 if form.errors else 200)


def _initial(request: PageRequest) -> dict[str, Any]:
    """An empty form, or one begun by a request form, by another order, or by what the address says."""
    domains = rooms().manager.services.domains()
    initial: dict[str, Any] = {
        "token": secrets.token_urlsafe(24),
        "owner": request.viewer.account,
        "domain": next(iter(domains), ""),
    }
    number = request.GET.get("form", "")
    if number.isascii() and number.isdigit() and len(number) < 18:
        initial |= _from_form(int(number))
    for name in ("domain", "template", "common_name", "names", "subject"):
        if name in request.GET:
            initial[name] = request.GET[name][:4000]
    if "source" not in initial and any(initial.get(each) for each in ("common_name", "names")):
        initial["source"] = MAKE
    return initial


def _from_form(form_id: int) -> dict[str, Any]:
    try:
        fields: FormFields = rooms().manager.forms.get(form_id).fields
    except InvalidArgument:  # deleted meanwhile
        return {}
    return {
        "form_id": form_id,
        "source": MAKE,
        "domain": fields.domain,
        "template": fields.template,
        "algorithm": fields.algorithm.value,
        "subject": fields.subject,
        "names": "\n".join(map(str, fields.names)),
        "owner": fields.owner,
        "tags": ", ".join(fields.tags),
    }


@page(ORDERING, methods=("POST",))
def check(request: PageRequest) -> HttpResponse:
    """What the form says so far: read and looked at, and sent to nobody."""
    form = RequestForm(request.POST, request.FILES)
    form.is_valid()
    parts = []
    try:
        question = form.question
    except AdcsError as error:
        outlook = replace(look(Question(form.cleaned_data.get("domain", ""))), problem=error.message)
    else:
        if request.POST.get("listed") not in (None, question.domain):  # another domain, with other templates
            question.template = _offered_first(question)
            other = RequestForm(initial={"domain": question.domain, "template": question.template})
            parts.append(
                answers.part(request, "#template-field", "console/new_request/template.html", {"form": other})
            )
        outlook = look(question)
    hint = answers.part(request, "#template-hint", "console/new_request/hint.html", {"hint": outlook.hint})
    where = {"hint": domain_hint(form.cleaned_data.get("domain", ""))}
    services = answers.part(request, "#domain-hint", "console/new_request/hint.html", where)
    column = answers.part(request, "#forecast", "console/new_request/check.html", {"outlook": outlook})
    return answers.parts(*parts, services, hint, column)


def _offered_first(question: Question) -> str:
    """The chosen template where that domain has it too, else its first one."""
    offered = [each.name for each in offered_templates(question.domain)]
    known = {key(name) for name in offered}
    return question.template if key(question.template) in known or not offered else offered[0]


@page(ORDERING, methods=("POST",))
def save(request: PageRequest) -> HttpResponse:
    """Save as form: what of a request can be repeated, under a name."""
    naming = NameForm(request.POST if "name" in request.POST else None)
    given = RequestForm(request.POST)
    given.is_valid()
    if naming.is_bound and naming.is_valid():
        try:
            fields = _repeatable(naming.cleaned_data["name"], given.cleaned_data)
            rooms().manager.forms.add(fields, actor=request.viewer.account)
        except AdcsError as error:
            naming.add_error("name", error.message)
        else:
            said = _("Request form kept: %(name)s") % {"name": fields.name}
            if request.htmx:
                return answers.toast(HttpResponse(" "), said)
            return answers.done(request, "/inventory/forms/", said)
    kept = ("domain", "template", "algorithm", "subject", "names", "owner", "tags", "source")
    context = {
        "title": _("Save as request form"),
        "text": _("A repeat then asks only for the common name and alternative names."),
        "form": naming,
        "kept": [(name, request.POST.get(name, "")) for name in kept],
        "submit": _("Save request form"),
        "back": _HERE,
        "action": f"{_HERE}save/",
    }
    return answers.dialog(request, "console/new_request/save.html", context, status=422 if naming.errors else 200)


class NameForm(forms.Form):
    name = forms.CharField(label=lazy("Name"), max_length=255)


def _repeatable(name: str, data: dict[str, Any]) -> FormFields:
    return FormFields(
        name=name,
        domain=data.get("domain", ""),
        template=data.get("template", ""),
        algorithm=KeyAlgorithm(data.get("algorithm") or KeyAlgorithm.RSA_3072),
        subject=data.get("subject", "").strip(),
        names=(),
        owner=data.get("owner", ""),
        tags=tags_of(data.get("tags", "")),
    )


urls = [
    path("adcs/orders/new/", new_request),
    path("adcs/orders/new/check/", check),
    path("adcs/orders/new/save/", save),
]
