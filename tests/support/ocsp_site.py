"""A running server whose Online Responder is enabled, and files of its clients; this process issues and revokes."""

from __future__ import annotations

import base64
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import ocsp as peer

from certwright.adcs.request import template_attributes
from certwright.adcs.roles import RevocationReason
from certwright.pki import armor
from certwright.server.composition import Installation
from certwright.server.home import Home
from tests.support.programs import openssl
from tests.support.requests import web_server_request
from tests.support.server import RunningServer


class Site:
    """The running server, and files of its clients."""

    def __init__(self, server: RunningServer, installation: Installation, folder: Path) -> None:
        self.server = server
        self.installation = installation
        self.operator = installation.operator()
        self.folder = folder
        self.issuer = folder / "issuer.pem"
        self.chain = folder / "chain.pem"
        self.numbers = 0

    @property
    def url(self) -> str:
        return f"{self.server.http}/ocsp"

    def issue(self, name: str = "www.corp.example", key: ec.EllipticCurvePrivateKey | None = None) -> Path:
        """A new certificate, as a file."""
        self.numbers += 1
        path = self.folder / f"{self.numbers}.pem"
        door = self.installation.registry.connect("", self.operator)
        request = web_server_request(name, key=key) if key is not None else web_server_request(name)
        issued = door.submit(request, template_attributes("WebServer"))
        assert issued.certificate is not None
        path.write_text(armor.armor(armor.CERTIFICATE, issued.certificate))
        return path

    def revoke(self, certificate: Path, reason: RevocationReason = RevocationReason.KEY_COMPROMISE) -> None:
        self.installation.registry.administer("", self.operator).revoke(serial(certificate), reason)

    def ask(self, *certificates: Path, options: tuple[str, ...] = ()) -> str:
        """What OpenSSL says after it verified the answer."""
        named = [option for each in certificates for option in ("-cert", str(each))]
        text = openssl(
            *("ocsp", "-issuer", str(self.issuer), *named, "-url", self.url, "-CAfile", str(self.chain), *options)
        )
        assert "Response verify OK" in text
        return text

    def path(self, certificate: Path) -> str:
        """What a GET for it carries behind the service's address: no nonce, SHA-1."""
        question = self.folder / "question.der"
        openssl(
            *("ocsp", "-issuer", str(self.issuer), "-cert", str(certificate), "-no_nonce", "-reqout", str(question))
        )
        return quote(base64.b64encode(question.read_bytes()).decode(), safe="")

    def get(self, certificate: Path) -> peer.OCSPResponse:
        """The answer to a GET, as nginx fetches staples."""
        return peer.load_der_ocsp_response(fetched(f"{self.url}/{self.path(certificate)}"))


def fetched(url: str, body: bytes | None = None) -> bytes:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(urllib.request.Request(url, data=body), timeout=10) as answer:
        content: bytes = answer.read()
    return content


def serial(certificate: Path) -> str:
    return f"{x509.load_pem_x509_certificate(certificate.read_bytes()).serial_number:x}"


def site_of(server: RunningServer, installation: Installation, folder: Path) -> Site:
    """A server that runs already, with the files that its clients need."""
    site = Site(server, installation, folder)
    chain = [armor.armor(armor.CERTIFICATE, each) for each in installation.chain()]
    site.issuer.write_text(chain[0])
    site.chain.write_text("".join(chain))
    return site


@contextmanager
def running_site(folder: Path, *options: str) -> Iterator[Site]:
    """One of its own, initialised and served.

    Args:
        options: of `init`.
    """
    server = RunningServer.initialise(folder, *options).start()
    try:
        server.cli("responder", "enable")
        assert server.awaited_events(lambda event: event["event"] == "online_responder_serves")
        with Installation.open(Home.open(server.home)) as installation:
            installation.start_issuers()  # beside the server's
            yield site_of(server, installation, folder)
    finally:
        server.stop()
