"""Cross certificates as directories hold them. RFC 4523 2.8."""

from __future__ import annotations

import subprocess

import pytest

from certwright.pki.certificate_pair import CertificatePair
from certwright.pki.errors import EncodingError
from tests.support.certificates import ca_certificate, make_certificate
from tests.support.requests import ec_key

CERTIFICATE = ca_certificate()
OTHER = make_certificate("CN=Other CA", ec_key("P-256", 101))


@pytest.mark.parametrize("pair", [(CERTIFICATE, OTHER), (CERTIFICATE, b""), (b"", OTHER)])
def test_a_pair_is_read_as_it_was_written(pair: tuple[bytes, bytes]) -> None:
    assert CertificatePair.parse(CertificatePair(*pair).encode()) == pair


def test_the_forward_one_is_tagged_0_and_the_reverse_one_1() -> None:
    """As OpenSSL reads it."""
    encoded = CertificatePair(CERTIFICATE, OTHER).encode()
    done = subprocess.run(
        ["openssl", "asn1parse", "-inform", "DER"], input=encoded, capture_output=True, check=True, timeout=60
    )
    tagged = [line for line in done.stdout.decode().splitlines() if "d=1 " in line]
    assert [line.rpartition("cont ")[2].strip().rstrip("]").strip("[ ") for line in tagged] == ["0", "1"]


@pytest.mark.parametrize("data", [b"", b"\x30\x00", b"\x30\x02\xa2\x00", CERTIFICATE, b"\x30\x02\xa0\x00\x00"])
def test_what_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(EncodingError):
        CertificatePair.parse(data)
