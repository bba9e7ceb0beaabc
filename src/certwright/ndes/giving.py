"""Challenges given out through the policy module of a service, to who may have them."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from certwright.adcs.errors import CaUnreachable, InvalidArgument
from certwright.adcs.requester import Requester
from certwright.ndes import names
from certwright.ndes.challenges import MAX_PATTERN, MAX_PATTERNS, Challenges
from certwright.ndes.modules import PolicyKeeper
from certwright.ndes.policy import ChallengeAsked, PolicyUnavailable

log = structlog.get_logger(__name__)


class Giving:
    """Of one service."""

    def __init__(self, challenges: Challenges, policies: PolicyKeeper) -> None:
        self._challenges = challenges
        self._policies = policies

    def give(
        self, requester: Requester, template: str = "", patterns: Sequence[str] = (), parameters: str = ""
    ) -> str:
        """A challenge for one device.

        Args:
            template: cn; the challenge is good for no other one.
            patterns: every name in the request must match one of them, in which * stands for anything.
            parameters: for the module.

        Raises:
            AccessDenied: the account may not enroll for every template of the service.
            AdcsError: the module gives none; `CaUnreachable` where it cannot say.
        """
        settings = self._challenges.settings()
        self._challenges.demand(requester, settings)
        if template and template not in settings.templates:
            raise InvalidArgument(f"NDES issues from {', '.join(settings.templates)}, not from {template}")
        if len(patterns) > MAX_PATTERNS or any(not 0 < len(name) <= MAX_PATTERN for name in patterns):
            raise InvalidArgument(f"a challenge has at most {MAX_PATTERNS} names of {MAX_PATTERN} characters")
        asked = ChallengeAsked(requester, template, tuple(patterns), parameters)
        try:
            return self._policies.of(settings).generate_challenge(asked)
        except PolicyUnavailable as error:
            raise CaUnreachable(f"the policy module {settings.policy} gives no challenge: {error}") from error

    def by_key_usage(self, requester: Requester, key_usage: int, parameters: str) -> str:
        """For the template that a request of this key usage leads to. Raises as `give`."""
        settings = self._challenges.settings()
        return self.give(requester, names.template_for_usage(key_usage, settings), (), parameters)
