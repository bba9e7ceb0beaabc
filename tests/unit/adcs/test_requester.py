"""SIDs and the caller of a connection. [MS-DTYP] 2.4.2.1."""

from __future__ import annotations

import pytest

from certwright.adcs import requester
from certwright.adcs.requester import AuthMethod, Credential, Requester, Sid, parse_sid

ALICE = "S-1-5-21-1004336348-1177238915-682003330-1104"


@pytest.mark.parametrize("text", [ALICE, "S-1-1-0", "S-1-5-32-544", "S-1-0x0123456789ab-5", "S-1-5"])
def test_a_sid_is_taken(text: str) -> None:
    assert parse_sid(text) == text


@pytest.mark.parametrize(
    "text",
    ["", "S-1", "S-2-5-1", "s-1-5-1", "alice", ALICE + "\n", ALICE + "-", "S-1-5-" + "1-" * 15 + "1", "S-1-5-٣"],
)
def test_what_is_no_sid_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="security identifier"):
        parse_sid(text)


def test_well_known_sids_are_sids() -> None:
    known = [value for name, value in vars(requester).items() if name.isupper() and isinstance(value, str)]
    assert len(known) >= 5
    assert all(parse_sid(value) == value for value in known)


def test_an_access_check_runs_over_the_account_and_its_groups() -> None:
    caller = Requester("CORP\\alice", Sid(ALICE), frozenset({requester.AUTHENTICATED_USERS}), AuthMethod.NTLM)
    assert caller.sids == {ALICE, "S-1-5-11"}


def test_a_secret_never_shows_in_a_repr() -> None:
    credential = Credential("password", "hunter2")
    caller = Requester("CORP\\alice", Sid(ALICE), frozenset(), AuthMethod.BASIC, credential)
    assert "hunter2" not in repr(credential) + repr(caller) + str(caller)
