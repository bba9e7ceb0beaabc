"""The backup of the whole installation from the console and for programs: for backup operators, as a whole file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from certwright.keystores import encrypted_stream
from certwright.server import backup
from certwright.server.composition import Installation
from tests.support.api import Caller, refused, token
from tests.support.installation import ISSUING, ROOT, People
from tests.web.console.conftest import Browser, text_of

PASSWORD = "a password of a backup"


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encrypted_stream, "_COST", (10, 8, 1))


@pytest.fixture
def operator(sign_in: Callable[..., Browser]) -> Browser:
    browser = sign_in(People.BACKUP)
    browser.confirm()
    return browser


def test_a_backup_operator_takes_a_whole_backup_away(
    operator: Browser, installation: Installation, tmp_path: Path
) -> None:
    answer = operator.post("/backup/", {"password": PASSWORD, "again": PASSWORD})

    assert answer["Content-Disposition"].endswith('.cwb"')
    file = tmp_path / "taken.cwb"
    file.write_bytes(b"".join(answer.streaming_content))
    assert {ISSUING, ROOT} <= {*backup.examine(file, PASSWORD).cas}
    assert list(installation.home.folder.glob(".backup-*")) == [], "nothing of it stays behind"
    assert "The last one was made" in text_of(operator.get("/backup/"))


def test_passwords_must_be_long_and_the_same(operator: Browser) -> None:
    for password, again, said in (("short", "short", "12"), (PASSWORD, "another password", "differ")):
        answer = operator.post("/backup/", {"password": password, "again": again})
        assert answer.status_code == 422
        assert said in text_of(answer)


def test_it_asks_again_who_it_is_and_is_linked_for_whoever_may(sign_in: Callable[..., Browser]) -> None:
    browser = sign_in(People.BACKUP)
    assert browser.get("/backup/")["Location"].startswith("/sign-in/confirm/")
    slug = ISSUING.replace(" ", "%20")
    assert 'href="/backup/"' in browser.get(f"/ca/{slug}/properties/general/").content.decode()
    other = sign_in(People.AUDITOR).get(f"/ca/{slug}/properties/general/").content.decode()
    assert 'href="/backup/"' not in other


def test_programs_take_one_with_a_token_for_it(console: object, tmp_path: Path) -> None:
    answer = Caller(token(People.BACKUP)).post("/backups", {"password": PASSWORD})
    assert answer.status_code == 200
    file = tmp_path / "taken.cwb"
    file.write_bytes(b"".join(answer.streaming_content))
    assert ISSUING in backup.examine(file, PASSWORD).cas

    refused(Caller(token(People.BACKUP)).post("/backups", {"password": "short"}), 422)
    refused(Caller(token(People.OFFICER)).post("/backups", {"password": PASSWORD}), 403)
    refused(Caller(token(People.BACKUP, "read")).post("/backups", {"password": PASSWORD}), 403)
