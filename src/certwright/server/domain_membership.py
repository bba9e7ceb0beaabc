"""Joining a domain and leaving it: section [directory] of certwright.toml, written in one step, and audited.

Nothing of the domain is changed. The file is replaced while the audit event's transaction is open: either both are
there, or neither. The running server goes on as it was until it is started again.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from certwright.adcs.errors import ConfigurationError, InvalidArgument
from certwright.adcs.events import AuditEvent, CaEvent
from certwright.adcs.requester import Requester
from certwright.ca.configuration import CaConfiguration
from certwright.ca.database import RequestState
from certwright.server.composition import Installation
from certwright.server.directory_settings import EMBEDDED_DIRECTORY, DirectorySettings
from certwright.server.home import Home, Settings

PASSWORD_FILE: Final = "domain.password"  # noqa: S105 - a file's name
_SECTION: Final = re.compile(r"^\[directory\][^\n]*\n(?:(?!\s*(?:#\s*)?\[)[^\n]+\n?)*", re.MULTILINE)
"""From its heading to the blank lines before the next heading, also before one that is commented out."""


def pending_requests(installation: Installation) -> Mapping[str, int]:
    """How many requests wait, by CA: who asked for them is known to the directory of today only."""
    counts = {
        ca.authority.name: len(ca.authority.database.request_ids_in(RequestState.PENDING)) for ca in installation.cas
    }
    return {name: count for name, count in counts.items() if count}


def published_cas(installation: Installation) -> list[str]:
    """CAs that are kept in the domain now."""
    return [
        record.name
        for record in installation.records()
        if CaConfiguration.load(record.settings).directory_publication
    ]


def refuse_pending(installation: Installation, what: str) -> None:
    """Raises:
    InvalidArgument: requests wait for a decision.
    """
    waiting = pending_requests(installation)
    if waiting:
        listed = ", ".join(f"{count} at {name}" for name, count in waiting.items())
        raise InvalidArgument(
            f"Requests wait for a certificate manager ({listed}), and after {what} their accounts are no longer"
            " known: decide on them first (certwright request list --pending), or give --despite-pending."
        )


def join(
    installation: Installation, directory: DirectorySettings, password: str, requester: Requester
) -> DirectorySettings:
    """Make the installation belong to a domain. The settings were checked before.

    Args:
        password: of the service account, where it has no keytab; kept in the home folder, for its owner only.

    Returns:
        The settings as they were written.

    Raises:
        ConfigurationError: they cannot be, or the file cannot be written.
    """
    home = installation.home
    if password:
        directory = replace(directory, password_file=PASSWORD_FILE, keytab="")
        _write(home.folder / PASSWORD_FILE, f"{password}\n".encode())
    directory.check(str(home.configuration))
    _change(installation, home, directory, requester, "joined")
    return directory


def without_domain(home: Home) -> Home:
    """The same home with the embedded directory alone: what opens also when the domain is gone."""
    return Home(home.folder, replace(home.settings, directory=EMBEDDED_DIRECTORY))


def leave(installation: Installation, home: Home, requester: Requester) -> None:
    """Back to the embedded directory, which was there all the time; the service account's password is removed.

    Args:
        installation: opened `without_domain`.
        home: as it is.

    Raises:
        ConfigurationError: the file cannot be written.
    """
    was = home.settings.directory
    _change(installation, home, EMBEDDED_DIRECTORY, requester, "left")
    if was.password_file == PASSWORD_FILE:
        (home.folder / PASSWORD_FILE).unlink(missing_ok=True)


def _change(
    installation: Installation, home: Home, directory: DirectorySettings, requester: Requester, word: str
) -> None:
    text = with_directory(home.configuration.read_text("utf-8"), home, directory)
    named = directory if directory.is_joined else home.settings.directory
    facts = {"change": word, "domain": named.dns_domain, "realm": named.realm, "service_account": named.account}
    event = CaEvent(AuditEvent.DOMAIN_MEMBERSHIP_CHANGED, installation.clock(), "", requester.account, facts)
    with installation.database.transaction() as connection:
        installation.audit.append(connection, event)
        _write(home.configuration, text.encode())


def with_directory(text: str, home: Home, directory: DirectorySettings) -> str:
    """The file with another section [directory]; every other line stays as it is.

    Raises:
        ConfigurationError: the file is not what it was when it was read.
    """
    section = directory.to_toml()
    changed, count = _SECTION.subn(lambda _: section, text, count=1)
    if not count:
        changed = f"{text.rstrip()}\n\n{section}"
    if Settings.from_toml(changed, str(home.configuration)) != replace(home.settings, directory=directory):
        raise ConfigurationError(
            f"{home.configuration} cannot be changed without changing more than [directory]: write the section by"
            f" hand:\n{section}"
        )
    return changed


def _write(path: Path, content: bytes) -> None:
    """Durable, in one step, with the permissions of the file before; a new one is for its owner only."""
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o600
    descriptor, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(draft).chmod(mode)
        os.replace(draft, path)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from error
    finally:
        Path(draft).unlink(missing_ok=True)
