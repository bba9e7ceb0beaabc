"""The published document and the application agree, as schemathesis reads the one and asks the other.

For each operation it makes requests that fit the document, at things that exist, and requests that do not fit, and
checks every answer: no fault of the server, a described status and media type, the described shape, nothing
without its token, and that what does not fit is refused. Whether what fits is *accepted* is not checked: a host name
of the right shape may still not exist.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.config import SchemathesisConfig
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi import _caches

from certwright.console.api.permissions import PERMISSIONS
from certwright.console.rooms import rooms
from certwright.pki.names import sanitized_name
from certwright.server.composition import Installation
from tests.support.api import Caller, clean_up, said, token
from tests.support.foreign_ca import ForeignCa
from tests.support.installation import ISSUING, PASSWORD, GateTemplates, People
from tests.support.server import DOMAIN
from tests.web.console.test_api import order
from tests.web.console.test_ca_pages import submit

pytestmark = pytest.mark.slow

NOBODY: Final = ("127.0.0.1", 9)
"""Where every connection to another host ends: the discard port, where nobody listens."""
UNTYPED: Final = frozenset({"importCertificates"})
"""In a form everything is text: there is nothing that does not fit."""
EXAMPLES: Final = 5
"""Of each kind, for each operation."""


@dataclass(frozen=True)
class World:
    operations: dict[str, Any]  # by their operationId
    headers: dict[str, str]
    existing: dict[str, Any]  # path parameters that name something


@pytest.fixture(scope="module")
def world(console: object, installation: Installation) -> Iterator[World]:
    """The document, and one of each thing."""
    from django.core.handlers.wsgi import WSGIHandler

    caller = Caller(token(People.ADMINISTRATOR))

    def made(path: str, body: dict[str, Any]) -> int:
        number: int = said(caller.post(path, body), 201)["id"]
        return number

    user = made("/device-users", {"name": "svc", "username": People.ENROLLEE, "secret": PASSWORD})
    service = {"domain": DOMAIN, "hostname": rooms().hostname, "device_user_id": user, "kind": "local"}
    existing = {
        "user_id": user,
        "service_id": made("/services", service),
        "order_id": made("/orders", order()),
        "form_id": made("/request-forms", {"name": "web", "domain": DOMAIN, "template": "WebServer"}),
        "rule_id": made("/renewal-rules", {"name": "web", "tag": "web"}),
        "request_id": submit(installation, GateTemplates.APPROVAL).request_id,
        "ca": sanitized_name(ISSUING),
        "cn": "CodeSigning",
        "column": "issuer",
        "service": "-",
    }
    existing["sid"] = existing["member"] = rooms().directory.principal(People.ENROLLEE).sid
    existing["account_id"] = made("/people", {"name": "sam", "password": PASSWORD})
    existing["view_id"] = made("/views", {"page": "/inventory/", "name": "web"})
    existing["token_id"] = said(caller.get("/me/tokens"))[0]["id"]
    existing["number"] = 0
    existing["certificate_id"] = said(caller.post(f"/orders/{existing['order_id']}/fetch"))["certificate_id"]
    hook = {"channel": {"kind": "webhook", "name": "ops", "url": "https://hooks.example/"}, "secret": PASSWORD}
    existing["channel_id"] = made("/notifications/channels", hook)
    elsewhere = {"certificate": ForeignCa().pem.decode(), "crl_urls": ["http://elsewhere.example/ca.crl"]}
    existing["elsewhere_id"] = made("/responder/cas", elsewhere)
    refusals = ["400", "401", "404", "405", "409", "413", "415", "422"]
    config = SchemathesisConfig.from_dict(
        {
            "checks": {
                "positive_data_acceptance": {"enabled": False},
                "negative_data_rejection": {"expected-statuses": refusals},
            }
        }
    )
    document = schemathesis.openapi.from_wsgi("/api/v1/openapi.json", WSGIHandler(), config=config)
    operations = {each.definition.raw["operationId"]: each for each in map(_ok, document.get_all_operations())}
    yield World(operations, {"Authorization": f"Bearer {token(People.ADMINISTRATOR)}"}, existing)
    clean_up()


def _ok(found: Any) -> Any:
    return found.ok()


@pytest.fixture(autouse=True)
def forgetful() -> Iterator[None]:
    """What schemathesis keeps of each operation's schema is of no use to the next, and comes to 1.7 GB for all."""
    yield
    _caches.clear_all()


@pytest.fixture(autouse=True)
def closed_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some operations ask other hosts, whichever was made up: half of them have no address, the others refuse."""

    def resolve(host: Any, port: Any, family: int = 0, kind: int = 0, *more: Any, **named: Any) -> Any:
        del port, more, named
        if len(host or "") % 2:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, kind or socket.SOCK_STREAM, socket.IPPROTO_TCP, "", NOBODY)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


@pytest.mark.parametrize("name", sorted(PERMISSIONS))
def test_every_answer_is_a_described_one(world: World, name: str) -> None:
    operation = world.operations[name]
    named = {each.name for each in operation.path_parameters}
    there = {key: value for key, value in world.existing.items() if key in named}
    if name.startswith("delete"):  # others still need it
        there = {key: 999_999 if isinstance(value, int) else value for key, value in there.items()}
    _ask(world, operation.as_strategy(generation_mode=GenerationMode.POSITIVE, path_parameters=there or None))
    if name not in UNTYPED:
        _ask(world, operation.as_strategy(generation_mode=GenerationMode.NEGATIVE))


def _ask(world: World, strategy: Any) -> None:
    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=strategy)
    def ask(case: Any) -> None:
        case.call_and_validate(headers=world.headers)

    ask()
