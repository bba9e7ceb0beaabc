"""Certificate templates as JSON: what `template export` writes, `template import` reads and the directory keeps.

Attributes have the names and values that Active Directory gives them ([MS-CRTD] 2): flags are signed 32-bit numbers,
periods and key usage the stored octets in hexadecimal. Beside such a value stands a companion for readers
(`flagsNames`, `pKIExpirationPeriodText`); on input it may be missing, but may not contradict. Flags may also be given
as a list of names and periods as text. Attributes this file does not know come back unchanged; `nameRules` is ours.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from enum import IntFlag
from types import MappingProxyType
from typing import Any, Final, TypeVar

from certwright.adcs.errors import InvalidArgument
from certwright.adcs.periods import PERIOD_OCTETS, decode_period, encode_period, parse_period, period_text
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

MAX_DOCUMENT: Final = 256 * 1024  # octets of JSON
MAX_LIST: Final = 256  # entries of one list
MAX_STRING: Final = 16 * 1024
MAX_UNKNOWN: Final = 64
_MAX_DEPTH: Final = 4

DEFAULT_SECURITY: Final = (
    "O:EAG:EAD:P(OA;;RPWPCR;0e10c968-78fb-11d2-90d4-00c04f79dc55;;DA)(OA;;RPWPCR;0e10c968-78fb-11d2-90d4-00c04f79dc55;;EA)"
    "(A;;CCDCLCSWRPWPDTLOSDRCWDWO;;;DA)(A;;CCDCLCSWRPWPDTLOSDRCWDWO;;;EA)(A;;LCRPLORC;;;AU)"
)
"""What a template gets that names no permissions: administrators hold it and may enroll, accounts may read it."""

KEY_USAGE_NAMES: Final = (
    "digitalSignature",
    "nonRepudiation",
    "keyEncipherment",
    "dataEncipherment",
    "keyAgreement",
    "keyCertSign",
    "cRLSign",
    "encipherOnly",
    "decipherOnly",
)
"""The bits of pKIKeyUsage, the high bit of the first octet first. RFC 5280 4.2.1.3."""

_FIRST_REVISION: Final = 100
_NAMES, _TEXT = "Names", "Text"

Flag = TypeVar("Flag", bound=IntFlag)


# -- writing ---------------------------------------------------------------------------------------------------------


def template_to_json(template: CertificateTemplate) -> dict[str, Any]:
    """The template as a JSON object, always in the same order."""
    document: dict[str, Any] = {
        "cn": template.cn,
        "displayName": template.display_name,
        "msPKI-Cert-Template-OID": template.oid,
        "msPKI-Template-Schema-Version": template.schema_version,
        "revision": template.major_version,
        "msPKI-Template-Minor-Revision": template.minor_version,
    }
    for name, flag in (
        ("flags", template.flags),
        ("msPKI-Enrollment-Flag", template.enrollment_flag),
        ("msPKI-Private-Key-Flag", template.private_key_flag),
        ("msPKI-Certificate-Name-Flag", template.name_flag),
    ):
        document[name] = _signed(int(flag))
        document[name + _NAMES] = flag_names(flag)
    for name, period in (
        ("pKIExpirationPeriod", template.validity_period),
        ("pKIOverlapPeriod", template.renewal_period),
    ):
        document[name] = encode_period(period).hex()
        document[name + _TEXT] = period_text(period)
    document |= {
        "pKIKeyUsage": template.key_usage.hex(),
        "pKIKeyUsage" + _NAMES: key_usage_names(template.key_usage),
        "pKIExtendedKeyUsage": list(template.extended_key_usage),
        "msPKI-Certificate-Application-Policy": list(template.application_policies),
        "msPKI-Certificate-Policy": list(template.issuance_policies),
        "pKICriticalExtensions": list(template.critical_extensions),
        "msPKI-Minimal-Key-Size": template.minimal_key_size,
        "pKIMaxIssuingDepth": template.max_issuing_depth,
        "pKIDefaultKeySpec": template.default_key_spec,
        "pKIDefaultCSPs": list(template.default_csps),
        "msPKI-RA-Signature": template.ra_signatures,
        "msPKI-RA-Application-Policies": list(template.ra_application_policies),
        "msPKI-RA-Policies": list(template.ra_policies),
        "msPKI-Supersede-Templates": list(template.superseded_templates),
        "nTSecurityDescriptor": template.security_descriptor,
        "nameRules": name_rules_to_json(template.name_rules),
    }
    for name, value in template.unknown.items():
        document.setdefault(name, _thawed(value))
    return document


def name_rules_to_json(rules: NameRules) -> dict[str, object]:
    """Name rules alone: the value of `nameRules`."""
    return {
        "rules": [
            {
                "group": rule.group,
                "dnsSuffixes": list(rule.dns_suffixes),
                "ipRanges": list(rule.ip_ranges),
                "upnDomains": list(rule.upn_domains),
                "mailDomains": list(rule.mail_domains),
            }
            for rule in rules.rules
        ],
        "outside": rules.outside.value,
    }


def template_to_text(template: CertificateTemplate) -> str:
    """The document as `template export` writes it."""
    return json.dumps(template_to_json(template), indent=2, ensure_ascii=False) + "\n"


def flag_names(flag: IntFlag) -> list[str]:
    """The names of the bits that are set; bits without a name as one hexadecimal number at the end."""
    names = [str(member.name) for member in type(flag) if member in flag]
    rest = int(flag)
    for member in type(flag):
        rest &= ~int(member)
    return [*names, hex(rest)] if rest else names


def key_usage_names(key_usage: bytes) -> list[str]:
    bits = int.from_bytes(key_usage.ljust(2, b"\0")[:2], "big")
    return [name for position, name in enumerate(KEY_USAGE_NAMES) if bits & (0x8000 >> position)]


def key_usage_from_names(names: list[str]) -> bytes:
    """Two octets, as Windows stores them.

    Raises:
        ValueError: a name is not one of RFC 5280 4.2.1.3.
    """
    bits = 0
    by_name = {name.lower(): position for position, name in enumerate(KEY_USAGE_NAMES)}
    for name in names:
        position = by_name.get(name.lower())
        if position is None:
            raise ValueError(f"{name!r} is no key usage; there are {', '.join(KEY_USAGE_NAMES)}")
        bits |= 0x8000 >> position
    return bits.to_bytes(2, "big")


def _signed(number: int) -> int:
    """A 32-bit number as LDAP returns it."""
    return number - 0x1_0000_0000 if number & 0x8000_0000 else number


def _thawed(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _thawed(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_thawed(item) for item in value]
    return value


# -- reading ---------------------------------------------------------------------------------------------------------


def template_from_text(text: str | bytes) -> CertificateTemplate:
    """Read one JSON document.

    Raises:
        InvalidArgument: it is no JSON, too large, or not a template; the message says where.
    """
    if len(text) > MAX_DOCUMENT:
        raise InvalidArgument(f"A template document has at most {MAX_DOCUMENT // 1024} KiB; this one is larger.")
    try:
        document = json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
    except ValueError as error:
        raise InvalidArgument(f"The template document is not JSON: {error}.") from error
    except RecursionError:
        raise InvalidArgument("The template document is nested too deeply.") from None
    if not isinstance(document, dict):
        raise InvalidArgument("A template document is one JSON object: { ... }.")
    return template_from_json(document)


def _no_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    document: dict[str, object] = {}
    for name, value in pairs:
        if name in document:
            raise InvalidArgument(f"The template document names {name!r} twice.")
        document[name] = value
    return document


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON number")


def template_from_json(document: Mapping[str, Any]) -> CertificateTemplate:
    """Read a template. What may be missing has the value Active Directory reads for a missing attribute.

    A missing OID stays empty: whoever stores the template gives it one. Whether the values make sense together is
    `template_checks.check_template`'s business.

    Raises:
        InvalidArgument: an attribute is missing, has the wrong type or cannot be read.
    """
    read = _Reader(document)
    cn = read.text("cn", None)
    template = CertificateTemplate(
        cn=cn,
        display_name=read.text("displayName", cn) or cn,
        oid=read.text("msPKI-Cert-Template-OID", ""),
        schema_version=read.number("msPKI-Template-Schema-Version", 1),
        major_version=read.number("revision", _FIRST_REVISION),
        minor_version=read.number("msPKI-Template-Minor-Revision", 0),
        flags=read.flags("flags", GeneralFlag),
        enrollment_flag=read.flags("msPKI-Enrollment-Flag", EnrollmentFlag),
        private_key_flag=read.flags("msPKI-Private-Key-Flag", PrivateKeyFlag),
        name_flag=read.flags("msPKI-Certificate-Name-Flag", NameFlag),
        validity_period=read.period("pKIExpirationPeriod"),
        renewal_period=read.period("pKIOverlapPeriod"),
        key_usage=read.key_usage("pKIKeyUsage"),
        extended_key_usage=read.texts("pKIExtendedKeyUsage"),
        application_policies=read.texts("msPKI-Certificate-Application-Policy"),
        issuance_policies=read.texts("msPKI-Certificate-Policy"),
        critical_extensions=read.texts("pKICriticalExtensions"),
        minimal_key_size=read.number("msPKI-Minimal-Key-Size", None),
        max_issuing_depth=read.number("pKIMaxIssuingDepth", 0),
        default_key_spec=read.number("pKIDefaultKeySpec", 1),
        default_csps=read.texts("pKIDefaultCSPs"),
        ra_signatures=read.number("msPKI-RA-Signature", 0),
        ra_application_policies=read.texts("msPKI-RA-Application-Policies"),
        ra_policies=read.texts("msPKI-RA-Policies"),
        superseded_templates=read.texts("msPKI-Supersede-Templates"),
        security_descriptor=read.text("nTSecurityDescriptor", DEFAULT_SECURITY) or DEFAULT_SECURITY,
        name_rules=read.name_rules("nameRules"),
    )
    unknown = read.unknown()
    return replace(template, unknown=MappingProxyType(unknown)) if unknown else template


class _Reader:
    """Takes attributes out of a document, one by one; what nobody took is unknown."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self._taken: set[str] = set()

    def _take(self, name: str) -> Any:
        self._taken.add(name)
        return self._document.get(name)

    def text(self, name: str, default: str | None) -> str:
        value = self._take(name)
        if value is None:
            if default is None:
                raise self._missing(name)
            return default
        return _text(value, name)

    def number(self, name: str, default: int | None) -> int:
        value = self._take(name)
        if value is None:
            if default is None:
                raise self._missing(name)
            return default
        return _number(value, name)

    def texts(self, name: str) -> tuple[str, ...]:
        value = self._take(name)
        return () if value is None else _texts(value, name)

    def flags(self, name: str, kind: type[Flag]) -> Flag:
        """A number, signed or not, or a list of names. Every template says all four of them. [MS-CRTD] 2."""
        value = self._take(name)
        if value is None:
            raise self._missing(name)
        flags = _flags(value, name, kind)
        self._agree(name, _NAMES, flags, lambda companion: _flags(_texts(companion, name + _NAMES), name, kind))
        return flags

    def period(self, name: str) -> timedelta:
        value = self._take(name)
        if value is None:
            raise self._missing(name)
        period = _period(_text(value, name), name)
        self._agree(name, _TEXT, period, lambda companion: _period(_text(companion, name + _TEXT), name + _TEXT))
        return period

    def key_usage(self, name: str) -> bytes:
        value = self._take(name)
        if value is None:
            raise self._missing(name)
        usage = _key_usage(value, name)
        named = key_usage_from_names(key_usage_names(usage))  # bits nobody has named are in no companion
        self._agree(name, _NAMES, named, lambda companion: _key_usage(_texts(companion, name + _NAMES), name))
        return usage

    def name_rules(self, name: str) -> NameRules:
        value = self._take(name)
        if value is None:
            return NameRules()
        return name_rules_from_json(value, name)

    def unknown(self) -> dict[str, object]:
        rest = {name: value for name, value in self._document.items() if name not in self._taken}
        if len(rest) > MAX_UNKNOWN:
            raise InvalidArgument(f"The template has {len(rest)} unknown attributes; at most {MAX_UNKNOWN} are kept.")
        missing = [name for name in self._taken if name not in self._document]
        for name in rest:
            likely = difflib.get_close_matches(name, missing, 1, 0.85)
            if likely:
                raise InvalidArgument(f"Unknown attribute {_shown(name)}; did you mean {likely[0]}?")
        return {_text(name, "an attribute name"): _frozen(value, name) for name, value in rest.items()}

    def _agree(self, name: str, suffix: str, value: object, read: Callable[[Any], object]) -> None:
        """A companion is for readers; one that says something else shows that only one of the two was edited."""
        companion = self._take(name + suffix)
        if companion is not None and read(companion) != value:
            raise InvalidArgument(
                f"{name} and {name + suffix} contradict each other. Only {name} counts: correct it and remove"
                f" {name + suffix}."
            )

    def _missing(self, name: str) -> InvalidArgument:
        likely = difflib.get_close_matches(name, [n for n in self._document if n not in self._taken], 1, 0.8)
        hint = f" Is {_shown(likely[0])} meant to be it?" if likely else ""
        return InvalidArgument(f"The template document has no {name}.{hint}")


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:60] + "...")


def _text(value: object, name: str) -> str:
    if not isinstance(value, str) or len(value) > MAX_STRING or not _is_storable(value):
        raise InvalidArgument(f"{name} has to be a string of at most {MAX_STRING} characters.")
    return value


def _is_storable(text: str) -> bool:
    """No NUL and no half of a surrogate pair: neither database takes them."""
    return "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


def _number(value: object, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not -0x8000_0000 <= value <= 0x7FFF_FFFF:
        raise InvalidArgument(f"{name} has to be a whole number of 32 bits.")
    return value


def _texts(value: object, name: str) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or len(value) > MAX_LIST:
        raise InvalidArgument(f"{name} has to be a list of at most {MAX_LIST} strings.")
    return tuple(_text(item, f"every entry of {name}") for item in value)


def _flags(value: object, name: str, kind: type[Flag]) -> Flag:
    if isinstance(value, int) and not isinstance(value, bool):
        if not -0x8000_0000 <= value <= 0xFFFF_FFFF:
            raise InvalidArgument(f"{name} has to be a number of 32 bits or a list of flag names.")
        return kind(value & 0xFFFF_FFFF)
    if not isinstance(value, list | tuple):
        raise InvalidArgument(f"{name} has to be a number of 32 bits or a list of flag names.")
    bits = 0
    for item in _texts(value, name):
        bits |= _bit(item, name, kind)
    return kind(bits)


def _bit(text: str, name: str, kind: type[Flag]) -> int:
    """One flag by its name, with or without the specification's CT_FLAG_ and SUBJECT_, or as 0x and digits."""
    if re.fullmatch(r"0x[0-9a-fA-F]{1,8}", text):
        return int(text, 16)
    wanted = text.strip().upper().removeprefix("CT_FLAG_")
    for spelling in (wanted, wanted.removeprefix("SUBJECT_")):
        if spelling in kind.__members__:
            return int(kind[spelling])
    raise InvalidArgument(f"{name}: {_shown(text)} is no flag; there are {', '.join(kind.__members__)}.")


def _period(text: str, name: str) -> timedelta:
    try:
        if re.fullmatch(rf"[0-9a-fA-F]{{{2 * PERIOD_OCTETS}}}", text):
            return decode_period(bytes.fromhex(text))
        return parse_period(text)
    except ValueError as error:
        raise InvalidArgument(f"{name}: {error}.") from error


def _key_usage(value: object, name: str) -> bytes:
    if isinstance(value, list | tuple):
        try:
            return key_usage_from_names(list(_texts(value, name)))
        except ValueError as error:
            raise InvalidArgument(f"{name}: {error}.") from error
    text = _text(value, name)
    if not re.fullmatch(r"([0-9a-fA-F]{2}){0,2}", text):
        raise InvalidArgument(f"{name} has to be one or two octets in hexadecimal, or a list of key usage names.")
    return bytes.fromhex(text)


_RULE_FIELDS: Final = {
    "dnsSuffixes": "dns_suffixes",
    "ipRanges": "ip_ranges",
    "upnDomains": "upn_domains",
    "mailDomains": "mail_domains",
}


def name_rules_from_json(value: object, name: str = "nameRules") -> NameRules:
    """Raises:
    InvalidArgument: it is not what `name_rules_to_json` makes.
    """
    if not isinstance(value, Mapping) or not set(value) <= {"rules", "outside"}:
        raise InvalidArgument(f'{name} has to be an object with "rules" and "outside".')
    try:
        outside = OutsideRules(_text(value.get("outside", OutsideRules.PEND.value), f"{name}.outside"))
    except ValueError:
        raise InvalidArgument(f'{name}.outside has to be "pend" or "deny".') from None
    rules = value.get("rules", ())
    if not isinstance(rules, list | tuple) or len(rules) > MAX_LIST:
        raise InvalidArgument(f"{name}.rules has to be a list of at most {MAX_LIST} rules.")
    return NameRules(tuple(_name_rule(rule, f"{name}.rules[{place}]") for place, rule in enumerate(rules)), outside)


def _name_rule(value: object, name: str) -> NameRule:
    if not isinstance(value, Mapping) or not set(value) <= {"group", *_RULE_FIELDS}:
        raise InvalidArgument(f"{name} may say group, {', '.join(_RULE_FIELDS)}, and nothing else.")
    return NameRule(
        group=_text(value.get("group", ""), f"{name}.group"),
        **{field: _texts(value.get(key, ()), f"{name}.{key}") for key, field in _RULE_FIELDS.items()},
    )


def _frozen(value: object, name: str, depth: int = 0) -> object:
    """An unknown attribute's value: anything JSON has, kept as it is, but bounded."""
    if depth > _MAX_DEPTH:
        raise InvalidArgument(f"The unknown attribute {_shown(name)} is nested too deeply.")
    if isinstance(value, list | tuple) and len(value) <= MAX_LIST:
        return tuple(_frozen(item, name, depth + 1) for item in value)
    if isinstance(value, Mapping) and len(value) <= MAX_LIST:
        return MappingProxyType({str(key): _frozen(item, name, depth + 1) for key, item in value.items()})
    if value is None or isinstance(value, bool | int | float):
        return value
    return _text(value, f"the unknown attribute {_shown(name)}")
