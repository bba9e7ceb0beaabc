"""Encryption at rest: what it binds, what it refuses, and that no crash and no race loses a key. NIST SP 800-38D."""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from certwright.keystores import sealing
from certwright.keystores.sealing import Sealer, SealingError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "secrets" / "master.key"


@pytest.fixture
def sealer(path: Path) -> Sealer:
    return Sealer.create(path)


# -- values ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [b"", b"short", bytes(5000)])
def test_a_sealed_value_opens_in_its_context(sealer: Sealer, value: bytes) -> None:
    sealed = sealer.seal(value, "account/5")
    assert not value or value not in sealed
    assert sealer.open(sealed, "account/5") == value
    assert sealer.is_current(sealed)


def test_the_same_value_is_sealed_differently_each_time(sealer: Sealer) -> None:
    assert len({sealer.seal(b"same", "c") for _ in range(50)}) == 50


def test_a_value_moved_to_another_place_does_not_open(sealer: Sealer) -> None:
    """Somebody who can write the database must not be able to swap two accounts' hashes."""
    sealed = sealer.seal(b"hash", "account/5")
    for context in ("account/6", "account/", "account/55", ""):
        with pytest.raises(SealingError, match="changed or belongs elsewhere"):
            sealer.open(sealed, context)


def test_any_changed_bit_is_noticed(sealer: Sealer) -> None:
    sealed = sealer.seal(b"value", "c")
    for position in range(len(sealed)):
        changed = bytearray(sealed)
        changed[position] ^= 1
        with pytest.raises(SealingError):
            sealer.open(bytes(changed), "c")


@pytest.mark.parametrize("length", [0, 1, 5, 17, 32])
def test_a_value_cut_short_is_refused(sealer: Sealer, length: int) -> None:
    with pytest.raises(SealingError):
        sealer.open(sealer.seal(b"", "c")[:length], "c")


def test_a_value_of_another_installation_names_the_missing_key(sealer: Sealer, tmp_path: Path) -> None:
    other = Sealer.create(tmp_path / "other")
    with pytest.raises(SealingError, match=r"not in .*other"):
        other.open(sealer.seal(b"value", "c"), "c")


# -- the file --------------------------------------------------------------------------------------------------------


def test_the_file_is_for_its_owner_only(sealer: Sealer, path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_an_existing_file_is_never_overwritten(sealer: Sealer, path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(SealingError, match="exists already"):
        Sealer.create(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o700 | 0o001])
def test_a_file_that_others_can_read_is_refused(sealer: Sealer, path: Path, mode: int) -> None:
    path.chmod(mode)
    with pytest.raises(SealingError, match="chmod 600"):
        Sealer(path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# only a comment\n",
        "00112233\n",
        "00112233 AAAA\n",
        "zz112233 {key}\n",
        "001122 {key}\n",
        "00112233 {key} more\n",
        "00112233 {key}\n00112233 {key}\n",
        "00112233 {key}é\n",
    ],
)
def test_a_damaged_file_is_refused_without_showing_a_key(path: Path, text: str) -> None:
    key = "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="
    path.parent.mkdir()
    path.write_text(text.format(key=key), encoding="utf-8")
    path.chmod(0o600)
    with pytest.raises(SealingError) as caught:
        Sealer(path)
    assert key not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_named(path: Path) -> None:
    with pytest.raises(SealingError, match=str(path)):
        Sealer(path)


# -- rotation --------------------------------------------------------------------------------------------------------


def test_after_a_rotation_old_values_open_and_new_ones_use_the_new_key(sealer: Sealer, path: Path) -> None:
    old = sealer.seal(b"old", "c")
    sealer.rotate()
    new = sealer.seal(b"new", "c")
    assert not sealer.is_current(old)
    assert sealer.is_current(new)
    assert old[:5] != new[:5]
    for reader in (sealer, Sealer(path)):
        assert (reader.open(old, "c"), reader.open(new, "c")) == (b"old", b"new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_another_process_opens_what_was_sealed_after_a_rotation(sealer: Sealer, path: Path) -> None:
    elsewhere = Sealer(path)
    sealer.rotate()
    assert elsewhere.open(sealer.seal(b"new", "c"), "c") == b"new"
    assert elsewhere.is_current(elsewhere.seal(b"", "c"))


def test_an_interrupted_rotation_is_not_overwritten(sealer: Sealer, path: Path) -> None:
    path.with_name("master.key.new").write_text("")
    with pytest.raises(SealingError, match="remove that file"):
        sealer.rotate()
    assert sealer.open(sealer.seal(b"x", "c"), "c") == b"x"


def test_two_processes_that_rotate_at_once_lose_no_key(
    sealer: Sealer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second must read the file after the first has written it, or the first one's key would vanish."""
    elsewhere = Sealer(path)
    sealed_by_the_first: list[bytes] = []
    real = sealing._read_private
    calls = 0

    def rotate_in_between(file: Path) -> str:
        nonlocal calls
        calls += 1
        text = real(file)
        if calls == 1:
            try:
                elsewhere.rotate()
            except SealingError:
                return text
            sealed_by_the_first.append(elsewhere.seal(b"first", "c"))
        return text

    monkeypatch.setattr(sealing, "_read_private", rotate_in_between)
    with contextlib.suppress(SealingError):
        sealer.rotate()
    monkeypatch.undo()
    for sealed in sealed_by_the_first:
        assert Sealer(path).open(sealed, "c") == b"first"
    assert len(path.read_text().splitlines()) == 3


def test_sealing_while_another_thread_rotates_never_mixes_two_keys(sealer: Sealer, path: Path) -> None:
    """The key's id stands in the value: with another key behind it, the value would never open again."""
    stop = threading.Event()
    sealed: list[bytes] = []

    def seal() -> None:
        while not stop.is_set():
            sealed.append(sealer.seal(b"value", "c"))

    threads = [threading.Thread(target=seal) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(25):
            sealer.rotate()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    fresh = Sealer(path)
    assert len({value[:5] for value in sealed}) > 1
    assert all(fresh.open(value, "c") == b"value" for value in sealed)


# -- crashes ---------------------------------------------------------------------------------------------------------


class Crash(BaseException):
    """The power goes."""


def crash_points(action: Callable[[], object], monkeypatch: pytest.MonkeyPatch, after: Callable[[int], None]) -> int:
    """Run an action again and again, the power going at its first, second, ... step on the disk."""
    for point in range(1, 40):
        steps = 0
        with monkeypatch.context() as patch:

            def step(real: Callable[..., object], limit: int = point) -> Callable[..., object]:
                def run(*arguments: object, **options: object) -> object:
                    nonlocal steps
                    steps += 1
                    if steps == limit:
                        raise Crash
                    return real(*arguments, **options)

                return run

            for name in ("open", "fsync", "link", "rename", "replace", "unlink"):
                patch.setattr(os, name, step(getattr(os, name)))
            try:
                action()
            except Crash:
                pass
            else:
                return point
        after(point)
    raise AssertionError("the action never came to its end")


def test_a_crash_at_any_step_leaves_the_whole_old_or_the_whole_new_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")

    def check(point: int) -> None:
        assert target.read_bytes() in (b"old", b"new" * 1000), point

    assert crash_points(lambda: sealing.replace(target, b"new" * 1000), monkeypatch, check) > 4
    assert target.read_bytes() == b"new" * 1000


def test_a_crash_at_any_step_leaves_a_new_file_whole_or_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "file"

    def check(point: int) -> None:
        if target.exists():
            assert target.read_bytes() == b"new" * 1000, point
            target.unlink()

    assert crash_points(lambda: sealing.write_new(target, b"new" * 1000), monkeypatch, check) > 4


def test_a_crash_at_any_step_of_a_rotation_leaves_a_file_that_opens_everything(
    sealer: Sealer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = [sealer.seal(b"first", "c")]

    def check(point: int) -> None:
        path.with_name("master.key.new").unlink(missing_ok=True)  # as the message says
        fresh = Sealer(path)
        values.append(fresh.seal(b"first", "c"))
        assert all(fresh.open(value, "c") == b"first" for value in values), point

    assert crash_points(sealer.rotate, monkeypatch, check) > 3


def test_a_full_disk_leaves_nothing_behind(sealer: Sealer, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    actions: list[Callable[[], None]] = [
        lambda: sealing.write_new(path.with_name("a"), b"x"),
        lambda: sealing.replace(path.with_name("b"), b"x"),
        sealer.rotate,
    ]
    for action in actions:
        with pytest.raises(OSError, match="No space"):
            action()
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_new_file_never_replaces_one(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    with pytest.raises(FileExistsError):
        sealing.write_new(target, b"new")
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_system_without_hard_links_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A root key is exported to a stick, and sticks are FAT."""

    def refuse(source: object, target: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    target = tmp_path / "file"
    sealing.write_new(target, b"new")
    assert target.read_bytes() == b"new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        sealing.write_new(target, b"newer")
    assert target.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [target]


def test_removing_is_silent_about_what_is_gone(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"x")
    sealing.remove(target)
    sealing.remove(target)
    assert not target.exists()
