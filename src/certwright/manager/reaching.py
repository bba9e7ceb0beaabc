"""The ways to a service: its enrollment web services, its pages, a CA of this installation. What `reach.Reach` asks.

A service that is reached by whichever there is is asked for its policies first. Where nobody is there for this
account, its pages are used for some minutes without asking again; a logon that was refused is not tried at the other
door, which would count as a second wrong password.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from functools import partial
from typing import Final

from certwright.adcs.errors import AdcsError, BadRequest, ConfigurationError, NotSupported
from certwright.adcs.interfaces import CertAdmin, CertRequest, Comparison, Forecast, Restriction, Table
from certwright.adcs.properties import CaProperty
from certwright.adcs.request import Response, template_attributes
from certwright.adcs.requester import Requester
from certwright.adcs.roles import RevocationReason
from certwright.connectors.certsrv import CertsrvConnection
from certwright.connectors.ces import CesConnection, Places, PolicyServer
from certwright.connectors.either_way import EitherWay
from certwright.connectors.probing import Outcome, ProbeStep, Step, probe, probe_web_services
from certwright.connectors.reading import OfferedTemplate, ServiceInformation
from certwright.connectors.registry import Registry
from certwright.connectors.service import AuthScheme, ServiceAddress, ServiceCredential
from certwright.connectors.soap import Endpoint, Logon, NegotiateLogon, UserNameLogon
from certwright.connectors.trust import Fingerprint, PinnedFile, SystemTrust, Trust
from certwright.manager.values import LostAnswer, Service, ServiceKind, TrustKind, Via
from certwright.pki.certificate import CertificateView
from certwright.pki.cms import parse_certs_only
from certwright.pki.errors import EncodingError
from certwright.pki.pkcs10 import CertificationRequest

_LOOKED_AT: Final = 5000  # request rows of our own CA in which a lost one is looked for


class ServiceReach:
    """Reaches remote services over CES or /certsrv, and local ones through the registry.

    Args:
        requester: an account of this installation's directory as a caller, by its user name.
        officer: who approves and revokes at our own CAs; they check its rights.
    """

    def __init__(
        self, registry: Registry, requester: Callable[[str], Requester], officer: Callable[[], Requester]
    ) -> None:
        self._registry = registry
        self._requester = requester
        self._officer = officer
        self._places = Places()

    def connect(self, service: Service, credential: ServiceCredential) -> CertRequest:
        if service.kind is ServiceKind.LOCAL:
            return self._registry.connect(service.ca, self._requester(credential.username))
        return self._remote(service, credential)

    def information(self, service: Service, credential: ServiceCredential) -> ServiceInformation:
        if service.kind is ServiceKind.LOCAL:
            return self._local_information(service, credential)
        return self._remote(service, credential).information()

    def probe(self, service: Service, credential: ServiceCredential) -> Sequence[ProbeStep]:
        if service.kind is ServiceKind.LOCAL:
            return self._local_probe(service, credential)
        pages = partial(probe, address_of(service), credential, trust_of(service))
        if service.via is Via.CERTSRV:
            return pages()
        try:
            server = policy_server_of(service, credential)
        except ConfigurationError as error:
            return [ProbeStep(Step.AUTHENTICATION, Outcome.FAILED, error.message)]
        otherwise = pages if service.via is Via.AUTO else None
        return probe_web_services(server, credential.username, ca_name=_wanted_ca(service), otherwise=otherwise)

    def forecast(self, service: Service, credential: ServiceCredential, request: bytes, template: str) -> Forecast:
        requester = self._requester(credential.username)
        return self._registry.forecast(self.own_ca(service), requester, request, template_attributes(template))

    def own_ca(self, service: Service) -> str:
        """The configuration string of our own CA behind a service, by whatever way it is reached.

        Raises:
            NotSupported: the CA is somebody else's, or was never read.
        """
        if service.kind is ServiceKind.LOCAL:
            return self._registry.config(service.ca)
        for ca in self._registry.enrollment_services():
            if hashlib.sha256(ca.certificate).hexdigest() == service.ca_sha256:
                return ca.config
        raise NotSupported(
            f"{service.hostname} decides when the request is there: its CA shows neither the rules of its templates"
            " nor what it would do"
        )

    def find_lost(
        self,
        service: Service,
        credential: ServiceCredential,
        public_key: bytes,
        since: datetime,
        last_known_id: int,
        known: Collection[int],
    ) -> LostAnswer:
        if service.kind is ServiceKind.LOCAL:
            return self._local_find(service, public_key, last_known_id, known)
        way = self._remote(service, credential)
        if isinstance(way, EitherWay):
            way = way.chosen()
        found = way.search(public_key, since, last_known_id, known)
        request_id = found.found.request_id if found.found is not None else None
        return LostAnswer(request_id, found.undecided, found.searched_to)

    def approve(self, service: Service, request_id: int) -> Response:
        return self._administer(service, f"Request {request_id} cannot be approved").resubmit(request_id)

    def revoke(self, service: Service, serial_number: str, reason: RevocationReason) -> None:
        self._administer(service, f"{serial_number} cannot be revoked").revoke(serial_number, reason)

    # -- remote ------------------------------------------------------------------------------------------------

    def _remote(
        self, service: Service, credential: ServiceCredential
    ) -> CertsrvConnection | CesConnection | EitherWay:
        pages = CertsrvConnection(
            address_of(service),
            credential,
            trust_of(service),
            ca_name=service.ca_name,
            last_known_id=service.last_request_id,
        )
        if service.via is Via.CERTSRV:
            return pages
        server = policy_server_of(service, credential)
        web_services = CesConnection(server, ca_name=_wanted_ca(service), places=self._places)
        return web_services if service.via is Via.CES else EitherWay(web_services, pages)

    def _administer(self, service: Service, what: str) -> CertAdmin:
        if service.kind is not ServiceKind.LOCAL:
            raise NotSupported(
                f"{what} from here: {service.hostname} is reached as an enrollee. A certificate manager"
                " has to do it there."
            )
        return self._registry.administer(service.ca, self._officer())

    # -- local -------------------------------------------------------------------------------------------------

    def _local_information(self, service: Service, credential: ServiceCredential) -> ServiceInformation:
        requester = self._requester(credential.username)
        door = self._registry.connect(service.ca, requester)
        chain = door.ca_property(CaProperty.CA_SIGNATURE_CERTIFICATE_CHAIN)
        if not isinstance(chain, bytes):
            raise BadRequest("the CA's chain is no CMS")
        try:
            certificates = parse_certs_only(chain)
            newest = CertificateView.parse(certificates[0])
        except (EncodingError, IndexError) as error:
            raise ConfigurationError(
                f"the certificates of {service.ca or 'our CA'} cannot be read: {error}"
            ) from error
        templates = tuple(
            OfferedTemplate(
                name=template.cn,
                display_name=template.display_name,
                supplies_subject=template.enrollee_supplies_subject,
                oid=template.oid,
                minimal_key_size=template.minimal_key_size,
                ra_signatures=template.ra_signatures,
            )
            for template in self._registry.enrollable_templates(service.ca, requester)
        )
        return ServiceInformation(newest.common_name, certificates, newest.not_after, templates)

    def _local_probe(self, service: Service, credential: ServiceCredential) -> Sequence[ProbeStep]:
        """Nothing lies between us and our own CA: the account, the CA and its templates are what can fail."""
        steps: list[ProbeStep] = []
        try:
            requester = self._requester(credential.username)
            steps.append(ProbeStep(Step.AUTHENTICATION, Outcome.OK, f"{requester.account} is an account here"))
        except AdcsError as error:
            fix = "choose a device user whose user name is an account of this directory"
            return [ProbeStep(Step.AUTHENTICATION, Outcome.FAILED, error.message, fix)]
        try:
            information = self._local_information(service, credential)
        except AdcsError as error:
            fix = "name a CA of this installation, or none for the issuing one"
            return [*steps, ProbeStep(Step.CA_NAME, Outcome.FAILED, error.message, fix)]
        steps.append(ProbeStep(Step.CA_NAME, Outcome.OK, information.ca_name))
        names = ", ".join(template.name for template in information.templates[:20])
        if information.templates:
            steps.append(ProbeStep(Step.TEMPLATES, Outcome.OK, names))
        else:
            sentence = f"{requester.account} may enroll for no template that {information.ca_name} issues"
            fix = "grant the account Enroll on a template, and have the CA issue it"
            steps.append(ProbeStep(Step.TEMPLATES, Outcome.FAILED, sentence, fix))
        return steps

    def _local_find(
        self, service: Service, public_key: bytes, last_known_id: int, known: Collection[int]
    ) -> LostAnswer:
        """Our own database says for certain."""
        admin = self._registry.administer(service.ca, self._officer())
        after = Restriction("request_id", Comparison.GREATER, last_known_id)
        found = list(admin.view(Table.REQUESTS, (after,), ("request_id",), limit=_LOOKED_AT + 1))
        highest = last_known_id
        for row in found[:_LOOKED_AT]:
            request_id = row["request_id"]
            if not isinstance(request_id, int):
                continue
            highest = max(highest, request_id)
            raw = admin.request_row(request_id)["raw_request"]
            if request_id not in known and isinstance(raw, bytes) and _is_of(raw, public_key):
                return LostAnswer(request_id, (), request_id)
        return LostAnswer(None, (), highest, certain=len(found) <= _LOOKED_AT)


def address_of(service: Service) -> ServiceAddress:
    return ServiceAddress(service.hostname, service.port, service.auth_method)


def policy_server_of(service: Service, credential: ServiceCredential) -> PolicyServer:
    """CEP of a service's host, at the address for its kind of logon: Basic stands for the password in the message.

    Raises:
        ConfigurationError: the account has a keytab and the service wants a password.
    """
    logon: Logon
    if service.auth_method is AuthScheme.BASIC:
        logon, word = UserNameLogon(credential), "UsernamePassword"
    else:
        logon, word = NegotiateLogon(service.auth_method, credential), "Kerberos"
    base = ServiceAddress(service.hostname, service.port, path="/").url
    return PolicyServer(Endpoint(f"{base}ADPolicyProvider_CEP_{word}/service.svc/CEP"), logon, trust_of(service))


def _wanted_ca(service: Service) -> str:
    """The one that was read, so that another CA of the same host does not get its orders."""
    return service.ca or service.ca_name


def trust_of(service: Service) -> Trust:
    match service.trust:
        case TrustKind.SYSTEM:
            return SystemTrust()
        case TrustKind.PINNED:
            return PinnedFile(service.trust_data)
        case TrustKind.FINGERPRINT:
            return Fingerprint(service.trust_data)


def _is_of(request: bytes, public_key: bytes) -> bool:
    try:
        return CertificationRequest.parse(request).public_key_info == public_key
    except EncodingError:  # CMC and CMS: none of what the manager sends
        return False
