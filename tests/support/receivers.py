"""Where notifications go in tests: a mail server and a webhook receiver, real ones, on loopback.

The mail server speaks as much of RFC 5321 as a client needs: EHLO, STARTTLS, AUTH PLAIN, MAIL, RCPT, DATA.
"""

from __future__ import annotations

import base64
import contextlib
import http.server
import socketserver
import ssl
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.support.scripted_https import Identity, make_authority, make_server


def server_context(identity: Identity) -> ssl.SSLContext:
    """A TLS server that shows an identity."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "server.pem")
        key = identity.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        above = b"".join(each.public_bytes(Encoding.PEM) for each in identity.above)
        path.write_bytes(key + identity.pem.encode() + above)
        context.load_cert_chain(path)
    return context


@dataclass
class Inbox:
    """A mail server as a test sees and directs it."""

    password: str = ""  # a logon is demanded if there is one
    refuse_recipients: frozenset[str] = frozenset()
    refuse_data: str = ""  # a reply such as `452 full`
    port: int = 0
    ca_pem: str = ""
    mails: list[EmailMessage] = field(default_factory=list)
    envelopes: list[tuple[str, list[str]]] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)
    logons: list[str] = field(default_factory=list)


class _MailHandler(socketserver.StreamRequestHandler):
    timeout = 10

    def handle(self) -> None:
        server = self.server
        assert isinstance(server, _MailServer)
        self.inbox, self.context = server.inbox, server.context
        self.secured = server.from_the_start
        self.logged_on = False
        with contextlib.suppress(OSError):
            if self.secured:
                self._secure()
            self._talk()
        self.rfile.close()
        self.connection.close()

    def _secure(self) -> None:
        self.connection = self.context.wrap_socket(self.connection, server_side=True)
        self.rfile = self.connection.makefile("rb")

    def _say(self, text: str) -> None:
        self.connection.sendall(text.encode() + b"\r\n")

    def _talk(self) -> None:
        sender: str = ""
        recipients: list[str] = []
        self._say("220 test ESMTP")
        while line := self.rfile.readline(2000):
            words = line.decode().strip()
            verb = words.partition(" ")[0].upper()
            if verb == "EHLO":
                offers = ["test"] + ([] if self.secured else ["STARTTLS"])
                offers += ["AUTH PLAIN"] if self.inbox.password else []
                for at, offer in enumerate(offers):
                    self._say(f"250{' ' if at == len(offers) - 1 else '-'}{offer}")
            elif verb == "STARTTLS":
                self._say("220 go ahead")
                self._secure()
                self.secured = True
            elif verb == "AUTH":
                self._log_on(words)
            elif verb == "MAIL":
                if self.inbox.password and not self.logged_on:
                    self._say("530 log on first")
                else:
                    sender, recipients = words.partition("<")[2].partition(">")[0], []
                    self._say("250 ok")
            elif verb == "RCPT":
                who = words.partition("<")[2].partition(">")[0]
                if who in self.inbox.refuse_recipients:
                    self._say("550 nobody of that name")
                else:
                    recipients.append(who)
                    self._say("250 ok")
            elif verb == "DATA":
                self._take(sender, recipients)
            elif verb == "QUIT":
                self._say("221 bye")
                return
            else:
                self._say("250 ok")

    def _log_on(self, words: str) -> None:
        _, mechanism, *rest = words.split(" ")
        assert mechanism == "PLAIN"
        name, password = base64.b64decode(rest[0]).decode().split("\0")[1:]
        self.inbox.logons.append(name)
        self.logged_on = password == self.inbox.password
        self._say("235 welcome" if self.logged_on else f"535 not with {password}")  # some servers are that careless

    def _take(self, sender: str, recipients: list[str]) -> None:
        self._say("354 go ahead")
        lines = []
        while (line := self.rfile.readline(2000)) not in (b".\r\n", b""):
            lines.append(line.removeprefix(b"."))
        if self.inbox.refuse_data:
            self._say(self.inbox.refuse_data)
            return
        mail = message_from_bytes(b"".join(lines), policy=policy.default)
        assert isinstance(mail, EmailMessage)
        self.inbox.mails.append(mail)
        self.inbox.envelopes.append((sender, recipients))
        self.inbox.encrypted.append(self.secured)
        self._say("250 taken")


class _MailServer(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, inbox: Inbox, context: ssl.SSLContext, from_the_start: bool) -> None:
        super().__init__(("127.0.0.1", 0), _MailHandler)
        self.inbox, self.context, self.from_the_start = inbox, context, from_the_start

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no news."""


@contextlib.contextmanager
def mail_server(*, tls: bool = False, password: str = "") -> Iterator[Inbox]:
    """A mail server for `localhost`; with `tls` from the first octet."""
    root = make_authority("Mail Test CA")
    inbox = Inbox(password=password, ca_pem=root.pem)
    server = _MailServer(inbox, server_context(make_server(root, "localhost")), tls)
    inbox.port = server.server_address[1]
    with _serving(server):
        yield inbox


@dataclass
class Received:
    """One call of a webhook."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """A web server as a test sees and directs it."""

    statuses: list[int] = field(default_factory=list)  # of the next answers; 204 when used up
    location: str = ""
    port: int = 0
    ca_pem: str = ""
    calls: list[Received] = field(default_factory=list)


class _HookServer(http.server.ThreadingHTTPServer):
    daemon_threads = True
    receiver: Receiver

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no news."""


class _HookHandler(http.server.BaseHTTPRequestHandler):
    timeout = 10

    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, _HookServer)
        receiver = server.receiver
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        receiver.calls.append(Received(self.path, headers, body))
        self.send_response(receiver.statuses.pop(0) if receiver.statuses else 204)
        if receiver.location:
            self.send_header("Location", receiver.location)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@contextlib.contextmanager
def webhook_receiver(*, tls: bool = True) -> Iterator[Receiver]:
    """A web server for `localhost`."""
    root = make_authority("Hook Test CA")
    receiver = Receiver(ca_pem=root.pem)
    server = _HookServer(("127.0.0.1", 0), _HookHandler)
    server.receiver = receiver
    receiver.port = server.server_address[1]
    if tls:
        server.socket = server_context(make_server(root, "localhost")).wrap_socket(server.socket, server_side=True)
    with _serving(server):
        yield receiver


@contextlib.contextmanager
def _serving(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
