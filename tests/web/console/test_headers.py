"""What every answer carries: policy, cookies, caching; and forms that come from elsewhere are refused."""

from __future__ import annotations

import asyncio
import gzip
import re
from collections.abc import Callable
from typing import Any

import pytest

from certwright.server.console import Console
from tests.support.installation import People
from tests.web.console.conftest import HOST, Browser

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self';"
    " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


@pytest.mark.parametrize("path", ["/sign-in/", "/nowhere/", "/audit/"])
def test_every_answer_has_the_strict_policy(anybody: Browser, path: str) -> None:
    headers = anybody.get(path).headers
    assert headers["Content-Security-Policy"] == POLICY
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert "no-store" in headers["Cache-Control"]
    assert "HX-Request" in headers["Vary"]
    assert "Strict-Transport-Security" not in headers  # CRLs of this host are fetched without TLS


def test_pages_have_no_inline_script_and_no_inline_style(sign_in: Callable[..., Browser]) -> None:
    browser = sign_in(People.ADMINISTRATOR)
    for path in (
        "/",
        "/?all",
        "/audit/",
        "/people/",
        "/account/",
        "/health/",
        "/health/security/",
        "/health/locations/",
        "/cas/",
        "/cas/CORP Root CA/",
        "/cas/-/import-crl/",
        "/search/?q=x",
        "/account/second-factor/",
    ):
        body = browser.get(path).content.decode()
        scripts = re.findall(r"<script\b([^>]*)>", body)
        assert all("src=" in attributes or 'type="application/json"' in attributes for attributes in scripts), path
        assert not re.search(r"\sstyle=|<style|\son[a-z]+=|hx-on|javascript:", body), path
        assert not re.search(r"""(?:src|href|action)=["'](?:https?:)?//""", body), path


def test_cookies_belong_to_this_host_alone(anybody: Browser) -> None:
    """`__Host-`: secure, no domain, whole path (RFC 6265bis 4.1.3.2)."""
    anybody.get("/sign-in/")
    anybody.sign_in(People.ADMINISTRATOR)
    cookies = anybody.client.cookies
    assert {"__Host-certwright-session", "__Host-certwright-csrf"} <= set(cookies)
    for name in ("__Host-certwright-session", "__Host-certwright-csrf"):
        assert cookies[name]["secure"]
        assert cookies[name]["httponly"]
        assert cookies[name]["path"] == "/"
        assert not cookies[name]["domain"]
    assert cookies["__Host-certwright-csrf"]["samesite"] == "Strict"


def test_a_form_without_its_token_is_refused(sign_in: Callable[..., Browser]) -> None:
    browser = sign_in(People.ADMINISTRATOR)
    browser.client.handler.enforce_csrf_checks = True
    answer = browser.post("/account/theme/", {"theme": "dark"})
    assert answer.status_code == 403
    assert "not from this session" in answer.content.decode()


def test_a_form_of_another_host_is_refused(anybody: Browser) -> None:
    anybody.client.handler.enforce_csrf_checks = True
    anybody.get("/sign-in/")
    token = anybody.client.cookies["__Host-certwright-csrf"].value
    data = {"login": People.ADMINISTRATOR, "password": "x", "csrfmiddlewaretoken": token}
    refused = anybody.post("/sign-in/", data, headers={"Origin": "https://evil.example"})
    assert refused.status_code == 403
    assert anybody.post("/sign-in/", data, headers={"Origin": f"https://{HOST}"}).status_code == 200


def test_another_host_name_is_not_answered(console: Console) -> None:
    from django.test import Client

    assert Client(SERVER_NAME="evil.example").get("/sign-in/", secure=True).status_code == 400


# -- static files ----------------------------------------------------------------------------------------------------


def ask(console: Console, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    """One request to the ASGI application."""
    sent: list[dict[str, Any]] = []
    waiting: list[dict[str, Any]] = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> dict[str, Any]:
        if waiting:
            return waiting.pop()
        return await asyncio.Future()

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": b"",
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
        "scheme": "https",
        "server": (HOST, 443),
        "client": ("192.0.2.1", 1),
    }
    asyncio.run(console.application(scope, receive, send))  # type: ignore[arg-type]
    head = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], head, b"".join(message.get("body", b"") for message in sent[1:])


def test_static_files_are_kept_for_ever_under_a_name_that_changes_with_them(
    console: Console, anybody: Browser
) -> None:
    links = re.findall(r'(?:src|href)="(/static/[^"#]+)', anybody.get("/sign-in/").content.decode())
    assert len(set(links)) >= 4
    for link in links:
        status, headers, body = ask(console, link)
        assert status == 200, link
        assert headers["cache-control"] == "public, max-age=31536000, immutable"
        assert headers["content-length"] == str(len(body))
        assert "html" not in headers["content-type"]


def test_static_files_are_compressed_for_who_takes_it(console: Console) -> None:
    from django.templatetags.static import static

    path = static("console/console.css")
    _, _, plain = ask(console, path)
    _, headers, zipped = ask(console, path, accept_encoding="br, gzip")
    assert headers["content-encoding"] == "gzip"
    assert gzip.decompress(zipped) == plain
    assert len(zipped) < len(plain) / 3


@pytest.mark.parametrize("path", ["/static/", "/static/000000000000/console/console.css", "/static/../etc/passwd"])
def test_nothing_else_is_below_static(console: Console, path: str) -> None:
    assert ask(console, path)[0] == 404


def test_a_page_comes_through_the_adapter(console: Console) -> None:
    status, headers, body = ask(console, "/sign-in/", host=HOST)
    assert status == 200
    assert headers["content-security-policy"] == POLICY
    assert headers["content-length"] == str(len(body))
    assert ask(console, "/sign-in/", "HEAD", host=HOST)[2] == b""
