"""What CEP tells whom: templates a caller may enroll or autoenroll for, and the CAs that publish them.

[MS-XCEP] 3.1.4.1.
An answer depends on the caller by what it may see and by its site alone, so bodies are kept by that: whoever sees the
same gets the same octets. CAs of the caller's site stand first and are preferred, as [MS-WCCE] has msPKI-Site-Name.
Nothing here decides: the CA asks for every right again.
"""

from __future__ import annotations

import functools
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import structlog

from certwright.adcs.requester import Sid
from certwright.adcs.roles import CaAccess
from certwright.adcs.security import SecurityDescriptor
from certwright.adcs.template import CertificateTemplate
from certwright.cep.policies import may_renew_by_key, policy_of
from certwright.directory.base import Directory, Domain
from certwright.endpoints.logon import Caller
from certwright.pki.certificate import CertificateView
from certwright.pki.errors import EncodingError
from certwright.wire.soap import CLOCK_SKEW
from certwright.wire.xcep import Ca, CaUri, GetPolicies, Policy, PolicyResponse

log = structlog.get_logger(__name__)

NEXT_UPDATE_HOURS: Final = 8
KEPT: Final = 512
"""Bodies kept, of some hundred KiB at most each; pictures of callers are much smaller."""
KEPT_CALLERS: Final = 10_000

ELSEWHERE: Final = 100
"""What is added to the priorities of a CA that is in another site than the caller: the lowest goes first."""

_NAMESPACE: Final = uuid.UUID("8d8f6f0e-3f41-5c0b-9a3e-8a0c6b1f2d57")


def policy_id(domain: Domain) -> str:
    """The domain's, for good: clients keep what they learned under it, and Group Policy names it too."""
    return f"{{{str(uuid.uuid5(_NAMESPACE, f'{domain.dns_name.lower()} {domain.sid}')).upper()}}}"


@dataclass(frozen=True, slots=True)
class OfferedCa:
    """A CA that clients may be told of."""

    name: str
    certificate: bytes  # DER
    uris: tuple[CaUri, ...]
    security: SecurityDescriptor


@dataclass(frozen=True, slots=True)
class Offer:
    """What the CAs' settings say; the same object as long as nothing changed.

    Args:
        list_all: published templates are listed whoever asks.
        by_key: whoever holds a certificate's key alone may renew it.
    """

    cas: tuple[OfferedCa, ...]
    list_all: bool = False
    by_key: bool = False


class _Seen(NamedTuple):
    """One template as a caller sees it."""

    cn: str
    enroll: bool
    auto_enroll: bool


class _View(NamedTuple):
    """All that an answer depends on, besides the picture."""

    templates: tuple[_Seen, ...]
    enroll_permissions: tuple[bool, ...]  # CA by CA
    site: str = ""  # the caller's, where a CA is in it


class _Picture:
    """Templates, publication and settings at one moment, with everything worked out from them."""

    def __init__(
        self,
        templates: Mapping[str, CertificateTemplate],
        published: tuple[tuple[str, ...], ...],
        offer: Offer,
        domain_sid: Sid,
        sites: tuple[str, ...],
    ) -> None:
        self.templates, self.published, self.offer, self.domain_sid = templates, published, offer, domain_sid
        self.sites = sites  # of the CAs, where they are known
        self.cas_of: dict[str, tuple[int, ...]] = {}
        for number, names in enumerate(published):
            for cn in names:
                if cn in templates:
                    self.cas_of[cn] = (*self.cas_of.get(cn, ()), number)
        self.views: dict[tuple[frozenset[Sid], bool], _View] = {}
        self.bodies: dict[_View, str] = {}

    def is_of(
        self,
        templates: Mapping[str, CertificateTemplate],
        published: tuple[tuple[str, ...], ...],
        offer: Offer,
        sites: tuple[str, ...],
    ) -> bool:
        same = templates is self.templates or templates == self.templates  # the same, read again
        return same and offer is self.offer and published == self.published and sites == self.sites

    def order(self, site: str) -> tuple[int, ...]:
        """The CAs, those of a site first."""
        return tuple(sorted(range(len(self.offer.cas)), key=lambda number: bool(site) and self.sites[number] != site))

    def view_of(self, sids: frozenset[Sid], *, key_based: bool) -> _View:
        found = self.views.get((sids, key_based))
        if found is None:
            seen = (self._seen(cn, sids) for cn in sorted(self.cas_of) if not key_based or self._by_key(cn))
            allowed = tuple(one for one in seen if one.enroll or one.auto_enroll or self.offer.list_all)
            permissions = tuple(bool(ca.security.granted_ca_access(sids) & CaAccess.ENROLL) for ca in self.offer.cas)
            found = _View(allowed, permissions)
            if len(self.views) >= KEPT_CALLERS:
                self.views.clear()
            self.views[sids, key_based] = found
        return found

    def view_of_holder(self, certificate: CertificateView) -> _View:
        """What a certificate's key is good for: the renewal of that certificate, where its template allows it."""
        information = certificate.template
        wanted = information.oid if information is not None else ""
        seen = tuple(
            _Seen(cn, enroll=True, auto_enroll=True)
            for cn in self.cas_of
            if self.offer.by_key and self.templates[cn].oid == wanted and self._by_key(cn)
        )
        return _View(seen, tuple(bool(seen) for _ in self.offer.cas))

    def _by_key(self, cn: str) -> bool:
        return may_renew_by_key(self.templates[cn])

    def _seen(self, cn: str, sids: frozenset[Sid]) -> _Seen:
        """A template whose descriptor nobody can read is open to nobody."""
        try:
            security = _descriptor(self.templates[cn].security_descriptor, self.domain_sid)
        except ValueError as error:
            log.error("template_descriptor_unreadable", template=cn, reason=str(error))
            return _Seen(cn, enroll=False, auto_enroll=False)
        return _Seen(cn, security.may_enroll(sids), security.may_autoenroll(sids))

    def policies(self, view: _View) -> tuple[Policy, ...]:
        """A template that cannot be put into words is left out, and the log says which."""
        found = []
        places = {number: place for place, number in enumerate(self.order(view.site))}
        for cn, enroll, auto_enroll in view.templates:
            template = self.templates[cn]
            cas = tuple(sorted(places[number] for number in self.cas_of[cn]))
            try:
                found.append(policy_of(template, enroll=enroll, auto_enroll=auto_enroll, cas=cas))
            except (EncodingError, ValueError) as error:
                log.error("template_not_listed", template=cn, reason=str(error))
        return tuple(found)

    def cas(self, view: _View) -> tuple[Ca, ...]:
        return tuple(self._ca(number, view) for number in self.order(view.site))

    def _ca(self, number: int, view: _View) -> Ca:
        ca = self.offer.cas[number]
        uris = ca.uris
        if view.site and self.sites[number] != view.site:
            uris = tuple(replace(uri, priority=uri.priority + ELSEWHERE) for uri in uris)
        return Ca(ca.certificate, uris, view.enroll_permissions[number])


@functools.lru_cache(maxsize=512)
def _descriptor(sddl: str, domain_sid: Sid) -> SecurityDescriptor:
    return SecurityDescriptor.from_sddl(sddl, domain_sid)


class PolicyOffer:
    """Answers to GetPolicies. Asks the directory, which may block; may be called from any thread.

    Args:
        offer: what the CAs' settings say now.
        clock: the time, aware, UTC.
        site_of: the site of an address; empty where nobody knows.
    """

    def __init__(
        self,
        directory: Directory,
        offer: Callable[[], Offer],
        clock: Callable[[], datetime],
        site_of: Callable[[str], str] = lambda _: "",
    ) -> None:
        self._directory = directory
        self._offer = offer
        self._clock = clock
        self._site_of = site_of
        self._picture: _Picture | None = None
        self._told: dict[tuple[Sid, bool], tuple[_Picture, _View, datetime]] = {}

    def body(self, request: GetPolicies, caller: Caller, *, key_based: bool) -> str:
        """The body of the answer to one caller at an endpoint, which may be one of key-based renewal."""
        picture = self._current()
        if caller.holds is not None:
            view = picture.view_of_holder(caller.holds) if key_based else _View((), (False,) * len(picture.offer.cas))
        else:
            principal = self._directory.principal(caller.requester.sid)
            sids = principal.sids if principal is not None else caller.requester.sids  # as the policy module sees it
            view = picture.view_of(sids, key_based=key_based)
        if any(picture.sites):
            site = self._site_of(caller.requester.origin)
            view = view._replace(site=site if site in picture.sites else "")
        if (request.oids, request.client_version, request.server_version) != (None, None, None):
            return self._response(picture, view, request).encode()
        if caller.holds is None and self._knows(request, caller.requester.sid, key_based, picture, view):
            return replace(self._empty(), not_changed=True).encode()
        body = picture.bodies.get(view)
        if body is None:
            body = self._response(picture, view, request).encode()
            if len(picture.bodies) >= KEPT:
                picture.bodies.clear()
            picture.bodies[view] = body
        return body

    def _current(self) -> _Picture:
        offer, templates = self._offer(), self._directory.templates()
        services = [self._directory.enrollment_service(ca.name) for ca in offer.cas]
        published = tuple(service.templates if service is not None else () for service in services)
        sites = tuple(service.site if service is not None else "" for service in services)
        picture = self._picture
        if picture is None or not picture.is_of(templates, published, offer, sites):
            picture = self._picture = _Picture(templates, published, offer, self._directory.domain.sid, sites)
            self._told.clear()
        return picture

    def _knows(self, request: GetPolicies, sid: Sid, key_based: bool, picture: _Picture, view: _View) -> bool:
        """Does the caller have this very answer already? 3.1.4.1.1.

        Only what this process told it counts, from the moment on when it was told first and as long as that answer
        was to be used; the clocks may differ by some minutes, so within them it is told once more.
        """
        now = self._clock()
        told = self._told.get((sid, key_based))
        if told is None or told[0] is not picture or told[1] != view:
            if len(self._told) >= KEPT_CALLERS:
                self._told.clear()
            self._told[sid, key_based] = (picture, view, now)
            return False
        known = request.last_update
        return (
            known is not None
            and told[2] + CLOCK_SKEW <= known <= now + CLOCK_SKEW
            and now - known < timedelta(hours=NEXT_UPDATE_HOURS)
        )

    def _empty(self) -> PolicyResponse:
        """Policy server and rhythm."""
        domain = self._directory.domain
        return PolicyResponse(policy_id(domain), f"Enrollment policy of {domain.dns_name}", NEXT_UPDATE_HOURS)

    def _response(self, picture: _Picture, view: _View, request: GetPolicies) -> PolicyResponse:
        """The CAs stand there also when no template does: some clients cannot read an answer without."""
        found = tuple(policy for policy in picture.policies(view) if _passes(request, policy))
        return replace(self._empty(), policies=found, cas=picture.cas(view))


def _passes(request: GetPolicies, policy: Policy) -> bool:
    """The filters of a request. 3.1.4.1.3.22: compatibility levels stand in bits 24 to 27 and 16 to 19."""
    flags = policy.private_key_flags or 0
    if request.oids is not None and policy.oid.value not in request.oids:
        return False
    if request.client_version is not None and flags >> 24 & 0xF > request.client_version:
        return False
    return request.server_version is None or flags >> 16 & 0xF <= request.server_version
