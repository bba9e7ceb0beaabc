"""The inventory: every certificate known here. Searching, importing, exporting, and acts on many."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from django.http.response import HttpResponseBase
from ninja import File, Form, Query, Router, UploadedFile
from pydantic import Field, SecretStr, model_validator

from certwright.adcs.errors import InvalidArgument
from certwright.console.access import Viewer
from certwright.console.api.authentication import ApiRequest
from certwright.console.api.operations import FORM, operation
from certwright.console.api.problems import not_there
from certwright.console.api.shapes import (
    MAX_PAGE,
    PEM,
    BulkAnswer,
    Entered,
    Flag,
    Ids,
    Line,
    PageSize,
    QueryFlag,
    QueryId,
    QueryNumber,
    Tags,
    Told,
    line,
)
from certwright.console.exports import XLSX, ZIP
from certwright.console.pages.inventory import CHANGING, MAX_CURSOR, exported, is_own, may_change
from certwright.console.rooms import rooms
from certwright.manager.importing import FileResult, ImportFile
from certwright.manager.inventory_values import (
    BulkResult,
    CertificateDetails,
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

router = Router(tags=["Inventory"])


class ExportForm(StrEnum):
    CSV = "csv"
    XLSX = "xlsx"
    PEM = "pem"  # the certificates themselves, in one file
    ZIP = "zip"  # each in a file of its own


class Filters(Entered):
    """Nothing is left out that no filter leaves out: expired and superseded certificates are there too."""

    text: Annotated[
        Line, Field(description="Words: each begins a name, or is hex of a serial number or thumbprint")
    ] = ""
    status: CertificateStatus | None = None
    band: Annotated[QueryNumber | None, Field(description="7, 30 or 90: ends in 0-7, 8-30, 31-90 days")] = None
    week: Annotated[QueryNumber | None, Field(ge=0, le=25, description="A bar of the expiry timeline")] = None
    issuer: Annotated[str, line(1024)] = ""
    template: Line = ""
    owner: Line = ""
    tag: Annotated[str, line(64)] = ""
    key: Annotated[Line, Field(description="As in RSA 3072 bits")] = ""
    source: Source | None = None
    managed: QueryFlag | None = None
    key_held: QueryFlag | None = None
    is_ca: QueryFlag | None = None
    where: Annotated[
        tuple[Annotated[str, line(400, least=1)], ...],
        Field(
            max_length=20,
            description="column:operator:value for any column; is, contains, begins, before, after. May be repeated",
            examples=[["serial:begins:61", "not_after:before:2027-01-01"]],
        ),
    ] = ()
    sort: Annotated[str, line(40), Field(description="A column; with - before it downwards")] = "not_after"

    def query(self, viewer: Viewer, cursor: str = "", limit: int = 25) -> InventoryQuery:
        """The question, about what the viewer may see."""
        return InventoryQuery(
            text=self.text,
            status=self.status,
            band=self.band,
            week=self.week,
            issuer=self.issuer,
            template=self.template,
            owner=self.owner,
            visible_to="" if viewer.sees_everything else viewer.account,
            tag=self.tag,
            key_name=self.key,
            source=self.source,
            managed=self.managed,
            key_held=self.key_held,
            is_ca=self.is_ca,
            filters=tuple(map(_column_filter, self.where)),
            sort=Sort(self.sort.removeprefix("-"), self.sort.startswith("-")),
            cursor=cursor,
            limit=limit,
        )


class Search(Filters):
    cursor: Annotated[str, line(MAX_CURSOR), Field(description="The member next, or previous, of another page")] = ""
    limit: PageSize = 25


class Export(Filters):
    id: Annotated[
        tuple[QueryId, ...],
        Field(max_length=MAX_PAGE, description="These instead of what the filters leave. May be repeated"),
    ] = ()
    form: ExportForm = ExportForm.CSV


class Certificate(Told):
    """A certificate as lists show it."""

    id: int
    status: CertificateStatus
    days_left: int  # whole days until it ends; negative afterwards
    subject: str
    common_name: str
    names: str
    issuer: str
    serial: str
    template: str
    not_before: datetime
    not_after: datetime
    key_name: str
    key_held: bool
    managed: bool
    source: Source
    owner: str
    tags: list[str]
    sha1: str
    sha256: str
    spki_sha256: str
    purposes: str
    is_ca: bool
    revoked: datetime | None
    revoked_reason: str
    superseded_by: int | None
    renewal: str
    renewal_order: int | None
    order_id: int | None
    service_id: int | None
    domain: str
    created: datetime
    created_by: str


class CertificatePage(Told):
    """`count` ends at 10,001, which means more than 10,000; it is null on pages asked for by cursor."""

    rows: list[Certificate]
    count: int | None
    next: str
    previous: str


class Band(Told):
    """Certificates with `first` to `last` days left."""

    first: int
    last: int
    total: int
    with_renewal: int  # a renewal is ordered, or a rule will order one


class Week(Told):
    number: int
    starts: datetime
    count: int


class Expiry(Told):
    bands: list[Band]
    weeks: list[Week]


class Choice(Told):
    value: str
    count: int  # at most 10,001


class ImportOptions(Entered):
    password: Annotated[SecretStr, Field(max_length=256, description="Of PFX files and encrypted keys")] = SecretStr(
        ""
    )
    owner: Line = ""
    tags: Annotated[str, line(1000), Field(description="Separated by commas")] = ""
    managed: QueryFlag = False
    preview: Annotated[QueryFlag, Field(description="Only say what is in the files; nothing is stored")] = False


class FoundCertificate(Told):
    subject: str
    common_name: str
    serial: str
    not_after: datetime
    with_key: bool
    known: int | None  # its number, when the inventory has it already


class ImportedFile(Told):
    name: str
    problem: str
    keys: int
    certificates: list[FoundCertificate]


class Imported(Told):
    files: list[ImportedFile]
    added: list[int]
    keys: int  # private keys that were not here before


class Changes(Entered):
    """What is left out stays as it is."""

    ids: Ids
    add_tags: Tags = ()
    remove_tags: Tags = ()
    owner: Line | None = None
    managed: Flag | None = None

    @model_validator(mode="after")
    def _something(self) -> Changes:
        if not (self.add_tags or self.remove_tags) and self.owner is None and self.managed is None:
            raise ValueError("name something to change")
        return self


def certificate_of(row: CertificateRow) -> Certificate:
    now = rooms().clock()
    copied = {name: getattr(row, name) for name in Certificate.model_fields if name not in ("status", "days_left")}
    return Certificate(
        **copied | {"status": row.status(now), "days_left": row.days_left(now), "tags": list(row.tags)}
    )


def certificate_for(viewer: Viewer, certificate_id: int, *, to_change: bool = False) -> CertificateDetails:
    """A certificate that the caller may see, or change; somebody else's is as if it were not there."""
    missing = not_there(f"certificate number {certificate_id}")
    try:
        found: CertificateDetails = rooms().manager.inventory.get(certificate_id)
    except InvalidArgument:
        raise missing from None
    if not (viewer.sees_everything or is_own(viewer, found.row)) or (to_change and not may_change(viewer, found.row)):
        raise missing
    return found


def _column_filter(text: str) -> ColumnFilter:
    column, _, rest = text.partition(":")
    operator, colon, value = rest.partition(":")
    if not colon or operator not in tuple(Operator):
        raise InvalidArgument(f"{text[:80]!r} is no filter; write column:operator:value, as in serial:begins:61.")
    return ColumnFilter(column, Operator(operator), value)


# -- lists -----------------------------------------------------------------------------------------------------------


@operation(router, "GET", "/inventory", CertificatePage)
def search_inventory(request: ApiRequest, asked: Query[Search]) -> CertificatePage:
    """Search the inventory; requesters find their own certificates.

    No filter is set by itself. Pages are cut by key: send `next` as `cursor`, with the same filters and order.
    """
    query = asked.query(request.viewer, asked.cursor, asked.limit)
    found: Page[CertificateRow] = rooms().manager.inventory.search(query, with_count=not asked.cursor)
    rows = [certificate_of(row) for row in found.rows]
    return CertificatePage(rows=rows, count=found.count, next=found.next, previous=found.previous)


@operation(router, "GET", "/inventory/export", produces=("text/csv", XLSX, PEM, ZIP))
def export_inventory(request: ApiRequest, asked: Query[Export]) -> HttpResponseBase:
    """Export what the filters leave, or some by number.

    CSV streamed, XLSX, or up to 10,000 certificates in PEM, in one file or each in its own.
    """
    query = asked.query(request.viewer)
    if asked.id:
        query = InventoryQuery(visible_to=query.visible_to, ids=tuple(asked.id), sort=query.sort)
    return exported(query, asked.form)


@operation(router, "GET", "/inventory/expiry", Expiry)
def get_expiry(request: ApiRequest) -> Expiry:
    """Count what ends soon: in bands of 7, 30 and 90 days, and in each of the next 26 weeks."""
    viewer, inventory = request.viewer, rooms().manager.inventory
    own = "" if viewer.sees_everything else viewer.account
    return Expiry(
        bands=[Band.model_validate(each) for each in inventory.bands(own)],
        weeks=[Week.model_validate(each) for each in inventory.timeline(own)],
    )


@operation(router, "GET", "/inventory/choices/{column}", list[Choice])
def list_inventory_choices(
    request: ApiRequest, column: Literal["issuer", "template", "owner", "key", "tag"]
) -> Sequence[Choice]:
    """List the values of a column, the most frequent first.

    Requesters are not told what others have: for them the list is empty.
    """
    if not request.viewer.sees_everything:
        return []
    return [Choice.model_validate(each) for each in rooms().manager.inventory.choices(column)]


# -- import ----------------------------------------------------------------------------------------------------------


@operation(router, "POST", "/inventory/import", Imported, takes=FORM)
def import_certificates(
    request: ApiRequest,
    files: File[list[UploadedFile]],
    options: Form[ImportOptions],
) -> Imported:
    """Import files: PEM, DER, PKCS#7, PFX, or a ZIP of them.

    A certificate that is known already stays as it is. A private key is kept only beside its certificate.
    """
    viewer, importing = request.viewer, rooms().manager.importing
    uploads = [ImportFile(each.name or "", each.read()) for each in files]
    password = options.password.get_secret_value()
    if options.preview:
        return Imported(files=[_file(each) for each in importing.preview(uploads, password)], added=[], keys=0)
    stored = importing.store(
        uploads,
        password,
        owner=options.owner if viewer.is_any(CHANGING) else viewer.account,
        tags=[tag for part in options.tags.split(",") if (tag := part.strip())],
        managed=options.managed,
        actor=viewer.account,
    )
    return Imported(files=[_file(each) for each in stored.files], added=list(stored.added), keys=stored.keys)


def _file(result: FileResult) -> ImportedFile:
    certificates = [
        FoundCertificate(
            subject=each.view.subject_name,
            common_name=each.view.common_name,
            serial=each.view.serial_number,
            not_after=each.view.not_after,
            with_key=each.with_key,
            known=each.known,
        )
        for each in result.certificates
    ]
    return ImportedFile(name=result.name, problem=result.problem, keys=result.keys, certificates=certificates)


# -- acts on many ----------------------------------------------------------------------------------------------------


@operation(router, "PATCH", "/inventory", BulkAnswer)
def change_certificates(request: ApiRequest, entered: Changes) -> BulkAnswer:
    """Change tags, owner, and whether they are managed, of up to 500 certificates.

    Each is changed by itself; those that may not be changed are named with the reason.
    """
    viewer, inventory = request.viewer, rooms().manager.inventory
    allowed, refused = changeable(viewer, entered.ids)
    for act in _acts(inventory, entered, viewer.account):
        result: BulkResult = act(allowed)
        refused |= result.refused
        allowed = list(result.done)
    return BulkAnswer.of(BulkResult(tuple(allowed), {}), refused)


def changeable(viewer: Viewer, ids: Sequence[int]) -> tuple[list[int], dict[int, str]]:
    """Those that the caller may change, each once; and why not the others."""
    allowed: list[int] = []
    refused: dict[int, str] = {}
    for number in dict.fromkeys(ids):
        try:
            found = rooms().manager.inventory.get(number).row
        except InvalidArgument as error:
            refused[number] = error.message
            continue
        if may_change(viewer, found):
            allowed.append(number)
        elif viewer.sees_everything:
            refused[number] = f"{viewer.account} may not change certificate number {number}."
        else:
            refused[number] = f"There is no certificate number {number} in the inventory."
    return allowed, refused


def _acts(inventory: Any, entered: Changes, actor: str) -> list[Any]:
    """The owner last: it may take the certificate out of sight."""
    acts: list[Any] = []
    if entered.add_tags:
        acts.append(lambda ids: inventory.tag(ids, entered.add_tags, actor=actor))
    for gone in {key(tag): tag for tag in entered.remove_tags}.values():
        acts.append(lambda ids, gone=gone: inventory.untag(ids, gone, actor=actor))
    if entered.managed is not None:
        acts.append(lambda ids: inventory.set_managed(ids, entered.managed, actor=actor))
    if entered.owner is not None:
        acts.append(lambda ids: inventory.set_owner(ids, entered.owner, actor=actor))
    return acts
