"""`stackc fit`: a one-off question. It is asked as a spec of one service, in a folder that is gone afterwards.

Facts come from a lock in `stacks/` if one holds the model, else from the cache and the Hub, as for `stackc lock`.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import click

from compiler.catalog.hardware.gpus import GPUS, same_gpus
from compiler.catalog.vllm.releases import RELEASES
from compiler.checks.read import lock_path
from compiler.cli.loudness import Loudness, SpecLevels, loudness
from compiler.cli.quoted import CommandLine, command_line
from compiler.cli.report import finish
from compiler.cli.run.explain import candidate_lines, judgement_object, service_lines
from compiler.cli.run.lock import lock_spec
from compiler.cli.terminal import wrapped
from compiler.diagnostics import Diagnostic, Help, has_errors
from compiler.diagnostics.levels import Levels
from compiler.diagnostics.looking import Looking
from compiler.ledger import Verdict
from compiler.lock.file import read_lock, write_lock
from compiler.lock.models import Lock, LockedService
from compiler.lock.quantization import answers_quantization, quantization_method
from compiler.pipeline import Explained, explain_stack
from compiler.plan.ir import DeviceLedger, Plan
from compiler.resolve.cache import Cache
from compiler.resolve.transport.hub import Hub
from compiler.source.cache import cache_folder
from compiler.targets.plan_json import plan_object
from compiler.units import ByteRange, format_gib, format_tokens

_SERVICE = "server"
_LONGEST_NUMBER = 18
_SLICE = "MIG-00000000-0000-0000-0000-{:012}"


def _number(value: str) -> int | str:
    return int(value) if value.isascii() and value.isdecimal() and len(value) <= _LONGEST_NUMBER else value


def run(
    model: str,
    *,
    gpu: str,
    memory: str | None,
    compute_capability: str | None,
    mig: str | None,
    count: int,
    form: str,
    concurrency: str,
    publishers: tuple[str, ...],
    asks_hub: bool,
    assume: str | None,
    looking: Looking,
    levels: SpecLevels,
    **service: Any,
) -> NoReturn:
    """Ask the question, tell the answer, and end the run."""
    if gpu not in GPUS and (memory is None or compute_capability is None):
        same = f"did you mean {' or '.join(same_gpus(gpu))}? " if same_gpus(gpu) else ""
        raise click.UsageError(
            f"unknown GPU {gpu}: {same}`stackc gpus` lists them; --memory and --compute-capability describe any other"
        )
    if "\0" in model:
        raise click.UsageError("the name of a model holds no NUL")
    folder = os.path.realpath(model) if model.startswith((".", "/")) else model
    sizes = {key: value for key, value in service.items() if value is not None}
    ranks = sizes.get("tensor_parallel_size", 1) * sizes.get("pipeline_parallel_size", 1)
    figures = {"memory": memory, "compute_capability": compute_capability}
    own = {key: value for key, value in figures.items() if value is not None}
    gpus: dict[str, Any] = {"model": gpu, "count": max(count, ranks), **own}
    if mig is not None:
        gpus |= {"mig": mig, "uuids": [_SLICE.format(index) for index in range(gpus["count"])]}
    asked = {"model": folder, "port": 8000, "concurrency": _number(concurrency), **sizes}
    question = {
        "stack": "fit",
        "engine": {"vllm": next(r.version for r in RELEASES.values() if r.build == "gpu")},
        "nodes": {"node": {"gpus": gpus}},
        "services": {_SERVICE: asked},
        "policy": {"publishers": list(publishers), "gated": "allow"},
        # Nothing is deployed: images and packages are no part of the question.
        "targets": ["scripts"],
    }
    options: dict[str, tuple[str, Any]] = {"gpu": ("--gpu", gpu)}
    options |= {key: (f"--{key.replace('_', '-')}", value) for key, value in own.items()}
    options |= {"count": ("--count", count)} if count > 1 else {}
    options |= {"mig": ("--mig", mig)} if mig is not None else {}
    options |= {"concurrency": ("--concurrency", concurrency)}
    options |= {key: (_SHORT.get(key, f"--{key.replace('_', '-')}"), value) for key, value in sizes.items()}
    known = None if asks_hub else _known(folder, sizes["quantization"], publishers)
    explain = partial(explain_stack, assumes_full=assume == "full", looking=looking)
    typed = command_line(model, _typed(options))
    # A question belongs to the folder in which it is asked.
    _answer(question, known, form, levels.for_spec(Path("fit.yaml")), asked=typed, explain=explain)


_SHORT = {"tensor_parallel_size": "--tp", "pipeline_parallel_size": "--pp"}
# What is left to its default is not quoted, but for the size of the request, which an answer is about.
_SILENT = {"concurrency": "1", "task": "completion", "quantization": "auto", "kv_cache_dtype": "auto"}


def _typed(options: Mapping[str, tuple[str, Any]]) -> dict[str, tuple[str, Any]]:
    return {key: each for key, each in options.items() if _SILENT.get(key) != each[1]}


def _known(model: str, quantization: str, publishers: tuple[str, ...]) -> tuple[str, Lock] | None:
    """A lock of this folder that can answer, and where it is."""
    for path in sorted(Path("stacks").glob("*.lock.yaml")):
        lock, _ = read_lock(path, str(path))
        candidates = _candidates(lock, model, (quantization,)) if lock is not None else ()
        if lock is not None and candidates:
            trusted = tuple(sorted(set(publishers))) if quantization != "none" else ()
            service = LockedService(
                model=model, quantization=(quantization,), publishers=trusted, candidates=candidates
            )
            models = {name: lock.models[name] for name in candidates}
            return str(path), Lock(schema=1, services={_SERVICE: service}, models=models)
    return None


def _candidates(lock: Lock, model: str, asked: tuple[str, ...]) -> tuple[str, ...]:
    """The model itself where it needs no search for variants, else what a service of the lock found for the same."""
    facts = lock.models.get(model)
    is_alone = facts is not None and (asked == ("none",) or quantization_method(facts) != "none")
    if facts is not None and is_alone and answers_quantization(facts, asked):
        return (model,)
    same = (service for service in lock.services.values() if (service.model, service.quantization) == (model, asked))
    return next((service.candidates for service in same), ())


def _answer(
    question: dict[str, Any],
    known: tuple[str, Lock] | None,
    form: str,
    levels: Levels,
    *,
    asked: CommandLine,
    explain: Callable[[Path, str], tuple[Explained | None, tuple[Diagnostic, ...]]],
) -> NoReturn:
    with tempfile.TemporaryDirectory(prefix="stackc-fit-") as folder:
        path = Path(folder) / "fit.yaml"
        path.write_text(json.dumps(question, indent=1), encoding="utf-8")  # JSON is YAML
        if known is not None:
            write_lock(lock_path(path), known[1])
        else:
            _lock(path, form, levels, asked)
        explained, found = explain(path, "fit.yaml")
    found = levels.applied(asked.quoting(_without_file(each)) for each in found)
    if explained is None:
        finish(form, found, result={}, lines=())
    rows = explained.candidates[_SERVICE]
    source = known[0] if known is not None else "the Hub"
    verdict = explained.plans[0].verdict if explained.plans else _verdict(found)
    result: dict[str, Any] = {"facts_from": source, "candidates": [judgement_object(row) for row in rows]}
    result["verdict"] = verdict.value if verdict is not None else None
    lines = [f"facts from {source}", *candidate_lines(rows)]
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


def _lock(path: Path, form: str, levels: Levels, asked: CommandLine) -> None:
    hub = Hub()
    diagnostics, _ = lock_spec(path, "fit.yaml", hub, cache=Cache(cache_folder(), hub.endpoint), levels=levels)
    if has_errors(diagnostics):
        finish(form, tuple(map(asked.quoting, diagnostics)), result={}, lines=())


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


def _interval(device: DeviceLedger) -> str:
    size: ByteRange = device.used
    low, expected, high = map(format_gib, (size.low, size.expected, size.high))
    return f"{expected} GiB expected, {low} at least, {high} at most"
