"""Devices' requests: asked once, answered as often as the device asks, found again after a crash. RFC 8894 3.3, 4.4.

A request is noted, together with the challenge it uses up, before the CA is asked, and settled when the CA has
answered. What is noted and not settled belongs to a thread that is at it, or to a process that died: then the CA's
own row tells what became of it, by a mark among the request's attributes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import structlog

from certwright.adcs.errors import AdcsError, CaUnreachable, HResult
from certwright.adcs.request import Disposition, RequestAttributes, RequestFlags, Response, template_attributes
from certwright.auth.throttle import Throttle
from certwright.database import Database
from certwright.ndes import names, policy, store
from certwright.ndes.case import Case, NotNow, Refused
from certwright.ndes.chains import Chains
from certwright.ndes.modules import PolicyKeeper
from certwright.ndes.notebook import Note, Notebook, Settled
from certwright.ndes.policy import Outcome, PolicyModule, PolicyUnavailable, Rejected, RequestAsked, Verdict
from certwright.ndes.store import State, Transaction
from certwright.pki.cms import certs_only
from certwright.pki.errors import EncodingError
from certwright.pki.pkcs10 import CertificationRequest
from certwright.wire.scep import FailInfo, challenge_password

log = structlog.get_logger(__name__)

PROMISED: Final = 60
"""Seconds for which a submission under way is called pending; after that its process is taken for dead."""
TRANSACTION_ATTRIBUTE: Final = "ScepTransaction"

_WEAK: Final = frozenset(
    {HResult.CERTSRV_E_WEAK_SIGNATURE_OR_KEY, HResult.CERTSRV_E_KEY_LENGTH, HResult.CERTSRV_E_UNSUPPORTED_CERT_TYPE}
)

Find = Callable[[str, str, int], int | None]
"""The CA's request of a marked submission whose answer was lost: by CA, attributes and time."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a device asks for."""

    request: CertificationRequest
    digest: bytes  # SHA-256 of the PKCS#10
    template: str
    challenge: str
    renewal: bool


class DeviceRequests:
    """Those of one service."""

    def __init__(
        self,
        database: Database,
        notebook: Notebook,
        policies: PolicyKeeper,
        chains: Chains,
        throttle: Throttle,
        clock: Callable[[], datetime],
        find: Find,
    ) -> None:
        self._database = database
        self._notebook = notebook
        self._policies = policies
        self._chains = chains
        self._throttle = throttle
        self._clock = clock
        self._find = find

    # -- asking

    def earlier(self, case: Case) -> Transaction | None:
        """This device's request of the same name."""
        with self._database.read() as connection:
            called = store.transactions_called(connection, case.service, case.transaction)
        own = self._own(case, called)
        fresh = int(self._clock().timestamp()) - case.settings.answer_minutes * 60
        if own is None and any(each.changed >= fresh or each.state is State.PENDING for each in called):
            raise Refused(
                FailInfo.BAD_REQUEST, "The transaction ID belongs to a request with another key.", "transaction"
            )
        return own

    def _own(self, case: Case, called: Sequence[Transaction]) -> Transaction | None:
        own = next((each for each in called if each.key_hash == case.key_hash), None)
        return None if own is None else self._notebook.as_known(own)

    def again(self, case: Case, earlier: Transaction) -> bytes | None:
        """The answer that was given already, or None where the request is to be taken as a new one."""
        if earlier.state is State.SUBMITTING:
            return self._under_way(case, earlier)
        fresh = earlier.changed + case.settings.answer_minutes * 60 >= int(self._clock().timestamp())
        if earlier.state is State.PENDING or fresh:
            return self._standing_of(case, earlier)
        return None

    def ask(self, case: Case, asked: Asked, earlier: Transaction | None) -> bytes:
        """Ask the policy module, note the request, ask the CA."""
        module = self._module(case)
        # a process that died between the two commits has taken the challenge of this very request already
        resumed = earlier is not None and earlier.state is State.SUBMITTING and earlier.request_hash == asked.digest
        verdict = Verdict.yes() if resumed else self._verdict(case, asked, module)
        if verdict.accepted is not True:
            return self._rejected(case, asked, verdict, earlier)
        if not self._begin(case, asked, verdict, earlier):
            return case.pending()
        return self._submit(case, asked, verdict, module)

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

    def _rejected(self, case: Case, asked: Asked, verdict: Verdict, earlier: Transaction | None) -> bytes:
        """Unless the same message, sent twice, used up its own challenge a moment ago."""
        now = self.earlier(case)
        if now is not None and now.request_hash == asked.digest and (earlier is None or now != earlier):
            return self.again(case, now) or case.pending()
        self._throttle.failed_from(case.peer)
        text = verdict.text or "The policy module does not accept the request."
        raise Refused(FailInfo.BAD_REQUEST, text, verdict.rule or "policy module")

    def _begin(self, case: Case, asked: Asked, verdict: Verdict, earlier: Transaction | None) -> bool:
        """Take the challenge and note the request, both or neither. False where this very moment somebody does so."""
        note = Note(
            case.key,
            asked.digest,
            asked.template,
            names.shown(asked.request),
            asked.renewal,
            case.peer,
            int(self._clock().timestamp()),
            earlier,
            verdict.claim,
        )
        try:
            return self._notebook.begin(note)
        except Rejected as rejected:
            self._throttle.failed_from(case.peer)
            raise Refused(
                FailInfo.BAD_REQUEST, "The challenge password is not accepted.", rejected.rule
            ) from rejected

    def _submit(self, case: Case, asked: Asked, verdict: Verdict, module: PolicyModule) -> bytes:
        try:
            attributes = _attributes(asked.template, _mark(case, asked.digest))
            response = case.door.submit(asked.request.der, attributes, RequestFlags.PKCS10)
        except CaUnreachable:  # it may have arrived: the device's retry finds out, as after a crash
            self._notebook.unknown()
            raise
        except AdcsError as error:
            self._notebook.gave_up(case.key, verdict.claim)
            self._tell(module, case, asked, Response(0, Disposition.ERROR, error.status, error.message))
            raise
        except BaseException:
            self._notebook.unknown()
            raise
        self._notebook.settle(self._settlement(case, response), begun=True)
        self._tell(module, case, asked, response)
        return self._said(case, response)

    # -- how it stands

    def poll(self, case: Case) -> bytes:
        """By transaction and key. Whom the contents name is passed over: clients name whom they like."""
        with self._database.read() as connection:
            called = store.transactions_called(connection, case.service, case.transaction)
        own = self._own(case, called)
        if own is None:
            raise Refused(FailInfo.BAD_CERT_ID, "There is no such transaction of this key.", "transaction")
        if own.state is State.SUBMITTING:
            under_way = self._under_way(case, own)
            if under_way is None:
                raise Refused(FailInfo.BAD_CERT_ID, "The request was lost; send it again.", "transaction")
            return under_way
        return self._standing_of(case, own)

    def _under_way(self, case: Case, earlier: Transaction) -> bytes | None:
        """Another thread is at it; or a process ended before it knew the answer, and the CA knows it."""
        marked = str(_attributes(earlier.template, _mark(case, earlier.request_hash)))
        request_id = self._find(case.settings.ca, marked, earlier.created)
        if request_id is None:
            if earlier.changed + PROMISED > int(self._clock().timestamp()):
                return case.pending()
            return None
        response = case.door.retrieve(request_id)
        self._tell_by_name(case, earlier, response)
        return self._settled(case, response)

    def _standing_of(self, case: Case, row: Transaction) -> bytes:
        """The CA's answer as of now."""
        if row.request_id is None:
            raise Refused(FailInfo.BAD_REQUEST, row.message or "The request was refused.", "denied earlier")
        response = case.door.retrieve(row.request_id)
        if row.state is not _state(response):
            self._tell_by_name(case, row, response)
        return self._settled(case, response, row)

    def _settled(self, case: Case, response: Response, row: Transaction | None = None) -> bytes:
        """Remember the CA's answer, where it is news, and say it."""
        if row is None or row.state is not _state(response):
            self._notebook.settle(self._settlement(case, response), begun=False)
        return self._said(case, response)

    def _settlement(self, case: Case, response: Response) -> Settled:
        now = int(self._clock().timestamp())
        return Settled(case.key, _state(response), response.request_id, response.message, now)

    def _said(self, case: Case, response: Response) -> bytes:
        state = _state(response)
        if state is State.PENDING:
            return case.pending()
        if state is not State.ISSUED or response.certificate is None:
            text = f"{response.message} ({response.status.hex})"
            info = FailInfo.BAD_ALG if response.status in _WEAK else FailInfo.BAD_REQUEST
            raise Refused(info, text, "decision of the CA", f"request {response.request_id}: {text}")
        log.debug(
            "scep_answered",
            request_id=response.request_id,
            transaction=case.transaction,
            message_type=case.message.kind.name,
            peer=case.peer,
        )
        return case.success(certs_only((response.certificate, *self._chains.of(case, response.certificate))))

    # -- telling the policy module

    def _tell(self, module: PolicyModule, case: Case, asked: Asked, response: Response) -> None:
        outcome = _outcome(case, asked.template, response, asked.request.der, asked.challenge)
        try:
            module.notify(outcome)
        except Exception as error:  # noqa: BLE001 - somebody else's code; nothing changes any more
            log.error(
                "ndes_notice_not_taken", transaction=case.transaction, reason=f"{type(error).__name__}: {error}"
            )

    def _tell_by_name(self, case: Case, row: Transaction, response: Response) -> None:
        try:
            self._policies.of(case.settings).notify(_outcome(case, row.template, response, b"", ""))
        except Exception as error:  # noqa: BLE001 - as above
            log.error(
                "ndes_notice_not_taken", transaction=case.transaction, reason=f"{type(error).__name__}: {error}"
            )


def challenge_of(request: CertificationRequest) -> str:
    """Raises:
    Refused: there are several, or it is none.
    """
    try:
        return challenge_password(request)
    except EncodingError as error:
        raise Refused(FailInfo.BAD_REQUEST, f"{error}.", "challenge") from error


def _not_told(case: Case, error: Exception) -> None:
    log.error("ndes_notice_not_taken", transaction=case.transaction, reason=f"{type(error).__name__}: {error}")


def _state(response: Response) -> State:
    if response.is_issued:
        return State.ISSUED
    return State.PENDING if response.disposition is Disposition.UNDER_SUBMISSION else State.DENIED


_DISPOSITIONS: Final = {
    State.ISSUED: policy.Disposition.SUCCESS,
    State.PENDING: policy.Disposition.PENDING,
    State.DENIED: policy.Disposition.FAILURE,
}


def _outcome(case: Case, template: str, response: Response, request: bytes, challenge: str) -> Outcome:
    return Outcome(
        _DISPOSITIONS[_state(response)],
        case.transaction,
        template,
        request,
        challenge,
        response.request_id,
        int(response.status),
        response.message,
        response.certificate if response.is_issued else None,
    )


def _attributes(template: str, mark: str) -> RequestAttributes:
    return template_attributes(template, (TRANSACTION_ATTRIBUTE, mark))


def _mark(case: Case, digest: bytes) -> str:
    """Ties the CA's row to the transaction, for finding it again."""
    return hashlib.sha256(case.transaction.encode() + b"\0" + case.key_hash + digest).hexdigest()[:32]
