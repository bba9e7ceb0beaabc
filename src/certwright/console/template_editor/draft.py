"""What a form makes of a template: every field applied to the stored one, with what could not be taken beside it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import Final

from django.http import QueryDict
from django.utils.translation import gettext as _

from certwright.adcs.errors import InvalidArgument
from certwright.adcs.requester import Sid
from certwright.adcs.security import SecurityDescriptor
from certwright.adcs.template import CertificateTemplate, GeneralFlag, NameRules
from certwright.adcs.template_checks import check_name_rule
from certwright.adcs.template_json import template_to_json
from certwright.adcs.template_settings import apply_settings, setting_text, with_new_version
from certwright.console.template_editor import names, rights
from certwright.console.template_editor.fields import NAMES, SECURITY, SUBJECT, TABS, all_fields
from certwright.console.template_editor.widgets import posted_text
from certwright.directory.base import Directory, PrincipalKind

OPEN: Final = "open"
"""Under this name a form says which of its fields could be changed."""
_MAX_FIELDS: Final = 200
_NAME_FLAGS: Final = 0xFFFF_FFF7  # all but the flag about renewals, which names nothing by itself


@dataclass(frozen=True, slots=True)
class Draft:
    """A template as it is stored, as it would be, and what of the form could not be taken."""

    before: CertificateTemplate
    after: CertificateTemplate
    errors: dict[str, str] = field(default_factory=dict)  # by key of the field, or of the tab
    texts: dict[str, str] = field(default_factory=dict)  # what was typed there
    rule_rows: tuple[names.RuleRow, ...] | None = None  # as typed; None: as the template has them

    @property
    def changed(self) -> bool:
        return self.before != self.after

    def tabs_with_errors(self) -> set[str]:
        owners = {each.key: tab.key for tab in TABS.values() for each in tab.fields}
        return {owners.get(key, key) for key in self.errors}


def fingerprint(template: CertificateTemplate) -> str:
    """Changes whenever the stored template does."""
    document = json.dumps(template_to_json(template), sort_keys=True)
    return hashlib.sha256(document.encode()).hexdigest()[:32]


def unchanged(template: CertificateTemplate) -> Draft:
    return Draft(template, template)


def read_draft(before: CertificateTemplate, data: QueryDict, directory: Directory, *, typing: bool = False) -> Draft:
    """The form applied to the stored template.

    A field keeps its stored value that was closed when the form was drawn (a box that is not posted is not one that
    was unticked), or that the template cannot have in what the form says so far.

    Args:
        typing: it is still being filled in: a name that is to be added to the permissions may be half a name.
    """
    after, errors, texts = before, {}, {}
    offered = set(data.getlist(OPEN)[:_MAX_FIELDS])
    for each in all_fields():
        if each.key not in offered or not each.is_open(after):
            continue
        stored = setting_text(before, each.key)
        text = posted_text(each, data, stored)
        if text == stored:
            continue
        try:
            after = apply_settings(after, {each.key: text})
        except InvalidArgument as error:
            errors[each.key], texts[each.key] = error.message.removeprefix(f"{each.key}: "), text
    if after.name_flag & _NAME_FLAGS == 0:
        errors[SUBJECT.fields[0].key] = _("The certificate would name nobody: choose a format or an alternate name.")
    rows = names.posted_rows(data)
    try:
        after = replace(after, name_rules=_name_rules(before, rows, data, directory))
    except InvalidArgument as error:
        errors[NAMES.key] = error.message
    domain = directory.domain.sid
    try:
        security = SecurityDescriptor.from_sddl(before.security_descriptor, domain)
        permitted = rights.posted(security, data, lambda name: _sid_of(directory, name), add=not typing)
    except InvalidArgument as error:
        errors[SECURITY.key] = error.message
        texts[SECURITY.key] = data.get("ace-add", "")[:256]
    else:
        if permitted != security:
            after = replace(after, security_descriptor=permitted.to_sddl())
    return Draft(before, versioned(before, after), errors, texts, tuple(rows))


def versioned(before: CertificateTemplate, after: CertificateTemplate) -> CertificateTemplate:
    """`after` with the version that storing it makes, however many steps led there."""
    kept = after.flags & ~GeneralFlag.IS_MODIFIED | before.flags & GeneralFlag.IS_MODIFIED
    plain = replace(
        after, major_version=before.major_version, minor_version=before.minor_version, flags=GeneralFlag(kept)
    )
    return with_new_version(before, plain)


def _name_rules(
    before: CertificateTemplate, rows: list[names.RuleRow], data: QueryDict, directory: Directory
) -> NameRules:
    made = names.rules_from(rows, data.get("outside", ""), lambda name: _sid_of(directory, name, group=True))
    for rule in made.rules:
        check_name_rule(rule)
    groups = frozenset(Sid(rule.group) for rule in before.name_rules.rules if rule.group)
    known = directory.sid_names(groups)
    if names.rows_of(before.name_rules, known) == rows:  # in an order of its own, perhaps
        return replace(before.name_rules, outside=made.outside)
    return made


def _sid_of(directory: Directory, name: str, *, group: bool = False) -> str:
    """The SID of an account or group by its name; a SID stands for itself.

    Raises:
        InvalidArgument: nobody is called that, or it is no group where one is wanted.
    """
    found = directory.principal(name)
    if found is None:
        if name.upper().startswith("S-1-"):
            return name.upper()
        raise InvalidArgument(_("There is no account or group called %(name)s.") % {"name": name})
    if group and found.kind is not PrincipalKind.GROUP:
        raise InvalidArgument(_("%(name)s is no group; name rules are for groups.") % {"name": found.account})
    return found.sid
