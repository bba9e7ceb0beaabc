"""Single attributes of a template by the names of the command line: `template set User validity-period="1 year"`.

A setting is two functions: text in, changed fields out, and the text that would leave it as it is. The stored
attribute each one changes is said in `SETTINGS`, which is also the help text. Nothing is decided here:
`template_checks` and the directory's risk gate come after.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from enum import IntFlag
from typing import Any, Final

from certwright.adcs.errors import InvalidArgument
from certwright.adcs.periods import parse_period, period_text
from certwright.adcs.template import (
    CertificateTemplate,
    EnrollmentFlag,
    GeneralFlag,
    NameFlag,
    NameRule,
    NameRules,
    OutsideRules,
    PrivateKeyFlag,
)
from certwright.adcs.template_checks import MAX_VERSION, uses_key_policy
from certwright.adcs.template_json import key_usage_from_names, key_usage_names
from certwright.adcs.template_values import (
    all_of,
    choices,
    chosen,
    listed,
    number,
    oids_of,
    on_off,
    set_bit,
    switch,
    word_of,
)

Changes = dict[str, Any]
Change = Callable[[CertificateTemplate, str], Changes]


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: how a text changes a template, and the text that stands for what a template has."""

    change: Change  # raises ValueError with what would be accepted
    read: Callable[[CertificateTemplate], str]


_LEGACY_ENROLLEE_SUPPLIES_SUBJECT = GeneralFlag(0x1)
"""certca.h: stock templates repeat the name flag here. Nobody decides by it, everybody shows it."""

_SUBJECT_PARTS: Final = {
    "none": NameFlag(0),
    "directory-path": NameFlag.REQUIRE_DIRECTORY_PATH,
    "common-name": NameFlag.REQUIRE_COMMON_NAME,
    "dns-name": NameFlag.REQUIRE_DNS_AS_CN,
    "email": NameFlag.REQUIRE_EMAIL,
}
_ALTERNATIVE_NAMES: Final = {
    "none": NameFlag(0),
    "upn": NameFlag.ALT_REQUIRE_UPN,
    "email": NameFlag.ALT_REQUIRE_EMAIL,
    "dns": NameFlag.ALT_REQUIRE_DNS,
    "domain-dns": NameFlag.ALT_REQUIRE_DOMAIN_DNS,
    "spn": NameFlag.ALT_REQUIRE_SPN,
    "guid": NameFlag.ALT_REQUIRE_DIRECTORY_GUID,
}
_KEY_ALGORITHMS: Final = {
    "rsa": "RSA",
    "ecdsa-p256": "ECDSA_P256",
    "ecdsa-p384": "ECDSA_P384",
    "ecdsa-p521": "ECDSA_P521",
}
_HASH_ALGORITHMS: Final = {"sha256": "SHA256", "sha384": "SHA384", "sha512": "SHA512"}
_ANY: Final = "any"
"""Key or hash algorithm when the template pins none."""
_GENERATIONS: Final = {"2003": 1, "2008": 2, "2008r2": 3, "2012": 4, "2012r2": 5, "2016": 6}
"""Compatibility nibbles of msPKI-Private-Key-Flag by the Windows Server of that generation. [MS-CRTD] 2.27."""
_GENERATION_OF_SCHEMA: Final = {1: 1, 2: 1, 3: 2, 4: 4}
"""What a template means that names no generation: the first one that knew its schema version."""
_SERVER_BITS, _CLIENT_BITS = 16, 24
_ATTESTATION: Final = {
    "off": PrivateKeyFlag(0),
    "preferred": PrivateKeyFlag.ATTEST_PREFERRED,
    "required": PrivateKeyFlag.ATTEST_REQUIRED,
}
_ATTESTATION_TRUST: Final = {
    "none": PrivateKeyFlag(0),
    "user-credentials": PrivateKeyFlag.EK_TRUST_ON_USE,
    "hardware-certificate": PrivateKeyFlag.EK_VALIDATE_CERT,
    "hardware-key": PrivateKeyFlag.EK_VALIDATE_KEY,
}
_PURPOSES: Final = {
    "signature-and-encryption": (0xA0, 1),
    "signature": (0x80, 2),
    "encryption": (0x20, 1),
}
"""Key usage and pKIDefaultKeySpec (1 key exchange, 2 signature) of each purpose."""
_SIGNS, _ENCRYPTS, _CERTIFIES = 0xC0, 0x38, 0x06
_RULE_LISTS: Final = {
    "dns-suffixes": "dns_suffixes",
    "ip-ranges": "ip_ranges",
    "upn-domains": "upn_domains",
    "mail-domains": "mail_domains",
}
_NAME_RULES: Final = "name-rules."


def apply_settings(
    template: CertificateTemplate,
    settings: Mapping[str, str],
    *,
    resolve_group: Callable[[str], str] | None = None,
) -> CertificateTemplate:
    """The template with the settings applied in their order.

    A change raises the minor version and marks the template as modified, as Windows' own screen does; a change of
    permissions alone does neither.

    Args:
        resolve_group: gives the SID of a group by name, for name rules of one group; without it only SIDs work.

    Raises:
        InvalidArgument: there is no such setting, or the value is not one of its values.
    """
    changed = template
    for key, text in settings.items():
        if key.startswith(_NAME_RULES):
            changed = replace(changed, name_rules=_name_rules(changed.name_rules, key, text.strip(), resolve_group))
            continue
        setting = _SETTINGS.get(key)
        if setting is None:
            raise _no_such_setting(key)
        try:
            changed = replace(changed, **setting.change(changed, text.strip()))
        except ValueError as error:
            raise InvalidArgument(f"{key}: {error}.") from error
    return with_new_version(template, changed)


def setting_text(template: CertificateTemplate, key: str) -> str:
    """The value of a setting: what `apply_settings` takes to leave it as it is.

    Raises:
        InvalidArgument: there is no such setting; name rules are read from the template itself.
    """
    setting = _SETTINGS.get(key)
    if setting is None:
        raise _no_such_setting(key)
    return setting.read(template)


def with_new_version(before: CertificateTemplate, after: CertificateTemplate) -> CertificateTemplate:
    """`after` with its minor version raised if it differs from `before` in more than its permissions."""
    different = [f.name for f in fields(before) if getattr(before, f.name) != getattr(after, f.name)]
    if not set(different) - {"security_descriptor"} or "minor_version" in different or "major_version" in different:
        return after
    major, minor = before.major_version, before.minor_version + 1
    if minor > MAX_VERSION:
        major, minor = major + 1, 0
    return replace(after, major_version=major, minor_version=minor, flags=after.flags | GeneralFlag.IS_MODIFIED)


def _no_such_setting(key: str) -> InvalidArgument:
    likely = difflib.get_close_matches(key, SETTINGS, 1)
    hint = f"Did you mean {likely[0]}?" if likely else f"There are: {', '.join(SETTINGS)}."
    return InvalidArgument(f"A template has no setting {key[:60]!r}. {hint}")


# -- settings --------------------------------------------------------------------------------------------------------


def _text_field(field: str) -> Setting:
    return Setting(lambda template, text: {field: text}, lambda template: str(getattr(template, field)))


def _number_field(field: str) -> Setting:
    return Setting(lambda template, text: {field: number(text)}, lambda template: str(getattr(template, field)))


def _list_field(field: str, read: Callable[[str], tuple[str, ...]]) -> Setting:
    return Setting(lambda template, text: {field: read(text)}, lambda template: ", ".join(getattr(template, field)))


def _period_field(field: str) -> Setting:
    return Setting(
        lambda template, text: {field: parse_period(text)}, lambda template: period_text(getattr(template, field))
    )


def _flag(field: str, bit: IntFlag, *, inverted: bool = False) -> Setting:
    return Setting(
        lambda template, text: {field: set_bit(getattr(template, field), bit, switch(text) is not inverted)},
        lambda template: on_off(bool(getattr(template, field) & bit) is not inverted),
    )


def _enrollment(bit: EnrollmentFlag, *, inverted: bool = False) -> Setting:
    return _flag("enrollment_flag", bit, inverted=inverted)


def _private_key(bit: PrivateKeyFlag, *, inverted: bool = False) -> Setting:
    return _flag("private_key_flag", bit, inverted=inverted)


def _enrollee_supplies_subject(template: CertificateTemplate, text: str) -> Changes:
    """Turned on, it takes the place of every name from the directory, as on Windows' own screen."""
    on = switch(text)
    kept = template.name_flag
    if on and not template.enrollee_supplies_subject:
        kept &= ~all_of(_SUBJECT_PARTS) & ~all_of(_ALTERNATIVE_NAMES)
    if not on:
        kept &= ~NameFlag.OLD_CERT_SUPPLIES_SUBJECT_AND_ALT_NAME
    return {
        "name_flag": set_bit(NameFlag(kept), NameFlag.ENROLLEE_SUPPLIES_SUBJECT, on),
        "flags": set_bit(template.flags, _LEGACY_ENROLLEE_SUPPLIES_SUBJECT, on),
    }


def _names_from_directory(known: Mapping[str, NameFlag]) -> Setting:
    """Names come from the directory: the enrollee supplies none of them from now on."""

    def change(template: CertificateTemplate, text: str) -> Changes:
        bits = choices(text, known)
        kept = template.name_flag & ~all_of(known) & ~NameFlag.ENROLLEE_SUPPLIES_SUBJECT
        return {
            "name_flag": NameFlag(kept | bits),
            "flags": set_bit(template.flags, _LEGACY_ENROLLEE_SUPPLIES_SUBJECT, False),
        }

    return Setting(change, lambda template: chosen(template.name_flag, known))


def _extended_key_usage(template: CertificateTemplate, text: str) -> Changes:
    """The usage, and from schema version 2 on the application policies, which say the same. [MS-CRTD] 2.25."""
    usages = oids_of(text)
    return {"extended_key_usage": usages} | ({"application_policies": usages} if template.schema_version > 1 else {})


def _key_usage(template: CertificateTemplate, text: str) -> Changes:
    return {"key_usage": key_usage_from_names(list(listed(text)))}


def _purpose(template: CertificateTemplate, text: str) -> Changes:
    usage, key_spec = word_of(text, _PURPOSES)
    return {"key_usage": bytes((usage, 0)), "default_key_spec": key_spec}


def _purpose_of(template: CertificateTemplate) -> str:
    bits = template.key_usage[0] if template.key_usage else 0
    signs, encrypts = bool(bits & _SIGNS), bool(bits & _ENCRYPTS)
    if bits & _CERTIFIES or not (signs or encrypts):
        return "other"
    return "signature-and-encryption" if signs and encrypts else "signature" if signs else "encryption"


def _pinned(name: str, known: Mapping[str, str]) -> Setting:
    """A triplet of msPKI-RA-Application-Policies whose value is one of a few words. [MS-CRTD] 2.23."""

    def change(template: CertificateTemplate, text: str) -> Changes:
        if not uses_key_policy(template):
            raise ValueError("only templates of schema version 3 and 4 pin an algorithm; set schema-version=4 first")
        value = word_of(text, {_ANY: "", **known})
        return {"ra_application_policies": _with_key_policy(template, name, value)}

    def read(template: CertificateTemplate) -> str:
        stored = template.key_policy.get(name, "")
        return next((word for word, value in known.items() if value == stored.upper()), stored.lower() or _ANY)

    return Setting(change, read)


def _providers(text: str) -> tuple[str, ...]:
    """pKIDefaultCSPs counts them, the preferred one first. [MS-CRTD] 2.9."""
    return tuple(f"{place},{name}" for place, name in enumerate(listed(text), 1))


def _providers_of(template: CertificateTemplate) -> str:
    counted = [csp.partition(",") for csp in template.default_csps]
    ordered = sorted(counted, key=lambda csp: int(csp[0]) if csp[0].isdigit() else 0)
    return ", ".join(name or place for place, _, name in ordered)


def _legacy_provider(template: CertificateTemplate, text: str) -> Changes:
    """Cryptographic service providers instead of key storage providers; policies of signers are stored otherwise."""
    flags = set_bit(template.private_key_flag, PrivateKeyFlag.USE_LEGACY_PROVIDER, switch(text))
    changed = replace(template, private_key_flag=flags)
    return {"private_key_flag": flags, "ra_application_policies": _restored(template, changed)}


def _restored(before: CertificateTemplate, after: CertificateTemplate) -> tuple[str, ...]:
    """msPKI-RA-Application-Policies in the form that `after` has it in. [MS-CRTD] 2.23."""
    if uses_key_policy(before) == uses_key_policy(after):
        return before.ra_application_policies
    if not uses_key_policy(after):
        return before.ra_extended_key_usage
    policies = ",".join(before.ra_extended_key_usage)
    return _with_key_policy(replace(after, ra_application_policies=()), "msPKI-RA-Application-Policies", policies)


def _generation(bits: int) -> Setting:
    """The oldest CA or client a template is for; when both are newer, so is its schema version. [MS-CRTD] 2.27."""

    def change(template: CertificateTemplate, text: str) -> Changes:
        kept = int(template.private_key_flag) & ~(0xF << bits)
        flags = PrivateKeyFlag(kept | word_of(text, _GENERATIONS) << bits)
        changed = replace(template, private_key_flag=flags)
        oldest = min(_generation_of(changed, _SERVER_BITS), _generation_of(changed, _CLIENT_BITS))
        known = max(schema for schema, generation in _GENERATION_OF_SCHEMA.items() if generation <= oldest)
        raised = _schema_version(changed, str(max(template.schema_version, known)))
        return {"private_key_flag": flags} | raised

    def read(template: CertificateTemplate) -> str:
        generation = _generation_of(template, bits)
        return next((word for word, known in _GENERATIONS.items() if known == generation), str(generation))

    return Setting(change, read)


def _generation_of(template: CertificateTemplate, bits: int) -> int:
    return int(template.private_key_flag) >> bits & 0xF or _GENERATION_OF_SCHEMA[template.schema_version]


def _attestation_trust(template: CertificateTemplate, text: str) -> Changes:
    kept = template.private_key_flag & ~all_of(_ATTESTATION_TRUST)
    return {"private_key_flag": PrivateKeyFlag(kept | choices(text, _ATTESTATION_TRUST))}


def _attestation(template: CertificateTemplate, text: str) -> Changes:
    kept = template.private_key_flag & ~all_of(_ATTESTATION)
    return {"private_key_flag": PrivateKeyFlag(kept | word_of(text, _ATTESTATION))}


def _attestation_of(template: CertificateTemplate) -> str:
    if PrivateKeyFlag.ATTEST_REQUIRED in template.private_key_flag:
        return "required"
    return chosen(template.private_key_flag, _ATTESTATION)


def _path_length(template: CertificateTemplate, text: str) -> Changes:
    return {"max_issuing_depth": -1 if text.lower() == _ANY else number(text)}


def _with_key_policy(template: CertificateTemplate, name: str, value: str) -> tuple[str, ...]:
    """The triplets of msPKI-RA-Application-Policies with one text value set. [MS-CRTD] 2.23."""
    triplets: dict[str, tuple[str, str]] = {}
    for text in template.ra_application_policies:
        parts = text.split("`")
        triplets |= {parts[i]: (parts[i + 1], parts[i + 2]) for i in range(0, len(parts) - 2, 3)}
    if value:
        triplets[name] = ("PZPWSTR", value)
    else:
        triplets.pop(name, None)
    written = "".join(f"{key}`{kind}`{text}`" for key, (kind, text) in triplets.items())
    return (written,) if written else ()


def _ra_application_policies(template: CertificateTemplate, text: str) -> Changes:
    policies = oids_of(text)
    if uses_key_policy(template):
        stored = _with_key_policy(template, "msPKI-RA-Application-Policies", ",".join(policies))
        return {"ra_application_policies": stored}
    return {"ra_application_policies": policies}


def _schema_version(template: CertificateTemplate, text: str) -> Changes:
    """Raise the schema version; what the newer form stores elsewhere moves with it. [MS-CRTD] 2.16."""
    version = number(text)
    if not template.schema_version <= version <= 4:
        raise ValueError(f"it can be raised from {template.schema_version} up to 4, never lowered")
    changes: Changes = {"schema_version": version}
    if template.schema_version == 1 < version and not template.application_policies:
        changes["application_policies"] = template.extended_key_usage
    raised = replace(template, **changes)
    return changes | {"ra_application_policies": _restored(template, raised)}


_SETTINGS: Final[Mapping[str, Setting]] = {
    "display-name": _text_field("display_name"),
    "validity-period": _period_field("validity_period"),
    "renewal-period": _period_field("renewal_period"),
    "approval": _enrollment(EnrollmentFlag.PEND_ALL_REQUESTS),
    "minimal-key-size": _number_field("minimal_key_size"),
    "key-algorithm": _pinned("msPKI-Asymmetric-Algorithm", _KEY_ALGORITHMS),
    "hash-algorithm": _pinned("msPKI-Hash-Algorithm", _HASH_ALGORITHMS),
    "providers": Setting(lambda template, text: {"default_csps": _providers(text)}, _providers_of),
    "legacy-provider": Setting(
        _legacy_provider,
        lambda template: on_off(PrivateKeyFlag.USE_LEGACY_PROVIDER in template.private_key_flag),
    ),
    "alternate-signature": _private_key(PrivateKeyFlag.REQUIRE_ALTERNATE_SIGNATURE_ALGORITHM),
    "purpose": Setting(_purpose, _purpose_of),
    "key-usage": Setting(_key_usage, lambda template: ", ".join(key_usage_names(template.key_usage))),
    "eku": Setting(_extended_key_usage, lambda template: ", ".join(template.extended_key_usage)),
    "application-policies": _list_field("application_policies", oids_of),
    "issuance-policies": _list_field("issuance_policies", oids_of),
    "issuance-policies-from-request": _enrollment(EnrollmentFlag.ISSUANCE_POLICIES_FROM_REQUEST),
    "critical-extensions": _list_field("critical_extensions", oids_of),
    "enrollee-supplies-subject": Setting(
        _enrollee_supplies_subject, lambda template: on_off(template.enrollee_supplies_subject)
    ),
    "names-from-old-certificate": _flag("name_flag", NameFlag.OLD_CERT_SUPPLIES_SUBJECT_AND_ALT_NAME),
    "subject": _names_from_directory(_SUBJECT_PARTS),
    "alternative-names": _names_from_directory(_ALTERNATIVE_NAMES),
    "sid-extension": _enrollment(EnrollmentFlag.NO_SECURITY_EXTENSION, inverted=True),
    "signatures": _number_field("ra_signatures"),
    "signature-application-policies": Setting(
        _ra_application_policies, lambda template: ", ".join(template.ra_extended_key_usage)
    ),
    "signature-issuance-policies": _list_field("ra_policies", oids_of),
    "machine": _flag("flags", GeneralFlag.MACHINE_TYPE),
    "archive-key": _private_key(PrivateKeyFlag.REQUIRE_PRIVATE_KEY_ARCHIVAL),
    "exportable-key": _private_key(PrivateKeyFlag.EXPORTABLE_KEY),
    "strong-key-protection": _private_key(PrivateKeyFlag.STRONG_KEY_PROTECTION_REQUIRED),
    "same-key-renewal": _private_key(PrivateKeyFlag.REQUIRE_SAME_KEY_RENEWAL),
    "key-reuse": _enrollment(EnrollmentFlag.ENABLE_KEY_REUSE_ON_NT_TOKEN_KEYSET_STORAGE_FULL),
    "renewal-without-approval": _enrollment(EnrollmentFlag.PREVIOUS_APPROVAL_VALIDATE_REENROLLMENT),
    "key-based-renewal": _enrollment(EnrollmentFlag.ALLOW_PREVIOUS_APPROVAL_KEYBASEDRENEWAL_VALIDATE_REENROLLMENT),
    "autoenrollment": _enrollment(EnrollmentFlag.AUTO_ENROLLMENT),
    "user-interaction": _enrollment(EnrollmentFlag.USER_INTERACTION_REQUIRED),
    "remove-invalid": _enrollment(EnrollmentFlag.REMOVE_INVALID_CERTIFICATE_FROM_PERSONAL_STORE),
    "publish-to-directory": _enrollment(EnrollmentFlag.PUBLISH_TO_DS),
    "check-directory": _enrollment(EnrollmentFlag.AUTO_ENROLLMENT_CHECK_USER_DS_CERTIFICATE),
    "smime-capabilities": _enrollment(EnrollmentFlag.INCLUDE_SYMMETRIC_ALGORITHMS),
    "basic-constraints": _enrollment(EnrollmentFlag.INCLUDE_BASIC_CONSTRAINTS_FOR_EE_CERTS),
    "path-length": Setting(
        _path_length,
        lambda template: _ANY if template.max_issuing_depth < 0 else str(template.max_issuing_depth),
    ),
    "revocation-information": _enrollment(EnrollmentFlag.NOREVOCATIONINFOINISSUEDCERTS, inverted=True),
    "ocsp-nocheck": _enrollment(EnrollmentFlag.ADD_OCSP_NOCHECK),
    "key-attestation": Setting(_attestation, _attestation_of),
    "attestation-trust": Setting(
        _attestation_trust, lambda template: chosen(template.private_key_flag, _ATTESTATION_TRUST)
    ),
    "attestation-policies": _private_key(PrivateKeyFlag.ATTESTATION_WITHOUT_POLICY, inverted=True),
    "minimum-ca": _generation(_SERVER_BITS),
    "minimum-client": _generation(_CLIENT_BITS),
    "schema-version": Setting(_schema_version, lambda template: str(template.schema_version)),
    "superseded-templates": _list_field("superseded_templates", listed),
    "security-descriptor": _text_field("security_descriptor"),
}

SETTINGS: Final[Mapping[str, str]] = {
    "display-name": "what people see (displayName)",
    "validity-period": "2 years, 6 weeks, 90 days, 8 hours (pKIExpirationPeriod)",
    "renewal-period": "how long before its end a certificate is renewed (pKIOverlapPeriod)",
    "approval": "on: a certificate manager approves every request (PEND_ALL_REQUESTS)",
    "minimal-key-size": "bits (msPKI-Minimal-Key-Size)",
    "key-algorithm": "rsa, ecdsa-p256, ecdsa-p384, ecdsa-p521 or any; schema version 3 and 4",
    "hash-algorithm": "sha256, sha384, sha512 or any: what clients sign requests with; schema version 3 and 4",
    "providers": "names of cryptographic providers clients may use, the preferred one first (pKIDefaultCSPs)",
    "legacy-provider": "on: clients take cryptographic service providers, schema version 4 (USE_LEGACY_PROVIDER)",
    "alternate-signature": "on: clients sign with RSASSA-PSS (REQUIRE_ALTERNATE_SIGNATURE_ALGORITHM)",
    "purpose": "signature, encryption or signature-and-encryption: key usage and key specification together",
    "key-usage": "digitalSignature, keyEncipherment, ...; comma between them (pKIKeyUsage)",
    "eku": "OIDs or names such as serverAuth, clientAuth; comma between them (pKIExtendedKeyUsage)",
    "application-policies": "OIDs (msPKI-Certificate-Application-Policy); set together with eku",
    "issuance-policies": "OIDs (msPKI-Certificate-Policy)",
    "issuance-policies-from-request": "on: of them those that the request names (ISSUANCE_POLICIES_FROM_REQUEST)",
    "critical-extensions": "OIDs (pKICriticalExtensions)",
    "enrollee-supplies-subject": "on: names come from the request, within the name rules",
    "names-from-old-certificate": "on: clients renew with the names they have (OLD_CERT_SUPPLIES_SUBJECT_...)",
    "subject": "from the directory: directory-path, common-name, dns-name, email, none; comma between them",
    "alternative-names": "from the directory: upn, email, dns, domain-dns, spn, guid, none; comma between them",
    "sid-extension": "off: certificates do not carry the account's SID (NO_SECURITY_EXTENSION)",
    "signatures": "how many authorizing signatures a request needs (msPKI-RA-Signature)",
    "signature-application-policies": "OIDs the signers' certificates carry (msPKI-RA-Application-Policies)",
    "signature-issuance-policies": "OIDs the signers' certificates carry (msPKI-RA-Policies)",
    "machine": "on: for computers (MACHINE_TYPE)",
    "archive-key": "on: the private key comes with the request (REQUIRE_PRIVATE_KEY_ARCHIVAL)",
    "exportable-key": "on: clients may export the private key",
    "strong-key-protection": "on: people confirm each use of the key (STRONG_KEY_PROTECTION_REQUIRED)",
    "same-key-renewal": "on: a renewal keeps its key (REQUIRE_SAME_KEY_RENEWAL)",
    "key-reuse": "on: a full smart card renews with the key it has (ENABLE_KEY_REUSE_ON_...)",
    "renewal-without-approval": "on: a valid certificate renews itself (PREVIOUS_APPROVAL_VALIDATE_REENROLLMENT)",
    "key-based-renewal": "on: the key alone proves who renews (ALLOW_..._KEYBASEDRENEWAL_VALIDATE_REENROLLMENT)",
    "autoenrollment": "on: clients enroll by themselves (AUTO_ENROLLMENT)",
    "user-interaction": "on: clients ask before they enroll (USER_INTERACTION_REQUIRED)",
    "remove-invalid": "on: clients delete expired and revoked ones (REMOVE_INVALID_CERTIFICATE_FROM_PERSONAL_STORE)",
    "publish-to-directory": "on: certificates are stored with the account (PUBLISH_TO_DS)",
    "check-directory": "on: clients enroll once for all their machines (AUTO_ENROLLMENT_CHECK_USER_DS_CERTIFICATE)",
    "smime-capabilities": "on: certificates list S/MIME algorithms (INCLUDE_SYMMETRIC_ALGORITHMS)",
    "basic-constraints": "on: certificates say that they are no CA (INCLUDE_BASIC_CONSTRAINTS_FOR_EE_CERTS)",
    "path-length": "how many CAs may stand below a CA of this template, or any (pKIMaxIssuingDepth)",
    "revocation-information": "off: certificates name no CRL (NOREVOCATIONINFOINISSUEDCERTS)",
    "ocsp-nocheck": "on: an OCSP signing certificate is not checked for revocation (ADD_OCSP_NOCHECK)",
    "key-attestation": "off, preferred or required: the hardware proves that it holds the key (ATTEST_...)",
    "attestation-trust": "user-credentials, hardware-certificate, hardware-key, none; comma between them (EK_...)",
    "attestation-policies": "off: certificates do not say how the key was attested (ATTESTATION_WITHOUT_POLICY)",
    "minimum-ca": "oldest CA: 2003, 2008, 2008r2, 2012, 2012r2, 2016; raises the schema version with minimum-client",
    "minimum-client": "oldest client, by the same words (msPKI-Private-Key-Flag)",
    "schema-version": "raise it: 2, 3 or 4 (msPKI-Template-Schema-Version)",
    "superseded-templates": "names of templates this one replaces (msPKI-Supersede-Templates)",
    "security-descriptor": "SDDL; template grant and revoke are easier (nTSecurityDescriptor)",
    "name-rules.dns-suffixes": "DNS suffixes an enrollee may name; name-rules.GROUP.dns-suffixes for one group",
    "name-rules.ip-ranges": "IP ranges an enrollee may name, such as 10.1.0.0/16",
    "name-rules.upn-domains": "domains of user principal names an enrollee may name",
    "name-rules.mail-domains": "domains of mail addresses an enrollee may name",
    "name-rules.outside": "pend or deny: what becomes of any other name",
}
"""Every setting and what it takes. An empty value clears a list."""


# -- name rules ------------------------------------------------------------------------------------------------------


def _name_rules(rules: NameRules, key: str, text: str, resolve_group: Callable[[str], str] | None) -> NameRules:
    """`name-rules.dns-suffixes` is everyone's rule, `name-rules.GROUP.dns-suffixes` a group's."""
    rest = key.removeprefix(_NAME_RULES)
    if rest == "outside":
        try:
            return replace(rules, outside=OutsideRules(text.lower()))
        except ValueError:
            raise InvalidArgument(f"{key}: {text!r} is neither pend nor deny.") from None
    group_name, _, kind = rest.rpartition(".")
    field = _RULE_LISTS.get(kind)
    if field is None:
        raise _no_such_setting(key)
    group = _group_sid(group_name, key, resolve_group)
    entries = tuple(entry.lower() for entry in listed(text))
    found = next((rule for rule in rules.rules if rule.group == group), None)
    values: Changes = {field: entries}
    changed = replace(found or NameRule(group=group), **values)
    kept = [changed if rule is found else rule for rule in rules.rules]
    if found is None:
        kept.append(changed)
    return replace(rules, rules=tuple(rule for rule in kept if rule != NameRule(group=rule.group)))


def _group_sid(name: str, key: str, resolve_group: Callable[[str], str] | None) -> str:
    if not name or name.upper().startswith("S-1-"):
        return name.upper()
    if resolve_group is None:
        raise InvalidArgument(f"{key}: give the group by its SID.")
    return resolve_group(name)
