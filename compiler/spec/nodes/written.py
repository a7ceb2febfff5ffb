"""Where a file says what nodes have: those that are counted stand in one entry, and their cards may be one record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compiler.spec.nodes.parts import SEPARATOR

Path = tuple[str | int, ...]


def written_node_path(data: Any, path: Path) -> Path:
    """The place in a file's plain data that a path among `nodes` stands for; any other path as it is."""
    nodes = data.get("nodes") if isinstance(data, Mapping) else None
    if len(path) < 2 or path[0] != "nodes" or not isinstance(nodes, Mapping):  # noqa: PLR2004  (nodes.NAME)
        return path
    machine, _, part = str(path[1]).partition(SEPARATOR)
    entry = _entry(nodes, machine)
    return ("nodes", entry, *_keys(nodes.get(entry), part, path[2:]))


def _entry(nodes: Mapping[Any, Any], machine: str) -> str:
    counted = machine.rpartition("-")[0]
    node = nodes.get(counted)
    is_counted = machine not in nodes and isinstance(node, Mapping) and node.get("count") is not None
    return counted if is_counted else machine


def _keys(node: Any, part: str, keys: Path) -> Path:
    """Keys within a node: of cards those in their place of the list, or in their one record."""
    if keys[:1] != ("gpus",):
        return keys
    cards = node.get("gpus") if isinstance(node, Mapping) else None
    has_place = len(keys) > 1 and isinstance(keys[1], int)
    if not isinstance(cards, list):
        return ("gpus", *keys[2:]) if has_place else keys
    return keys if has_place or len(keys) == 1 else ("gpus", int(part or 0), *keys[1:])
