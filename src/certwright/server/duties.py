"""What this installation has to do on a clock. Each function looks for itself whether there is something to do."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import structlog

from certwright.adcs.errors import AdcsError
from certwright.ca.revocation.crl import certificates_by_key
from certwright.connectors.local import LocalCa
from certwright.server.composition import SYSTEM, Installation
from certwright.server.worker import Duty

log = structlog.get_logger(__name__)

OFFLINE_WARNING: Final = timedelta(days=30)
"""How long before the CRL of a CA whose key is offline ends people are told."""
EXPIRY_WARNING: Final = timedelta(days=180)
"""How long before the end of a CA's own certificate people are told."""


def all_duties(installation: Installation) -> Sequence[Duty]:
    return (
        Duty("crls", timedelta(minutes=1), partial(publish_due_crls, installation)),
        Duty("listener certificate", timedelta(hours=1), partial(renew_listener_certificate, installation)),
        Duty("database", timedelta(minutes=5), partial(maintain_database, installation)),
        Duty("ca certificates", timedelta(days=1), partial(warn_of_expiry, installation)),
    )


def publish_due_crls(installation: Installation, now: datetime) -> None:
    """Publish what is due, for every CA; one that fails keeps no other from it.

    Raises:
        AdcsError: something could not be made or published; it will be tried again.
    """
    failed: list[AdcsError] = []
    for ca in installation.cas:
        if not installation.publisher.is_due(ca.authority, now):
            continue
        if _is_offline(installation, ca):
            _warn_of_offline_key(ca, now)
            continue
        try:
            installation.publisher.publish_due(ca.authority, SYSTEM, now)
        except AdcsError as error:
            failed.append(error)
    if failed:
        raise failed[0]


def renew_listener_certificate(installation: Installation, now: datetime) -> None:
    """After two thirds of its life, through the same door as everybody's. Listeners notice by themselves.

    Raises:
        AdcsError: it was not issued.
    """
    if now < installation.listener_certificates.current().renew_after:
        return
    enroll_listener_certificate(installation)


def enroll_listener_certificate(installation: Installation) -> None:
    """Enroll now. Raises `AdcsError` when it was not issued."""
    installation.start_issuers()
    door = installation.registry.connect("", installation.host_account())
    installation.listener_certificates.enroll(door)


def maintain_database(installation: Installation, _now: datetime) -> None:
    installation.database.maintain()


def warn_of_expiry(installation: Installation, now: datetime) -> None:
    """A CA's own certificate is renewed by people: tell them in time."""
    for record in installation.records():
        newest = max(record.certificates, key=lambda certificate: certificate.index)
        if newest.not_after - now < EXPIRY_WARNING:
            log.warning("ca_certificate_expires", ca=record.name, not_after=newest.not_after.isoformat())


def _is_offline(installation: Installation, ca: LocalCa) -> bool:
    offline = installation.key_store.offline_names()
    return any(certificate.key_name in offline for certificate in ca.authority.database.ca().certificates)


def _warn_of_offline_key(ca: LocalCa, now: datetime) -> None:
    database = ca.authority.database
    for key_index in certificates_by_key(database.ca(), now):
        crl = database.latest_crl(key_index)
        if crl is None or crl.next_update - now < OFFLINE_WARNING:
            log.warning(
                "crl_needs_offline_key",
                ca=ca.authority.name,
                next_update=crl.next_update.isoformat() if crl is not None else "never published",
                remedy="certwright ca bring-online, ca publish-crl, ca take-offline",
            )
