"""Risks in words: what somebody could do, what is true that lets them, and the single changes that end it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as lazy
from django.utils.translation import ngettext

from certwright.adcs.requester import Sid
from certwright.directory.risks import Cause, Remedy, Risk, Way

_SENTENCES: Final[Mapping[str, Any]] = {
    "ESC1": lazy("%(who)s could get a logon certificate that names any account, also a domain administrator."),
    "ESC2": lazy("%(who)s could get a certificate for any purpose that nobody has looked at."),
    "ESC3": lazy("%(who)s could ask for certificates in other people's names."),
    "ESC4": lazy(
        "In Active Directory these permissions would let others than administrators change the template; here they"
        " cannot."
    ),
    "ESC9": lazy(
        "Certificates that log on would not carry the SID of their account, and could be used for another one."
    ),
    "ESC13": lazy("%(who)s could log on as members of a group by the certificate's issuance policy."),
    "ESC15": lazy(
        "A CA of AD CS without the update of November 2024 would let the enrollee choose the purposes; this CA does"
        " not."
    ),
    "ESC17": lazy("%(who)s could get a certificate for TLS servers that names any host."),
}
_SERIOUS: Final[Mapping[str, Any]] = {
    "ESC4": lazy("%(who)s could change the template, and so make of it one that lets anybody log on as anybody."),
    "ESC15": lazy("%(who)s could choose the purposes at a CA of AD CS that lacks the update of November 2024."),
}
"""Where the template lives in Active Directory: its permissions count there, and other CAs may publish it."""
_TABS: Final[Mapping[str, str]] = {
    "ESC1": "subject",
    "ESC2": "extensions",
    "ESC3": "extensions",
    "ESC4": "security",
    "ESC9": "subject",
    "ESC13": "extensions",
    "ESC15": "compatibility",
    "ESC17": "subject",
}
_CAUSES: Final[Mapping[Cause, Any]] = {
    Cause.ENROLLEE_NAMES: lazy("Subject supplied in the request"),
    Cause.USAGE: lazy("Purpose %(what)s"),
    Cause.ANY_USAGE: lazy("No application policy, which means any purpose"),
    Cause.MAKES_CA: lazy("The certificate is one of a CA"),
    Cause.UNATTENDED: lazy("No manager approval, no signature"),
    Cause.AGENT_SIGNS: lazy("An enrollment agent's signature is accepted"),
    Cause.NO_NAME_RULES: lazy("No name rules"),
    Cause.LOGON_NAMES: lazy("Name rules allow %(what)s"),
    Cause.NO_SID: lazy("No SID in the certificate"),
    Cause.LINKED_POLICY: lazy("An issuance policy stands for %(what)s"),
    Cause.SCHEMA_1: lazy("Schema version 1"),
    Cause.ENROLLS: lazy("Enroll for %(what)s"),
    Cause.WRITES: lazy("Write for %(what)s"),
}
_WAYS: Final[Mapping[Way, tuple[Any, str]]] = {
    Way.FROM_DIRECTORY: (lazy("Take the names from the directory"), "sitemap"),  # icon:sitemap
    Way.APPROVAL: (lazy("Require approval"), "clock-hour-4"),  # icon:clock-hour-4
    Way.NAME_RULES: (lazy("Allow names of the domain only"), "list-check"),  # icon:list-check
    Way.WITHOUT_USAGES: (lazy("Remove %(what)s"), "minus"),  # icon:minus
    Way.CARRY_SID: (lazy("Put the account's SID into the certificate"), "fingerprint"),  # icon:fingerprint
    Way.SCHEMA_2: (lazy("Raise to schema 2"), "arrow-up"),  # icon:arrow-up
    Way.TAKE_ENROLL: (lazy("Take Enroll from %(what)s"), "users-minus"),  # icon:users-minus
    Way.TAKE_WRITE: (lazy("Take Write from %(what)s"), "users-minus"),
}


@dataclass(frozen=True, slots=True)
class Fix:
    """One button."""

    value: str  # `ESC1:approval`, by which the draft finds it again
    label: str
    icon: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One risk as it is drawn."""

    id: str
    tab: str
    sentence: str
    causes: tuple[str, ...]
    fixes: tuple[Fix, ...]
    refused: bool
    accepted: bool


def finding(risk: Risk, who: Callable[[Sid], tuple[str, int | None]], *, refused: bool, accepted: bool) -> Finding:
    """A risk in words.

    Args:
        who: an account or group by name, and how many enabled accounts it reaches; None: many.
    """
    named = sorted((who(sid) for sid in risk.principals), key=lambda each: each[0].casefold())
    sentence = (_SERIOUS if risk.needs_acceptance else {}).get(risk.id) or _SENTENCES.get(risk.id)
    return Finding(
        risk.id,
        _TABS.get(risk.id, "general"),
        str(sentence) % {"who": _listed(named)} if sentence else risk.sentence,
        tuple(str(_CAUSES[condition.cause]) % {"what": condition.what} for condition in risk.conditions),
        tuple(_fix(risk, remedy) for remedy in risk.remedies),
        refused,
        accepted,
    )


def remedy_of(risks: tuple[Risk, ...], value: str) -> Remedy | None:
    """The remedy that a button stands for; None when it is none (any more)."""
    return next((each for risk in risks for each in risk.remedies if _value(risk, each) == value), None)


def _fix(risk: Risk, remedy: Remedy) -> Fix:
    label, icon = _WAYS[remedy.way]
    return Fix(_value(risk, remedy), str(label) % {"what": remedy.what}, icon)


def _value(risk: Risk, remedy: Remedy) -> str:
    return f"{risk.id}:{remedy.way.name.lower()}"


def _listed(named: list[tuple[str, int | None]]) -> str:
    """`CORP\\Domain Users (1,204 members)`; a single account stands without a count."""
    parts = [_counted(name, count) for name, count in named[:4]]
    if len(named) > 4:
        parts.append(_("%(count)s others") % {"count": len(named) - 4})
    return ", ".join(parts)


def _counted(name: str, count: int | None) -> str:
    if count == 1:
        return name
    if count is None:
        return _("%(name)s (many members)") % {"name": name}
    text = ngettext("%(name)s (%(count)s member)", "%(name)s (%(count)s members)", count)
    return text % {"name": name, "count": f"{count:,}"}
