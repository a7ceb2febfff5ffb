"""A user's own models: what the file says holds, what is wrong with it is told where it stands, and it is kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from compiler.cli.main import cli
from compiler.diagnostics import Diagnostic
from compiler.ledger import Verdict
from compiler.lock.models import ModelFacts
from compiler.registry.facts import Unplannable, facts_of
from compiler.registry.read import Registry, registry
from tests.conftest import ROOT, WIDE
from tests.hub.builders import repository
from tests.hub.server import serve
from tests.models.plans import asked
from tests.unit.test_memory import QWEN3_8B

BASE = "Qwen/Qwen2.5-7B-Instruct"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of one's own in a folder where commands are run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "stacks").mkdir()
    return tmp_path / "stacks" / "models.yaml"


def known(file: Path, text: str) -> Registry:
    file.write_text(text)
    return registry((file,))


def said(found: Registry) -> list[tuple[str, str]]:
    return [(each.code, each.message) for each in found.problems]


def line(each: Diagnostic) -> int:
    assert each.label is not None
    return each.label.span.start.line


def run(*arguments: str, command: str = "models") -> Result:
    return CliRunner().invoke(cli, [command, *arguments], env=WIDE)


def test_a_fine_tune_is_what_its_base_is_but_for_what_it_says(file: Path) -> None:
    found = known(
        file,
        f"""\
models:
  - id: acme/support-7b
    base_model: {BASE}
    context: 64K
    license: {{tag: acme, name: Acme internal, commercial: "yes"}}
""",
    )
    entry, base = found.models["acme/support-7b"], found.models[BASE]
    assert found.problems == ()
    assert (entry.context, entry.parameters, entry.tasks) == (65536, base.parameters, base.tasks)
    assert entry.license.name == "Acme internal"
    # What is the base's own is not its fine-tune's.
    assert (entry.quantized, entry.downloads, entry.released) == ((), None, None)
    assert entry.sources["context"] == f"{file}:2"
    assert entry.sources["parameters"] == f"as of {BASE}"
    assert found.license_link(entry) is None


def test_a_fine_tune_is_planned_as_its_base(file: Path) -> None:
    """Nobody can read it on the Hub: that it has as many parameters has to do."""
    found = known(
        file,
        f"""\
models:
  - id: acme/support-7b
    base_model: {BASE}
    quantized: [{{repository: acme/support-7b-AWQ, format: awq}}]
""",
    )
    entry, base = found.models["acme/support-7b"], found.models[BASE]
    facts, packed, expected = facts_of(entry), facts_of(entry, "acme/support-7b-AWQ"), facts_of(base)
    assert isinstance(facts, ModelFacts)
    assert isinstance(packed, ModelFacts)
    assert isinstance(expected, ModelFacts)
    assert facts.config == packed.config == expected.config
    assert facts.quantization is None
    assert packed.quantization is not None
    assert packed.quantization["quant_method"] == "awq"


@pytest.mark.parametrize(
    ("rest", "reason"),
    [
        (f"base_model: {BASE}, parameters: 7.7B", "7700000000 parameters and its base"),
        ("base_model: openai/gpt-oss-20b", "is quantized, and a fine-tune may not be"),
        ("base_model: Qwen/Qwen-VL-Chat", "no reader for QWenLMHeadModel"),
        ("kind: instruct, parameters: 7B, context: 8K, license: mit", "not known here"),
    ],
)
def test_a_shape_that_nobody_knows_is_not_guessed(file: Path, rest: str, reason: str) -> None:
    facts = facts_of(known(file, f"models: [{{id: acme/it, {rest}}}]").models["acme/it"])
    assert isinstance(facts, Unplannable)
    assert reason in facts.reason


def test_a_config_of_its_own_is_planned_with(file: Path) -> None:
    block = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}
    rows = [
        {"id": "acme/own", "base_model": BASE, "parameters": "8.2B", "config": QWEN3_8B},
        {"id": "acme/own-awq", "base_model": BASE, "config": QWEN3_8B | {"quantization_config": block}},
    ]
    found = known(file, json.dumps({"models": rows}))
    assert found.problems == ()
    whole, packed = (_weights(found, name) for name in ("acme/own", "acme/own-awq"))
    assert 16.3e9 < whole < 16.5e9
    assert packed < whole / 2


def _weights(found: Registry, name: str) -> int:
    entry = found.models[name]
    facts = facts_of(entry)
    assert isinstance(facts, ModelFacts)
    fit = asked(entry, facts, name, context=1024)
    assert fit.verdict is Verdict.FITS
    assert fit.weights is not None
    return fit.weights


def test_what_differs_from_what_ships_is_said_once(file: Path) -> None:
    """Two files, and a row that says the same as what ships: one warning, with the fields."""
    other = file.with_name("other.yaml")
    other.write_text(f"models: [{{id: {BASE}, context: 16K}}]")
    file.write_text(f"models:\n  - {{id: {BASE}, context: 64K}}\n  - {{id: Qwen/Qwen3-8B, context: 40960}}\n")
    found = registry((file, other))
    assert said(found) == [("W0307", f"{file}:2 says otherwise of {BASE} than what ships with stackc: context")]
    assert found.models[BASE].context == 65536
    assert found.shadowed == {BASE: ("context",)}


def test_who_asks_about_such_a_model_is_told(file: Path) -> None:
    file.write_text("models: [{id: Qwen/Qwen3-8B, context: 64K}]")
    for model, cards, times in (("Qwen3-8B", "l4", 1), ("Qwen3-8B", "l4,l40s", 1), ("Qwen3-14B", "l4,l40s", 0)):
        assert run(model, "--gpu", cards, command="fit").output.count("warning[W0307]") == times


@pytest.mark.parametrize(
    ("row", "message", "at"),
    [
        ("id: acme/x\n    licence: mit", "unknown key `licence`", 3),
        ("id: acme/x\n    license: apache2", "`acme/x`: no licence is known as `apache2`", 3),
        ("id: acme/x\n    context: lots", "`acme/x`: `context` must be a number of tokens, such as 32K", 3),
        ("id: acme/x\n    parameters: -3", "`acme/x`: `parameters` must be at least 1", 3),
        (
            "id: acme/x\n    released: soon",
            "`acme/x`: `released` must be a day, a month or a year, such as 2026-11-09",
            3,
        ),
        ("id: acme/x\n    active_parameters: 90B", "`acme/x` has more active_parameters than parameters", 2),
        ("id: acme/x\n    config: 3", "`acme/x`: `config` must be a map of keys to values", 3),
        ("id: a b", "`a b`: `id` is not the name of a repository of the Hub, as `publisher/model`", 2),
        ("name: acme/x", "a model of the user's has no `id`", 2),
    ],
)
def test_what_is_wrong_is_told_where_it_stands(file: Path, row: str, message: str, at: int) -> None:
    base = "" if "name:" in row else f"\n    base_model: {BASE}"
    found = known(file, f"models:\n  - {row}{base}\n  - {{id: acme/right, base_model: {BASE}}}\n")
    assert said(found) == [("E0320", message)]
    assert line(found.problems[0]) == at
    # The rest of the file is used.
    assert "acme/right" in found.models
    assert "acme/x" not in found.models


def test_all_that_lacks_is_told_together(file: Path) -> None:
    (bare,) = known(file, "models: [{id: acme/x}]").problems
    assert bare.message == "`acme/x` has no `kind`, `parameters`, `license` and `context`"
    (unheard,) = known(file, "models: [{id: acme/x, base_model: Qwen/Qwen2.5-8B-Instruct}]").problems
    assert unheard.message.endswith("and of its base `Qwen/Qwen2.5-8B-Instruct` nothing is known")
    assert unheard.helps[0].text == f"did you mean `{BASE}`?"


def test_models_that_are_made_of_each_other_are_of_nothing(file: Path) -> None:
    found = known(file, "models: [{id: a/x, base_model: a/y}, {id: a/y, base_model: a/x}, {id: a/z, base_model: a/z}]")
    assert [each.code for each in found.problems] == ["E0320"] * 3


@pytest.mark.parametrize(
    "text", ["- a", "models: 3", "models: {a: b}", "a: &a [*a]", "models: [{id: a/b, id: a/c}]", "\t"]
)
def test_a_file_that_is_none_is_no_disaster(file: Path, text: str) -> None:
    found = known(file, text)
    assert found.problems
    assert len(found.models) >= 302


def test_a_name_that_nobody_has_leads_to_those_that_are_like_it(file: Path) -> None:
    result = run("info", "Qwen/Qwen3-8b-Instruct")
    assert result.exit_code == 1
    assert "error[E0321]: the registry has no model `Qwen/Qwen3-8b-Instruct`" in result.output
    assert "did you mean `Qwen/Qwen3-8B`?" in result.output
    # Of a quantized repository, the model of which it is.
    assert "did you mean `Qwen/Qwen3-8B`?" in run("info", "qwen/qwen3-8b-awq").output
    assert run("info", "QWEN3-8B").exit_code == 0
    # Of a name of Ollama's library, what that stands for, and not the base model that is spelled more alike.
    assert registry().nearest("llama3.1:8b-instruct-q4_K_M") == ("meta-llama/Llama-3.1-8B-Instruct",)


COMMENTED = f"""\
# ask Ada before you change one
models:
  # since May
  - id: acme/live      # the one that is live
    base_model: {BASE}

hardware: []
"""


@pytest.fixture
def config(file: Path) -> Path:
    path = file.with_name("config.json")
    path.write_text(json.dumps(QWEN3_8B))
    return path


def test_a_model_is_added_below_the_others(file: Path, config: Path) -> None:
    file.write_text(COMMENTED)
    result = run("add", "acme/own", "--config", str(config))
    assert result.exit_code == 0, result.output
    text = file.read_text()
    kept = [each for each in COMMENTED.splitlines() if each]
    assert [each for each in text.splitlines() if each in kept] == kept
    entry = registry((file,)).models["acme/own"]
    assert (entry.parameters, entry.context, entry.license.commercial) == (8_190_735_360, 40960, "unknown")
    assert isinstance(facts_of(entry), ModelFacts)
    again = run("add", "acme/own", "--config", str(config))
    assert "which it describes already" in again.output
    assert file.read_text() == text


def test_of_a_fine_tune_only_what_differs_is_written(file: Path, config: Path) -> None:
    result = run("add", "acme/tuned", "--config", str(config), "--base", "Qwen3-8B", "--format", "json")
    row: dict[str, Any] = json.loads(result.stdout)["row"]
    assert row.keys() == {"id", "license", "base_model"}
    # With more words than its base has it is another shape, and its config.json goes with it.
    config.write_text(json.dumps(QWEN3_8B | {"vocab_size": 160000}))
    result = run("add", "acme/wider", "--config", str(config), "--base", "Qwen3-8B", "--format", "json")
    row = json.loads(result.stdout)["row"]
    assert row.keys() == {"id", "parameters", "license", "base_model", "config"}


def test_a_file_that_takes_no_model_is_left_alone(file: Path, config: Path) -> None:
    for text in ("models: 3\n", "- a\n", "models: [\n"):
        file.write_text(text)
        result = run("add", "acme/own", "--config", str(config))
        assert result.exit_code == 1
        assert "error[E0" in result.output
        assert file.read_text() == text


def test_what_is_no_config_is_refused(file: Path, config: Path) -> None:
    for text in ("[]", "{", '{"architectures": ["Unheard"]}'):
        config.write_text(text)
        result = run("add", "acme/own", "--config", str(config))
        assert result.exit_code == 1, result.output
        assert "error[E0309]" in result.output
        assert not file.exists()
    assert run("add", "acme/own", "--config", str(config), "--base", "Qwen/Qwen3-9B").exit_code == 1
    assert run("add", "acme/own", "--config", str(config), "--from-hub").exit_code == 2


@pytest.mark.parametrize(
    "text",
    [
        f"models: [{{id: acme/x, base_model: {BASE}, context: 64K, parameters: 7.6B, license: apache-2.0}}]",
        "models: [{id: acme/x, license: {tag: x, name: X, commercial: no}, kind: base, parameters: 3, context: 1}]",
        "models: [{id: acme/x, licence: mit}]",
        f"models: [{{id: acme/x, base_model: {BASE}, context: lots}}]",
        f"models: [{{id: acme/x, base_model: {BASE}, license: apache2}}]",
        f"models: [{{id: acme/x, base_model: {BASE}, released: soon}}]",
        f"models: [{{id: acme/x, base_model: {BASE}, config: 3}}]",
        "models: [{}]",
        "moddels: []",
        "scores: [{benchmark: MMLU, run_by: me, date: 2026-11, values: {Qwen/Qwen3-8B: 3, Qwen/Qwen3-14B: [4, 3, 5]}}]",
        "scores: [{benchmark: MMLU, run_by: acme, date: 2026-11, values: {Qwen/Qwen3-8B: high}}]",
        "scores: [{benchmark: MMLU, date: 2026-11, values: {Qwen/Qwen3-8B: 3}}]",
    ],
)
def test_an_editor_is_told_what_the_reader_says(file: Path, text: str) -> None:
    schema = json.loads((ROOT / "docs" / "schema" / "models.json").read_text())
    found = known(file, text)
    data = YAML(typ="safe", pure=True).load(text)
    assert Draft202012Validator(schema).is_valid(data) is (found.problems == ())


def test_a_fine_tune_is_added_from_the_hub(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its card names the base; a private one is described without the Hub, and the finding says how."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(file.parent))
    public = repository("acme/tuned", QWEN3_8B, base_model="Qwen/Qwen3-8B", license="mit", gated="manual")
    private = repository("acme/secret", QWEN3_8B, secret="hf_" + "x" * 34)
    with serve([public, private]) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        result = run("add", "acme/tuned", "--from-hub", "--format", "json")
        row = json.loads(result.stdout)["row"]
        refused = run("add", "acme/secret", "--from-hub")
    assert (row["base_model"], row["license"]) == ("Qwen/Qwen3-8B", "mit")
    assert not {"parameters", "context", "config"} & row.keys()
    assert refused.exit_code == 1
    assert "`--config FILE` reads a config.json instead" in refused.output
