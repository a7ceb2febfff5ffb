"""Specs and locks of fleets, generated: such as a platform team would have, and one with a service too many.

Both grow with the number of services alone, so that runs of several sizes lie on one curve.
"""

from __future__ import annotations

from typing import Any

from benchmarks.solver import AWQ, FP8, GPTQ, SHAPES, config_of
from compiler.lock.models import HUB, Lock, LockedService, ModelFacts
from compiler.spec.models import Spec
from compiler.spec.services import ServiceSpec

PUBLISHER = "example"
_Shape = tuple[int, int, int, int, int, int]
# The numbers of a public model of 14 billion parameters, of which an H100 holds two in bfloat16.
_FOURTEEN = (48, 5120, 13824, 40, 8, 152064)
# Layers and so on of `SHAPES`, and the candidates of each model beside its own bfloat16.
_MODELS: dict[str, tuple[_Shape, dict[str, dict[str, Any]]]] = {
    "m05": (SHAPES[0][0], {}),
    "m7": (SHAPES[1][0], {"awq": AWQ, "fp8": FP8}),
    "m8": (SHAPES[3][0], {"fp8": FP8}),
    "m14": (_FOURTEEN, {"awq": AWQ, "gptq": GPTQ, "fp8": FP8}),
    "m32": (SHAPES[5][0], {"awq": AWQ, "fp8": FP8}),
    "m70": (SHAPES[6][0], {"awq": AWQ, "fp8": FP8}),
}
# Of each sixteen services; the large ones need the large cards, or several.
_MIX = ("m05", "m7", "m7", "m8", "m14", "m05", "m7", "m8", "m14", "m7", "m05", "m32", "m8", "m7", "m05", "m70")
_CARDS = ("h100-80gb", "a100-80gb", "h100-80gb", "l40s")
_CONTEXTS: tuple[Any, ...] = ("4K", {"min": "4K", "max": "16K"}, "8K", {"min": "2K", "max": "8K"}, "2K", "max")
_CONCURRENCIES: tuple[Any, ...] = (1, 2, {"min": 1, "max": 8}, 4)


def fitting(services: int, nodes: int) -> tuple[dict[str, Any], Lock]:
    """Mixed models with candidates and open ranges, over nodes of two cards of three kinds."""
    asked = {
        f"s{index:05}": {
            "model": f"{PUBLISHER}/{_MIX[index % len(_MIX)]}",
            "context": _CONTEXTS[index % len(_CONTEXTS)],
            "concurrency": _CONCURRENCIES[index // 3 % len(_CONCURRENCIES)],
            "port": 8000 + index,
        }
        for index in range(services)
    }
    cards = {f"n{index:04}": {"model": _CARDS[index % len(_CARDS)], "count": 2} for index in range(nodes)}
    return _stack("fleet", asked, cards)


def overfull(nodes: int) -> tuple[dict[str, Any], Lock]:
    """Nodes of one H100, each of which holds two equal services, and one service too many for all of them."""
    asked = {
        f"s{index:05}": {
            "model": f"{PUBLISHER}/m14",
            "quantization": "none",
            "context": "8K",
            "concurrency": 1,
            "port": 8000 + index,
        }
        for index in range(2 * nodes + 1)
    }
    return _stack("overfull", asked, {f"n{index:04}": {"model": "h100-80gb"} for index in range(nodes)})


def _stack(name: str, asked: dict[str, Any], cards: dict[str, Any]) -> tuple[dict[str, Any], Lock]:
    data = {
        "stack": name,
        "engine": {"vllm": "0.33.0"},
        "nodes": {node: {"gpus": gpus} for node, gpus in cards.items()},
        "services": asked,
        "policy": {"publishers": [PUBLISHER]},
    }
    return data, Lock(schema=1, services=_locked(data), models=_facts())


def _locked(data: dict[str, Any]) -> dict[str, LockedService]:
    return {
        name: LockedService(
            model=service.model,
            quantization=service.quantization,
            publishers=() if service.quantization == ("none",) else (PUBLISHER,),
            candidates=(service.model, *(f"{service.model}-{suffix}" for suffix in _suffixes(service))),
        )
        for name, service in Spec.model_validate(data).services.items()
    }


def _suffixes(service: ServiceSpec) -> tuple[str, ...]:
    return () if service.quantization == ("none",) else tuple(_MODELS[service.model.rpartition("/")[2]][1])


def _facts() -> dict[str, ModelFacts]:
    methods = {
        name: {"": None} | {f"-{key}": method for key, method in more.items()} for name, (_, more) in _MODELS.items()
    }
    return {
        f"{PUBLISHER}/{name}{suffix}": ModelFacts(
            source=HUB, chat_template="x", config=config_of(_MODELS[name][0]), quantization=method
        )
        for name, of_model in methods.items()
        for suffix, method in of_model.items()
    }
