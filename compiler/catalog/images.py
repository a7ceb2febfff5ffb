"""The container images that stacks run, by name and tag, and by digest where somebody read one.

A digest is what a registry answers for a name today; `read` says when that was asked, and `by` with what. Where none
is known, `stackc images --pin` asks for it and keeps the answer in the lock, which wins over what stands here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from compiler.catalog.compose import DCGM, GRAFANA, PROMETHEUS
from compiler.catalog.packages import LITELLM_VERSION

DIGEST = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class CatalogImage:
    """An image as it is pulled: `name:tag`. `digest`, the UTC day it was `read`, and `by` whom; all three or none."""

    reference: str
    digest: str | None = None
    read: str | None = None
    by: str | None = None


# Downloads models where the images of all engines have no Python: nothing of it is needed but the interpreter.
PYTHON = "python:3.13-slim"

GATEWAY_IMAGES = {
    # nginx's own image has njs; the slim and the alpine ones lack it, or bash.
    "nginx": CatalogImage("nginx:1.28.0"),
    "litellm": CatalogImage(f"ghcr.io/berriai/litellm:v{LITELLM_VERSION}"),
}
"""By the gateway's kind."""

# Releases as docs and changelogs of the projects name them: prometheus/client_java#2299 (its own tests),
# grafana.com/docs (12.4.0 is the first release of the image under this name), README of NVIDIA/dcgm-exporter.
MONITORING_IMAGES = {
    PROMETHEUS: CatalogImage("prom/prometheus:v3.13.1"),
    GRAFANA: CatalogImage("grafana/grafana:12.4.0"),
    DCGM: CatalogImage("nvcr.io/nvidia/k8s/dcgm-exporter:4.5.3-4.8.2-distroless"),
}
"""By the container's name."""

CATALOG_IMAGES = {image.reference: image for image in (*GATEWAY_IMAGES.values(), *MONITORING_IMAGES.values())}


def digest_of(reference: str) -> str | None:
    """The digest that a reference itself names; None where it has none, or one that no registry gives."""
    digest = reference.partition("@")[2]
    return digest if DIGEST.fullmatch(digest) else None
