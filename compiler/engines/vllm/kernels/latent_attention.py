"""Backends for latent attention (vllm/v1/attention/backends/mla of 0.33.0).

FlashInfer and TokenSpeed are counted as installed: vLLM's package requires them.
"""

from __future__ import annotations

from dataclasses import dataclass

from compiler.checkpoints.architecture import LatentCache, Layer, Linear
from compiler.engines.vllm.kernels.backend import Backend, Device, NoBackendError, dotted

INDEXER = Backend("DEEPSEEK_V32_INDEXER", (64,))

_COMMON_WIDTHS = (320, 512, 576)  # mla_attention.py:MLACommonBackend

# Widths without and with position, and of values, that FlashAttention prefills (mla/prefill/flash_attn.py). What the
# other prefill backends of 10.x take is in it.
_PREFILLED = {(128, 64, 128), (192, 64, 256), (64, 64, 128), (256, 0, 256)}

_FLASH_ATTN_MLA = Backend("FLASH_ATTN_MLA", (16,))
_FLASHMLA = Backend("FLASHMLA", (64,))
_FLASHINFER_MLA = Backend("FLASHINFER_MLA", (32, 64))
_CUTLASS_MLA = Backend("CUTLASS_MLA", (128,))
_TRITON_MLA = Backend("TRITON_MLA", (16,))


@dataclass(frozen=True, slots=True)
class LatentShape:
    """Widths of a latent layer, whole and before any split, as its projections give them."""

    heads: int
    rank: int
    nope: int
    rope: int
    value: int


def latent_shape(layer: Layer, cache: LatentCache) -> LatentShape:
    """Read from `kv_b_proj`, `o_proj` and the queries' projection."""
    linears = {module.name.rpartition(".")[2]: module for module in layer.modules if isinstance(module, Linear)}
    keys, queries, out = linears["kv_b_proj"], linears.get("q_b_proj") or linears["q_proj"], linears["o_proj"]
    rope = cache.width - keys.inputs
    # keys.outputs = heads × (nope + value), out.inputs = heads × value, queries.outputs = heads × (nope + rope)
    nopes = keys.outputs - out.inputs
    heads = (queries.outputs - nopes) // rope
    return LatentShape(heads, keys.inputs, nopes // heads, rope, out.inputs // heads)


def dense_backend(layer: Layer, cache: LatentCache, device: Device) -> Backend:
    """The first of vLLM's list for latents that are all read.

    Raises:
        NoBackendError: none, or nothing that prefills.
    """
    shape = latent_shape(layer, cache)
    _check_prefill(shape, device)
    chosen = _dense(shape, cache.width, device)
    if chosen is _TRITON_MLA and device.is_fp8 and device.capability < (8, 9):
        raise NoBackendError(
            "an fp8 KV cache of latent attention needs compute capability 8.9, "
            f"this GPU has {dotted(device.capability)}"
        )
    return chosen


def _dense(shape: LatentShape, width: int, device: Device) -> Backend:
    if width in _COMMON_WIDTHS and device.major == 9:  # noqa: PLR2004
        return _FLASHMLA if device.is_fp8 else _FLASH_ATTN_MLA
    if width in _COMMON_WIDTHS and device.major == 10:  # noqa: PLR2004
        return _FLASHINFER_MLA if shape.nope in (64, 128, 192) else _CUTLASS_MLA
    return _TRITON_MLA


def _check_prefill(shape: LatentShape, device: Device) -> None:
    if not device.is_half:
        raise NoBackendError(f"latent attention is served in 16 bits only, not in {device.dtype}")
    if device.kv == "fp8_e5m2":
        raise NoBackendError("latent attention takes no KV cache in fp8_e5m2")
    if device.capability < (8, 0):
        raise NoBackendError(
            f"latent attention needs compute capability 8.0 for its prefill, this GPU has {dotted(device.capability)}"
        )
    widths = (shape.nope, shape.rope, shape.value)
    if widths not in _PREFILLED:
        raise NoBackendError(f"no prefill backend takes latent attention with head widths {widths}")


def sparse_backend(layer: Layer, cache: LatentCache, device: Device) -> Backend:
    """The first of vLLM's list for latents that an indexer picks; all of them take blocks of 64 tokens.

    Raises:
        NoBackendError: none.
    """
    shape = latent_shape(layer, cache)
    chosen = {9: _sparse_hopper, 10: _sparse_blackwell, 12: _sparse_consumer}.get(device.major)
    name = None if chosen is None else chosen(shape, cache, device)
    if name is None:
        raise NoBackendError(
            f"no backend runs sparse latent attention with a KV cache in {device.kv} "
            f"on compute capability {dotted(device.capability)}"
        )
    return name


def _sparse(name: str, kv_dtype: str | None = None) -> Backend:
    return Backend(name, (64,), kv_dtype)


def _sparse_hopper(shape: LatentShape, cache: LatentCache, device: Device) -> Backend | None:
    if not device.is_fp8 and device.is_half:
        return _sparse("FLASH_ATTN_MLA_SPARSE")
    if device.dtype != "bfloat16":
        return None
    if device.kv == "fp8" and cache.width == 576:  # noqa: PLR2004
        return _sparse("FLASHMLA_SPARSE", "fp8_ds_mla")
    fits = shape.rank == 512 and shape.rope in (0, 64)  # noqa: PLR2004
    return _sparse("FLASHINFER_MLA_SPARSE_SM90") if fits and device.kv in ("fp8", "fp8_e4m3") else None


def _sparse_blackwell(shape: LatentShape, cache: LatentCache, device: Device) -> Backend | None:
    flashinfer = shape.nope in (128, 192) and device.is_half and device.kv != "fp8_e5m2"
    flashmla = cache.width == 576 and device.dtype == "bfloat16"  # noqa: PLR2004
    if device.is_fp8:
        if flashinfer:
            return _sparse("FLASHINFER_MLA_SPARSE")
        return _sparse("FLASHMLA_SPARSE", "fp8_ds_mla") if flashmla and device.kv == "fp8" else None
    if flashmla and shape.heads // device.ranks > 16:  # noqa: PLR2004
        return _sparse("FLASHMLA_SPARSE")
    # With few heads FlashAttention 4 or FlashInfer go first: in blocks of the same size.
    if flashinfer:
        return _sparse("FLASHINFER_MLA_SPARSE")
    return _sparse("FLASHMLA_SPARSE") if flashmla else None


def _sparse_consumer(shape: LatentShape, cache: LatentCache, device: Device) -> Backend | None:
    del shape
    fits = device.dtype == "bfloat16" and cache.topk == 2048 and device.kv in ("auto", "fp8", "fp8_e4m3")  # noqa: PLR2004
    return _sparse("FLASHINFER_MLA_SPARSE_SM120", "fp8_ds_mla") if fits else None


def packed_backend(device: Device) -> Backend:
    """DeepSeek V4 (models/deepseek_v4/nvidia/model.py:_select_dsv4_attn_cls): its cache is always fp8.

    Raises:
        NoBackendError: the GPU has no kernels for it.
    """
    gpu = f"this GPU has {dotted(device.capability)}"
    if device.major not in (9, 10, 12):
        raise NoBackendError(f"DeepSeek V4 needs compute capability 9.x, 10.x or 12.x, {gpu}")
    if device.kv != "auto" and not device.is_fp8:
        raise NoBackendError(f"DeepSeek V4 keeps its KV cache in fp8 only, not in {device.kv}")
    name = "FLASHINFER_MLA_SPARSE_DSV4" if device.major == 12 else "FLASHMLA_SPARSE_DSV4"  # noqa: PLR2004
    return Backend(name, (256,), "fp8_ds_mla")
