"""The stack's user, and the folder of models, caches and measurements: whose it is, and what in it is the stack's.

    STATE/.stackc.json      says whose folder it is; written at the first installation
    STATE/hf, cache, …      what stackc and the servers make (OWN), and hidden files of the servers' user

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again. Needs Python 3.9 and nothing else.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from stack import JsonObject, StackError, load_plan
from stack.install.host import EXIT_FOREIGN, Host, drop, remove, remove_if_empty, sync_folder

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


MARK = ".stackc.json"
OWN = ("baselines", "cache", "hf", "locks", "rollout")
# Every file system of the ext family has it at its top.
_NOBODYS = ("lost+found",)
_MARK_BYTES = 4096


def check_state(host: Host, plan: JsonObject) -> None:
    """Refuse a folder that is somebody else's: the servers write to it, and a purge cleans it."""
    state: str = plan["paths"]["state"]
    place = host.path(state)
    if not os.path.lexists(place):
        return
    if not place.is_dir():
        raise StackError(EXIT_FOREIGN, f"{state} is no folder: {_remedy(plan)}")
    owner = marked_for(place)
    if owner not in (None, plan["stack"]):
        raise StackError(EXIT_FOREIGN, f"{state} belongs to stack {owner}: {_remedy(plan)}")
    if owner is None and not _is_adoptable(host, plan, place):
        found = ", ".join(name for name in sorted(os.listdir(place)) if name not in _NOBODYS)
        raise StackError(EXIT_FOREIGN, f"{state} is not the stack's, it holds {found[:200]}: {_remedy(plan)}")


def _remedy(plan: JsonObject) -> str:
    return f"give the stack a folder of its own, such as `paths: {{state: /var/lib/stackc/{plan['stack']}}}`"


def _is_adoptable(host: Host, plan: JsonObject, place: Path) -> bool:
    """Empty, or what an installation from before the mark has left."""
    if not set(os.listdir(place)) - set(_NOBODYS):
        return True
    return _is_default(plan) or place.stat().st_uid in {user.uid for user in known_users(host, plan)}


def _is_default(plan: JsonObject) -> bool:
    return bool(plan["paths"]["state"] == f"/var/lib/stackc/{plan['stack']}")


def marked_for(place: Path) -> str | None:
    """The stack that a folder was made for; None without a mark. Its owner can write anything there."""
    try:
        handle = os.open(place / MARK, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError:
        return "?"
    with os.fdopen(handle, "rb") as file:
        text = file.read(_MARK_BYTES) if stat.S_ISREG(os.fstat(handle).st_mode) else b""
    try:
        return str(json.loads(text)["stack"])
    except (ValueError, KeyError, TypeError):
        return "?"


def make_state(host: Host, plan: JsonObject) -> None:
    """The folder, for the user that the servers run as. Whatever it owned under an earlier user comes along."""
    state, name = plan["paths"]["state"], user_name(plan)
    place, users = host.path(state), known_users(host, plan)
    if not place.is_dir():
        host.command("install", "-d", "-m", "0750", "-o", name, "-g", name, str(place))
    elif (users or host.is_dry_run) and place.stat().st_uid not in {user.uid for user in users}:
        host.command("chown", "--no-dereference", f"{name}:{name}", str(place))
    take_over(host, plan)
    if not os.path.lexists(place / MARK):
        host.step(f"write {state}/{MARK}", partial(_write_mark, place, plan["stack"]))


def _write_mark(place: Path, stack: str) -> None:
    # The folder is another user's: a name that is there already may be a link to anywhere.
    fresh = place / f"{MARK}.new"
    fresh.unlink(missing_ok=True)
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(json.dumps({"stack": stack}) + "\n")
    os.replace(fresh, place / MARK)
    sync_folder(place)


def take_over(host: Host, plan: JsonObject) -> None:
    """Give the user of this version what the stack's other user has left, in the state and at run time."""
    user = find_user(host, user_name(plan))
    if user is None and host.is_dry_run:
        user = User(user_name(plan), -1, -1, "")
    for earlier in known_users(host, plan) if user is not None else ():
        for folder in (plan["paths"]["state"], f"/run/stackc-{plan['stack']}"):
            if user is not None and earlier.uid != user.uid:
                hand_over(host, folder, earlier, user)


def owner_name(host: Host, plan: JsonObject) -> str:
    """The user that the folder belongs to now, as far as it is one of the stack's."""
    place = host.path(plan["paths"]["state"])
    owner = place.stat().st_uid if place.is_dir() else -1
    return next((user.name for user in known_users(host, plan) if user.uid == owner), user_name(plan))


def purge(host: Host, plan: JsonObject) -> None:
    """Remove what is the stack's, then the folder if it is empty. Everything else stays, and is told."""
    state: str = plan["paths"]["state"]
    place = host.path(state)
    if not os.path.lexists(place):
        return
    if place.is_symlink() or not place.is_dir():
        host.leave(state, f"a link to {os.readlink(place)}" if place.is_symlink() else "no folder")
        return
    owner = marked_for(place)
    if owner not in (None, plan["stack"]):
        host.leave(state, f"it belongs to stack {owner}")
        return
    users = {user.uid for user in known_users(host, plan)} - {0}
    is_ours = owner is not None or _is_default(plan)
    for name in sorted(os.listdir(place)):
        is_users = (place / name).lstat().st_uid in users
        if (name in OWN and (is_ours or is_users)) or (name.startswith(".") and name != MARK and is_users):
            remove(host, f"{state}/{name}")
    if owner is not None:
        drop(host, f"{state}/{MARK}", (place / MARK).unlink)
    remove_if_empty(host, state)
