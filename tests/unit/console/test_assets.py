"""What others made is as they made it, with its licence; what we made asks nobody else for anything."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
STATIC = ROOT / "src/certwright/console/static/console"


@pytest.mark.parametrize("folder", [STATIC / "vendor", ROOT / "tests/support/axe"], ids=["console", "axe"])
def test_vendored_files_are_those_of_the_checksum_list(folder: Path) -> None:
    known = dict(line.split("  ", 1)[::-1] for line in (folder / "SHA256SUMS").read_text().splitlines())
    found = {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ("SHA256SUMS", "icons.svg")
    }
    assert found == known


def test_everything_vendored_has_its_licence() -> None:
    folders = [path for path in (STATIC / "vendor").iterdir() if path.is_dir()]
    assert len(folders) == 4
    for folder in folders:
        assert "PERMISSION" in (folder / "LICENSE").read_text().upper(), folder


def test_no_asset_names_a_source_map_or_another_host() -> None:
    for path in STATIC.rglob("*"):
        if path.suffix in (".css", ".js"):
            text = path.read_text()
            assert "sourceMappingURL" not in text, path
            if path.suffix == ".css":
                assert not re.search(r"url\(\s*['\"]?(?:https?:)?//|@import", text), path


def test_our_scripts_need_no_eval() -> None:
    for path in STATIC.glob("*.js"):
        assert not re.search(r"\beval\(|new Function|innerHTML|document\.write", path.read_text()), path


def test_every_template_compiles() -> None:
    from django.template.loader import get_template

    folder = ROOT / "src/certwright/console/templates"
    names = [str(path.relative_to(folder)) for path in folder.rglob("*.html")]
    assert len(names) > 30
    for name in names:
        get_template(name)
