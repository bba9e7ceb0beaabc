"""Devices' requests: asked once, answered as often as the device asks, found again after a crash. RFC 8894 3.3, 4.4.

A request is noted, together with the challenge it uses up and with what became of it, in the transaction of the CA's
own row (`notebook`). Only where the CA's key is outside this process a note comes first and its answer later; then
the CA's row tells what became of one whose process died, by a mark among the request's attributes, to whoever looks
first: the device's next message, or `unfinished`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import structlog

from certwright.adcs.errors import AdcsError, CaUnreachable, HResult
from certwright.adcs.request import Disposition, RequestAttributes, Response, template_attributes
from certwright.auth.throttle import Throttle
from certwright.database import Database
from certwright.ndes import names, policy, store
from certwright.ndes.case import Case, NotNow, Refused
from certwright.ndes.chains import Chains
from certwright.ndes.challenges import BuiltInPolicy
from certwright.ndes.desk import Steps
from certwright.ndes.modules import PolicyKeeper
from certwright.ndes.notebook import Entry, Kept, Note, Notebook, NotNoted, Settled
from certwright.ndes.notices import Notices
from certwright.ndes.policy import (
    KeepsNotices,
    Outcome,
    PolicyModule,
    PolicyUnavailable,
    RequestAsked,
    Verdict,
)
from certwright.ndes.store import State, Transaction
from certwright.pki.cms import certs_only
from certwright.pki.errors import EncodingError
from certwright.pki.pkcs10 import CertificationRequest, VerifiedRequest
from certwright.wire.scep import FailInfo, challenge_password

log = structlog.get_logger(__name__)

PROMISED: Final = 60
"""Seconds for which a submission under way is called pending; after that its process is taken for dead."""
TRANSACTION_ATTRIBUTE: Final = "ScepTransaction"

_WEAK: Final = frozenset(
    {HResult.CERTSRV_E_WEAK_SIGNATURE_OR_KEY, HResult.CERTSRV_E_KEY_LENGTH, HResult.CERTSRV_E_UNSUPPORTED_CERT_TYPE}
)

_UNDECIDED: Final = (State.SUBMITTING, State.FAILED)
"""What the CA said is not known here, or it never heard of the request."""

Find = Callable[[str, str, int], int | None]
"""The CA's request of a marked submission whose answer was lost: by CA, attributes and time."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a device asks for."""

    verified: VerifiedRequest
    digest: bytes  # SHA-256 of the PKCS#10
    template: str
    challenge: str
    renewal: bool

    @property
    def request(self) -> CertificationRequest:
        return self.verified.request


class DeviceRequests:
    """Those of one service.

    Args:
        owner: this process, as `server.home` tells processes apart.
    """

    def __init__(
        self,
        database: Database,
        notebook: Notebook,
        policies: PolicyKeeper,
        notices: Notices,
        chains: Chains,
        throttle: Throttle,
        clock: Callable[[], datetime],
        find: Find,
        owner: str,
    ) -> None:
        self._database = database
        self._notebook = notebook
        self._policies = policies
        self._notices = notices
        self._chains = chains
        self._throttle = throttle
        self._clock = clock
        self._find = find
        self._owner = owner
        self._log = log.bind()  # for what is said per answer: dropping a line is cheap once bound

    # -- asking

    def earlier(self, case: Case) -> Transaction | None:
        """This device's request of the same name."""
        with self._database.read() as connection:
            called = store.transactions_called(connection, case.service, case.transaction)
        own = next((each for each in called if each.key_hash == case.key_hash), None)
        fresh = int(self._clock().timestamp()) - case.settings.answer_minutes * 60
        if own is None and any(each.changed >= fresh or each.state is State.PENDING for each in called):
            raise Refused(
                FailInfo.BAD_REQUEST, "The transaction ID belongs to a request with another key.", "transaction"
            )
        return own

    def again(self, case: Case, earlier: Transaction) -> Steps[bytes | None]:
        """The answer that was given already, or None where the request is to be taken as a new one."""
        if earlier.state is State.SUBMITTING:
            return (yield from self._under_way(case, earlier))
        if earlier.state is State.FAILED:
            return None
        fresh = earlier.changed + case.settings.answer_minutes * 60 >= int(self._clock().timestamp())
        if earlier.state is State.PENDING or fresh:
            return (yield from self._standing_of(case, earlier))
        return None

    def ask(self, case: Case, asked: Asked, earlier: Transaction | None) -> Steps[bytes]:
        """Ask the policy module, note the request, ask the CA."""
        module = self._module(case)
        # a process that died between the two commits has taken the challenge of this very request already
        resumed = earlier is not None and earlier.state in _UNDECIDED and earlier.request_hash == asked.digest
        verdict = Verdict.yes() if resumed else self._verdict(case, asked, module)
        if verdict.accepted is not True:
            return (yield from self._rejected(case, asked, verdict, earlier))
        yield None
        return (yield from self._submit(case, asked, verdict, module, earlier))

    def _module(self, case: Case) -> PolicyModule:
        try:
            return self._policies.of(case.settings)
        except PolicyUnavailable as error:
            raise NotNow(f"policy module {case.settings.policy}: {error}") from error

    def _verdict(self, case: Case, asked: Asked, module: PolicyModule) -> Verdict:
        question = RequestAsked(
            asked.request.der,
            asked.challenge,
            case.message.signer.der if asked.renewal else None,
            asked.template,
            case.transaction,
            names.of_request(asked.request),
            case.peer,
        )
        try:
            verdict = module.verify_request(question)
        except PolicyUnavailable as error:
            raise NotNow(f"policy module {case.settings.policy}: {error}") from error
        except EncodingError as error:
            raise Refused(FailInfo.BAD_REQUEST, f"{error}.", "challenge") from error
        except Exception as error:
            raise NotNow(f"policy module {case.settings.policy}: {type(error).__name__}: {error}") from error
        if not isinstance(verdict, Verdict):
            raise NotNow(f"policy module {case.settings.policy}: its answer is no verdict")
        return verdict

    def _rejected(self, case: Case, asked: Asked, verdict: Verdict, earlier: Transaction | None) -> Steps[bytes]:
        """Unless the same message, sent twice, used up its own challenge a moment ago."""
        now = self.earlier(case)
        if now is not None and now.request_hash == asked.digest and (earlier is None or now != earlier):
            repeated = yield from self.again(case, now)
            return repeated or case.pending()
        self._throttle.failed_from(case.peer)
        text = verdict.text or "The policy module does not accept the request."
        raise Refused(FailInfo.BAD_REQUEST, text, verdict.rule or "policy module")

    def _submit(
        self, case: Case, asked: Asked, verdict: Verdict, module: PolicyModule, earlier: Transaction | None
    ) -> Steps[bytes]:
        note = Note(
            case.key,
            asked.digest,
            asked.template,
            names.shown(asked.request),
            asked.renewal,
            case.peer,
            self._now(),
            earlier,
            verdict.claim,
        )

        def notice(response: Response) -> Kept | None:
            return kept_notice(self._notices, module, _outcome_of(case, asked, response))

        entry = Entry(note, self._owner, self._settlement, notice)
        attributes = _attributes(asked.template, _mark(case.transaction, case.key_hash, asked.digest))
        try:
            response: Response = yield case.door.submit_soon(asked.verified, attributes, entry)
        except NotNoted:
            if entry.rejected is None:
                return case.pending()
            self._throttle.failed_from(case.peer)
            raise Refused(
                FailInfo.BAD_REQUEST, "The challenge password is not accepted.", entry.rejected.rule
            ) from entry.rejected
        except CaUnreachable:  # it may have arrived: the device's retry finds out
            raise
        except AdcsError as error:
            self._tell_of_refusal(module, _outcome_of(case, asked, _refusal(error)))
            raise
        if entry.kept is not None:
            entry.kept.written()
        elif not is_built_in(module):
            tell(module, _outcome_of(case, asked, response))
        return (yield from self._said(case, response))

    def _tell_of_refusal(self, module: PolicyModule, outcome: Outcome) -> None:
        kept = kept_notice(self._notices, module, outcome)
        if kept is not None:
            self._notebook.keep(kept)
        else:
            tell(module, outcome)

    # -- how it stands

    def poll(self, case: Case) -> Steps[bytes]:
        """By transaction and key. Whom the contents name is passed over: clients name whom they like."""
        with self._database.read() as connection:
            called = store.transactions_called(connection, case.service, case.transaction)
        own = next((each for each in called if each.key_hash == case.key_hash), None)
        if own is None:
            raise Refused(FailInfo.BAD_CERT_ID, "There is no such transaction of this key.", "transaction")
        if own.state not in _UNDECIDED:
            return (yield from self._standing_of(case, own))
        under_way: bytes | None = None
        if own.state is State.SUBMITTING:
            under_way = yield from self._under_way(case, own)
        if under_way is None:
            raise Refused(FailInfo.BAD_CERT_ID, "The request was lost; send it again.", "transaction")
        return under_way

    def _under_way(self, case: Case, earlier: Transaction) -> Steps[bytes | None]:
        """Another thread is at it; or a process ended before it knew the answer, and the CA knows it."""
        request_id = self._find(case.settings.ca, attributes_of(earlier), earlier.created)
        if request_id is None:
            if earlier.changed + PROMISED > int(self._clock().timestamp()):
                return case.pending()
            return None
        response = case.door.retrieve(request_id)
        if response.disposition is Disposition.INCOMPLETE:  # it is being signed elsewhere
            return case.pending()
        return (yield from self._settled(case, earlier, response))

    def _standing_of(self, case: Case, row: Transaction) -> Steps[bytes]:
        """The CA's answer as of now."""
        if row.request_id is None:
            raise Refused(FailInfo.BAD_REQUEST, row.message or "The request was refused.", "denied earlier")
        return (yield from self._settled(case, row, case.door.retrieve(row.request_id)))

    def _settled(self, case: Case, row: Transaction, response: Response) -> Steps[bytes]:
        """Remember the CA's answer, where it is news, and say it."""
        if row.state is not state_of(response):
            outcome = outcome_by_name(row, response)
            module = self._module_to_tell(case)
            kept = kept_notice(self._notices, module, outcome) if module is not None else None
            self._notebook.settle(case.key, self._settlement(response), kept)
            if module is not None and kept is None:
                tell(module, outcome)
        return (yield from self._said(case, response))

    def _settlement(self, response: Response) -> Settled:
        return Settled(state_of(response), response.request_id, response.message, self._now())

    def _now(self) -> int:
        return int(self._clock().timestamp())

    def _said(self, case: Case, response: Response) -> Steps[bytes]:
        state = state_of(response)
        if state is State.PENDING:
            return case.pending()
        if state is not State.ISSUED or response.certificate is None:
            text = f"{response.message} ({response.status.hex})"
            info = FailInfo.BAD_ALG if response.status in _WEAK else FailInfo.BAD_REQUEST
            raise Refused(info, text, "decision of the CA", f"request {response.request_id}: {text}")
        self._log.debug(
            "scep_answered",
            request_id=response.request_id,
            transaction=case.transaction,
            message_type=case.message.kind.name,
            peer=case.peer,
        )
        chain = self._chains.of(case, response.certificate)
        return (yield from case.success(certs_only((response.certificate, *chain))))

    # -- telling the policy module

    def _module_to_tell(self, case: Case) -> PolicyModule | None:
        try:
            return self._policies.of(case.settings)
        except PolicyUnavailable as error:
            not_told(case.transaction, error)
            return None


def kept_notice(notices: Notices, module: PolicyModule, outcome: Outcome) -> Kept | None:
    """A notice for a module that must miss none; None for one that is told directly."""
    if is_built_in(module) or not isinstance(module, KeepsNotices):  # the second takes its time
        return None
    try:
        return notices.of(module, outcome)
    except Exception as error:  # noqa: BLE001 - somebody else's code; nothing changes any more
        not_told(outcome.transaction, error)
        return None


def is_built_in(module: PolicyModule) -> bool:
    """It has no ear."""
    return type(module) is BuiltInPolicy


def tell(module: PolicyModule, outcome: Outcome) -> None:
    """Directly, once."""
    try:
        module.notify(outcome)
    except Exception as error:  # noqa: BLE001 - as above
        not_told(outcome.transaction, error)


def not_told(transaction: str, error: Exception) -> None:
    log.error("ndes_notice_not_taken", transaction=transaction, reason=f"{type(error).__name__}: {error}")


def challenge_of(request: CertificationRequest) -> str:
    """Raises:
    Refused: there are several, or it is none.
    """
    try:
        return challenge_password(request)
    except EncodingError as error:
        raise Refused(FailInfo.BAD_REQUEST, f"{error}.", "challenge") from error


def _refusal(error: AdcsError) -> Response:
    return Response(0, Disposition.ERROR, error.status, error.message)


def state_of(response: Response) -> State:
    if response.is_issued:
        return State.ISSUED
    return State.PENDING if response.disposition is Disposition.UNDER_SUBMISSION else State.DENIED


_DISPOSITIONS: Final = {
    State.ISSUED: policy.Disposition.SUCCESS,
    State.PENDING: policy.Disposition.PENDING,
    State.DENIED: policy.Disposition.FAILURE,
}


def outcome_by_name(row: Transaction, response: Response) -> Outcome:
    """Where the request itself is not at hand."""
    return _outcome(row.name, row.template, response, b"", "")


def _outcome_of(case: Case, asked: Asked, response: Response) -> Outcome:
    return _outcome(case.transaction, asked.template, response, asked.request.der, asked.challenge)


def _outcome(transaction: str, template: str, response: Response, request: bytes, challenge: str) -> Outcome:
    return Outcome(
        _DISPOSITIONS[state_of(response)],
        transaction,
        template,
        request,
        challenge,
        response.request_id,
        int(response.status),
        response.message,
        response.certificate if response.is_issued else None,
    )


def attributes_of(row: Transaction) -> str:
    """Those of the CA's row, with the mark that ties it to the device's."""
    return str(_attributes(row.template, _mark(row.name, row.key_hash, row.request_hash)))


def _attributes(template: str, mark: str) -> RequestAttributes:
    return template_attributes(template, (TRANSACTION_ATTRIBUTE, mark))


def _mark(transaction: str, key_hash: bytes, digest: bytes) -> str:
    """Ties the CA's row to the transaction, for finding it again."""
    return hashlib.sha256(transaction.encode() + b"\0" + key_hash + digest).hexdigest()[:32]
