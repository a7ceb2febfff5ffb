"""`stackc gpus`: the catalog, with what its figures rest on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import click

from compiler.catalog.gpus import GPUS, Gpu
from compiler.cli.report import FORMAT, finish
from compiler.units import format_gib


@click.command("gpus")
@FORMAT
def command(*, form: str) -> None:
    """List the GPUs that a spec may name, with their memory as CUDA reports it."""
    ordered = sorted(GPUS.values(), key=lambda gpu: (gpu.memory, gpu.name))
    finish(form, (), result={"gpus": [_record(gpu) for gpu in ordered]}, lines=list(_lines(ordered)))


def _lines(ordered: Sequence[Gpu]) -> Iterator[str]:
    width = max(len(gpu.name) for gpu in ordered)
    for gpu in ordered:
        figures = f"{format_gib(gpu.memory):>7} GiB  {_dotted(gpu) or '–':<4}  {gpu.bandwidth:>4} GB/s"
        yield f"{gpu.name:{width}}  {figures}  {gpu.nvlink or 'no NVLink'}; {gpu.memory_source}"
        if gpu.system_memory:
            yield f"{'':{width}}  at least {format_gib(gpu.system_memory)} GiB stay with the operating system"
        if gpu.mig:
            slices = ", ".join(f"{profile.name} {format_gib(profile.memory)} GiB" for profile in gpu.mig)
            yield f"{'':{width}}  MIG: {slices}"
        if gpu.refusal is not None:
            yield f"{'':{width}}  not served: {gpu.refusal}"


def _record(gpu: Gpu) -> dict[str, Any]:
    return {
        "name": gpu.name,
        "title": gpu.title,
        "memory_bytes": gpu.memory,
        "compute_capability": _dotted(gpu),
        "source": gpu.memory_source,
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
