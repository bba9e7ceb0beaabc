"""What this installation has to do on a clock. Each function looks for itself whether there is something to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import structlog

from certwright.adcs.errors import AdcsError
from certwright.adcs.events import LifecycleEvent, LifecycleKind
from certwright.ca.revocation.crl import certificates_by_key
from certwright.ca.revocation.publication import PublicationFailed, scopes_of
from certwright.connectors.local import LocalCa
from certwright.location_watch.watch import LocationWatch
from certwright.manager.values import Done
from certwright.server import above, device_setup, device_upkeep
from certwright.server.composition import SYSTEM, Installation
from certwright.server.domain_publication import DomainPublication
from certwright.server.locations import location_watch
from certwright.server.responder_lists import copy_due, tell_of_ending_answers
from certwright.server.responder_setup import renew_signing_certificates
from certwright.server.worker import Duty

log = structlog.get_logger(__name__)

OFFLINE_WARNING: Final = timedelta(days=30)
"""How long before the CRL of a CA whose key is offline ends people are told, and again a week before."""
CA_BANDS: Final = (7, 30, 90, 180)
"""Days before the end of a CA's own certificate in which people are told, once in each."""
EXPIRY_WARNING: Final = timedelta(days=CA_BANDS[-1])


def all_duties(installation: Installation) -> Sequence[Duty]:
    return (*own_duties(installation), *outward_duties(installation))


def own_duties(installation: Installation) -> Sequence[Duty]:
    """What this installation does for itself: nothing of it waits for another machine."""
    return (
        Duty("new cas", timedelta(seconds=10), partial(look_for_cas, installation)),
        Duty("crls", timedelta(minutes=1), partial(publish_due_crls, installation)),
        Duty("offline keys", timedelta(days=1), partial(ask_for_offline_keys, installation)),
        Duty("overdue crls", timedelta(minutes=1), partial(tell_of_overdue_crls, installation)),
        Duty("imported crls", timedelta(hours=1), partial(tell_of_imported_crls, installation)),
        Duty("listener certificate", timedelta(hours=1), partial(renew_listener_certificate, installation)),
        Duty("signing certificates", timedelta(minutes=1), partial(renew_signing_certificates, installation)),
        Duty("responder's answers", timedelta(minutes=10), partial(tell_of_ending_answers, installation)),
        Duty("database", timedelta(minutes=5), partial(maintain_database, installation)),
        Duty("ca certificates", timedelta(days=1), partial(warn_of_expiry, installation)),
        Duty("ndes certificates", timedelta(minutes=1), partial(device_setup.renew_when_due, installation)),
        Duty("ndes requests", timedelta(seconds=30), partial(device_upkeep.settle_overdue, installation)),
        Duty("ndes history", timedelta(days=1), partial(device_setup.prune, installation)),
    )


def outward_duties(installation: Installation) -> Sequence[Duty]:
    """What talks to other machines, which may keep it waiting for minutes: for a thread of its own."""
    tasks = installation.manager.tasks
    watch = location_watch(installation)
    return (
        Duty("orders", timedelta(seconds=15), partial(_task, "orders", tasks.track)),
        Duty("renewals", timedelta(minutes=15), partial(_task, "renewals", tasks.renew)),
        Duty("expiry notices", timedelta(minutes=15), partial(_task, "expiry notices", tasks.expiry_notices)),
        Duty("publication in the domain", timedelta(hours=1), partial(publish_in_domain, installation)),
        Duty("locations", timedelta(seconds=15), partial(ask_locations, watch)),
        Duty("history of locations", timedelta(days=1), partial(prune_locations, watch)),
        Duty("crls of others", timedelta(minutes=1), partial(copy_due, installation)),
        Duty("services", timedelta(minutes=5), partial(_task, "services", tasks.refresh_services)),
        Duty("ndes notices", timedelta(seconds=15), partial(device_upkeep.tell_notices, installation)),
        Duty("notifications", timedelta(seconds=15), partial(deliver_notifications, installation)),
        Duty("notification history", timedelta(days=1), partial(prune_notifications, installation)),
    )


def publish_due_crls(installation: Installation, now: datetime) -> None:
    """Publish what is due, for every CA whose key is here; one that fails keeps no other from it.

    Raises:
        AdcsError: something could not be made or published; it will be tried again.
    """
    failed: list[AdcsError] = []
    for ca in installation.cas:
        if _is_offline(installation, ca):
            ca.authority.generations.forget_keys()  # it was taken away so that it is in no memory either
            continue
        if not installation.publisher.is_due(ca.authority, now):
            continue
        try:
            installation.publisher.publish_due(ca.authority, SYSTEM, now)
        except PublicationFailed as error:
            failed.append(error)
            _tell_of_failure(installation, ca, now, error)
        except AdcsError as error:
            failed.append(error)
    if failed:
        raise failed[0]


def _tell_of_failure(installation: Installation, ca: LocalCa, now: datetime, error: PublicationFailed) -> None:
    """A target that takes nothing leaves clients with lists that end: say so, once for each number."""
    record = ca.authority.database.ca()
    installation.notifications.notify(
        LifecycleEvent(
            LifecycleKind.CRL_NOT_PUBLISHED,
            record.name,
            now,
            f"ca/{record.name}/crl/{record.crl_number}/not published",
            {"ca": record.name, "number": record.crl_number, "error": error.message},
        )
    )


def look_for_cas(installation: Installation, _now: datetime) -> None:
    """Look after a CA that another process installed."""
    for name in installation.look_for_cas():
        log.info("ca_looked_after", ca=name)


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
    installation.listener_certificates.enroll(installation.host_door(), installation.cross_certificates())


def maintain_database(installation: Installation, _now: datetime) -> None:
    installation.database.maintain()


def warn_of_expiry(installation: Installation, now: datetime) -> None:
    """A CA's own certificate is renewed by people: tell them in time."""
    for record in installation.records():
        newest = max(record.certificates, key=lambda certificate: certificate.index)
        if newest.not_after - now < EXPIRY_WARNING:
            log.warning("ca_certificate_expires", ca=record.name, not_after=newest.not_after.isoformat())
            band = next(days for days in CA_BANDS if newest.not_after - now < timedelta(days=days))
            installation.notifications.notify(
                LifecycleEvent(
                    LifecycleKind.CA_CERTIFICATE_EXPIRING,
                    record.name,
                    now,
                    f"ca/{record.name}/{newest.index}/expiry/{band}",
                    {
                        "ca": record.name,
                        "not_after": newest.not_after.isoformat(),
                        "days_left": max(0, (newest.not_after - now).days),
                        "band": band,
                    },
                )
            )


def ask_for_offline_keys(installation: Installation, now: datetime) -> None:
    """Only people can bring a key back: ask for it while the CRL it has to renew is still good."""
    for ca in installation.cas:
        if not _is_offline(installation, ca):
            continue
        database, name = ca.authority.database, ca.authority.name
        for key_index in certificates_by_key(database.ca(), now):
            crl = database.latest_crl(key_index)
            left = crl.next_update - now if crl is not None else timedelta()
            if left >= OFFLINE_WARNING:
                continue
            until = crl.next_update.isoformat() if crl is not None else "never published"
            log.warning(
                "crl_needs_offline_key",
                ca=name,
                next_update=until,
                remedy="certwright ca bring-online, ca publish-crl, ca take-offline",
            )
            urgent = "last week" if left < timedelta(days=7) else "last month"
            installation.notifications.notify(
                LifecycleEvent(
                    LifecycleKind.CRL_NEEDS_KEY,
                    name,
                    now,
                    f"ca/{name}/crl/{key_index}/{crl.number if crl is not None else 0}/needs key/{urgent}",
                    {"ca": name, "next_update": until, "days_left": max(0, left.days)},
                )
            )


def tell_of_overdue_crls(installation: Installation, now: datetime) -> None:
    """A CRL whose end is past stops every client that checks: say so, once for each CRL."""
    for ca in installation.cas:
        for scope in scopes_of(ca.authority.database, now):
            crl = scope.latest(ca.authority.database)
            if crl is None or crl.next_update > now:
                continue
            key_index = f"{scope.key_index}/{scope.partition}" if scope.partition else scope.key_index
            installation.notifications.notify(
                LifecycleEvent(
                    LifecycleKind.CRL_OVERDUE,
                    ca.authority.name,
                    now,
                    f"ca/{ca.authority.name}/crl/{key_index}/{crl.number}/overdue",
                    {
                        "ca": ca.authority.name,
                        "number": crl.number,
                        **({"partition": crl.partition} if crl.partition else {}),
                        "next_update": crl.next_update.isoformat(),
                    },
                )
            )


def tell_of_imported_crls(installation: Installation, now: datetime) -> None:
    """The CRL of a CA above, which people carry here: ask for the next one in time, and say when it has ended."""
    for record, file, crl in above.imported_crls(installation):
        if crl.next_update is None:
            continue
        left = crl.next_update - now
        if left >= OFFLINE_WARNING:
            continue
        log.warning(
            "imported_crl_ends",
            ca=record.name,
            issuer=crl.issuer_name,
            next_update=crl.next_update.isoformat(),
            remedy="carry the next one here: certwright ca import-crl",
        )
        over = left <= timedelta()
        urgent = "over" if over else "last week" if left < timedelta(days=7) else "last month"
        installation.notifications.notify(
            LifecycleEvent(
                LifecycleKind.CRL_OVERDUE if over else LifecycleKind.CRL_NEEDS_KEY,
                crl.issuer_name,
                now,
                f"ca/{record.name}/above/{file}/{crl.number or 0}/{urgent}",
                {
                    "ca": record.name,
                    "issuer": crl.issuer_name,
                    "number": crl.number or 0,
                    "next_update": crl.next_update.isoformat(),
                    "days_left": max(0, left.days),
                },
            )
        )


def publish_in_domain(installation: Installation, _now: datetime) -> None:
    """Keep in Active Directory what was published there.

    Raises:
        AdcsError: something could not be written; it will be tried again.
    """
    if installation.active_directory is not None:
        DomainPublication(installation).keep(SYSTEM)


def ask_locations(watch: LocationWatch, _now: datetime) -> None:
    """Ask those locations that certificates name whose turn it is."""
    watch.check_due()


def prune_locations(watch: LocationWatch, _now: datetime) -> None:
    watch.prune()


def deliver_notifications(installation: Installation, now: datetime) -> None:
    installation.manager.deliver()
    installation.notifications.deliver(now)


def prune_notifications(installation: Installation, now: datetime) -> None:
    installation.notifications.prune(now)


def _task(name: str, task: Callable[[], Done], _now: datetime) -> None:
    """Run a task of the manager and log what it did. It keeps its own clock of what is due."""
    for sentence in task().what:
        log.info("manager_task", task=name, done=sentence)


def _is_offline(installation: Installation, ca: LocalCa) -> bool:
    offline = installation.key_store.offline_names()
    return any(certificate.key_name in offline for certificate in ca.authority.database.ca().certificates)
