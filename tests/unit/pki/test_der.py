"""The DER codec: what it writes others read, and what is not DER it refuses. ITU-T X.690."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certwright.pki import der
from certwright.pki.errors import EncodingError, TooLarge

NOW = datetime(2025, 3, 4, 5, 6, 7, tzinfo=UTC)


# -- reading tag and length: X.690 8.1 -------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, 1, 127, 128, 255, 256, 65535, 65536])
def test_every_length_reads_back(length: int) -> None:
    encoded = der.octet_string(bytes(length))
    element = der.require_single(encoded, der.OCTET_STRING)
    assert element.end - element.start == length
    assert element.whole(encoded) == encoded


@pytest.mark.parametrize(
    ("encoded", "reason"),
    [
        (b"", "cut off"),
        (b"\x30", "cut off"),
        (b"\x30\x80\x00\x00", "not DER"),  # indefinite, 8.1.3.6
        (b"\x30\x81\x05\x02\x01\x00\x05\x00", "not minimal"),  # 5 fits the short form, 10.1
        (b"\x30\x82\x00\x80" + bytes(128), "not minimal"),  # a leading zero octet
        (b"\x30\x85\x00\x00\x00\x00\x01\x00", "not DER"),  # five octets of length
        (b"\x30\xff" + bytes(127), "not DER"),  # reserved, 8.1.3.5
        (b"\x30\x82\x01", "incomplete"),
        (b"\x30\x03\x02\x01", "longer than what holds it"),
        (b"\x30\x84\xff\xff\xff\xff\x00", "longer than what holds it"),
        (b"\x3f\x81\x01\x00", "tag number above 30"),
        (b"\x30\x00\x00", "1 bytes follow"),
        (b"\x31\x00", "expected SEQUENCE, found SET"),
    ],
)
def test_what_is_not_der_is_refused(encoded: bytes, reason: str) -> None:
    with pytest.raises(EncodingError, match=reason):
        der.require_single(encoded, der.SEQUENCE, "data")


def test_an_inner_element_may_not_reach_beyond_the_outer_one() -> None:
    data = b"\x30\x03\x04\x05ab" + b"cdefg"
    with pytest.raises(EncodingError, match="longer than what holds it"):
        list(der.children(data, der.read_tlv(data)))


def test_a_value_with_too_many_elements_is_refused() -> None:
    data = der.sequence(*[der.null()] * 11)
    outer = der.require_single(data)
    assert len(list(der.children(data, outer, limit=11))) == 11
    with pytest.raises(TooLarge):
        list(der.children(data, outer, limit=10))


@given(st.binary(max_size=300))
@settings(max_examples=300)
def test_arbitrary_bytes_raise_encoding_error_or_read_back_to_themselves(data: bytes) -> None:
    try:
        element = der.require_single(data)
    except EncodingError:
        return
    assert der.tlv(element.tag, element.content(data)) == data


def test_the_tag_of_an_element_has_a_name_for_people() -> None:
    assert [der.tag_name(tag) for tag in (0x30, 0x1E, 0xA3, 0x80, 0x0D)] == [
        "SEQUENCE",
        "BMPString",
        "[3]",
        "[0]",
        "tag 0x0d",
    ]


# -- the reader ------------------------------------------------------------------------------------------------------


def test_a_reader_gives_the_elements_in_order_and_notices_what_is_left() -> None:
    reader = der.Reader.of(der.sequence(der.oid("1.2.3"), der.integer(7), der.utf8("x"), der.null()), what="thing")
    assert (reader.oid(), reader.integer(), reader.string()) == ("1.2.3", 7, "x")
    with pytest.raises(EncodingError, match="thing: unexpected NULL"):
        reader.finish()
    assert reader.optional(der.INTEGER) is None
    assert reader.whole(der.NULL) == der.null()
    reader.finish()
    assert reader.next_tag == -1
    with pytest.raises(EncodingError, match="thing: cut off"):
        reader.read()


def test_a_reader_says_what_it_expected() -> None:
    reader = der.Reader.of(der.sequence(der.null()), what="thing")
    with pytest.raises(EncodingError, match="thing: expected INTEGER at offset 2, found NULL"):
        reader.integer()
    with pytest.raises(EncodingError, match="expected a string, found NULL"):
        der.Reader.of(der.sequence(der.null())).string()
    with pytest.raises(EncodingError, match="expected a time, found NULL"):
        der.Reader.of(der.sequence(der.null())).time()


# -- contents --------------------------------------------------------------------------------------------------------


@given(st.integers(-(2**600), 2**600))
def test_integers_read_back(value: int) -> None:
    encoded = der.integer(value)
    assert der.decode_integer(der.require_single(encoded, der.INTEGER).content(encoded)) == value


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (0, "020100"),
        (127, "02017f"),
        (128, "02020080"),
        (256, "02020100"),
        (-1, "0201ff"),
        (-128, "020180"),
        (-129, "0202ff7f"),
    ],
)
def test_integers_are_written_minimal(value: int, encoded: str) -> None:
    """X.690 8.3.2."""
    assert der.integer(value).hex() == encoded


@pytest.mark.parametrize("content", [b"", b"\x00\x01", b"\xff\x80", b"\x00\x00"])
def test_integers_that_are_not_minimal_are_refused(content: bytes) -> None:
    with pytest.raises(EncodingError):
        der.decode_integer(content)


def test_integers_longer_than_any_key_are_refused() -> None:
    with pytest.raises(TooLarge):
        der.decode_integer(b"\x01" * (der.MAX_INTEGER_OCTETS + 1))


@pytest.mark.parametrize("content", [b"", b"\x01", b"\x00\x00"])
def test_booleans_other_than_true_and_false_are_refused(content: bytes) -> None:
    """X.690 11.1."""
    with pytest.raises(EncodingError):
        der.decode_boolean(content)


def test_booleans_read_back() -> None:
    assert [der.decode_boolean(der.boolean(value)[2:]) for value in (True, False)] == [True, False]


@pytest.mark.parametrize("content", [b"", b"\x08\x00", b"\x01", b"\x01\x01", b"\x07\x40"])
def test_bit_strings_with_wrong_unused_bits_are_refused(content: bytes) -> None:
    """X.690 8.6.2, 11.2.1."""
    with pytest.raises(EncodingError):
        der.decode_bit_string(content)


@pytest.mark.parametrize(
    ("bits", "encoded"),
    [(b"\xa0", "030205a0"), (b"\x00\x80", "0303070080"), (b"\x86\x00", "03020186"), (b"\x00\x00", "030100")],
)
def test_named_bits_drop_trailing_zeros(bits: bytes, encoded: str) -> None:
    """X.690 11.2.2."""
    assert der.named_bits(bits).hex() == encoded
    octets, unused = der.decode_bit_string(der.named_bits(bits)[2:])
    assert octets == bits.rstrip(b"\x00")
    assert unused < 8


# -- object identifiers ----------------------------------------------------------------------------------------------


@given(
    st.one_of(
        st.tuples(st.integers(0, 1), st.integers(0, 39)),
        st.tuples(st.just(2), st.integers(0, 2**40)),
    ),
    st.lists(st.integers(0, 2**64), max_size=4),
)
def test_object_identifiers_read_back(head: tuple[int, int], rest: list[int]) -> None:
    dotted = ".".join(map(str, (*head, *rest)))
    encoded = der.oid(dotted)
    assert der.decode_oid(encoded[2:]) == dotted


def test_an_object_identifier_is_written_as_x690_shows_it() -> None:
    """X.690 8.19.5: {2 999 3} is 88 37 03."""
    assert der.oid("2.999.3").hex() == "0603883703"
    assert der.oid("1.3.6.1.4.1.311.21.7").hex() == "06092b060104018237 1507".replace(" ", "")


@pytest.mark.parametrize(
    "dotted", ["", "1", "3.1", "1.40", "0.40", "1.2.", ".1.2", "1.02", "1.-2", "1.2.x", "1.2.٣", "1 .2", "1.2²"]
)
def test_what_is_no_object_identifier_is_refused(dotted: str) -> None:
    with pytest.raises(EncodingError):
        der.oid(dotted)


def test_an_endless_object_identifier_is_refused_without_being_converted() -> None:
    """Python itself raises a bare ValueError for numbers of more than 4300 digits."""
    for dotted in ("1.2." + "9" * 5000, "1." + "2." * 5000 + "3", "1.2." + "9" * 200):
        with pytest.raises(TooLarge):
            der.oid(dotted)


@pytest.mark.parametrize("content", [b"", b"\x80\x01", b"\x2a\x80\x01", b"\x2a\x81"])
def test_object_identifiers_that_are_not_der_are_refused(content: bytes) -> None:
    """X.690 8.19.2."""
    with pytest.raises(EncodingError):
        der.decode_oid(content)


def test_object_identifiers_longer_than_the_limit_are_refused() -> None:
    longest = b"\x2a" + b"\x7f" * (der.MAX_OID_OCTETS - 1)
    assert der.oid(der.decode_oid(longest))[2:] == longest
    with pytest.raises(TooLarge):
        der.decode_oid(longest + b"\x7f")


# -- strings ---------------------------------------------------------------------------------------------------------


def test_every_string_type_reads() -> None:
    text = "Zoë"
    assert der.decode_string(der.UTF8_STRING, text.encode()) == text
    assert der.decode_string(der.BMP_STRING, text.encode("utf-16-be")) == text
    assert der.decode_string(der.TELETEX_STRING, text.encode("latin-1")) == text
    assert der.decode_string(der.UNIVERSAL_STRING, text.encode("utf-32-be")) == text
    for tag in (der.PRINTABLE_STRING, der.IA5_STRING, der.NUMERIC_STRING, der.VISIBLE_STRING):
        assert der.decode_string(tag, b"12") == "12"


@pytest.mark.parametrize(
    ("tag", "content"),
    [
        (der.UTF8_STRING, b"\xff"),
        (der.UTF8_STRING, b"\xed\xa0\x80"),  # a surrogate
        (der.BMP_STRING, b"\x00"),
        (der.BMP_STRING, b"\xd8\x00"),  # half a pair
        (der.UNIVERSAL_STRING, b"\x00\x11\x00\x00"),
        (der.IA5_STRING, b"\x80"),
        (der.PRINTABLE_STRING, b"\xe9"),
        (der.OCTET_STRING, b"x"),
    ],
)
def test_strings_of_bytes_that_are_no_text_are_refused(tag: int, content: bytes) -> None:
    with pytest.raises(EncodingError):
        der.decode_string(tag, content)


@pytest.mark.parametrize("text", ["*.corp.example", "a@b", "a_b", "Zoë"])
def test_a_printable_string_refuses_what_is_not_in_its_alphabet(text: str) -> None:
    with pytest.raises(EncodingError):
        der.printable(text)


def test_text_without_an_encoding_is_refused() -> None:
    with pytest.raises(EncodingError):
        der.ia5("Zoë")
    with pytest.raises(EncodingError):
        der.utf8("\ud800")
    with pytest.raises(EncodingError):
        der.bmp("\ud800")


def test_a_bmp_string_takes_characters_beyond_the_plane_as_windows_does() -> None:
    assert der.bmp("\U0001f600").hex() == "1e04d83dde00"


# -- times -----------------------------------------------------------------------------------------------------------


@given(st.integers(-631152000, 253402300799).map(lambda seconds: datetime.fromtimestamp(seconds, UTC)))
def test_times_read_back(when: datetime) -> None:
    encoded = der.utc_or_generalized_time(when)
    element = der.require_single(encoded)
    assert der.decode_time(element.tag, element.content(encoded)) == when


@pytest.mark.parametrize(
    ("when", "encoded"),
    [
        (datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC), b"\x17\x0d491231235959Z"),
        (datetime(2050, 1, 1, tzinfo=UTC), b"\x18\x0f20500101000000Z"),
        (datetime(1950, 1, 1, tzinfo=UTC), b"\x17\x0d500101000000Z"),
        (datetime(1949, 12, 31, tzinfo=UTC), b"\x18\x0f19491231000000Z"),
        (datetime(2025, 1, 1, 1, tzinfo=timezone(timedelta(hours=2))), b"\x17\x0d241231230000Z"),
    ],
)
def test_a_time_is_utc_until_2049_and_generalized_from_2050(when: datetime, encoded: bytes) -> None:
    """RFC 5280 4.1.2.5."""
    assert der.utc_or_generalized_time(when) == encoded


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        der.utc_or_generalized_time(NOW.replace(tzinfo=None))


@pytest.mark.parametrize(
    ("tag", "content"),
    [
        (der.UTC_TIME, b"2501010000Z"),  # no seconds
        (der.UTC_TIME, b"250101000000+0000"),
        (der.UTC_TIME, b"250101000000z"),
        (der.UTC_TIME, b"251301000000Z"),
        (der.UTC_TIME, b"250230000000Z"),
        (der.UTC_TIME, b"250101000060Z"),
        (der.UTC_TIME, b"25 101000000Z"),
        (der.UTC_TIME, b"+50101000000Z"),
        (der.UTC_TIME, b"\xb2501010000000"),
        (der.GENERALIZED_TIME, b"20250101000000.5Z"),
        (der.GENERALIZED_TIME, b"00000101000000Z"),
        (der.GENERALIZED_TIME, b"250101000000Z"),
        (der.UTC_TIME, b""),
        (der.UTF8_STRING, b"250101000000Z"),
    ],
)
def test_times_in_any_other_form_are_refused(tag: int, content: bytes) -> None:
    with pytest.raises(EncodingError):
        der.decode_time(tag, content)


# -- constructed -----------------------------------------------------------------------------------------------------


def test_a_set_of_is_sorted() -> None:
    """X.690 11.6."""
    assert der.set_of(der.integer(300), der.integer(2), der.null()) == bytes.fromhex(
        "310902010202 02012c0500".replace(" ", "")
    )


def test_tagging_keeps_the_constructed_bit() -> None:
    """X.690 8.14."""
    assert der.implicit(2, der.ia5("a")).hex() == "820161"
    assert der.implicit(0, der.sequence(der.null())).hex() == "a0020500"
    assert der.explicit(3, der.null()).hex() == "a3020500"


def test_reading_deep_nesting_takes_no_stack_and_no_time() -> None:
    data = b""
    for _ in range(2000):
        data = der.sequence(data)
    started = time.process_time()
    with pytest.raises(EncodingError):
        der.Reader.of(data, der.SEQUENCE).integer()
    assert time.process_time() - started < 1
