"""Bytes and blocks of drafts against vLLM's own: it built each pair on torch's meta device, posing as an H100.

Answers of vLLM 0.33.0 for a KV cache of 16 GiB at 8192 tokens. EAGLE-3 heads are those of SpecForge's configs.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from compiler.checkpoints.architecture import Architecture
from compiler.checkpoints.checkpoint import Checkpoint
from compiler.checkpoints.config import Config, ConfigError, UnsupportedArchitectureError
from compiler.checkpoints.families.dense.eagle3 import contradictions, read_eagle3
from compiler.checkpoints.parameters.ranks import Parallelism
from compiler.checkpoints.read import read_architecture
from compiler.engines.vllm.drafter import Drafter, Head, with_caches
from compiler.engines.vllm.kv_cache.layout import rank_kv_layout
from compiler.engines.vllm.memory.graphs import capture_sizes
from compiler.engines.vllm.memory.shape import ServerShape
from compiler.engines.vllm.memory.speculation.drafting import draft_weights_row, dropped_bytes
from compiler.lock.models import TensorKind
from compiler.registry.facts import Unplannable, checkpoint_of
from compiler.units import GIB


def architecture_of(repository: str) -> Architecture:
    known = checkpoint_of(repository)
    assert known is not None
    assert not isinstance(known, Unplannable)
    return read_architecture(known.config)


def head_config(model: str, **changes: Any) -> dict[str, Any]:
    known = checkpoint_of(model)
    assert known is not None
    assert not isinstance(known, Unplannable)
    keys = ("hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads", "head_dim", "vocab_size")
    sizes = {key: known.config[key] for key in keys if key in known.config}
    plain = {
        "architectures": ["LlamaForCausalLMEagle3"], "model_type": "llama", "num_hidden_layers": 1,
        "draft_vocab_size": 32000, "max_position_embeddings": 2048, "torch_dtype": "bfloat16", "hidden_act": "silu",
    }  # fmt: skip
    return {**plain, **sizes, **changes}


def shape(ranks: int = 1) -> ServerShape:
    return ServerShape(ranks, 8192, 64, 8192, "bfloat16", (9, 0), draft_tokens=3)


def eagle3(model: str, **changes: Any) -> Drafter:
    head = read_eagle3(Config(head_config(model, **changes)))
    checkpoint = Checkpoint(head.architecture, None, None)
    return Drafter("eagle3", 3, "a/head", checkpoint, Head(head.states, has_embeddings=None, has_head=None))


def blocks(model: Architecture, ranks: int, block_size: int = 16) -> int:
    layout = rank_kv_layout(
        model, Parallelism(ranks), dtype="bfloat16", block_size=block_size, max_num_batched_tokens=8192
    )
    return 16 * GIB // layout.bytes_per_block


@pytest.mark.parametrize(
    ("model", "ranks", "kept", "loaded", "with_draft", "without"),
    [
        ("Qwen/Qwen3-8B", 1, 799_303_680, 2_043_963_392, 7084, 7281),
        ("meta-llama/Llama-3.1-8B-Instruct", 1, 849_635_328, 1_900_308_480, 7943, 8192),
        ("Qwen/Qwen3-32B", 1, 1_565_296_640, 3_121_121_280, 4032, 4096),
        ("meta-llama/Llama-3.3-70B-Instruct", 4, 1_003_808_768, 1_529_145_344, 12945, 13107),
        ("microsoft/phi-4", 1, 1_245_480_960, 2_273_085_440, 5115, 5242),
    ],
)
def test_a_head_takes_what_the_engine_says(
    model: str, ranks: int, kept: int, loaded: int, *, with_draft: int, without: int
) -> None:
    drafter, whole = eagle3(model), architecture_of(model)
    assert drafter.checkpoint is not None
    row = draft_weights_row(drafter, shape(ranks))
    assert row is not None
    # Embeddings are shared unless the head's own differ, which no header says here.
    assert (row.bytes.low, row.bytes.expected) == (kept, kept)
    assert row.bytes.low + dropped_bytes(drafter, shape(ranks)) == loaded == row.bytes.high
    assert blocks(with_caches(whole, drafter.checkpoint.architecture), ranks) == with_draft
    assert blocks(whole, ranks) == without


@pytest.mark.parametrize(
    ("model", "draft", "ranks", "kept", "with_draft", "without"),
    [
        ("Qwen/Qwen3-32B", "Qwen/Qwen3-0.6B", 1, 1_192_099_840, 2849, 4096),
        ("Qwen/Qwen3-32B", "Qwen/Qwen3-0.6B", 2, 596_115_456, 5698, 8192),
        ("Qwen/Qwen2.5-32B-Instruct", "Qwen/Qwen2.5-7B-Instruct", 1, 15_231_233_024, 3360, 4096),
        ("meta-llama/Llama-3.3-70B-Instruct", "meta-llama/Llama-3.2-1B-Instruct", 4, 618_008_576, 11915, 13107),
        ("meta-llama/Llama-3.3-70B-Instruct", "meta-llama/Llama-3.2-3B-Instruct", 4, 1_606_637_568, 9709, 13107),
    ],
)
def test_a_smaller_model_takes_what_the_engine_says(
    model: str, draft: str, ranks: int, kept: int, *, with_draft: int, without: int
) -> None:
    whole, small = architecture_of(model), architecture_of(draft)
    row = draft_weights_row(Drafter("draft", 3, draft, Checkpoint(small, None, None)), shape(ranks))
    assert row is not None
    assert row.bytes.low == row.bytes.high == kept
    assert blocks(with_caches(whole, small), ranks) == with_draft
    assert blocks(whole, ranks) == without


@pytest.mark.parametrize(("tokens", "sizes"), [(0, 51), (1, 51), (2, 60), (3, 51), (4, 57), (7, 51)])
def test_graphs_are_captured_for_multiples_of_a_step(tokens: int, sizes: int) -> None:
    assert len(capture_sizes(1024, 8192, draft_tokens=tokens)) == sizes


def test_a_head_that_holds_what_it_shares_keeps_it() -> None:
    """Embeddings of its own may differ from the model's, and then stay; without an output head it takes the model's."""
    drafter = eagle3("Qwen/Qwen3-8B")
    table = 151936 * 4096 * 2
    for holds, more in ((False, 0), (True, table)):
        known = replace(drafter, head=Head(3, has_embeddings=holds, has_head=True))
        row = draft_weights_row(known, shape())
        assert row is not None
        assert row.bytes.high - row.bytes.low == more
    borrowed = replace(drafter, head=Head(3, has_embeddings=False, has_head=False))
    row = draft_weights_row(borrowed, shape())
    assert row is not None
    assert row.bytes.high == 799_303_680 - 32000 * 4096 * 2


def test_what_a_head_leaves_open_is_refused() -> None:
    for changes in ({"layer_types": ["sliding_attention"]}, {"eagle_config": {"use_aux_hidden_state": False}}):
        with pytest.raises(ConfigError):
            read_eagle3(Config(head_config("Qwen/Qwen3-8B", **changes)))
    with pytest.raises(UnsupportedArchitectureError):
        read_eagle3(Config(head_config("Qwen/Qwen3-8B", architectures=["Eagle3Qwen3ForCausalLM"])))


def test_matrices_of_another_shape_are_told() -> None:
    head = read_eagle3(Config(head_config("Qwen/Qwen3-8B")))
    right = TensorKind(name="midlayer.self_attn.q_proj.weight", dtype="BF16", shape=(4096, 8192), count=1)
    wrong = TensorKind(name="fc.weight", dtype="BF16", shape=(4096, 8192), count=1)
    assert list(contradictions(head, (right,))) == []
    assert list(contradictions(head, (right, wrong))) == [
        "`fc.weight` is [4096, 8192], and config.json implies [4096, 12288]"
    ]
