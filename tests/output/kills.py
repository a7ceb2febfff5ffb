"""Compiles that are killed, and compiles at the same time. The suite kills at some moments; by hand there are more.

    python -m tests.output.kills moments FOLDER [COUNT]   killed before COUNT changes of the disk, or before each
    python -m tests.output.kills random FOLDER COUNT      real processes, killed after a random time
    python -m tests.output.kills pairs FOLDER COUNT       two real processes at once

FOLDER must not exist. One line of JSON says what was done and what went wrong.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from compiler.cli.main import cli
from compiler.emit.library import STORE
from tests.output import releases

ROOT = Path(__file__).parents[2]
NAMES = ("coder-5090", "tiny-cpu")
GOING = "budget-a10"  # a spec that comes and goes, so that a tree is removed too
CHANGES = (
    *("open", "os.mkdir", "os.rename", "os.symlink", "os.remove", "os.rmdir", "os.chmod", "os.setxattr"),
    *("tempfile.mkdtemp", "shutil.rmtree", "ctypes.call_function"),
)
STACKC = (sys.executable, "-P", "-m", "tests.output.releases")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
Snapshot = dict[str, tuple[bytes, int]]


class Project:
    """A folder with specs whose next state is another one, and what each state compiles to."""

    def __init__(self, folder: Path) -> None:
        (folder / "stacks").mkdir(parents=True)
        os.chdir(folder)
        releases.pose()
        self.folder = folder
        self.trees: list[dict[str, Snapshot]] = []
        for state in (0, 1):
            self.become(state)
            assert compile_here("--output", f"state{state}") == (0, []), "the project itself"
            self.trees.append(self.found(f"state{state}"))
        self.become(0)
        assert compile_here() == (0, [])

    def become(self, state: int) -> None:
        """Change the specs and the release: ports of two, whether there is a third, and what all trees share."""
        releases.become(f"{state}")
        for name in (*NAMES, GOING):
            for suffix in (".yaml", ".lock.yaml"):
                text = (ROOT / "stacks" / f"{name}{suffix}").read_text()
                ports = text.replace("port: 8000", f"port: 8{state}00") if suffix == ".yaml" else text
                Path("stacks", name + suffix).write_text(ports)
        if state:
            for suffix in (".yaml", ".lock.yaml"):
                Path("stacks", GOING + suffix).unlink()

    def found(self, output: str = "generated") -> dict[str, Snapshot]:
        """Every tree and every library that is there."""
        store = Path(output, STORE)
        trees = {path.name: snapshot(path) for path in sorted(Path(output).iterdir()) if path != store}
        libraries = sorted(store.iterdir()) if store.is_dir() else ()
        return trees | {f"{STORE}/{path.name}": snapshot(path) for path in libraries}

    def faults_after_a_kill(self, state: int) -> list[str]:
        """What is wrong after a kill on the way to a state, and after the next run."""
        faults = [
            f"{name} is a mixture"
            for name, tree in self.found().items()
            if not Path(name).name.startswith(".") and tree not in [trees.get(name) for trees in self.trees]
        ]
        trees = [path for path in Path("generated").iterdir() if path.name[0] not in "._"]
        faults += [f"{tree.name} has no library" for tree in trees if not (tree / "lib/SHA256SUMS").is_file()]
        _, codes = compile_here("--check")
        faults += ["stackc does not know its own"] if "E0603" in codes else []
        result = compile_here()
        faults += [f"the next run fails: {result}"] if result != (0, []) else []
        faults += [] if self.found() == self.trees[state] else ["the next run does not mend it"]
        return faults


def snapshot(folder: Path) -> Snapshot:
    return {path.relative_to(folder).as_posix(): _entry(path) for path in sorted((folder, *folder.rglob("*")))}


def _entry(path: Path) -> tuple[bytes, int]:
    if path.is_symlink():
        return os.fsencode(path.readlink()), 0
    return path.read_bytes() if path.is_file() else b"", path.stat().st_mode


def compile_here(*options: str) -> tuple[int, list[str]]:
    """Exit code and codes of errors, of a run in this process."""
    result = CliRunner().invoke(cli, ["compile", "--format", "json", *options])
    try:
        found = json.loads(result.stdout)["diagnostics"]
    except ValueError:
        return result.exit_code, [result.output, repr(result.exception)]
    return result.exit_code, [each["code"] for each in found if each["severity"] == "error"]


def in_child(work: Callable[[], object]) -> int:
    """Run in a copy of this process; the wait status."""
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            work()
        os._exit(0)
    return os.waitpid(child, 0)[1]


def count_changes(kill_at: int | None) -> Callable[[], int]:
    """Count what this process does to the disk from now on, and end it before one of these."""
    seen = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if event not in CHANGES or (event == "open" and not _is_writing(arguments)):
            return
        if seen == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        seen += 1

    sys.addaudithook(hook)
    return lambda: seen


def _is_writing(arguments: tuple[Any, ...]) -> bool:
    return isinstance(arguments[2], int) and bool(arguments[2] & (os.O_WRONLY | os.O_RDWR))


def changes_of_a_run() -> int:
    """How often one run changes the disk."""
    reader, writer = os.pipe()

    def work() -> None:
        count = count_changes(None)
        compile_here()
        os.write(writer, str(count()).encode())

    in_child(work)
    return int(os.read(reader, 100))


def moments(project: Project, count: int | None) -> dict[str, Any]:
    """Kill before changes of the disk, evenly spread over a run, on the way from one state to the other."""
    project.become(1)
    totals = {1: changes_of_a_run()}
    project.become(0)
    totals[0] = changes_of_a_run()
    faults, killed, state = [], 0, 0
    for index in range(count or 2 * max(totals.values())):
        state = 1 - state
        project.become(state)
        moment = index * totals[state] // count if count else index // 2
        status = in_child(lambda moment=moment: (count_changes(moment), compile_here()))  # type: ignore[misc]
        killed += os.WIFSIGNALED(status)
        faults += [f"before change {moment}: {fault}" for fault in project.faults_after_a_kill(state)]
    return {"killed": killed, "changes": totals, "faults": faults}


def randomly(project: Project, count: int) -> dict[str, Any]:
    """Kill real processes at any time."""
    started = time.monotonic()
    subprocess.run([*STACKC, "compile"], check=True, capture_output=True, env=ENVIRONMENT)
    longest = time.monotonic() - started
    faults, killed, runs, state = [], 0, 0, 0
    while killed < count:
        state, runs = 1 - state, runs + 1
        project.become(state)
        process = subprocess.Popen(
            [*STACKC, "compile"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ENVIRONMENT
        )
        try:
            process.wait(random.uniform(0.3, 1.3) * longest)
        except subprocess.TimeoutExpired:
            process.kill()
            killed += process.wait() == -signal.SIGKILL
        faults += project.faults_after_a_kill(state)
    return {"runs": runs, "killed": killed, "faults": faults}


def pairs(project: Project, count: int) -> dict[str, Any]:
    """Two runs at once; both must succeed."""
    faults, state = [], 0
    for _ in range(count):
        state = 1 - state
        project.become(state)
        both = [
            subprocess.Popen([*STACKC, "compile"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=ENVIRONMENT)
            for _ in "ab"
        ]
        for process in both:
            told = process.communicate()[1].decode()
            faults += [told] if process.returncode else []
        faults += [] if project.found() == project.trees[state] else ["the trees are not what the specs say"]
    return {"rounds": count, "faults": faults}


def main(kind: str, folder: str, count: str = "") -> None:
    """Do it in a new folder."""
    what: dict[str, Callable[[Project, Any], dict[str, Any]]] = {"moments": moments, "random": randomly, "pairs": pairs}
    with contextlib.redirect_stderr(io.StringIO()):
        project = Project(Path(folder))
    print(json.dumps(what[kind](project, int(count) if count else None)))  # noqa: T201
    os.chdir("/")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main(*sys.argv[1:])
