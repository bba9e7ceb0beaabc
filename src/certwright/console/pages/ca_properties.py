"""CA Properties: the settings of one CA by tab, what each is, and changing it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from django import forms
from django.http import HttpResponse
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as lazy

from certwright.adcs.errors import AdcsError
from certwright.console import access, answers
from certwright.console.access import PageRequest, page
from certwright.console.authority import administer, ca_of, may_configure

TABS: Final[Mapping[str, tuple[Any, tuple[str, ...]]]] = {
    "general": (lazy("General"), ("dns-name", "directory-dn", "validity-period", "clock-skew")),
    "policy": (lazy("Policy Module"), ("request-disposition", "retrieval-by-anyone")),
    "extensions": (lazy("Extensions"), ("cdp-urls", "aia-urls", "ocsp-urls", "crl-period", "crl-overlap")),
    "enrollment": (lazy("Web Enrollment"), ("channel-binding", "ntlm", "negotiate", "basic")),
    "security": (lazy("Security"), ("security-descriptor", "role-separation")),
}


@page(access.CA_PROPERTIES, methods=("GET", "POST"))
def properties(request: PageRequest, ca: str, tab: str) -> HttpResponse:
    """One tab; the CA decides whether whoever saves it may, and whether the values make sense."""
    standing = ca_of(request, ca)
    admin = administer(request, standing)
    label, keys = TABS[tab]
    try:
        before = admin.configuration()
    except AdcsError:
        if may_configure(request, standing):
            raise
        before = {}
    form = _form(keys, before, request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        changes = {key: form.cleaned_data[key] for key in keys if form.cleaned_data[key] != before.get(key, "")}
        if changes:
            admin.set_configuration(changes)
        return answers.done(request, f"/ca/{standing.slug}/properties/{tab}/", _("Saved.") if changes else "")
    context = {
        "title": _("CA Properties"),
        "crumbs": [(standing.name, "")],
        "ca": standing,
        "tab": tab,
        "tab_label": label,
        "tabs": [(key, words) for key, (words, _keys) in TABS.items()],
        "form": form,
        "readable": bool(before),
        "may_configure": may_configure(request, standing),
    }
    return answers.answer(request, "console/ca/properties.html", context, status=422 if form.errors else 200)


def _form(keys: tuple[str, ...], before: Mapping[str, str], data: Any) -> forms.Form:
    form = forms.Form(data, initial=dict(before))
    for key in keys:
        form.fields[key] = forms.CharField(
            label=key, required=False, max_length=16_384, help_text=MEANINGS.get(key, "")
        )
    return form


MEANINGS: Final[Mapping[str, Any]] = {
    "dns-name": lazy("DNS name of the server this CA runs on: %1 in URLs, and the host in its configuration string."),
    "directory-dn": lazy("Distinguished name of the domain, for LDAP URLs: %5 and %6."),
    "validity-period": lazy("Longest validity of an issued certificate, whatever its template allows."),
    "clock-skew": lazy("How far certificates and CRLs are dated back; at most a day. Default: 10 minutes."),
    "request-disposition": lazy("What a standalone CA does with a request that breaks no rule: pend, issue or deny."),
    "retrieval-by-anyone": lazy("on lets everybody who may enroll fetch any request by its ID. Default: off."),
    "cdp-urls": lazy("Where certificates say the CRL lies; blanks separate URLs, none means none."),
    "aia-urls": lazy("Where certificates say the CA's own certificate lies."),
    "ocsp-urls": lazy("Online responders that certificates name. Default: none."),
    "crl-period": lazy("Time from one base CRL to the next. Default: 1 weeks."),
    "crl-overlap": lazy("How much longer than its period a CRL stays valid. Default: auto."),
    "channel-binding": lazy("Whether NTLM must be bound to its TLS connection: off, allow or require (default)."),
    "ntlm": lazy("on offers NTLM at web enrollment. Default: on."),
    "negotiate": lazy("on offers Negotiate at web enrollment. Default: on."),
    "basic": lazy("on offers Basic at web enrollment, inside TLS only. Default: on."),
    "security-descriptor": lazy(
        "Who holds which role, as SDDL: 0x1 administrator, 0x2 certificate manager, 0x4 auditor."
    ),
    "role-separation": lazy("on refuses whoever holds two roles. Default: off."),
}

urls = [path(f"ca/<str:ca>/properties/{tab}/", properties, {"tab": tab}) for tab in TABS]
