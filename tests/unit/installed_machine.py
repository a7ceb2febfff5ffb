"""A folder that stands for a machine: the installers change it, and a program that poses as systemctl keeps the books.

That systemctl reads units as systemd does, through the links of /etc/systemd/system, and remembers the text with which
each running unit was started. A unit whose text says `broken` does not start.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from compiler.emit.manifest import NAME, manifest_of
from compiler.pipeline import render_plan
from compiler.plan.ir import Plan
from compiler.render.artifact import EXECUTABLE, Artifact
from tests.unit.plan_samples import PATH, write_executable

UNITS = "etc/systemd/system"

_SYSTEMCTL = """#!/usr/bin/python3 -SE
import json, os, sys
root = "@ROOT@"
state = root + "/systemd.json"
words = [word for word in sys.argv[1:] if not word.startswith("--")]
book = json.load(open(state)) if os.path.exists(state) else {"known": {}, "running": {}, "calls": []}
if sys.argv[1:] == ["--version"]:
    print("systemd", open(root + "/version").read(), "(x)")
    sys.exit(0)
verb, units = words[0], words[1:]
def text_of(unit):
    for folder in ("run/systemd/system", "etc/systemd/system"):
        path = os.path.join(root, folder, unit)
        if os.path.islink(path):
            path = root + os.readlink(path)
        if os.path.isfile(path):
            return open(path).read()
def names():
    for folder in ("run/systemd/system", "etc/systemd/system"):
        if os.path.isdir(os.path.join(root, folder)):
            yield from os.listdir(os.path.join(root, folder))
code = 0
if verb == "is-active":
    print("active" if units[0] in book["running"] else "inactive")
    sys.exit(0 if units[0] in book["running"] else 3)
book["calls"].append(sys.argv[1:])
if verb == "daemon-reload":
    book["known"] = {unit: text_of(unit) for unit in names() if text_of(unit)}
elif verb == "stop":
    for unit in units:
        code = code if unit in book["known"] else 5
        book["running"].pop(unit, None)
elif verb in ("start", "reload-or-restart"):
    for unit in units:
        text = book["known"].get(unit)
        if text is None or "broken" in text:
            print("Job for", unit, "failed.", file=sys.stderr)
            code = 1
        elif not (".stage." in unit):
            book["running"].setdefault(unit, text)
json.dump(book, open(state + ".new", "w"))
os.replace(state + ".new", state)
sys.exit(code)
"""

# Users of the machine are lines of `passwd`; whoever is added has the number of who runs the tests, who owns all files.
_GETENT = '#!/bin/sh\ngrep "^$2:" "@ROOT@/passwd"\n'
_USERADD = """#!/bin/sh
for name; do test "$before" != --comment || comment=$name; before=$name; done
echo "$name:x:@UID@:@UID@:$comment:/:/usr/sbin/nologin" >> "@ROOT@/passwd"
"""
_USERDEL = '#!/bin/sh\nsed -i "/^$1:/d" "@ROOT@/passwd"\n'

_JOURNAL = """echo '{"_PID": "7", "MESSAGE": "what the unit said"}'
echo '{"_PID": "1", "MESSAGE": "what systemd said"}'
"""

# Ends the program before its step number $KILL_AT, as a power cut would.
_KILLER = """
import os, runpy, sys
sys.dont_write_bytecode = True
program = sys.argv[1]
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(program)), "lib"))
from stack.install import host
original, left = host.Host.step, [int(os.environ["KILL_AT"])]
def step(self, text, change):
    left[0] -= 1
    if left[0] < 0:
        os._exit(137)
    original(self, text, change)
host.Host.step = step
sys.argv = sys.argv[1:]
runpy.run_path(program, run_name="__main__")
"""


@dataclass(frozen=True, slots=True)
class InstalledMachine:
    """`root` is the machine's, `copies` where trees are copied to before they are installed."""

    root: Path
    copies: Path

    @classmethod
    def prepare(cls, folder: Path, plan: Plan) -> InstalledMachine:
        """A machine with systemd, a user, vLLM and the stack's secrets, and nothing installed."""
        machine = cls(folder / "root", folder / "copies")
        root = str(machine.root)
        machine.root.mkdir()
        (machine.root / "version").write_text("252")
        write_executable(machine.tool("systemctl"), _SYSTEMCTL.replace("@ROOT@", root))
        write_executable(machine.tool("journalctl"), "#!/bin/sh\n" + _JOURNAL)
        (machine.root / "passwd").touch()
        for name, program in (("getent", _GETENT), ("useradd", _USERADD), ("userdel", _USERDEL)):
            write_executable(machine.tool(name), program.replace("@ROOT@", root).replace("@UID@", str(os.getuid())))
        write_executable(machine.tool("install"), '#!/bin/sh\nfor last; do :; done\nmkdir -p "$last"\n')
        write_executable(machine.at(plan.engine.program), f"#!/bin/sh\necho {plan.engine.version}\n")
        secrets = (plan.secrets.api_key, plan.secrets.hf_token, plan.secrets.client_keys)
        for secret in (secret for secret in secrets if secret is not None):
            machine.at(secret).parent.mkdir(parents=True, exist_ok=True)
            machine.at(secret).write_text("sk-secret\n")
            machine.at(secret).chmod(0o600)
        return machine

    def at(self, path: str) -> Path:
        """Where a path of the machine is."""
        return self.root / path.lstrip("/")

    def tool(self, name: str) -> Path:
        return self.root.parent / "tools" / name

    def copy(self, plan: Plan, **texts: str) -> Path:
        """A copy of the plan's tree, whose smoke test passes unless `texts` says otherwise."""
        given = {"bin/smoke-test": "#!/bin/sh\n"} | texts
        artifacts = [each for each in render_plan(plan) if str(each.path) not in given]
        artifacts += [
            Artifact(type(NAME)(path), text, EXECUTABLE if path.startswith("bin/") else 0o644)
            for path, text in given.items()
        ]
        artifacts.append(manifest_of(artifacts))
        name = hashlib.sha256(artifacts[-1].text.encode()).hexdigest()[:12]
        for artifact in artifacts:
            path = self.copies / name / artifact.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(artifact.text, encoding="utf-8")
            path.chmod(artifact.mode)
        return self.copies / name

    def linked_copy(self, plan: Plan, **texts: str) -> Path:
        """The same as it lies in a repository: what trees share is beside it, behind a link."""
        tree = self.copy(plan, **texts)
        store = self.copies / "_lib"
        name = hashlib.sha256((tree / "lib" / NAME).read_bytes()).hexdigest()[:12]
        store.mkdir(exist_ok=True)
        if (store / name).exists():
            shutil.rmtree(tree / "lib")
        else:
            (tree / "lib").rename(store / name)
        (tree / "lib").symlink_to(f"../_lib/{name}")
        return tree

    def run(self, tree: Path, name: str, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run an installer to its end."""
        return self._run([str(tree / "bin" / name)], options, variables)

    def kill_at(self, step: int, tree: Path, name: str, *options: str) -> bool:
        """Run an installer and end it before a step; whether it was ended."""
        command = [sys.executable, "-c", _KILLER, str(tree / "bin" / name)]
        done = self._run(command, options, {"KILL_AT": str(step)})
        assert done.returncode in (0, 137), done.stdout + done.stderr
        return done.returncode == 137

    def _run(
        self, command: list[str], options: tuple[str, ...], variables: dict[str, str]
    ) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": f"{self.tool('')}:{PATH}", "HOME": "/nonexistent", **variables}
        words = [*command, "--root", str(self.root), *options]
        return subprocess.run(words, env=environment, cwd="/", capture_output=True, text=True, check=False, timeout=60)

    def save(self) -> Path:
        """A copy of the whole machine, to return to."""
        saved = self.root.with_name("saved")
        shutil.copytree(self.root, saved, symlinks=True)
        return saved

    def restore(self, saved: Path) -> None:
        shutil.rmtree(self.root)
        shutil.copytree(saved, self.root, symlinks=True)

    @property
    def systemd(self) -> dict[str, Any]:
        path = self.root / "systemd.json"
        book: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"running": {}, "calls": []}
        return book

    @property
    def running(self) -> list[str]:
        """Services that run, sorted."""
        return sorted(unit for unit in self.systemd["running"] if unit.endswith(".service"))

    def calls(self, verb: str) -> list[list[str]]:
        """What systemctl was asked to do."""
        return [call[1:] for call in self.systemd["calls"] if call[0] == verb]

    def forget_calls(self) -> None:
        (self.root / "systemd.json").write_text(json.dumps(self.systemd | {"calls": []}))

    def reboot(self, target: str) -> None:
        """Lose power: what is enabled starts with the units that are found then."""
        runtime = self.root / "run"
        for path in sorted(runtime.rglob("*"), reverse=True) if runtime.exists() else ():
            path.rmdir() if path.is_dir() else path.unlink()
        known = {path.name: self._text(path) for path in sorted((self.root / UNITS).glob("*")) if not path.is_dir()}
        known = {name: text for name, text in known.items() if text}
        running = {}
        if (self.root / UNITS / "multi-user.target.wants" / target).is_symlink() and target in known:
            wanted = [line.partition("=")[2] for line in known[target].splitlines() if line.startswith("Wants=")]
            running = {name: known[name] for name in (target, *wanted) if name in known}
        (self.root / "systemd.json").write_text(json.dumps({"known": known, "running": running, "calls": []}))

    def _text(self, path: Path) -> str:
        found = self.at(str(path.readlink())) if path.is_symlink() else path
        return found.read_text() if found.is_file() else ""

    def link(self, name: str) -> str | None:
        """The version that a link of the installation names."""
        path = self.at("/opt/stackc/duo") / name
        return path.readlink().name if path.is_symlink() else None

    def snapshot(self) -> dict[str, str]:
        """Every file and link of the machine, but for systemd's own books."""
        found = {}
        for path in sorted(self.root.rglob("*")):
            if path.is_symlink():
                found[str(path)] = f"-> {path.readlink()}"
            elif path.is_file() and path.name != "systemd.json" and not path.name.endswith(".lock"):
                found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
        return found


def with_context(plan: Plan, service: str, tokens: int) -> Plan:
    """The plan with another context for one service: its launch script changes, and no other's."""
    old = plan.service(service)
    arguments = tuple(
        replace(each, value=str(tokens)) if each.flag == "--max-model-len" else each for each in old.arguments
    )
    changed = replace(old, max_model_len=tokens, arguments=arguments)
    return replace(plan, services=tuple(changed if each.name == service else each for each in plan.services))
