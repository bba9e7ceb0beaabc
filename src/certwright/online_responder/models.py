# mypy: disable-error-code="var-annotated"
"""Tables of the Online Responder. `store` alone reads and writes them."""

from __future__ import annotations

from django.db import models


class RevocationConfiguration(models.Model):
    """How the responder answers for one CA. [MS-OCSPA] 3.2.1.1; what differs from the defaults is in `settings`."""

    ca = models.TextField(unique=True)  # common name
    enabled = models.BooleanField()
    settings = models.TextField()  # JSON
    version = models.BigIntegerField()  # raised by every change

    class Meta:
        db_table = "online_responder_configuration"


class CaElsewhere(models.Model):
    """One key of a CA whose database is not here: its certificate, and where its CRLs are copied from."""

    name = models.TextField(unique=True)
    certificate = models.BinaryField()  # DER
    sources = models.TextField()  # JSON: what differs from the defaults

    class Meta:
        db_table = "online_responder_elsewhere"


class CopiedCrl(models.Model):
    """A CRL that was copied last of a CA elsewhere, or of one of its partitions, and how the last attempt went.

    Times are seconds.
    """

    ca = models.ForeignKey(CaElsewhere, on_delete=models.CASCADE)
    partition = models.IntegerField(db_default=0)  # 0: the list of everything else, or the only one
    is_delta = models.BooleanField()
    number = models.TextField(null=True)  # decimal: it may have 160 bits
    base_number = models.TextField(null=True)
    this_update = models.BigIntegerField(null=True)  # null until one was taken
    next_update = models.BigIntegerField(null=True)
    next_publish = models.BigIntegerField(null=True)
    entries = models.BigIntegerField()
    size = models.BigIntegerField()
    digest = models.TextField()  # SHA-256 of the list, hex
    url = models.TextField()  # where it was taken from
    taken_when = models.BigIntegerField(null=True)
    tried_when = models.BigIntegerField()
    error = models.TextField()  # of the last attempt; empty when it went well
    points = models.TextField(db_default="")  # JSON: the distribution points that it is for; empty: for everything
    etag = models.TextField(db_default="")  # by which its server tells whether it is still the same
    modified = models.TextField(db_default="")
    absent_when = models.BigIntegerField(null=True)  # when the server said that there is no such partition yet
    data = models.BinaryField(null=True)  # the list, DER; last, so that what is asked often passes it by

    class Meta:
        db_table = "online_responder_crl"
        constraints = (
            models.UniqueConstraint(
                fields=["ca", "partition", "is_delta"], name="online_responder_one_crl_of_a_kind"
            ),
        )
