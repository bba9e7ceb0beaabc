"""OCSP: a kept answer against a static file of its size, a signed one against its signature alone.

The listener's protocol is driven without sockets, the same way for both, so what is compared is what the answer costs
beyond the file: reading the question, finding the answer, its headers.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from urllib.parse import quote

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import ocsp as peer
from tests.support.issuing import ca_certificate

from bench.measure import Contender, Ratio, Sample, Suite, WrongResult, in_process
from certwright.online_responder.configuration import RevocationConfiguration
from certwright.online_responder.responder import Issuer, Responder
from certwright.online_responder.revocation import GOOD, CertificateStatus
from certwright.online_responder.views import OcspService
from certwright.pki import ocsp
from certwright.pki.certificate import CertificateView
from certwright.pki.ocsp import ResponseSigner
from certwright.pki.signatures import Signer
from certwright.server.bulk import BulkProtocol, BulkService
from certwright.server.published import PublishedFiles
from certwright.server.running import COLLECTED_EVERY

OF_STATIC: Final = 0.8
OF_RAW: Final = 0.65
CERTIFICATES: Final = 1000
_FIRST: Final = 0x7A << 144


class _Provider:
    """Everything is issued and good."""

    ca = "Bench CA"

    def status(self, serial: int, key_index: int, now: datetime) -> CertificateStatus:
        return GOOD

    def changes(self) -> tuple[int, ...]:
        return ()

    def newest(self, limit: int, now: datetime) -> Iterator[tuple[int, int]]:
        return iter(())


class _Sink(asyncio.Transport):
    """Where answers go: the last one stays."""

    def __init__(self) -> None:
        super().__init__()
        self.last = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.last = bytes(data)

    def get_write_buffer_size(self) -> int:
        return 0

    def close(self) -> None:
        raise WrongResult("the connection was closed")

    abort = close


def suite() -> Suite:
    key = ec.generate_private_key(ec.SECP256R1())
    ca = CertificateView.parse(ca_certificate(key))
    signer = ResponseSigner.of(Signer.of(key), ca)
    responder = Responder(lambda: datetime.now(UTC))
    until = datetime.now(UTC) + timedelta(days=14)
    configuration = RevocationConfiguration.load()
    issuer = Issuer(_Provider.ca, 0, ca, configuration, 1, _Provider(), signer, until)
    responder.serve([issuer])
    serials = range(_FIRST, _FIRST + CERTIFICATES)
    responder.produce(issuer, serials)
    questions = [ocsp.encode_request([ocsp.cert_id(ca, serial)]) for serial in serials]
    alone = [ocsp.encode_request([ocsp.cert_id(ca, serial)], bytes(32)) for serial in serials]
    folder = tempfile.TemporaryDirectory(prefix="certwright-bench-")
    kept = responder.answer(questions[0])
    assert kept is not None
    Path(folder.name, "a.crt").write_bytes(kept.der)

    async def health() -> tuple[bool, dict[str, object]]:
        return True, {}

    service = BulkService(
        PublishedFiles(Path(folder.name), time.monotonic),
        health,
        "https://ca",
        services={b"/ocsp": OcspService(responder, lambda: datetime.now(UTC))},
    )
    headers = "Host: ca.corp.example\r\nUser-Agent: bench\r\nAccept: */*\r\n"
    posts = [
        f"POST /ocsp HTTP/1.1\r\n{headers}Content-Type: application/ocsp-request\r\n"
        f"Content-Length: {len(question)}\r\n\r\n".encode()
        + question
        for question in questions
    ]
    gets = [f"GET /ocsp/{_encoded(question)} HTTP/1.1\r\n{headers}\r\n".encode() for question in questions]
    static = [f"GET /CertEnroll/a.crt HTTP/1.1\r\n{headers}\r\n".encode()] * CERTIFICATES
    sinks: dict[str, _Sink] = {}

    def serving(name: str, requests: list[bytes]) -> Contender:
        def run(seconds: float) -> Sample:
            return asyncio.run(drive(seconds))

        async def drive(seconds: float) -> Sample:
            sink = sinks[name] = _Sink()
            protocol = BulkProtocol(service, asyncio.get_running_loop())
            protocol.connection_made(sink)
            count, started, wall = 0, time.process_time(), time.perf_counter()
            while time.perf_counter() - wall < seconds:
                for request in requests:
                    protocol.data_received(request)
                count += len(requests)
            sample = Sample(count, time.process_time() - started, time.perf_counter() - wall)
            protocol.connection_lost(None)
            return sample

        def check() -> None:
            run(0.01)
            body = sinks[name].last.split(b"\r\n\r\n", 1)[1]
            read = peer.load_der_ocsp_response(body)
            if read.certificate_status is not peer.OCSPCertStatus.GOOD:
                raise WrongResult(f"{name}: the answer is not good")

        return Contender(name, run, check)

    def signed(number: int) -> object:
        if number % CERTIFICATES == 0:
            responder.follow()  # which another thread does: what is remembered holds as long as it does
        return responder.answer(alone[number % CERTIFICATES], ask=False)

    def check_signed() -> None:
        responder.follow()
        answer = responder.answer(alone[0], ask=False)
        assert answer is not None
        read = peer.load_der_ocsp_response(answer.der)
        key.public_key().verify(read.signature, read.tbs_response_bytes, ec.ECDSA(hashes.SHA256()))

    usual = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECTED_EVERY)  # as the server does

    def close() -> None:
        gc.set_threshold(*usual)
        gc.unfreeze()
        folder.cleanup()

    algorithm = ec.ECDSA(hashes.SHA256())
    example = responder.answer(alone[0])
    assert example is not None
    signed_part = peer.load_der_ocsp_response(example.der).tbs_response_bytes
    return Suite(
        "OCSP",
        [
            serving("kept answer, POST", posts),
            serving("kept answer, GET", gets),
            serving("static file", static),
            Contender("signed answer", in_process("", signed).run, check_signed),
            in_process("P-256 signature", lambda number: key.sign(signed_part, algorithm)),
        ],
        [
            Ratio("kept answer, POST: of a static file", "kept answer, POST", "static file", OF_STATIC),
            Ratio("kept answer, GET: of a static file", "kept answer, GET", "static file", OF_STATIC),
            Ratio("signed answer with nonce: of its signature", "signed answer", "P-256 signature", OF_RAW),
        ],
        notes=[f"{CERTIFICATES} certificates, asked for in turn; the listener without sockets, both sides alike"],
        close=close,
    )


def _encoded(question: bytes) -> str:
    return quote(base64.b64encode(question).decode(), safe="")
