"""Orders from an AD CS service, by the command line alone: our own /certsrv is the service, over NTLM and TLS.

The server runs without its worker; the ticks of the clock are made here, minutes ahead of the wall.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from certwright.server.composition import Installation
from certwright.server.duties import outward_duties
from certwright.server.home import Home
from certwright.server.worker import Worker
from tests.integration.clients import request_pem, saved
from tests.support.programs import openssl
from tests.support.receivers import Inbox, Receiver, mail_server, webhook_receiver
from tests.support.server import DOMAIN, RunningServer, free_ports

ACCOUNT, PASSWORD = "orderer", "canary of the device user"
SIGNING_KEY = "canary of the webhook 123"
CANARIES = (PASSWORD, SIGNING_KEY, "canary of the mail server", "canary of the export")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """An installation whose manager orders from its own /certsrv as the device user `Orders`."""
    running = RunningServer.initialise(tmp_path_factory.mktemp("manager"))
    toml = running.home / "certwright.toml"
    settings = toml.read_text()
    assert 'officer = ""' in settings
    assert "webhook-allow = []" in settings
    settings = settings.replace('officer = ""', 'officer = "Administrator"')
    toml.write_text(settings.replace("webhook-allow = []", 'webhook-allow = ["localhost"]'))
    running.start("serve")
    running.cli("account", "add", ACCOUNT, "--ntlm", data=f"{PASSWORD}\n")
    running.cli("template", "grant", "WebServer", "--enroll", ACCOUNT)
    running.cli("device-user", "add", "Orders", "-u", rf"CORP\{ACCOUNT}", data=f"{PASSWORD}\n")
    running.cli(*add_service(running, DOMAIN, running.https_port))
    running.cli("service", "refresh")
    yield running
    running.stop()


def add_service(server: RunningServer, domain: str, port: int, *options: str) -> list[str | Path]:
    return [
        *("service", "add", "localhost", "-d", domain, "-u", "Orders", "--port", str(port)),
        *("--ca-file", server.root_certificate, *options),
    ]


def tick(server: RunningServer, ahead: timedelta = timedelta(minutes=5)) -> None:
    """Every outward duty once, some minutes from now."""
    home = Home.open(server.home)
    with Installation.open(home, clock=lambda: datetime.now(UTC) + ahead) as installation:
        Worker(outward_duties(installation), installation.clock).run_due()


def order(server: RunningServer, name: str, *options: str) -> Any:
    """A new order with a key made here."""
    words = ("order", "new", "--key", "ecdsa-p256", "--cn", name, "--san", f"dns:{name}", "-t", "WebServer")
    return server.json(*words, *(options or ("-d", DOMAIN)))


def until(done: Callable[[], bool]) -> None:
    """Look again until it is so."""
    for _ in range(20):
        if done():
            return
    raise AssertionError("it never came")


def issued(server: RunningServer, common_name: str) -> int:
    """How many certificates of that name the CA has issued."""
    rows = server.json("request", "list", "--where", f"common_name={common_name}")
    return sum(row["disposition"] == "issued" for row in rows)


# -- services --------------------------------------------------------------------------------------------------------


def test_a_service_is_listed_tested_and_read(server: RunningServer) -> None:
    (service,) = [each for each in server.json("service", "list") if each["domain"] == DOMAIN]
    steps = server.json("service", "test", str(service["id"]))
    again = server.cli("service", "refresh", str(service["id"]))
    shown = server.json("service", "show", str(service["id"]))

    assert (service["username"], service["priority"], service["health"]) == (rf"CORP\{ACCOUNT}", 1, "ok")
    assert [each["step"] for each in steps if each["outcome"] == "ok"] == [
        *("dns", "tcp", "tls", "authentication", "channel_binding", "page", "ca_name", "templates")
    ]
    assert {each["step"]: len(each["fingerprint"]) for each in steps}["tls"] == 64
    assert "CA certificate unchanged" in again
    assert shown["ca_name"] == "CORP Issuing CA"
    assert "WebServer" in [each["name"] for each in shown["templates"]]


@pytest.mark.parametrize(
    ("options", "step", "words"),
    [
        (("--port", "1"), "tcp", "refuses connections"),
        (("--system-trust",), "tls", "not trusted"),
    ],
)
def test_the_step_that_fails_says_what_helps(
    server: RunningServer, options: tuple[str, ...], step: str, words: str
) -> None:
    domain = f"{step}.example"
    added = server.json(*add_service(server, domain, server.https_port))
    server.cli("service", "edit", str(added["id"]), *options)

    tested = server.run("service", "test", str(added["id"]))
    server.cli("service", "delete", str(added["id"]))

    assert tested.returncode == 1
    (failed,) = [line for line in tested.stdout.splitlines() if line.startswith("failed")]
    assert failed.split()[1] == step
    assert words in failed


def test_a_fingerprint_that_was_shown_can_be_accepted(server: RunningServer) -> None:
    """Trust on first use: what `service test` shows is compared, then pinned."""
    added = server.json(*add_service(server, "tofu.example", server.https_port))
    number = str(added["id"])
    server.cli("service", "edit", number, "--system-trust")
    seen = {each["step"]: each["fingerprint"] for each in _steps(server, number)}["tls"]

    server.cli("service", "edit", number, "--fingerprint", seen)
    accepted = server.run("service", "test", number)
    server.cli("service", "edit", number, "--fingerprint", "00" * 32)
    wrong = server.run("service", "test", number)
    server.cli("service", "delete", number)

    assert accepted.returncode == 0, accepted.stdout
    assert wrong.returncode == 1


def _steps(server: RunningServer, number: str) -> Any:
    return json.loads(server.run("service", "test", number, "--json").stdout)


@pytest.mark.parametrize("priority", ["0", "11"])
def test_a_priority_is_from_1_to_10(server: RunningServer, priority: str) -> None:
    refused = server.run(*add_service(server, "priority.example", 443, "--priority", priority))

    assert refused.returncode == 1
    assert "1 to 10" in refused.stderr


def test_only_administrators_order_at_the_command_line(server: RunningServer) -> None:
    refused = [
        server.run(*words, "--as", ACCOUNT)
        for words in (
            ("order", "list"),
            ("device-user", "list"),
            ("service", "list"),
            ("inventory", "list"),
            ("notification", "history"),
            ("order", "new", "--key", "ecdsa-p256", "--cn", "x", "-d", DOMAIN, "-t", "WebServer"),
        )
    ]

    assert [done.returncode for done in refused] == [1] * 6
    assert all("has no right" in done.stderr for done in refused)


# -- orders ----------------------------------------------------------------------------------------------------------


def test_an_order_inside_the_rules_is_issued_and_in_the_inventory(server: RunningServer, tmp_path: Path) -> None:
    name = f"inside.{DOMAIN}"
    placed = order(server, name)
    number = str(placed["id"])
    again = server.json("order", "fetch", number, "--out", str(tmp_path / "chain.pem"))
    held = server.json("inventory", "show", str(placed["certificate_id"]))
    pfx = tmp_path / "inside.pfx"
    server.cli(
        *("inventory", "export", str(pfx), "-f", "pfx", "-c", str(placed["certificate_id"]), "--chain"),
        data="canary of the export\n",
    )

    assert placed["state"] == "issued"
    assert again["certificate"] == placed["certificate_id"]
    assert (held["names"], held["template"], held["key_held"]) == (f"DNS:{name}", "WebServer", True)
    assert len(held["chain"]) == 2
    chain = x509.load_pem_x509_certificates((tmp_path / "chain.pem").read_bytes())
    assert chain[0].subject.rfc4514_string() == f"CN={name}"
    assert pfx.stat().st_mode & 0o077 == 0
    password = saved(tmp_path, "password", "canary of the export\n")
    openssl("pkcs12", "-in", pfx, "-passin", f"file:{password}", "-nodes", "-out", tmp_path / "all.pem")
    assert (tmp_path / "all.pem").read_text().count("BEGIN CERTIFICATE") == 3
    assert issued(server, name) == 1


def test_a_request_made_elsewhere_is_ordered_too(server: RunningServer, tmp_path: Path) -> None:
    file = saved(tmp_path, "elsewhere.csr", request_pem(f"elsewhere.{DOMAIN}"))

    placed = server.json("order", "new", file, "-d", DOMAIN, "-t", "WebServer", "--no-fetch", "--tag", "web")
    csr = server.cli("order", "csr", str(placed["id"]))

    assert placed["state"] == "issued"
    assert placed["certificate_id"] is None
    assert placed["tags"] == ["web"]
    assert x509.load_pem_x509_csr(csr.encode()) == x509.load_pem_x509_csr(file.read_bytes())


def test_an_order_outside_the_rules_waits_and_turns_issued_by_itself(server: RunningServer) -> None:
    placed = order(server, "www.outside.example")
    number = str(placed["id"])
    tick(server)
    still = server.json("order", "show", number)
    server.cli("request", "issue", str(placed["request_id"]))
    tick(server, timedelta(minutes=30))
    settled = server.json("order", "show", number)

    assert placed["state"] == still["state"] == "pending"
    assert settled["state"] == "issued"
    assert settled["certificate_id"] is not None
    assert issued(server, "www.outside.example") == 1


def test_a_denied_order_says_why(server: RunningServer) -> None:
    placed = order(server, "denied.outside.example")
    server.cli("request", "deny", str(placed["request_id"]), "--reason", "not one of ours")

    checked = server.run("order", "check", str(placed["id"]))
    tick(server)
    settled = server.json("order", "show", str(placed["id"]))
    listed = server.json("order", "list", "denied")

    assert checked.returncode == 1
    assert settled["state"] == "denied"
    assert placed["id"] in [each["id"] for each in listed]


def test_the_next_service_gets_the_order_when_the_first_is_not_there(server: RunningServer) -> None:
    """Priority fail-over: what was certainly not reached is no second submission."""
    (closed,) = free_ports(1)
    server.cli(*add_service(server, "failover.example", closed, "--priority", "1"))
    server.cli(*add_service(server, "failover.example", server.https_port, "--priority", "2"))

    placed = order(server, f"failover.{DOMAIN}", "-d", "failover.example")
    story = [each["text"] for each in server.json("order", "show", str(placed["id"]))["story"]]
    health = {each["port"]: each["health"] for each in server.json("service", "list")}

    assert placed["state"] == "issued"
    assert placed["priority"] == 2
    assert any("was not reached, nothing was sent" in text for text in story)
    assert health[closed] == "down"
    assert health[server.https_port] == "ok"
    assert issued(server, f"failover.{DOMAIN}") == 1


def test_a_record_that_is_deleted_leaves_the_ca_alone(server: RunningServer) -> None:
    name = f"deleted.{DOMAIN}"
    placed = order(server, name)

    server.cli("order", "delete", str(placed["id"]))

    assert server.run("order", "show", str(placed["id"])).returncode == 1
    assert issued(server, name) == 1


def test_an_order_that_a_crash_cut_off_is_found_and_not_doubled(server: RunningServer) -> None:
    """As if the process had been killed between the answer and its storing; the start of the server looks for it."""
    name = f"crashed.{DOMAIN}"
    placed = order(server, name, "-d", DOMAIN, "--no-fetch")
    with sqlite3.connect(server.home / "database.sqlite3") as connection:
        connection.execute(
            "UPDATE manager_order SET state = 1, request_id = NULL, settled = NULL, lease = ? WHERE id = ?",
            (int(datetime.now(UTC).timestamp()) + 86_400, placed["id"]),
        )
    connection.close()

    server.stop()
    server.start("serve")
    lost = server.json("order", "show", str(placed["id"]))
    server.cli("order", "look-for", str(placed["id"]))
    found = server.json("order", "show", str(placed["id"]))

    assert lost["state"] == "answer lost"
    assert (found["state"], found["request_id"]) == ("issued", placed["request_id"])
    assert issued(server, name) == 1


# -- a CA of this installation ---------------------------------------------------------------------------------------


def test_our_own_ca_serves_without_the_detour_and_approves_what_is_configured(server: RunningServer) -> None:
    """A service of kind local; the officer of certwright.toml approves, and the CA's audit trail names it."""
    server.cli(*add_service(server, "local.example", 443, "--local", "--approve", "WebServer"))
    number = str(next(each["id"] for each in server.json("service", "list") if each["kind"] == "local"))

    steps = server.cli("service", "test", number)
    refreshed = server.cli("service", "refresh", number)
    inside = order(server, f"local.{DOMAIN}", "-d", "local.example")
    outside = order(server, "local.outside.example", "-d", "local.example")
    row = server.json("request", "show", str(outside["request_id"]))

    assert "authentication" in steps
    assert "CORP Issuing CA" in refreshed
    assert inside["state"] == outside["state"] == "issued"
    assert row["officer"] == r"CORP\Administrator"
    assert row["caller"] == rf"CORP\{ACCOUNT}"


def test_a_device_user_with_a_wrong_password_gains_no_account(server: RunningServer) -> None:
    """Whoever may add device users must not become the Administrator by writing down his name."""
    server.cli("device-user", "add", "Impostor", "-u", r"CORP\Administrator", data="just a guess\n")
    server.cli("service", "add", "localhost", "-d", "impostor.example", "-u", "Impostor", "--local")

    refused = server.run(
        *("order", "new", "--key", "ecdsa-p256", "--cn", f"imp.{DOMAIN}", "-d", "impostor.example"),
        *("-t", "WebServer"),
    )

    assert refused.returncode == 1
    assert "does not accept the password" in refused.stderr
    assert issued(server, f"imp.{DOMAIN}") == 0


# -- inventory and renewal -------------------------------------------------------------------------------------------


def test_the_inventory_is_imported_tagged_exported_and_renewed(server: RunningServer, tmp_path: Path) -> None:
    name = f"inventory.{DOMAIN}"
    number = str(order(server, name)["certificate_id"])
    imported = server.json("inventory", "import", str(server.root_certificate), "--tag", "ca")
    server.cli("inventory", "tag", number, "--add", "web", "--add", "old")
    server.cli("inventory", "tag", number, "--remove", "old")
    server.cli("inventory", "owner", "Web Team", number)
    server.cli("inventory", "export", str(tmp_path / "list.csv"), "--tag", "web")
    renewed = server.json("inventory", "renew", number)
    row = server.json("inventory", "show", number)
    listed = server.json("inventory", "list", "--text", name)
    deleted = server.run("inventory", "delete", number)

    assert imported["known"] == 1  # it came with the chain of an order
    assert (row["tags"], row["owner"]) == (["web"], "Web Team")
    assert name in (tmp_path / "list.csv").read_text("utf-8-sig")
    assert renewed["state"] == "issued"
    assert row["superseded_by"] == renewed["certificate_id"]
    assert len(listed) == 2
    assert deleted.returncode == 1
    assert "only here" in deleted.stderr


def test_a_renewal_rule_shows_what_it_would_order_and_orders_it(server: RunningServer) -> None:
    name = f"renewal.{DOMAIN}"
    number = order(server, name, "-d", DOMAIN, "--tag", "renew me")["certificate_id"]
    server.cli("renewal", "rule", "add", "Web", "--tag", "renew me", "--days-before", "30")

    now = server.json("renewal", "rule", "dry-run", "--days", "0")
    year = server.json("renewal", "rule", "dry-run", "Web", "--days", "365")
    later = server.json("renewal", "rule", "dry-run", "Web", "--days", "365")
    row = server.json("inventory", "show", str(number))
    not_after = datetime.fromisoformat(row["not_after"])
    tick(server, not_after - datetime.now(UTC) - timedelta(days=29))
    after = server.json("inventory", "show", str(number))
    server.cli("renewal", "rule", "delete", "Web")

    assert number not in [each["certificate_id"] for each in now]
    assert year == later
    assert after["renewal"] or after["superseded_by"] is not None
    assert server.json("renewal", "rule", "list") == []


# -- notifications ---------------------------------------------------------------------------------------------------


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with webhook_receiver() as made:
        yield made


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    with mail_server(password="canary of the mail server") as made:
        yield made


def test_people_and_programs_are_told_what_becomes_of_orders(
    server: RunningServer, receiver: Receiver, inbox: Inbox, tmp_path: Path
) -> None:
    hook_ca, mail_ca = saved(tmp_path, "hook.pem", receiver.ca_pem), saved(tmp_path, "mail.pem", inbox.ca_pem)
    url = f"https://localhost:{receiver.port}/in"
    channel = ("notification", "channel")
    server.cli(*channel, "add-webhook", "Hook", "--url", url, "--ca-file", hook_ca, data=f"{SIGNING_KEY}\n")
    server.cli(
        *(*channel, "add-email", "Mail", "--host", "localhost", "--port", str(inbox.port), "--username", "mailer"),
        *("--from", "ca@corp.example", "--to", "pki@corp.example", "--ca-file", mail_ca),
        data="canary of the mail server\n",
    )
    tested = [server.run(*channel, "test", name) for name in ("Hook", "Mail")]
    server.cli("notification", "rule", "add", "Orders", "--channel", "Hook", "-e", "order-issued")
    server.cli("notification", "rule", "add", "Queue", "--channel", "mail", "-e", "ca-pending", "-e", "order-denied")
    order(server, f"told.{DOMAIN}")
    order(server, "told.outside.example")
    until(lambda: len(server.json("notification", "history")) == 2)  # the CA's events come a moment later
    tick(server)
    history = server.json("notification", "history")
    listed = {each["name"]: each for each in server.json(*channel, "list")}
    refused = server.run(*channel, "delete", "Hook")
    server.cli(*channel, "delete", "Hook", "--yes")
    server.cli(*channel, "delete", "Mail", "--yes")

    assert [done.returncode for done in tested] == [0, 0], [done.stderr for done in tested]
    told = sorted((each["kind"], each["object"], each["channel_name"], each["state"]) for each in history)
    assert told == [
        ("ca-pending", "CORP Issuing CA", "Mail", "delivered"),
        ("order-issued", f"told.{DOMAIN}", "Hook", "delivered"),
    ]
    assert len(receiver.calls) == len(inbox.mails) == 2
    assert listed["Hook"]["last_success"] is not None
    assert refused.returncode == 1
    assert len(server.json("notification", "rule", "events")) > 20


# -- secrets ---------------------------------------------------------------------------------------------------------


def test_no_secret_is_kept_or_logged_in_clear(server: RunningServer) -> None:
    """Everything above left its traces; the secrets are in none of them."""
    for name in ("device-user", "service", "order", "inventory"):
        listed = server.cli(name, "list", "--json")
        assert not [secret for secret in CANARIES if secret in listed], name
    server.cli("audit", "verify")
    trail = server.cli("audit", "list", "--json", "--limit", "10000")
    files = {path: path.read_bytes() for path in server.home.rglob("*") if path.is_file()}
    log = "".join(server.log)

    for secret in CANARIES:
        assert secret not in trail
        assert secret not in log
        assert [path for path, content in files.items() if secret.encode() in content] == []
