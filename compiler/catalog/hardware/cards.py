"""Figures of the GPUs that a spec may name, one card an entry; compiler/catalog/hardware/gpus.py says what they mean.

A total is the smallest that was seen. Machines with Windows do not count: their drivers report the number on the box.
Where CUDA's total was found under no name, or only with drivers older than the engine asks for, it is estimated from
nvidia-smi's, and says how. ECC that takes memory counts as on wherever it can be switched on.
"""

from __future__ import annotations

from decimal import ROUND_DOWN, Decimal
from typing import NamedTuple


class Total(NamedTuple):
    """GiB as CUDA reports them, and where they were seen or how they were estimated."""

    gibibytes: str
    source: str


class Card(NamedTuple):
    """One card.

    Attributes:
        bandwidth: of its memory, in 10⁹ bytes a second, by the data sheet.
        form: of the card, that the data sheet's bandwidth is of.
        refusal: why the pinned GPU build does not run on it.
    """

    name: str
    title: str
    capability: tuple[int, int]
    total: Total
    bandwidth: int
    nvlink: str | None = None
    form: str = ""
    refusal: str | None = None


_LOGS = "in vLLM start-up logs"
_OOM = "in CUDA out-of-memory messages"
_LEAST = "the smallest is taken"

# What CUDA's total was seen to lack of nvidia-smi's, in MiB, at most: of GeForce cards 494 (RTX 5090, 32607 by
# nvidia-smi), of cards of the professional line 602 (L40 and L40S with ECC) and 648 (RTX PRO 6000, 97887).
_GEFORCE, _PROFESSIONAL, _GDDR7 = 500, 620, 660


def _reported(gibibytes: str, source: str, *, by: str = "CUDA") -> Total:
    return Total(gibibytes, f"{by} reports {source}")


def _less(mebibytes: int, lacking: int, source: str) -> Total:
    gibibytes = (Decimal(mebibytes - lacking) / 1024).quantize(Decimal("0.01"), ROUND_DOWN)
    return Total(str(gibibytes), f"estimate: {source} less {lacking} MiB, the most that CUDA lacks of it on like cards")


def _geforce(mebibytes: int, seen: str = "") -> Total:
    """Of a card without ECC, by what nvidia-smi says."""
    return _less(mebibytes, _GEFORCE, f"{seen}{mebibytes} MiB by nvidia-smi")


def _ecc(gibibytes: int, seen: str = "") -> Total:
    """Of a card whose ECC takes a sixteenth of its memory."""
    source = f"{seen}{gibibytes} GiB less a sixteenth for ECC, which may be on,"
    return _less(gibibytes * 1024 * 15 // 16, _PROFESSIONAL, source)


_BRIDGE_2 = "NVLink 2 between two cards with a bridge"
_BRIDGE_3 = "NVLink 3 between two cards with a bridge"
_BRIDGE_4 = "NVLink 4 between PCIe cards with a bridge"
_VOLTA_LINK = "NVLink 2 in the SXM form"
_AMPERE_LINK = "NVLink 3 in the SXM form, between two PCIe cards with a bridge"
_HOPPER_LINK = "NVLink 4 in the SXM form, between two PCIe cards with a bridge"
_SXM = ", SXM form"
_VOLTA = "the wheels of vLLM's pinned release have no kernels for compute capability 7.0, they start at 7.5"

_DESKTOP = (
    Card(
        "rtx-2080-ti",
        "GeForce RTX 2080 Ti",
        (7, 5),
        _reported("10.57", f"10.57 to 10.76 GiB {_OOM}, {_LEAST}"),
        616,
        _BRIDGE_2,
    ),
    Card(
        "rtx-3060-12gb",
        "GeForce RTX 3060 12 GB",
        (8, 6),
        _reported("11.62", f"11.65 to 11.76 GiB in device properties, 11.62 {_OOM} of cards of its size, {_LEAST}"),
        360,
    ),
    Card("rtx-3070", "GeForce RTX 3070", (8, 6), _geforce(8192, "7.78 GiB with drivers of 2023; "), 448),
    Card("rtx-3080-10gb", "GeForce RTX 3080 10 GB", (8, 6), _geforce(10240, "9.78 GiB with drivers of 2023; "), 760),
    Card("rtx-3080-12gb", "GeForce RTX 3080 12 GB", (8, 6), _geforce(12288), 912),
    Card("rtx-3080-ti", "GeForce RTX 3080 Ti", (8, 6), _geforce(12288), 912),
    Card(
        "rtx-3090",
        "GeForce RTX 3090",
        (8, 6),
        _reported("23.56", f"23.56 to 23.69 GiB {_LOGS}, {_LEAST}"),
        936,
        _BRIDGE_3,
    ),
    Card(
        "rtx-3090-ti",
        "GeForce RTX 3090 Ti",
        (8, 6),
        _reported("23.54", "23.54 GiB in device properties"),
        1008,
        _BRIDGE_3,
    ),
    Card("rtx-4060", "GeForce RTX 4060", (8, 9), _geforce(8188), 272),
    Card("rtx-4060-ti-16gb", "GeForce RTX 4060 Ti 16 GB", (8, 9), _reported("15.55", f"15.55 GiB {_OOM}"), 288),
    Card("rtx-4070", "GeForce RTX 4070", (8, 9), _geforce(12282), 504),
    Card("rtx-4070-super", "GeForce RTX 4070 SUPER", (8, 9), _geforce(12282), 504),
    Card("rtx-4070-ti", "GeForce RTX 4070 Ti", (8, 9), _geforce(12282, "11.73 GiB with drivers of 2023; "), 504),
    Card(
        "rtx-4070-ti-super",
        "GeForce RTX 4070 Ti SUPER",
        (8, 9),
        _geforce(16376, "15.60 GiB with drivers of 2024; "),
        672,
    ),
    Card("rtx-4080", "GeForce RTX 4080", (8, 9), _geforce(16376, "15.67 GiB with older drivers; "), 717),
    Card("rtx-4080-super", "GeForce RTX 4080 SUPER", (8, 9), _geforce(16376), 736),
    Card("rtx-4090", "GeForce RTX 4090", (8, 9), _reported("23.52", f"23.52 to 23.65 GiB {_LOGS}, {_LEAST}"), 1008),
    Card("rtx-5060-ti-16gb", "GeForce RTX 5060 Ti 16 GB", (12, 0), _geforce(16311), 448),
    Card("rtx-5070", "GeForce RTX 5070", (12, 0), _geforce(12227), 672),
    Card("rtx-5070-ti", "GeForce RTX 5070 Ti", (12, 0), _geforce(16303), 896),
    Card("rtx-5080", "GeForce RTX 5080", (12, 0), _reported("15.47", f"15.47 to 15.49 GiB {_OOM}, {_LEAST}"), 960),
    Card("rtx-5090", "GeForce RTX 5090", (12, 0), _reported("31.36", f"31.36 to 31.51 GiB {_OOM}, {_LEAST}"), 1792),
)

_WORKSTATION = (
    Card("quadro-rtx-6000", "Quadro RTX 6000", (7, 5), _ecc(24), 672, _BRIDGE_2),
    Card("quadro-rtx-8000", "Quadro RTX 8000", (7, 5), _ecc(48, "47.46 GiB without ECC; "), 672, _BRIDGE_2),
    Card("a2000-12gb", "RTX A2000 12 GB", (8, 6), _ecc(12, "11.53 GiB without ECC; "), 288),
    Card("a4000", "RTX A4000", (8, 6), _ecc(16, "15.61 GiB without ECC; "), 448),
    Card("a4500", "RTX A4500", (8, 6), _ecc(20), 640, _BRIDGE_3),
    Card("a5000", "RTX A5000", (8, 6), _ecc(24, "23.54 to 23.57 GiB without ECC; "), 768, _BRIDGE_3),
    Card(
        "a6000",
        "RTX A6000",
        (8, 6),
        _reported("44.55", f"44.55 GiB with ECC on, more without, {_LOGS}"),
        768,
        _BRIDGE_3,
    ),
    Card("rtx-2000-ada", "RTX 2000 Ada", (8, 9), _ecc(16), 224),
    Card("rtx-4000-ada", "RTX 4000 Ada", (8, 9), _ecc(20), 360),
    Card("rtx-4500-ada", "RTX 4500 Ada", (8, 9), _ecc(24), 432),
    Card("rtx-5000-ada", "RTX 5000 Ada", (8, 9), _ecc(32), 576),
    Card(
        "rtx-6000-ada",
        "RTX 6000 Ada",
        (8, 9),
        _reported("44.43", f"44.43 GiB with ECC on, 47.27 to 47.53 without, {_OOM}, {_LEAST}"),
        960,
    ),
    Card("rtx-pro-4000", "RTX PRO 4000 Blackwell", (12, 0), _less(24467, _GDDR7, "24467 MiB by nvidia-smi"), 672),
    Card(
        "rtx-pro-4500",
        "RTX PRO 4500 Blackwell",
        (12, 0),
        _reported("31.37", "33689829376 bytes with ECC on, by device properties"),
        896,
    ),
    Card("rtx-pro-5000", "RTX PRO 5000 Blackwell", (12, 0), _less(48935, _GDDR7, "48935 MiB by nvidia-smi"), 1344),
    Card(
        "rtx-pro-6000",
        "RTX PRO 6000 Blackwell",
        (12, 0),
        _reported("94.96", f"94.96 to 94.98 GiB {_OOM}, {_LEAST}"),
        1792,
    ),
)

_DATA_CENTRE = (
    Card("t4", "Tesla T4", (7, 5), _reported("14.56", f"14.56 to 14.74 GiB {_LOGS}, {_LEAST}"), 320),
    Card(
        "v100-16gb",
        "Tesla V100 16 GB",
        (7, 0),
        _reported("15.77", f"15.77 GiB {_LOGS}"),
        900,
        _VOLTA_LINK,
        refusal=_VOLTA,
    ),
    Card(
        "v100-32gb",
        "Tesla V100 32 GB",
        (7, 0),
        _reported("31.73", f"31.73 GiB {_LOGS}"),
        900,
        _VOLTA_LINK,
        refusal=_VOLTA,
    ),
    Card("a10", "A10", (8, 6), _reported("22.09", f"22.09 GiB {_LOGS}"), 600),
    Card("a10g", "A10G", (8, 6), _reported("21.95", f"21.95 to 21.99 GiB {_LOGS}, {_LEAST}"), 600),
    Card("a30", "A30", (8, 0), _reported("23.50", f"23.50 to 23.53 GiB {_OOM}, {_LEAST}"), 933, _BRIDGE_3),
    Card("a40", "A40", (8, 6), _reported("44.99", f"44.99 GiB {_LOGS}"), 696, _BRIDGE_3),
    Card("l4", "L4", (8, 9), _reported("22.03", f"22.03 to 22.16 GiB {_LOGS}, {_LEAST}"), 300),
    Card("l40", "L40", (8, 9), _reported("44.40", f"44.40 GiB {_OOM}"), 864),
    Card("l40s", "L40S", (8, 9), _reported("44.42", f"44.42 to 44.52 GiB {_LOGS}, {_LEAST}"), 864),
    Card(
        "a100-40gb",
        "A100 40 GB",
        (8, 0),
        _reported("39.38", f"39.38 to 39.56 GiB {_LOGS}, {_LEAST}"),
        1555,
        _AMPERE_LINK,
        _SXM,
    ),
    Card(
        "a100-80gb",
        "A100 80 GB",
        (8, 0),
        _reported("79.14", f"79.14 to 79.32 GiB {_LOGS}, {_LEAST}"),
        2039,
        _AMPERE_LINK,
        _SXM,
    ),
    Card(
        "h100-80gb",
        "H100 80 GB",
        (9, 0),
        _reported("79.11", f"79.11 to 79.22 GiB {_LOGS}, {_LEAST}"),
        3350,
        _HOPPER_LINK,
        _SXM,
    ),
    Card(
        "h100-pcie",
        "H100 PCIe",
        (9, 0),
        _reported("79.11", f"79.11 to 79.22 GiB in logs of the SXM form, which has the same memory, {_LEAST}"),
        2000,
        _BRIDGE_4,
    ),
    Card("h100-nvl", "H100 NVL", (9, 0), _reported("93.00", f"93.00 to 93.10 GiB {_OOM}, {_LEAST}"), 3900, _BRIDGE_4),
    Card(
        "h20",
        "H20",
        (9, 0),
        _reported("95.00", f"95.00 to 95.22 GiB {_OOM} of Hopper cards of 96 GB, {_LEAST}"),
        4000,
        "NVLink 4",
    ),
    Card("gh200-96gb", "GH200 96 GB", (9, 0), _reported("95.0", f"95.0 GiB {_LOGS}"), 4000),
    Card("h200", "H200", (9, 0), _reported("139.72", f"139.72 to 139.81 GiB {_OOM}, {_LEAST}"), 4800, "NVLink 4"),
    Card(
        "h200-nvl",
        "H200 NVL",
        (9, 0),
        Total("139.72", "estimate: that of the H200, because nvidia-smi reports 143771 MiB for both"),
        4800,
        _BRIDGE_4,
    ),
    Card("b200", "B200", (10, 0), _reported("178.35", f"178.35 GiB {_LOGS}"), 8000, "NVLink 5"),
    Card("gb200", "GB200", (10, 0), _reported("184.31", f"184.31 GiB {_LOGS}"), 8000, "NVLink 5"),
    Card("b300", "B300", (10, 3), _reported("267.69", f"267.69 GiB {_LOGS}"), 8000, "NVLink 5"),
    Card("gb300", "GB300", (10, 3), _reported("267.69", f"267.69 GiB {_LOGS}"), 8000, "NVLink 5"),
    Card(
        "gb10",
        "GB10 (DGX Spark)",
        (12, 1),
        _reported("119.18", f"119.18 to 121.69 GiB {_OOM}, {_LEAST}; the CPU uses the same memory"),
        273,
    ),
    Card(
        "mi300x",
        "AMD Instinct MI300X",
        (0, 0),
        _reported("191.45", f"191.45 GiB {_LOGS}", by="HIP"),
        5300,
        "Infinity Fabric",
        refusal="engines are pinned in their CUDA builds, and this card (gfx942) needs the ROCm build",
    ),
)

CARDS = (*_DESKTOP, *_WORKSTATION, *_DATA_CENTRE)
