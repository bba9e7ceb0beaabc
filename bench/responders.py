"""OCSP over HTTP beside others, CPU for CPU: nginx with a file of that size, cfssl ocspserve, `openssl ocsp`.

Ours is the whole server of a real installation, with its other listeners idle; what is counted is the CPU of each
server's process tree. Kept answers go over keep-alive connections by POST; nginx is asked by GET for a file of the
same octets, under the same name, so that its answer has the same length. Answers with a nonce are signed one by one:
ours over keep-alive connections, `openssl ocsp` over a connection a request, because it keeps none; the same of ours
stands beside it, for information. A peer that is missing is named and left out.
"""

from __future__ import annotations

import base64
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509 import ocsp as peer
from tests.support.foreign_ca import ForeignCa
from tests.support.ocsp_site import Site, fetched, running_site
from tests.support.server import free_ports

from bench.certsrv import Loaded, tree_cpu
from bench.load import Driver, Job
from bench.measure import Contender, Ratio, Sample, Suite, WrongResult
from certwright.pki import ocsp
from certwright.pki.certificate import CertificateView
from certwright.server import logs

OF_STATIC: Final = 0.8
OF_CFSSL: Final = 2.5
OF_OPENSSL: Final = 1.0
CERTIFICATES: Final = 50
CONNECTIONS: Final = 16
SLICE_SECONDS: Final = 1.5
START_SECONDS: Final = 15.0
_NONCE: Final = bytes(range(32))


class Missing(Exception):
    """A peer is not here; the text says which and how to get it."""


def suite() -> Suite:
    logs.configure("error", "console")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="certwright-bench-")))
        site = stack.enter_context(running_site(folder))
        issuer = CertificateView.parse(site.installation.chain()[0])
        serials = [
            x509.load_pem_x509_certificate(site.issue(f"host{number}.corp.example").read_bytes()).serial_number
            for number in range(CERTIFICATES)
        ]
        questions = [ocsp.encode_request([ocsp.cert_id(issuer, serial)]) for serial in serials]
        answers = [_answered(site, question) for question in questions]
        process = site.server.process
        assert process is not None
        ours = _Kept("ours, kept answer", process.pid, site.server.http_port, "/ocsp", questions, stack)
        contenders = [ours.contender()]
        ratios: list[Ratio] = []
        loaded: list[_Kept] = [ours]
        missing: list[str] = []
        peers: tuple[tuple[Callable[..., _Kept], str, float], ...] = (
            (_nginx, "nginx with a file of that size", OF_STATIC),
            (_cfssl, "cfssl ocspserve", OF_CFSSL),
        )
        for start, name, least in peers:
            try:
                other = start(stack, folder, questions, answers)
            except Missing as error:
                missing.append(f"left out: {error}")
                continue
            contenders.append(other.contender())
            loaded.append(other)
            ratios.append(Ratio(f"kept answer: of {name}", ours.name, other.name, least))
        mine = _Alone("ours, signed, a connection each", site.server.http_port, "/ocsp", questions[0], issuer)
        mine.pid = process.pid
        alone = [
            ocsp.encode_request([ocsp.cert_id(issuer, serial)], serial.to_bytes(32, "big")) for serial in serials
        ]
        signed = _Kept("ours, signed with a nonce", process.pid, site.server.http_port, "/ocsp", alone, stack)
        try:
            theirs = _openssl(stack, folder)
        except Missing as error:
            missing.append(f"left out: {error}")
        else:
            contenders += [signed.contender(), mine.contender(), theirs.contender()]
            loaded.append(signed)
            ratios += [
                Ratio("signed answer: of openssl ocsp", signed.name, theirs.name, OF_OPENSSL),
                Ratio("signed answer, a connection each: of openssl ocsp", mine.name, theirs.name),
            ]
        return Suite(
            "OCSP over HTTP beside others",
            contenders,
            ratios,
            notes=[
                *missing,
                f"{CONNECTIONS} keep-alive connections for kept answers; CPU of each server's processes",
            ],
            slice_seconds=SLICE_SECONDS,
            remarks=lambda: [each.note() for each in loaded],
            close=stack.pop_all().close,
        )
    raise AssertionError("an exit stack swallows nothing")  # for the type checker


def _answered(site: Site, question: bytes) -> bytes:
    answer = fetched(site.url, question)
    if peer.load_der_ocsp_response(answer).response_status is not peer.OCSPResponseStatus.SUCCESSFUL:
        raise WrongResult("the responder does not answer")
    return answer


class _Kept(Loaded):
    """A server that is asked over keep-alive connections."""

    def __init__(
        self,
        name: str,
        pid: int,
        port: int,
        path: str,
        bodies: Sequence[bytes],
        stack: ExitStack,
        *,
        gets: bool = False,
    ) -> None:
        job = Job(
            port=port,
            path=path,
            content_type="application/ocsp-request",
            bodies=[base64.b64encode(body).decode() for body in bodies],
            encoded=True,
            gets=gets,
            marker="application/ocsp-response",
            connections=CONNECTIONS,
        )
        super().__init__(name, pid, stack.enter_context(Driver(job)))

    def contender(self) -> Contender:
        return Contender(self.name, self.run, lambda: None)

    def note(self) -> str:
        best = max(self.slices, key=lambda made: made.rate)
        return f"{self.name}: {best.rate:,.0f}/s of wall time, p99 {best.p99 * 1e3:.1f} ms in the best slice"


def _nginx(stack: ExitStack, folder: Path, questions: Sequence[bytes], answers: Sequence[bytes]) -> _Kept:
    from tests.support.nginx import nginx

    if shutil.which("nginx", path="/usr/sbin:/usr/bin") is None:
        raise Missing("nginx is not installed (Debian: nginx)")
    files = folder / "files"
    files.mkdir()
    (files / "ocsp").write_bytes(answers[0])
    [port] = free_ports(1)
    http = f"""server {{ listen 127.0.0.1:{port}; root {files};
        types {{ }} default_type application/ocsp-response; open_file_cache max=10; sendfile on; }}"""
    process = stack.enter_context(nginx(folder / "nginx", port, http))
    return _Kept("nginx, a file", process.pid, port, "/ocsp", questions[:1], stack, gets=True)


def _cfssl(stack: ExitStack, folder: Path, questions: Sequence[bytes], answers: Sequence[bytes]) -> _Kept:
    program = shutil.which("cfssl")
    if program is None:
        raise Missing("cfssl is not installed (Debian: golang-cfssl)")
    responses = folder / "responses"
    responses.write_text("\n".join(base64.b64encode(answer).decode() for answer in answers))
    [port] = free_ports(1)
    process = _started(
        stack,
        lambda: socket.create_connection(("127.0.0.1", port), 1).close(),
        *(program, "ocspserve", "-loglevel=5", f"-port={port}", f"-responses={responses}"),
    )
    return _Kept("cfssl ocspserve", process.pid, port, "/", questions, stack)


def _started(
    stack: ExitStack, ready: Callable[[], object], *command: str, cwd: Path | None = None
) -> subprocess.Popen[bytes]:
    """A process that ends with the stack, once `ready` raises no `OSError` any more."""
    process = subprocess.Popen(
        command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )

    def end() -> None:
        process.terminate()
        process.wait(10)

    stack.callback(end)
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            ready()
        except OSError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise Missing(f"{command[0]} does not start") from error
            time.sleep(0.05)
        else:
            return process


class _Alone:
    """A server that is asked over a connection a request, for an answer of its own: with a nonce."""

    def __init__(self, name: str, port: int, path: str, question: bytes, issuer: CertificateView) -> None:
        self.name = name
        self.pid = 0
        self._port = port
        asked = ocsp.parse_request(question).cert_ids[0]
        body = ocsp.encode_request([ocsp.cert_id(issuer, asked.serial)], _NONCE)
        head = f"POST {path} HTTP/1.0\r\nContent-Type: application/ocsp-request\r\n"
        self._request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body

    def run(self, seconds: float) -> Sample:
        """One connection after the other."""
        before, begun, count = tree_cpu(self.pid), time.perf_counter(), 0
        while time.perf_counter() - begun < seconds:
            answer = self.ask()
            count += 1
        wall = time.perf_counter() - begun
        read = peer.load_der_ocsp_response(answer.partition(b"\r\n\r\n")[2])
        if read.certificate_status is not peer.OCSPCertStatus.GOOD:
            raise WrongResult(f"{self.name}: the answer is not good")
        if read.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce != _NONCE:
            raise WrongResult(f"{self.name}: the nonce did not come back")
        return Sample(count, tree_cpu(self.pid) - before, wall)

    def ask(self) -> bytes:
        with socket.create_connection(("127.0.0.1", self._port), 10) as plain:
            plain.sendall(self._request)
            parts = []
            while part := plain.recv(65536):
                parts.append(part)
        return b"".join(parts)

    def contender(self) -> Contender:
        return Contender(self.name, self.run, lambda: None)


def _openssl(stack: ExitStack, folder: Path) -> _Alone:
    """`openssl ocsp` with an index of as many certificates, a P-256 key and a signing certificate, as ours has."""
    program = shutil.which("openssl")
    if program is None:
        raise Missing("openssl is not installed (Debian: openssl)")
    ca, key = ForeignCa(), ec.generate_private_key(ec.SECP256R1())
    signer = ca.sign_responder(key.public_key())
    (folder / "signer.pem").write_bytes(signer.public_bytes(Encoding.PEM))
    (folder / "signer.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (folder / "their-ca.pem").write_bytes(ca.pem)
    issued = [ca.issue(f"host{number}.example") for number in range(CERTIFICATES)]
    (folder / "index.txt").write_text(
        "".join(f"V\t351231235959Z\t\t{each.serial_number:040X}\tunknown\t/CN=x\n" for each in issued)
    )
    (folder / "index.txt.attr").write_text("unique_subject = no\n")
    view = ca.view
    question = ocsp.encode_request([ocsp.cert_id(view, issued[0].serial_number)])
    [port] = free_ports(1)
    asked = _Alone("openssl ocsp, signed with a nonce", port, "/", question, view)
    process = _started(
        stack,
        asked.ask,  # it waits for ever for whoever connects and asks nothing
        *(
            program,
            "ocsp",
            "-index",
            "index.txt",
            "-port",
            str(port),
            "-rsigner",
            "signer.pem",
            "-rkey",
            "signer.key",
        ),
        *("-CA", "their-ca.pem", "-ignore_err", "-ndays", "1"),
        cwd=folder,
    )
    asked.pid = process.pid
    return asked
