"""Challenge passwords: what lets a device without an account ask for its first certificate. RFC 8894 2.3, 7.3.

They are random, given out to accounts that may enroll for every template of the service, and kept as hashes: 64 bits
that live an hour need no slow one. A one-time challenge is taken in the transaction that notes the request, so that
two messages cannot share it, and may be bound to a template and to names: stolen, it names no other machine.
"""

from __future__ import annotations

import fnmatch
import hashlib
import hmac
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from certwright.adcs.errors import AccessDenied, InvalidArgument
from certwright.adcs.events import AuditEvent, CaEvent
from certwright.adcs.requester import Requester
from certwright.adcs.security import SecurityDescriptor
from certwright.database import Connection, Database
from certwright.directory.base import Directory
from certwright.ndes import store
from certwright.ndes.settings import ChallengeMode, NdesSettings

Record = Callable[[Connection, CaEvent], None]
MAX_PATTERNS: Final = 20
MAX_PATTERN: Final = 255


class CacheFull(InvalidArgument):
    """So many unused challenges are out that no more are given."""


class WrongChallenge(Exception):
    """Not accepted. `rule` says why, for the log alone."""

    def __init__(self, rule: str) -> None:
        super().__init__(rule)
        self.rule = rule


class Challenges:
    """Gives challenges out and takes them back."""

    def __init__(
        self, database: Database, directory: Directory, record: Record, clock: Callable[[], datetime]
    ) -> None:
        self._database = database
        self._directory = directory
        self._record = record
        self._clock = clock

    def settings(self) -> NdesSettings:
        """As they are now."""
        with self._database.read() as connection:
            return NdesSettings.load(store.settings(connection))

    def change_settings(self, changes: Mapping[str, str], actor: str) -> NdesSettings:
        """Raises:
        InvalidArgument: a setting or its value is not known.
        """
        with self._database.transaction() as connection:
            before = NdesSettings.load(store.settings(connection))
            return self._put(connection, before, before.changed(changes), actor)

    def set_enabled(self, enabled: bool, actor: str) -> NdesSettings:
        with self._database.transaction() as connection:
            before = NdesSettings.load(store.settings(connection))
            return self._put(connection, before, replace(before, enabled=enabled), actor)

    def _put(self, connection: Connection, before: NdesSettings, after: NdesSettings, actor: str) -> NdesSettings:
        old, new = before.as_text(), after.as_text()
        changed = {name: value for name, value in new.items() if old[name] != value}
        if changed:
            store.put_settings(connection, changed)
            facts: dict[str, str | int] = {"change": "settings"}
            for name in changed:
                if name != "static-digest":
                    facts |= {f"{name} (before)": old[name], f"{name} (after)": new[name]}
            self._audit(connection, facts, actor)
        return after

    # -- giving out

    def may_give(self, requester: Requester, settings: NdesSettings) -> bool:
        """Enroll on every template of the service, as on Windows."""
        templates = self._directory.templates()
        for cn in settings.templates:
            template = templates.get(cn)
            if template is None:
                return False
            security = SecurityDescriptor.from_sddl(template.security_descriptor, self._directory.domain.sid)
            if not security.may_enroll(requester.sids):
                return False
        return True

    def give(self, requester: Requester, template: str = "", names: Sequence[str] = ()) -> str:
        """A new one-time challenge.

        Args:
            template: cn; the challenge is good for no other one.
            names: every name in the request must match one of these patterns, in which * stands for anything.

        Raises:
            AccessDenied: the account may not enroll for every template of the service.
            CacheFull: too many are out.
            InvalidArgument: challenges are not one-time, or what it is to be bound to makes no sense.
        """
        settings = self.settings()
        self._demand(requester, settings)
        if settings.challenge is not ChallengeMode.ONE_TIME:
            raise InvalidArgument(
                f"NDES asks for {_ASKED[settings.challenge]}; for one-time challenges: ndes set challenge=one-time"
            )
        if template and template not in settings.templates:
            raise InvalidArgument(f"NDES issues from {', '.join(settings.templates)}, not from {template}")
        if len(names) > MAX_PATTERNS or any(not 0 < len(name) <= MAX_PATTERN for name in names):
            raise InvalidArgument(f"a challenge has at most {MAX_PATTERNS} names of {MAX_PATTERN} characters")
        password = _random(settings)
        now = int(self._clock().timestamp())
        expires = now + settings.challenge_minutes * 60
        with self._database.transaction() as connection:
            store.lock_challenges(connection)
            if store.count_unused(connection, now) >= settings.challenge_cache:
                raise CacheFull(
                    f"{settings.challenge_cache} challenges are out and not used; wait until one is used or expires,"
                    " or raise challenge-cache"
                )
            store.insert_challenge(connection, _digest(password), template, names, requester.account, now, expires)
            facts: dict[str, str | int] = {"change": "challenge given out", "template": template}
            facts["names"] = ", ".join(names)
            self._audit(connection, facts, requester.account)
        return password

    def renew_static(self, requester: Requester) -> str:
        """A new static challenge in the place of the one before. It is shown this once.

        Raises:
            AccessDenied: as of `give`.
        """
        password = _random(self.settings())
        with self._database.transaction() as connection:
            before = NdesSettings.load(store.settings(connection))
            self._demand(requester, before)
            after = replace(before, challenge=ChallengeMode.STATIC, static_digest=_digest(password).hex())
            self._put(connection, before, after, requester.account)
            self._audit(connection, {"change": "static challenge renewed"}, requester.account)
        return password

    def _demand(self, requester: Requester, settings: NdesSettings) -> None:
        if not self.may_give(requester, settings):
            raise AccessDenied(
                f"{requester.account} may give out no challenges; it needs Enroll on {', '.join(settings.templates)}"
            )

    def outstanding(self, limit: int = 100) -> list[store.Challenge]:
        """The latest that were given out."""
        with self._database.read() as connection:
            return store.challenges(connection, limit)

    # -- taking back

    def take(
        self,
        connection: Connection,
        password: str,
        settings: NdesSettings,
        template: str,
        names: Sequence[str],
        transaction: str,
    ) -> int | None:
        """Take the challenge of a request, in the transaction that notes the request.

        Returns:
            Which one-time challenge was used; None for others.

        Raises:
            WrongChallenge: it is none, was used, has expired, or belongs to another template or name.
        """
        if settings.challenge is ChallengeMode.NONE:
            return None
        if not password:
            raise WrongChallenge("challenge missing")
        given = _digest(password)
        if settings.challenge is ChallengeMode.STATIC:
            if not hmac.compare_digest(given.hex(), settings.static_digest):
                raise WrongChallenge("challenge wrong")
            return None
        found = store.challenge(connection, given)
        now = int(self._clock().timestamp())
        if found is None:
            raise WrongChallenge("challenge wrong")
        if found.used is not None:
            raise WrongChallenge("challenge used")
        if found.expires <= now:
            raise WrongChallenge("challenge expired")
        if found.template and found.template != template:
            raise WrongChallenge("challenge for another template")
        if found.names and not (names and all(_matches(name, found.names) for name in names)):
            raise WrongChallenge("challenge for another name")
        if not store.use_challenge(connection, found.id, now, transaction):
            raise WrongChallenge("challenge used")
        return found.id

    def _audit(self, connection: Connection, facts: dict[str, str | int], actor: str) -> None:
        self._record(connection, CaEvent(AuditEvent.NDES_CHANGED, self._clock(), "", actor, facts))


_ASKED: Final = {ChallengeMode.STATIC: "one static challenge", ChallengeMode.NONE: "no challenge"}


def _random(settings: NdesSettings) -> str:
    """Upper-case hex: scrapers of the page look for it."""
    return secrets.token_hex(settings.challenge_length).upper()


def _digest(password: str) -> bytes:
    return hashlib.sha256(password.encode()).digest()


def _matches(name: str, patterns: Sequence[str]) -> bool:
    literal = (pattern.lower().replace("[", "[[]").replace("?", "[?]") for pattern in patterns)
    return any(fnmatch.fnmatchcase(name.lower(), pattern) for pattern in literal)
