"""`max` and ranges: how a spec says them, who gets what, and where the found numbers stand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from ruamel.yaml import YAML

from compiler.cli.main import cli
from compiler.diagnostics import SourceText
from compiler.engines.registry import ENGINES
from compiler.pipeline import Compiled, compile_stack
from compiler.spec.reading.load import load_spec
from tests.conftest import ROOT

STACK = "coder-96gb"


def compiled(folder: Path, **services: dict[str, Any]) -> Compiled:
    data = YAML(typ="safe").load((ROOT / "stacks" / f"{STACK}.yaml").read_text())
    for name, changes in services.items():
        data["services"][name] |= changes
    spec = folder / f"{STACK}.yaml"
    spec.write_text(json.dumps(data))
    (folder / f"{STACK}.lock.yaml").write_text((ROOT / "stacks" / f"{STACK}.lock.yaml").read_text())
    found, diagnostics = compile_stack(spec, spec.name)
    assert found is not None, [diagnostic.message for diagnostic in diagnostics]
    return found


def test_the_plan_and_the_launch_script_carry_what_was_found(tmp_path: Path) -> None:
    found = compiled(tmp_path, coder={"context": "max"})
    coder = found.plan.service("coder")
    files = {str(artifact.path): artifact.text for artifact in found.artifacts}
    assert coder.solved == ("context",)
    assert coder.max_model_len > 16384, "it had 16K, and memory to spare"
    assert f"--max-model-len {coder.max_model_len}" in files["bin/launch-coder"].replace("'", "")
    assert f"{coder.max_model_len} tokens, the most that fit" in files["README.md"]
    service = next(one for one in json.loads(files["plan.json"])["services"] if one["name"] == "coder")
    assert (service["solved"], service["concurrency"]) == (["context"], 8)
    reasons = {argument.flag: argument.reason for argument in coder.arguments}
    assert reasons["--max-model-len"] == "the longest context that fits"


def test_contexts_grow_by_share_and_to_the_last_block(tmp_path: Path) -> None:
    open_context: dict[str, Any] = {"context": "max"}
    equal = compiled(tmp_path, coder=open_context, general=open_context).plan
    first = compiled(tmp_path, coder=open_context | {"share": 4}, general=open_context).plan
    none = compiled(tmp_path, coder=open_context, general=open_context | {"share": 0}).plan
    lengths = [[plan.service(name).max_model_len for name in ("coder", "general")] for plan in (equal, first, none)]
    assert lengths[0][0] < lengths[1][0] < lengths[2][0]
    assert lengths[0][1] > lengths[1][1] > lengths[2][1]
    assert 2048 <= lengths[2][1] < 2048 + 256, "without a share it keeps the least, and the crumbs of the other"
    for plan in (equal, first, none):
        assert 0 <= plan.devices[0].slack < 2**24, "less than a block of each is left"


def test_a_range_is_never_left(tmp_path: Path) -> None:
    ranges = {"context": {"min": "4K", "max": "8K"}, "concurrency": {"min": 2, "max": 3}}
    plan = compiled(tmp_path, coder=ranges, general={"concurrency": "max"}).plan
    coder, general = plan.service("coder"), plan.service("general")
    assert (coder.max_model_len, coder.concurrency, coder.solved) == (8192, 3, ("context", "concurrency"))
    assert (general.max_model_len, general.solved) == (32768, ("concurrency",))
    assert general.concurrency > 4
    assert general.max_num_seqs >= general.concurrency


def test_concurrency_is_bounded_by_the_batch_that_the_spec_allows(tmp_path: Path) -> None:
    plan = compiled(tmp_path, general={"context": "2K", "concurrency": "max", "max_num_seqs": 12}).plan
    assert plan.service("general").concurrency == 12


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("{min: 8K, max: 4K}", "`context` has a `min` of 8192 above its `max` of 4096"),
        ("{}", "`context` must be a number, `max`, or {min: …, max: …}"),
        ("[8K]", "`context` must be a number, `max`, or {min: …, max: …}"),
        ("true", "`context` must be a number, `max`, or {min: …, max: …}"),
        ("0", "`context` must be at least 1"),
        ("{min: 0}", "`min` must be at least 1"),
        ("{min: 8k}", "`8k` is ambiguous: it could mean 8000 or 8192 tokens"),
        ("8k", "`8k` is ambiguous: it could mean 8000 or 8192 tokens"),
        ("most", "`most` is not a token count: write it as 16384 or 16K"),
        ("{least: 8K}", "unknown key `least`"),
    ],
)
def test_a_wrong_range_is_said_once_and_in_its_place(value: str, words: str) -> None:
    text = f"""stack: x
engine: {{vllm: 0.33.0}}
nodes: {{n: {{gpus: {{model: a10}}}}}}
services:
  s:
    model: a/b
    context: {value}
    port: 8000
"""
    _, found = load_spec(SourceText("x.yaml", text), ENGINES)
    assert [diagnostic.message for diagnostic in found] == [words]
    assert found[0].label is not None
    assert found[0].label.span.start.line == 7


def test_fit_answers_from_a_lock_with_interval_and_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody answers there
    question = ["fit", "Qwen/Qwen2.5-Coder-32B-Instruct-AWQ", "--gpu", "a10"]
    text = CliRunner().invoke(cli, [*question, "--context", "max"])
    assert text.exit_code == 0
    assert text.stdout.startswith("fits: context ")
    assert "(the most that fits)" in text.stdout
    assert "GiB expected" in text.stdout
    assert "solved for: context " in text.stdout
    assert "facts from stacks/budget-a10.lock.yaml" in text.stdout
    answer = json.loads(CliRunner().invoke(cli, [*question, "--context", "max", "--format", "json"]).stdout)
    found = answer["plan"]["services"][0]
    assert answer["verdict"] == "fits"
    more = [*question, "--context", str(found["max_model_len"] + 16), "--format", "json"]
    refused = CliRunner().invoke(cli, more)
    assert refused.exit_code == 1
    assert json.loads(refused.stdout)["verdict"] == "fits, within the margin of error"
    many = CliRunner().invoke(cli, [*question, "--context", "2K", "--concurrency", "max", "--format", "json"])
    assert json.loads(many.stdout)["plan"]["services"][0]["concurrency"] > 1
    spread = CliRunner().invoke(cli, [*question, "--context", "16K", "--tp", "4", "--format", "json"])
    assert json.loads(spread.stdout)["plan"]["services"][0]["tensor_parallel_size"] == 4
