"""What an answer of a location means for whoever relies on it. RFC 5280 6.3, 4.2.2.1; RFC 6960 3.2.

A location stands well when a client that knows nothing else would be served: it answers, what it says can be read, is
signed by the right CA, belongs to this location, and is good for a while yet.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final
from urllib.parse import unquote

from certwright.connectors.fetching import LocationError
from certwright.connectors.locations import (
    CrlFound,
    Found,
    IssuerFound,
    Location,
    LocationKind,
    Locations,
    OcspFound,
    OcspStatus,
)
from certwright.location_watch.values import Judgement, State, Subject

SOON: Final = timedelta(hours=1)
"""Left of a CRL or an answer that nobody renewed: at least this much, and a tenth of its life, must be."""
CERTIFICATE_SOON: Final = timedelta(days=30)
CLOCK_TOLERANCE: Final = timedelta(minutes=10)


def judge(locations: Locations, location: Location, subject: Subject, now: datetime) -> Judgement:
    """Ask a location, and say how it stands. Blocks for some seconds at most."""
    if location.kind is LocationKind.OCSP and not subject.is_example:
        return Judgement(State.UNKNOWN, "This CA has issued nothing yet that a responder could be asked about.")
    try:
        found = locations.ask(location, subject.certificate, subject.issuer)
    except LocationError as error:
        return Judgement(State.UNKNOWN if error.is_not_asked else State.DOWN, _sentence(str(error)))
    return judged(found, location, subject, now)


def judged(found: Found, location: Location, subject: Subject, now: datetime) -> Judgement:
    match found:
        case CrlFound():
            return _crl(found, location, now)
        case IssuerFound():
            return _issuer(found, subject, now)
        case OcspFound():
            return _ocsp(found, subject, now)


def _crl(found: CrlFound, location: Location, now: datetime) -> Judgement:
    wanted_delta = location.kind is LocationKind.DELTA_CRL
    said = f"{'Delta CRL' if found.is_delta else 'CRL'} {found.number if found.number is not None else ''}".strip()
    until = found.next_update
    if found.signed is False:
        return Judgement(State.DOWN, f"{said} is not signed by the CA that issued the certificates.", until)
    if found.is_delta is not wanted_delta:
        return Judgement(
            State.DOWN, f"There is a {'base' if wanted_delta else 'delta'} CRL where the other one should be.", until
        )
    if found.distribution_points and not _names(found.distribution_points, location.url):
        return Judgement(
            State.DOWN, f"{said} is for {found.distribution_points[0]} alone: clients refuse it here.", until
        )
    if until is not None and until <= now:
        return Judgement(State.DOWN, f"{said} has ended: clients refuse every certificate it is for.", until)
    if found.this_update > now + CLOCK_TOLERANCE:
        return Judgement(State.DOWN, f"{said} begins in the future: a clock is wrong.", until)
    if found.signed is None:
        return Judgement(State.WARNING, f"{said} could not be verified: its issuer is not known here.", until)
    if found.next_publish is not None and found.next_publish + SOON <= now:
        return Judgement(State.WARNING, f"{said} should have been followed by a newer one.", until)
    if until is not None and until - now < _enough(found.this_update, until):
        return Judgement(State.WARNING, f"{said} ends soon.", until)
    return Judgement(State.OK, f"{said}, {found.size} octets.", until)


def _issuer(found: IssuerFound, subject: Subject, now: datetime) -> Judgement:
    is_that_of_ca = not subject.is_example and subject.issuer is not None and found.sha256 == subject.issuer.sha256
    if not (found.signed or is_that_of_ca):
        return Judgement(
            State.DOWN, f"The certificate there did not issue ours: {found.subject}.", until=found.not_after
        )
    if found.not_after <= now:
        return Judgement(State.DOWN, "The certificate there has expired.", found.not_after)
    if found.not_after - now < CERTIFICATE_SOON:
        return Judgement(State.WARNING, "The certificate there expires soon.", found.not_after)
    return Judgement(State.OK, f"{found.subject}.", found.not_after)


def _ocsp(found: OcspFound, subject: Subject, now: datetime) -> Judgement:
    until = found.next_update
    if not found.signed:
        return Judgement(State.DOWN, "The answer is signed by nobody whom the CA authorized.", until)
    if until is not None and until <= now:
        return Judgement(State.DOWN, "The answer is of the past.", until)
    if found.this_update > now + CLOCK_TOLERANCE:
        return Judgement(State.DOWN, "The answer begins in the future: a clock is wrong.", until)
    serial = subject.certificate.serial_number
    if found.status is OcspStatus.UNKNOWN:
        return Judgement(State.WARNING, f"It knows nothing of the certificate {serial}, which the CA issued.", until)
    return Judgement(State.OK, f"{found.status.value} for {serial}.", until)


def _names(points: tuple[str, ...], url: str) -> bool:
    """Does the list say that it lies here? Blanks are written in two ways. RFC 5280 5.2.5."""
    return any(unquote(each).casefold() == unquote(url).casefold() for each in points)


def _enough(begins: datetime, ends: datetime) -> timedelta:
    return max(SOON, min((ends - begins) / 20, timedelta(days=7)))


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."
