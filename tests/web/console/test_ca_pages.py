"""The pages of a CA: queues, one request, templates, revocation, properties; by roles, and with the CA's own no."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import count
from typing import Any
from urllib.parse import quote

import pytest

from certwright.adcs.interfaces import Table
from certwright.adcs.request import Response, template_attributes
from certwright.adcs.requester import AuthMethod, Requester
from certwright.console.pages.ca_properties import TABS
from certwright.pki.names import sanitized_name
from certwright.server.composition import Installation
from tests.support.installation import ISSUING, GateTemplates, People
from tests.support.requests import web_server_request
from tests.web.console.conftest import Browser, text_of

CA = f"/ca/{quote(sanitized_name(ISSUING))}"
_numbers = count(1)
SignIn = Callable[..., Browser]


def requester(installation: Installation, name: str) -> Requester:
    found = installation.directory.principal(name)
    assert found is not None
    return Requester(found.account, found.sid, found.groups, AuthMethod.LOCAL)


def submit(installation: Installation, template: str, name: str = "") -> Response:
    """A request of somebody who may enroll, from the directory's side of the one door."""
    name = name or f"host{next(_numbers)}.corp.example"
    config = next(ca.config for ca in installation.cas if ca.config.endswith(ISSUING))
    door = installation.registry.connect(config, requester(installation, People.ENROLLEE))
    return door.submit(web_server_request(name), template_attributes(template))


@pytest.fixture
def waiting(installation: Installation) -> int:
    return submit(installation, GateTemplates.APPROVAL).request_id


@pytest.fixture
def certificate(installation: Installation, sign_in: SignIn) -> tuple[int, str]:
    """An issued certificate: its request ID and serial number."""
    number = submit(installation, GateTemplates.APPROVAL).request_id
    config = next(ca.config for ca in installation.cas if ca.config.endswith(ISSUING))
    admin = installation.registry.administer(config, requester(installation, People.OFFICER))
    assert admin.resubmit(number).is_issued
    record: Any = admin.request_row(number)["record"]
    return number, record.certificate.serial_number


def state_of(installation: Installation, number: int) -> str:
    config = next(ca.config for ca in installation.cas if ca.config.endswith(ISSUING))
    record: Any = installation.registry.administer(config, requester(installation, "Administrator")).request_row(
        number
    )["record"]
    return str(record.state.name.lower())


def fingerprint_of(browser: Browser, number: int) -> str:
    page = browser.get(f"{CA}/requests/{number}/issue/").content.decode()
    found = re.search(r'name="fingerprint" value="([0-9a-f]+)"', page)
    assert found is not None
    return found[1]


# -- who sees what ---------------------------------------------------------------------------------------------------

PAGES = ("pending/", "issued/", "revoked/", "failed/")
READERS = (People.ADMINISTRATOR, People.OFFICER, People.CA_ADMINISTRATOR, People.AUDITOR)


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("name", READERS)
def test_queues_are_read_by_the_roles_of_the_ca(sign_in: SignIn, waiting: int, path: str, name: str) -> None:
    assert sign_in(name).get(f"{CA}/{path}").status_code == 200


@pytest.mark.parametrize("path", [*PAGES, "requests/1/"])
@pytest.mark.parametrize("name", [People.PLAIN, People.BACKUP])
def test_queues_are_nobody_elses(sign_in: SignIn, path: str, name: str) -> None:
    assert sign_in(name).get(f"{CA}/{path}").status_code == 403


def test_an_unknown_ca_and_an_unknown_request_are_not_there(sign_in: SignIn) -> None:
    browser = sign_in(People.OFFICER)
    assert browser.get("/ca/nowhere/pending/").status_code == 404
    assert browser.get(f"{CA}/requests/999999/").status_code == 404


# -- pending requests ------------------------------------------------------------------------------------------------


def test_the_queue_shows_what_was_asked_and_what_would_be_issued(sign_in: SignIn, waiting: int) -> None:
    text = text_of(sign_in(People.OFFICER).get(f"{CA}/pending/?request={waiting}"))
    for words in ("Requested", "Would be issued", "Why it waits", "as asked", "Deny", "Issue", "CDP, AIA, OCSP"):
        assert words in text


@pytest.mark.parametrize("tab", ["", "checks/", "attributes/", "extensions/", "history/"])
def test_every_tab_of_a_request(sign_in: SignIn, waiting: int, tab: str) -> None:
    assert sign_in(People.OFFICER).get(f"{CA}/requests/{waiting}/{tab}").status_code == 200


def test_an_officer_issues_what_was_previewed(sign_in: SignIn, installation: Installation, waiting: int) -> None:
    browser = sign_in(People.OFFICER)
    fingerprint = fingerprint_of(browser, waiting)
    assert browser.post(f"{CA}/requests/{waiting}/issue/", {"fingerprint": fingerprint}).status_code == 302
    assert state_of(installation, waiting) == "issued"


def test_a_changed_picture_is_a_conflict_and_issues_nothing(
    sign_in: SignIn, installation: Installation, waiting: int
) -> None:
    browser = sign_in(People.OFFICER)
    answer = browser.post(f"{CA}/requests/{waiting}/issue/", {"fingerprint": "0" * 64})
    assert answer.status_code == 409
    assert "would now be issued differently" in text_of(answer)
    assert "Would be issued" in text_of(answer)
    assert state_of(installation, waiting) == "pending"


def test_an_issue_without_a_preview_is_a_conflict(sign_in: SignIn, installation: Installation, waiting: int) -> None:
    assert sign_in(People.OFFICER).post(f"{CA}/requests/{waiting}/issue/").status_code == 409
    assert state_of(installation, waiting) == "pending"


@pytest.mark.parametrize("name", [People.AUDITOR, People.PLAIN])
@pytest.mark.parametrize("act", ["issue", "deny", "revoke", "release"])
def test_acts_are_refused_to_those_without_the_role(
    sign_in: SignIn, installation: Installation, waiting: int, name: str, act: str
) -> None:
    assert sign_in(name).post(f"{CA}/requests/{waiting}/{act}/", {"reason": "no"}).status_code == 403
    assert state_of(installation, waiting) == "pending"


def test_the_ca_itself_refuses_an_administrator_who_is_no_certificate_manager(
    sign_in: SignIn, installation: Installation, waiting: int
) -> None:
    """The console lets CA administrators ask (they may issue denied ones); the decision is the CA's."""
    browser = sign_in(People.CA_ADMINISTRATOR)
    assert browser.post(f"{CA}/requests/{waiting}/deny/", {"reason": "no"}).status_code == 403
    fingerprint = fingerprint_of(browser, waiting)
    assert browser.post(f"{CA}/requests/{waiting}/issue/", {"fingerprint": fingerprint}).status_code == 403
    assert state_of(installation, waiting) == "pending"


def test_denying_asks_for_a_reason_and_the_requester_reads_it(
    sign_in: SignIn, installation: Installation, waiting: int
) -> None:
    browser = sign_in(People.OFFICER)
    assert browser.post(f"{CA}/requests/{waiting}/deny/", {"reason": ""}).status_code == 422
    assert browser.post(f"{CA}/requests/{waiting}/deny/", {"reason": "not ours"}).status_code == 302
    assert state_of(installation, waiting) == "denied"
    assert "not ours" in text_of(browser.get(f"{CA}/failed/?q={waiting}"))


def test_the_dashboard_counts_every_request_that_failed_since_yesterday(
    sign_in: SignIn, installation: Installation
) -> None:
    browser = sign_in(People.OFFICER)

    def tile() -> tuple[int, int]:
        """How many failed, and how many of the template that failed most."""
        found = re.search(r"Failed, last 24 h\s+(\d+)\s+(?:(\d+) of one template|none)", text_of(browser.get("/")))
        assert found is not None
        return int(found[1]), int(found[2] or 0)

    before = tile()
    for _ in range(2):
        assert not submit(installation, GateTemplates.STRICT, "elsewhere.example").is_issued
    all_of_them, of_one_template = tile()
    assert all_of_them == before[0] + 2
    assert 2 <= of_one_template <= all_of_them


def test_a_form_from_elsewhere_decides_nothing(sign_in: SignIn, installation: Installation, waiting: int) -> None:
    browser = sign_in(People.OFFICER)
    fingerprint = fingerprint_of(browser, waiting)
    browser.client.handler.enforce_csrf_checks = True
    assert browser.post(f"{CA}/requests/{waiting}/issue/", {"fingerprint": fingerprint}).status_code == 403
    assert state_of(installation, waiting) == "pending"


# -- certificates ----------------------------------------------------------------------------------------------------


def test_hold_and_release(sign_in: SignIn, installation: Installation, certificate: tuple[int, str]) -> None:
    number, serial = certificate
    browser = sign_in(People.OFFICER)
    wrong = {"reason": "certificateHold", "word": "zzzz"}
    assert browser.post(f"{CA}/requests/{number}/revoke/", wrong).status_code == 422
    right = {"reason": "certificateHold", "word": serial[-4:]}
    assert browser.post(f"{CA}/requests/{number}/revoke/", right).status_code == 302
    assert state_of(installation, number) == "revoked"
    assert "On hold" in text_of(browser.get(f"{CA}/revoked/"))
    assert browser.post(f"{CA}/requests/{number}/release/").status_code == 302
    assert state_of(installation, number) == "issued"


def test_revocation_takes_reason_and_date(
    sign_in: SignIn, installation: Installation, certificate: tuple[int, str]
) -> None:
    number, serial = certificate
    browser = sign_in(People.OFFICER)
    data = {"reason": "keyCompromise", "effective": "2026-01-02T03:04", "word": serial[-4:]}
    assert browser.post(f"{CA}/requests/{number}/revoke/", data).status_code == 302
    config = next(ca.config for ca in installation.cas if ca.config.endswith(ISSUING))
    rows = installation.registry.administer(config, requester(installation, People.OFFICER)).view(
        Table.REVOKED_CERTIFICATES
    )
    row = next(row for row in rows if row["request_id"] == number)
    assert row["revoked_reason"] == "keyCompromise"
    assert str(row["revoked_effective"]).startswith("2026-01-02 03:04")


@pytest.mark.parametrize(("what", "starts"), [("request", b"0"), ("certificate", b"0"), ("pem", b"-----BEGIN CERT")])
def test_binary_data_is_exported(sign_in: SignIn, certificate: tuple[int, str], what: str, starts: bytes) -> None:
    answer = sign_in(People.AUDITOR).get(f"{CA}/requests/{certificate[0]}/export/{what}/")
    assert answer.status_code == 200
    assert answer.content.startswith(starts)
    assert "attachment" in answer["Content-Disposition"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("q={serial}", True),
        ("q={number}", True),
        ("f=requester:is:nobody", False),
        ("f=not_after:after:2020-01-31", True),
        ("f=not_after:before:2020-01-31", False),
        ("f=common_name:contains:.CORP.", True),
        ("f=request_id:between:{number}..{number}", True),
        ("f=key_size:after:1", True),
        ("f=sha1:contains:zz", False),
        ("f=nonsense:is:1", True),
        ("fc=requester&fo=contains&fv=nobody", False),
    ],
)
def test_lists_are_filtered_by_any_column(
    sign_in: SignIn, certificate: tuple[int, str], query: str, found: bool
) -> None:
    number, serial = certificate
    path = f"{CA}/issued/?{query.format(serial=serial, number=number)}"
    answer = sign_in(People.AUDITOR).get(path)
    assert answer.status_code == 200
    assert (f"/requests/{number}/" in answer.content.decode()) is found


def test_lists_are_exported_as_csv(sign_in: SignIn, certificate: tuple[int, str]) -> None:
    answer = sign_in(People.AUDITOR).get(f"{CA}/issued/?as=csv")
    assert certificate[1] in b"".join(answer.streaming_content).decode()


# -- templates, CRLs, settings ---------------------------------------------------------------------------------------

SETTINGS_PAGES = (
    "templates/",
    "templates/WebServer/",
    "templates/WebServer/subject/",
    "templates/WebServer/security/",
    "revocation/",
    "properties/general/",
    "properties/security/",
)


@pytest.mark.parametrize("path", SETTINGS_PAGES)
@pytest.mark.parametrize(("name", "status"), [(name, 200) for name in READERS] + [(People.PLAIN, 403)])
def test_settings_are_read_by_the_roles_of_the_ca(sign_in: SignIn, path: str, name: str, status: int) -> None:
    assert sign_in(name).get(f"{CA}/{path}").status_code == status


def test_a_delta_crl_is_offered_where_the_ca_makes_them(sign_in: SignIn, installation: Installation) -> None:
    """And published by CA administrators alone; switched off again, the last one is an empty one."""
    page, act = f"{CA}/revocation/", f"{CA}/revocation/publish-delta/"
    admin = installation.registry.administer(installation.ca(ISSUING).config, installation.operator())
    assert "/publish-delta/" not in sign_in(People.CA_ADMINISTRATOR).get(page).content.decode()
    admin.set_configuration({"delta-crl-period": "1 days"})
    try:
        assert "/publish-delta/" in sign_in(People.CA_ADMINISTRATOR).get(page).content.decode()
        assert "delta CRL" in sign_in(People.CA_ADMINISTRATOR).get(act).content.decode()
        assert sign_in(People.OFFICER).post(act).status_code == 403
        assert sign_in(People.CA_ADMINISTRATOR).post(act).status_code == 302
        assert ">Delta<" in sign_in(People.CA_ADMINISTRATOR).get(page).content.decode()
    finally:
        admin.set_configuration({"delta-crl-period": "off"})
        admin.publish_crls()


def test_a_crl_is_published_by_ca_administrators_alone(sign_in: SignIn) -> None:
    assert sign_in(People.OFFICER).post(f"{CA}/revocation/publish/").status_code == 403
    assert sign_in(People.CA_ADMINISTRATOR).post(f"{CA}/revocation/publish/").status_code == 302


def test_a_setting_is_changed_and_nonsense_is_refused(sign_in: SignIn, installation: Installation) -> None:
    config = next(ca.config for ca in installation.cas if ca.config.endswith(ISSUING))
    admin = installation.registry.administer(config, requester(installation, "Administrator"))
    before = {key: admin.configuration()[key] for key in TABS["enrollment"].keys}
    path = f"{CA}/properties/enrollment/"
    assert sign_in(People.AUDITOR).post(path, before | {"channel-binding": "allow"}).status_code == 403
    browser = sign_in(People.CA_ADMINISTRATOR)
    assert browser.post(path, before | {"channel-binding": "perhaps"}).status_code == 422
    assert browser.post(path, before | {"ntlm": "off"}).status_code == 302
    assert admin.configuration()["ntlm"] == "off"
    assert browser.post(path, before).status_code == 302


def test_a_dangerous_setting_is_refused_and_an_override_is_typed(sign_in: SignIn, installation: Installation) -> None:
    """ESC8; the number and a reason, or nothing is saved."""
    config = next(ca.config for ca in installation.cas if ca.config.endswith(ISSUING))
    admin = installation.registry.administer(config, requester(installation, "Administrator"))
    before = {key: admin.configuration()[key] for key in TABS["enrollment"].keys}
    path, dangerous = f"{CA}/properties/enrollment/", before | {"channel-binding": "allow"}
    reasoned = dangerous | {"override-reason": "an old client", "override-word": "ESC8"}
    assert sign_in(People.AUDITOR).post(f"{path}override/", reasoned).status_code == 403
    browser = sign_in(People.CA_ADMINISTRATOR)

    refused = browser.post(path, dangerous)
    assert refused.status_code == 409
    assert "may be left out" in text_of(refused)
    unconfirmed = browser.post(f"{path}override/", reasoned)
    assert (unconfirmed.status_code, "Confirm first" in text_of(unconfirmed)) == (403, True)
    browser.confirm()
    assert browser.post(f"{path}override/", dangerous | {"override-reason": "an old client"}).status_code == 409
    assert browser.post(f"{path}override/", dangerous | {"override-word": "ESC8"}).status_code == 422
    assert admin.configuration()["channel-binding"] == "require"

    assert browser.post(f"{path}override/", reasoned).status_code == 302
    assert admin.configuration()["overrides"] == "ESC8"
    assert browser.post(path, before).status_code == 302


def test_a_template_is_published_and_taken_back(sign_in: SignIn, installation: Installation) -> None:
    browser = sign_in(People.ADMINISTRATOR)
    for act, listed in (("publish", True), ("unpublish", False)):
        assert browser.post(f"{CA}/templates/CodeSigning/{act}/").status_code == 302
        service = installation.directory.enrollment_service(ISSUING)
        assert service is not None
        assert ("CodeSigning" in service.templates) is listed
    assert sign_in(People.AUDITOR).post(f"{CA}/templates/CodeSigning/publish/").status_code == 403
