"""CUDA graphs: for which batch sizes vLLM captures them, and what that takes."""

from __future__ import annotations

from compiler.checkpoints.architecture import Architecture
from compiler.engines.vllm.kernels.attention import is_latent
from compiler.engines.vllm.memory.shape import ServerShape
from compiler.engines.vllm.releases.overheads import GpuOverheads, GraphOverhead
from compiler.units import ByteRange

_LIMIT = 512  # vllm/config/vllm.py:_set_cudagraph_sizes
_LARGE_LIMIT = 1024  # the same on compute capability 10.x; and vllm/model_executor/models/config.py for gpt-oss
_BLACKWELL = 10
_LARGE = (9, 10)


def capture_sizes(
    max_num_seqs: int, max_num_batched_tokens: int, *, limit: int = _LIMIT, draft_tokens: int = 0
) -> tuple[int, ...]:
    """Batch sizes for which vLLM captures CUDA graphs (vllm/config/vllm.py:_set_cudagraph_sizes).

    Args:
        draft_tokens: that are checked with each request: batches are multiples of one more than these.
    """
    each = 1 + draft_tokens
    most = min(2 * max_num_seqs * each, limit)
    sizes = {size for size in _steps(limit) if size <= most}
    if draft_tokens:
        requests = {*_steps(limit), min(max_num_seqs, limit)}
        sizes |= {count * each for count in requests if count <= max_num_seqs and count * each <= most}
    return tuple(sorted(size for size in sizes if size <= max_num_batched_tokens))


def _steps(limit: int) -> tuple[int, ...]:
    return (1, 2, 4, *range(8, 256, 8), *range(256, limit + 1, 16))


def capture_limit(architecture: Architecture, capability: tuple[int, int] | None) -> int:
    """The largest size that is captured."""
    large = architecture.name == "GptOssForCausalLM" or (capability is not None and capability[0] == _BLACKWELL)
    return _LARGE_LIMIT if large else _LIMIT


def graph_overhead(overheads: GpuOverheads, architecture: Architecture, shape: ServerShape) -> GraphOverhead:
    """What they take: more where ranks exchange what they have, and where attention is otherwise."""
    if is_latent(architecture):
        return overheads.graphs_latent
    if shape.ranks > 1:
        return overheads.graphs_shared
    large = shape.compute_capability is not None and shape.compute_capability[0] in _LARGE
    return overheads.graphs_large if large else overheads.graphs


def graph_memory(
    overheads: GpuOverheads, architecture: Architecture, shape: ServerShape, *, drafting_layers: int = 0
) -> ByteRange:
    """For each size a graph with the kernels of every layer of the rank, and what all of them share.

    Args:
        drafting_layers: of a draft with graphs of its own: for its first step, and for those after it
            (vllm/v1/worker/gpu/spec_decode/target_dependent_ar/cudagraph_utils.py).
    """
    if shape.enforce_eager:
        return ByteRange.exact(0)
    limit = capture_limit(architecture, shape.compute_capability)
    sizes = capture_sizes(
        shape.max_num_seqs, shape.max_num_batched_tokens, limit=limit, draft_tokens=shape.draft_tokens
    )
    count = len(sizes) * len(shape.parallelism.layers(architecture.num_layers))
    found = graph_overhead(overheads, architecture, shape)
    drafting = len(sizes) * drafting_layers
    if shape.adapters is None:
        expected, most = count + drafting, count + 2 * drafting
        return found.base + ByteRange(found.each.low * count, found.each.expected * expected, found.each.high * most)
    # With adapters each is captured twice, and the second has up to twice the kernels: two more for each projection.
    once, thrice = 2 * count, 3 * count
    return found.base + ByteRange(found.each.low * once, found.each.expected * once, found.each.high * thrice)
