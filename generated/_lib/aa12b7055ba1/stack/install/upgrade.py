"""Replace the installed version by this tree, or keep it if the new one does not answer. Safe to repeat.

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.

The models are downloaded while the old version serves. Then only the units that changed stop and start again. If the
machine or this program dies on the way, the old version or the new one is in place, and running it again finishes.

Exit codes: 0 upgraded, 1 this copy is damaged, 2 usage, 4 the system is not fit or nothing is installed,
16 vLLM version, 17 a secret's file, 19 the client keys' file, 21 a step failed and the previous version is back,
23 another installation is running, 26 a unit's name is taken, 27 a folder is not the stack's own,
31 the machine lacks what the engine compiles with.
"""

from __future__ import annotations

import argparse

from stack import EXIT_ENVIRONMENT, JsonObject, StackError
from stack.install.host import EXIT_STEP, Action, Host, run_action
from stack.install.switch import check_machine, plan_of, prefetch, running, source_tree, switch
from stack.install.versions import Site, Tree, read_tree


def upgrade(host: Host, plan: JsonObject, _: argparse.Namespace) -> str:
    """From the installed version to this one, and back if it does not answer."""
    new, site = source_tree(), Site(host, plan)
    current = site.version("current")
    if current is None:
        raise StackError(EXIT_ENVIRONMENT, f"{site.install} has no installed version: bin/install makes the first one")
    check_machine(host, plan, new)
    old = read_tree(site.folder(current))
    wanted = running(host, plan_of(old))
    site.stage(new)
    prefetch(site, plan, new)
    # Of a change that was cut off, the version that worked is still known.
    working = site.version("unfinished") or current
    if working == new.version:
        switch(site, old, new, wanted)
        site.unpoint("unfinished")
        return host.told(f"version {new.version} is installed", f"version {new.version} would be installed")
    site.point("unfinished", working)
    try:
        switch(site, old, new, wanted)
    except (StackError, OSError, KeyboardInterrupt) as error:
        reason = f"{new.version} failed: {error or 'interrupted'}"
        _go_back(site, new, working, wanted, reason)
        raise StackError(EXIT_STEP, f"version {working} is back, because {reason}") from error
    site.become_previous()
    site.prune()
    rest = "" if wanted else "; the stack is not running"
    return host.told(
        f"version {new.version} replaces {working}{rest}", f"version {new.version} would replace {working}{rest}"
    )


def _go_back(site: Site, new: Tree, working: str, wanted: list[str], reason: str) -> None:
    try:
        switch(site, new, read_tree(site.folder(working)), wanted)
    except StackError as error:
        message = f"{reason}; version {working} is in place again, and does not answer either: {error}"
        raise StackError(EXIT_STEP, message) from error
    site.unpoint("unfinished")
    site.prune()


def main() -> int:
    """Read the command line and upgrade."""
    return run_action(Action("upgrade", "Replace the installed version by this tree.", upgrade, {}), __doc__)
