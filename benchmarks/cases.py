"""Start-ups of real vLLM servers, as a file has them.

A case is a JSON object a line: identity (model, version, GPU, limits) and what the log printed. What a log did not
print is absent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compiler.catalog.hardware.gpus import GPUS, Gpu, same_gpus
from compiler.units import GIB

_ALWAYS_FREE = 0.2 * GIB  # two totals of one card differ by less


@dataclass(frozen=True, slots=True)
class Case:
    """One start-up. `data` is the line of the file."""

    data: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Its id."""
        return str(self.data["id"])

    @property
    def model(self) -> str:
        """Repository."""
        return str(self.data["model"])

    @property
    def number(self) -> tuple[int, int]:
        """The release, (0, 0) where the log did not say; development builds that count from 0.1 are none."""
        match = re.match(r"0\.(\d+)\.", str(self.data.get("vllm_version", "")))
        return (0, int(match[1])) if match and int(match[1]) > 1 else (0, 0)

    @property
    def engine(self) -> str:
        """`V0` or `V1`, by the log or by the release."""
        return str(self.data.get("engine") or ("V1" if self.number >= (0, 8) else "V0"))

    @property
    def memory_failure(self) -> bool:
        """Whether it failed for want of memory."""
        return bool(self.data.get("memory_failure"))

    @property
    def started(self) -> bool:
        """Whether it served."""
        return self.data.get("outcome") == "ok"

    @property
    def shares_gpu(self) -> bool:
        """Whether a note speaks of another process on the GPU."""
        return bool(re.search(r"share|second instance|another process|other process", str(self.data.get("note", ""))))

    @property
    def spreads_uncounted(self) -> bool:
        """Whether a note speaks of data or expert parallelism, and no field has its degree."""
        counted = any(key in self.data for key in ("data_parallel_size", "expert_parallel"))
        return not counted and bool(re.search(r"\b(DP|EP)\b", str(self.data.get("note", ""))))

    @property
    def warm(self) -> bool:
        """Whether a note says that what it runs was compiled before."""
        return bool(re.search(r"\bwarm\b", str(self.data.get("note", ""))))

    def measured(self, key: str) -> float | None:
        """A figure of the log."""
        value = self.data.get(key)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

    def count(self, key: str, default: int) -> int:
        """A whole number, or what vLLM assumes."""
        value = self.data.get(key)
        return int(value) if isinstance(value, int) and value > 0 else default

    def flag(self, key: str) -> bool | None:
        """An option that is on or off; None where the log does not say."""
        value = self.data.get(key)
        return value if isinstance(value, bool) else None

    @property
    def reads_text_alone(self) -> bool:
        """Whether towers for images and sound were left out, by an option of the engine's or by what a note says."""
        limits = self.data.get("limit_mm_per_prompt")
        no_items = isinstance(limits, dict) and bool(limits) and not any(limits.values())
        noted = re.search(r"language model only|tower [^;]*not loaded", str(self.data.get("note", "")))
        return bool(self.data.get("language_model_only")) or no_items or noted is not None

    def measured_tokens(self) -> float | None:
        """Capacity by the concurrency line, which counts every group of layers; else the printed tokens."""
        concurrency, length = self.measured("max_concurrency"), self.measured("concurrency_len")
        return concurrency * length if concurrency and length else self.measured("kv_tokens")


def read_cases(path: Path) -> tuple[Case, ...]:
    """Every line of a file."""
    return tuple(Case(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines() if line.strip())


def card_of(case: Case) -> Gpu | None:
    """The catalog's card by the name in the log; else by its total, where all cards of that size are of one class."""
    named = [GPUS[name] for name in _names_in(str(case.data.get("gpu") or ""))]
    seen = case.measured("gpu_total_gib")
    if seen is not None:
        served = (gpu for gpu in GPUS.values() if gpu.refusal is None)
        near = [gpu for gpu in named or served if abs(gpu.memory - seen * GIB) < _ALWAYS_FREE]
        named = near if len({gpu.compute_capability for gpu in near}) == 1 else named
    return named[0] if len({gpu.compute_capability for gpu in named}) == 1 else None


def cards_like(case: Case) -> tuple[Gpu, ...]:
    """Cards that the log may be of: the one that it names, or all of its total."""
    card, seen = card_of(case), case.measured("gpu_total_gib")
    if card is not None or seen is None:
        return (card,) if card is not None else ()
    return tuple(gpu for gpu in GPUS.values() if abs(gpu.memory - seen * GIB) < _ALWAYS_FREE)


def _names_in(written: str) -> tuple[str, ...]:
    """Cards that a log's name may mean, with the size that people add to it or without."""
    whole = re.sub(r"\(.*?\)|\bclass\b", "", written)
    return same_gpus(whole) or same_gpus(re.sub(r"\b\d+ ?GB\b", "", whole))
