"""Whether a request is a renewal, for addresses that take nothing else. [MS-WCCE] 3.2.1.4.2.1.4.2.1.

Only what it says of itself: that the old certificate signed, is ours and holds, the CA finds out.
"""

from __future__ import annotations

from typing import Final

from certwright.pki import ber, oids
from certwright.pki.cmc import PkiData
from certwright.pki.errors import EncodingError
from certwright.pki.pkcs10 import CertificationRequest
from certwright.pki.signed_data import SignedData

_MAX_REQUEST: Final = 65536


def is_renewal(request: bytes) -> bool:
    """Does the message hold one PKCS#10 that names the certificate it renews? What cannot be read is none."""
    try:
        message = SignedData.parse(ber.to_der(request, max_octets=_MAX_REQUEST))
        content = message.content or b""
        if message.content_type == oids.CMC_PKI_DATA:
            data = PkiData.parse(content)
            if len(data.requests) != 1:
                return False
            content = data.requests[0][1]
        return CertificationRequest.parse(content).renewal_certificate is not None
    except EncodingError:
        return False
