"""Who signed a message, as far as this CA issued their certificates: what its table says of them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from certwright.adcs.errors import AccessDenied, HResult
from certwright.adcs.request import RequestFlags
from certwright.adcs.requester import AuthMethod, Requester, Sid
from certwright.ca.database import CaDatabase, RequestState
from certwright.ca.intake.request import Standing

if TYPE_CHECKING:
    from certwright.ca.authority import Authority
    from certwright.ca.intake.messages import Message
    from certwright.ca.intake.request import EnrollmentRequest
    from certwright.ca.submissions import Submission
    from certwright.pki.certificate import CertificateView

log = structlog.get_logger(__name__)


def holder(authority: Authority, caller: Requester, message: Message | None) -> Requester:
    """Whoever the certificate to be renewed was issued to: its key is the logon. [MS-WCCE] 3.2.2.6.2.1.2.4.

    Raises:
        AccessDenied: the CA takes no such requests, or the request does not say by its signature whose it is.
    """
    if not authority.generations.current().configuration.renewal_on_behalf:
        log.warning("access_denied", ca=authority.name, requester=caller.account, rule="renewal-on-behalf")
        raise AccessDenied(
            f"{authority.name} renews no certificate for whoever holds its key alone; the setting renewal-on-behalf"
            " would let it.",
            HResult.CERTSRV_E_ENROLL_DENIED,
        )
    signature = message.renewed if message is not None else None
    standing = _standing(authority.database, signature.certificate) if signature is not None else None
    shown = caller.credential.secret if caller.credential is not None else None
    if signature is None or standing is None or shown not in (None, signature.certificate.der):
        log.warning("access_denied", ca=authority.name, requester=caller.account, rule="renewal on behalf of")
        raise AccessDenied(
            f"{caller.account} has no account here, so it may only renew: the request must be signed with the"
            " certificate that it names to be renewed, which this CA issued and which the client logged on with.",
            HResult.CERTSRV_E_ENROLL_DENIED,
        )
    sid = Sid(standing.requester_sid)
    principal = authority.directory.principal(sid)
    groups = principal.groups if principal is not None else frozenset()
    return Requester(standing.requester, sid, groups, AuthMethod.CLIENT_CERTIFICATE, origin=caller.origin)


def with_standing(database: CaDatabase, request: EnrollmentRequest, submission: Submission) -> EnrollmentRequest:
    """The request with what this CA's table says of the certificates that signed it, and with its agent."""
    if not request.signatures and not request.on_behalf_of:
        return request
    return request._replace(
        by_old_key=bool(submission.flags & RequestFlags.RENEWAL_ON_BEHALF_OF),
        signatures=tuple(
            replace(signature, standing=_standing(database, signature.certificate))
            for signature in request.signatures
        ),
        agent=submission.principal if request.on_behalf_of else None,
    )


def _standing(database: CaDatabase, certificate: CertificateView) -> Standing | None:
    record = database.request_by_serial(certificate.serial_number)
    if record is None or record.state not in (RequestState.ISSUED, RequestState.REVOKED):
        return None
    if database.certificate_der(record.request_id) != certificate.der:  # a look-alike
        return None
    return Standing(
        record.template,
        record.template_oid,
        record.requester_sid,
        record.state is RequestState.REVOKED,
        record.requester_name,
    )
