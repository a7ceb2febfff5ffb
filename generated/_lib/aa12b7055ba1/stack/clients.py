"""The keys of the gateway's clients: who has some, a new one, and one that counts no more; the gateway runs on.

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.

A new key is printed once, and never again. A team is all keys of one name: its rate and its models are the plan's.

Exit codes: 0 done, 2 usage, 4 no plan, 19 the file of keys cannot be used, 20 the gateway has not taken the change.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import secrets
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stack import EXIT_USAGE, JsonObject, StackError, load_plan
from stack.files import replace
from stack.keys import NAME, NAME_RULE, BadKeys, check_clients, client_of, read_file
from stack.runtime import Runtime, found_runtime, renew_secrets

EXIT_KEYS = 19
KEY_BYTES = 32
NEW_MODE = 0o600


def key_file(plan: JsonObject) -> Path:
    """Where the keys lie: as the caller says, else as planned."""
    return Path(os.environ.get("STACKC_CLIENT_KEYS_FILE") or plan["secrets"]["client_keys"]).resolve()


def read_lines(path: Path) -> list[str]:
    """The lines of a file that the gateway can use; none where there is no file."""
    try:
        if not path.exists():
            return []
        lines = read_file(path).lines
        check_clients(lines)
    except (BadKeys, PermissionError) as problem:
        reason = f"cannot read it: {problem.strerror}" if isinstance(problem, OSError) else str(problem)
        raise StackError(EXIT_KEYS, f"{path}: {reason}") from None
    return lines


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Two changes at a time would lose one."""
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise StackError(EXIT_KEYS, f"{path.parent}: {error.strerror}") from error
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def write_lines(path: Path, lines: list[str], runtime: Runtime | None) -> None:
    """With the mode and the owner that the file has; a container sees only the file that was there at its start."""
    try:
        check_clients(lines)
    except BadKeys as problem:
        raise StackError(EXIT_KEYS, f"{path}: {problem}; nothing was changed") from None
    text = "".join(f"{line}\n" for line in lines).encode("latin-1")
    try:
        if runtime is not None and runtime.secrets == "file":
            _write_into(path, text)
        else:
            state = path.stat() if path.exists() else None
            replace(path, text, NEW_MODE if state is None else state.st_mode & 0o777, state)
    except OSError as error:
        raise StackError(EXIT_KEYS, f"{path}: {error.strerror}") from error


def _write_into(path: Path, text: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, NEW_MODE)
    try:
        os.pwrite(descriptor, text, 0)
        os.ftruncate(descriptor, len(text))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def take(plan: JsonObject, path: Path, lines: list[str]) -> str:
    """Writes the keys and has the gateway take them; how it ended, in words."""
    runtime = found_runtime(plan)
    write_lines(path, lines, runtime)
    if runtime is None:
        return "the gateway does not run, and takes it when it starts"
    if runtime.secrets == "copy":
        return "Podman keeps a copy: replace its secret, then restart the gateway, as the README says"
    renew_secrets(runtime)
    return "the gateway has taken it"


def show(plan: JsonObject, options: argparse.Namespace) -> list[str]:
    """Names with how many keys they have and what the plan says of them; no key."""
    counts = Counter(name for line in _numbered(plan) if (name := client_of(*line)) is not None)
    teams = {team["name"]: team for team in plan["gateway"].get("teams") or ()}
    rows = [{"name": name, "keys": counts[name], **_limits(plan, teams.get(name))} for name in (*counts, *teams)]
    unique = list({row["name"]: row for row in rows}.values())
    return [json.dumps(unique, indent=2)] if options.json else [_line(row) for row in unique]


def _numbered(plan: JsonObject) -> list[tuple[int, str]]:
    return list(enumerate(read_lines(key_file(plan)), start=1))


def _limits(plan: JsonObject, team: JsonObject | None) -> JsonObject:
    gateway = plan["gateway"]
    rate = None if team is None else team["requests_per_second"]
    models = [] if team is None else team["models"]
    own = gateway["requests_per_second"]
    return {"requests_per_second": own if rate is None else rate, "models": models or None}


def _line(row: JsonObject) -> str:
    rate = row["requests_per_second"]
    limits = "no rate" if rate is None else f"{rate} requests/s"
    keys = "1 key" if row["keys"] == 1 else f"{row['keys']} keys"
    return f"{row['name']}: {keys}, {limits}, {', '.join(row['models'] or ()) or 'all models'}"


def add(plan: JsonObject, options: argparse.Namespace) -> list[str]:
    """A new key beside those that the name has."""
    path = key_file(plan)
    key = secrets.token_hex(KEY_BYTES)
    with alone(path):
        ended = take(plan, path, [*read_lines(path), f"{options.name}:{key}"])
    return [key, f"{options.name} has a new key, shown this once: {ended}"]


def revoke(plan: JsonObject, options: argparse.Namespace) -> list[str]:
    """All keys of a name, or all but the newest; a comment keeps the numbers of lines, by which others are named."""
    path = key_file(plan)
    with alone(path):
        lines = _numbered(plan)
        own = [number for number, line in lines if client_of(number, line) == options.name]
        gone = own[:-1] if options.but_newest else own
        if not gone:
            said = "only one key" if own else "no key"
            raise StackError(EXIT_USAGE, f"{options.name} has {said} here: `list` says who has some")
        kept = [f"# {options.name}: revoked" if number in gone else line for number, line in lines]
        ended = take(plan, path, kept)
    return [f"{options.name} has {len(own) - len(gone)} keys, {len(gone)} of them revoked: {ended}"]


def name_of(text: str) -> str:
    """A client's name, as the command line has it."""
    if not NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(NAME_RULE)
    return text


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n")[0],
        epilog=(__doc__ or "").partition("\n\n")[2].partition("\n\n")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    listed = commands.add_parser("list", help="who has how many keys, with which limits; never a key")
    listed.add_argument("--json", action="store_true", help="print the result as JSON")
    listed.set_defaults(do=show)
    added = commands.add_parser("add", help="make a key for NAME, and print it on the first line of stdout")
    added.add_argument("name", type=name_of)
    added.set_defaults(do=add)
    revoked = commands.add_parser("revoke", help="let no key of NAME count any more")
    revoked.add_argument("name", type=name_of)
    revoked.add_argument("--but-newest", action="store_true", help="but the one that was added last")
    revoked.set_defaults(do=revoke)
    return parser.parse_args()


def main() -> int:
    """Read the command line and do it."""
    options = parse()
    print("\n".join(options.do(load_plan(), options)))
    return 0
