"""Requests of other people's programs: tests/vectors/pkcs10/README.md says how each was made."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest

from certwright.pki import armor, names
from certwright.pki.errors import EncodingError, WeakAlgorithm
from certwright.pki.explain import explain
from certwright.pki.extensions import TemplateInformation
from certwright.pki.general_names import DnsName, EmailAddress, GeneralName, IpAddress, UserPrincipalName
from certwright.pki.pkcs10 import CertificationRequest
from tests.support import programs, requests

FOLDER = Path(__file__).parents[2] / "vectors" / "pkcs10"

EXPECTED: dict[str, tuple[str, str, tuple[GeneralName, ...]]] = {
    "openssl-template": (
        "CN=web.corp.example,O=Corp,C=DE",
        "RSA 2048 bits",
        (
            DnsName("web.corp.example"),
            DnsName("www.corp.example"),
            IpAddress(ipaddress.IPv4Address("192.0.2.10")),
            UserPrincipalName("alice@corp.example"),
        ),
    ),
    "openssl-pss-longest-salt": ("CN=pss.corp.example", "RSA 2048 bits", ()),
    "openssl-multivalued": (
        "SERIALNUMBER=12+CN=web.corp.example,DC=corp,DC=example",
        "P-384",
        (DnsName("web.corp.example"),),
    ),
    "openssl-ed25519": ("CN=ed.corp.example", "Ed25519", ()),
    "certtool": ("CN=Zoë's host,O=Corp", "P-256", (DnsName("zoe.corp.example"), EmailAddress("zoe@corp.example"))),
    "keytool-wildcard": ("CN=*.corp.example,OU=Web,O=Corp,C=DE", "RSA 2048 bits", (DnsName("web.corp.example"),)),
    "cfssl": (
        "CN=cf.corp.example,O=Corp,C=DE",
        "P-256",
        (
            DnsName("cf.corp.example"),
            EmailAddress("a@corp.example"),
            IpAddress(ipaddress.IPv4Address("10.0.0.1")),
        ),
    ),
    "windows-like": ("CN=web.corp.example", "RSA 2048 bits", (DnsName("web.corp.example"), DnsName("web"))),
}


def read(name: str) -> CertificationRequest:
    return CertificationRequest.parse(armor.dearmor((FOLDER / f"{name}.pem").read_bytes()))


@pytest.mark.parametrize("name", EXPECTED)
def test_a_request_of_another_program_is_read_and_verifies(name: str) -> None:
    request = read(name)
    request.verify_signature()
    assert (names.format_name(request.subject), str(request.public_key), request.alternative_names) == EXPECTED[name]


def test_the_template_is_found_where_administrators_put_it() -> None:
    assert read("openssl-template").template_name == "WebServer"
    windows = read("windows-like")
    assert windows.template == TemplateInformation(
        "1.3.6.1.4.1.311.21.8.6887730.1798674.9981081.2838527.7760504.198.5238821.11245632", 100, 5
    )
    assert windows.client_info is not None
    assert windows.client_info.process == "certreq.exe"


def test_a_weak_proof_of_possession_is_refused() -> None:
    request = read("openssl-sha1")
    with pytest.raises(WeakAlgorithm, match="SHA-1"):
        request.verify_signature()


def test_a_curve_spelled_out_is_not_taken_for_the_one_it_resembles() -> None:
    request = read("openssl-explicit-curve")
    assert (request.public_key.curve, request.public_key.bits) == ("", 0)
    with pytest.raises(EncodingError):
        request.verify_signature()


def test_a_challenge_password_is_hidden() -> None:
    tree = explain((FOLDER / "certtool.pem").read_bytes())
    assert "Challenge Password" in "\n".join(tree.lines())
    assert "never show this" not in "\n".join(tree.lines())


def test_every_vector_is_explained_and_described() -> None:
    described = (FOLDER / "README.md").read_text()
    for file in sorted(FOLDER.glob("*.pem")):
        assert f"`{file.name}`" in described
        assert explain(file.read_bytes()).label == "Certification request"


def test_openssl_agrees_that_our_own_windows_like_request_is_one() -> None:
    made = requests.make_request(
        requests.rsa_key(),
        attributes=requests.windows_attributes(),
        extensions=[requests.template_name_extension("User")],
    )
    answer = programs.openssl("req", "-inform", "DER", "-noout", "-verify", data=made)
    assert "verify OK" in answer
