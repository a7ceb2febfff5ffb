"""What `bin/bench` keeps of a service on its server, as a measured speed: `baselines/SERVICE/REVISION.json` there."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from compiler.calibration.speeds import is_count, is_figure, is_text
from compiler.catalog.hardware.gpus import GPUS
from compiler.engines.interface.calibration import LogError
from compiler.spec.engines import VLLM
from compiler.speed.measured import MeasuredSpeed, Served

_SCHEMA = 1
_DIRECT = "server"


@dataclass(frozen=True, slots=True)
class Benched:
    """A measured service.

    Attributes:
        engine: by its key in `engine` of a spec.
        gpus: catalog names of the cards that it may have run on: some share a title.
        title: of the card, as the plan had it.
    """

    engine: str
    release: str
    gpus: tuple[str, ...]
    title: str
    speed: MeasuredSpeed


def read_bench(text: str) -> Benched:
    """What a file of `bin/bench` measured.

    Raises:
        LogError: it is no such file, or of what no calibration can be of.
    """
    data = _object(text)
    if data.get("schema") != _SCHEMA:
        raise LogError(f"it is no file of `bin/bench`: no `schema: {_SCHEMA}`")
    get = _Reader(data)
    hardware = get("conditions", "hardware", kind=_is_map)
    _usable(hardware, get("conditions", "route", kind=is_text))
    title = get("conditions", "hardware", "gpu", kind=is_text)
    gpus = tuple(gpu.name for gpu in GPUS.values() if gpu.title == title)
    # A build of one release for another CUDA says so after a plus.
    release = get("release", "vllm", kind=is_text).partition("+")[0]
    return Benched(VLLM, release, gpus, title, _speed(get))


def _object(text: str) -> Mapping[str, Any]:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise LogError(f"it is no file of `bin/bench`: no JSON ({str(error)[:80]})") from None
    if not isinstance(data, dict):
        raise LogError("it is no file of `bin/bench`: no JSON object")
    return data


@dataclass(frozen=True, slots=True)
class _Reader:
    """Values by their place, or a word on what is there instead."""

    data: Mapping[str, Any]

    def __call__(self, *path: str, kind: Callable[[Any], bool]) -> Any:
        value: Any = self.data
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        if not kind(value):
            raise LogError(f"it is no whole file of `bin/bench`: `{'.'.join(path)}` is missing or odd")
        return value


def _is_map(value: Any) -> bool:
    return isinstance(value, dict)


def _usable(hardware: Mapping[str, Any], route: str) -> None:
    if hardware.get("kind") != "gpu":
        raise LogError("it is of a server without GPUs, of which no speed is estimated")
    if hardware.get("mig") is not None:
        raise LogError("it is of a slice of a card, of which no speed is estimated")
    if route != _DIRECT:
        raise LogError("it was measured through the gateway: measure again without --through-gateway")


def _speed(get: _Reader) -> MeasuredSpeed:
    load, hardware = ("conditions", "load"), ("conditions", "hardware")
    if get("conditions", "load", kind=_is_map).get("output_tokens") == 0:
        raise LogError("it is of a service that writes no text")
    return MeasuredSpeed(
        service=get("service", kind=is_text),
        served=Served(
            get("release", "model", kind=is_text),
            get("release", "quantization", kind=is_text),
            get(*hardware, "devices", kind=is_count),
        ),
        concurrency=min(get(*load, "concurrency", kind=is_count), get(*load, "requests", kind=is_count)),
        prompt=get(*load, "input_tokens", kind=is_count),
        answer=get(*load, "output_tokens", kind=is_count),
        ttft_ms=_median(get, "median_ttft_ms"),
        tpot_ms=_median(get, "median_tpot_ms"),
        output_rate=_median(get, "output_throughput"),
        recorded=get("recorded", kind=is_text),
    )


def _median(get: _Reader, figure: str) -> float:
    return float(get("metrics", figure, "median", kind=is_figure))
