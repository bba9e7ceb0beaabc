"""The manager as pages, REST API, command line and clock see it: its services, put together once."""

from __future__ import annotations

from certwright.database import Database
from certwright.keystores.sealing import Sealer
from certwright.manager.changes import Changes, Clock, Notify, Record, tell_nobody, utc_now
from certwright.manager.device_users import DeviceUsers
from certwright.manager.exporting import Exporting
from certwright.manager.forms import Forms
from certwright.manager.importing import Importing
from certwright.manager.inventory import Inventory
from certwright.manager.keys import Keys
from certwright.manager.orders import Orders
from certwright.manager.reach import Reach
from certwright.manager.renewal import Renewal
from certwright.manager.services import Services
from certwright.manager.tasks import Tasks


class Manager:
    """All of the manager. Thread-safe; every process may have one over the same database.

    Args:
        reach: the way to services.
        record: writes an event into the audit trail, inside the change's transaction.
        notify: is handed what people may want to be told, after it is durable; perhaps twice.
        actor: who acts on a clock.
    """

    def __init__(
        self,
        database: Database,
        sealer: Sealer,
        reach: Reach,
        record: Record,
        notify: Notify = tell_nobody,
        clock: Clock = utc_now,
        *,
        actor: str,
    ) -> None:
        changes = Changes(database, record, notify, clock)
        self.device_users = DeviceUsers(changes, sealer)
        self.services = Services(changes, self.device_users, reach)
        self.keys = Keys(changes, sealer)
        self.orders = Orders(changes, self.services, self.keys)
        self.inventory = Inventory(changes, self.services)
        self.importing = Importing(changes, self.keys)
        self.exporting = Exporting(changes, self.inventory)
        self.forms = Forms(changes)
        self.renewal = Renewal(changes, self.orders, self.keys)
        self.tasks = Tasks(changes, self.services, self.orders, self.renewal, actor=actor)
        self._changes = changes

    def deliver(self) -> int:
        """Hand over the events that wait; returns how many. The clock does this too."""
        return self._changes.deliver()
