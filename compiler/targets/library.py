"""`lib/`: what the programs of `bin/` do. It is the same for every stack: what a stack decides is in `plan.json`.

A program of `bin/` finds its tree and the library, and calls a module of it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

from compiler.render.artifact import EXECUTABLE, PLAIN, Artifact
from compiler.render.environment import read_verbatim, render, template_folder

BIN, LIB = PurePosixPath("bin"), PurePosixPath("lib")
SUPERVISE = LIB / "supervise"
PREPARE = LIB / "prepare"
EVALUATION = LIB / "evaluation/smoke.yaml"

# The modules below lib/stack whose `main` they call.
_MODULES = {
    "preflight": "machine.preflight",
    "prefetch": "models.prefetch",
    "wait-ready": "ask.wait_ready",
    "smoke-test": "ask.smoke_test",
    "bench": "judge.bench",
    "evaluate": "judge.evaluate",
    "install": "install.install",
    "upgrade": "install.upgrade",
    "rollback": "install.rollback",
    "uninstall": "install.uninstall",
    "rollout": "rollout",
    "keys": "clients",
    "certificate": "certificate",
    "join-group": "group",
}


@dataclass(frozen=True, slots=True)
class Program:
    """`bin/NAME`: `summary` is a sentence, `module` as Python imports it."""

    name: str
    summary: str
    module: str


@cache
def emit_library() -> tuple[Artifact, ...]:
    """Everything under `lib/`, sorted. What says by which interpreter it runs can be run."""
    return tuple(_files())


def emit_program(name: str) -> Artifact:
    """`bin/NAME`."""
    module = _MODULES[name]
    program = Program(name, _summary(module), f"stack.{module}")
    return Artifact(BIN / name, render("scripts/program.j2", program=program), EXECUTABLE)


@cache
def _summary(module: str) -> str:
    """What a module's documentation begins with, read once for all stacks of a run."""
    text = read_verbatim(f"lib/stack/{module.replace('.', '/')}.py")
    return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]


def _files() -> Iterator[Artifact]:
    top = template_folder()
    for path in sorted((top / LIB).rglob("*")):
        if path.is_file() and not _is_cache(path):
            name = path.relative_to(top).as_posix()
            text = read_verbatim(name)
            yield Artifact(PurePosixPath(name), text, EXECUTABLE if text.startswith("#!") else PLAIN)


def _is_cache(path: Path) -> bool:
    """What Python leaves beside a module that somebody imported."""
    return "__pycache__" in path.parts
