"""`stackc fit MODEL` over many cards, and the smallest machine for each quantization: what is told is what is so."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from compiler.catalog.hardware.gpus import GPUS
from compiler.choose.candidates import Candidates, candidates_of, find_candidates
from compiler.choose.cards import CardAnswer, by_memory, over_cards
from compiler.choose.demand import Demand, gpus, question_of
from compiler.choose.fits import ask, lock_of
from compiler.choose.least import least_machines, usual_demand
from compiler.cli.main import cli
from compiler.engines.vllm.judge import judge
from compiler.ledger import Verdict
from compiler.registry.read import registry
from compiler.solve import attempt
from tests.conftest import ROOT
from tests.hub.server import serve

MODEL = "Qwen/Qwen3-8B"
AWQ = "Qwen/Qwen2.5-Coder-32B-Instruct-AWQ"
# Dense with many variants, experts in a format of their own, recurrent states with a tower, and an embedder.
KINDS = (MODEL, "openai/gpt-oss-20b", "Qwen/Qwen3.5-35B-A3B", "BAAI/bge-m3")
SOME = ("rtx-3070", "l4", "rtx-5090", "h100-80gb", "b200")


def known(name: str) -> Candidates:
    entry = registry().find(name)
    assert entry is not None
    return candidates_of(entry)


def answers(found: Candidates, cards: tuple[str, ...], demand: Demand | None = None) -> list[CardAnswer]:
    demand = demand or usual_demand(found.entry)
    lock = lock_of(found.repository, found.models, demand.quantization)
    return list(over_cards(question_of(demand), lock, [GPUS[name] for name in cards]))


def run(*words: str) -> Result:
    return CliRunner().invoke(cli, list(words), env={"COLUMNS": None, "FORCE_COLOR": None})


def asked(*words: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(*words, "--format", "json").stdout)
    return found


@pytest.fixture(scope="module")
def everywhere() -> dict[str, Any]:
    return asked("fit", MODEL)


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an empty folder, with nobody to ask."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")


def test_every_card_is_answered_without_a_network_the_smallest_first(everywhere: dict[str, Any]) -> None:
    assert everywhere["ok"]
    assert set(everywhere["candidates"]) == set(known(MODEL).models)
    assert everywhere["facts_from"] == "the registry, not read from the Hub"
    assert [each["gpu"] for each in everywhere["cards"]] == [gpu.name for gpu in by_memory(GPUS.values())]
    for each in everywhere["cards"]:
        fits = each["verdict"] == Verdict.FITS.value
        assert fits == (each["code"] is None), each["gpu"]
        assert not fits or each["most_context"] >= each["context"] == 8192, each["gpu"]
        assert not fits or each["most_concurrency"] >= 1, each["gpu"]
        assert (each["short_bytes"] is not None) <= (not fits), each["gpu"]


def test_a_line_a_card_holds_in_eighty_columns(everywhere: dict[str, Any]) -> None:
    lines = run("fit", MODEL).stdout.splitlines()
    assert max(map(len, lines)) <= 80
    for each in everywhere["cards"]:
        assert sum(line.split()[0] == each["gpu"] for line in lines if line) == 1, each["gpu"]


def test_one_card_is_answered_as_it_is_among_all(everywhere: dict[str, Any]) -> None:
    """The one card is asked by compiling a spec, which has more to say."""
    for name in ("rtx-3070", "l4"):
        (among,) = (each for each in everywhere["cards"] if each["gpu"] == name)
        alone = asked("fit", MODEL, "--gpu", name)
        assert alone["verdict"] == among["verdict"]
        assert alone["ok"] == (among["verdict"] == Verdict.FITS.value)
        if alone["ok"]:
            service = alone["plan"]["services"][0]
            assert service["model"]["repository"] == among["candidate"]
            alone["plan"]["speed"][0].pop("service")
            assert alone["plan"]["speed"][0] == among["speed"]


def test_most_is_the_most_and_one_more_does_not_fit() -> None:
    found = known(MODEL)
    for each in answers(found, ("l4", "h100-80gb")):
        most = each.fit.most_concurrency
        assert most is not None
        for concurrency, fits in ((most, True), (most + 1, False)):
            demand = Demand(concurrency=concurrency)
            chosen = {str(each.fit.candidate): found.models[str(each.fit.candidate)]}
            again = ask(chosen, gpus(each.gpu.name), demand, wants_most=False)
            assert (again.verdict is Verdict.FITS) == fits


@pytest.mark.parametrize("name", KINDS)
def test_trying_the_best_alone_changes_no_answer(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = known(name)
    quick = answers(found, SOME)
    monkeypatch.setattr(attempt, "_best_alone", lambda *_: None)
    judge._JUDGED.clear()
    for card, one, other in zip(SOME, quick, answers(found, SOME), strict=True):
        assert (one.fit.verdict, one.fit.candidate, one.fit.short) == (
            other.fit.verdict,
            other.fit.candidate,
            other.fit.short,
        ), card
        assert (one.fit.most_context, one.fit.most_concurrency, one.fit.slack, one.speed) == (
            other.fit.most_context,
            other.fit.most_concurrency,
            other.fit.slack,
            other.speed,
        ), card


def test_what_another_service_was_refused_for_is_no_answer_to_this_one() -> None:
    """Candidates are judged once for a capability: not for another task, length or policy."""
    found = known(MODEL)
    usual = usual_demand(found.entry)
    (plain,) = answers(found, ("l4",), usual)
    (embeds,) = answers(found, ("l4",), replace(usual, task="score"))
    (long,) = answers(found, ("l4",), replace(usual, context=10**6))
    assert plain.is_proved
    assert (embeds.fit.code, long.fit.code) == ("E0308", "E0403")
    assert answers(found, ("l4",), usual) == [plain]


def test_a_lock_is_believed_before_the_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked("fit", AWQ, "--gpu", "a10,l4")["facts_from"].startswith("the registry")
    monkeypatch.chdir(ROOT)
    assert asked("fit", AWQ, "--gpu", "a10,l4")["facts_from"].startswith("stacks/")


def test_the_hub_is_asked_where_it_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        assert asked("fit", AWQ, "--gpu", "a10,l4", "--hub")["facts_from"] == "the Hub"


def test_a_model_is_found_by_part_of_its_name_in_any_case() -> None:
    assert asked("fit", "qwen3-8b", "--gpu", "l4,a10")["model"] == MODEL


def test_who_names_publishers_trusts_no_others() -> None:
    small = ("--gpu", "rtx-3080-10gb,a2000-12gb", "--quantization")
    by_anyone = asked("fit", MODEL, *small, "compressed-tensors")
    assert {each["candidate"].partition("/")[0] for each in by_anyone["cards"]} == {"RedHatAI"}
    own = asked("fit", MODEL, *small, "auto", "--publisher", "somebody")
    assert {each["candidate"] for each in own["cards"]} == {"Qwen/Qwen3-8B-AWQ"}


def test_a_quantized_repository_is_asked_about_by_its_own_name() -> None:
    found = find_candidates(registry(), "redhatai/qwen3-8b-nvfp4")
    assert found is not None
    assert tuple(found.models) == ("RedHatAI/Qwen3-8B-NVFP4",)


def test_ones_own_price_is_told_first() -> None:
    Path("stacks").mkdir()
    price = "{gpu: l4, per_hour: 0.11, currency: EUR, kind: reserved, date: 2026-11, provider: us}"
    Path("stacks/models.yaml").write_text(f"prices: [{price}]\n")
    (line,) = (line for line in run("fit", MODEL, "--gpu", "l4,a10").stdout.splitlines() if line.startswith("l4 "))
    assert line.split()[-1] == "0.11"


@pytest.mark.parametrize("cards", [",", "l4,voodoo"])
def test_a_list_of_cards_names_cards(cards: str) -> None:
    assert run("fit", MODEL, "--gpu", cards).exit_code == 2


def test_an_unknown_model_is_told_with_the_nearest() -> None:
    result = run("fit", "Qwen/Qwen3-8b-Instruct", "--gpu", "l4,a10")
    assert result.exit_code == 3
    assert "did you mean `Qwen/Qwen3-" in result.output


def test_a_card_that_is_refused_or_too_small_says_why() -> None:
    found = asked("fit", "meta-llama/Llama-3.3-70B-Instruct", "--gpu", "l4,v100-16gb")
    assert not found["ok"]
    old, small = found["cards"]
    assert (old["verdict"], old["code"]) == (None, "E0208")
    assert small["short_bytes"] > 0
    text = run("fit", "meta-llama/Llama-3.3-70B-Instruct", "--gpu", "l4,v100-16gb").stdout
    assert "fits on none of these cards" in text
    assert "no kernels: " in text


@pytest.mark.parametrize("name", ["Qwen/Qwen2.5-7B-Instruct", "deepseek-ai/DeepSeek-V3.1"])
def test_no_smaller_machine_than_the_smallest_would_do(name: str) -> None:
    found = known(name)
    demand = usual_demand(found.entry)
    rows = list(least_machines(found, demand))
    assert rows
    assert sorted(each for row in rows for each in row.repositories) == sorted(found.models)
    for row in rows:
        assert row.answer is not None
        assert row.answer.is_proved
        models = {each: found.models[each] for each in row.repositories}
        smaller = [gpu.name for gpu in by_memory(GPUS.values()) if gpu.memory < row.answer.gpu.memory][-4:]
        for card in smaller:
            assert ask(models, gpus(card, row.answer.count), demand, wants_most=False).verdict is not Verdict.FITS


def test_info_tells_the_smallest_machines() -> None:
    found = asked("models", "info", MODEL)["fits"]
    least = {row["quantization"]: row["machine"]["memory_bytes"] for row in found["least"]}
    assert least["awq"] < least["none"]
    sizes = [row["download_bytes"] for row in found["least"]]
    assert max(sizes) == found["least"][0]["download_bytes"] > 16 * 10**9
    text = run("models", "info", MODEL).stdout
    assert max(map(len, text.splitlines())) <= 80
    assert "smallest machines, proved, for one request of 8K tokens" in text


def test_cards_with_more_memory_and_the_same_units_never_hold_less() -> None:
    found = known(MODEL)
    cards = ("rtx-5060-ti-16gb", "rtx-5090", "rtx-pro-5000", "rtx-pro-6000")
    contexts = [each.fit.most_concurrency or 0 for each in answers(found, cards)]
    assert all(less <= more for less, more in pairwise(contexts))
