"""Device users: the accounts that order. A secret is written, used and replaced; it is never shown again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from certwright.adcs.errors import BadRequestState, ConfigurationError, InvalidArgument
from certwright.adcs.events import AuditEvent
from certwright.connectors.service import CredentialKind, ServiceCredential
from certwright.database import Connection
from certwright.keystores.sealing import Sealer, SealingError
from certwright.manager import store
from certwright.manager.changes import Changes, differing, unique
from certwright.manager.values import DeviceUser, DeviceUserFields, optional_text, required_text


class DeviceUsers:
    """Adds, changes and removes device users, and opens their secrets for connectors."""

    def __init__(self, changes: Changes, sealer: Sealer) -> None:
        self._changes = changes
        self._sealer = sealer

    def list(self) -> Sequence[DeviceUser]:
        with self._changes.database.read() as connection:
            return store.device_users(connection)

    def get(self, user_id: int) -> DeviceUser:
        """Raises:
        InvalidArgument: there is none of that number.
        """
        with self._changes.database.read() as connection:
            return _found(connection, user_id)

    def add(self, fields: DeviceUserFields, secret: str | bytes, *, actor: str) -> DeviceUser:
        """Add a device user.

        Args:
            secret: the password, or the octets of a keytab.

        Raises:
            InvalidArgument: a field or the secret breaks a rule, or the name is taken.
        """
        fields = _checked(fields)
        plain = _plain(fields, secret)
        with self._changes.change(actor) as change:
            user_id = unique(
                lambda: store.insert_device_user(change.connection, fields, change.when), _taken(fields.name)
            )
            sealed = self._sealer.seal(plain, _context(user_id))
            store.put_secret(change.connection, user_id, fields.kind, sealed, change.when)
            change.record(
                AuditEvent.DEVICE_USER_CHANGED, {"change": "added", "device_user": user_id, **_facts(fields)}
            )
            return _found(change.connection, user_id)

    def edit(self, user_id: int, fields: DeviceUserFields, *, actor: str) -> DeviceUser:
        """Change everything but the secret and its kind.

        Raises:
            InvalidArgument: a field breaks a rule, or the name is taken.
        """
        with self._changes.change(actor) as change:
            before = _fields(_found(change.connection, user_id))
            fields = _checked(replace(fields, kind=before.kind))
            unique(lambda: store.update_device_user(change.connection, user_id, fields), _taken(fields.name))
            change.record(
                AuditEvent.DEVICE_USER_CHANGED,
                {
                    "change": "edited",
                    "device_user": user_id,
                    "name": fields.name,
                    **differing(_facts(before), _facts(fields)),
                },
            )
            return _found(change.connection, user_id)

    def replace_secret(
        self, user_id: int, secret: str | bytes, *, kind: CredentialKind | None = None, actor: str
    ) -> DeviceUser:
        """Replace the password or keytab; with `kind`, one by the other.

        Raises:
            InvalidArgument: it cannot be a secret of that kind.
        """
        with self._changes.change(actor) as change:
            fields = _fields(_found(change.connection, user_id))
            fields = replace(fields, kind=kind if kind is not None else fields.kind)
            sealed = self._sealer.seal(_plain(fields, secret), _context(user_id))
            store.put_secret(change.connection, user_id, fields.kind, sealed, change.when)
            change.record(
                AuditEvent.DEVICE_USER_CHANGED,
                {
                    "change": "secret replaced",
                    "device_user": user_id,
                    "name": fields.name,
                    "kind": fields.kind.value,
                },
            )
            return _found(change.connection, user_id)

    def delete(self, user_id: int, *, actor: str) -> None:
        """Remove a device user and its secret.

        Raises:
            BadRequestState: a service uses it.
        """
        with self._changes.change(actor) as change:
            user = _found(change.connection, user_id)
            if user.used_by:
                raise BadRequestState(
                    f"{user.name} is used by {', '.join(user.used_by)}; give these another device user first."
                )
            store.delete_device_user(change.connection, user_id)
            change.record(
                AuditEvent.DEVICE_USER_CHANGED,
                {"change": "deleted", "device_user": user_id, "name": user.name, "username": user.username},
            )

    def credential(self, user_id: int) -> ServiceCredential:
        """For connectors: the user with its opened secret.

        Raises:
            InvalidArgument: there is none of that number.
            ConfigurationError: the secret does not open.
        """
        with self._changes.database.read() as connection:
            found = store.sealed_secret(connection, user_id)
        if found is None:
            raise _unknown(user_id)
        username, realm, kind, sealed = found
        try:
            plain = self._sealer.open(sealed, _context(user_id))
        except SealingError as error:
            raise ConfigurationError(
                f"The secret of {username} cannot be opened ({error}); enter it again on its page."
            ) from error
        if kind is CredentialKind.KEYTAB:
            return ServiceCredential.keytab(username, plain, realm)
        return ServiceCredential.password(username, plain.decode(), realm)


def _context(user_id: int) -> str:
    """What a secret is bound to: moved to another row it does not open."""
    return f"manager_device_user/{user_id}/secret"


def _checked(fields: DeviceUserFields) -> DeviceUserFields:
    return replace(
        fields,
        name=required_text(fields.name, "The name"),
        username=required_text(fields.username, "The user name"),
        realm=optional_text(fields.realm, "The realm"),
    )


def _plain(fields: DeviceUserFields, secret: str | bytes) -> bytes:
    """The secret's octets, once they could be used to log on."""
    try:
        ServiceCredential(fields.username, fields.kind, secret, fields.realm)
    except ConfigurationError as error:
        raise InvalidArgument(f"This cannot be used: {error.message}.") from error
    return secret if isinstance(secret, bytes) else secret.encode()


def _fields(user: DeviceUser) -> DeviceUserFields:
    return DeviceUserFields(user.name, user.username, user.realm, user.kind, user.expires)


def _facts(fields: DeviceUserFields) -> dict[str, str | int]:
    return {
        "name": fields.name,
        "username": fields.username,
        "realm": fields.realm,
        "kind": fields.kind.value,
        "expires": fields.expires.isoformat() if fields.expires is not None else "",
    }


def _found(connection: Connection, user_id: int) -> DeviceUser:
    found = store.device_users(connection, user_id)
    if not found:
        raise _unknown(user_id)
    return found[0]


def _unknown(user_id: int) -> InvalidArgument:
    return InvalidArgument(f"There is no device user number {user_id}.")


def _taken(name: str) -> InvalidArgument:
    return InvalidArgument(f"There is a device user called {name!r} already; choose another name.")
