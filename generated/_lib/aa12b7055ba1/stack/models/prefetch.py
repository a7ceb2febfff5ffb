"""Bring the models of the stack onto this machine, so that its servers start without the network. Safe to repeat.

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.

Each model comes at its pinned commit, and only the files that its server reads. Sizes are always compared with the
plan's, hashes after a download; a damaged file is fetched once more. What was found right is remembered in
$HF_HOME/stackc-verified.json, so that a repeated run is quick; --verify reads every file again.

With HF_HUB_OFFLINE=1 nothing is fetched: what is missing comes with --from, as a Hugging Face folder or the folder of a
snapshot on another disk.

Exit codes: 0 everything is here, 1 download failed, 2 usage, 4 no plan or no `hf`, 13 disk, 15 not the planned model.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from stack import (
    EXIT_SNAPSHOT,
    EXIT_USAGE,
    JsonObject,
    StackError,
    choose_services,
    load_plan,
)
from stack.models.download import (
    EXIT_DISK,
    GIB,
    check_disk,
    check_hf,
    copy_model,
    download,
    download_files,
    find_main,
    whole,
)
from stack.models.model import (
    Verified,
    Wrong,
    check_model,
    check_names,
    hashed_files,
    hf_home,
    inside,
    missing_bytes,
    model_folder,
    models_of,
    repository_folder,
    unfinished,
    write_text,
    wrong_files,
)

TRUE = ("1", "ON", "YES", "TRUE")


class Options(NamedTuple):
    """What the caller asked for. `lock` is the open file whose lock this program holds."""

    plan: JsonObject
    source: Path | None
    is_offline: bool
    reads_all: bool
    lock: int


class Outcome(NamedTuple):
    """How it went with one model."""

    model: str
    status: str
    detail: str
    code: int = 0
    bytes: int | None = None


def fetch(options: Options, model: JsonObject) -> Outcome:
    """Make one model complete and right, or raise."""
    check_names(model)
    status = "present"
    if not _is_complete(model):
        if model["folder"]:
            check_model(model)
        _obtain(options, model)
        status = "fetched"
    folder = check_model(model)
    hashed = len(hashed_files(model))
    wrong = _verify(options, folder, model)
    if wrong:
        status = "mended"
        _mend(options, folder, model, wrong)
    checked = f"{hashed} hashes are right" if hashed else "the lock knows no hashes, so only its sizes were compared"
    return Outcome(_name(model), status, f"{folder} is complete, {checked}", bytes=model["weights_bytes"])


def _obtain(options: Options, model: JsonObject) -> None:
    """Get what is missing, from the given folder or the Hub."""
    for folder in ("blobs", "refs", "snapshots"):
        inside(model, repository_folder(model) / folder / "*")
    check_disk(model)
    if options.source is not None:
        say(f"copying {_name(model)} from {options.source} into {hf_home()}")
        copy_model(options.source, model)
        inside(model, unfinished(model_folder(model))).unlink(missing_ok=True)
        return
    if options.is_offline:
        raise StackError(EXIT_SNAPSHOT, _offline_message(model))
    check_hf(model)  # before anything is written
    revision = _revision(options, model)
    say(f"downloading {model['repository']} at {revision} into {hf_home()}")
    with _marked(model):
        download_files(options.plan, model, revision, options.lock)
    if not model["files"] and not _is_complete(model):
        download(options.plan, model, revision, whole(model), options.lock)


@contextmanager
def _marked(model: JsonObject) -> Iterator[None]:
    """A run that is cut off leaves a mark, and the next one goes on."""
    mark = inside(model, unfinished(model_folder(model)))
    mark.parent.mkdir(parents=True, exist_ok=True)
    write_text(mark, "")
    yield
    mark.unlink()


def _offline_message(model: JsonObject) -> str:
    missing = missing_bytes(model)
    size = "" if missing is None else f" ({missing} bytes are missing)"
    files = "".join(f" {file['path']}" for file in model["files"]) if model["file"] else ""
    commit = f"{files} --revision {model['commit']}" if model["pinned"] else files
    return (
        f"{model['repository']} is not complete here{size}, and HF_HUB_OFFLINE forbids to download it. On a machine "
        f"with network: `HF_HOME=DIR hf download {model['repository']}{commit}`. Bring DIR here: `prefetch --from DIR`"
    )


def _revision(options: Options, model: JsonObject) -> str:
    """The full commit to download."""
    if not model["pinned"]:
        find_main(options.plan, model, options.lock)
    return model_folder(model).name


def _is_complete(model: JsonObject) -> bool:
    try:
        check_model(model)
    except StackError:
        return False
    return True


def _verify(options: Options, folder: Path, model: JsonObject) -> list[Wrong]:
    """Hash what is not known to be right, and remember what is."""
    known = Verified()
    skipped = None if options.reads_all else known
    unread = [
        file
        for file in hashed_files(model)
        if options.reads_all or not known.holds(folder / file["path"], file["sha256"])
    ]
    if unread:
        say(f"hashing {len(unread)} files of {_name(model)}, {sum(file['size'] or 0 for file in unread) / GIB:.2f} GiB")
    wrong = wrong_files(folder, model, skipped)
    damaged = {each.path for each in wrong}
    for file in unread:
        if folder / file["path"] not in damaged:
            known.add(folder / file["path"], file["sha256"])
    return wrong


def _mend(options: Options, folder: Path, model: JsonObject, wrong: list[Wrong]) -> None:
    """Throw damaged files away and get them once more; twice wrong is not an accident."""
    named = "; ".join(map(str, wrong))
    if model["folder"] or (options.is_offline and options.source is None):
        raise StackError(EXIT_SNAPSHOT, f"{named}: bring the file again")
    say(f"damaged, fetched once more: {named}")
    for each in wrong:
        _discard(each.path, model)
    _obtain(options, model)
    check_model(model)
    again = _verify(options, folder, model)
    if again:
        # Its size is right, so a server would load it.
        for each in again:
            _discard(each.path, model)
        raise StackError(
            EXIT_SNAPSHOT,
            f"wrong twice: {'; '.join(map(str, again))}: the disk is damaged, or what the Hub or a proxy gives out is "
            "not what was locked",
        )


def _discard(path: Path, model: JsonObject) -> None:
    """The link, and the content if it lies in the cache: `hf` keeps what is there."""
    content, blobs = path.resolve(), inside(model, repository_folder(model) / "blobs" / "*").parent
    inside(model, path).unlink()
    if content.parent == blobs.resolve():
        content.unlink(missing_ok=True)


def preview(model: JsonObject) -> Outcome:
    """What a run would fetch."""
    check_names(model)
    if _is_complete(model):
        return Outcome(_name(model), "present", f"{model_folder(model)} is complete", bytes=0)
    if model["folder"]:
        check_model(model)
    missing = missing_bytes(model)
    size = "of unknown size" if missing is None else f"{missing} bytes, {missing / GIB:.2f} GiB"
    at = model["commit"] if model["pinned"] else "main"
    detail = f"would be fetched at {at}: weights, {size}, and small files"
    return Outcome(_name(model), "missing", detail, bytes=missing)


def _name(model: JsonObject) -> str:
    place = str(model["repository"] or model["folder"])
    return f"{place}: {model['file']}" if model["file"] else place


def say(text: str) -> None:
    """Progress; the report itself is for stdout."""
    print(f"prefetch: {text}", file=sys.stderr, flush=True)


@contextmanager
def exclusive() -> Iterator[int]:
    """One prefetch at a time in one cache; a second one waits."""
    home = hf_home()
    try:
        home.mkdir(parents=True, exist_ok=True)
        lock = os.open(home / "stackc-prefetch.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise StackError(EXIT_DISK, f"cannot write to {home}: {error}") from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another prefetch works in {home}: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock
    finally:
        os.close(lock)


def _attempt(options: Options, model: JsonObject) -> Outcome:
    try:
        return fetch(options, model)
    except StackError as error:
        return Outcome(_name(model), "failed", str(error), error.code, missing_bytes(model))
    except OSError as error:
        return Outcome(_name(model), "failed", f"{hf_home()}: {error}", EXIT_DISK, missing_bytes(model))


def _models(services: list[JsonObject]) -> list[JsonObject]:
    """Each model once, also where several services serve it."""
    keys = ("folder", "repository", "commit", "file")
    models = ({**model, "runs_code": _runs_code(service)} for service in services for model in models_of(service))
    return list({tuple(model[key] for key in keys): model for model in models}.values())


def _runs_code(service: JsonObject) -> bool:
    """Whether the policy lets the server run Python that comes with its model."""
    return any(argument["flag"] == "--trust-remote-code" for argument in service["arguments"])


def report(stack: str, outcomes: list[Outcome], *, as_json: bool) -> int:
    """Print what came of it, and return the exit code: that of the first failure."""
    code = next((outcome.code for outcome in outcomes if outcome.code), 0)
    if as_json:
        models = [outcome._asdict() for outcome in outcomes]
        print(json.dumps({"stack": stack, "exit_code": code, "models": models}, indent=2))
        return code
    for outcome in outcomes:
        line = f"{outcome.status:<8} {outcome.model}: {outcome.detail}"
        print(line, file=sys.stderr if outcome.code else sys.stdout)
    return code


def _read_options() -> argparse.Namespace:
    summary, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=rest.partition("\n\n")[2], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("services", nargs="*", metavar="SERVICE", help="default: all")
    parser.add_argument("--from", dest="source", type=Path, metavar="DIR", help="copy from here instead of the Hub")
    parser.add_argument("--verify", action="store_true", help="hash every file again")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be fetched, and how many bytes")
    parser.add_argument("--json", action="store_true", help="report for machines")
    return parser.parse_args()


def main() -> int:
    """Fetch every model that the chosen services need, once each; a failed one does not keep the others back."""
    options = _read_options()
    os.umask(0o027)
    # The download ends with this program.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    plan = load_plan()
    if options.source is not None and not options.source.is_dir():
        raise StackError(EXIT_USAGE, f"--from: {options.source} is no folder")
    models = _models(choose_services(plan, options.services))
    if options.dry_run:
        return report(plan["stack"], list(map(_preview, models)), as_json=options.json)
    is_offline = any(os.environ.get(name, "").upper() in TRUE for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"))
    with exclusive() as lock:
        asked = Options(plan, options.source, is_offline, options.verify, lock)
        outcomes = list(map(partial(_attempt, asked), models))
    return report(plan["stack"], outcomes, as_json=options.json)


def _preview(model: JsonObject) -> Outcome:
    try:
        return preview(model)
    except StackError as error:
        return Outcome(_name(model), "failed", str(error), error.code)
