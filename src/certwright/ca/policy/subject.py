"""Subject, alternative names and SID of a certificate. [MS-WCCE] 3.2.2.6.2.1.4.5.9, [MS-CRTD] 2.28.

Either the directory supplies all names, and what the request says does not matter; or the enrollee supplies all, and
they are validated here and held against the name rules elsewhere. A name that is missing or that no certificate may
carry raises `Refused`.
"""

from __future__ import annotations

import functools
import ipaddress
import re
import uuid
from collections.abc import Sequence
from typing import NamedTuple

from certwright.adcs.errors import HResult
from certwright.ca.intake.request import EnrollmentRequest
from certwright.ca.policy.case import Case, Refused
from certwright.ca.policy.name_rules import domain_of
from certwright.ca.policy.wording import shown
from certwright.directory.base import Principal, PrincipalKind
from certwright.pki import names, oids
from certwright.pki.errors import EncodingError
from certwright.pki.general_names import (
    DirectoryGuid,
    DirectoryName,
    DnsName,
    EmailAddress,
    GeneralName,
    IpAddress,
    UserPrincipalName,
    host_name_to_ascii,
    is_host_name,
    is_sid,
)
from certwright.pki.names import NameAttribute

_LOCAL_PART = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*@")
_EXCHANGE_TEMPLATES = ("ExchangeUser", "ExchangeUserSignature")


class CertifiedNames(NamedTuple):
    """Whom a certificate will name."""

    subject: bytes  # Name, DER
    alternative_names: tuple[GeneralName, ...]


def build_names(case: Case) -> CertifiedNames:
    """The names the template wants, from the directory or from the request.

    Raises:
        Refused: by rule `subject`, `subject_dns`, `subject_mail`, `subject_upn` or `subject_guid`.
    """
    built = requested_names(case) if case.requirements.names.enrollee else directory_names(case)
    if built.subject == names.EMPTY and not built.alternative_names:
        raise Refused(
            HResult.CERTSRV_E_BAD_REQUESTSUBJECT,
            "The certificate would name nobody: there is neither a subject nor an alternative name.",
            "subject",
        )
    return built


# -- supplied by the enrollee ----------------------------------------------------------------------------------------


def requested_names(case: Case) -> CertifiedNames:
    """What the request names, validated; host names in the form a certificate carries. [MS-WCCE] 3.2.1.4.2.1.4.7."""
    found = validated_names(case.request)
    if case.requirements.template.cn in _EXCHANGE_TEMPLATES and any(isinstance(n, EmailAddress) for n in found):
        found = tuple(name for name in found if not _is_bare_common_name(name))
    return CertifiedNames(case.request.subject, found)


def validated_names(request: EnrollmentRequest) -> tuple[GeneralName, ...]:
    """The alternative names of a request as they may be certified; its subject is held against X.500's bounds.

    Raises:
        Refused: by rule `subject`.
    """
    _demand_bounds(request.subject)
    return _distinct([_validated(name) for name in request.alternative_names])


def _validated(name: GeneralName) -> GeneralName:
    """A name as it may be certified. Kinds that have no form of their own here pass; the name rules stop them."""
    match name:
        case DnsName(value):
            if value.islower() and is_host_name(value):
                return name
            try:
                return DnsName(host_name_to_ascii(value.removesuffix(".")))
            except EncodingError:
                raise Refused(
                    HResult.CERTSRV_E_BAD_REQUESTSUBJECT,
                    f"The request names {shown(value)} as a DNS name, which is none.",
                    "subject",
                ) from None
        case EmailAddress(value):
            if not _is_mail_address(value):
                raise Refused(
                    HResult.CERTSRV_E_BAD_REQUESTSUBJECT,
                    f"The request names {shown(value)} as a mail address, which is none.",
                    "subject",
                )
        case UserPrincipalName(value):
            if domain_of(value) is None:
                raise Refused(
                    HResult.CERTSRV_E_BAD_REQUESTSUBJECT,
                    f"The request names {shown(value)} as a user principal name, which is none.",
                    "subject",
                )
        case _:
            pass
    return name


def _is_bare_common_name(name: GeneralName) -> bool:
    """A directory name of a single CN, which Exchange's clients send beside the address. It is left out."""
    if not isinstance(name, DirectoryName):
        return False
    attributes = tuple(names.attributes(name.der))
    return len(attributes) == 1 and attributes[0].oid == oids.COMMON_NAME


# -- supplied by the directory ---------------------------------------------------------------------------------------


def directory_names(case: Case) -> CertifiedNames:
    """Subject and alternative names of the account, as the template's name flags choose them."""
    return CertifiedNames(_directory_subject(case), _directory_alternatives(case))


def _directory_subject(case: Case) -> bytes:
    sources, principal = case.requirements.names, case.principal
    wants_host = sources.common_name or sources.dns_as_common_name or sources.alt_dns
    host = _host_name(case) if case.requirements.is_machine and wants_host else ""
    if sources.directory_path:
        subject = _distinguished_name(principal)
    elif sources.common_name or sources.dns_as_common_name:
        subject = _encoded(oids.COMMON_NAME, host if case.requirements.is_machine else principal.common_name)
    else:
        subject = names.EMPTY
    if sources.mail_in_subject:
        rdns = names.parse_name(subject)
        subject = names.encode_name((*rdns, (NameAttribute.of(oids.EMAIL_ADDRESS, _mail(principal)),)))
    _demand_bounds(subject)
    return subject


def _directory_alternatives(case: Case) -> tuple[GeneralName, ...]:
    sources, principal, domain = case.requirements.names, case.principal, case.ca.domain
    found: list[GeneralName] = []
    if sources.alt_upn:
        found.append(UserPrincipalName(_upn(case)))
    if sources.alt_mail:
        found.append(EmailAddress(_mail(principal)))
    if sources.alt_guid:
        if len(principal.guid) != 16:
            raise Refused(
                HResult.CERTSRV_E_SUBJECT_DIRECTORY_GUID_REQUIRED,
                f"The directory has no objectGUID for {shown(principal.account)}.",
                "subject_guid",
            )
        found.append(DirectoryGuid(uuid.UUID(bytes_le=principal.guid)))
    if sources.alt_dns:
        found.append(DnsName(_host_name(case)))
        found += (_additional_name(name, principal) for name in principal.additional_host_names)
    if sources.alt_domain_dns:
        found += (DnsName(name) for name in (domain.dns_name.lower(), domain.netbios_name) if name)
    return _distinct(found)


_parsed_dn = functools.lru_cache(maxsize=1024)(names.parse_dn)


def _distinguished_name(principal: Principal) -> bytes:
    """The full path in the directory, turned to X.500 order: the domain first."""
    try:
        return _parsed_dn(principal.distinguished_name)
    except EncodingError as error:
        raise Refused(
            HResult.CERTSRV_E_BAD_REQUESTSUBJECT,
            f"The distinguished name of {shown(principal.account)} cannot be certified: {error}.",
            "subject",
        ) from error


def _encoded(oid: str, value: str) -> bytes:
    if not value:
        raise Refused(HResult.CERTSRV_E_BAD_REQUESTSUBJECT, "The account has no common name.", "subject")
    return names.name_of((oid, value))


def _host_name(case: Case) -> str:
    """dNSHostName of a computer. [MS-WCCE] 3.2.2.6.2.1.4.4.1."""
    principal, value = case.principal, case.principal.dns_host_name
    if case.requirements.is_machine and principal.kind is not PrincipalKind.COMPUTER:
        reason = f"{shown(principal.account)} is not a computer, and the template is for computers."
    elif not value:
        reason = f"The directory has no DNS host name for {shown(principal.account)}: set dNSHostName of the account."
    elif value.islower() and is_host_name(value):
        return value
    else:
        try:
            return host_name_to_ascii(value)
        except EncodingError:
            reason = f"The DNS host name of {shown(principal.account)}, {shown(value)}, is no DNS name."
    raise Refused(HResult.CERTSRV_E_SUBJECT_DNS_REQUIRED, reason, "subject_dns")


def _additional_name(text: str, principal: Principal) -> GeneralName:
    try:
        return IpAddress(ipaddress.ip_address(text))
    except ValueError:
        pass
    try:
        return DnsName(host_name_to_ascii(text))
    except EncodingError:
        raise Refused(
            HResult.CERTSRV_E_SUBJECT_DNS_REQUIRED,
            f"{shown(text)}, an additional host name of {shown(principal.account)}, is neither a DNS name nor an IP"
            " address.",
            "subject_dns",
        ) from None


def _upn(case: Case) -> str:
    """userPrincipalName; without one `sAMAccountName@domain`, as Active Directory implies it. [MS-ADTS] 5.1.1.1.1."""
    principal = case.principal
    value = principal.upn
    if not value:
        account = principal.account.rpartition("\\")[2]
        value = f"{account}@{case.ca.domain.dns_name}" if account else ""
    if domain_of(value) is None:
        raise Refused(
            HResult.CERTSRV_E_SUBJECT_UPN_REQUIRED,
            f"The directory has no user principal name for {shown(principal.account)}: set userPrincipalName.",
            "subject_upn",
        )
    return value


def _mail(principal: Principal) -> str:
    value = principal.mail
    if not _is_mail_address(value):
        reason = (
            f"The mail address of {shown(principal.account)}, {shown(value)}, cannot be certified."
            if value
            else f"The directory has no mail address for {shown(principal.account)}: set mail of the account."
        )
        raise Refused(HResult.CERTSRV_E_SUBJECT_EMAIL_REQUIRED, reason, "subject_mail")
    return value


def _is_mail_address(text: str) -> bool:
    """One that an rfc822Name can hold without quotes. RFC 5280 4.2.1.6, RFC 5321 4.1.2."""
    return text.isascii() and _LOCAL_PART.match(text) is not None and domain_of(text) is not None


# -- both ------------------------------------------------------------------------------------------------------------


def _demand_bounds(subject: bytes) -> None:
    """X.500 upper bounds: EnforceX500NameLengths is always on."""
    broken = names.broken_upper_bound(subject)
    if broken is not None:
        raise Refused(HResult.CERTSRV_E_BAD_REQUESTSUBJECT, f"The subject cannot be certified: {broken}.", "subject")


def _distinct(found: Sequence[GeneralName]) -> tuple[GeneralName, ...]:
    return tuple(dict.fromkeys(found)) if len(found) > 1 else tuple(found)


def sid_for_extension(case: Case) -> str:
    """The SID for the security extension; empty where there is none. [MS-WCCE] 3.2.2.6.2.1.4.5.6, 2.2.2.7.7.4.

    Names the enrollee supplied never get one: a SID in the request is somebody's claim.

    Raises:
        Refused: by rule `security_extension`.
    """
    requirements = case.requirements
    if requirements.names.enrollee or not requirements.sid_extension:
        return ""
    sid = case.principal.sid
    if not is_sid(sid):
        raise Refused(
            HResult.CERTSRV_E_SEC_EXT_DIRECTORY_SID_REQUIRED,
            f"The directory has no SID for {shown(case.principal.account)}, which the certificate must carry.",
            "security_extension",
        )
    return sid
