"""The command line's own parts: quick to start, one sentence per error, output that can be copied."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from certwright.adcs.errors import AccessDenied, ConfigurationError, HResult, InvalidArgument
from certwright.adcs.interfaces import Comparison, Restriction
from certwright.adcs.requester import AuthMethod
from certwright.adcs.roles import CaAccess
from certwright.cli import output
from certwright.cli.application import application
from certwright.cli.files import read_file, read_password, write_file
from certwright.cli.initializing import KeyChoice
from certwright.cli.requests import parse_restriction, parse_time
from certwright.cli.templates import parse_settings
from certwright.database import DatabaseError
from certwright.keystores.base import KeyAlgorithm


def test_help_imports_nothing_heavy() -> None:
    """`certwright --help` has to be quick."""
    script = (
        "import sys; from certwright.cli.application import application\n"
        "heavy = ('cryptography', 'django', 'rich', 'structlog', 'uvicorn', 'starlette', 'jinja2', 'sqlite3')\n"
        "print([name for name in heavy if name in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("account",),
        ("template",),
        ("ca",),
        ("request",),
        ("certificate",),
        ("audit",),
        ("tls",),
        ("init",),
        ("run",),
        ("request", "submit"),
        ("template", "set"),
    ],
)
def test_every_noun_and_verb_explains_itself(words: tuple[str, ...]) -> None:
    done = CliRunner().invoke(application, [*words, "--help"])

    assert done.exit_code == 0
    assert "Usage:" in done.output


@pytest.mark.parametrize(
    "words", [("nonsense",), ("request", "show"), ("request", "show", "x"), ("request", "show", "0"), ("init", "--x")]
)
def test_wrong_usage_has_status_2(words: tuple[str, ...]) -> None:
    assert CliRunner().invoke(application, list(words)).exit_code == 2


def test_the_keys_on_offer_are_those_a_key_store_makes() -> None:
    assert [choice.value for choice in KeyChoice] == [algorithm.value for algorithm in KeyAlgorithm]


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (AccessDenied("No right."), "No right (0x80070005 E_ACCESSDENIED)"),
        (
            InvalidArgument("denied", HResult.CERTSRV_E_TEMPLATE_DENIED),
            "denied (0x80094012 CERTSRV_E_TEMPLATE_DENIED)",
        ),
        (ConfigurationError("https-port must be a number"), "https-port must be a number"),
        (DatabaseError("the server\ncannot be reached"), "the server cannot be reached"),
        (FileNotFoundError(2, "No such file or directory", "csr.pem"), "csr.pem: No such file or directory"),
    ],
)
def test_an_error_is_one_sentence(error: Exception, sentence: str) -> None:
    assert output.sentence_of(error) == sentence


def test_a_fault_of_the_program_says_so() -> None:
    sentence = output.sentence_of(ZeroDivisionError("division by zero"))

    assert "fault of the program" in sentence
    assert "ZeroDivisionError" in sentence


def test_values_become_json_that_programs_can_use(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_json(
        {
            "when": datetime(2026, 3, 1, 12, 30, tzinfo=UTC),
            "status": HResult.CERTSRV_E_TEMPLATE_DENIED,
            "method": AuthMethod.NTLM,
            "access": CaAccess.OFFICER,
            "bytes": b"\x30\x00",
            "names": ("a", "b"),
            "set": frozenset({"b", "a"}),
            "restriction": Restriction("a", Comparison.LESS, 1),
            "nothing": None,
            "yes": True,
        }
    )

    assert json.loads(capsys.readouterr().out) == {
        "when": "2026-03-01T12:30:00Z",
        "status": "0x80094012",
        "method": "NTLM",
        "access": "OFFICER",
        "bytes": "MAA=",
        "names": ["a", "b"],
        "set": ["a", "b"],
        "restriction": {"column": "a", "comparison": "<", "value": 1},
        "nothing": None,
        "yes": True,
    }


@pytest.mark.parametrize("count", [0, 1, 3])
def test_an_array_is_one_json_value_of_any_length(count: int, capsys: pytest.CaptureFixture[str]) -> None:
    output.print_json_array({"number": number} for number in range(count))

    assert json.loads(capsys.readouterr().out) == [{"number": number} for number in range(count)]


def test_cells_are_never_cut_off(capsys: pytest.CaptureFixture[str]) -> None:
    """Also when they look like markup."""
    long = "5f" * 200

    output.print_table([(long, "[red]not markup[/red]", True)], "serial", "text", "flag")

    shown = capsys.readouterr().out
    assert long in shown
    assert "[red]not markup[/red]" in shown
    assert shown.count("\n") == 2


def test_a_table_in_a_pipe_is_one_line_a_row_without_blanks_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    """One long cell must not make every other line as long."""
    output.print_table([("1", "two\nlines"), ("22", "x" * 300)], "id", "text")

    heading, first, second = capsys.readouterr().out.splitlines()
    assert [heading, first] == ["id  text", "1   two lines"]
    assert second == "22  " + "x" * 300


def test_a_result_code_is_shown_as_people_search_for_it() -> None:
    assert output.text_of(HResult.CERTSRV_E_TEMPLATE_DENIED) == "0x80094012 CERTSRV_E_TEMPLATE_DENIED"


def test_a_missing_password_names_the_option_that_takes_it() -> None:
    with pytest.raises(InvalidArgument, match=r"no passphrase: .* --passphrase-file"):
        read_password("/dev/null", "Passphrase for the key file", "--passphrase-file")


def test_a_password_is_the_first_line_of_its_file(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_bytes("pässword with blanks \r\nsecond line\n".encode())

    assert read_password(str(path)) == "pässword with blanks "


@pytest.mark.parametrize("content", [b"", b"\nsecond", b"\xff\xfe", b"x" * 5000])
def test_no_password_is_an_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "password"
    path.write_bytes(content)

    with pytest.raises(InvalidArgument):
        read_password(str(path))


def test_files_are_bounded_and_never_overwritten_unasked(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_file(path, b"12345")

    with pytest.raises(InvalidArgument, match="larger than 4 bytes"):
        read_file(str(path), 4)
    with pytest.raises(InvalidArgument, match="exists already"):
        write_file(path, b"x")
    write_file(path, b"replaced", force=True)

    assert read_file(str(path), 100) == b"replaced"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("template=WebServer", Restriction("template", Comparison.EQUAL, "WebServer")),
        (
            "not_after<=2026-01-01T00:00:00Z",
            Restriction("not_after", Comparison.LESS_OR_EQUAL, "2026-01-01T00:00:00Z"),
        ),
        ("request_id > 7", Restriction("request_id", Comparison.GREATER, "7")),
        ("subject=CN=a=b", Restriction("subject", Comparison.EQUAL, "CN=a=b")),
    ],
)
def test_restrictions_are_written_as_people_write_them(text: str, expected: Restriction) -> None:
    assert parse_restriction(text) == expected


def test_what_is_no_restriction_time_or_setting_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="COLUMN=VALUE"):
        parse_restriction("template")
    with pytest.raises(InvalidArgument, match="--since"):
        parse_time("yesterday", "--since")
    with pytest.raises(InvalidArgument, match="KEY=VALUE"):
        parse_settings(["approval"])
    with pytest.raises(InvalidArgument, match="twice"):
        parse_settings(["a=1", "a=2"])


def test_settings_keep_everything_after_the_first_equals_sign() -> None:
    assert parse_settings(["cdp-urls=http://a/?b=c", "ocsp-urls="]) == {"cdp-urls": "http://a/?b=c", "ocsp-urls": ""}


def test_a_time_without_a_zone_is_utc() -> None:
    assert parse_time("2026-01-31", "--since") == datetime(2026, 1, 31, tzinfo=UTC)
