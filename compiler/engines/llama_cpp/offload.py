"""How llama.cpp divides a model: whole layers over GPUs, and what stays in main memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from compiler.engines.interface.device import Machine
from compiler.spec.services import ServiceSpec
from compiler.units import counted

MOST_GPUS = 16
"""GPUs that one service is spread over: more are not found in one machine."""


@dataclass(frozen=True, slots=True)
class Offload:
    """A division.

    Attributes:
        gpus: devices, each with as many of the offloaded layers as the others, as far as that goes; on a CPU node its
            main memory.
        gpu_layers: on the GPUs, counted from the last, the output among them (`--gpu-layers`).
        cpu_moe: layers from the first whose experts stay in main memory (`--n-cpu-moe`).
        layers: all of the model, the output among them.
        beside: all of it stays in main memory beside GPUs, of which it takes nothing.
    """

    gpus: int
    gpu_layers: int
    cpu_moe: int
    layers: int
    beside: bool = False

    @property
    def is_fallback(self) -> bool:
        """What is computed in main memory is slower than all that a GPU does."""
        return self.cpu_moe > 0 or 0 < self.gpu_layers < self.layers

    @property
    def uses_host(self) -> bool:
        """Whether layers or experts stay in main memory beside GPUs."""
        return self.is_fallback or self.beside

    @property
    def whole(self) -> Offload:
        """With all layers on the same devices; a CPU node has none."""
        return Offload(self.gpus, self.layers, 0, self.layers) if self.gpu_layers else self

    def __str__(self) -> str:
        where = counted(self.gpus, "GPU") if self.gpu_layers else "the CPU"
        if self.gpu_layers and self.gpu_layers < self.layers:
            where += f" with {self.gpu_layers} of {self.layers} layers"
        return f"{where}, experts of {counted(self.cpu_moe, 'layer')} on the CPU" if self.cpu_moe else where


def divisions(service: ServiceSpec, machine: Machine, layers: int, *, has_experts: bool) -> tuple[Offload, ...]:
    """Those with all layers where the spec leaves them open, fewest GPUs first; else what it asks for."""
    if machine.devices[0].capability is None:
        return (Offload(1, 0, 0, layers + 1),)
    gpu_layers = layers + 1 if isinstance(service.gpu_layers, str) else min(service.gpu_layers, layers + 1)
    if not gpu_layers:
        return (Offload(1, 0, 0, layers + 1, beside=True),)
    cpu_moe = 0 if isinstance(service.cpu_moe, str) or not has_experts else min(service.cpu_moe, layers)
    return tuple(Offload(gpus, gpu_layers, cpu_moe, layers + 1) for gpus in _gpu_counts(service, machine))


def offloads(service: ServiceSpec, machine: Machine, layers: int, *, has_experts: bool) -> tuple[Offload, ...]:
    """What leaves ever more in main memory: experts of ever more layers, then layers. Only where memory is told.

    See interface.Variant. On all GPUs that the service may have, because what a GPU holds it need not wait for.
    """
    if machine.host is None or machine.devices[0].capability is None or service.gpu_layers == 0:
        return ()
    gpus = _gpu_counts(service, machine)[-1]
    return _ladder(gpus, service.gpu_layers, service.cpu_moe, layers, has_experts=has_experts)


@lru_cache(maxsize=64)  # quantizations of one model are divided alike
def _ladder(
    gpus: int, gpu_layers: int | str, cpu_moe: int | str, layers: int, *, has_experts: bool
) -> tuple[Offload, ...]:
    rungs = _rungs(gpu_layers, cpu_moe, layers, has_experts=has_experts)
    return tuple(Offload(gpus, *rung, layers + 1) for rung in rungs)


def _rungs(gpu_layers: int | str, cpu_moe: int | str, layers: int, *, has_experts: bool) -> Iterator[tuple[int, int]]:
    """Layers on GPUs, and layers whose experts are not."""
    whole = layers + 1 if isinstance(gpu_layers, str) else min(gpu_layers, layers + 1)
    asked = 0 if isinstance(cpu_moe, str) else min(cpu_moe, layers)
    if has_experts and cpu_moe == "auto":
        yield from ((whole, hosted) for hosted in range(1, layers + 1))
        asked = layers
    if gpu_layers == "auto":
        yield from ((fewer, asked if has_experts else 0) for fewer in range(layers, 0, -1))


def _gpu_counts(service: ServiceSpec, machine: Machine) -> tuple[int, ...]:
    if service.gpus:
        return (len(service.gpus),)
    most = 1 if machine.mig is not None else min(len(machine.devices), MOST_GPUS)
    return tuple(range(1, most + 1))
