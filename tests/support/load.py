"""Clients that submit as fast as a server answers, and remember what it acknowledged."""

from __future__ import annotations

import base64
import http.client
import re
import threading
import time
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from urllib.parse import urlencode

import pytest

from certwright.pki import armor
from tests.support.installation import PASSWORD, People
from tests.support.requests import web_server_request
from tests.support.server import DOMAIN, NETBIOS, RunningServer

_LINK: Final = re.compile(rb"certnew\.cer\?ReqID=(\d+)&")
RETRY: Final = 0.1
"""Seconds between attempts to reach a server that is down."""
_FORM: Final = {"Content-Type": "application/x-www-form-urlencoded", "User-Agent": "Mozilla/5.0"}


class Session(Protocol):
    """One authenticated keep-alive connection. Raises `OSError` or `HTTPException` when it breaks."""

    def submit(self, body: str) -> tuple[int, bytes]: ...

    def fetch(self, request_id: int) -> tuple[int, bytes]: ...

    def close(self) -> None: ...


class BasicSession:
    """Basic on a bare HTTP/1.1 connection."""

    def __init__(self, server: RunningServer, account: str) -> None:
        self._connection = http.client.HTTPSConnection(
            "localhost", server.https_port, timeout=20, context=server.tls_context()
        )
        credentials = base64.b64encode(f"{NETBIOS}\\{account}:{PASSWORD}".encode()).decode()
        self._headers = {"Authorization": f"Basic {credentials}"}

    def submit(self, body: str) -> tuple[int, bytes]:
        return self._ask("POST", "certfnsh.asp", body, self._headers | _FORM)

    def fetch(self, request_id: int) -> tuple[int, bytes]:
        return self._ask("GET", f"certnew.cer?ReqID={request_id}&Enc=bin", None, self._headers)

    def close(self) -> None:
        self._connection.close()

    def _ask(self, method: str, page: str, body: str | None, headers: dict[str, str]) -> tuple[int, bytes]:
        self._connection.request(method, f"/certsrv/{page}", body, headers)
        answer = self._connection.getresponse()
        return answer.status, answer.read()


class NtlmSession:
    """NTLM with channel bindings, by requests-ntlm."""

    def __init__(self, server: RunningServer, account: str) -> None:
        requests = pytest.importorskip("requests")
        ntlm = pytest.importorskip("requests_ntlm", reason="requests-ntlm is not installed")
        self._url = f"{server.https}/certsrv/"
        self._session: Any = requests.Session()
        self._session.trust_env = False  # a bundle named in the environment would replace our root
        self._session.verify = str(server.root_certificate)
        self._session.auth = ntlm.HttpNtlmAuth(f"{NETBIOS}\\{account}", PASSWORD)

    def submit(self, body: str) -> tuple[int, bytes]:
        answer = self._session.post(f"{self._url}certfnsh.asp", data=body, headers=_FORM, timeout=20)
        return answer.status_code, answer.content

    def fetch(self, request_id: int) -> tuple[int, bytes]:
        answer = self._session.get(f"{self._url}certnew.cer?ReqID={request_id}&Enc=bin", timeout=20)
        return answer.status_code, answer.content

    def close(self) -> None:
        self._session.close()


@dataclass
class Load:
    """Threads that submit until they are told to stop, reconnecting as often as they have to."""

    server: RunningServer
    threads: int = 4
    acknowledged: list[int] = field(default_factory=list)  # request IDs, each as often as somebody was told it
    certificates: dict[int, bytes] = field(default_factory=dict)
    surprises: list[str] = field(default_factory=list)  # answers that are neither success nor a broken connection

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._workers: list[threading.Thread] = []

    def start(self) -> Load:
        for number in range(self.threads):
            account = (People.ENROLLEE, People.OFFICER)[number % 2]
            kind = (BasicSession, NtlmSession)[number // 2 % 2]
            worker = threading.Thread(target=self._work, args=(kind, account), name=f"client {number}", daemon=True)
            self._workers.append(worker)
            worker.start()
        return self

    def stop(self) -> None:
        self._stop.set()
        for worker in self._workers:
            worker.join(30)
            assert not worker.is_alive()

    def await_more(self, count: int, patience: float = 30.0) -> None:
        """Until so many more requests were acknowledged."""
        wanted = len(self.acknowledged) + count
        deadline = time.monotonic() + patience
        while len(self.acknowledged) < wanted:
            assert time.monotonic() < deadline, self.surprises[-3:]
            time.sleep(0.002)

    def _work(self, kind: type[BasicSession] | type[NtlmSession], account: str) -> None:
        pem = armor.armor(armor.CERTIFICATE_REQUEST, web_server_request(f"load.{DOMAIN}"))
        body = urlencode({"Mode": "newreq", "CertRequest": pem, "CertAttrib": "CertificateTemplate:WebServer\r\n"})
        session: Session | None = None
        while not self._stop.is_set():
            try:
                session = session or kind(self.server, account)
                self._once(session, body)
            except (OSError, http.client.HTTPException):  # the server is gone, or not there yet
                if session is not None:
                    session.close()
                session = None
                self._stop.wait(RETRY)  # a starting server needs the processor more than its clients
        if session is not None:
            session.close()

    def _once(self, session: Session, body: str) -> None:
        status, page = session.submit(body)
        link = _LINK.search(page)
        if status != 200 or link is None:
            self.surprises.append(f"{status} {page[:2000]!r}")
            return
        request_id = int(link[1])
        self.acknowledged.append(request_id)
        status, certificate = session.fetch(request_id)
        if status != 200 or certificate[:1] != b"\x30":
            self.surprises.append(f"{status} {certificate[:2000]!r}")
            return
        self.certificates[request_id] = certificate
