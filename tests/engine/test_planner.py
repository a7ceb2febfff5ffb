"""The plans of the shipped GPU stacks against vLLM 0.33.0's own configuration, model and KV planner."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.engine.engine_process import ROOT, engine_python, parser_environment

pytestmark = pytest.mark.engine


def gpu_services() -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Plan and service of every server on GPUs."""
    plans = [json.loads(path.read_text()) for path in sorted((ROOT / "generated").glob("*/plan.json"))]
    return [(plan, service) for plan in plans if plan["node"]["kind"] == "gpu" for service in plan["services"]]


def question(plan: dict[str, Any], service: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The server's own command line, on a config.json made from the lock's facts."""
    lock = YAML(typ="safe").load((ROOT / "stacks" / f"{plan['stack']}.lock.yaml").read_text())
    facts = lock["models"][service["model"]["repository"]]
    folder.mkdir()
    config = facts["config"] | ({"quantization_config": facts["quantization"]} if "quantization" in facts else {})
    (folder / "config.json").write_text(json.dumps(config))
    launch = ROOT / "generated" / plan["stack"] / "bin" / f"launch-{service['name']}"
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


def test_vllm_plans_the_same_bytes_and_blocks(tmp_path: Path) -> None:
    """Every shipped server: weights to the byte, KV cache to the block, limits and dtype as emitted."""
    services = gpu_services()
    questions = [question(plan, service, tmp_path / str(number)) for number, (plan, service) in enumerate(services)]
    asked = subprocess.run(
        [engine_python(), Path(__file__).with_name("planner_oracle.py")],
        input=json.dumps(questions), env=parser_environment("0.33.0") | {"VLLM_CACHE_ROOT": str(tmp_path / "cache")},
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert asked.returncode == 0, asked.stderr[-4000:]
    for (plan, service), answer in zip(services, json.loads(asked.stdout.splitlines()[-1]), strict=True):
        device = plan["devices"][service["devices"][0]]
        (server,) = [each for each in device["servers"] if each["service"] == service["name"]]
        (weights,) = [row["bytes"]["expected"] for row in server["rows"] if row["kind"] == "weights"]
        planned = {
            "weight_bytes": weights,
            "num_blocks": service["kv_cache"]["num_blocks"],
            "block_size": service["kv_cache"]["block_size"],
            **{key: service[key] for key in ("max_model_len", "max_num_seqs", "max_num_batched_tokens", "dtype")},
        }
        assert answer == planned, f"{plan['stack']}: {service['name']}"
