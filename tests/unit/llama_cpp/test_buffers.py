"""Buffers of each kind of attention, as libllama b11434 planned them for public shapes on a stand-in card."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from benchmarks.ggufs.shapes import shaped_model
from compiler.engines.llama_cpp.memory.plan import MemoryPlan, memory_plan, read_served
from compiler.engines.llama_cpp.releases import release_named
from compiler.engines.llama_cpp.settings import FlashAttention, Settings
from compiler.ledger import LedgerRow
from compiler.units import MIB, ByteRange

_KINDS = ("weights", "KV cache", "recurrent states", "compute buffer")


@dataclass(frozen=True, slots=True)
class Planned:
    """One card of one server: weights, caches with states, compute buffer; None where only bounds are promised."""

    model: str
    settings: Settings
    card: tuple[int, int, int | None]
    device: int = 0
    build: str = "b11434"


_ONE = Settings(8192, 1)
_AUTO = Settings(8192, 4, unified=True)
_QUANTIZED = Settings(32768, 1, key_type="q8_0", value_type="q8_0")
_THREE_TO_ONE = Settings(32768, 1, split=(3.0, 1.0), is_dry=True)

_PLANNED = {
    "full": Planned("phi-4-mini", _ONE, (2420708352, 1073741824, 83900544)),
    "window": Planned("gemma-3-27b", _AUTO, (16660842880, 2634022912, 189292672)),
    "window beside FFN": Planned("command-r7b", _ONE, (5063393280, 721420288, 143153280)),
    "window, a stream a slot": Planned("gpt-oss-20b", Settings(32768, 8), (11481256960, 956301312, 99375232)),
    "window, quantized": Planned("gpt-oss-20b", _QUANTIZED, (11481256960, 437846016, 141908352)),
    "latent": Planned("deepseek-v3", _ONE, (406308688384, 575668224, 419440768)),
    "latent, quantized": Planned("deepseek-v3", _QUANTIZED, (406308688384, 1223326208, 444606592)),
    "experts and a layer that predicts": Planned("glm-4.5-air", _ONE, (70607065984, 1543503872, 178272384)),
    "first of two cards": Planned("llama-3.3-70b", _THREE_TO_ONE, (31311659008, 8187281408, 578871296)),
    "second of two cards": Planned("llama-3.3-70b", _THREE_TO_ONE, (10654433280, 2550136832, 494969344), device=1),
    "states": Planned("qwen3.6-27b", _AUTO, (15507660800, 1164443648, 157307136)),
    "convolutions": Planned("lfm2-1.2b", _AUTO, (729590784, 101318656, 75512064)),
    "experts on the host": Planned("mixtral-8x7b", Settings(8192, 1, cpu_moe=32), (902356992, 1073741824, None)),
}


def _planned(planned: Planned) -> MemoryPlan:
    model = shaped_model(planned.model)
    assert model is not None
    return memory_plan(release_named(planned.build), read_served(model), planned.settings)


def _sizes(rows: tuple[LedgerRow, ...]) -> dict[str, ByteRange]:
    return {row.title: row.bytes for row in rows}


@pytest.mark.parametrize("planned", _PLANNED.values(), ids=_PLANNED.keys())
def test_a_card_holds_what_the_server_planned(planned: Planned) -> None:
    """A user sizes a card by these bytes: one too few, and the server does not start."""
    sizes = _sizes(_planned(planned).devices[planned.device])
    none = ByteRange.exact(0)
    weights, context, compute = planned.card
    assert sizes["weights"] == ByteRange.exact(weights)
    assert sizes.get("KV cache", none) + sizes.get("recurrent states", none) == ByteRange.exact(context)
    if compute is not None:
        # The stand-in card leaves 128 bytes before each copy of a quantized cache; CUDA aligns them.
        assert 0 <= compute - sizes["compute buffer"].low <= 2 * 128
        assert sizes["compute buffer"].high - compute <= MIB


def test_builds_differ_as_the_server_printed() -> None:
    """b10434 gives the layer that predicts a cache, which 47 layers of 32 MiB show, and holds less of the input."""
    sizes = _sizes(_planned(Planned("glm-4.5-air", _ONE, (0, 0, 0), build="b10434")).devices[0])
    assert sizes["KV cache"] == ByteRange.exact(1504 * MIB)
    assert round(sizes["compute buffer"].low / MIB, 2) == 156.01


def test_without_flash_attention_scores_of_all_cells_are_held() -> None:
    """llama-3.2-1b at 8192 tokens: b11434 planned more than twice the buffer that flash attention needs."""
    with_flash = _sizes(_planned(Planned("llama-3.2-1b", _ONE, (0, 0, 0))).devices[0])["compute buffer"]
    off = Settings(8192, 1, flash_attention=FlashAttention.OFF)
    without = _sizes(_planned(Planned("llama-3.2-1b", off, (0, 0, 0))).devices[0])["compute buffer"]
    assert without.low > 8192 * 512 * 32 * 4 > 2 * with_flash.high


def test_a_public_card_held_what_is_said() -> None:
    """gemma-4-12B on an 8 GiB card printed these caches of q8_0, in MiB: four slots, one, and one of 16384 tokens."""
    one = Settings(8192, 1, key_type="q8_0", value_type="q8_0")
    said = [
        _sizes(_planned(Planned("gemma-4-12b", settings, (0, 0, 0))).devices[0])["KV cache"].low // MIB
        for settings in (replace(one, slots=4, unified=True), one, replace(one, context=16384))
    ]
    assert said == [833, 323, 391]


def test_rows_are_in_the_order_of_a_start() -> None:
    """The ledger tells a user what came first when a start fails."""
    rows = _planned(Planned("qwen3.6-27b", _AUTO, (0, 0, 0))).devices[0]
    titles = [row.title for row in rows if row.title in _KINDS]
    assert titles == list(_KINDS)
