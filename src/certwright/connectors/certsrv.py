"""The door to an AD CS that is reached over its Web Enrollment pages: `adcs.interfaces.CertRequest`.

Pages are classified by `wire.certsrv` from links, codes and content types, so their language does not matter. Every
call is one logon on one connection (`http.Session`). A request is posted once: whatever happens after it left is
either a decision or `AnswerLost`, and then `find_lost` looks for it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from certwright.adcs.errors import (
    AccessDenied,
    AdcsError,
    BadRequest,
    CaUnreachable,
    HResult,
    InvalidArgument,
    NoSuchRequest,
    NotSupported,
)
from certwright.adcs.interfaces import CertAdmin, Forecast
from certwright.adcs.properties import CaProperty, PropertyValue
from certwright.adcs.request import NO_ATTRIBUTES, Disposition, RequestAttributes, RequestFlags, Response
from certwright.adcs.requester import Requester
from certwright.adcs.template import CertificateTemplate
from certwright.connectors import lost
from certwright.connectors.errors import AnswerLost, NotEnrollmentPages, WrongCertificate
from certwright.connectors.http import SUBMIT_TIMEOUT, Session, misunderstood, readable
from certwright.connectors.reading import CaReader, ServiceInformation, read_information
from certwright.connectors.service import ServiceAddress, ServiceCredential
from certwright.connectors.trust import Trust
from certwright.directory.base import EnrollmentService
from certwright.pki.certificate import CertificateView
from certwright.pki.errors import EncodingError
from certwright.pki.pkcs10 import CertificationRequest
from certwright.wire.certsrv import (
    Denied,
    Encoding,
    Error,
    Issued,
    Pending,
    Retrieved,
    RetrieveQuery,
    SubmitForm,
    parse_outcome,
    parse_retrieval,
)
from certwright.wire.certsrv.answers import Outcome, Retrieval
from certwright.wire.certsrv.forms import MAX_BODY

CREDENTIAL_KIND: Final = "ad cs service"
"""`Credential.kind` whose secret is a `ServiceCredential`."""
MAX_CANDIDATES: Final = 8
"""How many numbers of a page are tried as the request ID that no text marks."""

_TAKEN: Final = "Taken Under Submission"
_ISSUED: Final = "Issued"
_FACILITIES: Final = (0x8009, 0x800B)
_OUTAGES: Final = frozenset({HResult.CERTSRV_E_SERVER_SUSPENDED, HResult.CERTSRV_E_NO_DB_SESSIONS})
_NO_RIGHT: Final = frozenset({HResult.E_ACCESSDENIED, HResult.CERTSRV_E_ENROLL_DENIED})
"""Refused at the CA's door: no row was made."""
_NEVER_HANDED_IN: Final = frozenset(
    {
        HResult.RPC_S_SERVER_UNAVAILABLE,
        0x800706BF,  # RPC_S_CALL_FAILED_DNE: failed, and did not execute
        0x800706D9,  # EPT_S_NOT_REGISTERED
        0x80080005,  # CO_E_SERVER_EXEC_FAILURE
        0x80040154,  # REGDB_E_CLASSNOTREG
    }
)
"""Codes of an error page that say that the page did not reach its CA."""


class CertsrvConnection:
    """One AD CS as one account: `CertRequest` over its pages. Used by one thread at a time.

    Args:
        timeout: seconds that the answer to a submission may take, 60 at least.
        ca_name: the CA's name, for `config`.
        last_known_id: the highest request ID known of this CA; smaller numbers on a page are no new request.
    """

    def __init__(
        self,
        service: ServiceAddress,
        credential: ServiceCredential,
        trust: Trust,
        *,
        timeout: float = SUBMIT_TIMEOUT,
        ca_name: str = "",
        last_known_id: int = 0,
    ) -> None:
        self.service = service
        self._credential = credential
        self._trust = trust
        self._timeout = timeout
        self._ca_name = ca_name
        self._last_known_id = last_known_id

    @property
    def config(self) -> str:
        r"""`host\name`; the name is empty where nobody said it."""
        return f"{self.service.hostname}\\{self._ca_name}"

    def submit(
        self,
        request: bytes,
        attributes: RequestAttributes = NO_ATTRIBUTES,
        flags: RequestFlags = RequestFlags.DETECT,
    ) -> Response:
        """Hand in a PKCS #10 request, once.

        Raises:
            AnswerLost: it was sent, and what became of it is not known.
            CaUnreachable, AccessDenied: it was not handed in.
            WrongCertificate: the CA issued for another key.
            BadRequest: it is no PKCS #10, or too long for the pages.
            NotSupported: another kind of request, or an answer in CMC was asked for.
        """
        if flags not in (RequestFlags.DETECT, RequestFlags.PKCS10):
            raise NotSupported("over Web Enrollment only PKCS #10 requests are handed in, without further options")
        try:
            public_key = CertificationRequest.parse(request).public_key_info
        except EncodingError as error:
            raise BadRequest(f"this is no PKCS #10 request: {error}") from error
        form = SubmitForm.for_request(request, attributes).encode()
        if len(form) > MAX_BODY:
            raise BadRequest(f"the request makes a form of {len(form)} bytes; the pages take {MAX_BODY}")
        with self._session() as session:
            CaReader(session).require_pages()
            page = session.post("certfnsh.asp", form)
            try:
                text = readable(page, self.service)
                outcome = parse_outcome(text, self._last_known_id)
            except (NotEnrollmentPages, BadRequest) as error:
                raise AnswerLost(f"the request was sent and its answer is not understood: {error.message}") from error
            response = self._decided(session, outcome, text, public_key)
        self._last_known_id = max(self._last_known_id, response.request_id)
        return response

    def retrieve(
        self,
        request_id: int | None = None,
        *,
        serial_number: str | None = None,
        flags: RequestFlags = RequestFlags.DETECT,
    ) -> Response:
        """Ask for an earlier request of this account.

        Raises:
            NoSuchRequest: no such ID, or somebody else's request.
            CaUnreachable, AccessDenied: the CA could not be asked.
            NotSupported: by serial number; the pages know request IDs only.
        """
        if request_id is None or serial_number is not None:
            raise NotSupported("over Web Enrollment a request is found by its request ID only")
        if not 0 < request_id <= lost.MAX_REQUEST_ID:
            raise NoSuchRequest(f"{request_id} is no request ID")
        with self._session() as session:
            answer = self._ask(session, request_id)
        response = _response(answer, request_id)
        if response is not None:
            return response
        if isinstance(answer, Error):
            raise CaUnreachable(f"{self.service} cannot say what became of request {request_id}: {answer.message}")
        raise NoSuchRequest(f"{self.service} shows this account no request {request_id}")

    def ca_property(self, prop: CaProperty, index: int = 0) -> PropertyValue:
        """Read what the pages show of a CA's properties.

        Raises:
            InvalidArgument: no CA certificate of that number, or no such CRL.
            NotSupported: the pages do not show that property.
            CaUnreachable, AccessDenied: the CA could not be asked.
        """
        with self._session() as session:
            return CaReader(session).property(prop, index)

    def information(self) -> ServiceInformation:
        """Name, chain and templates. Raises as `ca_property`."""
        return read_information(self.service, self._credential, self._trust, timeout=self._timeout)

    # -- a lost answer

    def find_lost(
        self, public_key: bytes, since: datetime, last_known_id: int, known: Collection[int] = ()
    ) -> Response | None:
        """The issued certificate of a request whose answer was lost, None where none was found.

        Where it may be among the pending ones, `search` says which.
        """
        return self.search(public_key, since, last_known_id, known).found

    def search(
        self,
        public_key: bytes,
        since: datetime,
        last_known_id: int,
        known: Collection[int] = (),
        *,
        limit: int = lost.MAX_PROBED,
    ) -> lost.Search:
        """Look for a request among those above the last known one; see `lost.search`.

        Raises:
            CaUnreachable, AccessDenied: the CA could not be asked.
        """
        with self._session() as session:

            def ask(request_id: int) -> Response | None:
                answer = self._ask(session, request_id)
                if isinstance(answer, Error):
                    raise CaUnreachable(f"{self.service} cannot be searched for the request: {answer.message}")
                return _response(answer, request_id)

            return lost.search(ask, public_key, since, last_known_id, known, limit=limit)

    # -- inside

    def _session(self) -> Session:
        return Session(self.service, self._credential, self._trust, timeout=self._timeout)

    def _ask(self, session: Session, request_id: int) -> Retrieval:
        """certnew.cer for one request ID. Raises `CaUnreachable` where the answer is no certificate and no page."""
        page = session.get("certnew.cer", RetrieveQuery(request_id, encoding=Encoding.BINARY).encode())
        try:
            answer = parse_retrieval(page.content_type, page.body, request_id)
            if isinstance(answer, Retrieved):
                CertificateView.parse(answer.certificate)
        except (BadRequest, EncodingError) as error:
            raise misunderstood(error, self.service, "certnew.cer") from error
        return answer

    def _decided(self, session: Session, outcome: Outcome, page: str, public_key: bytes) -> Response:
        match outcome:
            case Issued():
                return self._issued(session, outcome.request_id, public_key)
            case Pending(certain=False):
                return self._unmarked(session, page, public_key)
            case Pending():
                number = outcome.request_id or 0
                return Response(number, Disposition.UNDER_SUBMISSION, HResult.S_OK, outcome.message or _TAKEN)
            case Denied():
                return self._denied(session, outcome)
            case Error():
                return self._failed(outcome)

    def _issued(self, session: Session, request_id: int, public_key: bytes) -> Response:
        """Fetch what was issued. Its number is known: whatever fails from here on is no reason to search."""
        try:
            answer = self._ask(session, request_id)
        except AdcsError as error:
            raise AnswerLost(
                f"request {request_id} is issued and its certificate could not be fetched: {error.message}",
                request_id,
            ) from error
        if not isinstance(answer, Retrieved):
            raise AnswerLost(f"request {request_id} is issued and its certificate is not shown yet", request_id)
        if CertificateView.parse(answer.certificate).public_key_info != public_key:
            raise WrongCertificate(
                f"{self.service} answered with request {request_id}, whose certificate is for another key; nothing "
                "of it is used. Look at that request in the CA's console",
                request_id,
            )
        return _as_issued(answer, request_id)

    def _unmarked(self, session: Session, page: str, public_key: bytes) -> Response:
        """Find the request ID on a page whose words say nothing to us, by asking for its numbers.

        IDs only grow, and of other people's requests nothing is shown: the largest number that the CA shows this
        account is the new request.
        """
        for number in sorted(_numbers(page, self._last_known_id), reverse=True):
            try:
                answer = self._ask(session, number)
            except AdcsError as error:
                raise AnswerLost(
                    f"the request was sent and the number it got cannot be confirmed: {error.message}"
                ) from error
            if isinstance(answer, Retrieved):
                if CertificateView.parse(answer.certificate).public_key_info == public_key:
                    return _as_issued(answer, number)
            elif (response := _response(answer, number)) is not None:
                return response
        raise AnswerLost(
            f"the request was sent; {self.service} answered with a page that gives no request ID we know"
        )

    def _denied(self, session: Session, outcome: Denied) -> Response:
        """A denial; one in words alone is asked for again by its number, where the code may stand."""
        if outcome.status is None and outcome.request_id:
            try:
                again = self._ask(session, outcome.request_id)
            except AdcsError:
                again = outcome  # the decision is known all the same
            if isinstance(again, Denied) and again.status is not None:
                outcome = Denied(again.message or outcome.message, again.status, outcome.request_id)
        return _refusal(outcome, outcome.request_id or 0)

    def _failed(self, outcome: Error) -> Response:
        """An error page: a decision where its code is one about requests, else a CA that was perhaps not reached.

        Raises:
            AnswerLost, CaUnreachable, AccessDenied
        """
        status = outcome.status
        if status is None:
            raise AnswerLost(
                f"the request was sent; {self.service} answered with a page that is none of the known ones: "
                f"{outcome.message[:200]}"
            )
        if status in _NEVER_HANDED_IN or status in _OUTAGES:
            raise CaUnreachable(
                f"{self.service} does not reach its CA: {outcome.message}. Check that the service Active Directory "
                "Certificate Services runs"
            )
        if status in _NO_RIGHT:
            raise AccessDenied(
                f"{self.service} refused the request for want of rights: {outcome.message}. Give the account the "
                "right Request Certificates on the CA",
                HResult(status),
            )
        if status >> 16 in _FACILITIES:
            return _refusal(Denied(outcome.message, status), 0)
        raise AnswerLost(f"the request was sent; {self.service} answered with an error: {outcome.message}")


def _response(answer: Retrieval, request_id: int) -> Response | None:
    """The state of a known request; None where nothing is said of it."""
    match answer:
        case Retrieved():
            return _as_issued(answer, request_id)
        case Pending():
            return Response(request_id, Disposition.UNDER_SUBMISSION, HResult.S_OK, answer.message or _TAKEN)
        case Denied():
            return _refusal(answer, request_id)
        case _:
            return None


def _as_issued(answer: Retrieved, request_id: int) -> Response:
    return Response(request_id, Disposition.ISSUED, HResult.S_OK, _ISSUED, answer.certificate)


def _refusal(answer: Denied, request_id: int) -> Response:
    """A code that we have no name for stays in the message."""
    message, status = answer.message, HResult.E_UNEXPECTED
    if answer.status is not None:
        try:
            status = HResult(answer.status)
        except ValueError:
            code = f"0x{answer.status:08x}"
            if code not in message.lower():
                message = f"{message} ({code})"
    return Response(request_id, Disposition.DENIED, status, message)


def _numbers(page: str, last_known_id: int) -> Iterator[int]:
    """The numbers of a page that may be its request ID, the likeliest first."""
    for _ in range(MAX_CANDIDATES):
        outcome = parse_outcome(page, last_known_id)
        if not isinstance(outcome, Pending) or outcome.request_id is None:
            return
        yield outcome.request_id
        page = re.sub(rf"(?<!\d){outcome.request_id}(?!\d)", " ", page)


# -- behind the registry ---------------------------------------------------------------------------------------------


class AsyncCertsrvConnection:
    """The same door for callers on an event loop; every call takes a worker thread."""

    def __init__(self, blocking: CertsrvConnection) -> None:
        self._blocking = blocking

    @property
    def config(self) -> str:
        return self._blocking.config

    async def submit(
        self,
        request: bytes,
        attributes: RequestAttributes = NO_ATTRIBUTES,
        flags: RequestFlags = RequestFlags.DETECT,
    ) -> Response:
        return await asyncio.to_thread(self._blocking.submit, request, attributes, flags)

    async def retrieve(
        self,
        request_id: int | None = None,
        *,
        serial_number: str | None = None,
        flags: RequestFlags = RequestFlags.DETECT,
    ) -> Response:
        return await asyncio.to_thread(self._blocking.retrieve, request_id, serial_number=serial_number)

    async def ca_property(self, prop: CaProperty, index: int = 0) -> PropertyValue:
        return await asyncio.to_thread(self._blocking.ca_property, prop, index)


@dataclass(frozen=True, slots=True)
class CertsrvService:
    """An AD CS service as the manager keeps it, without an account."""

    address: ServiceAddress
    trust: Trust
    ca_name: str

    @property
    def config(self) -> str:
        return f"{self.address.hostname}\\{self.ca_name}"


class CertsrvConnector:
    """Remote AD CS services, each reached as the account the caller brings along, never as one of its own.

    Args:
        services: asked at every call; the preferred one first.
    """

    def __init__(self, services: Callable[[], Sequence[CertsrvService]], *, timeout: float = SUBMIT_TIMEOUT) -> None:
        self._services = services
        self._timeout = timeout

    def configs(self) -> Sequence[str]:
        return [service.config for service in self._services()]

    def connect(self, config: str, requester: Requester) -> CertsrvConnection:
        """Raises:
        InvalidArgument: no such service.
        AccessDenied: the caller brings no account for it.
        """
        service = next((each for each in self._services() if each.config == config), None)
        if service is None:
            raise InvalidArgument(f"there is no AD CS service {config!r} here")
        credential = requester.credential
        if (
            credential is None
            or credential.kind != CREDENTIAL_KIND
            or not isinstance(credential.secret, ServiceCredential)
        ):
            raise AccessDenied(f"{requester.account} brings no account for {config}; order through the manager")
        return CertsrvConnection(
            service.address, credential.secret, service.trust, timeout=self._timeout, ca_name=service.ca_name
        )

    def connect_async(self, config: str, requester: Requester) -> AsyncCertsrvConnection:
        return AsyncCertsrvConnection(self.connect(config, requester))

    def administer(self, config: str, requester: Requester) -> CertAdmin:
        raise NotSupported("over Web Enrollment nobody acts as an officer; use the CA's own console")

    def enrollment_services(self) -> Sequence[EnrollmentService]:
        """None: these are other people's CAs, and they advertise themselves."""
        return []

    def enrollable_templates(self, config: str, requester: Requester) -> Sequence[CertificateTemplate]:
        raise NotSupported("over Web Enrollment templates are seen by name only, without their rights")

    def forecast(self, config: str, requester: Requester, request: bytes, attributes: RequestAttributes) -> Forecast:
        raise NotSupported("over Web Enrollment a CA tells its mind only about requests that are submitted")
