"""The rules of ARCHITECTURE.md as tests: floors, duties, tables, names of folders, sizes of files."""

from __future__ import annotations

import ast
import functools
import gc
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "certwright"
MAX_LINES = 650
FORBIDDEN_FOLDERS = {"utils", "common", "helpers", "core", "services", "util", "misc", "lib"}
NOT_OURS = {
    *(".git", ".venv", "build", "dist", "certwright-home"),
    *(".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis"),
}


def lint_imports(root: Path) -> tuple[int, str]:
    """Run import-linter over the package below `root`."""
    code = (
        "import sys; sys.path.insert(0, 'src'); from importlinter.cli import lint_imports;"
        " sys.exit(lint_imports(config_filename='.importlinter', no_cache=True))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout + done.stderr


@functools.cache
def modules() -> tuple[tuple[Path, ast.Module], ...]:
    gc.disable()  # so many nodes at once would have it look through the whole test session again and again
    try:
        return tuple((path, ast.parse(path.read_text(encoding="utf-8"))) for path in sorted(PACKAGE.rglob("*.py")))
    finally:
        gc.enable()


def name_of(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


# -- who may import whom ---------------------------------------------------------------------------------------------


def test_every_import_goes_down() -> None:
    """.importlinter has the contracts, each with a name that says what it keeps."""
    status, text = lint_imports(ROOT)
    assert status == 0, text


MUTATIONS = {
    "A room imports only from floors below its own": ("pki/der.py", "import certwright.adcs.errors"),
    "Nothing that answers a request reaches Django, not even through others": ("auth/policy.py", "import django"),
    "Only connectors.local, server and cli know the CA": (
        "web_enrollment/service.py",
        "import certwright.ca.authority",
    ),
    "The engine knows no SQL and no particular directory": (
        "ca/policy/validity.py",
        "import certwright.directory.local",
    ),
    "Intake reads and never decides": ("ca/intake/request.py", "import certwright.ca.policy.base"),
    "Policy decides and never signs": ("ca/policy/base.py", "import certwright.keystores.base"),
    "The tables of ca belong to its migrations": ("ca/rows.py", "import certwright.ca.models"),
    "The tables of directory belong to its migrations": (
        "directory/snapshot.py",
        "import certwright.directory.models",
    ),
    "The tables of audit belong to its migrations": ("audit/trail.py", "import certwright.audit.models"),
    "The tables of notifications belong to its migrations": (
        "notifications/store.py",
        "import certwright.notifications.models",
    ),
    "The tables of ndes belong to its migrations": ("ndes/store.py", "import certwright.ndes.models"),
    "The tables of online_responder belong to its migrations": (
        "online_responder/store.py",
        "import certwright.online_responder.models",
    ),
    "The tables of location_watch belong to its migrations": (
        "location_watch/store.py",
        "import certwright.location_watch.models",
    ),
    "Sealed files are opened by the key store's room and by the wiring alone": (
        "ca/generation.py",
        "import certwright.keystores.software",
    ),
}


def test_every_contract_can_break(tmp_path: Path) -> None:
    """A rule that nothing breaks proves nothing: each is broken here by one line, all at once."""
    shutil.copytree(PACKAGE, tmp_path / "src" / "certwright", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / ".importlinter", tmp_path)
    for file, line in MUTATIONS.values():
        path = tmp_path / "src" / "certwright" / file
        path.write_text(f"{path.read_text()}\n{line}\n")
    status, text = lint_imports(tmp_path)
    assert status == 1, text
    kept = [name for name in MUTATIONS if f"{name} BROKEN" not in text]
    assert kept == []
    contracts = re.findall(r"^name = (.*)$", (ROOT / ".importlinter").read_text(), re.MULTILINE)
    assert sorted(contracts) == sorted(MUTATIONS)


def imported(tree: ast.Module) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


def test_django_is_imported_for_the_schema_alone() -> None:
    """docs/adr/0002: Django owns the schema; no request to a CA waits for it. Screens are made with it."""
    users = {name_of(path) for path, tree in modules() if "django" in imported(tree)}
    allowed = re.compile(
        r"[a-z_]+/(models|apps)\.py|[a-z_]+/migrations/\w+\.py|server/(schema|django_settings|console)\.py|console/.*"
    )
    assert users, "the schema is Django's: this test looks at the wrong place"
    assert {user for user in users if not allowed.fullmatch(user)} == set()


def test_only_the_web_rooms_know_a_web_framework() -> None:
    users = {name_of(path).partition("/")[0] for path, tree in modules() if imported(tree) & {"starlette", "uvicorn"}}
    assert users <= {"web_enrollment", "server"}


def test_only_the_command_line_knows_its_framework() -> None:
    users = {name_of(path).partition("/")[0] for path, tree in modules() if imported(tree) & {"typer", "rich"}}
    assert users <= {"cli"}


# -- how it is laid out ----------------------------------------------------------------------------------------------


def test_nothing_is_called_after_nothing() -> None:
    folders = {path.name for path in PACKAGE.rglob("*") if path.is_dir()}
    assert folders & FORBIDDEN_FOLDERS == set()
    files = {path.stem for path in PACKAGE.rglob("*.py")}
    assert files & (FORBIDDEN_FOLDERS - {"services", "core"}) == set()  # an AD CS service is a thing in `manager`


def test_every_room_is_in_the_picture() -> None:
    """ARCHITECTURE.md has one line for each."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert {room for room in rooms if f"| `{room}/` |" not in text} == set()
    assert {room for room in re.findall(r"\| `([a-z_]+)/` \|", text) if room not in rooms} <= {
        path.name for path in (PACKAGE / "ca").iterdir()
    }


def python_files() -> list[Path]:
    found = [
        path for folder in ("src", "tests", "bench", "scripts") for path in sorted((ROOT / folder).rglob("*.py"))
    ]
    assert len(found) > 100
    return found


@pytest.mark.parametrize("path", python_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_is_too_long_to_be_read(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


def test_a_room_says_what_it_is_and_holds_no_code_in_its_door() -> None:
    """An `__init__` has a docstring and exports; migrations are Django's and have nothing."""
    for path, tree in modules():
        if path.name != "__init__.py" or path.parent.name == "migrations":
            continue
        assert ast.get_docstring(tree), f"{name_of(path)} says nothing"
        for node in tree.body[1:]:
            exports = isinstance(node, ast.Assign) and all(
                isinstance(target, ast.Name) and target.id in ("__all__", "__version__") for target in node.targets
            )
            assert exports or isinstance(node, ast.ImportFrom), f"{name_of(path)} holds code in line {node.lineno}"


def test_every_module_says_what_it_is() -> None:
    silent = [
        name_of(path) for path, tree in modules() if path.parent.name != "migrations" and not ast.get_docstring(tree)
    ]
    assert silent == []


# -- what the repository may speak of --------------------------------------------------------------------------------

_FORBIDDEN = re.compile(
    "|".join(
        (
            r"(?<![\w.])/" + r"work(?![\w-])",
            r"(?<![\w.])/" + r"root(?![\w-])",
            r"(?<![\w.])/" + r"tmp/plan",
            r"\.\./" + "shared",
            "py" + r"pi\.org",
            "python" + "hosted",
            "registry\\.npm" + r"js",
            "an" + "thropic",
            r"\bcl" + r"aude\b",
            r"\bchat" + r"gpt\b",
        )
    ),
    re.IGNORECASE,
)


def text_files() -> Iterator[Path]:
    for path in sorted(ROOT.rglob("*")):
        parts = path.relative_to(ROOT).parts
        if path.is_file() and not NOT_OURS.intersection(parts) and "__pycache__" not in parts:
            yield path


def test_the_repository_names_no_machine_and_no_tool_it_was_made_with() -> None:
    found: list[str] = []
    for path in text_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(ROOT)}: {match[0]}" for match in _FORBIDDEN.finditer(text)]
    assert found == []


def test_a_lock_holds_names_versions_and_hashes_only() -> None:
    for path in sorted((ROOT / "requirements").glob("*.txt")):
        assert "://" not in path.read_text(), path.name
