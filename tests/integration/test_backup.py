"""Backup of a running installation and its restore: nothing is lost that was in it, and no number comes back.

On SQLite and on PostgreSQL. The file is encrypted, and believed only when all of it was read.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
from cryptography import x509

from certwright.adcs.errors import AccessDenied, ConfigurationError, InvalidArgument
from certwright.adcs.events import AuditEvent
from certwright.adcs.request import RequestAttributes
from certwright.keystores import encrypted_stream
from certwright.keystores.encrypted_stream import EncryptedStreamError
from certwright.pki import armor
from certwright.pki.certificate import serial_hex
from certwright.server import backup
from certwright.server.composition import Installation
from certwright.server.home import Home
from certwright.server.tables import known_migrations
from tests.integration.clients import certsrv, request_pem
from tests.support.installation import ISSUING, PASSWORD, ROOT, Mold, People
from tests.support.issuing import pem
from tests.support.postgresql import PostgresqlServer
from tests.support.programs import openssl
from tests.support.requests import web_server_request
from tests.support.server import RunningServer

SECRET: Final = "a password of a backup"
TEMPLATE: Final = RequestAttributes.parse("CertificateTemplate:WebServer")


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encrypted_stream, "_COST", (10, 8, 1))


@pytest.fixture
def installation(mold: Mold, tmp_path: Path) -> Iterator[Installation]:
    with mold.opened(tmp_path) as opened:
        yield opened


def issued(installation: Installation, name: str = "www.corp.example") -> bytes:
    door = installation.registry.connect("", installation.requester(People.ENROLLEE))
    response = door.submit(web_server_request(name), TEMPLATE)
    assert response.certificate is not None, response.message
    return response.certificate


def made(installation: Installation, folder: Path, **options: bool) -> Path:
    path = folder / "backup.cwb"
    backup.make(installation, path, SECRET, installation.operator(), **options)
    return path


# -- what comes back -------------------------------------------------------------------------------------------------


def test_everything_comes_back_and_goes_on(installation: Installation, tmp_path: Path) -> None:
    """Rows, keys, accounts, templates, settings, audit; and the restored CA issues, revokes and publishes."""
    before = issued(installation)
    installation.registry.administer("", installation.operator()).set_configuration({"crl-period": "3 days"})
    file = made(installation, tmp_path)
    after = issued(installation, "later.corp.example")

    facts, _ = backup.restore(file, SECRET, tmp_path / "restored")

    assert facts.cas == (ISSUING, ROOT)
    with Installation.open(Home.open(tmp_path / "restored")) as restored:
        restored.start()
        serials = [serial_hex(x509.load_der_x509_certificate(each).serial_number) for each in (before, after)]
        rows = [restored.ca().authority.database.request_by_serial(serial) for serial in serials]
        assert rows[0] is not None
        assert rows[1] is None, "it was issued after the backup"
        assert restored.configuration().as_text()["crl-period"] == "3 days"
        assert restored.directory.principal(People.ENROLLEE) is not None
        result = restored.audit.verify()
        assert result.checked
        assert result.broken == ()

        leaf = pem(tmp_path, "leaf.pem", issued(restored, "new.corp.example"))
        old = pem(tmp_path, "old.pem", before)
        chain = tmp_path / "chain.pem"
        chain.write_text("".join(armor.armor(armor.CERTIFICATE, each) for each in restored.chain()))
        crls = [word for path in restored.home.published.glob("*.crl") for word in ("-CRLfile", path)]
        check = ("verify", "-crl_check_all", "-CAfile", restored.home.root_certificate, "-untrusted", chain, *crls)
        assert ": OK" in openssl(*check, leaf)
        assert ": OK" in openssl(*check, old)


def test_no_number_comes_back(installation: Installation, tmp_path: Path) -> None:
    """What was given out after the backup is given out again by nobody: request IDs, CRL numbers."""
    file = made(installation, tmp_path)
    issued(installation)
    for _ in range(3):
        installation.publisher.publish(installation.ca().authority, "somebody")
    database = installation.ca().authority.database
    last_crl, last_request = database.ca().crl_number, database.last_request_id()

    _, jumps = backup.restore(file, SECRET, tmp_path / "restored")

    with Installation.open(Home.open(tmp_path / "restored")) as restored:
        restored.start()
        own = restored.ca().authority.database
        newest = own.latest_crl(0)
        assert newest is not None
        assert newest.number > last_crl
        assert (restored.home.published / f"{ISSUING}.crl").read_bytes() == newest.der
        issued(restored)
        assert own.last_request_id() > last_request
        told = {jump.ca: jump for jump in jumps}
        assert set(told) == {ISSUING, ROOT}
        assert told[ISSUING].crl_number == newest.number


def test_both_are_in_the_audit_trail(installation: Installation, tmp_path: Path) -> None:
    file = made(installation, tmp_path)
    events = {record.event for record in installation.audit.events(ca=ROOT, limit=10)}
    assert {AuditEvent.BACKUP_STARTED, AuditEvent.BACKUP_COMPLETED} <= events

    facts, _ = backup.restore(file, SECRET, tmp_path / "restored")
    with Installation.open(Home.open(tmp_path / "restored")) as restored:
        (done,) = restored.audit.events(ca=ISSUING, event=AuditEvent.RESTORE_COMPLETED)
        assert done.details["backup_of"] == facts.made.isoformat()


def test_a_backup_is_taken_while_certificates_are_issued(installation: Installation, tmp_path: Path) -> None:
    """One moment of the database: what is in it is whole, and the audit chains end where the rows end."""
    stop = threading.Event()
    names: list[str] = []

    def issue() -> None:
        while not stop.is_set():
            name = f"www{len(names)}.corp.example"
            issued(installation, name)
            names.append(name)

    thread = threading.Thread(target=issue)
    thread.start()
    try:
        files = []
        for number in range(3):
            path = tmp_path / f"{number}.cwb"
            backup.make(installation, path, SECRET, installation.operator())
            files.append((path, len(names)))
    finally:
        stop.set()
        thread.join()
    assert len(names) > 3, "nothing was issued meanwhile"

    path, at_least = files[-1]
    backup.restore(path, SECRET, tmp_path / "restored")
    with Installation.open(Home.open(tmp_path / "restored")) as restored:
        assert restored.audit.verify().broken == ()
        rows = restored.audit.events(ca=ISSUING, event=AuditEvent.CERTIFICATE_ISSUED, limit=10_000)
        database = restored.ca().authority.database
        assert all(database.certificate_der(int(row.details["request_id"])) for row in rows)
        assert 0 < len(rows) - 2 <= at_least + 5


@pytest.fixture
def joined(postgresql_mold: Mold, tmp_path: Path) -> Iterator[Installation]:
    with postgresql_mold.opened(tmp_path) as opened:
        yield opened


def test_a_postgresql_database_goes_into_an_empty_one(
    joined: Installation, postgresql: PostgresqlServer, tmp_path: Path
) -> None:
    before = issued(joined)
    file = made(joined, tmp_path)
    url = postgresql.create()

    with pytest.raises(ConfigurationError, match="holds tables already"):
        backup.restore(file, SECRET, tmp_path / "restored")
    assert not (tmp_path / "restored").exists()
    facts, jumps = backup.restore(file, SECRET, tmp_path / "restored", database_url=url)

    assert facts.database == "postgresql"
    assert jumps
    try:
        with Installation.open(Home.open(tmp_path / "restored")) as restored:
            restored.start()
            assert restored.audit.verify().broken == ()
            serial = serial_hex(x509.load_der_x509_certificate(before).serial_number)
            assert restored.ca().authority.database.request_by_serial(serial) is not None
            assert issued(restored)
            restored.manager.services.list()
    finally:
        postgresql.drop(url)


# -- what is refused -------------------------------------------------------------------------------------------------


def test_only_backup_operators_make_one(installation: Installation, tmp_path: Path) -> None:
    path = tmp_path / "backup.cwb"
    for name in (People.OFFICER, People.AUDITOR, People.ENROLLEE):
        with pytest.raises(AccessDenied, match="backup operator"):
            backup.make(installation, path, SECRET, installation.requester(name))
    assert not path.exists()

    assert backup.make(installation, path, SECRET, installation.requester(People.BACKUP)).cas


def test_a_backup_replaces_no_file_and_a_restore_no_home(installation: Installation, tmp_path: Path) -> None:
    file = made(installation, tmp_path)
    content = file.read_bytes()
    with pytest.raises(InvalidArgument, match="exists already"):
        made(installation, tmp_path)
    assert file.read_bytes() == content
    with pytest.raises(InvalidArgument, match="is not empty"):
        backup.restore(file, SECRET, installation.home.folder)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_password_that_is_short_or_wrong_does_nothing(installation: Installation, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="12 characters"):
        backup.make(installation, tmp_path / "x.cwb", "short", installation.operator())
    assert not (tmp_path / "x.cwb").exists()
    file = made(installation, tmp_path)
    with pytest.raises(EncryptedStreamError, match="password is wrong"):
        backup.restore(file, "another password", tmp_path / "restored")
    assert not (tmp_path / "restored").exists()


@pytest.mark.parametrize(
    "spoil",
    [lambda file: file[:-1], lambda file: file[: len(file) // 2], lambda file: file[:-9] + b"\0" + file[-8:]],
    ids=["cut off", "half", "changed"],
)
def test_a_damaged_backup_writes_nothing(
    installation: Installation, tmp_path: Path, spoil: Callable[[bytes], bytes]
) -> None:
    file = made(installation, tmp_path)
    file.write_bytes(spoil(file.read_bytes()))

    with pytest.raises((EncryptedStreamError, ConfigurationError)):
        backup.restore(file, SECRET, tmp_path / "restored")
    assert not (tmp_path / "restored").exists()
    assert list(tmp_path.glob(".*")) == []


def test_nothing_of_it_can_be_read_without_the_password(installation: Installation, tmp_path: Path) -> None:
    content = made(installation, tmp_path).read_bytes()

    for word in (b"SQLite format", b"CORP", b"certwright.toml", b"master.key"):
        assert word not in content


def test_without_the_master_key_it_is_asked_for(installation: Installation, tmp_path: Path) -> None:
    file = made(installation, tmp_path, with_master_key=False)
    with pytest.raises(InvalidArgument, match="--master-key"):
        backup.restore(file, SECRET, tmp_path / "restored")

    backup.restore(file, SECRET, tmp_path / "restored", master_key=installation.home.master_key)
    with Installation.open(Home.open(tmp_path / "restored")) as restored:
        restored.start()
        assert issued(restored)


def test_a_backup_of_a_newer_version_is_left_alone(
    installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = made(installation, tmp_path)
    known = known_migrations()
    monkeypatch.setattr(backup, "known_migrations", lambda: known - {"ca.0005_crl_partitions"})

    with pytest.raises(ConfigurationError, match="newer Certwright"):
        backup.examine(file, SECRET)


# -- as an administrator does it -------------------------------------------------------------------------------------


def test_the_commands_move_a_server_to_another_folder(mold: Mold, tmp_path: Path) -> None:
    home = mold.copy(tmp_path)
    server = RunningServer(home.folder, home.settings.https_port, home.settings.http_port).start()
    password, file = tmp_path / "password", tmp_path / "backup.cwb"
    password.write_text(f"{SECRET}\n")
    certsrv(server, "basic", password=PASSWORD).get_cert(request_pem("www.corp.example"), "WebServer")
    assert "master key" in server.cli("backup", file, "--password-file", password)
    assert server.stop() == 0

    moved = RunningServer(tmp_path / "moved", server.https_port, server.http_port)
    told = moved.json("restore", file, "--password-file", password, "--check")
    assert told["cas"] == [ISSUING, ROOT]
    assert not moved.home.exists()
    assert "restored into" in moved.cli("restore", file, "--password-file", password, "--home", moved.home)
    moved.start()
    try:
        assert certsrv(moved, "basic", password=PASSWORD).get_cert(request_pem("www2.corp.example"), "WebServer")
        assert "0 broken" in moved.cli("audit", "verify")
    finally:
        moved.stop()
    mold.drop(home)
