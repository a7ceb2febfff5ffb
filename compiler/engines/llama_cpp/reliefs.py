"""What a `llama-server` can do with less of. None is checked here; the solver's front offers those that work."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.diagnostics import Edit
from compiler.engines.interface import demand as interface
from compiler.engines.interface.device import Device
from compiler.engines.interface.problem import Cost, Relief, Remedy
from compiler.engines.llama_cpp.demand import Demand
from compiler.engines.llama_cpp.options.values import LEAST_IMAGE
from compiler.engines.llama_cpp.terms import DEFAULT_CACHE, IMAGE_TOKENS, option_name
from compiler.engines.llama_cpp.variant import own_variant
from compiler.spec.services import ServiceSpec

_LESS_PRECISE = ("q8_0", "q4_0")
"""Types of which kernels read keys and values, most precise first."""


def reliefs(
    name: str, service: ServiceSpec, device: Device, demand: interface.Demand
) -> Iterator[Relief]:  # fmt: skip
    """See PinnedEngine."""
    if isinstance(demand, Demand) and demand.service == name:
        yield from _smaller_images(demand, service)
    if service.kv_cache_dtype in ("auto", DEFAULT_CACHE) and device.capability is not None:
        yield from (_set(Cost.CACHE_PRECISION, name, "kv_cache_dtype", kind) for kind in _LESS_PRECISE)
    for key in ("gpu_layers", "cpu_moe"):
        if getattr(service, key) != "auto" and device.capability is not None:
            yield _set(Cost.SPEED, name, key, "auto")


def _smaller_images(demand: Demand, service: ServiceSpec) -> Iterator[Relief]:
    """What an image takes grows with its tokens; text alone takes none of it."""
    projector, name = own_variant(demand).model.projector, demand.service
    if projector is None:
        return
    value, plain = demand.settings.image_tokens, IMAGE_TOKENS.removeprefix("--")
    key = next((each for each in service.engine_args if option_name(each) == IMAGE_TOKENS), plain)
    while projector.tower.is_dynamic and (value := value // 2) >= LEAST_IMAGE:
        edit = Edit(("services", name, "engine_args", key), value)
        text = f"`engine_args: {{{key}: {value}}}` for `{name}`: larger images are made smaller"
        yield Relief(Cost.BATCH, Remedy(text, (edit,), kind=f"{key} of {name}", is_graded=True))
    edit = Edit(("services", name, "media"), "none")
    text = f"`media: none` for `{name}`: it then reads text alone"
    yield Relief(Cost.MEDIA, Remedy(text, (edit,), kind=f"media of {name}"))


def _set(cost: Cost, name: str, key: str, value: str) -> Relief:
    edit = Edit(("services", name, key), value)
    return Relief(cost, Remedy(f"`{key}: {value}` for `{name}`", (edit,), kind=f"{key} of {name}"))
