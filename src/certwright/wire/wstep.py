"""WS-Trust X.509v3 Token Enrollment Extensions: requests for certificates and their answers. [MS-WSTEP] 3.1.4.

Read and written by both sides. What the request's bytes are is found out from the bytes, never from their ValueType:
Windows itself labels them wrongly.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

from certwright.adcs.errors import BadRequest, HResult, InvalidArgument
from certwright.pki import der, oids
from certwright.wire import soap, xml
from certwright.wire.soap import Fault
from certwright.wire.xcep import decode_base64
from certwright.wire.xml import Element

TRUST: Final = "http://docs.oasis-open.org/ws-sx/ws-trust/200512"
ENROLLMENT: Final = "http://schemas.microsoft.com/windows/pki/2009/01/enrollment"
AUTHORIZATION: Final = "http://schemas.xmlsoap.org/ws/2006/12/authorization"

RST: Final = f"{ENROLLMENT}/RST/wstep"
RSTRC: Final = f"{ENROLLMENT}/RSTRC/wstep"
RST_KET: Final = f"{TRUST}/RST/KET"
KET_FINAL: Final = f"{TRUST}/RSTR/KETFinal"
DETAIL_FAULT: Final = f"{ENROLLMENT}/RequestSecurityTokenCertificateEnrollmentWSDetailFault"

X509V3: Final = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-x509-token-profile-1.0#X509v3"
PKCS7: Final = f"{soap.SECURITY}#PKCS7"
PKCS10: Final = f"{ENROLLMENT}#PKCS10"
BASE64: Final = f"{soap.SECURITY}#base64binary"

MAX_REQUEST: Final = 256 * 1024
MAX_RESPONSE: Final = 1 << 20
MAX_CONTEXT_ITEMS: Final = 20
MAX_CONTEXT_VALUE: Final = 1024

PASSED_ON: Final = frozenset({"cdc", "rmd", "ccm", "certificatetemplate", "requestid"})
"""Names of AdditionalContext that reach the CA, lower case. Everything else is dropped, above all SAN."""

_SIGNED_DATA: Final = der.oid(oids.CMS_SIGNED_DATA)
_REQUEST_ID: Final = re.compile(r"[0-9]{1,10}")


class RequestType(Enum):
    """3.1.4.1.2.5."""

    ISSUE = f"{TRUST}/Issue"
    QUERY = f"{ENROLLMENT}/QueryTokenStatus"
    KET = f"{TRUST}/KET"


# -- the request -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RequestSecurityToken:
    """3.1.4.1.2.5: issue and renew, the status of an earlier request, or the key exchange certificate."""

    kind: RequestType
    request: bytes = b""  # DER, with ISSUE
    request_id: int | None = None  # with QUERY
    context: tuple[tuple[str, str], ...] = ()  # AdditionalContext, all of it
    language: str = ""

    @classmethod
    def parse(cls, body: Element) -> RequestSecurityToken:
        """Raises:
        Fault: it is another element.
        InvalidArgument: a part is missing or has a value that means nothing here (E_INVALIDARG).
        BadRequest: the token is not base64 (ERROR_INVALID_DATA), or something stands twice.
        """
        if body.name != _trust("RequestSecurityToken"):
            raise Fault.deserialization("The body is not a RequestSecurityToken element.")
        token_type = body.value(_trust("TokenType"))
        if token_type not in (None, X509V3):
            raise InvalidArgument("only tokens of type X509v3 are issued")
        try:
            kind = RequestType(body.value(_trust("RequestType")))
        except ValueError:
            raise InvalidArgument("the request type is missing or is not known here") from None
        language = body.attributes.get(_enrollment("PreferredLanguage"), "")[:64]
        token = body.one(_security("BinarySecurityToken"))
        if kind is RequestType.ISSUE:
            if token is None or not token.text.strip():
                raise InvalidArgument("the request has no BinarySecurityToken")
            return cls(kind, decode_base64(token.text), context=_context(body), language=language)
        if kind is RequestType.QUERY:
            return cls(kind, request_id=_request_id(body.value(_enrollment("RequestID"))), language=language)
        if body.one(_trust("RequestKET")) is None:
            raise InvalidArgument("the request has no RequestKET")
        return cls(kind, language=language)

    @property
    def attributes(self) -> tuple[tuple[str, str], ...]:
        """What of the context the CA gets to see."""
        return tuple((name, value) for name, value in self.context if name.lower() in PASSED_ON)

    @property
    def dropped(self) -> tuple[str, ...]:
        """Names in the context that nobody honours; for the log."""
        return tuple(name for name, _ in self.context if name.lower() not in PASSED_ON)

    def encode(self) -> str:
        token = ""
        if self.kind is RequestType.ISSUE:
            value_type = PKCS10 if _is_pkcs10(self.request) else PKCS7
            token = _token(self.request, value_type)
        ket = "<RequestKET/>" if self.kind is RequestType.KET else ""
        number = "" if self.request_id is None else str(self.request_id)
        request_id = (
            f'<RequestID xmlns="{ENROLLMENT}">{number}</RequestID>'
            if number
            else f'<RequestID xsi:nil="true" xmlns="{ENROLLMENT}"/>'
        )
        items = "".join(
            f'<ContextItem Name="{xml.attribute(name)}"><Value>{xml.text(value)}</Value></ContextItem>'
            for name, value in self.context
        )
        context = f'<AdditionalContext xmlns="{AUTHORIZATION}">{items}</AdditionalContext>' if items else ""
        return (
            f'<RequestSecurityToken xmlns="{TRUST}"><TokenType>{X509V3}</TokenType>'
            f"<RequestType>{self.kind.value}</RequestType>{ket}{token}{request_id}{context}</RequestSecurityToken>"
        )

    @property
    def action(self) -> str:
        return RST_KET if self.kind is RequestType.KET else RST


def _context(body: Element) -> tuple[tuple[str, str], ...]:
    holder = body.one(f"{{{AUTHORIZATION}}}AdditionalContext")
    if holder is None or holder.is_nil:
        return ()
    found: list[tuple[str, str]] = []
    for item in holder.all(f"{{{AUTHORIZATION}}}ContextItem"):
        if len(found) == MAX_CONTEXT_ITEMS:
            raise BadRequest(f"the context has more than {MAX_CONTEXT_ITEMS} items")
        value = item.value(f"{{{AUTHORIZATION}}}Value") or ""
        name = item.attributes.get("Name", "").strip()
        if len(name) > MAX_CONTEXT_VALUE or len(value) > MAX_CONTEXT_VALUE:
            raise BadRequest("an item of the context is too long")
        if name:
            found.append((name, " ".join(value.split())))
    return tuple(found)


def _request_id(text: str | None) -> int:
    digits = (text or "").rstrip("\0")
    if not _REQUEST_ID.fullmatch(digits) or not 0 < int(digits) < 1 << 32:
        raise InvalidArgument("the request ID is missing or is no number of 1 to 4294967295")
    return int(digits)


def _is_pkcs10(data: bytes) -> bool:
    return _SIGNED_DATA not in data[:32]


# -- the answer ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TokenResponse:
    """The one RequestSecurityTokenResponse of a collection. 3.1.4.1.2.6, 3.1.4.1.3.5."""

    message: str = ""  # disposition message
    full_response: bytes = b""  # CMC
    certificate: bytes = b""  # of the end entity, when issued
    reference: str = ""  # URI to ask again at, while pending
    request_id: int | None = None
    exchange_certificate: bytes = b""  # KET
    language: str = "en-US"

    @property
    def action(self) -> str:
        return KET_FINAL if self.exchange_certificate else RSTRC

    def encode(self) -> str:
        """The children in the order Windows sends them."""
        message = ""
        if self.message:
            message = (
                f'<DispositionMessage xml:lang="{xml.attribute(self.language)}" xmlns="{ENROLLMENT}">'
                f"{xml.text(self.message)}</DispositionMessage>"
            )
        full = _token(self.full_response, PKCS7) if self.full_response else ""
        number = "" if self.request_id is None else f'<RequestID xmlns="{ENROLLMENT}">{self.request_id}</RequestID>'
        if self.exchange_certificate:
            requested = f"<KeyExchangeToken>{_token(self.exchange_certificate, X509V3)}</KeyExchangeToken>"
        elif self.certificate:
            requested = _token(self.certificate, X509V3)
        else:
            requested = (
                f'<SecurityTokenReference xmlns="{soap.SECURITY}"><Reference URI="{xml.attribute(self.reference)}"/>'
                "</SecurityTokenReference>"
            )
        return (
            f'<RequestSecurityTokenResponseCollection xmlns="{TRUST}"><RequestSecurityTokenResponse>'
            f"<TokenType>{X509V3}</TokenType>{message}{full}"
            f"<RequestedSecurityToken>{requested}</RequestedSecurityToken>{number}"
            "</RequestSecurityTokenResponse></RequestSecurityTokenResponseCollection>"
        )

    @classmethod
    def parse(cls, body: Element) -> TokenResponse:
        """In any order of its parts, as lenient as clients must be.

        Raises:
            BadRequest: it is another element, or holds no response.
        """
        if body.name != _trust("RequestSecurityTokenResponseCollection"):
            raise BadRequest("the body is not a RequestSecurityTokenResponseCollection element")
        response = body.one(_trust("RequestSecurityTokenResponse"))
        if response is None:
            raise BadRequest("the collection holds no response")
        message = response.one(_enrollment("DispositionMessage"))
        number = response.value(_enrollment("RequestID"))
        requested = response.one(_trust("RequestedSecurityToken"))
        exchange = response.one(_trust("KeyExchangeToken"))
        certificate, reference = b"", ""
        if requested is not None:
            exchange = exchange or requested.one(_trust("KeyExchangeToken"))
            certificate = _binary(requested)
            pointer = requested.one(_security("SecurityTokenReference"))
            target = pointer.one(_security("Reference")) if pointer is not None else None
            reference = target.attributes.get("URI", "").strip() if target is not None else ""
        return cls(
            message=message.text.strip() if message is not None else "",
            full_response=_binary(response),
            certificate=certificate,
            reference=reference,
            request_id=_request_id(number) if number else None,
            exchange_certificate=_binary(exchange) if exchange is not None else b"",
            language=message.attributes.get(xml.LANG, "") if message is not None else "",
        )


# -- faults ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EnrollmentDetail:
    """CertificateEnrollmentWSDetail: what went wrong, for programs. 3.1.4.1.3.1, 3.1.4.1.3.7."""

    status: HResult | int
    invalid_request: bool  # the CA denied it
    full_response: bytes = b""
    request_id: int | None = None

    def fault(self, reason: str) -> Fault:
        return Fault("Receiver", reason, action=DETAIL_FAULT, detail=self.encode())

    def encode(self) -> str:
        number = int(self.status)
        signed = number - (1 << 32) if number & 0x8000_0000 else number
        response = (
            f"<BinaryResponse>{base64.b64encode(self.full_response).decode()}</BinaryResponse>"
            if self.full_response
            else '<BinaryResponse xsi:nil="true"/>'
        )
        request_id = (
            '<RequestID xsi:nil="true"/>' if self.request_id is None else f"<RequestID>{self.request_id}</RequestID>"
        )
        return (
            f'<CertificateEnrollmentWSDetail xmlns="{ENROLLMENT}">{response}<ErrorCode>{signed}</ErrorCode>'
            f"<InvalidRequest>{'true' if self.invalid_request else 'false'}</InvalidRequest>{request_id}"
            "</CertificateEnrollmentWSDetail>"
        )

    @classmethod
    def parse(cls, detail: Element | None) -> EnrollmentDetail | None:
        """Of a fault's detail; None when it says nothing of the kind.

        Raises:
            BadRequest: malformed.
        """
        found = detail.one(_enrollment("CertificateEnrollmentWSDetail")) if detail is not None else None
        if found is None:
            return None
        code = found.value(_enrollment("ErrorCode"))
        number = found.value(_enrollment("RequestID"))
        try:
            status = int(code or "0") & 0xFFFF_FFFF
        except ValueError:
            raise BadRequest("the error code is no number") from None
        return cls(
            HResult(status) if status in HResult.__members__.values() else status,
            found.value(_enrollment("InvalidRequest")) in ("true", "1"),
            decode_base64(found.value(_enrollment("BinaryResponse")) or ""),
            _request_id(number) if number else None,
        )


# -- shared ----------------------------------------------------------------------------------------------------------


def _token(data: bytes, value_type: str) -> str:
    return (
        f'<BinarySecurityToken ValueType="{value_type}" EncodingType="{BASE64}" xmlns="{soap.SECURITY}">'
        f"{base64.b64encode(data).decode()}</BinarySecurityToken>"
    )


def _binary(element: Element) -> bytes:
    token = element.one(_security("BinarySecurityToken"))
    return decode_base64(token.text) if token is not None and not token.is_nil else b""


def _trust(local: str) -> str:
    return f"{{{TRUST}}}{local}"


def _enrollment(local: str) -> str:
    return f"{{{ENROLLMENT}}}{local}"


def _security(local: str) -> str:
    return f"{{{soap.SECURITY}}}{local}"
