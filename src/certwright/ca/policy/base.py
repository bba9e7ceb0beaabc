"""The policy module's interface: a request and the CA's facts in, a verdict out. [MS-WCCE] 3.2.1.4.2.1.4.5."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import NamedTuple, Protocol

from certwright.adcs.errors import HResult
from certwright.adcs.interfaces import Check
from certwright.adcs.properties import CaType
from certwright.adcs.template import CertificateTemplate
from certwright.ca.intake.request import EnrollmentRequest
from certwright.directory.base import Domain
from certwright.pki.general_names import GeneralName

SERVER_VERSION = 6
"""Our own compatibility nibble: Windows Server 2016 and later ([MS-CRTD] 2.27)."""


class CaFacts(NamedTuple):
    """What a policy module may know of the CA, the directory and the clock: one immutable picture per decision."""

    name: str
    ca_type: CaType
    not_before: datetime  # of the current CA certificate
    not_after: datetime
    now: datetime
    clock_skew: timedelta
    maximum_validity: timedelta  # registry ValidityPeriod/Units
    domain: Domain
    templates: Mapping[str, CertificateTemplate]
    published: frozenset[str]  # cn of the templates this CA publishes
    settings: Mapping[str, object] = MappingProxyType({})
    path_length: int | None = None  # how many CAs may stand below this one in a chain; None for no limit
    approved: bool = False  # an officer resubmitted this request: only the approval step is passed over


@dataclass(frozen=True, slots=True)
class SpecExtension:
    """An extension the engine has no field for, as the policy wants it."""

    oid: str
    critical: bool
    value: bytes


class CertificateSpec(NamedTuple):
    """Everything the certificate will say except serial, issuer, signature and the CA's own URLs and key ids."""

    subject: bytes  # Name, DER
    subject_alternative_names: tuple[GeneralName, ...]
    not_before: datetime
    not_after: datetime
    template: CertificateTemplate | None  # None: standalone CA
    sid: str = ""  # SID security extension; empty: none
    key_usage: bytes = b""
    extensions: tuple[SpecExtension, ...] = ()  # standalone: the allowed ones of the request


class Issue(NamedTuple):
    spec: CertificateSpec
    checks: tuple[Check, ...] = ()


class Pend(NamedTuple):
    """Taken under submission. `reason` completes the disposition message; `spec` is what approval would issue."""

    reason: str
    spec: CertificateSpec
    checks: tuple[Check, ...] = ()


class Deny(NamedTuple):
    status: HResult
    reason: str  # one sentence; names the rule
    rule: str  # name of the check, for the log
    template: str = ""  # cn, once it is known
    checks: tuple[Check, ...] = ()


Verdict = Issue | Pend | Deny


class PolicyModule(Protocol):
    @property
    def description(self) -> str: ...

    def verify(self, request: EnrollmentRequest, ca: CaFacts) -> Verdict: ...
