"""The page of the catalogue's GPUs."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.catalog.hardware.gpus import GPUS, Gpu
from compiler.units import format_gib
from tools.reference.markdown import code, table

BEGINNING = """# GPUs

What `gpus.model` of a spec may name, and `--gpu` of a command. Memory is the total that CUDA reports, in GiB: the
smallest that was seen of the card, not the number on the box. `stackc gpus --sources` prints the same. What to write
for [a card that is not here](../how-to/own-stack.md#a-card-that-is-not-in-the-catalogue).
"""


def pages() -> dict[str, str]:
    """One page: a table, and where each figure is from."""
    ordered = sorted(GPUS.values(), key=lambda gpu: (gpu.memory, gpu.name))
    head = ("name", "card", "GiB", "compute capability", "GB/s", "remarks")
    sources = [(code(gpu.name), _sentence(gpu.memory_source), _sentence(gpu.bandwidth_source)) for gpu in ordered]
    parts = (
        BEGINNING,
        table(head, map(_row, ordered)),
        "## Where the figures are from\n",
        table(("name", "memory", "bandwidth"), sources),
    )
    return {"reference/gpus.md": "\n".join(parts)}


def _row(gpu: Gpu) -> tuple[str, ...]:
    capability = ".".join(map(str, gpu.compute_capability)) if any(gpu.compute_capability) else "–"
    return (
        code(gpu.name),
        gpu.title,
        format_gib(gpu.memory),
        capability,
        str(gpu.bandwidth),
        "; ".join(_remarks(gpu)),
    )


def _remarks(gpu: Gpu) -> Iterator[str]:
    if gpu.is_estimated:
        yield "memory is estimated"
    if gpu.nvlink is not None:
        yield gpu.nvlink
    if gpu.system_memory:
        yield f"shares its memory with the CPU: {format_gib(gpu.system_memory)} GiB stay with the system"
    if gpu.mig:
        yield "MIG: " + ", ".join(f"{code(each.name)} {format_gib(each.memory)}" for each in gpu.mig)
    if gpu.refusal is not None:
        yield f"not served: {gpu.refusal}"


def _sentence(text: str) -> str:
    """Names of functions and files have underscores, which are no emphasis."""
    return text.replace("_", "\\_").replace("*", "\\*")
