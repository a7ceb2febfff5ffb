"""`stackc fit`: a one-off question. It is asked as a spec of one service, in a folder that is gone afterwards.

Facts come from a lock in `stacks/` if one holds the model, else from the registry, else from the cache and the Hub, as
for `stackc lock`.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import click

from compiler.catalog.hardware.gpus import GPUS, same_gpus
from compiler.checks.read import lock_path
from compiler.choose.demand import SERVICE
from compiler.cli.loudness import Loudness, SpecLevels, loudness
from compiler.cli.report import finish
from compiler.cli.run.explain import candidate_lines, judgement_object, service_lines
from compiler.cli.run.fit.facts import Known, known_facts, unusable_rows, with_nearest
from compiler.cli.run.fit.question import Cards, FitQuestion, fit_question
from compiler.cli.run.lock import lock_spec
from compiler.cli.terminal import wrapped
from compiler.diagnostics import Diagnostic, Help, has_errors
from compiler.diagnostics.levels import Levels
from compiler.diagnostics.looking import Looking
from compiler.ledger import Verdict
from compiler.lock.file import read_lock, write_lock
from compiler.lock.models import Lock
from compiler.pipeline import Explained, explain_stack
from compiler.plan.ir import DeviceLedger, Plan, Service
from compiler.resolve.cache import Cache
from compiler.resolve.transport.hub import Hub
from compiler.source.cache import cache_folder
from compiler.targets.plan_json import plan_object
from compiler.units import ByteRange, format_gib, format_tokens


def run(
    model: str,
    cards: Cards,
    *,
    form: str,
    asks_hub: bool,
    assume: str | None,
    looking: Looking,
    levels: SpecLevels,
    **options: Any,
) -> NoReturn:
    """Ask the question about one kind of card, tell the answer, and end the run."""
    if cards.gpu not in GPUS and len(cards.figures) < _BOTH:
        same = f"did you mean {' or '.join(same_gpus(cards.gpu))}? " if same_gpus(cards.gpu) else ""
        raise click.UsageError(
            f"unknown GPU {cards.gpu}: {same}`stackc gpus` lists them; --memory and --compute-capability describe any "
            "other"
        )
    question = fit_question(model, cards, **options)
    known = None if asks_hub else known_facts(question)
    explain = partial(explain_stack, assumes_full=assume == "full", looking=looking)
    # A question belongs to the folder in which it is asked.
    _answer(question, known, form, levels.for_spec(Path("fit.yaml")), explain=explain)


_BOTH = 2


def _answer(
    question: FitQuestion,
    known: Known | None,
    form: str,
    levels: Levels,
    *,
    explain: Callable[[Path, str], tuple[Explained | None, tuple[Diagnostic, ...]]],
) -> NoReturn:
    known = known or Known("the Hub", question, lock_from_hub(question, form, levels))
    with tempfile.TemporaryDirectory(prefix="stackc-fit-") as folder:
        path = Path(folder) / "fit.yaml"
        path.write_text(json.dumps(known.question.data, indent=1), encoding="utf-8")  # JSON is YAML
        write_lock(lock_path(path), known.lock)
        explained, found = explain(path, "fit.yaml")
    found = levels.applied(question.typed.quoting(_without_file(each)) for each in found)
    found = (*known.warnings, *found)
    if explained is None:
        finish(form, found, result={}, lines=())
    rows = explained.candidates[SERVICE]
    verdict = explained.plans[0].verdict if explained.plans else _verdict(found)
    result: dict[str, Any] = {"facts_from": known.source, "candidates": [judgement_object(row) for row in rows]}
    result["verdict"] = verdict.value if verdict is not None else None
    lines = [f"facts from {known.source}", *candidate_lines(rows)]
    for plan in explained.plans:  # a question has one node
        result["plan"] = plan_object(plan)
        lines = [
            *_summary(plan),
            *service_lines(plan, plan.services[0], sources=loudness() is Loudness.VERBOSE),
            *lines,
        ]
    finish(form, found, result=result, lines=lines)


def _without_file(diagnostic: Diagnostic) -> Diagnostic:
    """There is no file whose lock the user could repair."""
    if diagnostic.code != "W0301":
        return diagnostic
    return replace(diagnostic, helps=(Help("`stackc fit --hub` reads them from the Hub"),))


def lock_from_hub(question: FitQuestion, form: str, levels: Levels) -> Lock:
    """What the Hub says of a question's model; where it says nothing of use, the run ends."""
    hub = Hub()
    with tempfile.TemporaryDirectory(prefix="stackc-fit-") as folder:
        path = Path(folder) / "fit.yaml"
        path.write_text(json.dumps(question.data, indent=1), encoding="utf-8")
        cache = Cache(cache_folder(), hub.endpoint)
        diagnostics, _ = lock_spec(path, "fit.yaml", hub, cache=cache, levels=levels)
        lock, unread = read_lock(lock_path(path), "fit.lock.yaml") if not has_errors(diagnostics) else (None, ())
    if lock is None:
        found = with_nearest((*diagnostics, *unread), question)
        told = (*unusable_rows(question), *map(question.typed.quoting, found))
        finish(form, told, result={}, lines=())
    return lock


def _verdict(found: tuple[Diagnostic, ...]) -> Verdict | None:
    """Of a question without a plan; None where it failed for another reason than memory."""
    codes = {diagnostic.code for diagnostic in found}
    return Verdict.UNFIT if "E0401" in codes else Verdict.MARGIN if "E0402" in codes else None


def _summary(plan: Plan) -> Iterator[str]:
    """The answer in two sentences: what fits, and within which bounds."""
    service, cache = plan.services[0], plan.services[0].kv_cache
    most = {key: " (the most that fits)" if key in service.solved else "" for key in ("context", "concurrency")}
    used = [device for device in plan.devices if device.servers]
    yield from wrapped(
        f"{plan.verdict.value}: context {format_tokens(service.max_model_len)}{most['context']}, "
        f"concurrency {service.concurrency}{most['concurrency']}, on {len(used)} GPU{'s' * (len(used) > 1)}; "
        f"the KV cache holds {cache.capacity_tokens} tokens, {cache.max_concurrency} such requests",
        indent=0,
    )
    fullest = min(used, key=lambda device: device.slack)
    left = f"{format_gib(fullest.slack)} GiB left at most use"
    yield from wrapped(f"of {format_gib(fullest.total)} GiB: {_interval(fullest)}, {left}", indent=0)
    yield from (line for words in _layers(service) for line in wrapped(words, indent=0))


def _layers(service: Service) -> Iterator[str]:
    """Which quantization it is, and where its layers lie, for an engine that may keep some in main memory."""
    on_gpus, layers, hosted = (service.figures.get(key) for key in ("gpu_layers", "layers", "cpu_moe"))
    if not isinstance(on_gpus, int) or not isinstance(layers, int):
        return
    where = "all layers lie on GPUs" if on_gpus == layers else f"{on_gpus} of {layers} layers lie on GPUs"
    yield f"{service.model.quantization}: {where}" + (f", experts of {hosted} in main memory" if hosted else "")


def _interval(device: DeviceLedger) -> str:
    size: ByteRange = device.used
    low, expected, high = map(format_gib, (size.low, size.expected, size.high))
    return f"{expected} GiB expected, {low} at least, {high} at most"
