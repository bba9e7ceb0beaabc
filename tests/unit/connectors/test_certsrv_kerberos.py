"""Kerberos against MIT's own KDC on loopback, with GSSAPI's acceptor on the other side: ticket, binding, refusals.

Needs krb5kdc, kdb5_util, kadmin.local and the extra `kerberos`; skipped by name where they are absent.
"""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from certwright.connectors.certsrv import CertsrvConnection
from certwright.connectors.errors import LogonCause, LogonRefused
from certwright.connectors.service import AuthScheme, ServiceCredential
from tests.support.localized_pages import Site
from tests.support.requests import web_server_request
from tests.support.scripted_https import Identity, Reply, Seen
from tests.support.server import free_ports
from tests.unit.connectors.conftest import PASSWORD, Serve

gssapi = pytest.importorskip("gssapi", reason="the extra kerberos is not installed")
pytest.importorskip("krb5", reason="the extra kerberos is not installed")

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(shutil.which("krb5kdc", path=os.environ["PATH"] + ":/usr/sbin") is None, reason="no krb5kdc"),
]

Connect = Callable[..., CertsrvConnection]
REALM = "CORP.EXAMPLE"
CHANNEL_BOUND = 0x800  # GSS_C_CHANNEL_BOUND_FLAG


@pytest.fixture(scope="module")
def kdc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A realm with a web server, a user, a machine, and accounts that may not log on; its folder holds keytabs."""
    folder = tmp_path_factory.mktemp("kdc")
    (port,) = free_ports(1)
    (folder / "krb5.conf").write_text(
        f"[libdefaults]\n default_realm = {REALM}\n dns_lookup_kdc = false\n rdns = false\n"
        " dns_canonicalize_hostname = false\n udp_preference_limit = 1\n"
        f"[realms]\n {REALM} = {{\n  kdc = 127.0.0.1:{port}\n }}\n"
        f"[logging]\n kdc = FILE:{folder / 'kdc.log'}\n"
    )
    (folder / "kdc.conf").write_text(
        f"[kdcdefaults]\n kdc_listen = 127.0.0.1:{port}\n kdc_tcp_listen = 127.0.0.1:{port}\n"
        f"[realms]\n {REALM} = {{\n"
        f"  database_name = {folder / 'principal'}\n  key_stash_file = {folder / 'stash'}\n }}\n"
    )
    environment = os.environ | {
        "KRB5_CONFIG": str(folder / "krb5.conf"),
        "KRB5_KDC_PROFILE": str(folder / "kdc.conf"),
        "PATH": os.environ["PATH"] + ":/usr/sbin",
    }

    def run(*command: str) -> None:
        subprocess.run(command, env=environment, check=True, capture_output=True, timeout=60)

    run("kdb5_util", "create", "-s", "-r", REALM, "-P", "master")
    for line in (
        f"addprinc -pw {PASSWORD} svc",
        "addprinc -randkey HTTP/localhost",
        "addprinc -randkey machine",
        "addprinc -pw x locked",
        "modprinc -allow_tix locked",
        "addprinc -pw x -pwexpire yesterday expired",
        "addprinc -pw x -expire yesterday gone",
        f"ktadd -k {folder / 'http.keytab'} HTTP/localhost",
        f"ktadd -k {folder / 'machine.keytab'} machine",
    ):
        run("kadmin.local", "-q", line)
    process = subprocess.Popen(
        ["krb5kdc", "-n"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    before, os.environ["KRB5_CONFIG"] = os.environ.get("KRB5_CONFIG"), str(folder / "krb5.conf")
    try:
        _wait_for(folder / "kdc.log")
        yield folder
    finally:
        process.terminate()
        process.wait(10)
        if before is None:
            del os.environ["KRB5_CONFIG"]
        else:
            os.environ["KRB5_CONFIG"] = before


def _wait_for(log: Path) -> None:
    deadline = time.monotonic() + 10
    while not (log.exists() and "commencing operation" in log.read_text()):
        assert time.monotonic() < deadline, "krb5kdc does not start"
        time.sleep(0.05)


class Acceptor:
    """The site behind GSSAPI: Require, as IIS calls it. `seen` says who came, and whether they were bound."""

    def __init__(self, site: Site, keytab: Path, bindings: bytes) -> None:
        self._site = site
        self._keytab = keytab
        self._bindings = bindings
        self._known: set[int] = set()
        self.seen: list[tuple[str, bool]] = []

    def __call__(self, request: Seen) -> Reply:
        if request.connection in self._known:
            return self._site(request)
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        refusal = Reply("", 401, headers=(("WWW-Authenticate", "Negotiate"),))
        if scheme != "Negotiate":
            return refusal
        store = {"keytab": f"FILE:{self._keytab}", "rcache": "none:"}
        context: Any = gssapi.SecurityContext(
            creds=gssapi.Credentials(usage="accept", store=store),
            usage="accept",
            channel_bindings=gssapi.raw.ChannelBindings(application_data=self._bindings),
        )
        try:
            answer = context.step(base64.b64decode(token))
            bound = bool(int(context.actual_flags) & CHANNEL_BOUND)
        except (gssapi.exceptions.GSSError, AttributeError):  # the latter where the binding was a wrong one
            return refusal
        self.seen.append((str(context.initiator_name), bound))
        self._known.add(request.connection)
        reply = self._site(request)
        proof = ("WWW-Authenticate", f"Negotiate {base64.b64encode(answer).decode()}")
        return Reply(reply.body, reply.status, reply.content_type, (proof,))


@pytest.fixture
def acceptor(kdc: Path, site: Site, web: Identity) -> Acceptor:
    return Acceptor(site, kdc / "http.keytab", b"tls-server-end-point:" + bytes.fromhex(web.sha256))


def test_a_password_and_a_keytab_get_a_bound_ticket(
    serve: Serve, connect: Connect, acceptor: Acceptor, kdc: Path
) -> None:
    server = serve(acceptor, logon=False)
    keytab = (kdc / "machine.keytab").read_bytes()

    for credential in (
        ServiceCredential.password("svc", PASSWORD, "corp.example"),
        ServiceCredential.keytab("machine@corp.example", keytab),
    ):
        response = connect(server, credential=credential, scheme=AuthScheme.KERBEROS).submit(web_server_request())
        assert response.is_issued

    assert acceptor.seen == [(f"svc@{REALM}", True), (f"machine@{REALM}", True)]
    assert [each.method for each in server.seen] == 2 * ["GET", "GET", "POST", "GET"]


def test_a_binding_to_another_certificate_is_refused(serve: Serve, connect: Connect, site: Site, kdc: Path) -> None:
    server = serve(Acceptor(site, kdc / "http.keytab", b"tls-server-end-point:" + bytes(32)), logon=False)
    credential = ServiceCredential.password("svc", PASSWORD, "corp.example")

    with pytest.raises(LogonRefused) as refused:
        connect(server, credential=credential, scheme=AuthScheme.KERBEROS).retrieve(1)

    assert refused.value.cause is LogonCause.UNKNOWN
    assert "channel binding" in refused.value.fix


@pytest.mark.parametrize(
    ("credential", "cause"),
    [
        (ServiceCredential.password("svc", "wrong", "corp.example"), LogonCause.WRONG_PASSWORD),
        (ServiceCredential.password("nobody", "x", "corp.example"), LogonCause.WRONG_PASSWORD),
        (ServiceCredential.password("locked", "x", "corp.example"), LogonCause.LOCKED),
        (ServiceCredential.password("expired", "x", "corp.example"), LogonCause.PASSWORD_EXPIRED),
        (ServiceCredential.password("gone", "x", "corp.example"), LogonCause.EXPIRED),
        (ServiceCredential.password("svc", "x", "nowhere.example"), LogonCause.KDC),
        (ServiceCredential.keytab("svc", b"rubbish", "corp.example"), LogonCause.KEYTAB),
    ],
    ids=["password", "name", "locked", "password expired", "account expired", "realm", "keytab"],
)
def test_what_the_kdc_refuses_is_said(
    serve: Serve, connect: Connect, acceptor: Acceptor, credential: ServiceCredential, cause: LogonCause
) -> None:
    server = serve(acceptor, logon=False)

    with pytest.raises(LogonRefused) as refused:
        connect(server, credential=credential, scheme=AuthScheme.KERBEROS).retrieve(1)

    assert refused.value.cause is cause
    assert not acceptor.seen


def test_a_keytab_of_another_account_does_not_fit(
    serve: Serve, connect: Connect, acceptor: Acceptor, kdc: Path
) -> None:
    credential = ServiceCredential.keytab("svc", (kdc / "machine.keytab").read_bytes(), "corp.example")

    with pytest.raises(LogonRefused) as refused:
        connect(serve(acceptor, logon=False), credential=credential, scheme=AuthScheme.KERBEROS).retrieve(1)

    assert refused.value.cause is LogonCause.KEYTAB
