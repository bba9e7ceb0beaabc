"""The pages' addresses: read the exchange, call the service, choose the page. No decision is made here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Final

from certwright.adcs.request import Disposition, Response
from certwright.adcs.requester import Requester
from certwright.pki.armor import CERTIFICATE, X509_CRL, armor
from certwright.web_enrollment.exchange import Exchange, Reply
from certwright.web_enrollment.pages import Frame, Pages
from certwright.web_enrollment.pending import PendingNote
from certwright.web_enrollment.service import EnrollmentService
from certwright.wire.certsrv import CrlQuery, Encoding, RetrieveQuery, SubmitForm
from certwright.wire.certsrv.forms import MAX_BODY

View = Callable[[Exchange, Requester], Awaitable[Reply]]

_GET: Final = frozenset({"GET", "HEAD"})
_POST: Final = frozenset({"POST"})
_CERTIFICATE_TYPE: Final = b"application/pkix-cert"
_CHAIN_TYPE: Final = b"application/x-pkcs7-certificates"
_CRL_TYPE: Final = b"application/pkix-crl"


class Views:
    """One method per page.

    Args:
        clock: the time, aware, UTC.
    """

    def __init__(
        self,
        service: EnrollmentService,
        pages: Pages,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._service = service
        self._pages = pages
        self._clock = clock

    def routes(self) -> Mapping[str, tuple[frozenset[str], View]]:
        """Methods and view by page name in lower case."""
        return {
            "certfnsh.asp": (_POST, self.finish),
            "certnew.cer": (_GET, self.certificate),
            "certnew.p7b": (_GET, self.chain),
            "": (_GET, self.home),
            "default.asp": (_GET, self.home),
            "certrqus.asp": (_GET, self.choose),
            "certrqad.asp": (_GET, self.choose),
            "certrqma.asp": (_GET, self.make_key),
            "certrqxt.asp": (_GET, self.paste),
            "certckpn.asp": (_GET, self.list_requests),
            "certrmpn.asp": (_GET | _POST, self.forget_request),
            "certcarc.asp": (_GET, self.ca_page),
            "certcrl.crl": (_GET, self.crl),
            "certnew.crl": (_GET, self.crl),
        }

    def frame(self, requester: Requester) -> Frame:
        return Frame(requester, self._service.config())

    # -- submit and poll -----------------------------------------------------------------------------------------

    async def finish(self, exchange: Exchange, requester: Requester) -> Reply:
        """certfnsh.asp: hand in a request (Mode=newreq), or ask what became of one (Mode=chkpnd)."""
        form = SubmitForm.parse(await exchange.body(MAX_BODY))
        if form.is_status_check:
            response = await self._service.retrieve(requester, form.polled_id())
        else:
            response = await self._service.submit(requester, form)
        return self._outcome(exchange, requester, response)

    def _outcome(self, exchange: Exchange, requester: Requester, response: Response) -> Reply:
        frame = self.frame(requester)
        note = PendingNote.parse(exchange.headers.get(b"cookie", b""))
        match response.disposition:
            case Disposition.ISSUED | Disposition.ISSUED_OUT_OF_BAND | Disposition.REVOKED:
                page = self._pages.issued(frame, response, with_facts=exchange.is_navigation)
            case Disposition.UNDER_SUBMISSION:
                waiting = note.adding(response.request_id, int(self._clock().timestamp()))
                if response.request_id in note:
                    return Reply.page(self._pages.pending(frame, response))
                return Reply.page(self._pages.pending(frame, response), headers=(waiting.header(),))
            case _:
                page = self._pages.denied(frame, response)
        if response.request_id in note:  # decided, and the reader has just been told
            return Reply.page(page, headers=(note.without(response.request_id).header(),))
        return Reply.page(page)

    # -- downloads -----------------------------------------------------------------------------------------------

    async def certificate(self, exchange: Exchange, requester: Requester) -> Reply:
        """certnew.cer: a certificate by request ID, or one of the CA's own."""
        query = RetrieveQuery.parse(exchange.query)
        if query.request_id is None:
            certificate = await self._service.ca_certificate(requester, query.renewal)
        else:
            response = await self._service.retrieve(requester, query.request_id)
            if response.certificate is None:
                return Reply.page(self._pages.not_available(self.frame(requester), response))
            certificate = response.certificate
        return Reply.file(_encoded(certificate, query.encoding, CERTIFICATE), _CERTIFICATE_TYPE, b"certnew.cer")

    async def chain(self, exchange: Exchange, requester: Requester) -> Reply:
        """certnew.p7b: the same with the chain, as certs-only CMS.

        In base64 its label is CERTIFICATE, as on Microsoft's site: clients cut that label off.
        """
        query = RetrieveQuery.parse(exchange.query)
        if query.request_id is None:
            chain = await self._service.ca_chain(requester, query.renewal)
        else:
            response = await self._service.retrieve(requester, query.request_id)
            if response.certificate is None:
                return Reply.page(self._pages.not_available(self.frame(requester), response))
            chain = await self._service.chain_of(requester, response.certificate)
        return Reply.file(_encoded(chain, query.encoding, CERTIFICATE), _CHAIN_TYPE, b"certnew.p7b")

    async def crl(self, exchange: Exchange, requester: Requester) -> Reply:
        """certcrl.crl and certnew.crl: the latest base or delta CRL; DER unless base64 is asked for."""
        query = CrlQuery.parse(exchange.query)
        crl = await self._service.crl(requester, delta=query.delta, index=query.renewal)
        return Reply.file(_encoded(crl, query.encoding or Encoding.BINARY, X509_CRL), _CRL_TYPE, b"certcrl.crl")

    # -- pages for people ------------------------------------------------------------------------------------------

    async def home(self, exchange: Exchange, requester: Requester) -> Reply:
        note = PendingNote.parse(exchange.headers.get(b"cookie", b""))
        return Reply.page(self._pages.home(self.frame(requester), note))

    async def choose(self, exchange: Exchange, requester: Requester) -> Reply:
        """certrqus.asp, certrqad.asp: paste a request, or make a key."""
        return Reply.page(self._pages.choose(self.frame(requester)))

    async def paste(self, exchange: Exchange, requester: Requester) -> Reply:
        """certrqxt.asp: the form with the template list that tools read."""
        return await self._form(requester, make_key=False)

    async def make_key(self, exchange: Exchange, requester: Requester) -> Reply:
        """certrqma.asp: the same form, open at the key made in the browser."""
        return await self._form(requester, make_key=True)

    async def _form(self, requester: Requester, *, make_key: bool) -> Reply:
        templates = await self._service.templates(requester)
        return Reply.page(self._pages.request(self.frame(requester), templates, make_key=make_key))

    async def list_requests(self, exchange: Exchange, requester: Requester) -> Reply:
        """certckpn.asp: the requests that this browser noted, each asked for as the caller of now."""
        note = PendingNote.parse(exchange.headers.get(b"cookie", b""))
        known = await self._service.known_requests(requester, [entry.request_id for entry in note.entries])
        return Reply.page(self._pages.requests(self.frame(requester), note, known))

    async def forget_request(self, exchange: Exchange, requester: Requester) -> Reply:
        """certrmpn.asp: take a request off this browser's list. The CA keeps it. GET changes nothing."""
        if exchange.method != "POST":
            return await self.list_requests(exchange, requester)
        form = SubmitForm.parse(await exchange.body(MAX_BODY))
        note = PendingNote.parse(exchange.headers.get(b"cookie", b"")).without(form.polled_id())
        return Reply.redirect(b"certckpn.asp", 303).adding((note.header(),))

    async def ca_page(self, exchange: Exchange, requester: Requester) -> Reply:
        """certcarc.asp: CA certificates, chains and CRLs."""
        certificates = await self._service.ca_certificates(requester)
        deltas = await self._service.delta_crls(requester, len(certificates))
        return Reply.page(self._pages.ca(self.frame(requester), certificates, self._clock(), deltas))


def _encoded(data: bytes, encoding: Encoding | None, label: str) -> bytes:
    """DER when asked for; otherwise PEM with CRLF: tools that name no encoding feed the answer to PEM readers."""
    return data if encoding is Encoding.BINARY else armor(label, data, "\r\n").encode("ascii")
