"""PKCS#10 requests as Windows clients make them, byte by byte. [MS-WCCE] 2.2.2.6.1, 2.2.2.7.

The encoder here is a second one on purpose: what the product reads must not have been written by the product.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

OS_VERSION = "1.3.6.1.4.1.311.13.2.3"
CSP_PROVIDER = "1.3.6.1.4.1.311.13.2.2"
NAME_VALUE_PAIR = "1.3.6.1.4.1.311.13.2.1"
CLIENT_INFO = "1.3.6.1.4.1.311.21.20"
MICROSOFT_EXTENSIONS = "1.3.6.1.4.1.311.2.1.14"
PKCS9_EXTENSIONS = "1.2.840.113549.1.9.14"
ENROLL_CERTTYPE = "1.3.6.1.4.1.311.20.2"
CERTIFICATE_TEMPLATE = "1.3.6.1.4.1.311.21.7"
SID_EXTENSION = "1.3.6.1.4.1.311.25.2"
UPN = "1.3.6.1.4.1.311.20.2.3"

_SIGNATURES = {
    ("rsa", "sha256"): "1.2.840.113549.1.1.11",
    ("rsa", "sha384"): "1.2.840.113549.1.1.12",
    ("rsa", "sha512"): "1.2.840.113549.1.1.13",
    ("ec", "sha256"): "1.2.840.10045.4.3.2",
    ("ec", "sha384"): "1.2.840.10045.4.3.3",
    ("ec", "sha512"): "1.2.840.10045.4.3.4",
}
_HASHES: dict[str, hashes.HashAlgorithm] = {
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}


# -- keys: made once a test run, RSA keys are slow to make -----------------------------------------------------------


@functools.cache
def rsa_key(bits: int = 2048, number: int = 0) -> rsa.RSAPrivateKey:
    """`number` tells several keys of one size apart."""
    return rsa.generate_private_key(65537, bits)


@functools.cache
def ec_key(
    curve: Literal["P-256", "P-384", "P-521", "secp256k1", "P-224"] = "P-256", number: int = 0
) -> ec.EllipticCurvePrivateKey:
    curves: dict[str, ec.EllipticCurve] = {
        "P-256": ec.SECP256R1(),
        "P-384": ec.SECP384R1(),
        "P-521": ec.SECP521R1(),
        "P-224": ec.SECP224R1(),
        "secp256k1": ec.SECP256K1(),
    }
    return ec.generate_private_key(curves[curve])


# -- DER -----------------------------------------------------------------------------------------------------------


def tlv(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets + content


def sequence(*parts: bytes) -> bytes:
    return tlv(0x30, *parts)


def set_of(*parts: bytes) -> bytes:
    return tlv(0x31, *sorted(parts))


def oid(dotted: str) -> bytes:
    first, second, *rest = (int(arc) for arc in dotted.split("."))
    content = bytearray()
    for arc in (first * 40 + second, *rest):
        septets = [arc & 0x7F]
        while arc := arc >> 7:
            septets.append(0x80 | (arc & 0x7F))
        content += bytes(reversed(septets))
    return tlv(0x06, bytes(content))


def integer(value: int) -> bytes:
    return tlv(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def octets(value: bytes) -> bytes:
    return tlv(0x04, value)


def utf8(text: str) -> bytes:
    return tlv(0x0C, text.encode())


def printable(text: str) -> bytes:
    return tlv(0x13, text.encode("ascii"))


def ia5(text: str) -> bytes:
    return tlv(0x16, text.encode("ascii"))


def bmp(text: str) -> bytes:
    return tlv(0x1E, text.encode("utf-16-be"))


# -- names ---------------------------------------------------------------------------------------------------------

_NAME_TYPES = {
    "CN": "2.5.4.3",
    "O": "2.5.4.10",
    "OU": "2.5.4.11",
    "C": "2.5.4.6",
    "L": "2.5.4.7",
    "ST": "2.5.4.8",
    "DC": "0.9.2342.19200300.100.1.25",
    "E": "1.2.840.113549.1.9.1",
    "UID": "0.9.2342.19200300.100.1.1",
}
_STRINGS = {"C": printable, "DC": ia5, "E": ia5}


def name(*pairs: tuple[str, str]) -> bytes:
    """A Name, DER, in the order given: `name(("CN", "web.corp.example"), ("O", "Corp"))`."""
    return sequence(
        *(
            set_of(sequence(oid(_NAME_TYPES.get(kind, kind)), _STRINGS.get(kind, utf8)(value)))
            for kind, value in pairs
        )
    )


def dns(value: str) -> bytes:
    return tlv(0x82, value.encode("latin-1"))


def mail(value: str) -> bytes:
    return tlv(0x81, value.encode("latin-1"))


def uri(value: str) -> bytes:
    return tlv(0x86, value.encode("latin-1"))


def ip(value: bytes) -> bytes:
    return tlv(0x87, value)


def other_name(type_id: str, value: bytes) -> bytes:
    return tlv(0xA0, oid(type_id), tlv(0xA0, value))


def upn(value: str) -> bytes:
    return other_name(UPN, utf8(value))


# -- extensions and attributes -------------------------------------------------------------------------------------


def extension(identifier: str, value: bytes, *, critical: bool = False) -> bytes:
    return sequence(oid(identifier), b"\x01\x01\xff" if critical else b"", octets(value))


def alternative_names(*names: bytes, critical: bool = False) -> bytes:
    return extension("2.5.29.17", sequence(*names), critical=critical)


def template_name_extension(cn: str) -> bytes:
    """20.2 in the form Windows writes: a bare BMPString."""
    return extension(ENROLL_CERTTYPE, bmp(cn))


def template_extension(template_oid: str, major: int | None = None, minor: int | None = None) -> bytes:
    """21.7, version 2 certificate template information."""
    numbers = [integer(number) for number in (major, minor) if number is not None]
    return extension(CERTIFICATE_TEMPLATE, sequence(oid(template_oid), *numbers))


def sid_extension(sid: str) -> bytes:
    value = tlv(0xA0, oid("1.3.6.1.4.1.311.25.2.1"), tlv(0xA0, octets(sid.encode())))
    return extension(SID_EXTENSION, sequence(value))


def extended_key_usage(*usages: str) -> bytes:
    return extension("2.5.29.37", sequence(*(oid(usage) for usage in usages)))


def key_usage(bits: bytes) -> bytes:
    return extension("2.5.29.15", tlv(0x03, b"\x00", bits), critical=True)


def attribute(identifier: str, *values: bytes) -> bytes:
    return sequence(oid(identifier), set_of(*values))


def extensions_attribute(*extensions: bytes, identifier: str = PKCS9_EXTENSIONS) -> bytes:
    return attribute(identifier, sequence(*extensions))


def os_version(text: str = "10.0.20348.2") -> bytes:
    return attribute(OS_VERSION, ia5(text))


def client_info(
    machine: str = "pc1.corp.example", user: str = "CORP\\alice", process: str = "certreq.exe", client: int = 5
) -> bytes:
    return attribute(CLIENT_INFO, sequence(integer(client), utf8(machine), utf8(user), utf8(process)))


def csp_provider(provider: str = "Microsoft Software Key Storage Provider", key_spec: int = 1) -> bytes:
    return attribute(CSP_PROVIDER, sequence(integer(key_spec), bmp(provider), b"\x03\x01\x00"))


def name_value_pairs(*pairs: tuple[str, str]) -> bytes:
    """One attribute with a value per pair."""
    return attribute(NAME_VALUE_PAIR, *(sequence(bmp(key), bmp(value)) for key, value in pairs))


def windows_attributes() -> tuple[bytes, ...]:
    """What every Windows client sends beside the extensions."""
    return os_version(), client_info(), csp_provider()


# -- the request ---------------------------------------------------------------------------------------------------


def spki(key: PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def make_request(
    key: PrivateKey | None = None,
    *,
    subject: bytes = b"\x30\x00",
    attributes: Iterable[bytes] = (),
    extensions: Sequence[bytes] = (),
    hash_name: str = "sha256",
    version: int = 0,
    public_key: bytes | None = None,
    signature: bytes | None = None,
) -> bytes:
    """A signed CertificationRequest, DER. `public_key` and `signature` replace the true ones."""
    key = key or ec_key()
    values = list(attributes)
    if extensions:
        values.append(extensions_attribute(*extensions))
    info = sequence(integer(version), subject, public_key or spki(key), tlv(0xA0, *values))
    return signed(info, key, hash_name, signature)


def signed(info: bytes, key: PrivateKey, hash_name: str = "sha256", signature: bytes | None = None) -> bytes:
    """A CertificationRequestInfo with its proof of possession."""
    if isinstance(key, rsa.RSAPrivateKey):
        algorithm = sequence(oid(_SIGNATURES["rsa", hash_name]), b"\x05\x00")
        made = key.sign(info, padding.PKCS1v15(), _HASHES[hash_name])
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        algorithm = sequence(oid(_SIGNATURES["ec", hash_name]))
        made = key.sign(info, ec.ECDSA(_HASHES[hash_name]))
    else:
        algorithm, made = sequence(oid("1.3.101.112")), key.sign(info)
    return sequence(info, algorithm, tlv(0x03, b"\x00", signature if signature is not None else made))


def web_server_request(
    *hosts: str,
    key: PrivateKey | None = None,
    subject: bytes | None = None,
    extensions: Sequence[bytes] = (),
    attributes: Iterable[bytes] = (),
) -> bytes:
    """What an administrator makes for a web server: CN and SAN are the host names."""
    hosts = hosts or ("web.corp.example",)
    return make_request(
        key,
        subject=name(("CN", hosts[0])) if subject is None else subject,
        attributes=attributes,
        extensions=[alternative_names(*(dns(host) for host in hosts)), *extensions],
    )


def issued_names(certificate: bytes) -> tuple[x509.Name, list[x509.GeneralName]]:
    """Subject and alternative names of a certificate, by the other library."""
    parsed = x509.load_der_x509_certificate(certificate)
    try:
        names = list(parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        names = []
    return parsed.subject, names
