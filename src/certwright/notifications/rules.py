"""Rules: which events go where. Read anew for every event, so a change counts at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from certwright.adcs.errors import InvalidArgument
from certwright.adcs.events import AuditEvent, LifecycleEvent, LifecycleKind
from certwright.database import Connection, ConstraintViolated
from certwright.notifications import store
from certwright.notifications.changes import Changes, differing
from certwright.notifications.channel_administration import found as found_channel
from certwright.notifications.values import InView, Rule, RuleFields, RuleView, chosen_bands, key, line

_MAX_RULES: Final = 200


class Rules:
    def __init__(self, changes: Changes) -> None:
        self._changes = changes

    def list(self) -> Sequence[Rule]:
        with self._changes.database.read() as connection:
            return store.rules(connection)

    def get(self, rule_id: int) -> Rule:
        """Raises:
        InvalidArgument: there is none of that number.
        """
        with self._changes.database.read() as connection:
            return _found(connection, rule_id)

    def add(self, fields: RuleFields, *, actor: str) -> Rule:
        """Raises:
        InvalidArgument: a field breaks a rule, or the name is taken.
        """
        fields = _checked(fields)
        with self._changes.change(actor) as change:
            channel = found_channel(change.connection, fields.channel_id)
            if len(store.rules(change.connection)) >= _MAX_RULES:
                raise InvalidArgument(f"There are {_MAX_RULES} rules already; delete one that nobody needs.")
            try:
                rule_id = store.insert_rule(change.connection, fields, change.when)
            except ConstraintViolated as error:
                raise _taken(fields.name) from error
            change.record(
                AuditEvent.NOTIFICATION_RULE_CHANGED,
                {"change": "added", "rule": rule_id, "to": channel.name, **_facts(fields)},
            )
            return _found(change.connection, rule_id)

    def edit(self, rule_id: int, fields: RuleFields, *, actor: str) -> Rule:
        """Raises:
        InvalidArgument: a field breaks a rule, or the name is taken.
        """
        fields = _checked(fields)
        with self._changes.change(actor) as change:
            before = _found(change.connection, rule_id).fields
            found_channel(change.connection, fields.channel_id)
            try:
                store.update_rule(change.connection, rule_id, fields)
            except ConstraintViolated as error:
                raise _taken(fields.name) from error
            change.record(
                AuditEvent.NOTIFICATION_RULE_CHANGED,
                {
                    "change": "edited",
                    "rule": rule_id,
                    "name": fields.name,
                    **differing(_facts(before), _facts(fields)),
                },
            )
            return _found(change.connection, rule_id)

    def set_enabled(self, rule_id: int, enabled: bool, *, actor: str) -> Rule:
        return self.edit(rule_id, replace(self.get(rule_id).fields, enabled=enabled), actor=actor)

    def follow_view(self, view: RuleView, *, actor: str) -> None:
        """A saved view has changed: rules that filter by it do with it."""
        for rule in self.list():
            if rule.fields.view is not None and rule.fields.view.id == view.id and rule.fields.view != view:
                self.edit(rule.id, replace(rule.fields, view=view), actor=actor)

    def using_view(self, view_id: int) -> Sequence[Rule]:
        return [rule for rule in self.list() if rule.fields.view is not None and rule.fields.view.id == view_id]

    def delete(self, rule_id: int, *, actor: str) -> None:
        with self._changes.change(actor) as change:
            rule = _found(change.connection, rule_id)
            store.delete_rule(change.connection, rule_id)
            change.record(
                AuditEvent.NOTIFICATION_RULE_CHANGED, {"change": "deleted", "rule": rule_id, "name": rule.fields.name}
            )


def matches(fields: RuleFields, event: LifecycleEvent, in_view: InView) -> bool:
    """Does an event go where the rule leads? See `RuleFields`."""
    if event.kind not in fields.kinds:
        return False
    facts = event.facts
    if fields.template and key(str(facts.get("template", ""))) != key(fields.template):
        return False
    if fields.domain and key(str(facts.get("domain", ""))) != key(fields.domain):
        return False
    if fields.tag and key(fields.tag) not in {key(tag) for tag in str(facts.get("tags", "")).split(",")}:
        return False
    if fields.bands and event.kind is LifecycleKind.CERTIFICATE_EXPIRING and facts.get("band") not in fields.bands:
        return False
    if fields.view is None:
        return True
    certificate = facts.get("certificate")
    return isinstance(certificate, int) and in_view(fields.view.filter, certificate)


def _checked(fields: RuleFields) -> RuleFields:
    kinds = tuple(dict.fromkeys(fields.kinds))
    if not kinds:
        raise InvalidArgument("The rule names no event; choose one at least.")
    bands = chosen_bands(fields.bands)
    if bands and LifecycleKind.CERTIFICATE_EXPIRING not in kinds:
        raise InvalidArgument(
            f"Bands belong to the event {LifecycleKind.CERTIFICATE_EXPIRING.value}; choose it too, or leave them out."
        )
    return replace(
        fields,
        name=line(fields.name, "The name"),
        kinds=kinds,
        template=line(fields.template, "The template", required=False, limit=64),
        domain=line(fields.domain, "The domain", required=False),
        tag=line(fields.tag, "The tag", required=False, limit=64),
        bands=bands,
    )


def _facts(fields: RuleFields) -> dict[str, str | int]:
    return {
        "name": fields.name,
        "channel": fields.channel_id,
        "events": ", ".join(kind.value for kind in fields.kinds),
        "template": fields.template,
        "domain": fields.domain,
        "tag": fields.tag,
        "bands": ", ".join(map(str, fields.bands)),
        "view": fields.view.name if fields.view else "",
        "enabled": "yes" if fields.enabled else "no",
    }


def _found(connection: Connection, rule_id: int) -> Rule:
    rules = store.rules(connection, rule_id)
    if not rules:
        raise InvalidArgument(f"There is no notification rule number {rule_id}.")
    return rules[0]


def _taken(name: str) -> InvalidArgument:
    return InvalidArgument(f"There is a notification rule called {name!r} already; choose another name.")
