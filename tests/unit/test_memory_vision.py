"""Models that read images and sound: figures that vLLM 0.33.0 itself gives (built on torch's meta device).

Sizes of towers alone are parameters of a rank; those of Gemma 4 are transformers' own, which vLLM takes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from compiler.checkpoints.architecture import Encoder
from compiler.checkpoints.config import Config, ConfigError
from compiler.checkpoints.families.towers.gemma4 import gemma4_towers
from compiler.checkpoints.families.towers.native import (
    kimi_k3_tower,
    kimi_k25_tower,
    minimax_m3_tower,
    muse_glimmer_tower,
)
from compiler.checkpoints.families.towers.others import internvl_tower, llama4_tower, phi3_vision_tower
from compiler.checkpoints.families.towers.patches import gemma3_tower
from compiler.checkpoints.families.towers.qwen import qwen3_5_tower
from compiler.checkpoints.parameters.modules import fused_modules
from compiler.checkpoints.parameters.ranks import Parallelism, SplitError
from compiler.checkpoints.parameters.weights import module_parameters, rank_weights
from compiler.checkpoints.quantization.read import read_quantization
from compiler.checkpoints.read import read_architecture
from compiler.engines.vllm.judge.division import check_split
from compiler.engines.vllm.kv_cache.layout import rank_kv_layout

QWEN2_VL = {
    "architectures": ["Qwen2VLForConditionalGeneration"], "model_type": "qwen2_vl", "hidden_size": 3584,
    "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4,
    "vocab_size": 152064, "max_position_embeddings": 32768, "sliding_window": 32768, "use_sliding_window": False,
    "max_window_layers": 28, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
    "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
    "vision_config": {"depth": 32, "embed_dim": 1280, "mlp_ratio": 4, "num_heads": 16, "hidden_size": 3584},
}  # fmt: skip
QWEN2_5_VL = QWEN2_VL | {
    "architectures": ["Qwen2_5_VLForConditionalGeneration"], "model_type": "qwen2_5_vl",
    "max_position_embeddings": 128000,
    "vision_config": {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "out_hidden_size": 3584},
}  # fmt: skip
QWEN3_VL_8B = {
    "architectures": ["Qwen3VLForConditionalGeneration"], "model_type": "qwen3_vl", "tie_word_embeddings": False,
    "text_config": {
        "dtype": "bfloat16", "head_dim": 128, "hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 36,
        "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 151936, "max_position_embeddings": 262144,
        "model_type": "qwen3_vl_text",
    },
    "vision_config": {
        "depth": 27, "hidden_size": 1152, "intermediate_size": 4304, "num_heads": 16, "out_hidden_size": 4096,
        "deepstack_visual_indexes": [8, 16, 24], "num_position_embeddings": 2304, "patch_size": 16,
    },
}  # fmt: skip
QWEN3_VL_2B = {
    "architectures": ["Qwen3VLForConditionalGeneration"], "model_type": "qwen3_vl", "tie_word_embeddings": True,
    "text_config": {
        "dtype": "bfloat16", "head_dim": 128, "hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 28,
        "num_attention_heads": 16, "num_key_value_heads": 8, "vocab_size": 151936, "max_position_embeddings": 262144,
        "model_type": "qwen3_vl_text", "tie_word_embeddings": True,
    },
    "vision_config": {
        "depth": 24, "hidden_size": 1024, "intermediate_size": 4096, "num_heads": 16, "out_hidden_size": 2048,
        "deepstack_visual_indexes": [5, 11, 17], "num_position_embeddings": 2304, "patch_size": 16,
    },
}  # fmt: skip
MISTRAL_3 = {
    "architectures": ["Mistral3ForConditionalGeneration"], "model_type": "mistral3", "dtype": "bfloat16",
    "tie_word_embeddings": False, "spatial_merge_size": 2, "vision_feature_layer": -1,
    "text_config": {
        "head_dim": 128, "hidden_size": 5120, "intermediate_size": 32768, "num_hidden_layers": 40,
        "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 131072, "max_position_embeddings": 393216,
        "model_type": "ministral3", "sliding_window": None,
    },
    "vision_config": {"image_size": 1540, "patch_size": 14, "model_type": "pixtral", "num_hidden_layers": 24},
}  # fmt: skip
LLAVA = {
    "architectures": ["LlavaForConditionalGeneration"], "model_type": "llava", "torch_dtype": "float16",
    "vision_feature_layer": -2,
    "text_config": {"model_type": "llama", "vocab_size": 32064, "max_position_embeddings": 4096},
    "vision_config": {
        "hidden_size": 1024, "image_size": 336, "intermediate_size": 4096, "model_type": "clip_vision_model",
        "num_attention_heads": 16, "num_hidden_layers": 24, "patch_size": 14,
    },
}  # fmt: skip
PIXTRAL = LLAVA | {
    "vision_feature_layer": -1, "torch_dtype": "bfloat16",
    "text_config": {
        "model_type": "mistral", "hidden_size": 5120, "head_dim": 128, "num_hidden_layers": 40, "vocab_size": 131072,
        "intermediate_size": 14336, "sliding_window": None, "max_position_embeddings": 1024000,
    },
    "vision_config": {"image_size": 1024, "model_type": "pixtral", "patch_size": 16},
}  # fmt: skip
GEMMA_3_27B = {
    "architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3", "torch_dtype": "bfloat16",
    "text_config": {
        "head_dim": 128, "hidden_size": 5376, "intermediate_size": 21504, "model_type": "gemma3_text",
        "num_attention_heads": 32, "num_hidden_layers": 62, "num_key_value_heads": 16, "sliding_window": 1024,
    },
    "vision_config": {
        "hidden_size": 1152, "image_size": 896, "intermediate_size": 4304, "num_attention_heads": 16,
        "num_hidden_layers": 27, "patch_size": 14,
    },
}  # fmt: skip
_TOWER_MODULES = [
    *(f"model.visual.deepstack_merger_list.{level}.linear_fc{part}" for level in range(3) for part in (1, 2)),
    *(f"model.visual.merger.linear_fc{part}" for part in (1, 2)),
    *(
        f"model.visual.blocks.{block}.{name}"
        for block in range(27)
        for name in ("attn.qkv", "attn.proj", "mlp.linear_fc1", "mlp.linear_fc2")
    ),
]
FP8_BLOCKS = {
    "quant_method": "fp8",
    "activation_scheme": "dynamic",
    "weight_block_size": [128, 128],
    "modules_to_not_convert": _TOWER_MODULES,
}
FP8_STATIC = {
    "quant_method": "fp8",
    "activation_scheme": "static",
    "modules_to_not_convert": ["model.vision_tower", "model.multi_modal_projector", "lm_head"],
}


def weights(config: dict[str, Any], layout: Parallelism, quantization: dict[str, Any] | None = None) -> int:
    architecture = read_architecture(config)
    block = read_quantization(quantization["quant_method"] if quantization else None, quantization)
    check_split(architecture, block, layout)
    return rank_weights(architecture, block, layout, served_dtype="bfloat16")


def tower_elements(encoder: Encoder, ranks: int, name: str = "") -> int:
    return sum(
        math.prod(parameter.shape)
        for fused in fused_modules(encoder.modules)
        if fused.name.startswith(name)
        for parameter in module_parameters(fused, None, Parallelism(ranks))
    )


@pytest.mark.parametrize(
    ("config", "layout", "size"),
    [
        (QWEN2_VL, Parallelism(), 16582751232),
        (QWEN2_VL, Parallelism(2), 8293337088),
        (QWEN2_VL, Parallelism(2, 2), 4485423104),
        (QWEN2_VL, Parallelism(1, 2, 1), 7615620096),
        (QWEN2_5_VL, Parallelism(), 16584333312),
        (QWEN2_5_VL, Parallelism(2), 8294044928),
        (QWEN3_VL_8B, Parallelism(), 17534247392),
        (QWEN3_VL_8B, Parallelism(8), 2200471452),
        (QWEN3_VL_8B, Parallelism(1, 2, 1), 8190739456),
        (QWEN3_VL_2B, Parallelism(), 4255064064),
        (QWEN3_VL_2B, Parallelism(2, 2), 1427002368),
        (QWEN3_VL_2B, Parallelism(1, 2, 1), 2031741952),
        (GEMMA_3_27B, Parallelism(), 54864813280),
        (GEMMA_3_27B, Parallelism(2, 2), 14645011568),
        (LLAVA, Parallelism(), 14101657600),
        (LLAVA, Parallelism(2), 7052436480),
        (PIXTRAL, Parallelism(), 25365479424),
        (PIXTRAL, Parallelism(2), 12683996160),
    ],
)
def test_weights_equal_the_engine_s_own_count(config: dict[str, Any], layout: Parallelism, size: int) -> None:
    assert weights(config, layout) == size


@pytest.mark.parametrize(("ranks", "size"), [(1, 10590176000), (2, 5300054160)])
def test_a_list_of_modules_to_leave_holds_the_names_of_the_checkpoint(ranks: int, size: int) -> None:
    assert weights(QWEN3_VL_8B, Parallelism(ranks), FP8_BLOCKS) == size


@pytest.mark.parametrize(("ranks", "size"), [(1, 25358804816), (8, 3179063120)])
def test_a_name_that_the_engine_does_not_rename_leaves_nothing(ranks: int, size: int) -> None:
    # `model.vision_tower` has no dot at its end, so vLLM quantizes Devstral's tower although the list names it.
    assert weights(MISTRAL_3, Parallelism(ranks), FP8_STATIC) == size


def test_mistral_3_ties_its_embeddings_unless_it_says_otherwise() -> None:
    silent = {key: value for key, value in MISTRAL_3.items() if key != "tie_word_embeddings"}
    assert weights(silent, Parallelism()) == 46680545280


@pytest.mark.parametrize(("dtype", "blocks"), [("bfloat16", 7281), ("fp8", 14563)])
def test_the_cache_is_that_of_the_language_model(dtype: str, blocks: int) -> None:
    layout = rank_kv_layout(
        read_architecture(QWEN3_VL_8B), Parallelism(), dtype=dtype, block_size=16, max_num_batched_tokens=8192
    )
    assert 16 * 2**30 // layout.bytes_per_block == blocks


_MINIMAX_M3 = {
    "projector_hidden_size": 6144, "text_config": {"hidden_size": 6144},
    "vision_config": {
        "hidden_size": 1280, "num_attention_heads": 16, "num_hidden_layers": 32, "intermediate_size": 5120,
        "patch_size": 14, "img_token_compression_config": {"spatial_merge_size": 2, "temporal_patch_size": 2},
    },
}  # fmt: skip
_QWEN3_5 = {"text_config": {"hidden_size": 5120}, "vision_config": {"out_hidden_size": 5120}}


@pytest.mark.parametrize(
    ("read", "config", "elements"),
    [
        (gemma3_tower, GEMMA_3_27B, {1: 423060336, 2: 217420344, 8: 63190350}),
        (llama4_tower, {"text_config": {"hidden_size": 5120}}, {1: 455178240, 2: 228062976, 8: 57726528}),
        (muse_glimmer_tower, {"text_config": {"hidden_size": 6656}}, {1: 1921845760, 2: 1685800960, 8: 1508767360}),
        (kimi_k25_tower, {"text_config": {"hidden_size": 7168}}, {1: 471143920, 2: 265503928, 8: 111273934}),
        (minimax_m3_tower, _MINIMAX_M3, {1: 865567232, 2: 433666560, 8: 109741056}),
        (qwen3_5_tower, _QWEN3_5, {1: 460730096, 2: 232674488, 8: 61632782}),
    ],
)
def test_towers_equal_the_engine_s_own_count(
    read: Callable[[Config], Encoder], config: dict[str, Any], elements: dict[int, int]
) -> None:
    encoder = read(Config(config))
    assert {ranks: tower_elements(encoder, ranks) for ranks in elements} == elements


@pytest.mark.parametrize(
    ("read", "change", "elements"),
    [
        (muse_glimmer_tower, {"num_attention_heads": 12}, {2: 1685800960, 8: 1921845760}),
        (kimi_k25_tower, {"num_attention_heads": 12, "init_pos_emb_height": 32}, {2: 263144632, 8: 468784624}),
    ],
)
def test_some_towers_stay_whole_where_ranks_do_not_divide_their_heads(
    read: Callable[[Config], Encoder], change: dict[str, Any], elements: dict[int, int]
) -> None:
    hidden = 6656 if read is muse_glimmer_tower else 7168
    encoder = read(Config({"text_config": {"hidden_size": hidden}, "vision_config": change}))
    assert {ranks: tower_elements(encoder, ranks) for ranks in elements} == elements


def test_kimi_k3_s_tower_has_twelve_heads() -> None:
    encoder = kimi_k3_tower(Config({"text_config": {"hidden_size": 7168}}))
    assert [tower_elements(encoder, ranks, "vision_tower") for ranks in (1, 2, 8)] == [401214464, 203033600, 401214464]
    assert tower_elements(encoder, 8, "mm_projector") == 46144512


@pytest.mark.parametrize(
    ("vision", "elements"),
    [
        (
            {"hidden_size": 3200, "num_attention_heads": 25, "intermediate_size": 12800, "num_hidden_layers": 45},
            {1: 5536496000, 2: 3693008000, 8: 2310392000},
        ),
        (
            {
                "hidden_size": 1024, "num_attention_heads": 16, "intermediate_size": 4096, "num_hidden_layers": 24,
                "qkv_bias": True, "qk_normalization": False, "norm_type": "layer_norm",
            },
            {1: 304012288, 2: 152931328, 8: 39620608},
        ),
    ],
)  # fmt: skip
def test_internvit_splits_its_mlps_where_its_heads_do_not_divide(
    vision: dict[str, Any], elements: dict[int, int]
) -> None:
    config = Config({"vision_config": vision | {"image_size": 448}, "llm_config": {"hidden_size": 4096}})
    encoder = internvl_tower(config)
    assert {ranks: tower_elements(encoder, ranks, "vision_model") for ranks in elements} == elements


def test_gemma_4_s_towers_are_whole_on_every_rank() -> None:
    text = {"hidden_size": 2816}
    vision = {
        "hidden_size": 1152, "intermediate_size": 4304, "num_attention_heads": 16, "num_key_value_heads": 16,
        "head_dim": 72, "num_hidden_layers": 27,
    }  # fmt: skip
    images, sound = gemma4_towers(Config({"text_config": text, "vision_config": vision, "audio_config": {}}))[:2]
    assert tower_elements(images, 1, "vision_tower") == tower_elements(images, 8, "vision_tower") == 569548080
    assert tower_elements(sound, 1, "audio_tower") == tower_elements(sound, 8, "audio_tower") == 304824608
    assert (images.modalities, sound.modalities) == (("image", "video"), ("audio",))


def test_phi_3_vision_has_a_second_table_of_its_vocabulary() -> None:
    crops = {"use_hd_transform": True, "with_learnable_separator": True, "hd_transform_order": "sub_glb"}
    image = {"img_processor": {"image_dim_out": 1024}, "embd_layer": crops}
    config = Config({"hidden_size": 3072, "vocab_size": 32064, **image})
    assert tower_elements(phi3_vision_tower(config), 1, "embed_tokens") == 32064 * 3072


def test_some_quantizers_are_kept_from_towers() -> None:
    awq = {"quantization_config": {"quant_method": "awq"}}
    packed = {"quantization_config": {"quant_method": "compressed-tensors"}}
    kimi = {"text_config": {"hidden_size": 7168}}
    assert _quantized(kimi_k25_tower(Config(kimi | awq)))
    assert not _quantized(kimi_k25_tower(Config(kimi | packed)))
    # 4304 is no multiple of 64: SigLIP's MLPs stay as they are, its attention does not.
    names = _quantized(gemma3_tower(Config(GEMMA_3_27B | awq)))
    assert any("self_attn" in name for name in names)
    assert not any("mlp" in name for name in names)


def _quantized(encoder: Encoder) -> list[str]:
    return [module.name for module in encoder.modules if getattr(module, "quantized", False)]


def test_what_a_model_reads_is_known() -> None:
    assert read_architecture(QWEN3_VL_8B).modalities == ("image", "video")
    assert read_architecture(LLAVA).modalities == ("image",)


def test_ranks_must_divide_the_heads_of_a_tower() -> None:
    with pytest.raises(SplitError, match="12 attention heads of the image tower do not divide by 8"):
        weights(QWEN3_VL_8B | {"vision_config": {"num_heads": 12}}, Parallelism(8))


@pytest.mark.parametrize(
    ("config", "change", "named"),
    [
        (QWEN2_VL, {"embed_dim": 0}, "vision_config.embed_dim"),
        (QWEN2_VL, {"num_heads": 7}, "vision_config.num_heads"),
        (QWEN3_VL_8B, {"depth": 10**6}, "vision_config.depth"),
        (QWEN3_VL_8B, {"deepstack_visual_indexes": 3}, "vision_config.deepstack_visual_indexes"),
        (QWEN3_VL_8B, {"spatial_merge_size": 10**6}, "vision_config.spatial_merge_size"),
        (MISTRAL_3, {"image_size": 1}, "vision_config.image_size"),
        (LLAVA, {"model_type": "unheard_of"}, "vision_config.model_type"),
    ],
)
def test_absurd_towers_are_named(config: dict[str, Any], change: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        read_architecture(config | {"vision_config": config["vision_config"] | change})


def test_a_layer_that_the_tower_does_not_have_is_named() -> None:
    with pytest.raises(ConfigError, match="vision_feature_layer"):
        read_architecture(LLAVA | {"vision_feature_layer": -30})
