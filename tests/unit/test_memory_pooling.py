"""Models for scores that vLLM does not make from a generating one: they have a class, and tensors, of their own."""

from __future__ import annotations

from typing import Any

import pytest

from compiler.checkpoints.checkpoint import Checkpoint
from compiler.checkpoints.config import UnsupportedArchitectureError
from compiler.checkpoints.families.dense import pooling
from compiler.checkpoints.parameters.ranks import Parallelism
from compiler.checkpoints.parameters.weights import rank_weights
from compiler.checkpoints.read import read_architecture
from compiler.engines.vllm.kv_cache.layout import rank_kv_layout
from compiler.engines.vllm.memory.rows import fixed_rows
from compiler.engines.vllm.memory.shape import ServerShape
from compiler.engines.vllm.releases import RELEASES
from compiler.engines.vllm.releases.architectures import load_registry
from compiler.ledger import RowKind

JAMBA: dict[str, Any] = {
    "architectures": ["JambaForSequenceClassification"], "model_type": "jamba", "hidden_size": 4096,
    "intermediate_size": 14336, "num_hidden_layers": 8, "num_attention_heads": 32, "num_key_value_heads": 8,
    "mamba_d_state": 16, "mamba_d_conv": 4, "mamba_expand": 2, "mamba_dt_rank": 256, "attn_layer_period": 8,
    "attn_layer_offset": 4, "expert_layer_period": 2, "expert_layer_offset": 1, "num_experts": 4,
    "num_experts_per_tok": 2, "num_labels": 3, "vocab_size": 65536, "max_position_embeddings": 262144,
    "torch_dtype": "bfloat16",
}  # fmt: skip
GPT2: dict[str, Any] = {
    "architectures": ["GPT2ForSequenceClassification"], "model_type": "gpt2", "n_embd": 768, "n_layer": 12,
    "n_head": 12, "n_positions": 1024, "vocab_size": 50257, "torch_dtype": "bfloat16", "num_labels": 3,
}  # fmt: skip
BERT: dict[str, Any] = {
    "architectures": ["BertModel"], "model_type": "bert", "hidden_size": 384, "num_hidden_layers": 4,
    "num_attention_heads": 12, "intermediate_size": 1536, "vocab_size": 30522, "max_position_embeddings": 512,
    "type_vocab_size": 2, "torch_dtype": "bfloat16",
}  # fmt: skip


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        # the output head stays, although nothing asks it
        (JAMBA, {1: 9680531392, 2: 4840427456}),
        (JAMBA | {"score_bias": True}, {1: 9680531404, 2: 4840427468}),
        (GPT2, {1: 248961024, 2: 125328384}),
    ],
    ids=["jamba", "jamba with a bias", "gpt2"],
)
def test_weights_are_those_that_vllm_builds(config: dict[str, Any], expected: dict[int, int]) -> None:
    architecture = read_architecture(config)
    assert architecture.pooling
    for ranks, size in expected.items():
        assert rank_weights(architecture, None, Parallelism(ranks), served_dtype="bfloat16") == size


def test_an_own_class_that_nobody_described_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted as a converted model, its server could be a whole output head larger than the plan."""
    monkeypatch.setattr(pooling, "_OWN_CLASSES", {})
    with pytest.raises(UnsupportedArchitectureError):
        read_architecture(JAMBA, load_registry("0.33.0").classes)


def test_a_model_that_caches_nothing_has_sizes_all_the_same() -> None:
    architecture = read_architecture(BERT)
    layout = rank_kv_layout(architecture, Parallelism(), dtype="bfloat16", block_size=16, max_num_batched_tokens=8192)
    assert (layout.bytes_per_block, layout.blocks_per_request(512)) == (0, 0)
    assert (layout.max_concurrency(1, 512), layout.capacity_tokens(1, 512)) == (0, 0)
    assert layout.max_length(1, limit=512) == 512
    shape = ServerShape(1, 512, 64, 8192, "bfloat16", (9, 0))
    rows = fixed_rows(RELEASES["0.33.0"], Checkpoint(architecture, None, None), shape, layout)
    assert any(row.kind is RowKind.WEIGHTS and row.bytes.high for row in rows)
