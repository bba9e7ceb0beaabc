"""DER shown element by element: complete, bounded, and never surprised. X.690."""

from __future__ import annotations

import pytest

from certwright.pki import der, oids
from certwright.pki.structure import MAX_DEPTH, Node, structure
from tests.support.certificates import make_certificate


def texts(nodes: tuple[Node, ...]) -> list[tuple[int, str, str]]:
    return [(node.depth, node.tag, node.value) for node in nodes]


def test_every_element_stands_with_its_place_and_value() -> None:
    data = der.sequence(der.integer(5), der.oid(oids.COMMON_NAME), der.utf8("Ada"), der.boolean(True), der.null())
    nodes = structure(data)
    assert texts(nodes) == [
        (0, "SEQUENCE", ""),
        (1, "INTEGER", "5"),
        (1, "OBJECT IDENTIFIER", "2.5.4.3 (CN)"),
        (1, "UTF8String", "Ada"),
        (1, "BOOLEAN", "TRUE"),
        (1, "NULL", ""),
    ]
    assert [(node.offset, node.length) for node in nodes[:2]] == [(0, len(data) - 2), (2, 1)]


def test_strings_that_hold_der_are_opened_and_others_are_not() -> None:
    inside = der.octet_string(der.sequence(der.integer(1)))
    assert texts(structure(inside)) == [(0, "OCTET STRING", ""), (1, "SEQUENCE", ""), (2, "INTEGER", "1")]
    assert structure(inside)[0].opened
    assert texts(structure(der.octet_string(b"\x30\x05abc"))) == [(0, "OCTET STRING", "3005616263")]
    assert texts(structure(der.octet_string(b"\x02\x01\x05"))) == [(0, "OCTET STRING", "020105")]


def test_a_certificate_is_shown_to_its_last_octet() -> None:
    data = make_certificate()
    nodes = structure(data)
    assert "web.corp.example" in {node.value for node in nodes}
    assert "2025-01-01 00:00:00 UTC" in {node.value for node in nodes}
    assert max(node.offset + node.length for node in nodes) <= len(data)


def test_what_cannot_be_read_is_said_with_its_octets() -> None:
    nodes = structure(der.sequence(der.integer(1)) + b"\x30\x7f")
    assert (nodes[-1].tag, nodes[-1].value.endswith("307f")) == ("unreadable", True)


def test_control_characters_are_never_shown_as_such() -> None:
    assert texts(structure(der.utf8("a\x1b[2Jb"))) == [(0, "UTF8String", "611b5b324a62")]


def test_depth_is_bounded() -> None:
    data = der.integer(1)
    for _level in range(200):
        data = der.sequence(data)
    nodes = structure(data)
    assert max(node.depth for node in nodes) == MAX_DEPTH - 1
    assert len(nodes) == MAX_DEPTH


def test_the_number_of_elements_is_bounded_and_the_rest_is_counted() -> None:
    nodes = structure(der.sequence(*(der.integer(1) for _ in range(50))), limit=10)
    assert len(nodes) == 11
    assert nodes[-1].value == "more than 10 elements"


@pytest.mark.parametrize("data", [b"", b"\x30", b"\x30\x80\x00\x00", b"\xff" * 40, b"\x1f\x81\x01\x00"])
def test_nonsense_is_shown_and_not_raised(data: bytes) -> None:
    assert all(node.tag == "unreadable" for node in structure(data))
