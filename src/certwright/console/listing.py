"""Lists: what of a query can be bookmarked (filters, sort, columns, page), and what a template needs to draw it.

A view says which columns and filters there are, reads the query, fetches rows itself, and fills them in:

    listing = Listing.read(request, "audit", COLUMNS, sort="-when", filters=filters, search=_("Account, object"))
    rows, total = ...                     # with listing.q, listing.value("event"), listing.sort, listing.descending
    listing.fill(rows, total)             # by offset: listing.offset, listing.size
    listing.fill(rows, next_key=token)    # by key, for long tables: listing.after is the token to go on from
    # with `fields=` (console.conditions.Field) the bar has "Add filter"; listing.conditions.holding is what was asked
    return answer(request, "console/audit.html", {"listing": listing}, rows="console/audit/rows.html")

In templates: `console/parts/filters.html`, and `{% table listing %}` with `{% cell %}` for each column.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode

from certwright.console.access import PageRequest
from certwright.console.conditions import OPERATOR_WORDS, OPERATORS, Conditions, Field
from certwright.console.models import SavedView

SIZES: Final = (25, 50, 100)
MAX_QUERY: Final = 200
EVERYTHING: Final = "all"
"""What a filter with a default says when it filters nothing."""
MAX_OFFSET: Final = 10_000
"""Rows that are counted and paged by offset; beyond, a list pages by key."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column. `label` may be lazy; `css` are classes of its cells (`cw-tight`, `cw-lead`, `cw-end` ...)."""

    key: str
    label: Any
    css: str = ""
    sortable: bool = True
    off: bool = False  # not shown until it is chosen


@dataclass(frozen=True, slots=True)
class Filter:
    """A choice above the list. The first entry, with an empty value, filters nothing."""

    key: str
    label: Any  # what it filters by
    everything: Any  # "All templates"
    choices: Sequence[tuple[str, Any]]
    default: str = ""  # a default that hides rows is shown as a chip
    wide_only: bool = False


@dataclass(frozen=True, slots=True)
class Chip:
    """An active filter, with the query that ends it."""

    label: str
    value: str
    without: str


@dataclass(slots=True)
class Listing:
    """One list of one request."""

    name: str
    path: str
    all_columns: Sequence[Column]
    filters: Sequence[Filter] = ()
    search: Any = ""  # placeholder of the search field; none without
    fields: Sequence[Field] = ()  # what "Add filter" offers
    conditions: Conditions = field(default_factory=Conditions)
    params: dict[str, str] = field(default_factory=dict)
    q: str = ""
    sort: str = ""
    descending: bool = False
    page: int = 1
    size: int = SIZES[0]
    after: str = ""
    chosen: Sequence[str] = ()
    views: Sequence[SavedView] = ()
    exports: Sequence[tuple[str, str]] = ()  # (word, URL) of the export menu
    rows: Sequence[Any] = ()
    total: int | None = None
    next_key: str = ""
    has_more: bool = False  # there is a next page, though nobody counted
    only_rows: bool = False  # one row again, for polling

    @classmethod
    def read(
        cls,
        request: PageRequest,
        name: str,
        columns: Sequence[Column],
        *,
        sort: str,
        filters: Sequence[Filter] = (),
        search: Any = "",
        fields: Sequence[Field] = (),
        path: str = "",
    ) -> Listing:
        """Read the query. What is not understood is as if it were not there.

        Args:
            name: of the list, under which an account's columns are remembered.
            sort: the usual one, `column` or `-column`.
            fields: columns that may be filtered by value, shown or not.
        """
        given = request.GET
        params = {
            each.key: value
            for each in filters
            if (value := given.get(each.key, each.default)[:MAX_QUERY]) in _values(each)
        }
        preferences = request.viewer.preferences
        asked = given.get("sort", "")
        known = {column.key for column in columns if column.sortable}
        chosen = asked if asked.lstrip("-") in known else sort
        size = preferences.get("page_size", SIZES[0])
        return cls(
            name=name,
            path=path or request.path,
            all_columns=columns,
            filters=filters,
            search=search,
            fields=fields,
            conditions=Conditions.read(given, fields),
            params=params,
            q=" ".join(given.get("q", "")[:MAX_QUERY].replace("\0", "").split()),
            sort=chosen.lstrip("-"),
            descending=chosen.startswith("-"),
            page=_page(given.get("page", "")),
            size=size if size in SIZES else SIZES[0],
            after=given.get("after", "")[:MAX_QUERY],
            chosen=tuple(preferences.get("columns", {}).get(name, ())),
            views=_views(request, path or request.path),
        )

    def value(self, key: str) -> str:
        """The value of a filter; empty when it filters nothing."""
        value = self.params.get(key, "")
        return "" if value == EVERYTHING else value

    @property
    def offset(self) -> int:
        return (self.page - 1) * self.size

    def fill(
        self, rows: Sequence[Any], total: int | None = None, *, next_key: str = "", has_more: bool = False
    ) -> None:
        """Say what was found: this page's rows and their total, or the key to go on from, or that more follow."""
        self.rows, self.total, self.next_key, self.has_more = rows, total, next_key, has_more

    # -- for templates

    @property
    def columns(self) -> list[Column]:
        """The shown ones, in the account's order."""
        by_key = {column.key: column for column in self.all_columns}
        chosen = [by_key[key] for key in self.chosen if key in by_key]
        return chosen or [column for column in self.all_columns if not column.off]

    @property
    def is_filtered(self) -> bool:
        return bool(self.q or self.conditions.holding or any(self.value(each.key) for each in self.filters))

    @property
    def chips(self) -> list[Chip]:
        """Active filters."""
        found = []
        for each in self.filters:
            value = self.value(each.key)
            if value:
                word = dict(each.choices).get(value, value)
                found.append(
                    Chip(str(each.label), str(word), self.url(**{each.key: EVERYTHING if each.default else ""}))
                )
        for condition in self.conditions.holding:
            without = self._url({}, self.conditions.without(condition))
            found.append(Chip(str(condition.field.label), condition.words, without))
        return found

    @property
    def field_choices(self) -> list[tuple[Field, str]]:
        """What "Add filter" offers, each with the operators that fit it."""
        return [(each, " ".join(OPERATORS[each.kind])) for each in self.fields]

    @property
    def operator_choices(self) -> list[tuple[str, Any]]:
        return list(OPERATOR_WORDS.items())

    @property
    def hidden(self) -> list[tuple[str, str]]:
        """What a form has to carry along so that it changes nothing but its own part."""
        kept = {"q": self.q, **self.params, "sort": ("-" if self.descending else "") + self.sort}
        return [*((key, value) for key, value in kept.items() if value), *self.hidden_conditions]

    @property
    def hidden_conditions(self) -> list[tuple[str, str]]:
        return [("f", condition.as_query) for condition in self.conditions.holding]

    @property
    def filter_choices(self) -> list[tuple[Filter, str]]:
        """Filters with their values, for the bar."""
        return [(each, self.value(each.key)) for each in self.filters]

    @property
    def column_choices(self) -> list[tuple[Column, bool]]:
        """Every column, the shown ones first, for the dialog."""
        shown = self.columns
        return [(column, True) for column in shown] + [
            (column, False) for column in self.all_columns if column not in shown
        ]

    def url(self, **changes: str | int) -> str:
        """The same list with something changed; a changed filter or sort starts at the first page."""
        return self._url(changes, [condition.as_query for condition in self.conditions.holding])

    def _url(self, changes: Mapping[str, str | int], conditions: Sequence[str]) -> str:
        values: dict[str, str] = {"q": self.q, **self.params}
        values["sort"] = ("-" if self.descending else "") + self.sort
        values |= {key: str(value) for key, value in changes.items()}
        pairs = [(key, value) for key, value in values.items() if value] + [("f", text) for text in conditions]
        query = urlencode(pairs)
        return f"{self.path}?{query}" if query else self.path

    def sort_url(self, column: Column) -> str:
        """Sort by a column; once more turns it round."""
        turned = column.key == self.sort and not self.descending
        return self.url(sort=f"-{column.key}" if turned else column.key)

    @property
    def clear_url(self) -> str:
        return self.path

    @property
    def previous_url(self) -> str:
        if self.after:
            return self.url()  # pages by key are walked forwards; back leads to the first
        return self.url(page=self.page - 1) if self.page > 1 else ""

    @property
    def next_url(self) -> str:
        if self.next_key:
            return self.url(after=self.next_key)
        if self.has_more or (self.total is not None and self.offset + len(self.rows) < min(self.total, MAX_OFFSET)):
            return self.url(page=self.page + 1)
        return ""

    @property
    def first(self) -> int:
        return self.offset + 1

    @property
    def last(self) -> int:
        return self.offset + len(self.rows)

    @property
    def too_many(self) -> bool:
        return self.total is not None and self.total > MAX_OFFSET


def _values(each: Filter) -> set[str]:
    everything = {EVERYTHING} if each.default else set()
    return {value for value, _word in each.choices} | everything | {each.default} - {""}


def _page(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 7 else 1
    return max(1, min(number, MAX_OFFSET))


def _views(request: PageRequest, path: str) -> Sequence[SavedView]:
    if request.htmx:
        return ()
    mine = SavedView.objects.filter(page=path, account_id=request.viewer.id)
    shared = SavedView.objects.filter(page=path, shared=True).exclude(account_id=request.viewer.id)
    return sorted([*mine, *shared], key=lambda view: view.name.casefold())[:50]


def in_memory(listing: Listing, rows: Iterable[Mapping[str, Any]], *, searched: Sequence[str]) -> None:
    """Search, filter, sort and page rows that are few enough to be in memory (accounts, services, rules)."""
    needle = listing.q.casefold()
    kept = listing.conditions.keep(rows)
    found = [row for row in kept if not needle or any(needle in str(row.get(key, "")).casefold() for key in searched)]
    found.sort(key=lambda row: _sort_key(row.get(listing.sort)), reverse=listing.descending)
    listing.fill(found[listing.offset : listing.offset + listing.size], len(found))


def _sort_key(value: Any) -> tuple[int, Any]:
    if value is None:
        return (0, 0)
    return (1, value.casefold()) if isinstance(value, str) else (1, value)
