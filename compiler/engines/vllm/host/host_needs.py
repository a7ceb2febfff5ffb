"""What a server compiles as it starts, and which programs of the machine it needs for that.

An image holds all of it. A virtual environment of vLLM's wheels holds neither a C compiler, nor Python's headers, nor a
CUDA toolkit: PyPI's `nvcc` lies where nobody looks, without libraries that it could link. What is compiled is kept
below HOME and in the folders of compiler/targets/deployment.py:cache_environment, all in the stack's state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from compiler.engines.interface.launch import HostNeed

_FLASHINFER = ((8, 0), (12, 1))  # vllm/v1/attention/backends/flashinfer.py:supports_compute_capability
_FP8_ELSEWHERE = (8, 9)  # from here on other backends too have attention over an FP8 KV cache
_DEEP_GEMM = {9, 10, 12}  # vllm/platforms/cuda.py:support_deep_gemm, by major version (9.0 alone of 9)
# vllm/v1/sample/ops/topk_topp_sampler.py:flashinfer_sampler_supported: smaller ones sample without FlashInfer.
_FEWEST_PROCESSORS = 16
# vllm/utils/deep_gemm.py:_DEEPGEMM_BLACKWELL_EXCLUDED_MODEL_TYPES, with the generations that it is kept from.
_WITHOUT_DEEP_GEMM = {"qwen3_5_text": (10, 12), "qwen3_5_moe_text": (10, 12), "kolibri1": (12,)}


@dataclass(frozen=True, slots=True)
class Start:
    """What decides.

    Attributes:
        capability: of the GPU; None on a CPU.
        processors: multiprocessors of a MIG slice; None of a whole GPU, which has more than any limit here.
        generates: it samples tokens; a server for embeddings does not.
        is_eager: nothing is compiled by torch (`--enforce-eager`).
        kv_dtype: what the KV cache is kept as.
        config: of the model.
        attention_backend: that the spec names; None where vLLM chooses.
    """

    capability: tuple[int, int] | None
    processors: int | None
    generates: bool
    is_eager: bool
    kv_dtype: str
    config: Mapping[str, Any]
    attention_backend: str | None = None


@dataclass(frozen=True, slots=True)
class _Rule:
    need: HostNeed
    holds: Callable[[Start], bool]


def _on_gpu(start: Start) -> bool:
    return start.capability is not None


def _torch_compiles(start: Start) -> bool:
    return start.capability is None and not start.is_eager


def _has_flashinfer(start: Start) -> bool:
    return start.capability is not None and _FLASHINFER[0] <= start.capability <= _FLASHINFER[1]


def _samples(start: Start) -> bool:
    is_large = start.processors is None or start.processors > _FEWEST_PROCESSORS
    return _has_flashinfer(start) and start.generates and is_large


def _only_flashinfer_attends(start: Start) -> bool:
    is_old = start.capability is not None and start.capability < _FP8_ELSEWHERE
    return _has_flashinfer(start) and is_old and start.kv_dtype.startswith("fp8")


def _flashinfer_attends_first(start: Start) -> bool:
    return _has_flashinfer(start) and start.capability is not None and start.capability[0] == 10  # noqa: PLR2004


def _flashinfer_is_named(start: Start) -> bool:
    return start.attention_backend == "FLASHINFER" and not _flashinfer_attends_first(start)


def _multiplies_blocks(start: Start) -> bool:
    """FP8 weights with a scale for each block of them go to DeepGEMM, which compiles every shape that it meets."""
    if start.capability is None or start.capability[0] not in _DEEP_GEMM:
        return False
    kind = (_table(start.config.get("text_config")) or start.config).get("model_type")
    excluded = _WITHOUT_DEEP_GEMM.get(str(kind), ())
    return start.capability[0] not in excluded and has_block_scales(start.config)


def has_block_scales(config: Mapping[str, Any]) -> bool:
    """Whether a checkpoint's FP8 weights have a scale for each block, by its config."""
    given = _table(config.get("quantization_config"))
    groups = [_table(group) for group in _table(given.get("config_groups")).values()]
    by_block = any(_table(group.get("weights")).get("strategy") == "block" for group in groups)
    return bool(given.get("weight_block_size")) or by_block


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


_SAMPLER, _GEMM = "VLLM_USE_FLASHINFER_SAMPLER=0", "VLLM_USE_DEEP_GEMM=0"

# In the order in which preflight names them; the source is of vLLM 0.33.0, Triton 3.8, FlashInfer 0.7.2, torch 2.14.
_TABLE = (
    # triton/backends/nvidia/driver.py compiles its own driver.c; triton/runtime/build.py:_find_compiler
    _Rule(HostNeed("c", "Triton compiles the module that launches its kernels"), _on_gpu),
    # torch/_inductor/cpp_builder.py
    _Rule(HostNeed("c++", "torch.compile makes C++ of the model"), _torch_compiles),
    _Rule(HostNeed("flashinfer", "FlashInfer samples top-k and top-p", _SAMPLER), _samples),
    # compiler/engines/vllm/kernels/attention.py has the whole choice.
    _Rule(HostNeed("flashinfer", "below compute capability 8.9 only FlashInfer has attention over an FP8 KV cache"),
          _only_flashinfer_attends),
    _Rule(HostNeed("flashinfer", "FlashInfer is the first choice for attention"), _flashinfer_attends_first),
    _Rule(HostNeed("flashinfer", "`attention-backend` names FlashInfer"), _flashinfer_is_named),
    # vllm/model_executor/kernels/linear/__init__.py:_POSSIBLE_FP8_BLOCK_KERNELS. No kernels of DeepGEMM are prebuilt.
    _Rule(HostNeed("nvcc", "DeepGEMM compiles the products of FP8 weights in blocks", _GEMM), _multiplies_blocks),
)  # fmt: skip


def host_needs(start: Start) -> tuple[HostNeed, ...]:
    """The rows of the table that hold."""
    return tuple(rule.need for rule in _TABLE if rule.holds(start))
