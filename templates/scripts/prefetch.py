#!/usr/bin/env python3
"""Download the models of the stack, so that its servers start without the network. Safe to repeat.

Written by `stackc compile`. DO NOT EDIT: change the spec and compile again.

Exit codes: 0 everything is here, 1 download failed, 2 usage, 4 no plan or no `hf`, 13 disk, 15 not the planned model.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.dont_write_bytecode = True  # this folder must stay as it was committed

from _model import check_model, free_bytes, hf_home, missing_bytes, model_folder  # noqa: E402
from _stack import (  # noqa: E402
    EXIT_ENVIRONMENT,
    JsonObject,
    StackError,
    choose_services,
    load_plan,
    run_program,
    secret_file,
)

EXIT_DOWNLOAD, EXIT_DISK = 1, 13
GIB = 2**30
# Room for the small files that come along with the weights.
SPARE_BYTES = GIB // 4
# The same weights once more, in formats that vLLM does not read when there is safetensors.
SECOND_COPIES = (
    "original/*",
    "consolidated*",
    "*.bin",
    "*.pt",
    "*.pth",
    "*.gguf",
    "*.h5",
    "*.msgpack",
    "*.ot",
    "*.onnx",
    "onnx/*",
)


def fetch(plan: JsonObject, model: JsonObject) -> None:
    """Make one model complete, or raise."""
    if model["folder"]:
        print(f"folder {check_model(model)} is complete")
        return
    if _is_complete(model):
        print(f"{check_model(model)} is already here")
        return
    _check_disk(model)
    revision = _revision(plan, model)
    print(f"downloading {model['repository']} at {revision} into {hf_home()}", flush=True)
    # Where the plan has seen no safetensors headers, any file may be the one that vLLM loads.
    _download(plan, model, revision, _excludes(() if "tensors" in model["unconfirmed"] else SECOND_COPIES))
    if not _is_complete(model):
        _download(plan, model, revision, [])
    print(f"{check_model(model)} is complete")


def _revision(plan: JsonObject, model: JsonObject) -> str:
    """The full commit to download. One small file tells what `main` is, before gigabytes of the wrong model come."""
    if not model["pinned"]:
        _download(plan, model, "main", ["config.json"])
    return model_folder(model).name


def _excludes(patterns: tuple[str, ...]) -> list[str]:
    return [word for pattern in patterns for word in ("--exclude", pattern)]


def _is_complete(model: JsonObject) -> bool:
    try:
        check_model(model)
    except StackError:
        return False
    return True


def _check_disk(model: JsonObject) -> None:
    missing, free = missing_bytes(model), free_bytes(hf_home())
    if missing is not None and missing + SPARE_BYTES > free:
        raise StackError(
            EXIT_DISK,
            f"{model['repository']} still needs {missing / GIB:.2f} GiB, {hf_home()} has {free / GIB:.2f} GiB free",
        )


def _download(plan: JsonObject, model: JsonObject, revision: str, words: list[str]) -> None:
    command = [_hf_executable(), "download", model["repository"], *words, "--revision", revision, "--quiet"]
    if subprocess.run(command, env=_download_environment(plan), check=False).returncode != 0:
        raise StackError(EXIT_DOWNLOAD, f"hf could not download {model['repository']} at {revision}")


def _download_environment(plan: JsonObject) -> dict[str, str]:
    """The caller's, but online, into the folder that the launch scripts read, and with the token's file."""
    environment = dict(os.environ, HF_HOME=str(hf_home()), HF_HUB_CACHE=str(hf_home() / "hub"), HF_HUB_OFFLINE="0")
    token = secret_file(plan, "hf_token")
    if token is not None and os.access(token, os.R_OK):
        environment["HF_TOKEN_PATH"] = str(token)
    return environment


def _hf_executable() -> str:
    """The `hf` that belongs to vLLM, else the one on PATH."""
    vllm = shutil.which(os.environ.get("STACKC_VLLM") or "vllm")
    beside = str(Path(vllm).resolve().parent / "hf") if vllm else ""
    found = shutil.which(beside) or shutil.which("hf")
    if found is None:
        raise StackError(EXIT_ENVIRONMENT, "no `hf` beside vLLM or on PATH: set STACKC_VLLM to the vllm executable")
    return found


@contextmanager
def exclusive() -> Iterator[None]:
    """One prefetch at a time in one cache; a second one waits."""
    home = hf_home()
    try:
        home.mkdir(parents=True, exist_ok=True)
        lock = os.open(home / "stackc-prefetch.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StackError(EXIT_DISK, f"cannot write to {home}: {error}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def main() -> int:
    """Fetch every model that the chosen services need, once each."""
    parser = argparse.ArgumentParser(description="Download the models of the stack.")
    parser.add_argument("services", nargs="*", metavar="SERVICE", help="default: all")
    options = parser.parse_args()
    os.umask(0o027)
    plan = load_plan()
    services = choose_services(plan, options.services)
    models = {service["model"]["folder"] or service["model"]["repository"]: service["model"] for service in services}
    failure = None
    with exclusive():
        for model in models.values():
            try:
                fetch(plan, model)
            except StackError as error:
                print(f"prefetch: {error}", file=sys.stderr)
                failure = failure or error
    return failure.code if failure else 0


if __name__ == "__main__":
    run_program(main)
