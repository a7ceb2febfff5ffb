"""What a vLLM release can run on a device: quantization methods by compute capability, and their own conditions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from compiler.catalog.releases import Release
from compiler.memory.tensors import Packing


@dataclass(frozen=True, slots=True)
class Requirement:
    """The least compute capability for a packing style, and whether the CPU build has kernels for it."""

    capability: tuple[int, int]
    on_cpu: bool


# vllm/model_executor/layers/quantization/*.py:get_min_capability and the kernels' own, 0.33.0. FP8 runs as W8A8 from
# 8.9 and as Marlin weight-only from 7.5. CPU: vllm/platforms/cpu.py, 0.32.0.
_REQUIREMENTS = {
    "awq": Requirement((7, 5), on_cpu=True),
    "gptq": Requirement((7, 5), on_cpu=True),
    "pack-quantized": Requirement((7, 5), on_cpu=False),
    "int8": Requirement((7, 5), on_cpu=True),
    "fp8": Requirement((7, 5), on_cpu=False),
}

BFLOAT16_CAPABILITY = (8, 0)  # vllm/platforms/cuda.py:check_if_supports_dtype


def why_not_served(
    packing: Packing | None,
    quantization: Mapping[str, Any] | None,
    *,
    release: Release,
    capability: tuple[int, int] | None,
) -> str | None:
    """Why the release cannot run a checkpoint quantized like this on this device; None if it can.

    Args:
        quantization: the checkpoint's own block.
        capability: of the GPU; None on a CPU.
    """
    if packing is None:
        return None
    needs = _REQUIREMENTS[packing.style]
    if capability is None and not needs.on_cpu:
        return f"vLLM {release.version} has no {packing.style} kernels for the CPU"
    if capability is not None and capability < needs.capability:
        return (
            f"{packing.style} needs compute capability {_dotted(needs.capability)}, this GPU has {_dotted(capability)}"
        )
    return _own_conditions(packing, quantization or {})


def _own_conditions(packing: Packing, quantization: Mapping[str, Any]) -> str | None:
    """What vllm/model_executor/layers/quantization/auto_{awq,gptq}.py refuse whatever the GPU."""
    if packing.style == "awq" and packing.bits != 4:  # noqa: PLR2004
        return f"AWQ is served with 4 bits only, this checkpoint has {packing.bits}"
    if packing.style != "gptq":
        return None
    if packing.bits not in (4, 8):
        return f"GPTQ is served with 4 or 8 bits only, this checkpoint has {packing.bits}"
    if quantization.get("sym") is False:
        return "asymmetric GPTQ (`sym: false`) is not served"
    if quantization.get("desc_act") is True and packing.group_size is not None:
        return "GPTQ with activation ordering over groups (`desc_act: true` with a group size) is not served"
    return None


def fp8_cache_refusal(capability: tuple[int, int] | None, head_dim: int) -> str | None:
    """Why an fp8 KV cache cannot be served here; None if it can (vllm/v1/attention/backends, 0.33.0).

    FlashAttention takes fp8 caches on 9.0 and 10.x, FlashInfer from 8.0 with head sizes of 64, 128, 256 and 512.
    """
    if capability is None:
        return "the CPU build is not compiled for here with an fp8 KV cache"
    if capability < (8, 0):
        return f"an fp8 KV cache needs compute capability 8.0, this GPU has {_dotted(capability)}"
    if capability[0] not in (9, 10) and head_dim not in (64, 128, 256, 512):
        return f"an fp8 KV cache on this GPU needs a head size of 64, 128, 256 or 512, the model has {head_dim}"
    return None


def _dotted(capability: tuple[int, int]) -> str:
    return ".".join(map(str, capability))
