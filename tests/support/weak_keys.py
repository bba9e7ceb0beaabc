"""Keys of broken generators, made anew: CVE-2017-15361 (ROCA)."""

from __future__ import annotations

import functools
import math
import random

from cryptography.hazmat.primitives.asymmetric import rsa

SEEDED = random.Random(15361)


def is_prime(number: int) -> bool:
    """Miller and Rabin, well enough for a test."""
    if number % 2 == 0 or any(number % p == 0 and number != p for p in (3, 5, 7, 11, 13)):
        return False
    odd, twos = number - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for _ in range(12):
        power = pow(SEEDED.randrange(2, number - 1), odd, number)
        if power in (1, number - 1):
            continue
        for _ in range(twos - 1):
            power = power * power % number
            if power == number - 1:
                break
        else:
            return False
    return True


def next_prime(number: int) -> int:
    number |= 1
    while not is_prime(number):
        number += 2
    return number


def primes_below(limit: int) -> list[int]:
    return [n for n in range(2, limit) if all(n % p for p in range(2, math.isqrt(n) + 1))]


def roca_prime(bits: int, count: int) -> int:
    """A prime as the flawed library makes it: k * M + (65537^a mod M), M the product of the first `count` primes."""
    primorial = math.prod(primes_below(800)[:count])
    while True:
        k = SEEDED.getrandbits(bits - primorial.bit_length()) | 1 << (bits - primorial.bit_length() - 1)
        candidate = k * primorial + pow(65537, SEEDED.getrandbits(200), primorial)
        if candidate.bit_length() == bits and is_prime(candidate):
            return candidate


@functools.cache
def roca_key() -> rsa.RSAPrivateKey:
    """An RSA-2048 key of the flawed library, which signs like any other."""
    p, q, e = roca_prime(1024, 126), roca_prime(1024, 126), 65537
    d = pow(e, -1, math.lcm(p - 1, q - 1))
    numbers = rsa.RSAPrivateNumbers(
        p=p,
        q=q,
        d=d,
        dmp1=rsa.rsa_crt_dmp1(d, p),
        dmq1=rsa.rsa_crt_dmq1(d, q),
        iqmp=rsa.rsa_crt_iqmp(p, q),
        public_numbers=rsa.RSAPublicNumbers(e, p * q),
    )
    return numbers.private_key()
