"""The page x role table: who is answered, who is refused, and that nobody forgets to add a page here.

Whether an *act* is allowed is for the room behind the page (the CA's gate, the console's accounts); here it is
whether the page answers at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final
from urllib.parse import quote

import pytest

from certwright.console import access
from certwright.console.access import Role
from certwright.console.pages.ca_properties import TABS as PROPERTIES_TABS
from certwright.console.pages.new_request import ORDERING
from certwright.console.template_editor.fields import TABS as TEMPLATE_TABS
from certwright.pki.names import sanitized_name
from tests.support.installation import ISSUING, People
from tests.web.console.conftest import Browser, text_of

CA: Final = f"/ca/{quote(sanitized_name(ISSUING))}"
RESPONDER_ACTS: Final = ("edit", "enable", "disable", "refresh", "request-signer", "install-signer")
ELSEWHERE_ACTS: Final = ("edit", "enable", "disable", "copy", "remove", "request-signer", "install-signer")
NDES_TABS: Final = ("devices", "challenges", "failures", "notices")
NDES_ACTS: Final = ("add", "edit", "enable", "disable", "renew", "webhook-key", "remove")
TEMPLATE_ACTS: Final = ("publish", "unpublish", "duplicate", "delete")
MANAGERS: Final = frozenset({Role.CERTIFICATE_MANAGER, Role.CA_ADMINISTRATOR})
PAGES: Final[dict[str, frozenset[Role]]] = {
    "/": access.EVERYBODY,
    "/dashboard/tiles/": access.ORDERS,
    "/root-ca.crt": frozenset({Role.ADMINISTRATOR, Role.CA_ADMINISTRATOR}),
    "/audit/": access.AUDIT,
    "/audit/export/": access.AUDIT,
    "/people/": access.PEOPLE,
    "/people/1/": access.PEOPLE,
    "/people/add/": frozenset({Role.ADMINISTRATOR}),
    "/health/": access.HEALTH,
    "/health/security/": access.AUDIT,
    "/backup/": frozenset({Role.BACKUP_OPERATOR}),
    "/cas/": access.CA_SETTINGS,
    "/cas/CORP Root CA/": access.CA_SETTINGS,
    **{
        f"/cas/CORP Root CA/{act}/": frozenset({Role.CA_ADMINISTRATOR})
        for act in ("install", "sign", "renew", "suspend", "resume", "withdraw")
    },
    "/cas/-/new/": frozenset({Role.CA_ADMINISTRATOR}),
    "/cas/-/import-crl/": frozenset({Role.CA_ADMINISTRATOR}),
    "/health/locations/": access.HEALTH,
    "/health/locations/1/": access.HEALTH,
    "/health/locations/check/": {Role.CA_ADMINISTRATOR},
    "/health/locations/1/check/": {Role.CA_ADMINISTRATOR},
    "/inventory/": access.ORDERS,
    "/inventory/import/": frozenset({Role.REQUESTER, Role.OPERATOR, Role.ADMINISTRATOR}),
    "/inventory/export/zip/": access.ORDERS,
    "/inventory/bulk/revoke/": frozenset({Role.OPERATOR, Role.ADMINISTRATOR}),
    "/renewal/": access.AUTOMATION,
    "/renewal/dry-run/": access.AUTOMATION,
    "/renewal/add/": frozenset({Role.ADMINISTRATOR}),
    "/notifications/": access.AUTOMATION,
    "/notifications/channels/": access.AUTOMATION,
    "/notifications/history/": access.AUTOMATION,
    "/notifications/add/": frozenset({Role.ADMINISTRATOR}),
    "/notifications/channels/add/email/": frozenset({Role.ADMINISTRATOR}),
    "/notifications/channels/add/webhook/": frozenset({Role.ADMINISTRATOR}),
    "/search/": access.EVERYBODY,
    "/account/": access.EVERYBODY,
    "/account/tokens/add/": access.EVERYBODY,
    "/menu/": access.EVERYBODY,
    f"{CA}/pending/": access.QUEUES,
    f"{CA}/pending/list/": access.QUEUES,
    f"{CA}/issued/": access.QUEUES,
    f"{CA}/revoked/": access.QUEUES,
    f"{CA}/failed/": access.QUEUES,
    f"{CA}/templates/": access.CA_SETTINGS,
    f"{CA}/templates/-/import/": frozenset({Role.CA_ADMINISTRATOR}),
    **{f"{CA}/templates/User/{tab}/": access.CA_SETTINGS for tab in TEMPLATE_TABS},
    **{f"{CA}/templates/User/{act}/": frozenset({Role.CA_ADMINISTRATOR}) for act in TEMPLATE_ACTS},
    f"{CA}/templates/User/export/": access.CA_SETTINGS,
    **{f"{CA}/properties/{tab}/": access.CA_PROPERTIES for tab in PROPERTIES_TABS},
    f"{CA}/requests/2/": access.QUEUES,
    f"{CA}/requests/2/export/certificate/": access.QUEUES,
    f"{CA}/requests/2/revoke/": MANAGERS,
    f"{CA}/requests/2/deny/": MANAGERS,
    f"{CA}/requests/2/attributes/edit/": MANAGERS,
    f"{CA}/requests/2/extensions/add/": MANAGERS,
    f"{CA}/pending/issue/?pick=2": MANAGERS,
    f"{CA}/pending/deny/?pick=2": MANAGERS,
    f"{CA}/issued/revoke/?pick=2": MANAGERS,
    f"{CA}/revocation/": access.CA_SETTINGS,
    f"{CA}/revocation/locations/": access.CA_SETTINGS,
    f"{CA}/revocation/publish/": frozenset({Role.CA_ADMINISTRATOR}),
    f"{CA}/revocation/responder/": access.CA_SETTINGS,
    **{f"{CA}/revocation/responder/{act}/": frozenset({Role.CA_ADMINISTRATOR}) for act in RESPONDER_ACTS},
    f"{CA}/revocation/elsewhere/": access.CA_SETTINGS,
    f"{CA}/revocation/elsewhere/add/": frozenset({Role.CA_ADMINISTRATOR}),
    f"{CA}/revocation/elsewhere/1/": access.CA_SETTINGS,
    **{f"{CA}/revocation/elsewhere/1/{act}/": frozenset({Role.CA_ADMINISTRATOR}) for act in ELSEWHERE_ACTS},
    f"{CA}/revocation/publish-delta/": frozenset({Role.CA_ADMINISTRATOR}),
    f"{CA}/enrollment/": access.CA_SETTINGS,
    f"{CA}/enrollment/cep/": access.CA_SETTINGS,
    f"{CA}/enrollment/ces/": access.CA_SETTINGS,
    f"{CA}/enrollment/ndes/": access.CA_SETTINGS,
    f"{CA}/enrollment/ndes/-/": access.CA_SETTINGS,
    **{f"{CA}/enrollment/ndes/-/{tab}/": access.CA_SETTINGS for tab in NDES_TABS},
    **{f"{CA}/enrollment/ndes/-/{act}/": frozenset({Role.CA_ADMINISTRATOR}) for act in NDES_ACTS},
    f"{CA}/enrollment/ndes/-/challenge/": MANAGERS,
    f"{CA}/enrollment/ndes/-/static-challenge/": MANAGERS,
    f"{CA}/directory/": access.CA_SETTINGS,
    f"{CA}/directory/groups/": access.CA_SETTINGS,
    f"{CA}/directory/service/": access.CA_SETTINGS,
    f"{CA}/directory/accounts/": access.CA_SETTINGS,
    f"{CA}/directory/examination/": access.CA_SETTINGS,
    f"{CA}/directory/publish/": frozenset({Role.CA_ADMINISTRATOR}),
    f"{CA}/directory/unpublish/": frozenset({Role.CA_ADMINISTRATOR}),
    "/events/": access.EVERYBODY,
    "/events/bell/": access.EVERYBODY,
    "/device-users/": access.AUTOMATION,
    "/device-users/add/": frozenset({Role.ADMINISTRATOR}),
    "/device-users/new/": frozenset({Role.ADMINISTRATOR}),
    "/adcs/accounts/": access.AUTOMATION,
    "/adcs/accounts/add/": frozenset({Role.ADMINISTRATOR}),
    "/adcs/accounts/use-this-ca/": frozenset({Role.ADMINISTRATOR}),
    "/first-run/template/": frozenset({Role.CA_ADMINISTRATOR}),
    "/adcs/orders/": access.ORDERS,
    "/adcs/orders/new/": ORDERING,
    "/inventory/forms/": access.ORDERS,
    "/inventory/forms/add/": ORDERING,
}
"""Pages that are asked for with GET, and dialogs of acts."""

LOCAL: Final = {
    Role.REQUESTER: "rita",
    Role.OPERATOR: "oscar",
    Role.ADMINISTRATOR: "adam",
}
DOMAIN: Final = {
    Role.CA_ADMINISTRATOR: People.CA_ADMINISTRATOR,
    Role.CERTIFICATE_MANAGER: People.OFFICER,
    Role.AUDITOR: People.AUDITOR,
    Role.BACKUP_OPERATOR: People.BACKUP,
}


@pytest.fixture(params=[*LOCAL, *DOMAIN], ids=lambda role: role.value)
def role(request: pytest.FixtureRequest) -> Role:
    found: Role = request.param
    return found


@pytest.fixture
def browser(role: Role, sign_in: Callable[..., Browser], local: Callable[..., str]) -> Browser:
    """Somebody who holds one role; accounts of the domain are requesters too, because their CA lets them enroll."""
    return sign_in(local(LOCAL[role], role) if role in LOCAL else DOMAIN[role])


def held(role: Role) -> set[Role]:
    return {role} if role in LOCAL else {role, Role.REQUESTER}


def test_a_page_answers_the_roles_of_its_column_and_no_other(role: Role, browser: Browser) -> None:
    for path, roles in PAGES.items():
        status = browser.get(path).status_code
        allowed = not roles.isdisjoint(held(role))
        assert (status != 403) is allowed, f"{role.value} at {path}: {status}"
        assert status < 500, path


def test_the_menu_shows_what_answers(role: Role, browser: Browser) -> None:
    """An entry that a role cannot use is left out; every entry that is drawn leads to a page that answers."""
    from certwright.console.menu import menu_for

    request = browser.get("/search/").wsgi_request
    menu = menu_for(request.viewer, "/search/")
    for block in (*menu.above, *menu.below):
        for entry in block.entries:
            assert browser.get(entry.href).status_code in (200, 302), entry.href
    for entry in menu.ca_entries:
        assert browser.get(entry.href).status_code == 200, entry.href


def test_an_account_without_a_role_sees_its_settings_only(
    sign_in: Callable[..., Browser], local: Callable[..., str]
) -> None:
    browser = sign_in(local("nora"))
    assert "no role yet" in text_of(browser.get("/"))
    assert browser.get("/account/").status_code == 200
    assert browser.get("/health/").status_code == 403
    assert browser.get("/account/tokens/add/").status_code == 403


def test_nobody_who_is_not_signed_in_sees_anything(anybody: Browser) -> None:
    for path in PAGES:
        answer = anybody.get(path)
        assert answer.status_code == 302, path
        assert answer["Location"].startswith("/sign-in/"), path


def views() -> Iterator[tuple[str, object]]:
    from django.urls import get_resolver

    for pattern in get_resolver().url_patterns:
        yield str(pattern.pattern), getattr(pattern, "callback", None)


def test_every_view_says_who_may_see_it() -> None:
    """Either `page`, or `public`; a view of the REST interface checks its tokens itself."""
    silent = [
        path
        for path, view in views()
        if view is not None and not hasattr(view, "cw_roles") and not hasattr(view, "cw_public")
    ]
    assert silent == []


def test_public_views_are_those_of_signing_in_only() -> None:
    public = {path for path, view in views() if hasattr(view, "cw_public")}
    assert {path.partition("/")[0] for path in public} <= {"sign-in", "sign-out", "account"}
    assert {path for path in public if path.startswith("account")} == {
        path for path in public if path.startswith("account/second-factor/")
    }


def test_an_act_is_a_post_and_a_look_is_not(sign_in: Callable[..., Browser]) -> None:
    browser = sign_in(People.ADMINISTRATOR)
    for path in ("/audit/verify/", "/dashboard/dismiss/", "/account/sessions/end/", "/people/1/enable/"):
        assert browser.get(path).status_code == 405, path
    assert browser.post("/audit/").status_code == 405


def test_dangerous_acts_ask_again_who_it_is(sign_in: Callable[..., Browser]) -> None:
    browser = sign_in(People.ADMINISTRATOR)
    for path in ("/people/add/", "/people/1/roles/", "/account/tokens/add/"):
        answer = browser.get(path)
        assert answer.status_code == 302, path
        assert answer["Location"].startswith("/sign-in/confirm/?next="), path
        part = browser.part(path)
        assert part.status_code == 204
        assert part["HX-Redirect"].startswith("/sign-in/confirm/?next=")
    browser.confirm()
    assert browser.get("/people/add/").status_code == 200


def test_what_was_posted_is_kept_nowhere_while_somebody_is_asked_again(sign_in: Callable[..., Browser]) -> None:
    """A form may hold a password, and sessions lie in the database."""
    browser = sign_in(People.ADMINISTRATOR)
    data = {"name": "kept-nowhere", "password": "a password that is posted too late"}
    answer = browser.post("/people/add/", data, headers={"Referer": "https://localhost/people/add/"})
    assert answer["Location"] == "/sign-in/confirm/?next=/people/add/"
    assert "posted too late" not in str(dict(browser.client.session))
    elsewhere = browser.post("/people/add/", data, headers={"Referer": "https://evil.example/x"})
    assert elsewhere["Location"] == "/sign-in/confirm/?next=/"


def test_two_roles_while_roles_are_separated_take_the_ca_away(
    sign_in: Callable[..., Browser], installation: object
) -> None:
    """CERTSRV_E_ROLECONFLICT: the CA refuses everything, and the console says so instead of drawing its block."""
    from dataclasses import replace

    from certwright.console.rooms import furnish, rooms

    before = rooms().standings
    furnish(
        replace(
            rooms(), standings=lambda caller: [replace(standing, in_conflict=True) for standing in before(caller)]
        )
    )
    page = sign_in(People.CA_ADMINISTRATOR).get("/account/")
    assert "0x80094008" in text_of(page)
    assert "/ca/" not in page.content.decode()
