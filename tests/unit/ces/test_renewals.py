"""What says of itself that it is a renewal. [MS-WCCE] 3.2.1.4.2.1.4.2.1."""

from __future__ import annotations

import pytest

from certwright.ces.renewals import is_renewal
from tests.support.certificates import make_certificate
from tests.support.messages import by_certificate, by_new_key, in_cmc, in_cms, renewing
from tests.support.requests import ec_key, make_request

OLD, NEW = ec_key("P-256", 51), ec_key("P-256", 52)
CERTIFICATE = make_certificate("CN=old", OLD)
RENEWAL = make_request(NEW, attributes=[renewing(CERTIFICATE)])
BY_OLD = by_certificate(OLD, CERTIFICATE)


@pytest.mark.parametrize(
    ("request_bytes", "expected"),
    [
        (in_cms(RENEWAL, BY_OLD, certificates=(CERTIFICATE,)), True),
        (in_cmc(RENEWAL, signings=(by_new_key(NEW), BY_OLD), certificates=(CERTIFICATE,)), True),
        (in_cms(make_request(NEW), BY_OLD, certificates=(CERTIFICATE,)), False),
        (in_cmc(make_request(NEW), signings=(by_new_key(NEW),)), False),
        (in_cmc(RENEWAL, RENEWAL, signings=(by_new_key(NEW),)), False),
        (in_cmc(signings=(by_new_key(NEW),)), False),
        (RENEWAL, False),  # nobody signed it with the old key
        (b"", False),
        (b"\x30\x80", False),
        (bytes(70_000), False),
    ],
)
def test_what_is_a_renewal(request_bytes: bytes, expected: bool) -> None:
    assert is_renewal(request_bytes) is expected
