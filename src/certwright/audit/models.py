# mypy: disable-error-code="var-annotated,type-arg"
"""Tables of the audit trail. `trail` alone reads and writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from django.db import models

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper


class RowKey(models.BigIntegerField):
    """A key that the trail computes. On SQLite it is the row's own number, so that no second index is kept for it."""

    def db_type(self, connection: BaseDatabaseWrapper) -> str | None:
        return "integer" if connection.vendor == "sqlite" else super().db_type(connection)


class Chain(models.Model):
    """One hash chain with its head; a CA has one, the installation has one with an empty name."""

    id = models.BigAutoField(primary_key=True)
    name = models.TextField(unique=True)
    sequence = models.BigIntegerField()  # of the last event
    hash = models.BinaryField()  # of the last event

    class Meta:
        db_table = "audit_chain"


class Event(models.Model):
    """One event; `trail` says what its hash is made of."""

    id = RowKey(primary_key=True)  # chain in the upper bits, sequence in the lower 40
    chain_id = models.BigIntegerField()
    sequence = models.BigIntegerField()
    event = models.IntegerField()
    occurred = models.BigIntegerField()  # seconds since the epoch
    actor = models.TextField()
    request_id = models.BigIntegerField(null=True)  # as in the details; for look-ups
    details = models.TextField()  # JSON
    hash = models.BinaryField()

    class Meta:
        db_table = "audit_event"
        indexes: ClassVar = [
            models.Index(
                fields=["chain_id", "request_id"],
                name="audit_event_request",
                condition=models.Q(request_id__isnull=False),
            ),
            # everything but the two events that every certificate leaves
            models.Index(
                fields=["chain_id", "event"], name="audit_event_rare", condition=~models.Q(event__in=(4886, 4887))
            ),
        ]
