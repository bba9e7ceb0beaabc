"""Whether a request is a renewal, for addresses that take nothing else. [MS-WCCE] 3.2.1.4.2.1.4.2.1.

Only what it says of itself: that the old certificate signed, is ours and holds, the CA finds out.
"""

from __future__ import annotations

from certwright.pki.errors import EncodingError
from certwright.pki.inner_requests import inner_request, is_signed_message


def is_renewal(request: bytes) -> bool:
    """Does the message hold one PKCS#10 that names the certificate it renews? What cannot be read is none."""
    try:
        return is_signed_message(request) and inner_request(request).renewal_certificate is not None
    except EncodingError:
        return False
