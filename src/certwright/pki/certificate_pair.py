"""Cross certificates as directories hold them: the attribute crossCertificatePair. RFC 4523 2.8, X.509 11.2.3."""

from __future__ import annotations

from typing import NamedTuple, Self

from certwright.pki import der
from certwright.pki.errors import EncodingError


class CertificatePair(NamedTuple):
    """Two certificates, one of them maybe missing (empty), both DER.

    Args:
        issued_to: what another key, or CA, issued to this one: the forward one.
        issued_by: what this one issued to the other: the reverse one.
    """

    issued_to: bytes = b""
    issued_by: bytes = b""

    def encode(self) -> bytes:
        """`CertificatePair ::= SEQUENCE { issuedToThisCA [0], issuedByThisCA [1] }`, both explicitly tagged."""
        both = ((0, self.issued_to), (1, self.issued_by))
        return der.sequence(*(der.explicit(tag, certificate) for tag, certificate in both if certificate))

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Raises:
        EncodingError: it is none, or an empty one.
        """
        reader = der.Reader.of(data, what="certificate pair")
        found = []
        for tag in (0xA0, 0xA1):
            found.append(reader.content(tag) if reader.next_tag == tag else b"")
        reader.finish()
        if not any(found):
            raise EncodingError("certificate pair: there is no certificate in it")
        return cls(*found)
