"""CEP and CES: what the web services add to the answer's bytes and to the certificate.

CEP's answer for 40 templates beside lxml's serialising of the very same document, which is the least that anybody
does who builds an answer as a tree. CES, a message in and an envelope out over one logged-on connection, beside the
same submission through the door of the CA in the same process, full response included: both issue durably on SQLite,
16 at a time, P-256 keys in all requests. Beside them a whole server, as its own processes over TLS: certificates a
second of wall time, 32 kept-alive connections that log on by the user name in their messages.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.serialization import Encoding
from lxml import etree
from tests.support.server import DOMAIN, NETBIOS, RunningServer

from bench.certsrv import CONNECTIONS, P256, RSA, Loaded, remarks, requests_of
from bench.load import Driver, Job
from bench.measure import Contender, Ratio, Suite, WrongResult, in_process
from certwright.adcs.request import RequestFlags, template_attributes
from certwright.adcs.security import SecurityDescriptor
from certwright.auth.connection import Connection
from certwright.auth.http import Authenticated, Challenge
from certwright.auth.throttle import Throttle
from certwright.auth.user_name import UserNameAuthenticator
from certwright.cep.offer import Offer, OfferedCa, PolicyOffer
from certwright.ces.application import EnrollmentWebService, ServedCa, address
from certwright.connectors.local import AsyncLocalCertRequest
from certwright.directory.base import EnrollmentService
from certwright.directory.default_templates import default_templates, new_forest_arcs
from certwright.endpoints.logon import Caller, Logons
from certwright.keystores.base import KeyAlgorithm
from certwright.server import logs
from certwright.server.composition import Installation
from certwright.server.home import Settings
from certwright.server.initialization import Plan, initialize
from certwright.wire import soap, wstep, xcep
from certwright.wire.soap import UserNameToken
from certwright.wire.wstep import RequestSecurityToken, RequestType
from certwright.wire.xcep import CaUri, ClientAuthentication, GetPolicies

TEMPLATES: Final = 40
AT_A_TIME: Final = 16
OF_LXML: Final = 1 / 3
OF_THE_DOOR: Final = 1 / 2
ACCOUNT: Final = "Administrator"
PASSWORD: Final = "correct horse battery staple"
_ADDRESS: Final = "/ca_CES_UsernamePassword/service.svc/CES"
KINDS: Final = {"P-256": KeyAlgorithm.ECDSA_P256, "RSA-2048": KeyAlgorithm.RSA_2048}


# -- CEP -------------------------------------------------------------------------------------------------------------


class _Directory:
    """An installation's directory with more templates published."""

    def __init__(self, installation: Installation) -> None:
        self._directory = installation.directory
        self.domain = self._directory.domain
        known = default_templates(self.domain.sid, new_forest_arcs())
        made = [replace(known[number % len(known)], cn=f"Template{number:02}") for number in range(TEMPLATES)]
        everybody = "D:(OA;;CR;0e10c968-78fb-11d2-90d4-00c04f79dc55;;AU)"
        self._templates = {each.cn: replace(each, security_descriptor=everybody) for each in made}
        self._service = EnrollmentService("ca", "localhost", b"", tuple(self._templates))

    def templates(self) -> Mapping[str, Any]:
        return self._templates

    def enrollment_service(self, ca_name: str) -> EnrollmentService:
        return self._service

    def principal(self, name_or_sid: str) -> Any:
        return self._directory.principal(name_or_sid)


def _cep(installation: Installation) -> list[Contender]:
    ca = OfferedCa(
        "ca",
        installation.chain()[0],
        (CaUri(ClientAuthentication.USER_NAME, "https://localhost" + _ADDRESS, 1, False),),
        SecurityDescriptor.from_sddl("D:(A;;0x200;;;AU)", installation.directory.domain.sid),
    )
    offer = Offer((ca,))
    directory: Any = _Directory(installation)
    policies = PolicyOffer(directory, lambda: offer, lambda: datetime.now(UTC))
    caller = Caller(installation.requester(ACCOUNT))

    def answer(number: int) -> bytes:
        body = policies.body(GetPolicies(), caller, key_based=False)
        return soap.envelope(xcep.GET_POLICIES_RESPONSE, body, relates_to=f"urn:uuid:{number}")

    tree = etree.fromstring(answer(0))
    found = len(tree.findall(f".//{{{xcep.NAMESPACE}}}policy"))

    def check() -> None:
        if found != TEMPLATES:
            raise WrongResult(f"the answer lists {found} templates")

    return [
        in_process(f"CEP, {TEMPLATES} templates", answer, check),
        in_process("lxml serialises that answer", lambda _: etree.tostring(tree)),
    ]


# -- CES -------------------------------------------------------------------------------------------------------------


class _NoNegotiate:
    async def authenticate(self, authorization: bytes | None, connection: Connection) -> Authenticated | Challenge:
        raise WrongResult("nobody negotiates here")


class _Enrolling:
    """One CA and its service in one process, driven some submissions at a time."""

    def __init__(self, stack: ExitStack, kind: str, requests: Sequence[bytes]) -> None:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="certwright-bench-")))
        plan = Plan.make(
            Settings("localhost"),
            dns_domain=DOMAIN,
            netbios=NETBIOS,
            root_key=KeyAlgorithm.ECDSA_P256,
            ca_key=KINDS[kind],
            password=PASSWORD,
        )
        self.installation = stack.enter_context(Installation.open(initialize(folder / "home", plan)))
        self.installation.start()
        self.kind = kind
        self._requests = requests
        self._runner = stack.enter_context(asyncio.Runner())
        config = self.installation.registry.config("")
        requester = self.installation.requester(ACCOUNT)
        door = self.installation.connector.connect_async(config, requester)
        assert isinstance(door, AsyncLocalCertRequest)
        self._door = door
        pool = stack.enter_context(ThreadPoolExecutor(2))
        users = UserNameAuthenticator(self.installation.directory, Throttle(), pool)
        name = self.installation.cas[0].authority.name
        served = ServedCa(name, config, lambda kind: address(name, kind), frozenset)
        self._service = EnrollmentWebService(self.installation.registry, Logons(_NoNegotiate(), users), [served])
        self._path = f"/{name}_CES_UsernamePassword/service.svc/CES"
        self._connections = [Connection(number, "127.0.0.1", tls=True) for number in range(AT_A_TIME)]
        token = UserNameToken(rf"{NETBIOS}\{ACCOUNT}", PASSWORD)
        context = (("CertificateTemplate", "WebServer"),)
        self._messages = [
            soap.request(
                wstep.RST, "", RequestSecurityToken(RequestType.ISSUE, request, context=context).encode(), token=token
            )[0]
            for request in requests
        ]

    def through_the_door(self, flags: RequestFlags) -> Contender:
        async def one(number: int, _place: int) -> bytes:
            response = await self._door.submit(
                self._requests[number % len(self._requests)], template_attributes("WebServer"), flags
            )
            return response.certificate or b""

        words = "with full response" if flags else "plain"
        return self._contender(f"the door, {self.kind} CA, {words}", one)

    def through_ces(self) -> Contender:
        return self._contender(f"CES, {self.kind} CA", self._exchange)

    async def _exchange(self, number: int, place: int) -> bytes:
        message = self._messages[number % len(self._messages)]
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": message}

        async def send(part: Any) -> None:
            sent.append(part)

        scope = {
            "type": "http",
            "method": "POST",
            "path": self._path,
            "headers": [(b"content-type", soap.CONTENT_TYPE.encode())],
            "extensions": {"certwright.connection": self._connections[place]},
        }
        await self._service(scope, receive, send)
        body: bytes = sent[1]["body"]
        return body if sent[0]["status"] == 200 and b">Issued<" in body else b""

    def _contender(self, name: str, one: Callable[[int, int], Awaitable[bytes]]) -> Contender:
        async def some(number: int) -> None:
            first = number * AT_A_TIME
            made = await asyncio.gather(*(one(first + place, place) for place in range(AT_A_TIME)))
            if not all(made):
                raise WrongResult(f"{name}: no certificate")

        return in_process(name, lambda number: self._runner.run(some(number)), makes=AT_A_TIME)


class _EndToEnd(Loaded):
    """A server with an issuing CA of one kind of key, loaded from another process."""

    def __init__(self, stack: ExitStack, ca_key: str, requests: Sequence[bytes]) -> None:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="certwright-bench-")))
        server = RunningServer.initialise(folder, "--ca-key", ca_key)
        server.start()
        stack.callback(server.stop)
        token = UserNameToken(rf"{NETBIOS}\{ACCOUNT}", server.password)
        context = (("CertificateTemplate", "WebServer"),)
        asked = [RequestSecurityToken(RequestType.ISSUE, request, context=context) for request in requests]
        job = Job(
            port=server.https_port,
            path=address(f"{NETBIOS} Issuing CA", ClientAuthentication.USER_NAME),
            content_type=soap.CONTENT_TYPE,
            bodies=[_without_time(soap.request(each.action, "", each.encode(), token=token)[0]) for each in asked],
            marker=">Issued<",
            connections=CONNECTIONS,
            root=str(server.root_certificate),
        )
        driver = stack.enter_context(Driver(job))
        assert server.process is not None
        super().__init__(f"CES end to end, {ca_key} CA", server.process.pid, driver)

    def contender(self) -> Contender:
        return Contender(self.name, self.run, self.check)

    def check(self) -> None:
        """Every good answer says Issued; one is waited for, which also logs the connections on."""
        self.first()


def _without_time(envelope: bytes) -> str:
    """For messages that are made once and sent for minutes."""
    return re.sub(r"<u:Timestamp.*?</u:Timestamp>", "", envelope.decode())


# -- the suite -------------------------------------------------------------------------------------------------------


def suite() -> Suite:
    logs.configure("warning", "json")  # a line for every certificate is written at debug only; here too
    with ExitStack() as stack:
        requests = [request.public_bytes(Encoding.DER) for request in requests_of(64)]
        enrolling = [_Enrolling(stack, kind, requests) for kind in KINDS]
        policies = _cep(enrolling[0].installation)
        servers = [_EndToEnd(stack, kind, requests) for kind in (P256, RSA)]
        contenders = [*policies, *(server.contender() for server in servers)]
        ratios = [Ratio("CEP: of lxml's serialising", policies[0].name, policies[1].name, OF_LXML)]
        for each in enrolling:
            service = each.through_ces()
            full = each.through_the_door(RequestFlags.FULL_RESPONSE)
            plain = each.through_the_door(RequestFlags.DETECT)
            contenders += [service, full, plain]
            ratios += [
                Ratio(f"CES, {each.kind} CA: of the door", service.name, full.name, OF_THE_DOOR),
                Ratio(f"CES, {each.kind} CA: of the door without full response", service.name, plain.name),
            ]
        return Suite(
            "enrollment web services",
            contenders,
            ratios,
            notes=("ratios: one process, no sockets; end to end: TLS, one logon by user name a connection",),
            slice_seconds=0.5,
            most_rounds=12,
            remarks=lambda: remarks(servers),
            close=stack.pop_all().close,
        )
    raise AssertionError("an exit stack swallows nothing")  # for the type checker
