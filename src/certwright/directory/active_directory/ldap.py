"""LDAP as this room uses it: entries, connections, and a pool that fails over to another domain controller.

RFC 4511 (protocol), RFC 4515 (filters), RFC 2696 (paging), [MS-ADTS] 3.1.1.3.4.1.11 (LDAP_SERVER_SD_FLAGS_OID).
`bonsai_connection` is the one place that knows the library.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Final, NamedTuple, Protocol, TypeVar

import structlog

from certwright.adcs.errors import AdcsError, CaUnreachable
from certwright.directory.active_directory.locating import DomainController, locate
from certwright.directory.active_directory.settings import DomainSettings

log = structlog.get_logger(__name__)

EVERYTHING: Final = "(objectClass=*)"
OWNER_GROUP_DACL: Final = 7
"""Parts of nTSecurityDescriptor that any account may read; without naming them it gets none."""
OWNER_DACL: Final = 5
DACL: Final = 4

MAX_IDLE: Final = 8  # connections kept open
IDLE_FOR: Final = 300.0  # seconds; controllers close at 900. [MS-ADTS] 3.1.1.3.4.6, MaxConnIdleTime
DOWN_FOR: Final = 60.0  # seconds before a controller that failed is tried again
UNREACHABLE_FOR: Final = 2.0  # seconds in which nothing is tried after every controller failed
LOCATED_FOR: Final = 900.0  # seconds before controllers are looked for again

_T = TypeVar("_T")


class Scope(Enum):
    BASE = "base"
    ONE_LEVEL = "one level"
    SUBTREE = "subtree"


class ResultCode(IntEnum):
    """Results somebody reacts to. RFC 4511 A.1."""

    NO_SUCH_ATTRIBUTE = 16
    CONSTRAINT_VIOLATION = 19
    ATTRIBUTE_OR_VALUE_EXISTS = 20
    NO_SUCH_OBJECT = 32
    INVALID_CREDENTIALS = 49
    INSUFFICIENT_ACCESS_RIGHTS = 50
    UNWILLING_TO_PERFORM = 53
    ENTRY_ALREADY_EXISTS = 68


class LdapError(AdcsError):
    """A controller refused an operation. `words` are its own; `code` is the result code of LDAP."""

    def __init__(self, message: str, code: int, words: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.words = words


class LdapUnavailable(CaUnreachable):
    """No domain controller answers, or the connection was lost."""


class Attributes(Mapping[str, tuple[bytes, ...]]):
    """Attributes of one entry; their names are looked up whatever their case. RFC 4512 2.5."""

    __slots__ = ("_by_key",)

    def __init__(self, attributes: Mapping[str, Iterable[bytes]]) -> None:
        self._by_key = {name.lower(): (name, tuple(values)) for name, values in attributes.items()}

    def __getitem__(self, name: str) -> tuple[bytes, ...]:
        return self._by_key[name.lower()][1]

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self._by_key.values())

    def __len__(self) -> int:
        return len(self._by_key)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._by_key

    def __repr__(self) -> str:
        return f"Attributes({dict(self)!r})"


@dataclass(frozen=True, slots=True)
class Entry:
    """One object as a controller returned it. Values are octets; what they mean is the reader's business."""

    dn: str
    attributes: Mapping[str, tuple[bytes, ...]]

    @classmethod
    def of(cls, dn: str, attributes: Mapping[str, Iterable[bytes | str]]) -> Entry:
        """With text values written as UTF-8."""
        return cls(dn, Attributes({name: tuple(map(_octets, values)) for name, values in attributes.items()}))

    def values(self, name: str) -> tuple[bytes, ...]:
        return self.attributes.get(name, ())

    def value(self, name: str) -> bytes | None:
        """The first value; none when the attribute is not there, or may not be read."""
        values = self.attributes.get(name)
        return values[0] if values else None

    def text(self, name: str, default: str = "") -> str:
        """The first value as text.

        Raises:
            ValueError: it is not UTF-8.
        """
        value = self.value(name)
        return default if value is None else _decoded(value, name)

    def texts(self, name: str) -> tuple[str, ...]:
        """Every value as text. Raises as `text`."""
        return tuple(_decoded(value, name) for value in self.values(name))

    def number(self, name: str, default: int | None = None) -> int:
        """The first value as a whole number.

        Raises:
            ValueError: it is none, or not there and there is no default.
        """
        value = self.value(name)
        if value is None:
            if default is None:
                raise ValueError(f"{name} is missing")
            return default
        try:
            return int(value)
        except ValueError:
            raise ValueError(f"{name} is no number: {value[:40]!r}") from None


def _octets(value: bytes | str) -> bytes:
    return value if isinstance(value, bytes) else value.encode()


def _decoded(value: bytes, name: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise ValueError(f"{name} is not UTF-8 text") from None


class Operation(Enum):
    ADD = "add"
    DELETE = "delete"
    REPLACE = "replace"


class Modification(NamedTuple):
    """One change of one attribute. `DELETE` or `REPLACE` without values takes the attribute away."""

    operation: Operation
    attribute: str
    values: tuple[bytes, ...] = ()


class LdapConnection(Protocol):
    """An authenticated, encrypted connection to one domain controller. One thread uses it at a time.

    Every method raises `LdapError` for what the controller refuses and `LdapUnavailable` for a lost connection.
    """

    @property
    def controller(self) -> DomainController: ...

    def search(
        self,
        base: str,
        scope: Scope,
        filter: str,
        attributes: Sequence[str],
        *,
        sd_flags: int | None = None,
        size_limit: int = 0,
    ) -> Iterator[Entry]:
        """Matching entries, page after page; referrals are left out.

        Args:
            attributes: `*` for all of them (constructed ones and nTSecurityDescriptor have to be named).
            sd_flags: parts of nTSecurityDescriptor.
            size_limit: stop after so many entries; 0 for all.
        """

    def read(self, dn: str, attributes: Sequence[str], *, sd_flags: int | None = None) -> Entry | None:
        """One entry by its name (`<SID=...>` and `<GUID=...>` are names too); none if there is none."""

    def add(self, dn: str, attributes: Mapping[str, Sequence[bytes]]) -> None: ...

    def modify(self, dn: str, changes: Sequence[Modification], *, sd_flags: int | None = None) -> None:
        """All changes or none. Whoever replaces nTSecurityDescriptor names its parts with `sd_flags`."""

    def delete(self, dn: str) -> None: ...

    def root_dse(self) -> Entry:
        """What the controller says of itself. [MS-ADTS] 3.1.1.3.2."""

    def close(self) -> None: ...


def escape(value: str | bytes) -> str:
    """A value as it may stand in a filter. RFC 4515 3."""
    if isinstance(value, bytes):
        return "".join(f"\\{octet:02x}" for octet in value)
    escaped = (f"\\{ord(c):02x}" if c in "*()\\\0" else c for c in value)
    return "".join(escaped)


def escape_rdn(value: str) -> str:
    """A value as it may stand in a distinguished name. RFC 4514 2.4."""
    escaped = "".join(f"\\{c}" if c in ',+"\\<>;=' else "\\00" if c == "\0" else c for c in value)
    if escaped[:1] in (" ", "#"):
        escaped = f"\\{escaped}"
    return f"{escaped[:-1]}\\ " if escaped.endswith(" ") and len(value) > 1 else escaped


Connect = Callable[[DomainController, DomainSettings], LdapConnection]
Locate = Callable[[DomainSettings], Sequence[DomainController]]


def _connect(controller: DomainController, settings: DomainSettings) -> LdapConnection:
    from certwright.directory.active_directory.bonsai_connection import connect  # compiled: when first used

    return connect(controller, settings)


@dataclass(slots=True)
class _State:
    """Guarded by the pool's lock."""

    controllers: tuple[DomainController, ...] = ()
    located_until: float = 0.0
    idle: list[tuple[LdapConnection, float]] = field(default_factory=list)  # with when it was put back
    down_until: dict[DomainController, float] = field(default_factory=dict)
    unreachable_until: float = 0.0
    unreachable: str = ""
    closed: bool = False


class LdapPool:
    """Connections to the nearest controller that answers. Thread-safe.

    A controller that fails is passed over for `DOWN_FOR` seconds; after all of them failed nothing is tried for
    `UNREACHABLE_FOR` seconds, so that a thousand callers do not wait for the same time-out one after another.
    """

    def __init__(
        self,
        settings: DomainSettings,
        *,
        connect: Connect = _connect,
        locate: Locate = locate,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._connect = connect
        self._locate = locate
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._state = _State()

    def run(self, work: Callable[[LdapConnection], _T]) -> _T:
        """Read something; when a controller is lost meanwhile, all of it again from the next one.

        Raises:
            LdapUnavailable: no controller answers.
            LdapError: one refused.
        """
        while True:
            connection, kept = self._take()
            try:
                result = work(connection)
            except LdapUnavailable as error:
                self._lost(connection, error, was_idle=kept)
                continue
            except AdcsError:
                self._put_back(connection)
                raise
            except BaseException:
                connection.close()
                raise
            self._put_back(connection)
            return result

    @contextmanager
    def connection(self) -> Iterator[LdapConnection]:
        """A connection for changes, which are never made twice. Raises as `run`."""
        connection, _ = self._take()
        try:
            yield connection
        except LdapUnavailable as error:
            self._lost(connection, error, was_idle=False)
            raise
        except AdcsError:
            self._put_back(connection)
            raise
        except BaseException:
            connection.close()
            raise
        self._put_back(connection)

    def close(self) -> None:
        with self._lock:
            idle, self._state.idle = self._state.idle, []
            self._state.closed = True
        for connection, _ in idle:
            connection.close()

    def prefer(self, ordered: Callable[[Sequence[DomainController]], Sequence[DomainController]]) -> None:
        """Order the controllers anew, with what was learnt after the first connection."""
        with self._lock:
            self._state.controllers = tuple(ordered(self._state.controllers))

    @property
    def settings(self) -> DomainSettings:
        """The domain, and the account with its secret."""
        return self._settings

    @property
    def account(self) -> str:
        """Whom the connections are bound as."""
        return self._settings.account

    @property
    def controllers(self) -> Sequence[DomainController]:
        """Those known now, the preferred one first."""
        return self._state.controllers

    # -- inside --------------------------------------------------------------------------------------------------

    def _take(self) -> tuple[LdapConnection, bool]:
        """A connection, and whether it was open already."""
        reasons: list[str] = []
        for controller in self._candidates():
            kept = self._idle_of(controller)
            if kept is not None:
                return kept, True
            try:
                connection = self._connect(controller, self._settings)
            except LdapUnavailable as error:
                reasons.append(f"{controller.host}: {error.message}")
                self._mark_down(controller, error)
                continue
            return connection, False
        said = "; ".join(reasons) or "every one of them failed a moment ago"
        message = f"No domain controller of {self._settings.dns_domain} answers: {said}"
        with self._lock:
            self._state.unreachable_until = self._monotonic() + UNREACHABLE_FOR
            self._state.unreachable = message
            self._state.located_until = 0.0  # there may be new ones
            self._state.down_until.clear()
        raise LdapUnavailable(message)

    def _candidates(self) -> Sequence[DomainController]:
        now = self._monotonic()
        with self._lock:
            if now < self._state.unreachable_until:
                raise LdapUnavailable(self._state.unreachable)
            known, fresh = self._state.controllers, now < self._state.located_until
        if not fresh:
            try:
                found = tuple(self._locate(self._settings))
            except CaUnreachable as error:
                if not known:
                    with self._lock:
                        self._state.unreachable_until = now + UNREACHABLE_FOR
                        self._state.unreachable = error.message
                    raise LdapUnavailable(error.message) from error
                log.warning("domain_controllers_not_found", reason=error.message)
                found = known
            with self._lock:
                if set(found) != set(known):
                    self._state.controllers = found
                known = self._state.controllers
                self._state.located_until = now + LOCATED_FOR
        with self._lock:
            return [each for each in known if self._state.down_until.get(each, 0.0) <= now]

    def _idle_of(self, controller: DomainController) -> LdapConnection | None:
        now, old = self._monotonic(), []
        try:
            with self._lock:
                while self._state.idle:
                    connection, since = self._state.idle.pop()
                    if connection.controller == controller and now - since < IDLE_FOR:
                        return connection
                    old.append(connection)
        finally:
            for connection in old:
                connection.close()
        return None

    def _put_back(self, connection: LdapConnection) -> None:
        with self._lock:
            if not self._state.closed and len(self._state.idle) < MAX_IDLE:
                self._state.idle.append((connection, self._monotonic()))
                return
        connection.close()

    def _lost(self, connection: LdapConnection, error: LdapUnavailable, *, was_idle: bool) -> None:
        with suppress(AdcsError):
            connection.close()
        if not was_idle:  # one that lay idle may just have been closed at the other end: a new one tells
            self._mark_down(connection.controller, error)

    def _mark_down(self, controller: DomainController, error: LdapUnavailable) -> None:
        log.warning("domain_controller_down", controller=controller.host, reason=error.message)
        with self._lock:
            self._state.down_until[controller] = self._monotonic() + DOWN_FOR
            gone = [connection for connection, _ in self._state.idle if connection.controller == controller]
            self._state.idle = [kept for kept in self._state.idle if kept[0].controller != controller]
        for connection in gone:
            connection.close()
