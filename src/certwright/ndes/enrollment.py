"""What the service does with a message: enroll, renew, say how a request stands, give certificates and CRLs.

RFC 8894 3. In this order: signature, whose it is, encryption, request, challenge, CA. Who sent the
message is known by its key alone: a self-signed certificate of the new key asks with a challenge, a certificate of
ours asks for its own renewal. Whatever could tell an attacker why an encrypted message did not open is one answer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

import structlog
from cryptography.hazmat.primitives.asymmetric import rsa

from certwright.adcs.errors import AdcsError, CaUnreachable, HResult, NoSuchRequest
from certwright.adcs.properties import LATEST, CaProperty
from certwright.adcs.request import Disposition, RequestAttributes, RequestFlags, Response, template_attributes
from certwright.adcs.requester import Requester
from certwright.adcs.template import CertificateTemplate
from certwright.auth.throttle import Throttle
from certwright.connectors.registry import Registry
from certwright.database import Database
from certwright.directory.base import Directory
from certwright.ndes import names, store
from certwright.ndes.challenges import Challenges, WrongChallenge
from certwright.ndes.registration_authority import RaCertificates, RegistrationAuthority
from certwright.ndes.settings import NdesSettings
from certwright.ndes.store import State, Transaction
from certwright.pki.certificate import CertificateView
from certwright.pki.cms import certs_only, parse_certs_only
from certwright.pki.enveloped_data import ContentCipher, EnvelopedData, NotOpened, seal
from certwright.pki.errors import EncodingError, SignatureError, WeakAlgorithm
from certwright.pki.pkcs10 import CertificationRequest
from certwright.pki.public_keys import load_public_key
from certwright.wire.scep import FailInfo, IssuerAndSerial, MessageType, PkiMessage, PkiStatus, challenge_password

log = structlog.get_logger(__name__)

PROMISED: Final = 60
"""Seconds for which a submission under way is called pending; after that its process is taken for dead."""
SMALLEST_KEY: Final = 1024
"""Bits of a key that an answer, a refusal too, is worth encrypting to. What is certified, the template says."""
TRANSACTION_ATTRIBUTE: Final = "ScepTransaction"

_UNREADABLE: Final = "The message cannot be opened, or does not hold a request made with the key that signed it."
_WEAK: Final = frozenset(
    {HResult.CERTSRV_E_WEAK_SIGNATURE_OR_KEY, HResult.CERTSRV_E_KEY_LENGTH, HResult.CERTSRV_E_UNSUPPORTED_CERT_TYPE}
)


class Standing(Protocol):
    """Whether a certificate is one of ours and still good: `auth.certificate_mapping.Standing`."""

    def why_not(self, certificate: CertificateView) -> str: ...


class TooMany(Exception):
    """Wrong challenges came from this address too often; nothing is looked at."""

    def __init__(self, retry_after: float) -> None:
        super().__init__(retry_after)
        self.retry_after = max(1, round(retry_after))


class _Refused(Exception):
    """Said inside SCEP. `rule` and `detail` are for the log."""

    def __init__(self, fail_info: FailInfo, text: str, rule: str, detail: str = "") -> None:
        super().__init__(text)
        self.fail_info = fail_info
        self.text = text
        self.rule = rule
        self.detail = detail


@dataclass(frozen=True, slots=True)
class _Case:
    """One message under way."""

    message: PkiMessage
    settings: NdesSettings
    ra: RaCertificates
    peer: str
    cipher: ContentCipher = ContentCipher.AES_128

    @property
    def transaction(self) -> str:
        return self.message.transaction_text

    @property
    def key_hash(self) -> bytes:
        return hashlib.sha256(self.message.signer.public_key_info).digest()


class Enrollment:
    """The operations on messages. Blocking; for threads.

    Args:
        service_account: this service's account as a caller, by the address of the device.
        standing: of certificates that sign renewals.
        find: the CA's request of a marked submission whose answer was lost, by its attributes and its time.
    """

    def __init__(
        self,
        database: Database,
        registry: Registry,
        directory: Directory,
        authority: RegistrationAuthority,
        challenges: Challenges,
        service_account: Callable[[str], Requester],
        standing: Standing,
        throttle: Throttle,
        clock: Callable[[], datetime],
        find: Callable[[str, int], int | None],
    ) -> None:
        self._database = database
        self._registry = registry
        self._directory = directory
        self._authority = authority
        self._challenges = challenges
        self._service_account = service_account
        self._standing = standing
        self._throttle = throttle
        self._clock = clock
        self._find = find

    def answer(self, data: bytes, settings: NdesSettings, peer: str) -> bytes:
        """The answer to a pkiMessage, a refusal too.

        Raises:
            EncodingError: it is none; nothing can be answered inside SCEP.
            TooMany: not looked at.
            AdcsError: the CA, or the service itself, cannot answer now; asking again may help.
        """
        wait = self._throttle.wait_from(peer)
        if wait > 0:
            raise TooMany(wait)
        message = PkiMessage.parse(data)
        case = _Case(message, settings, self._authority.current(), peer)
        try:
            return self._decided(case)
        except _Refused as refused:
            log.warning(
                "scep_refused",
                rule=refused.rule,
                reason=refused.detail or refused.text,
                fail_info=refused.fail_info.name,
                message_type=message.kind.name,
                transaction=case.transaction,
                signer=message.signer.subject_name[:200],
                peer=peer,
            )
            return message.answer(
                case.ra.signing, PkiStatus.FAILURE, fail_info=refused.fail_info, fail_text=refused.text
            )

    def _decided(self, case: _Case) -> bytes:
        message = case.message
        try:
            message.verify(sha1=case.settings.sha1)
            key = load_public_key(message.signer.public_key_info)
        except WeakAlgorithm as error:
            raise _Refused(FailInfo.BAD_ALG, f"{error}.", "signature") from error
        except (SignatureError, EncodingError) as error:
            raise _Refused(
                FailInfo.BAD_MESSAGE_CHECK, "The signature does not verify.", "signature", str(error)
            ) from error
        if not isinstance(key, rsa.RSAPublicKey) or key.key_size < SMALLEST_KEY:
            raise _Refused(
                FailInfo.BAD_ALG,
                f"SCEP needs an RSA key of {SMALLEST_KEY} bits at least: the answer is encrypted to it.",
                "key of the signer",
            )
        if message.kind is MessageType.CERT_REP:
            raise _Refused(FailInfo.BAD_REQUEST, "An answer asks for nothing.", "message type")
        ours = self._whose(case)
        opened, cipher = self._open(case)
        case = _Case(case.message, case.settings, case.ra, case.peer, cipher)
        match message.kind:
            case MessageType.CERT_POLL:
                return self._poll(case)
            case MessageType.GET_CERT:
                return self._certificate(case, opened, ours)
            case MessageType.GET_CRL:
                return self._crl(case)
        return self._enroll(case, opened, renewal=ours)

    # -- who asks

    def _whose(self, case: _Case) -> bool:
        """Is the signer's certificate ours and good? False for the self-signed one of a new device."""
        signer = case.message.signer
        why = self._standing.why_not(signer)
        if not why:
            if not signer.not_before <= self._clock() <= signer.not_after:
                raise _Refused(
                    FailInfo.BAD_TIME,
                    f"The certificate that signed is not valid now; it ends {signer.not_after:%Y-%m-%d %H:%M} UTC.",
                    "validity of the signer",
                )
            return True
        if not signer.is_self_issued:
            raise _Refused(
                FailInfo.BAD_REQUEST,
                f"The certificate that signed {why}; enroll anew with a challenge.",
                "certificate of the signer",
            )
        return False

    def _open(self, case: _Case) -> tuple[bytes, ContentCipher]:
        """What is inside."""
        try:
            enveloped = EnvelopedData.parse(case.message.envelope or b"")
        except WeakAlgorithm as error:
            raise _Refused(FailInfo.BAD_ALG, f"{error}.", "content cipher") from error
        except EncodingError as error:
            raise _Refused(FailInfo.BAD_MESSAGE_CHECK, _UNREADABLE, "envelope", str(error)) from error
        for credentials in case.ra.encryption:
            recipient = enveloped.recipient_of(credentials.certificate)
            if recipient is None:
                continue
            try:
                return (
                    enveloped.open(recipient, credentials.private_key, case.settings.ciphers),
                    enveloped.cipher,
                )
            except NotOpened as error:
                raise _Refused(FailInfo.BAD_MESSAGE_CHECK, _UNREADABLE, "envelope", str(error)) from error
            except (WeakAlgorithm, EncodingError) as error:
                raise _Refused(FailInfo.BAD_ALG, f"{error}.", "encryption") from error
        raise _Refused(
            FailInfo.BAD_MESSAGE_CHECK,
            "The message is encrypted for another certificate; ask for GetCACert again.",
            "recipient",
        )

    # -- enrolling

    def _enroll(self, case: _Case, opened: bytes, *, renewal: bool) -> bytes:
        request = self._request(case, opened, renewal=renewal)
        request_hash = hashlib.sha256(request.der).digest()
        template = self._renewed_template(case) if renewal else names.template_for(request.extensions, case.settings)
        earlier = self._earlier(case)
        if earlier is not None and earlier.request_hash == request_hash:
            repeated = self._again(case, earlier)
            if repeated is not None:
                return repeated
        if renewal:
            self._demand_same_names(case, request)
        try:
            used = self._begin(case, request, request_hash, template, earlier, renewal=renewal)
        except _UnderWay:
            return case.message.answer(case.ra.signing, PkiStatus.PENDING)
        return self._submit(case, request, request_hash, template, used)

    @staticmethod
    def _request(case: _Case, opened: bytes, *, renewal: bool) -> CertificationRequest:
        """The PKCS#10 with its proof of possession. Every way to fail is one answer: the message could be somebody
        else's, encrypted anew under another signature to find out what becomes of it."""
        try:
            request = CertificationRequest.parse(opened)
            request.verify_signature()
        except (EncodingError, SignatureError) as error:
            raise _Refused(FailInfo.BAD_MESSAGE_CHECK, _UNREADABLE, "request", str(error)) from error
        if not renewal and request.public_key_info != case.message.signer.public_key_info:
            raise _Refused(
                FailInfo.BAD_MESSAGE_CHECK, _UNREADABLE, "key", "the request has another key than the one that signed"
            )
        return request

    def _renewed_template(self, case: _Case) -> str:
        """A certificate is renewed from its own template, which must be one of this service's."""
        templates = self._directory.templates()
        for cn in case.settings.templates:
            template = templates.get(cn)
            if template is not None and _is_from(case.message.signer, template):
                return cn
        raise _Refused(
            FailInfo.BAD_REQUEST,
            "The certificate that signed was issued from a template that is not renewed here.",
            "template of the signer",
        )

    @staticmethod
    def _demand_same_names(case: _Case, request: CertificationRequest) -> None:
        signer = case.message.signer
        if case.settings.match_renewal_subject and not names.is_same(request.subject, signer.subject):
            raise _Refused(
                FailInfo.BAD_REQUEST,
                f"A renewal keeps its subject: {signer.subject_name}.",
                "renewal subject",
            )
        wider = set(map(str, request.alternative_names)) - set(map(str, signer.alternative_names))
        if wider:
            raise _Refused(
                FailInfo.BAD_REQUEST,
                "A renewal names nothing that the certificate does not name; enroll anew with a challenge.",
                "renewal names",
                ", ".join(sorted(wider))[:500],
            )

    def _earlier(self, case: _Case) -> Transaction | None:
        """This device's request of the same name."""
        with self._database.read() as connection:
            called = store.transactions_called(connection, case.transaction)
        own = next((each for each in called if each.key_hash == case.key_hash), None)
        fresh = int(self._clock().timestamp()) - case.settings.answer_minutes * 60
        if own is None and any(each.changed >= fresh or each.state is State.PENDING for each in called):
            raise _Refused(
                FailInfo.BAD_REQUEST, "The transaction ID belongs to a request with another key.", "transaction"
            )
        return own

    def _again(self, case: _Case, earlier: Transaction) -> bytes | None:
        """The answer that was given already, or None where the request is to be taken as a new one."""
        if earlier.state is State.SUBMITTING:
            return self._under_way(case, earlier)
        fresh = earlier.changed + case.settings.answer_minutes * 60 >= int(self._clock().timestamp())
        if earlier.state is State.PENDING or fresh:
            return self._standing_of(case, earlier)
        return None

    def _under_way(self, case: _Case, earlier: Transaction) -> bytes | None:
        """Another thread is at it; or a process ended before it knew the answer, and the CA knows it."""
        if earlier.changed + PROMISED > int(self._clock().timestamp()):
            return case.message.answer(case.ra.signing, PkiStatus.PENDING)
        request_id = self._find(
            str(_attributes(earlier.template, _mark(case, earlier.request_hash))), earlier.created
        )
        if request_id is None:
            return None
        return self._settled(case, self._retrieve(case, request_id))

    def _begin(
        self,
        case: _Case,
        request: CertificationRequest,
        request_hash: bytes,
        template: str,
        earlier: Transaction | None,
        *,
        renewal: bool,
    ) -> int | None:
        """Take the challenge and note the request, both or neither."""
        try:
            # a process that died between the two commits has taken the challenge of this very request already
            resumed = earlier is not None and earlier.state is State.SUBMITTING
            resumed = resumed and earlier is not None and earlier.request_hash == request_hash
            with self._database.transaction() as connection:
                noted = store.begin(
                    connection,
                    case.transaction,
                    case.key_hash,
                    request_hash,
                    template,
                    names.shown(request),
                    renewal=renewal,
                    peer=case.peer,
                    when=int(self._clock().timestamp()),
                    instead_of=earlier,
                )
                if not noted:
                    raise _UnderWay
                if renewal or resumed:
                    return None
                return self._challenges.take(
                    connection,
                    challenge_password(request),
                    case.settings,
                    template,
                    names.of_request(request),
                    case.transaction,
                )
        except WrongChallenge as wrong:
            self._throttle.failed_from(case.peer)
            raise _Refused(FailInfo.BAD_REQUEST, "The challenge password is not accepted.", wrong.rule) from wrong
        except EncodingError as error:
            raise _Refused(FailInfo.BAD_REQUEST, f"{error}.", "challenge") from error

    def _submit(
        self, case: _Case, request: CertificationRequest, request_hash: bytes, template: str, used: int | None
    ) -> bytes:
        try:
            door = self._registry.connect("", self._service_account(case.peer))
            attributes = _attributes(template, _mark(case, request_hash))
            response = door.submit(request.der, attributes, RequestFlags.PKCS10)
        except CaUnreachable:  # it may have arrived: the device's retry finds out, as after a crash
            raise
        except AdcsError:
            with self._database.transaction() as connection:  # it never became a request: nothing was used up
                store.forget(connection, case.transaction, case.key_hash)
                if used is not None:
                    store.give_back_challenge(connection, used)
            raise
        return self._settled(case, response)

    # -- how it stands

    def _poll(self, case: _Case) -> bytes:
        """By transaction and key. Whom the contents name is passed over: clients name whom they like."""
        with self._database.read() as connection:
            called = store.transactions_called(connection, case.transaction)
        own = next((each for each in called if each.key_hash == case.key_hash), None)
        if own is None:
            raise _Refused(FailInfo.BAD_CERT_ID, "There is no such transaction of this key.", "transaction")
        if own.state is State.SUBMITTING:
            under_way = self._under_way(case, own)
            if under_way is None:
                raise _Refused(FailInfo.BAD_CERT_ID, "The request was lost; send it again.", "transaction")
            return under_way
        return self._standing_of(case, own)

    def _standing_of(self, case: _Case, row: Transaction) -> bytes:
        """The CA's answer as of now."""
        if row.request_id is None:
            raise _Refused(FailInfo.BAD_REQUEST, row.message or "The request was refused.", "denied earlier")
        return self._settled(case, self._retrieve(case, row.request_id), row)

    def _retrieve(self, case: _Case, request_id: int) -> Response:
        return self._registry.connect("", self._service_account(case.peer)).retrieve(request_id)

    def _settled(self, case: _Case, response: Response, row: Transaction | None = None) -> bytes:
        """Remember the CA's answer and say it."""
        pending = response.disposition is Disposition.UNDER_SUBMISSION
        state = State.ISSUED if response.is_issued else State.PENDING if pending else State.DENIED
        if row is None or row.state is not state:
            with self._database.transaction() as connection:
                store.settle(
                    connection,
                    case.transaction,
                    case.key_hash,
                    state,
                    response.request_id,
                    response.message,
                    int(self._clock().timestamp()),
                )
        if pending:
            return case.message.answer(case.ra.signing, PkiStatus.PENDING)
        if not response.is_issued or response.certificate is None:
            text = f"{response.message} ({response.status.hex})"
            info = FailInfo.BAD_ALG if response.status in _WEAK else FailInfo.BAD_REQUEST
            raise _Refused(info, text, "decision of the CA", f"request {response.request_id}: {text}")
        log.info(
            "scep_answered",
            request_id=response.request_id,
            transaction=case.transaction,
            message_type=case.message.kind.name,
            peer=case.peer,
        )
        return self._success(case, certs_only((response.certificate, *self.chain(case.peer))))

    def _success(self, case: _Case, contents: bytes) -> bytes:
        envelope = seal(contents, case.message.signer, case.cipher)
        return case.message.answer(case.ra.signing, PkiStatus.SUCCESS, envelope=envelope)

    # -- certificates and CRLs

    def chain(self, peer: str, *, with_root: bool = False) -> Sequence[bytes]:
        """The CA and those above it."""
        door = self._registry.connect("", self._service_account(peer))
        chain = door.ca_property(CaProperty.CA_SIGNATURE_CERTIFICATE_CHAIN, LATEST)
        found = parse_certs_only(chain) if isinstance(chain, bytes) else ()
        if with_root:
            return found
        return found[:1] + tuple(each for each in found[1:] if not CertificateView.parse(each).is_self_issued)

    def _certificate(self, case: _Case, opened: bytes, ours: bool) -> bytes:
        if not ours:
            raise _Refused(
                FailInfo.BAD_REQUEST,
                "GetCert is for holders of a certificate of this CA.",
                "certificate of the signer",
            )
        try:
            wanted = IssuerAndSerial.parse(opened)
        except EncodingError as error:
            raise _Refused(FailInfo.BAD_MESSAGE_CHECK, _UNREADABLE, "contents", str(error)) from error
        door = self._registry.connect("", self._service_account(case.peer))
        try:
            found = door.retrieve(serial_number=f"{wanted.serial:x}")
        except NoSuchRequest as error:
            raise _Refused(
                FailInfo.BAD_CERT_ID, "This service enrolled for no such certificate.", "serial number"
            ) from error
        if found.certificate is None or CertificateView.parse(found.certificate).issuer != wanted.issuer:
            raise _Refused(FailInfo.BAD_CERT_ID, "This CA issued no such certificate.", "issuer")
        return self._success(case, certs_only((found.certificate,)))

    def _crl(self, case: _Case) -> bytes:
        """The latest CRL, whichever certificate is named: there is one CA."""
        door = self._registry.connect("", self._service_account(case.peer))
        crl = door.ca_property(CaProperty.BASE_CRL, LATEST)
        if not isinstance(crl, bytes):
            raise _Refused(FailInfo.BAD_CERT_ID, "This CA has published no CRL.", "CRL")
        return self._success(case, certs_only((), (crl,)))


class _UnderWay(Exception):
    """The same message is being answered at this moment; nothing was changed."""


def _is_from(certificate: CertificateView, template: CertificateTemplate) -> bool:
    """By OID, or by name where the template is of schema version 1."""
    information = certificate.template
    if information is not None:
        return information.oid == template.oid
    return certificate.template_name.casefold() == template.cn.casefold()


def _attributes(template: str, mark: str) -> RequestAttributes:
    return template_attributes(template, (TRANSACTION_ATTRIBUTE, mark))


def _mark(case: _Case, request_hash: bytes) -> str:
    """Ties the CA's row to the transaction, for finding it again."""
    return hashlib.sha256(case.transaction.encode() + b"\0" + case.key_hash + request_hash).hexdigest()[:32]
