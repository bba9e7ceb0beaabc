"""One Certification Authority: submit, retrieve, properties. [MS-WCCE] 3.2.1.4.2.1.

The whole story on one screen: intake -> policy -> record -> issue -> exit. The module holds no ASN.1 and no SQL. It
implements the meaning of `CertRequest`; who the caller is comes with each call from `connectors.local`, which binds
it to a connection. Officers' verbs are in `ca.administration`.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

import structlog

from certwright.adcs.errors import (
    AccessDenied,
    HResult,
    InvalidArgument,
    NoSuchRequest,
)
from certwright.adcs.events import AuditEvent, CaEvent
from certwright.adcs.request import Disposition, RequestAttributes, RequestFlags, Response
from certwright.adcs.requester import Requester
from certwright.adcs.roles import ROLE_NAMES, CaAccess
from certwright.ca.columns import (
    ALL_SEPARATED,
    certificate_columns,
    denial_message,
    normal_serial,
    renewed_serial_number,
    separated_roles,
)
from certwright.ca.database import (
    CaDatabase,
    CaTransaction,
    RequestRecord,
    RequestState,
)
from certwright.ca.generation import CaGeneration, GenerationSource
from certwright.ca.intake.errors import IntakeError
from certwright.ca.intake.messages import Message, is_message, read_message
from certwright.ca.issuance.signing import PreparedCertificate, new_serial_number
from certwright.ca.policy.base import CaFacts, Deny, Issue, Pend, Verdict
from certwright.ca.signers import holder, with_standing
from certwright.ca.submissions import Submission, read_all
from certwright.directory.base import Directory, Principal

if TYPE_CHECKING:
    from certwright.ca.exits import ExitModule
    from certwright.ca.intake.request import EnrollmentRequest

log = structlog.get_logger(__name__)

PARSE_FAILED = "Error Parsing Request"
TAKEN_UNDER_SUBMISSION = "Taken Under Submission"
ISSUED = "Issued"


class Unsigned(NamedTuple):
    """A request that policy lets pass, its certificate prepared; to be signed and recorded in this transaction."""

    request_id: int
    prepared: PreparedCertificate
    generation: CaGeneration
    submission: Submission
    record: RequestRecord
    now: datetime


@dataclass(frozen=True, slots=True)
class Recorded:
    """A request decided and recorded, but not signed yet: its key lives outside this process."""

    request_id: int
    prepared: PreparedCertificate
    generation: CaGeneration
    submission: Submission


@dataclass(frozen=True, slots=True)
class SignedElsewhere:
    recorded: Recorded
    certificate: bytes | None
    error: str = ""


class Authority:
    """One CA of this installation.

    Args:
        database: this CA's rows.
        directory: principals, templates and what this CA publishes.
        generations: the CA's keys, certificates and settings as one picture, renewed when they change.
        exits: told of every event after its commit.
        clock: the time, aware, UTC.
    """

    def __init__(
        self,
        database: CaDatabase,
        directory: Directory,
        generations: GenerationSource,
        exits: Sequence[ExitModule] = (),
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.database = database
        self.directory = directory
        self.generations = generations
        self.clock = clock
        self._exits = tuple(exits)
        self._committed: queue.SimpleQueue[CaEvent] = queue.SimpleQueue()
        self.name = database.ca().name
        self._log = log.bind(ca=self.name)  # for what is said per certificate: dropping a line is cheap once bound

    @property
    def exit_count(self) -> int:
        return len(self._exits)

    # -- submit ------------------------------------------------------------------------------------------------

    def look_up(
        self, caller: Requester, raw: bytes, attributes: RequestAttributes, flags: RequestFlags
    ) -> Submission:
        """Collect what the decision needs from the directory. May block; never called in the issuer thread."""
        service = self.directory.enrollment_service(self.name)
        message: Message | None = None
        unreadable: IntakeError | None = None
        if is_message(raw):
            try:
                message = read_message(raw, flags)
            except IntakeError as error:
                unreadable = error
        if flags & RequestFlags.RENEWAL_ON_BEHALF_OF:
            caller = holder(self, caller, message)
        named = message.on_behalf_of if message is not None else ""
        return Submission(
            caller=caller,
            principal=self.directory.principal(caller.sid),
            raw=raw,
            attributes=attributes,
            flags=flags,
            templates=self.directory.templates(),
            published=frozenset(service.templates) if service else frozenset(),
            message=message,
            target=self.directory.principal(named) if named else None,
            read=unreadable,
        )

    @staticmethod
    def read(submissions: Sequence[Submission]) -> list[Submission]:
        """Intake of a batch. Needs no transaction: it happens before the lock is taken."""
        return read_all(submissions)

    def decide(self, transaction: CaTransaction, submission: Submission) -> Response | Unsigned | Recorded:
        """Policy on one submission inside the batch's transaction; what it lets pass is prepared for `sign`.

        Raises:
            AdcsError: refused before a row exists (no right to enroll here, CA unusable).
        """
        generation = self.generations.current()
        caller = submission.caller
        self.demand(generation, caller, CaAccess.ENROLL, HResult.CERTSRV_E_ENROLL_DENIED, submission.principal)
        generation.refuse_suspended()
        now = self.clock()
        request = submission.read or self.read([submission])[0].read
        assert request is not None
        if isinstance(request, IntakeError):
            return self._record_failure(transaction, submission, request, now)
        request = with_standing(self.database, request, submission)
        verdict = generation.policy.verify(request, self.facts(generation, submission, now))
        match verdict:
            case Issue():
                return self._prepare(transaction, generation, submission, request, verdict, now)
            case Pend():
                return self._pend(transaction, submission, request, verdict, now)
            case Deny():
                return self._deny(transaction, submission, request, verdict, now)

    def facts(
        self, generation: CaGeneration, submission: Submission, now: datetime, *, approved: bool = False
    ) -> CaFacts:
        """The picture of CA, directory and clock that a policy module decides on."""
        return CaFacts(
            name=self.name,
            ca_type=generation.record.ca_type,
            not_before=generation.signer_not_before,
            not_after=generation.signer_not_after,
            now=now,
            clock_skew=generation.configuration.clock_skew,
            maximum_validity=generation.configuration.maximum_validity(now),
            domain=self.directory.domain,
            templates=submission.templates,
            published=submission.published,
            settings=generation.policy_settings,
            path_length=generation.signer.issuing_certificate.path_length,
            approved=approved,
        )

    def _prepare(
        self,
        transaction: CaTransaction,
        generation: CaGeneration,
        submission: Submission,
        request: EnrollmentRequest,
        verdict: Issue,
        now: datetime,
    ) -> Unsigned | Recorded:
        request_id = transaction.next_request_id()
        partition = generation.partitions.of(request_id)
        prepared = generation.signer.prepare(verdict.spec, request.public_key, new_serial_number(), partition)
        record = self._record(submission, request, verdict, now, request_id=request_id, prepared=prepared)
        if not generation.signer.in_process:
            transaction.add_request(
                record._replace(state=RequestState.ACTIVE, message="", resolved_when=None), request.raw
            )
            self._audit_received(transaction, record, now)
            return Recorded(request_id, prepared, generation, submission)
        return Unsigned(request_id, prepared, generation, submission, record, now)

    def sign(self, transaction: CaTransaction, unsigned: Unsigned) -> Response:
        """Make the certificate that `decide` prepared, and the rows, in the same transaction.

        That a batch is parsed, verified, decided and signed step by step, each for all of it, keeps the processor's
        caches warm for every step: a fifth less time for a P-256 certificate.

        Raises:
            AdcsError: what was signed does not read as it was prepared; there is no row.
        """
        request_id, record, now = unsigned.request_id, unsigned.record, unsigned.now
        certificate = unsigned.generation.signer.redeem(unsigned.prepared)
        columns = certificate_columns(unsigned.prepared, certificate, unsigned.generation)
        transaction.add_request(record, unsigned.submission.raw)
        transaction.add_certificate(request_id, columns, certificate)
        self._audit_received(transaction, record, now)
        self.audit(
            transaction,
            AuditEvent.CERTIFICATE_ISSUED,
            now,
            record.caller_name,
            request_id=request_id,
            requester=record.requester_name,
            template=record.template,
            subject=record.subject,
            serial_number=columns.serial_number,
            **renewed_serial_number(unsigned.submission),
        )
        self._log.debug(
            "certificate_issued",
            request_id=request_id,
            requester=record.requester_name,
            template=record.template,
        )
        return Response(request_id, Disposition.ISSUED, HResult.S_OK, ISSUED, certificate)

    def _pend(
        self,
        transaction: CaTransaction,
        submission: Submission,
        request: EnrollmentRequest,
        verdict: Pend,
        now: datetime,
    ) -> Response:
        message = f"{TAKEN_UNDER_SUBMISSION}  {verdict.reason}" if verdict.reason else TAKEN_UNDER_SUBMISSION
        record = self._record(submission, request, verdict, now, state=RequestState.PENDING, message=message)
        request_id = transaction.add_request(record, request.raw)
        record = record._replace(request_id=request_id)
        self._audit_received(transaction, record, now)
        self.audit(
            transaction,
            AuditEvent.REQUEST_PENDED,
            now,
            submission.caller.account,
            request_id=request_id,
            requester=record.requester_name,
            template=record.template,
            reason=verdict.reason,
        )
        log.info(
            "request_taken_under_submission",
            ca=self.name,
            request_id=request_id,
            requester=record.requester_name,
            template=record.template,
            reason=verdict.reason,
        )
        return Response(request_id, Disposition.UNDER_SUBMISSION, HResult.S_OK, message)

    def _deny(
        self,
        transaction: CaTransaction,
        submission: Submission,
        request: EnrollmentRequest,
        verdict: Deny,
        now: datetime,
    ) -> Response:
        message = denial_message(verdict)
        record = self._record(
            submission,
            request,
            verdict,
            now,
            state=RequestState.DENIED,
            status=verdict.status,
            message=message,
        )
        request_id = transaction.add_request(record, request.raw)
        self._audit_denied(transaction, record._replace(request_id=request_id), verdict.rule, now)
        return Response(request_id, Disposition.DENIED, verdict.status, message)

    def _record_failure(
        self, transaction: CaTransaction, submission: Submission, error: IntakeError, now: datetime
    ) -> Response:
        """A request nobody can read still gets its row. [MS-WCCE] 3.2.1.4.2.1.4.1."""
        caller = submission.caller
        request_id = transaction.add_request(
            RequestRecord(
                request_id=0,
                state=RequestState.ERROR,
                status=error.status,
                message=error.disposition_message,
                submitted_when=now,
                resolved_when=now,
                requester_name=caller.account,
                requester_sid=caller.sid,
                caller_name=caller.account,
                caller_sid=caller.sid,
                caller_method=caller.method.value,
                request_type=int(submission.flags.request_type),  # what it really is nobody could find out
                request_flags=0,
                attributes=str(submission.attributes),
            ),
            submission.raw,
        )
        self.audit(
            transaction,
            AuditEvent.REQUEST_FAILED,
            now,
            caller.account,
            request_id=request_id,
            requester=caller.account,
            status=error.status.hex,
            reason=error.message,
        )
        log.warning(
            "request_failed",
            ca=self.name,
            request_id=request_id,
            requester=caller.account,
            rule="intake",
            status=error.status.hex,
            reason=error.message,
        )
        return Response(request_id, Disposition.ERROR, error.status, error.disposition_message)

    def _record(
        self,
        submission: Submission,
        request: EnrollmentRequest,
        verdict: Verdict,
        now: datetime,
        *,
        request_id: int = 0,
        state: RequestState = RequestState.ISSUED,
        status: HResult = HResult.S_OK,
        message: str = ISSUED,
        prepared: PreparedCertificate | None = None,
    ) -> RequestRecord:
        facts = prepared.facts if prepared is not None else request.display_names()
        template = "" if isinstance(verdict, Deny) else (verdict.spec.template.cn if verdict.spec.template else "")
        template_oid = "" if isinstance(verdict, Deny) or verdict.spec.template is None else verdict.spec.template.oid
        principal = request.subject_principal
        caller = submission.caller
        return RequestRecord(
            request_id=request_id,
            state=state,
            status=status,
            message=message,
            submitted_when=now,
            resolved_when=None if state is RequestState.PENDING else now,
            requester_name=principal.account if principal else caller.account,
            requester_sid=principal.sid if principal else caller.sid,
            caller_name=caller.account,
            caller_sid=caller.sid,
            caller_method=caller.method.value,
            request_type=int(submission.kind),
            request_flags=int(request.flags),
            attributes=str(request.attributes),
            template=verdict.template if isinstance(verdict, Deny) else template,
            template_oid=template_oid,
            subject=facts.subject,
            common_name=facts.common_name,
            alternative_names=facts.alternative_names,
            key_algorithm=request.public_key.kind_name,
            key_size=request.public_key.bits,
            client_facts=request.client_facts,
        )

    # -- keys outside this process -----------------------------------------------------------------------------

    def sign_elsewhere(self, recorded: Recorded) -> SignedElsewhere:
        """Sign a recorded certificate; an HSM's refusal becomes the row's outcome."""
        try:
            return SignedElsewhere(recorded, recorded.generation.signer.redeem(recorded.prepared))
        except Exception as error:
            log.error("signature_failed", ca=self.name, request_id=recorded.request_id, exc_info=error)
            return SignedElsewhere(recorded, None, str(error) or type(error).__name__)

    def finish(self, transaction: CaTransaction, signed: SignedElsewhere) -> Response:
        """Record what the outside key signed and turn the row to issued."""
        recorded, now = signed.recorded, self.clock()
        if signed.certificate is None:
            message = f"The CA's key could not sign: {signed.error}"
            transaction.resolve(recorded.request_id, RequestState.ERROR, HResult.NTE_BAD_SIGNATURE, message, when=now)
            return Response(recorded.request_id, Disposition.ERROR, HResult.NTE_BAD_SIGNATURE, message)
        columns = certificate_columns(recorded.prepared, signed.certificate, recorded.generation)
        transaction.resolve(recorded.request_id, RequestState.ISSUED, HResult.S_OK, ISSUED, when=now)
        transaction.add_certificate(recorded.request_id, columns, signed.certificate)
        self.audit(
            transaction,
            AuditEvent.CERTIFICATE_ISSUED,
            now,
            recorded.submission.caller.account,
            request_id=recorded.request_id,
            serial_number=columns.serial_number,
            **renewed_serial_number(recorded.submission),
        )
        return Response(recorded.request_id, Disposition.ISSUED, HResult.S_OK, ISSUED, signed.certificate)

    def recover(self) -> int:
        """Close rows that a crash left between record and signature; returns how many.

        Called once at start, before the first submission. What such a row announced was never handed out.
        """
        orphans = self.database.request_ids_in(RequestState.ACTIVE)
        if orphans:
            with self.transaction() as transaction:
                for request_id in orphans:
                    message = "The CA stopped before this certificate was signed; submit the request again."
                    transaction.resolve(
                        request_id, RequestState.ERROR, HResult.E_UNEXPECTED, message, when=self.clock()
                    )
            log.warning("interrupted_requests_closed", ca=self.name, count=len(orphans))
        return len(orphans)

    # -- retrieve ----------------------------------------------------------------------------------------------

    def retrieve(
        self, caller: Requester, request_id: int | None = None, *, serial_number: str | None = None
    ) -> Response:
        """Status inspection. [MS-WCCE] 3.2.1.4.2.1.3. Other people's requests look like unknown ones.

        Raises:
            NoSuchRequest: unknown, or neither requested by the caller nor open to them as an officer.
        """
        generation = self.generations.current()
        access = self.demand(generation, caller, CaAccess.ENROLL | CaAccess.OFFICER | CaAccess.ADMINISTRATOR)
        record = None
        if request_id is not None:
            record = self.database.request(request_id) if 0 < request_id < 2**31 else None
        elif serial_number is not None:
            record = self.database.request_by_serial(normal_serial(serial_number))
        else:
            raise InvalidArgument("name a request ID or a serial number")
        if record is None or not self._may_retrieve(generation, caller, access, record):
            raise NoSuchRequest("There is no such request, or it was made by somebody else.")
        certificate = self.database.certificate_der(record.request_id) if record.certificate else None
        return Response(record.request_id, record.state.disposition, record.status, record.message, certificate)

    @staticmethod
    def _may_retrieve(generation: CaGeneration, caller: Requester, access: CaAccess, record: RequestRecord) -> bool:
        if record.state in (RequestState.CA_CERTIFICATE, RequestState.CA_CERTIFICATE_CHAIN):
            return True
        if caller.sid in (record.requester_sid, record.caller_sid):
            return True
        if access & (CaAccess.OFFICER | CaAccess.ADMINISTRATOR):
            return True
        return generation.configuration.retrieval_by_anyone

    # -- rights, audit, exits ----------------------------------------------------------------------------------

    def demand(
        self,
        generation: CaGeneration,
        caller: Requester,
        wanted: CaAccess,
        status: HResult = HResult.E_ACCESSDENIED,
        principal: Principal | None = None,
    ) -> CaAccess:
        """The caller's access to this CA; any bit of `wanted` is enough. [MS-CSRA] 3.1.1.7.

        Raises:
            AccessDenied: none of the wanted rights is held, or role separation forbids two roles at once.
        """
        sids = caller.sids | principal.groups if principal is not None else caller.sids
        access = generation.access(sids)
        if generation.configuration.role_separation:
            held = separated_roles(access)
            if len(held) > 1 and wanted & ALL_SEPARATED and not wanted & CaAccess.ENROLL:
                raise AccessDenied(
                    f"{caller.account} is {' and '.join(held)}; role separation allows one role only",
                    HResult.CERTSRV_E_ROLECONFLICT,
                )
        if not access & wanted:
            roles = " or ".join(name for role, name in ROLE_NAMES.items() if role & wanted)
            log.warning("access_denied", ca=self.name, requester=caller.account, rule="CA security", wanted=roles)
            raise AccessDenied(f"{caller.account} has no right to do this on {self.name}; it needs: {roles}", status)
        return access

    @contextmanager
    def transaction(self, *, deadline: float | None = None) -> Iterator[CaTransaction]:
        """A database transaction whose events reach the exit modules once it is committed."""
        with self.database.transaction(deadline=deadline) as transaction:
            yield transaction
        if self._exits:
            for event in transaction.audited:
                self._committed.put(event)

    def audit(
        self, transaction: CaTransaction, event: AuditEvent, when: datetime, actor: str, **details: str | int
    ) -> None:
        """Append to the audit trail in the running transaction."""
        transaction.audit(CaEvent(event, when, self.name, actor, details))

    def _audit_received(self, transaction: CaTransaction, record: RequestRecord, now: datetime) -> None:
        self.audit(
            transaction,
            AuditEvent.REQUEST_RECEIVED,
            now,
            record.caller_name,
            request_id=record.request_id,
            requester=record.requester_name,
            method=record.caller_method,
            attributes=record.attributes,
        )

    def _audit_denied(self, transaction: CaTransaction, record: RequestRecord, rule: str, now: datetime) -> None:
        self._audit_received(transaction, record, now)
        self.audit(
            transaction,
            AuditEvent.REQUEST_DENIED,
            now,
            record.caller_name,
            request_id=record.request_id,
            requester=record.requester_name,
            template=record.template,
            status=record.status.hex,
            rule=rule,
            reason=record.message,
        )
        log.warning(
            "request_denied",
            ca=self.name,
            request_id=record.request_id,
            requester=record.requester_name,
            template=record.template,
            rule=rule,
            status=record.status.hex,
            reason=record.message,
        )

    def notify_exits(self) -> None:
        """Tell the exit modules what was committed. Their errors are logged and change nothing."""
        while not self._committed.empty():
            event = self._committed.get()
            for module in self._exits:
                try:
                    module.notify(event)
                except Exception as error:
                    log.error("exit_module_failed", ca=self.name, module=module.description, exc_info=error)
