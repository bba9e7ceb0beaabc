"""Revocation & Responder of one CA: its CRLs, how publishing them went, and what clients find at the locations."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from django.http import HttpResponse
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as lazy

from certwright.adcs.errors import AdcsError
from certwright.adcs.interfaces import CertRequest, CrlKind, Delivery, Row, Sort, Table
from certwright.adcs.properties import LATEST, CaProperty
from certwright.connectors.fetching import LocationError
from certwright.connectors.locations import CrlFound, IssuerFound, Location, LocationKind, is_fresh
from certwright.console import access, answers, clock
from certwright.console.access import PageRequest, Role, Viewer, page
from certwright.console.authority import administer, ca_of, may_configure
from certwright.console.menu import Badge
from certwright.console.rooms import CaStanding, rooms
from certwright.pki.certificate import CertificateView

SHOWN: Final = 50
"""Earlier CRLs that are shown."""
LOOKED_THROUGH: Final = 2_000
"""CRLs among which the newest of each key and partition are looked for."""
FAILING_SHOWN: Final = 5
"""Files of a target that are named when it does not take them."""
TABS: Final = (
    ("", lazy("CRLs")),
    ("responder", lazy("Revocation configuration")),
    ("elsewhere", lazy("CAs elsewhere")),
    ("locations", lazy("Locations")),
)


def base_of(ca: CaStanding) -> str:
    return f"/ca/{ca.slug}/revocation/"


def frame(request: PageRequest, ca: CaStanding, tab: str) -> dict[str, Any]:
    """What every tab of the page is given."""
    return {
        "title": _("Revocation & Responder"),
        "crumbs": [(ca.name, "")],
        "ca": ca,
        "tab": tab,
        "tabs": [(key, label, f"{base_of(ca)}{key}/" if key else base_of(ca)) for key, label in TABS],
        "may_configure": may_configure(request, ca),
    }


@page(access.CA_SETTINGS)
def revocation(request: PageRequest, ca: str) -> HttpResponse:
    """Of each key and partition the newest CRL, which counts; then the earlier ones, the newest first."""
    standing = ca_of(request, ca)
    admin = administer(request, standing)
    rows = list(admin.view(Table.CRLS, (), (), Sort("number", True), LOOKED_THROUGH))
    now = rooms().clock()
    newest: set[object] = set()
    current: list[dict[str, object]] = []
    earlier: list[dict[str, object]] = []
    for row in rows:
        key = (row["key_index"], row["partition"], bool(row["min_base"]))
        (earlier if key in newest else current).append({**row, "state": _state(row, now, key not in newest)})
        newest.add(key)
    context = frame(request, standing, "") | {
        "crls": sorted(current, key=lambda row: (-int(str(row["key_index"])), int(str(row["partition"])))),
        "earlier": earlier[:SHOWN],
        "keys": len({row["key_index"] for row in rows}),
        "has_partitions": any(row["partition"] for row in rows),
        "makes_deltas": admin.configuration()["delta-crl-period"] != "off",
        "targets": _targets(admin.deliveries()),
    }
    return answers.answer(request, "console/ca/revocation.html", context)


def _targets(deliveries: Sequence[Delivery]) -> list[dict[str, Any]]:
    """How everything that is published stands at each target: what lies there, since when, and what does not."""
    by_target: dict[str, list[Delivery]] = {}
    for each in deliveries:
        by_target.setdefault(each.target, []).append(each)
    return [
        {
            "name": target,
            "state": "down" if any(each.error for each in files) else "ok",
            "delivered": sum(each.delivered_when is not None for each in files),
            "files": len(files),
            "last": max((each.delivered_when for each in files if each.delivered_when is not None), default=None),
            "failing": [each for each in files if each.error][:FAILING_SHOWN],
            "more": max(0, sum(bool(each.error) for each in files) - FAILING_SHOWN),
        }
        for target, files in sorted(by_target.items())
    ]


def _state(row: Row, now: datetime, is_newest: bool) -> str:
    """How publishing it went, as a state."""
    if not is_newest:
        return "superseded"
    if row["publish_error"]:
        return "down"
    if _when(row, "next_update") <= now:
        return "expired"
    if row["published_when"] is None:
        return "unknown"
    return "warning" if _when(row, "next_publish") <= now else "ok"


def _when(row: Row, column: str) -> datetime:
    value = row[column]
    assert isinstance(value, datetime)
    return value


@page(access.CA_SETTINGS)
def locations(request: PageRequest, ca: str) -> HttpResponse:
    """Where certificates say that the CRL and the issuer lie; they are asked when the page is there."""
    standing = ca_of(request, ca)
    if not request.htmx:
        return answers.answer(request, "console/ca/revocation.html", frame(request, standing, "locations"))
    issuer, named = named_by_ca(rooms().registry.connect(standing.config, request.viewer.requester))
    found = [asked_for_ca(location, standing.name, issuer) for location in named]
    return answers.answer(request, "console/ca/revocation_locations.html", {"ca": standing, "found": found})


def named_by_ca(door: CertRequest) -> tuple[CertificateView, list[Location]]:
    """The CA's own certificate, and the URLs that certificates issued from now on carry."""
    der = door.ca_property(CaProperty.CA_SIGNATURE_CERTIFICATE, LATEST)
    assert isinstance(der, bytes)
    named: list[Location] = []
    for prop, kind in (
        (CaProperty.CDP_URLS, LocationKind.CRL),
        (CaProperty.AIA_URLS, LocationKind.ISSUER),
        (CaProperty.OCSP_URLS, LocationKind.OCSP),
    ):
        urls = door.ca_property(prop)
        assert isinstance(urls, tuple)
        named += [Location(kind, str(url)) for url in urls]
    return CertificateView.parse(der), named


def asked_for_ca(location: Location, name: str, ca: CertificateView) -> dict[str, Any]:
    """What a client finds there now."""
    kinds = {LocationKind.CRL: "CDP", LocationKind.ISSUER: "AIA", LocationKind.OCSP: "OCSP"}
    row: dict[str, Any] = {
        "kind": kinds[location.kind],
        "url": location.url,
        "state": "unknown",
        "detail": "",
        "until": None,
    }
    if location.kind is LocationKind.OCSP:
        return row | _asked_as_watched(location, name)
    try:
        if location.kind is LocationKind.ISSUER:
            return row | _found_certificate(location, ca)
        found = rooms().locations.ask(location, ca, ca)
    except LocationError as error:
        return row | {"state": "down", "detail": str(error)}
    assert isinstance(found, CrlFound)
    good = found.signed is True and is_fresh(found, rooms().clock())
    detail = _("Number %(number)s, %(size)s octets.") % {"number": found.number, "size": found.size}
    if found.signed is False:
        detail += " " + _("It is not signed by this CA.")
    elif not good:
        detail += " " + _("It is out of date.")
    return row | {"state": "ok" if good else "down", "detail": detail, "until": found.next_update}


def _asked_as_watched(location: Location, ca: str) -> dict[str, Any]:
    """A responder is asked about a certificate: the watch has one at hand, if the CA issued any."""
    watched = next((row for row in rooms().watch.all() if row.key == (ca, location.kind, location.url)), None)
    if watched is None:
        return {"detail": _("It is asked once this CA has issued a certificate.")}
    found = rooms().watch.check(watched.id)
    return {"state": found.state.value, "detail": found.detail, "until": found.until}


def _found_certificate(location: Location, ca: CertificateView) -> dict[str, Any]:
    """What stands where the issuer's certificate is to be: whoever needs it has to find exactly that one."""
    found = rooms().locations.ask(location, ca, ca)
    assert isinstance(found, IssuerFound)
    same = found.subject == ca.subject_name and found.not_after == ca.not_after
    detail = found.subject if same else _("There is another certificate: %(subject)s") % {"subject": found.subject}
    return {"state": "ok" if same else "down", "detail": detail, "until": found.not_after}


@page({Role.CA_ADMINISTRATOR}, methods=("GET", "POST"))
def publish(request: PageRequest, ca: str) -> HttpResponse:
    """Publish a new base CRL of every key, and its delta CRL where the CA makes them."""
    return _publish(request, ca, CrlKind.BASE)


@page({Role.CA_ADMINISTRATOR}, methods=("GET", "POST"))
def publish_delta(request: PageRequest, ca: str) -> HttpResponse:
    """Publish a new delta CRL of every key."""
    return _publish(request, ca, CrlKind.DELTA)


def _publish(request: PageRequest, ca: str, kind: CrlKind) -> HttpResponse:
    standing = ca_of(request, ca)
    admin = administer(request, standing)
    delta = kind is CrlKind.DELTA
    if request.method == "POST":
        admin.publish_crls(kind)
        said = _("A new delta CRL is published.") if delta else _("A new base CRL is published.")
        return answers.done(request, base_of(standing), said)
    newest = next(iter(admin.view(Table.CRLS, (), (), Sort("number", True), 1)), None)
    text = _("It is the first one of this CA.")
    if newest is not None:
        left = _when(newest, "next_update") - rooms().clock()
        number = newest["number"]
        assert isinstance(number, int)
        good = _("which is good for %(span)s") % {"span": clock.span(left)}
        text = _("Number %(new)s replaces %(old)s, %(good)s.") % {
            "new": number + 1,
            "old": number,
            "good": good if left.total_seconds() > 0 else _("which has expired"),
        }
    context = {
        "title": _("Publish a new delta CRL?") if delta else _("Publish a new base CRL?"),
        "text": text,
        "submit": _("Publish"),
        "harmless": True,
        "back": base_of(standing),
    }
    return answers.dialog(request, "console/ca/act.html", context)


def _overdue(viewer: Viewer, slug: str) -> Badge | None:
    """Orange at the menu's entry when a CRL should have been published by now."""
    ca = viewer.ca(slug)
    if ca is None:
        return None
    try:
        admin = rooms().registry.administer(ca.config, viewer.requester)
        newest = next(iter(admin.view(Table.CRLS, (), (), Sort("number", True), 1)), None)
    except AdcsError:  # who may not read it
        return None
    overdue = newest is None or bool(newest["publish_error"]) or _when(newest, "next_publish") <= rooms().clock()
    return Badge(int(overdue), "orange", lazy("CRL overdue"))


badges = {"/ca/<ca>/revocation/": _overdue}

urls = [
    path("ca/<str:ca>/revocation/", revocation),
    path("ca/<str:ca>/revocation/locations/", locations),
    path("ca/<str:ca>/revocation/publish/", publish),
    path("ca/<str:ca>/revocation/publish-delta/", publish_delta),
]
