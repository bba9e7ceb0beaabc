"""Challenge passwords: what lets a device without an account ask for its first certificate. RFC 8894 2.3, 7.3.

They are random, given out to accounts that may enroll for every template of the service, and kept as hashes: 64 bits
that live an hour need no slow one. A one-time challenge is taken in the transaction that notes the request, so that
two messages cannot share it, and may be bound to a template and to names: stolen, it names no other machine.

`Challenges` are those of one service, with its settings; `BuiltInPolicy` is the policy module over them.
"""

from __future__ import annotations

import fnmatch
import hashlib
import hmac
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from certwright.adcs.errors import AccessDenied, InvalidArgument
from certwright.adcs.events import AuditEvent, CaEvent
from certwright.adcs.requester import Requester
from certwright.adcs.security import SecurityDescriptor
from certwright.database import Connection, Database
from certwright.directory.base import Directory
from certwright.ndes import store
from certwright.ndes.policy import ChallengeAsked, ModuleContext, Outcome, Rejected, RequestAsked, Verdict
from certwright.ndes.settings import SECRET, ChallengeMode, NdesSettings

Record = Callable[[Connection, CaEvent], None]
MAX_PATTERNS: Final = 20
MAX_PATTERN: Final = 255


class CacheFull(InvalidArgument):
    """So many unused challenges are out that no more are given."""


class Challenges:
    """Gives challenges out and takes them back.

    Args:
        service: its name; empty for the one at the classic addresses.
    """

    def __init__(
        self,
        database: Database,
        directory: Directory,
        record: Record,
        clock: Callable[[], datetime],
        service: str = "",
    ) -> None:
        self.service = service
        self._database = database
        self._directory = directory
        self._record = record
        self._clock = clock
        self._read: tuple[list[tuple[str, str]], NdesSettings] = ([], NdesSettings())

    def settings(self) -> NdesSettings:
        """As they are now."""
        with self._database.read() as connection:
            rows = store.settings(connection, self.service)
        known, settings = self._read
        if rows != known:
            settings = NdesSettings.load(dict(rows))
            self._read = (rows, settings)
        return settings

    def known(self) -> NdesSettings:
        """As they were read last in this process: at the beginning of the request that is being answered."""
        return self._read[1] if self._read[0] else self.settings()

    def _settings_in(self, connection: Connection) -> NdesSettings:
        return NdesSettings.load(dict(store.settings(connection, self.service)))

    def change_settings(self, changes: Mapping[str, str], actor: str) -> NdesSettings:
        """Raises:
        InvalidArgument: a setting or its value is not known.
        """
        with self._database.transaction() as connection:
            before = self._settings_in(connection)
            return self._put(connection, before, before.changed(changes), actor)

    def set_internal(self, actor: str, **values: bool | str) -> NdesSettings:
        """Change what has a command of its own: whether it is enabled, its account, sealed keys."""
        with self._database.transaction() as connection:
            before = self._settings_in(connection)
            return self._put(connection, before, replace(before, **values), actor)  # type: ignore[arg-type]

    def _put(self, connection: Connection, before: NdesSettings, after: NdesSettings, actor: str) -> NdesSettings:
        old, new = before.as_text(), after.as_text()
        changed = {name: value for name, value in new.items() if old[name] != value}
        if changed:
            store.put_settings(connection, self.service, changed)
            facts: dict[str, str | int] = {"change": "settings"}
            for name in changed:
                if name not in SECRET:
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
        self.demand(requester, settings)
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
            if store.count_unused(connection, self.service, now) >= settings.challenge_cache:
                raise CacheFull(
                    f"{settings.challenge_cache} challenges are out and not used; wait until one is used or expires,"
                    " or raise challenge-cache"
                )
            store.insert_challenge(
                connection, self.service, _digest(password), template, names, requester.account, now, expires
            )
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
            before = self._settings_in(connection)
            self.demand(requester, before)
            after = replace(before, challenge=ChallengeMode.STATIC, static_digest=_digest(password).hex())
            self._put(connection, before, after, requester.account)
            self._audit(connection, {"change": "static challenge renewed"}, requester.account)
        return password

    def demand(self, requester: Requester, settings: NdesSettings) -> None:
        """Raises:
        AccessDenied: the account may give out no challenges.
        """
        if not self.may_give(requester, settings):
            raise AccessDenied(
                f"{requester.account} may give out no challenges; it needs Enroll on {', '.join(settings.templates)}"
            )

    def outstanding(self, limit: int = 100) -> list[store.Challenge]:
        """The latest that were given out."""
        with self._database.read() as connection:
            return store.challenges(connection, self.service, limit)

    # -- taking back

    def check(
        self, password: str, settings: NdesSettings, template: str, names: Sequence[str], transaction: str
    ) -> OneTime | None:
        """Look at the challenge of a request.

        Returns:
            Which one-time challenge is to be taken with the request; None for others.

        Raises:
            Rejected: it is none, was used, has expired, or belongs to another template or name.
        """
        if settings.challenge is ChallengeMode.NONE:
            return None
        if not password:
            raise Rejected("challenge missing")
        given = _digest(password)
        if settings.challenge is ChallengeMode.STATIC:
            if not hmac.compare_digest(given.hex(), settings.static_digest):
                raise Rejected("challenge wrong")
            return None
        with self._database.read() as connection:
            found = store.challenge(connection, self.service, given)
        if found is None:
            raise Rejected("challenge wrong")
        if found.used is not None:
            raise Rejected("challenge used")
        if found.expires <= int(self._clock().timestamp()):
            raise Rejected("challenge expired")
        if found.template and found.template != template:
            raise Rejected("challenge for another template")
        if found.names and not (names and all(_matches(name, found.names) for name in names)):
            raise Rejected("challenge for another name")
        return OneTime(found.id, transaction, self._clock)

    def _audit(self, connection: Connection, facts: dict[str, str | int], actor: str) -> None:
        if self.service:
            facts = {"service": self.service, **facts}
        self._record(connection, CaEvent(AuditEvent.NDES_CHANGED, self._clock(), "", actor, facts))


@dataclass(frozen=True, slots=True)
class OneTime:
    """A one-time challenge about to be used: a `policy.Claim`."""

    id: int
    transaction: str
    clock: Callable[[], datetime]

    def take(self, connection: Connection) -> None:
        """Raises:
        Rejected: it was used, or has expired, since it was looked at.
        """
        now = int(self.clock().timestamp())
        if not store.use_challenge(connection, self.id, now, self.transaction):
            raise Rejected("challenge used")

    def give_back(self, connection: Connection) -> None:
        store.give_back_challenge(connection, self.id)


class BuiltInPolicy:
    """The policy module that is always there: challenges as the settings have them."""

    def __init__(self, challenges: Challenges) -> None:
        self._challenges = challenges

    def initialize(self, context: ModuleContext) -> None:
        del context

    def generate_challenge(self, asked: ChallengeAsked) -> str:
        return self._challenges.give(asked.requester, asked.template, asked.names)

    def verify_request(self, asked: RequestAsked) -> Verdict:
        if asked.signer is not None:
            return Verdict.yes()  # its names and its template were compared
        settings = self._challenges.known()
        try:
            claim = self._challenges.check(asked.challenge, settings, asked.template, asked.names, asked.transaction)
        except Rejected as rejected:
            return Verdict.no(rejected.rule, "The challenge password is not accepted.")
        return Verdict.yes(claim)

    def notify(self, outcome: Outcome) -> None:
        del outcome

    def uninitialize(self) -> None:
        pass


_ASKED: Final = {ChallengeMode.STATIC: "one static challenge", ChallengeMode.NONE: "no challenge"}


def _random(settings: NdesSettings) -> str:
    """Upper-case hex: scrapers of the page look for it."""
    return secrets.token_hex(settings.challenge_length).upper()


def _digest(password: str) -> bytes:
    return hashlib.sha256(password.encode()).digest()


def _matches(name: str, patterns: Sequence[str]) -> bool:
    literal = (pattern.lower().replace("[", "[[]").replace("?", "[?]") for pattern in patterns)
    return any(fnmatch.fnmatchcase(name.lower(), pattern) for pattern in literal)
