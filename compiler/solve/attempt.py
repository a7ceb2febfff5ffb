"""One attempt at a spec as it stands: variants, placement, budget. No remedies are looked for here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from compiler.catalog.hardware.gpus import GPUS, shares_memory, system_memory
from compiler.catalog.vllm.releases import Release
from compiler.engines.interface.problem import Problem
from compiler.engines.interface.terms import DEFAULT_MAX_NUM_SEQS, least_terms
from compiler.engines.vllm.demand import Device, Setting
from compiler.engines.vllm.judge.variants import Variant
from compiler.ledger import Verdict
from compiler.lock.models import Lock
from compiler.solve.budget import Solution, budget
from compiler.solve.field import combinations, field_problems, judge_field, smallest, worth_trying
from compiler.solve.grow import Grown, grow
from compiler.solve.place import Assignment, Choice, Shortfall, place, sharing, stay
from compiler.solve.shortfall import Tried, margin_problem, shortfall_problem
from compiler.spec.models import GpusSpec, NodeSpec, Spec
from compiler.units import ByteRange


def attempt(spec: Spec, lock: Lock, release: Release, *, is_trial: bool = False) -> Solution | tuple[Problem, ...]:
    """A solution, or every problem found. The spec has passed its own checks and the lock answers it.

    Args:
        is_trial: it only matters whether there is a solution: a lack of memory has no reasons then.
    """
    return attempt_on(devices_of(next(iter(spec.nodes.values()))), spec, lock, release, is_trial=is_trial)


def attempt_on(
    devices: tuple[Device, ...], spec: Spec, lock: Lock, release: Release, *, is_trial: bool = False
) -> Solution | tuple[Problem, ...]:
    """The same on any devices."""
    field = judge_field(spec, lock, release, devices)
    problems = field_problems(field, spec, lock, devices[0])
    if problems:
        return problems
    terms = {name: least_terms(service) for name, service in spec.services.items()}
    least = Choice(terms, {}, least_setting(release, devices), high)
    variants = worth_trying(field, least)
    found = _first_fit(spec, variants, least, Verdict.FITS)
    if isinstance(found, Solution):
        return found
    if is_trial and spec.policy.margin != "allow":
        return ()
    within_margin = _first_fit(spec, variants, replace(least, measure=expected), Verdict.MARGIN)
    if not isinstance(within_margin, Solution):
        return () if is_trial else (shortfall_problem(found, Tried(spec, devices, variants, least)),)
    # What fits only if the estimates are no worse than expected is served only where the policy says so.
    if spec.policy.margin == "allow":
        return within_margin
    return (margin_problem(_missed_by(within_margin, least), Tried(spec, devices, variants, least)),)


def _missed_by(solution: Solution, least: Choice) -> Shortfall:
    """By how much the variants of a solution within the margin miss a proof."""
    found = place(least.exchanged({server.demand.service: server.demand.variant for server in solution.servers}))
    assert isinstance(found, Shortfall)  # noqa: S101  these variants were tried
    return found


def _first_fit(
    spec: Spec, variants: Mapping[str, tuple[Variant, ...]], least: Choice, verdict: Verdict
) -> Solution | Shortfall:
    """The best quality that fits, with the most sequences at once that it then allows.

    Args:
        least: what is placed, with the fewest sequences; its variants are exchanged.
    """
    last = smallest(variants, least)
    failure = place(last) if last is not None else None
    if isinstance(failure, Shortfall):
        return failure
    for chosen in combinations(variants):
        choice = least.exchanged(chosen)
        found = place(choice)
        if isinstance(found, tuple):
            return _seated(grow(spec.services, choice, found), verdict)
        failure = found
    assert isinstance(failure, Shortfall)  # noqa: S101  there is at least one combination
    return failure


def _seated(grown: Grown, verdict: Verdict) -> Solution:
    """What fits, with as many sequences at once as still fit; what shares no device does not hold others down."""
    groups = sharing(grown.assignments)
    for sequences in DEFAULT_MAX_NUM_SEQS[: 1 if len(groups) > 1 else -1]:
        more = grown.choice.seating(sequences)
        found = place(more)
        assignments = found if isinstance(found, tuple) else stay(more, grown.assignments)
        if assignments is not None:
            return budget(assignments, more, verdict)
    seated = [assignment for group in groups for assignment in _seated_alone(grown.choice, group)]
    return budget(seated, grown.choice, verdict)


def _seated_alone(choice: Choice, group: tuple[Assignment, ...]) -> tuple[Assignment, ...]:
    """A group of services where it is, with as many sequences as its devices allow."""
    here = replace(choice, services={each.demand.service: choice.services[each.demand.service] for each in group})
    for sequences in DEFAULT_MAX_NUM_SEQS[:-1]:
        stayed = stay(here.seating(sequences), group)
        if stayed is not None:
            return stayed
    return group


def least_setting(release: Release, devices: tuple[Device, ...]) -> Setting:
    """The setting in which every service takes least."""
    return Setting(release, devices)


def high(size: ByteRange) -> int:
    """Counts what a proof counts."""
    return size.high


def expected(size: ByteRange) -> int:
    """Counts what is likely."""
    return size.expected


def devices_of(node: NodeSpec) -> tuple[Device, ...]:
    """The devices of a node, in index order."""
    if node.cpu is not None:
        return (Device("CPU", node.cpu.memory, "declared in the spec", node.reserve, None),)
    assert node.gpus is not None  # noqa: S101  checks.py refuses a node that is neither
    return (gpu_device(node.gpus, node.reserve),) * node.gpus.count


def gpu_device(gpus: GpusSpec, reserve: int) -> Device:
    """One GPU or slice of one, by its catalog entry or its own figures; figures in the spec win."""
    known = GPUS.get(gpus.model) if gpus.model is not None else None
    profile = known.profile(gpus.mig) if known is not None and gpus.mig is not None else None
    if gpus.compute_capability is not None:
        major, minor = map(int, gpus.compute_capability.split("."))
        capability = (major, minor)
    else:
        capability = known.compute_capability if known else (0, 0)
    title = known.title if known else gpus.model or f"GPU of compute capability {capability[0]}.{capability[1]}"
    title = f"{title} MIG {gpus.mig}" if gpus.mig is not None else title
    count = profile.multiprocessors if profile is not None else known.multiprocessors if known is not None else None
    memory, source = _memory(gpus)
    # What the system holds of a memory that CPU and GPU share is reserved, unless the spec reserves more.
    held = system_memory(memory) if shares_memory(capability) else 0
    return Device(title, memory, source, max(reserve, held), capability, count)


def _memory(gpus: GpusSpec) -> tuple[int, str]:
    """Bytes of one GPU or slice, and where they are from."""
    if gpus.memory is not None:
        return gpus.memory, "declared in the spec"
    assert gpus.model is not None  # noqa: S101  checks.py refuses GPUs with neither a model nor figures
    known = GPUS[gpus.model]
    profile = known.profile(gpus.mig) if gpus.mig is not None else None
    return (known.memory, known.memory_source) if profile is None else (profile.memory, profile.memory_source)
