"""Canaries: every kind of secret is planted through the doors that people use, and then looked for everywhere.

In logs, pages, exports, lists, the audit trail, every file of the home folder (the database and its journal among
them), and in what other accounts of the host see of the process. None of them may sing.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, pkcs12

from certwright.server.composition import Installation
from certwright.server.console import SECRET_KEY
from certwright.server.home import Home
from tests.support.server import DOMAIN, RunningServer
from tests.support.site import Site

DEVICE_USER: Final = "canary-of-the-device-user"
KEYTAB: Final = b"\x05\x02canary-of-the-keytab"
PFX: Final = "canary-of-the-pfx"
WEBHOOK: Final = "canary-of-the-webhook-0123456789"
MAIL: Final = "canary-of-the-mail-server"
ACCOUNT: Final = "canary-of-the-account"
NAME: Final = f"canary.{DOMAIN}"

PAGES: Final = (
    *("/", "/?all", "/events/", "/account/", "/people/", "/people/1/", "/health/", "/audit/"),
    *("/adcs/accounts/", "/adcs/accounts/1/", "/adcs/accounts/1/edit/", "/adcs/orders/", "/adcs/orders/1/"),
    *("/adcs/orders/new/", "/device-users/", "/device-users/1/edit/", "/device-users/2/edit/"),
    *("/device-users/1/secret/", "/inventory/", "/inventory/1/", "/inventory/forms/", "/notifications/"),
)
EXPORTS: Final = ("/audit/export/", "/inventory/export/csv/", "/inventory/export/xlsx/", "/adcs/orders/1/request.pem")
LISTS: Final = (
    *(("device-user", "list"), ("service", "list"), ("order", "list"), ("inventory", "list"), ("account", "list")),
    *(("notification", "channel", "list"), ("audit", "list", "--limit", "10000"), ("order", "show", "1")),
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    running = RunningServer.initialise(tmp_path_factory.mktemp("canaries"))
    toml = running.home / "certwright.toml"
    toml.write_text(toml.read_text().replace("webhook-allow = []", 'webhook-allow = ["localhost"]'))
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def site(server: RunningServer) -> Site:
    return Site(server, "Administrator", server.password)


@pytest.fixture(scope="module")
def canaries(server: RunningServer, site: Site) -> Mapping[str, list[bytes]]:
    """Plant them all; the spellings of each."""
    server.cli("account", "add", "orderer", "--ntlm", data=f"{DEVICE_USER}\n")
    server.cli("account", "add", "somebody", "--ntlm", data=f"{ACCOUNT}\n")
    server.cli("template", "grant", "WebServer", "--enroll", "orderer")
    added = site.post("/device-users/add/", name="Orders", username=r"CORP\orderer", password=DEVICE_USER)
    assert "Orders" in added.text
    keytab = {"keytab": ("orders.keytab", KEYTAB)}
    site.post("/device-users/add/", files=keytab, name="Kerberos", username=r"CORP\orderer", password="")
    assert [each["kind"] for each in server.json("device-user", "list")] == ["keytab", "password"]
    server.cli(
        *("service", "add", "localhost", "-d", DOMAIN, "-u", "Orders", "--port", str(server.https_port)),
        *("--ca-file", server.root_certificate),
    )
    server.cli("service", "refresh")
    placed = site.post(
        "/adcs/orders/new/",
        domain=DOMAIN,
        template="WebServer",
        source="make",
        algorithm="ecdsa-p256",
        common_name=NAME,
        names=f"DNS:{NAME}",
        fetch="on",
    )
    assert "Issued" in placed.text, placed.text
    exported = site.post("/inventory/1/key/", form="pfx", password=PFX, again=PFX, reason="a test")
    private, _, _ = pkcs12.load_key_and_certificates(exported.content, PFX.encode())
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    channel = ("notification", "channel")
    server.cli(*channel, "add-webhook", "Hook", "--url", "https://localhost:1/", data=f"{WEBHOOK}\n")
    server.cli(
        *(*channel, "add-email", "Mail", "--host", "localhost", "--port", "1", "--username", "mailer"),
        *("--from", "ca@corp.example", "--to", "pki@corp.example"),
        data=f"{MAIL}\n",
    )
    answer = site.post("/account/tokens/add/", name="canary", scopes=["read"], lifetime="90")
    token = re.search(r'data-copy="([^"]{20,})"', answer.text)
    assert token is not None
    with Installation.open(Home.open(server.home)) as installation:
        sealed = (server.home / "console.key").read_bytes()
        session_key = installation.sealer.open(sealed, SECRET_KEY)
    number = private.private_numbers().private_value.to_bytes(32)
    pkcs8 = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return {
        "device user's password": [DEVICE_USER.encode()],
        "keytab": [KEYTAB, base64.b64encode(KEYTAB)[4:-4]],
        "PFX password": [PFX.encode()],
        "account's password": [ACCOUNT.encode(), server.password.encode()],
        "webhook's signing key": [WEBHOOK.encode()],
        "mail server's password": [MAIL.encode()],
        "API token": [token[1].encode()],
        "session secret": [session_key, session_key.hex().encode()],
        "private key": [number, number.hex().encode(), base64.b64encode(pkcs8)[8:-8], base64.b64encode(number)[2:-2]],
    }


def found_in(where: Mapping[str, bytes], canaries: Mapping[str, list[bytes]]) -> list[str]:
    return [
        f"the {secret} in {name}"
        for name, content in where.items()
        for secret, spellings in canaries.items()
        if any(spelling in content for spelling in spellings)
    ]


def test_no_page_and_no_export_shows_one(site: Site, canaries: Mapping[str, list[bytes]]) -> None:
    answers = {path: site.get(path) for path in (*PAGES, *EXPORTS)}

    assert {path: answer.status_code for path, answer in answers.items() if answer.status_code != 200} == {}
    assert found_in({path: answer.content for path, answer in answers.items()}, canaries) == []


def test_no_list_of_the_command_line_shows_one(server: RunningServer, canaries: Mapping[str, list[bytes]]) -> None:
    listed = {" ".join(words): server.cli(*words, "--json").encode() for words in LISTS}

    assert all(len(text) > 2 for text in listed.values())
    assert found_in(listed, canaries) == []


def test_other_accounts_of_the_host_see_none(server: RunningServer, canaries: Mapping[str, list[bytes]]) -> None:
    """What `ps` shows, and what the environment of the process holds."""
    assert server.process is not None
    process = Path(f"/proc/{server.process.pid}")
    shown = {name: (process / name).read_bytes() for name in ("cmdline", "environ", "comm", "status")}

    assert found_in(shown, canaries) == []


def test_no_file_and_no_line_of_the_log_holds_one_in_clear(
    server: RunningServer, site: Site, canaries: Mapping[str, list[bytes]]
) -> None:
    """Last, and after a stop: what was in memory is on the disk by then."""
    wrong = Site(server, "Administrator", DEVICE_USER)  # a password typed into the wrong field is one too
    assert "/sign-in/" in wrong.get("/").url
    server.stop()
    files = {
        str(path.relative_to(server.home)): path.read_bytes()
        for path in server.home.rglob("*")
        if path.is_file() and path.name != "administrator-password"
    }
    log = {"the log": "".join(server.log).encode()}

    assert "database.sqlite3" in files
    assert found_in(files | log, canaries) == []


def test_a_canary_would_be_heard(server: RunningServer, canaries: Mapping[str, list[bytes]]) -> None:
    """The tests above can fail: the Administrator's first password does lie in its file."""
    first = {"administrator-password": (server.home / "administrator-password").read_bytes()}

    assert found_in(first, canaries) == ["the account's password in administrator-password"]
