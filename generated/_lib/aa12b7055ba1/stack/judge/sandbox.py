"""Run code that a model wrote, with the tests that judge it, as far from everything else as this machine allows.

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.

A program of its own, run as `python3 -I sandbox.py`: it reads one job as JSON from stdin and writes one outcome as
JSON to stdout. It is the reaper of all that the code starts, so nothing outlives it.

The limits hold everywhere: CPU time, memory, file size, processes, wall-clock time, output. The rest depends on the
kernel, and what could not be had is named in `missing`: processes and a network of its own (namespaces), and no files
but the interpreter's and an empty folder (Landlock). Root becomes nobody, for whom alone the limits count.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import secrets
import select
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

MIB = 2**20
FILE_BYTES = MIB
OUTPUT_BYTES = 65536
SHOWN_CHARS = 2000
OPEN_FILES = 64
NOBODY = 65534
# So many tasks more than the user already has; without a namespace of its own the kernel counts them together.
MORE_TASKS = 32
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET, CLONE_NEWIPC = 0x10000000, 0x20000000, 0x40000000, 0x08000000
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 36, 38
# linux/landlock.h; the numbers of the calls are the same on every architecture.
LANDLOCK_CREATE, LANDLOCK_ADD, LANDLOCK_RESTRICT = 444, 445, 446
LANDLOCK_VERSION_FLAG, LANDLOCK_RULE_PATH = 1, 1
FS_EXECUTE, FS_WRITE, FS_READ, FS_READ_DIR = 1, 2, 4, 8
# Rights that exist from each version of Landlock on: 13 at first, then `refer`, `truncate` and `ioctl_dev`.
FS_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
NET_RIGHTS = 3  # bind and connect of TCP, from version 4 on
READABLE = ("/usr", "/lib", "/lib32", "/lib64", "/bin", "/etc/ld.so.cache", "/etc/localtime", "/dev/urandom")
DEVICES = ("/dev/null", "/dev/zero")

# Runs inside. Exceptions show the line of the answer: the texts are known to `linecache`. The word at the end says
# that the tests came to their end; code that leaves the process early cannot say it.
INSIDE = """
import json, linecache, os, sys, types, unittest

def load(name, text, known):
    linecache.cache[name + ".py"] = (len(text), None, text.splitlines(True), name + ".py")
    module = types.ModuleType(name)
    module.__dict__.update(known)
    sys.modules[name] = module
    exec(compile(text, name + ".py", "exec"), module.__dict__)
    return {key: value for key, value in vars(module).items() if not key.startswith("__")}

def main():
    job = json.load(sys.stdin)
    known = load("tests", job["tests"], load("answer", job["answer"], {}))
    own = {key: value for key, value in known.items() if getattr(value, "__module__", None) == "tests"}
    for name, value in own.items():
        if isinstance(value, types.FunctionType) and name.startswith("test"):
            value()
    cases = [value for value in own.values() if isinstance(value, type) and issubclass(value, unittest.TestCase)]
    for case in cases:
        suite = unittest.defaultTestLoader.loadTestsFromTestCase(case)
        if not unittest.TextTestRunner(stream=sys.stderr).run(suite).wasSuccessful():
            sys.exit(1)
    sys.stdout.flush()
    os.write(job["done"], job["word"].encode())

main()
"""


class LandlockRule(ctypes.Structure):
    """`struct landlock_path_beneath_attr`."""

    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


class Cage:
    """What holds the code of one job. Make it before the child: namespaces count for children to come."""

    def __init__(self, libc: ctypes.CDLL, python: str, memory_bytes: int, cpu_seconds: int) -> None:
        self._libc = libc
        self._memory_bytes = memory_bytes
        self._cpu_seconds = cpu_seconds
        self._readable = [*READABLE, str(Path(python).resolve().parent)]
        if python == sys.executable:
            self._readable += [sys.prefix, sys.base_prefix]
        self._is_root = os.geteuid() == 0
        self._user = NOBODY if self._is_root else os.geteuid()
        self._tasks = _tasks_of(self._user) + MORE_TASKS
        self._landlock = libc.syscall(LANDLOCK_CREATE, None, 0, LANDLOCK_VERSION_FLAG)
        self.missing = [] if self._unshare() else ["processes and network of its own"]
        if self._landlock < 1:
            self.missing.append("files of its own")

    def give(self, folder: str) -> None:
        """Let the code own its folder."""
        if self._is_root:
            os.chown(folder, self._user, self._user)

    def _unshare(self) -> bool:
        """Namespaces for the children to come, if the kernel and its policies allow all of them."""
        # A user namespace that turns out to be of no use cannot be left again: a child tries first.
        child = os.fork()
        if child == 0:
            try:
                self._enter_namespaces()
            except OSError:
                os._exit(1)
            os._exit(0)
        if os.waitpid(child, 0)[1] != 0:
            return False
        self._enter_namespaces()
        return True

    def _enter_namespaces(self) -> None:
        flags = CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC
        user, group = os.geteuid(), os.getegid()
        if self._libc.unshare(flags if self._is_root else flags | CLONE_NEWUSER) != 0:
            raise OSError(ctypes.get_errno(), "unshare")
        if not self._is_root:
            Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
            Path("/proc/self/uid_map").write_text(f"{user} {user} 1", encoding="ascii")
            Path("/proc/self/gid_map").write_text(f"{group} {group} 1", encoding="ascii")

    def enter(self, folder: str) -> None:
        """Called in the child, after fork and before exec."""
        if self._is_root:
            os.setgroups([])
            os.setgid(self._user)
            os.setuid(self._user)
        # After the change of user, which would undo it.
        self._libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        self._libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        if self._landlock >= 1:
            self._hide_files(folder)
        limits = {
            resource.RLIMIT_CPU: self._cpu_seconds,
            resource.RLIMIT_AS: self._memory_bytes,
            resource.RLIMIT_FSIZE: FILE_BYTES,
            resource.RLIMIT_NPROC: self._tasks,
            resource.RLIMIT_NOFILE: OPEN_FILES,
            resource.RLIMIT_CORE: 0,
        }
        for kind, value in limits.items():
            hard = resource.getrlimit(kind)[1]
            value = value if hard == resource.RLIM_INFINITY else min(value, hard)  # noqa: PLW2901
            resource.setrlimit(kind, (value, value))

    def _hide_files(self, folder: str) -> None:
        rights = 2 ** FS_RIGHTS[min(self._landlock, max(FS_RIGHTS))] - 1
        handled = (ctypes.c_uint64 * 2)(rights, NET_RIGHTS if self._landlock >= 4 else 0)
        size = 16 if self._landlock >= 4 else 8
        rules = self._libc.syscall(LANDLOCK_CREATE, ctypes.byref(handled), size, 0)
        for path in self._readable:
            self._allow(rules, path, FS_READ | FS_READ_DIR | FS_EXECUTE)
        for path in DEVICES:
            self._allow(rules, path, FS_READ | FS_WRITE)
        self._allow(rules, folder, rights)
        if self._libc.syscall(LANDLOCK_RESTRICT, rules, 0) != 0:
            raise OSError(ctypes.get_errno(), "landlock_restrict_self")
        os.close(rules)

    def _allow(self, rules: int, path: str, rights: int) -> None:
        try:
            descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            return  # what is not here needs no rule
        if not os.path.isdir(path):
            rights &= FS_READ | FS_WRITE | FS_EXECUTE
        rule = LandlockRule(rights, descriptor)
        result = self._libc.syscall(LANDLOCK_ADD, rules, LANDLOCK_RULE_PATH, ctypes.byref(rule), 0)
        os.close(descriptor)
        if result != 0:
            raise OSError(ctypes.get_errno(), f"landlock_add_rule {path}")


def _tasks_of(user: int) -> int:
    """Threads of a user: RLIMIT_NPROC counts them all."""
    count = 0
    for entry in os.scandir("/proc"):
        try:
            if entry.name.isdigit() and entry.stat().st_uid == user:
                count += len(os.listdir(f"/proc/{entry.name}/task"))
        except OSError:
            continue  # it ended meanwhile
    return count


def choose_python() -> str | None:
    """An interpreter that the code's user may run: nobody cannot enter root's home."""
    if os.geteuid() != 0:
        return sys.executable
    for path in (sys.executable, "/usr/bin/python3"):
        real = Path(path).resolve()
        if real.exists() and all(parent.stat().st_mode & 0o001 for parent in [real, *real.parents]):
            return path
    return None


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Run one job: `answer`, `tests`, `seconds` of CPU time, `clock` seconds in all, and `memory` in bytes."""
    python = choose_python()
    if python is None:
        return {"status": "unavailable", "detail": "no Python that user nobody may run", "missing": []}
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    cage = Cage(libc, python, job["memory"], job["seconds"])
    with tempfile.TemporaryDirectory(prefix="stackc-answer-") as folder:
        cage.give(folder)
        status, detail = _run_inside(cage, python, folder, job)
    return {"status": status, "detail": detail, "missing": cage.missing}


def _run_inside(cage: Cage, python: str, folder: str, job: dict[str, Any]) -> tuple[str, str]:
    receive, send = os.pipe()
    word = secrets.token_hex(16)
    process = subprocess.Popen(
        [python, "-I", "-B", "-c", INSIDE],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "HOME": folder, "TMPDIR": folder, "LANG": "C.UTF-8"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=(send,),
        preexec_fn=partial(cage.enter, folder),  # noqa: PLW1509 (this program has one thread)
        start_new_session=True,
    )
    os.close(send)
    deadline = time.monotonic() + job["clock"]
    # The pipe must not block this program, should the code never read it.
    inside = {"answer": job["answer"], "tests": job["tests"], "done": send, "word": word}
    output, stopped = _exchange(process, json.dumps(inside).encode(), deadline)
    _kill_all(process)
    os.set_blocking(receive, False)
    try:
        is_done = os.read(receive, len(word)) == word.encode()
    except BlockingIOError:
        is_done = False
    os.close(receive)
    return _judge(process.returncode, output.decode("utf-8", "replace"), stopped, is_done, job)


def _exchange(process: subprocess.Popen[bytes], given: bytes, deadline: float) -> tuple[bytes, str]:
    """Feed stdin and read stdout until the end, the deadline or too much output; the output, and why it ended."""
    assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018
    source, sink = process.stdin.fileno(), process.stdout.fileno()
    os.set_blocking(source, False)
    output, pending, is_open = b"", memoryview(given), True
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            return output, "timeout"
        readable, writable, _ = select.select([sink], [source] if is_open else [], [], min(left, 0.1))
        if writable:
            try:
                pending = pending[os.write(source, pending) :]
            except BrokenPipeError:
                pending = pending[:0]
            if not pending:
                process.stdin.close()
                is_open = False
        if readable:
            chunk = os.read(sink, 65536)
            output += chunk
            if not chunk:
                return output, _wait(process, deadline)
            if len(output) > OUTPUT_BYTES:
                return output, "output"
        # Whoever inherited stdout may hold it open; the code itself has ended.
        elif os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG):
            return output, ""


def _wait(process: subprocess.Popen[bytes], deadline: float) -> str:
    """Wait for code that closed its output but may still run."""
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return "timeout"
    return ""


def _kill_all(process: subprocess.Popen[bytes]) -> None:
    """Kill everything that the code started: orphans become children of this program."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        for child in _descendants(os.getpid()):
            _kill(child)
        if process.poll() is None:
            continue
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.005)


def _kill(child: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)


def _descendants(root: int) -> list[int]:
    """All processes below one, by /proc."""
    parents: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                fields = Path(f"/proc/{name}/stat").read_text(encoding="utf-8", errors="replace")
            except OSError:
                continue
            parents.setdefault(int(fields.rpartition(")")[2].split()[1]), []).append(int(name))
    found, pending = [], [root]
    while pending:
        children = parents.get(pending.pop(), [])
        found += children
        pending += children
    return found


def _judge(code: int, output: str, stopped: str, is_done: bool, job: dict[str, Any]) -> tuple[str, str]:  # noqa: FBT001
    shown = output[-SHOWN_CHARS:].strip()
    if stopped == "output":
        return "failed", f"printed more than {OUTPUT_BYTES} bytes"
    if stopped == "timeout":
        return "failed", f"still running after {job['clock']} s"
    if code == 0 and is_done:
        return "passed", ""
    if code == 0:
        return "failed", f"the process ended before the tests did\n{shown}".strip()
    if code < 0:
        names = {-signal.SIGKILL: f"killed: {job['seconds']} s of CPU time used, or memory exhausted"}
        return "failed", f"{names.get(code, f'ended by {signal.Signals(-code).name}')}\n{shown}".strip()
    return "failed", shown or f"exit code {code}"


def main() -> None:
    """One job."""
    outcome = run(json.load(sys.stdin))
    json.dump(outcome, sys.stdout)


if __name__ == "__main__":
    main()
