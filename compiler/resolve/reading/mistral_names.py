"""Tensors in Mistral's own format by the names of the engine's classes, so that the lock has one form of them.

vllm/model_executor/models/{mistral_large_3,mistral,pixtral}.py of 0.33.0: MistralLarge3ForCausalLM.hf_to_vllm_mapper,
MistralForCausalLM.mistral_mapping and PixtralForConditionalGeneration.load_weights.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from compiler.lock.models import TensorFacts, TensorKind
from compiler.resolve.reading.mistral import UnservedError

LATENT, DENSE = "MistralLarge3ForCausalLM", "MistralForCausalLM"
_OUTSIDE = {"norm": "model.norm", "tok_embeddings": "model.embed_tokens", "output": "lm_head"}
_MLP = {"w1": "gate_proj", "w2": "down_proj", "w3": "up_proj"}
_NORMS = {"attention_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
_DENSE_MLP = {f"feed_forward.{key}": f"mlp.{new}" for key, new in _MLP.items()}
# Modules of a layer, by the class that reads them.
_LAYER: Mapping[str, Mapping[str, str]] = {
    DENSE: {
        **_NORMS,
        **_DENSE_MLP,
        "attention.wq": "self_attn.q_proj",
        "attention.wk": "self_attn.k_proj",
        "attention.wv": "self_attn.v_proj",
        "attention.wo": "self_attn.o_proj",
    },
    LATENT: {
        **_NORMS,
        **_DENSE_MLP,
        "attention.wq_a": "self_attn.q_a_proj",
        "attention.q_a_norm": "self_attn.q_a_layernorm",
        "attention.wq_b": "self_attn.q_b_proj",
        "attention.wkv_a_with_mqa": "self_attn.kv_a_proj_with_mqa",
        "attention.kv_a_norm": "self_attn.kv_a_layernorm",
        "attention.wkv_b": "self_attn.kv_b_proj",
        "attention.wo": "self_attn.o_proj",
        "gate": "mlp.gate",
        **{f"shared_experts.{key}": f"mlp.shared_experts.{new}" for key, new in _MLP.items()},
        **{f"experts.*.{key}": f"mlp.experts.*.{new}" for key, new in _MLP.items()},
    },
}
_SUFFIXES = {"qscale_act": "input_scale", "qscale_weight": "weight_scale", "weight": "weight", "bias": "bias"}
_TOWER = ("vision_encoder.", "vision_language_adapter.", "patch_merger.", "pre_mm_projector_norm.")
_TOWER_PARTS = {"wq": "q_proj", "wk": "k_proj", "wv": "v_proj", "wo": "o_proj", **_MLP}
_TOWER_PART = re.compile(r"(?<=\.)(wq|wk|wv|wo|w1|w2|w3)(?=\.)")


def renamed(tensors: TensorFacts, text: str, *, images: bool) -> TensorFacts:
    """The same tensors, by the engine's names.

    Args:
        text: the class of the language model.
        images: whether there is a tower beside it.

    Raises:
        UnservedError: a name is one for which that class has no place.
    """
    kinds = (_renamed(kind, text, images=images) for kind in tensors.kinds)
    return tensors.model_copy(update={"kinds": tuple(sorted(kinds, key=lambda one: (one.name, one.dtype, one.shape)))})


def _renamed(kind: TensorKind, text: str, *, images: bool) -> TensorKind:
    if kind.name.startswith(_TOWER):
        if not images:
            raise UnservedError(f"it holds `{kind.name[:80]}`, and describes no tower for images")
        return kind.model_copy(update={"name": _TOWER_PART.sub(lambda part: _TOWER_PARTS[part[0]], kind.name)})
    name = engine_name(kind.name.removeprefix("language_model.") if images else kind.name, text)
    return kind.model_copy(update={"name": f"language_model.{name}" if images else name})


def engine_name(name: str, text: str) -> str:
    """What the class `text` calls a tensor; numbers in `name` are stars.

    Raises:
        UnservedError: it has no place for it.
    """
    module, _, suffix = name.rpartition(".")
    inside = module.removeprefix("layers.*.")
    known = _LAYER[text].get(inside) if inside != module else None
    found = f"model.layers.*.{known}" if known is not None else _OUTSIDE.get(module)
    if found is None or suffix not in _SUFFIXES:
        raise UnservedError(f"it holds `{name[:80]}`, for which {text} has no place")
    return f"{found}.{_SUFFIXES[suffix]}"
