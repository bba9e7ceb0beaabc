"""`python -m bench.inventory [ROWS]`: the inventory at a million certificates, on SQLite.

Measures the slowest of a person's questions (filtered, sorted, with their count), pages far inside a list, the
dashboard's counts, and the memory an export takes. Bounds: a page within 1 s at the 95th percentile, an export under
200 MB. The status is 1 when one is missed.
"""

from __future__ import annotations

import hashlib
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from tests.support.embedded_directory import new_sqlite_url
from tests.support.scripted_ca import ScriptedReach

from certwright.database import Database
from certwright.keystores.sealing import Sealer
from certwright.manager.facade import Manager
from certwright.manager.inventory_values import CertificateStatus, ColumnFilter, InventoryQuery, Operator, Sort
from certwright.manager.values import RuleFields, key

ROWS: Final = 1_000_000
PAGE_BOUND: Final = 1.0
MEMORY_BOUND: Final = 200
REPEATS: Final = 7
_NOW: Final = datetime(2026, 3, 1, tzinfo=UTC)
_BATCH: Final = 20_000

QUESTIONS: Final = {
    "nothing but the list": InventoryQuery(),
    "newest first": InventoryQuery(sort=Sort("created", descending=True)),
    "without what is old": InventoryQuery(hide_old=True),
    "by subject, without what is old": InventoryQuery(hide_old=True, sort=Sort("subject")),
    "a band": InventoryQuery(band=30),
    "a band by owner": InventoryQuery(band=7, sort=Sort("owner")),
    "active by subject": InventoryQuery(status=CertificateStatus.ACTIVE, sort=Sort("subject", descending=True)),
    "a name": InventoryQuery(text="host123456.eu"),
    "a word that many have": InventoryQuery(text="host1", sort=Sort("issuer")),
    "a word that all have": InventoryQuery(text="corp.example", sort=Sort("not_after", descending=True)),
    "a domain and a template": InventoryQuery(text="eu.corp.example", template="Template 7"),
    "two words": InventoryQuery(text="host99 eu.corp", hide_old=True),
    "a serial number": InventoryQuery(text="5f3a11"),
    "a template by subject": InventoryQuery(template="Template 3", sort=Sort("subject")),
    "a rare template": InventoryQuery(template="Template 999", sort=Sort("subject")),
    "an issuer by end": InventoryQuery(issuer="CN=Issuing CA 2,O=Corp", sort=Sort("not_after", descending=True)),
    "an owner's own": InventoryQuery(visible_to="owner 17", hide_old=True, sort=Sort("subject")),
    "a tag": InventoryQuery(tag="prod", sort=Sort("subject")),
    "a rare tag": InventoryQuery(tag="vip", sort=Sort("template")),
    "tag, owner and issuer": InventoryQuery(tag="prod", owner="owner 5", issuer="CN=Issuing CA 1,O=Corp"),
    "revoked": InventoryQuery(status=CertificateStatus.REVOKED, sort=Sort("subject")),
    "superseded": InventoryQuery(status=CertificateStatus.SUPERSEDED),
    "key held": InventoryQuery(key_held=True, sort=Sort("subject")),
    "monitored": InventoryQuery(managed=False, sort=Sort("key")),
    "ends on a day": InventoryQuery(filters=(ColumnFilter("not_after", Operator.IS, "2026-06-01"),)),
    "subject contains": InventoryQuery(filters=(ColumnFilter("subject", Operator.CONTAINS, "host77"),)),
    "nothing at all": InventoryQuery(text="no such name", template="Template 1", tag="prod"),
}


def fill(database: Database, count: int) -> None:
    """Rows as imports make them, without the certificates themselves."""
    random.seed(7)
    at = int(_NOW.timestamp())
    columns = (
        "id, sha256, sha1, serial, subject, subject_key, common_name, names, issuer, issuer_key, template,"
        " template_key, not_before, not_after, key_name, spki_sha256, ski, aki, purposes, is_ca, managed, source,"
        " owner, owner_key, created, created_by, revoked, revoked_reason, superseded_by, domain"
    )
    marks = ", ".join("?" * 30)
    for start in range(0, count, _BATCH):
        rows, names, tags = [], [], []
        for number in range(start + 1, min(start + _BATCH, count) + 1):
            host = f"host{number}.{('eu', 'us', 'asia')[number % 3]}.corp.example"
            issuer, owner = f"CN=Issuing CA {number % 4},O=Corp", f"owner {number % 400}"
            template = "Template 999" if number % 50_000 == 0 else f"Template {number % 20}"
            sha256 = hashlib.sha256(str(number).encode()).hexdigest()
            end = at + random.randint(-400, 730) * 86_400 + number % 86_400
            subject = f"CN={host},OU=Department {number % 50},O=Corp,C=DE"
            rows.append(
                (
                    number, sha256, sha256[:40], sha256[20:52], subject, key(f"{host} {subject}"), host,
                    f"DNS:{host}", issuer, key(issuer), template, key(template), end - 31_536_000, end,
                    "RSA 3072 bits", sha256, sha256[:40], sha256[24:], "Server Authentication", False,
                    number % 10 != 0, "import", owner, key(owner), at, "import",
                    at if number % 1000 == 1 else None, "", number - 1 if number % 20 == 2 else None, "",
                )
            )  # fmt: skip
            names += [(host, number), (host.partition(".")[2], number), ("corp.example", number)]
            if number % 4 == 0:
                tags.append(("prod", "prod", number))
            if number % 100_000 == 0:
                tags.append(("vip", "vip", number))
        with database.transaction() as connection:
            connection.executemany(f"INSERT INTO manager_certificate ({columns}) VALUES ({marks})", rows)
            connection.executemany(
                "INSERT INTO manager_certificate_name (name_key, certificate_id) VALUES (?, ?)", names
            )
            connection.executemany(
                "INSERT INTO manager_certificate_tag (tag, tag_key, certificate_id) VALUES (?, ?, ?)", tags
            )
    with database.transaction() as connection:
        connection.execute(
            "INSERT INTO manager_private_key (spki_sha256, algorithm, sealed, created, created_by)"
            " SELECT spki_sha256, 'RSA', sha256, 0, '' FROM manager_certificate WHERE id % 50 = 0"
        )


def timed(act: Callable[[], object]) -> float:
    """Seconds of the slowest but the single slowest: the 95th percentile of few."""
    took = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        act()
        took.append(time.perf_counter() - start)
    return sorted(took)[-2]


def deep(manager: Manager, query: InventoryQuery) -> Iterator[Callable[[], object]]:
    """Pages far inside a list."""
    page = manager.inventory.search(query)
    for _ in range(20):
        page = manager.inventory.search(
            InventoryQuery(sort=query.sort, limit=500, cursor=page.next), with_count=False
        )
    following = InventoryQuery(sort=query.sort, cursor=page.next)
    yield lambda: manager.inventory.search(following)


def main(count: int = ROWS) -> int:
    missed = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        database = Database.open(new_sqlite_url(folder))
        start = time.perf_counter()
        fill(database, count)
        size = (folder / "certwright.db").stat().st_size >> 20
        print(f"{count:,} certificates in {time.perf_counter() - start:.0f} s, {size} MiB")
        sealer = Sealer.create(folder / "master.key")
        manager = Manager(
            database, sealer, ScriptedReach(), lambda connection, event: None, clock=lambda: _NOW, actor="clock"
        )
        manager.renewal.add(RuleFields("prod", tag="prod"), actor="bench")
        acts: dict[str, Callable[[], object]] = {
            name: lambda query=query: manager.inventory.search(query)  # type: ignore[misc]
            for name, query in QUESTIONS.items()
        }
        acts["a page far inside"] = next(deep(manager, InventoryQuery(sort=Sort("subject"))))
        acts["bands"] = manager.inventory.bands
        acts["timeline"] = manager.inventory.timeline
        acts["choices"] = lambda: [manager.inventory.choices(each) for each in ("issuer", "template", "owner")]
        for name, act in acts.items():
            took = timed(act)
            missed += took > PAGE_BOUND
            print(f"{took * 1000:8.1f} ms  {name}{'   MISSED' if took > PAGE_BOUND else ''}")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start = time.perf_counter()
        written = sum(map(len, manager.exporting.csv(InventoryQuery(hide_old=True))))
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10
        missed += grown > MEMORY_BOUND
        print(f"CSV: {written >> 20} MiB in {time.perf_counter() - start:.0f} s, {grown} MiB more memory")
        database.close()
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else ROWS))
