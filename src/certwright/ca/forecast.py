"""What a CA would decide on a request, without deciding: for people who are about to order.

The real intake, the real policy module and the real preparing step look at it, as for a submission; no row is
written, nothing is audited, no serial number is used up, and nothing is signed. Only callers who might submit the
request may ask, so nobody learns by it what a submission would not tell them.
"""

from __future__ import annotations

from certwright.adcs.errors import AdcsError, HResult
from certwright.adcs.interfaces import Check, Forecast
from certwright.adcs.request import Disposition, RequestAttributes, RequestFlags
from certwright.adcs.requester import Requester
from certwright.adcs.roles import CaAccess
from certwright.ca.authority import Authority
from certwright.ca.intake.errors import IntakeError
from certwright.ca.issuance.signing import new_serial_number
from certwright.ca.picture import picture
from certwright.ca.policy.base import Deny, Issue
from certwright.ca.signers import with_standing


def forecast(
    authority: Authority,
    caller: Requester,
    raw: bytes,
    attributes: RequestAttributes,
    flags: RequestFlags = RequestFlags.DETECT,
) -> Forecast:
    """Look at a request as if `caller` submitted it now. May block.

    Raises:
        AccessDenied: the caller may not enroll at this CA.
        AdcsError: the CA cannot be used.
    """
    submission = authority.look_up(caller, raw, attributes, flags)
    generation = authority.generations.current()
    authority.demand(generation, caller, CaAccess.ENROLL, HResult.CERTSRV_E_ENROLL_DENIED, submission.principal)
    request = authority.read([submission])[0].read
    assert request is not None
    if isinstance(request, IntakeError):
        return Forecast(Disposition.ERROR, request.status, request.message)
    request = with_standing(authority.database, request, submission)
    verdict = generation.policy.verify(request, authority.facts(generation, submission, authority.clock()))
    if isinstance(verdict, Deny):
        checks = verdict.checks or (Check(verdict.rule, False, verdict.reason),)
        return Forecast(Disposition.DENIED, verdict.status, verdict.reason, checks)
    spec = verdict.spec
    try:
        prepared = generation.signer.prepare(spec, request.public_key, new_serial_number())
    except AdcsError as error:  # policy is content, and still no certificate can be made of it
        checks = (*verdict.checks, Check("contents", False, error.message))
        return Forecast(Disposition.ERROR, error.status, error.message, checks)
    template = spec.template.cn if spec.template is not None else ""
    ends_with_ca = spec.not_after == generation.signer_not_after
    fields = picture(request, template, spec, prepared.tbs, ends_with_ca=ends_with_ca)
    if isinstance(verdict, Issue):
        return Forecast(Disposition.ISSUED, HResult.S_OK, "", verdict.checks, fields)
    return Forecast(Disposition.UNDER_SUBMISSION, HResult.S_OK, verdict.reason, verdict.checks, fields)
