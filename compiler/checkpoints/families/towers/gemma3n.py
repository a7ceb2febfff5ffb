"""Gemma 3n's towers: MobileNetV5 for images and a conformer for sound, which every rank holds whole.

vllm/model_executor/models/gemma3n_mm.py of 0.33.0 takes both from transformers (models/gemma3n), which takes the former
from timm (mobilenetv5_300m_enc).
"""

from __future__ import annotations

from collections.abc import Iterator

from compiler.checkpoints.architecture import Encoder, ItemSize, Linear, Module, Split, Table, Vector
from compiler.checkpoints.config import Config, ConfigError
from compiler.checkpoints.families.parts import norms
from compiler.checkpoints.families.towers.parts import below, blocks, depth, heads_of, unquantized

_NAME = "mobilenetv5_300m_enc"
_IMAGE_TOKENS, _SOUND_TOKENS = 256, 188  # gemma3n_mm.py:TOKENS_PER_IMAGE, TOKENS_PER_AUDIO
# Of a plain block: channels in and out, channels between; and sides of the kernels before and between, 0 for none.
_FIRST = ((64, 128, 256), (128, 128, 512), (128, 128, 512))
_SECOND = ((128, 256, 768, 3, 5), (256, 256, 1024, 5, 0), (256, 256, 1024, 3, 0), (256, 256, 1024, 5, 0))
_SECOND_LAST = (256, 256, 1024, 3, 0)
_THIRD_WIDE, _THIRD_NARROW = (640, 640, 2560, 5, 0), (640, 640, 640, 0, 0)
_PAIRS = (14, 19)


def gemma3n_towers(config: Config) -> tuple[Encoder, ...]:
    """Images first."""
    return (_images(config), _sounds(config))


def _images(config: Config) -> Encoder:
    vision, output = config.at("vision_config"), _hidden(config)
    if (name := vision.text("architecture", default=_NAME)) != _NAME:
        raise ConfigError(f"`{vision.path}architecture` must be {_NAME}, not {name[:40]}")
    width = vision.positive("hidden_size", default=2048)
    tower = (
        Vector("conv_stem.conv.weight", 64 * 27),
        Vector("conv_stem.conv.bias", 64),
        Vector("conv_stem.bn.weight", 64),
        *(below(f"blocks.{stage}.{index}", module) for stage, index, block in _stages() for module in block),
        *_pointwise("msfa.ffn.pw_exp", 3840, 1920),
        *_pointwise("msfa.ffn.pw_proj", 2048, 3840),
        *norms(2048, "msfa.norm"),
    )
    named = (below("vision_tower.timm_model", module) for module in tower)
    modules = (*named, *_embedder("embed_vision", vision, width, output))
    # Feature maps of the first layers are as large as eight rows of the output for each token.
    item = ItemSize((_IMAGE_TOKENS, _IMAGE_TOKENS), 8, "TOKENS_PER_IMAGE of gemma3n_mm.py")
    return Encoder(modules, ("image",), None, width, 3840, output, item, split=False)


def _hidden(config: Config) -> int:
    return config.at("text_config").positive("hidden_size", default=2048)


def _stages() -> Iterator[tuple[int, int, tuple[Module, ...]]]:
    """Blocks with the numbers of their stages and their own."""
    for index, (inputs, outputs, inner) in enumerate(_FIRST):
        yield 0, index, _edge(inputs, outputs, inner)
    for index, shape in enumerate((*_SECOND, _SECOND_LAST)):
        yield 1, index, _inverted(*shape)
    plain = ((256, 640, 1536, 5, 5), *(_THIRD_WIDE,) * 7, _THIRD_NARROW)
    for index, shape in enumerate(plain):
        yield 2, index, _inverted(*shape)
    for pair in range(_PAIRS[0]):
        yield 2, len(plain) + 2 * pair, _attention(640, 768, 64, down=True)
        yield 2, len(plain) + 2 * pair + 1, _inverted(640, 640, 1280, 0, 0)
    yield 3, 0, _inverted(640, 1280, 3840, 5, 5)
    for pair in range(_PAIRS[1]):
        yield 3, 1 + 2 * pair, _attention(1280, 1536, 96, down=False)
        yield 3, 2 + 2 * pair, _inverted(1280, 1280, 2560, 0, 0)


def _pointwise(name: str, outputs: int, inputs: int) -> tuple[Module, ...]:
    return (Vector(f"{name}.conv.weight", outputs * inputs), Vector(f"{name}.bn.weight", outputs))


def _edge(inputs: int, outputs: int, inner: int) -> tuple[Module, ...]:
    return (
        Vector("conv_exp.weight", 9 * inputs * inner),
        *norms(inner, "bn1"),
        Vector("conv_pwl.weight", inner * outputs),
        *norms(outputs, "bn2"),
    )


def _inverted(inputs: int, outputs: int, inner: int, start: int, middle: int) -> tuple[Module, ...]:
    """A universal inverted bottleneck."""
    before = (Vector("dw_start.conv.weight", start**2 * inputs), *norms(inputs, "dw_start.bn"))
    between = (Vector("dw_mid.conv.weight", middle**2 * inner), *norms(inner, "dw_mid.bn"))
    return (
        *(before if start else ()),
        *_pointwise("pw_exp", inner, inputs),
        *(between if middle else ()),
        *_pointwise("pw_proj", outputs, inner),
        Vector("layer_scale.gamma", outputs),
    )


def _attention(width: int, query: int, key: int, *, down: bool) -> tuple[Module, ...]:
    """Of many queries over one head of keys and values, which a convolution may make fewer."""
    keys = tuple(
        module
        for name in ("attn.key", "attn.value")
        for module in (
            *((Vector(f"{name}.down_conv.weight", 9 * width), *norms(width, f"{name}.norm")) if down else ()),
            Vector(f"{name}.proj.weight", key * width),
        )
    )
    return (
        *norms(width, "norm"),
        Vector("attn.query.proj.weight", query * width),
        *keys,
        Vector("attn.output.proj.weight", query * width),
        Vector("layer_scale.gamma", width),
    )


def _embedder(name: str, tower: Config, width: int, output: int) -> tuple[Module, ...]:
    """Gemma3nMultimodalEmbedder: a table of marks beside the projection, both divided."""
    return (
        Table(f"{name}.embedding", tower.positive("vocab_size", default=128), width),
        *norms(width, f"{name}.hard_embedding_norm", f"{name}.soft_embedding_norm"),
        Linear(f"{name}.embedding_projection", output, width, Split.INPUTS, quantized=False),
    )


def _sounds(config: Config) -> Encoder:
    audio, output = config.at("audio_config"), _hidden(config)
    width, mels = audio.positive("hidden_size", default=1536), audio.positive("input_feat_size", default=128)
    channels = audio.items("sscp_conv_channel_size") or (128, 32)
    if list(channels) != [128, 32]:
        raise ConfigError(f"`{audio.path}sscp_conv_channel_size` must be 128 and 32, not {str(channels)[:40]}")
    sampled = "subsample_conv_projection"
    tower = (
        Vector(f"{sampled}.conv_0.conv.weight", 9 * 128),
        *norms(128, f"{sampled}.conv_0.norm"),
        Vector(f"{sampled}.conv_1.conv.weight", 9 * 128 * 32),
        *norms(32, f"{sampled}.conv_1.norm"),
        _whole(f"{sampled}.input_proj_linear", width, 32 * -(-mels // 4)),
        *blocks("conformer", depth(audio, "conf_num_hidden_layers", 12), _conformer(audio, width)),
    )
    named = unquantized(below("audio_tower", module) for module in tower)
    item = ItemSize((_SOUND_TOKENS, _SOUND_TOKENS), 16, "TOKENS_PER_AUDIO of gemma3n_mm.py")
    modules = (*named, *_embedder("embed_audio", audio, width, output))
    return Encoder(modules, ("audio",), None, width, 4 * width, output, item, split=False)


def _whole(name: str, outputs: int, inputs: int) -> Linear:
    return Linear(name, outputs, inputs, Split.REPLICATED)


def _conformer(audio: Config, width: int) -> tuple[Module, ...]:
    heads = heads_of(audio, "conf_num_attention_heads", width, 8)
    feeds = (
        module
        for name in ("ffw_layer_start", "ffw_layer_end")
        for module in (
            _whole(f"{name}.ffw_layer_1", 4 * width, width),
            _whole(f"{name}.ffw_layer_2", width, 4 * width),
            *norms(width, f"{name}.pre_layer_norm", f"{name}.post_layer_norm"),
        )
    )
    path = "attention.attn"
    return (
        *feeds,
        *norms(width, "attention.pre_attn_norm", "attention.post_norm", "norm"),
        Vector(f"{path}.per_dim_scale", width // heads),
        _whole(f"{path}.relative_position_embedding.pos_proj", width, width),
        *(_whole(f"{path}.{part}_proj", width, width) for part in "qkv"),
        _whole("attention.post", width, width),
        *norms(width, "lconv1d.pre_layer_norm", "lconv1d.conv_norm"),
        _whole("lconv1d.linear_start", 2 * width, width),
        _whole("lconv1d.linear_end", width, width),
        Vector("lconv1d.depthwise_conv1d.weight", audio.positive("conf_conv_kernel_size", default=5) * width),
    )
