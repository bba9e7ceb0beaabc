"""The answer to an LDAP ping. [MS-ADTS] 6.3.1.9; it comes over UDP from anybody, so anything may be in it."""

from __future__ import annotations

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certwright.directory.active_directory.netlogon import decode_answer, encode_ping
from tests.support.requests import octets, tlv

NUMBER = 4711


def _labels(*labels: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in labels)


def _names() -> bytes:
    """Forest, domain, host, NetBIOS names, user, sites: compressed where a controller compresses. RFC 1035 4.1.4."""
    start = 24
    forest = _labels("corp", "example") + b"\0"
    domain = struct.pack(">H", 0xC000 | start)
    host = _labels("dc1") + struct.pack(">H", 0xC000 | start)
    netbios, computer, user = _labels("CORP") + b"\0", _labels("DC1") + b"\0", b"\0"
    site = _labels("Izmir") + b"\0"
    before = len(forest + domain + host + netbios + computer + user)
    return forest + domain + host + netbios + computer + user + site + struct.pack(">H", 0xC000 | start + before)


def _answer(response: bytes, number: int = NUMBER, name: bytes = b"Netlogon") -> bytes:
    """With lengths in four octets, as Windows writes them."""

    def wide(tag: int, content: bytes) -> bytes:
        return bytes([tag, 0x84]) + struct.pack(">I", len(content)) + content

    attribute = wide(0x30, octets(name) + wide(0x31, octets(response)))
    entry = wide(0x64, octets(b"") + wide(0x30, attribute))
    return wide(0x30, tlv(0x02, number.to_bytes(4, "big")) + entry)


def _response(opcode: int = 0x17, names: bytes | None = None) -> bytes:
    return struct.pack("<HHI", opcode, 0, 0xF1FC) + bytes(16) + (_names() if names is None else names)


def test_names_are_read_through_their_compression() -> None:
    answer = decode_answer(_answer(_response()), NUMBER)
    assert answer.dns_forest == answer.dns_domain == "corp.example"
    assert answer.dns_host == "dc1.corp.example"
    assert answer.netbios_domain == "CORP"
    assert answer.controller_site == answer.client_site == "Izmir"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x30\x80",
        _answer(_response(), NUMBER + 1),
        _answer(_response(), name=b"other"),
        _answer(_response(opcode=0x13)),
        _answer(_response(names=b"")),
        _answer(_response(names=b"\x05ab")),
        _answer(_response(names=struct.pack(">H", 0xC000 | 24))),  # points at itself
        _answer(_response(names=b"\xc0")),
        _answer(_response(names=b"\x40" + bytes(80))),
        _answer(_response())[:-3],
        _answer(_response(names=b"\x01\xff\0" + _names())),
    ],
)
def test_what_is_no_answer_to_the_question_is_none(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - which of the faults comes first does not matter
        decode_answer(data, NUMBER)


@given(st.binary(max_size=200))
def test_nothing_but_a_refusal_comes_of_noise(data: bytes) -> None:
    for each in (data, _answer(_response(names=data))):
        with suppress(ValueError):
            decode_answer(each, NUMBER)


def test_question_names_domain_and_version() -> None:
    asked = encode_ping(NUMBER, "corp.example")
    assert b"DnsDomain" in asked
    assert b"corp.example" in asked
    assert b"NtVer\x04\x04\x06\x00\x00\x00" in asked
