"""A two-tier CA, a web server's certificate under it, and sites that a test sets up as it needs them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from certwright.connectors.certsrv import CertsrvConnection
from certwright.connectors.service import AuthScheme, ServiceAddress, ServiceCredential
from certwright.connectors.trust import PinnedFile, Trust
from tests.support.localized_pages import Site
from tests.support.scripted_https import Identity, Pages, ScriptedServer, make_authority, make_server, serving

PASSWORD = "canary-8d1f-password"
ACCOUNT = r"CORP\svc-certwright"
CREDENTIAL = ServiceCredential.password(ACCOUNT, PASSWORD)

Serve = Callable[..., ScriptedServer]


@pytest.fixture(scope="session")
def root() -> Identity:
    return make_authority("Corp Root CA")


@pytest.fixture(scope="session")
def issuing(root: Identity) -> Identity:
    return make_authority("Corp Issuing CA 1", root)


@pytest.fixture(scope="session")
def web(issuing: Identity) -> Identity:
    return make_server(issuing)


@pytest.fixture
def site(issuing: Identity) -> Site:
    return Site(issuing)


@pytest.fixture
def serve(web: Identity) -> Iterator[Serve]:
    """Starts a scripted server with the usual certificate, unless told otherwise."""
    with ExitStack() as stack:

        def start(pages: Pages, identity: Identity | None = None, **options: Any) -> ScriptedServer:
            return stack.enter_context(serving(ScriptedServer(identity or web, pages, **options)))

        yield start


@pytest.fixture
def connect(root: Identity) -> Callable[..., CertsrvConnection]:
    """A connection to a scripted server that trusts our root."""

    def make(
        server: ScriptedServer,
        trust: Trust | None = None,
        credential: ServiceCredential = CREDENTIAL,
        scheme: AuthScheme = AuthScheme.NTLM,
        **options: Any,
    ) -> CertsrvConnection:
        return CertsrvConnection(address_of(server, scheme), credential, trust or PinnedFile(root.pem), **options)

    return make


def address_of(server: ScriptedServer, scheme: AuthScheme = AuthScheme.NTLM) -> ServiceAddress:
    return ServiceAddress("localhost", server.port, scheme)
