"""NDES put together for this installation, and switched on: its account, its templates, its certificates.

Off until an administrator enables it: it takes messages from anybody who reaches the port, without a logon, so a
host that needs it not has none of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from certwright.adcs.errors import InvalidArgument
from certwright.adcs.interfaces import Comparison, Restriction, Sort, Table
from certwright.adcs.requester import Requester, Sid
from certwright.adcs.roles import CaAccess
from certwright.adcs.template import CertificateTemplate, NameFlag
from certwright.auth.throttle import Throttle
from certwright.directory.base import PrincipalKind
from certwright.directory.default_templates import new_template
from certwright.endpoints import plain
from certwright.endpoints.asgi import Asgi
from certwright.keystores.software import SoftwareKeyStore
from certwright.ndes import store
from certwright.ndes.application import (
    ADMIN,
    DEVICE_PATHS,
    DEVICES,
    Authenticator,
    DeviceService,
    NdesApplication,
    is_admin_address,
    is_device_address,
)
from certwright.ndes.challenges import Challenges
from certwright.ndes.enrollment import Enrollment
from certwright.ndes.registration_authority import (
    ENCRYPTION,
    SIGNING,
    TEMPLATES,
    RaCertificates,
    RegistrationAuthority,
)
from certwright.ndes.settings import NdesSettings
from certwright.pki import oids
from certwright.pki.certificate import CertificateView
from certwright.server.composition import Installation
from certwright.server.domain_logons import OwnCertificates
from certwright.wire.scep import MAX_MESSAGE

KEPT_DAYS: Final = 90
"""How long decided requests of devices and expired challenges stay in the lists."""
_KEY_USAGES: Final = {SIGNING: b"\x80", ENCRYPTION: b"\x20"}
_TITLES: Final = {SIGNING: "NDES Signing", ENCRYPTION: "NDES Encryption"}


def challenges(installation: Installation) -> Challenges:
    """The service's settings and challenges."""

    return Challenges(installation.database, installation.directory, installation.audit.append, installation.clock)


def registration_authority(installation: Installation) -> RegistrationAuthority:
    folder = installation.home.ndes
    return RegistrationAuthority(folder, lambda: SoftwareKeyStore(folder, installation.sealer))


# -- answering -------------------------------------------------------------------------------------------------------


class NetworkDevices:
    """The service over one installation. Close it when done."""

    def __init__(self, installation: Installation, throttle: Throttle) -> None:
        own = challenges(installation)
        authority = registration_authority(installation)
        enrollment = Enrollment(
            installation.database,
            installation.registry,
            installation.directory,
            authority,
            own,
            lambda peer: installation.requester(own.settings().account, peer),
            OwnCertificates(installation),
            throttle,
            installation.clock,
            _finder(installation),
        )
        self._service = DeviceService(enrollment, authority, own, admin_url(installation))

    def application(self, authenticator: Authenticator) -> Sequence[tuple[Callable[[str], bool], Asgi]]:
        """For the HTTPS listener, with its addresses."""
        application = NdesApplication(self._service, authenticator)
        return ((is_device_address, application), (is_admin_address, application))

    def plain(self) -> Mapping[bytes, plain.PlainService]:
        """For the plain HTTP listener, by path."""
        return dict.fromkeys(DEVICE_PATHS, _Plain(self._service))

    def close(self) -> None:
        self._service.close()


class _Plain:
    """The service as the plain HTTP listener asks it: everything takes longer."""

    body_limit = MAX_MESSAGE

    def __init__(self, service: DeviceService) -> None:
        self._service = service

    def answer(self, question: plain.Question) -> plain.Reply | None:
        return None

    def work_out(self, question: plain.Question) -> plain.Reply:
        method = question.method.decode("ascii")
        reply = self._service.answer_now(method, question.query, question.body, question.peer)
        lines = [(b"Content-Type", reply.content_type), (b"Cache-Control", b"no-store"), *reply.headers]
        return plain.Reply(reply.status, b"".join(b"%s: %s\r\n" % line for line in lines), reply.body)

    def busy(self) -> plain.Reply:
        return plain.Reply(503, b"Content-Type: text/plain\r\nRetry-After: 5\r\n", b"The service is busy.\n")


def _finder(installation: Installation) -> Callable[[str, int], int | None]:
    """Finds a request by its attributes, which are marked. Asked only after a process died in the middle of one."""

    def find(attributes: str, since: int) -> int | None:
        database = installation.ca().authority.database
        where = (
            Restriction("submitted_when", Comparison.GREATER_OR_EQUAL, since),
            Restriction("attributes", Comparison.EQUAL, attributes),
        )
        rows = database.view(Table.REQUESTS, where, ("request_id",), Sort("request_id", descending=True), 1)
        return next((int(str(row["request_id"])) for row in rows), None)

    return find


# -- switching on ----------------------------------------------------------------------------------------------------


def enable(installation: Installation, operator: Requester) -> RaCertificates:
    """Make what is missing of account, templates and certificates, and answer from now on. Safe to repeat.

    Raises:
        AdcsError: the operator has no right to, a certificate was not issued, or the directory is a domain's.
    """
    installation.demand(operator, CaAccess.ADMINISTRATOR)
    if installation.active_directory is not None:
        raise InvalidArgument(
            "this installation belongs to a domain; NDES is available with the embedded directory only so far"
        )
    own = challenges(installation)
    settings = own.settings()
    account = _account(installation, settings, operator.account)
    directory = installation.directory_administration
    for use, cn in TEMPLATES.items():
        if cn not in directory.templates():
            directory.put_template(_own_template(installation, use), actor=operator.account)
    _offer(installation, account, (*TEMPLATES.values(), *settings.templates), operator.account)
    enrolled = renew(installation, operator)
    own.set_enabled(True, operator.account)
    return enrolled


def disable(installation: Installation, operator: Requester) -> None:
    """Answer no device any more; everything else stays as it is."""
    installation.demand(operator, CaAccess.ADMINISTRATOR)
    challenges(installation).set_enabled(False, operator.account)


def change_settings(installation: Installation, operator: Requester, changes: Mapping[str, str]) -> NdesSettings:
    """Change settings. The service may enroll for templates that are new to it, and the CA publishes them.

    Raises:
        AdcsError: the operator has no right to, a setting makes no sense, or a template is risky or not there.
    """
    installation.demand(operator, CaAccess.ADMINISTRATOR)
    own = challenges(installation)
    before = own.settings()
    wanted = before.changed(changes)
    principal = installation.directory.principal(before.account)
    if principal is not None:
        added = [cn for cn in wanted.templates if cn not in before.templates]
        _offer(installation, principal.sid, added, operator.account)
    return own.change_settings(changes, operator.account)


def _offer(installation: Installation, account: Sid, templates: Iterable[str], actor: str) -> None:
    directory, ca_name = installation.directory_administration, installation.ca().authority.name
    for cn in templates:
        directory.grant(cn, account, enroll=True, actor=actor)
        directory.publish(ca_name, cn, actor=actor)


def renew(installation: Installation, operator: Requester | None = None) -> RaCertificates:
    """New certificates for the service, through the door, as its own account.

    Args:
        operator: who approves if a certificate manager has to; nobody on a clock.

    Raises:
        AdcsError: they were not issued.
    """
    account = challenges(installation).settings().account
    installation.start_issuers()
    door = installation.registry.connect("", installation.requester(account, "ndes"))

    def approve(request_id: int) -> None:
        if operator is not None:
            installation.registry.administer("", operator).resubmit(request_id)

    return registration_authority(installation).enroll(door, approve)


def renew_when_due(installation: Installation, now: datetime) -> None:
    """After two thirds of their life, or when the CA has a new key, by whose certificate devices then verify them.

    Raises:
        AdcsError: they were not issued; it will be tried again.
    """
    if not challenges(installation).settings().enabled:
        return
    current = registration_authority(installation).current()
    ca_key = CertificateView.parse(installation.chain()[0]).subject_key_identifier
    if now >= current.renew_after or current.signing.certificate.authority_key_identifier != ca_key:
        renew(installation)


def prune(installation: Installation, now: datetime) -> None:
    """Forget what was settled long ago."""
    before = int(now.timestamp()) - KEPT_DAYS * 86_400
    with installation.database.transaction() as connection:
        store.delete_challenges(connection, before)
        store.delete_settled(connection, before)


def device_url(installation: Installation) -> str:
    return installation.home.settings.http_url + DEVICES


def admin_url(installation: Installation) -> str:
    return installation.home.settings.https_url + ADMIN


def _account(installation: Installation, settings: NdesSettings, actor: str) -> Sid:
    principal = installation.directory.principal(settings.account)
    if principal is None:
        host = installation.home.settings.hostname.partition(".")[0].upper()[:40]
        principal = installation.directory_administration.add_account(
            settings.account, PrincipalKind.USER, common_name=f"{host}-MSCEP-RA", actor=actor
        )
    return principal.sid


def _own_template(installation: Installation, use: str) -> CertificateTemplate:
    """For a registration authority: its name comes from the directory, and it is good for nothing else."""
    template = new_template(TEMPLATES[use], _TITLES[use], installation.directory.domain.sid)
    usages = (oids.EKU_CMC_RA,)
    return replace(
        template,
        name_flag=NameFlag.REQUIRE_COMMON_NAME,
        key_usage=_KEY_USAGES[use] + b"\x00",
        extended_key_usage=usages,
        application_policies=usages,
    )
