"""`certwright enroll`: this machine as a device - a key, and a certificate for it from a SCEP server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import rsa

    from certwright.pki.certificate import CertificateView
    from certwright.wire.scep import Credentials

POLL_EVERY: Final = 10.0
MAX_FILE: Final = 64 * 1024


def enroll(
    scep: Annotated[str, typer.Option("--scep", metavar="URL", help="Address of the SCEP server.")],
    fingerprint: Annotated[
        str,
        typer.Option(
            "--fingerprint", metavar="HEX", help="SHA-256 or SHA-1 of the CA's certificate, as you were told."
        ),
    ],
    key_file: Annotated[
        Path, typer.Option("--key", metavar="FILE", help="The private key; made when it is not there.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where the certificate is written (PEM).")],
    dns: Annotated[
        list[str] | None, typer.Option("--dns", metavar="NAME", help="A host name; the first is the subject too.")
    ] = None,
    challenge_file: Annotated[
        str,
        typer.Option(
            "--challenge-file", metavar="FILE", help="Its first line is the challenge; - reads standard input."
        ),
    ] = "",
    renew: Annotated[
        bool, typer.Option("--renew", help="Renew the certificate in --out by itself; it keeps key and names.")
    ] = False,
    wait: Annotated[
        int,
        typer.Option("--wait", min=0, metavar="SECONDS", help="How long to ask again while somebody must approve."),
    ] = 0,
) -> None:
    """Enroll this machine with a SCEP server, or renew what it has. No home folder is needed.

    Exit status 3: the request waits for an approval; the same command again, later, collects the certificate.
    """
    import hashlib
    import time

    from certwright.adcs.errors import InvalidArgument
    from certwright.cli.files import read_password, write_file
    from certwright.cli.output import note, print_line
    from certwright.connectors.scep import ScepServer
    from certwright.pki import armor
    from certwright.pki.general_names import DnsName
    from certwright.pki.names import format_name

    server = ScepServer(scep, fingerprint)
    if renew:
        current = _certificate(out)
        names = [name.value for name in current.alternative_names if isinstance(name, DnsName)]
        subject, challenge = current.subject, ""
    else:
        if not dns:
            raise InvalidArgument("name the machine with --dns")
        names, subject = dns, b""
        challenge = read_password(challenge_file, "Challenge", "--challenge-file") if challenge_file else ""
    key = _key(key_file, may_make=not renew)
    request = _request(key, subject, names, challenge)
    credentials = _credentials(key, _certificate(out) if renew else None, names)
    serial = credentials.certificate.serial_number if renew else ""
    public_key_info = credentials.certificate.public_key_info
    transaction = hashlib.sha256(public_key_info + serial.encode()).hexdigest()

    issued = server.enroll(request, credentials, transaction, renewal=renew)
    ends = time.monotonic() + wait
    while issued is None and time.monotonic() < ends:
        time.sleep(min(POLL_EVERY, max(0.1, ends - time.monotonic())))
        issued = server.poll(credentials, transaction, public_key_info)
    if issued is None:
        note("the request waits for an approval; run the same command again later")
        raise typer.Exit(3)
    write_file(out, armor.armor(armor.CERTIFICATE, issued.der).encode(), force=renew)
    print_line(f"{format_name(issued.subject)}, until {issued.not_after:%Y-%m-%d}, is in {out}.")


def _certificate(path: Path) -> CertificateView:
    from certwright.cli.files import read_file
    from certwright.pki import armor
    from certwright.pki.certificate import CertificateView

    return CertificateView.parse(armor.dearmor(read_file(str(path), MAX_FILE)))


def _key(path: Path, *, may_make: bool) -> rsa.RSAPrivateKey:
    """The key in the file; a new one, which only its owner can read, where there is none."""
    import os

    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        load_pem_private_key,
    )

    from certwright.adcs.errors import InvalidArgument
    from certwright.cli.files import read_file

    if may_make and not path.exists():
        key = rsa.generate_private_key(65537, 2048)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return key
    try:
        found = load_pem_private_key(read_file(str(path), MAX_FILE), None)
    except (ValueError, TypeError) as error:
        raise InvalidArgument(f"{path} is no private key in PEM without a passphrase") from error
    if not isinstance(found, rsa.RSAPrivateKey):
        raise InvalidArgument(f"{path} is no RSA key; SCEP knows no other")
    return found


def _request(key: rsa.RSAPrivateKey, subject: bytes, names: list[str], challenge: str) -> bytes:
    from certwright.pki import der, oids
    from certwright.pki.extensions import extension, subject_alternative_name
    from certwright.pki.general_names import DnsName, host_name_to_ascii
    from certwright.pki.names import name_of
    from certwright.pki.signatures import RSA_SHA256

    hosts = [host_name_to_ascii(name) for name in names]
    attributes = []
    if challenge:
        text = der.printable(challenge) if der.is_printable(challenge) else der.utf8(challenge)
        attributes.append(der.sequence(der.oid(oids.CHALLENGE_PASSWORD), der.set_of(text)))
    if hosts:
        alternative = subject_alternative_name([DnsName(host) for host in hosts])
        extensions = der.sequence(extension(oids.SUBJECT_ALTERNATIVE_NAME, alternative))
        attributes.append(der.sequence(der.oid(oids.EXTENSION_REQUEST), der.set_of(extensions)))
    info = der.sequence(
        der.integer(0),
        subject or name_of((oids.COMMON_NAME, hosts[0])),
        _public(key),
        der.implicit(0, der.set_of(*attributes)),
    )
    return der.sequence(info, RSA_SHA256.algorithm, der.bit_string(RSA_SHA256.sign(key, info)))


def _credentials(key: rsa.RSAPrivateKey, current: CertificateView | None, names: list[str]) -> Credentials:
    """The certificate to renew, or one that the new key signs for itself."""
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.x509.oid import NameOID

    from certwright.adcs.errors import InvalidArgument
    from certwright.pki.certificate import CertificateView
    from certwright.wire.scep import Credentials

    if current is not None:
        if current.public_key_info != _public(key):
            raise InvalidArgument("the certificate in --out is not of the key in --key")
        return Credentials(current, key)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .sign(key, hashes.SHA256())
    )
    return Credentials(CertificateView.parse(made.public_bytes(Encoding.DER)), key)


def _public(key: rsa.RSAPrivateKey) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
