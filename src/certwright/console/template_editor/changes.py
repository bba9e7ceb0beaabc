"""Two versions of a template told apart: field by field for people, attribute by attribute as it is stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.utils.translation import gettext as _

from certwright.adcs.requester import Sid
from certwright.adcs.security import SecurityDescriptor
from certwright.adcs.template import CertificateTemplate
from certwright.adcs.template_json import template_to_json
from certwright.adcs.template_rights import rights_by_sid
from certwright.adcs.template_settings import setting_text
from certwright.console.template_editor import names as name_rules
from certwright.console.template_editor import rights
from certwright.console.template_editor.fields import NAMES, OUTSIDE, SECURITY, TABS, Field, Kind

_FLAGS: Final = ("flags", "msPKI-Enrollment-Flag", "msPKI-Private-Key-Flag", "msPKI-Certificate-Name-Flag")
_PERIODS: Final = ("pKIExpirationPeriod", "pKIOverlapPeriod")


@dataclass(frozen=True, slots=True)
class Difference:
    """One field that changed."""

    tab: str
    label: Any
    removed: tuple[Any, ...]
    added: tuple[Any, ...]

    @property
    def icon(self) -> str:
        """icon:arrows-exchange icon:plus icon:minus"""
        return "arrows-exchange" if self.removed and self.added else "plus" if self.added else "minus"


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute of the directory's object, as it is and as it would be."""

    name: str
    old: str
    new: str
    old_names: str = ""
    new_names: str = ""

    @property
    def changed(self) -> bool:
        return self.old != self.new


def differences(
    before: CertificateTemplate, after: CertificateTemplate, domain_sid: Sid, names: Callable[[Sid], str]
) -> list[Difference]:
    """What changed, in the order of the tabs."""
    found: list[Difference] = []
    for tab in TABS.values():
        for field in tab.fields:
            old, new = setting_text(before, field.key), setting_text(after, field.key)
            if old != new:
                found.append(_difference(tab.key, field, old, new))
        if tab is NAMES:
            found += _of_names(before, after, names)
        if tab is SECURITY:
            found += _of_rights(before, after, domain_sid, names)
    return found


def _difference(tab: str, field: Field, old: str, new: str) -> Difference:
    words: Mapping[str, Any] = dict(field.words)
    if field.kind is Kind.SWITCH:
        return Difference(tab, field.label, (_yes_no(old),), (_yes_no(new),))
    if field.kind in (Kind.MANY, Kind.OIDS, Kind.LINES, Kind.FORMAT):
        was, now = _parts(old), _parts(new)
        gone = tuple(words.get(value, value) for value in was if value not in now)
        came = tuple(words.get(value, value) for value in now if value not in was)
        order = not gone and not came  # only the order changed
        return Difference(tab, field.label, (old,) if order else gone, (new,) if order else came)
    removed, added = (words.get(text, text) for text in (old, new))
    return Difference(tab, field.label, (removed,) if removed else (), (added,) if added else ())


def _yes_no(text: str) -> str:
    return _("yes") if text == "on" else _("no")


def _parts(text: str) -> list[str]:
    return [part for part in text.split(", ") if part and part != "none"]


def _of_names(
    before: CertificateTemplate, after: CertificateTemplate, names: Callable[[Sid], str]
) -> list[Difference]:
    found = []
    known = dict(name_rules.KINDS)
    groups = [Sid(rule.group) for rule in (*before.name_rules.rules, *after.name_rules.rules) if rule.group]
    named = {sid: names(sid) for sid in groups}
    was, now = (name_rules.rows_of(template.name_rules, named) for template in (before, after))
    gone = tuple(_rule(row, known) for row in was if row not in now)
    came = tuple(_rule(row, known) for row in now if row not in was)
    if gone or came:
        found.append(Difference(NAMES.key, NAMES.label, gone, came))
    words = dict(OUTSIDE)
    if before.name_rules.outside is not after.name_rules.outside:
        old, new = (words[template.name_rules.outside.value] for template in (before, after))
        found.append(Difference(NAMES.key, _("Requests with other names"), (old,), (new,)))
    return found


def _rule(row: name_rules.RuleRow, known: Mapping[str, Any]) -> str:
    return f"{known[row.kind]} {row.value}{f' ({row.group})' if row.group else ''}"


def _of_rights(
    before: CertificateTemplate, after: CertificateTemplate, domain_sid: Sid, names: Callable[[Sid], str]
) -> list[Difference]:
    if before.security_descriptor == after.security_descriptor:
        return []
    was, now = (
        rights_by_sid(SecurityDescriptor.from_sddl(template.security_descriptor, domain_sid))
        for template in (before, after)
    )
    found = []
    for sid in dict.fromkeys((*was, *now)):
        old, new = was.get(sid, frozenset()), now.get(sid, frozenset())
        gone = tuple(label for right, label in rights.COLUMNS.items() if right in old - new)
        came = tuple(label for right, label in rights.COLUMNS.items() if right in new - old)
        if gone or came:
            found.append(Difference(SECURITY.key, names(sid), gone, came))
    return found


# -- as stored -------------------------------------------------------------------------------------------------------


def attributes(before: CertificateTemplate, after: CertificateTemplate, wanted: Sequence[str]) -> list[Attribute]:
    """These attributes of the object, old and new."""
    old, new = template_to_json(before), template_to_json(after)
    return [
        Attribute(
            name,
            _shown(name, old),
            _shown(name, new),
            ", ".join(old.get(f"{name}Names", ())),
            ", ".join(new.get(f"{name}Names", ())),
        )
        for name in wanted
    ]


def _shown(name: str, document: Mapping[str, Any]) -> str:
    value = document[name]
    if name in _FLAGS:
        return f"0x{value & 0xFFFF_FFFF:08X}"
    if name in _PERIODS:
        return f"{value} ({document[f'{name}Text']})"
    if name == "nameRules":
        rules = [
            f"{rule['group'] or '*'}: {kind} {', '.join(values)}"
            for rule in value["rules"]
            for kind, values in rule.items()
            if kind != "group" and values
        ]
        return "; ".join([*rules, f"outside: {value['outside']}"])
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "–"
    return str(value)
