"""What Web Enrollment does with the door: submit, retrieve, the CA's own certificates and CRLs, templates on offer.

Plain calls without HTTP or HTML. The caller comes with each call and is bound to the door there; rights, and whose
request may be seen, are the CA's decision.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from certwright.adcs.errors import BadRequest, InvalidArgument, NoSuchRequest
from certwright.adcs.interfaces import AsyncCertRequest
from certwright.adcs.properties import LATEST, CaProperty, CaType, PropertyValue
from certwright.adcs.request import Disposition, Response
from certwright.adcs.requester import Requester
from certwright.adcs.template import CertificateTemplate
from certwright.connectors.registry import Registry
from certwright.pki.certificate import CertificateView
from certwright.pki.cms import certs_only, parse_certs_only
from certwright.wire.certsrv import SubmitForm

MAX_CA_CERTIFICATES: Final = 64
"""How many CA certificates are looked through for the one that signed a request's certificate."""


@dataclass(frozen=True, slots=True)
class KnownRequest:
    """The state of a request as its requester sees it; `response` is None when the CA shows them none."""

    request_id: int
    response: Response | None

    @property
    def disposition(self) -> Disposition | None:
        return None if self.response is None else self.response.disposition


class EnrollmentService:
    """The operations of the pages on one CA.

    Args:
        registry: every CA of this installation.
        ca_config: the CA these pages are for; empty means the first one.
    """

    def __init__(self, registry: Registry, ca_config: str = "") -> None:
        self._registry = registry
        self._config = ca_config

    def door(self, requester: Requester) -> AsyncCertRequest:
        """The CA as this caller. Raises `CaUnreachable` when there is none yet."""
        return self._registry.connect_async(self._config, requester)

    def config(self) -> str:
        """The CA's configuration string. Raises as `door`."""
        return self._registry.config(self._config)

    async def submit(self, requester: Requester, form: SubmitForm) -> Response:
        """Hand in the form's request.

        What cannot be read as base64 is handed in as it came: the CA records it like any other failed request.

        Raises:
            AdcsError: no request in the form, or the CA answers without a decision.
        """
        if not form.request.strip("\x00 \t\r\n"):
            raise InvalidArgument("The form holds no certificate request: paste one into the field and submit again.")
        attributes = form.request_attributes()
        try:
            request = form.request_der()
        except BadRequest:
            request = form.request.encode("utf-8", "replace")
        return await self.door(requester).submit(request, attributes)

    async def retrieve(self, requester: Requester, request_id: int) -> Response:
        return await self.door(requester).retrieve(request_id)

    async def known_requests(self, requester: Requester, request_ids: Sequence[int]) -> list[KnownRequest]:
        """The state of several requests; one that the CA does not show is listed without an answer."""
        door = self.door(requester)
        found = []
        for request_id in request_ids:
            try:
                found.append(KnownRequest(request_id, await door.retrieve(request_id)))
            except NoSuchRequest:
                found.append(KnownRequest(request_id, None))
        return found

    async def chain_of(self, requester: Requester, certificate: bytes) -> bytes:
        """A certificate and the CA certificates above it, as certs-only CMS, leaf first."""
        door = self.door(requester)
        index = await self._signer_index(door, certificate)
        chain = _octets(await door.ca_property(CaProperty.CA_SIGNATURE_CERTIFICATE_CHAIN, index))
        return certs_only((certificate, *parse_certs_only(chain)))

    async def ca_certificate(self, requester: Requester, index: int = LATEST) -> bytes:
        return _octets(await self.door(requester).ca_property(CaProperty.CA_SIGNATURE_CERTIFICATE, index))

    async def ca_chain(self, requester: Requester, index: int = LATEST) -> bytes:
        return _octets(await self.door(requester).ca_property(CaProperty.CA_SIGNATURE_CERTIFICATE_CHAIN, index))

    async def crl(self, requester: Requester, *, delta: bool, index: int = LATEST) -> bytes:
        prop = CaProperty.DELTA_CRL if delta else CaProperty.BASE_CRL
        return _octets(await self.door(requester).ca_property(prop, index))

    async def ca_certificates(self, requester: Requester) -> list[CertificateView]:
        """Every certificate of the CA, by index."""
        door = self.door(requester)
        count = await self._certificate_count(door)
        return [
            CertificateView.parse(_octets(await door.ca_property(CaProperty.CA_SIGNATURE_CERTIFICATE, index)))
            for index in range(count)
        ]

    async def delta_crls(self, requester: Requester, count: int) -> frozenset[int]:
        """Those of the first `count` CA certificates whose key has a delta CRL now."""
        door = self.door(requester)
        found: set[int] = set()
        for index in range(count):
            try:
                await door.ca_property(CaProperty.DELTA_CRL, index)
            except InvalidArgument:  # there is none
                continue
            found.add(index)
        return frozenset(found)

    async def templates(self, requester: Requester) -> Sequence[CertificateTemplate] | None:
        """The templates on offer to this caller, by display name; None for a CA that knows no templates.

        Left out are those whose requests a person signs beforehand: no form can make such a request.
        """
        door = self.door(requester)
        ca_type = await door.ca_property(CaProperty.CA_TYPE)
        if isinstance(ca_type, int) and not CaType(ca_type).is_enterprise:
            return None
        offered = await asyncio.to_thread(self._registry.enrollable_templates, door.config, requester)
        return sorted(
            (template for template in offered if template.ra_signatures <= 0),
            key=lambda template: (template.display_name.casefold(), template.cn),
        )

    async def _signer_index(self, door: AsyncCertRequest, certificate: bytes) -> int:
        """The index of the CA certificate whose key signed this one; the newest where none says so."""
        count = await self._certificate_count(door)
        if count == 1:
            return LATEST
        wanted = CertificateView.parse(certificate).authority_key_identifier
        for index in reversed(range(count)):
            candidate = _octets(await door.ca_property(CaProperty.CA_SIGNATURE_CERTIFICATE, index))
            if CertificateView.parse(candidate).subject_key_identifier == wanted:
                return index
        return LATEST

    @staticmethod
    async def _certificate_count(door: AsyncCertRequest) -> int:
        count = await door.ca_property(CaProperty.CA_SIGNATURE_CERTIFICATE_COUNT)
        return min(max(count, 1), MAX_CA_CERTIFICATES) if isinstance(count, int) else 1


def _octets(value: PropertyValue) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError(f"the CA answered a property with {type(value).__name__} where bytes are due")
    return value
