"""Device users: the accounts that order. A secret goes in and is never told again."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from ninja import Router
from pydantic import Field, SecretStr

from certwright.adcs.errors import InvalidArgument
from certwright.connectors.service import CredentialKind
from certwright.console.api.authentication import ApiRequest
from certwright.console.api.operations import operation
from certwright.console.api.problems import named_in_the_path
from certwright.console.api.shapes import Entered, Line, Moment, Name, PathId, Told
from certwright.console.rooms import rooms
from certwright.manager import values

router = Router(tags=["Device users"])


class DeviceUserSecret(Entered):
    """A password, or the octets of a keytab in base64."""

    kind: CredentialKind = CredentialKind.PASSWORD
    secret: Annotated[SecretStr, Field(min_length=1, max_length=100_000)]

    @property
    def plain(self) -> str | bytes:
        text = self.secret.get_secret_value()
        if self.kind is CredentialKind.PASSWORD:
            return text
        try:
            return base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise InvalidArgument("The keytab is not written in base64; encode the file with base64 first.") from None


class DeviceUserEntered(Entered):
    """A device user without its secret."""

    name: Annotated[Name, Field(description="What it is called here")]
    username: Annotated[Name, Field(description=r"sAMAccountName, DOMAIN\name, or a user principal name")]
    realm: Annotated[Line, Field(description="DNS name of its domain; empty for what the service's domain is")] = ""
    expires: Annotated[Moment | None, Field(description="When the secret ends, if somebody knows")] = None


class NewDeviceUser(DeviceUserEntered, DeviceUserSecret):
    """A device user with its secret."""


class DeviceUser(Told):
    id: int
    name: str
    username: str
    realm: str
    kind: CredentialKind
    expires: datetime | None
    used_by: list[str]
    created: datetime
    secret_changed: datetime


@operation(router, "GET", "/device-users", list[DeviceUser])
def list_device_users(request: ApiRequest) -> Sequence[DeviceUser]:
    """List all device users, with the services that are asked in their name."""
    return [DeviceUser.model_validate(each) for each in rooms().manager.device_users.list()]


@operation(router, "POST", "/device-users", DeviceUser, status=201)
def add_device_user(request: ApiRequest, entered: NewDeviceUser) -> DeviceUser:
    """Add a device user with its secret."""
    fields = _fields(entered, entered.kind)
    made = rooms().manager.device_users.add(fields, entered.plain, actor=request.viewer.account)
    return DeviceUser.model_validate(made)


@operation(router, "GET", "/device-users/{int:user_id}", DeviceUser)
def get_device_user(request: ApiRequest, user_id: PathId) -> DeviceUser:
    """Show a device user."""
    return DeviceUser.model_validate(_user(user_id))


@operation(router, "PUT", "/device-users/{int:user_id}", DeviceUser)
def edit_device_user(request: ApiRequest, user_id: PathId, entered: DeviceUserEntered) -> DeviceUser:
    """Change everything but the secret."""
    fields = _fields(entered, _user(user_id).kind)
    changed = rooms().manager.device_users.edit(user_id, fields, actor=request.viewer.account)
    return DeviceUser.model_validate(changed)


@operation(router, "PUT", "/device-users/{int:user_id}/secret", DeviceUser)
def replace_device_user_secret(request: ApiRequest, user_id: PathId, entered: DeviceUserSecret) -> DeviceUser:
    """Replace the password or keytab, also one by the other."""
    _user(user_id)
    changed = rooms().manager.device_users.replace_secret(
        user_id, entered.plain, kind=entered.kind, actor=request.viewer.account
    )
    return DeviceUser.model_validate(changed)


@operation(router, "DELETE", "/device-users/{int:user_id}")
def delete_device_user(request: ApiRequest, user_id: PathId) -> None:
    """Remove a device user with its secret. One that a service uses stays."""
    _user(user_id)
    rooms().manager.device_users.delete(user_id, actor=request.viewer.account)


def _user(user_id: int) -> values.DeviceUser:
    with named_in_the_path():
        found: values.DeviceUser = rooms().manager.device_users.get(user_id)
    return found


def _fields(entered: DeviceUserEntered, kind: CredentialKind) -> values.DeviceUserFields:
    return values.DeviceUserFields(entered.name, entered.username, entered.realm, kind, entered.expires)
