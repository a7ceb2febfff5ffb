"""The gateway as it runs here: under systemd, in a container, or by hand.

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from typing import NamedTuple

import stack
from stack import EXIT_ENVIRONMENT, JsonObject, StackError

EXIT_UNREACHABLE, EXIT_REFUSED = 3, 20
CONTAINER_GATEWAY = ("/bin/bash", "/opt/stackc/bin/gateway")
COMMAND_SECONDS = 120


class Runtime(NamedTuple):
    """How the gateway runs: the prefix of its own program, its environment, and the commands that reload it.

    Attributes:
        renew: reloads it with secrets as their files are now, which a unit's own reload may not see.
        secrets: what it sees of a secret's file: `path`, what lies there now; `file`, the one that lay there at its
            start, with what is written into it since; `copy`, what it held then.
    """

    name: str
    gateway: tuple[str, ...]
    environment: dict[str, str]
    reload: tuple[str, ...]
    renew: tuple[str, ...]
    secrets: str = "path"


def find_runtime(plan: JsonObject, wanted: str) -> Runtime:
    """The way in which the gateway runs here; `wanted` names one, or is `auto`."""
    makers = {"systemd": _systemd, "compose": _compose, "process": _process}
    names = list(makers) if wanted == "auto" else [wanted]
    for name in names:
        runtime = makers[name](plan)
        if runtime is not None:
            return runtime
    raise StackError(EXIT_ENVIRONMENT, f"no running gateway was found (looked for: {', '.join(names)})")


def _systemd(plan: JsonObject) -> Runtime | None:
    unit, renewing = f"{plan['stack']}-gateway.service", f"{plan['stack']}-gateway-reload.service"
    if shutil.which("systemctl") is None or run(("systemctl", "--quiet", "is-active", unit)).returncode != 0:
        return None
    # As the unit has them; its environment is not this program's.
    places = {"STACKC_GATEWAY_DIR": f"/run/stackc-{plan['stack']}/gateway", "STACKC_STATE_DIR": plan["paths"]["state"]}
    environment = {name: os.environ.get(name) or place for name, place in places.items()}
    program, reload = (str(stack.TREE / "bin" / "gateway"),), ("systemctl", "reload", unit)
    # A unit sees its secrets as they were at its start, and this one is started for each change. A quadlet's has none.
    if run(("systemctl", "cat", renewing)).returncode == 0:
        return Runtime("systemd", program, environment, reload, ("systemctl", "start", renewing))
    return Runtime("systemd", program, environment, reload, reload, secrets="copy")


def _compose(_plan: JsonObject) -> Runtime | None:
    file = stack.TREE / "compose" / "compose.yaml"
    if shutil.which("docker") is None or not file.is_file():
        return None
    compose = ("docker", "compose", "--file", str(file))
    if not run((*compose, "ps", "--quiet", "--status", "running", "gateway")).stdout.strip():
        return None
    gateway = (*compose, "exec", "-T", "gateway", *CONTAINER_GATEWAY)
    return Runtime("compose", gateway, {}, (*gateway, "reload"), (*gateway, "reload"), secrets="file")


def _process(_plan: JsonObject) -> Runtime | None:
    gateway = str(stack.TREE / "bin" / "gateway")
    if run((gateway, "status", "--json")).returncode == EXIT_UNREACHABLE:
        return None
    return Runtime("process", (gateway,), {}, (gateway, "reload"), (gateway, "reload"))


def run(command: Sequence[str], environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """A command that ends by itself, with what it printed."""
    try:
        return subprocess.run(  # noqa: PLW1510 (each caller looks at the status)
            list(command),
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise StackError(EXIT_UNREACHABLE, f"{command[0]} took more than {COMMAND_SECONDS} s") from error
    except OSError as error:
        raise StackError(EXIT_ENVIRONMENT, f"cannot run {command[0]}: {error}") from error


def call_gateway(runtime: Runtime, *words: str) -> str:
    """What its own program prints; its failure is ours."""
    done = run((*runtime.gateway, *words), runtime.environment)
    if done.returncode != 0:
        raise StackError(done.returncode, done.stderr.strip() or done.stdout.strip())
    return done.stdout


def found_runtime(plan: JsonObject) -> Runtime | None:
    """How the gateway runs here; None where it does not."""
    try:
        return find_runtime(plan, "auto")
    except StackError:
        return None


def renew_secrets(runtime: Runtime) -> None:
    """Has the gateway read keys and certificates again."""
    done = run(runtime.renew, runtime.environment)
    if done.returncode != 0:
        reason = done.stderr.strip() or done.stdout.strip()
        raise StackError(EXIT_REFUSED, f"the file is written, and the gateway has not taken it: {reason}")
