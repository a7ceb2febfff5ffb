"""How many parameters a model has, and how many of them a token meets, by the modules of its architecture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from compiler.checkpoints.architecture import Architecture, Experts, Linear, Module, Table, Vector


@dataclass(frozen=True, slots=True)
class ParameterCounts:
    """Numbers of parameters, without layers that only draft.

    Attributes:
        total: in all.
        active: of them, those that one token meets: of routed experts, as many as serve it.
    """

    total: int
    active: int


def parameter_counts(architecture: Architecture) -> ParameterCounts:
    """Those of a checkpoint, towers included, before anything is padded or packed."""
    total = active = 0
    for module in _modules(architecture):
        if isinstance(module, Experts):
            each = _expert(module)
            total += module.count * each
            active += min(module.top_k, module.count) * each
        else:
            size = _size(module)
            total += size
            active += size
    return ParameterCounts(total, active)


def _modules(architecture: Architecture) -> Iterator[Module]:
    yield from (*architecture.first, *architecture.last, *architecture.everywhere)
    for encoder in architecture.encoders:
        yield from encoder.modules
    for layer in architecture.layers:
        yield from layer.modules


def _size(module: Linear | Table | Vector) -> int:
    if isinstance(module, Linear):
        return module.outputs * (module.inputs + module.bias)
    if isinstance(module, Table):
        return module.rows * (module.columns + module.bias)
    return module.size if module.stored else 0


def _expert(module: Experts) -> int:
    """Up and down projections of one expert, and a gate beside up where it has one."""
    ups = 2 if module.gated else 1
    biases = (ups * module.intermediate + module.inputs) if module.bias else 0
    return (ups + 1) * module.inputs * module.intermediate + biases
