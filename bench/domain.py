"""Issuing in a domain: what it costs to be somebody there, by Kerberos and by Basic; subjects from the directory.

The domain is the lab's (scripts/ad-lab, root), up as long as the suite lasts; the server is a real installation that
belongs to it. Counted is the CPU of the server's process tree: neither the driver's nor the domain controller's. One
contender makes a connection for every certificate (TLS, logon, form, answer), the other keeps its connections.
"""

from __future__ import annotations

import base64
import http.client
import os
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.serialization import Encoding
from tests.support.joined import JoinedServer, add_template, administrator_of, directory_of, publish_ca
from tests.support.lab import SCRIPT, Lab, why_impossible

from bench.certsrv import SLICE_SECONDS, requests_of, tree_cpu
from bench.measure import Contender, Ratio, Sample, Suite, WrongResult
from certwright.directory.default_templates import default_templates, new_forest_arcs
from certwright.pki.channel_binding import tls_server_end_point
from certwright.server.home import CONFIGURATION, AuthenticationSettings, Home
from certwright.wire.certsrv.forms import SubmitForm

TEMPLATE: Final = "BenchClient"
WORKERS: Final = 4
_ISSUED: Final = b"certnew.cer?ReqID="
_SUBMIT: Final = "/certsrv/certfnsh.asp"

Authorization = Callable[[ssl.SSLSocket], str]
"""The header's value for one connection."""


class Client:
    """Requests for certificates by one account, from some threads."""

    def __init__(self, name: str, server: JoinedServer, authorization: Authorization, *, keep: bool) -> None:
        self.name = name
        self._server = server
        self._authorization = authorization
        self._keep = keep
        self._context = server.tls_context()
        self._kept = threading.local()
        self._threads = ThreadPoolExecutor(WORKERS)
        attributes = f"CertificateTemplate:{TEMPLATE}\r\n"
        self._forms = [
            SubmitForm(request=request.public_bytes(Encoding.PEM).decode(), attributes=attributes).encode()
            for request in requests_of(64)
        ]

    def run(self, seconds: float) -> Sample:
        """One slice. Raises `WrongResult` for an answer without a certificate."""
        process = self._server.process
        assert process is not None
        before, began = tree_cpu(process.pid), time.perf_counter()
        counts = list(self._threads.map(self._ask_until, [began + seconds] * WORKERS))
        return Sample(sum(counts), tree_cpu(process.pid) - before, time.perf_counter() - began)

    def _ask_until(self, end: float) -> int:
        count = 0
        while time.perf_counter() < end:
            self._ask(self._forms[count % len(self._forms)])
            count += 1
        return count

    def _ask(self, form: bytes) -> None:
        connection: http.client.HTTPSConnection | None = getattr(self._kept, "connection", None)
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        if connection is None:
            connection = http.client.HTTPSConnection(
                self._server.host, self._server.https_port, context=self._context, timeout=30
            )
            connection.connect()
            headers["Authorization"] = self._authorization(connection.sock)
            self._kept.connection = connection
        connection.request("POST", _SUBMIT, form, headers)
        answer = connection.getresponse()
        body = answer.read()
        if _ISSUED not in body:
            raise WrongResult(f"{self.name}: {answer.status} {body[:500]!r}")
        if not self._keep:
            connection.close()
            self._kept.connection = None

    def contender(self) -> Contender:
        return Contender(self.name, self.run, lambda: self._ask(self._forms[0]))


def kerberos(lab: Lab, server: JoinedServer) -> Authorization:
    """alice by a ticket, bound to the connection."""
    import gssapi

    target = gssapi.Name(f"HTTP@{server.host}", gssapi.NameType.hostbased_service)

    def authorization(connection: ssl.SSLSocket) -> str:
        binding = tls_server_end_point(connection.getpeercert(True) or b"")
        context = gssapi.SecurityContext(
            name=target,
            usage="initiate",
            mech=gssapi.MechType.kerberos,
            channel_bindings=gssapi.raw.ChannelBindings(application_data=binding),
        )
        return f"Negotiate {base64.b64encode(context.step()).decode()}"

    return authorization


def basic(lab: Lab) -> Authorization:
    """bob by his password."""
    pair = base64.b64encode(f"{lab.netbios}\\bob:{lab.user_password}".encode()).decode()
    return lambda _: f"Basic {pair}"


@contextmanager
def a_domain(folder: Path) -> Iterator[Lab]:
    reason = why_impossible()
    if reason:
        raise SystemExit(f"bench domain: {reason}")
    name = f"BENCH{os.getpid() % 10000:04d}"
    environment = {**os.environ, "AD_LAB_REALM": f"{name}.EXAMPLE.TEST", "AD_LAB_NETBIOS": name}
    try:
        subprocess.run([SCRIPT, "up", folder], check=True, env=environment, capture_output=True)
        lab = Lab.of(folder)
        os.environ.update({"KRB5_CONFIG": str(lab.krb5_conf), "KRB5CCNAME": f"FILE:{folder / 'bench-cache'}"})
        password = f"{lab.user_password}\n"
        subprocess.run(["kinit", f"alice@{lab.realm}"], input=password, text=True, check=True, capture_output=True)
        yield lab
    finally:
        subprocess.run([SCRIPT, "down", folder], check=False, env=environment, capture_output=True)


def a_server(lab: Lab, folder: Path) -> JoinedServer:
    """A CA of the domain with one template that everybody may enroll for."""
    server = JoinedServer.prepare(folder, lab, "BCH")
    home = Home.open(server.home)
    authentication = AuthenticationSettings(keytab=str(lab.keytab("http")))
    (server.home / CONFIGURATION).write_text(replace(home.settings, authentication=authentication).to_toml())
    with directory_of(lab) as directory:
        domain_sid = directory.domain.sid
    stock = {each.cn: each for each in default_templates(domain_sid, new_forest_arcs())}["ClientAuth"]
    with administrator_of(lab) as connection:
        add_template(
            connection, lab, replace(stock, cn=TEMPLATE, display_name=TEMPLATE, minimal_key_size=256), domain_sid
        )
    publish_ca(lab, server.ca_name, server.host, server.certificate, [TEMPLATE])
    server.start()
    return server


def suite() -> Suite:
    """Kerberos beside Basic, each with a connection for every certificate and with kept ones."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="certwright-bench-")))
        folder.chmod(0o711)  # the domain's file server serves from below it
        lab = stack.enter_context(a_domain(folder / "lab"))
        server = a_server(lab, folder)
        stack.callback(server.stop)
        ways: dict[str, Any] = {"Kerberos": kerberos(lab, server), "Basic": basic(lab)}
        clients = {
            (way, keep): Client(f"{way}, connections {'kept' if keep else 'new'}", server, ways[way], keep=keep)
            for way in ways
            for keep in (False, True)
        }
        return Suite(
            "issuance in a domain",
            [client.contender() for client in clients.values()],
            [
                Ratio(
                    f"Kerberos to Basic, connections {'kept' if keep else 'new'}",
                    clients["Kerberos", keep].name,
                    clients["Basic", keep].name,
                )
                for keep in (False, True)
            ],
            notes=(
                f"{WORKERS} threads, channel binding required, subject from the directory, RSA-2048 key of the CA",
            ),
            slice_seconds=SLICE_SECONDS,
            close=stack.pop_all().close,
        )
    raise AssertionError("an exit stack swallows nothing")  # for the type checker
