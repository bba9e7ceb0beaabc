# mypy: disable-error-code="var-annotated"
"""Tables of the watch. `store` alone reads and writes them."""

from __future__ import annotations

from django.db import models


class WatchedLocation(models.Model):
    """A location and how it stood when it was asked last. Times are seconds since the epoch."""

    ca = models.TextField()  # name of the CA whose certificates name it
    kind = models.TextField()
    url = models.TextField()
    state = models.TextField()
    detail = models.TextField()
    until = models.BigIntegerField(null=True)  # end of what lies there
    checked = models.BigIntegerField(null=True)
    since = models.BigIntegerField()  # in this state
    failures = models.IntegerField()  # checks in a row that found it bad
    next_check = models.BigIntegerField()

    class Meta:
        db_table = "location_watch_location"
        constraints = (models.UniqueConstraint(fields=["ca", "kind", "url"], name="location_watch_location_named"),)


class LocationChange(models.Model):
    """A location that came to stand otherwise."""

    location = models.BigIntegerField(db_index=True)
    occurred = models.BigIntegerField(db_index=True)
    state = models.TextField()
    detail = models.TextField()

    class Meta:
        db_table = "location_watch_change"
