"""What cards do in a second, by their data sheets.

Peaks are dense ones, without sparsity; those of GeForce cards with sums in 32 bits, as engines ask for. Names are those
of the catalog, and a few more that measurements were published of.
"""

from __future__ import annotations

from dataclasses import dataclass

from compiler.speed.constants import CardClass, Link


@dataclass(frozen=True, slots=True)
class Card:
    """One card.

    Attributes:
        bandwidth: of its memory, 10⁹ bytes a second.
        bf16, fp8, fp4, int8: 10¹² operations a second; None where it has no units for them.
        link_bandwidth: one way, 10⁹ bytes a second.
        thin: why estimates of it rest on other cards; None where it was measured.
    """

    name: str
    kind: CardClass
    bandwidth: float
    bf16: float
    fp8: float | None
    fp4: float | None
    int8: float
    link: Link
    link_bandwidth: float
    thin: str | None = None

    @property
    def consumer(self) -> bool:
        """Whether it is a card for games, which reach each other by way of the host alone."""
        return self.link is Link.HOST


_FEW = "hardly any measurement of it is published"
_C, _L = CardClass, Link

# fmt: off
CARDS = {card.name: card for card in (
    Card("t4", _C.TURING, 320, 65, None, None, 130, _L.PCIE, 12, _FEW),
    Card("rtx-2080-ti", _C.TURING, 616, 53.8, None, None, 215, _L.HOST, 12, _FEW),
    Card("quadro-rtx-6000", _C.TURING, 672, 130.5, None, None, 261, _L.PCIE, 12, _FEW),
    Card("quadro-rtx-8000", _C.TURING, 672, 130.5, None, None, 261, _L.PCIE, 12, _FEW),
    Card("rtx-3060-12gb", _C.AMPERE_PCIE, 360, 25.5, None, None, 102, _L.HOST, 25, _FEW),
    Card("rtx-3070", _C.AMPERE_PCIE, 448, 40.6, None, None, 163, _L.HOST, 25, _FEW),
    Card("rtx-3080-10gb", _C.AMPERE_PCIE, 760, 59.5, None, None, 238, _L.HOST, 25, _FEW),
    Card("rtx-3080-12gb", _C.AMPERE_PCIE, 912, 61.3, None, None, 245, _L.HOST, 25, _FEW),
    Card("rtx-3080-ti", _C.AMPERE_PCIE, 912, 68.2, None, None, 273, _L.HOST, 25, _FEW),
    Card("rtx-3090", _C.AMPERE_PCIE, 936, 71, None, None, 284, _L.HOST, 25),
    Card("rtx-3090-ti", _C.AMPERE_PCIE, 1008, 80, None, None, 320, _L.HOST, 25, _FEW),
    Card("a2000-12gb", _C.AMPERE_PCIE, 288, 31.9, None, None, 63.9, _L.PCIE, 25, _FEW),
    Card("a4000", _C.AMPERE_PCIE, 448, 76.7, None, None, 153, _L.PCIE, 25, _FEW),
    Card("a4500", _C.AMPERE_PCIE, 640, 94.6, None, None, 189, _L.PCIE, 25, _FEW),
    Card("a5000", _C.AMPERE_PCIE, 768, 111, None, None, 222, _L.PCIE, 25),
    Card("a6000", _C.AMPERE_PCIE, 768, 155, None, None, 310, _L.PCIE, 25),
    Card("a10", _C.AMPERE_PCIE, 600, 125, None, None, 250, _L.PCIE, 25, _FEW),
    Card("a10g", _C.AMPERE_PCIE, 600, 70, None, None, 140, _L.PCIE, 25, _FEW),
    Card("a40", _C.AMPERE_PCIE, 696, 149.7, None, None, 299, _L.PCIE, 25, _FEW),
    Card("a30", _C.AMPERE_HBM, 933, 165, None, None, 330, _L.PCIE, 25, _FEW),
    Card("a100-40gb", _C.AMPERE_HBM, 1555, 312, None, None, 624, _L.NVLINK, 300),
    Card("a100-80gb", _C.AMPERE_HBM, 2039, 312, None, None, 624, _L.NVLINK, 300),
    Card("a100-80gb-pcie", _C.AMPERE_HBM, 1935, 312, None, None, 624, _L.NVLINK, 300),
    Card("rtx-4060", _C.ADA, 272, 30.2, 60.4, None, 121, _L.HOST, 12, _FEW),
    Card("rtx-4060-ti-16gb", _C.ADA, 288, 44.1, 88.2, None, 177, _L.HOST, 12, _FEW),
    Card("rtx-4070", _C.ADA, 504, 58, 117, None, 233, _L.HOST, 25, _FEW),
    Card("rtx-4070-super", _C.ADA, 504, 71, 142, None, 284, _L.HOST, 25, _FEW),
    Card("rtx-4070-ti", _C.ADA, 504, 80.2, 160, None, 321, _L.HOST, 25, _FEW),
    Card("rtx-4070-ti-super", _C.ADA, 672, 88.2, 176, None, 353, _L.HOST, 25, _FEW),
    Card("rtx-4080", _C.ADA, 717, 97.5, 195, None, 390, _L.HOST, 25, _FEW),
    Card("rtx-4080-super", _C.ADA, 736, 104, 209, None, 418, _L.HOST, 25, _FEW),
    Card("rtx-4090", _C.ADA, 1008, 165, 330, None, 660, _L.HOST, 25),
    Card("rtx-2000-ada", _C.ADA, 224, 48, 96, None, 96, _L.PCIE, 12, _FEW),
    Card("rtx-4000-ada", _C.ADA, 360, 107, 214, None, 214, _L.PCIE, 25, _FEW),
    Card("rtx-4500-ada", _C.ADA, 432, 158.5, 317, None, 317, _L.PCIE, 25, _FEW),
    Card("rtx-5000-ada", _C.ADA, 576, 261, 522, None, 522, _L.PCIE, 25, _FEW),
    Card("rtx-6000-ada", _C.ADA, 960, 364, 728, None, 728, _L.PCIE, 25, _FEW),
    Card("l4", _C.ADA, 300, 121, 242, None, 242, _L.PCIE, 25, _FEW),
    Card("l40", _C.ADA, 864, 181, 362, None, 362, _L.PCIE, 25),
    Card("l40s", _C.ADA, 864, 362, 733, None, 733, _L.PCIE, 25),
    Card("h100-80gb", _C.HOPPER, 3350, 989, 1979, None, 1979, _L.NVLINK, 450),
    Card("h100-pcie", _C.HOPPER, 2039, 756, 1513, None, 1513, _L.PCIE, 50, _FEW),
    Card("h100-nvl", _C.HOPPER, 3900, 835, 1671, None, 1671, _L.NVLINK, 300, _FEW),
    Card("h20", _C.HOPPER, 4000, 148, 296, None, 296, _L.NVLINK, 450, _FEW),
    Card("h20-141gb", _C.HOPPER, 4800, 148, 296, None, 296, _L.NVLINK, 450, _FEW),
    Card("gh200-96gb", _C.HOPPER, 4000, 989, 1979, None, 1979, _L.NVLINK, 450),
    Card("h200", _C.HOPPER, 4800, 989, 1979, None, 1979, _L.NVLINK, 450),
    Card("h200-nvl", _C.HOPPER, 4800, 835, 1671, None, 1671, _L.NVLINK, 300, _FEW),
    Card("b200", _C.BLACKWELL_HBM, 8000, 2250, 4500, 9000, 4500, _L.NVLINK, 900),
    Card("gb200", _C.BLACKWELL_HBM, 8000, 2500, 5000, 10000, 5000, _L.NVLINK, 900, _FEW),
    Card("b300", _C.BLACKWELL_HBM, 8000, 2250, 4500, 13500, 150, _L.NVLINK, 900),
    Card("gb300", _C.BLACKWELL_HBM, 8000, 2500, 5000, 15000, 167, _L.NVLINK, 900, _FEW),
    Card("rtx-5060-ti-16gb", _C.BLACKWELL_GDDR, 448, 47.4, 95, 380, 190, _L.HOST, 12),
    Card("rtx-5070", _C.BLACKWELL_GDDR, 672, 61.7, 123, 494, 247, _L.HOST, 25, _FEW),
    Card("rtx-5070-ti", _C.BLACKWELL_GDDR, 896, 88, 176, 703, 352, _L.HOST, 25),
    Card("rtx-5080", _C.BLACKWELL_GDDR, 960, 112.6, 225, 900, 450, _L.HOST, 25, _FEW),
    Card("rtx-5090", _C.BLACKWELL_GDDR, 1792, 209.5, 419, 1676, 838, _L.HOST, 50),
    Card("rtx-pro-4000", _C.BLACKWELL_GDDR, 672, 147, 294, 589, 294, _L.PCIE, 50, _FEW),
    Card("rtx-pro-4500", _C.BLACKWELL_GDDR, 896, 211, 422, 843, 422, _L.PCIE, 50, _FEW),
    Card("rtx-pro-5000", _C.BLACKWELL_GDDR, 1344, 258, 516, 1032, 516, _L.PCIE, 50, _FEW),
    Card("rtx-pro-6000", _C.BLACKWELL_GDDR, 1792, 503, 1007, 2015, 1007, _L.PCIE, 50),
    Card("gb10", _C.GB10, 273, 125, 250, 500, 250, _L.PCIE, 12),
    Card("mi300x", _C.CDNA, 5300, 1307, 2615, None, 2615, _L.XGMI, 300),
    Card("mi250", _C.CDNA, 1638, 181, None, None, 181, _L.XGMI, 100),
    Card("max-1550", _C.XE, 1638, 419, None, None, 839, _L.PCIE, 50, _FEW),
    Card("arc-pro-b60", _C.XE, 456, 98, None, None, 197, _L.PCIE, 25, _FEW),
)}
# fmt: on
"""By name. The V100 has no answer: nothing of its class was measured, and the pinned releases refuse it."""
