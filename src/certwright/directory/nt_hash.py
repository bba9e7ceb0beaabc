"""The NT hash of a password: MD4 of its UTF-16 octets. RFC 1320, [MS-NLMP] 3.3.1 (NTOWFv1).

OpenSSL 3 keeps MD4 in a provider that is not loaded, so it is written out here. The hash is as good as the password
for NTLM: it is sealed before it is stored, and kept only for accounts marked for NTLM.
"""

from __future__ import annotations

import struct
from typing import Final

NT_HASH_OCTETS: Final = 16

_MASK: Final = 0xFFFFFFFF
_START: Final = (0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476)
_ROUNDS: Final = (
    # (constant, order of the message words, shifts)
    (0, tuple(range(16)), (3, 7, 11, 19)),
    (0x5A827999, (0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), (3, 5, 9, 13)),
    (0x6ED9EBA1, (0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15), (3, 9, 11, 15)),
)


def nt_hash(password: str) -> bytes:
    """16 octets. Half surrogate pairs are hashed as they are, as Windows does."""
    return md4(password.encode("utf-16-le", "surrogatepass"))


def md4(message: bytes) -> bytes:
    """RFC 1320."""
    padded = message + b"\x80" + bytes(-(len(message) + 9) % 64) + struct.pack("<Q", 8 * len(message))
    state = _START
    for start in range(0, len(padded), 64):
        words = struct.unpack_from("<16I", padded, start)
        a, b, c, d = state
        for number, (constant, order, shifts) in enumerate(_ROUNDS):
            for place, word in enumerate(order):
                if number == 0:
                    mixed = (b & c) | (~b & d)
                elif number == 1:
                    mixed = (b & c) | (b & d) | (c & d)
                else:
                    mixed = b ^ c ^ d
                total = (a + mixed + words[word] + constant) & _MASK
                shift = shifts[place % 4]
                a, b, c, d = d, ((total << shift) | (total >> (32 - shift))) & _MASK, b, c
        state = tuple((old + new) & _MASK for old, new in zip(state, (a, b, c, d), strict=True))  # type: ignore[assignment]
    return struct.pack("<4I", *state)
