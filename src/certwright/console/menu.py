"""The menu: labels, order and paths as administrators know them; entries a role cannot use are left out.

An entry whose page does not exist yet is left out too. A page module puts a count on its entry with
`badges = {"/adcs/orders/": function}`, a function from the viewer to a `Badge` or None.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import structlog
from django.urls import Resolver404, resolve
from django.utils.translation import gettext_lazy as _

from certwright.adcs.errors import AdcsError
from certwright.console import access
from certwright.console.access import Role, Viewer
from certwright.console.rooms import CaStanding

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Badge:
    """A count at an entry: how many, in red, yellow or orange, and what they are, for the tool tip."""

    count: int
    colour: str
    words: Any


@dataclass(frozen=True, slots=True)
class Entry:
    label: Any
    icon: str
    path: str  # with `<ca>` below a CA's heading
    roles: frozenset[Role]


@dataclass(frozen=True, slots=True)
class Block:
    caption: Any
    entries: tuple[Entry, ...]


BLOCKS: Final = (
    Block("", (Entry(_("Dashboard"), icon="layout-dashboard", path="/", roles=access.EVERYBODY),)),
    Block(
        _("Inventory"),
        (
            Entry(_("Certificate List"), icon="certificate", path="/inventory/", roles=access.ORDERS),
            Entry(_("Request Forms"), icon="forms", path="/inventory/forms/", roles=access.ORDERS),
        ),
    ),
    Block(
        _("Certificate Authorities (CA) › ADCS"),
        (
            Entry(_("Accounts"), icon="server-2", path="/adcs/accounts/", roles=access.AUTOMATION),
            Entry(_("Orders"), icon="clipboard-list", path="/adcs/orders/", roles=access.ORDERS),
        ),
    ),
    Block(
        _("Automation"),
        (
            Entry(_("Device Users"), icon="user-key", path="/device-users/", roles=access.AUTOMATION),
            Entry(_("Renewal"), icon="refresh", path="/renewal/", roles=access.AUTOMATION),
            Entry(_("Notifications"), icon="bell", path="/notifications/", roles=access.AUTOMATION),
        ),
    ),
)
CA_BLOCK: Final = (
    Entry(_("Pending Requests"), icon="clock-hour-4", path="/ca/<ca>/pending/", roles=access.QUEUES),
    Entry(_("Issued Certificates"), icon="file-certificate", path="/ca/<ca>/issued/", roles=access.QUEUES),
    Entry(_("Revoked Certificates"), icon="ban", path="/ca/<ca>/revoked/", roles=access.QUEUES),
    Entry(_("Failed Requests"), icon="file-x", path="/ca/<ca>/failed/", roles=access.QUEUES),
    Entry(_("Certificate Templates"), icon="template", path="/ca/<ca>/templates/", roles=access.CA_SETTINGS),
    Entry(_("Revocation & Responder"), icon="broadcast", path="/ca/<ca>/revocation/", roles=access.CA_SETTINGS),
    Entry(_("Enrollment Services"), icon="plug-connected", path="/ca/<ca>/enrollment/", roles=access.CA_SETTINGS),
    Entry(_("Directory"), icon="sitemap", path="/ca/<ca>/directory/", roles=access.CA_SETTINGS),
    Entry(
        _("CA Properties"),
        icon="adjustments-horizontal",
        path="/ca/<ca>/properties/general/",
        roles=access.CA_PROPERTIES,
    ),
)
SYSTEM_BLOCK: Final = Block(
    _("System"),
    (
        Entry(_("Health"), icon="heartbeat", path="/health/", roles=access.HEALTH),
        Entry(_("Audit"), icon="history", path="/audit/", roles=access.AUDIT),
        Entry(_("People & Access"), icon="users", path="/people/", roles=access.PEOPLE),
    ),
)


@dataclass(frozen=True, slots=True)
class DrawnEntry:
    label: Any
    icon: str
    href: str
    is_current: bool
    badge: Badge | None


@dataclass(frozen=True, slots=True)
class DrawnBlock:
    caption: Any
    entries: tuple[DrawnEntry, ...]


@dataclass(frozen=True, slots=True)
class Menu:
    """The menu as it is drawn for one viewer on one page."""

    above: tuple[DrawnBlock, ...]
    ca: CaStanding | None  # whose block is shown
    others: tuple[tuple[CaStanding, str], ...]  # the other CAs, with the same page there
    ca_entries: tuple[DrawnEntry, ...]
    below: tuple[DrawnBlock, ...]
    conflict: bool


def menu_for(viewer: Viewer, path: str, chosen_ca: str = "") -> Menu:
    """The entries that exist and that the viewer can use."""
    cas = [ca for ca in viewer.cas if not ca.in_conflict]
    here = _slug_in(path) or chosen_ca
    ca = next((ca for ca in cas if ca.slug == here), cas[0] if cas else None)
    ca_entries: tuple[DrawnEntry, ...] = ()
    if ca is not None:
        usable = [entry for entry in CA_BLOCK if any(viewer.on(ca, role) for role in entry.roles)]
        ca_entries = _drawn(usable, viewer, path, ca.slug)
    others = tuple(
        (other, _same_page(path, ca.slug, other.slug)) for other in cas if ca is not None and other is not ca
    )
    drawn = [DrawnBlock(block.caption, _drawn(block.entries, viewer, path)) for block in (*BLOCKS, SYSTEM_BLOCK)]
    return Menu(
        above=tuple(block for block in drawn[:-1] if block.entries),
        ca=ca if ca_entries else None,
        others=others if ca_entries else (),
        ca_entries=ca_entries,
        below=tuple(block for block in drawn[-1:] if block.entries),
        conflict=any(ca.in_conflict for ca in viewer.cas),
    )


def _drawn(entries: Sequence[Entry], viewer: Viewer, path: str, slug: str = "") -> tuple[DrawnEntry, ...]:
    found = []
    current = max((entry.path for entry in entries if _is_here(entry, path, slug)), key=len, default="")
    for entry in entries:
        href = entry.path.replace("<ca>", slug)
        if viewer.is_any(entry.roles) and exists(href):
            found.append(
                DrawnEntry(entry.label, entry.icon, href, entry.path == current, _badge(entry, viewer, slug))
            )
    return tuple(found)


def _is_here(entry: Entry, path: str, slug: str) -> bool:
    href = entry.path.replace("<ca>", slug).removesuffix("general/")
    return path == href if href == "/" else path.startswith(href)


def _badge(entry: Entry, viewer: Viewer, slug: str) -> Badge | None:
    count = badges().get(entry.path)
    if count is None:
        return None
    try:
        badge = count(viewer, slug) if slug else count(viewer)
    except AdcsError as error:  # a count that cannot be had must not keep the page away
        log.warning("badge_not_counted", entry=entry.path, error=error.message)
        return None
    return badge if badge is not None and badge.count else None


@lru_cache(maxsize=1)
def badges() -> Mapping[str, Callable[..., Badge | None]]:
    """Every count, by the path of its entry."""
    from certwright.console.pages import modules

    found: dict[str, Callable[..., Badge | None]] = {}
    for module in modules():
        found |= getattr(module, "badges", {})
    return found


@lru_cache(maxsize=1024)
def exists(path: str) -> bool:
    """Is there a page?"""
    try:
        resolve(path)
    except Resolver404:
        return False
    return True


def _slug_in(path: str) -> str:
    parts = path.split("/")
    return parts[2] if len(parts) > 3 and parts[1] == "ca" else ""


def _same_page(path: str, slug: str, other: str) -> str:
    """The page of another CA that corresponds to this one: its queue, not one request of it."""
    parts = path.split("/")
    if len(parts) > 4 and parts[1] == "ca" and parts[2] == slug:
        page = "pending" if parts[3] == "requests" else parts[3]
        tail = "general/" if page == "properties" else ""
        return f"/ca/{other}/{page}/{tail}"
    return f"/ca/{other}/pending/"
