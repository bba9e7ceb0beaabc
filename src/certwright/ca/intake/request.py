"""`EnrollmentRequest`: the one shape of a request that everything downstream sees. [MS-WCCE] 3.2.1.4.2.1.4."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntFlag
from types import MappingProxyType
from typing import NamedTuple

from certwright.adcs.request import NO_ATTRIBUTES, RequestAttributes
from certwright.adcs.requester import Requester
from certwright.directory.base import Principal
from certwright.pki import names
from certwright.pki.certificate import CertificateView
from certwright.pki.extensions import Extension
from certwright.pki.general_names import GeneralName
from certwright.pki.public_keys import PublicKeyInfo


class StoredRequestFlag(IntFlag):
    """Request.RequestFlags. [MS-CSRA] 3.1.1.1.2."""

    NONE = 0
    RENEWAL = 0x2
    CA_EXCHANGE_CERTIFICATE = 0x8
    ENROLL_ON_BEHALF_OF = 0x10
    SUBJECT_UNMODIFIED = 0x20
    CA_CROSS_CERTIFICATE = 0x80
    DEFINED_CA_CERTIFICATE = 0x200


class RequestedTemplate(NamedTuple):
    """A template as the request names it, before anybody looks it up."""

    name: str = ""  # cn; empty when only an OID was given
    oid: str = ""
    major_version: int | None = None
    minor_version: int | None = None
    source: str = ""  # where it stood: "attributes", "extension 20.2" ...


RequestedExtension = Extension
"""An extension as the request has it; whether anybody honours it is the policy's decision."""


class Standing(NamedTuple):
    """What this CA's own table says of a certificate it issued, byte for byte the one that signed."""

    template: str  # cn
    template_oid: str
    requester_sid: str
    is_revoked: bool
    requester: str = ""  # DOMAIN\name


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature around the request that verified, by the holder of a certificate: the old one, or an agent's."""

    certificate: CertificateView
    standing: Standing | None = None  # None: this CA did not issue it, or nobody looked yet


@dataclass(frozen=True, slots=True)
class NameFacts:
    """Names as people read them and as the request table stores them."""

    subject: str  # distinguished name
    common_name: str
    alternative_names: str  # "DNS:a, IP:..."


class EnrollmentRequest(NamedTuple):
    """A well-formed request whose proof of possession was verified, with the caller it belongs to.

    `caller` is who is on the connection; `subject_principal` is the account the certificate is for: the caller's own
    unless an enrollment agent asked. None when the directory does not know the account.
    """

    der: bytes  # the PKCS#10 itself
    raw: bytes  # what arrived, the outer CMS or CMC if there was one
    caller: Requester
    subject_principal: Principal | None
    subject: bytes  # Name, DER
    public_key: PublicKeyInfo
    templates: tuple[RequestedTemplate, ...]
    extensions: Mapping[str, RequestedExtension]
    alternative_names: tuple[GeneralName, ...]
    attributes: RequestAttributes = NO_ATTRIBUTES
    signature_algorithm: str = ""  # OID of the proof of possession
    flags: StoredRequestFlag = StoredRequestFlag.NONE
    client_facts: Mapping[str, str] = MappingProxyType({})
    signatures: tuple[Signature, ...] = ()  # of a message around the request; never the new key's own
    renewal_of: bytes = b""  # the old certificate that the request names, DER
    on_behalf_of: str = ""  # the account an enrollment agent names
    agent: Principal | None = None  # the caller's own account, where that is not the one the certificate is for
    body_part: int = 1  # number of the request in its CMC message
    by_old_key: bool = False  # nobody's logon but the key of the certificate to be renewed says who asks

    @property
    def renewed(self) -> Signature | None:
        """The signature by the very certificate that is to be renewed. [MS-WCCE] 3.2.1.4.2.1.4.2.1."""
        if not self.renewal_of:
            return None
        return next((each for each in self.signatures if each.certificate.der == self.renewal_of), None)

    def display_names(self) -> NameFacts:
        """The names that were asked for; what a certificate says is the policy's decision."""
        return NameFacts(
            subject=names.format_name(self.subject),
            common_name=names.common_name(self.subject),
            alternative_names=", ".join(map(str, self.alternative_names)),
        )
