"""NDES as this process answers for it: services put together from their settings, for both listeners.

Off until an administrator enables it: it takes messages from anybody who reaches the port, without a logon, so a
host that needs it not has none of it. How it is switched on and kept is in `server/device_setup.py`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import unquote

from certwright.auth.throttle import Throttle
from certwright.connectors.local import LocalCertRequest
from certwright.endpoints import plain
from certwright.endpoints.asgi import Asgi, Reply
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
from certwright.ndes.notebook import Notebook
from certwright.ndes.registration_authority import RegistrationAuthority
from certwright.ndes.requests import DeviceRequests
from certwright.ndes.rollover import Shown
from certwright.ndes.settings import NdesSettings
from certwright.ndes.unfinished import Unfinished
from certwright.pki.names import sanitized_name
from certwright.server.composition import Installation
from certwright.server.device_upkeep import (
    ServiceTelling,
    challenges,
    find_one,
    look,
    policy_keeper,
    settle_after_start,
)
from certwright.server.domain_logons import OwnCertificates
from certwright.wire.scep import MAX_MESSAGE


def registration_authority(installation: Installation, ca: str = "") -> RegistrationAuthority:
    """The one for a CA: keys of its own, below the folder of the issuing CA's."""
    folder = installation.home.ndes
    name = installation.ca(ca).authority.name
    if name != installation.ca().authority.name:
        folder = folder / sanitized_name(name)
    return RegistrationAuthority(folder, lambda: SoftwareKeyStore(folder, installation.sealer))


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
        self._owner = installation.home.lock_identity("serve")
        self._notebook = Notebook(installation.database)
        self._chains = Chains()
        self._standing = OwnCertificates(installation)
        self._find_request = find_one(installation)
        self._lock = threading.Lock()
        self._parts: dict[str, ServiceParts] = {}
        self._told: dict[str, ServiceTelling] = {}
        self._authorities: dict[str, RegistrationAuthority] = {}
        self._service = DeviceService(self._find, self._failures, waits=installation.active_directory is not None)

    def application(self, authenticator: Authenticator) -> Sequence[tuple[Callable[[str], bool], Asgi]]:
        """For the HTTPS listener, with its addresses."""
        application = NdesApplication(self._service, authenticator)
        return ((is_device_address, application), (is_admin_address, application))

    def plain(self) -> Mapping[bytes, PlainDevices]:
        """For the plain HTTP listener, by path."""
        return {path: PlainDevices(self._service, path.decode()) for path in DEVICE_PATHS}

    def start(self) -> None:
        """Settle what processes before this one left in the middle, before anybody is answered."""
        unfinished = Unfinished(
            self._installation.database, look(self._installation), self._telling, self._installation.clock
        )
        settle_after_start(self._installation, unfinished, self._owner)

    def close(self) -> None:
        self._service.close()
        for telling in self._told.values():
            telling.close()

    def _telling(self, service: str) -> ServiceTelling | None:
        return self._told.get(service) if self._find(service) is not None else None

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
        telling = self._told[name] = ServiceTelling(installation, own, policies)
        requests = DeviceRequests(
            installation.database,
            self._notebook,
            policies,
            telling.notices,
            self._chains,
            self._throttle,
            installation.clock,
            self._find_request,
            self._owner,
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

    def _connect(self, settings: NdesSettings, peer: str) -> LocalCertRequest:
        requester = self._installation.requester(settings.account, peer)
        return self._installation.connector.connect(self._installation.ca(settings.ca).config, requester)

    def _authority(self, ca: str) -> RegistrationAuthority:
        found = self._authorities.get(ca)
        if found is None:
            with self._lock:
                found = self._authorities.setdefault(ca, registration_authority(self._installation, ca))
        return found


class PlainDevices:
    """The services as the plain HTTP listener asks them: everything takes longer."""

    body_limit = MAX_MESSAGE

    def __init__(self, service: DeviceService, path: str) -> None:
        self._service = service
        self._path = path

    def answer(self, question: plain.Question) -> plain.Reply | None:
        return None

    async def answer_later(self, question: plain.Question) -> plain.Reply:
        """Together with others that wait: a policy module that keeps a device waiting keeps no answer of OCSP."""
        return _plain_reply(await self._service.answer(*self._asked(question)))

    def work_out(self, question: plain.Question) -> plain.Reply:
        return _plain_reply(self._service.answer_now(*self._asked(question)))

    def _asked(self, question: plain.Question) -> tuple[str, str, bytes, bytes, str]:
        path = self._path + unquote(question.path.decode("latin-1"))
        return path, question.method.decode("ascii"), question.query, question.body, question.peer

    def busy(self) -> plain.Reply:
        return plain.Reply(503, b"Content-Type: text/plain\r\nRetry-After: 5\r\n", b"The service is busy.\n")


def _plain_reply(reply: Reply) -> plain.Reply:
    lines = [(b"Content-Type", reply.content_type), (b"Cache-Control", b"no-store"), *reply.headers]
    return plain.Reply(reply.status, b"".join(b"%s: %s\r\n" % line for line in lines), reply.body)
