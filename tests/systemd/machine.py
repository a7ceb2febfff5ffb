"""A real systemd in namespaces: a root, processes, a network and cgroups of its own, and nothing left afterwards.

    with Machine.boot(folder, {"/opt/engine": engine}) as machine:
        machine.run("systemctl", "start", "a.service")

Needs root. What is written inside goes to an overlay in memory; the host's files are seen, and never changed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import missing

NAMESPACES = ("--pid", "--mount", "--uts", "--ipc", "--net", "--cgroup")
BOOT_SECONDS = 30.0
Completed = subprocess.CompletedProcess[str]


@dataclass(frozen=True, slots=True)
class Machine:
    """A booted machine. `pid` is that of its systemd, as the host sees it; `console` what systemd says."""

    pid: int
    console: Path

    @classmethod
    @contextmanager
    def boot(cls, folder: Path, mounts: Mapping[str, Path]) -> Iterator[Machine]:
        """Boot a machine that sees `mounts` (place inside → place on the host) read-only; stop it after the block."""
        require()
        base = folder / "machine"
        base.mkdir(parents=True)
        console = folder / "console.log"
        with _control_group(folder.name) as group, console.open("wb") as output:
            # However this process ends, the machine ends with it.
            command = [
                "setpriv",
                "--pdeathsig",
                "KILL",
                "unshare",
                "--fork",
                "--kill-child=KILL",
                *NAMESPACES,
                "--",
                *_script(base, mounts),
            ]
            # The group is entered before the namespaces are made, so that it is their root.
            shell = ["sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', str(group), *command]
            process = subprocess.Popen(shell, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
            try:
                yield cls(_booted(process, console), console)
            except BaseException as error:
                error.add_note(f"--- {console}\n{console.read_text(errors='replace')[-4000:]}")
                raise
            finally:
                process.kill()
                process.wait()

    def run(self, *command: str | Path, seconds: float = 120.0) -> Completed:
        """Run a program inside, as root, to its end."""
        return subprocess.run(
            self._inside(*command), env=_ENVIRONMENT, capture_output=True, text=True, check=False, timeout=seconds
        )

    def must(self, *command: str | Path, seconds: float = 120.0) -> str:
        """Run a program that has to succeed; what it printed."""
        done = self.run(*command, seconds=seconds)
        assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}\n{self.log()[-6000:]}"
        return done.stdout

    def start(self, *command: str | Path) -> subprocess.Popen[str]:
        """Begin to run a program inside."""
        return subprocess.Popen(
            self._inside(*command), env=_ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def write(self, path: str, text: str | bytes, *, mode: int = 0o644, owner: str = "root") -> None:
        """Write a file inside, with the folders above it."""
        data = text.encode() if isinstance(text, str) else text
        script = 'mkdir -p "$(dirname "$1")" && cat > "$1" && chmod "$2" "$1" && chown "$3" "$1"'
        command = self._inside("sh", "-c", script, "sh", path, f"{mode:o}", owner)
        subprocess.run(command, env=_ENVIRONMENT, input=data, capture_output=True, check=True)

    def copy(self, source: Path, target: str) -> None:
        """Copy a folder of the host to a place inside."""
        archive = subprocess.run(["tar", "-C", source, "-cf", "-", "."], capture_output=True, check=True).stdout
        script = 'mkdir -p "$1" && tar -C "$1" --no-same-owner -xf -'
        subprocess.run(self._inside("sh", "-c", script, "sh", target), input=archive, env=_ENVIRONMENT, check=True)

    def property(self, unit: str, name: str) -> str:
        """One property of a unit, as systemd prints it."""
        return self.must("systemctl", "show", "--value", f"--property={name}", unit).strip()

    def log(self, *units: str) -> str:
        """What units have printed, or everything."""
        chosen = [f"--unit={unit}" for unit in units]
        return self.run("journalctl", "--no-pager", "--output=short-monotonic", *chosen).stdout

    def wait(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        """Poll until a condition holds."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"not in {seconds:.0f} s: {what}\n{self.log()[-6000:]}"
            time.sleep(0.2)

    def _inside(self, *command: str | Path) -> list[str]:
        return ["nsenter", f"--target={self.pid}", "--all", "--", *map(str, command)]


_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}


def require() -> None:
    """Skip where no machine can be made, or fail where it must be possible."""
    if os.geteuid() != 0:
        missing("a real systemd in namespaces needs root")
    for name in ("unshare", "setpriv", "nsenter", "pivot_root", "systemctl", "tar"):
        if shutil.which(name, path=_ENVIRONMENT["PATH"]) is None:
            missing(f"{name} is not installed")
    if not Path("/lib/systemd/systemd").exists():
        missing("systemd is not installed")
    if not os.access(_hierarchy(), os.W_OK):
        missing("control groups cannot be made here")


def _hierarchy() -> Path:
    """Where version 2 of control groups is mounted."""
    hybrid = Path("/sys/fs/cgroup/unified")
    return hybrid if hybrid.is_dir() else Path("/sys/fs/cgroup")


@contextmanager
def _control_group(name: str) -> Iterator[Path]:
    group = _hierarchy() / f"stackc-{os.getpid()}-{name}"
    group.mkdir()
    try:
        yield group
    finally:
        _remove_group(group)


def _remove_group(group: Path) -> None:
    """Remove a group from its leaves on; processes that were just killed may need a moment."""
    folders = [path for path in group.rglob("*") if path.is_dir()]
    deadline = time.monotonic() + 5
    for folder in [*sorted(folders, reverse=True), group]:
        while True:
            try:
                folder.rmdir()
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)


def _script(base: Path, mounts: Mapping[str, Path]) -> list[str]:
    places = [word for inside, host in mounts.items() for word in (str(host.resolve()), inside)]
    return [str(Path(__file__).with_name("root.sh")), str(base), *places]


def _booted(process: subprocess.Popen[bytes], console: Path) -> int:
    """The host's number of the systemd inside, once it takes orders."""
    deadline = time.monotonic() + BOOT_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            missing(f"a machine cannot be made here: {console.read_text(errors='replace')[-500:]}")
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        if children and _is_up(int(children[0])):
            return int(children[0])
        time.sleep(0.1)
    raise AssertionError(f"systemd did not boot in {BOOT_SECONDS:.0f} s")


def _is_up(pid: int) -> bool:
    if Path(f"/proc/{pid}/comm").read_text().strip() != "systemd":
        return False
    command = ["nsenter", f"--target={pid}", "--all", "--", "systemctl", "is-active", "--quiet", "machine.target"]
    return subprocess.run(command, env=_ENVIRONMENT, capture_output=True, check=False).returncode == 0
