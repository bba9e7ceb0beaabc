"""The standalone policy module: an officer decides. [MS-WCCE] 3.2.1.4.2.1.4.5, note <87>.

No templates and no directory: subject and names are those of the request, extensions those of an allow list. The CA's
setting `request-disposition` may let it issue or deny at once; what would give more power than a server or a client
has waits for an officer even then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta

from certwright.adcs.errors import HResult
from certwright.adcs.interfaces import Check
from certwright.ca.intake.request import EnrollmentRequest
from certwright.ca.policy.base import CaFacts, CertificateSpec, Deny, Issue, Pend, SpecExtension, Verdict
from certwright.ca.policy.case import Refused
from certwright.ca.policy.checks import refuse_weak_key
from certwright.ca.policy.requirements import key_usage_for_ec, key_usage_for_rsa
from certwright.ca.policy.subject import validated_names
from certwright.ca.policy.validity import validity
from certwright.ca.policy.wording import shown
from certwright.pki import extensions, names, oids
from certwright.pki.errors import EncodingError
from certwright.pki.general_names import DnsName, EmailAddress, IpAddress
from certwright.pki.public_keys import KeyKind

DEFAULT_KEY_USAGE = b"\xa0"
"""digitalSignature and keyEncipherment, when the request asks for nothing."""

_READERS: Mapping[str, Callable[[bytes], object]] = {
    oids.EXTENDED_KEY_USAGE: extensions.decode_extended_key_usage,
    oids.APPLICATION_POLICIES: extensions.decode_application_policies,
    oids.CERTIFICATE_POLICIES: extensions.decode_certificate_policies,
    oids.SMIME_CAPABILITIES: extensions.decode_smime_capabilities,
}
"""What is taken over from a request, each with the function that must be able to read it.

Of Windows' EnableRequestExtensionList the rest is left out: key usage and alternative names are built anew, and
template names, CA versions, name constraints, policy mappings and constraints are for CA certificates or say
something that no template stands behind. Basic constraints, key identifiers and SIDs are never taken.
"""

_ORDINARY_USAGES = frozenset({oids.EKU_SERVER_AUTH, oids.EKU_CLIENT_AUTH, oids.EKU_EMAIL_PROTECTION})
_SIGNS_CERTIFICATES = extensions.KEY_CERT_SIGN | extensions.CRL_SIGN


class StandalonePolicy:
    """Implements `PolicyModule` for standalone CAs."""

    description = "Certwright standalone policy module"

    def verify(self, request: EnrollmentRequest, ca: CaFacts) -> Verdict:
        """Decide on one request."""
        passed: list[Check] = []
        try:
            spec = _specification(request, ca, passed)
        except Refused as refused:
            failed = Check(refused.rule, False, refused.reason)
            return Deny(refused.status, refused.reason, refused.rule, checks=(*passed, failed))
        setting = str(ca.settings.get("request-disposition", "pend"))
        if setting == "deny":
            reason = "This CA is set to deny every request (request-disposition)."
            return Deny(
                HResult.CERTSRV_E_ADMIN_DENIED_REQUEST,
                reason,
                "request_disposition",
                checks=(*passed, Check("request_disposition", False, reason)),
            )
        if ca.approved:
            return Issue(spec, (*passed, Check("approval", True, "A certificate manager approved the request.")))
        reason = "" if setting != "issue" else _unusual(spec)
        if setting == "issue" and not reason:
            return Issue(spec, tuple(passed))
        reason = reason or "A standalone CA issues after a certificate manager's approval."
        return Pend(reason, spec, (*passed, Check("approval", False, reason)))


def _specification(request: EnrollmentRequest, ca: CaFacts, passed: list[Check]) -> CertificateSpec:
    """What the request asks for, as far as this CA would sign it.

    Raises:
        Refused: by rule `on_behalf_of`, `account_enabled`, `key_quality`, `subject`, `extensions`,
            `ca_certificate` or `validity_period`.
    """
    if request.on_behalf_of:  # only a template can say whose signature lets somebody ask for others
        raise Refused(
            HResult.E_ACCESSDENIED,
            "A standalone CA takes no requests on behalf of others; ask as the account the certificate is for.",
            "on_behalf_of",
        )
    principal = request.subject_principal
    if principal is not None and not principal.enabled:
        raise Refused(HResult.E_ACCESSDENIED, f"The account {principal.account} is disabled.", "account_enabled")
    try:
        refuse_weak_key(request.public_key)
    except Refused as refused:
        raise Refused(refused.status, refused.reason, "key_quality") from refused
    passed.append(Check("key_quality", True, "The key is of a kind and a quality that this CA accepts."))
    alternative_names = validated_names(request)
    if request.subject == names.EMPTY and not alternative_names:
        raise Refused(
            HResult.CERTSRV_E_BAD_REQUESTSUBJECT,
            "The certificate would name nobody: there is neither a subject nor an alternative name.",
            "subject",
        )
    passed.append(Check("subject", True, "Subject and alternative names can be certified."))
    kept = tuple(_kept_extensions(request))
    key_usage = _key_usage(request)
    passed.append(Check("extensions", True, "The extensions to be taken over can be read."))
    not_before, not_after = validity(ca, None, timedelta(0), "")
    passed.append(Check("validity_period", True, "The validity period fits into that of the CA."))
    return CertificateSpec(
        subject=request.subject,
        subject_alternative_names=alternative_names,
        not_before=not_before,
        not_after=not_after,
        template=None,
        key_usage=key_usage,
        extensions=kept,
    )


def _kept_extensions(request: EnrollmentRequest) -> list[SpecExtension]:
    kept: list[SpecExtension] = []
    for oid, read in _READERS.items():
        found = request.extensions.get(oid)
        if found is None:
            continue
        try:
            read(found.value)
        except EncodingError as error:
            raise Refused(
                HResult.ERROR_INVALID_DATA, f"The extension {oids.name_of(oid)}: {error}.", "extensions"
            ) from error
        kept.append(SpecExtension(oid, found.critical and oid == oids.EXTENDED_KEY_USAGE, found.value))
    return kept


def _key_usage(request: EnrollmentRequest) -> bytes:
    """The usage asked for without what makes a CA, and without what the key cannot do."""
    found = request.extensions.get(oids.KEY_USAGE)
    usage = DEFAULT_KEY_USAGE
    if found is not None:
        try:
            usage = extensions.decode_key_usage(found.value)
        except EncodingError as error:
            raise Refused(HResult.ERROR_INVALID_DATA, f"The key usage asked for: {error}.", "extensions") from error
        if usage:
            usage = bytes((usage[0] & ~_SIGNS_CERTIFICATES & 0xFF, *usage[1:]))
        if not any(usage):
            usage = DEFAULT_KEY_USAGE
    return key_usage_for_rsa(usage) if request.public_key.kind is KeyKind.RSA else key_usage_for_ec(usage)


def _unusual(spec: CertificateSpec) -> str:
    """Why an officer must see a request although the CA issues at once; empty when it is an ordinary one."""
    for name in spec.subject_alternative_names:
        if not isinstance(name, DnsName | IpAddress | EmailAddress):
            return f"The request asks for the name {shown(str(name))}; a certificate manager decides."
    for extension in spec.extensions:
        if extension.oid in (oids.CERTIFICATE_POLICIES, oids.APPLICATION_POLICIES):
            return f"The request asks for {oids.name_of(extension.oid)}; a certificate manager decides."
        if extension.oid == oids.EXTENDED_KEY_USAGE:
            unusual = set(extensions.decode_extended_key_usage(extension.value)) - _ORDINARY_USAGES
            if unusual:
                usages = ", ".join(sorted(map(oids.name_of, unusual)))
                return f"The request asks for the usage {usages}; a certificate manager decides."
    return ""
