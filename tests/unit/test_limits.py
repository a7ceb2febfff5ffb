"""Limits of a server against its model: images that are never cut, and batches that nobody asked for."""

from __future__ import annotations

from typing import Any

import pytest

from compiler.checkpoints.config import Config, ConfigError
from compiler.checkpoints.read import read_architecture
from compiler.checkpoints.whole_items import keeps_items_whole
from compiler.diagnostics import SourceText
from compiler.engines.interface.problem import Problem
from compiler.engines.registry import ENGINES
from compiler.engines.vllm.kernels.attention import attention_plan
from compiler.engines.vllm.kernels.backend import NoBackendError
from compiler.engines.vllm.memory.encoder_budget import whole_item
from compiler.engines.vllm.options.check import check_engine_args
from compiler.solve.budget import Server, Solution
from compiler.spec.reading.load import load_spec
from compiler.units import GIB
from tests.unit.test_gemma4 import GEMMA_4_26B
from tests.unit.test_hybrid import QWEN3_NEXT
from tests.unit.test_memory import QWEN3_8B
from tests.unit.test_memory_vision import GEMMA_3_27B
from tests.unit.test_solve_seats import solved

SPEC = """\
stack: x
engine: {{vllm: 0.33.0}}
nodes: {{n: {{gpus: {{model: l40s}}}}}}
services:
  it: {{model: a/b, task: {task}, context: 1K, port: 8000, engine_args: {{{arguments}}}}}
"""
QWEN3_5_VL = {
    "architectures": ["Qwen3_5ForConditionalGeneration"], "model_type": "qwen3_5", "dtype": "bfloat16",
    "text_config": {
        "model_type": "qwen3_5_text", "hidden_size": 1024, "intermediate_size": 3584, "num_hidden_layers": 24,
        "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 256, "vocab_size": 248320,
        "linear_num_key_heads": 16, "linear_num_value_heads": 16, "linear_key_head_dim": 128,
        "linear_value_head_dim": 128, "linear_conv_kernel_dim": 4, "full_attention_interval": 4,
        "max_position_embeddings": 262144,
    },
    "vision_config": {"out_hidden_size": 1024},
}  # fmt: skip
WHOLE = GEMMA_4_26B | {"text_config": GEMMA_4_26B["text_config"] | {"use_bidirectional_attention": "vision"}}
VIDEO = 32 * (70 + 2 + 6)  # gemma4_mm.py:get_mm_max_tokens_per_item


def server(config: dict[str, Any], memory: int = 62 * GIB, **keys: Any) -> Server:
    found = solved(memory, {"model": config}, **keys)
    assert isinstance(found, Solution), found
    return found.servers[0]


def problem(config: dict[str, Any], **keys: Any) -> Problem:
    found = solved(62 * GIB, {"model": config}, **keys)
    assert isinstance(found, tuple)
    return found[0]


@pytest.mark.parametrize(
    ("config", "whole"),
    [
        (GEMMA_3_27B, True),
        (GEMMA_3_27B | {"is_mm_prefix_lm": False}, False),
        (QWEN3_8B | {"is_mm_prefix_lm": True}, True),
        (GEMMA_4_26B, False),
        (WHOLE, True),
        ({"model_type": "gemma4_unified", "text_config": {}}, True),
        ({"model_type": "gemma4_unified", "text_config": {"use_bidirectional_attention": "all"}}, False),
        (QWEN3_8B, False),
    ],
)
def test_which_models_never_cut_an_image(config: dict[str, Any], *, whole: bool) -> None:
    assert keeps_items_whole(Config(config)) is whole


def test_a_model_of_text_has_no_images() -> None:
    assert not read_architecture(QWEN3_8B | {"is_mm_prefix_lm": True}).whole_items


def test_a_batch_holds_the_largest_video_that_is_not_cut() -> None:
    assert whole_item(read_architecture(WHOLE), 8192) == VIDEO
    assert server(WHOLE).demand.shape.max_num_batched_tokens == VIDEO
    assert server(GEMMA_4_26B).demand.shape.max_num_batched_tokens == 2048


def test_a_smaller_batch_is_refused_where_it_is_asked_for() -> None:
    found = problem(WHOLE, max_num_batched_tokens=2048)
    assert (found.code, found.path) == ("E0405", ("max_num_batched_tokens",))
    assert f"2048 of {VIDEO} tokens" in found.notes[0]
    for remedy in found.remedies:
        values = {str(edit.path[-1]): edit.value for edit in remedy.edits}
        assert server(WHOLE, **values).demand.shape.max_num_batched_tokens == VIDEO
    assert server(GEMMA_4_26B, max_num_batched_tokens=2048).units > 0


def test_a_batch_is_no_larger_than_all_sequences_are_long() -> None:
    """vLLM's trial runs share a batch's tokens among the sequences, none of which may be longer than the context."""
    assert server(QWEN3_8B, context="128", max_num_seqs=8).demand.shape.max_num_batched_tokens == 8 * 128
    assert server(QWEN3_8B, context="128", max_num_seqs=256).demand.shape.max_num_batched_tokens == 2048
    assert server(QWEN3_8B, context="128", max_num_seqs=8, max_num_batched_tokens=2048).demand.shape == (
        server(QWEN3_8B, context="128", max_num_seqs=8, max_num_batched_tokens="2K").demand.shape
    )


@pytest.mark.parametrize(
    ("capability", "kv", "names", "block"),
    [
        ((8, 6), "auto", ("TRITON_ATTN",), 16),
        ((8, 9), "fp8", ("TRITON_ATTN",), 16),
        ((9, 0), "auto", ("TRITON_FLASH_ATTN",), 16),
        ((9, 0), "fp8", ("TRITON_FLASH_ATTN",), 64),
        ((10, 0), "auto", ("TRITON_FLASHINFER",), 64),
        ((12, 0), "auto", ("TRITON_ATTN",), 16),
    ],
)
def test_attention_in_which_images_see_all_of_themselves(
    capability: tuple[int, int], kv: str, names: tuple[str, ...], block: int
) -> None:
    plan = attention_plan(read_architecture(WHOLE), capability=capability, served_dtype="bfloat16", kv_cache_dtype=kv)
    assert (plan.backends, plan.block_size) == (names, block)


def test_below_8_9_no_backend_reads_such_images_from_an_fp8_cache() -> None:
    def plan(config: dict[str, Any]) -> tuple[str, ...]:
        architecture = read_architecture(config)
        return attention_plan(architecture, capability=(8, 6), served_dtype="bfloat16", kv_cache_dtype="fp8").backends

    assert plan(GEMMA_3_27B | {"is_mm_prefix_lm": False}) == ("FLASHINFER",)
    with pytest.raises(NoBackendError, match=r"images are not cut needs compute capability 8\.9"):
        plan(GEMMA_3_27B)


def test_a_threshold_above_the_context_that_the_model_has() -> None:
    config = QWEN3_8B | {"max_position_embeddings": 1024}
    found = problem(config, context="max", engine_args={"long-prefill-token-threshold": "2k"})
    assert (found.code, found.path) == ("E0405", ("engine_args", "long-prefill-token-threshold"))
    assert found.notes == ("2000 − 1024 = 976 tokens",)
    assert server(config, context="max", engine_args={"long-prefill-token-threshold": 1024}).units > 0


def test_a_head_of_an_unknown_dtype() -> None:
    assert read_architecture(QWEN3_8B | {"head_dtype": "Float32"}).num_layers == 36
    with pytest.raises(ConfigError, match="head_dtype"):
        read_architecture(QWEN3_8B | {"head_dtype": "float64"})


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "nvfp4", "fp8_e5m2"])
def test_a_cache_is_kept_as_the_model_is_served_or_in_8_bits(dtype: str) -> None:
    for word, expected in (("fp8", []), (dtype, ["E0203"])):
        text = SPEC.format(task="chat", arguments="").replace("port:", f"kv_cache_dtype: {word}, port:")
        _, found = load_spec(SourceText("x.yaml", text), ENGINES)
        assert [each.code for each in found] == expected


def test_images_that_are_not_cut_beside_states_at_boundaries() -> None:
    config = QWEN3_5_VL | {"is_mm_prefix_lm": True}
    found = problem(config)
    assert found.code == "E0308"
    assert "images are never cut" in found.message
    assert server(config, engine_args={"enable-prefix-caching": False}).units > 0
    assert server(QWEN3_5_VL).units > 0


def test_text_that_was_cut_out_of_a_model_for_images() -> None:
    section = {"rope_scaling": {"rope_type": "default", "mrope_section": [16, 24, 24]}}
    found = problem(QWEN3_8B | section)
    assert found.code == "E0308"
    assert "`mrope_section`" in found.message
    nested = {"rope_parameters": {"full_attention": section["rope_scaling"]}}
    assert problem(QWEN3_8B | nested).code == "E0308"
    text = QWEN3_5_VL["text_config"] | section
    assert server(QWEN3_5_VL | {"text_config": text}).units > 0


def test_chunks_of_a_model_that_has_none() -> None:
    assert read_architecture(QWEN3_8B | {"attention_chunk_size": 8192}).num_layers == 36
    for config in (QWEN3_NEXT, GEMMA_4_26B["text_config"] | {"architectures": ["Gemma4ForCausalLM"]}):
        with pytest.raises(ConfigError, match="which has no chunks"):
            read_architecture(config | {"attention_chunk_size": 8192})
        assert read_architecture(config | {"attention_chunk_size": None}).num_layers > 0


def test_forced_prefix_caching_of_texts_for_embeddings() -> None:
    """A model that caches nothing would end with `requires at least one cacheable group`."""
    assert codes("embed", "enable-prefix-caching: true") == ["E0503"]
    assert codes("embed", "enable-prefix-caching: false") == []
    assert codes("chat", "enable-prefix-caching: true") == []


def test_a_policy_that_is_none() -> None:
    assert codes("chat", "scheduling-policy: shortest") == ["E0503"]
    assert codes("chat", "scheduling-policy: priority") == []


def codes(task: str, arguments: str) -> list[str]:
    text = SPEC.format(task=task, arguments=arguments)
    file, _ = load_spec(SourceText("x.yaml", text), ENGINES)
    assert file is not None
    return [found.code for found in check_engine_args(file, "it")]


def test_a_draft_that_would_have_another_model_served() -> None:
    found = problem(QWEN3_8B | {"speculators_config": {"verifier": {"name_or_path": "a/other"}}})
    assert found.code == "E0308"
    assert "speculators_config" in found.message


def test_a_numa_node_is_that_of_one_gpu() -> None:
    bound = {"numa-bind": True, "numa-bind-nodes": 0}
    assert server(QWEN3_8B, engine_args=bound).demand.division.gpus == 1
    found = solved(62 * GIB, {"model": QWEN3_8B}, count=2, tensor_parallel_size=2, engine_args=bound)
    assert isinstance(found, tuple)
    assert found[0].code == "E0404"
    assert "bind one GPU" in found[0].notes[0]
    both = solved(62 * GIB, {"model": QWEN3_8B}, count=2, tensor_parallel_size=2, engine_args={"numa-bind": True})
    assert isinstance(both, Solution)
