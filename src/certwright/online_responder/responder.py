"""The responder itself: bytes of a request in, bytes of an answer out. RFC 6960 2, 4.2; RFC 5019 2; [MS-OCSP] 3.2.5.

Answers for one certificate without a nonce are kept, finished and signed, until half of their life is over; then they
are made anew before anybody asks. `follow` drops those whose certificate changed. What cannot be answered from memory
asks a provider and signs.

Several threads answer while one follows. What was read from a provider before a change was heard of is not kept: the
number of changes is compared under the lock.
"""

from __future__ import annotations

import hashlib
import itertools
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Final, NamedTuple

import structlog

from certwright.online_responder.configuration import MOST_KEPT, NoncePolicy, NonIssued, RevocationConfiguration
from certwright.online_responder.revocation import GOOD, CertificateStatus, ProviderUnavailable, RevocationProvider
from certwright.pki import ocsp
from certwright.pki.certificate import CertificateView
from certwright.pki.errors import EncodingError
from certwright.pki.ocsp import CertId, OcspRequest, ResponseSigner, ResponseStatus

log = structlog.get_logger(__name__)

_NEVER_ISSUED: Final = CertificateStatus(datetime(1970, 1, 1, tzinfo=UTC), 6)
"""How a number that was never issued is called revoked. RFC 6960 2.2."""
_NOTHING: Final = timedelta()
_SECOND: Final = timedelta(seconds=1)
_TRUSTED: Final = timedelta(seconds=10)
"""How long after the last look at what changed a remembered status is taken for true."""
_SHORT_QUESTION: Final = 255
"""Octets of requests that are recognised as a whole; longer ones are read each time. RFC 5019 5."""


class Answer(NamedTuple):
    """A finished OCSPResponse and how HTTP caches may treat it. Times are seconds since the epoch."""

    der: bytes
    produced: int = 0
    until: int = 0  # its nextUpdate; 0: not to be kept by anybody
    max_age: int = 0  # seconds, at most
    etag: bytes = b""  # with its quotes


def _error(status: ResponseStatus) -> Answer:
    return Answer(ocsp.error_response(status))


MALFORMED: Final = _error(ResponseStatus.MALFORMED_REQUEST)
INTERNAL_ERROR: Final = _error(ResponseStatus.INTERNAL_ERROR)
TRY_LATER: Final = _error(ResponseStatus.TRY_LATER)
UNAUTHORIZED: Final = _error(ResponseStatus.UNAUTHORIZED)


@dataclass(frozen=True, slots=True, eq=False)
class Issuer:
    """One key of one CA, and how it is answered for.

    Args:
        version: of the configuration; answers of another one are not given any more.
        signer: None while there is none: the answer is then tryLater.
        signer_until: end of the signing certificate.
        is_quick: signing takes no longer than handing it to another thread would.
    """

    ca: str
    key_index: int
    certificate: CertificateView
    configuration: RevocationConfiguration
    version: int
    provider: RevocationProvider
    signer: ResponseSigner | None
    signer_until: datetime
    is_quick: bool = True

    @property
    def key(self) -> tuple[str, int]:
        return self.ca, self.key_index


class _Kept(NamedTuple):
    answer: Answer
    issuer: Issuer
    cert_id: CertId
    refresh_after: int


class _MustAsk(Exception):
    """It cannot be answered from memory."""


@dataclass(slots=True)
class _Picture:
    """Whom the responder answers for; replaced as a whole."""

    by_hashes: Mapping[tuple[str, bytes, bytes], Issuer] = field(default_factory=dict)
    by_key: Mapping[tuple[str, int], Issuer] = field(default_factory=dict)
    providers: Sequence[RevocationProvider] = ()


class Responder:
    """Thread-safe. `serve` says for whom it answers; until then it is unauthorized for everybody."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._picture = _Picture()
        self.changes = 0  # how often answers were dropped; written under the lock
        self._answers: dict[bytes, _Kept] = {}  # by CertID, the oldest first
        self._statuses: dict[tuple[str, int, int], CertificateStatus] = {}  # by CA, key, serial number
        self._questions: dict[bytes, bytes] = {}  # whole requests to the CertID they ask for
        self._asked_for: dict[tuple[str, int], list[bytes]] = {}  # CA and serial number to kept CertIDs
        self._heard: dict[str, datetime] = {}  # by CA: when its provider last said what changed
        self._silent: set[str] = set()
        self._second = clock().replace(microsecond=0)

    # -- for whom ----------------------------------------------------------------------------------------------

    def serve(self, issuers: Iterable[Issuer]) -> None:
        """Answer for these from now on. Answers of a configuration that changed are dropped."""
        by_key = {issuer.key: issuer for issuer in issuers}
        by_hashes = {
            (hash_oid, *ocsp.issuer_hashes(issuer.certificate, hash_oid)): issuer
            for issuer in by_key.values()
            for hash_oid in issuer.configuration.hash_algorithms
        }
        providers = list({id(issuer.provider): issuer.provider for issuer in by_key.values()}.values())
        with self._lock:
            before = {key: issuer.version for key, issuer in self._picture.by_key.items()}
            for provider in providers:
                self._heard.setdefault(provider.ca, self._clock())
            self._picture = _Picture(MappingProxyType(by_hashes), MappingProxyType(by_key), providers)
            if before != {key: issuer.version for key, issuer in by_key.items()}:
                self.changes += 1
                for kept in (self._answers, self._statuses, self._questions, self._asked_for):
                    kept.clear()

    @property
    def issuers(self) -> Sequence[Issuer]:
        return tuple(self._picture.by_key.values())

    @property
    def kept(self) -> int:
        """Finished answers in memory."""
        return len(self._answers)

    # -- answering ---------------------------------------------------------------------------------------------

    def answer(self, request: bytes, *, ask: bool = True) -> Answer | None:
        """The answer to a request, whatever it is.

        Args:
            ask: ask a provider and sign where need be. Otherwise None says that this would take a moment.
        """
        cert_id = self._questions.get(request)
        if cert_id is not None:
            kept = self._answers.get(cert_id)
            if kept is not None and self._clock().timestamp() < kept.answer.until:
                return kept.answer
        try:
            asked = ocsp.parse_request(request)
        except ocsp.TooManyCertIds:
            return UNAUTHORIZED
        except EncodingError:
            return MALFORMED
        issuer = self._issuer(asked)
        if issuer is None:
            return UNAUTHORIZED
        now = self._now()
        try:
            nonce = asked.nonce if issuer.configuration.nonce is NoncePolicy.ECHO else None
            if nonce is None and len(asked.cert_ids) == 1:
                return self._common(request, asked, issuer, now, ask)
            return self._special(asked, issuer, now, nonce, ask)
        except _MustAsk:
            return None
        except ProviderUnavailable:
            return TRY_LATER

    def _now(self) -> datetime:
        """This second; the same value all through it, so that what depends on it is encoded once."""
        now = self._clock()
        if not _NOTHING <= now - self._second < _SECOND:
            self._second = now.replace(microsecond=0)
        return self._second

    def _issuer(self, asked: OcspRequest) -> Issuer | None:
        """Who is asked about, if that is anybody and the request is one we take. [MS-OCSP] 3.2.5.

        One signature answers for all CertIDs of a message, so they have to be of one issuer.
        """
        by_hashes = self._picture.by_hashes
        first = asked.cert_ids[0]
        issuer = by_hashes.get((first.hash_oid, first.name_hash, first.key_hash))
        if issuer is None or asked.critical:
            return None
        configuration = issuer.configuration
        if len(asked.cert_ids) > 1:
            issuers = {by_hashes.get((each.hash_oid, each.name_hash, each.key_hash)) for each in asked.cert_ids}
            if len(issuers) > 1 or len(asked.cert_ids) > configuration.max_requests:
                return None
        if asked.nonce is not None and configuration.nonce is NoncePolicy.REJECT:
            return None
        return issuer

    def _common(self, request: bytes, asked: OcspRequest, issuer: Issuer, now: datetime, ask: bool) -> Answer:
        """What everybody gets who asks about this certificate."""
        cert_id = asked.cert_ids[0]
        kept = self._answers.get(cert_id.der)
        if kept is None or now.timestamp() >= kept.answer.until:
            kept = self._made(cert_id, issuer, now, ask)
        if kept.answer.until and asked.nonce is None and len(request) <= _SHORT_QUESTION:
            with self._lock:
                _make_room(self._questions)
                self._questions[request] = cert_id.der
        return kept.answer

    def _made(self, cert_id: CertId, issuer: Issuer, now: datetime, ask: bool) -> _Kept:
        """A new answer, which is kept where there is a certificate. Raises as `_status`."""
        changes = self.changes
        status = self._status(issuer, cert_id.serial, now, ask)
        signed = self._signed([(cert_id, status)], issuer, now, None, ask)
        answer = TRY_LATER if signed is None else Answer(signed[0])
        if signed is not None and status is not None:
            data, until = signed
            etag = b'"' + hashlib.sha256(data).hexdigest()[:32].encode() + b'"'
            max_age = issuer.configuration.max_age
            answer = Answer(data, int(now.timestamp()), int(until.timestamp()), max_age, etag)
        kept = _Kept(answer, issuer, cert_id, (answer.produced + answer.until) // 2)
        if answer.until:
            with self._lock:
                if self.changes == changes:
                    self._forget(cert_id.der)
                    if len(self._answers) >= MOST_KEPT:
                        self._forget(next(iter(self._answers)))
                    self._answers[cert_id.der] = kept
                    self._asked_for.setdefault((issuer.ca, cert_id.serial), []).append(cert_id.der)
        return kept

    def _special(self, asked: OcspRequest, issuer: Issuer, now: datetime, nonce: bytes | None, ask: bool) -> Answer:
        """An answer for this request alone, which nobody may keep."""
        found = [(cert_id, self._status(issuer, cert_id.serial, now, ask)) for cert_id in asked.cert_ids]
        signed = self._signed(found, issuer, now, nonce, ask)
        return TRY_LATER if signed is None else Answer(signed[0])

    def _status(self, issuer: Issuer, serial: int, now: datetime, ask: bool) -> CertificateStatus | None:
        """From memory or from the provider.

        Raises:
            ProviderUnavailable: the provider cannot say.
            _MustAsk: it is not in memory.
        """
        key = (issuer.ca, issuer.key_index, serial)
        known = self._statuses.get(key)
        # What is remembered holds as long as changes are heard of: an old "good" must not be signed anew.
        followed = now - self._heard[issuer.ca] < _TRUSTED
        if known is not None and followed and (known.until is None or now < known.until):
            return known
        if not ask:
            raise _MustAsk
        changes = self.changes
        found = issuer.provider.status(serial, issuer.key_index, now)
        if found is not None:
            with self._lock:
                if self.changes == changes:
                    _make_room(self._statuses)
                    self._statuses[key] = found
        return found

    @staticmethod
    def _signed(
        found: Sequence[tuple[CertId, CertificateStatus | None]],
        issuer: Issuer,
        now: datetime,
        nonce: bytes | None,
        ask: bool,
    ) -> tuple[bytes, datetime] | None:
        """An answer and its end; None when nothing can be signed now."""
        if issuer.signer is None or issuer.signer_until <= now:
            return None
        if not ask and not issuer.is_quick:
            raise _MustAsk
        until = min(now + issuer.configuration.validity, issuer.signer_until)
        extended = False
        for _, status in found:
            if status is None:
                extended = extended or issuer.configuration.non_issued is NonIssued.REVOKED
            elif status.until is not None:
                until = min(until, status.until)
        singles = b"".join([_single(cert_id, status, issuer, now, until) for cert_id, status in found])
        extensions = ocsp.nonce_extension(nonce) if nonce is not None else b""
        if extended:
            extensions += ocsp.extended_revoke()
        return issuer.signer.response(now, singles, extensions), until

    # -- keeping up --------------------------------------------------------------------------------------------

    def follow(self) -> None:
        """Drop what changed. Providers that do not answer are logged once; what is kept stays good until its end."""
        for provider in self._picture.providers:
            name, now = provider.ca, self._clock()
            try:
                changed = provider.changes()
            except ProviderUnavailable as error:
                if name not in self._silent:
                    self._silent.add(name)
                    log.error("revocation_provider_unavailable", ca=name, error=str(error))
                continue
            self._heard[name] = now
            if name in self._silent:
                self._silent.discard(name)
                log.info("revocation_provider_available", ca=name)
            if changed is None:
                self._drop_all(name)
            elif changed:
                self._drop(name, changed)

    def _drop_all(self, ca: str) -> None:
        with self._lock:
            self.changes += 1
            self._statuses = {key: status for key, status in self._statuses.items() if key[0] != ca}
            for cert_id in [cert_id for cert_id, kept in self._answers.items() if kept.issuer.ca == ca]:
                self._forget(cert_id)

    def _drop(self, ca: str, serials: Iterable[int]) -> None:
        keys = [issuer.key_index for issuer in self._picture.by_key.values() if issuer.ca == ca]
        with self._lock:
            self.changes += 1
            for serial in serials:
                for key_index in keys:
                    self._statuses.pop((ca, key_index, serial), None)
                for cert_id in tuple(self._asked_for.get((ca, serial), ())):
                    self._forget(cert_id)

    def _forget(self, cert_id: bytes) -> None:
        """Drop a kept answer, if there is one. The lock is held."""
        kept = self._answers.pop(cert_id, None)
        if kept is None:
            return
        key = (kept.issuer.ca, kept.cert_id.serial)
        others = self._asked_for.get(key, [])
        others.remove(cert_id)
        if not others:
            del self._asked_for[key]

    def refresh(self, most: int) -> int:
        """Make anew what has lived half of its life, the oldest first; returns how many were made.

        Where a provider cannot say, the old answers stay until their end.
        """
        now = self._now()
        with self._lock:
            oldest = list(itertools.islice(self._answers.values(), most))
        made = 0
        silent: set[str] = set()
        for kept in oldest:
            if now.timestamp() < kept.refresh_after:
                continue
            issuer = self._picture.by_key.get(kept.issuer.key)
            if issuer is not None and issuer.ca not in silent:
                self._forget_status(issuer, kept.cert_id.serial)
                try:
                    fresh = self._made(kept.cert_id, issuer, now, ask=True)
                except ProviderUnavailable:
                    silent.add(issuer.ca)  # `follow` says so in the log, or the health of its lists does
                else:
                    if fresh.answer.until:
                        made += 1
                        continue
            with self._lock:  # nobody answers for it any more, or nothing can be signed
                if self._answers.get(kept.cert_id.der) is kept and now.timestamp() >= kept.answer.until:
                    self._forget(kept.cert_id.der)
        return made

    def _forget_status(self, issuer: Issuer, serial: int) -> None:
        with self._lock:
            self._statuses.pop((issuer.ca, issuer.key_index, serial), None)

    def produce(self, issuer: Issuer, serials: Iterable[int]) -> int:
        """Make answers that nobody asked for yet, with CertIDs as most clients write them; returns how many.

        Raises:
            ProviderUnavailable: the provider cannot say.
        """
        now = self._now()
        made = 0
        for cert_id in ocsp.usual_cert_ids(issuer.certificate, serials):
            if cert_id.der not in self._answers:
                made += bool(self._made(cert_id, issuer, now, ask=True).answer.until)
        return made


def _make_room(kept: dict[bytes, bytes] | dict[tuple[str, int, int], CertificateStatus]) -> None:
    if len(kept) >= MOST_KEPT:
        del kept[next(iter(kept))]  # type: ignore[arg-type]


def _single(
    cert_id: CertId, status: CertificateStatus | None, issuer: Issuer, now: datetime, until: datetime
) -> bytes:
    """One SingleResponse. What is revoked from a later moment on is good until then."""
    configuration = issuer.configuration
    if status is None:
        status = {NonIssued.GOOD: GOOD, NonIssued.REVOKED: _NEVER_ISSUED}.get(configuration.non_issued)
    if status is None:
        encoded = ocsp.UNKNOWN
    elif status.revoked is None:
        encoded = ocsp.GOOD
    else:
        encoded = ocsp.revoked(status.revoked, status.reason)
    extensions = ocsp.archive_cutoff(issuer.certificate.not_before) if configuration.archive_cutoff else b""
    known = now - configuration.clock_skew
    if status is not None and status.known is not None:
        known = min(known, status.known)
    return ocsp.single_response(cert_id.der, encoded, known, until, extensions)
