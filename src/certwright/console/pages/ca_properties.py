"""CA Properties: the settings of one CA by tab, what each is, and changing it, also in spite of a refusal.

Tabs have the words of the MMC; one whose engine does not exist yet (Recovery Agents) is left out. Backup has a
page of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django import forms
from django.http import HttpResponse, QueryDict
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as lazy

from certwright.adcs.errors import AccessDenied, AdcsError, ConfigurationError, InvalidArgument
from certwright.adcs.interfaces import CertAdmin, CertRequest
from certwright.adcs.properties import CaProperty, CaType
from certwright.adcs.security import SecurityDescriptor
from certwright.console import access, answers, ca_permissions
from certwright.console.access import PageRequest, Role, page
from certwright.console.authority import administer, ca_of, may_configure
from certwright.console.rooms import CaStanding, rooms
from certwright.directory.security_audit.findings import Finding, RiskySettings
from certwright.pki.public_keys import parse_public_key

_SECURITY: Final = "security-descriptor"
_TABLES: Final[Mapping[str, str]] = {"managers": "officer-rights", "agents": "enrollment-agents"}
"""Tabs that are a table of restrictions, and its setting."""
NOT_ON_A_FORM: Final = frozenset({_SECURITY, "overrides", *_TABLES.values()})
"""Settings that have a table, or that are written by overriding."""


@dataclass(frozen=True, slots=True)
class Tab:
    label: Any
    keys: tuple[str, ...] = ()


TABS: Final[Mapping[str, Tab]] = {
    "general": Tab(
        lazy("General"), ("dns-name", "directory-dn", "directory-publication", "directory-site", "suspended")
    ),
    "policy": Tab(
        lazy("Policy Module"),
        ("request-disposition", "validity-period", "clock-skew", "approve-own-requests", "retrieval-by-anyone"),
    ),
    "exit": Tab(lazy("Exit Module")),
    "extensions": Tab(
        lazy("Extensions"),
        (
            *("cdp-urls", "aia-urls", "ocsp-urls", "crl-period", "crl-overlap", "delta-crl-period"),
            *("crl-partition-size", "crl-keeps-expired", "publication-folders"),
        ),
    ),
    "storage": Tab(lazy("Storage")),
    "managers": Tab(lazy("Certificate Managers")),
    "agents": Tab(lazy("Enrollment Agents")),
    "auditing": Tab(lazy("Auditing")),
    "security": Tab(lazy("Security"), ("role-separation",)),
    "enrollment": Tab(
        lazy("Web Enrollment"),
        (
            *("channel-binding", "ntlm-mic", "ntlm", "negotiate", "basic", "enrollment-ntlm"),
            *("renewal-only", "renewal-on-behalf", "list-all-templates", "enrollment-servers"),
        ),
    ),
}
_LABELS: Final[Mapping[str, Any]] = {
    "dns-name": lazy("DNS name"),
    "directory-dn": lazy("Distinguished name of the domain"),
    "directory-publication": lazy("Publication in Active Directory"),
    "directory-site": lazy("Site of Active Directory"),
    "enrollment-servers": lazy("Enrollment web services (CES)"),
    "request-disposition": lazy("Request disposition"),
    "validity-period": lazy("Longest validity"),
    "clock-skew": lazy("Clock skew"),
    "approve-own-requests": lazy("Managers may issue their own requests"),
    "retrieval-by-anyone": lazy("Retrieval by anyone"),
    "cdp-urls": lazy("CRL distribution points (CDP)"),
    "aia-urls": lazy("Authority information access (AIA)"),
    "ocsp-urls": lazy("Online responders (OCSP)"),
    "crl-period": lazy("CRL publication interval"),
    "crl-overlap": lazy("CRL overlap"),
    "delta-crl-period": lazy("Delta CRL publication interval"),
    "crl-partition-size": lazy("Certificates of a CRL partition"),
    "crl-keeps-expired": lazy("Expired certificates stay on CRLs"),
    "publication-folders": lazy("Further folders to publish to"),
    "suspended": lazy("Suspended"),
    "channel-binding": lazy("Channel binding"),
    "ntlm-mic": lazy("NTLM with a MIC only"),
    "ntlm": lazy("NTLM"),
    "negotiate": lazy("Negotiate"),
    "basic": lazy("Basic"),
    "enrollment-ntlm": lazy("NTLM at CEP and CES"),
    "renewal-only": lazy("CES takes renewals only at"),
    "renewal-on-behalf": lazy("Renewal by key alone"),
    "list-all-templates": lazy("CEP lists all templates"),
    "role-separation": lazy("Role separation"),
}
_SWITCH: Final = (("on", lazy("on")), ("off", lazy("off")))
_CHOICES: Final[Mapping[str, Sequence[tuple[str, Any]]]] = {
    "request-disposition": (("pend", lazy("pend")), ("issue", lazy("issue")), ("deny", lazy("deny"))),
    "channel-binding": (("require", lazy("require")), ("allow", lazy("allow")), ("off", lazy("off"))),
    **dict.fromkeys(
        (
            *("approve-own-requests", "retrieval-by-anyone", "ntlm", "negotiate", "basic", "role-separation"),
            *("ntlm-mic", "enrollment-ntlm", "renewal-on-behalf", "list-all-templates", "suspended"),
        ),
        _SWITCH,
    ),
}
_TYPES: Final = {
    CaType.ENTERPRISE_ROOT: lazy("Enterprise root CA"),
    CaType.ENTERPRISE_SUBORDINATE: lazy("Enterprise subordinate CA"),
    CaType.STANDALONE_ROOT: lazy("Standalone root CA"),
    CaType.STANDALONE_SUBORDINATE: lazy("Standalone subordinate CA"),
}


# -- views -----------------------------------------------------------------------------------------------------------


@page(access.CA_PROPERTIES, methods=("GET", "POST"))
def properties(request: PageRequest, ca: str, tab: str) -> HttpResponse:
    """One tab; the CA decides whether whoever saves it may, and whether the values make sense."""
    return _tab(request, ca, tab)


@page({Role.CA_ADMINISTRATOR}, methods=("POST",))
def override(request: PageRequest, ca: str, tab: str) -> HttpResponse:
    """Save although that opens an escalation: each is typed by its number, with the reason; both are audited.

    Whoever did not confirm lately who they are keeps the form, and is asked to do that first.
    """
    if access.confirmation_is_due(request):
        return _tab(request, ca, tab, save=False, unconfirmed=True)
    typed = request.POST.get("override-word", "").replace(",", " ").upper().split()
    return _tab(request, ca, tab, typed, " ".join(request.POST.get("override-reason", "").split())[:500])


def _tab(
    request: PageRequest,
    ca: str,
    tab: str,
    accept: Sequence[str] = (),
    reason: str = "",
    *,
    save: bool = True,
    unconfirmed: bool = False,
) -> HttpResponse:
    standing = ca_of(request, ca)
    admin = administer(request, standing)
    posted = request.POST if request.method == "POST" else None
    configures = may_configure(request, standing)
    if posted is not None and not configures:
        raise AccessDenied(_("Only CA administrators change the settings of a CA."))
    try:
        before = admin.configuration()
    except AdcsError:
        if configures:
            raise
        before = {}
    form = _form(admin, TABS[tab].keys, before, posted, read_only=not configures)
    security = _security(tab, before, posted, form)
    restrictions = _restrictions(tab, before, posted, form)
    refused: Sequence[Finding] = ()
    if posted is not None and form.is_valid() and save:
        changes = {
            key: form.cleaned_data[key] for key in form.fields if form.cleaned_data[key] != before.get(key, "")
        }
        if security is not None and security.changed:
            changes[_SECURITY] = security.sddl
        if restrictions is not None and restrictions.text != before[_TABLES[tab]]:
            changes[_TABLES[tab]] = restrictions.text
        try:
            if changes:
                admin.set_configuration(changes, override=accept, reason=reason)
        except RiskySettings as error:
            refused = error.findings
        except ConfigurationError as error:  # a value it cannot have, or nobody could take it back
            form.add_error(None, error.message)
        else:
            saved = _("Saved with override.") if accept else _("Saved.")
            return answers.done(request, f"/ca/{standing.slug}/properties/{tab}/", saved if changes else "")
    context = {
        "title": _("CA Properties"),
        "crumbs": [(standing.name, "")],
        "ca": standing,
        "tab": tab,
        "tab_label": TABS[tab].label,
        "tabs": [(key, each.label) for key, each in TABS.items()],
        "form": form,
        "readable": bool(before),
        "may_configure": configures,
        "may_back_up": request.viewer.on(standing, Role.BACKUP_OPERATOR),
        "may_save": configures and bool(form.fields or restrictions),
        "refused": refused,
        "unconfirmed": unconfirmed,
        "facts": _facts(request, standing, tab),
        "certificates": _certificates(request, standing) if tab == "general" else [],
        "security": security,
        "roles": list(ca_permissions.ROLES.values()),
        "restrictions": restrictions,
        "templates": sorted(rooms().directory_administration.templates(), key=str.casefold) if restrictions else [],
        "groups": _groups() if security or restrictions else [],
    }
    status = 409 if refused else 403 if unconfirmed else 422 if form.errors else 200
    return answers.answer(request, "console/ca/properties.html", context, status=status)


def _form(
    admin: CertAdmin, keys: Sequence[str], before: Mapping[str, str], data: QueryDict | None, *, read_only: bool
) -> forms.Form:
    """The settings of one tab. What they mean is the CA's own word, translated here."""
    form = forms.Form(data, initial=dict(before))
    described = {each.key: each for each in admin.describe_settings()}
    for key in keys:
        label = _LABELS.get(key, key)
        default = dict(_CHOICES.get(key, ())).get(described[key].default, described[key].default)
        told = _(described[key].meaning)
        usual = _("Default: %(value)s.") % {"value": default} if default else ""
        hint = " ".join(filter(None, (told, usual, f"[{key}]")))
        if key in _CHOICES:
            form.fields[key] = forms.ChoiceField(label=label, choices=_CHOICES[key], help_text=hint)
        else:
            form.fields[key] = forms.CharField(label=label, required=False, max_length=16_384, help_text=hint)
        form.fields[key].disabled = read_only
    return form


# -- facts -----------------------------------------------------------------------------------------------------------


def _connected(request: PageRequest, ca: CaStanding) -> CertRequest:
    return rooms().registry.connect(ca.config, request.viewer.requester)


def _facts(request: PageRequest, ca: CaStanding, tab: str) -> list[tuple[Any, Any]]:
    """What a tab tells that nobody sets; nothing when the CA does not say it to whoever looks."""
    door = _connected(request, ca)
    try:
        match tab:
            case "general":
                kind = CaType(int(str(door.ca_property(CaProperty.CA_TYPE))))
                parent = door.ca_property(CaProperty.PARENT_CA)
                return [
                    (_("Name"), ca.name),
                    (_("Configuration string"), ca.config),
                    (_("Type"), _TYPES[kind]),
                    (_("Parent CA"), parent or _("none, it signs itself")),
                    (_("Version"), door.ca_property(CaProperty.PRODUCT_VERSION)),
                ]
            case "policy":
                return [(_("Active policy module"), door.ca_property(CaProperty.POLICY_DESCRIPTION))]
            case "exit":
                count = int(str(door.ca_property(CaProperty.EXIT_COUNT)))
                return [(_("Active exit modules"), count)]
    except InvalidArgument:
        return []
    except AdcsError:
        return [] if not may_configure(request, ca) else [(_("Name"), ca.name)]
    if tab == "storage":
        kinds = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}
        return [(_("Configuration and requests"), kinds.get(rooms().database.dialect, rooms().database.dialect))]
    return []


def _certificates(request: PageRequest, ca: CaStanding) -> list[dict[str, Any]]:
    """The CA's certificates, the newest first."""
    door = _connected(request, ca)
    found = []
    try:
        count = int(str(door.ca_property(CaProperty.CA_SIGNATURE_CERTIFICATE_COUNT)))
        for index in reversed(range(count)):
            der = door.ca_property(CaProperty.CA_SIGNATURE_CERTIFICATE, index)
            certificate = x509.load_der_x509_certificate(bytes(der))  # type: ignore[arg-type]
            spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            key = parse_public_key(spki)
            found.append(
                {
                    "index": index,
                    "serial": f"{certificate.serial_number:x}",
                    "not_before": certificate.not_valid_before_utc,
                    "not_after": certificate.not_valid_after_utc,
                    "key": str(key),
                }
            )
    except (AdcsError, ValueError, TypeError, UnsupportedAlgorithm):
        return found
    return found


# -- tables ----------------------------------------------------------------------------------------------------------


def _security(
    tab: str, before: Mapping[str, str], data: QueryDict | None, form: forms.Form
) -> ca_permissions.Security | None:
    if tab != "security" or _SECURITY not in before:
        return None
    stored = SecurityDescriptor.from_sddl(before[_SECURITY], rooms().directory.domain.sid)
    wanted = stored
    if data is not None:
        try:
            wanted = ca_permissions.posted_roles(stored, data, rooms().directory)
        except InvalidArgument as error:
            form.add_error(None, error.message)
    members = rooms().directory_administration.effective_members
    return ca_permissions.drawn_roles(stored, wanted, rooms().directory, members)


def _restrictions(
    tab: str, before: Mapping[str, str], data: QueryDict | None, form: forms.Form
) -> ca_permissions.RestrictionTable | None:
    key = _TABLES.get(tab, "")
    if key not in before:
        return None
    if data is None:
        return ca_permissions.drawn_restrictions(before[key], rooms().directory)
    made = ca_permissions.posted_restrictions(before[key], data, rooms().directory)
    if made.error:
        form.add_error(None, made.error)
    return made


def _groups() -> list[str]:
    return sorted(group.principal.account for group in rooms().directory_administration.list_groups())[:500]


urls = [
    *(path(f"ca/<str:ca>/properties/{tab}/", properties, {"tab": tab}) for tab in TABS),
    *(path(f"ca/<str:ca>/properties/{tab}/override/", override, {"tab": tab}) for tab in TABS),
]
