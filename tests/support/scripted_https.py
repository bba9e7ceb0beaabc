"""A TLS web server that answers what a test says: pages in other languages, refusals, cut connections.

It keeps connections alive, demands NTLM as IIS does (a connection that is logged on stays so), and remembers every
request. It believes any password; what the client proved stands in `authenticated`, for the test to check.
"""

from __future__ import annotations

import base64
import contextlib
import ipaddress
import socket
import ssl
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from certwright.wire.ntlm import (
    AuthenticateMessage,
    AvId,
    ChallengeMessage,
    NegotiateFlags,
    NtlmV2Response,
    TargetInfo,
)

OFFERS = ("Negotiate", "NTLM")


# -- certificates ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Identity:
    """A certificate with its key, and the certificates sent along."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    above: tuple[x509.Certificate, ...] = ()

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(Encoding.PEM).decode()

    @property
    def sha256(self) -> str:
        return self.certificate.fingerprint(hashes.SHA256()).hex()


def make_authority(name: str, issuer: Identity | None = None) -> Identity:
    key = ec.generate_private_key(ec.SECP256R1())
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    builder = _builder(name, key, issuer).add_extension(
        x509.BasicConstraints(ca=True, path_length=None), critical=True
    )
    signer = issuer.key if issuer else key
    certificate = builder.add_extension(usage, critical=True).sign(signer, hashes.SHA256())
    return Identity(certificate, key, (issuer.certificate, *issuer.above) if issuer else ())


def make_server(
    issuer: Identity | None = None,
    *names: str,
    ends: timedelta = timedelta(days=30),
    algorithm: hashes.SHA256 | hashes.SHA384 | None = None,
    send_root: bool = False,
) -> Identity:
    """A certificate for a web server; self-signed without an issuer. Its CAs are sent, the root only if asked."""
    key = ec.generate_private_key(ec.SECP256R1())
    alternatives: list[x509.GeneralName] = []
    for name in names or ("localhost",):
        try:
            alternatives.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            alternatives.append(x509.DNSName(name))
    builder = _builder((names or ("localhost",))[0], key, issuer, ends).add_extension(
        x509.SubjectAlternativeName(alternatives), critical=False
    )
    certificate = builder.sign(issuer.key if issuer else key, algorithm or hashes.SHA256())
    above = (issuer.certificate, *issuer.above) if issuer else ()
    if above and not send_root:
        above = above[:-1]
    return Identity(certificate, key, above)


def _builder(
    name: str, key: ec.EllipticCurvePrivateKey, issuer: Identity | None, ends: timedelta = timedelta(days=365)
) -> x509.CertificateBuilder:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(
        issuer.certificate.subject if issuer else subject, subject, key.public_key(), x509.random_serial_number()
    )
    above = (issuer.key if issuer else key).public_key()
    return (
        builder.not_valid_before(now - timedelta(days=60))
        .not_valid_after(now + ends)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(above), critical=False)
    )


# -- messages --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """One request as it arrived."""

    connection: int
    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def page(self) -> str:
        """`certfnsh.asp`, in lower case; empty for the home page."""
        return self.target.partition("?")[0].rpartition("/")[2].lower()

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]


@dataclass(frozen=True)
class Reply:
    """One answer. `cut_after` sends that many bytes of the body and breaks the connection off."""

    body: bytes | str = b""
    status: int = 200
    content_type: str = "text/html"
    headers: tuple[tuple[str, str], ...] = ()
    cut_after: int | None = None

    def octets(self, *, close: bool) -> bytes:
        body = self.body.encode() if isinstance(self.body, str) else self.body
        lines = [
            f"HTTP/1.1 {self.status} Whatever",
            f"Content-Type: {self.content_type}",
            *(f"{name}: {value}" for name, value in self.headers),
        ]
        if "content-length" not in {name.lower() for name, _ in self.headers}:
            lines.append(f"Content-Length: {len(body)}")
        if close:
            lines.append("Connection: close")
        return "\r\n".join([*lines, "", ""]).encode() + (body if self.cut_after is None else body[: self.cut_after])


class Cut(Exception):
    """Break the connection off without an answer."""


Pages = Callable[[Seen], Reply]


@dataclass
class Proof:
    """What a client proved in its type 3 message."""

    account: str
    channel_bindings: bytes | None
    target: str


@dataclass
class ScriptedServer:
    """Serves `pages` on localhost until it is closed.

    Args:
        logon: demand NTLM before any page.
        offers: schemes of the 401.
        refusal: answer this to a complete handshake instead of believing it.
        hang_up: close the connection after each answer, as a careless proxy does.
        close_first: close it after the first 401, as some servers do.
    """

    identity: Identity
    pages: Pages
    logon: bool = True
    offers: tuple[str, ...] = OFFERS
    refusal: Reply | None = None
    hang_up: bool = False
    close_first: bool = False
    seen: list[Seen] = field(default_factory=list)
    authenticated: list[Proof] = field(default_factory=list)
    port: int = 0

    def __post_init__(self) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "server.pem"
            key = self.identity.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            chain = [self.identity.certificate, *self.identity.above]
            path.write_bytes(key + b"".join(each.public_bytes(Encoding.PEM) for each in chain))
            self._context.load_cert_chain(path)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._count = 0
        self._open: list[socket.socket] = []
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        self._stopping.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in self._open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)

    def wait_for_close(self, seconds: float) -> None:
        """For pages that stay silent: until the test is over."""
        self._stopping.wait(seconds)

    @property
    def posts(self) -> list[Seen]:
        return [each for each in self.seen if each.method == "POST"]

    # -- inside

    def _accept(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            self._count += 1
            thread = threading.Thread(target=self._connection, args=(plain, self._count), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _connection(self, plain: socket.socket, number: int) -> None:
        with contextlib.suppress(OSError, Cut), plain:
            plain.settimeout(20)
            with self._context.wrap_socket(plain, server_side=True) as secured:
                self._open.append(secured)
                self._serve(secured, number)

    def _serve(self, secured: ssl.SSLSocket, number: int) -> None:
        logged_on, challenged = not self.logon, False
        buffer = secured.makefile("rb")
        with buffer:
            while (request := _read(buffer, number)) is not None:
                self.seen.append(request)
                if logged_on:
                    reply = self.pages(request)
                else:
                    challenge = self._logon(request, challenged)
                    logged_on, challenged = challenge is None, True
                    reply = challenge or self.pages(request)
                secured.sendall(reply.octets(close=self.hang_up))
                if self.hang_up or ("Connection", "close") in reply.headers or reply.cut_after is not None:
                    return

    def _logon(self, request: Seen, challenged: bool) -> Reply | None:
        scheme, _, data = request.headers.get("authorization", "").partition(" ")
        token = base64.b64decode(data) if scheme.lower() == "ntlm" else b""
        if token[8:9] == b"\x03" and challenged:
            self.authenticated.append(_proof(token))
            return self.refusal
        if token[8:9] == b"\x01" and "NTLM" in self.offers:
            return Reply(
                status=401, headers=(("WWW-Authenticate", f"NTLM {base64.b64encode(_challenge()).decode()}"),)
            )
        headers = [("WWW-Authenticate", offer) for offer in self.offers]
        if self.close_first and not challenged:
            headers.append(("Connection", "close"))
        return Reply("<h1>401</h1>", 401, headers=tuple(headers))


def _challenge() -> bytes:
    flags = (
        NegotiateFlags.UNICODE
        | NegotiateFlags.NTLM
        | NegotiateFlags.REQUEST_TARGET
        | NegotiateFlags.TARGET_INFO
        | NegotiateFlags.EXTENDED_SESSION_SECURITY
        | NegotiateFlags.KEY_128
        | NegotiateFlags.ALWAYS_SIGN
    )
    info = TargetInfo(((AvId.DNS_DOMAIN_NAME, "corp.example".encode("utf-16-le")),))
    return ChallengeMessage(flags, b"\x01\x02\x03\x04\x05\x06\x07\x08", "CORP", info).encode()


def _proof(token: bytes) -> Proof:
    message = AuthenticateMessage.parse(token)
    info = NtlmV2Response.parse(message.nt_response).target_info
    return Proof(f"{message.domain}\\{message.user}", info.get(AvId.CHANNEL_BINDINGS), info.target_name)


def _read(buffer: object, number: int) -> Seen | None:
    readline: Callable[[], bytes] = buffer.readline  # type: ignore[attr-defined]
    start = readline().decode("latin-1").split()
    if len(start) < 2:
        return None
    headers = {}
    while line := readline().decode("latin-1").strip():
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    length = int(headers.get("content-length", "0"))
    body: bytes = buffer.read(length) if length else b""  # type: ignore[attr-defined]
    return Seen(number, start[0], start[1], headers, body)


@contextlib.contextmanager
def serving(server: ScriptedServer) -> Iterator[ScriptedServer]:
    try:
        yield server
    finally:
        server.close()
