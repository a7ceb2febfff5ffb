"""What units and containers are told of llama.cpp's servers, where vLLM's are told otherwise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from compiler.catalog.images import PYTHON
from compiler.plan.images import with_images
from compiler.plan.ir import Plan
from compiler.render.syntax import UnitFile, read_unit
from compiler.targets.sbom.components import components_of
from compiler.targets.systemd import emit_systemd
from tests.unit.compose_reading import load
from tests.unit.gguf_samples import PARTS, alone_on_cpu, beside_vllm
from tests.unit.plan_samples import with_service


def container(plan: Plan, name: str) -> dict[str, Any]:
    found: dict[str, Any] = load(plan)["services"][name]
    return found


def unit(plan: Plan, name: str) -> UnitFile:
    text = next(each.text for each in emit_systemd(plan) if Path(each.path).stem.endswith(f"-{name}"))
    return read_unit(text)


def test_the_image_of_a_node_is_made_for_what_computes_there() -> None:
    assert container(beside_vllm(), "general")["image"] == "ghcr.io/ggml-org/llama.cpp:server-cuda-b10434"
    assert container(alone_on_cpu(), "tiny")["image"] == "ghcr.io/ggml-org/llama.cpp:server-b10434"


def test_the_program_is_found_where_the_image_has_it_and_health_is_asked_at_the_planned_port() -> None:
    """The image asks its own port 8080 for ever, and has no Python."""
    server = container(beside_vllm(), "general")
    assert server["environment"]["STACKC_LLAMA_SERVER"] == "/app/llama-server"
    assert server["healthcheck"]["test"][:2] == ["CMD", "curl"]
    assert server["healthcheck"]["test"][-1] == "http://127.0.0.1:8002/health"
    assert "shm_size" not in server


def test_only_a_server_that_computes_on_gpus_gets_any() -> None:
    assert "deploy" in container(beside_vllm(), "general")
    plan = with_service(beside_vllm(), "general", uses_gpus=False)
    assert "deploy" not in container(plan, "general")
    assert unit(plan, "general").values("Service", "PrivateDevices") == ("yes",)
    assert not unit(plan, "general").values("Unit", "Wants")
    assert not unit(beside_vllm(), "general").values("Service", "PrivateDevices")


def test_a_container_sees_the_chosen_files_and_not_the_folder() -> None:
    for name in ("tiny", "prefetch"):
        sources = [each["source"] for each in container(alone_on_cpu(), name)["volumes"] if each.get("read_only")]
        assert [each for each in sources if each.startswith("/srv")] == [f"/srv/models/tiny/{x.path}" for x in PARTS]


def test_an_image_with_python_downloads() -> None:
    """Beside vLLM its image does, whichever engine the spec names first."""
    assert container(alone_on_cpu(), "prefetch")["image"] == PYTHON
    plan = beside_vllm()
    turned = replace(plan, engines=dict(reversed(plan.engines.items())))
    assert container(turned, "prefetch")["image"] == "vllm/vllm-openai:v0.33.0"
    assert [each.part for each in with_images(alone_on_cpu(), {}).images] == ["llama.cpp", "prefetch"]


def test_a_unit_hides_files_that_would_set_options() -> None:
    assert unit(alone_on_cpu(), "tiny").values("Service", "InaccessiblePaths") == ("-/etc/llama.cpp",)
    assert not unit(beside_vllm(), "coder").values("Service", "InaccessiblePaths")


def test_two_quantizations_of_a_repository_are_two_models() -> None:
    plan = alone_on_cpu()
    other = replace(plan.services[0].model, file="q4.gguf", files=(replace(PARTS[0], path="q4.gguf"),))
    second = replace(plan.services[0], name="second", model=other)
    refs = [each.ref for each in components_of([replace(plan, services=(*plan.services, second))])]
    assert len([ref for ref in refs if ref.startswith("model:")]) == 2
    assert "program:llama.cpp" in refs
