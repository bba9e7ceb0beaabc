"""The template editor: what it shows, what it saves, what it refuses, and who may; every field means something."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from certwright.adcs.events import AuditEvent
from certwright.adcs.template import CertificateTemplate
from certwright.adcs.template_settings import apply_settings, setting_text
from certwright.console.template_editor.fields import TABS
from certwright.pki.names import sanitized_name
from certwright.server.composition import Installation
from tests.support.installation import ISSUING, OPERATOR, GateTemplates, People
from tests.web.console.conftest import Browser, text_of

CA = f"/ca/{quote(sanitized_name(ISSUING))}"
SignIn = Callable[..., Browser]
Form = dict[str, list[str]]


class _Fields(HTMLParser):
    """What a browser would post of the form with the id `template`."""

    def __init__(self) -> None:
        super().__init__()
        self.form: Form = {}
        self._select: tuple[str, bool] | None = None
        self._area: str | None = None

    def handle_starttag(self, tag: str, pairs: list[tuple[str, str | None]]) -> None:
        attrs = dict(pairs)
        name = attrs.get("name") or ""
        if tag == "select":
            self._select = (name, "disabled" in attrs)
        elif tag == "option" and self._select and "selected" in attrs and not self._select[1]:
            self._add(self._select[0], attrs.get("value") or "")
        elif tag == "textarea" and "disabled" not in attrs:
            self._area = name
            self._add(name, "")
        elif tag == "input" and name and "disabled" not in attrs:
            kind = attrs.get("type", "text")
            if kind not in ("checkbox", "radio") or "checked" in attrs:
                self._add(name, attrs.get("value") or ("on" if kind == "checkbox" else ""))

    def handle_endtag(self, tag: str) -> None:
        self._select = None if tag == "select" else self._select
        self._area = None if tag == "textarea" else self._area

    def handle_data(self, data: str) -> None:
        if self._area:
            self.form[self._area][-1] += data.removeprefix("\n")

    def _add(self, name: str, value: str) -> None:
        self.form.setdefault(name, []).append(value)


def form_in(answer: Any) -> Form:
    body = answer.content.decode()
    parser = _Fields()
    parser.feed(body[body.index('id="template"') : body.index('id="findings"')])
    return parser.form


class Editor:
    """One template in one browser."""

    def __init__(self, browser: Browser, cn: str) -> None:
        self.browser = browser
        self.path = f"{CA}/templates/{cn}/"
        self.form = form_in(browser.get(self.path))

    def post(self, where: str = "general/", changes: dict[str, Any] | None = None, **headers: str) -> Any:
        data = {**self.form, **(changes or {})}
        body = urlencode([(name, value) for name, values in data.items() for value in _several(values)])
        return self.browser.post(
            f"{self.path}{where}", body, content_type="application/x-www-form-urlencoded", headers=headers or None
        )


def _several(values: Any) -> list[str]:
    return [values] if isinstance(values, str) else list(values)


@pytest.fixture
def own(installation: Installation) -> Iterator[str]:
    """A duplicate of User that may be spoilt."""
    administration = installation.directory_administration
    made = administration.duplicate_template("User", "SpoiltUser", "Spoilt User", actor=OPERATOR)
    yield made.cn
    administration.delete_template(made.cn, actor=OPERATOR)


@pytest.fixture
def editor(sign_in: SignIn, own: str) -> Editor:
    return Editor(sign_in(People.ADMINISTRATOR), own)


def stored(installation: Installation, cn: str) -> CertificateTemplate:
    return installation.directory_administration.template(cn)


def events(installation: Installation, event: AuditEvent, cn: str) -> list[Any]:
    found = installation.audit.events(event=int(event), limit=20)
    return [record for record in found if record.details.get("template") == cn]


RISKY = {"enrollee-supplies-subject": "on"}

# -- what is shown ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tab", TABS)
@pytest.mark.parametrize("name", [People.ADMINISTRATOR, People.AUDITOR])
def test_every_tab_answers_with_its_heading(sign_in: SignIn, tab: str, name: str) -> None:
    answer = sign_in(name).get(f"{CA}/templates/WebServer/{tab}/")
    assert answer.status_code == 200
    assert f'<h2 class="mb-3" id="tab-{tab}">{TABS[tab].label}</h2>' in answer.content.decode()


def test_every_stock_template_is_shown_and_saved_without_a_change(
    sign_in: SignIn, installation: Installation
) -> None:
    """What the form shows is what is stored: posted as it is, it changes nothing."""
    browser = sign_in(People.ADMINISTRATOR)
    for cn in list(installation.directory_administration.templates()):
        before = stored(installation, cn)
        editor = Editor(browser, cn)
        assert "No changes." in editor.post("general/check/", **{"HX-Request": "true"}).content.decode(), cn
        assert editor.post().status_code == 302, cn
        assert stored(installation, cn) == before, cn


def test_options_of_a_newer_schema_are_there_and_closed(sign_in: SignIn, own: str, editor: Editor) -> None:
    page = editor.browser.get(f"{editor.path}handling/").content.decode()
    assert re.search(r'name="same-key-renewal"[^>]* disabled', page)
    assert "needs schema 4" in page
    assert "same-key-renewal" not in editor.form
    raised = editor.post("handling/look/", {"minimum-ca": "2016", "minimum-client": "2016"}).content.decode()
    assert re.search(r'name="same-key-renewal"(?![^>]* disabled)', raised)


def test_a_box_that_was_closed_is_none_that_was_unticked(
    installation: Installation, own: str, editor: Editor
) -> None:
    """A supplied subject closes the field about the SID; taking it back in the same form must not lose the SID."""
    drawn = form_in(editor.post("subject/look/", {**RISKY, "approval": "on"}))
    assert "sid-extension" not in drawn["open"]
    editor.form = drawn
    back = {"enrollee-supplies-subject": "off", "subject": "common-name"}
    assert editor.post("subject/", back).status_code == 302
    assert setting_text(stored(installation, own), "sid-extension") == "on"


def test_an_option_that_the_schema_forbids_is_not_taken_from_a_form_that_says_it(
    installation: Installation, own: str, editor: Editor
) -> None:
    assert editor.post(changes={"same-key-renewal": "on"}).status_code == 302
    assert setting_text(stored(installation, own), "same-key-renewal") == "off"


@pytest.mark.parametrize("name", [People.OFFICER, People.AUDITOR])
def test_readers_see_the_editor_and_save_nothing(sign_in: SignIn, installation: Installation, name: str) -> None:
    reader = Editor(sign_in(name), "WebServer")
    assert "display-name" not in reader.form  # disabled
    before = stored(installation, "WebServer")
    assert reader.post(changes={"display-name": "Taken over"}).status_code == 403
    assert reader.post("general/override/", {"display-name": "Taken over"}).status_code == 403
    assert stored(installation, "WebServer") == before


# -- saving ----------------------------------------------------------------------------------------------------------

CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "display-name": ({"display-name": "Spoilt"}, "Spoilt"),
    "machine": ({"machine": "on"}, "on"),
    "validity-period": ({"validity-period": "90 days"}, "90 days"),
    "renewal-period": ({"renewal-period": "1 week"}, "1 week"),
    "publish-to-directory": ({"publish-to-directory": []}, "off"),
    "check-directory": ({"check-directory": "on"}, "on"),
    "minimum-ca": ({"minimum-ca": "2012"}, "2012"),
    "minimum-client": ({"minimum-client": "2008"}, "2008"),
    "purpose": ({"purpose": "signature"}, "signature"),
    "remove-invalid": ({"remove-invalid": "on"}, "on"),
    "smime-capabilities": ({"smime-capabilities": []}, "off"),
    "archive-key": ({"archive-key": "on"}, "on"),
    "exportable-key": ({"exportable-key": []}, "off"),
    "key-reuse": ({"key-reuse": "on"}, "on"),
    "autoenrollment": ({"autoenrollment": []}, "off"),
    "user-interaction": ({"user-interaction": "on"}, "on"),
    "strong-key-protection": ({"strong-key-protection": "on"}, "on"),
    "minimal-key-size": ({"minimal-key-size": "3072"}, "3072"),
    "providers": ({"providers": "First Provider\nSecond Provider"}, "First Provider, Second Provider"),
    "subject": ({"subject": "common-name"}, "common-name, email"),
    "alternative-names": ({"alternative-names": ["upn"]}, "upn"),
    "approval": ({"approval": "on"}, "on"),
    "signatures": ({"signatures": "1"}, "1"),
    "renewal-without-approval": ({"renewal-without-approval": "on"}, "on"),
    "superseded-templates": ({"superseded-templates": ["User", "UserSignature"]}, "User, UserSignature"),
    "eku": ({"eku": ["1.3.6.1.5.5.7.3.2"], "eku.other": ""}, "1.3.6.1.5.5.7.3.2"),
    "basic-constraints": ({"basic-constraints": "on"}, "on"),
    "issuance-policies": ({"issuance-policies": "1.2.3\n1.2.4"}, "1.2.3, 1.2.4"),
    "key-usage": ({"key-usage": ["digitalSignature"]}, "digitalSignature"),
    "critical-extensions": ({"critical-extensions": ["2.5.29.37"]}, "2.5.29.37"),
    "ocsp-nocheck": ({"ocsp-nocheck": "on"}, "on"),
    "revocation-information": ({"revocation-information": []}, "off"),
}
"""Fields of a template of schema version 2: what is posted, and what the setting is afterwards."""
NEWER: dict[str, tuple[dict[str, Any], str]] = {
    "same-key-renewal": ({"same-key-renewal": "on"}, "on"),
    "legacy-provider": ({"legacy-provider": "on"}, "on"),
    "key-algorithm": ({"key-algorithm": "ecdsa-p256", "minimal-key-size": "256"}, "ecdsa-p256"),
    "hash-algorithm": ({"hash-algorithm": "sha384"}, "sha384"),
    "alternate-signature": ({"alternate-signature": "on"}, "on"),
    "key-attestation": ({"key-attestation": "required"}, "required"),
    "attestation-trust": ({"attestation-trust": ["hardware-key"]}, "hardware-key"),
    "attestation-policies": ({"attestation-policies": []}, "off"),
    "issuance-policies-from-request": ({"issuance-policies-from-request": "on"}, "on"),
}
"""Fields that need a newer schema version."""
GUARDED = {
    "enrollee-supplies-subject": "ESC1, below",
    "names-from-old-certificate": "with a supplied subject only, below",
    "key-based-renewal": "with a supplied subject only, below",
    "sid-extension": "ESC9, below",
    "signature-application-policies": "with signatures only, below",
    "signature-issuance-policies": "with signatures only, below",
    "application-policies": "where they differ only, below",
    "path-length": "of CAs only, below",
}


def test_every_field_is_in_one_of_these_tables() -> None:
    every = {field.key for tab in TABS.values() for field in tab.fields}
    assert every == {*CHANGES, *NEWER, *GUARDED}


@pytest.mark.parametrize("key", [*CHANGES, *NEWER])
def test_a_field_is_saved_and_nothing_beside_it(
    sign_in: SignIn, installation: Installation, own: str, key: str
) -> None:
    if key in NEWER:
        installation.directory_administration.change_template(
            own, lambda before: apply_settings(before, {"schema-version": "4"}), actor=OPERATOR
        )
    editor = Editor(sign_in(People.ADMINISTRATOR), own)
    before = stored(installation, own)
    changes, text = {**CHANGES, **NEWER}[key]
    assert editor.post(changes=changes).status_code == 302
    after = stored(installation, own)
    assert setting_text(after, key) == text
    same = {"minimal-key-size"} if key == "key-algorithm" else {"schema-version"} if key == "minimum-ca" else set()
    same |= {"key-usage"} if key == "purpose" else {"purpose"} if key == "key-usage" else set()
    same |= {"application-policies"} if key == "eku" else set()
    others = [field.key for tab in TABS.values() for field in tab.fields if field.key not in {key, *same}]
    assert {name: setting_text(after, name) for name in others} == {
        name: setting_text(before, name) for name in others
    }
    assert (after.major_version, after.minor_version) == (before.major_version, before.minor_version + 1)


def test_fields_that_depend_on_others_follow_them(installation: Installation, own: str, editor: Editor) -> None:
    agent = "1.3.6.1.4.1.311.20.2.1"
    drawn = form_in(editor.post("issuance/look/", {"signatures": "1"}))
    editor.form = drawn
    posted = {"signature-application-policies": [agent], "signature-issuance-policies": "1.2.3"}
    # whoever holds an agent's certificate and may enroll could log on as anybody: it takes approval as well
    assert editor.post("issuance/", posted).status_code == 409
    assert editor.post("issuance/", {**posted, "approval": "on"}).status_code == 302
    after = stored(installation, own)
    assert (after.ra_extended_key_usage, after.ra_policies) == ((agent,), ("1.2.3",))


def test_a_ca_template_has_a_path_length_and_an_odd_one_its_policies(
    sign_in: SignIn, installation: Installation
) -> None:
    administration = installation.directory_administration
    accept = ["ESC1", "ESC2", "ESC17"]
    administration.duplicate_template("SubCA", "OwnSubCA", "", accept_risks=accept, actor=OPERATOR)
    try:
        editor = Editor(sign_in(People.ADMINISTRATOR), "OwnSubCA")
        assert editor.post("extensions/", {"path-length": "0"}).status_code == 302
        assert stored(installation, "OwnSubCA").max_issuing_depth == 0
        odd = {"application-policies": "1.2.3"}
        administration.change_template(
            "OwnSubCA", lambda before: apply_settings(before, odd), accept_risks=accept, actor=OPERATOR
        )
        editor = Editor(sign_in(People.ADMINISTRATOR), "OwnSubCA")
        assert editor.post("extensions/", {"application-policies": "1.2.4"}).status_code == 302
        assert stored(installation, "OwnSubCA").application_policies == ("1.2.4",)
    finally:
        administration.delete_template("OwnSubCA", actor=OPERATOR)


def test_changes_of_several_tabs_are_saved_together(installation: Installation, own: str, editor: Editor) -> None:
    changes = {"validity-period": "2 years", "approval": "on", "outside": "deny", "rule-value": ["corp.example"]}
    answer = editor.post("subject/check/", changes, **{"HX-Request": "true"})
    said = text_of(answer)
    assert "4 changes." in said
    assert "Saving makes version 100.1." in said
    assert answer.content.decode().count('class="cw-changed"') == 3
    assert editor.post("subject/", changes).status_code == 302
    after = stored(installation, own)
    assert (setting_text(after, "validity-period"), after.requires_approval) == ("2 years", True)
    assert after.name_rules.rules[0].dns_suffixes == ("corp.example",)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"validity-period": "soon"}, "is no period"),
        ({"minimal-key-size": "many"}, "is no number"),
        ({"signatures": "99"}, "0 to 16"),
        ({"renewal-period": "20 years"}, "shorter than the validity period"),
        ({"eku.other": "serverauthentication"}, "no object identifier"),
        ({"issuance-policies": "policy"}, "no object identifier"),
        ({"rule-value": ["*.corp.example"]}, "no DNS suffix"),
        (
            {"rule-value": ["corp.example"], "rule-group": ["Nobody at all"]},
            "no account or group called Nobody at all",
        ),
        ({"rule-value": ["corp.example"], "rule-group": [People.PLAIN]}, "is no group"),
        ({"ace-add": "Nobody at all"}, "no account or group called Nobody at all"),
        ({"subject": "none", "subject.other": [], "alternative-names": []}, "would name nobody"),
        ({"display-name": ""}, "printable characters"),
        ({"superseded-templates": ["A" * 20_000]}, "Cannot be saved"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_reason(
    installation: Installation, own: str, editor: Editor, changes: dict[str, Any], said: str
) -> None:
    before = stored(installation, own)
    answer = editor.post(changes=changes)
    assert answer.status_code == 422
    assert said in text_of(answer)
    assert stored(installation, own) == before


def test_what_was_typed_is_kept_beside_its_error(editor: Editor) -> None:
    answer = editor.post(changes={"validity-period": "soon", "display-name": "Still Here"})
    assert form_in(answer)["validity-period"] == ["soon"]
    assert form_in(answer)["display-name"] == ["Still Here"]


def test_a_template_that_changed_meanwhile_is_a_conflict_with_both_values(
    sign_in: SignIn, installation: Installation, own: str, editor: Editor
) -> None:
    installation.directory_administration.change_template(
        own, lambda before: apply_settings(before, {"validity-period": "30 weeks"}), actor=r"CORP\cara"
    )
    answer = editor.post(changes={"validity-period": "2 years"})
    assert answer.status_code == 409
    assert r"Changed meanwhile by CORP\cara" in text_of(answer)
    body = answer.content.decode()
    assert "<del>30 weeks</del> <ins>2 years</ins>" in body
    assert setting_text(stored(installation, own), "validity-period") == "30 weeks"
    editor.form = form_in(answer)  # looked at, and saved again
    assert editor.post(changes={"validity-period": "2 years"}).status_code == 302
    assert setting_text(stored(installation, own), "validity-period") == "2 years"


def test_a_form_without_its_base_saves_nothing(installation: Installation, own: str, editor: Editor) -> None:
    """A half form would clear what it does not mention."""
    before = stored(installation, own)
    assert editor.post(changes={"base": ""}).status_code == 409
    assert stored(installation, own) == before


# -- findings --------------------------------------------------------------------------------------------------------


def test_a_dangerous_change_is_told_while_it_is_made_and_not_saved(
    installation: Installation, own: str, editor: Editor
) -> None:
    check = editor.post("subject/check/", RISKY, **{"HX-Request": "true"})
    said = text_of(check)
    for words in ("Cannot be saved: ESC1", r"CORP\Domain Users (", "members)", "Subject supplied in the request"):
        assert words in said
    assert "shield-x" in check.content.decode()
    answer = editor.post("subject/", RISKY)
    assert answer.status_code == 409
    assert "Override" in text_of(answer)
    assert not stored(installation, own).enrollee_supplies_subject


def test_every_way_out_that_is_offered_ends_the_finding(own: str, editor: Editor) -> None:
    answer = editor.post("subject/look/", RISKY)
    ways = re.findall(r'name="fix" value="(ESC1:[a-z_]+)"', answer.content.decode())
    assert ways == ["ESC1:from_directory", "ESC1:approval", "ESC1:without_usages", "ESC1:take_enroll"]
    for way in ways:
        after = editor.post("subject/look/", {**RISKY, "fix": way})
        assert "Cannot be saved: ESC1" not in text_of(after), way


def test_a_supplied_subject_opens_what_belongs_to_it(installation: Installation, own: str, editor: Editor) -> None:
    raised = {"minimum-ca": "2016", "minimum-client": "2016"}
    editor.form = form_in(editor.post("subject/look/", {**RISKY, "approval": "on", **raised}))
    changes = {"names-from-old-certificate": "on", "key-based-renewal": "on"}
    assert editor.post("subject/", changes).status_code == 302
    after = stored(installation, own)
    assert after.schema_version == 4
    assert [setting_text(after, key) for key in changes] == ["on", "on"]


def test_leaving_the_sid_out_of_logon_certificates_is_esc9(
    installation: Installation, own: str, editor: Editor
) -> None:
    answer = editor.post("subject/", {"sid-extension": []})
    assert answer.status_code == 409
    assert "Cannot be saved: ESC9" in text_of(answer)
    assert setting_text(stored(installation, own), "sid-extension") == "on"


def test_an_override_asks_first_who_it_is_and_keeps_the_form(
    installation: Installation, own: str, editor: Editor
) -> None:
    typed = {**RISKY, "override-word": "ESC1", "override-reason": "A test of the gate"}
    answer = editor.post("subject/override/", typed)
    assert answer.status_code == 403
    assert "Confirm first who you are" in text_of(answer)
    assert form_in(answer)["enrollee-supplies-subject"] == ["on"]
    assert not stored(installation, own).enrollee_supplies_subject


@pytest.mark.parametrize(
    ("typed", "status"),
    [
        ({"override-word": "ESC1", "override-reason": ""}, 422),
        ({"override-word": "", "override-reason": "because"}, 422),
        ({"override-word": "ESC9", "override-reason": "because"}, 409),
        ({"override-word": "ESC99", "override-reason": "because"}, 422),
    ],
)
def test_an_override_takes_the_reason_and_the_very_number(
    installation: Installation, own: str, editor: Editor, typed: dict[str, str], status: int
) -> None:
    editor.browser.confirm()
    assert editor.post("subject/override/", {**RISKY, **typed}).status_code == status
    assert not stored(installation, own).enrollee_supplies_subject


def test_an_override_is_saved_and_audited_in_one_event(installation: Installation, own: str, editor: Editor) -> None:
    editor.browser.confirm()
    typed = {**RISKY, "override-word": "esc1", "override-reason": "Until the new one is rolled out"}
    assert editor.post("subject/override/", typed).status_code == 302
    assert stored(installation, own).enrollee_supplies_subject
    assert installation.directory_administration.accepted_risks(own) == {"ESC1"}
    newest = events(installation, AuditEvent.TEMPLATE_UPDATED, own)[0]
    assert newest.actor == r"CORP\Administrator"
    assert newest.details["accepted_risks"] == "ESC1"
    assert newest.details["reason"] == "Until the new one is rolled out"
    assert "msPKI-Certificate-Name-Flag (after)" in newest.details
    page = text_of(editor.browser.get(f"{editor.path}subject/"))
    assert "was accepted" in page
    assert "Cannot be saved:" not in page


def test_an_override_is_a_ca_administrators(sign_in: SignIn, installation: Installation, own: str) -> None:
    for name, status in ((People.OFFICER, 403), (People.AUDITOR, 403), (People.CA_ADMINISTRATOR, 302)):
        editor = Editor(sign_in(name), own)
        editor.browser.confirm()
        form = {**Editor(sign_in(People.ADMINISTRATOR), own).form, **RISKY}
        typed = {**form, "override-word": "ESC1", "override-reason": "A test of the gate"}
        assert editor.post("subject/override/", typed).status_code == status, name
        assert stored(installation, own).enrollee_supplies_subject is (status == 302)


# -- permissions and name rules --------------------------------------------------------------------------------------


def test_rights_are_given_and_taken_row_by_row(
    sign_in: SignIn, installation: Installation, own: str, editor: Editor
) -> None:
    who = installation.directory.principal(People.OTHER)
    assert who is not None
    added = editor.post("security/look/", {"ace-add": People.OTHER})
    assert who.account in text_of(added)
    editor.form = form_in(added)
    assert editor.post("security/", {f"ace-{who.sid}": ["read", "enroll", "autoenroll"]}).status_code == 302
    security = stored(installation, own).security_descriptor
    assert who.sid in security
    (event,) = events(installation, AuditEvent.TEMPLATE_SECURITY_UPDATED, own)
    assert who.sid in str(event.details["nTSecurityDescriptor (after)"])
    again = Editor(editor.browser, own)
    assert again.form[f"ace-{who.sid}"] == ["read", "enroll", "autoenroll"]
    assert again.post("security/", {f"ace-{who.sid}": []}).status_code == 302
    assert who.sid not in stored(installation, own).security_descriptor


def test_the_members_of_a_row_are_counted(sign_in: SignIn, installation: Installation) -> None:
    page = sign_in(People.AUDITOR).get(f"{CA}/templates/User/security/")
    users = sum(
        account.principal.enabled and account.principal.kind.value == "user"
        for account in installation.directory_administration.list_accounts()
    )
    row = re.search(r'<th scope="row">CORP\\Domain Users.*?</tr>', page.content.decode(), re.DOTALL)
    assert row is not None
    assert f'<td class="cw-end cw-num">{users}</td>' in row[0]


def test_giving_enroll_to_everybody_on_a_template_with_supplied_names_is_refused(
    sign_in: SignIn, installation: Installation
) -> None:
    """What the risk gate forbids of `template grant`, it forbids here."""
    editor = Editor(sign_in(People.ADMINISTRATOR), "OfflineRouter")
    editor.form = form_in(editor.post("security/look/", {"ace-add": "Authenticated Users"}))
    answer = editor.post("security/", {"ace-S-1-5-11": ["read", "enroll"]})
    assert answer.status_code == 409
    assert "Cannot be saved: ESC1" in text_of(answer)


def test_name_rules_of_groups_are_kept_by_group(installation: Installation, own: str, editor: Editor) -> None:
    rows = {
        "rule-kind": ["dns_suffixes", "ip_ranges", "dns_suffixes"],
        "rule-value": ["corp.example", "10.0.0.0/8", "Lab.Example"],
        "rule-group": ["", "Web Enrollees", ""],
    }
    assert editor.post("names/", rows).status_code == 302
    everybody, group = stored(installation, own).name_rules.rules
    assert everybody.dns_suffixes == ("corp.example", "lab.example")
    assert group.ip_ranges == ("10.0.0.0/8",)
    found = installation.directory.principal("Web Enrollees")
    assert found is not None
    assert group.group == found.sid
    again = Editor(editor.browser, own)
    dropped = form_in(again.post("names/look/", {"drop-rule": "0"}))
    assert dropped["rule-value"] == ["lab.example", "10.0.0.0/8", ""]


@pytest.mark.parametrize(
    ("name", "account", "said"),
    [
        ("web01.corp.example", "", "As DNS: inside the rules."),
        ("web01.evil.example", "", "As DNS: denied."),
        ("10.1.2.3", "", "As IP: denied."),
        ("10.1.2.3", People.ENROLLEE, "As IP: inside the rules."),
        ("somebody@corp.example", "", "As mail: denied."),
        ("web01.corp.example", "Nobody at all", "no account or group called Nobody at all"),
    ],
)
def test_a_name_is_tried_against_the_rules_as_they_stand(editor: Editor, name: str, account: str, said: str) -> None:
    rows = {
        "rule-kind": ["dns_suffixes", "ip_ranges"],
        "rule-value": ["corp.example", "10.0.0.0/8"],
        "rule-group": ["", "Web Enrollees"],
        "outside": "deny",
    }
    answer = editor.post("try/", {**rows, "try-name": name, "try-account": account})
    assert said in text_of(answer)


# -- the list, and templates that come and go ------------------------------------------------------------------------


def test_the_list_has_both_tabs_and_every_column(sign_in: SignIn) -> None:
    browser = sign_in(People.ADMINISTRATOR)
    issued, every = (browser.get(f"{CA}/templates/{query}") for query in ("", "?shown=all"))
    assert f"/templates/{GateTemplates.STRICT}/" in issued.content.decode()
    assert "/templates/CodeSigning/" not in issued.content.decode()
    assert "CEP Encryption" in text_of(every)
    for column in ("Template Display Name", "Schema Version", "Intended Purposes", "Issued 30 d", "Findings"):
        assert column in text_of(issued)


def test_a_template_is_duplicated_edited_and_deleted(sign_in: SignIn, installation: Installation) -> None:
    browser = sign_in(People.CA_ADMINISTRATOR)
    path = f"{CA}/templates/CodeSigning/duplicate/"
    assert browser.post(path, {"display_name": "Ours", "cn": "Web Server"}).status_code == 422
    assert browser.post(path, {"display_name": "Ours", "cn": "codesigning"}).status_code == 422
    assert browser.post(path, {"display_name": "Our Code Signing", "cn": "OurCodeSigning"}).status_code == 302
    made, source = stored(installation, "OurCodeSigning"), stored(installation, "CodeSigning")
    assert made.display_name == "Our Code Signing"
    assert made.oid != source.oid
    assert made.schema_version == 2
    assert (
        events(installation, AuditEvent.TEMPLATE_LOADED, "OurCodeSigning")[0].details["duplicate_of"] == "CodeSigning"
    )
    at = f"{CA}/templates/OurCodeSigning/"
    assert browser.post(f"{at}publish/").status_code == 302
    assert browser.post(f"{at}delete/", {"word": "OurCodeSigning"}).status_code == 422  # it is issued
    assert browser.post(f"{at}unpublish/").status_code == 302
    assert browser.post(f"{at}delete/", {"word": "Our"}).status_code == 422
    assert browser.post(f"{at}delete/", {"word": "OurCodeSigning"}).status_code == 302
    assert "OurCodeSigning" not in installation.directory_administration.templates()
    assert browser.get(at).status_code == 404


def test_a_default_template_is_not_deleted(sign_in: SignIn, installation: Installation) -> None:
    browser = sign_in(People.ADMINISTRATOR)
    assert browser.post(f"{CA}/templates/CodeSigning/delete/", {"word": "CodeSigning"}).status_code == 422
    assert "CodeSigning" in installation.directory_administration.templates()


def test_a_duplicate_of_a_dangerous_template_takes_an_acceptance_of_its_own(
    sign_in: SignIn, installation: Installation
) -> None:
    administration = installation.directory_administration
    browser = sign_in(People.ADMINISTRATOR)
    path = f"{CA}/templates/SubCA/duplicate/"
    form = {"display_name": "Own SubCA", "cn": "OwnSubCA2"}
    answer = browser.post(path, form)
    assert answer.status_code == 422
    assert "ESC2" in text_of(answer)
    accepting = {**form, "word": "ESC1, ESC2, ESC17", "reason": "A lab"}
    assert browser.post(path, accepting).status_code == 422  # who is it?
    browser.confirm()
    assert browser.post(path, {**accepting, "reason": ""}).status_code == 422
    assert browser.post(path, accepting).status_code == 302
    event = events(installation, AuditEvent.TEMPLATE_LOADED, "OwnSubCA2")[0]
    assert (event.details["accepted_risks"], event.details["reason"]) == ("ESC1, ESC17, ESC2", "A lab")
    administration.delete_template("OwnSubCA2", actor=OPERATOR)


def test_an_exported_template_is_imported_under_another_name(sign_in: SignIn, installation: Installation) -> None:
    browser = sign_in(People.ADMINISTRATOR)
    document = browser.get(f"{CA}/templates/CodeSigning/export/").content.decode()
    oid = stored(installation, "CodeSigning").oid
    path = f"{CA}/templates/-/import/"
    assert browser.post(path, {"text": "no JSON"}).status_code == 422
    taken = browser.post(path, {"text": document.replace('"cn": "CodeSigning"', '"cn": "Imported"')})
    assert taken.status_code == 422
    assert "belongs to the template CodeSigning" in text_of(taken)
    own = document.replace('"cn": "CodeSigning"', '"cn": "Imported"').replace(oid, "")
    assert browser.post(path, {"text": own}).status_code == 302
    assert (
        stored(installation, "Imported").extended_key_usage == stored(installation, "CodeSigning").extended_key_usage
    )
    installation.directory_administration.delete_template("Imported", actor=OPERATOR)


@pytest.mark.parametrize(
    "act", ["CodeSigning/duplicate/", "CodeSigning/delete/", "CodeSigning/publish/", "-/import/"]
)
@pytest.mark.parametrize("name", [People.OFFICER, People.AUDITOR, People.PLAIN])
def test_templates_come_and_go_by_ca_administrators_alone(sign_in: SignIn, act: str, name: str) -> None:
    browser = sign_in(name)
    assert browser.get(f"{CA}/templates/{act}").status_code == 403
    assert browser.post(f"{CA}/templates/{act}", {"word": "CodeSigning"}).status_code == 403


def test_stopping_says_what_renews_through_it(sign_in: SignIn) -> None:
    text = text_of(sign_in(People.ADMINISTRATOR).get(f"{CA}/templates/Machine/unpublish/"))
    assert "Stop issuing Computer?" in text
    assert "renew" in text
    assert "in 90 days" in text
