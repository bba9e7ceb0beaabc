"""One `Authorization` header and its connection in, a requester or a challenge out. RFC 9110 11.6, RFC 4559.

A connection is unknown, in the middle of a handshake, or somebody's: `Connection.auth` holds which, and nothing else
does. A request without the header on somebody's connection is theirs; a new header always starts anew and first
forgets who was there. Whatever goes wrong, the connection is nobody's afterwards.

What is refused and why stands in the log (`logon_refused`); the answer is the same for every reason.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import math
import secrets
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import structlog

from certwright.adcs.errors import AdcsError
from certwright.adcs.requester import AuthMethod, Requester, Sid
from certwright.auth import basic
from certwright.auth.accounts import Accounts
from certwright.auth.connection import Connection
from certwright.auth.domain import DomainLogons
from certwright.auth.kerberos import KerberosAcceptor
from certwright.auth.mechanism import Continue, Established, Mechanism, Overloaded, Refused
from certwright.auth.ntlm import NtlmAcceptor, NtlmVerifier, OwnHashes
from certwright.auth.policy import AuthenticationPolicy, Binding, Scheme
from certwright.auth.spnego import Mechanisms, Negotiation
from certwright.auth.throttle import Throttle
from certwright.auth.winbind import WinbindVerifier
from certwright.directory.base import LogonDirectory, Principal
from certwright.pki import oids
from certwright.wire import ntlm, spnego

log = structlog.get_logger(__name__)

MAX_LEGS: Final = 4
"""Tokens a client may send in one handshake; NTLM inside Negotiate needs three at most."""
MAX_AUTHORIZATION: Final = 64 * 1024
"""Longest header value taken, in bytes."""
BUSY_RETRY: Final = 2
"""Seconds after which a client that met an overload may come again."""

REVIEW_SECONDS: Final = 2.0
"""How old the picture of a connection's account may be where asking the directory may block. The CA asks again for
every request it decides on."""

Headers = tuple[tuple[bytes, bytes], ...]

_AUTHENTICATE = b"www-authenticate"
_SCHEMES: Final = {scheme.value.lower().encode(): scheme for scheme in Scheme}


@dataclass(frozen=True, slots=True)
class Authenticated:
    """Who asks. `headers` go with the answer to this request, whatever it is."""

    requester: Requester
    headers: Headers = ()


@dataclass(frozen=True, slots=True)
class Challenge:
    """Nobody yet: answer with this status and these headers, and read no body.

    Args:
        status: 401 to be answered with credentials, 403 without TLS, 429 after too many failures, 503 under overload.
        reason: one sentence that may be shown; never why a logon failed.
        retry_after: seconds, also among the headers.
    """

    status: int
    headers: Headers
    reason: str
    retry_after: int | None = None


@dataclass(slots=True, eq=False)
class _Handshake:
    scheme: Scheme
    mechanism: Mechanism
    legs: int = 0


@dataclass(slots=True, eq=False)
class _Session:
    """Whose connection it is, and under which conditions it became theirs. No scheme: by the client's certificate."""

    scheme: Scheme | None
    method: AuthMethod
    binding: Binding
    principal: Principal
    policy: AuthenticationPolicy
    answer: Authenticated
    header: bytes | None = field(default=None, repr=False)  # keyed digest of the Basic header that was checked
    groups: frozenset[Sid] | None = None  # where the proof itself says them
    ends: float = math.inf  # monotonic, as the proof does
    reviewed: float = field(default_factory=time.monotonic)

    def may_stand(self, policy: AuthenticationPolicy) -> bool:
        """Whether the administrator's present choice would let this authentication happen."""
        return (
            (self.scheme is None or self.scheme in policy.schemes)
            and (self.method is not AuthMethod.NTLM or Scheme.NTLM in policy.schemes)
            and policy.admits(self.binding)
        )


def _now() -> datetime:
    return datetime.now(UTC)


class HttpAuthenticator:
    """Authenticates the connections of one event loop.

    Args:
        policy: asked at every request; the same object as long as nothing changed.
        pool: where password hashes are computed; two threads are enough.
        local_names: every name and address a client may call this server by; NTLM clients name the one they believe
            to talk to, and another one is refused (`auth.channel_binding`).
        clock: the time of day, for NTLM challenges.
        domain: how accounts of a domain log on; None where the directory is ours alone and never blocks.
    """

    def __init__(
        self,
        directory: LogonDirectory,
        policy: Callable[[], AuthenticationPolicy],
        throttle: Throttle,
        pool: Executor,
        local_names: Callable[[], frozenset[str]],
        clock: Callable[[], datetime] = _now,
        domain: DomainLogons | None = None,
    ) -> None:
        self._directory = directory
        self._policy = policy
        self._throttle = throttle
        self._domain = domain
        self._accounts = Accounts(directory, throttle, pool, None if domain is None else domain.lookups)
        self._local_names = local_names
        self._clock = clock
        self._digest_key = secrets.token_bytes(32)

    async def authenticate(self, authorization: bytes | None, connection: Connection) -> Authenticated | Challenge:
        """Who sends this request, `authorization` being its header's value. Never raises for what a client sends."""
        session = connection.auth
        if type(session) is _Session and (authorization is None or self._is_same(authorization, session)):
            if self._domain is None:
                answer = self._resume(session, connection)
            else:
                answer = await self._review(session, connection, self._domain)
            if answer is not None:
                return answer
        if not connection.tls:
            connection.auth = None
            return Challenge(403, (), "This page needs TLS: use its https address.")
        policy = self._policy()
        by_certificate = self._domain is not None and self._domain.takes_certificate_of(connection)
        if authorization is None and not by_certificate:
            connection.auth = None
            return self._challenge(policy, connection)
        return await self._attempt(authorization, connection, policy)

    # -- somebody's connection

    def _is_same(self, authorization: bytes, session: _Session) -> bool:
        """Whether this is the Basic header that was checked on this connection. Other schemes start anew."""
        return session.header is not None and hmac.compare_digest(self._digest(authorization), session.header)

    def _resume(self, session: _Session, connection: Connection) -> Authenticated | None:
        """The connection's requester with today's groups; None when account or policy no longer allow it."""
        if not self._stands(session, connection):
            return None
        return self._renew(session, connection, self._directory.principal(session.principal.sid))

    async def _review(self, session: _Session, connection: Connection, domain: DomainLogons) -> Authenticated | None:
        """The same where asking the directory may block. One that does not answer leaves the account as it was."""
        if not self._stands(session, connection):
            return None
        now = time.monotonic()
        if now - session.reviewed < REVIEW_SECONDS:
            return session.answer
        sid = session.principal.sid
        try:
            principal = await domain.lookups.run(lambda: self._directory.principal(sid))
        except (AdcsError, Overloaded) as error:
            log.warning("account_not_reviewed", account=session.principal.account, reason=str(error))
            return session.answer
        if connection.auth is not session:  # closed, or used otherwise meanwhile
            return None
        session.reviewed = now
        return self._renew(session, connection, principal)

    def _stands(self, session: _Session, connection: Connection) -> bool:
        """Whether the present policy would let the authentication happen, and its proof has not come to its end."""
        policy = self._policy()
        if policy is not session.policy:
            if not session.may_stand(policy):
                self._forget(connection, session, "the authentication policy changed")
                return False
            session.policy = policy
        if session.ends is not math.inf and time.monotonic() >= session.ends:
            self._forget(connection, session, "the ticket or certificate has come to its end")
            return False
        return True

    def _renew(self, session: _Session, connection: Connection, principal: Principal | None) -> Authenticated | None:
        if principal is session.principal:
            return session.answer
        if principal is None or not principal.enabled:
            self._forget(connection, session, "account disabled or gone")
            return None
        session.principal = principal
        session.answer = Authenticated(_requester(principal, session.method, connection, session.groups))
        return session.answer

    def _forget(self, connection: Connection, session: _Session, reason: str) -> None:
        connection.auth = None
        log.warning(
            "logon_ended",
            reason=reason,
            account=session.principal.account,
            method=session.method.value,
            peer=connection.peer,
            connection=connection.id,
        )

    # -- an attempt

    async def _attempt(
        self, authorization: bytes | None, connection: Connection, policy: AuthenticationPolicy
    ) -> Authenticated | Challenge:
        """One header, or without one the client's certificate, checked.

        Meanwhile the connection holds our ticket: what comes between ends the attempt.
        """
        before, ticket = connection.auth, object()
        connection.auth = ticket
        scheme: Scheme | None = None
        state: _Handshake | _Session | None = None
        try:
            scheme, data = (None, b"") if authorization is None else _split(authorization)
            if scheme is not None and scheme not in self._offered(policy, connection):
                raise Refused("the scheme is not offered")
            if authorization is None or scheme is None:
                state = await self._check_certificate(connection, policy)
                answer: Authenticated | Challenge = state.answer
            elif scheme is Scheme.BASIC:
                state = await self._check_basic(data, authorization, connection, policy)
                answer = state.answer
            else:
                handshake = before if type(before) is _Handshake and before.scheme is scheme else None
                state, answer = await self._step(scheme, data, handshake, connection, policy)
            if connection.auth is not ticket:
                raise Refused("the connection was closed or used otherwise meanwhile")
        except Refused as refused:
            state = None
            answer = self._refuse(refused, scheme, connection, policy)
        except Overloaded:
            state = None
            log.warning("logon_postponed", reason="too many logons wait to be checked", peer=connection.peer)
            answer = Challenge(503, _retry(BUSY_RETRY), "The server is busy. Try again.", BUSY_RETRY)
        except AdcsError as error:  # the directory cannot be reached: not the client's fault
            state = None
            log.error("logon_not_checked", reason=error.message, peer=connection.peer, connection=connection.id)
            answer = Challenge(503, _retry(BUSY_RETRY), "The logon could not be checked. Try again.", BUSY_RETRY)
        except Exception:  # a fault of ours: not the client's password
            state = None
            log.exception("logon_failed", peer=connection.peer, connection=connection.id)
            answer = Challenge(503, _retry(BUSY_RETRY), "The logon could not be checked. Try again.", BUSY_RETRY)
        finally:
            if connection.auth is ticket:
                connection.auth = state
        if type(state) is _Session:
            log.info(
                "logon_accepted",
                account=state.principal.account,
                method=state.method.value,
                scheme=state.scheme.value if state.scheme else None,
                binding=state.binding.value,
                peer=connection.peer,
                connection=connection.id,
            )
        return answer

    async def _check_basic(
        self, data: bytes, authorization: bytes, connection: Connection, policy: AuthenticationPolicy
    ) -> _Session:
        domain, user, password = basic.parse_credentials(_decode(data))
        principal = await self._accounts.check_password(domain, user, password, connection.peer)
        answer = Authenticated(_requester(principal, AuthMethod.BASIC, connection))
        return _Session(
            Scheme.BASIC,
            AuthMethod.BASIC,
            Binding.NOT_NEEDED,
            principal,
            policy,
            answer,
            self._digest(authorization),
        )

    async def _check_certificate(self, connection: Connection, policy: AuthenticationPolicy) -> _Session:
        """TLS has proved that the client holds the key: nothing can be relayed, and no binding is asked for."""
        domain, certificate = self._domain, connection.peer_certificate
        if domain is None or domain.certificates is None or certificate is None:
            raise Refused("no client certificate is expected")
        mapper = domain.certificates
        principal, lifetime = await domain.lookups.run(lambda: mapper.map(certificate))
        answer = Authenticated(_requester(principal, AuthMethod.CLIENT_CERTIFICATE, connection))
        return _Session(
            None,
            AuthMethod.CLIENT_CERTIFICATE,
            Binding.NOT_NEEDED,
            principal,
            policy,
            answer,
            ends=time.monotonic() + lifetime,
        )

    async def _step(
        self,
        scheme: Scheme,
        data: bytes,
        handshake: _Handshake | None,
        connection: Connection,
        policy: AuthenticationPolicy,
    ) -> tuple[_Handshake | _Session, Authenticated | Challenge]:
        """One leg of NTLM or Negotiate."""
        token = _decode(data)
        if ntlm.message_type(token) is ntlm.MessageType.NEGOTIATE or spnego.is_initial(token):
            handshake = _Handshake(scheme, self._mechanism(scheme, connection, policy))
        elif handshake is None:
            raise Refused("the message belongs to a handshake that this connection did not begin")
        handshake.legs += 1
        if handshake.legs > MAX_LEGS:
            raise Refused("the handshake has too many legs")
        result = await handshake.mechanism.step(token)
        if isinstance(result, Continue):
            header = (_AUTHENTICATE, _encode(scheme, result.token))
            return handshake, Challenge(401, (header,), "The handshake goes on.")
        return self._establish(scheme, result, connection, policy)

    def _establish(
        self, scheme: Scheme, result: Established, connection: Connection, policy: AuthenticationPolicy
    ) -> tuple[_Session, Authenticated]:
        requester = _requester(result.principal, result.method, connection, result.groups)
        session = _Session(
            scheme,
            result.method,
            result.binding,
            result.principal,
            policy,
            Authenticated(requester),
            groups=result.groups,
            ends=math.inf if result.lifetime is None else time.monotonic() + result.lifetime,
        )
        if result.token is None:
            return session, session.answer
        return session, Authenticated(requester, ((_AUTHENTICATE, _encode(scheme, result.token)),))

    # -- what is on offer

    def _mechanisms(self, connection: Connection, policy: AuthenticationPolicy) -> Mechanisms:
        """What Negotiate may choose from on this connection.

        Windows offers Kerberos under two numbers, and its token fits both ([MS-SPNG] 3.1.5.2, appendix A).
        """
        mechanisms: dict[str, Callable[[], Mechanism]] = {}
        if self._domain is not None and self._domain.has_kerberos:
            mechanisms[oids.KERBEROS] = mechanisms[oids.MS_KERBEROS] = lambda: self._kerberos(connection, policy)
        if Scheme.NTLM in policy.schemes and (self._domain is None or self._domain.has_ntlm):
            mechanisms[oids.NTLM] = lambda: self._ntlm(connection, policy)
        return mechanisms

    def _kerberos(self, connection: Connection, policy: AuthenticationPolicy) -> Mechanism:
        domain = self._domain
        assert domain is not None
        assert domain.tickets is not None
        return KerberosAcceptor(
            domain.tickets, self._directory, self._throttle, domain.lookups, connection, policy, domain.local_sid
        )

    def _ntlm(self, connection: Connection, policy: AuthenticationPolicy) -> Mechanism:
        names = self._local_names()
        verifier: NtlmVerifier = OwnHashes(self._accounts, names)
        if self._domain is not None and self._domain.winbind is not None:
            verifier = WinbindVerifier(self._domain.winbind, self._accounts, verifier)
        return NtlmAcceptor(verifier, self._accounts, connection, policy, names, self._clock)

    def _mechanism(self, scheme: Scheme, connection: Connection, policy: AuthenticationPolicy) -> Mechanism:
        mechanisms = self._mechanisms(connection, policy)
        return Negotiation(mechanisms) if scheme is Scheme.NEGOTIATE else mechanisms[oids.NTLM]()

    def _offered(self, policy: AuthenticationPolicy, connection: Connection) -> list[Scheme]:
        """Schemes in the order of the enumeration; each only while it has a mechanism."""
        mechanisms = self._mechanisms(connection, policy)
        has = {Scheme.NEGOTIATE: bool(mechanisms), Scheme.NTLM: oids.NTLM in mechanisms, Scheme.BASIC: True}
        return [scheme for scheme in Scheme if scheme in policy.schemes and has[scheme]]

    def _challenge(self, policy: AuthenticationPolicy, connection: Connection) -> Challenge:
        realm = policy.realm or self._directory.domain.dns_name
        headers = tuple(
            (_AUTHENTICATE, basic.challenge(realm) if scheme is Scheme.BASIC else scheme.value.encode())
            for scheme in self._offered(policy, connection)
        )
        return Challenge(401, headers, "You are not logged on, or the logon was not accepted.")

    def _refuse(
        self, refused: Refused, scheme: Scheme | None, connection: Connection, policy: AuthenticationPolicy
    ) -> Challenge:
        log.warning(
            "logon_refused",
            reason=refused.reason,
            account=_printable(refused.account),
            scheme=scheme.value if scheme else None,
            channel_binding=policy.channel_binding.value,
            peer=connection.peer,
            connection=connection.id,
        )
        if refused.retry_after is None:
            return self._challenge(policy, connection)
        seconds = math.ceil(refused.retry_after)
        return Challenge(429, _retry(seconds), "Too many logons failed. Wait before you try again.", seconds)

    def _digest(self, authorization: bytes) -> bytes:
        return hmac.digest(self._digest_key, authorization, "sha256")


def _requester(
    principal: Principal, method: AuthMethod, connection: Connection, groups: frozenset[Sid] | None = None
) -> Requester:
    held = principal.groups if groups is None else groups
    return Requester(principal.account, principal.sid, held, method, origin=connection.peer)


def _split(authorization: bytes) -> tuple[Scheme, bytes]:
    """Scheme and the rest of a header's value. RFC 9110 11.4: the scheme's case does not matter.

    Raises:
        Refused: too long, or a scheme nobody here knows.
    """
    if len(authorization) > MAX_AUTHORIZATION:
        raise Refused("the Authorization header is too long")
    name, _, data = authorization.strip().partition(b" ")
    scheme = _SCHEMES.get(name.lower())
    if scheme is None:
        raise Refused("the scheme is unknown")
    return scheme, data.strip()


def _decode(data: bytes) -> bytes:
    """Raises:
    Refused: not base64, or nothing.
    """
    try:
        token = binascii.a2b_base64(data, strict_mode=True)
    except binascii.Error as error:
        raise Refused("the Authorization header is not base64") from error
    if not token:
        raise Refused("the Authorization header is empty")
    return token


def _encode(scheme: Scheme, token: bytes) -> bytes:
    return scheme.value.encode() + b" " + base64.b64encode(token)


def _retry(seconds: int) -> Headers:
    return ((b"retry-after", str(seconds).encode()),)


def _printable(text: str) -> str:
    """A name from the network as a log may hold it."""
    return "".join(character if character.isprintable() else "?" for character in text[:512])
