"""A template's demands in the form the checks ask for them: plain numbers and truths, worked out once.

[MS-CRTD] 2.4 to 2.28. Flags are looked at here and nowhere else in the policy; a template object never changes, so
the answer is kept for as long as that very object is in use. The file decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

from certwright.adcs.requester import Sid
from certwright.adcs.security import SecurityDescriptor
from certwright.adcs.template import CertificateTemplate, EnrollmentFlag, NameFlag, PrivateKeyFlag
from certwright.ca.policy.name_rules import CompiledNameRules
from certwright.pki import oids

MAX_CACHED = 1024
"""Templates kept at once; a forest has some dozens, an edited template leaves one stale entry behind."""

_HOST_USAGES = frozenset(
    {
        oids.EKU_SERVER_AUTH,
        oids.EKU_IPSEC_IKE,
        oids.EKU_IPSEC_IKE_INTERMEDIATE,
        oids.EKU_IPSEC_END_SYSTEM,
        oids.EKU_IPSEC_TUNNEL,
    }
)
"""Usages whose relying parties compare host names and addresses, never a person's or an account's name."""


@dataclass(frozen=True, slots=True)
class NameSources:
    """Where the names of a certificate come from. [MS-CRTD] 2.28, [MS-WCCE] 3.2.2.6.2.1.4.5.9."""

    enrollee: bool  # from the request; everything else here is then ignored
    directory_path: bool
    common_name: bool
    dns_as_common_name: bool
    mail_in_subject: bool
    alt_dns: bool
    alt_domain_dns: bool
    alt_upn: bool
    alt_mail: bool
    alt_guid: bool

    @classmethod
    def of(cls, flags: NameFlag) -> NameSources:
        return cls(
            enrollee=NameFlag.ENROLLEE_SUPPLIES_SUBJECT in flags,
            directory_path=NameFlag.REQUIRE_DIRECTORY_PATH in flags,
            common_name=NameFlag.REQUIRE_COMMON_NAME in flags,
            dns_as_common_name=NameFlag.REQUIRE_DNS_AS_CN in flags,
            mail_in_subject=NameFlag.REQUIRE_EMAIL in flags,
            alt_dns=NameFlag.ALT_REQUIRE_DNS in flags,
            alt_domain_dns=NameFlag.ALT_REQUIRE_DOMAIN_DNS in flags,
            alt_upn=bool(flags & (NameFlag.ALT_REQUIRE_UPN | NameFlag.ALT_REQUIRE_SPN)),
            alt_mail=NameFlag.ALT_REQUIRE_EMAIL in flags,
            alt_guid=NameFlag.ALT_REQUIRE_DIRECTORY_GUID in flags,
        )


@dataclass(frozen=True, slots=True)
class Requirements:
    """What one template demands of a request."""

    template: CertificateTemplate
    security: SecurityDescriptor
    names: NameSources
    name_rules: CompiledNameRules
    is_machine: bool
    is_ca: bool
    for_hosts_only: bool  # nobody takes its subject for a person or an account
    for_enrollment_agents: bool
    schema_version: int
    minimum_server_version: int
    minimal_key_size: int
    minimal_ec_bits: int  # the same for elliptic curve keys
    key_algorithm: str  # msPKI-Asymmetric-Algorithm when the template pins one
    authorized_signatures: int
    archival_required: bool
    attestation_required: bool
    approval_required: bool
    policies_from_request: bool
    sid_extension: bool
    validity: timedelta
    renewal: timedelta
    key_usage_rsa: bytes
    key_usage_ec: bytes

    @classmethod
    def of(cls, template: CertificateTemplate, domain_sid: Sid) -> Requirements:
        """Read a template.

        Raises:
            ValueError: its security descriptor or its name rules cannot be read.
        """
        usages = frozenset(template.extended_key_usage) | frozenset(template.application_policies)
        enrollment, private_key = template.enrollment_flag, template.private_key_flag
        algorithm = template.key_policy.get("msPKI-Asymmetric-Algorithm", "").upper()
        return cls(
            template=template,
            security=SecurityDescriptor.from_sddl(template.security_descriptor, domain_sid),
            names=NameSources.of(template.name_flag),
            name_rules=CompiledNameRules.of(template.name_rules),
            is_machine=template.is_machine,
            is_ca=template.is_ca,
            for_hosts_only=bool(usages) and usages <= _HOST_USAGES,
            for_enrollment_agents=oids.EKU_ENROLLMENT_AGENT in usages,
            schema_version=template.schema_version,
            minimum_server_version=template.minimum_server_version,
            minimal_key_size=template.minimal_key_size,
            minimal_ec_bits=minimal_ec_bits(template.minimal_key_size, algorithm),
            key_algorithm=algorithm,
            authorized_signatures=template.ra_signatures,
            archival_required=PrivateKeyFlag.REQUIRE_PRIVATE_KEY_ARCHIVAL in private_key,
            attestation_required=PrivateKeyFlag.ATTEST_REQUIRED in private_key,
            approval_required=EnrollmentFlag.PEND_ALL_REQUESTS in enrollment,
            policies_from_request=EnrollmentFlag.ISSUANCE_POLICIES_FROM_REQUEST in enrollment,
            sid_extension=EnrollmentFlag.NO_SECURITY_EXTENSION not in enrollment,
            validity=template.validity_period,
            renewal=template.renewal_period,
            key_usage_rsa=key_usage_for_rsa(template.key_usage),
            key_usage_ec=key_usage_for_ec(template.key_usage),
        )


_EC_BITS_AS_STRONG_AS_RSA = ((3072, 256), (7680, 384))
"""RSA sizes and the curve as strong as the largest key below them: NIST SP 800-57 part 1, table 2."""

_STRONGEST_CURVE_BITS = 521


def minimal_ec_bits(minimal_key_size: int, key_algorithm: str) -> int:
    """How long an elliptic curve key must be: as strong as the RSA key of that size, where the size is one of RSA."""
    if key_algorithm.startswith("EC"):
        return minimal_key_size
    return next((ec for rsa, ec in _EC_BITS_AS_STRONG_AS_RSA if minimal_key_size <= rsa), _STRONGEST_CURVE_BITS)


_KEY_ENCIPHERMENT, _DATA_ENCIPHERMENT, _KEY_AGREEMENT = 0x20, 0x10, 0x08


def key_usage_for_ec(key_usage: bytes) -> bytes:
    """The template's key usage without what an elliptic curve key cannot do. RFC 8813 3.

    keyEncipherment and dataEncipherment go; a usage that leaves nothing becomes keyAgreement, which is how EC keys
    exchange keys.
    """
    return _masked(key_usage, _KEY_ENCIPHERMENT | _DATA_ENCIPHERMENT, _KEY_AGREEMENT)


def key_usage_for_rsa(key_usage: bytes) -> bytes:
    """The template's key usage without keyAgreement, which RSA cannot do. RFC 3279 2.3.1."""
    return _masked(key_usage, _KEY_AGREEMENT, _KEY_ENCIPHERMENT)


def _masked(key_usage: bytes, without: int, instead: int) -> bytes:
    if not key_usage or not key_usage[0] & without:
        return key_usage
    kept = key_usage[0] & ~without & 0xFF
    return bytes((kept or instead,))  # the second octet, decipherOnly, means nothing without key agreement


class RequirementsCache:
    """`Requirements` by template object. Entries hold their template, so an identity is never met twice."""

    __slots__ = ("_by_identity", "_narrowed")

    def __init__(self) -> None:
        self._by_identity: dict[tuple[int, Sid], Requirements] = {}
        self._narrowed: dict[tuple[int, tuple[str, ...]], tuple[CertificateTemplate, CertificateTemplate]] = {}

    def of(self, template: CertificateTemplate, domain_sid: Sid) -> Requirements:
        key = (id(template), domain_sid)
        found = self._by_identity.get(key)
        if found is None:
            found = Requirements.of(template, domain_sid)
            if len(self._by_identity) >= MAX_CACHED:
                self._by_identity.clear()
            self._by_identity[key] = found
        return found

    def narrowed(self, template: CertificateTemplate, policies: tuple[str, ...]) -> CertificateTemplate:
        """The template with only these of its issuance policies; the same object for the same question."""
        key = (id(template), policies)
        found = self._narrowed.get(key)
        if found is None:
            found = template, replace(template, issuance_policies=policies)
            if len(self._narrowed) >= MAX_CACHED:
                self._narrowed.clear()
            self._narrowed[key] = found
        return found[1]
