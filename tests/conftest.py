"""Fixtures that several folders share; they are defined beside what they make, in `support`."""

from __future__ import annotations

import pytest
import structlog
from hypothesis import settings

settings.register_profile("project", deadline=None)  # a busy machine is no failure of a rule
settings.load_profile("project")

pytest_plugins = ("tests.support.postgresql", "tests.support.installation", "tests.support.lab")

structlog.configure(  # as unconfigured, but tracebacks without the values of all variables: those take seconds each
    processors=[
        *structlog.get_config()["processors"][:-1],
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
    ]
)


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Name cases of long or random bytes by their argument: every worker must collect the same names."""
    if isinstance(val, bytes | bytearray) or (isinstance(val, str) and len(val) > 60):
        return argname
    return None
