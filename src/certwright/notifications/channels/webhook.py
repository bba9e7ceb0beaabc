"""Webhooks: a JSON document by HTTP POST, signed with HMAC-SHA-256 (RFC 2104) over time stamp and body.

A receiver computes `HMAC-SHA-256(key, timestamp + "." + body)` and compares it with `X-Certwright-Signature` (`v1=`
and hex); it refuses time stamps that are old, and delivery IDs that it has seen. Redirects are not followed, proxies
and bundles of the environment are not used, and nothing of the answer but its status is read.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlsplit

import httpx2

from certwright import __version__
from certwright.notifications.channels.base import (
    ANSWER_TIMEOUT,
    CONNECT_TIMEOUT,
    ChannelError,
    Message,
    verifying_context,
)
from certwright.notifications.targets import Targets
from certwright.notifications.values import WebhookFields

SIGNATURE: Final = "X-Certwright-Signature"
TIMESTAMP: Final = "X-Certwright-Timestamp"


def signature(signing_key: str, timestamp: int, body: bytes) -> str:
    """What stands in `X-Certwright-Signature`."""
    signed = str(timestamp).encode() + b"." + body
    return f"v1={hmac.new(signing_key.encode(), signed, hashlib.sha256).hexdigest()}"


class WebhookSender:
    """Posts to one URL, a connection for each message."""

    def __init__(
        self,
        fields: WebhookFields,
        signing_key: str,
        targets: Targets,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._fields = fields
        self._signing_key = signing_key
        self._targets = targets
        self._clock = clock

    def send(self, message: Message) -> str:
        parts = urlsplit(self._fields.url)
        host = self._fields.host
        port = parts.port or (443 if parts.scheme == "https" else 80)
        if parts.scheme != "https" and not self._targets.is_listed(host):
            raise ChannelError(f"{host} is called without TLS, which webhook-allow in certwright.toml must allow")
        address = self._targets.resolve(host, port)
        target = f"{parts.scheme}://{_in_url(address)}:{port}{parts.path or '/'}"
        if parts.query:
            target += f"?{parts.query}"
        status = self._post(target, parts.netloc, host, message)
        if status in range(300, 400):
            raise ChannelError(f"{host} leads elsewhere (HTTP status {status}); enter the address it leads to")
        if status not in range(200, 300):
            raise ChannelError(f"{host} does not take it (HTTP status {status})")
        return f"taken by {host} (HTTP status {status})"

    def _post(self, target: str, host_header: str, host: str, message: Message) -> int:
        body = json.dumps(message.document, ensure_ascii=False, separators=(",", ":")).encode()
        timestamp = int(self._clock().timestamp())
        headers = {
            "Host": host_header,
            "Content-Type": "application/json",
            "User-Agent": f"Certwright/{__version__}",
            "Accept-Encoding": "identity",
            "X-Certwright-Event": message.kind,
            "X-Certwright-Delivery": message.id,
            TIMESTAMP: str(timestamp),
            SIGNATURE: signature(self._signing_key, timestamp, body),
        }
        transport = httpx2.HTTPTransport(
            verify=verifying_context(self._fields.ca_pem), trust_env=False, http1=True, http2=False, retries=0
        )
        timeout = httpx2.Timeout(ANSWER_TIMEOUT, connect=CONNECT_TIMEOUT)
        try:
            with (
                httpx2.Client(
                    transport=transport, trust_env=False, follow_redirects=False, timeout=timeout
                ) as client,
                # to the address that was judged; the name is what its certificate must have
                client.stream(
                    "POST", target, content=body, headers=headers, extensions={"sni_hostname": host}
                ) as response,
            ):
                return response.status_code
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise ChannelError(f"{host} cannot be reached: {_why(error)}", unreachable=True) from error


def _in_url(address: str) -> str:
    return f"[{address}]" if ipaddress.ip_address(address.partition("%")[0]).version == 6 else address


def _why(error: BaseException) -> str:
    """The reason in words; never the URL, which may hold a secret."""
    current: BaseException | None = error
    for _ in range(8):
        match current:
            case None:
                break
            case ssl.SSLCertVerificationError():
                return f"its certificate is not trusted ({current.verify_message}); pin its CA for the channel"
            case ssl.SSLError():
                return f"TLS fails ({current.reason or 'no reason given'})"
            case ConnectionRefusedError():
                return "it refuses connections to the port"
            case TimeoutError() | httpx2.TimeoutException():
                return "it does not answer in time"
            case _:
                current = current.__cause__ or current.__context__
    return "the connection broke off"
