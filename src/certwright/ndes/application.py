"""The addresses of NDES and what HTTP says there. RFC 8894 4; the paths are those of Windows, in any case.

`/certsrv/mscep/` and all below it is for devices, over HTTP and HTTPS; `/certsrv/mscep_admin/` gives out challenges,
over HTTPS and with a logon. Services with a name have `/ndes/<name>/` and `/ndes/<name>/mscep_admin/`. All answer
404 while the service is disabled. A message that is none is HTTP 400; one that is refused is HTTP 200 with the
failure inside.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from certwright.adcs.errors import AdcsError
from certwright.adcs.requester import Requester
from certwright.auth.connection import Connection
from certwright.auth.http import Authenticated, Challenge
from certwright.database import DatabaseError
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
from certwright.ndes import admin_page
from certwright.ndes.case import NotNow, TooMany
from certwright.ndes.challenges import CacheFull, Challenges
from certwright.ndes.desk import APART, Desk, Steps, alone
from certwright.ndes.enrollment import Enrollment
from certwright.ndes.failures import Failures
from certwright.ndes.giving import Giving
from certwright.ndes.policy import PolicyUnavailable
from certwright.ndes.registration_authority import RaCertificates
from certwright.ndes.rollover import Shown
from certwright.ndes.settings import BUILT_IN, ChallengeMode, NdesSettings
from certwright.pki.errors import EncodingError
from certwright.wire import scep
from certwright.wire.scep import MAX_MESSAGE, AdminQuestion, Operation, Question

log = structlog.get_logger(__name__)

DEVICES: Final = "/certsrv/mscep/mscep.dll"
ADMIN: Final = "/certsrv/mscep_admin/"
NAMED: Final = "/ndes"
"""Below it, services by name."""
DEVICE_PATHS: Final = (b"/certsrv/mscep", b"/cgi-bin/pkiclient.exe", NAMED.encode())
"""Where devices ask, with everything below; the second is what strict clients use by themselves."""
DESKS: Final = 2
"""Batches under way at a time: while one waits for the CA, the other goes on."""
THREADS: Final = 8
"""For messages that wait for a policy module elsewhere, and for people."""
WAITING: Final = 256
"""Messages that may wait for a thread; more are asked to come back."""
RETRY_AFTER: Final = 5

_NAME: Final = r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?"
_ADMIN: Final = re.compile(
    rf"/certsrv/mscep_admin(?:/(?:mscep\.dll)?)?|/ndes/(?P<name>{_NAME})/mscep_admin(?:/(?:mscep\.dll)?)?",
    re.IGNORECASE,
)
_SERVICE: Final = re.compile(rf"/ndes/(?P<name>{_NAME})(?:/.*)?", re.IGNORECASE | re.DOTALL)


def is_service_name(name: str) -> bool:
    """Lower-case letters, digits and hyphens: it stands in paths."""
    return re.fullmatch(_NAME, name) is not None


def devices_path(service: str) -> str:
    return f"{NAMED}/{service}/mscep.dll" if service else DEVICES


def admin_path(service: str) -> str:
    return f"{NAMED}/{service}/mscep_admin/" if service else ADMIN


def is_device_address(path: str) -> bool:
    """One of `DEVICE_PATHS`, or anything below it, in any case."""
    lower = path.lower()
    return any(lower == own or lower.startswith(f"{own}/") for own in map(bytes.decode, DEVICE_PATHS))


def is_admin_address(path: str) -> bool:
    return _ADMIN.fullmatch(path) is not None


def service_at(path: str) -> str | None:
    """Whose address it is: a service's name, empty at the classic addresses; None below `NAMED` without a name."""
    if not path.lower().startswith(NAMED):
        return ""
    match = _ADMIN.fullmatch(path) or _SERVICE.fullmatch(path)
    return match["name"].lower() if match is not None and match["name"] else None


class Authenticator(Protocol):
    """`auth.http.HttpAuthenticator`."""

    async def authenticate(
        self, authorization: bytes | None, connection: Connection
    ) -> Authenticated | Challenge: ...


@dataclass(frozen=True, slots=True)
class ServiceParts:
    """One service as this process answers for it."""

    name: str
    challenges: Challenges
    enrollment: Enrollment
    giving: Giving
    shown: Shown
    admin_url: str


@dataclass(frozen=True, slots=True)
class Asked:
    """One HTTP request of a device."""

    path: str
    method: str
    query: bytes
    body: bytes
    peer: str


class Moment:
    """What services are like while a batch of messages is answered: looked at once for all of them."""

    def __init__(self) -> None:
        self._settings: dict[str, NdesSettings] = {}
        self._authorities: dict[str, RaCertificates] = {}

    def settings(self, parts: ServiceParts) -> NdesSettings:
        found = self._settings.get(parts.name)
        if found is None:
            found = self._settings[parts.name] = parts.challenges.settings()
        return found

    def authority(self, parts: ServiceParts, settings: NdesSettings) -> RaCertificates:
        found = self._authorities.get(parts.name)
        if found is None:
            found = self._authorities[parts.name] = parts.shown.authority(settings).current()
        return found


class DeviceService:
    """What devices are answered, whichever listener and whichever service they came to.

    Args:
        find: a service by its name; None where there is none.
        waits: the directory may have to be waited for, so that no message goes along with others.
    """

    def __init__(
        self, find: Callable[[str], ServiceParts | None], failures: Failures, *, waits: bool = False
    ) -> None:
        self._find = find
        self._failures = failures
        self._waits = waits
        self._desk: Desk[Reply, Moment] = Desk("ndes", DESKS, THREADS, Moment)
        self._waiting = 0

    def close(self) -> None:
        self._desk.close()

    async def answer(self, path: str, method: str, query: bytes, body: bytes, peer: str) -> Reply:
        """Answer one request, together with others that wait."""
        if self._waiting >= WAITING:
            return _later("The service is busy.")
        self._waiting += 1
        try:
            asked = Asked(path, method, query, body, peer)
            return await self._desk.do(lambda moment: self._steps(asked, moment))
        finally:
            self._waiting -= 1

    def answer_now(self, path: str, method: str, query: bytes, body: bytes, peer: str) -> Reply:
        """The same in the calling thread."""
        return alone(self._steps(Asked(path, method, query, body, peer), Moment()))

    def _steps(self, asked: Asked, moment: Moment) -> Steps[Reply]:
        name, peer = service_at(asked.path), asked.peer
        try:
            parts = self._find(name) if name is not None else None
            if parts is None:
                return Reply.plain(404, "Not Found")
            settings = moment.settings(parts)
            if not settings.enabled:
                return Reply.plain(404, "Not Found")
            if self._waits or settings.policy != BUILT_IN:
                yield APART
            return (yield from self._decided(parts, settings, asked, moment))
        except EncodingError as error:
            log.warning("scep_message_unreadable", rule="http 400", reason=str(error)[:300], peer=peer)
            self._failures.unreadable(name or "", str(error), peer, asked.body)
            return Reply.plain(400, f"This is no SCEP message: {error}.")
        except TooMany as error:
            log.warning("scep_throttled", rule="http 429", peer=peer)
            return Reply.plain(429, "Too many wrong challenges.", _retry(error.retry_after))
        except NotNow as error:
            log.error("scep_not_answered", rule="policy module", error=str(error), peer=peer)
            self._failures.undecided(name or "", str(error), peer)
            return _later("The request cannot be decided now.")
        except (AdcsError, DatabaseError) as error:
            log.error("scep_not_answered", rule="http 503", error=str(error), peer=peer)
            return _later("The CA cannot answer now.")

    def _decided(self, parts: ServiceParts, settings: NdesSettings, asked: Asked, moment: Moment) -> Steps[Reply]:
        question, peer = Question.parse(asked.query), asked.peer
        operation = question.operation
        if operation is None and not question.named and asked.method == "POST":
            operation = Operation.PKI_OPERATION  # some clients leave it out
        match operation:
            case Operation.GET_CA_CAPS:
                words = scep.capabilities(
                    triple_des=settings.triple_des,
                    sha1=settings.sha1,
                    next_ca=parts.shown.has_next(settings, peer),
                )
                return Reply(200, words, scep.CAPABILITIES_TYPE.encode())
            case Operation.GET_CA_CERT | Operation.GET_CA_CERT_CHAIN:
                return Reply(200, parts.shown.bundle(settings, peer), scep.CA_AND_RA_TYPE.encode())
            case Operation.PKI_OPERATION:
                data = asked.body if asked.method == "POST" else question.decoded()
                ra = moment.authority(parts, settings)
                answer = yield from parts.enrollment.answer(data, settings, ra, peer)
                return Reply(200, answer, scep.MESSAGE_TYPE.encode())
            case Operation.GET_NEXT_CA_CERT:
                following = parts.shown.next_bundle(settings, peer)
                if following is None:
                    return Reply.plain(404, "This CA has no next certificate.")
                return Reply(200, following, scep.NEXT_CA_TYPE.encode())
        if question.named:
            log.warning("scep_operation_unknown", rule="http 400", operation=question.named[:64], peer=peer)
            return Reply.plain(400, "There is no such operation.")
        return Reply(200, admin_page.for_devices(parts.admin_url), admin_page.CONTENT_TYPE)

    # -- the page for people, and what an MDM asks there

    async def challenge_page(self, path: str, query: bytes, requester: Requester) -> Reply:
        return await self._desk.aside(lambda: self._challenge_page(path, query, requester))

    def _challenge_page(self, path: str, query: bytes, requester: Requester) -> Reply:
        name = service_at(path)
        parts = self._find(name) if name is not None else None
        if parts is None:
            return Reply.plain(404, "Not Found")
        settings = parts.challenges.settings()
        if not settings.enabled:
            return Reply.plain(404, "Not Found")
        try:
            if not parts.challenges.may_give(requester, settings):
                log.warning("challenge_refused", rule="permission", requester=requester.account)
                return _page(admin_page.not_permitted())
            certificate = parts.shown.ca_certificate(settings)
            asked = AdminQuestion.parse(query)
            if asked.operation == "ndesgetcacertthumbprint":
                return _text(admin_page.thumbprint(certificate).replace(" ", ""))
            if asked.operation == "ndesgeneratechallenge":
                return _text(parts.giving.by_key_usage(requester, asked.key_usage, asked.parameters))
            if asked.operation:
                return Reply.plain(400, "There is no such operation.")
            if settings.policy == BUILT_IN and settings.challenge is not ChallengeMode.ONE_TIME:
                static = settings.challenge is ChallengeMode.STATIC
                return _page(admin_page.without_challenge(certificate, static=static))
            password = parts.giving.give(requester)
        except CacheFull:
            return _page(admin_page.cache_full(settings.challenge_minutes))
        except EncodingError as error:
            return Reply.plain(400, f"{error}.")
        except (AdcsError, DatabaseError, PolicyUnavailable) as error:
            log.error("challenge_not_given", error=str(error))
            return _later("The service cannot answer now.")
        return _page(admin_page.with_challenge(certificate, password, settings.challenge_minutes))


class NdesApplication:
    """All addresses as an ASGI application."""

    def __init__(self, service: DeviceService, authenticator: Authenticator) -> None:
        self._service = service
        self._authenticator = authenticator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers: Mapping[bytes, bytes] = dict(scope["headers"])
        connection: Connection = scope["extensions"]["certwright.connection"]
        method: str = scope["method"]
        try:
            if method not in ("GET", "HEAD", "POST"):
                reply = Reply.plain(405, "GET or POST.", ((b"allow", b"GET, HEAD, POST"),))
            elif is_admin_address(scope["path"]):
                reply = await self._admin(scope, method, headers, connection)
            else:
                body = await read_body(headers, receive, MAX_MESSAGE) if method == "POST" else b""
                reply = await self._service.answer(
                    scope["path"], method, scope["query_string"], body, connection.peer
                )
        except ClientGone:
            return
        except BodyTooLarge:
            log.warning("scep_message_unreadable", rule="http 413", peer=connection.peer)
            reply = Reply.plain(413, f"A message has at most {MAX_MESSAGE} bytes.", CLOSE)
        await reply.send(send, without_body=method == "HEAD")

    async def _admin(
        self, scope: Scope, method: str, headers: Mapping[bytes, bytes], connection: Connection
    ) -> Reply:
        """Every GET gives out a challenge, so nothing but a person's or a program's own GET may."""
        if headers.get(b"sec-fetch-site", b"none") not in (b"none", b"same-origin"):
            return Reply.plain(403, "This page is opened by its address, not from another site.")
        if b"prefetch" in headers.get(b"sec-purpose", headers.get(b"purpose", b"")):
            return Reply.plain(403, "Opening this page in advance would use up a challenge.")
        outcome = await self._authenticator.authenticate(headers.get(b"authorization"), connection)
        if isinstance(outcome, Challenge):
            return Reply.plain(outcome.status, outcome.reason, tuple(outcome.headers))
        if method != "GET":
            return Reply.plain(405, "GET.", ((b"allow", b"GET"), *outcome.headers))
        reply = await self._service.challenge_page(scope["path"], scope["query_string"], outcome.requester)
        return Reply(reply.status, reply.body, reply.content_type, (*reply.headers, *outcome.headers))


def _page(body: bytes) -> Reply:
    return Reply(200, body, admin_page.CONTENT_TYPE)


def _text(text: str) -> Reply:
    """The text and nothing else: an MDM takes the whole body."""
    return Reply(200, text.encode(), b"text/plain; charset=utf-8")


def _later(text: str) -> Reply:
    return Reply.plain(503, text, _retry(RETRY_AFTER))


def _retry(seconds: int) -> HeaderPairs:
    return ((b"retry-after", b"%d" % seconds),)
