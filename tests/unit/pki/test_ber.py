"""BER made DER. ITU-T X.690 8.1.3, 8.7.3, 10."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certwright.pki import ber, der
from certwright.pki.errors import EncodingError, TooLarge
from tests.support import programs

DER = der.sequence(der.integer(5), der.set_of(der.utf8("a"), der.null()), der.octet_string(b"x" * 300))


def test_der_comes_back_as_it_is() -> None:
    assert ber.to_der(DER) is DER


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("3080 020105 0000", "3003 020105"),
        ("3080 3080 0000 0500 0000", "3004 3000 0500"),
        ("30 8103 020105", "3003 020105"),
        ("30 84 00000003 020105", "3003 020105"),
        ("2480 0401aa 0402bbcc 0000", "0403 aabbcc"),
        ("2407 0401aa 0402bbcc", "0403 aabbcc"),
        ("2480 2480 0401aa 0000 0401bb 0000", "0402 aabb"),
        ("2480 0000", "0400"),
        ("a080 0401aa 0401bb 0000", "a006 0401aa 0401bb"),
        ("3180 0500 020105 0000", "3105 0500 020105"),
    ],
    ids=[
        "indefinite",
        "nested",
        "long form",
        "leading zeros",
        "string in pieces",
        "definite, in pieces",
        "pieces in pieces",
        "no piece",
        "under a tag of its own",
        "order of a set",
    ],
)
def test_ber_becomes_der(given: str, expected: str) -> None:
    assert ber.to_der(bytes.fromhex(given)) == bytes.fromhex(expected)


@pytest.mark.parametrize(
    "broken",
    [
        "",
        "30",
        "3080",
        "3080020105",
        "0480aa0000",
        "0000",
        "30020000",
        "3003020105ff",
        "30850000000003020105ff",
        "2480020105 0000",
        "1f8101 00",
        "30030205",
        "3089 000000000000000000 00",
    ],
)
def test_what_is_no_ber_is_refused(broken: str) -> None:
    with pytest.raises(EncodingError):
        ber.to_der(bytes.fromhex(broken))


def test_depth_and_size_are_bounded_in_little_time() -> None:
    began = time.process_time()
    with pytest.raises(TooLarge, match="deeper than 32"):
        ber.to_der(b"\x30\x80" * 100_000)
    with pytest.raises(TooLarge, match="more than 50000 elements"):
        ber.to_der(b"\x30\x80" + b"\x05\x00" * 60_000 + b"\x00\x00")
    with pytest.raises(TooLarge, match="at most 10"):
        ber.to_der(DER, max_octets=10)
    assert time.process_time() - began < 2.0


@given(st.binary(max_size=200))
def test_garbage_is_der_afterwards_or_refused(data: bytes) -> None:
    try:
        made = ber.to_der(data)
    except EncodingError:
        return
    der.require_single(made)
    assert ber.to_der(made) == made


def test_what_openssl_streams_is_what_it_writes_at_once() -> None:
    """`-stream` is indefinite length with the content in pieces; without a signature time the rest is the same."""
    data = b"y" * 10_000
    plain = der.sequence(der.oid("1.2.840.113549.1.7.1"), der.explicit(0, der.octet_string(data)))
    pieces = b"".join(der.octet_string(data[start : start + 4096]) for start in range(0, len(data), 4096))
    streamed = b"\x30\x80" + der.oid("1.2.840.113549.1.7.1") + b"\xa0\x80\x24\x80" + pieces + b"\x00\x00" * 3
    assert programs.openssl("asn1parse", "-inform", "DER", data=streamed).count("OCTET STRING") == 4
    assert ber.to_der(streamed) == plain
