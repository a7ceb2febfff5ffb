"""Looking for changes that help takes a bounded number of trials, and a trial says what solving it would."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from compiler.diagnostics import Help, SourceText
from compiler.diagnostics.looking import MAX_TRIALS, Looking
from compiler.engines.registry import ENGINES
from compiler.engines.vllm.demand import empty_stage, needs_of
from compiler.engines.vllm.judge.splits import split_fault
from compiler.engines.vllm.pinned import pinned
from compiler.engines.vllm.releases import RELEASES
from compiler.lock.models import HUB, Lock, LockedService, ModelFacts
from compiler.solve import solve as front
from compiler.solve.stack import attempt_stack, compiles
from compiler.spec.reading.load import SpecFile, load_spec
from tests.properties.test_solver import config

RELEASE = RELEASES["0.33.0"]
PINNED = pinned(RELEASE)
SMALL, LARGE = config(32, 4096, 32, 8, 128), config(126, 16384, 128, 8, 128)


def stack(
    services: int, *, large: int = 0, nodes: int = 1, count: int = 2, margin: str = "deny"
) -> tuple[SpecFile, Lock]:
    names = {f"s{index}": "own/large" if index < large else "own/small" for index in range(services)}
    text = f"stack: x\nengine: {{vllm: 0.33.0}}\npolicy: {{margin: {margin}}}\nnodes:\n"
    text += "".join(f"  n{i}: {{gpus: {{model: h100-80gb, count: {count}}}}}\n" for i in range(nodes)) + "services:\n"
    for port, (name, model) in enumerate(names.items(), 9000):
        text += f"  {name}: {{model: {model}, context: 64K, concurrency: 6, port: {port}}}\n"
    file, problems = load_spec(SourceText("x.yaml", text), ENGINES)
    assert file is not None, problems
    facts = {"own/small": SMALL, "own/large": LARGE}
    models = {name: ModelFacts(source=HUB, chat_template="x", config=found) for name, found in facts.items()}
    asked = {n: LockedService(model=m, quantization=("auto",), candidates=(m,)) for n, m in names.items()}
    return file, Lock(schema=1, services=asked, models=models)


@pytest.mark.parametrize("services", [1, 12])
def test_helps_are_looked_for_in_a_bounded_number_of_trials(services: int, monkeypatch: pytest.MonkeyPatch) -> None:
    trials: list[int] = []

    def counted(*words: object) -> bool:
        trials.append(1)
        return False

    monkeypatch.setattr(front, "servers_compile", counted)
    solutions, found = front.solve(*stack(services, large=1), PINNED)
    assert solutions is None
    assert found[0].code == "E0401"
    # A kind that was begun is ended: of one that is graded a trial from each end, of others as many as there are cards.
    assert 0 < len(trials) <= MAX_TRIALS + 16


def test_without_helps_nothing_is_tried_and_the_reasons_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    given = stack(2, count=1)
    _, whole = front.solve(*given, PINNED)
    assert any(each.helps for each in whole)
    monkeypatch.setattr(front, "servers_compile", None)
    _, bare = front.solve(*given, PINNED, looking=Looking(0))
    assert bare == tuple(replace(each, helps=()) for each in whole)


def test_the_same_stack_has_the_same_helps_whatever_was_solved_before() -> None:
    warm = front.solve(*stack(2, count=1), PINNED)
    for kept in (needs_of, empty_stage, split_fault):
        kept.cache_clear()
    assert front.solve(*stack(2, count=1), PINNED) == warm


@pytest.mark.parametrize("margin", ["deny", "allow"])
@pytest.mark.parametrize("nodes", [1, 2])
@pytest.mark.parametrize("services", [1, 2, 3, 4])
def test_a_trial_says_what_solving_says(services: int, nodes: int, margin: str) -> None:
    file, lock = stack(services, nodes=nodes, margin=margin, count=1)
    assert compiles(file.spec, lock, PINNED) is isinstance(attempt_stack(file.spec, lock, PINNED), dict)


def test_what_was_worked_out_for_a_stack_is_not_worked_out_again() -> None:
    given, misses = stack(3, large=1, count=8), []
    for _ in range(2):
        front.solve(*given, PINNED)
        misses.append(needs_of.cache_info().misses)
    assert misses[0] == misses[1], "the second time, all that is needed is known"


def notes_of(given: tuple[SpecFile, Lock], trials: int) -> tuple[str, ...]:
    _, found = front.solve(*given, PINNED, looking=Looking(trials))
    return tuple(note for each in found for note in each.notes if "were tried" in note)


def test_a_search_that_was_cut_off_says_so_and_what_is_enough() -> None:
    """Without the note, helps that were never tried read as helps that do not help."""
    given = stack(2, count=1)
    (note,) = notes_of(given, 2)
    assert note == notes_of(given, 2)[0], "whatever the clock says"
    enough = re.search(r"`--trials (\d+)` tries all", note)
    assert enough is not None
    assert notes_of(given, int(enough[1])) == ()
    assert len(helps_of(given, int(enough[1]))) > len(helps_of(given, 2))


def helps_of(given: tuple[SpecFile, Lock], trials: int) -> tuple[Help, ...]:
    _, found = front.solve(*given, PINNED, looking=Looking(trials))
    return found[0].helps


class Watched(Looking):
    def __init__(self) -> None:
        super().__init__()
        self.events: list[str] = []

    def tried(self) -> None:
        self.events.append("tried")

    def done(self) -> None:
        self.events.append("done")


def test_whoever_waits_is_told_of_each_trial_and_of_the_end_whatever_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched()
    front.solve(*stack(2, count=1), PINNED, looking=watched)
    assert watched.events[0] == "tried"
    assert watched.events.index("done") == len(watched.events) - 1

    def interrupted(*_: object) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(front, "servers_compile", interrupted)
    stopped = Watched()
    with pytest.raises(KeyboardInterrupt):
        front.solve(*stack(2, count=1), PINNED, looking=stopped)
    assert stopped.events == ["tried", "done"]
