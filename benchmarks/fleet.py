"""A whole fleet by the real command, trees written. `python -m benchmarks.fleet [--services N --nodes M] [--json]`.

Each `stackc compile` is a process of its own with a home and caches of its own, compared with `compile --check` of the
shipped stacks on the same machine. The exponent is the slope of CPU seconds over services, between the smallest and
the largest of the curve: sorting alone, n log n, has 1.2 from 100 to 2,000. The curve has steps up to the size that is
asked for; `--to 2000` is the whole one.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.placements.fleet_specs import fitting, overfull
from benchmarks.processes import STACKC, Machine, Run, new_machine
from compiler.lock.file import format_lock
from compiler.lock.models import Lock

ROOT = Path(__file__).parents[1]
_SIZES = (100, 250, 500, 1000, 2000)
_FITS, _DOES_NOT_FIT = 0, 1


@dataclass(frozen=True)
class Compiled:
    """CPU seconds of a fleet of so many services, and the most memory that one of its processes had, in MiB."""

    services: int
    run: Run

    def __str__(self) -> str:
        run = self.run
        return f"{self.services:>5} services: {run.cpu:>6.1f} s CPU, {run.wall:>6.1f} s wall, {run.peak >> 20:>5} MiB"


class Fleets:
    """Fleets on one machine, told as they are compiled."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        shutil.copytree(ROOT / "stacks", machine.folder / "shipped" / "stacks")
        self.unit = self._shipped()

    def _shipped(self) -> float:
        """CPU seconds of `compile --check` of the shipped stacks, once all is warm."""
        self._ask(["compile"], _FITS, "shipped")
        found = min(self._ask(["compile", "--check"], _FITS, "shipped").cpu for _ in range(3))
        print(f"`compile --check` of the shipped stacks: {found:.2f} s CPU", flush=True)
        return found

    def _ask(self, words: Sequence[str], code: int, below: str) -> Run:
        run = self._machine.run([STACKC, *words], below=below)
        if run.code != code:
            raise SystemExit(f"{' '.join(words)} ended with {run.code}, not {code}:\n" + "\n".join(run.lines[:20]))
        return run

    def fitting(self, services: int, nodes: int) -> Compiled:
        """A fleet that fits, compiled for the first time."""
        below = self._write(f"fits-{services}", fitting(services, nodes))
        found = Compiled(services, self._ask(["compile"], _FITS, below))
        print(f"fits, {found}", flush=True)
        return found

    def again(self, services: int) -> None:
        """The same fleet, unchanged."""
        for words in (["compile"], ["compile", "--check"]):
            print(f"unchanged, {Compiled(services, self._ask(words, _FITS, f'fits-{services}'))}", flush=True)

    def overfull(self, nodes: int) -> Compiled:
        """A fleet with a service too many, to the error with its helps."""
        data, lock = overfull(nodes)
        run = self._ask(["compile"], _DOES_NOT_FIT, self._write("overfull", (data, lock)))
        said = "\n".join(run.lines)
        if "[E0401]" not in said or "= help: " not in said:
            raise SystemExit("not the error that was expected, with helps:\n" + "\n".join(run.lines[:20]))
        found = Compiled(len(data["services"]), run)
        print(f"full,  {found}", flush=True)
        return found

    def _write(self, below: str, fleet: tuple[dict[str, Any], Lock]) -> str:
        data, lock = fleet
        folder = self._machine.folder / below / "stacks"
        folder.mkdir(parents=True)
        spec = folder / f"{data['stack']}.yaml"
        spec.write_text(json.dumps(data, indent=1), encoding="utf-8")
        spec.with_suffix(".lock.yaml").write_text(format_lock(lock), encoding="utf-8")
        return below


def exponent(curve: Sequence[Compiled]) -> float:
    """Of CPU seconds over services, by least squares of the logarithms."""
    points = [(math.log(each.services), math.log(each.run.cpu)) for each in curve]
    middle = [sum(values) / len(points) for values in zip(*points, strict=True)]
    above: float = sum((x - middle[0]) * (y - middle[1]) for x, y in points)
    below: float = sum((x - middle[0]) * (x - middle[0]) for x, _ in points)
    return above / below


def main() -> None:
    """Print a line for each run; with --json, all figures as the last line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--services", type=int, default=500)
    parser.add_argument("--nodes", type=int, default=None, help="half as many as services where it is not given")
    parser.add_argument("--to", type=int, default=None, help="services of the largest fleet of the curve")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    nodes = asked.nodes or asked.services // 2
    with new_machine() as folder:
        fleets = Fleets(Machine(Path(folder)))
        most = asked.to or asked.services
        sizes = itertools.takewhile(lambda size: size <= most, _SIZES)
        curve = [
            fleets.fitting(size, max(1, size * nodes // asked.services)) for size in sorted({*sizes, asked.services})
        ]
        whole = next(each for each in curve if each.services == asked.services)
        fleets.again(asked.services)
        full = fleets.overfull(nodes)
    if asked.json:
        print(json.dumps(_figures(whole, full, curve, fleets.unit)))


def _figures(whole: Compiled, full: Compiled, curve: Sequence[Compiled], unit: float) -> dict[str, dict[str, float]]:
    fits = {"cpu": whole.run.cpu, "ratio": whole.run.cpu / unit, "peak_mib": whole.run.peak / (1 << 20)}
    grows = {"exponent": exponent(curve)} if len(curve) > 1 else {}
    infeasible = {"cpu": full.run.cpu, "ratio": full.run.cpu / unit}
    return {"fits": _rounded(fits | grows), "infeasible": _rounded(infeasible)}


def _rounded(figures: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 2) for name, value in figures.items()}


if __name__ == "__main__":
    main()
