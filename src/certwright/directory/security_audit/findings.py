"""What the rules find, as values: severity, the conditions that hold, the single changes that end it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from certwright.adcs.errors import ConfigurationError
from certwright.adcs.requester import Sid
from certwright.directory.security_audit.catalogue import ESCALATIONS


class Place(Enum):
    """Where a template lives and who issues from it; the same flag is not everywhere as dangerous."""

    EMBEDDED = "the embedded directory"  # the role decides who changes a template, not its list
    ACTIVE_DIRECTORY = "Active Directory, with a CA of ours"
    MICROSOFT = "Active Directory, with a CA of AD CS"  # which knows no name rules


class Severity(Enum):
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"  # worth knowing; this CA is not open to it


class Cause(Enum):
    """A condition of a risk. All conditions of a risk hold; ending one of them ends the risk."""

    ENROLLEE_NAMES = "the enrollee supplies the subject"
    USAGE = "a usage"  # Condition.what: its name
    ANY_USAGE = "any purpose"
    MAKES_CA = "a certificate of a CA"
    UNATTENDED = "nobody approves, nobody signs"
    AGENT_SIGNS = "an enrollment agent's signature is accepted"
    NO_NAME_RULES = "no name rules"
    LOGON_NAMES = "name rules allow logon names"  # what: which
    NO_SID = "no SID in the certificate"
    LINKED_POLICY = "a policy that stands for a group"  # what: the group
    SCHEMA_1 = "schema version 1"
    ENROLLS = "may enroll"  # what: the account or group
    WRITES = "may write"  # what: the account or group


@dataclass(frozen=True, slots=True)
class Condition:
    cause: Cause
    what: str = ""

    @property
    def words(self) -> str:
        """As the audit prints it."""
        match self.cause:
            case Cause.USAGE:
                return f"the certificate may be used for {self.what}"
            case Cause.ANY_USAGE:
                return "the certificate may be used for any purpose"
            case Cause.LINKED_POLICY:
                return f"its issuance policy stands for membership in {self.what}"
            case Cause.LOGON_NAMES:
                return f"name rules allow logon names: {self.what}"
            case Cause.ENROLLS | Cause.WRITES:
                return f"{self.what} {self.cause.value}"
        return str(self.cause.value)


class Way(Enum):
    """One single change that ends a risk."""

    FROM_DIRECTORY = "take the names from the directory"
    APPROVAL = "require approval"
    NAME_RULES = "allow host names of the domain only"
    WITHOUT_USAGES = "remove usages"  # Remedy.what: their names
    CARRY_SID = "put the SID into certificates"
    SCHEMA_2 = "raise the schema version"
    TAKE_ENROLL = "take the right to enroll"  # what: from whom
    TAKE_WRITE = "take the right to write"  # what: from whom


@dataclass(frozen=True, slots=True)
class Remedy:
    """A way with what it does here: settings as `template set` takes them, or rights taken from accounts."""

    way: Way
    settings: tuple[tuple[str, str], ...] = ()
    sids: frozenset[Sid] = frozenset()
    what: str = ""


@dataclass(frozen=True, slots=True)
class Risk:
    """One way a template can be abused."""

    id: str
    severity: Severity
    sentence: str  # who could do what
    evidence: tuple[str, ...]  # attribute=value
    fix: str
    principals: frozenset[Sid]  # who could
    conditions: tuple[Condition, ...] = ()
    remedies: tuple[Remedy, ...] = ()

    @property
    def needs_acceptance(self) -> bool:
        """Is the template refused unless somebody accepts this risk by its name?"""
        return self.severity is not Severity.LOW


@dataclass(frozen=True, slots=True)
class Finding:
    """One escalation that is open, as the audit tells it."""

    number: str
    severity: Severity
    object: str  # `template WebServer`, `CA CORP Issuing CA`, or a distinguished name
    sentence: str  # who could do what
    aces: tuple[str, ...]  # `CORP\\Domain Users: Enroll`: which principal has which right
    why: tuple[str, ...]  # the conditions that hold
    fix: str  # one concrete step that ends it
    principals: frozenset[Sid] = frozenset()
    accepted: bool = False  # somebody overrode the refusal by its number
    risk: Risk | None = None  # of a template: what the rule found

    @property
    def title(self) -> str:
        return ESCALATIONS[self.number].title

    @property
    def needs_acceptance(self) -> bool:
        """Is a change that opens it refused unless somebody overrides by its number?"""
        return self.severity is not Severity.LOW

    def as_accepted(self) -> Finding:
        return replace(self, accepted=True)


class RiskySettings(ConfigurationError):
    """Settings of a CA were refused because of escalations that nobody accepted."""

    def __init__(self, message: str, found: tuple[Finding, ...]) -> None:
        super().__init__(message)
        self.findings = found


def worst_first(findings: list[Finding]) -> tuple[Finding, ...]:
    """By severity, then by number and object."""
    order = list(Severity)
    return tuple(
        sorted(findings, key=lambda each: (order.index(each.severity), int(each.number[3:]), each.object.casefold()))
    )
