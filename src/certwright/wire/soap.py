"""SOAP 1.2 envelopes with WS-Addressing and a WS-Security user name, as XCEP and WSTEP use them.

W3C SOAP 1.2 part 1 section 5, WS-Addressing 1.0 SOAP binding, WSS UsernameToken profile 1.1; [MS-XCEP] 2.1,
[MS-WSTEP] 2.1. Both sides read and write here. Addresses are never acted on: answers go where the request came from.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from certwright.adcs.errors import AdcsError, HResult
from certwright.wire import xml
from certwright.wire.xml import Element, XmlRefused

ENVELOPE: Final = "http://www.w3.org/2003/05/soap-envelope"
ADDRESSING: Final = "http://www.w3.org/2005/08/addressing"
SECURITY: Final = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"
UTILITY: Final = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd"
DISPATCHER: Final = "http://schemas.microsoft.com/net/2005/12/windowscommunicationfoundation/dispatcher"
SCHEMA_INSTANCE: Final = "http://www.w3.org/2001/XMLSchema-instance"
SCHEMA: Final = "http://www.w3.org/2001/XMLSchema"

CONTENT_TYPE: Final = "application/soap+xml; charset=utf-8"
ANONYMOUS: Final = f"{ADDRESSING}/anonymous"
NONE: Final = f"{ADDRESSING}/none"
ADDRESSING_FAULT: Final = f"{ADDRESSING}/fault"
SOAP_FAULT: Final = f"{ADDRESSING}/soap/fault"
DISPATCHER_FAULT: Final = f"{DISPATCHER}/fault"

MAX_USER_NAME: Final = 256
MAX_PASSWORD: Final = 1024
CLOCK_SKEW: Final = timedelta(minutes=5)

_USER_NAME_PROFILE: Final = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-username-token-profile-1.0"
_UNDERSTOOD: Final = frozenset(
    {f"{{{ADDRESSING}}}{name}" for name in ("Action", "To", "MessageID", "ReplyTo", "From", "RelatesTo", "FaultTo")}
    | {f"{{{SECURITY}}}Security"}
)
_FOR_US: Final = frozenset({"", f"{ENVELOPE}/role/next", f"{ENVELOPE}/role/ultimateReceiver"})


# -- faults ----------------------------------------------------------------------------------------------------------


class Fault(AdcsError):
    """A refusal in SOAP's own dialect; always HTTP 500, as WCF has it.

    `code` is `Sender`, `Receiver`, `MustUnderstand` or `VersionMismatch`; `subcode` a name with one of the envelope's
    prefixes, or empty; `detail` the contents of the detail element and `header` further header blocks, XML.
    """

    def __init__(
        self,
        code: str,
        reason: str,
        *,
        action: str = SOAP_FAULT,
        subcode: str = "",
        detail: str = "",
        header: str = "",
        status: HResult = HResult.E_INVALIDARG,
    ) -> None:
        super().__init__(reason, status)
        self.code = code
        self.action = action
        self.subcode = subcode
        self.detail = detail
        self.header = header
        self.relates_to = ""  # message ID of the request, where one was read
        self.retry_after = 0  # seconds, where the sender should wait before it tries again

    @classmethod
    def addressing(cls, subcode: str, reason: str, detail: str = "") -> Fault:
        return cls("Sender", reason, action=ADDRESSING_FAULT, subcode=f"a:{subcode}", detail=detail)

    @classmethod
    def failed_authentication(cls) -> Fault:
        """The one sentence for every reason: the log says which."""
        return cls(
            "Sender",
            "The security token could not be authenticated or authorized.",
            subcode="o:FailedAuthentication",
            status=HResult.E_ACCESSDENIED,
        )

    @classmethod
    def invalid_security(cls, reason: str) -> Fault:
        return cls("Sender", reason, subcode="o:InvalidSecurity", status=HResult.E_ACCESSDENIED)

    @classmethod
    def deserialization(cls, reason: str) -> Fault:
        """The body is not what the operation takes."""
        return cls("Sender", reason, action=DISPATCHER_FAULT, subcode="d:DeserializationFailed")

    @classmethod
    def internal(cls, incident: str) -> Fault:
        """Something of ours went wrong; the log has it under the incident number."""
        return cls(
            "Receiver",
            f"The server was unable to process the request due to an internal error ({incident}).",
            action=DISPATCHER_FAULT,
            subcode="d:InternalServiceFault",
            status=HResult.E_UNEXPECTED,
        )

    def encode(self, relates_to: str = "", headers: str = "") -> bytes:
        subcode = f"<s:Subcode><s:Value>{self.subcode}</s:Value></s:Subcode>" if self.subcode else ""
        detail = f"<s:Detail>{self.detail}</s:Detail>" if self.detail else ""
        body = (
            f"<s:Fault><s:Code><s:Value>s:{self.code}</s:Value>{subcode}</s:Code>"
            f'<s:Reason><s:Text xml:lang="en-US">{xml.text(self.message)}</s:Text></s:Reason>{detail}</s:Fault>'
        )
        return envelope(self.action, body, relates_to=relates_to or self.relates_to, headers=headers + self.header)


# -- reading ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class UserNameToken:
    """User name and password of a WS-Security header."""

    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Message:
    """An envelope that was understood: its addressing, who it says sent it, and the one element of its body."""

    action: str
    message_id: str
    relates_to: str
    to: str
    body: Element
    security: Element | None = None

    @classmethod
    def parse(cls, data: bytes, limit: int, max_elements: int = xml.MAX_ELEMENTS) -> Message:
        """Read an envelope; for the limits see `xml.parse`.

        Raises:
            XmlRefused: it is no XML that is read, or not SOAP 1.2.
            Fault: SOAP or WS-Addressing rules are broken.
        """
        root = xml.parse(data, limit, max_elements)
        if root.name != _soap("Envelope"):
            raise _version_mismatch() if root.name.endswith("}Envelope") else XmlRefused("this is no SOAP envelope")
        if any(child.name not in (_soap("Header"), _soap("Body")) for child in root.children):
            raise XmlRefused("the envelope holds something beside header and body")
        header = root.one(_soap("Header")) or Element(_soap("Header"))
        body = root.one(_soap("Body"))
        try:
            return cls._understood(header, body)
        except Fault as fault:
            found = next(header.all(_addressing("MessageID")), None)
            fault.relates_to = found.text.strip() if found is not None else ""
            raise

    @classmethod
    def _understood(cls, header: Element, body: Element | None) -> Message:
        _demand_understood(header)
        for name in ("Action", "To", "MessageID", "ReplyTo", "FaultTo"):
            if len(list(header.all(_addressing(name)))) > 1:
                raise Fault.addressing("InvalidAddressingHeader", f"The header {name} stands twice.")
        for name in ("ReplyTo", "FaultTo"):
            _demand_anonymous(header.one(_addressing(name)), name)
        if body is None or len(body.children) != 1:
            raise Fault.deserialization("The body does not hold exactly one element.")
        action = header.value(_addressing("Action"))
        return cls(
            action or "",
            header.value(_addressing("MessageID")) or "",
            header.value(_addressing("RelatesTo")) or "",
            header.value(_addressing("To")) or "",
            body.children[0],
            header.one(f"{{{SECURITY}}}Security"),
        )

    def demand_action(self, *actions: str) -> str:
        """Raises:
        Fault: the action is none of these.
        """
        if self.action not in actions:
            problem = f"<a:ProblemAction><a:Action>{xml.text(self.action[:1024])}</a:Action></a:ProblemAction>"
            raise Fault.addressing("ActionNotSupported", "The action cannot be processed at the receiver.", problem)
        return self.action

    def user_name_token(self, now: datetime) -> UserNameToken:
        """The user name and password of the security header.

        A nonce or a time of the token's own counts for nothing: clients reuse them. A message timestamp counts.

        Raises:
            Fault: there is none, it is malformed or expired, or the password is not clear text.
        """
        security = self.security
        token = security.one(f"{{{SECURITY}}}UsernameToken") if security is not None else None
        if security is None or token is None:
            raise Fault.invalid_security("The message has no user name and password.")
        _demand_fresh(security.one(f"{{{UTILITY}}}Timestamp"), now)
        user = token.value(f"{{{SECURITY}}}Username") or ""
        element = token.one(f"{{{SECURITY}}}Password")
        password = element.text if element is not None else ""
        kind = ""
        if element is not None:
            kind = element.attributes.get("Type") or element.attributes.get(f"{{{SECURITY}}}Type") or ""
        if kind not in ("", f"{_USER_NAME_PROFILE}#PasswordText"):
            raise Fault.failed_authentication()
        if not 0 < len(user) <= MAX_USER_NAME or not 0 < len(password) <= MAX_PASSWORD:
            raise Fault.failed_authentication()
        return UserNameToken(user, password)


def parse_fault(body: Element) -> tuple[str, str, Element | None]:
    """Code (local name), reason and detail of a fault, for clients."""
    code = body.one(_soap("Code"))
    value = (code.value(_soap("Value")) or "") if code is not None else ""
    reason = body.one(_soap("Reason"))
    texts = list(reason.all(_soap("Text"))) if reason is not None else []
    return value.rpartition(":")[2], texts[0].text.strip() if texts else "", body.one(_soap("Detail"))


def subcode(body: Element) -> str:
    """The first subcode of a fault, its local name; empty where it has none."""
    code = body.one(_soap("Code"))
    inner = code.one(_soap("Subcode")) if code is not None else None
    value = (inner.value(_soap("Value")) or "") if inner is not None else ""
    return value.rpartition(":")[2]


def is_fault(body: Element) -> bool:
    return body.name == _soap("Fault")


def _demand_understood(header: Element) -> None:
    for block in header.children:
        wanted = block.attributes.get(_soap("mustUnderstand"), "").strip() in ("1", "true")
        if wanted and block.attributes.get(_soap("role"), "").strip() in _FOR_US and block.name not in _UNDERSTOOD:
            namespace, _, local = block.name.rpartition("}")
            declared = f' xmlns:x="{xml.attribute(namespace[1:])}"' if namespace else ""
            qname = f"x:{local}" if namespace else local
            raise Fault(
                "MustUnderstand",
                "A mandatory header block was not understood.",
                header=f'<s:NotUnderstood qname="{xml.attribute(qname)}"{declared}/>',
            )


def _demand_anonymous(reply: Element | None, name: str) -> None:
    """Answering anywhere else would make this server call whoever a stranger names."""
    if reply is None:
        return
    address = reply.value(_addressing("Address"))
    if address not in (ANONYMOUS, NONE):
        raise Fault.addressing(
            "OnlyAnonymousAddressSupported", f"{name} names an address; only anonymous is possible."
        )


def _demand_fresh(timestamp: Element | None, now: datetime) -> None:
    if timestamp is None:
        return
    created = parse_time(timestamp.value(f"{{{UTILITY}}}Created") or "")
    expires = parse_time(timestamp.value(f"{{{UTILITY}}}Expires") or "")
    if (created is not None and created > now + CLOCK_SKEW) or (expires is not None and expires < now - CLOCK_SKEW):
        raise Fault(
            "Sender",
            "The message has expired or is from the future; check the clocks.",
            subcode="u:MessageExpired",
            status=HResult.E_ACCESSDENIED,
        )


def parse_time(text: str) -> datetime | None:
    """An xs:dateTime; without a zone it is UTC. None when it is none, or of a year before 2."""
    try:
        when = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    if when.year < 2:
        return None
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)


def _version_mismatch() -> Fault:
    supported = '<s:Upgrade><s:SupportedEnvelope qname="s:Envelope"/></s:Upgrade>'
    return Fault("VersionMismatch", "Only SOAP 1.2 is understood.", header=supported)


def _soap(name: str) -> str:
    return f"{{{ENVELOPE}}}{name}"


def _addressing(name: str) -> str:
    return f"{{{ADDRESSING}}}{name}"


# -- writing ---------------------------------------------------------------------------------------------------------

_OPEN: Final = (
    f'<s:Envelope xmlns:s="{ENVELOPE}" xmlns:a="{ADDRESSING}" xmlns:o="{SECURITY}" xmlns:u="{UTILITY}"'
    f' xmlns:d="{DISPATCHER}"><s:Header><a:Action s:mustUnderstand="1">'
)
_BODY: Final = f'</s:Header><s:Body xmlns:xsi="{SCHEMA_INSTANCE}" xmlns:xsd="{SCHEMA}">'
_CLOSE: Final = "</s:Body></s:Envelope>"


def envelope(action: str, body: str, *, relates_to: str = "", headers: str = "") -> bytes:
    """An answer: action, what it relates to, further headers (XML), body (XML)."""
    related = f"<a:RelatesTo>{xml.text(relates_to)}</a:RelatesTo>" if relates_to else ""
    return f"{_OPEN}{xml.text(action)}</a:Action>{related}{headers}{_BODY}{body}{_CLOSE}".encode()


def timestamp(now: datetime, lifetime: timedelta = CLOCK_SKEW) -> str:
    """The security header that WCF answers messages with a user name with."""
    return (
        '<o:Security s:mustUnderstand="1"><u:Timestamp u:Id="_0">'
        f"<u:Created>{_instant(now)}</u:Created><u:Expires>{_instant(now + lifetime)}</u:Expires>"
        "</u:Timestamp></o:Security>"
    )


def request(
    action: str, to: str, body: str, *, token: UserNameToken | None = None, now: datetime | None = None
) -> tuple[bytes, str]:
    """A request as Windows sends it, and its message ID."""
    message_id = f"urn:uuid:{uuid.uuid4()}"
    headers = (
        f"<a:MessageID>{message_id}</a:MessageID><a:ReplyTo><a:Address>{ANONYMOUS}</a:Address></a:ReplyTo>"
        f'<a:To s:mustUnderstand="1">{xml.text(to)}</a:To>'
    )
    if token is not None:
        moment = now or datetime.now(UTC)
        headers += timestamp(moment).replace(
            "</o:Security>",
            f'<o:UsernameToken u:Id="uuid-{uuid.uuid4()}-1"><o:Username>{xml.text(token.user)}</o:Username>'
            f"<o:Password>{xml.text(token.password)}</o:Password></o:UsernameToken></o:Security>",
        )
    return envelope(action, body, headers=headers), message_id


def _instant(when: datetime) -> str:
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{when.microsecond // 1000:03d}Z"


def nil(tag: str, namespaces: Mapping[str, str] | None = None) -> str:
    """An element without a value."""
    declared = "".join(f' xmlns{":" + key if key else ""}="{value}"' for key, value in (namespaces or {}).items())
    return f'<{tag} xsi:nil="true"{declared}/>'
