"""Section [directory] replaced in a file that somebody edited: nothing else of it moves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from certwright.adcs.errors import ConfigurationError
from certwright.server.directory_settings import EMBEDDED_DIRECTORY
from certwright.server.domain_membership import with_directory, without_domain
from certwright.server.home import Home, Settings
from tests.unit.server.test_directory_settings import JOINED


def home_of(text: str) -> Home:
    return Home(Path("/home/ca"), Settings.from_toml(text))


def test_there_and_back_is_the_same_file() -> None:
    text = Settings("ca.corp.example").to_toml()
    joined = with_directory(text, home_of(text), JOINED)
    assert Settings.from_toml(joined).directory == JOINED
    assert with_directory(joined, home_of(joined), EMBEDDED_DIRECTORY) == text


def test_comments_order_and_other_sections_stay() -> None:
    text = (
        '# ours\n[directory]\nkind = "embedded"  # for now\n# [log] of before\n\n'
        '[installation]\nformat = 1\nhostname = "ca.corp.example"\n\n[log]\nlevel = "debug"  # until Friday\n'
    )
    joined = with_directory(text, home_of(text), JOINED)
    assert joined.startswith("# ours\n[directory]")
    assert joined.endswith(text[text.index("# [log] of before") :])
    assert Settings.from_toml(joined) == replace(Settings.from_toml(text), directory=JOINED)


def test_section_that_is_not_there_is_added() -> None:
    text = '[installation]\nformat = 1\nhostname = "ca.corp.example"\n'
    joined = with_directory(text, home_of(text), JOINED)
    assert joined.startswith(text)
    assert Settings.from_toml(joined).directory == JOINED


def test_file_that_cannot_be_changed_safely_is_refused_with_the_section() -> None:
    text = '[installation]\nformat = 1\nhostname = "ca.corp.example"\n'
    with pytest.raises(ConfigurationError, match="write the section by hand"):
        with_directory(text.replace("ca.corp", "other.corp"), home_of(text), JOINED)


def test_home_opens_without_its_domain() -> None:
    """Leaving works also when the keytab is gone and no controller answers."""
    home = home_of(with_directory(text := Settings("ca.corp.example").to_toml(), home_of(text), JOINED))
    with pytest.raises(ConfigurationError, match="keytab"):
        assert home.domain
    assert without_domain(home).domain is None
