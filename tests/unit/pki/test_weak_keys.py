"""Broken keys are found, good ones are not accused. CVE-2017-15361, CVE-2022-26320."""

from __future__ import annotations

import math
import time

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from certwright.pki import oids, weak_keys
from certwright.pki.public_keys import PublicKeyInfo, parse_public_key
from certwright.pki.weak_keys import KeyWeakness
from tests.support import requests
from tests.support.weak_keys import SEEDED, next_prime, roca_prime


def key_of(modulus: int, exponent: int = 65537) -> PublicKeyInfo:
    number = requests.sequence(requests.integer(modulus), requests.integer(exponent))
    return parse_public_key(
        requests.sequence(
            requests.sequence(requests.oid(oids.RSA_ENCRYPTION), b"\x05\x00"), requests.tlv(0x03, b"\x00", number)
        )
    )


@pytest.mark.parametrize(("bits", "count"), [(512, 71), (1024, 126)], ids=["RSA-1024", "RSA-2048"])
def test_a_key_of_the_flawed_library_is_found(bits: int, count: int) -> None:
    """Nemec et al., table 1: 71 primes for keys from 992 bits on, 126 for keys from 1984 bits on."""
    modulus = roca_prime(bits, count) * roca_prime(bits, count)
    assert weak_keys.has_roca_fingerprint(modulus)
    assert weak_keys.weaknesses(key_of(modulus)) == (KeyWeakness.ROCA,)


def test_one_key_in_millions_is_accused_wrongly() -> None:
    odds = math.prod(mask.bit_count() / (prime - 1) for prime, mask in weak_keys._roca_residues())
    assert odds < 2**-27


def test_good_keys_have_no_weakness() -> None:
    for number in range(3):
        key = parse_public_key(requests.spki(requests.rsa_key(2048, number)))
        assert weak_keys.weaknesses(key) == ()
    assert weak_keys.weaknesses(parse_public_key(requests.spki(requests.ec_key()))) == ()


@pytest.mark.parametrize("distance", [1 << 100, 1 << 250], ids=["100 bits", "250 bits"])
def test_primes_that_lie_close_are_found(distance: int) -> None:
    first = next_prime(SEEDED.getrandbits(512) | 1 << 511)
    modulus = first * next_prime(first + distance)
    assert weak_keys.has_close_primes(modulus)
    assert KeyWeakness.CLOSE_PRIMES in weak_keys.weaknesses(key_of(modulus))


def test_a_square_and_distant_primes_are_told_apart() -> None:
    first = next_prime(SEEDED.getrandbits(512) | 1 << 511)
    assert weak_keys.has_close_primes(first * first)
    assert not weak_keys.has_close_primes(first * next_prime(first + (1 << 500)))


@pytest.mark.parametrize("factor", [3, 5, 251, 751 - 8])
def test_a_small_factor_is_found(factor: int) -> None:
    good = requests.rsa_key().public_key().public_numbers().n
    assert weak_keys.weaknesses(key_of(good * factor)) == (KeyWeakness.SMALL_FACTOR,)


@pytest.mark.parametrize(
    ("modulus", "exponent", "found"),
    [
        (2, 65537, (KeyWeakness.EVEN_MODULUS,)),
        (0, 1, (KeyWeakness.EVEN_EXPONENT,)),
        (0, 4, (KeyWeakness.EVEN_EXPONENT,)),
        (2, 2, (KeyWeakness.EVEN_EXPONENT, KeyWeakness.EVEN_MODULUS)),
    ],
)
def test_nonsense_is_found(modulus: int, exponent: int, found: tuple[KeyWeakness, ...]) -> None:
    good: rsa.RSAPublicNumbers = requests.rsa_key().public_key().public_numbers()
    assert weak_keys.weaknesses(key_of(good.n * (modulus or 1), exponent)) == found


def test_each_weakness_ends_a_sentence() -> None:
    assert f"the key {KeyWeakness.ROCA}" == "the key was made by the flawed RSA library of CVE-2017-15361 (ROCA)"


def test_the_longest_key_is_examined_quickly() -> None:
    key = key_of(SEEDED.getrandbits(16384) | 1 << 16383 | 1)
    started = time.process_time()
    weak_keys.weaknesses(key)
    assert time.process_time() - started < 0.1


@pytest.mark.parametrize("further", range(16))
def test_every_round_of_fermats_method_is_looked_at(further: int) -> None:
    """The primes of such a modulus lie just so far apart that the method needs `further` more rounds."""
    middle = SEEDED.getrandbits(256) | 1 << 255
    half = math.isqrt(2 * middle * further) + 1  # (middle^2 - half^2) has its root `further` below `middle`
    modulus = middle * middle - half * half
    ceiling = math.isqrt(modulus) + (math.isqrt(modulus) ** 2 < modulus)
    assert middle - ceiling in (further, further + 1)
    assert weak_keys.has_close_primes(modulus) is (middle - ceiling < 16)
