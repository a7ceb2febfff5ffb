"""Which variants are tried together, so that all services lose as little quality as memory allows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain, islice

from compiler.engines.interface.demand import Variant
from compiler.solve.exact import find_place
from compiler.solve.field import MAX_COMBINATIONS, combinations
from compiler.solve.place import Assignment, Choice

# Beyond so many services no bound is worked out, and none is raised by itself.
_MOST_SERVICES = 64
_MOST_RAISED = 32

_NEVER = 1 << 62


def best_first(variants: Mapping[str, tuple[Variant, ...]], least: Choice) -> Iterator[dict[str, Variant]]:
    """Choices of one variant per service, least loss of quality over all services first, then all lowered together.

    Those that take more memory than all devices have are left out.
    """
    if len(variants) > _MOST_SERVICES or least.offloads or len(variants) == 1:
        yield from combinations(variants)
        return
    names = sorted(variants)
    yield {name: variants[name][0] for name in names}
    lowered = _lowered(tuple(len(variants[name]) for name in names))
    tried: set[tuple[int, ...]] = {next(lowered)}
    for ranks in chain(islice(_within(names, variants, least), MAX_COMBINATIONS), lowered):
        if ranks not in tried:
            tried.add(ranks)
            yield {name: variants[name][rank] for name, rank in zip(names, ranks, strict=True)}


def _lowered(lengths: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """All at once, one step at a time."""
    yield from (tuple(min(step, length - 1) for length in lengths) for step in range(max(lengths)))


def _within(
    names: list[str], variants: Mapping[str, tuple[Variant, ...]], least: Choice
) -> Iterator[tuple[int, ...]]:  # fmt: skip
    """Ranks of variants by their sum, then by themselves, that take no more than there is."""
    sizes = [[_size(least, name, variant) for variant in variants[name]] for name in names]
    room = sum(device.usable for device in least.machine.devices)
    ahead = _smallest_ahead(sizes)
    for total, smallest in enumerate(ahead[0]):
        if smallest <= room:
            yield from _of_sum(0, total, room, sizes, ahead)


def _size(least: Choice, name: str, variant: Variant) -> int:
    """Bytes on one device: divided, a service takes no less of all of them together, but for what is rounded."""
    choice = least.exchanged({name: variant})
    return choice.measure(choice.demand(name, variant.undivided).required) * 99 // 100


def _smallest_ahead(sizes: list[list[int]]) -> list[list[int]]:
    """For each service and each number of steps, what it and those behind take at least when lowered by as many."""
    ahead = [[0]]
    for own in reversed(sizes):
        behind = ahead[0]
        row = [_NEVER] * (len(behind) + len(own) - 1)
        for rank, size in enumerate(own):
            for steps, rest in enumerate(behind):
                row[rank + steps] = min(row[rank + steps], size + rest)
        ahead.insert(0, row)
    return ahead


def _of_sum(
    at: int, steps: int, room: int, sizes: list[list[int]], ahead: list[list[int]]
) -> Iterator[tuple[int, ...]]:  # fmt: skip
    """Ranks of the services from one on, lowered by so many steps."""
    if at == len(sizes):
        yield ()
        return
    for rank, size in enumerate(sizes[at][: steps + 1]):
        behind = ahead[at + 1]
        if steps - rank < len(behind) and size + behind[steps - rank] <= room:
            yield from ((rank, *others) for others in _of_sum(at + 1, steps - rank, room - size, sizes, ahead))


def raised(
    variants: Mapping[str, tuple[Variant, ...]], choice: Choice, found: tuple[Assignment, ...]
) -> tuple[Choice, tuple[Assignment, ...]]:
    """Each service by itself with the best variant that still fits, one step at a time, as long as any is better."""
    is_better = len(variants) <= _MOST_RAISED
    while is_better:
        is_better = False
        for name in sorted(variants):
            rank = variants[name].index(choice.variants[name])
            better = choice.exchanged({**choice.variants, name: variants[name][max(0, rank - 1)]})
            placed = find_place(better) if rank else None
            if isinstance(placed, tuple):
                choice, found, is_better = better, placed, True
    return choice, found
