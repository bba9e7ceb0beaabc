"""What the service does with a message: enroll, renew, say how a request stands, give certificates and CRLs.

RFC 8894 3. In this order: signature, whose it is, encryption, request, policy module, CA. Who sent the
message is known by its key alone: a self-signed certificate of the new key asks with a challenge, a certificate of
ours asks for its own renewal. Whatever could tell an attacker why an encrypted message did not open is one answer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime
from typing import Final, Protocol

import structlog
from cryptography.hazmat.primitives.asymmetric import rsa

from certwright.adcs.errors import NoSuchRequest
from certwright.adcs.properties import LATEST, CaProperty
from certwright.adcs.template import CertificateTemplate
from certwright.auth.throttle import Throttle
from certwright.directory.base import Directory
from certwright.ndes import names
from certwright.ndes.case import Case, Door, Refused, TooMany
from certwright.ndes.chains import Chains
from certwright.ndes.desk import Steps
from certwright.ndes.registration_authority import RaCertificates
from certwright.ndes.requests import Asked, DeviceRequests, challenge_of
from certwright.ndes.settings import NdesSettings
from certwright.pki.certificate import CertificateView
from certwright.pki.cms import certs_only
from certwright.pki.enveloped_data import EnvelopedData, NotOpened
from certwright.pki.errors import EncodingError, SignatureError, WeakAlgorithm
from certwright.pki.pkcs10 import CertificationRequest, VerifiedRequest
from certwright.wire.scep import FailInfo, IssuerAndSerial, MessageType, PkiMessage

log = structlog.get_logger(__name__)

SMALLEST_KEY: Final = 1024
"""Bits of a key that an answer, a refusal too, is worth encrypting to. What is certified, the template says."""

_UNREADABLE: Final = "The message cannot be opened, or does not hold a request made with the key that signed it."


class Standing(Protocol):
    """Whether a certificate is one of ours and still good: `auth.certificate_mapping.Standing`."""

    def why_not(self, certificate: CertificateView) -> str: ...


class Enrollment:
    """The operations on messages, in steps; for threads.

    Args:
        service: its name; empty for the one at the classic addresses.
        connect: a CA, by the setting `ca`, as an account, for the address of a device.
        standing: of certificates that sign renewals.
        failed: told of what was refused.
    """

    def __init__(
        self,
        service: str,
        requests: DeviceRequests,
        directory: Directory,
        chains: Chains,
        connect: Callable[[NdesSettings, str], Door],
        standing: Standing,
        throttle: Throttle,
        clock: Callable[[], datetime],
        failed: Callable[[Case, Refused], None],
    ) -> None:
        self._service = service
        self._requests = requests
        self._directory = directory
        self._chains = chains
        self._connect = connect
        self._standing = standing
        self._throttle = throttle
        self._clock = clock
        self._failed = failed

    def answer(self, data: bytes, settings: NdesSettings, ra: RaCertificates, peer: str) -> Steps[bytes]:
        """The answer to a pkiMessage, a refusal too.

        Raises:
            EncodingError: it is none; nothing can be answered inside SCEP.
            TooMany: not looked at.
            NotNow, AdcsError: the policy module, the CA or the service cannot answer now; asking again may help.
        """
        wait = self._throttle.wait_from(peer)
        if wait > 0:
            raise TooMany(wait)
        message = PkiMessage.parse(data)
        case = Case(data, message, self._service, settings, ra, peer, lambda: self._connect(settings, peer))
        try:
            return (yield from self._decided(case))
        except Refused as refused:
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
            self._failed(case, refused)
            return case.failure(refused)

    def _decided(self, case: Case) -> Steps[bytes]:
        message = case.message
        yield None
        try:
            key = message.verify(sha1=case.settings.sha1)
        except WeakAlgorithm as error:
            raise Refused(FailInfo.BAD_ALG, f"{error}.", "signature") from error
        except (SignatureError, EncodingError) as error:
            raise Refused(
                FailInfo.BAD_MESSAGE_CHECK, "The signature does not verify.", "signature", str(error)
            ) from error
        if not isinstance(key, rsa.RSAPublicKey) or key.key_size < SMALLEST_KEY:
            raise Refused(
                FailInfo.BAD_ALG,
                f"SCEP needs an RSA key of {SMALLEST_KEY} bits at least: the answer is encrypted to it.",
                "key of the signer",
            )
        if message.kind is MessageType.CERT_REP:
            raise Refused(FailInfo.BAD_REQUEST, "An answer asks for nothing.", "message type")
        case.signer_key = key
        ours = self._whose(case)
        opened = yield from self._open(case)
        match message.kind:
            case MessageType.CERT_POLL:
                return (yield from self._requests.poll(case))
            case MessageType.GET_CERT:
                return (yield from self._certificate(case, opened, ours))
            case MessageType.GET_CRL:
                return (yield from self._crl(case))
        return (yield from self._enroll(case, opened, renewal=ours))

    # -- who asks

    def _whose(self, case: Case) -> bool:
        """Is the signer's certificate ours and good? False for the self-signed one of a new device."""
        signer = case.message.signer
        if signer.is_self_issued:
            return False
        why = self._standing.why_not(signer)
        if not why:
            if not signer.not_before <= self._clock() <= signer.not_after:
                raise Refused(
                    FailInfo.BAD_TIME,
                    f"The certificate that signed is not valid now; it ends {signer.not_after:%Y-%m-%d %H:%M} UTC.",
                    "validity of the signer",
                )
            return True
        raise Refused(
            FailInfo.BAD_REQUEST,
            f"The certificate that signed {why}; enroll anew with a challenge.",
            "certificate of the signer",
        )

    def _open(self, case: Case) -> Steps[bytes]:
        """What is inside."""
        try:
            enveloped = EnvelopedData.parse(case.message.envelope or b"")
        except WeakAlgorithm as error:
            raise Refused(FailInfo.BAD_ALG, f"{error}.", "content cipher") from error
        except EncodingError as error:
            raise Refused(FailInfo.BAD_MESSAGE_CHECK, _UNREADABLE, "envelope", str(error)) from error
        case.cipher = enveloped.cipher
        for credentials in case.ra.encryption:
            recipient = enveloped.recipient_of(credentials.certificate)
            if recipient is None:
                continue
            yield None
            try:
                key = enveloped.unwrap(recipient, credentials.private_key, case.settings.ciphers)
            except (WeakAlgorithm, EncodingError) as error:
                raise Refused(FailInfo.BAD_ALG, f"{error}.", "encryption") from error
            yield None
            try:
                return enveloped.open_with(key)
            except NotOpened as error:
                raise Refused(FailInfo.BAD_MESSAGE_CHECK, _UNREADABLE, "envelope", str(error)) from error
        raise Refused(
            FailInfo.BAD_MESSAGE_CHECK,
            "The message is encrypted for another certificate; ask for GetCACert again.",
            "recipient",
        )

    # -- enrolling

    def _enroll(self, case: Case, opened: bytes, *, renewal: bool) -> Steps[bytes]:
        verified = self._request(case, opened, renewal=renewal)
        request = verified.request
        yield None
        template = self._renewed_template(case) if renewal else names.template_for(request.extensions, case.settings)
        digest = hashlib.sha256(request.der).digest()
        earlier = self._requests.earlier(case)
        if earlier is not None and earlier.request_hash == digest:
            repeated = yield from self._requests.again(case, earlier)
            if repeated is not None:
                return repeated
        if renewal:
            self._demand_same_names(case, request)
        asked = Asked(verified, digest, template, "" if renewal else challenge_of(request), renewal)
        return (yield from self._requests.ask(case, asked, earlier))

    @staticmethod
    def _request(case: Case, opened: bytes, *, renewal: bool) -> VerifiedRequest:
        """The PKCS#10 with its proof of possession. Every way to fail is one answer: the message could be somebody
        else's, encrypted anew under another signature to find out what becomes of it."""
        try:
            request = CertificationRequest.parse(opened)
            verified = VerifiedRequest(request)
        except (EncodingError, SignatureError) as error:
            raise Refused(FailInfo.BAD_MESSAGE_CHECK, _UNREADABLE, "request", str(error)) from error
        if not renewal and request.public_key_info != case.message.signer.public_key_info:
            raise Refused(
                FailInfo.BAD_MESSAGE_CHECK, _UNREADABLE, "key", "the request has another key than the one that signed"
            )
        return verified

    def _renewed_template(self, case: Case) -> str:
        """A certificate is renewed by its own CA and from its own template, which must be this service's."""
        if case.message.signer.issuer != self._chains.subject(case):
            raise Refused(
                FailInfo.BAD_REQUEST,
                "The certificate that signed is from another CA than the one that issues here.",
                "CA of the signer",
            )
        templates = self._directory.templates()
        for cn in case.settings.templates:
            template = templates.get(cn)
            if template is not None and _is_from(case.message.signer, template):
                return cn
        raise Refused(
            FailInfo.BAD_REQUEST,
            "The certificate that signed was issued from a template that is not renewed here.",
            "template of the signer",
        )

    @staticmethod
    def _demand_same_names(case: Case, request: CertificationRequest) -> None:
        signer = case.message.signer
        if case.settings.match_renewal_subject and not names.is_same(request.subject, signer.subject):
            raise Refused(
                FailInfo.BAD_REQUEST,
                f"A renewal keeps its subject: {signer.subject_name}.",
                "renewal subject",
            )
        wider = set(map(str, request.alternative_names)) - set(map(str, signer.alternative_names))
        if wider:
            raise Refused(
                FailInfo.BAD_REQUEST,
                "A renewal names nothing that the certificate does not name; enroll anew with a challenge.",
                "renewal names",
                ", ".join(sorted(wider))[:500],
            )

    # -- certificates and CRLs

    def _certificate(self, case: Case, opened: bytes, ours: bool) -> Steps[bytes]:
        if not ours:
            raise Refused(
                FailInfo.BAD_REQUEST,
                "GetCert is for holders of a certificate of this CA.",
                "certificate of the signer",
            )
        try:
            wanted = IssuerAndSerial.parse(opened)
        except EncodingError as error:
            raise Refused(FailInfo.BAD_MESSAGE_CHECK, _UNREADABLE, "contents", str(error)) from error
        try:
            found = case.door.retrieve(serial_number=f"{wanted.serial:x}")
        except NoSuchRequest as error:
            raise Refused(
                FailInfo.BAD_CERT_ID, "This service enrolled for no such certificate.", "serial number"
            ) from error
        if found.certificate is None or CertificateView.parse(found.certificate).issuer != wanted.issuer:
            raise Refused(FailInfo.BAD_CERT_ID, "This CA issued no such certificate.", "issuer")
        return (yield from case.success(certs_only((found.certificate,))))

    def _crl(self, case: Case) -> Steps[bytes]:
        """The latest CRL, whichever certificate is named: there is one CA."""
        crl = case.door.ca_property(CaProperty.BASE_CRL, LATEST)
        if not isinstance(crl, bytes):
            raise Refused(FailInfo.BAD_CERT_ID, "This CA has published no CRL.", "CRL")
        return (yield from case.success(certs_only((), (crl,))))


def _is_from(certificate: CertificateView, template: CertificateTemplate) -> bool:
    """By OID, or by name where the template is of schema version 1."""
    information = certificate.template
    if information is not None:
        return information.oid == template.oid
    return certificate.template_name.casefold() == template.cn.casefold()
