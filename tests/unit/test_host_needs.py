"""What a server compiles on a machine without containers, by GPU, model and options."""

from __future__ import annotations

from dataclasses import replace

import pytest

from compiler.engines.vllm.host.host_needs import Start, has_block_scales, host_needs
from compiler.engines.vllm.host.kernel_wheels import kernel_wheels
from compiler.engines.vllm.host.packages import vllm_requirements
from compiler.engines.vllm.releases import RELEASES
from compiler.plan.ir import HostNeed, Plan
from compiler.targets.readme.emit import emit_readme
from tests.unit.equipped_machine import LAUNCHES, MULTIPLIES, SAMPLES, needing
from tests.unit.plan_samples import two_on_one_gpu
from tests.unit.test_memory import QWEN_32B
from tests.unit.test_solve_pipeline import solved

GPU = Start((9, 0), None, generates=True, is_eager=False, kv_dtype="bfloat16", config={})
BLOCKS = {"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}}


def tools(start: Start) -> list[str]:
    return list(dict.fromkeys(need.tool for need in host_needs(start)))


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (GPU, ["c", "flashinfer"]),
        (replace(GPU, capability=(7, 5)), ["c"]),
        (replace(GPU, capability=(8, 0)), ["c", "flashinfer"]),
        (replace(GPU, capability=(12, 1)), ["c", "flashinfer"]),
        # FlashInfer's sampler wants more than 16 multiprocessors, and a server for embeddings samples nothing.
        (replace(GPU, processors=16), ["c"]),
        (replace(GPU, processors=26), ["c", "flashinfer"]),
        (replace(GPU, generates=False), ["c"]),
        # On these, attention is FlashInfer's whatever the task.
        (replace(GPU, capability=(10, 0), generates=False), ["c", "flashinfer"]),
        (replace(GPU, capability=(8, 6), generates=False, kv_dtype="fp8"), ["c", "flashinfer"]),
        (replace(GPU, capability=(8, 9), generates=False, kv_dtype="fp8"), ["c"]),
        (replace(GPU, capability=(8, 9), generates=False, attention_backend="FLASHINFER"), ["c", "flashinfer"]),
        (replace(GPU, capability=None), ["c++"]),
        (replace(GPU, capability=None, is_eager=True), []),
        (replace(GPU, config=BLOCKS), ["c", "flashinfer", "nvcc"]),
        (replace(GPU, capability=(8, 9), config=BLOCKS), ["c", "flashinfer"]),
        (replace(GPU, capability=(12, 0), config=BLOCKS), ["c", "flashinfer", "nvcc"]),
        (replace(GPU, capability=(12, 0), config=BLOCKS | {"model_type": "kolibri1"}), ["c", "flashinfer"]),
        (replace(GPU, config=BLOCKS | {"text_config": {"model_type": "qwen3_5_text"}}), ["c", "flashinfer", "nvcc"]),
        (
            replace(GPU, capability=(10, 0), config=BLOCKS | {"text_config": {"model_type": "qwen3_5_text"}}),
            ["c", "flashinfer"],
        ),
    ],
)
def test_each_kind_of_server_names_what_it_compiles(start: Start, expected: list[str]) -> None:
    assert tools(start) == expected


def test_an_old_gpu_with_an_fp8_cache_needs_flashinfer_whatever_samples() -> None:
    """Without its sampler there would still be no other attention."""
    needs = host_needs(replace(GPU, capability=(8, 6), kv_dtype="fp8"))
    assert [need.unless for need in needs if need.tool == "flashinfer"] == ["VLLM_USE_FLASHINFER_SAMPLER=0", None]


@pytest.mark.parametrize(
    ("given", "is_block"),
    [
        ({"weight_block_size": [128, 128]}, True),
        ({"weight_block_size": None}, False),
        ({"config_groups": {"group_0": {"weights": {"strategy": "block"}}}}, True),
        ({"config_groups": {"group_0": {"weights": {"strategy": "channel"}}}}, False),
        ({"config_groups": {"group_0": None}}, False),
        ({"config_groups": {"group_0": {"weights": None}}}, False),
        ({"config_groups": [1]}, False),
        (None, False),
        ([], False),
    ],
)
def test_scales_by_block_are_read_from_any_config(given: object, *, is_block: bool) -> None:
    assert has_block_scales({"quantization_config": given}) == is_block


@pytest.mark.parametrize("release", RELEASES.values(), ids=RELEASES)
def test_prebuilt_kernels_are_those_of_the_flashinfer_that_is_installed(release: object) -> None:
    """FlashInfer leaves kernels of another release aside, and then wants to compile."""
    version: str = release.version  # type: ignore[attr-defined]
    requirements = vllm_requirements(version)
    wheels = kernel_wheels(version)
    assert bool(wheels) == (requirements is not None)
    if requirements is not None:
        (pinned,) = [each.version for each in requirements.packages if each.name == "flashinfer-python"]
        assert [each.requirement.partition("==")[2].partition("+")[0] for each in wheels] == [pinned, pinned]
        assert wheels[1].requirement.partition("+")[2] in wheels[1].index


def compiled(plan: Plan) -> list[str]:
    return [need.tool for need in plan.services[0].host_needs]


SMALL = QWEN_32B | {
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "hidden_size": 1024,
    "intermediate_size": 2048,
    "vocab_size": 1024,
}


def test_the_plan_of_a_spec_says_what_its_servers_compile() -> None:
    """A card of 2020 with an FP8 KV cache: FlashInfer, whatever samples; a small slice samples without it."""
    assert compiled(solved({"model": "rtx-3090"}, SMALL, kv_cache_dtype="fp8")[1]) == ["c", "flashinfer", "flashinfer"]
    uuids = [f"MIG-00000000-0000-0000-0000-{index:012}" for index in range(2)]
    slices = {"model": "h100-80gb", "count": 2, "uuids": uuids}
    assert compiled(solved(slices | {"mig": "1g.10gb"}, SMALL)[1]) == ["c"]
    assert compiled(solved(slices | {"mig": "2g.20gb"}, SMALL)[1]) == ["c", "flashinfer"]


@pytest.mark.parametrize(("need", "says"), [(SAMPLES, "prebuilt ones"), (MULTIPLIES, "toolkit and g++")])
def test_the_readme_says_and_does_what_makes_a_server_start(need: HostNeed, says: str) -> None:
    page = emit_readme(needing(two_on_one_gpu(), LAUNCHES, need))[0].text
    assert "`apt-get install gcc python3-dev python3-venv`" in page
    assert "`dnf install gcc python3.12-devel`" in page
    assert f"for coder, general {'FlashInfer' if need is SAMPLES else 'a CUDA'}" in page
    assert says in page
    assert ("--index-url https://flashinfer.ai/whl flashinfer-cubin==" in page) == (need is SAMPLES)
    if need is SAMPLES:
        steps = page.partition("### Kernels")[2].partition("```bash\n")[2].partition("```")[0].splitlines()
        assert all(step.startswith("sudo -u stackc-install ") for step in steps[1:-1])
        # Whatever came of it, the servers' user and the installer's can change nothing afterwards.
        assert steps[-1] == "sudo chown -R root:root /opt/vllm"
        assert not steps[-2].endswith("&&")
    bare = emit_readme(two_on_one_gpu())[0].text
    assert "python3-dev" not in bare
    assert "flashinfer" not in bare.lower()
