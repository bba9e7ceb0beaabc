"""README and guide are true: links lead somewhere, commands exist, programs compile, tables are current."""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any, Final

import pytest
import typer

from certwright.adcs.events import AuditEvent
from certwright.cli.application import application

ROOT: Final = Path(__file__).parents[1]
GUIDE: Final = ROOT / "docs/guide"
PAGES: Final = tuple(sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]))
LARGEST_IMAGE: Final = 120_000
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_BLOCK = re.compile(r"^( *)```([a-z]*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
_CODE = re.compile(r"`([^`\n]+)`")
_WORDS = re.compile(r"(?:\S*/)?certwright((?: [a-z][a-z-]*){1,3})")


@functools.cache
def program() -> Any:
    """The command line as the program builds it."""
    return typer.main.get_command(application)


@functools.cache
def script(name: str) -> Any:
    """A program of the folder scripts, as a module."""
    loader = SourceFileLoader(f"scripts_{name}", str(ROOT / "scripts" / name))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(path: Path, language: str) -> list[str]:
    return [found[3] for found in _BLOCK.finditer(path.read_text("utf-8")) if found[2] == language]


def prose(path: Path) -> str:
    return _BLOCK.sub("", path.read_text("utf-8"))


def anchors(path: Path) -> set[str]:
    """What the headings of a page are called in its address, as code forges make it."""
    headings = re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


# -- links -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_every_link_leads_somewhere(path: Path) -> None:
    for link in _LINK.findall(prose(path)):
        if "://" in link:
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), f"{named(path)}: {link}"
        assert ROOT in target.parents, f"{named(path)}: {link} leads out of the project"
        assert not anchor or anchor in anchors(target), f"{named(path)}: {link}: no such heading"


def test_every_page_of_the_guide_is_in_its_index() -> None:
    linked = set(_LINK.findall((GUIDE / "README.md").read_text("utf-8")))
    assert {path.name for path in GUIDE.glob("*.md")} - {"README.md"} <= linked


def test_pictures_are_shown_and_small() -> None:
    shown = {link for path in GUIDE.glob("*.md") for link in _LINK.findall(path.read_text("utf-8"))}
    pictures = sorted(GUIDE.glob("images/*"))
    assert pictures
    for picture in pictures:
        assert f"images/{picture.name}" in shown, f"{picture.name} is on no page"
        assert picture.stat().st_size < LARGEST_IMAGE, f"{picture.name} is too large"


# -- commands --------------------------------------------------------------------------------------------------------


def find_command(words: list[str]) -> tuple[Any, list[str]]:
    """The command that the words begin with, and the words after it.

    Raises:
        LookupError: there is none.
    """
    command = program()
    while hasattr(command, "commands"):
        options = {option for parameter in command.params for option in parameter.opts}
        while words and words[0] in options:  # of the noun itself, with its value
            words = words[2:]
        if not words or words[0] not in command.commands:
            raise LookupError(" ".join(words))
        command, words = command.commands[words[0]], words[1:]
    return command, words


def demand_valid(line: str) -> None:
    """Parse a line as the program would, without running it.

    Raises:
        Exception: there is no such command, option or value.
    """
    words = shlex.split(line, comments=True)
    if words[0] == "--home":
        words = words[2:]
    for end in ("|", ">", "&&"):
        if end in words:
            words = words[: words.index(end)]
    command, arguments = find_command(words)
    command.make_context("certwright", arguments)


def lines_of(path: Path) -> Iterator[str]:
    """What stands after `certwright` in the shell blocks of a page."""
    for block in blocks(path, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            found = re.match(r"\s*(?:\S*/)?certwright (.+)", line)
            if found:
                yield found[1]


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_commands_on_a_page_exist_with_their_options(path: Path) -> None:
    for line in lines_of(path):
        demand_valid(line)


@pytest.mark.parametrize("path", [path for path in PAGES if path.name != "CHANGELOG.md"], ids=named)
def test_commands_named_in_a_sentence_exist(path: Path) -> None:
    for code in _CODE.findall(prose(path)):
        found = _WORDS.match(code)
        if found is None:
            continue
        words = found[1].split()
        nouns = program().commands
        assert words[0] in nouns, f"{named(path)}: {code}"
        if len(words) > 1 and hasattr(nouns[words[0]], "commands"):
            assert words[1] in nouns[words[0]].commands, f"{named(path)}: {code}"


def test_a_wrong_command_would_be_noticed() -> None:
    """The tests above can fail."""
    with pytest.raises(LookupError):
        demand_valid("request approve 12")
    with pytest.raises(Exception, match="No such option"):
        demand_valid("request list --disposition pending")
    with pytest.raises(Exception, match="Missing parameter: request_id"):
        demand_valid("request issue")
    demand_valid("request list --pending | less")


# -- programs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_python_on_a_page_compiles(path: Path) -> None:
    for block in blocks(path, "python"):
        compile(block, named(path), "exec")


# -- what is generated -----------------------------------------------------------------------------------------------


def test_the_generated_parts_of_the_guide_are_current() -> None:
    """Otherwise run scripts/guide; a new command needs an example there first."""
    guide = script("guide")
    missing = [path for path, _ in guide.commands() if path not in guide.EXAMPLES]
    assert missing == [], f"no example in scripts/guide: {missing}"
    stale = [named(path) for path, text in guide.pages() if path.read_text("utf-8") != text]
    assert stale == [], "run scripts/guide"


def test_every_example_is_one_of_its_own_command() -> None:
    guide = script("guide")
    for path, example in guide.EXAMPLES.items():
        for line in example.splitlines():
            assert line.startswith(f"certwright {path}"), line
            demand_valid(line.removeprefix("certwright "))


def test_every_event_that_a_ca_records_is_explained() -> None:
    """Those of the manager are explained with it."""
    explained = script("guide").EVENTS
    package = ROOT / "src/certwright"
    sources = [*package.glob("ca/**/*.py"), *package.glob("directory/*.py"), package / "cli/authorities.py"]
    recorded = {
        AuditEvent[name]
        for path in sources
        for name in re.findall(r"\bAuditEvent\.([A-Z_]+)", path.read_text("utf-8"))
    }
    assert recorded - set(explained) == set()
