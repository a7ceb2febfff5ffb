"""Install this tree on the machine, so that systemd runs the stack. Safe to repeat.

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.

Exit codes: 0 installed, 1 this copy is damaged, 2 usage or another version is installed, 4 the system is not fit,
16 vLLM version, 17 a secret's file, 19 the client keys' file, 21 a step failed, 23 another installation is running,
26 a unit's name is taken, 27 a folder is not the stack's own, 31 the machine lacks what the engine compiles with.
"""

from __future__ import annotations

import argparse

from stack import EXIT_USAGE, JsonObject, StackError
from stack.install.host import Action, Host, run_action
from stack.install.state import make_state, make_user
from stack.install.switch import check_machine, prefetch, smoke_test, source_tree, start, whole
from stack.install.versions import Site


def install(host: Host, plan: JsonObject, options: argparse.Namespace) -> str:
    """From nothing to units that systemd knows; with --start, to a stack that answers."""
    tree, site = source_tree(), Site(host, plan)
    current = site.version("current")
    if current not in (None, tree.version):
        raise StackError(EXIT_USAGE, f"version {current} is installed: bin/upgrade takes it to {tree.version}")
    check_machine(host, plan, tree)
    make_user(host, plan)
    make_state(host, plan)
    site.stage(tree)
    site.point("current", tree.version)
    site.link_units(tree.units)
    site.enable()
    host.command("systemctl", "daemon-reload")
    if not options.start:
        rest = f"; `systemctl start {site.target}` starts it once prefetch has run"
        return host.told(
            f"version {tree.version} is installed{rest}", f"version {tree.version} would be installed{rest}"
        )
    prefetch(site, plan, tree)
    start(host, whole(plan))
    smoke_test(host, site, plan, whole(plan))
    return host.told(
        f"version {tree.version} is installed and answers", f"version {tree.version} would be installed and started"
    )


def main() -> int:
    """Read the command line and install."""
    switches = {"--start": "download the models, start the stack and wait until it answers"}
    return run_action(
        Action("install", "Install this tree so that systemd runs the stack.", install, switches), __doc__
    )
