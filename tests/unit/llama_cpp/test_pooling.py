"""Servers of vectors and scores: encoders, which cache nothing, and decoders whose last token stands for a text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.ggufs.shapes import shaped_model
from compiler.cli.main import cli
from compiler.engines.interface.terms import Terms
from compiler.engines.llama_cpp.calibrate.startup_log import hundredths_of
from compiler.engines.llama_cpp.demand import Model as Asked
from compiler.engines.llama_cpp.demand import settings_of
from compiler.engines.llama_cpp.memory.plan import MemoryPlan, memory_plan, read_served
from compiler.engines.llama_cpp.offload import Offload
from compiler.engines.llama_cpp.releases import release_named
from compiler.engines.llama_cpp.settings import FlashAttention, Pooling, Settings, SettingsError, pooled_batch
from compiler.engines.llama_cpp.terms import ServingOptions
from compiler.gguf.model import GgufModel
from compiler.ledger import LedgerRow
from tests.engines.llama_cpp.random_encoders import EMBEDDERS, RERANKERS, bert
from tests.engines.llama_cpp.random_models import HEAD, VOCABULARY, WIDE_HEAD, Model, llama

_POOLED = Settings(context=4096, slots=2, batch=2048, ubatch=2048, gpu_layers=0, split=())
_CARD = replace(_POOLED, gpu_layers=None, split=(1.0,))
_COMPUTE = "compute buffer"


def _model(made: Model) -> GgufModel:
    keys = {key: tuple(value) if isinstance(value, list) else value for key, value in made.keys.items()}
    return GgufModel(keys, tuple(made.tensors), VOCABULARY)  # type: ignore[arg-type]


def _plan(made: Model, settings: Settings, build: str = "b10434") -> MemoryPlan:
    served = read_served(_model(made))
    pooling = settings.pooling or served.shape.pooling
    return memory_plan(release_named(build), served, replace(settings, pooling=pooling))


def _row(rows: tuple[LedgerRow, ...], title: str) -> LedgerRow:
    return next(row for row in rows if row.title == title)


# Hundredths of a MiB that llama-server b10434 printed: on the CPU with heads of 16, on a stand-in card with 64.
_PRINTED = {
    "bert": (1079, 1027),
    "nomic_bert": (1204, 1203),
    "nomic_bert_moe": (1212, 1203),
    "jina_bert_v2": (1253, 1202),
    "jina_bert_v3": (1079, 1028),
    "modern_bert": (2052, 2002),
    "neo_bert": (1254, 1203),
    "eurobert": (1252, 1202),
    "gemma_embedding": (2054, 2303),
    "qwen3_embedding": (1255, 1405),
    "reranker": (1077, 1026),
    "modern_reranker": (2054, 2003),
    "qwen3_reranker": (1255, 1405),
}


@pytest.mark.parametrize("name", _PRINTED)
def test_a_server_that_pools_takes_what_it_printed(name: str) -> None:
    """A card that is sized by one byte less is one on which it does not start."""
    make = {**EMBEDDERS, **RERANKERS}[name]
    host = _row(_plan(make(HEAD), _POOLED).host, _COMPUTE)
    card = _row(_plan(make(WIDE_HEAD), _CARD).devices[0], _COMPUTE)
    assert (hundredths_of(host.bytes.low), hundredths_of(card.bytes.low)) == _PRINTED[name]


def test_encoders_cache_nothing_and_decoders_do() -> None:
    titles = {name: {row.title for row in _plan(make(HEAD), _POOLED).host} for name, make in EMBEDDERS.items()}
    assert [name for name, said in titles.items() if "KV cache" in said] == ["qwen3_embedding"]


def test_logits_of_a_whole_batch_are_held_on_the_host_from_the_first_text_on() -> None:
    """Encoders have none, and hold room for them all the same: 2 GiB where 2048 tokens have a choice of 262,144."""
    row = _row(_plan(bert(HEAD), _POOLED).host, "output buffer of a whole batch")
    assert row.bytes.high == (VOCABULARY + 64) * 4 * (2048 - 2)


@given(st.integers(1, 1 << 17), st.integers(1, 256))
def test_a_batch_of_texts_is_divided_by_the_slots(tokens: int, slots: int) -> None:
    """Another ends the server as it starts: GGML_ASSERT(ggml_can_mul_mat(a, b))."""
    batch = pooled_batch(tokens, slots)
    assert batch % slots == 0
    assert tokens <= batch < tokens + slots


def test_a_build_that_was_not_compared_has_bounds() -> None:
    row = _row(_plan(bert(HEAD), _POOLED, "b11434").host, _COMPUTE)
    assert row.bytes.low < row.bytes.expected < row.bytes.high


def test_a_quantized_cache_wants_heads_of_whole_blocks() -> None:
    """llama-server exits with 1: `block size 32 does not divide n_embd_head_k=16`."""
    quantized = Settings(4096, 1, key_type="q8_0", value_type="q8_0", gpu_layers=0, split=())
    with pytest.raises(SettingsError, match="heads of 16 are no whole blocks of q8_0"):
        _plan(llama(HEAD), quantized)
    assert _row(_plan(llama(WIDE_HEAD), quantized).host, "KV cache").bytes.low


def test_a_start_on_two_cards_takes_less_than_the_planner_says() -> None:
    """llama-3.2-1b in shares of 3 and 1: the start of b10434 printed 204.04 MiB for both, its dry run 220.04."""
    model = shaped_model("llama-3.2-1b")
    assert model is not None
    settings = Settings(32768, 1, split=(3.0, 1.0))
    printed = [
        [
            hundredths_of(_row(rows, _COMPUTE).bytes.low)
            for rows in memory_plan(release_named("b10434"), read_served(model), each).devices
        ]
        for each in (settings, replace(settings, is_dry=True))
    ]
    assert printed == [[20404, 20404], [20404, 22004]]


def test_a_reranker_is_started_to_rank_and_an_embedder_by_its_header() -> None:
    by_header = {name: read_served(_model(make(HEAD))).shape.pooling for name, make in EMBEDDERS.items()}
    assert by_header["bert"] is Pooling.MEAN
    assert by_header["modern_bert"] is Pooling.CLS
    assert by_header["qwen3_embedding"] is Pooling.LAST


def test_an_encoder_whose_heads_no_kernel_takes_is_served_without_flash_attention() -> None:
    """Such as MiniLM's and bge-small's of 32: with it the CPU would compute them. What caches is refused as before."""
    terms = Terms(2048, 1, 1, None, None, ServingOptions("f16", "embed", None))
    for make, expected in ((bert(HEAD), FlashAttention.OFF), (bert(WIDE_HEAD), FlashAttention.ON)):
        settings, _ = settings_of(terms, Offload(1, 5, 0, 5), Asked(read_served(_model(make)), None, 2048))
        assert settings.flash_attention is expected
    with pytest.raises(SettingsError, match="no kernel for heads"):
        _plan(llama(HEAD), Settings(4096, 1))


@pytest.mark.parametrize(
    ("make", "task", "said"),
    [
        (bert, "chat", "makes vectors of texts"),
        (bert, "score", "does not say that it ranks"),
        (RERANKERS["qwen3_reranker"], "embed", "no way to make one vector"),
        (llama, "embed", "no way to make one vector"),
    ],
)
def test_a_model_does_what_it_was_trained_to(
    make: Callable[[int], Model], task: str, said: str, tmp_path: Path
) -> None:
    """Else a server would start and answer nonsense."""
    model, spec = tmp_path / "tiny.gguf", tmp_path / "tiny.yaml"
    make(HEAD).write_sparse(model)
    service = f"{{model: {model}, task: {task}, context: 2K, port: 18080}}"
    lines = ("stack: tiny", "engine: {llama.cpp: b10434}", "nodes: {home: {cpu: {memory: 8GiB}}}")
    spec.write_text("\n".join((*lines, f"services: {{tiny: {service}}}")))
    runner = CliRunner()
    assert runner.invoke(cli, ["lock", str(spec)]).exit_code == 0
    result = runner.invoke(cli, ["compile", "--check", str(spec)])
    assert result.exit_code == 1
    assert said in " ".join(result.output.split())
