"""Compiled trees as they are copied to a machine."""

from __future__ import annotations

import shutil
from pathlib import Path

from compiler.emit.disk import make_folders
from compiler.emit.output import Output
from compiler.emit.tree import tree_of
from compiler.pipeline import render_plan
from compiler.plan.ir import Plan
from tests.systemd.machine import Machine


def copy_tree(machine: Machine, plan: Plan, folder: Path, name: str) -> str:
    """Copy the tree of a plan to the machine, as an operator would; where it lies there."""
    make_folders(folder)
    Output(folder, [tree_of(folder / name, render_plan(plan))], all_specs=False).write(prune=False, force=False)
    copy, inside = folder / "copies" / name, f"/srv/copies/{name}"
    shutil.copytree(folder / name, copy, dirs_exist_ok=True)  # through the link to what trees share
    machine.copy(copy, inside)
    return inside
