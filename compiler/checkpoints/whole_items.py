"""Models whose images and videos are never cut between two batches: the tokens of an item attend to each other.

vllm/transformers_utils/model_arch_config_convertor.py:is_mm_prefix_lm of 0.33.0, by the keys of config.json. Such an
item must fit into one batch (vllm/platforms/cuda.py:check_and_update_config forces `disable_chunked_mm_input`, and
vllm/v1/core/encoder_cache_manager.py:compute_mm_encoder_budget then refuses smaller batches).
"""

from __future__ import annotations

from compiler.checkpoints.config import Config

_ALWAYS = ("bagel", "gemma3", "molmo2", "moondream3", "paligemma")
# Gemma 4 says it in its language model; the default of transformers' configuration classes.
_GEMMA_4 = {"gemma4": "", "gemma4_unified": "vision"}


def keeps_items_whole(config: Config) -> bool:
    """Whether the tokens of an image attend to each other.

    Args:
        config: the whole file of a model with towers.
    """
    kind = config.text("model_type")
    if kind in _GEMMA_4:
        return config.at("text_config").text("use_bidirectional_attention", default=_GEMMA_4[kind]) == "vision"
    if kind == "deepseek_v4":
        return "vision_n_layers" in config
    return config.flag("is_mm_prefix_lm", default=kind in _ALWAYS)
