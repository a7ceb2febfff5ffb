"""DeepSeek V4 on every kind of GPU: its cache is fp8_ds_mla whatever the flag says, and it needs more beside it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from compiler.checkpoints.architecture import HeadCache
from compiler.checkpoints.checkpoint import Checkpoint
from compiler.checkpoints.parameters.ranks import Parallelism, SplitError
from compiler.checkpoints.quantization.read import read_quantization
from compiler.checkpoints.read import read_architecture
from compiler.engines.interface.candidate import Candidate
from compiler.engines.interface.device import Device, Machine
from compiler.engines.interface.problem import Problem
from compiler.engines.vllm.degrees import Degrees
from compiler.engines.vllm.judge.division import check_split
from compiler.engines.vllm.judge.splits import Rules, Splits
from compiler.engines.vllm.kernels.kept import kept_as
from compiler.engines.vllm.memory.activation import activation_peak
from compiler.engines.vllm.memory.attention.compressed import compressed_tables
from compiler.engines.vllm.memory.attention.latent import (
    gathered_context_bytes,
    indexer_table_bytes,
    picked_tokens_bytes,
)
from compiler.engines.vllm.memory.attention.stages import profiled_attention
from compiler.engines.vllm.memory.experts import experts_keep
from compiler.engines.vllm.memory.rows import fixed_rows
from compiler.engines.vllm.memory.shape import ServerShape
from compiler.engines.vllm.pinned import pinned
from compiler.engines.vllm.releases import RELEASES
from compiler.lock.models import HUB, Lock, LockedService, ModelFacts
from compiler.solve.attempt import attempt
from compiler.solve.budget import Server, Solution
from compiler.spec.models import PolicySpec, Spec
from compiler.spec.services import ServiceSpec
from compiler.units import GIB
from tests.unit.test_memory_latent import FP8, GLM_52, V3, V4_FLASH, V4_PRO, V32, layout_of, quantization_of
from tests.unit.test_minimax_m3 import M3

RELEASE = RELEASES["0.33.0"]
NVFP4 = FP8 | {"moe_quant_algo": "NVFP4"}
FLASH, PRO = read_architecture(V4_FLASH), read_architecture(V4_PRO)
MILLION = 1 << 20
# Memory, compute capability and cards of H200, B200, RTX PRO 6000 and two GB10.
CARDS = {"h200": (139, "9.0", 8), "b200": (178, "10.0", 8), "rtx-pro-6000": (94, "12.0", 8), "gb10": (119, "12.1", 4)}


def solved(card: tuple[int, str, int], block: dict[str, Any] = FP8, **keys: Any) -> Solution | tuple[Problem, ...]:
    memory, capability, count = card
    gpus = {"memory": f"{memory}GiB", "compute_capability": capability, "count": count}
    service = {"model": "a/v4", "context": "32K", "port": 8000, **keys}
    spec = Spec.model_validate(
        {"stack": "x", "engine": {"vllm": "0.33.0"}, "nodes": {"n": {"gpus": gpus}}, "services": {"s": service}}
    )
    answer = LockedService(model="a/v4", quantization=("auto",), candidates=("a/v4",))
    facts = ModelFacts(
        source=HUB, commit="a" * 40, chat_template="x", config=V4_FLASH, quantization={**block},
    )  # fmt: skip
    return attempt(spec, Lock(services={"s": answer}, models={"a/v4": facts}), pinned(RELEASE))


def served(card: str, **keys: Any) -> Server:
    solution = solved(CARDS[card], **keys)
    assert isinstance(solution, Solution), solution
    return solution.servers[0]


@pytest.mark.parametrize("card", CARDS)
@pytest.mark.parametrize("flag", ["auto", "fp8"])
@pytest.mark.parametrize("block", [FP8, NVFP4])
def test_it_is_served_with_its_own_cache(card: str, flag: str, block: dict[str, Any]) -> None:
    layout = served(card, kv_cache_dtype=flag, block=block).demand.layout
    full = next(group.spec for group in layout.groups if group.spec.window is None)
    assert (layout.dtype, full.block_size) == ("fp8_ds_mla", 256)


@pytest.mark.parametrize("flag", ["auto", "fp8"])
def test_what_is_too_large_is_refused_by_its_bytes(flag: str) -> None:
    problems = solved((119, "12.1", 1), kv_cache_dtype=flag)
    assert isinstance(problems, tuple)
    assert {problem.code for problem in problems} == {"E0401"}


@pytest.mark.parametrize("flag", ["auto", "fp8"])
def test_a_gpu_without_its_kernels_is_to_blame(flag: str) -> None:
    problems = solved((80, "8.0", 8), kv_cache_dtype=flag)
    assert isinstance(problems, tuple)
    assert "needs compute capability 9.x, 10.x or 12.x, this GPU has 8.0" in problems[0].message
    assert problems[0].code == "E0308"


@pytest.mark.parametrize(
    ("config", "capability", "flag", "kept"),
    [
        (V4_FLASH, (9, 0), "fp8", ("fp8_ds_mla", 256)),
        (V4_FLASH, (12, 1), "auto", ("fp8_ds_mla", 256)),
        (V32, (9, 0), "fp8", ("fp8_ds_mla", 64)),
        (V32, (12, 0), "auto", ("fp8_ds_mla", 64)),
        (GLM_52, (10, 0), "auto", ("fp8", 64)),
        (GLM_52, (9, 0), "auto", ("bfloat16", 64)),
        (M3, (9, 0), "auto", ("bfloat16", 128)),
        (V3, None, "auto", ("bfloat16", 16)),
    ],
)
def test_a_cache_is_kept_as_its_backend_has_it(
    config: dict[str, Any], capability: tuple[int, int] | None, flag: str, kept: tuple[str, int]
) -> None:
    assert kept_as(read_architecture(config), flag, RELEASE, capability, "bfloat16") == kept


def test_a_rank_holds_whole_groups_of_outputs() -> None:
    check_split(FLASH, quantization_of(FP8, V4_FLASH), Parallelism(8))
    with pytest.raises(SplitError, match="wo_a has 8 groups of outputs, no multiple of 16 ranks"):
        check_split(FLASH, quantization_of(FP8, V4_FLASH), Parallelism(16))


def test_caches_that_do_not_go_together_are_refused_on_every_number_of_ranks() -> None:
    chunks = HeadCache(8, 128, 128, chunk=512)
    layers = tuple(replace(layer, caches=(*layer.caches, chunks)) for layer in read_architecture(V3).layers)
    architecture = replace(read_architecture(V3), layers=layers)
    asked = {"model": "a/v3", "context": "4K", "port": 8000, "tensor_parallel_size": 2}
    facts = ModelFacts(source=HUB, config=V3)
    candidate = Candidate("s", ServiceSpec.model_validate(asked), "a/v3", facts)
    rules = Rules(PolicySpec(), RELEASES["0.32.0"], Machine((Device("CPU", 64 * GIB, "here", 0, None),) * 2))
    (reason,) = Splits(candidate, architecture, None, rules).reasons()
    assert "over 2 GPUs: vLLM cannot make the pages of its KV cache equal" in reason
    assert Splits(candidate, read_architecture(V3), None, replace(rules, known={})).legal((Degrees(2),))


@pytest.mark.parametrize(("config", "keep"), [(V4_FLASH, True), ({"model_type": "gpt_oss"}, False)])
def test_marlin_leaves_its_scratch_to_the_shared_workspace_on_hopper(config: dict[str, Any], keep: bool) -> None:
    """vLLM has no kernel of its own for gpt-oss's experts in DeepSeek V4."""
    block = FP8 if keep else {"quant_method": "mxfp4"}
    quantization = read_quantization(block["quant_method"], block, config)
    assert experts_keep(Checkpoint(FLASH, quantization, None), shape()) is keep


def shape(**keys: Any) -> ServerShape:
    return replace(ServerShape(2, MILLION, 256, 8192, "bfloat16", (9, 0)), **keys)


def test_picked_entries_have_a_table() -> None:
    assert picked_tokens_bytes(PRO, max_num_batched_tokens=8192) == 8192 * 1024 * 4


def test_the_shared_workspace_grows_with_the_context() -> None:
    """Four requests of a quarter of 2^20 entries, the window and a batch; 512 + 128 indices of each token."""
    gathered = 4 * (MILLION // 4 + 128 + 8192) * 512 * 2 + 8192 * 640 * 4 + 8192 * 4
    assert profiled_attention(FLASH, shape()).workspace == gathered


def test_metadata_lists_every_entry_of_ratio_128_for_each_token() -> None:
    layout = layout_of(FLASH, Parallelism(2))
    lists, windows, table = 2 * 8192 * 8192 * 4, 2 * 2 * 8192 * 128 * 4, 8192 * 4096 * 4
    assert compressed_tables(FLASH, shape(), layout) == lists + windows + table
    assert compressed_tables(read_architecture(V32), shape(), layout) == 0


def test_every_indexer_has_a_block_table_for_each_token() -> None:
    found = indexer_table_bytes(
        read_architecture(V32), max_model_len=163_840, max_num_batched_tokens=8192, block_size=64
    )
    assert found == 8192 * 163_840 // 64 * 4
    assert indexer_table_bytes(
        read_architecture(V3), max_model_len=163_840, max_num_batched_tokens=8192, block_size=64
    ) == 0  # fmt: skip


@pytest.mark.parametrize("config", [V4_FLASH, V32])
def test_a_ledger_holds_all_of_it(config: dict[str, Any]) -> None:
    architecture, of_rank = read_architecture(config), shape(max_model_len=163_840)
    layout = layout_of(architecture, Parallelism(2))
    checkpoint = Checkpoint(architecture, quantization_of(FP8, config), None)
    rows = {row.title: row.bytes for row in fixed_rows(RELEASE, checkpoint, of_rank, layout)}
    kept = picked_tokens_bytes(architecture, max_num_batched_tokens=8192)
    assert rows["sampler state, rotary tables and rounding"].low >= kept
    late = compressed_tables(architecture, of_rank, layout)
    late = late or indexer_table_bytes(
        architecture, max_model_len=163_840, max_num_batched_tokens=8192, block_size=layout.block_size
    )
    tables = 2 * 4 * 256 * sum(-(-163_840 // group.spec.block_size) for group in layout.groups)
    gathered = gathered_context_bytes(
        architecture, max_model_len=163_840, max_num_seqs=256, block_size=layout.block_size, served_dtype="bfloat16"
    )
    assert late > 0
    assert rows["allocated after KV sizing"].low == tables + late + gathered


@pytest.mark.parametrize(
    ("keys", "measured"),
    [
        # Two RTX PRO 6000 with vLLM 0.27.1, and a B300 with 0.26.0, both at full context.
        ({"compute_capability": (12, 0), "max_num_batched_tokens": 4096}, 1.66),
        ({"compute_capability": (10, 3), "tensor_parallel_size": 1}, 2.99),
    ],
)
def test_peaks_that_were_logged_lie_within_the_estimate(keys: dict[str, Any], measured: float) -> None:
    overheads = RELEASE.gpu
    assert overheads is not None
    peak = activation_peak(overheads, FLASH, shape(**keys), profiled_attention(FLASH, shape(**keys)))
    assert peak.low <= measured * GIB <= peak.high


def test_a_cache_that_was_logged_holds_as_many_requests() -> None:
    """Two RTX PRO 6000 with vLLM 0.27.1 and batches of 4096: 1.191 requests of 2^20 tokens in 8.28 GiB."""
    layout = replace(layout_of(FLASH, Parallelism(2)), in_flight_tokens=2 * 4096)
    concurrency = layout.max_concurrency(int(8.28 * GIB) // layout.bytes_per_block, MILLION)
    assert concurrency == pytest.approx(1_249_001 / MILLION, rel=0.01)
