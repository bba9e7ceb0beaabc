"""Online Certificate Status Protocol: requests read, responses written. RFC 6960 4, RFC 5019, RFC 9654 (nonces).

Requests are DER and bounded; a request's CertIDs stay the bytes they came as, because clients compare what they sent
with what they get. Which certificate is good is decided above. Responses are put together from parts that are DER
already and signed once.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from typing import Final, NamedTuple

from certwright.pki import der, oids
from certwright.pki.certificate import CertificateView
from certwright.pki.errors import EncodingError
from certwright.pki.extensions import extension, parse_extensions
from certwright.pki.signatures import Signer

MAX_CERT_IDS: Final = 256
"""CertIDs in one message that are read at all."""
MAX_NONCE: Final = 128
"""Octets of a nonce. RFC 9654 2.1."""
_MAX_SERIAL: Final = 32  # octets; RFC 5280 lets 20 be issued, and a few more may be asked for

HASHES: Final = {"sha1": oids.SHA1, "sha256": oids.SHA256}
"""What CertIDs may be hashed with, by the names of the settings."""


class ResponseStatus(IntEnum):
    """OCSPResponseStatus. RFC 6960 4.2.1."""

    SUCCESSFUL = 0
    MALFORMED_REQUEST = 1
    INTERNAL_ERROR = 2
    TRY_LATER = 3
    SIG_REQUIRED = 5
    UNAUTHORIZED = 6


class TooManyCertIds(EncodingError):
    """A request asks for more certificates than are read at a time."""


# -- requests --------------------------------------------------------------------------------------------------------


class CertId(NamedTuple):
    """Which certificate: its issuer by hashes of name and key, and its serial number."""

    der: bytes
    hash_oid: str
    name_hash: bytes
    key_hash: bytes
    serial: int


class OcspRequest(NamedTuple):
    """One message. A signature is not looked at: anybody may ask."""

    cert_ids: tuple[CertId, ...]
    nonce: bytes | None  # the extension's value, to be given back as it came
    critical: tuple[str, ...]  # OIDs of critical extensions other than the nonce
    is_signed: bool


def parse_request(data: bytes) -> OcspRequest:
    """Read an OCSPRequest. RFC 6960 4.1.1.

    Raises:
        TooManyCertIds: more than MAX_CERT_IDS are asked for.
        EncodingError: it is malformed: cut off, followed by something, of another version, without a CertID.
    """
    return _usual_request(data) or _parse_request(data)


def _usual_request(data: bytes) -> OcspRequest | None:
    """A request for one certificate, alone or with a nonce, which nearly all are; None for a closer look.

    What it reads, `_parse_request` reads the same way, in five times the time.
    """
    start, end = 0, len(data)
    if end < _SHORTEST or end > 0xFF:
        return None
    for _ in range(2):  # OCSPRequest, TBSRequest: each is all there is
        length = data[start + 1]
        if data[start] != der.SEQUENCE:
            return None
        start += 2
        if length == 0x81:
            length = data[start]
            start += 1
            if length < 0x80:
                return None
        elif length > 0x80:
            return None
        if start + length != end:
            return None
    length = data[start + 1]  # requestList, Request, CertID: each is all of the one around it
    stop = start + 2 + length
    if (
        length >= 0x80
        or stop > end
        or data[start] != der.SEQUENCE
        or data[start + 2] != der.SEQUENCE
        or data[start + 3] != length - 2
        or data[start + 4] != der.SEQUENCE
        or data[start + 5] != length - 4
        or length < _SHORTEST_ID
    ):
        return None
    cert_id_start = start + 4
    place = cert_id_start + 2
    for _ in range(3):  # hash algorithm, hash of the name, hash of the key
        place += 2 + data[place + 1]
        if place + 3 > stop:
            return None
    octets = data[place + 1]
    if data[place] != der.INTEGER or octets > _MAX_SERIAL or place + 2 + octets != stop:
        return None
    first, second = data[place + 2], data[place + 3] if octets > 1 else 0x80
    if first >= 0x80 or (first == 0 and second < 0x80):  # negative, or not minimal
        return None
    head = _usual_head(data[cert_id_start + 2 : place])
    if head is None:
        return None
    nonce: bytes | None = None
    if stop != end:
        length = data[stop + 1] if stop + _SHORTEST_NONCE <= end else 0
        value = stop + 19
        if (
            data[stop] != 0xA2
            or length >= 0x80
            or stop + 2 + length != end
            or data[stop + 2 : stop + 18] != bytes((0x30, length - 2, 0x30, length - 4)) + _NONCE_HEAD
            or data[stop + 18] != length - 17
        ):
            return None
        nonce = data[value:end]
        if length < 20 or nonce[0] != der.OCTET_STRING or nonce[1] != length - 19:
            nonce = _checked_nonce(nonce)
    serial = int.from_bytes(data[place + 2 : stop], "big")
    return OcspRequest((CertId(data[cert_id_start:stop], *head, serial),), nonce, (), False)


_SHORTEST: Final = 64
_SHORTEST_ID: Final = 50
_SHORTEST_NONCE: Final = 20
_NONCE_OID: Final = der.oid(oids.OCSP_NONCE)
_NONCE_HEAD: Final = _NONCE_OID + bytes((der.OCTET_STRING,))


@functools.lru_cache(maxsize=1024)
def _usual_head(head: bytes) -> tuple[str, bytes, bytes] | None:
    """What stands before a CertID's serial number, the same for all certificates of an issuer."""
    try:
        read = _cert_id(der.sequence(head, b"\x02\x01\x01"))
    except EncodingError:
        return None
    return read.hash_oid, read.name_hash, read.key_hash


def _parse_request(data: bytes) -> OcspRequest:
    outer = der.Reader.of(data, what="OCSP request")
    body = outer.enter()
    is_signed = outer.optional(0xA0) is not None
    outer.finish()
    if body.next_tag == 0xA0:
        version = body.enter(0xA0)
        number = version.integer()
        version.finish()
        if number != 0:
            raise EncodingError(f"OCSP request: version {number + 1} is not known")
    body.optional(0xA1)  # the requester's name proves nothing
    requests = body.enter()
    cert_ids: list[CertId] = []
    critical: list[str] = []
    while requests.next_tag != -1:
        if len(cert_ids) == MAX_CERT_IDS:
            raise TooManyCertIds(f"OCSP request: more than {MAX_CERT_IDS} certificates are asked for")
        single = requests.enter()
        cert_ids.append(_cert_id(single.whole(der.SEQUENCE)))
        if single.next_tag == 0xA0:
            found = parse_extensions(single.content(0xA0))
            critical += [oid for oid, each in found.items() if each.critical]
        single.finish()
    if not cert_ids:
        raise EncodingError("OCSP request: it asks for no certificate")
    nonce: bytes | None = None
    if body.next_tag == 0xA2:
        for oid, each in parse_extensions(body.content(0xA2)).items():
            if oid == oids.OCSP_NONCE:
                nonce = _checked_nonce(each.value)
            elif each.critical:
                critical.append(oid)
    body.finish()
    return OcspRequest(tuple(cert_ids), nonce, tuple(critical), is_signed)


def _cert_id(data: bytes) -> CertId:
    reader = der.Reader.of(data, what="CertID")
    algorithm = reader.enter()
    hash_oid = algorithm.oid()
    if algorithm.next_tag != -1 and algorithm.content(der.NULL):
        raise EncodingError("CertID: its hash algorithm has parameters")  # they would make copies of one question
    algorithm.finish()
    name_hash, key_hash = reader.content(der.OCTET_STRING), reader.content(der.OCTET_STRING)
    serial = reader.content(der.INTEGER)
    reader.finish()
    if len(serial) > _MAX_SERIAL:
        raise EncodingError(f"CertID: a serial number of {len(serial)} octets")
    return CertId(data, hash_oid, name_hash, key_hash, der.decode_integer(serial))


def _checked_nonce(value: bytes) -> bytes:
    """The nonce is an OCTET STRING of 1 to 128 octets; clients older than RFC 6960 write the octets bare.

    Raises:
        EncodingError: it is empty or longer. RFC 9654 2.1 wants such a request called malformed.
    """
    length = len(value)
    if value[:1] == bytes((der.OCTET_STRING,)):
        try:
            length = len(der.require_single(value, der.OCTET_STRING, "nonce").content(value))
        except EncodingError:
            length = len(value)  # bare octets that happen to begin so
    if not 1 <= length <= MAX_NONCE:
        raise EncodingError(f"OCSP request: a nonce of {length} octets; 1 to {MAX_NONCE} are allowed")
    return value


def issuer_hashes(issuer: CertificateView, hash_oid: str) -> tuple[bytes, bytes]:
    """What a CertID says of this issuer: hashes of its name and of its key. RFC 6960 4.1.1."""
    if hash_oid == oids.SHA1:
        algorithm = "sha1"
    elif hash_oid == oids.SHA256:
        algorithm = "sha256"
    else:
        raise ValueError(f"no CertID is hashed with {oids.name_of(hash_oid)} here")
    return (
        hashlib.new(algorithm, issuer.subject, usedforsecurity=False).digest(),
        hashlib.new(algorithm, issuer.public_key.key, usedforsecurity=False).digest(),
    )


def cert_id(issuer: CertificateView, serial: int, hash_oid: str = oids.SHA1) -> bytes:
    """A CertID as OpenSSL and Windows write it, with NULL parameters."""
    name_hash, key_hash = issuer_hashes(issuer, hash_oid)
    algorithm = der.sequence(der.oid(hash_oid), der.null())
    return der.sequence(algorithm, der.octet_string(name_hash), der.octet_string(key_hash), der.integer(serial))


def usual_cert_ids(issuer: CertificateView, serials: Iterable[int]) -> Iterator[CertId]:
    """CertIDs of one issuer's certificates with SHA-1, which is what nearly all clients ask with."""
    name_hash, key_hash = issuer_hashes(issuer, oids.SHA1)
    algorithm = der.sequence(der.oid(oids.SHA1), der.null())
    head = algorithm + der.octet_string(name_hash) + der.octet_string(key_hash)
    for serial in serials:
        yield CertId(der.sequence(head, der.integer(serial)), oids.SHA1, name_hash, key_hash, serial)


def encode_request(cert_ids: Iterable[bytes], nonce: bytes | None = None) -> bytes:
    """An unsigned OCSPRequest. `nonce` are its bare octets."""
    requests = der.sequence(*(der.sequence(each) for each in cert_ids))
    extensions = b""
    if nonce is not None:
        extensions = der.explicit(2, der.sequence(nonce_extension(der.octet_string(nonce))))
    return der.sequence(der.sequence(requests, extensions))


# -- responses -------------------------------------------------------------------------------------------------------

GOOD: Final = b"\x80\x00"
UNKNOWN: Final = b"\x82\x00"


def revoked(when: datetime, reason: int = 0) -> bytes:
    """CertStatus of a revoked certificate; reason 0 is left out, as in CRLs."""
    code = der.explicit(0, der.enumerated(reason)) if reason else b""
    return der.tlv(0xA1, generalized_time(when) + code)


@functools.lru_cache(maxsize=4096)
def generalized_time(when: datetime) -> bytes:
    """Whole seconds, Z. Every time in a response is written so, before 2050 too."""
    return der.tlv(der.GENERALIZED_TIME, f"{when.astimezone(UTC):%Y%m%d%H%M%S}Z".encode("ascii"))


def single_response(
    cert_id_der: bytes, status: bytes, this_update: datetime, next_update: datetime, extensions: bytes = b""
) -> bytes:
    """A SingleResponse. `extensions` is the concatenation of Extension values."""
    rest = _rest_of_single(this_update, next_update, extensions)
    return b"%s%s%s%s" % (
        _header(der.SEQUENCE, len(cert_id_der) + len(status) + len(rest)),
        cert_id_der,
        status,
        rest,
    )


@functools.lru_cache(maxsize=1024)
def _rest_of_single(this_update: datetime, next_update: datetime, extensions: bytes) -> bytes:
    """The same for all that is answered within a second."""
    return b"".join(
        (
            generalized_time(this_update),
            der.explicit(0, generalized_time(next_update)),
            der.explicit(1, der.tlv(der.SEQUENCE, extensions)) if extensions else b"",
        )
    )


def archive_cutoff(when: datetime) -> bytes:
    """The extension that says since when revocations are kept past expiry. RFC 6960 4.4.4."""
    return extension(oids.OCSP_ARCHIVE_CUTOFF, generalized_time(when))


def extended_revoke() -> bytes:
    """The extension by which a responder says that it calls revoked what was never issued. RFC 6960 4.4.8."""
    return extension(oids.OCSP_EXTENDED_REVOKE, der.null())


def nonce_extension(value: bytes) -> bytes:
    """The nonce of a request in its response."""
    return _nonce_head(len(value)) + value


@functools.lru_cache(maxsize=256)
def _nonce_head(length: int) -> bytes:
    inner = _NONCE_HEAD + der.header(der.OCTET_STRING, length)[1:]
    return der.header(der.SEQUENCE, len(inner) + length) + inner


@dataclass(frozen=True, slots=True)
class ResponseSigner:
    """Who signs: key, ResponderID and the certificates sent along, all but the key encoded once."""

    signer: Signer
    sign: Callable[[bytes], bytes]
    responder_id: bytes
    certificates: bytes  # [0] EXPLICIT, or empty

    @classmethod
    def of(
        cls, signer: Signer, certificate: CertificateView, *, by_name: bool = False, send: bool = True
    ) -> ResponseSigner:
        """A signer with `certificate`. It is sent along unless it is the CA's own, which every client has.

        Clients in Go read the first certificate only, so there is never a second one.
        """
        if by_name:
            responder_id = der.explicit(1, certificate.subject)
        else:
            responder_id = der.explicit(2, der.octet_string(certificate.public_key.key_identifier))
        sent = der.explicit(0, der.sequence(certificate.der)) if send else b""
        return cls(signer, signer.ready(), responder_id, sent)

    def response(self, produced_at: datetime, singles: bytes, extensions: bytes = b"") -> bytes:
        """A successful OCSPResponse around concatenated SingleResponses. RFC 6960 4.2.1.

        Args:
            extensions: concatenated Extension values of the whole response.
        """
        listed = _header(der.SEQUENCE, len(singles)) + singles
        if extensions:
            extensions = _head_of_extensions(len(extensions)) + extensions
        body = self.responder_id + generalized_time(produced_at) + listed + extensions
        data = _header(der.SEQUENCE, len(body)) + body
        signature = self.sign(data)
        bits = _header(der.BIT_STRING, len(signature) + 1)
        rest = b"%s%s\x00%s%s" % (self.signer.algorithm, bits, signature, self.certificates)
        return _before_basic(len(data) + len(rest)) + data + rest


_header = functools.lru_cache(maxsize=4096)(der.header)


@functools.lru_cache(maxsize=1024)
def _head_of_extensions(length: int) -> bytes:
    inner = der.header(der.SEQUENCE, length)
    return der.header(0xA1, len(inner) + length) + inner


@functools.lru_cache(maxsize=1024)
def _before_basic(length: int) -> bytes:
    """What stands before the contents of a BasicOCSPResponse that are so long: it depends on nothing else."""
    head = der.header(der.SEQUENCE, length)
    head = der.header(der.OCTET_STRING, len(head) + length) + head
    head = der.oid(oids.OCSP_BASIC) + head
    head = der.header(der.SEQUENCE, len(head) + length) + head
    head = der.header(0xA0, len(head) + length) + head
    head = der.enumerated(ResponseStatus.SUCCESSFUL) + head
    return der.header(der.SEQUENCE, len(head) + length) + head


def error_response(status: ResponseStatus) -> bytes:
    """An unsigned response that holds a status and nothing else: five bytes. RFC 6960 2.3."""
    return der.sequence(der.enumerated(status))
