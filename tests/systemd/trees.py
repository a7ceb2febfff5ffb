"""Compiled trees as they are copied to a machine."""

from __future__ import annotations

from pathlib import Path

from compiler.emit.tree import tree_of, write_tree
from compiler.pipeline import render_plan
from compiler.plan.ir import Plan
from tests.systemd.machine import Machine


def copy_tree(machine: Machine, plan: Plan, folder: Path, name: str) -> str:
    """Copy the tree of a plan to the machine, as an operator would; where it lies there."""
    write_tree(tree_of(folder / name, render_plan(plan)))
    inside = f"/srv/copies/{name}"
    machine.copy(folder / name, inside)
    return inside
