"""Device users and AD CS services: what is refused, what is remembered, and that secrets stay secret."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from certwright.adcs.errors import BadRequestState, CaUnreachable, ConfigurationError, InvalidArgument
from certwright.adcs.events import AuditEvent, LifecycleKind
from certwright.connectors.service import AuthScheme, CredentialKind
from certwright.database import Database
from certwright.keystores.sealing import Sealer
from certwright.manager.values import DeviceUserFields, Health, ServiceFields, TrustKind
from tests.support.managing import ALICE, PASSWORD, Managed
from tests.support.scripted_ca import Answer
from tests.support.tables import new_sqlite_url

# -- device users --------------------------------------------------------------------------------------------------


def test_a_secret_opens_for_connectors_and_shows_nowhere(desk: Managed, tmp_path: Path) -> None:
    user = desk.user()
    credential = desk.manager.device_users.credential(user.id)
    assert credential.secret == PASSWORD
    desk.service()
    desk.order()
    desk.database.close()
    everything = b"".join(path.read_bytes() for path in tmp_path.glob("certwright.db*"))
    assert b"svc-web" in everything
    for form in (PASSWORD.encode(), PASSWORD.encode("utf-16-le")):
        assert form not in everything
    shown = repr((user, credential, desk.audited, desk.told))
    assert PASSWORD not in shown


def test_a_secret_does_not_open_in_another_row(desk: Managed) -> None:
    first, second = desk.user("first"), desk.user("second")
    with desk.database.transaction() as connection:
        connection.execute(
            "UPDATE manager_device_user SET secret ="
            " (SELECT secret FROM manager_device_user WHERE id = ?) WHERE id = ?",
            (first.id, second.id),
        )
    with pytest.raises(ConfigurationError, match="enter it again"):
        desk.manager.device_users.credential(second.id)


def test_a_secret_is_replaced_and_that_is_audited_without_it(desk: Managed) -> None:
    user = desk.user()
    desk.later(days=1)
    after = desk.manager.device_users.replace_secret(user.id, "another secret of mine", actor=ALICE)
    assert after.secret_changed - user.secret_changed == timedelta(days=1)
    assert desk.manager.device_users.credential(user.id).secret == "another secret of mine"
    event = desk.events(AuditEvent.DEVICE_USER_CHANGED)[-1]
    assert event.details["change"] == "secret replaced"
    assert "another" not in repr(event)


def test_a_password_can_become_a_keytab(desk: Managed) -> None:
    user = desk.user()
    desk.manager.device_users.replace_secret(user.id, b"\x05\x02\xff", kind=CredentialKind.KEYTAB, actor=ALICE)
    assert desk.manager.device_users.credential(user.id).secret == b"\x05\x02\xff"


def test_editing_keeps_the_secret(desk: Managed) -> None:
    user = desk.user()
    fields = DeviceUserFields("renamed", r"CORP\other", "corp.example")
    after = desk.manager.device_users.edit(user.id, fields, actor=ALICE)
    assert (after.name, after.username) == ("renamed", r"CORP\other")
    assert desk.manager.device_users.credential(user.id).secret == PASSWORD


def test_names_are_unique_whatever_their_case(desk: Managed) -> None:
    desk.user("svc")
    with pytest.raises(InvalidArgument, match="already"):
        desk.manager.device_users.add(DeviceUserFields("SVC", "x"), PASSWORD, actor=ALICE)


@pytest.mark.parametrize(
    ("fields", "secret"),
    [
        (DeviceUserFields("", "user"), PASSWORD),
        (DeviceUserFields("a\x00b", "user"), PASSWORD),
        (DeviceUserFields("a", ""), PASSWORD),
        (DeviceUserFields("a", "user"), ""),
        (DeviceUserFields("a", "user"), b"bytes for a password"),
        (DeviceUserFields("a", "user", "not a realm!"), PASSWORD),
        (DeviceUserFields("a", "user", kind=CredentialKind.KEYTAB), "text for a keytab"),
    ],
)
def test_what_cannot_log_on_is_refused(desk: Managed, fields: DeviceUserFields, secret: str | bytes) -> None:
    with pytest.raises(InvalidArgument):
        desk.manager.device_users.add(fields, secret, actor=ALICE)
    assert desk.manager.device_users.list() == []


def test_a_device_user_in_use_stays_and_says_by_whom(desk: Managed) -> None:
    service, _ = desk.service()
    user = desk.user()
    assert user.used_by == ("ca01.corp.example (CORP)",)
    with pytest.raises(BadRequestState, match=r"ca01\.corp\.example"):
        desk.manager.device_users.delete(user.id, actor=ALICE)
    desk.manager.services.delete(service.id, actor=ALICE)
    desk.manager.device_users.delete(user.id, actor=ALICE)
    assert desk.manager.device_users.list() == []


def test_people_are_told_once_that_a_secret_ends(desk: Managed) -> None:
    fields = DeviceUserFields("svc", "svc", expires=desk.now + timedelta(days=20))
    desk.manager.device_users.add(fields, PASSWORD, actor=ALICE)
    desk.manager.tasks.expiry_notices()
    assert desk.told == []
    desk.later(days=10)
    for _ in range(3):
        desk.manager.tasks.expiry_notices()
    assert [(event.kind, event.object, event.facts["days_left"]) for event in desk.told] == [
        (LifecycleKind.DEVICE_USER_EXPIRING, "svc", 10)
    ]


def test_another_master_key_opens_nothing(desk: Managed, tmp_path: Path) -> None:
    user = desk.user()
    folder = tmp_path / "other"
    folder.mkdir()
    stranger = Managed(desk.database, Sealer.create(folder / "master.key"))
    with pytest.raises(ConfigurationError):
        stranger.manager.device_users.credential(user.id)


# -- services ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("priority", [0, 11, -1, 100])
def test_a_priority_outside_1_to_10_is_refused(desk: Managed, priority: int) -> None:
    with pytest.raises(InvalidArgument, match="from 1 to 10"):
        desk.service(priority=priority)


@pytest.mark.parametrize(
    "fields",
    [
        {"hostname": "not a host"},
        {"hostname": ""},
        {"port": 0},
        {"port": 70000},
        {"domain": ""},
        {"trust": TrustKind.PINNED, "trust_data": "no PEM"},
        {"trust": TrustKind.FINGERPRINT, "trust_data": "12"},
        {"device_user_id": 4711},
    ],
)
def test_what_cannot_be_a_service_is_refused(desk: Managed, fields: dict[str, object]) -> None:
    user = desk.user()
    values = {"domain": "CORP", "hostname": "ca01.corp.example", "device_user_id": user.id, **fields}
    with pytest.raises(InvalidArgument):
        desk.manager.services.add(ServiceFields(**values), actor=ALICE)  # type: ignore[arg-type]
    assert desk.manager.services.list() == []


def test_a_keytab_is_for_kerberos(desk: Managed) -> None:
    fields = DeviceUserFields("tab", "svc", "corp.example", CredentialKind.KEYTAB)
    user = desk.manager.device_users.add(fields, b"\x05\x02", actor=ALICE)
    with pytest.raises(InvalidArgument, match="Kerberos"):
        desk.service(device_user_id=user.id)
    service, _ = desk.service(device_user_id=user.id, auth_method=AuthScheme.KERBEROS)
    assert service.auth_method is AuthScheme.KERBEROS


def test_the_same_service_stands_once(desk: Managed) -> None:
    desk.service()
    with pytest.raises(InvalidArgument, match="already"):
        desk.service("CA01.corp.example.")


def test_services_of_a_domain_stand_in_the_order_in_which_they_are_asked(desk: Managed) -> None:
    for hostname, priority in (("c.corp.example", 3), ("a.corp.example", 1), ("b.corp.example", 1)):
        desk.service(hostname, priority=priority)
    desk.service("z.other.example", domain="OTHER")
    assert [s.hostname for s in desk.manager.services.list("corp")] == [
        "a.corp.example",
        "b.corp.example",
        "c.corp.example",
    ]
    assert desk.manager.services.domains() == ["CORP", "OTHER"]


def test_refresh_says_what_is_different(desk: Managed) -> None:
    service, ca = desk.service()
    assert service.template_count is None
    first = desk.manager.services.refresh(service.id, actor=ALICE)
    assert str(first) == "2 templates found, CA CA of ca01.corp.example"
    assert [t.name for t in desk.manager.services.templates(service.id)] == ["WebServer", "User"]
    assert desk.manager.services.chain(service.id) == (ca.certificate,)
    assert str(desk.manager.services.refresh(service.id, actor=ALICE)) == (
        "templates unchanged, CA certificate unchanged"
    )
    ca.templates = ("WebServer", "Machine", "Printer")
    again = desk.manager.services.refresh(service.id, actor=ALICE)
    assert str(again) == "2 templates added, 1 gone, CA certificate unchanged"
    ca.new_key()
    assert str(desk.manager.services.refresh(service.id, actor=ALICE)).endswith("CA certificate changed")
    after = desk.manager.services.get(service.id)
    assert after.config == r"ca01.corp.example\CA of ca01.corp.example"
    assert after.ca_not_after is not None
    assert after.health is Health.OK


def test_a_refresh_that_fails_shows_in_the_health_and_keeps_what_was_known(desk: Managed) -> None:
    service, ca = desk.service()
    desk.manager.services.refresh(service.id, actor=ALICE)
    ca.down = True
    for _ in range(2):
        with pytest.raises(CaUnreachable):
            desk.manager.services.refresh(service.id, actor=ALICE)
    after = desk.manager.services.get(service.id)
    assert (after.health, after.last_error, after.template_count) == (
        Health.DOWN,
        "ca01.corp.example does not answer.",
        2,
    )
    ca.down = False
    desk.manager.services.refresh(service.id, actor=ALICE)
    desk.manager.deliver()
    assert desk.told_kinds() == [LifecycleKind.SERVICE_UNREACHABLE, LifecycleKind.SERVICE_RECOVERED]


def test_services_are_refreshed_daily_and_sooner_after_a_failure(desk: Managed) -> None:
    service, ca = desk.service()
    assert "2 templates found" in desk.manager.tasks.refresh_services().what[0]
    assert desk.manager.tasks.refresh_services().what == ()
    desk.later(days=1)
    ca.down = True
    assert "does not answer" in desk.manager.tasks.refresh_services().what[0]
    ca.down = False
    desk.later(minutes=30)
    assert desk.manager.tasks.refresh_services().what == ()
    desk.later(minutes=30)
    assert "unchanged" in desk.manager.tasks.refresh_services().what[0]
    assert desk.manager.services.get(service.id).refreshed == desk.now


def test_a_service_with_pending_orders_is_deleted_only_when_confirmed(desk: Managed) -> None:
    service, _ = desk.service(answer=Answer.PENDING)
    order = desk.order()
    with pytest.raises(BadRequestState, match="One order waits for an answer"):
        desk.manager.services.delete(service.id, actor=ALICE)
    assert desk.manager.services.delete(service.id, confirmed=True, actor=ALICE) == 1
    assert desk.manager.orders.get(order.id).hostname == "ca01.corp.example"
    with pytest.raises(BadRequestState, match="no longer"):
        desk.manager.orders.check(order.id, actor=ALICE)
    desk.later(minutes=1)
    desk.manager.tasks.track()
    assert desk.manager.orders.get(order.id).next_check is None


def test_a_service_does_not_become_another_ca_under_pending_orders(desk: Managed) -> None:
    service, _ = desk.service(answer=Answer.PENDING)
    desk.order()
    fields = ServiceFields("CORP", "other.corp.example", desk.user().id)
    with pytest.raises(BadRequestState, match="as a service of its own"):
        desk.manager.services.edit(service.id, fields, actor=ALICE)
    fields = replace(fields, hostname="ca01.corp.example", priority=7)
    assert desk.manager.services.edit(service.id, fields, actor=ALICE).priority == 7


def test_another_ca_at_a_service_is_read_anew(desk: Managed) -> None:
    service, _ = desk.service()
    desk.manager.services.refresh(service.id, actor=ALICE)
    fields = ServiceFields("CORP", "other.corp.example", desk.user().id)
    after = desk.manager.services.edit(service.id, fields, actor=ALICE)
    assert (after.template_count, after.ca_name, after.health) == (None, "", Health.UNKNOWN)


def test_testing_a_service_shows_in_its_health(desk: Managed) -> None:
    service, ca = desk.service()
    assert all(step.ok for step in desk.manager.services.test(service.id))
    ca.down = True
    assert desk.manager.services.test(service.id)[0].fix == "start the server"
    assert desk.manager.services.get(service.id).last_error == "nobody listens"
    assert desk.manager.services.test_fields(ServiceFields("CORP", "ca01.corp.example", desk.user().id))


def test_everything_is_audited_with_who_did_it(desk: Managed) -> None:
    service, _ = desk.service()
    desk.manager.services.delete(service.id, actor=r"CORP\bob")
    changes = [(event.actor, event.details["change"]) for event in desk.events(AuditEvent.ADCS_SERVICE_CHANGED)]
    assert changes == [(ALICE, "added"), (r"CORP\bob", "deleted")]


def test_a_change_that_cannot_be_audited_does_not_happen(desk: Managed, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    other = Managed(Database.open(new_sqlite_url(folder)), desk.sealer)

    def refuse(connection: object, event: object) -> None:
        raise OSError("the audit trail cannot be written")

    other._record = refuse  # type: ignore[method-assign,assignment]
    other.restart()
    with pytest.raises(OSError, match="audit trail"):
        other.manager.device_users.add(DeviceUserFields("a", "b"), PASSWORD, actor=ALICE)
    assert other.manager.device_users.list() == []
    other.database.close()
