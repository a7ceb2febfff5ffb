"""Nodes that are alike: whatever runs on one of them runs on the other."""

from __future__ import annotations

from compiler.spec.models import Spec
from compiler.spec.nodes.models import NodePart, NodeSpec


def alike(node: NodeSpec) -> NodeSpec:
    """A node without what only tells it, and its GPUs, from others."""
    changes: dict[str, object] = {"count": None, "addresses": (), "interface": None}
    changes["cards"] = tuple(gpus.model_copy(update={"uuids": ()}) for gpus in node.cards)
    if isinstance(node, NodePart):
        changes |= {"node": "", "whole": NodeSpec()}
    return node.model_copy(update=changes)


def whole_nodes(spec: Spec) -> dict[str, NodeSpec]:
    """Nodes that a server may have to itself: those that are not parts of machines with cards of several models."""
    return {name: node for name, node in spec.nodes.items() if not isinstance(node, NodePart)}
