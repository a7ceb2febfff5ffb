"""What `patches.compose` adds, sorted by the place in the compose file that it goes to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from compiler.checks.patches.compose import FILE_TREE, service_tree
from compiler.checks.patches.tree import Addition, Path, Tree, compare


@dataclass(frozen=True, slots=True)
class Additions:
    """Keys to add to mappings, and items to add to lists, by the path of the mapping or list."""

    mappings: Mapping[Path, Mapping[str, Any]] = field(default_factory=dict)
    lists: Mapping[Path, tuple[Any, ...]] = field(default_factory=dict)

    def keys(self, *path: str) -> Mapping[str, Any]:
        """New keys of the mapping at `path`."""
        return self.mappings.get(path, {})

    def items(self, *path: str) -> tuple[Any, ...]:
        """New items of the list at `path`."""
        return self.lists.get(path, ())

    def below(self, *path: str) -> bool:
        """Whether something is added at `path` or deeper."""
        return any(place[: len(path)] == path for place in (*self.mappings, *self.lists))


def service_additions(patch: Mapping[str, Any], name: str) -> Additions:
    """What is added to a container that stackc writes itself."""
    tree = service_tree(name, (name,))
    given = patch.get("services", {}).get(name, {})
    return _additions(given, tree or {})


def file_additions(patch: Mapping[str, Any]) -> Additions:
    """What is added outside `services`."""
    return _additions({key: value for key, value in patch.items() if key != "services"}, FILE_TREE)


def new_services(patch: Mapping[str, Any], written: tuple[str, ...]) -> Additions:
    """Containers that the patch brings itself."""
    given = patch.get("services", {})
    return Additions({(): {name: service for name, service in given.items() if name not in written}})


def _additions(given: Mapping[str, Any], tree: Tree) -> Additions:
    mappings: dict[Path, dict[str, Any]] = {}
    lists: dict[Path, tuple[Any, ...]] = {}
    for found in compare(given, tree):
        if not isinstance(found, Addition):
            continue  # refused when the spec was checked
        if found.key is None:
            lists[found.path] = tuple(found.value)
        else:
            mappings.setdefault(found.path, {})[found.key] = found.value
    return Additions(mappings, lists)
