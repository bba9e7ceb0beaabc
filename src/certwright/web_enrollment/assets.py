"""The style sheet and scripts of the pages, read once.

Their folder is named by their contents: browsers keep them for ever, and a module that imports its neighbour gets the
one it was written with.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib.resources import files
from typing import Final

from certwright.web_enrollment.exchange import Reply

FOLDER: Final = "static/"
_TYPES: Final = {
    ".css": b"text/css; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".mjs": b"text/javascript; charset=utf-8",
    ".svg": b"image/svg+xml",
}


class Assets:
    """Static files of this room. They hold nothing secret and are served to anybody."""

    def __init__(self) -> None:
        found: dict[str, Reply] = {}
        digest = hashlib.sha256()
        for file in sorted(files("certwright.web_enrollment").joinpath("static").iterdir(), key=lambda f: f.name):
            content_type = _TYPES.get(file.name[file.name.rfind(".") :])
            if content_type is None:
                continue
            body = file.read_bytes()
            digest.update(body)
            found[file.name] = Reply(
                body,
                content_type,
                200,
                (
                    (b"cache-control", b"public, max-age=31536000, immutable"),
                    (b"x-content-type-options", b"nosniff"),
                    (b"cross-origin-resource-policy", b"same-origin"),
                ),
            )
        self.folder: Final = f"{FOLDER}{digest.hexdigest()[:12]}/"
        self.replies: Final[Mapping[str, Reply]] = {self.folder + name: reply for name, reply in found.items()}
        """By page name, `static/<contents>/<file>`."""
