"""What preflight asks main memory for, on a machine without GPUs and beside them."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from compiler.units import GIB, ByteRange
from tests.unit.gguf_samples import beside_vllm
from tests.unit.plan_samples import one_on_cpu, with_service, write_model
from tests.unit.script_machine import Machine
from tests.unit.test_scripts_llama_cpp import Machine as LlamaCppMachine


def test_a_cpu_node_is_asked_for_main_memory_and_no_driver(tmp_path: Path) -> None:
    plan = one_on_cpu()
    folder = str(write_model(tmp_path / "model"))
    figures = {**plan.service("tiny").figures, "gpu_memory_utilization": 0.0}
    plan = with_service(plan, "tiny", model=replace(plan.service("tiny").model, folder=folder), figures=figures)
    ledger = plan.devices[0].servers[0]
    small = replace(plan.devices[0], total=GIB, servers=(replace(ledger, rows=ledger.rows[:1]),))
    made = Machine(tmp_path, replace(plan, devices=(small,), node=replace(plan.node, memory=GIB)))
    done = made.preflight()
    assert done.returncode == 0, done.stdout
    assert "driver" not in done.stdout
    huge = replace(plan.devices[0], total=2**50, servers=(replace(ledger, rows=ledger.rows[:1]),))
    made.install(replace(made.plan, devices=(huge,), node=replace(plan.node, memory=2**50)))
    assert made.preflight().returncode == 12


def test_main_memory_beside_gpus_is_what_its_servers_come_to(tmp_path: Path) -> None:
    """A machine shows less than was built in, which its servers need not miss. What is not there no waiting brings."""
    plan = beside_vllm()
    (card,) = plan.devices
    (server,) = [each for each in card.servers if each.service == "general"]
    for size, code in ((1000, 0), (2**45, 12)):
        row = replace(server.rows[0], bytes=ByteRange.exact(size))
        memory = replace(card, total=2**50, reserve=0, servers=(replace(server, rows=(row,)),))
        machine = LlamaCppMachine(tmp_path / str(code), replace(plan, host=memory))
        begin = time.monotonic()
        done = machine.run("preflight", "general", "--only", "main-memory", "--wait", "50")
        assert done.returncode == code, done.stdout
        assert time.monotonic() - begin < 25
