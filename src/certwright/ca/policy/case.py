"""What the rules of a policy module work on: one request, the template it is for, and how a rule says no."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from certwright.adcs.errors import HResult
from certwright.adcs.interfaces import Check
from certwright.ca.intake.request import EnrollmentRequest
from certwright.ca.policy.base import CaFacts
from certwright.ca.policy.requirements import Requirements
from certwright.directory.base import Principal


class Refused(Exception):
    """A rule said no. `reason` is one sentence for a person; `rule` is filled in by whoever ran the rule."""

    def __init__(self, status: HResult, reason: str, rule: str = "") -> None:
        reason = reason.replace('"', "'")  # clients find the disposition message between double quotes
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.rule = rule


class Case(NamedTuple):
    """A request with its template and the account it is for: all that the rules may look at."""

    request: EnrollmentRequest
    ca: CaFacts
    requirements: Requirements
    principal: Principal


@dataclass(frozen=True, slots=True)
class Rule:
    """One check. `name` is what logs, dispositions and previews call it."""

    name: str
    examine: Callable[[Case], None]
    passed: Check

    def __call__(self, case: Case) -> None:
        """Raises:
        Refused: the request breaks this rule.
        """
        self.examine(case)


def rule(sentence: str) -> Callable[[Callable[[Case], None]], Rule]:
    """Make a function a `Rule`; `sentence` says what is true of a request that passed."""

    def named(examine: Callable[[Case], None]) -> Rule:
        name = examine.__name__
        return Rule(name, examine, Check(name, True, sentence))

    return named
