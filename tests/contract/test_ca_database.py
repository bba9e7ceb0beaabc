"""What the engine may rely on, whatever `CaDatabase` is behind it: in memory, on SQLite, on PostgreSQL."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from certwright.adcs.errors import BadRequestState, CaUnreachable, HResult, NoSuchRequest
from certwright.adcs.events import AuditEvent, CaEvent
from certwright.adcs.properties import CaType
from certwright.ca.database import (
    CaCertificateRecord,
    CaDatabase,
    CertificateRequestRecord,
    DuplicateSerial,
    RequestState,
)
from tests.support.ca_rows import DAY, DER, NOW, RAW, SETTINGS, certificate, crl, issue, request, revoke


class Undo(Exception):
    """Passes through a transaction."""


# -- the CA's row ----------------------------------------------------------------------------------------------


def test_the_ca_is_what_it_was_made(ca: CaDatabase) -> None:
    record = ca.ca()
    assert (record.ca_type, record.parent, record.crl_number, record.certificates) == (
        CaType.ENTERPRISE_SUBORDINATE,
        "Corp Root CA",
        0,
        (),
    )
    assert record.settings == SETTINGS


def test_saved_settings_raise_the_version_and_are_seen_at_once(ca: CaDatabase) -> None:
    before = ca.ca()
    with ca.transaction() as transaction:
        transaction.save_settings({"crl-period": "2 days"})
        assert transaction.ca().settings == {"crl-period": "2 days"}
    after = ca.ca()
    assert after.settings == {"crl-period": "2 days"}
    assert after.version > before.version


def test_inside_a_transaction_the_ca_is_as_it_was_committed_last(ca: CaDatabase) -> None:
    """A picture built from changes that may still be undone would be taken for the committed one."""
    before = ca.ca()
    with ca.transaction() as transaction:
        transaction.save_settings({"crl-period": "2 days"})
        assert ca.ca() == before


def test_settings_of_an_undone_transaction_are_forgotten(ca: CaDatabase) -> None:
    before = ca.ca()

    def undone() -> None:
        with ca.transaction() as transaction:
            transaction.save_settings({"crl-period": "2 days"})
            raise Undo

    with pytest.raises(Undo):
        undone()
    assert ca.ca() == before
    with ca.transaction() as transaction:
        assert transaction.ca() == before


def test_a_change_by_somebody_else_is_seen_under_the_lock(opener: Callable[[], CaDatabase]) -> None:
    mine, other = opener(), opener()
    mine.ca()
    with other.transaction() as transaction:
        transaction.save_settings({"changed": True})
    with mine.transaction() as transaction:
        assert transaction.ca().settings == {"changed": True}
        assert mine.ca().settings == {"changed": True}


def test_a_change_by_somebody_else_is_seen_soon(
    opener: Callable[[], CaDatabase], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("certwright.ca.store.VERSION_CHECK_INTERVAL", 0.0)
    mine, other = opener(), opener()
    mine.ca()
    with other.transaction() as transaction:
        transaction.save_settings({"changed": True})
        transaction.next_crl_number()
    assert mine.ca().settings == {"changed": True}
    assert mine.ca().crl_number == 1


def test_ca_certificates_are_kept_in_their_order(opener: Callable[[], CaDatabase]) -> None:
    records = [
        CaCertificateRecord(index, index, b"der %d" % index, f"key-{index}", NOW, NOW + 3650 * DAY)
        for index in (0, 1)
    ]
    before = opener().ca()
    with opener().transaction() as transaction:
        for record in reversed(records):
            transaction.add_ca_certificate(record)
        assert list(transaction.ca().certificates) == records
    after = opener().ca()
    assert list(after.certificates) == records
    assert after.version > before.version


def test_a_request_for_the_ca_s_own_certificate_is_kept_until_it_is_answered(
    opener: Callable[[], CaDatabase],
) -> None:
    ca, other = opener(), opener()
    waiting = CertificateRequestRecord("branch", b"\x30\x00", NOW)
    for record in (waiting, replace(waiting, key_name="branch-2"), None):
        with ca.transaction() as transaction:
            transaction.set_certificate_request(record)
        assert other.certificate_request() == record


def test_what_belongs_to_a_ca_certificate_is_kept_with_it(opener: Callable[[], CaDatabase]) -> None:
    """The chain above it and its cross certificates, each in its order."""
    record = CaCertificateRecord(0, 0, b"zero", "key", NOW, NOW + DAY, (b"above", b"top"), (b"forward", b"back"))
    with opener().transaction() as transaction:
        transaction.add_ca_certificate(record)
        transaction.set_parent("Other Root")

    assert opener().ca().certificates == (record,)
    assert opener().ca().parent == "Other Root"


# -- requests --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", list(RequestState))
def test_a_request_comes_back_as_it_was_recorded(ca: CaDatabase, state: RequestState) -> None:
    with ca.transaction() as transaction:
        request_id = transaction.add_request(request(state), RAW)
    assert ca.request(request_id) == request(state, request_id=request_id)
    assert ca.raw_request(request_id) == RAW
    assert ca.certificate_der(request_id) is None


def test_an_issued_request_comes_back_with_its_certificate(ca: CaDatabase) -> None:
    request_id = issue(ca, 0xABCDEF)
    found = ca.request(request_id)
    assert found == request(request_id=request_id, certificate=certificate(0xABCDEF))
    assert ca.request_by_serial("abcdef") == ca.request_by_serial("ABCDEF") == found
    assert ca.certificate_der(request_id) == DER


def test_certificate_columns_may_come_with_the_request(ca: CaDatabase) -> None:
    """A CA's own certificate is recorded like this. [MS-WCCE] 3.2.1.4.2.1.4.6."""
    record = request(RequestState.CA_CERTIFICATE, certificate=certificate(7))
    with ca.transaction() as transaction:
        request_id = transaction.add_request(record, b"")
        transaction.add_certificate(request_id, certificate(7), DER)
    assert ca.request(request_id) == record._replace(request_id=request_id)
    assert ca.certificate_der(request_id) == DER


def test_text_that_no_database_takes_is_kept_readable(ca: CaDatabase) -> None:
    """A common name may hold any character; NUL and lone surrogates must not fail the whole batch."""
    with ca.transaction() as transaction:
        request_id = transaction.add_request(request(common_name="a\x00b\ud800c ü", attributes="x:\x00"), RAW)
    found = ca.request(request_id)
    assert found is not None
    assert "a" in found.common_name
    assert found.common_name.endswith("c ü")


@pytest.mark.parametrize("request_id", [0, -1, 99, 2**31, 2**32 + 1, 2**63])
def test_an_unknown_request_is_none(ca: CaDatabase, request_id: int) -> None:
    issue(ca, 1)
    assert ca.request(request_id) is None
    assert ca.raw_request(request_id) is None
    assert ca.certificate_der(request_id) is None
    assert ca.request_by_serial("77") is None


def test_request_ids_begin_with_one_and_have_no_gaps(ca: CaDatabase) -> None:
    found = []
    for _ in range(2):
        with ca.transaction() as transaction:
            found.append(transaction.add_request(request(), RAW))
            found.append(transaction.next_request_id())
            transaction.add_request(request(request_id=found[-1]), RAW)
    assert found == [1, 2, 3, 4]


def test_a_request_id_that_was_not_allocated_is_refused(ca: CaDatabase) -> None:
    with ca.transaction() as transaction, pytest.raises(ValueError, match="not allocated"):
        transaction.add_request(request(request_id=17), RAW)


def test_an_undone_transaction_leaves_nothing_and_gives_its_numbers_back(ca: CaDatabase) -> None:
    def undone() -> None:
        with ca.transaction() as transaction:
            request_id = transaction.add_request(request(), RAW)
            transaction.add_certificate(request_id, certificate(5), DER)
            assert transaction.request(request_id) is not None
            transaction.add_request(request(), RAW)
            transaction.next_crl_number()
            transaction.add_crl(crl(1))
            raise Undo

    with pytest.raises(Undo):
        undone()
    assert (ca.request(1), ca.request(2), ca.raw_request(1), ca.certificate_der(1)) == (None, None, None, None)
    assert (ca.request_by_serial("05"), ca.latest_crl(0), ca.ca().crl_number) == (None, None, 0)
    assert issue(ca, 5) == 1


def test_a_transaction_reads_what_it_wrote(ca: CaDatabase) -> None:
    with ca.transaction() as transaction:
        first = transaction.add_request(request(RequestState.PENDING), RAW)
        assert transaction.request(first) == request(RequestState.PENDING, request_id=first)
        second = transaction.add_request(request(), RAW)
        transaction.add_certificate(second, certificate(9), DER)
        assert transaction.request(second) == request(request_id=second, certificate=certificate(9))
        # the database's own readers, used by the same thread, see it too
        assert ca.request(second) == transaction.request(second)
        assert ca.certificate_der(second) == DER


def test_nobody_else_sees_a_row_before_the_commit(ca: CaDatabase) -> None:
    with ca.transaction() as transaction, ThreadPoolExecutor(1) as pool:
        request_id = transaction.add_request(request(), RAW)
        assert transaction.request(request_id) is not None
        assert pool.submit(ca.request, request_id).result(10) is None


def test_a_serial_number_is_used_once(ca: CaDatabase) -> None:
    issue(ca, 0x1234)
    with ca.transaction() as transaction:
        request_id = transaction.add_request(request(), RAW)
        with pytest.raises(DuplicateSerial):
            transaction.add_certificate(request_id, certificate(0x1234), DER)
        transaction.add_certificate(request_id, certificate(0x1235), DER)
        other = transaction.add_request(request(), RAW)
        with pytest.raises(DuplicateSerial):
            transaction.add_certificate(other, certificate(0x1235), DER)
        transaction.add_certificate(other, certificate(0x1236), DER)
    assert [ca.request_by_serial(serial) is not None for serial in ("1234", "1235", "1236")] == [True] * 3


def test_a_serial_number_used_twice_in_a_batch_leaves_nothing_of_it(ca: CaDatabase) -> None:
    """Found at once or at the commit: never half."""
    issue(ca, 0x99)

    def batch() -> None:
        with ca.transaction() as transaction:
            for serial in (0x97, 0x98, 0x99):
                transaction.add_certificate(transaction.add_request(request(), RAW), certificate(serial), DER)

    with pytest.raises(DuplicateSerial):
        batch()
    assert ca.request_by_serial("97") is None
    assert issue(ca, 0x97) == 2


def test_a_batch_of_256_is_recorded_whole(ca: CaDatabase) -> None:
    with ca.transaction() as transaction:
        for number in range(1, 257):
            request_id = transaction.next_request_id()
            transaction.add_request(request(request_id=request_id, common_name=f"host{number}"), b"%d" % number)
            transaction.add_certificate(request_id, certificate(number), b"der %d" % number)
    for number in (1, 64, 65, 255, 256):
        found = ca.request(number)
        assert found is not None
        assert (found.common_name, ca.raw_request(number)) == (f"host{number}", b"%d" % number)
        assert ca.request_by_serial(certificate(number).serial_number) == found
        assert ca.certificate_der(number) == b"der %d" % number


# -- moves -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", list(RequestState))
def test_only_legal_moves_are_made(ca: CaDatabase, before: RequestState) -> None:
    """[MS-CSRA] 3.1.1.1.1."""
    with ca.transaction() as transaction:
        for after in RequestState:
            request_id = transaction.add_request(request(before), RAW)
            if before.may_become(after):
                transaction.resolve(request_id, after, HResult.S_OK, "moved", when=NOW)
            else:
                with pytest.raises(BadRequestState):
                    transaction.resolve(request_id, after, HResult.S_OK, "moved", when=NOW)
            found = transaction.request(request_id)
            assert found is not None
            assert found.state is (after if before.may_become(after) else before)


def test_resolving_changes_what_it_names_and_nothing_else(ca: CaDatabase) -> None:
    with ca.transaction() as transaction:
        request_id = transaction.add_request(request(RequestState.PENDING), RAW)
        transaction.resolve(
            request_id,
            RequestState.DENIED,
            HResult.CERTSRV_E_ADMIN_DENIED_REQUEST,
            r"Denied by CORP\officer",
            when=NOW + DAY,
            officer=r"CORP\officer",
        )
    denied = request(
        RequestState.DENIED,
        request_id=request_id,
        status=HResult.CERTSRV_E_ADMIN_DENIED_REQUEST,
        message=r"Denied by CORP\officer",
        resolved_when=NOW + DAY,
        officer=r"CORP\officer",
    )
    assert ca.request(request_id) == denied
    with ca.transaction() as transaction:
        transaction.resolve(
            request_id,
            RequestState.ISSUED,
            HResult.S_OK,
            "Resubmitted",
            when=NOW + 2 * DAY,
            template="User",
            template_oid="1.2.3",
            subject="",
            common_name="",
            alternative_names="UPN:alice@corp.example",
        )
        transaction.add_certificate(request_id, certificate(3), DER)
    assert ca.request(request_id) == denied._replace(
        state=RequestState.ISSUED,
        status=HResult.S_OK,
        message="Resubmitted",
        resolved_when=NOW + 2 * DAY,
        template="User",
        template_oid="1.2.3",
        subject="",
        common_name="",
        alternative_names="UPN:alice@corp.example",
        certificate=certificate(3),
    )


def test_what_does_not_exist_cannot_be_changed(ca: CaDatabase) -> None:
    with ca.transaction() as transaction:
        with pytest.raises(NoSuchRequest):
            transaction.resolve(5, RequestState.ISSUED, HResult.S_OK, "", when=NOW)
        with pytest.raises(NoSuchRequest):
            transaction.set_attributes(5, "")
        with pytest.raises(NoSuchRequest):
            transaction.set_extension(5, "1.2.3", b"", False)
    with pytest.raises(NoSuchRequest):
        revoke(ca, 5)


def test_rows_a_crash_left_active_are_found(ca: CaDatabase) -> None:
    """Recorded before the signature, because the key signs elsewhere. The next start closes them."""
    with ca.transaction() as transaction:
        states = (RequestState.ACTIVE, RequestState.ISSUED, RequestState.PENDING, RequestState.ACTIVE)
        for state in states:
            transaction.add_request(request(state), RAW)
    assert list(ca.request_ids_in(RequestState.ACTIVE)) == [1, 4]
    assert list(ca.request_ids_in(RequestState.PENDING)) == [3]
    with ca.transaction() as transaction:
        for request_id in ca.request_ids_in(RequestState.ACTIVE):
            transaction.resolve(request_id, RequestState.ERROR, HResult.E_UNEXPECTED, "stopped", when=NOW)
    assert list(ca.request_ids_in(RequestState.ACTIVE)) == []
    assert issue(ca, 4) == 5


def test_attributes_and_extensions_of_a_pending_request_can_be_set(ca: CaDatabase) -> None:
    """[MS-CSRA] 3.1.4.1.1 and 3.1.4.1.2."""
    with ca.transaction() as transaction:
        request_id = transaction.add_request(request(RequestState.PENDING), RAW)
        transaction.set_attributes(request_id, "CertificateTemplate:User")
        transaction.set_extension(request_id, "1.2.3", b"\x05\x00", False)
        transaction.set_extension(request_id, "1.2.4", b"\x04\x00", True)
        transaction.set_extension(request_id, "1.2.3", b"\x01\x01\xff", True)
    found = ca.request(request_id)
    assert found is not None
    assert found.attributes == "CertificateTemplate:User"
    assert sorted(ca.extensions(request_id)) == [("1.2.3", True, b"\x01\x01\xff"), ("1.2.4", True, b"\x04\x00")]
    assert list(ca.extensions(request_id + 1)) == []


# -- audit -----------------------------------------------------------------------------------------------------


def test_events_are_told_after_the_commit_in_their_order(ca: CaDatabase) -> None:
    events = [
        CaEvent(event, NOW, ca.ca().name, r"CORP\alice", {"request_id": 1})
        for event in (AuditEvent.REQUEST_RECEIVED, AuditEvent.CERTIFICATE_ISSUED)
    ]
    with ca.transaction() as transaction:
        for event in events:
            transaction.audit(event)
    assert list(transaction.audited) == events


# -- the lock --------------------------------------------------------------------------------------------------


def test_a_lock_that_stays_taken_is_given_up_at_the_deadline(opener: Callable[[], CaDatabase]) -> None:
    mine, other = opener(), opener()
    locked, release = threading.Event(), threading.Event()

    def hold() -> None:
        with other.transaction():
            locked.set()
            release.wait(10)

    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(hold)
        assert locked.wait(10)
        with pytest.raises(CaUnreachable) as caught, mine.transaction(deadline=time.monotonic() + 0.05):
            pass
        release.set()
        held.result(10)
    assert caught.value.status is HResult.ERROR_BUSY
    assert issue(mine, 1) == 1


def test_readers_do_not_wait_for_a_writer(opener: Callable[[], CaDatabase]) -> None:
    mine, other = opener(), opener()
    issue(mine, 1)
    with other.transaction(), ThreadPoolExecutor(1) as pool:
        found = pool.submit(mine.request, 1).result(10)
    assert found is not None


def test_several_writers_never_share_a_number(opener: Callable[[], CaDatabase]) -> None:
    """As the issuer thread and the command line would, at the same time."""
    writers = [opener() for _ in range(3)]

    def write(writer: CaDatabase) -> list[tuple[int, int]]:
        numbers = []
        for _ in range(8):
            with writer.transaction() as transaction:
                request_id = transaction.add_request(request(), RAW)
                transaction.add_certificate(request_id, certificate(0x1000 + request_id), DER)
                numbers.append((request_id, transaction.next_crl_number()))
        return numbers

    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(write, writers))
    for each in found:
        assert each == sorted(each)
    assert sorted(number for each in found for number, _ in each) == list(range(1, 25))
    assert sorted(number for each in found for _, number in each) == list(range(1, 25))
