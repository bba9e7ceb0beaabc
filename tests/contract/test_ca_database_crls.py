"""What CRLs are made of, whatever `CaDatabase` is behind it: revocations, base and delta lists, partitions."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from certwright.adcs.errors import BadRequestState, HResult
from certwright.adcs.interfaces import Delivery
from certwright.adcs.roles import RevocationReason
from certwright.ca.database import CaDatabase, RequestState
from tests.support.ca_rows import DAY, NOW, RAW, certificate, crl, issue, request, revoke

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


# -- CRL partitions --------------------------------------------------------------------------------------------------


def test_a_partition_has_the_entries_of_its_certificates_and_0_has_all(ca: CaDatabase) -> None:
    for serial, partition in ((1, 0), (2, 1), (3, 2), (4, 2)):
        revoke(ca, issue(ca, serial, crl_partition=partition))

    found = [[each.serial_number for each in ca.revoked(key_index=0, now=NOW, partition=n)] for n in range(4)]
    assert found == [[1, 2, 3, 4], [2], [3, 4], []]
    changed = [
        [each.serial_number for each in ca.revoked_since(NOW, key_index=0, now=NOW, partition=n)] for n in range(4)
    ]
    assert [sorted(each) for each in changed] == found


def test_a_release_is_told_to_its_partition_alone(ca: CaDatabase) -> None:
    for serial, partition in ((1, 1), (2, 2)):
        held = issue(ca, serial, crl_partition=partition)
        revoke(ca, held, RevocationReason.CERTIFICATE_HOLD)
        revoke(ca, held, None, when=NOW + DAY)

    since = NOW + DAY
    found = [
        [each.serial_number for each in ca.revoked_since(since, key_index=0, now=since, partition=n)]
        for n in (0, 1, 2)
    ]
    assert found == [[1, 2], [1], [2]]


def test_the_partitions_are_those_of_certificates_that_live(ca: CaDatabase) -> None:
    issue(ca, 1)
    issue(ca, 2, crl_partition=1, not_after=NOW + DAY)
    issue(ca, 3, crl_partition=3, not_after=NOW + 3 * DAY)
    last = issue(ca, 4, crl_partition=7, not_after=NOW + 3 * DAY, ca_key_index=1)

    assert list(ca.crl_partitions(0, NOW)) == [1, 3]
    assert list(ca.crl_partitions(0, NOW + 2 * DAY)) == [3]
    assert list(ca.crl_partitions(1, NOW)) == [7]
    assert ca.last_request_id() == last
    row = ca.request(last)
    assert row is not None
    assert row.certificate is not None
    assert row.certificate.crl_partition == 7


def test_crls_of_partitions_are_kept_apart(ca: CaDatabase) -> None:
    with ca.transaction() as transaction:
        for record in (crl(1), replace(crl(1), partition=1), replace(crl(2), partition=1)):
            transaction.add_crl(record)
    assert ca.latest_crl(0) == crl(1)
    assert ca.latest_crl(0, partition=1) == replace(crl(2), partition=1)
    assert ca.latest_crl(0, partition=2) is None
    assert [each.number for each in ca.unexpired_bases(0, NOW, 1)] == [1, 2]

    ca.mark_crl_published(1, 0, partition=1, when=NOW, error="")
    assert [each.published_when for each in ca.unexpired_bases(0, NOW, 1)] == [NOW, None]
    assert ca.unexpired_bases(0, NOW)[0].published_when is None


def test_entries_come_encoded_alone_too(ca: CaDatabase) -> None:
    """What a long CRL is made of: the same entries, in the same order."""
    for number in range(1, 4):
        revoke(ca, issue(ca, number), when=NOW)

    entries = list(ca.revoked(key_index=0, now=NOW))
    parts = list(ca.revoked_encoded(key_index=0, now=NOW))

    assert b"".join(part.encoded for part in parts) == b"".join(entry.encoded for entry in entries)
    assert sum(part.entries for part in parts) == 3


def test_deliveries_are_kept_as_they_are_now(ca: CaDatabase) -> None:
    there = Delivery("/srv/pki", "CA.crl", 1, NOW, NOW)
    missing = Delivery("Active Directory", "CA.crl", 1, None, NOW, "no rights \N{EURO SIGN}")
    certificate = Delivery("/srv/pki", "CA.crt", None, NOW, NOW)
    ca.note_deliveries([there, missing, certificate])
    assert list(ca.deliveries()) == [there, certificate, missing]

    delivered = replace(missing, number=2, delivered_when=NOW + DAY, tried_when=NOW + DAY, error="")
    ca.note_deliveries([delivered, there])
    assert list(ca.deliveries()) == [there, delivered]


def test_where_expired_certificates_stay_they_stay_on_base_and_delta(ca: CaDatabase) -> None:
    """CRLF_PUBLISH_EXPIRED_CERT_CRLS of Windows."""
    revoke(ca, issue(ca, 1, not_after=NOW + DAY))
    with ca.transaction() as transaction:
        transaction.add_crl(crl(1, this_update=NOW + 2 * DAY))
    later = NOW + 900 * DAY

    assert [each.serial_number for each in ca.revoked(key_index=0, now=later, expired=True)] == [1]
    assert [each.entries for each in ca.revoked_encoded(key_index=0, now=later, expired=True)] == [1]
    assert [each.serial_number for each in ca.revoked_since(NOW, key_index=0, now=later, expired=True)] == [1]
    assert not list(ca.revoked(key_index=0, now=later))
