"""Request forms: what a repeated request always has, so that it asks only for the common name and the names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from certwright.adcs.errors import InvalidArgument
from certwright.adcs.events import AuditEvent
from certwright.database import Connection
from certwright.manager import store
from certwright.manager.changes import Changes, unique
from certwright.manager.keys import subject_and_names
from certwright.manager.values import (
    AlternativeName,
    FormFields,
    KeyFields,
    OrderFields,
    RequestForm,
    clean_tags,
    optional_text,
    required_text,
)
from certwright.pki import names, oids


class Forms:
    def __init__(self, changes: Changes) -> None:
        self._changes = changes

    def list(self) -> Sequence[RequestForm]:
        with self._changes.database.read() as connection:
            return store.forms(connection)

    def get(self, form_id: int) -> RequestForm:
        """Raises:
        InvalidArgument: there is none of that number.
        """
        with self._changes.database.read() as connection:
            return _found(connection, form_id)

    def add(self, fields: FormFields, *, actor: str) -> RequestForm:
        """Raises:
        InvalidArgument: a field breaks a rule, or the name is taken.
        """
        fields = _checked(fields)
        with self._changes.change(actor) as change:
            form_id = unique(lambda: store.insert_form(change.connection, fields, change.when), _taken(fields.name))
            change.record(AuditEvent.REQUEST_FORM_CHANGED, {"change": "added", "form": form_id, **_facts(fields)})
            return _found(change.connection, form_id)

    def edit(self, form_id: int, fields: FormFields, *, actor: str) -> RequestForm:
        """Raises:
        InvalidArgument: a field breaks a rule, or the name is taken.
        """
        fields = _checked(fields)
        with self._changes.change(actor) as change:
            _found(change.connection, form_id)
            unique(lambda: store.update_form(change.connection, form_id, fields), _taken(fields.name))
            change.record(AuditEvent.REQUEST_FORM_CHANGED, {"change": "edited", "form": form_id, **_facts(fields)})
            return _found(change.connection, form_id)

    def duplicate(self, form_id: int, name: str, *, actor: str) -> RequestForm:
        """The same form under another name."""
        return self.add(replace(self.get(form_id).fields, name=name), actor=actor)

    def delete(self, form_id: int, *, actor: str) -> None:
        with self._changes.change(actor) as change:
            form = _found(change.connection, form_id)
            store.delete_form(change.connection, form_id)
            change.record(
                AuditEvent.REQUEST_FORM_CHANGED,
                {"change": "deleted", "form": form_id, "name": form.fields.name},
            )

    def order(
        self,
        form_id: int,
        common_name: str,
        alternative_names: Sequence[AlternativeName] = (),
        *,
        owner: str = "",
        token: str = "",
    ) -> OrderFields:
        """What `Orders.place` takes, from a form and what it asks for."""
        fields = self.get(form_id).fields
        return OrderFields(
            domain=fields.domain,
            template=fields.template,
            key=KeyFields(
                fields.algorithm,
                _subject(common_name, fields.subject),
                tuple(dict.fromkeys((*alternative_names, *fields.names))),
            ),
            owner=owner or fields.owner,
            tags=fields.tags,
            token=token,
            form_id=form_id,
        )


def _subject(common_name: str, rest: str) -> str:
    common_name = optional_text(common_name, "The common name")
    first = names.format_name(names.name_of((oids.COMMON_NAME, common_name))) if common_name else ""
    return ",".join(part for part in (first, rest) if part)


def _checked(fields: FormFields) -> FormFields:
    subject_and_names(KeyFields(fields.algorithm, fields.subject, fields.names), empty_allowed=True)
    return replace(
        fields,
        name=required_text(fields.name, "The name"),
        domain=required_text(fields.domain, "The domain name"),
        template=required_text(fields.template, "The template", 64),
        owner=optional_text(fields.owner, "The owner"),
        tags=clean_tags(fields.tags),
    )


def _facts(fields: FormFields) -> dict[str, str | int]:
    return {
        "name": fields.name,
        "domain": fields.domain,
        "template": fields.template,
        "algorithm": fields.algorithm.value,
        "subject": fields.subject,
        "names": ", ".join(map(str, fields.names)),
    }


def _found(connection: Connection, form_id: int) -> RequestForm:
    found = store.form(connection, form_id)
    if found is None:
        raise InvalidArgument(f"There is no request form number {form_id}.")
    return found


def _taken(name: str) -> InvalidArgument:
    return InvalidArgument(f"There is a request form called {name!r} already; choose another name.")
