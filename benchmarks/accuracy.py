"""Replays real vLLM start-ups: `python -m benchmarks.accuracy --cases FILE … --hub DIR [--json]`.

FILE holds a start-up a line, DIR/models/<org>__<name>/config.json the models' configs. Each start-up is laid out as its
own release did. First come the figures by which the ledger is judged; then activation, memory outside torch and KV
tokens on the 0.19 releases, whose overheads are measured, and on others. With --json the last line is one object.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cases import Case, card_of, read_cases
from benchmarks.estimators import Estimate, hf_mem, llmd_planner
from benchmarks.figures import Inside, insides, interval_width, is_recent_and_discrete
from benchmarks.startups import Prediction, UnjudgedError, facts, predict
from compiler.checkpoints.parameters.ranks import Parallelism
from compiler.checkpoints.parameters.weights import rank_weights
from compiler.checkpoints.quantization.read import read_quantization
from compiler.checkpoints.read import read_architecture
from compiler.lock.quantization import checkpoint_format
from compiler.units import GIB

_CALIBRATED = (0, 19)
_COMPONENTS = ("weights", "activation", "non_torch", "kv_tokens")
_RELATIVE = ("weights", "kv_tokens")


@dataclass(frozen=True, slots=True)
class Error:
    """One component of one case: what was said and what was measured, in GiB or tokens."""

    case: Case
    component: str
    said: float
    measured: float

    @property
    def size(self) -> float:
        """Without its sign; relative for weights and tokens."""
        difference = abs(self.said - self.measured)
        return difference / self.measured if self.component in _RELATIVE else difference


@dataclass(frozen=True, slots=True)
class Replay:
    """All cases: their predictions, or why there is none."""

    judged: Mapping[str, tuple[Case, Prediction]]
    unjudged: Mapping[str, str]


def replay(cases: Iterable[Case], hub: Path) -> Replay:
    """Predict every case."""
    judged: dict[str, tuple[Case, Prediction]] = {}
    unjudged: dict[str, str] = {}
    for case in cases:
        try:
            judged[case.name] = (case, predict(case, hub))
        except UnjudgedError as error:
            unjudged[case.name] = str(error)
    return Replay(judged, unjudged)


def errors(found: Replay) -> tuple[Error, ...]:
    """Every component that was both predicted and measured."""
    return tuple(error for case, said in found.judged.values() for error in _errors(case, said))


def _errors(case: Case, said: Prediction) -> Iterable[Error]:
    pairs = (
        ("weights", said.weights / GIB, case.measured("weights_gib")),
        ("activation", said.activation and said.activation.expected / GIB, case.measured("activation_peak_gib")),
        ("non_torch", said.non_torch.expected / GIB, case.measured("non_torch_increase_gib")),
        ("kv_tokens", said.tokens, case.measured_tokens() if case.started and not case.shares_gpu else None),
    )
    for component, value, measured in pairs:
        if value is not None and measured:
            yield Error(case, component, value, measured)


def summary(sizes: Sequence[float]) -> dict[str, float]:
    """Count, mean, median, 95th percentile and maximum."""
    if not sizes:
        return {"n": 0, "mean": 0.0, "median": 0.0, "p95": 0.0, "max": 0.0}
    ordered = sorted(sizes)
    rank = max(0, -(-len(ordered) * 95 // 100) - 1)
    return {
        "n": len(ordered),
        "mean": statistics.fmean(ordered),
        "median": statistics.median(ordered),
        "p95": ordered[rank],
        "max": ordered[-1],
    }


def component_errors(found: Sequence[Error], component: str, *, calibrated: bool = True) -> tuple[Error, ...]:
    """Errors of a component: weights on every release, the rest on the calibrated one or on the others."""
    return tuple(
        error
        for error in found
        if error.component == component and (component == "weights" or (error.case.number == _CALIBRATED) is calibrated)
    )


def recent_tokens(found: Sequence[Error]) -> tuple[Error, ...]:
    """Errors of capacity since 0.21, which charges graphs, on GPUs with a memory of their own."""
    return tuple(error for error in found if error.component == "kv_tokens" and is_recent_and_discrete(error.case))


def safety(found: Replay) -> dict[str, int]:
    """How often `fits` was said of a start that failed for memory or by a rule, and the opposite of a good one."""
    verdicts = [(case, said.fits) for case, said in found.judged.values() if said.fits is not None]
    failed = [fits for case, fits in verdicts if case.memory_failure and not case.shares_gpu]
    started = [fits for case, fits in verdicts if case.started and not case.shares_gpu]
    return {
        "said_fits_failed": failed.count("fits"),
        "failed": len(failed),
        "said_unfit_started": started.count("unfit"),
        "started": len(started),
        "within_margin_failed": failed.count("margin"),
        "within_margin_started": started.count("margin"),
    }


def peer_errors(found: Replay, hub: Path) -> dict[str, dict[str, dict[str, float]]]:
    """The same summaries for the two published estimators, on the cases that stackc judged."""
    sizes: dict[str, dict[str, list[float]]] = {
        name: {component: [] for component in _COMPONENTS} for name in ("llm-d-planner", "hf-mem")
    }
    for case, said in found.judged.values():
        for name, estimate in _peers(case, hub).items():
            for error in _errors(case, said):
                value = _of(estimate, error.component)
                if value is not None and (error.component == "weights" or case.number == _CALIBRATED):
                    sizes[name][error.component].append(Error(case, error.component, value, error.measured).size)
    return {name: {each: summary(found) for each, found in rows.items()} for name, rows in sizes.items()}


def _peers(case: Case, hub: Path) -> dict[str, Estimate]:
    found = facts(case, hub)
    config = found.config
    quantization = read_quantization(checkpoint_format(found), found.quantization, config)
    size = rank_weights(read_architecture(config), quantization, Parallelism(), served_dtype="bfloat16")
    card, utilization = card_of(case), case.measured("gpu_memory_utilization")
    # It takes the number on the box: 80 GiB for a card of which CUDA reports 79.2.
    boxed = round(card.memory / GIB) * GIB if card is not None else None
    budget = boxed * utilization if boxed is not None and utilization is not None else None
    ranks, stages = case.count("tensor_parallel_size", 1), case.count("pipeline_parallel_size", 1)
    return {"llm-d-planner": llmd_planner(config, size, ranks, stages, budget), "hf-mem": hf_mem(size)}


def _of(estimate: Estimate, component: str) -> float | None:
    value = {
        "weights": estimate.weights,
        "activation": estimate.activation,
        "non_torch": estimate.non_torch,
        "kv_tokens": estimate.tokens,
    }[component]
    return value if value is None or component == "kv_tokens" else value / GIB


def result(found: Replay, hub: Path) -> dict[str, object]:
    """What --json prints."""
    every = errors(found)
    rows = {each: summary([error.size for error in component_errors(every, each)]) for each in _COMPONENTS}
    others = {
        each: summary([error.size for error in component_errors(every, each, calibrated=False)])
        for each in _COMPONENTS[1:]
    }
    above = [inside.above for inside in insides(found.judged)]
    return {
        **rows,
        "kv_tokens_since_0_21_discrete": summary([error.size for error in recent_tokens(every)]),
        "inside_above_high": {"n": len(above), "above": above.count(True)},
        "interval_width_gib": (width := interval_width(hub)) and width / GIB,
        "safety": safety(found),
        "unjudged": [{"id": name, "reason": reason} for name, reason in sorted(found.unjudged.items())],
        "other_releases": others,
        "peers": peer_errors(found, hub),
    }


def _table(rows: Mapping[str, Mapping[str, float]]) -> Iterable[str]:
    yield f"  {'':<12} {'n':>4} {'mean':>9} {'median':>9} {'p95':>9} {'max':>9}"
    for component, row in rows.items():
        unit, scale = ("%", 100) if component in _RELATIVE else ("GiB", 1)
        figures = " ".join(f"{row[key] * scale:>9.3f}" for key in ("mean", "median", "p95", "max"))
        yield f"  {component:<12} {row['n']:>4} {figures} {unit}"


def _figures(found: Replay, every: Sequence[Error], hub: Path) -> Iterable[str]:
    """The figures that the documentation shows."""
    rows = {
        "weights, all releases": component_errors(every, "weights"),
        "activation, 0.19": component_errors(every, "activation"),
        "KV tokens, 0.19": component_errors(every, "kv_tokens"),
        "KV tokens, 0.21 and later, discrete GPUs": recent_tokens(every),
    }
    for title, errors_of in rows.items():
        yield f"{title}: {_in_short(errors_of)}"
    above, counts = tuple(insides(found.judged)), safety(found)
    yield f"memory inside the budget above the ledger's high: {_above(above)}"
    width = interval_width(hub)
    if width is not None:
        yield f"interval width, one rank, 24 GB card, 8B model: {width / GIB:.2f} GiB"
    yield f"said fits, failed: {counts['said_fits_failed']} of {counts['failed']}"
    yield f"said does not fit, started: {counts['said_unfit_started']} of {counts['started']}"
    yield f"within the margin, started: {counts['within_margin_started']} of {counts['started']}"
    yield f"within the margin, failed: {counts['within_margin_failed']} of {counts['failed']}"


def _in_short(found: Sequence[Error]) -> str:
    row = summary([error.size for error in found])
    relative = bool(found) and found[0].component in _RELATIVE
    unit, scale = ("%", 100) if relative else ("GiB", 1)
    names = ("mean", "median", "p95", "max")
    return f"{row['n']} start-ups, " + ", ".join(f"{name} {row[name] * scale:.3f} {unit}" for name in names)


def _above(found: Sequence[Inside]) -> str:
    names = [inside.case.name for inside in found if inside.above]
    return f"{len(names)} of {len(found)}" + (f" ({', '.join(names)})" if names else "")


def report(found: Replay, hub: Path, *, worst: int) -> Iterable[str]:
    """The tables for people."""
    every = errors(found)
    release = ".".join(map(str, _CALIBRATED))
    yield f"{len(found.judged)} start-ups judged, {len(found.unjudged)} not"
    yield from _figures(found, every, hub)
    yield f"errors of stackc (weights on every release, the rest on {release}):"
    yield from _table({each: summary([e.size for e in component_errors(every, each)]) for each in _COMPONENTS})
    yield "on other releases:"
    others = {each: component_errors(every, each, calibrated=False) for each in _COMPONENTS[1:]}
    yield from _table({each: summary([error.size for error in rows]) for each, rows in others.items()})
    for name, rows in peer_errors(found, hub).items():
        yield f"{name} on the same start-ups:"
        yield from _table({each: row for each, row in rows.items() if row["n"]})
    for component in _COMPONENTS if worst else ():
        ranked = sorted((e for e in every if e.component == component), key=lambda error: -error.size)
        yield f"worst {component}:"
        for error in ranked[:worst]:
            release = str(error.case.data.get("vllm_version"))
            yield f"  {error.case.name} {error.case.model} {release}: said {error.said:.2f}, was {error.measured:.2f}"
    yield "not judged:"
    for case, reason in sorted(found.unjudged.items()):
        yield f"  {case}: {reason}"


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description="Replay real vLLM start-ups.")
    parser.add_argument("--cases", type=Path, required=True, action="append", help="a start-up a line; may be repeated")
    parser.add_argument("--hub", type=Path, required=True, help="folder with models/<org>__<name>/config.json")
    parser.add_argument("--json", action="store_true", help="print one object as the last line")
    parser.add_argument("--worst", type=int, default=0, help="list that many of the largest errors")
    options = parser.parse_args()
    found = replay((case for path in options.cases for case in read_cases(path)), options.hub)
    for line in report(found, options.hub, worst=options.worst):
        print(line)
    if options.json:
        print(json.dumps(result(found, options.hub)))


if __name__ == "__main__":
    main()
