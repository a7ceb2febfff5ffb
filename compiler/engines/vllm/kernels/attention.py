"""Which attention backend vLLM picks on a GPU, and the block size of the KV cache that follows from it.

vllm/platforms/cuda.py:_get_backend_priorities and interface.py:update_block_size_for_backend of 0.33.0; what each
backend takes is in vllm/v1/attention/backends. Blocks of models with recurrent states are aligned to these states
afterwards, which is not done here.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from compiler.checkpoints.architecture import (
    Architecture,
    HeadCache,
    IndexerCache,
    KeyCache,
    LatentCache,
    Layer,
    PackedCache,
    Vector,
)
from compiler.checkpoints.pooled_cache import DEFAULT_BLOCK, PooledKeyCache
from compiler.checkpoints.state_cache import StateCache
from compiler.engines.vllm.kernels.backend import Backend, Device, NoBackendError, dotted
from compiler.engines.vllm.kernels.latent_attention import INDEXER, dense_backend, packed_backend, sparse_backend

_FLASHINFER_HEADS = (64, 128, 256, 512)
_FLASH = Backend("FLASH_ATTN", (16,))
_FLASH_SM90_FP8_512 = Backend("FLASH_ATTN", (64,))
_FLASHINFER = Backend("FLASHINFER", (16, 32, 64))
_TRITON = Backend("TRITON_ATTN", (16,))
# Triton where an image's tokens see each other, the other one everywhere else (composite.py); both take two head sizes.
_TRITON_FLASH = Backend("TRITON_FLASH_ATTN", (16,))
_TRITON_FLASH_SM90_FP8_512 = Backend("TRITON_FLASH_ATTN", (64,))
_TRITON_FLASHINFER = Backend("TRITON_FLASHINFER", (64,))
_COMPOSITE_HEADS = (256, 512)
# Where values are narrower than keys (vllm/model_executor/models/mimo_v2.py:MiMoV2Attention).
_FLASH_NARROW = Backend("FLASH_ATTN_DIFFKV", (16,))
_TRITON_NARROW = Backend("TRITON_ATTN_DIFFKV", (16,))
_FLEX = Backend("FLEX_ATTENTION", (16,))
_PICKED_BLOCKS = Backend("MINIMAX_M3_SPARSE", (128,))
_POOLED_KEYS = Backend("QWEN4_EXP_QSA_TRITON", (16,))


@dataclass(frozen=True, slots=True)
class AttentionPlan:
    """How a model's attention is run.

    Attributes:
        backends: vLLM's names of them, in the order of the layers; empty for a model without attention caches.
        block_size: tokens of a KV block.
        kv_dtype: what the cache is kept as: a torch dtype, `fp8` or `fp8_ds_mla`.
        why: what was decided, in words.
    """

    backends: tuple[str, ...]
    block_size: int
    kv_dtype: str
    why: str


# The CPU backend of latent attention that needs no AMX (vllm/platforms/cpu.py of 0.32.0).
CPU_LATENT_BACKEND = "CPU_MLA"


# Those whose workspaces are in the ledger, for models whose layers are all alike to them.
_NAMED = ("FLASH_ATTN", "FLASHINFER", "TRITON_ATTN")


def may_be_named(architecture: Architecture, backend: str) -> bool:
    """Whether the ledger follows a backend that vLLM would not choose: heads alone, of one window and without sinks.

    FlashInfer wants one window for all layers (vllm/v1/attention/backends/flashinfer.py), and towers and sinks have
    conditions of their own.
    """
    caches = [cache for layer in architecture.kinds for cache in layer.caches if not isinstance(cache, StateCache)]
    heads = [cache for cache in caches if isinstance(cache, HeadCache)]
    alike = len({(cache.window, cache.chunk) for cache in heads}) == 1
    plain = len(heads) == len(caches) > 0 and alike and all(cache.value_dim == cache.head_dim for cache in heads)
    special = architecture.encoders or architecture.pooling or any(_has_sinks(layer) for layer in architecture.kinds)
    return backend in _NAMED and plain and not special


def is_latent(architecture: Architecture) -> bool:
    """Whether some layer caches latents."""
    return any(isinstance(cache, LatentCache) for layer in architecture.kinds for cache in layer.caches)


@lru_cache(maxsize=4096)
def attention_plan(
    architecture: Architecture,
    *,
    capability: tuple[int, int],
    served_dtype: str,
    kv_cache_dtype: str = "auto",
    tensor_parallel_size: int = 1,
    named: str | None = None,
) -> AttentionPlan:
    """The plan for one GPU.

    Args:
        kv_cache_dtype: as vLLM's flag has it, or as the checkpoint chooses it for `auto`.
        named: the backend that attention with heads is told to take; None where vLLM chooses.

    Raises:
        NoBackendError: vLLM has no backend for this.
    """
    flag = _defaulted(architecture, capability, kv_cache_dtype)
    whole_items = architecture.whole_items and bool(architecture.encoders)
    device = Device(capability, served_dtype, flag, tensor_parallel_size, whole_items=whole_items, named=named)
    backends = tuple(dict.fromkeys(_backends(architecture, device)))
    block = common_block_size([backend.blocks for backend in backends])
    fallback = served_dtype if flag == "auto" else flag.partition("_")[0]
    kept = next((backend.kv_dtype for backend in backends if backend.kv_dtype is not None), fallback)
    names = tuple(dict.fromkeys(backend.name for backend in backends))
    gpu = f"compute capability {dotted(capability)}"
    why = f"{' and '.join(names)} on {gpu}, blocks of {block} tokens" if names else f"no attention cache, {gpu}"
    return AttentionPlan(names, block, kept, why)


def attention_refusal(
    architecture: Architecture,
    *,
    capability: tuple[int, int],
    served_dtype: str,
    kv_cache_dtype: str = "auto",
    tensor_parallel_size: int = 1,
) -> str | None:
    """Why vLLM cannot run this model's attention on this GPU with this KV cache; None if it can."""
    try:
        attention_plan(
            architecture,
            capability=capability,
            served_dtype=served_dtype,
            kv_cache_dtype=kv_cache_dtype,
            tensor_parallel_size=tensor_parallel_size,
        )
    except NoBackendError as error:
        return str(error)
    return None


def cpu_attention_refusal(architecture: Architecture) -> str | None:
    """Why no CPU runs this model's attention; None where nothing speaks against it."""
    pooled = any(isinstance(cache, PooledKeyCache) for layer in architecture.kinds for cache in layer.caches)
    # models/qwen4_exp/nvidia/qsa.py: its kernels are Triton's, and it asks for FlashAttention.
    return "Qwen4-Exp's attention has no kernels for the CPU" if pooled else None


def _defaulted(architecture: Architecture, capability: tuple[int, int], flag: str) -> str:
    """vllm/model_executor/models/config.py: what some architectures make of the flag."""
    if architecture.name == "GlmMoeDsaForCausalLM" and flag == "auto" and capability[0] == 10:  # noqa: PLR2004
        return "fp8_e4m3"
    return "auto" if architecture.name == "DeepseekV32ForCausalLM" and flag == "bfloat16" else flag


def _backends(architecture: Architecture, device: Device) -> Iterable[Backend]:
    for layer in architecture.kinds:
        if any(isinstance(cache, PooledKeyCache) for cache in layer.caches):
            yield _pooled_backend(device)
            continue
        for cache in layer.caches:
            if isinstance(cache, HeadCache):
                yield _head_backend(cache, device, sinks=_has_sinks(layer))
            elif isinstance(cache, LatentCache):
                yield (
                    dense_backend(layer, cache, device) if cache.topk is None else sparse_backend(layer, cache, device)
                )
            elif isinstance(cache, IndexerCache):
                yield INDEXER
            elif isinstance(cache, KeyCache):
                yield _PICKED_BLOCKS
            elif isinstance(cache, PackedCache):
                yield packed_backend(device)


def _pooled_backend(device: Device) -> Backend:
    """Qwen4-Exp's own (models/qwen4_exp/nvidia/qsa.py), whose indexer is in bfloat16 only.

    Raises:
        NoBackendError: another dtype, of the model or of the cache, or a GPU without bfloat16.
    """
    if device.capability < (8, 0) or device.dtype != "bfloat16":
        raise NoBackendError(
            f"Qwen4-Exp is served in bfloat16 from compute capability 8.0 on, "
            f"not in {device.dtype} on {dotted(device.capability)}"
        )
    if device.kv not in ("auto", "bfloat16", "fp8", "fp8_e4m3"):
        raise NoBackendError(f"Qwen4-Exp keeps its KV cache in bfloat16 or fp8_e4m3, not in {device.kv}")
    return _POOLED_KEYS


def _has_sinks(layer: Layer) -> bool:
    return any(isinstance(module, Vector) and module.name.endswith("sinks") for module in layer.modules)


def _head_backend(cache: HeadCache, device: Device, *, sinks: bool) -> Backend:
    """The first of vLLM's list that takes heads of this size and this cache."""
    if cache.value_dim != cache.head_dim:
        return _narrow_backend(cache, device)
    flash = (_flash(cache, device), _flash_takes(cache, device, sinks=sinks))
    flashinfer = (_FLASHINFER, _flashinfer_takes(cache, device, sinks=sinks))
    first, second = (flashinfer, flash) if device.major == 10 else (flash, flashinfer)  # noqa: PLR2004
    if device.whole_items:
        first, second = _composite(cache, device, flash=flash[1], flashinfer=flashinfer[1]), (_FLASH, False)
    triton, flex = cache.head_dim >= 32, not (device.is_fp8 or sinks)  # noqa: PLR2004
    listed = (first, second, (_TRITON, triton), (_FLEX, flex))
    offered = (each for each in listed if device.named in (None, each[0].name))
    chosen = next((backend for backend, takes in offered if takes), None)
    if chosen is None:
        which = "no attention backend" if device.named is None else f"{device.named} is not the backend that"
        raise NoBackendError(f"{which} takes heads of {cache.head_dim} with a KV cache in {device.kv}")
    if chosen is _TRITON and device.is_fp8 and device.capability < (8, 9):
        raise NoBackendError(_no_fp8(cache, device))
    return chosen


def _composite(cache: HeadCache, device: Device, *, flash: bool, flashinfer: bool) -> tuple[Backend, bool]:
    """triton_flash_attn.py on 9.x, triton_flashinfer.py on 10.x; alone, neither lets an image's tokens see each other.

    FlashAttention 4 could on 10.x, with Triton's blocks.
    """
    suits = cache.head_dim in _COMPOSITE_HEADS
    if device.major == 10:  # noqa: PLR2004
        return _TRITON_FLASHINFER, suits and flashinfer
    wide = _flash(cache, device) is _FLASH_SM90_FP8_512
    return (_TRITON_FLASH_SM90_FP8_512 if wide else _TRITON_FLASH), suits and flash and device.major == 9  # noqa: PLR2004


def _narrow_backend(cache: HeadCache, device: Device) -> Backend:
    """FlashAttention 3 on 9.x and 4 on 10.x, which there wants an fp8 cache's values as wide as its keys; else Triton.

    flash_attn_diffkv.py:is_supported_on_current_device, fa_utils.py:get_flash_attn_version and the check of the dtype
    in flash_attn.py:FlashAttentionImpl, which asks for keys alone.
    """
    wide = cache.head_dim > 128 and (cache.head_dim, cache.value_dim) != (192, 128)  # noqa: PLR2004
    if device.is_half and (device.major == 9 or (device.major == 10 and not wide)):  # noqa: PLR2004
        if device.is_fp8 and device.major == 10 and cache.head_dim > 128:  # noqa: PLR2004
            raise NoBackendError(
                f"an fp8 KV cache of keys of {cache.head_dim} and values of {cache.value_dim} is not read by "
                f"FlashAttention 4, which vLLM chooses for them on compute capability {dotted(device.capability)}"
            )
        return _FLASH_NARROW
    if device.is_fp8 and device.capability < (8, 9):
        raise NoBackendError(_no_fp8(cache, device))
    return _TRITON_NARROW


def _no_fp8(cache: HeadCache, device: Device) -> str:
    """triton_attn.py:TritonAttentionImpl, where none before it takes the cache."""
    gpu = f"this GPU has {dotted(device.capability)}"
    if device.whole_items:
        return f"an fp8 KV cache of a model whose images are not cut needs compute capability 8.9, {gpu}"
    if device.capability < (8, 0):
        return f"an fp8 KV cache needs compute capability 8.0, {gpu}"
    sizes = ", ".join(map(str, _FLASHINFER_HEADS))
    return f"an fp8 KV cache below compute capability 8.9 needs a head size of {sizes}, the model has {cache.head_dim}"


def _flash(cache: HeadCache, device: Device) -> Backend:
    # The kernel that unpacks fp8 for such heads reads tiles of 64 tokens.
    wide = device.major == 9 and cache.head_dim == 512  # noqa: PLR2004
    return _FLASH_SM90_FP8_512 if wide and device.is_fp8 else _FLASH


def _flash_takes(cache: HeadCache, device: Device, *, sinks: bool) -> bool:
    """flash_attn.py and fa_utils.py: FlashAttention 3 on 9.x, 4 on 10.x and for wide heads on 9.x, else 2."""
    newest = device.major in (9, 10, 11)
    size_fits = cache.head_dim % 8 == 0 and cache.head_dim <= (512 if newest else 256)
    sinks_fit = not sinks or device.major in (9, 10)
    return device.capability >= (8, 0) and device.is_half and size_fits and sinks_fit and _flash_keeps(cache, device)


def _flash_keeps(cache: HeadCache, device: Device) -> bool:
    if not device.is_fp8:
        return True
    if device.kv == "fp8_e5m2":
        return False
    if device.major == 9:  # noqa: PLR2004
        return cache.head_dim <= 256 or cache.head_dim == 512  # noqa: PLR2004
    return device.major == 10 and cache.head_dim <= 128  # noqa: PLR2004


def _flashinfer_takes(cache: HeadCache, device: Device, *, sinks: bool) -> bool:
    in_range = (8, 0) <= device.capability <= (12, 1)
    sinks_fit = not sinks or device.major in (9, 10, 12)
    return in_range and device.is_half and cache.head_dim in _FLASHINFER_HEADS and sinks_fit


def common_block_size(sizes: Sequence[tuple[int, ...]]) -> int:
    """The block size that all backends take (interface.py:_preferred_block_size_for_backends).

    Args:
        sizes: for each backend, what its blocks must be a multiple of one of.
    """

    def fits(block: int) -> bool:
        return all(any(block % size == 0 for size in each) for each in sizes)

    if fits(DEFAULT_BLOCK):
        return DEFAULT_BLOCK
    return min(block for combination in itertools.product(*sizes) if fits(block := math.lcm(*combination)))
