"""One attempt at a spec as it stands: variants, placement, budget. No remedies are looked for here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import chain

from compiler.catalog.hardware.gpus import GPUS, shares_memory, system_memory
from compiler.engines.interface.demand import Variant
from compiler.engines.interface.device import Device, Machine
from compiler.engines.interface.pinned import PinnedEngines, engine_of
from compiler.engines.interface.problem import Problem
from compiler.engines.interface.terms import Terms
from compiler.ledger import Verdict
from compiler.lock.models import Lock
from compiler.solve.budget import Solution, budget
from compiler.solve.exact import Cost, find_place
from compiler.solve.field import MAX_COMBINATIONS, field_problems, judge_field, smallest, worth_trying
from compiler.solve.grow import Grown, grow, grow_on
from compiler.solve.place import Assignment, Choice, Shortfall, sharing, stay
from compiler.solve.quality import best_first, raised
from compiler.solve.ranking import Asked, offloading
from compiler.solve.settle import settled
from compiler.solve.shortfall import Tried, margin_problem, shortfall_problem
from compiler.spec.models import Spec
from compiler.spec.nodes.models import GpusSpec, NodeSpec
from compiler.spec.services import ServiceSpec
from compiler.units import ByteRange


def attempt(
    spec: Spec, lock: Lock, engines: PinnedEngines, *, is_trial: bool = False
) -> Solution | tuple[Problem, ...]:
    """A solution, or every problem found. The spec has passed its own checks and the lock answers it.

    Args:
        is_trial: it only matters whether there is a solution: a lack of memory has no reasons then.
    """
    return attempt_on(machine_of_stack(spec), spec, lock, engines, is_trial=is_trial)


def attempt_on(
    machine: Machine, spec: Spec, lock: Lock, engines: PinnedEngines, *, is_trial: bool = False
) -> Solution | tuple[Problem, ...]:
    """The same on any machine."""
    is_allowed = spec.policy.margin == "allow"
    found = first_fit(machine, spec, lock, engines, wants_margin=is_allowed or not is_trial)
    if isinstance(found, FirstFit):
        return found.at_least() if is_trial else found.solution()
    if not isinstance(found, Misfit):
        return found
    # What fits only if the estimates are no worse than expected is served only where the policy says so.
    if found.within_margin is not None and is_allowed:
        return found.within_margin.at_least() if is_trial else found.within_margin.solution()
    if is_trial:
        return ()
    if found.within_margin is None:
        return (shortfall_problem(found.shortfall, found.tried),)
    return (margin_problem(_missed_by(found.within_margin, found.tried.least), found.tried),)


# How often what is open grows again, where more requests at once found a better place.
_MOST_REGROWN = 3


@dataclass(frozen=True, slots=True)
class _Offer:
    """What a solution is chosen from: the services, their engines, and their variants, best first.

    Attributes:
        order: the variants in the order in which they are tried.
    """

    services: Mapping[str, ServiceSpec]
    engines: PinnedEngines
    variants: Mapping[str, tuple[Variant, ...]]
    order: Mapping[str, tuple[Variant, ...]]


@dataclass(frozen=True, slots=True)
class FirstFit:
    """The best quality that fits with the least of what is asked, and where."""

    offer: _Offer
    choice: Choice
    assignments: tuple[Assignment, ...]
    verdict: Verdict

    def solution(self) -> Solution:
        """With what is open grown, and the most sequences at once that it then allows."""
        services, seatings = self.offer.services, _seatings(self.offer)
        grown = self.grown(services)
        seated = _seated(grown, seatings)
        for _ in range(_MOST_REGROWN):
            further = grow_on(services, grown, seated.assignments)
            if further is None:
                break
            grown, seated = further, _seated(further, seatings)
        return budget(seated.assignments, seated.choice, self.verdict)

    def at_least(self) -> Solution:
        """With the least of what is asked."""
        return budget(self.assignments, self.choice, self.verdict)

    def grown(self, services: Mapping[str, ServiceSpec]) -> Grown:
        """With what is open in other services grown, whose least is the same."""
        return grow(services, self.choice, self.assignments)


@dataclass(frozen=True, slots=True)
class Misfit:
    """Services that may be served, and for which memory is not proved to be enough.

    Attributes:
        within_margin: where it is, if the estimates are no worse than expected; None also if nobody wanted to know.
    """

    shortfall: Shortfall
    tried: Tried
    within_margin: FirstFit | None


def first_fit(
    machine: Machine, spec: Spec, lock: Lock, engines: PinnedEngines, *, wants_margin: bool = True
) -> FirstFit | Misfit | tuple[Problem, ...]:
    """What is proved to fit, what lacks memory, or why candidates may not be served; without messages and remedies."""
    field = judge_field(spec, lock, engines, machine)
    problems = field_problems(field, spec, lock)
    if problems:
        return problems
    least = Choice(least_terms(spec.services, engines), {}, machine, high)
    best = _best_alone(_Offer(spec.services, engines, field.variants, field.variants), least)
    if best is not None:
        return best
    variants = worth_trying(field, least)
    offer = _Offer(spec.services, engines, variants, variants)
    found = _first_of(offer, replace(least, offloads=False), Verdict.FITS)
    if isinstance(found, Shortfall) and any(variant.offloads for each in variants.values() for variant in each):
        asked = {name: Asked(service, spec.policy) for name, service in spec.services.items()}
        offer = replace(offer, order={name: offloading(each, asked[name]) for name, each in variants.items()})
        found = _first_of(offer, least, Verdict.FITS)
    if isinstance(found, FirstFit):
        return found
    within = _first_of(offer, replace(least, measure=expected), Verdict.MARGIN) if wants_margin else None
    return Misfit(found, Tried(spec, engines, variants, least), within if isinstance(within, FirstFit) else None)


def _best_alone(offer: _Offer, least: Choice) -> FirstFit | None:
    """One service with the best of its variants, where that fits: how much the others need is then no question."""
    if len(offer.services) > 1:
        return None
    choice = replace(least, offloads=False).exchanged({name: each[0] for name, each in offer.variants.items()})
    found = find_place(choice)
    return FirstFit(offer, choice, found, Verdict.FITS) if isinstance(found, tuple) else None


def _missed_by(within: FirstFit, least: Choice) -> Shortfall:
    """By how much the variants of a solution within the margin miss a proof."""
    found = find_place(least.exchanged(within.choice.variants))
    assert isinstance(found, Shortfall)  # noqa: S101  these variants were tried
    return found


def _first_of(offer: _Offer, least: Choice, verdict: Verdict) -> FirstFit | Shortfall:
    """The best quality that fits.

    Args:
        least: what is placed, with the fewest sequences; its variants are exchanged.
    """
    last = smallest(offer.variants, least)
    failure = find_place(last) if last is not None else None
    if isinstance(failure, Shortfall):
        return failure
    worst = {name: variants[-1] for name, variants in offer.variants.items()}
    for tries, chosen in enumerate(chain(best_first(offer.order, least), (worst,))):
        choice = least.exchanged(chosen)
        found = find_place(choice)
        if isinstance(found, tuple):
            is_lowered = tries > MAX_COMBINATIONS
            choice, found = raised(offer.order, choice, found) if is_lowered else (choice, found)
            return FirstFit(offer, choice, found, verdict)
        failure = found
    assert isinstance(failure, Shortfall)  # noqa: S101  there is at least one combination
    return failure


def _seatings(offer: _Offer) -> tuple[Mapping[str, int], ...]:
    """Requests at once of each service where the spec does not say, most first; the last is the least."""
    steps = {name: engine_of(service, offer.engines).seat_steps for name, service in offer.services.items()}
    count = max(map(len, steps.values()))
    return tuple({name: some[min(step, len(some) - 1)] for name, some in steps.items()} for step in range(count))


def _seated(grown: Grown, seatings: tuple[Mapping[str, int], ...]) -> Grown:
    """What fits, with as many requests at once as still fit on no more devices.

    What shares no device does not hold others down.
    """
    choice, here = grown.choice, settled(grown.choice, grown.assignments)
    groups = sharing(here)
    for seats in seatings[: 1 if len(groups) > 1 else -1]:
        more = choice.seating(seats)
        assignments = _as_divided(more, here)
        if assignments is not None:
            return Grown(more, settled(more, assignments))
    seated = tuple(assignment for group in groups for assignment in _seated_alone(choice, group, seatings))
    more = replace(choice, services={each.demand.service: each.demand.terms for each in seated})
    return Grown(more, settled(more, seated))


def _as_divided(choice: Choice, assignments: tuple[Assignment, ...]) -> tuple[Assignment, ...] | None:
    """A place on no more devices, spread anew where that can be; where they were otherwise."""
    found = find_place(choice)
    if isinstance(found, tuple) and Cost.of(found) <= Cost.of(assignments):
        return found
    return stay(choice, assignments)


def _seated_alone(
    choice: Choice, group: tuple[Assignment, ...], seatings: tuple[Mapping[str, int], ...]
) -> tuple[Assignment, ...]:
    """A group of services where it is, with as many requests at once as its devices allow."""
    here = replace(choice, services={each.demand.service: choice.services[each.demand.service] for each in group})
    for seats in seatings[:-1]:
        stayed = stay(here.seating(seats), group)
        if stayed is not None:
            return stayed
    return group


def least_terms(services: Mapping[str, ServiceSpec], engines: PinnedEngines) -> dict[str, Terms]:
    """The least that each service must get."""
    return {name: engine_of(service, engines).least_terms(service) for name, service in services.items()}


def high(size: ByteRange) -> int:
    """Counts what a proof counts."""
    return size.high


def expected(size: ByteRange) -> int:
    """Counts what is likely."""
    return size.expected


def machine_of_stack(spec: Spec) -> Machine:
    """The only node's; of a server that spans nodes all of them together, which are like that one and have no other."""
    machine, nodes = (
        machine_of(next(iter(spec.nodes.values()))),
        max((one.machines for one in spec.services.values()), default=1),
    )
    return machine if nodes == 1 else Machine(machine.devices * nodes, mig=machine.mig, nodes=nodes)


def machine_of(node: NodeSpec) -> Machine:
    """A node's devices, in index order, and its main memory."""
    if node.cpu is not None:
        return Machine((Device("CPU", node.cpu.memory, "declared in the spec", node.reserve, None),))
    assert node.gpus is not None  # noqa: S101  checks.py refuses a node that is neither
    host = Device("main memory", node.memory, "declared in the spec", 0, None) if node.memory is not None else None
    devices = tuple(gpu_device(gpus, node.reserve) for gpus in node.cards for _ in range(gpus.count))
    if len(set(devices)) > 1:
        # What a rank takes is worked out once for all of them: as on the largest card of their compute capability.
        devices = tuple(replace(device, multiprocessors=None) for device in devices)
    return Machine(devices, host, node.gpus.mig)


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
