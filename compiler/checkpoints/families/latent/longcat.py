"""LongCat-Flash: each layer has latent attention and a dense MLP twice, with routed experts beside the first.

vllm/model_executor/models/longcat_flash.py of 0.33.0; defaults are those of transformers' LongcatFlashConfig.
"""

from __future__ import annotations

from collections.abc import Iterator

from compiler.checkpoints.architecture import Architecture, Layer, Linear, Module, Split, Vector
from compiler.checkpoints.config import Config, ConfigError
from compiler.checkpoints.families.activations import SILU, check_activation
from compiler.checkpoints.families.experts.parts import routed
from compiler.checkpoints.families.latent.mla import latent_decoder
from compiler.checkpoints.families.latent.parts import LatentAttention
from compiler.checkpoints.families.parts import gated_mlp, norms
from compiler.checkpoints.families.terms import check_present, check_value
from compiler.checkpoints.families.towers.parts import unquantized
from compiler.checkpoints.lengths import rope_parameters
from compiler.checkpoints.rope_terms import check_latent_rope

_TWICE = (0, 1)
_DEFAULTS = {
    "model_type": "longcat_flash",
    "vocab_size": 131072,
    "hidden_size": 6144,
    "num_layers": 28,
    "num_attention_heads": 64,
    "max_position_embeddings": 131072,
    "ffn_hidden_size": 12288,
    "q_lora_rank": 1536,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "moe_topk": 12,
    "n_routed_experts": 512,
    "zero_expert_num": 256,
    "expert_ffn_hidden_size": 2048,
}


def longcat_flash(name: str, stored: Config) -> Architecture:
    """LongcatFlashForCausalLM; its output head is never tied."""
    check_present(stored, "mla_scale_q_lora", "mla_scale_kv_lora")
    check_value(stored, "zero_expert_type", ("identity",), default="")
    check_activation(stored, SILU)
    given = {key: value for key, value in stored.data.items() if value is not None}
    config = Config({**_DEFAULTS, **given}, stored.path)
    dense, count = config.positive("ffn_hidden_size"), config.layers("num_layers")
    attentions = config.positive("num_hidden_layers", default=2 * count)
    if attentions != 2 * count:
        # transformers' class counts attentions by this name, and halves it for the layers whatever num_layers says.
        raise ConfigError(f"`{config.path}num_hidden_layers` is {attentions}, which is not twice num_layers, {count}")
    config = Config({**config.data, "intermediate_size": dense}, config.path)
    for rope in rope_parameters(config):
        check_latent_rope(rope)
    latent, plain = LatentAttention.read(config), config.items("disable_quant_module")
    layer = Layer((*_attended(latent, dense, plain), *_experts(config)), (latent.latent_cache(),) * len(_TWICE))
    return latent_decoder(name, config, (layer,) * count)


def _attended(latent: LatentAttention, dense: int, plain: tuple[object, ...]) -> Iterator[Module]:
    """Attention and dense MLPs, of which `disable_quant_module` names those that no quantizer reaches."""
    for index in _TWICE:
        yield from norms(latent.hidden, f"input_layernorm.{index}", f"post_attention_layernorm.{index}")
        attention = latent.modules(name=f"self_attn.{index}")
        yield from unquantized(attention) if "self_attn" in plain else attention
        mlp = gated_mlp(dense, latent.hidden, name=f"mlps.{index}")
        yield from unquantized(mlp) if "mlps" in plain else mlp


def _experts(config: Config) -> tuple[Module, ...]:
    """The router scores experts that do nothing beside those that have weights."""
    count, hidden = config.positive("n_routed_experts"), config.positive("hidden_size")
    scored = count + config.count("zero_expert_num")
    return (
        Linear("mlp.router.classifier", scored, hidden, Split.REPLICATED, quantized=False, dtype="F32"),
        Vector("mlp.router.e_score_correction_bias", scored, dtype="F32"),
        routed(config, count, config.positive("expert_ffn_hidden_size"), top_k="moe_topk"),
    )
