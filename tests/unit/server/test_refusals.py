"""What listeners refuse is plain text, but below /api/ (`tests/web/console/test_api.py` has that)."""

from __future__ import annotations

import pytest

from certwright.server.refusals import refusal


@pytest.mark.parametrize("path", ["/certsrv/certfnsh.asp", "/", "/apis/v1", ""])
def test_pages_and_role_services_are_told_in_plain_text(path: str) -> None:
    assert refusal(path, 413, "Too large") == (b"text/plain; charset=utf-8", b"Too large\n")
