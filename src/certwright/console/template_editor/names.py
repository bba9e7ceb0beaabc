"""The tab Name Rules: one row for each name that is allowed, to everybody who may enroll or to one group."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from django.http import QueryDict
from django.utils.translation import gettext_lazy as lazy

from certwright.adcs.requester import Sid
from certwright.adcs.template import NameRule, NameRules, OutsideRules

KINDS: Final = (
    ("dns_suffixes", lazy("DNS suffix")),
    ("ip_ranges", lazy("IP range")),
    ("upn_domains", lazy("UPN domain")),
    ("mail_domains", lazy("mail domain")),
)
MAX_ROWS: Final = 200


@dataclass(frozen=True, slots=True)
class RuleRow:
    """One line of the table."""

    kind: str  # a field of `NameRule`
    value: str
    group: str  # as a person reads it; empty: everybody who may enroll


def rows_of(rules: NameRules, names: Mapping[Sid, str]) -> list[RuleRow]:
    """The rules line by line."""
    return [
        RuleRow(kind, value, names.get(Sid(rule.group), rule.group) if rule.group else "")
        for rule in rules.rules
        for kind, _label in KINDS
        for value in getattr(rule, kind)
    ]


def posted_rows(data: QueryDict) -> list[RuleRow]:
    """What the form says; a line without a value is none."""
    columns = (data.getlist(f"rule-{name}")[:MAX_ROWS] for name in ("kind", "value", "group"))
    dropped = data.get("drop-rule", "")
    return [
        RuleRow(kind, _line(value), _line(group))
        for place, (kind, value, group) in enumerate(zip(*columns, strict=False))
        if value.strip() and str(place) != dropped and kind in dict(KINDS)
    ]


def _line(text: str) -> str:
    return " ".join(text.replace("\0", "").split())[:256]


def rules_from(rows: Sequence[RuleRow], outside: str, sid_of: Callable[[str], str]) -> NameRules:
    """The rules that the lines stand for; lines of one group are one rule.

    Args:
        sid_of: the SID of a group by its name; may raise `InvalidArgument`.
    """
    found: dict[str, NameRule] = {}
    for row in rows:
        group = sid_of(row.group) if row.group else ""
        rule = found.setdefault(group, NameRule(group=group))
        listed: tuple[str, ...] = (*getattr(rule, row.kind), row.value.lower())
        changes: dict[str, Any] = {row.kind: tuple(dict.fromkeys(listed))}
        found[group] = replace(rule, **changes)
    return NameRules(tuple(found.values()), OutsideRules.DENY if outside == "deny" else OutsideRules.PEND)
