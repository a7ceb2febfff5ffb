"""The emitted smoke test on real servers: tools, structured output and embeddings, and what a wrong plan looks like."""

from __future__ import annotations

import json
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.engine.random_model import write_model
from tests.engine.stack import KEY, Stack, compile_services

pytestmark = pytest.mark.engine

ENCODER = {
    "architectures": ["BertModel"], "model_type": "bert", "hidden_size": 128, "intermediate_size": 256,
    "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 512, "type_vocab_size": 2,
    "torch_dtype": "bfloat16", "hidden_act": "gelu", "layer_norm_eps": 1e-12, "position_embedding_type": "absolute",
}  # fmt: skip


@pytest.fixture(scope="module")
def trio(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A chat server with features, the same model converted to embeddings, and an encoder, which caches nothing."""
    folder = tmp_path_factory.mktemp("trio")
    write_model(folder / "encoder", ENCODER, tiny_model)
    services = {
        "chat": {
            "model": str(tiny_model),
            "features": ["tools", "structured-output"],
            "engine_args": {"tool-call-parser": "hermes"},
        },
        "converted": {"model": str(tiny_model), "task": "embed"},
        "encoder": {"model": str(folder / "encoder"), "task": "embed"},
    }
    stack = compile_services(folder, services, key=True)
    with stack.serve_all():
        yield stack


def checks_of(stack: Stack, *options: str) -> tuple[int, dict[tuple[str, str], dict[str, Any]]]:
    result = stack.run("smoke-test", "--json", *options)
    assert KEY not in result.stdout + result.stderr
    report = json.loads(result.stdout)
    return result.returncode, {(check["subject"], check["check"]): check for check in report["checks"]}


def test_every_service_does_what_its_features_and_task_say(trio: Stack) -> None:
    code, checks = checks_of(trio)
    assert code == 0, [check for check in checks.values() if check["status"] == "fail"]
    asked = [("chat", name) for name in ("chat", "stream", "tools", "structured-output", "kv-cache", "budget")]
    asked += [(name, check) for name in ("converted", "encoder") for check in ("embedding", "overlong", "metrics")]
    asked += [(name, "memory") for name in ("chat", "converted", "encoder")] + [("converted", "kv-cache")]
    asked += [("stack", "together")]
    # A skip would prove nothing.
    assert {key for key in asked if checks[key]["status"] != "ok"} == set()
    assert checks["encoder", "kv-cache"]["status"] == "skip"
    assert "128 numbers, length 1.000" in checks["encoder", "embedding"]["detail"]


def test_a_server_that_is_another_than_planned_is_told(trio: Stack, tmp_path: Path) -> None:
    """The same servers beside plans that say something else of each."""
    tree = tmp_path / "tree"
    shutil.copytree(trio.tree, tree)
    plan = json.loads((tree / "plan.json").read_text())
    services = {service["name"]: service for service in plan["services"]}
    services["converted"]["embedding"]["dimension"] = 64
    services["encoder"]["model"]["folder"] = "/srv/models/another"
    services["chat"]["kv_cache"]["num_blocks"] += 1
    for device in plan["devices"]:
        for server in device["servers"]:
            server["rows"] = [row | {"bytes": dict.fromkeys(row["bytes"], 2**20)} for row in server["rows"]]
    (tree / "plan.json").write_text(json.dumps(plan))
    code, checks = checks_of(replace(trio, tree=tree), "--requests", "0")
    assert code == 1
    failed = {key for key, check in checks.items() if check["status"] == "fail"}
    assert failed == {
        ("chat", "kv-cache"), ("converted", "embedding"), ("encoder", "revision"),
        ("chat", "memory"), ("converted", "memory"), ("encoder", "memory"),
    }, [checks[key] for key in failed]  # fmt: skip


def test_too_slow_warns_and_strictly_fails_in_junit(trio: Stack) -> None:
    options = ("chat", "--requests", "2", "--ttft-p95", "0.000001", "--format", "junit")
    for more, failures in (((), "0"), (("--strict",), "1")):
        result = trio.run("smoke-test", *options, *more)
        root = ET.fromstring(result.stdout)
        assert (root.get("failures"), result.returncode) == (failures, int(failures))
        assert int(root.get("tests", 0)) == len(list(root.iter("testcase")))
