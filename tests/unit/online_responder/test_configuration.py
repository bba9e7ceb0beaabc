"""Revocation configurations as values. [MS-OCSPA] 3.2.1.1, [MS-OCSP] 3.2.5."""

from __future__ import annotations

import pytest

from certwright.adcs.errors import InvalidArgument
from certwright.online_responder.configuration import SETTINGS, NoncePolicy, NonIssued, RevocationConfiguration
from certwright.pki import oids


def test_the_defaults_serve_todays_clients() -> None:
    usual = RevocationConfiguration.load()

    assert usual.nonce is NoncePolicy.ECHO
    assert usual.hash_algorithms == {oids.SHA1, oids.SHA256}
    assert usual.max_requests == 16
    assert usual.non_issued is NonIssued.UNKNOWN
    assert usual.as_settings() == {"profile": "rfc6960"}


def test_the_microsoft_profile_answers_as_windows_does_by_default() -> None:
    """[MS-OCSP] 3.2.5: one request, SHA-1, no nonce; from CRLs alone what was never issued is good."""
    theirs = RevocationConfiguration.load().changed({"profile": "microsoft"})

    assert theirs.nonce is NoncePolicy.REJECT
    assert theirs.hash_algorithms == {oids.SHA1}
    assert theirs.max_requests == 1
    assert theirs.non_issued is NonIssued.GOOD


def test_what_is_set_survives_storing_and_a_change_of_profile_where_profiles_agree() -> None:
    chosen = RevocationConfiguration.load().changed({"validity-minutes": "60", "nonce": "ignore"})
    stored = RevocationConfiguration.load(chosen.as_settings())

    assert stored == chosen
    theirs = stored.changed({"profile": "microsoft", "max-requests": "4"})
    assert (theirs.texts["validity-minutes"], theirs.max_requests) == ("60", 4)
    assert theirs.nonce is NoncePolicy.REJECT


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("nonce", "maybe"),
        ("hash-algorithms", "md5"),
        ("hash-algorithms", ""),
        ("max-requests", "0"),
        ("max-requests", "10000"),
        ("max-requests", "-1"),
        ("validity-minutes", "4"),
        ("validity-minutes", "99999999999999999999"),
        ("archive-cutoff", "yes"),
        ("profile", "windows"),
    ],
)
def test_what_cannot_be_is_refused_with_the_key(key: str, value: str) -> None:
    with pytest.raises(InvalidArgument, match=key):
        RevocationConfiguration.load().changed({key: value})


def test_an_unknown_key_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(InvalidArgument, match="did you mean nonce"):
        RevocationConfiguration.load().changed({"nonces": "echo"})


def test_every_setting_says_what_it_means() -> None:
    assert all(setting.meaning.endswith(".") for setting in SETTINGS.values())
