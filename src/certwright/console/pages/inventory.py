"""Certificate List: every certificate known here, with filters, tags, import and export."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from django import forms
from django.http import HttpResponse, QueryDict
from django.http.response import HttpResponseBase
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as lazy

from certwright.adcs.errors import AdcsError
from certwright.console import access, answers, clock, exports, search
from certwright.console.access import PageRequest, Role, Viewer, page
from certwright.console.authority import download
from certwright.console.conditions import EXACT, TIME, Conditions, Field
from certwright.console.dashboard import Tile
from certwright.console.listing import EVERYTHING, Column, Filter, Listing
from certwright.console.menu import Badge
from certwright.console.pages.new_request import ORDERING
from certwright.console.rooms import rooms
from certwright.manager.exporting import COLUMNS as EXPORTED
from certwright.manager.exporting import MAX_DOWNLOAD
from certwright.manager.importing import FileResult, ImportFile
from certwright.manager.inventory_values import (
    WEEKS,
    Band,
    CertificateRow,
    CertificateStatus,
    ColumnFilter,
    InventoryQuery,
    Operator,
    Page,
    Sort,
    Source,
)
from certwright.manager.values import key

CHANGING: Final = frozenset({Role.OPERATOR, Role.ADMINISTRATOR})
"""Who changes everybody's certificates; requesters change their own."""
_HERE: Final = "/inventory/"
_PEM: Final = "application/x-pem-file"
FORMS: Final = ("csv", "xlsx", "pem", "zip")
"""What a list is exported as: a table, or the certificates themselves."""
MAX_PICKED: Final = 100
"""Ticked rows: those of the largest page."""
MAX_CURSOR: Final = 4000

COLUMNS: Final = (
    Column("status", lazy("Status"), css="cw-tight cw-mark-s", sortable=False),
    Column("common_name", lazy("Subject"), css="cw-lead"),
    Column("issuer", lazy("Issuer"), css="cw-tpl"),
    Column("template", lazy("Template"), css="cw-tpl"),
    Column("not_after", lazy("Not After"), css="cw-tight"),
    Column("key", lazy("Key"), css="cw-tight", sortable=False),
    Column("owner", lazy("Owner"), css="cw-tpl"),
    Column("tags", lazy("Tags"), css="cw-tpl", sortable=False),
    Column("renewal", lazy("Renewal"), css="cw-tight", sortable=False),
    Column("id", lazy("Identifier"), css="cw-tight cw-num", sortable=False, off=True),
    Column("created", lazy("Created At"), css="cw-tight", off=True),
    Column("serial", lazy("Serial Number"), css="cw-tight", sortable=False, off=True),
    Column("not_before", lazy("Not Before"), css="cw-tight", sortable=False, off=True),
    Column("purposes", lazy("Certificate Type"), css="cw-tight", sortable=False, off=True),
    Column("managed", lazy("Managed / Monitored"), css="cw-tight", sortable=False, off=True),
    Column("source", lazy("Source"), css="cw-tight", sortable=False, off=True),
    Column("sha1", lazy("SHA-1"), css="cw-tight", sortable=False, off=True),
    Column("sha256", lazy("SHA-256"), css="cw-tight", sortable=False, off=True),
)
FIELDS: Final = (
    Field("common_name", lazy("Common Name")),
    Field("names", lazy("Subject Alternative Name")),
    Field("subject", lazy("Subject")),
    Field("issuer", lazy("Issuer")),
    Field("template", lazy("Template")),
    Field("serial", lazy("Serial Number")),
    Field("sha1", lazy("SHA-1")),
    Field("sha256", lazy("SHA-256")),
    Field("not_before", lazy("Not Before"), TIME),
    Field("not_after", lazy("Not After"), TIME),
    Field("key", lazy("Key")),
    Field("purposes", lazy("Certificate Type")),
    Field("owner", lazy("Owner")),
    Field("tag", lazy("Tag"), EXACT),
    Field("domain", lazy("Domain")),
    Field("created", lazy("Created At"), TIME),
    Field("revoked", lazy("Revoked"), TIME),
    Field("revoked_reason", lazy("Revocation Reason")),
)
"""What "Add filter" offers."""
SOURCE_WORDS: Final = {
    Source.ORDER: lazy("Order"),
    Source.CHAIN: lazy("Chain"),
    Source.IMPORT: lazy("Import"),
}


@page(access.ORDERS)
def certificates(request: PageRequest) -> HttpResponse:
    """A page of the inventory; only their own for requesters."""
    listing = read_list(request)
    found: Page[CertificateRow] = rooms().manager.inventory.search(
        query_of(request.viewer, listing), with_count=not listing.after
    )
    renewed = rooms().manager.inventory.with_renewal([row.id for row in found.rows])
    rows = [_row(request.viewer, row, renewed) for row in found.rows]
    listing.fill(rows, found.count if not listing.after and not found.next else None, next_key=found.next)
    query = listing.url().partition("?")[2]
    listing.exports = [
        ("CSV", f"{_HERE}export/csv/?{query}"),
        ("XLSX", f"{_HERE}export/xlsx/?{query}"),
        ("PEM", f"{_HERE}export/pem/?{query}"),
        (_("ZIP of PEM"), f"{_HERE}export/zip/?{query}"),
    ]
    context = {
        "title": _("Certificate List"),
        "crumbs": [(_("Inventory"), "")],
        "listing": listing,
        "may_change": request.viewer.is_any(CHANGING | {Role.REQUESTER}),
        "may_revoke": request.viewer.is_any(CHANGING),
        "is_anything": bool(rows) or bool(rooms().manager.inventory.ids(_seen_by(request.viewer), 1)),
        "may_order": request.viewer.is_any(ORDERING),
        "show_all": f"{_HERE}?old={EVERYTHING}",
    }
    return answers.answer(request, "console/inventory/list.html", context, rows="console/inventory/rows.html")


def _seen_by(viewer: Viewer) -> InventoryQuery:
    """Everything that somebody may see."""
    return InventoryQuery(visible_to="" if viewer.sees_everything else viewer.account)


def read_list(request: PageRequest) -> Listing:
    """The query of the list."""
    inventory = rooms().manager.inventory
    everything = request.viewer.sees_everything

    def choices(column: str) -> list[tuple[str, str]]:
        """What a filter offers; requesters are not told what others have."""
        return [(each.value, each.value) for each in inventory.choices(column)] if everything else []

    filters = [
        Filter(
            "status",
            _("Status"),
            _("All states"),
            [
                (CertificateStatus.ACTIVE.value, _("Active")),
                (CertificateStatus.EXPIRING.value, _("Expiring")),
                (CertificateStatus.EXPIRED.value, _("Expired")),
                (CertificateStatus.REVOKED.value, _("Revoked")),
                (CertificateStatus.SUPERSEDED.value, _("Superseded")),
            ],
        ),
        Filter(
            "band",
            _("Expires"),
            _("Any time"),
            [("7", _("In 7 days")), ("30", _("In 8–30 days")), ("90", _("In 31–90 days"))],
        ),
        Filter("issuer", _("Issuer"), _("All issuers"), choices("issuer"), wide_only=True),
        Filter("template", _("Template"), _("All templates"), choices("template"), wide_only=True),
        Filter("owner", _("Owner"), _("All owners"), choices("owner"), wide_only=True),
        Filter("tag", _("Tag"), _("All tags"), choices("tag"), wide_only=True),
        Filter(
            "managed",
            _("Managed"),
            _("Managed or not"),
            [("yes", _("Managed")), ("no", _("Monitored"))],
            wide_only=True,
        ),
        Filter("key", _("Private key"), _("Key or not"), [("yes", _("Held")), ("no", _("Not held"))], wide_only=True),
        Filter(
            "source",
            _("Source"),
            _("All sources"),
            [(each.value, words) for each, words in SOURCE_WORDS.items()],
            wide_only=True,
        ),
        Filter(
            "old",
            _("Hide"),
            _("Old ones too"),
            [("hide", _("superseded and expired over 30 days"))],
            default="hide",
            wide_only=True,
        ),
    ]
    if request.GET.get("week"):
        filters.append(Filter("week", _("Week"), _("Any week"), _weeks()))
    offered = [each for each in filters if each.choices]
    words = lazy("Name, serial number, thumbprint")
    listing = Listing.read(
        request, "inventory", COLUMNS, sort="not_after", filters=offered, search=words, fields=FIELDS, path=_HERE
    )
    listing.after = request.GET.get("after", "")[:MAX_CURSOR]  # names in it may be long
    return listing


def _weeks() -> list[tuple[str, str]]:
    """The bars of the dashboard's timeline; week 0 begins now."""
    now = rooms().clock()
    starts = [now + timedelta(weeks=number) for number in range(WEEKS + 1)]
    return [
        (str(number), f"{clock.day(starts[number])} – {clock.day(starts[number + 1])}") for number in range(WEEKS)
    ]


def _column_filters(listing: Listing) -> tuple[ColumnFilter, ...]:
    """The filters on any column, as the inventory takes them."""
    found = []
    for each in listing.conditions.holding:
        if each.field.kind == TIME:
            bounds = each.bounds
            if bounds.least is not None:  # from then on: later than the second before
                before = bounds.least - timedelta(seconds=1)
                found.append(ColumnFilter(each.field.key, Operator.AFTER, before.isoformat()))
            if bounds.beyond is not None:
                found.append(ColumnFilter(each.field.key, Operator.BEFORE, bounds.beyond.isoformat()))
        else:
            found.append(ColumnFilter(each.field.key, Operator(each.operator), each.value))
    return tuple(found)


def query_of(viewer: Viewer, listing: Listing) -> InventoryQuery:
    """What the list asks of the inventory; for requesters only what is theirs."""
    return replace(
        _filtered(listing),
        visible_to=_seen_by(viewer).visible_to,
        sort=Sort(listing.sort, listing.descending),
        cursor=listing.after,
        limit=listing.size,
    )


def _filtered(listing: Listing) -> InventoryQuery:
    status, band, source = listing.value("status"), listing.value("band"), listing.value("source")
    week = listing.value("week")
    flags = {"yes": True, "no": False}
    asks_for_old = status in (CertificateStatus.EXPIRED, CertificateStatus.SUPERSEDED, CertificateStatus.REVOKED)
    return InventoryQuery(
        text=listing.q,
        status=CertificateStatus(status) if status else None,
        band=int(band) if band else None,
        week=int(week) if week else None,
        issuer=listing.value("issuer"),
        template=listing.value("template"),
        owner=listing.value("owner"),
        tag=listing.value("tag"),
        source=Source(source) if source else None,
        managed=flags.get(listing.value("managed")),
        key_held=flags.get(listing.value("key")),
        hide_old=listing.value("old") == "hide" and not asks_for_old,
        filters=_column_filters(listing),
    )


def query_of_text(text: str) -> InventoryQuery:
    """What a saved query of the list filters by, whoever asks. What is not understood is as if it were not there."""
    given = QueryDict(text)
    known: dict[str, Collection[str]] = {
        "status": [each.value for each in CertificateStatus],
        "source": [each.value for each in Source],
        "band": ("7", "30", "90"),
        "week": [str(number) for number in range(WEEKS)],
        "managed": ("yes", "no"),
        "key": ("yes", "no"),
    }
    params = {name: str(value) for name, value in given.items() if name not in known or value in known[name]}
    return _filtered(
        Listing(
            name="inventory",
            path=_HERE,
            all_columns=COLUMNS,
            conditions=Conditions.read(given, FIELDS),
            params={"old": "hide", **params},
            q=" ".join(given.get("q", "").replace("\0", "").split()),
        )
    )


def state_word(row: CertificateRow) -> str:
    """The state, where it is not how many days are left."""
    status = row.status(rooms().clock())
    if status is CertificateStatus.REVOKED and row.revoked_reason == "certificateHold":
        return "on hold"
    return status.value if status in (CertificateStatus.REVOKED, CertificateStatus.SUPERSEDED) else ""


def _row(viewer: Viewer, row: CertificateRow, renewed: frozenset[int]) -> dict[str, Any]:
    state, changes = state_word(row), may_change(viewer, row)
    return {
        "cert": row,
        "name": name_of(row),
        "state": state,
        "issuer": _short(row.issuer),
        "source": SOURCE_WORDS[row.source],
        "renewal": _renewal_of(row, renewed),
        "may_change": changes,
        "may_renew": changes and may_be_renewed(row),
        "may_revoke": viewer.is_any(CHANGING) and row.service_id is not None and state != "revoked",
        "may_export": changes and viewer.may_export_keys and row.key_held,
    }


def may_be_renewed(row: CertificateRow) -> bool:
    """Neither a CA's, nor replaced, nor revoked for good, nor on its way."""
    ordered = row.renewal in ("ordered", "renewed")
    return not row.is_ca and row.superseded_by is None and row.revoked is None and not ordered


def _renewal_of(row: CertificateRow, renewed: frozenset[int]) -> dict[str, Any] | None:
    """How its renewal stands, as a state with a word; None where none is to come."""
    if row.renewal.startswith("failed"):
        return {"state": "failed", "word": _("Failed"), "title": row.renewal.removeprefix("failed: ")}
    if row.renewal == "ordered":
        return {"state": "pending", "word": _("Ordered"), "title": ""}
    if row.renewal == "renewed":
        return {"state": "superseded", "word": _("Renewed"), "title": ""}
    return {"state": "ok", "word": _("On"), "title": ""} if row.id in renewed else None


def name_of(row: CertificateRow) -> str:
    return row.common_name or row.subject or row.serial


def _short(name: str) -> str:
    """The common name of a distinguished name."""
    parts = [part.partition("=")[2] for part in name.split(",") if part.strip().upper().startswith("CN=")]
    return parts[0] if parts else name


def is_own(viewer: Viewer, row: CertificateRow) -> bool:
    return key(row.owner) == key(viewer.account)


def may_change(viewer: Viewer, row: CertificateRow) -> bool:
    return viewer.is_any(CHANGING) or (viewer.may(Role.REQUESTER) and is_own(viewer, row))


# -- export ----------------------------------------------------------------------------------------------------------


@page(access.ORDERS)
def export(request: PageRequest, form: str) -> HttpResponseBase:
    """What the filters leave, or what was ticked (`pick`): CSV streamed, XLSX, PEM in one file or each in its own."""
    query = replace(query_of(request.viewer, read_list(request)), cursor="")
    if chosen := picked(request):
        query = replace(_seen_by(request.viewer), ids=tuple(chosen), sort=query.sort)
    return exported(query, form)


def exported(query: InventoryQuery, form: str) -> HttpResponseBase:
    """What a question finds as a file: csv, xlsx, pem, or zip with each certificate in a file of its own."""
    exporting, name = rooms().manager.exporting, f"certificates.{form}"
    if form == "csv":
        return exports.streamed(name, "text/csv", exporting.csv(query, tuple(EXPORTED)))
    if form == "xlsx":
        return exports.whole(name, exports.XLSX, lambda file: exporting.xlsx(query, file, tuple(EXPORTED)))
    found = rooms().manager.inventory.ids(query, MAX_DOWNLOAD)
    if form == "zip":
        return exports.whole(name, exports.ZIP, lambda file: exporting.archive(found, file))
    return download(name, exporting.pem(found), _PEM)


def picked(request: PageRequest) -> list[int]:
    """The numbers of the ticked rows, each once."""
    given = (request.POST if request.method == "POST" else request.GET).getlist("pick")
    numbers = (int(each) for each in given if each.isascii() and each.isdigit() and len(each) < 19)
    return list(dict.fromkeys(numbers))


# -- import ----------------------------------------------------------------------------------------------------------


class _Files(forms.ClearableFileInput):
    allow_multiple_selected = True


class _FilesField(forms.FileField):
    """Several files."""

    def clean(self, data: Any, initial: Any = None) -> list[Any]:
        one = super().clean
        several = data if isinstance(data, (list, tuple)) else [data]
        return [file for each in several if (file := one(each, initial))]


class ImportForm(forms.Form):
    uploads = _FilesField(
        label=lazy("Files"),
        required=False,
        widget=_Files(attrs={"multiple": True, "class": "cw-drop"}),
        help_text=lazy("Choose them or drop them here: PEM, DER, PKCS#7, PFX, or a ZIP of them."),
    )
    folder = _FilesField(
        label=lazy("Or a folder"),
        required=False,
        widget=_Files(attrs={"multiple": True, "webkitdirectory": True}),
        help_text=lazy("Everything in it is read; what is no certificate is said and left out."),
    )
    password = forms.CharField(
        label=lazy("Password"),
        required=False,
        strip=False,
        max_length=256,
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
        help_text=lazy("Of PFX files and encrypted keys among them."),
    )
    owner = forms.CharField(label=lazy("Owner"), required=False, max_length=255)
    tags = forms.CharField(
        label=lazy("Tags"), required=False, max_length=1000, help_text=lazy("Separated by commas.")
    )
    managed = forms.BooleanField(label=lazy("Managed here, not only watched"), required=False)

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or {}
        if not data.get("uploads") and not data.get("folder"):
            self.add_error("uploads", _("Choose files or a folder."))
        return data


@page({Role.OPERATOR, Role.ADMINISTRATOR, Role.REQUESTER}, methods=("GET", "POST"))
def import_files(request: PageRequest) -> HttpResponse:
    """Files into the inventory. First what is in each of them is shown (`look`); then they are stored."""
    viewer = request.viewer
    form = ImportForm(request.POST, request.FILES) if request.method == "POST" else ImportForm()
    if not viewer.is_any(CHANGING):
        del form.fields["owner"]
    shown: list[dict[str, Any]] = []
    stored = False
    if form.is_bound and form.is_valid():
        data = form.cleaned_data
        files = [ImportFile(each.name, each.read()) for each in (*data["uploads"], *data["folder"])]
        owner = data.get("owner", viewer.account)
        tags = [tag for part in data["tags"].split(",") if (tag := part.strip())]
        importing = rooms().manager.importing
        try:
            if "look" in request.POST:
                results = importing.preview(files, data["password"])
            else:
                results = importing.store(
                    files, data["password"], owner=owner, tags=tags, managed=data["managed"], actor=viewer.account
                ).files
                stored = True
        except AdcsError as error:
            form.add_error(None, error.message)
        else:
            shown = [_file(each) for each in results]
    context = {
        "title": _("Import"),
        "crumbs": [(_("Inventory"), ""), (_("Certificate List"), _HERE)],
        "form": form,
        "files": shown,
        "stored": stored,
        "new": sum(each["new"] for each in shown),
        "known": sum(each["known"] for each in shown),
        "problems": sum(bool(each["problem"]) for each in shown),
    }
    status = 422 if form.errors else 200
    return answers.answer(
        request, "console/inventory/import.html", context, rows="console/inventory/imported.html", status=status
    )


def _file(result: FileResult) -> dict[str, Any]:
    """What was read of one file, and how many of its certificates are new here."""
    found = []
    for each in result.certificates:
        words = [_("valid until %(day)s") % {"day": clock.day(each.view.not_after)}]
        words += [_("with its private key")] if each.with_key else []
        words += [_("known already")] if each.known is not None else []
        found.append({"name": each.view.common_name or each.view.subject_name, "detail": ", ".join(words)})
    new = sum(each.known is None for each in result.certificates)
    return {
        "name": result.name,
        "problem": result.problem,
        "certificates": found,
        "new": new,
        "known": len(result.certificates) - new,
    }


# -- elsewhere -------------------------------------------------------------------------------------------------------


def _renewed_words(band: Band) -> str:
    """What of a band needs somebody."""
    if not band.total:
        return _("none")
    if not band.without_renewal:
        return _("all with renewal")
    return _("%(count)s without renewal") % {"count": band.without_renewal}


_BAND_LOOKS: Final = {7: ("red", 10), 30: ("orange", 20), 90: ("yellow", 30)}


def _tiles(viewer: Viewer) -> list[Tile]:
    """The expiry bands, each with and without a renewal ahead."""
    labels = {7: _("Expire in 7 days"), 30: _("In 8–30 days"), 90: _("In 31–90 days")}
    return [
        Tile(
            labels[band.last],
            band.total,
            _renewed_words(band),
            f"{_HERE}?band={band.last}",
            icon="calendar-x",
            colour=_BAND_LOOKS[band.last][0] if band.total else "gray",
            order=_BAND_LOOKS[band.last][1],
        )
        for band in rooms().manager.inventory.bands("" if viewer.sees_everything else viewer.account)
    ]


def _find(viewer: Viewer, query: search.Query) -> list[search.Hit]:
    """Certificates by name, serial number or thumbprint."""
    if not viewer.is_any(access.ORDERS) or not query.text:
        return []
    wanted = InventoryQuery(
        text=query.hexadecimal or query.text,
        visible_to="" if viewer.sees_everything else viewer.account,
        limit=search.MAX_HITS,
    )
    return [
        search.Hit(
            search.CERTIFICATES,
            name_of(row),
            row.issuer,
            f"{_HERE}{row.id}/",
            icon="certificate",
            exact=query.hexadecimal in (row.serial, row.sha1, row.sha256),
        )
        for row in rooms().manager.inventory.search(wanted, with_count=False).rows
    ]


def _badge(viewer: Viewer) -> Badge:
    """What ends within 7 days and nobody renews."""
    count = rooms().manager.inventory.urgent("" if viewer.sees_everything else viewer.account)
    return Badge(count, "red", _("expire within 7 days without renewal"))


badges = {_HERE: _badge}
dashboard_tiles = [_tiles]
finders = [_find]

urls = [
    path("inventory/", certificates),
    path("inventory/import/", import_files),
    *(path(f"inventory/export/{form}/", export, {"form": form}) for form in FORMS),
]
