"""What grades say of models: only what tests say that compare them, and that nothing is known where they do not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.choose.grades import UNGRADED, UNKNOWN, Grade, grades, languages_of
from compiler.choose.grades.benchmarks import benchmarks, ranked_kinds, sets_of
from compiler.choose.grades.bounds import UNMEASURED, straying
from compiler.choose.grades.comparisons import INDEPENDENT, MAKER, RankedSet, as_tests, ranked_sets
from compiler.choose.grades.noise import noise_of
from compiler.choose.grades.pools import ranked_models
from compiler.choose.grades.ranking import rank
from compiler.choose.grades.shipped import inputs_of_file
from compiler.choose.grades.strengths import fit, positions, table_of
from compiler.cli.run.models.graded import grade_lines, grades_of
from compiler.registry.entry import TASKS, ModelEntry, Task
from compiler.registry.read import Registry, registry
from compiler.registry.scores import Score, ScoreSet
from tools.grade_models import inputs

KNOWN = registry()
INSTRUCT = KNOWN.models["Qwen/Qwen3-8B"]
CODE = "LMArena text, coding"
QUICK: tuple[Task, ...] = ("agent", "completion", "ocr", "rerank", "tools", "vision")
"""Tasks of few models, which are worked out anew in no time."""


def models(*names: str, **changes: object) -> dict[str, ModelEntry]:
    return {name: INSTRUCT.model_copy(update={"id": name, **changes}) for name in names}


def scores(values: Mapping[str, float | Score], benchmark: str = CODE, **changes: object) -> ScoreSet:
    given_ = {name: value if isinstance(value, Score) else Score(value) for name, value in values.items()}
    unit = "Elo" if benchmark.startswith("LMArena") else "%"
    fields = {"run_by": "someone", "independent": True, "date": "2026-01", "unit": unit, "source": "said", **changes}
    return ScoreSet(benchmark=benchmark, values=given_, **fields)  # type: ignore[arg-type]


def places(sets: Iterable[ScoreSet], named: Mapping[str, ModelEntry], task: Task = "code") -> dict[str, float]:
    """Positions without their bounds, which take longer."""
    tests = as_tests(compared(sets, named, task))
    table = table_of(tests, ranked_models(tests))
    return dict(zip(table.models, positions(fit(table)), strict=True))


def compared(sets: Iterable[ScoreSet], named: Mapping[str, ModelEntry], task: Task = "code") -> tuple[RankedSet, ...]:
    return ranked_sets(tuple(sets_of(task, sets)), {name: entry.publisher for name, entry in named.items()})


BOUNDED = st.tuples(st.floats(900, 1500), st.floats(0, 40), st.floats(0, 40)).map(
    lambda each: Score(each[0], each[0] - each[1], each[0] + each[2])
)
SHARES = st.floats(0, 100).map(Score)
NAMES = tuple(f"maker{number % 3}/model{number}" for number in range(9))
NAMED = models(*NAMES)


def values(score: st.SearchStrategy[Score], least: int = 6) -> st.SearchStrategy[dict[str, Score]]:
    return st.dictionaries(st.sampled_from(NAMES), score, min_size=least)


@settings(max_examples=60, deadline=None)
@given(values(BOUNDED), values(SHARES), values(SHARES))
def test_what_a_test_decides_is_kept_whatever_models_are_in_it(
    bounded: dict[str, Score], counted: dict[str, Score], uncounted: dict[str, Score]
) -> None:
    """A user who reads that one model beats another there never finds it graded below, from that test alone."""
    sets = scores(bounded), scores(counted, "HumanEval", items=164), scores(uncounted, "OJ-Bench")
    for each in sets:
        (ranked,) = compared([each], NAMED)
        found = places([each], NAMED)
        for (one, two), won in ranked.outcomes.items():
            assert won == 1 / 2 or (found[one] > found[two]) == (won == 1)


@settings(max_examples=60, deadline=None)
@given(values(BOUNDED), st.sampled_from(NAMES))
def test_a_model_more_never_reverses_two_that_a_test_tells_apart(bounded: dict[str, Score], added: str) -> None:
    before = places([scores({name: score for name, score in bounded.items() if name != added})], NAMED)
    after = places([scores(bounded)], NAMED)
    (ranked,) = compared([scores(bounded)], NAMED)
    for (one, two), won in ranked.outcomes.items():
        if won != 1 / 2 and one in before and two in before:
            assert (before[one] > before[two]) == (after[one] > after[two])


@settings(max_examples=40, deadline=None)
@given(values(BOUNDED), st.floats(0.5, 40))
def test_only_the_order_of_values_and_bounds_counts(bounded: dict[str, Score], scale: float) -> None:
    scaled = {
        name: Score(*(scale * part - 1e5 for part in score if part is not None)) for name, score in bounded.items()
    }
    assert compared([scores(bounded)], NAMED)[0].outcomes == compared([scores(scaled)], NAMED)[0].outcomes


@settings(max_examples=8, deadline=None)
@given(values(BOUNDED), values(SHARES), st.permutations(range(len(NAMES))))
def test_names_count_for_nothing(bounded: dict[str, Score], shares: dict[str, Score], order: list[int]) -> None:
    """Other names of the same models, of the same makers by other names, in another order."""
    other = {name: f"by{name[5]}/called{place}" for name, place in zip(NAMES, order, strict=True)}

    def both(names: Mapping[str, str]) -> list[ScoreSet]:
        own = scores({names[name]: score for name, score in bounded.items()})
        makers = {names[name]: score for name, score in shares.items()}
        return [own, scores(makers, "LiveCodeBench", independent=False)]

    before = rank("code", NAMED, both({name: name for name in NAMES}))
    after = rank("code", models(*other.values()), reversed(both(other)))
    assert {other[name]: grade for name, grade in before.items()} == after


def test_figures_that_compare_a_model_to_nobody_are_no_common_test() -> None:
    common = {f"a/model{number}": 20.0 * number for number in range(5)}
    named = models(*common, "a/alone", "a/none", "a/undated")
    alone = scores({"a/alone": 99.0}, "HumanEval", items=164)
    undated = scores({"a/undated": 99.0, "a/model1": 1.0}, "Aider polyglot", date=None)
    found = rank("code", named, [scores(common, "OJ-Bench"), alone, undated])
    others = {"a/alone": "no_common_test", "a/undated": "no_common_test"}
    assert {name: grade.kind for name, grade in found.items()} == {**dict.fromkeys(common, "thin"), **others}
    assert found["a/alone"].position is None
    assert [each.value for each in found["a/alone"].evidence] == [99.0]


def test_grades_say_how_many_tests_and_parties_they_rest_on() -> None:
    figures = {f"maker{number}/model": 20.0 * number for number in range(5)}
    named, best = models(*figures), "maker4/model"
    same = [scores(figures, name, items=164) for name in ("HumanEval", "HumanEval+")]
    assert rank("code", named, same)[best].kind == "thin"
    other = scores(figures, "OJ-Bench", run_by="another", date="2026-03")
    grade = rank("code", named, [*same, other])[best]
    assert (grade.kind, grade.sets, grade.parties, grade.newest) == ("graded", 3, 2, "2026-03")
    assert {(each.rank, each.of) for each in grade.evidence} == {(1, 5)}
    makers = [scores(figures, name, independent=False) for name in ("OJ-Bench", "SciCode", "HumanEval")]
    thin = rank("code", named, makers)[best]
    assert thin.kind == "thin"
    assert (thin.low or 0) < (grade.low or 0)


def test_too_few_models_are_not_ranked_and_a_lower_value_may_be_the_better() -> None:
    figures = {f"maker{number}/model": 20.0 * number for number in range(5)}
    few = dict(list(figures.items())[:4])
    assert {grade.kind for grade in rank("code", models(*few), [scores(few, "OJ-Bench")]).values()} == {
        "no_common_test"
    }
    lower = rank("code", models(*figures), [scores(figures, "OJ-Bench", higher_is_better=False)])
    assert max(lower, key=lambda name: lower[name].position or 0) == "maker0/model"
    assert lower["maker0/model"].evidence[0].rank == 1


def test_a_maker_judges_others_models_only_where_nobody_else_does() -> None:
    named = models("a/one", "b/two", "a/three")
    makers = scores({"a/one": 90.0, "b/two": 50.0, "a/three": 40.0}, "LiveCodeBench", independent=False)
    (alone,) = compared([makers], named)
    assert alone.weight == MAKER
    assert len(alone.outcomes) == 3
    independent = scores({"a/one": 50.0, "b/two": 50.5}, "OJ-Bench", run_by="another")
    by_party = {each.scores.run_by: each for each in compared([makers, independent], named)}
    assert set(by_party["someone"].outcomes) == {("a/one", "a/three"), ("a/three", "b/two")}
    assert by_party["another"].weight == INDEPENDENT


def test_models_beyond_a_narrow_bridge_are_not_ranked() -> None:
    """Two years' tests that one maker's table joins: how the ones compare to the others, nothing says."""
    old, new = ([f"{year}/model{number}" for number in range(10)] for year in ("old", "new"))
    tests = [
        scores({name: float(5 * place) for place, name in enumerate(old)}, "HumanEval", items=164),
        scores({name: float(5 * place) for place, name in enumerate([*new, "new/more"])}, "OJ-Bench"),
    ]
    bridge = scores({new[0]: 90.0, old[9]: 50.0, "old/beside": 40.0}, "SciCode", independent=False)
    found = rank("code", models(*old, *new, "new/more", "old/beside"), [*tests, bridge])
    assert {name for name, grade in found.items() if grade.position is not None} == {*new, "new/more", "old/beside"}
    assert found[old[9]].kind == "no_common_test"


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_tests_or_a_reason(task: Task) -> None:
    tested = any(task in each.tasks for each in benchmarks().values())
    assert tested != (task in UNGRADED)


def test_every_set_has_its_place_in_the_table_and_its_noise_a_source() -> None:
    table = benchmarks()
    assert {each.benchmark for each in KNOWN.sets} == set(table)
    assert not [name for name, each in table.items() if bool(each.tasks) == bool(each.none)]
    for each in KNOWN.sets:
        noise = noise_of(table[each.benchmark], each)
        assert noise.source
        assert noise.gap > 0
        assert "None" not in noise.source


def test_shipped_grades_are_of_the_shipped_scores() -> None:
    """Else run `python -m tools.grade_models`."""
    assert inputs_of_file() == inputs(KNOWN)
    for task in QUICK:
        found = rank(task, KNOWN.models, KNOWN.sets)
        assert {name: found.get(name, UNKNOWN) for name in KNOWN.models} == grades(task, KNOWN)


@pytest.mark.parametrize("task", TASKS)
def test_shipped_grades_are_what_they_say(task: Task) -> None:
    found = grades(task, KNOWN)
    placed = {name: grade for name, grade in found.items() if grade.position is not None}
    assert list(found) == list(KNOWN.models)
    for name, grade in placed.items():
        assert KNOWN.models[name].kind in ranked_kinds(task)
        assert 0 <= (grade.low or 0) <= (grade.position or 0) <= (grade.high or 0) <= 1
        assert grade.kind in ("graded", "thin")
        assert grade.sets == len(grade.evidence) > 0
        assert all(each.date and each.rank <= each.of for each in grade.evidence)
    assert all(grade.kind in ("unknown", "no_common_test") for name, grade in found.items() if name not in placed)


@pytest.mark.parametrize("task", ["chat", "reasoning"])
def test_what_is_assumed_to_stray_is_not_less_than_what_does(task: Task) -> None:
    tests = as_tests(
        compared(KNOWN.sets, {n: e for n, e in KNOWN.models.items() if e.kind in ranked_kinds(task)}, task)
    )
    strays = straying(tests, dict.fromkeys(ranked_models(tests), 0.0))
    assert strays is not None
    assert 0 < strays <= UNMEASURED


@pytest.mark.parametrize(
    ("task", "better", "worse"),
    [
        ("code", "Qwen/Qwen2.5-Coder-32B-Instruct", "codellama/CodeLlama-7b-Instruct-hf"),
        ("chat", "meta-llama/Llama-3.3-70B-Instruct", "meta-llama/Llama-2-7b-chat-hf"),
        ("math", "Qwen/Qwen3-235B-A22B-Thinking-2507", "google/gemma-2b-it"),
        ("reasoning", "openai/gpt-oss-120b", "TinyLlama/TinyLlama-1.1B-Chat-v1.0"),
        ("embedding", "Qwen/Qwen3-Embedding-8B", "sentence-transformers/all-MiniLM-L6-v2"),
    ],
)
def test_what_nobody_doubts_is_so(task: Task, better: str, worse: str) -> None:
    """Beyond both bounds, but for embeddings, of which there are too few tests."""
    found = grades(task, KNOWN)
    high, low = found[better], found[worse]
    assert (high.low or 0) > (low.high or 1) or (task == "embedding" and (high.position or 0) > (low.position or 1))


def test_a_users_own_model_is_unknown_and_one_of_another_kind_has_no_common_test() -> None:
    graded = next(name for name, grade in grades("code", KNOWN).items() if grade.kind == "graded")
    changed = KNOWN.models[graded].model_copy(update={"kind": "base"})
    own = Registry({**models("me/mine"), graded: changed})
    found = grades("code", own)
    assert found["me/mine"] == UNKNOWN
    assert found[graded].kind == "no_common_test"
    assert found[graded].evidence


def test_languages_are_graded_by_their_own_boards() -> None:
    assert "de" in languages_of("multilingual")
    german = grades("multilingual", KNOWN, "de")
    assert {each.test for grade in german.values() for each in grade.evidence} == {"LMArena text, German"}
    assert set(grades("multilingual", KNOWN, "fi").values()) == {UNKNOWN}


def test_a_page_about_a_model_shows_grades_with_what_they_rest_on() -> None:
    entry = KNOWN.models["bigcode/starcoder2-15b"]
    text = " ".join(" ".join(grade_lines(grades_of(entry, KNOWN), entry, KNOWN)).split())
    grade = grades("completion", KNOWN)[entry.id]
    counted = f"{grade.sets} sets of {grade.parties} parties, newest {grade.newest}"
    assert f"completion: graded {grade.position:.2f} ({grade.low:.2f} to {grade.high:.2f}); {counted}" in text
    assert f"{grade.evidence[0].rank} of {grade.evidence[0].of} in {grade.evidence[0].test}" in text
    assert "code: no common test" in text


def test_a_page_never_calls_an_unmeasured_model_bad() -> None:
    entry = models("me/mine", tasks=("audio", "chat"))["me/mine"]
    lines = " ".join(grade_lines(grades_of(entry, Registry({"me/mine": entry})), entry, KNOWN))
    assert "audio: not graded" in lines
    assert "chat: unknown" in lines
    assert Grade("unknown").position is None


def test_a_page_says_why_a_grade_is_thin() -> None:
    told = {}
    for name in ("zai-org/GLM-5.2", "Qwen/Qwen3-Reranker-8B"):
        entry = KNOWN.models[name]
        told[name] = " ".join(" ".join(grade_lines(grades_of(entry, KNOWN), entry, KNOWN)).split())
    assert "1 set of 1 party, one test, newest" in told["zai-org/GLM-5.2"]
    assert "6 sets of 1 party, makers alone, newest" in told["Qwen/Qwen3-Reranker-8B"]
