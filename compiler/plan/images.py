"""Which image each container runs, by digest where the spec, the lock or the catalogue knows one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from compiler.catalog.compose import DCGM, GRAFANA, PROMETHEUS
from compiler.catalog.images import CATALOG_IMAGES, PYTHON, CatalogImage, digest_of
from compiler.lock.models import LockedImage
from compiler.plan.ir import CONTAINERS, Image, Plan

Pins = Mapping[str, LockedImage]

# A container of the user's may have any name.
_PATCHED = "patches."
PREFETCH = "prefetch"


def image_of(part: str, reference: str, pins: Pins) -> Image:
    """An image with its digest, if one is known. What the spec names by digest stays as it is written."""
    own = digest_of(reference)
    if own is not None or "@" in reference:
        return Image(part, reference, own, "spec" if own is not None else None)
    locked = pins.get(reference)
    if locked is not None:
        return Image(part, f"{reference}@{locked.digest}", locked.digest, "lock", locked.read)
    known = CATALOG_IMAGES.get(reference, CatalogImage(reference))
    if known.digest is not None:
        return Image(part, f"{reference}@{known.digest}", known.digest, "catalogue", known.read)
    return Image(part, reference)


def with_images(plan: Plan, pins: Pins) -> Plan:
    """The plan with digests in every reference to an image, and a list of them."""
    images = tuple(image_of(part, reference, pins) for part, reference in references(plan))
    by_part = {image.part: image.reference for image in images}
    plan = replace(plan, images=images)
    engines = {name: replace(each, image=by_part.get(name, each.image)) for name, each in plan.engines.items()}
    plan = replace(plan, engines=engines)
    if plan.gateway is not None and "gateway" in by_part:
        plan = replace(plan, gateway=replace(plan.gateway, image=by_part["gateway"]))
    if plan.monitoring is not None and PROMETHEUS in by_part:
        monitoring = replace(
            plan.monitoring,
            prometheus_image=by_part[PROMETHEUS],
            grafana_image=by_part.get(GRAFANA, plan.monitoring.grafana_image),
            dcgm_image=by_part.get(DCGM, plan.monitoring.dcgm_image),
        )
        plan = replace(plan, monitoring=monitoring)
    patched = {part.removeprefix(_PATCHED): by_part[part] for part, _ in _patched(plan)}
    return replace(plan, patches=replace(plan.patches, compose=_with_patched(plan.patches.compose, patched)))


def prefetch_image(plan: Plan) -> str:
    """The image that downloads, where those of the engines have no Python for it."""
    return next((image.reference for image in plan.images if image.part == PREFETCH), PYTHON)


def references(plan: Plan) -> Iterator[tuple[str, str]]:
    """The part and the image of every container; of monitoring and of the user's own in the compose file alone."""
    if not CONTAINERS & set(plan.targets):
        return
    yield from ((name, engine.image) for name, engine in plan.engines.items())
    if not any(engine.host.container.has_python for engine in plan.engines.values()):
        yield PREFETCH, PYTHON
    if plan.gateway is not None:
        yield "gateway", plan.gateway.image
    if "compose" not in plan.targets:
        return
    monitoring = plan.monitoring
    if monitoring is not None:
        yield PROMETHEUS, monitoring.prometheus_image
        if monitoring.has_grafana:
            yield GRAFANA, monitoring.grafana_image
        if monitoring.has_dcgm:
            yield DCGM, monitoring.dcgm_image
    yield from _patched(plan)


def _patched(plan: Plan) -> Iterator[tuple[str, str]]:
    """Containers that the spec adds. Those of the stack have the image that the plan says."""
    if "compose" not in plan.targets:
        return
    for name, service in plan.patches.compose.get("services", {}).items():
        image = service.get("image") if isinstance(service, Mapping) else None
        if isinstance(image, str):
            yield f"{_PATCHED}{name}", image


def _with_patched(compose: Mapping[str, Any], images: Mapping[str, str]) -> Mapping[str, Any]:
    if not images:
        return compose
    services = {
        name: {**service, "image": images[name]} if name in images else service
        for name, service in compose["services"].items()
    }
    return {**compose, "services": services}
