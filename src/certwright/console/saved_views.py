"""Saved views: queries of lists that somebody named, for themselves or for everybody."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from django.db.models import Q
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _

from certwright.adcs.errors import BadRequestState, InvalidArgument
from certwright.console.access import Viewer
from certwright.console.models import SavedView
from certwright.console.rooms import rooms
from certwright.notifications.values import RuleView

INVENTORY: Final = "/inventory/"
MAX_VIEWS: Final = 50
MAX_NAME: Final = 64
MAX_QUERY: Final = 2000


def visible(viewer: Viewer, page: str = "") -> Sequence[SavedView]:
    """The viewer's own and what others share, of one page or of all, by name."""
    found = SavedView.objects.filter(Q(account_id=viewer.id) | Q(shared=True))
    return list((found.filter(page=page) if page else found).order_by("page", "name", "id"))


def save(viewer: Viewer, page: str, name: str, query: str, *, shared: bool) -> SavedView:
    """Name a query of a page. The same name again replaces the earlier one.

    Raises:
        InvalidArgument: no name, one that is too long, or too many views.
    """
    name, page = name.strip(), own_path(page).partition("?")[0]
    if not name or len(name) > MAX_NAME or len(query) > MAX_QUERY or len(page) > MAX_NAME:
        raise InvalidArgument(_("A view has a name of 1 to 64 characters."))
    mine = SavedView.objects.filter(account_id=viewer.id)
    if mine.count() >= MAX_VIEWS and not mine.filter(page=page, name=name).exists():
        raise InvalidArgument(_("An account keeps at most %(count)s views; delete one first.") % {"count": MAX_VIEWS})
    view, _made = SavedView.objects.update_or_create(
        account_id=viewer.id, page=page, name=name, defaults={"query": query, "shared": shared}
    )
    if page == INVENTORY:
        rooms().notifications.rules.follow_view(_as_filter(view), actor=viewer.account)
    return view


def delete(viewer: Viewer, view_id: int) -> SavedView:
    """Remove one of the viewer's own; what it was.

    Raises:
        InvalidArgument: there is none, or it is somebody else's.
        BadRequestState: notification rules filter by it.
    """
    view = SavedView.objects.filter(pk=view_id, account_id=viewer.id).first()
    if view is None:
        raise InvalidArgument(_("There is no such view."))
    rules = ", ".join(rule.fields.name for rule in rooms().notifications.rules.using_view(view_id))
    if rules:
        raise BadRequestState(_("Notification rules filter by this view: %(rules)s.") % {"rules": rules})
    view.delete()
    return view


# -- as a filter of notification rules -------------------------------------------------------------------------------


def filters_for(viewer: Viewer) -> Sequence[SavedView]:
    """Views of the inventory that the viewer may let a notification rule filter by."""
    return visible(viewer, INVENTORY)


def filters_of(account: str) -> Sequence[RuleView]:
    """The same for an account that is not signed in here, by its name: its own views and what others share."""
    found = SavedView.objects.filter(Q(account__username__iexact=account) | Q(shared=True), page=INVENTORY)
    return [_as_filter(view) for view in found.order_by("name", "id")]


def filter_called(viewer: Viewer, view_id: int, kept: RuleView | None = None) -> RuleView:
    """A view as a notification rule keeps it.

    Args:
        kept: what the rule has already; it stays, even if it is somebody else's.

    Raises:
        InvalidArgument: there is none, or it is of another page.
    """
    for view in filters_for(viewer):
        if view.pk == view_id:
            return _as_filter(view)
    if kept is not None and kept.id == view_id:
        return kept
    raise InvalidArgument(_("There is no such view of the Certificate List."))


def _as_filter(view: SavedView) -> RuleView:
    from certwright.console.pages.inventory import query_of_text

    return RuleView(view.pk, view.name, query_of_text(view.query).as_text)


def own_path(url: str) -> str:
    """A path of this host, never another's address."""
    return url if url.startswith("/") and url_has_allowed_host_and_scheme(url, allowed_hosts=None) else "/"
