"""Setting the Online Responder up for a CA, ours or elsewhere, and keeping its signing certificate. [MS-OCSP] 3.1.5.

`enable` does what an administrator of AD CS does in four places: it lets this host enroll for the template
OCSPResponseSigning, has the CA issue it, makes the revocation configuration, and puts the responder's address into
the certificates to come.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

import structlog

from certwright.adcs.errors import AccessDenied, AdcsError, ConfigurationError, InvalidArgument
from certwright.adcs.interfaces import CertRequest
from certwright.adcs.requester import Requester
from certwright.adcs.roles import CaAccess
from certwright.adcs.security import SecurityDescriptor
from certwright.adcs.template_settings import apply_settings
from certwright.ca.database import CaRecord
from certwright.connectors.local import LocalCa
from certwright.directory.administration import DirectoryAdministration
from certwright.online_responder import signer_files, store
from certwright.online_responder.configuration import SignedWith
from certwright.online_responder.service import ResponderStanding, Worry
from certwright.online_responder.signing import TEMPLATE, SigningCertificate, chosen_place, door_place
from certwright.online_responder.sources import (
    HOST_SETTINGS,
    SOURCE_SETTINGS,
    CaElsewhere,
    ListSources,
    demand_name,
    known,
)
from certwright.online_responder.views import PATH
from certwright.pki import armor
from certwright.pki.certificate import CertificateView
from certwright.pki.errors import EncodingError
from certwright.pki.public_keys import load_public_key
from certwright.server.composition import SYSTEM, Installation
from certwright.server.responder_lists import copy_lists, signer_place, taken_of, worries

log = structlog.get_logger(__name__)

URLS: Final = "ocsp-urls"


def responder_url(installation: Installation) -> str:
    """Where clients of the plain HTTP listener ask."""
    return installation.home.settings.http_url + PATH


class ResponderSetup:
    """`ResponderAdministration` over this installation's CAs, and over those whose CRLs it copies."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation

    # -- looking -----------------------------------------------------------------------------------------------

    def standing(self, ca: str) -> ResponderStanding:
        elsewhere = self._elsewhere(ca)
        if elsewhere is not None:
            return self._standing_elsewhere(elsewhere)
        installation, local = self._installation, self._installation.ca(ca)
        name = local.authority.name
        stored = installation.revocation_configurations.of(name)
        place = signer_place(local.authority.database.ca().ca_id, stored)
        signing = installation.signing_certificates.current(place) if place else None
        by_itself = stored.configuration.signed_with is SignedWith.CERTIFICATE
        return ResponderStanding(
            ca=name,
            enabled=stored.enabled,
            url=responder_url(installation),
            announced=installation.configuration(name).ocsp_urls,
            configuration=stored.configuration,
            serial_number=signing.view.serial_number if signing is not None else "",
            not_after=signing.view.not_after if signing is not None else None,
            renew_after=signing.renew_after if signing is not None and by_itself else None,
        )

    def _standing_elsewhere(self, ca: CaElsewhere) -> ResponderStanding:
        installation = self._installation
        stored = installation.revocation_configurations.of(ca.name)
        signing = installation.signing_certificates.current(ca.signer_place)
        kept = store.lists_of(installation.database, ca.ca_id)
        slots = ca.sources.slots(taken_of(kept))
        return ResponderStanding(
            ca=ca.name,
            enabled=stored.enabled,
            url=responder_url(installation),
            announced=(),
            configuration=stored.configuration,
            serial_number=signing.view.serial_number if signing is not None else "",
            not_after=signing.view.not_after if signing is not None else None,
            renew_after=None,
            sources=ca.sources,
            lists=tuple(kept[slot] for slot in slots if slot in kept),
            subject=ca.certificate.subject_name,
            number=ca.ca_id,
        )

    def elsewhere(self) -> Sequence[ResponderStanding]:
        return [self._standing_elsewhere(ca) for ca in self._installation.revocation_configurations.elsewhere()]

    def worries(self) -> Sequence[Worry]:
        return worries(self._installation, self._installation.clock())

    def _elsewhere(self, name: str) -> CaElsewhere | None:
        return self._installation.revocation_configurations.find_elsewhere(name) if name else None

    # -- of any CA ---------------------------------------------------------------------------------------------

    def enable(self, ca: str, operator: Requester, *, announce: bool = True) -> None:
        installation, name = self._installation, self._demand(ca, operator)
        elsewhere = self._elsewhere(name)
        stored = installation.revocation_configurations.of(name)
        if elsewhere is not None:
            self._demand_signer(elsewhere.signer_place, name)
            copy_lists(installation, elsewhere, installation.clock())
            taken = taken_of(store.lists_of(installation.database, elsewhere.ca_id))
            if not any(slot in taken for slot in elsewhere.sources.slots(taken) if not slot.is_delta):
                raise ConfigurationError(
                    f"no CRL of {name} could be copied, so there is nothing to answer from; see: certwright responder"
                    f" copy --ca {name!r}"
                )
            installation.revocation_configurations.switch(name, True, actor=operator.account)
            return
        local = installation.ca(name)
        if stored.configuration.signed_with is SignedWith.CERTIFICATE:
            _offer_template(installation, name, operator)
            if _needs_certificate(installation, local, installation.clock()):
                enroll(installation, local, operator.account)
        elif stored.configuration.signed_with is SignedWith.CHOSEN:
            self._demand_signer(chosen_place(local.authority.database.ca().ca_id), name)
        installation.revocation_configurations.switch(name, True, actor=operator.account)
        if announce and not installation.configuration(name).ocsp_urls:
            admin = installation.registry.administer(local.config, operator)
            admin.set_configuration({URLS: responder_url(installation)})

    def _demand_signer(self, place: str, name: str) -> None:
        if self._installation.signing_certificates.current(place) is None:
            raise ConfigurationError(
                f"there is no signing certificate for {name}: it has to be issued by that CA; make a request with:"
                f" certwright responder request --ca {name!r}, or bring a PFX with: certwright responder install"
            )

    def disable(self, ca: str, operator: Requester) -> None:
        name = self._demand(ca, operator)
        self._installation.revocation_configurations.switch(name, False, actor=operator.account)

    def change(self, ca: str, changes: Mapping[str, str], operator: Requester, *, at_host: bool = False) -> None:
        name = self._demand(ca, operator)
        configurations, elsewhere = self._installation.revocation_configurations, self._elsewhere(name)
        if elsewhere is None:
            stored = configurations.of(name)
            if stored.enabled and stored.configuration.changed(changes).signed_with is SignedWith.CHOSEN:
                self._demand_signer(chosen_place(_record(self._installation, name).ca_id), name)
            configurations.change(name, changes, actor=operator.account)
            return
        answers = {key: text for key, text in changes.items() if key not in SOURCE_SETTINGS}
        sources = {key: text for key, text in changes.items() if key in SOURCE_SETTINGS}
        for key in answers:
            known(key)
        if answers.get("signed-with", SignedWith.CHOSEN) != SignedWith.CHOSEN:
            raise InvalidArgument(
                "signed-with: for a CA elsewhere it is chosen; the CA's own key may be brought as one, too"
            )
        _demand_at_host(elsewhere.sources, sources, at_host=at_host)
        configurations.of(name).configuration.changed(answers)  # before anything is written
        if sources:
            configurations.change_elsewhere(elsewhere, sources, actor=operator.account)
        if answers:
            configurations.change(name, answers, actor=operator.account)

    def refresh(self, ca: str, operator: Requester, *, certificate: bool = False) -> None:
        name = self._demand(ca, operator)
        if not certificate:
            self._installation.revocation_configurations.refresh(name, actor=operator.account)
            return
        if self._elsewhere(name) is not None:
            raise InvalidArgument(
                f"the signing certificate for {name} is renewed by that CA: certwright responder request"
            )
        enroll(self._installation, self._installation.ca(name), operator.account)

    def request_signer(self, ca: str, operator: Requester) -> bytes:
        name = self._demand(ca, operator)
        host = self._installation.home.settings.hostname
        made = self._installation.signing_certificates.request(self._place_to_install(name), host)
        self._installation.revocation_configurations.noted(
            name, {"change": "signing certificate asked for"}, actor=operator.account
        )
        return made

    def install_signer(self, ca: str, data: bytes, password: str, operator: Requester) -> None:
        installation, name = self._installation, self._demand(ca, operator)
        elsewhere = self._elsewhere(name)
        issuer = elsewhere.certificate if elsewhere is not None else _newest(_record(installation, name))
        made = installation.signing_certificates.install(
            self._place_to_install(name), data, password, issuer, installation.clock()
        )
        installation.revocation_configurations.renewed(name, made.view.serial_number, actor=operator.account)

    def _place_to_install(self, name: str) -> str:
        elsewhere = self._elsewhere(name)
        return (
            elsewhere.signer_place if elsewhere is not None else chosen_place(_record(self._installation, name).ca_id)
        )

    # -- of CAs elsewhere --------------------------------------------------------------------------------------

    def add(
        self, name: str, certificate: bytes, sources: Mapping[str, str], operator: Requester, *, at_host: bool = False
    ) -> str:
        installation = self._installation
        installation.demand(operator, CaAccess.ADMINISTRATOR)
        view = _ca_certificate(certificate)
        for key in sources:
            if key not in SOURCE_SETTINGS:
                known(key)
                raise InvalidArgument(f"{key} is set afterwards: certwright responder set {key}=VALUE")
        _demand_at_host(ListSources.load(), sources, at_host=at_host)
        chosen = demand_name(name or view.common_name or view.subject_name)
        for record in installation.records():
            if record.name.casefold() == chosen.casefold():
                raise InvalidArgument(
                    f"{chosen} is a CA of this installation, whose database tells more than its CRLs"
                )
        existing = self._elsewhere(chosen)
        configurations = installation.revocation_configurations
        if existing is not None and existing.certificate.public_key_info == view.public_key_info:
            configurations.change_elsewhere(existing, sources, certificate=view, actor=operator.account)
        else:
            loaded = ListSources.load(sources)
            if not loaded.crl_urls:
                raise InvalidArgument("a location of the CA's base CRL is needed, such as that its certificates name")
            configurations.add_elsewhere(chosen, view, loaded, actor=operator.account)
        added = self._elsewhere(chosen)
        assert added is not None
        copy_lists(installation, added, installation.clock())
        return chosen

    def remove(self, ca: str, operator: Requester) -> None:
        elsewhere = self._demand_elsewhere(ca, operator)
        self._installation.revocation_configurations.remove_elsewhere(elsewhere, actor=operator.account)
        self._installation.signing_certificates.forget(elsewhere.signer_place)

    def copy(self, ca: str, operator: Requester) -> Sequence[str]:
        elsewhere = self._demand_elsewhere(ca, operator)
        return copy_lists(self._installation, elsewhere, self._installation.clock())

    def _demand_elsewhere(self, ca: str, operator: Requester) -> CaElsewhere:
        self._installation.demand(operator, CaAccess.ADMINISTRATOR)
        found = self._elsewhere(ca)
        if found is None:
            known_names = ", ".join(each.ca for each in self.elsewhere()) or "none"
            raise InvalidArgument(f"there is no CA elsewhere called {ca!r}; known: {known_names}")
        return found

    def _demand(self, ca: str, operator: Requester) -> str:
        """The CA's name, for whoever administers it; CAs elsewhere are administered as the issuing CA is."""
        elsewhere = self._elsewhere(ca)
        name = elsewhere.name if elsewhere is not None else self._installation.ca(ca).authority.name
        self._installation.demand(operator, CaAccess.ADMINISTRATOR, "" if elsewhere is not None else name)
        return name


def _record(installation: Installation, name: str) -> CaRecord:
    return installation.ca(name).authority.database.ca()


def _ca_certificate(data: bytes) -> CertificateView:
    """Raises:
    InvalidArgument: it is none of a CA.
    """
    try:
        view = CertificateView.parse(armor.dearmor(data, signer_files.MAX_FILE))
        if not view.is_ca:
            raise InvalidArgument(f"{view.subject_name} is no CA: its certificate issues nothing")
        load_public_key(view.public_key_info)
    except EncodingError as error:
        raise InvalidArgument(f"the file holds no certificate of a CA: {error}") from error
    return view


def _demand_at_host(before: ListSources, changes: Mapping[str, str], *, at_host: bool) -> None:
    """What names files of this host is changed by who works on it.

    Raises:
        AccessDenied: the operator does not.
    """
    after = before.changed(changes)
    if at_host or not after.names_files:
        return
    own = [key for key in SOURCE_SETTINGS if after.texts[key] != before.texts[key]]
    if any("file:" in after.texts[key] or key in HOST_SETTINGS for key in own):
        raise AccessDenied("files of this host are named at its command line only: certwright responder set")


def enroll(installation: Installation, ca: LocalCa, actor: str = SYSTEM) -> SigningCertificate:
    """Enroll for a signing certificate now, through the same door as everybody.

    Raises:
        AdcsError: it was not issued.
    """
    record = ca.authority.database.ca()
    place = door_place(record.ca_id)
    made = installation.signing_certificates.enroll(_door(installation, ca), place, _newest(record))
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
    current = installation.signing_certificates.current(door_place(record.ca_id))
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
