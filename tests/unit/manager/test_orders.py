"""Orders: routing, states, answers, fetching, and what people are told."""

from __future__ import annotations

import pytest
from cryptography import x509

from certwright.adcs.errors import AdcsError, BadRequest, BadRequestState, CaUnreachable, InvalidArgument
from certwright.adcs.events import AuditEvent, LifecycleKind
from certwright.connectors.service import CredentialKind
from certwright.manager.values import OrderFields, OrderFilter, OrderQuery, OrderState
from tests.support.managing import ALICE, PASSWORD, Managed, order_fields
from tests.support.requests import ec_key, make_request, name, web_server_request
from tests.support.scripted_ca import Answer


def test_an_issued_order_is_fetched_with_its_chain_and_paired_with_its_key(desk: Managed) -> None:
    _, ca = desk.service()
    order = desk.order("web.corp.example", tags=("web",))
    assert order.state is OrderState.ISSUED
    assert order.key_held
    assert order.certificate_id is not None
    details = desk.manager.inventory.get(order.certificate_id)
    assert details.row.common_name == "web.corp.example"
    assert details.row.key_held
    assert details.row.managed
    assert details.row.tags == ("web",)
    assert details.row.owner == ALICE
    assert details.row.template == "WebServer"
    assert details.chain == (ca.certificate,)
    assert [(line.actor, line.text.split(";")[0]) for line in details.history] == [
        (ALICE, f"Fetched from order {order.id}, request 100 at ca01.corp.example")
    ]


def test_the_request_made_here_asks_for_what_was_entered(desk: Managed) -> None:
    desk.service()
    order = desk.order("web.corp.example")
    request = x509.load_der_x509_csr(desk.manager.orders.csr(order.id))
    assert request.is_signature_valid
    assert request.subject.rfc4514_string() == "CN=web.corp.example"
    names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["web.corp.example"]


def test_an_order_goes_out_as_the_device_user_of_its_service(desk: Managed) -> None:
    desk.service()
    desk.order()
    credential = desk.reach.credentials[-1]
    assert (credential.username, credential.kind, credential.secret) == (
        r"CORP\svc-web",
        CredentialKind.PASSWORD,
        PASSWORD,
    )


def test_the_lowest_priority_number_is_asked_first(desk: Managed) -> None:
    _, second = desk.service("ca02.corp.example", priority=2)
    _, first = desk.service("ca01.corp.example", priority=1)
    order = desk.order()
    assert (order.hostname, order.priority) == ("ca01.corp.example", 1)
    assert (first.submissions, second.submissions) == (1, 0)


def test_the_next_service_is_asked_when_the_first_is_unreachable(desk: Managed) -> None:
    _, first = desk.service("ca01.corp.example", Answer.UNREACHABLE, priority=1)
    service, second = desk.service("ca02.corp.example", priority=2)
    order = desk.order()
    assert order.state is OrderState.ISSUED
    assert order.service_id == service.id
    assert (first.submissions, second.submissions) == (0, 1)
    assert any("ca01.corp.example was not reached, nothing was sent" in line for line in desk.stories(order.id))
    assert desk.manager.services.list()[0].last_error == "ca01.corp.example does not answer."
    assert LifecycleKind.SERVICE_UNREACHABLE in desk.told_kinds()


def test_a_denial_does_not_go_to_the_next_service(desk: Managed) -> None:
    desk.service("ca01.corp.example", Answer.DENIED, priority=1)
    _, second = desk.service("ca02.corp.example", priority=2)
    order = desk.order()
    assert order.state is OrderState.DENIED
    assert order.message == r"Denied by CORP\officer"
    assert second.submissions == 0
    assert desk.told_kinds() == [LifecycleKind.ORDER_DENIED]


def test_a_service_known_not_to_offer_the_template_is_passed_over(desk: Managed) -> None:
    service, ca = desk.service("ca01.corp.example", priority=1)
    ca.templates = ("User",)
    desk.manager.services.refresh(service.id, actor=ALICE)
    desk.service("ca02.corp.example", priority=2)
    assert desk.order().hostname == "ca02.corp.example"


def test_when_no_service_is_known_to_offer_it_all_are_asked(desk: Managed) -> None:
    service, _ = desk.service()
    desk.manager.services.refresh(service.id, actor=ALICE)
    assert desk.order(template="Unlisted").state is OrderState.ISSUED


def test_nothing_is_sent_anywhere_when_nobody_is_reached_and_it_may_be_sent_again(desk: Managed) -> None:
    _, ca = desk.service(answer=Answer.UNREACHABLE)
    order = desk.order()
    assert order.state is OrderState.FAILED
    assert order.may_resubmit
    assert "nothing was sent" in order.message
    ca.answers = [Answer.ISSUED]
    again = desk.manager.orders.resubmit(order.id, actor=ALICE)
    assert (again.id, again.state, ca.submissions) == (order.id, OrderState.ISSUED, 1)


def test_an_error_before_there_is_a_request_fails_the_order(desk: Managed) -> None:
    desk.service(answer=Answer.REFUSED)
    order = desk.order()
    assert order.state is OrderState.FAILED
    assert order.may_resubmit
    assert "lets this account in no more" in order.message


def test_an_issued_or_denied_order_is_not_sent_again(desk: Managed) -> None:
    desk.service(answer=Answer.DENIED)
    with pytest.raises(BadRequestState, match="denied and is not sent again"):
        desk.manager.orders.resubmit(desk.order().id, actor=ALICE)


def test_a_certificate_for_another_key_is_no_success(desk: Managed) -> None:
    desk.service(answer=Answer.WRONG_KEY)
    order = desk.order()
    assert order.state is OrderState.FAILED
    assert "for another key" in order.message
    assert not order.may_resubmit
    assert desk.manager.inventory.bands()[0].total == 0


def test_a_domain_without_a_service_is_refused_and_leaves_no_order(desk: Managed) -> None:
    desk.service()
    with pytest.raises(InvalidArgument, match=r"OTHER has no AD CS service.*CORP"):
        desk.order(domain="OTHER")
    assert desk.manager.orders.list().count == 0


def test_a_request_that_is_not_signed_by_its_key_is_refused(desk: Managed) -> None:
    desk.service()
    forged = make_request(ec_key(), subject=name(("CN", "web")), signature=b"\x30\x06\x02\x01\x01\x02\x01\x01")
    with pytest.raises(BadRequest, match="not signed by the key"):
        desk.manager.orders.place(OrderFields("CORP", "WebServer", csr=forged), actor=ALICE)


def test_a_pasted_request_is_ordered_and_its_key_is_elsewhere(desk: Managed) -> None:
    desk.service()
    order = desk.manager.orders.place(
        OrderFields("corp", "WebServer", csr=web_server_request("web.corp.example")), actor=ALICE
    )
    assert (order.domain, order.common_name, order.key_held) == ("CORP", "web.corp.example", False)
    assert order.names == "DNS:web.corp.example"


def test_the_same_page_sent_twice_is_one_order(desk: Managed) -> None:
    _, ca = desk.service()
    first, second = (desk.order("web.corp.example", token="page-1") for _ in range(2))
    assert first.id == second.id
    assert ca.submissions == 1


# -- pending -------------------------------------------------------------------------------------------------------


def test_a_pending_order_settles_by_itself_once_it_is_issued(desk: Managed) -> None:
    _, ca = desk.service(answer=Answer.PENDING)
    order = desk.order()
    assert (order.state, order.request_id) == (OrderState.PENDING, 100)
    ca.issue(100)
    assert desk.manager.tasks.track().what == ()
    desk.later(minutes=1)
    assert desk.manager.tasks.track().what == (f"order {order.id}: Issued, fetched",)
    after = desk.manager.orders.get(order.id)
    assert after.state is OrderState.ISSUED
    assert after.fetched


def test_a_pending_order_is_asked_after_at_growing_intervals_up_to_an_hour(desk: Managed) -> None:
    _, ca = desk.service(answer=Answer.PENDING)
    desk.order()
    asked = []
    for minute in range(1, 60 * 6):
        desk.later(minutes=1)
        before = ca.retrievals
        desk.manager.tasks.track()
        if ca.retrievals > before:
            asked.append(minute)
    assert asked == [1, 2, 4, 8, 16, 32, 64, 124, 184, 244, 304]


def test_a_pending_order_that_somebody_watches_is_asked_after_every_minute(desk: Managed) -> None:
    """A page that is open asks every few seconds; its CA is asked no oftener than that."""
    _, ca = desk.service(answer=Answer.PENDING)
    order = desk.order()
    desk.later(hours=2)
    desk.manager.tasks.track()  # from here on it would be an hour's wait
    before = ca.retrievals
    for _ in range(30):
        desk.later(seconds=10)
        desk.manager.orders.hasten(order.id)
        desk.manager.tasks.track()
    assert ca.retrievals - before == 5
    ca.issue(100)
    desk.later(minutes=1)
    desk.manager.orders.hasten(order.id)
    desk.manager.tasks.track()
    assert desk.manager.orders.get(order.id).state is OrderState.ISSUED
    desk.manager.orders.hasten(order.id)  # nothing is left to ask


def test_a_denial_after_waiting_is_noticed(desk: Managed) -> None:
    _, ca = desk.service(answer=Answer.PENDING)
    order = desk.order()
    ca.deny(100)
    desk.later(minutes=1)
    desk.manager.tasks.track()
    assert desk.manager.orders.get(order.id).state is OrderState.DENIED
    assert desk.told_kinds() == [LifecycleKind.ORDER_PENDING, LifecycleKind.ORDER_DENIED]


def test_a_service_that_is_down_is_asked_once_a_round(desk: Managed) -> None:
    _, ca = desk.service(answer=Answer.PENDING)
    orders = [desk.order() for _ in range(3)]
    ca.down = True
    desk.later(minutes=1)
    said = desk.manager.tasks.track().what
    assert said == (f"order {orders[0].id}: ca01.corp.example does not answer.",)
    assert {desk.manager.orders.get(each.id).state for each in orders} == {OrderState.PENDING}


def test_checking_by_hand_says_when_the_service_is_down(desk: Managed) -> None:
    _, ca = desk.service(answer=Answer.PENDING)
    order = desk.order()
    ca.down = True
    with pytest.raises(CaUnreachable):
        desk.manager.orders.check(order.id, actor=ALICE)


# -- approval ------------------------------------------------------------------------------------------------------


def test_configured_templates_are_approved_by_themselves_and_audited(desk: Managed) -> None:
    desk.service(answer=Answer.PENDING, approve_templates=("webserver",))
    order = desk.order()
    assert order.state is OrderState.ISSUED
    assert order.approval == "approved"
    assert order.fetched
    [event] = desk.events(AuditEvent.ORDER_APPROVED)
    assert event.details["automatic"] == "yes"
    assert event.details["request_id"] == 100


def test_other_templates_wait(desk: Managed) -> None:
    desk.service(answer=Answer.PENDING, approve_templates=("User",))
    order = desk.order()
    assert (order.state, order.approval) == (OrderState.PENDING, "")


def test_where_it_may_not_be_approved_the_order_stays_pending_with_the_reason(desk: Managed) -> None:
    _, ca = desk.service(answer=Answer.PENDING, approve_templates=("WebServer",))
    ca.approves = False
    order = desk.order()
    assert order.state is OrderState.PENDING
    assert order.approval == "not approved: You are no certificate manager of this CA."
    assert desk.events(AuditEvent.ORDER_APPROVED) == []
    with pytest.raises(AdcsError, match="no certificate manager"):
        desk.manager.orders.approve(order.id, actor=ALICE)


# -- fetching ------------------------------------------------------------------------------------------------------


def test_a_second_fetch_makes_no_duplicate(desk: Managed) -> None:
    desk.service()
    order = desk.order(fetch=False)
    assert not order.fetched
    first = desk.manager.orders.fetch(order.id, actor=ALICE)
    assert desk.manager.orders.fetch(order.id, actor=ALICE) == first
    assert len(desk.events(AuditEvent.ORDER_FETCHED)) == 1


def test_the_certificate_is_asked_for_where_the_answer_did_not_carry_it(desk: Managed) -> None:
    service, ca = desk.service()
    desk.manager.services.refresh(service.id, actor=ALICE)
    ca.hide_certificates = True
    order = desk.order()
    assert order.certificate_id is not None
    assert desk.manager.inventory.get(order.certificate_id).chain == (ca.certificate,)


def test_only_an_issued_order_can_be_fetched(desk: Managed) -> None:
    desk.service(answer=Answer.PENDING)
    with pytest.raises(BadRequestState, match="is pending"):
        desk.manager.orders.fetch(desk.order().id, actor=ALICE)


def test_many_are_fetched_each_by_itself(desk: Managed) -> None:
    _, ca = desk.service()
    ca.answers = [Answer.ISSUED, Answer.PENDING]
    issued, pending = desk.order(fetch=False), desk.order()
    result = desk.manager.orders.fetch_many([issued.id, pending.id], actor=ALICE)
    assert result.done == (issued.id,)
    assert list(result.refused) == [pending.id]


# -- lists, deletion -----------------------------------------------------------------------------------------------


def test_tabs_and_filters_find_orders(desk: Managed) -> None:
    _, ca = desk.service()
    ca.answers = [Answer.ISSUED, Answer.PENDING, Answer.DENIED, Answer.UNREACHABLE]
    desk.order("a.corp.example", fetch=False)
    pending = desk.order("b.corp.example")
    desk.order("c.corp.example")
    desk.order("d.corp.example")
    tabs = desk.manager.orders.tabs()
    assert (tabs.all, tabs.pending, tabs.to_fetch, tabs.issued, tabs.denied, tabs.unsettled) == (4, 1, 1, 1, 1, 1)
    orders = desk.manager.orders
    assert [o.id for o in orders.list(OrderQuery(tab=OrderFilter.PENDING)).rows] == [pending.id]
    assert [o.common_name for o in orders.list(OrderQuery(text="C.corp")).rows] == ["c.corp.example"]
    assert [o.id for o in orders.list(OrderQuery(text="101")).rows] == [pending.id]
    assert orders.list(OrderQuery(owner=r"CORP\bob")).rows == ()


def test_pages_of_orders_follow_each_other(desk: Managed) -> None:
    desk.service(answer=Answer.DENIED)
    placed = [desk.order().id for _ in range(5)]
    found: list[int] = []
    page = desk.manager.orders.list(OrderQuery(limit=2))
    while True:
        found += [order.id for order in page.rows]
        if page.next is None:
            break
        page = desk.manager.orders.list(OrderQuery(limit=2, before=page.next))
    assert found == placed[::-1]


def test_deleting_removes_only_the_record_and_can_be_undone_for_an_hour(desk: Managed) -> None:
    _, ca = desk.service(answer=Answer.PENDING)
    order = desk.order()
    assert desk.manager.orders.delete([order.id], actor=ALICE).done == (order.id,)
    assert desk.manager.orders.list().count == 0
    assert list(ca.rows) == [100]
    desk.later(minutes=30)
    assert desk.manager.tasks.track().what == ()
    assert desk.manager.orders.restore(order.id, actor=ALICE).state is OrderState.PENDING
    desk.manager.orders.delete([order.id], actor=ALICE)
    desk.later(hours=2)
    desk.manager.tasks.track()
    with pytest.raises(InvalidArgument):
        desk.manager.orders.restore(order.id, actor=ALICE)


def test_a_request_is_read_without_being_sent(desk: Managed) -> None:
    _, ca = desk.service()
    facts = desk.manager.orders.read_request(web_server_request("web.corp.example"))
    assert (facts.common_name, facts.names, facts.key_name) == (
        "web.corp.example",
        ("DNS:web.corp.example",),
        "P-256",
    )
    assert ca.submissions == 0


def test_an_order_has_either_a_request_or_a_key(desk: Managed) -> None:
    desk.service()
    with pytest.raises(InvalidArgument, match="either"):
        desk.manager.orders.place(order_fields("a", csr=web_server_request()), actor=ALICE)
    with pytest.raises(InvalidArgument, match="either"):
        desk.manager.orders.place(OrderFields("CORP", "WebServer"), actor=ALICE)
