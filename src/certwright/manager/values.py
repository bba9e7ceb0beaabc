"""What the manager speaks of: device users, AD CS services, orders, request forms, renewal rules.

Everything that comes in from people is a `...Fields` value and is checked by its service; everything that goes out
carries an ID. Times are aware, UTC.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from typing import Final

from certwright.adcs.errors import HResult, InvalidArgument
from certwright.connectors.service import AuthScheme, CredentialKind
from certwright.keystores.base import KeyAlgorithm

MAX_TEXT: Final = 255  # characters of a name people type
MAX_TAGS: Final = 50
MAX_ALTERNATIVE_NAMES: Final = 500
MAX_DAYS: Final = 365  # days before expiry at which a renewal can be asked for


# -- device users ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DeviceUserFields:
    """A device user as people enter it; the secret is a parameter of its own and never part of a value."""

    name: str  # what it is called here
    username: str  # sAMAccountName, or a user principal name
    realm: str = ""  # domain; empty for what the service's domain is
    kind: CredentialKind = CredentialKind.PASSWORD
    expires: datetime | None = None  # when the password or key ends, if somebody knows


@dataclass(frozen=True, slots=True)
class DeviceUser:
    id: int
    name: str
    username: str
    realm: str
    kind: CredentialKind
    expires: datetime | None
    used_by: tuple[str, ...]  # the services, `host (DOMAIN)`
    created: datetime
    secret_changed: datetime


# -- services ----------------------------------------------------------------------------------------------------


class ServiceKind(StrEnum):
    CERTSRV = "certsrv"  # another host's; `Via` says by which role service
    LOCAL = "local"  # a CA of this installation


class Via(StrEnum):
    """By which of its role services a remote CA is reached."""

    AUTO = "auto"  # CEP and CES where they are, else /certsrv
    CES = "ces"
    CERTSRV = "certsrv"


class TrustKind(StrEnum):
    SYSTEM = "system"
    PINNED = "file"  # `trust_data` is PEM
    FINGERPRINT = "fingerprint"  # `trust_data` is SHA-256 of the certificate that was shown and accepted, hex


class Health(StrEnum):
    OK = "ok"
    DOWN = "down"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ServiceFields:
    """An AD CS service as people enter it. `ca` matters for local ones: which CA, empty for the issuing one."""

    domain: str
    hostname: str
    device_user_id: int
    port: int = 443
    priority: int = 1  # 1 to 10, lower goes first
    auth_method: AuthScheme = AuthScheme.NTLM
    kind: ServiceKind = ServiceKind.CERTSRV
    trust: TrustKind = TrustKind.SYSTEM
    trust_data: str = ""
    ca: str = ""
    approve_templates: tuple[str, ...] = ()  # pending orders of these are approved at once, where that is possible
    via: Via = Via.AUTO


@dataclass(frozen=True, slots=True)
class Service:
    id: int
    domain: str
    hostname: str
    port: int
    priority: int
    auth_method: AuthScheme
    kind: ServiceKind
    trust: TrustKind
    trust_data: str
    ca: str
    approve_templates: tuple[str, ...]
    device_user_id: int
    username: str
    config: str  # CA configuration string, once it is known
    ca_name: str
    ca_sha256: str
    ca_not_after: datetime | None
    template_count: int | None  # None: never read
    refreshed: datetime | None
    last_contact: datetime | None
    last_error: str
    last_error_when: datetime | None
    last_request_id: int  # highest request ID this CA is known to have given
    created: datetime
    via: Via = Via.CERTSRV

    @property
    def health(self) -> Health:
        if self.last_error:
            return Health.DOWN
        return Health.OK if self.last_contact is not None else Health.UNKNOWN

    @property
    def label(self) -> str:
        return f"{self.hostname} ({self.domain})"

    @property
    def fields(self) -> ServiceFields:
        """The service as people entered it."""
        return ServiceFields(
            domain=self.domain,
            hostname=self.hostname,
            device_user_id=self.device_user_id,
            port=self.port,
            priority=self.priority,
            auth_method=self.auth_method,
            kind=self.kind,
            via=self.via,
            trust=self.trust,
            trust_data=self.trust_data,
            ca=self.ca,
            approve_templates=self.approve_templates,
        )


@dataclass(frozen=True, slots=True)
class RefreshResult:
    """What Refresh found, compared with what was known."""

    service: Service
    added: tuple[str, ...]
    gone: tuple[str, ...]
    ca_changed: bool
    first: bool

    def __str__(self) -> str:
        """`2 templates added, 1 gone, CA certificate unchanged`."""
        if self.first:
            count = self.service.template_count or 0
            return f"{_counted(count, 'template')} found, CA {self.service.ca_name}"
        parts = []
        if self.added:
            parts.append(f"{_counted(len(self.added), 'template')} added")
        if self.gone:
            parts.append(f"{len(self.gone)} gone" if self.added else f"{_counted(len(self.gone), 'template')} gone")
        if not parts:
            parts.append("templates unchanged")
        parts.append(f"CA certificate {'changed' if self.ca_changed else 'unchanged'}")
        return ", ".join(parts)


# -- names and keys of a request ---------------------------------------------------------------------------------


class NameKind(StrEnum):
    DNS = "DNS"
    IP = "IP"
    EMAIL = "email"
    UPN = "UPN"
    URI = "URI"


@dataclass(frozen=True, slots=True)
class AlternativeName:
    kind: NameKind
    value: str

    def __str__(self) -> str:
        return f"{self.kind.value}:{self.value}"

    @classmethod
    def parse(cls, text: str) -> AlternativeName:
        """Read `DNS:web.corp.example`; without a kind, what the value looks like.

        Raises:
            InvalidArgument: it is none of the kinds.
        """
        head, colon, value = text.strip().partition(":")
        kinds = {kind.value.casefold(): kind for kind in NameKind} | {"mail": NameKind.EMAIL}
        if colon and (kind := kinds.get(head.strip().casefold())) is not None:
            return cls(kind, value.strip())
        whole = text.strip()
        if not whole:
            raise InvalidArgument("An alternative name is empty.")
        if "//" in whole:
            return cls(NameKind.URI, whole)
        if "@" in whole:
            return cls(NameKind.EMAIL, whole)
        if whole.replace(".", "").isdigit() or whole.count(":") > 1:
            return cls(NameKind.IP, whole)
        return cls(NameKind.DNS, whole)


@dataclass(frozen=True, slots=True)
class KeyFields:
    """A key and request to be made here."""

    algorithm: KeyAlgorithm = KeyAlgorithm.RSA_3072
    subject: str = ""  # distinguished name, `CN=web.corp.example,O=Corp`
    names: tuple[AlternativeName, ...] = ()


# -- orders ------------------------------------------------------------------------------------------------------


class OrderState(IntEnum):
    SUBMITTING = 1  # the row is written, no answer yet
    LOST = 2  # sent, answer not seen
    PENDING = 3
    ISSUED = 4
    DENIED = 5
    FAILED = 6

    @property
    def word(self) -> str:
        return "Answer lost" if self is OrderState.LOST else self.name.capitalize()

    @property
    def is_settled(self) -> bool:
        return self in (OrderState.ISSUED, OrderState.DENIED, OrderState.FAILED)


@dataclass(frozen=True, slots=True)
class OrderFields:
    """An order as people place it: a request (`csr`), or a key to be made here (`key`), never both."""

    domain: str
    template: str
    csr: bytes = b""  # PKCS#10 as DER, PEM or base64
    key: KeyFields | None = None
    owner: str = ""  # whoever orders, if empty
    tags: tuple[str, ...] = ()
    fetch: bool = True  # into the inventory by itself once it is issued
    token: str = ""  # the page's own number: the same token twice is the same order
    renew_days: int = 0  # before expiry, by a rule of its own; 0: none
    form_id: int | None = None


@dataclass(frozen=True, slots=True)
class Order:
    id: int
    created: datetime
    created_by: str
    state: OrderState
    domain: str
    template: str
    common_name: str
    subject: str
    names: str  # `DNS:a, DNS:b`
    key_name: str  # `RSA 3072 bits`
    key_held: bool  # made here and still here
    csr_sha256: str
    service_id: int | None
    hostname: str
    priority: int
    config: str
    requester: str  # the device user it was sent as
    request_id: int | None
    status: HResult | int
    message: str  # disposition message, or why not
    approval: str  # what became of automatic approval, in words
    absent: bool  # a lost one that certainly does not exist there: may be sent again
    settled: datetime | None
    sent: datetime | None
    next_check: datetime | None
    checks: int
    owner: str
    tags: tuple[str, ...]
    fetch: bool
    certificate_id: int | None  # in the inventory, once fetched
    renews: int | None  # certificate in the inventory
    renew_days: int

    @property
    def fetched(self) -> bool:
        return self.certificate_id is not None

    @property
    def may_resubmit(self) -> bool:
        """Nothing of it exists at a CA, as far as can be known with certainty."""
        return self.absent if self.state is OrderState.LOST else self.state is OrderState.FAILED and self.sent is None


@dataclass(frozen=True, slots=True)
class StoryLine:
    when: datetime
    text: str


@dataclass(frozen=True, slots=True)
class OrderTab:
    """The tabs of the order list and their counts (at most `MAX_COUNT` each)."""

    all: int
    pending: int
    to_fetch: int
    issued: int
    denied: int
    unsettled: int


class OrderFilter(StrEnum):
    ALL = "all"
    PENDING = "pending"
    TO_FETCH = "to-fetch"
    ISSUED = "issued"
    DENIED = "denied"
    UNSETTLED = "unsettled"  # submitting, answer lost, failed


@dataclass(frozen=True, slots=True)
class OrderQuery:
    """Filters of the order list; newest first. `before` is the ID of the last row of the page before."""

    tab: OrderFilter = OrderFilter.ALL
    text: str = ""  # common name begins with it, or request ID or order number is it
    domain: str = ""
    template: str = ""
    owner: str = ""  # whoever owns or placed it
    created_from: datetime | None = None
    created_until: datetime | None = None
    before: int | None = None
    limit: int = 25


@dataclass(frozen=True, slots=True)
class LostAnswer:
    """What a search for a lost request found.

    Args:
        request_id: the request with our key.
        undecided: pending requests of the same account that may be it; nobody can see their keys.
        searched_to: the last request ID asked for.
        certain: nothing was found because there certainly is nothing, whatever the IDs say.
    """

    request_id: int | None = None
    undecided: tuple[int, ...] = ()
    searched_to: int = 0
    certain: bool = False


# -- request forms -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FormFields:
    """A saved form: a repeat asks only for the common name and the alternative names."""

    name: str
    domain: str
    template: str
    algorithm: KeyAlgorithm = KeyAlgorithm.RSA_3072
    subject: str = ""  # what stands beside the CN: `OU=Web,O=Corp`
    names: tuple[AlternativeName, ...] = ()  # that every request has
    owner: str = ""
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RequestForm:
    id: int
    fields: FormFields
    used: int
    last_used: datetime | None
    created: datetime


# -- renewal -----------------------------------------------------------------------------------------------------


class RenewalKey(StrEnum):
    NEW = "new"
    SAME = "same"


@dataclass(frozen=True, slots=True)
class RuleFields:
    """A renewal rule. All that is named must match: certificate, tag, template, issuer; at least one is named.

    Domain and template say where to order; empty ones are those of the certificate's own order.
    """

    name: str
    days_before: int = 30
    certificate_id: int | None = None
    tag: str = ""
    match_template: str = ""
    issuer: str = ""
    key: RenewalKey = RenewalKey.NEW
    domain: str = ""
    template: str = ""
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class RenewalRule:
    id: int
    fields: RuleFields
    last_run: datetime | None
    ordered: int
    failures: int
    last_failure: str
    created: datetime


@dataclass(frozen=True, slots=True)
class PlannedRenewal:
    """What a rule would order, and when. `problem` says why it would not."""

    certificate_id: int
    common_name: str
    not_after: datetime
    rule_id: int
    rule: str
    when: datetime
    key: RenewalKey
    domain: str
    template: str
    problem: str = ""


@dataclass(frozen=True, slots=True)
class FailedRenewal:
    """A certificate whose renewal failed, and when it is tried again; None: it is left to people."""

    certificate_id: int
    common_name: str
    not_after: datetime
    rule: str  # empty: by hand, or by a rule that is gone
    failures: int
    next_try: datetime | None
    message: str


# -- what tasks report -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Done:
    """What a task did, a sentence each, and when it has something to do next."""

    what: tuple[str, ...]
    next_due: datetime


# -- small things ------------------------------------------------------------------------------------------------


def key(text: str) -> str:
    """A name as it is compared: NFC, casefolded, blanks squeezed."""
    return " ".join(unicodedata.normalize("NFC", storable(text)).casefold().split())


def storable(text: str) -> str:
    """Without what databases refuse in text: NUL, and halves of surrogate pairs."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode()


def seconds(when: datetime) -> int:
    return int(when.timestamp())


def optional_seconds(when: datetime | None) -> int | None:
    return None if when is None else int(when.timestamp())


def moment(value: int) -> datetime:
    return datetime.fromtimestamp(value, UTC)


def optional_moment(value: int | None) -> datetime | None:
    return None if value is None else datetime.fromtimestamp(value, UTC)


def required_text(text: str, what: str, limit: int = MAX_TEXT) -> str:
    """A line of text that is there, short enough and free of control characters.

    Raises:
        InvalidArgument: it is not.
    """
    found = optional_text(text, what, limit)
    if not found:
        raise InvalidArgument(f"{what} is missing; enter one.")
    return found


def optional_text(text: str, what: str, limit: int = MAX_TEXT) -> str:
    """As `required_text`, or empty."""
    found = text.strip()
    if len(found) > limit:
        raise InvalidArgument(f"{what} has {len(found)} characters; at most {limit} are allowed.")
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in found):
        raise InvalidArgument(f"{what} contains a control character.")
    return found


def clean_tags(tags: Sequence[str]) -> tuple[str, ...]:
    """Tags without repetition, in their order.

    Raises:
        InvalidArgument: too many, too long, or one holds a comma.
    """
    found: dict[str, str] = {}
    for tag in tags:
        text = optional_text(tag, "A tag", 64)
        if "," in text:
            raise InvalidArgument(f"The tag {text!r} holds a comma; tags are separated by commas.")
        if text:
            found.setdefault(key(text), text)
    if len(found) > MAX_TAGS:
        raise InvalidArgument(f"{len(found)} tags are too many; at most {MAX_TAGS} are kept.")
    return tuple(found.values())


def status_of(value: int) -> HResult | int:
    try:
        return HResult(value)
    except ValueError:
        return value


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
