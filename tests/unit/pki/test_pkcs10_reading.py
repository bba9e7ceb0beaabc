"""Two readers of requests that must never disagree: what the strict one takes, the other takes too. X.690 11."""

from __future__ import annotations

import random

import pytest

from certwright.pki import pkcs10_reading
from certwright.pki.errors import EncodingError
from certwright.pki.pkcs10_reading import Parts
from tests.support import requests
from tests.support.requests import tlv

USUAL = {
    "a web server's, P-256": requests.web_server_request("web.corp.example", "www.corp.example"),
    "a web server's, RSA": requests.web_server_request(key=requests.rsa_key()),
    "P-384 and SHA-384": requests.make_request(requests.ec_key("P-384"), hash_name="sha384"),
    "Ed25519": requests.make_request(requests.ed25519.Ed25519PrivateKey.generate()),
    "a long one, with a critical extension": requests.web_server_request(
        *(f"host-{number}.corp.example" for number in range(40)), extensions=[requests.key_usage(b"\xa0")]
    ),
    "Microsoft's own extension attribute": requests.make_request(
        attributes=[
            requests.extensions_attribute(
                requests.template_name_extension("User"), identifier=requests.MICROSOFT_EXTENSIONS
            )
        ]
    ),
    "Windows' attributes, sorted": requests.make_request(
        subject=requests.name(("DC", "example"), ("O", "Corp"), ("CN", "Alice")),
        attributes=sorted(
            [
                *requests.windows_attributes(),
                requests.extensions_attribute(requests.template_extension("1.3.6.1.4.1.311.21.8.1", 100, 4)),
            ]
        ),
    ),
    "no attribute": requests.make_request(subject=requests.name(("CN", "web.corp.example"))),
}
SLOPPY = {
    "attributes as the client pleased": requests.make_request(
        attributes=sorted(requests.windows_attributes(), reverse=True)
    ),
    "an attribute with two values": requests.make_request(
        attributes=[requests.name_value_pairs(("a", "b"), ("c", "d"))]
    ),
    "no attributes field": requests.signed(
        requests.sequence(requests.integer(0), requests.name(("CN", "web")), requests.spki(requests.ec_key())),
        requests.ec_key(),
    ),
    "FALSE written out": requests.make_request(
        extensions=[requests.sequence(requests.oid("2.5.29.37"), b"\x01\x01\x00", requests.octets(b"\x30\x00"))]
    ),
    "an extension twice": requests.make_request(
        extensions=[requests.key_usage(b"\x80"), requests.key_usage(b"\x80")]
    ),
    "a tag number above 30 as value": requests.make_request(
        attributes=[requests.attribute("1.2.3.4", b"\x1f\x81\x00\x00")]
    ),
    "101 attributes": requests.make_request(
        attributes=sorted(requests.attribute(f"1.2.3.{number}", b"\x05\x00") for number in range(101))
    ),
    "another version": requests.make_request(version=1),
    "a set for a subject": requests.make_request(subject=tlv(0x31)),
    "an OID beyond our limit": requests.make_request(
        attributes=[requests.attribute("1.2" + ".1234567" * 20, b"\x05\x00")]
    ),
}


def what_happens(read: object, data: bytes) -> Parts | tuple[type[Exception], str] | None:
    try:
        return read(data)  # type: ignore[operator,no-any-return]
    except EncodingError as error:
        return type(error), str(error)


@pytest.mark.parametrize("data", USUAL.values(), ids=USUAL)
def test_usual_requests_go_the_short_way(data: bytes) -> None:
    assert pkcs10_reading._read_strict(data) == pkcs10_reading._read(data)


@pytest.mark.parametrize("data", SLOPPY.values(), ids=SLOPPY)
def test_other_requests_go_the_long_way(data: bytes) -> None:
    """There some are read, and the others refused with a reason."""
    assert pkcs10_reading._read_strict(data) is None


@pytest.mark.parametrize("data", [*USUAL.values(), *SLOPPY.values()], ids=[*USUAL, *SLOPPY])
def test_the_readers_never_disagree_on_damaged_requests(data: bytes) -> None:
    """Neither about the parts nor about the reason for a refusal."""
    seeded = random.Random(data)
    taken = 0
    for _ in range(400):
        damaged = bytearray(data)
        for _ in range(seeded.choice((1, 1, 1, 2, 3))):
            place = seeded.randrange(len(damaged))
            match seeded.randrange(4):
                case 0:
                    damaged[place] ^= 1 << seeded.randrange(8)
                case 1:
                    damaged[place] = seeded.choice((0x00, 0x1F, 0x30, 0x31, 0x7F, 0x80, 0x81, 0xA0, 0xFF))
                case 2:
                    del damaged[place]
                case _:
                    damaged.insert(place, seeded.randrange(256))
        short = what_happens(pkcs10_reading._read_strict, bytes(damaged))
        if short is not None:
            taken += 1
            assert short == what_happens(pkcs10_reading._read, bytes(damaged))
    assert taken or data in SLOPPY.values()
