"""The pages of the frame: what they show and what they change."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable

import pytest

from certwright.adcs.events import AuditEvent, CaEvent
from certwright.console.access import Role
from certwright.console.rooms import rooms
from certwright.server.composition import Installation
from certwright.server.system_user import system_user
from tests.support.installation import ISSUING, PASSWORD, People
from tests.web.console.conftest import Browser, text_of


def test_the_first_page_of_an_administrator_is_the_checklist(sign_in: Callable[..., Browser]) -> None:
    browser = sign_in(People.CA_ADMINISTRATOR)
    page = text_of(browser.get("/"))
    assert "Save the root certificate" in page
    assert browser.get("/root-ca.crt").content.startswith(b"-----BEGIN CERTIFICATE-----")
    assert "Download" in text_of(browser.get("/"))
    browser.post("/dashboard/dismiss/")
    assert "Save the root certificate" not in text_of(browser.get("/"))
    assert ISSUING in text_of(browser.get("/"))


def test_the_last_row_of_the_checklist_takes_mail_and_a_backup(sign_in: Callable[..., Browser]) -> None:
    from certwright.console.dashboard import steps_for
    from certwright.notifications.values import EmailFields

    browser = sign_in(People.ADMINISTRATOR)
    assert "Set e-mail for notifications" in text_of(browser.get("/"))

    def last() -> bool:
        return steps_for(browser.get("/search/").wsgi_request.viewer)[-1].done

    mail = EmailFields("Mail", "mail.corp.example", "pki@corp.example", ("ops@corp.example",))
    channel = rooms().notifications.channels.add(mail, "", actor="tests")
    assert not last()
    page = browser.get("/").content.decode()
    assert "certwright backup" in page
    rooms().record(CaEvent(AuditEvent.BACKUP_COMPLETED, rooms().clock(), "", "tests", {"file": "x"}))
    assert last()
    rooms().notifications.channels.delete(channel.id, confirmed=True, actor="tests")
    assert not last()


# -- audit -----------------------------------------------------------------------------------------------------------


def test_the_trail_shows_who_did_what_to_whom(sign_in: Callable[..., Browser]) -> None:
    page = text_of(sign_in(People.AUDITOR).get("/audit/?event=9010"))
    assert "Account changed 9010" in page
    assert r"CORP\Administrator" in page
    assert "change: account added" in page


def test_the_trail_names_the_user_of_the_operating_system_behind_a_command(sign_in: Callable[..., Browser]) -> None:
    """`init` was a command; what came in by a page was none."""
    auditor = sign_in(People.AUDITOR)
    assert f"OS user: {system_user()}" in text_of(auditor.get("/audit/?event=9001"))
    assert "OS user" not in text_of(auditor.get(f"/audit/?event={int(AuditEvent.CONSOLE_SIGNED_IN)}"))


def test_the_trail_is_filtered_searched_and_paged(sign_in: Callable[..., Browser]) -> None:
    browser = sign_in(People.AUDITOR)
    rows = browser.part("/audit/?q=wanda&event=9010").content.decode()
    assert "wanda" in rows
    assert "<html" not in rows  # only the rows
    assert len(re.findall("<tr ", rows)) == 2  # the account, and its group
    first = browser.part("/audit/").content.decode()
    following = re.search(r'href="(/audit/\?[^"]*page=2[^"]*)"', first)
    assert following
    second = browser.part(following[1].replace("&amp;", "&")).content.decode()
    assert first != second
    assert "No event matches" in text_of(browser.get("/audit/?q=there-is-no-such-thing"))


def test_the_chain_is_verified_on_demand(sign_in: Callable[..., Browser], installation: Installation) -> None:
    browser = sign_in(People.AUDITOR)
    assert "Chain intact" in text_of(browser.post("/audit/verify/"))
    with installation.database.transaction() as connection:
        row = connection.one("SELECT id, actor FROM audit_event ORDER BY id LIMIT 1")
        assert row is not None
        connection.execute("UPDATE audit_event SET actor = 'somebody else' WHERE id = ?", (row[0],))
    try:
        page = browser.post("/audit/verify/")
        assert "Chain broken" in text_of(page)
        assert "breaks in the chain" in page.content.decode()  # the red count in the menu
    finally:
        with installation.database.transaction() as connection:
            connection.execute("UPDATE audit_event SET actor = ? WHERE id = ?", (row[1], row[0]))
    assert "Chain intact" in text_of(browser.post("/audit/verify/"))


def test_the_export_is_the_whole_trail_with_its_hashes(
    sign_in: Callable[..., Browser], installation: Installation
) -> None:
    browser = sign_in(People.AUDITOR)
    answer = browser.get(f"/audit/export/?ca={ISSUING}")
    assert answer.streaming
    lines = [json.loads(line) for line in b"".join(answer.streaming_content).splitlines()]
    events = installation.audit.events(ca=ISSUING, limit=None, newest_first=False)
    assert [line["hash"] for line in lines] == [event.hash for event in events]
    table = b"".join(browser.get(f"/audit/export/?ca={ISSUING}&as=csv").streaming_content).decode("utf-8-sig")
    assert table.splitlines()[0] == "when,chain,sequence,event,name,actor,details,hash"
    assert len(list(csv.reader(io.StringIO(table)))) == len(events) + 1  # a detail may have several lines


# -- people ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def administrator(sign_in: Callable[..., Browser]) -> Browser:
    browser = sign_in(People.ADMINISTRATOR)
    browser.confirm()
    return browser


def account_id(name: str) -> int:
    from certwright.console.models import Account

    return int(Account.objects.get(username=name).pk)


def test_a_local_account_is_added_with_its_roles(
    administrator: Browser, sign_in: Callable[..., Browser], installation: Installation
) -> None:
    data = {"name": "paula", "password": PASSWORD, "display_name": "Paula P.", "roles": ["operator"]}
    answer = administrator.post("/people/add/", data)
    assert answer["Location"] == f"/people/{account_id('paula')}/"
    assert "Sees and works on every order" in text_of(administrator.get(answer["Location"]))
    newest = installation.audit.events(ca="", event=AuditEvent.CONSOLE_ACCOUNT_CHANGED, limit=1)[0]
    assert (newest.actor, newest.details["account"]) == (r"CORP\Administrator", "paula")
    assert sign_in("paula").get("/").status_code == 200


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({"name": "x", "password": "short"}, "too short"),
        ({"name": "x", "password": "password1234"}, "too common"),
        ({"name": r"CORP\x", "password": PASSWORD}, "none of"),
        ({"name": "", "password": PASSWORD}, "required"),
    ],
)
def test_what_cannot_be_an_account_is_said_in_the_form(
    administrator: Browser, data: dict[str, str], sentence: str
) -> None:
    answer = administrator.post("/people/add/", data)
    assert answer.status_code == 422
    assert sentence in text_of(answer)


def test_roles_are_given_and_taken(
    administrator: Browser, sign_in: Callable[..., Browser], local: Callable[..., str], installation: Installation
) -> None:
    number = account_id(local("ruth"))
    theirs = sign_in("ruth")
    assert theirs.get("/people/").status_code == 403
    administrator.post(f"/people/{number}/roles/", {"roles": ["console administrator"], "may_export_keys": "on"})
    assert theirs.get("/people/").status_code == 200
    newest = installation.audit.events(ca="", event=AuditEvent.CONSOLE_ROLES_CHANGED, limit=1)[0]
    assert newest.details["roles_after"] == "console administrator"
    administrator.post(f"/people/{number}/roles/", {"roles": []})
    assert theirs.get("/people/").status_code == 403


def test_nobody_takes_the_administrators_role_from_themselves(
    sign_in: Callable[..., Browser], local: Callable[..., str]
) -> None:
    browser = sign_in(local("only-one", Role.ADMINISTRATOR))
    browser.confirm()
    answer = browser.post(f"/people/{account_id('only-one')}/roles/", {"roles": ["operator"]})
    assert answer.status_code == 422
    assert "ask another administrator" in text_of(answer)


def test_a_disabled_account_is_out_and_its_tokens_too(
    administrator: Browser, sign_in: Callable[..., Browser], local: Callable[..., str]
) -> None:
    from certwright.console import accounts

    browser = sign_in(local("dora", Role.OPERATOR))
    browser.confirm()
    made = browser.post("/account/tokens/add/", {"name": "script", "scopes": ["read"], "lifetime": "30"})
    token = re.search(r'data-copy="(cw_[\w-]+)"', made.content.decode())
    assert token
    viewer = accounts.viewer_of_token(token[1], "192.0.2.1")
    assert viewer is not None
    assert (viewer.account, viewer.scopes) == (r"CONSOLE\dora", frozenset({"read"}))
    administrator.post(f"/people/{account_id('dora')}/enable/", {"enabled": "0"})
    assert browser.get("/account/").status_code == 302
    assert accounts.viewer_of_token(token[1], "192.0.2.1") is None


def test_a_token_is_shown_once_and_kept_as_a_digest(
    sign_in: Callable[..., Browser], local: Callable[..., str]
) -> None:
    from certwright.console import accounts
    from certwright.console.models import ApiToken

    browser = sign_in(local("tina", Role.OPERATOR))
    browser.confirm()
    made = browser.post("/account/tokens/add/", {"name": "script", "scopes": ["read", "orders"], "lifetime": ""})
    found = re.search(r'data-copy="(cw_[\w-]+)"', made.content.decode())
    assert found
    token = found[1]
    assert token not in browser.get("/account/").content.decode()
    row = ApiToken.objects.get(prefix=token[:10])
    assert len(bytes(row.digest)) == 32
    assert token.encode() not in bytes(row.digest)
    assert accounts.viewer_of_token(token[:-1] + ("A" if token[-1] != "A" else "B"), "") is None
    browser.post(f"/account/tokens/{row.pk}/delete/")
    assert accounts.viewer_of_token(token, "") is None


def test_one_account_does_not_delete_anothers_token(
    sign_in: Callable[..., Browser], local: Callable[..., str]
) -> None:
    from certwright.console.models import ApiToken

    owner = sign_in(local("theo", Role.OPERATOR))
    owner.confirm()
    owner.post("/account/tokens/add/", {"name": "script", "scopes": ["read"], "lifetime": "30"})
    row = ApiToken.objects.get(account__username="theo")
    assert sign_in(local("eve", Role.OPERATOR)).post(f"/account/tokens/{row.pk}/delete/").status_code == 422
    assert ApiToken.objects.filter(pk=row.pk).exists()


def test_rights_are_said_in_sentences_for_all_groups_together(administrator: Browser, anybody: Browser) -> None:
    anybody.sign_in(People.OFFICER)
    number = account_id(r"CORP\olga")
    page = text_of(administrator.get(f"/people/{number}/"))
    assert f"Issues, denies and revokes on {ISSUING}" in page
    assert r"CORP\Certificate Managers" in page
    assert "Administers the console" not in page


# -- one's own settings ----------------------------------------------------------------------------------------------


def settings(**changes: str) -> dict[str, str]:
    return {"language": "", "zone": "UTC", "theme": "", "density": "", "page_size": "25", "shortcuts": "on"} | changes


def test_preferences_change_how_pages_look(sign_in: Callable[..., Browser]) -> None:
    browser = sign_in(People.PLAIN)
    browser.post("/account/", settings(theme="dark", density="compact", page_size="50"))
    page = browser.get("/account/").content.decode()
    assert 'data-theme="dark"' in page
    assert "cw-compact" in page
    browser.post("/account/", settings())


def test_columns_are_remembered_by_account_and_list(sign_in: Callable[..., Browser]) -> None:
    browser = sign_in(People.AUDITOR)
    assert "Hash" not in text_of(browser.part("/audit/"))
    browser.post("/columns/audit/", {"column": ["hash", "when"], "next": "/audit/"})
    rows = browser.part("/audit/").content.decode()
    assert re.findall(r"<th[^>]*>(?:<a[^>]*>)?([A-Za-z]+)", rows) == ["Hash", "Time"]
    browser.post("/columns/audit/", {"usual": "1", "next": "https://evil.example/"})
    assert "Object" in text_of(browser.part("/audit/"))


def test_views_are_saved_shared_and_deleted(sign_in: Callable[..., Browser]) -> None:
    from certwright.console.models import SavedView

    browser = sign_in(People.AUDITOR)
    browser.post("/views/", {"page": "/audit/", "name": "Refusals", "query": "event=9151", "shared": "1"})
    assert 'href="/audit/?event=9151"' in browser.get("/audit/").content.decode()
    other = sign_in(People.CA_ADMINISTRATOR)
    assert "Refusals" in text_of(other.get("/audit/"))
    view = SavedView.objects.get(name="Refusals")
    assert other.post(f"/views/{view.pk}/delete/").status_code == 422
    browser.post(f"/views/{view.pk}/delete/")
    assert "Refusals" not in text_of(browser.get("/audit/"))


def test_the_password_of_a_local_account_is_changed_by_its_owner(
    sign_in: Callable[..., Browser], local: Callable[..., str]
) -> None:
    name = local("pia")
    other, browser = sign_in(name), sign_in(name)
    browser.confirm()
    assert browser.post("/account/password/", {"password": "short"}).status_code == 422
    assert browser.post("/account/password/", {"password": "another fine long password"}).status_code == 302
    assert browser.get("/account/").status_code == 200
    assert other.get("/account/").status_code == 302
    assert sign_in(name, "another fine long password").get("/account/").status_code == 200


# -- search, health, faults ------------------------------------------------------------------------------------------


def test_the_search_finds_pages_and_people(sign_in: Callable[..., Browser]) -> None:
    browser = sign_in(People.ADMINISTRATOR)
    assert 'href="/health/"' in browser.part("/search/?q=pkiview").content.decode()
    assert r"CORP\Administrator" in text_of(browser.part("/search/?q=administ"))
    assert "Nothing matches" in text_of(browser.part("/search/?q=zzzzzzzz"))
    assert browser.get("/search/?q=audit")["Location"] == "/audit/"


def test_the_search_shows_nobody_what_they_may_not_see(sign_in: Callable[..., Browser]) -> None:
    browser = sign_in(People.PLAIN)
    assert "/people/" not in browser.part("/search/?q=administrator").content.decode()


def test_health_says_what_is_watched(sign_in: Callable[..., Browser]) -> None:
    page = text_of(sign_in(People.BACKUP).get("/health/"))
    assert "CA certificate OK" in page
    assert "Private key Warning" in page  # the root's, on this host
    assert "Base CRL 1 OK" in page


def test_a_fault_has_a_number_that_is_in_the_log_and_nothing_else(
    sign_in: Callable[..., Browser], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from certwright.console.pages import audit

    browser = sign_in(People.AUDITOR)
    browser.client.raise_request_exception = False

    def broken(*_: object) -> None:
        raise RuntimeError("a secret detail")

    monkeypatch.setattr(audit, "_filters", broken)
    answer = browser.get("/audit/")
    assert answer.status_code == 500
    number = re.search(r'data-copy="([0-9A-F]{8})"', answer.content.decode())
    assert number
    assert "a secret detail" not in answer.content.decode()
    assert number[1] in capsys.readouterr().out
    part = browser.part("/audit/")
    assert part.status_code == 500
    assert "data-incident=" in part.content.decode()


def test_a_page_that_is_not_there_says_so_in_the_frame(sign_in: Callable[..., Browser], anybody: Browser) -> None:
    assert "There is no such page" in text_of(anybody.get("/nowhere/"))
    page = sign_in(People.PLAIN).get("/nowhere/")
    assert page.status_code == 404
    assert "Skip to content" in text_of(page)


def test_a_refusal_shows_rule_and_code(sign_in: Callable[..., Browser]) -> None:
    browser = sign_in(People.PLAIN)
    answer = browser.post("/views/99999/delete/")
    assert answer.status_code == 422
    assert "There is no such view." in text_of(answer)
    assert "0x80070057 E_INVALIDARG" in text_of(answer)
    part = browser.post("/views/99999/delete/", headers={"HX-Request": "true"})
    assert (part.status_code, part["HX-Retarget"]) == (409, "#refusal")


def test_the_menu_is_asked_for_again_with_its_counts(sign_in: Callable[..., Browser]) -> None:
    browser = sign_in(People.ADMINISTRATOR)
    menu = browser.get("/menu/", headers={"HX-Request": "true", "HX-Current-URL": "https://localhost/audit/"})
    assert 'href="/audit/" aria-current="page"' in menu.content.decode()


def test_the_clock_of_the_installation_is_the_clock_of_the_pages() -> None:
    assert rooms().clock().tzinfo is not None
