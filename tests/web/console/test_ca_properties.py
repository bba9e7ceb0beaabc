"""CA Properties: every setting stands on a tab, says what it is, and the CA has the last word."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from certwright.adcs.interfaces import CertAdmin
from certwright.adcs.roles import CaAccess
from certwright.console.pages.ca_properties import NOT_ON_A_FORM, TABS
from certwright.pki.names import sanitized_name
from certwright.server.composition import Installation
from tests.support.installation import ISSUING, People
from tests.web.console.conftest import Browser, text_of
from tests.web.console.test_ca_pages import requester

CA = f"/ca/{quote(sanitized_name(ISSUING))}"
SignIn = Callable[..., Browser]
READERS = (People.ADMINISTRATOR, People.OFFICER, People.CA_ADMINISTRATOR, People.AUDITOR)


@pytest.fixture
def admin(installation: Installation) -> Iterator[CertAdmin]:
    """The CA as its Administrator; what a test set is set back."""
    config = next(ca.config for ca in installation.cas if ca.config.endswith(ISSUING))
    opened = installation.registry.administer(config, requester(installation, "Administrator"))
    before = dict(opened.configuration())
    yield opened
    after = opened.configuration()
    back = {key: value for key, value in before.items() if after[key] != value and key != "overrides"}
    if back:
        opened.set_configuration(back)


def posted(browser: Browser, path: str, data: Mapping[str, Any]) -> Any:
    pairs = [(name, each) for name, value in data.items() for each in ([value] if isinstance(value, str) else value)]
    return browser.post(path, urlencode(pairs), content_type="application/x-www-form-urlencoded")


def settings_of(admin: CertAdmin, tab: str) -> dict[str, str]:
    return {key: admin.configuration()[key] for key in TABS[tab].keys}


@pytest.mark.parametrize("tab", TABS)
@pytest.mark.parametrize(("name", "status"), [(name, 200) for name in READERS] + [(People.PLAIN, 403)])
def test_tabs_are_read_by_the_roles_of_the_ca(sign_in: SignIn, tab: str, name: str, status: int) -> None:
    assert sign_in(name).get(f"{CA}/properties/{tab}/").status_code == status


def test_every_setting_stands_on_one_tab_with_the_cas_own_words(sign_in: SignIn, admin: CertAdmin) -> None:
    shown = [key for tab in TABS.values() for key in tab.keys]
    assert sorted(shown) == sorted({each.key for each in admin.describe_settings()} - NOT_ON_A_FORM)
    browser = sign_in(People.AUDITOR)
    text = " ".join(text_of(browser.get(f"{CA}/properties/{tab}/")) for tab in TABS)
    for described in admin.describe_settings():
        if described.key not in NOT_ON_A_FORM:
            assert described.meaning in text, described.key


def test_the_general_tab_names_the_ca_and_its_certificates(sign_in: SignIn) -> None:
    text = text_of(sign_in(People.AUDITOR).get(f"{CA}/properties/general/"))
    for words in (ISSUING, "Enterprise subordinate CA", "CA certificates", "P-256", "Configuration string"):
        assert words in text


def test_a_setting_is_changed_by_a_ca_administrator_and_nonsense_is_refused(
    sign_in: SignIn, admin: CertAdmin
) -> None:
    path, before = f"{CA}/properties/policy/", settings_of(admin, "policy")
    assert posted(sign_in(People.AUDITOR), path, before | {"clock-skew": "5 minutes"}).status_code == 403
    browser = sign_in(People.CA_ADMINISTRATOR)
    answer = posted(browser, path, before | {"clock-skew": "soon"})
    assert answer.status_code == 422
    assert "clock-skew" in text_of(answer)
    assert posted(browser, path, before | {"request-disposition": "perhaps"}).status_code == 422
    assert posted(browser, path, before | {"clock-skew": "5 minutes"}).status_code == 302
    assert admin.configuration()["clock-skew"] == "5 minutes"


def rows_of(answer: Any) -> dict[str, list[str]]:
    """What a browser would post of the table: the SIDs, and the boxes that are ticked."""
    body = answer.content.decode()
    form: dict[str, list[str]] = {"role-sid": re.findall(r'name="role-sid" value="([^"]+)"', body)}
    for sid in form["role-sid"]:
        form[f"role-{sid}"] = re.findall(rf'name="role-{sid}" value="(\d+)" checked', body)
    return form


def test_roles_are_given_and_taken_row_by_row(sign_in: SignIn, installation: Installation, admin: CertAdmin) -> None:
    browser, path = sign_in(People.CA_ADMINISTRATOR), f"{CA}/properties/security/"
    who = installation.directory.principal(People.OTHER)
    assert who is not None
    form = rows_of(browser.get(path)) | {"role-separation": ["off"]}
    assert posted(browser, path, form | {"role-add": "Nobody at all"}).status_code == 422
    assert posted(browser, path, form | {"role-add": People.OTHER}).status_code == 302
    form = rows_of(browser.get(path)) | {"role-separation": ["off"]}
    assert form[f"role-{who.sid}"] == [str(int(CaAccess.READ))]
    auditor = [str(int(CaAccess.READ)), str(int(CaAccess.AUDITOR))]
    assert posted(browser, path, form | {f"role-{who.sid}": auditor}).status_code == 302
    assert sign_in(People.OTHER).get(f"{CA}/pending/").status_code == 200
    assert posted(browser, path, form | {f"role-{who.sid}": []}).status_code == 302
    assert who.sid not in admin.configuration()["security-descriptor"]


def test_a_table_saved_as_it_is_changes_nothing(sign_in: SignIn, admin: CertAdmin) -> None:
    browser, path = sign_in(People.CA_ADMINISTRATOR), f"{CA}/properties/security/"
    before = admin.configuration()
    assert posted(browser, path, rows_of(browser.get(path)) | {"role-separation": ["off"]}).status_code == 302
    assert admin.configuration() == before


def test_nobody_is_locked_out(sign_in: SignIn, admin: CertAdmin) -> None:
    """CERTSRV_E_NO_CAADMIN_DEFINED, and role separation for somebody with two roles: the CA refuses both."""
    browser, path = sign_in(People.ADMINISTRATOR), f"{CA}/properties/security/"
    before = admin.configuration()
    form = rows_of(browser.get(path)) | {"role-separation": ["off"]}
    manage = str(int(CaAccess.ADMINISTRATOR))
    nobody = {name: [mask for mask in masks if mask != manage] for name, masks in form.items() if name != "role-sid"}
    answer = posted(browser, path, form | nobody)
    assert answer.status_code == 422
    assert "nobody who may manage the CA" in text_of(answer)
    separated = posted(browser, path, form | {"role-separation": ["on"]})
    assert separated.status_code == 422
    assert "could do nothing any more" in text_of(separated)
    assert admin.configuration() == before


def test_roles_are_changed_by_ca_administrators_alone(sign_in: SignIn, admin: CertAdmin) -> None:
    before = admin.configuration()
    for name in (People.OFFICER, People.AUDITOR):
        form = {"role-add": name, "role-separation": "off"}
        assert posted(sign_in(name), f"{CA}/properties/security/", form).status_code == 403
    assert admin.configuration() == before


@pytest.mark.parametrize(("tab", "key"), [("agents", "enrollment-agents"), ("managers", "officer-rights")])
def test_restrictions_are_kept_line_by_line(
    sign_in: SignIn, installation: Installation, admin: CertAdmin, tab: str, key: str
) -> None:
    browser, path = sign_in(People.CA_ADMINISTRATOR), f"{CA}/properties/{tab}/"
    who = installation.directory.principal(People.OTHER)
    assert who is not None
    line = {"restrict-who": [People.OTHER, ""], "restrict-template": ["User", ""], "restrict-target": ["", ""]}
    assert posted(browser, path, line | {"restrict-who": ["Nobody at all"]}).status_code == 422
    assert posted(browser, path, line | {"restrict-template": ["User:x"]}).status_code == 422
    assert posted(browser, path, line).status_code == 302
    assert admin.configuration()[key] == f"{who.sid}:User:*"
    assert who.account in browser.get(path).content.decode()
    assert posted(browser, path, line | {"restrict-who": [""]}).status_code == 302
    assert admin.configuration()[key] == ""


def test_a_setting_that_opens_an_escalation_takes_an_override(sign_in: SignIn, admin: CertAdmin) -> None:
    """ESC8: NTLM that is bound to nothing can be relayed."""
    browser, path = sign_in(People.CA_ADMINISTRATOR), f"{CA}/properties/enrollment/"
    form = settings_of(admin, "enrollment") | {"channel-binding": "off"}
    answer = posted(browser, path, form)
    assert answer.status_code == 409
    assert "ESC8" in text_of(answer)
    typed = form | {"override-word": "ESC8", "override-reason": "An old client, until March"}
    assert posted(browser, f"{path}override/", typed).status_code == 403  # who is it?
    browser.confirm()
    assert posted(browser, f"{path}override/", typed | {"override-reason": ""}).status_code != 302
    assert admin.configuration()["channel-binding"] == "require"
    assert posted(browser, f"{path}override/", typed).status_code == 302
    assert admin.configuration()["channel-binding"] == "off"
