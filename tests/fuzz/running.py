"""Runs cases: each in a folder of its own, all of a process after each other, with bounds on time and memory."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import random
import shutil
import stat
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from compiler.cli import main
from tests.fuzz.bases import Bases
from tests.fuzz.case import Case, Maker, Words
from tests.fuzz.files import make_odd, make_tree
from tests.fuzz.folders import make_calibration, make_folder, make_header, make_log
from tests.fuzz.hub import make_hub
from tests.fuzz.inputs import make_config, make_lock, make_lock_text, make_spec, make_spec_text
from tests.fuzz.values import MARKER
from tests.fuzz.words import make_words

AREAS: dict[str, Maker] = {
    "spec": make_spec,
    "spec-text": make_spec_text,
    "lock": make_lock,
    "lock-text": make_lock_text,
    "config": make_config,
    "folder": make_folder,
    "header": make_header,
    "calibration": make_calibration,
    "log": make_log,
    "tree": make_tree,
    "odd": make_odd,
    "words": make_words,
    "hub": make_hub,
}

_HASHED = 8 << 20


@dataclass(frozen=True)
class Outcome:
    """What a command did. `error` is the traceback of an exception that reached the top."""

    words: Words
    code: int
    text: str
    stdout: str
    error: str | None


@dataclass(frozen=True)
class Find:
    """Something that must not be."""

    kind: str
    detail: str
    words: Words = ()
    what: str = ""


class _Told(io.StringIO):
    """A stream that also adds what it gets to what both streams got."""

    def __init__(self, both: list[str]) -> None:
        super().__init__()
        self._both = both

    def write(self, text: str) -> int:
        written = super().write(text)  # refuses bytes, with which click asks what the stream takes
        self._both.append(text)
        return written


def run_command(words: Words, folder: Path, environment: Mapping[str, str] | None = None) -> Outcome:
    """A command of stackc in this process, in a folder, from its very entry."""
    both: list[str] = []
    stdout, stderr = _Told(both), _Told(both)
    code, error = 0, None
    with ExitStack() as stack:
        stack.enter_context(patch.dict(os.environ, environment or {}))
        stack.enter_context(patch.object(sys, "argv", ["stackc", *words]))
        for each in (contextlib.chdir(folder), contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr)):
            stack.enter_context(each)
        try:
            main._run()  # as main() does, which also tells the collector that the process ends
        except SystemExit as end:
            code = int(end.code or 0)
        except MemoryError:
            raise
        except Exception as found:
            code, error = 1, "".join(traceback.format_exception(found))
    return Outcome(words, code, "".join(both), stdout.getvalue(), error)


def run_case(area: str, seed: int, number: int, bases: Bases, root: Path) -> list[Find]:
    """Make one case and run its commands; a case is made from its area, seed and number alone."""
    from tests.fuzz.judging import judge, judge_change, judge_output  # noqa: PLC0415 (which judges what is run here)

    folder = root / f"{area}-{seed}-{number}"
    folder.mkdir(parents=True)
    case = Case(folder, random.Random(f"{area}:{seed}:{number}"), bases)
    AREAS[area](case)
    found: list[Find] = []
    before = snapshot(folder)
    with case.around() as environment:
        for words in case.commands:
            outcome = run_command(words, folder, environment)
            after = snapshot(folder)
            found += [*judge(case, outcome), *judge_change(case, outcome, before, after)]
            if words[0] == "compile" and outcome.code == 0 and "--check" not in words:
                found += judge_output(case, outcome)
            before = after
            if outcome.code != 0 and words[0] == "lock":
                break
    found += [Find("injected", str(path)) for path in (folder / MARKER, Path.cwd() / MARKER) if path.exists()]
    return [Find(each.kind, each.detail, each.words, case.what) for each in found]


def snapshot(folder: Path) -> dict[str, str]:
    """What lies in a folder, links unfollowed."""
    return dict(_entries(folder, folder))


def _entries(folder: Path, top: Path) -> Iterator[tuple[str, str]]:
    for entry in os.scandir(folder):
        name = os.path.relpath(entry.path, top)
        if entry.is_symlink():
            yield name, f"-> {Path(entry.path).readlink()}"
        elif entry.is_dir():
            yield from _entries(Path(entry.path), top)
        else:
            yield name, _fingerprint(Path(entry.path))


def _fingerprint(path: Path) -> str:
    facts = path.lstat()
    if not stat.S_ISREG(facts.st_mode) or facts.st_size > _HASHED:
        return f"{facts.st_mode:o} {facts.st_size}"
    return f"{facts.st_mode:o} {hashlib.sha256(path.read_bytes()).hexdigest()}"


@dataclass(frozen=True)
class Answer:
    """What came of a case, and the seconds of processor time that it took."""

    found: list[Find]
    seconds: float


def answer(area: str, seed: int, number: int, bases: Bases, root: Path) -> Answer:
    """Run a case; its folder stays only if something was found. What the fuzzer itself does wrong is a find too."""
    start = time.process_time()
    try:
        found = run_case(area, seed, number, bases, root)
    except MemoryError:
        found = [Find("memory", "more than may be used")]
    except Exception:
        found = [Find("fuzzer", traceback.format_exc()[-800:])]
    if not found:
        shutil.rmtree(root / f"{area}-{seed}-{number}", ignore_errors=True)
    return Answer(found, time.process_time() - start)
