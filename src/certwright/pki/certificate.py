"""X.509 certificates: a view of finished ones and the two splices that make new ones. RFC 5280 4.1.

`assemble_tbs` and `assemble_signed` put parts together that are DER already; what the parts say is the caller's
responsibility, and the caller reads the result back before it leaves the house.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Final

from certwright.pki import der, oids
from certwright.pki.errors import EncodingError
from certwright.pki.extensions import (
    Extension,
    TemplateInformation,
    alternative_names_of,
    decode_authority_key_identifier,
    decode_basic_constraints,
    decode_ca_version,
    decode_extended_key_usage,
    decode_key_usage,
    decode_subject_key_identifier,
    parse_extensions,
    sid_of,
    template_name_of,
    template_of,
)
from certwright.pki.general_names import GeneralName
from certwright.pki.names import common_name, format_name, parse_name
from certwright.pki.public_keys import PublicKeyInfo, load_public_key, parse_public_key
from certwright.pki.signatures import scheme_of

_VERSION_3: Final = der.explicit(0, der.integer(2))
MAX_SERIAL_OCTETS: Final = 20


@dataclass(frozen=True, slots=True)
class CertificateView:
    """A certificate, read once; DER stays bytes until a property is asked for."""

    der: bytes
    tbs: bytes
    serial: int
    issuer: bytes  # Name
    subject: bytes  # Name
    not_before: datetime
    not_after: datetime
    public_key_info: bytes  # SubjectPublicKeyInfo
    extensions: Mapping[str, Extension]
    algorithm: bytes  # AlgorithmIdentifier of the signature
    signature: bytes

    @classmethod
    def parse(cls, data: bytes) -> CertificateView:
        """Read one complete certificate.

        Raises:
            EncodingError: malformed, the two signature algorithms differ, or an extension stands twice.
        """
        outer = der.Reader.of(data, what="certificate")
        tbs_element = outer.read(der.SEQUENCE)
        algorithm = outer.whole(der.SEQUENCE)
        signature, unused = der.decode_bit_string(outer.content(der.BIT_STRING))
        outer.finish()
        if unused:
            raise EncodingError("certificate: its signature is not whole octets")

        tbs = der.Reader(data, tbs_element.start, tbs_element.end, "certificate")
        version = _version(tbs) if tbs.next_tag == 0xA0 else 0
        serial = tbs.integer()
        if tbs.whole(der.SEQUENCE) != algorithm:
            raise EncodingError("certificate: it is signed with another algorithm than it says inside")
        issuer = tbs.whole(der.SEQUENCE)
        validity = tbs.enter()
        not_before, not_after = validity.time(), validity.time()
        validity.finish()
        subject = tbs.whole(der.SEQUENCE)
        public_key_info = tbs.whole(der.SEQUENCE)
        tbs.optional(0x81)
        tbs.optional(0x82)
        extensions: dict[str, Extension] = {}
        if tbs.next_tag == 0xA3:
            extensions = parse_extensions(tbs.content(0xA3))
        tbs.finish()
        if extensions and version != 2:
            raise EncodingError(f"certificate: version {version + 1} cannot have extensions")
        parse_name(issuer)
        parse_name(subject)
        return cls(
            der=data,
            tbs=tbs_element.whole(data),
            serial=serial,
            issuer=issuer,
            subject=subject,
            not_before=not_before,
            not_after=not_after,
            public_key_info=public_key_info,
            extensions=MappingProxyType(extensions),
            algorithm=algorithm,
            signature=signature,
        )

    # -- names and numbers for people

    @property
    def serial_number(self) -> str:
        """Lower-case hex with an even number of digits, as the request table holds it."""
        return serial_hex(self.serial)

    @property
    def subject_name(self) -> str:
        return format_name(self.subject)

    @property
    def issuer_name(self) -> str:
        return format_name(self.issuer)

    @property
    def common_name(self) -> str:
        return common_name(self.subject)

    @property
    def sha1(self) -> str:
        """The thumbprint Windows shows, hex."""
        return hashlib.sha1(self.der, usedforsecurity=False).hexdigest()

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.der).hexdigest()

    # -- extensions

    @property
    def subject_key_identifier(self) -> bytes | None:
        value = self._value(oids.SUBJECT_KEY_IDENTIFIER)
        return None if value is None else decode_subject_key_identifier(value)

    @property
    def authority_key_identifier(self) -> bytes | None:
        value = self._value(oids.AUTHORITY_KEY_IDENTIFIER)
        return None if value is None else decode_authority_key_identifier(value)

    @property
    def alternative_names(self) -> tuple[GeneralName, ...]:
        return alternative_names_of(self.extensions)

    @property
    def template_name(self) -> str:
        """cn of extension 20.2, empty without one."""
        return template_name_of(self.extensions)

    @property
    def template(self) -> TemplateInformation | None:
        """Extension 21.7."""
        return template_of(self.extensions)

    @property
    def sid(self) -> str:
        """SID of extension 25.2, empty without one."""
        return sid_of(self.extensions)

    @property
    def extended_key_usage(self) -> tuple[str, ...]:
        value = self._value(oids.EXTENDED_KEY_USAGE)
        return () if value is None else decode_extended_key_usage(value)

    @property
    def key_usage(self) -> bytes:
        """As pKIKeyUsage; empty without the extension."""
        value = self._value(oids.KEY_USAGE)
        return b"" if value is None else decode_key_usage(value)

    @property
    def is_ca(self) -> bool:
        value = self._value(oids.BASIC_CONSTRAINTS)
        return value is not None and decode_basic_constraints(value).ca

    @property
    def ca_version(self) -> tuple[int, int] | None:
        """(certificate index, key index) of extension 21.1."""
        value = self._value(oids.CA_VERSION)
        return None if value is None else decode_ca_version(value)

    def _value(self, oid: str) -> bytes | None:
        found = self.extensions.get(oid)
        return None if found is None else found.value

    # -- keys and signatures

    @property
    def public_key(self) -> PublicKeyInfo:
        return parse_public_key(self.public_key_info)

    @property
    def is_self_issued(self) -> bool:
        return self.subject == self.issuer

    def verify_signed_by(self, issuer: CertificateView) -> None:
        """Check the signature with the issuer's key; neither dates nor extensions.

        Raises:
            SignatureError: not signed by that key; WeakAlgorithm for SHA-1 and MD5.
        """
        scheme_of(self.algorithm).verify(load_public_key(issuer.public_key_info), self.signature, self.tbs)


def _version(tbs: der.Reader) -> int:
    wrapped = tbs.enter(0xA0)
    version = wrapped.integer()
    wrapped.finish()
    if version not in (1, 2):  # 0 is the default and is not written
        raise EncodingError(f"certificate: its version is written as {version}, only 1 and 2 can be")
    return version


def serial_hex(serial: int) -> str:
    """A serial number as lower-case hex with an even number of digits."""
    digits = f"{serial:x}"
    return digits if len(digits) % 2 == 0 else "0" + digits


# -- making ----------------------------------------------------------------------------------------------------------


def assemble_tbs(
    serial: int,
    algorithm_der: bytes,
    issuer: bytes,
    not_before: datetime,
    not_after: datetime,
    subject: bytes,
    spki: bytes,
    extensions: bytes,
) -> bytes:
    """A version 3 TBSCertificate. `extensions` is the concatenation of Extension values; empty leaves them out.

    Raises:
        ValueError: the serial number is not positive or longer than 20 octets (RFC 5280 4.1.2.2), or a time is naive.
    """
    if not 0 < serial < 1 << (8 * MAX_SERIAL_OCTETS - 1):
        raise ValueError("a serial number must be positive and have at most 20 octets")
    return der.sequence(
        _VERSION_3,
        der.integer(serial),
        algorithm_der,
        issuer,
        der.sequence(der.utc_or_generalized_time(not_before), der.utc_or_generalized_time(not_after)),
        subject,
        spki,
        der.explicit(3, der.tlv(der.SEQUENCE, extensions)) if extensions else b"",
    )


def assemble_signed(tbs: bytes, algorithm_der: bytes, signature: bytes) -> bytes:
    """The outer SEQUENCE around what was signed: a certificate, request or CRL."""
    return der.sequence(tbs, algorithm_der, der.bit_string(signature))
