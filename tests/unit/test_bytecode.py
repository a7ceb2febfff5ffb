"""Compiled templates are kept for the next run, and nothing is run that somebody else could have written."""

from __future__ import annotations

import marshal
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jinja2 import DictLoader, Environment

from compiler.render import environment
from compiler.render.bytecode import OwnBytecode

TEMPLATE = "{% for word in words %}{{ word }} {% endfor %}"


class _Counted(Environment):
    """Counts what it compiles."""

    compiled = 0

    def compile(self, *arguments: Any, **named: Any) -> Any:
        self.compiled += 1
        return super().compile(*arguments, **named)


def compiled(text: str = TEMPLATE, made_by: bytes = b"") -> int:
    """How many templates a run has to compile to fill in one."""
    found = _Counted(loader=DictLoader({"one.j2": text}), bytecode_cache=OwnBytecode(made_by))
    assert found.get_template("one.j2").render(words=["a", "b"]).endswith("a b ")
    return found.compiled


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache after one run."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert compiled() == 1
    return tmp_path / "stackc" / "templates"


def test_a_second_run_compiles_nothing(folder: Path) -> None:
    assert compiled() == 0
    assert folder.stat().st_mode & 0o777 == 0o700
    assert [path.stat().st_mode & 0o777 for path in folder.iterdir()] == [0o600]


def test_stackcs_own_templates_are_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment._environment.cache_clear()
    try:
        environment._environment().get_template("scripts/launch.j2")
        assert len(list(folder.iterdir())) == 2
    finally:
        environment._environment.cache_clear()


def test_another_text_and_other_filters_are_compiled_anew_in_the_same_place(folder: Path) -> None:
    assert compiled(f"{TEMPLATE}", made_by=b"another filter") == 1
    assert compiled(f"more {TEMPLATE}") == 1
    assert compiled(f"more {TEMPLATE}") == 0
    assert len(list(folder.iterdir())) == 1


def _opened(folder: Path) -> None:
    folder.chmod(0o777)


def _file_opened(folder: Path) -> None:
    next(folder.iterdir()).chmod(0o666)


def _linked(folder: Path) -> None:
    elsewhere = folder.with_name("elsewhere")
    folder.rename(elsewhere)
    folder.symlink_to(elsewhere)


def _file_linked(folder: Path) -> None:
    file = next(folder.iterdir())
    elsewhere = folder.parent / "elsewhere"
    file.rename(elsewhere)
    file.symlink_to(elsewhere)


def _piped(folder: Path) -> None:
    file = next(folder.iterdir())
    file.unlink()
    os.mkfifo(file, 0o600)


def _cut(folder: Path) -> None:
    file = next(folder.iterdir())
    file.write_bytes(file.read_bytes()[:-9])


def _other_code(folder: Path) -> None:
    file = next(folder.iterdir())
    file.write_bytes(file.read_bytes()[:32] + marshal.dumps(compile("raise SystemExit('run')", "x", "exec")))


def _emptied(folder: Path) -> None:
    next(folder.iterdir()).write_bytes(b"")


@pytest.mark.parametrize("change", [_opened, _file_opened, _linked, _file_linked, _piped, _cut, _other_code, _emptied])
def test_what_others_could_have_written_and_what_is_damaged_is_not_run(
    folder: Path, change: Callable[[Path], None]
) -> None:
    change(folder)
    assert compiled() == 1


def test_a_stranger_s_folder_is_not_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert compiled() == 1


def test_without_a_place_for_a_cache_templates_are_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert [compiled(), compiled()] == [1, 1]
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", _no_home)
    assert [compiled(), compiled()] == [1, 1]


def _no_home() -> Path:
    raise RuntimeError("Could not determine home directory.")


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(os, "rename", full)
    assert compiled() == 1
    assert list((tmp_path / "stackc" / "templates").iterdir()) == []
