"""Intervals over start-ups, the same way for each engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from compiler.engines.interface.calibration import Measurement, Ranges
from compiler.units import ByteRange

Margins = Callable[[str], tuple[int, int]]
"""How much less and more than its figures a component may be that was measured."""


def component_ranges(measurements: Sequence[Measurement], margins: Margins) -> Ranges:
    """Each component over all start-ups, with their number: from least to most, widened by its margins."""
    found: dict[str, list[tuple[int, ...]]] = {}
    for measurement in measurements:
        for name, values in measurement.values.items():
            found.setdefault(name, []).append(values)
    return {name: (_range(starts, *margins(name)), len(starts)) for name, starts in sorted(found.items())}


def _range(starts: list[tuple[int, ...]], less: int, more: int) -> ByteRange:
    values = sorted(value for start in starts for value in start)
    middle = values[len(values) // 2]
    # A single start-up says nothing of how the next one differs: a tenth either way.
    spread = middle // 10 if len(starts) == 1 else middle // 50
    return ByteRange(max(0, values[0] - spread - less), middle, values[-1] + spread + more)
