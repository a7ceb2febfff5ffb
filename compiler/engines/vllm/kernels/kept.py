"""What a server keeps its KV cache as, and tokens of its blocks: the attention backend decides both."""

from __future__ import annotations

from functools import lru_cache

from compiler.checkpoints.architecture import Architecture, served_dtype
from compiler.checkpoints.parameters.ranks import Parallelism
from compiler.checkpoints.quantization.read import Quantization
from compiler.engines.vllm.kernels.attention import attention_plan, is_latent
from compiler.engines.vllm.kernels.backend import NoBackendError
from compiler.engines.vllm.kv_cache.blocks import KvLayout
from compiler.engines.vllm.kv_cache.layout import rank_kv_layout
from compiler.engines.vllm.releases.quantization import BFLOAT16_CAPABILITY, Capability
from compiler.engines.vllm.releases.release import Release


def cache_flag(quantization: Quantization | None, asked: str = "auto") -> str:
    """The dtype that the server is told of: the spec's comes first, then the checkpoint's, which vLLM follows.

    Args:
        asked: `kv_cache_dtype` of the spec.
    """
    chosen = quantization.kv_cache_dtype if quantization is not None else None
    return "fp8" if asked == "fp8" else chosen or "auto"


def kept_as(
    architecture: Architecture, flag: str, release: Release, capability: Capability | None, served_dtype: str,
    *, ranks: int = 1, named: str | None = None,
) -> tuple[str, int]:  # fmt: skip
    """Dtype and block size on a GPU, or on a CPU where `capability` is None.

    Args:
        flag: of `cache_flag`.
        ranks: of tensor parallelism.
        named: the attention backend that the server is told to take; None where vLLM chooses.
    """
    plain = served_dtype if flag == "auto" else flag.partition("_")[0]  # `fp8_e4m3` is the same bytes
    if capability is None:
        latent = release.latent_block_size if is_latent(architecture) else None
        return plain, latent or release.block_size
    try:
        plan = attention_plan(
            architecture,
            capability=capability,
            served_dtype=served_dtype,
            kv_cache_dtype=flag,
            tensor_parallel_size=ranks,
            named=named,
        )
    except NoBackendError:
        # The service has a problem of its own for this, and its candidates are listed with their sizes all the same.
        return plain, release.block_size
    return plan.kv_dtype, plan.block_size


@lru_cache(maxsize=4096)
def probe_layout(
    architecture: Architecture, split: Parallelism, flag: str, release: Release, capability: Capability | None,
    *, named: str | None = None,
) -> KvLayout:  # fmt: skip
    """The layout that a server would get, of batches of one token: what is asked of it holds for longer ones too.

    Raises:
        UnsupportedArchitectureError: caches that no formula counts.
        PagesError: caches that vLLM cannot put in blocks together.
        ConfigError: entries of a size that the engine's format does not hold.
    """
    served = served_dtype(
        architecture.checkpoint_dtype,
        bfloat16_runs=capability is None or capability >= BFLOAT16_CAPABILITY,
        pooling=architecture.pooling,
        float16=architecture.float16,
    )
    ranks = split.tensor_parallel_size
    dtype, block_size = kept_as(architecture, flag, release, capability, served, ranks=ranks, named=named)
    return rank_kv_layout(
        architecture,
        split,
        dtype=dtype,
        block_size=block_size,
        max_num_batched_tokens=1,
        served_dtype=served,
        compute_capability=capability,
    )
