"""What tests of officers' acts look at: events, certificates, and what a CRL says of them."""

from __future__ import annotations

from cryptography import x509

from certwright.adcs.properties import LATEST, CaProperty
from certwright.adcs.request import Response
from tests.support.doors import Site
from tests.support.installation import ISSUING


def serial_of(response: Response) -> str:
    return f"{x509.load_der_x509_certificate(response.certificate or b'').serial_number:x}"


def events_of(site: Site, request_id: int) -> list[str]:
    """The events of one request, the oldest first."""
    return [event.name for event in reversed(site.installation.audit.events(ca=ISSUING, request_id=request_id))]


def crl(site: Site) -> x509.CertificateRevocationList:
    der = site.door.connect().ca_property(CaProperty.BASE_CRL, LATEST)
    assert isinstance(der, bytes)
    return x509.load_der_x509_crl(der)


def entry(site: Site, serial: str) -> x509.RevokedCertificate | None:
    return crl(site).get_revoked_certificate_by_serial_number(int(serial, 16))


def reason_in(found: x509.RevokedCertificate | None) -> str:
    """RFC 5280 5.3.1: reason unspecified is left out."""
    assert found is not None
    try:
        return found.extensions.get_extension_for_class(x509.CRLReason).value.reason.value
    except x509.ExtensionNotFound:
        return "unspecified"
