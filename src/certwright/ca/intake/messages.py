"""Requests inside signed messages: CMS around a PKCS#10, and CMC. [MS-WCCE] 3.2.1.4.2.1.4.1.2, .1.3, .2; RFC 5272.

Who signed is found out here, and that the signatures verify: the new key, the old certificate of a renewal, an
enrollment agent. What a certificate that signed is worth is the policy's business. Signers are told apart by what
they name, never by their position.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
from typing import Final, NamedTuple

from certwright.adcs.errors import HResult
from certwright.adcs.request import RequestFlags
from certwright.ca.intake.errors import MAX_REQUEST, VERIFYING, IntakeError, unreadable
from certwright.ca.intake.request import Signature
from certwright.pki import ber, der, oids
from certwright.pki.armor import dearmor
from certwright.pki.certificate import CertificateView
from certwright.pki.cmc import PkiData
from certwright.pki.errors import EncodingError, SignatureError, WeakAlgorithm
from certwright.pki.pkcs10 import CertificationRequest, parse_name_value_pairs
from certwright.pki.public_keys import load_public_key
from certwright.pki.signed_data import SignedData, SignerInfo

REQUESTER_NAME: Final = "requestername"
"""The name-value pair by which an enrollment agent says for whom it asks. [MS-WCCE] 2.2.2.7.10."""

_SIGNED_DATA: Final = der.oid(oids.CMS_SIGNED_DATA)
_HEAD: Final = 32  # octets within which the content type of any ContentInfo begins
_HASHES: Final = {oids.SHA256: "sha256", oids.SHA384: "sha384", oids.SHA512: "sha512"}
_WEAK_HASHES: Final = frozenset({oids.SHA1, oids.MD5})


class Message(NamedTuple):
    """What a signed message holds, once its signatures verified and possession of the new key is proven."""

    parsed: CertificationRequest
    kind: RequestFlags  # CMS or CMC
    body_part: int  # of the request; 1 in CMS
    signatures: tuple[Signature, ...]  # by the holders of certificates, in the order they stand in
    pairs: tuple[tuple[str, str], ...]  # registration information, or signed by an agent beside the request

    @property
    def renewed(self) -> Signature | None:
        """The signature by the very certificate that the request names to be renewed."""
        old = self.parsed.renewal_certificate
        return next((each for each in self.signatures if old is not None and each.certificate.der == old), None)

    @property
    def on_behalf_of(self) -> str:
        """The account an enrollment agent asks for; empty when the caller asks for itself."""
        return next((value for name, value in self.pairs if name.replace(" ", "").lower() == REQUESTER_NAME), "")


def is_message(raw: bytes) -> bool:
    """Is this CMS, in DER, BER, PEM or base64? Looks at the beginning only; `read_message` finds out the rest."""
    head = raw[:256]
    if head[:1] == b"\x30":
        return _SIGNED_DATA in head[:_HEAD]
    start = head.find(b"-----", 11) + 5 if head.lstrip()[:5] == b"-----" else 0
    text = head[start:].translate(None, b" \r\n\t")[: 2 * _HEAD]
    try:
        return _SIGNED_DATA in binascii.a2b_base64(text[: len(text) // 4 * 4])[:_HEAD]
    except binascii.Error:
        return False


def read_message(raw: bytes, flags: RequestFlags) -> Message:
    """Read a signed message and verify every signature in it.

    Raises:
        IntakeError: too long, malformed, of another format than dwFlags say, not signed (CRYPT_E_NO_SIGNER), without
            exactly one PKCS#10 (ERROR_INVALID_DATA), or with a signature that does not verify (NTE_BAD_SIGNATURE).
    """
    try:
        message = SignedData.parse(ber.to_der(dearmor(raw, MAX_REQUEST, indefinite=True), max_octets=MAX_REQUEST))
        kind = RequestFlags.CMC if message.content_type == oids.CMC_PKI_DATA else RequestFlags.CMS
        _demand_type(kind, flags)
        if not message.signers:
            raise IntakeError("the message is not signed", HResult.CRYPT_E_NO_SIGNER, VERIFYING)
        parsed, body_part, pairs = _content(message, kind)
        signatures, proven, signed_pairs = _signatures(message, parsed)
        if kind is RequestFlags.CMS:
            pairs = signed_pairs
    except EncodingError as error:
        raise unreadable(error) from error
    _prove_possession(parsed, proven=proven)
    return Message(parsed, kind, body_part, signatures, pairs)


def _demand_type(kind: RequestFlags, flags: RequestFlags) -> None:
    if flags.request_type and flags.request_type is not kind:
        raise IntakeError(
            f"the request is said to be of type {int(flags.request_type):#x}, but it is"
            f" {'CMC' if kind is RequestFlags.CMC else 'CMS'}",
            HResult.CRYPT_E_INVALID_MSG_TYPE,
        )


def _content(
    message: SignedData, kind: RequestFlags
) -> tuple[CertificationRequest, int, tuple[tuple[str, str], ...]]:
    """The one PKCS#10 inside, its body part number, and the pairs of its registration information."""
    content = message.content
    if content is None or message.content_type not in (oids.CMS_DATA, oids.CMC_PKI_DATA):
        raise IntakeError(
            f"the message holds {oids.name_of(message.content_type)}, not a certificate request",
            HResult.ERROR_INVALID_DATA,
        )
    if kind is RequestFlags.CMS:
        try:
            return CertificationRequest.parse(content), 1, ()
        except EncodingError as error:
            raise IntakeError(
                f"the message does not hold a PKCS#10 request: {error}", HResult.ERROR_INVALID_DATA
            ) from error
    data = PkiData.parse(content)
    if len(data.requests) != 1 or data.other_requests:
        raise IntakeError(
            f"the CMC message holds {len(data.requests)} PKCS#10 requests and {data.other_requests} of other kinds;"
            " exactly one PKCS#10 request is possible",
            HResult.ERROR_INVALID_DATA,
        )
    ((body_part, request),) = data.requests
    return CertificationRequest.parse(request), body_part, data.registration_information()


def _signatures(
    message: SignedData, parsed: CertificationRequest
) -> tuple[tuple[Signature, ...], bool, tuple[tuple[str, str], ...]]:
    """Who signed by certificate, whether the new key signed, and the pairs that holders of certificates signed."""
    found: list[Signature] = []
    pairs: list[tuple[str, str]] = []
    proven = False
    for signer in message.signers:
        try:
            certificate = message.certificate_of(signer)
            if signer.is_unsigned:  # a digest: true or not, it proves nothing
                message.verify(signer, None)
            elif certificate is None:
                _by_new_key(message, signer, parsed)
                proven = True
            else:
                message.verify(signer, load_public_key(certificate.public_key_info))
                proven = proven or certificate.public_key_info == parsed.public_key_info
                if not _is_of_new_key(certificate, parsed):
                    found.append(Signature(certificate))
                    pairs += _signed_pairs(signer)
        except WeakAlgorithm as error:
            raise IntakeError(str(error), HResult.CERTSRV_E_WEAK_SIGNATURE_OR_KEY, VERIFYING) from error
        except SignatureError as error:
            raise IntakeError(str(error), HResult.NTE_BAD_SIGNATURE, VERIFYING) from error
    return tuple(found), proven, tuple(pairs)


def _by_new_key(message: SignedData, signer: SignerInfo, parsed: CertificationRequest) -> None:
    """A signer without a certificate can only be the new key, named by its identifier. RFC 5272 3.2; 3.1.1.4.3."""
    if signer.identifier.key_identifier is None:
        raise IntakeError(
            "the certificate of a signer is not in the message", HResult.CERTSRV_E_BAD_RENEWAL_CERT_ATTRIBUTE
            if parsed.renewal_certificate is not None
            else HResult.NTE_BAD_SIGNATURE,
            VERIFYING,
        )  # fmt: skip
    message.verify(signer, load_public_key(parsed.public_key_info))


def _is_of_new_key(certificate: CertificateView, parsed: CertificationRequest) -> bool:
    """A self-signed certificate of the new key is one more way to name that key; nobody issued it."""
    return certificate.public_key_info == parsed.public_key_info and certificate.is_self_issued


def _signed_pairs(signer: SignerInfo) -> list[tuple[str, str]]:
    return [
        pair for value in signer.values(oids.ENROLLMENT_NAME_VALUE_PAIR) for pair in parse_name_value_pairs(value)
    ]


def _prove_possession(parsed: CertificationRequest, *, proven: bool) -> None:
    """The PKCS#10 is signed by its key; or it has the null signature and its key signed the message. 2.2.2.6.5."""
    if parsed.signature_algorithm in _HASHES or parsed.signature_algorithm in _WEAK_HASHES:
        name = _HASHES.get(parsed.signature_algorithm)
        if name is None:
            raise IntakeError(
                f"a null signature made with {oids.name_of(parsed.signature_algorithm)} is not accepted",
                HResult.CERTSRV_E_WEAK_SIGNATURE_OR_KEY,
                VERIFYING,
            )
        if not hmac.compare_digest(hashlib.new(name, parsed.info).digest(), parsed.signature):
            raise IntakeError("the null signature is not the request's hash", HResult.NTE_BAD_SIGNATURE, VERIFYING)
        if not proven:
            raise IntakeError(
                "the request has the null signature, and its key did not sign the message either: nothing proves"
                " possession of the key",
                HResult.NTE_BAD_SIGNATURE,
                VERIFYING,
            )
        return
    try:
        parsed.verify_signature()
    except WeakAlgorithm as error:
        raise IntakeError(str(error), HResult.CERTSRV_E_WEAK_SIGNATURE_OR_KEY, VERIFYING) from error
    except SignatureError as error:
        raise IntakeError(str(error), HResult.NTE_BAD_SIGNATURE, VERIFYING) from error
    except EncodingError as error:
        raise unreadable(error) from error
