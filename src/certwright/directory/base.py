"""What everybody may ask a directory. [MS-ADTS], [MS-CRTD], [MS-WCCE] 3.2.1.1 (abstract data)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from certwright.adcs.requester import Sid
from certwright.adcs.template import CertificateTemplate


class PrincipalKind(Enum):
    USER = "user"
    COMPUTER = "computer"
    GROUP = "group"


@dataclass(frozen=True, slots=True)
class Principal:
    """An account as the CA needs it. `groups` are all transitive groups, well-known SIDs included."""

    sid: Sid
    kind: PrincipalKind
    account: str  # DOMAIN\sAMAccountName
    common_name: str
    distinguished_name: str  # as the directory writes it, most specific first
    guid: bytes  # objectGUID, 16 octets in the directory's little-endian form
    enabled: bool
    groups: frozenset[Sid]
    upn: str = ""
    mail: str = ""
    dns_host_name: str = ""
    additional_host_names: tuple[str, ...] = ()  # embedded directory only: further DNS names or IP addresses
    obstacle: LogonFailure | None = None  # why it is not enabled, where the directory tells more than that

    sids: frozenset[Sid] = field(init=False, compare=False, repr=False)
    """The account and its groups. Made once: its hash is asked for at every request."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "sids", self.groups | {self.sid})


@dataclass(frozen=True, slots=True)
class Domain:
    """The domain a directory speaks for."""

    dns_name: str
    netbios_name: str
    sid: Sid
    distinguished_name: str  # DC=corp,DC=example


@dataclass(frozen=True, slots=True)
class EnrollmentService:
    """A CA as clients find it: the pKIEnrollmentService entry."""

    ca_name: str  # common name of the CA
    dns_host_name: str
    certificate: bytes  # DER
    templates: tuple[str, ...]  # cn of every published template
    site: str = ""  # msPKI-Site-Name, where somebody wrote it down

    @property
    def config(self) -> str:
        return f"{self.dns_host_name}\\{self.ca_name}"


class LogonFailure(Enum):
    """Why a logon was refused: for the log, never for the answer."""

    UNKNOWN_ACCOUNT = "unknown account"
    OTHER_DOMAIN = "account of another domain than the one this installation belongs to"
    WRONG_PASSWORD = "wrong password"  # noqa: S105 - the reason, not a password
    DISABLED = "account disabled"
    LOCKED_OUT = "account locked out"
    EXPIRED = "account expired"
    PASSWORD_EXPIRED = "password expired"  # noqa: S105
    MUST_CHANGE_PASSWORD = "password must be changed first"  # noqa: S105
    NOT_NOW_OR_NOT_HERE = "logon hours or workstations do not allow it"
    NOT_A_LOGON_ACCOUNT = "a group cannot log on"
    NO_NTLM = "account is not marked for NTLM"


class LogonRefused(Exception):
    """A logon failed. `reason` goes to the log only."""

    def __init__(self, reason: LogonFailure) -> None:
        super().__init__(reason.value)
        self.reason = reason


class Directory(Protocol):
    """Synchronous; look-ups may block, so they are made before the issuer's queue, never in its thread."""

    @property
    def domain(self) -> Domain: ...

    def principal(self, name_or_sid: str) -> Principal | None:
        r"""Find an account or group by SID, `DOMAIN\name`, `name`, or user principal name."""

    def templates(self) -> Mapping[str, CertificateTemplate]:
        """Every template of the forest by cn: an immutable snapshot, replaced when something changes."""

    def enrollment_service(self, ca_name: str) -> EnrollmentService | None:
        """The entry of one CA; its `templates` are what this CA publishes."""

    def sid_names(self, sids: frozenset[Sid]) -> Mapping[Sid, str]:
        r"""`DOMAIN\name` of SIDs, well-known ones included; unknown SIDs are left out."""


class LogonDirectory(Directory, Protocol):
    """A directory that can also check passwords itself (the embedded one)."""

    def verify_password(self, name: str, password: str) -> Principal:
        """Check a password (slow on purpose). Raises `LogonRefused`; takes the same time for unknown names."""

    def nt_hash(self, name: str) -> tuple[Principal, bytes]:
        """The NT hash of an account marked for NTLM. Raises `LogonRefused`."""
