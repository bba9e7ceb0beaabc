"""What the pages say of their CA: its name, certificates, chain, CRLs and the templates on offer.

Read over one session, in the words of GetCAProperty ([MS-WCCE] 3.2.1.4.3.2) as far as the pages show it. The CA's
name is the common name of its newest certificate: that is its name by definition, whatever a page's headline says.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from certwright.adcs.errors import BadRequest, HResult, InvalidArgument, NotSupported
from certwright.adcs.properties import LATEST, CaProperty, PropertyValue
from certwright.connectors.errors import NotEnrollmentPages
from certwright.connectors.http import SUBMIT_TIMEOUT, Session, misunderstood, readable
from certwright.connectors.service import ServiceAddress, ServiceCredential
from certwright.connectors.trust import Trust
from certwright.pki.armor import dearmor
from certwright.pki.certificate import CertificateView
from certwright.pki.cms import certs_only
from certwright.pki.crl import CrlView
from certwright.pki.errors import EncodingError
from certwright.pki.names import sanitized_name, sanitized_short_name
from certwright.wire.certsrv import (
    CrlQuery,
    Encoding,
    RetrieveQuery,
    TemplateOption,
    decode_certificate,
    decode_chain,
    parse_ca_page,
    parse_templates,
)
from certwright.wire.certsrv.answers import CHAIN_TYPES

MAX_CHAIN: Final = 16
MAX_CA_CERTIFICATES: Final = 1000
MAX_CRL: Final = 2 * 1024 * 1024

_OWN_LINKS: Final = re.compile(r"cert(?:rqus|rqxt|rqad|ckpn|carc)\.asp", re.IGNORECASE)
_PER_CERTIFICATE: Final = frozenset(
    {
        CaProperty.CA_SIGNATURE_CERTIFICATE,
        CaProperty.CA_SIGNATURE_CERTIFICATE_CHAIN,
        CaProperty.BASE_CRL,
        CaProperty.DELTA_CRL,
    }
)


@dataclass(frozen=True, slots=True)
class OfferedTemplate:
    """A certificate template as the request page offers it to the account. Others may still be asked for by name."""

    name: str
    display_name: str
    supplies_subject: bool
    oid: str = ""
    minimal_key_size: int = 0
    ra_signatures: int = 0

    @classmethod
    def of(cls, option: TemplateOption) -> OfferedTemplate:
        return cls(
            name=option.name,
            display_name=option.display_name,
            supplies_subject=option.supplies_subject,
            oid=option.oid,
            minimal_key_size=option.minimal_key_size,
            ra_signatures=option.ra_signatures,
        )


@dataclass(frozen=True, slots=True)
class ServiceInformation:
    """What a service says of itself. `chain` begins with the CA's newest certificate."""

    ca_name: str
    chain: tuple[bytes, ...]
    certificate_not_after: datetime
    templates: tuple[OfferedTemplate, ...]


def read_information(
    service: ServiceAddress, credential: ServiceCredential, trust: Trust, *, timeout: float = SUBMIT_TIMEOUT
) -> ServiceInformation:
    """Name, chain and templates, in one logon.

    Raises:
        CaUnreachable, AccessDenied: the pages could not be read.
    """
    with Session(service, credential, trust, timeout=timeout) as session:
        reader = CaReader(session)
        reader.require_pages()
        chain = reader.chain(reader.newest())
        templates = reader.templates()
    certificate = CertificateView.parse(chain[0])
    return ServiceInformation(certificate.common_name, chain, certificate.not_after, templates)


class CaReader:
    """Reads the pages of one session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def require_pages(self) -> None:
        """Read the home page: a small request that logs on.

        Raises:
            NotEnrollmentPages: it links to none of Web Enrollment's pages.
        """
        address = self._session.address
        if not _OWN_LINKS.search(readable(self._session.get(""), address)):
            raise NotEnrollmentPages(
                f"{address}{address.path} is a page, but not one of Web Enrollment",
                "check that host name and port lead to the CA's web site, and that no portal stands before it",
            )

    def property(self, prop: CaProperty, index: int) -> PropertyValue:
        """Raises:
        InvalidArgument: no CA certificate of that number, or no such CRL.
        NotSupported: not shown by the pages.
        """
        if prop in _PER_CERTIFICATE:
            number = self._number(index)
            match prop:
                case CaProperty.CA_SIGNATURE_CERTIFICATE:
                    return self.certificate(number)
                case CaProperty.CA_SIGNATURE_CERTIFICATE_CHAIN:
                    return certs_only(self.chain(number))
                case _:
                    return self.crl(number, delta=prop is CaProperty.DELTA_CRL)
        match prop:
            case CaProperty.CA_NAME:
                return self.name()
            case CaProperty.SANITIZED_CA_NAME:
                return sanitized_name(self.name())
            case CaProperty.SANITIZED_CA_SHORT_NAME:
                return sanitized_short_name(self.name())
            case CaProperty.DNS_NAME:
                return self._session.address.hostname
            case CaProperty.CA_SIGNATURE_CERTIFICATE_COUNT:
                return self.newest() + 1
            case CaProperty.TEMPLATES:
                return tuple(text for each in self.templates() for text in (each.name, each.oid))
            case _:
                raise NotSupported(f"Web Enrollment does not show the property {prop.name}")

    def newest(self) -> int:
        """The number of the newest CA certificate, counted from 0."""
        page = readable(self._session.get("certcarc.asp"), self._session.address)
        try:
            newest = parse_ca_page(page).newest
        except BadRequest as error:
            raise misunderstood(error, self._session.address, "certcarc.asp") from error
        if newest >= MAX_CA_CERTIFICATES:
            raise NotEnrollmentPages(f"{self._session.address} claims to have {newest + 1} CA certificates")
        return newest

    def name(self) -> str:
        return CertificateView.parse(self.certificate(self.newest())).common_name

    def certificate(self, number: int) -> bytes:
        """One of the CA's own certificates (DER)."""
        page = self._session.get("certnew.cer", RetrieveQuery(None, number, Encoding.BINARY).encode())
        try:
            certificate = decode_certificate(page.body)
            CertificateView.parse(certificate)
        except (BadRequest, EncodingError) as error:
            raise misunderstood(error, self._session.address, "certnew.cer") from error
        return certificate

    def chain(self, number: int) -> tuple[bytes, ...]:
        """One of the CA's own certificates and those above it. Servers send them in any order."""
        certificate = self.certificate(number)
        page = self._session.get("certnew.p7b", RetrieveQuery(None, number, Encoding.BINARY).encode())
        if page.kind not in CHAIN_TYPES:
            what = f"{self._session.address} answered certnew.p7b with {page.kind[:80] or 'no type at all'}"
            raise NotEnrollmentPages(
                what, "open certcarc.asp in a browser and see whether the chain can be downloaded"
            )
        try:
            found = [CertificateView.parse(der) for der in decode_chain(page.body)]
        except (BadRequest, EncodingError) as error:
            raise misunderstood(error, self._session.address, "certnew.p7b") from error
        return _ordered(CertificateView.parse(certificate), found)

    def crl(self, number: int, *, delta: bool = False) -> bytes:
        """The latest CRL (DER) of one CA certificate's key.

        Raises:
            InvalidArgument: there is none.
        """
        page = self._session.get("certcrl.crl", CrlQuery(delta, number, Encoding.BINARY).encode())
        kind = "delta CRL" if delta else "CRL"
        if page.kind == "text/html" or not page.body:
            raise InvalidArgument(
                f"{self._session.address} shows no {kind} number {number}", HResult.ERROR_FILE_NOT_FOUND
            )
        try:
            crl = dearmor(page.body, MAX_CRL)
            CrlView.parse(crl)
        except EncodingError as error:
            raise misunderstood(error, self._session.address, "certcrl.crl") from error
        return crl

    def templates(self) -> tuple[OfferedTemplate, ...]:
        """The templates on offer; none is an answer too: a standalone CA, or no right to any."""
        page = readable(self._session.get("certrqxt.asp"), self._session.address)
        try:
            return tuple(OfferedTemplate.of(option) for option in parse_templates(page))
        except BadRequest as error:
            raise misunderstood(error, self._session.address, "certrqxt.asp") from error

    def _number(self, index: int) -> int:
        newest = self.newest()
        if index == LATEST:
            return newest
        if not 0 <= index <= newest:
            raise InvalidArgument(f"{self._session.address} has no CA certificate number {index}")
        return index


def _ordered(first: CertificateView, others: list[CertificateView]) -> tuple[bytes, ...]:
    """From the CA's certificate upwards, by name and key identifier; what does not belong to it is left out."""
    chain = [first]
    while not chain[-1].is_self_issued and len(chain) < MAX_CHAIN:
        below = chain[-1]
        wanted = below.authority_key_identifier
        above = next(
            (
                each
                for each in others
                if each.subject == below.issuer
                and each.der not in {member.der for member in chain}
                and (wanted is None or each.subject_key_identifier in (None, wanted))
            ),
            None,
        )
        if above is None:
            break
        chain.append(above)
    return tuple(each.der for each in chain)
