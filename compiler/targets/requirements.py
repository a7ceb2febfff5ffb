"""`requirements/`: what pip installs on a machine that runs the programs itself, each file with its hash."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from compiler.catalog.packages import LITELLM_VERSION, Requirements, litellm_requirements, vllm_requirements
from compiler.plan.ir import CpuNode, Plan
from compiler.render.artifact import Artifact

FOLDER = PurePosixPath("requirements")


def emit_requirements(plan: Plan) -> tuple[Artifact, ...]:
    """A file for each virtual environment."""
    return tuple(Artifact(path, requirements.text) for path, requirements in requirement_files(plan).items())


def requirement_files(plan: Plan) -> dict[PurePosixPath, Requirements]:
    """The files by path; none where only containers run, or nobody lists the hashes of the wheels."""
    return dict(_files(plan)) if plan.runs_on_host else {}


def _files(plan: Plan) -> Iterator[tuple[PurePosixPath, Requirements]]:
    # The wheels of the CPU build are not on PyPI.
    engine = None if isinstance(plan.node, CpuNode) else vllm_requirements(plan.engine.version)
    if engine is not None:
        yield FOLDER / f"vllm-{plan.engine.version}.txt", engine
    if plan.gateway is not None and plan.gateway.kind == "litellm":
        yield FOLDER / f"litellm-{LITELLM_VERSION}.txt", litellm_requirements()
