"""Debian's Chromium, driven by Playwright: what it complains about, what axe-core finds, what does not fit.

Playwright's synchronous interface keeps an event loop in its thread; open it for a module, not for longer, so that
other tests can have theirs.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import pytest

from tests.support.installation import PASSWORD

AXE: Final = Path(__file__).parent / "axe" / "axe-core-4.14.0" / "axe.min.js"
RULES: Final = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
COLOUR_RULES: Final = ["color-contrast", "link-in-text-block"]
WIDE: Final = (1280, 800)
NARROW: Final = (390, 844)
_FLAGS: Final = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)


@contextmanager
def chromium() -> Iterator[Any]:
    """A running Chromium; skipped by name where there is none."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("chromium is not installed")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(_FLAGS))
        yield browser
        browser.close()


@dataclass
class Visitor:
    """Somebody at a browser of their own. `complaints` are errors and warnings of its console, the policy's too."""

    page: Any
    base: str
    complaints: list[str] = field(default_factory=list)

    @classmethod
    @contextmanager
    def at(
        cls, browser: Any, base: str, *, theme: str = "light", size: tuple[int, int] = WIDE, locale: str = "en-GB"
    ) -> Iterator[Self]:
        context = browser.new_context(
            ignore_https_errors=True,  # the certificate is checked elsewhere; Chromium has its own store
            viewport={"width": size[0], "height": size[1]},
            color_scheme=theme,
            reduced_motion="reduce",  # colours are looked at as they end up
            locale=locale,
        )
        page = context.new_page()
        page.set_default_timeout(15_000)
        visitor = cls(page, base)
        page.on("console", visitor._heard)
        page.on("pageerror", lambda error: visitor.complaints.append(f"error: {error}"))
        yield visitor
        context.close()

    def _heard(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text}")

    def go(self, path: str) -> None:
        self.page.goto(self.base + path, wait_until="load")

    def sign_in(self, name: str, password: str = PASSWORD) -> None:
        self.go("/sign-in/")
        self.page.fill("#id_login", name)
        self.page.fill("#id_password", password)
        self.page.click("form .btn-primary")
        self.page.wait_for_url(lambda url: "/sign-in/" not in url)

    def confirm(self, password: str = PASSWORD) -> None:
        """Where a page asks again who it is."""
        if "/sign-in/confirm/" in self.page.url:
            self.page.fill("#id_password", password)
            self.page.click("form .btn-primary")
            self.page.wait_for_url(lambda url: "/sign-in/" not in url)

    def findings(self) -> list[str]:
        """What axe-core finds on the page as it stands."""
        return self._found_by(RULES)

    def findings_in_the_other_theme(self) -> list[str]:
        """What axe-core finds about colours with light and dark exchanged: a theme changes nothing else."""
        other = self.page.evaluate(
            "() => { const root = document.documentElement, was = root.dataset.bsTheme;"
            " root.dataset.bsTheme = was === 'dark' ? 'light' : 'dark'; return was; }"
        )
        found = self._found_by({"type": "rule", "values": COLOUR_RULES})
        self.page.evaluate("theme => { document.documentElement.dataset.bsTheme = theme; }", other)
        return found

    def _found_by(self, rules: Any) -> list[str]:
        if not self.page.evaluate("!!window.axe"):
            self.page.evaluate(AXE.read_text())
        result = self.page.evaluate("rules => axe.run(document, {runOnly: rules})", rules)
        return [
            f"{violation['id']}: {violation['help']}: {node['html'][:200]}"
            for violation in result["violations"]
            for node in violation["nodes"]
        ]

    def overflow(self) -> int:
        """Pixels by which the page is wider than the window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))
