"""AD CS services: where orders go, as whom, in which order."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from django.http import HttpResponse
from ninja import Query, Router
from pydantic import Field

from certwright.connectors.probing import Outcome, ProbeStep, Step
from certwright.connectors.service import AuthScheme
from certwright.console.api.authentication import ApiRequest
from certwright.console.api.operations import operation
from certwright.console.api.problems import named_in_the_path
from certwright.console.api.shapes import PEM, Entered, Id, Line, Name, Number, PathId, QueryFlag, TemplateName, Told
from certwright.console.authority import download
from certwright.console.pages.adcs_accounts import MAX_PINNED
from certwright.console.rooms import rooms
from certwright.manager import values
from certwright.manager.values import Health, ServiceKind, TrustKind, Via
from certwright.pki import armor

router = Router(tags=["AD CS services"])


class ServiceEntered(Entered):
    """A service as people enter it."""

    domain: Name
    hostname: Name
    device_user_id: Id
    port: Annotated[Number, Field(ge=1, le=65535)] = 443
    priority: Annotated[Number, Field(ge=1, le=10, description="The lower goes first")] = 1
    auth_method: AuthScheme = AuthScheme.NTLM
    kind: ServiceKind = ServiceKind.CERTSRV
    via: Annotated[
        Via, Field(description="Of a remote service: by CES, by /certsrv, or by CES where it is and else by /certsrv")
    ] = Via.AUTO
    trust: TrustKind = TrustKind.SYSTEM
    trust_data: Annotated[
        str, Field(max_length=MAX_PINNED, description="PEM for trust in a file, SHA-256 in hex for a fingerprint")
    ] = ""
    ca: Annotated[Line, Field(description="Of a local service: the CA; empty for the issuing one")] = ""
    approve_templates: Annotated[
        tuple[TemplateName, ...], Field(max_length=200, description="Pending orders of these are approved at once")
    ] = ()

    @property
    def fields(self) -> values.ServiceFields:
        return values.ServiceFields(**self.model_dump())


class Service(Told):
    id: int
    domain: str
    hostname: str
    port: int
    priority: int
    auth_method: AuthScheme
    kind: ServiceKind
    via: Via
    trust: TrustKind
    trust_data: str
    ca: str
    approve_templates: list[str]
    device_user_id: int
    username: str
    config: str  # CA configuration string, once it is known
    ca_name: str
    ca_sha256: str
    ca_not_after: datetime | None
    template_count: int | None  # null: never read
    health: Health
    refreshed: datetime | None
    last_contact: datetime | None
    last_error: str
    last_error_when: datetime | None
    created: datetime


class OfferedTemplate(Told):
    name: str
    display_name: str
    supplies_subject: bool
    oid: str


class Domain(Told):
    """Where may be ordered, and what its services offered when they were read last."""

    domain: str
    templates: list[OfferedTemplate]


class Refreshed(Told):
    """What a refresh found, compared with what was known."""

    service: Service
    added: list[str]
    gone: list[str]
    ca_changed: bool
    first: bool
    summary: str


class ProbedStep(Told):
    step: Step
    outcome: Outcome
    sentence: str
    fix: str
    fingerprint: str  # SHA-256 of the server's certificate that was seen, trusted or not


class DeletionConfirmed(Entered):
    confirmed: QueryFlag = False


@operation(router, "GET", "/services", list[Service])
def list_services(request: ApiRequest) -> Sequence[Service]:
    """List all services, by domain in the order in which they are asked."""
    return [Service.model_validate(each) for each in rooms().manager.services.list()]


@operation(router, "GET", "/domains", list[Domain])
def list_domains(request: ApiRequest) -> Sequence[Domain]:
    """List the domains in which may be ordered, each with the templates on offer."""
    services = rooms().manager.services
    return [
        Domain(domain=name, templates=[_offered(each) for each in services.domain_templates(name)])
        for name in services.domains()
    ]


@operation(router, "POST", "/services", Service, status=201)
def add_service(request: ApiRequest, entered: ServiceEntered) -> Service:
    """Add a service. It is asked nothing yet: refresh it next."""
    return Service.model_validate(rooms().manager.services.add(entered.fields, actor=request.viewer.account))


@operation(router, "POST", "/services/test", list[ProbedStep])
def test_new_service(request: ApiRequest, entered: ServiceEntered) -> Sequence[ProbedStep]:
    """Try every step on the way to a service that is not added yet."""
    return [_step(each) for each in rooms().manager.services.test_fields(entered.fields)]


@operation(router, "GET", "/services/{int:service_id}", Service)
def get_service(request: ApiRequest, service_id: PathId) -> Service:
    """Show a service."""
    return Service.model_validate(_service(service_id))


@operation(router, "PUT", "/services/{int:service_id}", Service)
def edit_service(request: ApiRequest, service_id: PathId, entered: ServiceEntered) -> Service:
    """Change a service: all of its fields are replaced.

    To trust a certificate that the test showed, enter its fingerprint with trust `fingerprint`.
    """
    _service(service_id)
    actor = request.viewer.account
    return Service.model_validate(rooms().manager.services.edit(service_id, entered.fields, actor=actor))


@operation(router, "DELETE", "/services/{int:service_id}")
def delete_service(request: ApiRequest, service_id: PathId, asked: Query[DeletionConfirmed]) -> None:
    """Remove a service.

    Where orders wait at it, that has to be confirmed: they are no longer tracked.
    """
    _service(service_id)
    rooms().manager.services.delete(service_id, confirmed=asked.confirmed, actor=request.viewer.account)


@operation(router, "POST", "/services/{int:service_id}/refresh", Refreshed)
def refresh_service(request: ApiRequest, service_id: PathId) -> Refreshed:
    """Read CA, chain and templates anew."""
    _service(service_id)
    found: values.RefreshResult = rooms().manager.services.refresh(service_id, actor=request.viewer.account)
    return Refreshed(
        service=Service.model_validate(found.service),
        added=list(found.added),
        gone=list(found.gone),
        ca_changed=found.ca_changed,
        first=found.first,
        summary=str(found),
    )


@operation(router, "POST", "/services/{int:service_id}/test", list[ProbedStep])
def test_service(request: ApiRequest, service_id: PathId) -> Sequence[ProbedStep]:
    """Try every step on the way, to the first that fails; it says what would help."""
    _service(service_id)
    return [_step(each) for each in rooms().manager.services.test(service_id)]


@operation(router, "GET", "/services/{int:service_id}/templates", list[OfferedTemplate])
def list_service_templates(request: ApiRequest, service_id: PathId) -> Sequence[OfferedTemplate]:
    """List the templates that a service offered when it was read last."""
    _service(service_id)
    return [_offered(each) for each in rooms().manager.services.templates(service_id)]


@operation(router, "GET", "/services/{int:service_id}/chain", produces=PEM)
def get_service_chain(request: ApiRequest, service_id: PathId) -> HttpResponse:
    """Download the CA's certificate and those above it, as they were read last."""
    _service(service_id)
    chain = rooms().manager.services.chain(service_id)
    text = "".join(armor.armor(armor.CERTIFICATE, each) for each in chain)
    return download(f"service-{service_id}-chain.pem", text.encode(), PEM)


def _service(service_id: int) -> values.Service:
    with named_in_the_path():
        found: values.Service = rooms().manager.services.get(service_id)
    return found


def _offered(template: object) -> OfferedTemplate:
    return OfferedTemplate.model_validate(template)


def _step(step: ProbeStep) -> ProbedStep:
    return ProbedStep(
        step=step.step,
        outcome=step.outcome,
        sentence=step.sentence,
        fix=step.fix,
        fingerprint=step.seen.sha256 if step.seen is not None else "",
    )
