"""NDES: services for devices, their settings, challenges, what devices asked for and what was refused.

In paths, `-` is the service at the classic addresses.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from ninja import Query, Router
from pydantic import Field

from certwright.console.api.authentication import ApiRequest
from certwright.console.api.operations import operation
from certwright.console.api.problems import named_in_the_path, not_there
from certwright.console.api.shapes import Entered, Line, PageSize, PathId, TemplateName, Told, line
from certwright.console.pages.ndes import CLASSIC
from certwright.console.rooms import rooms
from certwright.ndes.administration import ServiceStanding
from certwright.ndes.settings import INTERNAL, MAX_TEXT
from certwright.wire.explain_scep import explained

router = Router(tags=["Devices (NDES)"])

ServiceName = Annotated[str, line(64, least=1), Field(description="Name of the service; - at the classic addresses")]
_TEXT: Final = r"^[^\x00]*$"
Value = Annotated[str, Field(max_length=MAX_TEXT, pattern=_TEXT)]
Changes = Annotated[dict[Annotated[str, line(64, least=1)], Value], Field(min_length=1, max_length=100)]
Names = Annotated[tuple[Annotated[str, line(255, least=1)], ...], Field(max_length=20)]


class DeviceService(Told):
    name: str  # - at the classic addresses
    enabled: bool
    ca: str
    devices: str  # address
    people: str  # address
    ca_fingerprint: str  # SHA-256, hex
    account: str  # as which it submits
    not_after: datetime | None  # of its own certificates
    renew_after: datetime | None
    obstacles: list[str]  # what keeps devices from certificates
    settings: dict[str, str]


class NewDeviceService(Entered):
    name: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$")]
    ca: Annotated[Line, Field(description="Name or configuration string; empty for the issuing CA")] = ""


class DeviceServiceChanges(Entered):
    """Settings by their names on the command line; all are changed, or none."""

    settings: Changes


class DeviceServiceEnabling(Entered):
    account: Annotated[Line, Field(description="As which it submits; needed in a domain")] = ""


class DeviceChallengeAsked(Entered):
    template: Annotated[TemplateName | None, Field(description="Good for this one only")] = None
    names: Annotated[Names, Field(description="Every name must match one of these patterns")] = ()
    parameters: Annotated[str, Field(max_length=4096, pattern=_TEXT, description="For the policy module")] = ""


class Secret(Told):
    """Told this once."""

    secret: str


class DeviceChallenge(Told):
    id: int
    issued_to: str
    template: str  # empty: any
    names: list[str]  # none: any
    created: datetime
    expires: datetime
    used: datetime | None
    used_by: str  # transaction


class DeviceRequest(Told):
    service: str
    transaction: str
    state: str  # submitting, pending, issued, denied, failed
    request_id: int | None
    template: str
    subject: str
    renewal: bool
    peer: str
    message: str
    created: datetime
    changed: datetime


class DeviceFailure(Told):
    id: int
    service: str
    occurred: datetime
    rule: str
    reason: str
    fail_info: str  # empty where HTTP answered
    transaction: str
    signer: str
    peer: str


class DeviceFailureDecoded(DeviceFailure):
    message: dict[str, Any]  # as `certwright explain --json` shows it


class DeviceNotice(Told):
    id: int
    service: str
    transaction: str
    disposition: str  # success, pending, failure
    state: str  # waiting, taken, given_up
    attempts: int
    next_try: datetime | None
    result: str  # why it was not taken the last time
    created: datetime
    settled: datetime | None


class Limited(Entered):
    limit: Annotated[PageSize, Field(description="How many, the latest first")] = 100


@operation(router, "GET", "/device-services", list[DeviceService])
def list_device_services(request: ApiRequest) -> list[DeviceService]:
    """List the services for devices of the CAs the caller sees."""
    seen = {ca.name for ca in request.viewer.cas}
    return [_told(each) for each in rooms().ndes.services() if each.ca in seen]


@operation(router, "POST", "/device-services", DeviceService, status=201)
def add_device_service(request: ApiRequest, entered: NewDeviceService) -> DeviceService:
    """Add a service at /ndes/NAME/; it is off at first."""
    return _told(rooms().ndes.add(entered.name, request.viewer.requester, ca=entered.ca))


@operation(router, "GET", "/device-services/{service}", DeviceService)
def get_device_service(request: ApiRequest, service: ServiceName) -> DeviceService:
    """Show a service with its settings."""
    return _told(_standing(service))


@operation(router, "PATCH", "/device-services/{service}", DeviceService)
def change_device_service(request: ApiRequest, service: ServiceName, entered: DeviceServiceChanges) -> DeviceService:
    """Change settings of a service."""
    name = _standing(service).name
    rooms().ndes.change(entered.settings, request.viewer.requester, name)
    return _told(rooms().ndes.standing(name))


@operation(router, "DELETE", "/device-services/{service}")
def remove_device_service(request: ApiRequest, service: ServiceName) -> None:
    """Remove a service with its settings and challenges. The one at the classic addresses stays."""
    rooms().ndes.remove(_standing(service).name, request.viewer.requester)


@operation(router, "POST", "/device-services/{service}/enable", DeviceService)
def enable_device_service(request: ApiRequest, service: ServiceName, entered: DeviceServiceEnabling) -> DeviceService:
    """Answer devices from now on; what is missing of accounts, templates and certificates is made."""
    name = _standing(service).name
    return _told(rooms().ndes.enable(request.viewer.requester, name, account=entered.account))


@operation(router, "POST", "/device-services/{service}/disable", DeviceService)
def disable_device_service(request: ApiRequest, service: ServiceName) -> DeviceService:
    """Answer no device any more."""
    name = _standing(service).name
    rooms().ndes.disable(request.viewer.requester, name)
    return _told(rooms().ndes.standing(name))


@operation(router, "POST", "/device-services/{service}/renew", DeviceService)
def renew_device_service(request: ApiRequest, service: ServiceName) -> DeviceService:
    """Renew the certificates of the service itself now."""
    return _told(rooms().ndes.renew(request.viewer.requester, _standing(service).name))


@operation(router, "POST", "/device-services/{service}/webhook-key", Secret)
def make_webhook_key(request: ApiRequest, service: ServiceName) -> Secret:
    """Make a new key that signs what the webhook is asked. It is told this once."""
    return Secret(secret=rooms().ndes.webhook_key(request.viewer.requester, _standing(service).name))


@operation(router, "POST", "/device-services/{service}/challenges", Secret, status=201)
def give_device_challenge(request: ApiRequest, service: ServiceName, entered: DeviceChallengeAsked) -> Secret:
    """Give out a challenge for one device. The account needs Enroll on every template of the service."""
    secret = rooms().ndes.challenge(
        request.viewer.requester,
        _standing(service).name,
        template=entered.template or "",
        names=entered.names,
        parameters=entered.parameters,
    )
    return Secret(secret=secret)


@operation(router, "POST", "/device-services/{service}/static-challenge", Secret, status=201)
def renew_static_challenge(request: ApiRequest, service: ServiceName) -> Secret:
    """Make a new static challenge, good until the next one."""
    return Secret(secret=rooms().ndes.static_challenge(request.viewer.requester, _standing(service).name))


@operation(router, "GET", "/device-services/{service}/challenges", list[DeviceChallenge])
def list_device_challenges(request: ApiRequest, service: ServiceName, asked: Query[Limited]) -> list[DeviceChallenge]:
    """List challenges given out; never the passwords."""
    return [
        DeviceChallenge(
            id=each.id,
            issued_to=each.issued_to,
            template=each.template,
            names=list(each.names),
            created=_moment(each.created),
            expires=_moment(each.expires),
            used=_moment(each.used) if each.used is not None else None,
            used_by=each.used_by,
        )
        for each in rooms().ndes.challenges(asked.limit, _standing(service).name)
    ]


@operation(router, "GET", "/device-services/{service}/requests", list[DeviceRequest])
def list_device_requests(request: ApiRequest, service: ServiceName, asked: Query[Limited]) -> list[DeviceRequest]:
    """List what devices asked for."""
    return [
        DeviceRequest(
            service=each.service or CLASSIC,
            transaction=each.name,
            state=each.state.name.lower(),
            request_id=each.request_id,
            template=each.template,
            subject=each.subject,
            renewal=each.renewal,
            peer=each.peer,
            message=each.message,
            created=_moment(each.created),
            changed=_moment(each.changed),
        )
        for each in rooms().ndes.devices(asked.limit, _standing(service).name)
    ]


@operation(router, "GET", "/device-services/{service}/failures", list[DeviceFailure])
def list_device_failures(request: ApiRequest, service: ServiceName, asked: Query[Limited]) -> list[DeviceFailure]:
    """List what was refused, and by which rule."""
    found = rooms().ndes.failures(asked.limit, _standing(service).name)
    return [DeviceFailure(**_failure(each)) for each in found]


@operation(router, "GET", "/device-services/{service}/failures/{int:failure_id}", DeviceFailureDecoded)
def get_device_failure(request: ApiRequest, service: ServiceName, failure_id: PathId) -> DeviceFailureDecoded:
    """Show a message that was refused, decoded."""
    found = rooms().ndes.failure(failure_id)
    if found is None or found.service != _standing(service).name:
        raise not_there(f"failure {failure_id}")
    return DeviceFailureDecoded(**_failure(found), message=explained(found.message).to_dict())


@operation(router, "GET", "/device-services/{service}/notices", list[DeviceNotice])
def list_device_notices(request: ApiRequest, service: ServiceName, asked: Query[Limited]) -> list[DeviceNotice]:
    """List what the policy module was told of requests, and what it is still to be told."""
    return [
        DeviceNotice(
            id=each.id,
            service=each.service or CLASSIC,
            transaction=each.transaction,
            disposition=each.disposition,
            state=each.state.name.lower(),
            attempts=each.attempts,
            next_try=_moment(each.next_try) if each.next_try is not None else None,
            result=each.result,
            created=_moment(each.created),
            settled=_moment(each.settled) if each.settled is not None else None,
        )
        for each in rooms().ndes.notices(asked.limit, _standing(service).name)
    ]


def _standing(service: str) -> ServiceStanding:
    with named_in_the_path():
        return rooms().ndes.standing("" if service == CLASSIC else service)


def _told(standing: ServiceStanding) -> DeviceService:
    texts = standing.settings.as_text()
    return DeviceService(
        name=standing.name or CLASSIC,
        enabled=standing.settings.enabled,
        ca=standing.ca,
        devices=standing.devices,
        people=standing.people,
        ca_fingerprint=standing.ca_fingerprint,
        account=standing.settings.account,
        not_after=standing.not_after,
        renew_after=standing.renew_after,
        obstacles=list(standing.obstacles),
        settings={key: value for key, value in texts.items() if key not in INTERNAL},
    )


def _failure(each: Any) -> Mapping[str, Any]:
    return {
        "id": each.id,
        "service": each.service or CLASSIC,
        "occurred": _moment(each.occurred),
        "rule": each.rule,
        "reason": each.reason,
        "fail_info": each.fail_info,
        "transaction": each.transaction,
        "signer": each.signer,
        "peer": each.peer,
    }


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
