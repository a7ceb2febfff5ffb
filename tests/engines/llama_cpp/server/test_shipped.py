"""The shipped stacks with llama.cpp, each with small random models of the same classes, on real servers.

A twin is the shipped spec with other models, ports and keys. Its cards are stand-ins of the same size (fake_cards.cpp),
but for that of `large-24gb`, which is too small for its model as the shipped one is; what shares a card with vLLM runs
on the CPU, as vLLM's own build for it does.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from compiler.engines.llama_cpp.calibrate.startup_log import read_log
from compiler.lock.file import read_lock
from compiler.pipeline import compile_stack
from compiler.plan.ir import Plan, Service
from tests.conftest import ROOT
from tests.engine.conftest import engine, tiny_model  # noqa: F401 (fixtures)
from tests.engine.engine_process import CPU_RELEASE, free_port, run_server
from tests.engine.stack import server_environment
from tests.engines.llama_cpp.random_encoders import nomic_bert
from tests.engines.llama_cpp.random_models import LAYERS, WIDE_HEAD, Model, llama, qwen2, qwen3
from tests.engines.llama_cpp.server.buffers import check_buffers
from tests.engines.llama_cpp.server.tree import Tree, tree_of
from tests.gateway.conftest import nginx  # noqa: F401 (a fixture)
from tools.setup_llama_server import SERVER

pytestmark = pytest.mark.engine

CLASSES: Mapping[str, Callable[[int], Model]] = {
    "llama": llama, "nomic-bert": nomic_bert, "qwen2": qwen2, "qwen3": qwen3,
}  # fmt: skip
SMALL_CARD = {"model": "small", "memory": "473MiB", "compute_capability": "8.6"}
CPU = {"here": {"cpu": {"memory": "12GiB"}}}
CLIENT_KEY = "alice-0123456789abcdef"
# What says where it runs, and how much of it on a card.
PLACE = {"--port", "--gpu-layers", "--device", "--split-mode"}
Spec = dict[str, Any]


def spec_of(name: str) -> Spec:
    spec: Spec = YAML(typ="safe").load((ROOT / "stacks" / f"{name}.yaml").read_text())
    return spec


@dataclass(frozen=True)
class Twin:
    """A compiled twin and the plan of what it is a twin of."""

    tree: Tree
    plan: Plan
    shipped: Plan

    def servers(self, plan: Plan) -> list[Service]:
        """Those of llama.cpp."""
        return [each for each in plan.services if each.engine == "llama.cpp"]

    def is_started_as_shipped(self) -> bool:
        """Whether each server has the flags of the shipped one, but for where it runs."""
        pairs = zip(self.servers(self.plan), self.servers(self.shipped), strict=True)
        return all(settings(ours) == settings(theirs) for ours, theirs in pairs)

    def check_buffers(self) -> None:
        for service in self.servers(self.plan):
            check_buffers(self.plan, service.name, read_log(self.tree.log(service.name).read_text()))


def settings(service: Service) -> dict[str, object]:
    return {each.flag: each.value for each in service.arguments if each.flag not in PLACE}


def twin_of(name: str, home: Path, nodes: Spec | None = None, **changes: Any) -> Twin:
    """A shipped stack with random models of the classes that its lock names."""
    spec = spec_of(name)
    lock, _ = read_lock(ROOT / "stacks" / f"{name}.lock.yaml", name)
    assert lock is not None
    for service, given in spec["services"].items():
        given["port"] = free_port()
        given.update(changes.get(service, {}))
        facts = lock.models[lock.services[service].candidates[0]]
        if facts.gguf is None:
            continue
        model = home / f"{service}.gguf"
        CLASSES[str(facts.gguf.keys["general.architecture"])](WIDE_HEAD).write(model)
        given |= {"model": str(model), "quantization": "auto"}
        if nodes is CPU:
            given.pop("gpu_layers")
    spec["nodes"] = nodes or spec["nodes"]
    spec["secrets"], spec["policy"] = {"api_key": str(home / "key")}, {}
    if "gateway" in spec:
        (home / "client-keys").write_text(f"alice:{CLIENT_KEY}\n")
        (home / "client-keys").chmod(0o600)
        spec["secrets"]["client_keys"] = str(home / "client-keys")
        spec["gateway"] |= {"host": "127.0.0.1", "port": free_port()}
    spec |= changes.get("stack", {})
    path = home / f"{name}.yaml"
    path.write_text(json.dumps(spec))
    tree = tree_of(home, path, changes.get("environment"))
    return Twin(tree, planned(path), planned(ROOT / "stacks" / f"{name}.yaml"))


def planned(path: Path) -> Plan:
    stack, diagnostics = compile_stack(path, str(path))
    assert stack is not None, diagnostics
    return stack.plan


@pytest.fixture
def on_cards(backend: Path, tmp_path: Path) -> Callable[[int], dict[str, str]]:
    """The environment in which the program that launch scripts run finds a card of so many MiB."""

    def of_size(size: int) -> dict[str, str]:
        program = tmp_path / "llama-server"
        variables = f"GGML_BACKEND_PATH={backend} CARDS={size}"
        program.write_text(f'#!/bin/sh\nexport {variables}\nexec {SERVER} --device CUDA0 "$@"\n')
        program.chmod(0o755)
        return {"STACKC_LLAMA_SERVER": str(program)}

    return of_size


Cards = Callable[[int], dict[str, str]]


@contextmanager
def serving(twin: Twin) -> Iterator[None]:
    """Its servers and, where it has one, its gateway."""
    with twin.tree.serving(*(each.name for each in twin.plan.services)):
        if twin.plan.gateway is None:
            yield
            return
        command = [str(twin.tree.folder / "bin/gateway"), "run"]
        with run_server(command, twin.tree.environment, twin.tree.log("gateway")):
            done = twin.tree.run("gateway", "wait", "--timeout", "60")
            assert done.returncode == 0, done.stderr + twin.tree.log("gateway").read_text()
            yield


def failures(twin: Twin) -> list[dict[str, Any]]:
    """Checks of the smoke test that failed.

    Through the gateway these models send a token each millisecond, which a busy client cannot tell from a buffer: what
    nginx does with streams is tested with servers that take their time.
    """
    _, checks = twin.tree.checks("--requests", "2")
    named = {subject for subject, _ in checks}
    assert named >= {each.name for each in twin.plan.services}
    if twin.plan.gateway is not None:
        answers = [checks["gateway", f"answer of {each.name}"]["status"] for each in twin.plan.services]
        assert set(answers) == {"ok"}
    failed = [each for each in checks.values() if each["status"] == "fail"]
    return [each for each in failed if not each["check"].startswith("stream of ")]


def test_chat_8gb(on_cards: Cards, tmp_path: Path) -> None:
    twin = twin_of("chat-8gb", tmp_path, environment=on_cards(7680))
    assert twin.is_started_as_shipped()
    with serving(twin):
        assert failures(twin) == []
    twin.check_buffers()


def test_coder_12gb(on_cards: Cards, nginx: str, tmp_path: Path) -> None:  # noqa: F811
    """Two servers on one card, behind the gateway."""
    twin = twin_of("coder-12gb", tmp_path, environment=on_cards(11900))
    assert twin.is_started_as_shipped()
    with serving(twin):
        assert failures(twin) == []
    twin.check_buffers()


def test_large_24gb(on_cards: Cards, tmp_path: Path) -> None:
    """Some layers lie on the card, and the others in main memory."""
    nodes = {"workstation": {"gpus": SMALL_CARD, "memory": "8GiB"}}
    twin = twin_of("large-24gb", tmp_path, nodes, environment=on_cards(473))
    (service,) = twin.servers(twin.plan)
    (layers,) = (each.value for each in service.arguments if each.flag == "--gpu-layers")
    assert 0 < int(str(layers)) <= LAYERS
    assert twin.is_started_as_shipped()
    with serving(twin):
        assert failures(twin) == []
    twin.check_buffers()


def test_chat_cpu(tmp_path: Path) -> None:
    twin = twin_of("chat-cpu", tmp_path)
    assert twin.is_started_as_shipped()
    with serving(twin):
        assert failures(twin) == []
    twin.check_buffers()


def test_duo_48gb(nginx: str, tiny_model: Path, tmp_path: Path) -> None:  # noqa: F811
    """vLLM and llama.cpp on one node, and both answer through the gateway."""
    general = {"model": str(tiny_model), "quantization": "none", "context": 256}
    stack = {"engine": spec_of("duo-48gb")["engine"] | {"vllm": CPU_RELEASE}}
    twin = twin_of("duo-48gb", tmp_path, CPU, general=general, stack=stack, environment=server_environment(tmp_path))
    assert twin.is_started_as_shipped()
    with serving(twin):
        assert failures(twin) == []
    twin.check_buffers()
