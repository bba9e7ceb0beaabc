"""The enterprise policy module: templates decide. [MS-WCCE] 3.2.2.6.2.1.4.

The order of the rules is the order in which a client meets their errors. Every caller, door and officer comes through
here: an approved request meets every rule again, approval passes over the approval step and nothing else.
"""

from __future__ import annotations

from certwright.adcs.errors import HResult
from certwright.adcs.interfaces import Check
from certwright.adcs.template import CertificateTemplate, OutsideRules
from certwright.ca.intake.request import EnrollmentRequest
from certwright.ca.policy import checks, signatures
from certwright.ca.policy.base import CaFacts, CertificateSpec, Deny, Issue, Pend, Verdict
from certwright.ca.policy.case import Case, Refused, Rule
from certwright.ca.policy.requirements import Requirements, RequirementsCache
from certwright.ca.policy.subject import CertifiedNames, build_names, sid_for_extension
from certwright.ca.policy.validity import validity
from certwright.pki import oids
from certwright.pki.errors import EncodingError
from certwright.pki.extensions import decode_certificate_policies
from certwright.pki.public_keys import KeyKind

ORDER: tuple[Rule, ...] = (
    checks.template_version,
    checks.enroll_right,
    checks.server_version,
    checks.key_quality,
    checks.key_algorithm,
    checks.key_size,
    signatures.renewal,
    signatures.on_behalf_of,
    signatures.authorized_signatures,
    checks.key_archival,
    checks.key_attestation,
    checks.ca_below,
    checks.issuance_policies,
)
"""The rules between finding template and account, and building the certificate's contents."""

_TEMPLATE_FOUND = Check("template_published", True, "The request is for one template that this CA publishes.")
_ACCOUNT_FOUND = Check("account_enabled", True, "The account is in the directory and enabled.")
_PASSED = (_TEMPLATE_FOUND, _ACCOUNT_FOUND, *(rule.passed for rule in ORDER))
_NAMES_BUILT = Check("subject", True, "Subject and alternative names can be certified.")
_VALIDITY_FITS = Check("validity_period", True, "The validity period fits into that of the CA.")
_NAMES_INSIDE = Check("name_rules", True, "The names in the request are inside the template's name rules.")
_ISSUED = (*_PASSED, _NAMES_BUILT, _VALIDITY_FITS)
_ISSUED_INSIDE = (*_ISSUED, _NAMES_INSIDE)


class EnterprisePolicy:
    """Implements `PolicyModule` for enterprise CAs. One object serves one CA; it keeps what templates demand."""

    description = "Certwright enterprise policy module"

    def __init__(self) -> None:
        self._requirements = RequirementsCache()

    def verify(self, request: EnrollmentRequest, ca: CaFacts) -> Verdict:
        """Decide on one request."""
        progress = _Progress()
        try:
            return self._decide(request, ca, progress)
        except Refused as refused:
            rule = refused.rule or (progress.rule.name if progress.rule else "")
            failed = Check(rule, False, refused.reason)
            return Deny(refused.status, refused.reason, rule, progress.template, (*progress.checks(), failed))

    def _decide(self, request: EnrollmentRequest, ca: CaFacts, progress: _Progress) -> Verdict:
        template = checks.find_template(request, ca)
        progress.template = template.cn
        progress.passed = 1
        principal = checks.known_account(request)
        progress.passed = 2
        try:
            requirements = self._requirements.of(template, ca.domain.sid)
        except ValueError as error:
            raise Refused(
                HResult.CERTSRV_E_UNSUPPORTED_CERT_TYPE,
                f"The certificate template {template.cn} cannot be used: {error}. Correct the template.",
                "template_published",
            ) from error
        case = Case(request, ca, requirements, principal)
        for progress.rule in ORDER:
            progress.rule.examine(case)
        progress.rule, progress.passed = None, len(_PASSED)
        names = build_names(case)
        sid = sid_for_extension(case)
        progress.built = True
        not_before, not_after = validity(ca, requirements.validity, requirements.renewal, template.cn)
        spec = CertificateSpec(
            subject=names.subject,
            subject_alternative_names=names.alternative_names,
            not_before=not_before,
            not_after=not_after,
            template=self._as_asked(request, requirements) if requirements.policies_from_request else template,
            sid=sid,
            key_usage=(
                requirements.key_usage_rsa if request.public_key.kind is KeyKind.RSA else requirements.key_usage_ec
            ),
        )
        return _approval(case, names, spec)

    def _as_asked(self, request: EnrollmentRequest, requirements: Requirements) -> CertificateTemplate:
        """The template with those of its issuance policies that the request asks for. [MS-WCCE] 3.2.2.6.2.1.4.5.8."""
        return self._requirements.narrowed(requirements.template, _policies(request, requirements))


class _Progress:
    """How far a request came, for the list of checks and the name of the rule that refused it."""

    __slots__ = ("built", "passed", "rule", "template")

    def __init__(self) -> None:
        self.rule: Rule | None = None  # the one that is looking at the request
        self.template = ""
        self.passed = 0
        self.built = False

    def checks(self) -> tuple[Check, ...]:
        """What the request passed."""
        passed = self.passed if self.rule is None else self.passed + ORDER.index(self.rule)
        return (*_PASSED[:passed], _NAMES_BUILT) if self.built else _PASSED[:passed]


def _approval(case: Case, names: CertifiedNames, spec: CertificateSpec) -> Verdict:
    """Issue, or wait for a certificate manager: because the template says so, or because of the names asked for.

    Raises:
        Refused: names outside the rules of a template that denies them.
    """
    requirements = case.requirements
    waiting: list[Check] = []
    approved_before = bool(case.request.renewal_of) and signatures.previous_approval_counts(case)
    outside = _names_outside(case, names)
    if outside:
        if requirements.name_rules.outside is OutsideRules.DENY:
            raise Refused(HResult.CERTSRV_E_BAD_REQUESTSUBJECT, outside, "name_rules")
        if not approved_before:  # of a certificate that names the same
            waiting.append(Check("name_rules", False, outside))
    cn = requirements.template.cn
    if requirements.is_ca:
        waiting.append(Check("approval", False, f"{cn} makes a Certification Authority; a manager decides on each."))
    elif requirements.for_enrollment_agents:
        waiting.append(Check("approval", False, f"{cn} makes an enrollment agent; a manager decides on each."))
    elif requirements.approval_required and not approved_before:
        waiting.append(Check("approval", False, f"The certificate template {cn} requires a manager's approval."))
    passed = _ISSUED if outside or not requirements.names.enrollee else _ISSUED_INSIDE
    if not waiting:
        return Issue(spec, passed)
    if case.ca.approved:
        return Issue(spec, (*passed, *(Check(check.rule, True, f"Approved: {check.message}") for check in waiting)))
    return Pend(" ".join(check.message for check in waiting), spec, (*passed, *waiting))


def _names_outside(case: Case, names: CertifiedNames) -> str:
    """Which supplied name breaks which name rule. Ours.

    A CA's names are not held against the rules: a manager looks at every one of them anyway, and rules made for hosts
    cannot say what a CA may be called.
    """
    requirements = case.requirements
    if not requirements.names.enrollee or requirements.is_ca:
        return ""
    return requirements.name_rules.why_outside(
        names.subject, names.alternative_names, case.principal.sids, describing_names=requirements.for_hosts_only
    )


def _policies(request: EnrollmentRequest, requirements: Requirements) -> tuple[str, ...]:
    """The template's issuance policies that the request asks for, in the template's order."""
    extension = request.extensions.get(oids.CERTIFICATE_POLICIES)
    if extension is None:
        return ()
    try:
        asked = {policy.oid for policy in decode_certificate_policies(extension.value)}
    except EncodingError as error:
        raise Refused(
            HResult.ERROR_INVALID_DATA, f"The issuance policies in the request: {error}.", "issuance_policies"
        ) from error
    return tuple(oid for oid in requirements.template.issuance_policies if oid in asked)
