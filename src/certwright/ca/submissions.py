"""A submission on its way to the issuer thread, and intake for a batch of them. [MS-WCCE] 3.2.1.4.2.1.4."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from certwright.adcs.request import RequestAttributes, RequestFlags, Response
from certwright.adcs.requester import Requester
from certwright.adcs.template import CertificateTemplate
from certwright.ca.intake.errors import IntakeError
from certwright.ca.intake.formats import accept_message, accept_request, accept_verified, parse_request
from certwright.ca.intake.messages import Message
from certwright.ca.intake.request import EnrollmentRequest
from certwright.directory.base import Principal
from certwright.pki.pkcs10 import CertificationRequest, VerifiedRequest


class Along(Protocol):
    """What a role service writes in the transaction of the CA's decision: with it, or not at all.

    The connection is the database's, which the engine passes on and does not know.
    A batch that fails is repeated singly, so `begin` may be called again after all of it was undone.
    """

    def begin(self, connection: Any) -> None:
        """Before the decision.

        Raises:
            AdcsError: nothing is decided and no row is made; it has left nothing written.
        """

    def undo(self, connection: Any) -> None:
        """The CA refused before it made a row: take back what `begin` wrote."""

    def decided(self, connection: Any, response: Response) -> None:
        """The CA's answer. For a key outside this process it comes in a transaction after that of `begin`."""


class Submission(NamedTuple):
    """A request with everything looked up that may block: made before the issuer's queue.

    `principal` is the caller's account, `target` the one an enrollment agent names. `message` is what a signed
    message around the request says; None for a bare PKCS#10. `read` is what intake made of it; None as long as nobody
    looked. `verified` is what somebody of this process read and verified before.
    """

    caller: Requester
    principal: Principal | None
    raw: bytes
    attributes: RequestAttributes
    flags: RequestFlags
    templates: Mapping[str, CertificateTemplate]
    published: frozenset[str]
    message: Message | None = None
    target: Principal | None = None
    read: EnrollmentRequest | IntakeError | None = None
    verified: VerifiedRequest | None = None
    along: Along | None = None

    @property
    def kind(self) -> RequestFlags:
        """The format of a request that was read."""
        return RequestFlags.PKCS10 if self.message is None else self.message.kind

    @property
    def subject(self) -> Principal | None:
        """The account the certificate is for."""
        return self.target if self.message is not None and self.message.on_behalf_of else self.principal


def read_all(submissions: Sequence[Submission]) -> list[Submission]:
    """The same with `read` filled in.

    All are parsed before the first proof of possession is verified: by turns, parsing and verifying would drive each
    other out of the processor's caches.
    """
    parsed = [_parsed(submission) for submission in submissions]
    return [_accepted(*pair) for pair in zip(submissions, parsed, strict=True)]


def _parsed(submission: Submission) -> CertificationRequest | IntakeError | Message | None:
    if submission.read is not None:
        return None
    if submission.message is not None:
        return submission.message
    if submission.verified is not None:
        return submission.verified.request
    try:
        return parse_request(submission.raw, submission.flags)
    except IntakeError as error:
        return error


def _accepted(submission: Submission, parsed: CertificationRequest | IntakeError | Message | None) -> Submission:
    if parsed is None:
        return submission
    read: EnrollmentRequest | IntakeError
    if isinstance(parsed, IntakeError):
        read = parsed
    else:
        rest = submission.raw, submission.caller, submission.subject, submission.attributes
        try:
            if isinstance(parsed, Message):
                read = accept_message(parsed, *rest)
            elif submission.verified is not None:
                read = accept_verified(submission.verified, *rest)
            else:
                read = accept_request(parsed, *rest)
        except IntakeError as error:
            read = error
    return submission._replace(read=read)
