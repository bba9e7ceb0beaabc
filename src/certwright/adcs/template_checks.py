"""Whether the values of a certificate template make sense together. [MS-CRTD] 2; bounds that are ours say so.

What is dangerous is another question: `directory.risks`. Nothing here looks at permissions; the directory that
stores the template reads its security descriptor.
"""

from __future__ import annotations

import ipaddress
import re
from datetime import timedelta
from typing import Final

from certwright.adcs.errors import InvalidArgument
from certwright.adcs.periods import MAX_PERIOD, period_text
from certwright.adcs.requester import parse_sid
from certwright.adcs.template import CertificateTemplate, NameRule, PrivateKeyFlag
from certwright.pki.errors import EncodingError
from certwright.pki.general_names import host_name_to_ascii, is_host_name

MAX_NAME: Final = 64  # cn, X.520 ub-common-name
MAX_DISPLAY_NAME: Final = 256
MAX_KEY_SIZE: Final = 16384
MAX_RA_SIGNATURES: Final = 16  # ours; Windows' own screen offers as many
MAX_VERSION: Final = 0x7FFF_FFFF

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._()-]*")
_OID = re.compile(r"[0-2](\.(0|[1-9][0-9]{0,38})){1,30}")


def check_template(template: CertificateTemplate) -> None:
    """Refuse what no CA could work with; an empty OID passes, the directory fills it in.

    Raises:
        InvalidArgument: names the attribute, what is wrong with it and what would be right.
    """
    _check_names(template)
    _check_versions(template)
    _check_periods(template)
    _check_key(template)
    _check_oids(template)
    _check_signatures(template)
    for rule in template.name_rules.rules:
        check_name_rule(rule)


def is_oid(text: str) -> bool:
    return len(text) <= 256 and _OID.fullmatch(text) is not None


def is_template_name(text: str) -> bool:
    """May a template be called that on the wire? Letters, digits, `.`, `_`, `-` and parentheses; no blanks."""
    return len(text) <= MAX_NAME and _NAME.fullmatch(text) is not None


def check_name_rule(rule: NameRule) -> None:
    """Raises:
    InvalidArgument: an entry is no DNS suffix, IP range or domain.
    """
    if rule.group:
        try:
            parse_sid(rule.group)
        except ValueError as error:
            raise InvalidArgument(f"Name rules: {error}; a rule's group is given by its SID.") from error
    for suffix in rule.dns_suffixes:
        if not _is_domain(suffix.removeprefix(".")):
            raise InvalidArgument(
                f"Name rules: {suffix!r} is no DNS suffix; write corp.example for the name and all below it,"
                " .corp.example for the names below it only."
            )
    for prefix in rule.ip_ranges:
        try:
            ipaddress.ip_network(prefix)
        except ValueError as error:
            raise InvalidArgument(
                f"Name rules: {prefix!r} is no IP range ({error}); write 10.1.0.0/16 or 2001:db8::/32."
            ) from error
    for domain in (*rule.upn_domains, *rule.mail_domains):
        if not _is_domain(domain):
            raise InvalidArgument(f"Name rules: {domain!r} is no domain; write the part after the @ sign.")


def _is_domain(text: str) -> bool:
    try:
        return is_host_name(host_name_to_ascii(text))
    except EncodingError:
        return False


def _check_names(template: CertificateTemplate) -> None:
    if not is_template_name(template.cn):
        raise InvalidArgument(
            f"{template.cn[:80]!r} cannot be a template's name: 1 to {MAX_NAME} letters, digits, '.', '_', '-' and"
            " parentheses, no blanks. The display name may be any text."
        )
    name = template.display_name
    if not 1 <= len(name) <= MAX_DISPLAY_NAME or not name.isprintable() or name != name.strip():
        raise InvalidArgument(f"{template.cn}: a display name has 1 to {MAX_DISPLAY_NAME} printable characters.")


def _check_versions(template: CertificateTemplate) -> None:
    if not 1 <= template.schema_version <= 4:
        raise InvalidArgument(f"{template.cn}: schema version {template.schema_version}; there are 1 to 4.")
    if not 0 <= template.major_version <= MAX_VERSION or not 0 <= template.minor_version <= MAX_VERSION:
        raise InvalidArgument(f"{template.cn}: major and minor version are numbers from 0 to {MAX_VERSION}.")


def _check_periods(template: CertificateTemplate) -> None:
    if not timedelta(0) < template.validity_period <= MAX_PERIOD:
        raise InvalidArgument(f"{template.cn}: the validity period has to be longer than nothing, at most 100 years.")
    if not timedelta(0) <= template.renewal_period < template.validity_period:
        raise InvalidArgument(
            f"{template.cn}: the renewal period ({period_text(template.renewal_period)}) has to be shorter than the"
            f" validity period ({period_text(template.validity_period)})."
        )


def _check_key(template: CertificateTemplate) -> None:
    if not 0 <= template.minimal_key_size <= MAX_KEY_SIZE:
        raise InvalidArgument(f"{template.cn}: the minimal key size is a number of bits from 0 to {MAX_KEY_SIZE}.")
    if len(template.key_usage) > 2:
        raise InvalidArgument(f"{template.cn}: key usage has at most two octets.")
    if template.default_key_spec not in (0, 1, 2):
        raise InvalidArgument(f"{template.cn}: the key specification is 1 (key exchange) or 2 (signature).")
    if not -1 <= template.max_issuing_depth <= 255:
        raise InvalidArgument(f"{template.cn}: the issuing depth is 0 to 255, or -1 for any.")


def _check_oids(template: CertificateTemplate) -> None:
    if template.oid and not is_oid(template.oid):
        raise InvalidArgument(f"{template.cn}: {template.oid[:80]!r} is no object identifier for a template.")
    plain_ra_policies = tuple(text for text in template.ra_application_policies if "`" not in text)
    for what, listed in (
        ("extended key usage", template.extended_key_usage),
        ("application policy", template.application_policies),
        ("issuance policy", template.issuance_policies),
        ("critical extension", template.critical_extensions),
        ("policy of authorizing signatures", template.ra_policies),
        ("application policy of authorizing signatures", plain_ra_policies),
    ):
        for oid in listed:
            if not is_oid(oid):
                raise InvalidArgument(f"{template.cn}: {oid[:80]!r} is no object identifier ({what}).")
        if len(set(listed)) != len(listed):
            raise InvalidArgument(f"{template.cn}: an object identifier stands there twice ({what}).")


def _check_signatures(template: CertificateTemplate) -> None:
    if not 0 <= template.ra_signatures <= MAX_RA_SIGNATURES:
        raise InvalidArgument(f"{template.cn}: 0 to {MAX_RA_SIGNATURES} authorizing signatures can be required.")
    if template.schema_version == 1 and template.ra_signatures:
        raise InvalidArgument(f"{template.cn}: a template of schema version 1 cannot require signatures; use 2 to 4.")
    for text in template.ra_application_policies:
        if "`" in text and (not text.endswith("`") or text.count("`") % 3):
            raise InvalidArgument(f"{template.cn}: {text[:80]!r} does not consist of name`type`value` triplets.")


def uses_key_policy(template: CertificateTemplate) -> bool:
    """Is msPKI-RA-Application-Policies one string of triplets instead of a list of OIDs? [MS-CRTD] 2.23."""
    return template.schema_version == 3 or (
        template.schema_version == 4 and PrivateKeyFlag.USE_LEGACY_PROVIDER not in template.private_key_flag
    )
