"""Certificates that a CA of the tests has issued and revoked: real ones, with their rows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from certwright.adcs.errors import HResult
from certwright.adcs.roles import RevocationReason
from certwright.ca.authority import Authority
from certwright.ca.columns import certificate_columns
from certwright.ca.database import CrlRecord, RequestRecord, RequestState
from certwright.ca.issuance.signing import new_serial_number
from certwright.pki.certificate import serial_hex
from certwright.pki.crl import CrlView, encode_entry
from tests.support.installed import ADMINISTRATOR
from tests.support.issuing import public_key, spec_for

ACTOR = ADMINISTRATOR.account


def issue_row(authority: Authority, days: int = 30) -> str:
    """One issued certificate's row; returns its serial number."""
    generation, now = authority.generations.current(), authority.clock()
    spec = spec_for(not_before=now, not_after=now + timedelta(days=days))
    with authority.transaction() as transaction:
        request_id = transaction.next_request_id()
    partition = generation.partitions.of(request_id)
    prepared = generation.signer.prepare(spec, public_key(), new_serial_number(), partition)
    certificate = generation.signer.redeem(prepared)
    row = RequestRecord(
        request_id=request_id,
        state=RequestState.ISSUED,
        status=HResult.S_OK,
        message="",
        submitted_when=now,
        resolved_when=now,
        requester_name=ACTOR,
        requester_sid=ADMINISTRATOR.sid,
        caller_name=ACTOR,
        caller_sid=ADMINISTRATOR.sid,
        caller_method="Local",
        request_type=0x100,
        request_flags=0,
        attributes="",
    )
    with authority.transaction() as transaction:
        request_id = transaction.add_request(row, b"")
        transaction.add_certificate(request_id, certificate_columns(prepared, certificate, generation), certificate)
    return prepared.facts.serial_number


def revoke(
    authority: Authority,
    serial: str,
    reason: RevocationReason | None = RevocationReason.SUPERSEDED,
    effective: datetime | None = None,
) -> None:
    row = authority.database.request_by_serial(serial)
    assert row
    now = authority.clock()
    when = effective or now
    with authority.transaction() as transaction:
        transaction.set_revocation(
            row.request_id,
            when=now,
            effective=when if reason is not None else None,
            reason=reason,
            entry=encode_entry(int(serial, 16), when, int(reason)) if reason is not None else None,
            message="",
            officer=ACTOR,
        )


def certificate_of(authority: Authority, serial: str) -> bytes:
    row = authority.database.request_by_serial(serial)
    certificate = authority.database.certificate_der(row.request_id) if row else None
    assert certificate
    return certificate


def serials(crl: CrlRecord) -> Sequence[str]:
    return [serial_hex(entry.serial) for entry in CrlView.parse(crl.der).entries()]
