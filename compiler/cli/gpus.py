"""`stackc gpus`: the catalog, with what its figures rest on."""

from __future__ import annotations

import click

from compiler.catalog.gpus import GPUS, Gpu
from compiler.cli.report import FORMAT, finish
from compiler.units import format_gib


@click.command("gpus")
@FORMAT
def command(*, form: str) -> None:
    """List the GPUs that a spec may name, with their memory as CUDA reports it."""
    ordered = sorted(GPUS.values(), key=lambda gpu: (gpu.memory, gpu.name))
    width = max(len(gpu.name) for gpu in ordered)
    lines = [
        f"{gpu.name:{width}}  {format_gib(gpu.memory):>7} GiB  {_dotted(gpu):<4}  {gpu.memory_source}"
        for gpu in ordered
    ]
    records = [
        {
            "name": gpu.name,
            "title": gpu.title,
            "memory_bytes": gpu.memory,
            "compute_capability": _dotted(gpu),
            "source": gpu.memory_source,
        }
        for gpu in ordered
    ]
    finish(form, (), result={"gpus": records}, lines=lines)


def _dotted(gpu: Gpu) -> str:
    return ".".join(map(str, gpu.compute_capability))
