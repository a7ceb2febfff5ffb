"""config.json → Architecture, by the family's reader. Everything that stackc can account for is in this table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from compiler.checkpoints.architecture import Architecture, HeadCache
from compiler.checkpoints.config import Config, ConfigError, UnsupportedArchitectureError
from compiler.checkpoints.families.dense.models import TEXT_MODELS
from compiler.checkpoints.families.dense.pooling import converted
from compiler.checkpoints.families.experts import plain as moe
from compiler.checkpoints.families.experts import scored as moe_scored
from compiler.checkpoints.families.experts import transformers_backend as transformers_moe
from compiler.checkpoints.families.experts import windows as moe_windows
from compiler.checkpoints.families.latent import deepseek_v4, longcat, mla
from compiler.checkpoints.families.multimodal import minimax_m3
from compiler.checkpoints.families.multimodal.models import VISION_MODELS
from compiler.checkpoints.families.recurrent import hybrid, kimi, qwen4_exp, states
from compiler.checkpoints.families.recurrent import olmo as olmo_hybrid
from compiler.checkpoints.families.recurrent import qwen as qwen_hybrid
from compiler.checkpoints.state_cache import StateCache
from compiler.checkpoints.whole_items import keeps_items_whole

Reader = Callable[[str, Config], Architecture]

FAMILIES: Mapping[str, Reader] = {
    **TEXT_MODELS,
    **VISION_MODELS,
    "DeepseekForCausalLM": mla.deepseek,
    "DeepseekV2ForCausalLM": mla.deepseek,
    "DeepseekV3ForCausalLM": mla.deepseek,
    "DeepseekV32ForCausalLM": mla.sparse,
    "DeepseekV4ForCausalLM": deepseek_v4.deepseek_v4,
    "Glm4MoeLiteForCausalLM": mla.glm4_lite,
    "GlmMoeDsaForCausalLM": mla.sparse,
    "MiniCPM3ForCausalLM": mla.minicpm3,
    "Mistral4ForCausalLM": mla.deepseek,
    "MistralLarge3ForCausalLM": mla.deepseek,
    "AXK1ForCausalLM": mla.axk1,
    "LongcatFlashForCausalLM": longcat.longcat_flash,
    "AfmoeForCausalLM": moe_scored.afmoe,
    "BailingMoeForCausalLM": moe_scored.bailing_moe,
    "BailingMoeV2ForCausalLM": moe_scored.bailing_moe,
    "Cohere2MoeForCausalLM": moe_scored.cohere2_moe,
    "ExaoneMoEForCausalLM": moe_scored.exaone_moe,
    "ExaoneMoeForCausalLM": moe_scored.exaone_moe,
    "HYV3ForCausalLM": moe_scored.hy_v3,
    "Ernie4_5_MoeForCausalLM": moe.ernie45_moe,
    "Glm4MoeForCausalLM": moe.glm4_moe,
    "GptOssForCausalLM": moe.gpt_oss,
    "GraniteMoeForCausalLM": moe.granite_moe,
    "FlexOlmoForCausalLM": transformers_moe.flex_olmo,
    "GraniteMoeSWAForCausalLM": moe.granite_moe_swa,
    "HunYuanMoEV1ForCausalLM": transformers_moe.hunyuan_moe,
    "MellumForCausalLM": transformers_moe.mellum,
    "GraniteMoeSharedForCausalLM": moe.granite_moe,
    "LagunaForCausalLM": moe_windows.laguna,
    "Llama4ForCausalLM": moe_windows.llama4,
    "MiMoV2FlashForCausalLM": moe_windows.mimo_v2,
    "MiniMaxM2ForCausalLM": moe.minimax_m2,
    "MiniMaxM3SparseForCausalLM": minimax_m3.minimax_m3_text,
    "MixtralForCausalLM": moe.mixtral,
    "OlmoeForCausalLM": moe.olmoe,
    "PhiMoEForCausalLM": moe.phimoe,
    "Qwen2MoeForCausalLM": moe.qwen2_moe,
    "Qwen3MoeForCausalLM": moe.qwen3_moe,
    "Step3p5ForCausalLM": moe_windows.step3p5,
    "FalconH1ForCausalLM": hybrid.falcon_h1,
    "FalconMambaForCausalLM": states.mamba,
    "GraniteMoeHybridForCausalLM": hybrid.granite_hybrid,
    "JambaForCausalLM": hybrid.jamba,
    "KimiLinearForCausalLM": kimi.kimi_linear,
    "Lfm2ForCausalLM": states.lfm2,
    "Lfm2MoeForCausalLM": states.lfm2_moe,
    "Mamba2ForCausalLM": states.mamba2,
    "MambaForCausalLM": states.mamba,
    "NemotronHForCausalLM": hybrid.nemotron_h,
    "OlmoHybridForCausalLM": olmo_hybrid.olmo_hybrid,
    "Zamba2ForCausalLM": states.zamba2,
    "Qwen3NextForCausalLM": qwen_hybrid.qwen3_next,
    "Qwen4ExpForCausalLM": qwen4_exp.qwen4_exp_text,
    "Qwen3_5ForCausalLM": qwen_hybrid.qwen3_5,
    "Qwen3_5MoeForCausalLM": qwen_hybrid.qwen3_5,
}


def read_architecture(config: Mapping[str, Any]) -> Architecture:
    """The architecture that a config.json describes.

    Raises:
        UnsupportedArchitectureError: none of FAMILIES.
        ConfigError: a key is missing, absurd or contradicts another.
    """
    name = architecture_name(config)
    reader = FAMILIES.get(name) or converted(name, FAMILIES)
    if reader is None:
        raise UnsupportedArchitectureError(name)
    file = Config(config)
    _check_head_dtype(file)
    architecture = reader(name, file)
    _check_chunks(file, architecture)
    return replace(architecture, whole_items=bool(architecture.encoders) and keeps_items_whole(file))


def _check_head_dtype(config: Config) -> None:
    """vllm/config/model.py:_get_head_dtype of 0.33.0 knows no other names."""
    head = config.text("head_dtype", default="model").lower()
    if head not in ("model", "half", "float16", "float", "float32", "bfloat16"):
        raise ConfigError(f"`head_dtype` must be a dtype that vLLM knows, not {head[:40]}")


def _check_chunks(config: Config, architecture: Architecture) -> None:
    """For chunks that its class does not have, vLLM would keep windows whole, and not start beside recurrent states.

    vllm/config/vllm.py and v1/core/kv_cache_planning.py:unify_hybrid_kv_cache_specs of 0.33.0; MiMo V2 drops the key.
    """
    text = config.at("text_config") if "text_config" in config else config
    caches = [cache for layer in architecture.kinds for cache in layer.caches]
    heads = [cache for cache in caches if isinstance(cache, HeadCache)]
    apart = any(isinstance(cache, StateCache) for cache in caches) or any(cache.window for cache in heads)
    chunked = any(cache.chunk for cache in heads) or text.text("model_type").startswith("mimo_v2")
    if apart and not chunked and text.data.get("attention_chunk_size") is not None:
        raise ConfigError(f"`{text.path}attention_chunk_size` is given to {architecture.name}, which has no chunks")


def architecture_name(config: Mapping[str, Any]) -> str:
    """The first of `architectures`.

    Raises:
        ConfigError: there is none.
    """
    names = config.get("architectures")
    if not isinstance(names, list) or not names or not isinstance(names[0], str):
        raise ConfigError("`architectures` is missing")
    return names[0]
