"""`--assume full`: never less than what vLLM takes, and refused where nobody can know that."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from compiler.checkpoints import read
from compiler.checkpoints.architecture import Architecture
from compiler.checkpoints.checkpoint import Checkpoint
from compiler.checkpoints.config import ConfigError, UnsupportedArchitectureError
from compiler.checkpoints.families.assumed import assumed
from compiler.checkpoints.parameters.ranks import Parallelism, SplitError
from compiler.checkpoints.parameters.tensors import expected_tensors
from compiler.checkpoints.parameters.weights import rank_weights
from compiler.checkpoints.read import read_architecture
from compiler.cli.main import cli
from compiler.engines.vllm.judge.division import check_split
from compiler.engines.vllm.kv_cache.layout import rank_kv_layout
from compiler.engines.vllm.memory.rows import fixed_rows
from compiler.engines.vllm.memory.shape import ServerShape
from compiler.engines.vllm.releases import RELEASES
from compiler.ledger import ASSUMED
from compiler.lock.models import TensorKind
from tests.conftest import ROOT
from tests.examples import examples
from tests.unit.test_hybrid import FALCON_H1, FALCON_MAMBA, GRANITE_SMALL, JAMBA, KIMI_LINEAR, LFM2, ZAMBA2

Config = dict[str, Any]
CASE = ROOT / "tests/cases/errors/assumable-architecture"
WHOLE = Parallelism()

LLAMA: Config = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 2048, "intermediate_size": 8192,
    "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256,
    "max_position_embeddings": 131072, "tie_word_embeddings": True, "torch_dtype": "bfloat16",
}  # fmt: skip
GEMMA3: Config = {
    "architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3_text", "hidden_size": 1152, "head_dim": 256,
    "intermediate_size": 6912, "num_hidden_layers": 26, "num_attention_heads": 4, "num_key_value_heads": 1,
    "sliding_window": 512, "sliding_window_pattern": 6, "tie_word_embeddings": True, "vocab_size": 262144,
    "max_position_embeddings": 32768, "torch_dtype": "bfloat16",
}  # fmt: skip
MISTRAL: Config = LLAMA | {"architectures": ["MistralForCausalLM"], "model_type": "mistral", "sliding_window": 4096}
DEEPSEEK: Config = {
    "architectures": ["DeepseekV2ForCausalLM"], "model_type": "deepseek_v2", "hidden_size": 2048,
    "intermediate_size": 10944, "moe_intermediate_size": 1408, "num_hidden_layers": 27, "num_attention_heads": 16,
    "num_key_value_heads": 16, "kv_lora_rank": 512, "q_lora_rank": None, "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64, "v_head_dim": 128, "n_routed_experts": 64, "n_shared_experts": 2,
    "num_experts_per_tok": 6, "first_k_dense_replace": 1, "moe_layer_freq": 1, "vocab_size": 102400,
    "max_position_embeddings": 163840, "torch_dtype": "bfloat16", "n_group": 1, "topk_group": 1,
}  # fmt: skip
QWEN3_MOE: Config = {
    "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "hidden_size": 2048, "head_dim": 128,
    "intermediate_size": 6144, "moe_intermediate_size": 768, "num_hidden_layers": 48, "num_attention_heads": 32,
    "num_key_value_heads": 4, "num_experts": 128, "num_experts_per_tok": 8, "norm_topk_prob": True,
    "decoder_sparse_step": 1, "vocab_size": 151936, "max_position_embeddings": 40960, "torch_dtype": "bfloat16",
}  # fmt: skip
GPT_OSS: Config = {
    "architectures": ["GptOssForCausalLM"], "model_type": "gpt_oss", "hidden_size": 2880, "head_dim": 64,
    "intermediate_size": 2880, "num_hidden_layers": 24, "num_attention_heads": 64, "num_key_value_heads": 8,
    "num_local_experts": 32, "num_experts_per_tok": 4, "sliding_window": 128, "vocab_size": 201088,
    "layer_types": ["sliding_attention", "full_attention"] * 12, "max_position_embeddings": 131072,
    "torch_dtype": "bfloat16",
}  # fmt: skip
KNOWN = [LLAMA, GEMMA3, MISTRAL, QWEN3_MOE, GPT_OSS]
HYBRID = [JAMBA, GRANITE_SMALL, FALCON_H1, FALCON_MAMBA, ZAMBA2, LFM2]


def name_of(config: Config) -> str:
    return str(config["architectures"][0])


def headers(config: Config) -> tuple[TensorKind, ...]:
    return expected_tensors(read_architecture(config), None)


def bound(config: Config, tensors: tuple[TensorKind, ...] | None = None) -> Architecture:
    return assumed(name_of(config), config, tensors or headers(config), packed=False)


@pytest.mark.parametrize("config", KNOWN, ids=name_of)
def test_weights_are_never_less_than_those_that_vllm_builds(config: Config) -> None:
    known, most = read_architecture(config), bound(config)
    least = rank_weights(known, None, WHOLE, served_dtype="bfloat16")
    assert least <= rank_weights(most, None, WHOLE, served_dtype="bfloat16") <= 1.3 * least
    assert most.intermediate_size >= known.intermediate_size


@pytest.mark.parametrize("config", KNOWN, ids=name_of)
@given(length=st.integers(1, 32768), concurrency=st.integers(1, 64), tokens=st.sampled_from([2048, 8192, 16384]))
@examples(10)
def test_the_cache_is_never_less_than_the_one_that_vllm_plans(
    config: Config, length: int, concurrency: int, tokens: int
) -> None:
    sizes = []
    for architecture in (read_architecture(config), bound(config)):
        layout = rank_kv_layout(architecture, WHOLE, dtype="bfloat16", block_size=16, max_num_batched_tokens=tokens)
        sizes.append(layout.bytes_per_block * layout.blocks_for(concurrency=concurrency, length=length))
    assert sizes[0] <= sizes[1]


@pytest.mark.parametrize(("length", "sequences", "tokens"), [(1024, 1024, 16384), (2048, 8, 2048), (8192, 256, 8192)])
@pytest.mark.parametrize("config", KNOWN, ids=name_of)
def test_the_rest_of_the_ledger_is_no_less_either(config: Config, length: int, sequences: int, tokens: int) -> None:
    """Scratch of experts, rotary tables and block tables of several groups are in nobody's headers."""
    shape, sizes = ServerShape(1, length, sequences, tokens, "bfloat16", (9, 0)), []
    for architecture in (read_architecture(config), bound(config)):
        layout = rank_kv_layout(architecture, WHOLE, dtype="bfloat16", block_size=16, max_num_batched_tokens=tokens)
        rows = fixed_rows(RELEASES["0.33.0"], Checkpoint(architecture, None, None), shape, layout)
        sizes.append(sum(row.bytes.high for row in rows))
    assert sizes[0] <= sizes[1]


@pytest.mark.parametrize("config", HYBRID, ids=name_of)
def test_a_recurrent_state_has_no_such_bound(config: Config) -> None:
    """A state of megabytes in every layer is more than full attention to a short request."""
    with pytest.raises(UnsupportedArchitectureError, match="recurrent state"):
        bound(config)


@pytest.mark.parametrize("config", [DEEPSEEK, KIMI_LINEAR], ids=name_of)
def test_latent_attention_needs_scratch_that_nobody_bounded(config: Config) -> None:
    """Its prefill expands earlier context: gigabytes that neither weights nor cache tell of."""
    with pytest.raises(UnsupportedArchitectureError, match="latent attention"):
        bound(config)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"vision_config": {"hidden_size": 1024}}, "vision_config"),
        ({"is_encoder_decoder": True}, "cross-attention"),
    ],
)
def test_what_full_attention_does_not_bound_is_refused(changes: Config, reason: str) -> None:
    with pytest.raises(UnsupportedArchitectureError, match=reason):
        bound(LLAMA | changes, headers(LLAMA))


def test_without_headers_or_with_packed_weights_there_is_nothing_to_count() -> None:
    with pytest.raises(UnsupportedArchitectureError, match="headers"):
        assumed("XForCausalLM", LLAMA, None, packed=False)
    with pytest.raises(UnsupportedArchitectureError, match="quantized"):
        assumed("XForCausalLM", LLAMA, headers(LLAMA), packed=True)
    without = {key: value for key, value in QWEN3_MOE.items() if key != "num_experts_per_tok"}
    with pytest.raises(UnsupportedArchitectureError, match="experts"):
        bound(without, headers(QWEN3_MOE))


@pytest.mark.parametrize("key", ["num_hidden_layers", "num_attention_heads", "hidden_size", "vocab_size"])
def test_absurd_and_missing_keys_are_named(key: str) -> None:
    for changed in (LLAMA | {key: 0}, LLAMA | {key: "many"}, {name: LLAMA[name] for name in LLAMA if name != key}):
        with pytest.raises(ConfigError, match=key):
            bound(changed, headers(LLAMA))


def test_it_is_counted_on_one_gpu_only() -> None:
    for split in (Parallelism(2), Parallelism(1, 2)):
        with pytest.raises(SplitError, match="one GPU only"):
            check_split(bound(LLAMA), None, split)


def compiled(folder: Path, *words: str) -> tuple[int, dict[str, Any]]:
    spec = CASE / f"{CASE.name}.yaml"
    output = str(folder / "out")
    result = CliRunner().invoke(cli, ["compile", str(spec), "--output", output, "--format", "json", *words])
    return result.exit_code, json.loads(result.output)


def test_the_flag_that_the_help_names_compiles_with_a_warning(tmp_path: Path) -> None:
    code, found = compiled(tmp_path)
    (error,) = (one for one in found["diagnostics"] if one["code"] == "E0307")
    assert (code, "`--assume full`" in error["helps"][0]["text"]) == (1, True)
    code, found = compiled(tmp_path, "--assume", "full")
    assert (code, "W0302" in {one["code"] for one in found["diagnostics"]}) == (0, True)
    plan = json.loads((tmp_path / "out" / CASE.name / "plan.json").read_text())
    (server,) = plan["devices"][0]["servers"]
    assert {row["basis"] for row in server["rows"]} == {"estimate"}
    assert all(row["source"].startswith(ASSUMED) for row in server["rows"])


def test_fit_takes_the_flag_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for an architecture that is not in the table; the lock of the folder answers."""
    lock = (CASE / f"{CASE.name}.lock.yaml").read_text()
    lock = lock.replace("    remote_code: true\n", "").replace("model_type: unheard_of", "model_type: llama")
    (tmp_path / "stacks").mkdir()
    (tmp_path / "stacks" / "one.lock.yaml").write_text(lock.replace("UnheardOfForCausalLM", "LlamaForCausalLM"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(read, "FAMILIES", {})
    question = ["fit", "example/unheard-of", "--quantization", "none", "--gpu", "h100-80gb", "--format", "json"]
    refused = CliRunner().invoke(cli, question)
    assert (refused.exit_code, "`--assume full`" in refused.output) == (1, True)
    answered = CliRunner().invoke(cli, [*question, "--assume", "full"])
    assert (answered.exit_code, json.loads(answered.output)["verdict"]) == (0, "fits")
