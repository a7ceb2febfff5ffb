"""Memory beside weights and KV cache, against what real start-ups printed (H100, vLLM 0.19.0, unless said otherwise).

Figures are GiB as vLLM's own log lines print them, so that 0.005 is the best that can be asked.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from compiler.catalog.hardware.gpus import GPUS
from compiler.catalog.hardware.multiprocessors import MULTIPROCESSORS
from compiler.checkpoints.architecture import Architecture, Cache, Experts, LatentCache, Layer, Linear, Split
from compiler.checkpoints.parameters.ranks import Parallelism
from compiler.checkpoints.parameters.weights import rank_weights
from compiler.checkpoints.read import read_architecture
from compiler.engines.vllm.memory.activation import activation_peak
from compiler.engines.vllm.memory.allocator import weights_rounding
from compiler.engines.vllm.memory.attention.stages import latent_context, profiled_attention
from compiler.engines.vllm.memory.context import context_memory
from compiler.engines.vllm.memory.encoder_budget import EncoderMemory
from compiler.engines.vllm.memory.experts import expert_workspaces
from compiler.engines.vllm.memory.graphs import capture_limit, graph_memory, graph_overhead
from compiler.engines.vllm.memory.growth import non_torch_growth
from compiler.engines.vllm.memory.rotary_bytes import rotary_tables
from compiler.engines.vllm.memory.shape import ServerShape, processors
from compiler.engines.vllm.releases.history import GPU_0_19, overheads_of
from compiler.engines.vllm.releases.overheads import GpuOverheads
from compiler.engines.vllm.releases.v0_33_0 import GPU as GPU_0_33
from compiler.units import GIB, ByteRange
from tests.unit.test_memory import LLAMA_8B, QWEN3_8B

HOPPER, ADA, TURING = (9, 0), (8, 9), (7, 5)
QWEN_7B = LLAMA_8B | {
    "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": 3584, "intermediate_size": 18944,
    "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152064,
    "max_position_embeddings": 32768, "rope_scaling": None,
}  # fmt: skip
QWEN3_4B = QWEN3_8B | {
    "hidden_size": 2560, "intermediate_size": 9728, "num_hidden_layers": 36, "tie_word_embeddings": True,
}  # fmt: skip


def shape_of(ranks: int = 1, sequences: int = 1024, tokens: int = 8192, **more: Any) -> ServerShape:
    return ServerShape(ranks, 8192, sequences, tokens, "bfloat16", more.pop("capability", HOPPER), **more)


def gib(size: int) -> float:
    return size / GIB


@pytest.mark.parametrize(
    ("config", "shape", "measured"),
    [
        (LLAMA_8B, shape_of(), 1.89),
        (LLAMA_8B, shape_of(ranks=4), 1.89),
        (LLAMA_8B, shape_of(pipeline_parallel_size=2, stage=1), 2.01),
        (QWEN_7B, shape_of(), 2.21),
        (QWEN3_8B, shape_of(), 2.21),
    ],
)
def test_activation_is_what_the_sampler_takes_of_many_sequences(
    config: dict[str, Any], shape: ServerShape, measured: float
) -> None:
    peak = peak_of(GPU_0_19, read_architecture(config), shape)
    assert gib(peak.expected) == pytest.approx(measured, abs=0.015)
    assert gib(peak.low) - 0.005 <= measured <= gib(peak.high)


def test_releases_that_sorted_the_logits_took_two_and_a_half_times_as_much() -> None:
    # Qwen3-14B at 0.16.0 and 0.17.0, Qwen3-8B in FP8 on an L4 at 0.10.2.
    wide = read_architecture(QWEN3_8B | {"hidden_size": 5120, "num_attention_heads": 40})
    assert gib(peak_of(_known("0.16.0"), wide, shape_of()).expected) == pytest.approx(5.64, abs=0.01)
    assert gib(peak_of(_known("0.17.0"), wide, shape_of()).expected) == pytest.approx(2.23, abs=0.01)
    small = shape_of(sequences=224, tokens=2048, capability=ADA)
    assert gib(peak_of(_known("0.10.2"), read_architecture(QWEN3_8B), small).expected) == pytest.approx(1.23, abs=0.01)


def peak_of(overheads: GpuOverheads, architecture: Architecture, shape: ServerShape, **keys: Any) -> ByteRange:
    return activation_peak(overheads, architecture, shape, profiled_attention(architecture, shape), **keys)


def _known(version: str) -> GpuOverheads:
    overheads = overheads_of(version)
    assert overheads is not None
    return overheads


def test_one_sequence_leaves_the_forward_pass() -> None:
    # Qwen2.5-3B on an RTX 3090 at 0.10.2.
    config = QWEN_7B | {"hidden_size": 2048, "intermediate_size": 11008, "num_attention_heads": 16}
    shape = shape_of(sequences=1, tokens=2048, capability=(8, 6))
    peak = peak_of(_known("0.10.2"), read_architecture(config), shape)
    assert gib(peak.expected) == pytest.approx(0.17, abs=0.01)


def with_layer(*modules: Experts | Linear, caches: tuple[Cache, ...] = (), **numbers: int) -> Architecture:
    base = read_architecture(QWEN3_8B)
    layers = (Layer(tuple(modules), caches or base.layers[0].caches),) * 4
    return replace(base, **{"layers": layers} | numbers)  # type: ignore[arg-type]


def test_workspaces_of_experts_stay_allocated() -> None:
    # Qwen3-30B-A3B: 2.68 GiB, half a GiB more than the sampler takes.
    experts = Experts("mlp.experts", 128, 2048, 768, top_k=8)
    architecture = with_layer(experts, hidden_size=2048, intermediate_size=6144)
    assert gib(expert_workspaces(architecture, shape_of())) == 0.5
    peak = peak_of(GPU_0_19, architecture, shape_of())
    assert gib(peak.expected) == pytest.approx(2.68, abs=0.01)
    inside_the_kernel = peak_of(GPU_0_19, architecture, shape_of(), experts_keep=False)
    assert peak.expected - inside_the_kernel.expected == GIB // 2
    assert inside_the_kernel.high == peak.high


def test_context_of_mla_is_decompressed_in_one_go() -> None:
    # DeepSeek-V3 at TP 1: 65536 tokens × 128 heads × (128 + 128) × 2 bytes.
    projection = Linear("self_attn.kv_b_proj", 128 * 256, 512, Split.OUTPUTS)
    architecture = with_layer(projection, caches=(LatentCache(576),))
    assert latent_context(architecture, shape_of()) == 4 * GIB
    assert latent_context(architecture, shape_of(ranks=8)) == GIB // 2


def test_an_encoder_that_peaks_higher_than_the_language_model_decides() -> None:
    architecture = read_architecture(LLAMA_8B)
    alone = peak_of(GPU_0_33, architecture, shape_of())
    held = peak_of(GPU_0_33, architecture, shape_of(), encoder=_towers(tower=0, outputs=GIB))
    assert held.expected - alone.expected == GIB
    large = peak_of(GPU_0_33, architecture, shape_of(), encoder=_towers(tower=90 * GIB, outputs=0))
    assert large.expected == 90 * GIB


def _towers(tower: int, outputs: int) -> EncoderMemory:
    return EncoderMemory(ByteRange.exact(tower), ByteRange.exact(outputs), 0, "a test")


@pytest.mark.parametrize(
    ("config", "ranks", "measured"),
    [(QWEN_7B, 1, 14.2487), (QWEN_7B, 2, 7.12), (QWEN_7B, 4, 3.55), (QWEN3_4B, 1, 7.5552), (LLAMA_8B, 1, 14.99)],
)
def test_what_loading_took_is_parameters_rotary_tables_and_rounding(
    config: dict[str, Any], ranks: int, measured: float
) -> None:
    architecture, shape = read_architecture(config), shape_of(ranks=ranks)
    parameters = rank_weights(architecture, None, Parallelism(ranks), served_dtype="bfloat16")
    rounding = weights_rounding(
        architecture, None, Parallelism(ranks), served_dtype="bfloat16", largest_split=GPU_0_19.rules.largest_split
    )
    loaded = parameters + rotary_tables(GPU_0_19, architecture, shape) + rounding.expected
    assert gib(loaded) == pytest.approx(measured, abs=0.006)


QWEN_1_5B = QWEN_7B | {
    "hidden_size": 1536, "intermediate_size": 8960, "num_attention_heads": 12, "num_key_value_heads": 2,
    "vocab_size": 151936, "tie_word_embeddings": True,
}  # fmt: skip


@pytest.mark.parametrize(
    ("config", "ranks", "measured"),
    [(QWEN_7B, 1, 14.29), (QWEN_7B, 2, 7.155), (QWEN_7B, 4, 3.63), (QWEN_1_5B, 1, 2.98)],
)
def test_large_tensors_keep_their_segments_where_loading_splits_none(
    config: dict[str, Any], ranks: int, measured: float
) -> None:
    """Logs of builds whose worker sets max_split_size_mb while it loads."""
    architecture, shape = read_architecture(config), shape_of(ranks=ranks)
    parameters = rank_weights(architecture, None, Parallelism(ranks), served_dtype="bfloat16")
    limit = GPU_0_33.rules.largest_split
    rounding = weights_rounding(architecture, None, Parallelism(ranks), served_dtype="bfloat16", largest_split=limit)
    loaded = parameters + rotary_tables(GPU_0_33, architecture, shape) + rounding.expected
    assert gib(loaded) == pytest.approx(measured, abs=0.01)


@pytest.mark.parametrize(
    ("shape", "measured"),
    [
        (shape_of(), 0.25),
        (shape_of(ranks=2), 2.07),
        (shape_of(ranks=4), 2.13),
        (shape_of(pipeline_parallel_size=2), 0.07),
    ],
)
def test_memory_outside_torch_follows_the_ranks(shape: ServerShape, measured: float) -> None:
    growth = non_torch_growth(GPU_0_19, read_architecture(LLAMA_8B), shape).bytes
    assert gib(growth.expected) == pytest.approx(measured, abs=0.05)
    assert growth.low <= measured * GIB <= growth.high


def test_a_vocabulary_that_does_not_divide_by_sixteen_costs_a_slower_kernel_with_a_larger_stack() -> None:
    odd = read_architecture(LLAMA_8B | {"vocab_size": 49155})
    assert gib(non_torch_growth(GPU_0_19, odd, shape_of()).bytes.expected) == pytest.approx(0.46, abs=0.01)


def test_small_cards_reserve_smaller_stacks() -> None:
    architecture = read_architecture(LLAMA_8B)
    large = non_torch_growth(GPU_0_19, architecture, shape_of()).bytes
    small = non_torch_growth(GPU_0_19, architecture, shape_of(capability=TURING)).bytes
    assert small.expected < large.expected


@pytest.mark.parametrize(("sequences", "layers", "measured"), [(1024, 32, 0.91), (1024, 36, 0.96), (2, 36, 0.06)])
def test_graphs_follow_sizes_and_layers(sequences: int, layers: int, measured: float) -> None:
    architecture = read_architecture(QWEN3_8B | {"num_hidden_layers": layers})
    graphs = graph_memory(GPU_0_19, architecture, shape_of(sequences=sequences))
    assert gib(graphs.expected) == pytest.approx(measured, rel=0.35)
    assert graphs.low <= measured * GIB <= graphs.high


def test_eager_servers_capture_nothing() -> None:
    assert graph_memory(GPU_0_33, read_architecture(LLAMA_8B), shape_of(enforce_eager=True)).high == 0


def test_blackwell_captures_larger_batches() -> None:
    architecture = read_architecture(LLAMA_8B)
    assert capture_limit(architecture, (10, 0)) == 2 * capture_limit(architecture, HOPPER)


@pytest.mark.parametrize("version", ["latest", "", "1.0.0", "v0.19"])
def test_a_version_that_is_no_number_has_no_memory_model(version: str) -> None:
    assert overheads_of(version) is None


def test_graphs_are_charged_to_the_budget_since_0_21() -> None:
    charged = {version: _known(version).rules.graphs_in_budget for version in ("0.19.1", "0.20.2", "0.21.0", "0.33.0")}
    assert charged == {"0.19.1": False, "0.20.2": False, "0.21.0": True, "0.33.0": True}


# GiB of a card that were not free when vLLM first looked, in start-up logs of 0.19 to 0.31.
CONTEXTS = {
    "l4": 0.19, "a10": 0.23, "a100-80gb": 0.41, "h100-80gb": 0.51, "rtx-pro-6000": 0.54, "b300": 0.61,
}  # fmt: skip


def on_card(name: str, **more: Any) -> ServerShape:
    card = GPUS[name]
    return shape_of(capability=card.compute_capability, multiprocessors=card.multiprocessors, **more)


@pytest.mark.parametrize("name", CONTEXTS)
def test_a_context_grows_with_the_multiprocessors_of_its_card(name: str) -> None:
    found = context_memory(GPU_0_33, on_card(name)).bytes
    assert gib(found.low) <= CONTEXTS[name] <= gib(found.high)
    assert gib(found.expected) == pytest.approx(CONTEXTS[name], abs=0.09)


def test_a_slice_has_the_context_of_a_small_card() -> None:
    found = context_memory(GPU_0_33, shape_of(multiprocessors=16)).bytes
    assert gib(found.low) <= 0.11 <= gib(found.high) < 0.2


def test_of_a_card_that_is_not_in_the_catalog_the_widest_context_is_counted() -> None:
    assert gib(context_memory(GPU_0_33, shape_of()).bytes.high) == pytest.approx(0.8)
    # One memory for CPU and GPU: what is free there, other programs decide too.
    assert gib(context_memory(GPU_0_33, on_card("gb10")).bytes.high) == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("name", "ranks", "measured"),
    [
        ("h100-80gb", 2, 1.51),
        ("h100-80gb", 4, 2.05),
        ("h200", 8, 2.16),
        ("gb200", 4, 2.47),
        ("rtx-3090", 4, 0.63),
        ("rtx-pro-6000", 2, 1.18),
    ],
)
def test_ranks_over_nvlink_hold_more_than_those_over_pcie(name: str, ranks: int, measured: float) -> None:
    found = context_memory(GPU_0_33, on_card(name, ranks=ranks)).bytes
    assert gib(found.low) <= measured <= gib(found.high)


def test_every_card_has_its_multiprocessors() -> None:
    assert set(MULTIPROCESSORS) == set(GPUS)
    for gpu in GPUS.values():
        if gpu.refusal is None:
            assert gpu.multiprocessors <= processors(shape_of(capability=gpu.compute_capability))[0], gpu.name


def test_stacks_and_buffers_follow_the_card_and_not_the_largest_of_its_kind() -> None:
    architecture = read_architecture(LLAMA_8B)
    l4, ada = (non_torch_growth(GPU_0_33, architecture, shape).bytes for shape in (on_card("l4"), on_card("rtx-4090")))
    assert l4.high < ada.high < non_torch_growth(GPU_0_33, architecture, shape_of(capability=ADA)).bytes.high


# GiB that graphs took on one rank, by compute capability, most sequences and layers: A100s, L4, RTX 3090 Ti, L40S, a
# card with 32 GiB, GB10, RTX PRO 6000, and H100s; vLLM 0.19 to 0.31.
@pytest.mark.parametrize(
    ("capability", "sequences", "layers", "measured"),
    [
        ((8, 0), 256, 32, 0.23),
        ((8, 0), 32, 24, 0.09),
        (ADA, 256, 32, 0.24),
        ((8, 6), 256, 42, 0.71),
        (ADA, 256, 32, 0.65),
        ((12, 0), 256, 28, 0.65),
        ((12, 1), 256, 64, 0.94),
        ((12, 0), 256, 64, 0.30),
        ((12, 0), 2, 30, 0.26),
        ((8, 6), 1, 36, 0.14),
        (HOPPER, 1024, 36, 0.98),
        (HOPPER, 1024, 48, 1.41),
    ],
)
def test_what_was_captured_lies_in_the_interval(
    capability: tuple[int, int], sequences: int, layers: int, measured: float
) -> None:
    shape = shape_of(sequences=sequences, tokens=2048, capability=capability)
    found = graph_memory(GPU_0_33, read_architecture(QWEN3_8B | {"num_hidden_layers": layers}), shape)
    assert gib(found.low) <= measured <= gib(found.high)


def test_ranks_and_latents_keep_the_wider_interval() -> None:
    architecture = read_architecture(LLAMA_8B)
    latent = with_layer(caches=(LatentCache(576),))
    one, two = (graph_memory(GPU_0_33, architecture, shape_of(ranks=ranks, capability=ADA)) for ranks in (1, 2))
    assert two.high > 2 * one.high
    assert graph_overhead(GPU_0_33, latent, shape_of(capability=ADA)) == GPU_0_33.graphs_latent
