"""Rules on who signed a request: renewals, enrollment agents, authorized signatures. [MS-WCCE] 3.2.2.6.2.1.2, .4.8.

A signature counts when this CA issued the certificate that made it, byte for byte, and that certificate is neither
expired nor revoked. Certificates of other CAs count for nothing.
"""

from __future__ import annotations

from certwright.adcs.errors import HResult
from certwright.adcs.restrictions import Restrictions
from certwright.adcs.template import EnrollmentFlag, PrivateKeyFlag
from certwright.ca.intake.request import Signature, Standing, StoredRequestFlag
from certwright.ca.policy.case import Case, Refused, rule
from certwright.ca.policy.wording import shown
from certwright.pki import oids
from certwright.pki.certificate import CertificateView
from certwright.pki.errors import EncodingError
from certwright.pki.extensions import decode_certificate_policies
from certwright.pki.general_names import EmailAddress, UserPrincipalName

AGENTS_SETTING = "enrollment-agents"


@rule("The certificate to be renewed may be renewed.")
def renewal(case: Case) -> None:
    """Refuse renewals that are not signed with the very certificate they name, or of another template or account.

    [MS-WCCE] 3.2.1.4.2.1.4.2, 3.2.2.6.2.1.2.3.
    """
    request = case.request
    if StoredRequestFlag.RENEWAL not in request.flags:
        return
    renewed = request.renewed
    if renewed is None:
        raise Refused(
            HResult.CERTSRV_E_BAD_RENEWAL_CERT_ATTRIBUTE,
            "The request is to renew a certificate and is not signed with it; sign the message with the old"
            " certificate, and put that certificate into it.",
        )
    standing = _demand_valid(case, renewed, "to be renewed")
    template = case.requirements.template
    if template.oid != standing.template_oid if standing.template_oid else template.cn != standing.template:
        raise Refused(
            HResult.CERTSRV_E_TEMPLATE_CONFLICT,
            f"The certificate to be renewed is of the template {shown(standing.template)}; a renewal keeps its"
            f" template, and the request asks for {template.cn}.",
        )
    if standing.requester_sid != case.principal.sid:
        raise Refused(
            HResult.E_ACCESSDENIED,
            f"The certificate to be renewed was issued to somebody else than {shown(case.principal.account)}.",
        )
    if request.by_old_key and not key_based_renewal(case):
        raise Refused(
            HResult.CERTSRV_E_BAD_RENEWAL_SUBJECT,
            f"Only the key of the old certificate says who asks. The certificate template {template.cn} must allow"
            " key-based renewal with names that the enrollee supplies and with previous approval, and the request"
            " must have the subject and the alternative names of the old certificate.",
        )
    same_key = PrivateKeyFlag.REQUIRE_SAME_KEY_RENEWAL in template.private_key_flag
    if same_key and renewed.certificate.public_key_info != request.public_key.der:
        raise Refused(
            HResult.CERTSRV_E_RENEWAL_BAD_PUBLIC_KEY,
            f"The certificate template {template.cn} asks for renewal with the same key; the request has another.",
        )


@rule("Whoever asks may ask for this account.")
def on_behalf_of(case: Case) -> None:
    """Refuse requests for others that no enrollment agent signed, or one who may not. [MS-WCCE] 3.2.2.6.2.1.2.1.

    Ours beyond it: the agent's certificate belongs to the caller, and a template of schema 1, which cannot demand an
    agent's signature, is for agents only whom a restriction names with it.
    """
    request = case.request
    if not request.on_behalf_of:
        return
    agent, template, caller = request.agent, case.requirements.template, request.caller
    if agent is None or not agent.enabled:
        raise Refused(HResult.E_ACCESSDENIED, f"The account {shown(caller.account)} is unknown or disabled.")
    if not request.signatures:
        raise Refused(
            HResult.CERTSRV_E_SIGNATURE_POLICY_REQUIRED,
            f"The request is for {shown(case.principal.account)} and made by {shown(caller.account)}; it must be"
            " signed with an enrollment agent's certificate.",
        )
    agents = [each for each in request.signatures if oids.EKU_ENROLLMENT_AGENT in _usages(each.certificate)]
    if not agents:
        raise Refused(
            HResult.CERTSRV_E_SIGNATURE_REJECTED,
            "None of the certificates that signed the request is for Certificate Request Agents.",
        )
    if all(_demand_valid(case, each, "of the enrollment agent").requester_sid != caller.sid for each in agents):
        raise Refused(
            HResult.CERTSRV_E_SIGNATURE_REJECTED,
            f"The enrollment agent's certificate was issued to somebody else than {shown(caller.account)}.",
        )
    restrictions = case.ca.settings.get(AGENTS_SETTING)
    assert restrictions is None or isinstance(restrictions, Restrictions)
    if template.schema_version < 2:
        if restrictions is None or not restrictions.names_explicitly(agent.sids, template.cn):
            raise Refused(
                HResult.CERTSRV_E_RESTRICTEDOFFICER,
                f"The certificate template {template.cn} is of schema 1 and cannot ask for an agent's signature; an"
                " enrollment agent may use it only when a restriction of the CA names agent and template.",
            )
    elif template.ra_signatures < 1 or oids.EKU_ENROLLMENT_AGENT not in template.ra_extended_key_usage:
        raise Refused(
            HResult.CERTSRV_E_BAD_RENEWAL_SUBJECT,
            f"The certificate template {template.cn} does not ask for the signature of an enrollment agent, so nobody"
            " may use it for others.",
        )
    if restrictions and not restrictions.allows(agent.sids, template.cn, case.principal.sids):
        raise Refused(
            HResult.CERTSRV_E_RESTRICTEDOFFICER,
            f"{shown(caller.account)} may not ask for a certificate of {template.cn} for"
            f" {shown(case.principal.account)}: no restriction of this CA's enrollment agents allows it.",
        )


@rule("The signatures that the template asks for are there.")
def authorized_signatures(case: Case) -> None:
    """Refuse fewer authorized signatures than the template wants. [MS-WCCE] 3.2.2.6.2.1.4.5.2 to .4.

    Stricter than Windows: every signature that counts carries all of the usages and policies asked for, and counts
    once for each account. The signature of the certificate to be renewed is none.
    """
    wanted = case.requirements.authorized_signatures
    if wanted <= 0 or previous_approval_counts(case):
        return
    request, template = case.request, case.requirements.template
    asked = f"The certificate template {template.cn} asks for authorized signatures ({wanted})"
    renewed = request.renewed
    signatures = [each for each in request.signatures if each is not renewed]
    if not signatures:
        raise Refused(HResult.CERTSRV_E_SIGNATURE_POLICY_REQUIRED, f"{asked}; the request has none.")
    usages, policies = frozenset(template.ra_extended_key_usage), frozenset(template.ra_policies)
    accounts: set[str] = set()
    for each in signatures:
        standing = _demand_valid(case, each, "of a signer")
        if usages <= _usages(each.certificate) and policies <= _policies(each.certificate):
            accounts.add(standing.requester_sid)
    if not accounts:
        named = ", ".join(oids.name_of(oid) for oid in sorted(usages | policies))
        raise Refused(
            HResult.CERTSRV_E_SIGNATURE_REJECTED,
            f"{asked} by certificates for {named}; no certificate that signed the request is for that.",
        )
    if len(accounts) < wanted:
        raise Refused(HResult.CERTSRV_E_SIGNATURE_COUNT, f"{asked}; the request has {len(accounts)}.")


def previous_approval_counts(case: Case) -> bool:
    """Is this a renewal that needs no new approval? CT_FLAG_PREVIOUS_APPROVAL_VALIDATE_REENROLLMENT, 3.2.2.6.2.1.4.8.

    The old certificate is of this template and names what the new one will. Where the enrollee supplies the names,
    the request repeats them, alternative names included: what was approved is what is asked for.
    """
    request, requirements = case.request, case.requirements
    template, renewed = requirements.template, request.renewed
    if EnrollmentFlag.PREVIOUS_APPROVAL_VALIDATE_REENROLLMENT not in template.enrollment_flag or renewed is None:
        return False
    old = renewed.certificate
    try:
        information = old.template
        names = old.alternative_names
    except EncodingError:
        return False
    if information is None or information.oid != template.oid:
        return False
    if requirements.names.enrollee:
        return request.subject == old.subject and frozenset(request.alternative_names) == frozenset(names)
    upns = [name.value for name in names if isinstance(name, UserPrincipalName)]
    mails = [name.value for name in names if isinstance(name, EmailAddress)]
    account = case.principal
    return (
        bool(upns or mails)
        and all(upn.casefold() == account.upn.casefold() for upn in upns)
        and all(mail.casefold() == account.mail.casefold() for mail in mails)
    )


def key_based_renewal(case: Case) -> bool:
    """Is this a renewal for which the old certificate stands in for the right to enroll? 3.2.2.6.2.1.4.5.6, 0x10000.

    The template says so, the enrollee supplies the names, and the request repeats those of the old certificate.
    """
    flag = EnrollmentFlag.ALLOW_PREVIOUS_APPROVAL_KEYBASEDRENEWAL_VALIDATE_REENROLLMENT
    requirements = case.requirements
    return (
        flag in requirements.template.enrollment_flag
        and requirements.names.enrollee
        and not case.request.on_behalf_of
        and previous_approval_counts(case)
    )


def _demand_valid(case: Case, signature: Signature, whose: str) -> Standing:
    """Raises:
    Refused: the certificate is not this CA's own, expired, or revoked.
    """
    certificate, standing = signature.certificate, signature.standing
    called = f"The certificate {whose} ({certificate.serial_number})"
    if standing is None:
        raise Refused(HResult.CERT_E_UNTRUSTEDROOT, f"{called} was not issued by this CA.")
    if standing.is_revoked:
        raise Refused(HResult.CRYPT_E_REVOKED, f"{called} is revoked.")
    if not certificate.not_before <= case.ca.now <= certificate.not_after:
        raise Refused(HResult.CERT_E_EXPIRED, f"{called} is not valid now.")
    return standing


def _usages(certificate: CertificateView) -> frozenset[str]:
    """Extended key usage; application policies where there is one too. Without either it is for nothing."""
    found = frozenset(certificate.extended_key_usage)
    extension = certificate.extensions.get(oids.APPLICATION_POLICIES)
    if extension is None:
        return found
    try:
        policies = frozenset(policy.oid for policy in decode_certificate_policies(extension.value))
    except EncodingError:
        return frozenset()
    return found & policies if found else policies


def _policies(certificate: CertificateView) -> frozenset[str]:
    extension = certificate.extensions.get(oids.CERTIFICATE_POLICIES)
    try:
        return (
            frozenset()
            if extension is None
            else frozenset(policy.oid for policy in decode_certificate_policies(extension.value))
        )
    except EncodingError:
        return frozenset()
