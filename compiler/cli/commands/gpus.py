"""`stackc gpus`: the catalog, with what its figures rest on."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import wrap
from typing import Any

import click

from compiler.catalog.hardware.gpus import GPUS, Gpu
from compiler.cli.report import FORMAT, finish
from compiler.cli.terminal import terminal_width
from compiler.units import format_gib


@click.command("gpus")
@click.option("--sources", "-v", "--verbose", is_flag=True, help="Say of every figure where it is from.")
@click.option("--prices", is_flag=True, help="Say what an hour of one was offered for, with the date.")
@FORMAT
def command(*, sources: bool, prices: bool, form: str) -> None:
    """List the GPUs that a spec may name, with their memory as CUDA reports it."""
    if prices:
        from compiler.cli.run.cost.gpus import run

        run(form, sources=sources)
    ordered = sorted(GPUS.values(), key=lambda gpu: (gpu.memory, gpu.name))
    lines = [_HEADER]
    lines += [line for gpu in ordered for line in _lines(gpu, sources=sources)]
    finish(form, (), result={"gpus": [_record(gpu) for gpu in ordered]}, lines=lines)


def _lines(gpu: Gpu, *, sources: bool) -> Iterator[str]:
    """One for its figures, and those of what not every card has."""
    figures = f"{format_gib(gpu.memory):>7} GiB  {_dotted(gpu) or '–':<4}  {gpu.bandwidth:>4} GB/s"
    yield f"{gpu.name:{_NAME}}  {figures}{'  estimated' if gpu.is_estimated else ''}"
    for text in _remarks(gpu, sources=sources):
        yield from wrap(text, terminal_width(), initial_indent=_INDENT, subsequent_indent=_INDENT + "  ")


_NAME = max(map(len, GPUS))
_INDENT = "    "
_HEADER = f"{'GPU':{_NAME}}  {'memory':>11}  CC    bandwidth"


def _remarks(gpu: Gpu, *, sources: bool) -> Iterator[str]:
    if gpu.nvlink is not None:
        yield gpu.nvlink
    if gpu.system_memory:
        yield f"of a memory that the CPU uses too: {format_gib(gpu.system_memory)} GiB stay with the system (W0203)"
    if gpu.mig:
        yield "MIG: " + ", ".join(f"{profile.name} {format_gib(profile.memory)} GiB" for profile in gpu.mig)
    if gpu.refusal is not None:
        yield f"not served: {gpu.refusal}"
    if sources:
        yield f"memory: {gpu.memory_source}"
        yield f"bandwidth: {gpu.bandwidth_source}"


def _record(gpu: Gpu) -> dict[str, Any]:
    return {
        "name": gpu.name,
        "title": gpu.title,
        "memory_bytes": gpu.memory,
        "compute_capability": _dotted(gpu),
        "source": gpu.memory_source,
        "estimated": gpu.is_estimated,
        "bandwidth_gb_per_second": gpu.bandwidth,
        "bandwidth_source": gpu.bandwidth_source,
        "nvlink": gpu.nvlink,
        "system_memory_bytes": gpu.system_memory,
        "not_served": gpu.refusal,
        "mig": [
            {
                "profile": profile.name,
                "memory_bytes": profile.memory,
                "multiprocessors": profile.multiprocessors,
                "most_per_card": profile.most,
                "source": profile.memory_source,
            }
            for profile in gpu.mig
        ],
    }


def _dotted(gpu: Gpu) -> str | None:
    return ".".join(map(str, gpu.compute_capability)) if any(gpu.compute_capability) else None
