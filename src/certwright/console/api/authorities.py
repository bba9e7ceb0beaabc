"""Our CAs: certificates, CRLs, settings. Every call goes through the CA's own check of rights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final

from django.http import HttpResponse
from ninja import Query, Router
from pydantic import Field

from certwright.adcs.interfaces import CertAdmin, CrlKind, Sort, Table
from certwright.adcs.properties import LATEST, CaProperty
from certwright.console.access import HEALTH, Viewer
from certwright.console.api.authentication import ApiRequest
from certwright.console.api.operations import operation
from certwright.console.api.problems import not_there
from certwright.console.api.shapes import PEM, Entered, QueryFlag, Told, line
from certwright.console.api.system import HealthLine, roles_on
from certwright.console.authority import download
from certwright.console.rooms import CaStanding, rooms
from certwright.pki import armor
from certwright.pki.cms import parse_certs_only

router = Router(tags=["CAs"])

CRL: Final = "application/pkix-crl"
SHOWN: Final = 100
"""CRLs that a list has, the newest first."""

CaName = Annotated[str, line(255, least=1), Field(description="Name in paths, as listCas tells it")]
Settings = Annotated[
    dict[Annotated[str, line(64, least=1)], Annotated[str, line(16_384)]], Field(min_length=1, max_length=100)
]


class Ca(Told):
    """One CA, as the caller stands to it."""

    ca: str  # its name in paths
    name: str
    config: str  # configuration string
    is_root: bool
    roles: list[str]
    in_conflict: bool  # the caller holds two roles while they are separated: the CA refuses everything
    health: list[HealthLine]  # empty where the caller may not see it


class Crl(Told):
    number: int
    min_base: int  # 0: a base CRL
    key_index: int
    partition: int  # of a range of request IDs; 0: of everything
    this_update: datetime
    next_update: datetime
    next_publish: datetime
    entry_count: int
    published_when: datetime | None
    publish_error: str


class PublishedFile(Told):
    """How a published CRL or certificate stands at one target."""

    target: str  # a folder, or the directory
    file: str
    number: int | None  # of a CRL
    delivered_when: datetime | None  # null: it does not lie there
    tried_when: datetime
    error: str


class ChainAsked(Entered):
    chain: Annotated[QueryFlag, Field(description="With what is above it")] = False


class Configuration(Told):
    settings: dict[str, str]


class ConfigurationChanges(Entered):
    """Settings by their names on the command line; all are changed, or none."""

    settings: Settings


class ConfigurationOverride(ConfigurationChanges):
    accept_risks: Annotated[
        tuple[Annotated[str, line(32, least=1)], ...],
        Field(min_length=1, max_length=20, description="Each by its name, as in ESC8"),
    ]
    reason: Annotated[str, line(500, least=1), Field(description="For the audit trail")]


class SettingDescription(Told):
    key: str
    default: str
    meaning: str


class CrlWanted(StrEnum):
    BASE = "base"  # and its delta CRL, where the CA makes them
    DELTA = "delta"


class CrlAsked(Entered):
    kind: CrlWanted = CrlWanted.BASE


def ca_of(viewer: Viewer, name: str) -> CaStanding:
    """The CA that a path names."""
    found = viewer.ca(name)
    if found is None:
        raise not_there(f"CA called {name[:80]!r}")
    return found


def administer(viewer: Viewer, name: str) -> CertAdmin:
    """The CA of a path, administered as the caller. It checks every call itself."""
    return rooms().registry.administer(ca_of(viewer, name).config, viewer.requester)


@operation(router, "GET", "/cas", list[Ca])
def list_cas(request: ApiRequest) -> Sequence[Ca]:
    """List the CAs of this installation, with the caller's roles on each."""
    return [_told(request.viewer, ca) for ca in request.viewer.cas]


@operation(router, "GET", "/cas/{ca}", Ca)
def get_ca(request: ApiRequest, ca: CaName) -> Ca:
    """Show a CA."""
    return _told(request.viewer, ca_of(request.viewer, ca))


def _told(viewer: Viewer, ca: CaStanding) -> Ca:
    health = [
        HealthLine(group=ca.name, what=str(each.what), state=each.state, detail=str(each.detail), until=each.until)
        for each in (rooms().ca_health(ca.config) if viewer.is_any(HEALTH) else ())
    ]
    return Ca(
        ca=ca.slug,
        name=ca.name,
        config=ca.config,
        is_root=ca.is_root,
        roles=roles_on(ca),
        in_conflict=ca.in_conflict,
        health=health,
    )


@operation(router, "GET", "/cas/{ca}/certificate", produces=PEM)
def get_ca_certificate(request: ApiRequest, ca: CaName, asked: Query[ChainAsked]) -> HttpResponse:
    """Download the CA's newest certificate in PEM, alone or with its chain."""
    standing = ca_of(request.viewer, ca)
    door = rooms().registry.connect(standing.config, request.viewer.requester)
    wanted = CaProperty.CA_SIGNATURE_CERTIFICATE_CHAIN if asked.chain else CaProperty.CA_SIGNATURE_CERTIFICATE
    found = _octets(door.ca_property(wanted, LATEST))
    certificates = parse_certs_only(found) if asked.chain else (found,)
    text = "".join(armor.armor(armor.CERTIFICATE, each) for each in certificates)
    return download(f"{standing.slug}{'-chain' if asked.chain else ''}.pem", text.encode(), PEM)


@operation(router, "GET", "/cas/{ca}/crl", produces=CRL)
def get_crl(request: ApiRequest, ca: CaName) -> HttpResponse:
    """Download the newest base CRL."""
    standing = ca_of(request.viewer, ca)
    door = rooms().registry.connect(standing.config, request.viewer.requester)
    return download(f"{standing.slug}.crl", _octets(door.ca_property(CaProperty.BASE_CRL, LATEST)), CRL)


def _octets(value: object) -> bytes:
    assert isinstance(value, bytes)  # what these properties are
    return value


@operation(router, "GET", "/cas/{ca}/crls", list[Crl])
def list_crls(request: ApiRequest, ca: CaName) -> Sequence[Crl]:
    """List the last hundred CRLs, the newest first."""
    return _crls(administer(request.viewer, ca))


def _crls(admin: CertAdmin) -> Sequence[Crl]:
    return [Crl.model_validate(dict(row)) for row in admin.view(Table.CRLS, (), (), Sort("number", True), SHOWN)]


@operation(router, "POST", "/cas/{ca}/crls", list[Crl], status=201)
def publish_crl(request: ApiRequest, ca: CaName, asked: Query[CrlAsked]) -> Sequence[Crl]:
    """Publish a new CRL of every key of a CA, a base CRL or a delta CRL; answers the list of CRLs."""
    admin = administer(request.viewer, ca)
    admin.publish_crls(CrlKind.DELTA if asked.kind is CrlWanted.DELTA else CrlKind.BASE)
    return _crls(admin)


@operation(router, "GET", "/cas/{ca}/published-files", list[PublishedFile])
def list_published_files(request: ApiRequest, ca: CaName) -> Sequence[PublishedFile]:
    """List how every published CRL and certificate of a CA stands at each target."""
    return [PublishedFile.model_validate(asdict(each)) for each in administer(request.viewer, ca).deliveries()]


@operation(router, "GET", "/cas/{ca}/configuration", Configuration)
def get_ca_configuration(request: ApiRequest, ca: CaName) -> Configuration:
    """Show the settings of a CA, by their names on the command line."""
    return _configuration(administer(request.viewer, ca).configuration())


@operation(router, "PATCH", "/cas/{ca}/configuration", Configuration)
def change_ca_configuration(request: ApiRequest, ca: CaName, entered: ConfigurationChanges) -> Configuration:
    """Change settings of a CA, all or none.

    Refused with 409 where that would open an escalation; the errors name each and what would mend it.
    """
    admin = administer(request.viewer, ca)
    admin.set_configuration(entered.settings)
    return _configuration(admin.configuration())


@operation(router, "POST", "/cas/{ca}/configuration/override", Configuration)
def override_ca_configuration(request: ApiRequest, ca: CaName, entered: ConfigurationOverride) -> Configuration:
    """Change settings of a CA in spite of risks: each is named, with the reason, and stands in the audit trail."""
    admin = administer(request.viewer, ca)
    admin.set_configuration(entered.settings, override=entered.accept_risks, reason=entered.reason)
    return _configuration(admin.configuration())


@operation(router, "GET", "/cas/{ca}/configuration/settings", list[SettingDescription])
def describe_ca_settings(request: ApiRequest, ca: CaName) -> Sequence[SettingDescription]:
    """List every setting of a CA with its default and what it means."""
    return [SettingDescription.model_validate(each) for each in administer(request.viewer, ca).describe_settings()]


def _configuration(settings: Mapping[str, str]) -> Configuration:
    return Configuration(settings=dict(settings))
