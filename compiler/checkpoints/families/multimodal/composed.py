"""Models that read images or sound: a language model of another family behind one or more towers.

How vLLM puts them together: vllm/model_executor/models/{qwen2_vl,qwen2_5_vl,qwen3_vl,mistral3,llava,phi3v,internvl}.py
and vllm/config/vllm.py:with_hf_config of 0.33.0. Defaults are those of transformers' configuration classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from compiler.checkpoints.architecture import Architecture, Encoder, Experts, Linear, Module, Table, Vector
from compiler.checkpoints.config import Config, UnsupportedArchitectureError
from compiler.checkpoints.families.dense import plain as dense
from compiler.checkpoints.families.experts import plain as moe
from compiler.checkpoints.families.towers.others import internvl_tower, phi3_vision_tower
from compiler.checkpoints.families.towers.patches import llava_tower, mistral3_tower
from compiler.checkpoints.families.towers.qwen import qwen2_5_vl_tower, qwen2_vl_tower, qwen3_vl_levels, qwen3_vl_tower

TextReader = Callable[[str, Config], Architecture]
Renames = tuple[tuple[str, str], ...]

# As the engine renames checkpoints of transformers since 4.52 (each model's hf_to_vllm_mapper).
QWEN3_VL_NAMES: Renames = (
    ("model.visual.", "visual."),
    ("lm_head.", "language_model.lm_head."),
    ("model.language_model.", "language_model.model."),
)
QWEN2_VL_NAMES: Renames = (
    ("model.language_model.", "language_model.model."),
    ("model.visual.", "visual."),
    ("lm_head.", "language_model.lm_head."),
    ("model.", "language_model.model."),
)
VISION_TOWER_NAMES: Renames = (
    ("model.language_model.", "language_model.model."),
    ("model.vision_tower.", "vision_tower."),
    ("model.multi_modal_projector.", "multi_modal_projector."),
    ("lm_head.", "language_model.lm_head."),
)
MISTRAL3_NAMES: Renames = (*VISION_TOWER_NAMES, ("model.", "language_model.model."))
KIMI_K25_NAMES: Renames = (
    ("language_model.layers.", "language_model.model.layers."),
    ("mm_projector.proj.0", "mm_projector.linear_1"),
    ("mm_projector.proj.2", "mm_projector.linear_2"),
)
_PHI3_VISION_NAMES: Renames = (
    ("model.vision_embed_tokens.wte", "embed_tokens"),
    ("model.vision_embed_tokens.", "vision_embed_tokens."),
    ("lm_head.", "language_model.lm_head."),
    ("model.", "language_model.model."),
)

_QWEN2_VL_TEXT = {
    "vocab_size": 152064,
    "hidden_size": 8192,
    "intermediate_size": 29568,
    "num_hidden_layers": 80,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "max_position_embeddings": 32768,
    "sliding_window": 4096,
    "max_window_layers": 80,
}
_QWEN3_VL_TEXT = {
    "vocab_size": 151936,
    "hidden_size": 4096,
    "intermediate_size": 22016,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "head_dim": 128,
    "max_position_embeddings": 128000,
    "model_type": "qwen3_vl_text",
}
_LLAMA = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "max_position_embeddings": 2048,
}
_MISTRAL = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 131072,
    "sliding_window": 4096,
}
_MINISTRAL3 = {
    **_MISTRAL,
    "vocab_size": 131072,
    "num_hidden_layers": 34,
    "head_dim": 128,
    "max_position_embeddings": 262144,
    "sliding_window": None,
}
_QWEN2 = {
    "vocab_size": 151936,
    "hidden_size": 4096,
    "intermediate_size": 22016,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "max_position_embeddings": 32768,
    "sliding_window": 4096,
    "max_window_layers": 28,
}
# What a composed model's language model may be, by `model_type`, as transformers maps it to a class.
TEXT_MODELS: Mapping[str, tuple[TextReader, Mapping[str, Any]]] = {
    "llama": (dense.llama, _LLAMA),
    "mistral": (dense.llama, _MISTRAL),
    "ministral3": (dense.llama, _MINISTRAL3),
    "qwen2": (dense.qwen2, _QWEN2),
    "qwen3": (dense.qwen3, {**_QWEN2, "head_dim": 128}),
    "gpt_oss": (moe.gpt_oss, {}),
    "qwen3_moe": (moe.qwen3_moe, {}),
    "qwen2_moe": (moe.qwen2_moe, {}),
    "internlm2": (dense.internlm2, {}),
}


def qwen2_vl(name: str, config: Config) -> Architecture:
    """Qwen2VLForConditionalGeneration; older configs hold the language model's keys at the top."""
    text = _qwen2_vl_text(config)
    return composed(dense.qwen2(name, text), (qwen2_vl_tower(config),), QWEN2_VL_NAMES)


def qwen2_5_vl(name: str, config: Config) -> Architecture:
    """Qwen2_5_VLForConditionalGeneration."""
    text = _qwen2_vl_text(config)
    return composed(dense.qwen2(name, text), (qwen2_5_vl_tower(config),), QWEN2_VL_NAMES)


def _qwen2_vl_text(config: Config) -> Config:
    nested = config.at("text_config") if "text_config" in config else config
    tied = config.flag("tie_word_embeddings") or nested.flag("tie_word_embeddings")
    text = text_config(config, nested, _QWEN2_VL_TEXT, tied=tied)
    # Its windows are switched as Qwen2's are.
    return Config({**text.data, "model_type": "qwen2"}, text.path)


def mistral3(name: str, config: Config) -> Architecture:
    """Mistral3ForConditionalGeneration; its embeddings are tied unless the config says otherwise."""
    tied = config.flag("tie_word_embeddings", default=True)
    reader, text = text_model(config, "text_config", "mistral", tied=tied)
    presumed = "tie_word_embeddings" not in config and not config.at("text_config").flag("tie_word_embeddings")
    return replace(composed(reader(name, text), (mistral3_tower(config),), MISTRAL3_NAMES), presumes_tie=presumed)


def llava(name: str, config: Config) -> Architecture:
    """LlavaForConditionalGeneration, Pixtral's checkpoints for transformers among them."""
    tied = config.flag("tie_word_embeddings") or config.at("text_config").flag("tie_word_embeddings")
    reader, text = text_model(config, "text_config", "llama", tied=tied)
    return composed(reader(name, text), (llava_tower(config),), VISION_TOWER_NAMES)


def internvl(name: str, config: Config) -> Architecture:
    """InternVLChatModel."""
    tied = config.flag("tie_word_embeddings")
    reader, text = text_model(config, "llm_config", "llama", tied=tied)
    return composed(reader(name, text), (internvl_tower(config),), ())


def phi3_vision(name: str, config: Config) -> Architecture:
    """Phi3VForCausalLM: Llama's decoder, whose projections the checkpoint holds fused."""
    text = text_config(config, config, {}, tied=config.flag("tie_word_embeddings"))
    # Its modules stand below no `language_model` (phi3v.py gives the decoder an empty prefix).
    architecture = dense.llama(name, text)
    return replace(architecture, encoders=(phi3_vision_tower(config),), renames=_PHI3_VISION_NAMES)


def text_model(config: Config, key: str, default: str, *, tied: bool) -> tuple[TextReader, Config]:
    """The reader of a composed model's language model, and its keys; see `text_config`."""
    nested = config.at(key)
    kind = nested.text("model_type", default=default)
    if kind not in TEXT_MODELS:
        raise UnsupportedArchitectureError(f"{kind[:40]} behind `{nested.path}model_type`")
    reader, defaults = TEXT_MODELS[kind]
    return reader, text_config(config, nested, {**defaults, "model_type": kind}, tied=tied)


def text_config(config: Config, nested: Config, defaults: Mapping[str, Any], *, tied: bool) -> Config:
    """The language model's keys, as the engine's config objects have them.

    Args:
        config: the file.
        nested: where these keys stand in it.
        defaults: of keys that are not there.
        tied: whether the embeddings are the output head; the top of the file decides about that (with_hf_config).
    """
    stored = next((found for part in (config, nested) for found in part.first("torch_dtype", "dtype")), None)
    dtype = {} if stored is None else {"torch_dtype": stored}
    return Config({**defaults, **nested.data, **dtype, "tie_word_embeddings": tied}, nested.path)


def composed(
    alone: Architecture, encoders: tuple[Encoder, ...], renames: Renames, *, under: str = "language_model"
) -> Architecture:
    """A language model below `language_model`, with its towers.

    Args:
        alone: the language model, read from its own keys; see `text_config`.
        renames: as its hf_to_vllm_mapper has them.
        under: what the engine calls the language model.
    """
    return replace(
        alone,
        first=tuple(_inside(module, under) for module in alone.first),
        last=tuple(_inside(module, under) for module in alone.last),
        everywhere=tuple(_inside(module, under) for module in alone.everywhere),
        layer_prefix=f"{under}.{alone.layer_prefix}",
        encoders=encoders,
        renames=renames,
    )


def on_every_stage(architecture: Architecture, modules: Iterable[Module]) -> Architecture:
    """With parts of the towers that each pipeline stage makes: parameters by themselves, and what is marked as none.

    See vllm/model_executor/models/interfaces.py:_mark_tower_model, which leaves out modules of other stages only.
    """
    return replace(architecture, everywhere=(*architecture.everywhere, *modules))


def standing_at(alone: Architecture, path: str, encoders: tuple[Encoder, ...], renames: Renames = ()) -> Architecture:
    """A language model whose `model` has that path, and whose output head stands where it stood."""

    def moved(modules: tuple[Module, ...]) -> tuple[Module, ...]:
        return tuple(
            replace(module, name=f"{path}{module.name.removeprefix('model')}")
            if not isinstance(module, Experts) and module.name.startswith("model.")
            else module
            for module in modules
        )

    return replace(
        alone,
        first=moved(alone.first),
        last=moved(alone.last),
        everywhere=moved(alone.everywhere),
        layer_prefix=f"{path}{alone.layer_prefix.removeprefix('model')}",
        encoders=encoders,
        renames=renames,
    )


def around(
    reader: TextReader, towers: Callable[[Config], tuple[Encoder, ...]], renames: Renames, **defaults: Any
) -> TextReader:
    """A reader of models whose `text_config` that reader understands.

    Args:
        towers: read from the whole file.
        defaults: of keys of `text_config`; of `tie_word_embeddings` it is that at the top, which alone decides.
    """
    tied = bool(defaults.pop("tie_word_embeddings", False))

    def read(name: str, config: Config) -> Architecture:
        flag = config.flag("tie_word_embeddings", default=tied)
        text = text_config(config, config.at("text_config"), defaults, tied=flag)
        return composed(reader(name, text), towers(config), renames)

    return read


def _inside(module: Module, path: str) -> Module:
    if isinstance(module, Linear | Table | Vector):
        return replace(module, name=f"{path}.{module.name}")
    return module


def around_qwen3_vl(reader: TextReader, **defaults: Any) -> TextReader:
    """A reader of Qwen3-VL's tower and a language model, whose first layers get features of the tower's (deepstack)."""
    composed_reader = around(reader, lambda config: (qwen3_vl_tower(config),), QWEN3_VL_NAMES, **defaults)
    return lambda name, config: replace(composed_reader(name, config), first_stage=qwen3_vl_levels(config))


qwen3_vl = around_qwen3_vl(dense.qwen3, **_QWEN3_VL_TEXT)
"""Qwen3VLForConditionalGeneration."""
