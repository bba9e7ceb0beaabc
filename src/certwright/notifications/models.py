# mypy: disable-error-code="var-annotated"
"""Tables of the notifications. `store` alone reads and writes them. Times are seconds since the epoch."""

from __future__ import annotations

from django.db import models
from django.db.models import Q


class Channel(models.Model):
    """A way to somebody; what is secret of it is sealed and bound to the row."""

    name = models.TextField()
    name_key = models.TextField(unique=True)
    kind = models.TextField()  # values.ChannelKind
    settings = models.TextField()  # JSON, without secrets
    secret = models.BinaryField(null=True)  # sealed: a password, or a key of signatures
    enabled = models.BooleanField()
    last_success = models.BigIntegerField(null=True)
    last_error = models.TextField()
    last_error_when = models.BigIntegerField(null=True)
    created = models.BigIntegerField()

    class Meta:
        db_table = "notifications_channel"


class Rule(models.Model):
    """Which events go to which channel."""

    name = models.TextField()
    name_key = models.TextField(unique=True)
    filters = models.TextField()  # JSON
    channel = models.ForeignKey(Channel, models.CASCADE)
    enabled = models.BooleanField()
    created = models.BigIntegerField()

    class Meta:
        db_table = "notifications_rule"


class Delivery(models.Model):
    """One event on its way to one channel, and afterwards its history. It outlives channel and rule."""

    identity = models.TextField(unique=True)  # channel and event: told once
    channel_id = models.BigIntegerField()
    channel_name = models.TextField()
    rule_name = models.TextField()
    kind = models.TextField()  # adcs.events.LifecycleKind
    object = models.TextField()
    occurred = models.BigIntegerField()
    facts = models.TextField()  # JSON
    event_identity = models.TextField()
    state = models.SmallIntegerField()  # values.DeliveryState
    attempts = models.IntegerField()
    next_try = models.BigIntegerField(null=True)  # while it waits
    result = models.TextField()
    created = models.BigIntegerField()
    settled = models.BigIntegerField(null=True)

    class Meta:
        db_table = "notifications_delivery"
        indexes = (
            models.Index(fields=["next_try"], name="notifications_due", condition=Q(next_try__isnull=False)),
            models.Index(fields=["channel_id", "id"], name="notifications_channel_row"),
            models.Index(fields=["settled"], name="notifications_settled", condition=Q(settled__isnull=False)),
        )
