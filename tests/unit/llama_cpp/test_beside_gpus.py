"""A server of which no layer is on a GPU takes main memory beside it, and nothing of the card."""

from __future__ import annotations

import shutil
from pathlib import Path

from compiler.diagnostics import Diagnostic
from compiler.pipeline import Compiled, compile_stack
from compiler.plan.where import is_on_cpu
from compiler.units import GIB

SHIPPED = Path(__file__).parents[3] / "stacks" / "chat-8gb"


def compiled(folder: Path, *changes: tuple[str, str]) -> tuple[Compiled | None, tuple[Diagnostic, ...]]:
    """The shipped stack of one llama.cpp server on one card, with other words in its spec."""
    text = SHIPPED.with_suffix(".yaml").read_text()
    for before, after in (("gpu_layers: all", "gpu_layers: 0"), *changes):
        assert before in text
        text = text.replace(before, after)
    (folder / "chat-8gb.yaml").write_text(text)
    shutil.copy(SHIPPED.with_suffix(".lock.yaml"), folder)
    return compile_stack(folder / "chat-8gb.yaml", "chat-8gb.yaml")


def test_its_ledger_is_that_of_main_memory(tmp_path: Path) -> None:
    found, _ = compiled(tmp_path)
    assert found is not None
    plan, (service,) = found.plan, found.plan.services
    assert [ledger.servers for ledger in plan.devices] == [()]
    assert plan.host is not None
    assert [server.service for server in plan.host.servers] == ["chat"]
    assert plan.host.used.expected > 4 * GIB, "the weights alone are as large"
    assert is_on_cpu(plan, service)
    assert (service.devices, service.uses_gpus) == ((), False)
    launch = next(each.text for each in found.artifacts if str(each.path) == "bin/launch-chat")
    assert "CUDA_VISIBLE_DEVICES=''" in launch


def test_too_little_main_memory_is_refused_whatever_the_card_has(tmp_path: Path) -> None:
    found, problems = compiled(tmp_path, ("memory: 16GiB", "memory: 4GiB"), ("rtx-4060", "h100-80gb"))
    assert found is None
    (problem,) = [each for each in problems if each.code == "E0401"]
    assert "main memory of desk" in problem.message


def test_how_much_there_is_must_be_said(tmp_path: Path) -> None:
    found, problems = compiled(tmp_path, ("    memory: 16GiB\n", ""))
    assert found is None
    assert any("does not say how much its node has" in each.message for each in problems)
