"""A version of the trees in an output, as bytes by path, and the plans that are in it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

PLAN = "plan.json"
_MANIFEST = "SHA256SUMS"
_SHARED = "lib/"
JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Version:
    """The tree of one node at one time.

    Attributes:
        files: content by path below the tree, with what it shares with other trees as `lib/…`.
    """

    files: Mapping[str, bytes]

    @property
    def own(self) -> dict[str, bytes]:
        """Without what it shares, and without the lines of its manifest that list that."""
        own = {path: content for path, content in self.files.items() if not path.startswith(_SHARED)}
        return own | {_MANIFEST: _without_shared(own[_MANIFEST])} if _MANIFEST in own else own

    @property
    def library(self) -> dict[str, bytes]:
        """What it shares, by path below the library, without the list of it."""
        shared = (path for path in self.files if path.startswith(_SHARED) and path != _SHARED + _MANIFEST)
        return {path[len(_SHARED) :]: self.files[path] for path in shared}

    @property
    def plan(self) -> JsonObject | None:
        """Its plan as plain data; None where that cannot be read: a conflict of a merge, an edit, another's file."""
        try:
            plan = json.loads(self.files[PLAN])
        except (KeyError, ValueError, RecursionError):
            return None
        return plan if isinstance(plan, dict) and isinstance(plan.get("services"), list) else None


def _without_shared(manifest: bytes) -> bytes:
    """Of the lines of a manifest, those of the tree's own files: 64 digits, two spaces, a path."""
    shared = b"  " + _SHARED.encode()
    return b"".join(line for line in manifest.splitlines(keepends=True) if not line[64:].startswith(shared))


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
