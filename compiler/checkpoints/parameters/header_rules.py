"""How names and shapes of tensors may differ from what config.json implies without any harm to loading them."""

from __future__ import annotations

import math
import re
from functools import lru_cache

from compiler.checkpoints.architecture import Architecture

# Components that wrap a model and say nothing of its parts; files and engine differ in them.
_WRAPPERS = frozenset({"backbone", "base_model", "bert", "language_model", "llm", "model", "roberta", "text_model",
                       "thinker", "transformer"})  # fmt: skip
_NAMED = 2

# Tensors that a checkpoint need not have, by an expression for names without wrappers.
_OPTIONAL = (
    # Order of activations, and shapes of what is packed: the engine works them out, or does without.
    (r"\.(g_idx|weight_shape)$", ""),
    # Scales of activations and caches fall back to a default, or are measured at each step.
    (r"\.(input_scale|input_global_scale|input_zero_point|k_scale|v_scale)$", ""),
    # Symmetric GPTQ: zero points are a constant, and not looked at.
    (r"\.qzeros$", ""),
    # Read from files of Sentence Transformers beside the model.
    (r"^projector\.", ""),
    # Made from rows of the output head where config.json names the tokens (adapters.py:load_weights_using_*).
    (r"^score\.", ""),
    # The dense layers of the published file have none.
    (r"\.post_mlp_layernorm\.", "AXK1"),
    # Full-attention layers whose keys are their values have no projection of values (gemma4.py).
    (r"\.self_attn\.v_proj\.", "Gemma4"),
)
# Tensors of which there may be more than layers that use them.
_REPEATED = (
    # The last layers read keys and values of earlier ones; the original files have some that nobody reads (gemma4.py).
    (r"\.self_attn\.(k_proj|v_proj|k_norm)\.", "Gemma4"),
    (r"\.self_attn\.(k_proj|v_proj|k_norm)\.", "Gemma3n"),
    # A tower is built up to the layer whose features are read (llava.py:_get_num_hidden_layers); files have all of it.
    (r"^(vision_tower|vision_model|vision_embed_tokens|vpm)\..*layers\.\*\.", ""),
)
_SCALE = re.compile(r"scale|zero|qzeros|g_idx|weight_shape")


@lru_cache(maxsize=1 << 16)
def canonical(name: str, renames: tuple[tuple[str, str], ...]) -> str:
    """A name as the engine has it, without what wraps the model."""
    for old, new in renames:
        if name.startswith(old):
            name = new + name.removeprefix(old)
    parts = name.split(".")
    while len(parts) > _NAMED and parts[0] in _WRAPPERS:
        del parts[0]
    return ".".join(parts)


def as_stored(name: str) -> str:
    """A name here as files have it.

    A convolution is one tensor in files; what ranks divide by groups is a part of its own here (mixers.py). The second
    router of a layer is called after the first (ernie45_vl_moe.py:load_weights), and torch's own attention has no
    module for what it projects (step_vl.py: hf_to_vllm_mapper). Transformers since 5 calls the router of a Granite
    without its layer (granitemoe.py reads both).
    """
    name = name.replace(".conv1d.grouped.", ".conv1d.").replace(".mlp.gate_1.weight", ".mlp.gate.weight_1")
    name = name.replace(".block_sparse_moe.router.layer.weight", ".block_sparse_moe.router.weight")
    return name.replace(".resblocks.*.attn.in_proj_", ".resblocks.*.attn.qkv_proj.")


def tail_of(name: str) -> str:
    """What stays of a name whatever wraps it: from the component that holds the layers, or the last two."""
    before, star, after = name.partition(".*")
    if star:
        return f"{before.rpartition('.')[2]}{star}{after}"
    return ".".join(name.split(".")[-_NAMED:])


def scope_of(module: str) -> str:
    """What holds a module: its siblings' names are known, or those of none of them."""
    return module.rpartition(".")[0]


def is_scale(suffix: str) -> bool:
    """Whether a tensor holds scales or zero points: quantizers differ in their shapes."""
    return _SCALE.search(suffix) is not None


def may_lack(architecture: Architecture, name: str) -> bool:
    """Whether a checkpoint need not have this tensor."""
    return _listed(_OPTIONAL, architecture, name)


def may_repeat(architecture: Architecture, name: str) -> bool:
    """Whether a checkpoint may have more of this tensor than the engine reads."""
    return _listed(_REPEATED, architecture, name)


def _listed(rules: tuple[tuple[str, str], ...], architecture: Architecture, name: str) -> bool:
    return any(architecture.name.startswith(start) and re.search(pattern, name) for pattern, start in rules)


def transposes(architecture: Architecture) -> bool:
    """Whether files hold inputs before outputs (load_weights of gpt2.py and, for routers, ernie45_vl_moe.py)."""
    return architecture.name.startswith(("GPT2", "Ernie4_5_VL"))


def plain_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Without dimensions of one, and inputs of convolutions as one dimension."""
    wide = [size for size in shape if size != 1]
    return tuple(wide) if len(wide) <= _NAMED else (wide[0], math.prod(wide[1:]))
