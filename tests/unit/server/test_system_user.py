"""Who the operating system says gives the commands, whatever the environment says."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from certwright.server.system_user import system_user

NOBODY = 2**32 - 2  # a number that no user has


def login(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "loginuid"
    path.write_text(text)
    return path


@pytest.fixture
def user() -> str:
    return pwd.getpwuid(os.getuid()).pw_name


@pytest.mark.parametrize("text", ["4294967295", f"{os.getuid()}\n", "", "nonsense"])
def test_a_process_of_its_own_login_or_of_none_is_its_user(tmp_path: Path, user: str, text: str) -> None:
    assert system_user(login(tmp_path, text)) == user


def test_who_logged_in_as_somebody_else_is_named_too(tmp_path: Path, user: str) -> None:
    assert system_user(login(tmp_path, f"{NOBODY}")) == f"{user}, logged in as uid {NOBODY}"


def test_a_kernel_that_does_not_tell_the_login_is_no_fault(tmp_path: Path, user: str) -> None:
    assert system_user(tmp_path / "absent") == user


def test_the_environment_is_not_believed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, user: str) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME", "SUDO_USER"):
        monkeypatch.setenv(name, "somebody-else")
    assert system_user(login(tmp_path, "4294967295")) == user


def test_a_user_without_a_name_is_a_number(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "getuid", lambda: NOBODY)
    assert system_user(tmp_path / "absent") == f"uid {NOBODY}"
