# mypy: disable-error-code="var-annotated"
"""Tables of NDES. `store` alone reads and writes them. Times are seconds since the epoch."""

from __future__ import annotations

from django.db import models


class Setting(models.Model):
    """A setting that differs from its default."""

    name = models.TextField(unique=True)
    value = models.TextField()

    class Meta:
        db_table = "ndes_setting"


class Challenge(models.Model):
    """A one-time challenge password, as its hash."""

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

    class Meta:
        db_table = "ndes_transaction"
        constraints = (models.UniqueConstraint(fields=["name", "key_hash"], name="ndes_transaction_of_key"),)
        indexes = (models.Index(fields=["changed"], name="ndes_transaction_changed"),)
