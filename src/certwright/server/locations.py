"""What the watch of locations is put together of: whose certificates name them, and how each kind is read.

Watched are the CAs of this installation, and those of others that it orders from. Where their certificates lead was
decided by people who are trusted here - who run a CA of ours, or whose CA an administrator entered as a service - so
private networks are asked too, unlike for a certificate that anybody brings along (`connectors.fetching`).
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator
from datetime import datetime
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import structlog

from certwright.adcs.errors import AdcsError
from certwright.adcs.interfaces import Comparison, Restriction, Sort, Table
from certwright.ca.chains import certificates_above
from certwright.ca.configuration import CaConfiguration
from certwright.ca.database import CaRecord
from certwright.ca.own_certificates import newest_of
from certwright.ca.revocation.crl import certificates_by_key
from certwright.ca.urls import NO_URLS, IssuanceUrls
from certwright.connectors.fetching import NO_VALIDATORS, Fetcher, Found, LocationError, Question, Validators
from certwright.connectors.local import LocalCa
from certwright.connectors.locations import Location, LocationKind, Locations, locations_of
from certwright.directory.active_directory.directory import ActiveDirectory
from certwright.location_watch.values import Subject
from certwright.location_watch.watch import AT_ONCE, LocationWatch
from certwright.manager.inventory_values import InventoryQuery
from certwright.manager.inventory_values import Sort as InventorySort
from certwright.manager.values import Service, ServiceKind
from certwright.notifications.targets import Targets
from certwright.pki import cms
from certwright.pki.certificate import CertificateView
from certwright.pki.errors import EncodingError, SignatureError
from certwright.server.composition import Installation

log = structlog.get_logger(__name__)

PRIVATE_NETWORKS: Final = ("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
EXAMPLES: Final = 5
"""Newest certificates of another's CA among which one is looked for that it signed with its present key."""


def location_watch(installation: Installation) -> LocationWatch:
    """The watch of this installation."""
    return LocationWatch(
        installation.database,
        Locations(Reading(installation), AT_ONCE * 2),
        lambda: subjects(installation),
        installation.notifications.notify,
        installation.clock,
    )


def own_addresses(installation: Installation) -> Collection[str]:
    """Where this installation itself publishes: asking it is asking nobody else."""
    own = installation.home.settings
    return (f"{own.hostname.lower()}:{own.http_port}", f"{own.hostname.lower()}:{own.https_port}")


# -- reading ---------------------------------------------------------------------------------------------------------


class Reading:
    """Reads http locations, those of the domain by LDAP where there is one, and files that a CA of ours names."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        targets = Targets((*PRIVATE_NETWORKS, *installation.home.settings.webhook_allow))
        self._http = Fetcher(targets, own_addresses(installation))

    def fetch(self, question: Question) -> bytes:
        """Raises as `ask`."""
        return self.ask(question).body

    def ask(self, question: Question, known: Validators = NO_VALIDATORS) -> Found:
        """Over HTTP a server may answer that it is still the `known` one.

        Raises:
            LocationError: nothing stands there, or it is not asked from here.
        """
        match urlsplit(question.url).scheme:
            case "ldap":
                return Found(self._ldap(question))
            case "file":
                return Found(self._file(question))
            case _:
                return self._http.ask(question, known)

    def _ldap(self, question: Question) -> bytes:
        directory = self._installation.active_directory
        if directory is None:
            raise LocationError("LDAP locations are asked by members of a domain; this is none", is_not_asked=True)
        return _read_ldap(directory, question)

    def _file(self, question: Question) -> bytes:
        if question.url not in _file_urls(self._installation):
            raise LocationError("only files that a CA of this installation names are read", is_not_asked=True)
        parts = urlsplit(question.url)
        if parts.hostname not in (None, "localhost"):
            raise LocationError("a share of another host is not read from here", is_not_asked=True)
        path = Path(unquote(parts.path))
        try:
            if not path.is_file():
                raise LocationError(f"there is no file {path}", is_absent=True)
            with path.open("rb") as file:
                content = file.read(question.limit + 1)
        except OSError as error:
            raise LocationError(f"{path} cannot be read: {error.strerror}") from error
        if len(content) > question.limit:
            raise LocationError(f"the file has more than {question.limit} bytes")
        return content


def _read_ldap(directory: ActiveDirectory, question: Question) -> bytes:
    """One attribute of one entry. RFC 4516: `ldap:///DN?attribute?base?filter`."""
    parts = urlsplit(question.url)
    host = (parts.hostname or "").rstrip(".").lower()
    domain = directory.settings.dns_domain.lower()
    if host and host != domain and not host.endswith(f".{domain}"):
        raise LocationError(f"{host} is no domain controller of {domain}", is_not_asked=True)
    name, attribute = unquote(parts.path).lstrip("/"), parts.query.partition("?")[0].partition(";")[0]
    if not name or not attribute:
        raise LocationError("the URL names no entry and attribute")
    try:
        entry = directory.pool.run(lambda connection: connection.read(name, [attribute]))
    except AdcsError as error:
        raise LocationError(error.message) from error
    if entry is None:
        raise LocationError(f"the directory has no entry {name}", is_absent=True)
    found = entry.values(attribute)
    if not found:
        raise LocationError(f"{name} has no {attribute}", is_absent=True)
    content = found[0] if len(found) == 1 else cms.certs_only(found)
    if len(content) > question.limit:
        raise LocationError(f"the attribute has more than {question.limit} bytes")
    return content


def _file_urls(installation: Installation) -> frozenset[str]:
    return frozenset(
        location.url
        for subject in _own(installation)
        for location in subject.locations
        if location.url.lower().startswith("file:")
    )


# -- what is watched -------------------------------------------------------------------------------------------------


def subjects(installation: Installation) -> Iterator[Subject]:
    """Every certificate that names locations to watch; our own CAs first."""
    yield from _own(installation)
    own = {each.der for record in installation.records() for each in record.certificates}
    seen: set[bytes] = set()
    for service in installation.manager.services.list():
        if service.kind is ServiceKind.LOCAL:
            continue
        chain = installation.manager.services.chain(service.id)
        if not chain or chain[0] in own or chain[0] in seen:
            continue
        seen.add(chain[0])
        try:
            yield from _of_service(installation, service, [CertificateView.parse(each) for each in chain])
        except EncodingError as error:
            log.warning("service_chain_unreadable", service=service.hostname, error=str(error))


def _own(installation: Installation) -> Iterator[Subject]:
    for ca in installation.cas:
        yield from _of_ca(installation, ca, installation.clock())


def _of_ca(installation: Installation, ca: LocalCa, now: datetime) -> Iterator[Subject]:
    """What the newest certificate of each key names, what the next ones will, and what the CA's own names."""
    record = ca.authority.database.ca()
    living = certificates_by_key(record, now)
    newest = newest_of(record)
    own = CertificateView.parse(newest.der)
    last: CertificateView | None = None
    for key_index, certificate in living.items():
        example = _newest_issued(ca, key_index, now)
        if example is not None:
            yield Subject(record.name, example, CertificateView.parse(certificate.der), locations_of(example))
        if key_index == newest.key_index:
            last = example
    yield Subject(record.name, last or own, own, tuple(_named(_urls_of(record))), is_example=last is not None)
    if not record.ca_type.is_root:
        for certificate in living.values():
            view = CertificateView.parse(certificate.der)
            above = certificates_above(certificate, record.parent, installation.records)
            issuer_view = CertificateView.parse(above[0]) if above else None
            yield Subject(record.name, view, issuer_view, locations_of(view))


def _urls_of(record: CaRecord) -> IssuanceUrls:
    try:
        return CaConfiguration.load(record.settings).issuance_urls(record, newest_of(record))
    except AdcsError:  # a URL needs a setting that is missing: nothing is issued with it either
        return NO_URLS


def _named(urls: IssuanceUrls) -> Iterator[Location]:
    for kind, found in (
        (LocationKind.CRL, urls.cdp),
        (LocationKind.DELTA_CRL, urls.freshest),
        (LocationKind.ISSUER, urls.aia),
        (LocationKind.OCSP, urls.ocsp),
    ):
        yield from (Location(kind, url) for url in found)


def _newest_issued(ca: LocalCa, key_index: int, now: datetime) -> CertificateView | None:
    """The newest certificate of one key that still counts."""
    where = (
        Restriction("disposition", Comparison.EQUAL, "issued"),
        Restriction("ca_key_index", Comparison.EQUAL, key_index),
        Restriction("not_after", Comparison.GREATER, now.isoformat()),
    )
    database = ca.authority.database
    for row in database.view(Table.REQUESTS, where, ("request_id",), Sort("request_id", descending=True), 1):
        request_id = row["request_id"]
        assert isinstance(request_id, int)
        found = database.certificate_der(request_id)
        return CertificateView.parse(found) if found is not None else None
    return None


def _of_service(installation: Installation, service: Service, chain: list[CertificateView]) -> Iterator[Subject]:
    """Another's CA: what it issued for us names its locations, and so do the certificates of its chain."""
    name = service.ca_name or service.config or service.hostname
    example = _example_of(installation, chain[0])
    if example is not None:
        yield Subject(name, example, chain[0], locations_of(example))
    for below, above in itertools.pairwise(chain):
        yield Subject(name, below, above, locations_of(below))
    if len(chain) == 1 and not chain[0].is_self_issued:
        yield Subject(name, chain[0], None, locations_of(chain[0]))


def _example_of(installation: Installation, issuer: CertificateView) -> CertificateView | None:
    """The newest certificate of the inventory that this CA signed."""
    inventory = installation.manager.inventory
    query = InventoryQuery(
        issuer=issuer.subject_name, sort=InventorySort("not_after", descending=True), limit=EXAMPLES
    )
    for row in inventory.search(query, with_count=False).rows:
        view = CertificateView.parse(inventory.get(row.id).der)
        if view.issuer == issuer.subject and view.not_after > installation.clock() and _is_signed(view, issuer):
            return view
    return None


def _is_signed(view: CertificateView, issuer: CertificateView) -> bool:
    try:
        view.verify_signed_by(issuer)
    except (SignatureError, EncodingError):
        return False
    return True


def known_issuer(installation: Installation, view: CertificateView) -> CertificateView | None:
    """The CA that signed a certificate, if it is one of ours or of a service, or stands above one."""
    ours = [each.der for record in installation.records() for each in record.certificates]
    above = [der for record in installation.records() for each in record.certificates for der in each.chain]
    services = installation.manager.services
    theirs = [der for service in services.list() for der in services.chain(service.id)]
    for der in (*ours, *above, *theirs):
        candidate = CertificateView.parse(der)
        if candidate.subject == view.issuer and _is_signed(view, candidate):
            return candidate
    return None
