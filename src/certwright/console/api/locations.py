"""What certificates name: CRLs, the issuer, an OCSP responder; asked now, from this host."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from ninja import Router
from pydantic import Field

from certwright.connectors.locations import LocationKind, locations_of
from certwright.console.api.authentication import ApiRequest
from certwright.console.api.authorities import CaName, ca_of
from certwright.console.api.inventory import certificate_for
from certwright.console.api.operations import operation
from certwright.console.api.problems import not_there
from certwright.console.api.shapes import PathId, Told
from certwright.console.certificate_contents import Answer, asked_now, first_location, issuer_in
from certwright.console.pages.revocation import asked_for_ca, named_by_ca
from certwright.console.rooms import rooms
from certwright.pki.certificate import CertificateView

router = Router(tags=["Locations"])

Position = Annotated[int, Field(ge=0, le=99)]


class Place(Told):
    number: int  # its position among the certificate's locations
    kind: LocationKind
    url: str


class PlaceAnswer(Told):
    """What stands there: `ok`, `warning` or `down`, in words, and what more can be said."""

    kind: LocationKind
    url: str  # empty where the certificate names none
    state: str
    word: str
    details: list[str]


class CaPlace(Told):
    """A location that certificates issued from now on name, and what a client finds there."""

    kind: str
    url: str
    state: str  # ok, down, or unknown where it is not asked
    detail: str


@operation(router, "GET", "/inventory/{int:certificate_id}/locations", list[Place])
def list_locations(request: ApiRequest, certificate_id: PathId) -> Sequence[Place]:
    """List the locations that a certificate names. Nothing is asked."""
    view = CertificateView.parse(certificate_for(request.viewer, certificate_id).der)
    return [Place(number=number, kind=each.kind, url=each.url) for number, each in enumerate(locations_of(view))]


@operation(router, "POST", "/inventory/{int:certificate_id}/locations/{int:number}/ask", PlaceAnswer)
def ask_location(request: ApiRequest, certificate_id: PathId, number: Position) -> PlaceAnswer:
    """Ask one location of a certificate now. Only what the certificate itself names is asked."""
    found = certificate_for(request.viewer, certificate_id)
    view = CertificateView.parse(found.der)
    places = locations_of(view)
    if number >= len(places):
        raise not_there(f"location number {number} in this certificate")
    place = places[number]
    return _answer(place.kind, place.url, asked_now(place, view, issuer_in(view, found.chain)))


@operation(router, "POST", "/inventory/{int:certificate_id}/revocation/ask", list[PlaceAnswer])
def ask_revocation(request: ApiRequest, certificate_id: PathId) -> Sequence[PlaceAnswer]:
    """Ask the CRL and the OCSP responder of a certificate now; one of each, where it names them."""
    found = certificate_for(request.viewer, certificate_id)
    view = CertificateView.parse(found.der)
    answers = []
    for kind in (LocationKind.CRL, LocationKind.OCSP):
        place = first_location(view, kind)
        if place is None:
            answers.append(PlaceAnswer(kind=kind, url="", state="unknown", word="not named", details=[]))
        else:
            answers.append(_answer(kind, place.url, asked_now(place, view, issuer_in(view, found.chain))))
    return answers


def _answer(kind: LocationKind, url: str, answer: Answer) -> PlaceAnswer:
    return PlaceAnswer(
        kind=kind, url=url, state=answer.state, word=str(answer.word), details=list(map(str, answer.details))
    )


@operation(router, "POST", "/cas/{ca}/locations/ask", list[CaPlace])
def ask_ca_locations(request: ApiRequest, ca: CaName) -> Sequence[CaPlace]:
    """Ask now what stands where certificates of a CA, issued from now on, say that its CRL and certificate lie."""
    standing = ca_of(request.viewer, ca)
    door = rooms().registry.connect(standing.config, request.viewer.requester)
    issuer, named = named_by_ca(door)
    found = [asked_for_ca(location, standing.name, issuer) for location in named]
    return [
        CaPlace(kind=str(row["kind"]), url=row["url"], state=row["state"], detail=str(row["detail"])) for row in found
    ]
