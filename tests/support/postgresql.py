"""A PostgreSQL server of the tests' own: made in a temporary folder, gone with the session."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote

import pytest

_INSTALLED: Final = "/usr/lib/postgresql/*/bin/initdb"
_SETTINGS: Final = {
    "listen_addresses": "",  # its Unix socket alone
    "max_connections": "40",
    "shared_buffers": "32MB",
    "min_wal_size": "32MB",
    "max_wal_size": "64MB",
    "autovacuum": "off",
    "log_min_messages": "fatal",
}


def find_postgresql() -> Path | None:
    """The folder of the newest server programs on this machine."""
    found = sorted(
        Path("/").glob(_INSTALLED.lstrip("/")), key=lambda path: [int(p) for p in path.parts if p.isdigit()]
    )
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).parent if on_path else None


class PostgresqlServer:
    """A running server; every database made here lies on it."""

    def __init__(self, socket_folder: Path) -> None:
        self._socket_folder = socket_folder
        self._numbers = itertools.count(1)

    def url(self, name: str) -> str:
        return f"postgresql://postgres@/{name}?host={quote(str(self._socket_folder), safe='')}"

    def create(self, template: str = "template1") -> str:
        """The URL of a new database, a copy of another one."""
        name = f"test_{next(self._numbers)}"
        self._administer(f'CREATE DATABASE {name} TEMPLATE "{template}"')
        return self.url(name)

    def name_of(self, url: str) -> str:
        return url.partition("@/")[2].partition("?")[0]

    def drop(self, url: str) -> None:
        self._administer(f"DROP DATABASE IF EXISTS {self.name_of(url)} WITH (FORCE)")

    def disconnect(self, url: str) -> None:
        """End all connections to a database, as a restart of the server would."""
        self._administer(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{self.name_of(url)}'"
        )

    def _administer(self, sql: str) -> None:
        import psycopg

        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(sql.encode())


@contextmanager
def running_postgresql(programs: Path) -> Iterator[PostgresqlServer]:
    """Make a cluster, start it, stop and remove it. The server refuses to run as root, so root hands it over."""
    user = pwd.getpwnam("postgres") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
    prefix: list[str] = []
    if setpriv := shutil.which("setpriv"):
        prefix = [setpriv, "--pdeathsig", "QUIT"]  # a killed test run leaves no server behind
        if os.geteuid() == 0:
            prefix += ["--reuid", str(user.pw_uid), "--regid", str(user.pw_gid), "--clear-groups"]
    folder = Path(tempfile.mkdtemp(prefix="certwright-pg-"))  # short: a socket's path may have 107 characters
    try:
        os.chown(folder, user.pw_uid, user.pw_gid)
        data = str(folder / "data")
        environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8", "HOME": str(folder)}
        subprocess.run(
            [*prefix, str(programs / "initdb"), "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "-N"],
            check=True,
            capture_output=True,
            cwd=folder,
            env=environment,
        )
        options = [part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")]
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(
                [*prefix, str(programs / "postgres"), "-D", data, "-k", str(folder), *options],
                stdout=log,
                stderr=log,
                cwd=folder,
                env=environment,
            )
        try:
            _await(programs, folder, server)
            yield PostgresqlServer(folder)
        finally:
            server.send_signal(signal.SIGQUIT)
            server.wait(30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _await(programs: Path, folder: Path, server: subprocess.Popen[bytes]) -> None:
    """Wait until it takes connections."""
    deadline = time.monotonic() + 60
    ask = [str(programs / "pg_isready"), "-q", "-h", str(folder)]
    while subprocess.run(ask, check=False).returncode != 0:
        if server.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"PostgreSQL did not start: {(folder / 'log').read_text(errors='replace')[-2000:]}")
        time.sleep(0.05)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresqlServer]:
    """The session's server; the tests that want it are skipped by name where PostgreSQL is not installed."""
    programs = find_postgresql()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    pytest.importorskip("psycopg", reason="PostgreSQL's driver is not installed (pip install 'certwright[postgres]')")
    with running_postgresql(programs) as server:
        yield server


@pytest.fixture(scope="session")
def postgresql_with_tables(postgresql: PostgresqlServer) -> Callable[[], str]:
    """Gives the URL of a new database with all tables, copied from one that was migrated once."""
    from certwright.server.schema import migrate

    template = postgresql.create()
    migrate(template)
    return lambda: postgresql.create(postgresql.name_of(template))
