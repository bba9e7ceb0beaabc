"""/certsrv as an ASGI application: path, TLS, origin, authentication, view, in this order.

The one place where an `AdcsError` becomes a page, and where a fault of ours becomes an incident number: nothing else
in this room catches either. The CA answers 200 with a page for every outcome, its own unavailability included; other
codes speak of HTTP alone (401 who are you, 403 not this way, 404, 405, 413, 500).
"""

from __future__ import annotations

import re
import secrets
from typing import Final, Protocol

import structlog

from certwright.adcs.errors import AdcsError
from certwright.adcs.requester import Requester
from certwright.auth.connection import Connection
from certwright.auth.http import Authenticated, Challenge
from certwright.connectors.registry import Registry
from certwright.endpoints.asgi import Asgi, BodyTooLarge, ClientGone, HeaderPairs, Receive, Scope, Send
from certwright.web_enrollment.assets import FOLDER, Assets
from certwright.web_enrollment.exchange import Exchange, Reply
from certwright.web_enrollment.origin import is_cross_site
from certwright.web_enrollment.pages import Frame, Pages
from certwright.web_enrollment.service import EnrollmentService
from certwright.web_enrollment.views import Views

log = structlog.get_logger(__name__)

_MARK: Final = "/certsrv/"
_RETRIEVALS: Final = frozenset(
    {"certnew.cer", "certnew.p7b", "certcrl.crl", "certnew.crl", "certcarc.asp", "certckpn.asp"}
)
_STATIC: Final = re.compile(r"static/[0-9a-f]{12}/[a-z0-9.]{1,40}")

_CLOSE: Final[HeaderPairs] = ((b"connection", b"close"),)
_SIGN_IN_HINTS: Final = (
    r"Use an account of the domain: DOMAIN\name, or name@domain.",
    "Browsers try NTLM first: an account that is not marked for NTLM gets in once an administrator has set its "
    "password with --ntlm.",
    "A script that was refused although its password is right may lack channel binding (Extended Protection): see "
    "the administrator's guide.",
)


class Authenticator(Protocol):
    """Who is on the connection; `auth.http.HttpAuthenticator` is one."""

    async def authenticate(
        self, authorization: bytes | None, connection: Connection
    ) -> Authenticated | Challenge: ...


def create(registry: Registry, authenticator: Authenticator, ca_config: str = "") -> Asgi:
    """The application for every path at or below /certsrv, in any case and under any prefix.

    Args:
        registry: the CAs of this installation.
        authenticator: who is asking.
        ca_config: configuration string or name of the CA to serve; empty means the first one.
    """
    return WebEnrollment(registry, authenticator, ca_config)


class WebEnrollment:
    """See `create`."""

    def __init__(self, registry: Registry, authenticator: Authenticator, ca_config: str) -> None:
        assets = Assets()
        self._static = assets.replies
        self._pages = Pages(assets)
        self._views = Views(EnrollmentService(registry, ca_config), self._pages)
        self._routes = self._views.routes()
        self._authenticator = authenticator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path: str = scope["path"].lower()
        _, found, page = path.rpartition(_MARK)
        without_body = scope["method"] == "HEAD"
        if not found and path.endswith("/certsrv"):
            location = scope["path"].rpartition("/")[2] + "/"
            await Reply.redirect(location.encode("ascii"), 301).send(send, without_body=without_body)
            return
        exchange = Exchange.of(scope, receive, page if found else "\x00")
        try:
            reply = await self._guarded(exchange)
        except ClientGone:
            return
        await reply.send(send, without_body=without_body)

    async def _guarded(self, exchange: Exchange) -> Reply:
        """The reply, whatever happens: a fault of ours becomes a page with a number that stands in the log."""
        try:
            return await self._reply(exchange)
        except ClientGone:
            raise
        except Exception as error:
            incident = secrets.token_hex(4)
            log.error("web_enrollment_failed", incident=incident, page=exchange.page[:200], exc_info=error)
            text = f"The server met a fault of its own. It is recorded under incident number {incident}."
            return self._refuse(
                exchange, 500, "Internal error", text, hints=("Give this number to an administrator.",)
            )

    async def _reply(self, exchange: Exchange) -> Reply:
        if exchange.page.startswith(FOLDER):
            return self._asset(exchange)
        if not exchange.connection.tls:
            return self._refuse(exchange, 403, "HTTPS is required", "These pages are served over HTTPS only.")
        if exchange.method not in ("GET", "HEAD") and is_cross_site(exchange.headers):
            log.warning(
                "cross_site_request_refused",
                page=exchange.page[:200],
                peer=exchange.connection.peer,
                origin=exchange.headers.get(b"origin", exchange.headers.get(b"referer", b""))[:200],
            )
            text = "Another site made this browser send the request, so nothing was done."
            return self._refuse(exchange, 403, "Request from another site", text)
        outcome = await self._authenticator.authenticate(exchange.headers.get(b"authorization"), exchange.connection)
        if isinstance(outcome, Challenge):
            return self._challenge(exchange, outcome)
        reply = await self._signed_in(exchange, outcome.requester)
        return reply.adding(tuple(outcome.headers))

    async def _signed_in(self, exchange: Exchange, requester: Requester) -> Reply:
        route = self._routes.get(exchange.page)
        if route is None:
            text = "There is no such page here."
            return self._refuse(exchange, 404, "Not found", text, requester=requester)
        methods, view = route
        if exchange.method not in methods:
            reply = self._refuse(
                exchange, 405, "Not this way", "This address takes a submitted form only.", requester=requester
            )
            return reply.adding(((b"allow", ", ".join(sorted(methods)).encode("ascii")),))
        try:
            return await view(exchange, requester)
        except BodyTooLarge:
            log.warning("request_refused", rule="body_size", page=exchange.page, requester=requester.account)
            text = "What was sent is longer than the 64 KiB that a request may have."
            return self._refuse(exchange, 413, "Too long", text, requester=requester).adding(_CLOSE)
        except AdcsError as error:
            log.info(
                "enrollment_call_failed",
                page=exchange.page,
                requester=requester.account,
                status=error.status.hex,
                reason=error.message,
            )
            retrieval = exchange.page in _RETRIEVALS
            return Reply.page(self._pages.failure(self._frame(requester), error, retrieval=retrieval))

    def _challenge(self, exchange: Exchange, challenge: Challenge) -> Reply:
        """Refuse a stranger. The body, if there is one, stays unread: the client sends it again."""
        headlines = {401: "Sign in", 403: "Not allowed", 429: "Too many attempts"}
        hints = _SIGN_IN_HINTS if challenge.status == 401 else ()
        page = self._pages.refusal_to_strangers(
            challenge.status,
            headlines.get(challenge.status, "Try again later"),
            challenge.reason,
            hints,
            _root(exchange.page),
        )
        return Reply.page(page, challenge.status, tuple(challenge.headers))

    def _asset(self, exchange: Exchange) -> Reply:
        reply = self._static.get(exchange.page) if _STATIC.fullmatch(exchange.page) else None
        if reply is None or exchange.method not in ("GET", "HEAD"):
            return self._refuse(exchange, 404, "Not found", "There is no such file here.")
        return reply

    def _refuse(
        self,
        exchange: Exchange,
        status: int,
        headline: str,
        text: str,
        *,
        hints: tuple[str, ...] = (),
        requester: Requester | None = None,
    ) -> Reply:
        frame = self._frame(requester) if requester is not None else None
        return Reply.page(
            self._pages.refusal(frame, status, headline, text, hints, root=_root(exchange.page)), status
        )

    def _frame(self, requester: Requester) -> Frame:
        """The frame of a page that must come out even where there is no CA."""
        try:
            return self._views.frame(requester)
        except AdcsError:
            return Frame(requester, "")


def _root(page: str) -> str:
    """How a page below /certsrv/ refers to it."""
    return "../" * min(page.count("/"), 16)
