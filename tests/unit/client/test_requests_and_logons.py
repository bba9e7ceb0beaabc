"""Requests as this host makes them, as the CA's reader reads them; and whose keytab it is."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from certwright.adcs.errors import ConfigurationError, InvalidArgument
from certwright.client.logons import password_in, principal_in, trust_of
from certwright.client.requests import (
    general_names,
    key_for,
    new_request,
    public_key_of,
    renewal_request,
    subject_of,
    template_extension,
)
from certwright.connectors.trust import Fingerprint, PinnedFile, SystemTrust
from certwright.keystores.base import KeyAlgorithm
from certwright.pki import oids
from certwright.pki.certificate import CertificateView
from certwright.pki.extensions import certificate_template
from certwright.pki.inner_requests import inner_request
from certwright.pki.names import EMPTY, format_name
from certwright.pki.pkcs10 import CertificationRequest
from certwright.pki.signed_data import SignedData
from certwright.wire.xcep import Oid, OidGroup, Policy, PolicyExtension
from tests.support.certificates import make_certificate
from tests.support.requests import ec_key
from tests.unit.auth.test_keytab import entry, keytab

KEY, OLD = ec_key("P-256", 63), ec_key("P-256", 64)
POLICY = Policy(
    oid=Oid("1.3.6.1.4.1.311.21.8.1.2.3", OidGroup.TEMPLATE, "Web Server"),
    common_name="WebServer",
    schema=2,
    validity_seconds=86400,
    renewal_seconds=3600,
    enroll=True,
    auto_enroll=False,
    minimal_key_length=2048,
    major_revision=100,
    minor_revision=4,
    cas=(0,),
    extensions=(
        PolicyExtension(
            Oid(oids.CERTIFICATE_TEMPLATE, OidGroup.EXTENSION, ""),
            False,
            certificate_template("1.3.6.1.4.1.311.21.8.1.2.3", 100, 4),
        ),
    ),
)


def test_a_request_names_its_template_its_names_and_proves_its_key() -> None:
    names = general_names(("web.corp.example", "DNS:www.corp.example", "IP:192.0.2.7", "email:a@corp.example"))
    made = CertificationRequest.parse(new_request(KEY, POLICY, subject_of("", names), names))

    made.verify_signature()
    assert made.public_key_info == public_key_of(KEY)
    assert format_name(made.subject) == "CN=web.corp.example"
    assert made.extensions[oids.CERTIFICATE_TEMPLATE].value == POLICY.extensions[0].value
    assert not made.extensions[oids.SUBJECT_ALTERNATIVE_NAME].critical


def test_without_names_the_directory_fills_them_in() -> None:
    made = CertificationRequest.parse(new_request(KEY, POLICY, subject_of("", ()), ()))
    assert made.subject == EMPTY
    assert oids.SUBJECT_ALTERNATIVE_NAME not in made.extensions


def test_a_renewal_is_signed_by_the_old_certificate_and_names_it() -> None:
    old = CertificateView.parse(make_certificate("CN=host.corp.example,O=Corp", OLD))

    raw = renewal_request(KEY, old, OLD)

    message, inside = SignedData.parse(raw), inner_request(raw)
    (signer,) = message.signers
    assert message.certificate_of(signer) == old
    message.verify(signer, OLD.public_key())
    inside.verify_signature()
    assert inside.renewal_certificate == old.der
    assert (inside.subject, inside.public_key_info) == (old.subject, public_key_of(KEY))


@pytest.mark.parametrize(
    ("length", "algorithm", "wanted"),
    [
        (1024, None, KeyAlgorithm.RSA_2048),
        (2048, None, KeyAlgorithm.RSA_2048),
        (2049, None, KeyAlgorithm.RSA_3072),
        (4096, Oid(oids.RSA_ENCRYPTION, OidGroup.PUBLIC_KEY, "RSA"), KeyAlgorithm.RSA_4096),
        (256, Oid("1.2.840.10045.3.1.7", OidGroup.PUBLIC_KEY, "ECDSA_P256"), KeyAlgorithm.ECDSA_P256),
        (384, Oid("1.3.132.0.34", OidGroup.PUBLIC_KEY, "ECDSA_P384"), KeyAlgorithm.ECDSA_P384),
    ],
)
def test_the_key_is_the_least_that_the_template_takes(
    length: int, algorithm: Oid | None, wanted: KeyAlgorithm
) -> None:
    assert key_for(dataclasses.replace(POLICY, minimal_key_length=length, algorithm=algorithm)) is wanted


@pytest.mark.parametrize(
    ("length", "algorithm"), [(8192, None), (521, Oid("1.3.132.0.35", OidGroup.PUBLIC_KEY, "ECDSA_P521"))]
)
def test_a_key_that_is_not_made_here_is_said_to_be(length: int, algorithm: Oid | None) -> None:
    with pytest.raises(InvalidArgument, match="WebServer"):
        key_for(dataclasses.replace(POLICY, minimal_key_length=length, algorithm=algorithm))


@pytest.mark.parametrize("text", ["", "not a name", "IP:300.1.1.1", "PHONE:1", "DNS:"])
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        general_names((text,))


def test_a_subject_that_cannot_be_one_is_refused() -> None:
    for text in ("nonsense", f"CN={'x' * 65}"):
        with pytest.raises(InvalidArgument):
            subject_of(text, ())
    assert template_extension(dataclasses.replace(POLICY, extensions=())) == b""


@pytest.mark.parametrize(
    ("entries", "wanted"),
    [
        ((entry("host", "web01"), entry("WEB01$"), entry("OTHER$")), "WEB01$@CORP.EXAMPLE"),
        ((entry("host", "web01"), entry("OTHER$")), "OTHER$@CORP.EXAMPLE"),
        ((entry("HTTP", "web01"), entry("host", "web01")), "host/web01@CORP.EXAMPLE"),
        ((entry("svc-enroll"), entry("svc-enroll")), "svc-enroll@CORP.EXAMPLE"),
    ],
)
def test_a_hosts_keytab_is_its_machine_account(tmp_path: Path, entries: tuple[bytes, ...], wanted: str) -> None:
    path = tmp_path / "keytab"
    path.write_bytes(keytab(*entries))
    assert principal_in(path, "web01.corp.example") == wanted


def test_where_nobody_can_tell_the_user_has_to_say(tmp_path: Path) -> None:
    path = tmp_path / "keytab"
    path.write_bytes(keytab(entry("alice"), entry("bob")))
    with pytest.raises(ConfigurationError, match="--user"):
        principal_in(path, "web01")


def test_a_password_is_the_first_line_of_its_file(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_bytes("schön und lang\r\nnot this\n".encode())
    assert password_in(str(path)) == "schön und lang"
    for data in (b"", b"\n", b"\xff\xfe"):
        path.write_bytes(data)
        with pytest.raises(ConfigurationError):
            password_in(str(path))
    with pytest.raises(ConfigurationError):
        password_in("")


def test_trust_is_one_of_three(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    assert isinstance(trust_of("", ""), SystemTrust)
    assert isinstance(trust_of(str(file), ""), PinnedFile)
    assert isinstance(trust_of("", "ab" * 32), Fingerprint)
    for arguments in ((str(file), "ab" * 32), (str(tmp_path / "none"), "")):
        with pytest.raises(ConfigurationError):
            trust_of(*arguments)
