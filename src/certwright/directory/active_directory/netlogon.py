"""In which site are we? Asked of a controller over UDP. [MS-ADTS] 6.3.3 (LDAP ping), 6.3.1.9, RFC 1798 (CLDAP).

The answer is not authenticated. It only chooses among controllers, each of which has to prove itself afterwards.
"""

from __future__ import annotations

import secrets
import socket
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from certwright.pki import der

PORT: Final = 389
_VERSION_5EX: Final = 0x6  # NETLOGON_NT_VERSION_5 and _5EX. [MS-ADTS] 6.3.1.1
_SAM_LOGON_RESPONSES_EX: Final = (0x17, 0x19)  # 0x19: for an account nobody has
_MAX_ANSWER: Final = 4096
_MAX_LABELS: Final = 128
_FIXED_PART: Final = 24  # opcode, sbz, flags, domain GUID
_SEARCH_REQUEST, _SEARCH_ENTRY, _AND, _EQUALITY = 0x63, 0x64, 0xA0, 0xA3


class NetlogonAnswer(NamedTuple):
    """NETLOGON_SAM_LOGON_RESPONSE_EX, as far as anybody needs it. [MS-ADTS] 6.3.1.9."""

    dns_forest: str
    dns_domain: str
    dns_host: str
    netbios_domain: str
    controller_site: str
    client_site: str


def ask_site(controller: str, dns_domain: str, timeout: float) -> str:
    """The site of this host as a controller sees it; empty when it does not answer, or does not know."""
    answer = ping(controller, dns_domain, timeout)
    return answer.client_site if answer is not None else ""


def ping(controller: str, dns_domain: str, timeout: float, port: int = PORT) -> NetlogonAnswer | None:
    """Ask one controller for itself; none when it does not answer in time, or not understandably."""
    number = secrets.randbelow(0x7FFF_FFFF) + 1
    try:
        address = socket.getaddrinfo(controller, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(*address[:3]) as link:
            link.settimeout(timeout)
            link.connect(address[4])
            link.send(encode_ping(number, dns_domain))
            return decode_answer(link.recv(_MAX_ANSWER), number)
    except (OSError, ValueError):
        return None


def encode_ping(number: int, dns_domain: str) -> bytes:
    """The search that asks for the attribute Netlogon. [MS-ADTS] 6.3.3.2."""

    def equals(name: bytes, value: bytes) -> bytes:
        return der.tlv(_EQUALITY, der.octet_string(name) + der.octet_string(value))

    search = b"".join(
        (
            der.octet_string(b""),
            der.enumerated(0),  # base
            der.enumerated(0),
            der.integer(0),
            der.integer(0),
            der.boolean(False),
            der.tlv(
                _AND,
                equals(b"DnsDomain", dns_domain.encode()) + equals(b"NtVer", struct.pack("<I", _VERSION_5EX)),
            ),
            der.sequence(der.octet_string(b"Netlogon")),
        )
    )
    return der.sequence(der.integer(number), der.tlv(_SEARCH_REQUEST, search))


def decode_answer(data: bytes, number: int) -> NetlogonAnswer:
    """The answer to the question of that number.

    Raises:
        ValueError: it is cut off, the answer to something else, or of a form we did not ask for.
    """
    message = _only(data, 0x30)
    parts = _elements(message)
    if int.from_bytes(_next(parts, 0x02), "big") != number:
        raise ValueError("the answer to another question")
    entry = _elements(_next(parts, _SEARCH_ENTRY))
    _next(entry, 0x04)
    for attribute in _all(_next(entry, 0x30), 0x30):
        pair = _elements(attribute)
        if _next(pair, 0x04).lower() == b"netlogon":
            return _decode_response(_next(_elements(_next(pair, 0x31)), 0x04))
    raise ValueError("the answer has no Netlogon")


def _decode_response(data: bytes) -> NetlogonAnswer:
    if len(data) < _FIXED_PART or struct.unpack_from("<H", data)[0] not in _SAM_LOGON_RESPONSES_EX:
        raise ValueError("no NETLOGON_SAM_LOGON_RESPONSE_EX")
    names, offset = [], _FIXED_PART
    for _ in range(8):
        name, offset = _name(data, offset)
        names.append(name)
    forest, domain, host, netbios, _computer, _user, controller_site, client_site = names
    return NetlogonAnswer(forest, domain, host, netbios, controller_site, client_site)


def _name(data: bytes, offset: int) -> tuple[str, int]:
    """A name as DNS compresses it, and where the next one begins. RFC 1035 4.1.4."""
    labels: list[bytes] = []
    after = -1
    for _ in range(_MAX_LABELS):
        if offset >= len(data):
            raise ValueError("a name is cut off")
        length = data[offset]
        if length & 0xC0 == 0xC0:
            if offset + 2 > len(data):
                raise ValueError("a name is cut off")
            after = offset + 2 if after < 0 else after
            offset = struct.unpack_from(">H", data, offset)[0] & 0x3FFF
            continue
        offset += 1
        if length == 0:
            return b".".join(labels).decode("utf-8"), after if after >= 0 else offset
        if length > 63 or offset + length > len(data):
            raise ValueError("a name is cut off")
        labels.append(data[offset : offset + length])
        offset += length
    raise ValueError("a name has no end")


# LDAP's BER, which may say a length in more octets than it takes. RFC 4511 5.1


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset < len(data):
        if offset + 2 > len(data):
            raise ValueError("an element is cut off")
        tag, length = data[offset], data[offset + 1]
        offset += 2
        if length & 0x80:
            octets = length & 0x7F
            if not 1 <= octets <= 4 or offset + octets > len(data):
                raise ValueError("a length is cut off, or indefinite")
            length = int.from_bytes(data[offset : offset + octets], "big")
            offset += octets
        if offset + length > len(data):
            raise ValueError("an element is cut off")
        yield tag, data[offset : offset + length]
        offset += length


def _next(elements: Iterator[tuple[int, bytes]], tag: int) -> bytes:
    found = next(elements, None)
    if found is None or found[0] != tag:
        raise ValueError(f"no element {tag:#x}")
    return found[1]


def _only(data: bytes, tag: int) -> bytes:
    return _next(_elements(data), tag)


def _all(data: bytes, tag: int) -> Iterator[bytes]:
    for found, content in _elements(data):
        if found == tag:
            yield content
