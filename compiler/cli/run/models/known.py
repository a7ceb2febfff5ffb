"""The registry as a run sees it, with the user's own files, and how a model that it does not know is told."""

from __future__ import annotations

from pathlib import Path

from compiler.diagnostics import Diagnostic, Help
from compiler.registry.read import Registry, registry
from compiler.source.user_file import SPECS, user_files


def known_models() -> Registry:
    """What ships, with `stacks/models.yaml` and the user's own over it."""
    return registry(user_files(Path(SPECS)))


def unknown_model(name: str, known: Registry) -> Diagnostic:
    """E0321: the nearest names, and how to have it looked up."""
    helps = tuple(Help(f"did you mean `{near}`?") for near in known.nearest(name))
    lookup = Help("`stackc models add ID --from-hub` looks it up; `stackc lock` needs no registry")
    return Diagnostic("E0321", f"the registry has no model `{name[:200]}`", helps=(*helps, lookup))
