"""smoke-test: does a server take the memory that the ledger says?"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from compiler.plan.ir import GpuNode, Plan
from compiler.units import GIB, ByteRange
from tests.unit.fake_server import FakeServer
from tests.unit.plan_samples import UUIDS, one_on_cpu, one_on_two_gpus, two_on_one_gpu, write_executable

Memory = Callable[..., str]
CARD = "0, GPU-a, NVIDIA RTX PRO 6000, 12.0, 97887, 97000, 580.95.05, Disabled, Enabled"
# `coder` holds 23 GiB of weights and as much KV cache; with the context, 46.5 GiB at most.
HELD = 46 * 1024 + 200


@pytest.fixture
def memory(
    scripts: SimpleNamespace,
    make_target: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    server: FakeServer,
    tmp_path: Path,
) -> Memory:
    """The check with what nvidia-smi says: processes as (uuid, pid, MiB), GPUs, and MiB in use of each."""

    def run(
        processes: list[tuple[str, int, object]],
        *,
        plan: Plan | None = None,
        name: str = "coder",
        cards: tuple[str, ...] = (CARD,),
        in_use: tuple[str, ...] = (),
        is_local: bool = True,
    ) -> str:
        apps = "\n".join(f"{uuid}, {pid}, {used}" for uuid, pid, used in processes)
        script = "#!/bin/sh\ncase \"$1\" in *compute-apps*) cat <<'END'\n" + apps + "\nEND\n;;\n"
        script += "*memory.used*) cat <<'END'\n" + "\n".join(in_use) + "\nEND\n;;\n"
        script += "*) cat <<'END'\n" + "\n".join(cards) + "\nEND\nesac\n"
        write_executable(tmp_path / "fake" / "nvidia-smi", script)
        monkeypatch.setenv("PATH", f"{tmp_path}/fake:/usr/bin:/bin")
        server.name = name
        found: str = scripts.further.check_memory(make_target(plan, name)._replace(is_local=is_local))
        return found

    return run


def test_what_the_ledger_says_passes(memory: Memory) -> None:
    """The server is the process that listens; its engine, a child, holds the memory."""
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as engine:
        found = memory([("GPU-a", engine.pid, HELD), ("GPU-a", 1, 9000)])
        assert found == "GPU 0: 46.20 GiB, the ledger has 46.00 GiB to 46.50 GiB"
        engine.communicate()


@pytest.mark.parametrize(
    ("used", "reason"),
    [(48000, "46.88 GiB, the ledger has 46.50 GiB at most"), (30000, "weights and KV cache alone take 46.00 GiB")],
)
def test_more_and_less_than_the_ledger_fails(memory: Memory, scripts: SimpleNamespace, used: int, reason: str) -> None:
    with pytest.raises(scripts.stack.StackError, match=reason):
        memory([("GPU-a", os.getpid(), used)])


def test_each_gpu_of_a_server_is_compared(memory: Memory, scripts: SimpleNamespace) -> None:
    """70 GiB on each of two: together right and one of them wrong is wrong."""
    run = "580.95.05, Disabled, Enabled"
    cards = tuple(f"{n}, {uuid}, NVIDIA H100 80GB HBM3, 9.0, 81559, 81000, {run}" for n, uuid in enumerate(UUIDS))
    both = [(uuid, os.getpid(), 70 * 1024 + 100) for uuid in UUIDS]
    assert memory(both, plan=one_on_two_gpus(), name="big", cards=cards).count("the ledger has") == 2
    uneven = [(UUIDS[0], os.getpid(), 79 * 1024), (UUIDS[1], os.getpid(), 61 * 1024)]
    with pytest.raises(scripts.stack.StackError, match="GPU 0"):
        memory(uneven, plan=one_on_two_gpus(), name="big", cards=cards)


def test_slices_are_compared_together(memory: Memory) -> None:
    plan = one_on_two_gpus()
    assert isinstance(plan.node, GpuNode)
    sliced = replace(plan, node=replace(plan.node, mig="3g.40gb"))
    assert memory([("GPU-parent", os.getpid(), 140 * 1024 + 100)], plan=sliced, name="big").startswith("slices: 140")


def test_where_processes_are_hidden_the_whole_gpu_is_compared_and_said_so(
    memory: Memory, scripts: SimpleNamespace
) -> None:
    """In a container the server has another number, or none: everybody's memory must do."""
    found = memory([("GPU-a", 1, 80000)], in_use=("GPU-a, 78500",))
    assert "held by everybody" in found
    assert "not visible here" in found
    with pytest.raises(scripts.stack.StackError, match="at most"):
        memory([("GPU-a", 1, 90000)], in_use=("GPU-a, 90000",))
    with pytest.raises(scripts.stack.StackError, match="weights and KV cache alone"):
        memory([], in_use=("GPU-a, 1000",))


@pytest.mark.parametrize(
    ("kwargs", "reason"),
    [
        ({"processes": [("GPU-a", os.getpid(), "[N/A]")]}, "does not count memory by process"),
        ({"processes": [], "in_use": ("GPU-a, [N/A]",)}, "does not count this GPU's memory"),
        ({"processes": [], "is_local": False}, "another machine"),
        ({"processes": [], "cards": ("0, GPU-b",), "in_use": ("GPU-a, 10",)}, "cannot read nvidia-smi's answer"),
    ],
)
def test_what_cannot_be_known_is_skipped_with_a_reason(
    memory: Memory, scripts: SimpleNamespace, kwargs: dict[str, Any], reason: str
) -> None:
    with pytest.raises(scripts.stack.Skipped, match=reason.replace("'", ".")):
        memory(**kwargs)


def test_without_a_driver_it_is_skipped(
    scripts: SimpleNamespace, make_target: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(scripts.stack.Skipped, match="nvidia-smi is not on PATH"):
        scripts.further.check_memory(make_target(two_on_one_gpu()))


def test_main_memory_of_a_cpu_server_is_compared(memory: Memory, scripts: SimpleNamespace) -> None:
    """This process listens on the port, and holds something; the ledger allows it 1.5 GiB."""
    assert "of main memory" in memory([], plan=one_on_cpu(), name="tiny")
    (device,) = one_on_cpu().devices
    (server,) = device.servers
    small = replace(server, rows=tuple(replace(row, bytes=ByteRange.exact(GIB // 1024)) for row in server.rows))
    plan = replace(one_on_cpu(), devices=(replace(device, servers=(small,)),))
    with pytest.raises(scripts.stack.StackError, match=r"the ledger has 0\.00 GiB at most"):
        memory([], plan=plan, name="tiny")


def test_only_who_listens_on_the_port_is_the_server(scripts: SimpleNamespace) -> None:
    """A client of the port, or a server on another one, is not measured."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        assert not scripts.server.listeners(port)  # bound is not listening: vLLM binds long before it serves
        listener.listen()
        assert scripts.server.listeners(port) == {os.getpid()}
        assert not scripts.server.listeners(port + 1 if port < 65535 else port - 1)
