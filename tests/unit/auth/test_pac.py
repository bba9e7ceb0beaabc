"""Logon information of tickets: [MS-PAC] 2.5 by its own example, by a domain controller's, and by hand."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certwright.adcs.errors import BadRequest
from certwright.auth.pac import MAX_SIDS, MAX_SIZE, AccountFlags, LogonInfo
from tests.support.logon_info import ENABLED, LogonInfoWriter

VECTORS = Path(__file__).parents[2] / "vectors" / "pac"


def vector(name: str) -> bytes:
    return bytes.fromhex((VECTORS / f"{name}.hex").read_text())


ALICE = vector("alice")
EXAMPLE = vector("specification")


def test_the_example_of_the_specification_is_read() -> None:
    """[MS-PAC] 3.1: 26 groups with the primary one among them, and 13 SIDs in another array."""
    info = LogonInfo.parse(EXAMPLE)
    domain = "S-1-5-21-397955417-626881126-188441444"
    assert info.account == "NTDEV\\lzhu"
    assert info.sid == f"{domain}-2914711"
    assert len(info.groups) == 26 + 13
    assert {f"{domain}-513", f"{domain}-3392609", "S-1-5-21-773533881-1816936887-355810188-513"} <= info.groups
    assert info.flags is AccountFlags.NORMAL


def test_a_user_of_a_domain_controller_is_read_with_nested_groups() -> None:
    info = LogonInfo.parse(ALICE)
    domain = "S-1-5-21-3647141320-3796612110-481041799"
    assert info.account == "ADTWO\\alice"
    assert info.sid == f"{domain}-1103"
    assert info.groups == {f"{domain}-513", f"{domain}-1112", f"{domain}-1113", "S-1-18-1"}
    assert not info.is_computer


def test_a_computer_is_told_from_a_user() -> None:
    info = LogonInfo.parse(vector("ws1"))
    assert info.account_name == "WS1$"
    assert info.is_computer
    assert not LogonInfo.parse(vector("svc-enroll")).is_computer


def test_groups_of_a_resource_domain_belong_to_it() -> None:
    """[MS-PAC] 2.5, ResourceGroupIds: how domain controllers since 2012 compress domain local groups."""
    written = LogonInfoWriter(
        resource_domain="S-1-5-21-7-8-9",
        resource_groups=[(2001, ENABLED | 0x20000000), (2002, ENABLED)],
        extra=[("S-1-18-1", ENABLED), ("S-1-5-21-4-5-6-519", ENABLED)],
    )
    groups = LogonInfo.parse(written.encode()).groups
    assert groups == {
        "S-1-5-21-1-2-3-513",
        "S-1-18-1",
        "S-1-5-21-4-5-6-519",
        "S-1-5-21-7-8-9-2001",
        "S-1-5-21-7-8-9-2002",
    }


def test_the_primary_group_counts_where_no_array_names_it() -> None:
    assert LogonInfo.parse(LogonInfoWriter(groups=()).encode()).groups == {"S-1-5-21-1-2-3-513"}


def test_a_group_that_is_switched_off_does_not_count() -> None:
    info = LogonInfo.parse(LogonInfoWriter(groups=[(513, ENABLED), (1200, 0x1)]).encode())
    assert "S-1-5-21-1-2-3-1200" not in info.groups


@pytest.mark.parametrize(
    "written",
    [
        LogonInfoWriter(groups=[(513, ENABLED), (1200, 0x10)]),
        LogonInfoWriter(extra=[("S-1-5-21-4-5-6-519", 0x10)]),
        LogonInfoWriter(resource_domain="S-1-5-21-7-8-9", resource_groups=[(2001, 0x10)]),
    ],
    ids=["GroupIds", "ExtraSids", "ResourceGroupIds"],
)
def test_a_group_for_denials_only_is_not_passed_over(written: LogonInfoWriter) -> None:
    """To leave it out would grant what should be denied."""
    with pytest.raises(BadRequest, match="denials only"):
        LogonInfo.parse(written.encode())


@pytest.mark.parametrize(
    "written",
    [
        LogonInfoWriter(account=""),
        LogonInfoWriter(domain=""),
        LogonInfoWriter(domain_sid=""),
        LogonInfoWriter(rid=0),
        LogonInfoWriter(resource_groups=[(2001, ENABLED)]),
    ],
    ids=["name", "domain", "domain SID", "RID", "resource domain"],
)
def test_an_account_that_is_not_named_is_nobody(written: LogonInfoWriter) -> None:
    with pytest.raises(BadRequest, match="PAC"):
        LogonInfo.parse(written.encode())


def test_too_many_groups_are_refused_before_they_are_read() -> None:
    written = LogonInfoWriter(groups=[(rid, ENABLED) for rid in range(1000, 1001 + MAX_SIDS)])
    with pytest.raises(BadRequest, match=str(MAX_SIDS)):
        LogonInfo.parse(written.encode())
    few = written.groups[:MAX_SIDS]
    assert len(LogonInfo.parse(LogonInfoWriter(groups=few).encode()).groups) == MAX_SIDS + 1


def test_a_number_that_promises_more_than_there_is_costs_nothing() -> None:
    """GroupCount and the array's own count say two thousand million; a hundred bytes follow."""
    count = struct.pack("<I", 0x7FFFFFFF)
    data = ALICE.replace(struct.pack("<I", 3) + b"\x1c\x00\x02\x00", count + b"\x1c\x00\x02\x00")
    assert data != ALICE
    with pytest.raises(BadRequest, match="are taken"):
        LogonInfo.parse(data)


def test_a_structure_of_any_size_is_refused_by_its_size() -> None:
    with pytest.raises(BadRequest, match=str(MAX_SIZE)):
        LogonInfo.parse(ALICE + bytes(MAX_SIZE))


@pytest.mark.parametrize("data", [ALICE, EXAMPLE], ids=["Samba", "Windows"])
def test_whatever_is_cut_off_is_refused(data: bytes) -> None:
    for length in range(len(data) - 8):
        with pytest.raises(BadRequest):
            LogonInfo.parse(data[:length])


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([ALICE, EXAMPLE]),
    st.lists(st.tuples(st.integers(0, 1199), st.integers(0, 255)), min_size=1, max_size=8),
)
def test_changed_octets_are_read_or_refused_and_nothing_else(data: bytes, changes: list[tuple[int, int]]) -> None:
    changed = bytearray(data)
    for place, value in changes:
        changed[place % len(changed)] = value
    try:
        info = LogonInfo.parse(bytes(changed))
    except BadRequest:
        return
    assert len(info.groups) <= 3 * MAX_SIDS + 1
    assert all(sid.startswith("S-1-") for sid in info.groups)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=600))
def test_octets_of_any_kind_are_refused_in_words(tail: bytes) -> None:
    for data in (tail, ALICE[:16] + tail):
        with pytest.raises(BadRequest, match=r"^PAC: "):
            LogonInfo.parse(data)
