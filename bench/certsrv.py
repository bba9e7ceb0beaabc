"""Issuing through /certsrv: TLS, NTLM once per connection, a durable row before every answer.

The server is a real installation in a temporary folder, run as its own processes and loaded from another one over
loopback. Counted is the CPU of its process tree, as the kernel keeps it; the load driver's is not part of it.
Compared with the floor of the same round: verifying the request and signing the certificate, nothing else.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from tests.support.server import ADMINISTRATOR, DOMAIN, RunningServer

from bench.load import Driver, Job, Slice
from bench.measure import Contender, Ratio, Sample, Suite, WrongResult, in_process
from certwright.wire.certsrv.forms import SubmitForm

TEMPLATE: Final = "WebServer"
REQUESTS: Final = 256
SLICE_SECONDS: Final = 2.0
WARM_UP_SECONDS: Final = 1.0
CONNECTIONS: Final = 32
P256, RSA = "ecdsa-p256", "rsa-2048"  # as `certwright init` names the kinds of CA key
_TICK: Final = 1.0 / os.sysconf("SC_CLK_TCK")
_ISSUED: Final = "certnew.cer?ReqID="


def requests_of(count: int = REQUESTS) -> list[x509.CertificateSigningRequest]:
    """Requests for TLS servers, each with a P-256 key of its own."""
    return [_request(f"host{number:03d}.{DOMAIN}") for number in range(count)]


def _request(host: str) -> x509.CertificateSigningRequest:
    return (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)]))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host), x509.DNSName(f"www.{host}")]), False)
        .sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    )


# -- CPU of other processes ------------------------------------------------------------------------------------------


def tree_cpu(pid: int) -> float:
    """Seconds of CPU, user and system, that a process, its descendants and its ended children used so far."""
    table = dict(_processes())
    members = {pid}
    while grown := {child for child, (parent, _) in table.items() if parent in members} - members:
        members |= grown
    return sum(table[member][1] for member in members)


def _processes() -> Iterator[tuple[int, tuple[int, float]]]:
    """Every process with its parent and its CPU. proc_pid_stat(5)."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # ended while we looked
            continue
        ticks = sum(int(fields[place]) for place in (11, 12, 13, 14))  # utime, stime, cutime, cstime
        yield int(folder.name), (int(fields[1]), ticks * _TICK)


# -- our server ------------------------------------------------------------------------------------------------------


class Loaded:
    """A server with a driver set on it, as a contender. Every answer has to be a good one."""

    def __init__(self, name: str, pid: int, driver: Driver) -> None:
        self.name = name
        self._pid = pid
        self._driver = driver
        self.slices: list[Slice] = []

    def run(self, seconds: float) -> Sample:
        """One slice.

        Raises:
            WrongResult: an answer was none of those that the driver waits for.
        """
        before = tree_cpu(self._pid)
        made = self._driver.slice(seconds)
        spent = tree_cpu(self._pid) - before
        if made.bad or not made.good:
            raise WrongResult(f"{made.bad} answers of {made.bad + made.good} were no certificate: {made.other}")
        self.slices.append(made)
        return Sample(made.good, spent, made.seconds)

    def first(self) -> str:
        """The first good answer of a short slice, which also warms the server up."""
        self.run(WARM_UP_SECONDS)
        return self.slices.pop().first

    def note(self) -> str:
        """Wall times, for information."""
        best = max(self.slices, key=lambda made: made.rate)
        return (
            f"{self.name}: {best.rate:,.0f} certificates/s of wall time, p50 {best.p50 * 1000:.0f} ms, "
            f"p99 {best.p99 * 1000:.0f} ms in the best slice ({len(self.slices)} slices)"
        )


class Certsrv(Loaded):
    """Our server with an issuing CA of one kind of key."""

    def __init__(self, stack: ExitStack, ca_key: str, requests: Sequence[x509.CertificateSigningRequest]) -> None:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="certwright-bench-")))
        self.server = RunningServer.initialise(folder, "--ca-key", ca_key)
        self.server.start()
        stack.callback(self.server.stop)
        forms = [
            SubmitForm(
                request=request.public_bytes(Encoding.PEM).decode(),
                attributes=f"CertificateTemplate:{TEMPLATE}\r\n",
                friendly_type="Saved-Request Certificate",
            )
            for request in requests
        ]
        self.job = Job(
            port=self.server.https_port,
            path="/certsrv/certfnsh.asp",
            content_type="application/x-www-form-urlencoded",
            bodies=[form.encode().decode() for form in forms],
            marker=_ISSUED,
            connections=CONNECTIONS,
            root=str(self.server.root_certificate),
            account=ADMINISTRATOR,
            password=self.server.password,
        )
        driver = stack.enter_context(Driver(self.job))
        process = self.server.process
        assert process is not None
        super().__init__(f"/certsrv, {ca_key} CA", process.pid, driver)
        self._requests = requests

    def check(self) -> None:
        """The first certificate, out of the database: for one of the keys, by our CA, up to our root.

        Raises:
            WrongResult: it is not.
        """
        request_id = self.first().partition(_ISSUED)[2].partition("&")[0]
        serial = self.server.json("request", "show", request_id)["serial_number"]
        made = x509.load_pem_x509_certificate(self.server.cli("certificate", "export", serial).encode())
        chain = x509.load_pem_x509_certificates(self.server.cli("ca", "chain").encode())
        for certificate, issuer in zip((made, *chain), chain, strict=False):
            certificate.verify_directly_issued_by(issuer)
        asked = [request.public_key() for request in self._requests]
        if made.public_key() not in asked:
            raise WrongResult("the certificate is for a key that nobody asked for")
        names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        if len(names.get_values_for_type(x509.DNSName)) != 2:
            raise WrongResult(f"the certificate has other names: {names}")

    def contender(self) -> Contender:
        return Contender(self.name, self.run, self.check)


# -- the suite -------------------------------------------------------------------------------------------------------


def suite() -> Suite:
    """Our server with a P-256 and with an RSA-2048 CA, each beside its floor."""
    with ExitStack() as stack:
        requests = requests_of()
        servers = {kind: Certsrv(stack, kind, requests) for kind in (P256, RSA)}
        floors = {P256: _floor(P256, requests), RSA: _floor(RSA, requests)}
        return Suite(
            "issuance through /certsrv",
            [*(server.contender() for server in servers.values()), *floors.values()],
            [Ratio(f"{kind} CA: of verify and sign", servers[kind].name, floors[kind].name) for kind in (P256, RSA)],
            notes=FAIRNESS,
            slice_seconds=SLICE_SECONDS,
            remarks=lambda: remarks(servers.values()),
            close=stack.pop_all().close,
        )
    raise AssertionError("an exit stack swallows nothing")  # for the type checker


FAIRNESS: Final = (
    f"ours: {CONNECTIONS} keep-alive connections, TLS, NTLM with channel binding once per connection, the form of "
    "certfnsh.asp, template WebServer, name rules, SQLite with synchronous FULL, hash-chained audit trail; "
    "P-256 keys in all requests",
)


def remarks(servers: Iterable[Loaded]) -> list[str]:
    return [server.note() for server in servers]


def _floor(kind: str, requests: Sequence[x509.CertificateSigningRequest]) -> Contender:
    """What no CA can leave out: proof of possession, and a signature over as much as a certificate has."""
    tbs = bytes(1100)
    key = rsa.generate_private_key(65537, 2048) if kind == RSA else ec.generate_private_key(ec.SECP256R1())
    encoded = [request.public_bytes(Encoding.DER) for request in requests]

    def verify_and_sign(number: int) -> None:
        if not x509.load_der_x509_csr(encoded[number % len(encoded)]).is_signature_valid:
            raise WrongResult("the request's signature does not verify")
        if isinstance(key, rsa.RSAPrivateKey):
            key.sign(tbs, padding.PKCS1v15(), hashes.SHA256())
        else:
            key.sign(tbs, ec.ECDSA(hashes.SHA256()))

    floor = in_process(f"verify and sign, {kind} CA", verify_and_sign)
    return replace(floor, run=lambda seconds: floor.run(seconds / 8))
