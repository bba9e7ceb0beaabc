"""Export: lists as CSV and XLSX, certificates as PEM. All of it streams: a million rows need no more memory than ten.

Times are ISO 8601, UTC. A cell that a spreadsheet would take for a formula is written as text.
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import IO, Final

from certwright.adcs.errors import InvalidArgument
from certwright.manager import store_inventory as rows
from certwright.manager.changes import Changes
from certwright.manager.inventory import Inventory
from certwright.manager.inventory_values import CertificateRow, InventoryQuery
from certwright.pki.armor import CERTIFICATE, armor

MAX_SHEET_ROWS: Final = 1_048_575
"""Rows below the head that a worksheet can have (ECMA-376, as Excel reads it)."""
MAX_DOWNLOAD: Final = 10_000
"""Certificates in one download."""
_CHUNK: Final = 64 << 10
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_MAX_CELL: Final = 32_767

_Reader = Callable[[CertificateRow, datetime], object]
COLUMNS: Final[dict[str, _Reader]] = {
    "status": lambda row, now: row.status(now).value,
    "subject": lambda row, now: row.subject,
    "common_name": lambda row, now: row.common_name,
    "names": lambda row, now: row.names,
    "issuer": lambda row, now: row.issuer,
    "serial": lambda row, now: row.serial,
    "template": lambda row, now: row.template,
    "not_before": lambda row, now: _time(row.not_before),
    "not_after": lambda row, now: _time(row.not_after),
    "days_left": lambda row, now: row.days_left(now),
    "key": lambda row, now: row.key_name,
    "key_held": lambda row, now: "yes" if row.key_held else "no",
    "owner": lambda row, now: row.owner,
    "tags": lambda row, now: ", ".join(row.tags),
    "renewal": lambda row, now: row.renewal,
    "managed": lambda row, now: "managed" if row.managed else "monitored",
    "source": lambda row, now: row.source.value,
    "purposes": lambda row, now: row.purposes,
    "revoked": lambda row, now: "" if row.revoked is None else _time(row.revoked),
    "revoked_reason": lambda row, now: row.revoked_reason,
    "sha1": lambda row, now: row.sha1,
    "sha256": lambda row, now: row.sha256,
    "id": lambda row, now: row.id,
    "created": lambda row, now: _time(row.created),
}
"""What an export can hold, in its usual order."""


class Exporting:
    def __init__(self, changes: Changes, inventory: Inventory) -> None:
        self._changes = changes
        self._inventory = inventory

    def csv(self, query: InventoryQuery, columns: Sequence[str] = ()) -> Iterator[bytes]:
        """Everything a question finds, as CSV in UTF-8 with a byte order mark (so that Excel knows). RFC 4180.

        Raises:
            InvalidArgument: there is no such column or filter; at once, not at the first row.
        """
        chosen = _chosen(columns)
        return self._csv(self._inventory.stream(query), chosen)

    def _csv(self, found: Iterable[CertificateRow], columns: Sequence[str]) -> Iterator[bytes]:
        now = self._changes.clock()
        buffer = io.StringIO(newline="")
        writer = csv.writer(buffer)
        buffer.write("\ufeff")
        writer.writerow(columns)
        for row in found:
            writer.writerow([_safe(COLUMNS[column](row, now)) for column in columns])
            if buffer.tell() >= _CHUNK:
                yield buffer.getvalue().encode()
                buffer.seek(0)
                buffer.truncate()
        yield buffer.getvalue().encode()

    def xlsx(self, query: InventoryQuery, into: IO[bytes], columns: Sequence[str] = ()) -> int:
        """Everything a question finds, as a workbook with one sheet; returns the number of rows.

        Args:
            into: a temporary file, best: a workbook is finished only at its end.

        Raises:
            InvalidArgument: there is no such column or filter, or it is more than a sheet can hold.
        """
        from openpyxl import Workbook  # type: ignore[import-untyped]
        from openpyxl.cell import WriteOnlyCell  # type: ignore[import-untyped]

        chosen = _chosen(columns)
        found = self._inventory.stream(query)
        now = self._changes.clock()
        book = Workbook(write_only=True)
        sheet = book.create_sheet("Certificates")
        sheet.freeze_panes = "A2"
        sheet.append(list(chosen))
        count = 0
        for row in found:
            count += 1
            if count > MAX_SHEET_ROWS:
                raise InvalidArgument(f"A sheet holds at most {MAX_SHEET_ROWS} rows; filter the list, or take CSV.")
            cells: list[object] = []
            for column in chosen:
                value = COLUMNS[column](row, now)
                if isinstance(value, int):
                    cells.append(value)
                    continue
                cell = WriteOnlyCell(sheet, value=_sheet_text(str(value)))
                cell.data_type = "s"  # never a formula, whatever it begins with
                cells.append(cell)
            sheet.append(cells)
        book.save(into)
        return count

    def pem(self, certificate_ids: Sequence[int], *, with_chain: bool = False) -> bytes:
        """Certificates, each followed by what is above it if wanted; without keys.

        Raises:
            InvalidArgument: too many, or there is none of a number.
        """
        written: dict[bytes, None] = {}
        for der, above in self._ders(certificate_ids, with_chain):
            written[der] = None
            written.update(dict.fromkeys(above))
        return "".join(armor(CERTIFICATE, der) for der in written).encode()

    def der(self, certificate_id: int) -> bytes:
        return next(iter(self._ders([certificate_id], False)))[0]

    def archive(self, certificate_ids: Sequence[int], into: IO[bytes], *, with_chain: bool = False) -> int:
        """A ZIP archive with a PEM file for each certificate; returns their number.

        Raises:
            InvalidArgument: too many, or there is none of a number.
        """
        count = 0
        with zipfile.ZipFile(into, "w", zipfile.ZIP_DEFLATED) as archive:
            for number, (der, above) in zip(certificate_ids, self._ders(certificate_ids, with_chain), strict=True):
                with self._changes.database.read() as connection:
                    row = rows.certificate(connection, number)
                name = _file_name(row.common_name if row is not None else "")
                text = "".join(armor(CERTIFICATE, each) for each in (der, *above))
                archive.writestr(f"{name}-{number}.pem", text)
                count += 1
        return count

    def _ders(self, certificate_ids: Sequence[int], with_chain: bool) -> Iterator[tuple[bytes, tuple[bytes, ...]]]:
        if len(certificate_ids) > MAX_DOWNLOAD:
            raise InvalidArgument(f"At most {MAX_DOWNLOAD} certificates fit into one download.")
        for certificate_id in certificate_ids:
            with self._changes.database.read() as connection:
                der = rows.certificate_der(connection, certificate_id)
                if der is None:
                    raise InvalidArgument(f"There is no certificate number {certificate_id} in the inventory.")
                above = rows.chain_above(connection, der) if with_chain else ()
            yield der, above


def _chosen(columns: Sequence[str]) -> Sequence[str]:
    unknown = [column for column in columns if column not in COLUMNS]
    if unknown:
        raise InvalidArgument(f"There is no column {unknown[0][:80]!r} to export; there are {', '.join(COLUMNS)}.")
    return tuple(columns) or tuple(COLUMNS)


def _time(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def _safe(value: object) -> object:
    """Text that a spreadsheet does not take for a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _sheet_text(text: str) -> str:
    return "".join(char for char in text if char >= " " or char in "\t\n\r")[:_MAX_CELL]


def _file_name(text: str) -> str:
    return (
        "".join(char if char.isalnum() or char in ".-_" else "_" for char in text)[:80].strip("._") or "certificate"
    )
