"""What the manager's commands share: who may use them, and how they find a thing by its name or number.

The manager acts as its device users, so its commands are for the administrators of the issuing CA; its auditors may
look. A requester's own way is `certwright request`, or the console.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from certwright.cli.session import opened

if TYPE_CHECKING:
    from certwright.manager.facade import Manager
    from certwright.notifications.service import Notifications
    from certwright.server.composition import Installation


class Numbered(Protocol):
    @property
    def id(self) -> int: ...


_T = TypeVar("_T", bound=Numbered)


@dataclass(frozen=True, slots=True)
class Managing:
    """The manager for one command, and who gives it."""

    installation: Installation
    manager: Manager
    notifications: Notifications
    actor: str


@contextmanager
def managing(home: Path | None, account: str = "", *, looking: bool = False) -> Iterator[Managing]:
    """Open the installation for a command of the manager.

    Args:
        looking: nothing is changed, so auditors may do it too.

    Raises:
        AccessDenied: the account has no right to it.
    """
    from certwright.adcs.roles import CaAccess

    with opened(home, account) as session:
        wanted = CaAccess.ADMINISTRATOR | CaAccess.AUDITOR if looking else CaAccess.ADMINISTRATOR
        installation = session.installation
        installation.demand(session.operator, wanted)
        yield Managing(installation, installation.manager, installation.notifications, session.actor)


def chosen(text: str, things: Sequence[_T], what: str, *names: str) -> _T:
    """The thing of that number, or of that name in one of the attributes `names`.

    Raises:
        InvalidArgument: there is none, or more than one.
    """
    from certwright.adcs.errors import InvalidArgument

    if text.isascii() and text.isdigit():
        found = [thing for thing in things if thing.id == int(text)]
    else:
        wanted = text.casefold()
        found = [thing for thing in things if wanted in {str(_value(thing, name)).casefold() for name in names}]
    if len(found) == 1:
        return found[0]
    if found:
        numbers = ", ".join(str(thing.id) for thing in found)
        raise InvalidArgument(f"{text} names more than one {what}: {numbers}; give the number")
    raise InvalidArgument(f"there is no {what} {text}; list them to see which there are")


def _value(thing: object, name: str) -> object:
    value: Any = thing
    for part in name.split("."):
        value = getattr(value, part)
    return value


def optional_time(text: str, option: str) -> datetime | None:
    from certwright.cli.requests import parse_time

    return parse_time(text, option) if text else None


def read_text(file: str, limit: int) -> str:
    """A file as text.

    Raises:
        InvalidArgument: it is no UTF-8, or too long.
    """
    from certwright.adcs.errors import InvalidArgument
    from certwright.cli.files import read_file

    try:
        return read_file(file, limit).decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidArgument(f"{file} is no text; a certificate is given here in PEM") from None
