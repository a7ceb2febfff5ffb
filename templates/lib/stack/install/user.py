"""The system user that a stack runs as, and what it owns.

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again. Needs Python 3.9 and nothing else.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from stack import JsonObject, load_plan
from stack.install.host import Host

SHARED_USER = "stackc"
"""As which all stacks ran before each had a user of its own."""


class User(NamedTuple):
    """A user of the machine; `comment` is the field that says what it is for."""

    name: str
    uid: int
    gid: int
    comment: str


def user_name(plan: JsonObject) -> str:
    """The user of a version, also of one from before each stack had its own."""
    return str(plan.get("user", SHARED_USER))


def find_user(host: Host, name: str) -> User | None:
    """A user as the machine knows it."""
    done = host.ask("getent", "passwd", name)
    fields = done.stdout.strip().split(":")
    if done.returncode != 0 or len(fields) < 5 or not (fields[2].isdigit() and fields[3].isdigit()):
        return None
    return User(name, int(fields[2]), int(fields[3]), fields[4])


def known_users(host: Host, plan: JsonObject) -> list[User]:
    """Users that the stack runs as, or ran as; `plan` may be of an earlier version than this program."""
    names = dict.fromkeys((user_name(plan), user_name(load_plan()), SHARED_USER))
    found = (find_user(host, name) for name in names)
    return [user for user in found if user is not None]


def make_user(host: Host, plan: JsonObject) -> None:
    """See to it that the user is there. Its comment says later that it was made here."""
    name = user_name(plan)
    if find_user(host, name) is None:
        host.command(
            "useradd", "--system", "--user-group", "--no-create-home", "--home-dir", plan["paths"]["state"],
            "--shell", "/usr/sbin/nologin", "--comment", _comment(plan), name,
        )  # fmt: skip


def remove_user(host: Host, plan: JsonObject) -> None:
    """Remove the user if it was made here and nothing is left that may be its own."""
    user, state = find_user(host, user_name(plan)), plan["paths"]["state"]
    if user is None:
        return
    if user.comment != _comment(plan) or user.name == SHARED_USER:
        host.leave(f"user {user.name}", "not made for this stack")
    elif state not in host.gone and os.path.lexists(host.path(state)):
        host.leave(f"user {user.name}", f"what is left in {state} may belong to it")
    else:
        host.command("userdel", user.name)


def _comment(plan: JsonObject) -> str:
    return f"stackc stack {plan['stack']}"


def hand_over(host: Host, folder: str, owner: User, user: User) -> None:
    """Give a user what another one owns in a folder, and nothing else; links themselves, never what they lead to."""
    place = host.path(folder)
    if place.is_symlink() or not place.is_dir() or not any(True for _ in _owned(place, owner.uid)):
        return
    host.step(f"give {user.name} what {owner.name} owns in {folder}", partial(_give, host, place, owner, user))


def _give(host: Host, place: Path, owner: User, user: User) -> None:
    shared = []
    for name, folder, status in _owned(place, owner.uid):
        # Of a file with several names, another one may be somebody else's.
        if not stat.S_ISDIR(status.st_mode) and status.st_nlink > 1:
            shared.append(name)
            continue
        group = user.gid if status.st_gid == owner.gid else -1
        os.chown(name, user.uid, group, dir_fd=folder, follow_symlinks=False)
    if shared:
        named = ", ".join(sorted(shared)[:3])
        host.warn(f"{len(shared)} files in {place} have names elsewhere too and stay with {owner.name}: {named}")


def _owned(place: Path, uid: int) -> Iterator[tuple[str, int, os.stat_result]]:
    """What a user owns: its name, the open folder that holds it, and its facts. The deepest come first.

    Nothing can be put in the place of what was looked at: every name is looked up in a folder that is already open.
    """
    for _, folders, files, handle in os.fwalk(place, topdown=False, follow_symlinks=False):
        for name in (*files, *folders):
            status = os.stat(name, dir_fd=handle, follow_symlinks=False)
            if status.st_uid == uid:
                yield name, handle, status
    above = os.open(place.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        status = os.stat(place.name, dir_fd=above, follow_symlinks=False)
        if status.st_uid == uid:
            yield place.name, above, status
    finally:
        os.close(above)
