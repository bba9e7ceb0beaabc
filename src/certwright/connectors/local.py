"""The connector to our own CAs: binds a caller to an `Authority` of this process. The only importer of `ca` below
`server` and `cli`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache, partial
from typing import Final, TypeVar

import structlog

from certwright.adcs.errors import HResult, InvalidArgument
from certwright.adcs.interfaces import (
    CrlKind,
    Delivery,
    Forecast,
    Preview,
    Restriction,
    Row,
    SettingDescription,
    Sort,
    Table,
)
from certwright.adcs.properties import CaProperty, PropertyValue
from certwright.adcs.request import NO_ATTRIBUTES, RequestAttributes, RequestFlags, Response
from certwright.adcs.requester import Requester, Sid
from certwright.adcs.roles import RevocationReason
from certwright.adcs.security import SecurityDescriptor
from certwright.adcs.template import CertificateTemplate
from certwright.ca.administration import Administration
from certwright.ca.authority import Authority
from certwright.ca.forecast import forecast
from certwright.ca.issuer import Issuer
from certwright.ca.properties import CaProperties
from certwright.ca.replies import Replies
from certwright.ca.settings import SETTINGS
from certwright.ca.submissions import Along, Submission
from certwright.directory.base import EnrollmentService
from certwright.pki.pkcs10 import VerifiedRequest

log = structlog.get_logger(__name__)

LOOK_UPS: Final = 16
"""Questions to a directory that may be waited for at a time."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class LocalCa:
    """One of our CAs with everything that serves it."""

    config: str
    authority: Authority
    issuer: Issuer
    administration: Administration
    properties: CaProperties
    replies: Replies


class LocalCertRequest:
    """`CertRequest` and, through `asynchronous`, `AsyncCertRequest` of our own CA for one caller."""

    def __init__(self, ca: LocalCa, requester: Requester) -> None:
        self._ca = ca
        self._requester = requester

    @property
    def config(self) -> str:
        return self._ca.config

    def submit(
        self,
        request: bytes,
        attributes: RequestAttributes = NO_ATTRIBUTES,
        flags: RequestFlags = RequestFlags.DETECT,
    ) -> Response:
        submission = self._ca.authority.look_up(self._requester, request, attributes, flags)
        return self.completed(self._ca.issuer.submit(submission), submission)

    def submit_soon(
        self, request: VerifiedRequest, attributes: RequestAttributes, along: Along | None = None
    ) -> Future[Response]:
        """Hand in a PKCS#10 that this process read and verified already; its answer comes later.

        Args:
            along: written in the transaction of the decision, with it or not at all.
        """
        submission = self._ca.authority.look_up(self._requester, request.request.der, attributes, RequestFlags.PKCS10)
        return self._ca.issuer.submit_soon(submission._replace(verified=request, along=along))

    def retrieve(
        self,
        request_id: int | None = None,
        *,
        serial_number: str | None = None,
        flags: RequestFlags = RequestFlags.DETECT,
    ) -> Response:
        found = self._ca.authority.retrieve(self._requester, request_id, serial_number=serial_number)
        return self._ca.replies.complete(found, flags)

    def ca_property(self, prop: CaProperty, index: int = 0) -> PropertyValue:
        return self._ca.properties.read(self._requester, prop, index)

    def completed(self, response: Response, submission: Submission) -> Response:
        """With its full response, if one was asked for."""
        body_part = submission.message.body_part if submission.message is not None else 1
        return self._ca.replies.complete(response, submission.flags, body_part)


class AsyncLocalCertRequest:
    """The same door on an event loop.

    Look-ups in a directory that may block run in `lookups`, which is none where it answers from memory. They have
    threads of their own: a directory that is down keeps nobody from retrieving what was issued.
    """

    def __init__(
        self, ca: LocalCa, requester: Requester, pool: ThreadPoolExecutor, lookups: ThreadPoolExecutor | None
    ) -> None:
        self._ca = ca
        self._requester = requester
        self._pool = pool
        self._lookups = lookups
        self._blocking = LocalCertRequest(ca, requester)

    @property
    def config(self) -> str:
        return self._ca.config

    async def submit(
        self,
        request: bytes,
        attributes: RequestAttributes = NO_ATTRIBUTES,
        flags: RequestFlags = RequestFlags.DETECT,
    ) -> Response:
        look_up = partial(self._ca.authority.look_up, self._requester, request, attributes, flags)
        if self._lookups is None:
            submission = look_up()
        else:
            submission = await asyncio.get_running_loop().run_in_executor(self._lookups, look_up)
        response = await self._ca.issuer.submit_async(submission)
        if not flags & RequestFlags.FULL_RESPONSE:
            return response
        return await self._in_pool(partial(self._blocking.completed, response, submission))

    async def retrieve(
        self,
        request_id: int | None = None,
        *,
        serial_number: str | None = None,
        flags: RequestFlags = RequestFlags.DETECT,
    ) -> Response:
        call = partial(self._blocking.retrieve, request_id, serial_number=serial_number, flags=flags)
        return await self._in_pool(call)

    async def ca_property(self, prop: CaProperty, index: int = 0) -> PropertyValue:
        return await self._in_pool(partial(self._blocking.ca_property, prop, index))

    async def _in_pool(self, call: partial[_T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)


class LocalCertAdmin:
    """`CertAdmin` of our own CA for one officer."""

    def __init__(self, ca: LocalCa, officer: Requester) -> None:
        self._administration = ca.administration
        self._officer = officer

    def resubmit(self, request_id: int, *, fingerprint: str | None = None) -> Response:
        return self._administration.resubmit(self._officer, request_id, fingerprint)

    def deny(self, request_id: int, reason: str = "") -> None:
        self._administration.deny(self._officer, request_id, reason)

    def preview(self, request_id: int) -> Preview:
        return self._administration.preview(self._officer, request_id)

    def revoke(self, serial_number: str, reason: RevocationReason, effective: datetime | None = None) -> None:
        self._administration.revoke(self._officer, serial_number, reason, effective)

    def publish_crls(self, kind: CrlKind = CrlKind.BASE_AND_DELTA) -> None:
        self._administration.publish_crls(self._officer, kind)

    def deliveries(self) -> Sequence[Delivery]:
        return self._administration.deliveries(self._officer)

    def view(
        self,
        table: Table,
        where: Sequence[Restriction] = (),
        columns: Sequence[str] = (),
        sort: Sort | None = None,
        limit: int | None = None,
    ) -> Iterator[Row]:
        return self._administration.view(self._officer, table, where, columns, sort, limit)

    def count(self, table: Table, by: str, where: Sequence[Restriction] = ()) -> Mapping[object, int]:
        return self._administration.count(self._officer, table, by, where)

    def request_row(self, request_id: int) -> Row:
        return self._administration.request_row(self._officer, request_id)

    def set_attributes(self, request_id: int, attributes: RequestAttributes) -> None:
        self._administration.set_attributes(self._officer, request_id, attributes)

    def set_extension(self, request_id: int, oid: str, value: bytes, critical: bool) -> None:
        self._administration.set_extension(self._officer, request_id, oid, value, critical)

    def configuration(self) -> Mapping[str, str]:
        return self._administration.configuration(self._officer)

    def describe_settings(self) -> Sequence[SettingDescription]:
        return [SettingDescription(each.key, each.default, each.meaning) for each in SETTINGS.values()]

    def set_configuration(
        self, changes: Mapping[str, str], *, override: Collection[str] = (), reason: str = ""
    ) -> None:
        self._administration.set_configuration(self._officer, changes, override, reason)


class LocalConnector:
    """Every CA of this installation, the issuing one first.

    Args:
        cas: in the order in which they are offered.
        inline_directory: the directory answers from memory, so look-ups may run on the event loop.
    """

    def __init__(self, cas: Sequence[LocalCa], *, inline_directory: bool) -> None:
        self._cas = {ca.config: ca for ca in cas}
        self._pool = ThreadPoolExecutor(4, thread_name_prefix="ca reads")
        self._lookups = (
            None if inline_directory else ThreadPoolExecutor(LOOK_UPS, thread_name_prefix="directory look-ups")
        )

    def offer(self, cas: Sequence[LocalCa]) -> None:
        """These from now on: those that were there, and others whose issuers run if ours do."""
        self._cas = {ca.config: ca for ca in cas}

    def configs(self) -> Sequence[str]:
        return list(self._cas)

    def connect(self, config: str, requester: Requester) -> LocalCertRequest:
        return LocalCertRequest(self.ca(config), requester)

    def connect_async(self, config: str, requester: Requester) -> AsyncLocalCertRequest:
        return AsyncLocalCertRequest(self.ca(config), requester, self._pool, self._lookups)

    def administer(self, config: str, requester: Requester) -> LocalCertAdmin:
        return LocalCertAdmin(self.ca(config), requester)

    def enrollment_services(self) -> Sequence[EnrollmentService]:
        services = (ca.authority.directory.enrollment_service(ca.authority.name) for ca in self._cas.values())
        return [service for service in services if service is not None]

    def enrollable_templates(self, config: str, requester: Requester) -> Sequence[CertificateTemplate]:
        """Published by the CA, and the template's security descriptor grants Enroll. [MS-CRTD] 2.5.1."""
        authority = self.ca(config).authority
        directory = authority.directory
        service = directory.enrollment_service(authority.name)
        published = frozenset(service.templates) if service else frozenset()
        principal = directory.principal(requester.sid)
        sids = principal.sids if principal is not None else requester.sids  # as the policy module sees the caller
        domain_sid = directory.domain.sid
        return [
            template
            for cn, template in directory.templates().items()
            if cn in published and _may_enroll(template, domain_sid, sids)
        ]

    def forecast(self, config: str, requester: Requester, request: bytes, attributes: RequestAttributes) -> Forecast:
        return forecast(self.ca(config).authority, requester, request, attributes)

    def ca(self, config: str) -> LocalCa:
        try:
            return self._cas[config]
        except KeyError:
            raise InvalidArgument(f"there is no CA {config!r} here", HResult.E_INVALIDARG) from None

    def start(self) -> None:
        """Close what a crash left open, then take submissions."""
        for ca in self._cas.values():
            ca.authority.recover()
            ca.issuer.start()

    def stop(self) -> None:
        """Finish what was accepted; refuse the rest."""
        for ca in self._cas.values():
            ca.issuer.stop()
        self._pool.shutdown(wait=True)
        if self._lookups is not None:
            self._lookups.shutdown(wait=True)

    @property
    def is_alive(self) -> bool:
        return all(ca.issuer.is_alive for ca in self._cas.values())


def _may_enroll(template: CertificateTemplate, domain_sid: Sid, sids: frozenset[Sid]) -> bool:
    """A template whose descriptor nobody can read is open to nobody."""
    try:
        return _descriptor(template.security_descriptor, domain_sid).may_enroll(sids)
    except ValueError as error:
        log.error("template_descriptor_unreadable", template=template.cn, reason=str(error))
        return False


@lru_cache(maxsize=512)
def _descriptor(sddl: str, domain_sid: Sid) -> SecurityDescriptor:
    return SecurityDescriptor.from_sddl(sddl, domain_sid)
