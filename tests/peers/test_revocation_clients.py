"""The Online Responder and CRLs before other people's programs: nginx as stapler and as cache, GnuTLS, Java, Go."""

from __future__ import annotations

import base64
import http.client
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509 import ocsp as peer

from certwright.adcs.roles import RevocationReason
from tests.support.nginx import nginx
from tests.support.ocsp_site import Site, fetched, running_site, serial
from tests.support.programs import openssl, run
from tests.support.server import free_ports

pytestmark = pytest.mark.peer

PATIENCE: Final = 15.0


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running_site(tmp_path_factory.mktemp("peers")) as running:
        yield running


# -- nginx as a TLS server that staples


def stapled(port: int, chain: Path) -> str:
    """What `openssl s_client -status` is told, once nginx has fetched it; it does so after the first handshake."""
    deadline = time.monotonic() + PATIENCE
    while True:
        text = openssl(
            *("s_client", "-connect", f"127.0.0.1:{port}", "-servername", "www.corp.example", "-status"),
            *("-CAfile", str(chain)),
            data=b"Q",
            check=False,
        )
        if "OCSP Response Status: successful" in text or time.monotonic() > deadline:
            return text


def test_nginx_staples_our_answer(site: Site, tmp_path: Path) -> None:
    """It asks by HTTP/1.0 GET where the certificate says, and verifies what it staples."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = site.issue("www.corp.example", key)
    [port] = free_ports(1)
    (tmp_path / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (tmp_path / "served.pem").write_bytes(certificate.read_bytes() + site.issuer.read_bytes())
    page = f"""server {{
        listen 127.0.0.1:{port} ssl; server_name www.corp.example;
        ssl_certificate {tmp_path}/served.pem; ssl_certificate_key {tmp_path}/key.pem;
        ssl_stapling on; ssl_stapling_verify on; ssl_trusted_certificate {site.chain};
        location / {{ return 200 "a page"; }}
    }}"""
    with nginx(tmp_path / "nginx", port, page):
        text = stapled(port, site.chain)

    assert "OCSP Response Status: successful" in text, (tmp_path / "nginx/error.log").read_text()
    assert "Cert Status: good" in text
    assert "Verify return code: 0 (ok)" in text


# -- nginx as a cache in front


@pytest.fixture(scope="module")
def cache(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of an HTTP cache that does as RFC 9111 says and no more."""
    folder = tmp_path_factory.mktemp("cache")
    [port] = free_ports(1)
    proxy = f"""proxy_cache_path {folder}/kept keys_zone=answers:1m;
    merge_slashes off;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://127.0.0.1:{site.server.http_port}; proxy_http_version 1.1;
            proxy_set_header Connection ""; proxy_set_header Host $host;
            proxy_cache answers; proxy_cache_lock on; add_header X-Cache $upstream_cache_status always;
        }}
    }}"""
    with nginx(folder / "nginx", port, proxy):
        yield port


def ask(port: int, path: str, **headers: str) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def test_a_cache_in_front_absorbs_answers(site: Site, cache: int) -> None:
    """RFC 5019 6.2: whoever comes second costs us nothing; the same bytes, and headers that say how long."""
    path = f"/ocsp/{site.path(site.issue())}"

    first, second = ask(cache, path), ask(cache, path)

    assert [each[1]["X-Cache"] for each in (first, second)] == ["MISS", "HIT"]
    assert first[2] == second[2]
    assert peer.load_der_ocsp_response(second[2]).certificate_status is peer.OCSPCertStatus.GOOD
    headers = second[1]
    assert headers["Content-Type"] == "application/ocsp-response"
    assert headers["Cache-Control"] == "max-age=3600, public, no-transform, must-revalidate"
    assert all(headers[name] for name in ("Date", "ETag", "Last-Modified", "Expires"))
    assert ask(cache, path, If_None_Match=headers["ETag"])[0] == 304


def test_a_cache_keeps_no_error_and_no_answer_to_a_nonce(site: Site, cache: int, tmp_path: Path) -> None:
    question = tmp_path / "question.der"
    openssl("ocsp", "-issuer", site.issuer, "-cert", site.issue(), "-nonce", "-reqout", question)
    with_nonce = quote(base64.b64encode(question.read_bytes()).decode(), safe="")
    for path in (f"/ocsp/{with_nonce}", "/ocsp/garbage"):
        assert [ask(cache, path)[1]["X-Cache"] for _ in range(2)] == ["MISS", "MISS"], path


def test_a_cache_in_front_keeps_crls(site: Site, cache: int) -> None:
    path = "/CertEnroll/" + site.installation.ca().authority.name.replace(" ", "%20") + ".crl"

    first, second = ask(cache, path), ask(cache, path)

    assert first[0] == 200
    assert [each[1]["X-Cache"] for each in (first, second)] == ["MISS", "HIT"]
    assert "CRL Number" in openssl("crl", "-inform", "DER", "-noout", "-text", data=second[2])


# -- clients


def test_gnutls_takes_an_answer_and_the_crl(site: Site, tmp_path: Path) -> None:
    certificate = site.issue()
    site.revoke(certificate, RevocationReason.SUPERSEDED)
    deadline = time.monotonic() + PATIENCE
    while True:
        text = run(
            "ocsptool",
            *(f"--ask={site.url}", "--load-cert", certificate, "--load-issuer", site.issuer),
            *("--load-trust", site.chain),
            check=False,
        )
        if "Certificate Status: revoked" in text or time.monotonic() > deadline:
            break
    assert "Verifying OCSP Response: Success" in text
    assert "Certificate Status: revoked" in text

    site.server.cli("ca", "publish-crl")
    crl = tmp_path / "ca.crl"
    name = site.installation.ca().authority.name.replace(" ", "%20")
    published = fetched(f"{site.server.http}/CertEnroll/{name}.crl")
    openssl("crl", "-inform", "DER", "-out", crl, data=published)
    told = run("certtool", "--verify-crl", "--load-ca-certificate", site.issuer, "--infile", crl)
    assert "verified" in told.lower()


def test_https_answers_too(site: Site, tmp_path: Path) -> None:
    """Where only HTTPS gets through: the same answers by GET and POST."""
    certificate = site.issue()
    question = tmp_path / "question.der"
    openssl("ocsp", "-issuer", site.issuer, "-cert", certificate, "-no_nonce", "-reqout", question)
    url = f"{site.server.https}/ocsp"
    common = ("--silent", "--show-error", "--fail", "--cacert", str(site.server.root_certificate), "--noproxy", "*")
    for name, arguments in (
        ("post", ("--data-binary", f"@{question}", "-H", "Content-Type: application/ocsp-request", url)),
        ("get", (f"{url}/{site.path(certificate)}",)),
    ):
        answer = tmp_path / f"{name}.der"
        run("curl", *common, "--output", str(answer), *arguments)
        text = openssl(
            *("ocsp", "-respin", str(answer), "-issuer", str(site.issuer), "-cert", str(certificate)),
            *("-CAfile", str(site.chain), "-no_nonce"),
        )
        assert "Response verify OK" in text
        assert f"{certificate}: good" in text


JAVA: Final = """
import java.io.FileInputStream;
import java.net.URI;
import java.security.cert.*;
import java.util.*;

/** PKIX with revocation by OCSP alone, as a Java client checks it: no fall-back to CRLs, no soft failure. */
public class Check {
    public static void main(String[] names) throws Exception {
        CertificateFactory factory = CertificateFactory.getInstance("X.509");
        List<X509Certificate> read = new ArrayList<>();
        for (String name : Arrays.copyOf(names, 3))
            read.add((X509Certificate) factory.generateCertificate(new FileInputStream(name)));
        CertPathValidator validator = CertPathValidator.getInstance("PKIX");
        PKIXRevocationChecker checker = (PKIXRevocationChecker) validator.getRevocationChecker();
        checker.setOptions(EnumSet.of(PKIXRevocationChecker.Option.NO_FALLBACK,
                                      PKIXRevocationChecker.Option.ONLY_END_ENTITY));
        if (names.length > 3) checker.setOcspResponder(new URI(names[3]));
        PKIXParameters parameters = new PKIXParameters(Set.of(new TrustAnchor(read.get(2), null)));
        parameters.addCertPathChecker(checker);
        try {
            validator.validate(factory.generateCertPath(read.subList(0, 2)), parameters);
            System.out.println("good");
        } catch (CertPathValidatorException error) {
            System.out.println(error.getReason() + ": " + error.getMessage());
        }
    }
}
"""


def test_java_checks_a_path_by_our_answers(site: Site, tmp_path: Path) -> None:
    """It asks where the certificate says, without a nonce and with one (jdk.security.certpath.ocspNonce)."""
    if shutil.which("javac") is None or shutil.which("java") is None:
        pytest.skip("javac is not installed")
    source = tmp_path / "Check.java"
    source.write_text(JAVA)
    run("javac", "-d", tmp_path, source)
    good, revoked = site.issue(), site.issue()
    site.revoke(revoked)
    root = site.server.root_certificate

    def check(certificate: Path, *options: str) -> str:
        return run("java", *options, "-cp", tmp_path, "Check", certificate, site.issuer, root).strip()

    assert check(good) == "good"
    assert check(good, "-Djdk.security.certpath.ocspNonce=true") == "good"
    assert check(revoked).startswith("REVOKED: ")


GO: Final = """
package main

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"os"

	"golang.org/x/crypto/ocsp"
)

func read(name string) *x509.Certificate {
	data, err := os.ReadFile(name)
	if err != nil {
		panic(err)
	}
	block, _ := pem.Decode(data)
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		panic(err)
	}
	return certificate
}

func main() {
	certificate, issuer := read(os.Args[1]), read(os.Args[2])
	for _, hash := range []crypto.Hash{crypto.SHA1, crypto.SHA256} {
		question, err := ocsp.CreateRequest(certificate, issuer, &ocsp.RequestOptions{Hash: hash})
		if err != nil {
			panic(err)
		}
		answer, err := http.Post(certificate.OCSPServer[0], "application/ocsp-request", bytes.NewReader(question))
		if err != nil {
			panic(err)
		}
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			panic(err)
		}
		response, err := ocsp.ParseResponseForCert(body, certificate, issuer)
		if err != nil {
			panic(err)
		}
		fmt.Println(response.Status, response.RevocationReason)
	}
}
"""


def test_go_verifies_our_answers(site: Site, tmp_path: Path) -> None:
    """x/crypto/ocsp: it looks for the signer's certificate in the first place only. 0 good, 1 revoked."""
    library = Path("/usr/share/gocode/src/golang.org/x/crypto/ocsp")
    if shutil.which("go") is None or not library.exists():
        pytest.skip("go with golang.org/x/crypto is not installed (golang-go, golang-golang-x-crypto-dev)")
    source, program = tmp_path / "check.go", tmp_path / "check"
    source.write_text(GO)
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "GO111MODULE": "off",
        "GOPATH": "/usr/share/gocode",
        "GOCACHE": str(tmp_path / "cache"),
        "GOFLAGS": "-p=1",
    }
    built = subprocess.run(
        ["go", "build", "-o", program, source],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    good, revoked = site.issue(), site.issue()
    site.revoke(revoked)

    assert run(str(program), good, site.issuer).split("\n")[:2] == ["0 0", "0 0"]
    assert run(str(program), revoked, site.issuer).split("\n")[:2] == ["1 1", "1 1"]


# -- pkilint


@pytest.mark.parametrize("kind", ["base", "delta"])
def test_pkilint_finds_nothing_in_crls(site: Site, kind: str, tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("lint_crl")
    if not program.exists():
        pytest.skip("pkilint is not installed")
    revoked = site.issue()
    site.revoke(revoked)
    site.server.cli("ca", "set", "delta-crl-period=1 days")
    site.server.cli("ca", "publish-crl")
    name = site.installation.ca().authority.name.replace(" ", "%20") + ("%2B" if kind == "delta" else "")
    crl = tmp_path / f"{kind}.crl"
    crl.write_bytes(fetched(f"{site.server.http}/CertEnroll/{name}.crl"))
    assert serial(revoked) in [f"{each.serial_number:x}" for each in x509.load_der_x509_crl(crl.read_bytes())]

    done = subprocess.run(
        [program, "lint", "--profile", "PKIX", "--type", "CRL", crl],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stdout + done.stderr
