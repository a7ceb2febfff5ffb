"""Tables of rotary positions are those that vLLM 0.33.0 makes, whatever their type and wherever a config says it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from compiler.checkpoints.read import read_architecture
from tests.engine.engine_process import GPU_RELEASE, engine_python, parser_environment

pytestmark = pytest.mark.engine

_COMMON = {
    "hidden_size": 256, "intermediate_size": 512, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 512,
    "num_hidden_layers": 6, "torch_dtype": "bfloat16", "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2,
}  # fmt: skip
_CLASSES: dict[str, dict[str, Any]] = {
    "llama": {"architectures": ["LlamaForCausalLM"]},
    "qwen3": {"architectures": ["Qwen3ForCausalLM"]},
    "glm4": {"architectures": ["Glm4ForCausalLM"]},
    "nemotron": {"architectures": ["NemotronForCausalLM"]},
    "gemma3_text": {"architectures": ["Gemma3ForCausalLM"], "sliding_window": 64},
    "qwen3_5_text": {
        "architectures": ["Qwen3_5ForCausalLM"], "linear_num_key_heads": 4, "linear_num_value_heads": 8,
        "linear_key_head_dim": 32, "linear_value_head_dim": 32, "linear_conv_kernel_dim": 4,
    },
    "deepseek_v3": {
        "architectures": ["DeepseekV3ForCausalLM"], "q_lora_rank": 64, "kv_lora_rank": 64, "qk_nope_head_dim": 32,
        "v_head_dim": 32, "n_routed_experts": 8, "n_shared_experts": 1, "num_experts_per_tok": 2, "n_group": 2,
        "topk_group": 1, "moe_intermediate_size": 64, "first_k_dense_replace": 1, "topk_method": "noaux_tc",
        "num_key_value_heads": 4,
    },
}  # fmt: skip

_WIDTHS, _LENGTHS = st.sampled_from((64, 80, 96, 128, 256)), st.integers(64, 70_000)
_FACTORS = st.one_of(st.integers(2, 40), st.floats(1.01, 40.0))


@st.composite
def _scalings(draw: st.DrawFn, kind: str, length: int) -> dict[str, Any]:
    """`rope_parameters` of each type that transformers and vLLM both take."""
    found: dict[str, Any] = {"rope_type": draw(st.sampled_from(("default", "linear", "dynamic", "yarn", "llama3")))}
    if kind == "deepseek_v3":
        found["rope_type"] = draw(st.sampled_from(("default", "yarn")))
    if found["rope_type"] != "default":
        found["factor"] = float(draw(_FACTORS))
    if found["rope_type"] in ("yarn", "llama3"):
        found["original_max_position_embeddings"] = draw(st.integers(16, length))
    if found["rope_type"] == "llama3":
        found |= {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
    return found


@st.composite
def _configs(draw: st.DrawFn) -> dict[str, Any]:
    kind, length, width = draw(st.sampled_from(sorted(_CLASSES))), draw(_LENGTHS), draw(_WIDTHS)
    rope = draw(_scalings(kind, length))
    config = {
        **_COMMON, **_CLASSES[kind], "model_type": kind, "max_position_embeddings": length, "head_dim": width,
        draw(st.sampled_from(("rope_theta", "rope_theta", "no_base"))): draw(st.sampled_from((1e4, 5e5))),
    }  # fmt: skip
    if kind == "deepseek_v3":
        config["qk_rope_head_dim"] = width
        del config["head_dim"]
    if kind == "gemma3_text" and draw(st.booleans()):
        config["rope_local_base_freq"] = draw(st.sampled_from((1e4, 1e6)))
    if kind == "qwen3_5_text" and rope["rope_type"] == "default":
        part = draw(st.sampled_from((0.25, 0.5, 1.0)))
        half = int(width * part) // 2
        rope |= {"mrope_section": [half - 2 * (half // 3), half // 3, half // 3], "partial_rotary_factor": part}
    elif kind != "deepseek_v3" and draw(st.booleans()):
        config["partial_rotary_factor"] = draw(st.sampled_from((0.25, 0.5, 1.0)))
    if draw(st.booleans()) or len(rope) > 1:
        # Gemma 3's class takes `rope_parameters` by kind of layer only.
        key = "rope_scaling" if kind == "gemma3_text" else draw(st.sampled_from(("rope_parameters", "rope_scaling")))
        config[key] = rope
    return config


def _answers(configs: list[dict[str, Any]]) -> list[list[list[Any]]]:
    with TemporaryDirectory() as path:
        folders = [Path(path) / str(number) for number in range(len(configs))]
        for folder, config in zip(folders, configs, strict=True):
            folder.mkdir()
            (folder / "config.json").write_text(json.dumps(config))
        asked = subprocess.run(
            [engine_python(), Path(__file__).with_name("rotary_oracle.py")],
            input=json.dumps([str(folder) for folder in folders]),
            env=parser_environment(GPU_RELEASE) | {"VLLM_CACHE_ROOT": f"{path}/cache"},
            capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
    assert asked.returncode == 0, asked.stderr[-4000:]
    found: list[list[list[Any]]] = json.loads(asked.stdout.splitlines()[-1])
    return found


# Each list starts an engine, so none is made smaller; the failing config is in the message.
@settings(max_examples=3, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(st.lists(_configs(), min_size=50, max_size=50))
def test_tables_are_those_of_the_engine(configs: list[dict[str, Any]]) -> None:
    for config, answer in zip(configs, _answers(configs), strict=True):
        tables = read_architecture(config).rotary
        assert sorted([table.rows, table.width, table.dtype or "bfloat16"] for table in tables) == answer, config
