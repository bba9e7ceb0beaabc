"""What stands at the locations that a certificate names, asked now: CRLs, the issuer, an OCSP responder.

RFC 5280 4.2.1.13 and 4.2.2.1, RFC 6960. What comes is read, and its signature checked where the issuer is known; what
it means for the certificate is said by whoever shows it. Nothing is kept.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from certwright.connectors.fetching import LocationError, Question, Source
from certwright.pki import armor, cms, der, oids
from certwright.pki.certificate import CertificateView
from certwright.pki.crl import CrlEntry, CrlView
from certwright.pki.errors import EncodingError, SignatureError
from certwright.pki.extensions import decode_authority_information_access, decode_crl_distribution_points
from certwright.pki.general_names import Uri
from certwright.pki.public_keys import load_public_key
from certwright.pki.signatures import scheme_of

MAX_CRL: Final = 32 << 20
MAX_CERTIFICATE: Final = 256 << 10
MAX_OCSP: Final = 64 << 10
MAX_LOCATIONS: Final = 20
"""Locations of one certificate that are looked at."""
_AT_ONCE: Final = 2
"""Exchanges under way in one process: whoever has slow locations asked must not keep the pages of others waiting."""


class LocationKind(StrEnum):
    CRL = "crl"
    DELTA_CRL = "delta crl"
    ISSUER = "issuer"
    OCSP = "ocsp"


@dataclass(frozen=True, slots=True)
class Location:
    """A URL that a certificate names."""

    kind: LocationKind
    url: str


@dataclass(frozen=True, slots=True)
class CrlFound:
    """A CRL as it was fetched. `entry` is the certificate's own, None when it is not on the list."""

    url: str
    size: int
    number: int | None
    is_delta: bool
    this_update: datetime
    next_update: datetime | None
    entry: CrlEntry | None
    signed: bool | None  # by the issuer; None: the issuer is not known here
    next_publish: datetime | None = None  # when its CA makes the next one, if it says so
    distribution_points: tuple[str, ...] = ()  # the only locations it is for; none: for all


@dataclass(frozen=True, slots=True)
class IssuerFound:
    """A certificate as it was fetched. `signed` tells whether it is the issuer."""

    url: str
    subject: str
    not_after: datetime
    signed: bool
    sha256: str = ""


class OcspStatus(StrEnum):
    GOOD = "good"
    REVOKED = "revoked"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class OcspFound:
    """A responder's answer for one certificate."""

    url: str
    status: OcspStatus
    this_update: datetime
    next_update: datetime | None
    revoked_when: datetime | None
    reason: str  # as RFC 5280 spells it
    signed: bool  # by the issuer, or by a responder that it authorized


Found = CrlFound | IssuerFound | OcspFound


def locations_of(view: CertificateView) -> tuple[Location, ...]:
    """The URLs that a certificate names, in its order; what cannot be read is left out."""
    return tuple(_named(view))[:MAX_LOCATIONS]


def _named(view: CertificateView) -> Iterator[Location]:
    for oid, kind in ((oids.CRL_DISTRIBUTION_POINTS, LocationKind.CRL), (oids.FRESHEST_CRL, LocationKind.DELTA_CRL)):
        if (found := view.extensions.get(oid)) is not None:
            try:
                yield from (Location(kind, url) for url in decode_crl_distribution_points(found.value))
            except EncodingError:
                continue
    if (found := view.extensions.get(oids.AUTHORITY_INFORMATION_ACCESS)) is None:
        return
    kinds = {oids.ACCESS_CA_ISSUERS: LocationKind.ISSUER, oids.ACCESS_OCSP: LocationKind.OCSP}
    try:
        for method, name in decode_authority_information_access(found.value):
            if method in kinds and isinstance(name, Uri):
                yield Location(kinds[method], name.value)
    except EncodingError:
        return


class Locations:
    """Asks the locations that certificates name. Every call blocks for some seconds at most.

    Args:
        at_once: exchanges under way; whoever asks for more is refused.
    """

    def __init__(self, fetcher: Source, at_once: int = _AT_ONCE) -> None:
        self._fetcher = fetcher
        self._gate = threading.BoundedSemaphore(at_once)

    def ask(self, location: Location, view: CertificateView, issuer: CertificateView | None) -> Found:
        """What stands there now.

        Args:
            issuer: of the certificate, where it is known: without it no signature is checked and no OCSP asked.

        Raises:
            LocationError: nothing that can be used; the sentence says why.
        """
        with self._turn():
            match location.kind:
                case LocationKind.CRL | LocationKind.DELTA_CRL:
                    return self._crl(location.url, view, issuer)
                case LocationKind.ISSUER:
                    return self._issuer(location.url, view)
                case LocationKind.OCSP:
                    return self._ocsp(location.url, view, issuer)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._gate.acquire(blocking=False):
            raise LocationError("others are having locations asked just now; ask again in some seconds")
        try:
            yield
        finally:
            self._gate.release()

    def _crl(self, url: str, view: CertificateView, issuer: CertificateView | None) -> CrlFound:
        data = self._fetcher.fetch(Question(url, MAX_CRL))
        try:
            found = CrlView.parse(armor.dearmor(data, MAX_CRL))
            return CrlFound(
                url,
                len(data),
                found.number,
                found.is_delta,
                found.this_update,
                found.next_update,
                found.find(view.serial) if found.issuer == view.issuer else None,
                None if issuer is None else _holds(lambda: found.verify_signed_by(issuer)),
                found.next_publish,
                found.distribution_points,
            )
        except EncodingError as error:
            raise LocationError(f"what stands there is no CRL: {error}") from error

    def _issuer(self, url: str, view: CertificateView) -> IssuerFound:
        data = self._fetcher.fetch(Question(url, MAX_CERTIFICATE))
        try:
            candidates = [CertificateView.parse(each) for each in _certificates(armor.dearmor(data, MAX_CERTIFICATE))]
        except EncodingError as error:
            raise LocationError(f"what stands there is no certificate: {error}") from error
        if not candidates:
            raise LocationError("what stands there holds no certificate")
        for candidate in candidates:
            if candidate.subject == view.issuer and _holds(lambda: view.verify_signed_by(candidate)):  # noqa: B023 - called at once
                return IssuerFound(url, candidate.subject_name, candidate.not_after, True, candidate.sha256)
        first = candidates[0]
        return IssuerFound(url, first.subject_name, first.not_after, False, first.sha256)

    def _ocsp(self, url: str, view: CertificateView, issuer: CertificateView | None) -> OcspFound:
        if issuer is None:
            raise LocationError("a responder is asked with the issuer's key, and the issuer is not in the inventory")
        name = hashlib.sha1(view.issuer, usedforsecurity=False).digest()
        builder = ocsp.OCSPRequestBuilder().add_certificate_by_hash(
            name,
            issuer.public_key.key_identifier,
            view.serial,
            SHA1(),  # noqa: S303 - the hash every responder knows (RFC 6960 4.3); it proves nothing here
        )
        body = builder.build().public_bytes(Encoding.DER)
        data = self._fetcher.fetch(Question(url, MAX_OCSP, body, "application/ocsp-request"))
        return _read_ocsp(url, data, view, issuer)


def _read_ocsp(url: str, data: bytes, view: CertificateView, issuer: CertificateView) -> OcspFound:
    try:
        response = ocsp.load_der_ocsp_response(data)
        if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            word = response.response_status.name.lower().replace("_", " ")
            raise LocationError(f"the responder refuses: {word}")
        single = next((each for each in response.responses if _is_for(each, view, issuer)), None)
        if single is None:
            raise LocationError("the responder answers for another certificate")
        certificates = [each.public_bytes(Encoding.DER) for each in response.certificates]
        return OcspFound(
            url,
            OcspStatus[single.certificate_status.name],
            single.this_update_utc,
            single.next_update_utc,
            single.revocation_time_utc,
            single.revocation_reason.value if single.revocation_reason is not None else "",
            _is_authorized(data, certificates, issuer, single.this_update_utc),
        )
    except (ValueError, TypeError, NotImplementedError) as error:
        raise LocationError(f"what the responder says is no OCSP response: {error}") from error


def _is_for(single: ocsp.OCSPSingleResponse, view: CertificateView, issuer: CertificateView) -> bool:
    if single.serial_number != view.serial:
        return False
    if not isinstance(single.hash_algorithm, SHA1):
        return True  # it chose another hash than it was asked with; the serial number and the signature have to do
    return single.issuer_key_hash == issuer.public_key.key_identifier


def _is_authorized(data: bytes, certificates: Sequence[bytes], issuer: CertificateView, when: datetime) -> bool:
    """Signed by the issuer itself, or by whom it authorized with a certificate for it. RFC 6960 4.2.2.2."""
    tbs, algorithm, signature = _signed_part(data)
    for signer in (issuer, *_responders(certificates, issuer, when)):
        key = load_public_key(signer.public_key_info)
        if _holds(lambda: scheme_of(algorithm).verify(key, signature, tbs)):  # noqa: B023 - called at once
            return True
    return False


def _responders(certificates: Iterable[bytes], issuer: CertificateView, when: datetime) -> Iterator[CertificateView]:
    for each in certificates:
        view = CertificateView.parse(each)
        authorized = oids.EKU_OCSP_SIGNING in view.extended_key_usage and view.not_before <= when <= view.not_after
        if authorized and view.issuer == issuer.subject and _holds(lambda: view.verify_signed_by(issuer)):  # noqa: B023 - called at once
            yield view


def _signed_part(data: bytes) -> tuple[bytes, bytes, bytes]:
    """What a basic response signs, with which algorithm, and the signature. RFC 6960 4.2.1."""
    outer = der.Reader.of(data, what="OCSP response")
    outer.read(der.ENUMERATED)
    response = outer.enter(0xA0).enter()
    response.oid()
    basic = der.Reader.of(response.content(der.OCTET_STRING), what="basic OCSP response")
    tbs, algorithm = basic.whole(der.SEQUENCE), basic.whole(der.SEQUENCE)
    signature, _unused = der.decode_bit_string(basic.content(der.BIT_STRING))
    return tbs, algorithm, signature


def _certificates(data: bytes) -> tuple[bytes, ...]:
    """One certificate, or those of a CMS. RFC 5280 4.2.2.1 allows both."""
    try:
        return (CertificateView.parse(data).der,)
    except EncodingError:
        return cms.parse_certs_only(data)


def _holds(check: Callable[[], None]) -> bool:
    try:
        check()
    except (SignatureError, EncodingError):
        return False
    return True


def is_fresh(found: CrlFound | OcspFound, now: datetime) -> bool:
    """Its time has begun and is not over."""
    return found.this_update <= now and (found.next_update is None or now < found.next_update)
