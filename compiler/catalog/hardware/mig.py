"""MIG: slices of one GPU that are GPUs of their own, with a share of its memory and of its multiprocessors.

Slices cannot reach each other (no peer access, no NVLink), so a server runs on one slice. A slice's memory is the one
that `nvidia-smi mig -lgip` lists on the whole card, or what CUDA reports inside it where that is known.
"""

from __future__ import annotations

from dataclasses import dataclass

from compiler.units import parse_bytes


@dataclass(frozen=True, slots=True)
class MigProfile:
    """One kind of slice.

    Attributes:
        multiprocessors: of the card's.
        most: slices of this kind on one card.
    """

    name: str
    memory: int
    multiprocessors: int
    most: int
    memory_source: str


def _profiles(source: str, rows: str) -> tuple[MigProfile, ...]:
    """Rows of name, GiB, multiprocessors, and how many fit on a card."""
    found = []
    for row in rows.split(","):
        name, memory, multiprocessors, most = row.split()
        size = parse_bytes(f"{memory}GiB")
        found.append(MigProfile(name, size, int(multiprocessors), int(most), f"{memory} GiB, {source}"))
    return tuple(found)


_LISTED = "by `nvidia-smi mig -lgip`"

MIG_PROFILES: dict[str, tuple[MigProfile, ...]] = {
    "a100-40gb": _profiles(
        _LISTED, "1g.5gb 4.75 14 7,2g.10gb 9.75 28 3,3g.20gb 19.62 42 2,4g.20gb 19.62 56 1,7g.40gb 39.38 98 1"
    ),
    "a100-80gb": _profiles(
        f"{_LISTED}; CUDA reports 39.25 GiB in a 3g.40gb",
        "1g.10gb 9.5 14 7,1g.20gb 19.5 14 4,2g.20gb 19.5 28 3,3g.40gb 39.25 42 2,4g.40gb 39.25 56 1,7g.80gb 79.0 98 1",
    ),
    "h100-80gb": _profiles(
        _LISTED,
        "1g.10gb 9.75 16 7,1g.20gb 19.62 26 4,2g.20gb 19.62 32 3,3g.40gb 39.38 60 2,4g.40gb 39.38 64 1,"
        "7g.80gb 79.12 132 1",
    ),
    "h200": _profiles("rounded down from the 69.8 GiB that CUDA reports in it", "3g.71gb 69.75 60 2"),
    "rtx-pro-6000": _profiles(_LISTED, "1g.24gb 23.62 46 4,2g.48gb 47.38 94 2,4g.96gb 95.0 188 1"),
}
