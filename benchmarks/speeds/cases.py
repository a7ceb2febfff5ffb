"""Published measurements of speed, a case a line, as what `compiler/speed` is asked."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from compiler.catalog.hardware.gpus import GPUS, same_gpus
from compiler.speed.cards import CARDS, Card
from compiler.speed.constants import Era
from compiler.speed.load import Load, Pool, Regime
from compiler.speed.shape import Arithmetic, Experts, KvGroup, Part, Shape
from compiler.units import GIB

TARGETS = ("tpot_ms", "output_tok_s", "e2e_ms", "ttft_ms")

# Forms that the catalog has no name for, and their GiB.
_FORMS: Mapping[str, tuple[str, float]] = {
    "A100": ("a100-80gb-pcie", 79.1),
    "A100-80GB": ("a100-80gb-pcie", 79.1),
    "A100-80GB-PCIe": ("a100-80gb-pcie", 79.1),
    "H20-141GB": ("h20-141gb", 139.7),
    "MI250": ("mi250", 63.9),
    "Max-1550": ("max-1550", 60.0),
    "Intel-Arc-Pro-B60": ("arc-pro-b60", 23.5),
}
# Of vLLM where the source does not say: requests at once, share of the memory, and what is neither weights nor cache.
_SEATS, _SHARE, _OTHER = 256, 0.92, 3 * GIB
_MOST = 1e15
_PARTS = ("attn", "ffn", "head", "expert")


class UnansweredError(ValueError):
    """A case that lacks what an estimate needs, or is of a card without figures."""


@dataclass(frozen=True, slots=True)
class SpeedCase:
    """One measured configuration.

    Attributes:
        unit: source and family, as the file has it.
        measured: by target, those that are given.
    """

    gpu: str
    unit: str
    era: str
    shape: Shape
    card: Card
    ranks: int
    load: Load
    pool: Pool
    measured: Mapping[str, float]

    @property
    def group(self) -> tuple[str, str]:
        """Source, family and card."""
        return self.unit, self.gpu


def read_cases(path: Path) -> Iterator[SpeedCase | UnansweredError]:
    """All cases of a file, or why there is no answer."""
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.strip():
                try:
                    yield case_of(json.loads(line))
                except UnansweredError as error:
                    yield error
                except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
                    yield UnansweredError(f"{type(error).__name__}: {str(error)[:80]}")


def case_of(row: Mapping[str, Any]) -> SpeedCase:
    """A case.

    Raises:
        UnansweredError, KeyError, TypeError, ValueError: there is none.
    """
    card, memory = _card(str(row["gpu"]))
    given = {name: _number(value) for name in TARGETS if (value := row["measured"].get(name)) is not None}
    measured = {name: value for name, value in given.items() if value > 0}
    if not measured:
        raise UnansweredError("nothing was measured")
    shape, ranks = _shape(row), _count(row["tp"])
    return SpeedCase(
        gpu=str(row["gpu"]),
        unit=str(row.get("unit") or (row.get("source"), row.get("family"))),
        era=str(shape.era),
        shape=shape,
        card=_limited(card, row.get("power_limit_w")),
        ranks=ranks,
        load=_load(row),
        pool=_pool(row, shape, ranks, memory),
        measured=measured,
    )


def _card(name: str) -> tuple[Card, float]:
    if name in _FORMS:
        known, gibibytes = _FORMS[name]
        return CARDS[known], gibibytes * GIB
    for found in (*same_gpus(name), *same_gpus(name.removesuffix("-80GB"))):
        if found in CARDS:
            return CARDS[found], GPUS[found].memory
    raise UnansweredError(f"no figures of {name}")


# An assumption: with less power a card multiplies more slowly, by this power of the share; it reads as fast.
_POWER = 0.4
_BOARD_WATTS = {"rtx-3090": 350}


def _limited(card: Card, watts: Any) -> Card:
    """A card of which the owner takes less power than it may have."""
    usual = _BOARD_WATTS.get(card.name)
    if usual is None or not watts or _number(watts) >= usual:
        return card
    share = (_number(watts) / usual) ** _POWER
    return replace(card, bf16=card.bf16 * share, int8=card.int8 * share)


def _number(value: Any) -> float:
    """Not below 0, and of a size that something may have."""
    number = float(value)
    if not 0 <= number < _MOST or isinstance(value, str | bool):
        raise UnansweredError(f"{str(value)[:40]} is no number")
    return number


def _count(value: Any) -> int:
    """A whole number above 0."""
    if _number(value) < 1:
        raise UnansweredError(f"{str(value)[:40]} is no number of anything")
    return int(value)


def _shape(row: Mapping[str, Any]) -> Shape:
    arch, stored = row["arch"], row.get("bytes_per_param") or {}
    layers, name = _count(arch["layers"]), str(arch.get("name") or "")
    each = {name: _number(stored.get(name) or 2) for name in _PARTS}
    state = int(_number(arch.get("state_elements") or 0))
    groups = (
        KvGroup(
            int(_number(group["layers"])),
            int(_number(group["elements_per_token"])),
            None if group.get("window") is None else _count(group["window"]),
            int(_number(group.get("q_dim") or 0)),
        )
        for group in arch["kv_groups"]
    )
    return Shape(
        layers=layers,
        hidden=_count(arch["hidden"]),
        attention=Part(_count(arch["attn_params"]), each["attn"]),
        dense=Part(int(_number(arch["ffn_params"])), each["ffn"]),
        head=Part(int(_number(arch["head_params"])), each["head"]),
        experts=_experts(arch, each["expert"]),
        kv=tuple(groups),
        kv_heads=_count(arch.get("kv_heads") or 1),
        kv_bytes=_number(row.get("kv_bytes") or 2),
        all_reduces=_count(arch.get("all_reduces") or 2 * layers),
        arithmetic=Arithmetic(row.get("compute") or "bf16"),
        state_elements=state,
        linear_attention=bool(state),
        era=Era(row.get("era") or "v1async"),
        eager=bool(row.get("eager")),
        lora=bool(row.get("lora")),
        block_scales=name.startswith(("qwen3", "deepseek", "minimax", "kimi")) and row.get("compute") == "fp8",
        unlike="compressed attention: half of the measurements are within its interval"
        if name.startswith("deepseek-v4")
        else None,
    )


def _experts(arch: Mapping[str, Any], bytes_each: float) -> Experts | None:
    if not arch.get("experts"):
        return None
    keys = ("moe_layers", "experts", "experts_per_token", "expert_params")
    return Experts(*(_count(arch[key]) for key in keys), bytes_each)


def _load(row: Mapping[str, Any]) -> Load:
    regime = Regime(row["regime"])
    if regime is Regime.CLOSED and not row.get("concurrency"):
        raise UnansweredError("a closed loop of unknown concurrency")
    if regime is Regime.OPEN and not row.get("request_rate"):
        raise UnansweredError("an open loop of unknown rate")
    return Load(
        regime,
        max(1.0, _number(row["input_len"])),
        max(1.0, _number(row["output_len"])),
        1 if regime is Regime.SINGLE else _count(row.get("concurrency") or 1),
        None if row.get("num_prompts") is None else _count(row["num_prompts"]),
        None if row.get("request_rate") is None else _number(row["request_rate"]),
        lockstep=bool(row.get("lockstep")),
        long_tail=bool(row.get("long_tail")),
    )


def _pool(row: Mapping[str, Any], shape: Shape, ranks: int, memory: float) -> Pool:
    seats = _count(row.get("max_num_seqs") or _SEATS)
    tokens = row.get("kv_capacity_tokens")
    if tokens:
        return Pool(shape.cache_bytes(1, ranks) * _number(tokens), seats)
    embedded = 2 * _number(row["arch"].get("embed_params") or 0)
    return Pool(max(0.0, memory * _SHARE - (shape.weights + embedded) / ranks - _OTHER), seats)
