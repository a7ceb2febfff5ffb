"""Mistral's own format: params.json as the configuration that vLLM makes of it.

Followed are vllm/transformers_utils/configs/mistral.py:adapt_config_dict and config.py:MistralConfigParser of 0.33.0,
which are the same in 0.32.0. What they make of a file for sound, for Mamba or for experts without a shared one is
served by no class that stackc accounts for here, and is refused.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

PARAMS = "params.json"
# vllm/transformers_utils/config.py:_maybe_retrieve_max_pos_from_hf
_POSITIONS = 128_000
_GENERAL = {
    "dim": "hidden_size",
    "norm_eps": "rms_norm_eps",
    "n_kv_heads": "num_key_value_heads",
    "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads",
    "hidden_dim": "intermediate_size",
}
_EXPERTS = {
    "route_every_n": "moe_layer_freq",
    "first_k_dense_replace": "first_k_dense_replace",
    "num_experts_per_tok": "num_experts_per_tok",
    "num_experts": "n_routed_experts",
    "expert_hidden_dim": "moe_intermediate_size",
    "routed_scale": "routed_scaling_factor",
    "num_shared_experts": "n_shared_experts",
    "num_expert_groups": "n_group",
    "num_expert_groups_per_tok": "topk_group",
}
_YARN: Mapping[str, tuple[str, type[int] | type[float]]] = {
    "factor": ("factor", float),
    "original_max_position_embeddings": ("original_max_position_embeddings", int),
    "beta": ("beta_fast", float),
    "alpha": ("beta_slow", float),
}
# Of tensors, by their name in a header; the engine looks for one to which all others can be cast without a loss.
_DTYPES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
_WIDTHS = frozenset({"F8_E4M3", "F8_E5M2"})


class UnservedError(ValueError):
    """What vLLM makes of params.json is nothing that it starts with, or that stackc accounts for."""


def adapted(params: Mapping[str, Any], defaults: Mapping[str, Any], dtypes: Iterable[str]) -> dict[str, Any]:
    """The configuration that the engine has of a repository in Mistral's format.

    Args:
        params: params.json.
        defaults: config.json, whose keys stand in for those that are absent; empty where there is none.
        dtypes: of the tensors, as headers name them.

    Raises:
        UnservedError: with the key, as half a sentence.
    """
    text = _general(copy.deepcopy(dict(params)), _positions(defaults), dtypes)
    _windows(text)
    _quantization(text)
    _architecture(text)
    _rope(text)
    whole = _with_images(text)
    return {**defaults, **whole}


def _positions(defaults: Mapping[str, Any]) -> int:
    """Where config.json has none either, transformers' default is never less than this for a type of Mistral's."""
    nested = defaults.get("text_config")
    named = (part.get("max_position_embeddings") for part in (nested, defaults) if isinstance(part, Mapping))
    return next((found for found in named if type(found) is int and found > 0), _POSITIONS)


def _general(config: dict[str, Any], positions: int, dtypes: Iterable[str]) -> dict[str, Any]:
    if config.get("max_position_embeddings") is None:
        config["max_position_embeddings"] = positions
    if config.get("dtype") is None:
        config["dtype"] = _dtype(frozenset(dtypes))
    for key, new in _GENERAL.items():
        if key in config:
            config[new] = config.pop(key)
    config.setdefault("model_type", "transformer")
    config["hidden_act"] = config.pop("activation", "silu")
    config["tie_word_embeddings"] = config.pop("tied_embeddings", False)
    config.setdefault("max_seq_len", config["max_position_embeddings"])
    return config


def _dtype(found: frozenset[str]) -> str:
    """vllm/utils/torch_utils.py:common_broadcastable_dtype; of the two of 16 bits neither holds the other."""
    floats = [dtype for dtype in _DTYPES if dtype in found]
    if not floats or found - set(_DTYPES) - _WIDTHS or ("F32" not in found and len(floats) > 1):
        raise UnservedError("it names no `dtype`, and its tensors have none in common")
    return _DTYPES[floats[0]]


def _windows(config: dict[str, Any]) -> None:
    window, count = config.get("sliding_window"), config.get("num_hidden_layers")
    if not window:
        return
    if type(count) is not int or not 0 < count <= _MOST_LAYERS:
        raise UnservedError("`n_layers` is not a number of layers")
    if isinstance(window, list):
        sizes = {size for size in window if size is not None}
        if len(sizes) > 1 or not all(type(size) is int for size in sizes):
            raise UnservedError("`sliding_window` has several widths")
        kinds = ["full_attention" if size is None else "sliding_attention" for size in window]
        config["layer_types"] = kinds * (count // len(window))
        config["sliding_window"] = next(iter(sizes), None)
    elif type(window) is int and config.get("layer_types") is None:
        config["layer_types"] = ["sliding_attention"] * count
    else:
        raise UnservedError("`sliding_window` is neither a number nor a list")


_MOST_LAYERS = 1024  # as for any config.json


def _quantization(config: dict[str, Any]) -> None:
    block = config.pop("quantization", None)
    if not block:
        return
    if not isinstance(block, dict) or block.get("qformat_weight") != "fp8_e4m3":
        # Lists of a quantizer name modules in Mistral's form, which no rule here translates.
        raise UnservedError("its `quantization` is another than `fp8_e4m3`, which stackc does not account for")
    scheme = block.get("qscheme_act")
    if scheme not in ("NO_SCALES", "TENSOR", None):
        raise UnservedError("`quantization.qscheme_act` must be NO_SCALES or TENSOR, which is what vLLM takes")
    activations = "dynamic" if scheme == "NO_SCALES" else "static"
    config["quantization_config"] = {"quant_method": "fp8", "activation_scheme": activations}


def _architecture(config: dict[str, Any]) -> None:
    if config["model_type"] == "mamba":
        raise UnservedError("it describes a Mamba, which vLLM reads from config.json alone")
    if config.get("qk_nope_head_dim") and not config.get("moe"):
        config["moe"] = _one_expert(config)
    moe = _part(config, "moe")
    if not moe:
        config["architectures"] = ["MistralForCausalLM"]
        return
    if not (moe.get("num_shared_experts") or 0):
        raise UnservedError("it has experts and no shared one, whose keys vLLM's class for them does not find")
    for key, new in _EXPERTS.items():
        if key in moe:
            config[new] = moe.pop(key)
    config |= {"topk_method": None, "norm_topk_prob": True, "scoring_func": "softmax", "model_type": "deepseek_v3"}
    config["architectures"] = ["MistralLarge3ForCausalLM"]
    if "llama_4_scaling" not in config:
        raise UnservedError("it has no `llama_4_scaling`, which vLLM asks for beside shared experts")


def _one_expert(config: Mapping[str, Any]) -> dict[str, Any]:
    """Latent attention without experts: every layer is dense, and what is asked of experts is there."""
    return {
        "num_experts": 1,
        "first_k_dense_replace": config.get("num_hidden_layers"),
        "route_every_n": 1,
        "num_shared_experts": 1,
        "expert_hidden_dim": config.get("intermediate_size"),
        "num_experts_per_tok": 1,
        "routed_scale": 1.0,
        "renorm_strategy": "WEIGHTS",
        "use_load_balancing_bias": False,
        "num_expert_groups": 1,
        "num_expert_groups_per_tok": 1,
    }


def _rope(config: dict[str, Any]) -> None:
    if yarn := _part(config, "yarn"):
        rope: dict[str, Any] = {"rope_type": "yarn", "mscale_all_dim": 1}
        if theta := config.pop("rope_theta", None):
            rope["rope_theta"] = theta
        for key, (new, cast) in _YARN.items():
            if key in yarn:
                rope[new] = _number(yarn.pop(key), f"yarn.{key}", cast)
        if not yarn.pop("apply_scale", True):
            rope["attention_factor"] = 1.0
        if yarn:
            raise UnservedError("`yarn` has keys that vLLM does not take")
        config["rope_parameters"] = rope
    scaling = _part(config, "llama_4_scaling")
    if scaling and not {"original_max_position_embeddings", "beta"} <= set(scaling):
        raise UnservedError("`llama_4_scaling` lacks `original_max_position_embeddings` or `beta`")


def _number(value: Any, key: str, cast: type[int] | type[float]) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UnservedError(f"`{key}` is not a number")
    try:
        return cast(value)
    except (OverflowError, ValueError) as error:
        raise UnservedError(f"`{key}` is not a number") from error


def _with_images(text: dict[str, Any]) -> dict[str, Any]:
    multimodal = _part(text, "multimodal")
    if _part(multimodal, "whisper_model_args").get("encoder_args"):
        raise UnservedError("it describes a model for sound, which stackc does not account for in this format")
    if not multimodal.get("vision_encoder_args") and not text.get("vision_encoder"):
        return text
    key = "multimodal" if multimodal else "vision_encoder"
    whole = {
        "model_type": "pixtral",
        "architectures": ["PixtralForConditionalGeneration"],
        "vision_config": _part(text, key),
        "text_config": {name: value for name, value in text.items() if name != key},
    }
    block = text.get("quantization_config")
    return {**whole, "quantization_config": block} if block else whole


def _part(config: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = config.get(key) or {}
    if not isinstance(value, dict):
        raise UnservedError(f"`{key}` is not a map")
    return value
