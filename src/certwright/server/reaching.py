"""How this installation's manager reaches services: `manager.reaching`, and what the wiring knows of our own CAs.

A service of kind *local* is used as an account of the embedded directory, and the device user must hold that
account's password: whoever may add device users gains no account by it. A lost request is looked for in the CA's own
table, among what that account handed in. An officer's acts are done as the account that certwright.toml names.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from certwright.adcs.errors import AccessDenied, AdcsError, InvalidArgument, NotSupported
from certwright.adcs.interfaces import CertRequest, Comparison, Forecast, Restriction, Table
from certwright.adcs.request import Response
from certwright.adcs.requester import Requester
from certwright.adcs.roles import RevocationReason
from certwright.connectors.local import LocalCa
from certwright.connectors.probing import Outcome, ProbeStep, Step
from certwright.connectors.reading import ServiceInformation
from certwright.connectors.registry import Registry
from certwright.connectors.service import CredentialKind, ServiceCredential
from certwright.directory.base import LogonDirectory, LogonRefused
from certwright.manager.reaching import ServiceReach
from certwright.manager.values import LostAnswer, Service, ServiceKind
from certwright.pki.errors import EncodingError
from certwright.pki.pkcs10 import CertificationRequest

PASSWORD_TRUSTED: Final = 300.0
"""Seconds for which a password that was right is not checked again: checking is slow on purpose."""
_MAX_REMEMBERED: Final = 1000
_CLOCK_TOLERANCE: Final = timedelta(minutes=5)
_ORIGIN: Final = "manager"


@dataclass(frozen=True, slots=True)
class OwnCas:
    """What reaching our own CAs takes.

    Args:
        requester: an account of the directory as a caller, and where it comes from.
        ca: a CA by name, the issuing one when nothing is named.
        start_issuers: take submissions in this process.
        officer: the account that approves and revokes; empty for none.
    """

    registry: Registry
    directory: LogonDirectory
    requester: Callable[[str, str], Requester]
    ca: Callable[[str], LocalCa]
    start_issuers: Callable[[], None]
    officer: str


class Reaching:
    """`manager.reach.Reach` of an installation."""

    def __init__(self, own: OwnCas) -> None:
        self._own = own
        self._ways = ServiceReach(own.registry, lambda name: own.requester(name, _ORIGIN), self._officer)
        self._remembered: dict[bytes, float] = {}
        self._salt = secrets.token_bytes(32)

    def connect(self, service: Service, credential: ServiceCredential) -> CertRequest:
        if service.kind is ServiceKind.LOCAL:
            self._prove(credential)
            self._own.start_issuers()
        return self._ways.connect(service, credential)

    def information(self, service: Service, credential: ServiceCredential) -> ServiceInformation:
        if service.kind is ServiceKind.LOCAL:
            self._prove(credential)
        return self._ways.information(service, credential)

    def probe(self, service: Service, credential: ServiceCredential) -> Sequence[ProbeStep]:
        if service.kind is ServiceKind.LOCAL:
            try:
                self._prove(credential)
            except AdcsError as error:
                fix = "give the device user the name and the password of an account of this directory"
                return [ProbeStep(Step.AUTHENTICATION, Outcome.FAILED, error.message, fix)]
        return self._ways.probe(service, credential)

    def forecast(self, service: Service, credential: ServiceCredential, request: bytes, template: str) -> Forecast:
        self._ways.own_ca(service)  # whoever is not one of ours is handed no password
        self._prove(credential)
        return self._ways.forecast(service, credential, request, template)

    def find_lost(
        self,
        service: Service,
        credential: ServiceCredential,
        public_key: bytes,
        since: datetime,
        last_known_id: int,
        known: Collection[int],
    ) -> LostAnswer:
        if service.kind is not ServiceKind.LOCAL:
            return self._ways.find_lost(service, credential, public_key, since, last_known_id, known)
        caller = self._prove(credential)
        database = self._own.ca(service.ca).authority.database
        where = (
            Restriction("request_id", Comparison.GREATER, last_known_id),
            Restriction("submitted_when", Comparison.GREATER_OR_EQUAL, (since - _CLOCK_TOLERANCE).isoformat()),
            Restriction("caller_sid", Comparison.EQUAL, str(caller.sid)),
        )
        searched_to = last_known_id
        for row in database.view(Table.REQUESTS, where, ("request_id",), None, None):
            request_id = row["request_id"]
            assert isinstance(request_id, int)
            searched_to = max(searched_to, request_id)
            if request_id not in known and _has_key(database.raw_request(request_id), public_key):
                return LostAnswer(request_id, (), searched_to, certain=True)
        return LostAnswer(None, (), searched_to, certain=True)  # what is not in the CA's table does not exist

    def approve(self, service: Service, request_id: int) -> Response:
        return self._ways.approve(service, request_id)

    def revoke(self, service: Service, serial_number: str, reason: RevocationReason) -> None:
        self._ways.revoke(service, serial_number, reason)

    def _officer(self) -> Requester:
        """Its rights are checked inside the CA, as everybody's."""
        if not self._own.officer:
            raise NotSupported(
                "this installation names no officer for the manager: write the account of a certificate manager as"
                " officer under [manager] in certwright.toml, or decide on it in the CA's own console"
            )
        return self._own.requester(self._own.officer, _ORIGIN)

    def _prove(self, credential: ServiceCredential) -> Requester:
        """The account behind a device user.

        Raises:
            InvalidArgument: there is no such account, it is disabled, or the device user has a keytab.
            AccessDenied: the device user's password is not the account's.
        """
        if credential.kind is not CredentialKind.PASSWORD:
            raise InvalidArgument(f"{credential.username} has a keytab; a CA of this installation takes a password")
        requester = self._own.requester(credential.username, _ORIGIN)
        password = str(credential.secret)
        proof = hashlib.blake2b(f"{requester.sid}\0{password}".encode(), key=self._salt).digest()
        now = time.monotonic()
        if self._remembered.get(proof, 0.0) >= now:
            return requester
        try:
            self._own.directory.verify_password(requester.account, password)
        except LogonRefused as error:
            raise AccessDenied(
                f"the directory does not accept the password of {requester.account}; replace the device user's secret"
            ) from error
        if len(self._remembered) >= _MAX_REMEMBERED:
            self._remembered.clear()
        self._remembered[proof] = now + PASSWORD_TRUSTED
        return requester


def _has_key(request: bytes | None, public_key: bytes) -> bool:
    """Is it a PKCS #10 request for that key? The manager sends nothing else."""
    if request is None:
        return False
    try:
        return CertificationRequest.parse(request).public_key_info == public_key
    except EncodingError:
        return False
