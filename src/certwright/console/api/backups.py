"""Backup of the whole installation."""

from __future__ import annotations

from typing import Annotated

from django.http import StreamingHttpResponse
from ninja import Router
from pydantic import StringConstraints

from certwright.console.api.authentication import ApiRequest
from certwright.console.api.operations import operation
from certwright.console.api.shapes import Entered
from certwright.console.pages.backup import SHORTEST, handed_over
from certwright.console.rooms import rooms

router = Router(tags=["System"])

OCTETS = "application/octet-stream"


class BackupAsked(Entered):
    password: Annotated[str, StringConstraints(min_length=SHORTEST, max_length=256)]


@operation(router, "POST", "/backups", produces=OCTETS)
def make_backup(request: ApiRequest, entered: BackupAsked) -> StreamingHttpResponse:
    """Back up the whole installation: database, keys, settings, audit trail, encrypted under the password.

    `certwright restore` takes the file. The account must be a backup operator of every CA.
    """
    return handed_over(rooms().backup(entered.password, request.viewer.requester))
