"""One installation and its console for this folder, without a listener: Django's test client asks the pages."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from certwright.auth.throttle import Throttle
from certwright.console.access import Role
from certwright.console.rooms import Rooms, furnish, rooms
from certwright.server.composition import Installation
from certwright.server.console import Console
from tests.support.installation import PASSWORD, Mold

HOST = "localhost"


@pytest.fixture(scope="module")
def installation(mold: Mold, new_folder: Callable[[], Path]) -> Iterator[Installation]:
    with mold.opened(new_folder()) as opened:
        yield opened


@pytest.fixture(scope="module")
def console(installation: Installation) -> Iterator[Console]:
    made = Console(installation, frozenset({HOST, "127.0.0.1"}))
    yield made
    made.close()
    from django.db import connections

    connections.close_all()


@pytest.fixture(autouse=True)
def furnished(console: Console, installation: Installation) -> Iterator[Rooms]:
    """The pages of every test work with this folder's installation, with a throttle of their own."""
    from dataclasses import replace

    from certwright.server.console import rooms_of

    before = rooms()
    fresh = rooms_of(installation, Throttle())
    furnish(replace(fresh, openid=before.openid))
    yield rooms()
    furnish(before)


class Browser:
    """A test client that speaks TLS to this host, and follows nothing by itself."""

    def __init__(self, **headers: str) -> None:
        from django.test import Client

        self.client = Client(enforce_csrf_checks=False, SERVER_NAME=HOST, **headers)  # type: ignore[arg-type]

    def get(self, path: str, **options: Any) -> Any:
        return self.client.get(path, secure=True, **options)

    def post(self, path: str, data: dict[str, Any] | None = None, **options: Any) -> Any:
        return self.client.post(path, data or {}, secure=True, **options)

    def part(self, path: str, **options: Any) -> Any:
        """As htmx asks."""
        return self.get(path, headers={"HX-Request": "true"}, **options)

    def sign_in(self, name: str, password: str = PASSWORD) -> Any:
        return self.post("/sign-in/", {"login": name, "password": password})

    def confirm(self, password: str = PASSWORD) -> None:
        """Prove once more who it is, for five minutes."""
        assert self.post("/sign-in/confirm/?next=/account/", {"password": password}).status_code == 302


@pytest.fixture
def anybody(console: Console) -> Browser:
    """Not signed in."""
    return Browser()


@pytest.fixture
def sign_in(console: Console) -> Callable[..., Browser]:
    """A browser signed in with an account of the domain, or with a local one."""

    def enter(name: str, password: str = PASSWORD) -> Browser:
        browser = Browser()
        answer = browser.sign_in(name, password)
        assert answer.status_code == 302, text_of(answer)
        return browser

    return enter


@pytest.fixture
def local(console: Console) -> Callable[..., str]:
    """A local account with roles; its name."""
    from certwright.console import accounts
    from certwright.console.access import viewer_of
    from certwright.console.models import Account

    def make(name: str, *roles: Role) -> str:
        if not Account.objects.filter(username=name).exists():
            principal = rooms().directory.principal("Administrator")
            assert principal is not None
            administrator = viewer_of(accounts.of_principal(principal), "192.0.2.1")
            assert administrator is not None
            accounts.add_local(administrator, name, PASSWORD, roles=roles)
        return name

    return make


def text_of(answer: Any) -> str:
    """What a page says, without its mark-up."""
    body = re.sub(r"(?s)<(script|template|style)\b.*?</\1>", " ", answer.content.decode())
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body)))
