"""Exports: streamed, and harmless to the program that opens them."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from typing import IO, Any

import pytest

from certwright.console import exports

WHEN = datetime(2026, 11, 22, 9, 14, tzinfo=UTC)


def content(response: Any) -> bytes:
    return b"".join(response.streaming_content)


def test_csv_has_a_header_and_times_in_iso_8601() -> None:
    response = exports.csv("orders", ("name", "when", "none"), [("web, one", WHEN, None)])
    assert response["Content-Disposition"] == 'attachment; filename="orders.csv"'
    rows = list(csv.reader(io.StringIO(content(response).decode("utf-8-sig"))))
    assert rows == [["name", "when", "none"], ["web, one", "2026-11-22T09:14:00+00:00", ""]]


def test_a_cell_that_a_spreadsheet_would_calculate_becomes_text() -> None:
    for text in ("=1+1", "+1", "-1", "@SUM(A1)", "\tx"):
        line = content(exports.csv("x", ("a",), [(text,)])).decode("utf-8-sig").splitlines()[1]
        assert line.lstrip('"').startswith("'")


def test_csv_comes_in_pieces() -> None:
    pieces = list(exports.csv("x", ("a",), ((f"{number:0100}",) for number in range(5000))).streaming_content)
    assert len(pieces) > 3
    assert all(len(piece) < 2 * exports.CHUNK for piece in pieces)


def test_json_is_one_object_a_line() -> None:
    lines = content(exports.json_lines("x", [{"name": "ä", "when": WHEN}, {"name": "b", "when": None}])).splitlines()
    assert [json.loads(line)["name"] for line in lines] == ["ä", "b"]


def test_xlsx_opens_and_holds_text() -> None:
    from openpyxl import load_workbook

    body = content(exports.xlsx("x", ("name",), [("=1+1",), ("\x01",), ("plain",)]))
    book = load_workbook(io.BytesIO(body))
    assert [row[0] for row in book.active.iter_rows(values_only=True)] == ["name", "'=1+1", "?", "plain"]


def test_a_file_that_is_made_as_a_whole_comes_in_pieces() -> None:
    response = exports.whole("all.zip", exports.ZIP, lambda file: file.write(b"x" * 3 * exports.CHUNK))
    assert response["Content-Disposition"] == 'attachment; filename="all.zip"'
    assert list(map(len, response.streaming_content)) == [exports.CHUNK] * 3


def test_a_file_that_cannot_be_made_fails_before_anything_is_answered() -> None:
    def fail(_file: IO[bytes]) -> None:
        raise ValueError("nothing to pack")

    with pytest.raises(ValueError, match="nothing to pack"):
        exports.whole("all.zip", exports.ZIP, fail)


def test_a_file_that_nobody_fetches_is_closed() -> None:
    written: list[IO[bytes]] = []
    response = exports.whole("all.zip", exports.ZIP, written.append)
    assert not written[0].closed
    del response
    assert written[0].closed
