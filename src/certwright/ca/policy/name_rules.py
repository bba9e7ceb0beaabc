"""Name rules in the form that decides: is this name inside? Ours, not Microsoft's; docs/adr/0006.

A rule allows names; whatever no rule allows is outside. Names are compared in the form a certificate carries: lower
case, `xn--` labels, whole labels only, so `evilcorp.example` is not below `corp.example`. Kinds of names the rules do
not know (URIs, directory names, registered ids, other names) are outside, and so is everything when there is no rule.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from certwright.adcs.requester import Sid, parse_sid
from certwright.adcs.template import NameRule, NameRules, OutsideRules
from certwright.ca.policy.wording import shown
from certwright.pki import names, oids
from certwright.pki.errors import EncodingError
from certwright.pki.general_names import (
    DnsName,
    EmailAddress,
    GeneralName,
    IpAddress,
    UserPrincipalName,
    host_name_to_ascii,
    is_host_name,
)
from certwright.pki.names import NameAttribute

IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

MAX_TEXT = 1024
"""Longest text that is tried as an international domain name: its preparation is slow."""

_FREE_ATTRIBUTES = frozenset(
    {
        oids.COUNTRY,
        oids.STATE,
        oids.LOCALITY,
        oids.STREET,
        oids.POSTAL_CODE,
        oids.ORGANIZATION,
        oids.ORGANIZATIONAL_UNIT,
        oids.BUSINESS_CATEGORY,
    }
)
"""Parts of a subject that say where something belongs and that nobody takes for its name."""


@dataclass(frozen=True, slots=True)
class DnsSuffix:
    """`name` itself, unless `below_only`, and every name below it."""

    name: str
    below_only: bool

    @classmethod
    def of(cls, text: str) -> DnsSuffix:
        """`corp.example`, or `.corp.example` for the names below it only.

        Raises:
            ValueError: it is no domain name.
        """
        bare = text.strip()
        below_only = bare.startswith(".")
        return cls(_domain(bare.removeprefix("."), f"the DNS suffix {text!r}"), below_only)


def _domain(text: str, what: str) -> str:
    try:
        name = host_name_to_ascii(text.removesuffix("."))
    except EncodingError as error:
        raise ValueError(f"{what} is no domain name") from error
    if name.startswith("*"):
        raise ValueError(f"{what} has a wildcard; a suffix covers every name below it anyway")
    return name


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """One `NameRule`, read and checked."""

    group: Sid | None  # None: everybody who may enroll
    dns_suffixes: tuple[DnsSuffix, ...]
    domains: frozenset[str]  # the suffixes that are allowed themselves
    endings: tuple[str, ...]  # what every name below one of the suffixes ends in
    ip_ranges: tuple[IpNetwork, ...]
    upn_domains: frozenset[str]
    mail_domains: frozenset[str]

    @classmethod
    def of(cls, rule: NameRule) -> CompiledRule:
        """Raises:
        ValueError: a part of the rule cannot be read; the message says which.
        """
        ranges: list[IpNetwork] = []
        for text in rule.ip_ranges:
            try:
                ranges.append(ipaddress.ip_network(text.strip()))
            except ValueError as error:
                raise ValueError(f"the IP range {text!r} is no network in CIDR form: {error}") from error
        suffixes = tuple(DnsSuffix.of(text) for text in rule.dns_suffixes)
        return cls(
            group=parse_sid(rule.group) if rule.group else None,
            dns_suffixes=suffixes,
            domains=frozenset(suffix.name for suffix in suffixes if not suffix.below_only),
            endings=tuple(f".{suffix.name}" for suffix in suffixes),
            ip_ranges=tuple(ranges),
            upn_domains=frozenset(_domain(text, f"the UPN domain {text!r}") for text in rule.upn_domains),
            mail_domains=frozenset(_domain(text, f"the mail domain {text!r}") for text in rule.mail_domains),
        )


@dataclass(frozen=True, slots=True)
class CompiledNameRules:
    """The name rules of one template."""

    rules: tuple[CompiledRule, ...]
    outside: OutsideRules

    @classmethod
    def of(cls, rules: NameRules) -> CompiledNameRules:
        """Raises:
        ValueError: a rule cannot be read.
        """
        return cls(tuple(CompiledRule.of(rule) for rule in rules.rules), rules.outside)

    def why_outside(
        self,
        subject: bytes,
        alternative_names: Sequence[GeneralName],
        sids: frozenset[Sid],
        *,
        describing_names: bool = False,
    ) -> str:
        """One sentence naming the first name that no rule allows, and what would be; empty when all are inside.

        Args:
            subject: Name, DER.
            alternative_names: as they would be certified, host names in ASCII and lower case.
            sids: the SIDs of the account the certificate is for; they select the rules for groups.
            describing_names: a common name that no software can take for a host, an address or an account is
                allowed. For certificates of servers, where the common name is often a title.
        """
        applicable = [rule for rule in self.rules if rule.group is None or rule.group in sids]
        if not applicable:
            reason = (
                "no name rule of the template is for this account" if self.rules else "the template has no name rule"
            )
            return f"The names in the request need approval: {reason}."
        for name in alternative_names:
            if broken := _broken_by(name, applicable):
                return broken
        return self._subject_outside(subject, applicable, describing_names)

    @staticmethod
    def _subject_outside(subject: bytes, rules: Sequence[CompiledRule], describing_names: bool) -> str:
        components: list[str] = []
        for attribute in names.attributes(subject):
            if attribute.value.startswith("#") and attribute.value[1:] == attribute.encoded.hex():
                return f"{_quoted(attribute)} in the subject is no text, and no name rule covers it."
            if attribute.oid == oids.DOMAIN_COMPONENT:
                components.append(attribute.value)
            elif attribute.oid not in _FREE_ATTRIBUTES and (
                broken := _attribute_outside(attribute, rules, describing_names)
            ):
                return broken
        if components:
            domain = ".".join(reversed(components))
            if not _host_allowed(domain, rules):
                return _sentence(f"the domain {shown(domain)} in the subject", "DNS", _suffixes(rules))
        return ""


def _broken_by(name: GeneralName, rules: Sequence[CompiledRule]) -> str:
    match name:
        case DnsName(host):
            if not _host_allowed(host, rules):
                return _sentence(f"the DNS name {shown(host)}", "DNS", _suffixes(rules))
        case IpAddress(address):
            if not _address_allowed(address, rules):
                return _sentence(f"the IP address {address}", "IP", _ranges(rules))
        case EmailAddress(text):
            if not _mail_allowed(text, rules):
                return _sentence(f"the mail address {shown(text)}", "mail", _mail_domains(rules))
        case UserPrincipalName(text):
            if not _upn_allowed(text, rules):
                return _sentence(f"the user principal name {shown(text)}", "UPN", _upn_domains(rules))
        case _:
            return f"No name rule covers names of this kind: {shown(str(name))}."
    return ""


def _attribute_outside(attribute: NameAttribute, rules: Sequence[CompiledRule], describing_names: bool) -> str:
    value = attribute.value
    if attribute.oid == oids.EMAIL_ADDRESS:
        if _mail_allowed(value, rules):
            return ""
        return _sentence(f"{_quoted(attribute)} in the subject", "mail", _mail_domains(rules))
    if attribute.oid in (oids.COMMON_NAME, oids.UNSTRUCTURED_NAME):
        if _common_name_allowed(value, rules):
            return ""
        if describing_names and attribute.oid == oids.COMMON_NAME and describes(value):
            return ""
        return _sentence(f"{_quoted(attribute)} in the subject", "DNS", _suffixes(rules))
    return f"{_quoted(attribute)} in the subject: no name rule covers this attribute."


def describes(common_name: str) -> bool:
    """Is it a title of several words, none of which could be read as a host, an address or an account?"""
    words = common_name.split()
    return len(words) > 1 and common_name.isprintable() and all(_is_plain_word(word) for word in words)


def _is_plain_word(word: str) -> bool:
    inner = word.strip(".,()").replace("-", "").replace("'", "")
    return inner == "" or inner.isalnum()


def _common_name_allowed(value: str, rules: Sequence[CompiledRule]) -> bool:
    """A common name has no type: it is inside as the address, mail address, account or host it can be read as."""
    if "@" in value:
        return _mail_allowed(value, rules) or _upn_allowed(value, rules)
    if ":" in value or value[-1:].isdigit():
        try:
            return _address_allowed(ipaddress.ip_address(value), rules)
        except ValueError:
            return False  # no host name has a colon or a number for its last label
    return _host_allowed(value, rules)


def _host_allowed(host: str, rules: Sequence[CompiledRule]) -> bool:
    """A wildcard is inside when the name below its star is: it stands for more than one name of that domain."""
    if not (host.isascii() and host.islower() and is_host_name(host)):
        if len(host) > MAX_TEXT:
            return False
        try:
            host = host_name_to_ascii(host.removesuffix("."))
        except EncodingError:
            return False
        host = host.removeprefix("*.")
    for rule in rules:  # noqa: SIM110 - a generator would cost more than all the comparing
        if host.endswith(rule.endings) or host in rule.domains:
            return True
    return False


def _address_allowed(address: Address, rules: Sequence[CompiledRule]) -> bool:
    """An IPv4 address inside an IPv6 one is the IPv4 address: no range of IPv6 may let it in. RFC 4291 2.5.5.2."""
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    meant: Address = mapped if mapped is not None else address
    return any(meant.version == network.version and meant in network for rule in rules for network in rule.ip_ranges)


def _mail_allowed(text: str, rules: Sequence[CompiledRule]) -> bool:
    domain = domain_of(text)
    return domain is not None and any(domain in rule.mail_domains for rule in rules)


def _upn_allowed(text: str, rules: Sequence[CompiledRule]) -> bool:
    domain = domain_of(text)
    return domain is not None and any(domain in rule.upn_domains for rule in rules)


def domain_of(text: str) -> str | None:
    """What follows the one @ sign, in ASCII and lower case; None when it is no address of that form."""
    local, at, domain = text.partition("@")
    if not at or not local or local != local.strip() or not local.isprintable() or len(domain) > MAX_TEXT:
        return None
    try:
        found = host_name_to_ascii(domain)
    except EncodingError:
        return None
    return None if found.startswith("*") else found


# -- trying a name ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TriedName:
    """How a name would come out, read as one kind of alternative name."""

    kind: str  # dns, ip, mail, upn
    why_outside: str  # empty: inside


def try_name(rules: NameRules, text: str, sids: frozenset[Sid]) -> tuple[TriedName, ...]:
    """Whether somebody with these SIDs may name `text`, read as everything that it could be.

    Raises:
        ValueError: a rule cannot be read.
    """
    compiled = CompiledNameRules.of(rules)

    def tried(kind: str, name: GeneralName) -> TriedName:
        return TriedName(kind, compiled.why_outside(names.EMPTY, (name,), sids))

    try:
        return (tried("ip", IpAddress(ipaddress.ip_address(text))),)
    except ValueError:
        pass
    if "@" in text:
        return tried("mail", EmailAddress(text)), tried("upn", UserPrincipalName(text))
    return (tried("dns", DnsName(text)),)


# -- sentences -------------------------------------------------------------------------------------------------------


def _sentence(what: str, kind: str, allowed: Iterator[str]) -> str:
    listed = sorted(set(allowed))
    rule = ", ".join(listed[:5]) + (", ..." if len(listed) > 5 else "") if listed else "none"
    return f"The name rules do not allow {what}; allowed by {kind} rule: {rule}."


def _quoted(attribute: NameAttribute) -> str:
    return f"{attribute.name}={shown(attribute.value)}"


def _suffixes(rules: Iterable[CompiledRule]) -> Iterator[str]:
    return (("." if s.below_only else "") + s.name for rule in rules for s in rule.dns_suffixes)


def _ranges(rules: Iterable[CompiledRule]) -> Iterator[str]:
    return (str(network) for rule in rules for network in rule.ip_ranges)


def _mail_domains(rules: Iterable[CompiledRule]) -> Iterator[str]:
    return (domain for rule in rules for domain in rule.mail_domains)


def _upn_domains(rules: Iterable[CompiledRule]) -> Iterator[str]:
    return (domain for rule in rules for domain in rule.upn_domains)
