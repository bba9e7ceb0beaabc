"""From `init` to the last signal: what a home folder is, and how its processes begin and end."""

from __future__ import annotations

import json
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.integration.clients import certsrv, request_pem
from tests.support.postgresql import PostgresqlServer
from tests.support.server import PATIENCE, RunningServer, certwright, environment, free_ports

QUICK = ("--hostname", "localhost", "--root-key", "ecdsa-p256", "--ca-key", "ecdsa-p256")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """An installation whose process the tests of this module start and stop."""
    server = RunningServer.initialise(tmp_path_factory.mktemp("own"))
    yield server
    if server.process is not None:
        server.kill()


def test_the_ready_line_says_where_everything_is(server: RunningServer) -> None:
    line = server.ready_line

    assert line.startswith(f"Certwright is ready: {server.https}/; web enrollment {server.https}/certsrv/; ")
    assert f"{server.http}/CertEnroll/" in line
    assert str(server.root_certificate) in line
    assert str(server.home / "administrator-password") in line
    assert server.password not in line


def test_healthz_answers_when_all_listeners_do(server: RunningServer) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{server.http}/healthz", timeout=10) as answer:
        report = json.load(answer)

    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert report == {"status": "ok", "listeners": {"https": True, "http": True}, "issuers": True, "database": True}


def test_secrets_are_their_owners(server: RunningServer) -> None:
    """Everybody may read what is published, nobody else what is not."""
    private = [server.home, server.home / "keys", server.home / "tls"]
    private += [server.home / name for name in ("master.key", "database.sqlite3", "administrator-password")]
    private += [
        server.home / "certwright.toml",
        *(server.home / "keys").iterdir(),
        *(server.home / "tls").glob("*.key"),
    ]

    assert [path for path in private if stat.S_IMODE(path.stat().st_mode) & 0o077] == []
    for path in (server.home / "keys").iterdir():
        assert b"PRIVATE KEY" not in path.read_bytes()


def test_nothing_secret_is_logged(server: RunningServer) -> None:
    certsrv(server, "basic").get_ca_cert()
    certsrv(server, "ntlm").get_ca_cert()

    log = "".join(server.log)

    assert "logon_accepted" in log
    assert server.password not in log


def test_an_initialised_home_is_left_as_it_is(server: RunningServer) -> None:
    before = (server.home / "certwright.toml").read_bytes()

    refused = server.run("init", *QUICK)

    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert "is initialised already" in refused.stderr
    assert (server.home / "certwright.toml").read_bytes() == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_init_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    home = tmp_path / "home"
    command = [sys.executable, "-m", "certwright", "init", "--hostname", "localhost", "--root-key", "rsa-4096"]
    before = signal.signal(number, signal.default_int_handler)  # or a suite in the background has it ignored
    try:
        process = subprocess.Popen(command, env=environment(home), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    finally:
        signal.signal(number, before)
    deadline = time.monotonic() + PATIENCE
    while not list(tmp_path.glob(".home.*/master.key")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(number)
    process.communicate(timeout=PATIENCE)

    assert process.returncode not in (0, 1)
    assert not home.exists()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--hostname", "not a name"), "is no host name"),
        (("--hostname", "10.0.0.1"), "is no host name"),
        (("--netbios", "MUCH-TOO-LONG-FOR-IT"), "is no short domain name"),
        (("--dns-domain", "corp_example"), "is no domain name"),
        (("--https-port", "8080", "--http-port", "8080"), "give each its own port"),
        (("--database", "mysql://db/certwright"), "'mysql' is not supported"),
        (("--bind", "eth0"), "is no IP address"),
        (("--admin-password-file", "/nowhere"), "No such file"),
    ],
)
def test_init_refuses_what_cannot_work_with_one_sentence(
    tmp_path: Path, options: tuple[str, ...], sentence: str
) -> None:
    refused = certwright(tmp_path / "home", "init", *QUICK, *options)

    assert refused.returncode == 1
    assert sentence in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_password_may_be_chosen(tmp_path: Path) -> None:
    """Then it stands nowhere."""
    (tmp_path / "password").write_text("a long chosen password\n")

    home = tmp_path / "home"
    done = certwright(home, "init", *QUICK, "--admin-password-file", tmp_path / "password")

    assert done.returncode == 0
    assert "first password" not in done.stdout
    assert not (home / "administrator-password").exists()
    assert [path for path in home.rglob("*") if path.is_file() and b"a long chosen" in path.read_bytes()] == []


def test_the_default_keys_are_rsa(tmp_path: Path) -> None:
    """As AD CS has them; the slow ones, made once here."""
    done = certwright(tmp_path / "home", "init", "--hostname", "localhost")
    chain = x509.load_pem_x509_certificates(certwright(tmp_path / "home", "ca", "chain").stdout.encode())

    assert done.returncode == 0, done.stderr
    sizes = [key.key_size for each in chain if isinstance(key := each.public_key(), rsa.RSAPublicKey)]
    assert sizes == [3072, 4096]


def test_sigterm_ends_it_cleanly_and_a_start_goes_on_where_it_was(own: RunningServer) -> None:
    own.start()
    certsrv(own, "ntlm").get_cert(request_pem(), "WebServer")
    before = own.json("request", "list")
    code = own.stop()
    own.start()
    certsrv(own, "ntlm").get_cert(request_pem(), "WebServer")
    after = own.json("request", "list")
    ended = own.stop(signal.SIGINT)

    assert [code, ended] == [0, 0]
    assert [row["request_id"] for row in after] == [before[0]["request_id"] + 1, *(r["request_id"] for r in before)]
    events = [each["name"] for each in own.json("audit", "list", "--ca", "CORP Issuing CA", "--limit", "20")]
    assert events.count("SERVICE_STARTED") == events.count("SERVICE_STOPPED") == 2
    assert own.json("audit", "verify")["intact"]


def test_a_killed_server_needs_no_repair(own: RunningServer) -> None:
    own.start()
    certsrv(own, "ntlm").get_cert(request_pem(), "WebServer")
    newest = own.json("request", "list", "--limit", "1")[0]
    own.kill()
    own.start()
    certsrv(own, "ntlm").get_cert(request_pem(), "WebServer")
    next_one = own.json("request", "list", "--limit", "1")[0]
    own.stop()

    assert next_one["request_id"] == newest["request_id"] + 1
    assert own.json("audit", "verify")["intact"]


def test_a_second_server_is_refused_and_told_by_whom(own: RunningServer) -> None:
    own.start()
    assert own.process is not None
    number = own.process.pid

    refused = [own.run("run"), own.run("serve"), own.run("worker")]
    own.stop()

    assert [done.returncode for done in refused] == [1, 1, 1]
    assert all(f"process {number} runs on" in done.stderr for done in refused)


def test_listeners_and_worker_may_be_two_processes(own: RunningServer) -> None:
    own.start("serve")
    worker = RunningServer(own.home, own.https_port, own.http_port).start("worker")

    certificate = certsrv(own, "ntlm").get_cert(request_pem(), "WebServer")

    assert b"BEGIN CERTIFICATE" in certificate
    assert worker.stop() == 0
    assert own.stop() == 0


def test_a_port_in_use_is_one_sentence(own: RunningServer) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", own.https_port))
        other.listen()
        refused = own.run("run")

    assert refused.returncode == 1
    assert f"port {own.https_port} on 127.0.0.1 is in use; " in refused.stderr
    assert refused.stderr.strip().count("\n") == 0


@pytest.mark.parametrize(
    ("name", "change", "sentence"),
    [
        ("certwright.toml", b"https-port = 0", "https-port must be a number from 1 to 65535, not 0"),
        ("certwright.toml", b"\x00", "is no TOML"),
        ("master.key", b"broken", "is damaged"),
        ("keys/issuing-ca.key", b"broken", "the CA CORP Issuing CA cannot issue"),
        ("tls/listener-00001.pem", b"broken", "run: certwright tls renew"),
        ("database.sqlite3", b"broken" * 1000, "database"),
    ],
)
def test_damage_and_mistakes_are_found_at_the_start(
    own: RunningServer, name: str, change: bytes, sentence: str
) -> None:
    """One sentence, no traceback, and nothing else is touched."""
    path = own.home / name
    good = path.read_bytes()
    changed = good.replace(b"https-port = %d" % own.https_port, change) if b"https-port" in change else change
    aside = list(own.home.glob("database.sqlite3-*"))
    for each in aside:
        each.rename(each.with_suffix(".aside"))
    path.write_bytes(changed)
    try:
        refused = own.run("run")
    finally:
        path.write_bytes(good)

    assert refused.returncode == 1
    assert sentence in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_master_key_that_others_can_read_is_refused(own: RunningServer) -> None:
    path = own.home / "master.key"
    path.chmod(0o644)
    try:
        refused = own.run("run")
    finally:
        path.chmod(0o600)

    assert refused.returncode == 1
    assert f"run: chmod 600 {path}" in refused.stderr


def test_tables_of_a_newer_version_are_refused(own: RunningServer) -> None:
    import sqlite3

    with sqlite3.connect(own.home / "database.sqlite3") as connection:
        connection.execute(
            "INSERT INTO django_migrations (app, name, applied) VALUES ('ca', '0999_later', '2030-01-01')"
        )
    connection.close()
    try:
        refused = own.run("ca", "show")
    finally:
        with sqlite3.connect(own.home / "database.sqlite3") as connection:
            connection.execute("DELETE FROM django_migrations WHERE name = '0999_later'")
        connection.close()

    assert refused.returncode == 1
    assert "made by a newer Certwright (ca.0999_later)" in refused.stderr


def test_a_folder_without_an_installation_says_what_to_do(tmp_path: Path) -> None:
    refused = [certwright(tmp_path / "none", *words) for words in (["run"], ["request", "list"], ["ca", "show"])]

    assert [done.returncode for done in refused] == [1, 1, 1]
    assert all("run certwright init" in done.stderr for done in refused)


def test_a_renewed_certificate_is_shown_without_a_restart(own: RunningServer) -> None:
    """docs/adr/0005. NTLM with bindings goes on: the binding is the one of the certificate that was shown."""
    own.start()
    first = own.shown_certificate()
    client = certsrv(own, "ntlm")
    client.get_ca_cert()

    own.cli("tls", "renew")
    own.send(signal.SIGHUP)
    deadline = time.monotonic() + PATIENCE
    while (second := own.shown_certificate()) == first and time.monotonic() < deadline:
        time.sleep(0.05)
    on_old_connection = client.get_cert(request_pem(), "WebServer")
    on_new_connection = certsrv(own, "ntlm").get_cert(request_pem(), "WebServer")
    own.stop()

    assert second != first
    assert x509.load_der_x509_certificate(second).serial_number != x509.load_der_x509_certificate(first).serial_number
    assert b"BEGIN CERTIFICATE" in on_old_connection
    assert b"BEGIN CERTIFICATE" in on_new_connection


def test_the_same_on_postgresql(postgresql: PostgresqlServer, tmp_path: Path) -> None:
    url = postgresql.create()
    server = RunningServer.initialise(tmp_path, "--database", url).start()
    try:
        certificate = certsrv(server, "ntlm").get_cert(request_pem(), "WebServer")
        listed = server.json("request", "list")
        verified = server.json("audit", "verify")
    finally:
        code = server.stop()
    https_port, http_port = free_ports(2)
    ports = ("--https-port", str(https_port), "--http-port", str(http_port))
    again = certwright(tmp_path / "second", "init", *QUICK, *ports, "--database", url)

    assert b"BEGIN CERTIFICATE" in certificate
    assert listed[0]["disposition"] == "issued"
    assert verified["intact"]
    assert code == 0
    assert not (tmp_path / "home" / "database.sqlite3").exists()
    assert again.returncode == 1
    assert "init needs an empty one" in again.stderr
