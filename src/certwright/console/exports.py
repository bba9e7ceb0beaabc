"""Exports of lists: CSV, JSON lines and XLSX of what the filters leave, streamed row by row."""

from __future__ import annotations

import csv as csv_module
import io
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import IO, Any, Final

from django.http import StreamingHttpResponse

CHUNK: Final = 64 << 10
XLSX: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
ZIP: Final = "application/zip"
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def csv(name: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> StreamingHttpResponse:
    """Comma separated values, UTF-8 with its mark so that spreadsheets know."""
    return streamed(f"{name}.csv", "text/csv; charset=utf-8", _csv(header, rows))


def json_lines(name: str, rows: Iterable[dict[str, Any]]) -> StreamingHttpResponse:
    """One JSON object a line."""
    lines = (json.dumps(row, ensure_ascii=False, default=_text).encode() + b"\n" for row in rows)
    return streamed(f"{name}.jsonl", "application/jsonl; charset=utf-8", _joined(lines))


def xlsx(name: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> StreamingHttpResponse:
    """A workbook with one sheet; at most 1,048,575 rows, as the format has it."""
    return streamed(f"{name}.xlsx", XLSX, _xlsx(header, rows))


def whole(name: str, content_type: str, write: Callable[[IO[bytes]], object]) -> StreamingHttpResponse:
    """A file that is written to its end before anything of it is sent: what fails, fails before the first octet."""
    chunks = _spooled(write)
    next(chunks)
    return streamed(name, content_type, chunks)


def streamed(name: str, content_type: str, chunks: Iterator[bytes]) -> StreamingHttpResponse:
    """A download as it is made."""
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
    yield from _spooled(book.save)


def _spooled(write: Callable[[IO[bytes]], object]) -> Iterator[bytes]:
    """Nothing once it is written, then what was written. Whoever stops asking, or never does, leaves no file open."""
    with tempfile.TemporaryFile() as file:
        write(file)
        file.seek(0)
        yield b""
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
