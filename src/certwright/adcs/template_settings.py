"""Single attributes of a template by the names of the command line: `template set User validity-period="1 year"`.

One function per setting, text in, changed fields out. The stored attribute each one changes is said in `SETTINGS`,
which is also the help text. Nothing is decided here: `template_checks` and the directory's risk gate come after.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from enum import IntFlag
from typing import Any, Final, TypeVar

from certwright.adcs.errors import InvalidArgument
from certwright.adcs.periods import parse_period
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
from certwright.adcs.template_checks import MAX_VERSION, is_oid, uses_key_policy
from certwright.adcs.template_json import key_usage_from_names
from certwright.pki import oids

Changes = dict[str, Any]
Setting = Callable[[CertificateTemplate, str], Changes]
Flag = TypeVar("Flag", bound=IntFlag)

USAGE_NAMES: Final = {
    "serverAuth": oids.EKU_SERVER_AUTH,
    "clientAuth": oids.EKU_CLIENT_AUTH,
    "codeSigning": oids.EKU_CODE_SIGNING,
    "emailProtection": oids.EKU_EMAIL_PROTECTION,
    "timeStamping": oids.EKU_TIME_STAMPING,
    "OCSPSigning": oids.EKU_OCSP_SIGNING,
    "smartCardLogon": oids.EKU_SMART_CARD_LOGON,
    "kdcAuthentication": oids.EKU_KDC_AUTHENTICATION,
    "ipsecIKE": oids.EKU_IPSEC_IKE,
    "encryptingFileSystem": oids.EKU_EFS,
    "documentSigning": oids.EKU_DOCUMENT_SIGNING,
    "remoteDesktop": oids.EKU_REMOTE_DESKTOP,
    "enrollmentAgent": oids.EKU_ENROLLMENT_AGENT,
    "anyPurpose": oids.EKU_ANY,
}
"""Extended key usages that may be written by name; any other by its OID."""

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
            changed = replace(changed, **setting(changed, text.strip()))
        except ValueError as error:
            raise InvalidArgument(f"{key}: {error}.") from error
    return with_new_version(template, changed)


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


# -- how values are written ------------------------------------------------------------------------------------------


def _switch(text: str) -> bool:
    match text.lower():
        case "on" | "yes" | "true":
            return True
        case "off" | "no" | "false":
            return False
    raise ValueError(f"{text!r} is neither on nor off")


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise ValueError(f"{text!r} is no number")
    return int(text)


def _listed(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def _oid(text: str) -> str:
    for name, oid in USAGE_NAMES.items():
        if name.lower() == text.lower():
            return oid
    if not is_oid(text):
        raise ValueError(f"{text!r} is no object identifier and none of {', '.join(USAGE_NAMES)}")
    return text


def _oids(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_oid(part) for part in _listed(text)))


def _choices(text: str, known: Mapping[str, NameFlag]) -> NameFlag:
    chosen = NameFlag(0)
    for part in _listed(text.lower()):
        if part not in known:
            raise ValueError(f"{part!r} is none of {', '.join(known)}")
        chosen |= known[part]
    return chosen


def _all_of(known: Mapping[str, NameFlag]) -> NameFlag:
    everything = NameFlag(0)
    for flag in known.values():
        everything |= flag
    return everything


def _set(flags: Flag, bit: Flag, on: bool) -> Flag:
    kind = type(flags)
    return kind(flags | bit) if on else kind(flags & ~bit)


# -- settings --------------------------------------------------------------------------------------------------------


def _text_field(field: str) -> Setting:
    return lambda template, text: {field: text}


def _number_field(field: str) -> Setting:
    return lambda template, text: {field: _number(text)}


def _oids_field(field: str) -> Setting:
    return lambda template, text: {field: _oids(text)}


def _period_field(field: str) -> Setting:
    return lambda template, text: {field: parse_period(text)}


def _flag(field: str, bit: IntFlag, *, inverted: bool = False) -> Setting:
    return lambda template, text: {field: _set(getattr(template, field), bit, _switch(text) is not inverted)}


def _enrollee_supplies_subject(template: CertificateTemplate, text: str) -> Changes:
    on = _switch(text)
    return {
        "name_flag": _set(template.name_flag, NameFlag.ENROLLEE_SUPPLIES_SUBJECT, on),
        "flags": _set(template.flags, _LEGACY_ENROLLEE_SUPPLIES_SUBJECT, on),
    }


def _names_from_directory(known: Mapping[str, NameFlag]) -> Setting:
    """Names come from the directory: the enrollee supplies none of them from now on."""

    def change(template: CertificateTemplate, text: str) -> Changes:
        chosen = _choices(text, known)
        kept = template.name_flag & ~_all_of(known) & ~NameFlag.ENROLLEE_SUPPLIES_SUBJECT
        return {
            "name_flag": NameFlag(kept | chosen),
            "flags": _set(template.flags, _LEGACY_ENROLLEE_SUPPLIES_SUBJECT, False),
        }

    return change


def _extended_key_usage(template: CertificateTemplate, text: str) -> Changes:
    """The usage, and from schema version 2 on the application policies, which say the same. [MS-CRTD] 2.25."""
    usages = _oids(text)
    return {"extended_key_usage": usages} | ({"application_policies": usages} if template.schema_version > 1 else {})


def _key_usage(template: CertificateTemplate, text: str) -> Changes:
    return {"key_usage": key_usage_from_names(list(_listed(text)))}


def _key_algorithm(template: CertificateTemplate, text: str) -> Changes:
    if not uses_key_policy(template):
        raise ValueError("only templates of schema version 3 and 4 pin an algorithm; set schema-version=4 first")
    algorithm = _KEY_ALGORITHMS.get(text.lower())
    if algorithm is None:
        raise ValueError(f"{text!r} is none of {', '.join(_KEY_ALGORITHMS)}")
    return {"ra_application_policies": _with_key_policy(template, "msPKI-Asymmetric-Algorithm", algorithm)}


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
    policies = _oids(text)
    if uses_key_policy(template):
        stored = _with_key_policy(template, "msPKI-RA-Application-Policies", ",".join(policies))
        return {"ra_application_policies": stored}
    return {"ra_application_policies": policies}


def _schema_version(template: CertificateTemplate, text: str) -> Changes:
    """Raise the schema version; what the newer form stores elsewhere moves with it. [MS-CRTD] 2.16."""
    version = _number(text)
    if not template.schema_version <= version <= 4:
        raise ValueError(f"it can be raised from {template.schema_version} up to 4, never lowered")
    changes: Changes = {"schema_version": version}
    if template.schema_version == 1 < version and not template.application_policies:
        changes["application_policies"] = template.extended_key_usage
    raised = replace(template, **changes)
    if uses_key_policy(raised) and not uses_key_policy(template):
        listed = ",".join(template.ra_extended_key_usage)
        cleared = replace(raised, ra_application_policies=())
        changes["ra_application_policies"] = _with_key_policy(cleared, "msPKI-RA-Application-Policies", listed)
    return changes


def _superseded(template: CertificateTemplate, text: str) -> Changes:
    return {"superseded_templates": _listed(text)}


_SETTINGS: Final[Mapping[str, Setting]] = {
    "display-name": _text_field("display_name"),
    "validity-period": _period_field("validity_period"),
    "renewal-period": _period_field("renewal_period"),
    "approval": _flag("enrollment_flag", EnrollmentFlag.PEND_ALL_REQUESTS),
    "minimal-key-size": _number_field("minimal_key_size"),
    "key-algorithm": _key_algorithm,
    "key-usage": _key_usage,
    "eku": _extended_key_usage,
    "application-policies": _oids_field("application_policies"),
    "issuance-policies": _oids_field("issuance_policies"),
    "critical-extensions": _oids_field("critical_extensions"),
    "enrollee-supplies-subject": _enrollee_supplies_subject,
    "subject": _names_from_directory(_SUBJECT_PARTS),
    "alternative-names": _names_from_directory(_ALTERNATIVE_NAMES),
    "sid-extension": _flag("enrollment_flag", EnrollmentFlag.NO_SECURITY_EXTENSION, inverted=True),
    "signatures": _number_field("ra_signatures"),
    "signature-application-policies": _ra_application_policies,
    "signature-issuance-policies": _oids_field("ra_policies"),
    "machine": _flag("flags", GeneralFlag.MACHINE_TYPE),
    "exportable-key": _flag("private_key_flag", PrivateKeyFlag.EXPORTABLE_KEY),
    "same-key-renewal": _flag("private_key_flag", PrivateKeyFlag.REQUIRE_SAME_KEY_RENEWAL),
    "renewal-without-approval": _flag("enrollment_flag", EnrollmentFlag.PREVIOUS_APPROVAL_VALIDATE_REENROLLMENT),
    "autoenrollment": _flag("enrollment_flag", EnrollmentFlag.AUTO_ENROLLMENT),
    "publish-to-directory": _flag("enrollment_flag", EnrollmentFlag.PUBLISH_TO_DS),
    "smime-capabilities": _flag("enrollment_flag", EnrollmentFlag.INCLUDE_SYMMETRIC_ALGORITHMS),
    "basic-constraints": _flag("enrollment_flag", EnrollmentFlag.INCLUDE_BASIC_CONSTRAINTS_FOR_EE_CERTS),
    "revocation-information": _flag("enrollment_flag", EnrollmentFlag.NOREVOCATIONINFOINISSUEDCERTS, inverted=True),
    "ocsp-nocheck": _flag("enrollment_flag", EnrollmentFlag.ADD_OCSP_NOCHECK),
    "schema-version": _schema_version,
    "superseded-templates": _superseded,
    "security-descriptor": _text_field("security_descriptor"),
}

SETTINGS: Final[Mapping[str, str]] = {
    "display-name": "what people see (displayName)",
    "validity-period": "2 years, 6 weeks, 90 days, 8 hours (pKIExpirationPeriod)",
    "renewal-period": "how long before its end a certificate is renewed (pKIOverlapPeriod)",
    "approval": "on: a certificate manager approves every request (PEND_ALL_REQUESTS)",
    "minimal-key-size": "bits (msPKI-Minimal-Key-Size)",
    "key-algorithm": "rsa, ecdsa-p256, ecdsa-p384 or ecdsa-p521; schema version 3 and 4",
    "key-usage": "digitalSignature, keyEncipherment, ...; comma between them (pKIKeyUsage)",
    "eku": "OIDs or names such as serverAuth, clientAuth; comma between them (pKIExtendedKeyUsage)",
    "application-policies": "OIDs (msPKI-Certificate-Application-Policy); set together with eku",
    "issuance-policies": "OIDs (msPKI-Certificate-Policy)",
    "critical-extensions": "OIDs (pKICriticalExtensions)",
    "enrollee-supplies-subject": "on: names come from the request, within the name rules",
    "subject": "from the directory: directory-path, common-name, dns-name, email, none; comma between them",
    "alternative-names": "from the directory: upn, email, dns, domain-dns, spn, guid, none; comma between them",
    "sid-extension": "off: certificates do not carry the account's SID (NO_SECURITY_EXTENSION)",
    "signatures": "how many authorizing signatures a request needs (msPKI-RA-Signature)",
    "signature-application-policies": "OIDs the signers' certificates carry (msPKI-RA-Application-Policies)",
    "signature-issuance-policies": "OIDs the signers' certificates carry (msPKI-RA-Policies)",
    "machine": "on: for computers (MACHINE_TYPE)",
    "exportable-key": "on: clients may export the private key",
    "same-key-renewal": "on: a renewal keeps its key (REQUIRE_SAME_KEY_RENEWAL)",
    "renewal-without-approval": "on: a valid certificate renews itself (PREVIOUS_APPROVAL_VALIDATE_REENROLLMENT)",
    "autoenrollment": "on: clients enroll by themselves (AUTO_ENROLLMENT)",
    "publish-to-directory": "on: certificates are stored with the account (PUBLISH_TO_DS)",
    "smime-capabilities": "on: certificates list S/MIME algorithms (INCLUDE_SYMMETRIC_ALGORITHMS)",
    "basic-constraints": "on: certificates say that they are no CA (INCLUDE_BASIC_CONSTRAINTS_FOR_EE_CERTS)",
    "revocation-information": "off: certificates name no CRL (NOREVOCATIONINFOINISSUEDCERTS)",
    "ocsp-nocheck": "on: an OCSP signing certificate is not checked for revocation (ADD_OCSP_NOCHECK)",
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
    entries = tuple(entry.lower() for entry in _listed(text))
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
