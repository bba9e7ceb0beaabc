"""Which CRLs are taken, and what base and delta say together. RFC 5280 5.2, 6.3.3."""

from __future__ import annotations

from datetime import timedelta
from itertools import count

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as some

from certwright.online_responder.lists import (
    CopiedList,
    Entries,
    Entry,
    ListFacts,
    ListRefused,
    Lists,
    Scope,
    demand_progress,
    examine,
)
from certwright.pki.crl import CrlView, encode_entry
from certwright.pki.errors import EncodingError
from tests.support.foreign_ca import COMPROMISED, ON_HOLD, RELEASED, Extensions, ForeignCa, Revoked, named

CA = ForeignCa()
NOW = CA.now
ROOM = timedelta(days=7)


def lists(base: bytes, delta: bytes | None = None) -> Lists:
    return Lists(CopiedList.read(base), None if delta is None else CopiedList.read(delta))


def taken(data: bytes, *, delta: bool = False, scopes: tuple[Scope, ...] = ()) -> tuple[ListFacts, int]:
    return examine(data, CA.view, NOW, delta=delta, scopes=scopes)


def entries_of(data: bytes) -> Entries:
    view = CrlView.parse(data)
    return Entries(data, view.entries_start, view.entries_end)


# -- taking


def test_a_list_of_the_ca_is_taken_with_what_is_known_of_it() -> None:
    facts, entries = taken(CA.crl({5: None, 6: COMPROMISED}, number=17))

    assert (facts.number, facts.base_number, entries) == (17, None, 2)
    assert facts.next_update == NOW + ROOM


def test_an_empty_list_revokes_nobody() -> None:
    assert taken(CA.crl())[1] == 0
    assert lists(CA.crl()).find(1) is None


def strangers(**changes: object) -> bytes:
    return CA.crl({5: None}, **changes)  # type: ignore[arg-type]


NO_CRITICAL = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
SOME_REASONS = x509.IssuingDistributionPoint(
    None, None, False, False, frozenset({x509.ReasonFlags.key_compromise}), False, False
)
REFUSED: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "no CRL"),
    "garbage": (b"\x30\x03\x02\x01\x01", "no CRL"),
    "a certificate": (CA.der, "no CRL"),
    "cut off": (CA.crl({5: None})[:-1], "no CRL"),
    "something follows": (CA.crl({5: None}) + b"\x00", "no CRL"),
    "another CA's": (ForeignCa("Somebody").crl(), "another CA's"),
    "another key's": (CA.crl(key=ec.generate_private_key(ec.SECP256R1())), "another key"),
    "ended": (CA.crl(ends=timedelta(seconds=-1)), "ended at"),
    "of the future": (CA.crl(begins=timedelta(hours=1)), "begins at"),
    "a delta": (CA.crl(base=1, number=2), "delta CRL where a base"),
    "of a strange critical extension": (CA.crl(extensions=[(NO_CRITICAL, True)]), "critical extension"),
    "a partition": (CA.crl(extensions=[named("http://x/ca_Partition00001.crl")]), "scopes=named"),
    "for users only": (CA.crl(extensions=[named(only_contains_user_certs=True)]), "scopes=user-only"),
    "for CAs only": (CA.crl(extensions=[named(only_contains_ca_certs=True)]), "scopes=ca-only"),
    "of several CAs": (CA.crl(extensions=[named(indirect_crl=True)]), "indirect"),
    "of attribute certificates": (CA.crl(extensions=[named(only_contains_attribute_certs=True)]), "attribute"),
    "of some reasons": (CA.crl(extensions=[(SOME_REASONS, True)]), "some reasons"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_answered_from_is_refused_with_its_reason(name: str) -> None:
    data, why = REFUSED[name]

    with pytest.raises(ListRefused, match=why):
        taken(data)


def test_a_forged_list_is_refused() -> None:
    """Its signature is another's, though it names the CA's key; and one bit of an entry is changed."""
    data = bytearray(CA.crl({0x1234567890: None}))
    place = data.index(bytes.fromhex("1234567890"))
    data[place] ^= 1

    with pytest.raises(ListRefused, match="did not sign"):
        taken(bytes(data))


@pytest.mark.parametrize(
    ("scope", "extension"),
    [
        (Scope.NAMED, named("http://x/ca.crl")),
        (Scope.USER_ONLY, named(only_contains_user_certs=True)),
        (Scope.CA_ONLY, named(only_contains_ca_certs=True)),
    ],
)
def test_a_limited_list_is_taken_where_somebody_said_so(scope: Scope, extension: Extensions) -> None:
    assert taken(CA.crl({5: None}, extensions=[extension]), scopes=(scope,))[1] == 1  # type: ignore[list-item]


def test_a_number_never_goes_back() -> None:
    kept = taken(CA.crl(number=7))[0]

    demand_progress(taken(CA.crl(number=7))[0], kept)  # the same one, or published again
    demand_progress(taken(CA.crl(number=8))[0], kept)
    with pytest.raises(ListRefused, match="back from 7 to 6"):
        demand_progress(taken(CA.crl(number=6))[0], kept)
    with pytest.raises(ListRefused, match="back from 7 to none"):
        demand_progress(taken(CA.crl(number=None))[0], kept)
    with pytest.raises(ListRefused, match="older"):
        demand_progress(taken(CA.crl(number=7, begins=timedelta(hours=-3)))[0], kept)


def test_lists_without_numbers_are_compared_by_their_time() -> None:
    kept = taken(CA.crl(number=None))[0]

    with pytest.raises(ListRefused, match="older"):
        demand_progress(taken(CA.crl(number=None, begins=timedelta(hours=-3)))[0], kept)


# -- base and delta


HELD: Revoked = {1: COMPROMISED, 2: ON_HOLD, 3: None}


def test_a_delta_adds_to_its_base_and_takes_away_from_it() -> None:
    both = lists(CA.crl(HELD, number=5), CA.crl({2: RELEASED, 4: COMPROMISED}, number=6, base=5))

    assert [both.find(serial) is not None for serial in range(1, 6)] == [True, False, True, True, False]
    assert both.find(4) == Entry(NOW - timedelta(hours=2), 1)
    assert both.find(3) == Entry(NOW - timedelta(hours=2), 0)


@pytest.mark.parametrize(
    ("number", "base", "applies"),
    [(6, 5, True), (6, 4, True), (6, 6, False), (5, 4, False), (4, 3, False)],
    ids=["its base", "an older base", "a base we have not", "as old as the base", "older than the base"],
)
def test_a_delta_applies_only_to_a_base_it_fits(number: int, base: int, applies: bool) -> None:
    both = lists(CA.crl(number=5), CA.crl({9: None}, number=number, base=base))

    assert (both.find(9) is not None) is applies


def test_what_ends_first_ends_the_answers() -> None:
    """A revocation may be in the delta that comes next; a newer base makes an old delta no matter."""
    base, soon = CA.crl(number=5), timedelta(hours=6)

    assert lists(base).until == NOW + ROOM
    assert lists(base, CA.crl(number=6, base=5, ends=soon)).until == NOW + soon
    assert lists(base, CA.crl(number=5, base=4, ends=soon)).until == NOW + soon
    assert lists(base, CA.crl(number=4, base=3, ends=soon)).until == NOW + ROOM


def test_what_is_told_is_as_fresh_as_the_newest_list() -> None:
    base = CA.crl(number=5, begins=timedelta(hours=-9))

    assert lists(base).known == NOW - timedelta(hours=9)
    assert lists(base, CA.crl(number=6, base=5)).known == NOW - timedelta(hours=1)


def test_people_are_warned_while_a_list_still_holds() -> None:
    """Half way from the moment when the next one was meant to be there to the end; else in the last tenth."""
    week = ListFacts(1, None, NOW, NOW + timedelta(days=7))
    day = ListFacts(1, None, NOW, NOW + timedelta(days=1))
    announced = ListFacts(1, None, NOW, NOW + timedelta(days=8), NOW + timedelta(days=6))

    assert week.warn_after == NOW + timedelta(days=6, hours=12)
    assert day.warn_after == NOW + timedelta(hours=21, minutes=36)
    assert announced.warn_after == NOW + timedelta(days=7)


# -- entries


@given(
    some.dictionaries(some.integers(1, (1 << 159) - 1), some.sampled_from((None, COMPROMISED, ON_HOLD)), max_size=40)
)
def test_every_entry_is_found_and_nothing_else(revoked: Revoked) -> None:
    data = CA.crl(revoked)
    entries = entries_of(data)
    another = x509.load_der_x509_crl(data)

    assert entries.count == len(another)
    for serial, reason in revoked.items():
        found = entries.find(serial)
        assert found is not None
        assert found.reason == {None: 0, COMPROMISED: 1, ON_HOLD: 6}[reason]
    for never in (0, 1 << 160, -1):
        assert entries.find(never) is None


def test_a_table_grows_when_the_first_entry_is_the_longest() -> None:
    long = encode_entry(1 << 150, NOW, 1)
    short = [encode_entry(serial, NOW) for serial in range(1, 3000)]
    data = b"\x00" + long + b"".join(short)
    entries = Entries(data, 1, len(data))

    assert entries.count == 3000
    assert all(entries.find(serial) for serial in range(1, 3000))
    assert entries.find(3000) is None


@pytest.mark.parametrize(
    "entry",
    ["0500", "3000", "30030201", "3003020105", "30060201050500", "3080", "30840000000102", "300402020005"],
)
def test_what_is_no_entry_is_refused(entry: str) -> None:
    data = b"\x00" + encode_entry(7, NOW) + bytes.fromhex(entry)

    with pytest.raises(EncodingError):
        Entries(data, 1, len(data)).find(5)


def test_a_critical_extension_of_an_entry_is_not_passed_over() -> None:
    """RFC 5280 5.3: such a list says nothing about that certificate."""
    builder = x509.RevokedCertificateBuilder().serial_number(5).revocation_date(NOW)
    strange = builder.add_extension(NO_CRITICAL, True).build()
    other = x509.RevokedCertificateBuilder().serial_number(6).revocation_date(NOW).build()
    made = x509.CertificateRevocationListBuilder(CA.subject, NOW, NOW + ROOM, [], [strange, other])
    entries = entries_of(made.sign(CA.key, hashes.SHA256()).public_bytes(Encoding.DER))

    assert entries.find(6) is not None
    with pytest.raises(EncodingError, match="critical"):
        entries.find(5)


def test_a_long_list_lets_others_in_while_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses = count()
    monkeypatch.setattr("certwright.online_responder.lists.time.sleep", lambda seconds: next(pauses))
    data = b"\x00" + b"".join(encode_entry(serial, NOW) for serial in range(1, 9000))

    assert Entries(data, 1, len(data)).count == 8999
    assert next(pauses) == 2
