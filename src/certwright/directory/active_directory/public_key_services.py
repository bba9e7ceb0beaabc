"""What the forest keeps under Public Key Services: templates and enrollment services, as one picture kept up to date.

[MS-CRTD] 2, [MS-WCCE] 2.2.2.11 (pKIEnrollmentService). A change is noticed by update sequence numbers
([MS-ADTS] 3.1.1.1.9): a controller is asked for what it changed since the last look, at most every `RECHECK` seconds.
Those numbers are each controller's own, so another controller is asked for everything. What is deleted leaves no
number behind; the list of names is compared every `RELIST` seconds, and whenever something changed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, NamedTuple

import structlog

from certwright.adcs.template import CertificateTemplate
from certwright.directory.active_directory import templates
from certwright.directory.active_directory.ldap import (
    OWNER_GROUP_DACL,
    Entry,
    LdapConnection,
    LdapPool,
    LdapUnavailable,
    Scope,
)
from certwright.directory.base import EnrollmentService

log = structlog.get_logger(__name__)

PATIENCE: Final = 0.25  # seconds that a question waits for that of another thread, while the last picture is good
RECHECK: Final = 0.01  # seconds: less than it takes from another tool's change to somebody's next request
RELIST: Final = 5.0  # seconds
MAX_OBJECTS: Final = 10_000

TEMPLATES: Final = "CN=Certificate Templates"
ENROLLMENT_SERVICES: Final = "CN=Enrollment Services"
_SERVICE_CLASS: Final = "pKIEnrollmentService"


def container(configuration_dn: str) -> str:
    return f"CN=Public Key Services,CN=Services,{configuration_dn}"


class TemplateFinding(NamedTuple):
    """A template that is passed over, and what is wrong with it."""

    cn: str
    reason: str


@dataclass(frozen=True, slots=True)
class Picture:
    """Everything at one moment. Immutable; a change makes a new one."""

    templates: Mapping[str, CertificateTemplate]
    services: Mapping[str, EnrollmentService]  # by cn, casefolded
    findings: tuple[TemplateFinding, ...] = ()


_EMPTY: Final = Picture(MappingProxyType({}), MappingProxyType({}))


class _Object(NamedTuple):
    """What one entry became."""

    usn: int
    template: CertificateTemplate | None = None
    service: EnrollmentService | None = None
    finding: TemplateFinding | None = None


class _Known(NamedTuple):
    """What the last look found."""

    server: str  # dsServiceName of the controller whose numbers these are
    usn: int
    listed: float  # when the names were compared
    objects: Mapping[bytes, _Object]  # by objectGUID


_NOTHING: Final = _Known("", -1, float("-inf"), MappingProxyType({}))


class PublicKeyServices:
    """The picture, and its keeping. Thread-safe; one thread at a time looks, the others use what is there.

    Args:
        tolerance: seconds for which the picture is good without a controller that answers.
    """

    def __init__(
        self,
        pool: LdapPool,
        configuration_dn: Callable[[], str],
        tolerance: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pool = pool
        self._configuration_dn = configuration_dn
        self._tolerance = tolerance
        self._monotonic = monotonic
        self._looking = threading.Lock()
        self._known = _NOTHING
        self._picture = _EMPTY
        self._seen = float("-inf")  # when a controller last said that this is how it is
        self._fresh_until = float("-inf")

    def picture(self) -> Picture:
        """As it is now, or was `RECHECK` seconds ago.

        Raises:
            LdapUnavailable: no controller answers, and the last picture is older than `tolerance`.
        """
        if self._monotonic() < self._fresh_until:
            return self._picture
        if not self._looking.acquire(timeout=PATIENCE):  # what another thread sees may be older than this question
            if self._monotonic() - self._seen <= self._tolerance:
                return self._picture  # the controllers are slow today
            self._looking.acquire()  # for as long as its question takes, at another controller too
        try:
            if self._monotonic() >= self._fresh_until:
                self._look()
        except LdapUnavailable as error:
            return self._good_enough(error)
        finally:
            self._looking.release()
        return self._picture

    def forget(self) -> None:
        """See every change made before this call, at the next question."""
        with self._looking:
            self._known = self._known._replace(listed=float("-inf"))
            self._fresh_until = float("-inf")

    def _good_enough(self, error: LdapUnavailable) -> Picture:
        if self._monotonic() - self._seen <= self._tolerance:
            return self._picture
        raise error

    def _look(self) -> None:
        asked = self._monotonic()
        changed = self._pool.run(self._read_changes)
        self._seen, self._fresh_until = asked, asked + RECHECK
        if changed:
            self._picture = _picture(self._known.objects.values(), self._picture)

    def _read_changes(self, connection: LdapConnection) -> bool:
        """Bring `_known` up to date; whether there was anything."""
        root = connection.root_dse()
        server, usn = root.text("dsServiceName"), root.number("highestCommittedUSN")
        known, now = self._known, self._monotonic()
        if server != known.server or usn < known.usn:
            everything = _read(connection, self._base, -1)
            self._known = _Known(server, usn, now, everything)
            return everything != known.objects
        changes = _read(connection, self._base, known.usn + 1) if usn != known.usn else {}
        there = None
        if changes or now - known.listed >= RELIST:
            there = _guids(connection, self._base)
        # nothing is noted before everything was read: a lost controller must not take changes with it
        objects = {
            guid: each for guid, each in ({**known.objects, **changes}).items() if there is None or guid in there
        }
        self._known = _Known(server, usn, known.listed if there is None else now, objects)
        return bool(changes) or len(objects) != len(known.objects)

    @property
    def _base(self) -> str:
        return container(self._configuration_dn())


def _read(connection: LdapConnection, base: str, from_usn: int) -> dict[bytes, _Object]:
    """What was changed with that number or a later one; -1 for everything."""
    since = f"(uSNChanged>={from_usn})" if from_usn >= 0 else ""
    found: dict[bytes, _Object] = {}
    for entry in connection.search(
        f"{TEMPLATES},{base}",
        Scope.ONE_LEVEL,
        f"(&(objectClass={templates.OBJECT_CLASS}){since})",
        [*templates.ATTRIBUTES, "uSNChanged"],
        sd_flags=OWNER_GROUP_DACL,
        size_limit=MAX_OBJECTS,
    ):
        _note(found, entry, _template)
    for entry in connection.search(
        f"{ENROLLMENT_SERVICES},{base}",
        Scope.ONE_LEVEL,
        f"(&(objectClass={_SERVICE_CLASS}){since})",
        [
            *("cn", "displayName", "dNSHostName", "cACertificate", "certificateTemplates", "msPKI-Site-Name"),
            *("objectGUID", "uSNChanged"),
        ],
        size_limit=MAX_OBJECTS,
    ):
        _note(found, entry, _service)
    return found


def _note(found: dict[bytes, _Object], entry: Entry, made: Callable[[Entry, int], _Object]) -> None:
    guid = entry.value("objectGUID")
    if guid is not None:
        found[guid] = made(entry, entry.number("uSNChanged", 0))


def _guids(connection: LdapConnection, base: str) -> frozenset[bytes]:
    found = []
    for name, kind in ((TEMPLATES, templates.OBJECT_CLASS), (ENROLLMENT_SERVICES, _SERVICE_CLASS)):
        entries = connection.search(f"{name},{base}", Scope.ONE_LEVEL, f"(objectClass={kind})", ["objectGUID"])
        found += [entry.value("objectGUID") for entry in entries]
    return frozenset(guid for guid in found if guid is not None)


def _template(entry: Entry, usn: int) -> _Object:
    try:
        return _Object(usn, template=templates.template_from_entry(entry))
    except ValueError as error:
        cn = (entry.value("cn") or b"").decode("utf-8", "replace") or entry.dn
        log.warning("template_passed_over", template=cn, reason=str(error))
        return _Object(usn, finding=TemplateFinding(cn, str(error)))


def _service(entry: Entry, usn: int) -> _Object:
    try:
        certificates = entry.values("cACertificate")
        service = EnrollmentService(
            entry.text("cn"),
            entry.text("dNSHostName"),
            certificates[0] if certificates else b"",
            entry.texts("certificateTemplates"),
            entry.text("msPKI-Site-Name"),
        )
    except ValueError as error:
        log.warning("enrollment_service_passed_over", name=entry.dn, reason=str(error))
        return _Object(usn)
    return _Object(usn, service=service)


def _picture(objects: Iterable[_Object], before: Picture) -> Picture:
    found: dict[str, CertificateTemplate] = {}
    services: dict[str, EnrollmentService] = {}
    findings: list[TemplateFinding] = []
    for each in objects:
        if each.template is not None:
            # one that did not change stays the same object: what the policy module made of it stays good
            same = before.templates.get(each.template.cn)
            found[each.template.cn] = same if same == each.template and same is not None else each.template
        if each.service is not None:
            services[each.service.ca_name.casefold()] = each.service
        if each.finding is not None:
            findings.append(each.finding)
    return Picture(MappingProxyType(found), MappingProxyType(services), tuple(sorted(findings)))
