"""What the responder answers. RFC 6960 2.2, 4.2; RFC 5019 2; RFC 9654; [MS-OCSP] 3.2.5."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.x509 import ocsp as peer

from certwright.online_responder.responder import MALFORMED, TRY_LATER, UNAUTHORIZED
from certwright.online_responder.revocation import GOOD, CertificateStatus
from certwright.pki import der, ocsp, oids
from tests.support.responding import CA, ISSUED, NEVER, NOW, OTHER_CA, Bench, MemoryProvider, question

REVOKED = CertificateStatus(NOW - timedelta(days=2), 1)
ON_HOLD = CertificateStatus(NOW - timedelta(days=2), 6)
NONCE = b"n" * 32


def test_an_issued_certificate_is_good() -> None:
    read = Bench().read(ISSUED)

    assert read.certificate_status is peer.OCSPCertStatus.GOOD
    assert read.serial_number == ISSUED
    assert read.this_update_utc == NOW - timedelta(minutes=10)
    assert read.next_update_utc == NOW + timedelta(hours=12)
    assert len(read.certificates) == 1


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (REVOKED, x509.ReasonFlags.key_compromise),
        (ON_HOLD, x509.ReasonFlags.certificate_hold),
        (CertificateStatus(NOW, 0), None),
    ],
)
def test_a_revoked_certificate_is_revoked_with_its_time_and_reason(
    status: CertificateStatus, reason: x509.ReasonFlags | None
) -> None:
    bench = Bench()
    bench.provider.known[ISSUED] = status

    read = bench.read(ISSUED)

    assert read.certificate_status is peer.OCSPCertStatus.REVOKED
    assert read.revocation_time_utc == status.revoked
    assert read.revocation_reason == reason


def test_a_number_that_was_never_issued_is_unknown_and_not_kept() -> None:
    bench = Bench()

    read, answer = bench.read(NEVER), bench.ask(NEVER)

    assert read.certificate_status is peer.OCSPCertStatus.UNKNOWN
    assert answer.until == 0  # it may be issued in a moment
    bench.provider.known[NEVER] = GOOD
    assert bench.read(NEVER).certificate_status is peer.OCSPCertStatus.GOOD


def test_extended_revoke_calls_revoked_what_was_never_issued() -> None:
    """RFC 6960 2.2, 4.4.8: since 1970, on hold, and the extension in those answers."""
    bench = Bench(non_issued="revoked")

    read = bench.read(NEVER)

    assert read.certificate_status is peer.OCSPCertStatus.REVOKED
    assert read.revocation_time_utc == datetime(1970, 1, 1, tzinfo=UTC)
    assert read.revocation_reason is x509.ReasonFlags.certificate_hold
    assert oids.OCSP_EXTENDED_REVOKE in {each.oid.dotted_string for each in read.extensions}
    assert len(bench.read(ISSUED).extensions) == 0


def test_a_revocation_that_takes_effect_later_ends_the_answer_there() -> None:
    bench = Bench()
    effective = NOW + timedelta(hours=1)
    bench.provider.known[ISSUED] = CertificateStatus(until=effective)

    read = bench.read(ISSUED)

    assert read.certificate_status is peer.OCSPCertStatus.GOOD
    assert read.next_update_utc == effective
    bench.provider.known[ISSUED] = CertificateStatus(effective, 1)
    bench.now = effective
    assert bench.read(ISSUED).certificate_status is peer.OCSPCertStatus.REVOKED


def test_no_answer_outlives_its_signing_certificate() -> None:
    bench = Bench(signer_days=0)
    assert bench.ask(ISSUED) == TRY_LATER

    bench.signer_until = NOW + timedelta(hours=2)
    bench.configure()
    assert bench.read(ISSUED).next_update_utc == NOW + timedelta(hours=2)


def test_archive_cutoff_is_the_beginning_of_the_ca() -> None:
    """RFC 6960 4.4.4: revocations are kept from there on."""
    read = Bench(archive_cutoff="on").read(ISSUED)

    cutoff = der.tlv(der.GENERALIZED_TIME, f"{CA.not_before:%Y%m%d%H%M%S}Z".encode())
    value = {each.oid.dotted_string: each.value for each in read.single_extensions}[oids.OCSP_ARCHIVE_CUTOFF]
    assert isinstance(value, x509.UnrecognizedExtension)
    assert value.value == cutoff


# -- who is answered


def test_an_issuer_nobody_configured_is_unauthorized() -> None:
    """RFC 5019 2.2.3: five unsigned bytes."""
    answer = Bench().responder.answer(question(issuer=OTHER_CA))

    assert answer == UNAUTHORIZED
    assert answer is not None
    assert answer.der == bytes.fromhex("30030a0106")


def test_one_message_asks_about_one_issuer() -> None:
    mixed = ocsp.encode_request([ocsp.cert_id(CA, ISSUED), ocsp.cert_id(OTHER_CA, ISSUED)])

    assert Bench().responder.answer(mixed) == UNAUTHORIZED


def test_several_certificates_get_one_answer_that_nobody_keeps() -> None:
    bench = Bench()
    bench.provider.known[ISSUED + 1] = REVOKED

    answer = bench.ask(ISSUED, ISSUED + 1, NEVER)
    found = [
        (each.serial_number, each.certificate_status) for each in peer.load_der_ocsp_response(answer.der).responses
    ]

    statuses = peer.OCSPCertStatus
    assert found == [
        (ISSUED, statuses.GOOD),
        (ISSUED + 1, statuses.REVOKED),
        (NEVER, statuses.UNKNOWN),
    ]
    assert answer.until == 0


def test_the_same_issuer_by_both_hashes_is_one_issuer() -> None:
    both = ocsp.encode_request([ocsp.cert_id(CA, ISSUED, oids.SHA1), ocsp.cert_id(CA, ISSUED, oids.SHA256)])

    answer = Bench().responder.answer(both)

    assert answer is not None
    assert len(list(peer.load_der_ocsp_response(answer.der).responses)) == 2


def test_the_bytes_of_a_certificate_id_come_back_as_they_came() -> None:
    """Some clients compare them: with and without parameters are different bytes."""
    name_hash, key_hash = ocsp.issuer_hashes(CA, oids.SHA1)
    bare = der.sequence(
        der.sequence(der.oid(oids.SHA1)), der.octet_string(name_hash), der.octet_string(key_hash), der.integer(ISSUED)
    )

    answer = Bench().responder.answer(ocsp.encode_request([bare]))

    assert answer is not None
    assert bare in answer.der


@pytest.mark.parametrize("count", [17, 255, 300, 10_000])
def test_too_many_certificates_are_unauthorized(count: int) -> None:
    """As MaxNumOfRequestEntries of Windows. [MS-OCSP] 3.2.5."""
    assert Bench().responder.answer(ocsp.encode_request([ocsp.cert_id(CA, ISSUED)] * count)) == UNAUTHORIZED


def test_an_unknown_critical_extension_is_unauthorized() -> None:
    requests = der.sequence(der.sequence(ocsp.cert_id(CA, ISSUED)))
    critical = der.sequence(der.sequence(der.oid("1.2.3.4"), der.boolean(True), der.octet_string(b"")))

    assert Bench().responder.answer(der.sequence(der.sequence(requests, der.explicit(2, critical)))) == UNAUTHORIZED


@pytest.mark.parametrize("garbage", [b"", b"0", b"GET /", bytes(64), question() + b"\x00", question()[:-1]])
def test_what_cannot_be_read_is_malformed(garbage: bytes) -> None:
    assert Bench().responder.answer(garbage) == MALFORMED


def test_without_a_signer_it_is_try_later() -> None:
    assert Bench(signs=False).ask(ISSUED) == TRY_LATER


def test_a_responder_that_serves_nobody_is_unauthorized() -> None:
    bench = Bench()
    bench.responder.serve([])

    assert bench.responder.answer(question()) == UNAUTHORIZED
    assert bench.responder.kept == 0


# -- nonces


def test_a_nonce_comes_back_and_its_answer_is_nobody_elses() -> None:
    bench = Bench()

    answer = bench.ask(ISSUED, nonce=NONCE)
    read = peer.load_der_ocsp_response(answer.der)

    assert read.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce == NONCE
    assert answer.until == 0
    assert bench.responder.kept == 0


def test_an_ignored_nonce_gets_the_answer_that_everybody_gets() -> None:
    bench = Bench(nonce="ignore")

    assert bench.ask(ISSUED, nonce=NONCE) is bench.ask(ISSUED)


def test_a_rejected_nonce_is_unauthorized() -> None:
    assert Bench(nonce="reject").ask(ISSUED, nonce=NONCE) == UNAUTHORIZED


def test_the_microsoft_profile_refuses_what_windows_refuses() -> None:
    """[MS-OCSP] 3.2.5: nonces, SHA-256, a second certificate; what was never issued is good."""
    bench = Bench(profile="microsoft")

    assert bench.ask(ISSUED, nonce=NONCE) == UNAUTHORIZED
    assert bench.ask(ISSUED, hash_oid=oids.SHA256) == UNAUTHORIZED
    assert bench.ask(ISSUED, ISSUED + 1) == UNAUTHORIZED
    assert bench.read(NEVER).certificate_status is peer.OCSPCertStatus.GOOD


# -- keeping answers, and dropping them


def test_a_kept_answer_asks_nobody() -> None:
    bench = Bench()
    first = bench.ask(ISSUED)
    bench.provider.down = True

    assert bench.responder.answer(question(), ask=False) is first
    assert bench.provider.asked == 1


def test_what_is_not_at_hand_is_said_to_take_a_moment() -> None:
    bench = Bench()
    assert bench.responder.answer(question(), ask=False) is None

    bench.ask(ISSUED)
    assert bench.responder.answer(question(nonce=NONCE), ask=False) is not None  # its status is known, P-256 is quick
    slow = Bench(is_quick=False)
    slow.ask(ISSUED)
    assert slow.responder.answer(question(nonce=NONCE), ask=False) is None


def test_a_revocation_changes_the_answer_at_the_next_look() -> None:
    bench = Bench()
    for hash_oid in (oids.SHA1, oids.SHA256):
        bench.ask(ISSUED, hash_oid=hash_oid)
    bench.provider.put(ISSUED, REVOKED)

    bench.responder.follow()

    assert bench.read(ISSUED).certificate_status is peer.OCSPCertStatus.REVOKED
    assert bench.read(ISSUED, nonce=NONCE).certificate_status is peer.OCSPCertStatus.REVOKED
    other = peer.load_der_ocsp_response(bench.ask(ISSUED, hash_oid=oids.SHA256).der)
    assert other.certificate_status is peer.OCSPCertStatus.REVOKED


def test_a_release_from_hold_changes_it_back() -> None:
    bench = Bench()
    bench.provider.known[ISSUED] = ON_HOLD
    assert bench.read(ISSUED).certificate_status is peer.OCSPCertStatus.REVOKED
    bench.provider.put(ISSUED, GOOD)

    bench.responder.follow()

    assert bench.read(ISSUED).certificate_status is peer.OCSPCertStatus.GOOD


def test_what_was_read_before_a_change_was_heard_of_is_not_kept() -> None:
    """The revocation is committed and heard of while its certificate's old status is on the way to an answer."""
    bench = Bench()

    def revoke_meanwhile() -> None:
        bench.provider.while_asked = lambda: None
        bench.provider.put(ISSUED, REVOKED)
        bench.responder.follow()

    bench.provider.while_asked = revoke_meanwhile
    bench.ask(ISSUED)

    assert bench.responder.kept == 0
    assert bench.read(ISSUED).certificate_status is peer.OCSPCertStatus.REVOKED


def test_answers_are_made_anew_at_half_their_life() -> None:
    bench = Bench(validity_minutes="120")
    first = bench.ask(ISSUED)
    bench.now = NOW + timedelta(minutes=59)
    assert bench.responder.refresh(10) == 0

    bench.now = NOW + timedelta(minutes=60)
    assert bench.responder.refresh(10) == 1

    second = bench.ask(ISSUED)
    assert second is not first
    assert second.until == int((bench.now + timedelta(hours=2)).timestamp())
    assert bench.responder.kept == 1


def test_refreshing_reads_the_status_again() -> None:
    """Whatever was not heard of is found out then."""
    bench = Bench(validity_minutes="120")
    bench.ask(ISSUED)
    bench.provider.known[ISSUED] = REVOKED
    bench.now = NOW + timedelta(minutes=60)

    bench.responder.refresh(10)

    assert bench.read(ISSUED).certificate_status is peer.OCSPCertStatus.REVOKED


def test_an_unreachable_provider_leaves_answers_until_their_end_and_then_it_is_try_later() -> None:
    bench = Bench(validity_minutes="120")
    first = bench.ask(ISSUED)
    bench.provider.down = True
    bench.responder.follow()

    assert bench.ask(ISSUED + 1) == TRY_LATER
    bench.now = NOW + timedelta(minutes=119)
    assert bench.ask(ISSUED) is first
    bench.now = NOW + timedelta(minutes=120)
    assert bench.ask(ISSUED) == TRY_LATER  # its status is remembered, but might have changed


def test_a_remembered_status_is_signed_anew_only_while_changes_are_heard_of() -> None:
    bench = Bench()
    bench.ask(ISSUED)
    bench.provider.down = True
    assert bench.read(ISSUED, nonce=NONCE).certificate_status is peer.OCSPCertStatus.GOOD

    bench.now = NOW + timedelta(seconds=10)
    bench.responder.follow()
    assert bench.ask(ISSUED, nonce=NONCE) == TRY_LATER

    bench.provider.down = False
    bench.responder.follow()
    assert bench.responder.answer(question(nonce=NONCE), ask=False) is not None


def test_changes_of_a_silent_time_are_heard_of_afterwards() -> None:
    bench = Bench()
    bench.ask(ISSUED)
    bench.provider.put(ISSUED, REVOKED)
    bench.provider.down = True
    bench.responder.follow()
    bench.provider.down = False

    bench.responder.follow()

    assert bench.read(ISSUED).certificate_status is peer.OCSPCertStatus.REVOKED


def test_a_changed_configuration_drops_its_answers_and_an_equal_one_does_not() -> None:
    bench = Bench()
    first = bench.ask(ISSUED)
    bench.responder.serve([bench.issuer])
    assert bench.ask(ISSUED) is first

    bench.configure(validity_minutes="60")

    assert bench.responder.kept == 0
    assert bench.read(ISSUED).next_update_utc == NOW + timedelta(hours=1)


def test_answers_are_made_before_anybody_asks() -> None:
    bench = Bench()

    made = bench.responder.produce(bench.issuer, [ISSUED, ISSUED + 1, NEVER])

    assert made == 2
    assert bench.responder.answer(question(ISSUED), ask=False) is not None
    assert bench.responder.answer(question(NEVER), ask=False) is None


def test_no_more_answers_are_kept_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("certwright.online_responder.responder.MOST_KEPT", 3)
    bench = Bench()
    bench.provider.known = dict.fromkeys(range(1, 11), GOOD)

    for serial in range(1, 11):
        bench.ask(serial)

    assert bench.responder.kept == 3
    assert bench.responder.answer(question(10), ask=False) is not None


def test_a_provider_may_say_that_anything_changed() -> None:
    """Another CRL: every answer for that CA is made anew."""
    bench = Bench()
    first = bench.ask(ISSUED)
    bench.provider.known[ISSUED] = REVOKED
    bench.provider.changes = lambda: None  # type: ignore[method-assign]

    bench.responder.follow()

    assert bench.responder.kept == 0
    assert bench.ask(ISSUED) != first
    assert bench.read(ISSUED).certificate_status is peer.OCSPCertStatus.REVOKED


def test_an_answer_says_since_when_it_is_known() -> None:
    """From a CRL: its thisUpdate, not the moment of the answer; and it ends with it. RFC 6960 2.4."""
    bench = Bench()
    known, until = NOW - timedelta(days=2), NOW + timedelta(minutes=30)
    bench.provider.known[ISSUED] = CertificateStatus(until=until, known=known)

    read = bench.read(ISSUED)

    assert (read.this_update_utc, read.next_update_utc) == (known, until)


def test_one_silent_provider_keeps_no_other_answers_from_being_refreshed() -> None:
    bench = Bench(validity_minutes="120")
    other = MemoryProvider("Other CA")
    second = replace(bench.issuer, ca="Other CA", certificate=OTHER_CA, provider=other)
    bench.responder.serve([bench.issuer, second])
    bench.ask(ISSUED)
    bench.responder.answer(question(ISSUED, issuer=OTHER_CA))
    bench.provider.down = True
    bench.now = NOW + timedelta(minutes=61)

    assert bench.responder.refresh(10) == 1
    assert bench.responder.kept == 2
