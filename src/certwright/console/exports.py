"""Exports of lists: CSV, JSON lines and XLSX of what the filters leave, streamed row by row."""

from __future__ import annotations

import csv as csv_module
import io
import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Final

from django.http import StreamingHttpResponse

CHUNK: Final = 64 << 10
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def csv(name: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> StreamingHttpResponse:
    """Comma separated values, UTF-8 with its mark so that spreadsheets know."""
    return _download(_csv(header, rows), f"{name}.csv", "text/csv; charset=utf-8")


def json_lines(name: str, rows: Iterable[dict[str, Any]]) -> StreamingHttpResponse:
    """One JSON object a line."""
    lines = (json.dumps(row, ensure_ascii=False, default=_text).encode() + b"\n" for row in rows)
    return _download(_joined(lines), f"{name}.jsonl", "application/jsonl; charset=utf-8")


def xlsx(name: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> StreamingHttpResponse:
    """A workbook with one sheet; at most 1,048,575 rows, as the format has it."""
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
    return _download(_xlsx(header, rows), f"{name}.xlsx", kind)


def _download(chunks: Iterator[bytes], name: str, content_type: str) -> StreamingHttpResponse:
    response = StreamingHttpResponse(chunks, content_type=content_type)
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def _csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[bytes]:
    text = io.StringIO()
    writer = csv_module.writer(text)
    text.write("\ufeff")
    writer.writerow(header)
    for row in rows:
        writer.writerow([_harmless(_text(value)) for value in row])
        if text.tell() >= CHUNK:
            yield text.getvalue().encode()
            text.seek(0)
            text.truncate()
    yield text.getvalue().encode()


def _xlsx(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[bytes]:
    from openpyxl import Workbook  # type: ignore[import-untyped]
    from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE  # type: ignore[import-untyped]

    book = Workbook(write_only=True)
    sheet = book.create_sheet()
    sheet.append(list(header))
    for number, row in enumerate(rows):
        if number >= 1_048_575:
            break
        sheet.append([ILLEGAL_CHARACTERS_RE.sub("?", _harmless(_text(value)))[:32_767] for value in row])
    with tempfile.TemporaryFile() as file:
        book.save(file)
        file.seek(0)
        while chunk := file.read(CHUNK):
            yield chunk


def _joined(pieces: Iterable[bytes]) -> Iterator[bytes]:
    waiting: list[bytes] = []
    size = 0
    for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        if size >= CHUNK:
            yield b"".join(waiting)
            waiting, size = [], 0
    yield b"".join(waiting)


def _text(value: Any) -> str:
    """ISO 8601 in UTC for times; nothing for None."""
    if value is None:
        return ""
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _harmless(text: str) -> str:
    """A cell that a spreadsheet would calculate becomes text."""
    return f"'{text}" if text.startswith(_FORMULA) else text
