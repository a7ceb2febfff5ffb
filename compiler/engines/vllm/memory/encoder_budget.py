"""Memory of the towers for images and sound in vLLM's profile run, beside their weights.

The run makes up as many of the largest items as a budget of tokens holds, computes their embeddings in one batch and
keeps them while the language model runs (vllm/multimodal/encoder_budget.py, v1/core/encoder_cache_manager.py:
compute_mm_encoder_budget and v1/worker/gpu/mm/encoder_runner.py:profile_encoder_cache of 0.33.0).
"""

from __future__ import annotations

from dataclasses import dataclass

from compiler.checkpoints.architecture import Architecture, Encoder
from compiler.checkpoints.parameters.linear import SERVED_BYTES
from compiler.checkpoints.parameters.ranks import Parallelism
from compiler.engines.vllm.memory.shape import ServerShape
from compiler.units import ByteRange


@dataclass(frozen=True, slots=True)
class EncoderShape:
    """Limits of a server, as vLLM's options name them."""

    max_num_batched_tokens: int
    max_num_seqs: int
    max_model_len: int
    served_dtype: str


@dataclass(frozen=True, slots=True)
class EncoderMemory:
    """Bytes on a rank of the first pipeline stage.

    Attributes:
        tower: activations at their peak while a tower runs; gone before the language model runs.
        outputs: embeddings, alive while the language model runs in the profile run.
        buffers: that stay.
        source: where all that comes from.
    """

    tower: ByteRange
    outputs: ByteRange
    buffers: int
    source: str


@dataclass(frozen=True, slots=True)
class _Run:
    """A profile run of one tower: so many items, of so many tokens each."""

    encoder: Encoder
    items: int
    tokens: int

    @property
    def rows(self) -> int:
        return self.items * self.tokens * self.encoder.item.patches


def largest_item(encoder: Encoder, max_model_len: int) -> tuple[int, int]:
    """Tokens of the tower's largest item, at least and at most; a video grows with max_model_len."""
    low, high = (_with_frames(encoder, image, max_model_len) for image in encoder.item.tokens)
    return min(low, high), max(low, high)


def _with_frames(encoder: Encoder, image: int, max_model_len: int) -> int:
    return image * max(1, min(encoder.item.groups, max_model_len // (encoder.item.counted or image)))


def encoder_budget(architecture: Architecture, shape: EncoderShape) -> tuple[int, int]:
    """Tokens of images and sound that one batch may hold, at least and at most; zero for a model that reads text alone.

    vLLM's encoder cache holds as many.
    """
    items = [largest_item(encoder, shape.max_model_len) for encoder in _asked(architecture)]
    if not items:
        return 0, 0
    low, high = (max(sizes) for sizes in zip(*items, strict=True))
    return max(low, shape.max_num_batched_tokens), max(high, shape.max_num_batched_tokens)


def _asked(architecture: Architecture) -> tuple[Encoder, ...]:
    """Towers that a prompt may hold something for."""
    return tuple(encoder for encoder in architecture.encoders if encoder.most_items)


def encoder_memory(architecture: Architecture, parallelism: Parallelism, shape: EncoderShape) -> EncoderMemory | None:
    """What the towers take beside their weights; None on a rank without towers."""
    if not _asked(architecture) or not parallelism.is_first:
        return None
    least, most = (_profiled(architecture, shape, bound) for bound in (0, 1))
    width = SERVED_BYTES[shape.served_dtype]
    low = _tower_bytes(least, parallelism, width)[0]
    _, expected, high = _tower_bytes(most, parallelism, width)
    outputs = sorted(run.items * run.tokens * run.encoder.output_size * width for run in (least, most))
    return EncoderMemory(
        tower=ByteRange(min(low, expected), expected, high),
        outputs=ByteRange(outputs[0], outputs[1], outputs[1]),
        buffers=shape.max_num_batched_tokens * width * sum(one.batch_elements for one in architecture.towers),
        source=_source(most),
    )


def _profiled(architecture: Architecture, shape: EncoderShape, bound: int) -> _Run:
    """The run of the kind of items that has most tokens (get_modality_with_max_tokens).

    Args:
        bound: 0 for the smallest that the largest item may be, 1 for the largest.
    """
    encoder = max(_asked(architecture), key=lambda one: largest_item(one, shape.max_model_len)[bound])
    tokens = largest_item(encoder, shape.max_model_len)[bound]
    per_prompt = max(1, min(encoder.most_items, shape.max_model_len // tokens))
    fitting = encoder_budget(architecture, shape)[bound] // tokens
    return _Run(encoder, max(1, min(fitting, shape.max_num_seqs * per_prompt)), tokens)


def _tower_bytes(run: _Run, parallelism: Parallelism, width: int) -> tuple[int, int, int]:
    """Least, likely and most bytes at the widest point of a tower.

    At least the hidden states, their residual and the widest projection are alive. Likely are, beside the pixels and
    four hidden states (the layer's input, two residuals and the norm's output), either the MLP's projection and its
    activation, or queries, keys and values, queries and keys as one tensor, and that rotated. With the towers of CLIP,
    InternViT, Pixtral, Qwen2-VL, Qwen2.5-VL, Qwen3-VL and SigLIP of 0.33.0, every tensor of which was followed, the
    peak is 0.91 to 1.04 of it. At most the pixels are in float32, and attention copies what it reads.
    """
    encoder, ranks = run.encoder, parallelism.tensor_parallel_size if run.encoder.split else 1
    hidden = run.rows * encoder.hidden_size * width
    inner = run.rows * max(encoder.intermediate_size, 3 * encoder.hidden_size) * width // ranks
    turned = 8 * hidden // ranks if encoder.rotates else 0
    pixels = run.rows * encoder.pixels * width
    likely = 4 * hidden + max(2 * inner, turned) + pixels
    return 2 * hidden + inner, likely, max(9 * hidden + 3 * inner, likely)


def _source(run: _Run) -> str:
    items = f"{run.items} items of {run.tokens} tokens, {run.encoder.item.patches} patches each"
    return f"profile run of vllm/multimodal/encoder_budget.py: {items}, by {run.encoder.item.source}"


def whole_item(architecture: Architecture, max_model_len: int) -> int:
    """Tokens that a batch must hold for the model's largest item; 0 where items may be cut, or there are none."""
    if not architecture.whole_items:
        return 0
    asked = (encoder for encoder in architecture.encoders if encoder.most_items)
    return max((largest_item(encoder, max_model_len)[1] for encoder in asked), default=0)


def tower_memory(architecture: Architecture, shape: ServerShape) -> EncoderMemory | None:
    """Towers for images and sound on this rank; None where there are none."""
    limits = EncoderShape(shape.max_num_batched_tokens, shape.max_num_seqs, shape.max_model_len, shape.served_dtype)
    return encoder_memory(architecture, shape.parallelism, limits)
