"""The PKCS#10 in whatever a client hands in: bare, in CMS, in CMC. [MS-WCCE] 3.2.1.4.2.1.4.1; RFC 5272 3.2.1.2.

Nothing is verified: this is for whoever made the request, or wants to know what it says of itself.
"""

from __future__ import annotations

from typing import Final

from certwright.pki import ber, der, oids
from certwright.pki.cmc import PkiData
from certwright.pki.errors import EncodingError
from certwright.pki.pkcs10 import CertificationRequest
from certwright.pki.signed_data import SignedData

MAX_REQUEST: Final = 65536
_SIGNED_DATA: Final = der.oid(oids.CMS_SIGNED_DATA)
_HEAD: Final = 32  # octets within which the content type of any ContentInfo begins


def is_signed_message(data: bytes) -> bool:
    """CMS, by how it begins."""
    return _SIGNED_DATA in data[:_HEAD]


def inner_request(data: bytes) -> CertificationRequest:
    """The one PKCS#10 of a request.

    Raises:
        EncodingError: there is none, or several, or something is malformed or too long.
    """
    if not is_signed_message(data):
        return CertificationRequest.parse(data)
    message = SignedData.parse(ber.to_der(data, max_octets=MAX_REQUEST))
    content = message.content or b""
    if message.content_type == oids.CMC_PKI_DATA:
        requests = PkiData.parse(content).requests
        if len(requests) != 1:
            raise EncodingError(f"CMC: it holds {len(requests)} requests, and one is expected")
        content = requests[0][1]
    return CertificationRequest.parse(content)
