"""Remote services behind the registry: reached as the account the caller brings, never as somebody else's."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from certwright.adcs.errors import AccessDenied, InvalidArgument, NotSupported
from certwright.adcs.properties import CaProperty
from certwright.adcs.requester import Credential
from certwright.connectors.certsrv import CREDENTIAL_KIND, CertsrvConnector, CertsrvService
from certwright.connectors.registry import Registry
from certwright.connectors.trust import PinnedFile
from tests.support.certsrv import ALICE
from tests.support.localized_pages import Site
from tests.support.requests import web_server_request
from tests.support.scripted_https import Identity
from tests.unit.connectors.conftest import CREDENTIAL, Serve, address_of

CONFIG = r"localhost\Corp Issuing CA 1"
CALLER = replace(ALICE, credential=Credential(CREDENTIAL_KIND, CREDENTIAL))


@pytest.fixture
def registry(serve: Serve, site: Site, root: Identity) -> Registry:
    service = CertsrvService(address_of(serve(site)), PinnedFile(root.pem), "Corp Issuing CA 1")
    return Registry(CertsrvConnector(lambda: [service]))


def test_a_caller_with_an_account_for_the_service_gets_through(registry: Registry) -> None:
    assert registry.configs() == [CONFIG]
    door = registry.connect("corp issuing ca 1", CALLER)

    assert door.config == CONFIG
    assert door.submit(web_server_request()).is_issued


def test_the_same_door_on_an_event_loop(registry: Registry) -> None:
    door = registry.connect_async(CONFIG, CALLER)

    async def walk() -> None:
        assert door.config == CONFIG
        response = await door.submit(web_server_request())
        assert response.is_issued
        assert await door.retrieve(response.request_id) == response
        assert await door.ca_property(CaProperty.CA_NAME) == "Corp Issuing CA 1"

    asyncio.run(walk())


@pytest.mark.parametrize(
    "credential", [None, Credential("kerberos ticket", CREDENTIAL), Credential(CREDENTIAL_KIND, "x")]
)
def test_nobody_acts_with_an_account_that_is_not_theirs(registry: Registry, credential: Credential | None) -> None:
    with pytest.raises(AccessDenied):
        registry.connect(CONFIG, replace(ALICE, credential=credential))


def test_what_the_pages_cannot_do_is_not_offered(registry: Registry, root: Identity) -> None:
    with pytest.raises(NotSupported):
        registry.administer(CONFIG, CALLER)
    with pytest.raises(NotSupported):
        registry.enrollable_templates(CONFIG, CALLER)
    assert registry.enrollment_services() == []
    with pytest.raises(InvalidArgument):
        CertsrvConnector(list).connect(CONFIG, CALLER)
