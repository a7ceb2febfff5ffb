"""GPUs that a spec may name.

`memory` is the total that CUDA reports (torch.cuda.mem_get_info, and CUDA's out-of-memory message), never the number on
the box. Driver, ECC and reserved pages move it by some hundred MiB between machines, so the smallest total seen in
public logs of the unpartitioned card is taken: a plan that fits it fits the others.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from compiler.catalog.mig import MIG_PROFILES, MigProfile
from compiler.units import parse_bytes


@dataclass(frozen=True, slots=True)
class Gpu:
    """One card.

    Attributes:
        memory: bytes, as CUDA reports the total.
        memory_source: the range seen and where.
        bandwidth: of its memory, in 10⁹ bytes a second, and where that is stated.
        nvlink: which generation joins its GPUs, and in which forms of the card; None where there is none.
        mig: slices into which it can be cut.
        system_memory: bytes of `memory` that the operating system and its programs use, where both share one memory.
        refusal: why the pinned GPU build does not run on it; None where it does.
    """

    name: str
    title: str
    memory: int
    compute_capability: tuple[int, int]
    memory_source: str
    bandwidth: int
    bandwidth_source: str
    nvlink: str | None = None
    mig: tuple[MigProfile, ...] = field(default=(), repr=False)
    system_memory: int = 0
    refusal: str | None = None

    @property
    def product(self) -> str:
        """The word of the title that the driver's name of the card has too, such as `L40S` or `6000`."""
        return next(word for word in self.title.split() if any(map(str.isdigit, word)))

    def profile(self, name: str) -> MigProfile | None:
        """The slice of that name."""
        return next((profile for profile in self.mig if profile.name == name), None)


@dataclass(frozen=True, slots=True)
class _Speed:
    """Bandwidth in 10⁹ bytes a second, and what joins several cards."""

    bandwidth: int
    nvlink: str | None = None
    form: str = ""


def _gpu(name: str, title: str, memory: str, capability: tuple[int, int], seen: str, *, speed: _Speed) -> Gpu:
    return Gpu(
        name=name,
        title=title,
        memory=parse_bytes(f"{memory}GiB"),
        compute_capability=capability,
        memory_source=f"CUDA reports {seen}",
        bandwidth=speed.bandwidth,
        bandwidth_source=f"data sheet of the {title}{speed.form}",
        nvlink=speed.nvlink,
        mig=MIG_PROFILES.get(name, ()),
    )


_LOGS = "in vLLM start-up logs"
_OOM = "in CUDA out-of-memory messages"
_LEAST = "the smallest is taken"
_BRIDGE = "NVLink 3 between two cards with a bridge"

_SXM = ", SXM form"

GPUS = {
    gpu.name: gpu
    for gpu in (
        _gpu("t4", "Tesla T4", "14.56", (7, 5), f"14.56 to 14.74 GiB {_LOGS}, {_LEAST}", speed=_Speed(320)),
        _gpu("a10", "A10", "22.09", (8, 6), f"22.09 GiB {_LOGS}", speed=_Speed(600)),
        _gpu("a10g", "A10G", "21.95", (8, 6), f"21.95 to 21.99 GiB {_LOGS}, {_LEAST}", speed=_Speed(600)),
        _gpu("l4", "L4", "22.16", (8, 9), f"22.16 GiB {_LOGS}", speed=_Speed(300)),
        _gpu(
            "rtx-3090",
            "GeForce RTX 3090",
            "23.56",
            (8, 6),
            f"23.56 to 23.69 GiB {_LOGS}, {_LEAST}",
            speed=_Speed(936, _BRIDGE),
        ),
        _gpu(
            "rtx-4090", "GeForce RTX 4090", "23.52", (8, 9), f"23.52 to 23.65 GiB {_LOGS}, {_LEAST}", speed=_Speed(1008)
        ),
        _gpu(
            "rtx-5090", "GeForce RTX 5090", "31.36", (12, 0), f"31.36 to 31.51 GiB {_OOM}, {_LEAST}", speed=_Speed(1792)
        ),
        _gpu(
            "rtx-6000-ada", "RTX 6000 Ada", "47.27", (8, 9), f"47.27 to 47.53 GiB {_OOM}, {_LEAST}", speed=_Speed(960)
        ),
        _gpu(
            "rtx-pro-6000",
            "RTX PRO 6000 Blackwell",
            "94.96",
            (12, 0),
            f"94.96 to 94.98 GiB {_OOM}, {_LEAST}",
            speed=_Speed(1792),
        ),
        _gpu(
            "a6000",
            "RTX A6000",
            "44.55",
            (8, 6),
            f"44.55 GiB with ECC on, more without, {_LOGS}",
            speed=_Speed(768, _BRIDGE),
        ),
        _gpu("a40", "A40", "44.99", (8, 6), f"44.99 GiB {_LOGS}", speed=_Speed(696, _BRIDGE)),
        _gpu("l40s", "L40S", "44.42", (8, 9), f"44.42 to 44.52 GiB {_LOGS}, {_LEAST}", speed=_Speed(864)),
        _gpu(
            "a100-40gb",
            "A100 40 GB",
            "39.38",
            (8, 0),
            f"39.38 to 39.56 GiB {_LOGS}, {_LEAST}",
            speed=_Speed(1555, "NVLink 3 in the SXM form, between two PCIe cards with a bridge", _SXM),
        ),
        _gpu(
            "a100-80gb",
            "A100 80 GB",
            "79.14",
            (8, 0),
            f"79.14 to 79.32 GiB {_LOGS}, {_LEAST}",
            speed=_Speed(2039, "NVLink 3 in the SXM form, between two PCIe cards with a bridge", _SXM),
        ),
        _gpu(
            "h100-80gb",
            "H100 80 GB",
            "79.18",
            (9, 0),
            f"79.18 to 79.22 GiB {_LOGS}, {_LEAST}",
            speed=_Speed(3350, "NVLink 4 in the SXM form, between two PCIe cards with a bridge", _SXM),
        ),
        _gpu("gh200-96gb", "GH200 96 GB", "95.0", (9, 0), f"95.0 GiB {_LOGS}", speed=_Speed(4000)),
        _gpu(
            "h200", "H200", "139.72", (9, 0), f"139.72 to 139.81 GiB {_OOM}, {_LEAST}", speed=_Speed(4800, "NVLink 4")
        ),
        _gpu("b200", "B200", "178.35", (10, 0), f"178.35 GiB {_LOGS}", speed=_Speed(8000, "NVLink 5")),
        replace(
            _gpu(
                "gb10",
                "GB10 (DGX Spark)",
                "119.18",
                (12, 1),
                f"119.18 to 121.69 GiB {_OOM}, {_LEAST}; the CPU uses the same memory",
                speed=_Speed(273),
            ),
            # Of 121.69 GiB, 101.3 were free after many fresh starts without a desktop (vLLM's start-up check).
            system_memory=parse_bytes("20.4GiB"),
        ),
        Gpu(
            name="mi300x",
            title="AMD Instinct MI300X",
            memory=parse_bytes("191.45GiB"),
            compute_capability=(0, 0),
            memory_source=f"HIP reports 191.45 GiB {_LOGS}",
            bandwidth=5300,
            bandwidth_source="data sheet of the AMD Instinct MI300X",
            nvlink="Infinity Fabric",
            refusal="vLLM's pinned release is its CUDA build, and this card (gfx942) needs the ROCm build",
        ),
    )
}


# Words of a name that tell no two cards of the catalog apart: the maker, families, forms, and what a board is.
_WORDS = re.compile(r"nvidia|geforce|tesla|quadro|amd|instinct|generation|edition|gpu|sxm\d?|hbm\d?e?|(?<=\d)gi?b")


def same_gpus(name: str) -> tuple[str, ...]:
    """Catalog names of the very card that `name` means, spelled otherwise; several where its memory is left open."""
    wanted = _spelling(name)
    exact = [gpu.name for gpu in GPUS.values() if wanted in (_spelling(gpu.name), _spelling(gpu.title))]
    if exact or not wanted:
        return tuple(exact)
    sizes = re.compile(re.escape(wanted) + r"\d{2,3}")
    return tuple(gpu.name for gpu in GPUS.values() if sizes.fullmatch(_spelling(gpu.name)))


def _spelling(name: str) -> str:
    """A name without case, separators and words that every card has; `rtx` alone is left out before a number."""
    letters = re.sub(r"[^a-z0-9]", "", re.sub(r"\(.*?\)", "", name.lower()))
    return re.sub(r"^rtx(?=\d{4})", "", _WORDS.sub("", letters))


def next_larger(memory: int) -> tuple[Gpu, ...]:
    """Cards with more memory that the engine runs on, smallest first."""
    larger = (gpu for gpu in GPUS.values() if gpu.memory - gpu.system_memory > memory and gpu.refusal is None)
    return tuple(sorted(larger, key=lambda gpu: (gpu.memory, gpu.name)))
