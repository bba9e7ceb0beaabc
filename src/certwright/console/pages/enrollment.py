"""Enrollment Services of one CA: the doors through which requests come, and how they do."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from django.http import Http404, HttpResponse
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as lazy

from certwright.adcs.interfaces import CertAdmin, Comparison, Restriction, Sort, Table
from certwright.adcs.requester import AuthMethod
from certwright.cep import application as cep
from certwright.ces import application as ces
from certwright.console import access, answers
from certwright.console.access import PageRequest, page
from certwright.console.authority import administer, ca_of, may_configure
from certwright.console.rooms import CaStanding, rooms
from certwright.wire.xcep import ClientAuthentication

DAY: Final = timedelta(days=1)
COUNTED: Final = 10_000
"""Requests of a day that are counted; of more it says so."""
LOOKED_THROUGH: Final = 200
"""Newest requests among which the last one of a door is looked for."""
_BINDING: Final = {
    "require": lazy("required: NTLM must be bound to its TLS connection"),
    "allow": lazy("allowed: a wrong binding is refused, a missing one is not"),
    "off": lazy("off: bindings are ignored"),
}
SCHEMES: Final = (("negotiate", "Negotiate"), ("ntlm", "NTLM"), ("basic", "Basic"))
_LOGONS: Final = {
    ClientAuthentication.KERBEROS: lazy("Kerberos"),
    ClientAuthentication.USER_NAME: lazy("User name"),
    ClientAuthentication.CERTIFICATE: lazy("Certificate"),
}


@page(access.CA_SETTINGS)
def services(request: PageRequest, ca: str) -> HttpResponse:
    """Web Enrollment: address, authentication, and its last day."""
    standing = ca_of(request, ca)
    admin = administer(request, standing)
    context = frame(request, standing, "certsrv")
    if context["serves"]:
        settings = admin.configuration()
        schemes = [name for key, name in SCHEMES if settings[key] == "on"]
        issuers = rooms().listeners().get("issuers", True)
        context |= {
            "url": f"https://{request.get_host()}/certsrv/",
            "schemes": schemes,
            "binding": _BINDING[settings["channel-binding"]],
            "binding_key": settings["channel-binding"],
            "state": "ok" if issuers and schemes else "down",
            "why": "" if issuers else _("The issuer of this process does not run: see Health."),
            **last_day(admin, rooms().clock()),
        }
    return answers.answer(request, "console/ca/enrollment.html", context)


@page(access.CA_SETTINGS)
def web_services(request: PageRequest, ca: str, service: str) -> HttpResponse:
    """CEP or CES: addresses by kind of logon, and the settings that decide what is taken there."""
    standing = ca_of(request, ca)
    context = frame(request, standing, service)
    if not context["serves"]:
        raise Http404
    settings = administer(request, standing).configuration()
    context |= {
        "name": "CEP" if service == "cep" else "CES",
        "addresses": [(label, _url(request, standing, service, kind)) for kind, label in _LOGONS.items()],
        "by_key": [_base(request, kind) + cep.address(kind, key_based=True) for kind in key_based()],
        "list_all": settings["list-all-templates"] == "on",
        "renewal_only": settings["renewal-only"],
        "by_old_key": settings["renewal-on-behalf"] == "on",
        "ntlm": settings["enrollment-ntlm"] == "on",
        "binding": _BINDING[settings["channel-binding"]],
    }
    return answers.answer(request, "console/ca/web_service.html", context)


def frame(request: PageRequest, standing: CaStanding, tab: str) -> dict[str, Any]:
    root = f"/ca/{standing.slug}/enrollment/"
    serves = next(iter(rooms().registry.configs()), "") == standing.config
    tabs = (("certsrv", "certsrv", root), ("cep", "CEP", f"{root}cep/"), ("ces", "CES", f"{root}ces/"))
    ndes = ("ndes", "NDES", f"{root}ndes/")
    return {
        "title": _("Enrollment Services"),
        "crumbs": [(standing.name, "")],
        "ca": standing,
        "serves": serves,
        "may_configure": may_configure(request, standing),
        "tabs": (*(tabs if serves else tabs[:1]), ndes),
        "tab": tab,
    }


def _url(request: PageRequest, standing: CaStanding, service: str, kind: ClientAuthentication) -> str:
    """Empty where nobody listens."""
    base = _base(request, kind)
    return base and base + (cep.address(kind) if service == "cep" else ces.address(standing.name, kind))


def _base(request: PageRequest, kind: ClientAuthentication) -> str:
    if kind is ClientAuthentication.CERTIFICATE:
        return rooms().certificate_url
    return f"https://{request.get_host()}"


def key_based() -> tuple[ClientAuthentication, ...]:
    """Key-based renewal has no Kerberos variant."""
    kinds = (ClientAuthentication.USER_NAME, ClientAuthentication.CERTIFICATE)
    return kinds if rooms().certificate_url else kinds[:1]


def last_day(admin: CertAdmin, now: datetime) -> dict[str, Any]:
    """What came over the network, which is by this door alone: the command line and the console are on this host."""
    since = Restriction("submitted_when", Comparison.GREATER_OR_EQUAL, int((now - DAY).timestamp()))
    wanted = ("request_id", "method", "submitted_when")
    counts = []
    for table in (Table.REQUESTS, Table.FAILED_REQUESTS):
        rows = admin.view(table, (since,), wanted, Sort("request_id", True), COUNTED)
        counts.append(sum(row["method"] != AuthMethod.LOCAL.value for row in rows))
    newest = admin.view(Table.REQUESTS, (), wanted, Sort("request_id", True), LOOKED_THROUGH)
    last = next((row for row in newest if row["method"] != AuthMethod.LOCAL.value), None)
    return {"requests": counts[0], "refusals": counts[1], "counted": COUNTED, "last": last}


urls = [
    path("ca/<str:ca>/enrollment/", services),
    path("ca/<str:ca>/enrollment/cep/", web_services, {"service": "cep"}),
    path("ca/<str:ca>/enrollment/ces/", web_services, {"service": "ces"}),
]
