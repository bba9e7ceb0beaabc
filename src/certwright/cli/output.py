"""What commands print: tables for people, JSON for programs, errors as one sentence."""

from __future__ import annotations

import base64
import dataclasses
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any


def print_line(text: str) -> None:
    """One line of plain text, never wrapped or coloured."""
    sys.stdout.write(f"{text}\n")


def print_json(value: object) -> None:
    json.dump(plain(value), sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


def print_json_array(rows: Iterable[object]) -> None:
    """An array of any length, written as its rows come."""
    separator = "["
    for row in rows:
        sys.stdout.write(f"{separator}\n  {json.dumps(plain(row), ensure_ascii=False)}")
        separator = ","
    sys.stdout.write("[]\n" if separator == "[" else "\n]\n")


def print_table(rows: Iterable[Sequence[object]], *headings: str) -> None:
    """Aligned columns; cells are never cut off, so that what is printed can be copied.

    A terminal gets a table as wide as it is; a file or a pipe one line a row, without blanks at the end.
    """
    cells = [tuple(" ".join(text_of(cell).split("\n")) for cell in row) for row in rows]
    if not cells:
        note("nothing to show")
    elif sys.stdout.isatty():
        _print_on_terminal(cells, headings)
    else:
        widths = [max(map(len, column)) for column in zip(headings, *cells, strict=True)]
        for row in (headings, *cells):
            padded = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
            print_line("  ".join(padded).rstrip())


def _print_on_terminal(rows: Sequence[Sequence[str]], headings: Sequence[str]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    Console(soft_wrap=True).print(table)


def print_fields(fields: Iterable[tuple[str, object]]) -> None:
    """Names and values, one pair a line, empty values left out."""
    listed = [(name, text_of(value)) for name, value in fields]
    listed = [(name, value) for name, value in listed if value]
    width = max((len(name) for name, _ in listed), default=0)
    for name, value in listed:
        first, *rest = value.splitlines() or [""]
        print_line(f"{name:<{width}}  {first}")
        for line in rest:
            print_line(f"{'':<{width}}  {line}")


def note(text: str) -> None:
    """Something for the person at the terminal, kept out of the output."""
    sys.stderr.write(f"{text}\n")


def print_error(sentence: str) -> None:
    colour, plain_again = ("\x1b[31m", "\x1b[0m") if sys.stderr.isatty() else ("", "")
    sys.stderr.write(f"{colour}error: {sentence}{plain_again}\n")


def sentence_of(error: BaseException) -> str:
    """What went wrong, in one line, with the HRESULT where there is one."""
    from certwright.adcs.errors import AdcsError, ConfigurationError, HResult
    from certwright.database import DatabaseError
    from certwright.keystores.base import KeyStoreError
    from certwright.keystores.sealing import SealingError
    from certwright.pki.errors import EncodingError, SignatureError

    match error:
        case ConfigurationError(status=HResult.E_INVALIDARG):
            text = error.message
        case AdcsError():
            text = f"{error.message.rstrip('.')} ({error.status.hex} {error.status.name})"
        case DatabaseError() | KeyStoreError() | SealingError() | EncodingError() | SignatureError():
            text = str(error)
        case OSError() if error.strerror:
            text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
        case _:
            text = (
                f"unexpected {type(error).__name__}: {error}; this is a fault of the program:"
                " run again with CERTWRIGHT_TRACEBACK=1 and report it"
            )
    return " ".join(text.split())


def plain(value: object) -> Any:
    """The value as JSON knows it: times in ISO 8601 with Z, HRESULTs in hex, other enumerations by name or text,
    bytes in base64."""
    from certwright.adcs.errors import HResult

    match value:
        case None | bool() | str():
            return str(value) if isinstance(value, str) else value
        case HResult():
            return value.hex
        case Enum():
            return value.value if isinstance(value.value, str) else value.name
        case int() | float():
            return value
        case datetime():
            return time_text(value)
        case timedelta():
            return int(value.total_seconds())
        case bytes():
            return base64.b64encode(value).decode()
        case Mapping():
            return {str(key): plain(item) for key, item in value.items()}
        case frozenset() | set():
            return sorted(plain(item) for item in value)
        case tuple() if hasattr(value, "_asdict"):  # a NamedTuple is a value with names, no list
            return {name: plain(item) for name, item in value._asdict().items()}
        case Iterable():
            return [plain(item) for item in value]
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
        case _:
            return str(value)


def time_text(when: datetime) -> str:
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def text_of(value: object) -> str:
    """The value for a table's cell."""
    from certwright.adcs.errors import HResult

    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case HResult():
            return f"{value.hex} {value.name}"
        case datetime():
            return when.strftime("%Y-%m-%d %H:%M:%S") if (when := value.astimezone(UTC)) else ""
        case Enum():
            return value.value if isinstance(value.value, str) else value.name.lower()
        case tuple() | list():
            return ", ".join(text_of(item) for item in value)
        case frozenset() | set():
            return ", ".join(sorted(text_of(item) for item in value))
        case _:
            return str(value)


@contextmanager
def progress(steps: int) -> Iterator[Any]:
    """A bar on standard error for what may take longer than two seconds; silent when that is no terminal.

    Yields a function `step(text)` that names the next step.
    """
    if not sys.stderr.isatty():
        yield lambda _text: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as bar:
        task = bar.add_task("starting", total=steps)
        begun = False

        def step(text: str) -> None:
            nonlocal begun
            bar.update(task, description=text, advance=1 if begun else 0)
            begun = True

        yield step
