"""CA certificates made by another library, signers over them, and specs: where tests of issuance and CRLs start."""

from __future__ import annotations

import functools
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from certwright.ca.issuance.signing import CaSigner
from certwright.ca.policy.base import CertificateSpec
from certwright.ca.urls import IssuanceUrls
from certwright.keystores.base import PrivateKey
from certwright.keystores.software import SoftwareSigningKey
from certwright.pki import names, oids
from certwright.pki.public_keys import PublicKeyInfo, parse_public_key
from tests.support import requests
from tests.support.fake_directory import make_template

NOW = datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC)
URLS = IssuanceUrls(
    cdp=("http://ca.corp.example/CertEnroll/Corp%20Issuing%20CA.crl",),
    aia=("http://ca.corp.example/CertEnroll/ca.corp.example_Corp%20Issuing%20CA.crt",),
    ocsp=("http://ca.corp.example/ocsp",),
)


def subject(common_name: str = "web.corp.example") -> bytes:
    return names.name_of((oids.ORGANIZATION, "Corp"), (oids.COMMON_NAME, common_name))


@functools.cache
def ca_certificate(key: PrivateKey, name: str = "Corp Issuing CA", path_length: int | None = None) -> bytes:
    """A self-signed CA certificate, valid from 2020 to 2050, DER."""
    distinguished = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        x509.CertificateBuilder()
        .subject_name(distinguished)
        .issuer_name(distinguished)
        .serial_number(0x1234567890)
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2050, 6, 1, tzinfo=UTC))
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(True, path_length), True)
        .add_extension(usage, True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.DER)
    )


def signer_for(
    key: PrivateKey | None = None,
    urls: IssuanceUrls = URLS,
    *,
    name: str = "Corp Issuing CA",
    path_length: int | None = None,
    index: int = 0,
    key_index: int = 0,
) -> CaSigner:
    key = key or requests.ec_key(number=1)
    certificate = ca_certificate(key, name, path_length)
    return CaSigner(certificate, index, key_index, SoftwareSigningKey("issuing", key), urls)


def public_key(key: requests.PrivateKey | None = None) -> PublicKeyInfo:
    return parse_public_key(requests.spki(key or requests.ec_key()))


def spec_for(**changes: Any) -> CertificateSpec:
    values: dict[str, Any] = {
        "subject": subject(),
        "subject_alternative_names": (),
        "not_before": NOW - timedelta(minutes=10),
        "not_after": NOW - timedelta(minutes=10) + timedelta(days=365),
        "template": make_template(),
        "key_usage": b"\x80",
    }
    values.update(changes)
    return CertificateSpec(**values)


def issue(
    signer: CaSigner, spec: CertificateSpec, key: PublicKeyInfo | None = None, serial: int = 0x4D2
) -> x509.Certificate:
    """Prepare and redeem; the result as the other library reads it."""
    return x509.load_der_x509_certificate(signer.redeem(signer.prepare(spec, key or public_key(), serial)))


def pem(folder: Path, name: str, *certificates: bytes) -> Path:
    """Certificates (DER) as a PEM file."""
    path = folder / name
    loaded = (x509.load_der_x509_certificate(certificate) for certificate in certificates)
    path.write_bytes(b"".join(certificate.public_bytes(Encoding.PEM) for certificate in loaded))
    return path


def lint(program: str, *arguments: str | Path) -> list[str]:
    """pkilint's findings of severity ERROR and FATAL, one a line."""
    path = Path(sys.executable).with_name(program)
    if not path.exists():
        pytest.skip(f"pkilint ({program}) is not installed")
    done = subprocess.run(
        [path, "lint", "-s", "ERROR", *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False
    )
    assert not done.stderr, done.stderr
    return [line for line in done.stdout.splitlines() if line.strip()]
