# mypy: disable-error-code="var-annotated"
"""Tables of NDES. `store` alone reads and writes them. Times are seconds since the epoch."""

from __future__ import annotations

from django.db import models
from django.db.models import Q


class Service(models.Model):
    """A service beside the one at the classic addresses, which is always there and has no name."""

    name = models.TextField(unique=True)
    created = models.BigIntegerField()

    class Meta:
        db_table = "ndes_service"


class Setting(models.Model):
    """A setting that differs from its default."""

    service = models.TextField()  # empty: the one at the classic addresses
    name = models.TextField()
    value = models.TextField()

    class Meta:
        db_table = "ndes_setting"
        constraints = (models.UniqueConstraint(fields=["service", "name"], name="ndes_setting_of_service"),)


class Challenge(models.Model):
    """A one-time challenge password, as its hash."""

    service = models.TextField()
    digest = models.BinaryField(unique=True)
    template = models.TextField()  # empty: any
    names = models.TextField()  # JSON: patterns that the names in the request must match; none: any
    issued_to = models.TextField()
    created = models.BigIntegerField()
    expires = models.BigIntegerField()
    used = models.BigIntegerField(null=True)
    used_by = models.TextField()  # transaction

    class Meta:
        db_table = "ndes_challenge"
        indexes = (models.Index(fields=["expires"], name="ndes_challenge_expires"),)


class Transaction(models.Model):
    """What became of a device's request; by it a repeated message and a poll find their answer."""

    service = models.TextField()
    name = models.TextField()  # transaction ID
    key_hash = models.BinaryField()  # SHA-256 of the key that signed the message
    request_hash = models.BinaryField()  # SHA-256 of the PKCS#10
    request_id = models.BigIntegerField(null=True)  # of the CA
    state = models.SmallIntegerField()  # store.State
    template = models.TextField()
    subject = models.TextField()
    renewal = models.BooleanField()
    peer = models.TextField()
    message = models.TextField()
    created = models.BigIntegerField()
    changed = models.BigIntegerField()
    owner = models.TextField()  # which lock its process held; see server.home

    class Meta:
        db_table = "ndes_transaction"
        constraints = (
            models.UniqueConstraint(fields=["service", "name", "key_hash"], name="ndes_transaction_of_device"),
        )
        indexes = (
            models.Index(fields=["changed"], name="ndes_transaction_changed"),
            models.Index(fields=["created"], name="ndes_transaction_under_way", condition=Q(state=0)),
        )


class Failure(models.Model):
    """A message that was refused, as it was, so that somebody can look into it."""

    service = models.TextField()
    occurred = models.BigIntegerField()
    rule = models.TextField()
    reason = models.TextField()
    fail_info = models.TextField()  # as SCEP said it; empty where HTTP did
    transaction_name = models.TextField()
    signer = models.TextField()
    peer = models.TextField()
    message = models.BinaryField()

    class Meta:
        db_table = "ndes_failure"


class Notice(models.Model):
    """What a policy module is told of a request, kept until it is taken or given up; its outline is the history."""

    service = models.TextField()
    transaction_name = models.TextField()
    disposition = models.TextField()
    body = models.TextField()  # JSON; empty once it is settled
    state = models.SmallIntegerField()  # store.NoticeState
    attempts = models.IntegerField()
    next_try = models.BigIntegerField(null=True)  # while it waits
    result = models.TextField()
    created = models.BigIntegerField()
    settled = models.BigIntegerField(null=True)

    class Meta:
        db_table = "ndes_notice"
        indexes = (
            models.Index(fields=["service", "id"], name="ndes_notice_waiting", condition=Q(next_try__isnull=False)),
            models.Index(fields=["settled"], name="ndes_notice_settled", condition=Q(settled__isnull=False)),
        )
