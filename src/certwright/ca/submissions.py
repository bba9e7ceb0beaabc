"""A submission on its way to the issuer thread, and intake for a batch of them. [MS-WCCE] 3.2.1.4.2.1.4."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from certwright.adcs.request import RequestAttributes, RequestFlags
from certwright.adcs.requester import Requester
from certwright.adcs.template import CertificateTemplate
from certwright.ca.intake.formats import IntakeError, accept_request, parse_request
from certwright.ca.intake.request import EnrollmentRequest
from certwright.directory.base import Principal
from certwright.pki.pkcs10 import CertificationRequest


@dataclass(frozen=True, slots=True)
class Submission:
    """A request with everything looked up that may block: made before the issuer's queue.

    `read` is what intake made of it; None as long as nobody looked.
    """

    caller: Requester
    principal: Principal | None
    raw: bytes
    attributes: RequestAttributes
    flags: RequestFlags
    templates: Mapping[str, CertificateTemplate]
    published: frozenset[str]
    read: EnrollmentRequest | IntakeError | None = None


def read_all(submissions: Sequence[Submission]) -> list[Submission]:
    """The same with `read` filled in.

    All are parsed before the first proof of possession is verified: by turns, parsing and verifying would drive each
    other out of the processor's caches.
    """
    parsed = [_parsed(submission) for submission in submissions]
    return [_accepted(*pair) for pair in zip(submissions, parsed, strict=True)]


def _parsed(submission: Submission) -> CertificationRequest | IntakeError | None:
    if submission.read is not None:
        return None
    try:
        return parse_request(submission.raw, submission.flags)
    except IntakeError as error:
        return error


def _accepted(submission: Submission, parsed: CertificationRequest | IntakeError | None) -> Submission:
    if parsed is None:
        return submission
    read: EnrollmentRequest | IntakeError
    if isinstance(parsed, IntakeError):
        read = parsed
    else:
        try:
            read = accept_request(
                parsed, submission.raw, submission.caller, submission.principal, submission.attributes
            )
        except IntakeError as error:
            read = error
    return replace(submission, read=read)
