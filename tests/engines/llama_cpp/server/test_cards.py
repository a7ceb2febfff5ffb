"""What the real server takes of cards, and what it does when they are too small: on cards that are not there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from compiler.catalog.hardware.gpus import GPUS
from compiler.engines.interface.calibration import LogError
from compiler.engines.llama_cpp.calibrate.start_ups import START_UPS
from compiler.engines.llama_cpp.calibrate.startup_log import hundredths_of, read_log
from compiler.engines.llama_cpp.calibrate.startup_record import BufferKind, Refusal
from compiler.units import MIB
from tests.engines.llama_cpp.random_models import EMBEDDING, KV_HEADS, LAYERS, TRAINED_CONTEXT, VOCABULARY, WIDE_HEAD
from tests.engines.llama_cpp.server.running import serve, start

pytestmark = pytest.mark.engine

Models = Callable[[str], Path]
CACHE_OF_1024_CELLS = 1024 * LAYERS * KV_HEADS * 2 * WIDE_HEAD * 2


Cards = Callable[[str], dict[str, str]]
ONE, TWO = ("--device", "CUDA0", "-lv", "4"), ("--device", "CUDA0,CUDA1", "-lv", "4")


def test_layers_and_their_cache_are_divided_by_the_split(model: Models, cards: Cards, tmp_path: Path) -> None:
    words = (*TWO, "--tensor-split", "2,3", "--no-kv-unified")
    with serve(model("llama-wide"), tmp_path / "log", *words, environment=cards("1024,512")) as running:
        assert running.post("/v1/completions", {"prompt": "a", "max_tokens": 2}).status == 200
        log = read_log(running.log)
    assert log.hundredths(BufferKind.KV) == dict.fromkeys(("CUDA0", "CUDA1"), hundredths_of(CACHE_OF_1024_CELLS // 2))
    assert set(log.hundredths(BufferKind.MODEL)) == {"CPU_Mapped", "CUDA0", "CUDA1"}
    assert (log.layers_offloaded, log.layers, log.copies) == (LAYERS + 1, LAYERS + 1, 4)


def test_memory_that_is_not_there_ends_the_start_with_1(model: Models, cards: Cards, tmp_path: Path) -> None:
    words = (*ONE, "--ctx-size", "65536")
    with start(model("llama-wide"), tmp_path / "log", *words, environment=cards("8")) as running:
        assert running.server.process.wait(30) == 1
        log = read_log(running.log)
    assert log.refusal == Refusal("CUDA0", 64 * CACHE_OF_1024_CELLS)
    assert not log.is_ready


def test_a_fit_serves_a_context_that_nobody_asked_for(model: Models, cards: Cards, tmp_path: Path) -> None:
    """On by default: it starts where memory lacks, with less. So a context is always given, and no fit."""
    words, unset = (*ONE, "--parallel", "1", "--fit-target", "16"), ("--ctx-size", "--fit")
    with serve(model("llama-wide"), tmp_path / "log", *words, environment=cards("128"), unset=unset) as running:
        log = read_log(running.log)
    assert log.context is not None
    assert 4096 <= log.context < TRAINED_CONTEXT
    words = (*words, "--ctx-size", str(TRAINED_CONTEXT))
    with start(model("llama-wide"), tmp_path / "whole", *words, environment=cards("128")) as running:
        assert running.server.process.wait(30) == 1


def test_a_fit_moves_layers_off_the_card_without_an_error(model: Models, cards: Cards, tmp_path: Path) -> None:
    """With a context that is given it is the layers that give way, to the CPU."""
    words = (*ONE, "--ctx-size", "4096", "--parallel", "1", "--fit", "on")
    with serve(model("llama-wide"), tmp_path / "log", *words, environment=cards("1024")) as running:
        log = read_log(running.log)
    assert log.layers_offloaded == 0
    assert "CUDA0" not in log.hundredths(BufferKind.KV)


def test_heads_without_a_kernel_lose_flash_attention_without_an_error(
    model: Models, cards: Cards, tmp_path: Path
) -> None:
    with serve(model("llama"), tmp_path / "log", *ONE, environment=cards("1024")) as running:
        assert read_log(running.log).flash_attention is False


def test_four_slots_are_what_is_served_where_none_are_given(model: Models, cards: Cards, tmp_path: Path) -> None:
    """They share the context, and a window's cache has room for four."""
    words = (*ONE, "--parallel", "-1", "--ctx-size", "4096")
    with serve(model("gemma3"), tmp_path / "log", *words, environment=cards("1024")) as running:
        log = read_log(running.log)
    assert (log.slots, log.is_unified, log.slot_context) == (4, True, 4096)
    assert [cache.cells for cache in log.caches] == [4096, 4 * 256 + 512]


def test_embeddings_stay_on_the_host(model: Models, cards: Cards, tmp_path: Path) -> None:
    with serve(model("llama-wide"), tmp_path / "log", *ONE, environment=cards("1024")) as running:
        log = read_log(running.log)
    assert log.hundredths(BufferKind.MODEL)["CPU_Mapped"] == hundredths_of(VOCABULARY * EMBEDDING * 4)


def test_what_a_calibration_needs_is_said_when_a_server_ends(model: Models, cards: Cards, tmp_path: Path) -> None:
    """All of it but the figure: CUDA itself takes nothing of a card that is not there, which is refused."""
    card = GPUS["rtx-4090"]
    words, environment = (*ONE, "--ctx-size", "2048"), cards(str(card.memory // MIB))
    with serve(model("llama-wide"), tmp_path / "log", *words, environment=environment) as running:
        assert running.post("/v1/completions", {"prompt": "a" * 600, "max_tokens": 2}).status == 200
        running.server.process.terminate()
        assert running.server.process.wait(30) == 0
        text = running.log
    assert read_log(text).model == "tiny-llama"
    with pytest.raises(LogError, match="leave 0 MiB of CUDA0 for CUDA itself"):
        START_UPS.measured(text, card, None)
