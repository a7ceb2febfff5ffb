#!/usr/bin/env python3
"""Stop the stack and remove it from the machine. Models and caches stay, unless asked. Safe to repeat.

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.

The user that ran the servers stays too: other stacks run as the same one, and files may still belong to it.

Exit codes: 0 removed, 2 usage, 4 the system is not fit, 21 a step failed, 23 another installation is running.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from functools import partial
from pathlib import Path

sys.dont_write_bytecode = True  # this folder must stay as it was committed

from _host import Action, Host, run_action  # noqa: E402
from _stack import JsonObject, run_program  # noqa: E402
from _versions import Site  # noqa: E402


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
    for link in ("current", "previous", "unfinished"):
        site.unpoint(link)
    _remove(host, f"{site.install}/versions")
    _remove_if_empty(host.path(site.install), host)
    _remove(host, f"/run/stackc-{site.stack}")
    if not options.purge:
        return f"the stack is removed; its models and caches are still in {plan['paths']['state']}"
    _remove(host, plan["paths"]["state"])
    return "the stack, its models and its caches are removed"


def _remove(host: Host, folder: str) -> None:
    path = host.path(folder)
    if path.is_dir():
        host.step(f"remove {folder}", partial(shutil.rmtree, path))


def _remove_if_empty(folder: Path, host: Host) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        host.step(f"remove {folder}", folder.rmdir)


def main() -> int:
    """Read the command line and uninstall."""
    switches = {"--purge": "remove the models and caches too"}
    return run_action(Action("uninstall", "Stop the stack and remove it from the machine.", uninstall, switches))


if __name__ == "__main__":
    run_program(main)
