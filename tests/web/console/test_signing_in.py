"""Who gets in, how often somebody may try, second factors, sessions that end."""

from __future__ import annotations

import hmac
import struct
import time
from base64 import b32decode
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from certwright.adcs.events import AuditEvent
from certwright.console.access import Role
from certwright.console.rooms import furnish, rooms
from certwright.server.composition import Installation
from tests.support.installation import OPERATOR, PASSWORD, People
from tests.web.console.conftest import Browser, text_of


def test_an_account_of_the_domain_signs_in_with_its_password(sign_in: Callable[..., Browser]) -> None:
    page = text_of(sign_in(People.PLAIN).get("/account/"))
    assert r"CORP\alice" in page


@pytest.mark.parametrize("name", [r"CORP\Administrator", "administrator", "Administrator@corp.example"])
def test_a_name_may_be_written_as_windows_writes_it(sign_in: Callable[..., Browser], name: str) -> None:
    assert r"CORP\Administrator" in text_of(sign_in(name).get("/account/"))


def test_a_local_account_signs_in_with_its_own_password(
    sign_in: Callable[..., Browser], local: Callable[..., str]
) -> None:
    page = text_of(sign_in(local("olive", Role.OPERATOR)).get("/account/"))
    assert r"CONSOLE\olive" in page
    assert "Sees and works on every order" in page


@pytest.mark.parametrize(
    ("name", "password"),
    [
        (People.PLAIN, "wrong"),
        ("nobody-of-that-name", PASSWORD),
        (People.GONE, PASSWORD),  # disabled
        ("Domain Admins", PASSWORD),  # a group
        (People.PLAIN, "nul\0byte"),
        ("a" * 257, PASSWORD),
    ],
)
def test_the_answer_does_not_tell_why_it_was_refused(anybody: Browser, name: str, password: str) -> None:
    answer = anybody.sign_in(name, password)
    assert answer.status_code == 200
    assert "__Host-certwright-session" not in anybody.client.cookies or anybody.get("/audit/").status_code == 302
    assert "disabled" not in text_of(answer)


def test_after_five_failures_nobody_looks_at_the_password_for_a_while(anybody: Browser) -> None:
    """auth.throttle: five per account and address, then a wait; the right password is refused too."""
    for _ in range(5):
        assert "Wait" not in text_of(anybody.sign_in(People.OTHER, "wrong"))
    answer = anybody.sign_in(People.OTHER, PASSWORD)
    assert answer.status_code == 200
    assert "Too many attempts failed" in text_of(answer)


def test_local_accounts_are_throttled_too(anybody: Browser, local: Callable[..., str]) -> None:
    name = local("tilly")
    for _ in range(5):
        anybody.sign_in(name, "wrong")
    assert "Too many attempts failed" in text_of(anybody.sign_in(name, PASSWORD))


def test_signing_in_leads_back_to_where_one_came_from(anybody: Browser) -> None:
    answer = anybody.get("/audit/?event=4887")
    assert answer.status_code == 302
    assert answer["Location"] == "/sign-in/?next=/audit/%3Fevent%3D4887"
    back = anybody.post(
        "/sign-in/", {"login": People.ADMINISTRATOR, "password": PASSWORD, "next": "/audit/?event=4887"}
    )
    assert back["Location"] == "/audit/?event=4887"


def test_nobody_is_sent_to_another_host(anybody: Browser) -> None:
    data = {"login": People.ADMINISTRATOR, "password": PASSWORD, "next": "https://evil.example/"}
    assert anybody.post("/sign-in/", data)["Location"] == "/"


def test_a_part_asked_for_without_a_session_is_answered_401(anybody: Browser) -> None:
    assert anybody.part("/audit/").status_code == 401


def test_signing_in_and_failing_is_audited(anybody: Browser, installation: Installation) -> None:
    anybody.sign_in(People.AUDITOR, "wrong")
    anybody.sign_in("what-a-password-typed-here", "wrong")
    anybody.sign_in(People.AUDITOR)
    anybody.post("/sign-out/")
    events = installation.audit.events(ca="", limit=3)
    assert [event.event for event in events] == [
        AuditEvent.CONSOLE_SIGNED_OUT,
        AuditEvent.CONSOLE_SIGNED_IN,
        AuditEvent.CONSOLE_SIGN_IN_REFUSED,
    ]
    assert {event.actor for event in events} == {r"CORP\ada"}
    assert not [event for event in installation.audit.events(limit=50) if "what-a-password" in str(event)]


# -- sessions --------------------------------------------------------------------------------------------------------


def test_signing_out_ends_the_session_and_not_only_its_cookie(sign_in: Callable[..., Browser]) -> None:
    browser = sign_in(People.ADMINISTRATOR)
    kept = browser.client.cookies["__Host-certwright-session"].value
    browser.post("/sign-out/")
    browser.client.cookies["__Host-certwright-session"] = kept
    assert browser.get("/audit/").status_code == 302


def test_a_session_that_asks_for_nothing_for_half_an_hour_is_over(sign_in: Callable[..., Browser]) -> None:
    browser = sign_in(People.ADMINISTRATOR)
    later = rooms().clock() + timedelta(minutes=29)
    furnish(replace(rooms(), clock=lambda: later))
    assert browser.get("/audit/").status_code == 200
    much_later = later + timedelta(minutes=31)
    furnish(replace(rooms(), clock=lambda: much_later))
    assert browser.get("/audit/").status_code == 302


def test_a_disabled_account_is_out_at_its_next_request(
    sign_in: Callable[..., Browser], installation: Installation
) -> None:
    browser = sign_in(People.OTHER)
    assert browser.get("/account/").status_code == 200
    installation.directory_administration.set_enabled(People.OTHER, False, actor=OPERATOR)
    try:
        assert browser.get("/account/").status_code == 302
    finally:
        installation.directory_administration.set_enabled(People.OTHER, True, actor=OPERATOR)


def test_other_sessions_are_ended_and_this_one_goes_on(sign_in: Callable[..., Browser]) -> None:
    first, second = sign_in(People.PLAIN), sign_in(People.PLAIN)
    second.post("/account/sessions/end/")
    assert first.get("/account/").status_code == 302
    assert second.get("/account/").status_code == 200


def test_the_session_gets_a_new_name_at_signing_in(anybody: Browser) -> None:
    """No session fixation."""
    anybody.client.cookies["__Host-certwright-session"] = "chosenbysomebodyelse0000000000000"
    anybody.sign_in(People.PLAIN)
    assert anybody.client.cookies["__Host-certwright-session"].value != "chosenbysomebodyelse0000000000000"


# -- second factors --------------------------------------------------------------------------------------------------


def totp(secret: str, step: int = 0) -> str:
    """RFC 6238: HMAC-SHA-1 of the 30-second step, six digits."""
    counter = struct.pack(">Q", int(time.time()) // 30 + step)
    digest = hmac.digest(b32decode(secret), counter, "sha1")
    offset = digest[-1] & 15
    return f"{(int.from_bytes(digest[offset : offset + 4]) & 0x7FFFFFFF) % 10**6:06d}"


def enrol(browser: Browser, password: str = PASSWORD) -> str:
    """Set up an authenticator app; its secret."""
    browser.confirm(password)
    page: Any = browser.get("/account/second-factor/app/")
    assert page.status_code == 200, text_of(page)
    secret = page.context_data["form"].secret
    answer = browser.post("/account/second-factor/app/", {"code": totp(secret)})
    assert answer.status_code == 302
    return str(secret)


def test_a_second_factor_is_asked_for_after_the_password(
    local: Callable[..., str], sign_in: Callable[..., Browser], installation: Installation
) -> None:
    name = local("mfa-user", Role.OPERATOR)
    secret = enrol(sign_in(name))
    browser = Browser()
    answer = browser.sign_in(name)
    assert answer["Location"] == "/sign-in/second-factor/"
    assert browser.get("/account/").status_code == 302
    assert "Incorrect code" in text_of(browser.post("/sign-in/second-factor/", {"code": "000000"}))
    assert browser.post("/sign-in/second-factor/", {"code": totp(secret, 1)}).status_code == 302
    assert browser.get("/account/").status_code == 200
    newest = installation.audit.events(ca="", event=AuditEvent.CONSOLE_SIGNED_IN, limit=1)[0]
    assert newest.details["methods"] == "password, totp"


def test_the_secret_of_a_second_factor_is_sealed_in_the_database(
    local: Callable[..., str], sign_in: Callable[..., Browser]
) -> None:
    from allauth.mfa.models import Authenticator

    secret = enrol(sign_in(local("mfa-sealed")))
    stored = [str(row.data) for row in Authenticator.objects.all()]
    assert stored
    assert not [data for data in stored if secret in data]


def test_a_recovery_code_signs_in_once(local: Callable[..., str], sign_in: Callable[..., Browser]) -> None:
    browser = sign_in(local("mfa-lost"))
    enrol(browser)
    code = browser.get("/account/second-factor/codes/").context_data["unused_codes"][0]
    fresh = Browser()
    fresh.sign_in("mfa-lost")
    assert fresh.post("/sign-in/second-factor/", {"code": code}).status_code == 302
    again = Browser()
    again.sign_in("mfa-lost")
    assert again.post("/sign-in/second-factor/", {"code": code}).status_code == 200


def test_setting_up_a_second_factor_asks_for_the_password_again(sign_in: Callable[..., Browser]) -> None:
    browser = sign_in(People.PLAIN)
    answer = browser.get("/account/second-factor/app/")
    assert answer.status_code == 302
    assert answer["Location"].startswith("/sign-in/confirm/")
    assert browser.post("/sign-in/confirm/", {"password": "wrong"}).status_code == 200
    browser.confirm()
    assert browser.get("/account/second-factor/app/").status_code == 200


def test_an_account_of_the_domain_may_have_a_second_factor_too(
    sign_in: Callable[..., Browser], installation: Installation
) -> None:
    secret = enrol(sign_in(People.ENROLLEE))
    browser = Browser()
    assert browser.sign_in(People.ENROLLEE)["Location"] == "/sign-in/second-factor/"
    browser.post("/sign-in/second-factor/", {"code": totp(secret, 1)})
    assert browser.get("/account/").status_code == 200
