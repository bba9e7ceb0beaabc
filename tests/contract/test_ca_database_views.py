"""Views of the CA database: every implementation answers the same questions alike. [MS-CSRA] 3.1.4.1.12."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from certwright.adcs.errors import HResult, InvalidArgument
from certwright.adcs.interfaces import Comparison, Restriction, Sort, Table
from certwright.ca.database import CaDatabase, RequestState
from tests.support.ca_rows import DAY, NOW, RAW, crl, ids, issue, request, revoke


@pytest.fixture
def filled(ca: CaDatabase) -> CaDatabase:
    """Six requests: issued, pending, denied, revoked, failed, issued."""
    issue(ca, 0x0A01, request(common_name="a.corp.example"), not_after=NOW + 10 * DAY)
    with ca.transaction() as transaction:
        transaction.add_request(request(RequestState.PENDING, common_name="b.corp.example", key_size=4096), RAW)
        transaction.add_request(
            request(
                RequestState.DENIED,
                requester_name=r"CORP\bob",
                status=HResult.CERTSRV_E_TEMPLATE_DENIED,
                submitted_when=NOW + DAY,
            ),
            RAW,
        )
    revoke(ca, issue(ca, 0x0A04, request(common_name="D.corp.example")), when=NOW + DAY)
    with ca.transaction() as transaction:
        transaction.add_request(request(RequestState.ERROR, template=""), RAW)
    issue(ca, 0x0A06, request(requester_name=r"CORP\bob", common_name="é.corp.example"), not_after=NOW + 400 * DAY)
    return ca


def view(
    ca: CaDatabase,
    table: Table = Table.REQUESTS,
    *where: Restriction,
    columns: Sequence[str] = ("request_id",),
    sort: Sort | None = None,
    limit: int | None = None,
) -> Iterator[Any]:
    return ca.view(table, where, columns, sort, limit)


def only(column: str, value: int | str, comparison: Comparison = Comparison.EQUAL) -> Restriction:
    return Restriction(column, comparison, value)


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (Table.REQUESTS, [1, 2, 3, 4, 5, 6]),
        (Table.PENDING_REQUESTS, [2]),
        (Table.FAILED_REQUESTS, [3, 5]),
        (Table.REVOKED_CERTIFICATES, [4]),
        (Table.ISSUED_CERTIFICATES, [1, 6]),
    ],
)
def test_each_table_holds_its_rows(filled: CaDatabase, table: Table, expected: list[int]) -> None:
    assert ids(view(filled, table)) == expected
    assert ids(view(filled, table, limit=100)) == expected


RESTRICTIONS: list[tuple[Restriction, list[int]]] = [
    (only("request_id", 3), [3]),
    (only("request_id", 4, Comparison.GREATER), [5, 6]),
    (only("request_id", 2, Comparison.LESS_OR_EQUAL), [1, 2]),
    (only("request_id", 2**40, Comparison.GREATER), []),
    (only("request_id", -5, Comparison.GREATER), [1, 2, 3, 4, 5, 6]),
    (only("disposition", "issued"), [1, 6]),
    (only("disposition", 31), [3]),
    (only("disposition", "Pending"), [2]),
    (only("disposition", 30, Comparison.GREATER_OR_EQUAL), [3, 5]),
    (only("requester", r"CORP\bob"), [3, 6]),
    (only("requester", r"CORP\b", Comparison.GREATER_OR_EQUAL), [3, 6]),
    (only("common_name", "a.corp.example"), [1]),
    (only("common_name", "é.corp.example"), [6]),
    (only("common_name", "a.corp.exampl"), []),
    (only("template", ""), [5]),
    (only("key_size", 2048, Comparison.GREATER), [2]),
    (only("key_size", "0x1000"), [2]),
    (only("status", int(HResult.CERTSRV_E_TEMPLATE_DENIED)), [3]),
    (only("serial_number", "a04"), [4]),
    (only("serial_number", "0A 04"), [4]),
    (only("serial_number", "0A:06"), [6]),
    (only("serial_number", "0a04", Comparison.GREATER), [6]),
    (only("not_after", int((NOW + 11 * DAY).timestamp()), Comparison.LESS), [1]),
    (only("not_after", "2026-04-01", Comparison.LESS), [1]),
    (only("not_after", "2026-03-11T12:00:00Z"), [1]),
    (only("not_after", "2026-03-11T14:00:00+02:00"), [1]),
    (only("submitted_when", "2026-03-01T12:00:00", Comparison.GREATER), [3]),
    (only("revoked_reason", "keyCompromise"), [4]),
    (only("revoked_reason", 1), [4]),
    (only("revoked_when", "2026-03-02", Comparison.GREATER_OR_EQUAL), [4]),
    (only("sha1", f"{0x0A01:040x}"), [1]),
    (only("common_name", "A.CORP", Comparison.CONTAINS), [1]),
    (only("requester", "bob", Comparison.CONTAINS), [3, 6]),
    (only("serial_number", "A0:4", Comparison.CONTAINS), [4]),
    (only("common_name", "%", Comparison.CONTAINS), []),
    (only("common_name", "'; DROP TABLE ca_request; --"), []),
]


def test_every_column_can_be_restricted(filled: CaDatabase) -> None:
    """The operators of [MS-CSRA] 2.2.1.5."""
    assert [(asked, ids(view(filled, Table.REQUESTS, asked))) for asked, _ in RESTRICTIONS] == RESTRICTIONS
    assert [(asked, ids(view(filled, Table.REQUESTS, asked, limit=9))) for asked, _ in RESTRICTIONS] == RESTRICTIONS


def test_restrictions_are_all_to_hold(filled: CaDatabase) -> None:
    both = (only("requester", r"CORP\bob"), only("disposition", "issued"))
    assert ids(view(filled, Table.REQUESTS, *both)) == [6]
    expiring = (only("not_after", "2026-12-31", Comparison.GREATER), only("common_name", "é.corp.example"))
    assert ids(view(filled, Table.ISSUED_CERTIFICATES, *expiring)) == [6]


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        (Sort("request_id", descending=True), [6, 5, 4, 3, 2, 1]),
        (Sort("common_name"), [4, 1, 2, 3, 5, 6]),
        (Sort("serial_number", descending=True), [6, 4, 1, 2, 3, 5]),
        (Sort("not_after"), [1, 4, 6, 2, 3, 5]),
        (Sort("resolved_when"), [1, 3, 5, 6, 4, 2]),
    ],
)
def test_rows_are_sorted_by_code_point_and_those_without_a_value_come_last(
    filled: CaDatabase, sort: Sort, expected: list[int]
) -> None:
    assert ids(view(filled, sort=sort)) == expected


def test_a_list_is_paged_by_key(filled: CaDatabase) -> None:
    pages = []
    last = 0
    while page := ids(view(filled, Table.REQUESTS, only("request_id", last, Comparison.GREATER), limit=4)):
        pages.append(page)
        last = page[-1]
    assert pages == [[1, 2, 3, 4], [5, 6]]


def test_columns_have_the_values_people_expect(filled: CaDatabase) -> None:
    columns = (
        "request_id",
        "disposition",
        "status",
        "submitted_when",
        "serial_number",
        "not_after",
        "revoked_when",
        "revoked_reason",
        "ski",
        "key_size",
    )
    (row,) = view(filled, Table.REVOKED_CERTIFICATES, columns=columns)
    assert dict(row) == {
        "request_id": 4,
        "disposition": "revoked",
        "status": HResult.S_OK,
        "submitted_when": NOW,
        "serial_number": "0a04",
        "not_after": NOW + 365 * DAY,
        "revoked_when": NOW + DAY,
        "revoked_reason": "keyCompromise",
        "ski": "aa" * 20,
        "key_size": 2048,
    }
    assert list(row) == list(columns)
    (pending,) = view(filled, Table.PENDING_REQUESTS, columns=("serial_number", "resolved_when", "revoked_reason"))
    assert dict(pending) == {"serial_number": None, "resolved_when": None, "revoked_reason": None}


@pytest.mark.parametrize("table", list(Table))
def test_without_columns_the_usual_ones_are_shown(filled: CaDatabase, table: Table) -> None:
    with filled.transaction() as transaction:
        transaction.add_crl(crl(1))
    rows = list(view(filled, table, columns=()))
    wanted = {"number", "next_update"} if table is Table.CRLS else {"request_id", "disposition", "requester"}
    assert rows
    assert all(wanted <= set(row) for row in rows)


def test_crls_are_listed_too(ca: CaDatabase) -> None:
    with ca.transaction() as transaction:
        for number in (1, 2, 3):
            transaction.add_crl(crl(number))
    rows = view(ca, Table.CRLS, only("number", 1, Comparison.GREATER), columns=("number", "this_update"))
    assert [dict(row) for row in rows] == [{"number": 2, "this_update": NOW}, {"number": 3, "this_update": NOW}]


@pytest.mark.parametrize(
    "question",
    [
        {"columns": ("nonsense",)},
        {"columns": ("request_id; DROP TABLE ca_request",)},
        {"where": (only("raw_request", 1),)},
        {"where": (only("disposition", "approved"),)},
        {"where": (only("not_after", "soon"),)},
        {"where": (only("not_after", "2026", Comparison.CONTAINS),)},
        {"where": (only("revoked_reason", "boredom"),)},
        {"sort": Sort("number")},
        {"limit": 0},
        {"limit": -1},
    ],
)
def test_a_wrong_question_is_refused_at_once(filled: CaDatabase, question: dict[str, Any]) -> None:
    """Before the first row is asked for, and naming what would be right."""
    arguments = {"where": (), "columns": (), "sort": None, "limit": None, **question}
    with pytest.raises((InvalidArgument, ValueError)):
        filled.view(Table.REQUESTS, **arguments)


def test_a_view_larger_than_memory_wants_is_streamed(ca: CaDatabase) -> None:
    with ca.transaction() as transaction:
        for _ in range(2500):
            transaction.add_request(request(RequestState.PENDING), b"")
    rows = view(ca, Table.PENDING_REQUESTS)
    first = next(rows)["request_id"]
    with ca.transaction() as transaction:  # what people do while they read
        transaction.resolve(first, RequestState.DENIED, HResult.S_OK, "", when=NOW)
    assert [first, *ids(rows)] == list(range(1, 2501))


@pytest.mark.parametrize(
    ("table", "by", "where", "expected"),
    [
        (Table.REQUESTS, "disposition", (), {"issued": 2, "pending": 1, "denied": 1, "revoked": 1, "error": 1}),
        (Table.ISSUED_CERTIFICATES, "template", (), {"WebServer": 2}),
        (Table.ISSUED_CERTIFICATES, "requester", (only("common_name", "a.corp.example"),), {r"CORP\alice": 1}),
        (Table.ISSUED_CERTIFICATES, "template", (only("request_id", 1, Comparison.GREATER),), {"WebServer": 1}),
        (
            Table.ISSUED_CERTIFICATES,
            "template",
            (only("not_after", int((NOW + 100 * DAY).timestamp()), Comparison.GREATER),),
            {"WebServer": 1},
        ),
        (
            Table.ISSUED_CERTIFICATES,
            "template",
            (only("resolved_when", int((NOW + 5000 * DAY).timestamp()), Comparison.GREATER),),
            {},
        ),
        (Table.REVOKED_CERTIFICATES, "revoked_reason", (), {"keyCompromise": 1}),
        (Table.FAILED_REQUESTS, "template", (), {"WebServer": 1, "": 1}),
        (Table.FAILED_REQUESTS, "template", (only("resolved_when", 0, Comparison.GREATER),), {"WebServer": 1, "": 1}),
        (
            Table.FAILED_REQUESTS,
            "template",
            (only("resolved_when", int((NOW + 5000 * DAY).timestamp()), Comparison.GREATER),),
            {},
        ),
        (Table.PENDING_REQUESTS, "request_id", (), {2: 1}),
        (Table.REQUESTS, "serial_number", (only("request_id", 2),), {None: 1}),
    ],
)
def test_rows_are_counted_by_the_values_of_a_column(
    filled: CaDatabase, table: Table, by: str, where: tuple[Restriction, ...], expected: dict[object, int]
) -> None:
    assert dict(filled.count(table, where, by)) == expected


def test_what_is_counted_by_has_to_be_a_column(filled: CaDatabase) -> None:
    with pytest.raises(InvalidArgument, match="no column"):
        filled.count(Table.REQUESTS, (), "colour")
    with pytest.raises(InvalidArgument, match="not counted"):
        filled.count(Table.CRLS, (), "number")
