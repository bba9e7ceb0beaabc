"""SOAP 1.2 over HTTPS: one POST in, one envelope out. SOAP 1.2 part 2 section 7, [MS-WSTEP] 2.1, [MS-XCEP] 2.1.

In this order: method, TLS, media type, who asks, length, XML, addressing, operation. Every fault is HTTP 500, also
the sender's, as WCF has it; what is no SOAP at all is answered by HTTP alone. The one place where a fault of ours
becomes an incident number.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import structlog

from certwright.adcs.errors import AdcsError
from certwright.auth.connection import Connection
from certwright.endpoints.asgi import (
    CLOSE,
    BodyTooLarge,
    ClientGone,
    HeaderPairs,
    Receive,
    Reply,
    Scope,
    Send,
    read_body,
)
from certwright.endpoints.logon import Caller, Logons, NotLoggedOn
from certwright.wire import soap
from certwright.wire.soap import Fault, Message
from certwright.wire.xcep import ClientAuthentication
from certwright.wire.xml import XmlRefused

log = structlog.get_logger(__name__)

_MEDIA_TYPE: Final = "application/soap+xml"
_CHARSETS: Final = frozenset({"", "utf-8", "utf8", "utf-16"})


@dataclass(frozen=True, slots=True)
class Answer:
    """What an operation says: the action of its answer, and the body."""

    action: str
    body: str


Operation = Callable[[Message, Caller], Awaitable[Answer]]
"""Raises `Fault`, or `AdcsError` for what becomes a fault without a detail."""


class SoapService:
    """How one web service is spoken to; what it does comes with every call.

    Args:
        name: of the service, for the log.
        limit: longest message, in bytes.
        with_timestamp: answers to messages with a user name carry a security header, as WCF's do.
    """

    def __init__(
        self,
        name: str,
        limit: int,
        logons: Logons,
        *,
        with_timestamp: bool = True,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._name = name
        self._limit = limit
        self._logons = logons
        self._with_timestamp = with_timestamp
        self._clock = clock

    async def serve(
        self, scope: Scope, receive: Receive, send: Send, kind: ClientAuthentication, operation: Operation
    ) -> None:
        """Answer one HTTP request at an endpoint of a kind."""
        headers: Mapping[bytes, bytes] = dict(scope["headers"])
        connection: Connection = scope["extensions"]["certwright.connection"]
        try:
            refusal = _refuse_outright(scope["method"], headers, connection)
            reply = refusal or await self._guarded(headers, receive, connection, kind, operation)
        except ClientGone:
            return
        if reply.status in (400, 403, 405, 413, 415):
            log.warning("message_refused", service=self._name, rule=f"http {reply.status}", peer=connection.peer)
        await reply.send(send, without_body=scope["method"] == "HEAD")

    async def _guarded(
        self,
        headers: Mapping[bytes, bytes],
        receive: Receive,
        connection: Connection,
        kind: ClientAuthentication,
        operation: Operation,
    ) -> Reply:
        relates_to, security = "", ""
        try:
            caller = await self._logons.by_transport(kind, headers.get(b"authorization"), connection)
            message = Message.parse(await read_body(headers, receive, self._limit), self._limit)
            relates_to = message.message_id
            if caller is None:
                if self._with_timestamp:
                    security = soap.timestamp(self._clock())
                caller = await self._logons.by_message(message, connection, self._clock())
            _demand_one_action(headers, message)
            answer = await operation(message, caller)
        except NotLoggedOn as nobody:
            return nobody.reply
        except BodyTooLarge:
            return Reply.plain(413, f"A message has at most {self._limit} bytes.", CLOSE)
        except XmlRefused as error:
            log.warning("message_refused", service=self._name, rule="xml", reason=error.message, peer=connection.peer)
            return Reply.plain(400)
        except Fault as fault:
            return self._fault(fault, relates_to, security, connection)
        except AdcsError as error:
            said = Fault("Receiver", f"{error.message} ({error.status.hex})", status=error.status)
            return self._fault(said, relates_to, security, connection)
        except ClientGone:
            raise
        except Exception as error:
            incident = secrets.token_hex(4)
            log.error("web_service_failed", service=self._name, incident=incident, exc_info=error)
            return _envelope(500, Fault.internal(incident).encode(relates_to, security))
        encoded = soap.envelope(answer.action, answer.body, relates_to=relates_to, headers=security)
        return _envelope(200, encoded, caller.headers)

    def _fault(self, fault: Fault, relates_to: str, security: str, connection: Connection) -> Reply:
        log.warning(
            "message_refused",
            service=self._name,
            rule=fault.subcode or fault.code,
            status=fault.status.hex,
            reason=fault.message,
            peer=connection.peer,
        )
        later: HeaderPairs = ((b"retry-after", b"%d" % fault.retry_after),) if fault.retry_after else ()
        return _envelope(500, fault.encode(relates_to, security), later)


def _refuse_outright(method: str, headers: Mapping[bytes, bytes], connection: Connection) -> Reply | None:
    """What needs no look at the message. Nobody is asked for credentials here: some clients probe with GET first."""
    if method != "POST":
        return Reply.plain(405, "This is a web service: it takes messages by POST.", ((b"allow", b"POST"),))
    if not connection.tls:
        return Reply.plain(403, "This service is reached over HTTPS only.")
    media_type, parameters = _content_type(headers)
    if media_type != _MEDIA_TYPE or parameters.get("charset", "").lower() not in _CHARSETS:
        return Reply.plain(415, f"Messages are SOAP 1.2: {soap.CONTENT_TYPE}.")
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        return Reply.plain(415, "Messages are read uncompressed.")
    return None


def _demand_one_action(headers: Mapping[bytes, bytes], message: Message) -> None:
    """Raises:
    Fault: HTTP and WS-Addressing name two.
    """
    named = _content_type(headers)[1].get("action", "")
    if named and named != message.action:
        raise Fault.addressing("ActionMismatch", "The media type names another action than the message.")


def _content_type(headers: Mapping[bytes, bytes]) -> tuple[str, Mapping[str, str]]:
    kind, *rest = headers.get(b"content-type", b"").decode("latin-1").split(";")
    pairs = (part.partition("=") for part in rest)
    parameters = {name.strip().lower(): value.strip().strip('"') for name, equals, value in pairs if equals}
    return kind.strip().lower(), parameters


def _envelope(status: int, body: bytes, headers: HeaderPairs = ()) -> Reply:
    return Reply(status, body, soap.CONTENT_TYPE.encode(), headers)
