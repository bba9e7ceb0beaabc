"""Certificate Templates: what there is, what this CA issues, what is dangerous; new ones, and those that go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any, Final

from django import forms
from django.http import HttpResponse
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as lazy
from django.utils.translation import ngettext

from certwright.adcs.errors import AdcsError, InvalidArgument
from certwright.adcs.interfaces import Comparison, Restriction, Table
from certwright.adcs.template import CertificateTemplate, EnrollmentFlag
from certwright.adcs.template_checks import MAX_DISPLAY_NAME, MAX_NAME
from certwright.adcs.template_json import MAX_DOCUMENT, template_from_text, template_to_text
from certwright.console import access, answers, clock, search
from certwright.console.access import PageRequest, Role, Viewer, page
from certwright.console.authority import administer, ca_of, download, may_configure
from certwright.console.listing import Column, Filter, Listing, in_memory
from certwright.console.pages.template_editor import template_called
from certwright.console.rooms import CaStanding, rooms
from certwright.directory.template_administration import RiskyTemplate, is_default
from certwright.pki import oids

COLUMNS: Final = (
    Column("display_name", lazy("Template Display Name"), css="cw-lead"),
    Column("cn", lazy("Template Name"), css="cw-tight"),
    Column("schema", lazy("Schema Version"), css="cw-tight cw-num cw-hide-s"),
    Column("version", lazy("Version"), css="cw-tight cw-num", sortable=False),
    Column("purposes", lazy("Intended Purposes"), css="cw-why", sortable=False),
    Column("approval", lazy("Approval"), css="cw-tight"),
    Column("subject", lazy("Subject"), css="cw-tight"),
    Column("validity", lazy("Validity"), css="cw-tight", sortable=False),
    Column("issued", lazy("Issued 30 d"), css="cw-tight cw-num cw-end"),
    Column("findings", lazy("Findings"), css="cw-tight", sortable=False),
    Column("oid", lazy("OID"), css="cw-mono cw-tight", off=True),
    Column("autoenroll", lazy("Autoenroll"), css="cw-tight", off=True),
    Column("superseded_by", lazy("Superseded by"), off=True, sortable=False),
)
_RECENT: Final = timedelta(days=30)
_AHEAD: Final = timedelta(days=90)
_ALL: Final = "all"


# -- the list --------------------------------------------------------------------------------------------------------


@page(access.CA_SETTINGS)
def templates(request: PageRequest, ca: str) -> HttpResponse:
    """Those that this CA issues, or all of them."""
    standing = ca_of(request, ca)
    shown = Filter(
        "shown", _("Shown"), _("All templates"), [("published", _("Issued by this CA"))], default="published"
    )
    listing = Listing.read(
        request, "templates", COLUMNS, sort="display_name", filters=[shown], search=lazy("Name, purpose, OID")
    )
    published = bool(listing.value("shown"))
    rows = list(_rows(request, standing))
    in_memory(
        listing,
        [row for row in rows if row["published"] or not published],
        searched=("display_name", "cn", "purposes", "oid"),
    )
    listing.filters = ()  # the tabs are this filter
    context = {
        "title": _("Certificate Templates"),
        "crumbs": [(standing.name, "")],
        "ca": standing,
        "listing": listing,
        "tabs": [
            (
                listing.url(shown="published"),
                _("Issued by this CA"),
                sum(row["published"] for row in rows),
                published,
            ),
            (listing.url(shown=_ALL), _("All"), len(rows), not published),
        ],
        "everything": listing.url(shown=_ALL, q=""),
        "may_configure": may_configure(request, standing),
    }
    return answers.answer(request, "console/ca/templates.html", context, rows="console/ca/templates_rows.html")


def _published(ca: CaStanding) -> frozenset[str]:
    service = rooms().directory.enrollment_service(ca.name)
    return frozenset(service.templates) if service is not None else frozenset()


def _rows(request: PageRequest, ca: CaStanding) -> Iterator[dict[str, Any]]:
    administration = rooms().directory_administration
    published, issued, found = _published(ca), _issued(request, ca), administration.templates()
    for template in found.values():
        accepted = administration.accepted_risks(template.cn)
        yield {
            "cn": template.cn,
            "display_name": template.display_name,
            "schema": template.schema_version,
            "version": f"{template.major_version}.{template.minor_version}",
            "purposes": ", ".join(map(oids.name_of, template.extended_key_usage)) or _("Any purpose"),
            "approval": template.requires_approval,
            "subject": _("in request") if template.enrollee_supplies_subject else _("from directory"),
            "validity": clock.period(template.validity_period),
            "issued": issued.get(template.cn, 0) if issued is not None else None,
            "findings": [
                (risk.id, risk.id in accepted) for risk in administration.risks(template) if risk.needs_acceptance
            ],
            "oid": template.oid,
            "autoenroll": EnrollmentFlag.AUTO_ENROLLMENT in template.enrollment_flag,
            "superseded_by": _superseded_by(template, found),
            "published": template.cn in published,
            "is_default": is_default(template),
        }


def _superseded_by(template: CertificateTemplate, others: Mapping[str, CertificateTemplate]) -> str:
    return ", ".join(other.display_name for other in others.values() if template.cn in other.superseded_templates)


def _issued(request: PageRequest, ca: CaStanding) -> Mapping[str, int] | None:
    """How many certificates the CA issued in 30 days, by template; None when it does not say."""
    since = Restriction("resolved_when", Comparison.GREATER_OR_EQUAL, _seconds(-_RECENT))
    try:
        found = administer(request, ca).count(Table.ISSUED_CERTIFICATES, "template", (since,))
    except AdcsError:
        return None
    return {str(template): count for template, count in found.items()}


def _seconds(ahead: timedelta) -> int:
    return int((rooms().clock() + ahead).timestamp())


# -- published or not ------------------------------------------------------------------------------------------------


@page({Role.CA_ADMINISTRATOR}, methods=("GET", "POST"))
def publish(request: PageRequest, ca: str, cn: str, on: bool) -> HttpResponse:
    """Issue: this CA issues from the template. Stop issuing: it does no longer."""
    standing, template = ca_of(request, ca), template_called(cn)
    back = f"/ca/{standing.slug}/templates/"
    if request.method == "POST":
        administration = rooms().directory_administration
        actor = administration.require_template_administrator(request.viewer.requester)
        (administration.publish if on else administration.unpublish)(standing.name, template.cn, actor=actor)
        name = {"name": template.display_name}
        said = _("The CA issues %(name)s now.") if on else _("The CA stopped issuing %(name)s.")
        return answers.done(request, back, said % name)
    context = {
        "title": (_("Issue %(name)s?") if on else _("Stop issuing %(name)s?")) % {"name": template.display_name},
        "text": _("Everybody with the Enroll right can then request certificates from it.")
        if on
        else _renewing(request, standing, template),
        "submit": _("Issue template") if on else _("Stop issuing"),
        "harmless": on,
        "back": back,
    }
    return answers.dialog(request, "console/ca/act.html", context)


def _renewing(request: PageRequest, ca: CaStanding, template: CertificateTemplate) -> str:
    """What stopping means for those who have a certificate."""
    where = (
        Restriction("template", Comparison.EQUAL, template.cn),
        Restriction("not_after", Comparison.GREATER_OR_EQUAL, _seconds(timedelta(0))),
        Restriction("not_after", Comparison.LESS_OR_EQUAL, _seconds(_AHEAD)),
    )
    count = sum(administer(request, ca).count(Table.ISSUED_CERTIFICATES, "template", where).values())
    told = ngettext(
        "%(count)s certificate renews through it in 90 days.",
        "%(count)s certificates renew through it in 90 days.",
        count,
    )
    return " ".join((told % {"count": f"{count:,}"}, _("Issued certificates stay valid.")))


# -- new ones --------------------------------------------------------------------------------------------------------


class _Accepting(forms.Form):
    """Fields that are drawn when a risk stands in the way."""

    reason = forms.CharField(label=lazy("Reason"), required=False, max_length=500)
    word = forms.CharField(label=lazy("Type the number of each risk to confirm"), required=False, max_length=100)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.risky = False

    @property
    def accepted(self) -> list[str]:
        return str(self.cleaned_data.get("word", "")).replace(",", " ").upper().split()

    def stopped_by(self, error: InvalidArgument) -> None:
        """Say what stands in the way, and offer to accept it where it is a risk."""
        self.risky = isinstance(error, RiskyTemplate)
        self.add_error(None, error.message)

    def may_accept(self, request: PageRequest) -> bool:
        """Is nothing accepted, or everything said that accepting takes?"""
        if not self.accepted:
            return True
        self.risky = True
        if not self.cleaned_data["reason"].strip():
            self.add_error("reason", _("A risk is accepted with a reason only."))
        elif access.confirmation_is_due(request):
            self.add_error(
                None,
                _("Confirm first who you are: open your account settings in another tab, add a token, and go back."),
            )
        return not self.errors

    def visible(self) -> list[Any]:
        hidden = () if self.risky else ("reason", "word")
        return [bound for bound in self.visible_fields() if bound.name not in hidden]


class DuplicateForm(_Accepting):
    display_name = forms.CharField(label=lazy("Template display name"), max_length=MAX_DISPLAY_NAME)
    cn = forms.CharField(
        label=lazy("Template name"),
        max_length=MAX_NAME,
        help_text=lazy("Letters, digits, '.', '_', '-' and parentheses, no blanks: the name in requests."),
    )
    field_order = ("display_name", "cn", "reason", "word")


class ImportForm(_Accepting):
    file = forms.FileField(label=lazy("File"), required=False, help_text=lazy("As Export writes it."))
    text = forms.CharField(
        label=lazy("Or its text"),
        required=False,
        max_length=MAX_DOCUMENT,
        widget=forms.Textarea({"rows": 6, "class": "cw-mono"}),
    )
    field_order = ("file", "text", "reason", "word")


@page({Role.CA_ADMINISTRATOR}, methods=("GET", "POST"))
def duplicate(request: PageRequest, ca: str, cn: str) -> HttpResponse:
    """A new template from one, with a name and an OID of its own."""
    standing, template = ca_of(request, ca), template_called(cn)
    named = _("Copy of %(name)s") % {"name": template.display_name}
    initial = {"display_name": named, "cn": _free_name(f"CopyOf{template.cn}")}
    form = DuplicateForm(request.POST if request.method == "POST" else None, initial=initial)
    if request.method == "POST" and form.is_valid() and form.may_accept(request):
        administration = rooms().directory_administration
        actor = administration.require_template_administrator(request.viewer.requester)
        try:
            made = administration.duplicate_template(
                template.cn,
                form.cleaned_data["cn"],
                form.cleaned_data["display_name"],
                accept_risks=form.accepted,
                reason=form.cleaned_data["reason"],
                actor=actor,
            )
        except InvalidArgument as error:
            form.stopped_by(error)
        else:
            said = _("%(name)s is made. No CA issues it yet.") % {"name": made.display_name}
            return answers.done(request, f"/ca/{standing.slug}/templates/{made.cn}/", said)
    context = {
        "title": _("Duplicate %(name)s") % {"name": template.display_name},
        "submit": _("Duplicate"),
        "form": form,
        "back": f"/ca/{standing.slug}/templates/{template.cn}/",
    }
    return answers.dialog(request, "console/ca/template_new.html", context, status=422 if form.errors else 200)


def _free_name(wanted: str) -> str:
    taken = {cn.casefold() for cn in rooms().directory_administration.templates()}
    names = (wanted if number == 1 else f"{wanted}{number}" for number in range(1, len(taken) + 2))
    return next(name for name in names if name.casefold() not in taken)[:MAX_NAME]


@page({Role.CA_ADMINISTRATOR}, methods=("GET", "POST"))
def take_in(request: PageRequest, ca: str) -> HttpResponse:
    """Import: add a template from a document, or replace the one of the same name."""
    standing = ca_of(request, ca)
    back = f"/ca/{standing.slug}/templates/"
    posted = request.method == "POST"
    form = ImportForm(request.POST if posted else None, request.FILES if posted else None)
    if posted and form.is_valid() and form.may_accept(request):
        administration = rooms().directory_administration
        actor = administration.require_template_administrator(request.viewer.requester)
        file = form.cleaned_data["file"]
        document = file.read(MAX_DOCUMENT + 1) if file else form.cleaned_data["text"].encode()
        try:
            stored = administration.put_template(
                template_from_text(document),
                accept_risks=form.accepted,
                reason=form.cleaned_data["reason"],
                actor=actor,
            )
        except InvalidArgument as error:
            form = ImportForm({**form.cleaned_data, "text": document.decode("utf-8", "replace")})
            form.is_valid()  # as text from now on: a browser does not keep the file
            form.stopped_by(error)
        else:
            version = f"{stored.major_version}.{stored.minor_version}"
            said = _("%(name)s, version %(version)s, is stored.") % {"name": stored.display_name, "version": version}
            return answers.done(request, f"{back}{stored.cn}/", said)
    context = {
        "title": _("Import a template"),
        "crumbs": [(standing.name, ""), (_("Certificate Templates"), back)],
        "submit": _("Import"),
        "form": form,
        "back": back,
    }
    return answers.answer(request, "console/ca/template_import.html", context, status=422 if form.errors else 200)


# -- out and away ----------------------------------------------------------------------------------------------------


@page({Role.CA_ADMINISTRATOR}, methods=("GET", "POST"))
def delete(request: PageRequest, ca: str, cn: str) -> HttpResponse:
    """Remove a template of one's own that no CA issues; the directory refuses the others."""
    standing, template = ca_of(request, ca), template_called(cn)
    back = f"/ca/{standing.slug}/templates/{template.cn}/"
    typed = request.POST.get("word", "").strip()
    if request.method == "POST" and typed == template.cn:
        administration = rooms().directory_administration
        actor = administration.require_template_administrator(request.viewer.requester)
        administration.delete_template(template.cn, actor=actor)
        said = _("%(name)s is deleted.") % {"name": template.display_name}
        return answers.done(request, f"/ca/{standing.slug}/templates/?shown={_ALL}", said)
    context = {
        "title": _("Delete %(name)s?") % {"name": template.display_name},
        "text": _("Issued certificates stay valid; they name a template that nobody can look up any more."),
        "word": template.cn,
        "submit": _("Delete template"),
        "back": back,
    }
    wrong = request.method == "POST"
    return answers.dialog(request, "console/ca/template_delete.html", context, status=422 if wrong else 200)


@page(access.CA_SETTINGS)
def export(request: PageRequest, ca: str, cn: str) -> HttpResponse:
    """The template as `certwright template export` writes it."""
    ca_of(request, ca)
    template = template_called(cn)
    return download(f"{template.cn}.json", template_to_text(template).encode(), "application/json")


def _find(viewer: Viewer, query: search.Query) -> Iterator[search.Hit]:
    """Templates by name."""
    if not viewer.is_any(access.CA_SETTINGS) or not viewer.cas:
        return
    needle = query.text.casefold()
    for template in rooms().directory_administration.templates().values():
        if template.cn.casefold().startswith(needle) or template.display_name.casefold().startswith(needle):
            href = f"/ca/{viewer.cas[0].slug}/templates/{template.cn}/"
            exact = needle in (template.cn.casefold(), template.display_name.casefold())
            yield search.Hit(search.TEMPLATES, template.display_name, template.cn, href, icon="template", exact=exact)


finders = [_find]

_LIST: Final = "ca/<str:ca>/templates/"
_AT: Final = f"{_LIST}<str:cn>/"
urls = [
    path(_LIST, templates),
    path(f"{_LIST}-/import/", take_in),  # no template can be called -
    path(f"{_AT}publish/", publish, {"on": True}),
    path(f"{_AT}unpublish/", publish, {"on": False}),
    path(f"{_AT}duplicate/", duplicate),
    path(f"{_AT}delete/", delete),
    path(f"{_AT}export/", export),
]
