"""A model whose prompts may hold fewer images, sounds or videos than it can read, or none.

vLLM 0.33.0 builds no tower of whose kinds a prompt may hold none (vllm/model_executor/models/interfaces.py:
_mark_tower_model, in whose block each class makes its tower and projector), and makes up its profile run from the kinds
that are left (vllm/multimodal/encoder_budget.py:MultiModalBudget).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from compiler.checkpoints.architecture import Architecture, Encoder

ALWAYS_BUILT = frozenset({"Gemma4UnifiedForConditionalGeneration"})
"""Classes that build what embeds images and sound outside such a block (gemma4_unified.py)."""


def with_limits(architecture: Architecture, limit: Callable[[str], int]) -> Architecture:
    """The model with what its towers may be given.

    Args:
        limit: most items of a kind in one prompt.
    """
    if not architecture.encoders:
        return architecture
    stays = architecture.name in ALWAYS_BUILT
    encoders = tuple(_limited(encoder, limit, stays=stays) for encoder in architecture.encoders)
    # Without media nothing attends in both directions (vllm/config/model.py:_supports_multimodal_for_mm_prefix).
    whole = architecture.whole_items and any(encoder.most_items for encoder in encoders)
    return replace(architecture, encoders=encoders, whole_items=whole)


def _limited(encoder: Encoder, limit: Callable[[str], int], *, stays: bool) -> Encoder:
    most = max(limit(kind) for kind in encoder.modalities)
    # Only a video holds an image's tokens several times.
    groups = encoder.item.groups if limit("video") else 1
    return replace(encoder, most_items=most, stays=stays, item=replace(encoder.item, groups=groups))
