"""Whose TLS certificate is believed: the system's roots, a file of one's own, or one certificate by its fingerprint.

There is no fourth way. A fingerprint is resolved by looking at the chain the server shows, without sending anything;
the certificate that matches becomes the only trust anchor of the real connection, which OpenSSL then verifies in full
(RFC 5280 6; X509_V_FLAG_PARTIAL_CHAIN makes any pinned certificate an anchor, not roots alone). The host name is
checked too, except where the pinned certificate is the server's own: then it says itself whose it is.

Nothing of this can be changed by an environment variable; SSL_CERT_FILE and its kin are read by no function here.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import socket
import ssl
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from certwright.adcs.errors import ConfigurationError
from certwright.connectors.errors import (
    CertificateNotTrusted,
    ConnectionFailed,
    NameNotResolved,
    ServiceFault,
    TlsFailed,
)
from certwright.connectors.server_certificate import ServerCertificate, colons
from certwright.connectors.service import ServiceAddress
from certwright.pki.errors import EncodingError

MAX_PINNED: Final = 512 * 1024
"""Longest pinned file taken, in bytes."""
MAX_CHAIN: Final = 16

_PEM: Final = re.compile(r"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]{1,100000}-----END CERTIFICATE-----")
_BUNDLES: Final = (  # where systems keep their roots when OpenSSL's own default is empty
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)

_SELF_SIGNED, _NO_ISSUER = frozenset({18, 19}), frozenset({2, 20, 21})  # X509_V_ERR_*, x509_vfy.h
_NOT_YET, _EXPIRED = 9, 10
_WRONG_NAME: Final = frozenset({62, 64})
_TOO_WEAK: Final = frozenset({66, 67, 68})


@dataclass(frozen=True, slots=True)
class SystemTrust:
    """The certificate authorities that the operating system trusts; `also` those of this PEM text."""

    also: str = ""


@dataclass(frozen=True, slots=True)
class PinnedFile:
    """Nobody but the certificates of this PEM text: roots, issuing CAs, or the server's own.

    Raises:
        ConfigurationError: there is no certificate in it.
    """

    pem: str

    def __post_init__(self) -> None:
        if len(self.pem) > MAX_PINNED or not self.certificates():
            raise ConfigurationError(
                "the CA file holds no certificate in PEM; export the CA's certificate as Base-64 encoded X.509"
            )

    def certificates(self) -> list[str]:
        return _PEM.findall(self.pem)


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """One certificate, by SHA-256 over its DER: the server's own, or a CA's in the chain the server shows.

    Raises:
        ConfigurationError: it is not 64 hexadecimal digits; colons, blanks and case do not matter.
    """

    sha256: str

    def __post_init__(self) -> None:
        digits = re.sub(r"[:\s]", "", self.sha256).lower()
        if not re.fullmatch(r"[0-9a-f]{64}", digits):
            raise ConfigurationError("a fingerprint is the SHA-256 of a certificate: 64 hexadecimal digits")
        object.__setattr__(self, "sha256", digits)


Trust = SystemTrust | PinnedFile | Fingerprint


# -- contexts --------------------------------------------------------------------------------------------------------


def verifying_context(trust: Trust, address: ServiceAddress, timeout: float) -> ssl.SSLContext:
    """A client context that believes what `trust` says and nothing else. For a fingerprint, looks at the server.

    Raises:
        CaUnreachable: a fingerprint, and the server cannot be looked at or shows no such certificate.
        ConfigurationError: the pinned file, or the system's store, cannot be used.
    """
    match trust:
        case SystemTrust():
            return _system_context(_PEM.findall(trust.also[:MAX_PINNED]))
        case PinnedFile():
            return _pinned_context(trust.certificates())
        case Fingerprint():
            chain = look(address, timeout)
            position = next((at for at, der in enumerate(chain) if _sha256(der) == trust.sha256), None)
            if position is None:
                seen = ServerCertificate.of(chain)
                raise CertificateNotTrusted(
                    f"{address} does not show the certificate that was accepted ({colons(trust.sha256)}), but "
                    f"{_described(seen)}",
                    "if it was renewed, compare the fingerprint on the server and accept the new one; if it was not, "
                    "somebody stands in between",
                    seen,
                )
            context = _pinned_context([ssl.DER_cert_to_PEM_cert(chain[position])])
            context.check_hostname = position > 0
            return context


def _client_context() -> ssl.SSLContext:
    """TLS 1.2 and later, certificates and names verified: what PROTOCOL_TLS_CLIENT means."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _pinned_context(certificates: Iterable[str]) -> ssl.SSLContext:
    context = _client_context()
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        context.load_verify_locations(cadata="\n".join(certificates))
    except (ssl.SSLError, ValueError) as error:
        raise ConfigurationError("the pinned CA certificate cannot be read; export it again as Base-64") from error
    return context


def _system_context(also: list[str]) -> ssl.SSLContext:
    """The compiled-in places, not those that variables of the environment name."""
    context = _pinned_context(also) if also else _client_context()
    if sys.platform == "win32":
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        return context
    paths = ssl.get_default_verify_paths()
    file = next((each for each in (paths.openssl_cafile, *_BUNDLES) if Path(each).is_file()), None)
    folder = paths.openssl_capath if Path(paths.openssl_capath).is_dir() else None
    if file is None and folder is None:
        if also:
            return context
        raise ConfigurationError("this system has no store of trusted CAs; pin the CA's certificate for the service")
    context.load_verify_locations(cafile=file, capath=folder)
    return context


# -- looking ---------------------------------------------------------------------------------------------------------


def look(address: ServiceAddress, timeout: float) -> tuple[bytes, ...]:
    """The certificates (DER) a server shows, its own first. Nothing is sent over the connection.

    Raises:
        NameNotResolved, ConnectionFailed, TlsFailed: in that order of how far it came.
    """
    context = _client_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # to look, not to talk
    try:
        with (
            socket.create_connection((address.hostname, address.port), timeout) as plain,
            context.wrap_socket(plain, server_hostname=address.hostname) as secured,
        ):
            chain = _shown_chain(secured)
            with contextlib.suppress(OSError):
                secured.unwrap()
    except OSError as error:
        raise explain(error, address) from error
    if not chain:
        raise TlsFailed(f"{address} shows no certificate", "correct the port")
    return chain


def look_at(address: ServiceAddress, timeout: float) -> ServerCertificate:
    """The same, described.

    Raises:
        CaUnreachable: as `look`, or a certificate that cannot be read.
    """
    try:
        return ServerCertificate.of(look(address, timeout))
    except EncodingError as error:
        raise TlsFailed(f"{address} shows a certificate that cannot be read: {error}") from error


def _shown_chain(secured: ssl.SSLSocket) -> tuple[bytes, ...]:
    leaf = secured.getpeercert(True)
    if not leaf:
        return ()
    return (leaf, *(der for der in _unverified(secured) if der != leaf))[:MAX_CHAIN]


def _unverified(secured: ssl.SSLSocket) -> Iterable[bytes]:
    """Public since Python 3.13, where it gives DER; before, the same call lies one layer deeper and gives objects."""
    public: Any = getattr(secured, "get_unverified_chain", None)
    if public is not None:
        return [bytes(each) for each in public() or ()]
    inner: Any = getattr(secured, "_sslobj", None)
    found = inner.get_unverified_chain() if hasattr(inner, "get_unverified_chain") else None
    return [ssl.PEM_cert_to_DER_cert(each.public_bytes()) for each in found or ()]


def _sha256(der: bytes) -> str:
    return hashlib.sha256(der).hexdigest()


# -- in words --------------------------------------------------------------------------------------------------------


def explain(error: BaseException, address: ServiceAddress, timeout: float = 5.0) -> ServiceFault:
    """The error of ours that says why no connection came about. Looks again where a certificate was not trusted."""
    for cause in _causes(error):
        match cause:
            case ssl.SSLCertVerificationError():
                return _not_trusted(cause, address, timeout)
            case ssl.SSLError():
                return TlsFailed(
                    f"{address} does not talk TLS 1.2 or 1.3 with us ({cause.reason or 'no reason given'})",
                    "check the port, and that HTTPS is bound to it on the server",
                )
            case socket.gaierror():
                return NameNotResolved(
                    f"the name {address.hostname} cannot be resolved",
                    "check the name, and the DNS servers of this machine",
                )
            case ConnectionRefusedError():
                return ConnectionFailed(
                    f"{address.hostname} refuses connections to port {address.port}",
                    "check the port, and that the web server runs",
                )
            case TimeoutError():
                return ConnectionFailed(
                    f"{address} does not answer in time",
                    f"check the firewalls between here and port {address.port}, and whether the server is overloaded",
                )
            case ConnectionResetError() | BrokenPipeError():
                return ConnectionFailed(f"{address} broke the connection off", "check the port, and its event log")
            case OSError() if cause.errno is not None:
                return ConnectionFailed(
                    f"{address} cannot be reached ({cause.strerror})", "check the network of this machine"
                )
    return ConnectionFailed(f"the connection to {address} broke off before an answer came", "try again")


def _causes(error: BaseException) -> Iterable[BaseException]:
    current: BaseException | None = error
    for _ in range(8):
        if current is None:
            return
        yield current
        current = current.__cause__ or current.__context__


def _not_trusted(error: ssl.SSLCertVerificationError, address: ServiceAddress, timeout: float) -> ServiceFault:
    try:
        seen = look_at(address, timeout)
    except ServiceFault:
        return CertificateNotTrusted(
            f"the certificate of {address} is not trusted ({error.verify_message})",
            "check the certificate that is bound to the web site",
        )
    code = error.verify_code
    if code in _WRONG_NAME:
        why = f"it is for {', '.join(seen.names) or 'no name'} and not for {address.hostname}"
        fix = "use a name that the certificate has, or give the server a certificate for this one"
    elif code == _EXPIRED:
        why = f"it, or a CA certificate above it, has expired (its own end is {seen.not_after:%Y-%m-%d %H:%M} UTC)"
        fix = "renew the certificate of the web site, and check the clock of this machine"
    elif code == _NOT_YET:
        why = f"it is not valid before {seen.not_before:%Y-%m-%d %H:%M} UTC"
        fix = "check the clocks of both machines"
    elif code in _SELF_SIGNED | _NO_ISSUER:
        why = "its chain does not lead to a CA that this service trusts"
        fix = "pin the CA's certificate for this service, or compare the fingerprint on the server and accept it"
    elif code in _TOO_WEAK:
        why = "its key or its signature is too weak"
        fix = "give the web site a certificate with RSA 2048 or EC P-256 and SHA-256"
    else:
        why = error.verify_message
        fix = "check the certificate that is bound to the web site"
    return CertificateNotTrusted(
        f"the certificate of {address} is not trusted: {why}. It is {_described(seen)}", fix, seen
    )


def _described(seen: ServerCertificate) -> str:
    return f"{seen.subject or 'without a subject'}, issued by {seen.issuer}, SHA-256 {seen.fingerprint}"
