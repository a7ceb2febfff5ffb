"""Where a stack has GPUs and CPUs, every service knows on which it runs, and each node has the release for it."""

from __future__ import annotations

from typing import Any

import pytest

from compiler.diagnostics import SourceText
from compiler.engines.interface.pinned import on_cpu
from compiler.engines.registry import ENGINES
from compiler.lock.models import Lock
from compiler.plan.ir import CpuNode
from compiler.plan.lowering.lower import lower_stack
from compiler.solve.stack import attempt_stack
from compiler.source.document import load_document
from compiler.spec.models import Spec
from compiler.spec.reading.load import SpecFile
from tests.unit.test_solve_nodes import gpus, on, problem, seats

VLLM = ENGINES["vllm"]
BOTH = {
    "vllm": VLLM.pin("0.33.0", None, assumes_full=False),
    on_cpu("vllm"): VLLM.pin("0.32.0", None, assumes_full=False),
}
BOX = {"cpu": {"memory": "64GiB"}, "count": 2}


def mixed(nodes: dict[str, Any], *asked: dict[str, Any], **others: Any) -> tuple[Spec, Lock]:
    spec, lock = on(nodes, *asked)
    data = spec.model_dump(mode="json", exclude_unset=True, exclude={"nodes"}, by_alias=True)
    data |= {"engine": {"vllm": {"release": "0.33.0", "cpu": "0.32.0", "cpu_image": "cpu:1"}}, "nodes": nodes}
    for service, keys in zip(data["services"].values(), asked, strict=True):
        service.pop("device", None)
        service.update(keys | {"context": "8K", "concurrency": 1})
    return Spec.model_validate(data | others), lock


@pytest.mark.parametrize(
    ("asked", "device"),
    [
        ({}, "gpu"),
        ({"node": "big"}, "gpu"),
        ({"node": "box"}, "cpu"),
        ({"node": "box-02"}, "cpu"),
        ({"device": "cpu"}, "cpu"),
    ],
)
def test_a_service_is_on_gpus_unless_it_or_its_node_says_otherwise(asked: dict[str, Any], device: str) -> None:
    spec, _ = mixed({"big": gpus(80), "box": BOX}, asked)
    assert spec.services["s0"].device == device


def test_a_stack_of_one_kind_says_nothing_of_devices() -> None:
    spec, _ = on({"big": gpus(80)}, {})
    assert spec.services["s0"].device is None


def test_no_service_goes_to_a_cpu_because_the_cards_are_full() -> None:
    found = attempt_stack(*mixed({"small": gpus(2), "box": BOX}, {}), BOTH)
    assert "does not fit" in problem(found).message


def test_each_node_has_the_release_and_the_image_for_it() -> None:
    paths = {"vllm": "/opt/own/gpu/bin/vllm", "vllm_cpu": "/opt/own/cpu/bin/vllm"}
    spec, lock = mixed({"big": gpus(80), "box": BOX}, {}, {"device": "cpu"}, paths=paths)
    found = attempt_stack(spec, lock, BOTH)
    assert seats(found) == {"big": ["s0"], "box-01": ["s1"]}
    assert isinstance(found, dict)
    document, _ = load_document(SourceText("n.yaml", "stack: n\n"))
    assert document is not None
    gpu, cpu = lower_stack(SpecFile(spec, document), found, BOTH)
    assert isinstance(cpu.node, CpuNode)
    assert [plan.engine.version for plan in (gpu, cpu)] == ["0.33.0", "0.32.0"]
    assert [plan.engine.program for plan in (gpu, cpu)] == list(paths.values())
    assert cpu.engine.image == "cpu:1"
    assert [plan.services[0].engine for plan in (gpu, cpu)] == ["vllm", "vllm"]
