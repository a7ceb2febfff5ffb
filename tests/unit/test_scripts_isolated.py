"""Emitted Python runs its own code and Python's, whatever the caller's environment and folder hold."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from compiler.pipeline import render_plan
from compiler.plan.ir import Gateway, Plan, Rollout, Route
from tests.unit.plan_samples import PATH, two_on_one_gpu

# Modules of Python's that programs import, and one of their own.
REPLACED = ("json", "argparse", "pathlib", "stack", "host", "sitecustomize", "usercustomize", "yaml")


def everything() -> Plan:
    """A plan whose tree holds every program that there is."""
    plan = two_on_one_gpu()
    rollout = Rollout("coder", "general", "canary", 10, "none", "X-Session-Id")
    routes = tuple(Route(service.name, service.name, None, 600) for service in plan.services)
    routes = (replace(routes[0], rollout=rollout), *routes[1:])
    gateway = Gateway("nginx", "127.0.0.1", 8080, "nginx:1", 1 << 20, None, 20, 64, routes)
    return replace(plan, gateway=gateway, targets=("scripts", "systemd", "compose", "quadlet"))


FILES = {str(artifact.path): artifact.text for artifact in render_plan(everything())}
PROGRAMS = sorted(path for path, text in FILES.items() if "python" in text.partition("\n")[0])


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for path, text in FILES.items():
        (tmp_path / "tree" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / path).write_text(text)
        (tmp_path / "tree" / path).chmod(0o755)
    return tmp_path / "tree"


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A folder of modules that say when they are taken for others."""
    folder = tmp_path / "hostile"
    folder.mkdir()
    for name in REPLACED:
        (folder / f"{name}.py").write_text(f"import os\nos.write(2, b'HOSTILE {name}')\nos._exit(99)\n")
    return folder


def test_there_are_all_programs() -> None:
    assert {"bin/install", "bin/prefetch", "bin/rollout", "bin/evaluate", "bin/wait-ready"} <= set(PROGRAMS)
    assert len(PROGRAMS) == 11


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_runs_only_its_own_code(program: str, tree: Path, hostile: Path, tmp_path: Path) -> None:
    """Called through a link, from a folder and with variables that bring other modules."""
    link = tmp_path / "elsewhere"
    link.symlink_to(tree / program)
    environment = {
        "PATH": PATH, "HOME": str(hostile), "PYTHONPATH": str(hostile), "PYTHONSAFEPATH": "1",
        "PYTHONSTARTUP": "json.py", "PYTHONHOME": str(hostile), "PYTHONUSERBASE": str(hostile),
        "PYTHONINSPECT": "1", "PYTHONOPTIMIZE": "2",
    }  # fmt: skip
    done = subprocess.run(
        [link, "--help"], cwd=hostile, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL,
        timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: ")
    assert done.stderr == ""
    assert list(tree.rglob("__pycache__")) == []


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_finds_its_modules_where_an_interpreter_is_named(program: str, tree: Path, tmp_path: Path) -> None:
    environment = {"PATH": PATH, "HOME": str(tmp_path), "PYTHONSAFEPATH": "1"}
    command = ["python3", str(tree / program), "--help"]
    done = subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_whatever_names_an_interpreter_isolates_it() -> None:
    """Units, containers, launch scripts, and the commands that people are told."""
    calls = 0
    for path, text in FILES.items():
        for match in re.finditer(r"""python3?["',\s]+(-I|-m venv|\S+)""", text):
            line = text[text.rfind("\n", 0, match.start()) + 1 : text.find("\n", match.end())]
            if re.search(r"""python3["', ]+(-[a-zA-Z]|[\w/]*/)""", line):
                calls += 1
                assert match[1] in ("-I", "-m venv"), (path, line)
    assert calls >= len(PROGRAMS)
