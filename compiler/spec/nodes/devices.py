"""On which kind of device a service runs, where a stack has both: on GPUs, unless it or its node says otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

DeviceWord = Literal["gpu", "cpu"]


def with_devices(data: Any) -> Any:
    """A spec's plain data in which each service of a stack that has GPUs and CPUs says which of them it runs on."""
    nodes = data.get("nodes") if isinstance(data, Mapping) else None
    services = data.get("services") if isinstance(data, Mapping) else None
    if not isinstance(nodes, Mapping) or not isinstance(services, Mapping):
        return data
    kinds = {str(name): _devices(node) for name, node in nodes.items()}
    if set().union(*kinds.values()) != {"gpu", "cpu"}:
        return data
    said = {
        name: {"device": _device(service, kinds)} | dict(service) if isinstance(service, Mapping) else service
        for name, service in services.items()
    }
    return {**data, "services": said}


def _devices(node: Any) -> set[str]:
    """Kinds of devices of a node; none that is known of one that is not as it must be."""
    if not isinstance(node, Mapping):
        return set()
    return {word for key, word in (("gpus", "gpu"), ("cpu", "cpu")) if node.get(key) is not None}


def _device(service: Mapping[Any, Any], kinds: Mapping[str, set[str]]) -> DeviceWord:
    named = str(service.get("node") or "")
    has = kinds.get(named) or kinds.get(named.rpartition("-")[0]) or {"gpu"}
    return "cpu" if has == {"cpu"} else "gpu"
