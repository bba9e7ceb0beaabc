"""The rules of the enterprise policy module, one small function each. [MS-WCCE] 3.2.2.6.2.1.4.

A rule looks at a `Case` and raises `Refused`; it changes nothing and knows nothing of the rules around it. Their
order is `enterprise.ORDER`. Rules that Microsoft's specification does not have say so.
"""

from __future__ import annotations

from collections.abc import Mapping

from certwright.adcs.errors import HResult
from certwright.adcs.template import CertificateTemplate
from certwright.ca.intake.request import EnrollmentRequest, RequestedTemplate
from certwright.ca.policy.base import SERVER_VERSION, CaFacts
from certwright.ca.policy.case import Case, Refused, rule
from certwright.ca.policy.signatures import key_based_renewal
from certwright.ca.policy.wording import shown
from certwright.directory.base import LogonFailure, Principal, PrincipalKind
from certwright.pki import oids, weak_keys
from certwright.pki.public_keys import KeyKind, PublicKeyInfo

MIN_RSA_BITS = 2048
MAX_RSA_BITS = 16384
MIN_RSA_EXPONENT = 65537
APPROVED_CURVES = ("P-256", "P-384", "P-521")


# -- which template ------------------------------------------------------------------------------------------------


def find_template(request: EnrollmentRequest, ca: CaFacts) -> CertificateTemplate:
    """The one published template the request is for. [MS-WCCE] 3.2.2.6.2.1.4.1.

    Raises:
        Refused: by rule `template_named`, `templates_agree` or `template_published`.
    """
    asked = request.templates
    if not asked:
        raise Refused(
            HResult.CERTSRV_E_NO_CERT_TYPE,
            "The request contains no certificate template information: name a template in the CertificateTemplate"
            " attribute or in a certificate template extension.",
            "template_named",
        )
    found = _look_up(asked[0], ca.templates)
    if len(asked) > 1:
        first = found.cn if found else _label(asked[0]).lower()
        for other in asked[1:]:
            match = _look_up(other, ca.templates)
            if (match.cn if match else _label(other).lower()) != first:
                raise Refused(
                    HResult.CERTSRV_E_TEMPLATE_CONFLICT,
                    f"The request names two certificate templates: {shown(_label(asked[0]))} in its"
                    f" {asked[0].source}, {shown(_label(other))} in its {other.source}.",
                    "templates_agree",
                )
    if found is None or found.cn not in ca.published:
        raise Refused(
            HResult.CERTSRV_E_UNSUPPORTED_CERT_TYPE,
            "The request was for a certificate template that is not supported by the Active Directory Certificate"
            f" Services policy: {shown(_label(asked[0]))}.{_hint(asked[0], ca)}",
            "template_published",
        )
    return found


def _look_up(asked: RequestedTemplate, templates: Mapping[str, CertificateTemplate]) -> CertificateTemplate | None:
    if asked.name:
        exact = templates.get(asked.name)
        if exact is not None:
            return exact
        wanted = asked.name.lower()
        return next((t for cn, t in templates.items() if cn.lower() == wanted), None)
    return next((t for t in templates.values() if t.oid == asked.oid), None)


def _label(asked: RequestedTemplate) -> str:
    return asked.name or asked.oid


def _hint(asked: RequestedTemplate, ca: CaFacts) -> str:
    """People ask for the display name; tell them the name on the wire, of published templates only."""
    for cn in ca.published:
        template = ca.templates.get(cn)
        if template is not None and template.display_name == asked.name != "":
            return f" ({shown(asked.name)} is a display name; the template is called {cn}.)"
    return ""


@rule("The request was not made for a newer version of the template.")
def template_version(case: Case) -> None:
    """Refuse a template version that this CA has not seen yet. [MS-WCCE] 3.2.2.6.2.1.4.2.

    The specification compares major and minor by themselves; the minor version counts here only between equal
    major versions, so that 5.0 is newer than 4.9.
    """
    if case.requirements.schema_version < 2:
        return
    template = case.requirements.template
    ours = (template.major_version, template.minor_version)
    for asked in case.request.templates:
        if asked.major_version is None:
            continue
        theirs = (asked.major_version, asked.minor_version or 0)
        if theirs > ours:
            raise Refused(
                HResult.CERTSRV_E_BAD_TEMPLATE_VERSION,
                f"The request is for version {theirs[0]}.{theirs[1]} of the template {template.cn}; this CA knows"
                f" version {ours[0]}.{ours[1]}.",
            )


# -- who asks ------------------------------------------------------------------------------------------------------


def known_account(request: EnrollmentRequest) -> Principal:
    """The enabled directory account the certificate is for. Default deny: no account, no certificate. Ours.

    Raises:
        Refused: by rule `account_enabled`.
    """
    principal = request.subject_principal
    if principal is None:
        reason = f"The directory does not know the account {shown(request.caller.account)}."
    elif principal.kind is PrincipalKind.GROUP:
        reason = f"{shown(principal.account)} is a group; certificates are issued to users and computers."
    elif not principal.enabled:
        why = principal.obstacle or LogonFailure.DISABLED
        reason = f"The account {shown(principal.account)} is {why.value.removeprefix('account ')}."
    elif principal.sid != request.caller.sid and not request.on_behalf_of:
        reason = f"{shown(request.caller.account)} may not ask for a certificate for {shown(principal.account)}."
    else:
        return principal
    raise Refused(HResult.E_ACCESSDENIED, reason, "account_enabled")


@rule("The account may enroll for the template.")
def enroll_right(case: Case) -> None:
    """Refuse callers without the Enroll right on the template. [MS-WCCE] 3.2.2.6.2.1.4.3, [MS-CRTD] 2.5.1.

    It is not asked for where a template allows key-based renewal: 3.2.2.6.2.1.4.5.6, 0x10000. That the certificate
    to be renewed is valid and this account's, `signatures.renewal` checks.
    """
    request = case.request
    if key_based_renewal(case):
        return
    if not request.on_behalf_of:  # the account's own request: its groups of today
        account, sids = case.principal.account, case.principal.sids
    else:  # Per_Request.Caller_SID is the agent
        agent = request.agent
        account, sids = request.caller.account, agent.sids if agent is not None else frozenset()
    if not case.requirements.security.may_enroll(sids):
        raise Refused(
            HResult.CERTSRV_E_TEMPLATE_DENIED,
            f"The permissions on the certificate template {case.requirements.template.cn} do not allow"
            f" {shown(account)} to enroll for this type of certificate.",
        )


@rule("This CA is new enough for the template.")
def server_version(case: Case) -> None:
    """Refuse templates that ask for a newer CA than this one. [MS-WCCE] 3.2.2.6.2.1.4.4, [MS-CRTD] 2.27."""
    wanted = case.requirements.minimum_server_version
    if wanted > SERVER_VERSION:
        raise Refused(
            HResult.CERTSRV_E_UNSUPPORTED_CERT_TYPE,
            f"The certificate template {case.requirements.template.cn} asks for a CA of compatibility level"
            f" {wanted}; this one has {SERVER_VERSION}.",
        )


# -- the key -------------------------------------------------------------------------------------------------------


def refuse_weak_key(key: PublicKeyInfo) -> None:
    """Refuse keys that protect nothing, whatever the template says. Ours; the standalone module asks it too.

    Approved are RSA from 2048 bits and the three NIST curves. Ed25519 is not among them: Windows can neither use
    such a key nor check a certificate that holds one, so it would be a certificate that half the domain refuses.

    Raises:
        Refused: CERTSRV_E_WEAK_SIGNATURE_OR_KEY, or CERTSRV_E_KEY_LENGTH when only the length is wrong.
    """
    if key.kind is KeyKind.RSA:
        if not MIN_RSA_BITS <= key.bits <= MAX_RSA_BITS:
            raise Refused(
                HResult.CERTSRV_E_KEY_LENGTH,
                f"The RSA key has {key.bits} bits; this CA accepts {MIN_RSA_BITS} to {MAX_RSA_BITS}.",
            )
        if key.exponent < MIN_RSA_EXPONENT:
            raise Refused(
                HResult.CERTSRV_E_WEAK_SIGNATURE_OR_KEY,
                f"The RSA key has the public exponent {key.exponent}; {MIN_RSA_EXPONENT} or more is required.",
            )
        for weakness in weak_keys.weaknesses(key):
            raise Refused(
                HResult.CERTSRV_E_WEAK_SIGNATURE_OR_KEY,
                f"The RSA key {weakness}: make a new one with sound software.",
            )
    elif key.kind is not KeyKind.EC:
        raise Refused(
            HResult.CERTSRV_E_WEAK_SIGNATURE_OR_KEY,
            f"Keys of the kind {shown(str(key))} are not accepted: use RSA or an elliptic curve key on"
            f" {_listed(APPROVED_CURVES)}.",
        )
    elif key.curve not in APPROVED_CURVES:
        raise Refused(
            HResult.CERTSRV_E_WEAK_SIGNATURE_OR_KEY,
            f"The elliptic curve {shown(key.curve) or 'given by its parameters'} is not accepted: use"
            f" {_listed(APPROVED_CURVES)}.",
        )


def _listed(words: tuple[str, ...]) -> str:
    return ", ".join(words[:-1]) + f" or {words[-1]}"


@rule("The key is of a kind and a quality that this CA accepts.")
def key_quality(case: Case) -> None:
    """Refuse weak keys and kinds of keys that are not approved. Ours."""
    refuse_weak_key(case.request.public_key)


@rule("The key is of the algorithm that the template asks for.")
def key_algorithm(case: Case) -> None:
    """Refuse a key of another algorithm than msPKI-Asymmetric-Algorithm. [MS-CRTD] 2.23."""
    wanted = case.requirements.key_algorithm
    if not wanted:
        return
    key = case.request.public_key
    algorithm, _, curve = wanted.partition("_")
    if algorithm == "RSA":
        fits = key.kind is KeyKind.RSA
    elif algorithm in ("ECDSA", "ECDH"):
        fits = key.kind is KeyKind.EC and curve in ("", key.curve.replace("-", ""))
    else:
        fits = False
    if not fits:
        raise Refused(
            HResult.CERTSRV_E_KEY_LENGTH,
            f"The certificate template {case.requirements.template.cn} asks for a key of the algorithm"
            f" {shown(wanted)}; the request has {key}.",
        )


@rule("The key is long enough for the template.")
def key_size(case: Case) -> None:
    """Refuse keys shorter than the template allows. [MS-WCCE] 3.2.2.6.2.1.4.5.2, msPKI-Minimal-Key-Size.

    A template that asks for an elliptic curve counts in that curve's bits. One that asks for RSA, or says nothing,
    counts in RSA bits: an elliptic curve key must then be as strong as the RSA key would be.
    """
    key, requirements = case.request.public_key, case.requirements
    wanted = requirements.minimal_ec_bits if key.kind is KeyKind.EC else requirements.minimal_key_size
    if key.bits < wanted:
        raise Refused(
            HResult.CERTSRV_E_KEY_LENGTH,
            f"The public key does not meet the minimum size of the certificate template"
            f" {case.requirements.template.cn}: {key} has {key.bits} bits, {wanted} are required.",
        )


# -- what else the template asks for -------------------------------------------------------------------------------


@rule("The template asks for no key archival.")
def key_archival(case: Case) -> None:
    """Refuse when the private key must be archived: a PKCS#10 cannot carry it. [MS-WCCE] 3.2.2.6.2.1.4.5.7."""
    if case.requirements.archival_required:
        raise Refused(
            HResult.CERTSRV_E_ARCHIVED_KEY_REQUIRED,
            f"The certificate template {case.requirements.template.cn} requires that the private key is archived;"
            " the request carries none.",
        )


@rule("The template asks for no key attestation.")
def key_attestation(case: Case) -> None:
    """Refuse when the key must be attested: this CA does not check attestations. [MS-WCCE] 3.2.2.6.2.1.2.5."""
    if not case.requirements.attestation_required:
        return
    cn = case.requirements.template.cn
    if "attestation_statement" in case.request.client_facts:
        raise Refused(
            HResult.CERTSRV_E_KEY_ATTESTATION_NOT_SUPPORTED,
            f"The certificate template {cn} requires key attestation, which this CA does not support.",
        )
    raise Refused(
        HResult.CERTSRV_E_KEY_ATTESTATION,
        f"The certificate template {cn} requires key attestation; the request has no attestation statement.",
    )


@rule("This CA may certify what the template makes.")
def ca_below(case: Case) -> None:
    """Refuse a CA certificate where the CA's own allows none below it. RFC 5280 4.2.1.9.

    Approval could not help, so nobody is asked for it.
    """
    if case.requirements.is_ca and case.ca.path_length == 0:
        raise Refused(
            HResult.CERTSRV_E_INVALID_CA_CERTIFICATE,
            f"The certificate template {case.requirements.template.cn} makes a Certification Authority, and this CA's"
            " own certificate (path length 0) allows none below it; request the certificate from its parent.",
        )


@rule("The issuance policies asked for are among those of the template.")
def issuance_policies(case: Case) -> None:
    """Refuse policies asked for where the template takes them from the request but lists none.

    [MS-WCCE] 3.2.2.6.2.1.4.5.8. What is asked for beyond the template's list is left out, not refused.
    """
    requirements = case.requirements
    if not requirements.policies_from_request or requirements.template.issuance_policies:
        return
    if oids.CERTIFICATE_POLICIES in case.request.extensions:
        raise Refused(
            HResult.CERTSRV_E_TEMPLATE_CONFLICT,
            f"The request asks for issuance policies; the certificate template {requirements.template.cn} has none.",
        )
