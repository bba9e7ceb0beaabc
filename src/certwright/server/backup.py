"""Backup and restore of a whole installation: one encrypted file with the database of one moment, keys and settings.

AD CS backs up a CA's database and its keys; ours has everything that a home folder has. It is taken while the server
runs. A restore goes into an empty folder, and writes nothing before it has read the file to its end. What a CA did
after the backup is not in it, so its numbers jump: no CRL number and no request ID comes back.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final

import structlog

from certwright import __version__
from certwright.adcs.errors import AdcsError, ConfigurationError, InvalidArgument
from certwright.adcs.events import AuditEvent
from certwright.adcs.requester import Requester
from certwright.adcs.roles import CaAccess
from certwright.database import Database
from certwright.database.opening import sqlite_path
from certwright.database.snapshot import PostgresqlTables, check_sqlite, snapshot_sqlite
from certwright.keystores.encrypted_stream import DecryptingReader, EncryptedStreamError, EncryptingWriter
from certwright.server.composition import SYSTEM, Installation
from certwright.server.home import CONFIGURATION, SQLITE, Home
from certwright.server.system_user import system_user
from certwright.server.tables import known_migrations

log = structlog.get_logger(__name__)

FORMAT: Final = 1
CRL_NUMBERS: Final = 100_000
"""By how much CRL numbers jump: more lists than anybody makes between a backup and its restoring."""
REQUEST_IDS: Final = 1_000_000
"""The same for request IDs, which end at 2^31."""

_MANIFEST: Final = "manifest.json"
_HOME: Final = "home/"
_TABLES: Final = "tables/"
_DATABASE: Final = "database.sqlite3"
_MASTER_KEY: Final = "master.key"
_LEFT_OUT: Final = re.compile(
    r"database\.sqlite3.*|.*\.lock|administrator-password|kerberos\.replay.*|\.backup-.*|\.new-.*|(.*/)?\.new-.*"
)
"""Of the home folder: the database is copied otherwise, the rest is of a process or of an hour."""
_NAME: Final = re.compile(r"(home|tables)/[A-Za-z0-9._()+,!@#$&=~{} \-/]{1,512}")
_LARGEST_MANIFEST: Final = 1 << 20
_PUBLIC: Final = ("published", "root-ca.crt")


@dataclass(frozen=True, slots=True)
class BackupFacts:
    """What a backup says of itself."""

    made: datetime
    version: str
    hostname: str
    database: str  # sqlite or postgresql
    cas: tuple[str, ...]
    migrations: frozenset[str]
    tables: Mapping[str, Sequence[str]]  # of PostgreSQL, with their columns
    has_master_key: bool
    size: int = 0  # of everything in it, octets


@dataclass(frozen=True, slots=True)
class Jump:
    """Where a CA's numbers go on after a restore."""

    ca: str
    crl_number: int
    request_id: int


# -- making one ------------------------------------------------------------------------------------------------------


def make(
    installation: Installation, path: Path, password: str, operator: Requester, *, with_master_key: bool = True
) -> BackupFacts:
    """Write a backup to a new file, and read it back before it counts.

    Args:
        with_master_key: without it the file opens nothing that is sealed, and restoring needs that key apart.

    Raises:
        AccessDenied: the operator is no backup operator of every CA.
        InvalidArgument: the file exists, its folder does not, or the password is too short.
        DatabaseError: the database cannot be copied.
    """
    for ca in installation.cas:
        installation.demand(operator, CaAccess.OPERATOR, ca.authority.name)
    if path.exists():
        raise InvalidArgument(f"{path} exists already; name another file: a backup never replaces one")
    if not path.absolute().parent.is_dir():
        raise InvalidArgument(f"there is no folder {path.absolute().parent}")
    _audit(installation, AuditEvent.BACKUP_STARTED, operator.account, file=path.name)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            _write(installation, file, password, with_master_key=with_master_key)
            file.flush()
            os.fsync(file.fileno())
        facts = examine(draft, password)
        os.link(draft, path)  # unlike a rename it replaces nothing
    except FileExistsError:
        raise InvalidArgument(f"{path} exists already; name another file") from None
    except EncryptedStreamError as error:
        raise InvalidArgument(str(error)) from error
    finally:
        draft.unlink(missing_ok=True)
    _audit(installation, AuditEvent.BACKUP_COMPLETED, operator.account, file=path.name)
    return facts


def make_passing(installation: Installation, password: str, operator: Requester) -> IO[bytes]:
    """A backup for whoever takes it away at once: an open file without a name. Errors as `make`."""
    with tempfile.TemporaryDirectory(prefix=".backup-", dir=installation.home.folder) as folder:
        path = Path(folder, "console.cwb")
        make(installation, path, password, operator)
        return path.open("rb")  # stays readable when its name is gone


def _write(installation: Installation, file: IO[bytes], password: str, *, with_master_key: bool) -> None:
    writer = EncryptingWriter(file, password)
    with (
        gzip.GzipFile(fileobj=writer, mode="wb", compresslevel=3, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w|") as archive,
        _database(installation) as parts,
    ):
        tables, write_database = parts
        home = installation.home
        manifest = {
            "format": FORMAT,
            "made": installation.clock().astimezone(UTC).isoformat(),
            "version": __version__,
            "hostname": home.settings.hostname,
            "database": installation.database.dialect,
            "cas": [ca.authority.name for ca in installation.cas],
            "migrations": sorted(known_migrations()),
            "tables": {name: list(columns) for name, columns in tables.items()},
            "master_key": with_master_key,
        }
        content = json.dumps(manifest).encode()
        _add(archive, _MANIFEST, io.BytesIO(content), len(content))
        write_database(archive)  # before the files: what a row names is there when they are read
        for path in _files_of(home):
            relative = path.relative_to(home.folder).as_posix()
            if relative == _MASTER_KEY and not with_master_key:
                continue
            with (
                suppress(FileNotFoundError),
                path.open("rb") as source,
            ):  # what is gone since it was listed was of an hour
                status = os.fstat(source.fileno())
                _add(archive, _HOME + relative, source, status.st_size, status.st_mode)
    writer.finish()


@contextmanager
def _database(
    installation: Installation,
) -> Iterator[tuple[Mapping[str, Sequence[str]], Callable[[tarfile.TarFile], None]]]:
    """One moment of the database: its tables, where it is PostgreSQL, and how it is written."""
    home = installation.home
    if installation.database.dialect == "sqlite":
        copy = home.folder / f".backup-{os.getpid()}.sqlite3"

        def add_file(archive: tarfile.TarFile) -> None:
            with copy.open("rb") as source:
                _add(archive, _HOME + _DATABASE, source, os.fstat(source.fileno()).st_size)

        try:
            snapshot_sqlite(sqlite_path(home.database_url), copy)
            yield {}, add_file
        finally:
            copy.unlink(missing_ok=True)
        return
    with closing(PostgresqlTables(home.database_url)) as database, database.reading() as tables:

        def add_tables(archive: tarfile.TarFile) -> None:
            for name, columns in tables.items():
                with tempfile.TemporaryFile(dir=home.folder) as spool:
                    database.copy_out(name, columns, spool)
                    size = spool.tell()
                    spool.seek(0)
                    _add(archive, _TABLES + name, spool, size)

        yield tables, add_tables


def _files_of(home: Home) -> Iterator[Path]:
    """Every plain file of the home folder that belongs into a backup, in order."""
    for path in sorted(home.folder.rglob("*")):
        relative = path.relative_to(home.folder).as_posix()
        if path.is_symlink() or not path.is_file() or _LEFT_OUT.fullmatch(relative):
            continue
        if _is_safe(_HOME + relative):
            yield path
        else:
            log.warning("not_backed_up", file=relative)


def _add(archive: tarfile.TarFile, name: str, source: IO[bytes], size: int, mode: int = 0o600) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, mode & 0o755
    archive.addfile(entry, source)


# -- reading one -----------------------------------------------------------------------------------------------------


def examine(path: Path, password: str) -> BackupFacts:
    """Read a backup to its end; nothing is written.

    Raises:
        EncryptedStreamError: the password is wrong, or the file is none, damaged or cut off.
        ConfigurationError: it is of another program, or of a newer version.
    """
    facts: BackupFacts | None = None
    size = 0
    with _opened(path, password) as entries:
        for entry, content in entries:
            if facts is None:
                facts = _facts(entry, content)
                continue
            if not _is_safe(entry.name):
                raise ConfigurationError(f"the backup holds a file that no installation has: {entry.name[:80]!r}")
            while piece := content.read(1 << 20):
                size += len(piece)
    if facts is None:
        raise ConfigurationError("the backup is empty")
    return replace(facts, size=size)


@contextmanager
def _opened(path: Path, password: str) -> Iterator[Iterator[tuple[tarfile.TarInfo, IO[bytes]]]]:
    with path.open("rb") as file:
        reader = DecryptingReader(file, password)

        def entries() -> Iterator[tuple[tarfile.TarInfo, IO[bytes]]]:
            try:
                with tarfile.open(fileobj=reader, mode="r|gz") as archive:
                    for entry in archive:
                        content = archive.extractfile(entry) if entry.isreg() else None
                        if content is None:
                            raise ConfigurationError(
                                f"the backup holds something that is no file: {entry.name[:80]!r}"
                            )
                        yield entry, content
                while reader.read(1 << 16):
                    pass  # to the end, which is authenticated
            except (tarfile.TarError, EOFError, OSError) as error:
                raise ConfigurationError(f"the backup cannot be read: {error}") from error

        yield entries()


def _facts(entry: tarfile.TarInfo, content: IO[bytes]) -> BackupFacts:
    if entry.name != _MANIFEST or entry.size > _LARGEST_MANIFEST:
        raise ConfigurationError("this is no backup of Certwright")
    found: dict[str, Any] = json.loads(content.read())
    if found.get("format") != FORMAT:
        raise ConfigurationError(f"the backup has format {found.get('format')}, this program reads {FORMAT}")
    facts = BackupFacts(
        datetime.fromisoformat(found["made"]),
        found["version"],
        found["hostname"],
        found["database"],
        tuple(found["cas"]),
        frozenset(found["migrations"]),
        found["tables"],
        found["master_key"],
    )
    newer = facts.migrations - known_migrations()
    if newer:
        raise ConfigurationError(
            f"the backup was made by a newer Certwright ({facts.version}): install that version or a later one"
        )
    return facts


def _is_safe(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return bool(_NAME.fullmatch(name)) and ".." not in parts and not name.endswith("/") and "//" not in name


# -- putting it back -------------------------------------------------------------------------------------------------


def restore(
    path: Path,
    password: str,
    folder: Path,
    *,
    database_url: str = "",
    master_key: Path | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> tuple[BackupFacts, Sequence[Jump]]:
    """Put a backup into a folder that is empty or not there, and let the numbers of every CA jump.

    Args:
        database_url: an empty PostgreSQL database, for a backup of one; by default the one it was made of.
        master_key: where the backup has none.

    Raises:
        EncryptedStreamError, ConfigurationError: as `examine`; nothing was written.
        InvalidArgument: the folder is not empty, or the master key is missing.
        DatabaseError: the database takes nothing, or not everything; the folder is not there then.
    """
    facts = examine(path, password)
    folder = folder.absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InvalidArgument(f"{folder} is not empty; name another folder with --home: a restore replaces nothing")
    if not facts.has_master_key and master_key is None:
        raise InvalidArgument("the backup was made without the master key: name its file with --master-key")
    if database_url and facts.database == "sqlite":
        raise InvalidArgument(
            "the backup is of a SQLite database, which goes into the home folder: leave --database out"
        )
    draft = folder.with_name(f".{folder.name}.restoring-{os.getpid()}")
    draft.mkdir(mode=0o700)
    try:
        _extract(path, password, draft)
        if not facts.has_master_key and master_key is not None:
            _private_copy(master_key, draft / _MASTER_KEY)
        if facts.database == "sqlite":
            check_sqlite(draft / _DATABASE)
        else:
            _fill(draft, facts, database_url)
        if folder.exists():
            folder.rmdir()
        draft.rename(folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return facts, _jump(folder, facts, clock)


def _extract(path: Path, password: str, draft: Path) -> None:
    with _opened(path, password) as entries:
        for entry, content in entries:
            if entry.name == _MANIFEST or not _is_safe(entry.name):
                continue
            target = draft / entry.name.removeprefix(_HOME)
            public = target.relative_to(draft).parts[0] in _PUBLIC
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o755 if public else 0o700)
            with open(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
                shutil.copyfileobj(content, file, 1 << 20)
            if public:
                target.chmod(0o644)


def _private_copy(source: Path, target: Path) -> None:
    with open(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
        file.write(source.read_bytes())


def _fill(draft: Path, facts: BackupFacts, database_url: str) -> None:
    """Put the tables into an empty PostgreSQL database."""
    from certwright.server.schema import migrate

    home = Home.open(draft)
    if facts.migrations != known_migrations():
        raise ConfigurationError(
            f"the backup is of Certwright {facts.version}, whose tables are others: restore it with that version, and"
            " update afterwards"
        )
    if database_url:
        settings = replace(home.settings, database_url=database_url)
        (draft / CONFIGURATION).write_text(settings.to_toml(), "utf-8")
        home = Home.open(draft)
    if home.settings.database_url == SQLITE:
        raise InvalidArgument("the backup is of a PostgreSQL database: name an empty one with --database")
    _refuse_tables(home.database_url)
    migrate(home.database_url)
    with closing(PostgresqlTables(home.database_url)) as database, database.filling() as tables:
        for name, columns in facts.tables.items():
            if name not in tables:
                raise ConfigurationError(f"the backup holds a table that this version has not: {name}")
            with (draft / _TABLES / name).open("rb") as source:
                database.copy_in(name, columns, source)
    shutil.rmtree(draft / _TABLES)


def _refuse_tables(url: str) -> None:
    database = Database.open(url)
    try:
        with database.read() as connection:
            found = connection.one(
                "SELECT 1 FROM information_schema.tables WHERE table_schema = current_schema() LIMIT 1"
            )
    finally:
        database.close()
    if found is not None:
        raise ConfigurationError("the database holds tables already: name an empty one with --database")


def _jump(folder: Path, facts: BackupFacts, clock: Callable[[], datetime]) -> Sequence[Jump]:
    """Let the numbers of every CA go on far above those of the backup, and record what was done."""
    home, person = Home.open(folder), system_user()
    with Installation.open(home, upgrade=True, clock=clock, os_user=person) as installation:
        with installation.database.transaction() as connection:
            connection.execute(
                "UPDATE ca SET crl_number = crl_number + ?, next_request_id = next_request_id + ?,"
                " version = version + 1",
                (CRL_NUMBERS, REQUEST_IDS),
            )
            rows = connection.many("SELECT name, crl_number, next_request_id FROM ca ORDER BY id")
        jumps = [Jump(name, crl_number + 1, request_id) for name, crl_number, request_id in rows]
    with Installation.open(home, clock=clock, os_user=person) as installation:  # with the numbers as they are now
        made = facts.made.isoformat()
        for event in (AuditEvent.RESTORE_STARTED, AuditEvent.RESTORE_COMPLETED):
            _audit(installation, event, SYSTEM, backup_of=made)
        _publish(installation)
    return jumps


def _publish(installation: Installation) -> None:
    """Lists with the new numbers, where the key is here; the others are made with the key's next visit."""
    for ca in installation.cas:
        try:
            installation.publisher.publish(ca.authority, SYSTEM)
        except AdcsError as error:
            log.warning("crl_not_published_after_restore", ca=ca.authority.name, error=error.message)


def _audit(installation: Installation, event: AuditEvent, actor: str, **details: str) -> None:
    for ca in installation.cas:
        with ca.authority.transaction() as transaction:
            ca.authority.audit(transaction, event, installation.clock(), actor, **details)


__all__ = ["BackupFacts", "Jump", "examine", "make", "restore"]
