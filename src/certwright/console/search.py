"""Global search: what somebody typed, sorted into kinds, and asked of every page module that finds things.

A page module defines `finders = [function]`, a function from (viewer, Query) to an iterable of `Hit`. It returns only
what the viewer may see, exact matches first, and at most a handful.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import structlog
from django.utils.translation import gettext_lazy as _

from certwright.adcs.errors import AdcsError
from certwright.console.access import Viewer
from certwright.console.menu import menu_for

log = structlog.get_logger(__name__)

MAX_HITS: Final = 8
MAX_TEXT: Final = 200

CERTIFICATES, REQUESTS, ORDERS, REQUESTERS, TEMPLATES, ACCOUNTS, PAGES = range(7)
GROUPS: Final = {
    CERTIFICATES: _("Certificates"),
    REQUESTS: _("Requests"),
    ORDERS: _("Orders"),
    REQUESTERS: _("Requesters"),
    TEMPLATES: _("Templates"),
    ACCOUNTS: _("Accounts"),
    PAGES: _("Pages"),
}
_SYNONYMS: Final = {
    "certsrv.msc": "/ca/",
    "mmc": "/ca/",
    "expiry list": "/inventory/",
    "pkiview": "/health/",
    "certtmpl": "templates/",
    "ocsp": "revocation/",
    "crl": "revocation/",
    "certutil": "/ca/",
    "issue": "pending/",
    "approve": "pending/",
    "event log": "/audit/",
    "users": "/people/",
    "roles": "/people/",
    "mail": "/notifications/",
}
_HEX: Final = re.compile(r"(?:[0-9a-fA-F]{2}[ :]?){3,}")


@dataclass(frozen=True, slots=True)
class Query:
    """What was typed, and what it can be. A part that it cannot be is empty or None."""

    text: str
    hexadecimal: str = ""  # six digits or more: a serial number or a thumbprint, without spaces and colons
    number: int | None = None  # a request ID or an order
    account: str = ""  # DOMAIN\name, name@domain or a SID

    @classmethod
    def of(cls, text: str) -> Query:
        text = " ".join(text[:MAX_TEXT].replace("\0", "").split())
        hexadecimal = re.sub("[ :]", "", text).lower() if _HEX.fullmatch(text) else ""
        number = int(text) if text.isascii() and text.isdigit() and len(text) <= 10 else None
        is_account = "\\" in text or text.upper().startswith("S-1-") or re.fullmatch(r"[^@\s]+@[^@\s]+", text)
        return cls(text, hexadecimal, number, text if is_account else "")


@dataclass(frozen=True, slots=True)
class Hit:
    """Something found."""

    group: int
    title: str
    detail: Any
    href: str
    icon: str
    exact: bool = False


def search(viewer: Viewer, query: Query) -> list[Hit]:
    """Everything found, exact matches first within their group."""
    from certwright.console.pages import modules

    if not query.text:
        return []
    found: list[Hit] = list(_pages(viewer, query))
    for module in modules():
        for finder in getattr(module, "finders", ()):
            try:
                found += list(finder(viewer, query))[: 2 * MAX_HITS]
            except AdcsError as error:
                log.warning("finder_failed", finder=finder.__qualname__, error=error.message)
    return sorted(found, key=lambda hit: (not hit.exact, hit.group))


def _pages(viewer: Viewer, query: Query) -> Iterable[Hit]:
    """Pages of the menu by their names, in any language, and by what older tools call them."""
    menu = menu_for(viewer, "/search/")
    entries = [entry for block in (*menu.above, *menu.below) for entry in block.entries] + list(menu.ca_entries)
    needle = query.text.casefold()
    places = [place for word, place in _SYNONYMS.items() if len(needle) > 2 and word.startswith(needle)]
    for entry in entries:
        label = str(entry.label)
        if needle in label.casefold() or any(place in entry.href for place in places):
            yield Hit(PAGES, label, "", entry.href, entry.icon, exact=label.casefold() == needle)
