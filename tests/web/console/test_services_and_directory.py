"""Enrollment services, the directory, revocation and what Health lists; by roles, and with the rooms' own no."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from urllib.parse import quote

import pytest

from certwright.adcs.interfaces import Table
from certwright.adcs.request import template_attributes
from certwright.ca.revocation.publication import PublicationFailed
from certwright.connectors.fetching import LocationError
from certwright.console.rooms import furnish, rooms
from certwright.directory.base import PrincipalKind
from certwright.directory.risks import KNOWN_RISKS
from certwright.pki.names import sanitized_name
from certwright.server.composition import Installation
from tests.support.api import Caller, said, token
from tests.support.installation import ENROLLEES, ISSUING, OPERATOR, PASSWORD, People
from tests.support.requests import web_server_request
from tests.web.console.conftest import Browser, text_of
from tests.web.console.test_ca_pages import CA, requester

ROOT = f"/ca/{quote(sanitized_name('CORP Root CA'))}"
SignIn = Callable[..., Browser]
_numbers = count(1)


# -- enrollment services ---------------------------------------------------------------------------------------------


def test_certsrv_is_described_as_it_is_set(sign_in: SignIn) -> None:
    text = text_of(sign_in(People.AUDITOR).get(f"{CA}/enrollment/"))
    for words in ("https://localhost/certsrv/", "Negotiate, NTLM, Basic", "required", "Refusals, 24 h", "Try it"):
        assert words in text


def test_cep_and_ces_have_their_addresses_by_kind_of_logon(sign_in: SignIn) -> None:
    """That of certificates only where there is a port for it."""
    browser = sign_in(People.AUDITOR)
    cep, ces = (text_of(browser.get(f"{CA}/enrollment/{service}/")) for service in ("cep", "ces"))
    furnish(replace(rooms(), certificate_url="https://localhost:8444"))
    with_port = text_of(browser.get(f"{CA}/enrollment/ces/"))

    assert "https://localhost/ADPolicyProvider_CEP_UsernamePassword/service.svc/CEP" in cep
    assert "https://localhost/KeyBasedRenewal_ADPolicyProvider_CEP_UsernamePassword/service.svc/CEP" in cep
    assert "those the caller may enroll or autoenroll for" in cep
    assert "https://localhost/CORP%20Issuing%20CA_CES_Kerberos/service.svc/CES" in ces
    assert "off: set certificate-port in certwright.toml" in ces
    assert "https://localhost:8444/CORP%20Issuing%20CA_CES_Certificate/service.svc/CES" in with_port


def test_a_ca_that_certsrv_does_not_serve_has_no_service(sign_in: SignIn) -> None:
    assert sign_in(People.ADMINISTRATOR).get(f"{ROOT}/enrollment/ces/").status_code == 404
    assert "No enrollment service is offered" in text_of(sign_in(People.ADMINISTRATOR).get(f"{ROOT}/enrollment/"))


# -- the directory ---------------------------------------------------------------------------------------------------


def test_the_directory_is_counted_and_listed(sign_in: SignIn, installation: Installation) -> None:
    text = text_of(sign_in(People.AUDITOR).get(f"{CA}/directory/"))
    computers = [
        each
        for each in installation.directory_administration.list_accounts()
        if each.principal.kind is PrincipalKind.COMPUTER
    ]
    assert f"{len(computers)} computers" in text
    assert "corp.example" in text
    assert "Add user" not in text


def test_the_directory_is_filtered_by_any_column(sign_in: SignIn) -> None:
    browser = sign_in(People.AUDITOR)
    found = text_of(browser.part(f"{CA}/directory/?f=group_text:contains:auditors"))
    assert "ada" in found
    assert "wanda" not in found
    assert "gideon" in text_of(browser.part(f"{CA}/directory/?state=disabled"))


def test_an_account_is_added_with_its_names(sign_in: SignIn, installation: Installation) -> None:
    name = f"newcomer{next(_numbers)}"
    data = {"name": name, "password": PASSWORD, "ntlm": "on", "mail": f"{name}@corp.example"}
    assert sign_in(People.OFFICER).post(f"{CA}/directory/add/", data).status_code == 403
    browser = sign_in(People.ADMINISTRATOR)
    assert browser.post(f"{CA}/directory/add/", data | {"password": "short"}).status_code == 422
    answer = browser.post(f"{CA}/directory/add/", data)
    assert answer.status_code == 302
    assert f"{name}@corp.example" in text_of(browser.get(answer["Location"]))
    assert installation.directory.verify_password(name, PASSWORD).account == rf"CORP\{name}"
    again = browser.post(f"{CA}/directory/add/", data)
    assert again.status_code == 422
    assert "is taken" in text_of(again)


def test_a_computer_has_host_names(sign_in: SignIn, installation: Installation) -> None:
    host = f"node{next(_numbers)}"
    data = {"name": host, "dns_host_name": f"{host}.corp.example", "additional_host_names": f"{host}-a.corp.example"}
    assert sign_in(People.ADMINISTRATOR).post(f"{CA}/directory/add-computer/", data).status_code == 302
    found = installation.directory.principal(f"{host}$")
    assert found is not None
    assert found.additional_host_names == (f"{host}-a.corp.example",)


def test_an_account_is_disabled_and_its_password_set(sign_in: SignIn, installation: Installation) -> None:
    name = f"leaver{next(_numbers)}"
    made = installation.directory_administration.add_account(name, password=PASSWORD, actor=OPERATOR)
    at = f"{CA}/directory/accounts/{made.sid}"
    browser = sign_in(People.ADMINISTRATOR)
    assert sign_in(People.CA_ADMINISTRATOR).post(f"{at}/enable/", {"enabled": "0"}).status_code == 403
    assert browser.post(f"{at}/enable/", {"enabled": "0"}).status_code == 302
    found = installation.directory.principal(name)
    assert found is not None
    assert not found.enabled
    browser.post(f"{at}/enable/", {"enabled": "1"})
    data = {"password": "another long password", "ntlm": "on"}
    assert browser.post(f"{at}/password/", data)["Location"].startswith("/sign-in/confirm/")
    browser.confirm()
    assert browser.post(f"{at}/password/", data).status_code == 302
    assert installation.directory.verify_password(name, "another long password").sid == made.sid
    assert browser.post(f"{at}/edit/", {"common_name": "Lea Ver", "mail": ""}).status_code == 302
    assert "Lea Ver" in text_of(browser.get(f"{at}/"))


def test_membership_is_changed_after_confirming_who_it_is(sign_in: SignIn, installation: Installation) -> None:
    """It gives what the group may: roles on a CA, for one."""
    made = installation.directory_administration.add_account(f"member{next(_numbers)}", actor=OPERATOR)
    browser = sign_in(People.ADMINISTRATOR)
    answer = browser.post(f"{CA}/directory/add-group/", {"name": f"Team {next(_numbers)}"})
    at = answer["Location"]
    assert browser.post(f"{at}add/", {"member": made.account})["Location"].startswith("/sign-in/confirm/")
    browser.confirm()
    assert browser.post(f"{at}add/", {"member": "nobody-of-that-name"}).status_code == 422
    assert browser.post(f"{at}add/", {"member": made.account}).status_code == 302
    assert made.account in text_of(browser.get(at))
    assert browser.post(f"{at}remove/", {"member": made.account}).status_code == 302
    assert "Nobody is in it yet" in text_of(browser.get(at))


def test_an_account_that_is_not_there_is_not_found(sign_in: SignIn) -> None:
    browser = sign_in(People.ADMINISTRATOR)
    assert browser.get(f"{CA}/directory/accounts/S-1-5-21-1-2-3-4/").status_code == 404
    assert browser.get(f"{CA}/directory/groups/S-1-5-32-1/").status_code == 404


def test_the_entry_of_the_ca_is_compared_and_put_right(sign_in: SignIn, installation: Installation) -> None:
    browser = sign_in(People.ADMINISTRATOR)
    assert "As it should be" in text_of(browser.get(f"{CA}/directory/service/"))
    entry = installation.directory.enrollment_service(ISSUING)
    assert entry is not None
    installation.directory_administration.set_enrollment_service(
        ISSUING, "old.corp.example", entry.certificate, actor=OPERATOR
    )
    page = text_of(browser.get(f"{CA}/directory/service/"))
    assert "Differs" in page
    assert "old.corp.example" in page
    assert sign_in(People.OFFICER).post(f"{CA}/directory/service/publish/").status_code == 403
    assert browser.post(f"{CA}/directory/service/publish/").status_code == 302
    assert installation.directory.enrollment_service(ISSUING) == entry


def test_a_standalone_ca_has_no_entry(sign_in: SignIn) -> None:
    assert "A standalone CA has no entry" in text_of(sign_in(People.AUDITOR).get(f"{ROOT}/directory/service/"))


# -- revocation ------------------------------------------------------------------------------------------------------


def test_crls_are_shown_with_size_and_how_publishing_went(sign_in: SignIn, installation: Installation) -> None:
    text = text_of(sign_in(People.AUDITOR).get(f"{CA}/revocation/"))
    for words in ("Next CRL Publish", "Entries", "Size", "bytes", "Published"):
        assert words in text


def test_each_target_says_how_it_stands(sign_in: SignIn, installation: Installation, tmp_path: Path) -> None:
    """A folder that is not mounted beside the one that is served: by page and API, with the file and the reason."""
    config = next(ca.config for ca in installation.cas if ca.config.endswith(ISSUING))
    admin = installation.registry.administer(config, requester(installation, People.CA_ADMINISTRATOR))
    missing = tmp_path / "not mounted"
    admin.set_configuration({"publication-folders": missing.as_uri()})
    try:
        with pytest.raises(PublicationFailed):
            admin.publish_crls()
        browser = sign_in(People.AUDITOR)
        text = text_of(browser.get(f"{CA}/revocation/"))
        caller = Caller(token(People.AUDITOR))
        told = said(caller.get(f"/cas/{quote(sanitized_name(ISSUING))}/published-files"))
    finally:
        admin.set_configuration({"publication-folders": ""})
        admin.publish_crls()

    assert "Where they are published" in text
    assert str(installation.home.published) in text
    assert f"{missing}" in text
    assert f"{ISSUING}.crl: No such file or directory" in text
    states = {(each["target"], each["file"]): each["error"] for each in told}
    assert states[str(installation.home.published), f"{ISSUING}.crl"] == ""
    assert states[str(missing), f"{ISSUING}.crl"] == "No such file or directory"
    assert str(missing) not in text_of(browser.get(f"{CA}/revocation/"))


def test_publishing_says_which_number_replaces_which(sign_in: SignIn, installation: Installation) -> None:
    config = next(ca.config for ca in installation.cas if ca.config.endswith(ISSUING))
    admin = installation.registry.administer(config, requester(installation, People.AUDITOR))
    newest = max(int(str(row["number"])) for row in admin.view(Table.CRLS))
    text = text_of(sign_in(People.CA_ADMINISTRATOR).get(f"{CA}/revocation/publish/"))
    assert re.search(rf"Number {newest + 1} replaces {newest}, which is good for \d+ d", text)


def test_a_location_that_does_not_answer_is_down(sign_in: SignIn) -> None:
    class Silent:
        def ask(self, *_asked: object) -> None:
            raise LocationError("nobody answers there")

    furnish(replace(rooms(), locations=Silent()))  # type: ignore[arg-type]
    browser = sign_in(People.AUDITOR)
    assert "Asking each location" in text_of(browser.get(f"{CA}/revocation/locations/"))
    text = text_of(browser.part(f"{CA}/revocation/locations/"))
    assert "/CertEnroll/" in text
    assert "Down" in text
    assert "nobody answers there" in text


def test_a_responder_is_asked_as_the_watch_asks_it(sign_in: SignIn, installation: Installation) -> None:
    browser = sign_in(People.CA_ADMINISTRATOR)
    assert browser.post(f"{CA}/revocation/responder/enable/").status_code == 302
    page = f"{CA}/revocation/locations/"
    assert "once this CA has issued a certificate" in text_of(browser.part(page))

    door = installation.registry.connect("", installation.operator())
    door.submit(web_server_request("www.corp.example"), template_attributes("WebServer"))
    rooms().watch.check_all()
    text = text_of(browser.part(page))
    assert "once this CA has issued a certificate" not in text
    assert "Unknown" not in text
    assert "Down" in text, "nothing listens here, and that is what a client finds"
    assert browser.post(f"{CA}/revocation/responder/disable/").status_code == 302


# -- the Online Responder --------------------------------------------------------------------------------------------


def test_the_responder_is_enabled_set_and_disabled(sign_in: SignIn, installation: Installation) -> None:
    browser = sign_in(People.CA_ADMINISTRATOR)
    page = f"{CA}/revocation/responder/"
    assert "does not answer for this CA" in text_of(browser.get(page))

    assert browser.post(f"{page}enable/").status_code == 302
    shown = text_of(browser.get(page))
    assert "/ocsp" in shown
    assert "Renewed after" in shown
    values = dict(installation.revocation_configurations.of(ISSUING).configuration.texts)
    assert browser.post(f"{page}edit/", values | {"validity-minutes": "60", "nonce": "ignore"}).status_code == 302
    assert "Ignore it" in text_of(browser.get(page))
    refused = browser.post(f"{page}edit/", values | {"validity-minutes": "1"})
    assert refused.status_code == 422
    assert "validity-minutes" in text_of(refused)
    assert browser.post(f"{page}refresh/").status_code == 302
    assert browser.post(f"{page}disable/").status_code == 302

    stored = installation.revocation_configurations.of(ISSUING)
    assert not stored.enabled
    assert stored.configuration.texts["validity-minutes"] == "60"


def test_only_ca_administrators_change_the_responder(sign_in: SignIn, installation: Installation) -> None:
    browser = sign_in(People.AUDITOR)
    assert "Edit…" not in text_of(browser.get(f"{CA}/revocation/responder/"))
    for act in ("enable", "disable", "edit", "refresh"):
        assert browser.post(f"{CA}/revocation/responder/{act}/").status_code == 403
    assert not installation.revocation_configurations.of(ISSUING).enabled


# -- health ----------------------------------------------------------------------------------------------------------


def test_overrides_stay_on_health_until_the_danger_is_gone(sign_in: SignIn, installation: Installation) -> None:
    administration = installation.directory_administration
    own = replace(administration.template("SubCA"), cn="RiskyCA", display_name="Risky CA", oid="")
    administration.put_template(own, accept_risks=KNOWN_RISKS, actor=OPERATOR)
    browser = sign_in(People.AUDITOR)
    text = text_of(browser.get("/health/"))
    assert "Overrides" in text
    assert re.search(r"Risky CA: ESC\d", text)
    assert f"Accepted by {OPERATOR}" in text
    group = installation.directory.principal(ENROLLEES)
    assert group is not None
    administration.revoke("RiskyCA", group.sid, enroll=True, actor=OPERATOR)
    assert "Risky CA" not in text_of(browser.get("/health/"))


@pytest.mark.parametrize(
    "path", ["enrollment/", "directory/", "directory/groups/", "directory/service/", "revocation/"]
)
@pytest.mark.parametrize(
    ("name", "status"), [(People.AUDITOR, 200), (People.OFFICER, 200), (People.PLAIN, 403), (People.BACKUP, 403)]
)
def test_they_are_read_by_the_roles_of_the_ca(sign_in: SignIn, path: str, name: str, status: int) -> None:
    assert sign_in(name).get(f"{CA}/{path}").status_code == status
