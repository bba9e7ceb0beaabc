"""Short ways for what is usual find what the long ways find, in what is whole and in what is damaged."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest

from certwright.pki import names, public_keys
from certwright.pki.errors import EncodingError
from certwright.pki.general_names import is_host_name
from tests.support import requests

NAMES = (
    requests.name(("CN", "web.corp.example")),
    requests.name(("DC", "example"), ("DC", "corp"), ("OU", "Büro"), ("CN", "Alice"), ("E", "alice@corp.example")),
    requests.name(("C", "NL"), ("O", "x" * 100), ("CN", "y" * 200)),
    requests.name(),
)
KEYS = (
    *(requests.ec_key("P-256", number) for number in range(2)),
    requests.ec_key("P-384"),
    requests.ec_key("P-521"),
    requests.ec_key("secp256k1"),
    requests.rsa_key(),
    requests.rsa_key(3072),
)


def damaged(data: bytes, times: int = 2000) -> Iterator[bytes]:
    yield data
    seeded = random.Random(data)
    for _ in range(times):
        changed = bytearray(data)
        place = seeded.randrange(min(len(changed), 60))
        match seeded.randrange(3):
            case 0:
                changed[place] ^= 1 << seeded.randrange(8)
            case 1:
                del changed[place]
            case _:
                changed.insert(place, seeded.randrange(256))
        yield bytes(changed)


def outcome(read: Callable[[bytes], object], data: bytes) -> object:
    try:
        return read(data)
    except EncodingError as error:
        return type(error), str(error)


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_names(name: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    short = [outcome(names._parse, each) for each in damaged(name)]
    monkeypatch.setattr(names, "_lone_attribute", lambda name, offset: None)

    assert short == [outcome(names._parse, each) for each in damaged(name)]


@pytest.mark.parametrize("key", KEYS, ids=range(len(KEYS)))
def test_public_keys(key: requests.PrivateKey) -> None:
    spki = requests.spki(key)

    for each in damaged(spki):
        assert outcome(public_keys.parse_public_key, each) == outcome(public_keys._parse, each)


@pytest.mark.parametrize("key", KEYS[:4] + KEYS[5:])
def test_approved_keys_go_the_short_way(key: requests.PrivateKey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(public_keys, "_parse", None)

    assert public_keys.parse_public_key(requests.spki(key)).bits >= 256


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("web", True),
        ("web.corp.example", True),
        ("a-b.c--d.xn--e", True),
        ("1.2.3.example", True),
        ("x" * 63 + ".example", True),
        (".".join(["x" * 49] * 5), True),
        ("", False),
        (".", False),
        ("web.", False),
        (".web", False),
        ("web..example", False),
        ("-web.example", False),
        ("web-.example", False),
        ("web_1.example", False),
        ("1.2.3.4", False),
        ("web.123", False),
        ("web.example\n", False),
        ("web.123\n", False),
        ("wéb.example", False),
        ("x" * 64 + ".example", False),
        (".".join(["x" * 50] * 5), False),
        ("*.corp.example", False),
    ],
)
def test_host_names(text: str, expected: bool) -> None:
    """RFC 1123 2.1: labels of letters, digits and inner hyphens; the last one is no number."""
    assert is_host_name(text) is expected
