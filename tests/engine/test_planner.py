"""The plans of the shipped GPU stacks against vLLM 0.33.0's own configuration, model and KV planner."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from compiler.diagnostics import SourceText
from compiler.engines.vllm.pinned import pinned
from compiler.engines.vllm.releases import RELEASES
from compiler.lock.models import HUB, Lock, LockedService, ModelFacts
from compiler.pipeline import render_plan
from compiler.plan.lowering.lower import lower_plan
from compiler.solve.attempt import attempt
from compiler.solve.budget import Solution
from compiler.source.document import Document, load_document
from compiler.spec.models import Spec
from compiler.spec.reading.load import SpecFile
from tests.engine.engine_process import GPU_RELEASE, ROOT, engine_python, parser_environment

pytestmark = pytest.mark.engine


def gpu_services() -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Plan and service of every server of vLLM on GPUs."""
    plans = [json.loads(path.read_text()) for path in sorted((ROOT / "generated").glob("*/plan.json"))]
    on_gpus = [(plan, each) for plan in plans if plan["node"]["kind"] == "gpu" for each in plan["services"]]
    return [(plan, service) for plan, service in on_gpus if service["engine"] == "vllm"]


def question(plan: dict[str, Any], service: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The server's own command line, on a config.json made from the lock's facts."""
    lock = YAML(typ="safe").load((ROOT / "stacks" / f"{plan['stack']}.lock.yaml").read_text())
    config = whole_config(lock["models"][service["model"]["repository"]])
    asked = question_about(plan, service, config, ROOT / "generated" / plan["stack"], folder)
    draft = service.get("draft", {}).get("model")
    if draft is not None:
        (folder / "draft").mkdir()
        (folder / "draft/config.json").write_text(json.dumps(whole_config(lock["models"][draft["repository"]])))
        words = asked["arguments"]
        words[words.index("--spec-model") + 1] = str(folder / "draft")
    return asked


def whole_config(facts: dict[str, Any]) -> dict[str, Any]:
    """A config.json of the lock's facts."""
    return facts["config"] | ({"quantization_config": facts["quantization"]} if "quantization" in facts else {})


def question_about(
    plan: dict[str, Any], service: dict[str, Any], config: dict[str, Any], tree: Path, folder: Path
) -> dict[str, Any]:
    """The same for any tree."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    launch = tree / "bin" / f"launch-{service['name']}"
    printed = subprocess.run(
        [launch, "--print-command"],
        check=True,
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "HOME": "/"},
    )
    _, _, _, *arguments = shlex.split(printed.stdout)
    return {
        "folder": str(folder),
        "capability": plan["node"]["compute_capability"],
        "memory": plan["node"]["memory_bytes"],
        "arguments": arguments,
    }


@pytest.mark.parametrize("version", sorted({plan["engine"]["vllm"] for plan, _ in gpu_services()}))
def test_vllm_plans_the_same_bytes_and_blocks(version: str, tmp_path: Path) -> None:
    """Every shipped server: weights to the byte, KV cache to the block, limits and dtype as emitted."""
    services = [(plan, service) for plan, service in gpu_services() if plan["engine"]["vllm"] == version]
    questions = [question(plan, service, tmp_path / str(number)) for number, (plan, service) in enumerate(services)]
    for (plan, service), answer in zip(services, answers(questions, tmp_path, version), strict=True):
        assert answer == planned(plan, service), f"{plan['stack']}: {service['name']}"


def answers(questions: list[dict[str, Any]], tmp_path: Path, version: str = GPU_RELEASE) -> list[dict[str, Any]]:
    """What that release says."""
    asked = subprocess.run(
        [engine_python(), Path(__file__).with_name("planner_oracle.py")],
        input=json.dumps(questions), env=parser_environment(version) | {"VLLM_CACHE_ROOT": str(tmp_path / "cache")},
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert asked.returncode == 0, asked.stderr[-4000:]
    found: list[dict[str, Any]] = json.loads(asked.stdout.splitlines()[-1])
    return found


def planned(plan: dict[str, Any], service: dict[str, Any]) -> dict[str, Any]:
    """What the plan says."""
    device = plan["devices"][service["devices"][0]]
    (server,) = [each for each in device["servers"] if each["service"] == service["name"]]
    weights, *drafts = [row["bytes"]["expected"] for row in server["rows"] if row["kind"] == "weights"]
    return {
        "weight_bytes": weights,
        "draft_bytes": sum(drafts),
        "num_blocks": service["kv_cache"]["num_blocks"],
        "block_size": service["kv_cache"]["block_size"],
        **{key: service[key] for key in ("max_model_len", "max_num_seqs", "max_num_batched_tokens", "dtype")},
    }


QWEN3 = {
    "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_size": 1024, "intermediate_size": 3072,
    "num_hidden_layers": 4, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128, "hidden_act": "silu",
    "vocab_size": 151669, "max_position_embeddings": 32768, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
    "rms_norm_eps": 1e-6, "rope_theta": 1e6,
}  # fmt: skip
XLM = {
    "architectures": ["XLMRobertaModel"], "model_type": "xlm-roberta", "hidden_size": 1024, "intermediate_size": 4096,
    "num_hidden_layers": 4, "num_attention_heads": 16, "vocab_size": 250002, "max_position_embeddings": 8194,
    "type_vocab_size": 1, "torch_dtype": "float32", "layer_norm_eps": 1e-5, "hidden_act": "gelu", "pad_token_id": 1,
    "position_embedding_type": "absolute", "bos_token_id": 0, "eos_token_id": 2,
}  # fmt: skip
EMBEDDERS = {
    "generating": QWEN3,
    "generating-tied": QWEN3 | {"tie_word_embeddings": True},
    "in-both-directions": QWEN3
    | {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "is_causal": False, "num_attention_heads": 8},
    "own-class": QWEN3 | {"architectures": ["Qwen3Model"]},
    "encoder": XLM,
}


def document_of(text: str) -> Document:
    document, _ = load_document(SourceText("embedders.yaml", text))
    assert document is not None
    return document


def test_vllm_plans_the_same_for_embeddings(tmp_path: Path) -> None:
    """Generating models lose their output head; what reads in both directions caches nothing."""
    services = {
        name: {"model": f"acme/{name}", "task": "embed", "context": 4096, "concurrency": 4, "port": 8000 + index}
        for index, name in enumerate(EMBEDDERS)
    }
    card = {"gpus": {"model": "h100-80gb"}}
    spec = {"stack": "embedders", "engine": {"vllm": GPU_RELEASE}, "nodes": {"gpu01": card}, "services": services}
    names = {name: f"acme/{name}" for name in EMBEDDERS}
    locked = {
        name: LockedService(model=model, quantization=("auto",), candidates=(model,)) for name, model in names.items()
    }
    models = {names[name]: ModelFacts(source=HUB, config=config) for name, config in EMBEDDERS.items()}
    file = SpecFile(Spec.model_validate(spec), document_of("stack: embedders"))
    solution = attempt(file.spec, Lock(schema=1, services=locked, models=models), pinned(RELEASES[GPU_RELEASE]))
    assert isinstance(solution, Solution), solution
    for artifact in render_plan(lower_plan(file, solution, pinned(RELEASES[GPU_RELEASE]))):
        path = tmp_path / "tree" / artifact.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(artifact.text)
        path.chmod(artifact.mode)
    plan = json.loads((tmp_path / "tree" / "plan.json").read_text())
    questions = [
        question_about(plan, service, EMBEDDERS[service["name"]], tmp_path / "tree", tmp_path / service["name"])
        for service in plan["services"]
    ]
    for service, answer in zip(plan["services"], answers(questions, tmp_path), strict=True):
        without_cache = service["kv_cache"]["bytes"] == 0
        expected = planned(plan, service) | ({"num_blocks": 0, "block_size": 0} if without_cache else {})
        assert answer == expected, service["name"]
        assert without_cache == (service["name"] in ("encoder", "in-both-directions"))
