"""stackc as a release with another library: it holds what `release.txt` of the working folder says."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from compiler import pipeline
from compiler.cli.main import main
from compiler.engines.interface.host import Packages
from compiler.render.artifact import LIBRARY, Artifact
from compiler.targets.requirements import emit_requirements


def become(release: str) -> None:
    """Let the next run in this folder be that of a release."""
    Path("release.txt").write_text(f"{release}\n")


def pose() -> None:
    """Let this process be whatever release the working folder asks for; without a word, the present one."""
    pipeline.emit_requirements = _emit


def _emit(engines: Iterable[Packages]) -> tuple[Artifact, ...]:
    asked = Path("release.txt")
    more = (Artifact(LIBRARY / "stack/release.txt", asked.read_text()),) if asked.is_file() else ()
    return (*emit_requirements(engines), *more)


if __name__ == "__main__":
    pose()
    main()
