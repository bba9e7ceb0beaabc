"""The policy module `webhook`: another server decides, asked over HTTP. Documented in docs/guide/ndes-policy.md.

Every question is a JSON document by POST, signed with HMAC-SHA-256 as notifications are (`X-Certwright-Signature`
over time stamp and body). An answer is JSON, of status 200, bounded in size and time. What is anything else counts
as no answer, and no answer as no: the device is asked to come back later. Redirects are not followed, proxies and
bundles of the environment are not used.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2
import structlog

from certwright import __version__
from certwright.adcs.errors import AccessDenied, ConfigurationError
from certwright.ndes.policy import (
    MAX_CHALLENGE,
    ChallengeAsked,
    ModuleContext,
    Outcome,
    PolicyUnavailable,
    RequestAsked,
    Verdict,
)
from certwright.notifications.channels.base import printable, verifying_context
from certwright.notifications.channels.webhook import SIGNATURE, TIMESTAMP, signature

log = structlog.get_logger(__name__)

MAX_ANSWER: Final = 64 << 10
"""Octets of an answer. A challenge of an MDM, the longest that it can hold, has 8 KiB."""
CONNECTIONS: Final = 16
LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
MAX_RULE: Final = 64
MAX_TEXT: Final = 400


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """Whom to ask, and how."""

    url: str
    key: str = field(repr=False)
    timeout: float = 10.0  # seconds for the whole of an answer
    plain: bool = False  # http to other hosts than this one
    ca_pem: str = ""

    def check(self) -> None:
        """Raises:
        ConfigurationError: it cannot work like this.
        """
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.fragment:
            raise ConfigurationError("webhook-url is the address of a server: https://host/path")
        if parts.scheme == "http" and parts.hostname not in LOOPBACK and not self.plain:
            raise ConfigurationError(
                f"{parts.hostname} would be asked over plain http, where anybody on the way could answer for it; use"
                " https, or set webhook-plain=on"
            )
        if not self.key:
            raise ConfigurationError("the webhook has no signing key; run: certwright ndes webhook-key")
        verifying_context(self.ca_pem)


class WebhookPolicy:
    """`policy.PolicyModule` over HTTP."""

    def __init__(self, settings: WebhookSettings, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._settings = settings
        self._clock = clock
        self._service = ""
        self._client: httpx2.Client | None = None

    # -- the five calls

    def initialize(self, context: ModuleContext) -> None:
        self._settings.check()
        self._service = context.service
        transport = httpx2.HTTPTransport(
            verify=verifying_context(self._settings.ca_pem),
            trust_env=False,
            http1=True,
            http2=False,
            retries=0,
            limits=httpx2.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS),
        )
        self._client = httpx2.Client(
            transport=transport,
            trust_env=False,
            follow_redirects=False,
            timeout=httpx2.Timeout(self._settings.timeout),
        )

    def generate_challenge(self, asked: ChallengeAsked) -> str:
        answer = self._ask(
            "challenge",
            {
                "requester": asked.requester.account,
                "template": asked.template,
                "names": list(asked.names),
                "parameters": asked.parameters,
            },
        )
        challenge = answer.get("challenge")
        if isinstance(challenge, str) and 0 < len(challenge) <= MAX_CHALLENGE:
            return challenge
        raise AccessDenied(_text(answer) or "The policy module gives no challenge.")

    def verify_request(self, asked: RequestAsked) -> Verdict:
        answer = self._ask(
            "verify",
            {
                "transaction": asked.transaction,
                "template": asked.template,
                "request": base64.b64encode(asked.request).decode("ascii"),
                "challenge": asked.challenge,
                "signing_certificate": (
                    base64.b64encode(asked.signer).decode("ascii") if asked.signer is not None else None
                ),
                "names": list(asked.names),
                "peer": asked.peer,
            },
        )
        accepted = answer.get("accepted")
        if accepted is True:
            return Verdict.yes()
        if accepted is False:
            rule = answer.get("rule")
            named = printable(rule)[:MAX_RULE] if isinstance(rule, str) else ""
            return Verdict.no(f"webhook: {named}" if named else "webhook", _text(answer))
        raise PolicyUnavailable('the answer of the webhook says neither "accepted": true nor false')

    def notify(self, outcome: Outcome) -> None:
        """Told at once, for who keeps no notices. Raises as `tell`."""
        self.tell(0, self.notice_of(outcome))

    def uninitialize(self) -> None:
        if self._client is not None:
            self._client.close()

    # -- notices: `policy.KeepsNotices`

    def notice_of(self, outcome: Outcome) -> Mapping[str, Any]:
        certificate = outcome.certificate
        return {
            "transaction": outcome.transaction,
            "template": outcome.template,
            "disposition": outcome.disposition.name.lower(),
            "request_id": outcome.request_id,
            "status": f"0x{outcome.status:08x}",
            "message": outcome.message,
            "request": base64.b64encode(outcome.request).decode("ascii"),
            "challenge": outcome.challenge,
            "certificate": base64.b64encode(certificate).decode("ascii") if certificate is not None else None,
            "thumbprint": (
                hashlib.sha1(certificate, usedforsecurity=False).hexdigest() if certificate is not None else None
            ),
        }

    def tell(self, number: int, notice: Mapping[str, Any]) -> None:
        """Under the same delivery however often it is told."""
        self._ask("notify", notice, f"notice-{number}" if number else "")

    # -- asking

    def _ask(self, event: str, facts: Mapping[str, object], delivery: str = "") -> Mapping[str, Any]:
        """Raises:
        PolicyUnavailable: no answer that counts.
        """
        client = self._client
        if client is None:
            raise PolicyUnavailable("the webhook was not initialized")
        body = json.dumps({"event": event, "service": self._service, **facts}, separators=(",", ":")).encode()
        timestamp = int(self._clock().timestamp())
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": f"Certwright/{__version__}",
            "X-Certwright-Event": f"ndes.{event}",
            "X-Certwright-Delivery": delivery or secrets.token_hex(16),
            TIMESTAMP: str(timestamp),
            SIGNATURE: signature(self._settings.key, timestamp, body),
        }
        ends = time.monotonic() + self._settings.timeout
        received = bytearray()
        try:
            with client.stream("POST", self._settings.url, content=body, headers=headers) as response:
                status = response.status_code
                for part in response.iter_raw():
                    received += part
                    if len(received) > MAX_ANSWER:
                        raise PolicyUnavailable(f"the webhook answers with more than {MAX_ANSWER} octets")
                    if time.monotonic() > ends:
                        raise PolicyUnavailable("the webhook does not answer in time")
        except httpx2.TimeoutException as error:
            raise PolicyUnavailable("the webhook does not answer in time") from error
        except (httpx2.HTTPError, OSError) as error:
            raise PolicyUnavailable(f"the webhook cannot be asked: {printable(str(error))}") from error
        if event == "notify" and status in range(200, 300):
            return {}
        if status != 200:
            raise PolicyUnavailable(f"the webhook answers with HTTP status {status}")
        try:
            answer = json.loads(bytes(received))
        except ValueError as error:
            raise PolicyUnavailable("the answer of the webhook is no JSON") from error
        if not isinstance(answer, dict):
            raise PolicyUnavailable("the answer of the webhook is no JSON object")
        return answer


def _text(answer: Mapping[str, Any]) -> str:
    text = answer.get("text")
    return printable(text)[:MAX_TEXT] if isinstance(text, str) else ""
