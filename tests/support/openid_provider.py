"""An OpenID Connect provider for one client, over TLS on the loopback address: authorization code flow with PKCE.

It is strict where a careless client would go wrong: secret, redirect URI and code verifier have to fit, and a code is
good once. OpenID Connect Core 1.0, 3.1; RFC 7636.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import ssl
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.support.scripted_https import Identity, make_authority, make_server

CLIENT_ID: Final = "certwright"
CLIENT_SECRET: Final = "a secret between the two"


@dataclass
class OpenIdServer:
    """The provider. `person` is who is signed in there; None refuses."""

    authority: Identity
    identity: Identity
    port: int = 0
    person: dict[str, Any] | None = field(default_factory=lambda: {"sub": "4711", "name": "Ayla Demir"})
    _codes: dict[str, dict[str, str]] = field(default_factory=dict)
    _tokens: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def issuer(self) -> str:
        return f"https://localhost:{self.port}"

    def authorize(self, url: str) -> str:
        """What a browser does that is sent here: the person agrees, and the browser is sent back to this address.

        Raises:
            AssertionError: the client asks for something else than it should.
        """
        parts = urlsplit(url)
        assert f"{parts.scheme}://{parts.netloc}{parts.path}" == f"{self.issuer}/authorize"
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        assert asked["response_type"] == "code"
        assert asked["client_id"] == CLIENT_ID
        assert asked["code_challenge_method"] == "S256"
        assert "openid" in asked["scope"].split()
        if self.person is None:
            return f"{asked['redirect_uri']}?{urlencode({'error': 'access_denied', 'state': asked['state']})}"
        code = secrets.token_urlsafe(16)
        self._codes[code] = asked
        return f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"

    def token(self, form: dict[str, str]) -> dict[str, Any] | None:
        """The token endpoint; None where the client is not the one the code was made for."""
        asked = self._codes.pop(form.get("code", ""), None)
        if asked is None or self.person is None:
            return None
        challenge = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        fits = (
            base64.urlsafe_b64encode(challenge).rstrip(b"=").decode() == asked["code_challenge"]
            and form.get("redirect_uri") == asked["redirect_uri"]
            and (form.get("client_id"), form.get("client_secret")) == (CLIENT_ID, CLIENT_SECRET)
        )
        if not fits:
            return None
        now = int(time.time())
        access = secrets.token_urlsafe(16)
        self._tokens[access] = self.person
        claims = {"iss": self.issuer, "aud": CLIENT_ID, "iat": now, "exp": now + 300, **self.person}
        signed = jwt.encode(claims, self.identity.key, algorithm="ES256")
        return {"access_token": access, "token_type": "Bearer", "expires_in": 300, "id_token": signed}

    def userinfo(self, authorization: str) -> dict[str, Any] | None:
        return self._tokens.get(authorization.removeprefix("Bearer "))

    @property
    def configuration(self) -> dict[str, Any]:
        """OpenID Connect Discovery 1.0, 4.2."""
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "userinfo_endpoint": f"{self.issuer}/userinfo",
            "jwks_uri": f"{self.issuer}/keys",
            "token_endpoint_auth_methods_supported": ["client_secret_post"],
        }


@contextmanager
def openid_server() -> Iterator[OpenIdServer]:
    """A running provider, with a certificate of a CA of its own."""
    authority = make_authority("Login Root CA")
    provider = OpenIdServer(authority, make_server(authority, "localhost"))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/.well-known/openid-configuration":
                self._answer(provider.configuration)
            elif self.path == "/userinfo":
                self._answer(provider.userinfo(self.headers.get("Authorization", "")))
            else:
                self._answer(None)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            form = {name: values[0] for name, values in parse_qs(body).items()}
            self._answer(provider.token(form) if self.path == "/token" else None)

        def _answer(self, found: dict[str, Any] | None) -> None:
            content = json.dumps(found or {"error": "invalid_request"}).encode()
            self.send_response(200 if found else 400)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Nothing: tests read the answers."""

    server = ThreadingHTTPServer(("localhost", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    key = provider.identity.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with tempfile.NamedTemporaryFile(suffix=".pem") as file:
        file.write(key + provider.identity.pem.encode())
        file.flush()
        context.load_cert_chain(file.name)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    provider.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def trust_file(provider: OpenIdServer, folder: Path) -> Path:
    """The provider's root, as a system keeps it."""
    path = folder / "login-root.pem"
    path.write_text(provider.authority.pem)
    return path
