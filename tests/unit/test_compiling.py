"""The peak of compiling, which is over before there is a KV cache: where it counts, and where the cache hides it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from compiler.checkpoints.read import read_architecture
from compiler.engines.vllm.memory.compiling import compile_peak, compile_row
from compiler.engines.vllm.pinned import pinned
from compiler.engines.vllm.releases import RELEASES
from compiler.ledger import RowKind
from compiler.solve.attempt import attempt
from compiler.solve.budget import Solution
from compiler.units import GIB, MIB, ByteRange, total
from tests.unit.test_memory import LLAMA_8B, QWEN3_8B
from tests.unit.test_overheads import shape_of
from tests.unit.test_solve_pipeline import question, solved

TITLE = "compiling, beyond the KV cache"
CARD = {"model": "l4"}
# A table of embeddings of 2 GiB, and next to nothing else.
SHALLOW = QWEN3_8B | {"num_hidden_layers": 2, "vocab_size": 262144, "tie_word_embeddings": True}
FEW: dict[str, Any] = {"context": 512, "concurrency": 1, "max_num_seqs": 8, "share": 0}


# Cold less warm starts, in GiB, where the warm peak was small: the embeddings' share of a rank.
@pytest.mark.parametrize(("hidden", "ranks", "measured"), [(4096, 1, 1.18), (5120, 2, 0.74)])
def test_the_peak_is_that_of_the_embedding_s_share(hidden: int, ranks: int, measured: float) -> None:
    architecture = read_architecture(QWEN3_8B | {"hidden_size": hidden, "vocab_size": 151936})
    peak = compile_peak(architecture, shape_of(ranks=ranks))
    assert peak.low == 0, "a warm cache compiles nothing"
    assert peak.expected / GIB == pytest.approx(measured, abs=0.02)
    assert peak.high > measured * GIB


def test_nothing_is_compiled_eagerly_and_no_table_is_beside_a_tower_or_on_later_stages() -> None:
    architecture = read_architecture(LLAMA_8B)
    assert compile_peak(architecture, shape_of(enforce_eager=True)).high == 0
    assert compile_peak(architecture, shape_of(pipeline_parallel_size=2, stage=1)).high == 0
    assert compile_peak(architecture, shape_of(pipeline_parallel_size=2)).high > GIB
    tower: Any = object()
    assert compile_peak(replace(architecture, encoders=(tower,)), shape_of()).high == 0


def test_a_cache_that_is_larger_hides_it() -> None:
    size = ByteRange(0, GIB, 2 * GIB)
    assert compile_row(size, 2 * GIB) is None
    row = compile_row(size, GIB // 2)
    assert row is not None
    assert row.bytes == ByteRange(0, GIB // 2, 3 * GIB // 2)


def test_a_small_cache_is_counted_with_what_compiling_takes_beyond_it() -> None:
    solution, _ = solved(CARD, SHALLOW, **FEW)
    (server,) = solution.ledgers[0].servers
    rows = {row.title: row.bytes for row in server.rows}
    assert rows["KV cache"].high < 0.1 * GIB
    peak = compile_peak(read_architecture(SHALLOW), solution.servers[0].demand.shape)
    together = rows[TITLE].high + rows["KV cache"].high + rows["activation peak"].high
    assert together == pytest.approx(peak.high, abs=MIB)
    assert solution.ledgers[0].used.high == server.bytes.high


def test_it_decides_whether_a_server_fits() -> None:
    """On a card that holds the server and its cache, and not its first start."""
    solution, _ = solved(CARD, SHALLOW, **FEW)
    (server,) = solution.ledgers[0].servers
    without = total(row.bytes for row in server.rows if row.title != TITLE).high
    small = {"model": "l4", "memory": f"{without + 64 * MIB}B"}
    for eager, fits in ((False, False), (True, True)):
        arguments = {"engine_args": {"enforce-eager": True}} if eager else {}
        spec, lock = question(small, SHALLOW, **FEW, **arguments)
        assert isinstance(attempt(spec, lock, pinned(RELEASES["0.33.0"])), Solution) is fits


def test_where_the_cache_is_larger_the_ledger_has_no_such_row() -> None:
    solution, _ = solved({"model": "rtx-4090"}, LLAMA_8B, context=8192)
    titles = [row.title for row in solution.ledgers[0].servers[0].rows]
    assert TITLE not in titles
    assert solution.ledgers[0].servers[0].rows[-1].kind is RowKind.KV_CACHE


def test_what_is_left_over_is_given_with_compiling_in_mind() -> None:
    solution, _ = solved(CARD, SHALLOW, **(FEW | {"share": 1, "max_num_seqs": 256}))
    (ledger,) = solution.ledgers
    assert ledger.used.high <= ledger.total
    rows = {row.title: row.bytes.high for row in ledger.servers[0].rows}
    assert rows["KV cache"] > 0.5 * GIB
    peak = compile_peak(read_architecture(SHALLOW), solution.servers[0].demand.shape)
    assert rows.get(TITLE, 0) + rows["KV cache"] + rows["activation peak"] >= peak.high - 1


@pytest.mark.parametrize(
    ("card", "count"),
    [
        ({"model": "l4"}, 58),
        ({"model": "h100-80gb", "mig": "3g.40gb", "uuids": ["MIG-0f1e2d3c-4b5a-4697-8879-6a5b4c3d2e1f"]}, 60),
        ({"model": "my-card", "memory": "23GiB", "compute_capability": "8.9"}, None),
    ],
)
def test_the_shape_of_a_server_has_its_card_s_multiprocessors(card: dict[str, Any], count: int | None) -> None:
    solution, _ = solved(card, LLAMA_8B)
    assert solution.servers[0].demand.shape.multiprocessors == count
