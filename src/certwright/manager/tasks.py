"""What the manager does on a clock, as plain functions: each looks for itself what is due, and says what it did.

Calling one too often does no harm, nor do two processes that call the same one: each step is claimed in the database.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from certwright.adcs.events import LifecycleKind
from certwright.manager import store
from certwright.manager import store_inventory as certificates
from certwright.manager.changes import Change, Changes
from certwright.manager.inventory_values import CertificateRow
from certwright.manager.orders import Orders
from certwright.manager.renewal import Renewal
from certwright.manager.services import Services
from certwright.manager.values import Done, moment, seconds

TRACK_EVERY: Final = timedelta(minutes=1)
RENEW_EVERY: Final = timedelta(hours=1)
EXPIRY_EVERY: Final = timedelta(hours=1)
REFRESH_EVERY: Final = timedelta(minutes=15)
NOTICE_DAYS: Final = (30, 14, 7, 3, 1, 0)
"""Bands of expiry notices: a certificate is told once in each it enters; 0 tells that it has expired."""
OVERDUE: Final = timedelta(days=30)
"""How long after its end a certificate's expiry is still told."""
SECRET_NOTICE: Final = timedelta(days=14)
_BATCH: Final = 500
_MAX_SAID: Final = 100


class Tasks:
    """The manager's duties. `actor` is who the audit trail names."""

    def __init__(self, changes: Changes, services: Services, orders: Orders, renewal: Renewal, *, actor: str) -> None:
        self._changes = changes
        self._services = services
        self._orders = orders
        self._renewal = renewal
        self._actor = actor

    def track(self) -> Done:
        """Ask after pending orders, look for lost ones, fetch issued ones, and hand over what was told."""
        said, due = self._orders.track(actor=self._actor)
        self._changes.deliver()
        return self._done(said, TRACK_EVERY, due)

    def renew(self) -> Done:
        """Order what the renewal rules want."""
        return self._done(self._renewal.run(actor=self._actor), RENEW_EVERY)

    def refresh_services(self) -> Done:
        """Read CA, chain and templates of every service once a day."""
        said, due = self._services.refresh_due(actor=self._actor)
        return self._done(said, REFRESH_EVERY, due)

    def expiry_notices(self) -> Done:
        """Tell of certificates that entered a band of `NOTICE_DAYS`, once for each band, and of ending secrets."""
        now = self._changes.clock()
        said: list[str] = []
        while told := self._tell_certificates(now):
            said += told
            if len(told) < _BATCH:
                break
        said += self._tell_device_users(now)
        self._changes.deliver()
        return self._done(said, EXPIRY_EVERY)

    def _tell_certificates(self, now: datetime) -> Sequence[str]:
        """One transaction's worth; the mark and the event are one."""
        told: list[str] = []
        bands = [(days, seconds(now) + _limit(days)) for days in sorted(NOTICE_DAYS)]
        with self._changes.change(self._actor) as change:
            for row in certificates.unannounced(change.connection, seconds(now - OVERDUE), bands, _BATCH):
                band = next(days for days, end in bands if seconds(row.not_after) < end)
                certificates.put_told(change.connection, row.id, band)
                days_left = max(0, row.days_left(now))
                self._tell_one(change, row, band, days_left)
                name = row.common_name or row.serial
                told.append(f"{name}: {'expired' if not band else f'expires in {days_left} days'}")
        return told

    @staticmethod
    def _tell_one(change: Change, row: CertificateRow, band: int, days_left: int) -> None:
        change.tell(
            LifecycleKind.CERTIFICATE_EXPIRING if band else LifecycleKind.CERTIFICATE_EXPIRED,
            row.common_name or row.serial,
            f"certificate/{row.sha256}/expiry/{band}",
            {
                "certificate": row.id,
                "common_name": row.common_name,
                "serial": row.serial,
                "not_after": row.not_after.isoformat(),
                "days_left": days_left,
                "band": band,
                "owner": row.owner,
                "domain": row.domain,
                "template": row.template,
                "issuer": row.issuer,
                "renewal": row.renewal,
                "tags": ", ".join(row.tags),
            },
        )

    def _tell_device_users(self, now: datetime) -> Sequence[str]:
        said = []
        with self._changes.change(self._actor) as change:
            for user_id, name, expires in store.expiring_device_users(change.connection, now + SECRET_NOTICE):
                store.mark_expiry_told(change.connection, user_id)
                change.tell(
                    LifecycleKind.DEVICE_USER_EXPIRING,
                    name,
                    f"device-user/{user_id}/expiry/{seconds(expires)}",
                    {"device_user": user_id, "expires": expires.isoformat(), "days_left": (expires - now).days},
                )
                said.append(f"the secret of {name} ends on {expires:%Y-%m-%d}")
        return said

    def _done(self, said: Sequence[str], every: timedelta, due: int | None = None) -> Done:
        if len(said) > _MAX_SAID:
            said = [*said[:_MAX_SAID], f"and {len(said) - _MAX_SAID} more"]
        now = self._changes.clock()
        latest = now + every
        return Done(tuple(said), latest if due is None else max(now, min(latest, moment(due))))


def _limit(days: int) -> int:
    """Seconds from now within which a certificate is in a band: days left are rounded down, and 0 means over."""
    return (days + 1) * 86_400 if days else 1
