"""`certwright enroll`: a key and a certificate for this host, by an enrollment policy or from a SCEP server."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from certwright.cli.enrolling_by_policy import PENDING, Asked, StateOption, enroll_by_policy

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import rsa

    from certwright.pki.certificate import CertificateView
    from certwright.wire.scep import Credentials

POLL_EVERY: Final = 10.0
MAX_FILE: Final = 64 * 1024


class AuthChoice(StrEnum):
    """How to log on at the policy server."""

    KERBEROS = "kerberos"
    PASSWORD = "password"  # noqa: S105 - a kind, not a password
    CERTIFICATE = "certificate"


class KeyChoice(StrEnum):
    """Keys that are made here."""

    RSA_2048 = "rsa-2048"
    RSA_3072 = "rsa-3072"
    RSA_4096 = "rsa-4096"
    ECDSA_P256 = "ecdsa-p256"
    ECDSA_P384 = "ecdsa-p384"


def enroll(
    key_file: Annotated[
        Path, typer.Option("--key", metavar="FILE", help="The private key; made when it is not there.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where the certificate is written (PEM).")],
    policy: Annotated[
        str, typer.Option("--policy", metavar="URL", help="Address of the enrollment policy web service (CEP).")
    ] = "",
    scep: Annotated[str, typer.Option("--scep", metavar="URL", help="Address of a SCEP server instead.")] = "",
    template: Annotated[
        str, typer.Option("--template", "-t", metavar="NAME", help="With --policy: the certificate template.")
    ] = "",
    auth: Annotated[AuthChoice, typer.Option("--auth", help="With --policy: how to log on.")] = AuthChoice.KERBEROS,
    user: Annotated[
        str,
        typer.Option("--user", metavar="NAME", help="The account: CORP\\alice, or WEB01$@CORP.EXAMPLE of a keytab."),
    ] = "",
    password_file: Annotated[
        str, typer.Option("--password-file", metavar="FILE", help="Its first line; - reads standard input.")
    ] = "",
    keytab: Annotated[
        str,
        typer.Option(
            "--keytab", metavar="FILE", help="With kerberos: a keytab; without one, the tickets that are there."
        ),
    ] = "",
    client_certificate: Annotated[
        str, typer.Option("--client-certificate", metavar="FILE", help="With certificate: what to log on with (PEM).")
    ] = "",
    client_key: Annotated[str, typer.Option("--client-key", metavar="FILE", help="Its key.")] = "",
    ca_file: Annotated[
        str, typer.Option("--ca-file", metavar="FILE", help="Trust only the certificates of this PEM file.")
    ] = "",
    fingerprint: Annotated[
        str,
        typer.Option(
            "--fingerprint",
            metavar="HEX",
            help="With --scep: SHA-256 or SHA-1 of the CA's certificate, as you were told. With --policy: SHA-256 of "
            "the one certificate to trust.",
        ),
    ] = "",
    ca: Annotated[
        str, typer.Option("--ca-name", metavar="NAME", help="Which CA, where the policy server names several.")
    ] = "",
    dns: Annotated[
        list[str] | None, typer.Option("--dns", metavar="NAME", help="A host name; the first is the subject too.")
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option("--name", metavar="KIND:NAME", help="Another name: IP:, email:, UPN: or URI: before it."),
    ] = None,
    subject: Annotated[
        str, typer.Option("--subject", metavar="DN", help="Another subject, as in CN=web01,O=Corp.")
    ] = "",
    key_type: Annotated[
        KeyChoice | None, typer.Option("--key-type", help="Of a new key; by default the least the template takes.")
    ] = None,
    chain: Annotated[
        Path | None,
        typer.Option(
            "--chain", metavar="FILE", help="Where the CAs' certificates are written; beside --out by default."
        ),
    ] = None,
    challenge_file: Annotated[
        str,
        typer.Option(
            "--challenge-file",
            metavar="FILE",
            help="With --scep: the challenge is its first line; - reads standard input.",
        ),
    ] = "",
    renew: Annotated[
        bool, typer.Option("--renew", help="With --scep: renew the certificate in --out by itself.")
    ] = False,
    wait: Annotated[
        int,
        typer.Option("--wait", min=0, metavar="SECONDS", help="How long to ask again while somebody must approve."),
    ] = 0,
    state: StateOption = None,
) -> None:
    """Enroll this host: by an enrollment policy (CEP and CES), or with a SCEP server. No home folder is needed.

    Exit status 3: the request waits for an approval; the same command again, later, collects the certificate.
    """
    from certwright.adcs.errors import InvalidArgument

    if bool(policy) == bool(scep):
        raise InvalidArgument("name either the policy server (--policy) or the SCEP server (--scep)")
    if scep:
        if not fingerprint:
            raise InvalidArgument("give the fingerprint of the CA's certificate with --fingerprint, as you were told")
        _enroll_scep(scep, fingerprint, key_file, out, dns, challenge_file, renew=renew, wait=wait)
        return
    if not template:
        raise InvalidArgument("name the certificate template with --template")
    if renew:
        raise InvalidArgument(f"renew it with: certwright renew {out}")
    enroll_by_policy(
        Asked(
            policy=policy,
            template=template,
            auth=auth.value,
            key_file=key_file,
            out=out,
            chain=chain,
            names=(*(f"DNS:{each}" for each in dns or ()), *(name or ())),
            subject=subject,
            key_type=key_type.value if key_type is not None else "",
            user=user,
            password_file=password_file,
            keytab=keytab,
            client_certificate=client_certificate,
            client_key=client_key,
            ca_file=ca_file,
            fingerprint=fingerprint,
            ca=ca,
            state=state,
            wait=wait,
        )
    )


def _enroll_scep(
    url: str,
    fingerprint: str,
    key_file: Path,
    out: Path,
    dns: list[str] | None,
    challenge_file: str,
    *,
    renew: bool,
    wait: int,
) -> None:
    import hashlib
    import time

    from certwright.adcs.errors import InvalidArgument
    from certwright.cli.files import read_password, write_file
    from certwright.cli.output import note, print_line
    from certwright.connectors.scep import ScepServer
    from certwright.pki import armor
    from certwright.pki.general_names import DnsName
    from certwright.pki.names import format_name

    server = ScepServer(url, fingerprint)
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
        raise typer.Exit(PENDING)
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
