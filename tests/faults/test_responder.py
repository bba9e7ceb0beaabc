"""Bad questions, slow and idle clients, and a death between a revocation and its publication. RFC 6960 4.2.1, 2.3."""

from __future__ import annotations

import base64
import http.client
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final
from urllib.parse import quote

import pytest
from cryptography import x509

from certwright.pki import der, ocsp
from certwright.pki.certificate import CertificateView
from certwright.pki.extensions import extension
from certwright.pki.ocsp import ResponseStatus
from tests.support.ocsp_site import Site, fetched, running_site, serial

MALFORMED: Final = ocsp.error_response(ResponseStatus.MALFORMED_REQUEST)
UNAUTHORIZED: Final = ocsp.error_response(ResponseStatus.UNAUTHORIZED)
IDLE: Final = 10_000
SOON: Final = 5.0
"""Seconds in which somebody else is answered while others do their worst, on a machine that is busy with tests."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running_site(tmp_path_factory.mktemp("faults")) as running:
        yield running
    assert "Traceback" not in "".join(running.server.log)


@pytest.fixture(scope="module")
def question(site: Site) -> bytes:
    """A good one, about a certificate that was issued."""
    issuer = CertificateView.parse(site.installation.chain()[0])
    certificate = x509.load_pem_x509_certificate(site.issue().read_bytes())
    return ocsp.encode_request([ocsp.cert_id(issuer, certificate.serial_number)])


def post(site: Site, body: bytes) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("localhost", site.server.http_port, timeout=10)
    try:
        connection.request("POST", "/ocsp", body, {"Content-Type": "application/ocsp-request"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def with_version(question: bytes, version: int) -> bytes:
    inner = der.Reader.of(question).whole(der.SEQUENCE)
    content = der.require_single(inner, der.SEQUENCE).content(inner)
    return der.sequence(der.sequence(der.explicit(0, der.integer(version)), content))


def with_extension(question: bytes, value: bytes) -> bytes:
    inner = der.Reader.of(question).whole(der.SEQUENCE)
    content = der.require_single(inner, der.SEQUENCE).content(inner)
    return der.sequence(der.sequence(content, der.explicit(2, der.sequence(value))))


def many(question: bytes, count: int) -> bytes:
    inner = der.Reader.of(question).enter().enter().whole(der.SEQUENCE)
    return der.sequence(der.sequence(der.sequence(*[inner] * count)))


def test_every_bad_question_gets_its_status_and_the_connection_lives_on(site: Site, question: bytes) -> None:
    strange = extension("1.2.3.4", der.null(), critical=True)
    for name, bad, status in (
        ("empty", b"", MALFORMED),
        ("garbage", b"what is this", MALFORMED),
        ("cut off", question[:-1], MALFORMED),
        ("something follows", question + b"\x00", MALFORMED),
        ("indefinite length", b"\x30\x80" + question[2:] + b"\x00\x00", MALFORMED),
        ("another version", with_version(question, 1), MALFORMED),
        ("no CertID", der.sequence(der.sequence(der.sequence())), MALFORMED),
        ("an endless nonce", with_extension(question, ocsp.nonce_extension(der.octet_string(bytes(129)))), MALFORMED),
        ("an answer", MALFORMED, MALFORMED),
        ("a critical extension", with_extension(question, strange), UNAUTHORIZED),
        ("more than max-requests", many(question, 17), UNAUTHORIZED),
        ("hundreds", many(question, 800), UNAUTHORIZED),
    ):
        assert post(site, bad) == (200, status), name
        assert post(site, question)[1] not in (MALFORMED, UNAUTHORIZED), name


def test_ten_thousand_requests_in_one_message_are_not_read(site: Site, question: bytes) -> None:
    """Nor is anything else of more than 64 KiB; who asks is told so, and others are answered."""
    body = many(question, 10_000)
    assert len(body) > 700_000

    assert post(site, body)[0] == 413
    assert post(site, question)[0] == 200


@pytest.mark.parametrize(
    "path",
    ["", "/", "//", "/%", "/%zz", "/MA", "/" + "A" * 8000, "/../../etc/passwd", "/%00", "/%c3%28", "/\xff"],
)
def test_garbage_in_a_path_is_malformed(site: Site, path: str) -> None:
    with socket.create_connection(("localhost", site.server.http_port), 10) as plain:
        plain.sendall(f"GET /ocsp{path} HTTP/1.0\r\n\r\n".encode("latin-1"))
        plain.settimeout(10)
        answer = b""
        while part := plain.recv(65536):
            answer += part

    assert answer.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 400 "))
    if answer.startswith(b"HTTP/1.1 200 "):
        assert answer.endswith(MALFORMED)


# -- slow and idle


CROWD: Final = """
import resource, socket, sys, time
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
port, count = int(sys.argv[1]), int(sys.argv[2])
crowd = []
for number in range(count):
    idle = socket.create_connection(("127.0.0.1", port), 30)
    if number % 3 == 1:
        idle.sendall(b"POST /ocsp HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 70\\r\\n\\r\\n0")
    elif number % 3 == 2:
        idle.sendall(b"GET /oc")
    crowd.append(idle)
print("here", flush=True)
sys.stdin.read()
"""
"""Connections that wait: some say nothing, some half a request, some half a body."""


def test_ten_thousand_idle_connections_do_not_stop_others(site: Site, question: bytes) -> None:
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < IDLE + 200:
        pytest.skip(f"a process may not open {IDLE} files here (ulimit -Hn)")
    crowd = subprocess.Popen(
        [sys.executable, "-c", CROWD, str(site.server.http_port), str(IDLE)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert crowd.stdout is not None
        assert crowd.stdout.readline() == b"here\n"
        for _ in range(10):
            begun = time.monotonic()
            assert post(site, question)[0] == 200
            assert time.monotonic() - begun < SOON
    finally:
        crowd.communicate(timeout=30)


def test_who_reads_nothing_keeps_nobody_waiting(site: Site, question: bytes) -> None:
    """Clients that ask and ask and take no answer; the server stops reading them, and keeps no answers for them."""
    memory = resident(site)
    path = quote(base64.b64encode(question).decode(), safe="")
    ask = f"GET /ocsp/{path} HTTP/1.1\r\nHost: x\r\n\r\n".encode() * 200
    with ExitStack() as stack:
        for _ in range(50):
            slow = stack.enter_context(socket.create_connection(("127.0.0.1", site.server.http_port), 10))
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.setblocking(False)
            try:
                while True:
                    slow.send(ask)
            except BlockingIOError:
                pass
            except (ConnectionResetError, BrokenPipeError):
                continue  # it was ended, which is as good
        begun = time.monotonic()
        assert post(site, question)[0] == 200
        assert time.monotonic() - begun < SOON
        assert resident(site) - memory < 100 << 20


def resident(site: Site) -> int:
    """Octets of memory that the server occupies."""
    assert site.server.process is not None
    status = Path(f"/proc/{site.server.process.pid}/statm").read_text()
    return int(status.split()[1]) * resource.getpagesize()


# -- death


def test_a_revocation_that_nobody_published_is_in_the_next_crl_and_answer(site: Site, tmp_path: Path) -> None:
    """kill -9 between the revocation and the publication; and the number of the CRL goes on."""
    site.server.cli("ca", "publish-crl")
    url = f"{site.server.http}/CertEnroll/CORP%20Issuing%20CA.crl"
    before = x509.load_der_x509_crl(fetched(url))
    certificate = site.issue()
    assert "good" in site.ask(certificate)
    site.revoke(certificate)
    site.server.kill()
    site.server.start()

    assert f"{certificate}: revoked" in site.ask(certificate)
    site.server.cli("ca", "publish-crl")
    after = x509.load_der_x509_crl(fetched(url))
    assert after.get_revoked_certificate_by_serial_number(int(serial(certificate), 16)) is not None
    numbers = [crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number for crl in (before, after)]
    assert numbers[1] > numbers[0]
