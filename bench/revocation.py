"""A CA with a million revoked certificates: its CRL and delta CRL, one more revocation, and OCSP meanwhile.

The database is a real one (SQLite, as `init` makes it): one certificate is issued and revoked through the CA, and its
rows are copied with other serial numbers and their own encoded CRL entries. What is measured of it is what the CA
does when it publishes: the entries read from the table, put together, hashed, signed, and the signature verified.

Bounds that are seconds or octets are contenders of their own here, so that every figure is a ratio as everywhere
else: at least 1 says that the bound holds.
"""

from __future__ import annotations

import base64
import gc
import os
import resource
import shutil
import subprocess
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from tests.support.requests import web_server_request
from tests.support.server import ADMINISTRATOR, RunningServer, free_ports

from bench.certsrv import TEMPLATE, requests_of
from bench.load import Driver, Job
from bench.measure import Contender, Ratio, Sample, Suite, WrongResult
from certwright.adcs.request import template_attributes
from certwright.adcs.roles import RevocationReason
from certwright.ca.configuration import CaConfiguration
from certwright.ca.database import CrlRecord
from certwright.ca.revocation.crl import CrlTiming, make_crl
from certwright.database.sqlite import SqliteConnection
from certwright.pki import ocsp
from certwright.pki.certificate import CertificateView
from certwright.pki.crl import encode_entry
from certwright.server import logs
from certwright.server.composition import Installation
from certwright.server.home import CONFIGURATION, Home
from certwright.wire.certsrv.forms import SubmitForm

ENTRIES: Final = 1_000_000
QUICK_ENTRIES: Final = 20_000
RECENT: Final = 1000
"""Entries of the delta CRL."""
TO_REVOKE: Final = 20_000
"""Certificates that are issued and not revoked, for the revocations that are measured."""
CRL_SECONDS: Final = 1.5
CRL_MEMORY: Final = 3.0  # times its size
DELTA_SECONDS: Final = 0.05
REVOKE_SECONDS: Final = 0.001
OCSP_P99: Final = 1.5  # times that of a quiet server
LOAD_SECONDS: Final = 4.0
ROUNDS: Final = 3
MEMBER: Final = "a process and core of its own"
SAME: Final = "the issuing process"
_FIRST: Final = 0x7A << 144
_BATCH: Final = 50_000


@dataclass
class Crowd:
    """The installation with its many rows."""

    installation: Installation
    entries: int
    since: datetime  # from here on: the last thousand
    numbers: Iterator[int]  # serial numbers that are issued and not revoked yet

    def crl(self) -> CrlRecord:
        """A new base CRL out of the database."""
        return self._made(None)

    def delta(self) -> CrlRecord:
        return self._made(1)

    def _made(self, base: int | None) -> CrlRecord:
        authority = self.installation.ca().authority
        record = authority.generations.current().record
        certificate = record.certificates[-1]
        signer = authority.generations.signer_for(record, certificate)
        now = datetime.now(UTC)
        timing = CrlTiming.of(now, CaConfiguration.load(record.settings), certificate.not_before)
        if base is None:
            return make_crl(signer, authority.database.revoked_encoded(key_index=0, now=now), 2, timing)
        entries = authority.database.revoked_since(self.since, key_index=0, now=now)
        return make_crl(signer, entries, 2, timing, base_number=base)


def crowd(stack: ExitStack, entries: int) -> tuple[Crowd, RunningServer]:
    """An installation of its own, filled."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="certwright-bench-")))
    server = RunningServer.initialise(folder)
    installation = stack.enter_context(Installation.open(Home.open(server.home)))
    installation.start_issuers()
    door = installation.registry.connect("", installation.operator())
    issued = door.submit(web_server_request("www.corp.example"), template_attributes(TEMPLATE))
    assert issued.certificate is not None
    view = CertificateView.parse(issued.certificate)
    admin = installation.registry.administer("", installation.operator())
    admin.revoke(view.serial_number, RevocationReason.KEY_COMPROMISE)
    filled = Crowd(installation, entries, datetime.now(UTC) - timedelta(hours=1), iter(()))
    _fill(installation, view.serial_number, entries, filled.since)
    filled.numbers = iter(range(_FIRST + entries, _FIRST + entries + TO_REVOKE))
    installation.database.maintain()
    return filled, server


def _fill(installation: Installation, serial_number: str, entries: int, since: datetime) -> None:
    """Copy the rows of one revoked certificate: `entries` revoked ones and some that are not."""
    long_ago = int((since - timedelta(days=30)).timestamp())
    recently = int(datetime.now(UTC).timestamp()) - 60
    with installation.database.transaction() as connection:
        first = connection.one("SELECT id FROM ca_certificate WHERE serial_number = ?", (serial_number,))
        assert first is not None
        total = entries - 1 + TO_REVOKE
        for table in ("ca_request", "ca_certificate", "ca_revocation"):
            columns = [row[1] for row in connection.many(f"PRAGMA table_info({table})")]
            model = dict(zip(columns, connection.many(f"SELECT * FROM {table} WHERE id = ?", first)[0], strict=True))
            last = total if table != "ca_revocation" else entries - 1
            sql = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
            for begun in range(0, last, _BATCH):
                rows = [
                    tuple(_copied(model, table, first[0], number, entries, long_ago, recently).values())
                    for number in range(begun, min(begun + _BATCH, last))
                ]
                connection.executemany(sql, rows)
        connection.execute("UPDATE ca SET next_request_id = ?", ((first[0] & 0xFFFFFFFF) + total + 10,))


def _copied(
    model: dict[str, Any], table: str, first: int, number: int, entries: int, long_ago: int, recently: int
) -> dict[str, Any]:
    is_revoked = number < entries - 1
    when = recently if entries - 1 - RECENT <= number else long_ago
    serial = _FIRST + number + (0 if is_revoked else 1)
    row = {**model, "id": first + 1 + number}
    if table == "ca_request":
        row["request_id"] = model["request_id"] + 1 + number
        if not is_revoked:
            row["state"] = 20
        return row
    row["serial_number"] = f"{serial:x}"
    if table == "ca_certificate":
        row["sha1"] = f"{serial:040x}"
        if not is_revoked:
            row |= {"revoked_when": None, "revoked_effective": None, "revoked_reason": None}
        else:
            row |= {"revoked_when": when, "revoked_effective": when}
        return row
    row["effective"] = when
    row["entry"] = encode_entry(serial, datetime.fromtimestamp(when, UTC), 1)
    return row


# -- contenders ------------------------------------------------------------------------------------------------------


def bound(name: str, seconds: float) -> Contender:
    """What something may cost at most, as a contender."""
    return Contender(name, lambda _: Sample(1, seconds, seconds))


def once(name: str, do: Callable[[], object], check: Callable[[], None]) -> Contender:
    """CPU of doing something once."""

    def run(_seconds: float) -> Sample:
        gc.collect()
        cpu, wall = time.process_time(), time.perf_counter()
        do()
        return Sample(1, time.process_time() - cpu, time.perf_counter() - wall)

    return Contender(name, run, check)


def peak_of(do: Callable[[], CrlRecord]) -> float:
    """The most memory that was occupied meanwhile beyond what was before, in sizes of what was made.

    The larger of what Python allocated and of what the resident set grew by: freed pages may hide a part of the one,
    SQLite's cache is no part of the other.
    """
    gc.collect()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark begins anew. proc(5)
    resident = _status("VmRSS")
    tracemalloc.start()
    try:
        made = do()
        allocated = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    return max(allocated, _status("VmHWM") - resident) / len(made.der)


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


class DatabaseTime:
    """Adds up the CPU that SQLite takes, commits and all, while it is in force; not the wait for the disk."""

    METHODS: Final = ("execute", "executemany", "many", "begin", "commit")

    def __init__(self) -> None:
        self.seconds = 0.0

    def __enter__(self) -> DatabaseTime:
        self._before = {name: getattr(SqliteConnection, name) for name in self.METHODS}
        for name, method in self._before.items():
            setattr(SqliteConnection, name, self._timed(method))
        return self

    def __exit__(self, *_: object) -> None:
        for name, method in self._before.items():
            setattr(SqliteConnection, name, method)

    def _timed(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def timed(connection: SqliteConnection, *arguments: Any, **named: Any) -> Any:
            begun = time.thread_time()
            try:
                return method(connection, *arguments, **named)
            finally:
                self.seconds += time.thread_time() - begun

        return timed


def revoking(filled: Crowd) -> Contender:
    """Database time of revoking one certificate after the other, each in its own commit."""
    installation = filled.installation

    def run(seconds: float) -> Sample:
        admin = installation.registry.administer("", installation.operator())
        count, until = 0, time.perf_counter() + seconds
        with DatabaseTime() as spent:
            while time.perf_counter() < until:
                admin.revoke(f"{next(filled.numbers):x}", RevocationReason.SUPERSEDED)
                count += 1
        return Sample(count, spent.seconds, seconds)

    def check() -> None:
        run(0.05)
        serial = f"{_FIRST + filled.entries:x}"
        with installation.database.read() as connection:
            row = connection.one("SELECT revoked_reason FROM ca_certificate WHERE serial_number = ?", (serial,))
        if row is None or row[0] != RevocationReason.SUPERSEDED:
            raise WrongResult("the certificate is not revoked")

    return Contender("one more revocation, database time", run, check)


class Meanwhile:
    """OCSP at an even pace, alone and while the CA issues as fast as it can and publishes its CRL over and over.

    Two responders are asked: the server that issues, and another process on the same database, as one of an array.
    While that one is asked, it has a core of its own, as the guide recommends, which it shares only with who asks:
    on a machine without a free core, whoever wakes up waits until the system takes a core from others, 3 ms and more.
    """

    def __init__(self, stack: ExitStack, filled: Crowd, server: RunningServer, folder: Path) -> None:
        server.cli("responder", "enable", "--no-announce")
        member = _member(server, folder)
        self._server = server
        self._cores = os.sched_getaffinity(0)
        for each in (server, member):
            stack.callback(each.stop)
            each.start("serve")
        issuer = CertificateView.parse(filled.installation.chain()[0])
        serials = range(_FIRST + filled.entries + TO_REVOKE - 500, _FIRST + filled.entries + TO_REVOKE)
        questions = [ocsp.encode_request([ocsp.cert_id(issuer, serial)]) for serial in serials]
        bodies = [base64.b64encode(question).decode() for question in questions]
        self._asking = {
            name: stack.enter_context(Driver(_questions_to(each, bodies)))
            for name, each in ((MEMBER, member), (SAME, server))
        }
        forms = [
            SubmitForm(
                request=request.public_bytes(Encoding.PEM).decode(),
                attributes=f"CertificateTemplate:{TEMPLATE}\r\n",
                friendly_type="Saved-Request Certificate",
            )
            for request in requests_of()
        ]
        self._issuing = stack.enter_context(Driver(_orders_to(server, forms)))
        self._apart_processes = (_pid(member), self._asking[MEMBER].pid)
        self._other_processes = (_pid(server), self._issuing.pid)
        self.notes: list[str] = []

    def _place(self, who: str) -> set[int]:
        """Give the responder of its own its core, or everything to all; returns the cores of what is begun now."""
        first, *others = sorted(self._cores)
        apart, rest = ({first}, set(others)) if who == MEMBER and others else (self._cores, self._cores)
        for pid in self._apart_processes:
            _run_on(pid, apart)
        for pid in self._other_processes:
            _run_on(pid, rest)
        return rest

    def alone(self, who: str, seconds: float) -> Sample:
        self._place(who)
        return self._asked(who, max(seconds, LOAD_SECONDS), "alone")

    def beside(self, who: str, seconds: float) -> Sample:
        """The CRL is published by the command, which is a process of its own, as by the worker's."""
        rest = self._place(who)
        stop, seconds = threading.Event(), max(seconds, LOAD_SECONDS)
        issued: list[int] = []
        threads = [
            threading.Thread(target=lambda: issued.append(self._issuing.slice(seconds + 1).good)),
            threading.Thread(target=self._publish, args=(stop, rest)),
        ]
        for thread in threads:
            thread.start()
        try:
            time.sleep(0.5)
            return self._asked(who, seconds, "beside issuing")
        finally:
            stop.set()
            for thread in threads:
                thread.join()
            self.notes[-1] += f"; {issued[0] / (seconds + 1):,.0f} certificates/s were issued meanwhile"

    def _publish(self, stop: threading.Event, cores: set[int]) -> None:
        os.sched_setaffinity(0, cores)  # of this thread, and of the command that it starts
        while not stop.is_set():
            done = self._server.run("ca", "publish-crl")
            if done.returncode:
                raise subprocess.SubprocessError(done.stderr)

    def _asked(self, who: str, seconds: float, what: str) -> Sample:
        made = self._asking[who].slice(seconds)
        if made.bad or not made.good:
            raise WrongResult(f"{made.bad} OCSP answers of {made.bad + made.good} were none: {made.other}")
        self.notes.append(
            f"{who}, {what}: {made.rate:,.0f}/s, p50 {made.p50 * 1e3:.2f} ms, p99 {made.p99 * 1e3:.2f} ms"
        )
        return Sample(1, made.p99, made.seconds)

    def contenders(self, who: str) -> list[Contender]:
        return [
            Contender(f"OCSP of {who} beside issuing", partial(self.beside, who)),
            Contender(f"OCSP of {who} alone", partial(self.alone, who)),
        ]


def _questions_to(server: RunningServer, bodies: Sequence[str]) -> Job:
    return Job(
        port=server.http_port,
        path="/ocsp",
        content_type="application/ocsp-request",
        bodies=bodies,
        encoded=True,
        marker="max-age=",
        connections=8,
        pause=0.005,
    )


def _orders_to(server: RunningServer, forms: Sequence[SubmitForm]) -> Job:
    return Job(
        port=server.https_port,
        path="/certsrv/certfnsh.asp",
        content_type="application/x-www-form-urlencoded",
        bodies=[form.encode().decode() for form in forms],
        marker="certnew.cer?ReqID=",
        root=str(server.root_certificate),
        account=ADMINISTRATOR,
        password=server.password,
    )


def _pid(server: RunningServer) -> int:
    assert server.process is not None
    return server.process.pid


def _run_on(pid: int, cores: set[int]) -> None:
    """All threads of a process run on these cores, and those that they begin."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(ProcessLookupError):  # it has just ended
            os.sched_setaffinity(int(thread.name), cores)


def _member(server: RunningServer, folder: Path) -> RunningServer:
    """Another home with the same database, and ports of its own."""
    home = folder / "member"
    shutil.copytree(server.home, home, ignore=shutil.ignore_patterns("database.sqlite3*", "*.lock"))
    (home / "database.sqlite3").symlink_to(server.home / "database.sqlite3")
    https, http = free_ports(2)
    settings = replace(Home.open(server.home).settings, https_port=https, http_port=http)
    (home / CONFIGURATION).write_text(settings.to_toml())
    return RunningServer(home, https, http)


# -- the suite -------------------------------------------------------------------------------------------------------


def suite(*, quick: bool = False) -> Suite:
    """A CRL of a million entries; with `quick`, of some thousands."""
    logs.configure("error", "console")
    entries = QUICK_ENTRIES if quick else ENTRIES
    scale = entries / ENTRIES
    with ExitStack() as stack:
        filled, server = crowd(stack, entries)
        made: list[CrlRecord] = []
        memory: list[float] = []

        def crl() -> None:
            made[:] = [filled.crl()]

        def check_crl() -> None:
            crl()
            read = x509.load_der_x509_crl(made[0].der)
            if len(read) < entries or made[0].entry_count != len(read):
                raise WrongResult(f"the CRL has {len(read)} entries")
            made.clear()

        def check_delta() -> None:
            if not RECENT <= filled.delta().entry_count < 2 * RECENT:
                raise WrongResult(f"the delta CRL has {filled.delta().entry_count} entries")

        def peak(_seconds: float) -> Sample:
            made.clear()
            memory.append(max(0.01, peak_of(filled.crl)))
            return Sample(1, memory[-1], 1.0)

        # the delta is checked first: later revocations are recent, too
        meanwhile = Meanwhile(stack, filled, server, server.home.parent)
        name = f"CRL of {entries:,} entries"
        return Suite(
            f"revocation, {entries:,} entries",
            [
                once("CRL from the database", crl, check_crl),
                bound("seconds for it", CRL_SECONDS * scale),
                Contender("memory of it", peak),
                bound("times its size", CRL_MEMORY),
                once("delta CRL", filled.delta, check_delta),
                bound("seconds for the delta", DELTA_SECONDS),
                revoking(filled),
                bound("seconds to revoke", REVOKE_SECONDS),
                *meanwhile.contenders(MEMBER),
                *meanwhile.contenders(SAME),
            ],
            [
                Ratio(
                    f"{name}: {CRL_SECONDS * scale:g} s of CPU by it", "CRL from the database", "seconds for it", 1.0
                ),
                Ratio(f"{name}: {CRL_MEMORY:g} sizes by its memory", "memory of it", "times its size", 1.0),
                Ratio(f"delta of {RECENT:,}: 50 ms of CPU by it", "delta CRL", "seconds for the delta", 1.0),
                Ratio(
                    "revoking one: 1 ms of database by it",
                    "one more revocation, database time",
                    "seconds to revoke",
                    1.0,
                ),
                *(
                    Ratio(
                        f"OCSP p99 of {who}: alone by beside",
                        f"OCSP of {who} beside issuing",
                        f"OCSP of {who} alone",
                        least,
                    )
                    for who, least in ((MEMBER, 1 / OCSP_P99), (SAME, None))
                ),
            ],
            notes=[
                "SQLite; memory is the peak of what was allocated, in sizes of the CRL;"
                " database time is CPU: how long a disk takes for a commit is its own"
            ],
            remarks=lambda: [f"peak memory: {max(memory):.2f} sizes" if memory else "", *meanwhile.notes[-6:]],
            close=stack.pop_all().close,
            most_rounds=ROUNDS,
        )
    raise AssertionError("an exit stack swallows nothing")  # for the type checker
