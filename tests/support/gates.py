"""Doors through which a request may come, for the gate table: each hands a request in and says what became of it.

A new door is a class with `submit` and a line in `DOORS`.
"""

from __future__ import annotations

import base64
import http.client
import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import quote_plus

from certwright.adcs.request import Disposition, RequestAttributes, Response
from certwright.pki import armor
from certwright.server.composition import Installation
from certwright.wire.certsrv.answers import Denied, Issued, Pending, decode_certificate, parse_outcome
from certwright.wire.wstep import TokenResponse
from tests.support.doors import Local
from tests.support.installation import OPERATOR, PASSWORD, People
from tests.support.requests import rsa_key
from tests.support.server import NETBIOS, RunningServer
from tests.support.web_services import CERTIFICATE, NEGOTIATE, USER_NAME, Client, Identity, identity_of

ISSUED: Final = "issued"
PENDING: Final = "pending"
NO_LOGON: Final = "no logon"  # the door let nobody in: no request was made
FAILED: Final = "failed"


@dataclass(frozen=True)
class Outcome:
    """`decision` is one of the words above, or the HRESULT of a denial."""

    decision: str | int
    request_id: int | None = None
    certificate: bytes | None = None


class Gate(Protocol):
    """A door as anybody in `People`. `attributes` are lines such as `CertificateTemplate:WebServer`."""

    def submit(self, account: str, request: bytes, attributes: tuple[str, ...]) -> Outcome: ...

    def close(self) -> None:
        """Let go of what is open."""


class Connector(Gate):
    """`CertRequest` in a process of its own beside the server."""

    def __init__(self, server: RunningServer, installation: Installation) -> None:
        self._door = Local(installation)

    def submit(self, account: str, request: bytes, attributes: tuple[str, ...]) -> Outcome:
        response = self._door.connect(account).submit(request, RequestAttributes.parse("\n".join(attributes)))
        return _outcome(response)


class WebEnrollment:
    """/certsrv over TLS, with Basic."""

    def __init__(self, server: RunningServer, installation: Installation | None = None) -> None:
        self._server = server
        self._connections: dict[str, http.client.HTTPSConnection] = {}

    def close(self) -> None:
        for connection in self._connections.values():
            connection.close()

    def submit(self, account: str, request: bytes, attributes: tuple[str, ...]) -> Outcome:
        if account not in self._connections:
            self._connections[account] = http.client.HTTPSConnection(
                "localhost", self._server.https_port, timeout=30, context=self._server.tls_context()
            )
        connection = self._connections[account]
        credentials = base64.b64encode(f"{NETBIOS}\\{account}:{PASSWORD}".encode()).decode()
        headers = {"Authorization": f"Basic {credentials}"}
        form = {
            "Mode": "newreq",
            "CertRequest": armor.armor(armor.CERTIFICATE_REQUEST, request),
            "CertAttrib": "\r\n".join(attributes) + "\r\n",
            "TargetStoreFlags": "0",
            "SaveCert": "yes",
        }
        body = "&".join(f"{name}={quote_plus(value)}" for name, value in form.items())
        form_type = {"Content-Type": "application/x-www-form-urlencoded"}
        connection.request("POST", "/certsrv/certfnsh.asp", body, headers | form_type)
        answer = connection.getresponse()
        page = answer.read().decode()
        if answer.status in (401, 429):  # refused, or refused too often
            return Outcome(NO_LOGON)
        assert answer.status == 200, page
        match parse_outcome(page):
            case Issued(request_id):
                connection.request("GET", f"/certsrv/certnew.cer?ReqID={request_id}&Enc=bin", headers=headers)
                return Outcome(ISSUED, request_id, decode_certificate(connection.getresponse().read()))
            case Pending(request_id):
                return Outcome(PENDING, request_id)
            case Denied(_, status, request_id):
                return Outcome(FAILED if status is None else status, request_id)
        raise AssertionError(page)


class CommandLine(Gate):
    """`certwright request submit --as ACCOUNT`."""

    def __init__(self, server: RunningServer, installation: Installation) -> None:
        self._server = server

    def submit(self, account: str, request: bytes, attributes: tuple[str, ...]) -> Outcome:
        options = [part for line in attributes for part in ("--attribute", line)]
        done = self._server.run(
            *("request", "submit", "-", "--as", account, "--json", *options),
            data=armor.armor(armor.CERTIFICATE_REQUEST, request),
        )
        if not done.stdout:
            assert done.returncode == 1
            assert "disabled" in done.stderr, done.stderr
            return Outcome(NO_LOGON)
        answer = json.loads(done.stdout)
        pem = answer["certificate"]
        assert done.returncode == (0 if answer["disposition"] in ("issued", "under_submission") else 1)
        return _outcome(
            Response(
                answer["request_id"],
                Disposition[answer["disposition"].upper()],
                int(answer["status"], 16),  # type: ignore[arg-type]
                answer["message"],
                armor.dearmor(pem.encode()) if pem else None,
            )
        )


class EnrollmentWebService:
    """CES, logged on in one of its three ways; attributes go as the context."""

    def __init__(self, how: str, server: RunningServer, installation: Installation) -> None:
        self._how = how
        self._server = server
        self._installation = installation
        self._folder = Path(tempfile.mkdtemp(prefix="certwright-identities-"))
        self._clients: dict[str, Client] = {}
        if how == NEGOTIATE:
            admin = Local(installation).administer(People.CA_ADMINISTRATOR)
            admin.set_configuration({"enrollment-ntlm": "on"})

    def close(self) -> None:
        for client in self._clients.values():
            client.close()
        shutil.rmtree(self._folder)

    def _client(self, account: str) -> Client:
        if account not in self._clients:
            identity = self._identity(account) if self._how == CERTIFICATE else None
            self._clients[account] = Client(self._server, self._how, account, identity=identity, folder=self._folder)
        return self._clients[account]

    def _identity(self, account: str) -> Identity:
        """Also of the one that is disabled: from better days."""
        directory = self._installation.directory_administration
        if account == People.GONE:
            directory.set_enabled(account, True, actor=OPERATOR)
        try:
            return identity_of(self._installation, account, rsa_key(2048, 7))
        finally:
            if account == People.GONE:
                directory.set_enabled(account, False, actor=OPERATOR)

    def submit(self, account: str, request: bytes, attributes: tuple[str, ...]) -> Outcome:
        pairs = (line.partition(":") for line in attributes)
        answer = self._client(account).enroll(request, *((name, value) for name, _, value in pairs))
        if isinstance(answer, TokenResponse):
            assert (answer.certificate == b"") == bool(answer.reference)
            return Outcome(ISSUED if answer.certificate else PENDING, answer.request_id, answer.certificate or None)
        if answer.detail is None:
            assert answer.status in (401, 403, 429) or answer.code == "Sender", answer
            return Outcome(NO_LOGON)
        assert answer.detail.invalid_request
        return Outcome(int(answer.detail.status), answer.detail.request_id)


def _outcome(response: Response) -> Outcome:
    match response.disposition:
        case Disposition.ISSUED:
            return Outcome(ISSUED, response.request_id, response.certificate)
        case Disposition.UNDER_SUBMISSION:
            assert response.certificate is None
            return Outcome(PENDING, response.request_id)
        case Disposition.DENIED:
            assert response.certificate is None
            return Outcome(int(response.status), response.request_id)
    return Outcome(FAILED, response.request_id)


DOORS: Final[dict[str, Callable[[RunningServer, Installation], Gate]]] = {
    "CertRequest": Connector,
    "certsrv": WebEnrollment,
    "command line": CommandLine,
    "CES, user name": partial(EnrollmentWebService, USER_NAME),
    "CES, certificate": partial(EnrollmentWebService, CERTIFICATE),
    "CES, NTLM": partial(EnrollmentWebService, NEGOTIATE),
}
