"""The manager on SQLite and PostgreSQL: the same questions have the same answers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from certwright.adcs.errors import InvalidArgument
from certwright.adcs.events import LifecycleKind
from certwright.adcs.roles import RevocationReason
from certwright.database import Database
from certwright.manager import listing
from certwright.manager.importing import ImportFile
from certwright.manager.inventory_values import (
    CertificateRow,
    CertificateStatus,
    ColumnFilter,
    InventoryQuery,
    Operator,
    Sort,
    Source,
)
from certwright.manager.listing import SORTABLE
from certwright.manager.values import OrderState, RuleFields
from tests.support.inventory_files import certificate
from tests.support.managing import ALICE, Managed, managed
from tests.support.requests import ec_key, rsa_key
from tests.support.scripted_ca import NOW, Answer
from tests.support.tables import new_sqlite_url

DIALECTS = ("sqlite", "postgresql")


def _url(request: pytest.FixtureRequest, folder: Path, postgresql: Callable[[], str]) -> str:
    if request.param == "postgresql":
        return postgresql()
    return new_sqlite_url(folder, "manager.db")


@pytest.fixture(scope="module", params=DIALECTS)
def stocked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Managed]:
    """Nine certificates of every kind, for tests that only ask."""
    folder = tmp_path_factory.mktemp("stocked")
    url = _url(request, folder, lambda: request.getfixturevalue("postgresql_with_tables")())
    with managed(folder, url) as made:
        yield stock(made)


@pytest.fixture(params=DIALECTS)
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Managed]:
    """An empty one, for tests that change it."""
    url = _url(request, tmp_path, lambda: _emptied(request.getfixturevalue("shared_postgresql")))
    with managed(tmp_path, url) as made:
        yield made


def _emptied(url: str) -> str:
    """One database for all tests: to make and drop one takes longer than any of them."""
    database = Database.open(url)
    with database.transaction() as connection:
        tables = connection.many(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename LIKE 'manager\\_%'"
        )
        connection.execute(f"TRUNCATE {', '.join(name for (name,) in tables)} RESTART IDENTITY")
    database.close()
    return url


def stock(desk: Managed) -> Managed:
    for name, days, issuer, template, tags, owner in (
        ("web01.corp.example", 3, "CN=CA 1", "WebServer", ("web",), "alice"),
        ("web02.corp.example", 20, "CN=CA 1", "WebServer", ("web", "prod"), "alice"),
        ("web03.corp.example", 60, "CN=CA 2", "WebServer", (), "bob"),
        ("mail.corp.example", 200, "CN=CA 2", "Mail", (), "bob"),
        ("vpn.other.example", 300, "CN=CA 2", "Vpn", ("prod",), ""),
        ("Ada Lovelace", 400, "CN=CA 1", "User", (), "alice"),
        ("old.corp.example", -10, "CN=CA 1", "WebServer", (), "bob"),
        ("older.corp.example", -100, "CN=CA 1", "WebServer", (), ""),
        ("bücher.example", 7.5, "CN=CA 1", "WebServer", ("web",), ""),
    ):
        hosts = (ascii_name(name),) if "." in name else ()
        data = certificate(name, days=days, issuer=issuer, template=template, names=hosts)
        desk.manager.importing.store(
            [ImportFile(f"{name}.cer", data)], owner=owner, tags=tags, managed=True, actor=ALICE
        )
    return desk


def ascii_name(name: str) -> str:
    return name.encode("idna").decode()


def names(rows: tuple[CertificateRow, ...]) -> list[str]:
    return [row.common_name for row in rows]


def search(desk: Managed, **fields: object) -> list[str]:
    page = desk.manager.inventory.search(InventoryQuery(**fields))  # type: ignore[arg-type]
    assert page.count == len(page.rows)
    return names(page.rows)


def test_nothing_is_left_out_that_no_filter_leaves_out(stocked: Managed) -> None:
    assert search(stocked) == [
        "older.corp.example",
        "old.corp.example",
        "web01.corp.example",
        "bücher.example",
        "web02.corp.example",
        "web03.corp.example",
        "mail.corp.example",
        "vpn.other.example",
        "Ada Lovelace",
    ]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"text": "WEB0"}, ["web01.corp.example", "web02.corp.example", "web03.corp.example"]),
        ({"text": "other.ex"}, ["vpn.other.example"]),
        ({"text": "corp.example web02"}, ["web02.corp.example"]),
        ({"text": "love"}, ["Ada Lovelace"]),
        ({"text": "BÜCH"}, ["bücher.example"]),
        ({"text": "xn--bcher"}, ["bücher.example"]),
        ({"text": "nothing"}, []),
        ({"text": "' OR 1=1 --"}, []),
        ({"text": "%"}, []),
        ({"status": CertificateStatus.EXPIRED}, ["older.corp.example", "old.corp.example"]),
        (
            {"status": CertificateStatus.EXPIRING},
            ["web01.corp.example", "bücher.example", "web02.corp.example", "web03.corp.example"],
        ),
        ({"status": CertificateStatus.ACTIVE}, ["mail.corp.example", "vpn.other.example", "Ada Lovelace"]),
        ({"status": CertificateStatus.REVOKED}, []),
        ({"status": CertificateStatus.SUPERSEDED}, []),
        ({"band": 7}, ["web01.corp.example", "bücher.example"]),
        ({"band": 30}, ["web02.corp.example"]),
        ({"band": 90}, ["web03.corp.example"]),
        ({"week": 0}, ["web01.corp.example"]),
        ({"week": 2}, ["web02.corp.example"]),
        ({"issuer": "cn=ca 2", "template": "webserver"}, ["web03.corp.example"]),
        ({"tag": "Prod"}, ["web02.corp.example", "vpn.other.example"]),
        ({"owner": "ALICE", "text": "corp.example"}, ["web01.corp.example", "web02.corp.example"]),
        ({"visible_to": "bob", "status": CertificateStatus.ACTIVE}, ["mail.corp.example"]),
        ({"hide_old": True, "text": "old"}, ["old.corp.example"]),
        ({"source": Source.IMPORT, "band": 30}, ["web02.corp.example"]),
        ({"managed": False}, []),
        ({"key_held": True}, []),
        ({"key_held": False, "band": 30}, ["web02.corp.example"]),
        ({"is_ca": True}, []),
        ({"key_name": "P-256", "band": 30}, ["web02.corp.example"]),
    ],
)
def test_filters_find(stocked: Managed, fields: dict[str, object], expected: list[str]) -> None:
    assert search(stocked, **fields) == expected


@pytest.mark.parametrize(
    ("column", "operator", "value", "expected"),
    [
        ("subject", Operator.CONTAINS, "LOVELACE", ["Ada Lovelace"]),
        ("subject", Operator.CONTAINS, "%", []),
        ("subject", Operator.BEGINS, "CN=mail", ["mail.corp.example"]),
        ("common_name", Operator.IS, "ada lovelace", ["Ada Lovelace"]),
        ("names", Operator.CONTAINS, "vpn", ["vpn.other.example"]),
        ("names", Operator.CONTAINS, "DNS:pn.oth", ["vpn.other.example"]),
        ("names", Operator.CONTAINS, "_", []),
        ("names", Operator.BEGINS, "DNS:vp", ["vpn.other.example"]),
        ("names", Operator.BEGINS, "pn.oth", []),
        ("common_name", Operator.CONTAINS, "LOVE", ["Ada Lovelace"]),
        ("common_name", Operator.CONTAINS, "CN=", []),
        ("common_name", Operator.BEGINS, "ada L", ["Ada Lovelace"]),
        ("common_name", Operator.BEGINS, "corp.example", []),
        ("issuer", Operator.BEGINS, "cn=ca 2", ["web03.corp.example", "mail.corp.example", "vpn.other.example"]),
        ("issuer", Operator.BEGINS, "ca 2", []),
        ("serial", Operator.BEGINS, "zz", []),
        ("serial", Operator.CONTAINS, "%", []),
        ("issuer", Operator.IS, "CN=CA 2", ["web03.corp.example", "mail.corp.example", "vpn.other.example"]),
        ("template", Operator.IS, "USER", ["Ada Lovelace"]),
        ("tag", Operator.IS, "prod", ["web02.corp.example", "vpn.other.example"]),
        ("not_after", Operator.BEFORE, "2026-02-01", ["older.corp.example"]),
        ("not_after", Operator.AFTER, "2027-01-01", ["Ada Lovelace"]),
        ("not_after", Operator.IS, "2026-03-21", ["web02.corp.example"]),
        ("managed", Operator.IS, "false", []),
        ("key_held", Operator.IS, "true", []),
        ("id", Operator.IS, "1000000", []),
    ],
)
def test_column_filters_find(
    stocked: Managed, column: str, operator: Operator, value: str, expected: list[str]
) -> None:
    assert search(stocked, filters=(ColumnFilter(column, operator, value),)) == expected


@pytest.mark.parametrize(
    "each",
    [
        ColumnFilter("password", Operator.IS, "x"),
        ColumnFilter("subject; DROP TABLE", Operator.IS, "x"),
        ColumnFilter("subject", Operator.BEFORE, "2026-01-01"),
        ColumnFilter("not_after", Operator.AFTER, "tomorrow"),
        ColumnFilter("managed", Operator.IS, "perhaps"),
        ColumnFilter("id", Operator.IS, "1" * 40),
    ],
)
def test_a_filter_that_makes_no_sense_is_refused(desk: Managed, each: ColumnFilter) -> None:
    with pytest.raises(InvalidArgument):
        desk.manager.inventory.search(InventoryQuery(filters=(each,)))


def test_serials_and_thumbprints_are_found_by_how_they_begin(stocked: Managed) -> None:
    row = stocked.manager.inventory.search(InventoryQuery(text="mail.corp")).rows[0]
    for text in (row.sha1[:10], row.sha256.upper(), ":".join(row.sha256[i : i + 2] for i in range(0, 64, 2))):
        assert search(stocked, text=text) == ["mail.corp.example"]
    exact = ColumnFilter("serial", Operator.IS, row.serial)
    assert search(stocked, filters=(exact,)) == ["mail.corp.example"]


def test_a_text_is_found_inside_however_many_rows_have_it(stocked: Managed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to `FEW` rows are named one by one; more than these, and the list is walked along."""
    wanted = InventoryQuery(filters=(ColumnFilter("names", Operator.CONTAINS, "corp"),), sort=Sort("subject"))
    found = [row.id for row in stocked.manager.inventory.search(wanted).rows]
    assert len(found) == 6
    monkeypatch.setattr(listing, "FEW", 2)
    assert [row.id for row in stocked.manager.inventory.search(wanted).rows] == found
    assert stocked.manager.inventory.search(wanted).count == 6


def test_numbers_find_exactly_these(stocked: Managed) -> None:
    inventory = stocked.manager.inventory
    every = [row.id for row in inventory.search(InventoryQuery()).rows]
    page = inventory.search(InventoryQuery(ids=(every[3], every[1], 10**9)))
    assert sorted(row.id for row in page.rows) == sorted((every[1], every[3]))
    assert inventory.search(InventoryQuery(ids=())).rows == ()
    assert [row.id for row in inventory.rows([every[3], 10**9, every[1]])] == [every[3], every[1]]


def test_a_badge_counts_what_ends_this_week_without_a_renewal(desk: Managed) -> None:
    inventory = stock(desk).manager.inventory
    assert inventory.urgent() == 2
    assert inventory.urgent("nobody") == 0
    first, second = inventory.search(InventoryQuery(band=7)).rows
    inventory.tag([first.id], ["watched"], actor=ALICE)
    desk.manager.renewal.add(RuleFields("watched", tag="watched"), actor=ALICE)
    assert inventory.urgent() == 1
    assert inventory.with_renewal([first.id, second.id]) == {first.id}
    expired = inventory.search(InventoryQuery(status=CertificateStatus.EXPIRED)).rows[0]
    inventory.tag([expired.id], ["watched"], actor=ALICE)
    assert inventory.with_renewal([expired.id]) == frozenset()
    planned = desk.manager.renewal.ahead(first.id)
    assert planned is not None
    assert planned.rule == "watched"
    assert "was not ordered here" in planned.problem
    assert desk.manager.renewal.ahead(second.id) is None


@pytest.mark.parametrize("column", SORTABLE)
@pytest.mark.parametrize("descending", [False, True])
def test_pages_in_every_order_meet_without_gap_or_repetition(stocked: Managed, column: str, descending: bool) -> None:
    inventory = stocked.manager.inventory
    sort = Sort(column, descending)
    whole = [row.id for row in inventory.search(InventoryQuery(sort=sort)).rows]
    assert len(set(whole)) == 9
    assert whole == [row.id for row in inventory.stream(InventoryQuery(sort=sort))]
    pages = [inventory.search(InventoryQuery(sort=sort, limit=2))]
    while pages[-1].next:
        pages.append(inventory.search(InventoryQuery(sort=sort, limit=2, cursor=pages[-1].next)))
    assert [row.id for page in pages for row in page.rows] == whole
    back = [pages[-1]]
    while back[-1].previous:
        back.append(inventory.search(InventoryQuery(sort=sort, limit=2, cursor=back[-1].previous)))
    assert [[row.id for row in page.rows] for page in back[1:]] == [
        [row.id for row in page.rows] for page in pages[-2::-1]
    ]


@pytest.mark.parametrize("cursor", ["x", "W10", "WyJpZCIsZmFsc2UsZmFsc2UsIngiXQ", "A" * 5000, "é"])
def test_a_cursor_of_another_list_is_refused(stocked: Managed, cursor: str) -> None:
    with pytest.raises(InvalidArgument):
        stocked.manager.inventory.search(InventoryQuery(cursor=cursor))


def test_bands_and_weeks_count_what_is_valid(stocked: Managed) -> None:
    assert [(b.first, b.last, b.total, b.with_renewal) for b in stocked.manager.inventory.bands()] == [
        (0, 7, 2, 0),
        (8, 30, 1, 0),
        (31, 90, 1, 0),
    ]
    assert {week.number: week.count for week in stocked.manager.inventory.timeline() if week.count} == {
        0: 1,
        1: 1,
        2: 1,
        8: 1,
    }
    rule = stocked.manager.renewal.add(RuleFields("web", tag="web"), actor=ALICE)
    assert [b.with_renewal for b in stocked.manager.inventory.bands()] == [2, 1, 0]
    stocked.manager.renewal.delete(rule.id, actor=ALICE)
    assert [b.total for b in stocked.manager.inventory.bands(visible_to="bob")] == [0, 0, 1]


def test_filters_offer_what_there_is(stocked: Managed) -> None:
    inventory = stocked.manager.inventory
    assert [(c.value, c.count) for c in inventory.choices("issuer")] == [("CN=CA 1", 6), ("CN=CA 2", 3)]
    assert [(c.value, c.count) for c in inventory.choices("tag")] == [("web", 3), ("prod", 2)]
    assert [c.value for c in inventory.choices("owner")] == ["alice", "bob"]


def test_tags_owner_and_revocation_change_and_are_remembered(desk: Managed) -> None:
    stocked = stock(desk)
    inventory = stocked.manager.inventory
    [number] = inventory.ids(InventoryQuery(text="mail.corp"))
    assert inventory.tag([number], ["Web", "web", "dmz"], actor=ALICE).done == (number,)
    inventory.untag([number], "DMZ", actor=ALICE)
    inventory.set_owner([number], "carol", actor=ALICE)
    inventory.note_revoked(number, RevocationReason.KEY_COMPROMISE, actor=ALICE)
    details = inventory.get(number)
    assert details.row.tags == ("Web",)
    assert details.row.owner == "carol"
    assert details.row.status(NOW) is CertificateStatus.REVOKED
    assert [line.text for line in details.history] == [
        "Revoked: key compromise.",
        "Owner bob -> carol.",
        "Tag DMZ removed.",
        "Tagged Web, dmz.",
        "Imported from mail.corp.example.cer.",
    ]
    assert search(stocked, status=CertificateStatus.REVOKED) == ["mail.corp.example"]


def test_a_certificate_is_stored_once(desk: Managed) -> None:
    data = certificate()
    first = desk.manager.importing.store([ImportFile("a.cer", data)], actor=ALICE)
    again = desk.manager.importing.store([ImportFile("b.cer", data)], actor=ALICE)
    assert (len(first.added), again.added, again.known) == (1, (), 1)


def test_two_keys_of_one_name_are_two_certificates(desk: Managed) -> None:
    for key in (ec_key("P-256", 1), rsa_key()):
        desk.manager.importing.store([ImportFile("a.cer", certificate(key=key))], actor=ALICE)
    assert sorted(row.key_name for row in desk.manager.inventory.stream(InventoryQuery())) == [
        "P-256",
        "RSA 2048 bits",
    ]


def test_an_order_from_place_to_inventory(desk: Managed) -> None:
    _, ca = desk.service(answer=Answer.PENDING)
    order = desk.order("web.corp.example", tags=("web",))
    assert order.state is OrderState.PENDING
    ca.issue(100)
    desk.later(minutes=1)
    desk.manager.tasks.track()
    after = desk.manager.orders.get(order.id)
    assert after.fetched
    assert [event.kind for event in desk.told] == [LifecycleKind.ORDER_PENDING, LifecycleKind.ORDER_ISSUED]
    assert names(desk.manager.inventory.search(InventoryQuery(tag="web", key_held=True)).rows) == ["web.corp.example"]
    desk.manager.renewal.add(RuleFields("web", days_before=30, tag="web"), actor=ALICE)
    desk.later(days=340)
    ca.answers = [Answer.ISSUED]
    assert len(desk.manager.tasks.renew().what) == 1
    assert desk.manager.tasks.renew().what == ()
    rows = list(desk.manager.inventory.stream(InventoryQuery(is_ca=False)))
    assert [row.renewal for row in rows] == ["renewed", ""]
    assert search(desk, status=CertificateStatus.SUPERSEDED) == ["web.corp.example"]


def test_everybody_is_told_once_for_each_band(desk: Managed) -> None:
    desk.manager.importing.store([ImportFile("a.cer", certificate(days=40))], owner="alice", actor=ALICE)
    told = []
    for _ in itertools.repeat(None, 50):
        desk.manager.tasks.expiry_notices()
        told += [event.facts["band"] for event in desk.told]
        desk.told.clear()
        desk.later(days=1)
    assert told == [30, 14, 7, 3, 1, 0]


def test_what_had_expired_when_it_came_is_no_news(desk: Managed) -> None:
    desk.manager.importing.store([ImportFile("a.cer", certificate(days=-1))], actor=ALICE)
    desk.manager.tasks.expiry_notices()
    assert desk.told == []


def test_deleting_a_certificate_leaves_nothing_of_it(desk: Managed) -> None:
    stocked = stock(desk)
    numbers = stocked.manager.inventory.ids(InventoryQuery())
    assert stocked.manager.inventory.delete(numbers, actor=ALICE).done == tuple(numbers)
    with stocked.database.read() as connection:
        for table in ("", "_der", "_name", "_tag", "_line"):
            assert connection.one(f"SELECT COUNT(*) FROM manager_certificate{table}") == (0,)


def test_days_left_are_rounded_down(stocked: Managed) -> None:
    row = stocked.manager.inventory.search(InventoryQuery(text="xn--bcher")).rows[0]
    assert row.days_left(NOW) == 7
    assert row.days_left(NOW + timedelta(days=7.4)) == 0
