"""Who has tables in the database, and which migrations this version knows: without Django, which costs 0.2 s."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Final

ROOMS: Final = (
    "certwright.ca",
    "certwright.directory",
    "certwright.audit",
    "certwright.manager",
    "certwright.notifications",
    "certwright.ndes",
    "certwright.online_responder",
    "certwright.location_watch",
    "certwright.console",
)
"""Rooms with tables; their Django labels are the last words."""

LIBRARIES: Final = (
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.sessions",
    "allauth.account",
    "allauth.socialaccount",
    "allauth.mfa",
)
"""Django applications of others whose tables the console uses; their labels are the last words too."""

ROOM_LABELS: Final = frozenset(room.rpartition(".")[2] for room in ROOMS)
LABELS: Final = frozenset(application.rpartition(".")[2] for application in (*ROOMS, *LIBRARIES))


def known_migrations() -> set[str]:
    """`label.name` of every migration, read from the file names."""
    return {
        f"{application.rpartition('.')[2]}.{path.stem}"
        for application in (*ROOMS, *LIBRARIES)
        for path in (_folder(application) / "migrations").glob("0*.py")
    }


def _folder(application: str) -> Path:
    spec = find_spec(application)  # imports the packages above it, which are empty, and not the application
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent
