"""The door to a CA that is reached over its enrollment web services: `adcs.interfaces.CertRequest`.

CEP says which CAs there are, what they publish and where each is reached ([MS-XCEP] 3.1.4.1); CES takes requests and
says how they stand ([MS-WSTEP] 3.1.4.1). A request is sent once: whatever happens after it left is either a decision
or `AnswerLost`. Words and codes of a refusal are the CA's own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from threading import Lock
from typing import Final

from certwright.adcs.errors import (
    AccessDenied,
    AdcsError,
    BadRequest,
    CaUnreachable,
    ConfigurationError,
    HResult,
    InvalidArgument,
    NoSuchRequest,
    NotSupported,
)
from certwright.adcs.properties import LATEST, CaProperty, PropertyValue
from certwright.adcs.request import (
    MAX_ATTRIBUTES_LENGTH,
    NO_ATTRIBUTES,
    Disposition,
    RequestAttributes,
    RequestFlags,
    Response,
)
from certwright.connectors import lost
from certwright.connectors.chains import completed
from certwright.connectors.errors import AnswerLost, NotEnrollmentServices, WrongCertificate
from certwright.connectors.http import SUBMIT_TIMEOUT
from certwright.connectors.reading import OfferedTemplate, ServiceInformation
from certwright.connectors.soap import Endpoint, Logon, Refused, SoapSession
from certwright.connectors.trust import Trust
from certwright.pki.certificate import CertificateView
from certwright.pki.cms import certs_only
from certwright.pki.errors import EncodingError
from certwright.pki.inner_requests import inner_request
from certwright.pki.names import sanitized_name, sanitized_short_name
from certwright.wire import xcep
from certwright.wire.wstep import EnrollmentDetail, RequestSecurityToken, RequestType, TokenResponse
from certwright.wire.xcep import Ca, ClientAuthentication, GetPolicies, Policy, PolicyResponse
from certwright.wire.xml import Element

KNOWN_FOR: Final = 600.0
"""Seconds for which what CEP said of a CA's address is used again."""

_TAKEN: Final = "Taken Under Submission"
_SUPPLIES_SUBJECT: Final = 0x1
_FORMATS: Final = frozenset({RequestFlags.DETECT, RequestFlags.PKCS10, RequestFlags.CMS, RequestFlags.CMC})
_FACILITIES: Final = (0x8009, 0x800B)
_OUTAGES: Final = frozenset(
    {
        HResult.CERTSRV_E_SERVER_SUSPENDED,
        HResult.CERTSRV_E_NO_DB_SESSIONS,
        HResult.RPC_S_SERVER_UNAVAILABLE,
        HResult.ERROR_BUSY,
    }
)
_ERRORS: Final[dict[int, type[AdcsError]]] = {
    HResult.E_ACCESSDENIED: AccessDenied,
    HResult.CERTSRV_E_ENROLL_DENIED: AccessDenied,
    HResult.CERTSRV_E_PROPERTY_EMPTY: NoSuchRequest,
    HResult.CERTSRV_E_NO_REQUEST: NoSuchRequest,
    HResult.E_INVALIDARG: InvalidArgument,
    HResult.ERROR_NOT_SUPPORTED: NotSupported,
    HResult.ERROR_INVALID_DATA: BadRequest,
}
"""What a fault without a request ID is here: there is no row."""


class NoWay(NotEnrollmentServices):
    """CEP answers, and names no CA that this logon reaches."""


@dataclass(frozen=True, slots=True)
class Place:
    """A CA as CEP names it, and its CES for one kind of logon."""

    certificate: bytes
    endpoint: Endpoint

    @property
    def ca_name(self) -> str:
        return CertificateView.parse(self.certificate).common_name


# -- CEP -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PolicyServer:
    """CEP at one address, as one account."""

    endpoint: Endpoint
    logon: Logon
    trust: Trust
    timeout: float = SUBMIT_TIMEOUT

    def session(self) -> SoapSession:
        return SoapSession(self.endpoint, self.logon, self.trust, timeout=self.timeout)

    def policies(self, session: SoapSession | None = None, request: GetPolicies | None = None) -> PolicyResponse:
        """What the account may have, and where.

        Raises:
            CaUnreachable, AccessDenied, Refused: CEP could not be asked, or says no.
        """
        if session is None:
            with self.session() as opened:
                return self.policies(opened, request)
        body = session.ask(self.endpoint, xcep.GET_POLICIES, (request or GetPolicies()).encode())
        try:
            found = PolicyResponse.parse(body)
            for ca in found.cas:
                CertificateView.parse(ca.certificate)
        except (BadRequest, EncodingError) as error:
            raise NotEnrollmentServices(
                f"{self.endpoint} answered with something that is not CEP's: {error}", "check the address"
            ) from error
        return found


def place_of(
    policies: PolicyResponse,
    kind: ClientAuthentication,
    *,
    ca_name: str = "",
    template: str = "",
    renewal: bool = False,
) -> Place:
    """Where to go: a CA that publishes the template and lets the account in, at its preferred address.

    Args:
        ca_name: this CA and no other; empty for any.
        template: cn; empty for any.
        renewal: addresses that take renewals only will do.

    Raises:
        NoWay: there is none; the sentence says what is missing.
        InvalidArgument: no CA there publishes the template for this account.
    """
    wanted = [
        (number, ca)
        for number, ca in enumerate(policies.cas)
        if not ca_name or _name_of(ca).casefold() == ca_name.casefold()
    ]
    if not wanted:
        known = ", ".join(_name_of(ca) for ca in policies.cas) or "none"
        raise NoWay(f"the policy server names no CA {ca_name!r}; it names: {known}")
    if template:
        policy = policy_of(policies, template)
        wanted = [(number, ca) for number, ca in wanted if number in policy.cas]
        if not wanted:
            raise InvalidArgument(
                f"no CA that the policy server names issues {policy.common_name}; publish it there",
                HResult.CERTSRV_E_UNSUPPORTED_CERT_TYPE,
            )
    ways = [
        (not ca.enroll_permission, uri.priority, number, uri.uri, ca)
        for number, ca in wanted
        for uri in ca.uris
        if uri.authentication is kind and (renewal or not uri.renewal_only)
    ]
    if not ways:
        what = "user name" if kind is ClientAuthentication.USER_NAME else kind.name.lower()
        raise NoWay(
            f"the policy server names no address of a CA for logging on by {what}",
            "choose another logon, or give the CA an enrollment web service for it",
        )
    _, _, _, uri, ca = min(ways, key=lambda way: way[:3])
    try:
        return Place(ca.certificate, Endpoint(uri))
    except ConfigurationError as error:
        raise NoWay(f"the policy server names an address that is none: {error.message}") from error


def policy_of(policies: PolicyResponse, template: str) -> Policy:
    """The template of a cn, or of a display name.

    Raises:
        InvalidArgument: it is not offered to this account.
    """
    wanted = template.casefold()
    names: tuple[Callable[[Policy], str], ...] = (lambda each: each.common_name, lambda each: each.oid.name)
    for name in names:
        for each in policies.policies:
            if name(each).casefold() == wanted:
                return each
    offered = ", ".join(each.common_name for each in policies.policies[:20]) or "none"
    raise InvalidArgument(
        f"the template {template} is not offered to this account; offered are: {offered}",
        HResult.CERTSRV_E_UNSUPPORTED_CERT_TYPE,
    )


def _name_of(ca: Ca) -> str:
    return CertificateView.parse(ca.certificate).common_name


def offered_templates(policies: PolicyResponse) -> tuple[OfferedTemplate, ...]:
    return tuple(
        OfferedTemplate(
            name=each.common_name,
            display_name=each.oid.name or each.common_name,
            supplies_subject=bool((each.subject_name_flags or 0) & _SUPPLIES_SUBJECT),
            oid=each.oid.value,
            minimal_key_size=each.minimal_key_length,
            ra_signatures=each.ra_signatures,
        )
        for each in policies.policies
        if each.enroll
    )


class Places:
    """Where CAs were found, for some minutes. May be shared by threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[object, tuple[float, Place | None]] = {}
        self._lock = Lock()

    def get(self, key: object) -> tuple[bool, Place | None]:
        """Whether it is known; None where it is known that there is none."""
        with self._lock:
            until, place = self._known.get(key, (0.0, None))
        return until > self._clock(), place

    def put(self, key: object, place: Place | None) -> None:
        with self._lock:
            if len(self._known) >= 1000:
                self._known.clear()
            self._known[key] = (self._clock() + KNOWN_FOR, place)

    def forget(self, key: object) -> None:
        with self._lock:
            self._known.pop(key, None)


# -- CES -------------------------------------------------------------------------------------------------------------


class CesConnection:
    """One CA as one account: `CertRequest` over CES. Used by one thread at a time.

    Args:
        server: CEP, which says where CES is; its logon and its trust are those of CES too.
        ca_name: which of its CAs; empty for the preferred one.
        place: where it is known to be.
        places: what is known of CAs, to be shared.
    """

    def __init__(
        self, server: PolicyServer, *, ca_name: str = "", place: Place | None = None, places: Places | None = None
    ) -> None:
        self._server = server
        self._ca_name = ca_name
        self._place = place
        self._places = places or Places()
        self._policies: PolicyResponse | None = None

    @property
    def config(self) -> str:
        r"""`host\name`; the name is empty where nobody said it yet."""
        name = self._place.ca_name if self._place is not None else self._ca_name
        return f"{self._server.endpoint.address().hostname}\\{name}"

    @property
    def _key(self) -> object:
        return self._server.endpoint, self._server.logon, self._ca_name.casefold()

    def locate(self) -> Place:
        """Where CES is, asking CEP where that is not known.

        Raises:
            NotEnrollmentServices, PagesForbidden: there is no CEP, or it has nothing for this logon.
            CaUnreachable, AccessDenied: it could not be asked.
        """
        if self._place is None:
            known, place = self._places.get(self._key)
            if known and place is None:
                raise NoWay(f"{self._server.endpoint} named no CA a few minutes ago")
            self._place = place or place_of(self.policies(), self._server.logon.kind, ca_name=self._ca_name)
            self._places.put(self._key, self._place)
        return self._place

    def note_absent(self) -> None:
        """There are no web services for this account; not asked again for some minutes."""
        self._places.put(self._key, None)

    def policies(self) -> PolicyResponse:
        if self._policies is None:
            self._policies = self._server.policies()
        return self._policies

    def submit(
        self,
        request: bytes,
        attributes: RequestAttributes = NO_ATTRIBUTES,
        flags: RequestFlags = RequestFlags.DETECT,
    ) -> Response:
        """Hand in a PKCS#10, CMS or CMC, once.

        Raises:
            AnswerLost: it was sent, and what became of it is not known.
            CaUnreachable, AccessDenied: it was not handed in.
            WrongCertificate: the CA issued for another key.
            BadRequest: it is no request. InvalidArgument: the attributes are too long.
            NotSupported: flags that CES has no word for.
        """
        if flags.request_type not in _FORMATS or flags & ~(0xFF00 | RequestFlags.FULL_RESPONSE):
            raise NotSupported("over CES requests are PKCS#10, CMS or CMC, without further options")
        try:
            public_key = inner_request(request).public_key_info
        except EncodingError as error:
            raise BadRequest(f"this is no certificate request: {error}") from error
        if len(str(attributes)) > MAX_ATTRIBUTES_LENGTH:
            raise InvalidArgument(f"the attributes have more than {MAX_ATTRIBUTES_LENGTH} characters")
        asked = RequestSecurityToken(RequestType.ISSUE, request, context=attributes.items)
        place = self.locate()
        try:
            with self._session(place) as session:
                body = session.hand_in(place.endpoint, asked.action, asked.encode())
        except Refused as refused:
            return self._refused(refused, handed_in=True)
        except NotEnrollmentServices:
            self._places.forget(self._key)
            raise
        try:
            answer = _answer(body)
        except BadRequest as error:
            raise AnswerLost(f"the request was sent and its answer is not understood: {error.message}") from error
        return self._taken(answer, flags, public_key)

    def retrieve(
        self,
        request_id: int | None = None,
        *,
        serial_number: str | None = None,
        flags: RequestFlags = RequestFlags.DETECT,
    ) -> Response:
        """Ask how an earlier request of this account stands.

        Raises:
            NoSuchRequest: no such ID, or somebody else's request.
            CaUnreachable, AccessDenied: the CA could not be asked.
            NotSupported: by serial number; CES knows request IDs only.
        """
        if request_id is None or serial_number is not None:
            raise NotSupported("over CES a request is found by its request ID only")
        if not 0 < request_id <= lost.MAX_REQUEST_ID:
            raise NoSuchRequest(f"{request_id} is no request ID")
        place = self.locate()
        with self._session(place) as session:
            return self._ask(session, place, request_id, flags)

    def ca_property(self, prop: CaProperty, index: int = 0) -> PropertyValue:
        """Read what CEP says of the CA.

        Raises:
            InvalidArgument: another CA certificate than the current one.
            NotSupported: CEP does not say that.
            CaUnreachable, AccessDenied: it could not be asked.
        """
        name = self._certificate().common_name
        match prop:
            case CaProperty.CA_NAME:
                return name
            case CaProperty.SANITIZED_CA_NAME:
                return sanitized_name(name)
            case CaProperty.SANITIZED_CA_SHORT_NAME:
                return sanitized_short_name(name)
            case CaProperty.DNS_NAME:
                return self._server.endpoint.address().hostname
            case CaProperty.CA_SIGNATURE_CERTIFICATE | CaProperty.CA_SIGNATURE_CERTIFICATE_CHAIN:
                if index not in (0, LATEST):
                    raise InvalidArgument("the policy server names the CA's current certificate only")
                chain = self.chain()
                return chain[0] if prop is CaProperty.CA_SIGNATURE_CERTIFICATE else certs_only(chain)
            case CaProperty.TEMPLATES:
                offered = offered_templates(self.policies())
                return tuple(text for each in offered for text in (each.name, each.oid))
            case _:
                raise NotSupported(f"the policy server does not say the property {prop.name}")

    def information(self) -> ServiceInformation:
        """Name, chain and templates.

        Raises:
            CaUnreachable, AccessDenied: CEP could not be asked.
        """
        certificate = self._certificate()
        templates = offered_templates(self.policies())
        return ServiceInformation(certificate.common_name, self.chain(), certificate.not_after, templates)

    def chain(self) -> tuple[bytes, ...]:
        """The CA's certificate and those above it, as far as they are found."""
        return completed(self._certificate(), self._server.trust, self._server.endpoint.address().hostname)

    # -- a lost answer

    def search(
        self, public_key: bytes, since: datetime, last_known_id: int, known: Collection[int] = ()
    ) -> lost.Search:
        """Look for a request among those above the last known one; see `lost.search`."""
        place = self.locate()
        with self._session(place) as session:

            def ask(request_id: int) -> Response | None:
                try:
                    return self._ask(session, place, request_id, RequestFlags.DETECT)
                except NoSuchRequest:
                    return None

            return lost.search(ask, public_key, since, last_known_id, known)

    # -- inside

    def _certificate(self) -> CertificateView:
        """The CA's own, from the last answer of CEP: that of a known place may have been renewed since."""
        policies = self.policies()
        self._place = place_of(policies, self._server.logon.kind, ca_name=self._ca_name)
        self._places.put(self._key, self._place)
        return CertificateView.parse(self._place.certificate)

    def _session(self, place: Place) -> SoapSession:
        server = self._server
        return SoapSession(place.endpoint, server.logon, server.trust, timeout=server.timeout)

    def _ask(self, session: SoapSession, place: Place, request_id: int, flags: RequestFlags) -> Response:
        asked = RequestSecurityToken(RequestType.QUERY, request_id=request_id)
        try:
            body = session.ask(place.endpoint, asked.action, asked.encode())
        except Refused as refused:
            return self._refused(refused, handed_in=False)
        except NotEnrollmentServices:
            self._places.forget(self._key)
            raise
        try:
            answer = _answer(body)
        except BadRequest as error:
            raise NotEnrollmentServices(f"{place.endpoint} answered with something else: {error.message}") from error
        return self._taken(answer, flags, None, request_id)

    def _taken(
        self, answer: TokenResponse, flags: RequestFlags, public_key: bytes | None, request_id: int = 0
    ) -> Response:
        number = answer.request_id or request_id
        full = answer.full_response if flags & RequestFlags.FULL_RESPONSE else None
        if not answer.certificate:
            message = answer.message or _TAKEN
            return Response(number, Disposition.UNDER_SUBMISSION, HResult.S_OK, message, None, full)
        if public_key is not None and CertificateView.parse(answer.certificate).public_key_info != public_key:
            raise WrongCertificate(
                f"the CA answered with request {number}, whose certificate is for another key; nothing of it is "
                "used. Look at that request in the CA's console",
                number,
            )
        message = answer.message or "Issued"
        return Response(number, Disposition.ISSUED, HResult.S_OK, message, answer.certificate, full)

    def _refused(self, refused: Refused, *, handed_in: bool) -> Response:
        """A fault: the CA's decision where it names one, else an error of ours.

        Raises:
            AdcsError: there is no row.
        """
        detail = refused.detail
        if detail is None:
            if refused.code != "Receiver":
                raise BadRequest(f"{self._server.endpoint.address()} does not take the message: {refused.message}")
            if handed_in:
                raise AnswerLost(f"the request was sent; the service answered with an error: {refused.message}")
            raise CaUnreachable(f"the service answered with an error: {refused.message}")
        status, message = _words(detail, refused.message)
        if detail.request_id is not None:
            disposition = Disposition.DENIED if detail.invalid_request else Disposition.ERROR
            if status is HResult.CRYPT_E_REVOKED and not handed_in:
                disposition = Disposition.REVOKED
            return Response(detail.request_id, disposition, status, message)
        if int(detail.status) in _OUTAGES:
            raise CaUnreachable(f"the CA cannot be used now: {message}")
        error = _ERRORS.get(int(detail.status))
        if error is not None:
            raise error(message, status)
        if int(detail.status) >> 16 in _FACILITIES:
            return Response(0, Disposition.DENIED, status, message)
        if handed_in:
            raise AnswerLost(f"the request was sent; the service answered with an error: {message}")
        raise CaUnreachable(f"the service answered with an error: {message}")


def _answer(body: Element) -> TokenResponse:
    """Raises:
    BadRequest: it is no answer of CES, or its certificate cannot be read.
    """
    answer = TokenResponse.parse(body)
    if answer.certificate:
        try:
            CertificateView.parse(answer.certificate)
        except EncodingError as error:
            raise BadRequest(f"its certificate cannot be read: {error}") from error
    elif not answer.reference and answer.request_id is None:
        raise BadRequest("it holds neither a certificate nor a request ID")
    return answer


def _words(detail: EnrollmentDetail, reason: str) -> tuple[HResult, str]:
    """Code and sentence; a code that we have no name for stays in the sentence."""
    number = int(detail.status)
    code = f"0x{number:08x}"
    message = reason.removesuffix(f" ({code})")
    try:
        return HResult(number), message
    except ValueError:
        return HResult.E_UNEXPECTED, message if code in message.lower() else f"{message} ({code})"
