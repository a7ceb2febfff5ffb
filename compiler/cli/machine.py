"""The GPUs of this machine, as nvidia-smi has them."""

from __future__ import annotations

import csv
import re
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from compiler.catalog.gpus import GPUS, same_gpus
from compiler.units import GIB, MIB

QUERY = ("nvidia-smi", "--query-gpu=name,memory.total,uuid,compute_cap", "--format=csv,noheader")
_SECONDS = 20
_COLUMNS = 4
_NEAR = 2 * GIB
"""By which nvidia-smi's total and CUDA's differ at most, so that of two cards with one name the right one is taken."""
# What CUDA lacks of nvidia-smi's total, at most, of the cards in the catalogue: 881 MiB of an A100 with 81920.
_LACKING = 900 * MIB
_MEMORY = re.compile(r"(\d+) MiB", re.ASCII)
_CAPABILITY = re.compile(r"\d{1,2}\.\d", re.ASCII)


@dataclass(frozen=True, slots=True)
class Cards:
    """GPUs of one model.

    Attributes:
        name: of the catalogue; None for a card that it has not.
        title: for people.
        count: how many.
        memory: bytes that CUDA will report at least, of a card that the catalogue has not.
        compute_capability: of the same, such as `8.9`.
    """

    name: str | None
    title: str
    count: int
    memory: int | None = None
    compute_capability: str | None = None


def detect() -> tuple[Cards, ...]:
    """What nvidia-smi finds, most cards first; nothing where it is not there, or does not answer."""
    try:
        found = subprocess.run(QUERY, capture_output=True, text=True, errors="replace", timeout=_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    return cards(found.stdout)


def cards(text: str) -> tuple[Cards, ...]:
    """The same of what it printed."""
    counted = Counter(_rows(text.splitlines()))
    return tuple(
        _cards(title, memory, capability, count) for (title, memory, capability), count in counted.most_common()
    )


def _rows(lines: Iterable[str]) -> Iterator[tuple[str, int, str]]:
    for row in csv.reader(lines, skipinitialspace=True):
        if len(row) != _COLUMNS:
            continue
        title, memory, _, capability = (part.strip() for part in row)
        size = _MEMORY.fullmatch(memory)
        # A GPU that shares the CPU's memory has no total of its own: nvidia-smi then says [N/A].
        yield title, int(size[1]) * MIB if size is not None else 0, capability


def _cards(title: str, memory: int, capability: str, count: int) -> Cards:
    names = [name for name in same_gpus(title) if not memory or abs(GPUS[name].memory - memory) < _NEAR]
    if names:
        nearest = min(names, key=lambda name: abs(GPUS[name].memory - memory))
        return Cards(nearest, GPUS[nearest].title, count)
    if memory > _LACKING and _CAPABILITY.fullmatch(capability):
        return Cards(None, title, count, memory - _LACKING, capability)
    return Cards(None, title, count)
