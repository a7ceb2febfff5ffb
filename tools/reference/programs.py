"""The page of the emitted programs: what each says of itself, and their exit codes."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tools.reference.markdown import fenced

STACK = "team-96gb"
"""A shipped stack that has most programs: it has a gateway, a rollout and monitoring."""

OTHERS = ("campus-16xh100/gpu01", "reasoning-2x4090/gpu-01")
"""Trees with programs that it has not."""

BEGINNING = """# Emitted programs

What stands in `bin/` of a generated tree. They need bash and Python 3.9 or newer, and nothing of stackc. Each explains
itself with `--help`; that is what stands here.
"""
_LAUNCH = re.compile(r"^launch-.*")
_CODES = re.compile(r"^## When a start fails\n.*?(^\|.*?\n)\n", re.MULTILINE | re.DOTALL)


def pages(root: Path) -> dict[str, str]:
    """One page.

    Args:
        root: the repository, whose generated trees are asked.
    """
    tree = root / "generated" / STACK
    found = {
        name: path
        for other in reversed((STACK, *OTHERS))
        for name, path in programs(root / "generated" / other).items()
    }
    sections = [f"## {name}\n\n{fenced(_help(path, name))}" for name, path in sorted(found.items())]
    codes = "## Exit codes\n\nWhat a program's code means, and what to do.\n\n" + exit_codes(tree)
    return {"reference/programs.md": "\n".join((BEGINNING, *sections, codes))}


def programs(tree: Path) -> dict[str, Path]:
    """By name; those that launch a server have one."""
    found = [path for path in sorted((tree / "bin").iterdir()) if path.is_file() and path.stat().st_mode & 0o111]
    return {_LAUNCH.sub("launch-SERVICE", path.name): path for path in found}


def exit_codes(tree: Path) -> str:
    """The table of the tree's README."""
    found = _CODES.search((tree / "README.md").read_text(encoding="utf-8"))
    if found is None:
        raise ValueError(f"{tree}/README.md has no table of exit codes")
    # It links to a section of that README.
    return re.sub(r"\[([^\]]+)\]\(#[^)]*\)", r"\1 in the tree's README", found[1])


def _help(path: Path, name: str) -> str:
    # As on a terminal of 100 columns, whoever builds.
    environment = {"PATH": "/usr/bin:/bin", "COLUMNS": "100", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([str(path), "--help"], capture_output=True, text=True, check=True, env=environment)
    return done.stdout.replace(path.name, name)
