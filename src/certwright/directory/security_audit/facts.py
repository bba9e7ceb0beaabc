"""What the audit looks at, as values. None means that nobody could look: that is told, never taken for sound."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from certwright.adcs.requester import Sid
from certwright.adcs.security import SecurityDescriptor
from certwright.adcs.template import CertificateTemplate
from certwright.directory.base import Domain
from certwright.directory.security_audit.audience import Audience
from certwright.directory.security_audit.findings import Place


@dataclass(frozen=True, slots=True)
class TemplateFacts:
    """A template, the CAs that publish it, and the escalations that somebody accepted for it."""

    template: CertificateTemplate
    published_by: tuple[str, ...] = ()
    accepted: frozenset[str] = frozenset()
    where: str = ""  # distinguished name; empty: named by its cn
    place: Place | None = None  # where CAs of both kinds share a forest; None: as everything else


@dataclass(frozen=True, slots=True)
class WebEndpoint:
    """A web service that issues certificates to whoever logs on to it."""

    url: str
    relayable: tuple[str, ...]  # what it offers of NTLM and Negotiate
    channel_binding: str | None  # require, allow or off


@dataclass(frozen=True, slots=True)
class AuthorityFacts:
    """One CA. What is None is not visible from where the audit stands."""

    name: str
    ours: bool
    security: SecurityDescriptor | None = None  # of the CA itself, not of its objects in a directory
    endpoints: tuple[WebEndpoint, ...] | None = None
    takes_names_from_attributes: bool | None = None  # EDITF_ATTRIBUTESUBJECTALTNAME2
    encrypts_rpc: bool | None = None  # IF_ENFORCEENCRYPTICERTREQUEST, or no RPC at all
    key_secret_in_clear: bool | None = None
    omits_sid: bool | None = None  # 1.3.6.1.4.1.311.25.2 in DisableExtensionList
    issues_unseen: bool = False  # a standalone CA that issues whatever is asked for
    accepted: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class PkiObject:
    """An object of a directory that decides who is trusted: a container, NTAuthCertificates, a CA, its computer."""

    dn: str
    kind: str  # what it is, for people
    security: SecurityDescriptor
    may_write: frozenset[Sid] = frozenset()  # the CA's own account and the like
    expected: Mapping[Sid, str] = field(default_factory=dict)  # who may too, by design, and why: told, not warned of
    is_computer: bool = False


@dataclass(frozen=True, slots=True)
class ExplicitMapping:
    """One value of an account's altSecurityIdentities. [MS-PKCA] 3.1.5.2.1.5."""

    account: str
    dn: str
    sid: Sid
    mapping: str


@dataclass(frozen=True, slots=True)
class ProtectedAccount:
    """An administrator's account and who may write to it."""

    account: str
    dn: str
    sid: Sid
    security: SecurityDescriptor


@dataclass(frozen=True, slots=True)
class ControllerFacts:
    """How a domain controller maps certificates to accounts; its registry says so, no directory does."""

    name: str
    strong_binding: int  # StrongCertificateBindingEnforcement
    mapping_methods: int  # CertificateMappingMethods


@dataclass(frozen=True, slots=True)
class SecurityFacts:
    """Everything one audit looks at."""

    place: Place
    domain: Domain
    audience: Audience
    templates: tuple[TemplateFacts, ...] = ()
    authorities: tuple[AuthorityFacts, ...] = ()
    linked_policies: Mapping[str, str] | None = None  # issuance policy by OID -> group
    objects: tuple[PkiObject, ...] | None = None
    mappings: tuple[ExplicitMapping, ...] | None = None
    protected: tuple[ProtectedAccount, ...] | None = None
    controllers: tuple[ControllerFacts, ...] | None = None
    unreadable: tuple[str, ...] = ()  # what was there and could not be read, a sentence each
