"""The largest number that memory allows, in few tries."""

from __future__ import annotations

from collections.abc import Callable

# Every so many tries one halves what is left to search, whatever the others come to.
_HALVING = 4


def most_with_room(least: int, most: int, first: int, left: Callable[[int], int], *, grain: int = 1) -> int:
    """The largest number with which something is left, where what is left only falls as the number grows.

    How much is left tells more than whether any is: it falls along lines, in steps of `grain`. So the next try is
    where a line through both ends of the interval meets zero, then the number after it, which ends the search if that
    is one too many.

    Args:
        least: a number with which something is left.
        most: no larger number is asked for.
        first: what is left with `least`, not negative.
        left: what is left with a number; negative where it is too large.
    """
    if most <= least or (last := left(most)) >= 0:
        return max(least, most)
    low, high, tries, is_near = least, most, 0, False
    while high - low > 1:
        tries += 1
        if tries % _HALVING == 0:
            guess = (low + high) // 2
        elif is_near:
            guess = low + 1
        else:
            guess = _on_line(low, high, first, last, grain)
        found = left(guess)
        # The number after one that was guessed is tried once.
        is_near = found >= 0 and not is_near
        if found >= 0:
            low, first = guess, found
        else:
            high, last = guess, found
    return low


def _on_line(low: int, high: int, first: int, last: int, grain: int) -> int:
    """Between the ends, where a line through them is zero, rounded down to whole grains if there is one."""
    zero = low + (high - low) * first // (first - last)
    whole = zero // grain * grain
    return whole if whole > low else min(max(zero, low + 1), high - 1)
