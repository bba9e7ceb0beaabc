"""A certificate template as an enrollment policy: which of its attributes becomes which element. [MS-XCEP] 3.1.4.1.3.

Numbers that Active Directory stores signed are unsigned on the wire. What a template's schema version does not have
is nil, not zero: Windows takes a value that stands there for one that was meant.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from certwright.adcs.template import CertificateTemplate, EnrollmentFlag, PrivateKeyFlag
from certwright.pki import oids
from certwright.pki.extensions import (
    application_policies,
    basic_constraints,
    certificate_policies,
    certificate_template,
    extended_key_usage,
    key_usage,
    template_name,
)
from certwright.wire.xcep import Oid, OidGroup, Policy, PolicyExtension

SMALLEST_KEY: Final = 2048
"""minimalKeyLength of a template that names none: an element that must be above zero."""

_HASHES: Final = {
    "SHA1": "1.3.14.3.2.26",
    "SHA256": oids.SHA256,
    "SHA384": oids.SHA384,
    "SHA512": oids.SHA512,
}
_KEYS: Final = {
    "RSA": oids.RSA_ENCRYPTION,
    "DSA": "1.2.840.10040.4.1",
    "ECDSA_P256": "1.2.840.10045.3.1.7",
    "ECDSA_P384": "1.3.132.0.34",
    "ECDSA_P521": "1.3.132.0.35",
    "ECDH_P256": "1.2.840.10045.3.1.7",
    "ECDH_P384": "1.3.132.0.34",
    "ECDH_P521": "1.3.132.0.35",
}
_CIPHERS: Final = {"3DES": "1.2.840.113549.3.7", "AES": "2.16.840.1.101.3.4.1.42"}


def policy_of(template: CertificateTemplate, *, enroll: bool, auto_enroll: bool, cas: tuple[int, ...]) -> Policy:
    """The policy of one template for a caller with these permissions, published by these CAs of the answer.

    Raises:
        ValueError: the template holds what no extension can say.
    """
    key_policy = template.key_policy if template.schema_version >= 3 else {}
    usage = key_policy.get("msPKI-Key-Usage", "")
    legacy = template.schema_version < 3 or PrivateKeyFlag.USE_LEGACY_PROVIDER in template.private_key_flag
    return Policy(
        oid=Oid(template.oid, OidGroup.TEMPLATE, template.display_name or template.cn),
        common_name=template.cn,
        schema=template.schema_version,
        validity_seconds=int(template.validity_period.total_seconds()),
        renewal_seconds=int(template.renewal_period.total_seconds()),
        enroll=enroll,
        auto_enroll=auto_enroll,
        minimal_key_length=template.minimal_key_size or SMALLEST_KEY,
        major_revision=template.major_version,
        minor_revision=template.minor_version,
        cas=cas,
        key_spec=template.default_key_spec if legacy and template.default_key_spec else None,
        key_usage=int(usage) if usage.isdigit() else None,
        key_permissions=key_policy.get("msPKI-Key-Security-Descriptor", ""),
        algorithm=_named(key_policy.get("msPKI-Asymmetric-Algorithm", ""), _KEYS, OidGroup.PUBLIC_KEY),
        providers=_providers(template),
        superseded=template.superseded_templates,
        private_key_flags=_unsigned(template.private_key_flag),
        subject_name_flags=_unsigned(template.name_flag),
        enrollment_flags=_unsigned(template.enrollment_flag),
        general_flags=_unsigned(template.flags),
        hash_algorithm=_named(key_policy.get("msPKI-Hash-Algorithm", ""), _HASHES, OidGroup.HASH),
        ra_signatures=template.ra_signatures,
        ra_usages=tuple(_usage(oid) for oid in template.ra_extended_key_usage),
        ra_policies=tuple(_policy(oid) for oid in template.ra_policies),
        archival=_archival(template),
        extensions=tuple(_extensions(template)),
    )


def may_renew_by_key(template: CertificateTemplate) -> bool:
    """Does the template allow key-based renewal? [MS-CRTD] 2.26, 0x10000."""
    flag = EnrollmentFlag.ALLOW_PREVIOUS_APPROVAL_KEYBASEDRENEWAL_VALIDATE_REENROLLMENT
    return flag in template.enrollment_flag


def _extensions(template: CertificateTemplate) -> Iterator[PolicyExtension]:
    def made(oid: str, value: bytes) -> PolicyExtension:
        return PolicyExtension(
            Oid(oid, OidGroup.EXTENSION, oids.name_of(oid)), oid in template.critical_extensions, value
        )

    if template.schema_version < 2:
        yield made(oids.CERTIFICATE_TEMPLATE_NAME, template_name(template.cn))
    else:
        information = certificate_template(template.oid, template.major_version, template.minor_version)
        yield made(oids.CERTIFICATE_TEMPLATE, information)
    if template.extended_key_usage:
        yield made(oids.EXTENDED_KEY_USAGE, extended_key_usage(template.extended_key_usage))
    if template.schema_version >= 2 and template.application_policies:
        yield made(oids.APPLICATION_POLICIES, application_policies(template.application_policies))
    if template.issuance_policies:
        yield made(oids.CERTIFICATE_POLICIES, certificate_policies(template.issuance_policies))
    if any(template.key_usage):
        yield made(oids.KEY_USAGE, key_usage(template.key_usage))
    if template.is_ca:
        depth = template.max_issuing_depth
        yield made(oids.BASIC_CONSTRAINTS, basic_constraints(ca=True, path_length=depth if depth >= 0 else None))
    elif EnrollmentFlag.INCLUDE_BASIC_CONSTRAINTS_FOR_EE_CERTS in template.enrollment_flag:
        yield made(oids.BASIC_CONSTRAINTS, basic_constraints(ca=False))


def _providers(template: CertificateTemplate) -> tuple[str, ...]:
    """`N,Name` by N; the bare names go out."""

    def place(text: str) -> int:
        number = text.partition(",")[0].strip()
        return int(number) if number.isdigit() else 0

    found = sorted(template.default_csps, key=place)
    return tuple(name for text in found if (name := text.partition(",")[2].strip() or text.strip()))


def _archival(template: CertificateTemplate) -> tuple[Oid, int] | None:
    if PrivateKeyFlag.REQUIRE_PRIVATE_KEY_ARCHIVAL not in template.private_key_flag:
        return None
    algorithm = _named(template.key_policy.get("msPKI-Symmetric-Algorithm", "3DES"), _CIPHERS, OidGroup.ENCRYPTION)
    length = template.key_policy.get("msPKI-Symmetric-Key-Length", "168")
    return None if algorithm is None or not length.isdigit() else (algorithm, int(length))


def _named(name: str, known: dict[str, str], group: OidGroup) -> Oid | None:
    value = known.get(name.upper())
    return None if value is None else Oid(value, group, name)


def _usage(oid: str) -> Oid:
    return Oid(oid, OidGroup.EXTENDED_KEY_USAGE, oids.name_of(oid))


def _policy(oid: str) -> Oid:
    return Oid(oid, OidGroup.POLICY, oids.name_of(oid))


def _unsigned(flags: int) -> int:
    return int(flags) & 0xFFFF_FFFF
