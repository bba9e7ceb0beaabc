"""Certificate Templates: what there is, what this CA issues, what is dangerous, and changing one by settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from django import forms
from django.http import Http404, HttpResponse
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as lazy

from certwright.adcs.errors import InvalidArgument
from certwright.adcs.events import AuditEvent, CaEvent
from certwright.adcs.periods import period_text
from certwright.adcs.requester import Sid
from certwright.adcs.security import SecurityDescriptor
from certwright.adcs.template import CertificateTemplate, EnrollmentFlag, GeneralFlag, NameFlag, PrivateKeyFlag
from certwright.adcs.template_json import key_usage_names, template_to_text
from certwright.adcs.template_settings import SETTINGS, apply_settings
from certwright.console import access, answers, search
from certwright.console.access import PageRequest, Role, Viewer, page, reauthenticated
from certwright.console.authority import ca_of, download, may_configure
from certwright.console.listing import Column, Filter, Listing, in_memory
from certwright.console.rooms import CaStanding, rooms
from certwright.directory.template_administration import RiskyTemplate
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
    Column("findings", lazy("Findings"), css="cw-tight", sortable=False),
    Column("oid", lazy("OID"), css="cw-mono cw-tight", off=True),
)
TABS: Final[Mapping[str, tuple[Any, tuple[str, ...]]]] = {
    "general": (lazy("General"), ("display-name", "validity-period", "renewal-period", "publish-to-directory")),
    "compatibility": (lazy("Compatibility"), ("schema-version", "machine")),
    "handling": (
        lazy("Request Handling"),
        ("exportable-key", "same-key-renewal", "smime-capabilities", "autoenrollment"),
    ),
    "cryptography": (lazy("Cryptography"), ("minimal-key-size",)),
    "subject": (lazy("Subject Name"), ("enrollee-supplies-subject", "subject", "alternative-names", "sid-extension")),
    "names": (
        lazy("Name Rules"),
        (
            "name-rules.dns-suffixes",
            "name-rules.ip-ranges",
            "name-rules.upn-domains",
            "name-rules.mail-domains",
            "name-rules.outside",
        ),
    ),
    "issuance": (lazy("Issuance Requirements"), ("approval", "signatures", "renewal-without-approval")),
    "superseded": (lazy("Superseded Templates"), ("superseded-templates",)),
    "extensions": (
        lazy("Extensions"),
        ("eku", "key-usage", "issuance-policies", "critical-extensions", "basic-constraints", "ocsp-nocheck"),
    ),
    "security": (lazy("Security"), ()),
}
_FLAGS: Final[Mapping[str, tuple[str, int, bool]]] = {
    "approval": ("enrollment_flag", EnrollmentFlag.PEND_ALL_REQUESTS, False),
    "publish-to-directory": ("enrollment_flag", EnrollmentFlag.PUBLISH_TO_DS, False),
    "autoenrollment": ("enrollment_flag", EnrollmentFlag.AUTO_ENROLLMENT, False),
    "smime-capabilities": ("enrollment_flag", EnrollmentFlag.INCLUDE_SYMMETRIC_ALGORITHMS, False),
    "sid-extension": ("enrollment_flag", EnrollmentFlag.NO_SECURITY_EXTENSION, True),
    "renewal-without-approval": ("enrollment_flag", EnrollmentFlag.PREVIOUS_APPROVAL_VALIDATE_REENROLLMENT, False),
    "basic-constraints": ("enrollment_flag", EnrollmentFlag.INCLUDE_BASIC_CONSTRAINTS_FOR_EE_CERTS, False),
    "ocsp-nocheck": ("enrollment_flag", EnrollmentFlag.ADD_OCSP_NOCHECK, False),
    "machine": ("flags", GeneralFlag.MACHINE_TYPE, False),
    "exportable-key": ("private_key_flag", PrivateKeyFlag.EXPORTABLE_KEY, False),
    "same-key-renewal": ("private_key_flag", PrivateKeyFlag.REQUIRE_SAME_KEY_RENEWAL, False),
    "enrollee-supplies-subject": ("name_flag", NameFlag.ENROLLEE_SUPPLIES_SUBJECT, False),
}
_SUBJECT: Final = {
    NameFlag.REQUIRE_DIRECTORY_PATH: "directory-path",
    NameFlag.REQUIRE_COMMON_NAME: "common-name",
    NameFlag.REQUIRE_DNS_AS_CN: "dns-name",
    NameFlag.REQUIRE_EMAIL: "email",
}
_ALTERNATIVE: Final = {
    NameFlag.ALT_REQUIRE_UPN: "upn",
    NameFlag.ALT_REQUIRE_EMAIL: "email",
    NameFlag.ALT_REQUIRE_DNS: "dns",
    NameFlag.ALT_REQUIRE_DOMAIN_DNS: "domain-dns",
    NameFlag.ALT_REQUIRE_SPN: "spn",
    NameFlag.ALT_REQUIRE_DIRECTORY_GUID: "guid",
}


# -- the list --------------------------------------------------------------------------------------------------------


@page(access.CA_SETTINGS)
def templates(request: PageRequest, ca: str) -> HttpResponse:
    """Those that this CA issues; all of them with the filter taken away."""
    standing = ca_of(request, ca)
    shown = Filter(
        "shown", _("Shown"), _("All templates"), [("published", _("Issued by this CA"))], default="published"
    )
    listing = Listing.read(
        request, "templates", COLUMNS, sort="display_name", filters=[shown], search=lazy("Name, purpose, OID")
    )
    rows = _rows(standing, only_published=bool(listing.value("shown")))
    in_memory(listing, rows, searched=("display_name", "cn", "purposes", "oid"))
    context = {
        "title": _("Certificate Templates"),
        "crumbs": [(standing.name, "")],
        "ca": standing,
        "listing": listing,
        "may_configure": may_configure(request, standing),
    }
    return answers.answer(request, "console/ca/templates.html", context, rows="console/ca/templates_rows.html")


def _published(ca: CaStanding) -> frozenset[str]:
    service = rooms().directory.enrollment_service(ca.name)
    return frozenset(service.templates) if service is not None else frozenset()


def _rows(ca: CaStanding, *, only_published: bool) -> Iterator[dict[str, Any]]:
    administration = rooms().directory_administration
    published = _published(ca)
    for template in administration.templates().values():
        if only_published and template.cn not in published:
            continue
        accepted = administration.accepted_risks(template.cn)
        yield {
            "cn": template.cn,
            "display_name": template.display_name,
            "schema": template.schema_version,
            "version": f"{template.major_version}.{template.minor_version}",
            "purposes": ", ".join(map(oids.name_of, template.extended_key_usage)) or _("Any purpose"),
            "approval": template.requires_approval,
            "subject": _("in request") if template.enrollee_supplies_subject else _("from directory"),
            "validity": period_text(template.validity_period),
            "findings": [
                (risk.id, risk.id in accepted) for risk in administration.risks(template) if risk.needs_acceptance
            ],
            "oid": template.oid,
            "published": template.cn in published,
        }


# -- one template ----------------------------------------------------------------------------------------------------


@page(access.CA_SETTINGS, methods=("GET", "POST"))
def edit(request: PageRequest, ca: str, cn: str, tab: str = "general") -> HttpResponse:
    """One tab of a template; saving it is refused when that would newly open a risk."""
    standing, template = ca_of(request, ca), _template(cn)
    form = SettingsForm(template, TABS[tab][1], request.POST if request.method == "POST" else None)
    refused: tuple[Any, ...] = ()
    if request.method == "POST" and form.is_valid():
        try:
            _change(request, template, form.changes())
        except RiskyTemplate as error:
            refused = error.risks
        except InvalidArgument as error:
            form.add_error(None, error.message)
        else:
            return answers.done(request, f"/ca/{standing.slug}/templates/{template.cn}/{tab}/", _("Saved."))
    context = _context(request, standing, template, tab) | {"form": form, "refused": refused}
    status = 409 if refused else 422 if form.errors else 200
    return answers.answer(request, "console/ca/template.html", context, status=status)


@page({Role.CA_ADMINISTRATOR}, methods=("POST",))
@reauthenticated
def override(request: PageRequest, ca: str, cn: str, tab: str) -> HttpResponse:
    """Save in spite of risks: each is typed by its number, with the reason, and stands in the audit trail."""
    standing, template = ca_of(request, ca), _template(cn)
    form = SettingsForm(template, TABS[tab][1], request.POST)
    reason = " ".join(request.POST.get("override_reason", "").split())[:500]
    typed = request.POST.get("override_word", "").replace(",", " ").upper().split()
    if not form.is_valid():
        raise InvalidArgument(_("The settings cannot be read; look at the tab again."))
    if not reason or not typed:
        raise InvalidArgument(_("Type the number of each risk, such as ESC1, and give a reason."))
    _change(request, template, form.changes(), accept=typed)
    details: dict[str, str | int] = {"template": template.cn, "accepted_risks": ", ".join(typed), "reason": reason}
    rooms().record(
        CaEvent(AuditEvent.TEMPLATE_UPDATED, rooms().clock(), standing.name, request.viewer.account, details)
    )
    return answers.done(request, f"/ca/{standing.slug}/templates/{template.cn}/{tab}/", _("Saved with override."))


def _change(
    request: PageRequest, template: CertificateTemplate, changes: Mapping[str, str], accept: list[str] | None = None
) -> None:
    administration = rooms().directory_administration
    actor = administration.require_template_administrator(request.viewer.requester)
    administration.change_template(
        template.cn, lambda before: apply_settings(before, changes), accept_risks=accept or (), actor=actor
    )


class SettingsForm(forms.Form):
    """The settings of one tab, with the values they have."""

    def __init__(self, template: CertificateTemplate, keys: tuple[str, ...], data: Any) -> None:
        initial = {key: current(template, key) for key in keys}
        super().__init__(data, initial=initial)
        self._template = template
        for key in keys:
            if key in _FLAGS:
                self.fields[key] = forms.BooleanField(required=False)
            elif key == "name-rules.outside":
                words = [("pend", _("wait for a certificate manager")), ("deny", _("deny"))]
                self.fields[key] = forms.ChoiceField(choices=words)
            else:
                self.fields[key] = forms.CharField(required=False, max_length=4000)
            self.fields[key].label = key.removeprefix("name-rules.").replace("-", " ").capitalize()
            self.fields[key].help_text = SETTINGS[key]

    def changes(self) -> dict[str, str]:
        """What differs from the template, as settings of the command line."""
        found = {}
        for key, value in self.cleaned_data.items():
            text = ("on" if value else "off") if key in _FLAGS else str(value)
            before = current(self._template, key)
            if text != (("on" if before else "off") if key in _FLAGS else before):
                found[key] = text
        return found


def current(template: CertificateTemplate, key: str) -> Any:
    """The value of a setting: what `apply_settings` would take to leave it as it is."""
    if key in _FLAGS:
        field, bit, inverted = _FLAGS[key]
        return bool(getattr(template, field) & bit) is not inverted
    rule = next((rule for rule in template.name_rules.rules if not rule.group), None)
    listed: Mapping[str, Any] = {
        "display-name": template.display_name,
        "validity-period": period_text(template.validity_period),
        "renewal-period": period_text(template.renewal_period),
        "schema-version": str(template.schema_version),
        "minimal-key-size": str(template.minimal_key_size),
        "subject": _chosen(template, _SUBJECT),
        "alternative-names": _chosen(template, _ALTERNATIVE),
        "signatures": str(template.ra_signatures),
        "superseded-templates": ", ".join(template.superseded_templates),
        "eku": ", ".join(template.extended_key_usage),
        "key-usage": ", ".join(key_usage_names(template.key_usage)),
        "issuance-policies": ", ".join(template.issuance_policies),
        "critical-extensions": ", ".join(template.critical_extensions),
        "name-rules.dns-suffixes": ", ".join(rule.dns_suffixes) if rule else "",
        "name-rules.ip-ranges": ", ".join(rule.ip_ranges) if rule else "",
        "name-rules.upn-domains": ", ".join(rule.upn_domains) if rule else "",
        "name-rules.mail-domains": ", ".join(rule.mail_domains) if rule else "",
        "name-rules.outside": template.name_rules.outside.value,
    }
    return listed[key]


def _chosen(template: CertificateTemplate, known: Mapping[NameFlag, str]) -> str:
    return ", ".join(word for flag, word in known.items() if flag & template.name_flag) or "none"


def _context(request: PageRequest, ca: CaStanding, template: CertificateTemplate, tab: str) -> dict[str, Any]:
    administration = rooms().directory_administration
    accepted = administration.accepted_risks(template.cn)
    return {
        "title": template.display_name,
        "crumbs": [(ca.name, ""), (_("Certificate Templates"), f"/ca/{ca.slug}/templates/")],
        "ca": ca,
        "template": template,
        "base": f"/ca/{ca.slug}/templates/{template.cn}/",
        "tab": tab,
        "tab_label": TABS[tab][0],
        "tabs": [(key, label) for key, (label, _keys) in TABS.items()],
        "published": template.cn in _published(ca),
        "risks": [(risk, risk.id in accepted) for risk in administration.risks(template)],
        "may_configure": may_configure(request, ca),
        "rights": _rights(template) if tab == "security" else [],
    }


def _rights(template: CertificateTemplate) -> list[dict[str, Any]]:
    security = SecurityDescriptor.from_sddl(template.security_descriptor, rooms().directory.domain.sid)
    enroll, auto, write = security.enroll_sids(), security.autoenroll_sids(), security.write_sids()
    names = rooms().directory.sid_names(enroll | auto | write)
    rows = [
        {
            "sid": sid,
            "name": names.get(sid, sid),
            "enroll": sid in enroll,
            "autoenroll": sid in auto,
            "write": sid in write,
        }
        for sid in enroll | auto | write
    ]
    return sorted(rows, key=lambda row: str(row["name"]).casefold())


def _template(cn: str) -> CertificateTemplate:
    found = rooms().directory_administration.templates().get(cn)
    if found is None:
        raise Http404
    return found


# -- acts ------------------------------------------------------------------------------------------------------------


@page({Role.CA_ADMINISTRATOR}, methods=("GET", "POST"))
def publish(request: PageRequest, ca: str, cn: str, on: bool) -> HttpResponse:
    """Issue: this CA issues from the template. Stop issuing: it does no longer."""
    standing, template = ca_of(request, ca), _template(cn)
    back = f"/ca/{standing.slug}/templates/{template.cn}/"
    if request.method == "POST":
        administration = rooms().directory_administration
        actor = administration.require_template_administrator(request.viewer.requester)
        (administration.publish if on else administration.unpublish)(standing.name, template.cn, actor=actor)
        return answers.done(request, back, _("The CA issues it now.") if on else _("The CA stopped issuing it."))
    name = {"name": template.display_name}
    context = {
        "title": (_("Issue %(name)s?") if on else _("Stop issuing %(name)s?")) % name,
        "text": _("Everybody with the Enroll right can then request certificates from it.")
        if on
        else _("Renewals through it will be refused. Issued certificates stay valid."),
        "submit": _("Issue template") if on else _("Stop issuing"),
        "harmless": on,
        "back": back,
    }
    return answers.dialog(request, "console/ca/act.html", context)


@page({Role.CA_ADMINISTRATOR}, methods=("POST",))
def permit(request: PageRequest, ca: str, cn: str) -> HttpResponse:
    """Grant or take the right to enroll or to autoenroll."""
    standing, template = ca_of(request, ca), _template(cn)
    administration = rooms().directory_administration
    actor = administration.require_template_administrator(request.viewer.requester)
    who = request.POST.get("principal", "").strip()[:256]
    principal = rooms().directory.principal(who)
    if principal is None and not who.upper().startswith("S-1-"):
        raise InvalidArgument(_("There is no account or group called %(name)s.") % {"name": who or "–"})
    sid = principal.sid if principal is not None else Sid(who.upper())
    right = request.POST.get("right", "")
    enroll, autoenroll = right == "enroll", right == "autoenroll"
    if request.POST.get("take") == "1":
        administration.revoke(template.cn, sid, enroll=enroll, autoenroll=autoenroll, actor=actor)
    else:
        administration.grant(template.cn, sid, enroll=enroll, autoenroll=autoenroll, actor=actor)
    return answers.done(request, f"/ca/{standing.slug}/templates/{template.cn}/security/", _("Permissions changed."))


@page(access.CA_SETTINGS)
def export(request: PageRequest, ca: str, cn: str) -> HttpResponse:
    """The template as `certwright template export` writes it."""
    ca_of(request, ca)
    template = _template(cn)
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

_AT = "ca/<str:ca>/templates/<str:cn>/"
urls = [
    path("ca/<str:ca>/templates/", templates),
    path(_AT, edit),
    path(f"{_AT}publish/", publish, {"on": True}),
    path(f"{_AT}unpublish/", publish, {"on": False}),
    path(f"{_AT}permissions/", permit),
    path(f"{_AT}export/", export),
    *(path(f"{_AT}{tab}/", edit, {"tab": tab}) for tab in TABS),
    *(path(f"{_AT}{tab}/override/", override, {"tab": tab}) for tab in TABS),
]
