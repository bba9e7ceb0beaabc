"""CEP and CES put together for this installation: who may log on how, which CAs are served, what clients are told.

The certificate endpoints are on a listener of their own, and only where certwright.toml gives it a port: a listener
that people use must not ask browsers for certificates, and an update must open no port by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import replace
from typing import Final

from certwright.adcs.security import SecurityDescriptor
from certwright.auth.certificate_mapping import MappedAccounts, StrongMapping
from certwright.auth.client_certificate import CertificateAuthenticator
from certwright.auth.domain import DomainLogons
from certwright.auth.http import HttpAuthenticator
from certwright.auth.lookups import Lookups
from certwright.auth.policy import AuthenticationPolicy
from certwright.auth.throttle import Throttle
from certwright.auth.user_name import UserNameAuthenticator
from certwright.ca.configuration import CaConfiguration
from certwright.ca.database import CaRecord
from certwright.cep import application as cep
from certwright.cep.offer import Offer, OfferedCa, PolicyOffer
from certwright.ces import application as ces
from certwright.ces.application import ServedCa
from certwright.connectors.local import LocalCa
from certwright.directory.active_directory.certificate_mappings import accounts_mapped
from certwright.directory.active_directory.subnets import Subnets
from certwright.endpoints.asgi import Asgi, Receive, Reply, Scope, Send
from certwright.endpoints.logon import Logons
from certwright.server.composition import Installation
from certwright.server.domain_logons import OwnCertificates
from certwright.wire.xcep import CaUri, ClientAuthentication

_PRIORITIES: Final = {
    ClientAuthentication.KERBEROS: 1,
    ClientAuthentication.CERTIFICATE: 2,
    ClientAuthentication.USER_NAME: 3,
}
_SETTING_WORDS: Final = {
    "kerberos": ClientAuthentication.KERBEROS,
    "username": ClientAuthentication.USER_NAME,
    "certificate": ClientAuthentication.CERTIFICATE,
}


class EnrollmentServices:
    """Both services over one installation, in the running event loop. Close it there."""

    def __init__(
        self,
        installation: Installation,
        throttle: Throttle,
        pool: Executor,
        local_names: Callable[[], frozenset[str]],
        domain: DomainLogons | None,
    ) -> None:
        self._installation = installation
        self._domain = domain
        self._lookups = Lookups() if domain is None else domain.lookups
        self._served = _served(installation)
        logons = self._logons(throttle, pool, local_names)
        offer = PolicyOffer(installation.directory, self._offer(), installation.clock, _sites(installation))
        self._ces = ces.EnrollmentWebService(installation.registry, logons, self._at_ces())
        self.applications: tuple[tuple[Callable[[str], bool], Asgi], ...] = (
            (cep.is_address, cep.PolicyWebService(offer, logons, blocks=installation.active_directory is not None)),
            (ces.is_address, self._ces),
        )

    def serve_new_cas(self) -> None:
        """Serve what the installation has now."""
        self._served = _served(self._installation)
        self._ces.serve(self._at_ces())

    def _at_ces(self) -> list[ServedCa]:
        return [self._served_ca(ca) for ca in self._served]

    def close(self) -> None:
        if self._domain is None:
            self._lookups.close()

    # -- logons

    def _logons(self, throttle: Throttle, pool: Executor, local_names: Callable[[], frozenset[str]]) -> Logons:
        installation, domain = self._installation, self._domain
        negotiate = HttpAuthenticator(
            installation.directory,
            enrollment_policy(installation),
            throttle,
            pool,
            local_names,
            installation.clock,
            None if domain is None else replace(domain, certificates=None),  # one endpoint, one way to log on
        )
        user_names = UserNameAuthenticator(
            installation.directory, throttle, pool, None if domain is None else domain.lookups
        )
        asked = domain is not None and domain.certificates is not None
        if installation.home.settings.certificate_port or asked:
            return Logons(negotiate, user_names, self._certificates())
        return Logons(negotiate, user_names)

    def _certificates(self) -> CertificateAuthenticator:
        installation = self._installation
        directory = installation.active_directory
        mapped: MappedAccounts = (
            (lambda _: ()) if directory is None else lambda identities: accounts_mapped(directory, identities)
        )
        standing = OwnCertificates(installation)
        mapper = StrongMapping(installation.directory, mapped, standing, installation.clock)
        return CertificateAuthenticator(mapper, self._lookups)

    # -- what is told

    def _offer(self) -> Callable[[], Offer]:
        known: tuple[object, Offer] | None = None

        def offer() -> Offer:
            nonlocal known
            records = [ca.authority.database.ca() for ca in self._served]
            kerberos = self._domain is not None and self._domain.has_kerberos
            state = (kerberos, *((record.ca_id, record.version) for record in records))
            if known is None or known[0] != state:
                known = (state, self._made(records, kerberos=kerberos))
            return known[1]

        return offer

    def _made(self, records: list[CaRecord], *, kerberos: bool) -> Offer:
        domain_sid = self._installation.directory.domain.sid
        configurations = [CaConfiguration.load(record.settings) for record in records]
        cas = tuple(
            OfferedCa(
                record.name,
                max(record.certificates, key=lambda each: each.index).der,
                self._uris(record.name, configuration, negotiable=kerberos or configuration.enrollment_ntlm),
                SecurityDescriptor.from_sddl(configuration.security_descriptor, domain_sid),
            )
            for record, configuration in zip(records, configurations, strict=True)
        )
        first = configurations[0]
        return Offer(cas, list_all=first.list_all_templates, by_key=first.renewal_on_behalf)

    def _uris(self, ca_name: str, configuration: CaConfiguration, *, negotiable: bool) -> tuple[CaUri, ...]:
        """Only addresses at which somebody could log on: clients take the first of their kind and try no other."""
        usable = {
            ClientAuthentication.KERBEROS: negotiable,
            ClientAuthentication.CERTIFICATE: bool(self._installation.home.settings.certificate_port),
            ClientAuthentication.USER_NAME: True,
        }
        only = _renewal_only(configuration)
        return tuple(
            CaUri(kind, self._uri(ca_name, kind), priority, kind in only)
            for kind, priority in _PRIORITIES.items()
            if usable[kind]
        )

    def _uri(self, ca_name: str, kind: ClientAuthentication) -> str:
        settings = self._installation.home.settings
        by_certificate = kind is ClientAuthentication.CERTIFICATE and settings.certificate_url
        return (by_certificate or settings.https_url) + ces.address(ca_name, kind)

    def _served_ca(self, ca: LocalCa) -> ServedCa:
        name = ca.authority.name
        database = ca.authority.database
        known: tuple[int, frozenset[ClientAuthentication]] | None = None

        def renewal_only() -> frozenset[ClientAuthentication]:
            nonlocal known
            record = database.ca()
            if known is None or known[0] != record.version:
                known = (record.version, _renewal_only(CaConfiguration.load(record.settings)))
            return known[1]

        return ServedCa(name, ca.config, lambda kind: self._uri(name, kind), renewal_only)


def _sites(installation: Installation) -> Callable[[str], str]:
    """The site of an address, where the installation is in a domain."""
    directory = installation.active_directory
    if directory is None:
        return lambda _: ""
    return Subnets(directory.pool, lambda: directory.names.configuration).site_of


def _served(installation: Installation) -> list[LocalCa]:
    """The issuing CAs. A root that stands above one is for its key's ceremonies, not for the network."""
    first, *others = installation.cas
    return [first, *(ca for ca in others if not ca.authority.database.ca().ca_type.is_root)]


def _renewal_only(configuration: CaConfiguration) -> frozenset[ClientAuthentication]:
    return frozenset(_SETTING_WORDS[word] for word in configuration.renewal_only)


def enrollment_policy(installation: Installation) -> Callable[[], AuthenticationPolicy]:
    """How one logs on at the Kerberos endpoints; the same object until the issuing CA's settings change."""
    known: tuple[tuple[int, int], AuthenticationPolicy] | None = None

    def policy() -> AuthenticationPolicy:
        nonlocal known
        record = installation.ca().authority.database.ca()
        if known is None or known[0] != (record.ca_id, record.version):
            configuration = CaConfiguration.load(record.settings)
            chosen = AuthenticationPolicy.from_settings(
                configuration.channel_binding,
                ntlm=configuration.enrollment_ntlm,
                basic=False,
                ntlm_mic=configuration.ntlm_mic,
            )
            known = ((record.ca_id, record.version), chosen)
        return known[1]

    return policy


async def nothing_here(scope: Scope, receive: Receive, send: Send) -> None:
    """What the listener for client certificates says to everything else."""
    if scope["type"] == "http":
        reply = Reply.plain(404, "This port is for CEP and CES with a client certificate.")
        await reply.send(send, without_body=scope["method"] == "HEAD")
