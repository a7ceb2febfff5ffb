"""One attempt at a spec as it stands: variants, placement, budget. No remedies are looked for here."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import replace

from compiler.catalog.gpus import GPUS
from compiler.catalog.releases import Release
from compiler.diagnostics import Edit
from compiler.lock.models import Lock
from compiler.memory.ledger import Verdict
from compiler.solve.budget import Solution, budget
from compiler.solve.demand import Device, Setting
from compiler.solve.place import Choice, Measure, NoSplit, Shortfall, place
from compiler.solve.problem import Problem, Remedy
from compiler.solve.shortfall import margin_problem, shortfall_problem, split_problem
from compiler.solve.support import fp8_cache_refusal
from compiler.solve.variants import Rules, Variant, usable_variants
from compiler.spec.models import GpusSpec, NodeSpec, Spec
from compiler.units import ByteRange

# Sequences at once where the spec does not say: the most that fits. Even more would cost gigabytes of sampler state
# that a KV cache uses better.
DEFAULT_MAX_NUM_SEQS = (256, 128, 64, 32, 16, 8)

# Combinations of variants that are tried, best quality first, before the last one is reported.
MAX_COMBINATIONS = 64


def attempt(spec: Spec, lock: Lock, release: Release) -> Solution | tuple[Problem, ...]:
    """A solution, or every problem found. The spec has passed its own checks and the lock answers it."""
    devices = devices_of(next(iter(spec.nodes.values())))
    variants, problems = _variants(spec, lock, release, devices[0])
    if problems:
        return problems
    found = _first_fit(spec, variants, release, devices, measure=_high, verdict=Verdict.FITS)
    if isinstance(found, Solution | NoSplit):
        return (split_problem(found, spec),) if isinstance(found, NoSplit) else found
    within_margin = _first_fit(spec, variants, release, devices, measure=_expected, verdict=Verdict.MARGIN)
    if not isinstance(within_margin, Solution):
        return (shortfall_problem(found, spec, devices),)
    # What fits only if the estimates are no worse than expected is served only where the policy says so.
    if spec.policy.margin == "allow":
        return within_margin
    return (margin_problem(_missed_by(spec, within_margin, release, devices), spec, devices),)


def _missed_by(spec: Spec, solution: Solution, release: Release, devices: tuple[Device, ...]) -> Shortfall:
    """By how much the variants of a solution within the margin miss a proof."""
    chosen = {server.demand.service: server.demand.variant for server in solution.servers}
    found = place(Choice(spec.services, chosen, Setting(release, devices, DEFAULT_MAX_NUM_SEQS[-1]), _high))
    assert isinstance(found, Shortfall)  # noqa: S101  these variants were tried, and splitting them is legal
    return found


def _first_fit(
    spec: Spec,
    variants: Mapping[str, tuple[Variant, ...]],
    release: Release,
    devices: tuple[Device, ...],
    *,
    measure: Measure,
    verdict: Verdict,
) -> Solution | Shortfall | NoSplit:
    """The best quality that fits, with the most sequences at once that it then allows."""
    failure: Shortfall | NoSplit | None = None
    for chosen in _combinations(variants):
        least = Choice(spec.services, chosen, Setting(release, devices, DEFAULT_MAX_NUM_SEQS[-1]), measure)
        found = place(least)
        if not isinstance(found, tuple):
            failure = found
            continue
        for sequences in DEFAULT_MAX_NUM_SEQS:
            choice = replace(least, setting=Setting(release, devices, sequences))
            found = place(choice)
            if isinstance(found, tuple):
                return budget(found, choice, verdict)
    assert failure is not None  # noqa: S101  there is at least one combination
    return failure


def _high(size: ByteRange) -> int:
    return size.high


def _expected(size: ByteRange) -> int:
    return size.expected


def _variants(
    spec: Spec, lock: Lock, release: Release, device: Device
) -> tuple[dict[str, tuple[Variant, ...]], tuple[Problem, ...]]:
    rules = Rules(spec.policy, release, device.capability)
    variants: dict[str, tuple[Variant, ...]] = {}
    problems: list[Problem] = []
    for name, service in spec.services.items():
        usable, found = usable_variants(name, service, lock, rules)
        problems.extend(found)
        variants[name] = usable
        if service.kv_cache_dtype == "fp8" and usable:
            refusal = fp8_cache_refusal(device.capability, usable[0].architecture.head_dim)
            if refusal is not None:
                edit = Edit(("services", name, "kv_cache_dtype"), None)
                remedy = Remedy("remove `kv_cache_dtype`", (edit,), kind="kv_cache_dtype")
                problems.append(Problem("E0308", name, ("kv_cache_dtype",), refusal, remedies=(remedy,)))
    return variants, tuple(problems)


def _combinations(variants: Mapping[str, tuple[Variant, ...]]) -> Iterator[dict[str, Variant]]:
    """Choices of one variant per service, least loss of quality over all services first."""
    names = sorted(variants)
    ranks = itertools.product(*(range(len(variants[name])) for name in names))
    for choice in itertools.islice(sorted(ranks, key=lambda ranks: (sum(ranks), ranks)), MAX_COMBINATIONS):
        yield {name: variants[name][rank] for name, rank in zip(names, choice, strict=True)}


def devices_of(node: NodeSpec) -> tuple[Device, ...]:
    """The devices of a node, in index order."""
    if node.cpu is not None:
        return (Device("CPU", node.cpu.memory, "declared in the spec", node.reserve, None),)
    assert node.gpus is not None  # noqa: S101  checks.py refuses a node that is neither
    return (gpu_device(node.gpus, node.reserve),) * node.gpus.count


def gpu_device(gpus: GpusSpec, reserve: int) -> Device:
    """One GPU, by its catalog entry or its own figures; figures in the spec win."""
    known = GPUS.get(gpus.model) if gpus.model is not None else None
    memory = gpus.memory if gpus.memory is not None else known.memory if known else 0
    if gpus.compute_capability is not None:
        major, minor = map(int, gpus.compute_capability.split("."))
        capability = (major, minor)
    else:
        capability = known.compute_capability if known else (0, 0)
    source = "declared in the spec" if gpus.memory is not None or known is None else known.memory_source
    title = known.title if known else gpus.model or f"GPU with {capability[0]}.{capability[1]}"
    return Device(title, memory, source, reserve, capability)
