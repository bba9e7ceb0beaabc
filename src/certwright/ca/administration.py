"""What officers do: the meaning of `CertAdmin`. [MS-CSRA] 3.1.4.1, 3.1.4.2.

Rights are checked here, inside the CA, for every call. Approval passes over the approval step and nothing else: an
approved request meets every other rule again, as its original caller, with the templates and rights of today.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime

import structlog

from certwright.adcs.errors import (
    AccessDenied,
    AdcsError,
    BadRequest,
    BadRequestState,
    HResult,
    InvalidArgument,
    NoSuchRequest,
)
from certwright.adcs.events import AuditEvent
from certwright.adcs.interfaces import (
    Check,
    CrlKind,
    Delivery,
    Preview,
    Restriction,
    Row,
    Sort,
    Table,
)
from certwright.adcs.request import Disposition, RequestAttributes, RequestFlags, Response
from certwright.adcs.requester import AuthMethod, Requester, Sid
from certwright.adcs.roles import CaAccess, RevocationReason
from certwright.ca.authority import ISSUED, Authority
from certwright.ca.columns import (
    certificate_columns,
    denial_message,
    normal_serial,
    renewed_serial_number,
)
from certwright.ca.database import RequestRecord, RequestState
from certwright.ca.generation import CaGeneration
from certwright.ca.intake.formats import read_request
from certwright.ca.intake.request import EnrollmentRequest
from certwright.ca.issuance.builder import check_readable
from certwright.ca.issuance.preparing import ALWAYS_OURS, FROM_TEMPLATE
from certwright.ca.issuance.signing import PreparedCertificate, new_serial_number
from certwright.ca.picture import picture, picture_of_refused
from certwright.ca.policy.base import Deny, Issue, Pend, SpecExtension, Verdict
from certwright.ca.revocation.publication import CrlPublisher
from certwright.ca.settings_changes import change_settings
from certwright.ca.signers import with_standing
from certwright.ca.submissions import Submission
from certwright.pki import oids
from certwright.pki.crl import encode_entry

log = structlog.get_logger(__name__)

_OFFICER = CaAccess.OFFICER
_READERS = CaAccess.ADMINISTRATOR | CaAccess.OFFICER | CaAccess.AUDITOR | CaAccess.READ

MAX_EXTENSION = 16 * 1024
"""Longest value of an extension an officer may add, in octets."""

OFFICER_MAY_NOT_SET = (
    ALWAYS_OURS
    | FROM_TEMPLATE
    | {oids.CERTIFICATE_POLICIES, oids.NTDS_REPLICATION, oids.FRESHEST_CRL, oids.OCSP_NO_CHECK}
)
"""Extensions that decide who the certificate names, what it may do and how its revocation is found out.

They come from the template and the CA alone.
"""


class Administration:
    """The officer's side of one `Authority`."""

    def __init__(self, authority: Authority, publisher: CrlPublisher) -> None:
        self._authority = authority
        self._database = authority.database
        self._publisher = publisher

    # -- pending requests --------------------------------------------------------------------------------------

    def resubmit(self, officer: Requester, request_id: int, fingerprint: str | None = None) -> Response:
        """Issue a pending request; a denied one only as CA administrator. [MS-CSRA] 3.1.4.1.3.

        Raises:
            NoSuchRequest: no such row.
            BadRequestState: it is neither pending nor denied, or would now be issued differently than previewed.
            AccessDenied: the caller is no certificate manager.
        """
        authority = self._authority
        generation = authority.generations.current()
        access = authority.demand(generation, officer, _OFFICER | CaAccess.ADMINISTRATOR)
        generation.refuse_suspended()
        record, submission, request = self._reread(request_id)
        added = self._added_extensions(request_id)
        self._may_resubmit(record, access)
        self._demand_officer_right(generation, officer, record)
        self._demand_another_person(generation, officer, record)
        now = authority.clock()
        verdict = self._verify(generation, submission, request, now)
        if fingerprint is not None and fingerprint != self._fingerprint(generation, record, request, verdict, added):
            raise BadRequestState(
                f"request {request_id} would now be issued differently than shown; look at it again"
            )
        with authority.transaction() as transaction:
            found = self._existing(transaction.request(request_id), request_id)
            self._may_resubmit(found, access)
            if (found.attributes, self._added_extensions(request_id)) != (record.attributes, added):
                raise BadRequestState(f"request {request_id} was changed just now; look at it again")
            authority.audit(transaction, AuditEvent.REQUEST_RESUBMITTED, now, officer.account, request_id=request_id)
            if isinstance(verdict, Deny):
                message = denial_message(verdict)
                transaction.resolve(
                    request_id,
                    RequestState.DENIED,
                    verdict.status,
                    message,
                    when=now,
                    officer=officer.account,
                )
                authority.audit(
                    transaction,
                    AuditEvent.REQUEST_DENIED,
                    now,
                    officer.account,
                    request_id=request_id,
                    requester=record.requester_name,
                    rule=verdict.rule,
                    status=verdict.status.hex,
                    reason=message,
                )
                log.warning("request_denied", ca=authority.name, request_id=request_id, rule=verdict.rule)
                return Response(request_id, Disposition.DENIED, verdict.status, message)
            if isinstance(
                verdict, Pend
            ):  # approval was given, and still a rule wants to wait: say so, change nothing
                raise BadRequestState(f"request {request_id} stays pending: {verdict.reason}")
            spec = verdict.spec._replace(extensions=verdict.spec.extensions + added)
            partition = generation.partitions.of(request_id)
            prepared = generation.signer.prepare(spec, request.public_key, new_serial_number(), partition)
            certificate = generation.signer.redeem(prepared)
            columns = certificate_columns(prepared, certificate, generation)
            transaction.resolve(
                request_id,
                RequestState.ISSUED,
                HResult.S_OK,
                f"{ISSUED}  Resubmitted by {officer.account}",
                when=now,
                officer=officer.account,
                template=spec.template.cn if spec.template else "",
                template_oid=spec.template.oid if spec.template else "",
                subject=prepared.facts.subject,
                common_name=prepared.facts.common_name,
                alternative_names=prepared.facts.alternative_names,
            )
            transaction.add_certificate(request_id, columns, certificate)
            authority.audit(
                transaction,
                AuditEvent.CERTIFICATE_ISSUED,
                now,
                officer.account,
                request_id=request_id,
                requester=record.requester_name,
                template=spec.template.cn if spec.template else "",
                subject=prepared.facts.subject,
                serial_number=columns.serial_number,
                **renewed_serial_number(submission),
            )
        authority.notify_exits()
        log.info("certificate_issued", ca=authority.name, request_id=request_id, officer=officer.account)
        return Response(request_id, Disposition.ISSUED, HResult.S_OK, ISSUED, certificate)

    def deny(self, officer: Requester, request_id: int, reason: str = "") -> None:
        """Deny a pending request. [MS-CSRA] 3.1.4.1.4."""
        authority = self._authority
        generation = authority.generations.current()
        authority.demand(generation, officer, _OFFICER)
        now = authority.clock()
        reason = " ".join(reason.split())[:500]
        message = f"Denied by {officer.account}" + (f"  {reason}" if reason else "")
        record = self._existing(self._database.request(request_id), request_id)
        self._demand_officer_right(generation, officer, record)
        with authority.transaction() as transaction:
            record = self._existing(transaction.request(request_id), request_id)
            if record.state is not RequestState.PENDING:
                raise BadRequestState(f"request {request_id} is {record.state.name.lower()}, not pending")
            transaction.resolve(
                request_id,
                RequestState.DENIED,
                HResult.CERTSRV_E_ADMIN_DENIED_REQUEST,
                message,
                when=now,
                officer=officer.account,
            )
            authority.audit(
                transaction,
                AuditEvent.REQUEST_DENIED_BY_MANAGER,
                now,
                officer.account,
                request_id=request_id,
                requester=record.requester_name,
                reason=reason,
            )
        authority.notify_exits()
        log.info("request_denied_by_manager", ca=authority.name, request_id=request_id, officer=officer.account)

    def preview(self, officer: Requester, request_id: int) -> Preview:
        """What issuing a pending request now would sign, from the real preparing step."""
        authority = self._authority
        generation = authority.generations.current()
        authority.demand(generation, officer, _OFFICER | CaAccess.ADMINISTRATOR)
        record, submission, request = self._reread(request_id)
        self._demand_officer_right(generation, officer, record)
        added = self._added_extensions(request_id)
        verdict = self._verify(generation, submission, request, authority.clock())
        checks = verdict.checks
        prepared: PreparedCertificate | None = None
        fields = picture_of_refused(request)
        if isinstance(verdict, Deny):
            checks = checks or (Check(verdict.rule, False, verdict.reason),)
        else:
            spec = verdict.spec._replace(extensions=verdict.spec.extensions + added)
            try:
                partition = generation.partitions.of(request_id)
                prepared = generation.signer.prepare(spec, request.public_key, new_serial_number(), partition)
            except AdcsError as error:  # policy is content, and still no certificate can be made of it
                checks = (*checks, Check("contents", False, error.message))
            else:
                with_ca = spec.not_after == generation.signer_not_after
                fields = picture(request, record.template, spec, prepared.tbs, ends_with_ca=with_ca)
        return Preview(
            request_id=request_id,
            fields=fields,
            checks=checks,
            fingerprint=self._fingerprint(generation, record, request, verdict, added),
            would_issue=isinstance(verdict, Issue) and prepared is not None,
        )

    def set_attributes(self, officer: Requester, request_id: int, attributes: RequestAttributes) -> None:
        """Replace the attributes of a pending request. [MS-CSRA] 3.1.4.1.1."""
        authority = self._authority
        generation = authority.generations.current()
        authority.demand(generation, officer, _OFFICER)
        record = self._existing(self._database.request(request_id), request_id)
        self._demand_officer_right(generation, officer, record)
        with authority.transaction() as transaction:
            self._demand_pending(self._existing(transaction.request(request_id), request_id))
            transaction.set_attributes(request_id, str(attributes))
            authority.audit(
                transaction,
                AuditEvent.REQUEST_ATTRIBUTES_SET,
                authority.clock(),
                officer.account,
                request_id=request_id,
                attributes=str(attributes),
            )
        authority.notify_exits()

    def set_extension(self, officer: Requester, request_id: int, oid: str, value: bytes, critical: bool) -> None:
        """Add an extension to a pending request. [MS-CSRA] 3.1.4.1.2; narrower: see `OFFICER_MAY_NOT_SET`.

        Raises:
            AccessDenied: the caller is no certificate manager, or the extension is not for officers to set.
            BadRequest: it could not be issued: no object identifier, too long, or malformed for what it is.
        """
        authority = self._authority
        generation = authority.generations.current()
        authority.demand(generation, officer, _OFFICER)
        if oid in OFFICER_MAY_NOT_SET:
            raise AccessDenied(
                f"the extension {oids.name_of(oid)} ({oid}) comes from the template; it cannot be set by hand"
            )
        if len(value) > MAX_EXTENSION:
            raise BadRequest(f"the extension has {len(value)} octets; {MAX_EXTENSION} are possible")
        check_readable(SpecExtension(oid, critical, value))
        record = self._existing(self._database.request(request_id), request_id)
        self._demand_officer_right(generation, officer, record)
        with authority.transaction() as transaction:
            self._demand_pending(self._existing(transaction.request(request_id), request_id))
            transaction.set_extension(request_id, oid, value, critical)
            authority.audit(
                transaction,
                AuditEvent.REQUEST_EXTENSION_SET,
                authority.clock(),
                officer.account,
                request_id=request_id,
                extension=oid,
            )
        authority.notify_exits()

    # -- certificates ------------------------------------------------------------------------------------------

    def revoke(
        self,
        officer: Requester,
        serial_number: str,
        reason: RevocationReason,
        effective: datetime | None = None,
    ) -> None:
        """Revoke, change a revocation, or release from hold. [MS-CSRA] 3.1.4.1.8.

        Raises:
            InvalidArgument: no certificate has this serial number.
            BadRequestState: the row is not issued or revoked, or the change is not allowed (ERROR_INVALID_DATA).
        """
        authority = self._authority
        generation = authority.generations.current()
        authority.demand(generation, officer, _OFFICER)
        serial = normal_serial(serial_number)
        found = self._database.request_by_serial(serial)
        if found is None:
            raise InvalidArgument(f"no certificate of {authority.name} has the serial number {serial}")
        self._demand_officer_right(generation, officer, found)
        now = authority.clock()
        with authority.transaction() as transaction:
            record = self._existing(transaction.request(found.request_id), found.request_id)
            self._may_revoke(record, reason)
            releasing = reason is RevocationReason.RELEASE_FROM_HOLD
            when = effective or now
            transaction.set_revocation(
                record.request_id,
                when=now,
                effective=None if releasing else when,
                reason=None if releasing else reason,
                entry=None if releasing else encode_entry(int(serial, 16), when, int(reason) or None),
                message=f"{'Released from hold' if releasing else 'Revoked'} by {officer.account}",
                officer=officer.account,
            )
            authority.audit(
                transaction,
                AuditEvent.CERTIFICATE_REVOKED,
                now,
                officer.account,
                request_id=record.request_id,
                serial_number=serial,
                reason=reason.rfc_name,
            )
        authority.notify_exits()
        log.info(
            "certificate_revoked",
            ca=authority.name,
            request_id=found.request_id,
            officer=officer.account,
            reason=reason.rfc_name,
        )

    @staticmethod
    def _may_revoke(record: RequestRecord, reason: RevocationReason) -> None:
        if record.state not in (RequestState.ISSUED, RequestState.REVOKED) or record.certificate is None:
            raise BadRequestState(
                f"request {record.request_id} is {record.state.name.lower()}: there is nothing to revoke",
                HResult.ERROR_INVALID_DATA,
            )
        on_hold = record.certificate.revoked_reason is RevocationReason.CERTIFICATE_HOLD
        if reason is RevocationReason.REMOVE_FROM_CRL:
            raise BadRequestState("removeFromCRL is written by the CA itself", HResult.ERROR_INVALID_DATA)
        if reason is RevocationReason.RELEASE_FROM_HOLD and not on_hold:
            raise BadRequestState(
                "only a certificate revoked with reason certificateHold can be released",
                HResult.ERROR_INVALID_DATA,
            )
        if reason is RevocationReason.CERTIFICATE_HOLD and record.state is RequestState.REVOKED and not on_hold:
            raise BadRequestState(
                "a revoked certificate cannot be put on hold afterwards", HResult.ERROR_INVALID_DATA
            )

    def publish_crls(self, officer: Requester, kind: CrlKind = CrlKind.BASE_AND_DELTA) -> None:
        """Make and publish new CRLs of every key of this CA. [MS-CSRA] 3.1.4.1.6."""
        authority = self._authority
        authority.demand(authority.generations.current(), officer, CaAccess.ADMINISTRATOR)
        self._publisher.publish(authority, officer.account, kind)

    def deliveries(self, officer: Requester) -> Sequence[Delivery]:
        """How everything that is published stands at each target."""
        self._demand_reader(officer)
        return self._database.deliveries()

    # -- views and settings ------------------------------------------------------------------------------------

    def view(
        self,
        officer: Requester,
        table: Table,
        where: Sequence[Restriction] = (),
        columns: Sequence[str] = (),
        sort: Sort | None = None,
        limit: int | None = None,
    ) -> Iterator[Row]:
        self._demand_reader(officer)
        return self._database.view(table, where, columns, sort, limit)

    def count(
        self, officer: Requester, table: Table, by: str, where: Sequence[Restriction] = ()
    ) -> Mapping[object, int]:
        """How many rows there are for each value of a column."""
        self._demand_reader(officer)
        return self._database.count(table, where, by)

    def request_row(self, officer: Requester, request_id: int) -> Row:
        """One row with its raw request and certificate."""
        self._demand_reader(officer)
        record = self._existing(self._database.request(request_id), request_id)
        return {
            "record": record,
            "raw_request": self._database.raw_request(request_id),
            "certificate": self._database.certificate_der(request_id),
            "extensions": tuple(self._database.extensions(request_id)),
        }

    def configuration(self, officer: Requester) -> Mapping[str, str]:
        self._demand_reader(officer)
        return self._authority.generations.current().configuration.as_text()

    def set_configuration(
        self, officer: Requester, changes: Mapping[str, str], override: Collection[str] = (), reason: str = ""
    ) -> None:
        """Change settings, all or none. Raises as `settings_changes.change_settings`."""
        change_settings(self._authority, officer, changes, override, reason)

    def _demand_reader(self, officer: Requester) -> None:
        """Other people's requests are shown to roles and to readers.

        The Read that enrolling implies ([MS-CSRA] 3.1.1.7) is for properties: it shows requests only where anybody
        may retrieve them anyway.
        """
        generation = self._authority.generations.current()
        granted = generation.security.granted_ca_access(officer.sids)
        may_read = CaAccess.READ in granted or generation.configuration.retrieval_by_anyone
        self._authority.demand(generation, officer, _READERS if may_read else _READERS & ~CaAccess.READ)

    def _demand_officer_right(self, generation: CaGeneration, officer: Requester, record: RequestRecord) -> None:
        """Certificate managers may be restricted to templates and requesters. [MS-CSRA] 3.1.1.7, OfficerRights.

        Raises:
            AccessDenied: CERTSRV_E_RESTRICTEDOFFICER.
        """
        rights = generation.configuration.officer_rights
        if not rights:
            return
        principal = self._authority.directory.principal(record.requester_sid)
        target = principal.sids if principal is not None else frozenset((Sid(record.requester_sid),))
        if not rights.allows(officer.sids, record.template, target):
            log.warning("access_denied", ca=self._authority.name, requester=officer.account, rule="officer-rights")
            raise AccessDenied(
                f"{officer.account} may not act on requests of {record.requester_name} for the template"
                f" {record.template or 'none'}: the CA's officer-rights do not name them",
                HResult.CERTSRV_E_RESTRICTEDOFFICER,
            )

    def _demand_another_person(self, generation: CaGeneration, officer: Requester, record: RequestRecord) -> None:
        """Four eyes, where the CA asks for them. Ours.

        Raises:
            AccessDenied: the officer would approve what it asked for itself.
        """
        own = officer.sid in (record.requester_sid, record.caller_sid)
        if own and not generation.configuration.approve_own_requests:
            log.warning(
                "access_denied", ca=self._authority.name, requester=officer.account, rule="approve-own-requests"
            )
            raise AccessDenied(
                f"request {record.request_id} is {officer.account}'s own; another certificate manager has to issue it"
            )

    # -- shared steps ------------------------------------------------------------------------------------------

    @staticmethod
    def _existing(record: RequestRecord | None, request_id: int) -> RequestRecord:
        if record is None:
            raise NoSuchRequest(f"there is no request {request_id}")
        return record

    @staticmethod
    def _demand_pending(record: RequestRecord) -> None:
        if record.state is not RequestState.PENDING:
            raise BadRequestState(f"request {record.request_id} is {record.state.name.lower()}, not pending")

    @staticmethod
    def _may_resubmit(record: RequestRecord, access: CaAccess) -> None:
        if record.state is RequestState.DENIED:
            if not access & CaAccess.ADMINISTRATOR:
                raise BadRequestState(
                    f"request {record.request_id} was denied; only a CA administrator may resubmit it"
                )
        elif record.state is not RequestState.PENDING:
            raise BadRequestState(f"request {record.request_id} is {record.state.name.lower()}, not pending")
        elif not access & CaAccess.OFFICER:
            raise AccessDenied("issuing a pending request is a certificate manager's right")

    def _reread(self, request_id: int) -> tuple[RequestRecord, Submission, EnrollmentRequest]:
        """A stored request as its original caller made it, seen with the directory of today."""
        record = self._existing(self._database.request(request_id), request_id)
        raw = self._database.raw_request(request_id)
        if raw is None or record.state not in (RequestState.PENDING, RequestState.DENIED):
            raise BadRequestState(f"request {request_id} is {record.state.name.lower()}, not pending")
        principal = self._authority.directory.principal(record.caller_sid)
        caller = Requester(
            account=record.caller_name,
            sid=Sid(record.caller_sid),
            groups=principal.groups if principal else frozenset(),
            method=AuthMethod(record.caller_method),
        )
        submission = self._authority.look_up(
            caller, raw, RequestAttributes.parse(record.attributes), RequestFlags(record.request_type)
        )
        request = read_request(raw, caller, submission.subject, submission.attributes, submission.flags)
        return record, submission, with_standing(self._database, request, submission)

    def _verify(
        self,
        generation: CaGeneration,
        submission: Submission,
        request: EnrollmentRequest,
        now: datetime,
    ) -> Verdict:
        facts = self._authority.facts(generation, submission, now, approved=True)
        return generation.policy.verify(request, facts)

    def _added_extensions(self, request_id: int) -> tuple[SpecExtension, ...]:
        """What officers added to a request."""
        return tuple(
            SpecExtension(oid, critical, value) for oid, critical, value in self._database.extensions(request_id)
        )

    @staticmethod
    def _fingerprint(
        generation: CaGeneration,
        record: RequestRecord,
        request: EnrollmentRequest,
        verdict: Verdict,
        added: tuple[SpecExtension, ...],
    ) -> str:
        """Changes when what would be signed changes; the running clock alone does not change it."""
        digest = hashlib.sha256(request.der)
        digest.update(f"{generation.record.version}|{record.attributes}|{record.state}".encode())
        if isinstance(verdict, Deny):
            digest.update(f"deny|{verdict.status}|{verdict.reason}".encode())
        else:
            spec = verdict.spec
            with_ca = spec.not_after == generation.signer_not_after
            lifetime = "as long as the CA" if with_ca else spec.not_after - spec.not_before
            template = spec.template
            version = (template.cn, template.major_version, template.minor_version) if template else ()
            names = (spec.subject, spec.subject_alternative_names, spec.sid)
            digest.update(repr((names, lifetime, version, spec.extensions, added)).encode())
        return digest.hexdigest()
