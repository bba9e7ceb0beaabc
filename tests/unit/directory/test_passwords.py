"""Passwords: argon2id, NT hashes, rules."""

from __future__ import annotations

import statistics
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spnego._ntlm_raw.crypto import ntowfv1
from spnego._ntlm_raw.md4 import md4 as their_md4

from certwright.adcs.errors import InvalidArgument
from certwright.directory import passwords
from certwright.directory.nt_hash import md4, nt_hash


@pytest.mark.parametrize(
    ("message", "digest"),
    [
        (b"", "31d6cfe0d16ae931b73c59d7e0c089c0"),
        (b"a", "bde52cb31de33e46245e05fbdbd6fb24"),
        (b"message digest", "d9130a8164549fe818874806e1c7014b"),
        (b"abcdefghijklmnopqrstuvwxyz", "d79e1c308aa5bbcdeea8ed63df412da9"),
        (b"1234567890" * 8, "e33b4ddc9c38f2199c3e7b164fcc0536"),
    ],
)
def test_md4_gives_the_digests_of_its_specification(message: bytes, digest: str) -> None:
    """RFC 1320 A.5."""
    assert md4(message).hex() == digest


@given(st.binary(max_size=200))
@settings(max_examples=50, deadline=None)
def test_md4_agrees_with_another_implementation_at_every_length(message: bytes) -> None:
    assert md4(message) == their_md4(message)


@pytest.mark.parametrize("password", ["", "Password", "pässwörd ☃", "𝔘nicode"])
def test_nt_hash_agrees_with_another_implementation(password: str) -> None:
    """[MS-NLMP] 3.3.1 NTOWFv1."""
    assert nt_hash(password) == ntowfv1(password)


def test_password_is_stored_as_argon2id_with_a_salt_of_its_own() -> None:
    first, second = passwords.hash_password("the same password"), passwords.hash_password("the same password")
    assert first.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert first != second
    assert passwords.verify(first, "the same password")
    assert not passwords.verify(first, "The same password")


def test_password_is_the_same_however_its_accents_are_composed() -> None:
    assert passwords.verify(passwords.hash_password("caf\u00e9 au lait"), "cafe\u0301 au lait")


@pytest.mark.parametrize("stored", ["", "no hash at all", "$argon2id$v=19$broken"])
def test_account_without_a_readable_hash_accepts_no_password(stored: str) -> None:
    assert not passwords.verify(stored, "")
    assert not passwords.verify(stored, "anything")


def test_overlong_password_is_refused_at_a_password_s_price() -> None:
    stored = passwords.hash_password("x" * passwords.MAXIMUM_LENGTH)
    assert not passwords.verify(stored, "x" * 1_000_000)


def test_unknown_account_costs_as_much_as_a_wrong_password() -> None:
    """Both run argon2id once with the same parameters; a skipped one would be a thousand times faster."""
    stored = passwords.hash_password("a password of alice")

    def cost(encoded: str) -> float:
        samples = []
        for _ in range(5):
            start = time.perf_counter()
            passwords.verify(encoded, "a guess")
            samples.append(time.perf_counter() - start)
        return statistics.median(samples)

    assert 0.2 < cost("") / cost(stored) < 5


def test_generated_passwords_differ_and_satisfy_the_rules() -> None:
    made = {passwords.generate_password() for _ in range(50)}
    assert len(made) == 50
    for password in made:
        passwords.check_new_password(password)
        assert not set(password) & set("lIO01")


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        ("elevenchars", "has 11 characters; it needs at least 12"),
        ("x" * 257, "at most 256"),
        ("tab\tulator in it", "control character"),
        ("half \ud800 a surrogate", "control character"),
    ],
)
def test_password_that_breaks_a_rule_is_refused_with_the_rule(password: str, reason: str) -> None:
    with pytest.raises(InvalidArgument, match=reason):
        passwords.check_new_password(password)
