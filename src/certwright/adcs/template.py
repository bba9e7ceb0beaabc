"""Certificate templates: the pKICertificateTemplate object as values. [MS-CRTD] 2.

A template keeps what it does not understand (`unknown`): reading and writing it back changes nothing.
Name rules are ours, not Microsoft's: they bound the names an enrollee may supply.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum, IntFlag
from types import MappingProxyType

ENROLL_RIGHT = "0e10c968-78fb-11d2-90d4-00c04f79dc55"
AUTOENROLL_RIGHT = "a05b8cc2-17bc-4802-a710-e7c15ab866a2"


class GeneralFlag(IntFlag):
    """The `flags` attribute. [MS-CRTD] 2.4."""

    AUTO_ENROLLMENT = 0x20
    MACHINE_TYPE = 0x40
    IS_CA = 0x80
    ADD_TEMPLATE_NAME = 0x200
    IS_CROSS_CA = 0x800
    DONOTPERSISTINDB = 0x1000
    IS_DEFAULT = 0x10000
    IS_MODIFIED = 0x20000


class EnrollmentFlag(IntFlag):
    """msPKI-Enrollment-Flag, CT_FLAG_*. [MS-CRTD] 2.26."""

    INCLUDE_SYMMETRIC_ALGORITHMS = 0x1
    PEND_ALL_REQUESTS = 0x2
    PUBLISH_TO_KRA_CONTAINER = 0x4
    PUBLISH_TO_DS = 0x8
    AUTO_ENROLLMENT_CHECK_USER_DS_CERTIFICATE = 0x10
    AUTO_ENROLLMENT = 0x20
    PREVIOUS_APPROVAL_VALIDATE_REENROLLMENT = 0x40
    USER_INTERACTION_REQUIRED = 0x100
    REMOVE_INVALID_CERTIFICATE_FROM_PERSONAL_STORE = 0x400
    ALLOW_ENROLL_ON_BEHALF_OF = 0x800
    ADD_OCSP_NOCHECK = 0x1000
    ENABLE_KEY_REUSE_ON_NT_TOKEN_KEYSET_STORAGE_FULL = 0x2000
    NOREVOCATIONINFOINISSUEDCERTS = 0x4000
    INCLUDE_BASIC_CONSTRAINTS_FOR_EE_CERTS = 0x8000
    ALLOW_PREVIOUS_APPROVAL_KEYBASEDRENEWAL_VALIDATE_REENROLLMENT = 0x10000
    ISSUANCE_POLICIES_FROM_REQUEST = 0x20000
    SKIP_AUTO_RENEWAL = 0x40000
    NO_SECURITY_EXTENSION = 0x80000


class PrivateKeyFlag(IntFlag):
    """msPKI-Private-Key-Flag, CT_FLAG_*. [MS-CRTD] 2.27."""

    REQUIRE_PRIVATE_KEY_ARCHIVAL = 0x1
    EXPORTABLE_KEY = 0x10
    STRONG_KEY_PROTECTION_REQUIRED = 0x20
    REQUIRE_ALTERNATE_SIGNATURE_ALGORITHM = 0x40
    REQUIRE_SAME_KEY_RENEWAL = 0x80
    USE_LEGACY_PROVIDER = 0x100
    EK_TRUST_ON_USE = 0x200
    EK_VALIDATE_CERT = 0x400
    EK_VALIDATE_KEY = 0x800
    ATTEST_PREFERRED = 0x1000
    ATTEST_REQUIRED = 0x2000
    ATTESTATION_WITHOUT_POLICY = 0x4000
    HELLO_LOGON_KEY = 0x200000


class NameFlag(IntFlag):
    """msPKI-Certificate-Name-Flag, CT_FLAG_SUBJECT_*. [MS-CRTD] 2.28."""

    ENROLLEE_SUPPLIES_SUBJECT = 0x1
    OLD_CERT_SUPPLIES_SUBJECT_AND_ALT_NAME = 0x8
    ENROLLEE_SUPPLIES_SUBJECT_ALT_NAME = 0x10000
    ALT_REQUIRE_DOMAIN_DNS = 0x400000
    ALT_REQUIRE_SPN = 0x800000
    ALT_REQUIRE_DIRECTORY_GUID = 0x1000000
    ALT_REQUIRE_UPN = 0x2000000
    ALT_REQUIRE_EMAIL = 0x4000000
    ALT_REQUIRE_DNS = 0x8000000
    REQUIRE_DNS_AS_CN = 0x10000000
    REQUIRE_EMAIL = 0x20000000
    REQUIRE_COMMON_NAME = 0x40000000
    REQUIRE_DIRECTORY_PATH = 0x80000000


class OutsideRules(Enum):
    """What becomes of a request that names something outside the name rules."""

    PEND = "pend"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class NameRule:
    """What one group of enrollees may name. `group` is a SID; empty means everyone who may enroll.

    `dns_suffixes` allow the name itself and every name below it; a leading dot allows only names below.
    `ip_ranges` are CIDR prefixes, `upn_domains` and `mail_domains` the parts after the @ sign.
    """

    group: str = ""
    dns_suffixes: tuple[str, ...] = ()
    ip_ranges: tuple[str, ...] = ()
    upn_domains: tuple[str, ...] = ()
    mail_domains: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NameRules:
    """Bounds on what an enrollee may supply as subject. No rule at all means: every request is outside."""

    rules: tuple[NameRule, ...] = ()
    outside: OutsideRules = OutsideRules.PEND


@dataclass(frozen=True, slots=True)
class CertificateTemplate:
    """One certificate template. Attribute names follow [MS-CRTD] 2; `cn` is the name on the wire."""

    cn: str
    display_name: str
    oid: str  # msPKI-Cert-Template-OID; empty never for ours
    schema_version: int  # 1 to 4
    major_version: int  # revision
    minor_version: int
    flags: GeneralFlag
    enrollment_flag: EnrollmentFlag
    private_key_flag: PrivateKeyFlag  # bits 16-19 and 24-27 are compatibility nibbles
    name_flag: NameFlag
    validity_period: timedelta  # pKIExpirationPeriod
    renewal_period: timedelta  # pKIOverlapPeriod
    key_usage: bytes  # pKIKeyUsage: BIT STRING contents, first octet's high bit is digitalSignature
    extended_key_usage: tuple[str, ...]
    application_policies: tuple[str, ...]
    issuance_policies: tuple[str, ...]
    critical_extensions: tuple[str, ...]
    minimal_key_size: int
    max_issuing_depth: int  # -1: no path length constraint
    default_key_spec: int
    default_csps: tuple[str, ...]
    ra_signatures: int
    ra_application_policies: tuple[str, ...]  # as stored: OIDs, or the schema 3/4 triplet string
    ra_policies: tuple[str, ...]
    superseded_templates: tuple[str, ...]
    security_descriptor: str  # SDDL
    name_rules: NameRules = NameRules()
    unknown: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def is_machine(self) -> bool:
        return GeneralFlag.MACHINE_TYPE in self.flags

    @property
    def is_ca(self) -> bool:
        return bool(self.flags & (GeneralFlag.IS_CA | GeneralFlag.IS_CROSS_CA)) or self.cn in (
            "SubCA",
            "CA",
            "CrossCA",
        )

    @property
    def enrollee_supplies_subject(self) -> bool:
        return NameFlag.ENROLLEE_SUPPLIES_SUBJECT in self.name_flag

    @property
    def requires_approval(self) -> bool:
        return EnrollmentFlag.PEND_ALL_REQUESTS in self.enrollment_flag

    @property
    def minimum_server_version(self) -> int:
        """Compatibility nibble: the oldest CA generation that may serve this template."""
        return (int(self.private_key_flag) >> 16) & 0xF

    @property
    def minimum_client_version(self) -> int:
        return (int(self.private_key_flag) >> 24) & 0xF

    @property
    def key_policy(self) -> Mapping[str, str]:
        """The schema 3/4 triplets of msPKI-RA-Application-Policies by name. [MS-CRTD] 2.23."""
        for text in self.ra_application_policies:
            if "`" in text:
                parts = text.split("`")
                return {parts[i]: parts[i + 2] for i in range(0, len(parts) - 2, 3)}
        return {}

    @property
    def ra_extended_key_usage(self) -> tuple[str, ...]:
        """The EKUs an authorizing signature must carry, whichever way they are stored."""
        if any("`" in text for text in self.ra_application_policies):
            listed = self.key_policy.get("msPKI-RA-Application-Policies", "")
            return tuple(oid for oid in listed.split(",") if oid)
        return self.ra_application_policies
