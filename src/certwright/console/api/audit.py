"""The audit trail: what happened, and whether somebody changed the record of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Annotated

from django.http.response import HttpResponseBase
from ninja import Query, Router
from pydantic import Field

from certwright.audit.trail import AuditRecord
from certwright.console import exports
from certwright.console.api.authentication import ApiRequest
from certwright.console.api.operations import operation
from certwright.console.api.shapes import Entered, Line, Moment, QueryFlag, QueryNumber, Told
from certwright.console.pages.audit import INSTALLATION
from certwright.console.rooms import rooms

router = Router(tags=["Audit"])


class AuditFilters(Entered):
    ca: Annotated[Line, Field(description="A CA's common name; - for the installation; empty for all")] = ""
    event: Annotated[QueryNumber | None, Field(ge=1, le=65535, description="As in 4887")] = None
    since: Moment | None = None

    @property
    def chain(self) -> str | None:
        return ("" if self.ca == INSTALLATION else self.ca) if self.ca else None


class AuditQuery(AuditFilters):
    request_id: Annotated[QueryNumber | None, Field(ge=1, le=2**32 - 1)] = None
    oldest_first: QueryFlag = False
    limit: Annotated[QueryNumber, Field(ge=1, le=1000)] = 100


class Event(Told):
    """One event. Each chain is numbered from 1; `hash` chains it to the one before."""

    when: datetime
    chain: str  # the CA's name; empty for the installation
    sequence: int
    event: int
    name: str
    actor: str
    details: dict[str, str | int]
    hash: str


class ChainHead(Told):
    chain: str
    sequence: int
    hash: str


class Verified(Told):
    """Note the heads somewhere else now and then: that shows also who could write every table."""

    when: datetime
    is_intact: bool
    checked: int
    broken: list[str]  # a sentence each, the first hundred
    heads: list[ChainHead]


@operation(router, "GET", "/audit", list[Event])
def list_audit_events(request: ApiRequest, asked: Query[AuditQuery]) -> Sequence[Event]:
    """List up to 1000 events; the export has all of them."""
    found = rooms().audit.events(
        ca=asked.chain,
        event=asked.event,
        request_id=asked.request_id,
        since=asked.since,
        limit=asked.limit,
        newest_first=not asked.oldest_first,
    )
    return [_event(record) for record in found]


@operation(router, "GET", "/audit/export", produces="application/jsonl")
def export_audit(request: ApiRequest, asked: Query[AuditFilters]) -> HttpResponseBase:
    """Export every event that the filters leave, a JSON object on each line, chain after chain."""
    every = rooms().audit.stream(ca=asked.chain, event=asked.event, since=asked.since)
    return exports.json_lines("audit", _plain(every))


@operation(router, "POST", "/audit/verify", Verified)
def verify_audit(request: ApiRequest) -> Verified:
    """Recompute every hash of every chain."""
    result = rooms().audit.verify([ca.name for ca in request.viewer.cas])
    return Verified(
        when=rooms().clock(),
        is_intact=result.is_intact,
        checked=result.checked,
        broken=list(result.broken),
        heads=[ChainHead.model_validate(each) for each in result.heads],
    )


def _event(record: AuditRecord) -> Event:
    return Event(
        when=record.when,
        chain=record.chain,
        sequence=record.sequence,
        event=record.event,
        name=record.name,
        actor=record.actor,
        details=dict(record.details),
        hash=record.hash,
    )


def _plain(every: Iterator[AuditRecord]) -> Iterator[dict[str, object]]:
    for record in every:
        yield _event(record).model_dump(mode="json")
