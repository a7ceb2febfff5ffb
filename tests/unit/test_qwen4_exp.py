"""Qwen4-Exp: figures are those of vLLM 0.33.0 for the same config, built on torch's meta device."""

from __future__ import annotations

import json
from typing import Any

import pytest

from compiler.checkpoints.checkpoint import Checkpoint
from compiler.checkpoints.config import ConfigError
from compiler.checkpoints.parameters.headers import check_headers
from compiler.checkpoints.parameters.ranks import Parallelism, SplitError
from compiler.checkpoints.parameters.tensors import expected_tensors
from compiler.checkpoints.parameters.weights import rank_weights
from compiler.checkpoints.quantization.formats import UnknownLayoutError
from compiler.checkpoints.quantization.read import read_quantization
from compiler.checkpoints.read import read_architecture
from compiler.engines.vllm.judge.division import check_split
from compiler.engines.vllm.judge.support import why_not_attended
from compiler.engines.vllm.kernels.attention import attention_plan
from compiler.engines.vllm.kernels.backend import NoBackendError
from compiler.engines.vllm.kv_cache.blocks import CacheKind, KvLayout
from compiler.engines.vllm.kv_cache.layout import rank_kv_layout
from compiler.engines.vllm.launch import _ngram_arguments
from compiler.engines.vllm.memory.activation import activation_peak
from compiler.engines.vllm.memory.attention.pooled_keys import (
    TABLES_ON_GPU,
    builder_bytes,
    first_scores_bytes,
    has_ngram_tables,
    mixed_streams_bytes,
    token_tables_bytes,
)
from compiler.engines.vllm.memory.attention.stages import profiled_attention
from compiler.engines.vllm.memory.rows import fixed_rows
from compiler.engines.vllm.memory.shape import ServerShape
from compiler.engines.vllm.releases import RELEASES
from compiler.lock.models import TensorKind
from compiler.solve.budget import Solution
from compiler.units import GIB
from tests.unit.test_solve_seats import solved

RELEASE = RELEASES["0.33.0"]
SMALL: dict[str, Any] = {
    "architectures": ["Qwen4ExpForCausalLM"], "model_type": "qwen4_exp_text", "torch_dtype": "bfloat16",
    "hidden_size": 256, "num_hidden_layers": 8, "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 256,
    "vocab_size": 1000, "max_position_embeddings": 4096, "hidden_act": "silu", "eos_token_id": 3,
    "moe_intermediate_size": 128, "shared_expert_intermediate_size": 128, "num_experts": 8, "num_experts_per_tok": 2,
    "linear_num_key_heads": 4, "linear_num_value_heads": 8, "hc_count": 4, "hc_lowrank": 32,
    "ple_layer_ids": [2, 5], "ple_embed_dim": 256, "ngram_vocab_size_base": 1000, "heads_per_ngram": 4,
    "indexer_n_heads": 4, "indexer_kv_heads": 1, "indexer_head_dim": 128, "indexer_budget": 256,
    "indexer_compress_ratio": 4, "mamba_ssm_dtype": "float32", "output_gate_type": "silu",
    "rope_parameters": {
        "rope_type": "default", "rope_theta": 1e7, "partial_rotary_factor": 0.25, "mrope_section": [11, 11, 10],
        "mrope_interleaved": True,
    },
}  # fmt: skip
LARGE = SMALL | {
    "num_hidden_layers": 40, "hidden_size": 2048, "ple_layer_ids": [2, 10], "linear_num_key_heads": 16,
    "linear_num_value_heads": 32,
}  # fmt: skip
PLAIN = SMALL | {"ple_layer_ids": []}
_LINEAR, _PICKED = "linear_attention", "full_attention"
UNEVEN = SMALL | {
    "num_hidden_layers": 10, "ple_layer_ids": [2], "layer_types": [_LINEAR, _LINEAR, _PICKED] * 3 + [_LINEAR],
}  # fmt: skip
SEEING: dict[str, Any] = {
    "architectures": ["Qwen4ExpForConditionalGeneration"], "model_type": "qwen4_exp", "text_config": SMALL,
    "vision_config": {
        "depth": 2, "hidden_size": 64, "intermediate_size": 128, "num_heads": 4, "out_hidden_size": 256,
        "deepstack_visual_indexes": [],
    },
}  # fmt: skip


def layout_of(config: dict[str, Any], ranks: int = 1, *, dtype: str = "bfloat16", **keys: Any) -> KvLayout:
    return rank_kv_layout(
        read_architecture(config), Parallelism(ranks), dtype=dtype, block_size=16, max_num_batched_tokens=2048, **keys
    )


@pytest.mark.parametrize(
    ("config", "ranks", "size"),
    [
        (SMALL, 1, 41_188_128), (SMALL, 2, 23_005_840), (SMALL, 4, 14_176_840), (PLAIN, 1, 38_759_200),
        (UNEVEN, 1, 50_294_352), (SEEING, 1, 42_077_088), (LARGE, 1, 3_038_072_960),
    ],
)  # fmt: skip
def test_weights_equal_the_engine_s(config: dict[str, Any], ranks: int, size: int) -> None:
    architecture = read_architecture(config)
    check_split(architecture, None, Parallelism(ranks))
    assert rank_weights(architecture, None, Parallelism(ranks), served_dtype="bfloat16") == size


@pytest.mark.parametrize(
    ("config", "ranks", "keys", "planned"),
    [
        (SMALL, 1, {}, (320, 794, 125_085)),
        (SMALL, 2, {}, (320, 1542, 242_924)),
        (SMALL, 4, {}, (192, 2570, 300_763)),
        (SMALL, 1, {"prefix_caching": False}, (272, 934, 182_174)),
        (SMALL, 1, {"dtype": "fp8", "served_dtype": "bfloat16"}, (576, 856, 166_960)),
        (SMALL, 1, {"compute_capability": (8, 0)}, (272, 934, 153_026)),
        (PLAIN, 1, {}, (320, 794, 141_401)),
        (UNEVEN, 1, {}, (320, 529, 83_337)),
        (SEEING, 1, {}, (320, 794, 125_085)),
        (LARGE, 1, {}, (1088, 46, 11_083)),
        (LARGE, 1, {"prefix_caching": False}, (1056, 48, 21_845)),
    ],
)
def test_rings_and_pooled_keys_lie_beside_pages(
    config: dict[str, Any], ranks: int, keys: dict[str, Any], planned: tuple[int, int, int]
) -> None:
    """`planned`: tokens of a block, blocks in a gibibyte, and tokens that they hold of requests of 4096."""
    layout = layout_of(config, ranks, **keys)
    blocks = GIB // layout.bytes_per_block
    assert (layout.block_size, blocks, layout.capacity_tokens(blocks, 4096)) == planned


def test_a_request_has_one_block_of_raw_keys_whatever_its_length() -> None:
    (ring,) = (group for group in layout_of(SEEING).groups if group.spec.kind is CacheKind.RING)
    assert (ring.layers, ring.page_bytes, ring.spec.block_size) == (2, 2 * 4 * (128 + 12) * 2, 4)
    assert [ring.spec.blocks_per_request(length, 2048) for length in (1, 4096)] == [1, 1]
    assert ring.spec.table_columns(4096) == 1


def shape(**keys: Any) -> ServerShape:
    given: dict[str, Any] = {
        "max_model_len": 4096, "max_num_seqs": 4, "max_num_batched_tokens": 2048, "served_dtype": "bfloat16",
        "compute_capability": (9, 0), "tensor_parallel_size": 1,
    }  # fmt: skip
    return ServerShape(**{**given, **keys})


def test_a_ledger_holds_all_of_it() -> None:
    architecture, layout = read_architecture(SMALL), layout_of(SMALL)
    rows = {row.title: row.bytes for row in fixed_rows(RELEASE, Checkpoint(architecture, None, None), shape(), layout)}
    picked = token_tables_bytes(architecture, max_num_batched_tokens=2048)
    assert picked == 2 * 2048 * 260 * 4
    assert rows["sampler state, rotary tables and rounding"].low >= picked
    late = rows["allocated after KV sizing"]
    assert late.high >= first_scores_bytes(architecture, shape(), layout.block_size) >= 512 << 20
    assert late.low >= builder_bytes(architecture, shape()) >= 2 * 24 * 2048


def test_scores_of_many_long_requests_outgrow_a_chunk() -> None:
    many = shape(max_model_len=1 << 20, max_num_seqs=1024)
    assert first_scores_bytes(read_architecture(SMALL), many, 320) > 1024 * (1 << 18) * 4


def test_every_rank_mixes_whole_streams() -> None:
    architecture, two = read_architecture(LARGE), shape(tensor_parallel_size=2)
    assert RELEASE.gpu is not None
    mixed = mixed_streams_bytes(architecture, two)
    assert mixed == 4 * 2048 * 4 * 2048 * 2
    attention = profiled_attention(architecture, two)
    assert activation_peak(RELEASE.gpu, architecture, two, attention).expected >= mixed


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hc_count": 1}, "hc_count"),
        ({"output_gate_type": None}, "output_gate_type"),
        ({"indexer_budget": None}, "indexer_budget"),
        ({"indexer_budget": 258}, "indexer_budget"),
        ({"indexer_compress_ratio": 32}, "indexer_compress_ratio"),
        ({"indexer_kv_heads": 2}, "indexer_kv_heads"),
        ({"head_dim": 192}, "head_dim"),
        ({"ple_layer_ids": [4]}, "ple_layer_ids"),
        ({"ple_layer_ids": [9]}, "ple_layer_ids"),
        ({"ple_embed_dim": 100}, "ple_embed_dim"),
        ({"eos_token_id": [3]}, "eos_token_id"),
        ({"ngram_size": 1}, "ngram_size"),
        ({"layer_types": ["linear_attention"] * 8}, "layer_types"),
        ({"layer_types": ["sliding_attention"] * 8}, "layer_types"),
        ({"tie_word_embeddings": True}, "tie_word_embeddings"),
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"is_causal": False}, "is_causal"),
        ({"dual_chunk_attention_config": {}}, "dual_chunk_attention_config"),
    ],
)
def test_what_its_class_refuses_is_named(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read_architecture(SMALL | changes)


def test_a_tower_without_levels_is_refused_as_its_class_looks_them_up() -> None:
    tower = {key: value for key, value in SEEING["vision_config"].items() if key != "deepstack_visual_indexes"}
    with pytest.raises(ConfigError, match="deepstack_visual_indexes"):
        read_architecture(SEEING | {"vision_config": tower})


def test_n_grams_are_not_split_over_stages() -> None:
    check_split(read_architecture(PLAIN), None, Parallelism(1, 2))
    with pytest.raises(SplitError, match="pipeline stages"):
        check_split(read_architecture(SMALL), None, Parallelism(1, 2))


@pytest.mark.parametrize(("changes", "ranks"), [({}, 3), ({"num_key_value_heads": 4}, 16)])
def test_heads_divide_by_ranks(changes: dict[str, Any], ranks: int) -> None:
    with pytest.raises(SplitError, match="heads do not divide"):
        check_split(read_architecture(SMALL | changes), None, Parallelism(ranks))


def test_what_a_quantizer_makes_of_it_is_not_known() -> None:
    with pytest.raises(UnknownLayoutError, match="qwen4_exp_text"):
        read_quantization("fp8", {"quant_method": "fp8"}, SMALL)


def test_it_has_kernels_for_bfloat16_on_gpus_alone() -> None:
    architecture = read_architecture(SMALL)
    plan = attention_plan(architecture, capability=(8, 0), served_dtype="bfloat16")
    assert (plan.backends, plan.block_size) == (("QWEN4_EXP_QSA_TRITON",), 16)
    for capability, dtype, flag in (((7, 5), "float32", "auto"), ((9, 0), "bfloat16", "fp8_e5m2")):
        with pytest.raises(NoBackendError, match="Qwen4-Exp"):
            attention_plan(architecture, capability=capability, served_dtype=dtype, kv_cache_dtype=flag)
    assert "CPU" in str(why_not_attended(architecture, None, None))


def test_shards_of_a_table_are_its_table() -> None:
    architecture = read_architecture(SMALL)
    kinds: list[TensorKind] = []
    for kind in expected_tensors(architecture, None):
        if "ngram_embedding" not in kind.name:
            kinds.append(kind)
            continue
        rows = kind.shape[0] // 2
        names = (kind.name.replace("ngram_embedding.", f"ngram_embedding.shard_{part}.") for part in range(2))
        kinds += [kind.model_copy(update={"name": name, "shape": (rows, kind.shape[1])}) for name in names]
    check_headers(architecture, None, kinds)


def test_its_tables_are_kept_where_they_are_counted() -> None:
    architecture = read_architecture(SMALL)
    assert has_ngram_tables(architecture)
    assert not has_ngram_tables(read_architecture(PLAIN))
    assert json.loads(TABLES_ON_GPU) == {"cpu_offload": False}
    tables = rank_weights(architecture, None, Parallelism(), served_dtype="bfloat16")
    wider = read_architecture(SMALL | {"make_ngram_vocab_size_divisible_by": 8192})
    more = rank_weights(wider, None, Parallelism(), served_dtype="bfloat16") - tables
    assert more == (2 * 16384 - 8320 - 8704) * 32 * 2


def test_the_launcher_says_so() -> None:
    server = {"model": SMALL}
    found = solved(40 * GIB, server, context="2K")
    assert isinstance(found, Solution), found
    (one,) = found.servers
    (argument,) = _ngram_arguments(one.demand.variant)
    assert (argument.flag, argument.value) == ("--engram-config", TABLES_ON_GPU)
