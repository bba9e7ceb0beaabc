"""What the console translates though other rooms say it: audit events, fields of a preview, the audit, refusals.

`scripts/messages` collects these sentences for the catalogue, beside the meanings of a CA's settings and what its
rules say of a request that passed; the rooms that say them know nothing of languages.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from django.utils.translation import get_language
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as lazy

from certwright.adcs.events import AuditEvent
from certwright.console.borrowed_sentences import DISPOSITIONS, DOCTOR, POLICY_AND_AUDIT, REFUSALS, RIGHTS
from certwright.directory.security_audit.catalogue import ESCALATIONS
from certwright.ndes.settings import MEANINGS

_MAX_NESTED: Final = 3
_OF_CAS: Final = (*POLICY_AND_AUDIT, *REFUSALS, *DISPOSITIONS)
_GAP: Final = re.compile(r"%\(([a-h])\)s")
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
    return said(reason)


def said(text: str) -> str:
    """A sentence of a CA or of the security audit in the language of whoever looks; others stay as they are."""
    return _said(text, _OF_CAS, 0)


def diagnosed(text: str) -> str:
    """The same for what the doctor of a domain says."""
    return _said(text, DOCTOR, 0)


def _said(text: str, sentences: tuple[str, ...], depth: int) -> str:
    if _in_english() or " " not in text or depth > _MAX_NESTED:
        return text
    for sentence in _templates(sentences):
        filled = sentence.filled_in(text)
        if filled is not None:
            inside = {name: _said(value, sentences, depth + 1) for name, value in filled.items()}
            return _(sentence.text) % inside if inside else _(sentence.text)
    return _(text)  # what rules say of a request that passed


def _in_english() -> bool:
    return (get_language() or "en").startswith("en")


_OBJECTS: Final[Mapping[str, Any]] = {
    "template ": lazy("template %(name)s"),
    "CA ": lazy("CA %(name)s"),
    "domain controller ": lazy("domain controller %(name)s"),
}


def object_name(text: str) -> str:
    """What a finding of the security audit is about; a distinguished name stays as it is."""
    for kind, words in _OBJECTS.items():
        if text.startswith(kind):
            return str(words) % {"name": text.removeprefix(kind)}
    return text


def entry(text: str) -> str:
    r"""An entry of a list of permissions, `CORP\Domain Users: Full Control, inherited`: the right in words."""
    who, colon, right = text.rpartition(": ")
    if _in_english() or not colon:
        return text
    own = right.removesuffix(", inherited")
    words = _(own) if own in RIGHTS else _(" and ").join(map(_right, own.split(" and ")))
    inherited = "" if own == right else _(", inherited")
    return f"{who}: {words}{inherited}"


def _right(name: str) -> str:
    """One right; what it is about, an attribute for example, stays as it is."""
    if name in RIGHTS:
        return _(name)
    return _("Write %(what)s") % {"what": name.removeprefix("Write ")} if name.startswith("Write ") else name


@dataclass(frozen=True, slots=True)
class _Template:
    """A sentence with gaps: the words between them, and what the gaps are called."""

    text: str
    words: tuple[str, ...]
    names: tuple[str, ...]

    def filled_in(self, text: str) -> dict[str, str] | None:
        """What fills the gaps of a text; None where it is another sentence.

        In one pass: what is filled in may be anybody's words, and a regular expression could be made to search long.
        """
        first, *between = self.words
        if not text.startswith(first):
            return None
        if not between:
            return {} if text == first else None
        *middle, last = between
        end = len(text) - len(last)
        if end < len(first) or not text.endswith(last):
            return None
        found, at = [], len(first)
        for words in middle:
            here = text.find(words, at, end)
            if here < 0:
                return None
            found.append(text[at:here])
            at = here + len(words)
        return dict(zip(self.names, (*found, text[at:end]), strict=True))


@lru_cache(maxsize=2)
def _templates(sentences: tuple[str, ...]) -> Sequence[_Template]:
    """Those with the most words of their own first: the others may be part of them."""
    made = [_Template(each, tuple(_GAP.split(each)[::2]), tuple(_GAP.findall(each))) for each in sentences]
    return sorted(made, key=lambda each: sum(map(len, each.words)), reverse=True)


def sentences() -> Iterator[str]:
    """Everything above, as it is marked for the catalogue."""
    yield from (*_OF_CAS, *DOCTOR, *RIGHTS)
    yield from (event_name(event.name) for event in AuditEvent if not event.name.startswith("CONSOLE_"))
    yield from MEANINGS.values()
    for escalation in ESCALATIONS.values():
        yield from filter(None, (escalation.here, escalation.look))
