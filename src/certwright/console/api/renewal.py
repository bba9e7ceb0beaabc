"""Renewal rules: what is ordered again before it ends, and what they would order."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from ninja import Query, Router
from pydantic import Field

from certwright.console.api.authentication import ApiRequest
from certwright.console.api.operations import operation
from certwright.console.api.problems import named_in_the_path
from certwright.console.api.shapes import (
    MAX_PAGE,
    Entered,
    Flag,
    Id,
    Line,
    Name,
    Number,
    PathId,
    QueryId,
    QueryNumber,
    Told,
    line,
)
from certwright.console.rooms import rooms
from certwright.manager import values
from certwright.manager.values import MAX_DAYS, RenewalKey

router = Router(tags=["Renewal"])


class RenewalRuleEntered(Entered):
    """All that is named must match, and something has to be. Empty domain and template are those of its own order."""

    name: Name
    days_before: Annotated[Number, Field(ge=1, le=MAX_DAYS)] = 30
    certificate_id: Id | None = None
    tag: Annotated[str, line(64)] = ""
    match_template: Line = ""
    issuer: Annotated[str, line(1024)] = ""
    key: RenewalKey = RenewalKey.NEW
    domain: Line = ""
    template: Annotated[str, line(64)] = ""
    enabled: Flag = True

    @property
    def fields(self) -> values.RuleFields:
        return values.RuleFields(**self.model_dump())


class RenewalRule(Told):
    id: int
    name: str
    days_before: int
    certificate_id: int | None
    tag: str
    match_template: str
    issuer: str
    key: RenewalKey
    domain: str
    template: str
    enabled: bool
    last_run: datetime | None
    ordered: int
    failures: int
    last_failure: str
    created: datetime


class PlannedRenewal(Told):
    """What a rule would order, and when. `problem` says why it would not."""

    certificate_id: int
    common_name: str
    not_after: datetime
    rule_id: int
    rule: str
    when: datetime
    key: RenewalKey
    domain: str
    template: str
    problem: str


class FailedRenewal(Told):
    """A renewal that failed, and when it is tried again; null: it is left to people."""

    certificate_id: int
    common_name: str
    not_after: datetime
    rule: str  # empty: by hand, or by a rule that is gone
    failures: int
    next_try: datetime | None
    message: str


class Plan(Entered):
    rule_id: Annotated[QueryId | None, Field(description="One rule, also when it is off; else all that are on")] = (
        None
    )
    days: Annotated[QueryNumber, Field(ge=0, le=MAX_DAYS)] = 30


@operation(router, "GET", "/renewal-rules", list[RenewalRule])
def list_renewal_rules(request: ApiRequest) -> Sequence[RenewalRule]:
    """List all renewal rules."""
    return [_told(each) for each in rooms().manager.renewal.list()]


@operation(router, "POST", "/renewal-rules", RenewalRule, status=201)
def add_renewal_rule(request: ApiRequest, entered: RenewalRuleEntered) -> RenewalRule:
    """Add a renewal rule."""
    return _told(rooms().manager.renewal.add(entered.fields, actor=request.viewer.account))


@operation(router, "GET", "/renewal-rules/plan", list[PlannedRenewal])
def plan_renewals(request: ApiRequest, asked: Query[Plan]) -> Sequence[PlannedRenewal]:
    """Show what the rules would order in the next days, and what would keep them from it. Nothing is ordered."""
    found = rooms().manager.renewal.dry_run(asked.rule_id, asked.days)
    return [PlannedRenewal.model_validate(each) for each in found]


@operation(router, "GET", "/renewal-rules/failed", list[FailedRenewal])
def list_failed_renewals(request: ApiRequest) -> Sequence[FailedRenewal]:
    """List certificates whose renewal failed and was not repeated yet, what ends first on top."""
    return [FailedRenewal.model_validate(each) for each in rooms().manager.renewal.failed(MAX_PAGE)]


@operation(router, "GET", "/renewal-rules/{int:rule_id}", RenewalRule)
def get_renewal_rule(request: ApiRequest, rule_id: PathId) -> RenewalRule:
    """Show a renewal rule."""
    return _told(_rule(rule_id))


@operation(router, "PUT", "/renewal-rules/{int:rule_id}", RenewalRule)
def edit_renewal_rule(request: ApiRequest, rule_id: PathId, entered: RenewalRuleEntered) -> RenewalRule:
    """Change a renewal rule: all of its fields are replaced."""
    _rule(rule_id)
    return _told(rooms().manager.renewal.edit(rule_id, entered.fields, actor=request.viewer.account))


@operation(router, "DELETE", "/renewal-rules/{int:rule_id}")
def delete_renewal_rule(request: ApiRequest, rule_id: PathId) -> None:
    """Remove a renewal rule; what it ordered stays."""
    _rule(rule_id)
    rooms().manager.renewal.delete(rule_id, actor=request.viewer.account)


def _rule(rule_id: int) -> values.RenewalRule:
    with named_in_the_path():
        found: values.RenewalRule = rooms().manager.renewal.get(rule_id)
    return found


def _told(rule: values.RenewalRule) -> RenewalRule:
    copied = {name: getattr(rule.fields, name) for name in RenewalRuleEntered.model_fields}
    return RenewalRule(
        **copied,
        id=rule.id,
        last_run=rule.last_run,
        ordered=rule.ordered,
        failures=rule.failures,
        last_failure=rule.last_failure,
        created=rule.created,
    )
