"""Repositories in Mistral's own format: what vLLM makes of params.json, names of tensors, and what is emitted."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

import pytest

from compiler.checkpoints.config import ConfigError as MemoryConfigError
from compiler.checkpoints.config import UnsupportedArchitectureError
from compiler.checkpoints.parameters.headers import check_headers
from compiler.checkpoints.quantization.read import read_quantization
from compiler.checkpoints.read import read_architecture
from compiler.engines.vllm.answers.chats import formats, renders_chats, tokenizer_mode, why_not_read
from compiler.lock.models import ModelFacts
from compiler.resolve.answers import ConfigError, ListedFile, Repository
from compiler.resolve.reading.facts import read_facts
from compiler.resolve.reading.mistral import UnservedError, adapted
from compiler.resolve.reading.mistral_names import DENSE, LATENT, engine_name
from tests.unit import mistral_params
from tests.unit.test_chats import service
from tests.unit.test_resolve_facts import COMMIT, Memory

# Little enough that every tensor can be named.
SMALL: dict[str, Any] = {
    **mistral_params.LATENT,
    "dim": 256, "n_layers": 2, "hidden_dim": 512, "n_heads": 4, "n_kv_heads": 4, "vocab_size": 512,
    "q_lora_rank": 64, "kv_lora_rank": 128, "moe": {
        **mistral_params.LATENT["moe"], "num_experts": 2, "num_experts_per_tok": 1, "expert_hidden_dim": 128,
        "first_k_dense_replace": 1,
    },
}  # fmt: skip
SEEN = {**mistral_params.TOWER, "num_hidden_layers": 1, "hidden_size": 128, "intermediate_size": 256,
        "num_attention_heads": 2}  # fmt: skip
LATENT_LAYER = {
    "attention_norm": (256,), "ffn_norm": (256,), "attention.wq_a": (64, 256), "attention.q_a_norm": (64,),
    "attention.wq_b": (512, 64), "attention.wkv_a_with_mqa": (192, 256), "attention.kv_a_norm": (128,),
    "attention.wkv_b": (768, 128), "attention.wo": (256, 512),
}  # fmt: skip
TOWER_NAMES = {
    "vision_encoder.patch_conv": (128, 3, 14, 14), "vision_encoder.ln_pre": (128,),
    "vision_encoder.transformer.layers.0.attention_norm": (128,),
    "vision_encoder.transformer.layers.0.ffn_norm": (128,),
    **{f"vision_encoder.transformer.layers.0.attention.{part}": (128, 128) for part in ("wq", "wk", "wv", "wo")},
    "vision_encoder.transformer.layers.0.feed_forward.w1": (256, 128),
    "vision_encoder.transformer.layers.0.feed_forward.w2": (128, 256),
    "vision_encoder.transformer.layers.0.feed_forward.w3": (256, 128),
    "pre_mm_projector_norm": (128,), "patch_merger.merging_layer": (128, 512),
    "vision_language_adapter.w_in": (256, 128), "vision_language_adapter.w_out": (256, 256),
}  # fmt: skip


def mlp(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.w1": (width, 256), f"{name}.w2": (256, width), f"{name}.w3": (width, 256)}


def tensors() -> dict[str, tuple[int, ...]]:
    """Every tensor of SMALL with a tower, as Mistral names them."""
    experts = {**mlp("experts.0", 128), **mlp("experts.1", 128), **mlp("shared_experts", 128), "gate": (2, 256)}
    layers = ({**LATENT_LAYER, **mlp("feed_forward", 512)}, {**LATENT_LAYER, **experts})
    named = {f"layers.{index}.{name}": shape for index, layer in enumerate(layers) for name, shape in layer.items()}
    outside = {"tok_embeddings": (512, 256), "norm": (256,), "output": (512, 256)}
    return {f"{name}.weight": shape for name, shape in (named | outside | TOWER_NAMES).items()}


def header(named: Mapping[str, tuple[int, ...]], dtype: str = "BF16") -> bytes:
    entries, at = {}, 0
    for name, shape in named.items():
        size = 2
        for side in shape:
            size *= side
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text


class Held(Memory):
    """With room for whatever is read."""

    def take(self, size: int) -> None:
        """There is no limit."""


def facts(
    params: Mapping[str, Any],
    config: Mapping[str, Any] | None = None,
    named: Mapping[str, tuple[int, ...]] | None = None,
    more: tuple[str, ...] = (),
    tokenizer: str = "tekken.json",
    **changes: Any,
) -> ModelFacts:
    named = tensors() if named is None else named
    data = header(named)
    contents = {"params.json": json.dumps(params).encode(), "consolidated.safetensors": data, tokenizer: b"{}"}
    if config is not None:
        contents["config.json"] = json.dumps(config).encode()
    whole = len(data) + sum(2 * _elements(shape) for shape in named.values())
    sizes = {**{path: len(content) for path, content in contents.items()}, "consolidated.safetensors": whole}
    files = tuple(ListedFile(path, size) for path, size in sizes.items()) + tuple(ListedFile(path, 10) for path in more)
    fields = {"source": "https://huggingface.co", "commit": COMMIT, "license": "mit", "files": files, **changes}
    return read_facts(Repository("a/b", **fields), Held(contents))


def _elements(shape: tuple[int, ...]) -> int:
    count = 1
    for side in shape:
        count *= side
    return count


WITH_IMAGES = {**SMALL, "vision_encoder": SEEN}


def test_facts_are_of_mistral_s_own_format() -> None:
    known = facts(WITH_IMAGES)
    assert known.in_own_format
    assert [file.path for file in known.weights] == ["consolidated.safetensors"]
    assert known.config["architectures"] == ["PixtralForConditionalGeneration"]
    assert known.config["text_config"]["architectures"] == [LATENT]
    assert known.unconfirmed == ()
    options = dict(formats(service(), known, "0.33.0"))
    assert options == dict.fromkeys(("--config-format", "--load-format", "--tokenizer-mode"), "mistral")
    assert renders_chats(service(), known, "0.33.0")


def test_the_headers_are_what_the_class_loads() -> None:
    known = facts(WITH_IMAGES)
    assert known.tensors is not None
    architecture = read_architecture(known.config)
    check_headers(architecture, None, known.tensors.kinds)
    lacking = {name: shape for name, shape in tensors().items() if "wkv_b" not in name}
    less = facts(WITH_IMAGES, named=lacking)
    assert less.tensors is not None
    with pytest.raises(Exception, match="kv_b_proj"):
        check_headers(architecture, None, less.tensors.kinds)


def test_the_types_of_which_only_this_format_is_served() -> None:
    """Both formats are there; transformers has no class for the language model that 0.33.0 could build."""
    config = {"architectures": ["Mistral3ForConditionalGeneration"], "text_config": {"model_type": "mistral4"}}
    assert facts(WITH_IMAGES, config, more=("model.safetensors",)).in_own_format
    config["text_config"] = {"model_type": "mistral"}
    with pytest.raises(ConfigError, match="holds its weights twice"):
        facts(WITH_IMAGES, config, more=("model.safetensors",), source="folder", commit=None)


def test_a_quantization_is_that_of_params_json() -> None:
    known = facts({**WITH_IMAGES, **mistral_params.FP8})
    assert known.quantization == {"quant_method": "fp8", "activation_scheme": "static"}
    assert known.quantization_file == "params.json"
    assert "quantization_config" not in known.config
    elsewhere = {"architectures": ["X"], "quantization_config": {"quant_method": "fp8"}}
    with pytest.raises(ConfigError) as raised:
        facts(WITH_IMAGES, elsewhere)
    assert "config.json" in raised.value.notes[0]


@pytest.mark.parametrize("name", mistral_params.CASES)
def test_every_kind_can_be_read(name: str) -> None:
    config = adapted(mistral_params.CASES[name], {}, ())
    architecture = read_architecture(config)
    assert bool(architecture.encoders) == ("images" in name)
    assert architecture.tie_word_embeddings == ("tied" in name)
    block = config.get("quantization_config")
    assert block is None or read_quantization("fp8", block, config) is not None


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"model_type": "mamba"}, "Mamba"),
        ({"moe": {"num_experts": 8}}, "no shared one"),
        ({"llama_4_scaling": {"beta": 0.1}}, "llama_4_scaling"),
        ({"yarn": {"factor": 2, "other": 1}}, "yarn"),
        ({"yarn": {"factor": "x"}}, "not a number"),
        ({"yarn": 3}, "not a map"),
        ({"quantization": {"quant_method": "compressed-tensors"}}, "fp8_e4m3"),
        ({"quantization": {"qformat_weight": "fp8_e4m3", "qscheme_act": "CHANNEL"}}, "qscheme_act"),
        ({"sliding_window": [1, 2]}, "several widths"),
        ({"sliding_window": "x"}, "neither"),
        ({"sliding_window": 4096, "n_layers": 10**9}, "number of layers"),
        ({"multimodal": {"whisper_model_args": {"encoder_args": {"dim": 1}}}}, "sound"),
        ({"dtype": None}, "dtype"),
    ],
)
def test_what_is_not_served_is_refused(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(UnservedError, match=why):
        adapted({**mistral_params.LATENT, **changes}, {}, {"BF16", "F16"})


def test_a_scaling_is_asked_for_beside_shared_experts() -> None:
    params = {key: value for key, value in mistral_params.LATENT.items() if key != "llama_4_scaling"}
    with pytest.raises(UnservedError, match="llama_4_scaling"):
        adapted(params, {}, ())


@pytest.mark.parametrize(
    ("dtypes", "expected"),
    [({"BF16"}, "bfloat16"), ({"F8_E4M3", "BF16"}, "bfloat16"), ({"F32", "BF16"}, "float32"), ({"F16"}, "float16")],
)
def test_tensors_say_the_dtype_that_the_file_does_not(dtypes: set[str], expected: str) -> None:
    params = {key: value for key, value in mistral_params.DENSE.items() if key != "dtype"}
    assert adapted(params, {}, dtypes)["dtype"] == expected


def test_the_longest_text_is_config_json_s_where_params_json_has_none() -> None:
    params = {key: value for key, value in mistral_params.DENSE.items() if key != "max_position_embeddings"}
    assert adapted(params, {"text_config": {"max_position_embeddings": 4096}}, ())["max_seq_len"] == 4096
    assert adapted(params, {}, ())["max_position_embeddings"] == 128_000


def test_names_of_tensors() -> None:
    assert engine_name("layers.*.attention.wq.qscale_weight", DENSE) == "model.layers.*.self_attn.q_proj.weight_scale"
    assert (
        engine_name("layers.*.experts.*.w2.qscale_act", LATENT) == "model.layers.*.mlp.experts.*.down_proj.input_scale"
    )
    assert engine_name("output.weight", DENSE) == "lm_head.weight"
    for name, text in (("layers.*.attention.wq.weight", LATENT), ("model.norm.weight", DENSE), ("norm.odd", DENSE)):
        with pytest.raises(UnservedError, match="has no place"):
            engine_name(name, text)


def test_a_tensor_that_the_class_does_not_know_is_refused() -> None:
    with pytest.raises(ConfigError) as raised:
        facts(WITH_IMAGES, named={**tensors(), "layers.0.odd.weight": (4,)})
    assert "layers.*.odd.weight" in raised.value.notes[0]
    with pytest.raises(ConfigError) as raised:
        facts(SMALL)
    assert "no tower" in raised.value.notes[0]


def test_what_will_be_served_must_be_known() -> None:
    with pytest.raises(ConfigError) as raised:
        facts(WITH_IMAGES, commit=None)
    assert "commit" in raised.value.notes[0]
    with pytest.raises(ConfigError) as raised:
        facts(WITH_IMAGES, tokenizer="other.json")
    assert "tekken.json" in raised.value.notes[0]
    with pytest.raises(ConfigError, match="lacks"):
        facts(WITH_IMAGES, more=("consolidated-00001-of-00002.safetensors",))


def test_a_tower_is_served_by_mistral_s_tokenizer_alone() -> None:
    known = facts(WITH_IMAGES)
    assert tokenizer_mode(service("hf"), known, "0.33.0") == "hf"
    assert "mistral` alone" in str(why_not_read(service("hf"), known, "0.33.0"))
    assert why_not_read(service(), known, "0.33.0") is None


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"num_attention_heads": 48}, "num_attention_heads"),
        ({"num_attention_heads": 1024}, "odd width"),
        ({"mm_projector_id": ""}, "mm_projector_id"),
        ({"rope_theta": None}, "rope_theta"),
    ],
)
def test_absurd_towers_are_named(changes: dict[str, Any], why: str) -> None:
    tower = {**mistral_params.TOWER, **changes}
    tower = {key: value for key, value in tower.items() if value is not None}
    with pytest.raises(MemoryConfigError, match=why):
        read_architecture(adapted({**mistral_params.LATENT, "vision_encoder": tower}, {}, ()))


def test_a_tower_goes_with_the_classes_that_the_engine_makes() -> None:
    config = adapted({**mistral_params.LATENT, "vision_encoder": mistral_params.TOWER}, {}, ())
    config["text_config"]["architectures"] = ["LlamaForCausalLM"]
    with pytest.raises(UnsupportedArchitectureError):
        read_architecture(config)
