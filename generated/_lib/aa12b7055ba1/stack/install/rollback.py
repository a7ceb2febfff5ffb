"""Go back to the version that was installed before. Safe to repeat; a second rollback returns.

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.

After an upgrade that was cut off, this goes to the version that was known to work.

Exit codes: 0 rolled back, 2 usage, 4 the system is not fit, 21 the previous version is in place and does not answer,
22 there is no previous version, 23 another installation is running, 26 a unit's name is taken.
"""

from __future__ import annotations

import argparse

from stack import JsonObject, StackError
from stack.install.host import EXIT_NO_PREVIOUS, Action, Host, run_action
from stack.install.switch import plan_of, running, switch
from stack.install.versions import Site, check_units, read_tree


def rollback(host: Host, plan: JsonObject, _: argparse.Namespace) -> str:
    """From the current version to the previous one."""
    site = Site(host, plan)
    current, unfinished = site.version("current"), site.version("unfinished")
    wanted = unfinished or site.version("previous")
    if current is None or wanted is None or (wanted == current and unfinished is None):
        raise StackError(EXIT_NO_PREVIOUS, f"{site.install} has no previous version")
    old, new = read_tree(site.folder(current)), read_tree(site.folder(wanted))
    check_units(site, new.units)
    site.point("unfinished", wanted)
    if wanted != current:
        site.point("previous", current)
    switch(site, old, new, running(host, plan_of(old)))
    site.unpoint("unfinished")
    site.prune()
    return host.told(f"version {wanted} is back", f"version {wanted} would be back")


def main() -> int:
    """Read the command line and roll back."""
    return run_action(Action("rollback", "Go back to the version that was installed before.", rollback, {}), __doc__)
