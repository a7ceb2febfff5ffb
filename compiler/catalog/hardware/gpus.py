"""GPUs that a spec may name, and the spellings under which they are known.

`memory` is the total that CUDA reports (torch.cuda.mem_get_info, and CUDA's out-of-memory message), never the number on
the box. Driver, ECC and reserved pages move it by some hundred MiB between machines, so the smallest total seen in
public logs of the unpartitioned card is taken: a plan that fits it fits the others.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from compiler.catalog.hardware.cards import CARDS, Card
from compiler.catalog.hardware.mig import MIG_PROFILES, MigProfile
from compiler.catalog.hardware.multiprocessors import MULTIPROCESSORS
from compiler.units import parse_bytes

# Jetson Orin, Jetson Thor, GB10: vLLM asks `is_integrated` of the device (vllm/platforms/cuda.py).
_SHARED_MEMORY = {(8, 7), (11, 0), (12, 1)}
# 20.4 GiB of a GB10: 101.3 of 121.69 were free after many fresh starts without a desktop (vLLM's start-up check).
_SYSTEM_PERMILLE = 172


@dataclass(frozen=True, slots=True)
class Gpu:
    """One card.

    Attributes:
        memory: bytes, as CUDA reports the total.
        memory_source: the range seen and where, or how it was estimated.
        bandwidth: of its memory, in 10⁹ bytes a second, and where that is stated.
        multiprocessors: streaming multiprocessors of a whole card.
        nvlink: which generation joins its GPUs, and in which forms of the card; None where there is none.
        mig: slices into which it can be cut.
        refusal: why the pinned GPU build does not run on it; None where it does.
    """

    name: str
    title: str
    memory: int
    compute_capability: tuple[int, int]
    memory_source: str
    bandwidth: int
    bandwidth_source: str
    multiprocessors: int
    nvlink: str | None = None
    mig: tuple[MigProfile, ...] = field(default=(), repr=False)
    refusal: str | None = None

    @property
    def product(self) -> str:
        """The words that the driver's name of the card has too, such as `L40S` or `RTX 4070 Ti SUPER`."""
        return re.sub(r"^(Tesla|GeForce|Quadro|AMD Instinct) | \d+ GB$| \(.*\)$", "", self.title)

    @property
    def is_estimated(self) -> bool:
        """Whether no total of CUDA's was found for it, or none of a driver that the engine runs with."""
        return self.memory_source.startswith("estimate")

    @property
    def system_memory(self) -> int:
        """Bytes of `memory` that the operating system and its programs use, where both share one memory."""
        return system_memory(self.memory) if shares_memory(self.compute_capability) else 0

    def profile(self, name: str) -> MigProfile | None:
        """The slice of that name."""
        return next((profile for profile in self.mig if profile.name == name), None)


def shares_memory(capability: tuple[int, int] | None) -> bool:
    """Whether GPUs of a compute capability have no memory of their own, but use that of the CPU."""
    return capability in _SHARED_MEMORY


def system_memory(memory: int) -> int:
    """Bytes of a memory that CPU and GPU share which are not free even before a server starts."""
    return memory * _SYSTEM_PERMILLE // 1000


def _gpu(card: Card) -> Gpu:
    return Gpu(
        name=card.name,
        title=card.title,
        memory=parse_bytes(f"{card.total.gibibytes}GiB"),
        compute_capability=card.capability,
        memory_source=card.total.source,
        bandwidth=card.bandwidth,
        bandwidth_source=f"data sheet of the {card.title}{card.form}",
        multiprocessors=MULTIPROCESSORS[card.name],
        nvlink=card.nvlink,
        mig=MIG_PROFILES.get(card.name, ()),
        refusal=card.refusal,
    )


GPUS = {card.name: _gpu(card) for card in CARDS}

# Words of a name that tell no two cards of the catalog apart: the maker, families, forms, and what a board is.
_WORDS = re.compile(
    r"nvidia|geforce|tesla|quadro(?!rtx\d)|amd|instinct|generation|(server|(maxq)?workstation)?edition"
    r"|gpu|sxm\d?(ac)?|hbm\d?e?|(?<=\d)gi?b"
)
_SIZE = re.compile(r"-\d+gb$")


def same_gpus(name: str) -> tuple[str, ...]:
    """Catalog names of the very card that `name` means, spelled otherwise; several where its memory is left open."""
    wanted = _spelling(name)
    # Of most cards the PCIe form is the same to a plan.
    found = _spelled(wanted) or _spelled(wanted.replace("pcie", ""))
    return found if wanted else ()


def _spelled(wanted: str) -> tuple[str, ...]:
    exact = [gpu.name for gpu in GPUS.values() if wanted in (_spelling(gpu.name), _spelling(gpu.title))]
    sized = (gpu.name for gpu in GPUS.values() if _SIZE.search(gpu.name) and wanted in _without_size(gpu))
    return tuple(exact or sized)


def _without_size(gpu: Gpu) -> tuple[str, str]:
    return _spelling(_SIZE.sub("", gpu.name)), _spelling(re.sub(r" \d+ GB$", "", gpu.title))


def _spelling(name: str) -> str:
    """A name without case, separators and words that every card has; `rtx` alone is left out before a number."""
    letters = re.sub(r"[^a-z0-9]", "", re.sub(r"\(.*?\)", "", name.lower()))
    return re.sub(r"^rtx(?=\d{4})", "", _WORDS.sub("", letters))


def next_larger(memory: int, capability: tuple[int, int]) -> tuple[Gpu, ...]:
    """Cards with more memory that the engine runs on: smallest first, those of an older generation after all others."""
    larger = (gpu for gpu in GPUS.values() if gpu.memory - gpu.system_memory > memory and gpu.refusal is None)
    return tuple(sorted(larger, key=lambda gpu: (gpu.compute_capability < capability, gpu.memory, gpu.name)))
