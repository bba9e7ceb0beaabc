"""The one door: [MS-WCCE] ICertRequestD and ICertRequestD2, [MS-ICPR]; [MS-CSRA] ICertAdminD, ICertAdminD2.

Identity belongs to the connection: `connectors.registry.connect(config, requester)` binds the caller once, no
method takes it again. A decision is a `Response`; a failure before a request ID exists raises `AdcsError`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, IntFlag
from typing import Protocol

from certwright.adcs.errors import HResult
from certwright.adcs.properties import CaProperty, PropertyValue
from certwright.adcs.request import NO_ATTRIBUTES, Disposition, RequestAttributes, RequestFlags, Response
from certwright.adcs.roles import RevocationReason

Row = Mapping[str, object]


class CertRequest(Protocol):
    """One CA, reached as one requester."""

    @property
    def config(self) -> str:
        r"""CA configuration string, `host.domain\CA common name`."""

    def submit(
        self,
        request: bytes,
        attributes: RequestAttributes = NO_ATTRIBUTES,
        flags: RequestFlags = RequestFlags.DETECT,
    ) -> Response:
        """Hand in a request (DER) and get the decision, durable before it is returned."""

    def retrieve(
        self,
        request_id: int | None = None,
        *,
        serial_number: str | None = None,
        flags: RequestFlags = RequestFlags.DETECT,
    ) -> Response:
        """Ask for an earlier request. Raises `NoSuchRequest` for unknown ones and other people's.

        `flags` say what the answer shall carry, as at `submit`; a connector that cannot give a full response leaves
        it out.
        """

    def ca_property(self, prop: CaProperty, index: int = 0) -> PropertyValue:
        """Read a CA property."""


class AsyncCertRequest(Protocol):
    """The same door for callers on an event loop: same meaning, same errors."""

    @property
    def config(self) -> str: ...

    async def submit(
        self,
        request: bytes,
        attributes: RequestAttributes = NO_ATTRIBUTES,
        flags: RequestFlags = RequestFlags.DETECT,
    ) -> Response: ...

    async def retrieve(
        self,
        request_id: int | None = None,
        *,
        serial_number: str | None = None,
        flags: RequestFlags = RequestFlags.DETECT,
    ) -> Response: ...

    async def ca_property(self, prop: CaProperty, index: int = 0) -> PropertyValue: ...


class CrlKind(IntFlag):
    BASE = 1
    DELTA = 2
    BASE_AND_DELTA = 3


class Table(Enum):
    """Views of the CA database, as the MMC names them."""

    REQUESTS = "requests"  # every request row, with its certificate's columns
    REVOKED_CERTIFICATES = "revoked certificates"
    ISSUED_CERTIFICATES = "issued certificates"
    PENDING_REQUESTS = "pending requests"
    FAILED_REQUESTS = "failed requests"
    CRLS = "crls"


class Comparison(Enum):
    """Restriction operators. [MS-CSRA] 2.2.1.5; `CONTAINS` is ours, for text, and case does not count in it."""

    EQUAL = "="
    LESS = "<"
    LESS_OR_EQUAL = "<="
    GREATER_OR_EQUAL = ">="
    GREATER = ">"
    CONTAINS = "~"


@dataclass(frozen=True, slots=True)
class Restriction:
    column: str
    comparison: Comparison
    value: int | str


@dataclass(frozen=True, slots=True)
class Sort:
    column: str
    descending: bool = False


@dataclass(frozen=True, slots=True)
class PreviewField:
    """One field of a certificate as asked for and as it would be issued."""

    name: str
    requested: str  # several values stand on lines of their own
    issued: str
    by: str = ""  # why it is as it is: as asked, template, directory, CA, replaced or removed


@dataclass(frozen=True, slots=True)
class Check:
    """One policy rule and how it came out."""

    rule: str
    passed: bool
    message: str


@dataclass(frozen=True, slots=True)
class Preview:
    """What issuing a request now would sign. `fingerprint` changes when that would change."""

    request_id: int
    fields: tuple[PreviewField, ...]
    checks: tuple[Check, ...]
    fingerprint: str
    would_issue: bool


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a CA would decide on a request that were submitted now. Nothing is recorded, and nothing is promised."""

    disposition: Disposition  # issued, under submission, denied; error where nobody can read the request
    status: HResult
    message: str  # one sentence, as the disposition message would say it
    checks: tuple[Check, ...] = ()
    fields: tuple[PreviewField, ...] = ()  # of the certificate, where one would be issued now or after approval


@dataclass(frozen=True, slots=True)
class SettingDescription:
    """What a setting of a CA is about, for people."""

    key: str
    default: str
    meaning: str  # one or two sentences


@dataclass(frozen=True, slots=True)
class Delivery:
    """How one published file stands at one target.

    Args:
        target: a folder, or the directory, as messages call it.
        number: of the CRL; None for a certificate.
        delivered_when: since when it lies there; None when it does not.
        error: why not, at the last try; empty where it does.
    """

    target: str
    file: str
    number: int | None
    delivered_when: datetime | None
    tried_when: datetime
    error: str = ""


class CertAdmin(Protocol):
    """One CA, administered as one officer. Rights are checked inside the CA, for every call."""

    def resubmit(self, request_id: int, *, fingerprint: str | None = None) -> Response:
        """Issue a pending request: policy runs again, past the approval step.

        With `fingerprint`, refuses when the preview it was taken from would differ now.
        """

    def deny(self, request_id: int, reason: str = "") -> None: ...

    def preview(self, request_id: int) -> Preview: ...

    def revoke(self, serial_number: str, reason: RevocationReason, effective: datetime | None = None) -> None: ...

    def publish_crls(self, kind: CrlKind = CrlKind.BASE_AND_DELTA) -> None: ...

    def deliveries(self) -> Sequence[Delivery]:
        """How everything that is published stands at each target, by target and file."""

    def view(
        self,
        table: Table,
        where: Sequence[Restriction] = (),
        columns: Sequence[str] = (),
        sort: Sort | None = None,
        limit: int | None = None,
    ) -> Iterator[Row]:
        """Rows of a table; no columns named means the usual ones of that table."""

    def count(self, table: Table, by: str, where: Sequence[Restriction] = ()) -> Mapping[object, int]:
        """How many rows of a table there are for each value of the column `by`: every one is counted."""

    def request_row(self, request_id: int) -> Row:
        """Everything stored of one request, the raw request and certificate (DER) included."""

    def set_attributes(self, request_id: int, attributes: RequestAttributes) -> None: ...

    def set_extension(self, request_id: int, oid: str, value: bytes, critical: bool) -> None: ...

    def configuration(self) -> Mapping[str, str]:
        """The CA's settings as text. [MS-CSRA] 3.1.4.2.10 (GetConfigEntry)."""

    def describe_settings(self) -> Sequence[SettingDescription]:
        """Every setting there is, whoever asks."""

    def set_configuration(
        self, changes: Mapping[str, str], *, override: Collection[str] = (), reason: str = ""
    ) -> None:
        """Change settings, all or none. [MS-CSRA] 3.1.4.2.11 (SetConfigEntry).

        What would open a known escalation is refused unless `override` has its number, such as ESC8, and `reason`
        says why; both stand in the audit trail.
        """
