"""Stop the stack and remove it from the machine. Models and caches stay, unless asked. Safe to repeat.

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.

Only what was put there by stackc and the servers is removed. No link is followed, no mounted disk is entered, and each
thing that stays is a line of the output. With --purge the stack's user goes too, unless something may belong to it.

Exit codes: 0 removed, 2 usage, 4 the system is not fit, 21 a step failed, 23 another installation is running.
"""

from __future__ import annotations

import argparse

from stack import JsonObject
from stack.install.host import Action, Host, remove, run_action
from stack.install.state import purge, remove_user
from stack.install.versions import Site


def uninstall(host: Host, plan: JsonObject, options: argparse.Namespace) -> str:
    """From any state to none; what starts with the machine goes first."""
    site = Site(host, plan)
    site.disable()
    linked = site.linked_units()
    if linked:
        host.command("systemctl", "stop", *linked)
        host.command("systemctl", "reset-failed", *linked, may_fail=True)
        site.unlink_units(linked)
    host.command("systemctl", "daemon-reload")
    site.remove()
    remove(host, f"/run/stackc-{site.stack}")
    if not options.purge:
        state = plan["paths"]["state"]
        return host.told(
            f"the stack is removed; its models and caches are still in {state}",
            f"the stack would be removed; its models and caches would stay in {state}",
        )
    purge(host, plan)
    remove_user(host, plan)
    if host.left:
        return host.told(
            "the stack is removed; the lines with `left` say what was not touched",
            "the stack would be removed; the lines with `left` say what would not be touched",
        )
    return host.told(
        "the stack, its models and its caches are removed", "the stack, its models and its caches would be removed"
    )


def main() -> int:
    """Read the command line and uninstall."""
    switches = {"--purge": "remove the models and caches too"}
    return run_action(
        Action("uninstall", "Stop the stack and remove it from the machine.", uninstall, switches), __doc__
    )
