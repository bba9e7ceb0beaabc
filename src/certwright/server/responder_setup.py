"""Setting the Online Responder up for one of our CAs, and keeping its signing certificate. [MS-OCSP] 3.1.5.

`enable` does what an administrator of AD CS does in four places: it lets this host enroll for the template
OCSPResponseSigning, has the CA issue it, makes the revocation configuration, and puts the responder's address into
the certificates to come.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import structlog

from certwright.adcs.errors import AdcsError, ConfigurationError
from certwright.adcs.interfaces import CertRequest
from certwright.adcs.requester import Requester
from certwright.adcs.roles import CaAccess
from certwright.adcs.security import SecurityDescriptor
from certwright.adcs.template_settings import apply_settings
from certwright.ca.database import CaRecord
from certwright.connectors.local import LocalCa
from certwright.directory.administration import DirectoryAdministration
from certwright.online_responder.configuration import SignedWith
from certwright.online_responder.service import ResponderStanding
from certwright.online_responder.signing import TEMPLATE, SigningCertificate
from certwright.online_responder.views import PATH
from certwright.pki.certificate import CertificateView
from certwright.server.composition import SYSTEM, Installation

log = structlog.get_logger(__name__)

URLS: Final = "ocsp-urls"


def responder_url(installation: Installation) -> str:
    """Where clients of the plain HTTP listener ask."""
    return installation.home.settings.http_url + PATH


class ResponderSetup:
    """`ResponderAdministration` over this installation's CAs."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation

    def standing(self, ca: str) -> ResponderStanding:
        installation, name = self._installation, self._installation.ca(ca).authority.name
        stored = installation.revocation_configurations.of(name)
        signing = installation.signing_certificates.current(installation.ca(name).authority.database.ca().ca_id)
        return ResponderStanding(
            ca=name,
            enabled=stored.enabled,
            url=responder_url(installation),
            announced=installation.configuration(name).ocsp_urls,
            configuration=stored.configuration,
            serial_number=signing.view.serial_number if signing is not None else "",
            not_after=signing.view.not_after if signing is not None else None,
            renew_after=signing.renew_after if signing is not None else None,
        )

    def enable(self, ca: str, operator: Requester, *, announce: bool = True) -> None:
        installation, name = self._installation, self._demand(ca, operator)
        local = installation.ca(name)
        stored = installation.revocation_configurations.of(name)
        if stored.configuration.signed_with is SignedWith.CERTIFICATE:
            _offer_template(installation, name, operator)
            if _needs_certificate(installation, local, installation.clock()):
                enroll(installation, local, operator.account)
        installation.revocation_configurations.switch(name, True, actor=operator.account)
        if announce and not installation.configuration(name).ocsp_urls:
            admin = installation.registry.administer(local.config, operator)
            admin.set_configuration({URLS: responder_url(installation)})

    def disable(self, ca: str, operator: Requester) -> None:
        name = self._demand(ca, operator)
        self._installation.revocation_configurations.switch(name, False, actor=operator.account)

    def change(self, ca: str, changes: Mapping[str, str], operator: Requester) -> None:
        name = self._demand(ca, operator)
        self._installation.revocation_configurations.change(name, changes, actor=operator.account)

    def refresh(self, ca: str, operator: Requester, *, certificate: bool = False) -> None:
        name = self._demand(ca, operator)
        if certificate:
            enroll(self._installation, self._installation.ca(name), operator.account)
        else:
            self._installation.revocation_configurations.refresh(name, actor=operator.account)

    def _demand(self, ca: str, operator: Requester) -> str:
        """The CA's name, for whoever administers it."""
        name = self._installation.ca(ca).authority.name
        self._installation.demand(operator, CaAccess.ADMINISTRATOR, name)
        return name


def enroll(installation: Installation, ca: LocalCa, actor: str = SYSTEM) -> SigningCertificate:
    """Enroll for a signing certificate now, through the same door as everybody.

    Raises:
        AdcsError: it was not issued.
    """
    record = ca.authority.database.ca()
    made = installation.signing_certificates.enroll(_door(installation, ca), record.ca_id, _newest(record))
    installation.revocation_configurations.renewed(ca.authority.name, made.view.serial_number, actor=actor)
    return made


def renew_signing_certificates(installation: Installation, now: datetime) -> None:
    """Enroll anew where a signing certificate has lived two thirds of its life, or the CA has a new key.

    Raises:
        AdcsError: one was not issued; it will be tried again.
    """
    failed: list[AdcsError] = []
    enabled = {each.ca: each for each in installation.revocation_configurations.all() if each.enabled}
    for ca in installation.cas:
        stored = enabled.get(ca.authority.name)
        if stored is None or stored.configuration.signed_with is not SignedWith.CERTIFICATE:
            continue
        try:
            if _needs_certificate(installation, ca, now):
                enroll(installation, ca)
        except AdcsError as error:
            failed.append(error)
    if failed:
        raise failed[0]


def _needs_certificate(installation: Installation, ca: LocalCa, now: datetime) -> bool:
    record = ca.authority.database.ca()
    current = installation.signing_certificates.current(record.ca_id)
    if current is None or now >= current.renew_after:
        return True
    return current.view.authority_key_identifier != _newest(record).subject_key_identifier


def _newest(record: CaRecord) -> CertificateView:
    return CertificateView.parse(max(record.certificates, key=lambda each: each.index).der)


def _door(installation: Installation, ca: LocalCa) -> CertRequest:
    """The CA as this host's account reaches it; in a domain that is the issuing CA's (docs/adr/0008)."""
    if ca.authority.name == installation.ca().authority.name:
        return installation.host_door()
    if not ca.authority.database.ca().ca_type.is_enterprise:
        raise ConfigurationError(
            f"{ca.authority.name} issues nothing by itself; let its own key sign: certwright responder set"
            f" signed-with=ca-key --ca {ca.authority.name!r}"
        )
    installation.start_issuers()
    return installation.registry.connect(ca.config, installation.host_account())


def _offer_template(installation: Installation, ca_name: str, operator: Requester) -> None:
    """Let this host's account enroll for the template, with a P-256 key, at this CA.

    The stock template pins RSA. Pinning nothing still asks for what is as strong as RSA of 2048 bits.

    Raises:
        InvalidArgument: the template was removed.
    """
    administration = _own_directory(installation)
    host = installation.host_account()
    template = administration.template(TEMPLATE)
    if template.key_policy.get("msPKI-Asymmetric-Algorithm", "").upper() == "RSA":
        administration.put_template(apply_settings(template, {"key-algorithm": "any"}), actor=operator.account)
    security = SecurityDescriptor.from_sddl(template.security_descriptor, installation.local_directory.domain.sid)
    if not security.may_enroll(host.sids):
        administration.grant(TEMPLATE, host.sid, enroll=True, actor=operator.account)
    service = next(
        (each for each in installation.local_directory.enrollment_services() if each.ca_name == ca_name), None
    )
    if service is not None and TEMPLATE.casefold() not in map(str.casefold, service.templates):
        administration.publish(ca_name, TEMPLATE, actor=operator.account)


def _own_directory(installation: Installation) -> DirectoryAdministration:
    """The embedded directory decides about this host's account, in a domain too."""
    if installation.active_directory is None:
        return installation.directory_administration
    return DirectoryAdministration(
        installation.database,
        installation.sealer,
        installation.audit.append,
        installation.clock,
        installation.local_directory,
    )
