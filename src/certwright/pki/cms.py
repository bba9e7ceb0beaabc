"""What every CMS message is wrapped in; and the certs-only one, a SignedData that nobody signed. RFC 5652 3, 5.1."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from certwright.pki import ber, der, oids
from certwright.pki.errors import EncodingError

MAX_CERTIFICATES: Final = 1000


def open_content_info(data: bytes, content_type: str, what: str) -> der.Reader:
    """A reader inside the content of one ContentInfo, BER or DER. RFC 5652 3.

    Args:
        what: how errors call that content.

    Raises:
        EncodingError: malformed, or of another type.
    """
    outer = der.Reader.of(ber.to_der(data), what="CMS")
    found = outer.oid()
    if found != content_type:
        raise EncodingError(f"CMS: expected {what}, found {oids.name_of(found)}")
    wrapped = outer.enter(0xA0)
    outer.finish()
    reader = wrapped.enter()
    wrapped.finish()
    return reader


def certs_only(certificates: Iterable[bytes], crls: Iterable[bytes] = ()) -> bytes:
    """The DER certificates, and CRLs if any, in the order given: leaf first is what readers like.

    `certificates` is a SET, which strict DER would sort; AD CS and OpenSSL keep the order, and readers show it.
    """
    lists = b"".join(crls)
    signed_data = der.sequence(
        der.integer(1),
        der.set_of(),
        der.sequence(der.oid(oids.CMS_DATA)),
        der.tlv(0xA0, b"".join(certificates)),
        der.tlv(0xA1, lists) if lists else b"",
        der.set_of(),
    )
    return der.sequence(der.oid(oids.CMS_SIGNED_DATA), der.explicit(0, signed_data))


def parse_certs_only(data: bytes) -> tuple[bytes, ...]:
    """The certificates of a SignedData, signed or not, in their order.

    Raises:
        EncodingError: it is no SignedData in DER.
    """
    outer = der.Reader.of(data, what="CMS")
    content_type = outer.oid()
    if content_type != oids.CMS_SIGNED_DATA:
        raise EncodingError(f"CMS: expected signed data, found {oids.name_of(content_type)}")
    signed_data = outer.enter(0xA0).enter()
    signed_data.integer()
    signed_data.read(der.SET)
    signed_data.read(der.SEQUENCE)
    certificates = signed_data.optional(0xA0)
    if certificates is None:
        return ()
    found = tuple(der.children(data, certificates, limit=MAX_CERTIFICATES))
    return tuple(child.whole(data) for child in found if child.tag == der.SEQUENCE)
