"""`lib/requirements/`: what pip installs on a machine that runs the programs itself, each file with its hash."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

from compiler.catalog.packages import LITELLM_VERSION, Requirements, litellm_requirements
from compiler.engines.interface.host import Packages
from compiler.plan.ir import Plan
from compiler.render.artifact import LIBRARY, Artifact

FOLDER = LIBRARY / "requirements"


def emit_requirements(engines: Iterable[Packages]) -> tuple[Artifact, ...]:
    """A file for each virtual environment that any stack may have: all stacks share one library.

    Args:
        engines: the packages of every release of every engine.
    """
    files = {file_of(each): each.requirements for each in engines if each.requirements is not None}
    files |= {_LITELLM: litellm_requirements()}
    return tuple(Artifact(path, requirements.text) for path, requirements in files.items())


def requirement_files(plan: Plan) -> dict[PurePosixPath, Requirements]:
    """Those of a plan by path; none where only containers run, or nobody lists the hashes of the wheels."""
    return dict(_files(plan)) if plan.runs_on_host else {}


def _files(plan: Plan) -> Iterator[tuple[PurePosixPath, Requirements]]:
    for engine in plan.engines.values():
        packages = engine.host.packages
        if packages is not None and packages.requirements is not None:
            yield file_of(packages), packages.requirements
    if plan.gateway is not None and plan.gateway.kind == "litellm":
        yield _LITELLM, litellm_requirements()


_LITELLM = FOLDER / f"litellm-{LITELLM_VERSION}.txt"


def file_of(packages: Packages) -> PurePosixPath:
    """Where the list of an engine's packages lies in the tree."""
    return FOLDER / f"{packages.name}.txt"
