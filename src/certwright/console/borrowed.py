"""What the console translates though other rooms say it: audit events, fields of a preview, reasons of the audit.

`scripts/messages` collects these sentences for the catalogue, beside the meanings of a CA's settings and what its
rules say of a request that passed; the rooms that say them know nothing of languages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as lazy

from certwright.adcs.events import AuditEvent
from certwright.directory.security_audit.catalogue import ESCALATIONS

_NAMES: Final = {"adcs ": "AD CS ", "api ": "API ", "ca ": "CA ", "crl ": "CRL ", "ndes ": "NDES "}

_FIELDS: Final[Mapping[str, Any]] = {
    "Subject": lazy("Subject"),
    "Not before": lazy("Not Before"),
    "Not after": lazy("Not After"),
    "Key": lazy("Key"),
    "Key Usage": lazy("Key usage"),
    "Application policies": lazy("Application policies"),
    "Issuance policies": lazy("Issuance policies"),
    "SID security extension": lazy("SID security extension"),
    "Template": lazy("Template"),
}


def field_name(name: str) -> str:
    """A field of a preview; names of extensions and of kinds of alternative names stay as they are."""
    return str(_FIELDS.get(name, name))


def event_name(name: str) -> str:
    """`CERTIFICATE_ISSUED` as people read it, in English: `Certificate issued`."""
    text = name.replace("_", " ").lower()
    for written, meant in _NAMES.items():
        text = text.replace(written, meant)
    return text[:1].upper() + text[1:]


def standing_reason(number: str, reason: str) -> str:
    """Why an escalation cannot happen here, or how one looks for it; names of CAs before it stay as they are."""
    escalation = ESCALATIONS[number]
    for sentence in (escalation.here, escalation.look):
        if sentence and reason.endswith(sentence):
            return reason.removesuffix(sentence) + _(sentence)
    return reason


def sentences() -> Iterator[str]:
    """Everything above, as it is marked for the catalogue."""
    yield from (event_name(event.name) for event in AuditEvent if not event.name.startswith("CONSOLE_"))
    for escalation in ESCALATIONS.values():
        yield from filter(None, (escalation.here, escalation.look))
