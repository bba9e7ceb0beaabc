"""A template drawn as one form with the fields of all tabs, and the same form read back into texts of settings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from django import forms
from django.forms.utils import ErrorDict
from django.http import QueryDict
from django.utils.translation import gettext as _

from certwright.adcs.template import CertificateTemplate
from certwright.adcs.template_settings import setting_text
from certwright.console.template_editor.fields import Field, Kind, all_fields

OTHER: Final = ".other"
"""Ending of the name of the second control that some fields have."""
_MAX_TEXT: Final = 8000
_NONE: Final = "none"


class EditorForm(forms.Form):
    """The fields of a template with their values; those that the template cannot have are there, and disabled.

    Args:
        template: what the form shows.
        texts: what was typed and could not be taken, by key.
        errors: sentences by key.
        redraw: attributes of controls that other fields depend on.
    """

    def __init__(
        self,
        template: CertificateTemplate,
        *,
        texts: Mapping[str, str],
        errors: Mapping[str, str],
        superseded: Sequence[tuple[str, str]],
        redraw: Mapping[str, str],
        read_only: bool = False,
    ) -> None:
        super().__init__(prefix=None)
        self.own: dict[str, Field] = {}
        for field in all_fields():
            if not field.is_shown(template):
                continue
            words = superseded if field.key == "superseded-templates" else field.words
            text = texts.get(field.key, setting_text(template, field.key))
            for name, made in _controls(field, text, words).items():
                made.disabled = read_only or not field.is_open(template)
                if field.redraws:
                    made.widget.attrs.update(redraw)
                self.fields[name] = made
            self.own[field.key] = field
            self.fields[field.key].help_text = _hint(field, template)
        told = {key: self.error_class([text]) for key, text in errors.items() if key in self.fields}
        self._errors = ErrorDict(told)


def _hint(field: Field, template: CertificateTemplate) -> Any:
    if template.schema_version < field.needs:
        return _("needs schema %(version)s") % {"version": field.needs}
    return field.hint


def _controls(field: Field, text: str, words: Sequence[tuple[str, Any]]) -> dict[str, forms.Field]:
    """The controls of one field with what they show."""
    values = _split(text)
    match field.kind:
        case Kind.SWITCH:
            return {field.key: forms.BooleanField(label=field.label, required=False, initial=text == "on")}
        case Kind.CHOICE | Kind.RADIO:
            known = words if text in dict(words) else [(text, _word_for(text)), *words]
            widget = forms.RadioSelect if field.kind is Kind.RADIO else forms.Select
            return {field.key: forms.ChoiceField(label=field.label, choices=known, initial=text, widget=widget)}
        case Kind.FORMAT:
            *formats, (box, label) = words
            chosen = next((value for value, _label in formats if value in values), _NONE)
            return {
                field.key: forms.ChoiceField(label=field.label, choices=formats, initial=chosen),
                field.key + OTHER: forms.BooleanField(label=label, required=False, initial=box in values),
            }
        case Kind.MANY | Kind.OIDS:
            others = [value for value in values if value not in dict(words) and value != _NONE]
            if field.kind is Kind.MANY:  # a value without a box gets one, so that it is not lost
                words, others = [*words, *((value, value) for value in others)], []
            boxes = forms.MultipleChoiceField(
                label=field.label, choices=words, initial=values, widget=forms.CheckboxSelectMultiple, required=False
            )
            made: dict[str, forms.Field] = {field.key: boxes}
            if field.kind is Kind.OIDS:
                made[field.key + OTHER] = forms.CharField(
                    label=_("Other object identifiers"),
                    initial=", ".join(others),
                    required=False,
                    max_length=_MAX_TEXT,
                    help_text=_("A comma between them."),
                )
            return made
        case Kind.LINES:
            area = forms.Textarea({"rows": min(6, len(values) + 2), "class": "cw-mono"})
            return {
                field.key: forms.CharField(label=field.label, initial="\n".join(values), widget=area, required=False)
            }
        case Kind.TEXT:
            line = forms.CharField(label=field.label, initial=text, max_length=_MAX_TEXT, required=False)
            return {field.key: line}


def _word_for(text: str) -> str:
    return _("as stored: %(value)s") % {"value": text}


def posted_text(field: Field, data: QueryDict, before: str) -> str:
    """What the form says about a field, as a text of its setting; values keep the order they had in `before`."""
    given = data.get(field.key, "")[:_MAX_TEXT].replace("\0", "")
    match field.kind:
        case Kind.SWITCH:
            return "on" if given else "off"
        case Kind.FORMAT:
            *formats, (box, _label) = field.words
            shown = next((value for value, _word in formats if value in _split(before)), _NONE)
            kept = [value for value in _split(before) if value != box] if given == shown else [given]
            wanted = [value for value in kept if value != _NONE] + ([box] if data.get(field.key + OTHER) else [])
            return _merged(before, wanted) or _NONE
        case Kind.MANY | Kind.OIDS:
            others = _split(data.get(field.key + OTHER, "")[:_MAX_TEXT].replace("\0", ""))
            return _merged(before, [*data.getlist(field.key)[:256], *others]) or field.empty
        case Kind.LINES:
            return ", ".join(_split(given))
        case Kind.CHOICE | Kind.RADIO:
            return given or before
        case Kind.TEXT:
            return " ".join(given.split())


def _split(text: str) -> list[str]:
    return [part for line in text.splitlines() for part in map(str.strip, line.split(",")) if part]


def _merged(before: str, wanted: Iterable[str]) -> str:
    """The wanted values, those that were there before in their old order."""
    chosen = list(dict.fromkeys(wanted))
    kept = [value for value in _split(before) if value in chosen]
    return ", ".join([*kept, *(value for value in chosen if value not in kept)])
