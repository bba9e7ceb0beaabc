"""What is watched, and how it stands."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from certwright.connectors.locations import Location, LocationKind
from certwright.pki.certificate import CertificateView


class State(StrEnum):
    """How a location stands. The words are those of every health line."""

    OK = "ok"
    WARNING = "warning"  # good, but not for long, or not what it should be
    DOWN = "down"
    UNKNOWN = "unknown"  # it cannot be asked from here, or was not asked yet

    @property
    def is_bad(self) -> bool:
        return self in (State.WARNING, State.DOWN)


KIND_WORDS = {
    LocationKind.CRL: "CDP",
    LocationKind.DELTA_CRL: "delta CDP",
    LocationKind.ISSUER: "AIA",
    LocationKind.OCSP: "OCSP",
}
"""Kinds as administrators call them."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Locations, and the certificate that they are asked for.

    Args:
        ca: the name of the CA whose locations they are.
        certificate: what they are asked for; the CA's own where it has issued nothing yet.
        issuer: of the certificate. What is said of it is believed only when this signed it.
        is_example: the certificate names the locations. Without one, a responder cannot be asked.
    """

    ca: str
    certificate: CertificateView
    issuer: CertificateView | None
    locations: tuple[Location, ...]
    is_example: bool = True


@dataclass(frozen=True, slots=True)
class Judgement:
    """How a location stands: a state, why in a sentence, and until when what lies there is good."""

    state: State
    detail: str
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class WatchedLocation:
    """A row: a location and how it stood when it was asked last."""

    id: int
    ca: str
    kind: LocationKind
    url: str
    state: State
    detail: str
    until: datetime | None
    checked: datetime | None  # None: not yet
    since: datetime  # in this state
    failures: int  # checks in a row that found it bad
    next_check: datetime

    @property
    def key(self) -> tuple[str, LocationKind, str]:
        return (self.ca, self.kind, self.url)


@dataclass(frozen=True, slots=True)
class Change:
    """A line of a location's history."""

    occurred: datetime
    state: State
    detail: str
