"""Certificates for the inventory, in every number and with any dates; made by the other library."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from tests.support.requests import PrivateKey, ec_key
from tests.support.scripted_ca import NOW

_serials = itertools.count(0x5000)


@functools.cache
def _issuer() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def certificate(
    common_name: str = "web.corp.example",
    *,
    days: float = 200,
    now: datetime = NOW,
    names: Sequence[str] = (),
    issuer: str = "CN=Corp Issuing CA,O=Corp",
    template: str = "",
    key: PrivateKey | None = None,
    serial: int | None = None,
    subject: str = "",
) -> bytes:
    """A certificate (DER) that ends in so many days."""
    end = now + timedelta(days=days)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name.from_rfc4514_string(subject or f"CN={common_name}"))
        .issuer_name(x509.Name.from_rfc4514_string(issuer))
        .not_valid_before(min(now, end) - timedelta(days=100))
        .not_valid_after(end)
        .serial_number(serial if serial is not None else next(_serials))
        .public_key((key or ec_key("P-256", 55)).public_key())
    )
    wanted = list(names) or ([common_name] if "." in common_name else [])
    if wanted:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(each) for each in wanted]), False)
    if template:
        value = b"\x1e" + bytes((len(template) * 2,)) + template.encode("utf-16-be")
        oid = x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2")
        builder = builder.add_extension(x509.UnrecognizedExtension(oid, value), False)
    return builder.sign(_issuer(), hashes.SHA256()).public_bytes(Encoding.DER)
