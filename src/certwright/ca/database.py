"""The CA database as the engine sees it. [MS-CSRA] 3.1.1.1 to 3.1.1.4; DB_DISP_* of certsrv.h.

`CaDatabase` is implemented by `ca.store` (SQLite, PostgreSQL) and, for tests, in memory. All writing happens in
a `CaTransaction`, which holds the CA's row lock: request IDs, serial numbers and CRL numbers are allocated in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, Self

from certwright.adcs.errors import HResult
from certwright.adcs.events import CaEvent
from certwright.adcs.interfaces import Delivery, Restriction, Row, Sort, Table
from certwright.adcs.properties import CaType
from certwright.adcs.request import Disposition
from certwright.adcs.roles import RevocationReason


class RequestState(IntEnum):
    """Request.Disposition in the table. The wire numbers differently: `adcs.request.Disposition`."""

    ACTIVE = 8
    PENDING = 9
    FOREIGN = 12
    CA_CERTIFICATE = 15
    CA_CERTIFICATE_CHAIN = 16
    KRA_CERTIFICATE = 17
    ISSUED = 20
    REVOKED = 21
    ERROR = 30
    DENIED = 31

    @property
    def disposition(self) -> Disposition:
        """Status inspection mapping. [MS-WCCE] 3.2.1.4.2.1.3."""
        return _WIRE[self]

    def may_become(self, other: RequestState) -> bool:
        """The legal moves. [MS-CSRA] 3.1.1.1.1."""
        return other in _MOVES.get(self, ())


_WIRE = {
    RequestState.ACTIVE: Disposition.INCOMPLETE,
    RequestState.PENDING: Disposition.UNDER_SUBMISSION,
    RequestState.FOREIGN: Disposition.INCOMPLETE,
    RequestState.CA_CERTIFICATE: Disposition.ISSUED,
    RequestState.CA_CERTIFICATE_CHAIN: Disposition.ISSUED,
    RequestState.KRA_CERTIFICATE: Disposition.ISSUED,
    RequestState.ISSUED: Disposition.ISSUED,
    RequestState.REVOKED: Disposition.REVOKED,
    RequestState.ERROR: Disposition.ERROR,
    RequestState.DENIED: Disposition.DENIED,
}
_MOVES: Mapping[RequestState, tuple[RequestState, ...]] = {
    # recorded before the signature, because the key signs outside this process
    RequestState.ACTIVE: (RequestState.ISSUED, RequestState.ERROR),
    RequestState.PENDING: (RequestState.ISSUED, RequestState.DENIED, RequestState.PENDING),
    RequestState.DENIED: (RequestState.ISSUED, RequestState.DENIED),  # resubmitted by a CA administrator
    RequestState.ISSUED: (RequestState.REVOKED,),
    RequestState.REVOKED: (RequestState.REVOKED, RequestState.ISSUED),  # back only from certificateHold
}


class CertificateRecord(NamedTuple):
    """The certificate columns of a row; the DER lies in a table of its own."""

    serial_number: str  # lowercase hex, as printed
    not_before: datetime
    not_after: datetime
    subject_key_identifier: str  # lowercase hex
    sha1: str  # thumbprint, lowercase hex
    ca_certificate_index: int
    ca_key_index: int
    revoked_when: datetime | None = None  # when the officer acted
    revoked_effective: datetime | None = None  # date printed in the CRL
    revoked_reason: RevocationReason | None = None
    crl_partition: int = 0  # whose CRL its CDP names; 0: the list of everything


class RequestRecord(NamedTuple):
    """One row of the request table. `request_id` 0 asks the transaction for the next one."""

    request_id: int
    state: RequestState
    status: HResult
    message: str  # disposition message
    submitted_when: datetime
    resolved_when: datetime | None
    requester_name: str  # whom the certificate is for, DOMAIN\account
    requester_sid: str
    caller_name: str  # who was on the connection
    caller_sid: str
    caller_method: str  # AuthMethod.value
    request_type: int  # format bits of RequestFlags
    request_flags: int  # StoredRequestFlag
    attributes: str
    template: str = ""  # cn
    template_oid: str = ""
    subject: str = ""  # distinguished name as text
    common_name: str = ""
    alternative_names: str = ""  # "DNS:a, IP:..." for people and searches
    key_algorithm: str = ""
    key_size: int = 0
    officer: str = ""  # who last resolved it
    client_facts: Mapping[str, str] = MappingProxyType({})
    certificate: CertificateRecord | None = None


@dataclass(frozen=True, slots=True)
class CaCertificateRecord:
    """One certificate of the CA itself, with the key it certifies."""

    index: int
    key_index: int
    der: bytes
    key_name: str  # in the key store
    not_before: datetime
    not_after: datetime
    chain: tuple[bytes, ...] = ()  # above it, nearest first, where the CA above is none of this installation
    crosses: tuple[bytes, ...] = ()  # with the key before: signed by the old one, and the old one signed by this


@dataclass(frozen=True, slots=True)
class CertificateRequestRecord:
    """What a CA asked another one to sign; the key is in the key store already."""

    key_name: str
    request: bytes  # PKCS#10
    made_when: datetime


@dataclass(frozen=True, slots=True)
class CaRecord:
    """One CA of this installation."""

    ca_id: int
    name: str  # common name
    ca_type: CaType
    parent: str  # common name of the parent CA; empty for a root
    settings: Mapping[str, object]  # ca.configuration reads it
    certificates: tuple[CaCertificateRecord, ...]
    crl_number: int  # last one used; base and delta, all keys share the sequence
    version: int  # changes with every change of settings or certificates
    initial_settings: Mapping[str, object] = field(default_factory=dict)  # what it was made with


@dataclass(frozen=True, slots=True)
class CrlRecord:
    number: int
    min_base: int  # 0: a base CRL
    key_index: int
    this_update: datetime
    next_update: datetime
    next_publish: datetime
    entry_count: int
    der: bytes
    published_when: datetime | None = None
    publish_error: str = ""
    partition: int = 0  # of certificates that name this one; 0: the list of everything


@dataclass(frozen=True, slots=True)
class RevokedEntry:
    """What the CRL needs of a revoked certificate."""

    serial_number: int
    revoked_effective: datetime
    reason: RevocationReason
    encoded: bytes  # the CRL entry as stored, ready to be concatenated

    @property
    def entries(self) -> int:
        return 1


class EncodedEntries(NamedTuple):
    """Several entries as a CRL has them, one behind the other: all that a long list is made of."""

    encoded: bytes
    entries: int  # how many they are


class CaTransaction(Protocol):
    """Writing to one CA's rows, under its lock. Leaves nothing behind when an exception passes through."""

    def ca(self) -> CaRecord:
        """The CA's row as it is under the lock."""

    def save_settings(self, settings: Mapping[str, object]) -> None: ...

    def add_ca_certificate(self, record: CaCertificateRecord) -> None: ...

    def set_parent(self, name: str) -> None:
        """Name the CA above, where only its certificate tells."""

    def set_certificate_request(self, record: CertificateRequestRecord | None) -> None:
        """Keep what another CA is asked to sign; None when it was answered or given up."""

    def add_request(self, record: RequestRecord, raw_request: bytes) -> int:
        """Insert a row (the certificate columns too when there) and return its request ID."""

    def add_certificate(self, request_id: int, record: CertificateRecord, der: bytes) -> None:
        """Insert the certificate of a row. Raises `DuplicateSerial`."""

    def next_request_id(self) -> int:
        """Allocate a request ID; `add_request` then takes a record that carries it."""

    def request(self, request_id: int) -> RequestRecord | None: ...

    def resolve(
        self,
        request_id: int,
        state: RequestState,
        status: HResult,
        message: str,
        *,
        when: datetime,
        officer: str = "",
        template: str = "",
        template_oid: str = "",
        subject: str | None = None,
        common_name: str | None = None,
        alternative_names: str | None = None,
    ) -> None:
        """Move a row to another state. Raises `BadRequestState` for a move that is not legal."""

    def set_revocation(
        self,
        request_id: int,
        *,
        when: datetime,
        effective: datetime | None,
        reason: RevocationReason | None,
        entry: bytes | None,
        message: str,
        officer: str,
    ) -> None:
        """Revoke (row 21), change a revocation, or release from hold (reason None: row 20)."""

    def set_attributes(self, request_id: int, attributes: str) -> None: ...

    def set_extension(self, request_id: int, oid: str, value: bytes, critical: bool) -> None: ...

    def next_crl_number(self) -> int: ...

    def add_crl(self, record: CrlRecord) -> None: ...

    def audit(self, event: CaEvent) -> None:
        """Append to the audit trail in this same transaction."""

    def beside(self, write: Callable[[Any], None]) -> None:
        """Let another room write its own tables in this same transaction.

        It is given the database's connection, which the engine passes on and does not know.
        """

    @property
    def audited(self) -> Sequence[CaEvent]:
        """What `audit` was given so far, for the exit modules after the commit."""


class CaDatabase(Protocol):
    """One CA's part of the database."""

    def transaction(self, *, deadline: float | None = None) -> AbstractContextManager[CaTransaction]:
        """Lock the CA's row, commit at the end. `deadline` is a `time.monotonic()` value; afterwards
        `CaUnreachable` is raised when the lock could not be had."""

    def transaction_with(self, other: Self) -> AbstractContextManager[tuple[CaTransaction, CaTransaction]]:
        """Lock two CAs of one database, this one first, and commit what is written to both at once."""

    def certificate_request(self) -> CertificateRequestRecord | None:
        """What another CA was asked to sign and has not answered yet."""

    def ca(self) -> CaRecord:
        """The CA's row; cheap to call often (re-read only when its version changed)."""

    def request(self, request_id: int) -> RequestRecord | None: ...

    def request_by_serial(self, serial_number: str) -> RequestRecord | None: ...

    def raw_request(self, request_id: int) -> bytes | None: ...

    def request_ids_in(self, state: RequestState) -> Sequence[int]:
        """Request IDs in a state, oldest first (what was left ACTIVE by a crash, for one)."""

    def certificate_der(self, request_id: int) -> bytes | None: ...

    def extensions(self, request_id: int) -> Sequence[tuple[str, bool, bytes]]:
        """(OID, critical, value) an officer set on a pending request."""

    def revoked(
        self, *, key_index: int, now: datetime, partition: int = 0, expired: bool = False
    ) -> Iterator[RevokedEntry]:
        """Entries for a base CRL of one CA key: effective, and not expired before the last base CRL.

        Args:
            partition: only of certificates that name its CRL; 0 for all of them.
            expired: also of certificates that expired long ago.
        """

    def revoked_encoded(
        self, *, key_index: int, now: datetime, partition: int = 0, expired: bool = False
    ) -> Iterator[EncodedEntries]:
        """The same entries as `revoked`, in the same order, encoded only and many at a time."""

    def revoked_since(
        self, since: datetime, *, key_index: int, now: datetime, partition: int = 0, expired: bool = False
    ) -> Iterator[RevokedEntry]:
        """Entries for a delta CRL of one CA key: what was revoked, became effective, or was released since.

        Released ones have the reason removeFromCRL.
        """

    def latest_crl(self, key_index: int, *, delta: bool = False, partition: int = 0) -> CrlRecord | None: ...

    def unexpired_bases(self, key_index: int, now: datetime, partition: int = 0) -> Sequence[CrlRecord]:
        """Base CRLs of a key whose end is to come, oldest first; without their DER."""

    def mark_crl_published(
        self,
        number: int,
        key_index: int,
        *,
        delta: bool = False,
        partition: int = 0,
        when: datetime | None,
        error: str,
    ) -> None: ...

    def deliveries(self) -> Sequence[Delivery]:
        """How every published file stands at each target, by target and file."""

    def note_deliveries(self, deliveries: Sequence[Delivery]) -> None:
        """Write down how all of them stand now; what is not among them is forgotten."""

    def crl_partitions(self, key_index: int, now: datetime) -> Sequence[int]:
        """The partitions whose CRLs certificates of a key name that have not expired, in order; without 0."""

    def last_request_id(self) -> int:
        """The highest request ID that was given; 0 for none."""

    def view(
        self,
        table: Table,
        where: Sequence[Restriction],
        columns: Sequence[str],
        sort: Sort | None,
        limit: int | None,
    ) -> Iterator[Row]: ...

    def count(self, table: Table, where: Sequence[Restriction], by: str) -> Mapping[object, int]: ...


class DuplicateSerial(Exception):
    """A serial number came up twice; draw another."""
