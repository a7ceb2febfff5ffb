"""A version of the trees in an output, as bytes by path, and the plans that are in it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

PLAN = "plan.json"
JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Version:
    """The tree of one node at one time.

    Attributes:
        files: content by path below the tree.
    """

    files: Mapping[str, bytes]

    @property
    def plan(self) -> JsonObject | None:
        """Its plan as plain data; None where that cannot be read: a conflict of a merge, an edit, another's file."""
        try:
            plan = json.loads(self.files[PLAN])
        except (KeyError, ValueError, RecursionError):
            return None
        return plan if isinstance(plan, dict) and isinstance(plan.get("services"), list) else None


def versions_of(files: Mapping[str, bytes], trees: Iterable[str]) -> dict[str, Version]:
    """The tree of each node, by its folder below the output: `STACK`, or `STACK/NODE` where it has several.

    Args:
        files: content by path below the output.
        trees: folders that are trees whatever is in them, such as those that are compiled now.
    """
    plans = {path.rpartition("/")[0] for path in files if path.count("/") in (1, 2) and path.endswith(f"/{PLAN}")}
    roots = sorted({*plans, *trees}, key=len, reverse=True)  # a node's folder lies in that of its stack
    of: dict[str, dict[str, bytes]] = {}
    for path, content in files.items():
        root = next((root for root in roots if path.startswith(f"{root}/")), None)
        if root is not None:
            of.setdefault(root, {})[path[len(root) + 1 :]] = content
    return {root: Version(of[root]) for root in sorted(of)}
