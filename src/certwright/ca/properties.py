"""Answers to GetCAProperty. [MS-WCCE] 3.2.1.4.3.2."""

from __future__ import annotations

from certwright import __version__
from certwright.adcs.errors import HResult, InvalidArgument
from certwright.adcs.properties import LATEST, CaProperty, PropertyValue
from certwright.adcs.requester import Requester
from certwright.adcs.roles import CaAccess
from certwright.ca.authority import Authority
from certwright.ca.chains import Above
from certwright.ca.database import CaCertificateRecord
from certwright.ca.generation import CaGeneration
from certwright.pki.cms import certs_only
from certwright.pki.names import sanitized_name, sanitized_short_name

_STATE_ERROR, _STATE_VALID, _STATE_EXPIRED = 1, 3, 4

_EMPTY = HResult.ERROR_FILE_NOT_FOUND


class CaProperties:
    """Reads properties of one CA for a caller with any right on it.

    Args:
        authority: the CA.
        above: the chain above each of its certificates.
    """

    def __init__(self, authority: Authority, above: Above) -> None:
        self._authority = authority
        self._above = above

    def read(self, caller: Requester, prop: CaProperty, index: int = 0) -> PropertyValue:
        """The value of one property.

        Raises:
            AccessDenied: the caller has no right on this CA.
            InvalidArgument: the property or index does not exist (E_INVALIDARG), or is empty (file not found).
        """
        generation = self._authority.generations.current()
        self._authority.demand(
            generation,
            caller,
            CaAccess.ENROLL | CaAccess.READ | CaAccess.OFFICER | CaAccess.ADMINISTRATOR,
            HResult.CERTSRV_E_ENROLL_DENIED,
        )
        plain = self._plain(generation, prop)
        if plain is not None:
            return plain
        return self._indexed(generation, prop, index)

    def _plain(self, generation: CaGeneration, prop: CaProperty) -> PropertyValue | None:
        record, configuration = generation.record, generation.configuration
        newest = self._certificate(generation, LATEST)
        urls = configuration.issuance_urls(record, newest)
        match prop:
            case CaProperty.FILE_VERSION | CaProperty.PRODUCT_VERSION:
                return __version__
            case CaProperty.EXIT_COUNT:
                return self._authority.exit_count
            case CaProperty.POLICY_DESCRIPTION:
                return generation.policy.description
            case CaProperty.CA_NAME:
                return record.name
            case CaProperty.SANITIZED_CA_NAME:
                return sanitized_name(record.name)
            case CaProperty.SANITIZED_CA_SHORT_NAME:
                return sanitized_short_name(record.name)
            case CaProperty.PARENT_CA:
                return record.parent
            case CaProperty.CA_TYPE:
                return int(record.ca_type)
            case CaProperty.CA_SIGNATURE_CERTIFICATE_COUNT:
                return len(record.certificates)
            case CaProperty.CA_PROPERTY_ID_MAX:
                return int(max(CaProperty))
            case CaProperty.DNS_NAME:
                return configuration.dns_name
            case CaProperty.ROLE_SEPARATION_ENABLED:
                return int(configuration.role_separation)
            case CaProperty.ADVANCED_SERVER:
                return 1
            case CaProperty.TEMPLATES:
                return self._templates(record.name)
            case CaProperty.CDP_URLS:
                return urls.cdp
            case CaProperty.AIA_URLS:
                return urls.aia
            case CaProperty.OCSP_URLS:
                return urls.ocsp
            case _:
                return None

    def _templates(self, ca_name: str) -> tuple[str, ...]:
        service = self._authority.directory.enrollment_service(ca_name)
        known = self._authority.directory.templates()
        pairs = []
        for cn in service.templates if service else ():
            template = known.get(cn)
            if template is not None:
                pairs += [cn, template.oid]
        return tuple(pairs)

    def _indexed(self, generation: CaGeneration, prop: CaProperty, index: int) -> PropertyValue:
        certificate = self._certificate(generation, index)
        match prop:
            case CaProperty.CA_SIGNATURE_CERTIFICATE:
                return certificate.der
            case CaProperty.CA_SIGNATURE_CERTIFICATE_CHAIN:
                return certs_only((certificate.der, *self._above(certificate)))
            case CaProperty.BASE_CRL | CaProperty.CRL_STATE | CaProperty.DELTA_CRL:
                crl = self._authority.database.latest_crl(certificate.key_index, delta=prop is CaProperty.DELTA_CRL)
                if prop is CaProperty.CRL_STATE:
                    if crl is None:
                        return _STATE_ERROR
                    return _STATE_VALID if crl.next_update > self._authority.clock() else _STATE_EXPIRED
                if crl is None or (crl.min_base and crl.next_update <= self._authority.clock()):
                    raise InvalidArgument(f"{generation.record.name} has published no such CRL", _EMPTY)
                return crl.der
            case CaProperty.CA_CERTIFICATE_STATE:
                return _STATE_VALID if certificate.not_after > self._authority.clock() else _STATE_EXPIRED
            case CaProperty.CA_CERTIFICATE_STATUS_CODE:
                expired = certificate.not_after <= self._authority.clock()
                return int(HResult.CERT_E_EXPIRED if expired else HResult.S_OK)
            case CaProperty.CA_CERTIFICATE_VERSION:
                return (certificate.key_index << 16) + certificate.index
            case _:
                raise InvalidArgument(f"property {int(prop):#x} is not answered by this CA")

    @staticmethod
    def _certificate(generation: CaGeneration, index: int) -> CaCertificateRecord:
        certificates = generation.record.certificates
        if index == LATEST:
            return max(certificates, key=lambda certificate: certificate.index)
        for certificate in certificates:
            if certificate.index == index:
                return certificate
        raise InvalidArgument(f"{generation.record.name} has no CA certificate number {index}")
