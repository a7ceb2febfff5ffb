"""The GPUs of this machine, or their slices, as nvidia-smi has them; and its main memory."""

from __future__ import annotations

import csv
import re
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from compiler.catalog.hardware.gpus import GPUS, same_gpus
from compiler.units import GIB, KIB, MIB

LIST = ("nvidia-smi", "-L")
QUERY = ("nvidia-smi", "--query-gpu=name,memory.total,uuid,compute_cap", "--format=csv,noheader")
_SECONDS = 20
_COLUMNS = 4
_NEAR = 2 * GIB
"""By which nvidia-smi's total and CUDA's differ at most, so that of two cards with one name the right one is taken."""
# What CUDA lacks of nvidia-smi's total, at most, of the cards in the catalogue: 881 MiB of an A100 with 81920.
_LACKING = 900 * MIB
_MEMORY = re.compile(r"(\d+) MiB", re.ASCII)
_MEMINFO = Path("/proc/meminfo")
_WHOLE = re.compile(r"GPU \d+: .* \(UUID: (GPU-[0-9a-f-]+)\)", re.ASCII)
_SLICE = re.compile(r"MIG (\S+) +Device +\d+: \(UUID: (MIG-[0-9a-f-]+)\)", re.ASCII)
_CAPABILITY = re.compile(r"\d{1,2}\.\d", re.ASCII)


@dataclass(frozen=True, slots=True)
class Cards:
    """GPUs of one model, slices of one profile, or the CPU.

    Attributes:
        name: of the catalogue; None for a card that it has not.
        title: for people.
        count: how many.
        memory: bytes that CUDA will report at least, of a card that the catalogue has not; of main memory, to use.
        compute_capability: of the same, such as `8.9`.
        mig: the profile of slices.
        uuids: of each of them, where the machine has others too.
    """

    name: str | None
    title: str
    count: int
    memory: int | None = None
    compute_capability: str | None = None
    mig: str | None = None
    uuids: tuple[str, ...] = ()
    is_cpu: bool = False


def detect() -> tuple[Cards, ...]:
    """What nvidia-smi finds, most cards first; nothing where it is not there, or does not answer."""
    found = _asked(QUERY)
    return cards(found, _asked(LIST)) if found else ()


def main_memory() -> int:
    """Bytes of it that a stack may take: half, in whole GiB, and 8 GiB where nobody says how much there is."""
    try:
        found = re.search(r"^MemTotal: +(\d+) kB", _MEMINFO.read_text(encoding="ascii"), re.MULTILINE)
    except (OSError, ValueError):
        found = None
    return max(1, int(found[1]) * KIB // 2 // GIB) * GIB if found is not None else 8 * GIB


def cpu() -> Cards:
    """The CPU of this machine."""
    return Cards(None, "CPU", 1, main_memory(), is_cpu=True)


def _asked(command: tuple[str, ...]) -> str:
    try:
        found = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return found.stdout


def cards(text: str, listed: str = "") -> tuple[Cards, ...]:
    """The same of what it printed; a GPU that is cut into slices is no GPU to serve on, its slices are.

    Args:
        listed: of `nvidia-smi -L`, which has the slices below each GPU.
    """
    slices = _slices(listed)
    whole: dict[tuple[str, int, str], list[str]] = {}
    cut: dict[tuple[str, int, str, str], list[str]] = {}
    for title, memory, capability, card in _rows(text.splitlines()):
        if card not in slices:
            whole.setdefault((title, memory, capability), []).append(card)
        for profile, own in slices.get(card, ()):
            cut.setdefault((title, memory, capability, profile), []).append(own)
    found = [_cards(*figures, len(own)) for figures, own in whole.items()]
    if len(whole) > 1 or cut:
        # Their numbers depend on the other cards, and where those stand.
        found = [replace(each, uuids=tuple(own)) for each, own in zip(found, whole.values(), strict=True)]
    found += [
        replace(_cards(title, memory, capability, len(own)), mig=profile, uuids=tuple(own))
        for (title, memory, capability, profile), own in cut.items()
    ]
    return tuple(sorted(found, key=lambda one: -one.count))


def _slices(listed: str) -> dict[str, list[tuple[str, str]]]:
    """Profile and UUID of each slice, by the UUID of its GPU."""
    found: dict[str, list[tuple[str, str]]] = {}
    card = ""
    for line in listed.splitlines():
        if (own := _SLICE.fullmatch(line.strip())) is not None:
            found.setdefault(card, []).append((own[1], own[2]))
        elif (whole := _WHOLE.fullmatch(line.strip())) is not None:
            card = whole[1]
    return found


def _rows(lines: Iterable[str]) -> Iterator[tuple[str, int, str, str]]:
    for row in csv.reader(lines, skipinitialspace=True):
        if len(row) != _COLUMNS:
            continue
        title, memory, uuid, capability = (part.strip() for part in row)
        size = _MEMORY.fullmatch(memory)
        # A GPU that shares the CPU's memory has no total of its own: nvidia-smi then says [N/A].
        yield title, int(size[1]) * MIB if size is not None else 0, capability, uuid


def _cards(title: str, memory: int, capability: str, count: int) -> Cards:
    names = [name for name in same_gpus(title) if not memory or abs(GPUS[name].memory - memory) < _NEAR]
    if names:
        nearest = min(names, key=lambda name: abs(GPUS[name].memory - memory))
        return Cards(nearest, GPUS[nearest].title, count)
    if memory > _LACKING and _CAPABILITY.fullmatch(capability):
        return Cards(None, title, count, memory - _LACKING, capability)
    return Cards(None, title, count)
