"""Which policy module a service has, and its life: made when it is first needed, and anew when its settings change.

Beside ours, every module that an installed package offers under `certwright.ndes_policy` (entry points of Python
packages): code that an administrator of the host installed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from importlib.metadata import EntryPoint, entry_points
from typing import Final, cast

import structlog

from certwright.adcs.errors import AdcsError, ConfigurationError, InvalidArgument
from certwright.ndes.challenges import BuiltInPolicy, Challenges
from certwright.ndes.policy import ModuleContext, PolicyModule, PolicyUnavailable
from certwright.ndes.settings import BUILT_IN, WEBHOOK, NdesSettings
from certwright.ndes.webhook import WebhookPolicy, WebhookSettings

log = structlog.get_logger(__name__)

GROUP: Final = "certwright.ndes_policy"
TRIED_AGAIN_AFTER: Final = 5.0
"""Seconds after which a module that did not come up is tried once more."""


def module_names() -> Sequence[str]:
    """What the setting policy may be."""
    return (BUILT_IN, WEBHOOK, *sorted(each.name for each in _installed()))


def require_module(name: str) -> None:
    """Raises:
    InvalidArgument: there is no module of that name.
    """
    known = module_names()
    if name not in known:
        raise InvalidArgument(
            f"there is no policy module {name!r}; there are: {', '.join(known)}. A package that has another one"
            f" offers it as an entry point {GROUP}"
        )


def _installed() -> Sequence[EntryPoint]:
    return tuple(entry_points(group=GROUP))


def webhook_settings(settings: NdesSettings, key: str) -> WebhookSettings:
    return WebhookSettings(
        settings.webhook_url, key, float(settings.webhook_timeout), settings.webhook_plain, settings.webhook_ca
    )


class PolicyKeeper:
    """The module of one service. Thread-safe.

    Args:
        unseal: the webhook's signing key from the setting that holds it.
    """

    def __init__(
        self,
        challenges: Challenges,
        unseal: Callable[[str], str],
        clock: Callable[[], datetime],
        ca_certificate: Callable[[], bytes],
    ) -> None:
        self._challenges = challenges
        self._unseal = unseal
        self._clock = clock
        self._ca_certificate = ca_certificate
        self._lock = threading.Lock()
        self._made: tuple[tuple[object, ...], PolicyModule] | None = None
        self._failed: tuple[tuple[object, ...], float, str] | None = None

    def of(self, settings: NdesSettings) -> PolicyModule:
        """The module that the settings name.

        Raises:
            PolicyUnavailable: it does not come up.
        """
        wanted = _identity(settings)
        made = self._made
        if made is not None and made[0] == wanted:
            return made[1]
        with self._lock:
            if self._made is not None and self._made[0] == wanted:
                return self._made[1]
            if self._failed is not None and self._failed[0] == wanted and time.monotonic() < self._failed[1]:
                raise PolicyUnavailable(self._failed[2])
            before = self._made
            try:
                module = self._create(settings)
                module.initialize(
                    ModuleContext(self._challenges.service, settings.policy_options, self._ca_certificate)
                )
            except Exception as error:
                reason = error.message if isinstance(error, AdcsError) else f"{type(error).__name__}: {error}"
                self._failed = (wanted, time.monotonic() + TRIED_AGAIN_AFTER, reason)
                log.error("ndes_policy_not_initialized", policy=settings.policy, reason=reason)
                raise PolicyUnavailable(reason) from error
            self._made, self._failed = (wanted, module), None
        if before is not None:
            _end(before[1])
        return module

    def close(self) -> None:
        with self._lock:
            made, self._made = self._made, None
        if made is not None:
            _end(made[1])

    def _create(self, settings: NdesSettings) -> PolicyModule:
        if settings.policy == BUILT_IN:
            return BuiltInPolicy(self._challenges)
        if settings.policy == WEBHOOK:
            key = self._unseal(settings.webhook_key) if settings.webhook_key else ""
            return WebhookPolicy(webhook_settings(settings, key), self._clock)
        for each in _installed():
            if each.name == settings.policy:
                return cast(Callable[[], PolicyModule], each.load())()
        raise ConfigurationError(f"the policy module {settings.policy!r} is not installed")


def _identity(settings: NdesSettings) -> tuple[object, ...]:
    """What a module depends on: other settings change without making it anew."""
    if settings.policy == BUILT_IN:
        return (BUILT_IN,)
    return (
        settings.policy,
        settings.policy_options,
        settings.webhook_url,
        settings.webhook_timeout,
        settings.webhook_plain,
        settings.webhook_ca,
        settings.webhook_key,
    )


def _end(module: PolicyModule) -> None:
    try:
        module.uninitialize()
    except Exception as error:  # noqa: BLE001 - it is gone either way
        log.error("ndes_policy_not_uninitialized", reason=f"{type(error).__name__}: {error}")
