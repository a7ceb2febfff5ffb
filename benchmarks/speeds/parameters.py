"""What of the speed model is fitted: each constant with what it should be by physics, and how far it may stray."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from benchmarks.speeds.cases import SpeedCase
from compiler.speed.arithmetic import formats_of
from compiler.speed.constants import FITTED, CardClass, Constants, Era, Link
from compiler.speed.load import Regime

Key = CardClass | Link | Era | str
Path = tuple[str, Key | None, str]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A constant that is fitted.

    Attributes:
        path: the field of `Constants`; of a map there, its key, and the field of what lies at it.
        expected: without any measurement.
        deviation: of its logarithm, about that.
        limits: beyond which it would have no meaning.
        affects: whether what is said of a case depends on it.
    """

    path: Path
    expected: float
    deviation: float
    limits: tuple[float, float]
    affects: Callable[[SpeedCase], bool]

    def of(self, constants: Constants) -> float:
        """Its value."""
        field, key, name = self.path
        held = getattr(constants, field)
        return float(held if key is None else getattr(held[key], name))

    def clipped(self, logarithm: float) -> float:
        """A value by its logarithm, within the limits."""
        low, high = self.limits
        return min(max(math.exp(logarithm), low), high)


def replaced(constants: Constants, values: Mapping[Path, float]) -> Constants:
    """With other values for some."""
    fields = {field: value for (field, key, _), value in values.items() if key is None}
    maps = {field: dict(getattr(constants, field)) for field, key, _ in values if key is not None}
    for (field, key, name), value in values.items():
        if key is not None:
            maps[field][key] = replace(maps[field][key], **{name: value})
    return replace(constants, **fields, **maps)  # type: ignore[arg-type]  # by the fields of their paths


def parameters() -> tuple[Parameter, ...]:
    """All that are fitted, in one order."""
    return (*_of_classes(), *_of_formats(), *_of_links(), *_of_eras(), *_of_experts(), *_of_requests())


def _of_classes() -> Iterator[Parameter]:
    for kind in CardClass:
        affects = _when(lambda case, kind=kind: case.card.kind is kind)
        yield Parameter(("classes", kind, "bandwidth"), 0.82, 0.1, (0.5, 0.95), affects)
        yield Parameter(("classes", kind, "compute"), 0.5, 0.3, (0.1, 0.95), affects)
        yield Parameter(("classes", kind, "layer_ms"), 0.03, 0.35, (0.005, 0.08), affects)


_PLAIN = "bf16"


def _of_formats() -> Iterator[Parameter]:
    for name in FITTED.formats:
        if name != _PLAIN:
            affects = _when(lambda case, name=name: name in formats_of(case.shape, case.card))
            yield Parameter(("formats", name, "bandwidth"), 0.85, 0.1, (0.5, 1.05), affects)
            yield Parameter(("formats", name, "compute"), 0.8, 0.25, (0.3, 1.2), affects)


_LINKS = {Link.NVLINK: (0.01, 0.5), Link.XGMI: (0.02, 0.4), Link.PCIE: (0.02, 0.5), Link.HOST: (0.04, 0.4)}


def _of_links() -> Iterator[Parameter]:
    for link, (latency, share) in _LINKS.items():
        affects = _when(lambda case, link=link: case.card.link is link and case.ranks > 1)
        yield Parameter(("links", link, "latency_ms"), latency, 0.5, (0.003, 0.2), affects)
        yield Parameter(("links", link, "share"), share, 0.4, (0.05, 0.9), affects)


_ERAS = {Era.V0: (1.3, 2.0, 0.05), Era.V1: (1.2, 1.0, 0.01), Era.ASYNC: (1.0, 0.7, 0.01)}


def _of_eras() -> Iterator[Parameter]:
    for era, (layer, host, sequence) in _ERAS.items():
        affects = _when(lambda case, era=era: case.shape.era is era)
        yield Parameter(("eras", era, "layer"), layer, 0.2, (0.5, 2.0), affects)
        yield Parameter(("eras", era, "host_ms"), host, 0.5, (0.1, 5.0), affects)
        yield Parameter(("eras", era, "sequence_ms"), sequence, 0.7, (0.001, 0.2), affects)


def _of_experts() -> Iterator[Parameter]:
    experts = _when(lambda case: case.shape.experts is not None)
    linear = _when(lambda case: case.shape.linear_attention)
    yield Parameter(_one("expert_batch_power"), 0.9, 0.1, (0.5, 1.0), experts)
    yield Parameter(_one("expert_bandwidth"), 0.85, 0.15, (0.3, 1.0), experts)
    yield Parameter(_one("expert_compute"), 0.4, 0.4, (0.1, 1.0), experts)
    yield Parameter(_one("expert_layer_ms"), 0.03, 0.4, (0.005, 0.1), experts)
    yield Parameter(_one("linear_layer_ms"), 0.015, 0.5, (0.002, 0.1), linear)


def _of_requests() -> Iterator[Parameter]:
    every = _when(lambda _: True)
    lockstep, spread = _when(lambda case: case.load.lockstep), _when(lambda case: not case.load.lockstep)
    bursts = _when(lambda case: case.load.regime in (Regime.BURST, Regime.BATCH) and not case.load.lockstep)
    yield Parameter(_one("hidden_power"), 0.05, 1.0, (0.001, 0.5), every)
    yield Parameter(_one("lora"), 1.3, 0.1, (1.0, 2.0), _when(lambda case: case.shape.lora))
    yield Parameter(_one("kv_bandwidth"), 0.8, 0.15, (0.4, 1.0), every)
    yield Parameter(_one("prefill_compute"), 1.2, 0.2, (0.6, 2.0), every)
    yield Parameter(_one("prefill_attention"), 0.5, 0.3, (0.1, 1.0), every)
    yield Parameter(_one("prefill_overlap"), 0.8, 0.2, (0.3, 1.0), every)
    yield Parameter(_one("request_ms"), 20, 0.5, (2, 100), every)
    yield Parameter(_one("request_each_ms"), 1.0, 0.5, (0.1, 5.0), every)
    yield Parameter(_one("held_spread"), 0.55, 0.1, (0.5, 1.0), spread)
    yield Parameter(_one("queue_lockstep"), 0.7, 0.4, (0.05, 1.0), lockstep)
    yield Parameter(_one("queue_spread"), 0.15, 0.5, (0.01, 1.0), spread)
    yield Parameter(_one("tail"), 0.2, 0.5, (0.01, 2.0), bursts)
    yield Parameter(_one("long_tail"), 3.0, 0.5, (0.5, 6.0), bursts)


def _one(name: str) -> Path:
    return name, None, ""


def _when(test: Callable[..., bool]) -> Callable[[SpeedCase], bool]:
    return test
