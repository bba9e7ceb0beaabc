"""The console as a program sees it that does what a browser does: cookies, form tokens, redirects."""

from __future__ import annotations

import re
from typing import Any, Final

import requests

from tests.support.server import RunningServer

_TOKEN: Final = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')


class Site:
    """Somebody signed in at a running server. Raises `requests.ConnectionError` when it goes away."""

    def __init__(self, server: RunningServer, name: str, password: str) -> None:
        self.base = server.https
        self._password = password
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.verify = str(server.root_certificate)
        self.post("/sign-in/", login=name, password=password)

    def get(self, path: str) -> requests.Response:
        return self.session.get(self.base + path, timeout=20)

    def post(self, path: str, files: Any = None, **data: Any) -> requests.Response:
        """Send the form of a page, after proving once more who it is where the page asks for that."""
        page = self.get(path)
        if "/sign-in/confirm/" in page.url:
            self._send(page, page.url, None, {"password": self._password})
            page = self.get(path)
        return self._send(page, self.base + path, files, data)

    def _send(self, page: requests.Response, url: str, files: Any, data: dict[str, Any]) -> requests.Response:
        found = _TOKEN.search(page.text)
        assert found is not None, page.text[:500]
        form = {"csrfmiddlewaretoken": found[1], **data}
        return self.session.post(url, form, files=files, headers={"Referer": url}, timeout=20)
