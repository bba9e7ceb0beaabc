"""What the dashboard shows beside the tiles of other pages: expiries, what the CAs do, and the AD CS services."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from certwright.adcs.interfaces import Comparison, Restriction, Table
from certwright.console import access, clock
from certwright.console.access import Viewer
from certwright.console.dashboard import Card, Tile
from certwright.console.rooms import CaStanding, rooms
from certwright.manager.inventory_values import BANDS, Band, Week
from certwright.manager.values import DeviceUser, Health, Service

ISSUED_IN: Final = timedelta(days=30)
FAILED_IN: Final = timedelta(hours=24)
SOON: Final = timedelta(days=14)
"""A device user's secret that ends within that time is shown at its services."""
TEMPLATES_SHOWN: Final = 5
SERVICES_SHOWN: Final = 6
_AGES: Final = (
    (timedelta(hours=1), "gray"),
    (timedelta(hours=8), "gray"),
    (timedelta(days=1), "yellow"),
    (timedelta(days=3), "orange"),
)
_BEYOND: Final = "red"


# -- expiries --------------------------------------------------------------------------------------------------------


def _timeline(viewer: Viewer) -> Iterable[Card]:
    """How many certificates end in each of the next 26 weeks; only their own for requesters."""
    inventory, owner = rooms().manager.inventory, "" if viewer.sees_everything else viewer.account
    weeks: Sequence[Week] = inventory.timeline(owner)
    bands: Sequence[Band] = inventory.bands(owner)
    total = sum(week.count for week in weeks)
    data = {
        "labels": [_short_day(week.starts) for week in weeks],
        "values": [week.count for week in weeks],
        "bands": [_band_of(week.number) for week in weeks],
        "links": [f"/inventory/?week={week.number}" for week in weeks],
    }
    words = _(
        "Certificates that expire: %(a)s within 7 days, %(b)s in days 8 to 30, %(c)s in days 31 to 90, %(d)s later"
    )
    counts = [band.total for band in bands]
    later = max(0, total - sum(counts))
    context = {
        "data": data,
        "total": total,
        "label": words % {"a": counts[0], "b": counts[1], "c": counts[2], "d": later},
    }
    yield Card("console/cards/timeline.html", context, width=8, order=10)


def _short_day(when: datetime) -> str:
    return date_format(timezone.localtime(when), "j M")


def _band_of(week: int) -> str:
    """The colour of a bar, by the days left when its week begins."""
    days = 7 * week
    if days == 0:
        return "red"
    return "orange" if days <= BANDS[1] else "yellow" if days <= BANDS[2] else "gray"


# -- the CAs ---------------------------------------------------------------------------------------------------------


def _cas(viewer: Viewer) -> list[CaStanding]:
    """Those whose queues the viewer may read; roots issue so little that nobody has to see it daily."""
    return [ca for ca in viewer.cas if not ca.is_root and any(viewer.on(ca, role) for role in access.QUEUES)]


def _by_template(viewer: Viewer, ca: CaStanding, table: Table, within: timedelta) -> Counter[str]:
    """How many rows of a CA's table were resolved within that time until now, by template; every one is counted."""
    since = Restriction("resolved_when", Comparison.GREATER_OR_EQUAL, int((rooms().clock() - within).timestamp()))
    admin = rooms().registry.administer(ca.config, viewer.requester)
    found = admin.count(table, "template", (since,))
    return Counter({str(template): count for template, count in found.items()})


def issued_by_template(viewer: Viewer) -> Counter[str]:
    """How many certificates the CAs that the viewer may read issued in 30 days, by template; every one is counted."""
    counted: Counter[str] = Counter()
    for ca in _cas(viewer):
        counted.update(_by_template(viewer, ca, Table.ISSUED_CERTIFICATES, ISSUED_IN))
    return counted


def _issued(viewer: Viewer) -> Iterable[Card]:
    """The templates that were issued most in 30 days."""
    cas = _cas(viewer)
    if not cas:
        return
    names = {each.cn: each.display_name for each in rooms().directory_administration.templates().values()}
    names[""] = _("no template")
    top = issued_by_template(viewer).most_common(TEMPLATES_SHOWN)
    data = {
        "labels": [names.get(template, template) for template, _count in top],
        "values": [count for _template, count in top],
        "links": [f"/ca/{cas[0].slug}/issued/?template={template}" for template, _count in top],
    }
    label = ", ".join(f"{names.get(template, template)} {count}" for template, count in top)
    context = {
        "data": data,
        "empty": not top,
        "label": _("Issued in 30 days: %(what)s") % {"what": label},
        "href": f"/ca/{cas[0].slug}/issued/",
    }
    yield Card("console/cards/issued.html", context, width=4, order=40)


def _pending(viewer: Viewer, ca: CaStanding) -> Mapping[datetime, int]:
    """How many pending requests of a CA came when; every one is counted."""
    admin = rooms().registry.administer(ca.config, viewer.requester)
    found = admin.count(Table.PENDING_REQUESTS, "submitted_when")
    return {when: count for when, count in found.items() if isinstance(when, datetime)}


def queue_ages(viewer: Viewer) -> tuple[Sequence[timedelta], Sequence[int]]:
    """Up to which age, and how many pending requests are no older; one count more for what is older than all."""
    now = rooms().clock()
    counts = [0] * (len(_AGES) + 1)
    for ca in _cas(viewer):
        for submitted, count in _pending(viewer, ca).items():
            counts[_age(now - submitted)] += count
    return [limit for limit, _ink in _AGES], counts


def _queue(viewer: Viewer) -> Iterable[Card]:
    """How long pending requests have waited."""
    cas = _cas(viewer)
    if not cas:
        return
    limits, counts = queue_ages(viewer)
    labels = [*(clock.span(limit).partition(" 0 ")[0] for limit in limits), _("over")]
    total = sum(counts)
    context = {
        "data": {
            "labels": labels,
            "values": counts,
            "bands": [*(ink for _limit, ink in _AGES), _BEYOND],
            "links": [f"/ca/{cas[0].slug}/pending/"] * len(counts),
        },
        "total": total,
        "label": _("Pending requests by age: %(what)s")
        % {"what": ", ".join(f"{label} {count}" for label, count in zip(labels, counts, strict=True))},
        "href": f"/ca/{cas[0].slug}/pending/",
    }
    yield Card("console/cards/queue.html", context, width=3, order=50)


def _age(waited: timedelta) -> int:
    return next((number for number, (limit, _ink) in enumerate(_AGES) if waited <= limit), len(_AGES))


def _ca_tiles(viewer: Viewer) -> Iterable[Tile]:
    """What waits, and what failed since yesterday."""
    cas = _cas(viewer)
    if not cas:
        return
    now = rooms().clock()
    waiting = [(when, many, ca) for ca in cas for when, many in _pending(viewer, ca).items()]
    oldest = min(waiting, key=lambda each: each[0], default=None)
    count = sum(many for _when, many, _ca in waiting)
    yield Tile(
        _("Pending Requests"),
        count,
        _("oldest waits %(span)s") % {"span": clock.span(now - oldest[0])} if oldest else _("nothing waits"),
        f"/ca/{(oldest[2] if oldest else cas[0]).slug}/pending/",
        icon="clock-hour-4",
        colour="yellow" if count else "gray",
        order=40,
    )
    failed = {ca.slug: _by_template(viewer, ca, Table.FAILED_REQUESTS, FAILED_IN) for ca in cas}
    counts = sum(failed.values(), Counter[str]())
    most = counts.most_common(1)
    more = ngettext("%(count)s of one template", "%(count)s of one template", most[0][1]) if most else ""
    yield Tile(
        _("Failed, last 24 h"),
        counts.total(),
        more % {"count": most[0][1]} if most else _("none"),
        f"/ca/{next((slug for slug, found in failed.items() if found), cas[0].slug)}/failed/",
        icon="file-x",
        colour="red" if counts else "gray",
        order=60,
    )


# -- the AD CS services ----------------------------------------------------------------------------------------------


def _services(viewer: Viewer) -> Iterable[Card]:
    """How each service was the last time it was asked."""
    if not viewer.is_any(access.AUTOMATION):
        return
    manager, now = rooms().manager, rooms().clock()
    found: Sequence[Service] = manager.services.list()
    users: dict[int, DeviceUser] = {user.id: user for user in manager.device_users.list()}
    rows = [_service(each, users.get(each.device_user_id), now) for each in found]
    rows.sort(key=lambda row: (row["rank"], row["service"].domain, row["service"].priority))
    context = {"rows": rows[:SERVICES_SHOWN], "more": max(0, len(rows) - SERVICES_SHOWN)}
    yield Card("console/cards/services.html", context, width=5, order=60)


def _service(service: Service, user: DeviceUser | None, now: datetime) -> dict[str, Any]:
    state, word, more, rank = "unknown", _("Not asked yet"), "", 2
    if service.health is Health.DOWN:
        state, more, rank = "down", service.last_error, 0
    elif user is not None and user.expires is not None and user.expires <= now + SOON:
        left = clock.span(user.expires - now)
        state, rank = "warning", 1
        more = _("secret expired") if user.expires <= now else _("secret expires in %(span)s") % {"span": left}
    elif service.health is Health.OK:
        state, word, rank = "ok", _("Answers"), 3
    return {"service": service, "state": state, "word": word, "more": more, "rank": rank}


dashboard_tiles = [_ca_tiles]
dashboard_cards = [_timeline, _issued, _queue, _services]
