"""`stackc init`: from nothing to a compiled stack."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from textwrap import wrap
from typing import NoReturn

import click
from pydantic import TypeAdapter, ValidationError

from compiler.catalog.hardware.gpus import GPUS, same_gpus
from compiler.checks.read import lock_path
from compiler.cli.commands.compile import command as compile_command
from compiler.cli.loudness import Loudness, loudness
from compiler.cli.progress import progress
from compiler.cli.report import Exit, finish, unwritable
from compiler.cli.run.examples import about, examples
from compiler.cli.run.lock import lock_spec
from compiler.cli.run.machine import Cards, cpu, detect
from compiler.cli.run.starters import (
    SCHEMA_FILE,
    TASKS,
    Choice,
    choices,
    default_name,
    named,
    recorded_lock,
    recorded_tasks,
    spec_text,
)
from compiler.diagnostics import Diagnostic, Help, has_errors
from compiler.diagnostics.render import visible
from compiler.lock.file import format_lock
from compiler.pipeline import compile_stack
from compiler.resolve.cache import Cache
from compiler.resolve.transport.hub import Hub
from compiler.schemas.documents import MODELINE, schema_text
from compiler.source.cache import cache_folder
from compiler.spec.base import Name

STACKS = Path("stacks")


def run(
    name: str | None,
    *,
    gpu: str | None,
    count: int | None,
    on_cpu: bool,
    tasks: tuple[str, ...],
    model: str | None,
    example: str | None,
    is_list: bool,
    offline: bool,
    yes: bool,
) -> NoReturn:
    """Do it, tell what came of it, and end the run."""
    if is_list:
        finish("text", (), result={}, lines=list(_listed()))
    asks = not yes and is_terminal()
    if example is not None:
        if gpu or count or tasks or on_cpu or model:
            raise click.UsageError("--from takes a shipped stack as it is: the rest is for the spec")
        _from_example(example, name)
    if on_cpu and (gpu or count):
        raise click.UsageError("--cpu is in place of a GPU")
    if model is not None and tasks:
        raise click.UsageError("--model is in place of --task: it is served for chat, which the spec can change")
    if model is not None and not _MODEL.fullmatch(model):
        raise click.UsageError("--model is an id of the Hub, such as Qwen/Qwen3-8B-GGUF, or a path on the server")
    cards = cpu() if on_cpu else _cards(gpu, count, asks=asks)
    if model is not None:
        spec = _place(name or default_name(("chat",), cards))
        _start(spec, cards, [named(model)], is_offline=offline)
    wanted = tasks or ((_asked_task(),) if asks else ("chat",) if yes else ())
    if not wanted:
        raise click.UsageError(f"say what for: --task {'|'.join(TASKS)}, or --yes for chat")
    if cards.is_cpu and "code" in wanted:
        raise click.UsageError("no model for code that ships is for a CPU: take another --task, or write its model")
    name = name or default_name(wanted, cards)
    spec = _place(name)
    _start(spec, cards, list(choices(wanted, on_cpu=cards.is_cpu)), is_offline=offline)


# What a plain scalar of YAML can hold, and a name on the Hub or a path is made of.
_MODEL = re.compile(r"/?[A-Za-z0-9][A-Za-z0-9._/-]{0,254}", re.ASCII)


def _listed() -> Iterator[str]:
    for name, path in examples().items():
        indent = " " * _INDENT
        yield from wrap(about(path), _WIDTH, initial_indent=f"{name:<{_INDENT}}", subsequent_indent=indent)


_WIDTH, _INDENT = 80, 18


def _tell(line: str, *, err: bool = False) -> None:
    """What happens, unless only what is wrong was asked for."""
    if loudness() is not Loudness.QUIET:
        click.echo(visible(line), err=err)


def is_terminal() -> bool:
    """Whether somebody can be asked."""
    return sys.stdin.isatty()


def _cards(gpu: str | None, count: int | None, *, asks: bool) -> Cards:
    """The GPUs to serve on: those that are named, else those that are here."""
    if gpu is None:
        here = detect()
        if here:
            first, *others = here
            _tell(f"nvidia-smi: {_titled(first)}", err=True)
            for other in others:
                _tell(f"left out, for `gpus` to list if it may serve too: {_titled(other)}", err=True)
            if first.name is None and first.memory is None:
                raise click.UsageError("that card is not in the catalogue: --gpu says which is like it")
            return replace(first, count=count or first.count, uuids=first.uuids[:count])
        if not asks:
            raise click.UsageError(
                "nvidia-smi finds no GPU: name one with --gpu (`stackc gpus` lists them), or say --cpu"
            )
        gpu = str(click.prompt("GPU (`stackc gpus` lists them), or cpu"))
        if gpu.lower() == "cpu":
            return cpu()
    names = (gpu,) if gpu in GPUS else same_gpus(gpu)
    if len(names) != 1:
        same = f": did you mean {' or '.join(names)}?" if names else "; `stackc gpus` lists them"
        raise click.UsageError(f"unknown GPU {gpu[:60]}{same}")
    return Cards(names[0], GPUS[names[0]].title, count or 1)


def _titled(cards: Cards) -> str:
    return f"{cards.count} × {cards.title}" + (f", MIG slices of {cards.mig}" if cards.mig else "")


def _asked_task() -> str:
    return str(click.prompt("What for?", type=click.Choice(list(TASKS)), default="chat"))


def _place(name: str) -> Path:
    """Where the spec goes, which nothing may have yet."""
    spec = STACKS / f"{name}.yaml"
    try:
        TypeAdapter(Name).validate_python(name)
    except ValidationError as error:
        raise click.UsageError("a stack's name is of a-z, 0-9 and -, 41 at most, a letter first") from error
    for path in (spec, lock_path(spec)):
        if path.is_symlink() or path.exists():
            raise click.UsageError(f"{path} exists, and is not overwritten: give another NAME")
    return spec


def _from_example(example: str, name: str | None) -> NoReturn:
    if example not in examples():
        raise click.UsageError(f"no shipped stack is called {example[:60]}: there are {', '.join(examples())}")
    source = examples()[example]
    spec = _place(name or example)
    lines = source.read_text(encoding="utf-8").splitlines()
    lines = [line for line in lines if not line.startswith((MODELINE, "stack:"))]
    at = next(index for index, line in enumerate(lines) if not line.startswith("#"))
    text = "\n".join([f"{MODELINE}{SCHEMA_FILE}", *lines[:at], f"stack: {spec.stem}", *lines[at:]]) + "\n"
    _finish(spec, text, lock_path(source).read_text(encoding="utf-8"))


def _start(spec: Path, cards: Cards, options: Sequence[Choice], *, is_offline: bool) -> NoReturn:
    """The best option that compiles, by what the Hub says of it, or by recorded facts where it says nothing."""
    found: tuple[Diagnostic, ...] = ()
    for choice in options:
        text, recorded = spec_text(spec.stem, cards, choice), recorded_lock(choice)
        lock = None if recorded is None else format_lock(recorded)
        if lock is not None:
            compiles, found = _tried(spec, text, lock)
            if not compiles:
                continue
        answered, unanswered = (None, ()) if is_offline else _asked(spec, text)
        is_offline = is_offline or answered is None
        if answered is None and lock is None:
            _without_facts(spec, text, unanswered, on_cpu=cards.is_cpu)
        if answered is not None and not (tried := _tried(spec, text, answered))[0]:
            found = tried[1]
            continue
        if answered is None and lock is not None:
            _tell("the lock holds facts that ship with stackc: `stackc lock` confirms them on the Hub", err=True)
        _finish(spec, text, answered or lock or "")
    lines = [f"nothing that ships for this compiles on {cards.count} × {cards.title}; no file was written"]
    finish("text", [one for one in found if has_errors((one,))], result={}, lines=lines)


def _tried(spec: Path, text: str, lock: str) -> tuple[bool, tuple[Diagnostic, ...]]:
    """Whether it compiles, in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="stackc-init-") as folder:
        path = Path(folder) / spec.name
        path.write_text(text, encoding="utf-8")
        lock_path(path).write_text(lock, encoding="utf-8")
        compiled, found = compile_stack(path, str(spec))
    return compiled is not None, found


def _asked(spec: Path, text: str) -> tuple[str | None, tuple[Diagnostic, ...]]:
    """The lock that the Hub answers; None where it does not, or where what it says does not fit."""
    is_quiet = loudness() is Loudness.QUIET
    with tempfile.TemporaryDirectory(prefix="stackc-init-") as folder, progress(is_silent=is_quiet) as told:
        path = Path(folder) / spec.name
        path.write_text(text, encoding="utf-8")
        hub = Hub(progress=told)
        found, report = lock_spec(path, str(spec), hub, cache=Cache(cache_folder(), hub.endpoint))
        if report is None or has_errors(found):
            return None, found
        return lock_path(path).read_text(encoding="utf-8"), found


def _without_facts(spec: Path, text: str, found: Sequence[Diagnostic], *, on_cpu: bool) -> NoReturn:
    """Without the Hub there is no lock for models of which nothing was recorded; the spec is written all the same."""
    _write(spec, text, None)
    command = f"stackc lock {spec} && stackc compile {spec}"
    lines = [f"{spec}: written, without a lock", f"next, where the Hub can be reached: {command}"]
    finish("text", found or (_unrecorded(spec, on_cpu=on_cpu),), result={}, lines=lines)


def _unrecorded(spec: Path, *, on_cpu: bool) -> Diagnostic:
    offline = " or ".join(f"`--task {task}`" for task in recorded_tasks(on_cpu=on_cpu))
    helps = (Help(f"`stackc lock {spec}` asks the Hub, once"), Help(f"without a network {offline} can be compiled"))
    return Diagnostic("E0301", f"no facts of all models of {spec} ship with stackc", helps=helps)


def _finish(spec: Path, text: str, lock: str) -> NoReturn:
    """Write, compile, and say what is next."""
    _write(spec, text, lock)
    _tell(f"{spec}: written, with its lock and {SCHEMA_FILE} for editors")
    code = _compiled(spec)
    if code == Exit.FINE:
        _tell("next:")
        for line in _next(spec):
            _tell(f"  {line}")
    raise SystemExit(code)


# As `stackc compile` takes it.
_LOUDNESS = {Loudness.QUIET: ("-q",), Loudness.NORMAL: (), Loudness.VERBOSE: ("-v",)}


def _compiled(spec: Path) -> int:
    try:
        compile_command.main([str(spec), *_LOUDNESS[loudness()]], prog_name="stackc compile", standalone_mode=False)
    except SystemExit as end:
        return int(end.code or 0)
    return int(Exit.FINE)


def _next(spec: Path) -> Sequence[str]:
    tree = Path("generated") / spec.stem
    return (
        f"read {tree}/README.md: how it is installed, started and asked",
        f"change {spec}, and `stackc compile` again",
        f"ask why it fits: `stackc explain {spec}`",
    )


def _write(spec: Path, text: str, lock: str | None) -> None:
    """The spec, its lock if there is one, and the schema where none is yet. What exists stays as it is."""
    files = {spec.parent / SCHEMA_FILE: schema_text("spec"), spec: text, lock_path(spec): lock}
    try:
        spec.parent.mkdir(exist_ok=True)
        for path, content in files.items():
            if content is not None and not (path.name == SCHEMA_FILE and path.exists()):
                with path.open("x", encoding="utf-8") as file:
                    file.write(content)
    except OSError as error:
        finish("text", (unwritable(str(error.filename or spec), error),), result={}, lines=())
