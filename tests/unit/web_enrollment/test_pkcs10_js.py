"""The browser's own request maker, run by node and read by OpenSSL and our parser."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from importlib.resources import as_file, files
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from certwright.pki.armor import dearmor
from certwright.pki.pkcs10 import CertificationRequest

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(not shutil.which("node"), reason="node is not here"),
    pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not here"),
]

SCRIPT = """
const [module, jobText] = process.argv.slice(1);
const m = await import(module);
const job = JSON.parse(jobText);
try {
  const keys = await m.makeKey(job.algorithm);
  const names = m.alternativeNames(job.names, job.subject.CN);
  const request = m.pem("CERTIFICATE REQUEST", await m.buildRequest(keys, job.subject, names));
  console.log(JSON.stringify({ request, key: await m.privateKeyPem(keys.privateKey, job.password) }));
} catch (error) {
  console.log(JSON.stringify({ error: error.message }));
}
"""


def run(
    algorithm: str = "P-256", subject: Mapping[str, str] | None = None, names: str = "", password: str = ""
) -> dict[str, str]:
    """What the page would make of the same fields."""
    job = json.dumps({"algorithm": algorithm, "subject": dict(subject or {}), "names": names, "password": password})
    module = files("certwright.web_enrollment").joinpath("static").joinpath("pkcs10.mjs")
    with as_file(module) as path:
        done = subprocess.run(
            ["node", "--input-type=module", "-e", SCRIPT, path.as_uri(), job],
            capture_output=True,
            text=True,
            check=True,
        )
    answer: dict[str, str] = json.loads(done.stdout)
    return answer


@pytest.mark.parametrize("algorithm", ["RSA-2048", "RSA-3072", "P-256"])
def test_openssl_verifies_the_request_and_the_key_fits(algorithm: str, tmp_path: Path) -> None:
    """RFC 2986: the proof of possession is right, and the saved key is the one inside."""
    made = run(algorithm, {"CN": "web.corp.example", "O": "Örnek AŞ", "C": "de"}, "www.corp.example 192.0.2.7")
    (tmp_path / "r.csr").write_text(made["request"])

    check = subprocess.run(
        ["openssl", "req", "-in", "r.csr", "-noout", "-verify"], cwd=tmp_path, capture_output=True, text=True
    )
    assert "verify OK" in check.stdout + check.stderr
    request = x509.load_pem_x509_csr(made["request"].encode())
    assert request.is_signature_valid
    assert request.subject.rfc4514_string() == "CN=web.corp.example,O=Örnek AŞ,C=DE"
    key = load_pem_private_key(made["key"].encode(), None)
    assert key.public_key() == request.public_key()
    if algorithm == "P-256":
        assert isinstance(key, ec.EllipticCurvePrivateKey)
    else:
        assert isinstance(key, rsa.RSAPrivateKey)
        assert key.key_size == int(algorithm[4:])


def test_our_own_parser_takes_it() -> None:
    made = run("P-256", {"CN": "web.corp.example"}, "a.corp.example")

    request = CertificationRequest.parse(dearmor(made["request"]))

    request.verify_signature()
    assert [str(name) for name in request.alternative_names] == ["DNS:web.corp.example", "DNS:a.corp.example"]


def test_names_are_told_apart_as_people_write_them() -> None:
    names = "*.corp.example, münchen.example\n192.0.2.7\n2001:db8::7 ::ffff:192.0.2.1\nadmin@corp.example"

    request = x509.load_pem_x509_csr(run("P-256", {"CN": "web.corp.example"}, names)["request"].encode())

    found = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert found.get_values_for_type(x509.DNSName) == [
        "web.corp.example",  # the common name, added because it is a DNS name
        "*.corp.example",
        "xn--mnchen-3ya.example",
    ]
    assert found.get_values_for_type(x509.IPAddress) == [
        ip_address("192.0.2.7"),
        ip_address("2001:db8::7"),
        ip_address("::ffff:192.0.2.1"),
    ]
    assert found.get_values_for_type(x509.RFC822Name) == ["admin@corp.example"]


def test_a_common_name_that_is_no_dns_name_is_not_added() -> None:
    request = x509.load_pem_x509_csr(run("P-256", {"CN": "Alice Example"})["request"].encode())

    assert len(request.extensions) == 0


def test_a_request_for_a_name_from_the_directory_has_an_empty_subject(tmp_path: Path) -> None:
    request = x509.load_pem_x509_csr(run("P-256")["request"].encode())

    assert request.subject.rfc4514_string() == ""
    assert request.is_signature_valid


@pytest.mark.parametrize("name", ["what?", "-bad-.example", "300.1.1.1", "1::2::3", "a..b", "http://x"])
def test_what_is_no_name_is_refused_with_a_sentence(name: str) -> None:
    made = run("P-256", {"CN": "x"}, name)

    assert "is neither a DNS name nor an IP or e-mail address" in made["error"]


@pytest.mark.parametrize(
    ("subject", "sentence"), [({"C": "Germany"}, "two letters"), ({"O": "x" * 65}, "64 characters")]
)
def test_subject_parts_keep_their_upper_bounds(subject: dict[str, str], sentence: str) -> None:
    """RFC 5280 appendix A.1: ub-common-name and its neighbours are 64."""
    assert sentence in run("P-256", subject)["error"]


def test_a_password_encrypts_the_key_so_that_openssl_opens_it(tmp_path: Path) -> None:
    """RFC 8018: PBES2 with PBKDF2-HMAC-SHA-256 and AES-256-CBC."""
    made = run("P-256", {"CN": "x"}, password="Pärolä 1")
    (tmp_path / "k.pem").write_text(made["key"])

    assert made["key"].startswith("-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
    for password, works in (("Pärolä 1", True), ("wrong", False)):
        done = subprocess.run(
            ["openssl", "pkey", "-in", "k.pem", "-passin", "stdin", "-noout", "-check"],
            cwd=tmp_path,
            input=password + "\n",
            capture_output=True,
            text=True,
        )
        assert (done.returncode == 0) == works


def test_the_maker_knows_no_network_and_no_storage() -> None:
    """The promise on the page, as far as a text can be held to it."""
    folder = files("certwright.web_enrollment").joinpath("static")
    for name in ("pkcs10.mjs", "request.mjs"):
        text = folder.joinpath(name).read_text("utf-8")
        for word in (
            "fetch(",
            "XMLHttpRequest",
            "WebSocket",
            "sendBeacon",
            "localStorage",
            "sessionStorage",
            "indexedDB",
        ):
            assert word not in text
