"""Views of the CA database: one statement each, with an index behind every question that is asked often."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from certwright.adcs.errors import InvalidArgument
from certwright.adcs.interfaces import Comparison, Restriction, Sort, Table
from certwright.ca.listing import make_count, make_listing
from certwright.database import Dialect
from tests.support.tables import new_sqlite_url


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    folder: Path = tmp_path_factory.mktemp("listing")
    new_sqlite_url(folder, "ca.db")
    connection = sqlite3.connect(folder / "ca.db")
    yield connection
    connection.close()


def where(column: str, value: int | str, comparison: Comparison = Comparison.EQUAL) -> tuple[Restriction, ...]:
    return (Restriction(column, comparison, value),)


@pytest.mark.parametrize(
    ("table", "restrictions", "sort", "index"),
    [
        (Table.PENDING_REQUESTS, (), None, "ca_request_pending"),
        (Table.FAILED_REQUESTS, (), None, "ca_request_failed"),
        (Table.REVOKED_CERTIFICATES, (), None, "ca_request_revoked"),
        (Table.REQUESTS, where("request_id", 7), None, "INTEGER PRIMARY KEY"),
        (Table.ISSUED_CERTIFICATES, where("request_id", 7, Comparison.GREATER), None, "INTEGER PRIMARY KEY"),
        (Table.REQUESTS, where("common_name", "www"), None, "ca_request_common_name"),
        (Table.REQUESTS, where("requester", r"CORP\alice"), None, "ca_request_requester"),
        (Table.REQUESTS, where("serial_number", "1f"), None, "sqlite_autoindex_ca_certificate_1"),
        (
            Table.ISSUED_CERTIFICATES,
            where("not_after", "2026-12-31", Comparison.LESS),
            Sort("not_after"),
            "ca_certificate_expiry",
        ),
        (
            Table.REVOKED_CERTIFICATES,
            where("revoked_when", "2026-01-01", Comparison.GREATER),
            None,
            "ca_certificate_revoked",
        ),
    ],
)
def test_the_usual_questions_have_an_index(
    tables: sqlite3.Connection, table: Table, restrictions: tuple[Restriction, ...], sort: Sort | None, index: str
) -> None:
    listing = make_listing(1, "sqlite", table, restrictions, ("request_id",), sort, 50)
    plan = tables.execute(f"EXPLAIN QUERY PLAN {listing.sql}", listing.params).fetchall()
    assert index in plan[0][-1]
    assert not [step for *_, step in plan if step.startswith("SCAN")]


@pytest.mark.parametrize(
    ("table", "index"),
    [(Table.ISSUED_CERTIFICATES, "ca_request_issued"), (Table.FAILED_REQUESTS, "ca_request_failed_when")],
)
def test_what_came_of_requests_lately_is_counted_out_of_an_index_alone(
    tables: sqlite3.Connection, table: Table, index: str
) -> None:
    """The dashboard asks it every minute; a busy CA issues a million in the 30 days it is about, and a wrong script
    fails as often."""
    since = where("resolved_when", 1_700_000_000, Comparison.GREATER_OR_EQUAL)
    sql, params, _read = make_count(1, "sqlite", table, since, "template")
    plan = tables.execute(f"EXPLAIN QUERY PLAN {sql}", params).fetchall()
    assert f"COVERING INDEX {index} (ca_id=? AND resolved_when>?)" in plan[0][-1]


def test_what_waits_is_counted_by_its_index(tables: sqlite3.Connection) -> None:
    pending, params, _read = make_count(1, "sqlite", Table.PENDING_REQUESTS, (), "submitted_when")
    assert "ca_request_pending" in tables.execute(f"EXPLAIN QUERY PLAN {pending}", params).fetchall()[0][-1]


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_values_are_parameters_and_names_are_ours(dialect: Dialect) -> None:
    evil = "x' OR 1=1 --"
    listing = make_listing(3, dialect, Table.REQUESTS, where("subject", evil), ("subject",), Sort("subject"), 5)
    assert evil not in listing.sql
    assert evil in listing.params
    assert listing.sql.count("?") == len(listing.params)


def test_a_view_without_certificate_columns_leaves_their_table_alone() -> None:
    columns = ("request_id", "requester")
    assert "JOIN" not in make_listing(1, "sqlite", Table.PENDING_REQUESTS, (), columns, None, None).sql
    assert "JOIN" in make_listing(1, "sqlite", Table.REQUESTS, (), (*columns, "not_after"), None, None).sql


def test_an_unknown_column_is_answered_with_the_known_ones() -> None:
    with pytest.raises(InvalidArgument, match="there is no column 'colour'; there are request_id, disposition"):
        make_listing(1, "sqlite", Table.REQUESTS, (), ("colour",), None, None)
