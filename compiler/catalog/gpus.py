"""GPUs that a spec may name.

`memory` is the total that CUDA reports (torch.cuda.mem_get_info, and CUDA's out-of-memory message), never the number on
the box. Driver, ECC and reserved pages move it by some hundred MiB between machines, so the smallest total seen in
public logs of the unpartitioned card is taken: a plan that fits it fits the others.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from compiler.units import parse_bytes


@dataclass(frozen=True, slots=True)
class Gpu:
    """One card.

    Attributes:
        memory: bytes, as CUDA reports the total.
        memory_source: the range seen and where.
    """

    name: str
    title: str
    memory: int
    compute_capability: tuple[int, int]
    memory_source: str


def _gpu(name: str, title: str, memory: str, capability: tuple[int, int], seen: str) -> Gpu:
    return Gpu(name, title, parse_bytes(f"{memory}GiB"), capability, f"CUDA reports {seen}")


_LOGS = "in vLLM start-up logs"
_OOM = "in CUDA out-of-memory messages"

GPUS = {
    gpu.name: gpu
    for gpu in (
        _gpu("t4", "Tesla T4", "14.56", (7, 5), f"14.56 to 14.74 GiB {_LOGS}, the smallest is taken"),
        _gpu("a10", "A10", "22.09", (8, 6), f"22.09 GiB {_LOGS}"),
        _gpu("a10g", "A10G", "21.95", (8, 6), f"21.95 to 21.99 GiB {_LOGS}, the smallest is taken"),
        _gpu("l4", "L4", "22.16", (8, 9), f"22.16 GiB {_LOGS}"),
        _gpu("rtx-3090", "GeForce RTX 3090", "23.56", (8, 6), f"23.56 to 23.69 GiB {_LOGS}, the smallest is taken"),
        _gpu("rtx-4090", "GeForce RTX 4090", "23.52", (8, 9), f"23.52 to 23.65 GiB {_LOGS}, the smallest is taken"),
        _gpu("rtx-5090", "GeForce RTX 5090", "31.36", (12, 0), f"31.36 to 31.51 GiB {_OOM}, the smallest is taken"),
        _gpu("rtx-6000-ada", "RTX 6000 Ada", "47.27", (8, 9), f"47.27 to 47.53 GiB {_OOM}, the smallest is taken"),
        _gpu(
            "rtx-pro-6000",
            "RTX PRO 6000 Blackwell",
            "94.96",
            (12, 0),
            f"94.96 to 94.98 GiB {_OOM}, the smallest is taken",
        ),
        _gpu("a6000", "RTX A6000", "44.55", (8, 6), f"44.55 GiB with ECC on, more without, {_LOGS}"),
        _gpu("l40s", "L40S", "44.42", (8, 9), f"44.42 to 44.52 GiB {_LOGS}, the smallest is taken"),
        _gpu("a100-40gb", "A100 40 GB", "39.38", (8, 0), f"39.38 to 39.56 GiB {_LOGS}, the smallest is taken"),
        _gpu("a100-80gb", "A100 80 GB", "79.14", (8, 0), f"79.14 to 79.32 GiB {_LOGS}, the smallest is taken"),
        _gpu("h100-80gb", "H100 80 GB", "79.18", (9, 0), f"79.18 to 79.22 GiB {_LOGS}, the smallest is taken"),
        _gpu("h200", "H200", "139.72", (9, 0), f"139.72 to 139.81 GiB {_OOM}, the smallest is taken"),
        _gpu("b200", "B200", "178.35", (10, 0), f"178.35 GiB {_LOGS}"),
    )
}


def nearest_gpus(name: str) -> tuple[str, ...]:
    """Catalog names that look like `name`, best first."""
    wanted = name.lower().replace("_", "-").replace(" ", "-").removeprefix("nvidia-")
    inside = [known for known in GPUS if wanted and (wanted in known or known in wanted)]
    close = difflib.get_close_matches(wanted, GPUS, n=3, cutoff=0.5)
    return tuple(dict.fromkeys([*inside, *close]))[:3]


def next_larger(memory: int) -> tuple[Gpu, ...]:
    """Cards with more memory, smallest first."""
    return tuple(sorted((gpu for gpu in GPUS.values() if gpu.memory > memory), key=lambda gpu: (gpu.memory, gpu.name)))
