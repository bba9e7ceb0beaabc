"""Certificate List: every certificate known here, with filters, tags, import and export."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final
from urllib.parse import urlencode

from django import forms
from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as lazy

from certwright.adcs.errors import AdcsError
from certwright.console import access, answers, search
from certwright.console.access import PageRequest, Role, Viewer, page
from certwright.console.authority import download
from certwright.console.dashboard import Tile
from certwright.console.listing import EVERYTHING, Column, Filter, Listing
from certwright.console.pages.new_request import ORDERING
from certwright.console.rooms import rooms
from certwright.manager.exporting import COLUMNS as EXPORTED
from certwright.manager.importing import FileResult, ImportFile
from certwright.manager.inventory_values import (
    BulkResult,
    CertificateRow,
    CertificateStatus,
    InventoryQuery,
    Page,
    Sort,
    Source,
)
from certwright.manager.values import key

CHANGING: Final = frozenset({Role.OPERATOR, Role.ADMINISTRATOR})
"""Who changes everybody's certificates; requesters change their own."""
_HERE: Final = "/inventory/"
_XLSX: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
_MAX_PEM: Final = 10_000
MAX_CURSOR: Final = 4000

COLUMNS: Final = (
    Column("status", lazy("Status"), css="cw-tight cw-mark-s", sortable=False),
    Column("common_name", lazy("Subject"), css="cw-lead"),
    Column("issuer", lazy("Issuer"), css="cw-tight"),
    Column("template", lazy("Template"), css="cw-tpl"),
    Column("not_after", lazy("Not After"), css="cw-tight"),
    Column("key", lazy("Key"), css="cw-tight", sortable=False),
    Column("owner", lazy("Owner"), css="cw-tight"),
    Column("tags", lazy("Tags"), css="cw-why", sortable=False),
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
SOURCE_WORDS: Final = {
    Source.ORDER: lazy("Order"),
    Source.CHAIN: lazy("Chain"),
    Source.IMPORT: lazy("Import"),
}


@page(access.ORDERS)
def certificates(request: PageRequest) -> HttpResponse:
    """A page of the inventory; only their own for requesters."""
    listing = _listing(request)
    found: Page[CertificateRow] = rooms().manager.inventory.search(
        _query(request.viewer, listing), with_count=not listing.after
    )
    rows = [_row(row) for row in found.rows]
    listing.fill(rows, found.count if not listing.after and not found.next else None, next_key=found.next)
    query = _query_string(listing)
    listing.exports = [
        ("CSV", f"{_HERE}export/csv/?{query}"),
        ("XLSX", f"{_HERE}export/xlsx/?{query}"),
        ("PEM", f"{_HERE}export/pem/?{query}"),
    ]
    context = {
        "title": _("Certificate List"),
        "crumbs": [(_("Inventory"), "")],
        "listing": listing,
        "may_change": request.viewer.is_any(CHANGING | {Role.REQUESTER}),
        "may_order": request.viewer.is_any(ORDERING),
        "show_all": f"{_HERE}?old={EVERYTHING}",
    }
    return answers.answer(request, "console/inventory/list.html", context, rows="console/inventory/rows.html")


def _listing(request: PageRequest) -> Listing:
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
            _("Managed and monitored"),
            [("yes", _("Managed")), ("no", _("Monitored"))],
            wide_only=True,
        ),
        Filter(
            "key", _("Private key"), _("Key here or not"), [("yes", _("Held")), ("no", _("Not held"))], wide_only=True
        ),
        Filter(
            "source",
            _("Source"),
            _("All sources"),
            [(each.value, words) for each, words in SOURCE_WORDS.items()],
            wide_only=True,
        ),
        Filter("old", _("Old ones"), _("Old ones too"), [("hide", _("hidden"))], default="hide", wide_only=True),
    ]
    offered = [each for each in filters if each.choices]
    words = lazy("Name, serial number, thumbprint")
    listing = Listing.read(request, "inventory", COLUMNS, sort="not_after", filters=offered, search=words, path=_HERE)
    listing.after = request.GET.get("after", "")[:MAX_CURSOR]  # names in it may be long
    return listing


def _query(viewer: Viewer, listing: Listing) -> InventoryQuery:
    status, band, source = listing.value("status"), listing.value("band"), listing.value("source")
    flags = {"yes": True, "no": False}
    asks_for_old = status in (CertificateStatus.EXPIRED, CertificateStatus.SUPERSEDED, CertificateStatus.REVOKED)
    return InventoryQuery(
        text=listing.q,
        status=CertificateStatus(status) if status else None,
        band=int(band) if band else None,
        issuer=listing.value("issuer"),
        template=listing.value("template"),
        owner=listing.value("owner"),
        tag=listing.value("tag"),
        visible_to="" if viewer.sees_everything else viewer.account,
        source=Source(source) if source else None,
        managed=flags.get(listing.value("managed")),
        key_held=flags.get(listing.value("key")),
        hide_old=listing.value("old") == "hide" and not asks_for_old,
        sort=Sort(listing.sort, listing.descending),
        cursor=listing.after,
        limit=listing.size,
    )


def _query_string(listing: Listing) -> str:
    values = {"q": listing.q, **listing.params, "sort": ("-" if listing.descending else "") + listing.sort}
    return urlencode({name: value for name, value in values.items() if value})


def state_word(row: CertificateRow) -> str:
    """The state, where it is not how many days are left."""
    status = row.status(rooms().clock())
    if status is CertificateStatus.REVOKED and row.revoked_reason == "certificateHold":
        return "on hold"
    return status.value if status in (CertificateStatus.REVOKED, CertificateStatus.SUPERSEDED) else ""


def _row(row: CertificateRow) -> dict[str, Any]:
    return {
        "cert": row,
        "name": name_of(row),
        "state": state_word(row),
        "issuer": _short(row.issuer),
        "source": SOURCE_WORDS[row.source],
    }


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
    """What the filters leave: CSV streamed, XLSX, or the certificates in PEM."""
    import tempfile

    manager = rooms().manager
    query = replace(_query(request.viewer, _listing(request)), cursor="")
    if form == "pem":
        data = manager.exporting.pem(manager.inventory.ids(query, _MAX_PEM))
        return download("certificates.pem", data, "application/x-pem-file")
    response: StreamingHttpResponse
    if form == "csv":
        response = StreamingHttpResponse(manager.exporting.csv(query, tuple(EXPORTED)), content_type="text/csv")
    else:
        file = tempfile.TemporaryFile()  # noqa: SIM115 - the response reads and closes it
        manager.exporting.xlsx(query, file, tuple(EXPORTED))
        file.seek(0)
        response = StreamingHttpResponse(file, content_type=_XLSX)
    response["Content-Disposition"] = f'attachment; filename="certificates.{form}"'
    return response


# -- import ----------------------------------------------------------------------------------------------------------


class _Files(forms.ClearableFileInput):
    allow_multiple_selected = True


class _FilesField(forms.FileField):
    """Several files."""

    def clean(self, data: Any, initial: Any = None) -> list[Any]:
        one = super().clean
        several = data if isinstance(data, (list, tuple)) else [data]
        return [one(each, initial) for each in several or [None]]


class ImportForm(forms.Form):
    uploads = _FilesField(
        label=lazy("Files"),
        widget=_Files(attrs={"multiple": True}),
        help_text=lazy("PEM, DER, PKCS#7, PFX, or a ZIP of them."),
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


@page({Role.OPERATOR, Role.ADMINISTRATOR, Role.REQUESTER}, methods=("GET", "POST"))
def import_files(request: PageRequest) -> HttpResponse:
    """Files into the inventory; with `look`, only what is in them."""
    viewer = request.viewer
    form = ImportForm(request.POST, request.FILES) if request.method == "POST" else ImportForm()
    shown: list[dict[str, Any]] = []
    stored = False
    if form.is_bound and form.is_valid():
        data = form.cleaned_data
        files = [ImportFile(each.name, each.read()) for each in data["uploads"]]
        owner = data["owner"] if viewer.is_any(CHANGING) else viewer.account
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
    }
    return answers.answer(request, "console/inventory/imported.html", context, status=422 if form.errors else 200)


def _file(result: FileResult) -> dict[str, Any]:
    found = []
    for each in result.certificates:
        words = [result.name, f"{each.view.not_after:%Y-%m-%d}"]
        words += [_("with its private key")] if each.with_key else []
        words += [_("known already")] if each.known is not None else []
        found.append({"name": each.view.common_name or each.view.subject_name, "detail": ", ".join(words)})
    return {"name": result.name, "problem": result.problem, "certificates": found}


# -- acts on many ----------------------------------------------------------------------------------------------------


@page({Role.OPERATOR, Role.ADMINISTRATOR, Role.REQUESTER}, methods=("POST",))
def bulk(request: PageRequest, act: str) -> HttpResponse:
    """Tag, untag, or another owner for the ticked ones that the viewer may change."""
    inventory = rooms().manager.inventory
    value = request.POST.get("value", "")[:255]
    ids = [int(each) for each in request.POST.getlist("pick")[:100] if each.isascii() and each.isdigit()]
    viewer = request.viewer
    allowed = [each for each in ids if may_change(viewer, inventory.get(each).row)]
    result: BulkResult
    match act:
        case "tag":
            result = inventory.tag(allowed, value.split(","), actor=viewer.account)
        case "untag":
            result = inventory.untag(allowed, value, actor=viewer.account)
        case _:
            result = inventory.set_owner(allowed, value, actor=viewer.account)
    reasons = list(dict.fromkeys(result.refused.values()))[:2]
    text = " ".join((_("Changed: %(count)s") % {"count": len(result.done)}, *reasons))
    return answers.done(request, _HERE, text)


# -- elsewhere -------------------------------------------------------------------------------------------------------

_BAND_LOOKS: Final = {7: ("red", 10), 30: ("orange", 20), 90: ("yellow", 30)}


def _tiles(viewer: Viewer) -> list[Tile]:
    """The expiry bands, each with and without a renewal ahead."""
    labels = {7: _("Expire in 7 days"), 30: _("In 8–30 days"), 90: _("In 31–90 days")}
    return [
        Tile(
            labels[band.last],
            band.total,
            _("%(with)s with renewal, %(without)s without")
            % {"with": band.with_renewal, "without": band.without_renewal},
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


dashboard_tiles = [_tiles]
finders = [_find]

urls = [
    path("inventory/", certificates),
    path("inventory/import/", import_files),
    *(path(f"inventory/export/{form}/", export, {"form": form}) for form in ("csv", "xlsx", "pem")),
    *(path(f"inventory/bulk/{act}/", bulk, {"act": act}) for act in ("tag", "untag", "owner")),
]
