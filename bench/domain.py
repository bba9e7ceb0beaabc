"""Issuing in a domain: what it costs to be somebody there, by Kerberos and by Basic; subjects from the directory.

The domain is the lab's (scripts/ad-lab, root), up as long as the suite lasts; the server is a real installation that
belongs to it. Counted is the CPU of the server's process tree: neither the driver's nor the domain controller's. One
contender makes a connection for every certificate (TLS, logon, form, answer), the other keeps its connections.

With `--principals N` a second domain stands beside the first, with N more accounts and 500 templates, and a server of
its own; in every round the same is asked of both. Its accounts are written into the controller's database while the
controller is stopped, some two hundred a second.
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
TEMPLATES: Final = 500  # of the large domain
WORKERS: Final = 4
KERBEROS_TO_BASIC: Final = 1 / 2
"""Of the rate of Basic, at least: a certificate costs at most twice its CPU."""
LARGE_TO_SMALL: Final = 1 / 1.2
"""Of the small domain's rate, at least: at most a fifth more CPU."""
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
    cache = f"FILE:{lab.folder / 'bench-cache'}"
    credentials = gssapi.Credentials(usage="initiate", store={"ccache": cache})

    def authorization(connection: ssl.SSLSocket) -> str:
        binding = tls_server_end_point(connection.getpeercert(True) or b"")
        context = gssapi.SecurityContext(
            name=target,
            creds=credentials,
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
def a_domain(folder: Path, name: str, principals: int = 0) -> Iterator[Lab]:
    """A domain with so many accounts more than the lab's few; alice's ticket lies in its folder."""
    environment = {**os.environ, "AD_LAB_REALM": f"{name}.EXAMPLE.TEST", "AD_LAB_NETBIOS": name}

    def script(verb: str) -> None:
        subprocess.run([SCRIPT, verb, folder], check=True, env=environment, capture_output=True)

    try:
        script("up")
        lab = Lab.of(folder)
        if principals:
            script("halt")
            _load(lab, principals)
            script("up")
        subprocess.run(
            ["kinit", "-c", str(folder / "bench-cache"), f"alice@{lab.realm}"],
            input=f"{lab.user_password}\n",
            text=True,
            check=True,
            capture_output=True,
            env=dict(lab.environment),
        )
        yield lab
    finally:
        subprocess.run([SCRIPT, "down", folder], check=False, env=environment, capture_output=True)


def _load(lab: Lab, principals: int) -> None:
    """Users, and a group for every hundred of them, into the stopped controller's database."""
    unit = f"OU=Many,{lab.base_dn}"
    file = lab.folder / "many.ldif"
    with file.open("w", encoding="ascii") as out:
        out.write(f"dn: {unit}\nobjectClass: organizationalUnit\n\n")
        for number in range(principals):
            if number % 100 == 99:
                member = f"CN=m{number - 1},{unit}"
                out.write(
                    f"dn: CN=g{number},{unit}\nobjectClass: group\nsAMAccountName: g{number}\nmember: {member}\n\n"
                )
            else:
                out.write(
                    f"dn: CN=m{number},{unit}\nobjectClass: user\nsAMAccountName: m{number}\n"
                    "userAccountControl: 544\n\n"
                )
    subprocess.run(
        ["ldbadd", "-H", lab.folder / "samba/private/sam.ldb", file],
        check=True,
        capture_output=True,
        env={**os.environ, "TDB_NO_FSYNC": "1"},
    )


def a_server(lab: Lab, folder: Path, templates: int = 1) -> JoinedServer:
    """A CA of the domain with one template that everybody may enroll for, and others that only look like it."""
    folder.mkdir()
    server = JoinedServer.prepare(folder, lab, "BCH")
    home = Home.open(server.home)
    authentication = AuthenticationSettings(keytab=str(lab.keytab("http")))
    (server.home / CONFIGURATION).write_text(replace(home.settings, authentication=authentication).to_toml())
    with directory_of(lab) as directory:
        domain_sid = directory.domain.sid
    stock = {each.cn: each for each in default_templates(domain_sid, new_forest_arcs())}["ClientAuth"]
    names = [TEMPLATE, *(f"{TEMPLATE}{number}" for number in range(1, templates))]
    with administrator_of(lab) as connection:
        for number, cn in enumerate(names):
            made = replace(stock, cn=cn, display_name=cn, oid=f"{stock.oid}.{number}", minimal_key_size=256)
            add_template(connection, lab, made, domain_sid)
    publish_ca(lab, server.ca_name, server.host, server.certificate, names)
    server.start()
    return server


def suite(*, principals: int = 0) -> Suite:
    """Kerberos beside Basic, each with a connection for every certificate and with kept ones.

    Args:
        principals: accounts of a second, large domain; none: there is one domain.
    """
    reason = why_impossible()
    if reason:
        raise SystemExit(f"bench domain: {reason}")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="certwright-bench-")))
        folder.chmod(0o711)  # the domain's file server serves from below it
        run = f"{os.getpid() % 10000:04d}"
        lab = stack.enter_context(a_domain(folder / "lab", f"BENCH{run}"))
        labs = [lab]
        if principals:
            labs.append(stack.enter_context(a_domain(folder / "large", f"LARGE{run}", principals)))
        os.environ["KRB5_CONFIG"] = ":".join(str(each.krb5_conf) for each in labs)
        server = a_server(lab, folder / "server")
        stack.callback(server.stop)
        ways: dict[str, Any] = {"Kerberos": kerberos(lab, server), "Basic": basic(lab)}
        clients = {
            (way, keep): Client(f"{way}, connections {'kept' if keep else 'new'}", server, ways[way], keep=keep)
            for way in ways
            for keep in (False, True)
        }
        ratios = [
            Ratio(
                f"Kerberos to Basic, connections {'kept' if keep else 'new'}",
                clients["Kerberos", keep].name,
                clients["Basic", keep].name,
                KERBEROS_TO_BASIC,
            )
            for keep in (False, True)
        ]
        contenders = [*clients.values()]
        if principals:
            large = a_server(labs[1], folder / "large-server", TEMPLATES)
            stack.callback(large.stop)
            label = f"{TEMPLATES} templates, {principals:,} principals"
            many = Client(f"Kerberos, connections new, {label}", large, kerberos(labs[1], large), keep=False)
            contenders.append(many)
            ratios.append(Ratio(f"{label}, to few", many.name, clients["Kerberos", False].name, LARGE_TO_SMALL))
        return Suite(
            "issuance in a domain",
            [client.contender() for client in contenders],
            ratios,
            notes=(
                f"{WORKERS} threads, channel binding required, subject from the directory, RSA-2048 key of the CA",
            ),
            slice_seconds=SLICE_SECONDS,
            close=stack.pop_all().close,
        )
    raise AssertionError("an exit stack swallows nothing")  # for the type checker
