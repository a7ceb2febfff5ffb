"""`lib/requirements/`: what pip installs on a machine that runs the programs itself, each file with its hash."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from compiler.catalog.packages import LITELLM_VERSION, Requirements, litellm_requirements, vllm_requirements
from compiler.catalog.vllm.releases import RELEASES
from compiler.plan.ir import CpuNode, Plan
from compiler.render.artifact import LIBRARY, Artifact

FOLDER = LIBRARY / "requirements"


def emit_requirements() -> tuple[Artifact, ...]:
    """A file for each virtual environment that any stack may have: all stacks share one library."""
    engines = ((version, vllm_requirements(version)) for version in RELEASES)
    files = {_of_engine(version): found for version, found in engines if found is not None}
    files |= {_LITELLM: litellm_requirements()}
    return tuple(Artifact(path, requirements.text) for path, requirements in files.items())


def requirement_files(plan: Plan) -> dict[PurePosixPath, Requirements]:
    """Those of a plan by path; none where only containers run, or nobody lists the hashes of the wheels."""
    return dict(_files(plan)) if plan.runs_on_host else {}


def _files(plan: Plan) -> Iterator[tuple[PurePosixPath, Requirements]]:
    # The wheels of the CPU build are not on PyPI.
    engine = None if isinstance(plan.node, CpuNode) else vllm_requirements(plan.engine.version)
    if engine is not None:
        yield _of_engine(plan.engine.version), engine
    if plan.gateway is not None and plan.gateway.kind == "litellm":
        yield _LITELLM, litellm_requirements()


_LITELLM = FOLDER / f"litellm-{LITELLM_VERSION}.txt"


def _of_engine(version: str) -> PurePosixPath:
    return FOLDER / f"vllm-{version}.txt"
