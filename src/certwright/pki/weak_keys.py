"""What is known to be wrong with RSA keys of a good length: broken generators and plain nonsense.

Nemec et al., "The Return of Coppersmith's Attack", CCS 2017 (ROCA); CVE-2022-26320 (close primes). Everything here is
a finding about a number; that a finding refuses a request is the policy's decision.
"""

from __future__ import annotations

import functools
import math
from enum import StrEnum
from typing import Final

from certwright.pki.public_keys import KeyKind, PublicKeyInfo


class KeyWeakness(StrEnum):
    """Why a key protects nothing, as a sentence's end: "the key " + weakness."""

    EVEN_MODULUS = "has an even modulus"
    EVEN_EXPONENT = "has a public exponent that is even or 1"
    SMALL_FACTOR = "has a modulus with a small prime factor"
    CLOSE_PRIMES = "has a modulus whose two primes lie next to each other"
    ROCA = "was made by the flawed RSA library of CVE-2017-15361 (ROCA)"


_SMALL_PRIMES: Final = tuple(
    n for n in range(3, 752, 2) if all(n % divisor for divisor in range(3, math.isqrt(n) + 1, 2))
)
_SMALL_PRODUCT: Final = math.prod(_SMALL_PRIMES)
_ROCA_PRIMES: Final = _SMALL_PRIMES[:38]  # 3 to 167: all divide the primorial that the flawed library used
_FERMAT_ROUNDS: Final = 16  # keys seen in the wild fall in the first three


def _squares_modulo(modulus: int) -> int:
    """The residues that squares have, as a bit mask."""
    return sum(1 << residue for residue in {root * root % modulus for root in range(modulus)})


_SQUARES_MODULO_64: Final = _squares_modulo(64)
_SIEVES: Final = tuple((modulus, _squares_modulo(modulus)) for modulus in (63, 65, 11))
"""With 64 before them, one number in 140 that is no square passes them all."""
_SIEVE_PRODUCT: Final = 64 * math.prod(modulus for modulus, _ in _SIEVES)


@functools.cache
def _roca_residues() -> tuple[tuple[int, int], ...]:
    """For each prime p the powers of 65537 modulo p, as a bit mask. Nemec et al., CCS 2017, section 3.

    A prime that 65537 generates completely says nothing and is left out.
    """
    marks: list[tuple[int, int]] = []
    for prime in _ROCA_PRIMES:
        mask, power = 0, 1
        while not mask >> power & 1:
            mask |= 1 << power
            power = power * 65537 % prime
        if mask.bit_count() < prime - 1:
            marks.append((prime, mask))
    return tuple(marks)


def has_roca_fingerprint(modulus: int) -> bool:
    """Is `modulus` of the form that the library of CVE-2017-15361 makes? One in 2^27 or fewer others is."""
    return all(mask >> (modulus % prime) & 1 for prime, mask in _roca_residues())


def has_close_primes(modulus: int) -> bool:
    """Does Fermat's method factor `modulus` within a few rounds?

    It looks for a number whose square is a square away from the modulus. Small residues tell which one cannot be.
    """
    middle = math.isqrt(modulus)
    middle += middle * middle < modulus
    distance = (middle * middle - modulus) % _SIEVE_PRODUCT
    step = 2 * (middle % _SIEVE_PRODUCT)
    for further in range(_FERMAT_ROUNDS):
        residue = distance + further * (step + further)
        if _SQUARES_MODULO_64 >> (residue & 63) & 1 and all(
            squares >> (residue % sieve) & 1 for sieve, squares in _SIEVES
        ):
            square = (middle + further) ** 2 - modulus
            if math.isqrt(square) ** 2 == square:
                return True
    return False


def weaknesses(key: PublicKeyInfo) -> tuple[KeyWeakness, ...]:
    """What is known to be wrong with a key of its length; empty for keys other than RSA."""
    if key.kind is not KeyKind.RSA:
        return ()
    found: list[KeyWeakness] = []
    if key.exponent == 1 or key.exponent % 2 == 0:
        found.append(KeyWeakness.EVEN_EXPONENT)
    if key.modulus % 2 == 0:
        return (*found, KeyWeakness.EVEN_MODULUS)
    if math.gcd(key.modulus, _SMALL_PRODUCT) != 1:
        found.append(KeyWeakness.SMALL_FACTOR)
    if has_roca_fingerprint(key.modulus):
        found.append(KeyWeakness.ROCA)
    if has_close_primes(key.modulus):
        found.append(KeyWeakness.CLOSE_PRIMES)
    return tuple(found)
