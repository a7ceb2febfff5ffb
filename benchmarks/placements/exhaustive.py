"""What a small stack could get at best: every variant, every way to divide it, every GPU.

It shares no search with the solver, only what one service demands of a GPU and how one placement's leftover becomes
KV cache. GPUs of a node are alike, so that GPUs with the same services on them are tried once.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

from compiler.engines.interface.demand import Demand, Variant
from compiler.engines.interface.device import Machine
from compiler.engines.interface.terms import Terms
from compiler.ledger import Verdict
from compiler.solve.budget import HEADROOM_PERMILLE, Solution, budget
from compiler.solve.place import Assignment, Choice


def fewest_steps(
    variants: Mapping[str, tuple[Variant, ...]], terms: Mapping[str, Terms], machine: Machine
) -> int | None:
    """Steps of quality below each service's best variant, over all services; None where no choice of variants fits."""
    names = sorted(variants)
    sizes = [[_smallest(variant, name, terms[name]) for variant in variants[name]] for name in names]
    usable = tuple(device.usable for device in machine.devices)
    choices = sorted(itertools.product(*(range(len(each)) for each in sizes)), key=sum)
    for ranks in choices:
        if _fits([each[rank] for each, rank in zip(sizes, ranks, strict=True)], usable):
            return sum(ranks)
    return None


def _smallest(variant: Variant, name: str, terms: Terms) -> dict[int, int]:
    """Bytes on each GPU, by the number of GPUs, of the way to divide it that takes least."""
    found: dict[int, int] = {}
    for division in (*variant.divisions, *variant.fallbacks):
        need = variant.demand(name, terms, division).required.high
        found[division.gpus] = min(need, found.get(division.gpus, need))
    return found


def _fits(services: list[dict[int, int]], usable: tuple[int, ...]) -> bool:
    """Whether there is a place for all, where any GPU is as good as another with as much free."""
    ordered = sorted(services, key=lambda ways: -min(count * need for count, need in ways.items()))
    least = [min(count * need for count, need in ways.items()) for ways in ordered]
    failed: set[tuple[int, tuple[int, ...]]] = set()

    def fits(at: int, free: tuple[int, ...]) -> bool:
        if at == len(ordered):
            return True
        if sum(least[at:]) > sum(free) or (at, free) in failed:
            return False
        for count, need in ordered[at].items():
            for used in itertools.combinations(range(len(free)), count):
                if all(free[index] >= need for index in used):
                    left = tuple(sorted(size - need * (index in used) for index, size in enumerate(free)))
                    if fits(at + 1, left):
                        return True
        failed.add((at, free))
        return False

    return fits(0, tuple(sorted(usable)))


@dataclass(frozen=True, slots=True)
class Capacity:
    """The smallest share of what was asked for that a service of a placement can keep in its KV cache."""

    least: Fraction
    ranks: int
    stages: int

    @classmethod
    def of(cls, solution: Solution) -> Capacity:
        """Of a placement, services without a share of what is left over aside."""
        servers = [server for server in solution.servers if server.demand.terms.share]
        least = min((Fraction(server.units, server.demand.least_units) for server in servers), default=Fraction(1))
        ranks = sum(len(server.devices) for server in solution.servers)
        return cls(least, ranks, sum(server.demand.division.is_fallback for server in solution.servers))


def best_capacity(solution: Solution, choice: Choice) -> Capacity:
    """The best of all placements with the same variants and terms, on no more ranks and with no more in stages."""
    demands = {server.demand.service: _ways(server.demand) for server in solution.servers}
    search = _Search(choice, list(demands.values()), Capacity.of(solution))
    search.run((), 0)
    return search.best


def fewest_ranks(solution: Solution, choice: Choice) -> int:
    """The fewest with which the same variants fit on the same terms, with no more services in stages."""
    services = [
        {(each.division.is_fallback, each.division.gpus): each.required.high for each in _ways(server.demand)}
        for server in solution.servers
    ]
    usable = tuple(device.usable for device in choice.machine.devices)
    known = Capacity.of(solution)
    for ranks in range(len(services), known.ranks):
        chosen = itertools.product(*services)
        for keys in chosen:
            if sum(gpus for _, gpus in keys) == ranks and sum(staged for staged, _ in keys) <= known.stages:
                needs = [{key[1]: service[key]} for key, service in zip(keys, services, strict=True)]
                if _fits(needs, usable):
                    return ranks
    return known.ranks


def _ways(demand: Demand) -> list[Demand]:
    variant = demand.variant
    divisions = (*variant.divisions, *variant.fallbacks)
    return [variant.demand(demand.service, demand.terms, division) for division in divisions]


class _Search:
    """All placements that may be better than the best one known."""

    def __init__(self, choice: Choice, services: list[list[Demand]], known: Capacity) -> None:
        self.choice = choice
        self.services = sorted(services, key=lambda ways: -max(each.required.high for each in ways))
        self.known = self.best = known
        self.room = [device.usable for device in choice.machine.devices]
        self.ahead = [device.usable - device.total * HEADROOM_PERMILLE // 1000 for device in choice.machine.devices]
        # Of all services from one on: the fewest ranks.
        fewest = [min(each.division.gpus for each in ways) for ways in self.services]
        self.fewest = [sum(fewest[at:]) for at in range(len(fewest) + 1)]

    def run(self, placed: tuple[Assignment, ...], at: int) -> None:
        """Every way to go on from a placement of the first services."""
        ranks = sum(len(each.devices) for each in placed)
        stages = sum(each.demand.division.is_fallback for each in placed)
        if ranks + self.fewest[at] > self.known.ranks or stages > self.known.stages:
            return
        if not self._could_be_better(placed):
            return
        if at == len(self.services):
            found = Capacity.of(budget(placed, self.choice, Verdict.FITS))
            self.best = max(self.best, found, key=lambda each: each.least)
            return
        for demand in self.services[at]:
            for devices in self._different(placed, demand.division.gpus):
                self.run((*placed, Assignment(demand, devices)), at + 1)

    def _different(self, placed: tuple[Assignment, ...], count: int) -> Iterator[tuple[int, ...]]:
        """Choices of GPUs, of which those with the same services on them are alike."""
        tenants: list[tuple[tuple[str, int], ...]] = [() for _ in self.room]
        for each in placed:
            for position, index in enumerate(each.devices):
                tenants[index] = (*tenants[index], (each.demand.service, each.demand.rank_at(position).unit_bytes))
        seen = set()
        for devices in itertools.combinations(range(len(self.room)), count):
            if (key := tuple(tenants[index] for index in devices)) not in seen:
                seen.add(key)
                yield devices

    def _could_be_better(self, placed: tuple[Assignment, ...]) -> bool:
        """However leftover is divided, no GPU gives all of its services more than its memory over what they asked."""
        used, fixed, asked = ([0] * len(self.room) for _ in range(3))
        for each in placed:
            for position, index in enumerate(each.devices):
                rank = each.demand.rank_at(position)
                used[index] += each.demand.required.high
                fixed[index] += rank.fixed.high
                size = rank.unit_bytes * each.demand.least_units
                # One without a share gets what it asked for, however much is left.
                fixed[index] += 0 if each.demand.terms.share else size
                asked[index] += size if each.demand.terms.share else 0
        fits = all(size <= room for size, room in zip(used, self.room, strict=True))
        return fits and all(
            ahead - known > self.best.least * size
            for ahead, known, size in zip(self.ahead, fixed, asked, strict=True)
            if size
        )
