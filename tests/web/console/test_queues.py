"""Queues of a CA: what is decided on, one by one and several at once; what comes back; what is marked."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from certwright.adcs.interfaces import CertAdmin, Table
from certwright.adcs.request import template_attributes
from certwright.console.pages.ca_request import _may_issue_own
from certwright.server.composition import Installation
from tests.support.installation import ISSUING, GateTemplates, People
from tests.support.requests import web_server_request
from tests.web.console.conftest import Browser, text_of
from tests.web.console.test_ca_pages import CA, fingerprint_of, requester, state_of, submit

SignIn = Callable[..., Browser]
HTMX = {"HX-Request": "true"}


@pytest.fixture
def officer(installation: Installation) -> CertAdmin:
    config = next(ca.config for ca in installation.cas if ca.config.endswith(ISSUING))
    return installation.registry.administer(config, requester(installation, People.OFFICER))


@pytest.fixture
def waiting(installation: Installation, officer: CertAdmin) -> list[int]:
    """Three requests, and nothing else: what other tests left would push them to the next page."""
    for row in officer.view(Table.PENDING_REQUESTS, columns=["request_id"]):
        officer.deny(int(row["request_id"]))
    return [submit(installation, GateTemplates.APPROVAL).request_id for _each in range(3)]


def hidden(answer: Any, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]*)"', answer.content.decode())
    assert found is not None, name
    return found[1]


# -- the queue -------------------------------------------------------------------------------------------------------


def test_after_an_act_the_one_behind_is_selected(sign_in: SignIn, waiting: list[int]) -> None:
    browser = sign_in(People.OFFICER)
    data = {"fingerprint": fingerprint_of(browser, waiting[0])}
    answer = browser.post(f"{CA}/requests/{waiting[0]}/issue/", data)
    assert answer["Location"] == f"{CA}/pending/?request={waiting[1]}"
    answer = browser.post(f"{CA}/requests/{waiting[1]}/deny/", {"reason": "no"})
    assert answer["Location"].endswith(f"/pending/?request={waiting[2]}")


def test_the_right_half_comes_alone_where_htmx_asks_for_it(sign_in: SignIn, waiting: list[int]) -> None:
    answer = sign_in(People.OFFICER).part(f"{CA}/requests/{waiting[0]}/checks/?queue")
    body = answer.content.decode()
    assert body.lstrip().startswith("<article")
    assert f'data-number="{waiting[0]}"' in body
    assert f"/pending/?request={waiting[0]}&amp;tab=history" in body


def test_the_list_has_the_columns_of_the_mmc(sign_in: SignIn, waiting: list[int]) -> None:
    text = text_of(sign_in(People.AUDITOR).get(f"{CA}/pending/list/"))
    for column in ("Request ID", "Requester Name", "Requested Common Name", "Request Submission Date"):
        assert column in text
    assert "Taken Under Submission" in text


def test_ones_own_request_is_named_before_it_is_issued(sign_in: SignIn, installation: Installation) -> None:
    config = next(ca.config for ca in installation.cas if ca.config.endswith(ISSUING))
    door = installation.registry.connect(config, requester(installation, People.OFFICER))
    number = door.submit(
        web_server_request("own.corp.example"), template_attributes(GateTemplates.APPROVAL)
    ).request_id
    browser = sign_in(People.OFFICER)
    assert "Your own request" in text_of(browser.get(f"{CA}/pending/"))
    assert "This is your own request." in text_of(browser.get(f"{CA}/requests/{number}/issue/"))


@pytest.mark.parametrize(("settings", "may"), [({}, True), ({"approve-own-requests": "off"}, False)])
def test_a_ca_that_keeps_managers_from_their_own_requests_is_mirrored(settings: dict[str, str], may: bool) -> None:
    class Admin:
        def configuration(self) -> dict[str, str]:
            return settings

    assert _may_issue_own(Admin()) is may  # type: ignore[arg-type]


def test_a_name_outside_the_rules_is_marked_where_it_stands(sign_in: SignIn, installation: Installation) -> None:
    number = submit(installation, "WebServer", "www.other.example").request_id
    page = sign_in(People.OFFICER).get(f"{CA}/requests/{number}/").content.decode()
    row = re.search(r"<tr><th scope=\"row\">SAN, .*?</tr>", page)
    assert row is not None
    assert "rule broken" in row[0]
    assert page.count("rule broken") == 1  # not at the subject, which writes it as CN=www.other.example


# -- conflicts -------------------------------------------------------------------------------------------------------


def test_a_conflict_shows_both_pictures_and_who_changed_it(
    sign_in: SignIn, installation: Installation, officer: CertAdmin, waiting: list[int]
) -> None:
    number = waiting[0]
    browser = sign_in(People.ADMINISTRATOR)
    shown = browser.part(f"{CA}/requests/{number}/issue/")
    data = {"_dialog": "1", "fingerprint": hidden(shown, "fingerprint"), "shown": hidden(shown, "shown")}
    data["shown"] = data["shown"].replace("&quot;", '"')
    officer.set_attributes(number, template_attributes(GateTemplates.SHORT))
    answer = browser.post(f"{CA}/requests/{number}/issue/", data, headers=HTMX)
    assert answer.status_code == 409
    text = text_of(answer)
    assert "issued differently than shown" in text
    assert r"CORP\olga" in text
    assert re.search(rf"Template\s+{GateTemplates.APPROVAL}\s+{GateTemplates.SHORT}", text)
    assert state_of(installation, number) == "pending"
    again = {"fingerprint": hidden(answer, "fingerprint")}
    assert browser.post(f"{CA}/requests/{number}/issue/", again).status_code == 302
    assert state_of(installation, number) == "issued"


def test_what_somebody_else_decided_meanwhile_is_said(
    sign_in: SignIn, officer: CertAdmin, waiting: list[int]
) -> None:
    browser = sign_in(People.OFFICER)
    data = {"_dialog": "1", "fingerprint": fingerprint_of(browser, waiting[0])}
    assert officer.resubmit(waiting[0]).is_issued
    answer = browser.post(f"{CA}/requests/{waiting[0]}/issue/", data, headers=HTMX)
    assert answer.status_code == 409
    assert "is issued, not pending" in text_of(answer)


# -- changing a pending request --------------------------------------------------------------------------------------


def test_attributes_are_changed_by_managers_alone(sign_in: SignIn, officer: CertAdmin, waiting: list[int]) -> None:
    path = f"{CA}/requests/{waiting[0]}/attributes/edit/"
    data = {"attributes": f"CertificateTemplate:{GateTemplates.APPROVAL}\nCostCenter: 4711"}
    assert sign_in(People.AUDITOR).post(path, data).status_code == 403
    browser = sign_in(People.OFFICER)
    wrong = browser.post(path, {"attributes": "no colon here"})
    assert wrong.status_code == 422
    assert "is no attribute" in text_of(wrong)
    assert browser.post(path, {"attributes": "a:" + "x" * 2000}).status_code == 422
    assert browser.post(path, data).status_code == 302
    record: Any = officer.request_row(waiting[0])["record"]
    assert "CostCenter:4711" in record.attributes
    text = text_of(browser.get(f"{CA}/pending/?request={waiting[0]}&tab=attributes"))
    assert "CostCenter" in text


def test_an_extension_is_added_and_what_the_ca_refuses_stands_at_the_form(
    sign_in: SignIn, officer: CertAdmin, waiting: list[int]
) -> None:
    path = f"{CA}/requests/{waiting[0]}/extensions/add/"
    browser = sign_in(People.OFFICER)
    refused = browser.post(path, {"oid": "2.5.29.17", "value": "3000"})  # names come from request and directory
    assert refused.status_code == 422
    assert "0x80070005 E_ACCESSDENIED" in text_of(refused)
    assert "cannot be set by hand" in text_of(refused)
    assert browser.post(path, {"oid": "1.2.x", "value": "0500"}).status_code == 422
    assert browser.post(path, {"oid": "1.2.3.4", "value": "***"}).status_code == 422
    tls_feature = {"oid": "1.3.6.1.5.5.7.1.24", "value": "30:03:02:01:05"}
    assert sign_in(People.CA_ADMINISTRATOR).post(path, tls_feature).status_code == 403
    assert browser.post(path, tls_feature).status_code == 302
    stored: Any = officer.request_row(waiting[0])["extensions"]
    assert stored == (("1.3.6.1.5.5.7.1.24", False, bytes.fromhex("3003020105")),)
    text = text_of(browser.get(f"{CA}/requests/{waiting[0]}/extensions/"))
    assert "Set by certificate managers" in text


# -- several at once -------------------------------------------------------------------------------------------------


def test_each_of_several_is_issued_by_itself_and_refused_ones_are_marked(
    sign_in: SignIn, installation: Installation, officer: CertAdmin, waiting: list[int]
) -> None:
    browser = sign_in(People.OFFICER)
    dialog = browser.get(f"{CA}/pending/issue/", data={"pick": waiting})
    assert "Issue 3 requests" in text_of(dialog)
    data: dict[str, Any] = {"pick": waiting}
    data |= {f"fingerprint-{number}": hidden(dialog, f"fingerprint-{number}") for number in waiting}
    officer.set_attributes(waiting[1], template_attributes(GateTemplates.SHORT))
    answer = browser.post(f"{CA}/pending/issue/", data)
    assert answer.status_code == 302
    assert [state_of(installation, number) for number in waiting] == ["issued", "pending", "issued"]
    page = browser.get(answer["Location"])
    assert "2 issued, 1 refused" in text_of(page)
    assert "would now be issued differently" in text_of(page)
    assert 'class="cw-row-refused"' in page.content.decode()
    assert 'class="cw-row-refused"' not in browser.get(answer["Location"]).content.decode()


def test_several_are_denied_with_one_reason(sign_in: SignIn, installation: Installation, waiting: list[int]) -> None:
    path = f"{CA}/pending/deny/"
    assert sign_in(People.AUDITOR).post(path, {"pick": waiting, "reason": "no"}).status_code == 403
    browser = sign_in(People.OFFICER)
    assert browser.post(path, {"pick": waiting}).status_code == 422
    assert browser.post(path, {"pick": waiting, "reason": "not ours"}).status_code == 302
    assert {state_of(installation, number) for number in waiting} == {"denied"}


def test_nothing_ticked_is_said(sign_in: SignIn) -> None:
    answer = sign_in(People.OFFICER).part(f"{CA}/pending/issue/")
    assert answer.status_code == 409
    assert "Tick at least one row" in text_of(answer)


def test_several_are_revoked_when_their_number_was_typed(
    sign_in: SignIn, installation: Installation, officer: CertAdmin, waiting: list[int]
) -> None:
    for number in waiting:
        assert officer.resubmit(number).is_issued
    browser = sign_in(People.OFFICER)
    path = f"{CA}/issued/revoke/"
    dialog = text_of(browser.get(path, data={"pick": waiting}))
    assert "Revoke 3 certificates?" in dialog
    assert f"3 × {GateTemplates.APPROVAL}" in dialog
    data = {"pick": waiting, "reason": "superseded", "word": "2"}
    assert browser.post(path, data).status_code == 422
    assert state_of(installation, waiting[0]) == "issued"
    assert browser.post(path, data | {"word": "3"}).status_code == 302
    assert {state_of(installation, number) for number in waiting} == {"revoked"}


def test_the_reason_is_changed_of_a_certificate_on_hold(
    sign_in: SignIn, officer: CertAdmin, waiting: list[int]
) -> None:
    assert officer.resubmit(waiting[0]).is_issued
    record: Any = officer.request_row(waiting[0])["record"]
    word = record.certificate.serial_number[-4:]
    browser = sign_in(People.OFFICER)
    path = f"{CA}/requests/{waiting[0]}/revoke/"
    assert browser.post(path, {"reason": "certificateHold", "word": word}).status_code == 302
    assert "Change the reason of" in text_of(browser.get(path))
    assert browser.post(path, {"reason": "keyCompromise", "word": word}).status_code == 302
    assert "Key Compromise" in text_of(browser.get(f"{CA}/revoked/?q={waiting[0]}"))


# -- failed requests -------------------------------------------------------------------------------------------------


def test_failed_requests_are_counted_by_code(sign_in: SignIn, installation: Installation) -> None:
    for _each in range(2):
        submit(installation, GateTemplates.STRICT, "www.other.example")
    page = sign_in(People.AUDITOR).get(f"{CA}/failed/")
    found = re.search(r"(\d+) × 0x80094001 CERTSRV_E_BAD_REQUESTSUBJECT", text_of(page))
    assert found is not None
    assert int(found[1]) >= 2
    filtered = sign_in(People.AUDITOR).get(f"{CA}/failed/", data={"f": "status:is:0x80094001"})
    assert f"{found[1]} of {found[1]}" in text_of(filtered)


def test_issue_anyway_is_for_ca_administrators_and_denied_ones(
    sign_in: SignIn, officer: CertAdmin, waiting: list[int]
) -> None:
    officer.deny(waiting[0], "a mistake")
    path = f"{CA}/failed/?q={waiting[0]}"
    assert "Issue anyway" in text_of(sign_in(People.ADMINISTRATOR).get(path))
    assert "Issue anyway" not in text_of(sign_in(People.OFFICER).get(path))
