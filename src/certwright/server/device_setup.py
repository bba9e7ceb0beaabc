"""NDES switched on and kept: its accounts, its templates, its certificates, its services. `NdesAdministration`.

The registration authority's certificates are enrolled by an account of this installation itself, in a domain too
(docs/adr/0008): its keys must not depend on a domain controller. Devices' requests are submitted by the service
account: with the embedded directory the same one, in a domain an account of the domain, whose rights on the domain's
templates are then what the CA decides by.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from certwright.adcs.errors import AdcsError, ConfigurationError, InvalidArgument
from certwright.adcs.events import AuditEvent, CaEvent
from certwright.adcs.requester import Requester
from certwright.adcs.roles import CaAccess
from certwright.adcs.security import SecurityDescriptor
from certwright.adcs.template import CertificateTemplate, NameFlag
from certwright.database import Connection
from certwright.directory.active_directory.composite import LOCAL
from certwright.directory.administration import DirectoryAdministration
from certwright.directory.base import PrincipalKind
from certwright.directory.default_templates import new_template
from certwright.ndes import modules, store
from certwright.ndes.administration import ServiceStanding
from certwright.ndes.application import is_service_name
from certwright.ndes.challenges import Challenges
from certwright.ndes.failures import KEPT
from certwright.ndes.giving import Giving
from certwright.ndes.registration_authority import ENCRYPTION, SIGNING, TEMPLATES
from certwright.ndes.settings import WEBHOOK, NdesSettings
from certwright.ndes.store import Challenge, Failure, Notice, Transaction
from certwright.pki import oids
from certwright.pki.certificate import CertificateView
from certwright.server.composition import Installation
from certwright.server.device_upkeep import WEBHOOK_KEY, challenges, policy_keeper
from certwright.server.network_devices import admin_url, device_url, registration_authority

KEPT_DAYS: Final = 90
"""How long decided requests of devices, expired challenges and failures stay in the lists."""
OWN_ACCOUNT: Final = "NDES"
"""The account of this installation that the registration authority's certificates are for."""
_KEY_USAGES: Final = {SIGNING: b"\x80", ENCRYPTION: b"\x20"}
_TITLES: Final = {SIGNING: "NDES Signing", ENCRYPTION: "NDES Encryption"}


class DeviceSetup:
    """`NdesAdministration` over this installation."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation

    # -- looking

    def services(self) -> Sequence[ServiceStanding]:
        return [self.standing(name) for name in ("", *self._names())]

    def standing(self, service: str) -> ServiceStanding:
        installation = self._installation
        settings = self._own(service).settings()
        not_after = renew_after = None
        try:
            current = registration_authority(installation, settings.ca).current()
        except ConfigurationError:
            pass
        else:
            not_after, renew_after = current.not_after, current.renew_after
        return ServiceStanding(
            service,
            settings,
            installation.ca(settings.ca).authority.name,
            device_url(installation, service),
            admin_url(installation, service),
            hashlib.sha256(installation.chain(settings.ca)[0]).hexdigest().upper(),
            not_after,
            renew_after,
            tuple(_obstacles(installation, settings)) if settings.enabled else (),
        )

    def devices(self, limit: int, service: str | None = None) -> Sequence[Transaction]:
        with self._installation.database.read() as connection:
            return store.latest_transactions(connection, limit, service)

    def challenges(self, limit: int, service: str = "") -> Sequence[Challenge]:
        return self._own(service).outstanding(limit)

    def notices(self, limit: int, service: str | None = None) -> Sequence[Notice]:
        with self._installation.database.read() as connection:
            return store.notices(connection, service, limit)

    def failures(self, limit: int, service: str | None = None) -> Sequence[Failure]:
        with self._installation.database.read() as connection:
            return store.failures(connection, service, limit)

    def failure(self, failure_id: int) -> Failure | None:
        with self._installation.database.read() as connection:
            return store.failure(connection, failure_id)

    # -- services

    def add(self, service: str, operator: Requester, *, ca: str = "") -> ServiceStanding:
        installation = self._installation
        name = installation.ca(ca).authority.name
        installation.demand(operator, CaAccess.ADMINISTRATOR, name)
        if not is_service_name(service):
            raise InvalidArgument("a service is called by lower-case letters, digits and hyphens, 32 at most")
        now = int(installation.clock().timestamp())
        with installation.database.transaction() as connection:
            if not store.insert_service(connection, service, now):
                raise InvalidArgument(f"there is a service {service} already")
            self._record(connection, "service added", service, operator)
        if ca:
            challenges(installation, service).change_settings({"ca": name}, operator.account)
        return self.standing(service)

    def remove(self, service: str, operator: Requester) -> None:
        if not service:
            raise InvalidArgument("the service at the classic addresses is always there; disable it instead")
        self._demand(operator, self._own(service))
        with self._installation.database.transaction() as connection:
            store.delete_service(connection, service)
            self._record(connection, "service removed", service, operator)

    def enable(self, operator: Requester, service: str = "", *, account: str = "") -> ServiceStanding:
        installation, own = self._installation, self._own(service)
        self._demand(operator, own)
        settings = own.settings()
        ca_name = installation.ca(settings.ca).authority.name
        embedded = _embedded(installation)
        principal = installation.local_directory.principal(OWN_ACCOUNT)
        if principal is None:
            host = installation.home.settings.hostname.partition(".")[0].upper()[:40]
            principal = embedded.add_account(
                OWN_ACCOUNT, PrincipalKind.USER, common_name=f"{host}-MSCEP-RA", actor=operator.account
            )
        for use, cn in TEMPLATES.items():
            if cn not in installation.local_directory.templates():
                embedded.put_template(_own_template(installation, use), actor=operator.account)
        for cn in TEMPLATES.values():
            embedded.grant(cn, principal.sid, enroll=True, actor=operator.account)
            embedded.publish(ca_name, cn, actor=operator.account)
        settings = self._service_account(own, settings, account, operator)
        if installation.active_directory is None:
            _offer(installation, settings, settings.templates, operator.account)
        self._enroll_if_due(settings.ca, operator)
        own.set_internal(operator.account, enabled=True)
        return self.standing(service)

    def _service_account(
        self, own: Challenges, settings: NdesSettings, account: str, operator: Requester
    ) -> NdesSettings:
        """Whose the requests of devices are."""
        installation = self._installation
        if not account and installation.active_directory is not None and settings.account == OWN_ACCOUNT:
            raise InvalidArgument(
                "in a domain devices' requests are those of an account of the domain: make one, let it enroll for the"
                r" templates of devices, and name it: certwright ndes enable --account 'CORP\svc-ndes'"
            )
        if not account:
            return settings
        found = installation.requester(account)
        return own.set_internal(operator.account, account=found.account)

    def disable(self, operator: Requester, service: str = "") -> None:
        own = self._own(service)
        self._demand(operator, own)
        own.set_internal(operator.account, enabled=False)

    def change(self, changes: Mapping[str, str], operator: Requester, service: str = "") -> NdesSettings:
        installation, own = self._installation, self._own(service)
        self._demand(operator, own)
        before = own.settings()
        wanted = before.changed(changes)
        if wanted.ca != before.ca:
            installation.demand(operator, CaAccess.ADMINISTRATOR, installation.ca(wanted.ca).authority.name)
        if "policy" in changes:
            modules.require_module(wanted.policy)
        if wanted.policy == WEBHOOK and ("policy" in changes or any(key.startswith("webhook") for key in changes)):
            modules.webhook_settings(wanted, wanted.webhook_key).check()
        if installation.active_directory is None and installation.directory.principal(before.account) is not None:
            moved = wanted.ca != before.ca
            added = [cn for cn in wanted.templates if moved or cn not in before.templates]
            _offer(installation, wanted, added, operator.account)
        if wanted.ca != before.ca and before.enabled:
            self._enroll_if_due(wanted.ca, operator)
        return own.change_settings(changes, operator.account)

    def webhook_key(self, operator: Requester, service: str = "") -> str:
        own = self._own(service)
        self._demand(operator, own)
        key = secrets.token_hex(32)
        sealed = self._installation.sealer.seal(key.encode("ascii"), WEBHOOK_KEY)
        own.set_internal(operator.account, webhook_key=sealed.hex())
        return key

    # -- challenges

    def challenge(
        self,
        requester: Requester,
        service: str = "",
        *,
        template: str = "",
        names: Sequence[str] = (),
        parameters: str = "",
    ) -> str:
        own = self._own(service)
        policies = policy_keeper(self._installation, own)
        try:
            return Giving(own, policies).give(requester, template, names, parameters)
        finally:
            policies.close()

    def static_challenge(self, requester: Requester, service: str = "") -> str:
        return self._own(service).renew_static(requester)

    # -- certificates of the registration authority

    def renew(self, operator: Requester, service: str = "") -> ServiceStanding:
        own = self._own(service)
        self._demand(operator, own)
        self._enroll(own.settings().ca, operator)
        return self.standing(service)

    def renew_when_due(self, now: datetime) -> None:
        """After two thirds of their life, or when the CA has a new key: devices verify them by its certificate.

        Raises:
            AdcsError: some were not issued; it will be tried again.
        """
        failed: list[AdcsError] = []
        cas = {each.settings.ca for each in map(self.standing, ("", *self._names())) if each.settings.enabled}
        for ca in {self._installation.ca(ca).authority.name for ca in cas}:
            try:
                if self._is_due(ca, now):
                    self._enroll(ca)
            except AdcsError as error:
                failed.append(error)
        if failed:
            raise failed[0]

    def _is_due(self, ca: str, now: datetime) -> bool:
        current = registration_authority(self._installation, ca).current()
        ca_key = CertificateView.parse(self._installation.chain(ca)[0]).subject_key_identifier
        return now >= current.renew_after or current.signing.certificate.authority_key_identifier != ca_key

    def _enroll_if_due(self, ca: str, operator: Requester) -> None:
        """Those that are good stay: another service of the same CA has them too."""
        try:
            due = self._is_due(ca, self._installation.clock())
        except ConfigurationError:
            due = True
        if due:
            self._enroll(ca, operator)

    def _enroll(self, ca: str, operator: Requester | None = None) -> None:
        """Through the door, as the account of the registration authority; an operator approves where it must be."""
        installation = self._installation
        own = OWN_ACCOUNT if installation.active_directory is None else LOCAL + OWN_ACCOUNT
        door = installation.own_door(installation.requester(own, "ndes"), ca)

        def approve(request_id: int) -> None:
            if operator is not None:
                installation.registry.administer(installation.ca(ca).config, operator).resubmit(request_id)

        registration_authority(installation, ca).enroll(door, approve)

    # -- inside

    def _names(self) -> Sequence[str]:
        with self._installation.database.read() as connection:
            return store.services(connection)

    def _own(self, service: str) -> Challenges:
        if service and service not in self._names():
            known = ", ".join(self._names()) or "none beside the one at the classic addresses"
            raise InvalidArgument(f"there is no service {service[:40]!r}; there are: {known}")
        return challenges(self._installation, service)

    def _record(self, connection: Connection, change: str, service: str, operator: Requester) -> None:
        facts: dict[str, str | int] = {"service": service, "change": change}
        event = CaEvent(AuditEvent.NDES_CHANGED, self._installation.clock(), "", operator.account, facts)
        self._installation.audit.append(connection, event)

    def _demand(self, operator: Requester, own: Challenges) -> None:
        name = self._installation.ca(own.settings().ca).authority.name
        self._installation.demand(operator, CaAccess.ADMINISTRATOR, name)


# -- on a clock ------------------------------------------------------------------------------------------------------


def renew_when_due(installation: Installation, now: datetime) -> None:
    """Raises:
    AdcsError: a certificate was not issued; it will be tried again.
    """
    DeviceSetup(installation).renew_when_due(now)


def prune(installation: Installation, now: datetime) -> None:
    """Forget what was settled long ago."""
    before = int(now.timestamp()) - KEPT_DAYS * 86_400
    with installation.database.transaction() as connection:
        store.delete_challenges(connection, before)
        store.delete_settled(connection, before)
        store.delete_notices(connection, before)
        store.delete_failures(connection, before, KEPT)


# -- what it stands on -----------------------------------------------------------------------------------------------


def _offer(installation: Installation, settings: NdesSettings, templates: Iterable[str], actor: str) -> None:
    """Let the service enroll for templates, and the CA publish them."""
    directory, ca_name = installation.directory_administration, installation.ca(settings.ca).authority.name
    principal = installation.directory.principal(settings.account)
    if principal is None:
        raise InvalidArgument(f"there is no account {settings.account}; run: certwright ndes enable")
    for cn in templates:
        directory.grant(cn, principal.sid, enroll=True, actor=actor)
        directory.publish(ca_name, cn, actor=actor)


def _obstacles(installation: Installation, settings: NdesSettings) -> Iterable[str]:
    """What keeps devices from getting certificates, as far as it can be seen here."""
    try:
        caller = installation.requester(settings.account)
    except AdcsError as error:
        yield f"{error.message}; run: certwright ndes enable --account NAME"
        return
    directory, ca_name = installation.directory, installation.ca(settings.ca).authority.name
    service = directory.enrollment_service(ca_name)
    published = {cn.casefold() for cn in service.templates} if service is not None else set()
    templates = directory.templates()
    for cn in settings.templates:
        template = templates.get(cn)
        if template is None:
            yield f"there is no template {cn}"
            continue
        security = SecurityDescriptor.from_sddl(template.security_descriptor, directory.domain.sid)
        if not security.may_enroll(caller.sids):
            yield f"{caller.account} may not enroll for {cn}; run: certwright template grant {cn} NAME --enroll"
        if cn.casefold() not in published:
            yield f"{ca_name} does not publish {cn}; run: certwright template publish {cn}"


def _embedded(installation: Installation) -> DirectoryAdministration:
    """The embedded directory decides about the registration authority, in a domain too."""
    if installation.active_directory is None:
        return installation.directory_administration
    record: Callable[..., None] = installation.audit.append
    return DirectoryAdministration(
        installation.database, installation.sealer, record, installation.clock, installation.local_directory
    )


def _own_template(installation: Installation, use: str) -> CertificateTemplate:
    """For a registration authority: its name comes from the directory, and it is good for nothing else."""
    template = new_template(TEMPLATES[use], _TITLES[use], installation.local_directory.domain.sid)
    usages = (oids.EKU_CMC_RA,)
    return replace(
        template,
        name_flag=NameFlag.REQUIRE_COMMON_NAME,
        key_usage=_KEY_USAGES[use] + b"\x00",
        extended_key_usage=usages,
        application_policies=usages,
    )
