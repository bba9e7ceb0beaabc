"""What a certificate says, for pages: extensions, fields, revocation, lint, ASN.1 and PEM, each a tab.

Pages of the inventory show one of its certificates with it, pages of a CA an issued row:

    contents = contents_of(der, chain, tab, base="/inventory/7/")      # chain: what is above, the nearest first
    {% include "console/certificate/contents.html" %}                   # draws `contents`

and have, below `base`, a page for each tab (`tab_urls`), and POST `location/<number>/` and `revocation/ask/`, which
answer `location_answer` and `revocation_answer`. Nothing leaves this host but on those two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.http import Http404, HttpResponse
from django.urls import URLPattern, path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as lazy
from django.utils.translation import ngettext

from certwright.connectors.fetching import LocationError
from certwright.connectors.locations import (
    CrlFound,
    Found,
    IssuerFound,
    Location,
    LocationKind,
    OcspFound,
    OcspStatus,
    is_fresh,
    locations_of,
)
from certwright.console import answers, clock
from certwright.console.access import PageRequest
from certwright.console.rooms import rooms
from certwright.pki import armor, extensions, linting, oids
from certwright.pki.certificate import CertificateView
from certwright.pki.crl import CrlReason
from certwright.pki.errors import EncodingError
from certwright.pki.explain import Explanation, explain_certificate, explain_extension
from certwright.pki.extensions import Extension
from certwright.pki.structure import structure

TABS: Final = (
    ("", lazy("Extensions")),
    ("fields", lazy("Fields")),
    ("revocation", lazy("Revocation")),
    ("lint", lazy("Lint")),
    ("asn1", lazy("ASN.1")),
    ("pem", lazy("PEM")),
)
MAX_LINES: Final = 200
"""Lines of one extension, and of the fields, that are shown."""
MAX_DEPTH: Final = 12
"""Steps by which the ASN.1 tree is indented at most."""

_KINDS: Final = {
    LocationKind.CRL: lazy("CRL"),
    LocationKind.DELTA_CRL: lazy("Delta CRL"),
    LocationKind.ISSUER: lazy("CA Issuers"),
    LocationKind.OCSP: lazy("OCSP"),
}
_PLACES: Final = {
    oids.CRL_DISTRIBUTION_POINTS: (LocationKind.CRL,),
    oids.FRESHEST_CRL: (LocationKind.DELTA_CRL,),
    oids.AUTHORITY_INFORMATION_ACCESS: (LocationKind.ISSUER, LocationKind.OCSP),
}
_SEVERITIES: Final = {
    linting.Severity.FATAL: "stop",
    linting.Severity.ERROR: "stop",
    linting.Severity.WARNING: "warn",
    linting.Severity.NOTICE: "info",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of asking a location: a state (`ok`, `warning`, `down`) and sentences."""

    state: str
    word: str
    details: tuple[str, ...] = ()


def tab_urls(at: str, view: Callable[..., Any]) -> list[URLPattern]:
    """A page for each tab below `at`; the view takes `tab`."""
    return [path(f"{at}{key}/" if key else at, view, {"tab": key}) for key, _label in TABS]


def contents_of(der: bytes, chain: Sequence[bytes], tab: str, base: str) -> dict[str, Any]:
    """What `console/certificate/contents.html` draws.

    Args:
        chain: the certificates above, the nearest first, as far as they are known here.
        base: where the certificate's pages are, with its slash.
    """
    view = CertificateView.parse(der)
    drawn: dict[str, Any] = {
        "base": base,
        "tab": tab,
        "tabs": [
            {
                "label": label,
                "href": f"{base}{key}/" if key else base,
                "current": key == tab,
                "count": len(view.extensions) if not key else None,
            }
            for key, label in TABS
        ],
    }
    match tab:
        case "fields":
            drawn["fields"] = _fields(der)
        case "revocation":
            drawn["crls"] = [each for each in _numbered(view) if each["kind"] is LocationKind.CRL]
            drawn["responders"] = [each for each in _numbered(view) if each["kind"] is LocationKind.OCSP]
            drawn["issuer_known"] = bool(chain) or view.is_self_issued
        case "lint":
            drawn |= _lint(der)
        case "asn1":
            drawn["nodes"] = [(node, min(node.depth, MAX_DEPTH)) for node in structure(der)]
        case "pem":
            drawn["pem"] = armor.armor(armor.CERTIFICATE, der)
        case _:
            drawn["extensions"] = [_extension(each, view) for each in view.extensions.values()]
    return drawn


# -- extensions ------------------------------------------------------------------------------------------------------


def _extension(each: Extension, view: CertificateView) -> dict[str, Any]:
    """One row: name, OID, critical, what it says, and the locations that can be asked."""
    row: dict[str, Any] = {
        "oid": each.oid,
        "name": oids.name_of(each.oid) if oids.is_known(each.oid) else _("Unknown extension"),
        "critical": each.critical,
        "lines": (),
        "locations": [],
    }
    if each.oid in _PLACES:
        row["locations"] = [place for place in _numbered(view) if place["kind"] in _PLACES[each.oid]]
    if row["locations"]:
        return row
    with suppress(EncodingError):  # said below, with the bytes
        row |= _special(each)
    if not row["lines"] and "sid" not in row and "hex" not in row:
        row["lines"] = _lines(explain_extension(each))
    return row


def _special(each: Extension) -> dict[str, Any]:
    """Extensions of which more can be said than stands in them."""
    match each.oid:
        case oids.CERTIFICATE_TEMPLATE:
            return _template(each.value)
        case oids.NTDS_CA_SECURITY:
            return _sid(extensions.decode_sid(each.value))
        case oids.EXTENDED_KEY_USAGE:
            return {"lines": tuple(_named(oid) for oid in extensions.decode_extended_key_usage(each.value))}
        case oids.APPLICATION_POLICIES:
            return {"lines": tuple(_named(oid) for oid in extensions.decode_application_policies(each.value))}
        case oids.CERTIFICATE_POLICIES:
            policies = extensions.decode_certificate_policies(each.value)
            return {"lines": tuple((*_named(policy.oid)[:2], ", ".join(policy.cps)) for policy in policies)}
        case oids.SUBJECT_KEY_IDENTIFIER:
            return {"hex": extensions.decode_subject_key_identifier(each.value).hex()}
        case oids.AUTHORITY_KEY_IDENTIFIER:
            key = extensions.decode_authority_key_identifier(each.value)
            return {"hex": key.hex()} if key is not None else {}
        case _:
            return {}


def _named(oid: str) -> tuple[str, str, str]:
    """A policy by name, then its OID: a line in two parts, and nothing below."""
    return (oids.name_of(oid), oid, "") if oids.is_known(oid) else (oid, "", "")


def _template(value: bytes) -> dict[str, Any]:
    """`WebServer, major 100, minor 7`, by the name that the directory has for its OID today."""
    information = extensions.decode_certificate_template(value)
    templates = rooms().directory_administration.templates().values()
    known = next((each for each in templates if each.oid == information.oid), None)
    words = [known.display_name or known.cn if known is not None else _("a template that is not in this directory")]
    if information.major_version is not None:
        words.append(_("major %(number)s") % {"number": information.major_version})
    if information.minor_version is not None:
        words.append(_("minor %(number)s") % {"number": information.minor_version})
    return {"lines": ((", ".join(words), "", information.oid),)}


def _sid(sid: str) -> dict[str, Any]:
    """The SID, and whose it is today: names change, SIDs do not."""
    principal = rooms().directory.principal(sid)
    if principal is None:
        return {"sid": sid, "account": _("nobody in the directory has it today")}
    words = _("%(account)s, in the directory today") if principal.enabled else _("%(account)s, disabled today")
    return {"sid": sid, "account": words % {"account": principal.account}}


def _lines(tree: Explanation) -> tuple[tuple[str, str, str], ...]:
    """What an extension says, a line for each leaf."""
    if not tree.children:
        return ((tree.value, "", ""),)
    found = []
    for child in tree.children[:MAX_LINES]:
        text = f"{child.label} {child.value}".strip() if child.value else child.label
        found.append((text, "", "; ".join(line.strip() for each in child.children for line in each.lines())))
    return tuple(found)


def _numbered(view: CertificateView) -> list[dict[str, Any]]:
    """The locations with their numbers: a page asks for one by its number, never by a URL of its own."""
    return [
        {
            "number": number,
            "kind": each.kind,
            "word": _KINDS[each.kind],
            "url": each.url,
            "askable": each.url.lower().startswith(("http://", "https://")),
        }
        for number, each in enumerate(locations_of(view))
    ]


def _fields(der: bytes) -> list[tuple[str, str, int]]:
    """Everything but the extensions: label, value, depth."""
    found: list[tuple[str, str, int]] = []

    def walk(node: Explanation, depth: int) -> None:
        found.append((node.label, node.value, depth))
        for child in node.children:
            walk(child, depth + 1)

    try:
        for node in explain_certificate(der).children:
            if node.label != "Extensions":
                walk(node, 0)
    except EncodingError as error:
        return [(_("Unreadable"), str(error), 0)]
    return found[:MAX_LINES]


def _lint(der: bytes) -> dict[str, Any]:
    try:
        found = linting.lint_certificate(der)
    except linting.LinterMissing:
        return {"install": linting.INSTALL}
    except EncodingError as error:
        return {"lint_problem": str(error)}
    return {
        "findings": [
            {
                "kind": _SEVERITIES[each.severity],
                "rule": each.message or each.code,
                "more": each.where,
                "code": f"{each.code} ({each.severity.word})",
            }
            for each in found
        ],
        "linted": True,
    }


# -- asking ----------------------------------------------------------------------------------------------------------


def location_answer(request: PageRequest, der: bytes, chain: Sequence[bytes], number: int, base: str) -> HttpResponse:
    """One location, asked now: the line below its URL, or the whole tab where no script runs.

    Raises:
        Http404: the certificate names none of that number.
    """
    view = CertificateView.parse(der)
    places = locations_of(view)
    if number >= len(places):
        raise Http404
    place = _numbered(view)[number]
    place["answer"] = asked_now(places[number], view, issuer_in(view, chain))
    return _answered(request, "console/certificate/location.html", {"place": place, "base": base})


def revocation_answer(request: PageRequest, der: bytes, chain: Sequence[bytes], base: str) -> HttpResponse:
    """CRL and OCSP asked now, both answers side by side."""
    view = CertificateView.parse(der)
    issuer = issuer_in(view, chain)
    asked = [
        {
            "word": _KINDS[kind],
            "url": place.url if place else "",
            "answer": asked_now(place, view, issuer) if place else None,
        }
        for kind in (LocationKind.CRL, LocationKind.OCSP)
        for place in [first_location(view, kind)]
    ]
    context = {"asked": asked, "base": base, "when": rooms().clock()}
    return _answered(request, "console/certificate/asked.html", context)


def _answered(request: PageRequest, part: str, context: dict[str, Any]) -> HttpResponse:
    """The part that htmx puts in its place; a page of its own where no script runs."""
    page = {**context, "title": _("Asked now"), "part": part}
    return answers.answer(request, "console/certificate/answered.html", page, rows=part)


def first_location(view: CertificateView, kind: LocationKind) -> Location | None:
    """The first location of a kind that can be asked from here, else the first."""
    places = [each for each in locations_of(view) if each.kind is kind]
    askable = [each for each in places if each.url.lower().startswith("http")]
    return next(iter((*askable, *places)), None)


def issuer_in(view: CertificateView, chain: Sequence[bytes]) -> CertificateView | None:
    if chain:
        return CertificateView.parse(chain[0])
    return view if view.is_self_issued else None


def asked_now(place: Location, view: CertificateView, issuer: CertificateView | None) -> Answer:
    try:
        found: Found = rooms().locations.ask(place, view, issuer)
    except LocationError as error:
        return Answer("down", _("no answer"), (str(error),))
    match found:
        case CrlFound():
            return _of_crl(found)
        case OcspFound():
            return _of_ocsp(found)
        case IssuerFound():
            return _of_issuer(found)


def _of_crl(found: CrlFound) -> Answer:
    now = rooms().clock()
    number = _("CRL %(number)s") % {"number": found.number} if found.number is not None else _("CRL without a number")
    if found.is_delta:
        number = _("Delta CRL %(number)s") % {"number": found.number}
    details = [number, _size(found.size), _until(found.next_update, now)]
    if found.signed is None:
        details.append(_("its signature is not checked: the issuer is not known here"))
    if found.signed is False:
        return Answer("down", _("not signed by the issuer"), tuple(details))
    if not is_fresh(found, now):
        return Answer("down", _("out of date"), tuple(details))
    if found.entry is None:
        return Answer("ok", _("not on the list"), tuple(details))
    reason = (found.entry.reason or CrlReason.UNSPECIFIED).label
    return Answer("warning", _("revoked"), (*_revoked(found.entry.when, reason), *details))


def _of_ocsp(found: OcspFound) -> Answer:
    now = rooms().clock()
    details = [_("as of %(when)s") % {"when": clock.whole(found.this_update)}]
    if found.next_update is not None:
        details.append(_until(found.next_update, now))
    if not found.signed:
        return Answer("down", _("not signed by the issuer or its responder"), tuple(details))
    if not is_fresh(found, now):
        return Answer("down", _("out of date"), tuple(details))
    match found.status:
        case OcspStatus.GOOD:
            return Answer("ok", _("good"), tuple(details))
        case OcspStatus.REVOKED:
            revoked = _revoked(found.revoked_when, found.reason) if found.revoked_when is not None else ()
            return Answer("warning", _("revoked"), (*revoked, *details))
        case OcspStatus.UNKNOWN:
            return Answer("down", _("unknown to the responder"), tuple(details))


def _of_issuer(found: IssuerFound) -> Answer:
    details = (found.subject, _("valid until %(day)s") % {"day": clock.day(found.not_after)})
    if not found.signed:
        return Answer("warning", _("not the issuer of this certificate"), details)
    return Answer("ok", _("the issuer"), details)


def _revoked(when: datetime, reason: str) -> tuple[str, ...]:
    return (_("since %(when)s") % {"when": clock.whole(when)}, *((reason,) if reason else ()))


def _until(until: datetime | None, now: datetime) -> str:
    if until is None:
        return _("without an end")
    if until <= now:
        return _("ended %(when)s") % {"when": clock.whole(until)}
    return _("%(span)s left") % {"span": clock.span(until - now)}


def _size(octets: int) -> str:
    if octets < 10_240:
        return ngettext("%(count)s byte", "%(count)s bytes", octets) % {"count": octets}
    return _("%(count)s KiB") % {"count": octets >> 10}
