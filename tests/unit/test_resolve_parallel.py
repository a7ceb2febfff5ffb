"""Questions in threads: answers keep their order, and nothing goes on asking behind the user's back."""

from __future__ import annotations

import threading
import time

import pytest

from compiler.resolve.parallel import begun, by_name, in_parallel


def test_answers_come_in_the_order_of_the_questions() -> None:
    assert in_parallel(lambda wait: time.sleep(wait / 100) or wait, [3, 1, 2], 3) == [3, 1, 2]


def test_the_same_name_is_asked_once() -> None:
    asked: list[str] = []
    assert by_name(lambda name: asked.append(name) or name.upper(), ["b", "a", "b"]) == {"a": "A", "b": "B"}
    assert sorted(asked) == ["a", "b"]


def test_after_a_failure_nothing_is_asked_any_more() -> None:
    asked: list[int] = []

    def ask(item: int) -> None:
        asked.append(item)
        if item == 0:
            raise ValueError("no answer")
        time.sleep(0.05)

    with pytest.raises(ValueError, match="no answer"):
        in_parallel(ask, range(100), 2)
    count = len(asked)
    assert count < 100
    time.sleep(0.1)
    assert len(asked) == count


def test_an_interrupt_waits_for_nobody() -> None:
    release = threading.Event()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt), begun(lambda _: release.wait(30), [1, 2, 3], 1):
        raise KeyboardInterrupt
    assert time.monotonic() - started < 10
    release.set()
