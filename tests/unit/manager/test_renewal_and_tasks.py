"""Renewal rules, and what the clock does."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography import x509

from certwright.adcs.errors import AccessDenied, BadRequestState, InvalidArgument, NotSupported
from certwright.adcs.events import LifecycleKind
from certwright.adcs.roles import RevocationReason
from certwright.manager.importing import ImportFile
from certwright.manager.inventory_values import CertificateStatus, InventoryQuery
from certwright.manager.renewal import MAX_FAILURES
from certwright.manager.values import Order, OrderState, RenewalKey, RuleFields
from tests.support.inventory_files import certificate
from tests.support.managing import ALICE, Managed
from tests.support.requests import ec_key
from tests.support.scripted_ca import Answer

WEB = RuleFields("web", days_before=30, tag="web")


def ordered(desk: Managed, **fields: object) -> Order:
    order = desk.order("web.corp.example", tags=("web",), **fields)
    assert order.certificate_id is not None
    return order


def public_keys(desk: Managed) -> list[str]:
    return [row.spki_sha256 for row in desk.manager.inventory.stream(InventoryQuery(is_ca=False))]


def test_a_rule_orders_before_the_end_and_not_sooner(desk: Managed) -> None:
    _, ca = desk.service()
    old = ordered(desk)
    desk.manager.renewal.add(WEB, actor=ALICE)
    desk.later(days=334)
    assert desk.manager.tasks.renew().what == ()
    desk.later(days=1)
    assert desk.manager.tasks.renew().what == ("web.corp.example: order 2 is issued",)
    new = desk.manager.orders.get(2)
    assert (new.renews, new.template, new.owner, new.tags) == (old.certificate_id, "WebServer", ALICE, ("web",))
    first, second = (row.request for row in ca.rows.values())
    before, after = (x509.load_der_x509_csr(each) for each in (first, second))
    assert before.subject == after.subject
    assert list(before.extensions) == list(after.extensions)
    assert len(set(public_keys(desk))) == 2
    assert desk.told_kinds()[-1] is LifecycleKind.CERTIFICATE_RENEWED
    rule = desk.manager.renewal.list()[0]
    assert (rule.ordered, rule.failures, rule.last_run) == (1, 0, desk.now)


def test_an_order_that_asks_for_it_brings_a_rule_of_its_own_which_its_successor_inherits(desk: Managed) -> None:
    desk.service()
    order = ordered(desk, renew_days=20)
    desk.manager.orders.fetch(order.id, actor=ALICE)  # once more: still one rule
    (rule,) = desk.manager.renewal.list()
    assert (rule.fields.days_before, rule.fields.certificate_id) == (20, order.certificate_id)
    desk.later(days=344)
    assert desk.manager.tasks.renew().what == ()
    desk.later(days=1)
    assert desk.manager.tasks.renew().what == ("web.corp.example: order 2 is issued",)
    (rule,) = desk.manager.renewal.list()
    assert rule.fields.certificate_id == desk.manager.orders.get(2).certificate_id
    desk.later(days=345)
    assert desk.manager.tasks.renew().what == ("web.corp.example: order 3 is issued",)


@pytest.mark.parametrize("days", [-1, 366])
def test_an_order_is_renewed_within_a_year_or_not_by_itself(desk: Managed, days: int) -> None:
    desk.service()
    with pytest.raises(InvalidArgument, match="1 to 365"):
        desk.order(renew_days=days)


def test_the_same_key_is_used_where_the_rule_says_so(desk: Managed) -> None:
    desk.service()
    ordered(desk)
    desk.manager.renewal.add(RuleFields("web", tag="web", key=RenewalKey.SAME), actor=ALICE)
    desk.later(days=340)
    desk.manager.tasks.renew()
    keys = public_keys(desk)
    assert len(keys) == 2
    assert len(set(keys)) == 1


def test_a_renewal_that_is_denied_is_told_and_tried_again_a_day_later(desk: Managed) -> None:
    _, ca = desk.service()
    ordered(desk)
    rule = desk.manager.renewal.add(WEB, actor=ALICE)
    desk.later(days=340)
    ca.answers = [Answer.DENIED]
    desk.manager.tasks.renew()
    desk.later(hours=2)
    assert desk.manager.tasks.renew().what == ()
    after = desk.manager.renewal.get(rule.id)
    assert (after.failures, after.last_failure) == (1, r"web.corp.example: Denied by CORP\officer")
    assert LifecycleKind.RENEWAL_FAILED in desk.told_kinds()
    assert desk.manager.renewal.failed_count() == 1
    ca.answers = [Answer.ISSUED]
    desk.later(days=1)
    assert desk.manager.tasks.renew().what == ("web.corp.example: order 3 is issued",)
    assert desk.manager.renewal.failed_count() == 0


def test_after_five_failures_a_certificate_is_left_to_people(desk: Managed) -> None:
    _, ca = desk.service()
    order = ordered(desk)
    desk.manager.renewal.add(WEB, actor=ALICE)
    desk.later(days=336)
    ca.answers = [Answer.DENIED]
    for _ in range(12):
        desk.manager.tasks.renew()
        desk.later(days=1)
    assert len(ca.rows) == 1 + MAX_FAILURES
    [planned] = desk.manager.renewal.dry_run()
    assert "failed 5 times" in planned.problem
    ca.answers = [Answer.ISSUED]
    assert order.certificate_id is not None
    assert desk.manager.renewal.renew(order.certificate_id, actor=ALICE).state is OrderState.ISSUED


def test_a_renewal_that_waits_is_not_ordered_again(desk: Managed) -> None:
    _, ca = desk.service()
    ordered(desk)
    desk.manager.renewal.add(WEB, actor=ALICE)
    desk.manager.renewal.add(RuleFields("all of it", match_template="WebServer"), actor=ALICE)
    desk.later(days=340)
    ca.answers = [Answer.PENDING]
    for _ in range(5):
        desk.manager.tasks.renew()
        desk.later(days=1)
    assert len(ca.rows) == 2
    [row] = desk.manager.inventory.stream(InventoryQuery(is_ca=False))
    assert (row.renewal, row.renewal_order) == ("ordered", 2)


def test_an_order_that_failed_does_not_renew_beside_another_one(desk: Managed) -> None:
    _, ca = desk.service()
    ordered(desk)
    desk.manager.renewal.add(WEB, actor=ALICE)
    desk.later(days=340)
    ca.answers = [Answer.UNREACHABLE]
    desk.manager.tasks.renew()
    assert desk.manager.orders.get(2).may_resubmit
    ca.answers = [Answer.PENDING]
    desk.later(days=1)
    desk.manager.tasks.renew()
    with pytest.raises(BadRequestState, match="Another order renews"):
        desk.manager.orders.resubmit(2, actor=ALICE)


def test_a_dry_run_says_what_when_and_what_is_in_the_way(desk: Managed) -> None:
    desk.service()
    ordered(desk)
    data = certificate("foreign.corp.example", days=40, key=ec_key("P-256", 3))
    desk.manager.importing.store([ImportFile("a", data)], tags=["web"], managed=True, actor=ALICE)
    rule = desk.manager.renewal.add(RuleFields("web", tag="web", key=RenewalKey.SAME), actor=ALICE)
    [foreign] = desk.manager.renewal.dry_run(rule.id)
    assert foreign.common_name == "foreign.corp.example"
    assert foreign.when == desk.now + timedelta(days=10)
    assert "domain has to be named" in foreign.problem
    assert len(desk.manager.renewal.dry_run(days=350)) == 2
    assert desk.manager.orders.list().count == 1, "a dry run orders nothing"


def test_a_rule_with_a_place_renews_what_was_not_ordered_here(desk: Managed) -> None:
    desk.service()
    data = certificate("foreign.corp.example", days=20, key=ec_key("P-256", 3))
    desk.manager.importing.store([ImportFile("a", data)], tags=["web"], managed=True, actor=ALICE)
    desk.manager.renewal.add(RuleFields("web", tag="web", domain="CORP", template="WebServer"), actor=ALICE)
    assert desk.manager.tasks.renew().what == ("foreign.corp.example: order 1 is issued",)


def test_what_is_only_monitored_is_not_renewed(desk: Managed) -> None:
    desk.service()
    desk.manager.importing.store([ImportFile("a", certificate(days=20))], tags=["web"], actor=ALICE)
    desk.manager.renewal.add(RuleFields("web", tag="web", domain="CORP", template="WebServer"), actor=ALICE)
    assert desk.manager.tasks.renew().what == ()


@pytest.mark.parametrize(
    "fields",
    [
        RuleFields("x"),
        RuleFields("", tag="web"),
        RuleFields("x", tag="web", days_before=0),
        RuleFields("x", tag="web", days_before=400),
    ],
)
def test_a_rule_that_means_everything_or_nothing_is_refused(desk: Managed, fields: RuleFields) -> None:
    with pytest.raises(InvalidArgument):
        desk.manager.renewal.add(fields, actor=ALICE)


def test_rules_are_edited_switched_off_and_deleted(desk: Managed) -> None:
    desk.service()
    ordered(desk)
    rule = desk.manager.renewal.add(WEB, actor=ALICE)
    off = desk.manager.renewal.edit(rule.id, RuleFields("web", tag="web", enabled=False), actor=ALICE)
    assert not off.fields.enabled
    desk.later(days=340)
    assert desk.manager.tasks.renew().what == ()
    desk.manager.renewal.delete(rule.id, actor=ALICE)
    assert desk.manager.renewal.list() == []


# -- revocation ----------------------------------------------------------------------------------------------------


def test_a_certificate_is_revoked_at_its_ca_and_here(desk: Managed) -> None:
    _, ca = desk.service()
    number = ordered(desk).certificate_id
    assert number is not None
    desk.manager.inventory.revoke(number, RevocationReason.SUPERSEDED, actor=ALICE)
    row = desk.manager.inventory.get(number).row
    assert ca.revoked == [row.serial]
    assert row.status(desk.now) is CertificateStatus.REVOKED
    assert desk.told_kinds()[-1] is LifecycleKind.CERTIFICATE_REVOKED
    with pytest.raises(BadRequestState, match="revoked already"):
        desk.manager.inventory.revoke(number, RevocationReason.SUPERSEDED, actor=ALICE)


def test_where_the_ca_refuses_nothing_is_revoked_here(desk: Managed) -> None:
    _, ca = desk.service()
    ca.approves = False
    number = ordered(desk).certificate_id
    assert number is not None
    with pytest.raises(AccessDenied):
        desk.manager.inventory.revoke(number, RevocationReason.UNSPECIFIED, actor=ALICE)
    assert desk.manager.inventory.get(number).row.revoked is None


def test_what_came_from_elsewhere_is_revoked_elsewhere(desk: Managed) -> None:
    added = desk.manager.importing.store([ImportFile("a", certificate())], actor=ALICE).added
    with pytest.raises(NotSupported, match="at the CA that issued it"):
        desk.manager.inventory.revoke(added[0], RevocationReason.UNSPECIFIED, actor=ALICE)


# -- the clock -----------------------------------------------------------------------------------------------------


def test_a_superseded_certificate_is_told_of_no_more(desk: Managed) -> None:
    desk.service()
    ordered(desk)
    desk.manager.renewal.add(WEB, actor=ALICE)
    desk.later(days=340)
    desk.manager.tasks.renew()
    desk.told.clear()
    desk.manager.tasks.expiry_notices()
    assert desk.told == []


def test_notices_carry_what_rules_filter_on(desk: Managed) -> None:
    data = certificate(days=5, template="WebServer")
    desk.manager.importing.store([ImportFile("a", data)], owner="alice", tags=["web"], actor=ALICE)
    done = desk.manager.tasks.expiry_notices()
    assert done.what == ("web.corp.example: expires in 5 days",)
    [event] = desk.told
    assert event.kind is LifecycleKind.CERTIFICATE_EXPIRING
    assert {name: event.facts[name] for name in ("band", "days_left", "owner", "tags", "template")} == {
        "band": 7,
        "days_left": 5,
        "owner": "alice",
        "tags": "web",
        "template": "WebServer",
    }


def test_tasks_say_when_they_are_due_next(desk: Managed) -> None:
    desk.service(answer=Answer.PENDING)
    assert desk.manager.tasks.track().next_due == desk.now + timedelta(minutes=1)
    desk.order()
    desk.later(seconds=30)
    assert desk.manager.tasks.track().next_due == desk.now + timedelta(seconds=30)
    assert desk.manager.tasks.renew().next_due == desk.now + timedelta(hours=1)
