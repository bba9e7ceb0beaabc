# mypy: disable-error-code="var-annotated"
"""Table of the Online Responder. `store` alone reads and writes it."""

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
