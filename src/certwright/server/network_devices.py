"""NDES as this process answers for it: services put together from their settings, for both listeners.

Off until an administrator enables it: it takes messages from anybody who reaches the port, without a logon, so a
host that needs it not has none of it. How it is switched on and kept is in `server/device_setup.py`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Final
from urllib.parse import unquote

from certwright.adcs.interfaces import CertRequest, Comparison, Restriction, Sort, Table
from certwright.auth.throttle import Throttle
from certwright.endpoints import plain
from certwright.endpoints.asgi import Asgi
from certwright.keystores.software import SoftwareKeyStore
from certwright.ndes.application import (
    DEVICE_PATHS,
    Authenticator,
    DeviceService,
    NdesApplication,
    ServiceParts,
    admin_path,
    devices_path,
    is_admin_address,
    is_device_address,
)
from certwright.ndes.chains import Chains
from certwright.ndes.challenges import Challenges
from certwright.ndes.enrollment import Enrollment
from certwright.ndes.failures import Failures
from certwright.ndes.giving import Giving
from certwright.ndes.modules import PolicyKeeper
from certwright.ndes.notebook import Notebook
from certwright.ndes.registration_authority import RegistrationAuthority
from certwright.ndes.requests import DeviceRequests
from certwright.ndes.rollover import Shown
from certwright.ndes.settings import NdesSettings
from certwright.pki.names import sanitized_name
from certwright.server.composition import Installation
from certwright.server.domain_logons import OwnCertificates
from certwright.wire.scep import MAX_MESSAGE

WEBHOOK_KEY: Final = "ndes/webhook-key"
"""What the sealed signing key of a webhook is bound to."""
_PAGE: Final = 500


def challenges(installation: Installation, service: str = "") -> Challenges:
    """A service's settings and challenges."""
    return Challenges(
        installation.database, installation.directory, installation.audit.append, installation.clock, service
    )


def registration_authority(installation: Installation, ca: str = "") -> RegistrationAuthority:
    """The one for a CA: keys of its own, below the folder of the issuing CA's."""
    folder = installation.home.ndes
    name = installation.ca(ca).authority.name
    if name != installation.ca().authority.name:
        folder = folder / sanitized_name(name)
    return RegistrationAuthority(folder, lambda: SoftwareKeyStore(folder, installation.sealer))


def policy_keeper(installation: Installation, own: Challenges) -> PolicyKeeper:
    """The policy module of a service. Close it when done."""

    def unseal(sealed: str) -> str:
        return installation.sealer.open(bytes.fromhex(sealed), WEBHOOK_KEY).decode("ascii")

    def ca_certificate() -> bytes:
        return installation.chain(own.settings().ca)[0]

    return PolicyKeeper(own, unseal, installation.clock, ca_certificate)


def device_url(installation: Installation, service: str = "") -> str:
    return installation.home.settings.http_url + devices_path(service)


def admin_url(installation: Installation, service: str = "") -> str:
    return installation.home.settings.https_url + admin_path(service)


class NetworkDevices:
    """Every service over one installation. Close it when done."""

    def __init__(self, installation: Installation, throttle: Throttle) -> None:
        self._installation = installation
        self._throttle = throttle
        self._failures = Failures(installation.database, installation.clock)
        self._notebook = Notebook(installation.database)
        self._chains = Chains()
        self._standing = OwnCertificates(installation)
        self._find_request = _finder(installation)
        self._lock = threading.Lock()
        self._parts: dict[str, ServiceParts] = {}
        self._policies: list[PolicyKeeper] = []
        self._authorities: dict[str, RegistrationAuthority] = {}
        self._service = DeviceService(self._find, self._failures)

    def application(self, authenticator: Authenticator) -> Sequence[tuple[Callable[[str], bool], Asgi]]:
        """For the HTTPS listener, with its addresses."""
        application = NdesApplication(self._service, authenticator)
        return ((is_device_address, application), (is_admin_address, application))

    def plain(self) -> Mapping[bytes, plain.PlainService]:
        """For the plain HTTP listener, by path."""
        return {path: _Plain(self._service, path.decode()) for path in DEVICE_PATHS}

    def close(self) -> None:
        self._service.close()
        for policies in self._policies:
            policies.close()

    def _find(self, name: str) -> ServiceParts | None:
        """One that is enabled; names that strangers invent leave nothing behind."""
        parts = self._parts.get(name)
        if parts is not None:
            return parts
        own = challenges(self._installation, name)
        if not own.settings().enabled:
            return None
        with self._lock:
            if name not in self._parts:
                self._parts[name] = self._made(name, own)
            return self._parts[name]

    def _made(self, name: str, own: Challenges) -> ServiceParts:
        installation = self._installation
        policies = policy_keeper(installation, own)
        self._policies.append(policies)
        requests = DeviceRequests(
            installation.database,
            self._notebook,
            policies,
            self._chains,
            self._throttle,
            installation.clock,
            self._find_request,
        )
        enrollment = Enrollment(
            name,
            requests,
            installation.directory,
            self._chains,
            self._connect,
            self._standing,
            self._throttle,
            installation.clock,
            self._failures.refused,
        )
        shown = Shown(self._authority, self._connect, self._chains, installation.clock)
        return ServiceParts(name, own, enrollment, Giving(own, policies), shown, admin_url(installation, name))

    def _connect(self, settings: NdesSettings, peer: str) -> CertRequest:
        requester = self._installation.requester(settings.account, peer)
        return self._installation.registry.connect(settings.ca, requester)

    def _authority(self, ca: str) -> RegistrationAuthority:
        found = self._authorities.get(ca)
        if found is None:
            with self._lock:
                found = self._authorities.setdefault(ca, registration_authority(self._installation, ca))
        return found


class _Plain:
    """The services as the plain HTTP listener asks them: everything takes longer."""

    body_limit = MAX_MESSAGE

    def __init__(self, service: DeviceService, path: str) -> None:
        self._service = service
        self._path = path

    @property
    def executor(self) -> ThreadPoolExecutor:
        """Threads of its own: a policy module that keeps a device waiting keeps no answer of OCSP."""
        return self._service.executor

    def answer(self, question: plain.Question) -> plain.Reply | None:
        return None

    def work_out(self, question: plain.Question) -> plain.Reply:
        method = question.method.decode("ascii")
        path = self._path + unquote(question.path.decode("latin-1"))
        reply = self._service.answer_now(path, method, question.query, question.body, question.peer)
        lines = [(b"Content-Type", reply.content_type), (b"Cache-Control", b"no-store"), *reply.headers]
        return plain.Reply(reply.status, b"".join(b"%s: %s\r\n" % line for line in lines), reply.body)

    def busy(self) -> plain.Reply:
        return plain.Reply(503, b"Content-Type: text/plain\r\nRetry-After: 5\r\n", b"The service is busy.\n")


def _finder(installation: Installation) -> Callable[[str, str, int], int | None]:
    """Finds a request by its attributes, which are marked. Asked only after a process died in the middle of one, or
    while another thread is at it: goes back from the newest request to the time of the submission."""

    def find(ca: str, attributes: str, since: int) -> int | None:
        database = installation.ca(ca).authority.database
        columns = ("request_id", "submitted_when", "attributes")
        where: tuple[Restriction, ...] = ()
        while True:
            newest_first = Sort("request_id", descending=True)
            rows = list(database.view(Table.REQUESTS, where, columns, newest_first, _PAGE))
            for row in rows:
                if _seconds(row["submitted_when"]) < since:
                    return None
                if row["attributes"] == attributes:
                    return int(str(row["request_id"]))
            if len(rows) < _PAGE:
                return None
            where = (Restriction("request_id", Comparison.LESS, int(str(rows[-1]["request_id"]))),)

    return find


def _seconds(value: object) -> int:
    return int(value.timestamp()) if isinstance(value, datetime) else int(str(value))
