"""Rows of the CA database for tests: plausible requests, certificates and CRLs, and the steps that record them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from certwright.adcs.errors import HResult
from certwright.adcs.roles import RevocationReason
from certwright.ca.database import CaDatabase, CertificateRecord, CrlRecord, RequestRecord, RequestState

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
DAY = timedelta(days=1)
SETTINGS = {"crl-period": "1 weeks", "nested": {"list": [1, "zwei"]}}
RAW = b"\x30\x03\x02\x01\x00" * 20
DER = b"\x30\x82\x01\x00" + bytes(256)
ENTRY = b"\x30\x12"


def request(state: RequestState = RequestState.ISSUED, **changes: Any) -> RequestRecord:
    record = RequestRecord(
        request_id=0,
        state=state,
        status=HResult.S_OK,
        message="Issued",
        submitted_when=NOW,
        resolved_when=None if state is RequestState.PENDING else NOW,
        requester_name=r"CORP\alice",
        requester_sid="S-1-5-21-1-2-3-1105",
        caller_name=r"CORP\web01$",
        caller_sid="S-1-5-21-1-2-3-1106",
        caller_method="NTLM",
        request_type=0x100,
        request_flags=0x80000000,
        attributes="CertificateTemplate:WebServer\nccm:web01",
        template="WebServer",
        template_oid="1.3.6.1.4.1.311.21.8.1",
        subject="CN=www.corp.example",
        common_name="www.corp.example",
        alternative_names="DNS:www.corp.example",
        key_algorithm="RSA",
        key_size=2048,
        officer="",
        client_facts={"ccm": "web01", "os": "10.0.20348.2"},
    )
    return record._replace(**changes)


def certificate(serial: int = 0x1F00_0001, **changes: Any) -> CertificateRecord:
    digits = f"{serial:x}"
    record = CertificateRecord(
        serial_number=digits.zfill(len(digits) + len(digits) % 2),
        not_before=NOW,
        not_after=NOW + 365 * DAY,
        subject_key_identifier="aa" * 20,
        sha1=f"{serial:040x}",
        ca_certificate_index=0,
        ca_key_index=0,
    )
    return record._replace(**changes)


def issue(ca: CaDatabase, serial: int, record: RequestRecord | None = None, **changes: Any) -> int:
    with ca.transaction() as transaction:
        request_id = transaction.add_request(record or request(), RAW)
        transaction.add_certificate(request_id, certificate(serial, **changes), DER)
    return request_id


def revoke(
    ca: CaDatabase,
    request_id: int,
    reason: RevocationReason | None = RevocationReason.KEY_COMPROMISE,
    when: datetime = NOW,
    effective: datetime | None = None,
    entry: bytes = ENTRY,
) -> None:
    with ca.transaction() as transaction:
        transaction.set_revocation(
            request_id,
            when=when,
            effective=None if reason is None else effective or when,
            reason=reason,
            entry=None if reason is None else entry,
            message=r"Revoked by CORP\officer",
            officer=r"CORP\officer",
        )


def crl(number: int, key_index: int = 0, this_update: datetime = NOW, min_base: int = 0) -> CrlRecord:
    return CrlRecord(
        number=number,
        min_base=min_base,
        key_index=key_index,
        this_update=this_update,
        next_update=this_update + 8 * DAY,
        next_publish=this_update + 7 * DAY,
        entry_count=3,
        der=b"crl %d" % number,
    )


def ids(rows: Iterator[Any]) -> list[int]:
    return [row["request_id"] for row in rows]
