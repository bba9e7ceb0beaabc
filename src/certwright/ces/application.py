"""The addresses of CES: `/<CA>_CES_<logon>/service.svc/CES`, in any case, with or without a slash at the end."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final
from urllib.parse import quote

from certwright.ces.enrollment import Endpoint, Enrollment
from certwright.connectors.registry import Registry
from certwright.endpoints.asgi import Receive, Reply, Scope, Send
from certwright.endpoints.logon import PATH_WORDS, Logons
from certwright.endpoints.soap_service import SoapService
from certwright.pki.names import sanitized_name
from certwright.wire import wstep
from certwright.wire.xcep import ClientAuthentication

_ADDRESS: Final = re.compile(
    r"/([^/]{1,512})_ces_(kerberos|usernamepassword|certificate)/service\.svc/ces/?", re.IGNORECASE
)
_KINDS: Final = {word.lower(): kind for kind, word in PATH_WORDS.items()}


def is_address(path: str) -> bool:
    """Is this one of CES's? Whether there is such a CA is another question."""
    return _ADDRESS.fullmatch(path) is not None


def address(ca_name: str, kind: ClientAuthentication) -> str:
    """The path at which a CA's service for one kind of logon is told to clients."""
    return f"/{quote(sanitized_name(ca_name), safe='!')}_CES_{PATH_WORDS[kind]}/service.svc/CES"


@dataclass(frozen=True, slots=True)
class ServedCa:
    """A CA that is reached here.

    Args:
        name: its common name; the address has it as it is, or sanitized.
        config: configuration string.
        uris: absolute addresses by kind of logon.
        renewal_only: the kinds at which nothing but renewals is taken, as set now.
    """

    name: str
    config: str
    uris: Callable[[ClientAuthentication], str]
    renewal_only: Callable[[], frozenset[ClientAuthentication]]


class EnrollmentWebService:
    """CES as an ASGI application."""

    def __init__(self, registry: Registry, logons: Logons, cas: Sequence[ServedCa]) -> None:
        self._enrollment = Enrollment(registry)
        self._service = SoapService("CES", wstep.MAX_REQUEST, logons)
        self.serve(cas)

    def serve(self, cas: Sequence[ServedCa]) -> None:
        """Reach these CAs, and no others, from now on."""
        self._endpoints = {
            (name.casefold(), kind): _endpoint(ca, kind)
            for ca in cas
            for kind in PATH_WORDS
            for name in (sanitized_name(ca.name), ca.name)
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        found = _ADDRESS.fullmatch(scope["path"])
        kind = _KINDS[found[2].lower()] if found is not None else ClientAuthentication.ANONYMOUS
        endpoint = self._endpoints.get((found[1].casefold(), kind)) if found is not None else None
        if endpoint is None:
            await Reply.plain(404, "There is no such CA here.").send(send, without_body=scope["method"] == "HEAD")
            return
        operation = partial(self._enrollment.answer, endpoint=endpoint)
        await self._service.serve(scope, receive, send, kind, operation)


def _endpoint(ca: ServedCa, kind: ClientAuthentication) -> Endpoint:
    return Endpoint(ca.config, ca.uris(kind), lambda: kind in ca.renewal_only())
