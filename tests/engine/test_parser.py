"""Every command line in generated/ is one that the pinned release of vLLM accepts."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compiler.engines.common.options import Flag, Kind, check_value, render
from compiler.engines.vllm.options.catalog import load_flags
from compiler.engines.vllm.releases import RELEASES
from tests.engine.engine_process import ROOT, ParserOracle

pytestmark = pytest.mark.engine

LAUNCHERS = [
    path.parent / "bin" / f"launch-{service['name']}"
    for path in sorted((ROOT / "generated").glob("*/plan.json"))
    for service in json.loads(path.read_text())["services"]
    if service["engine"] == "vllm"
]
VERSIONS = tuple(RELEASES)

Oracle = Callable[[str], ParserOracle]
JsonObject = dict[str, Any]


def serve_words(launcher: Path) -> list[str]:
    """The words after `vllm serve` that a launch script would run."""
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    command = [str(launcher), "--print-command"]
    printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    # Only bash reads what its own printf %q wrote.
    reader = ["bash", "-c", 'eval "words=($1)"; printf "%s\\0" "${words[@]}"', "bash", printed]
    words = subprocess.run(reader, capture_output=True, text=True, check=True).stdout.split("\0")[:-1]
    assert words[1] == "serve"
    return words[2:]


def test_there_are_command_lines_to_ask_about() -> None:
    assert LAUNCHERS, "generated/ has no launch script"


@pytest.mark.parametrize("launcher", LAUNCHERS, ids=lambda path: f"{path.parts[-3]}/{path.name}")
def test_the_release_in_the_plan_accepts_the_command(launcher: Path, oracle: Oracle) -> None:
    plan = json.loads((launcher.parents[1] / "plan.json").read_text())
    assert oracle(plan["engine"]["vllm"]).refusal(serve_words(launcher)) is None


# What vLLM makes of the command line, and where the plan says the same.
TYPED: dict[str, Callable[[JsonObject], object]] = {
    "served_model_name": lambda service: [service["served_name"]],
    "host": lambda service: service["host"],
    "port": lambda service: service["port"],
    "dtype": lambda service: service["dtype"],
    "max_model_len": lambda service: service["max_model_len"],
    "max_num_seqs": lambda service: service["max_num_seqs"],
    "max_num_batched_tokens": lambda service: service["max_num_batched_tokens"],
    "tensor_parallel_size": lambda service: service["tensor_parallel_size"],
    "pipeline_parallel_size": lambda service: service["pipeline_parallel_size"],
    "gpu_memory_utilization": lambda service: service["gpu_memory_utilization"],
    "kv_cache_memory_bytes": lambda service: service["kv_cache"]["bytes"],
    "shutdown_timeout": lambda service: service["timeouts"]["drain_seconds"],
}

# Without these, vLLM's defaults would decide about memory and names.
MUST_BE_GIVEN = {
    "served_model_name", "host", "port", "dtype", "max_model_len", "max_num_seqs", "max_num_batched_tokens",
    "kv_cache_memory_bytes", "shutdown_timeout",
}  # fmt: skip
# vLLM's CPU build takes the bytes of the KV cache and nothing else.
ON_GPU = {"gpu_memory_utilization", "tensor_parallel_size"}


def model_path(model: JsonObject) -> str:
    """The end of the path that is served: a folder, or a snapshot; without a full commit it is the one of `main`."""
    if model["repository"] is None:
        return str(model["folder"])
    commit = model["commit"] if model["pinned"] else "main"
    return f"/models--{model['repository'].replace('/', '--')}/snapshots/{commit}"


def value_of(argument: JsonObject) -> object:
    """What an argument of the plan means: a switch is on or off, and numbers and mappings are JSON."""
    if argument["value"] is None:
        return not argument["flag"].startswith("--no-")
    if isinstance(argument["value"], list):
        return argument["value"]
    try:
        return json.loads(argument["value"])
    except ValueError:
        return argument["value"]


@pytest.mark.parametrize("launcher", LAUNCHERS, ids=lambda path: f"{path.parts[-3]}/{path.name}")
def test_vllm_reads_the_values_of_the_plan(launcher: Path, oracle: Oracle) -> None:
    plan = json.loads((launcher.parents[1] / "plan.json").read_text())
    service = next(each for each in plan["services"] if launcher.name == f"launch-{each['name']}")
    words = serve_words(launcher)
    read = oracle(plan["engine"]["vllm"]).ask(words)
    values = read["values"]
    assert values.pop("model_tag") == words[0]
    assert words[0].endswith(model_path(service["model"]))
    for name, field in TYPED.items():
        if name in values:
            assert values[name] == field(service), name
    on_gpu = ON_GPU if plan["node"]["kind"] == "gpu" else set()
    assert MUST_BE_GIVEN | on_gpu <= values.keys()
    adapters = [(each["name"], each["model"]) for each in service.get("adapters", ())]
    loaded = values.pop("lora_modules", [])
    assert len(loaded) == len(adapters)
    for words_of, (name, model) in zip(map(str, loaded), adapters, strict=True):
        assert name in words_of
        assert model_path(model) in words_of
    # A second model is where the launch script finds it, as the first one is.
    if (draft := values.pop("spec_model", None)) is not None:
        assert draft.endswith(model_path(service["draft"]["model"]))
    # Whatever else differs from vLLM's defaults is an argument of the plan.
    wanted = {read["options"][each["flag"]]: value_of(each) for each in service["arguments"]}
    assert values.keys() <= wanted.keys()
    for name in values.keys() - TYPED.keys():
        assert values[name] == wanted[name], name


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--swap-space", "4"], "unrecognized arguments: --swap-space 4"),
        (["--max-model-len", "1.5K"], "--max-model-len"),
        (["--runner", "train"], "invalid choice: 'train'"),
        (["--enforce-eager", "true"], "unrecognized arguments: true"),
        (["--enable-auto-tool-choice"], "requires --tool-call-parser"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_refuses_what_vllm_refuses(version: str, words: list[str], reason: str, oracle: Oracle) -> None:
    assert reason in (oracle(version).refusal(["org/model", *words]) or "")


@pytest.mark.parametrize("version", VERSIONS)
def test_accepts_what_vllm_accepts(version: str, oracle: Oracle) -> None:
    words = ["org/model", "--max-model-len", "32K", "--no-enable-prefix-caching", "--hf-overrides", '{"a": 1}']
    assert oracle(version).refusal(words) is None


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "words",
    [
        ["--runner", "pooling"],
        ["--runner", "pooling", "--convert", "embed", "--kv-cache-memory-bytes", "1"],
        ["--enable-auto-tool-choice", "--tool-call-parser", "hermes", "--reasoning-parser", "qwen3"],
    ],
    ids=["own class", "converted", "features"],
)
def test_accepts_what_tasks_and_features_become(version: str, words: list[str], oracle: Oracle) -> None:
    assert oracle(version).refusal(["org/model", *words]) is None


# One value of each kind that any option of that kind could take; an empty mapping has no key that could be unknown.
SAMPLES = {
    Kind.SWITCH: True,
    Kind.BOOLEAN: True,
    Kind.INT: 1,
    Kind.HUMAN_INT: "8K",
    Kind.HUMAN_INT_OR_AUTO: "auto",
    Kind.FLOAT: 0.5,
    Kind.STRING: "text",
    Kind.JSON: {},
    Kind.JSON_OR_STRING: {},
}


def sample_words(flag: Flag) -> list[list[str]]:
    """The option with one value of its kind, or with each of its choices, and once switched off."""
    values: list[object] = list(flag.choices or [SAMPLES[flag.kind]]) + [False] * bool(flag.off)
    assert all(check_value(flag, value) is None for value in values), flag.name
    return [[word for word in render(flag, value) if word is not None] for value in values]


# What vLLM decides by more than the option and its kind: by another option, a file, or the text itself.
DEPENDENT = {
    "--chat-template",
    "--config",
    "--data-parallel-multi-port-external-lb",
    "--enable-auto-tool-choice",
    "--enable-log-outputs",
    "--grpc-port",
    "--lora-modules",
    "--mm-processor-device",
}


@pytest.mark.parametrize("version", VERSIONS)
def test_vllm_takes_whatever_the_catalog_takes(version: str, oracle: Oracle) -> None:
    refused = {
        " ".join(words): reason
        for flag in load_flags(version).flags
        if flag.name not in DEPENDENT
        for words in sample_words(flag)
        if (reason := oracle(version).refusal(["org/model", *words])) is not None
    }
    assert refused == {}
