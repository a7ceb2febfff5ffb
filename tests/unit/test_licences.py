"""Licences: what a model is used under, which stacks that stops, and what people are told of conditions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from compiler.cli.main import cli
from compiler.lock.file import read_lock, write_lock
from compiler.lock.models import ModelFacts
from compiler.pipeline import compile_stack
from compiler.registry.entry import Commercial
from compiler.registry.read import Registry, registry
from compiler.registry.terms import stricter_base, strictest, terms_of
from tests.cases.test_errors import ERRORS

HUB = "https://huggingface.co"
PLAIN = json.loads("""{"architectures": ["LlamaForCausalLM"]}""")


@pytest.fixture(scope="module")
def known() -> Registry:
    return registry()


def facts(license_: str | None, *bases: str, source: str = HUB) -> ModelFacts:
    return ModelFacts(source=source, license=license_, base_models=bases, config=PLAIN)


def verdict(key: str, locked: Mapping[str, ModelFacts], known: Registry) -> Commercial:
    return strictest(terms_of(key, locked, known)).commercial


def test_a_quantizer_cannot_give_away_what_is_not_theirs(known: Registry) -> None:
    locked = {"somebody/Codestral-AWQ": facts("apache-2.0", "mistralai/Codestral-22B-v0.1")}
    assert verdict("somebody/Codestral-AWQ", locked, known) == "no"


def test_a_base_counts_that_only_the_registry_knows_of(known: Registry) -> None:
    locked = {"TechxGenus/Codestral-22B-v0.1-AWQ": facts("mit")}
    assert verdict("TechxGenus/Codestral-22B-v0.1-AWQ", locked, known) == "no"


def test_a_base_of_a_base_counts(known: Registry) -> None:
    locked = {
        "a/quick": facts("mit", "b/tuned"),
        "b/tuned": facts("mit", "CohereLabs/aya-expanse-8b"),
    }
    assert [each.repository for each in terms_of("a/quick", locked, known)] == [
        "a/quick", "b/tuned", "CohereLabs/aya-expanse-8b",
    ]  # fmt: skip
    assert verdict("a/quick", locked, known) == "no"


def test_who_chooses_is_told_of_a_base_that_allows_less_and_of_no_other(known: Registry) -> None:
    distilled = known.models["deepseek-ai/DeepSeek-R1-Distill-Llama-8B"]
    base = stricter_base(distilled, known)
    assert base is not None
    assert (distilled.license.commercial, base.repository, base.commercial) == (
        "yes", "meta-llama/Llama-3.1-8B", "conditional",
    )  # fmt: skip
    assert stricter_base(known.models["Qwen/Qwen3-8B"], known) is None
    said = CliRunner().invoke(cli, ["models", "info", distilled.id]).output
    assert "made from meta-llama/Llama-3.1-8B, Llama 3.1 Community License" in said


def test_models_that_name_each_other_as_their_base_end(known: Registry) -> None:
    locked = {"a/one": facts("mit", "b/two"), "b/two": facts("mit", "a/one", "b/two")}
    assert verdict("a/one", locked, known) == "yes"


def test_what_was_made_from_more_models_than_anybody_looks_at_is_not_known(known: Registry) -> None:
    chain = {f"a/m{index}": facts("mit", f"a/m{index + 1}") for index in range(3000)}
    held = terms_of("a/m0", chain, known)
    assert len(held) < 200
    assert strictest(held).commercial == "unknown"
    assert verdict("a/m2950", chain, known) == "yes"


def test_a_base_that_its_makers_speak_for_is_still_unknown_to_others(known: Registry) -> None:
    locked = {
        "b/merge": facts("mit", "a/tuned", "a/never-seen"),
        "a/tuned": facts("mit", "a/never-seen"),
    }
    assert verdict("a/tuned", locked, known) == "yes"
    assert verdict("b/merge", locked, known) == "unknown"


def test_what_the_lock_read_wins_over_the_registry(known: Registry) -> None:
    """Makers change licences, mostly for more freedom."""
    assert verdict("Qwen/Qwen2.5-3B-Instruct", {}, known) == "no"
    assert verdict("Qwen/Qwen2.5-3B-Instruct", {"Qwen/Qwen2.5-3B-Instruct": facts("apache-2.0")}, known) == "yes"


@pytest.mark.parametrize("tag", ["house-terms", "other", None, "openrail-of-mine", "MIT-but-not-quite"])
def test_what_nobody_knows_is_not_taken_for_allowed(tag: str | None, known: Registry) -> None:
    assert verdict("a/model", {"a/model": facts(tag)}, known) == "unknown"
    assert verdict("/srv/model", {"/srv/model": facts(tag, source="folder")}, known) == "unknown"


def test_one_name_of_several_licences_promises_what_the_strictest_does(known: Registry) -> None:
    (held,) = terms_of("a/model", {"a/model": facts("modified-mit")}, known)
    assert held.commercial == "conditional"
    assert held.condition is not None
    assert "differ" in held.condition
    assert held.link == f"{HUB}/a/model"


def test_an_unknown_base_of_strangers_is_unknown_and_one_of_the_same_makers_is_not(known: Registry) -> None:
    assert verdict("a/tuned", {"a/tuned": facts("mit", "b/never-seen")}, known) == "unknown"
    assert verdict("a/tuned", {"a/tuned": facts("mit", "a/never-seen")}, known) == "yes"


def test_a_trusted_quantizer_who_states_nothing_adds_nothing(known: Registry) -> None:
    key = "hugging-quants/Meta-Llama-3.1-8B-Instruct-AWQ-INT4"
    for locked in ({}, {key: facts(None)}, {key: facts(None, "meta-llama/Llama-3.1-8B-Instruct")}):
        (held,) = terms_of(key, locked, known)
        assert (held.repository, held.made_into) == ("meta-llama/Llama-3.1-8B-Instruct", key)
    assert verdict("a/AWQ", {"a/AWQ": facts(None, "meta-llama/Llama-3.1-8B-Instruct")}, known) == "unknown"


def test_every_licence_has_a_place_to_read_it(known: Registry) -> None:
    for name in known.models:
        assert all((held.link or "").startswith("https://") for held in terms_of(name, {}, known)), name


def spec_with(tmp_path: Path, case: str, policy: str) -> Path:
    """A copy of a case's spec with another policy, and the lock beside it."""
    for file in (ERRORS / case).glob("*.yaml"):
        (tmp_path / file.name).write_text(file.read_text().replace("{commercial: true}", policy))
    return tmp_path / f"{case}.yaml"


@pytest.mark.parametrize(
    ("case", "named"),
    [
        ("commercial-own", "example/notes-8b"),
        ("commercial-base", "Example/codestral-awq"),
        ("commercial-base", "mistralai/Codestral-22B-v0.1"),
        ("commercial-unstated", "somebody/secret-8b"),
    ],
)
def test_who_answers_for_a_licence_may_serve(tmp_path: Path, case: str, named: str) -> None:
    path = spec_with(tmp_path, case, f"{{commercial: true, licensed: [{named}]}}")
    compiled, found = compile_stack(path, path.name)
    assert compiled is not None, found
    other = spec_with(tmp_path, case, "{commercial: true, licensed: [example/other]}")
    assert {"E0322"} <= {each.code for each in compile_stack(other, other.name)[1]}


def test_of_several_variants_one_that_may_be_used_is_served(tmp_path: Path) -> None:
    """The model that was asked for comes first otherwise."""
    path = spec_with(tmp_path, "commercial-own", "{commercial: true}")
    lock_file = path.with_name("commercial-own.lock.yaml")
    lock, _ = read_lock(lock_file, lock_file.name)
    assert lock is not None
    own = lock.models["example/notes-8b"]
    free = own.model_copy(update={"license": "mit"})
    names = ("example/notes-8b", "example/notes-8b-free")
    service = lock.services["chat"].model_copy(update={"candidates": names})
    models = dict(zip(names, (own, free), strict=True))
    write_lock(lock_file, lock.model_copy(update={"services": {"chat": service}, "models": models}))
    compiled, found = compile_stack(path, path.name)
    assert compiled is not None, found
    assert compiled.plan.services[0].model.repository == "example/notes-8b-free"


def conditional(tmp_path: Path, policy: str) -> Path:
    path = spec_with(tmp_path, "commercial-own", policy)
    lock = path.with_name("commercial-own.lock.yaml")
    lock.write_text(lock.read_text().replace("cc-by-nc-4.0", "llama3.1"))
    return path


def test_conditions_are_told_with_their_link_where_use_is_commercial(tmp_path: Path) -> None:
    path = conditional(tmp_path, "{commercial: true}")
    compiled, found = compile_stack(path, path.name)
    assert compiled is not None
    (warning,) = (each for each in found if each.code == "W0308")
    assert "700 million" in warning.notes[0]
    assert warning.notes[1].startswith("its text: https://")
    for policy in ("{commercial: false}", "{commercial: true, licensed: [example/notes-8b]}"):
        path = conditional(tmp_path, policy)
        assert "W0308" not in {each.code for each in compile_stack(path, path.name)[1]}


def licences(*arguments: str) -> Any:
    return CliRunner().invoke(cli, ["licenses", *arguments])


def test_the_report_names_every_licence_and_says_who_says_so() -> None:
    result = licences("stacks/coder-solo-96gb.yaml", "--format", "json")
    assert result.exit_code == 0
    (model,) = json.loads(result.stdout)["stacks"]["coder-solo-96gb"]
    assert model["served"]
    assert model["commercial"] == "conditional"
    own, base = model["licenses"]
    assert (own["of"], own["source"]) == (model["model"], "lock")
    assert (base["made_into"], base["source"]) == (model["model"], "registry")
    text = licences("stacks/coder-solo-96gb.yaml").stdout
    for each in (own, base):
        assert each["link"].startswith("https://")
        assert each["link"] in text
        assert each["of"] in text
    assert all(len(line) <= 80 or "https://" in line for line in text.splitlines())


def test_the_report_of_a_stack_that_may_not_serve_lists_what_it_was_refused_for() -> None:
    result = licences(str(ERRORS / "commercial-base" / "commercial-base.yaml"), "--format", "json")
    assert result.exit_code == 1
    answer = json.loads(result.stdout)
    assert [each["code"] for each in answer["diagnostics"]] == ["E0322"]
    (model,) = answer["stacks"]["commercial-base"]
    assert not model["served"]
    assert model["commercial"] == "no"
