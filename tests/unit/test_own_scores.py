"""Figures in a user's own file: they stand in the same sets, and grade the same way; those that cannot are told."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from compiler.choose.grades import Grade, grades
from compiler.registry.read import Registry, registry

MODELS = "models:\n  - {id: me/coder, base_model: Qwen/Qwen2.5-Coder-7B-Instruct}\n"
LEADERBOARD = "  - {benchmark: HumanEval+, run_by: EvalPlus, values: {me/coder: 84.1}}\n"
OWN = """\
  - benchmark: OJ-Bench
    run_by: me
    date: 2026-11
    values: {me/coder: 30, Qwen/Qwen2.5-Coder-7B-Instruct: [20, 18, 22], Qwen/Qwen2.5-Coder-32B-Instruct: 33}
"""


def read(folder: Path, scores: str, models: str = MODELS) -> Registry:
    path = folder / "models.yaml"
    path.write_text(f"{models}scores:\n{scores}")
    return registry([path])


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Grade]:
    known = read(tmp_path_factory.mktemp("own"), LEADERBOARD + OWN)
    assert known.problems == ()
    return grades("code", known)


def test_a_users_model_is_graded_by_its_figures_beside_those_that_ship(found: Mapping[str, Grade]) -> None:
    grade, shipped = found["me/coder"], grades("code", registry())
    assert (grade.kind, grade.sets, grade.parties, grade.newest) == ("graded", 2, 2, "2026-11")
    by_test = {each.test: each for each in grade.evidence}
    # Of the leaderboard's models, with how they were run: one more than ship.
    (plus,) = (each for name, each in by_test.items() if name.startswith("HumanEval+"))
    (before,) = (
        each
        for each in shipped["Qwen/Qwen2.5-Coder-32B-Instruct"].evidence
        if each.test == plus.test and each.run_by == "EvalPlus"
    )
    assert plus.of == before.of + 1
    assert by_test["OJ-Bench"].rank == 2
    assert not by_test["OJ-Bench"].independent
    assert by_test["OJ-Bench"].source.endswith("models.yaml:5")


def test_others_move_little_and_are_no_surer_than_before(found: Mapping[str, Grade]) -> None:
    for name, before in grades("code", registry()).items():
        assert (before.place is None) == (found[name].place is None)
        if (now := found[name].place) is not None and (was := before.place) is not None:
            assert abs(now[0] - was[0]) < 0.05
            assert now[2] - now[0] >= min(1 - now[0], was[2] - was[0]) - 0.002
            assert now[0] - now[1] >= min(now[0], was[0] - was[1]) - 0.002


def test_tasks_of_which_a_file_says_nothing_are_as_they_ship(tmp_path: Path) -> None:
    known = read(tmp_path, LEADERBOARD)
    math = dict(grades("math", known))
    assert math.pop("me/coder").kind == "unknown"
    assert math == grades("math", registry())


@pytest.mark.parametrize(
    ("scores", "told"),
    [
        ("  - {benchmark: HumanEvl, run_by: me, date: 2026-11, values: {me/coder: 1}}", "no test is called `HumanEvl`"),
        (
            "  - {benchmark: MBPP+, run_by: me, values: {me/coder: 1}}",
            "has no `date`, and undated figures grade nothing",
        ),
        (
            "  - {benchmark: MBPP+, run_by: me, date: soon, values: {me/coder: 1}}",
            "`date` of a set of scores must be a day",
        ),
        (
            "  - {benchmark: MBPP+, run_by: me, date: 2026-11, values: {me/coder: high}}",
            "a number each, or [value, low",
        ),
        (
            "  - {benchmark: MBPP+, run_by: me, date: 2026-11, values: {me/codr: 1}}",
            "`me/codr` has a figure, and is no",
        ),
        ("  - {benchmark: MBPP+, run_by: me, date: 2026-11, values: {me/coder: [5, 6, 7]}}", "do not hold its value"),
        ("  - {benchmark: MBPP+, run_by: me, date: 2026-11, values: {}}", "`values` of a set of scores must be a map"),
        ("  - {benchmark: MBPP+, run_by: me, date: 2026-11, score: 3, values: {me/coder: 1}}", "has no key `score`"),
        ("  - {benchmark: MBPP+, run_by: me, date: 2026-11, values: {me/coder: .nan}}", "that is not finite"),
        ("  - {benchmark: MBPP+, run_by: me, date: 2026-11, values: {me/coder: [1, -.inf, 3]}}", "that is not finite"),
        ("  - HumanEval", "a set of scores must be a map"),
        ("  a: b", "`scores` must be a list"),
    ],
)
def test_what_cannot_grade_is_told_where_it_stands(tmp_path: Path, scores: str, told: str) -> None:
    known = read(tmp_path, scores + "\n")
    (problem,) = known.problems
    assert problem.code == "E0320"
    assert told in problem.message
    assert problem.label is not None
    assert problem.label.span.start.line >= 4
    assert known.own_sets == ()
    assert known.sets == registry().sets


def test_a_near_name_is_offered(tmp_path: Path) -> None:
    (problem,) = read(
        tmp_path, "  - {benchmark: HumanEvl, run_by: me, date: 2026-11, values: {me/coder: 1}}\n"
    ).problems
    assert [each.text for each in problem.helps] == ["did you mean `HumanEval`?"]


def test_the_set_that_ships_is_offered_where_another_variant_is_named(tmp_path: Path) -> None:
    row = "  - {benchmark: HumanEval+, run_by: EvalPlus, variant: pass@5, values: {me/coder: 1}}\n"
    (problem,) = read(tmp_path, row).problems
    (ships,) = (each for each in registry().sets if (each.benchmark, each.run_by) == ("HumanEval+", "EvalPlus"))
    assert f"`variant: {ships.variant}` and `date: {ships.date}`" in problem.helps[0].text


def test_one_set_in_two_rows_is_one(tmp_path: Path) -> None:
    row = "  - {benchmark: OJ-Bench, run_by: me, date: 2026-11, values: {me/coder: 1}}\n"
    other = row.replace("me/coder: 1", "Qwen/Qwen3-8B: 2")
    sets = [each for each in read(tmp_path, row + other).sets if each.run_by == "me"]
    assert [set(each.values) for each in sets] == [{"me/coder", "Qwen/Qwen3-8B"}]


def test_so_many_models_that_grading_them_would_never_end_are_refused(tmp_path: Path) -> None:
    names = [f"me/model{number}" for number in range(151)]
    models = "models:\n" + "".join(f"  - {{id: {name}, base_model: Qwen/Qwen3-8B}}\n" for name in names)
    values = ", ".join(f"{name}: {number}" for number, name in enumerate(names))
    known = read(tmp_path, f"  - {{benchmark: OJ-Bench, run_by: me, date: 2026-11, values: {{{values}}}}}\n", models)
    assert [each.message for each in known.problems] == ["`scores` must have values of at most 150 models"]
    assert known.own_sets == ()


def test_a_value_that_differs_from_what_ships_holds_and_is_told(tmp_path: Path) -> None:
    name = "Qwen/Qwen2.5-Coder-32B-Instruct"
    known = read(tmp_path, f"  - {{benchmark: HumanEval+, run_by: EvalPlus, values: {{{name}: 1.5}}}}\n")
    (warning,) = known.problems
    assert warning.code == "W0307"
    assert name in warning.message
    (changed,) = (each for each in known.sets if (each.benchmark, each.run_by) == ("HumanEval+", "EvalPlus"))
    assert changed.values[name].value == 1.5
