"""Which services that take turns fit together, beside those that are always up: every largest set, proved in bytes.

Each service has one variant, one place and one cache in all its turns, so that one launch script starts it in any of
them. Its cache is what the tightest of its turns leaves it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations

from compiler.engines.interface.device import Device, Machine
from compiler.engines.interface.pinned import PinnedEngines
from compiler.engines.interface.problem import Problem
from compiler.lock.models import Lock
from compiler.solve.attempt import FirstFit, attempt_on, first_fit
from compiler.solve.budget import Solution, cache_units
from compiler.solve.place import Assignment, Choice, room
from compiler.spec.models import Spec


@dataclass(frozen=True, slots=True)
class Turns:
    """Services in their places.

    Attributes:
        always: services that are up in every turn.
        members: those that take turns, by name.
        sets: names of the members that are up together; none is part of another, and each member is in one at least.
        units: of the cache of each service, in all its turns.
    """

    choice: Choice
    always: tuple[Assignment, ...]
    members: dict[str, Assignment]
    sets: tuple[tuple[str, ...], ...]
    units: dict[str, int]

    def up(self, names: Iterable[str]) -> tuple[Assignment, ...]:
        """All services of a turn."""
        return (*self.always, *(self.members[name] for name in names))

    def left(self, names: Iterable[str]) -> int:
        """Bytes of the fullest device that a turn leaves at the high end, with all caches; negative where it lacks."""
        free = [device.usable for device in self.choice.machine.devices]
        for each in self.up(names):
            for position, index in enumerate(each.devices):
                rank = each.demand.rank_at(position)
                rows = (*rank.rows, *rank.cache_rows(self.units[each.demand.service]))
                free[index] -= sum(row.bytes.high for row in rows)
        return min(free)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is asked of one node."""

    machine: Machine
    spec: Spec
    lock: Lock
    engines: PinnedEngines

    def on(self, machine: Machine, names: Iterable[str]) -> _Asked:
        """Of some of the services, and of what others leave."""
        (node,) = self.spec.nodes
        return replace(self, machine=machine, spec=self.spec.on(node, names))

    def first_fit(self) -> FirstFit | None:
        """Where all of it fits, proved at the high end of every estimate."""
        found = first_fit(self.machine, self.spec, self.lock, self.engines, wants_margin=False)
        return found if isinstance(found, FirstFit) else None

    def why_not(self) -> tuple[Problem, ...]:
        """Why it does not. What fits only at the expected values is no proof of a turn, whatever the policy says."""
        strict = self.spec.model_copy(update={"policy": self.spec.policy.model_copy(update={"margin": "deny"})})
        found = attempt_on(self.machine, strict, self.lock, self.engines)
        assert not isinstance(found, Solution)  # noqa: S101  it was looked for with the same figures
        return found


def attempt_turns(
    machine: Machine, spec: Spec, members: tuple[str, ...], lock: Lock, engines: PinnedEngines
) -> Turns | tuple[Problem, ...]:
    """Every largest set that fits; or why a member does not fit beside the services that are always up.

    Members are placed one by one, as if each were alone beside those. On one device that loses nothing; on several, two
    members may come to the same one, and then take turns though there were room for both.

    Args:
        spec: of one node.
        members: that take turns. Every set of them is looked at, so that they should be few: ten at most.
    """
    asked = _Asked(machine, spec, lock, engines)
    problems: tuple[Problem, ...] = ()
    for leader in members:
        found = _beside(asked, leader, members)
        if isinstance(found, Turns):
            return found
        problems = problems or found
    return problems


def _beside(asked: _Asked, leader: str, members: tuple[str, ...]) -> Turns | tuple[Problem, ...]:
    """With what is always up where it fits beside one member."""
    always = [name for name in asked.spec.services if name not in members]
    first = asked.on(asked.machine, (*always, leader))
    found = first.first_fit()
    if found is None:
        return first.why_not()
    held = tuple(each for each in found.assignments if each.demand.service != leader)
    rest = _without(asked.machine, held)
    placed: dict[str, FirstFit] = {}
    for name in members:
        alone = asked.on(rest, (name,))
        fit = alone.first_fit()
        if fit is None:
            return alone.why_not()
        placed[name] = fit
    return _divided(found.choice, held, {name: fit.assignments[0] for name, fit in placed.items()})


def _without(machine: Machine, held: tuple[Assignment, ...]) -> Machine:
    """What services that are always up leave of a machine."""
    taken = [0] * len(machine.devices)
    for each in held:
        for index in each.devices:
            taken[index] += each.demand.required.high
    beside = sum(each.demand.host.required.high for each in held if each.demand.host is not None)
    devices = tuple(_reserving(device, size) for device, size in zip(machine.devices, taken, strict=True))
    host = None if machine.host is None else _reserving(machine.host, beside)
    return replace(machine, devices=devices, host=host)


def _reserving(device: Device, size: int) -> Device:
    return replace(device, reserve=device.reserve + size)


def _divided(choice: Choice, always: tuple[Assignment, ...], members: dict[str, Assignment]) -> Turns:
    sets = tuple(largest_sets(choice, always, members))
    turns = Turns(choice, always, members, sets, {})
    units: dict[str, int] = {}
    for names in sets:
        for service, count in cache_units(turns.up(names), choice).items():
            units[service] = min(count, units.get(service, count))
    return replace(turns, units=units)


def largest_sets(
    choice: Choice, always: tuple[Assignment, ...], members: dict[str, Assignment]
) -> Iterator[tuple[str, ...]]:
    """Sets of members that fit with the least of what all ask for, and with no further member; largest first."""
    found: list[frozenset[str]] = []
    for count in range(len(members), 0, -1):
        for names in combinations(members, count):
            if any(one.issuperset(names) for one in found):
                continue
            if room(choice, (*always, *(members[name] for name in names))) >= 0:
                found.append(frozenset(names))
                yield names
