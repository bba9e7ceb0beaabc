"""The REST API for accounts: People & Access, one's own tokens and sessions, the directory. Passwords go in only."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, Final
from urllib.parse import quote

import pytest

from certwright.console import accounts
from certwright.console.access import Role
from certwright.console.rooms import rooms
from certwright.pki.names import sanitized_name
from tests.support.api import EVERY_SCOPE, Caller, refused, said, token
from tests.support.installation import ISSUING, PASSWORD, ROOT, People
from tests.web.console.conftest import Browser

pytestmark = pytest.mark.usefixtures("console")

CANARY: Final = "canary-in-a-password-4d1e"
WITHOUT: Final = tuple(scope for scope in EVERY_SCOPE if scope != "access")


@pytest.fixture
def administrator() -> Caller:
    return Caller(token(People.ADMINISTRATOR))


@pytest.fixture
def told(administrator: Caller) -> Iterator[list[str]]:
    """Everything that is answered; no password is in it afterwards."""
    answers: list[str] = []
    send = administrator.client.generic

    def listening(*args: Any, **options: Any) -> Any:
        answer = send(*args, **options)
        answers.append(answer.content.decode(errors="replace"))
        return answer

    administrator.client.generic = listening  # type: ignore[method-assign]
    yield answers
    assert answers
    assert CANARY not in "".join(answers)


# -- People & Access -------------------------------------------------------------------------------------------------


def test_a_local_account_is_made_given_roles_and_shut_out(
    administrator: Caller, told: list[str], sign_in: Callable[..., Browser]
) -> None:
    entered = {"name": "paula", "password": CANARY, "display_name": "Paula P.", "roles": ["requester"]}
    made = said(administrator.post("/people", entered), 201)
    at = f"/people/{made['id']}"
    assert (made["kind"], made["given_roles"], made["enabled"]) == ("local", ["requester"], True)
    assert any("Places orders" in sentence for sentence in made["rights"])

    browser = sign_in("paula", CANARY)
    [session] = said(administrator.get(at))["sessions"]
    assert session["peer"] == "127.0.0.1"
    roles = {"roles": ["operator"], "may_export_keys": True}
    changed = said(administrator.put(f"{at}/roles", roles))
    assert (changed["given_roles"], changed["may_export_keys"]) == (["operator"], True)
    assert said(administrator.delete(f"{at}/sessions"))["ended"] == 1
    assert browser.get("/adcs/orders/").status_code == 302

    said(administrator.put(f"{at}/password", {"password": CANARY + "-2"}))
    sign_in("paula", CANARY + "-2")
    assert said(administrator.put(f"{at}/enabled", {"enabled": False}))["enabled"] is False
    assert sign_in_status("paula", CANARY + "-2") != 302
    assert administrator.delete(f"{at}/second-factor").status_code == 204
    names = {each["name"] for each in said(administrator.get("/people", text="paul", kind="local"))["rows"]}
    assert names == {"paula"}


def sign_in_status(name: str, password: str) -> int:
    status: int = Browser().sign_in(name, password).status_code
    return status


def test_people_are_paged_and_none_comes_twice(administrator: Caller, local: Callable[..., str]) -> None:
    for number in range(5):
        local(f"page{number}", Role.REQUESTER)
    seen: list[int] = []
    after: dict[str, int] = {}
    while True:
        page = said(administrator.get("/people", limit=2, **after))
        seen += [row["id"] for row in page["rows"]]
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    assert len(seen) == len(set(seen)) == len(said(administrator.get("/people", limit=500))["rows"])


def test_passwords_roles_and_second_factors_take_a_token_that_was_made_for_that(local: Callable[..., str]) -> None:
    local("victim")
    caller = Caller(token(People.ADMINISTRATOR, *WITHOUT))
    number = next(each["id"] for each in said(caller.get("/people", text="victim"))["rows"])
    acts: dict[str, tuple[str, Any]] = {
        "password": ("PUT", {"password": PASSWORD}),
        "roles": ("PUT", {"roles": ["console administrator"], "may_export_keys": True}),
        "second-factor": ("DELETE", None),
    }
    for name, (method, body) in acts.items():
        problem = refused(caller.send(method, f"/people/{number}/{name}", body), 403)
        assert "scope access" in problem["detail"], name


def test_only_console_administrators_change_accounts(local: Callable[..., str]) -> None:
    caller = Caller(token(local("orla", Role.OPERATOR)))
    refused(caller.get("/people"), 403)
    refused(caller.post("/people", {"name": "x", "password": PASSWORD}), 403)


def test_weak_passwords_and_taken_names_are_refused_in_words(administrator: Caller) -> None:
    assert "12" in refused(administrator.post("/people", {"name": "weak", "password": "short"}), 422)["detail"]
    said(administrator.post("/people", {"name": "twice", "password": PASSWORD}), 201)
    assert "already" in refused(administrator.post("/people", {"name": "twice", "password": PASSWORD}), 422)["detail"]


# -- one's own account -----------------------------------------------------------------------------------------------


def test_a_token_makes_no_token_that_may_more_than_itself(local: Callable[..., str]) -> None:
    caller = Caller(token(local("tina", Role.REQUESTER), "read", "access"))
    refused(caller.post("/me/tokens", {"name": "more", "scopes": ["read", "orders"]}), 403)
    entered = {"name": "robot", "scopes": ["read"], "expires": "2099-01-01T00:00:00Z"}
    made = said(caller.post("/me/tokens", entered), 201)
    assert said(Caller(made["token"]).get("/me"))["scopes"] == ["read"]
    listed = {each["id"]: each for each in said(caller.get("/me/tokens"))}
    assert "token" not in listed[made["id"]]
    assert made["token"] not in json.dumps(list(listed.values()))
    refused(Caller(made["token"]).post("/me/tokens", {"name": "x", "scopes": ["read"]}), 403)


def test_a_token_is_ended_by_its_own_account_and_by_administrators(
    administrator: Caller, local: Callable[..., str]
) -> None:
    name = local("tom", Role.REQUESTER)
    one, other = Caller(token(name)), Caller(token(local("uma", Role.REQUESTER)))
    number = said(one.get("/me/tokens"))[0]["id"]
    refused(other.delete(f"/tokens/{number}"), 404)
    person = next(each["id"] for each in said(administrator.get("/people", text=name))["rows"])
    assert [each["id"] for each in said(administrator.get(f"/people/{person}"))["tokens"]] == [number]
    assert administrator.delete(f"/tokens/{number}").status_code == 204
    refused(one.get("/me"), 401)


def test_a_browser_that_ends_its_other_sessions_stays(
    sign_in: Callable[..., Browser], local: Callable[..., str]
) -> None:
    name = local("sven", Role.REQUESTER)
    here, elsewhere = sign_in(name), sign_in(name)
    assert len(here.client.get("/api/v1/me/sessions", secure=True).json()) == 2
    answer = here.client.delete("/api/v1/me/sessions", secure=True)
    assert answer.json() == {"ended": 1}
    assert here.get("/adcs/orders/").status_code == 200
    assert elsewhere.get("/adcs/orders/").status_code == 302


def test_views_are_kept_shared_and_removed_by_their_owner(local: Callable[..., str]) -> None:
    one, other = (Caller(token(local(name, Role.REQUESTER))) for name in ("vera", "walt"))
    entered = {"page": "/adcs/orders/", "name": "waiting", "query": "status=pending", "shared": True}
    made = said(one.post("/views", entered), 201)
    found = said(other.get("/views", page="/adcs/orders/"))
    assert [(each["name"], each["own"]) for each in found if each["id"] == made["id"]] == [("waiting", False)]
    refused(other.delete(f"/views/{made['id']}"), 404)
    assert one.delete(f"/views/{made['id']}").status_code == 204
    refused(one.post("/views", {"page": "https://evil.example/", "name": "x"}), 422)


# -- the directory ---------------------------------------------------------------------------------------------------


def test_an_account_of_the_directory_from_its_name_to_its_last_logon(administrator: Caller, told: list[str]) -> None:
    entered = {"name": "ws77", "kind": "computer", "password": CANARY, "ntlm": True, "groups": ["Cert Publishers"]}
    made = said(administrator.post("/directory/accounts", entered), 201)
    at = f"/directory/accounts/{made['sid']}"
    assert (made["account"], made["ntlm"], made["has_password"]) == ("CORP\\ws77$", True, True)
    assert {"CORP\\Cert Publishers", "CORP\\Domain Computers"} <= set(made["groups"])
    assert said(administrator.patch(at, {"additional_host_names": ["ws77.lab.example"]}))[
        "additional_host_names"
    ] == ["ws77.lab.example"]
    assert said(administrator.delete(f"{at}/nt-hash"))["ntlm"] is False
    assert said(administrator.put(f"{at}/password", {"password": CANARY + "-2"}))["ntlm"] is False
    assert said(administrator.put(f"{at}/password", {"password": CANARY + "-3", "ntlm": True}))["ntlm"] is True
    assert said(administrator.put(f"{at}/enabled", {"enabled": False}))["enabled"] is False
    found = said(administrator.get("/directory/accounts", kind="computer", text="WS77"))
    assert [each["sid"] for each in found["rows"]] == [made["sid"]]
    assert said(administrator.get("/directory"))["disabled"] >= 1


def test_groups_and_who_is_in_them(administrator: Caller) -> None:
    made = said(administrator.post("/directory/groups", {"name": "Web Masters"}), 201)
    at = f"/directory/groups/{made['sid']}"
    alice = said(administrator.get("/directory/accounts", text=People.ENROLLEE))["rows"][0]
    assert said(administrator.post(f"{at}/members", {"member": People.ENROLLEE}))["members"] == [alice["account"]]
    assert said(administrator.delete(f"{at}/members/{alice['sid']}"))["members"] == []
    assert "not directly a member" in refused(administrator.delete(f"{at}/members/{alice['sid']}"), 422)["detail"]
    refused(administrator.get("/directory/groups/S-1-5-21-1-2-3-999999"), 404)
    refused(administrator.get("/directory/groups/nobody"), 422)
    without = Caller(token(People.ADMINISTRATOR, *WITHOUT))
    refused(without.post("/directory/groups", {"name": "Trick", "members": [People.ENROLLEE]}), 422)
    assert "Trick" not in json.dumps(said(administrator.get("/directory/groups", text="Trick")))


def test_the_directory_asks_itself_who_may_change_it() -> None:
    """A certificate manager sees the page; changing accounts is for who administers the domain."""
    caller = Caller(token(People.OFFICER))
    assert said(caller.get("/directory/accounts"))["rows"]
    refused(caller.post("/directory/accounts", {"name": "mallory"}), 403)
    sid = said(caller.get("/directory/accounts"))["rows"][0]["sid"]
    refused(caller.put(f"/directory/accounts/{sid}/password", {"password": PASSWORD}), 403)
    assert rooms().directory.principal("mallory") is None


def test_the_entry_of_a_ca_is_compared_and_written(administrator: Caller) -> None:
    ca, root = (f"/cas/{quote(sanitized_name(name))}/directory-entry" for name in (ISSUING, ROOT))
    before = said(administrator.get(ca))
    assert before["exists"]
    assert {each["attribute"] for each in before["attributes"]} == {
        "dNSHostName",
        "cACertificate",
        "certificateTemplates",
    }
    assert said(administrator.post(ca))["differs"] is False
    assert said(administrator.get(root)) == {"exists": False, "differs": False, "attributes": []}
    refused(administrator.post(root), 409)


def test_every_change_stands_in_the_audit_trail(administrator: Caller) -> None:
    said(administrator.post("/people", {"name": "trail", "password": CANARY}), 201)
    said(administrator.post("/directory/accounts", {"name": "trail", "password": CANARY}), 201)
    records = rooms().audit.events(limit=50)
    text = " ".join(f"{record.name} {dict(record.details)}" for record in records)
    assert "CONSOLE_ACCOUNT_CHANGED {'account': 'trail', 'change': 'added'" in text
    assert "account added" in text
    assert CANARY not in text
    assert accounts.SCOPES.keys() == set(EVERY_SCOPE)
