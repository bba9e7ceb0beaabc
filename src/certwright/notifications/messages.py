"""What an event says to people (`subject`, `text`) and to programs (`document`)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from certwright.adcs.events import AuditEvent, LifecycleEvent, LifecycleKind
from certwright.notifications.channels.base import Message

TEST_KIND: Final = "test"

EVENT_NUMBERS: Final[Mapping[LifecycleKind, int]] = {
    # Microsoft-Windows-CertificateServicesClient-Lifecycle-System
    LifecycleKind.CERTIFICATE_RENEWED: 1001,
    LifecycleKind.CERTIFICATE_EXPIRED: 1002,
    LifecycleKind.CERTIFICATE_EXPIRING: 1003,
    LifecycleKind.CA_CERTIFICATE_EXPIRING: 1003,
    LifecycleKind.CA_CERTIFICATE_RENEWED: 1001,
    LifecycleKind.CA_INSTALLED: 1006,
    # Security, of the CA
    LifecycleKind.CA_ISSUED: AuditEvent.CERTIFICATE_ISSUED.value,
    LifecycleKind.CA_PENDING: AuditEvent.REQUEST_PENDED.value,
    LifecycleKind.CA_DENIED: AuditEvent.REQUEST_DENIED.value,
    LifecycleKind.CA_REVOKED: AuditEvent.CERTIFICATE_REVOKED.value,
    LifecycleKind.CA_KEY_ARCHIVED: AuditEvent.KEY_ARCHIVED.value,
    LifecycleKind.CRL_PUBLISHED: AuditEvent.CRL_PUBLISHED.value,
}
"""The numbers under which Windows logs the same; kinds without one have none there."""

SENTENCES: Final[Mapping[LifecycleKind, str]] = {
    LifecycleKind.ORDER_ISSUED: "The order for {object} is issued",
    LifecycleKind.ORDER_PENDING: "The order for {object} waits for a certificate manager",
    LifecycleKind.ORDER_DENIED: "The order for {object} is denied",
    LifecycleKind.ORDER_FAILED: "The order for {object} failed",
    LifecycleKind.ORDER_LOST: "The answer to the order for {object} was lost",
    LifecycleKind.CERTIFICATE_EXPIRING: "The certificate {object} expires within {band} days",
    LifecycleKind.CERTIFICATE_EXPIRED: "The certificate {object} has expired",
    LifecycleKind.CERTIFICATE_RENEWED: "The certificate {object} is renewed",
    LifecycleKind.CERTIFICATE_REVOKED: "The certificate {object} is revoked",
    LifecycleKind.RENEWAL_FAILED: "The certificate {object} could not be renewed",
    LifecycleKind.SERVICE_UNREACHABLE: "The AD CS service {object} cannot be used",
    LifecycleKind.SERVICE_RECOVERED: "The AD CS service {object} works again",
    LifecycleKind.SERVICE_CHANGED: "The AD CS service {object} offers something else",
    LifecycleKind.DEVICE_USER_EXPIRING: "The secret of the device user {object} expires soon",
    LifecycleKind.CA_ISSUED: "{object} has issued a certificate",
    LifecycleKind.CA_PENDING: "A request to {object} waits for a certificate manager",
    LifecycleKind.CA_DENIED: "{object} has denied a request",
    LifecycleKind.CA_FAILED: "A request to {object} failed",
    LifecycleKind.CA_REVOKED: "A certificate of {object} is revoked",
    LifecycleKind.CA_KEY_ARCHIVED: "{object} has archived a private key",
    LifecycleKind.CA_INSTALLED: "The CA {object} is installed",
    LifecycleKind.CA_CERTIFICATE_RENEWED: "The certificate of the CA {object} is renewed",
    LifecycleKind.CA_CERTIFICATE_EXPIRING: "The certificate of the CA {object} expires soon; renew it",
    LifecycleKind.CRL_PUBLISHED: "{object} has published a CRL",
    LifecycleKind.CRL_NOT_PUBLISHED: "A CRL of {object} did not reach every place where clients look for it",
    LifecycleKind.CRL_NEEDS_KEY: "The next CRL of {object} needs the CA's offline key, or has to be carried here",
    LifecycleKind.CRL_OVERDUE: "The CRL of {object} has expired: its certificates are refused until it is published",
    LifecycleKind.ANSWERS_ENDING: "The Online Responder's answers for {object} end, or have ended",
    LifecycleKind.LOCATION_FAILING: "Clients cannot use the location {object}",
    LifecycleKind.LOCATION_EXPIRING: "What clients find at {object} needs attention",
    LifecycleKind.LOCATION_RECOVERED: "The location {object} can be used again",
}


def sentence(event: LifecycleEvent) -> str:
    """What happened, in one line."""
    return SENTENCES[event.kind].format(object=event.object, band=event.facts.get("band", "a few"))


def compose(event: LifecycleEvent, delivery_id: str, hostname: str, rule: str) -> Message:
    """The message for an event; the rule tells people why they get it."""
    subject = sentence(event)
    facts = {name: value for name, value in event.facts.items() if value != ""}
    lines = [f"{subject}.", ""]
    lines += _listed({"when": _time(event.when), **facts})
    lines += ["", f"Sent by Certwright on {hostname} for the notification rule {rule}."]
    document: dict[str, object] = {
        "id": delivery_id,
        "event": event.kind.value,
        "object": event.object,
        "when": _time(event.when),
        "identity": event.identity,
        "message": subject,
        "facts": dict(event.facts),
        "sender": hostname,
        "rule": rule,
    }
    if event.kind in EVENT_NUMBERS:
        document["windows_event"] = EVENT_NUMBERS[event.kind]
    return Message(delivery_id, event.kind.value, subject, "\n".join(lines) + "\n", document, event.when)


def trial_message(delivery_id: str, hostname: str, channel: str, now: datetime) -> Message:
    """What Send test sends."""
    subject = f"Test of the notification channel {channel}"
    text = f"{subject}.\n\nCertwright on {hostname} can reach you. Nothing has happened.\n"
    document: dict[str, object] = {
        "id": delivery_id,
        "event": TEST_KIND,
        "object": channel,
        "when": _time(now),
        "message": subject,
        "facts": {},
        "sender": hostname,
    }
    return Message(delivery_id, TEST_KIND, subject, text, document, now)


def _listed(facts: Mapping[str, str | int]) -> list[str]:
    width = max(len(name) for name in facts)
    return [
        f"{name.replace('_', ' ') + ':':<{width + 1}} {' '.join(str(value).split())}" for name, value in facts.items()
    ]


def _time(when: datetime) -> str:
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
