"""Other people's clients, unmodified, against a running server: PyPI certsrv, curl, requests-ntlm, pyspnego."""

from __future__ import annotations

import base64
import http.client
import shutil
import socket
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from tests.integration.clients import certsrv, curl, request_pem, saved
from tests.support.installation import PASSWORD, People
from tests.support.programs import openssl
from tests.support.server import DOMAIN, NETBIOS, RunningServer

pytestmark = pytest.mark.peer

OUTSIDE = "www.elsewhere.example"
CREDENTIALS = f"{NETBIOS}\\{People.ENROLLEE}:{PASSWORD}"

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


def client(server: RunningServer, method: str, account: str = People.ENROLLEE, password: str = PASSWORD) -> Any:
    return certsrv(server, method, rf"{NETBIOS}\{account}", password)


def newest(server: RunningServer) -> Any:
    return server.json("request", "list", "--limit", "1")[0]


# -- PyPI certsrv ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["basic", "ntlm"])
def test_certsrv_gets_a_certificate_and_the_chain_to_our_root(
    server: RunningServer, method: str, tmp_path: Path
) -> None:
    mine = client(server, method)

    leaf = saved(tmp_path, "leaf.pem", mine.get_cert(request_pem(f"{method}.{DOMAIN}"), "WebServer"))
    issuer = saved(tmp_path, "issuer.pem", mine.get_ca_cert())
    chain = openssl("pkcs7", "-inform", "PEM", "-print_certs", data=as_pkcs7(mine.get_chain("b64")))

    row = newest(server)
    assert (row["method"].lower(), row["caller"]) == (method, rf"{NETBIOS}\{People.ENROLLEE}")
    verified = openssl("verify", "-CAfile", server.root_certificate, "-untrusted", issuer, leaf)
    assert verified.endswith(": OK\n")
    assert chain.count("BEGIN CERTIFICATE") == 2
    assert mine.get_existing_cert(row["request_id"]) == leaf.read_bytes()
    der = mine.get_existing_cert(row["request_id"], encoding="bin")
    assert x509.load_der_x509_certificate(der) == x509.load_pem_x509_certificate(leaf.read_bytes())


@pytest.mark.parametrize("method", ["basic", "ntlm"])
def test_certsrv_waits_for_an_officer_and_fetches_later(server: RunningServer, method: str) -> None:
    """Pending, asked for in vain, approved at the command line, fetched."""
    library = pytest.importorskip("certsrv")
    mine = client(server, method)

    with pytest.raises(library.CertificatePendingException) as pending:
        mine.get_cert(request_pem(OUTSIDE), "WebServer")
    with pytest.raises(library.CouldNotRetrieveCertificateException) as waiting:
        mine.get_existing_cert(pending.value.req_id)
    server.cli("request", "issue", pending.value.req_id, "--as", People.OFFICER)
    certificate = x509.load_pem_x509_certificate(mine.get_existing_cert(pending.value.req_id))

    assert "Taken Under Submission" in waiting.value.response
    assert certificate.subject.rfc4514_string() == f"CN={OUTSIDE}"


def test_certsrv_is_told_why_an_officer_said_no(server: RunningServer) -> None:
    library = pytest.importorskip("certsrv")
    mine = client(server, "basic")
    with pytest.raises(library.CertificatePendingException) as pending:
        mine.get_cert(request_pem(OUTSIDE), "WebServer")
    server.cli("request", "deny", pending.value.req_id, "--reason", "not our host", "--as", People.OFFICER)

    with pytest.raises(library.CouldNotRetrieveCertificateException) as denied:
        mine.get_existing_cert(pending.value.req_id)

    assert "not our host" in denied.value.response
    assert "Denied by" in denied.value.response


@pytest.mark.parametrize("method", ["basic", "ntlm"])
def test_certsrv_shows_the_disposition_message_of_a_denial(server: RunningServer, method: str) -> None:
    library = pytest.importorskip("certsrv")

    with pytest.raises(library.RequestDeniedException) as denied:
        client(server, method).get_cert(request_pem(), "NoSuchTemplate")

    assert "template that is not supported" in str(denied.value)
    assert "0x80094800" in denied.value.response
    row = newest(server)
    assert (row["disposition"], row["status"]) == ("denied", "0x80094800")


@pytest.mark.parametrize("method", ["basic", "ntlm"])
def test_certsrv_knows_good_credentials_from_bad_ones(server: RunningServer, method: str) -> None:
    assert client(server, method).check_credentials()
    assert not client(server, method, People.BACKUP, "wrong password 1").check_credentials()
    assert not client(server, method, "nobody").check_credentials()
    assert not client(server, method, People.GONE).check_credentials()


def as_pkcs7(chain: bytes) -> bytes:
    """Its label on real servers, and so on ours, is CERTIFICATE; OpenSSL insists on PKCS7."""
    return chain.replace(b"CERTIFICATE-----", b"PKCS7-----")


# -- NTLM: bindings --------------------------------------------------------------------------------------------------


@needs_curl
def test_curl_without_bindings_is_refused_unless_they_are_not_required(server: RunningServer) -> None:
    """curl's NTLM sends no channel bindings. A submission, too, passes under allow."""
    ask = ("--ntlm", "-u", CREDENTIALS, "--data-urlencode", f"CertRequest={request_pem()}")
    ask = (
        *ask,
        "--data-urlencode",
        "CertAttrib=CertificateTemplate:WebServer",
        f"{server.https}/certsrv/certfnsh.asp",
    )

    required, _ = curl(server, *ask)
    server.cli("ca", "set", "channel-binding=allow")
    try:
        allowed, page = curl(server, *ask)
    finally:
        server.cli("ca", "set", "channel-binding=require")
    again, _ = curl(server, *ask)

    assert [required, allowed, again] == [401, 200, 401]
    assert "certnew.cer?ReqID=" in page
    assert newest(server)["method"] == "NTLM"


@pytest.mark.parametrize(("send_cbt", "expected"), [(True, 200), (False, 401)])
def test_requests_ntlm_has_to_send_bindings(server: RunningServer, send_cbt: bool, expected: int) -> None:
    requests = pytest.importorskip("requests")
    requests_ntlm = pytest.importorskip("requests_ntlm", reason="requests-ntlm is not installed")
    with requests.Session() as session:
        session.trust_env = False
        session.verify = str(server.root_certificate)
        session.auth = requests_ntlm.HttpNtlmAuth(rf"{NETBIOS}\{People.ENROLLEE}", PASSWORD, send_cbt=send_cbt)
        status = session.get(f"{server.https}/certsrv/", timeout=20).status_code

    assert status == expected


class Spnego:
    """A connection that logs on by Negotiate with pyspnego, as its own code tells how."""

    def __init__(self, server: RunningServer, *, bound: bool) -> None:
        spnego = pytest.importorskip("spnego", reason="pyspnego is not installed")
        bindings = pytest.importorskip("spnego.channel_bindings")
        self._connection = http.client.HTTPSConnection(
            "localhost", server.https_port, timeout=20, context=server.tls_context()
        )
        self._connection.connect()
        assert isinstance(self._connection.sock, ssl.SSLSocket)
        certificate = x509.load_der_x509_certificate(self._connection.sock.getpeercert(True) or b"")
        digest = certificate.fingerprint(hashes.SHA256())
        self._client = spnego.client(
            rf"{NETBIOS}\{People.ENROLLEE}",
            PASSWORD,
            hostname="localhost",
            service="HTTP",
            protocol="negotiate",
            options=spnego.NegotiateOptions.use_negotiate,
            channel_bindings=bindings.GssChannelBindings(application_data=b"tls-server-end-point:" + digest)
            if bound
            else None,
        )

    def get(self, page: str) -> tuple[int, int]:
        """Status, and the number of legs it took."""
        token, legs = self._client.step(), 0
        while True:
            legs += 1
            headers = {"Authorization": f"Negotiate {base64.b64encode(token).decode()}"} if token else {}
            self._connection.request("GET", f"/certsrv/{page}", headers=headers)
            answer = self._connection.getresponse()
            answer.read()
            offered = [
                value for name, value in answer.getheaders() if name.lower() == "www-authenticate" and " " in value
            ]
            tokens = [value.partition(" ")[2] for value in offered if value.startswith("Negotiate ")]
            token = self._client.step(base64.b64decode(tokens[0])) if tokens else None
            if answer.status != 401 or not token or legs > 6:
                return answer.status, legs

    def again(self, page: str) -> int:
        """The same connection, without a word about who it is."""
        self._connection.request("GET", f"/certsrv/{page}")
        answer = self._connection.getresponse()
        answer.read()
        return answer.status

    def close(self) -> None:
        self._connection.close()


def test_ntlm_inside_negotiate(server: RunningServer) -> None:
    """SPNEGO with NTLM and a mechListMIC, RFC 4178; the connection stays logged on."""
    session = Spnego(server, bound=True)
    status, legs = session.get("certcarc.asp")
    again = session.again("certrqxt.asp")
    complete = session._client.complete
    session.close()

    assert (status, again) == (200, 200)
    assert legs <= 3
    assert complete


def test_ntlm_inside_negotiate_needs_bindings_too(server: RunningServer) -> None:
    session = Spnego(server, bound=False)
    status, _ = session.get("certcarc.asp")
    session.close()

    assert status == 401


# -- the shell script ------------------------------------------------------------------------------------------------

SCRIPT = r"""
set -eu
base="$1" ca="$2" credentials="$3" csr="$4" out="$5"
CERT=$(tr -d '\n\r' < "$csr" | sed 's/+/%2B/g' | tr -s ' ' '+')
DATA="Mode=newreq&CertRequest=${CERT}&C&TargetStoreFlags=0&SaveCert=yes&ThumbPrint="
DATA="${DATA}&CertAttrib=CertificateTemplate:WebServer%0D%0A"
ask() { curl -s --noproxy '*' --cacert "$ca" -u "$credentials" -A 'Mozilla/5.0 (X11) Gecko' "$@"; }
LINK=$(ask -H 'Content-Type: application/x-www-form-urlencoded' --data "$DATA" "$base/certfnsh.asp" \
    | grep -A 1 'function handleGetCert() {' | tail -n 1 | cut -d '"' -f 2)
ask "$base/$LINK" > "$out"
printf '%s' "$LINK"
"""


@needs_curl
def test_the_curl_script_that_everybody_copies(server: RunningServer, tmp_path: Path) -> None:
    """grep -A 1 'function handleGetCert() {', cut the first quoted string, fetch that; no Enc, so PEM."""
    csr = saved(tmp_path, "request.pem", request_pem(f"script.{DOMAIN}"))
    out = tmp_path / "certificate.pem"

    done = subprocess.run(
        ["sh", "-c", SCRIPT, "script", f"{server.https}/certsrv", server.root_certificate, CREDENTIALS, csr, out],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    row = newest(server)
    assert done.stdout == f"certnew.cer?ReqID={row['request_id']}&"
    assert out.read_bytes().startswith(b"-----BEGIN CERTIFICATE-----\r\n")
    assert f"script.{DOMAIN}" in openssl("x509", "-in", out, "-noout", "-ext", "subjectAltName")


@needs_curl
def test_curl_and_openssl_agree_that_the_tls_certificate_is_ours(server: RunningServer) -> None:
    status, _ = curl(server, "-u", CREDENTIALS, f"{server.https}/certsrv/")
    said = openssl(
        *("s_client", "-connect", f"localhost:{server.https_port}", "-servername", "localhost"),
        *("-CAfile", server.root_certificate, "-verify_return_error", "-verify_hostname", "localhost"),
        data=b"Q\n",
    )

    assert status == 200
    assert "Verify return code: 0 (ok)" in said


def test_a_connection_that_only_talks_http_2_gets_http_1(server: RunningServer) -> None:
    """No ALPN match is no reason to hang up."""
    context = server.tls_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with (
        socket.create_connection(("localhost", server.https_port), 10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secured,
    ):
        chosen = secured.selected_alpn_protocol()

    assert chosen == "http/1.1"
