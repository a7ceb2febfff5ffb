"""The machine that an installation changes: one step after the other, said before it is done.

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again. Needs Python 3.9 and nothing else.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from stack import EXIT_ENVIRONMENT, JsonObject, StackError, load_plan

EXIT_FAILED, EXIT_STEP, EXIT_NO_PREVIOUS, EXIT_BUSY = 1, 21, 22, 23
EXIT_UNIT, EXIT_FOREIGN = 26, 27
UNITS = "/etc/systemd/system"
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Host:
    """A machine below `root`. Whatever changes it goes through `step`, which a dry run only prints.

    `gone` are paths that were removed, or would be; `left` what a removal has not touched, and why.
    """

    def __init__(self, root: str = "/", *, is_dry_run: bool = False, is_quiet: bool = False) -> None:
        self._root = Path(root)
        self._is_quiet = is_quiet
        self.is_dry_run = is_dry_run
        self.steps: list[str] = []
        self.warnings: list[str] = []
        self.left: list[str] = []
        self.gone: set[str] = set()

    @property
    def is_real(self) -> bool:
        """Whether it is this machine, and not a folder that stands for one."""
        return self._root == Path("/")

    def path(self, path: str) -> Path:
        """Where a path of the machine is."""
        return self._root / path.lstrip("/")

    def step(self, text: str, change: Callable[[], object]) -> None:
        """Make one change."""
        self.steps.append(text)
        if not self._is_quiet:
            print(f"  {text}", flush=True)
        if not self.is_dry_run:
            change()

    def told(self, done: str, planned: str) -> str:
        """How it ended, or how it would end where nothing was done."""
        return planned if self.is_dry_run else done

    def warn(self, text: str) -> None:
        """Say what is not wrong, and may still surprise."""
        self.warnings.append(text)
        print(f"warning: {text}", file=sys.stderr, flush=True)

    def leave(self, what: str, reason: str) -> None:
        """Say what a removal does not touch."""
        self.left.append(f"{what}: {reason}")
        if not self._is_quiet:
            print(f"  left: {what}: {reason}", flush=True)

    def ask(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a program that changes nothing; its answer, whatever its exit status."""
        environment = {"PATH": os.environ.get("PATH", _SYSTEM_PATH), "LC_ALL": "C", **variables}
        try:
            return subprocess.run(words, env=environment, cwd="/", capture_output=True, text=True, check=False)
        except OSError as error:
            raise StackError(EXIT_ENVIRONMENT, f"cannot run {words[0]}: {error.strerror}") from error

    def command(self, *words: str, may_fail: bool = False) -> None:
        """Run a program that changes the machine, as a step."""

        def run() -> None:
            done = self.ask(*words)
            if done.returncode != 0 and not may_fail:
                said = " ".join((done.stderr or done.stdout).split())
                raise StackError(EXIT_STEP, f"`{' '.join(words)}` failed with {done.returncode}: {said}")

        self.step(" ".join(words), run)


def state_of(host: Host, unit: str) -> str:
    """What systemd says that a unit is, such as `active`, `activating` or `failed`."""
    return host.ask("systemctl", "is-active", unit).stdout.strip()


def write_link(path: Path, target: str, *, replaces_file: bool = False) -> None:
    """Make a link, or change one, in a single step: whoever looks sees the old one or the new one."""
    if os.path.lexists(path) and not path.is_symlink() and not replaces_file:
        raise StackError(EXIT_FOREIGN, f"{path} is no link: it was not put there by stackc, move it away")
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    os.symlink(target, fresh)
    fresh.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """See to it that a power cut does not take back what was renamed in a folder."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Action(NamedTuple):
    """One program: what it does, and the options that it has beyond the common ones (name → help)."""

    name: str
    description: str
    run: Callable[[Host, JsonObject, Any], str]
    switches: dict[str, str]


def run_action(action: Action, document: str | None) -> int:
    """Read the command line, take the lock, act, and report. `document` is what the program says of itself."""
    options = _parse(action, document or "")
    os.umask(0o022)
    plan = load_plan()
    host = Host(options.root, is_dry_run=options.dry_run, is_quiet=options.json)
    code, said = 0, ""
    try:
        _require_root(host)
        with _exclusive(host, plan["stack"]):
            said = action.run(host, plan, options)
    except StackError as error:
        code, said = error.code, str(error)
    except OSError as error:
        code, said = EXIT_STEP, f"{error.filename or 'the system'}: {error.strerror or error}"
    if options.json:
        print(json.dumps(_report(action, host, plan, code, said), indent=2))
    else:
        print(f"{action.name}: {said}", file=sys.stderr if code else sys.stdout)
    return code


def _require_root(host: Host) -> None:
    if host.is_real and os.geteuid() != 0:
        raise StackError(EXIT_ENVIRONMENT, "it changes the system: run it as root")


def _parse(action: Action, document: str) -> argparse.Namespace:
    # Without its first sentence, and the one that says who wrote it.
    rest = document.partition("\n\n")[2].partition("\n\n")[2]
    kind = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=action.description, epilog=rest, formatter_class=kind)
    for name, text in action.switches.items():
        parser.add_argument(name, action="store_true", help=text)
    parser.add_argument("--dry-run", action="store_true", help="print the steps and change nothing")
    parser.add_argument("--json", action="store_true", help="report for machines")
    parser.add_argument("--root", default="/", metavar="DIR", help="a folder that stands for the machine, for tests")
    return parser.parse_args()


def _report(action: Action, host: Host, plan: JsonObject, code: int, said: str) -> JsonObject:
    return {
        "stack": plan["stack"],
        "action": action.name,
        "dry_run": host.is_dry_run,
        "exit_code": code,
        "message": said,
        "steps": host.steps,
        "warnings": host.warnings,
        "left": host.left,
    }


@contextmanager
def _exclusive(host: Host, stack: str) -> Iterator[None]:
    """One at a time; the lock is the kernel's, so that nothing is left of one that was killed."""
    if host.is_dry_run:
        yield
        return
    path = host.path(f"/run/stackc-{stack}.install.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackError(EXIT_BUSY, f"another installation of {stack} is running ({path})") from None
        yield
    finally:
        os.close(lock)


_MOUNTS = Path("/proc/self/mountinfo")


def remove(host: Host, path: str) -> None:
    """Remove a file or a whole folder, or say why it stays."""
    place = host.path(path)
    if not os.path.lexists(place):
        return
    reason = obstacle(place)
    if reason is None:
        is_folder = place.is_dir()
        drop(host, path, partial(shutil.rmtree, place) if is_folder else place.unlink)
    else:
        host.leave(path, reason)


def drop(host: Host, path: str, change: Callable[[], object]) -> None:
    """A step after which a path is gone."""
    host.gone.add(path)
    host.step(f"remove {path}", change)


def remove_if_empty(host: Host, path: str) -> None:
    """Remove a folder that nothing is left in; whatever is, and was not told yet, is told now."""
    place = host.path(path)
    if not os.path.lexists(place):
        return
    reason = obstacle(place) or (None if place.is_dir() else "no folder")
    if reason is not None:
        host.leave(path, reason)
        return
    rest = [f"{path}/{name}" for name in sorted(os.listdir(place)) if f"{path}/{name}" not in host.gone]
    for each in rest:
        if not any(told.startswith((f"{each}/", f"{each}:")) for told in host.left):
            host.leave(each, "not the stack's")
    if not rest:
        drop(host, path, place.rmdir)


def obstacle(place: Path) -> str | None:
    """Why a removal would reach what lies somewhere else."""
    if place.is_symlink():
        return f"a link to {os.readlink(place)}"
    mounted = mounts_at(place)
    return f"{mounted[0]} is mounted" if mounted else None


def mounts_at(place: Path) -> list[str]:
    """Mount points that are a path, or lie below it."""
    wanted = os.path.realpath(place)
    lines = _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    points = (_unescaped(line.split(" ")[4]) for line in lines)
    return sorted(point for point in points if point == wanted or point.startswith(f"{wanted}/"))


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
