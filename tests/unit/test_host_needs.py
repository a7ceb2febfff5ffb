"""What a server compiles on a machine without containers, by GPU, model and options."""

from __future__ import annotations

from dataclasses import replace

import pytest

from compiler.catalog.kernels import kernel_wheels
from compiler.catalog.packages import vllm_requirements
from compiler.catalog.releases import RELEASES
from compiler.plan.host_needs import Start, has_block_scales, host_needs

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
