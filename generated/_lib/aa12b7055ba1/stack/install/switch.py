"""Checks of the machine before a version is installed, and the change from one version to another.

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again. Needs Python 3.9 and nothing else.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
import tempfile
from pathlib import Path

import stack
from stack import EXIT_ENVIRONMENT, EXIT_USAGE, JsonObject, StackError, answers
from stack.install.host import EXIT_FOREIGN, EXIT_STEP, Host, state_of
from stack.install.state import check_state, make_user, owner_name, take_over, user_name
from stack.install.versions import Site, Tree, check_units, read_tree
from stack.keys import BadKeys, keys_of, read_file
from stack.packages import environment_of, installing

EXIT_VERSION, EXIT_API_KEY, EXIT_CLIENT_KEYS = 16, 17, 19
SYSTEMD_FLOOR = 252
_LAUNCH = "bin/launch-"


def plan_of(tree: Tree) -> JsonObject:
    """The plan of another version."""
    plan: JsonObject = json.loads(tree.files["plan.json"])
    return plan


def source_tree() -> Tree:
    """The tree that this program belongs to, checked file by file."""
    return read_tree(source_folder())


def source_folder() -> Path:
    """The top of that tree."""
    return stack.TREE


def check_machine(host: Host, plan: JsonObject, tree: Tree) -> None:
    """Everything that would keep the stack from starting and can be known before anything is changed."""
    if not tree.units:
        raise StackError(EXIT_USAGE, "this tree has no units: the spec's `targets` leaves systemd out")
    site = Site(host, plan)
    check_units(site, [*tree.units, stage_unit(site)])
    _check_install(site)
    check_state(host, plan)
    _check_systemd(host)
    for key, path in plan["secrets"].items():
        if path is not None:
            _check_secret(host.path(path), EXIT_CLIENT_KEYS if key == "client_keys" else EXIT_API_KEY)
    _check_engines(host, plan)
    _check_tools(host, plan, tree)
    for program in _programs(plan):
        _warn_of_owner(host, program)
    if host.is_real and (mount := _mount_point(Path(plan["paths"]["install"]))) != Path("/"):
        host.warn(f"systemd reads units before {mount} is mounted: after a boot, run `systemctl daemon-reload` first")


def _check_install(site: Site) -> None:
    """The folder of versions must not be another stack's."""
    folder = site.host.path(site.install)
    if os.path.lexists(folder) and not folder.is_dir():
        raise StackError(EXIT_FOREIGN, f"{site.install} is no folder: write another one into `paths.install`")
    if site.owner() not in (None, site.stack):
        message = f"{site.install} belongs to stack {site.owner()}: give this one a folder of its own"
        raise StackError(EXIT_FOREIGN, message)


def _check_systemd(host: Host) -> None:
    words = host.ask("systemctl", "--version").stdout.split()
    version = int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
    if version < SYSTEMD_FLOOR:
        raise StackError(EXIT_ENVIRONMENT, f"the units are for systemd {SYSTEMD_FLOOR} and later, this is {version}")


def _check_secret(path: Path, code: int) -> None:
    try:
        file = read_file(path)
    except PermissionError as error:
        raise StackError(code, f"{path}: {error.strerror}") from None
    except BadKeys as problem:
        raise StackError(code, f"{path}: {problem}: make it with `install -m 0600 /dev/stdin {path}`") from None
    # Root's group may read it: containers, whose user is in that group, and a gateway that reloads its keys.
    if file.mode & 0o037 or path.stat().st_uid != os.geteuid():
        raise StackError(code, f"{path} must be closed to other users: `chown root {path} && chmod 0640 {path}`")
    try:
        keys_of(file, is_list=code == EXIT_CLIENT_KEYS)
    except BadKeys as problem:
        raise StackError(code, f"{path}: {problem}") from None


def _check_engines(host: Host, plan: JsonObject) -> None:
    program = str(source_folder() / "bin" / "preflight")
    engines = {service["engine"]: service["name"] for service in plan["services"]}
    for name, service in engines.items():
        engine = plan["engines"][name]
        path, variable = engine["program"]["path"], engine["program"]["variable"]
        with tempfile.TemporaryDirectory() as home:
            done = host.ask(program, service, "--only", "version", **{variable: str(host.path(path))}, HOME=home)
        if done.returncode != 0:
            said = next((line for line in done.stdout.splitlines() if line.startswith("FAIL")), done.stderr.strip())
            how = installing(name, engine["version"], environment_of(path))
            raise StackError(EXIT_VERSION, f"{path}: {said}; {how}")


def _check_tools(host: Host, plan: JsonObject, tree: Tree) -> None:
    """What each server compiles with, asked with its unit's environment. preflight runs nothing to answer it."""
    program = str(source_folder() / "bin" / "preflight")
    for service in plan["services"]:
        unit = tree.files[f"systemd/{plan['stack']}-{service['name']}.service"].decode("utf-8")
        variables = _on(host, plan, _variables(unit))
        # By this interpreter: the unit's PATH begins with the packages' own, which must not run as root.
        words = (sys.executable, "-I", program, service["name"], "--only", "compiler", "--only", "kernels")
        done = host.ask(*words, **variables)
        for line in done.stdout.splitlines():
            if line.startswith("warn"):
                host.warn(line.partition(" ")[2].strip())
        if done.returncode != 0:
            said = [line.partition(" ")[2].strip() for line in done.stdout.splitlines() if line.startswith("FAIL")]
            raise StackError(done.returncode, "; ".join(said) or done.stderr.strip())


def _variables(unit: str) -> dict[str, str]:
    """Those that a unit sets, later lines over earlier ones, as systemd reads them."""
    lines = re.findall(r"^Environment=(.*)$", unit, re.MULTILINE)
    words = [word.replace("%%", "%") for line in lines for word in shlex.split(line)]
    return dict(word.partition("=")[::2] for word in words if "=" in word)


def _on(host: Host, plan: JsonObject, variables: dict[str, str]) -> dict[str, str]:
    """The same where a folder stands for the machine: its programs lie below that."""
    if host.is_real:
        return variables
    path = ":".join(str(host.path(folder)) for folder in variables.get("PATH", "").split(":"))
    programs = {engine["program"]["variable"] for engine in plan["engines"].values()} & variables.keys()
    return {**variables, "PATH": path, **{name: str(host.path(variables[name])) for name in programs}}


def _programs(plan: JsonObject) -> list[str]:
    """What somebody installed beside the system's packages, and the units run."""
    gateway = plan["gateway"]
    has_litellm = gateway is not None and gateway["kind"] == "litellm"
    engines = [engine["program"]["path"] for engine in plan["engines"].values()]
    return [*engines, *([plan["paths"]["litellm"]] if has_litellm else [])]


def _warn_of_owner(host: Host, program: str) -> None:
    """Who may change a program decides what the servers do with models, keys and prompts."""
    environment = environment_of(program)
    # Beside a program that lies in no environment are the libraries that it loads.
    around = [environment, environment / "bin"] if environment else [Path(program).parent]
    for path in dict.fromkeys([program, *map(str, around)]):
        try:
            facts = host.path(path).stat()
        except OSError:
            continue
        if facts.st_uid != os.geteuid() or facts.st_mode & 0o022:
            # A folder that is no virtual environment may hold anything, such as all of /usr.
            is_whole = environment is not None and (host.path(str(environment)) / "pyvenv.cfg").is_file()
            target = f"-R {environment}" if is_whole else path
            remedy = f"`chown root:root {target} && chmod go-w {target}`"
            host.warn(f"{path} can be changed by others than root: {remedy}")
            return


def _mount_point(path: Path) -> Path:
    while not path.exists() or not os.path.ismount(path):
        path = path.parent
    return path


def members(plan: JsonObject) -> list[str]:
    """Units that run, in start order."""
    names = [service["name"] for service in plan["services"]]
    names += ["gateway"] if plan["gateway"] is not None else []
    return [f"{plan['stack']}-{name}.service" for name in names]


def whole(plan: JsonObject) -> list[str]:
    """All that runs. The target comes first: its one transaction holds all units, so that they start in their order."""
    return [f"{plan['stack']}.target", *members(plan)]


def running(host: Host, plan: JsonObject) -> list[str]:
    """What runs, or is about to: everything if the target does, else the units that somebody started alone."""
    units = [unit for unit in whole(plan) if state_of(host, unit) in ("active", "activating", "reloading")]
    return whole(plan) if units[:1] == whole(plan)[:1] else units


def start(host: Host, units: list[str]) -> None:
    """Start what does not run, each server once those before it are ready, and wait until all are."""
    # Earlier failures count towards the limit of starts.
    host.command("systemctl", "reset-failed", *units, may_fail=True)
    try:
        host.command("systemctl", "start", *units)
    except StackError as error:
        failed = [_last_words(host, unit) for unit in units if state_of(host, unit) != "active"]
        raise StackError(error.code, f"not running: {'; '.join(failed) or error}") from error


def _last_words(host: Host, unit: str) -> str:
    """A unit that failed, what its programs said last, and where the rest is."""
    done = host.ask("journalctl", "--no-pager", "--output=json", "--lines=40", "--unit", unit)
    lines = (json.loads(line) for line in done.stdout.splitlines() if line.startswith("{"))
    said = [str(line["MESSAGE"]) for line in lines if line.get("_PID") != "1" and isinstance(line["MESSAGE"], str)]
    quoted = f", which said: {' / '.join(said[-3:])}" if said else ""
    return f"{unit}{quoted} (`journalctl -u {unit}`)"


def smoke_test(host: Host, site: Site, plan: JsonObject, units: list[str]) -> None:
    """Ask what runs whether it is what the plan says: the whole stack, or the servers among these units."""
    is_whole = site.target in units
    here = [each["name"] for each in plan["services"] if answers(each)]
    names = [name for name in here if f"{site.stack}-{name}.service" in units]

    def run() -> None:
        done = host.ask(str(host.path(f"{site.install}/current/bin/smoke-test")), *(() if is_whole else names))
        if done.returncode != 0:
            lines = [line for line in done.stdout.splitlines() if line.startswith("FAIL")] or [done.stderr.strip()]
            raise StackError(EXIT_STEP, f"the smoke test failed with {done.returncode}: {'; '.join(lines)}")

    if names:
        host.step(" ".join(["bin/smoke-test", *(() if is_whole else names)]), run)


def prefetch(site: Site, plan: JsonObject, tree: Tree) -> None:
    """Download what a version needs while another one serves: its own unit, with its paths instead of `current`."""
    host, name = site.host, stage_unit(site)
    text = tree.files[f"systemd/{plan['stack']}-prefetch.service"].decode("utf-8")
    text = text.replace(f"{site.install}/current/", f"{site.install}/versions/{tree.version}/")
    # Until the switch, the cache is still that of an earlier version's user.
    text = text.replace(f"\nUser={user_name(plan)}\n", f"\nUser={owner_name(host, plan)}\n")
    path = host.path(f"/run/systemd/system/{name}")

    def write() -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    host.step(f"write {name}: the download of {tree.version}", write)
    try:
        host.command("systemctl", "daemon-reload")
        host.command("systemctl", "start", name)
    except StackError as error:
        raise StackError(error.code, f"the models are not complete: {_last_words(host, name)}") from error
    finally:
        host.step(f"remove {name}", lambda: path.unlink(missing_ok=True))
        host.command("systemctl", "daemon-reload", may_fail=True)


def stage_unit(site: Site) -> str:
    """The unit that downloads beside a version that serves; gone once it is done."""
    return f"{site.stack}.stage.service"


def changed_units(stack: str, old: Tree, new: Tree) -> list[str]:
    """Units of the old version that must not run on: they are gone, or they or their launch script changed."""
    own = {f"{stack}-{path[len(_LAUNCH) :]}.service": path for path in old.files if path.startswith(_LAUNCH)}
    kept = [unit for unit in old.units if unit in own or unit == _gateway(stack)]
    files = {unit: (f"systemd/{unit}", own.get(unit, "")) for unit in kept}
    return [unit for unit, paths in files.items() if any(old.files.get(path) != new.files.get(path) for path in paths)]


def _gateway(stack: str) -> str:
    return f"{stack}-gateway.service"


def switch(site: Site, old: Tree, new: Tree, wanted: list[str]) -> None:
    """Go from one version to another: only what changed stops, and what runs on never sees a gap.

    `wanted` is what ran before and is to run afterwards, as far as the new version has it.
    """
    plan = plan_of(new)
    host = site.host
    gateway = _gateway(site.stack)
    stopped = [unit for unit in changed_units(site.stack, old, new) if unit in site.linked_units()]
    if wanted and stopped:
        host.command("systemctl", "stop", *stopped)
    make_user(host, plan)
    take_over(host, plan)
    site.link_units(new.units)
    site.point("current", new.version)
    site.unlink_units([unit for unit in site.linked_units() if unit not in new.units])
    host.command("systemctl", "daemon-reload")
    units = whole(plan) if site.target in wanted else [unit for unit in wanted if unit in members(plan)]
    if gateway in units and gateway not in stopped and state_of(host, gateway) == "active":
        # LiteLLM cannot reload, and is started anew.
        host.command("systemctl", "reload-or-restart", gateway)
    if units:
        start(host, units)
        smoke_test(host, site, plan, units)
