"""What `certwright explain` shows of a request, certificate or CRL, Microsoft's parts by name."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st

from certwright.pki import armor, cms, crl, extensions, oids
from certwright.pki.errors import EncodingError
from certwright.pki.explain import Explanation, explain
from tests.support import requests
from tests.support.certificates import ca_certificate, make_certificate, other
from tests.unit.pki import test_certificate, test_crl, test_pkcs10

SID = test_pkcs10.SID


def shown(data: bytes) -> str:
    return "\n".join(explain(data).lines())


def test_a_windows_request_is_explained_with_its_attributes_by_name() -> None:
    text = shown(test_pkcs10.windows_request())
    for line in (
        "Certification request: O=Corp,CN=web.corp.example",
        "Public key: P-256",
        "OS Version: 10.0.20348.2",
        "Machine: pc1.corp.example",
        "User: CORP\\alice",
        "Process: certreq.exe",
        "Provider: Microsoft Software Key Storage Provider",
        "Certificate Template Name: WebServer",
        "Template: 1.3.6.1.4.1.311.21.8.1.2.3",
        "Major version: 100",
        "Minor version: 4",
        "DNS: web.corp.example",
        "UPN: alice@corp.example",
        f"SID Security Extension: {SID}",
        "Signature algorithm: ECDSA with SHA-256",
    ):
        assert line in text, line


def test_name_value_pairs_are_shown_by_their_names() -> None:
    for attributes in (
        [requests.name_value_pairs(("CertificateTemplate", "User"), ("rmd", "pc1"))],
        [
            requests.attribute(
                requests.NAME_VALUE_PAIR,
                requests.sequence(test_pkcs10.pair("CertificateTemplate", "User"), test_pkcs10.pair("rmd", "pc1")),
            )
        ],
    ):
        text = shown(requests.make_request(attributes=attributes))
        assert "CertificateTemplate: User" in text
        assert "rmd: pc1" in text


def test_a_renewal_shows_the_old_certificate_inside() -> None:
    attribute = requests.attribute(oids.RENEWAL_CERTIFICATE, test_certificate.rich_certificate())
    tree = explain(requests.make_request(attributes=[attribute]))
    old = tree.find("Renewal Certificate")
    assert old is not None
    serial = old.find("Serial number")
    assert serial is not None
    assert serial.value == "1f00000007"


def test_a_certificate_is_explained_with_its_extensions_by_name() -> None:
    text = shown(test_certificate.rich_certificate())
    for line in (
        "Certificate: CN=web.corp.example,O=Corp",
        "Serial number: 1f00000007",
        "Issuer: CN=Test CA,O=Corp,C=DE",
        "Not before: 2025-01-01 00:00:00 UTC",
        "Usage: Server Authentication (1.3.6.1.5.5.7.3.1)",
        "Basic Constraints, critical: end entity",
        "Key Usage, critical: digitalSignature, keyEncipherment",
        "CA Version: V3.2",
        f"SID Security Extension: {SID}",
        "Certificate Template Name: WebServer",
    ):
        assert line in text, line


def test_the_rest_of_the_extensions_is_decoded_too() -> None:
    text = shown(
        make_certificate(
            extensions=[
                other(oids.APPLICATION_POLICIES, extensions.application_policies([oids.EKU_CLIENT_AUTH])),
                other(
                    oids.CERTIFICATE_POLICIES,
                    extensions.certificate_policies([extensions.PolicyInformation("1.2.3", ("http://cps",))]),
                ),
                other(oids.CRL_DISTRIBUTION_POINTS, extensions.crl_distribution_points(["http://a/ca.crl"])),
                other(
                    oids.AUTHORITY_INFORMATION_ACCESS,
                    extensions.authority_information_access(["http://a/ca.crt"], ["http://a/ocsp"]),
                ),
                other(oids.BASIC_CONSTRAINTS, extensions.basic_constraints(True, 0), True),
                other(oids.PREVIOUS_CA_HASH, extensions.previous_ca_hash(b"\xab" * 20)),
                other(oids.SMIME_CAPABILITIES, extensions.smime_capabilities()),
                other(oids.OCSP_NO_CHECK, extensions.ocsp_no_check()),
                (x509.InhibitAnyPolicy(2), False),
                (
                    x509.SubjectAlternativeName(
                        [x509.UniformResourceIdentifier("tag:microsoft.com,2022-09-14:sid:" + SID)]
                    ),
                    False,
                ),
                other("1.2.3.4", b"\x05\x00"),
            ]
        )
    )
    for line in (
        "Policy: Client Authentication (1.3.6.1.5.5.7.3.2)",
        "Policy: 1.2.3",
        "CPS: http://cps",
        "URL: http://a/ca.crl",
        "CA Issuers: http://a/ca.crt",
        "OCSP: http://a/ocsp",
        "Basic Constraints, critical: CA, path length 0",
        "Previous CA Certificate Hash: " + "ab" * 20,
        "Algorithm: AES-256-CBC",
        "OCSP No Revocation Checking: yes",
        "Inhibit Any Policy: 2",
        f"SID: {SID}",
        "1.2.3.4: 0500",
    ):
        assert line in text, line


def test_a_crl_is_explained() -> None:
    made = test_crl.write(
        test_crl.ENTRIES,
        crl.crl_extensions(
            authority_key_id=b"k" * 20,
            number=5,
            next_publish=test_crl.WHEN + timedelta(days=6),
            freshest_crl=["http://a/ca+.crl"],
            distribution_point=["http://a/ca.crl"],
        ),
    )
    text = shown(made)
    for line in (
        "CRL: CN=Test CA,O=Corp,C=DE",
        "CRL Number: 5",
        "Next CRL Publish: 2025-03-10 05:06:07 UTC",
        "Freshest CRL",
        "Issuing Distribution Point, critical",
        "Revoked certificates: 4",
        "1f00000007: 2025-03-04 05:06:07 UTC, keyCompromise",
        "06: 2025-03-04 05:06:07 UTC",
    ):
        assert line in text, line
    delta = test_crl.write(extensions=crl.crl_extensions(authority_key_id=b"k", number=6, base_number=5))
    assert shown(delta).startswith("Delta CRL: ")
    assert "Delta CRL Indicator, critical: 5" in shown(delta)


def test_a_chain_is_explained_certificate_by_certificate() -> None:
    tree = explain(cms.certs_only([test_certificate.rich_certificate(), ca_certificate()]))
    assert tree.value == "2 certificates"
    assert [child.value for child in tree.children] == ["CN=web.corp.example,O=Corp", "CN=Test CA,O=Corp,C=DE"]


def test_a_long_crl_is_counted_and_cut() -> None:
    made = test_crl.write([crl.encode_entry(number, test_crl.WHEN) for number in range(1, 1201)])
    text = shown(made)
    assert "Revoked certificates: 1200" in text
    assert "and 200 more" in text


def test_the_form_for_json_is_plain_and_the_same() -> None:
    tree = explain(test_pkcs10.windows_request())
    data = json.loads(json.dumps(tree.to_dict()))
    assert data["label"] == "Certification request"
    assert [child["label"] for child in data["children"]] == [
        "Subject",
        "Public key",
        "Attributes",
        "Signature algorithm",
        "Fingerprint (SHA-256)",
    ]
    assert Explanation("a").to_dict() == {"label": "a"}


def test_pem_and_base64_are_explained_as_well() -> None:
    made = test_certificate.rich_certificate()
    assert explain(armor.armor(armor.CERTIFICATE, made).encode()) == explain(made)


def test_nothing_in_a_name_moves_the_cursor_of_a_terminal() -> None:
    evil = requests.make_request(
        subject=requests.name(("CN", "a\x1b[2Jb"), ("O", "c\x9bd\u202ee")),
        attributes=[requests.name_value_pairs(("\x1b[31mname", "value\r\n"))],
    )
    text = shown(evil)
    assert all(char.isprintable() or char == "\n" for char in text)
    assert "\\u001b[31mname: value\\u000d\\u000a" in text
    assert "\x1b" not in json.dumps(explain(evil).to_dict(), ensure_ascii=False)


def test_a_challenge_password_is_not_shown() -> None:
    made = requests.make_request(attributes=[requests.attribute(oids.CHALLENGE_PASSWORD, requests.utf8("s3cret"))])
    assert "s3cret" not in shown(made)
    assert b"s3cret".hex() not in shown(made)


@pytest.mark.parametrize(
    ("oid", "value"),
    [
        (oids.KEY_USAGE, b"\x05\x00"),
        (oids.NTDS_CA_SECURITY, b"\x30\x00"),
        (oids.CERTIFICATE_TEMPLATE, b"junk"),
        (oids.SUBJECT_ALTERNATIVE_NAME, requests.sequence(requests.dns("a\0b"))),
    ],
)
def test_what_an_extension_should_not_hold_is_shown_with_its_reason(oid: str, value: bytes) -> None:
    tree = explain(make_certificate(extensions=[other(oid, value)]))
    node = tree.find(oids.name_of(oid))
    assert node is not None
    assert node.find("unreadable") is not None
    found = node.find("bytes")
    assert found is not None
    assert found.value == value.hex()


def test_something_else_is_refused_with_every_reason() -> None:
    with pytest.raises(
        EncodingError, match=r"no certificate, request, CRL or chain; as a certificate: .*as a CRL: .*as a CMS: "
    ):
        explain(requests.sequence(requests.integer(5)))
    with pytest.raises(EncodingError):
        explain(b"hello")


KNOWN = sorted(value for name, value in vars(oids).items() if name.isupper() and not name.startswith("_"))


@given(st.sampled_from(KNOWN), st.binary(max_size=40), st.booleans())
@settings(max_examples=300)
def test_any_bytes_under_any_identifier_are_explained(oid: str, value: bytes, wrap: bool) -> None:
    value = requests.sequence(value) if wrap else value
    assert list(explain(make_certificate(extensions=[other(oid, value)])).lines())
    made = requests.make_request(attributes=[requests.attribute(oid, requests.octets(value))])
    try:
        assert list(explain(made).lines())
    except EncodingError:
        return
