"""Certificate revocation lists: entries encoded once, lists written as a stream, finished lists read. RFC 5280 5.

[MS-CSRA] 3.1.4.1.6 for the extensions AD CS writes. A list of a million entries never lies in memory as objects:
entries come as finished DER, are hashed as they pass, and are signed by their hash. What belongs into a list is
decided above; times and numbers are parameters.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from types import MappingProxyType
from typing import BinaryIO, Final

from cryptography.hazmat.primitives import hashes

from certwright.pki import der, oids
from certwright.pki.certificate import CertificateView
from certwright.pki.der import Tlv
from certwright.pki.errors import EncodingError
from certwright.pki.extensions import (
    Extension,
    authority_key_identifier,
    ca_version,
    crl_distribution_points,
    decode_authority_key_identifier,
    decode_ca_version,
    decode_distribution_point_name,
    decode_next_crl_publish,
    distribution_point_name,
    extension,
    next_crl_publish,
    parse_extensions,
)
from certwright.pki.names import format_name, parse_name
from certwright.pki.public_keys import load_public_key
from certwright.pki.signatures import Signer, scheme_of

MEMORY_LIMIT: Final = 8 << 20
"""Bytes of a list under way that stay in memory before it is written to a temporary file."""


class CrlReason(IntEnum):
    """CRLReason. RFC 5280 5.3.1."""

    UNSPECIFIED = 0
    KEY_COMPROMISE = 1
    CA_COMPROMISE = 2
    AFFILIATION_CHANGED = 3
    SUPERSEDED = 4
    CESSATION_OF_OPERATION = 5
    CERTIFICATE_HOLD = 6
    REMOVE_FROM_CRL = 8
    PRIVILEGE_WITHDRAWN = 9
    AA_COMPROMISE = 10

    @property
    def label(self) -> str:
        """RFC 5280's own spelling: `keyCompromise`."""
        return _REASON_NAMES[self]


_REASON_NAMES: Final = {
    CrlReason.UNSPECIFIED: "unspecified",
    CrlReason.KEY_COMPROMISE: "keyCompromise",
    CrlReason.CA_COMPROMISE: "cACompromise",
    CrlReason.AFFILIATION_CHANGED: "affiliationChanged",
    CrlReason.SUPERSEDED: "superseded",
    CrlReason.CESSATION_OF_OPERATION: "cessationOfOperation",
    CrlReason.CERTIFICATE_HOLD: "certificateHold",
    CrlReason.REMOVE_FROM_CRL: "removeFromCRL",
    CrlReason.PRIVILEGE_WITHDRAWN: "privilegeWithdrawn",
    CrlReason.AA_COMPROMISE: "aACompromise",
}


# -- writing ---------------------------------------------------------------------------------------------------------


def encode_entry(serial: int, when: datetime, reason: int | None = None) -> bytes:
    """One member of revokedCertificates. Reason 0 is left out, as RFC 5280 5.3.1 asks.

    Raises:
        ValueError: the reason is no CRLReason, or `when` is naive.
    """
    extensions = b""
    if reason:
        code = der.enumerated(CrlReason(reason))
        extensions = der.sequence(extension(oids.CRL_REASON, code))
    return der.sequence(der.integer(serial), der.utc_or_generalized_time(when), extensions)


@dataclass(frozen=True, slots=True)
class CrlHead:
    """What stands before the entries. `next_update` is written always: RFC 5280 5.1.2.5."""

    issuer: bytes  # Name
    this_update: datetime
    next_update: datetime


def crl_extensions(
    *,
    authority_key_id: bytes,
    number: int,
    certificate_index: int = 0,
    key_index: int = 0,
    base_number: int | None = None,
    next_publish: datetime | None = None,
    freshest_crl: Sequence[str] = (),
    distribution_point: Sequence[str] = (),
    published_locations: Sequence[str] = (),
) -> bytes:
    """The extensions AD CS writes, concatenated. [MS-CSRA] 3.1.4.1.6.

    Args:
        base_number: makes it a delta CRL of that base.
        freshest_crl: URLs of the delta CRL; in a base only.
        distribution_point: URLs of a critical issuing distribution point.
        published_locations: LDAP URLs of 1.3.6.1.4.1.311.21.14.

    Raises:
        ValueError: a delta CRL with a freshest CRL.
    """
    if base_number is not None and freshest_crl:
        raise ValueError("a delta CRL cannot name a fresher one")
    parts = [
        extension(oids.AUTHORITY_KEY_IDENTIFIER, authority_key_identifier(authority_key_id)),
        extension(oids.CA_VERSION, ca_version(certificate_index, key_index)),
        extension(oids.CRL_NUMBER, der.integer(number)),
    ]
    if base_number is not None:
        parts.append(extension(oids.DELTA_CRL_INDICATOR, der.integer(base_number), critical=True))
    if next_publish is not None:
        parts.append(extension(oids.NEXT_CRL_PUBLISH, next_crl_publish(next_publish)))
    if freshest_crl:
        parts.append(extension(oids.FRESHEST_CRL, crl_distribution_points(freshest_crl)))
    if distribution_point:
        value = der.sequence(distribution_point_name(distribution_point))
        parts.append(extension(oids.ISSUING_DISTRIBUTION_POINT, value, critical=True))
    if published_locations:
        parts.append(extension(oids.PUBLISHED_CRL_LOCATIONS, crl_distribution_points(published_locations)))
    return b"".join(parts)


def write_crl(
    out: BinaryIO, head: CrlHead, entries: Iterable[bytes], total_length: int, extensions: bytes, signer: Signer
) -> None:
    """Write a finished version 2 CRL.

    `entries` are passed through once, in their order; `total_length` is the sum of their lengths, which a table knows
    before the first one is read. `out` needs no seek: the outer length depends on the signature, so the part that is
    signed waits in memory, or in a temporary file when it is large.

    Raises:
        ValueError: the entries are longer or shorter than `total_length`, or a time is naive.
    """
    body = b"".join(
        (
            der.integer(1),
            signer.algorithm,
            head.issuer,
            der.utc_or_generalized_time(head.this_update),
            der.utc_or_generalized_time(head.next_update),
        )
    )
    before = der.header(der.SEQUENCE, total_length) if total_length else b""  # an empty list must be absent
    after = der.explicit(0, der.tlv(der.SEQUENCE, extensions))
    length = len(body) + len(before) + total_length + len(after)

    with tempfile.SpooledTemporaryFile(max_size=MEMORY_LIMIT) as spool:
        algorithm = signer.scheme.hash_algorithm()
        digest = hashes.Hash(algorithm) if algorithm is not None else None
        written = 0

        def put(part: bytes) -> None:
            spool.write(part)
            if digest is not None:
                digest.update(part)

        put(der.header(der.SEQUENCE, length) + body + before)
        for entry in entries:
            put(entry)
            written += len(entry)
        if written != total_length:
            raise ValueError(f"the CRL's entries have {written} bytes, {total_length} were announced")
        put(after)

        size = spool.tell()
        spool.seek(0)
        if digest is not None:
            signature = signer.scheme.sign_digest(signer.private_key, digest.finalize())
        else:
            signature = signer.sign(spool.read())
            spool.seek(0)
        tail = signer.algorithm + der.bit_string(signature)
        out.write(der.header(der.SEQUENCE, size + len(tail)))
        shutil.copyfileobj(spool, out, 1 << 20)
        out.write(tail)


# -- reading ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CrlEntry:
    serial: int
    when: datetime
    reason: CrlReason | None = None


@dataclass(frozen=True, slots=True)
class CrlView:
    """A CRL, read once; its entries are decoded when asked for."""

    der: bytes
    tbs: bytes
    issuer: bytes  # Name
    this_update: datetime
    next_update: datetime | None
    extensions: Mapping[str, Extension]
    algorithm: bytes
    signature: bytes
    entries_start: int
    entries_end: int

    @classmethod
    def parse(cls, data: bytes) -> CrlView:
        """Read one complete CRL; the entries only when they are asked for.

        Raises:
            EncodingError: malformed, or the two signature algorithms differ.
        """
        outer = der.Reader.of(data, what="CRL")
        tbs_element = outer.read(der.SEQUENCE)
        algorithm = outer.whole(der.SEQUENCE)
        signature, unused = der.decode_bit_string(outer.content(der.BIT_STRING))
        outer.finish()
        if unused:
            raise EncodingError("CRL: its signature is not whole octets")

        tbs = der.Reader(data, tbs_element.start, tbs_element.end, "CRL")
        if tbs.next_tag == der.INTEGER and (version := tbs.integer()) != 1:
            raise EncodingError(f"CRL: version {version + 1}, only 1 and 2 are defined")
        if tbs.whole(der.SEQUENCE) != algorithm:
            raise EncodingError("CRL: it is signed with another algorithm than it says inside")
        issuer = tbs.whole(der.SEQUENCE)
        parse_name(issuer)
        this_update = tbs.time()
        next_update = tbs.time() if tbs.next_tag in (der.UTC_TIME, der.GENERALIZED_TIME) else None
        entries = tbs.optional(der.SEQUENCE)
        extensions: dict[str, Extension] = {}
        if tbs.next_tag == 0xA0:
            extensions = parse_extensions(tbs.content(0xA0))
        tbs.finish()
        return cls(
            der=data,
            tbs=tbs_element.whole(data),
            issuer=issuer,
            this_update=this_update,
            next_update=next_update,
            extensions=MappingProxyType(extensions),
            algorithm=algorithm,
            signature=signature,
            entries_start=entries.start if entries else 0,
            entries_end=entries.end if entries else 0,
        )

    @property
    def issuer_name(self) -> str:
        return format_name(self.issuer)

    @property
    def number(self) -> int | None:
        return self._integer(oids.CRL_NUMBER)

    @property
    def base_number(self) -> int | None:
        """Number of the base this delta CRL belongs to; None for a base CRL."""
        return self._integer(oids.DELTA_CRL_INDICATOR)

    @property
    def is_delta(self) -> bool:
        return oids.DELTA_CRL_INDICATOR in self.extensions

    @property
    def ca_version(self) -> tuple[int, int] | None:
        """(certificate index, key index)."""
        found = self.extensions.get(oids.CA_VERSION)
        return None if found is None else decode_ca_version(found.value)

    @property
    def authority_key_identifier(self) -> bytes | None:
        found = self.extensions.get(oids.AUTHORITY_KEY_IDENTIFIER)
        return None if found is None else decode_authority_key_identifier(found.value)

    @property
    def next_publish(self) -> datetime | None:
        found = self.extensions.get(oids.NEXT_CRL_PUBLISH)
        return None if found is None else decode_next_crl_publish(found.value)

    @property
    def distribution_points(self) -> tuple[str, ...]:
        """The URLs that the list is for, of its issuing distribution point. RFC 5280 5.2.5; none: for all."""
        found = self.extensions.get(oids.ISSUING_DISTRIBUTION_POINT)
        if found is None:
            return ()
        point = der.Reader.of(found.value, what="issuing distribution point")
        return tuple(decode_distribution_point_name(point.content(0xA0))) if point.next_tag == 0xA0 else ()

    def _integer(self, oid: str) -> int | None:
        found = self.extensions.get(oid)
        if found is None:
            return None
        return der.decode_integer(
            der.require_single(found.value, der.INTEGER, oids.name_of(oid)).content(found.value)
        )

    def entries(self) -> Iterator[CrlEntry]:
        """Every entry, in order. Raises `EncodingError` at the first one that is malformed."""
        for element in self._elements():
            yield self._entry(element)

    def find(self, serial: int) -> CrlEntry | None:
        """The entry of a serial number. Where no bytes of the list look like it, nothing is decoded."""
        needle = der.integer(serial)
        if self.der.find(needle, self.entries_start, self.entries_end) < 0:
            return None
        for element in self._elements():
            if self.der.startswith(needle, element.start):
                return self._entry(element)
        return None

    def _elements(self) -> Iterator[Tlv]:
        offset = self.entries_start
        while offset < self.entries_end:
            element = der.read_tlv(self.der, offset, self.entries_end)
            if element.tag != der.SEQUENCE:
                raise EncodingError(f"CRL: an entry is {der.tag_name(element.tag)}, not SEQUENCE")
            yield element
            offset = element.end

    def _entry(self, element: Tlv) -> CrlEntry:
        reader = der.Reader(self.der, element.start, element.end, "CRL entry")
        serial, when = reader.integer(), reader.time()
        reason: CrlReason | None = None
        if reader.next_tag != -1:
            found = parse_extensions(reader.whole(der.SEQUENCE)).get(oids.CRL_REASON)
            reason = None if found is None else _reason(found.value)
        reader.finish()
        return CrlEntry(serial, when, reason)

    def verify_signed_by(self, issuer: CertificateView) -> None:
        """Check the signature with the issuer's key.

        Raises:
            SignatureError: not signed by that key; WeakAlgorithm for SHA-1 and MD5.
        """
        scheme_of(self.algorithm).verify(load_public_key(issuer.public_key_info), self.signature, self.tbs)


def _reason(value: bytes) -> CrlReason:
    number = der.decode_integer(der.require_single(value, der.ENUMERATED, "CRL reason").content(value))
    try:
        return CrlReason(number)
    except ValueError as error:
        raise EncodingError(f"CRL entry: {number} is no reason code") from error
