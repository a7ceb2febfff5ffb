"""How long questions about many cards and many models take, and how many models can be asked about without the Hub.

    python -m benchmarks.choose [--json] [--runs N]

Whole processes with a home and caches of their own, in CPU seconds, the median of some runs after one that warms;
questions about many models in this process, whose time is that of the first card and of others after it. A model plans
where some card or machine of the catalog has room for it, or where it is known by how much none has.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import process_time

from benchmarks.processes import STACKC, Machine, new_machine
from compiler.choose.candidates import Candidates, candidates_of
from compiler.choose.demand import gpus
from compiler.choose.fits import Fit, ask
from compiler.choose.least import usual_demand
from compiler.registry.read import registry

MODELS = (
    *("Qwen/Qwen3-8B", "google/gemma-3-27b-it", "openai/gpt-oss-120b", "Qwen/Qwen3.5-35B-A3B"),
    *("deepseek-ai/DeepSeek-V3.1", "Qwen/Qwen3-Embedding-8B"),
)
CARDS = ("rtx-4090", "l4", "a100-80gb", "b200")
"""Each of another compute capability, for which candidates are judged anew."""
LARGEST = ("b300", 8)
"""On which a model is asked about that fits on none of CARDS."""


@dataclass(frozen=True)
class Figure:
    """Something counted or timed, and its bound: at most so much of time, at least so many of models."""

    what: str
    found: float
    bound: float
    unit: str

    @property
    def is_met(self) -> bool:
        """Whether it is within its bound."""
        return self.found >= self.bound if self.unit == "models" else self.found <= self.bound

    def __str__(self) -> str:
        word = "at least" if self.unit == "models" else "at most"
        found = f"{self.found:.2f}".removesuffix(".00")
        return f"{'met ' if self.is_met else 'MISS'}  {self.what}: {found} {self.unit}, {word} {self.bound:g}"


def one_model(machine: Machine, runs: int) -> Iterator[Figure]:
    """`stackc fit MODEL` over all cards, and `stackc models info`, of models of every kind."""
    commands = [(STACKC, "fit", model) for model in MODELS] + [(STACKC, "models", "info", MODELS[0])]
    times = machine.in_turn(commands, runs)
    for command, found in zip(commands, times, strict=True):
        yield Figure(" ".join(("stackc", *command[1:])), statistics.median(found), 0.5, "CPU s")


def many_models(found: Sequence[Candidates]) -> Iterator[Figure]:
    """All models on each of some cards, with all their variants, as a recommendation asks."""
    count = sum(len(each.models) for each in found)
    times = []
    for card in CARDS:
        begun = process_time()
        for each in found:
            _fit(each, card)
        times.append(process_time() - begun)
    title = f"{len(found)} models of {count} checkpoints on {len(CARDS)} cards"
    yield Figure(f"{title}, of which the first takes {times[0]:.2f} s", sum(times), 1.2, "CPU s")


def _fit(each: Candidates, card: str, count: int = 1) -> Fit:
    return ask(each.models, gpus(card, count), usual_demand(each.entry), wants_most=False)


def plannable() -> tuple[list[Candidates], Mapping[str, str]]:
    """Models that plan, and of the others the reason."""
    planned: list[Candidates] = []
    reasons: dict[str, str] = {}
    for entry in registry().models.values():
        found = candidates_of(entry)
        why = _why_not(found)
        if why is None:
            planned.append(found)
        else:
            reasons[entry.id] = why
    return planned, reasons


def _why_not(found: Candidates) -> str | None:
    if not found.models:
        return found.unplannable[0].reason if found.unplannable else "no facts"
    tries = [(card, 1) for card in CARDS] + [LARGEST]
    fits = (_fit(found, card, count) for card, count in tries)
    last = None
    for fit in fits:
        if fit.verdict is not None:
            return None
        last = fit
    return last.reason if last is not None else None


def main() -> None:
    """Print each figure beside its bound, and the models that do not plan."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one object alone")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    gc.set_threshold(200_000)  # as the command line has it
    candidates = [each for each in map(candidates_of, registry().models.values()) if each.models]
    figures = list(many_models(candidates))
    planned, reasons = plannable()
    figures.append(Figure(f"of {len(planned) + len(reasons)} models plan offline", len(planned), 250, "models"))
    with new_machine() as folder:
        figures += one_model(Machine(Path(folder)), options.runs)
    if options.json:
        print(json.dumps({"figures": [asdict(each) for each in figures], "not_planned": reasons}, indent=1))
        return
    for figure in figures:
        print(figure)
    for reason, count in Counter(reasons.values()).most_common():
        names = ", ".join(name for name, why in reasons.items() if why == reason)
        print(f"{count} not planned: {reason}: {names}")


if __name__ == "__main__":
    main()
