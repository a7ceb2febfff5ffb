"""What a user waits for and has to read, each beside its goal. `python -m benchmarks.speed [--json] [--runs N]`.

Whole processes with a home and caches of their own. Seconds are CPU seconds but where the wall clock is named; ratios
are to `python -c "import click"`, which no command of this kind can be faster than, run in turn with it.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.processes import STACKC, Machine, new_machine, ratio
from benchmarks.solver import infeasible, too_large
from compiler.lock.file import format_lock

ROOT = Path(__file__).parents[1]
CLICK = (sys.executable, "-c", "import click")
COLUMNS = 80
WAIT = 3
"""Seconds that the smoke test of a stack without servers is told to wait for them."""


@dataclass(frozen=True)
class Figure:
    """A figure, the most it may be, and what was seen beside it."""

    what: str
    found: float
    most: float
    unit: str
    seen: str = ""

    @property
    def is_met(self) -> bool:
        """Whether it is no more than that."""
        return self.found <= self.most

    def __str__(self) -> str:
        found, most = f"{self.found:,.2f}".removesuffix(".00"), f"{self.most:,.2f}".removesuffix(".00")
        line = f"{'met ' if self.is_met else 'MISS'}  {self.what}: {found} {self.unit}, at most {most}"
        return f"{line}\n        {self.seen}" if self.seen else line


def figures(machine: Machine, runs: int) -> Iterator[Figure]:
    """All of them, in the order in which a user meets them."""
    shutil.copytree(ROOT / "stacks", machine.folder / "stacks")
    yield from first_compile(machine)
    yield from widths(machine)
    yield from beginning(machine)
    yield from smoke(machine)
    yield from misfits(machine, runs)
    yield from start_ups(machine, runs)
    yield unchanged(machine, runs)
    yield from changed(machine)


def first_compile(machine: Machine) -> Iterator[Figure]:
    """All shipped stacks into an empty folder: what is printed, and what lies there."""
    run = machine.run([STACKC, "compile"])
    result = run.lines[-1] if run.lines else ""
    yield Figure("first compile of ten stacks", len(run.lines), 30, "lines", f"the last: {result}")
    files = [path for path in (machine.folder / "generated").rglob("*") if path.is_file()]
    yield Figure("generated/ of ten stacks", len(files), 250, "files")
    yield Figure("generated/ of ten stacks", sum(path.stat().st_size for path in files) / 1e6, 1.5, "MB")


def changed(machine: Machine) -> Iterator[Figure]:
    """What `--check` says of one number that is another."""
    spec = machine.folder / "stacks" / "team-96gb.yaml"
    text = spec.read_text(encoding="utf-8")
    other, count = re.subn(r"concurrency: (\d+)", lambda found: f"concurrency: {int(found[1]) + 1}", text, count=1)
    if count != 1:
        raise TypeError(f"{spec.name} has no concurrency")
    spec.write_text(other, encoding="utf-8")
    run = machine.run([STACKC, "compile", "--check"])
    spec.write_text(text, encoding="utf-8")
    first = run.lines[0] if run.lines else ""
    yield Figure("--check after one changed number", len(run.lines), 25, "lines", f"the first: {first}")
    yield Figure("lines before the one that says what changed", 0 if "->" in first else 1, 0, "lines")


def widths(machine: Machine) -> Iterator[Figure]:
    """The widest line of answers; what is found wrong besides goes to the other stream, and quotes what it is about."""
    specs = sorted(path for path in (machine.folder / "stacks").glob("*.yaml") if ".lock" not in path.name)
    for words in ("explain", "plan"):
        lines = [line for spec in specs for line in machine.run([STACKC, words, f"stacks/{spec.name}", "-q"]).lines]
        yield _width(words, lines)
    yield _width("gpus", machine.run([STACKC, "gpus"]).lines)


def _width(command: str, lines: Sequence[str]) -> Figure:
    widest = max(lines, key=len)
    return Figure(
        f"widest line of `{command}`", len(widest), COLUMNS, "columns", widest if len(widest) > COLUMNS else ""
    )


def beginning(machine: Machine) -> Iterator[Figure]:
    """From an empty folder to a compiled stack, with the facts that ship."""
    (machine.folder / "empty").mkdir()
    run = machine.run([STACKC, "init", "--yes", "--offline", "--gpu", "rtx-4090"], below="empty")
    if run.code or not list((machine.folder / "empty" / "generated").glob("*/plan.json")):
        raise TypeError(f"no stack was compiled: {run.lines}")
    yield Figure("from an empty folder to a compiled stack", 1, 1, "commands")


def smoke(machine: Machine) -> list[Figure]:
    """The smoke test of a stack none of whose servers is there, on the wall clock."""
    tree = machine.folder / "generated" / "team-96gb"
    key = machine.folder / "key"
    key.write_text("k" * 40 + "\n", encoding="utf-8")
    key.chmod(0o600)
    servers = len(json.loads((tree / "plan.json").read_text(encoding="utf-8"))["services"])
    keys = ["--api-key-file", str(key), "--client-keys-file", str(key)]
    run = machine.run([str(tree / "bin" / "smoke-test"), "--timeout", str(WAIT), "--no-gateway", *keys])
    of_servers = [line for line in run.lines if re.match(r"\s*(fail|not ok|FAIL|skip)\b", line)]
    return [
        Figure("smoke test without servers: the first word", run.first, 1, "s wall"),
        Figure("smoke test without servers: all of it", run.wall, WAIT + 1, f"s wall with a wait of {WAIT}"),
        Figure("smoke test without servers", len(of_servers), servers, f"lines for {servers} servers"),
    ]


def misfits(machine: Machine, runs: int) -> Iterator[Figure]:
    """The error of stacks that do not fit, with the changes that would mend them."""
    for what, most, (data, lock) in (
        ("12 services that do not fit 2 × 8 GPUs", 3, infeasible(12, (8, 8))),
        ("405B beside two small services on 8 GPUs", 0.5, too_large()),
    ):
        spec = machine.folder / f"{data['stack']}.yaml"
        spec.write_text(json.dumps(data, indent=2), encoding="utf-8")
        spec.with_suffix(".lock.yaml").write_text(format_lock(lock), encoding="utf-8")
        command = [STACKC, "compile", spec.name]
        said = machine.run(command).lines
        if not any("help" in line for line in said):
            raise TypeError(f"no helps: {said}")
        yield Figure(what, statistics.median(machine.in_turn([command], min(runs, 3))[0]), most, "s")


def start_ups(machine: Machine, runs: int) -> Iterator[Figure]:
    """Commands that answer from what ships."""
    asked = (("--help", 1.5), ("explain E0401", 2.5), ("compile --help", 2.5), ("fit --help", 2.5), ("gpus", 2.5))
    commands = [CLICK, *((STACKC, *words.split()) for words, _ in asked)]
    click, *others = machine.in_turn(commands, runs)
    for (words, most), times in zip(asked, others, strict=True):
        yield Figure(f"stackc {words}", ratio(times, click), most, "× import click")


def unchanged(machine: Machine, runs: int) -> Figure:
    """All shipped stacks, compiled before."""
    times, click = machine.in_turn([(STACKC, "compile"), CLICK], runs)
    seen = f"{ratio(times, click):.1f} × import click"
    return Figure("compile of ten stacks, nothing changed", statistics.median(times), 0.43, "s", seen)


def main() -> None:
    """Print each figure beside its goal; with --json, all of them as the last line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    found = []
    with new_machine() as folder:
        for figure in figures(Machine(Path(folder)), asked.runs):
            print(figure, flush=True)
            found.append(asdict(figure) | {"met": figure.is_met})
    if asked.json:
        print(json.dumps({"figures": found}))


if __name__ == "__main__":
    main()
