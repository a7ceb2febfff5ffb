"""The placement keeps free memory in order; a plain one that sorts all devices each time must say the same."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from compiler.engines.interface.device import Device, Machine
from compiler.solve.place import FreeMemory

sizes = st.lists(st.integers(0, 12), min_size=1, max_size=8)
steps = st.lists(st.tuples(st.booleans(), st.integers(0, 10), st.integers(1, 4)), max_size=12)


def plain(free: list[int], need: int, count: int, *, emptiest_first: bool) -> tuple[int, ...]:
    by_free = sorted(range(len(free)), key=lambda index: (-free[index], index))
    fitting = [index for index in reversed(by_free) if free[index] >= need][:count]
    return tuple(by_free[:count]) if emptiest_first or len(fitting) < count else tuple(fitting)


@given(sizes, steps)
def test_devices_are_chosen_as_by_sorting_them_all(devices: list[int], asked: list[tuple[bool, int, int]]) -> None:
    machine = Machine(tuple(Device("GPU", size, "here", 0, (9, 0)) for size in devices))
    memory, free = FreeMemory(machine), list(devices)
    for emptiest_first, need, count in asked:
        wanted = plain(free, need, count, emptiest_first=emptiest_first)
        found = memory.emptiest(count) if emptiest_first else memory.tightest(need, count)
        assert found == wanted
        assert memory.bytes == free
        if all(free[index] >= need for index in found):
            for index in found:
                memory.take(index, need)
                free[index] -= need
