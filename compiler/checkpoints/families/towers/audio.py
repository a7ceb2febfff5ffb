"""Towers for sound: Whisper's encoder as Qwen took it over, and Qwen's own.

vllm/model_executor/models/{qwen2_audio,qwen2_5_omni_thinker,qwen3_omni_moe_thinker,qwen3_asr}.py of 0.33.0; defaults
are those of transformers' configuration classes.
"""

from __future__ import annotations

from compiler.checkpoints.architecture import Encoder, ItemSize, Linear, Module, Split, Vector
from compiler.checkpoints.config import Config
from compiler.checkpoints.families.towers.parts import (
    below,
    blocks,
    convolution,
    depth,
    heads_of,
    layer_norms,
    separate_qkv,
    two_layers,
    unquantized,
    whole_unless,
)

# 30 seconds: 3000 frames of a spectrogram, of which two convolutions and a pooling leave 750 tokens.
_TOKENS = 750
_KERNEL = 3
_CONVOLUTIONS = 3


def qwen2_audio_tower(config: Config) -> Encoder:
    """Whisper's encoder, which transformers builds whole on every rank, and a projection."""
    audio, hidden = config.at("audio_config"), config.at("text_config").positive("hidden_size", default=4096)
    width = audio.positive("d_model", default=1280)
    tower = (
        *_convolutions(audio, width),
        Vector("embed_positions.weight", audio.positive("max_source_positions", default=1500) * width),
        *blocks("layers", depth(audio, "encoder_layers", 32), _whole_block(audio, width)),
        *layer_norms(width, "layer_norm"),
    )
    modules = (
        *(below("audio_tower", module) for module in tower),
        Linear("multi_modal_projector.linear", hidden, width, Split.REPLICATED, bias=True),
    )
    return _encoder(audio, modules, width, hidden)


def qwen2_5_omni_audio_tower(config: Config) -> Encoder:
    """The same with positions that are computed, and marks for the beginning and the end."""
    audio = config.at("audio_config")
    width, output = audio.positive("d_model", default=1280), audio.positive("output_dim", default=3584)
    tower = (
        *_convolutions(audio, width),
        Vector("audio_bos_eos_token.weight", 2 * output),
        *blocks("layers", depth(audio, "encoder_layers", 32), _whole_block(audio, width)),
        *layer_norms(width, "ln_post"),
        Linear("proj", output, width, Split.REPLICATED, bias=True),
    )
    return _encoder(audio, tuple(below("audio_tower", module) for module in tower), width, output)


def _convolutions(audio: Config, width: int) -> tuple[Module, ...]:
    mels = audio.positive("num_mel_bins", default=128)
    return (
        *convolution("conv1", width, _KERNEL * mels, bias=True),
        *convolution("conv2", width, _KERNEL * width, bias=True),
    )


def _mlp(audio: Config) -> int:
    return audio.positive("encoder_ffn_dim", default=5120)


def _whole_block(audio: Config, width: int) -> tuple[Module, ...]:
    heads_of(audio, "encoder_attention_heads", width, 20)
    names = (("k_proj", False), ("v_proj", True), ("q_proj", True), ("out_proj", True))
    return (
        *(Linear(f"self_attn.{name}", width, width, Split.REPLICATED, bias) for name, bias in names),
        *layer_norms(width, "self_attn_layer_norm", "final_layer_norm"),
        Linear("fc1", _mlp(audio), width, Split.REPLICATED, bias=True),
        Linear("fc2", width, _mlp(audio), Split.REPLICATED, bias=True),
    )


def _encoder(audio: Config, modules: tuple[Module, ...], width: int, output: int) -> Encoder:
    # The first convolution gives as many rows as there are frames.
    item = ItemSize((_TOKENS, _TOKENS), 4, "30 seconds of sound")
    return Encoder(unquantized(modules), ("audio",), None, width, _mlp(audio), output, item, split=False)


def qwen3_audio_tower(config: Config) -> Encoder:
    """Qwen3-Omni's and Qwen3-ASR's: convolutions over the spectrogram; whole where ranks do not divide its heads."""
    audio = config.at("audio_config")
    width, output = audio.positive("d_model", default=1280), audio.positive("output_dim", default=3584)
    heads, channels = (
        heads_of(audio, "encoder_attention_heads", width, 20),
        audio.positive("downsample_hidden_size", default=480),
    )
    bands = audio.positive("num_mel_bins", default=128)
    for _ in range(_CONVOLUTIONS):
        bands = (bands + 1) // 2
    block = (
        *separate_qkv("self_attn", width, inputs=width, bias=True),
        Linear("self_attn.out_proj", width, width, Split.INPUTS, bias=True),
        *two_layers("fc1", "fc2", width, _mlp(audio), width),
    )
    tower = (
        *convolution("conv2d1", channels, _KERNEL**2, bias=True),
        *convolution("conv2d2", channels, _KERNEL**2 * channels, bias=True),
        *convolution("conv2d3", channels, _KERNEL**2 * channels, bias=True),
        Linear("conv_out", width, channels * bands, Split.REPLICATED),
        *blocks(
            "layers",
            depth(audio, "encoder_layers", 32),
            (*whole_unless(heads, block), *layer_norms(width, "self_attn_layer_norm", "final_layer_norm")),
        ),
        *layer_norms(width, "ln_post"),
        Linear("proj1", width, width, Split.REPLICATED, bias=True),
        Linear("proj2", output, width, Split.REPLICATED, bias=True),
    )
    modules = unquantized(below("audio_tower", module) for module in tower)
    # What the first convolution gives of a second is as large as eight rows of the tower for each of its tokens.
    item = ItemSize((_TOKENS, _TOKENS), 8, "30 seconds of sound")
    return Encoder(modules, ("audio",), None, width, _mlp(audio), output, item)
