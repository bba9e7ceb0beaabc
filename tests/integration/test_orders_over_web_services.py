"""The manager orders through CEP and CES of a running server, by the command line alone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from certwright.server.composition import Installation
from certwright.server.duties import outward_duties
from certwright.server.home import Home
from certwright.server.worker import Worker
from tests.support.server import DOMAIN, RunningServer

ACCOUNT, PASSWORD = "orderer", "correct horse battery staple"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    running = RunningServer.initialise(tmp_path_factory.mktemp("ces"))
    running.start("serve")
    running.cli("account", "add", ACCOUNT, data=f"{PASSWORD}\n")
    running.cli("template", "grant", "WebServer", "--enroll", ACCOUNT)
    running.cli("device-user", "add", "Orders", "-u", rf"CORP\{ACCOUNT}", data=f"{PASSWORD}\n")
    yield running
    running.stop()


def add(server: RunningServer, domain: str, *options: str) -> Any:
    """A service whose account hands its password to the server: /certsrv by Basic, CES by user name."""
    return server.json(
        *("service", "add", "localhost", "-d", domain, "-u", "Orders", "--port", str(server.https_port)),
        *("--ca-file", server.root_certificate, "--auth", "basic", *options),
    )


def order(server: RunningServer, name: str, domain: str) -> Any:
    words = ("order", "new", "--key", "ecdsa-p256", "--cn", name, "--san", f"dns:{name}", "-t", "WebServer")
    return server.json(*words, "-d", domain)


@pytest.mark.parametrize(("via", "options"), [("ces", ("--via", "ces")), ("auto", ())])
def test_an_order_goes_through_ces(server: RunningServer, via: str, options: tuple[str, ...], tmp_path: Path) -> None:
    domain = f"{via}.example"
    service = add(server, domain, *options)
    before = len(server.events())

    steps = server.json("service", "test", str(service["id"]))
    server.cli("service", "refresh", str(service["id"]))
    placed = order(server, f"{via}.{DOMAIN}", domain)
    server.cli("order", "fetch", str(placed["id"]), "--out", tmp_path / "web.pem")

    assert service["via"] == via
    assert [(each["step"], each["outcome"]) for each in steps if each["outcome"] != "ok"] == [
        ("channel_binding", "skipped")
    ]
    assert "ces" in [each["step"] for each in steps]
    shown = server.json("service", "show", str(service["id"]))
    assert (shown["ca_name"], shown["health"]) == ("CORP Issuing CA", "ok")
    assert "WebServer" in [each["name"] for each in shown["templates"]]
    leaf, *above = x509.load_pem_x509_certificates((tmp_path / "web.pem").read_bytes())
    assert leaf.subject.rfc4514_string() == f"CN={via}.{DOMAIN}"
    for below, issuer in zip((leaf, *above), above, strict=False):
        below.verify_directly_issued_by(issuer)
    logons = server.awaited_events(lambda event: event["event"] == "logon_accepted", before)
    assert logons
    assert not [event for event in logons if event.get("path", "").startswith("/certsrv")]


def test_a_pending_order_is_asked_for_until_it_is_issued(server: RunningServer) -> None:
    add(server, "pending.example", "--via", "ces")
    placed = order(server, "www.elsewhere.example", "pending.example")
    waiting = server.json("order", "show", str(placed["id"]))
    assert waiting["state"] == "pending"

    server.cli("request", "issue", str(waiting["request_id"]))
    with Installation.open(
        Home.open(server.home), clock=lambda: datetime.now(UTC) + timedelta(minutes=5)
    ) as installation:
        Worker(outward_duties(installation), installation.clock).run_due()

    assert server.json("order", "show", str(placed["id"]))["state"] in ("issued", "fetched")


def test_a_denial_is_told_in_the_cas_words(server: RunningServer) -> None:
    add(server, "denied.example", "--via", "ces")
    server.cli("template", "set", "WebServer", "minimal-key-size=4096")
    try:
        placed = server.run(
            *("order", "new", "--key", "rsa-2048", "--cn", f"short.{DOMAIN}", "--san", f"dns:short.{DOMAIN}"),
            *("-t", "WebServer", "-d", "denied.example", "--json"),
        )
    finally:
        server.cli("template", "set", "WebServer", "minimal-key-size=2048")

    (found,) = [each for each in server.json("order", "list") if each["common_name"] == f"short.{DOMAIN}"]
    assert found["state"] == "denied", placed.stdout
    assert "0x80094811" in found["message"]
