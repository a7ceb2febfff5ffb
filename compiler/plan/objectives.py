"""What services are asked to be, against the estimates of what they will be.

An objective beyond the whole interval is an error, one within it a warning: about nine in ten measurements lie within.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from compiler.diagnostics import Diagnostic, Edit, Help, Label
from compiler.engines.interface.pinned import PinnedEngines, engine_of
from compiler.plan.ir import Plan
from compiler.plan.speed import Estimator, Measure, estimator
from compiler.solve.budget import Solution
from compiler.spec.reading.load import SpecFile
from compiler.spec.rollouts import written_edits
from compiler.speed.estimate import Estimate, Mark
from compiler.units import counted, format_rate, format_seconds, largest


@dataclass(frozen=True, slots=True)
class _Objective:
    """One of the objectives, and how an estimate is held against it.

    Attributes:
        key: of `objectives`.
        asked: as the spec has it.
        measured: the estimate that it is compared with.
        is_ceiling: whether the figure may not be larger, rather than not smaller.
        shown: a figure in words.
        written: a figure that holds, as a spec has it.
    """

    key: str
    asked: float
    measured: Callable[[Measure], Estimate]
    is_ceiling: bool
    shown: Callable[[float], str]
    written: Callable[[Estimate], str | int | float]

    def holds(self, figure: float) -> bool:
        """Whether a figure keeps it."""
        return figure <= self.asked if self.is_ceiling else figure >= self.asked

    def best(self, found: Estimate) -> float:
        """The end of an interval at which it is kept soonest."""
        return found.low if self.is_ceiling else found.high

    def worst(self, found: Estimate) -> float:
        """The other one."""
        return found.high if self.is_ceiling else found.low


def check_objectives(
    file: SpecFile, solutions: Mapping[str, Solution], engines: PinnedEngines, plans: tuple[Plan, ...]
) -> Iterator[Diagnostic]:
    """Every objective that is out of reach, that may not be kept, or of which nothing is known."""
    seats = {service.name: service.max_num_seqs for plan in plans for service in plan.services}
    said = set[object]()
    for node, solution in solutions.items():
        for server in solution.servers:
            name, spec = server.demand.service, file.spec.services[server.demand.service]
            if spec.objectives is None:
                continue
            engine = engine_of(spec, engines)
            found = estimator(engine, spec, file.spec.nodes[node], server, seats[name])
            for diagnostic in _judged(file, name, found, server.demand.terms.concurrency):
                # Of servers of one service, the first that misses it.
                place = (file.spec.service_of(name), diagnostic.code, diagnostic.label)
                if place not in said:
                    said.add(place)
                    yield diagnostic


def _judged(file: SpecFile, name: str, found: Estimator | None, concurrency: int) -> Iterator[Diagnostic]:
    measure = None if found is None else found.under(concurrency)
    for objective in _objectives(file, name):
        if found is None or measure is None:
            yield _unknown(file, name, objective)
            continue
        interval = objective.measured(measure)
        if not objective.holds(objective.best(interval)):
            yield _out_of_reach(file, name, objective, found, measure)
        elif not objective.holds(objective.worst(interval)):
            yield _doubtful(file, name, objective, found, measure)


def _objectives(file: SpecFile, name: str) -> Iterator[_Objective]:
    asked = file.spec.services[name].objectives
    if asked is None:
        return
    if asked.ttft_p95 is not None:
        yield _Objective("ttft_p95", asked.ttft_p95, _first_token, True, format_seconds, _ceiling)  # noqa: FBT003
    if asked.tokens_per_second is not None:
        yield _Objective("tokens_per_second", asked.tokens_per_second, _rate, False, _rate_text, _floor)  # noqa: FBT003


def _first_token(measure: Measure) -> Estimate:
    return measure.ttft_p95


def _rate(measure: Measure) -> Estimate:
    return measure.speed.request_rate


def _rate_text(rate: float) -> str:
    return f"{format_rate(rate)} tokens/s"


def _ceiling(found: Estimate) -> str:
    return f"{math.ceil(found.high * 1000)}ms" if found.high < 1 else f"{math.ceil(found.high * 10) / 10:g}s"


def _floor(found: Estimate) -> int | float:
    return math.floor(found.low) or math.floor(found.low * 100) / 100


def _out_of_reach(file: SpecFile, name: str, objective: _Objective, found: Estimator, measure: Measure) -> Diagnostic:
    best = objective.shown(objective.best(objective.measured(measure)))
    side = "at least" if objective.is_ceiling else "at most"
    message = f"`{objective.key}` of service `{name}` is out of reach: {side} {best}"
    notes = (*_arithmetic(objective, found, measure), *_nothing_alone(objective, found))
    helps = _helps(file, name, objective, found, measure)
    return Diagnostic("E0406", message, _place(file, name, objective), notes, helps)


def _doubtful(file: SpecFile, name: str, objective: _Objective, found: Estimator, measure: Measure) -> Diagnostic:
    message = f"`{objective.key}` of service `{name}` may not be kept: the estimate has figures on both sides of it"
    notes = _arithmetic(objective, found, measure)
    helps = _helps(file, name, objective, found, measure)
    return Diagnostic("W0401", message, _place(file, name, objective), notes, helps)


def _unknown(file: SpecFile, name: str, objective: _Objective) -> Diagnostic:
    message = f"`{objective.key}` of service `{name}` is not checked: nothing is known of its speed here"
    notes = ("estimates are there for whole GPUs of the catalogue, and for servers that write text",)
    helps = (Help("measure it on the server: `bin/smoke-test` and `bin/bench` compare with the objective"),)
    return Diagnostic("W0402", message, _place(file, name, objective), notes, helps)


def _place(file: SpecFile, name: str, objective: _Objective) -> Label:
    return file.at("services", name, "objectives", objective.key)


def _arithmetic(objective: _Objective, found: Estimator, measure: Measure) -> tuple[str, ...]:
    interval = objective.measured(measure)
    low, expected, high = map(objective.shown, (interval.low, interval.expected, interval.high))
    asked = f"asked for {objective.shown(objective.asked)}"
    load = f"{counted(measure.concurrency, 'request')} at once, of {found.prompt} + {found.answer} tokens"
    rests = measure.speed.ground
    ground = () if rests.mark is Mark.MEASURED else (f"{rests.mark.value}: {'; '.join(rests.reasons)}",)
    return (
        f"{asked}, estimated {low} to {high}, about {expected}",
        f"with {load}, its GPUs' other servers idle",
        *ground,
    )


def _nothing_alone(objective: _Objective, found: Estimator) -> tuple[str, ...]:
    alone = found.under(1)
    if alone is None or objective.holds(objective.best(objective.measured(alone))):
        return ()
    return (f"a request that is alone sees {objective.shown(objective.best(objective.measured(alone)))} at best",)


def _helps(file: SpecFile, name: str, objective: _Objective, found: Estimator, measure: Measure) -> tuple[Help, ...]:
    """Fewer requests at once, with which it is expected to hold, and a value that holds; both were predicted."""
    where = ("services", name)
    fewer = largest(measure.concurrency - 1, lambda count: _is_expected(objective, found, count))
    helps = []
    if fewer:
        service = file.spec.service_of(name)
        together = fewer * file.spec.servers_of(service)
        edits = written_edits(file.document.data, (Edit((*where, "concurrency"), together),))
        helps.append(Help(f"`concurrency: {together}` for `{service}`: then it is expected", edits))
    value = objective.written(objective.measured(measure))
    edits = written_edits(file.document.data, (Edit((*where, "objectives", objective.key), value),))
    return (*helps, Help(f"`{objective.key}: {value}`, which the whole estimate keeps", edits))


def _is_expected(objective: _Objective, found: Estimator, concurrency: int) -> bool:
    measure = found.under(concurrency)
    return measure is not None and objective.holds(objective.measured(measure).expected)
