"""The listeners from outside: TLS, limits, and what they do not do. RFC 8446, RFC 9112."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.integration.clients import curl
from tests.support.programs import openssl
from tests.support.server import ADMINISTRATOR, RunningServer


@contextmanager
def secured(server: RunningServer) -> Iterator[ssl.SSLSocket]:
    with (
        socket.create_connection(("localhost", server.https_port), 10) as plain,
        server.tls_context().wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        yield connection


def everything(connection: socket.socket) -> bytes:
    """What the server says until it closes."""
    data = b""
    while True:
        try:
            piece = connection.recv(65536)
        except (ConnectionResetError, ssl.SSLEOFError):
            return data
        if not piece:
            return data
        data += piece


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_client_that_trusts_our_root_is_satisfied(server: RunningServer, host: str) -> None:
    status, _ = curl(server, f"https://{host}:{server.https_port}/certsrv/")

    assert status == 401


@pytest.mark.parametrize(
    ("option", "accepted"), [("-tls1", False), ("-tls1_1", False), ("-tls1_2", True), ("-tls1_3", True)]
)
def test_only_versions_from_1_2_on_are_spoken(server: RunningServer, option: str, accepted: bool) -> None:
    said = openssl(
        *("s_client", "-connect", f"localhost:{server.https_port}", option, "-cipher", "ALL:@SECLEVEL=0"),
        data=b"Q\n",
        check=False,
    )

    assert ("Cipher is (NONE)" not in said and "New, " in said) is accepted


def test_no_client_certificate_is_asked_for(server: RunningServer) -> None:
    """It would stop browsers with a question."""
    said = openssl("s_client", "-connect", f"localhost:{server.https_port}", "-tls1_2", data=b"Q\n", check=False)

    assert "No client certificate CA names sent" in said
    assert "Client Certificate Types" not in said


def test_renegotiation_is_refused(server: RunningServer) -> None:
    process = subprocess.Popen(
        ["openssl", "s_client", "-connect", f"localhost:{server.https_port}", "-tls1_2"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdin is not None
    time.sleep(0.5)
    said, _ = process.communicate(b"R\n", timeout=20)

    assert b"RENEGOTIATING" in said
    assert b"no renegotiation" in said


def test_plain_http_leads_to_https_and_takes_no_credentials(server: RunningServer) -> None:
    leads, page = curl(server, "-u", f"{ADMINISTRATOR}:x", f"{server.http}/certsrv/certfnsh.asp")
    posted, _ = curl(server, "-d", "Mode=newreq", f"{server.http}/certsrv/certfnsh.asp")

    assert leads == 302
    assert f"Location: {server.https}/certsrv/" in page
    assert posted in (405, 413)


def test_the_https_port_shows_nothing_but_the_role_services(server: RunningServer) -> None:
    statuses = [curl(server, f"{server.https}{path}")[0] for path in ("/", "/healthz", "/CertEnroll/x.crl", "/x")]

    assert statuses == [302, 404, 404, 404]


def test_an_oversized_request_gets_a_page_of_its_own(server: RunningServer) -> None:
    """64 KiB for a submission."""
    status, page = curl(
        server,
        *("-u", f"{ADMINISTRATOR}:{server.password}", "--data-binary", "CertRequest=" + "A" * 70_000),
        f"{server.https}/certsrv/certfnsh.asp",
    )

    assert status == 413
    assert "64 KiB" in page


def test_a_program_that_sends_too_much_to_the_api_is_told_in_its_dialect(server: RunningServer) -> None:
    """The whole body is sent before anything is read, as most clients do: the answer has to survive that."""
    with secured(server) as connection:
        connection.sendall(
            b"POST /api/v1/orders HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n" % (11 << 20)
        )
        connection.sendall(b" " * (11 << 20))
        said = everything(connection)

    head, _, body = said.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 413 ")
    assert b"content-type: application/problem+json" in head
    assert json.loads(body)["detail"] == "The body is larger than 10 MiB."


def test_a_body_beyond_all_limits_ends_the_connection_at_once(server: RunningServer) -> None:
    with secured(server) as connection:
        connection.sendall(
            b"POST /certsrv/certfnsh.asp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n"
        )
        said = everything(connection)

    assert said.startswith(b"HTTP/1.1 413 ")


def test_a_head_without_end_is_refused(server: RunningServer) -> None:
    with secured(server) as connection:
        connection.sendall(b"GET /certsrv/ HTTP/1.1\r\nCookie: " + b"a" * 90_000)
        said = everything(connection)

    assert said.startswith(b"HTTP/1.1 431 ")


def test_garbage_is_answered_and_the_connection_ended(server: RunningServer) -> None:
    with secured(server) as connection:
        connection.sendall(b"\x00\x01\x02 garbage\r\n\r\n")
        said = everything(connection)

    assert said.startswith(b"HTTP/1.1 400 ")
    assert "Traceback" not in "".join(server.log)


def test_plain_http_on_the_https_port_is_no_answer(server: RunningServer) -> None:
    with socket.create_connection(("localhost", server.https_port), 10) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        said = everything(connection)

    assert b"HTTP/1.1 200" not in said


def test_an_offered_upgrade_costs_no_body(server: RunningServer) -> None:
    """Java's HTTP client offers h2c. RFC 9110 7.8."""
    status, page = curl(
        server,
        *("-u", f"{ADMINISTRATOR}:{server.password}", "-H", "Connection: Upgrade", "-H", "Upgrade: h2c"),
        *("-d", "Mode=newreq&CertAttrib=CertificateTemplate:WebServer&CertRequest=AAAA", "--http1.1"),
        f"{server.https}/certsrv/certfnsh.asp",
    )

    assert status == 200
    assert "Error Parsing Request" in page or "0x8009" in page


def test_forwarded_addresses_are_not_believed(server: RunningServer) -> None:
    """Otherwise anybody could be throttled, or logged, as somebody else."""
    curl(server, "-u", r"CORP\nobody:wrong", "-H", "X-Forwarded-For: 198.51.100.9", f"{server.https}/certsrv/")

    refused = server.awaited_events(lambda each: each["event"] == "logon_refused")

    assert refused
    assert all(each["peer"] in ("127.0.0.1", "::1") for each in refused)


def test_a_conditional_fetch_of_a_crl_costs_nothing(server: RunningServer) -> None:
    url = f"{server.http}/CertEnroll/CORP%20Root%20CA.crl"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=10) as answer:
        tag = answer.headers["etag"]
        assert answer.headers["content-type"] == "application/pkix-crl"

    with pytest.raises(urllib.error.HTTPError) as unchanged:
        opener.open(urllib.request.Request(url, headers={"If-None-Match": tag}), timeout=10)
    unchanged.value.close()

    assert unchanged.value.code == 304
