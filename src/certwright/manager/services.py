"""AD CS services: where orders go, as whom, in which order, and how each of them is.

What is read of a service (CA, chain, templates) is kept, so that pages ask nobody. Every contact leaves its mark:
the last one that went well, and in words what went wrong since.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Final

from certwright.adcs.errors import AdcsError, BadRequestState, CaUnreachable, ConfigurationError, InvalidArgument
from certwright.adcs.events import AuditEvent, LifecycleKind
from certwright.adcs.interfaces import CertRequest
from certwright.connectors.probing import Outcome, ProbeStep
from certwright.connectors.reading import OfferedTemplate, ServiceInformation
from certwright.connectors.service import AuthScheme, CredentialKind, ServiceAddress, ServiceCredential
from certwright.connectors.trust import Fingerprint, PinnedFile
from certwright.database import Connection
from certwright.manager import store
from certwright.manager.changes import Changes, differing, unique
from certwright.manager.device_users import DeviceUsers
from certwright.manager.reach import Reach
from certwright.manager.values import (
    RefreshResult,
    Service,
    ServiceFields,
    ServiceKind,
    TrustKind,
    key,
    optional_text,
    required_text,
    seconds,
)
from certwright.pki.certificate import CertificateView
from certwright.pki.cms import certs_only, parse_certs_only
from certwright.pki.errors import EncodingError

HIGHEST_PRIORITY: Final = 1
LOWEST_PRIORITY: Final = 10
REFRESH_EVERY: Final = timedelta(days=1)
REFRESH_AGAIN: Final = timedelta(hours=1)
"""After a refresh that failed."""
_MAX_ERROR: Final = 500
_MAX_TEMPLATES: Final = 2000


class Services:
    """The services, and the way to them."""

    def __init__(self, changes: Changes, device_users: DeviceUsers, reach: Reach) -> None:
        self._changes = changes
        self._device_users = device_users
        self.reach = reach

    # -- reading -----------------------------------------------------------------------------------------------

    def list(self, domain: str | None = None) -> Sequence[Service]:
        """All services, or those of a domain, in the order in which they are asked."""
        with self._changes.database.read() as connection:
            return store.services(connection, domain)

    def domains(self) -> Sequence[str]:
        found: dict[str, str] = {}
        for service in self.list():
            found.setdefault(key(service.domain), service.domain)
        return list(found.values())

    def get(self, service_id: int) -> Service:
        """Raises:
        InvalidArgument: there is none of that number.
        """
        with self._changes.database.read() as connection:
            return _found(connection, service_id)

    def templates(self, service_id: int) -> Sequence[OfferedTemplate]:
        """What it offered when it was read last."""
        with self._changes.database.read() as connection:
            _found(connection, service_id)
            return store.offered_templates(connection, service_id)

    def domain_templates(self, domain: str) -> Sequence[OfferedTemplate]:
        """What any service of a domain offers, by display name."""
        found: dict[str, OfferedTemplate] = {}
        with self._changes.database.read() as connection:
            for service in store.services(connection, domain):
                for template in store.offered_templates(connection, service.id):
                    found.setdefault(key(template.name), template)
        return sorted(found.values(), key=lambda template: key(template.display_name or template.name))

    def chain(self, service_id: int) -> tuple[bytes, ...]:
        """The CA's certificate and those above it (DER), as they were read last."""
        with self._changes.database.read() as connection:
            stored = store.service_chain(connection, service_id)
        return parse_certs_only(stored) if stored else ()

    # -- changing ----------------------------------------------------------------------------------------------

    def add(self, fields: ServiceFields, *, actor: str) -> Service:
        """Add a service. It is not asked anything yet: `refresh` does that.

        Raises:
            InvalidArgument: a field breaks a rule, or the service is there already.
        """
        fields = _checked(fields)
        with self._changes.change(actor) as change:
            self._check_device_user(change.connection, fields)
            service_id = unique(
                lambda: store.insert_service(change.connection, fields, change.when), _there_already(fields)
            )
            change.record(
                AuditEvent.ADCS_SERVICE_CHANGED, {"change": "added", "service": service_id, **_facts(fields)}
            )
            return _found(change.connection, service_id)

    def edit(self, service_id: int, fields: ServiceFields, *, actor: str) -> Service:
        """Change a service. Where it now is another CA, what was read of the old one is forgotten.

        Raises:
            InvalidArgument: a field breaks a rule.
            BadRequestState: orders wait at this CA and it would become another one.
        """
        fields = _checked(fields)
        with self._changes.change(actor) as change:
            before = _found(change.connection, service_id).fields
            self._check_device_user(change.connection, fields)
            elsewhere = _place(before) != _place(fields)
            waiting = store.open_orders_of(change.connection, service_id) if elsewhere else 0
            if waiting:
                raise BadRequestState(
                    f"{_orders(waiting)} for an answer of {before.hostname}; add the other CA as a service of"
                    " its own, or wait until they are settled."
                )
            unique(
                lambda: store.update_service(change.connection, service_id, fields, elsewhere=elsewhere),
                _there_already(fields),
            )
            change.record(
                AuditEvent.ADCS_SERVICE_CHANGED,
                {
                    "change": "edited",
                    "service": service_id,
                    "hostname": fields.hostname,
                    **differing(_facts(before), _facts(fields)),
                },
            )
            return _found(change.connection, service_id)

    def delete(self, service_id: int, *, confirmed: bool = False, actor: str) -> int:
        """Remove a service; returns how many orders are no longer tracked by that.

        Raises:
            BadRequestState: orders wait at it, and nobody confirmed.
        """
        with self._changes.change(actor) as change:
            service = _found(change.connection, service_id)
            waiting = store.open_orders_of(change.connection, service_id)
            if waiting and not confirmed:
                raise BadRequestState(
                    f"{_orders(waiting)} for an answer of {service.hostname} and would no longer be tracked;"
                    " confirm to delete it all the same."
                )
            store.delete_service(change.connection, service_id)
            change.record(
                AuditEvent.ADCS_SERVICE_CHANGED,
                {
                    "change": "deleted",
                    "service": service_id,
                    "hostname": service.hostname,
                    "domain": service.domain,
                    "orders_no_longer_tracked": waiting,
                },
            )
            return waiting

    @staticmethod
    def _check_device_user(connection: Connection, fields: ServiceFields) -> None:
        found = store.device_users(connection, fields.device_user_id)
        if not found:
            raise InvalidArgument(
                f"There is no device user number {fields.device_user_id}; add it under Device Users first."
            )
        if found[0].kind is CredentialKind.KEYTAB and fields.auth_method is not AuthScheme.KERBEROS:
            raise InvalidArgument(
                f"{found[0].name} has a keytab, which is for Kerberos; choose Kerberos or another device user."
            )

    # -- asking ------------------------------------------------------------------------------------------------

    def refresh(self, service_id: int, *, actor: str) -> RefreshResult:
        """Read CA, chain and templates anew, and say what is different.

        Raises:
            AdcsError: the service could not be asked; its health says so too.
        """
        service = self.get(service_id)
        with self.contact(service):
            information = self.reach.information(service, self.credential(service))
            newest = _ca_certificate(service, information)
        return self._take_in(service, information, newest, actor)

    def _take_in(
        self, service: Service, information: ServiceInformation, newest: CertificateView, actor: str
    ) -> RefreshResult:
        templates = _distinct(information.templates)
        with self._changes.change(actor) as change:
            before = _found(change.connection, service.id)
            known = {
                key(template.name): template.name
                for template in store.offered_templates(change.connection, service.id)
            }
            offered = {key(template.name): template.name for template in templates}
            store.put_information(
                change.connection,
                service.id,
                config=f"{service.hostname}\\{information.ca_name}",
                ca_name=information.ca_name,
                ca_sha256=newest.sha256,
                ca_chain=certs_only(information.chain),
                ca_not_after=newest.not_after,
                templates=templates,
                when=change.when,
                next_refresh=change.when + int(REFRESH_EVERY.total_seconds()),
            )
            result = RefreshResult(
                service=_found(change.connection, service.id),
                added=tuple(name for each, name in offered.items() if each not in known),
                gone=tuple(name for each, name in known.items() if each not in offered),
                ca_changed=before.ca_sha256 not in ("", newest.sha256),
                first=before.refreshed is None,
            )
            if result.first or result.added or result.gone or result.ca_changed:
                facts = _refresh_facts(result)
                change.record(AuditEvent.ADCS_SERVICE_CHANGED, {"change": "refreshed", **facts})
                if not result.first:
                    change.tell(
                        LifecycleKind.SERVICE_CHANGED,
                        service.label,
                        f"service/{service.id}/changed/{change.when}",
                        facts,
                    )
            return result

    def refresh_due(self, *, actor: str) -> tuple[Sequence[str], int | None]:
        """Refresh what is due; sentences of what came out, and when to come back (seconds since the epoch)."""
        now = seconds(self._changes.clock())
        with self._changes.database.read() as connection:
            due = store.due_refreshes(connection, now)
        said = []
        for service_id in due:
            with self._changes.database.transaction() as connection:  # two workers do not both do it
                store.put_next_refresh(connection, service_id, now + int(REFRESH_AGAIN.total_seconds()))
            try:
                result = self.refresh(service_id, actor=actor)
            except AdcsError as error:
                said.append(f"service {service_id}: {error.message}")
            else:
                said.append(f"{result.service.label}: {result}")
        with self._changes.database.read() as connection:
            return said, store.next_refresh(connection)

    def test(self, service_id: int) -> Sequence[ProbeStep]:
        """Try every step on the way to a service; the first that fails carries what would help."""
        service = self.get(service_id)
        return self._probe(service)

    def test_fields(self, fields: ServiceFields) -> Sequence[ProbeStep]:
        """The same before a service is added."""
        fields = _checked(fields)
        with self._changes.database.read() as connection:
            self._check_device_user(connection, fields)
        username = self._device_users.get(fields.device_user_id).username
        return self._probe(_unsaved(fields, username, self._changes))

    def _probe(self, service: Service) -> Sequence[ProbeStep]:
        steps = self.reach.probe(service, self.credential(service))
        if service.id and steps:
            failed = next((step for step in steps if step.outcome is Outcome.FAILED), None)
            self.note(service, failed.sentence if failed is not None else "")
        return steps

    def credential(self, service: Service) -> ServiceCredential:
        return self._device_users.credential(service.device_user_id)

    def door(self, service: Service) -> CertRequest:
        """The CA behind a service, as its device user."""
        return self.reach.connect(service, self.credential(service))

    @contextmanager
    def contact(self, service: Service) -> Iterator[None]:
        """Do something with a service, and note how that went."""
        try:
            yield
        except AdcsError as error:
            self.note(service, error.message)
            raise
        self.note(service, "")

    def note(self, service: Service, error: str) -> None:
        """Write down how a contact went; when that is news, people are told."""
        error = error[:_MAX_ERROR]
        with self._changes.change("") as change:
            before = store.service(change.connection, service.id)
            if before is None:  # deleted meanwhile
                return
            store.put_contact(change.connection, service.id, change.when, error)
            if bool(before.last_error) == bool(error):
                return
            change.tell(
                LifecycleKind.SERVICE_UNREACHABLE if error else LifecycleKind.SERVICE_RECOVERED,
                service.label,
                f"service/{service.id}/{'down' if error else 'up'}/{change.when}",
                {"service": service.id, "hostname": service.hostname, "domain": service.domain, "reason": error},
            )


# -- fields ----------------------------------------------------------------------------------------------------------


def _checked(fields: ServiceFields) -> ServiceFields:
    if isinstance(fields.priority, bool) or not HIGHEST_PRIORITY <= fields.priority <= LOWEST_PRIORITY:
        raise InvalidArgument(
            f"The priority is {fields.priority}; it is a number from {HIGHEST_PRIORITY} to {LOWEST_PRIORITY}, and the"
            " lower goes first."
        )
    hostname = required_text(fields.hostname, "The host name").rstrip(".").lower()
    trust_data = fields.trust_data.strip()
    try:
        ServiceAddress(hostname, fields.port)
        if fields.kind is ServiceKind.LOCAL or fields.trust is TrustKind.SYSTEM:
            trust_data = ""
        elif fields.trust is TrustKind.PINNED:
            PinnedFile(trust_data)
        else:
            trust_data = Fingerprint(trust_data).sha256
    except ConfigurationError as error:
        raise InvalidArgument(f"This cannot be used: {error.message}.") from error
    approve = dict.fromkeys(required_text(name, "A template's name", 64) for name in fields.approve_templates)
    return replace(
        fields,
        domain=required_text(fields.domain, "The domain name"),
        hostname=hostname,
        trust_data=trust_data,
        ca=optional_text(fields.ca, "The CA's name"),
        approve_templates=tuple(approve),
    )


def _place(fields: ServiceFields) -> tuple[str, int, ServiceKind, str]:
    """What decides which CA it is."""
    return key(fields.hostname), fields.port, fields.kind, key(fields.ca)


def _unsaved(fields: ServiceFields, username: str, changes: Changes) -> Service:
    return Service(
        id=0,
        domain=fields.domain,
        hostname=fields.hostname,
        port=fields.port,
        priority=fields.priority,
        auth_method=fields.auth_method,
        kind=fields.kind,
        trust=fields.trust,
        trust_data=fields.trust_data,
        ca=fields.ca,
        approve_templates=fields.approve_templates,
        device_user_id=fields.device_user_id,
        username=username,
        config="",
        ca_name="",
        ca_sha256="",
        ca_not_after=None,
        template_count=None,
        refreshed=None,
        last_contact=None,
        last_error="",
        last_error_when=None,
        last_request_id=0,
        created=changes.clock(),
        via=fields.via,
    )


def _facts(fields: ServiceFields) -> dict[str, str | int]:
    return {
        "domain": fields.domain,
        "hostname": fields.hostname,
        "port": fields.port,
        "priority": fields.priority,
        "auth_method": fields.auth_method.label,
        "kind": fields.kind.value,
        "via": fields.via.value,
        "trust": fields.trust.value,
        "trust_data": fields.trust_data,
        "ca": fields.ca,
        "device_user": fields.device_user_id,
        "approve_templates": ", ".join(fields.approve_templates),
    }


def _refresh_facts(result: RefreshResult) -> dict[str, str | int]:
    return {
        "service": result.service.id,
        "hostname": result.service.hostname,
        "domain": result.service.domain,
        "ca": result.service.ca_name,
        "result": str(result),
        "templates_added": ", ".join(result.added),
        "templates_gone": ", ".join(result.gone),
        "ca_sha256": result.service.ca_sha256,
    }


def _distinct(templates: Sequence[OfferedTemplate]) -> list[OfferedTemplate]:
    found: dict[str, OfferedTemplate] = {}
    for template in templates[:_MAX_TEMPLATES]:
        found.setdefault(key(template.name), template)
    return list(found.values())


def _ca_certificate(service: Service, information: ServiceInformation) -> CertificateView:
    try:
        return CertificateView.parse(information.chain[0])
    except (EncodingError, IndexError) as error:
        raise CaUnreachable(
            f"{service.hostname} answers, but its CA certificate cannot be read ({error}); look at"
            " its Web Enrollment pages with a browser."
        ) from error


def _found(connection: Connection, service_id: int) -> Service:
    found = store.service(connection, service_id)
    if found is None:
        raise InvalidArgument(f"There is no AD CS service number {service_id}.")
    return found


def _there_already(fields: ServiceFields) -> InvalidArgument:
    return InvalidArgument(
        f"{fields.domain} has the service {fields.hostname}, port {fields.port}, already; edit that one."
    )


def _orders(count: int) -> str:
    return "One order waits" if count == 1 else f"{count} orders wait"
