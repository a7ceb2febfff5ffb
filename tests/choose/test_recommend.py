"""What holds of every recommendation, whatever is asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.checks.read import lock_path
from compiler.choose.recommend.choice import GRADE_ORDER
from compiler.choose.recommend.constraints import constraints
from compiler.choose.recommend.recommend import Recommendation, recommend, why_not
from compiler.choose.recommend.relax import Asked, relaxations
from compiler.choose.recommend.stack import locked
from compiler.choose.recommend.standing import standing
from compiler.choose.recommend.wish import Budget, Cards, Wish
from compiler.choose.recommend.written import Part, spec_text
from compiler.ledger import Verdict
from compiler.lock.file import write_lock
from compiler.pipeline import compile_stack
from compiler.prices.user import UserPrices
from compiler.registry.read import Registry, registry
from tests.choose.wishes import machines, some_models, wishes

NOBODY = UserPrices()
FEW = settings(max_examples=6)


def found(wish: Wish, cards: Cards | None) -> Recommendation:
    return recommend(some_models(), wish, cards, NOBODY)


def names(wish: Wish, cards: Cards | None) -> set[str]:
    return {choice.entry.id for choice in found(wish, cards).rows}


@FEW
@given(wishes(), machines())
def test_every_row_is_what_was_asked_for(wish: Wish, cards: Cards) -> None:
    result = found(wish, cards)
    for choice in (*result.rows, *(each for listed in result.lists for each in listed.choices)):
        assert all(each.lacks(choice.entry) is None for each in constraints(wish, result.grades))
        assert choice.proof.fit.verdict is Verdict.FITS
        assert choice.cards.count <= cards.count
        assert wish.context in (None, choice.proof.context)
        assert wish.min_rate is None or (choice.rate or 0) >= wish.min_rate
        assert wish.max_ttft is None or (choice.ttft is not None and choice.ttft.expected <= wish.max_ttft)
        assert not wish.methods or choice.checkpoint.method in wish.methods


@FEW
@given(wishes(), machines())
def test_each_model_is_a_row_or_is_said_to_be_left_out(wish: Wish, cards: Cards) -> None:
    result = found(wish, cards)
    assert len(result.rows) + sum(each.count for each in result.removed) == len(some_models().models)
    assert all((each.example is None) == (each.count == 0) for each in result.removed)
    for entry in some_models().models.values():
        is_row = any(choice.entry is entry for choice in result.rows)
        assert why_not(entry, result).startswith("place" if is_row else "out by")


@FEW
@given(wishes(), machines(), st.data())
def test_a_condition_less_never_takes_a_model_away(wish: Wish, cards: Cards, data: st.DataObject) -> None:
    easier = [each.dropped for each in constraints(wish, found(wish, cards).grades) if each.dropped is not None]
    easier += [replace(wish, min_rate=None), replace(wish, max_ttft=None), replace(wish, methods=())]
    easier += [replace(wish, concurrency=None), replace(wish, budget=None)]
    assert names(wish, cards) <= names(data.draw(st.sampled_from(easier)), cards)


@FEW
@given(wishes(), st.sampled_from((("rtx-4090", "l40s"), ("a100-40gb", "a100-80gb"), ("h100-80gb", "h200"))))
def test_a_larger_card_never_loses_a_model(wish: Wish, cards: tuple[str, str]) -> None:
    wish = replace(wish, min_rate=None, max_ttft=None)
    smaller, larger = cards
    assert names(wish, Cards(smaller)) <= names(wish, Cards(larger))
    assert names(wish, Cards(smaller)) <= names(wish, Cards(smaller, 2))


@FEW
@given(wishes(), machines())
def test_what_nobody_measured_comes_after_what_somebody_did(wish: Wish, cards: Cards) -> None:
    rows = found(wish, cards).rows
    kinds = [(choice.proof.shortened, GRADE_ORDER.index(choice.grade.kind)) for choice in rows]
    assert kinds == sorted(kinds)


@settings(max_examples=2)
@given(wishes(), machines())
def test_what_would_help_does(wish: Wish, cards: Cards) -> None:
    hard = replace(wish, context=262144, most_parameters=10**8)
    result = found(hard, cards)
    assert result.rows == ()
    models = tuple(some_models().models.values())
    for each in relaxations(Asked(models, hard, cards, NOBODY, result.grades)):
        assert each.change
        assert each.example.proof.fit.verdict is Verdict.FITS


@settings(max_examples=2)
@given(wishes(), machines())
def test_winners_compile_as_they_are_written(
    tmp_path_factory: pytest.TempPathFactory, wish: Wish, cards: Cards
) -> None:
    result = found(replace(wish, min_rate=None, max_ttft=None, languages=()), cards)
    for listed in result.lists:
        part = Part("service", listed.choices[0], result.wish, f"{listed.decided}.")
        path: Path = tmp_path_factory.mktemp("stacks") / "mine.yaml"
        path.write_text(spec_text("mine", (part,), cards, "# mode"))
        write_lock(lock_path(path), locked((part,)))
        compiled, problems = compile_stack(path, "mine.yaml")
        assert compiled is not None, (problems, path.read_text())
        assert compiled.plan.services[0].model.repository == listed.choices[0].checkpoint.repository


def test_rented_cards_cost_no_more_than_the_budget() -> None:
    budget = Budget(0.5)
    result = found(Wish("chat", budget=budget), None)
    prices = [choice.per_hour for listed in result.lists for choice in listed.choices]
    assert prices
    assert all(price is not None and price.low <= budget.per_hour for price in prices)
    assert names(Wish("chat", budget=budget), None) <= names(Wish("chat", budget=Budget(3.0)), None)


def test_a_parser_that_only_a_recipe_names_stands_in_the_spec() -> None:
    names = ("Qwen/Qwen3.6-27B", "Qwen/Qwen3-32B", "Qwen/Qwen3-Coder-Next")
    known = Registry({name: registry().models[name] for name in names})
    wish = Wish("tools")
    result = recommend(known, wish, Cards("h200"), NOBODY)
    parsers = {choice.entry.id: choice.proof.engine_args for choice in result.rows}
    assert parsers == {"Qwen/Qwen3.6-27B": (("tool-call-parser", "qwen3_coder"),), "Qwen/Qwen3-32B": ()}
    assert why_not(known.models["Qwen/Qwen3-Coder-Next"], result).startswith("out by served: `tools`: no parser")
    part = Part("code", next(choice for choice in result.rows if choice.proof.engine_args), wish, "Because.")
    assert "engine_args: {tool-call-parser: qwen3_coder}" in spec_text("mine", (part,), Cards("h200"), "# mode")


def test_a_task_without_tests_is_graded_at_another_and_never_as_more_than_thin() -> None:
    own, other = standing("code", registry()), standing("vision", registry())
    assert (own.at, other.at) == ("code", "chat")
    assert "graded" in {grade.kind for grade in own.grades.values()}
    assert "graded" not in {grade.kind for grade in other.grades.values()}
    assert standing("embedding", registry()).at == "embedding"


CARD = Cards("rtx-pro-6000")


@pytest.mark.parametrize(
    ("model", "wish", "says"),
    [
        # What guides that people wrote by hand recommend, and what stands against it.
        ("mistralai/Mistral-7B-v0.1", Wish("chat"), "out by kind: it is a base model"),
        ("google/codegemma-2b", Wish("chat"), "out by kind: it is a base model"),
        ("microsoft/phi-2", Wish("chat"), "out by kind: it is a base model"),
        ("bigcode/starcoder2-15b", Wish("code"), "out by kind: it is a base model"),
        ("microsoft/Orca-2-7b", Wish("chat", commercial=True), "out by license: its licence forbids commercial use"),
        ("Qwen/Qwen2.5-3B-Instruct", Wish("chat", commercial=True), "out by license: its licence forbids"),
        ("CohereForAI/c4ai-command-r-v01", Wish("rag", commercial=True), "out by license: its licence forbids"),
        ("01-ai/Yi-34B-Chat", Wish("chat", context=32768), "out by context: it was trained for 4K"),
        ("Qwen/Qwen2.5-7B-Instruct", Wish("chat", context=131072), "out by context: it was trained for 32K"),
        ("microsoft/phi-4", Wish("chat", context=32768), "out by context: it was trained for 16K"),
        ("moonshotai/Kimi-K2.6", Wish("chat"), "out by fit: its weights alone take more than"),
        # What they warn of without need: longer contexts than they say, and fewer bits that fit.
        ("meta-llama/Llama-3.1-70B-Instruct", Wish("chat", context=32768), "place"),
        ("deepseek-ai/DeepSeek-R1-Distill-Llama-70B", Wish("reasoning", context=32768), "place"),
        ("deepseek-ai/deepseek-coder-33b-instruct", Wish("code", context=16384), "place"),
    ],
)
def test_why_a_model_is_not_recommended(model: str, wish: Wish, says: str) -> None:
    entry = registry().models[model]
    assert why_not(entry, recommend(Registry({model: entry}), wish, CARD, NOBODY)).startswith(says)


def test_what_lacks_memory_is_told_with_the_requests_that_would_fit() -> None:
    entry = registry().models["Qwen/Qwen3-32B"]
    wish = Wish("chat", context=32768, concurrency=4)
    told = why_not(entry, recommend(Registry({entry.id: entry}), wish, Cards("rtx-4090"), NOBODY))
    assert "GiB short; with requests of" in told
