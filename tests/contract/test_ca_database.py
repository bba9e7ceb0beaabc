"""What the engine may rely on, whatever `CaDatabase` is behind it: in memory, on SQLite, on PostgreSQL."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest

from certwright.adcs.errors import BadRequestState, CaUnreachable, HResult, NoSuchRequest
from certwright.adcs.events import AuditEvent, CaEvent
from certwright.adcs.properties import CaType
from certwright.adcs.roles import RevocationReason
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
    assert ca.request(request_id) == replace(record, request_id=request_id)
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
    assert ca.request(request_id) == replace(
        denied,
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


# -- revocation and CRLs ---------------------------------------------------------------------------------------


def test_a_revocation_is_recorded_with_its_three_columns(ca: CaDatabase) -> None:
    """RevokedWhen, RevokedEffectiveWhen, RevokedReason. [MS-CSRA] 3.1.1.1.1."""
    request_id = issue(ca, 6)
    revoke(ca, request_id, when=NOW + DAY, effective=NOW)
    found = ca.request(request_id)
    assert found is not None
    assert (found.state, found.message, found.officer) == (
        RequestState.REVOKED,
        r"Revoked by CORP\officer",
        r"CORP\officer",
    )
    assert found.certificate == certificate(
        6, revoked_when=NOW + DAY, revoked_effective=NOW, revoked_reason=RevocationReason.KEY_COMPROMISE
    )


def test_a_certificate_on_hold_can_be_released_and_revoked_again(ca: CaDatabase) -> None:
    """[MS-CSRA] 3.1.4.1.8; the row goes back to 20."""
    request_id = issue(ca, 6)
    revoke(ca, request_id, RevocationReason.CERTIFICATE_HOLD)
    revoke(ca, request_id, None)
    found = ca.request(request_id)
    assert found is not None
    assert (found.state, found.certificate) == (RequestState.ISSUED, certificate(6))
    assert list(ca.revoked(key_index=0, now=NOW)) == []
    revoke(ca, request_id)
    assert [entry.reason for entry in ca.revoked(key_index=0, now=NOW)] == [RevocationReason.KEY_COMPROMISE]


def test_only_what_is_on_hold_can_be_released(ca: CaDatabase) -> None:
    request_id = issue(ca, 6)
    with pytest.raises(BadRequestState) as caught:
        revoke(ca, request_id, None)
    assert caught.value.status is HResult.ERROR_INVALID_DATA
    revoke(ca, request_id)
    with pytest.raises(BadRequestState):
        revoke(ca, request_id, None)


@pytest.mark.parametrize(
    "state", [RequestState.PENDING, RequestState.DENIED, RequestState.ERROR, RequestState.ACTIVE]
)
def test_what_was_never_issued_cannot_be_revoked(ca: CaDatabase, state: RequestState) -> None:
    with ca.transaction() as transaction:
        request_id = transaction.add_request(request(state), RAW)
    with pytest.raises(BadRequestState):
        revoke(ca, request_id)


def test_a_revocation_can_be_changed(ca: CaDatabase) -> None:
    request_id = issue(ca, 6)
    revoke(ca, request_id, RevocationReason.SUPERSEDED, entry=b"old")
    revoke(ca, request_id, RevocationReason.KEY_COMPROMISE, effective=NOW - DAY, entry=b"new")
    (entry,) = ca.revoked(key_index=0, now=NOW)
    assert (entry.serial_number, entry.revoked_effective, entry.reason, entry.encoded) == (
        6,
        NOW - DAY,
        RevocationReason.KEY_COMPROMISE,
        b"new",
    )


def test_a_crl_holds_what_is_effective_and_of_its_own_key(ca: CaDatabase) -> None:
    """[MS-CSRA] 3.1.4.1.6."""
    revoke(ca, issue(ca, 1))
    revoke(ca, issue(ca, 2), effective=NOW + DAY)
    revoke(ca, issue(ca, 3, ca_key_index=1))
    issue(ca, 4)
    assert [entry.serial_number for entry in ca.revoked(key_index=0, now=NOW)] == [1]
    assert [entry.serial_number for entry in ca.revoked(key_index=0, now=NOW + DAY)] == [1, 2]
    assert [entry.serial_number for entry in ca.revoked(key_index=1, now=NOW)] == [3]


def test_an_expired_certificate_leaves_the_crl_after_one_more(ca: CaDatabase) -> None:
    """[MS-CSRA] 3.1.4.1.6: it appears once past its expiry."""
    revoke(ca, issue(ca, 1, not_after=NOW + DAY))
    for number, day, expected in ((1, 0, [1]), (2, 2, [1]), (3, 4, [])):
        now = NOW + day * DAY
        assert [entry.serial_number for entry in ca.revoked(key_index=0, now=now)] == expected
        with ca.transaction() as transaction:
            transaction.add_crl(crl(number, this_update=now))


def test_entries_are_those_of_the_moment_of_asking_even_when_the_new_crl_is_recorded_first(ca: CaDatabase) -> None:
    revoke(ca, issue(ca, 1, not_after=NOW + DAY))
    with ca.transaction() as transaction:
        transaction.add_crl(crl(1, this_update=NOW))
    with ca.transaction() as transaction:
        entries = ca.revoked(key_index=0, now=NOW + 2 * DAY)
        transaction.add_crl(crl(2, this_update=NOW + 2 * DAY))
        assert [entry.serial_number for entry in entries] == [1]


def test_crl_numbers_rise_by_one_for_all_keys_together(ca: CaDatabase) -> None:
    """[MS-CSRA] 3.1.4.1.6: base and delta, and every key, share the counter."""
    numbers = []
    for _ in range(3):
        with ca.transaction() as transaction:
            numbers.append(transaction.next_crl_number())
            assert transaction.ca().crl_number == numbers[-1]
    assert numbers == [1, 2, 3]
    assert ca.ca().crl_number == 3


def test_the_latest_crl_of_each_key_and_kind_is_found(ca: CaDatabase) -> None:
    with ca.transaction() as transaction:
        for record in (crl(1), crl(2), crl(2, key_index=1), crl(3, min_base=2)):
            transaction.add_crl(record)
    assert ca.latest_crl(0) == crl(2)
    assert ca.latest_crl(1) == crl(2, key_index=1)
    assert ca.latest_crl(0, delta=True) == crl(3, min_base=2)
    assert ca.latest_crl(1, delta=True) is None
    assert ca.latest_crl(2) is None


def test_a_delta_holds_what_changed_and_each_certificate_once(ca: CaDatabase) -> None:
    """Revoked since, effective since, released since; of its own key."""
    since, now, hour = NOW + DAY, NOW + 2 * DAY, timedelta(hours=1)
    revoked_at = {
        1: (NOW, NOW),  # before
        2: (NOW + DAY, NOW + DAY),  # since, to the second
        3: (NOW, NOW + DAY + hour),  # before, but it became effective since
        4: (NOW + DAY, NOW + 3 * DAY),  # since, but not effective yet
        5: (NOW + DAY + hour, NOW - DAY),  # since, dated back
    }
    for serial, (when, effective) in revoked_at.items():
        revoke(ca, issue(ca, serial), when=when, effective=effective)
    held = issue(ca, 6)
    revoke(ca, held, RevocationReason.CERTIFICATE_HOLD)
    revoke(ca, held, None, when=NOW + DAY + hour)
    revoke(ca, issue(ca, 7, ca_key_index=1), when=now)

    found = [(entry.serial_number, entry.reason) for entry in ca.revoked_since(since, key_index=0, now=now)]

    revoked, released = RevocationReason.KEY_COMPROMISE, RevocationReason.REMOVE_FROM_CRL
    assert sorted(found) == [(2, revoked), (3, revoked), (5, revoked), (6, released)]


def test_a_certificate_that_expired_before_the_last_base_leaves_deltas_too(ca: CaDatabase) -> None:
    revoke(ca, issue(ca, 1, not_after=NOW + DAY))
    with ca.transaction() as transaction:
        transaction.add_crl(crl(1, this_update=NOW + 2 * DAY))

    assert not list(ca.revoked_since(NOW, key_index=0, now=NOW + 3 * DAY))


def test_unexpired_bases_are_found_by_key_oldest_first(ca: CaDatabase) -> None:
    with ca.transaction() as transaction:
        for number, key_index, min_base, days in (
            (1, 0, 0, 0),
            (2, 0, 0, 2),
            (3, 0, 2, 2),
            (4, 1, 0, 2),
            (5, 0, 0, 4),
        ):
            transaction.add_crl(crl(number, key_index, NOW + days * DAY, min_base))

    found = ca.unexpired_bases(0, NOW + 9 * DAY)

    assert [(each.number, each.der) for each in found] == [(2, b""), (5, b"")]


def test_publication_is_noted_for_base_and_delta_apart(ca: CaDatabase) -> None:
    with ca.transaction() as transaction:
        transaction.add_crl(crl(1))
        transaction.add_crl(crl(1, min_base=1))

    ca.mark_crl_published(1, 0, delta=True, when=NOW + DAY, error="")

    base, delta = ca.latest_crl(0), ca.latest_crl(0, delta=True)
    assert base
    assert delta
    assert (base.published_when, delta.published_when) == (None, NOW + DAY)


def test_publication_of_a_crl_is_noted(ca: CaDatabase) -> None:
    with ca.transaction() as transaction:
        transaction.add_crl(crl(1))
        transaction.add_crl(crl(1, key_index=1))
    ca.mark_crl_published(1, 0, when=None, error="no space left")
    ca.mark_crl_published(1, 1, when=NOW + DAY, error="")
    assert ca.latest_crl(0) == replace(crl(1), publish_error="no space left")
    assert ca.latest_crl(1) == replace(crl(1, key_index=1), published_when=NOW + DAY)


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
