"""Python packages that a release of vLLM brings."""

from __future__ import annotations

from functools import cache

from compiler.catalog.packages import Requirements, read_requirements
from compiler.engines.interface.host import Packages
from compiler.engines.vllm.releases.data import release_folder


@cache
def vllm_requirements(version: str) -> Requirements | None:
    """Those of a vLLM release; None where its wheels are not on PyPI, so that nobody could list their hashes."""
    return read_requirements(release_folder(version), f"vllm=={version}")


def vllm_packages(version: str) -> Packages:
    """What pip installs of a vLLM release."""
    return Packages(
        name=f"vllm-{version}",
        root=f"vllm=={version}",
        requirements=vllm_requirements(version),
        what=f"the packages of vLLM {version}'s CPU build",
        why="its wheels are not on PyPI: whoever installs them has to compare them with vLLM's release page",
    )
