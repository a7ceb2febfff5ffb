"""preflight's questions about the gateway's program and its port.

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import partial
from pathlib import Path

from stack import Check, JsonObject, Sides, StackError
from stack.machine.check_machine import EXIT_PORT, check_port, check_secret
from stack.packages import environment_of, installing

EXIT_KEYS, EXIT_GATEWAY = 19, 20
NAME = "gateway"
# Where the packages of Debian, nginx.org and Red Hat put it.
NJS_MODULES = ("/usr/lib/nginx/modules/ngx_http_js_module.so", "/usr/lib64/nginx/modules/ngx_http_js_module.so")
# LiteLLM imports much before it can say its version.
VERSION_SECONDS = 60


def gateway_checks(plan: JsonObject) -> list[Check]:
    """Everything that the gateway needs, cheapest first."""
    gateway = plan["gateway"]
    port = partial(check_port, gateway["host"], gateway["port"])
    found = [
        Check(NAME, "port", port, EXIT_PORT, is_transient=True),
        Check(NAME, "secrets", partial(check_secret, plan, "client_keys", EXIT_KEYS), EXIT_KEYS),
    ]
    if gateway["kind"] == "nginx":
        found.append(Check(NAME, "njs", check_njs, EXIT_GATEWAY))
        question = partial(check_program, plan["paths"]["nginx"], "-v", "install nginx, or set `paths.nginx`")
    else:
        question = partial(check_litellm, plan["paths"]["litellm"], gateway["version"])
    return [*found, Check(NAME, "program", question, EXIT_GATEWAY)]


def check_program(path: str, option: str, remedy: str) -> Sides:
    """The gateway's program is there and says its version."""
    return Sides(f"{path} runs", _said(path, option, remedy)[-1])


def check_litellm(path: str, version: str) -> Sides:
    """LiteLLM is the release that its configuration was made for and tested with."""
    remedy = f"{installing('litellm', version, environment_of(path))}; or set `paths.litellm`"
    lines = _said(path, "--version", remedy)
    found = next((line for line in lines if line.startswith("LiteLLM: Current Version")), lines[-1])
    if version not in found.split():
        raise StackError(EXIT_GATEWAY, Sides(f"LiteLLM {version}", f"{path} says: {found}", remedy))
    return Sides(f"LiteLLM {version}", found)


def _said(path: str, option: str, remedy: str) -> list[str]:
    """The lines that a program prints, at least one."""
    wanted, executable = f"{path} runs", shutil.which(path)
    if executable is None:
        raise StackError(EXIT_GATEWAY, Sides(wanted, "it is not there", remedy))
    # LiteLLM would fetch a list of prices from the network before it answers.
    environment = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    try:
        answer = subprocess.run(
            [executable, option], capture_output=True, text=True, timeout=VERSION_SECONDS, check=False, env=environment
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StackError(EXIT_GATEWAY, Sides(wanted, f"it does not answer: {error}", remedy)) from error
    # nginx says it on stderr.
    lines = (answer.stdout + answer.stderr).strip().splitlines() or ["nothing"]
    if answer.returncode != 0:
        raise StackError(EXIT_GATEWAY, Sides(wanted, f"`{path} {option}` failed: {lines[-1]}", remedy))
    return lines


def check_njs() -> Sides:
    """The module that compares clients' keys and chooses revisions."""
    found = next((path for path in NJS_MODULES if Path(path).is_file()), None)
    wanted = "nginx's njs module"
    if found is None:
        note = "install libnginx-mod-http-js (Debian, Ubuntu) or nginx-module-njs (nginx.org)"
        raise StackError(EXIT_GATEWAY, Sides(wanted, f"not among {', '.join(NJS_MODULES)}", note))
    return Sides(wanted, found)
