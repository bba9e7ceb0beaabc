"""The console: pages for people. Django, server-rendered, htmx for parts; CA acts go through the one door.

**A page** is a function in a module of `pages/` (every module there is found by itself), with a template:

    # pages/orders.py
    @page(access.ORDERS)                                   # who may see it; methods=("POST",) for acts
    def orders(request: PageRequest) -> HttpResponse:
        listing = Listing.read(request, "orders", COLUMNS, sort="-created", search=_("Name, request ID"))
        ...
        context = {"title": _("Orders"), "listing": listing}
        return answer(request, "console/orders.html", context, rows="console/orders/rows.html")

    urls = [path("adcs/orders/", orders)]                  # nouns, lower case, slash at the end
    badges = {"/adcs/orders/": count_of_pending}           # at menu entries: viewer (and CA slug) -> Badge | None
    finders = [find]                                       # global search: (viewer, Query) -> Hits
    dashboard_tiles, dashboard_cards = [...], [...]        # viewer -> Tiles, Cards
    recent_events = [happened]                             # viewer -> Event (pages.events): what the bell tells
    first_run_steps = {5: step}                            # rows of the first-run checklist: viewer -> Step
    health_lines = [lines]                                 # viewer -> (group, CaHealth) pairs

The menu (`menu`) knows every label and path already; an entry shows as soon as its page exists.

**What a view has**: `request.viewer` (`access.Viewer`: who, roles, `requester` for the CA, `may`, `on(ca, role)`,
`ca(slug)`), `rooms()` (`rooms.Rooms`: registry, manager, notifications, directory, audit ...), `request.htmx`.

**What a view answers** (`answers`): `answer` a page or its rows; `parts(part(...), ...)` several places at once;
`dialog` a form in a dialog; `done` after an act; `toast`; an `AdcsError` that it lets through becomes a finding with
its code, beside the act. Streams of rows: `exports`.

**Templates** extend `console/base.html` (blocks `acts`, `content`, `subtitle`, `scripts`); `title` and `crumbs` come
from the context. The tags of `templatetags.cw` are loaded everywhere. There is no inline script and no style
attribute: the content security policy forbids both.

**The CA decides.** `rooms().registry.administer(ca.config, viewer.requester)` for every act on a CA, no other way.
Roles in `access` are for what is drawn. Dangerous acts ask again who it is: `@reauthenticated` below `@page`.

Console accounts, sessions, API tokens: `accounts`. Signing in: `sign_in`. What surrounds every page: `middleware`.
"""
