"""A SCEP server as a device sees it: whom it belongs to, and a certificate from it. RFC 8894 2.2, 3, 4.

Nothing a server says is believed before its CA certificate has the fingerprint that the device was told: over plain
HTTP, anybody could answer. Everything else follows from that certificate.
"""

from __future__ import annotations

import hashlib
import hmac
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import Final

from certwright.adcs.errors import AccessDenied, BadRequest, CaUnreachable
from certwright.pki.certificate import CertificateView
from certwright.pki.cms import parse_certs_only
from certwright.pki.enveloped_data import STRONG, ContentCipher, EnvelopedData, seal
from certwright.pki.errors import EncodingError, SignatureError
from certwright.pki.pkcs10 import CertificationRequest
from certwright.wire.scep import (
    CA_CERTIFICATE_TYPE,
    MESSAGE_TYPE,
    Credentials,
    FailInfo,
    MessageType,
    Operation,
    PkiMessage,
    PkiStatus,
    issuer_and_subject,
)

MAX_ANSWER: Final = 256 << 10
TIMEOUT: Final = 30.0
_SIGNS, _ENCIPHERS = 0x80, 0x20


class Refused(AccessDenied):
    """The server says no; the message has its words."""

    def __init__(self, fail_info: FailInfo | None, text: str) -> None:
        name = fail_info.name.lower() if fail_info is not None else "no reason"
        super().__init__(f"the server refused: {text or name} ({name})")


@dataclass(frozen=True, slots=True)
class ServerCertificates:
    """What a server shows of itself, believed."""

    signing: CertificateView
    encryption: CertificateView
    ca: CertificateView  # the one whose fingerprint was told
    all: tuple[CertificateView, ...]


class ScepServer:
    """One server, at its address.

    Args:
        fingerprint: SHA-256 or SHA-1 of the CA's certificate in hex; colons and blanks do not count.

    Raises:
        BadRequest: address or fingerprint are none.
    """

    def __init__(self, url: str, fingerprint: str) -> None:
        if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
            raise BadRequest(f"{url} is no http or https address")
        digits = fingerprint.replace(":", "").replace(" ", "").lower()
        if len(digits) not in (40, 64) or any(digit not in "0123456789abcdef" for digit in digits):
            raise BadRequest(
                "the fingerprint is SHA-256 (64 hexadecimal digits) or SHA-1 (40) of the CA's certificate"
            )
        self._url = url
        self._fingerprint = digits

    def certificates(self) -> ServerCertificates:
        """GetCACert.

        Raises:
            AdcsError: the server cannot be reached, or is not the one that the fingerprint is of.
        """
        content_type, body = self._fetch(Operation.GET_CA_CERT)
        try:
            single = content_type == CA_CERTIFICATE_TYPE
            shown = tuple(CertificateView.parse(each) for each in ((body,) if single else parse_certs_only(body)))
        except EncodingError as error:
            raise BadRequest(f"{self._url} shows no certificates: {error}") from error
        ca = next((each for each in shown if self._is_told(each)), None)
        if ca is None:
            raise AccessDenied(
                f"{self._url} shows no certificate with the fingerprint that was given; do not trust it"
            )
        usable = [each for each in shown if each is ca or _is_issued_by(each, ca)]
        authorities = [each for each in usable if not each.is_ca] or [ca]
        return ServerCertificates(_first(authorities, _SIGNS), _first(authorities, _ENCIPHERS), ca, shown)

    def enroll(
        self, request: bytes, credentials: Credentials, transaction: str, *, renewal: bool = False
    ) -> CertificateView | None:
        """Ask for a certificate; None while somebody has to approve.

        Args:
            credentials: what signs the message: the certificate to renew, or a self-signed one of the new key.

        Raises:
            Refused: the server says no.
            AdcsError: it cannot be reached, or its answer cannot be believed.
        """
        try:
            key = CertificationRequest.parse(request).public_key_info
        except EncodingError as error:
            raise BadRequest(f"this is no certificate request: {error}") from error
        kind = MessageType.RENEWAL_REQ if renewal else MessageType.PKCS_REQ
        return self._ask(kind, request, credentials, transaction, key)

    def poll(self, credentials: Credentials, transaction: str, public_key_info: bytes) -> CertificateView | None:
        """Ask how a request for a key stands. Raises as `enroll` does."""
        return self._ask(MessageType.CERT_POLL, b"", credentials, transaction, public_key_info)

    def _ask(
        self, kind: MessageType, contents: bytes, credentials: Credentials, transaction: str, public_key_info: bytes
    ) -> CertificateView | None:
        server = self.certificates()
        if kind is MessageType.CERT_POLL:
            contents = issuer_and_subject(server.ca.subject, credentials.certificate.subject)
        sent = PkiMessage.request(
            kind, transaction, seal(contents, server.encryption, ContentCipher.AES_256), credentials
        )
        _, body = self._fetch(Operation.PKI_OPERATION, sent)
        try:
            answer = PkiMessage.parse(body)
            if answer.signer.der != server.signing.der:
                raise SignatureError("it is signed by somebody else")
            answer.verify()
            asked = PkiMessage.parse(sent)
            if answer.transaction_text != transaction or answer.recipient_nonce != asked.sender_nonce:
                raise SignatureError("it answers another message")
            if answer.status is PkiStatus.PENDING:
                return None
            if answer.status is not PkiStatus.SUCCESS:
                raise Refused(answer.fail_info, answer.fail_text)
            return _issued(answer.envelope or b"", credentials, public_key_info, server.ca)
        except (EncodingError, SignatureError) as error:
            raise BadRequest(f"the answer of {self._url} cannot be believed: {error}") from error

    def _is_told(self, certificate: CertificateView) -> bool:
        algorithm = "sha256" if len(self._fingerprint) == 64 else "sha1"
        found = hashlib.new(algorithm, certificate.der, usedforsecurity=False).hexdigest()
        return hmac.compare_digest(found, self._fingerprint)

    def _fetch(self, operation: Operation, body: bytes | None = None) -> tuple[str, bytes]:
        separator = "&" if "?" in self._url else "?"
        request = urllib.request.Request(  # noqa: S310 - the scheme was looked at
            f"{self._url}{separator}operation={operation.value}", body, {"User-Agent": "certwright"}
        )
        if body is not None:
            request.add_header("Content-Type", MESSAGE_TYPE)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:  # noqa: S310
                found = answer.read(MAX_ANSWER + 1)
                content_type = answer.headers.get_content_type()
        except urllib.error.HTTPError as error:
            text = error.read(300).decode("utf-8", "replace").strip()
            raise CaUnreachable(f"{self._url} answers {error.code}: {text}") from error
        except OSError as error:
            raise CaUnreachable(f"{self._url} cannot be reached: {getattr(error, 'reason', error)}") from error
        if len(found) > MAX_ANSWER:
            raise BadRequest(f"{self._url} answers with more than {MAX_ANSWER} octets")
        return content_type, found


def _issued(
    envelope: bytes, credentials: Credentials, public_key_info: bytes, ca: CertificateView
) -> CertificateView:
    """The certificate of our key. The others are its chain.

    Raises:
        EncodingError: there is none.
        SignatureError: it does not open, or is not from the CA.
    """
    enveloped = EnvelopedData.parse(envelope)
    recipient = enveloped.recipient_of(credentials.certificate)
    if recipient is None:
        raise EncodingError("it is encrypted for somebody else")
    opened = enveloped.open(recipient, credentials.private_key, STRONG)
    for each in map(CertificateView.parse, parse_certs_only(opened)):
        if each.public_key_info == public_key_info:
            each.verify_signed_by(ca)
            return each
    raise EncodingError("it holds no certificate of our key")


def _is_issued_by(certificate: CertificateView, ca: CertificateView) -> bool:
    try:
        certificate.verify_signed_by(ca)
    except (SignatureError, EncodingError):
        return False
    return True


def _first(certificates: list[CertificateView], usage: int) -> CertificateView:
    """The first that may be used so; those without a key usage may for everything."""
    for each in certificates:
        bits = each.key_usage
        if not bits or bits[0] & usage:
            return each
    raise AccessDenied("the server shows no certificate of its registration authority for this use")
